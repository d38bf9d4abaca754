//! `purlin new`: makes a site.

use super::{Command, dev};
use crate::answers::Answers;
use crate::failure::Failure;
use crate::git::{self, Repository};
use crate::interview;
use crate::machine;
use crate::place::Place;
use crate::questions::{Given, Question, Questions, left_out};
use crate::record::{self, Record};
use crate::render::{Node, Site, leave_out, render};
use crate::screen::{Paint, say};
use crate::shell::{quote, quote_path};
use crate::site_name;
use crate::template::Template;
use lexopt::Arg;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io, process};

pub(crate) const COMMAND: Command = Command {
    name: "new",
    summary: "make a new site",
    help: HELP,
    options: &[
        "--name",
        "--description",
        "--database",
        "--auth",
        "--sessions",
        "--set",
        "--template",
        "--interactive",
        "--no-git",
        "--serve",
        "--dev",
        "--help",
    ],
    work: run,
};

const HELP: &str = "\
usage: purlin new PATH [OPTIONS]

Makes a new site at PATH, a folder that is empty or not there yet. Asks nothing; the last part of PATH gives the name.

      --name NAME           what the site is called (My Site, for the path my-site)
      --description TEXT    what it is, in one sentence
      --database DATABASE   where its data is kept: none, sqlite (a file), postgres (a server); none by default
      --auth                people register and sign in; needs a database
      --sessions STORE      where sessions are kept: cookie, sqlite, redis, postgres; in the cookie itself by default
      --set KEY=VALUE       answer a question of the template by its key, such as project_slug, the package's name
      --template DIR        copy this cookiecutter template instead of the one inside purlin
  -i, --interactive         ask each question, then print the command that would have needed none
      --no-git              no git init (there is none inside a repository either)
      --dev                 go on with purlin dev --open: build the site, serve it, and open it in the browser
      --serve               build the site and run it, once it is made
  -h, --help                this text

example:
  purlin new my-site --name \"My Site\" --dev
";

struct Options {
    path: PathBuf,
    given: Given,
    template: Option<PathBuf>,
    interactive: bool,
    git: bool,
    serve: bool,
    dev: bool,
}

fn run(command: &Command, arguments: lexopt::Parser) -> Result<ExitCode, Failure> {
    let Some(options) = Options::read(command, arguments)? else {
        return command.print_help();
    };
    let target = options.path.as_path();
    let place = Place::at(target)?;

    let template = match &options.template {
        Some(folder) => Template::read(folder)?,
        None => Template::embedded(),
    };
    let questions = Questions::parse(&template.questions)?;
    questions.check_keys(options.given.keys().map(String::as_str))?;
    let suggested = suggest(&questions, target);
    let mut typed = Given::new();
    let answers = questions.answer(&options.given, &suggested, |question: &Question<'_>, refused: Option<&str>| {
        match refused {
            None if !options.interactive => return question.checked_default(),
            Some(reason) if !options.interactive => return Err(Failure::usage(reason)),
            _ => {}
        }
        let answer = interview::ask(question, refused)?;
        typed.remove(question.key);
        if answer != question.default {
            typed.insert(question.key.to_owned(), answer.text());
        }
        Ok(answer)
    })?;

    let mut site = render(&template, &questions.settings, questions.jinja(), &answers.value())?;
    leave_out(&mut site, &left_out(&answers))?;
    let record = Record::of(&site, &answers, options.template.as_deref()).text();
    let record = Node::File { bytes: record.into_bytes().into(), executable: false };
    site.entry(record::FILE.to_owned()).or_insert(record);
    place.put(&site, target)?;

    let mut text = String::new();
    if options.interactive {
        text.push_str(&format!("\nthe same without questions:\n  {}\n\n", options.again(&typed)));
    }
    text.push_str(&made(&site, target, &answers));
    if options.git {
        text.push_str(&repository(git::init(target)));
        keep(&site, &answers, target);
    }
    if options.dev {
        say(&format!("{text}\n"))?;
        return dev::serve(target, dev::Options { open: true, ..dev::defaults() });
    }
    if options.serve {
        say(&text)?;
        return serve(target);
    }
    text.push_str(&next(target));
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

