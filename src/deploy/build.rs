//! Looks up what sections refer to, and builds it.

use super::graph::{Body, Graph, Kind, Link, Mount, Section as Written, Table, Target, folder_of};
use super::registry::{self, Factory};
use super::{DeployError, Deployment, builtin};
use crate::config::tree::{Kind as Shape, Node};
use crate::config::{Source, secret};
use crate::nearest::nearest;
use crate::router::encoded;
use crate::{BoxMiddleware, BoxService, Config, Error, Hosts, Result, Router};
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Sections that may be in one another; nobody's site is that deep, and the stack of the loader is not endless.
const DEPTH: usize = 64;

/// What one load may build: two mounts in each of 50 sections would be more than there is memory for.
const BUILT: usize = 10_000;

/// What a value may come to, with its variables.
const VALUE: usize = 64 * 1024;

/// What all values of one load may come to: a variable counts its length and [`VARIABLE`], so that empty ones have an end too.
const FILLED: usize = 32 << 20;
const VARIABLE: usize = 64;

/// Where in the graph the walk is.
#[derive(Clone)]
pub(super) struct At<'d> {
    pub(super) deployment: &'d Deployment,
    graph: Arc<Graph>,
    chain: Vec<(PathBuf, Kind, String)>,
    /// What `${NAME}` means in this file, beside a section's own keys; none before a section of the file has been entered.
    named: Option<Rc<Table>>,
    spent: Rc<Spent>,
}

/// What a load has come to.
#[derive(Default)]
struct Spent {
    built: Cell<usize>,
    filled: Cell<usize>,
}

/// A section with what it uses, and its values.
pub(super) struct Resolved<'d> {
    pub(super) head: Node,
    pub(super) title: String,
    pub(super) options: Table,
    pub(super) globals: Table,
    /// The defaults of its options.
    named: Rc<Table>,
    here: PathBuf,
    made: Made,
    /// The layers around it, the outermost first, with where they are looked up.
    with: Vec<(At<'d>, Link)>,
    /// Where what it refers to is looked up.
    at: At<'d>,
    /// What a server serves, with where it is looked up.
    app: Option<(At<'d>, Link)>,
}

/// What is mounted at one host.
#[derive(Default)]
struct Below<'m> {
    router: Router,
    table: matchit::Router<()>,
    paths: BTreeSet<&'m str>,
    /// What the applications below a path are called.
    names: BTreeSet<String>,
    /// The name of the one at the root, whose routes are called as it calls them.
    at_root: Option<String>,
}

/// What the variables of a value may name.
struct Scope<'s> {
    /// The keys beside it, as they are written.
    locals: &'s Table,
    /// What else `${NAME}` means, with its own variables put in already.
    named: &'s Table,
    /// What `${global.NAME}` means.
    globals: &'s Table,
    /// The keys beside it are themselves the globals of those below.
    of_defaults: bool,
}

enum Made {
    Factory(String, Node),
    Around(Link, Link),
    Pipeline(Vec<Link>, Link),
    Mount(Vec<Mounted>),
    Cascade(Vec<Link>),
}

/// An entry of a mount with its variables put in.
struct Mounted {
    host: Option<String>,
    path: String,
    place: Node,
    app: Link,
}

/// The section that an application or layer is made for: what it may ask, besides its options.
pub struct Section<'s> {
    at: &'s At<'s>,
    resolved: &'s Resolved<'s>,
}

