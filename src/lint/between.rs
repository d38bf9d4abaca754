//! What the layers between two places did to an answer on its way out.

use super::field::list;
use super::{Asked, Rule, Violation, rule};
use crate::conditional::ETag;
use crate::{HeaderMap, Request, Response, ResponseExt};
use http::header::{self, HeaderName};
use http::{HeaderValue, StatusCode};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Place = &'static Location<'static>;

/// Where a place further in leaves what it saw. In the request: a layer that loses the response does not lose this.
#[derive(Debug, Default)]
pub(crate) struct Below(Arc<Left>);

#[derive(Debug, Default)]
struct Left {
    record: Mutex<Option<Arc<Record>>>,
    copied: AtomicBool,
}

impl Clone for Below {
    /// Who copies a request may ask several applications with it, and drop the answers of some, as a cascade does. From then on
    /// only an answer itself tells who saw it.
    fn clone(&self) -> Self {
        self.0.copied.store(true, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

/// The record of the answer that carries it.
#[derive(Clone, Debug)]
struct Seen(Arc<Record>);

/// An answer as it was at one place.
#[derive(Debug)]
pub(crate) struct Record {
    place: Place,
    status: StatusCode,
    headers: HeaderMap,
    carried: bool,
    length: Option<u64>,
    read: Arc<Read>,
}

/// What is known of an answer only later: how far its body was read, and what it broke.
#[derive(Debug, Default)]
pub(crate) struct Read {
    bytes: AtomicU64,
    ended: AtomicBool,
    broken: Mutex<Vec<Violation>>,
}

impl Read {
    /// The body ended after so many bytes.
    pub(crate) fn end(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.ended.store(true, Ordering::Release);
    }

    /// Remembers what was broken, so that places further out do not say it again.
    pub(crate) fn note(&self, broken: &[Violation]) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(broken);
    }
}

impl Below {
    /// Puts a new one into the request, in place of the one from further out.
    pub(crate) fn swap(req: &mut Request) -> (Self, Option<Self>) {
        let own = Self::default();
        let above = req.extensions_mut().insert(Self(own.0.clone()));
        (own, above)
    }

    /// What the place further in saw of this answer, if there is one and it was reached.
    pub(crate) fn take(&self, answer: &mut Response) -> Option<Arc<Record>> {
        let carried = answer.extensions_mut().remove::<Seen>().map(|Seen(record)| record);
        let left = self.0.record.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.0.copied.load(Ordering::Relaxed) { carried } else { left }
    }

    /// Tells the place further out.
    pub(crate) fn put(&self, record: Arc<Record>, answer: &mut Response) {
        answer.extensions_mut().insert(Seen(record.clone()));
        *self.0.record.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    }
}

impl Record {
    pub(crate) fn of(answer: &Response, place: Place, read: Arc<Read>) -> Self {
        Self {
            place,
            status: answer.status(),
            headers: answer.headers().clone(),
            carried: answer.error().is_some(),
            length: answer.body().len(),
            read,
        }
    }

    /// Whether this was found there already.
    pub(crate) fn broke(&self, violation: &Violation) -> bool {
        let broken = self.read.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.iter().any(|below| below.rule == violation.rule && below.found == violation.found)
    }

    /// The length of the body below, once it is known.
    fn length(&self) -> Option<u64> {
        let ended = self.read.ended.load(Ordering::Acquire);
        self.length.or_else(|| ended.then(|| self.read.bytes.load(Ordering::Relaxed)))
    }

    /// The same bytes of the same thing, as far as the two heads say.
    fn same_kind(&self, status: StatusCode) -> bool {
        status == self.status && status.is_success() && status != StatusCode::PARTIAL_CONTENT
    }
}

/// Compares the head of an answer with what it was further in.
pub(crate) fn check(asked: &Asked, below: &Record, answer: &Response, place: Place) -> Vec<Violation> {
    let (status, headers) = (answer.status(), answer.headers());
    let mut broken = Vec::new();
    let mut add = |rule: &'static Rule, found: String| {
        let found = format!("{found}, between {place} and {}", below.place);
        broken.push(Violation::new(rule, found));
    };
    let failed = |status: StatusCode| status.is_client_error() || status.is_server_error();
    if failed(below.status) && failed(status) {
        let lost: Vec<&str> = below
            .headers
            .keys()
            .filter(|name| !headers.contains_key(*name) && !is_of_content(name))
            .map(HeaderName::as_str)
            .collect();
        if !lost.is_empty() {
            add(&rule::LAYER_LOST_HEADERS, format!("{} lost", lost.join(", ")));
        }
        if below.carried && answer.error().is_none() && answer.body().is_empty() {
            add(&rule::LAYER_LOST_ERROR, "the error lost".to_owned());
        }
    }
    if status == below.status {
        let cookies = |headers: &HeaderMap| -> Vec<Vec<u8>> {
            headers.get_all(header::SET_COOKIE).iter().map(cookie_name).collect()
        };
        let kept = cookies(headers);
        let lost = cookies(&below.headers).into_iter().find(|name| !kept.contains(name));
        if let Some(lost) = lost.filter(|_| !failed(status) || !kept.is_empty()) {
            add(&rule::LAYER_LOST_COOKIE, format!("the cookie {:?} lost", String::from_utf8_lossy(&lost)));
        }
        let varies = list(headers, &header::VARY);
        let lost: Vec<String> =
            list(&below.headers, &header::VARY).into_iter().filter(|name| !varies.contains(name)).collect();
        let gone = failed(status) && varies.is_empty();
        if !lost.is_empty() && !gone && !varies.iter().any(|name| name == "*") {
            add(&rule::LAYER_LOST_VARY, format!("vary: {} lost", lost.join(", ")));
        }
    }
    let above = (status, headers, place);
    let changed = match (below.length(), answer.body().len()) {
        (Some(before), Some(now)) => changed(asked, below, above, before, now, &mut broken),
        _ => false,
    };
    if changed || recoded(below, headers) {
        broken.extend(tag(below, above));
    }
    super::named(broken, asked, answer)
}

/// The same, of a body whose length was not known before it had been read; `now` is the record of the outer place.
pub(crate) fn read(asked: &Asked, of: &str, below: &Record, now: &Record, seen: u64) -> Vec<Violation> {
    let mut broken = Vec::new();
    let above = (now.status, &now.headers, now.place);
    let changed = below.length().is_some_and(|length| changed(asked, below, above, length, seen, &mut broken));
    // Of what has another coding it was said with the head.
    if changed && !recoded(below, &now.headers) {
        broken.extend(tag(below, above));
    }
    broken.into_iter().map(|violation| violation.of(of)).collect()
}

type Above<'a> = (StatusCode, &'a HeaderMap, Place);

