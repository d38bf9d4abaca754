#![doc = include_str!("../docs/deploy.md")]

mod build;
mod builtin;
mod error;
mod graph;
mod ini;
mod registry;
mod toml;

pub use build::Section;
pub use error::DeployError;
pub use graph::{Graph, Kind};
pub use registry::{Factory, NoOptions, OptionInfo, Registry};

use crate::config::tree::{Kind as Shape, Node, Text, same_key};
use crate::config::{Setting, Source, secret};
use crate::{BoxMiddleware, BoxService, Config, Error, Result, Server, Service};
use build::At;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Before the variables that stand above a file: `PURLIN_DEPLOY__LAYER__GZIP__MIN_SIZE`.
const VARIABLES: &str = "PURLIN_DEPLOY__";

/// Files of one deployment, in bytes: a megabyte each is more than anybody writes.
const FILE: u64 = 1 << 20;

/// Loads an application from a file: `config:site.toml#main`, `site.toml`, with what Purlin itself has registered.
///
/// # Errors
///
/// [`DeployError`] with its place, and whatever makes it impossible to build.
///
/// ```no_run
/// let app = purlin::deploy::load_app("config:site.toml#main")?;
/// # Ok::<(), purlin::Error>(())
/// ```
pub fn load_app(uri: &str) -> Result<BoxService> {
    let deployment = Deploy::from_process(Registry::new()).open(uri)?;
    deployment.app(deployment.name())
}

/// Loads a layer from a file, to be put into a stack in code: `config:site.toml#gzip`.
///
/// # Errors
///
/// As [`load_app`].
pub fn load_layer(uri: &str) -> Result<BoxMiddleware> {
    let deployment = Deploy::from_process(Registry::new()).open(uri)?;
    deployment.layer(deployment.name())
}

/// Loads a server from a file, without an application.
///
/// # Errors
///
/// As [`load_app`].
pub fn load_server(uri: &str) -> Result<Server> {
    let deployment = Deploy::from_process(Registry::new()).open(uri)?;
    deployment.server(deployment.name())
}

/// The values of an application's section, with what it inherits, and without building anything.
///
/// # Errors
///
/// As [`load_app`].
pub fn load_config(uri: &str) -> Result<Values> {
    let deployment = Deploy::from_process(Registry::new()).open(uri)?;
    deployment.values(Kind::App, deployment.name())
}

/// Runs a site like [`purlin::run`](crate::run()), with what it registers for files.
///
/// The site's own stack is `app:main` there, unless it registers another.
///
/// ```no_run
/// use purlin::deploy::Registry;
/// use purlin::{Config, Result, Router, Service, Stack, get};
///
/// fn stack(_: Config) -> Result<impl Service> {
///     Ok(Stack::new().app(Router::new().route("/", get(async || "Hello, world!"))))
/// }
///
/// fn main() -> std::process::ExitCode {
///     purlin::deploy::run(Registry::new(), stack)
/// }
/// ```
pub fn run<S: Service + 'static>(registry: Registry, stack: impl FnOnce(Config) -> Result<S>) -> ExitCode {
    crate::run::started(stack, registry)
}

/// Opens a file: with these registered names, this configuration, these variables.
///
/// ```
/// use purlin::deploy::{Deploy, Graph, NoOptions, Registry};
/// use purlin::{Router, get};
///
/// let registry = Registry::new()
///     .app("app:hello", |_: NoOptions, _| Ok(Router::new().route("/", get(async || "hello"))));
/// let graph = Graph::from_toml("site.toml", r#"
///     [app.main]
///     pipeline = ["purlin:request_ids", "limit", "app:hello"]
///
///     [layer.limit]
///     use = "purlin:deadline"
///     limit = "10s"
/// "#)?;
/// let deployment = Deploy::new(registry).set("layer.limit.limit", "5s").graph(graph)?;
/// let app = deployment.app("main")?;
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// Client::new(app).get("/").await.assert_contains("hello");
/// # });
/// # Ok::<(), purlin::Error>(())
/// ```
pub struct Deploy {
    registry: Registry,
    config: Option<Config>,
    vars: BTreeMap<String, String>,
    set: Vec<(String, String)>,
}