impl Section<'_> {
    /// The configuration of the site.
    ///
    /// # Errors
    ///
    /// It was not given to the deployment, and that of the process cannot be read.
    pub fn config(&self) -> Result<&Config> {
        self.at.deployment.config()
    }

    /// The folder of the file in which the section says what makes it.
    pub fn here(&self) -> &Path {
        &self.resolved.here
    }

    /// The path that an option has, from the folder of the file in which this option is written: a section may stand in another
    /// file than the one that it takes by `use`. What variables and the command line set is below the folder of the first file.
    pub fn path(&self, option: &str, path: impl AsRef<Path>) -> PathBuf {
        let written = self.resolved.options.get(option).or_else(|| self.resolved.named.get(option));
        let folder = match written.map(|node| &node.text.source) {
            Some(Source::File { path, .. }) => folder_of(path),
            Some(_) => self.at.deployment.root.here(),
            None => self.resolved.here.clone(),
        };
        folder.join(path)
    }

    /// `[app.main]`
    pub fn title(&self) -> &str {
        &self.resolved.title
    }

    /// A value of `[defaults]`, or of the `globals` of this section or of one that refers to it.
    pub fn global(&self, name: &str) -> Option<String> {
        self.resolved.globals.get(name).map(plain)
    }

    /// Builds another application of the file, as a composite needs it: `NAME`, `FILE#NAME`, or a registered name.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be built.
    pub fn app(&self, name: &str) -> Result<BoxService> {
        let link = self.link(name, Kind::App)?;
        self.at.app(&link, &self.resolved.globals)
    }

    /// Builds a layer of the file.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be built.
    pub fn layer(&self, name: &str) -> Result<BoxMiddleware> {
        let link = self.link(name, Kind::Layer)?;
        let mut layers = self.at.layers(&link, &self.resolved.globals)?;
        match (layers.pop(), layers.is_empty()) {
            (Some(layer), true) => Ok(layer),
            _ => {
                Err(Error::internal(format!("`{name}` is several layers, because of its `with`: name them one by one")))
            }
        }
    }

    fn link(&self, name: &str, kind: Kind) -> Result<Link> {
        Ok(Link::read(name, &self.resolved.head, kind, &self.at.graph.names(), None)?)
    }

    pub(super) fn read<O: DeserializeOwned>(&self, options: &Node) -> Result<O> {
        let read = registry::read_options(options, &self.at.graph.path);
        Ok(read.map_err(|error| DeployError::from_config(error, &self.resolved.title, &self.resolved.head))?)
    }

    /// Names the section that could not be made, unless the error names a place in a file already.
    pub(super) fn failed(&self, error: Error) -> Error {
        if error.find_cause::<DeployError>().is_some() {
            return error;
        }
        let mut causes = error.chain().collect::<Vec<_>>().join(": ");
        for secret in secrets(&self.resolved.options).filter(|secret| !secret.is_empty()) {
            causes = causes.replace(&secret, secret::MASK);
        }
        DeployError::at(&self.resolved.head, format!("{} cannot be made: {causes}", self.resolved.title)).into()
    }
}

impl<'d> At<'d> {
    pub(super) fn root(deployment: &'d Deployment) -> Self {
        let graph = Arc::clone(&deployment.root);
        Self { deployment, graph, chain: Vec::new(), named: None, spent: Rc::default() }
    }

    /// The defaults of the first file.
    pub(super) fn defaults(&self) -> Result<Table, DeployError> {
        let none = Table::new();
        let scope = Scope { locals: &self.graph.defaults, named: &none, globals: &none, of_defaults: true };
        self.expand_all(&self.graph.defaults, &scope)
    }

