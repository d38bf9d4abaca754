//! `Filled`: a form as a page shows it, with what was typed and what is wrong.

use super::fields::{Fields, join, number, split};
use super::read::Found;
use super::{OF_LAYERS, Problems, is_secret};
use crate::Result;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A form as a page shows it: what was typed, and what is wrong with it.
///
/// Given to a page by [`View::form`](crate::View::form); the components `forms.input`, `forms.select` and the others write its
/// fields. A template which does without them finds in `form`
///
/// - `values`: for each field by name, the list of its values: `form.values["address[city]"]`;
/// - `messages`: for each field with a problem, the list of its messages;
/// - `problems`: all of them in the order of the fields, each with `field`, `label` (the name in words: `Lines 2 count` of
///   `lines[1][count]`), `id` (of the field in the page), `code` and `message`;
/// - `rows`: for each list of structs, the numbers of its elements: `form.rows["lines"]`;
/// - `filled`: whether it was sent or began with values; if not, the fields have the values that the template gives them;
/// - `prefix`: what the ids begin with.
///
/// `Debug` shows no values.
#[derive(Clone, Default)]
pub struct Filled {
    values: BTreeMap<String, Vec<String>>,
    rows: BTreeMap<String, BTreeSet<usize>>,
    problems: Vec<Problem>,
    // In the order in which the fields stand in the page.
    order: Vec<String>,
    lists: BTreeMap<String, Option<Vec<usize>>>,
    prefix: Cow<'static, str>,
    filled: bool,
}

/// One thing that is wrong with a form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The field's name in the form, `address[city]`; empty for the form as a whole.
    pub field: String,
    /// What kind of problem it is, for a site that says it in its own words: `missing`, `number`, `whole`, `range`,
    /// `choice`, `yes_or_no`, `character`, `once`, `shape`; `validation` for one of garde's; `rule` for one of the site's own,
    /// by the form's [`Rules`](super::Rules) or by a type, whose message is about this field and no other.
    pub code: &'static str,
    /// What the visitor is told: a sentence.
    pub message: Cow<'static, str>,
}

impl Filled {
    /// An empty form.
    pub fn new() -> Self {
        Self::default()
    }

