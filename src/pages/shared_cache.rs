//! `SharedCache`: who is answered from the store, and who is not (RFC 9111).

use super::asking::Wanted;
use super::key::{key, key_beside, with_key};
use super::{CACHE_STATUS, Counts, Found, Page, Pages, Rules, Status, Use, count, is_reading, take_internal};
use crate::freshness::RequestDirectives;
use crate::negotiate::{Coding, Offered};
use crate::site::Site;
use crate::{Error, Request, Response, Result, Service, StatusCode, spare};
use http::header::{AUTHORIZATION, CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Method};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What a [`PageCache`](crate::layers::PageCache) is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) memory: u64,
    pub(crate) largest: u64,
    pub(crate) wait: Duration,
    pub(crate) obeys: bool,
    pub(crate) tells: bool,
    pub(crate) rules: Rules,
    /// The second level, and for how long what is in memory counts before it.
    #[cfg(feature = "redis")]
    pub(crate) redis: Option<(Arc<crate::cache::redis::Remote>, Duration)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            largest: 1 << 20,
            wait: Duration::from_secs(5),
            obeys: false,
            tells: true,
            rules: Rules::default(),
            #[cfg(feature = "redis")]
            redis: None,
        }
    }
}

/// A shared cache by RFC 9111: a store, and the terms on which it answers. Clones are the same.
#[derive(Clone)]
pub(crate) struct SharedCache(Arc<Parts>);

struct Parts {
    settings: Settings,
    pages: Pages,
    site: OnceLock<Arc<Site>>,
    offered: OnceLock<Option<Arc<[Coding]>>>,
    refreshing: Arc<Semaphore>,
}

/// How many pages are made anew beside requests at the same time; above that, a stale one is given as it is.
const REFRESHING: usize = 64;

