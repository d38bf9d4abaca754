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
use crate::config::{ServerConfig, Setting, Source, secret};
use crate::{BoxMiddleware, BoxService, Config, Error, Result, Server, Service};
use build::{At, Resolved};
use graph::{Link, Table};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
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
pub fn run<S: Service + 'static>(
    registry: Registry,
    stack: impl FnOnce(Config) -> Result<S> + Send + 'static,
) -> ExitCode {
    crate::run::started(std::env::args().skip(1).collect(), crate::run::assembly(stack), registry)
}

/// The same with these words in place of the process's command line, as `["serve", "site.toml"]`.
pub fn run_from<S: Service + 'static>(
    arguments: impl IntoIterator<Item = impl Into<String>>,
    registry: Registry,
    stack: impl FnOnce(Config) -> Result<S> + Send + 'static,
) -> ExitCode {
    let arguments = arguments.into_iter().map(Into::into).collect();
    crate::run::started(arguments, crate::run::assembly(stack), registry)
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
        let (path, name) = path.split_once('#').map_or((path, None), |(path, name)| (path, Some(name)));
        let graph = read(Path::new(path), None)?;
        self.opened(graph, name)
    }

    /// The same of a graph that is read already.
    ///
    /// # Errors
    ///
    /// A variable or a key that is set belongs to nothing in it.
    pub fn graph(self, graph: Graph) -> Result<Deployment> {
        self.opened(graph, None)
    }

    fn opened(self, mut graph: Graph, name: Option<&str>) -> Result<Deployment> {
        for (variable, value) in &self.vars {
            let Some(key) = variable.strip_prefix(VARIABLES) else { continue };
            lay_over(&mut graph, key, "__", variable, value)?;
        }
        for (key, value) in &self.set {
            lay_over(&mut graph, key, ".", &format!("--set {key}"), value)?;
        }
        let config = OnceLock::new();
        let server = self.config.as_ref().map(|config| config.server.clone());
        if let Some(given) = self.config {
            let _ = config.set(given);
        }
        Ok(Deployment {
            registry: self.registry,
            config,
            server,
            vars: self.vars,
            name: name.map(str::to_owned),
            root: Arc::new(graph),
            files: Mutex::default(),
        })
    }
}

/// Lays the value of a variable over a key of the graph.
fn lay_over(graph: &mut Graph, path: &str, separator: &str, source: &str, value: &str) -> Result<(), DeployError> {
    let text = Arc::new(Text { source: Source::Variable(source.to_owned()), text: value.to_owned() });
    // It is as it stands: a password may well have a `${`.
    let kind = Shape::Loose(value.replace("${", "$${"));
    let node = Node { kind, key: 0..0, span: 0..value.len(), text, secret: false };
    let incomplete = || {
        let problem = "expected a kind, the name of a section and a key, as in `layer.gzip.min_size`";
        DeployError::at(&node, problem)
    };
    let (kind, rest) = path.split_once(separator).ok_or_else(incomplete)?;
    if same_key("defaults", kind) {
        place(&mut graph.defaults, rest, separator, &node, 0);
        return Ok(());
    }
    let kind = Kind::ALL.into_iter().find(|known| same_key(known.word(), kind));
    let kind = kind.ok_or_else(|| DeployError::at(&node, "expected `app`, `layer`, `server` or `defaults` first"))?;
    let (name, key) = rest.split_once(separator).ok_or_else(incomplete)?;
    let written = graph.sections().find(|(of, known)| *of == kind && same_key(known, name));
    let Some(written) = written.map(|(_, name)| name.to_owned()) else {
        return Err(DeployError::at(&node, graph.no_such(kind, &name.to_lowercase(), None)));
    };
    let names = graph.names();
    let section = graph.sections.get_mut(&(kind, written)).expect("it was found above");
    if kind == Kind::Server && same_key("app", key) {
        section.app = Some(Link::read(value, &node, Kind::App, &names, None)?);
        return Ok(());
    }
    if ["use", "pipeline", "mount", "cascade", "next", "with", "globals"].iter().any(|word| same_key(word, key)) {
        let problem = format!("`{}` says what the section is, and stands in the file only", key.to_lowercase());
        return Err(DeployError::at(&node, problem));
    }
    place(&mut section.options, key, separator, &node, 0);
    Ok(())
}

