//! Completion of names at the prompt.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::methods::ANY;
use super::{Evaluator, Item, View, parse, word};
use crate::frames::Frame;
use crate::layout::Shape;
use crate::types::short;
use crate::values::Inspector;

/// The names that fit where the cursor is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Completion {
    /// Where what is typed of the name begins, in bytes: a chosen name replaces the text from here to the cursor.
    pub from: usize,
    /// At most 100: fields before methods, in the order of the source.
    pub candidates: Vec<Candidate>,
}

/// A name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// What is inserted: a name; of a method with its opening bracket, and the closing one if it takes nothing.
    pub text: String,
    /// A type, or `method`.
    pub kind: String,
}

impl Inspector<'_> {
    /// Completes the name that the cursor, a number of bytes, stands behind; nothing in what is no expression.
    pub fn complete(&self, frame: &Frame, text: &str, cursor: usize) -> Completion {
        let mut completion = Completion { from: cursor, candidates: Vec::new() };
        let Some(before) = text.get(..cursor).filter(|_| cursor <= parse::LONGEST) else { return completion };
        let typed = before.rfind(|c: char| !c.is_alphanumeric() && c != '_');
        let from = typed.map_or(0, |at| {
            at.saturating_add(before.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8))
        });
        completion.from = from;
        let (before, prefix) = before.split_at_checked(from).unwrap_or((before, ""));
        if quoted(before) || prefix.starts_with(|c: char| c.is_ascii_digit()) {
            return completion;
        }
        let show = self.show();
        let evaluator = Evaluator::new(&show, frame);
        let mut add = |text: String, kind: String| {
            if text.starts_with(prefix) && completion.candidates.len() < 100 {
                completion.candidates.push(Candidate { text, kind });
            }
        };
        match before.trim_end().strip_suffix('.') {
            Some(of) if !of.ends_with('.') => {
                let Some(item) = receiver(of).and_then(|of| {
                    let expr = parse::parse(of).ok()?;
                    evaluator.evaluate(&expr, &mut Vec::new()).ok()
                }) else {
                    return completion;
                };
                match evaluator.view(&item) {
                    Ok(View::Shape(_, Shape::Fields(named))) => {
                        for (name, place) in named.fields {
                            add(name, short(&place.of.name));
                        }
                    }
                    Ok(View::Items(Item::Tuple(parts))) => {
                        for (index, part) in parts.iter().enumerate() {
                            add(index.to_string(), part.type_name());
                        }
                    }
                    _ => {}
                }
                let none = [
                    "len",
                    "is_empty",
                    "is_some",
                    "is_none",
                    "is_ok",
                    "is_err",
                    "unwrap",
                    "ok",
                    "err",
                    "iter",
                    "first",
                    "last",
                    "keys",
                    "values",
                    "sum",
                    "trim",
                    "lines",
                    "chars",
                    "rev",
                    "enumerate",
                    "count",
                ];
                let methods = evaluator.methods_of(&item);
                for name in &methods {
                    let brackets = if none.contains(name) { "()" } else { "(" };
                    add(format!("{name}{brackets}"), "method".to_owned());
                }
                // What leads to the same thing is offered to those who ask for it.
                for name in ANY.iter().filter(|name| !prefix.is_empty() && !methods.contains(name)) {
                    add(format!("{name}()"), "method".to_owned());
                }
            }
            Some(_) => {}
            None if before.trim_end().ends_with("::") => {}
            None => {
                for (name, of) in evaluator.names(prefix.starts_with(char::is_uppercase)) {
                    add(name, of);
                }
            }
        }
        completion
    }
}

impl Evaluator<'_> {
    /// The names that an expression can begin with, and their types; looking for statics takes longer than the rest.
    fn names(&self, statics: bool) -> Vec<(String, String)> {
        let place_type = |place: &crate::reader::Place| short(&place.of.name);
        let variables = self
            .variables
            .iter()
            .map(|(name, place)| (name.clone(), place.as_ref().map_or_else(|_| String::new(), place_type)));
        let statics = if statics { self.show.reader.statics(self.frame, None) } else { Vec::new() };
        variables.chain(statics.iter().map(|(name, place)| (name.clone(), place_type(place)))).collect()
    }
}

/// Whether a text ends within a string.
fn quoted(text: &str) -> bool {
    let mut inside = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if inside => {
                chars.next();
            }
            '"' => inside = !inside,
            _ => {}
        }
    }
    inside
}

/// The expression at the end of a text that a method would be called on: `b.c[1]` of `a + f(b.c[1]`.
fn receiver(text: &str) -> Option<&str> {
    let text = text.trim_end();
    let mut begin = text.len();
    let mut open = Vec::new();
    let mut string = false;
    let mut chars = text.char_indices().rev().peekable();
    while let Some((at, c)) = chars.next() {
        if string {
            let escaped = chars.peek().is_some_and(|(_, before)| *before == '\\');
            string = c != '"' || escaped;
            begin = at;
            continue;
        }
        match c {
            '"' => string = true,
            ')' => open.push('('),
            ']' => open.push('['),
            '(' | '[' => {
                if open.pop() != Some(c) {
                    break;
                }
            }
            _ if !open.is_empty() => {}
            c if c.is_alphanumeric() || c == '_' || c == '.' || c == ':' => {}
            _ => break,
        }
        begin = at;
    }
    let expression = text.get(begin..)?;
    (open.is_empty() && !string && !word(expression).is_empty() || expression.starts_with(['"', '(', '[']))
        .then_some(expression)
}

#[cfg(test)]
mod tests {
    use super::{quoted, receiver};

    #[test]
    fn what_a_method_is_called_on_is_the_end_of_the_text() {
        for (text, expected) in [
            ("a", Some("a")),
            ("a.b[1]", Some("a.b[1]")),
            ("1 + a.b(c, d)", Some("a.b(c, d)")),
            ("f(b.c[x + 1]", Some("b.c[x + 1]")),
            ("a + \"x y\"", Some("\"x y\"")),
            ("(a + b)", Some("(a + b)")),
            ("a[\"k ]\"]", Some("a[\"k ]\"]")),
            ("a + ", None),
            ("", None),
            (")", None),
        ] {
            assert_eq!(receiver(text), expected, "{text}");
        }
    }

    #[test]
    fn within_a_string_nothing_is_completed() {
        assert!(quoted("a[\"b"));
        assert!(!quoted("a[\"b\""));
        assert!(quoted("\"\\\""));
    }
}
