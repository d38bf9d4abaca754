//! `Group`: a program with all that it starts, ended as one.

use std::io;
use tokio::process::{Child, Command};

/// The process group of a program that was started here. It is no part of the terminal's: Ctrl-C reaches it through us alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    leader: u32,
}

impl Group {
    /// Starts the program as the leader of a group of its own.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command) -> io::Result<(Child, Self)> {
        #[cfg(unix)]
        command.process_group(0);
        let child = command.kill_on_drop(true).spawn()?;
        let leader = child.id().ok_or_else(|| io::Error::other("it ended as it was started"))?;
        Ok((child, Self { leader }))
    }

    /// Asks the leader to end (SIGTERM), who knows what it has started.
    pub(crate) fn ask_to_end(self) {
        #[cfg(unix)]
        if let Some(leader) = self.pid() {
            let _ = rustix::process::kill_process(leader, rustix::process::Signal::TERM);
        }
        #[cfg(not(unix))]
        self.kill();
    }

    /// Asks everybody in it to end (SIGTERM).
    pub(crate) fn ask_all_to_end(self) {
        #[cfg(unix)]
        if let Some(leader) = self.pid() {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::TERM);
        }
        #[cfg(not(unix))]
        self.kill();
    }

    /// Ends everybody in it, at once (SIGKILL). It may be that nobody is left.
    pub(crate) fn kill(self) {
        #[cfg(unix)]
        if let Some(leader) = self.pid() {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
        #[cfg(windows)]
        {
            let id = self.leader.to_string();
            let _ = std::process::Command::new("taskkill").args(["/T", "/F", "/PID", &id]).output();
        }
    }

    #[cfg(unix)]
    fn pid(self) -> Option<rustix::process::Pid> {
        i32::try_from(self.leader).ok().and_then(rustix::process::Pid::from_raw)
    }
}

/// A future that is dropped leaves nothing behind of what it has started.
pub(crate) struct EndsWithIt(Option<Group>);

impl EndsWithIt {
    pub(crate) fn new(group: Group) -> Self {
        Self(Some(group))
    }

    /// It has been waited for: its number may be another's by now.
    pub(crate) fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for EndsWithIt {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            group.ask_all_to_end();
        }
    }
}

/// Whether this program may read the terminal: one in the background would be stopped if it tried to.
pub(crate) fn is_in_foreground() -> bool {
    #[cfg(unix)]
    {
        let group = rustix::termios::tcgetpgrp(std::io::stdin());
        group.is_ok_and(|group| group == rustix::process::getpgrp())
    }
    #[cfg(not(unix))]
    true
}
