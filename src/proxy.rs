//! `Proxy`: an application that asks another server, with the feature `proxy`.

mod address;
pub(crate) mod passing;
pub(crate) mod pool;
pub(crate) mod tunnel;

use crate::forwarded::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, is_of_proxy};
use crate::hosts::Host;
use crate::lock::locked;
use crate::request::mount_prefix;
use crate::site::{Outline, Start};
use crate::{Body, Error, IntoResponse, Request, RequestExt, Response, Result, Service};
use address::Upstream;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, LOCATION, MAX_FORWARDS, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use passing::{Sent, arriving, leaving};
use pool::{Lease, MAX_IDLE, Patience, Pool};
use std::net::IpAddr;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tunnel::tunnel;

/// Answers with what another server answers, by HTTP/1.1: an older application, one in another language, a service of one's own.
///
/// - Bodies are streamed both ways, with their trailers. Headers of the connection itself (RFC 9110 §7.6.1) are not passed on, in
///   either direction; `Via` is added (§7.6.3), by which a proxy that leads to itself is found. `Max-Forwards` is counted
///   (§7.6.2).
/// - The server is told who asks, in `Forwarded` (RFC 7239) and in `X-Forwarded-For`, `-Proto`, `-Host` and, below a mount,
///   `-Prefix`: the client's address as [`RequestExt::client_ip`] has it. What came with the request of these is not passed on: see
///   [`TrustedProxies`](crate::layers::TrustedProxies).
/// - Below the layer `Traces` (feature `opentelemetry`) each request is a span, and `traceparent` names it to the server. Elsewhere these
///   headers are passed on as they come.
/// - `Host` stays that of the client, by which the server makes its links: see [`preserve_host`](Proxy::preserve_host).
/// - Which server is asked, no request decides: of its target the path and the query are taken, below a mount the rest of the path.
///   Where the address has a path, that goes before it, and `..` does not lead out of it.
/// - A WebSocket that the server agrees to is tunnelled, and no other upgrade: behind one to another protocol, HTTP/2 say, requests
///   would go past this site. It is tunnelled until either side ends it, nothing has passed for a while, or
///   this server stops. It is one of the [`max_connections`](Proxy::max_connections) for as long.
/// - Connections are kept and used again. A request which a kept connection has lost is sent again if it is safe to (§9.2.2).
///
/// The server is reached by `http://`: for one that is across a network, put a tunnel there. Names are looked up for each new
/// connection. Redirects to the server's own address are made into paths here. Other redirects, and links in pages, are passed on
/// as they are, so below a mount the server has to know its prefix.
///
/// # Errors
///
/// Carried, for error pages, the log and reports: 502 Bad Gateway (RFC 9110 §15.6.3) where it cannot be reached or answers no
/// HTTP, 504 Gateway Timeout where it does not answer in time, 503 where too many requests wait for it, 508 Loop Detected (RFC 5842
/// §7.2) for a request that came by this proxy already, 400 for a path that leads out of its own, and the request body's own error where that is what failed. An address that is none is reported when
/// the site starts.
///
/// ```
/// use purlin::proxy::Proxy;
/// use purlin::{Router, Stack, get};
///
/// let routes = Router::new()
///     .route("/", get(async || "the new site"))
///     .mount("/reports", Proxy::to("http://127.0.0.1:3000"));
/// let app = Stack::new().app(routes);
/// # app.check().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Proxy {
    address: String,
    to: std::result::Result<Upstream, String>,
    preserve_host: bool,
    patience: Patience,
    max_connections: usize,
    permits: Arc<Semaphore>,
    pool: Arc<Pool>,
    /// By which the proxy knows itself in `Via`: one that is its own, since a request may well go through several of a site.
    name: Arc<str>,
    place: &'static Location<'static>,
}