    /// A form that begins with the values of something, to change it.
    ///
    /// `true` ticks a box, `false` and `None` are nothing. Secrets are left out: see [the rule](super#what-is-shown-again).
    ///
    /// # Errors
    ///
    /// JSON cannot hold the value: a key that is no text, an integer beyond 64 bits.
    ///
    /// ```
    /// use purlin::form::Filled;
    ///
    /// let form = Filled::of(&serde_json::json!({ "name": "Ada", "tags": ["a", "b"], "address": { "city": "London" } }))?;
    /// assert_eq!(form.value("address[city]"), Some("London"));
    /// # Ok::<(), purlin::Error>(())
    /// ```
    #[track_caller]
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let mut filled = Self { filled: true, ..Self::default() };
        // Refuses what a number in the text would become another by.
        serde_json::to_value(value)?;
        // As text, 0.1 of an `f32` stays 0.1; as a value it would be 0.10000000149011612.
        filled.fill(&mut Vec::new(), &serde_json::from_str(&serde_json::to_string(value)?)?);
        Ok(filled)
    }

    /// What the ids of the fields begin with; nothing by default. For a page with two forms that have a field of the same name.
    pub fn prefix(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Adds a problem: see [`Submitted::refuse`](super::Submitted::refuse).
    pub fn refuse(&mut self, field: &str, message: impl Into<Cow<'static, str>>) {
        self.add(self.located(field, true), "rule", message.into());
        self.sort();
    }

    /// What is wrong, in the order of the fields.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The first value of a field.
    pub fn value(&self, field: &str) -> Option<&str> {
        self.values.get(&canonical(field))?.first().map(String::as_str)
    }

    /// Says the messages in other words, or in another language; `None` leaves one as it is.
    ///
    /// ```
    /// # use purlin::form::Filled;
    /// # let form = Filled::new();
    /// let form = form.say(|problem| match problem.code {
    ///     "missing" => Some("Bitte füllen Sie dieses Feld aus.".into()),
    ///     _ => None,
    /// });
    /// ```
    pub fn say(mut self, words: impl Fn(&Problem) -> Option<Cow<'static, str>>) -> Self {
        for problem in &mut self.problems {
            if let Some(message) = words(problem) {
                problem.message = message;
            }
        }
        self
    }

    pub(super) fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn sent(sent: Sent, found: Found, problems: Problems) -> Self {
        let Sent { mut values, rows, order } = sent;
        values.retain(|name, _| !found.is_secret(name));
        let mut filled = Self { values, rows, order, lists: found.lists, filled: true, ..Self::default() };
        for (field, code, message) in problems.list {
            let field = filled.located(&field, true);
            // What was put in place of a value that did not fit is nothing to complain of.
            let of_fault = found.faults.iter().any(|fault| related(&fault.field, &field));
            if !of_fault {
                filled.add(field, code, message);
            }
        }
        for fault in found.faults {
            filled.add(filled.located(&fault.field, false), fault.code, fault.public);
        }
        filled.sort();
        filled
    }

    fn add(&mut self, field: String, code: &'static str, message: Cow<'static, str>) {
        let problem = Problem { field, code, message };
        // Two values of one list may have the same.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// A problem stands where its field does. What was not sent, such as a box that is not ticked, stands behind its
    /// neighbours.
    fn sort(&mut self) {
        let order = &self.order;
        let place = |field: &str| {
            if let Some(own) = order.iter().position(|name| related(name, field)) {
                return (own, 0);
            }
            let above = field.rmatch_indices('[').map(|(end, _)| &field[..end]);
            let near = above.filter_map(|above| order.iter().rposition(|name| related(name, above))).next();
            (near.unwrap_or(order.len()), 1)
        };
        self.problems.sort_by_cached_key(|problem| place(&problem.field));
    }

    /// The name that a field has in the page. `tags[1]` may be the second `tags`; and where its numbers are places in the value,
    /// `lines[1]` may have been sent as `lines[7]`.
    fn located(&self, field: &str, places: bool) -> String {
        let mut name = String::new();
        for part in split(field) {
            let list = if name.is_empty() { None } else { self.lists.get(&name) };
            let sent = match (list, number(part)) {
                (Some(None), Some(_)) => break,
                (Some(Some(rows)), Some(place)) if places => rows.get(place).copied(),
                _ => None,
            };
            name = match sent {
                Some(row) => join([&*name, &row.to_string()]),
                None if name.is_empty() => part.to_owned(),
                None => join([&*name, part]),
            };
        }
        name
    }

    fn fill(&mut self, path: &mut Vec<String>, value: &serde_json::Value) {
        use serde_json::Value;
        let name = join(path.iter().map(String::as_str));
        let text = match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    path.push(key.clone());
                    self.fill(path, value);
                    path.pop();
                }
                return;
            }
            Value::Array(elements) if elements.iter().any(|element| element.is_object() || element.is_array()) => {
                for (at, element) in elements.iter().enumerate() {
                    self.rows.entry(name.clone()).or_default().insert(at);
                    path.push(at.to_string());
                    self.fill(path, element);
                    path.pop();
                }
                return;
            }
            Value::Array(elements) => {
                elements.iter().for_each(|element| self.fill(path, element));
                self.lists.insert(name, None);
                return;
            }
            Value::Null | Value::Bool(false) => return,
            Value::Bool(true) => "true".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
        };
        if !path.last().is_some_and(|key| is_secret(key)) {
            self.values.entry(name.clone()).or_default().push(text);
            self.order.push(name);
        }
    }
}

/// Whether two names are of one field, or of one and another below it.
fn related(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || short.is_empty() || rest.starts_with('['))
}

/// What was sent, as far as it may be shown again.
#[derive(Default)]
pub(super) struct Sent {
    values: BTreeMap<String, Vec<String>>,
    rows: BTreeMap<String, BTreeSet<usize>>,
    order: Vec<String>,
}

