//! The settings as a tree in which each value knows the place where it is written.

use super::Source;
use super::error::{ConfigError, Position};
use super::secret::is_secret;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What settings are written in: a file, the value of a variable, or Purlin's own defaults.
pub(crate) struct Text {
    pub(crate) source: Source,
    pub(crate) text: String,
}

/// A value, or a table of them.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) text: Arc<Text>,
    /// Where its key stands; empty when a variable's name is all there is of it.
    pub(crate) key: Range<usize>,
    pub(crate) span: Range<usize>,
    /// What a secret has been put into: it is shown nowhere, whatever its key is called.
    pub(crate) secret: bool,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Text(String),
    /// `None` is outside 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    /// The value of a variable. Whether `8000` is a number or a text is not known before somebody asks for one.
    Raw,
    /// The same of a value of an INI file, or of one with a variable in it.
    #[cfg_attr(not(feature = "deploy"), allow(dead_code))] // made there, and read everywhere
    Loose(String),
}

impl Text {
    /// The byte range of the line which `at` is in, without its end.
    pub(crate) fn line(&self, at: usize) -> Range<usize> {
        let at = self.text.floor_char_boundary(at);
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |length| at + length);
        start..end
    }

    /// The source, with the line of `at` when it is a file.
    pub(crate) fn source_at(&self, at: usize) -> Source {
        match &self.source {
            Source::File { path, .. } => {
                let start = self.line(at).start;
                let line = 1 + self.text[..start].matches('\n').count();
                Source::File { path: path.clone(), line }
            }
            other => other.clone(),
        }
    }
}

impl Node {
    /// Reads a file.
    pub(crate) fn parse(text: Text) -> Result<Self, ConfigError> {
        let text = Arc::new(text);
        let (table, errors) = DeTable::parse_recoverable(&text.text);
        let root = Self::table(table.into_inner(), 0..0, 0..0, &text);
        let Some(error) = errors.first() else { return Ok(root) };
        let length = text.text.len();
        let span = error.span().unwrap_or(length..length);
        // What the parser made of the broken file still tells whether the line belongs to a secret.
        let line = text.line(span.start);
        let secret = root
            .leaves()
            .iter()
            .any(|(key, leaf)| is_secret(key) && leaf.span.start <= line.end && leaf.span.end >= line.start);
        let problem = error.message().trim_end_matches(", expected literal string").to_owned();
        Err(ConfigError::Syntax { position: Position::new(&text, &span, secret), problem })
    }

    /// The value of a variable.
    pub(crate) fn raw(text: Text) -> Self {
        let span = 0..text.text.len();
        Self { kind: Kind::Raw, text: Arc::new(text), key: 0..0, span, secret: false }
    }

