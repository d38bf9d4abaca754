//! `Server`: an application on hyper, over HTTP/1.1 and HTTP/2.

mod accept;
#[cfg(all(feature = "cgi", unix))]
mod cgi;
mod connection;
mod gate;
#[cfg(unix)]
pub(crate) mod handover;
mod listen;
#[cfg(unix)]
pub(crate) mod prefork;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod wire;
#[cfg(all(unix, feature = "workers"))]
pub(crate) mod worker;

use crate::capabilities::Capabilities;
use crate::config::{Listen, Runtime, ServerConfig};
use crate::site::Life;
use crate::{BoxService, Connection, Context, Result, Service};
use accept::Crew;
use connection::Shared;
use listen::Socketed;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

#[cfg(feature = "tls")]
pub use tls::Tls;

/// In the extensions of an answer 101 whose connection ends by itself when the server drains.
#[cfg(any(feature = "websocket", all(unix, feature = "workers")))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct MindsDrain;

/// Serves an application.
///
/// What HTTP forbids and hyper lets through is refused with 400 and the connection closed: a request without `Host`, with
/// two or with one that is none, lines that end in a bare LF, two lengths, a length beside a transfer coding, and the like
/// (RFC 9112 §11.2). Below the server every request has a path for its target and its host in `Host`, whichever version
/// it came by.
///
/// A client that says nothing is not waited for: see the timeouts. One that half closes its connection after a request
/// (`nc -N`) is taken for gone, and its request dropped.
///
/// ```no_run
/// use purlin::server::{Server, signals};
/// use purlin::{Router, Stack, get};
///
/// # async fn example() -> purlin::Result<()> {
/// let app = Stack::new().app(Router::new().route("/", get(async || "Hello, world!")));
/// let server = Server::new().listen("127.0.0.1:8000".parse()?).bind()?;
/// println!("http://{}", server.addresses()[0]);
/// server.serve(app, signals()?).await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    listen: Vec<Listen>,
    limits: Limits,
    runtime: Runtime,
    drain: Duration,
    max_connections: usize,
    capabilities: Capabilities,
    prefork: usize,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    /// What a build without TLS cannot do.
    #[cfg(not(feature = "tls"))]
    tls: Option<crate::config::TlsConfig>,
}

#[derive(Clone, Debug)]
struct Limits {
    header_timeout: Duration,
    body_timeout: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    max_headers: usize,
    max_header_bytes: usize,
    http2: bool,
}

impl Server {
    /// With the defaults of each option, on 127.0.0.1:8000.
    pub fn new() -> Self {
        Self {
            listen: Vec::new(),
            limits: Limits {
                header_timeout: Duration::from_secs(15),
                body_timeout: Duration::from_secs(30),
                idle_timeout: Duration::from_secs(75),
                write_timeout: Duration::from_secs(30),
                max_headers: 100,
                max_header_bytes: 64 * 1024,
                http2: cfg!(feature = "http2"),
            },
            runtime: Runtime::Shared,
            drain: Duration::from_secs(8),
            max_connections: 8192,
            capabilities: Capabilities::new(),
            prefork: 1,
            tls: None,
        }
    }

    /// As the section `[server]` of the configuration says.
    pub fn from_config(config: &ServerConfig) -> Self {
        let mut server = Self::new()
            .header_timeout(config.header_timeout)
            .body_timeout(config.body_timeout)
            .idle_timeout(config.idle_timeout)
            .drain(config.drain)
            .max_connections(config.max_connections)
            .max_headers(config.max_headers)
            .max_header_bytes(config.max_header_bytes)
            .http2(config.http2)
            .runtime(config.runtime)
            .prefork(config.processes);
        server.listen.clone_from(&config.listen);
        #[cfg(feature = "tls")]
        {
            server.tls = Tls::from_config(&config.tls);
        }
        #[cfg(not(feature = "tls"))]
        if !config.tls.certificate.as_os_str().is_empty() {
            server.tls = Some(config.tls.clone());
        }
        server
    }

    /// Speaks TLS at all addresses, unix sockets excepted, which are for a proxy on this machine; not by default. With the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How it speaks TLS, if it does.
    #[cfg(all(feature = "deploy", feature = "tls"))]
    pub(crate) fn own_tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Speaks no TLS, whatever was said before.
    #[cfg(feature = "deploy")]
    pub(crate) fn without_tls(mut self) -> Self {
        self.tls = None;
        self
    }

