//! What a site is told from outside: defaults, then `config/NAME.toml`, then the environment.
//!
//! Three layers, each above the one before:
//!
//! 1. Purlin's defaults, below.
//! 2. One file, `config/NAME.toml`, where `NAME` is the [`Environment`]. A file that is not there is no error.
//! 3. Variables: `PURLIN__SERVER__LISTEN=0.0.0.0:80` sets `server.listen`, `PURLIN__APP__TITLE=Wiki` the site's own
//!    `title`. Two underscores lead into a table; values are written as in TOML, and texts need no quotes.
//!
//! A key that nobody knows, or a value that does not fit, is an error which names the place; see [`ConfigError`].
//!
//! # Keys
//!
//! | Key | Default | |
//! |---|---|---|
//! | `secret` | | signs and encrypts cookies and tokens: 32 bytes or more |
//! | `old_secrets` | `[]` | what the secret was before, most recent first |
//! | `https` | `true`; `false` in development | visitors reach the site by https, perhaps through a proxy |
//! | `body_limit` | `"2 MiB"` | the largest request body |
//! | `answer_within` | `"30s"` | from the request's arrival to the head of its answer |
//! | `server.listen` | `"127.0.0.1:8000"` | one [`Listen`], or a list |
//! | `server.runtime` | `"shared"` | one work-stealing [`Runtime`], or one `"per-core"` |
//! | `server.processes` | `1` | several serve the same sockets, on unix |
//! | `server.http2` | `true` | HTTP/2 as well as HTTP/1.1, with the feature `http2` |
//! | `server.header_timeout` | `"15s"` | for the head of a request to arrive |
//! | `server.body_timeout` | `"30s"` | for the next piece of a request's body to arrive |
//! | `server.idle_timeout` | `"75s"` | for the next request on a connection |
//! | `server.drain` | `"8s"` | for requests under way to end when the server stops |
//! | `server.max_connections` | `8192` | open at the same time |
//! | `server.max_headers` | `100` | in one request |
//! | `server.max_header_bytes` | `"64 KiB"` | of one request; `"8 KiB"` at least |
//! | `server.control` | `""` | the unix socket by which `restart` finds the site; empty is a private place, `"none"` is none |
//! | `server.restart_timeout` | `"60s"` | for a new executable to be ready, when it takes over |
//! | `server.tls.certificate` | `""` | its file, for https: see [`TlsConfig`], with the feature `tls` |
//! | `server.tls.key` | `""` | the file of its key |
//! | `server.tls.handshake_timeout` | `"10s"` | for the handshake |
//! | `server.tls.look_every` | `"60s"` | how often the files are looked at |
//! | `server.tls.redirect_from` | | where plain http is sent to https: a list |
//! | `server.tls.more.NAME` | | further certificates: `certificate` and `key` of each |
//! | `log.level` | `"info"` | `"warn,my_site=debug"`: a level, and others for some targets |
//! | `log.format` | `"json"`; `"text"` in development | |
//! | `errors.details` | `false`; `true` in development | error pages show the place and the causes |
//! | `errors.beyond_loopback` | `false` | and do so in production, too, to whoever reaches the site |
//! | `reports.folder` | `""` | of [reports](crate::report::Folder) of failures, below the site's folder; empty is none |
//! | `reports.keep` | `200` | reports in that folder |
//! | `reports.mail.server` | `""` | `smtps://user:password@host`, by which reports are mailed; with the feature `mail` |
//! | `reports.mail.from` | `""` | `Wiki <wiki@example.org>` |
//! | `reports.mail.to` | `""` | `ops@example.org`, or several with commas between |
//! | `reports.webhook.url` | `""` | `https://host/path`, to which reports are posted; with the feature `webhook` |
//! | `reports.webhook.secret` | `""` | by which they are signed; empty is not at all |
//! | `templates.reload` | `false`; `true` in development | templates are read again when they change |
//! | `traces.endpoint` | `""` | `https://collector:4318`, to which spans are sent: see [`TracesConfig`] |
//! | `traces.secret_headers` | `""` | for it: `api-key=abc`, several with commas between |
//! | `traces.service` | `""` | what the site is called there; empty is the executable's name |
//! | `traces.sample` | `1.0` | the part of the traces begun here that is recorded |
//! | `cache.url` | `""` | `redis://host/0`: for the [caches](crate::cache) that are kept there |
//! | `cache.prefix` | `"purlin:cache:"` | what their keys in it begin with: sites that share a database need one each |
//! | `cache.timeout` | `"250ms"` | for Redis to answer a cache, or be connected to |
//! | `cache.store` | `"memory"` | where the region `default` is kept, and what follows of it: see [regions](crate::cache#regions) |
//! | `cache.memory` | `"32 MiB"` | |
//! | `cache.ttl` | `"5m"` | |
//! | `cache.stale` | `"0s"` | |
//! | `cache.early_refresh` | `1.0` | |
//! | `cache.negative` | `"0s"` | |
//! | `cache.local_ttl` | `"5s"` | |
//! | `cache.regions.*` | | other regions by their names, with any of the last seven |
//! | `database.url` | `""` | `sqlite:data/site.db` or `postgres://user:password@host/name`; see [`database`](crate::database) |
//! | `database.max_connections` | `10` | of one process |
//! | `database.acquire_timeout` | `"5s"` | for a connection to be free; then 503 |
//! | `database.migrate_at_start` | `false`; `true` in development | migrations are run, and not only checked |
//! | `database.temporary` | `false`; `true` in tests | a database of this process's own, which ends with it |
//! | `uploads.folder` | `""` | of temporary files, below the site's folder; empty is the system's |
//! | `uploads.memory` | `"64 KiB"` | the largest uploaded file that is kept in memory |
//! | `uploads.max_file_bytes` | `"1 GiB"` | of one uploaded file |
//! | `uploads.max_field_bytes` | `"1 MiB"` | of all text fields of a form with files |
//! | `uploads.max_parts` | `100` | fields and files in one form |
//! | `uploads.max_header_bytes` | `"8 KiB"` | of one field or file |
//! | `sessions.url` | `""` | `sqlite:data/sessions.db`, `redis://host/0`, `postgres://user:password@host/name`: for the stores of these |
//! | `app.*` | | the site's own, read by [`Config::app`] |
//!
//! "In development" is in the environments `development` and `test`. The table `[cache]` is there with the feature `cache`, `[traces]` with `opentelemetry`,
//! `[database]` with one of the features `postgres` and `sqlite`, and `[sessions]` with one of these or `redis`.
//!
//! # Where the file is
//!
//! The site's folder, [`Config::root`], is the first of these with a `.toml` file in its `config/`: the package that
//! `cargo run` or `cargo test` builds (from whichever folder it is called), the current directory, the program's own
//! folder. In a container image without a `config/` the defaults and the variables are all there is.
//! `PURLIN_CONFIG=/etc/site.toml` names another file, which then has to be there.
//!
//! # The secret
//!
//! In development the site makes its own, in `.purlin/secret`, which git ignores. Everywhere else there is no start
//! without one, and none with a short or a well-known one.

