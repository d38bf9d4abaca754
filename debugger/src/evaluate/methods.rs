//! What the methods of the standard library's types would answer, those that only look.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::item::{Item, Number};
use super::parse::{Binary, Expr};
use super::{Answer, Evaluator, MOST_TEXT, Mistake, Names, missing};
use crate::layout::{Collection, Shape, Shown};
use crate::types::short;
use std::cmp::Ordering;
use std::ops::Range;

/// Methods of everything: they lead to what they are called on, since references are looked through anyway.
pub(crate) const ANY: &[&str] = &[
    "as_deref",
    "as_mut",
    "as_path",
    "as_ref",
    "as_slice",
    "as_str",
    "borrow",
    "borrow_mut",
    "by_ref",
    "clone",
    "cloned",
    "collect",
    "copied",
    "deref",
    "display",
    "into_inner",
    "into_iter",
    "iter",
    "iter_mut",
    "load",
    "to_owned",
    "to_path_buf",
    "to_string_lossy",
    "to_vec",
];
/// Methods that may fail elsewhere, and never do here: nobody holds a lock of a process that stands still.
pub(crate) const LOCKS: &[&str] = &["lock", "read", "try_borrow", "try_lock", "try_read", "write"];
pub(crate) const LIST: &[&str] = &[
    "all",
    "any",
    "chain",
    "contains",
    "count",
    "enumerate",
    "ends_with",
    "filter",
    "filter_map",
    "find",
    "first",
    "flat_map",
    "get",
    "is_empty",
    "join",
    "last",
    "len",
    "map",
    "max",
    "max_by_key",
    "min",
    "min_by_key",
    "nth",
    "position",
    "product",
    "rev",
    "skip",
    "skip_while",
    "starts_with",
    "step_by",
    "sum",
    "take",
    "take_while",
    "windows",
    "chunks",
    "zip",
];
pub(crate) const MAP: &[&str] = &["contains_key", "get", "get_key_value", "is_empty", "keys", "len", "values"];
pub(crate) const SET: &[&str] = &["contains", "is_empty", "len"];
pub(crate) const TEXT: &[&str] = &[
    "as_bytes",
    "bytes",
    "chars",
    "contains",
    "ends_with",
    "eq_ignore_ascii_case",
    "extension",
    "file_name",
    "find",
    "is_ascii",
    "is_empty",
    "len",
    "lines",
    "parse",
    "parent",
    "replace",
    "rsplit",
    "split",
    "split_once",
    "split_whitespace",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
    "to_ascii_lowercase",
    "to_ascii_uppercase",
    "to_lowercase",
    "to_string",
    "to_uppercase",
    "trim",
    "trim_end",
    "trim_start",
];
pub(crate) const OPTION: &[&str] = &[
    "and_then",
    "expect",
    "filter",
    "is_none",
    "is_some",
    "is_some_and",
    "map",
    "ok_or",
    "or",
    "unwrap",
    "unwrap_or",
    "unwrap_or_default",
];
pub(crate) const RESULT: &[&str] =
    &["and_then", "err", "expect", "is_err", "is_ok", "map", "map_err", "ok", "unwrap", "unwrap_err", "unwrap_or"];
pub(crate) const NUMBER: &[&str] = &[
    "abs",
    "abs_diff",
    "ceil",
    "clamp",
    "count_ones",
    "floor",
    "is_finite",
    "is_nan",
    "is_negative",
    "is_positive",
    "is_power_of_two",
    "max",
    "min",
    "pow",
    "powf",
    "powi",
    "round",
    "sqrt",
    "to_string",
];
pub(crate) const CHAR: &[&str] = &[
    "is_alphabetic",
    "is_alphanumeric",
    "is_ascii",
    "is_ascii_digit",
    "is_lowercase",
    "is_numeric",
    "is_uppercase",
    "is_whitespace",
    "len_utf8",
    "to_ascii_lowercase",
    "to_ascii_uppercase",
    "to_string",
];
pub(crate) const DURATION: &[&str] = &["as_micros", "as_millis", "as_nanos", "as_secs", "as_secs_f64"];

/// Methods that change what they are called on.
const CHANGING: &[&str] = &[
    "append",
    "clear",
    "dedup",
    "drain",
    "entry",
    "extend",
    "fill",
    "get_or_insert_with",
    "insert",
    "insert_str",
    "pop",
    "pop_back",
    "pop_front",
    "push",
    "push_back",
    "push_front",
    "push_str",
    "remove",
    "reserve",
    "resize",
    "retain",
    "reverse",
    "send",
    "set",
    "sort",
    "sort_by",
    "sort_by_key",
    "sort_unstable",
    "split_off",
    "store",
    "swap",
    "swap_remove",
    "truncate",
];