    /// Sends nobody from http to https, whatever was said before.
    #[cfg(feature = "deploy")]
    #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
    pub(crate) fn without_redirects(mut self) -> Self {
        #[cfg(feature = "tls")]
        {
            self.tls = self.tls.map(|tls| tls.only_redirect_from(&[]));
        }
        self
    }

    /// Listens there, and at every other place that is named; 127.0.0.1:8000 if none is.
    pub fn listen(mut self, listen: Listen) -> Self {
        self.listen.push(listen);
        self
    }

    /// Listens there, and at no other place that was named before.
    #[cfg(feature = "deploy")]
    pub(crate) fn only_at(mut self, listen: &[Listen]) -> Self {
        self.listen = listen.to_vec();
        self
    }

    /// 15 seconds for the head of a request to arrive, from its first byte on, and on a new connection from its beginning;
    /// then 408 (RFC 9110 §15.5.9), or nothing if nothing was said.
    pub fn header_timeout(mut self, limit: Duration) -> Self {
        self.limits.header_timeout = limit;
        self
    }

    /// 30 seconds for the next piece of a request's body. Who reads the body then gets a 408 as an error, and the connection
    /// ends after the answer.
    pub fn body_timeout(mut self, limit: Duration) -> Self {
        self.limits.body_timeout = limit;
        self
    }

