//! Values that are dear to make, made once and kept: in this process, in Redis, or in both.
//!
//! A handler takes a [`Cache`] and says what it wants by a key, for how long it is good, and how it is made:
//!
//! ```
//! use purlin::cache::{Cache, Caches};
//! use purlin::testing::Client;
//! use purlin::{Config, Result, Router, Stack, get};
//! use std::time::Duration;
//!
//! async fn prices(cache: Cache) -> Result<String> {
//!     let prices: Vec<u32> = cache.get_or_try("prices", Duration::from_secs(60), || async { dear().await }).await?;
//!     Ok(format!("{prices:?}"))
//! }
//!
//! async fn dear() -> Result<Vec<u32>> {
//!     // A query, or a request to another server.
//!     Ok(vec![3, 5, 8])
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! let config = Config::for_tests()?;
//! let caches = Caches::new(&config.cache)?;
//! let client = Client::new(Stack::new().layer(caches.clone()).app(Router::new().route("/", get(prices))));
//! client.get("/").await.assert_contains("[3, 5, 8]");
//! client.get("/").await.assert_contains("[3, 5, 8]");
//! assert_eq!((caches.default_region().metrics().misses, caches.default_region().metrics().hits), (1, 1));
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! - **One at a time.** A thousand who miss the same key at once are one call of the loader: one makes the value, in its own
//!   request, and the others wait for that. If its visitor leaves, or its deadline comes, the next of them makes it. If it
//!   fails, all who wait get that failure: its status, message and public text; nothing is kept of it, unless
//!   [asked for](Lookup::errors). If it panics, those who wait are answered 500, and who comes next tries again.
//! - **Nobody waits while there is a value.** With [`stale`](Lookup::stale), one that is past its time is given out for a while
//!   longer, and made anew beside the requests, once; if that fails, the old one stays, and the next attempt is a second later.
//!   With [`early_refresh`](Lookup::early_refresh) that begins before its time is over. So a loader owns what it uses: it may
//!   be run after its request was answered.
//! - **A purge counts.** What is purged, by key, by tag or all, is not given out to whoever comes afterwards, and neither is
//!   what was under way when the purge came. A tag is a number and no list: purging one takes the same time for one value and
//!   for a million.
//! - **Bounded.** What is in memory weighs no more than the region's `memory`: the values' length as JSON (no smaller than
//!   they are in Rust), keys and tags, and what the place of each takes. What is asked for least goes first (S3-FIFO). A value
//!   that alone takes more than a 64th of the region, and 64 KiB, is given out and not kept.
//!
//! # Regions
//!
//! A region is a cache of its own by name, with its own room and defaults. The table `[cache]` of the [configuration](crate::config)
//! is the region `default`, which a handler gets; `[cache.regions.NAME]` is another, which differs from that in what it says:
//!
//! ```toml
//! [cache]
//! memory = "32 MiB"
//! ttl = "5m"
//!
//! [cache.regions.prices]
//! ttl = "30s"
//! stale = "10m"
//! ```
//!
//! | Key | Default | |
//! |---|---|---|
//! | `store` | `"memory"` | `"memory"` of the process; `"redis"`; `"both"`: Redis, and for `local_ttl` memory before it |
//! | `memory` | `"32 MiB"` | what the region may take in this process |
//! | `ttl` | `"5m"` | how long a value is good, where the handler does not say |
//! | `stale` | `"0s"` | for how long after that it is given out while it is made anew |
//! | `early_refresh` | `1.0` | the part of its time after which it may be made anew beforehand; 1 is never |
//! | `negative` | `"0s"` | how long it is remembered that [`find`](Cache::find) found nothing; nought is not at all |
//! | `local_ttl` | `"5s"` | of `"both"`: how long another process's purge may go unnoticed |
//!
//! # Redis
//!
//! With the feature `redis`, `cache.url` names a Redis or Valkey that processes and machines share. Values are JSON there, below
//! `cache.prefix`. One that cannot be read as what is asked for, since another release of the site wrote it, counts as not
//! there. Without Redis the site goes on: what would be read is made, with one warning in the log; see `cache.timeout`.
//! Only a purge says that it failed. The single flight is each process's own.
//!
//! # Why `quick_cache`
//!
//! It is one package with two dependencies, where moka (0.12) has twelve; it holds to the weight at once and not soon after;
//! and it takes no time and no tasks of its own, so that tests pause the clock. What it lacks (times, tags, a single flight
//! whose leader may be dropped) is here.

mod caches;
pub(crate) mod flight;
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod region;

