//! Accepting connections: on the runtime that is there, or on a thread for each core.

use super::connection::{ON_ITS_WAY, Shared};
use super::listen::{Door, Listener, Socketed};
use crate::config::Runtime;
use crate::race::unless;
use crate::{Context, Result};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// Those who accept.
pub(super) struct Crew {
    stage: watch::Sender<Stage>,
    /// Closed when nobody accepts any more.
    accepting: mpsc::Receiver<Never>,
    /// Closed when the threads have ended.
    working: mpsc::Receiver<Never>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Accept,
    Serve,
    End,
}

enum Never {}

/// How long a core's thread is waited for: a handler that blocks it must not keep the process.
const DISMISSAL: Duration = Duration::from_secs(1);

impl Crew {
    pub(super) fn start(
        shared: &Arc<Shared>,
        sockets: Vec<Socketed>,
        runtime: Runtime,
        max_connections: usize,
    ) -> Result<Self> {
        let (stage, stages) = watch::channel(Stage::Accept);
        let (accepts, accepting) = mpsc::channel(1);
        let (works, working) = mpsc::channel(1);
        let permits = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        let hand = Hand { shared: shared.clone(), permits, stages, accepts };
        match runtime {
            Runtime::PerCore => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                let mut shares: Vec<Vec<Socketed>> = Vec::new();
                shares.resize_with(cores, Vec::new);
                let mut at = 0;
                for socket in sockets {
                    if socket.can_share_port() {
                        // One for each core, and as many for each address: see `Server::bind`.
                        shares[at % cores].push(socket);
                        at += 1;
                    } else {
                        for share in &mut shares[1..] {
                            share.push(socket.another()?);
                        }
                        shares[0].push(socket);
                    }
                }
                for (core, sockets) in shares.into_iter().enumerate() {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    let runtime = runtime.context("starting a core's runtime")?;
                    let (hand, works) = (hand.clone(), works.clone());
                    let listeners = {
                        let _entered = runtime.enter();
                        sockets.into_iter().map(Socketed::into_listener).collect::<Result<Vec<_>>>()?
                    };
                    let work = move || {
                        let _works = works;
                        runtime.block_on(hand.work(listeners));
                        runtime.shutdown_background();
                    };
                    let thread = std::thread::Builder::new().name(format!("core-{core}"));
                    thread.spawn(work).context("starting a core's thread")?;
                }
            }
            _ => {
                for socket in sockets {
                    tokio::spawn(hand.clone().accept(socket.into_listener()?));
                }
            }
        }
        Ok(Self { stage, accepting, working })
    }

    /// Closes the sockets, after those who wait in their queues have been let in.
    pub(super) async fn stop_accepting(&mut self) {
        self.stage.send_replace(Stage::Serve);
        self.accepting.recv().await;
    }

    /// Ends the threads.
    pub(super) async fn dismiss(mut self) {
        self.stage.send_replace(Stage::End);
        let _ = timeout(DISMISSAL, self.working.recv()).await;
    }
}

/// One who accepts.
#[derive(Clone)]
struct Hand {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    stages: watch::Receiver<Stage>,
    /// Dropped with the last one who accepts.
    #[allow(dead_code, reason = "see above")]
    accepts: mpsc::Sender<Never>,
}

/// The shortest and the longest pause after the system could give no connection.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long the runtime may take to say that there is somebody in the queue.
const QUEUE: Duration = Duration::from_millis(5);

impl Hand {
    /// What a core's thread does: its connections live on its own runtime, and end with it.
    async fn work(self, listeners: Vec<Listener>) {
        let mut stages = self.stages.clone();
        for listener in listeners {
            tokio::spawn(self.clone().accept(listener));
        }
        drop(self);
        // An error: the server is gone.
        let _ = stages.wait_for(|stage| *stage == Stage::End).await;
    }

    async fn accept(mut self, mut listener: Listener) {
        let mut pause = PAUSES.0;
        while let Some(accepted) = self.unless_over(poll_fn(|cx| listener.poll_accept(cx))).await {
            match accepted {
                Ok((stream, connection)) => {
                    pause = PAUSES.0;
                    let permit = self.permit().await;
                    self.shared.serve(stream, connection, permit);
                }
                // A client that gave up waiting.
                Err(error) if is_of_one_client(&error) => {}
                // No file descriptors, no memory. Those that are in the queue stay there, and are served when there are.
                Err(error) => {
                    tracing::error!(target: "purlin::server", %error, pause_ms = pause.as_millis() as u64, "cannot accept");
                    self.shared.make_room();
                    self.unless_over(tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
        let door = listener.shut();
        if door == Door::Elsewhere {
            return;
        }
        // To those who are in the queue the kernel has said that we are there; and to some whose word of it is on its way.
        let end = Instant::now() + ON_ITS_WAY;
        loop {
            let limit = if door == Door::Shut { end } else { Instant::now() + QUEUE };
            let accepted = timeout_at(limit, poll_fn(|cx| listener.poll_accept(cx))).await;
            let Ok(Ok((stream, connection))) = accepted else { return };
            let Ok(permit) = self.permits.clone().try_acquire_owned() else { return };
            self.shared.serve(stream, connection, Some(permit));
        }
    }

    /// A place for one more connection: one that does nothing is asked to leave, for one that has something to ask.
    async fn permit(&mut self) -> Option<OwnedSemaphorePermit> {
        let permits = self.permits.clone();
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _crowd = self.shared.crowd();
        self.shared.make_room();
        // The semaphore is never closed; and when the server drains, one connection too many is no matter.
        self.unless_over(permits.acquire_owned()).await.and_then(Result::ok)
    }

    /// What the future gives, or `None` as soon as nothing more is to be accepted.
    async fn unless_over<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        unless(self.stages.wait_for(|stage| *stage != Stage::Accept), future).await
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
