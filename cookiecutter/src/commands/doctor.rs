//! `purlin doctor`: looks for what is in the way of a site, and says how to mend it.

use super::Command;
use super::new::VERSION;
use crate::failure::Failure;
use crate::own_site::OwnSite;
use crate::screen::{Paint, complain, say};
use crate::shell::quote_path;
use crate::{machine, manifest, record};
use lexopt::Arg;
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{self, ExitCode, Stdio};
use std::{env, fs, io};

pub(crate) const COMMAND: Command = Command {
    name: "doctor",
    summary: "look for what is in the way of a site, with the remedies",
    help: HELP,
    options: &["--production", "--no-build", "--json", "--help"],
    work: run,
};

const HELP: &str = "\
usage: purlin doctor [OPTIONS]

Looks at the machine and, inside a site, at the site: tools and versions, the port, secrets, permissions, the record for
purlin upgrade; and by the site itself, which is built for it, at settings, stack, routes, templates and database. Needs no
network. Ends with 1 if something has failed; a warning is no failure.

      --production    look at the site as its visitors get it: with config/production.toml, and the secret in PURLIN__SECRET
      --no-build      leave out what only the built site can tell
      --json          print a list for programs
  -h, --help          this text

example:
  purlin doctor
";

#[derive(Clone, Copy, PartialEq)]
enum State {
    Ok,
    Warning,
    Failed,
}

struct Finding {
    about: String,
    state: State,
    says: String,
    /// A command, or what to do where there is none.
    remedy: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, about: &str, says: impl Into<String>) {
        self.0.push(Finding { about: about.to_owned(), state: State::Ok, says: says.into(), remedy: None });
    }

    fn warning(&mut self, about: &str, says: impl Into<String>, remedy: impl Into<String>) {
        self.add(about, State::Warning, says.into(), remedy.into());
    }

    fn failed(&mut self, about: &str, says: impl Into<String>, remedy: impl Into<String>) {
        self.add(about, State::Failed, says.into(), remedy.into());
    }

    fn add(&mut self, about: &str, state: State, says: String, remedy: String) {
        self.0.push(Finding { about: about.to_owned(), state, says, remedy: Some(remedy) });
    }
}

fn run(command: &Command, mut arguments: lexopt::Parser) -> Result<ExitCode, Failure> {
    let (mut production, mut build, mut as_json) = (false, true, false);
    while let Some(argument) = arguments.next().map_err(Failure::arguments)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return command.print_help(),
            Arg::Long("production") => production = true,
            Arg::Long("no-build") => build = false,
            Arg::Long("json") => as_json = true,
            other => return Err(command.unexpected(&other)),
        }
    }
    let mut findings = Findings::default();
    let site = OwnSite::find();
    tools(&mut findings, site.as_ref().ok());
    match &site {
        Ok(site) => {
            let environment = if production { "production".to_owned() } else { environment() };
            versions(&mut findings, site);
            port(&mut findings, site, &environment)?;
            secrets(&mut findings, site, production);
            permissions(&mut findings, site);
            recorded(&mut findings, site);
            if build {
                by_the_site(&mut findings, site, &environment);
            }
        }
        Err(failure) => findings.ok("site", format!("{}: only the machine was looked at", failure.message())),
    }
    let failed = findings.0.iter().filter(|finding| finding.state == State::Failed).count();
    let warnings = findings.0.iter().filter(|finding| finding.state == State::Warning).count();
    say(&if as_json { for_programs(&findings) } else { for_people(&findings, failed, warnings) })?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn environment() -> String {
    env::var("PURLIN_ENV").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "development".to_owned())
}

fn tools(findings: &mut Findings, site: Option<&OwnSite>) {
    let own = env!("CARGO_PKG_RUST_VERSION");
    let asked = site.and_then(|site| manifest::value(&site.manifest, "package", "rust-version"));
    let asked = asked.as_deref().filter(|asked| machine::numbers(asked) > machine::numbers(own)).unwrap_or(own);
    match machine::version_of("rustc") {
        None => findings.failed("rustc", "Rust is not installed", "install it from https://rustup.rs"),
        Some(version) if machine::numbers(&version) < machine::numbers(asked) => {
            findings.failed(
                "rustc",
                format!("{version}, and {asked} is the oldest that will do"),
                "rustup update stable",
            );
        }
        Some(version) => findings.ok("rustc", version),
    }
    match machine::version_of("cargo") {
        None => findings.failed("cargo", "cargo is not installed", "install it from https://rustup.rs"),
        Some(version) => findings.ok("cargo", version),
    }
    if cfg!(unix) {
        let install =
            if cfg!(target_os = "macos") { "xcode-select --install" } else { "apt-get install gcc libc6-dev" };
        match ["cc", "clang"].into_iter().find_map(machine::version_of) {
            None => findings.failed("linker", "there is no cc to link a site with", install),
            Some(version) => findings.ok("linker", version),
        }
    }
    for (program, component) in [("rustfmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        match machine::version_of(program) {
            None => findings.warning(
                component,
                format!("{program} is not there"),
                format!("rustup component add {component}"),
            ),
            Some(version) => findings.ok(component, version),
        }
    }
    match machine::version_of("git") {
        None => {
            findings.warning("git", "git is not there: purlin upgrade needs it", "install it from https://git-scm.com")
        }
        Some(version) => findings.ok("git", version),
    }
}

