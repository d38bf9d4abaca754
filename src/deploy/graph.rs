//! The graph of a deployment: its sections and what they refer to, whichever dialect they are written in.

use super::DeployError;
use super::{ini, toml};
use crate::config::Source;
use crate::config::tree::{Kind as Shape, Node, Text};
use crate::nearest;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a section makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `[app.NAME]`: answers requests.
    App,
    /// `[layer.NAME]`: stands around an application.
    Layer,
    /// `[server.NAME]`: listens.
    Server,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::App, Self::Layer, Self::Server];

    /// The word of it in a file: `app`.
    pub fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Layer => "layer",
            Self::Server => "server",
        }
    }

    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::App => "application",
            Self::Layer => "layer",
            Self::Server => "server",
        }
    }
}

/// The sections of one file, as it is written: nothing is looked up yet.
///
/// Two graphs are equal if they say the same, wherever and in whichever dialect it stands:
///
/// ```
/// use purlin::deploy::Graph;
///
/// let toml = Graph::from_toml("site.toml", r#"
///     [app.main]
///     use = "purlin:static"
///     folder = "${here}/public"
///     with = ["gzip"]
///
///     [layer.gzip]
///     use = "purlin:compression"
///     min_size = 1024
/// "#)?;
/// let ini = Graph::from_ini("site.ini", "\
/// [app:main]
/// use = purlin:static
/// folder = %(here)s/public
/// filter-with = gzip
///
/// [filter:gzip]
/// use = purlin:compression
/// min_size = 1024
/// ")?;
/// assert_eq!(toml, ini);
/// # Ok::<(), purlin::deploy::DeployError>(())
/// ```
#[derive(Clone)]
pub struct Graph {
    pub(super) path: PathBuf,
    pub(super) defaults: Table,
    pub(super) sections: BTreeMap<(Kind, String), Section>,
}

pub(super) type Table = BTreeMap<String, Node>;

/// One section.
#[derive(Clone)]
pub(super) struct Section {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Its head, as a place.
    pub(super) head: Node,
    pub(super) body: Body,
    pub(super) with: Vec<Link>,
    pub(super) globals: Table,
    pub(super) options: Table,
    /// Of a server: what it serves.
    pub(super) app: Option<Link>,
}

/// What a section is made from.
#[derive(Clone)]
pub(super) enum Body {
    /// Another section, one of another file, or what is registered.
    Use(Link),
    /// A layer, with the section's options, around the next application.
    Around(Link, Link),
    /// Layers, the outermost first, around an application.
    Pipeline(Vec<Link>, Link),
    Mount(Vec<Mount>),
    Cascade(Vec<Link>),
}

/// An entry of a mount, with the variables of its texts.
#[derive(Clone)]
pub(super) struct Mount {
    pub(super) host: Option<Node>,
    pub(super) path: Node,
    pub(super) app: Link,
}

/// A reference, with its place.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) target: Target,
    /// The text `app:main`: what is registered under it is meant, if anything is, and else the section `main`.
    pub(super) whole: Option<String>,
    pub(super) node: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A section of the same file.
    Name(String),
    /// One of another file; `main` if none is named.
    File(String, String),
    /// What is registered under a name.
    Factory(String),
    /// Not known before its variables are.
    Unfilled(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) | Self::Factory(name) | Self::Unfilled(name) => f.write_str(name),
            Self::File(path, name) => write!(f, "{path}#{name}"),
        }
    }
}

impl Graph {
    /// Reads a file's text in the dialect that its name tells: INI if it ends in `.ini`, else TOML.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with its line and column: it is no TOML or INI, or has a section or key that means nothing.
    pub fn from_text(path: impl AsRef<Path>, text: &str) -> Result<Self, DeployError> {
        let path = path.as_ref();
        match path.extension().is_some_and(|end| end.eq_ignore_ascii_case("ini")) {
            true => Self::from_ini(path, text),
            false => Self::from_toml(path, text),
        }
    }

    /// Reads TOML; `path` is what places are told by, and where `${here}` is.
    ///
    /// # Errors
    ///
    /// As [`from_text`](Self::from_text).
    pub fn from_toml(path: impl AsRef<Path>, text: &str) -> Result<Self, DeployError> {
        toml::read(path.as_ref(), text)
    }

