//! `Caches`: the regions of a site, as a layer.

use super::Cache;
#[cfg(feature = "redis")]
use super::redis::Remote;
use super::region::{Region, Terms};
use crate::config::{CacheConfig, CacheStore, RegionConfig};
use crate::nearest::nearest;
use crate::site::{About, Start};
use crate::{Error, Middleware, Request, Response, Result, Service};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The caches of a site: handlers below take a [`Cache`], the region `default`.
///
/// Clones are the same caches; [`Site::shared`](crate::site::Site::shared) has one once the site has started. Every minute what has
/// ended is swept out of memory. See [the module](super).
///
/// ```
/// use purlin::cache::{Cache, Caches};
/// use purlin::{Config, Result, Router, Stack, get};
/// use std::time::Duration;
///
/// async fn visitors(cache: Cache) -> Result<String> {
///     let count = cache.region("counts")?.get_or_try("visitors", Duration::from_secs(5), || async { Ok(7_u64) }).await?;
///     Ok(format!("{count} visitors"))
/// }
///
/// let config = purlin::config::Loader::new()
///     .environment("test")
///     .toml("[cache.regions.counts]\nmemory = '1 MiB'")
///     .load()?;
/// let app = Stack::new().layer(Caches::new(&config.cache)?).app(Router::new().route("/", get(visitors)));
/// # app.check()?;
/// # Ok::<(), purlin::Error>(())
/// ```
#[derive(Clone)]
pub struct Caches {
    default: Cache,
}

/// The regions by their names.
pub(super) struct Regions(BTreeMap<Box<str>, Arc<Region>>);

/// The name of the region that `[cache]` itself is.
const DEFAULT: &str = "default";

impl Caches {
    /// The regions of `[cache]`. Redis is not connected to before something is asked for.
    ///
    /// # Errors
    ///
    /// A region is to be kept in Redis, and `cache.url` names none, or the feature `redis` is off.
    pub fn new(config: &CacheConfig) -> Result<Self> {
        let mut regions = BTreeMap::new();
        let own = RegionConfig::default();
        let named = config.regions.iter().map(|(name, region)| (name.as_str(), region));
        for (name, said) in std::iter::once((DEFAULT, &own)).chain(named) {
            let region =
                region(config, name, said).map_err(|error| error.context(format!("the cache region `{name}`")))?;
            regions.insert(name.into(), Arc::new(region));
        }
        let regions = Arc::new(Regions(regions));
        Ok(Self { default: Cache { region: regions.find(DEFAULT)?, regions } })
    }

    /// The region `default`, for whoever needs it before there is a request.
    pub fn default_region(&self) -> Cache {
        self.default.clone()
    }

    /// A region, as [`Cache::region`].
    ///
    /// # Errors
    ///
    /// There is none of this name.
    #[track_caller]
    pub fn region(&self, name: &str) -> Result<Cache> {
        self.default.region(name)
    }

    /// All of them, by their names.
    pub fn all(&self) -> impl Iterator<Item = Cache> {
        let regions = &self.default.regions;
        regions.0.values().map(|region| Cache { region: region.clone(), regions: regions.clone() })
    }
}

impl Regions {
    #[track_caller]
    pub(super) fn find(&self, name: &str) -> Result<Arc<Region>> {
        self.0.get(name).cloned().ok_or_else(|| {
            let names = || self.0.keys().map(|name| &**name);
            let hint = match nearest(name, names()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("there are `{}`", names().collect::<Vec<_>>().join("`, `")),
            };
            Error::internal(format!("no cache region is named `{name}`: {hint} (setting `cache.regions`)"))
        })
    }
}

/// The region, from what it says itself and otherwise from `[cache]`.
fn region(config: &CacheConfig, name: &str, said: &RegionConfig) -> Result<Region> {
    let terms = Terms {
        ttl: said.ttl.unwrap_or(config.ttl),
        stale: said.stale.unwrap_or(config.stale),
        early_refresh: said.early_refresh.unwrap_or(config.early_refresh),
        negative: said.negative.unwrap_or(config.negative),
        errors: Duration::ZERO,
    };
    let region = Region::new(name, terms);
    let memory = said.memory.unwrap_or(config.memory);
    let store = said.store.unwrap_or(config.store);
    if store == CacheStore::Memory {
        return Ok(region.memory(memory));
    }
    #[cfg(feature = "redis")]
    {
        if config.url.expose().is_empty() {
            let message = "expected a Redis in `cache.url` (PURLIN__CACHE__URL), found nothing";
            return Err(Error::internal(message));
        }
        let prefix = format!("{}{name}:", config.prefix);
        let remote = Remote::new(&config.url, &prefix, config.timeout)
            .map_err(|error| Error::from(error).context("cache.url"))?;
        let region = region.remote(remote, said.local_ttl.unwrap_or(config.local_ttl));
        Ok(if store == CacheStore::Both { region.memory(memory) } else { region })
    }
    #[cfg(not(feature = "redis"))]
    Err(Error::internal("to be kept in Redis it needs Purlin's feature `redis`"))
}

impl Middleware for Caches {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        req.extensions_mut().insert(self.default.clone());
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        let regions: Vec<String> = self.default.regions.0.values().map(|region| region.describe()).collect();
        about.provides::<Cache>().option("regions", regions.join(" "));
        about.share(self.clone());
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        start.share(self.clone());
        let regions = self.default.regions.clone();
        start.task("sweeping the caches", move |mut stopping| async move {
            while tokio::time::timeout(SWEEP_EVERY, stopping.wait()).await.is_err() {
                regions.0.values().for_each(|region| region.sweep());
            }
        });
        Ok(())
    }
}

const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.default.regions.0.values()).finish()
    }
}
