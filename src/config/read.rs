//! Reads a type from the tree of settings, and says where and why it does not fit.

use super::Source;
use super::error::{ConfigError, Position};
use super::secret::is_secret;
use super::tree::{Kind, Node, Text, join, same_key};
use crate::nearest::nearest;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use std::collections::btree_map;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::slice;
use std::sync::Arc;

/// Reads a `T` from `node`, whose key is `prefix`. `known` is what a key outside its table may have meant; `file` is
/// named when a value is missing.
pub(crate) fn read<T: DeserializeOwned>(
    node: &Node,
    prefix: &str,
    known: &[String],
    file: &Path,
) -> Result<T, ConfigError> {
    T::deserialize(Reader { node }).map_err(|fault| {
        let fault = fault.at(node);
        if prefix.is_empty() { fault } else { fault.under(prefix) }.explain(known, file)
    })
}

struct Reader<'n> {
    node: &'n Node,
}

/// Why a value does not fit, gathering its place on the way out.
#[derive(Debug)]
struct Fault {
    problem: Problem,
    key: String,
    place: Option<Place>,
}

#[derive(Debug)]
enum Problem {
    /// The word is the last of the fault's key.
    UnknownKey {
        word: String,
        siblings: &'static [&'static str],
    },
    Missing(&'static str),
    /// What was found comes twice: as it is, and without its value.
    Wrong {
        expected: String,
        found: String,
        kind: &'static str,
    },
    Other(String),
}

struct Place {
    text: Arc<Text>,
    span: Range<usize>,
    secret: bool,
}

/// Says nothing: the text may hold secrets.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl Fault {
    fn new(problem: Problem) -> Self {
        Self { problem, key: String::new(), place: None }
    }

    /// The innermost place counts.
    fn at(mut self, node: &Node) -> Self {
        self.place.get_or_insert_with(|| Place {
            text: Arc::clone(&node.text),
            span: node.span.clone(),
            secret: node.secret,
        });
        self
    }

    fn under(mut self, name: &str) -> Self {
        self.key = match self.key.as_str() {
            "" => join("", name),
            key if key.starts_with('[') => join("", name) + key,
            key => format!("{}.{key}", join("", name)),
        };
        self
    }

    fn explain(self, known: &[String], file: &Path) -> ConfigError {
        let Self { problem, key, place } = self;
        let place = place.expect("`read` has set it");
        let secret = is_secret(&key) || place.secret;
        let problem = match problem {
            Problem::UnknownKey { word, siblings } => {
                let nearest = meant(&key, &word, siblings, known, &place.text.source);
                // `sceret = "…"` has something to hide too.
                let secret = secret || nearest.as_deref().is_some_and(is_secret);
                let position = Position::new(&place.text, &place.span, secret);
                let known = siblings.iter().map(|name| name.to_string()).collect();
                return ConfigError::UnknownKey { position, key, nearest, known };
            }
            Problem::Missing(name) => {
                let key = if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
                return ConfigError::Missing { key, file: file.to_owned() };
            }
            Problem::Wrong { expected, kind, .. } if secret => format!("expected {expected}, found {kind}"),
            Problem::Wrong { expected, found, .. } => format!("expected {expected}, found {found}"),
            // Written by the type that refused the value, and so likely to quote it.
            Problem::Other(_) if secret => {
                "refused, for a reason that is not shown because it may quote the value".into()
            }
            Problem::Other(message) => message,
        };
        ConfigError::Invalid { position: Position::new(&place.text, &place.span, secret), key, problem }
    }
}

/// The key that was probably meant: a neighbour, or one in another table.
fn meant(key: &str, word: &str, siblings: &[&str], known: &[String], source: &Source) -> Option<String> {
    // A variable may go on below the word that nobody knows: `PURLIN__SERVR__LISTEN`.
    let whole = match source {
        Source::Variable(name) => name.strip_prefix("PURLIN__").unwrap_or(name).to_lowercase().replace("__", "."),
        _ => key.to_owned(),
    };
    if let Some(sibling) = nearest(word, siblings.iter().copied()) {
        let rest = whole.strip_prefix(key).unwrap_or_default();
        let table = key.rsplit_once('.').map_or(String::new(), |(table, _)| format!("{table}."));
        return Some(format!("{table}{sibling}{rest}"));
    }
    if key.starts_with("app.") {
        return None;
    }
    let last = whole.rsplit('.').next();
    let mut same_name = known.iter().filter(|known| known.rsplit('.').next() == last);
    match (same_name.next(), same_name.next()) {
        (Some(only), None) => Some(only.clone()),
        // `PURLIN__SERVER_LISTEN`, with one underscore of two.
        _ => known.iter().find(|known| known.replace('.', "_") == whole.replace('.', "_")).cloned(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value does not fit")
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (kind, shown) = match found {
            Unexpected::Bool(_) => ("a boolean", None),
            Unexpected::Signed(_) | Unexpected::Unsigned(_) => ("a whole number", None),
            Unexpected::Float(_) => ("a number", None),
            Unexpected::Str(text) => ("a string", Some(format!("{text:?}"))),
            Unexpected::Seq => ("a list", Some("a list".into())),
            Unexpected::Map => ("a table", Some("a table".into())),
            _ => ("something else", None),
        };
        let found = shown.unwrap_or_else(|| found.to_string().replace("integer `", "`").replace("boolean `", "`"));
        Self::new(Problem::Wrong { expected: in_words(&expected.to_string()), found, kind })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        let hint = nearest(found, known.iter().copied()).map(|known| format!(": did you mean {known:?}?"));
        let found = format!("{found:?}{}", hint.unwrap_or_default());
        Self::new(Problem::Wrong { expected: one_of(known), found, kind: "another string" })
    }

    fn unknown_field(word: &str, siblings: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { word: word.to_owned(), siblings })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Problem::Missing(name))
    }
}