    /// A section of the first file by its name.
    pub(super) fn named(&self, kind: Kind, name: &str) -> Result<Resolved<'d>, DeployError> {
        self.resolve(kind, name, None, &Table::new(), &Table::new())
    }

    fn resolve(
        &self,
        kind: Kind,
        name: &str,
        named: Option<&Node>,
        inherited: &Table,
        forced: &Table,
    ) -> Result<Resolved<'d>, DeployError> {
        let graph = &self.graph;
        let Some(section) = graph.section(kind, name) else {
            let registered = format!("purlin:{name}");
            let registered = self.deployment.registry.has(&registered, kind).then_some(registered.as_str());
            let problem = graph.no_such(kind, name, registered);
            return Err(match named {
                Some(node) => DeployError::at(node, problem),
                None => DeployError::new(&graph.path, problem),
            });
        };
        let place = named.unwrap_or(&section.head);
        let mut at = self.within(graph, section, place)?;

        // What is set in this file is above what comes from another one, whose names are not this file's.
        let (below, named) = match &self.named {
            Some(named) => (inherited.clone(), Table::clone(named)),
            None => {
                let scope = Scope { locals: &graph.defaults, named: inherited, globals: inherited, of_defaults: true };
                let own = at.expand_all(&graph.defaults, &scope)?;
                (over(own.clone(), inherited), over(inherited.clone(), &own))
            }
        };
        let locals = &section.options;
        let scope = Scope { locals, named: &named, globals: &below, of_defaults: false };
        let mine = over(at.expand_all(&section.globals, &scope)?, forced);
        let (globals, named) = (over(below, &mine), Rc::new(over(named, &mine)));
        at.named = Some(Rc::clone(&named));
        let scope = Scope { locals, named: &named, globals: &globals, of_defaults: false };
        let options = at.expand_all(locals, &scope)?;
        let with = section.with.iter().map(|link| Ok((at.clone(), at.filled(link, Kind::Layer, None, &scope)?)));
        let with = with.collect::<Result<Vec<_>, DeployError>>()?;
        let app = section.app.as_ref().map(|link| at.filled(link, Kind::App, None, &scope)).transpose()?;
        let app = app.map(|link| (at.clone(), link));

        let made = match &section.body {
            Body::Use(link) => {
                let link = at.filled(link, kind, Some(name), &scope)?;
                match at.factory(&link, kind) {
                    Some(factory) => Made::Factory(factory.to_owned(), link.node.clone()),
                    None => {
                        let (next, name) = at.follow(&link)?;
                        let mut base = next.resolve(kind, &name, Some(&link.node), &globals, &mine)?;
                        if let Some((key, node)) = options.iter().next().filter(|_| !base.takes_options()) {
                            let title = format!("{}, which {} uses,", base.title, section.title());
                            return Err(DeployError::at_key(node, super::toml::no_options(&title, key)));
                        }
                        base.options.extend(options);
                        base.with = with.into_iter().chain(std::mem::take(&mut base.with)).collect();
                        base.title = section.title();
                        base.head = section.head.clone();
                        base.app = app.or(base.app);
                        return Ok(base);
                    }
                }
            }
            Body::Around(layer, next) => {
                Made::Around(at.filled(layer, Kind::Layer, None, &scope)?, at.filled(next, Kind::App, None, &scope)?)
            }
            Body::Pipeline(layers, app) => {
                let mut links = Vec::new();
                for layer in layers {
                    links.extend(at.words(layer, Kind::Layer, &scope)?);
                }
                links.extend(at.words(app, Kind::App, &scope)?);
                match links.pop() {
                    Some(app) => Made::Pipeline(links, app),
                    None => {
                        return Err(DeployError::at(&app.node, "expected an application at the end, found nothing"));
                    }
                }
            }
            Body::Mount(mounts) => {
                Made::Mount(mounts.iter().map(|mount| at.mounted(mount, &scope)).collect::<Result<_, _>>()?)
            }
            Body::Cascade(apps) => {
                let apps = apps.iter().map(|link| at.filled(link, Kind::App, None, &scope));
                Made::Cascade(apps.collect::<Result<_, _>>()?)
            }
        };
        let (head, title) = (section.head.clone(), section.title());
        Ok(Resolved { head, title, options, globals, named, here: graph.here(), made, with, at, app })
    }

    /// A reference with its variables put in.
    fn filled(&self, link: &Link, kind: Kind, own: Option<&str>, scope: &Scope<'_>) -> Result<Link, DeployError> {
        let Target::Unfilled(text) = &link.target else { return Ok(link.clone()) };
        let (text, _, _) = self.fill(text, &link.node, scope, 0)?;
        Link::read(&text, &link.node, kind, &self.graph.names(), own)
    }

    /// The same in a pipeline, where a variable of an INI file may be several words: layers, and at the end of `last` what it is.
    fn words(&self, link: &Link, last: Kind, scope: &Scope<'_>) -> Result<Vec<Link>, DeployError> {
        let is_variable = |text: &str| {
            text.strip_prefix("${").and_then(|rest| Some(end_of(rest)? + 1 == rest.len())).unwrap_or(false)
        };
        match (&link.target, &link.node.kind) {
            (Target::Unfilled(text), Shape::Loose(_)) if is_variable(text) => {
                let (text, _, _) = self.fill(text, &link.node, scope, 0)?;
                let (names, words) = (self.graph.names(), text.split_whitespace().collect::<Vec<_>>());
                let kind = |at: usize| if at + 1 == words.len() { last } else { Kind::Layer };
                let words = words.iter().enumerate();
                words.map(|(at, word)| Link::read(word, &link.node, kind(at), &names, None)).collect()
            }
            _ => Ok(vec![self.filled(link, last, None, scope)?]),
        }
    }

    fn mounted(&self, mount: &Mount, scope: &Scope<'_>) -> Result<Mounted, DeployError> {
        let text = |node: &Node| Ok(plain(&self.expand(node, scope, 0)?));
        let host = mount.host.as_ref().map(|node| {
            let host = text(node)?;
            crate::hosts::canonical(&host).ok_or_else(|| {
                let problem = format!(
                    "expected a host as example.org or *.example.org, in punycode, or an address, with or without a port, \
                     found {host:?}"
                );
                DeployError::at(node, problem)
            })
        });
        let (host, place, path) = (host.transpose()?, mount.path.clone(), text(&mount.path)?);
        if !path.starts_with('/') {
            let problem = format!("expected a path that begins with a slash, found {path:?}");
            return Err(DeployError::at(&place, problem));
        }
        Ok(Mounted { host, path, place, app: self.filled(&mount.app, Kind::App, None, scope)? })
    }

    /// One section further, unless it has been met on the way.
    fn within(&self, graph: &Arc<Graph>, section: &Written, place: &Node) -> Result<Self, DeployError> {
        let step = (graph.path.clone(), section.kind, section.name.clone());
        if let Some(first) = self.chain.iter().position(|met| *met == step) {
            let round = self.chain[first..].iter().chain([&step]);
            // Of several files each has its own `[app.main]`.
            let one = self.chain[first..].iter().all(|(file, ..)| *file == graph.path);
            let file = |path: &Path| if one { String::new() } else { format!("{} ", path.display()) };
            let round: Vec<String> =
                round.map(|(path, kind, name)| format!("{}[{}.{name}]", file(path), kind.word())).collect();
            return Err(DeployError::at(place, format!("sections go round in a circle: {}", round.join(" -> "))));
        }
        if self.chain.len() >= DEPTH {
            return Err(DeployError::at(place, format!("sections stand in one another more than {DEPTH} deep")));
        }
        self.count(place)?;
        let mut chain = self.chain.clone();
        chain.push(step);
        Ok(Self { graph: Arc::clone(graph), chain, ..self.clone() })
    }

    fn count(&self, place: &Node) -> Result<(), DeployError> {
        self.spent.built.set(self.spent.built.get() + 1);
        match self.spent.built.get() > BUILT {
            true => Err(DeployError::at(place, format!("more than {BUILT} sections would be built, each use counted"))),
            false => Ok(()),
        }
    }

    /// The registered name that a reference means. `app:main` is what is registered, if there is such a thing, before the section
    /// `main`: it is the site's own stack, which a section of that name mostly stands around.
    fn factory<'l>(&self, link: &'l Link, kind: Kind) -> Option<&'l str> {
        match (&link.target, &link.whole) {
            (Target::Factory(factory), _) => Some(factory),
            (Target::Name(_), Some(whole)) => self.deployment.registry.has(whole, kind).then_some(whole),
            _ => None,
        }
    }

    /// The file that a reference leads into, and the name there.
    fn follow(&self, link: &Link) -> Result<(Self, String), DeployError> {
        match &link.target {
            Target::File(path, name) => {
                let graph = self.deployment.file(&self.graph.here().join(path), Some(&link.node))?;
                let named = self.named.clone().filter(|_| Arc::ptr_eq(&graph, &self.graph));
                Ok((Self { graph, named, ..self.clone() }, name.clone()))
            }
            Target::Name(name) | Target::Factory(name) | Target::Unfilled(name) => Ok((self.clone(), name.clone())),
        }
    }

    pub(super) fn app(&self, link: &Link, globals: &Table) -> Result<BoxService> {
        if let Some(factory) = self.factory(link, Kind::App) {
            return self.build_app(self.without_section(factory, link, globals)?);
        }
        let (at, name) = self.follow(link)?;
        self.build_app(at.resolve(Kind::App, &name, Some(&link.node), globals, &Table::new())?)
    }

    /// The layers that a reference means: one, and those that its `with` puts around it.
    pub(super) fn layers(&self, link: &Link, globals: &Table) -> Result<Vec<BoxMiddleware>> {
        if let Some(factory) = self.factory(link, Kind::Layer) {
            return self.build_layers(self.without_section(factory, link, globals)?);
        }
        let (at, name) = self.follow(link)?;
        self.build_layers(at.resolve(Kind::Layer, &name, Some(&link.node), globals, &Table::new())?)
    }

    /// What is registered, named where a section could be.
    fn without_section(&self, factory: &str, link: &Link, globals: &Table) -> Result<Resolved<'d>, DeployError> {
        self.count(&link.node)?;
        Ok(Resolved {
            head: link.node.clone(),
            title: format!("`{factory}`"),
            options: Table::new(),
            globals: globals.clone(),
            named: self.named.clone().unwrap_or_default(),
            here: self.graph.here(),
            made: Made::Factory(factory.to_owned(), link.node.clone()),
            with: Vec::new(),
            at: self.clone(),
            app: None,
        })
    }

    pub(super) fn build_app(&self, resolved: Resolved<'d>) -> Result<BoxService> {
        let (at, globals) = (&resolved.at, &resolved.globals);
        let registry = &self.deployment.registry;
        let app = match &resolved.made {
            Made::Factory(name, place) => {
                let factory = registry.find(name, Kind::App, place, &resolved.title)?;
                let options = resolved.options_for(factory)?;
                registry.make_app(name, &options, &Section { at, resolved: &resolved })?
            }
            Made::Around(layer, next) => {
                let mut layers = at.build_layers(at.wrapped(layer, &resolved)?)?;
                let app = at.app(next, globals)?;
                around(&mut layers, app)
            }
            Made::Pipeline(layers, app) => {
                let mut built = Vec::new();
                for layer in layers {
                    built.extend(at.layers(layer, globals)?);
                }
                around(&mut built, at.app(app, globals)?)
            }
            Made::Mount(mounts) => at.mount(mounts, &resolved)?,
            Made::Cascade(apps) => {
                let section = Section { at, resolved: &resolved };
                let options = resolved.options_for(registry.cascade())?;
                let made = builtin::cascade(section.read(&options)?);
                let mut cascade = made.map_err(|error| section.failed(error))?;
                let mut names = BTreeSet::new();
                for link in apps {
                    let name = name_of(&link.target);
                    let name = unused(&mut names, &name, &name);
                    cascade = cascade.app_named(&name, at.app(link, globals)?);
                }
                BoxService::new(cascade)
            }
        };
        let mut layers = Vec::new();
        for (at, link) in &resolved.with {
            layers.extend(at.layers(link, globals)?);
        }
        Ok(around(&mut layers, app))
    }

    /// A layer that gets the options of the section it is named in.
    fn wrapped(&self, link: &Link, resolved: &Resolved<'d>) -> Result<Resolved<'d>, DeployError> {
        let mut layer = match self.factory(link, Kind::Layer) {
            Some(factory) => self.without_section(factory, link, &resolved.globals)?,
            None => {
                let (at, name) = self.follow(link)?;
                at.resolve(Kind::Layer, &name, Some(&link.node), &resolved.globals, &Table::new())?
            }
        };
        layer.options.extend(resolved.options.clone());
        (layer.title, layer.head) = (resolved.title.clone(), resolved.head.clone());
        Ok(layer)
    }

    pub(super) fn build_layers(&self, resolved: Resolved<'d>) -> Result<Vec<BoxMiddleware>> {
        let registry = &self.deployment.registry;
        let Made::Factory(name, place) = &resolved.made else { unreachable!("the readers make layers by `use` only") };
        let factory = registry.find(name, Kind::Layer, place, &resolved.title)?;
        let options = resolved.options_for(factory)?;
        let layer = registry.make_layer(name, &options, &Section { at: &resolved.at, resolved: &resolved })?;
        let mut layers = Vec::new();
        for (at, link) in &resolved.with {
            layers.extend(at.layers(link, &resolved.globals)?);
        }
        layers.push(layer.written_at(resolved.head.source()));
        Ok(layers)
    }

    fn mount(&self, mounts: &[Mounted], resolved: &Resolved<'d>) -> Result<BoxService> {
        // By host first, since each host's paths are its own.
        let mut by_host: BTreeMap<Option<&str>, Below<'_>> = BTreeMap::new();
        for mount in mounts {
            let below = by_host.entry(mount.host.as_deref()).or_default();
            let path = mount.path.trim_end_matches('/');
            if below.paths.contains(path) {
                let problem = format!("{} mounts two applications at {}", resolved.title, mount.path);
                return Err(DeployError::at(&mount.app.node, problem).into());
            }
            // The router finds the same, and would name a line of this file here.
            if let Err(error) = below.table.insert(format!("{}/{{*rest}}", encoded(path)), ()) {
                let problem = match error {
                    matchit::InsertError::Conflict { with } => {
                        let with = with.trim_end_matches("/{*rest}");
                        format!("{path} is in conflict with {with}: a request could match both")
                    }
                    _ => format!("expected a path as /blog or /users/{{id}}, found {path:?}"),
                };
                return Err(DeployError::at(&mount.place, problem).into());
            }
            below.paths.insert(path);
            let app = self.app(&mount.app, &resolved.globals)?;
            let name = name_of(&mount.app.target);
            let router = std::mem::take(&mut below.router);
            // Two applications of one graph may have routes of equal names.
            below.router = match path.is_empty() {
                true => {
                    below.at_root = Some(name);
                    router.mount("/", app)
                }
                false => router.mount_named(&unused(&mut below.names, &name, path), path, app),
            };
        }
        let mut rest = by_host.remove(&None).unwrap_or_default();
        if by_host.is_empty() {
            return Ok(BoxService::new(rest.router));
        }
        let mut hosts = Hosts::new();
        for (host, below) in by_host {
            let host = host.unwrap_or_default();
            let name = below.at_root.as_deref().unwrap_or(host);
            hosts = hosts.host_named(&unused(&mut rest.names, name, host), host, below.router);
        }
        match rest.paths.is_empty() {
            true => Ok(BoxService::new(hosts)),
            false => Ok(BoxService::new(hosts.fallback(rest.router))),
        }
    }

    fn expand_all(&self, table: &Table, scope: &Scope<'_>) -> Result<Table, DeployError> {
        table.iter().map(|(key, node)| Ok((key.clone(), self.expand(node, scope, 0)?))).collect()
    }

    /// A value with its variables put in.
    fn expand(&self, node: &Node, scope: &Scope<'_>, depth: usize) -> Result<Node, DeployError> {
        let mut secret = node.secret;
        let kind = match &node.kind {
            Shape::Text(text) | Shape::Loose(text) if text.contains("${") => {
                let (text, variable, is_secret) = self.fill(text, node, scope, depth)?;
                secret |= is_secret;
                match &node.kind {
                    Shape::Text(_) if !variable => Shape::Text(text),
                    // What a variable brings is a text, whatever it is to be.
                    _ => Shape::Loose(text),
                }
            }
            Shape::List(items) => {
                let items = items.iter().map(|item| self.expand(item, scope, depth));
                Shape::List(items.collect::<Result<_, _>>()?)
            }
            Shape::Table(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(key, node)| Ok((key.clone(), self.expand(node, scope, depth)?)));
                Shape::Table(entries.collect::<Result<_, DeployError>>()?)
            }
            other => other.clone(),
        };
        Ok(Node { kind, secret, ..node.clone() })
    }

    /// A text with its variables put in; whether there were any, and a secret among them.
    fn fill(
        &self,
        text: &str,
        node: &Node,
        scope: &Scope<'_>,
        depth: usize,
    ) -> Result<(String, bool, bool), DeployError> {
        if depth > 16 {
            return Err(DeployError::at(node, "the variables of this value go round in a circle"));
        }
        let (mut filled, mut any, mut secret, mut rest) = (String::new(), false, false, text);
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$${") {
                filled.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let Some(end) = end_of(after) else {
                    return Err(at_variable(node, "${", "expected `}` after this `${`; `$${` is the text `${`".into()));
                };
                any = true;
                let (value, is_secret) = self.variable(&after[..end], node, scope, depth)?;
                secret |= is_secret;
                let spent = self.spent.filled.get() + value.len() + VARIABLE;
                self.spent.filled.set(spent);
                if spent > FILLED {
                    let problem =
                        format!("all variables of the file come to more than {FILLED} bytes, each use counted");
                    return Err(DeployError::at(node, problem));
                }
                filled.push_str(&value);
                rest = &after[end + 1..];
            } else {
                filled.push('$');
                rest = &rest[1..];
            }
            if filled.len() > VALUE {
                return Err(DeployError::at(
                    node,
                    format!("with its variables the value is longer than {VALUE} bytes"),
                ));
            }
        }
        filled.push_str(rest);
        Ok((filled, any, secret))
    }

    /// The value of a variable, and whether it is a secret.
    fn variable(
        &self,
        written: &str,
        node: &Node,
        scope: &Scope<'_>,
        depth: usize,
    ) -> Result<(String, bool), DeployError> {
        let (name, default) = match written.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (written, None),
        };
        let of_node = |node: &Node| (plain(node), node.secret);
        let of_local = |node: &Node| Ok::<_, DeployError>(of_node(&self.expand(node, scope, depth + 1)?));
        let of_process = |text: String| (text, false);
        let found = if name == "here" {
            Some(of_process(self.graph.here().display().to_string()))
        } else if name == "file" {
            let path = std::path::absolute(&self.graph.path).unwrap_or_else(|_| self.graph.path.clone());
            Some(of_process(path.display().to_string()))
        } else if let Some(name) = name.strip_prefix("env:") {
            // An empty variable is one that is not set, as in the shell's `:-`.
            self.deployment.vars.get(name).filter(|value| !value.is_empty()).cloned().map(of_process)
        } else if let Some(name) = name.strip_prefix("global.") {
            match (scope.globals.get(name), scope.locals.get(name).filter(|_| scope.of_defaults)) {
                (Some(global), _) => Some(of_node(global)),
                (None, default) => default.map(of_local).transpose()?,
            }
        } else {
            match scope.locals.get(name) {
                Some(local) => Some(of_local(local)?),
                None => scope.named.get(name).map(of_node),
            }
        };
        if let Some((value, is_secret)) = found {
            let is_secret = is_secret || secret::is_secret(name) || secret::has_login(&value);
            return Ok((value, is_secret));
        }
        if let Some(default) = default {
            let (text, _, is_secret) = self.fill(default, node, scope, depth + 1)?;
            return Ok((text, is_secret || secret::is_secret(name)));
        }
        let known: Vec<String> = match name.split_once('.') {
            Some(("global", _)) => scope.globals.keys().map(|key| format!("global.{key}")).collect(),
            _ => scope.locals.keys().chain(scope.named.keys()).cloned().collect(),
        };
        let hint = match nearest(name, known.iter().map(String::as_str)) {
            _ if name.starts_with("env:") => "set it, or give a default as `${env:NAME:-default}`".into(),
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "expected `here`, `env:NAME`, `global.NAME` or a key of this section".into(),
        };
        Err(at_variable(node, name, format!("the variable `{name}` is not set: {hint}")))
    }
}

