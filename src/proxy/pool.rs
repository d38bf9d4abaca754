//! The kept connections to one server.

use super::late;
use super::passing::Sent;
use crate::lock::locked;
use crate::{Body, Context as _, Error, Result};
use bytes::Bytes;
use http::StatusCode;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Where a server is reached.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A host, whose name is looked up for each new connection, and a port.
    Tcp(String, u16),
    /// The path of a socket.
    #[cfg(all(unix, feature = "workers"))]
    Unix(std::path::PathBuf),
}

impl Address {
    async fn connect(&self) -> Result<SendRequest<Body>> {
        match self {
            Self::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.context("connecting").or_status(StatusCode::BAD_GATEWAY)?;
                // What is written is written whole; waiting for more would only delay it.
                let _ = stream.set_nodelay(true);
                handshake(http1::Builder::new(), stream).await
            }
            #[cfg(all(unix, feature = "workers"))]
            Self::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await;
                let mut settings = http1::Builder::new();
                // It is one of ours, and says what it says without a worker too.
                settings.max_headers(1024);
                handshake(settings, stream.context("connecting").or_status(StatusCode::BAD_GATEWAY)?).await
            }
        }
    }
}

async fn handshake(
    settings: http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Body>> {
    let (sender, connection) = settings.handshake(TokioIo::new(stream)).await.or_status(StatusCode::BAD_GATEWAY)?;
    tokio::spawn(async move {
        // What is wrong with it, the sender is told.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

/// How long a server may take.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// Until there is a new connection.
    pub(crate) connect: Duration,
    /// For the head of the answer, from the moment when the last of the request was sent.
    pub(crate) answer: Duration,
    /// For the next piece of the answer's body, and for anything to pass through a tunnel.
    pub(crate) idle: Duration,
}

/// There is no answer.
pub(crate) enum Failed {
    /// Nothing of the request was sent: it may go to another server.
    #[cfg_attr(not(all(unix, feature = "workers")), allow(dead_code))]
    Unsent(Box<http::Request<Body>>, Error),
    /// It was sent, in part at least, and the connection has ended.
    Lost(Error),
    /// It was sent, and nothing has happened since for too long.
    Late(Error),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unsent(_, error) | Failed::Lost(error) | Failed::Late(error) => error,
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
pub(super) const MAX_IDLE: usize = 32;
const KEPT_FOR: Duration = Duration::from_secs(30);

/// The connections to one server that are kept.
#[derive(Debug)]
pub(crate) struct Pool {
    most: usize,
    idle: Mutex<Idle>,
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
    /// At most so many are kept.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, idle: Mutex::default() }
    }

    /// Sends the request by a kept connection or a new one, with a permit for a place among those who ask at the same time. It is
    /// not the connection that has it: an idle one keeps nobody waiting.
    ///
    /// With `again`, what a kept connection has lost is sent again if it is safe to (RFC 9110 §9.2.2).
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        to: &Address,
        mut req: http::Request<Body>,
        sent: &Mutex<Sent>,
        patience: &Patience,
        permit: OwnedSemaphorePermit,
        again: bool,
    ) -> Result<(http::Response<Incoming>, Lease), Failed> {
        while let Some(mut sender) = self.take() {
            if !matches!(timeout(READY, sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            let safe = again && req.method().is_safe() && req.body().as_bytes().is_some_and(Bytes::is_empty);
            let copied = safe.then(|| copy(&req));
            match in_time(sender.try_send_request(req), sent, patience.answer).await? {
                Ok(answer) => return Ok((answer, Lease { sender, pool: self.clone(), permit })),
                Err(mut error) => match error.take_message().or(copied) {
                    // The server had closed it: nothing was sent, or nothing that does any harm. Once, and then by a new
                    // connection: a request that kills who answers it is not to kill one for each that is kept.
                    Some(unsent) => {
                        req = unsent;
                        break;
                    }
                    None => return Err(Failed::Lost(broken(error.into_error()))),
                },
            }
        }
        let mut sender = match timeout(patience.connect, to.connect()).await {
            Ok(Ok(sender)) => sender,
            Ok(Err(error)) => return Err(Failed::Unsent(req.into(), error)),
            Err(_) => return Err(Failed::Unsent(req.into(), late("no connection", patience.connect))),
        };
        match in_time(sender.try_send_request(req), sent, patience.answer).await? {
            Ok(answer) => Ok((answer, Lease { sender, pool: self.clone(), permit })),
            Err(mut error) => match error.take_message() {
                Some(unsent) => Err(Failed::Unsent(unsent.into(), broken(error.into_error()))),
                None => Err(Failed::Lost(broken(error.into_error()))),
            },
        }
    }

    /// The one that was used last.
    fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = locked(&self.idle);
        idle.sweep();
        idle.connections.pop().map(|(sender, _)| sender)
    }

    fn keep(self: &Arc<Self>, sender: SendRequest<Body>) {
        let mut idle = locked(&self.idle);
        if sender.is_closed() || idle.connections.len() >= self.most {
            return;
        }
        idle.connections.push((sender, Instant::now()));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

fn broken(error: hyper::Error) -> Error {
    Error::from(error).status_code(StatusCode::BAD_GATEWAY)
}

/// The answer, unless nothing has happened for too long.
async fn in_time<T>(answer: impl Future<Output = T>, sent: &Mutex<Sent>, limit: Duration) -> Result<T, Failed> {
    let mut answer = pin!(answer);
    let mut last = Instant::now();
    locked(sent).last = last;
    loop {
        if let Ok(answer) = timeout_at(last + limit, &mut answer).await {
            return Ok(answer);
        }
        // An upload may take as long as it takes: how long a client may keep quiet is for who serves it to say.
        let Sent { last: moved, waits, .. } = *locked(sent);
        if waits {
            last = Instant::now();
            continue;
        }
        if moved <= last {
            return Err(Failed::Late(late("no answer", limit)));
        }
        last = moved;
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
pub(crate) struct Lease {
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
