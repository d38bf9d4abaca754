//! `Reader`: fields as a value of any type that derives `Deserialize`, with everything that does not fit told at once.
//!
//! serde stops at the first fault. A visitor who mistyped three numbers should hear of all three, so a number that is none is
//! noted and another is put in its place, and the reading goes on; the value that comes of it is looked at by the form's
//! [`Rules`](super::Rules) and never given out. Where a type has a rule of its own (`#[serde(try_from)]`, `NonZeroU32`)
//! there is nothing to put in its place: the field is read once more as if it had not come, until the rest has been seen.

use super::fields::{Fields, Node, Tree, join, shown};
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

/// How often a form is read at most. Each time one more field is out of the way.
const MAX_PASSES: usize = 64;

/// How many faults are told at most.
const MAX_FAULTS: usize = 100;

/// One field that does not fit its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// The name of the field; empty for the form as a whole.
    pub(super) field: String,
    /// What kind of fault it is, for sites that say it in their own words.
    pub(super) code: &'static str,
    /// A sentence for the visitor.
    pub(super) public: Cow<'static, str>,
    /// What was expected and what was found, for the developer.
    pub(super) message: String,
}

/// What reading found beside the value.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) faults: Vec<Fault>,
    /// Fields whose type says that they are secret.
    pub(super) secrets: BTreeSet<String>,
    /// Lists by their name, with the numbers that their elements have; `None` for those of one name.
    pub(super) lists: BTreeMap<String, Option<Vec<usize>>>,
    faulty: HashSet<String>,
    hidden: HashSet<String>,
    offered: HashSet<(usize, &'static str)>,
}

pub(super) struct Reader<'de> {
    fields: &'de Fields<'de>,
    tree: &'de Tree<'de>,
    found: RefCell<Found>,
}

impl<'de> Reader<'de> {
    pub(super) fn new(fields: &'de Fields<'de>, tree: &'de Tree<'de>) -> Self {
        Self { fields, tree, found: RefCell::default() }
    }

    /// The value, if there is one: made up in part where there are faults.
    ///
    /// # Errors
    ///
    /// The type is none that a form can fill.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<(Option<T>, Found), String> {
        for _ in 0..MAX_PASSES {
            match T::deserialize(Spot { reader: &self, source: Source::Root, path: Path::Root, last: false }) {
                Ok(value) => return Ok((Some(value), self.found.into_inner())),
                Err(stop) => {
                    if !self.goes_on(stop)? {
                        break;
                    }
                }
            }
        }
        Ok((None, self.found.into_inner()))
    }

    /// Puts what stopped the reading out of its way; whether there is a way.
    fn goes_on(&self, stop: Stop) -> Result<bool, String> {
        let mut found = self.found.borrow_mut();
        let at = match stop {
            Stop::Missing { field, fields: Some(fields), .. } if found.offered.insert((fields, field)) => {
                return Ok(true);
            }
            Stop::Missing { field, at, .. } => {
                let at = at.unwrap_or_default().name;
                let name = if at.is_empty() { field.to_owned() } else { format!("{at}[{field}]") };
                if !found.hidden.contains(&name) {
                    found.add(missing(name, format!("missing field `{field}`")));
                }
                at
            }
            Stop::Rule { rule, at } => {
                let Place { name, value } = at.unwrap_or_default();
                let message = match value {
                    Some(value) => format!("the field `{name}` is {value}: {rule}"),
                    None if name.is_empty() => rule.clone(),
                    None => format!("the field `{name}`: {rule}"),
                };
                found.add(Fault { public: sentence(&rule), code: "rule", message, field: name.clone() });
                name
            }
            Stop::Type { message } => return Err(message),
        };
        Ok(!at.is_empty() && found.hidden.insert(at))
    }

    fn note(&self, fault: Fault) {
        self.found.borrow_mut().add(fault);
    }

    /// What was sent, for a message; of a secret nothing.
    fn shown(&self, path: &Path<'_>, text: &str) -> String {
        let is_secret = super::is_secret(&path.name()) || self.found.borrow().is_secret(&path.sent_name());
        if is_secret { "•••".to_owned() } else { shown(text) }
    }

    fn hides(&self, path: &Path<'_>) -> bool {
        let found = self.found.borrow();
        !found.hidden.is_empty() && found.hidden.contains(&path.name())
    }
}