/// Where the brace ends that is open at the beginning of `text`; those in it come in pairs.
fn end_of(text: &str) -> Option<usize> {
    let mut open = 1_usize;
    text.bytes().position(|byte| {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        open == 0
    })
}

/// The name that an application's routes get beside others: that of its section, or of its file where it is all of that.
fn name_of(target: &Target) -> String {
    match target {
        Target::File(path, name) if name == "main" => {
            Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
        }
        Target::File(_, name) | Target::Name(name) => name.clone(),
        Target::Factory(name) | Target::Unfilled(name) => name.replace(':', "-"),
    }
}

/// A name that is not used yet: else the other, which is a path, a host or a name again; and with a number at last.
fn unused(names: &mut BTreeSet<String>, name: &str, other: &str) -> String {
    let other = other.trim_matches('/').replace('/', "-");
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut all = [name.to_owned(), other].into_iter().filter(|name| !name.is_empty()).chain(numbered);
    let name = all.find(|name| !names.contains(name)).unwrap_or_default();
    names.insert(name.clone());
    name
}

/// The texts that a table has, and nobody is to see.
pub(super) fn secrets(table: &Table) -> impl Iterator<Item = String> {
    fn collect(key: &str, node: &Node, above: bool, found: &mut Vec<String>) {
        let is_secret = above || node.secret || secret::is_secret(key);
        match &node.kind {
            Shape::Table(entries) => entries.iter().for_each(|(key, node)| collect(key, node, is_secret, found)),
            Shape::List(items) => items.iter().for_each(|node| collect("", node, is_secret, found)),
            _ => {
                let text = plain(node);
                if is_secret || secret::has_login(&text) {
                    found.push(text);
                }
            }
        }
    }
    let mut found = Vec::new();
    table.iter().for_each(|(key, node)| collect(key, node, false, &mut found));
    found.into_iter()
}

