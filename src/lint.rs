//! Lint: what the RFCs forbid in an answer, as named rules that look at an exchange from inside or from outside.
//!
//! The rules know nothing of layers or sockets. The layer [`Lint`](crate::layers::Lint) shows them what passes at its place,
//! [`testing::Client`](crate::testing::Client) every answer of a test, and [`testing::lint`](crate::testing::lint()), which is also a
//! site's command `lint`, those of any server that listens.
//!
//! ```
//! use purlin::http::Request;
//! use purlin::lint::{Asked, Side, check};
//! use purlin::{Body, StatusCode};
//!
//! let asked = Asked::by(&Request::get("/").body(Body::empty()).unwrap());
//! let mut answer = purlin::Response::new(Body::empty());
//! *answer.status_mut() = StatusCode::UNAUTHORIZED;
//! let broken = check(&asked, &answer, Side::Inside);
//! assert_eq!(broken[0].rule().id, "www-authenticate-missing");
//! ```

pub(crate) mod between;
mod field;
mod head;
pub(crate) use field::list;
pub(crate) use head::{PROBING, SENT};
mod reading;

pub use reading::Reading;

use crate::hosts::Host;
use crate::{HeaderName, HeaderValue, Method, Request, RequestExt, Response, cookie, forwarded};
use http::header::ACCEPT_ENCODING;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::borrow::Cow;
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A client may do well all the same: what a standard advises against (`SHOULD`), or what has no effect.
    Warning,
    /// Some client will take the answer for another than was meant: what a standard forbids (`MUST`, and what its grammar leaves
    /// out), or a layer or a body may not do.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One rule.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, by which it is allowed: `location-missing`.
    pub id: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// Where it comes from: `RFC 9110 §15.4`.
    pub source: &'static str,
    /// One sentence: what is wrong, and what to do.
    pub says: &'static str,
}

/// All rules, by their ids.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    rule::ALL.iter().copied()
}

/// The rule with this id.
///
/// # Errors
///
/// There is none; the message names the nearest.
pub fn rule(id: &str) -> Result<&'static Rule, UnknownRule> {
    rules().find(|rule| rule.id == id).ok_or_else(|| UnknownRule {
        id: id.to_owned(),
        nearest: crate::nearest::nearest(id, rules().map(|rule| rule.id)).map(str::to_owned),
    })
}

/// There is no rule with such an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRule {
    id: String,
    nearest: Option<String>,
}

impl fmt::Display for UnknownRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no rule `{}`", self.id)?;
        match &self.nearest {
            Some(nearest) => write!(f, ": did you mean `{nearest}`?"),
            None => f.write_str(": docs/layers.md lists them"),
        }
    }
}

impl std::error::Error for UnknownRule {}

/// A rule broken, and by what.
///
/// Values that may be secret (of cookies, of the query) are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    rule: &'static Rule,
    found: Cow<'static, str>,
    asked: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static Rule, found: impl Into<Cow<'static, str>>) -> Self {
        Self { rule, found: found.into(), asked: String::new() }
    }

    /// The rule.
    pub fn rule(&self) -> &'static Rule {
        self.rule
    }

    /// What was found: `content-length: 12 on a body of 14 bytes`.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What it answered, without the query: `GET /guestbook: 200`; empty where that is not known.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    pub(crate) fn of(mut self, asked: &str) -> Self {
        asked.clone_into(&mut self.asked);
        self
    }
}

/// `error location-missing: GET /old: 302: a redirect … (RFC 9110 §15.4); found no location`
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { id, severity, source, says } = self.rule;
        write!(f, "{severity} {id}: ")?;
        if !self.asked.is_empty() {
            write!(f, "{}: ", self.asked)?;
        }
        write!(f, "{says} ({source}); found {}", self.found)
    }
}

impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Violation", 6)?;
        object.serialize_field("rule", self.rule.id)?;
        object.serialize_field("severity", &self.rule.severity.to_string())?;
        object.serialize_field("source", self.rule.source)?;
        object.serialize_field("says", self.rule.says)?;
        object.serialize_field("asked", &self.asked)?;
        object.serialize_field("found", &*self.found)?;
        object.end()
    }
}

/// Where the rules look from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the stack: the server has still to frame the body, to set `Date`, and to drop the body of an answer to `HEAD`.
    Inside,
    /// At the other end of a connection: everything is there that a client gets.
    Outside,
}

/// What the rules know of a request.
#[derive(Clone)]
pub struct Asked {
    method: Method,
    path: String,
    // What an application might put into the head of its answer.
    injected: Vec<(HeaderName, String)>,
    trusted: bool,
    codings: Vec<HeaderValue>,
}