impl Proxy {
    /// Asks the server at this address: `http://127.0.0.1:3000`, or with a path `http://old.internal/shop`.
    #[track_caller]
    pub fn to(address: &str) -> Self {
        let place = Location::caller();
        let to = Upstream::parse(address).ok_or_else(|| {
            // A password may stand before it.
            let found = if address.contains('@') { "one with a user".to_owned() } else { format!("{address:?}") };
            format!(
                "the proxy ({place}) expected an address as http://127.0.0.1:3000 or http://old.internal/shop, found {found}"
            )
        });
        Self {
            address: if to.is_ok() { address.to_owned() } else { String::new() },
            to,
            preserve_host: true,
            patience: Patience {
                connect: Duration::from_secs(5),
                answer: Duration::from_secs(60),
                idle: Duration::from_secs(60),
            },
            max_connections: 256,
            permits: Arc::new(Semaphore::new(256)),
            pool: Arc::new(Pool::new(MAX_IDLE)),
            name: name(),
            place,
        }
    }

    /// Whether `Host` stays the client's; on by default. Without it, it is that of the server's address.
    pub fn preserve_host(mut self, preserve: bool) -> Self {
        self.preserve_host = preserve;
        self
    }

    /// 5 seconds for one of the connections to be free, and for a new one to be there.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.patience.connect = limit;
        self
    }

    /// 60 seconds for the head of the answer, from the moment when the last of the request was sent.
    pub fn answer_timeout(mut self, limit: Duration) -> Self {
        self.patience.answer = limit;
        self
    }

    /// 60 seconds for the next piece of the answer's body, which then breaks off, and for anything to pass through a tunnel, in
    /// whichever direction. WebSockets that are quiet for longer send pings.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.patience.idle = limit;
        self
    }

    /// 256 requests to the server at the same time, each by a connection of its own; 32 of these are kept when they are idle,
    /// for 30 seconds, and count for nothing meanwhile. Clones share them.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self.permits = Arc::new(Semaphore::new(self.max_connections.min(Semaphore::MAX_PERMITS)));
        self.pool = Arc::new(Pool::new(MAX_IDLE));
        self.name = name();
        self
    }

    async fn pass(&self, mut req: Request) -> Result<Response> {
        let to = self.to.as_ref().map_err(|problem| Error::internal(problem.clone()))?;
        if req.method() == Method::CONNECT {
            return Err(Error::new(StatusCode::NOT_IMPLEMENTED, "a proxy of this kind opens no tunnels to others"));
        }
        if let Some(answer) = last_stop(&mut req) {
            return answer;
        }
        let upgrade = upgrade_of(&mut req);
        let target = to.target(req.uri())?;
        let asked = Asked::of(&req);
        let prefix = asked.prefix.clone().unwrap_or_default();
        let (mut head, body) = req.into_parts();
        self.tell(&mut head.headers, to, asked, upgrade.is_some())?;
        head.uri = target;
        head.version = Version::HTTP_11;
        #[cfg(feature = "opentelemetry")]
        let asking = self.asking(to, &mut head);
        let (req, sent) = leaving(head, body);
        let answered = self.exchanged(to, req, &sent, upgrade, &prefix).await;
        #[cfg(feature = "opentelemetry")]
        return match answered {
            Ok(response) => Ok(asking.answered(response)),
            Err(error) => {
                asking.failed(&error);
                Err(error)
            }
        };
        #[cfg(not(feature = "opentelemetry"))]
        answered
    }

    /// Begins the span of the request, and tells the server of it.
    #[cfg(feature = "opentelemetry")]
    fn asking(&self, to: &Upstream, head: &mut http::request::Parts) -> crate::traces::Asking {
        let (host, port) = match &to.at {
            pool::Address::Tcp(host, port) => (host.as_str(), *port),
            // A proxy's own address is none of these.
            #[cfg(all(unix, feature = "workers"))]
            pool::Address::Unix(_) => ("localhost", 0),
        };
        crate::traces::Asking::begin(&head.method, host, port, &head.uri, &mut head.headers)
    }

    async fn exchanged(
        &self,
        to: &Upstream,
        req: http::Request<Body>,
        sent: &Mutex<Sent>,
        upgrade: Option<OnUpgrade>,
        prefix: &str,
    ) -> Result<Response> {
        let permit = self.permit().await?;
        let (answer, lease) = match self.pool.exchange(&to.at, req, sent, &self.patience, permit, true).await {
            Ok(exchanged) => exchanged,
            Err(error) => {
                // If it was the client's part that failed, it is that which is told.
                let failed = locked(sent).failed.take();
                return Err(failed.unwrap_or(error.into()).context(format!("asking {}", self.address)));
            }
        };
        let mut response = self.answer(answer, lease, upgrade)?;
        let location = response.headers().get(LOCATION).and_then(|location| to.path_of(location.to_str().ok()?));
        if let Some(path) = location.map(|path| format!("{prefix}{path}")) {
            response.headers_mut().insert(LOCATION, HeaderValue::try_from(path)?);
        }
        Ok(response)
    }

    /// Makes the headers of the request those that the server is to see.
    fn tell(&self, headers: &mut HeaderMap, to: &Upstream, asked: Asked, upgrade: bool) -> Result<()> {
        let Asked { client, scheme, host, prefix, version } = asked;
        let name = &*self.name;
        if listed(headers, VIA).any(|by| by.split(' ').nth(1) == Some(name)) {
            let message = format!("the request came by this proxy already: {} leads back to it", self.address);
            return Err(Error::new(StatusCode::LOOP_DETECTED, message));
        }
        let trailers = listed(headers, TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
        end_to_end(headers);
        join_cookies(headers)?;
        let spoken: Vec<HeaderName> = headers.keys().filter(|name| is_of_proxy(name)).cloned().collect();
        for name in spoken {
            headers.remove(name);
        }
        // Answered by this server, if anybody waits for it.
        headers.remove(EXPECT);
        let mut forwarded = format!("for={};proto={scheme}", node(client));
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        if let Some(client) = client {
            headers.insert(X_FORWARDED_FOR, HeaderValue::try_from(client.to_string())?);
        }
        if let Some(host) = host {
            forwarded.push_str(&format!(";host=\"{host}\""));
            headers.insert(X_FORWARDED_HOST, HeaderValue::try_from(host)?);
        }
        headers.insert(FORWARDED, HeaderValue::try_from(forwarded)?);
        if let Some(prefix) = prefix {
            headers.insert(X_FORWARDED_PREFIX, HeaderValue::try_from(prefix)?);
        }
        headers.append(VIA, HeaderValue::try_from(format!("{version} {name}"))?);
        if !self.preserve_host || !headers.contains_key(HOST) {
            headers.insert(HOST, to.authority.clone());
        }
        if upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, WEBSOCKET);
        }
        // RFC 9110 §10.1.4
        if trailers {
            headers.append(CONNECTION, HeaderValue::from_static("te"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(())
    }

    fn answer(
        &self,
        mut answer: http::Response<Incoming>,
        lease: Lease,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response> {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let right = listed(answer.headers(), UPGRADE).all(is_websocket) && answer.headers().contains_key(UPGRADE);
            let Some(client) = upgrade.filter(|_| right) else {
                let message = format!("{} changed the protocol to one that nobody had asked for", self.address);
                return Err(Error::new(StatusCode::BAD_GATEWAY, message));
            };
            let server = hyper::upgrade::on(&mut answer);
            tokio::spawn(tunnel(client, server, self.patience.idle, lease));
            let mut response = answer.map(|_| Body::empty());
            end_to_end(response.headers_mut());
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(UPGRADE, WEBSOCKET);
            return Ok(response);
        }
        // No other was offered, and hyper takes off no other.
        if !listed(answer.headers(), TRANSFER_ENCODING).all(|coding| coding.eq_ignore_ascii_case("chunked")) {
            let message = format!("{} answered in a transfer coding that it was not offered", self.address);
            return Err(Error::new(StatusCode::BAD_GATEWAY, message));
        }
        Ok(arriving(answer, lease, self.patience.idle))
    }

    /// A place among those who ask at the same time.
    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        match timeout(self.patience.connect, self.permits.clone().acquire_owned()).await {
            // Never closed.
            Ok(permit) => Ok(permit?),
            Err(_) => {
                let message = format!("{} connections are in use (`max_connections`)", self.max_connections);
                Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, message))
            }
        }
    }
}

