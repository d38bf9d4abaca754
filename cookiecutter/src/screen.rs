//! What the tool writes: to standard output or error, coloured only for a terminal.

use crate::failure::Failure;
use std::io::{self, IsTerminal, Write};

/// Writes `text` to standard output. A reader that has gone away (`purlin help | head -1`) is no failure.
///
/// # Errors
///
/// Standard output cannot be written, for instance because it is a file on a full disk.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("could not write to standard output: {cause}")))
        }
        _ => Ok(()),
    }
}

/// Writes `text` to standard error. There is nowhere left to report a failure of this to.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Colours words, or leaves them as they are: without a terminal, with `NO_COLOR` set (<https://no-color.org>) or `TERM=dumb`.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn stdout() -> Self {
        Self { on: io::stdout().is_terminal() && wanted() }
    }

    pub(crate) fn stderr() -> Self {
        Self { on: io::stderr().is_terminal() && wanted() }
    }

    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}
