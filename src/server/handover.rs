//! The sockets that one server hands over to the next, which runs in another process.

use super::listen::{Kind, LivesOn, Socketed};
use crate::config::Listen;
use crate::lock::locked;
use crate::spawn::handed_over;
use crate::{Context, Result};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The environment variable that has the numbers of the sockets: see [`spawn`](crate::spawn).
pub(crate) const SOCKETS: &str = "PURLIN_SOCKETS";

/// The environment variable that says what they are for, and how many of them, one after the other: a list in JSON,
/// `[["127.0.0.1:8000",1],["unix:/run/site.sock",1]]`.
pub(crate) const LISTEN: &str = "PURLIN_SOCKETS_LISTEN";

/// The sockets of a server, to be handed over while it serves.
#[derive(Debug, Default)]
pub(crate) struct Handover(Vec<Group>);

/// Those for one entry of `listen`: of several servers two may have equal ones, with port 0.
#[derive(Debug)]
struct Group {
    asked: Listen,
    sockets: Vec<(OwnedFd, LivesOn)>,
}

impl Handover {
    pub(super) fn of(sockets: &[Socketed]) -> Result<Self> {
        let mut groups: Vec<Group> = Vec::new();
        for socket in sockets {
            let duplicate: OwnedFd = match &socket.kind {
                Kind::Tcp(listener) => listener.try_clone().context("duplicating a socket")?.into(),
                Kind::Unix(listener) => listener.try_clone().context("duplicating a socket")?.into(),
            };
            let duplicate = (duplicate, socket.lives_on.clone());
            match groups.last_mut() {
                Some(group) if group.asked == socket.asked => group.sockets.push(duplicate),
                _ => groups.push(Group { asked: socket.asked.clone(), sockets: vec![duplicate] }),
            }
        }
        Ok(Self(groups))
    }

    /// Those of another server of this process too.
    pub(crate) fn and(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The sockets, for [`SOCKETS`].
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.0.iter().flat_map(|group| &group.sockets).map(|(socket, _)| socket)
    }

    /// What they are for, for [`LISTEN`].
    pub(crate) fn listen(&self) -> String {
        let all: Vec<_> = self.0.iter().map(|group| (group.asked.to_string(), group.sockets.len())).collect();
        serde_json::json!(all).to_string()
    }

    /// The next server has them: this one's end is not theirs.
    pub(crate) fn done(self) {
        for (_, lives_on) in self.0.iter().flat_map(|group| &group.sockets) {
            lives_on.set();
        }
    }
}

/// The sockets that a server before this one has handed over for `listen`. Each is taken once.
pub(super) fn take(listen: &Listen) -> Vec<OwnedFd> {
    let mut found = found();
    let at = found.iter().position(|(asked, _)| asked == listen);
    at.map(|at| found.remove(at).1).unwrap_or_default()
}

/// Closes what was handed over and is not listened on any more: the configuration has changed.
pub(crate) fn close_others() {
    for (listen, _) in found().drain(..) {
        tracing::info!(target: "purlin::server", %listen, "no longer listened on: closed");
    }
}

type Found = Vec<(Listen, Vec<OwnedFd>)>;

fn found() -> MutexGuard<'static, Found> {
    static FOUND: OnceLock<Mutex<Found>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        // What cannot be taken over is opened anew, and if that fails says why.
        let read = read().inspect_err(|error| {
            tracing::warn!(target: "purlin::server", error = format_args!("{error:#}"), "the sockets of the server before this one");
        });
        Mutex::new(read.unwrap_or_default())
    });
    locked(found)
}

fn read() -> Result<Found> {
    let Ok(listen) = std::env::var(LISTEN) else { return Ok(Vec::new()) };
    let listen: Vec<(String, usize)> = serde_json::from_str(&listen).context("reading PURLIN_SOCKETS_LISTEN")?;
    let mut sockets = handed_over(SOCKETS)?.into_iter();
    let group = |(asked, count): (String, usize)| Ok((asked.parse()?, sockets.by_ref().take(count).collect()));
    listen.into_iter().map(group).collect()
}
