//! Reads a graph from TOML.

use super::DeployError;
use super::graph::{Body, Graph, Kind, Link, Mount, Section, Table, a, text_of};
use crate::config::ConfigError;
use crate::config::tree::{Kind as Shape, Node};
use crate::nearest::{self, nearest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What else stands at the top of a file, beside the kinds.
const DEFAULTS: &str = "defaults";

pub(super) fn read(path: &Path, text: &str) -> Result<Graph, DeployError> {
    let root = Node::parse(text_of(path, text)).map_err(|error| match error {
        error @ ConfigError::Syntax { .. } => DeployError::from_config(error, "", &Node::raw(text_of(path, ""))),
        other => DeployError::new(path, other.to_string()),
    })?;
    let Shape::Table(root) = root.kind else { return Err(DeployError::new(path, "expected a table")) };

    let mut defaults = Table::new();
    let mut written: Vec<(Kind, String, Node)> = Vec::new();
    for (word, node) in root {
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
        match kind {
            None if word == DEFAULTS => defaults = table(node, "[defaults]")?,
            None => {
                let hint = nearest::hint(&word, Kind::ALL.map(Kind::word).into_iter().chain([DEFAULTS]));
                return Err(DeployError::at_key(&node, format!("there are no sections `{word}`: {hint}")));
            }
            Some(kind) => {
                let title = format!("[{word}.NAME]");
                written.extend(table(node, &title)?.into_iter().map(|(name, node)| (kind, name, node)));
            }
        }
    }
    let names: BTreeSet<_> = written.iter().map(|(kind, name, _)| (*kind, name.clone())).collect();
    let mut sections = BTreeMap::new();
    for (kind, name, node) in written {
        let section = section(kind, &name, node, &names)?;
        sections.insert((kind, name), section);
    }
    Ok(Graph { path: path.to_owned(), defaults, sections })
}

fn section(kind: Kind, name: &str, node: Node, names: &BTreeSet<(Kind, String)>) -> Result<Section, DeployError> {
    let head = Node { kind: Shape::Boolean(true), span: node.key.clone(), ..node.clone() };
    let title = format!("[{}.{name}]", kind.word());
    let mut options = table(node, &title)?;
    let link = |node: &Node, kind: Kind, own: Option<&str>| Link::written(text(node, a(kind))?, node, kind, names, own);
    let links = |node: &Node, kind: Kind| -> Result<Vec<Link>, DeployError> {
        list(node, "a list of names")?.iter().map(|item| link(item, kind, None)).collect()
    };
    let globals = options.remove("globals").map(|node| table(node, "`globals`")).transpose()?.unwrap_or_default();
    let of_app = |key: &str, options: &mut Table| (kind == Kind::App).then(|| options.remove(key)).flatten();
    let with = match kind {
        Kind::Server => None,
        _ => options.remove("with"),
    };
    let with = with.map(|node| links(&node, Kind::Layer)).transpose()?.unwrap_or_default();
    let app = (kind == Kind::Server).then(|| options.remove("app")).flatten();
    let app = app.map(|node| link(&node, Kind::App, None)).transpose()?;

    let bodies = [
        ("use", options.remove("use")),
        ("pipeline", of_app("pipeline", &mut options)),
        ("mount", of_app("mount", &mut options)),
        ("cascade", of_app("cascade", &mut options)),
    ];
    let next = of_app("next", &mut options);
    let mut given = bodies.into_iter().filter_map(|(key, node)| Some((key, node?)));
    let first = given.next();
    if let (Some((first, _)), Some((second, node))) = (&first, given.next()) {
        let problem = format!("{title} has both `{first}` and `{second}`: one of them makes it");
        return Err(DeployError::at_key(&node, problem));
    }
    let body = match first {
        None if kind == Kind::Server => {
            let target = super::graph::Target::Factory("purlin:server".into());
            Body::Use(Link { target, whole: None, node: head.clone() })
        }
        None => {
            let ways: &[&str] = if kind == Kind::App { &["use", "pipeline", "mount", "cascade"] } else { &["use"] };
            let keys = options.keys().map(String::as_str);
            return Err(DeployError::at(&head, missing(ways, &title, keys)));
        }
        Some(("use", node)) => match next {
            Some(next) => Body::Around(link(&node, Kind::Layer, None)?, link(&next, Kind::App, None)?),
            None => Body::Use(link(&node, kind, Some(name))?),
        },
        Some((key, node)) => {
            if let Some(next) = next {
                let problem = format!("{title} has both `{key}` and `next`, which belongs to `use`");
                return Err(DeployError::at_key(&next, problem));
            }
            let items = list(&node, "a list")?;
            if items.is_empty() {
                return Err(DeployError::at(&node, format!("`{key}` of {title} is empty")));
            }
            match key {
                "pipeline" => {
                    let (app, layers) = items.split_last().expect("it is not empty: seen above");
                    let layers = layers.iter().map(|item| link(item, Kind::Layer, None));
                    Body::Pipeline(layers.collect::<Result<_, _>>()?, link(app, Kind::App, None)?)
                }
                "mount" => {
                    let mounts = items.iter().map(|item| mount(item, names));
                    Body::Mount(mounts.collect::<Result<_, _>>()?)
                }
                _ => Body::Cascade(links(&node, Kind::App)?),
            }
        }
    };
    if let Some((key, node)) = options.iter().next().filter(|_| !body.takes_options()) {
        return Err(DeployError::at_key(node, no_options(&title, key)));
    }
    Ok(Section { kind, name: name.to_owned(), head, body, with, globals, options, app })
}

fn mount(node: &Node, names: &BTreeSet<(Kind, String)>) -> Result<Mount, DeployError> {
    let mut keys = table(node.clone(), "an entry of `mount`")?;
    let (path, host, app) = (keys.remove("path"), keys.remove("host"), keys.remove("app"));
    if let Some((key, node)) = keys.iter().next() {
        let hint = nearest::hint(key, ["path", "host", "app"]);
        return Err(DeployError::at_key(node, format!("an entry of `mount` has no `{key}`: {hint}")));
    }
    let Some(app) = app else { return Err(DeployError::at(node, "an entry of `mount` needs an `app`")) };
    for (node, what) in [(&host, "a host"), (&path, "a path")] {
        node.as_ref().map(|node| text(node, what)).transpose()?;
    }
    let path = match path {
        None if host.is_none() => return Err(DeployError::at(node, "an entry of `mount` needs a `path` or a `host`")),
        None => Node { kind: Shape::Text("/".to_owned()), ..node.clone() },
        Some(path) => path,
    };
    let app = Link::written(text(&app, "an application")?, &app, Kind::App, names, None)?;
    Ok(Mount { host, path, app })
}

pub(super) fn missing<'k>(ways: &[&str], title: &str, keys: impl Iterator<Item = &'k str>) -> String {
    let meant = keys.into_iter().find_map(|key| Some((key, nearest(key, ways.iter().copied())?)));
    let hint = meant.map(|(key, meant)| format!("; is `{key}` meant to be `{meant}`?")).unwrap_or_default();
    format!("{title} does not say what makes it: expected `{}`{hint}", ways.join("`, `"))
}

