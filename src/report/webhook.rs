//! `Webhook`: reports as JSON, to an address that wants to know.

use super::batch::{Collected, Courier, Group, Rest, Unsent};
use super::{Report, Reporter, write};
use crate::config::Secret;
use crate::site::Start;
use crate::{Error, Result};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use orion::hazardous::mac::hmac::sha256::{HmacSha256, SecretKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Posts reports as JSON, with the feature `webhook`: a hundred equal failures in a minute are one post, which says how many.
///
/// Failures are collected for a minute from the first one on, then each kind (by its [fingerprint](Report::fingerprint)) is
/// one `POST` of this object:
///
/// ```json
/// {
///   "text": "[wiki] 500 counting the friends of user 7 (100 times)",
///   "count": 100,
///   "first": "2026-11-21T13:02:25.123456Z",
///   "last": "2026-11-21T13:03:01.654321Z",
///   "report": { "id": "0123456789abcdef", "message": "counting the friends of user 7" }
/// }
/// ```
///
/// `report` is the whole [`Report`] of the first. More than 10 kinds in a minute are 10 posts, and one with `kinds` (a list of
/// `text`, `count`, `fingerprint` and `report`, the id), `others` (failures of further kinds) and `dropped` (what came too fast).
///
/// They are sent beside the requests: 256 reports may wait, and 100 kinds of failures; what comes faster is counted. An answer of
/// 200 to 299 within 10 seconds is success. Else it is tried again with the posts of the next minute, five times for each;
/// redirects are not followed. When the site stops, what was collected is sent at once, and so is a start that failed, for which
/// the process ends up to five seconds later. No proxy is used.
///
/// ```
/// use purlin::config::Secret;
/// use purlin::layers::ErrorPages;
/// use purlin::report::Webhook;
///
/// let url = Secret::new("https://hooks.example.org/failures/Zm9v");
/// let webhook = Webhook::new(&url)?.sign(&Secret::new("a text that both sides know"));
/// let pages = ErrorPages::new().reporter(webhook);
/// # Ok::<(), purlin::report::WebhookError>(())
/// ```
pub struct Webhook {
    host: String,
    collected: Collected<Hook>,
}

/// Where it posts, and how.
struct Hook {
    host: String,
    port: u16,
    /// What `Host` says: with a port, if the URL has one.
    authority: HeaderValue,
    path: Uri,
    tls: Option<Tls>,
    headers: Vec<(HeaderName, HeaderValue)>,
    key: Option<Secret>,
}

struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    trusts_nobody: bool,
}

impl Webhook {
    /// To this URL, `https://…`; or `http://…`, which only a network without strangers is for. It is a secret, since many of
    /// them hold a token: only its host is ever printed.
    ///
    /// By `https` the server's certificate is checked against the system's roots.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has a user in it.
    pub fn new(url: &Secret) -> Result<Self, WebhookError> {
        let uri: Uri = url.expose_str().parse().map_err(|_| WebhookError::Url)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(WebhookError::Url);
        };
        let (is_tls, port) = match scheme {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return Err(WebhookError::Url),
        };
        // A user, or a port that is none.
        if authority.port().is_none() && authority.as_str() != authority.host() || authority.as_str().contains('@') {
            return Err(WebhookError::Url);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| WebhookError::Url)?;
        let mut roots = RootCertStore::empty();
        if is_tls {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let hook = Hook {
            host: host.clone(),
            port: authority.port_u16().unwrap_or(port),
            authority: authority.as_str().parse().map_err(|_| WebhookError::Url)?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| WebhookError::Url)?,
            tls: is_tls.then(|| Tls::new(roots, name)),
            headers: Vec::new(),
            key: None,
        };
        Ok(Self { host, collected: Collected::new(hook) })
    }

    /// Signs each post by this secret; by default none is.
    ///
    /// The header `X-Purlin-Signature` is `sha256=` and the HMAC-SHA256 (RFC 2104) of the body in hexadecimal digits, as
    /// GitHub signs its webhooks. Whoever checks it compares in constant time.
    pub fn sign(mut self, secret: &Secret) -> Self {
        if let Some(hook) = self.collected.courier() {
            hook.key = Some(secret.clone());
        }
        self
    }

    /// A header of each post, `Authorization` with a token say; may be called several times.
    ///
    /// # Errors
    ///
    /// The value is none of a header (RFC 9110 §5.5).
    pub fn header(mut self, name: HeaderName, value: &Secret) -> Result<Self, WebhookError> {
        let mut value =
            HeaderValue::from_bytes(value.expose()).map_err(|_| WebhookError::Header { name: name.clone() })?;
        value.set_sensitive(true);
        if let Some(hook) = self.collected.courier() {
            hook.headers.push((name, value));
        }
        Ok(self)
    }

    /// Trusts these certificates, in PEM, instead of the system's.
    ///
    /// # Errors
    ///
    /// There is no certificate in it, or a broken one; or the URL is not `https`.
    pub fn root_certificate(mut self, pem: &[u8]) -> Result<Self, WebhookError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let mut roots = RootCertStore::empty();
        for certificate in certificates.map_err(|_| WebhookError::Certificate)? {
            roots.add(certificate).map_err(|_| WebhookError::Certificate)?;
        }
        match self.collected.courier().and_then(|hook| hook.tls.as_mut()) {
            Some(tls) if !roots.is_empty() => *tls = Tls::new(roots, tls.name.clone()),
            _ => return Err(WebhookError::Certificate),
        }
        Ok(self)
    }

    /// How long failures are collected, from the first one on; a minute by default.
    pub fn collect_for(mut self, time: Duration) -> Self {
        self.collected.collect_for(time);
        self
    }
}

