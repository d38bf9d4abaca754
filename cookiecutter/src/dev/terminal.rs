//! `Terminal`: what `purlin dev` writes there, and the keys that it hears.

use super::Event;
use super::build::{Built, Progress, Word};
use super::process::is_in_foreground;
use super::trouble::{Trouble, seconds};
use crate::screen::Paint;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A line that was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Rebuild,
    Open,
    Quit,
}

pub(crate) struct Terminal {
    paint: Paint,
    /// Whether keys are heard.
    keys: bool,
    screen: Screen,
    progress: Option<JoinHandle<()>>,
    words: mpsc::UnboundedSender<Word>,
}

impl Terminal {
    /// Hears keys from here on, where there is somebody to press them.
    pub(crate) fn start(events: mpsc::UnboundedSender<Event>) -> Self {
        // In the background, reading would stop the program.
        let keys = io::stdin().is_terminal() && is_in_foreground();
        if keys {
            // A thread of its own, since nothing ends the reading of a terminal.
            std::thread::spawn(move || {
                for line in io::stdin().lock().lines().map_while(Result::ok) {
                    if let Some(key) = Key::read(&line)
                        && events.send(Event::Key(key)).is_err()
                    {
                        return;
                    }
                }
            });
        }
        let screen = Screen::default();
        let (words, mut said) = mpsc::unbounded_channel();
        tokio::spawn({
            let screen = screen.clone();
            async move {
                while let Some(Word::Rendered(text)) = said.recv().await {
                    screen.error(&text);
                }
            }
        });
        Self { paint: Paint::stdout(), keys, screen, progress: None, words }
    }

    /// Whether what others write is coloured, too.
    pub(crate) fn colours(&self) -> bool {
        Paint::stderr().is_on()
    }

    /// Where a build sends what the compiler says.
    pub(crate) fn words(&self) -> mpsc::UnboundedSender<Word> {
        self.words.clone()
    }

    pub(crate) fn begin(&self, name: &str, url: &str, taken: Option<&str>) {
        if let Some(taken) = taken {
            self.say(&format!("{taken}: the next free port is used\n"));
        }
        let keys = if self.keys { "r rebuilds, o opens it, q quits (and Enter)" } else { "Ctrl-C stops it" };
        self.say(&format!("{} on {}  {}\n", self.paint.bold(name), self.paint.bold(url), self.paint.dim(keys)));
    }

    /// Shows how a build stands, for as long as it lasts.
    pub(crate) fn building(&mut self, progress: &watch::Sender<Progress>, first: bool) {
        self.quiet();
        if !io::stdout().is_terminal() {
            if first {
                self.say("building\n");
            }
            return;
        }
        let (screen, mut progress) = (self.screen.clone(), progress.subscribe());
        self.progress = Some(tokio::spawn(async move {
            // A build that takes no time needs no line.
            tokio::time::sleep(Duration::from_millis(300)).await;
            loop {
                let current = progress.borrow_and_update().clone();
                screen.progress(&format!("building: {}  {}", current.crates(), current.now));
                if progress.changed().await.is_err() {
                    return;
                }
            }
        }));
    }

    pub(crate) fn changed(&self, paths: &[&Path], root: &Path) {
        let shown = |path: &&Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        let mut names = paths.iter().take(3).map(shown).collect::<Vec<_>>().join(", ");
        if paths.len() > 3 {
            names.push_str(&format!(" and {} more", paths.len() - 3));
        }
        self.say(&self.paint.dim(&format!("{names} changed\n")));
    }

    pub(crate) fn built(&mut self, built: &Built) {
        self.quiet();
        let warnings = match built.warnings {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            several => format!(", {several} warnings"),
        };
        let what = if built.fresh { "nothing to build" } else { "built" };
        self.say(&format!("{} in {}{warnings}\n", self.paint.green(what), seconds(built.took)));
    }

    pub(crate) fn serving(&mut self, after: Duration) {
        self.quiet();
        self.say(&format!("{} after {}\n", self.paint.green("serving"), seconds(after)));
    }

