//! `Page`: a stored answer, when it may be given again, and as what.

use super::selector::{Selector, named, selectors};
use super::{CACHE_TAG, OWN_CONTROL, Rules, Status, in_tag, is_for_less, narrow};
use crate::conditional::{ETag, http_date};
use crate::freshness::{
    RequestDirectives, ResponseDirectives, Scope, age, date, freshen, heuristic_lifetime, lifetime, storable, strip,
};
use crate::negotiate::Coding;
use crate::{Body, Response, ResponseExt, View};
use bytes::Bytes;
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_SECURITY_POLICY_REPORT_ONLY, CONTENT_TYPE, COOKIE, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, SET_COOKIE, TRAILER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A stored answer.
#[derive(Debug)]
pub(crate) struct Page {
    status: StatusCode,
    /// As they are given again. There is a place for `Age` and `Cache-Status`, so that no answer's map has to grow.
    headers: HeaderMap,
    body: Bytes,
    /// What it said to this cache alone: its own directives and its tags.
    internal: HeaderMap,
    arrived: Instant,
    /// Seconds, on arrival.
    age: u64,
    terms: Terms,
    etag: Option<ETag>,
    modified: Option<SystemTime>,
    made: Option<SystemTime>,
    selectors: Box<[Selector]>,
    /// Whether caches behind this one have told what they did.
    relayed: bool,
    /// The head of a hit at an age of so many seconds: made once a second, and cloned for each.
    ready: RwLock<Option<(u64, HeaderMap)>>,
}

/// For how long it is given again, and to whom. Times are in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(super) lifetime: u64,
    pub(super) while_revalidate: u64,
    pub(super) if_error: u64,
    pub(super) always_ask: bool,
    pub(super) forbids_stale: bool,
    /// Whether who sends `Authorization` may have it, too.
    pub(super) authorized: bool,
}

/// What a page is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) internal: HeaderMap,
    pub(super) body: Bytes,
    /// Now.
    pub(super) age: Duration,
    pub(super) terms: Terms,
    pub(super) selectors: Box<[Selector]>,
}

/// When an answer was asked for, and when its head was there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) requested: SystemTime,
    pub(crate) received: SystemTime,
    pub(crate) at: Instant,
}

/// What may be done with a stored page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Given as it is.
    Give,
    /// Given as it is, and asked for anew meanwhile.
    GiveAndAsk,
    /// Asked for first.
    Ask,
}

/// How an answer is to be stored: what can be said of it before its body is there.
pub(crate) struct Plan {
    said: ResponseDirectives,
    own: bool,
    set_cookie: bool,
    age: u64,
    lifetime: u64,
    while_revalidate: u64,
    if_error: u64,
    selectors: Box<[Selector]>,
    arrival: Arrival,
}

/// What an answer says to this cache.
struct Said {
    directives: ResponseDirectives,
    /// In a header that is meant for caches of this kind, before which the others do not count (RFC 9213 §2.2).
    targeted: bool,
    /// In the header of this very cache.
    own: bool,
}

impl Said {
    fn of(headers: &HeaderMap, rules: &Rules) -> Self {
        let common = ResponseDirectives::of(headers);
        if let Some(mut own) = ResponseDirectives::targeted(headers, &OWN_CONTROL) {
            // It says for how long. That the answer is for one person was perhaps found out after it was said.
            own.no_store |= common.no_store;
            match common.private {
                Scope::Whole => own.private = Scope::Whole,
                Scope::Fields(more) => match &mut own.private {
                    Scope::Fields(fields) => fields.extend(more),
                    Scope::Nothing => own.private = Scope::Fields(more),
                    Scope::Whole => {}
                },
                Scope::Nothing => {}
            }
            return Self { directives: own, targeted: true, own: true };
        }
        let targeted = rules.targeted.iter().find_map(|name| ResponseDirectives::targeted(headers, name));
        Self { targeted: targeted.is_some(), directives: targeted.unwrap_or(common), own: false }
    }
}