/// Why there can be no posts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebhookError {
    /// The URL cannot be read. It is not shown, since it may hold a token.
    Url,
    /// The value of a header cannot be sent. It is not shown either.
    Header {
        /// Whose value it is.
        name: HeaderName,
    },
    /// The root certificates cannot be read, or are of no use to a URL of `http`.
    Certificate,
}

impl fmt::Display for WebhookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str(
                "expected a webhook as https://host/path without a user, found a URL that cannot be read or has one",
            ),
            Self::Header { name } => {
                write!(f, "expected a value of the header {name} in visible ASCII, found other bytes")
            }
            Self::Certificate => f.write_str("expected root certificates in PEM, for a URL of https, found none"),
        }
    }
}

impl std::error::Error for WebhookError {}

impl Reporter for Webhook {
    fn report(&self, report: &Arc<Report>) {
        self.collected.push(report);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.collected.start(start, "posting reports")
    }

    fn name(&self) -> String {
        format!("webhook to {}", self.host)
    }
}

impl Tls {
    fn new(roots: RootCertStore, name: ServerName<'static>) -> Self {
        let trusts_nobody = roots.is_empty();
        // Named, since rustls panics where a site's packages bring two to choose from.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3, the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config), name, trusts_nobody }
    }
}

/// Failures of one kind.
#[derive(Serialize)]
struct One<'a> {
    text: String,
    count: u64,
    first: &'a str,
    last: &'a str,
    report: &'a Report,
}

/// What was too much for posts of its own.
#[derive(Serialize)]
struct Many<'a> {
    text: String,
    kinds: Vec<Kind<'a>>,
    others: u64,
    dropped: u64,
}

#[derive(Serialize)]
struct Kind<'a> {
    text: String,
    count: u64,
    fingerprint: &'a str,
    report: &'a str,
}

impl Courier for Hook {
    const NAME: &'static str = "webhook";

    fn check(&self) -> Result<()> {
        match &self.tls {
            Some(tls) if tls.trusts_nobody => Err(Error::internal(
                "the webhook's server cannot be checked: this system has no root certificates; Debian's are in ca-certificates",
            )),
            _ => Ok(()),
        }
    }

    async fn send(&self, group: &Group) -> Result<(), Unsent> {
        let report = &*group.first;
        let (text, count, first, last) = (group.subject(), group.count, &report.time, &group.last);
        self.post(&One { text, count, first, last, report }).await
    }

    async fn send_rest(&self, rest: &Rest) -> Result<(), Unsent> {
        let kinds = rest.groups.iter().map(|group| Kind {
            text: write::harmless(&group.first.one_line()),
            count: group.count,
            fingerprint: &group.first.fingerprint,
            report: &group.first.id,
        });
        let (kinds, others, dropped) = (kinds.collect(), rest.others, rest.dropped);
        self.post(&Many { text: rest.subject(), kinds, others, dropped }).await
    }
}

/// From the name's look-up to the head of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

impl Hook {
    async fn post(&self, told: &impl Serialize) -> Result<(), Unsent> {
        // Texts, numbers and lists of them: none fails to be written.
        let body = serde_json::to_string(told).unwrap_or_default();
        let unsent = |text, is_answer| Err(Unsent { text, is_answer });
        match tokio::time::timeout(PATIENCE, self.exchange(body)).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => unsent(format!("{} answered {status}", self.host), true),
            Ok(Err(error)) => {
                let causes = std::iter::successors(Some(&*error as &dyn std::error::Error), |cause| cause.source());
                let causes = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
                unsent(format!("{}: {causes}", self.host), false)
            }
            Err(_) => unsent(format!("{} did not answer within {} s", self.host, PATIENCE.as_secs()), false),
        }
    }

    /// One post on a connection of its own: there is one a minute, of which none is worth being kept open.
    async fn exchange(&self, body: String) -> Result<StatusCode, AnyError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            None => self.speak(stream, body).await,
            Some(tls) => {
                let connector = TlsConnector::from(tls.config.clone());
                self.speak(connector.connect(tls.name.clone(), stream).await?, body).await
            }
        }
    }

    async fn speak<S>(&self, stream: S, body: String) -> Result<StatusCode, AnyError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut request = http::Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("purlin/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(key) = &self.key {
            headers.insert("x-purlin-signature", format!("sha256={}", signature(key, body.as_bytes())?).parse()?);
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this, whatever the server still has to say.
        let mut speaking = JoinSet::new();
        speaking.spawn(async move {
            // What is wrong with it, the sender is told.
            let _ = connection.await;
        });
        Ok(sender.send_request(request.map(|()| body)).await?.status())
    }
}

/// HMAC-SHA256 in hexadecimal digits.
fn signature(key: &Secret, body: &[u8]) -> Result<String, AnyError> {
    // Neither fails: a key of any length is one (RFC 2104 §3), and no body is of 2⁶¹ bytes. An error says no more.
    let key = SecretKey::try_from(key.expose()).map_err(|_| "the key of the signature cannot be used")?;
    let tag = HmacSha256::hmac(&key, body).map_err(|_| "the signature cannot be made")?;
    let mut digits = String::with_capacity(64);
    for byte in tag.unprotected_as_ref() {
        // Writing to a String does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_rfc_4231() {
        let table = [
            ("\u{b}".repeat(20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                "Jefe".to_owned(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ];
        for (key, data, expected) in table {
            assert_eq!(signature(&Secret::new(key), data.as_bytes()).unwrap(), expected, "{data}");
        }
        assert_eq!(signature(&Secret::new("longer than a block ".repeat(10)), b"").unwrap().len(), 64);
    }
}
