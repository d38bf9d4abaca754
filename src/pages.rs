//! `Pages`: the answers that the layer `PageCache` has stored, and how they are purged.

mod asking;
#[cfg(feature = "redis")]
mod entry;
mod key;
mod narrow;
mod page;
#[cfg(feature = "redis")]
mod second;
mod selector;
mod shared_cache;
mod status;
mod whole;

use crate::cache::flight::{Flights, Lead};
use crate::cache::memory::{Memory, Put, Ticket};
#[cfg(feature = "redis")]
use crate::cache::redis::Placed;
use crate::extract::FromRequest;
use crate::lock::locked;
use crate::negotiate::Coding;
use crate::site::Needs;
use crate::{Error, Request, Result};
use http::header::HOST;
use http::{HeaderMap, HeaderName, Method};
pub(crate) use key::written;
use key::{in_tag, path_of, path_tag};
use narrow::{ask_for_whole, is_for_less, narrow, narrow_own};
pub(crate) use page::{Arrival, CACHE_STATUS, Page, Plan, Use, take_internal};
#[cfg(feature = "redis")]
#[doc(hidden)]
pub use second::read_entry;
pub(crate) use shared_cache::{Settings, SharedCache};
use status::Status;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use whole::{Whole, whole};

/// What an answer says to [`PageCache`](crate::layers::PageCache) alone, in the words of `Cache-Control`, before which those of other
/// headers do not count (RFC 9213): `Purlin-Cache-Control: max-age=60`. No client sees it.
///
/// In Rust it is written by [`CacheFor`](crate::layers::CacheFor). An application in another process writes it by hand.
pub const OWN_CONTROL: HeaderName = HeaderName::from_static("purlin-cache-control");

/// The tags of an answer, with commas between them, by which it is purged: `Cache-Tag: post:7, front`. No client sees it.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The pages that a [`PageCache`](crate::layers::PageCache) has stored; an argument of handlers below it, which purge what they
/// changed.
///
/// What is purged is given to nobody any more, when the call returns; an answer that was under way then is not stored.
///
/// ```
/// use purlin::layers::{CacheFor, PageCache};
/// use purlin::pages::Pages;
/// use purlin::{Redirect, Result, Router, Stack, get, post};
///
/// async fn news() -> &'static str {
///     "all is well"
/// }
///
/// async fn write(pages: Pages) -> Result<Redirect> {
///     pages.purge_tag("news").await?;
///     Ok(Redirect::see_other("/news"))
/// }
///
/// let news = get(news).layer(CacheFor::secs(60).tag("news"));
/// let app = Stack::new().layer(PageCache::new()).app(Router::new().route("/news", news).route("/write", post(write)));
/// # app.check().unwrap();
/// ```
#[derive(Clone)]
pub struct Pages(Arc<Shelf>);

struct Shelf {
    memory: Memory<Kept>,
    #[cfg(feature = "redis")]
    second: Option<Arc<second::Second>>,
    flights: Flights<Landing>,
    /// How many URLs were purged: what is under way by a key with this in it is joined by nobody who comes after.
    purged: AtomicU64,
    /// Of two who store a variant of one page at the same time, one after the other.
    writes: Mutex<()>,
    counts: Counts,
}

/// What was done with requests, and with pages, since the site began.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) hits: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) collapsed: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) revalidations: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) passed: AtomicU64,
    stores: AtomicU64,
    purges: AtomicU64,
}