    /// Reads PasteDeploy's dialect of INI.
    ///
    /// # Errors
    ///
    /// As [`from_text`](Self::from_text).
    pub fn from_ini(path: impl AsRef<Path>, text: &str) -> Result<Self, DeployError> {
        ini::read(path.as_ref(), text)
    }

    /// The kinds and names of its sections.
    pub fn sections(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.sections.keys().map(|(kind, name)| (*kind, name.as_str()))
    }

    /// The folder of the file.
    pub(super) fn here(&self) -> PathBuf {
        folder_of(&self.path)
    }

    /// The names of its sections.
    pub(super) fn names(&self) -> BTreeSet<(Kind, String)> {
        self.sections.keys().cloned().collect()
    }

    pub(super) fn section(&self, kind: Kind, name: &str) -> Option<&Section> {
        self.sections.get(&(kind, name.to_owned()))
    }

    /// The names of a kind, for what has none of that name; or that which is `registered`, and so was meant.
    pub(super) fn no_such(&self, kind: Kind, name: &str, registered: Option<&str>) -> String {
        let names: Vec<&str> = self.sections().filter(|(of, _)| *of == kind).map(|(_, name)| name).collect();
        let hint = match registered {
            Some(registered) => format!("did you mean `{registered}`, which is registered?"),
            None if names.is_empty() => format!("the file has no {}", kind.noun()),
            None => nearest::hint(name, names),
        };
        format!("there is no [{}.{name}] in {}: {hint}", kind.word(), self.path.display())
    }
}

impl Body {
    /// Whether what it is made by has options.
    pub(super) fn takes_options(&self) -> bool {
        matches!(self, Self::Use(_) | Self::Around(..) | Self::Cascade(_))
    }
}

impl Section {
    pub(super) fn title(&self) -> String {
        format!("[{}.{}]", self.kind.word(), self.name)
    }
}

impl Link {
    /// Reads a reference as it is written, of which a section of `kind` is expected.
    pub(super) fn written(
        text: &str,
        node: &Node,
        kind: Kind,
        sections: &BTreeSet<(Kind, String)>,
        own: Option<&str>,
    ) -> Result<Self, DeployError> {
        match text.contains("${") {
            true => Ok(Self { target: Target::Unfilled(text.to_owned()), whole: None, node: node.clone() }),
            false => Self::read(text, node, kind, sections, own),
        }
    }

    /// Reads a reference without variables. What `sections` has none of is registered, perhaps.
    pub(super) fn read(
        text: &str,
        node: &Node,
        kind: Kind,
        sections: &BTreeSet<(Kind, String)>,
        own: Option<&str>,
    ) -> Result<Self, DeployError> {
        let text = text.trim();
        let words = match kind {
            Kind::App => &["app:", "application:"][..],
            Kind::Layer => &["layer:", "filter:"],
            Kind::Server => &["server:"],
        };
        let named = words.iter().find_map(|word| text.strip_prefix(word));
        let target = if text.is_empty() {
            return Err(DeployError::at(node, format!("expected the name of {}, found nothing", a(kind))));
        } else if let Some(file) = text.strip_prefix("config:").or_else(|| is_file(text).then_some(text)) {
            let (path, name) = file.split_once('#').unwrap_or((file, "main"));
            if path.is_empty() || name.is_empty() {
                let problem = format!("expected FILE or FILE#NAME, found {text:?}");
                return Err(DeployError::at(node, problem));
            }
            Target::File(path.to_owned(), name.to_owned())
        } else if let Some(egg) = text.strip_prefix("egg:") {
            let (package, name) = egg.split_once('#').unwrap_or((egg, "main"));
            Target::Factory(format!("{}:{name}", package.trim().to_ascii_lowercase()))
        } else if let Some(name) = named
            && own != Some(name)
            && sections.contains(&(kind, name.to_owned()))
        {
            Target::Name(name.to_owned())
        } else if text.contains(':') {
            Target::Factory(text.to_owned())
        } else {
            Target::Name(text.to_owned())
        };
        let whole = named.map(|_| text.to_owned());
        Ok(Self { target, whole, node: node.clone() })
    }
}

/// The folder of a file, from the root.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

fn is_file(text: &str) -> bool {
    text.contains('#') && !text.starts_with("egg:") || text.ends_with(".toml") || text.ends_with(".ini")
}

