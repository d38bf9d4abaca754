//! `purlin upgrade`: what has changed in the template since a site was made, as a patch for that site.

use super::Command;
use super::new;
use crate::change::Changes;
use crate::failure::Failure;
use crate::own_site::OwnSite;
use crate::questions::{Given, Questions, left_out};
use crate::record::{self, Record, blob_id};
use crate::render::{Node, leave_out, render};
use crate::screen::{complain, say};
use crate::shell::quote_path;
use crate::template::Template;
use crate::{diff, git, manifest};
use lexopt::Arg;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) const COMMAND: Command = Command {
    name: "upgrade",
    summary: "show what has changed in the template since the site was made",
    help: HELP,
    options: &["--apply", "--record", "--set", "--template", "--help"],
    work: run,
};

const HELP: &str = "\
usage: purlin upgrade [OPTIONS]

Prints what has changed in the template since the site was made, as a patch for the site as it is now: where both have
changed the same lines, it marks a conflict. Writes nothing, unless asked to. The patch goes to standard output, what it is
about to standard error.

The site's .purlin.json says what it was made from. A site that has none, as of the cookiecutter tool, gets one by --record:
from then on, what changes in the template later is told.

      --apply          write the changes too, into a git tree that is clean, and note that it was done
      --record         write .purlin.json for a site that is as the template of today makes it
      --set KEY=VALUE  answer a question of the template by its key, which the site's .purlin.json does not answer
      --template DIR   the cookiecutter template that the site was made from, where it is no more where it was
  -h, --help           this text

example:
  purlin upgrade | git apply --3way
";

#[derive(Default)]
struct Options {
    apply: bool,
    record: bool,
    given: Given,
    template: Option<PathBuf>,
}

