//! `build`: cargo at work, and what it says.

use super::diagnostics::Diagnostic;
use super::process::{EndsWithIt, Group};
use super::project::{Choice, Project, cargo};
use super::{ansi, watch};
use serde_json::Value as Json;
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::{mpsc, watch as latest};

/// How a build stands, for who waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Packages that are compiled.
    pub(crate) done: usize,
    /// Packages that are as they were built before.
    pub(crate) fresh: usize,
    /// How many there are of both, where that is known.
    pub(crate) all: Option<usize>,
    /// What cargo said last: `Compiling tera v2.4.0`.
    pub(crate) now: String,
}

impl Progress {
    /// How many there are to compile, as far as that is known by now: cargo names first what is up to date.
    pub(crate) fn to_compile(&self) -> Option<usize> {
        self.all.filter(|_| self.done + self.fresh > 0).map(|all| all.saturating_sub(self.fresh).max(self.done))
    }

    /// `3 of 70 crates`; empty while nothing is known.
    pub(crate) fn crates(&self) -> String {
        let crates = |count: usize| if count == 1 { "crate" } else { "crates" };
        match (self.done, self.to_compile()) {
            (0, None | Some(0)) => String::new(),
            (done, Some(all)) => format!("{done} of {all} {}", crates(all)),
            (done, None) => format!("{done} {}", crates(done)),
        }
    }
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Built(Built),
    /// The compiler refused the source.
    Refused {
        errors: Vec<Diagnostic>,
        warnings: Vec<Diagnostic>,
        took: Duration,
    },
    /// Cargo itself could not go on; its words.
    Failed {
        said: String,
        command: String,
    },
}

#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) executable: PathBuf,
    /// The files that it is made of.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) warnings: usize,
    pub(crate) took: Duration,
    /// Nothing was compiled.
    pub(crate) fresh: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) choice: Choice,
    pub(crate) release: bool,
    /// Whether messages are coloured.
    pub(crate) colours: bool,
}

impl Options {
    fn arguments(&self, project: &Project) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["build", "--package", &project.package, "--bin", &project.bin].map(str::to_owned).into();
        if self.release {
            arguments.push("--release".to_owned());
        }
        if !self.choice.features.is_empty() {
            arguments.extend(["--features".to_owned(), self.choice.features.join(",")]);
        }
        arguments
    }

    /// What one types to see the same.
    pub(crate) fn command(&self, project: &Project) -> String {
        let mut words = vec!["cargo".to_owned(), "build".to_owned()];
        // The package and its only executable are what cargo takes by itself, mostly.
        if self.choice.package.is_some() {
            words.extend(["--package".to_owned(), project.package.clone()]);
        }
        if self.choice.bin.is_some() {
            words.extend(["--bin".to_owned(), project.bin.clone()]);
        }
        words.extend(self.arguments(project).split_off(5));
        words.join(" ")
    }
}

/// What of a build is for the terminal, as it comes.
pub(crate) enum Word {
    /// A message of the compiler, as it writes it.
    Rendered(String),
}