pub(super) fn no_options(title: &str, key: &str) -> String {
    format!("{title} has no factory that could take the option `{key}`: it belongs into a section with `use`")
}

fn table(node: Node, what: &str) -> Result<Table, DeployError> {
    match node.kind {
        Shape::Table(entries) => Ok(entries),
        _ => Err(DeployError::at(&node, format!("expected a table for {what}, found {}", found(&node.kind)))),
    }
}

fn list<'n>(node: &'n Node, what: &str) -> Result<&'n [Node], DeployError> {
    match &node.kind {
        Shape::List(items) => Ok(items),
        other => Err(DeployError::at(node, format!("expected {what}, found {}", found(other)))),
    }
}

fn text<'n>(node: &'n Node, what: &str) -> Result<&'n str, DeployError> {
    match &node.kind {
        Shape::Text(text) => Ok(text),
        other => Err(DeployError::at(node, format!("expected {what}, found {}", found(other)))),
    }
}

fn found(kind: &Shape) -> &'static str {
    match kind {
        Shape::Table(_) => "a table",
        Shape::List(_) => "a list",
        Shape::Text(_) | Shape::Loose(_) | Shape::Raw => "a string",
        Shape::Integer(_) | Shape::Float(_) => "a number",
        Shape::Boolean(_) => "a boolean",
    }
}
