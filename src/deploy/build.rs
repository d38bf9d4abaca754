//! Looks up what sections refer to, and builds it.

use super::graph::{Body, Graph, Kind, Link, Mount, Section as Written, Table, Target};
use super::registry::{self, Factory, Registry};
use super::{DeployError, Deployment};
use crate::config::tree::{Kind as Shape, Node};
use crate::nearest::nearest;
use crate::{BoxMiddleware, BoxService, Cascade, Config, Error, Hosts, Result, Router, Stack};
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Sections that may be in one another; nobody's site is that deep, and the stack of the loader is not endless.
const DEPTH: usize = 64;

/// What one load may build: two mounts in each of 50 sections would be more than there is memory for.
const BUILT: usize = 10_000;

/// What a value may come to, with its variables.
const VALUE: usize = 64 * 1024;

/// Where in the graph the walk is.
#[derive(Clone)]
pub(super) struct At<'d> {
    pub(super) deployment: &'d Deployment,
    graph: Arc<Graph>,
    chain: Vec<(PathBuf, Kind, String)>,
    built: Rc<Cell<usize>>,
}

/// A section with what it uses, and its values.
pub(super) struct Resolved<'d> {
    pub(super) head: Node,
    pub(super) title: String,
    pub(super) options: Table,
    pub(super) globals: Table,
    here: PathBuf,
    made: Made,
    /// The layers around it, the outermost first, with where they are looked up.
    with: Vec<(At<'d>, Link)>,
    /// Where what it refers to is looked up.
    at: At<'d>,
    pub(super) app: Option<Link>,
}

/// What the variables of a value may name.
struct Scope<'s> {
    /// The keys beside it, as they are written.
    locals: &'s Table,
    /// What is above, with its own variables put in already.
    globals: &'s Table,
    /// The keys beside it are themselves the globals of those below.
    of_defaults: bool,
}

enum Made {
    Factory(String, Node),
    Around(Link, Link),
    Pipeline(Vec<Link>, Link),
    Mount(Vec<Mount>),
    Cascade(Vec<Link>),
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

    /// The folder of the file that the section stands in.
    pub fn here(&self) -> &Path {
        &self.resolved.here
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
        let names = self.at.graph.sections.keys().cloned().collect();
        Ok(Link::read(name, &self.resolved.head, kind, &names, None)?)
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
        let causes = error.chain().collect::<Vec<_>>().join(": ");
        DeployError::at(&self.resolved.head, format!("{} cannot be made: {causes}", self.resolved.title)).into()
    }
}

impl<'d> At<'d> {
    pub(super) fn root(deployment: &'d Deployment) -> Self {
        let graph = Arc::clone(&deployment.root);
        Self { deployment, graph, chain: Vec::new(), built: Rc::new(Cell::new(0)) }
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
            let problem = graph.no_such(kind, name);
            return Err(match named {
                Some(node) => DeployError::at(node, problem),
                None => DeployError::new(&graph.path, problem),
            });
        };
        let place = named.unwrap_or(&section.head);
        let at = self.within(graph, section, place)?;

        let scope = Scope { locals: &graph.defaults, globals: inherited, of_defaults: true };
        let below = over(at.expand_all(&graph.defaults, &scope)?, inherited);
        let scope = Scope { locals: &section.options, globals: &below, of_defaults: false };
        let mine = over(at.expand_all(&section.globals, &scope)?, forced);
        let globals = over(below, &mine);
        let scope = Scope { locals: &section.options, globals: &globals, of_defaults: false };
        let options = at.expand_all(&section.options, &scope)?;
        let with = section.with.iter().map(|link| (at.clone(), link.clone()));

