//! What a file may use: applications and layers, each registered under a name.

use super::build::Section;
use super::graph::Kind;
use super::{DeployError, builtin};
use crate::config::error::ConfigError;
use crate::config::read;
use crate::config::tree::{Kind as Shape, Node};
use crate::nearest::{self, nearest};
use crate::{BoxMiddleware, BoxService, Middleware, Result, Service};
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What a file may use: applications and layers, each registered under a name.
///
/// Purlin's own are there from the start, as `purlin:compression`. A site adds its own in one line: a name, and how it is made
/// from its options, which are any type that serde reads. A key that the type does not have is an error with its place.
///
/// ```
/// use purlin::deploy::{NoOptions, Registry};
/// use purlin::{Middleware, Request, Response, Result, Router, Service, get};
/// use serde::Deserialize;
///
/// struct Greet(String);
///
/// impl Middleware for Greet {
///     async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
///         let mut response = next.call(req).await;
///         response.headers_mut().insert("x-greeting", self.0.parse()?);
///         Ok(response)
///     }
/// }
///
/// #[derive(Deserialize)]
/// struct Greeting {
///     word: String,
/// }
///
/// let registry = Registry::new()
///     .app("app:hello", |_: NoOptions, _| Ok(Router::new().route("/", get(async || "hello"))))
///     .layer("app:greet", |options: Greeting, _| Ok(Greet(options.word)));
/// assert!(registry.factories().any(|factory| factory.name == "app:greet"));
/// ```
pub struct Registry {
    entries: BTreeMap<String, Entry>,
    last: String,
}

struct Entry {
    factory: Factory,
    make: Make,
}

type Maker<T> = Box<dyn Fn(&Node, &Section<'_>) -> Result<T> + Send + Sync>;

enum Make {
    App(Maker<BoxService>),
    Layer(Maker<BoxMiddleware>),
    Server,
    /// It is written as a key of its own, with these options beside it.
    Key,
    /// It takes what only code has: why, and how a site registers it.
    InCode,
}

/// What is registered under a name, as the command `layers` prints it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Factory {
    /// `purlin:compression`
    pub name: String,
    /// `app`, `layer` or `server`.
    pub kind: &'static str,
    /// One sentence.
    pub doc: String,
    /// Its options; `None` where it takes any key.
    pub options: Option<Vec<OptionInfo>>,
}

/// One option of a factory.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OptionInfo {
    /// `min_size`
    pub name: &'static str,
    /// As it is written in TOML; empty where it is not known, or where there is none and the option must be set.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

/// Takes no option.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

impl Registry {
    /// With all that Purlin has.
    pub fn new() -> Self {
        builtin::register(Self { entries: BTreeMap::new(), last: String::new() })
    }

    /// Registers an application.
    ///
    /// `make` gets the options of a section that uses it, and the [`Section`]. A second registration of one name replaces the
    /// first, Purlin's own too.
    pub fn app<O, S>(self, name: &str, make: impl Fn(O, &Section<'_>) -> Result<S> + Send + Sync + 'static) -> Self
    where
        O: DeserializeOwned,
        S: Service + 'static,
    {
        let make = move |options: &Node, section: &Section<'_>| {
            Ok(BoxService::new(make(section.read(options)?, section).map_err(|error| section.failed(error))?))
        };
        self.add(name, Kind::App, fields_of::<O>(), Make::App(Box::new(make)))
    }

    /// Registers a layer, as [`app`](Self::app) does an application.
    pub fn layer<O, M>(self, name: &str, make: impl Fn(O, &Section<'_>) -> Result<M> + Send + Sync + 'static) -> Self
    where
        O: DeserializeOwned,
        M: Middleware,
    {
        let make = move |options: &Node, section: &Section<'_>| {
            Ok(BoxMiddleware::new(make(section.read(options)?, section).map_err(|error| section.failed(error))?))
        };
        self.add(name, Kind::Layer, fields_of::<O>(), Make::Layer(Box::new(make)))
    }

    /// Says what the one registered last gives, in one sentence.
    pub fn doc(mut self, doc: &str) -> Self {
        if let Some(entry) = self.entries.get_mut(&self.last) {
            entry.factory.doc = doc.to_owned();
        }
        self
    }

    /// Says the default and the meaning of an option of the one registered last. One that takes any key is told of none.
    ///
    /// # Panics
    ///
    /// In a debug build, when the type of its options has no field of this name: a slip that nobody would see.
    #[track_caller]
    pub fn option(mut self, name: &str, default: &'static str, doc: &'static str) -> Self {
        let options = self.entries.get_mut(&self.last).and_then(|entry| entry.factory.options.as_mut());
        let Some(options) = options else { return self };
        match options.iter_mut().find(|option| option.name == name) {
            Some(option) => (option.default, option.doc) = (default, doc),
            None => {
                let hint = nearest::hint(name, options.iter().map(|option| option.name));
                debug_assert!(false, "`{}` has no option `{name}`: {hint}", self.last);
            }
        }
        self
    }

