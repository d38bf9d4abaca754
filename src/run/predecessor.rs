//! The server before this one, which has started this process to take over from it.
//!
//! Both talk by a pair of sockets, a line at a time. This process says `ready` when its application has started, waits for `go`, and
//! says `serving` when it accepts connections; before that, `said` and a text may tell what goes wrong. So a process which has not
//! been ready in time can be killed: it has never had a connection. (Its processes, where it keeps several, may: they drain.)

use crate::report::Redaction;
use crate::spawn::handed_over;
use crate::{Context, Error, Result};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The environment variable that has the number of the channel: see [`spawn`](crate::spawn).
pub(super) const CHANNEL: &str = "PURLIN_PREDECESSOR";

/// A predecessor that does not answer for so long is no match for this process.
const ANSWER: Duration = Duration::from_secs(30);

static PREDECESSOR: Mutex<Option<UnixStream>> = Mutex::new(None);

fn predecessor() -> MutexGuard<'static, Option<UnixStream>> {
    PREDECESSOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes over the channel, if there is one. From here on a panic is told to the predecessor as well.
pub(super) fn meet() {
    let channel = handed_over(CHANNEL).ok().and_then(|mut sockets| sockets.pop());
    let Some(channel) = channel else { return };
    *predecessor() = Some(UnixStream::from(channel));
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(&panic.to_string());
        before(panic);
    }));
}

pub(super) fn is_there() -> bool {
    predecessor().is_some()
}

/// Tells it what goes wrong.
pub(super) fn say(text: &str) {
    // The usual case: nobody waits for a word.
    let mut predecessor = predecessor();
    let Some(channel) = predecessor.as_mut() else { return };
    let text = Redaction::new().text(text);
    for line in text.lines() {
        let _ = writeln!(channel, "said {line}");
    }
}

/// Says that the application has started, and waits until connections may be accepted.
///
/// # Errors
///
/// The predecessor does not answer. One that has died has nothing against it.
pub(super) async fn ready() -> Result<()> {
    let Some(channel) = predecessor().as_ref().map(UnixStream::try_clone) else { return Ok(()) };
    let mut channel = channel.context("talking to the server before this one")?;
    let answered = tokio::task::spawn_blocking(move || {
        channel.set_read_timeout(Some(ANSWER))?;
        channel.write_all(b"ready\n")?;
        let mut answer = [0; 3];
        match channel.read_exact(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(*b"go\n"),
            read => read.map(|()| answer),
        }
    });
    match answered.await.context("talking to the server before this one")? {
        Ok(answer) if answer == *b"go\n" => Ok(()),
        Ok(answer) => {
            let found = String::from_utf8_lossy(&answer).into_owned();
            Err(Error::internal(format!("expected `go` of the server before this one, found {found:?}")))
        }
        Err(error) => match error.kind() {
            // It has died.
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => Ok(()),
            _ => Err(Error::from(error).context("waiting for the server before this one")),
        },
    }
}

/// Says that this process has taken over.
pub(super) fn serving() {
    if let Some(mut channel) = predecessor().take() {
        let _ = channel.write_all(b"serving\n");
    }
}