    pub(crate) fn table(table: DeTable<'_>, key: Range<usize>, span: Range<usize>, text: &Arc<Text>) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let node = Self::value(value, key.span(), text);
            (key.into_inner().into_owned(), node)
        });
        Self { kind: Kind::Table(entries.collect()), text: Arc::clone(text), key, span, secret: false }
    }

    fn value(value: Spanned<DeValue<'_>>, key: Range<usize>, text: &Arc<Text>) -> Self {
        let span = value.span();
        let kind = match value.into_inner() {
            DeValue::Table(table) => return Self::table(table, key, span, text),
            DeValue::Array(items) => {
                Kind::List(items.into_iter().map(|item| Self::value(item, key.clone(), text)).collect())
            }
            DeValue::String(string) => Kind::Text(string.into_owned()),
            DeValue::Integer(number) => Kind::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Float(number) => Kind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(boolean) => Kind::Boolean(boolean),
            // As text, from which every date type reads.
            DeValue::Datetime(datetime) => Kind::Text(datetime.to_string()),
        };
        Self { kind, text: Arc::clone(text), key, span, secret: false }
    }

    /// What a variable's value is when nobody asked for a text: TOML if it is, else the text that it is.
    pub(crate) fn parsed(&self) -> Self {
        match DeValue::parse(&self.text.text) {
            Ok(value) => Self::value(value, 0..0, &self.text),
            Err(_) => Self { kind: Kind::Text(self.text.text.clone()), ..self.clone() },
        }
    }

    /// A loose value that is written as a list or a table in TOML.
    pub(crate) fn loose_toml(&self, text: &str) -> Option<Self> {
        if !text.starts_with(['[', '{']) {
            return None;
        }
        let value = DeValue::parse(text).ok()?;
        let inner = Arc::new(Text { source: self.source(), text: text.to_owned() });
        Some(Self::value(value, 0..0, &inner).at(self))
    }

    /// With all that is in it at the place of `other`.
    fn at(mut self, other: &Self) -> Self {
        self.kind = match self.kind {
            Kind::Table(entries) => Kind::Table(entries.into_iter().map(|(key, node)| (key, node.at(other))).collect()),
            Kind::List(items) => Kind::List(items.into_iter().map(|item| item.at(other)).collect()),
            kind => kind,
        };
        Self { kind: self.kind, ..other.clone() }
    }

    /// A loose value as the number or boolean that it spells, if it is written as that would be printed: `1.10` is a text.
    pub(crate) fn firm(text: &str) -> Kind {
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Kind::Integer(Some(number)),
            _ => match (text, text.parse::<f64>()) {
                ("true", _) => Kind::Boolean(true),
                ("false", _) => Kind::Boolean(false),
                (_, Ok(number)) if number.to_string() == text && number.is_finite() => Kind::Float(number),
                _ => Kind::Text(text.to_owned()),
            },
        }
    }

    /// Lays `above` upon this: tables are joined, anything else is replaced.
    pub(crate) fn overlay(&mut self, above: Node) {
        let above = match (&self.kind, &above.kind) {
            (Kind::Table(_), Kind::Raw) => above.parsed(),
            _ => above,
        };
        let Node { kind, text, key, span, secret } = above;
        self.secret |= secret;
        match (&mut self.kind, kind) {
            (Kind::Table(entries), Kind::Table(more)) => {
                for (name, node) in more {
                    match entries.get_mut(&name) {
                        Some(below) => below.overlay(node),
                        None => drop(entries.insert(name, node)),
                    }
                }
            }
            (below, kind) => *below = kind,
        }
        (self.text, self.key, self.span) = (text, key, span);
    }

    /// Lays a variable's value upon the key that `words` spells, `SERVER__LISTEN`.
    pub(crate) fn set(&mut self, words: &str, value: Node) {
        let mut node = self;
        // No setting is that deep, and dropping a tree takes stack for its depth.
        for word in words.splitn(16, "__") {
            if !matches!(node.kind, Kind::Table(_)) {
                *node = Node { kind: Kind::Table(BTreeMap::new()), ..value.clone() };
            }
            let Kind::Table(entries) = &mut node.kind else { return };
            let name = entries.keys().find(|name| same_key(name, word)).cloned();
            node = entries.entry(name.unwrap_or_else(|| word.to_lowercase())).or_insert_with(|| value.clone());
        }
        node.overlay(value);
    }

    /// The node of a key, `server.listen`.
    pub(crate) fn find(&self, key: &str) -> Option<&Node> {
        key.split('.').try_fold(self, |node, name| match &node.kind {
            Kind::Table(entries) => entries.get(name),
            _ => None,
        })
    }

    /// All values with their whole keys, in alphabetical order.
    pub(crate) fn leaves(&self) -> Vec<(String, &Node)> {
        let mut leaves = Vec::new();
        self.collect("", &mut leaves);
        leaves
    }

    fn collect<'n>(&'n self, key: &str, leaves: &mut Vec<(String, &'n Node)>) {
        match &self.kind {
            Kind::Table(entries) => {
                for (name, node) in entries {
                    node.collect(&join(key, name), leaves);
                }
            }
            _ => leaves.push((key.to_owned(), self)),
        }
    }

    /// As it is written, on one line.
    pub(crate) fn written(&self) -> String {
        let text = self.text.text.get(self.span.clone()).unwrap_or_default();
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    pub(crate) fn source(&self) -> Source {
        self.text.source_at(self.span.start)
    }

    pub(crate) fn is_variable(&self) -> bool {
        matches!(self.text.source, Source::Variable(_))
    }
}

/// Says nothing: a tree holds secrets.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node")
    }
}

/// `server` and `listen` as `server.listen`. A name that is no bare key is quoted, as TOML would.
pub(crate) fn join(key: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = if name.starts_with('[') || (!name.is_empty() && name.chars().all(bare)) {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    match key {
        "" => name,
        key => format!("{key}.{name}"),
    }
}

/// Whether a word of a variable's name spells this key: such names have neither small letters nor hyphens.
pub(crate) fn same_key(key: &str, word: &str) -> bool {
    key.len() == word.len() && key.replace('-', "_").eq_ignore_ascii_case(&word.replace('-', "_"))
}
