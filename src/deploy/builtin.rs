//! What Purlin itself has registered: each built-in layer and application, with its options.
//!
//! The options are the builder methods of the layer, by the same names. What only code can give (a closure, accounts, an
//! engine) is no option.

use super::build::Section;
use super::registry::{NoOptions, Registry, fields_of};
use crate::config::units;
use crate::config::{Listen, Runtime, Secret};
#[cfg(feature = "compression")]
use crate::layers::Compression;
#[cfg(feature = "debugger")]
use crate::layers::Debugger;
#[cfg(feature = "multipart")]
use crate::layers::Uploads;
use crate::layers::{
    AccessLog, BodyLimit, Csrf, CsrfExempt, Deadline, ErrorDocuments, ErrorPages, FieldLimit, Forwards, Lint,
    MethodOverride, Redirects, RequestIds, SecurityHeaders, Sessions, Slash, StaticFiles, TrustedProxies,
};
use crate::{Assets, Cascade, Error, Result, Server, StatusCode};
use serde::de::{SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A duration above nought.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Limit(#[serde(deserialize_with = "units::limit")] Duration);

/// A duration, or nought.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Time(#[serde(deserialize_with = "units::duration")] Duration);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Size(#[serde(deserialize_with = "units::size")] u64);

#[derive(Clone, Copy, Debug, Deserialize)]
struct Count(#[serde(deserialize_with = "units::count")] usize);

/// An option that was given, as the method of the same name sets it.
macro_rules! given {
    ($builder:expr, $options:ident: $($option:ident $(as $value:expr)?),+ $(,)?) => {{
        let mut builder = $builder;
        $(if let Some(value) = $options.$option {
            builder = builder.$option(given!(@value value $(, $value)?));
        })+
        builder
    }};
    (@value $given:ident) => { $given };
    (@value $given:ident, $value:expr) => { $value($given) };
}

/// Registers everything that is built in with the features of this build.
pub(super) fn register(registry: Registry) -> Registry {
    let registry = registry
        .layer("purlin:access_log", |_: NoOptions, _| Ok(AccessLog::new()))
        .doc("Logs one line for each request.")
        .layer("purlin:body_limit", |options: BodyLimitOptions, _| Ok(BodyLimit::new(options.bytes.0)))
        .doc("Refuses larger request bodies with 413, instead of the limit of the configuration.")
        .option("bytes", "", "the largest body; must be set");
    let registry = compression(registry)
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
        .layer("purlin:method_override", |_: NoOptions, _| Ok(MethodOverride::new()))
        .doc("Lets a form name the method PUT, PATCH or DELETE in a field.")
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
        .option("cache_control", "\"no-cache\"", "of a file asked for without its fingerprint")
        .app("purlin:static", |options: StaticOptions, section| {
            let options = StaticFilesOptions {
                folder: section.path("folder", options.folder),
                at: None,
                memory: options.memory,
                cache_control: options.cache_control,
            };
            Ok(static_files(options)?.service())
        })
        .doc("The files of a folder as an application; what is not there is a 404.")
        .option("folder", "", "the folder, below that of the file; must be set")
        .option("memory", "\"32 MiB\"", "how many bytes of files are held in memory")
        .option("cache_control", "\"no-cache\"", "of a file asked for without its fingerprint")
        // `egg:Paste#static`, as files for Paste name it.
        .app("paste:static", |options: PasteStaticOptions, section| {
            let cache_control = options.cache_max_age.map(|seconds| format!("max-age={seconds}"));
            let folder = section.path("document_root", options.document_root);
            Ok(static_files(StaticFilesOptions { folder, at: None, memory: None, cache_control })?.service())
        })
        .doc("`purlin:static` by the names that Paste gives its options.")
        .option("document_root", "", "the folder, below that of the file; must be set")
        .option("cache_max_age", "not set", "seconds that browsers may keep a file");
    let servers = ["purlin:server", "paste:http", "pastescript:wsgiutils", "waitress:main", "gunicorn:main"];
    let registry = servers.into_iter().fold(registry, |registry, name| {
        let registry = registry.server(name, fields_of::<ServerOptions>().unwrap_or_default());
        let registry = match name {
            "purlin:server" => registry.doc("The server."),
            _ => registry.doc("`purlin:server`, by a name that files for Paste use."),
        };
        server_options(registry)
    });
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
    let registry = registry
        .key(CASCADE, fields_of::<CascadeOptions>().unwrap_or_default())
        .doc("Asks one application after another: `cascade = [\"NAME\", \"NAME\"]`, with these options beside it.")
        .option("passes", "[404, 405]", "by which statuses an application passes the request on")
        .option("max_body", "\"64 KiB\"", "how much of a body that was read is kept for the next");
    databases(proxy(uploads(in_code(registry))))
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

/// What the key `cascade` is listed as.
pub(super) const CASCADE: &str = "purlin:cascade";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CascadeOptions {
    passes: Option<Vec<u16>>,
    max_body: Option<Size>,
}

pub(super) fn cascade(options: CascadeOptions) -> Result<Cascade> {
    let cascade = given!(Cascade::new(), options: max_body as |size: Size| size.0);
    let Some(passes) = options.passes else { return Ok(cascade) };
    let passes = passes.into_iter().map(|status| status_of("passes", &status.to_string()));
    Ok(cascade.passes(passes.collect::<Result<Vec<_>>>()?))
}

#[cfg(feature = "proxy")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyOptions {
    to: String,
    #[serde(default)]
    preserve_host: Option<bool>,
    #[serde(default)]
    connect_timeout: Option<Limit>,
    #[serde(default)]
    answer_timeout: Option<Limit>,
    #[serde(default)]
    idle_timeout: Option<Limit>,
    #[serde(default)]
    max_connections: Option<Count>,
}

#[cfg(feature = "proxy")]
fn proxy(registry: Registry) -> Registry {
    registry
        .app("purlin:proxy", |options: ProxyOptions, _| {
            Ok(given!(
                crate::proxy::Proxy::to(&options.to),
                options: preserve_host, connect_timeout as |limit: Limit| limit.0, answer_timeout as |limit: Limit| limit.0,
                idle_timeout as |limit: Limit| limit.0, max_connections as |count: Count| count.0
            ))
        })
        .doc("Asks another server.")
        .option("to", "", "its address, as \"http://127.0.0.1:3000\"; must be set")
        .option("preserve_host", "true", "whether `Host` stays the client's, or is that of the address")
        .option("connect_timeout", "\"5s\"", "for a connection, and for one of them to be free")
        .option("answer_timeout", "\"60s\"", "for the head of the answer")
        .option("idle_timeout", "\"60s\"", "for the next piece of the answer's body")
        .option("max_connections", "256", "to the server at the same time")
}

#[cfg(not(feature = "proxy"))]
fn proxy(registry: Registry) -> Registry {
    registry
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
struct CsrfOptions {
    trust: Vec<String>,
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

fn status_of(option: &str, text: &str) -> Result<StatusCode> {
    text.parse().map_err(|_| Error::internal(format!("`{option}`: expected a status as 404, found {text:?}")))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ForwardsOptions {
    max_depth: Option<Count>,
    max_body: Option<Size>,
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
struct StaticFilesOptions {
    folder: PathBuf,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    memory: Option<Size>,
    #[serde(default)]
    cache_control: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticOptions {
    folder: PathBuf,
    #[serde(default)]
    memory: Option<Size>,
    #[serde(default)]
    cache_control: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasteStaticOptions {
    document_root: PathBuf,
    #[serde(default)]
    cache_max_age: Option<u64>,
}

fn static_files(options: StaticFilesOptions) -> Result<StaticFiles> {
    folder_is_there(&options.folder)?;
    let files = StaticFiles::new(Assets::folder(options.folder));
    let files = options.at.iter().fold(files, |files, at| files.at(at));
    let files = options.memory.iter().fold(files, |files, memory| files.memory(memory.0));
    Ok(options.cache_control.iter().fold(files, |files, value| files.cache_control(value)))
}

/// A slip in a folder's name would be a site without files.
fn folder_is_there(folder: &Path) -> Result<()> {
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Error::internal(format!("there is no folder {}", folder.display()))),
    }
}

#[cfg(feature = "compression")]
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CompressionOptions {
    min_size: Option<Size>,
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
            let mut layer = given!(Compression::new(), options: min_size as |size: Size| size.0);
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
        .option("codings", "[\"zstd\", \"gzip\", \"br\", \"deflate\"]", "the codings to offer, the best first")
        .option("quality", "{ br = 4, gzip = 4, zstd = 3 }", "how hard a coding works: a table")
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
struct Bytes(#[serde(deserialize_with = "units::some_bytes")] usize);

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

/// The options of a server: those of `[server]` in the configuration, and the two by which Paste's files say where.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServerOptions {
    listen: Option<Listens>,
    host: Option<String>,
    port: Option<u16>,
    runtime: Option<Runtime>,
    http2: Option<bool>,
    header_timeout: Option<Limit>,
    body_timeout: Option<Limit>,
    idle_timeout: Option<Limit>,
    write_timeout: Option<Limit>,
    drain: Option<Time>,
    max_connections: Option<Count>,
    max_headers: Option<Count>,
    max_header_bytes: Option<Buffer>,
    processes: Option<bool>,
}

/// One place, a list of them, or words: a line of a file for Waitress has several.
#[derive(Clone, Debug)]
struct Listens(Vec<Listen>);

impl<'de> Deserialize<'de> for Listens {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(ListensVisitor).map(Self)
    }
}

struct ListensVisitor;

impl<'de> Visitor<'de> for ListensVisitor {
    type Value = Vec<Listen>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as \"127.0.0.1:8000\", \"[::]:80\" or \"unix:/run/site.sock\", or a list of these")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Listen>, E> {
        let place = |word: &str| match word.strip_prefix("localhost:") {
            // The one name that is the same everywhere.
            Some(port) => format!("127.0.0.1:{port}").parse(),
            None => word.parse(),
        };
        let wrong = |_| E::invalid_value(Unexpected::Str(text), &self);
        match place(text) {
            Ok(listen) => Ok(vec![listen]),
            Err(error) if text.trim().is_empty() => Err(wrong(error)),
            Err(_) => text.split_whitespace().map(|word| place(word).map_err(wrong)).collect(),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Listen>, A::Error> {
        let mut all = Vec::new();
        while let Some(Listens(places)) = list.next_element()? {
            all.extend(places);
        }
        match all.is_empty() {
            true => Err(serde::de::Error::custom("expected one address at least, found an empty list")),
            false => Ok(all),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Buffer(#[serde(deserialize_with = "units::buffer")] usize);

fn server_options(registry: Registry) -> Registry {
    registry
        .option("listen", "\"127.0.0.1:8000\"", "where it listens: one place, or a list")
        .option("host", "\"127.0.0.1\"", "an IP address or `localhost`, instead of `listen`")
        .option("port", "8000", "a port, instead of `listen`")
        .option("runtime", "\"shared\"", "how the cores are used: \"shared\" or \"per-core\"")
        .option("http2", "true", "HTTP/2 by prior knowledge, with the feature `http2`")
        .option("header_timeout", "\"15s\"", "for the head of a request to arrive")
        .option("body_timeout", "\"30s\"", "for the next piece of a request's body to arrive")
        .option("idle_timeout", "\"75s\"", "for the next request on a connection")
        .option("write_timeout", "\"30s\"", "for a client to take some of its answer")
        .option("drain", "\"8s\"", "for requests under way to end when the server stops")
        .option("max_connections", "8192", "open at the same time")
        .option("max_headers", "100", "in one request")
        .option("max_header_bytes", "\"64 KiB\"", "of one request")
        .option("processes", "false", "whether other processes serve the same site, here or on other machines")
}

/// `server`, with these options.
pub(super) fn server(options: ServerOptions, server: Server) -> Result<Server> {
    let server = given!(
        server,
        options: runtime, http2, header_timeout as |limit: Limit| limit.0, body_timeout as |limit: Limit| limit.0,
        idle_timeout as |limit: Limit| limit.0, write_timeout as |limit: Limit| limit.0, drain as |time: Time| time.0,
        max_connections as |count: Count| count.0, max_headers as |count: Count| count.0,
        max_header_bytes as |bytes: Buffer| bytes.0, processes
    );
    match (options.listen, options.host, options.port) {
        (Some(_), host, port) if host.is_some() || port.is_some() => {
            Err(Error::internal("it has `listen` and also `host` or `port`: one of them says where it listens"))
        }
        (Some(Listens(all)), ..) => Ok(server.only_at(&all)),
        (None, None, None) => Ok(server),
        (None, host, port) => {
            let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
            let host = if host == "localhost" { "127.0.0.1".to_owned() } else { host };
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            let address =
                address.map_err(|_| Error::internal(format!("`host`: expected an IP address, found {host:?}")))?;
            Ok(server.only_at(&[Listen::Tcp((address, port.unwrap_or(8000)).into())]))
        }
    }
}
