//! `Region`: one cache with its room and its terms: what is there, what is stale, and who makes it.

use super::Value;
use super::flight::{Flights, Lead, Turn};
use super::memory::{Memory, Put, Ticket};
#[cfg(feature = "redis")]
use super::redis::{self, Remote};
use crate::error::Place;
use crate::panic::caught;
use crate::{Error, Result};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use std::any::{Any, type_name};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A region of a site's caches.
pub(super) struct Region {
    pub(super) name: Box<str>,
    pub(super) terms: Terms,
    memory: Option<Memory<Arc<Held>>>,
    #[cfg(feature = "redis")]
    remote: Option<Remote>,
    /// For how long what Redis has too is kept in memory.
    local_ttl: Option<Duration>,
    /// Those who look for a value where it may be, and make it if need be.
    reads: Flights<Outcome>,
    /// Those who make one: apart, so that a stale value is found while a new one is made.
    makes: Flights<Outcome>,
    /// The keys whose last attempt to be made anew failed a moment ago.
    pauses: Memory<()>,
    counts: Counts,
}

/// For how long, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Terms {
    pub(super) ttl: Duration,
    pub(super) stale: Duration,
    pub(super) early_refresh: f64,
    pub(super) negative: Duration,
    pub(super) errors: Duration,
}

/// What is looked up.
pub(super) struct Wanted<'a> {
    pub(super) key: &'a str,
    pub(super) terms: Terms,
    pub(super) tags: Vec<Box<str>>,
}

/// The same for work that goes on beside the request.
struct Making<T, F> {
    key: Box<str>,
    terms: Terms,
    tags: Vec<Box<str>>,
    is_absent: fn(&T) -> bool,
    load: F,
}

/// What a region did since the site began, and holds now: see [`Cache::metrics`](super::Cache::metrics).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Look-ups answered from memory, in time.
    pub hits: u64,
    /// Those answered from memory with a stale value.
    pub stale: u64,
    /// Those answered from Redis.
    pub remote_hits: u64,
    /// Those that called their loader, and waited for it.
    pub misses: u64,
    /// Those that waited for another's look-up.
    pub waited: u64,
    /// Values made anew beside the requests.
    pub refreshes: u64,
    /// Loaders that failed.
    pub failures: u64,
    /// Values that were too large to be kept in memory.
    pub too_large: u64,
    /// Values that were kept in memory.
    pub stores: u64,
    /// Those that were pushed out of it to make room for others.
    pub evictions: u64,
    /// Calls that purged a key, a tag or the whole region.
    pub purges: u64,
    /// What Redis was asked, and did not answer in time or at all.
    pub remote_failures: u64,
    /// Values in memory, those included that have ended and were not swept out yet.
    pub entries: usize,
    /// What they weigh.
    pub bytes: u64,
    /// What they may weigh.
    pub max_bytes: u64,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    stale: AtomicU64,
    remote_hits: AtomicU64,
    misses: AtomicU64,
    waited: AtomicU64,
    refreshes: AtomicU64,
    failures: AtomicU64,
    too_large: AtomicU64,
    stores: AtomicU64,
    purges: AtomicU64,
}

/// What is kept of one key.
struct Held {
    value: std::result::Result<Box<dyn Any + Send + Sync>, Arc<Failure>>,
    /// Of the value, for whoever asks for another.
    type_name: &'static str,
    refresh_at: Instant,
    fresh_until: Instant,
}

/// What a look-up came to, for all who waited for it.
type Outcome = std::result::Result<Arc<Held>, Arc<Failure>>;

/// After a failure a stale value is not made anew for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// What is kept of these keys, in bytes. One that is pushed out is tried again sooner.
const PAUSES: u64 = 256 << 10;

/// A value's largest part of the region.
const PART: u64 = 64;

/// Smaller values are kept in any region that has room for four of them.
const SMALL: u64 = 64 << 10;

impl Region {
    pub(super) fn new(name: &str, terms: Terms) -> Self {
        Self {
            name: name.into(),
            terms,
            memory: None,
            #[cfg(feature = "redis")]
            remote: None,
            local_ttl: None,
            reads: Flights::new(),
            makes: Flights::new(),
            pauses: Memory::new(PAUSES, PAUSES / 4),
            counts: Counts::default(),
        }
    }