impl Deploy {
    /// Knows nothing of the process.
    pub fn new(registry: Registry) -> Self {
        Self { registry, config: None, vars: BTreeMap::new(), set: Vec::new() }
    }

    /// With the variables of this process.
    pub fn from_process(registry: Registry) -> Self {
        let vars =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { vars: vars.collect(), ..Self::new(registry) }
    }

    /// The configuration of the site; by default that of the process is loaded when something asks for it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// A variable of the environment, as if the process had it.
    pub fn var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }

    /// Sets a key of the first file, `layer.gzip.min_size`, above the environment and the file: for a command line.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.set.push((key.into(), value.into()));
        self
    }

    /// Opens the file that `uri` names: `config:site.toml#main`, where both `config:` and the name may be left out. A path that
    /// is not absolute lies below the current directory.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not what it should be.
    pub fn open(self, uri: &str) -> Result<Deployment> {
        let path = uri.strip_prefix("config:").unwrap_or(uri);
        let (path, name) = path.split_once('#').unwrap_or((path, "main"));
        let graph = read(Path::new(path), None)?;
        self.opened(graph, name)
    }

    /// The same of a graph that is read already.
    ///
    /// # Errors
    ///
    /// A variable or a key that is set belongs to nothing in it.
    pub fn graph(self, graph: Graph) -> Result<Deployment> {
        self.opened(graph, "main")
    }

    fn opened(self, mut graph: Graph, name: &str) -> Result<Deployment> {
        for (variable, value) in &self.vars {
            let Some(words) = variable.strip_prefix(VARIABLES) else { continue };
            let words: Vec<&str> = words.splitn(3, "__").collect();
            lay_over(&mut graph, &words, variable, value)?;
        }
        for (key, value) in &self.set {
            let words: Vec<&str> = key.splitn(3, '.').collect();
            lay_over(&mut graph, &words, &format!("--set {key}"), value)?;
        }
        let config = OnceLock::new();
        if let Some(given) = self.config {
            let _ = config.set(given);
        }
        Ok(Deployment {
            registry: self.registry,
            config,
            vars: self.vars,
            name: name.to_owned(),
            root: Arc::new(graph),
            files: Mutex::default(),
        })
    }
}

/// Lays the value of a variable over a key of the graph.
fn lay_over(graph: &mut Graph, words: &[&str], source: &str, value: &str) -> Result<(), DeployError> {
    let text = Arc::new(Text { source: Source::Variable(source.to_owned()), text: value.to_owned() });
    let node = Node { kind: Shape::Loose(value.to_owned()), key: 0..0, span: 0..value.len(), text };
    // `min_size` keeps its underscores: two lead on, and names with hyphens have none.
    let (table, key) = match words {
        [defaults, key] if same_key("defaults", defaults) => (&mut graph.defaults, *key),
        [kind, name, key] => {
            let kind = Kind::ALL.into_iter().find(|known| same_key(known.word(), kind));
            let Some(kind) = kind else {
                return Err(DeployError::at(&node, "expected `app`, `layer`, `server` or `defaults` first"));
            };
            let written = graph.sections().find(|(of, known)| *of == kind && same_key(known, name));
            let Some(written) = written.map(|(_, name)| name.to_owned()) else {
                return Err(DeployError::at(&node, graph.no_such(kind, &name.to_lowercase())));
            };
            let section = graph.sections.get_mut(&(kind, written)).expect("it was found above");
            if ["use", "pipeline", "mount", "cascade", "next", "with", "globals"].iter().any(|word| same_key(word, key))
            {
                let problem = format!("`{}` says what the section is, and stands in the file only", key.to_lowercase());
                return Err(DeployError::at(&node, problem));
            }
            (&mut section.options, *key)
        }
        _ => {
            let problem = "expected a kind, the name of a section and a key, as in `layer.gzip.min_size`";
            return Err(DeployError::at(&node, problem));
        }
    };
    let known = table.keys().find(|known| same_key(known, key)).cloned();
    let in_words = if source.starts_with(VARIABLES) { key.to_lowercase() } else { key.to_owned() };
    table.insert(known.unwrap_or(in_words), node);
    Ok(())
}