/// A name for `Via`.
fn name() -> Arc<str> {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => format!("purlin-{:08x}", u32::from_be_bytes(bytes)).into(),
        Err(_) => "purlin".into(),
    }
}

impl Service for Proxy {
    async fn call(&self, req: Request) -> Response {
        // Boxed, so that other answers of the router above have no room kept for it.
        Box::pin(self.pass(req)).await.into_response()
    }

    fn describe(&self, outline: &mut Outline) {
        if let Err(problem) = &self.to {
            outline.problem(problem);
        }
        outline.application::<Self>(self.place);
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        Ok(())
    }
}

/// The headers that are of one connection (RFC 9110 §7.6.1), with those that `Connection` names.
pub(crate) fn end_to_end(headers: &mut HeaderMap) {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok());
    // `Host` and `Content-Length` are none of its business, whoever names them.
    let named: Vec<HeaderName> = names.filter(|name| *name != HOST && *name != CONTENT_LENGTH).collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        headers.remove(name);
    }
}

/// What stands between the commas of a header.
pub(crate) fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// RFC 9113 §8.2.3: HTTP/2 may spread cookies over lines, which HTTP/1.1 may not.
pub(crate) fn join_cookies(headers: &mut HeaderMap) -> Result<()> {
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1 {
        let line = HeaderValue::from_bytes(&lines.join(&b"; "[..]))?;
        headers.insert(COOKIE, line);
    }
    Ok(())
}

