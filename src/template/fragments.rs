//! `fragment(…)`: a part of a page, whose markup is made once and kept in a cache.

use super::Links;
use super::tera_engine::{Fragments, Loaded, is_markup, rendering};
use crate::cache::Cache;
use crate::config::units::parse_duration;
use crate::nearest::nearest;
use crate::{Error, Result};
use ::tera::{Context, Kwargs, State, TeraResult, Value};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// The function's name.
pub(super) const FRAGMENT: &str = "fragment";

/// The arguments that are the function's own; all others are the template's.
const NAME: &str = "name";
const TTL: &str = "ttl";
const KEY: &str = "key";
const TAGS: &str = "tags";

/// Fragments in fragments: a template that leads to itself would not end.
const DEPTH: usize = 8;

/// The markup of a template by its arguments alone: the page's own names (the visitor's session, the token of its forms) are
/// not to be had in it, and so cannot get into another visitor's page.
pub(super) fn fragment(kwargs: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let wrong = |message: String| ::tera::Error::message(message);
    let name = kwargs.must_get::<&str>(NAME)?;
    let Some((fragments, links)) = rendering() else {
        return Err(wrong(NO_CACHE.to_owned()));
    };
    let Fragments { cache, loaded, depth } = &fragments;
    if *depth >= DEPTH {
        return Err(wrong(format!("the fragment `{name}` is the {DEPTH}th in another")));
    }
    if !loaded.contains(name) {
        return Err(wrong(missing(name, loaded.names())));
    }
    let ttl = kwargs.get::<Value>(TTL)?.filter(|ttl| !ttl.is_none()).map(|ttl| lifetime(&ttl)).transpose()?;
    let tags = kwargs.get::<Value>(TAGS)?.map(|tags| names(&tags)).transpose()?.unwrap_or_default();
    let mut own: Vec<_> = kwargs
        .iter()
        .filter_map(|(key, value)| Some((key.as_str()?, value)))
        .filter(|(key, _)| ![NAME, TTL, KEY, TAGS].contains(key))
        .collect();
    own.sort_by_key(|(name, _)| *name);
    let key = key(name, &links, loaded, kwargs.get::<Value>(KEY)?.as_ref(), &own);
    let markup = cache.markup(&key, ttl, tags, || {
        let mut context = Context::new();
        for (key, value) in &own {
            context.insert_value((*key).to_owned(), (*value).clone());
        }
        loaded.render_fragment(name, &context, &links, &fragments)
    });
    let markup = markup.map_err(|error| wrong(format!("the fragment `{name}`: {}", error.message())))?;
    // Of a template that is no markup it is a text, which the page escapes.
    Ok(if is_markup(name) { Value::safe_string(&markup) } else { Value::normal_string(&markup) })
}

const NO_CACHE: &str = "the templates have no cache for fragments: `Tera::new(…).fragments(caches.default_region())`";

pub(super) fn missing<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(known) => format!("unknown template `{name}`: did you mean `{known}`?"),
        None => format!("unknown template `{name}`"),
    }
}

/// Whether fragments can be kept in this region.
pub(super) fn check(cache: &Cache) -> Result<()> {
    if cache.has_memory() {
        return Ok(());
    }
    let region = cache.name();
    let message =
        format!("fragments are kept in memory, and the cache region `{region}` is in Redis only: say store = \"both\"");
    Err(Error::internal(message))
}

/// `"5m"`, or a number of seconds.
fn lifetime(value: &Value) -> TeraResult<Duration> {
    let read = match value.as_str() {
        Some(text) => parse_duration(text),
        None => value.as_u64().map(Duration::from_secs),
    };
    let expected = "expected a duration such as \"5m\", or a number of seconds";
    read.ok_or_else(|| ::tera::Error::message(format!("the argument `{TTL}`: {expected}, found {value}")))
}

/// A text, or a list of texts.
fn names(value: &Value) -> TeraResult<Vec<Box<str>>> {
    let one = |value: &Value| value.as_str().map(Box::from);
    let all = match value.as_array() {
        Some(list) => list.iter().map(one).collect(),
        None => one(value).map(|name| vec![name]),
    };
    all.ok_or_else(|| ::tera::Error::message(format!("the argument `{TAGS}` must be a text or a list of texts")))
}

/// What tells one markup from another: the template in this reading of the templates, where its links lead from, and what it
/// is given, or the key that stands for that.
fn key(name: &str, links: &Links, loaded: &Loaded, key: Option<&Value>, own: &[(&str, &Value)]) -> String {
    let mut text = format!("fragment:{}:", loaded.number());
    let (host, namespace) = links.from();
    for part in [host, namespace, name] {
        put(&mut text, 's', part);
    }
    match key {
        Some(key) => {
            text.push('k');
            write(&mut text, key);
        }
        None => {
            for (name, value) in own {
                put(&mut text, 'a', name);
                write(&mut text, value);
            }
        }
    }
    text
}

fn put(text: &mut String, kind: char, part: &str) {
    // A `String` takes everything.
    let _ = write!(text, "{kind}{}:{part}", part.len());
}

/// A value so that no other is written alike: maps by the order of their names, texts with their lengths, and markup that is
/// not escaped apart from text that is.
fn write(text: &mut String, value: &Value) {
    if let Some(string) = value.as_str() {
        return put(text, if value.is_safe() { 'm' } else { 's' }, string);
    }
    if let Some(list) = value.as_array() {
        text.push('[');
        list.iter().for_each(|value| write(text, value));
        return text.push(']');
    }
    if let Some(map) = value.as_map() {
        let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.to_string(), value)).collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        text.push('{');
        for (key, value) in entries {
            put(text, 's', &key);
            write(text, value);
        }
        return text.push('}');
    }
    if let Some(bytes) = value.as_bytes() {
        let _ = write!(text, "x{bytes:x?}");
        return;
    }
    put(text, 'v', value.name());
    put(text, 'v', &value.to_string());
}

/// The fragments of one page.
impl Fragments {
    pub(super) fn new(cache: &Cache, loaded: &Arc<Loaded>) -> Self {
        Self { cache: cache.clone(), loaded: loaded.clone(), depth: 0 }
    }
}