impl Found {
    /// Whether the type of this field, or of one around it, says that it is secret.
    pub(super) fn is_secret(&self, name: &str) -> bool {
        self.secrets
            .iter()
            .any(|secret| name.strip_prefix(&**secret).is_some_and(|rest| rest.is_empty() || rest.starts_with('[')))
    }

    /// The first of a field stays.
    fn add(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS && self.faulty.insert(fault.field.clone()) {
            self.faults.push(fault);
        }
    }
}

fn missing(field: String, message: String) -> Fault {
    Fault { field, code: "missing", public: "Please fill in this field.".into(), message }
}

/// What a type of the site's says, as a sentence.
fn sentence(message: &str) -> Cow<'static, str> {
    let mut chars = message.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    let mut sentence: String = first.chain(chars).collect();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence.into()
}

/// Why serde stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// A struct has no default for a field that did not come; `fields` tells which struct.
    Missing { field: &'static str, fields: Option<usize>, at: Option<Place> },
    /// A rule of the type itself.
    Rule { rule: String, at: Option<Place> },
    /// A type that no form can fill.
    Type { message: String },
}

/// Where serde stopped, and what was there.
#[derive(Debug, Default)]
pub(super) struct Place {
    name: String,
    value: Option<String>,
}

impl Stop {
    fn at(mut self, reader: &Reader<'_>, path: &Path<'_>, source: Source<'_>) -> Self {
        if let Self::Missing { at: at @ None, .. } | Self::Rule { at: at @ None, .. } = &mut self {
            let name = path.name();
            let value = match source {
                Source::Text(text) => Some(text),
                Source::Node(node) => node.values.first().copied(),
                Source::Root | Source::Absent => None,
            };
            let value = value.map(|text| reader.shown(path, text));
            *at = Some(Place { name, value });
        }
        self
    }

    fn in_struct(mut self, names: &'static [&'static str], path: &Path<'_>) -> Self {
        if let Self::Missing { fields: fields @ None, at: at @ None, .. } = &mut self {
            // The list of a struct's fields is at an address of its own.
            *fields = Some(names.as_ptr() as usize);
            *at = Some(Place { name: path.name(), value: None });
        }
        self
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { field, .. } => write!(f, "missing field `{field}`"),
            Self::Rule { rule: message, .. } | Self::Type { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Rule { rule: message.to_string(), at: None }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::Type { message: format!("invalid type: {found}, expected {expected}") }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::Type { message: format!("unknown field `{field}`, expected one of {}", expected.join(", ")) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing { field, fields: None, at: None }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Type { message: format!("duplicate field `{field}`") }
    }
}

/// Where in the form the reading is; its parts lie on the stack.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Below(&'p Path<'p>, &'p str),
    /// A value of a list whose values all have the list's name: the number is its place.
    Value(&'p Path<'p>, usize),
}

impl Path<'_> {
    fn name(&self) -> String {
        let mut parts: Vec<Cow<'_, str>> = Vec::new();
        let mut at = self;
        loop {
            at = match at {
                Path::Root => break,
                Path::Below(above, part) => {
                    parts.push((*part).into());
                    above
                }
                Path::Value(list, place) => {
                    parts.push(place.to_string().into());
                    list
                }
            };
        }
        join(parts.iter().rev().map(|part| &**part))
    }

    /// The name that its value was sent by.
    fn sent_name(&self) -> String {
        match self {
            Path::Value(list, _) => list.name(),
            path => path.name(),
        }
    }
}

/// What there is to read at one place.
#[derive(Clone, Copy)]
enum Source<'de> {
    Root,
    Node(&'de Node<'de>),
    Text(&'de str),
    /// Nothing came.
    Absent,
}

/// A place in the form, to be read as whatever its type is.
#[derive(Clone, Copy)]
struct Spot<'p, 'de> {
    reader: &'p Reader<'de>,
    source: Source<'de>,
    path: Path<'p>,
    /// Whether the last of several values counts, where one is asked for: in a map, whose names are not the site's.
    last: bool,
}

