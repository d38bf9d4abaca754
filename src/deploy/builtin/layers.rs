//! The built-in layers.

use super::{Count, Limit, Size, Time, folder_is_there, given, status_of};
use crate::config::Secret;
use crate::deploy::build::Section;
use crate::deploy::registry::{NoOptions, Registry};
#[cfg(feature = "compression")]
use crate::layers::Compression;
#[cfg(feature = "debugger")]
use crate::layers::Debugger;
#[cfg(feature = "multipart")]
use crate::layers::Uploads;
#[cfg(all(unix, feature = "workers"))]
use crate::layers::Workers;
use crate::layers::{
    AccessLog, Blocking, BodyLimit, Cors, Csrf, CsrfExempt, Deadline, ETags, ErrorDocuments, ErrorPages, FieldLimit,
    Forwards, Lint, LiveReload, MethodOverride, RateLimit, Redirects, RequestIds, SecurityHeaders, ServerTiming,
    Sessions, Slash, StaticFiles, TrustedProxies,
};
use crate::{Assets, Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Registers them.
pub(super) fn register(registry: Registry) -> Registry {
    let registry = registry
        .layer("purlin:access_log", |_: NoOptions, _| Ok(AccessLog::new()))
        .doc("Logs one line for each request.")
        .layer("purlin:blocking", |options: BlockingOptions, _| {
            Ok(given!(
                Blocking::new(),
                options: pool, own, size as |threads: Count| threads.0, queue, wait as |wait: Limit| wait.0,
                retry_after as |time: Limit| time.0, limit as |limit: Limit| limit.0
            ))
        })
        // In words, since what is left out may be said by another layer of the same pool.
        .doc("Runs what is below it on threads that may block.")
        .option("pool", "\"default\"", "the name of the pool, which all share that name it")
        .option("own", "false", "whether the pool is shared with nobody")
        .option("size", "4 a core, at least 16", "the most threads")
        .option("queue", "1000 requests", "how many requests may wait for a thread; then 503")
        .option("wait", "5 seconds", "how long a request may wait for a thread; then 503")
        .option("retry_after", "1 second", "when a client that is refused may come again")
        .option("limit", "not set", "how long an answer may take in all; then 503")
        .layer("purlin:body_limit", |options: BodyLimitOptions, _| Ok(BodyLimit::new(options.bytes.0)))
        .doc("Refuses larger request bodies with 413, instead of the limit of the configuration.")
        .option("bytes", "", "the largest body; must be set");
    let registry = compression(registry)
        .layer("purlin:cors", |options: CorsOptions, _| cors(options))
        .doc("Lets pages of other origins read answers.")
        .option("origin", "nobody", "who is let in, as \"https://app.example.org\"")
        .option("any_origin", "false", "whether everybody is")
        .option("credentials", "false", "whether cookies and passwords may come along")
        .option("methods", "those of the route", "the methods that preflights are told, as \"PUT\"")
        .option("headers", "[]", "the headers that pages may send, as \"content-type\"")
        .option("any_header", "false", "whether they may send any but Authorization")
        .option("expose", "[]", "the headers of answers that pages may read")
        .option("expose_all", "false", "whether they may read all")
        .option("max_age", "the browser's", "for how long a browser need not ask again")
        .layer("purlin:csrf", |options: CsrfOptions, _| {
            Ok(options.trust.into_iter().fold(Csrf::new(), |csrf, origin| csrf.trust(origin)))
        })
        .doc("Refuses what other sites make a visitor's browser send.")
        .option("trust", "[]", "origins whose pages may send requests too, as \"https://shop.example.org\"")
        .layer("purlin:csrf_exempt", |_: NoOptions, _| Ok(CsrfExempt))
        .doc("Lets requests of other sites through to what stands below.")
        .layer("purlin:deadline", |options: DeadlineOptions, _| Ok(Deadline::new(options.limit.0)))
        .doc("Answers 503 when the stack below takes too long.")
        .option("limit", "", "from the request's arrival to the head of its answer; must be set");
    let registry = debugger(registry)
        .layer("purlin:error_documents", |options: ErrorDocumentsOptions, _| error_documents(options))
        .doc("Makes pages of failures by the site's own routes.")
        .option("path", "", "of the documents, as \"/errors/{status}\"; must be set")
        .option("on", "{}", "other paths for single statuses: a table, as { 404 = \"/lost\" }")
        .option("statuses", "all of 400 and above", "only these have documents")
        .option("every_client", "false", "whether clients that did not ask for HTML get the document too")
        .layer("purlin:error_pages", |options: ErrorPagesOptions, section| error_pages(options, section))
        .doc("Makes pages of errors, and reports failures as the configuration says.")
        .option("details", "false", "whether pages tell causes and source: for development")
        .option("reporters", "false", "whether those whom the configuration names in [reports] are told")
        .option("report_from", "500", "from which status on an answer is reported")
        .option("config", "false", "whether reports show the configuration")
        .option("release", "\"\"", "what the site calls this build of itself")
        .option("log_lines", "0", "how many of the last lines that a request logged are in its report")
        .layer("purlin:etags", |options: ETagsOptions, section| {
            Ok(given!(ETags::new(&section.config()?.secret), options: limit as |size: Size| size.0 as usize))
        })
        .doc("Names pages by entity tags, and answers 304 to clients that have them.")
        .option("limit", "\"1 MiB\"", "the longest body that is given a tag")
        .layer("purlin:field_limit", |options: FieldLimitOptions, _| Ok(FieldLimit::new(options.fields.0)))
        .doc("Lets forms have another number of fields.")
        .option("fields", "", "the most fields; must be set")
        .layer("purlin:forwards", |options: ForwardsOptions, _| {
            Ok(given!(Forwards::new(), options: max_depth as |steps: Count| steps.0, max_body as |size: Size| size.0))
        })
        .doc("Lets a handler answer by another path of the site, or include its answer.")
        .option("max_depth", "10", "the most steps from the client's path to the one that answers")
        .option("max_body", "\"64 KiB\"", "how much of a body that was read is kept for the path that is forwarded to")
        .layer("purlin:lint", |options: LintOptions, _| {
            let lint = options.allow.iter().fold(Lint::new(), |lint, id| lint.allow(id));
            let lint = if options.always { lint.always() } else { lint };
            Ok(if options.fail { lint.fail() } else { lint })
        })
        .doc("Logs what breaks a rule of HTTP; in release builds only if it is to.")
        .option("always", "false", "whether it watches in release builds too")
        .option("fail", "false", "whether an answer that breaks a rule becomes a 500: for tests")
        .option("allow", "[]", "rules that may be broken, by their ids")
        .layer("purlin:live_reload", |options: LiveReloadOptions, _| Ok(given!(LiveReload::new(), options: on)))
        .doc("Lets open pages follow the site; nothing in a release build.")
        .option("on", "true", "whether it does anything in a debug build either")
        .layer("purlin:method_override", |_: NoOptions, _| Ok(MethodOverride::new()))
        .doc("Lets a form name the method PUT, PATCH or DELETE in a field.")
        .layer("purlin:rate_limit", |options: RateLimitOptions, _| rate_limit(options))
        .doc("Refuses requests of clients that send too many with 429.")
        .option(
            "rates",
            "",
            "what is let through of a client, up to four tables as { requests = 10, period = \"1s\", burst = 30, name = \"api\" }, \
             of which the last two may be left out; must be set",
        )
        .option("by_user", "false", "whether who is signed in is counted by the account, with the feature `auth`")
        .option("clients", "65536", "how many clients are counted in memory")
        .option("fields", "true", "whether answers tell the rates in RateLimit and RateLimit-Policy")
        .option("redis", "none", "the Redis that counts for all processes, as \"redis://host/0\", with the feature `redis`")
        .option("redis_timeout", "250 ms", "for how long an answer of Redis is waited for")
        .option("name", "none", "what the counts are called in Redis")
        .option("without_redis", "\"count-here\"", "what is done without Redis: \"count-here\", \"pass\" or \"refuse\"")
        .layer("purlin:redirects", |options: RedirectsOptions, _| Ok(redirects(options)))
        .doc("Sends clients from old addresses to new ones.")
        .option(
            "permanent",
            "{}",
            "a table of old paths and new ones, as { \"/blog/{slug}\" = \"/posts/{slug}\" }: 308",
        )
        .option("temporary", "{}", "the same for now: 307")
        .option("gone", "[]", "paths where there is nothing any more: 410")
        .option("canonical_host", "any", "the host by which the site is reached")
        .option("https", "false", "whether what comes by http is sent to https")
        .option("slash", "\"keep\"", "what becomes of a path's last slash: \"keep\", \"add\" or \"remove\"")
        .option("except", "[]", "beginnings of paths that are left alone")
        .layer("purlin:request_ids", |options: RequestIdsOptions, _| {
            Ok(given!(RequestIds::new(), options: trust_client))
        })
        .doc("Gives each request an id, for logs and answers.")
        .option("trust_client", "false", "keeps a well-formed id that came with the request")
        .layer("purlin:security_headers", |options: SecurityHeadersOptions, _| {
            let headers = given!(
                SecurityHeaders::new(),
                options: content_security_policy, hsts as |hsts: Time| hsts.0, https
            );
            let headers = options.set.iter().fold(headers, |headers, (name, value)| headers.set(name, value));
            Ok(options.without.iter().fold(headers, |headers, name| headers.without(name)))
        })
        .doc("Sets the headers that make browsers careful.")
        .option("content_security_policy", "its own", "the policy; `{nonce}` in it becomes the page's")
        .option("hsts", "\"17520h\"", "how long browsers keep to https; \"0s\" takes it back")
        .option("https", "false", "every client comes by https, by a proxy that the server does not hear from")
        .option("set", "{}", "further headers, or other values: a table of names and values")
        .option("without", "[]", "headers that are left out")
        .layer("purlin:server_timing", |options: ServerTimingOptions, _| Ok(given!(ServerTiming::new(), options: on)))
        .doc("Tells the browser how long a request was in each layer; nothing in a release build.")
        .option("on", "true", "whether it does anything in a debug build either")
        .layer("purlin:sessions", |options: SessionsOptions, section| sessions(options, section))
        .doc("Sessions for what stands below.")
        .option(
            "store",
            "\"cookie\" or \"memory\"",
            "where they are kept: \"cookie\", encrypted by the secret; \"memory\"; or, with the features of these names, \
             \"sqlite\", \"redis\" or \"postgres\"",
        )
        .option("url", "the configuration's sessions.url", "of the last three, as \"redis://host/0\" or \"sqlite:sessions.db\"")
        .option("cookie_name", "\"session\"", "the name of the cookie")
        .option("path", "\"/\"", "below which path the cookie is sent")
        .option("same_site", "\"lax\"", "whether requests of other sites carry it: \"strict\", \"lax\" or \"none\"")
        .option("https", "false", "every client comes by https, by a proxy that the server does not hear from")
        .option("idle", "\"336h\"", "after how long without use a session ends")
        .option("lifetime", "\"2160h\"", "after how long it ends, however much it is used")
        .option("persistent", "false", "keeps the cookie when the browser is closed")
        .option("anonymous_when_down", "false", "without the store, shows the site as to a stranger")
        .layer("purlin:static_files", |mut options: StaticFilesOptions, section| {
            options.folder = section.path("folder", options.folder);
            static_files(options)
        })
        .doc("Answers requests for the files of a folder, and passes others on.")
        .option("folder", "", "the folder, below that of the file; must be set")
        .option("at", "\"/static\"", "the path below which the files are")
        .option("memory", "\"32 MiB\"", "how many bytes of files are held in memory")
        .option("cache_control", "\"no-cache\"", "of a file asked for without its fingerprint");
    let registry = registry
        .layer("purlin:trusted_proxies", |options: TrustedProxiesOptions, _| {
            let proxies = options.network.iter().fold(TrustedProxies::new(), |all, network| all.network(network));
            Ok(given!(proxies, options: hops, unix_sockets, forwarded, host))
        })
        .doc("Believes what trusted proxies say of the client, and nobody else.")
        .option("network", "[]", "the proxies' addresses, as \"10.0.0.0/8\"")
        .option("hops", "not set", "how many proxies there are, instead of `network`")
        .option("unix_sockets", "false", "whether who connects to a unix socket is a trusted proxy")
        .option("forwarded", "false", "whether `Forwarded` is read, in place of `X-Forwarded-*`")
        .option("host", "false", "whether the host is believed too");
    workers(traces(caches(databases(uploads(in_code(registry))))))
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseOptions {
    migrations: PathBuf,
    #[serde(default)]
    url: Option<Secret>,
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn database(options: DatabaseOptions, section: &Section<'_>) -> Result<(crate::Config, Assets)> {
    let folder = section.path("migrations", options.migrations);
    folder_is_there(&folder)?;
    let mut config = section.config()?.clone();
    if let Some(url) = options.url {
        config.database.url = url;
    }
    Ok((config, Assets::folder(folder)))
}

/// One name for each, since handlers ask for the pool of one.
fn databases(registry: Registry) -> Registry {
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    let options = |registry: Registry| {
        registry.option("migrations", "", "the folder of its migrations, below that of the file; must be set").option(
            "url",
            "the configuration's database.url",
            "where it is; a path in it is below the site's folder",
        )
    };
    #[cfg(feature = "postgres")]
    let registry = options(
        registry
            .layer("purlin:postgres", |given: DatabaseOptions, section| {
                let (config, migrations) = database(given, section)?;
                crate::database::Database::postgres(&config, migrations)
            })
            .doc("A PostgreSQL database for what stands below; all else of it stands in the configuration."),
    );
    #[cfg(feature = "sqlite")]
    let registry = options(
        registry
            .layer("purlin:sqlite", |given: DatabaseOptions, section| {
                let (config, migrations) = database(given, section)?;
                crate::database::Database::sqlite(&config, migrations)
            })
            .doc("An SQLite database for what stands below; all else of it stands in the configuration."),
    );
    registry
}

/// The spans of requests.
#[cfg(feature = "opentelemetry")]
fn traces(registry: Registry) -> Registry {
    use crate::layers::Traces;
    registry
        .layer("purlin:traces", |options: TracesOptions, section| {
            Ok(given!(Traces::new(&section.config()?.traces), options: public))
        })
        .doc("Begins a span of OpenTelemetry for each request; where they are sent stands in the configuration.")
        .option("public", "false", "whether strangers ask, each of whose requests begins a trace")
}

#[cfg(not(feature = "opentelemetry"))]
fn traces(registry: Registry) -> Registry {
    registry
}

#[cfg(feature = "opentelemetry")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TracesOptions {
    public: Option<bool>,
}

/// The cache of pages, and what says for how long.
#[cfg(feature = "cache")]
fn caches(registry: Registry) -> Registry {
    use crate::layers::{CacheFor, PageCache};
    registry
        .layer("purlin:caches", |_: NoOptions, section| crate::cache::Caches::new(&section.config()?.cache))
        .doc("The caches of the configuration, for what stands below.")
        .layer("purlin:cache_for", |options: CacheForOptions, _| {
            let time = given!(
                CacheFor::new(options.time.0),
                options: stale_while_revalidate as |time: Time| time.0, stale_if_error as |time: Time| time.0
            );
            Ok(options.tag.iter().fold(time, |time, tag| time.tag(tag)))
        })
        .doc("Says for how long the answers of what is below may be stored by purlin:page_cache.")
        .option("time", "", "for how long they are fresh; must be set")
        .option(
            "stale_while_revalidate",
            "that of purlin:page_cache",
            "for how long after that, while they are made anew",
        )
        .option("stale_if_error", "that of purlin:page_cache", "for how long after that, in place of an error")
        .option("tag", "[]", "by which they are purged")
        .layer("purlin:page_cache", |options: PageCacheOptions, section| {
            let cache = given!(
                PageCache::new(),
                options: memory as |size: Size| size.0, largest as |size: Size| size.0, wait as |time: Limit| time.0,
                stale_while_revalidate as |time: Time| time.0, stale_if_error as |time: Time| time.0, obey_clients,
                heuristics, validating, share_set_cookie, cache_status
            );
            let cache = match options.redis {
                true => cache.redis(&section.config()?.cache),
                false => cache,
            };
            Ok(options.targeted.iter().fold(cache, |cache, name| cache.targeted(name)))
        })
        .doc("Stores answers that say so, and gives them to who asks for the same.")
        .option("memory", "\"64 MiB\"", "how many bytes of pages are held in memory")
        .option("largest", "\"1 MiB\"", "the most bytes that the pages of one URL may take")
        .option("wait", "\"5s\"", "for how long a request waits for another that wants the same")
        .option("stale_while_revalidate", "\"0s\"", "for how long a stale page is given while it is made anew")
        .option("stale_if_error", "\"0s\"", "for how long a stale page is given in place of an error")
        .option("obey_clients", "false", "whether clients may ask for what is not stored")
        .option("heuristics", "false", "whether what says nothing of its time is stored for a tenth of its age")
        .option("validating", "false", "whether what has to be asked for each time is stored, too")
        .option("share_set_cookie", "false", "whether answers that set cookies are given to everybody, cookies and all")
        .option("cache_status", "true", "whether answers say what was done")
        .option("redis", "false", "whether processes share what is stored, by the Redis of `[cache]`")
        .option("targeted", "[]", "headers that say for how long, before Cache-Control, as \"CDN-Cache-Control\"")
}

#[cfg(not(feature = "cache"))]
fn caches(registry: Registry) -> Registry {
    registry
}

#[cfg(feature = "cache")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheForOptions {
    time: Time,
    #[serde(default)]
    stale_while_revalidate: Option<Time>,
    #[serde(default)]
    stale_if_error: Option<Time>,
    #[serde(default)]
    tag: Vec<String>,
}

#[cfg(feature = "cache")]
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PageCacheOptions {
    memory: Option<Size>,
    largest: Option<Size>,
    wait: Option<Limit>,
    stale_while_revalidate: Option<Time>,
    stale_if_error: Option<Time>,
    obey_clients: Option<bool>,
    heuristics: Option<bool>,
    validating: Option<bool>,
    share_set_cookie: Option<bool>,
    cache_status: Option<bool>,
    redis: bool,
    targeted: Vec<String>,
}

/// What takes more than a file can hold: listed, and refused with what to do.
fn in_code(registry: Registry) -> Registry {
    let registry = registry
        .in_code(
            "purlin:templates",
            "it takes an engine: `registry.layer(\"app:templates\", |_: NoOptions, _| Ok(Templates::new(engine())))`",
        )
        .in_code(
            "purlin:when",
            "it takes a layer and a question: `registry.layer(\"app:ids\", |_: NoOptions, _| \
             Ok(lacking::<RequestId, _>(RequestIds::new())))`",
        );
    #[cfg(feature = "metrics")]
    let registry = registry.in_code(
        "purlin:metrics",
        "it takes a registry: `registry.layer(\"app:metrics\", |_: NoOptions, _| Ok(Metrics::new(&numbers())))`",
    );
    #[cfg(feature = "auth")]
    let registry = registry
        .in_code(
            "purlin:sign_in",
            "it takes accounts: `registry.layer(\"app:sign_in\", |_: NoOptions, section| Ok(SignIn::new(accounts(), \
             &section.config()?.secret)))`",
        )
        .in_code(
            "purlin:basic_auth",
            "it takes accounts: `registry.layer(\"app:basic_auth\", |_: NoOptions, _| Ok(BasicAuth::new(accounts())))`",
        )
        .in_code(
            "purlin:bearer_auth",
            "it takes tokens: `registry.layer(\"app:bearer_auth\", |_: NoOptions, _| Ok(BearerAuth::new(tokens())))`",
        )
        .layer("purlin:require", |options: RequireOptions, _| Ok(crate::layers::Require::new(options.role)))
        .doc("Lets in who is signed in, or has a role.")
        .option("role", "not set", "the role; without it, who is signed in");
    #[cfg(feature = "database")]
    let registry = registry
        .in_code(
            "purlin:transaction",
            "it takes a pool: `registry.layer(\"app:transaction\", |_: NoOptions, _| Ok(Transaction::new(pool())))`",
        )
        .in_code(
            "purlin:commit_when",
            "it takes a function: `registry.layer(\"app:commit_when\", |_: NoOptions, _| Ok(CommitWhen::new(good)))`",
        );
    registry
}

#[cfg(feature = "auth")]
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RequireOptions {
    role: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyLimitOptions {
    bytes: Size,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BlockingOptions {
    pool: Option<String>,
    own: Option<bool>,
    size: Option<Count>,
    queue: Option<usize>,
    wait: Option<Limit>,
    retry_after: Option<Limit>,
    limit: Option<Limit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CorsOptions {
    origin: Vec<String>,
    any_origin: Option<bool>,
    credentials: Option<bool>,
    methods: Option<Vec<String>>,
    headers: Vec<String>,
    any_header: Option<bool>,
    expose: Vec<String>,
    expose_all: Option<bool>,
    max_age: Option<Time>,
}

fn cors(options: CorsOptions) -> Result<Cors> {
    let cors = options.origin.iter().fold(Cors::new(), |cors, origin| cors.origin(origin));
    let cors = given!(
        cors,
        options: any_origin, credentials, any_header, expose_all, max_age as |time: Time| time.0
    );
    let cors = cors.headers(options.headers.iter().map(String::as_str));
    let cors = cors.expose(options.expose.iter().map(String::as_str));
    let Some(methods) = options.methods else {
        return Ok(cors);
    };
    let read = |method: &String| {
        method
            .parse()
            .map_err(|_| Error::internal(format!("`methods`: expected a method as \"PUT\", found {method:?}")))
    };
    Ok(cors.methods(methods.iter().map(read).collect::<Result<Vec<crate::Method>>>()?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CsrfOptions {
    trust: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimitOptions {
    rates: Vec<RateOptions>,
    #[serde(default)]
    by_user: bool,
    #[serde(default)]
    clients: Option<Count>,
    #[serde(default)]
    fields: Option<bool>,
    #[serde(default)]
    redis: Option<Secret>,
    #[serde(default)]
    redis_timeout: Option<Limit>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    without_redis: Option<WithoutRedis>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateOptions {
    requests: u32,
    period: Limit,
    burst: Option<u32>,
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WithoutRedis {
    CountHere,
    Pass,
    Refuse,
}

impl From<WithoutRedis> for crate::rate::WithoutRedis {
    fn from(without: WithoutRedis) -> Self {
        match without {
            WithoutRedis::CountHere => Self::CountHere,
            WithoutRedis::Pass => Self::Pass,
            WithoutRedis::Refuse => Self::Refuse,
        }
    }
}

fn rate_limit(options: RateLimitOptions) -> Result<RateLimit> {
    let mut rates = options.rates.into_iter().map(|rate| {
        let RateOptions { requests, period, burst, name } = rate;
        let rate = crate::rate::Rate::new(requests, period.0);
        let rate = burst.into_iter().fold(rate, |rate, burst| rate.burst(burst));
        name.into_iter().fold(rate, |rate, name| rate.named(name))
    });
    let first = rates.next().ok_or_else(|| Error::internal("`rates`: expected one rate at least, found none"))?;
    let layer = rates.fold(RateLimit::new(first), |layer, rate| layer.also(rate));
    let layer = if options.by_user { layer.by_user() } else { layer };
    let layer = options.redis.iter().fold(layer, |layer, url| layer.redis(url.expose_str()));
    Ok(given!(
        layer,
        options: clients as |clients: Count| clients.0, fields, name, redis_timeout as |time: Limit| time.0,
        without_redis as |without: WithoutRedis| without.into()
    ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadlineOptions {
    limit: Limit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorDocumentsOptions {
    path: String,
    #[serde(default)]
    on: BTreeMap<String, String>,
    #[serde(default)]
    statuses: Option<Vec<u16>>,
    #[serde(default)]
    every_client: Option<bool>,
}

fn error_documents(options: ErrorDocumentsOptions) -> Result<ErrorDocuments> {
    let mut documents = given!(ErrorDocuments::new(options.path), options: every_client);
    for (status, path) in options.on {
        documents = documents.on(status_of("on", &status)?, path);
    }
    if let Some(statuses) = options.statuses {
        let read = statuses.iter().map(|status| status_of("statuses", &status.to_string()));
        documents = documents.statuses(read.collect::<Result<Vec<_>>>()?);
    }
    Ok(documents)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ETagsOptions {
    limit: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ForwardsOptions {
    max_depth: Option<Count>,
    max_body: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LiveReloadOptions {
    on: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServerTimingOptions {
    on: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LintOptions {
    always: bool,
    fail: bool,
    allow: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RedirectsOptions {
    permanent: BTreeMap<String, String>,
    temporary: BTreeMap<String, String>,
    gone: Vec<String>,
    canonical_host: Option<String>,
    https: Option<bool>,
    slash: Option<LastSlash>,
    except: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LastSlash {
    Keep,
    Add,
    Remove,
}

impl From<LastSlash> for Slash {
    fn from(slash: LastSlash) -> Self {
        match slash {
            LastSlash::Keep => Self::Keep,
            LastSlash::Add => Self::Add,
            LastSlash::Remove => Self::Remove,
        }
    }
}

fn redirects(options: RedirectsOptions) -> Redirects {
    let redirects = given!(Redirects::new(), options: https, slash as Slash::from);
    let redirects = options.canonical_host.iter().fold(redirects, |redirects, host| redirects.canonical_host(host));
    let redirects = options.permanent.iter().fold(redirects, |redirects, (from, to)| redirects.permanent(from, to));
    let redirects = options.temporary.iter().fold(redirects, |redirects, (from, to)| redirects.temporary(from, to));
    let redirects = options.gone.iter().fold(redirects, |redirects, from| redirects.gone(from));
    options.except.iter().fold(redirects, Redirects::except)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TrustedProxiesOptions {
    network: Vec<String>,
    hops: Option<usize>,
    unix_sockets: Option<bool>,
    forwarded: Option<bool>,
    host: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldLimitOptions {
    fields: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RequestIdsOptions {
    trust_client: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ErrorPagesOptions {
    details: Option<bool>,
    reporters: Option<bool>,
    report_from: Option<u16>,
    config: Option<bool>,
    release: Option<String>,
    log_lines: Option<usize>,
}

fn error_pages(options: ErrorPagesOptions, section: &Section<'_>) -> Result<ErrorPages> {
    let mut pages = given!(ErrorPages::new(), options: details, release, log_lines);
    if let Some(status) = options.report_from {
        pages = pages.report_from(status_of("report_from", &status.to_string())?);
    }
    if options.config == Some(true) {
        pages = pages.config(section.config()?);
    }
    match options.reporters {
        Some(true) => pages.reporters(&section.config()?.reports),
        _ => Ok(pages),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SecurityHeadersOptions {
    content_security_policy: Option<String>,
    hsts: Option<Time>,
    https: Option<bool>,
    set: BTreeMap<String, String>,
    without: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SessionsOptions {
    store: Option<Store>,
    url: Option<Secret>,
    cookie_name: Option<String>,
    path: Option<String>,
    same_site: Option<SameSite>,
    https: Option<bool>,
    idle: Option<Limit>,
    lifetime: Option<Limit>,
    persistent: Option<bool>,
    anonymous_when_down: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Store {
    Cookie,
    Memory,
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "redis")]
    Redis,
    #[cfg(feature = "postgres")]
    Postgres,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SameSite {
    Strict,
    Lax,
    None,
}

impl From<SameSite> for crate::cookie::SameSite {
    fn from(same_site: SameSite) -> Self {
        match same_site {
            SameSite::Strict => Self::Strict,
            SameSite::Lax => Self::Lax,
            SameSite::None => Self::None,
        }
    }
}

fn sessions(options: SessionsOptions, section: &Section<'_>) -> Result<Sessions> {
    let default = if cfg!(feature = "cookie-sessions") { Store::Cookie } else { Store::Memory };
    let store = options.store.unwrap_or(default);
    if options.url.is_some() && matches!(store, Store::Cookie | Store::Memory) {
        return Err(Error::internal("`url` is for sessions in a database: `store` says that they are elsewhere"));
    }
    let sessions = match store {
        Store::Memory => Sessions::new(crate::session::MemoryStore::new()),
        Store::Cookie => in_cookies(section)?,
        #[cfg(feature = "sqlite")]
        Store::Sqlite => {
            let mut config = section.config()?.clone();
            if let Some(url) = options.url.clone() {
                config.sessions.url = url;
                config.root = section.path("url", "");
            }
            Sessions::new(crate::session::SqliteStore::new(config.sessions_file()?))
        }
        #[cfg(feature = "redis")]
        Store::Redis => Sessions::new(crate::session::RedisStore::new(sessions_url(&options, section)?.expose_str())),
        #[cfg(feature = "postgres")]
        Store::Postgres => {
            Sessions::new(crate::session::PostgresStore::new(sessions_url(&options, section)?.expose_str()))
        }
    };
    Ok(given!(
        sessions,
        options: cookie_name, path, same_site as crate::cookie::SameSite::from, https, idle as |idle: Limit| idle.0,
        lifetime as |lifetime: Limit| lifetime.0, persistent, anonymous_when_down
    ))
}

#[cfg(any(feature = "redis", feature = "postgres"))]
fn sessions_url(options: &SessionsOptions, section: &Section<'_>) -> Result<Secret> {
    match &options.url {
        Some(url) => Ok(url.clone()),
        None => Ok(section.config()?.sessions.url.clone()),
    }
}

#[cfg(feature = "cookie-sessions")]
fn in_cookies(section: &Section<'_>) -> Result<Sessions> {
    Ok(Sessions::new(crate::session::CookieStore::new(&section.config()?.secret)))
}

#[cfg(not(feature = "cookie-sessions"))]
fn in_cookies(_: &Section<'_>) -> Result<Sessions> {
    Err(Error::internal("`store`: \"cookie\" needs Purlin's feature `cookie-sessions`"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StaticFilesOptions {
    pub(super) folder: PathBuf,
    #[serde(default)]
    pub(super) at: Option<String>,
    #[serde(default)]
    pub(super) memory: Option<Size>,
    #[serde(default)]
    pub(super) cache_control: Option<String>,
}

pub(super) fn static_files(options: StaticFilesOptions) -> Result<StaticFiles> {
    folder_is_there(&options.folder)?;
    let files = StaticFiles::new(Assets::folder(options.folder));
    let files = options.at.iter().fold(files, |files, at| files.at(at));
    let files = options.memory.iter().fold(files, |files, memory| files.memory(memory.0));
    Ok(options.cache_control.iter().fold(files, |files, value| files.cache_control(value)))
}

#[cfg(feature = "compression")]
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CompressionOptions {
    min_size: Option<Size>,
    memory: Option<Size>,
    codings: Option<Vec<Coding>>,
    quality: BTreeMap<Coding, i32>,
}

#[cfg(feature = "compression")]
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum Coding {
    Identity,
    Gzip,
    Br,
    Zstd,
    Deflate,
}

#[cfg(feature = "compression")]
impl From<Coding> for crate::negotiate::Coding {
    fn from(coding: Coding) -> Self {
        match coding {
            Coding::Identity => Self::Identity,
            Coding::Gzip => Self::Gzip,
            Coding::Br => Self::Brotli,
            Coding::Zstd => Self::Zstd,
            Coding::Deflate => Self::Deflate,
        }
    }
}

#[cfg(feature = "compression")]
fn compression(registry: Registry) -> Registry {
    registry
        .layer("purlin:compression", |options: CompressionOptions, _| {
            let mut layer = given!(Compression::new(), options: min_size as |size: Size| size.0,
                memory as |size: Size| size.0);
            if let Some(codings) = options.codings {
                let codings: Vec<crate::negotiate::Coding> = codings.into_iter().map(Into::into).collect();
                layer = layer.codings(&codings);
            }
            Ok(options
                .quality
                .into_iter()
                .fold(layer, |layer, (coding, quality)| layer.quality(coding.into(), quality)))
        })
        .doc("Compresses answers as the client asks.")
        .option("min_size", "860", "bodies of fewer bytes are left alone")
        .option("memory", "\"4 MiB\"", "how many bytes of bodies that came twice are held, and compressed once")
        .option("codings", "[\"zstd\", \"gzip\", \"br\", \"deflate\"]", "the codings to offer, the best first")
        .option("quality", "{ br = 4, gzip = 2, zstd = 3 }", "how hard a coding works: a table")
}

#[cfg(not(feature = "compression"))]
fn compression(registry: Registry) -> Registry {
    registry
}

#[cfg(feature = "debugger")]
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DebuggerOptions {
    host: Vec<String>,
    beyond_loopback: Option<bool>,
    snapshots: Option<usize>,
}

#[cfg(feature = "debugger")]
fn debugger(registry: Registry) -> Registry {
    registry
        .layer("purlin:debugger", |options: DebuggerOptions, _| {
            let layer = given!(Debugger::new(), options: beyond_loopback, snapshots);
            Ok(options.host.into_iter().fold(layer, |layer, host| layer.host(host)))
        })
        .doc("Makes the page of a failure one to work in; nothing in a release build.")
        .option("host", "[]", "other names of this machine")
        .option("beyond_loopback", "false", "whether the site may start although others can reach it")
        .option(
            "snapshots",
            "10, fewer of a large process",
            "how many failures have a frozen copy of the process at a time",
        )
}

#[cfg(not(feature = "debugger"))]
fn debugger(registry: Registry) -> Registry {
    registry
}

#[cfg(all(unix, feature = "workers"))]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkersOptions {
    processes: Count,
    #[serde(default)]
    timeout: Option<Limit>,
    #[serde(default)]
    start_timeout: Option<Limit>,
    #[serde(default)]
    drain: Option<Time>,
    #[serde(default)]
    max_requests: Option<Count>,
    #[serde(default)]
    max_memory: Option<Size>,
    #[serde(default)]
    max_connections: Option<Count>,
    #[serde(default)]
    lazy: Option<bool>,
    #[serde(default)]
    threads: Option<Count>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

#[cfg(all(unix, feature = "workers"))]
fn workers(registry: Registry) -> Registry {
    registry
        .layer("purlin:workers", |options: WorkersOptions, _| {
            let workers = given!(
                Workers::new(options.processes.0),
                options: timeout as |limit: Limit| limit.0, start_timeout as |limit: Limit| limit.0,
                drain as |time: Time| time.0, max_requests as |count: Count| count.0 as u64,
                max_memory as |size: Size| size.0, max_connections as |count: Count| count.0, lazy,
                threads as |count: Count| count.0
            );
            Ok(options.env.iter().fold(workers, |workers, (name, value)| workers.env(name, value)))
        })
        .doc("Runs what stands below in processes of its own.")
        .option("processes", "", "how many; must be set")
        .option("timeout", "\"60s\"", "for the head of an answer; then the process is killed")
        .option("start_timeout", "\"30s\"", "for a process to be ready")
        .option("drain", "\"8s\"", "for what is under way in a process that is replaced or stopped")
        .option("max_requests", "not set", "after how many requests a process is replaced")
        .option("max_memory", "not set", "with how much resident memory a process is replaced")
        .option("max_connections", "256", "requests in one process at the same time")
        .option("lazy", "false", "whether they are started with the first request")
        .option("threads", "one for each core", "of each process")
        .option("env", "{}", "further environment variables: a table of names and values")
}

#[cfg(not(all(unix, feature = "workers")))]
fn workers(registry: Registry) -> Registry {
    registry
}

#[cfg(feature = "multipart")]
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UploadsOptions {
    folder: Option<PathBuf>,
    memory: Option<Size>,
    max_file_bytes: Option<Size>,
    max_field_bytes: Option<Size>,
    max_parts: Option<Count>,
    max_header_bytes: Option<Bytes>,
}

#[cfg(feature = "multipart")]
#[derive(Clone, Copy, Debug, Deserialize)]
struct Bytes(#[serde(deserialize_with = "crate::config::units::some_bytes")] usize);

#[cfg(feature = "multipart")]
fn uploads(registry: Registry) -> Registry {
    registry
        .layer("purlin:uploads", |options: UploadsOptions, section| {
            Ok(given!(
                Uploads::new(),
                options: folder as |folder: PathBuf| section.path("folder", folder), memory as |size: Size| size.0,
                max_file_bytes as |size: Size| size.0, max_field_bytes as |size: Size| size.0,
                max_parts as |count: Count| count.0, max_header_bytes as |bytes: Bytes| bytes.0
            ))
        })
        .doc("Sets the limits of forms with files for what stands below.")
        .option("folder", "the configuration's", "of the temporary files, below that of the file")
        .option("memory", "the configuration's", "the largest file that is kept in memory")
        .option("max_file_bytes", "the configuration's", "the largest file")
        .option("max_field_bytes", "the configuration's", "the most that the text fields of a form have together")
        .option("max_parts", "the configuration's", "how many fields and files a form may have")
        .option("max_header_bytes", "the configuration's", "the most that the headers of one part have")
}

#[cfg(not(feature = "multipart"))]
fn uploads(registry: Registry) -> Registry {
    registry
}