pub use caches::Caches;
pub use region::Metrics;

use crate::site::Needs;
use crate::{Error, FromRequest, Request, Result};
use caches::Regions;
use region::{Region, Terms, Wanted};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What can be kept: anything serialisable that owns itself and is cheap to clone.
///
/// In memory a value is kept as it is and a hit is a clone of it: put what is dear to clone into an `Arc`, which is
/// serialised as what is in it. As JSON it is written for Redis only.
pub trait Value: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Value for T {}

/// One region of a site's caches: an argument of a handler below [`Caches`], and then the region `default`.
///
/// A key is a text, and is the whole of what tells one value from another: what the value depends on belongs into it, the
/// language or the visitor's rights too. Clones are the same cache. See [the module](self).
#[derive(Clone)]
pub struct Cache {
    region: Arc<Region>,
    regions: Arc<Regions>,
}

impl Cache {
    /// Another region of the site, as the configuration names it.
    ///
    /// # Errors
    ///
    /// There is none of this name: the nearest one is named.
    #[track_caller]
    pub fn region(&self, name: &str) -> Result<Cache> {
        Ok(Self { region: self.regions.find(name)?, regions: self.regions.clone() })
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        &self.region.name
    }

    /// The value of this key: the one that is there, or else what `load` makes, which is kept for `ttl`.
    ///
    /// Whoever asks within `load` for the same key waits for itself.
    ///
    /// # Errors
    ///
    /// What `load` says; where others waited for it, they get an error of the same status, message, public text and headers,
    /// whose cause is only with the first. 500 where the key is there with another type.
    pub async fn get_or_try<T, F, Fut>(&self, key: impl AsRef<str>, ttl: Duration, load: F) -> Result<T>
    where
        T: Value,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        self.key(key.as_ref()).ttl(ttl).get_or_try(load).await
    }

    /// The same for what may not be there: that it is not is remembered for the region's `negative` only.
    ///
    /// # Errors
    ///
    /// As for [`get_or_try`](Cache::get_or_try).
    pub async fn find<T, F, Fut>(&self, key: impl AsRef<str>, ttl: Duration, load: F) -> Result<Option<T>>
    where
        T: Value,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>>> + Send + 'static,
    {
        self.key(key.as_ref()).ttl(ttl).find(load).await
    }

    /// A look-up that differs from what the region does.
    ///
    /// ```
    /// # use purlin::{Result, cache::Cache};
    /// # use std::time::Duration;
    /// # async fn post(_: u32) -> Result<String> { Ok(String::new()) }
    /// async fn show(cache: Cache) -> Result<String> {
    ///     let id = 7;
    ///     let post: Option<String> = cache
    ///         .key(format!("post:{id}"))
    ///         .ttl(Duration::from_secs(600))
    ///         .stale(Duration::from_secs(3600))
    ///         .tag(format!("post:{id}"))
    ///         .tag("posts")
    ///         .find(move || async move { Ok(Some(post(id).await?)) })
    ///         .await?;
    ///     Ok(post.unwrap_or_default())
    /// }
    ///
    /// async fn edit(cache: Cache) -> Result<()> {
    ///     cache.purge_tag("post:7").await
    /// }
    /// # let _ = (show, edit);
    /// ```
    pub fn key<'a>(&'a self, key: impl Into<Cow<'a, str>>) -> Lookup<'a> {
        Lookup { cache: self, key: key.into(), terms: self.region.terms, tags: Vec::new() }
    }

    /// The value of this key, if there is one that is not stale. Nobody is waited for.
    ///
    /// # Errors
    ///
    /// 500 where it has another type.
    pub async fn get<T: Value>(&self, key: impl AsRef<str>) -> Result<Option<T>> {
        self.region.peek(key.as_ref()).await
    }

    /// Takes a value out, and keeps what is under way to be it from being kept.
    ///
    /// # Errors
    ///
    /// 503 where it is in Redis, and that cannot be told so: it may still be given out.
    pub async fn remove(&self, key: impl AsRef<str>) -> Result<()> {
        self.region.remove(key.as_ref()).await
    }

    /// Purges all values that have this tag: it takes no longer for many than for one.
    ///
    /// # Errors
    ///
    /// As for [`remove`](Cache::remove).
    pub async fn purge_tag(&self, tag: impl AsRef<str>) -> Result<()> {
        self.region.purge_tag(tag.as_ref()).await
    }

    /// Purges the whole region.
    ///
    /// # Errors
    ///
    /// As for [`remove`](Cache::remove).
    pub async fn clear(&self) -> Result<()> {
        self.region.clear().await
    }

    /// What the region did since the site began, and holds now.
    pub fn metrics(&self) -> Metrics {
        self.region.metrics()
    }

    /// Markup by its key, or else what `make` makes at once: for code that cannot wait. Kept in memory only.
    ///
    /// Nobody waits for another here. Making it is work for the processor, of which no more goes on at once than there are
    /// threads; and while it is stale, one makes it and the others are given the old.
    #[cfg(feature = "tera")]
    pub(crate) fn markup(
        &self,
        key: &str,
        ttl: Option<Duration>,
        tags: Vec<Box<str>>,
        make: impl FnOnce() -> Result<String>,
    ) -> Result<Arc<str>> {
        let mut terms = self.region.terms;
        terms.ttl = ttl.unwrap_or(terms.ttl);
        self.region.markup(Wanted { key, terms, tags }, make)
    }

    /// Whether it keeps anything in this process.
    #[cfg(feature = "tera")]
    pub(crate) fn has_memory(&self) -> bool {
        self.region.has_memory()
    }
}

