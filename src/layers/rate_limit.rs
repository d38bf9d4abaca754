//! Refuses requests of clients that send too many.

use crate::rate::{
    Counters, MOST, Pace, Policy, Rate, Verdict, Whose, WithoutRedis, is_near, seconds_in_words, whole_seconds,
};
use crate::site::{About, Start};
use crate::{Error, Middleware, Request, RequestExt, Response, Result, Service, StatusCode};
use http::HeaderValue;
use http::header::{FORWARDED, RETRY_AFTER};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Lets so many requests of a client through, in so much time.
///
/// A client is an address: [`client_ip`](RequestExt::client_ip), an IPv6 one by its first 64 bits, which is what one customer is
/// given. So behind a proxy let [`TrustedProxies`](super::TrustedProxies) stand above, or else all visitors are one client. Or it is
/// [who is signed in](RateLimit::by_user), or [what a function says](RateLimit::by).
///
/// Of several rates all have to let a request through; one that is refused is counted by none. How it is counted is told at
/// [`Rate`]. What is [exempt](RateLimit::exempt) is neither counted nor refused. Each layer counts for itself: one around the site and
/// another on a route have both their say.
///
/// The counts are in memory, of 65,536 [clients](RateLimit::clients) by default, 16 bytes for a client and a rate; where
/// these do not suffice, whoever is the least ahead of his rate is forgotten first. Each process counts for itself, unless
/// [Redis](RateLimit::redis) counts for all.
///
/// # What clients see
///
/// `RateLimit` and `RateLimit-Policy` in each answer, as the draft of the IETF has them (draft-ietf-httpapi-ratelimit-headers):
/// `RateLimit: "10-per-second";r=9;t=1` is 9 left, and all back in a second. A page that
/// [`PageCache`](crate::guide::pages) stores below this layer has none of them; above it, only what is not stored is counted.
///
/// # Errors
///
/// 429 Too Many Requests (RFC 6585 §4) with `Retry-After` in seconds. When it starts: a rate that lets nothing through, more than 4 of
/// them, a Redis that is none.
///
/// ```
/// use purlin::layers::RateLimit;
/// use purlin::rate::Rate;
/// use purlin::testing::Client;
/// use purlin::{Router, Stack, get};
///
/// async fn search() -> &'static str {
///     "found"
/// }
///
/// let search = get(search).layer(RateLimit::new(Rate::per_minute(2)));
/// let app = Stack::new()
///     .layer(RateLimit::new(Rate::per_second(50)).also(Rate::per_hour(5000)))
///     .app(Router::new().route("/search", search));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let client = Client::new(app);
/// client.get("/search").await.assert_status(200);
/// client.get("/search").await.assert_status(200);
/// client.get("/search").await.assert_status(429).assert_header("retry-after", "30");
/// # });
/// ```
pub struct RateLimit {
    rates: Vec<Rate>,
    by: By,
    exempt: Vec<Asked<bool>>,
    clients: usize,
    fields: bool,
    without_redis: WithoutRedis,
    redis_timeout: Duration,
    #[cfg(feature = "redis")]
    remote: Option<crate::rate::Remote>,
    /// What the counts are called in Redis.
    name: Option<String>,
    problem: Option<String>,
    /// Once the site has started, or the first request came.
    counting: OnceLock<Counting>,
    has_warned: AtomicBool,
}

/// What is asked of each request.
type Asked<T> = Box<dyn Fn(&Request) -> T + Send + Sync>;

enum By {
    Client,
    User,
    Key(Asked<Option<String>>),
}

struct Counting {
    paces: Vec<Pace>,
    policy: Policy,
    here: Counters,
}

impl RateLimit {
    /// Lets this much of a client through; there is no default.
    pub fn new(rate: Rate) -> Self {
        Self {
            rates: vec![rate],
            by: By::Client,
            exempt: Vec::new(),
            clients: 65_536,
            fields: true,
            without_redis: WithoutRedis::default(),
            redis_timeout: Duration::from_millis(250),
            #[cfg(feature = "redis")]
            remote: None,
            name: None,
            problem: None,
            counting: OnceLock::new(),
            has_warned: AtomicBool::new(false),
        }
    }

    /// And no more than this: `Rate::per_hour(1000)` beside `Rate::per_second(10)`, say. Up to 4 in all.
    pub fn also(mut self, rate: Rate) -> Self {
        self.rates.push(rate);
        self
    }

    /// Counts by the account of who is signed in, and by address whoever is not; needs the feature `auth`, and a layer above that
    /// knows accounts.
    pub fn by_user(mut self) -> Self {
        self.by = By::User;
        if cfg!(not(feature = "auth")) {
            self.problem = Some("RateLimit::by_user needs Purlin's feature `auth`".to_owned());
        }
        self
    }

