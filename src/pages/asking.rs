//! Asking below a `SharedCache`: for one of all who want the same, beside the requests, and only if it has changed.

use super::key::path_of;
use super::{
    Arrival, Found, Landing, Leave, Moment, OWN_CONTROL, Page, Plan, SharedCache, Status, Use, Whole, ask_for_whole,
    count, is_misleading, narrow_own, take_internal, whole,
};
use crate::cache::flight::{Lead, Turn};
use crate::freshness::RequestDirectives;
use crate::request::{Beside, CspNonce};
use crate::session::LazySession;
use crate::{Body, Request, Response, ResponseExt, Result, Service, StatusCode};
use http::header::{AUTHORIZATION, RANGE};
use http::{HeaderMap, Method};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::{Instant, timeout};

/// What a request wants that is not there, or has to be asked for.
pub(super) struct Wanted {
    pub(super) key: String,
    /// What those have in common who wait for each other; `None` for one that goes by itself.
    pub(super) flight: Option<String>,
    /// Whether it waits for another that is under way. What nobody else can be given is asked for at once.
    pub(super) waits: bool,
    pub(super) stale: Option<Arc<Page>>,
    pub(super) directives: RequestDirectives,
    pub(super) reason: &'static str,
    /// Before it was known that it is not there: what is made of it after a purge is not kept.
    pub(super) moment: Option<Moment>,
}

/// What came of waiting for another.
enum Waited {
    /// There is no other.
    Lead(Lead<Landing>),
    /// It is what the other got.
    Answer(Response),
    /// That was for the other alone.
    InVain,
}

/// What tells that an answer is for one person, beside its headers: of layers above this one.
struct Watch {
    session: Option<LazySession>,
    nonce: Option<CspNonce>,
}

impl Watch {
    fn of(req: &Request) -> Self {
        let session = req.extensions().get::<Beside>().and_then(|beside| beside.session.clone());
        Self { session, nonce: req.extensions().get().cloned() }
    }

    /// Whether the session was looked at, or a number made that is used once.
    fn has_seen(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.loaded().is_some())
            || self.nonce.as_ref().is_some_and(|nonce| nonce.made().is_some())
    }
}

impl SharedCache {
    /// A request that the store has no answer to.
    pub(super) async fn forward(&self, req: Request, next: &impl Service, mut wanted: Wanted) -> Result<Response> {
        if *req.method() == Method::HEAD {
            return Ok(self.head(req, next, wanted).await);
        }
        let headers = req.headers();
        if wanted.stale.is_none() && headers.contains_key(RANGE) {
            // For a few bytes of a film nobody fetches all of it.
            (wanted.flight, wanted.reason) = (None, "bypass");
        }
        let authorized = headers.contains_key(AUTHORIZATION);
        if is_misleading(headers) || (authorized && wanted.stale.is_none()) {
            // Nobody waits for what is perhaps for this one alone.
            wanted.reason = "bypass";
            let lead =
                if authorized && !is_misleading(headers) { self.pages().flights().try_lead(&wanted.key) } else { None };
            return match lead {
                Some(lead) => {
                    let leave = self.pages().leave(lead, true, wanted.moment.clone());
                    self.fetch_counted(req, next, wanted, leave).await
                }
                None => Ok(self.past(req, next, "bypass").await),
            };
        }
        self.ask(req, next, wanted).await
    }

    /// A `HEAD` for what is not fresh. Its answer is never that of a `GET`; but tells whether the stored one is still good (RFC 9111
    /// §4.3.5).
    async fn head(&self, mut req: Request, next: &impl Service, wanted: Wanted) -> Response {
        count(&self.counts().passed);
        let (request, watch) = (req.headers().clone(), Watch::of(&req));
        let lead = wanted.stale.as_ref().and_then(|_| self.pages().flights().try_lead(&wanted.key));
        let leave = lead.map(|lead| self.pages().leave(lead, true, wanted.moment.clone()));
        req.extensions_mut().insert(self.pages().clone());
        let requested = SystemTime::now();
        let mut response = next.call(req).await;
        let arrival = Arrival { requested, received: SystemTime::now(), at: Instant::now() };
        if let (Some(stale), Some(leave), StatusCode::OK) = (&wanted.stale, &leave, response.status()) {
            let page = stale.is_same(response.headers()).then(|| {
                let headers = stale.freshened(response.headers());
                let plan =
                    Plan::of(&self.settings().rules, &request, self.offered(), stale.status(), &headers, arrival);
                let plan = plan.filter(|_| Plan::is_for(&response) && !watch.has_seen());
                plan.and_then(|plan| plan.page(stale.status(), headers, stale.body().clone()))
            });
            match page {
                Some(Some(page)) => drop(self.pages().keep(&wanted.key, Arc::new(page), leave).await),
                Some(None) => {}
                None => self.pages().invalidate(vec![wanted.key.clone()]).await,
            }
        }
        take_internal(response.headers_mut(), false);
        self.tell(&mut response, Status::forwarded(wanted.reason));
        response
    }