/// What a [`PageCache`](crate::layers::PageCache) did since the site began, and holds now: see [`Pages::metrics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Requests answered with a stored page that was fresh.
    pub hits: u64,
    /// Those answered with one that was stale: while it was made anew, or in place of a failure.
    pub stale: u64,
    /// Those that waited for another that wanted the same, and were answered with what it got.
    pub collapsed: u64,
    /// Those that were passed on since nothing was stored for them, and whose answer might have been.
    pub misses: u64,
    /// Those that were passed on since what was stored for them had to be asked for.
    pub revalidations: u64,
    /// Pages made anew beside the requests.
    pub refreshes: u64,
    /// Requests that went past the store: of unsafe methods, for parts, of one person, for what is not for sharing.
    pub passed: u64,
    /// Pages that were stored.
    pub stores: u64,
    /// URLs that were pushed out of memory to make room for others.
    pub evictions: u64,
    /// Calls that purged a path, a tag or everything, and URLs that a request has changed.
    pub purges: u64,
    /// What Redis was asked, and did not answer in time or at all.
    pub remote_failures: u64,
    /// URLs in memory: with pages, or known to be not for sharing; those included that have ended and were not swept out yet.
    pub entries: usize,
    /// What they weigh.
    pub bytes: u64,
    /// What they may weigh.
    pub max_bytes: u64,
}

/// Those of all the layers `PageCache` of a site, which they share with it.
#[derive(Clone, Default)]
pub(crate) struct AllPages(Vec<Pages>);

impl AllPages {
    /// With these, too; clones of one layer have the same ones.
    pub(crate) fn and(mut self, pages: Pages) -> Self {
        if !self.0.iter().any(|known| Arc::ptr_eq(&known.0, &pages.0)) {
            self.0.push(pages);
        }
        self
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Pages> {
        self.0.iter()
    }
}

/// One more.
pub(crate) fn count(number: &AtomicU64) {
    number.fetch_add(1, Ordering::Relaxed);
}

/// What is known of a URL.
pub(crate) enum Kept {
    Variants(Variants),
    /// Its answers are not for sharing: nobody waits for another's.
    Unshared,
}

/// The pages of a URL.
pub(crate) struct Variants {
    /// The latest first.
    pages: Arc<[Arc<Page>]>,
    /// By which one knows whether Redis has the same.
    #[cfg(feature = "redis")]
    version: Option<Moment>,
    /// Until when it is not asked.
    until: Option<Instant>,
}

impl Kept {
    fn variants(&self) -> Option<&Variants> {
        match self {
            Self::Variants(variants) => Some(variants),
            Self::Unshared => None,
        }
    }
}

/// The moment before something was made, by Redis' clock.
#[cfg(feature = "redis")]
pub(crate) use crate::cache::redis::Ticket as Moment;
/// There is none without Redis.
#[cfg(not(feature = "redis"))]
#[derive(Clone)]
pub(crate) enum Moment {}

/// What became of a request for which others wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The page is there.
    Stored,
    /// The answer is for the one who asked.
    Unshared,
    /// The server failed, and the stale page will do.
    Failed,
}

/// What was found for a request.
pub(crate) enum Found {
    Page(Arc<Page>),
    /// Pages for other requests to this URL; requests that are alike in this are for the same.
    Others(String),
    Unshared,
    /// Nothing, or what Redis has to be asked about.
    Nothing,
}

/// The leave to ask for a page, and to store it.
pub(crate) struct Leave {
    lead: Lead<Landing>,
    ticket: Ticket,
    /// How many URLs had been purged, where others wait for one variant only: of that URL nobody tells the lead.
    purged: Option<u64>,
    #[cfg(feature = "redis")]
    moment: Option<Moment>,
}

impl Leave {
    pub(crate) fn land(self, landing: Landing) {
        self.lead.finish(landing);
    }
}

/// The rules by which pages are stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) heuristics: bool,
    pub(crate) validating: bool,
    pub(crate) set_cookie: bool,
    pub(crate) while_revalidate: Duration,
    pub(crate) if_error: Duration,
    pub(crate) targeted: Vec<HeaderName>,
}

/// More than these are not kept of one URL: the oldest goes.
const MAX_VARIANTS: usize = 32;

/// For how long it is remembered that answers are not for sharing.
const UNSHARED: Duration = Duration::from_secs(60);

