//! `Webhook`: reports as JSON, to an address that wants to know.

use super::batch::{Collected, Courier, Group, Rest, Unsent};
use super::{Report, Reporter, write};
use crate::config::Secret;
use crate::outbound::Target;
use crate::site::Start;
use crate::{Error, Result};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use orion::hazardous::mac::hmac::sha256::{HmacSha256, SecretKey};
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

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
    target: Target,
    headers: Vec<(HeaderName, HeaderValue)>,
    key: Option<Secret>,
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
        let target = Target::parse(url.expose_str()).ok_or(WebhookError::Url)?;
        let host = target.host.clone();
        Ok(Self { host, collected: Collected::new(Hook { target, headers: Vec::new(), key: None }) })
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
        let hook = self.collected.courier().ok_or(WebhookError::Certificate)?;
        hook.target.trust(pem).ok_or(WebhookError::Certificate)?;
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
        if self.target.trusts_nobody() {
            return Err(Error::internal(
                "the webhook's server cannot be checked: this system has no root certificates; Debian's are in ca-certificates",
            ));
        }
        Ok(())
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
            Ok(Ok(status)) => unsent(format!("{} answered {status}", self.target.host), true),
            Ok(Err(error)) => {
                let causes = std::iter::successors(Some(&*error as &dyn std::error::Error), |cause| cause.source());
                let causes = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
                unsent(format!("{}: {causes}", self.target.host), false)
            }
            Err(_) => unsent(format!("{} did not answer within {} s", self.target.host, PATIENCE.as_secs()), false),
        }
    }

    /// One post on a connection of its own: there is one a minute, of which none is worth being kept open.
    async fn exchange(&self, body: String) -> Result<StatusCode, AnyError> {
        let mut request = http::Request::new(Bytes::new());
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            headers.insert("x-purlin-signature", format!("sha256={}", signature(key, body.as_bytes())?).parse()?);
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        *request.body_mut() = Bytes::from(body);
        Ok(self.target.send(request, 0).await?.status())
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