pub(crate) mod error;
pub(crate) mod listen;
mod loader;
pub(crate) mod read;
pub(crate) mod secret;
pub(crate) mod tree;
pub(crate) mod units;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, Position};
pub use listen::{Listen, ListenError};
pub use loader::Loader;
pub use secret::{Secret, SecretKeys};

#[cfg(any(feature = "database", feature = "redis"))]
use crate::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tree::{Node, Text};

/// What the site is told from outside.
///
/// `Debug` shows no secret.
///
/// ```
/// use purlin::config::Loader;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Wiki {
///     title: String,
///     pages: u32,
/// }
///
/// let config = Loader::new()
///     .environment("development")
///     .toml("[server]\nlisten = '[::1]:3000'\n[app]\ntitle = 'Notes'\npages = 10")
///     .var("PURLIN__APP__PAGES", "20")
///     .load()?;
/// assert_eq!(config.server.listen[0].to_string(), "[::1]:3000");
///
/// let wiki: Wiki = config.app()?;
/// assert_eq!((wiki.title.as_str(), wiki.pages), ("Notes", 20));
/// # Ok::<(), purlin::config::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which file was read, and whether strangers can reach the site.
    pub environment: Environment,
    /// The site's folder; `.` for a [`Loader`] that was given none.
    pub root: PathBuf,
    /// What signs and encrypts.
    pub secret: SecretKeys,
    /// Visitors reach the site by https: cookies are `Secure`.
    pub https: bool,
    /// The largest request body, in bytes.
    pub body_limit: u64,
    /// From the request's arrival to the head of its answer.
    pub answer_within: Duration,
    /// `[server]`
    pub server: ServerConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[errors]`
    pub errors: ErrorsConfig,
    /// `[reports]`
    pub reports: ReportsConfig,
    /// `[templates]`
    pub templates: TemplatesConfig,
    /// `[traces]`
    #[cfg(feature = "opentelemetry")]
    pub traces: TracesConfig,
    /// `[cache]`
    #[cfg(feature = "cache")]
    pub cache: CacheConfig,
    /// `[database]`
    #[cfg(feature = "database")]
    pub database: DatabaseConfig,
    /// `[uploads]`
    pub uploads: UploadsConfig,
    /// `[sessions]`
    #[cfg(any(feature = "database", feature = "redis"))]
    pub sessions: SessionsConfig,
    /// What the server prints when it starts, one line each.
    pub warnings: Vec<String>,
    origin: Arc<Origin>,
}

impl Config {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], whose message is for whoever wrote the configuration.
    pub fn load() -> Result<Self, ConfigError> {
        Loader::from_process().load()
    }

    /// The configuration of a site's own tests: the environment `test`, with a secret of its own and nothing written.
    ///
    /// Reads `config/test.toml` if it is there, and the `PURLIN__` variables: where the database is may differ.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn for_tests() -> Result<Self, ConfigError> {
        Loader::from_process().environment("test").without_named_file().load()
    }

    /// The file that `sessions.url` names, `sqlite:data/sessions.db`: in the site's folder, unless its path is absolute. The
    /// folder that it is to be in is made, if it is not there.
    ///
    /// # Errors
    ///
    /// The URL names no file, or the folder cannot be made.
    #[cfg(any(feature = "database", feature = "redis"))]
    pub fn sessions_file(&self) -> crate::Result<PathBuf> {
        let url = self.sessions.url.expose_str();
        let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            let message = "`sessions.url`: expected a file such as sqlite:data/sessions.db (PURLIN__SESSIONS__URL)";
            return Err(crate::Error::internal(message));
        };
        let file = self.root.join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).context(format!("making the folder {}", folder.display()))?;
        }
        Ok(file)
    }

    /// Reads the site's own settings, `[app]`, into the site's own type.
    ///
    /// With `#[serde(deny_unknown_fields)]` on it a misspelt key is an error here too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when they do not fit.
    pub fn app<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let root = &self.origin.tree;
        read::read(root.find("app").unwrap_or(root), "app", &[], &self.origin.file)
    }

    /// Every setting, its value and where that comes from, as loaded: changes to the fields are not in it.
    ///
    /// Values of keys with a word such as `secret`, `password`, `token` or `key` are masked, and so are URLs with a user
    /// in them.
    pub fn values(&self) -> Vec<Setting> {
        let Origin { tree, file, found, .. } = &*self.origin;
        let absent = if *found { "" } else { " (not there)" };
        let mut values = vec![
            Setting {
                key: "environment".into(),
                value: self.environment.to_string(),
                source: self.origin.environment.clone(),
            },
            Setting {
                key: "file".into(),
                value: format!("{}{absent}", file.display()),
                source: self.origin.named.clone(),
            },
        ];
        values.extend(tree.leaves().into_iter().map(|(key, node)| {
            let mut value = node.written();
            let empty = matches!(value.as_str(), "" | "\"\"" | "''" | "[]");
            if !empty && (secret::is_secret(&key) || secret::has_login(&value)) {
                value = secret::MASK.into();
            }
            Setting { key, value, source: node.source() }
        }));
        values
    }

    /// Whether strangers at these addresses may see what error pages show. Nobody knows the peers of other sockets than those of
    /// IP: a proxy, mostly.
    ///
    /// # Errors
    ///
    /// Names the address, where the details were switched on, and what to do.
    pub(crate) fn check_details(&self, addresses: &[Listen]) -> crate::Result<()> {
        let reachable = |listen: &&Listen| match listen {
            Listen::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            _ => false,
        };
        let meant = !self.environment.is_public() || self.errors.beyond_loopback;
        match addresses.iter().find(reachable).filter(|_| self.errors.details && !meant) {
            None => Ok(()),
            Some(address) => Err(crate::Error::internal(format!(
                "{}: `errors.details` is on in the {} environment, and the site listens at {address}: every visitor who makes it fail \
                 would see its source and the causes. Switch it off, listen at 127.0.0.1, or, if that is meant, set \
                 `errors.beyond_loopback = true` (PURLIN__ERRORS__BEYOND_LOOPBACK)",
                self.source_of_details(),
                self.environment
            ))),
        }
    }

    fn source_of_details(&self) -> Source {
        self.origin.tree.find("errors.details").map_or(Source::Default, Node::source)
    }

    /// What [`values`](Self::values) masks: to be known, so that it can be hidden elsewhere.
    pub(crate) fn masked(&self) -> Vec<String> {
        let leaves = self.origin.tree.leaves().into_iter();
        let mut masked: Vec<String> = self.secret.all().map(|secret| secret.expose_str().to_owned()).collect();
        for (_, node) in leaves.filter(|(key, node)| secret::is_secret(key) || secret::has_login(&node.written())) {
            let written = node.written();
            let value = written.trim_matches(['"', '\'']);
            masked.push(value.to_owned());
            // The password of a URL may be told without the rest of it.
            let user = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
            masked.extend(user.and_then(|user| user.split_once(':')).map(|(_, password)| password.to_owned()));
        }
        masked.retain(|value| !value.is_empty());
        masked
    }
}