impl<'p, 'de> Spot<'p, 'de> {
    fn node(&self) -> Option<&'de Node<'de>> {
        match self.source {
            Source::Root => Some(self.reader.tree.root()),
            Source::Node(node) => Some(node),
            Source::Text(_) | Source::Absent => None,
        }
    }

    fn fault(&self, code: &'static str, public: impl Into<Cow<'static, str>>, message: impl FnOnce(&str) -> String) {
        let field = self.path.name();
        let message = message(&field);
        self.reader.note(Fault { field, code, public: public.into(), message });
    }

    /// The one value that is here; without one, the fault is noted.
    fn one(&self) -> Option<&'de str> {
        let node = match self.source {
            Source::Text(text) => return Some(text),
            Source::Absent | Source::Root => {
                let field = self.path.name();
                let message = format!("missing field `{field}`");
                self.reader.note(missing(field, message));
                return None;
            }
            Source::Node(node) => node,
        };
        match &node.values[..] {
            [one] if !node.has_children() => Some(one),
            [.., last] if self.last && !node.has_children() => Some(last),
            _ if node.has_children() => {
                self.fault("shape", "This field cannot be read.", |name| {
                    format!("expected the field `{name}` to be one value, found fields below it")
                });
                None
            }
            values => {
                self.fault("once", "Please give one answer.", |name| {
                    format!("expected the field `{name}` once, found it {} times", values.len())
                });
                None
            }
        }
    }

    fn is_blank(&self) -> bool {
        match self.source {
            Source::Root => false,
            Source::Node(node) => self.reader.tree.is_blank(node),
            Source::Text(text) => text.is_empty(),
            Source::Absent => true,
        }
    }

    fn unfit(&self, code: &'static str, public: impl Into<Cow<'static, str>>, expected: &str, text: &str) {
        let found = self.reader.shown(&self.path, text);
        let message = |name: &str| format!("expected the field `{name}` to be {expected}, found {found}");
        if text.trim().is_empty() {
            self.fault("missing", "Please fill in this field.", message);
        } else {
            self.fault(code, public, message);
        }
    }

    /// Reads a whole number, with white space around it if need be.
    fn whole<N: std::str::FromStr>(&self, kind: &str, least: impl fmt::Display, most: impl fmt::Display) -> Option<N> {
        let text = self.one()?;
        let number = text.trim();
        if let Ok(number) = number.parse() {
            return Some(number);
        }
        let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
        let (code, public) = if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            ("range", format!("Please enter a number from {least} to {most}.").into())
        } else if number.parse::<f64>().is_ok_and(f64::is_finite) {
            ("whole", Cow::Borrowed("Please enter a whole number."))
        } else {
            ("number", Cow::Borrowed("Please enter a number."))
        };
        self.unfit(code, public, &format!("a number ({kind})"), text);
        None
    }

    /// Reads a number; neither "infinity" nor "NaN" is one that anybody means, or that a rule about numbers expects.
    fn real(&self, kind: &str, most: f64) -> Option<f64> {
        let text = self.one()?;
        let number = text.trim().parse().ok().filter(|number: &f64| number.abs() <= most);
        if number.is_none() {
            self.unfit("number", "Please enter a number.", &format!("a number ({kind})"), text);
        }
        number
    }

    fn below<V: Visitor<'de>>(&self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        let is_struct = !fields.is_empty();
        let node = self.node();
        if node.is_none_or(|node| !node.values.is_empty()) && !matches!(self.source, Source::Absent) {
            self.fault("shape", "This field cannot be read.", |name| {
                format!("expected fields below `{name}`, as `{name}[…]`, found a value")
            });
        }
        let tree = self.reader.tree;
        let all: Vec<&'de Node<'de>> = node.map(|node| tree.children(node).collect()).unwrap_or_default();
        let layers_own = |node: &Node<'_>| {
            matches!(self.source, Source::Root) && super::OF_LAYERS.contains(&node.key) && !fields.contains(&node.key)
        };
        let mut entries: Vec<(&'de str, Source<'de>)> = Vec::with_capacity(all.len());
        for node in all {
            let hidden = self.reader.hides(&Path::Below(&self.path, node.key));
            if !(hidden || is_struct && layers_own(node)) {
                entries.push((node.key, Source::Node(node)));
            }
        }
        let found = self.reader.found.borrow();
        if is_struct && !found.offered.is_empty() {
            let struct_id = fields.as_ptr() as usize;
            for &field in fields {
                let there = node.is_some_and(|node| tree.children(node).any(|child| child.key == field));
                if !there && found.offered.contains(&(struct_id, field)) {
                    entries.push((field, Source::Absent));
                }
            }
        }
        drop(found);
        let entries = Entries { spot: *self, entries: entries.into_iter(), current: None, last: !is_struct };
        Entries::visited(entries, fields, visitor)
    }
}