impl Plan {
    /// How to store this answer to `GET`, if it may be.
    pub(crate) fn of(
        rules: &Rules,
        request: &HeaderMap,
        offered: Option<&[Coding]>,
        status: StatusCode,
        headers: &HeaderMap,
        arrival: Arrival,
    ) -> Option<Self> {
        let Said { directives: said, targeted, own } = Said::of(headers, rules);
        let guess = || {
            let guess = || heuristic_lifetime(status, headers, &said, arrival.received);
            rules.heuristics.then(guess).flatten()
        };
        let lifetime = match targeted {
            true => said.s_maxage.or(said.max_age),
            false => lifetime(headers, &said, arrival.received).or_else(guess),
        };
        storable(status, request, &said, lifetime).ok()?;
        if is_personal(headers, &said, rules) || has_nonce(headers) || headers.contains_key(TRAILER) {
            return None;
        }
        let said_age = age(headers, arrival.requested, arrival.received);
        let lifetime = if said_age.is_some() { lifetime.unwrap_or(0) } else { 0 };
        let age = said_age.unwrap_or(0);
        let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
        if (said.no_cache.is_whole() || lifetime <= age) && !(rules.validating && has_validator) {
            return None;
        }
        // What the answer says of it goes before `s-maxage`, with which many say it; what the site says for all does not.
        let never = said.must_revalidate || said.proxy_revalidate || said.no_cache.is_whole();
        let stale = |said_so: Option<u64>, by_default: Duration| match said_so {
            _ if never => 0,
            Some(seconds) => seconds,
            None if said.forbids_stale() => 0,
            None => by_default.as_secs(),
        };
        Some(Self {
            own,
            set_cookie: rules.set_cookie,
            age,
            lifetime,
            while_revalidate: stale(said.stale_while_revalidate, rules.while_revalidate),
            if_error: stale(said.stale_if_error, rules.if_error),
            selectors: selectors(request, headers, offered)?,
            arrival,
            said,
        })
    }

    /// Whether the answer, beside what its headers say, may be stored at all.
    pub(crate) fn is_for(response: &Response) -> bool {
        let failed = response.error().is_some_and(|error| error.status().is_server_error());
        // One that is yet to be rendered, by whoever asks.
        let unfinished = response.extensions().get::<View>().is_some();
        let events =
            response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        !failed && !unfinished && !events
    }

    /// The page, now that all of it is there; `None` if that is not what its head announced.
    pub(crate) fn page(self, status: StatusCode, mut headers: HeaderMap, body: Bytes) -> Option<Page> {
        if let Some(length) = headers.get(CONTENT_LENGTH)
            && length.to_str().ok()?.parse::<u64>().ok()? != body.len() as u64
        {
            return None;
        }
        let mut internal = take_internal(&mut headers, self.own);
        strip(&mut headers, &self.said);
        if !self.set_cookie {
            headers.remove(SET_COOKIE);
        }
        // Counted from now on.
        headers.remove(AGE);
        for name in OF_ONE_REQUEST {
            headers.remove(name);
        }
        // RFC 9110 §6.6.1: else it would be said anew, and the page seem to be younger.
        headers.entry(DATE).or_insert_with(|| http_date(self.arrival.received));
        headers.values_mut().chain(internal.values_mut()).for_each(hold_alone);
        let terms = Terms {
            lifetime: self.lifetime,
            while_revalidate: self.while_revalidate,
            if_error: self.if_error,
            always_ask: self.said.no_cache.is_whole(),
            forbids_stale: self.said.forbids_stale(),
            authorized: self.said.public || self.said.s_maxage.is_some(),
        };
        let (age, selectors) = (Duration::from_secs(self.age), self.selectors);
        Some(Page::of(Parts { status, headers, internal, body, age, terms, selectors }, self.arrival.at))
    }
}

/// Lets a value hold its own bytes: as it was read, it holds on to all that was read with it, the body included.
pub(crate) fn hold_alone(value: &mut HeaderValue) {
    if let Ok(mut own) = HeaderValue::from_bytes(value.as_bytes()) {
        own.set_sensitive(value.is_sensitive());
        *value = own;
    }
}

/// What is of the request that was answered, and not of the page.
const OF_ONE_REQUEST: [HeaderName; 3] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("x-debug-url"),
];

/// Takes off what was said to this cache alone. Where that was for how long it keeps a page, clients are told to ask each time:
/// from their caches nothing can be purged.
pub(crate) fn take_internal(headers: &mut HeaderMap, own: bool) -> HeaderMap {
    let mut internal = HeaderMap::new();
    for name in [OWN_CONTROL, CACHE_TAG] {
        if headers.contains_key(&name) {
            for value in headers.get_all(&name) {
                internal.append(name.clone(), value.clone());
            }
            headers.remove(&name);
        }
    }
    if own {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    }
    internal
}