    /// 75 seconds for the next request to begin on a connection, which then is closed. Longer than proxies keep theirs, which
    /// is 60 seconds mostly: else a proxy sends a request into a closing connection now and then, and answers 502.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle_timeout = limit;
        self
    }

    /// 30 seconds for a client to take some of its answer; then the connection is cut. What counts is the connection: an
    /// HTTP/2 client that takes other streams but never this one is bounded by the number of streams only.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.limits.write_timeout = limit;
        self
    }

    /// 8192 connections open at the same time. The others wait in the system's queue until one is closed: an answer 503
    /// would cost what the limit is there to save.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// 100 header lines in one request; then 431 (RFC 6585 §5).
    pub fn max_headers(mut self, lines: usize) -> Self {
        self.limits.max_headers = lines;
        self
    }

    /// 64 KiB for the head of one request; then 431 (RFC 6585 §5), or 414 if it is the target that is longer than that.
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_header_bytes = bytes;
        self
    }

    /// HTTP/2 for clients which begin with it ("prior knowledge", RFC 9113 §3.3), as a proxy or `curl
    /// --http2-prior-knowledge`; on with the feature `http2`, without which it cannot be switched on.
    pub fn http2(mut self, http2: bool) -> Self {
        self.limits.http2 = http2 && cfg!(feature = "http2");
        self
    }

    /// 8 seconds for requests under way to end when the server stops; less than the 10 seconds that `docker stop` waits.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// [`Runtime::Shared`], one work-stealing runtime; or one for each core.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// Whether other processes serve the same site: beside this one, or on other machines. They are not seen from here, so this
    /// is for the site to say; off by default. Applications read it in their [`Capabilities`].
    pub fn processes(mut self, several: bool) -> Self {
        self.capabilities = self.capabilities.processes(several);
        self
    }

    /// So many processes which serve the same sockets, each of them this executable started once more; by default only this one
    /// does. On unix systems, and not with [`Runtime::PerCore`].
    ///
    /// This process then opens the sockets, starts nothing of the application, and keeps the others alive: one that crashes loses
    /// its own connections and is back at once, or in a crash loop within half a second. They are told to drain when this one is, and do
    /// so too if it dies. [`Capabilities::processes`] says it to the application.
    ///
    /// Where nothing in a site needs to outlive a crash of something else, one process with all its threads answers the same
    /// number of requests with less memory.
    pub fn prefork(mut self, processes: usize) -> Self {
        self.prefork = processes.max(1);
        self
    }

    /// Opens the sockets. No request is lost from here on: those that come before [`Bound::serve`] wait.
    ///
    /// # Errors
    ///
    /// An address that cannot be listened on, with what to do about it.
    pub fn bind(mut self) -> Result<Bound> {
        if self.listen.is_empty() {
            self.listen.push(Listen::Tcp(([127, 0, 0, 1], 8000).into()));
        }
        #[cfg(not(feature = "tls"))]
        if self.tls.is_some() {
            let message =
                "`server.tls.certificate` is set, and this build speaks no TLS: switch on Purlin's feature `tls`";
            return Err(crate::Error::internal(message));
        }
        #[cfg(feature = "tls")]
        let certificates = self.tls.as_ref().map(Tls::load).transpose()?;
        #[cfg(feature = "tls")]
        self.listen.extend(self.tls.iter().flat_map(|tls| tls.redirect_from.clone()));
        let part = Part::of(&self);
        if self.prefork > 1 {
            #[cfg(unix)]
            prefork::check(&self)?;
            #[cfg(not(unix))]
            return Err(crate::Error::internal("`server.processes`: several processes need a unix system"));
        }
        let sockets = match part {
            #[cfg(unix)]
            Part::Child => {
                self.capabilities = self.capabilities.processes(true);
                prefork::sockets()?
            }
            Part::Whole | Part::Parent => {
                let shares_port = self.runtime == Runtime::PerCore;
                let mut sockets = Vec::new();
                for listen in &self.listen {
                    let mut bound = Socketed::bind(listen, shares_port, &self.listen)?;
                    if shares_port && let Some(first) = bound.first().filter(|first| first.can_share_port()) {
                        let cores = std::thread::available_parallelism().map_or(1, usize::from);
                        // Those that were handed over may be of as many already.
                        let more = (bound.len()..cores).map(|_| first.another()).collect::<Result<Vec<_>>>()?;
                        bound.extend(more);
                    }
                    sockets.extend(bound);
                }
                sockets
            }
            // Its socket is another, which was handed over to it; or none.
            _ => Vec::new(),
        };
        let mut addresses = sockets.iter().map(Socketed::address).collect::<Result<Vec<_>>>()?;
        addresses.dedup();
        Ok(Bound {
            server: self,
            part,
            sockets,
            addresses,
            line: None,
            opening: None,
            #[cfg(feature = "tls")]
            certificates,
        })
    }

    /// Serves one connection that is there already, until it ends: for tests, and for what is no socket.
    ///
    /// # Errors
    ///
    /// An application that cannot start.
    pub async fn serve_connection<I>(&self, app: impl Service + 'static, io: I) -> Result<()>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let app = BoxService::new(app);
        let life = Life::start_with(&app, self.capabilities)?;
        #[cfg(feature = "tls")]
        let secure = match &self.tls {
            None => None,
            Some(tls) => Some(Arc::new(tls.clone().secure(tls.load()?, self.limits.http2, 443, Vec::new())?)),
        };
        let shared = Shared::new(
            app,
            self.limits.clone(),
            self.capabilities,
            #[cfg(feature = "tls")]
            secure,
        );
        let task = shared.serve(wire::Stream::Other(Box::new(io)), Connection::new(None, None), None);
        // A task that panicked has been reported by the panic hook, and its connection is closed: as over a socket.
        let _ = task.await;
        // One that was upgraded has left its task.
        shared.drained().await;
        life.end(self.drain).await;
        Ok(())
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

/// A server whose sockets are open.
#[derive(Debug)]
pub struct Bound {
    server: Server,
    part: Part,
    sockets: Vec<Socketed>,
    addresses: Vec<Listen>,
    line: Option<String>,
    opening: Option<Opening>,
    #[cfg(feature = "tls")]
    certificates: Option<Arc<tls::Certificates>>,
}

/// What this process does for a server.
#[derive(Clone, Debug)]
enum Part {
    /// All of it.
    Whole,
    /// It keeps others alive that serve.
    Parent,
    /// It is one of these.
    #[cfg(unix)]
    Child,
    /// It runs what stands below a boundary.
    #[cfg(all(unix, feature = "workers"))]
    Worker(worker::Seat),
    /// Nothing: it is there for another server of the same site.
    #[cfg(unix)]
    Nothing,
}

impl Part {
    fn of(server: &Server) -> Self {
        #[cfg(all(unix, feature = "workers"))]
        if let Some(seat) = worker::Seat::of_this_process() {
            return if seat.is_of(server) { Self::Worker(seat) } else { Self::Nothing };
        }
        #[cfg(unix)]
        if prefork::is_child() {
            return if prefork::is_child_of(server) { Self::Child } else { Self::Nothing };
        }
        if server.prefork > 1 { Self::Parent } else { Self::Whole }
    }
}

/// How whoever runs a server follows its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) steps: mpsc::UnboundedSender<Step>,
    /// Connections are accepted as soon as this is true.
    pub(crate) open: watch::Receiver<bool>,
}

/// How far a server has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Its application has started.
    Started,
    /// It accepts connections.
    Serving,
    /// It accepts no more.
    Closed,
}

impl Opening {
    /// Says that the application has started; whether connections are to be accepted. If not, another server serves on.
    async fn started(&mut self) -> bool {
        // Errors: nobody follows any more.
        let _ = self.steps.send(Step::Started);
        self.open.wait_for(|open| *open).await.is_ok()
    }

