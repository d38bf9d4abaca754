//! Stores answers, and gives them to who asks for the same.

use crate::config::CacheConfig;
use crate::pages::{AllPages, Pages, Settings, SharedCache};
use crate::site::{About, LayerInfo, Site, Start};
use crate::{Error, Middleware, Request, Response, Result, Service};
use http::HeaderName;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// Stores answers and gives them to whoever asks for the same: a shared cache by RFC 9111.
///
/// **Nothing is stored that does not say so**: by [`CacheFor`](crate::layers::CacheFor), on a route or beside what a handler returns, or by
/// `Cache-Control` or `Expires`. What says so is stored with its status, and each `Vary` apart; each coding once, as
/// [`Compression`](crate::layers::Compression) below has made it.
///
/// **Nobody gets another's page.** Never stored, whatever it says of its time, is an answer
///
/// - that sets a cookie (unless it excepts that: `Cache-Control: private="set-cookie"`, with which it is stored without),
/// - for which the session was looked at, and so each with a flash message, the token of a form or the name of who is signed in;
///   or that says `Vary: Cookie` or `Vary: Authorization`,
/// - to a request with `Authorization`, unless it says `public` or `s-maxage`; such a request is not answered from the store
///   either, unless the stored page says that,
/// - that says `private` or `no-store`; whose `Content-Security-Policy` has a nonce; that carries an error of 500 and above; a view that
///   is yet to be rendered, a stream of events, a part.
///
/// How a path ends, and of what type an answer is, count for nothing. The key is the URL as it was sent: scheme, host, path and query.
/// A `GET` with a body goes past the store, and so does what it answers to a request that has headers by which
/// some applications take another URL than that (`X-Forwarded-Host`, `X-Original-URL`, `X-HTTP-Method-Override` …): see
/// [`TrustedProxies`](crate::layers::TrustedProxies), which takes off what it has read.
///
/// **Many who want what is not there wait for one**, who asks for it; where that one leaves, the next asks. What comes is given to
/// them only if it is stored. Else they ask by themselves, and for a minute nobody waits for that URL.
///
/// Stale pages are asked for by their `ETag` or `Last-Modified`; `stale-while-revalidate` and `stale-if-error` (RFC 5861) are
/// kept. `If-None-Match`, `If-Modified-Since` and `Range` are answered from the store. What a `POST` or another unsafe method changes, with
/// success, is taken out: its URL, and those of its `Location` and `Content-Location` (§4.4). More is purged by
/// [`Pages`]. What was done is in `Cache-Status` (RFC 9211).
///
/// It stands above `Compression`, and so stores what that made; above security headers, error pages and sessions, which a stored page then needs no
/// more; below `RequestIds` and `AccessLog`, so that each request has its id and its line.
///
/// ```
/// use purlin::layers::{CacheFor, Compression, PageCache};
/// use purlin::{Router, Stack, get, html};
///
/// async fn front() -> purlin::Response {
///     html("<h1>The same for everybody</h1>")
/// }
///
/// let app = Stack::new()
///     .layer(PageCache::new())
///     .layer(Compression::new())
///     .app(Router::new().route("/", get(front).layer(CacheFor::secs(60))));
/// # app.check().unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct PageCache {
    settings: Settings,
    problem: Option<String>,
    cache: Arc<OnceLock<SharedCache>>,
}