/// That of a test without a file or variables: the development defaults, a random secret, nothing written.
///
/// # Panics
///
/// When the operating system has no random bytes to give.
impl Default for Config {
    fn default() -> Self {
        Loader::new().environment("test").load().expect("the defaults are valid: tests::the_defaults_are_valid")
    }
}

/// Where the site runs: `PURLIN_ENV`.
///
/// Without it a debug build is in `Development` and a release build in `Production`. Any other name than the three is
/// as careful as production, and needs its file where there is a `config/`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// A developer's own machine.
    Development,
    /// The site's own tests: as in development, but nothing is kept.
    Test,
    /// Where strangers come.
    Production,
    /// Another place where strangers come, `staging`.
    Other(String),
}

impl Environment {
    /// `development` and so on: the name of its file.
    pub fn name(&self) -> &str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Production => "production",
            Self::Other(name) => name,
        }
    }

    /// Whether strangers can reach the site: everywhere but in development and tests.
    pub fn is_public(&self) -> bool {
        !matches!(self, Self::Development | Self::Test)
    }

    fn named(name: &str) -> Result<Self, ConfigError> {
        Ok(match name {
            // The library is built in the site's own profile.
            "" if cfg!(debug_assertions) => Self::Development,
            "" | "production" => Self::Production,
            "development" => Self::Development,
            "test" => Self::Test,
            // It becomes the name of a file.
            other if other.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)) => {
                Self::Other(other.into())
            }
            other => {
                let problem = format!("expected a name of small letters, digits, `_` and `-`, found {other:?}");
                return Err(ConfigError::Environment { problem });
            }
        })
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `[server]`: where it listens, and how long and how much it bears.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where it listens: one at least.
    #[serde(deserialize_with = "listen::one_or_more")]
    pub listen: Vec<Listen>,
    /// `[server.tls]`
    pub tls: TlsConfig,
    /// How the cores are used.
    pub runtime: Runtime,
    /// How many processes serve the same sockets: see [`Server::prefork`](crate::Server::prefork).
    #[serde(deserialize_with = "units::count")]
    pub processes: usize,
    /// HTTP/2 as well as HTTP/1.1: by TLS, where its client chooses (ALPN), and without by prior knowledge.
    pub http2: bool,
    /// For the head of a request to arrive.
    #[serde(deserialize_with = "units::limit")]
    pub header_timeout: Duration,
    /// For the next piece of a request's body to arrive.
    #[serde(deserialize_with = "units::limit")]
    pub body_timeout: Duration,
    /// For the next request on a connection; longer than the 60 seconds for which proxies usually keep theirs.
    #[serde(deserialize_with = "units::limit")]
    pub idle_timeout: Duration,
    /// For requests under way to end when the server stops; shorter than the 10 seconds which `docker stop` waits.
    #[serde(deserialize_with = "units::duration")]
    pub drain: Duration,
    /// Connections open at the same time.
    #[serde(deserialize_with = "units::count")]
    pub max_connections: usize,
    /// Header lines in one request.
    #[serde(deserialize_with = "units::count")]
    pub max_headers: usize,
    /// The head of one request, in bytes.
    #[serde(deserialize_with = "units::buffer")]
    pub max_header_bytes: usize,
    /// The path of the unix socket by which the command `restart` finds the site that runs; `none`, and there is none. Only this
    /// user and root may speak to it.
    ///
    /// Empty, it is made in the folder that systemd gives to the unit (`RUNTIME_DIRECTORY`), in `$XDG_RUNTIME_DIR/purlin`, or in a
    /// folder of this user's among the temporary files: by a name that stands for the executable's name, the site's folder, its
    /// environment, and the FILE that is served.
    pub control: PathBuf,
    /// For a new executable to have started its application, when it takes over; then the one that serves goes on alone.
    #[serde(deserialize_with = "units::limit")]
    pub restart_timeout: Duration,
}