        let made = match &section.body {
            Body::Use(link) if at.factory(link, kind).is_some() => {
                Made::Factory(at.factory(link, kind).unwrap_or_default().to_owned(), link.node.clone())
            }
            Body::Use(link) => {
                let (next, name) = at.follow(link)?;
                let mut base = next.resolve(kind, &name, Some(&link.node), &globals, &mine)?;
                if let Some((key, node)) = options.iter().next().filter(|_| !base.takes_options()) {
                    let title = format!("{}, which {} uses,", base.title, section.title());
                    return Err(DeployError::at_key(node, super::toml::no_options(&title, key)));
                }
                base.options.extend(options);
                base.with = with.chain(std::mem::take(&mut base.with)).collect();
                base.title = section.title();
                base.head = section.head.clone();
                if let Some(app) = &section.app {
                    base.app = Some(app.clone());
                }
                return Ok(base);
            }
            Body::Around(layer, next) => Made::Around(layer.clone(), next.clone()),
            Body::Pipeline(layers, app) => Made::Pipeline(layers.clone(), app.clone()),
            Body::Mount(mounts) => Made::Mount(mounts.clone()),
            Body::Cascade(apps) => Made::Cascade(apps.clone()),
        };
        let with = with.collect();
        let (head, title, app) = (section.head.clone(), section.title(), section.app.clone());
        Ok(Resolved { head, title, options, globals, here: graph.here(), made, with, at, app })
    }

    /// One section further, unless it has been met on the way.
    fn within(&self, graph: &Arc<Graph>, section: &Written, place: &Node) -> Result<Self, DeployError> {
        let step = (graph.path.clone(), section.kind, section.name.clone());
        if let Some(first) = self.chain.iter().position(|met| *met == step) {
            let round = self.chain[first..].iter().chain([&step]);
            let round: Vec<String> = round.map(|(_, kind, name)| format!("[{}.{name}]", kind.word())).collect();
            return Err(DeployError::at(place, format!("sections go round in a circle: {}", round.join(" -> "))));
        }
        if self.chain.len() >= DEPTH {
            return Err(DeployError::at(place, format!("sections stand in one another more than {DEPTH} deep")));
        }
        self.built.set(self.built.get() + 1);
        if self.built.get() > BUILT {
            return Err(DeployError::at(place, format!("more than {BUILT} sections would be built, each use counted")));
        }
        let mut chain = self.chain.clone();
        chain.push(step);
        Ok(Self { graph: Arc::clone(graph), chain, ..self.clone() })
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
                Ok((Self { graph, ..self.clone() }, name.clone()))
            }
            Target::Name(name) | Target::Factory(name) => Ok((self.clone(), name.clone())),
        }
    }

    pub(super) fn app(&self, link: &Link, globals: &Table) -> Result<BoxService> {
        if let Some(factory) = self.factory(link, Kind::App) {
            let resolved = self.without_section(factory, link, globals);
            return self.build_app(resolved);
        }
        let (at, name) = self.follow(link)?;
        self.build_app(at.resolve(Kind::App, &name, Some(&link.node), globals, &Table::new())?)
    }

    /// The layers that a reference means: one, and those that its `with` puts around it.
    pub(super) fn layers(&self, link: &Link, globals: &Table) -> Result<Vec<BoxMiddleware>> {
        if let Some(factory) = self.factory(link, Kind::Layer) {
            let resolved = self.without_section(factory, link, globals);
            return self.build_layers(resolved);
        }
        let (at, name) = self.follow(link)?;
        self.build_layers(at.resolve(Kind::Layer, &name, Some(&link.node), globals, &Table::new())?)
    }

    /// What is registered, named where a section could be.
    fn without_section(&self, factory: &str, link: &Link, globals: &Table) -> Resolved<'d> {
        Resolved {
            head: link.node.clone(),
            title: format!("`{factory}`"),
            options: Table::new(),
            globals: globals.clone(),
            here: self.graph.here(),
            made: Made::Factory(factory.to_owned(), link.node.clone()),
            with: Vec::new(),
            at: self.clone(),
            app: None,
        }
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
                let mut layers = at.layers_with(layer, &resolved)?;
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
                let apps = apps.iter().map(|app| at.app(app, globals)).collect::<Result<Vec<_>>>()?;
                BoxService::new(apps.into_iter().fold(Cascade::new(), Cascade::app))
            }
        };
        let mut layers = Vec::new();
        for (at, link) in &resolved.with {
            layers.extend(at.layers(link, globals)?);
        }
        Ok(around(&mut layers, app))
    }

    /// A layer that gets the options of the section it is named in.
    fn layers_with(&self, link: &Link, resolved: &Resolved<'d>) -> Result<Vec<BoxMiddleware>> {
        let mut layer = match self.factory(link, Kind::Layer) {
            Some(factory) => self.without_section(factory, link, &resolved.globals),
            None => {
                let (at, name) = self.follow(link)?;
                at.resolve(Kind::Layer, &name, Some(&link.node), &resolved.globals, &Table::new())?
            }
        };
        layer.options.extend(resolved.options.clone());
        (layer.title, layer.head) = (resolved.title.clone(), resolved.head.clone());
        self.build_layers(layer)
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

    fn mount(&self, mounts: &[Mount], resolved: &Resolved<'d>) -> Result<BoxService> {
        // By host first, since each host's paths are its own.
        let mut by_host: BTreeMap<Option<&str>, (Router, Vec<&str>)> = BTreeMap::new();
        for mount in mounts {
            let (router, paths) = by_host.entry(mount.host.as_deref()).or_default();
            let path = mount.path.trim_end_matches('/');
            if paths.contains(&path) {
                let problem = format!("{} mounts two applications at {}", resolved.title, mount.path);
                return Err(DeployError::at(&mount.app.node, problem).into());
            }
            paths.push(path);
            let app = self.app(&mount.app, &resolved.globals)?;
            // Two applications of one graph may have routes of equal names.
            let name = match &mount.app.target {
                Target::Name(name) | Target::File(_, name) | Target::Factory(name) => name.replace(':', "-"),
            };
            let below = std::mem::take(router);
            *router = if path.is_empty() { below.mount("/", app) } else { below.mount_named(&name, path, app) };
        }
        let mut rest = by_host.remove(&None).map(|(router, _)| router);
        if by_host.is_empty() {
            return Ok(BoxService::new(rest.unwrap_or_default()));
        }
        let mut hosts = Hosts::new();
        for (host, (router, _)) in by_host {
            hosts = hosts.host(host.unwrap_or_default(), router);
        }
        if let Some(rest) = rest.take() {
            hosts = hosts.fallback(rest);
        }
        Ok(BoxService::new(hosts))
    }

    fn expand_all(&self, table: &Table, scope: &Scope<'_>) -> Result<Table, DeployError> {
        table.iter().map(|(key, node)| Ok((key.clone(), self.expand(node, scope, 0)?))).collect()
    }

    /// A value with its variables put in.
    fn expand(&self, node: &Node, scope: &Scope<'_>, depth: usize) -> Result<Node, DeployError> {
        let kind = match &node.kind {
            Shape::Text(text) | Shape::Loose(text) if text.contains("${") => {
                let (text, variable) = self.fill(text, node, scope, depth)?;
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
        Ok(Node { kind, ..node.clone() })
    }

    fn fill(&self, text: &str, node: &Node, scope: &Scope<'_>, depth: usize) -> Result<(String, bool), DeployError> {
        if depth > 16 {
            return Err(DeployError::at(node, "the variables of this value go round in a circle"));
        }
        let (mut filled, mut any, mut rest) = (String::new(), false, text);
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$${") {
                filled.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let Some((variable, after)) = after.split_once('}') else {
                    return Err(at_variable(node, "${", "expected `}` after this `${`; `$${` is the text `${`".into()));
                };
                any = true;
                filled.push_str(&self.variable(variable, node, scope, depth)?);
                rest = after;
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
        Ok((filled, any))
    }

    fn variable(&self, written: &str, node: &Node, scope: &Scope<'_>, depth: usize) -> Result<String, DeployError> {
        let (name, default) = match written.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (written, None),
        };
        let (found, known) = if name == "here" {
            (Some(self.graph.here().display().to_string()), Vec::new())
        } else if name == "file" {
            let path = std::path::absolute(&self.graph.path).unwrap_or_else(|_| self.graph.path.clone());
            (Some(path.display().to_string()), Vec::new())
        } else if let Some(name) = name.strip_prefix("env:") {
            // An empty variable is one that is not set, as in the shell's `:-`.
            (self.deployment.vars.get(name).filter(|value| !value.is_empty()).cloned(), Vec::new())
        } else if let Some(name) = name.strip_prefix("global.") {
            let default = || scope.locals.get(name).filter(|_| scope.of_defaults);
            let value = match (scope.globals.get(name), default()) {
                (Some(global), _) => Some(plain(global)),
                (None, Some(default)) => Some(plain(&self.expand(default, scope, depth + 1)?)),
                (None, None) => None,
            };
            (value, scope.globals.keys().map(|key| format!("global.{key}")).collect())
        } else {
            let value = match scope.locals.get(name) {
                Some(local) => Some(plain(&self.expand(local, scope, depth + 1)?)),
                None => scope.globals.get(name).map(plain),
            };
            (value, scope.locals.keys().chain(scope.globals.keys()).cloned().collect())
        };
        if let Some(value) = found.or(default.map(str::to_owned)) {
            return Ok(value);
        }
        let hint = match nearest(name, known.iter().map(String::as_str)) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if name.starts_with("env:") => "set it, or give a default as `${env:NAME:-default}`".into(),
            None => "expected `here`, `env:NAME`, `global.NAME` or a key of this section".into(),
        };
        Err(at_variable(node, name, format!("the variable `{name}` is not set: {hint}")))
    }
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

impl Resolved<'_> {
    fn takes_options(&self) -> bool {
        matches!(self.made, Made::Factory(..) | Made::Around(..))
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
                if let Some(global) = self.globals.get(option.name) {
                    options.entry(option.name.to_owned()).or_insert_with(|| global.clone());
                }
            }
        }
        Ok(registry::table_of(options, &self.head))
    }
}

fn around(layers: &mut Vec<BoxMiddleware>, app: BoxService) -> BoxService {
    match layers.is_empty() {
        true => app,
        false => BoxService::new(Stack::new().layer(std::mem::take(layers)).app(app)),
    }
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

/// The server of a section.
pub(super) fn server(at: &At<'_>, resolved: &Resolved<'_>, registry: &Registry) -> Result<crate::Server> {
    let Some((name, place)) = resolved.factory() else { unreachable!("the readers make servers by `use` only") };
    let factory = registry.find(name, Kind::Server, place, &resolved.title)?;
    let options = resolved.options_for(factory)?;
    let section = Section { at, resolved };
    super::builtin::server(section.read(&options)?, &section).map_err(|error| section.failed(error))
}