impl Pages {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self(Arc::new(Shelf {
            memory: Memory::new(settings.memory, settings.largest),
            #[cfg(feature = "redis")]
            second: settings.redis.clone().map(|(remote, local_ttl)| Arc::new(second::Second::new(remote, local_ttl))),
            flights: Flights::new(),
            purged: AtomicU64::new(0),
            writes: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// Purges all that is stored of this path: for every query, host and variant. The path is that which the client sees, below a
    /// mount too, as [`Urls`](crate::Urls) has it.
    ///
    /// # Errors
    ///
    /// The second level cannot be reached, if there is one: there it may still be.
    pub async fn purge(&self, path: &str) -> Result<()> {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        self.purge_what_has(&path_tag(path)).await
    }

    /// Purges all that was stored with this tag: see [`CacheFor::tag`](crate::layers::CacheFor::tag).
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    pub async fn purge_tag(&self, tag: &str) -> Result<()> {
        self.purge_what_has(&in_tag(&written(tag))).await
    }

    async fn purge_what_has(&self, tag: &str) -> Result<()> {
        count(&self.0.counts.purges);
        // Redis first, or what is asked for meanwhile would be read again from there.
        #[cfg(feature = "redis")]
        if let Some(second) = self.0.second.clone() {
            let (pages, tag) = (self.clone(), tag.to_owned());
            return to_the_end(async move {
                let told = second.purge_tag(&tag).await;
                pages.forget_what_has(&tag);
                told
            })
            .await?;
        }
        self.forget_what_has(tag);
        Ok(())
    }

    /// The same in this process.
    fn forget_what_has(&self, tag: &str) {
        self.part_all();
        self.0.memory.purge_tag(tag);
    }

    /// Those who come from now on do not join who is under way.
    fn part_all(&self) {
        self.0.flights.part_all();
        #[cfg(feature = "redis")]
        self.0.second.iter().for_each(|second| second.part_all());
    }

    /// Purges everything.
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    pub async fn purge_all(&self) -> Result<()> {
        count(&self.0.counts.purges);
        #[cfg(feature = "redis")]
        if let Some(second) = self.0.second.clone() {
            let pages = self.clone();
            return to_the_end(async move {
                let told = second.clear().await;
                pages.forget_all();
                told
            })
            .await?;
        }
        self.forget_all();
        Ok(())
    }

    /// The same in this process.
    fn forget_all(&self) {
        self.part_all();
        self.0.memory.clear();
    }

    /// How many URLs are stored.
    pub fn len(&self) -> usize {
        self.0.memory.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes all of it takes, about.
    pub fn bytes(&self) -> u64 {
        self.0.memory.bytes()
    }

    /// What the layer did since the site began, and holds now. With Prometheus the layer [`Metrics`](crate::layers::Metrics) shows it.
    pub fn metrics(&self) -> Metrics {
        let Shelf { memory, counts, .. } = &*self.0;
        let now = |number: &AtomicU64| number.load(Ordering::Relaxed);
        #[cfg(feature = "redis")]
        let remote_failures = self.0.second.as_ref().map_or(0, |second| second.failures());
        #[cfg(not(feature = "redis"))]
        let remote_failures = 0;
        Metrics {
            hits: now(&counts.hits),
            stale: now(&counts.stale),
            collapsed: now(&counts.collapsed),
            misses: now(&counts.misses),
            revalidations: now(&counts.revalidations),
            refreshes: now(&counts.refreshes),
            passed: now(&counts.passed),
            stores: now(&counts.stores),
            evictions: memory.evictions(),
            purges: now(&counts.purges),
            remote_failures,
            entries: memory.len(),
            bytes: memory.bytes(),
            max_bytes: memory.max_bytes(),
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// What an entry may take at most.
    pub(crate) fn largest(&self) -> u64 {
        self.0.memory.largest()
    }

    pub(crate) fn sweep(&self) {
        self.0.memory.sweep();
    }

    /// What is stored for a request.
    pub(crate) fn find(&self, key: &str, now: Instant, request: &HeaderMap, offered: Option<&[Coding]>) -> Found {
        let Some(kept) = self.0.memory.get(key, now) else { return Found::Nothing };
        let Kept::Variants(Variants { pages, until, .. }) = &**kept else { return Found::Unshared };
        if until.is_some_and(|until| now >= until) {
            return Found::Nothing;
        }
        if let Some(page) = pages.iter().find(|page| page.matches(request, offered)) {
            return Found::Page(page.clone());
        }
        let selectors = pages.first().map_or(&[][..], |page| page.selectors());
        Found::Others(selectors.iter().map(|selector| selector.of_request(request, offered)).collect())
    }

    /// The key of those who want the same variant: `variant` is what they have in common.
    pub(crate) fn flight(&self, key: &str, variant: &str) -> String {
        format!("{key}\n{variant}\n{}", self.0.purged.load(Ordering::SeqCst))
    }

    pub(crate) fn flights(&self) -> &Flights<Landing> {
        &self.0.flights
    }

    /// To be taken before anything is asked. Whether others wait for all of the URL, or for one variant.
    #[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "without Redis there is one clock"))]
    pub(crate) fn leave(&self, lead: Lead<Landing>, whole: bool, moment: Option<Moment>) -> Leave {
        let purged = (!whole).then(|| self.0.purged.load(Ordering::SeqCst));
        Leave {
            lead,
            ticket: self.0.memory.ticket(),
            purged,
            #[cfg(feature = "redis")]
            moment,
        }
    }

    #[cfg(not(feature = "redis"))]
    pub(crate) fn has_second(&self) -> bool {
        false
    }

    #[cfg(not(feature = "redis"))]
    pub(crate) async fn look(&self, _: &str) -> Option<Moment> {
        None
    }

    /// Stores a page beside the other variants of its URL; whether it is there.
    pub(crate) async fn keep(&self, key: &str, page: Arc<Page>, leave: &Leave) -> bool {
        #[cfg(feature = "redis")]
        let (mut version, mut until) = (None, None);
        #[cfg(feature = "redis")]
        if let Some(second) = &self.0.second {
            if let Some(moment) = leave.moment.as_ref().filter(|_| !self.is_outdated(leave)) {
                let pages = self.beside(key, &page);
                match second.put(key, &pages, &tags_of(key, &pages), moment).await {
                    Placed::There => version = Some(moment.clone()),
                    Placed::Outdated => return self.has_been_stored(key).await,
                    Placed::Not => {}
                }
            }
            until = Some(second.until());
        }
        #[cfg(not(feature = "redis"))]
        let until = None;
        let Shelf { memory, writes, .. } = &*self.0;
        let write = locked(writes);
        let pages = self.beside(key, &page);
        let (bytes, tags) = (bytes_of(&pages), tags_of(key, &pages));
        let kept_for = pages.iter().map(|page| page.kept_for()).max().unwrap_or_default();
        let ends = Instant::now() + kept_for;
        let value = Kept::Variants(Variants {
            pages: pages.into(),
            #[cfg(feature = "redis")]
            version,
            until,
        });
        let put = memory.put(Put { key, value, bytes, tags: &tags, ticket: leave.ticket, ends });
        drop(write);
        // Looked at after it is there: so no purge is missed.
        let outdated = self.is_outdated(leave);
        if put && outdated {
            memory.remove(key);
        }
        let kept = put && !outdated;
        if kept {
            count(&self.0.counts.stores);
        }
        kept
    }

    fn is_outdated(&self, leave: &Leave) -> bool {
        leave.lead.is_forgotten() || leave.purged.is_some_and(|before| before != self.0.purged.load(Ordering::SeqCst))
    }

    /// A page, and those of its URL that stay beside it.
    fn beside(&self, key: &str, page: &Arc<Page>) -> Vec<Arc<Page>> {
        let memory = &self.0.memory;
        let known = memory.get(key, Instant::now());
        let others = known.as_deref().and_then(|entry| entry.variants()).map_or(&[][..], |variants| &variants.pages);
        let mut pages = vec![page.clone()];
        let mut bytes = page.bytes();
        for other in others {
            // A variant for the same requests is replaced. One of another `Vary` is another: the page has changed its mind.
            let replaced = other.selectors() == page.selectors() || other.selectors().len() != page.selectors().len();
            if !replaced && pages.len() < MAX_VARIANTS && (bytes + other.bytes()) as u64 <= memory.largest() {
                bytes += other.bytes();
                pages.push(other.clone());
            }
        }
        pages
    }

    /// Remembers that the answers of a URL are not for sharing, unless pages of it are there.
    pub(crate) fn keep_unshared(&self, key: &str) {
        let memory = &self.0.memory;
        if memory.get(key, Instant::now()).is_none() {
            let ends = Instant::now() + UNSHARED;
            memory.put(Put { key, value: Kept::Unshared, bytes: 0, tags: &[], ticket: memory.ticket(), ends });
        }
    }

    /// Takes URLs out, with all their variants, and what is under way to them.
    pub(crate) async fn invalidate(&self, keys: Vec<String>) {
        self.0.counts.purges.fetch_add(keys.len() as u64, Ordering::Relaxed);
        #[cfg(feature = "redis")]
        if let Some(second) = self.0.second.clone() {
            let pages = self.clone();
            let done = to_the_end(async move {
                for key in &keys {
                    second.remove(key).await;
                    second.forget(key);
                    pages.forget(key);
                }
            });
            return done.await.unwrap_or_else(|error| tracing::error!("purging pages: {error:#}"));
        }
        keys.iter().for_each(|key| self.forget(key));
    }

    /// Takes one URL out of this process.
    fn forget(&self, key: &str) {
        self.0.purged.fetch_add(1, Ordering::SeqCst);
        self.0.flights.forget(key);
        self.0.memory.remove(key);
    }
}

/// Also where who waits for it leaves: a visitor hangs up, and what he has changed is changed.
#[cfg(feature = "redis")]
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    Ok(tokio::spawn(work).await?)
}

fn bytes_of(pages: &[Arc<Page>]) -> usize {
    pages.iter().map(|page| page.bytes()).sum()
}

/// The tags of the pages of a URL, its path among them.
fn tags_of(key: &str, pages: &[Arc<Page>]) -> Vec<Box<str>> {
    let mut tags: Vec<Box<str>> = pages.iter().flat_map(|page| page.tags()).collect();
    tags.push(path_tag(path_of(key)).into());
    tags.sort_unstable();
    tags.dedup();
    tags
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.memory.fmt(f)
    }
}

impl FromRequest for Pages {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let pages = req.extensions().get::<Self>().cloned();
        pages.ok_or_else(|| Error::internal(format!("the request has no stored pages: {HINT}")))
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<Self>(HINT);
    }
}

const HINT: &str = "add `.layer(PageCache::new())`";

/// Whether a request has headers by which some applications take another URL, host or method than those of the key: what they
/// answer to that is not for who asks without.
pub(crate) fn is_misleading(headers: &HeaderMap) -> bool {
    const MISLEADING: [HeaderName; 10] = [
        HeaderName::from_static("x-host"),
        HeaderName::from_static("x-forwarded-server"),
        HeaderName::from_static("x-forwarded-prefix"),
        HeaderName::from_static("x-forwarded-scheme"),
        HeaderName::from_static("x-original-url"),
        HeaderName::from_static("x-rewrite-url"),
        HeaderName::from_static("x-http-method-override"),
        HeaderName::from_static("x-http-method"),
        HeaderName::from_static("x-method-override"),
        HeaderName::from_static("x-http-host-override"),
    ];
    let host = headers.get(HOST);
    let other_host = headers.get_all("x-forwarded-host").iter().any(|forwarded| Some(forwarded) != host);
    other_host || MISLEADING.iter().any(|name| headers.contains_key(name))
}

/// Whether answers to it are stored: by method.
pub(crate) fn is_reading(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}