    /// It may be that it never will be.
    pub(crate) fn waits(&self, after: Duration) {
        let text = format!("not serving after {}: the site has named no address of plain http yet\n", seconds(after));
        self.say(&self.paint.dim(&text));
    }

    pub(crate) fn unchanged(&mut self) {
        self.quiet();
        self.say(&self.paint.dim("the executable is the same\n"));
    }

    pub(crate) fn refused(&mut self, errors: usize, took: Duration) {
        self.quiet();
        let errors = if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
        self.say(&format!("{} after {}; waiting for a change\n", self.paint.red(&errors), seconds(took)));
    }

    /// Cargo's words, or our own.
    pub(crate) fn failed(&mut self, said: &str) {
        self.quiet();
        self.screen.error(&format!("{}\n", said.trim_end()));
        self.say(&format!("{}; waiting for a change\n", self.paint.red("not built")));
    }

    /// Its last words stand above, as it wrote them.
    pub(crate) fn ended(&mut self, trouble: &Trouble) {
        self.quiet();
        let what = trouble.text.lines().next().unwrap_or_default();
        self.say(&format!("{}; waiting for a change\n", self.paint.red(what)));
    }

    pub(crate) fn stopping(&mut self) {
        self.quiet();
    }

    /// Opens the browser, as the system or `BROWSER` has it.
    pub(crate) fn open(&self, url: &str) {
        let own = std::env::var_os("BROWSER").filter(|browser| !browser.is_empty());
        let mut command = match own {
            Some(browser) => Command::new(browser),
            None if cfg!(target_os = "macos") => Command::new("open"),
            None if cfg!(windows) => {
                let mut command = Command::new("cmd");
                command.args(["/c", "start", ""]);
                command
            }
            None => Command::new("xdg-open"),
        };
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            // Waited for by nobody: it may be the browser itself.
            Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
            Err(_) => self.say(&format!("no browser could be started: open {url} yourself\n")),
        }
    }

    /// Ends the line that shows how the build stands.
    fn quiet(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.abort();
        }
    }

    fn say(&self, text: &str) {
        self.screen.say(text);
    }
}

impl Key {
    fn read(line: &str) -> Option<Self> {
        match line.trim() {
            "r" => Some(Self::Rebuild),
            "o" => Some(Self::Open),
            "q" => Some(Self::Quit),
            _ => None,
        }
    }
}

/// The lines of the terminal; the last one may be one that is written over.
#[derive(Clone, Default)]
struct Screen {
    passing: Arc<AtomicBool>,
}

impl Screen {
    /// A reader that has gone away is no failure: the site is served all the same.
    fn say(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(self.over(text).as_bytes()).and_then(|()| out.flush());
    }

    fn error(&self, text: &str) {
        let _ = io::stderr().lock().write_all(self.over(text).as_bytes());
    }

    fn progress(&self, text: &str) {
        // A line that is too long could not be written over.
        let text: String = text.chars().take(78).collect();
        let mut out = io::stdout().lock();
        let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
        self.passing.store(true, Ordering::Relaxed);
    }

    /// The text, in the place of a line that was not meant to stay.
    fn over(&self, text: &str) -> String {
        let clear = if self.passing.swap(false, Ordering::Relaxed) { "\r\x1b[K" } else { "" };
        format!("{clear}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_line_of_its_own() {
        assert_eq!(Key::read(" r\n"), Some(Key::Rebuild));
        assert_eq!(Key::read("o"), Some(Key::Open));
        assert_eq!(Key::read("q"), Some(Key::Quit));
        assert_eq!(Key::read("rq"), None);
        assert_eq!(Key::read(""), None);
    }

    #[test]
    fn a_line_that_passes_is_written_over_once() {
        let screen = Screen::default();
        assert_eq!(screen.over("a\n"), "a\n");
        screen.passing.store(true, Ordering::Relaxed);
        assert_eq!(screen.over("b\n"), "\r\x1b[Kb\n");
        assert_eq!(screen.over("c\n"), "c\n");
    }
}
