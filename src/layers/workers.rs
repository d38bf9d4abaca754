//! Runs the rest of the stack in processes of its own.

use crate::crossing;
use crate::lock::locked;
use crate::proxy::passing::{arriving, leaving};
use crate::proxy::pool::{Address, Failed, Lease, Patience, Pool};
use crate::proxy::tunnel::tunnel;
use crate::proxy::{end_to_end, join_cookies, listed};
use crate::request::CspNonce;
use crate::server::worker;
use crate::site::{About, Start, Stopping};
use crate::spawn::Spawn;
use crate::supervisor::{Coming, Folder, Limits, Process, Supervisor};
use crate::{Body, Connection, Context as _, Error, Middleware, Request, RequestExt, Response, Result, Service};
use http::header::{CONNECTION, EXPECT, HOST, TE, UPGRADE};
use http::{HeaderValue, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::fmt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

/// Runs what stands below it in processes of its own: a crash, a leak or a loop without end is theirs, and not the server's.
///
/// Each of them is this executable, started once more. It puts the same stack together, and of that starts and serves only what
/// is below this line; what is above is not started there, and what is below not here. A request goes to the process that has
/// the fewest of them. Bodies are streamed both ways, WebSockets and other upgrades pass through, and an error that is
/// carried out comes up here as it would without this layer.
///
/// - **What crosses over** with a request: the client's address and whether it came by https, its id, the original URI and
///   method, the parameters of mounts, the limit of its body, the nonce of its Content-Security-Policy. What layers above
///   have put into its extensions beside that does not: a handler, or a layer, that needs it is reported when the site starts,
///   with the line to move. Put this layer above sessions, databases, state and templates, and below what serves files.
/// - **A process that dies** takes its own requests along: they are answered 502, with the cause for the log. It is back at once; in a
///   crash loop after a pause, which doubles up to half a second, or to 30 seconds where it does not even start. A request of which nothing was sent yet goes to another process.
/// - **What is kept in memory** is kept by each process for itself, which [`Capabilities`](crate::capabilities::Capabilities)
///   tell. Sessions belong into a cookie or a database then.
/// - **A drain** is heard of below when it begins, by [`Stopping`](crate::site::Stopping): that of the server, and that of a process
///   which is replaced.
/// - **Without a server**, in tests and for the command `request`, all stays in one process. So it does for a second
///   `Workers` below this one.
///
/// Only on unix systems.
///
/// # Errors
///
/// Carried: 502 Bad Gateway (RFC 9110 §15.6.3) where the process died, 504 Gateway Timeout where it did not answer in time and was
/// killed, 503 Service Unavailable where none is ready or all places are taken.
///
/// ```
/// use purlin::layers::{AccessLog, RequestIds, Workers};
/// use purlin::{Router, Stack, get};
///
/// let app = Stack::new()
///     .layer(RequestIds::new())
///     .layer(AccessLog::new())
///     .layer(Workers::new(4)) // from here on, in four processes
///     .app(Router::new().route("/", get(async || "Hello, world!")));
/// # app.check().unwrap();
/// ```
pub struct Workers {
    processes: usize,
    limits: Limits,
    patience: Patience,
    env: Vec<(String, String)>,
    crew: OnceLock<Supervisor<Worker>>,
    /// Whether somebody waits for the drain of the server, to pass it on.
    listens: Once,
}

/// By which one process is asked.
struct Worker {
    path: PathBuf,
    at: Address,
    pool: Arc<Pool>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It removes it itself, if it ends in peace.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A stream or a WebSocket may keep quiet: as long as its process lives, it is waited for.
const QUIET: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often a request is handed to another process, of which nothing was sent.
const TRIES: u32 = 4;

impl Workers {
    /// So many processes; one for each core is a good beginning.
    pub fn new(processes: usize) -> Self {
        Self {
            processes: processes.max(1),
            limits: Limits { drain: Duration::from_secs(8), ..Limits::default() },
            patience: Patience { connect: Duration::from_secs(5), answer: Duration::from_secs(60), idle: QUIET },
            env: Vec::new(),
            crew: OnceLock::new(),
            listens: Once::new(),
        }
    }

    /// 60 seconds for the head of an answer, from the moment when the last of the request was sent. Then the process is taken for
    /// hung and killed, with all other requests in it; and so is one of which all threads have been taken for so long, whoever waits
    /// for it. For answers that only take their time there is [`Deadline`](crate::layers::Deadline), below this layer and shorter.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.patience.answer = limit;
        self
    }

    /// 30 seconds for a process to be ready.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.limits.ready = limit;
        self
    }

    /// 8 seconds for what is under way in a process that is replaced or stopped; then it is killed.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.limits.drain = limit;
        self
    }

    /// Replaces a process after so many requests, against what leaks: never, by default. The new one is ready before the old one
    /// drains.
    pub fn max_requests(mut self, requests: u64) -> Self {
        self.limits.max_requests = Some(requests.max(1));
        self
    }

    /// Replaces a process whose resident memory is larger than so many bytes, which is looked at every five seconds: never, by
    /// default. Linux only.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.limits.max_memory = Some(bytes);
        self
    }

    /// 256 requests in one process at the same time. Others wait five seconds for a place.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.at_once = u32::try_from(connections.max(1)).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4);
        self
    }

    /// Starts the processes with the first request; off by default.
    pub fn lazy(mut self, lazy: bool) -> Self {
        self.limits.lazy = lazy;
        self
    }

    /// The threads of each process: one for each core, by default.
    pub fn threads(self, threads: usize) -> Self {
        // By which tokio's own default is set.
        self.env("TOKIO_WORKER_THREADS", threads.max(1).to_string())
    }

    /// Sets an environment variable of the processes, which have the server's beside it.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    async fn pass(&self, crew: &Supervisor<Worker>, mut req: Request) -> Result<Response> {
        self.listens.call_once(|| {
            // Only requests know of it: the site itself stops when they have been answered.
            let mut stopping = req.connection().map_or_else(Stopping::never, Connection::stopping);
            let crew = crew.clone();
            tokio::spawn(async move {
                stopping.wait().await;
                crew.soon();
            });
        });
        let nonce = req.extensions().get::<CspNonce>().cloned();
        let upgrade = upgrade_of(&mut req);
        let (name, crossing) = crossing::depart(&req)?;
        let (mut head, body) = req.into_parts();
        let asked = format!("{} {}", head.method, head.uri.path());
        let trailers = listed(&head.headers, TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
        end_to_end(&mut head.headers);
        join_cookies(&mut head.headers)?;
        // Answered by the server, if anybody waits for it.
        head.headers.remove(EXPECT);
        head.headers.insert(name, crossing);
        #[cfg(feature = "opentelemetry")]
        crate::traces::tell(&mut head.headers);
        if let Some((_, protocol)) = &upgrade {
            head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(UPGRADE, protocol.clone());
        }
        if trailers {
            // RFC 9110 §10.1.4
            head.headers.append(CONNECTION, HeaderValue::from_static("te"));
            head.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        // Only a client of that has none.
        head.version = if head.headers.contains_key(HOST) { Version::HTTP_11 } else { Version::HTTP_10 };
        let (mut out, sent) = leaving(head, body);
        let mut tries = 0;
        loop {
            let process = crew.least_busy().await?;
            let permit = match tokio::time::timeout(self.patience.connect, process.permits().acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                // It has just been replaced.
                Ok(Err(_)) => continue,
                Err(_) => {
                    let message = "all places of all workers are taken (`max_connections`)";
                    return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, message));
                }
            };
            process.count();
            let Worker { at, pool, .. } = process.of();
            match pool.exchange(at, out, &sent, &self.patience, permit, false).await {
                Ok((answer, lease)) => {
                    let mut response = answered(answer, lease, upgrade, &process)?;
                    crossing::take_back(&mut response, nonce.as_ref());
                    return Ok(response);
                }
                Err(failed) => {
                    // If it was the client's part that failed, it is that which is told.
                    if let Some(failed) = locked(&sent).failed.take() {
                        return Err(failed);
                    }
                    match failed {
                        Failed::Unsent(unsent, _) if tries < TRIES => {
                            tries += 1;
                            out = *unsent;
                            // It has died, which is known in a moment: the next one is another.
                            process.end().await;
                        }
                        Failed::Late(error) => {
                            let limit = self.patience.answer;
                            process.kill(format!("it did not answer {asked} within {limit:?}"));
                            return Err(error.context(format!("asking {process}, which is killed")));
                        }
                        Failed::Lost(error) | Failed::Unsent(_, error) => return Err(process.died(error).await),
                    }
                }
            }
        }
    }
}