    pub(super) fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(Memory::new(bytes, (bytes / PART).max(SMALL.min(bytes / 4))));
        self
    }

    /// Redis, before which what is in memory counts for so long.
    #[cfg(feature = "redis")]
    pub(super) fn remote(mut self, remote: Remote, local_ttl: Duration) -> Self {
        self.remote = Some(remote);
        self.local_ttl = Some(local_ttl);
        self
    }

    #[cfg(feature = "tera")]
    pub(super) fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// In words, for the printed stack.
    pub(super) fn describe(&self) -> String {
        let mut words = Vec::new();
        if let Some(memory) = &self.memory {
            words.push(format!("{} KiB", memory.max_bytes() >> 10));
        }
        #[cfg(feature = "redis")]
        if let Some(remote) = &self.remote {
            words.push(format!("redis {}", remote.place()));
        }
        words.push(format!("{:?}", self.terms.ttl));
        format!("{}({})", self.name, words.join(", "))
    }

    /// The value: what is there, or what the loader makes.
    pub(super) async fn fetch<T, F, Fut>(
        self: &Arc<Self>,
        wanted: Wanted<'_>,
        is_absent: fn(&T) -> bool,
        load: F,
    ) -> Result<T>
    where
        T: Value,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let Wanted { key, terms, tags } = wanted;
        let now = Instant::now();
        if let Some(held) = self.held(key, now) {
            add(if now < held.fresh_until { &self.counts.hits } else { &self.counts.stale });
            if now >= held.refresh_at && self.may_try(key) {
                let making = Making { key: key.into(), terms, tags, is_absent, load };
                self.refresh(making);
            }
            return self.value(key, &held);
        }
        match self.reads.turn(key).await {
            Turn::Done(outcome) => {
                add(&self.counts.waited);
                outcome.map_err(|failure| failure.again()).and_then(|held| self.value(key, &held))
            }
            Turn::Panicked => Err(self.panicked(key)),
            Turn::Lead(lead) => {
                let making = Making { key: key.into(), terms, tags, is_absent, load };
                let held = self.lead(lead, making).await?;
                self.value(key, &held)
            }
        }
    }

    /// The value, if there is one in its time.
    pub(super) async fn peek<T: Value>(&self, key: &str) -> Result<Option<T>> {
        let now = Instant::now();
        if let Some(held) = self.held(key, now) {
            if now < held.fresh_until {
                add(&self.counts.hits);
                return self.value(key, &held).map(Some);
            }
            return Ok(None);
        }
        // With the lead a removal is noticed; without, what another is about to keep is not kept here.
        let (lead, ticket) = (self.reads.try_lead(key), self.ticket());
        let (found, _) = self.read::<T>(key, &self.terms).await;
        let Some(found) = found.filter(|found| Instant::now() < found.held.fresh_until) else {
            return Ok(None);
        };
        add(&self.counts.remote_hits);
        let held = found.held.clone();
        if let Some(lead) = lead {
            self.keep_led(&[&lead], key, found, ticket);
            lead.finish(Ok(held.clone()));
        }
        self.value(key, &held).map(Some)
    }

    /// Keeps a value in place of what is there.
    pub(super) async fn put<T: Value>(&self, wanted: Wanted<'_>, value: T) {
        let Wanted { key, terms, tags } = wanted;
        self.forget(key);
        let ticket = self.ticket();
        let found = Found::of(value, &terms, terms.ttl, tags);
        #[cfg(feature = "redis")]
        self.write::<T>(key, &found, Some(redis::Ticket::then())).await;
        self.keep_here(key, found, ticket);
    }

    /// Markup that is made at once, and kept in memory only.
    #[cfg(feature = "tera")]
    pub(super) fn markup(&self, wanted: Wanted<'_>, make: impl FnOnce() -> Result<String>) -> Result<Arc<str>> {
        let Wanted { key, terms, tags } = wanted;
        let now = Instant::now();
        let old = self.held(key, now);
        let mut lead = None;
        if let Some(held) = &old {
            if now >= held.refresh_at && self.may_try(key) {
                lead = self.makes.try_lead(key);
            }
            if lead.is_none() {
                add(if now < held.fresh_until { &self.counts.hits } else { &self.counts.stale });
                return self.value(key, held);
            }
        }
        let ticket = self.ticket();
        add(if old.is_none() { &self.counts.misses } else { &self.counts.refreshes });
        let markup: Arc<str> = match (make(), old) {
            (Ok(markup), _) => markup.into(),
            (Err(error), Some(old)) => {
                self.not_made(key, &error);
                return self.value(key, &old);
            }
            (Err(error), None) => {
                add(&self.counts.failures);
                return Err(error);
            }
        };
        let found = Found::of(markup.clone(), &terms, terms.ttl, tags);
        let held = found.held.clone();
        self.keep_here(key, found, ticket);
        if let Some(lead) = lead {
            lead.finish(Ok(held));
        }
        Ok(markup)
    }

    /// # Errors
    ///
    /// 503 where Redis does not say that it has done so.
    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        add(&self.counts.purges);
        self.forget(key);
        // Redis first, or what is asked for meanwhile would be read again from there.
        #[cfg(feature = "redis")]
        let told = match &self.remote {
            Some(remote) => remote.remove(key).await.map_err(redis::unreached),
            None => Ok(()),
        };
        #[cfg(not(feature = "redis"))]
        let told = Ok(());
        self.forget(key);
        if let Some(memory) = &self.memory {
            memory.remove(key);
        }
        told
    }

    /// # Errors
    ///
    /// As for [`remove`](Region::remove).
    pub(super) async fn purge_tag(&self, tag: &str) -> Result<()> {
        add(&self.counts.purges);
        #[cfg(feature = "redis")]
        let told = match &self.remote {
            Some(remote) => remote.purge_tag(tag).await.map_err(redis::unreached),
            None => Ok(()),
        };
        #[cfg(not(feature = "redis"))]
        let told = Ok(());
        if let Some(memory) = &self.memory {
            memory.purge_tag(tag);
        }
        // Last: who joined before sees what is from before, and who comes now does not join.
        self.part_all();
        told
    }

    /// # Errors
    ///
    /// As for [`remove`](Region::remove).
    pub(super) async fn clear(&self) -> Result<()> {
        add(&self.counts.purges);
        #[cfg(feature = "redis")]
        let told = match &self.remote {
            Some(remote) => remote.clear().await.map_err(redis::unreached),
            None => Ok(()),
        };
        #[cfg(not(feature = "redis"))]
        let told = Ok(());
        if let Some(memory) = &self.memory {
            memory.clear();
        }
        self.part_all();
        told
    }

    /// Makes room of what has ended.
    pub(super) fn sweep(&self) {
        if let Some(memory) = &self.memory {
            memory.sweep();
        }
    }

    pub(super) fn metrics(&self) -> Metrics {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        #[cfg(feature = "redis")]
        let remote_failures = self.remote.as_ref().map_or(0, Remote::failures);
        #[cfg(not(feature = "redis"))]
        let remote_failures = 0;
        let memory = self.memory.as_ref();
        Metrics {
            hits: now(&counts.hits),
            stale: now(&counts.stale),
            remote_hits: now(&counts.remote_hits),
            misses: now(&counts.misses),
            waited: now(&counts.waited),
            refreshes: now(&counts.refreshes),
            failures: now(&counts.failures),
            too_large: now(&counts.too_large),
            stores: now(&counts.stores),
            evictions: memory.map_or(0, Memory::evictions),
            purges: now(&counts.purges),
            remote_failures,
            entries: memory.map_or(0, Memory::len),
            bytes: memory.map_or(0, Memory::bytes),
            max_bytes: memory.map_or(0, Memory::max_bytes),
        }
    }

    /// Makes a value anew beside the requests, unless another does.
    fn refresh<T, F, Fut>(self: &Arc<Self>, making: Making<T, F>)
    where
        T: Value,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let Some(lead) = self.makes.try_lead(&making.key) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let region = self.clone();
        runtime.spawn(async move {
            let Making { key, terms, tags, is_absent, load } = making;
            let ticket = region.ticket();
            // Another has made it since the look.
            if let Some(held) = region.held(&key, Instant::now()).filter(|held| Instant::now() < held.refresh_at) {
                return lead.finish(Ok(held));
            }
            let (found, remote) = region.read::<T>(&key, &terms).await;
            // Another process has made it.
            if let Some(found) = found.filter(|found| Instant::now() < found.held.refresh_at) {
                let held = found.held.clone();
                region.keep_led(&[&lead], &key, found, ticket);
                return lead.finish(Ok(held));
            }
            add(&region.counts.refreshes);
            match caught(async move { load().await }).await.and_then(|made| made) {
                Ok(value) => {
                    let made = Found::made(value, &terms, is_absent, tags);
                    let held = region.keep::<T>(&[&lead], &key, made, ticket, remote).await;
                    lead.finish(Ok(held));
                }
                Err(error) => {
                    region.not_made(&key, &error);
                    lead.finish(Err(Arc::new(Failure::of(&error))));
                }
            }
        });
    }

    /// Reads from Redis or makes the value, for all who wait.
    async fn lead<T, F, Fut>(self: &Arc<Self>, lead: Lead<Outcome>, making: Making<T, F>) -> Result<Arc<Held>>
    where
        T: Value,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let ticket = self.ticket();
        let key = making.key.clone();
        // Another has made it since the look.
        if let Some(held) = self.held(&key, Instant::now()) {
            add(&self.counts.hits);
            lead.finish(Ok(held.clone()));
            return Ok(held);
        }
        let (found, remote) = self.read::<T>(&key, &making.terms).await;
        if let Some(found) = found {
            add(&self.counts.remote_hits);
            let held = found.held.clone();
            self.keep_led(&[&lead], &key, found, ticket);
            lead.finish(Ok(held.clone()));
            if Instant::now() >= held.refresh_at && self.may_try(&key) {
                self.refresh(making);
            }
            return Ok(held);
        }
        let make = match self.makes.turn(&key).await {
            Turn::Lead(make) => make,
            // It was being made beside the requests when its time ended.
            Turn::Done(outcome) => {
                add(&self.counts.waited);
                lead.finish(outcome.clone());
                return outcome.map_err(|failure| failure.again());
            }
            Turn::Panicked => return Err(self.panicked(&key)),
        };
        let Making { terms, tags, is_absent, load, .. } = making;
        add(&self.counts.misses);
        let (outcome, answer) = match load().await {
            Ok(value) => {
                let made = Found::made(value, &terms, is_absent, tags);
                let held = self.keep::<T>(&[&lead, &make], &key, made, ticket, remote).await;
                (Ok(held.clone()), Ok(held))
            }
            Err(error) => {
                add(&self.counts.failures);
                let failure = Arc::new(Failure::of(&error));
                if !terms.errors.is_zero() {
                    let failed = Found::failed(failure.clone(), terms.errors, tags);
                    self.keep_led(&[&lead, &make], &key, failed, ticket);
                }
                (Err(failure), Err(error))
            }
        };
        make.finish(outcome.clone());
        lead.finish(outcome);
        answer
    }

    fn forget(&self, key: &str) {
        self.reads.forget(key);
        self.makes.forget(key);
    }

    fn part_all(&self) {
        self.reads.part_all();
        self.makes.part_all();
    }

    fn panicked(&self, key: &str) -> Error {
        let name = &self.name;
        Error::internal(format!("what makes {key:?} of the cache region `{name}` panicked for another request"))
    }

    fn held(&self, key: &str, now: Instant) -> Option<Arc<Held>> {
        let entry = self.memory.as_ref()?.get(key, now)?;
        Some(Arc::clone(&entry))
    }

    fn may_try(&self, key: &str) -> bool {
        self.pauses.get(key, Instant::now()).is_none()
    }

    /// A value was not made anew: the old one stays, and the next attempt is after the pause.
    fn not_made(&self, key: &str, error: &Error) {
        add(&self.counts.failures);
        let (ticket, ends) = (self.pauses.ticket(), after(Instant::now(), PAUSE));
        self.pauses.put(Put { key, value: (), bytes: 0, tags: &[], ticket, ends });
        let name = &self.name;
        tracing::warn!(target: "purlin::cache", "{key:?} of the region `{name}` was not made anew: {error:#}");
    }

    fn value<T: Value>(&self, key: &str, held: &Held) -> Result<T> {
        let value = held.value.as_ref().map_err(|failure| failure.again())?;
        value.downcast_ref::<T>().cloned().ok_or_else(|| {
            let (expected, found, region) = (type_name::<T>(), held.type_name, &self.name);
            Error::internal(format!("{key:?} of the cache region `{region}`: expected a {expected}, found a {found}"))
        })
    }

    /// From before a value is made; without memory nothing asks for it.
    fn ticket(&self) -> Option<Ticket> {
        self.memory.as_ref().map(Memory::ticket)
    }

    /// Keeps a value wherever the region keeps them, unless it was removed meanwhile.
    async fn keep<T: Value>(
        &self,
        leads: &[&Lead<Outcome>],
        key: &str,
        found: Found,
        ticket: Option<Ticket>,
        remote: RemoteTicket,
    ) -> Arc<Held> {
        let held = found.held.clone();
        if !leads.iter().any(|lead| lead.is_forgotten()) {
            self.write::<T>(key, &found, remote).await;
        }
        self.keep_led(leads, key, found, ticket);
        held
    }

    /// Keeps what a lead came to in memory, unless it was removed meanwhile.
    fn keep_led(&self, leads: &[&Lead<Outcome>], key: &str, found: Found, ticket: Option<Ticket>) {
        let is_forgotten = || leads.iter().any(|lead| lead.is_forgotten());
        if is_forgotten() {
            return;
        }
        self.keep_here(key, found, ticket);
        // Who removes says so first, and then takes out what is there: one of the two sees the other.
        if is_forgotten()
            && let Some(memory) = &self.memory
        {
            memory.remove(key);
        }
    }

    fn keep_here(&self, key: &str, found: Found, ticket: Option<Ticket>) {
        let (Some(memory), Some(ticket)) = (&self.memory, ticket) else { return };
        let Found { held, bytes, tags, lasts, .. } = found;
        let lasts = self.local_ttl.map_or(lasts, |local| lasts.min(local));
        if lasts.is_zero() {
            return memory.remove(key);
        }
        let ends = after(Instant::now(), lasts);
        let kept = memory.put(Put { key, value: held, bytes, tags: &tags, ticket, ends });
        if kept {
            add(&self.counts.stores);
        } else if bytes as u64 > memory.largest() {
            add(&self.counts.too_large);
        }
    }

    #[cfg(feature = "redis")]
    async fn read<T: Value>(&self, key: &str, terms: &Terms) -> (Option<Found>, RemoteTicket) {
        let Some(remote) = &self.remote else { return (None, None) };
        let redis::Answer { stored, ticket, .. } = remote.get(key).await;
        let found = stored.and_then(|stored| {
            // Of another release of the site, or another type: it is made, and takes the place.
            let value: T = serde_json::from_slice(&stored.bytes).ok()?;
            let found = Found::of(value, terms, stored.fresh_for, stored.tags);
            Some(Found { bytes: found.bytes.max(stored.bytes.len()), lasts: stored.ends_in, ..found })
        });
        (found, ticket)
    }

    #[cfg(not(feature = "redis"))]
    async fn read<T: Value>(&self, _: &str, _: &Terms) -> (Option<Found>, RemoteTicket) {
        (None, ())
    }

    #[cfg(feature = "redis")]
    async fn write<T: Value>(&self, key: &str, found: &Found, ticket: RemoteTicket) {
        let (Some(remote), Some(ticket)) = (&self.remote, ticket) else { return };
        let value = found.held.value.as_ref().ok().and_then(|value| value.downcast_ref::<T>());
        let Some(json) = value.map(serde_json::to_vec) else { return };
        match json {
            Ok(bytes) => {
                let (fresh_for, stale_for) = (found.fresh_for, found.lasts.saturating_sub(found.fresh_for));
                let put = redis::Put { key, bytes: &bytes, tags: &found.tags, fresh_for, stale_for, ticket: &ticket };
                remote.put(put).await;
            }
            Err(error) => {
                let name = &self.name;
                tracing::warn!(target: "purlin::cache", "{key:?} of the region `{name}` cannot be JSON, nor kept: {error}");
            }
        }
    }

    #[cfg(not(feature = "redis"))]
    async fn write<T: Value>(&self, _: &str, _: &Found, (): RemoteTicket) {}
}