impl Options {
    /// None when help is asked for.
    fn read(command: &Command, mut arguments: lexopt::Parser) -> Result<Option<Self>, Failure> {
        let mut path: Option<PathBuf> = None;
        let mut options = Self {
            path: PathBuf::new(),
            given: Given::new(),
            template: None,
            interactive: false,
            git: true,
            serve: false,
            dev: false,
        };
        while let Some(argument) = arguments.next().map_err(Failure::arguments)? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                Arg::Short('i') | Arg::Long("interactive") => options.interactive = true,
                Arg::Long("no-git") => options.git = false,
                Arg::Long("serve") => options.serve = true,
                Arg::Long("dev") => options.dev = true,
                Arg::Long("template") => {
                    options.template = Some(arguments.value().map_err(Failure::arguments)?.into());
                }
                Arg::Long("name") => {
                    options.given.insert("project_name".to_owned(), text(arguments.value())?);
                }
                Arg::Long("description") => {
                    options.given.insert("description".to_owned(), text(arguments.value())?);
                }
                Arg::Long(option @ ("database" | "sessions")) => {
                    let key = option.to_owned();
                    options.given.insert(key, text(arguments.value())?);
                }
                Arg::Long("auth") => {
                    options.given.insert("auth".to_owned(), "yes".to_owned());
                }
                Arg::Long("set") => {
                    let pair = text(arguments.value())?;
                    let (key, value) = pair
                        .split_once('=')
                        .ok_or_else(|| Failure::usage(format!("--set takes KEY=VALUE, and `{pair}` has no =")))?;
                    options.given.insert(key.to_owned(), value.to_owned());
                }
                Arg::Value(value) if path.is_none() => path = Some(value.into()),
                other => return Err(command.unexpected(&other)),
            }
        }
        options.path = path
            .filter(|path| !path.as_os_str().is_empty())
            .ok_or_else(|| Failure::usage("where to? there is no PATH").remedy("for example: purlin new my-site"))?;
        Ok(Some(options))
    }

    /// The command that gives the same site without asking.
    fn again(&self, typed: &Given) -> String {
        let mut command = format!("purlin new {}", quote_path(&self.path.to_string_lossy()));
        for (key, value) in self.given.iter().chain(typed) {
            let value = match key.as_str() {
                "project_name" => format!(" --name {}", quote(value)),
                "description" | "database" | "sessions" => format!(" --{key} {}", quote(value)),
                "auth" if value == "yes" => " --auth".to_owned(),
                _ => format!(" --set {}", quote(&format!("{key}={value}"))),
            };
            command.push_str(&value);
        }
        if let Some(template) = &self.template {
            command.push_str(&format!(" --template {}", quote_path(&template.to_string_lossy())));
        }
        for (wanted, option) in [(!self.git, " --no-git"), (self.serve, " --serve"), (self.dev, " --dev")] {
            command.push_str(if wanted { option } else { "" });
        }
        command
    }
}

fn text(value: Result<OsString, lexopt::Error>) -> Result<String, Failure> {
    value
        .map_err(Failure::arguments)?
        .into_string()
        .map_err(|value| Failure::usage(format!("`{}` is not UTF-8", value.to_string_lossy())))
}

/// Defaults that are better than the template's own: names out of the path, and where the framework is.
fn suggest(questions: &Questions, target: &Path) -> Given {
    let mut suggested = Given::new();
    let mut suggest = |key: &str, value: String| {
        if questions.has(key) {
            suggested.insert(key.to_owned(), value);
        }
    };
    // `.` and `..` have a name only once they are resolved.
    let resolved = fs::canonicalize(target);
    let name = resolved.as_deref().unwrap_or(target).file_name().map(|name| name.to_string_lossy().into_owned());
    if let Some(name) = name {
        suggest("project_name", title(&name));
        // If neither can be, the template makes one out of what the site is called.
        let slug = [name.clone(), name.to_lowercase().replace(' ', "-")]
            .into_iter()
            .find(|slug| site_name::check(slug).is_ok());
        if let Some(slug) = slug {
            suggest("project_slug", slug);
        }
    }
    suggest("_purlin_version", VERSION.join("."));
    if let Some(checkout) = checkout() {
        suggest("_purlin_path", checkout);
    }
    suggested
}