impl PageCache {
    /// Nothing stored yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(&mut self.settings);
        // It was not asked for yet, or is another's.
        self.cache = Arc::default();
        self
    }

    /// How many bytes of pages are held in memory; 64 MiB by default. What was asked for least goes first.
    pub fn memory(self, bytes: u64) -> Self {
        self.with(|settings| settings.memory = bytes)
    }

    /// The most bytes that the pages of one URL may take, all variants together; 1 MiB by default. What is larger is passed on as
    /// it comes, and not stored.
    pub fn largest(self, bytes: u64) -> Self {
        self.with(|settings| settings.largest = bytes)
    }

    /// For how long a request waits for another that wants the same; 5 seconds by default. Then it asks by itself.
    pub fn wait(self, limit: Duration) -> Self {
        self.with(|settings| settings.wait = limit)
    }

    /// For how long a stale page is given while it is made anew, where it does not say so itself; not at all by default.
    ///
    /// Not pages with `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache`.
    pub fn stale_while_revalidate(self, time: Duration) -> Self {
        self.with(|settings| settings.rules.while_revalidate = time)
    }

    /// For how long a stale page is given in place of an answer of 500, 502, 503 or 504, where it does not say so itself; not at all by
    /// default. The failure is logged.
    ///
    /// Not pages with `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache`.
    pub fn stale_if_error(self, time: Duration) -> Self {
        self.with(|settings| settings.rules.if_error = time)
    }

    /// Whether `Cache-Control` of requests is obeyed where that makes work: `no-cache`, `max-age`, `min-fresh`, `no-store`; off by
    /// default, since anybody may send it, and browsers do with each reload. `only-if-cached` and `max-stale` always are.
    pub fn obey_clients(self, obey: bool) -> Self {
        self.with(|settings| settings.obeys = obey)
    }

    /// Whether what says nothing of its time, but when it was changed (`Last-Modified`), is stored for a tenth of the time since (RFC
    /// 9111 §4.2.2); off by default. For a server behind [`Proxy`](crate::proxy) that cannot be taught better.
    pub fn heuristics(self, guess: bool) -> Self {
        self.with(|settings| settings.rules.heuristics = guess)
    }

    /// Whether also that is stored which has to be asked for at each use (`no-cache`, `max-age=0`), and has a tag or a date to ask by; off by
    /// default. Of use where asking is cheap and sending is not: a server behind [`Proxy`](crate::proxy), far away.
    pub fn validating(self, store: bool) -> Self {
        self.with(|settings| settings.rules.validating = store)
    }

    /// Whether answers that set cookies are stored, **cookies and all, and so given to everybody**; off by default. RFC 9111 §7.3 has it so,
    /// and a session's cookie in a stored page signs in everybody as one. Only where no cookie means a person.
    pub fn share_set_cookie(self, share: bool) -> Self {
        self.with(|settings| settings.rules.set_cookie = share)
    }

    /// One more header that says for how long an answer is stored, before `Cache-Control` (RFC 9213): `CDN-Cache-Control`, say. None by
    /// default but [`Purlin-Cache-Control`](crate::pages::OWN_CONTROL). Of several, the first that is there counts.
    pub fn targeted(mut self, name: &str) -> Self {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => self.with(|settings| settings.rules.targeted.push(name)),
            Err(_) => {
                let problem = format!("PageCache::targeted expects the name of a header, found {name:?}");
                self.problem = Some(problem);
                self
            }
        }
    }

    /// Whether answers say in `Cache-Status` (RFC 9211) what was done; on by default.
    pub fn cache_status(self, tell: bool) -> Self {
        self.with(|settings| settings.tells = tell)
    }

    /// Redis as a second level, the one of `[cache]`: what one process of the site has stored, all give, also after a restart; what
    /// one purges, all forget. None by default. Of that table it takes `url`, `timeout`, `prefix` (behind which comes `pages/`), and
    /// `local_ttl` (5 seconds by default): for how long what is in a process' memory counts before Redis is asked, and so for how long
    /// at most it gives what **another** process has purged.
    ///
    /// What is personal is not stored there either. Without Redis each process goes on with its own memory, which the log tells
    /// once; a purge then fails, and is made up for when Redis is back, if the process lives until then. See [the guide](crate::guide::pages).
    ///
    /// # Errors
    ///
    /// The site does not start if `url` is none, or Purlin's feature `redis` is off.
    ///
    /// ```
    /// use purlin::config::Loader;
    /// use purlin::layers::PageCache;
    ///
    /// let config = Loader::new().environment("test").toml("[cache]\nurl = 'redis://127.0.0.1/0'\nlocal_ttl = '2s'").load()?;
    /// let cache = PageCache::new().redis(&config.cache);
    /// # let _ = cache;
    /// # Ok::<(), purlin::Error>(())
    /// ```
    pub fn redis(mut self, config: &CacheConfig) -> Self {
        if config.url.expose().is_empty() {
            let problem = "PageCache::redis expects a Redis in `cache.url` (PURLIN__CACHE__URL), found nothing";
            self.problem = Some(problem.to_owned());
            return self;
        }
        #[cfg(feature = "redis")]
        match crate::cache::redis::Remote::new(&config.url, &format!("{}pages/", config.prefix), config.timeout) {
            Ok(remote) => {
                let second = (Arc::new(remote), config.local_ttl);
                return self.with(|settings| settings.redis = Some(second));
            }
            Err(error) => self.problem = Some(format!("PageCache::redis, cache.url: {error}")),
        }
        #[cfg(not(feature = "redis"))]
        {
            self.problem = Some("PageCache::redis needs Purlin's feature `redis`".to_owned());
        }
        self
    }

    /// What is stored, for whoever purges it from elsewhere than a handler. To be asked for after all options are set.
    pub fn pages(&self) -> Pages {
        self.cache().pages().clone()
    }

    fn cache(&self) -> &SharedCache {
        self.cache.get_or_init(|| SharedCache::new(self.settings.clone()))
    }
}