/// Whether the answer is for who asked: it sets a cookie, or depends on who somebody is. A page for which a session was looked at
/// says `Vary: Cookie`.
fn is_personal(headers: &HeaderMap, said: &ResponseDirectives, rules: &Rules) -> bool {
    let excepted = said.private.fields().contains(&SET_COOKIE) || said.no_cache.fields().contains(&SET_COOKIE);
    let sets = headers.contains_key(SET_COOKIE) && !excepted && !rules.set_cookie;
    let is = |name: &[u8], known: &HeaderName| name.eq_ignore_ascii_case(known.as_str().as_bytes());
    sets || named(headers).any(|name| is(name, &COOKIE) || is(name, &AUTHORIZATION))
}

/// A number used once is none if it is given to many: whoever reads it from the page can write scripts that run.
fn has_nonce(headers: &HeaderMap) -> bool {
    let policies = [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY];
    let mut lines = policies.iter().flat_map(|name| headers.get_all(name));
    lines.any(|line| memchr::memmem::find(&line.as_bytes().to_ascii_lowercase(), b"'nonce-").is_some())
}

impl Page {
    pub(super) fn of(parts: Parts, now: Instant) -> Self {
        let Parts { status, mut headers, internal, body, age, terms, selectors } = parts;
        let relayed = headers.contains_key(CACHE_STATUS);
        headers.insert(AGE, PLACE);
        if !relayed {
            headers.insert(CACHE_STATUS, PLACE);
        }
        Self {
            status,
            internal,
            body,
            arrived: now.checked_sub(Duration::from_nanos(age.subsec_nanos().into())).unwrap_or(now),
            age: age.as_secs(),
            terms,
            etag: headers.get(ETAG).and_then(|tag| ETag::from_header(tag).ok()),
            modified: headers.get(LAST_MODIFIED).and_then(date),
            made: headers.get(DATE).and_then(date),
            selectors,
            relayed,
            ready: RwLock::new(None),
            headers,
        }
    }

    /// As it is to be elsewhere.
    #[cfg(feature = "redis")]
    pub(super) fn parts(&self, now: Instant) -> Parts {
        let mut headers = self.headers.clone();
        headers.remove(AGE);
        if !self.relayed {
            headers.remove(CACHE_STATUS);
        }
        Parts {
            status: self.status,
            headers,
            internal: self.internal.clone(),
            body: self.body.clone(),
            age: Duration::from_secs(self.age) + self.held_for(now),
            terms: self.terms,
            selectors: self.selectors.clone(),
        }
    }