impl FromRequest for Cache {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let cache = req.extensions().get::<Cache>().cloned();
        cache.ok_or_else(|| Error::internal("no layer `Caches` stands above"))
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<Cache>("add `.layer(Caches::new(&config.cache)?)`");
    }
}

impl fmt::Debug for Cache {
    /// Without keys and values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metrics { entries, bytes, .. } = self.metrics();
        f.debug_struct("Cache").field("region", &self.name()).field("entries", &entries).field("bytes", &bytes).finish()
    }
}

/// A look-up with its options, from [`Cache::key`]; what is not said is as the region has it.
#[must_use = "nothing is looked up before `get_or_try`, `find` or `put`"]
pub struct Lookup<'a> {
    cache: &'a Cache,
    key: Cow<'a, str>,
    terms: Terms,
    tags: Vec<Box<str>>,
}

impl Lookup<'_> {
    /// How long the value is good. For nought it is not kept at all, and only shared with those who wait for it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.terms.ttl = ttl;
        self
    }

    /// For how long after that it is given out while it is made anew, or while that fails.
    pub fn stale(mut self, stale: Duration) -> Self {
        self.terms.stale = stale;
        self
    }

    /// The part of its time, 0 to 1, after which it may be made anew beforehand: by the first hit after a moment that is drawn
    /// evenly between there and its end. 1 is never.
    ///
    /// One moment for each value that is kept, and not a draw at each hit (as in XFetch): within the process only one makes it
    /// anyway, a hit costs nothing, a key that is asked for once a second is renewed too, however quickly it is made; and the
    /// draw keeps the processes of a site from renewing all at once.
    pub fn early_refresh(mut self, part: f64) -> Self {
        self.terms.early_refresh = part;
        self
    }

    /// How long it is remembered that [`find`](Lookup::find) found nothing; nought is not at all.
    pub fn negative(mut self, ttl: Duration) -> Self {
        self.terms.negative = ttl;
        self
    }

    /// How long a failure of the loader is remembered, in this process, and told to whoever asks; not at all unless it is said.
    pub fn errors(mut self, ttl: Duration) -> Self {
        self.terms.errors = ttl;
        self
    }

    /// A tag of the value, by which it can be [purged](Cache::purge_tag). There may be several.
    pub fn tag(mut self, tag: impl Into<Box<str>>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// As [`Cache::get_or_try`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_or_try<T, F, Fut>(self, load: F) -> Result<T>
    where
        T: Value,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let Self { cache, key, terms, tags } = self;
        cache.region.fetch(Wanted { key: &key, terms, tags }, |_| false, load).await
    }

    /// As [`Cache::find`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn find<T, F, Fut>(self, load: F) -> Result<Option<T>>
    where
        T: Value,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>>> + Send + 'static,
    {
        let Self { cache, key, terms, tags } = self;
        cache.region.fetch(Wanted { key: &key, terms, tags }, Option::is_none, load).await
    }

    /// Keeps a value that is there already, in place of what is kept by its key or under way to be.
    pub async fn put<T: Value>(self, value: T) {
        let Self { cache, key, terms, tags } = self;
        cache.region.put(Wanted { key: &key, terms, tags }, value).await;
    }
}

impl fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cache, key, terms, tags } = self;
        let mut all = f.debug_struct("Lookup");
        all.field("region", &cache.name()).field("key", key).field("terms", terms).field("tags", tags).finish()
    }
}
