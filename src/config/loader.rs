//! Finds the layers of a configuration and lays them upon each other.

use super::error::{ConfigError, Position};
use super::secret::{self, Secret, SecretKeys};
use super::tree::{Node, Text};
use super::{
    Config, Environment, ErrorsConfig, LogConfig, Origin, ReportsConfig, ServerConfig, Source, TemplatesConfig,
    UploadsConfig, defaults, read, units,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt, fs, io};

/// Loads a [`Config`] from what it is given; a new one knows nothing of the process.
#[derive(Clone, Default)]
pub struct Loader {
    root: Option<PathBuf>,
    environment: Option<String>,
    toml: Option<String>,
    vars: BTreeMap<String, OsString>,
}

impl Loader {
    /// A loader with no folder, file or variable.
    pub fn new() -> Self {
        Self::default()
    }

    /// A loader with the variables of this process, and the site's folder found as the module's page says.
    ///
    /// A program that takes `--listen` loads with `Loader::from_process().var("PURLIN__SERVER__LISTEN", address)`.
    pub fn from_process() -> Self {
        let vars = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self::new().root(site_folder()).vars(vars)
    }

    /// The site's folder: `config/` is looked for in it, and `.purlin/secret` made. By default there is none, and
    /// nothing is read or written.
    pub fn root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.root = Some(folder.into());
        self
    }

    /// The environment's name; by default `PURLIN_ENV`.
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = Some(name.into());
        self
    }

    /// What stands for the contents of `config/NAME.toml`; by default the file is read.
    pub fn toml(mut self, text: impl Into<String>) -> Self {
        self.toml = Some(text.into());
        self
    }

    /// A variable, as if the process had it.
    pub fn var(self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.vars([(name.into(), value.into())])
    }

    /// Several variables; those that are not Purlin's do not matter.
    pub fn vars<N: Into<String>, V: Into<OsString>>(mut self, vars: impl IntoIterator<Item = (N, V)>) -> Self {
        let vars = vars.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.vars.extend(vars.filter(|(name, _)| name.starts_with("PURLIN_")));
        self
    }

    /// Forgets `PURLIN_CONFIG`: what it names is for the site, not for its tests.
    pub(super) fn without_named_file(mut self) -> Self {
        self.vars.remove(FILE);
        self
    }

    /// Reads the layers, and checks them.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn load(self) -> Result<Config, ConfigError> {
        let (environment, chosen) = self.find_environment()?;
        let mut tree = defaults(&environment);
        let known: Vec<String> = tree.leaves().into_iter().map(|(key, _)| key).collect();

        let (file, named, text) = self.find_file(&environment)?;
        let found = text.is_some();
        if let Some(text) = text {
            let source = Source::File { path: file.clone(), line: 1 };
            tree.overlay(Node::parse(Text { source, text })?);
        }
        for (name, value) in &self.vars {
            let source = Source::Variable(name.clone());
            if let Some(words) = name.strip_prefix("PURLIN__") {
                let text = utf8(value).map_err(|problem| {
                    let position = Position::nowhere(source.clone());
                    ConfigError::Invalid { position, key: words.to_lowercase().replace("__", "."), problem }
                })?;
                tree.set(words, Node::raw(Text { source, text }));
            } else if let Some(nearest) = known.iter().find(|known| same_words(name, known)) {
                // `PURLIN_SECRET` would be forgotten without a word.
                let (position, key, nearest) = (Position::nowhere(source), nearest.clone(), Some(nearest.clone()));
                return Err(ConfigError::UnknownKey { position, key, nearest, known: Vec::new() });
            }
        }

        let mut settings: Settings = read::read(&tree, "", &known, &file)?;
        let (secret, warning) = self.find_secret(&environment, settings.secret, &mut tree)?;
        for (key, list) in [("secret", std::slice::from_ref(&secret)), ("old_secrets", &settings.old_secrets)] {
            let weakness = list.iter().find_map(|secret| secret::weakness(secret, environment.is_public()));
            if let (Some(problem), Some(node)) = (weakness, tree.find(key)) {
                let position = Position::new(&node.text, &node.span, true);
                return Err(ConfigError::Invalid { position, key: key.into(), problem });
            }
        }
        let root = self.root.unwrap_or_else(|| ".".into());
        let tls = &mut settings.server.tls;
        let more = tls.more.values_mut().flat_map(|files| [&mut files.certificate, &mut files.key]);
        let places = [&mut settings.uploads.folder, &mut settings.reports.folder, &mut tls.certificate, &mut tls.key];
        for folder in places.into_iter().chain(more) {
            if !folder.as_os_str().is_empty() {
                *folder = root.join(&*folder);
            }
        }
        let mut config = Config {
            environment,
            root,
            secret: SecretKeys::new(secret).old(settings.old_secrets),
            https: settings.https,
            body_limit: settings.body_limit,
            answer_within: settings.answer_within,
            server: settings.server,
            log: settings.log,
            errors: settings.errors,
            reports: settings.reports,
            templates: settings.templates,
            #[cfg(feature = "opentelemetry")]
            traces: settings.traces,
            #[cfg(feature = "cache")]
            cache: settings.cache,
            #[cfg(feature = "database")]
            database: settings.database,
            uploads: settings.uploads,
            #[cfg(any(feature = "database", feature = "redis"))]
            sessions: settings.sessions,
            warnings: Vec::from_iter(warning),
            origin: Arc::new(Origin { tree, file, found, named, environment: chosen }),
        };
        if config.errors.details && config.environment.is_public() {
            config.warnings.push(format!(
                "{}: `errors.details` is on in the {} environment: \
                 error pages show the site's source and the causes to every visitor",
                config.source_of_details(),
                config.environment
            ));
        }
        Ok(config)
    }

    /// The secret that was chosen, or one that is made here and noted in the tree; and a warning.
    fn find_secret(
        &self,
        environment: &Environment,
        chosen: Secret,
        tree: &mut Node,
    ) -> Result<(Secret, Option<String>), ConfigError> {
        if !chosen.expose().is_empty() {
            return Ok((chosen, None));
        }
        if environment.is_public() {
            return Err(ConfigError::NoSecret { environment: environment.to_string() });
        }
        let keeper = self.root.as_deref().filter(|_| *environment == Environment::Development);
        let (secret, source, warning) = match keeper.map(secret::of_developer) {
            Some(Ok((secret, path))) => (secret, Source::File { path: shown(path), line: 1 }, None),
            Some(Err(warning)) => (secret::random(), Source::Generated, Some(warning)),
            None => (secret::random(), Source::Generated, None),
        };
        tree.set("SECRET", Node::raw(Text { source, text: secret.expose_str().into() }));
        Ok((secret, warning))
    }

    fn find_environment(&self) -> Result<(Environment, Source), ConfigError> {
        let variable = self.vars.get(ENVIRONMENT).map(utf8).transpose();
        let variable = variable.map_err(|problem| ConfigError::Environment { problem })?.unwrap_or_default();
        let source = if variable.is_empty() || self.environment.is_some() {
            Source::Default
        } else {
            Source::Variable(ENVIRONMENT.into())
        };
        Ok((Environment::named(self.environment.as_ref().unwrap_or(&variable))?, source))
    }

    /// The file's name, who named it, and its text if it is there.
    fn find_file(&self, environment: &Environment) -> Result<(PathBuf, Source, Option<String>), ConfigError> {
        let name = format!("{environment}.toml");
        if let Some(text) = &self.toml {
            return Ok((Path::new("config").join(name), Source::Default, Some(text.clone())));
        }
        if let Some(path) = self.vars.get(FILE).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            let text = read_text(&path)?;
            return Ok((path, Source::Variable(FILE.into()), Some(text)));
        }
        let Some(root) = &self.root else { return Ok((Path::new("config").join(name), Source::Default, None)) };
        let path = shown(root.join("config").join(&name));
        match read_text(&path) {
            Ok(text) => Ok((path, Source::Default, Some(text))),
            Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let files = toml_files(root);
                if matches!(environment, Environment::Other(_)) && !files.is_empty() {
                    // A slip in the name would otherwise start the site with the defaults.
                    let there = files.join(", ");
                    let found = environment.name();
                    let problem = format!("expected an environment with a file in config/ ({there}), found {found:?}");
                    return Err(ConfigError::Environment { problem });
                }
                Ok((path, Source::Default, None))
            }
            Err(error) => Err(error),
        }
    }
}

