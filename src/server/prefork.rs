//! Several processes that serve the same sockets, and the one that keeps them alive.
//!
//! The parent opens the sockets, starts nothing of the application, and accepts nothing. How the sockets reach a process:
//!
//! | environment variable | what it says |
//! | --- | --- |
//! | [`CHILD`] | the process serves for the server that is configured to listen there, as [`serving`] writes it |
//! | [`SOCKETS`] | the file descriptors of its sockets, in the order in which that server opened them: `7,9` |
//! | `PURLIN_CONTROL` | the control channel, by which it says `ready`, and hears that it is to drain |
//!
//! The parent's successor is handed the sockets by [`handover`](super::handover), and hands them down in turn. No connection is lost
//! as long as one process has them open.

use super::connection::ON_ITS_WAY;
use super::listen::{Door, Kind, Socketed};
use super::{Opening, Server, Step, serving};
use crate::config::Runtime;
use crate::lock::locked;
use crate::race::unless;
use crate::site::Stopping;
use crate::spawn::{self, Control, Spawn};
use crate::supervisor::{Limits, Supervisor};
use crate::{Context, Error, Result};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// The environment variable by which a process knows that it is one of several which serve the same sockets.
pub(crate) const CHILD: &str = "PURLIN_SERVER";

/// The one by which it is handed them.
pub(crate) const SOCKETS: &str = "PURLIN_SERVER_SOCKETS";

/// Beside the time in which its requests may end: a child that has cut what was left is about to end.
const MORE: Duration = Duration::from_secs(2);

/// Whether this process is a child, of whichever server.
pub(super) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Whether this process is a child of that server.
pub(super) fn is_child_of(server: &Server) -> bool {
    std::env::var(CHILD).is_ok_and(|of| of == serving(&server.listen))
}

/// The sockets of a child.
pub(super) fn sockets() -> Result<Vec<Socketed>> {
    spawn::handed_over(SOCKETS)?.into_iter().map(|socket| Socketed::handed_down(socket, true)).collect()
}

/// # Errors
///
/// What does not go together with several processes.
pub(super) fn check(server: &Server) -> Result<()> {
    if server.runtime == Runtime::PerCore {
        return Err(Error::internal(format!(
            "`server.processes = {}` and `server.runtime = \"per-core\"` do not go together: either a process for each core \
             or a runtime for each",
            server.prefork
        )));
    }
    Ok(())
}

/// What a child hears of its parent.
pub(super) fn control() -> Result<Control> {
    let control = spawn::control()?.context(format!("a process with {CHILD} is started by its parent only"))?;
    // Who stops the site by a signal may send it to all processes of it. When these end is for the parent to say; only the second
    // one is for all.
    tokio::spawn(super::signals()?);
    Ok(control)
}

/// Keeps the processes alive until `shutdown` is ready, and returns when they have drained. `line` is printed when they serve.
///
/// # Errors
///
/// One of them does not start in the beginning: with its last lines. Later, it is tried again.
pub(super) async fn supervise(
    server: Server,
    sockets: Vec<Socketed>,
    line: Option<String>,
    mut opening: Option<Opening>,
    mut shutdown: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<()> {
    let limits = Limits { drain: server.drain + MORE, at_once: 1, ..Limits::default() };
    let of = serving(&server.listen);
    let sockets = Arc::new(Mutex::new(sockets));
    let handed = sockets.clone();
    let supervisor = Supervisor::new("process", server.prefork, limits, move |number| {
        let mut spawn = Spawn::this()?.named(&format!("process {number}")).env(CHILD, &of);
        for socket in locked(&handed).iter() {
            spawn = spawn.hand_over(SOCKETS, socket)?;
        }
        Ok((spawn, ()))
    });
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(supervisor.clone().run(Stopping::new(stopped)));
    let started = unless(&mut shutdown, supervisor.started()).await;
    let mut serves = matches!(started, Some(Ok(())));
    if serves {
        if let Some(line) = line {
            crate::run::say(format_args!("{line}"));
        }
        if let Some(opening) = &mut opening {
            serves = opening.started().await;
        }
    }
    if serves {
        locked(&sockets).iter().for_each(Socketed::own);
        opening.iter().for_each(|opening| opening.step(Step::Serving));
        shutdown.await;
    }
    tracing::info!(target: "purlin::server", "draining");
    // While the others still accept, so that they find all who have begun to connect.
    let shut = locked(&sockets).iter_mut().map(Socketed::shut).filter(|door| *door != Door::Elsewhere).count();
    if shut > 0 {
        tokio::time::sleep(ON_ITS_WAY).await;
    }
    // Those who come now are refused, and not left to wait for nobody.
    locked(&sockets).clear();
    stop.send_replace(true);
    opening.iter().for_each(|opening| opening.step(Step::Closed));
    let _ = running.await;
    started.unwrap_or(Ok(()))
}

impl AsFd for Socketed {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(socket) => socket.as_fd(),
            Kind::Unix(socket) => socket.as_fd(),
        }
    }
}