fn read(path: &Path, named: Option<&Node>) -> Result<Graph, DeployError> {
    let unreadable = |source| DeployError::unreadable(named, path, source);
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE {
        let problem = format!("expected a file of {FILE} bytes at most, found {size}");
        return Err(named
            .map_or_else(|| DeployError::new(path, problem.clone()), |node| DeployError::at(node, problem.clone())));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    Graph::from_text(path, &text)
}

/// A file with those that it names, from which applications, layers and servers are built.
pub struct Deployment {
    registry: Registry,
    config: OnceLock<Config>,
    vars: BTreeMap<String, String>,
    name: String,
    root: Arc<Graph>,
    files: Mutex<BTreeMap<PathBuf, Arc<Graph>>>,
}

impl Deployment {
    /// The name that the URI had, or `main`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the first file says, with what variables lay over it.
    pub fn graph(&self) -> &Graph {
        &self.root
    }

    /// Builds an application of the first file.
    ///
    /// # Errors
    ///
    /// [`DeployError`], for everything that is wrong with a file; and whatever else makes it impossible to build.
    pub fn app(&self, name: &str) -> Result<BoxService> {
        let at = At::root(self);
        at.build_app(at.named(Kind::App, name)?)
    }

    /// Builds a layer of the first file, without those that its `with` names: a line of code puts it into a stack.
    ///
    /// # Errors
    ///
    /// As [`app`](Self::app); or it is several layers.
    pub fn layer(&self, name: &str) -> Result<BoxMiddleware> {
        let at = At::root(self);
        let mut layers = at.build_layers(at.named(Kind::Layer, name)?)?;
        match (layers.pop(), layers.is_empty()) {
            (Some(layer), true) => Ok(layer),
            _ => Err(Error::internal(format!("[layer.{name}] is several layers, because of its `with`"))),
        }
    }

    /// A server of the first file, without what it serves.
    ///
    /// # Errors
    ///
    /// As [`app`](Self::app).
    pub fn server(&self, name: &str) -> Result<Server> {
        let at = At::root(self);
        let resolved = at.named(Kind::Server, name)?;
        build::server(&at, &resolved, &self.registry)
    }

    /// What the file starts: each server by its name, with the application that its key `app` names, `main` by default.
    ///
    /// Of several servers those start that have the key, and the one that is called `main`. A file without a server starts
    /// one on 127.0.0.1:8000.
    ///
    /// # Errors
    ///
    /// As [`app`](Self::app).
    pub fn servers(&self) -> Result<Vec<(String, Server, BoxService)>> {
        let names: Vec<&str> =
            self.root.sections().filter(|(kind, _)| *kind == Kind::Server).map(|(_, name)| name).collect();
        if names.is_empty() {
            return Ok(vec![("main".to_owned(), Server::new(), self.app(&self.name)?)]);
        }
        let mut servers = Vec::new();
        for name in &names {
            let at = At::root(self);
            let resolved = at.named(Kind::Server, name)?;
            let app = match &resolved.app {
                // `FILE#NAME` asks for one application.
                Some(_) if self.name != "main" && names.len() > 1 => continue,
                Some(link) if self.name == "main" => at.app(link, &resolved.globals)?,
                _ if *name == "main" || names.len() == 1 => self.app(&self.name)?,
                _ => continue,
            };
            servers.push(((*name).to_owned(), build::server(&at, &resolved, &self.registry)?, app));
        }
        Ok(servers)
    }

    /// The values of a section, with what it inherits, and without building anything.
    ///
    /// # Errors
    ///
    /// As [`app`](Self::app), but for what only building finds.
    pub fn values(&self, kind: Kind, name: &str) -> Result<Values> {
        let resolved = At::root(self).named(kind, name)?;
        let settings = |table: BTreeMap<String, Node>| -> Vec<Setting> {
            table.into_iter().map(|(key, node)| setting(key, &node)).collect()
        };
        let mut options = resolved.options.clone();
        let mut rest = Vec::new();
        if let Some((factory, place)) = resolved.factory()
            && let Ok(factory) = self.registry.find(factory, kind, place, &resolved.title)
        {
            if let Shape::Table(all) = resolved.options_for(factory)?.kind {
                options = all;
            }
            let unset = factory.options.iter().flatten().filter(|option| !options.contains_key(option.name));
            rest.extend(unset.filter(|option| !option.default.is_empty()).map(|option| Setting {
                key: option.name.to_owned(),
                value: option.default.to_owned(),
                source: Source::Default,
            }));
        }
        let factory = resolved.factory().map(|(name, _)| name.to_owned());
        let mut options = settings(options);
        options.extend(rest);
        Ok(Values { factory, options, globals: settings(resolved.globals) })
    }

    /// Builds everything that the first file has, and checks that each application fits together.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<()> {
        for (kind, name) in self.root.sections() {
            match kind {
                Kind::App => drop(crate::site::Outline::of(&self.app(name)?)?),
                Kind::Layer => {
                    let at = At::root(self);
                    at.build_layers(at.named(kind, name)?)?;
                }
                Kind::Server => drop(self.server(name)?),
            }
        }
        self.servers().map(drop)
    }

    fn config(&self) -> Result<&Config> {
        if self.config.get().is_none() {
            let _ = self.config.set(Config::load()?);
        }
        Ok(self.config.get().expect("it was set above"))
    }

    /// A file that another names, read once.
    fn file(&self, path: &Path, named: Option<&Node>) -> Result<Arc<Graph>, DeployError> {
        let found = fs::canonicalize(path).map_err(|source| DeployError::unreadable(named, &shown(path), source))?;
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // The first file has values of variables laid over it, and is not read anew.
        if fs::canonicalize(&self.root.path).is_ok_and(|root| root == found) {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(graph) = files.get(&found) {
            return Ok(Arc::clone(graph));
        }
        let graph = Arc::new(read(&shown(&found), named)?);
        files.insert(found, Arc::clone(&graph));
        Ok(graph)
    }
}

/// Relative to the current directory where it can be: shorter, and a link in most terminals.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).to_owned()
}

fn setting(key: String, node: &Node) -> Setting {
    let mut value = build::plain(node);
    if !value.is_empty() && (secret::is_secret(&key) || secret::has_login(&value)) {
        value = secret::MASK.into();
    }
    Setting { key, value, source: node.source() }
}

/// The values of a section: what [`load_config`] returns. Secrets are masked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Values {
    /// What makes it; `None` where it is put together from other sections.
    pub factory: Option<String>,
    /// Its options, each with where its value comes from.
    pub options: Vec<Setting>,
    /// The values that all below it see.
    pub globals: Vec<Setting>,
}

impl Values {
    /// The value of an option.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|setting| setting.key == key).map(|setting| setting.value.as_str())
    }

    /// A global value.
    pub fn global(&self, key: &str) -> Option<&str> {
        self.globals.iter().find(|setting| setting.key == key).map(|setting| setting.value.as_str())
    }
}

/// Without values: the variables of the process are among them.
impl fmt::Debug for Deploy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deploy").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment").field("root", &self.root).finish_non_exhaustive()
    }
}