pub(super) fn a(kind: Kind) -> &'static str {
    match kind {
        Kind::App => "an application",
        Kind::Layer => "a layer",
        Kind::Server => "a server",
    }
}

/// A text as a file that is read.
pub(super) fn text_of(path: &Path, text: &str) -> Text {
    Text { source: Source::File { path: path.to_owned(), line: 1 }, text: text.to_owned() }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        same_tables(&self.defaults, &other.defaults) && self.sections == other.sections
    }
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.name) == (other.kind, &other.name)
            && self.body == other.body
            && self.with == other.with
            && self.app == other.app
            && same_tables(&self.globals, &other.globals)
            && same_tables(&self.options, &other.options)
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Use(a), Self::Use(b)) => a == b,
            (Self::Around(a, next), Self::Around(b, after)) => a == b && next == after,
            (Self::Pipeline(a, app), Self::Pipeline(b, other)) => a == b && app == other,
            (Self::Mount(a), Self::Mount(b)) => a == b,
            (Self::Cascade(a), Self::Cascade(b)) => a == b,
            _ => false,
        }
    }
}

impl PartialEq for Mount {
    fn eq(&self, other: &Self) -> bool {
        let word = |node: &Node| super::build::plain(node);
        let host = |mount: &Self| mount.host.as_ref().map(word);
        (host(self), word(&self.path), &self.app) == (host(other), word(&other.path), &other.app)
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target
    }
}

fn same_tables(a: &Table, b: &Table) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((key, a), (other, b))| key == other && same(a, b))
}

fn same(a: &Node, b: &Node) -> bool {
    match (&a.kind, &b.kind) {
        // What an INI file writes is compared by what it would be read as.
        (Shape::Loose(text), Shape::List(items)) | (Shape::List(items), Shape::Loose(text))
            if !text.starts_with('[') =>
        {
            let word = |word: &str| Node { kind: Shape::Loose(word.to_owned()), ..a.clone() };
            let words: Vec<Node> = text.split_whitespace().map(word).collect();
            return words.len() == items.len() && words.iter().zip(items).all(|(word, item)| same(word, item));
        }
        (Shape::Loose(text), Shape::Float(number)) | (Shape::Float(number), Shape::Loose(text)) => {
            return text.parse::<f64>().is_ok_and(|found| found.to_bits() == number.to_bits());
        }
        _ => {}
    }
    let firm = |node: &Node| match &node.kind {
        Shape::Loose(text) => node.loose_toml(text).map_or_else(|| Node::firm(text), |node| node.kind),
        other => other.clone(),
    };
    match (firm(a), firm(b)) {
        (Shape::Table(a), Shape::Table(b)) => same_tables(&a, &b),
        (Shape::List(a), Shape::List(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a, b)),
        (Shape::Text(a), Shape::Text(b)) => a == b,
        (Shape::Integer(a), Shape::Integer(b)) => a == b,
        (Shape::Float(a), Shape::Float(b)) => a.to_bits() == b.to_bits(),
        (Shape::Boolean(a), Shape::Boolean(b)) => a == b,
        _ => false,
    }
}

/// The sections and the names of their keys; no value, since some are secrets.
impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = |table: &Table| table.keys().cloned().collect::<Vec<_>>();
        let mut map = f.debug_map();
        map.entry(&"defaults", &keys(&self.defaults));
        for section in self.sections.values() {
            let links = |links: &[Link]| links.iter().map(|link| link.target.to_string()).collect::<Vec<_>>();
            let body = match &section.body {
                Body::Use(link) => format!("use {}", link.target),
                Body::Around(link, next) => format!("{} around {}", link.target, next.target),
                Body::Pipeline(layers, app) => format!("{:?} around {}", links(layers), app.target),
                Body::Mount(mounts) => {
                    let mounts = mounts.iter();
                    let mounts = mounts
                        .map(|mount| {
                            let word = super::build::plain;
                            format!("{:?} {} {}", mount.host.as_ref().map(word), word(&mount.path), mount.app.target)
                        })
                        .collect::<Vec<_>>();
                    format!("mount {mounts:?}")
                }
                Body::Cascade(apps) => format!("cascade {:?}", links(apps)),
            };
            let app = section.app.as_ref().map(|app| app.target.to_string());
            map.entry(
                &section.title(),
                &(body, app, links(&section.with), keys(&section.globals), keys(&section.options)),
            );
        }
        map.finish()
    }
}