/// Builds. Dropping this ends cargo, and the compilers that it has started.
pub(crate) async fn build(
    project: &Project,
    options: &Options,
    progress: &latest::Sender<Progress>,
    words: &mpsc::UnboundedSender<Word>,
) -> Outcome {
    let begun = Instant::now();
    let mut command = Command::new(cargo());
    command.args(options.arguments(project)).current_dir(&project.folder);
    command.arg("--message-format=json-diagnostic-rendered-ansi");
    // As it would be without us: what the site's tests build is built with the same.
    for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "OUT_DIR"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |said: String| Outcome::Failed { said, command: options.command(project) };
    let (mut child, group) = match Group::start(&mut command) {
        Ok(started) => started,
        Err(cause) => return failed(format!("could not run cargo: {cause}")),
    };
    let ends = EndsWithIt::new(group);

    let mut built = Collected::new(project);
    let (mut said, mut last) = (Vec::new(), String::new());
    let messages = async {
        let mut lines = lines(child.stdout.take());
        while let Some(line) = lines.next().await {
            let Ok(message) = serde_json::from_str::<Json>(&line) else { continue };
            if let Some(diagnostic) = built.take(&message)
                && let Some(rendered) = &diagnostic.rendered
            {
                let _ =
                    words.send(Word::Rendered(if options.colours { rendered.clone() } else { ansi::plain(rendered) }));
            }
            let (done, fresh) = (built.packages.len(), built.up_to_date.len());
            progress.send_if_modified(|progress| {
                let before =
                    (std::mem::replace(&mut progress.done, done), std::mem::replace(&mut progress.fresh, fresh));
                before != (done, fresh)
            });
        }
    };
    let stderr = child.stderr.take();
    let notices = async {
        let mut lines = lines(stderr);
        while let Some(line) = lines.next().await {
            let line = ansi::plain(&line);
            let text = line.trim();
            const STEPS: [&str; 6] =
                ["Compiling ", "Blocking ", "Downloading ", "Downloaded ", "Updating ", "Building "];
            if STEPS.iter().any(|step| text.starts_with(step)) {
                last = text.split(" (").next().unwrap_or(text).to_owned();
                progress.send_modify(|progress| progress.now.clone_from(&last));
            } else if said.len() < 200 {
                said.push(line);
            }
        }
    };
    both(messages, notices).await;
    let status = child.wait().await;
    ends.has_ended();

    let took = begun.elapsed();
    let errors = std::mem::take(&mut built.errors);
    match (status, built.executable) {
        (Ok(status), Some(executable)) if status.success() => {
            let info = std::fs::read_to_string(executable.with_extension("d")).unwrap_or_default();
            let files = watch::files_of(&info);
            Outcome::Built(Built { executable, files, warnings: built.warnings.len(), took, fresh: built.fresh })
        }
        (Ok(status), None) if status.success() => failed("cargo has built no executable".to_owned()),
        (Err(cause), _) => failed(format!("could not wait for cargo: {cause}")),
        _ if !errors.is_empty() => Outcome::Refused { errors, warnings: built.warnings, took },
        _ => failed(said.join("\n").trim().to_owned()),
    }
}

/// What the messages of a build come to.
struct Collected<'a> {
    project: &'a Project,
    packages: HashSet<String>,
    /// Those of which nothing was compiled.
    up_to_date: HashSet<String>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    executable: Option<PathBuf>,
    fresh: bool,
}

impl<'a> Collected<'a> {
    fn new(project: &'a Project) -> Self {
        let (packages, up_to_date) = (HashSet::new(), HashSet::new());
        Self { project, packages, up_to_date, errors: vec![], warnings: vec![], executable: None, fresh: false }
    }

    /// Returns a message that has not been there before.
    fn take(&mut self, message: &Json) -> Option<&Diagnostic> {
        match message["reason"].as_str()? {
            "compiler-artifact" => {
                let target = &message["target"];
                let is =
                    |kind: &str| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|other| other == kind));
                // A package's build script comes before the package.
                if !is("custom-build") {
                    let package = message["package_id"].as_str()?.to_owned();
                    if message["fresh"] != true {
                        self.up_to_date.remove(&package);
                        self.packages.insert(package);
                    } else if !self.packages.contains(&package) {
                        self.up_to_date.insert(package);
                    }
                }
                if is("bin") && target["name"] == self.project.bin.as_str() {
                    self.executable = message["executable"].as_str().map(PathBuf::from);
                    self.fresh = message["fresh"] == true;
                }
                None
            }
            "compiler-message" => {
                let diagnostic = Diagnostic::read(&message["message"])?;
                let list = if diagnostic.is_error() { &mut self.errors } else { &mut self.warnings };
                // The library's may be the executable's too.
                if list.iter().any(|other| other.rendered == diagnostic.rendered) {
                    return None;
                }
                list.push(diagnostic);
                list.last()
            }
            _ => None,
        }
    }
}