/// Purlin's version in the site, beside that of this tool: the two are released together.
fn versions(findings: &mut Findings, site: &OwnSite) {
    let own = env!("CARGO_PKG_VERSION");
    let found = match manifest::value(&site.manifest, "dependencies", "purlin").as_deref().and_then(path_of) {
        Some(path) => match fs::read_to_string(site.root.join(&path).join("Cargo.toml")) {
            Err(_) => {
                let says = format!("Cargo.toml takes Purlin from {path}, and it is not there");
                return findings.failed("purlin", says, "give the dependency `purlin` its right path, or a version");
            }
            Ok(text) => {
                let version = ["package", "workspace.package"]
                    .iter()
                    .find_map(|section| manifest::value(&text, section, "version").filter(|version| version != "true"));
                elsewhere(findings, site, &path);
                version.map(|version| (version, format!(" in {path}")))
            }
        },
        None => locked(site).map(|version| (version, " by Cargo.lock".to_owned())),
    };
    match found {
        None => {
            findings.warning(
                "purlin",
                "Cargo.lock does not say which Purlin the site is built with",
                "cargo generate-lockfile",
            );
        }
        // Before 1.0, the second number is the one that changes what works together.
        Some((version, place)) => {
            let (left, right) = (machine::numbers(&version), machine::numbers(own));
            if left.map(|[major, minor, _]| (major, minor)) == right.map(|[major, minor, _]| (major, minor)) {
                findings.ok("purlin", format!("{version}{place}, and this tool is of {own}"));
            } else if left < right {
                let says = format!("{version}{place}, and this tool is of {own}");
                findings.warning("purlin", says, format!("set the dependency `purlin` to {own}, then: purlin upgrade"));
            } else {
                let says = format!("{version}{place}, and this tool is of {own}");
                let clone = place.strip_prefix(" in ").map(|path| site.root.join(path).join("cookiecutter"));
                let remedy = match clone {
                    Some(tool) => format!("cargo install --path {}", quote_path(&tool.to_string_lossy())),
                    None => format!("cargo install purlin-cli --version {version}"),
                };
                findings.warning("purlin", says, remedy);
            }
        }
    }
}

/// A Purlin that lies outside of what the site's repository has is not there for others.
fn elsewhere(findings: &mut Findings, site: &OwnSite, path: &str) {
    let place = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let root = place(&site.root);
    let whole = root.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&root);
    if !place(&site.root.join(path)).starts_with(whole) {
        let says =
            format!("Cargo.toml takes Purlin from {path}: nobody else can build the site, nor a container or CI");
        let remedy = format!(
            "in the place of the path, put git = \"{}\" or version = \"{}\"",
            env!("CARGO_PKG_REPOSITORY"),
            VERSION.join("."),
        );
        findings.warning("purlin", says, remedy);
    }
}

/// `../purlin` of `{ path = "../purlin", … }`.
fn path_of(table: &str) -> Option<String> {
    let (_, rest) = table.split_once("path")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
    rest.split('"').next().map(str::to_owned)
}

fn locked(site: &OwnSite) -> Option<String> {
    // In a workspace it lies beside the manifest of that.
    let mut locks = site.root.ancestors().map(|folder| folder.join("Cargo.lock"));
    let lock = locks.find_map(|lock| fs::read_to_string(lock).ok())?;
    let package = lock.split("[[package]]").find(|package| package.contains("\nname = \"purlin\"\n"))?;
    manifest::value(&format!("[package]{package}"), "package", "version")
}

