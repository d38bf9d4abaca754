//! `Life`: how a site starts, what goes on beside its requests, and how it ends.

use super::{Outline, Site};
use crate::capabilities::Capabilities;
use crate::config::Listen;
use crate::{Connection, Error, FromRequest, Request, Result, Service};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

/// Who is told if the site does not start.
pub(crate) trait Told: fmt::Debug + Send + Sync {
    /// Tells it. What work that takes is begun at `start`, and is then awaited for some seconds.
    fn failed(&self, start: &mut Start, error: &Error);
}

/// What a layer or service may use when the site starts.
pub struct Start {
    site: Arc<Site>,
    namespace: String,
    host: Option<String>,
    tasks: Vec<Task>,
    stop: watch::Receiver<bool>,
    tells: bool,
    addresses: Vec<Listen>,
    capabilities: Option<Capabilities>,
    boundaries: Boundaries,
}

/// The boundaries between processes that a start has met.
#[derive(Default)]
struct Boundaries {
    #[cfg_attr(not(all(unix, feature = "workers")), allow(dead_code))]
    met: usize,
    /// What follows runs, and starts, in another process.
    elsewhere: bool,
    /// How the server is known in another process.
    #[cfg_attr(not(all(unix, feature = "workers")), allow(dead_code))]
    serving: String,
}

struct Task {
    name: &'static str,
    /// Whether it tells of failures, and so is done even if the site does not start.
    tells: bool,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Start {
    /// The whole site.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The prefix of route names where this service stands: `blog:` inside a mount named `blog`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The hosts that this service is for, where a [`Hosts`](crate::Hosts) stands above: see
    /// [`RouteInfo::host`](super::RouteInfo::host).
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Where the server listens; nothing where there is none, as in a test.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// What the server can do that starts the site; `None` where it does not say so.
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.capabilities
    }

    /// Makes the layer a boundary, and tells how the processes below it know it: nothing below starts here. `None` where no server
    /// starts the site, and everything stays in one process.
    #[cfg(all(unix, feature = "workers"))]
    pub(crate) fn boundary(&mut self) -> Option<String> {
        if self.addresses.is_empty() {
            return None;
        }
        self.boundaries.elsewhere = true;
        self.boundaries.met += 1;
        Some(crate::server::worker::Seat::written(self.boundaries.met - 1, &self.boundaries.serving))
    }

    /// Whether what stands below the layer that has just started does so in another process.
    pub(crate) fn is_elsewhere(&mut self) -> bool {
        std::mem::take(&mut self.boundaries.elsewhere)
    }

    /// Tells the whole site something, such as the URLs of its public files; a second value of one type replaces the first.
    ///
    /// Layers start from the outermost inwards: what a layer above wants to know of one below, it asks of
    /// [`Site::shared`] when it handles a request.
    pub fn share<T: Clone + Send + Sync + 'static>(&mut self, noun: T) {
        self.site.shared.write().unwrap_or_else(PoisonError::into_inner).insert(noun);
    }

    /// Starts work that goes on beside the requests: `work` begins when the server does, and is awaited when it drains.
    ///
    /// The future gets a [`Stopping`], and should end soon after that says so.
    pub fn task<F>(&mut self, name: &'static str, work: impl FnOnce(Stopping) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = Box::pin(work(Stopping(Some(self.stop.clone()))));
        self.tasks.push(Task { name, tells: self.tells, work });
    }

    /// The tasks that are begun here tell of failures.
    pub(crate) fn telling(&mut self, start: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.tells = true;
        let result = start(self);
        self.tells = false;
        result
    }

    pub(crate) fn on_host(
        &mut self,
        host: impl fmt::Display,
        start: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let before = self.host.replace(host.to_string());
        let result = start(self);
        self.host = before;
        result
    }

    pub(crate) fn within(&mut self, name: Option<&str>, start: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let before = self.namespace.len();
        if let Some(name) = name {
            self.namespace.push_str(name);
            self.namespace.push(':');
        }
        let result = start(self);
        self.namespace.truncate(before);
        result
    }
}

/// Tells that the server is draining: background work, and as an argument of a handler an answer that would go on for long, which
/// has [`server.drain`](crate::config::ServerConfig::drain) from then on to end by itself. What has not is cut.
///
/// ```
/// use purlin::site::Stopping;
///
/// /// Waits for news, at most until the server wants to end.
/// async fn poll(mut stopping: Stopping) -> &'static str {
///     # async fn news() -> &'static str { "news" }
///     let mut news = std::pin::pin!(news());
///     let mut over = std::pin::pin!(stopping.wait());
///     std::future::poll_fn(|cx| match over.as_mut().poll(cx).is_ready() {
///         true => std::task::Poll::Ready("ask again"),
///         false => news.as_mut().poll(cx),
///     })
///     .await
/// }
/// # purlin::get(poll);
/// ```
#[derive(Clone, Debug)]
pub struct Stopping(Option<watch::Receiver<bool>>);

impl Stopping {
    /// Told when the value becomes true.
    pub(crate) fn new(stopped: watch::Receiver<bool>) -> Self {
        Self(Some(stopped))
    }

    /// Of a server that says nothing of its end, as in a test: it never comes.
    pub(crate) fn never() -> Self {
        Self(None)
    }

    /// Returns when the server begins to drain; at once if it has.
    pub async fn wait(&mut self) {
        match &mut self.0 {
            // An error means that the sender is gone, and the site with it.
            Some(stop) => drop(stop.wait_for(|stopping| *stopping).await),
            None => std::future::pending().await,
        }
    }

    /// Whether the server drains.
    pub fn is_stopping(&self) -> bool {
        self.0.as_ref().is_some_and(|stop| *stop.borrow())
    }
}