    /// Counts by what this says: a tenant, a host, a key of an API. Requests of which it says `None` are neither counted nor refused.
    ///
    /// What a client can make up bounds nobody: each new one is a new client, and in Redis a new key. So let it be looked up before, by
    /// a layer above, and bound what has none by address:
    ///
    /// ```
    /// use purlin::layers::RateLimit;
    /// use purlin::rate::Rate;
    ///
    /// /// Left in a request's extensions by the layer that has looked the key up.
    /// #[derive(Clone)]
    /// struct Tenant(String);
    ///
    /// let by_address = RateLimit::new(Rate::per_second(50));
    /// let by_tenant = RateLimit::new(Rate::per_minute(600))
    ///     .by(|req| req.extensions().get::<Tenant>().map(|tenant| tenant.0.clone()));
    /// # let _ = (by_address, by_tenant);
    /// ```
    pub fn by(mut self, key: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Self {
        self.by = By::Key(Box::new(key));
        self
    }

    /// Neither counts nor refuses these; nothing is exempt by default. May be said several times.
    ///
    /// ```
    /// use purlin::RequestExt;
    /// use purlin::layers::RateLimit;
    /// use purlin::rate::Rate;
    ///
    /// let limit = RateLimit::new(Rate::per_second(10))
    ///     .exempt(|req| req.original_path().starts_with("/static/"))
    ///     .exempt(|req| req.client_ip().is_some_and(|ip| ip.is_loopback()));
    /// # let _ = limit;
    /// ```
    pub fn exempt(mut self, exempt: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.exempt.push(Box::new(exempt));
        self
    }

    /// How many clients are counted in memory; 65,536 by default.
    pub fn clients(mut self, clients: usize) -> Self {
        self.clients = clients;
        self
    }

    /// Whether answers tell the rates in `RateLimit` and `RateLimit-Policy`; on by default. `Retry-After` is there in any case.
    pub fn fields(mut self, tell: bool) -> Self {
        self.fields = tell;
        self
    }

    /// Counts in the Redis or Valkey of this URL, so that several processes and machines share a rate; needs the feature `redis`,
    /// and a [name](RateLimit::name). None by default. The URL is as that of `RedisStore`; the keys are `purlin:rate:NAME:` and a
    /// digest of whose they are.
    ///
    /// An answer is waited for 250 ms at most. What is done without one is said by [`without_redis`](RateLimit::without_redis); the log
    /// tells once that Redis is away, and once that it is back.
    pub fn redis(mut self, url: &str) -> Self {
        #[cfg(feature = "redis")]
        match crate::rate::Remote::new(url) {
            Ok(remote) => self.remote = Some(remote.timeout(self.redis_timeout)),
            Err(error) => self.problem = Some(format!("RateLimit::redis: {error}")),
        }
        #[cfg(not(feature = "redis"))]
        {
            let _ = url;
            self.problem = Some("RateLimit::redis needs Purlin's feature `redis`".to_owned());
        }
        self
    }

    /// For how long an answer of Redis is waited for; 250 ms by default.
    pub fn redis_timeout(mut self, limit: Duration) -> Self {
        self.redis_timeout = limit;
        #[cfg(feature = "redis")]
        {
            self.remote = self.remote.map(|remote| remote.timeout(limit));
        }
        self
    }

    /// What the counts are called in Redis; there is no default. Layers of the same name count together, if they have the
    /// same rates.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What is done while Redis cannot be asked; by default each process counts for itself.
    pub fn without_redis(mut self, then: WithoutRedis) -> Self {
        self.without_redis = then;
        self
    }

    fn counting(&self) -> Result<&Counting> {
        if let Some(counting) = self.counting.get() {
            return Ok(counting);
        }
        if let Some(problem) = &self.problem {
            return Err(Error::internal(problem.clone()));
        }
        if self.rates.len() > MOST {
            let found = self.rates.len();
            return Err(Error::internal(format!("RateLimit: expected {MOST} rates at most, found {found}")));
        }
        let paces = self.rates.iter().map(Rate::pace).collect::<Result<Vec<_>>>();
        let paces = paces.map_err(|error| error.context("the layer RateLimit"))?;
        if let Some(twice) = (1..self.rates.len())
            .find(|&at| self.rates[..at].iter().any(|before| before.name() == self.rates[at].name()))
        {
            let name = self.rates[twice].name();
            return Err(Error::internal(format!("RateLimit: two rates are called {name:?}: name one by Rate::named")));
        }
        #[cfg(feature = "redis")]
        if self.remote.is_some() && self.name.as_deref().is_none_or(str::is_empty) {
            return Err(Error::internal(
                "RateLimit::redis needs a name, by which several processes count together: add `.name(\"api\")`",
            ));
        }
        Ok(self.counting.get_or_init(|| Counting {
            policy: Policy::new(&self.rates),
            here: Counters::new(paces.clone(), self.clients),
            paces,
        }))
    }

    /// What becomes of a request; `None` if it is not counted.
    async fn verdict(&self, req: &Request) -> Result<Option<Verdict>> {
        let counting = self.counting()?;
        match &self.by {
            By::Client => self.count(counting, self.client(req)).await,
            By::User => {
                #[cfg(feature = "auth")]
                if let Some(user) = crate::auth::Visitor::of(req)?.find().await? {
                    return self.count(counting, Whose::User(&user.id())).await;
                }
                self.count(counting, self.client(req)).await
            }
            By::Key(key) => match key(req) {
                Some(key) => self.count(counting, Whose::Key(&key)).await,
                None => Ok(None),
            },
        }
    }

    async fn count(&self, counting: &Counting, whose: Whose<'_>) -> Result<Option<Verdict>> {
        #[cfg(feature = "redis")]
        if let Some(remote) = &self.remote {
            let name = self.name.as_deref().unwrap_or_default();
            match (remote.ask(name, &counting.paces, whose).await, self.without_redis) {
                (Ok(verdict), _) => return Ok(Some(verdict)),
                (Err(_), WithoutRedis::CountHere) => {}
                (Err(_), WithoutRedis::Pass) => return Ok(None),
                (Err(error), WithoutRedis::Refuse) => {
                    let error = error.status_code(StatusCode::SERVICE_UNAVAILABLE);
                    return Err(error.context("counting the client's requests"));
                }
            }
        }
        Ok(Some(counting.here.ask(whose)))
    }

    fn client<'a>(&self, req: &Request) -> Whose<'a> {
        let address = req.client_ip();
        let headers = req.headers();
        // Nobody took it off: see `TrustedProxies`.
        if (headers.contains_key(FORWARDED) || headers.contains_key("x-forwarded-for"))
            && address.is_none_or(is_near)
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                target: "purlin::rate_limit",
                "requests come by a proxy, and all its visitors are counted as one client: put `TrustedProxies` above `RateLimit`"
            );
        }
        Whose::Client(address)
    }
}

