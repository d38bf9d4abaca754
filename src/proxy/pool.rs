//! The kept connections to one server.

use super::address::Upstream;
use super::passing::Sent;
use super::{Proxy, late, locked};
use crate::{Body, Context as _, Error, Result};
use bytes::Bytes;
use http::StatusCode;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

impl Proxy {
    /// Sends the request by a kept connection or a new one.
    pub(super) async fn exchange(
        &self,
        to: &Upstream,
        mut req: http::Request<Body>,
        sent: &Mutex<Sent>,
    ) -> Result<(http::Response<Incoming>, Lease)> {
        let permit = self.permit().await?;
        while let Some(mut sender) = self.pool.take() {
            if !matches!(timeout(READY, sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            let safe = req.method().is_safe() && req.body().as_bytes().is_some_and(Bytes::is_empty);
            let again = safe.then(|| copy(&req));
            match self.in_time(sender.try_send_request(req), sent).await? {
                Ok(answer) => return Ok((answer, Lease { sender, pool: self.pool.clone(), permit })),
                Err(mut error) => match error.take_message().or(again) {
                    // The server had closed it: nothing was sent, or nothing that does any harm. Once, and then by a new
                    // connection: a request that kills who answers it is not to kill one for each that is kept.
                    Some(unsent) => {
                        req = unsent;
                        break;
                    }
                    None => return Err(Error::from(error.into_error()).status_code(StatusCode::BAD_GATEWAY)),
                },
            }
        }
        let mut sender = self.connect(to).await?;
        let answer = self.in_time(sender.send_request(req), sent).await?.or_status(StatusCode::BAD_GATEWAY)?;
        Ok((answer, Lease { sender, pool: self.pool.clone(), permit }))
    }

    /// A place among those who ask at the same time. It is not the connection that has it: an idle one keeps nobody waiting.
    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        match timeout(self.connect_timeout, self.pool.permits.clone().acquire_owned()).await {
            // Never closed.
            Ok(permit) => Ok(permit?),
            Err(_) => {
                let message = format!("{} connections are in use (`max_connections`)", self.max_connections);
                Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, message))
            }
        }
    }

    async fn connect(&self, to: &Upstream) -> Result<SendRequest<Body>> {
        let connecting = TcpStream::connect((to.host.as_str(), to.port));
        let stream = match timeout(self.connect_timeout, connecting).await {
            Ok(stream) => stream.context("connecting").or_status(StatusCode::BAD_GATEWAY)?,
            Err(_) => return Err(late("no connection", self.connect_timeout)),
        };
        // What is written is written whole; waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.or_status(StatusCode::BAD_GATEWAY)?;
        tokio::spawn(async move {
            // What is wrong with it, the sender is told.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// The answer, unless nothing has happened for too long.
    async fn in_time<T>(&self, answer: impl Future<Output = T>, sent: &Mutex<Sent>) -> Result<T> {
        let mut answer = pin!(answer);
        let mut last = Instant::now();
        locked(sent).last = last;
        loop {
            if let Ok(answer) = timeout_at(last + self.answer_timeout, &mut answer).await {
                return Ok(answer);
            }
            // An upload may take as long as it takes.
            let moved = locked(sent).last;
            if moved == last {
                return Err(late("no answer", self.answer_timeout));
            }
            last = moved;
        }
    }
}

/// The same request, without a body.
fn copy(req: &http::Request<Body>) -> http::Request<Body> {
    let mut copy = http::Request::new(Body::empty());
    *copy.method_mut() = req.method().clone();
    *copy.uri_mut() = req.uri().clone();
    *copy.headers_mut() = req.headers().clone();
    copy
}

/// How long a kept connection may take to be free: it has had its answer.
const READY: Duration = Duration::from_millis(100);

/// How many idle connections are kept, and for how long: less than servers keep them.
const MAX_IDLE: usize = 32;
const KEPT_FOR: Duration = Duration::from_secs(30);

/// The connections to the server.
#[derive(Debug)]
pub(super) struct Pool {
    /// By which the proxy knows itself in `Via`: one that is its own, since a request may well go through several of a site.
    pub(super) name: String,
    idle: Mutex<Idle>,
    permits: Arc<Semaphore>,
}

/// Those that are kept, the one that was used last at the end.
#[derive(Debug, Default)]
struct Idle {
    connections: Vec<(SendRequest<Body>, Instant)>,
    /// A task closes them when their time is over.
    swept: bool,
}

impl Idle {
    fn sweep(&mut self) {
        self.connections.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < KEPT_FOR);
    }
}

impl Pool {
    pub(super) fn new(connections: usize) -> Self {
        let mut bytes = [0; 4];
        let name = match getrandom::fill(&mut bytes) {
            Ok(()) => format!("purlin-{:08x}", u32::from_be_bytes(bytes)),
            Err(_) => "purlin".to_owned(),
        };
        let permits = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { name, idle: Mutex::default(), permits }
    }

    /// The one that was used last.
    fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = locked(&self.idle);
        idle.sweep();
        idle.connections.pop().map(|(sender, _)| sender)
    }

    fn keep(self: &Arc<Self>, sender: SendRequest<Body>) {
        let mut idle = locked(&self.idle);
        if sender.is_closed() || idle.connections.len() >= MAX_IDLE {
            return;
        }
        idle.connections.push((sender, Instant::now()));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes connections that were idle for long enough, until none is left.
async fn sweep(pool: Weak<Pool>) {
    while let Some(pool) = pool.upgrade() {
        let next = {
            let mut idle = locked(&pool.idle);
            idle.sweep();
            let Some((_, since)) = idle.connections.first() else {
                idle.swept = false;
                return;
            };
            *since + KEPT_FOR
        };
        drop(pool);
        sleep_until(next).await;
    }
}

/// A connection for as long as an answer needs it, with a place among those who ask at the same time.
pub(super) struct Lease {
    sender: SendRequest<Body>,
    pool: Arc<Pool>,
    permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn keep(self) {
        self.pool.keep(self.sender);
        // After it, so that who waits for a place finds the connection.
        drop(self.permit);
    }
}