#[cfg(feature = "redis")]
type RemoteTicket = Option<redis::Ticket>;
#[cfg(not(feature = "redis"))]
type RemoteTicket = ();

/// A value about to be kept.
struct Found {
    held: Arc<Held>,
    bytes: usize,
    tags: Vec<Box<str>>,
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    fresh_for: Duration,
    /// Until it is given out no more.
    lasts: Duration,
}

impl Found {
    /// What a loader made.
    fn made<T: Value>(value: T, terms: &Terms, is_absent: fn(&T) -> bool, tags: Vec<Box<str>>) -> Self {
        if is_absent(&value) {
            let terms = Terms { stale: Duration::ZERO, early_refresh: 1.0, ..*terms };
            return Self::of(value, &terms, terms.negative, tags);
        }
        Self::of(value, terms, terms.ttl, tags)
    }

    /// A value that is good for so long from now on.
    fn of<T: Value>(value: T, terms: &Terms, fresh_for: Duration, tags: Vec<Box<str>>) -> Self {
        let now = Instant::now();
        let fresh_until = after(now, fresh_for);
        let early = terms.early_refresh.clamp(0.0, 1.0);
        let refresh_at = match early < 1.0 {
            // Of its whole time, of which some may have passed in Redis.
            true => {
                let before = terms.ttl.mul_f64((1.0 - early) * (1.0 - random()));
                fresh_until.checked_sub(before).unwrap_or(now).max(now)
            }
            false => fresh_until,
        };
        let bytes = weight(&value);
        let held = Held { type_name: type_name::<T>(), value: Ok(Box::new(value)), refresh_at, fresh_until };
        // What is not kept at all is not kept stale either.
        let lasts = if fresh_for.is_zero() { fresh_for } else { fresh_for.saturating_add(terms.stale) };
        Self { held: Arc::new(held), bytes, tags, fresh_for, lasts }
    }

