//! `Request`, and what the server and the outer layers say of one.

use crate::capabilities::Capabilities;
use crate::extract::FromRequest;
use crate::forwarded::Client;
use crate::report::Trail;
use crate::session::LazySession;
use crate::site::Stopping;
use crate::template::Names;
use crate::{Body, Result};
use bytes::Bytes;
use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use http::HeaderValue;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The `http` crate's request with Purlin's [`Body`].
pub type Request = http::Request<Body>;

/// What Purlin adds to the `http` crate's request.
pub trait RequestExt {
    /// Extracts anything that a handler could take as an argument.
    ///
    /// # Errors
    ///
    /// The extractor's own.
    fn extract<T: FromRequest>(&mut self) -> impl Future<Output = Result<T>> + Send;

    /// Where the request came from; `None` if it did not come through a server.
    fn connection(&self) -> Option<&Connection>;

    /// The address of the client: as a trusted proxy said, or else of the other end of the socket. `None` for a unix socket
    /// without a trusted proxy, and for a client that its proxy does not name.
    fn client_ip(&self) -> Option<IpAddr>;

    /// What the server can do; `None` where nobody said so. One in the request's extensions goes before its connection's.
    fn capabilities(&self) -> Option<Capabilities>;

    /// The id given to it by the layer `RequestIds`.
    fn id(&self) -> Option<&RequestId>;

    /// The path as the client sent it, also below a mount, which sees its own part only.
    fn original_path(&self) -> &str;

    /// Whether the client reached the site by https: by this server's own TLS, or as a trusted proxy said.
    fn is_https(&self) -> bool;
}

impl RequestExt for Request {
    async fn extract<T: FromRequest>(&mut self) -> Result<T> {
        T::from_request(self).await
    }

    fn connection(&self) -> Option<&Connection> {
        self.extensions().get()
    }

    fn client_ip(&self) -> Option<IpAddr> {
        match self.extensions().get::<Client>() {
            Some(client) => client.ip(),
            None => self.connection().and_then(Connection::ip),
        }
    }

    fn capabilities(&self) -> Option<Capabilities> {
        let own = self.extensions().get().copied();
        own.or_else(|| self.connection().and_then(Connection::capabilities))
    }

    fn id(&self) -> Option<&RequestId> {
        self.extensions().get()
    }

    fn original_path(&self) -> &str {
        original_uri(self).path()
    }

    fn is_https(&self) -> bool {
        self.extensions().get::<Https>().is_some() || self.uri().scheme() == Some(&http::uri::Scheme::HTTPS)
    }
}

/// The connection a request came by.
#[derive(Clone, Debug)]
pub struct Connection(Arc<ConnectionInfo>);

#[derive(Debug)]
struct ConnectionInfo {
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    server: Option<Capabilities>,
    stopping: Option<Stopping>,
}

impl Connection {
    /// A connection between two internet addresses; `None` for a unix socket.
    pub fn new(peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        Self(Arc::new(ConnectionInfo { peer, local, server: None, stopping: None }))
    }

    /// The same connection, by a server that can do this.
    pub fn with_capabilities(self, server: Capabilities) -> Self {
        let ConnectionInfo { peer, local, .. } = *self.0;
        let stopping = self.0.stopping.clone();
        Self(Arc::new(ConnectionInfo { peer, local, server: Some(server), stopping }))
    }

    /// The same connection, by a server that says when it stops.
    pub(crate) fn with_stopping(self, stopping: Stopping) -> Self {
        let ConnectionInfo { peer, local, server, .. } = *self.0;
        Self(Arc::new(ConnectionInfo { peer, local, server, stopping: Some(stopping) }))
    }

    /// Tells when its server begins to drain; also an argument of handlers.
    pub fn stopping(&self) -> Stopping {
        self.0.stopping.clone().unwrap_or_else(Stopping::never)
    }

    /// What its server can do, if that said so.
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.0.server
    }

    /// The address of the other end of the socket: of a proxy, where there is one. `None` for a unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// The other end's IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.peer.map(|peer| peer.ip().to_canonical())
    }

    /// The address of this end of the socket.
    pub fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }
}