/// The fields below a place, as a struct or a map takes them.
struct Entries<'p, 'de> {
    spot: Spot<'p, 'de>,
    entries: std::vec::IntoIter<(&'de str, Source<'de>)>,
    current: Option<(&'de str, Source<'de>)>,
    last: bool,
}

impl<'de> Entries<'_, 'de> {
    fn visited<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        let path = self.spot.path;
        visitor.visit_map(self).map_err(|stop| if fields.is_empty() { stop } else { stop.in_struct(fields, &path) })
    }
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        let path = Path::Below(&self.spot.path, key);
        seed.deserialize(Key(key)).map(Some).map_err(|stop| stop.at(self.spot.reader, &path, Source::Absent))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        let Some((key, source)) = self.current.take() else {
            return Err(Stop::Type { message: "a value was asked for before its name".to_owned() });
        };
        let path = Path::Below(&self.spot.path, key);
        seed.deserialize(Spot { source, path, last: self.last, ..self.spot })
            .map_err(|stop| stop.at(self.spot.reader, &path, source))
    }
}

/// The elements of a list, as a `Vec` or a tuple takes them.
struct Elements<'p, 'de> {
    spot: Spot<'p, 'de>,
    elements: std::vec::IntoIter<Source<'de>>,
    place: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let Some(source) = self.elements.next() else {
            return Ok(None);
        };
        let path = match source {
            Source::Node(node) => Path::Below(&self.spot.path, node.key),
            _ => Path::Value(&self.spot.path, self.place),
        };
        self.place += 1;
        if self.spot.reader.hides(&path) {
            return self.next_element_seed(seed);
        }
        seed.deserialize(Spot { source, path, last: false, ..self.spot })
            .map(Some)
            .map_err(|stop| stop.at(self.spot.reader, &path, source))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

macro_rules! whole {
    ($($method:ident $visit:ident $type:ident;)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
                // In place of what is none: 1, which is the likeliest to be in the range of the type.
                visitor.$visit(self.whole(stringify!($type), $type::MIN, $type::MAX).unwrap_or(1))
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Spot<'_, 'de> {
    type Error = Stop;

    whole! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_f32(self.real("f32", f32::MAX.into()).unwrap_or(1.0) as f32)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_f64(self.real("f64", f64::MAX).unwrap_or(1.0))
    }

    /// What is not ticked is not sent.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if matches!(self.source, Source::Absent) {
            return visitor.visit_bool(false);
        }
        visitor.visit_bool(match self.one() {
            Some("true" | "on") => true,
            None | Some("false" | "") => false,
            Some(text) => {
                self.unfit("yes_or_no", "Please choose yes or no.", "true or false", text);
                false
            }
        })
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Some(text) = self.one() else {
            return visitor.visit_char('a');
        };
        match text.parse() {
            Ok(character) if character != '\0' => visitor.visit_char(character),
            _ => {
                self.unfit("character", "Please enter one character.", "one character", text);
                visitor.visit_char('a')
            }
        }
    }

    /// Any text but one with NUL in it: no field of a page sends that, and some databases cannot hold it.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let text = self.one().unwrap_or_default();
        if let Some(at) = text.find('\0') {
            self.fault("character", "Please leave out the character that cannot be seen.", |name| {
                format!("expected the field `{name}` without the character NUL, found one at byte {at}")
            });
            return visitor.visit_borrowed_str("");
        }
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_borrowed_bytes(self.one().unwrap_or_default().as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_bytes(visitor)
    }