    /// What is not there, or has to be asked for: by this request, or by another for which it waits.
    async fn ask(&self, req: Request, next: &impl Service, mut asked: Wanted) -> Result<Response> {
        let pages = self.pages();
        let Some(mut flight) = asked.flight.take() else {
            return Ok(self.past(req, next, asked.reason).await);
        };
        let mut lead = None;
        if asked.waits {
            match timeout(self.settings().wait, self.await_turn(&req, &mut asked, &mut flight)).await {
                Ok(Waited::Lead(its)) => lead = Some(its),
                Ok(Waited::Answer(response)) => return Ok(response),
                Ok(Waited::InVain) | Err(_) => {}
            }
        }
        // By itself; and stores it, if nobody else is at it.
        match lead.or_else(|| pages.flights().try_lead(&flight)) {
            Some(lead) => {
                let leave = pages.leave(lead, flight == asked.key, asked.moment.clone());
                self.fetch_counted(req, next, asked, leave).await
            }
            None => Ok(self.past(req, next, asked.reason).await),
        }
    }

    /// Waits for another who asks for the same, or is the one.
    async fn await_turn(&self, req: &Request, asked: &mut Wanted, flight: &mut String) -> Waited {
        loop {
            let landing = match self.pages().flights().turn(flight).await {
                Turn::Lead(lead) => return Waited::Lead(lead),
                Turn::Done(landing) => landing,
                Turn::Panicked => return Waited::InVain,
            };
            let now = Instant::now();
            let found = match landing {
                Landing::Unshared => return Waited::InVain,
                _ => self.pages().find(&asked.key, now, req.headers(), self.offered()),
            };
            match found {
                Found::Page(page) => {
                    let age = page.age(now);
                    let will_do = match landing {
                        Landing::Failed => page.covers_errors(age),
                        _ => page.usage(age, &asked.directives) != Use::Ask,
                    };
                    if !will_do || !page.may_be_for(req.headers()) {
                        return Waited::InVain;
                    }
                    count(&self.counts().collapsed);
                    let status = Status { collapsed: true, ..Status::forwarded(asked.reason) };
                    return Waited::Answer(self.given(&page, age, status, req.method(), req.headers()));
                }
                // Now it is known what makes the difference: those who want the same wait for one of them.
                Found::Others(variant) if *flight == asked.key => {
                    *flight = self.pages().flight(&asked.key, &variant);
                    asked.reason = "vary-miss";
                }
                _ => return Waited::InVain,
            }
        }
    }

    /// The same for a request itself, and not beside one.
    async fn fetch_counted(&self, req: Request, next: &impl Service, asked: Wanted, leave: Leave) -> Result<Response> {
        let counts = self.counts();
        count(if asked.stale.is_some() { &counts.revalidations } else { &counts.misses });
        self.fetch(req, next, asked, leave).await
    }

    /// Asks what is below, and stores what comes.
    async fn fetch(&self, mut req: Request, next: &impl Service, asked: Wanted, leave: Leave) -> Result<Response> {
        let pages = self.pages();
        let (method, request) = (req.method().clone(), req.headers().clone());
        let watch = Watch::of(&req);
        ask_for_whole(req.headers_mut());
        if let Some(stale) = &asked.stale {
            stale.ask_for_change(req.headers_mut());
        }
        req.extensions_mut().insert(pages.clone());
        let requested = SystemTime::now();
        let response = next.call(req).await;
        let arrival = Arrival { requested, received: SystemTime::now(), at: Instant::now() };
        let code = response.status();
        let mut told = Status { code: asked.stale.is_some().then_some(code), ..Status::forwarded(asked.reason) };

        if let Some(stale) = &asked.stale {
            if code == StatusCode::NOT_MODIFIED {
                let (mut response, stored) =
                    self.freshened(stale, response, &request, arrival, &asked, leave, &watch).await;
                narrow_own(&mut response, &method, &request);
                told.stored = stored;
                self.tell(&mut response, told);
                return Ok(response);
            }
            let age = stale.age(Instant::now());
            if matches!(code.as_u16(), 500 | 502 | 503 | 504) && stale.covers_errors(age) {
                let cause = response.error().map(|error| format!("{error:#}"));
                tracing::warn!(
                    path = path_of(&asked.key),
                    status = code.as_u16(),
                    cause,
                    age,
                    "a stale page was given in place of a failure"
                );
                count(&self.counts().stale);
                leave.land(Landing::Failed);
                return Ok(self.given(stale, age, told, &method, &request));
            }
        }

        let plan = Plan::of(&self.settings().rules, &request, self.offered(), code, response.headers(), arrival);
        let Some(plan) = plan.filter(|_| Plan::is_for(&response) && !watch.has_seen()) else {
            return Ok(self.unshared(response, told, &asked.key, leave, &method, &request));
        };
        let (mut head, body) = response.into_parts();
        let body = match whole(body, pages.largest()).await {
            Ok(Whole::Bytes(bytes)) => bytes,
            Ok(Whole::Large(body)) => {
                let response = Response::from_parts(head, body);
                return Ok(self.unshared(response, told, &asked.key, leave, &method, &request));
            }
            Err(error) => {
                leave.land(Landing::Unshared);
                return Err(error);
            }
        };
        // The body may have been made by looking at the session.
        let page = plan.page(code, head.headers.clone(), body.clone()).filter(|_| !watch.has_seen());
        if let Some(page) = page {
            told.ttl = Some(page.ttl(page.age(Instant::now())));
            told.stored = pages.keep(&asked.key, Arc::new(page), &leave).await;
        }
        leave.land(if told.stored { Landing::Stored } else { Landing::Unshared });
        let own = head.headers.contains_key(OWN_CONTROL);
        take_internal(&mut head.headers, own);
        let mut response = Response::from_parts(head, Body::from(body));
        narrow_own(&mut response, &method, &request);
        self.tell(&mut response, told);
        Ok(response)
    }