/// At the variable itself, where it stands in the value.
fn at_variable(node: &Node, name: &str, problem: String) -> DeployError {
    let written = node.text.text.get(node.span.clone()).unwrap_or_default();
    match written.find(name) {
        Some(at) => {
            let start = node.span.start + at;
            DeployError::of(&node.text, &(start..start + name.len()), problem)
        }
        None => DeployError::at(node, problem),
    }
}

impl<'d> Resolved<'d> {
    fn takes_options(&self) -> bool {
        matches!(self.made, Made::Factory(..) | Made::Around(..) | Made::Cascade(_))
    }

    /// What gets its options: the layer, where it is one around an application.
    pub(super) fn maker(self, kind: Kind) -> Result<(Kind, Self), DeployError> {
        match &self.made {
            Made::Around(layer, _) => Ok((Kind::Layer, self.at.wrapped(layer, &self)?)),
            _ => Ok((kind, self)),
        }
    }

    pub(super) fn is_cascade(&self) -> bool {
        matches!(self.made, Made::Cascade(_))
    }

    /// What a server serves, if it says so.
    pub(super) fn app(&self) -> Option<Result<BoxService>> {
        let (at, link) = self.app.as_ref()?;
        Some(at.app(link, &self.globals))
    }

    /// The name of what it is made by; none for what is put together from others.
    pub(super) fn factory(&self) -> Option<(&str, &Node)> {
        match &self.made {
            Made::Factory(name, place) => Some((name, place)),
            _ => None,
        }
    }