impl Sent {
    pub(super) fn of(fields: &Fields<'_>) -> Self {
        let mut sent = Self::default();
        for (name, value) in fields.iter() {
            if OF_LAYERS.contains(&name) {
                continue;
            }
            let parts = split(name);
            for at in 1..parts.len() {
                if let Some(row) = number(parts[at]) {
                    sent.rows.entry(join(parts[..at].iter().copied())).or_default().insert(row);
                }
            }
            let name = join(parts.iter().copied());
            if !sent.values.contains_key(&name) {
                sent.order.push(name.clone());
            }
            let values = sent.values.entry(name).or_default();
            if !parts.iter().any(|part| is_secret(part)) {
                values.push(value.to_owned());
            }
        }
        sent
    }
}

/// The name without `[]` at its end.
fn canonical(name: &str) -> String {
    join(split(name))
}

/// The id of a field in a page: `address-city` of `address[city]`.
pub(crate) fn field_id(name: &str) -> String {
    let mut id = String::with_capacity(name.len());
    for c in canonical(name).chars() {
        match c {
            ']' => {}
            c if c.is_alphanumeric() || c == '_' => id.push(c),
            _ => id.push('-'),
        }
    }
    id
}

/// The name of a field in words.
fn label(name: &str) -> String {
    let words: Vec<String> = split(name)
        .into_iter()
        .map(|part| number(part).map_or_else(|| part.replace(['_', '-'], " "), |row| row.saturating_add(1).to_string()))
        .collect();
    let words = words.join(" ");
    let mut chars = words.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
}

impl Serialize for Filled {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut messages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for problem in &self.problems {
            messages.entry(&problem.field).or_default().push(&problem.message);
        }
        let problems: Vec<_> = self.problems.iter().map(|problem| Shown { problem, prefix: &self.prefix }).collect();
        let mut form = serializer.serialize_struct("Filled", 6)?;
        form.serialize_field("values", &self.values)?;
        form.serialize_field("messages", &messages)?;
        form.serialize_field("problems", &problems)?;
        form.serialize_field("rows", &self.rows)?;
        form.serialize_field("filled", &self.filled)?;
        form.serialize_field("prefix", &self.prefix)?;
        form.end()
    }
}

struct Shown<'a> {
    problem: &'a Problem,
    prefix: &'a str,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Problem { field, code, message } = self.problem;
        let mut problem = serializer.serialize_struct("Problem", 5)?;
        problem.serialize_field("field", field)?;
        problem.serialize_field("label", &label(field))?;
        problem.serialize_field("id", &format!("{}{}", self.prefix, field_id(field)))?;
        problem.serialize_field("code", code)?;
        problem.serialize_field("message", message)?;
        problem.end()
    }
}

impl fmt::Debug for Filled {
    /// The names and the problems, without the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filled").field("fields", &self.order).field("problems", &self.problems).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_nothing_that_an_id_cannot_have() {
        let table = [
            ("name", "name"),
            ("address[city]", "address-city"),
            ("lines[0][name]", "lines-0-name"),
            ("tags[]", "tags"),
            ("first name", "first-name"),
            ("a.b:c", "a-b-c"),
            ("größe", "größe"),
        ];
        for (name, expected) in table {
            assert_eq!(field_id(name), expected);
        }
    }

    #[test]
    fn a_label_is_the_name_in_words() {
        let table = [("name", "Name"), ("lines[1][unit_price]", "Lines 2 unit price"), ("tags[]", "Tags"), ("", "")];
        for (name, expected) in table {
            assert_eq!(label(name), expected);
        }
    }

    #[test]
    fn names_are_related_when_one_is_below_the_other() {
        let table = [
            ("a", "a", true),
            ("a", "a[b]", true),
            ("a[b]", "a", true),
            ("a", "ab", false),
            ("a[b]", "a[c]", false),
            ("", "a", true),
        ];
        for (one, other, expected) in table {
            assert_eq!(related(one, other), expected, "{one} {other}");
        }
    }
}