impl Middleware for PageCache {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        self.cache().answer(req, next).await
    }

    fn describe(&self, about: &mut About) {
        let Settings { memory, largest, wait, obeys, tells, rules, .. } = &self.settings;
        about.provides::<Pages>().wants::<crate::RequestId>().option("memory", memory).option("largest", largest);
        about.option("wait", format_args!("{wait:?}"));
        #[cfg(feature = "redis")]
        if let Some((remote, local_ttl)) = &self.settings.redis {
            about.option("redis", remote.place()).option("local_ttl", format_args!("{local_ttl:?}"));
        }
        for (name, time) in [("stale_while_revalidate", rules.while_revalidate), ("stale_if_error", rules.if_error)] {
            if !time.is_zero() {
                about.option(name, format_args!("{time:?}"));
            }
        }
        let switches = [
            ("obey_clients", *obeys, false),
            ("heuristics", rules.heuristics, false),
            ("validating", rules.validating, false),
            ("share_set_cookie", rules.set_cookie, false),
            ("cache_status", *tells, true),
        ];
        for (name, is, by_default) in switches {
            if is != by_default {
                about.option(name, is);
            }
        }
        if !rules.targeted.is_empty() {
            about.option("targeted", rules.targeted.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", "));
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        if let Some(problem) = &self.problem {
            return Err(Error::internal(problem.clone()));
        }
        stands_well(start.site())?;
        self.cache().started(start.site());
        let pages = self.pages();
        let all = start.site().shared::<AllPages>().unwrap_or_default();
        start.share(all.and(pages.clone()));
        start.task("sweeping stale pages", move |mut stopping| async move {
            while timeout(SWEEP_EVERY, stopping.wait()).await.is_err() {
                pages.sweep();
            }
        });
        Ok(())
    }
}

const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// That what is stored is what is compressed: once, and not again for each who asks.
fn stands_well(site: &Site) -> Result<()> {
    // Of a route or a mount it stores what is there, and the site may well compress all that it sends.
    let of_site = |layer: &&LayerInfo| layer.mount.is_empty() && layer.host.is_none() && layer.route.is_none();
    let layers: Vec<&LayerInfo> = site.layers().iter().filter(of_site).collect();
    let at = |name: &str| layers.iter().position(|layer| layer.name == name);
    if let (Some(cache), Some(compression)) = (at("PageCache"), at("Compression"))
        && compression < cache
    {
        let (cache, compression) = (layers[cache].line(), layers[compression].line());
        return Err(Error::internal(format!(
            "the layer PageCache ({cache}) stands below Compression, which would compress a stored page for each who asks: move \
             the line {cache} above {compression}"
        )));
    }
    Ok(())
}