/// Where no server said anything, it never stops.
impl FromRequest for Stopping {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(req.extensions().get::<Connection>().map_or_else(Self::never, Connection::stopping))
    }
}

/// The life of a started site: its background work, from the first request until it is drained.
#[derive(Debug)]
pub struct Life {
    site: Arc<Site>,
    stop: watch::Sender<bool>,
    tasks: Vec<(&'static str, tokio::task::JoinHandle<()>)>,
}

impl Life {
    /// Checks an application, starts it and its background work. Called by the server and the testing client.
    ///
    /// # Errors
    ///
    /// What [`App::check`](crate::stack::App::check) finds, or a layer's own reason not to start.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, if some layer has background work.
    pub fn start(service: &impl Service) -> Result<Self> {
        Self::start_at(service, Vec::new(), "", None).map_err(|failed| failed.error)
    }

    /// The same by a server that can do this.
    ///
    /// # Errors
    ///
    /// As for [`start`](Life::start).
    ///
    /// # Panics
    ///
    /// As for [`start`](Life::start).
    pub fn start_with(service: &impl Service, capabilities: Capabilities) -> Result<Self> {
        Self::start_at(service, Vec::new(), "", Some(capabilities)).map_err(|failed| failed.error)
    }

    /// The same for a server that listens at these addresses; `serving` is how another process knows it.
    pub(crate) fn start_at(
        service: &impl Service,
        addresses: Vec<Listen>,
        serving: &str,
        capabilities: Option<Capabilities>,
    ) -> Result<Self, NoStart> {
        let mut beginning = Beginning::of(service, addresses);
        beginning.start.capabilities = capabilities;
        beginning.start.boundaries.serving = serving.to_owned();
        let problem = beginning.problem.take();
        if let Some(error) = problem.or_else(|| service.start(&mut beginning.start).err()) {
            return Err(beginning.failed(error));
        }
        let Beginning { start: Start { site, tasks, .. }, stop, .. } = beginning;
        for layer in site.layers().iter().filter(|layer| layer.installed) {
            let (layer, line) = (&layer.name, layer.line());
            tracing::info!(target: "purlin::site", layer, line, "installed by the application, which found none above it");
        }
        let tasks = tasks.into_iter().map(|task| (task.name, tokio::spawn(task.work))).collect();
        Ok(Self { site, stop, tasks })
    }

    /// Starts what stands below a boundary of a site, and nothing else of it.
    #[cfg(all(unix, feature = "workers"))]
    pub(crate) fn start_below(
        service: &impl Service,
        below: &super::Below,
        capabilities: Capabilities,
    ) -> Result<Self> {
        let Beginning { mut start, stop, problem, .. } = Beginning::of(service, Vec::new());
        start.capabilities = Some(capabilities);
        start.namespace.clone_from(&below.namespace);
        start.host.clone_from(&below.host);
        if let Some(problem) = problem {
            return Err(problem);
        }
        below.service.start(&mut start)?;
        let Start { site, tasks, .. } = start;
        let tasks = tasks.into_iter().map(|task| (task.name, tokio::spawn(task.work))).collect();
        Ok(Self { site, stop, tasks })
    }

    /// An application that cannot be served, for this reason, whether or not it fits together.
    pub(crate) fn never(service: &impl Service, error: Error) -> NoStart {
        Beginning::of(service, Vec::new()).failed(error)
    }

    /// What was started.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Told when the background work is.
    #[cfg(all(test, unix))]
    pub(crate) fn stopping(&self) -> Stopping {
        Stopping::new(self.stop.subscribe())
    }

    /// Tells the background work to end and waits for it, at most `limit`; returns the names of what did not end.
    pub async fn end(self, limit: std::time::Duration) -> Vec<&'static str> {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + limit;
        let mut late = Vec::new();
        for (name, mut task) in self.tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                late.push(name);
            }
        }
        late
    }
}

/// A start before it has succeeded or failed.
struct Beginning {
    start: Start,
    stop: watch::Sender<bool>,
    told: Option<Arc<dyn Told>>,
    problem: Option<Error>,
}

impl Beginning {
    fn of(service: &impl Service, addresses: Vec<Listen>) -> Self {
        let mut outline = Outline::default();
        service.describe(&mut outline);
        let told = outline.told.take();
        let (site, problem) = outline.finish();
        let (stop, stopped) = watch::channel(false);
        let start = Start {
            site: Arc::new(site),
            namespace: String::new(),
            host: None,
            tasks: Vec::new(),
            stop: stopped,
            tells: false,
            addresses,
            capabilities: None,
            boundaries: Boundaries::default(),
        };
        Self { start, stop, told, problem }
    }

    /// Tells whom the stack names. Other work does not begin.
    fn failed(mut self, error: Error) -> NoStart {
        if let Some(told) = self.told {
            told.failed(&mut self.start, &error);
        }
        let Start { site, mut tasks, .. } = self.start;
        tasks.retain(|task| task.tells);
        NoStart { error, site, stop: self.stop, tasks }
    }
}

/// A start that failed.
pub(crate) struct NoStart {
    error: Error,
    site: Arc<Site>,
    stop: watch::Sender<bool>,
    tasks: Vec<Task>,
}

impl NoStart {
    /// Why it failed, as soon as those are told who are to be; and at most five seconds later.
    pub(crate) async fn told(self) -> Error {
        let Self { error, site, stop, tasks } = self;
        let tasks = tasks.into_iter().map(|task| (task.name, tokio::spawn(task.work))).collect();
        for task in (Life { site, stop, tasks }).end(TELLING).await {
            tracing::warn!(target: "purlin::report", task, "the failed start could not be told in time");
        }
        error
    }
}

/// Whoever waits for the process to end does not wait longer for a server of mails.
const TELLING: std::time::Duration = std::time::Duration::from_secs(5);
