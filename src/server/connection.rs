//! One connection: its place among those that are open, and the requests that come by it.

use super::Limits;
use super::gate::{self, KnownHost, Refusal};
#[cfg(feature = "tls")]
use super::tls::Opened;
use super::wire::{Stream, Version, Wire};
use crate::capabilities::Capabilities;
use crate::lock::locked;
use crate::panic::{caught, guarded};
use crate::response::Logged;
use crate::service::BoxFuture;
use crate::site::Stopping;
use crate::{Body, BoxService, Connection, Error, Response, ResponseExt, spare};
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};

/// What all connections share.
pub(super) struct Shared {
    app: BoxService,
    pub(super) limits: Limits,
    capabilities: Capabilities,
    http1: http1::Builder,
    #[cfg(feature = "http2")]
    http2: hyper::server::conn::http2::Builder<hyper_util::rt::TokioExecutor>,
    #[cfg(feature = "tls")]
    secure: Option<Arc<super::tls::Secure>>,
    /// Since when, in milliseconds since the server began, and one more; 0 while it does not.
    draining: AtomicU64,
    stopping: watch::Sender<bool>,
    /// Who waits for a place.
    waiting: AtomicU32,
    began: Instant,
    count: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Slot>>>,
    closed: Notify,
}

impl Shared {
    pub(super) fn new(
        app: BoxService,
        limits: Limits,
        capabilities: Capabilities,
        #[cfg(feature = "tls")] secure: Option<Arc<super::tls::Secure>>,
    ) -> Arc<Self> {
        let mut http1 = http1::Builder::new();
        // The wire has a timer of its own, which costs a request nothing. `pipeline_flush` stays off: with it, hyper keeps an
        // answer back as long as part of another request is there, and takes a streamed body into memory without a limit. The wire
        // keeps it back for a whole one.
        http1.header_read_timeout(None).max_header_size(limits.max_header_bytes);
        http1.max_buf_size(limits.max_header_bytes.max(400 * 1024));
        if limits.max_headers != 100 {
            // hyper has 100 without an allocation for each request, and then only if it is not told.
            http1.max_headers(limits.max_headers);
        }
        Arc::new(Self {
            app,
            http1,
            #[cfg(feature = "http2")]
            http2: {
                let mut http2 = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                http2.max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX));
                http2
            },
            #[cfg(feature = "tls")]
            secure,
            limits,
            capabilities,
            draining: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            waiting: AtomicU32::new(0),
            began: Instant::now(),
            count: AtomicU64::new(0),
            open: Mutex::default(),
            closed: Notify::new(),
        })
    }

    fn clock(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Slot>>> {
        locked(&self.open)
    }

    /// Starts a task that serves the connection.
    pub(super) fn serve(
        self: &Arc<Self>,
        io: Stream,
        connection: Connection,
        permit: Option<OwnedSemaphorePermit>,
    ) -> tokio::task::JoinHandle<()> {
        let connection =
            connection.with_capabilities(self.capabilities).with_stopping(Stopping::new(self.stopping.subscribe()));
        let entry = Entry::new(self, connection, permit);
        let slot = entry.slot.clone();
        let task = tokio::spawn(serve(self.clone(), io, entry));
        let _ = slot.abort.set(task.abort_handle());
        task
    }

    /// Tells answers that go on, by their [`Stopping`], that the end is near. Connections go on.
    pub(super) fn begin_to_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Tells every connection to end: a busy one after its answer, which says that it is the last one. An idle one may be asked
    /// something at this very moment, and a request that meets a closing connection is lost: it is closed once it has rested, see
    /// [`Slot::rests_until`].
    pub(super) fn drain(&self) {
        self.draining.store(self.clock(Instant::now()) + 1, Ordering::SeqCst);
        self.begin_to_stop();
        for slot in self.open().values() {
            if slot.is_upgraded() {
                slot.tell();
            }
            slot.wake();
        }
    }

    fn draining_since(&self) -> Option<Instant> {
        let since = self.draining.load(Ordering::SeqCst).checked_sub(1)?;
        Some(self.began + Duration::from_millis(since))
    }

    /// Until it is dropped, connections end with their answer: others wait for their places.
    pub(super) fn crowd(self: &Arc<Self>) -> Crowd {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Crowd(self.clone())
    }

    /// Tells the connection to end that has been idle for longest.
    pub(super) fn make_room(&self) {
        let open = self.open();
        // Of one that was upgraded nobody here knows whether it is idle.
        let open = open.values().filter(|slot| !slot.is_told() && !slot.is_upgraded());
        let idle = open.filter_map(|slot| Some((slot.idle_since()?, slot)));
        if let Some((_, slot)) = idle.min_by_key(|(since, _)| *since) {
            slot.note("closed for another one: `max_connections` are open");
            slot.tell();
            slot.wake();
        }
    }

    /// Waits until no connection is open.
    pub(super) async fn drained(&self) {
        loop {
            let closed = self.closed.notified();
            let mut closed = pin!(closed);
            closed.as_mut().enable();
            if self.open().is_empty() {
                return;
            }
            closed.await;
        }
    }

    /// Cuts what is still open; each request says in the log what it was.
    pub(super) async fn cut(&self) {
        let slots: Vec<_> = self.open().values().cloned().collect();
        for slot in &slots {
            slot.cut.store(true, Ordering::SeqCst);
            if let Some(task) = slot.abort.get() {
                task.abort();
            }
            if slot.is_upgraded() {
                tracing::warn!(target: "purlin::server", peer = slot.peer(), "an upgraded connection is still open: cut");
                slot.wake_upgraded();
            }
        }
        // The streams of HTTP/2 are tasks of their own, which notice it when they are polled.
        for _ in 0..LAST_WORDS {
            if !slots.iter().any(|slot| slot.is_busy()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// One more that waits for a place.
pub(super) struct Crowd(Arc<Shared>);

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many milliseconds the requests that are cut have to say so: a handler that blocks its thread never does.
const LAST_WORDS: u32 = 100;

/// How long what a client has sent may be on its way: a round trip between two continents.
pub(super) const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// How long a connection that is in use may rest before its next request. One that has rested for longer is hardly asked just
/// when it is closed.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection's place among those that are open; it is given up when the wire is dropped.
pub(super) struct Entry {
    id: u64,
    slot: Arc<Slot>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Entry {
    fn new(shared: &Arc<Shared>, connection: Connection, permit: Option<OwnedSemaphorePermit>) -> Self {
        let slot = Arc::new(Slot {
            shared: shared.clone(),
            connection,
            told: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            minds_drain: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            since: AtomicU64::new(shared.clock(Instant::now())),
            waker: OnceLock::new(),
            abort: OnceLock::new(),
            cut: AtomicBool::new(false),
            keeps: AtomicBool::new(false),
            upgraded_wakers: Mutex::default(),
            #[cfg(feature = "tls")]
            scheme: OnceLock::new(),
        });
        let id = shared.count.fetch_add(1, Ordering::Relaxed);
        shared.open().insert(id, slot.clone());
        Self { id, slot, _permit: permit }
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.slot.shared.open();
        open.remove(&self.id);
        if open.is_empty() {
            self.slot.shared.closed.notify_waiters();
        }
    }
}

/// A connection as it is seen from outside of its task.
pub(super) struct Slot {
    shared: Arc<Shared>,
    connection: Connection,
    told: AtomicBool,
    upgraded: AtomicBool,
    /// Who has taken the connection over ends it when the server drains.
    minds_drain: AtomicBool,
    /// How many requests there have been, refused ones too, and in the lower half how many are being answered: one number, changed at once.
    requests: AtomicU64,
    /// When the last request came or, if its answer took its time, when that had left: in milliseconds since the server began.
    since: AtomicU64,
    waker: OnceLock<Waker>,
    abort: OnceLock<AbortHandle>,
    /// The server has lost patience: requests that are dropped from here on say so.
    cut: AtomicBool,
    /// The wire keeps an answer back for the next one, which is there in a moment.
    keeps: AtomicBool,
    /// Who reads and who writes a connection that was upgraded: it has left its task, and nobody else wakes them.
    upgraded_wakers: Mutex<[Option<Waker>; 2]>,
    /// Where the server speaks TLS.
    #[cfg(feature = "tls")]
    scheme: OnceLock<Scheme>,
}

/// How a connection came to a server that speaks TLS.
#[cfg(feature = "tls")]
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scheme {
    Https,
    /// To be sent there.
    Http,
}

/// Which half of a connection.
#[derive(Clone, Copy)]
pub(super) enum Half {
    Read,
    Write,
}

impl Slot {
    pub(super) fn is_told(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    /// Tells the connection to end; its driver acts on it when its task is next polled.
    pub(super) fn tell(&self) {
        self.told.store(true, Ordering::SeqCst);
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
        self.wake_upgraded();
    }

    fn wake_upgraded(&self) {
        if self.is_upgraded() {
            let wakers = std::mem::take(&mut *locked(&self.upgraded_wakers));
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }

    /// Has the task woken, which waits for a half of a connection that was upgraded, when that is told to end or is cut.
    pub(super) fn wakes(&self, half: Half, cx: &Context<'_>) {
        let wakers = &mut locked(&self.upgraded_wakers)[half as usize];
        if !wakers.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *wakers = Some(cx.waker().clone());
        }
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// The wire keeps something back, or does not any more.
    pub(super) fn keeps(&self, keeps: bool) {
        self.keeps.store(keeps, Ordering::Relaxed);
    }

    /// Others wait for the place of this connection.
    pub(super) fn is_wanted(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }

    fn idle_since(&self) -> Option<u64> {
        (!self.is_busy()).then(|| self.since.load(Ordering::Relaxed))
    }

    /// When the client last had what it asked for.
    pub(super) fn since(&self) -> Instant {
        self.shared.began + Duration::from_millis(self.since.load(Ordering::Relaxed))
    }

    /// In the drain an idle connection is closed then, if nothing is asked before: when what was sent before its client could
    /// know of the drain has arrived, and no sooner than a second after its last answer.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let draining = self.shared.draining_since()?;
        Some((draining + ON_ITS_WAY).max(self.since() + PAUSE))
    }

    /// The client has what it asked for.
    pub(super) fn rests(&self) {
        self.since.store(self.shared.clock(Instant::now()), Ordering::Relaxed);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// Whether to who reads an upgraded connection the server's drain is its end.
    pub(super) fn ends_upgraded(&self) -> bool {
        self.is_upgraded() && self.is_told() && !self.minds_drain.load(Ordering::Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) as u32 > 0
    }

    pub(super) fn served(&self) -> u32 {
        (self.requests.load(Ordering::Relaxed) >> 32) as u32
    }

    pub(super) fn note(&self, why: &'static str) {
        tracing::debug!(target: "purlin::server", peer = self.peer(), why, "connection");
    }

    /// An answer is finished, and its client does not take it: nothing else is left to name it.
    pub(super) fn leaves_unwritten(&self) {
        if self.cut.load(Ordering::Relaxed) && !self.is_busy() {
            tracing::warn!(target: "purlin::server", peer = self.peer(), "an answer that its client does not take: cut");
        }
    }

    /// No handshake of TLS came about.
    #[cfg(feature = "tls")]
    pub(super) fn failed(&self, error: &std::io::Error) {
        tracing::debug!(target: "purlin::server", peer = self.peer(), %error, "no TLS");
    }

    /// The port that the client connected to.
    #[cfg(feature = "tls")]
    pub(super) fn local_port(&self) -> Option<u16> {
        self.connection.local().map(|local| local.port())
    }

    fn peer(&self) -> Option<tracing::field::DisplayValue<SocketAddr>> {
        self.connection.peer().map(tracing::field::display)
    }
}

/// A request under way, until its answer has been handed to hyper with its body.
struct Busy {
    slot: Arc<Slot>,
    method: Method,
    uri: Uri,
    since: Instant,
    /// Its answer did not come at once. Where it did, the time of its arrival is taken for that of its end.
    waited: bool,
    /// As its answer says it.
    id: Option<HeaderValue>,
}

/// In [`Slot::requests`]: one that has come, and is being answered.
const ONE_MORE: u64 = (1 << 32) + 1;

impl Busy {
    fn new(slot: &Arc<Slot>, method: Method, uri: Uri) -> Self {
        let since = Instant::now();
        slot.since.store(slot.shared.clock(since), Ordering::Relaxed);
        slot.requests.fetch_add(ONE_MORE, Ordering::Relaxed);
        Self { slot: slot.clone(), method, uri, since, waited: false, id: None }
    }

    fn id(&self) -> Option<&str> {
        self.id.as_ref().and_then(|id| id.to_str().ok())
    }

    #[cold]
    fn is_cut(&self) {
        tracing::warn!(
            target: "purlin::server",
            method = self.method.as_str(),
            path = self.uri.path(),
            id = self.id(),
            peer = self.slot.peer(),
            age_ms = self.since.elapsed().as_millis() as u64,
            "still open at the end of the drain: cut"
        );
    }

    #[cold]
    fn log_error(&self, error: &Error, what: &'static str) {
        tracing::error!(
            target: "purlin::server",
            method = self.method.as_str(),
            path = self.uri.path(),
            id = self.id(),
            error = crate::report::Redaction::new().text(&format!("{error:#}")),
            place = error.place().map(tracing::field::display),
            layer = error.layer(),
            "{what}"
        );
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.slot.cut.load(Ordering::Relaxed) {
            self.is_cut();
        }
        if self.waited {
            self.slot.rests();
        }
        self.slot.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(shared: Arc<Shared>, io: Stream, entry: Entry) {
    let slot = entry.slot.clone();
    std::future::poll_fn(|cx| {
        let _ = slot.waker.set(cx.waker().clone());
        Poll::Ready(())
    })
    .await;
    #[cfg(feature = "tls")]
    let io = match &shared.secure {
        None => io,
        Some(secure) => match secure.open(io, &slot).await {
            None => return,
            Some(Opened::Plain(io)) => io,
            Some(Opened::Tls(io)) => {
                let _ = slot.scheme.set(Scheme::Https);
                io
            }
            Some(Opened::Redirected(io)) => {
                let _ = slot.scheme.set(Scheme::Http);
                io
            }
        },
    };
    let mut wire = Wire::new(io, entry, shared.limits.clone());
    let version = if shared.limits.http2 {
        match wire.sniff().await {
            Ok(Some(version)) => version,
            Ok(None) | Err(_) => return,
        }
    } else {
        Version::Http1
    };
    let service = {
        let (slot, known) = (slot.clone(), KnownHost::none());
        service_fn(move |req| answer(&slot, &known, version, req))
    };
    let served = match version {
        Version::Http1 => {
            let connection = shared.http1.serve_connection(TokioIo::new(wire), service).with_upgrades();
            drive(&slot, || slot.is_told(), connection, http1::UpgradeableConnection::graceful_shutdown).await
        }
        #[cfg(feature = "http2")]
        Version::Http2 => {
            let connection = shared.http2.serve_connection(TokioIo::new(wire), service);
            // Its clients are told which of their requests are answered (RFC 9113 §6.8): nothing is lost by telling it at once.
            let ends = || slot.is_told() || slot.shared.draining_since().is_some();
            drive(&slot, ends, connection, hyper::server::conn::http2::Connection::graceful_shutdown).await
        }
        #[cfg(not(feature = "http2"))]
        Version::Http2 => Ok(()), // never found: `limits.http2` is false
    };
    if let Err(error) = served {
        let error = Error::from(error);
        tracing::debug!(target: "purlin::server", peer = slot.peer(), error = format_args!("{error:#}"), "connection ended");
    }
}

/// Polls the connection, and passes on once that it is to end.
async fn drive<C>(
    slot: &Slot,
    ends: impl Fn() -> bool,
    connection: C,
    graceful_shutdown: fn(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut passed_on = false;
    std::future::poll_fn(move |cx| {
        // First the poll: a request that is there already is still answered.
        let mut polled = connection.as_mut().poll(cx);
        if polled.is_pending() && slot.keeps.load(Ordering::Relaxed) {
            // hyper always flushes: an answer that was kept back for another one does not wait for it beyond this.
            polled = connection.as_mut().poll(cx);
            if slot.keeps.load(Ordering::Relaxed) {
                cx.waker().wake_by_ref();
            }
        }
        if polled.is_ready() || passed_on || !ends() {
            return polled;
        }
        passed_on = true;
        graceful_shutdown(connection.as_mut());
        connection.as_mut().poll(cx)
    })
    .await
}

/// Answers one request: the outermost edge of the application.
///
/// What needs no waiting is done before the future is made, which hyper moves: it holds two pointers instead of a request.
fn answer(
    slot: &Arc<Slot>,
    known: &KnownHost,
    version: Version,
    req: http::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + use<> {
    let asked = ask(slot, known, version, req);
    async move {
        let (mut answer, mut busy) = match asked {
            Ok(asked) => asked,
            Err(refused) => return Ok(*refused),
        };
        let answer = std::future::poll_fn(|cx| {
            let polled = answer.as_mut().poll(cx);
            busy.waited |= polled.is_pending();
            polled
        });
        let response = caught(answer).await.unwrap_or_else(Response::from);
        Ok(finish(response, busy, version))
    }
}

fn ask(
    slot: &Arc<Slot>,
    known: &KnownHost,
    version: Version,
    mut req: http::Request<Incoming>,
) -> Result<(BoxFuture<'static, Response>, Busy), Box<Response>> {
    if let Err(refusal) = gate::check(&mut req, known) {
        return Err(refuse(slot, refusal, version).into());
    }
    #[cfg(feature = "tls")]
    if slot.scheme.get() == Some(&Scheme::Http) {
        return Err(redirected(slot, version, &req).into());
    }
    let busy = Busy::new(slot, req.method().clone(), req.uri().clone());
    if req.uri().path() == "*" {
        // `OPTIONS *` asks whether the server is there (RFC 9110 §9.3.7); no route has anything to say to it.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        is_last(slot, version, &mut response);
        return Err(response.into());
    }
    // hyper puts something there for an upgrade only.
    if req.extensions().is_empty() {
        *req.extensions_mut() = spare::extensions();
    }
    req.extensions_mut().insert(slot.connection.clone());
    #[cfg(feature = "tls")]
    if slot.scheme.get() == Some(&Scheme::Https) {
        req.extensions_mut().insert(crate::request::Https);
    }
    let req = req.map(|incoming| match incoming.is_end_stream() {
        true => Body::empty(),
        false => Body::new(Arriving { incoming, version, limit: slot.shared.limits.body_timeout, timer: None }),
    });
    Ok((slot.shared.app.answer(req), busy))
}

/// In the drain an answer says that its connection ends with it (RFC 9112 §9.6), so that nobody asks anything there.
fn is_last(slot: &Slot, version: Version, response: &mut Response) {
    if slot.shared.draining.load(Ordering::Relaxed) > 0 && version == Version::Http1 {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return slot.tell();
        }
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn finish(mut response: Response, mut busy: Busy, version: Version) -> Response {
    if let Some(error) = response.error()
        && error.status().is_server_error()
        && response.extensions().get::<Logged>().is_none()
    {
        busy.log_error(error, "an error that no layer has logged");
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        #[cfg(any(feature = "websocket", all(unix, feature = "workers")))]
        if response.extensions().get::<super::MindsDrain>().is_some() {
            busy.slot.minds_drain.store(true, Ordering::Relaxed);
        }
        busy.slot.upgraded.store(true, Ordering::Relaxed);
    }
    is_last(&busy.slot, version, &mut response);
    if response.body().as_bytes().is_none() {
        busy.waited = true;
        let body = response.body_mut().take();
        busy.id = response.headers().get("x-request-id").cloned();
        *response.body_mut() = Body::new(Leaving { body, busy });
    }
    response
}

/// Sends a client to the same URL by https.
#[cfg(feature = "tls")]
fn redirected(slot: &Slot, version: Version, req: &http::Request<Incoming>) -> Response {
    slot.requests.fetch_add(1 << 32, Ordering::Relaxed);
    let mut response = Response::new(Body::empty());
    let location = slot.shared.secure.as_ref().and_then(|secure| secure.location(req));
    match location.and_then(|location| HeaderValue::try_from(location).ok()) {
        Some(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(http::header::LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    is_last(slot, version, &mut response);
    response
}

/// The answer to what is no request for us. A connection whose client cannot write requests is not read any further.
fn refuse(slot: &Slot, refusal: Refusal, version: Version) -> Response {
    slot.note(refusal.why);
    slot.requests.fetch_add(1 << 32, Ordering::Relaxed);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = refusal.status;
    if version == Version::Http1 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request's body as it arrives.
struct Arriving {
    incoming: Incoming,
    version: Version,
    limit: Duration,
    /// HTTP/2 only, where the streams of one connection keep quiet independently; in HTTP/1 the wire has the time.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    #[cold]
    fn too_slow(&self) -> Error {
        let limit = self.limit;
        Error::new(StatusCode::REQUEST_TIMEOUT, format!("no more of the request's body arrived within {limit:?}"))
            .public("The request's body did not arrive in time.")
    }

    #[cold]
    fn failed(&self, error: hyper::Error) -> Error {
        let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let late = causes.any(|cause| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
        });
        if late {
            return self.too_slow();
        }
        // The client went away, or sent what is no body: its fault, not ours.
        Error::from(error).status_code(StatusCode::BAD_REQUEST).context("reading the request's body")
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.timer = None;
                Poll::Ready(frame.map(|frame| frame.map_err(|error| self.failed(error))))
            }
            Poll::Pending if self.version == Version::Http1 => Poll::Pending,
            Poll::Pending => {
                let limit = self.limit;
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(self.too_slow())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A streamed answer as it leaves: its request is under way until its end, and its failure is told.
struct Leaving {
    body: Body,
    busy: Busy,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = Pin::new(&mut self.body);
        let frame = ready!(guarded(|| body.poll_frame(cx)).unwrap_or_else(|error| Poll::Ready(Some(Err(error)))));
        if let Some(Err(error)) = &frame {
            self.busy.log_error(error, "an answer failed midway: the connection is cut");
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