/// What a method is called on.
enum Receiver {
    Row(Collection),
    List(Vec<Item>),
    Map(Collection),
    Set(Collection),
    Text(String),
    Option(Option<Item>),
    Result(Result<Item, Item>),
    Number(Number),
    Char(char),
    Bool(bool),
    Duration(std::time::Duration),
    /// A type of which no methods are known: its name.
    Other(String),
}

/// A call: the name, the arguments, and where it stands.
struct Call<'c> {
    name: &'c str,
    arguments: &'c [Expr],
    at: &'c Range<usize>,
}

impl Call<'_> {
    fn fail(&self, message: impl Into<String>) -> Mistake {
        Mistake::new(message.into(), self.at.clone())
    }

    fn argument(&self, index: usize) -> Result<&Expr, Mistake> {
        let wanted = index.saturating_add(1);
        self.arguments.get(index).ok_or_else(|| {
            self.fail(format!("`{}` takes {wanted} argument{}", self.name, if wanted == 1 { "" } else { "s" }))
        })
    }

    /// Says no if the call has more arguments than any method of this name takes here.
    fn at_most(&self, most: usize) -> Result<(), Mistake> {
        if self.arguments.len() > most {
            return Err(self.fail(format!("`{}` takes no {} arguments", self.name, self.arguments.len())));
        }
        Ok(())
    }
}