/// Counts through how many servers `TRACE` and `OPTIONS` may still go (RFC 9110 §7.6.2), and answers where this is the last.
fn last_stop(req: &mut Request) -> Option<Result<Response>> {
    let method = req.method().clone();
    if method != Method::TRACE && method != Method::OPTIONS {
        return None;
    }
    let left: u64 = req.headers().get(MAX_FORWARDS)?.to_str().ok()?.trim().parse().ok()?;
    let Some(left) = left.checked_sub(1) else {
        return Some(if method == Method::OPTIONS {
            Ok(StatusCode::NO_CONTENT.into_response())
        } else {
            // What it would send back has the client's cookies in it.
            Err(Error::new(StatusCode::NOT_IMPLEMENTED, "this server does not answer TRACE itself"))
        });
    };
    req.headers_mut().insert(MAX_FORWARDS, left.into());
    None
}

/// An address as `Forwarded` has it (RFC 7239 §6).
fn node(address: Option<IpAddr>) -> String {
    match address {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
    }
}

/// What the server is told of the client.
struct Asked {
    client: Option<IpAddr>,
    scheme: &'static str,
    host: Option<String>,
    prefix: Option<String>,
    version: &'static str,
}

impl Asked {
    fn of(req: &Request) -> Self {
        let prefix = mount_prefix(req.extensions(), req.uri().path());
        Self {
            client: req.client_ip(),
            scheme: if req.is_https() { "https" } else { "http" },
            host: Host::of(req).map(|host| host.to_string()),
            version: match req.version() {
                Version::HTTP_10 => "1.0",
                Version::HTTP_2 => "2.0",
                Version::HTTP_3 => "3.0",
                _ => "1.1",
            },
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        }
    }
}

const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

fn is_websocket(protocol: &str) -> bool {
    protocol.eq_ignore_ascii_case("websocket")
}

/// Where the client wants its connection to become a WebSocket, and it can be one.
fn upgrade_of(req: &mut Request) -> Option<OnUpgrade> {
    let wanted = listed(req.headers(), CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let websocket = wanted && listed(req.headers(), UPGRADE).any(is_websocket);
    req.extensions().get::<OnUpgrade>().filter(|_| websocket)?;
    Some(hyper::upgrade::on(req))
}

fn late(what: &str, limit: Duration) -> Error {
    Error::new(StatusCode::GATEWAY_TIMEOUT, format!("{what} within {limit:?}"))
}