fn run(command: &Command, mut arguments: lexopt::Parser) -> Result<ExitCode, Failure> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next().map_err(Failure::arguments)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return command.print_help(),
            Arg::Long("apply") => options.apply = true,
            Arg::Long("record") => options.record = true,
            Arg::Long("template") => options.template = Some(arguments.value().map_err(Failure::arguments)?.into()),
            Arg::Long("set") => {
                let pair = arguments.value().map_err(Failure::arguments)?.to_string_lossy().into_owned();
                let (key, value) = pair
                    .split_once('=')
                    .ok_or_else(|| Failure::usage(format!("--set takes KEY=VALUE, and `{pair}` has no =")))?;
                options.given.insert(key.to_owned(), value.to_owned());
            }
            other => return Err(command.unexpected(&other)),
        }
    }
    if options.apply && options.record {
        return Err(Failure::usage("--apply and --record cannot be together"));
    }
    let site = OwnSite::find()?;
    let record = match (Record::read(&site.root)?, options.record) {
        (Some(_), true) => {
            return Err(Failure::new(format!("there is a {} already", record::FILE)).remedy("purlin upgrade uses it"));
        }
        (Some(record), false) => record,
        (None, true) => unknown(&site, options.template.as_deref()),
        (None, false) => {
            return Err(Failure::new(format!(
                "there is no {} in {}: what the site was made from is not known",
                record::FILE,
                site.root.display()
            ))
            .remedy("it is of the cookiecutter tool, say, or the file was deleted; if it is as the template of today makes it:")
            .remedy("purlin upgrade --record --set database=sqlite --set auth=yes, with the answers that it was made with"));
        }
    };
    let folder = template_folder(&site.root, &record, options.template.as_deref())?;
    let template = match &folder {
        Some(folder) => Template::read(folder)?,
        None => Template::embedded(),
    };
    let questions = Questions::parse(&template.questions)?;
    questions.check_keys(options.given.keys().map(String::as_str))?;
    let mut given = record.answers.clone();
    // A question that is asked no more.
    given.retain(|key, _| questions.check_keys([key.as_str()]).is_ok());
    given.extend(options.given);
    if questions.has("_purlin_version") {
        given.insert("_purlin_version".to_owned(), new::VERSION.join("."));
    }
    let answers = questions
        .answer(&given, &Given::new(), |question, refused| match refused {
            None => question.checked_default(),
            Some(reason) => Err(Failure::usage(reason)),
        })
        .map_err(|failure| failure.remedy(format!("{} has the answers, and --set gives others", record::FILE)))?;
    let mut fresh = render(&template, &questions.settings, questions.jinja(), &answers.value())?;
    leave_out(&mut fresh, &left_out(&answers))?;
    fresh.remove(record::FILE);
    let next = Record::of(
        &fresh,
        &answers,
        folder.as_deref().map(|_| template_name(&record, options.template.as_deref())).as_deref().map(Path::new),
    );

    if options.record {
        let mut changes = Changes::of(&site.root);
        changes.create(record::FILE, next.text())?;
        changes.write()?;
        new::keep(&fresh, &answers, &site.root);
        say(&format!("created {}: from now on, purlin upgrade tells what has changed\n", record::FILE))?;
        return Ok(ExitCode::SUCCESS);
    }

    let mut upgrade = Upgrade::new(&site.root);
    let paths: BTreeSet<&String> = record.files.keys().chain(fresh.keys()).collect();
    for path in paths {
        let node = match fresh.get(path) {
            Some(Node::Folder) => continue,
            Some(Node::File { bytes, .. }) => Some(bytes.as_ref()),
            None => None,
        };
        upgrade.look_at(path, record.files.get(path).map(String::as_str), node, &next.version)?;
    }
    let clean = next.text() == record.text();
    complain(&upgrade.summary(&record.version, &next.version));
    if !options.apply {
        say(&upgrade.patch)?;
        return Ok(ExitCode::SUCCESS);
    }
    match git::is_clean(&site.root) {
        Some(true) => {}
        Some(false) => {
            return Err(Failure::new("the git tree has changes that are not committed; nothing was written")
                .remedy("git commit them, or git stash; then an upgrade can be looked at and undone by itself"));
        }
        None => {
            return Err(Failure::new("the site is in no git repository; nothing was written")
                .remedy("git init && git add . && git commit; or look at the patch: purlin upgrade | patch -p1"));
        }
    }
    if !clean {
        // As it lies there, which an older version or a formatter may have written.
        upgrade.changes.replace(record::FILE, site.read(record::FILE)?.unwrap_or_default(), next.text());
    }
    upgrade.changes.write()?;
    new::keep(&fresh, &answers, &site.root);
    let conflicts = upgrade.conflicts.len();
    say(&match (clean, conflicts) {
        (true, _) => "nothing to do\n".to_owned(),
        (false, 0) => "applied; look at it (git diff), run cargo test, and commit it\n".to_owned(),
        (false, _) => format!(
            "applied; mend the lines between <<<<<<< and >>>>>>> in {}, then cargo test\n",
            upgrade.conflicts.join(", ")
        ),
    })?;
    Ok(ExitCode::from(u8::from(conflicts > 0)))
}

/// The record of a site that has none: it bears its own name, and the rest is answered by `--set`, or as by default.
fn unknown(site: &OwnSite, template: Option<&Path>) -> Record {
    let name = manifest::value(&site.manifest, "package", "name").unwrap_or_default();
    Record {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        template: template.map(|folder| folder.to_string_lossy().into_owned()),
        answers: Given::from([("project_slug".to_owned(), name)]),
        files: Default::default(),
    }
}

/// The folder of the template; none for the one that the tool carries.
fn template_folder(root: &Path, record: &Record, given: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    if let Some(given) = given {
        return Ok(Some(given.to_owned()));
    }
    let Some(recorded) = &record.template else { return Ok(None) };
    // As it was said where `purlin new` was started: beside the site, mostly.
    let candidates = [PathBuf::from(recorded), root.join(recorded), root.join("..").join(recorded)];
    let found = candidates.into_iter().find(|folder| folder.join("cookiecutter.json").is_file());
    found.map(Some).ok_or_else(|| {
        Failure::new(format!("the site was made from the template {recorded}, which is not there"))
            .remedy("say where it is by now: purlin upgrade --template DIR")
    })
}

fn template_name(record: &Record, given: Option<&Path>) -> String {
    given.map(|folder| folder.to_string_lossy().into_owned()).or_else(|| record.template.clone()).unwrap_or_default()
}

/// What an upgrade comes to, file by file.
struct Upgrade {
    root: PathBuf,
    /// What the patch says before each path: git takes those of a patch from the top of the repository.
    prefix: String,
    changes: Changes,
    patch: String,
    changed: Vec<String>,
    conflicts: Vec<String>,
    /// What is left to the reader.
    notes: Vec<String>,
}