    fn failed(failure: Arc<Failure>, lasts: Duration, tags: Vec<Box<str>>) -> Self {
        let bytes = failure.text.len();
        let end = after(Instant::now(), lasts);
        let held = Held { value: Err(failure), type_name: "failure", refresh_at: end, fresh_until: end };
        Self { held: Arc::new(held), bytes, tags, fresh_for: lasts, lasts }
    }
}

/// A failure for those who did not make it: an [`Error`] is one failure on one way, and cannot be cloned.
struct Failure {
    status: StatusCode,
    text: String,
    public: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    places: Vec<Place>,
}

impl Failure {
    fn of(error: &Error) -> Self {
        Self {
            status: error.status(),
            text: format!("{error:#}"),
            public: error.public_message().map(str::to_owned),
            headers: error.headers().to_vec(),
            places: error.places().to_vec(),
        }
    }

    fn again(&self) -> Error {
        let mut error = Error::new(self.status, self.text.clone()).with_places(self.places.clone());
        if let Some(public) = &self.public {
            error = error.public(public.clone());
        }
        let headers = self.headers.iter().cloned();
        headers.fold(error, |error, (name, value)| error.header(name, value))
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Far away, where the clock does not reach so far.
fn after(now: Instant, time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
    now + time.min(FAR)
}

/// From 0 up to 1: by the keys that the standard library draws for its hash maps.
fn random() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

/// How long it is as JSON, which is nearer to what it takes than its size in Rust: that leaves out what is behind pointers.
fn weight<T: Serialize>(value: &T) -> usize {
    let mut length = Length(0);
    let _ = serde_json::to_writer(&mut length, value);
    length.0.max(size_of::<T>())
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Region {
    /// Without keys and values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("name", &self.name).field("terms", &self.terms).finish_non_exhaustive()
    }
}