impl SharedCache {
    /// Nothing stored yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(Parts {
            pages: Pages::new(&settings),
            settings,
            site: OnceLock::new(),
            offered: OnceLock::new(),
            refreshing: Arc::new(Semaphore::new(REFRESHING)),
        }))
    }

    /// The site that it stands in, once that starts.
    pub(crate) fn started(&self, site: &Arc<Site>) {
        let _ = self.0.site.set(site.clone());
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.0.pages
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(super) fn refreshing(&self) -> &Arc<Semaphore> {
        &self.0.refreshing
    }

    /// Answers from the store; or asks what is below, and stores what comes.
    pub(crate) async fn answer(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        if !is_reading(req.method()) {
            return Ok(Box::pin(self.change(req, next)).await);
        }
        let headers = req.headers();
        let signs = Signs::of(headers);
        let now = Instant::now();
        let directives = if signs.directives { self.asked(headers) } else { RequestDirectives::default() };
        let found = match signs.past || !req.body().is_empty() {
            true => None,
            false if directives.no_store => with_key(&req, |_| Found::Unshared),
            false => with_key(&req, |key| self.0.pages.find(key, now, headers, self.offered())),
        };
        if let Some(Found::Page(page)) = &found
            && (page.is_authorized() || !signs.authorization)
        {
            let age = page.age(now);
            if page.usage(age, &directives) == Use::Give {
                self.count_hit(page, age);
                let response = page.hit(age, self.0.settings.tells, signs.less, req.method(), headers);
                spare::keep(&mut req);
                return Ok(response);
            }
        }
        Ok(match found.and_then(|found| Some((found, key(&req)?))) {
            Some((found, key)) => return Box::pin(self.miss(req, next, key, found, directives)).await,
            None => Box::pin(self.past(req, next, "bypass")).await,
        })
    }

    /// What is not there, or not to be given as it is.
    async fn miss(
        &self,
        req: Request,
        next: &impl Service,
        key: String,
        mut found: Found,
        directives: RequestDirectives,
    ) -> Result<Response> {
        let (headers, pages) = (req.headers(), &self.0.pages);
        let mut now = Instant::now();
        let mut moment = None;
        if pages.has_second() && !found.will_do(headers, now, &directives) {
            moment = pages.look(&key).await;
            now = Instant::now();
            found = pages.find(&key, now, headers, self.offered());
        }
        let mut wanted = Wanted { flight: None, waits: true, stale: None, directives, reason: "uri-miss", key, moment };
        match found {
            Found::Page(page) if !page.may_be_for(headers) => wanted.reason = "bypass",
            Found::Page(page) => {
                let age = page.age(now);
                let usage = page.usage(age, &directives);
                if usage != Use::Ask {
                    self.count_hit(&page, age);
                    let response = self.given(&page, age, Status::HIT, req.method(), headers);
                    if usage == Use::GiveAndAsk {
                        (wanted.flight, wanted.reason) = (Some(wanted.key.clone()), "stale");
                        wanted.stale = Some(page);
                        self.refresh(&req, next, wanted);
                    }
                    return Ok(response);
                }
                wanted.reason = if page.ttl(age) > 0 { "request" } else { "stale" };
                wanted.waits = !page.is_always_asked() && !directives.no_cache;
                wanted.flight = Some(wanted.key.clone());
                wanted.stale = Some(page);
            }
            Found::Others(variant) => {
                wanted.reason = "vary-miss";
                wanted.flight = Some(pages.flight(&wanted.key, &variant));
            }
            Found::Nothing => wanted.flight = Some(wanted.key.clone()),
            Found::Unshared if directives.no_store => wanted.reason = "request",
            Found::Unshared => (wanted.flight, wanted.waits) = (Some(wanted.key.clone()), false),
        }
        if directives.only_if_cached {
            return Err(Error::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the request wants what is stored, and nothing fitting is",
            ));
        }
        self.forward(req, next, wanted).await
    }

    /// What the layer that compresses offers, if the site has one.
    pub(super) fn offered(&self) -> Option<&[Coding]> {
        // Asked for when the first request is there: it starts after this layer.
        let find = || self.0.site.get()?.shared::<Offered>().map(|Offered(codings)| codings);
        self.0.offered.get_or_init(find).as_deref()
    }

    /// What a request says, as far as it is obeyed.
    fn asked(&self, headers: &HeaderMap) -> RequestDirectives {
        let said = RequestDirectives::of(headers);
        if self.0.settings.obeys {
            return said;
        }
        let mut kept = RequestDirectives::default();
        (kept.max_stale, kept.only_if_cached) = (said.max_stale, said.only_if_cached);
        kept
    }

    pub(super) fn tell(&self, response: &mut Response, status: Status) {
        if self.0.settings.tells {
            response.headers_mut().append(CACHE_STATUS, status.value());
        }
    }

    /// The stored page as an answer.
    pub(super) fn given(
        &self,
        page: &Page,
        age: u64,
        status: Status,
        method: &Method,
        request: &HeaderMap,
    ) -> Response {
        let done = self.0.settings.tells.then(|| Status { ttl: Some(page.ttl(age)), ..status }.value());
        page.answer(age, done, method, request)
    }

    pub(super) fn counts(&self) -> &Counts {
        self.0.pages.counts()
    }

    /// A page that is given without a question.
    fn count_hit(&self, page: &Page, age: u64) {
        let counts = self.counts();
        count(if page.ttl(age) > 0 { &counts.hits } else { &counts.stale });
    }

    /// Asks what is below, past the store.
    pub(super) async fn past(&self, mut req: Request, next: &impl Service, reason: &'static str) -> Response {
        count(&self.counts().passed);
        req.extensions_mut().insert(self.0.pages.clone());
        let mut response = next.call(req).await;
        take_internal(response.headers_mut(), false);
        self.tell(&mut response, Status::forwarded(reason));
        response
    }

    /// An unsafe method: what it changed is no longer what is stored.
    async fn change(&self, req: Request, next: &impl Service) -> Response {
        let safe = matches!(*req.method(), Method::OPTIONS | Method::TRACE | Method::CONNECT);
        let key = if safe { None } else { key(&req) };
        let response = self.past(req, next, "method").await;
        let status = response.status();
        if let Some(key) = key.filter(|_| status.is_success() || status.is_redirection()) {
            let beside = [LOCATION, CONTENT_LOCATION].map(|name| key_beside(&key, response.headers().get(name)?));
            let keys = std::iter::once(key).chain(beside.into_iter().flatten());
            self.0.pages.invalidate(keys.collect()).await;
        }
        response
    }
}

/// Which of the headers are there that a store has to look at: told in one pass, since hardly any of them is, and to look for each
/// would take longer than all the rest.
#[derive(Default)]
struct Signs {
    /// What only the server can tell; or what changes the protocol.
    past: bool,
    directives: bool,
    authorization: bool,
    /// It asks for a part, or has the page perhaps.
    less: bool,
}

impl Signs {
    fn of(headers: &HeaderMap) -> Self {
        let mut signs = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "if-match" | "if-unmodified-since" | "upgrade" => signs.past = true,
                "cache-control" | "pragma" => signs.directives = true,
                "authorization" => signs.authorization = true,
                "if-none-match" | "if-modified-since" | "range" => signs.less = true,
                _ => {}
            }
        }
        signs
    }
}

impl Found {
    /// Whether nobody has to be asked, nor Redis: it is given, or is not for sharing.
    fn will_do(&self, request: &HeaderMap, now: Instant, asked: &RequestDirectives) -> bool {
        match self {
            Self::Page(page) => page.may_be_for(request) && page.usage(page.age(now), asked) != Use::Ask,
            Self::Unshared => true,
            Self::Others(_) | Self::Nothing => false,
        }
    }
}

impl Page {
    /// Whether who asks so may have it (RFC 9111 §3.5).
    pub(super) fn may_be_for(&self, request: &HeaderMap) -> bool {
        self.is_authorized() || !request.contains_key(AUTHORIZATION)
    }
}

impl fmt::Debug for SharedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.pages.fmt(f)
    }
}