    fn step(&self, step: Step) {
        let _ = self.steps.send(step);
    }
}

impl Bound {
    /// Where it listens, with the port that was found for port 0.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// Printed by this process when others serve that it keeps alive: in them, the application has started.
    pub(crate) fn announce(mut self, line: &str) -> Self {
        self.line = Some(line.to_owned());
        self
    }

    /// Serves until `shutdown` is ready, then drains. No request is lost:
    ///
    /// - Connections that have begun are accepted, those in the system's queue too. New ones are kept out for the quarter of a
    ///   second that this takes (on Linux: their clients try again after one), and then refused.
    /// - What is asked from now on is answered with `Connection: close`. An idle connection, on which a request may be on its
    ///   way, is closed after a quarter of a second, and not before it has rested for a whole one. In HTTP/2 its client
    ///   is told at once which requests are answered.
    /// - Requests under way have [`Server::drain`]'s time to end; long ones learn of it by [`Stopping`](crate::site::Stopping).
    ///   Those that have not ended then are named in the log and cut.
    /// - A connection that was upgraded is at its end for who reads it, and cut with the others.
    ///
    /// Last, the application's background work is ended: within what is left of that time, or a second if that is more.
    ///
    /// # Errors
    ///
    /// An application that cannot start: what [`App::check`](crate::App::check) finds, or a layer's own reason.
    pub async fn serve(self, app: impl Service + 'static, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        self.serve_boxed(BoxService::new(app), pin!(shutdown)).await
    }

    /// Builds the runtime and serves until SIGTERM or SIGINT: what a `main` that is not async calls.
    ///
    /// `app` is called in the runtime, so that it may connect to a database.
    ///
    /// # Errors
    ///
    /// What `app` returns, and as for [`serve`](Self::serve).
    pub fn run<S, F>(self, app: impl FnOnce() -> F) -> Result<()>
    where
        S: Service + 'static,
        F: Future<Output = Result<S>>,
    {
        let runtime = self.runtime()?;
        let served = runtime.block_on(async {
            let shutdown = signals()?;
            #[cfg(unix)]
            if matches!(self.part, Part::Parent) {
                // Nothing of the application is made here.
                return prefork::supervise(self.server, self.sockets, self.line, self.opening, pin!(shutdown)).await;
            }
            self.serve(app().await?, shutdown).await
        });
        // A blocking task that never ends must not keep the process.
        runtime.shutdown_timeout(Duration::from_secs(1));
        served
    }

    /// Its sockets, for a server in another process.
    #[cfg(unix)]
    pub(crate) fn handover(&self) -> Result<handover::Handover> {
        handover::Handover::of(&self.sockets)
    }

    /// Whether this process answers for the site, and does not only serve what another one has told it to.
    #[cfg(unix)]
    pub(crate) fn leads(&self) -> bool {
        matches!(self.part, Part::Whole | Part::Parent)
    }

    /// Whether TLS is spoken at one of its addresses.
    pub(crate) fn speaks_tls_at(&self, listen: &Listen) -> bool {
        #[cfg(feature = "tls")]
        if let (Some(tls), Listen::Tcp(address)) = (&self.server.tls, listen) {
            let redirects = |from: &Listen| matches!(from, Listen::Tcp(from) if from.port() == address.port());
            return !tls.redirect_from.iter().any(redirects);
        }
        let _ = listen;
        false
    }

    /// Whether the application is for other processes to start.
    pub(crate) fn keeps_others(&self) -> bool {
        matches!(self.part, Part::Parent)
    }

    pub(crate) fn opening(mut self, opening: Opening) -> Self {
        self.opening = Some(opening);
        self
    }

    /// The runtime that it is to be served in.
    pub(crate) fn runtime(&self) -> Result<tokio::runtime::Runtime> {
        let runtime = match self.server.runtime {
            Runtime::PerCore => tokio::runtime::Builder::new_current_thread().enable_all().build(),
            _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
        };
        runtime.context("starting the runtime")
    }