/// Without the variables' values, among which are secrets.
impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vars: Vec<&String> = self.vars.keys().collect();
        let Self { root, environment, .. } = self;
        f.debug_struct("Loader").field("root", root).field("environment", environment).field("vars", &vars).finish()
    }
}

const ENVIRONMENT: &str = "PURLIN_ENV";
const FILE: &str = "PURLIN_CONFIG";

/// The file's own shape.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    secret: Secret,
    old_secrets: Vec<Secret>,
    https: bool,
    #[serde(deserialize_with = "units::size")]
    body_limit: u64,
    #[serde(deserialize_with = "units::limit")]
    answer_within: Duration,
    server: ServerConfig,
    log: LogConfig,
    errors: ErrorsConfig,
    reports: ReportsConfig,
    templates: TemplatesConfig,
    #[cfg(feature = "opentelemetry")]
    traces: super::TracesConfig,
    #[cfg(feature = "cache")]
    cache: super::CacheConfig,
    #[cfg(feature = "database")]
    database: super::DatabaseConfig,
    uploads: UploadsConfig,
    #[cfg(any(feature = "database", feature = "redis"))]
    sessions: super::SessionsConfig,
    #[serde(rename = "app")]
    _app: IgnoredAny,
}

/// Whether `PURLIN_SERVER_LISTEN` means `server.listen`.
fn same_words(variable: &str, key: &str) -> bool {
    variable.strip_prefix("PURLIN_").is_some_and(|words| words.eq_ignore_ascii_case(&key.replace('.', "_")))
}

fn utf8(value: &OsString) -> Result<String, String> {
    value.clone().into_string().map_err(|_| "expected a text in UTF-8, found other bytes".into())
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let text = Text { source: Source::File { path: path.into(), line: 1 }, text };
        let position = Position::new(&text, &(good..good + 1), true);
        ConfigError::Syntax { position, problem: "expected a text in UTF-8, found another byte".into() }
    })
}

/// The `.toml` files in the folder's `config/`, by name.
fn toml_files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("config")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".toml"));
    names.sort();
    names
}

fn site_folder() -> PathBuf {
    // Set by `cargo run` and `cargo test`. Before the current directory, which may be a workspace's with a `config/` of
    // its own, or a folder further down.
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let program = env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    folder_with_files([package, env::current_dir().ok(), program])
}

/// The first folder with a `config/`, or else the first.
pub(super) fn folder_with_files(folders: [Option<PathBuf>; 3]) -> PathBuf {
    let mut folders = folders.into_iter().flatten().peekable();
    let first = folders.peek().cloned().unwrap_or_else(|| ".".into());
    folders.find(|folder| !toml_files(folder).is_empty()).unwrap_or(first)
}

/// Relative to the current directory where it can be: shorter, and a link in most terminals.
fn shown(path: PathBuf) -> PathBuf {
    let here = env::current_dir().ok().filter(|here| here.parent().is_some());
    here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or(path)
}