    /// For how long it has been here.
    pub(super) fn held_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.arrived)
    }

    /// Whether it is what this request would be answered.
    pub(crate) fn matches(&self, request: &HeaderMap, offered: Option<&[Coding]>) -> bool {
        self.selectors.iter().all(|selector| selector.matches(request, offered))
    }

    pub(crate) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Whether nobody is given it without asking.
    pub(crate) fn is_always_asked(&self) -> bool {
        self.terms.always_ask
    }

    pub(crate) fn is_authorized(&self) -> bool {
        self.terms.authorized
    }

    /// In seconds, now.
    pub(crate) fn age(&self, now: Instant) -> u64 {
        self.age.saturating_add(self.held_for(now).as_secs())
    }

    /// For how many seconds it is fresh yet; below 0, since when it is not.
    pub(crate) fn ttl(&self, age: u64) -> i64 {
        self.terms.lifetime as i64 - age as i64
    }

    /// RFC 9111 §4, §4.2.4 and RFC 5861 §3.
    pub(crate) fn usage(&self, age: u64, asked: &RequestDirectives) -> Use {
        if self.terms.always_ask || asked.no_cache || asked.max_age.is_some_and(|most| age > most) {
            return Use::Ask;
        }
        if self.terms.lifetime > age.saturating_add(asked.min_fresh.unwrap_or(0)) {
            return Use::Give;
        }
        let stale_for = age.saturating_sub(self.terms.lifetime);
        if asked.min_fresh.is_some() {
            return Use::Ask;
        }
        if !self.terms.forbids_stale && asked.max_stale.is_some_and(|most| stale_for <= most) {
            return Use::Give;
        }
        if stale_for < self.terms.while_revalidate { Use::GiveAndAsk } else { Use::Ask }
    }

    /// Whether it may be given in place of an error (RFC 5861 §4).
    pub(crate) fn covers_errors(&self, age: u64) -> bool {
        age.saturating_sub(self.terms.lifetime) < self.terms.if_error
    }

    /// For how long it is of any use: while it is fresh, or may be given stale; and where it can be asked for by its tag, an hour
    /// more.
    pub(crate) fn kept_for(&self) -> Duration {
        let fresh = self.terms.lifetime.saturating_sub(self.age);
        let ask = if self.etag.is_some() || self.modified.is_some() { 3600 } else { 0 };
        Duration::from_secs(fresh + self.terms.while_revalidate.max(self.terms.if_error).max(ask))
    }

    /// About what it takes.
    pub(crate) fn bytes(&self) -> usize {
        let lines = |headers: &HeaderMap| -> usize {
            // Beside name and value, their place in the map.
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 100).sum()
        };
        // The head that is ready has its values in common with the other.
        let ready = 100 * (self.headers.len() + 2);
        self.body.len()
            + ready
            + lines(&self.headers)
            + lines(&self.internal)
            + 200 * self.selectors.len()
            + size_of::<Self>()
    }

    /// The tags it was stored with.
    pub(crate) fn tags(&self) -> impl Iterator<Item = Box<str>> {
        let lines = self.internal.get_all(CACHE_TAG).into_iter().filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(|tag| in_tag(tag).into())
    }

    /// Makes a request ask for it only if it has changed (RFC 9111 §4.3.1); whether it can.
    pub(crate) fn ask_for_change(&self, headers: &mut HeaderMap) {
        if let Some(etag) = self.headers.get(ETAG) {
            headers.insert(IF_NONE_MATCH, etag.clone());
        }
        if let Some(modified) = self.headers.get(LAST_MODIFIED) {
            headers.insert(IF_MODIFIED_SINCE, modified.clone());
        }
    }

    /// The headers, with those of a 304 or of an answer to `HEAD` in place of its own.
    pub(crate) fn freshened(&self, with: &HeaderMap) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.extend(self.internal.clone());
        // Of the new answer, or of nobody.
        headers.remove(DATE);
        if !self.relayed {
            headers.remove(CACHE_STATUS);
        }
        freshen(&mut headers, with);
        headers
    }

    /// Whether an answer to `HEAD` is of the same bytes (RFC 9111 §4.3.5).
    pub(crate) fn is_same(&self, headers: &HeaderMap) -> bool {
        let same = |name: &HeaderName| headers.get(name).is_none_or(|value| self.headers.get(name) == Some(value));
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        same(&ETAG)
            && same(&LAST_MODIFIED)
            && same(&CONTENT_ENCODING)
            && length.is_none_or(|length| length == self.body.len())
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// The page as an answer, with a word on what was done.
    pub(crate) fn answer(&self, age: u64, done: Option<HeaderValue>, method: &Method, request: &HeaderMap) -> Response {
        self.under(self.head(age, done), is_for_less(request), method, request)
    }

    /// The same for a hit: `tells` is whether that is told, `less` whether the request asks for a part, or has the page perhaps.
    pub(crate) fn hit(&self, age: u64, tells: bool, less: bool, method: &Method, request: &HeaderMap) -> Response {
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        let head = ready.as_ref().filter(|(of, _)| *of == age).map(|(_, head)| head.clone());
        drop(ready);
        let head = head.unwrap_or_else(|| {
            let head = self.head(age, tells.then(|| Status { ttl: Some(self.ttl(age)), ..Status::HIT }.value()));
            *self.ready.write().unwrap_or_else(PoisonError::into_inner) = Some((age, head.clone()));
            head
        });
        self.under(head, less, method, request)
    }

    fn head(&self, age: u64, done: Option<HeaderValue>) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(AGE, HeaderValue::from(age));
        match done {
            Some(done) if self.relayed => drop(headers.append(CACHE_STATUS, done)),
            Some(done) => drop(headers.insert(CACHE_STATUS, done)),
            None if self.relayed => {}
            None => drop(headers.remove(CACHE_STATUS)),
        }
        headers
    }

    /// To a request for a part of it, the part; to one that has it, 304.
    fn under(&self, head: HeaderMap, less: bool, method: &Method, request: &HeaderMap) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = head;
        if less && self.status == StatusCode::OK {
            // Without another date, that of the answer says since when it is so (RFC 9111 §4.3.2).
            narrow(&mut response, method, request, self.etag.as_ref(), self.modified, self.modified.or(self.made));
        }
        response
    }
}

/// What was done with a request (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

const PLACE: HeaderValue = HeaderValue::from_static("");