    /// Not generic, so that it is compiled once, here.
    async fn serve_boxed(self, app: BoxService, shutdown: Pin<&mut (dyn Future<Output = ()> + Send)>) -> Result<()> {
        #[cfg_attr(not(unix), allow(unused_variables))]
        let Self {
            #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
            mut server,
            part,
            sockets,
            addresses,
            line,
            mut opening,
            #[cfg(feature = "tls")]
            certificates,
        } = self;
        #[cfg(unix)]
        let mut control = match part {
            Part::Whole => None,
            Part::Child => Some(prefork::control()?),
            Part::Parent => return prefork::supervise(server, sockets, line, opening, shutdown).await,
            #[cfg(feature = "workers")]
            Part::Worker(seat) => return seat.serve(server, app).await,
            Part::Nothing => {
                shutdown.await;
                return Ok(());
            }
        };
        let serving = serving(&server.listen);
        let life = match Life::start_at(&app, addresses.clone(), &serving, Some(server.capabilities)) {
            Ok(life) => life,
            Err(failed) => return Err(failed.told().await),
        };
        #[cfg(feature = "tls")]
        let secure = match server.tls.take().zip(certificates) {
            None => None,
            Some((tls, certificates)) => {
                let (plain, port) = ports(&tls, &sockets)?;
                Some(Arc::new(tls.secure(certificates, server.limits.http2, port, plain)?))
            }
        };
        #[cfg(feature = "tls")]
        let _watch = secure.as_ref().map(tls::Secure::watch);
        let shared = Shared::new(
            app,
            server.limits,
            server.capabilities,
            #[cfg(feature = "tls")]
            secure,
        );
        if let Some(opening) = &mut opening
            && !opening.started().await
        {
            life.end(Duration::from_secs(1)).await;
            return Ok(());
        }
        #[cfg(unix)]
        if control.is_none() {
            sockets.iter().for_each(Socketed::own);
        }
        let crew = Crew::start(&shared, sockets, server.runtime, server.max_connections)?;
        let step = |step| opening.iter().for_each(|opening| opening.step(step));
        step(Step::Serving);
        for address in &addresses {
            tracing::debug!(target: "purlin::server", %address, "listening");
        }
        #[cfg(unix)]
        if let Some(control) = &mut control {
            control.ready().await;
            control.ended(|| {}).await;
        } else {
            shutdown.await;
        }
        #[cfg(not(unix))]
        shutdown.await;
        wind_down(shared, crew, life, server.drain, || step(Step::Closed)).await;
        Ok(())
    }
}

/// The ports that redirect, and the one that they send to: the first that does not.
#[cfg(feature = "tls")]
fn ports(tls: &Tls, sockets: &[Socketed]) -> Result<(Vec<u16>, u16)> {
    let (mut plain, mut port) = (Vec::new(), None);
    for socket in sockets {
        let Listen::Tcp(address) = socket.address()? else { continue };
        // One that was handed down is known by its port only.
        let is_meant = |listen: &Listen| matches!(listen, Listen::Tcp(asked) if asked.port() == address.port());
        if tls.redirect_from.contains(&socket.asked) || tls.redirect_from.iter().any(is_meant) {
            plain.push(address.port());
        } else {
            port.get_or_insert(address.port());
        }
    }
    Ok((plain, port.unwrap_or(443)))
}

/// How a server is told from others of the same process, and known again in another: by where it is to listen.
fn serving(listen: &[Listen]) -> String {
    listen.iter().map(Listen::to_string).collect::<Vec<_>>().join(" ")
}

/// Drains a server, and ends what is left of it. `closed` is called when it accepts no more.
async fn wind_down(shared: Arc<Shared>, mut crew: Crew, life: Life, drain: Duration, closed: impl FnOnce()) {
    let deadline = tokio::time::Instant::now() + drain;
    tracing::info!(target: "purlin::server", "draining");
    shared.drain();
    crew.stop_accepting().await;
    closed();
    if tokio::time::timeout_at(deadline, shared.drained()).await.is_err() {
        shared.cut().await;
    }
    crew.dismiss().await;
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    for task in life.end(left.max(Duration::from_secs(1))).await {
        tracing::warn!(target: "purlin::server", task, "background work did not end: cut");
    }
}

/// Ready at the first SIGTERM or SIGINT (Ctrl-C). The second ends the process at once, with the status 128 and the signal's
/// number, as the signal itself would have.
///
/// # Errors
///
/// Where no signal can be waited for.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn signals() -> Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
        let mut next = async move || {
            std::future::poll_fn(|cx| {
                if terminate.poll_recv(cx).is_ready() {
                    std::task::Poll::Ready(15)
                } else {
                    interrupt.poll_recv(cx).map(|_| 2)
                }
            })
            .await
        };
        Ok(async move {
            next().await;
            tokio::spawn(async move {
                let signal = next().await;
                std::process::exit(128 + signal);
            });
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::spawn(async {
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(130);
                }
            });
        })
    }
}