impl Asked {
    /// Notes what they need to know of this request.
    pub fn by(req: &Request) -> Self {
        Self {
            method: req.method().clone(),
            path: req.original_path().to_owned(),
            injected: field::injected(req.uri()),
            // Or by a proxy to which the client came by https; whether it is to be believed is not asked here. And the own
            // machine, to which a site that is meant for https is asked without it.
            trusted: req.is_https()
                || Host::of(req).is_some_and(|host| cookie::is_trusted(&host.name))
                || forwarded::says_https(req.headers()),
            codings: req.headers().get_all(ACCEPT_ENCODING).iter().cloned().collect(),
        }
    }

    /// `GET /guestbook: 200`
    pub(crate) fn and(&self, answer: &Response) -> String {
        format!("{} {}: {}", self.method, self.path, answer.status().as_u16())
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// Without the query, and without what the headers tell of the visitor.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({} {})", self.method, self.path)
    }
}

/// Looks at the head of an answer, and at the length of its body where that is known.
///
/// What is known only when the body has been read is a [`Reading`]'s to say.
pub fn check(asked: &Asked, answer: &Response, side: Side) -> Vec<Violation> {
    let mut broken = Vec::new();
    head::check(asked, answer, side, &mut broken);
    named(broken, asked, answer)
}

/// Says of what they are, where there are any.
fn named(broken: Vec<Violation>, asked: &Asked, answer: &Response) -> Vec<Violation> {
    if broken.is_empty() {
        return broken;
    }
    let of = asked.and(answer);
    broken.into_iter().map(|violation| violation.of(&of)).collect()
}

/// The rules as constants, and all of them as a table.
macro_rules! rules {
    ($($name:ident $id:literal $severity:ident $source:literal $says:literal)*) => {
        pub(crate) mod rule {
            use super::{Rule, Severity};
            $(pub(crate) static $name: Rule =
                Rule { id: $id, severity: Severity::$severity, source: $source, says: $says };)*
            pub(super) static ALL: &[&Rule] = &[$(&$name),*];
        }
    };
}