/// `[server.tls]`: https by the server itself, with Purlin's feature `tls`. See [the guide](crate::guide::network).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// The file of the certificate and those that lead from it to a known authority, in PEM; empty for no TLS. In the site's folder,
    /// unless its path is absolute; so are the others.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
    /// For the handshake.
    #[serde(deserialize_with = "units::limit")]
    pub handshake_timeout: Duration,
    /// How often the files are looked at, and used if they have changed.
    #[serde(deserialize_with = "units::limit")]
    pub look_every: Duration,
    /// Where plain http is listened to as well, and sent to https.
    #[serde(default)]
    pub redirect_from: Vec<Listen>,
    /// `[server.tls.more.NAME]`: certificates for other names.
    #[serde(default)]
    pub more: BTreeMap<String, TlsFiles>,
}

/// `[server.tls.more.NAME]`: one more certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsFiles {
    /// As [`TlsConfig::certificate`].
    pub certificate: PathBuf,
    /// As [`TlsConfig::key`].
    pub key: PathBuf,
}

/// How the cores are used.
///
/// Measured on two cores, as CPU time for a plaintext answer and beside raw hyper on a work-stealing runtime in the same run:
/// 1.05, 1.13 and 1.19 times as much with 8, 64 and 512 busy connections for [`Shared`](Self::Shared); 1.20, 1.23 and 1.10 for
/// [`PerCore`](Self::PerCore), whose cores cannot help each other out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Runtime {
    /// One work-stealing runtime over all cores: the default.
    Shared,
    /// A runtime for each core, with a listening socket of its own (`SO_REUSEPORT`): for hundreds of busy connections and
    /// short answers.
    PerCore,
}