/// The id of a request, in the logs, in the answer's `x-request-id` and on error pages.
///
/// Held as the header's value, so that it costs one allocation in all.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// An id of 1 to 128 letters, digits, `-`, `_`, `.`, `+`, `/` or `=`; `None` for anything else.
    pub fn new(id: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+/=".contains(&byte);
        let good = (1..=128).contains(&id.len()) && id.bytes().all(fits);
        good.then(|| HeaderValue::from_str(id).ok().map(Self)).flatten()
    }

    /// One of our own, of digits and small letters, which is not copied.
    pub(crate) fn of_digits(id: Bytes) -> Option<Self> {
        HeaderValue::from_maybe_shared(id).ok().map(Self)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Made of ASCII only, by `new`.
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn into_header(self) -> HeaderValue {
        self.0
    }

    /// The id as a header's value.
    pub fn as_header(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// The URI before mounts took their prefixes off; in the extensions below a mount only.
#[derive(Clone, Debug)]
pub struct OriginalUri(pub http::Uri);

/// The URI as the client sent it, also below a mount.
pub(crate) fn original_uri(req: &Request) -> &http::Uri {
    req.extensions().get::<OriginalUri>().map_or_else(|| req.uri(), |original| &original.0)
}

/// The path of the mount that a request is below, of which `own` is its own part; empty where there is none.
pub(crate) fn mount_prefix<'a>(extensions: &'a http::Extensions, own: &str) -> &'a str {
    let Some(OriginalUri(original)) = extensions.get() else { return "" };
    let whole = original.path();
    // Where exactly the mount was asked for, the path below it is a slash that the client did not send.
    whole.strip_suffix(own).unwrap_or(if own == "/" { whole } else { "" })
}

/// The method that a request came with, where the layer `MethodOverride` put another in its place; in the extensions below it.
#[derive(Clone, Debug)]
pub struct OriginalMethod(pub http::Method);

/// The field of a form that says which method it stands for.
pub const METHOD_FIELD: &str = "_method";

/// What layers of Purlin's keep beside a request for those further in: in one place of its extensions, since each is a box more.
#[derive(Clone, Default)]
pub(crate) struct Beside {
    pub(crate) names: Names,
    pub(crate) session: Option<LazySession>,
    pub(crate) trail: Option<Trail>,
}

impl Beside {
    pub(crate) fn of(req: &mut Request) -> &mut Self {
        req.extensions_mut().get_or_insert_default()
    }
}

/// In the extensions of a request which reached the site by https.
#[derive(Clone, Copy, Debug)]
pub struct Https;

/// How many bytes of body the layer `BodyLimit` allows; in the extensions below it.
///
/// Shared by all clones, so that an inner layer can change what an outer one set.
#[derive(Clone, Debug)]
pub struct MaxBody(Arc<AtomicU64>);

impl MaxBody {
    /// A limit of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// The limit in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes the limit for this request.
    pub fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Left by the debugger in a request that its developer did not send: who asks is told what visitors are told.
#[cfg(all(feature = "debugger", debug_assertions))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stranger;

/// A number used once, for the scripts and styles that a page's Content-Security-Policy lets in; in the extensions below
/// the layer `SecurityHeaders`, and `csp_nonce` in templates.
///
/// Made when it is first asked for: a page without inline scripts pays nothing, and its policy names none.
#[derive(Clone, Debug, Default)]
pub struct CspNonce(Arc<OnceLock<String>>);

impl CspNonce {
    /// The nonce: 128 random bits in base64url. `None` where the system has no randomness to give.
    pub fn value(&self) -> Option<&str> {
        if self.0.get().is_none() {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).ok()?;
            let text = Base64UrlSafeNoPadding::encode_to_string(bytes).ok()?;
            // Two at once: both read the first.
            let _ = self.0.set(text);
        }
        self.made()
    }

    /// One that another process has made, or may make.
    #[cfg(all(unix, feature = "workers"))]
    pub(crate) fn of(made: Option<String>) -> Self {
        let nonce = Self::default();
        made.into_iter().for_each(|made| nonce.make(made));
        nonce
    }

    /// It was made by another process, unless it was made here already.
    #[cfg(all(unix, feature = "workers"))]
    pub(crate) fn make(&self, made: String) {
        let _ = self.0.set(made);
    }

    /// The nonce, if anybody asked for it.
    pub fn made(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// Those of RFC 9110 §9.3 and RFC 5789: anybody may make up others.
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
pub(crate) fn known_method(method: &http::Method) -> Option<&'static str> {
    use http::Method;
    Some(match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => return None,
    })
}