impl Evaluator<'_> {
    pub(crate) fn method(
        &self,
        receiver: Item,
        name: &str,
        arguments: &[Expr],
        names: &mut Names,
        at: &Range<usize>,
    ) -> Answer {
        let call = Call { name, arguments, at };
        call.at_most(2)?;
        if CHANGING.contains(&name) {
            return Err(call.fail(format!("the prompt only reads: `{name}` would change something")));
        }
        // `load(Ordering::Relaxed)` has an argument that says nothing of the value.
        if ANY.contains(&name) || (matches!(name, "get" | "get_mut") && arguments.is_empty()) {
            return Ok(receiver);
        }
        if LOCKS.contains(&name) && arguments.is_empty() {
            return Ok(Item::Variant("Ok".to_owned(), vec![receiver]));
        }
        let received = self.receiver(&receiver).map_err(|message| call.fail(message))?;
        let (answer, known) = match received {
            Receiver::Row(row) => (self.of_row(&row, &call, names)?, LIST),
            Receiver::List(items) => (self.of_list(items, &call, names)?, LIST),
            Receiver::Map(map) => (self.of_map(&map, &call, names)?, MAP),
            Receiver::Set(set) => (self.of_set(&set, &call, names)?, SET),
            Receiver::Text(text) => (self.of_text(&text, &call, names)?, TEXT),
            Receiver::Option(option) => (self.of_option(option, &call, names)?, OPTION),
            Receiver::Result(result) => (self.of_result(result, &call, names)?, RESULT),
            Receiver::Number(number) => (self.of_number(number, &call, names)?, NUMBER),
            Receiver::Char(char) => (of_char(char, name), CHAR),
            Receiver::Bool(value) => {
                (self.of_bool(value, &call, names)?, &["then", "then_some", "to_string"] as &[&str])
            }
            Receiver::Duration(duration) => (of_duration(duration, name).map_err(|e| call.fail(e))?, DURATION),
            Receiver::Other(of) => {
                return Err(call.fail(format!("the prompt only reads: it cannot call `{name}` of {of}")));
            }
        };
        answer.ok_or_else(|| call.fail(missing("method", name, known.iter().copied())))
    }

    /// The names of the methods that an item has.
    pub(crate) fn methods_of(&self, item: &Item) -> Vec<&'static str> {
        let own = match self.receiver(item) {
            Ok(Receiver::Row(_) | Receiver::List(_)) => LIST,
            Ok(Receiver::Map(_)) => MAP,
            Ok(Receiver::Set(_)) => SET,
            Ok(Receiver::Text(_)) => TEXT,
            Ok(Receiver::Option(_)) => OPTION,
            Ok(Receiver::Result(_)) => RESULT,
            Ok(Receiver::Number(_)) => NUMBER,
            Ok(Receiver::Char(_)) => CHAR,
            Ok(Receiver::Duration(_)) => DURATION,
            _ => &[],
        };
        let iterates = [LIST, MAP, SET, OPTION].iter().any(|list| std::ptr::eq(*list, own));
        own.iter().copied().chain(["iter"].into_iter().filter(|_| iterates)).collect()
    }

    fn receiver(&self, item: &Item) -> Result<Receiver, String> {
        if let Item::Place(place) = item {
            // A lock around an `Option` is looked through; so is the name.
            let (inner, shape) = self.show.inside(place).map_err(|fault| fault.to_string())?;
            let name = inner.of.name.as_str();
            if let Shape::Fields(named) = shape {
                let first = named.fields.into_iter().next().map(|(_, place)| Item::Place(place));
                return Ok(match (name, named.name.as_str()) {
                    (name, "Some" | "None") if name.starts_with("core::option::Option<") => Receiver::Option(first),
                    (name, "Ok") if name.starts_with("core::result::Result<") => {
                        Receiver::Result(Ok(first.unwrap_or(Item::Unit)))
                    }
                    (name, "Err") if name.starts_with("core::result::Result<") => {
                        Receiver::Result(Err(first.unwrap_or(Item::Unit)))
                    }
                    _ => Receiver::Other(format!("a {}", short(name))),
                });
            }
            if name == "core::time::Duration" {
                let reader = &self.show.reader;
                let part = |path: &[&str]| reader.number_of(&inner, path).map_err(|fault| fault.to_string());
                let nanos = part(&["nanos", "__0"])?.min(999_999_999);
                let duration = std::time::Duration::new(part(&["secs"])?, u32::try_from(nanos).unwrap_or(0));
                return Ok(Receiver::Duration(duration));
            }
            if let Shape::Collection(collection) = shape {
                return Ok(match collection.kind {
                    Shown::List => Receiver::Row(collection),
                    Shown::Map => Receiver::Map(collection),
                    Shown::Set => Receiver::Set(collection),
                });
            }
        }
        Ok(match self.load(item)? {
            Item::Part(row) => Receiver::Row(row),
            Item::List(items) => Receiver::List(items),
            Item::Range(begin, Some(end)) => {
                let begin = begin.unwrap_or(0);
                self.make(usize::try_from(end.saturating_sub(begin)).unwrap_or(usize::MAX))?;
                Receiver::List((begin..end).map(Item::count).collect())
            }
            Item::Text(text) => Receiver::Text(text),
            Item::Number(number) => Receiver::Number(number),
            Item::Char(char) => Receiver::Char(char),
            Item::Bool(value) => Receiver::Bool(value),
            Item::Variant(name, mut parts) => match name.as_str() {
                "Some" | "None" => Receiver::Option(parts.pop()),
                "Ok" => Receiver::Result(Ok(parts.pop().unwrap_or(Item::Unit))),
                "Err" => Receiver::Result(Err(parts.pop().unwrap_or(Item::Unit))),
                _ => Receiver::Other(name),
            },
            other => Receiver::Other(self.describe(&other)),
        })
    }

    /// The elements that a method which takes another sequence is given.
    fn sequence(&self, item: &Item) -> Result<Vec<Item>, String> {
        match self.receiver(item)? {
            Receiver::Row(all) | Receiver::Map(all) | Receiver::Set(all) => self.some(&all, 0, all.length),
            Receiver::List(items) => Ok(items),
            Receiver::Option(option) => Ok(option.into_iter().collect()),
            _ => Err(format!("a list is expected, not {}", self.describe(item))),
        }
    }

    /// What needs not all elements of a list of the process.
    fn of_row(&self, row: &Collection, call: &Call<'_>, names: &mut Names) -> Result<Option<Item>, Mistake> {
        let fail = |message: String| call.fail(message);
        let last = row.length.saturating_sub(1);
        let item = match call.name {
            "len" | "count" => Item::count(row.length),
            "is_empty" => Item::Bool(row.length == 0),
            "first" => Item::option(self.element(row, 0).map_err(fail)?),
            "last" => Item::option(self.element(row, last).map_err(fail)?),
            "get" | "nth" => {
                let index = self.evaluate(call.argument(0)?, names)?;
                match index {
                    Item::Range(begin, end) => Item::option(self.part(Item::Part(row.clone()), begin, end).ok()),
                    index => {
                        let index = self.count(&index).map_err(fail)?;
                        Item::option(self.element(row, index).map_err(fail)?)
                    }
                }
            }
            "take" | "skip" => {
                let count = self.index(call.argument(0)?, names)?.min(row.length);
                let (begin, end) = if call.name == "take" { (0, count) } else { (count, row.length) };
                self.part(Item::Part(row.clone()), Some(begin), Some(end)).map_err(fail)?
            }
            _ => {
                let items = self.some(row, 0, row.length).map_err(fail)?;
                return self.of_list(items, call, names);
            }
        };
        Ok(Some(item))
    }

    fn of_list(&self, items: Vec<Item>, call: &Call<'_>, names: &mut Names) -> Result<Option<Item>, Mistake> {
        let fail = |message: String| call.fail(message);
        let length = u64::try_from(items.len()).unwrap_or(u64::MAX);
        let truth = |closure: &Expr, item: &Item, names: &mut Names| -> Result<bool, Mistake> {
            match self.load(&self.call(closure, std::slice::from_ref(item), names)?).map_err(fail)? {
                Item::Bool(value) => Ok(value),
                _ => Err(call.fail("the closure is to give a bool")),
            }
        };
        let count = |names: &mut Names| -> Result<usize, Mistake> {
            Ok(usize::try_from(self.index(call.argument(0)?, names)?).unwrap_or(usize::MAX))
        };
        let item = match call.name {
            "len" | "count" => Item::count(length),
            "is_empty" => Item::Bool(items.is_empty()),
            "first" | "next" => Item::option(items.into_iter().next()),
            "last" => Item::option(items.into_iter().last()),
            "get" | "nth" => Item::option(items.into_iter().nth(count(names)?)),
            "take" => Item::List(items.into_iter().take(count(names)?).collect()),
            "skip" => Item::List(items.into_iter().skip(count(names)?).collect()),
            "step_by" => match count(names)? {
                0 => return Err(call.fail("would panic: a step of 0")),
                step => Item::List(items.into_iter().step_by(step).collect()),
            },
            "rev" => Item::List(items.into_iter().rev().collect()),
            "enumerate" => {
                let pairs = (0..).zip(items).map(|(index, item)| Item::Tuple(vec![Item::count(index), item]));
                Item::List(pairs.collect())
            }
            "zip" | "chain" => {
                let other = self.evaluate(call.argument(0)?, names)?;
                let other = self.sequence(&other).map_err(fail)?;
                self.make(other.len()).map_err(fail)?;
                if call.name == "chain" {
                    Item::List(items.into_iter().chain(other).collect())
                } else {
                    Item::List(items.into_iter().zip(other).map(|(a, b)| Item::Tuple(vec![a, b])).collect())
                }
            }
            "windows" | "chunks" => {
                let size = count(names)?;
                if size == 0 {
                    return Err(call.fail("would panic: a size of 0"));
                }
                // Windows repeat their elements.
                self.make(items.len().saturating_mul(if call.name == "windows" { size } else { 1 })).map_err(fail)?;
                Item::List(if call.name == "windows" {
                    items.windows(size).map(|part| Item::List(part.to_vec())).collect()
                } else {
                    items.chunks(size).map(|part| Item::List(part.to_vec())).collect()
                })
            }
            "sum" | "product" => {
                let (operator, start) = if call.name == "sum" { (Binary::Add, 0) } else { (Binary::Multiply, 1) };
                let mut total = None::<Number>;
                for item in &items {
                    let number = self.load(item).and_then(Item::into_number).map_err(fail)?;
                    total = Some(match total {
                        Some(total) => total.apply(operator, number).map_err(fail)?,
                        None => number,
                    });
                }
                match total {
                    Some(total) => Item::Number(total),
                    None => Item::integer(false, start, None).map_err(fail)?,
                }
            }
            "min" | "max" => self.extreme(items, call.name == "max", |item| Ok(item.clone()), call)?,
            "min_by_key" | "max_by_key" => {
                let closure = call.argument(0)?;
                let max = call.name == "max_by_key";
                self.extreme(items, max, |item| self.call(closure, std::slice::from_ref(item), names), call)?
            }
            "contains" => {
                let wanted = self.evaluate(call.argument(0)?, names)?;
                let mut found = false;
                for item in &items {
                    found = self.equal(item, &wanted, 0).map_err(fail)?;
                    if found {
                        break;
                    }
                }
                Item::Bool(found)
            }
            "starts_with" | "ends_with" => {
                let wanted = self.evaluate(call.argument(0)?, names)?;
                let wanted = self.sequence(&wanted).map_err(fail)?;
                let begin = match items.len().checked_sub(wanted.len()) {
                    None => return Ok(Some(Item::Bool(false))),
                    Some(rest) => {
                        if call.name == "starts_with" {
                            0
                        } else {
                            rest
                        }
                    }
                };
                let mut same = true;
                for (item, wanted) in items.iter().skip(begin).zip(&wanted) {
                    same = same && self.equal(item, wanted, 0).map_err(fail)?;
                }
                Item::Bool(same)
            }
            "join" => {
                let between = match call.arguments.first() {
                    Some(between) => self.argument_text(between, names)?,
                    None => String::new(),
                };
                let mut text = String::new();
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        text.push_str(&between);
                    }
                    match self.load(item).map_err(fail)? {
                        Item::Text(part) => text.push_str(&part),
                        Item::Char(part) => text.push(part),
                        other => return Err(call.fail(format!("only texts are joined, not {}", self.describe(&other)))),
                    }
                    if text.len() > MOST_TEXT {
                        return Err(call.fail("this text gets too long"));
                    }
                }
                Item::Text(text)
            }
            "map" | "flat_map" | "filter_map" => {
                let closure = call.argument(0)?;
                let mut mapped = Vec::new();
                for item in &items {
                    self.make(1).map_err(fail)?;
                    let answer = self.call(closure, std::slice::from_ref(item), names)?;
                    if call.name == "map" {
                        mapped.push(answer);
                    } else {
                        mapped.extend(self.sequence(&answer).map_err(fail)?);
                    }
                }
                Item::List(mapped)
            }
            "filter" | "take_while" | "skip_while" => {
                let closure = call.argument(0)?;
                let mut kept = Vec::new();
                let mut skipping = true;
                for item in items {
                    let holds = truth(closure, &item, names)?;
                    match (call.name, holds) {
                        ("take_while", false) => break,
                        ("filter", false) => {}
                        ("skip_while", true) if skipping => {}
                        _ => {
                            skipping = false;
                            kept.push(item);
                        }
                    }
                }
                Item::List(kept)
            }
            "any" | "all" => {
                let closure = call.argument(0)?;
                let wanted = call.name == "any";
                let mut found = !wanted;
                for item in &items {
                    if truth(closure, item, names)? == wanted {
                        found = wanted;
                        break;
                    }
                }
                Item::Bool(found)
            }
            "find" | "position" => {
                let closure = call.argument(0)?;
                let mut found = None;
                for (index, item) in (0..).zip(items) {
                    if truth(closure, &item, names)? {
                        found = Some(if call.name == "find" { item } else { Item::count(index) });
                        break;
                    }
                }
                Item::option(found)
            }
            _ => return Ok(None),
        };
        Ok(Some(item))
    }

    /// The least or the greatest, by what `key` makes of each; of equal ones the same that Rust takes.
    fn extreme(
        &self,
        items: Vec<Item>,
        max: bool,
        mut key: impl FnMut(&Item) -> Answer,
        call: &Call<'_>,
    ) -> Result<Item, Mistake> {
        let mut best = None::<(Item, Item)>;
        for item in items {
            let new = key(&item)?;
            let better = match &best {
                None => true,
                Some((_, old)) => match self.compare(&new, old).map_err(|message| call.fail(message))? {
                    Some(Ordering::Less) => !max,
                    Some(Ordering::Greater | Ordering::Equal) => max,
                    None => false,
                },
            };
            if better {
                best = Some((item, new));
            }
        }
        Ok(Item::option(best.map(|(item, _)| item)))
    }

    fn of_map(&self, map: &Collection, call: &Call<'_>, names: &mut Names) -> Result<Option<Item>, Mistake> {
        let fail = |message: String| call.fail(message);
        let item = match call.name {
            "len" | "count" => Item::count(map.length),
            "is_empty" => Item::Bool(map.length == 0),
            "get" | "contains_key" | "get_key_value" => {
                let key = self.evaluate(call.argument(0)?, names)?;
                let found = self.lookup(map, &key).map_err(fail)?;
                match call.name {
                    "contains_key" => Item::Bool(found.is_some()),
                    "get" => Item::option(found),
                    _ => Item::option(found.map(|value| Item::Tuple(vec![key, value]))),
                }
            }
            "keys" | "values" | "into_keys" | "into_values" => {
                let values = call.name.ends_with("values");
                let pairs = self.some(map, 0, map.length).map_err(fail)?;
                let parts = pairs.into_iter().filter_map(|pair| match pair {
                    Item::Tuple(parts) => parts.into_iter().nth(usize::from(values)),
                    _ => None,
                });
                Item::List(parts.collect())
            }
            _ => {
                let pairs = self.some(map, 0, map.length).map_err(fail)?;
                return self.of_list(pairs, call, names);
            }
        };
        Ok(Some(item))
    }

    fn of_set(&self, set: &Collection, call: &Call<'_>, names: &mut Names) -> Result<Option<Item>, Mistake> {
        match call.name {
            "len" | "count" => Ok(Some(Item::count(set.length))),
            "is_empty" => Ok(Some(Item::Bool(set.length == 0))),
            _ => {
                let items = self.some(set, 0, set.length).map_err(|message| call.fail(message))?;
                self.of_list(items, call, names)
            }
        }
    }

    fn argument_text(&self, argument: &Expr, names: &mut Names) -> Result<String, Mistake> {
        let fail = |message: String| Mistake::new(message, argument.at.clone());
        let item = self.evaluate(argument, names)?;
        match self.load(&item).map_err(fail)? {
            Item::Text(text) => Ok(text),
            Item::Char(char) => Ok(char.to_string()),
            other => Err(fail(format!("a text is expected, not {}", self.describe(&other)))),
        }
    }

    fn of_text(&self, text: &str, call: &Call<'_>, names: &mut Names) -> Result<Option<Item>, Mistake> {
        let own = |text: &str| Item::Text(text.to_owned());
        let mut argument = |index: usize| self.argument_text(call.argument(index)?, names);
        let path = std::path::Path::new(text);
        let name = |name: Option<&std::ffi::OsStr>| Item::option(name.map(|name| own(&name.to_string_lossy())));
        let item = match call.name {
            "len" => Item::count(u64::try_from(text.len()).unwrap_or(u64::MAX)),
            "is_empty" => Item::Bool(text.is_empty()),
            "is_ascii" => Item::Bool(text.is_ascii()),
            "to_string" | "into_string" => own(text),
            "contains" => Item::Bool(text.contains(&argument(0)?)),
            "starts_with" => Item::Bool(text.starts_with(&argument(0)?)),
            "ends_with" => Item::Bool(text.ends_with(&argument(0)?)),
            "eq_ignore_ascii_case" => Item::Bool(text.eq_ignore_ascii_case(&argument(0)?)),
            "find" => {
                let at = text.find(&argument(0)?);
                Item::option(at.map(|at| Item::count(u64::try_from(at).unwrap_or(u64::MAX))))
            }
            "trim" => own(text.trim()),
            "trim_start" => own(text.trim_start()),
            "trim_end" => own(text.trim_end()),
            "to_lowercase" => Item::Text(text.to_lowercase()),
            "to_uppercase" => Item::Text(text.to_uppercase()),
            "to_ascii_lowercase" => Item::Text(text.to_ascii_lowercase()),
            "to_ascii_uppercase" => Item::Text(text.to_ascii_uppercase()),
            "strip_prefix" => Item::option(text.strip_prefix(&argument(0)?).map(own)),
            "strip_suffix" => Item::option(text.strip_suffix(&argument(0)?).map(own)),
            "split_once" => {
                let parts = text.split_once(&argument(0)?);
                Item::option(parts.map(|(a, b)| Item::Tuple(vec![own(a), own(b)])))
            }
            "replace" => {
                let (from, to) = (argument(0)?, argument(1)?);
                let most = text.matches(&from).count().saturating_mul(to.len()).saturating_add(text.len());
                if most > MOST_TEXT {
                    return Err(call.fail("this text gets too long"));
                }
                Item::Text(text.replace(&from, &to))
            }
            "parse" => match (text.parse::<i128>(), text.parse::<f64>()) {
                (Ok(value), _) => {
                    let number = Item::integer(value < 0, value.unsigned_abs(), None).map_err(|e| call.fail(e))?;
                    Item::Variant("Ok".to_owned(), vec![number])
                }
                (_, Ok(value)) => Item::Variant("Ok".to_owned(), vec![Item::float(value, false)]),
                _ => Item::Variant("Err".to_owned(), vec![own("this is no number")]),
            },
            "file_name" => name(path.file_name()),
            "extension" => name(path.extension()),
            "parent" => name(path.parent().map(std::path::Path::as_os_str)),
            "split" | "rsplit" | "lines" | "split_whitespace" | "chars" | "bytes" | "as_bytes" => {
                self.make(text.len().saturating_add(1)).map_err(|message| call.fail(message))?;
                Item::List(match call.name {
                    "split" => text.split(&argument(0)?).map(own).collect(),
                    "rsplit" => text.rsplit(&argument(0)?).map(own).collect(),
                    "lines" => text.lines().map(own).collect(),
                    "split_whitespace" => text.split_whitespace().map(own).collect(),
                    "chars" => text.chars().map(Item::Char).collect(),
                    _ => {
                        let bytes = text.bytes().map(|byte| Item::integer(false, byte.into(), Some("u8")));
                        bytes.collect::<Result<_, _>>().map_err(|message| call.fail(message))?
                    }
                })
            }
            _ => return Ok(None),
        };
        Ok(Some(item))
    }

    fn of_option(&self, option: Option<Item>, call: &Call<'_>, names: &mut Names) -> Result<Option<Item>, Mistake> {
        let item = match call.name {
            "is_some" => Item::Bool(option.is_some()),
            "is_none" => Item::Bool(option.is_none()),
            "unwrap" => option.ok_or_else(|| call.fail("would panic: None"))?,
            "expect" => match option {
                Some(item) => item,
                None => {
                    let message = self.argument_text(call.argument(0)?, names)?;
                    return Err(call.fail(format!("would panic: {message}")));
                }
            },
            "unwrap_or" => match option {
                Some(item) => item,
                None => self.evaluate(call.argument(0)?, names)?,
            },
            "unwrap_or_default" => option.ok_or_else(|| call.fail("None; the default is not known here"))?,
            "or" => match option {
                Some(item) => Item::some(item),
                None => self.evaluate(call.argument(0)?, names)?,
            },
            "ok_or" => match option {
                Some(item) => Item::Variant("Ok".to_owned(), vec![item]),
                None => Item::Variant("Err".to_owned(), vec![self.evaluate(call.argument(0)?, names)?]),
            },
            "map" | "and_then" | "is_some_and" | "filter" => {
                let closure = call.argument(0)?;
                let Some(item) = option else {
                    let bool = call.name == "is_some_and";
                    return Ok(Some(if bool { Item::Bool(false) } else { Item::option(None) }));
                };
                let answer = self.call(closure, std::slice::from_ref(&item), names)?;
                match call.name {
                    "map" => Item::some(answer),
                    "filter" => {
                        let kept = matches!(self.load(&answer).map_err(|e| call.fail(e))?, Item::Bool(true));
                        Item::option(kept.then_some(item))
                    }
                    _ => answer,
                }
            }
            _ => return self.of_list(option.into_iter().collect(), call, names),
        };
        Ok(Some(item))
    }

    fn of_result(
        &self,
        result: Result<Item, Item>,
        call: &Call<'_>,
        names: &mut Names,
    ) -> Result<Option<Item>, Mistake> {
        let variant = |name: &str, item: Item| Item::Variant(name.to_owned(), vec![item]);
        let item = match (call.name, result) {
            ("is_ok", result) => Item::Bool(result.is_ok()),
            ("is_err", result) => Item::Bool(result.is_err()),
            ("ok", result) => Item::option(result.ok()),
            ("err", result) => Item::option(result.err()),
            ("unwrap" | "expect" | "unwrap_or", Ok(item)) | ("unwrap_err", Err(item)) => item,
            ("unwrap_or", Err(_)) => self.evaluate(call.argument(0)?, names)?,
            ("unwrap" | "expect", Err(item)) => {
                return Err(call.fail(format!("would panic: Err({})", self.describe(&item))));
            }
            ("unwrap_err", Ok(item)) => {
                return Err(call.fail(format!("would panic: Ok({})", self.describe(&item))));
            }
            ("map" | "and_then", Err(item)) => variant("Err", item),
            ("map_err", Ok(item)) => variant("Ok", item),
            ("map", Ok(item)) => variant("Ok", self.call(call.argument(0)?, &[item], names)?),
            ("map_err", Err(item)) => variant("Err", self.call(call.argument(0)?, &[item], names)?),
            ("and_then", Ok(item)) => self.call(call.argument(0)?, &[item], names)?,
            _ => return Ok(None),
        };
        Ok(Some(item))
    }

    fn of_bool(&self, value: bool, call: &Call<'_>, names: &mut Names) -> Result<Option<Item>, Mistake> {
        Ok(match call.name {
            "to_string" => Some(Item::Text(value.to_string())),
            "then_some" if value => Some(Item::some(self.evaluate(call.argument(0)?, names)?)),
            "then" if value => Some(Item::some(self.call(call.argument(0)?, &[], names)?)),
            "then_some" | "then" => Some(Item::option(None)),
            _ => None,
        })
    }

    fn of_number(&self, number: Number, call: &Call<'_>, names: &mut Names) -> Result<Option<Item>, Mistake> {
        let fail = |message: String| call.fail(message);
        let mut argument = |index: usize| -> Result<Number, Mistake> {
            let item = self.evaluate(call.argument(index)?, names)?;
            self.load(&item).and_then(Item::into_number).map_err(fail)
        };
        let single = matches!(number, Number::Float { single: true, .. });
        let float = |value: f64| Number::Float { value, single };
        let item = match (call.name, number) {
            ("to_string", number) => Item::Text(number.to_string()),
            ("max" | "min", number) => {
                let other = argument(0)?;
                let keep = if call.name == "max" { Ordering::Greater } else { Ordering::Less };
                let order = number.compare(&other).map_err(fail)?;
                Item::Number(if order == Some(keep) { number } else { other })
            }
            ("clamp", number) => {
                let (least, most) = (argument(0)?, argument(1)?);
                let above = number.compare(&most).map_err(fail)? == Some(Ordering::Greater);
                let below = number.compare(&least).map_err(fail)? == Some(Ordering::Less);
                Item::Number(if below {
                    least
                } else if above {
                    most
                } else {
                    number
                })
            }
            ("abs", Number::Integer { magnitude, of, .. }) => Item::integer(false, magnitude, of).map_err(fail)?,
            ("abs_diff", number @ Number::Integer { .. }) => {
                match number.apply(Binary::Subtract, argument(0)?) {
                    Ok(Number::Integer { magnitude, .. }) => Item::integer(false, magnitude, None).map_err(fail)?,
                    // Unsigned numbers go no lower than 0: the other way round, then.
                    _ => Item::Number(argument(0)?.apply(Binary::Subtract, number).map_err(fail)?),
                }
            }
            ("pow", number @ Number::Integer { of, .. }) => {
                let Number::Integer { negative: false, magnitude: mut times, .. } = argument(0)? else {
                    return Err(call.fail("a power is not negative"));
                };
                let mut power = Item::integer(false, 1, of).and_then(Item::into_number).map_err(fail)?;
                // 0, 1 and -1 can be multiplied for ever; what grows stops by itself.
                if times > 200 {
                    times = 200_u128.saturating_add(times % 2);
                }
                for _ in 0..times {
                    power = power.apply(Binary::Multiply, number).map_err(fail)?;
                }
                Item::Number(power)
            }
            ("is_power_of_two", Number::Integer { magnitude, .. }) => Item::Bool(magnitude.is_power_of_two()),
            ("count_ones", Number::Integer { negative: false, magnitude, .. }) => {
                Item::integer(false, magnitude.count_ones().into(), Some("u32")).map_err(fail)?
            }
            ("is_negative", Number::Integer { negative, .. }) => Item::Bool(negative),
            ("is_positive", Number::Integer { negative, magnitude, .. }) => Item::Bool(!negative && magnitude > 0),
            ("is_nan", number) => Item::Bool(number.as_float().is_nan()),
            ("is_finite", number) => Item::Bool(number.as_float().is_finite()),
            ("abs", Number::Float { value, .. }) => Item::Number(float(value.abs())),
            ("abs_diff", Number::Float { value, .. }) => Item::Number(float((value - argument(0)?.as_float()).abs())),
            // Floats are worked out with the precision of f64.
            ("sqrt", number) => Item::Number(float(number.as_float().sqrt())),
            ("floor", Number::Float { value, .. }) => Item::Number(float(value.floor())),
            ("ceil", Number::Float { value, .. }) => Item::Number(float(value.ceil())),
            ("round", Number::Float { value, .. }) => Item::Number(float(value.round())),
            ("floor" | "ceil" | "round", number) => Item::Number(number),
            ("powf" | "powi" | "pow", number) => Item::Number(float(number.as_float().powf(argument(0)?.as_float()))),
            ("is_negative", number) => Item::Bool(number.as_float() < 0.0),
            ("is_positive", number) => Item::Bool(number.as_float() > 0.0),
            ("is_power_of_two" | "count_ones", _) => return Err(call.fail("only of integers that are not negative")),
            _ => return Ok(None),
        };
        Ok(Some(item))
    }
}