/// `[log]`: what is logged, and how it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogConfig {
    /// `info`, `warn,my_site=debug`.
    #[serde(deserialize_with = "units::log_filter")]
    pub level: String,
    /// How a line is written.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LogFormat {
    /// To be read by people.
    Text,
    /// To be read by programs: one JSON object a line.
    Json,
}

/// `[errors]`: what error pages show.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ErrorsConfig {
    /// The place and the causes. They are nobody's business but the developer's.
    pub details: bool,
    /// [`details`](Self::details) are meant for whoever reaches the site, also where strangers come: without it a public site
    /// that listens beyond this machine does not start with them.
    pub beyond_loopback: bool,
}

/// `[reports]`: who is told of failures, by [`ErrorPages::reporters`](crate::layers::ErrorPages::reporters); nobody by default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReportsConfig {
    /// Of files. Empty is none; another that is not absolute lies below [`Config::root`].
    pub folder: PathBuf,
    /// How many of them are kept.
    #[serde(deserialize_with = "units::count")]
    pub keep: usize,
    /// `[reports.mail]`
    pub mail: MailConfig,
    /// `[reports.webhook]`
    pub webhook: WebhookConfig,
}

/// `[reports.mail]`: mails are sent where any of this is set; then all of it is needed, and the feature `mail`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MailConfig {
    /// `smtps://user:password@host`, `smtp://localhost:25`.
    pub server: Secret,
    /// `Name <user@host>` or `user@host`.
    pub from: String,
    /// The same; there may be several, with commas between.
    pub to: String,
}

/// `[reports.webhook]`: reports are posted where any of this is set; then the URL is needed, and the feature `webhook`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WebhookConfig {
    /// `https://host/path`. It is never shown, since many of them hold a token.
    pub url: Secret,
    /// What posts are signed by. Empty is not at all.
    pub secret: Secret,
}

/// `[templates]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TemplatesConfig {
    /// Templates are read again when they change, instead of once from the binary.
    pub reload: bool,
}

