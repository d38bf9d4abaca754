//! Why a command ended without doing its work, and what to do about it.

use crate::nearest::nearest;
use crate::screen;
use lexopt::Arg;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// What went wrong, in one lower-case line, and a remedy where there is one.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    remedy: Option<String>,
    usage: bool,
}

impl Failure {
    /// The work could not be done: exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None, usage: false }
    }

    /// The command line asks for something that cannot be: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(message) }
    }

    /// `could not {deed} {path}: {cause}`, with the remedy that suits the cause.
    pub(crate) fn file(deed: &str, path: &Path, cause: &io::Error) -> Self {
        let failure = Self::new(format!("could not {deed} {}: {cause}", path.display()));
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                failure.remedy("free some space, or choose a path on another disk")
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                failure.remedy("choose a path that you may write to")
            }
            _ => failure,
        }
    }

    /// What the argument parser itself found wrong.
    pub(crate) fn arguments(cause: lexopt::Error) -> Self {
        Self::usage(cause.to_string()).remedy("purlin COMMAND --help says what it takes")
    }

    /// An option that is none of `known` (written as on the command line); `otherwise` is the remedy when none is near.
    pub(crate) fn unknown_option(option: &Arg<'_>, known: &[&str], otherwise: &str) -> Self {
        let option = match option {
            Arg::Short(letter) => format!("-{letter}"),
            Arg::Long(name) => format!("--{name}"),
            Arg::Value(value) => {
                return Self::usage(format!("unexpected argument `{}`", value.to_string_lossy())).remedy(otherwise);
            }
        };
        let near = nearest(&option, known.iter().copied()).map(|near| format!("did you mean {near}?"));
        Self::usage(format!("unknown option {option}")).remedy(near.unwrap_or_else(|| otherwise.to_owned()))
    }

    /// Adds a line (or lines) that say what to do; earlier ones stay above it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        let remedy = remedy.into();
        self.remedy = Some(match self.remedy {
            Some(above) => format!("{above}\n{remedy}"),
            None => remedy,
        });
        self
    }

    /// What went wrong, without the remedy.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The message and the remedy, without colours.
    pub(crate) fn text(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("error: {}\n  {}", self.message, remedy.replace('\n', "\n  ")),
            None => format!("error: {}", self.message),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.usage { 2 } else { 1 })
    }

    /// Writes the message, then the remedy set in by two columns, to standard error.
    pub(crate) fn print(&self) {
        let mut text = format!("{} {}\n", screen::Paint::stderr().red("error:"), self.message);
        for line in self.remedy.iter().flat_map(|remedy| remedy.lines()) {
            text.push_str(if line.is_empty() { "" } else { "  " });
            text.push_str(line);
            text.push('\n');
        }
        screen::complain(&text);
    }
}