/// The lines of a program's output; one that is not UTF-8 is read as far as it is.
pub(crate) fn lines<R: AsyncRead + Unpin>(from: Option<R>) -> Lines<R> {
    Lines { from: from.map(BufReader::new), line: Vec::new() }
}

pub(crate) struct Lines<R> {
    from: Option<BufReader<R>>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) async fn next(&mut self) -> Option<String> {
        self.line.clear();
        let read = self.from.as_mut()?.read_until(b'\n', &mut self.line).await;
        if read.ok()? == 0 {
            return None;
        }
        while self.line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.pop();
        }
        Some(String::from_utf8_lossy(&self.line).into_owned())
    }
}

/// Waits for both.
async fn both(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    let (mut first, mut second) = (false, false);
    std::future::poll_fn(|cx| {
        first = first || one.as_mut().poll(cx).is_ready();
        second = second || other.as_mut().poll(cx).is_ready();
        if first && second { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn project() -> Project {
        let metadata = json!({"packages": [{"name": "site", "id": "site 0.1", "manifest_path": "/w/Cargo.toml",
            "targets": [{"kind": ["bin"], "name": "site"}]}], "target_directory": "/t", "workspace_root": "/w"});
        Project::read(&metadata, std::path::Path::new("/w"), &Choice::default()).unwrap()
    }

    #[test]
    fn packages_are_counted_once_and_build_scripts_not_at_all() {
        let project = project();
        let mut built = Collected::new(&project);
        for (package, kind, fresh) in [
            ("a", "custom-build", false),
            ("a", "lib", false),
            ("b", "proc-macro", true),
            ("c", "lib", true),
            ("site 0.1", "lib", true),
            ("site 0.1", "bin", false),
        ] {
            let message = json!({"reason": "compiler-artifact", "package_id": package,
                "target": {"kind": [kind], "name": "site"}, "executable": "/t/debug/site", "fresh": fresh});
            assert!(built.take(&message).is_none());
        }
        assert_eq!((built.packages.len(), built.up_to_date.len()), (2, 2));
        assert_eq!(built.executable.unwrap(), PathBuf::from("/t/debug/site"));
        assert!(!built.fresh);
    }

    #[test]
    fn what_is_up_to_date_is_not_to_be_compiled() {
        for (done, fresh, all, expected) in [
            (3, 0, Some(70), "3 of 70 crates"),
            (0, 69, Some(70), "0 of 1 crate"),
            (1, 69, Some(70), "1 of 1 crate"),
            (0, 70, Some(70), ""),
            (0, 0, Some(70), ""),
            // There may be more than were expected.
            (71, 0, Some(70), "71 of 71 crates"),
            (3, 71, Some(70), "3 of 3 crates"),
            (0, 5, None, ""),
            (1, 5, None, "1 crate"),
        ] {
            let progress = Progress { done, fresh, all, now: String::new() };
            assert_eq!(progress.crates(), expected, "{progress:?}");
        }
    }

    #[test]
    fn a_message_that_comes_twice_is_one() {
        let project = project();
        let mut built = Collected::new(&project);
        let message = |level: &str, text: &str| {
            json!({"reason": "compiler-message", "message": {"message": text, "level": level, "spans": [{}],
                "children": [], "rendered": text}})
        };
        assert!(built.take(&message("warning", "unused")).is_some());
        assert!(built.take(&message("warning", "unused")).is_none());
        assert!(built.take(&message("error", "no")).is_some());
        assert_eq!((built.errors.len(), built.warnings.len()), (1, 1));
    }

    #[test]
    fn the_command_to_type_names_what_was_chosen() {
        let mut options = Options::default();
        assert_eq!(options.command(&project()), "cargo build");
        options.choice.bin = Some("site".to_owned());
        options.choice.features = vec!["a".to_owned(), "b".to_owned()];
        options.release = true;
        assert_eq!(options.command(&project()), "cargo build --bin site --release --features a,b");
    }
}