/// Whether the body has another length than it had.
fn changed(
    asked: &Asked,
    below: &Record,
    (_, headers, place): Above<'_>,
    before: u64,
    now: u64,
    broken: &mut Vec<Violation>,
) -> bool {
    // After `HEAD`, a body that was left out is no change.
    if before == now || (asked.is_head() && (before == 0 || now == 0)) {
        return false;
    }
    let told = headers.get(header::CONTENT_LENGTH);
    let was_right = told.is_some_and(|told| told.to_str().is_ok_and(|told| told.parse() == Ok(before)));
    if was_right && told == below.headers.get(header::CONTENT_LENGTH) {
        let found = format!("{before} bytes that became {now}, between {place} and {}", below.place);
        broken.push(Violation::new(&rule::LAYER_KEPT_LENGTH, found));
    }
    true
}

fn recoded(below: &Record, headers: &HeaderMap) -> bool {
    below.headers.get(header::CONTENT_ENCODING) != headers.get(header::CONTENT_ENCODING)
}

fn tag(below: &Record, (status, headers, place): Above<'_>) -> Option<Violation> {
    let tag = |headers: &HeaderMap| ETag::from_header(headers.get(header::ETAG)?).ok();
    let (before, now) = (tag(&below.headers)?, tag(headers)?);
    (below.same_kind(status) && before.strong_eq(&now)).then(|| {
        let found = format!("etag: {now} on both, between {place} and {}", below.place);
        Violation::new(&rule::ETAG_KEPT, found)
    })
}

fn cookie_name(line: &HeaderValue) -> Vec<u8> {
    let line = line.as_bytes();
    line.iter().position(|byte| *byte == b'=').map_or(line, |end| &line[..end]).trim_ascii().to_vec()
}

/// Whether it describes a body, which an error page replaces.
fn is_of_content(name: &HeaderName) -> bool {
    const OTHERS: [HeaderName; 9] = [
        header::ETAG,
        header::LAST_MODIFIED,
        header::ACCEPT_RANGES,
        header::CACHE_CONTROL,
        header::EXPIRES,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderName::from_static("repr-digest"),
    ];
    OTHERS.contains(name)
        || (name.as_str().starts_with("content-") && !name.as_str().starts_with("content-security-policy"))
}