    /// Nothing, or nothing but empty fields, is `None`.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.is_blank() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        if super::is_secret(name) {
            self.reader.found.borrow_mut().secrets.insert(self.path.sent_name());
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let elements = match self.source {
            // Names and values in their order, as a list of pairs.
            Source::Root => return self.pairs(visitor),
            Source::Absent => Vec::new(),
            Source::Text(_) => vec![self.source],
            Source::Node(node) => self.elements(node),
        };
        visitor.visit_seq(Elements { spot: self, elements: elements.into_iter(), place: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        if let Source::Node(node) = self.source
            && self.reader.tree.children(node).count().max(node.values.len()) > length
        {
            self.fault("shape", "This field cannot be read.", |name| {
                format!("expected {length} values of `{name}`, found more")
            });
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.below(&[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.below(fields, visitor)
    }

    /// A value names a variant without fields; a variant with fields is the name of what is below it.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if let Some(node) = self.node().filter(|node| node.has_children()) {
            let mut children = self.reader.tree.children(node);
            let (first, second) = (children.next(), children.next());
            if let (Some(only), None) = (first, second)
                && variants.contains(&only.key)
            {
                let entries = vec![(only.key, Source::Node(only))].into_iter();
                let entries = Entries { spot: self, entries, current: None, last: false };
                return MapAccessDeserializer::new(entries).deserialize_enum(name, variants, visitor);
            }
        }
        let text = self.one();
        let variant = text.and_then(|text| variants.iter().find(|variant| **variant == text));
        if let (None, Some(text)) = (variant, text) {
            let expected = format!("one of {}", variants.join(", "));
            self.unfit("choice", "Please choose one of the answers.", &expected, text);
        }
        let variant: &'static str = variant.or(variants.first()).copied().unwrap_or_default();
        visitor.visit_enum(BorrowedStrDeserializer::new(variant))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let node = match self.source {
            Source::Root => return self.below(&[], visitor),
            Source::Absent => return visitor.visit_none(),
            Source::Text(_) => return self.deserialize_str(visitor),
            Source::Node(node) => node,
        };
        match (node.has_children(), node.values.len()) {
            (true, _) if self.reader.tree.rows(node).is_some() => self.deserialize_seq(visitor),
            (true, _) => self.below(&[], visitor),
            (false, 2..) if !self.last => self.deserialize_seq(visitor),
            (false, _) => self.deserialize_str(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }
}

impl<'de> Spot<'_, 'de> {
    fn elements(&self, node: &'de Node<'de>) -> Vec<Source<'de>> {
        let rows = self.reader.tree.rows(node).filter(|rows| rows.is_empty() || node.values.is_empty());
        let Some(rows) = rows else {
            self.fault("shape", "This field cannot be read.", |name| {
                format!("expected `{name}` to be a list, as `{name}[0]`, found other fields below it")
            });
            return Vec::new();
        };
        let seen = |row: &&(usize, &Node<'_>)| !self.reader.hides(&Path::Below(&self.path, row.1.key));
        let numbers: Option<Vec<usize>> =
            node.has_children().then(|| rows.iter().filter(seen).map(|(number, _)| *number).collect());
        self.reader.found.borrow_mut().lists.insert(self.path.name(), numbers);
        if node.has_children() {
            return rows.into_iter().map(|(_, row)| Source::Node(row)).collect();
        }
        match &node.values[..] {
            // Sent by a text field that was left empty, and by hidden fields that say "none of these".
            [""] => Vec::new(),
            values => values.iter().map(|text| Source::Text(text)).collect(),
        }
    }

    fn pairs<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let spot = |(name, text)| {
            (Key(name), Spot { source: Source::Text(text), path: Path::Below(&Path::Root, name), ..self })
        };
        visitor.visit_seq(MapDeserializer::new(self.reader.fields.iter().map(spot)))
    }
}

impl<'de> IntoDeserializer<'de, Stop> for Spot<'_, 'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The name of a field where it is data: the key of a map.
struct Key<'de>(&'de str);

impl<'de> IntoDeserializer<'de, Stop> for Key<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ident;)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
                let key = self.0.parse::<$type>().map_err(|_| {
                    de::Error::custom(format!("expected a name that is {}, found {}", stringify!($type), shown(self.0)))
                });
                visitor.$visit(key?)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Stop;

    parsed! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_char visit_char char;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_enum(BorrowedStrDeserializer::new(self.0))
    }

    serde::forward_to_deserialize_any! {
        bool f32 f64 str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