/// `[cache]`: the region `default`, what other regions differ in, and Redis. See [`cache`](crate::cache#regions).
#[cfg(feature = "cache")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheConfig {
    /// The Redis of the regions that are kept there: `redis://host/0`.
    pub url: Secret,
    /// What the keys in it begin with.
    pub prefix: String,
    /// For it to answer, or to be connected to.
    #[serde(deserialize_with = "units::limit")]
    pub timeout: Duration,
    /// Where values are kept.
    pub store: CacheStore,
    /// What the region may take in this process, in bytes.
    #[serde(deserialize_with = "units::some_size")]
    pub memory: u64,
    /// How long a value is good, where the handler does not say.
    #[serde(deserialize_with = "units::duration")]
    pub ttl: Duration,
    /// For how long after that it is given out while it is made anew.
    #[serde(deserialize_with = "units::duration")]
    pub stale: Duration,
    /// The part of its time after which it may be made anew beforehand; 1 is never.
    #[serde(deserialize_with = "units::part")]
    pub early_refresh: f64,
    /// How long it is remembered that there is nothing; nought is not at all.
    #[serde(deserialize_with = "units::duration")]
    pub negative: Duration,
    /// How long memory goes before Redis, where both keep values.
    #[serde(deserialize_with = "units::limit")]
    pub local_ttl: Duration,
    /// `[cache.regions.NAME]`
    #[serde(default)]
    pub regions: BTreeMap<String, RegionConfig>,
}

/// `[cache.regions.NAME]`: what is not said is as in `[cache]`.
#[cfg(feature = "cache")]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RegionConfig {
    /// As [`CacheConfig::store`].
    pub store: Option<CacheStore>,
    /// As [`CacheConfig::memory`].
    #[serde(deserialize_with = "units::given_some_size")]
    pub memory: Option<u64>,
    /// As [`CacheConfig::ttl`].
    #[serde(deserialize_with = "units::given_duration")]
    pub ttl: Option<Duration>,
    /// As [`CacheConfig::stale`].
    #[serde(deserialize_with = "units::given_duration")]
    pub stale: Option<Duration>,
    /// As [`CacheConfig::early_refresh`].
    #[serde(deserialize_with = "units::given_part")]
    pub early_refresh: Option<f64>,
    /// As [`CacheConfig::negative`].
    #[serde(deserialize_with = "units::given_duration")]
    pub negative: Option<Duration>,
    /// As [`CacheConfig::local_ttl`].
    #[serde(deserialize_with = "units::given_duration")]
    pub local_ttl: Option<Duration>,
}

/// Where the values of a cache are kept.
#[cfg(feature = "cache")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CacheStore {
    /// In the process: the fastest, and each process has its own.
    Memory,
    /// In Redis or Valkey: what one process keeps or purges, all do.
    Redis,
    /// In Redis, and for a while in the process too.
    Both,
}

/// As in production without a file.
#[cfg(feature = "cache")]
impl Default for CacheConfig {
    fn default() -> Self {
        default_of("cache")
    }
}

/// `[traces]`: where spans are sent, and which: see [`Traces`](crate::layers::Traces). OpenTelemetry's own variables go before it.
#[cfg(feature = "opentelemetry")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TracesConfig {
    /// The collector, `https://collector.example.org:4318`, to whose path `/v1/traces` is added; empty is none.
    pub endpoint: String,
    /// Headers for it: `api-key=abc`, several with commas between, their values percent-encoded where they have to be.
    pub secret_headers: Secret,
    /// What the site is called there; empty is the name of the executable.
    pub service: String,
    /// The part of the traces begun here that is recorded.
    #[serde(deserialize_with = "units::part")]
    pub sample: f64,
}

/// As in production without a file.
#[cfg(feature = "opentelemetry")]
impl Default for TracesConfig {
    fn default() -> Self {
        default_of("traces")
    }
}

/// `[database]`: where it is, and how much of it the site takes.
#[cfg(feature = "database")]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DatabaseConfig {
    /// `sqlite:PATH`, a file in the site's folder unless the path is absolute, or `postgres://user:password@host/name`.
    pub url: Secret,
    /// Connections of one process.
    #[serde(deserialize_with = "units::count")]
    pub max_connections: usize,
    /// For a connection to be free; in SQLite also for another's write to end.
    #[serde(deserialize_with = "units::limit")]
    pub acquire_timeout: Duration,
    /// Migrations are run when the site starts. Without this a pending one stops the start.
    pub migrate_at_start: bool,
    /// A new database is made when the site is put together, and removed when it is dropped: for tests, each of which then
    /// has its own. In SQLite it is a file among the system's temporary ones, in PostgreSQL a database on the same server.
    pub temporary: bool,
}