/// Why there is no answer, or no more of it: by the end of its process, if that has ended.
fn answered(
    mut answer: http::Response<Incoming>,
    lease: Lease,
    upgrade: Option<(OnUpgrade, HeaderValue)>,
    process: &Arc<Process<Worker>>,
) -> Result<Response> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (client, _) = upgrade.context("a worker changed the protocol, and nobody had asked for it")?;
        let server = hyper::upgrade::on(&mut answer);
        tokio::spawn(tunnel(client, server, QUIET, lease));
        return Ok(answer.map(|_| Body::empty()));
    }
    Ok(arriving(answer, lease, QUIET).map(|body| Coming::of(body, process)))
}

/// Where the client wants its connection to become something else: that, and its name.
fn upgrade_of(req: &mut Request) -> Option<(OnUpgrade, HeaderValue)> {
    req.extensions().get::<OnUpgrade>()?;
    let wanted = listed(req.headers(), CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let protocol = req.headers().get(UPGRADE).filter(|_| wanted)?.clone();
    Some((hyper::upgrade::on(req), protocol))
}

impl Middleware for Workers {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        match self.crew.get() {
            // Boxed, so that nothing else has room kept for it.
            Some(crew) => Box::pin(self.pass(crew, req)).await,
            None => Ok(next.call(req).await),
        }
    }

    fn describe(&self, about: &mut About) {
        about.boundary();
        about.option("processes", self.processes).option("timeout", format_args!("{:?}", self.patience.answer));
        if let Some(requests) = self.limits.max_requests {
            about.option("max_requests", requests);
        }
        if let Some(bytes) = self.limits.max_memory {
            about.option("max_memory", crate::error::bytes_in_words(bytes));
        }
        if self.limits.lazy {
            about.option("lazy", true);
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        let Some(seat) = start.boundary() else { return Ok(()) };
        if self.crew.get().is_some() {
            return Ok(());
        }
        let folder = Folder::new()?;
        let place = folder.path().to_owned();
        let limits = Limits { hung: Some(self.patience.answer), ..self.limits.clone() };
        let kept = self.limits.at_once as usize;
        let count = std::sync::atomic::AtomicU64::new(0);
        let env = self.env.clone();
        let crew = Supervisor::new("worker", self.processes, limits, move |number| {
            let count = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let path = place.join(format!("{number}-{count}"));
            let socket = UnixListener::bind(&path).context(format!("listening on unix:{}", path.display()))?;
            let mut spawn = Spawn::this()?
                .named(&format!("worker {number}"))
                .env(worker::SEAT, &seat)
                .without_env(crate::server::prefork::CHILD)
                .hand_over(worker::SOCKET, &socket)?;
            for (name, value) in &env {
                spawn = spawn.env(name, value);
            }
            let at = Address::Unix(path.clone());
            Ok((spawn, Worker { path, at, pool: Arc::new(Pool::new(kept)) }))
        });
        start.task("workers", |stopping| {
            let crew = crew.clone();
            async move {
                // Until it is over, or cut.
                let _folder = folder;
                crew.run(stopping).await;
            }
        });
        // Set once: looked at above.
        let _ = self.crew.set(crew);
        Ok(())
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("processes", &self.processes)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