/// Puts a value at its key, which leads on into tables unless the section has the whole of it.
fn place(table: &mut Table, key: &str, separator: &str, node: &Node, depth: usize) {
    let known = |table: &Table, word: &str| table.keys().find(|known| same_key(known, word)).cloned();
    // `min_size` keeps its underscores: two lead on, and names with hyphens have none. No option is so deep.
    let further = key.split_once(separator).filter(|_| depth < 8 && known(table, key).is_none());
    let word = further.map_or(key, |(word, _)| word);
    let in_words = if separator == "." { word.to_owned() } else { word.to_lowercase() };
    let name = known(table, word).unwrap_or(in_words);
    let Some((_, rest)) = further else {
        table.insert(name, node.clone());
        return;
    };
    let below = table.entry(name).or_insert_with(|| node.clone());
    let written = match &below.kind {
        Shape::Loose(text) => below.loose_toml(text).map(|node| node.kind),
        _ => None,
    };
    if let Some(written) = written {
        below.kind = written;
    }
    if !matches!(below.kind, Shape::Table(_)) {
        *below = Node { kind: Shape::Table(Table::new()), ..node.clone() };
    }
    if let Shape::Table(entries) = &mut below.kind {
        place(entries, rest, separator, node, depth + 1);
    }
}

fn read(path: &Path, named: Option<&Node>) -> Result<Graph, DeployError> {
    let unreadable = |source| DeployError::unreadable(named, path, source);
    let wrong = |problem: String| match named {
        Some(node) => DeployError::at(node, problem),
        None => DeployError::new(path, problem),
    };
    // A device or a pipe has no end, or none yet.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(wrong(format!("expected a file, found something else at {}", path.display())));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // What it holds may differ from what it says that it holds.
    file.take(FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE {
        return Err(wrong(format!("expected a file of {FILE} bytes at most, found more in {}", path.display())));
    }
    let text =
        String::from_utf8(bytes).map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Graph::from_text(path, &text)
}

/// A file with those that it names, from which applications, layers and servers are built.
pub struct Deployment {
    registry: Registry,
    config: OnceLock<Config>,
    /// Of the configuration that was given, and not of one that an application has asked for since.
    server: Option<ServerConfig>,
    vars: BTreeMap<String, String>,
    /// What the URI asks for.
    name: Option<String>,
    root: Arc<Graph>,
    files: Mutex<BTreeMap<PathBuf, Arc<Graph>>>,
}

impl Deployment {
    /// The name that the URI had, or `main`.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("main")
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
        build::server(&At::root(self).named(Kind::Server, name)?, self.base())
    }

    /// What the file starts: each server by its name, with the application that its key `app` names, `main` by default.
    ///
    /// Of several servers those start that have the key, and the one that is called `main`. A file without a server starts
    /// one as the configuration says. If the URI names an application, this one is served, by the server `main` or the only one.
    ///
    /// # Errors
    ///
    /// As [`app`](Self::app); or there is nothing to serve.
    pub fn servers(&self) -> Result<Vec<(String, Server, BoxService)>> {
        let names: Vec<&str> =
            self.root.sections().filter(|(kind, _)| *kind == Kind::Server).map(|(_, name)| name).collect();
        if names.is_empty() {
            return Ok(vec![("main".to_owned(), self.base(), self.app(self.name())?)]);
        }
        let main = names.iter().find(|name| **name == "main" || names.len() == 1);
        let nothing = |problem: &str| {
            let names = names.join("], [server.");
            DeployError::new(&self.root.path, format!("{problem}, of [server.{names}]"))
        };
        if let Some(asked) = &self.name {
            let name = main.ok_or_else(|| {
                nothing(&format!("`#{asked}` would be served by the server `main`, or by the only one: expected one"))
            })?;
            return Ok(vec![((*name).to_owned(), self.server(name)?, self.app(asked)?)]);
        }
        let mut servers = Vec::new();
        for name in &names {
            let resolved = At::root(self).named(Kind::Server, name)?;
            let app = match resolved.app() {
                Some(app) => app?,
                None if main == Some(name) => self.app("main")?,
                None => continue,
            };
            servers.push(((*name).to_owned(), build::server(&resolved, self.base())?, app));
        }
        match servers.is_empty() {
            true => Err(nothing("there is nothing to serve: expected the key `app`, or the name `main`").into()),
            false => Ok(servers),
        }
    }

    /// What servers begin with: the configuration, where it was given.
    fn base(&self) -> Server {
        self.server.as_ref().map_or_else(Server::new, Server::from_config)
    }

    /// The values of a section, with what it inherits, and without building anything.
    ///
    /// # Errors
    ///
    /// As [`app`](Self::app), but for what only building finds.
    pub fn values(&self, kind: Kind, name: &str) -> Result<Values> {
        let (kind, resolved) = At::root(self).named(kind, name)?.maker(kind)?;
        let factory = match resolved.factory() {
            Some((factory, place)) => self.registry.find(factory, kind, place, &resolved.title).ok(),
            None => resolved.is_cascade().then(|| self.registry.cascade()),
        };
        let options = match factory {
            Some(factory) => resolved.options_for(factory)?,
            None => registry::table_of(resolved.options.clone(), &resolved.head),
        };
        let told = factory.iter().flat_map(|factory| factory.options.iter().flatten());
        let unset = told.filter(|option| !option.default.is_empty() && options.find(option.name).is_none());
        let defaults = unset.map(|option| (option.name, option.default)).collect();
        let factory = resolved.factory().map(|(name, _)| name.to_owned());
        let Resolved { title, globals, .. } = resolved;
        Ok(Values { factory, title, options, globals, defaults, file: self.root.path.clone() })
    }

    /// All values of the first file: its defaults, and those of each section.
    pub(crate) fn settings(&self) -> Result<Vec<(Setting, Option<String>)>> {
        let defaults = At::root(self).defaults()?;
        let mut all = Vec::new();
        tell(&defaults, "defaults.", &mut all);
        for (kind, name) in self.root.sections() {
            let values = self.values(kind, name)?;
            let section = format!("{}.{name}.", kind.word());
            all.extend(values.told(&section));
            let same = |key: &String, node: &Node| {
                defaults.get(key).is_some_and(|known| Arc::ptr_eq(&known.text, &node.text) && known.span == node.span)
            };
            let own = values.globals.iter().filter(|(key, node)| !same(key, node));
            let own = own.map(|(key, node)| (key.clone(), node.clone())).collect();
            tell(&own, &format!("{section}globals."), &mut all);
        }
        Ok(all)
    }

    /// The values at a key, `layer.gzip.min_size` or `defaults.admin_email`: several, where there is a table.
    pub(crate) fn explain(&self, key: &str) -> Result<Vec<(Setting, Option<String>)>> {
        let problem = || Error::internal(format!("expected a key such as layer.gzip.min_size, found {key:?}"));
        let (word, rest) = key.split_once('.').ok_or_else(problem)?;
        let mut all = Vec::new();
        if word == "defaults" {
            tell(&At::root(self).defaults()?, "defaults.", &mut all);
        } else {
            let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
            let kind = kind.ok_or_else(|| {
                let hint = crate::nearest::hint(word, Kind::ALL.map(Kind::word).into_iter().chain(["defaults"]));
                Error::internal(format!("there are no sections `{word}`: {hint}"))
            })?;
            let (name, _) = rest.split_once('.').ok_or_else(problem)?;
            let values = self.values(kind, name)?;
            let section = format!("{word}.{name}.");
            all.extend(values.told(&section));
            tell(&values.globals, &format!("{section}globals."), &mut all);
            // A global value is seen where no option has its name.
            tell(&values.globals, &section, &mut all);
        }
        let below = format!("{key}.");
        let mut found: Vec<_> =
            all.iter().filter(|(setting, _)| setting.key == key || setting.key.starts_with(&below)).cloned().collect();
        if found.iter().any(|(setting, _)| setting.key == key) {
            found.truncate(1);
        }
        if found.is_empty() {
            let hint = crate::nearest::hint(key, all.iter().map(|(setting, _)| setting.key.as_str()));
            return Err(Error::internal(format!("there is no setting `{key}`: {hint}")));
        }
        Ok(found)
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

/// The values of a table for people, each with how it is written where variables are in it. Secrets are masked.
fn tell(table: &Table, before: &str, all: &mut Vec<(Setting, Option<String>)>) {
    for (key, node) in table {
        let key = format!("{before}{}", crate::config::tree::join("", key));
        match &node.kind {
            Shape::Table(entries) if !entries.is_empty() && !node.secret => tell(entries, &format!("{key}."), all),
            _ => {
                let mut value = build::told(node);
                // What the command line or the environment sets has no variables, whatever it looks like.
                let in_file = !node.is_variable();
                let has_variable = |written: &String| in_file && (written.contains("${") || written.contains("%("));
                let mut written = Some(node.written()).filter(has_variable);
                let alone = BTreeMap::from([(key.clone(), node.clone())]);
                if !value.is_empty() && (secret::is_secret(&key) || build::secrets(&alone).next().is_some()) {
                    (value, written) = (secret::MASK.into(), None);
                }
                all.push((Setting { key, value, source: node.source() }, written));
            }
        }
    }
}

/// The values of a section: what [`load_config`] returns.
///
/// `Debug`, [`options`](Self::options) and [`globals`](Self::globals) show no secret. [`read`](Self::read),
/// [`option`](Self::option) and [`global`](Self::global) have the values themselves.
///
/// ```
/// use purlin::deploy::{Deploy, Graph, Kind, Registry};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Wiki {
///     database: String,
/// }
///
/// let graph = Graph::from_toml("site.toml", r#"
///     [app.main]
///     use = "app:wiki"
///     database = "postgres://wiki:hunter2@localhost/wiki"
/// "#)?;
/// let values = Deploy::new(Registry::new()).graph(graph)?.values(Kind::App, "main")?;
/// let wiki: Wiki = values.read()?;
/// assert_eq!(wiki.database, "postgres://wiki:hunter2@localhost/wiki");
/// assert_eq!(values.options()[0].value, "•••");
/// # Ok::<(), purlin::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Values {
    /// What makes it; `None` where it is put together from other sections.
    pub factory: Option<String>,
    title: String,
    options: Node,
    globals: Table,
    /// Those of the factory that the section does not set.
    defaults: Vec<(&'static str, &'static str)>,
    file: PathBuf,
}

impl Values {
    /// Reads the options into a type of one's own, as an application of a [`Registry`] gets them.
    ///
    /// # Errors
    ///
    /// [`DeployError`], when they do not fit.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        let read = registry::read_options(&self.options, &self.file);
        Ok(read.map_err(|error| DeployError::from_config(error, &self.title, &self.options))?)
    }

    /// The value of an option as a text, if the section or a default of the file sets it; `quality.gzip` of a table.
    pub fn option(&self, key: &str) -> Option<String> {
        self.options.find(key).map(build::told)
    }

    /// A global value.
    pub fn global(&self, key: &str) -> Option<String> {
        self.globals.get(key).map(build::told)
    }

    /// The options for people, each with where its value comes from, and with the defaults of the factory. Secrets are masked.
    pub fn options(&self) -> Vec<Setting> {
        self.told("").into_iter().map(|(setting, _)| setting).collect()
    }

    /// The values that all below it see, in the same way.
    pub fn globals(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        tell(&self.globals, "", &mut all);
        all.into_iter().map(|(setting, _)| setting).collect()
    }

    fn told(&self, before: &str) -> Vec<(Setting, Option<String>)> {
        let mut all = Vec::new();
        if let Shape::Table(options) = &self.options.kind {
            tell(options, before, &mut all);
        }
        all.extend(self.defaults.iter().map(|(key, value)| {
            let setting =
                Setting { key: format!("{before}{key}"), value: (*value).to_owned(), source: Source::Default };
            (setting, None)
        }));
        all
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values")
            .field("factory", &self.factory)
            .field("options", &self.options())
            .field("globals", &self.globals())
            .finish()
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