fn one_of(variants: &[&str]) -> String {
    variants.iter().map(|variant| format!("{variant:?}")).collect::<Vec<_>>().join(" or ")
}

/// serde's names of types in the words of whoever writes a configuration.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" | "u64" | "u128" | "usize" => "a whole number from 0 up".into(),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        _ if expected.starts_with("struct ") => "a table".into(),
        _ => expected.to_owned(),
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Table(entries) => visitor.visit_map(Entries { rest: entries.iter(), node: None, fields: &[] }),
            Kind::List(items) => visitor.visit_seq(Items { rest: items.iter(), index: 0 }),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::Integer(Some(number)) => visitor.visit_i64(*number),
            Kind::Integer(None) => Err(Fault::invalid_value(Unexpected::Other("a number beyond 64 bits"), &visitor)),
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::Boolean(boolean) => visitor.visit_bool(*boolean),
            Kind::Raw => Reader { node: &self.node.parsed() }.deserialize_any(visitor),
            Kind::Loose(text) => {
                let written = self.node.loose_toml(text);
                let node = written.unwrap_or_else(|| Node { kind: Node::firm(text), ..self.node.clone() });
                Reader { node: &node }.deserialize_any(visitor)
            }
        }
    }

    /// The words of INI files count, where a text stands for any type.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Loose(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "y" | "t" | "1" => visitor.visit_bool(true),
                "false" | "no" | "off" | "n" | "f" | "0" => visitor.visit_bool(false),
                _ => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    /// Words with spaces between are a list, where a text stands for any type.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Loose(text) if self.node.loose_toml(text).is_none() => {
                let word = |word: &str| Node { kind: Kind::Loose(word.to_owned()), ..self.node.clone() };
                let items: Vec<Node> = text.split_whitespace().map(word).collect();
                visitor.visit_seq(Items { rest: items.iter(), index: 0 })
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Raw => match self.node.parsed().kind {
                Kind::Text(text) => visitor.visit_string(text),
                _ => visitor.visit_str(&self.node.text.text),
            },
            Kind::Loose(text) => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Table(entries) => visitor.visit_map(Entries { rest: entries.iter(), node: None, fields }),
            Kind::Raw => Reader { node: &self.node.parsed() }.deserialize_struct(name, fields, visitor),
            Kind::Loose(text) => match self.node.loose_toml(text) {
                Some(written) => Reader { node: &written }.deserialize_struct(name, fields, visitor),
                None => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Text(text) | Kind::Loose(text) => visitor.visit_enum(StrDeserializer::new(text)),
            Kind::Table(entries) => {
                let entries = Entries { rest: entries.iter(), node: None, fields: variants };
                MapAccessDeserializer::new(entries).deserialize_enum(name, variants, visitor)
            }
            Kind::Raw => {
                let parsed = self.node.parsed();
                match parsed.kind {
                    Kind::Table(_) => Reader { node: &parsed }.deserialize_enum(name, variants, visitor),
                    Kind::Text(text) => visitor.visit_enum(StrDeserializer::new(&text)),
                    _ => visitor.visit_enum(StrDeserializer::new(&self.node.text.text)),
                }
            }
            _ => self.deserialize_any(visitor).map_err(|mut fault| {
                if let Problem::Wrong { expected, .. } = &mut fault.problem {
                    *expected = one_of(variants);
                }
                fault
            }),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct tuple tuple_struct map
        identifier
    }
}

struct Entries<'n> {
    rest: btree_map::Iter<'n, String, Node>,
    node: Option<(&'n str, &'n Node)>,
    fields: &'static [&'static str],
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.node = self.rest.next().map(|(name, node)| (name.as_str(), node));
        let Some((name, node)) = self.node else { return Ok(None) };
        let field = self.fields.iter().find(|field| node.is_variable() && same_key(field, name));
        let key: StrDeserializer<'_, Fault> = field.copied().unwrap_or(name).into_deserializer();
        let key = seed.deserialize(key).map_err(|mut fault| {
            fault.place = Some(Place { text: Arc::clone(&node.text), span: node.key.clone(), secret: node.secret });
            fault.under(name)
        })?;
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (name, node) = self.node.expect("serde asks for the key first");
        seed.deserialize(Reader { node }).map_err(|fault| fault.at(node).under(name))
    }
}

struct Items<'n> {
    rest: slice::Iter<'n, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let name = format!("[{}]", self.index);
        self.index += 1;
        seed.deserialize(Reader { node }).map(Some).map_err(|fault| fault.at(node).under(&name))
    }
}