fn port(findings: &mut Findings, site: &OwnSite, environment: &str) -> Result<(), Failure> {
    let file = format!("config/{environment}.toml");
    let Some(text) = site.read(&file)? else { return Ok(()) };
    let listen = env::var("PURLIN__SERVER__LISTEN").ok().or_else(|| manifest::value(&text, "server", "listen"));
    let Some(listen) = listen else { return Ok(()) };
    // A socket of another kind is nobody's port.
    let Ok(address) = listen.parse::<SocketAddr>() else {
        findings.ok("port", format!("{file} listens at {listen}"));
        return Ok(());
    };
    match machine::is_free(address) {
        Ok(true) => findings.ok("port", format!("{address} is free")),
        Ok(false) => {
            let (who, stop) = match machine::listener(address.port()) {
                Some((id, _)) if machine::is_dev_in(id, &site.root) => {
                    findings.ok("port", format!("{address} is where purlin dev serves this site, process {id}"));
                    return Ok(());
                }
                Some((id, name)) => (format!(" by process {id}, {name}"), format!("kill {id}, or ")),
                None => (String::new(), String::new()),
            };
            let other = format!("{}:{}", address.ip(), address.port().wrapping_add(1));
            let remedy = format!("{stop}serve elsewhere: cargo run -- --listen {other}");
            findings.warning("port", format!("{address} is taken{who}"), remedy);
        }
        // In production it may be another who starts it.
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            let says = format!("{address}: not for you, who have no right to listen there");
            let remedy =
                "start it as the service that has it (AmbientCapabilities=CAP_NET_BIND_SERVICE), or by a proxy";
            findings.warning("port", says, remedy);
        }
        Err(cause) => {
            findings.failed(
                "port",
                format!("{address}: {cause}"),
                format!("name another address in {file}: server.listen"),
            );
        }
    }
    Ok(())
}

fn secrets(findings: &mut Findings, site: &OwnSite, production: bool) {
    let own = ".purlin/secret";
    if site.root.join(own).is_file() {
        match wide_open(&site.root.join(own)) {
            Some(mode) => {
                findings.failed(
                    "secret",
                    format!("others can read {own} (mode {mode:03o})"),
                    format!("chmod 600 {own}"),
                );
            }
            None => {
                match (git(site, &["ls-files", "--error-unmatch", own]), git(site, &["check-ignore", "--quiet", own])) {
                    (Some(true), _) => {
                        let remedy = format!("git rm --cached {own} && rm {own}: the next start makes another");
                        findings.failed("secret", format!("git keeps {own}"), remedy);
                    }
                    (_, Some(false)) if git(site, &["rev-parse", "--git-dir"]) == Some(true) => {
                        findings.failed("secret", format!("git does not ignore {own}"), "echo /.purlin >> .gitignore");
                    }
                    _ => findings.ok("secret", format!("{own} is readable by you alone, and not in git")),
                }
            }
        }
    } else {
        findings.ok("secret", format!("{own} is made at the first start"));
    }
    match env::var("PURLIN__SECRET") {
        Ok(secret) if secret.len() < 32 => {
            let says = "PURLIN__SECRET is too short to be one";
            findings.failed("secret", says, "export PURLIN__SECRET=$(openssl rand -hex 32)");
        }
        Ok(_) => findings.ok("secret", "PURLIN__SECRET is set, for production"),
        Err(_) if production => {
            let says = "PURLIN__SECRET is not set: the site would not start in production";
            findings.failed("secret", says, "export PURLIN__SECRET=$(openssl rand -hex 32)");
        }
        Err(_) => {}
    }
}

/// The mode, if somebody else may read the file.
#[cfg(unix)]
fn wide_open(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn wide_open(_: &Path) -> Option<u32> {
    None
}

/// Whether git says yes; none without git.
fn git(site: &OwnSite, arguments: &[&str]) -> Option<bool> {
    let mut git = process::Command::new("git");
    git.args(arguments).current_dir(&site.root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Some(git.status().ok()?.success())
}

fn permissions(findings: &mut Findings, site: &OwnSite) {
    let mut closed = Vec::new();
    for folder in ["", "data", "target", ".purlin"] {
        let place = site.root.join(folder);
        if !place.is_dir() {
            continue;
        }
        let probe = place.join(format!(".purlin-doctor-{}", process::id()));
        match fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)) {
            Ok(()) => {}
            Err(cause) => {
                closed.push(format!("{}: {cause}", if folder.is_empty() { "the site's folder" } else { folder }))
            }
        }
    }
    match closed.as_slice() {
        [] => findings.ok("folders", "all that the site writes to can be written to"),
        closed => {
            let remedy = format!("chown -R $(id -un) {}", site.root.display());
            findings.failed("folders", closed.join(", "), remedy);
        }
    }
}

fn recorded(findings: &mut Findings, site: &OwnSite) {
    match record::Record::read(&site.root) {
        Ok(Some(record)) => {
            findings.ok("record", format!("{} knows what purlin {} wrote", record::FILE, record.version))
        }
        Ok(None) => {
            let says = format!("there is no {}: purlin upgrade cannot tell what has changed since", record::FILE);
            findings.warning("record", says, "purlin upgrade --help says how to make one");
        }
        Err(failure) => findings.failed("record", failure.message(), format!("git checkout {}", record::FILE)),
    }
}