/// `[sessions]`: where they are kept, for the stores that are told by a URL.
#[cfg(any(feature = "database", feature = "redis"))]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SessionsConfig {
    /// `sqlite:PATH`, `redis://host/0` or `postgres://user:password@host/name`.
    pub url: Secret,
}

/// As in production without a file.
#[cfg(any(feature = "database", feature = "redis"))]
impl Default for SessionsConfig {
    fn default() -> Self {
        default_of("sessions")
    }
}

/// As in production without a file.
#[cfg(feature = "database")]
impl Default for DatabaseConfig {
    fn default() -> Self {
        default_of("database")
    }
}

/// `[uploads]`: what forms with files may have. How much may be sent in all is `body_limit`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UploadsConfig {
    /// Of temporary files. Empty is the system's own; another that is not absolute lies below [`Config::root`].
    pub folder: PathBuf,
    /// The largest file that is kept in memory, in bytes.
    #[serde(deserialize_with = "units::size")]
    pub memory: u64,
    /// The largest file, in bytes.
    #[serde(deserialize_with = "units::some_size")]
    pub max_file_bytes: u64,
    /// The most that all text fields may have together, in bytes.
    #[serde(deserialize_with = "units::some_size")]
    pub max_field_bytes: u64,
    /// Fields and files in one form.
    #[serde(deserialize_with = "units::count")]
    pub max_parts: usize,
    /// The headers of one field or file, in bytes.
    #[serde(deserialize_with = "units::some_bytes")]
    pub max_header_bytes: usize,
}

impl UploadsConfig {
    /// The folder of temporary files, which is the system's where none is set.
    pub fn temporary_folder(&self) -> PathBuf {
        if self.folder.as_os_str().is_empty() { std::env::temp_dir() } else { self.folder.clone() }
    }
}

/// As in production without a file.
impl Default for ServerConfig {
    fn default() -> Self {
        default_of("server")
    }
}

/// As in production without a file.
impl Default for LogConfig {
    fn default() -> Self {
        default_of("log")
    }
}

/// As in production without a file.
impl Default for ErrorsConfig {
    fn default() -> Self {
        default_of("errors")
    }
}

/// As in production without a file.
impl Default for ReportsConfig {
    fn default() -> Self {
        default_of("reports")
    }
}

/// As in production without a file.
impl Default for TemplatesConfig {
    fn default() -> Self {
        default_of("templates")
    }
}

/// As in production without a file.
impl Default for UploadsConfig {
    fn default() -> Self {
        default_of("uploads")
    }
}

/// One setting as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The whole key, `server.listen`.
    pub key: String,
    /// As it is written, or `•••`.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Purlin's own.
    Default,
    /// A line of a file.
    File {
        /// Relative to the current directory where it can be.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// Made when the configuration was loaded, and not kept.
    Generated,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Generated => f.write_str("generated"),
        }
    }
}

#[derive(Debug)]
struct Origin {
    tree: Node,
    file: PathBuf,
    found: bool,
    /// What named the file.
    named: Source,
    /// What named the environment.
    environment: Source,
}

fn defaults(environment: &Environment) -> Node {
    let read = |text: &str| {
        let text = Text { source: Source::Default, text: text.into() };
        Node::parse(text).expect("the defaults are valid: tests::the_defaults_are_valid")
    };
    let mut tree = read(include_str!("config/defaults.toml"));
    if !environment.is_public() {
        tree.overlay(read(include_str!("config/development.toml")));
    }
    #[cfg(feature = "opentelemetry")]
    tree.overlay(read(include_str!("config/traces.toml")));
    #[cfg(feature = "cache")]
    tree.overlay(read(include_str!("config/cache.toml")));
    #[cfg(any(feature = "database", feature = "redis"))]
    tree.overlay(read("sessions.url = \"\""));
    #[cfg(feature = "database")]
    {
        tree.overlay(read(include_str!("config/database.toml")));
        if !environment.is_public() {
            tree.overlay(read("database.migrate_at_start = true"));
        }
        if *environment == Environment::Test {
            tree.overlay(read("database.temporary = true"));
        }
    }
    tree
}

fn default_of<T: DeserializeOwned>(table: &str) -> T {
    let tree = defaults(&Environment::Production);
    let node = tree.find(table).unwrap_or(&tree);
    read::read(node, table, &[], Path::new("")).expect("the defaults are valid: tests::the_defaults_are_valid")
}