impl Middleware for RateLimit {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        if self.exempt.iter().any(|exempt| exempt(&req)) {
            return Ok(next.call(req).await);
        }
        let Some(verdict) = self.verdict(&req).await? else {
            return Ok(next.call(req).await);
        };
        let counting = self.counting()?;
        if verdict.wait > 0 {
            return Err(self.too_many(counting, &verdict));
        }
        let mut response = next.call(req).await;
        if self.fields {
            counting.policy.tell(&counting.paces, &verdict, response.headers_mut());
        }
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        let rates: Vec<String> = self.rates.iter().map(Rate::to_string).collect();
        about.option("rates", rates.join("; "));
        match &self.by {
            By::Client => {}
            By::User => {
                #[cfg(feature = "auth")]
                crate::auth::needed(about);
                about.option("by_user", true);
            }
            By::Key(_) => drop(about.option("by", "a function")),
        }
        about.option("clients", self.clients).option("fields", self.fields);
        #[cfg(feature = "redis")]
        if let Some(remote) = &self.remote {
            about.option("redis", remote.place()).option("without_redis", format_args!("{:?}", self.without_redis));
        }
        if let Some(name) = &self.name {
            about.option("name", name);
        }
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        self.counting().map(drop)
    }
}

impl RateLimit {
    fn too_many(&self, counting: &Counting, verdict: &Verdict) -> Error {
        let seconds = whole_seconds(Duration::from_micros(verdict.wait));
        let message =
            format!("more requests than {}: {seconds} s to wait", self.rates[self.refusing(counting, verdict)]);
        let error = Error::new(StatusCode::TOO_MANY_REQUESTS, message)
            .header(RETRY_AFTER, HeaderValue::from(seconds))
            .public(format!("You have sent too many requests. Please try again in {}.", seconds_in_words(seconds)));
        if !self.fields {
            return error;
        }
        counting
            .policy
            .fields(&counting.paces, verdict)
            .into_iter()
            .fold(error, |error, (name, value)| error.header(name, value))
    }

    /// The rate that has the client wait longest.
    fn refusing(&self, counting: &Counting, verdict: &Verdict) -> usize {
        let wait = |&at: &usize| {
            (verdict.ahead[at] + counting.paces[at].interval).saturating_sub(counting.paces[at].tolerance)
        };
        (0..counting.paces.len()).max_by_key(wait).unwrap_or(0)
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("rates", &self.rates).field("name", &self.name).finish_non_exhaustive()
    }
}