impl Upgrade {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            prefix: git::prefix(root).unwrap_or_default(),
            changes: Changes::of(root),
            patch: String::new(),
            changed: Vec::new(),
            conflicts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A file: `id` is that of what was written once, `theirs` what the template makes of it now.
    fn look_at(&mut self, path: &str, id: Option<&str>, theirs: Option<&[u8]>, version: &str) -> Result<(), Failure> {
        let place = self.root.join(path);
        let ours = fs::read(&place).ok();
        let Some(theirs) = theirs else {
            if ours.is_some() {
                self.notes.push(format!("{path}: the template has it no more; delete it, unless you use it"));
            }
            return Ok(());
        };
        if id == Some(blob_id(theirs).as_str()) || ours.as_deref() == Some(theirs) {
            return Ok(());
        }
        let Ok(theirs) = std::str::from_utf8(theirs) else {
            self.notes.push(format!("{path}: changed in the template, and no text"));
            return Ok(());
        };
        let Some(ours) = ours else {
            match id {
                None => self.put(path, None, theirs.to_owned()),
                Some(_) => self.notes.push(format!("{path}: changed in the template, and you have deleted it")),
            }
            return Ok(());
        };
        let Ok(ours) = String::from_utf8(ours) else {
            self.notes.push(format!("{path}: changed in the template, and yours is no text"));
            return Ok(());
        };
        let Some(id) = id else {
            self.notes.push(format!("{path}: new in the template, and you have one of your own"));
            return Ok(());
        };
        if blob_id(ours.as_bytes()) == id {
            self.put(path, Some(ours), theirs.to_owned());
            return Ok(());
        }
        if path == "Cargo.lock" {
            self.notes.push(format!("{path}: yours is another by now; cargo update brings new versions"));
            return Ok(());
        }
        let Some(base) = git::blob(&self.root, id) else {
            self.notes.push(format!(
                "{path}: both have changed it, and git does not have what it was ({id}); compare it with that of a new site"
            ));
            return Ok(());
        };
        let merged = git::merge(&ours, &base, theirs, &format!("purlin {version}"));
        let (text, conflicts) = merged
            .map_err(|cause| Failure::new(format!("could not merge {path}: {cause}")).remedy("is git installed?"))?;
        if text == ours {
            return Ok(());
        }
        if conflicts > 0 {
            self.conflicts.push(path.to_owned());
        }
        self.put(path, Some(ours), text);
        Ok(())
    }

    fn put(&mut self, path: &str, ours: Option<String>, new: String) {
        let old = ours.as_deref().unwrap_or_default();
        let id = |text: &str| blob_id(text.as_bytes());
        let place = format!("{}{path}", self.prefix);
        self.patch.push_str(&format!("diff --git a/{place} b/{place}\n"));
        match &ours {
            Some(old) => {
                self.patch.push_str(&format!("index {}..{} 100644\n--- a/{place}\n", id(old), id(&new)));
            }
            None => {
                let nothing = "0".repeat(40);
                self.patch.push_str(&format!("new file mode 100644\nindex {nothing}..{}\n--- /dev/null\n", id(&new)));
            }
        }
        self.patch.push_str(&format!("+++ b/{place}\n{}", diff::unified(old, &new)));
        self.changed.push(path.to_owned());
        match ours {
            Some(old) => self.changes.replace(path, old, new),
            None => self.changes.add(path, new),
        }
    }

    fn summary(&self, from: &str, to: &str) -> String {
        let mut text = format!("the site is of purlin {from}, the template of purlin {to}\n");
        text.push_str(&match self.changed.as_slice() {
            [] => "nothing has changed that the site does not have\n".to_owned(),
            [one] => format!("one file has changed: {one}\n"),
            more => format!("{} files have changed: {}\n", more.len(), more.join(", ")),
        });
        if !self.conflicts.is_empty() {
            text.push_str(&format!("both have changed the same lines of: {}\n", self.conflicts.join(", ")));
        }
        for note in &self.notes {
            text.push_str(&format!("  {note}\n"));
        }
        if !self.changed.is_empty() {
            let here = quote_path(&self.root.to_string_lossy());
            text.push_str(&format!("purlin upgrade --apply writes it, in {here}\n"));
        }
        text
    }
}