    /// All that is registered, by name.
    pub fn factories(&self) -> impl Iterator<Item = &Factory> {
        self.entries.values().map(|entry| &entry.factory)
    }

    pub(super) fn has(&self, name: &str, kind: Kind) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.factory.kind == kind.word())
    }

    pub(super) fn server(self, name: &str, fields: &'static [&'static str]) -> Self {
        self.add(name, Kind::Server, Some(fields), Make::Server)
    }

    /// The options of what the key `cascade` makes.
    pub(super) fn key(self, name: &str, fields: &'static [&'static str]) -> Self {
        self.add(name, Kind::App, Some(fields), Make::Key)
    }

    pub(super) fn cascade(&self) -> &Factory {
        &self.entries[builtin::CASCADE].factory // `new` registers it, and nothing is ever taken out
    }

    pub(super) fn in_code(self, name: &str, doc: &str) -> Self {
        self.add(name, Kind::Layer, Some(&[]), Make::InCode).doc(doc)
    }

    fn add(mut self, name: &str, kind: Kind, fields: Option<&'static [&'static str]>, make: Make) -> Self {
        let options = fields.map(|fields| {
            fields.iter().map(|name| OptionInfo { name, default: "", doc: "" }).collect::<Vec<OptionInfo>>()
        });
        let factory = Factory { name: name.to_owned(), kind: kind.word(), doc: String::new(), options };
        self.entries.insert(name.to_owned(), Entry { factory, make });
        self.last = name.to_owned();
        self
    }

    /// The options that a factory has.
    pub(super) fn find(&self, name: &str, kind: Kind, place: &Node, title: &str) -> Result<&Factory, DeployError> {
        let Some(entry) = self.entries.get(name) else {
            let known = self.factories().filter(|factory| factory.kind == kind.word()).map(|factory| &*factory.name);
            let hint = match nearest(name, known) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => "the command `layers` prints what is registered".into(),
            };
            let problem = format!("{title} uses `{name}`, which nothing is registered as: {hint}");
            return Err(DeployError::at(place, problem));
        };
        if entry.factory.kind != kind.word() {
            let found = entry.factory.kind;
            let problem =
                format!("{title} uses `{name}`: expected the name of {}, found {found}", super::graph::a(kind));
            return Err(DeployError::at(place, problem));
        }
        let doc = &entry.factory.doc;
        match entry.make {
            Make::InCode => Err(DeployError::at(place, format!("{title} uses `{name}`, which is made in code: {doc}"))),
            Make::Key => Err(DeployError::at(place, format!("{title} uses `{name}`, which is a key instead: {doc}"))),
            _ => Ok(&entry.factory),
        }
    }

    pub(super) fn make_app(&self, name: &str, options: &Node, section: &Section<'_>) -> Result<BoxService> {
        match self.entries.get(name).map(|entry| &entry.make) {
            Some(Make::App(make)) => make(options, section),
            _ => unreachable!("`find` has found an application of this name"),
        }
    }

    pub(super) fn make_layer(&self, name: &str, options: &Node, section: &Section<'_>) -> Result<BoxMiddleware> {
        match self.entries.get(name).map(|entry| &entry.make) {
            Some(Make::Layer(make)) => make(options, section),
            _ => unreachable!("`find` has found a layer of this name"),
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// Reads options, whose keys are known to exist.
pub(super) fn read_options<O: DeserializeOwned>(options: &Node, file: &Path) -> Result<O, ConfigError> {
    read::read(options, "", &[], file)
}

/// An option's name as it is meant by a key that nobody knows.
pub(super) fn unknown(factory: &Factory, title: &str, key: &str, node: &Node) -> DeployError {
    let hint = nearest::hint(key, factory.options.iter().flatten().map(|option| option.name));
    DeployError::at_key(node, format!("`{}`, used by {title}, has no option `{key}`: {hint}", factory.name))
}

/// The names of a struct's fields, as serde asks for them.
pub(super) fn fields_of<O: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut fields = None;
    // It fails by design, once it has seen the names.
    let _ = O::deserialize(Names(&mut fields));
    fields
}

struct Names<'f>(&'f mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Some(fields);
        Err(serde::de::Error::custom("only the names are wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("a struct is expected"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Options as one table.
pub(super) fn table_of(options: super::graph::Table, place: &Node) -> Node {
    Node { kind: Shape::Table(options), ..place.clone() }
}