/// What the site's own command `check` finds, in this environment; of the others, whether their files can be read.
fn by_the_site(findings: &mut Findings, site: &OwnSite, environment: &str) {
    complain("building the site, to ask it …\n");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = |arguments: &[&str], environment: &str| {
        let mut command = process::Command::new(&cargo);
        // Nothing is fetched: what is not there is said.
        command
            .args(["run", "--quiet", "--offline", "--"])
            .args(arguments)
            .current_dir(&site.root)
            .stdin(Stdio::null());
        command.env("PURLIN_ENV", environment).output()
    };
    let build = process::Command::new(&cargo)
        .args(["build", "--quiet", "--offline"])
        .current_dir(&site.root)
        .stdin(Stdio::null())
        .output();
    match build {
        Ok(output) if output.status.success() => findings.ok("build", "the site compiles"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let first = text.lines().find(|line| line.starts_with("error")).unwrap_or("cargo build failed").to_owned();
            let remedy = if text.contains("--offline") { "cargo fetch" } else { "cargo build" };
            return findings.failed("build", first, remedy);
        }
        Err(cause) => {
            return findings.failed(
                "build",
                format!("could not run cargo: {cause}"),
                "install it from https://rustup.rs",
            );
        }
    }
    match run(&["check", "--json"], environment) {
        Ok(output) => match serde_json::from_slice::<Json>(&output.stdout) {
            Ok(Json::Array(list)) => list.iter().for_each(|finding| findings.0.push(told(finding))),
            _ => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                let first = text.lines().next().unwrap_or("it said nothing").to_owned();
                findings.failed("check", first, "cargo run -- check");
            }
        },
        Err(cause) => findings.failed("check", format!("could not run the site: {cause}"), "cargo run -- check"),
    }
    for other in environments(site).into_iter().filter(|other| other != environment && other != "test") {
        // Whether it has its secret is another question, which --production asks.
        let mut command = process::Command::new(&cargo);
        command.args(["run", "--quiet", "--offline", "--", "config"]).current_dir(&site.root).stdin(Stdio::null());
        command.env("PURLIN_ENV", &other).env("PURLIN__SECRET", "of purlin doctor, to read the settings with");
        match command.output() {
            Ok(output) if output.status.success() => {
                findings.ok("settings", format!("config/{other}.toml can be read"))
            }
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                let says = text.lines().next().unwrap_or("it cannot be read").trim_start_matches("error: ").to_owned();
                findings.failed("settings", says, format!("mend it, then: PURLIN_ENV={other} cargo run -- config"));
            }
            Err(_) => {}
        }
    }
}

/// The names for which there is a file in `config/`.
fn environments(site: &OwnSite) -> Vec<String> {
    let entries = fs::read_dir(site.root.join("config")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".toml")?.to_owned())).collect();
    names.sort();
    names
}

fn told(finding: &Json) -> Finding {
    let text = |key: &str| finding[key].as_str().map(str::to_owned);
    Finding {
        about: text("about").unwrap_or_default(),
        state: match finding["state"].as_str() {
            Some("ok") => State::Ok,
            Some("warning") => State::Warning,
            _ => State::Failed,
        },
        says: text("says").unwrap_or_default(),
        remedy: text("remedy"),
    }
}

fn for_programs(findings: &Findings) -> String {
    let list: Json = findings
        .0
        .iter()
        .map(|Finding { about, state, says, remedy }| {
            json!({ "about": about, "state": word(*state), "says": says, "remedy": remedy })
        })
        .collect();
    format!("{list:#}\n")
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Failed => "failed",
    }
}

fn for_people(findings: &Findings, failed: usize, warnings: usize) -> String {
    let paint = Paint::stdout();
    let mut text = String::new();
    for Finding { about, state, says, remedy } in &findings.0 {
        let state = match state {
            State::Ok => paint.green("ok     "),
            State::Warning => paint.bold("warning"),
            State::Failed => paint.red("failed "),
        };
        let mut lines = says.lines();
        text.push_str(&format!("{state}  {about:9}  {}\n", lines.next().unwrap_or_default()));
        for line in lines {
            text.push_str(&format!("{:20}{line}\n", ""));
        }
        if let Some(remedy) = remedy {
            text.push_str(&format!("{:18}→ {}\n", "", paint.bold(remedy)));
        }
    }
    text.push_str(&match (failed, warnings) {
        (0, 0) => "\nall is well\n".to_owned(),
        (failed, warnings) => format!("\n{failed} failed, {warnings} to look at\n"),
    });
    text
}