fn of_char(char: char, name: &str) -> Option<Item> {
    Some(match name {
        "is_alphabetic" => Item::Bool(char.is_alphabetic()),
        "is_alphanumeric" => Item::Bool(char.is_alphanumeric()),
        "is_ascii" => Item::Bool(char.is_ascii()),
        "is_ascii_digit" => Item::Bool(char.is_ascii_digit()),
        "is_lowercase" => Item::Bool(char.is_lowercase()),
        "is_numeric" => Item::Bool(char.is_numeric()),
        "is_uppercase" => Item::Bool(char.is_uppercase()),
        "is_whitespace" => Item::Bool(char.is_whitespace()),
        "len_utf8" => Item::count(u64::try_from(char.len_utf8()).unwrap_or(0)),
        "to_ascii_lowercase" => Item::Char(char.to_ascii_lowercase()),
        "to_ascii_uppercase" => Item::Char(char.to_ascii_uppercase()),
        "to_string" => Item::Text(char.to_string()),
        _ => return None,
    })
}

fn of_duration(duration: std::time::Duration, name: &str) -> Result<Option<Item>, String> {
    Ok(Some(match name {
        "as_secs" => Item::integer(false, duration.as_secs().into(), Some("u64"))?,
        "as_millis" => Item::integer(false, duration.as_millis(), Some("u128"))?,
        "as_micros" => Item::integer(false, duration.as_micros(), Some("u128"))?,
        "as_nanos" => Item::integer(false, duration.as_nanos(), Some("u128"))?,
        "as_secs_f64" => Item::float(duration.as_secs_f64(), false),
        _ => return Ok(None),
    }))
}