/// `My Site` for `my-site`; a name with spaces or capitals in it is left as somebody wrote it.
fn title(name: &str) -> String {
    if name.contains(|c: char| c.is_whitespace() || c.is_uppercase()) {
        return name.to_owned();
    }
    let words = name.split(['-', '_']).filter(|word| !word.is_empty()).map(|word| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The framework and its tool bear one version, and a site takes every later release compatible with it.
pub(crate) const VERSION: [&str; 2] = [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR")];

/// The framework's source, when this program was built inside it and it is still there.
fn checkout() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let manifest = fs::read_to_string(root.join("Cargo.toml")).ok()?;
    let purlin = manifest.lines().any(|line| line.trim_end() == "name = \"purlin\"");
    (purlin && root.join("src/lib.rs").is_file()).then(|| root.to_str().map(str::to_owned))?
}

/// What is there now: a line for each folder.
fn made(site: &Site<'_>, target: &Path, answers: &Answers) -> String {
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, node) in site {
        if let Node::File { .. } = node {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            folders.entry(folder).or_default().push(name);
        }
    }
    let paint = Paint::stdout();
    let count: usize = folders.values().map(Vec::len).sum();
    let name = answers.text("project_name").map_or_else(String::new, |name| format!("{name}, "));
    let files = if count == 1 { "file" } else { "files" };
    let mut text = format!("{} {name}{count} {files} in {}\n", paint.green("made"), target.display());
    let width = folders.keys().map(|folder| folder.chars().count() + 1).max().unwrap_or(0);
    for (folder, names) in folders {
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        text.push_str(&format!("  {}  {}\n", paint.dim(&format!("{folder:width$}")), names.join("  ")));
    }
    text
}

/// Gives the repository the texts as they were written, for the day of an upgrade. A site without one has none to lose.
pub(crate) fn keep(site: &Site<'_>, answers: &Answers, folder: &Path) {
    let texts: Vec<(&str, &[u8])> = site
        .iter()
        .filter_map(|(path, node)| match node {
            Node::File { bytes, .. } if path != record::FILE => Some((path.as_str(), bytes.as_ref())),
            _ => None,
        })
        .collect();
    let name = answers.text("project_slug").unwrap_or_else(|| "site".to_owned());
    let _ = git::keep(folder, &name, &texts);
}

fn repository(repository: Repository) -> String {
    match repository {
        Repository::Made => "git: a new repository, nothing committed yet\n".to_owned(),
        Repository::Inside(around) => format!("git: part of the repository {}\n", around.display()),
        Repository::NoGit => "git: not found, so the site has no repository\n".to_owned(),
        Repository::Failed(message) => format!("git: no repository, since git init said: {message}\n"),
    }
}

fn next(target: &Path) -> String {
    let paint = Paint::stdout();
    let mut text = "\nnext:\n".to_owned();
    let mut line = |command: &str, what: &str| text.push_str(&format!("  {}{what}\n", paint.bold(command)));
    if target != Path::new(".") {
        line(&format!("cd {}", quote_path(&target.to_string_lossy())), "");
    }
    if !machine::is_on_path() {
        let install = match checkout() {
            Some(clone) => format!("cargo install --path {}", quote_path(&format!("{clone}/cookiecutter"))),
            None => "cargo install purlin-cli".to_owned(),
        };
        line(&install, "    puts this purlin on the PATH");
    }
    line("purlin dev", "    builds the site, serves it and says where; again at each change");
    line("cargo test", "    runs its tests");
    text
}

/// Hands over to `cargo run` in the site: its output, its signals and its exit code are the site's.
fn serve(target: &Path) -> Result<ExitCode, Failure> {
    say(&format!("\nbuilding and serving it: cargo run in {} (stop with Ctrl-C)\n", target.display()))?;
    // Set when cargo itself started this program, and then better than whatever stands in PATH.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = process::Command::new(&cargo);
    command.arg("run").current_dir(target);
    run_in_place(&mut command).map_err(|cause| {
        let failure = match cause.kind() {
            io::ErrorKind::NotFound => Failure::new("could not find cargo to run the site with"),
            _ => Failure::new(format!("could not run {}: {cause}", Path::new(&cargo).display())),
        };
        failure.remedy(format!(
            "the site is made; install Rust from https://rustup.rs, then cargo run in {}",
            target.display()
        ))
    })
}

/// Becomes the command: Ctrl-C reaches the site alone, and the shell waits until it has finished.
#[cfg(unix)]
fn run_in_place(command: &mut process::Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

/// Waits for the command; Ctrl-C reaches both of us, and the console waits for neither.
#[cfg(not(unix))]
fn run_in_place(command: &mut process::Command) -> io::Result<ExitCode> {
    let status = command.status()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