rules! {
    ALLOW_MISSING "allow-missing" Error "RFC 9110 §15.5.6"
        "a 405 says in `Allow` which methods there are: add the header"
    UNREADABLE "answer-unreadable" Error "RFC 9112 §2"
        "a client cannot read this answer: correct how it is framed"
    BODY_AFTER_HEAD "body-after-head" Error "RFC 9110 §9.3.2"
        "an answer to `HEAD` ends with its head, and the next answer is read from what follows: send no body"
    BODY_POLLED_AFTER_END "body-polled-after-end" Warning "http-body"
        "a body that has ended is not asked again: whoever reads it must stop at `None`"
    BODY_POLLED_AFTER_ERROR "body-polled-after-error" Error "http-body"
        "a body that has failed is over: whoever reads it must stop at the error and pass it on"
    BODY_WITH_204 "body-with-204" Error "RFC 9110 §15.3.5"
        "a 204 has no body: leave it out, or answer 200"
    BODY_WITH_205 "body-with-205" Error "RFC 9110 §15.3.6"
        "a 205 has no body: leave it out, or answer 200"
    BODY_WITH_304 "body-with-304" Error "RFC 9110 §15.4.5"
        "a 304 has no body: leave it out"
    CACHE_CONTRADICTION "cache-control-contradiction" Warning "RFC 9111 §5.2.2"
        "these directives of `Cache-Control` contradict each other: keep the one that is meant"
    CACHE_SYNTAX "cache-control-syntax" Error "RFC 9111 §5.2"
        "caches ignore a `Cache-Control` that they cannot read: write directives such as `max-age=60, private`"
    COOKIE_SHARED "cached-cookie" Warning "RFC 9111 §7.3"
        "a shared cache may give this visitor's cookie to others: do not set one on a `public` answer, or say `no-cache=\"set-cookie\"` with it"
    CHARSET_MISSING "charset-missing" Warning "RFC 9110 §8.3.2"
        "text whose charset is not said is guessed at by each client: add `; charset=utf-8`"
    CONDITION_IGNORED "condition-ignored" Error "RFC 9110 §13.1.2"
        "a client that has the answer already is told so: answer its `If-None-Match` with 304, or send no `ETag`"
    CODING_UNKNOWN "content-encoding-unknown" Warning "RFC 9110 §8.4.1"
        "no client can undo a coding that is not registered: name a known one, and leave `identity` out"
    CODING_UNWANTED "content-encoding-unwanted" Warning "RFC 9110 §12.5.3"
        "the client did not say in `Accept-Encoding` that it knows this coding: send another, or none"
    LENGTH_AND_CODING "content-length-and-transfer-encoding" Error "RFC 9112 §6.2"
        "two ways to tell the end of a body let two readers find different ones: send one of the headers"
    LENGTH_DOUBLED "content-length-doubled" Error "RFC 9110 §8.6"
        "two lengths let two readers find different ends: set `Content-Length` once"
    LENGTH_FORBIDDEN "content-length-forbidden" Error "RFC 9110 §8.6"
        "an answer which cannot have a body has no `Content-Length`: leave it out"
    LENGTH_SYNTAX "content-length-syntax" Error "RFC 9110 §8.6"
        "a `Content-Length` is digits and nothing else"
    LENGTH_WRONG "content-length-wrong" Error "RFC 9110 §8.6"
        "the body has another length than `Content-Length` says, and the client waits or cuts it off: leave the header to the server"
    LOCATION_OF_CONTENT "content-location-syntax" Error "RFC 9110 §8.7"
        "`Content-Location` is a URL or a path: percent-encode what cannot stand in one"
    RANGE_MISSING "content-range-missing" Error "RFC 9110 §15.3.7.1"
        "what part of the whole a 206 is stands in `Content-Range`: add the header"
    RANGE_UNEXPECTED "content-range-unexpected" Warning "RFC 9110 §14.4"
        "`Content-Range` means something on a 206 and a 416 only: leave it out of other answers"
    RANGE_WRONG "content-range-wrong" Error "RFC 9110 §14.4"
        "`Content-Range` is `bytes FIRST-LAST/LENGTH`, as long as the body, on a 206; and `bytes */LENGTH` on a 416"
    TYPE_DOUBLED "content-type-doubled" Error "RFC 9110 §8.3"
        "clients pick one of two types, each its own: set `Content-Type` once"
    TYPE_MISSING "content-type-missing" Warning "RFC 9110 §8.3"
        "a client has to guess what this is: set `Content-Type`"
    TYPE_SYNTAX "content-type-syntax" Error "RFC 9110 §8.3.1"
        "a type that cannot be read is guessed: write it as `text/html; charset=utf-8`"
    CORS_STAR "cors-star-with-credentials" Error "Fetch §3.3.5"
        "browsers refuse `*` where credentials are allowed: name the origin, and say `Vary: Origin`"
    CSP_SYNTAX "csp-syntax" Error "CSP 3 §2.2"
        "browsers ignore this part of the policy, and so allow more or less than was meant: correct it"
    DATA_AFTER_TRAILERS "data-after-trailers" Error "RFC 9110 §6.5"
        "trailers are the end of a body: send them last"
    DATE_MISSING "date-missing" Error "RFC 9110 §6.6.1"
        "caches reckon the age of an answer from `Date`: let the server send it"
    DATE_SYNTAX "date-syntax" Error "RFC 9110 §5.6.7"
        "a date in a header is as `Sun, 06 Nov 1994 08:49:37 GMT`: write it by `conditional::http_date`"
    ETAG_KEPT "etag-kept" Error "RFC 9110 §8.8.1"
        "the layer changed the body and kept its strong `ETag`: make it weak, or take it away"
    ETAG_SAME "etag-of-two-codings" Error "RFC 9110 §8.8.1"
        "a strong `ETag` names one sequence of bytes, and another coding is another one: make it weak, or another"
    ETAG_SYNTAX "etag-syntax" Error "RFC 9110 §8.8.3"
        "a tag is in quotes: `\"1\"`, or `W/\"1\"` if it is weak"
    FIELD_DOUBLED "field-doubled" Error "RFC 9110 §5.3"
        "each client picks another of two lines with a header that has one value: set it once"
    HEAD_DIFFERS "head-differs" Warning "RFC 9110 §9.3.2"
        "`HEAD` is answered with the status and the headers of `GET`: answer both in one place"
    INJECTION "header-injection" Error "RFC 9110 §5.5"
        "what the client sent has become a header of the answer: take line breaks out of what is put into headers"
    NOT_ASCII "header-not-ascii" Warning "RFC 9110 §5.5"
        "a header of other letters than ASCII is read differently by each client: encode it"
    HOP_BY_HOP "hop-by-hop-header" Error "RFC 9110 §7.6.1"
        "this header is about the connection, which is the server's affair: do not set it"
    HSTS_OVER_HTTP "hsts-over-http" Error "RFC 6797 §7.2"
        "`Strict-Transport-Security` is said by https only: leave it out of other answers"
    HSTS_SYNTAX "hsts-syntax" Error "RFC 6797 §6.1"
        "browsers ignore it: write `max-age=SECONDS`, then `; includeSubDomains` if that is meant"
    INTERIM_STATUS "interim-status" Error "RFC 9110 §15.2"
        "a 1xx announces an answer, and is none: return the final one (only a 101 with `Upgrade` takes over the connection)"
    LAST_MODIFIED_FUTURE "last-modified-future" Error "RFC 9110 §8.8.2.1"
        "what will be changed in the future cannot be compared: send the present time at most"
    LAYER_KEPT_LENGTH "layer-kept-length" Error "RFC 9110 §8.6"
        "a layer changed the body and kept its `Content-Length`: remove the header, the server sets it anew"
    LAYER_LOST_COOKIE "layer-lost-cookie" Error "Purlin, the contract of layers"
        "a layer lost a `Set-Cookie` from below: use `append`, not `insert`"
    LAYER_LOST_ERROR "layer-lost-error" Error "Purlin, the contract of layers"
        "a layer lost the error that the answer from below carried, and gave no page instead: keep the extensions of the response"
    LAYER_LOST_HEADERS "layer-lost-headers" Error "Purlin, the contract of layers"
        "a layer lost headers of an error answer: change that answer instead of making a new one"
    LAYER_LOST_VARY "layer-lost-vary" Error "Purlin, the contract of layers"
        "a layer lost what `Vary` said below, and caches will mix answers up: append to it"
    LOCATION_MISSING "location-missing" Warning "RFC 9110 §15.4"
        "a redirect says in `Location` where to: add the header, or answer with another status"
    LOCATION_SYNTAX "location-syntax" Error "RFC 9110 §10.2.2"
        "`Location` is a URL or a path: percent-encode what cannot stand in one, as `Redirect` does"
    NOSNIFF_SYNTAX "nosniff-syntax" Error "Fetch §3.6"
        "browsers know one value of `X-Content-Type-Options`, `nosniff`: write that"
    NOSNIFF_UNTYPED "nosniff-without-type" Warning "Fetch §3.6"
        "the browser may not guess and is not told: set `Content-Type`"
    NOT_MODIFIED_LOST "not-modified-lost-headers" Error "RFC 9110 §15.4.5"
        "a 304 repeats `Cache-Control`, `Content-Location`, `ETag`, `Expires` and `Vary` of the 200: add what is missing"
    PROXY_AUTHENTICATE "proxy-authenticate-missing" Error "RFC 9110 §15.5.8"
        "a 407 says in `Proxy-Authenticate` how to sign in: add the header"
    RANGE_LENGTH "range-length-missing" Warning "RFC 9110 §15.5.17"
        "how long the whole is, of which a 416 has not that part, stands in `Content-Range: bytes */LENGTH`: add the header"
    RETRY_AFTER "retry-after-syntax" Error "RFC 9110 §10.2.3"
        "`Retry-After` is a number of seconds or a date"
    COOKIE_DOUBLED "set-cookie-doubled" Warning "RFC 6265 §4.1.1"
        "the second cookie of the same name, domain and path overwrites the first: set it once"
    COOKIE_REFUSED "set-cookie-refused" Error "RFC 6265bis §5.7"
        "browsers refuse this cookie: keep what its name and attributes promise"
    COOKIE_SYNTAX "set-cookie-syntax" Warning "RFC 6265 §4.1.1"
        "this cookie cannot be read as it was meant: write it by `cookie::Cookie`"
    SIZE_HINT_WRONG "size-hint-wrong" Error "http-body"
        "the body has another length than its `size_hint` or `is_end_stream` says, from which the server frames it: correct them"
    STATUS_RANGE "status-out-of-range" Error "RFC 9110 §15"
        "a status is from 100 to 599: clients take others for errors of the server"
    TRAILER_FORBIDDEN "trailer-forbidden" Error "RFC 9110 §6.5.1"
        "this header is needed before the body, and is ignored in a trailer: set it in the head"
    TRAILER_UNDECLARED "trailer-undeclared" Warning "RFC 9110 §6.6.2"
        "who is to wait for a trailer is told in the head: name it in `Trailer`"
    UNKNOWN_METHOD "unknown-method-accepted" Warning "RFC 9110 §9.1"
        "a method that nobody knows is answered with 405 or 501: refuse it"
    UPGRADE_MISSING "upgrade-missing" Error "RFC 9110 §7.8"
        "a 101 and a 426 say in `Upgrade` to what: add the header"
    VARY_MISSING "vary-missing" Warning "RFC 9110 §12.5.5"
        "the answer depends on a header of the request, and caches will give it to clients that sent another: name the header in `Vary`"
    VARY_SYNTAX "vary-syntax" Error "RFC 9110 §12.5.5"
        "`Vary` is names of headers, or `*`, with commas between them"
    WWW_AUTHENTICATE "www-authenticate-missing" Error "RFC 9110 §15.5.2"
        "a 401 says in `WWW-Authenticate` how to sign in: add the header, or answer 403"
}