    /// An answer that is not stored: those who wait ask by themselves.
    fn unshared(
        &self,
        mut response: Response,
        told: Status,
        key: &str,
        leave: Leave,
        method: &Method,
        request: &HeaderMap,
    ) -> Response {
        // A failure, or what one request was refused, says nothing of the next.
        let status = response.status();
        if (status.is_success() || status.is_redirection()) && !request.contains_key(AUTHORIZATION) {
            self.pages().keep_unshared(key);
        }
        leave.land(Landing::Unshared);
        take_internal(response.headers_mut(), false);
        if response.error().is_none() {
            narrow_own(&mut response, method, request);
        }
        self.tell(&mut response, told);
        response
    }

    /// A 304: the page is what it was, with some headers anew. The answer, and whether it is stored.
    #[expect(clippy::too_many_arguments, reason = "one exchange, whose parts are apart by then")]
    async fn freshened(
        &self,
        stale: &Page,
        response: Response,
        request: &HeaderMap,
        arrival: Arrival,
        asked: &Wanted,
        leave: Leave,
        watch: &Watch,
    ) -> (Response, bool) {
        let mut headers = stale.freshened(response.headers());
        let (rules, body) = (&self.settings().rules, stale.body().clone());
        let plan = Plan::of(rules, request, self.offered(), stale.status(), &headers, arrival);
        let page = plan.filter(|_| !watch.has_seen()).and_then(|plan| plan.page(stale.status(), headers.clone(), body));
        let stored = match page {
            Some(page) => self.pages().keep(&asked.key, Arc::new(page), &leave).await,
            None => {
                self.pages().invalidate(vec![asked.key.clone()]).await;
                false
            }
        };
        leave.land(if stored { Landing::Stored } else { Landing::Unshared });
        let own = headers.contains_key(OWN_CONTROL);
        take_internal(&mut headers, own);
        let (mut head, _) = response.into_parts();
        (head.status, head.headers) = (stale.status(), headers);
        (Response::from_parts(head, Body::from(stale.body().clone())), stored)
    }

    /// Makes a page anew beside the request that got it stale.
    pub(super) fn refresh(&self, req: &Request, next: &impl Service, mut asked: Wanted) {
        let (Some(flight), Some(below)) = (&asked.flight, next.owned()) else { return };
        let (Ok(permit), Some(lead)) =
            (self.refreshing().clone().try_acquire_owned(), self.pages().flights().try_lead(flight))
        else {
            return;
        };
        let has_second = self.pages().has_second();
        let mut copy = Request::new(Body::empty());
        *copy.method_mut() = Method::GET;
        *copy.uri_mut() = req.uri().clone();
        *copy.version_mut() = req.version();
        *copy.headers_mut() = req.headers().clone();
        *copy.extensions_mut() = req.extensions().clone();
        let cache = self.clone();
        tokio::spawn(async move {
            let path = path_of(&asked.key).to_owned();
            let pages = cache.pages();
            if has_second {
                asked.moment = pages.look(&asked.key).await;
                let now = Instant::now();
                asked.stale = match pages.find(&asked.key, now, copy.headers(), cache.offered()) {
                    // Another process has made it.
                    Found::Page(page) if page.ttl(page.age(now)) > 0 => return lead.finish(Landing::Stored),
                    Found::Page(page) => Some(page),
                    _ => None,
                };
            }
            count(&cache.counts().refreshes);
            let leave = pages.leave(lead, true, asked.moment.clone());
            let answer = cache.fetch(copy, &below, asked, leave).await;
            let error = match &answer {
                Ok(response) => response.error().map(|error| format!("{error:#}")),
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(error) = error {
                tracing::warn!(path, error, "a stale page could not be made anew");
            }
            drop(permit);
        });
    }
}