    /// Its options, and of what the file has as defaults those that the factory knows: above the factory's own.
    pub(super) fn options_for(&self, factory: &Factory) -> Result<Node, DeployError> {
        let mut options = self.options.clone();
        if let Some(known) = &factory.options {
            if let Some((key, node)) = options.iter().find(|(key, _)| !known.iter().any(|option| option.name == **key))
            {
                return Err(registry::unknown(factory, &self.title, key, node));
            }
            for option in known {
                if let Some(global) = self.named.get(option.name) {
                    options.entry(option.name.to_owned()).or_insert_with(|| global.clone());
                }
            }
        }
        Ok(registry::table_of(options, &self.head))
    }
}

fn around(layers: &mut Vec<BoxMiddleware>, app: BoxService) -> BoxService {
    layers.drain(..).rev().fold(app, |next, layer| layer.around(next))
}

fn over(mut below: Table, above: &Table) -> Table {
    below.extend(above.iter().map(|(key, node)| (key.clone(), node.clone())));
    below
}

/// A value as text, as `${…}` puts it in.
pub(super) fn plain(node: &Node) -> String {
    match &node.kind {
        Shape::Text(text) | Shape::Loose(text) => text.clone(),
        Shape::Integer(Some(number)) => number.to_string(),
        Shape::Float(number) => number.to_string(),
        Shape::Boolean(boolean) => boolean.to_string(),
        _ => node.written(),
    }
}

/// A value for people: texts as they are, and lists in TOML.
pub(super) fn told(node: &Node) -> String {
    let item = |node: &Node| match &node.kind {
        Shape::Text(text) | Shape::Loose(text) => format!("{text:?}"),
        _ => told(node),
    };
    match &node.kind {
        Shape::List(items) => format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", ")),
        Shape::Table(entries) if entries.is_empty() => "{}".to_owned(),
        Shape::Table(entries) => {
            let entries = entries.iter().map(|(key, node)| format!("{key} = {}", item(node)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        _ => plain(node),
    }
}

/// The server of a section.
pub(super) fn server(resolved: &Resolved<'_>, base: crate::Server) -> Result<crate::Server> {
    let at = &resolved.at;
    let Some((name, place)) = resolved.factory() else { unreachable!("the readers make servers by `use` only") };
    let factory = at.deployment.registry.find(name, Kind::Server, place, &resolved.title)?;
    let options = resolved.options_for(factory)?;
    let section = Section { at, resolved };
    builtin::server(section.read(&options)?, base, &section).map_err(|error| section.failed(error))
}
