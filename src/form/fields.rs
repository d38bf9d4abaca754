//! `Fields`: the names and values of a form as they were sent, and what the names mean.

use crate::{Error, Result};
use http::StatusCode;
use std::borrow::Cow;
use std::collections::HashMap;

/// How many fields a form may have where no [`FieldLimit`](crate::layers::FieldLimit) stands above.
pub const DEFAULT_FIELD_LIMIT: usize = 1000;

/// How many parts a field's name may have: `lines[0][name]` has three.
pub const MAX_DEPTH: usize = 8;

/// How long a field's name may be, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The names and values of a form or a query, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Fields<'a> {
    /// Reads `application/x-www-form-urlencoded` (WHATWG URL §5.1), at most `limit` fields.
    ///
    /// # Errors
    ///
    /// 413 for more fields, 400 for a name that is too long. Anything else is a form: what is no UTF-8 is replaced.
    pub fn parse(text: &'a [u8], limit: usize) -> Result<Self> {
        Self::collect(form_urlencoded::parse(text), limit)
    }

    /// The fields of a form that was read in another way, at most `limit` of them.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn collect<N, V>(pairs: impl IntoIterator<Item = (N, V)>, limit: usize) -> Result<Self>
    where
        N: Into<Cow<'a, str>>,
        V: Into<Cow<'a, str>>,
    {
        let mut fields = Self::default();
        for (name, value) in pairs {
            let name = name.into();
            if fields.pairs.len() == limit {
                return Err(Error::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("expected a form of at most {limit} fields, found more (layer `FieldLimit`)"),
                )
                .public(format!("The form has more than {limit} fields.")));
            }
            if name.len() > MAX_NAME_BYTES {
                let message = format!(
                    "expected the name of a field to have at most {MAX_NAME_BYTES} bytes, found {}: {}",
                    name.len(),
                    shown(&name)
                );
                return Err(Error::bad_request(message).public("The name of a field in the form is too long."));
            }
            fields.pairs.push((name, value.into()));
        }
        Ok(fields)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// A text for a message, which must not grow with what was sent.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The fields by their names' parts: what came as `lines[0][name]` is below `lines`, below `0`.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    // Flat, so that nothing recurses; the first is the root.
    nodes: Vec<Node<'a>>,
}

#[derive(Debug)]
pub(super) struct Node<'a> {
    /// The last part of its name.
    pub(super) key: &'a str,
    /// What came under this very name.
    pub(super) values: Vec<&'a str>,
    /// In the order in which they first came.
    children: Vec<usize>,
}

impl<'a> Tree<'a> {
    /// # Errors
    ///
    /// 400 for a name of too many parts, or with a list in its middle that has no number.
    pub(super) fn of(fields: &'a Fields<'_>) -> Result<Self> {
        let mut tree = Self { nodes: vec![Node::new("")] };
        // A client may send as many names as fields are allowed: no search among them all.
        let mut places: HashMap<(usize, &str), usize> = HashMap::new();
        for (name, value) in fields.iter() {
            let mut at = 0;
            for part in parts(name)? {
                let next = tree.nodes.len();
                let place = *places.entry((at, part)).or_insert(next);
                if place == next {
                    tree.nodes.push(Node::new(part));
                    tree.nodes[at].children.push(place);
                }
                at = place;
            }
            tree.nodes[at].values.push(value);
        }
        Ok(tree)
    }

    pub(super) fn root(&self) -> &Node<'a> {
        &self.nodes[0]
    }

    pub(super) fn children<'t>(&'t self, node: &'t Node<'a>) -> impl Iterator<Item = &'t Node<'a>> {
        node.children.iter().map(|&at| &self.nodes[at])
    }

    /// The children by their numbers, smallest first; `None` if one of them has none.
    pub(super) fn rows<'t>(&'t self, node: &'t Node<'a>) -> Option<Vec<(usize, &'t Node<'a>)>> {
        let rows = self.children(node).map(|child| Some((number(child.key)?, child)));
        let mut rows = rows.collect::<Option<Vec<_>>>()?;
        rows.sort_unstable_by_key(|(number, _)| *number);
        Some(rows)
    }

    /// Whether there is nothing but empty values in it.
    pub(super) fn is_blank(&self, node: &Node<'a>) -> bool {
        node.values.iter().all(|value| value.is_empty()) && self.children(node).all(|child| self.is_blank(child))
    }
}

impl<'a> Node<'a> {
    fn new(key: &'a str) -> Self {
        Self { key, values: Vec::new(), children: Vec::new() }
    }

    pub(super) fn has_children(&self) -> bool {
        !self.children.is_empty()
    }
}

/// The parts of a name: `a[b][c]` has three, and `a[]` one, as has what is not written in this way.
fn parts(name: &str) -> Result<Vec<&str>> {
    let Some(parts) = brackets(name) else {
        return Ok(vec![name]);
    };
    let (inner, last) = parts.split_at(parts.len() - 1);
    if inner.iter().any(|part| part.is_empty()) {
        let message = format!("the field {} has a list without a number in its middle", shown(name));
        return Err(Error::bad_request(format!("{message}: write `lines[0][name]` for `lines[][name]`"))
            .public("The form has a field whose name cannot be read."));
    }
    if parts.len() > MAX_DEPTH {
        let message = format!("expected a field of at most {MAX_DEPTH} parts, found {}: {}", parts.len(), shown(name));
        return Err(Error::bad_request(message).public("The form has fields that are nested too deep."));
    }
    Ok(if last == [""] { inner.to_vec() } else { parts })
}

/// `None` for a name without brackets, and for one whose brackets say nothing: `[a]`, `a[b`, `a[b]c`, `a[[b]]`.
fn brackets(name: &str) -> Option<Vec<&str>> {
    let open = name.find('[').filter(|open| *open > 0)?;
    let inside = name[open..].strip_prefix('[')?.strip_suffix(']')?;
    let mut parts = vec![&name[..open]];
    parts.extend(inside.split("]["));
    let plain = |part: &&str| !part.contains(['[', ']']);
    parts.iter().all(plain).then_some(parts)
}

/// The number that a part is; `01` and `+1` are names.
pub(super) fn number(part: &str) -> Option<usize> {
    let digits = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
    if digits { part.parse().ok() } else { None }
}

/// The parts of a name, however many; `tags[]` is `tags`. For the names that a site's own code uses.
pub(super) fn split(name: &str) -> Vec<&str> {
    let mut parts = brackets(name).unwrap_or_else(|| vec![name]);
    if parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    parts
}

/// The name of these parts: `lines[0][name]`.
pub(super) fn join<'p>(parts: impl IntoIterator<Item = &'p str>) -> String {
    let mut name = String::new();
    for part in parts {
        if name.is_empty() {
            name.push_str(part);
        } else {
            name.extend(["[", part, "]"]);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_parts() {
        let table: &[(&str, Result<&[&str], &str>)] = &[
            ("a", Ok(&["a"])),
            ("", Ok(&[""])),
            ("a[b]", Ok(&["a", "b"])),
            ("a[b][0][c d]", Ok(&["a", "b", "0", "c d"])),
            ("a[]", Ok(&["a"])),
            ("a[b][]", Ok(&["a", "b"])),
            ("ü[ö]", Ok(&["ü", "ö"])),
            // A dot is a letter like others: there are names with one, and none of them means more.
            ("a.b", Ok(&["a.b"])),
            ("openid.mode", Ok(&["openid.mode"])),
            // What says nothing is one name.
            ("[]", Ok(&["[]"])),
            ("[a]", Ok(&["[a]"])),
            ("a[", Ok(&["a["])),
            ("a]", Ok(&["a]"])),
            ("a[b", Ok(&["a[b"])),
            ("a[b]c", Ok(&["a[b]c"])),
            ("a[b]c[d]", Ok(&["a[b]c[d]"])),
            ("a[[b]]", Ok(&["a[[b]]"])),
            ("a[b]]", Ok(&["a[b]]"])),
            ("a[b]][[c]", Ok(&["a[b]][[c]"])),
            ("a][b", Ok(&["a][b"])),
            ("a[][b]", Err("the field \"a[][b]\" has a list without a number in its middle")),
            ("a[][]", Err("the field \"a[][]\" has a list without a number in its middle")),
            ("a[1][2][3][4][5][6][7]", Ok(&["a", "1", "2", "3", "4", "5", "6", "7"])),
            ("a[1][2][3][4][5][6][7][8]", Err("expected a field of at most 8 parts, found 9")),
        ];
        for (name, expected) in table {
            match (parts(name), expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found, *expected, "{name}");
                    assert_eq!(split(name), *expected, "{name}");
                }
                (Err(found), Err(expected)) => {
                    assert!(found.message().starts_with(expected), "{name}: {found}");
                    assert_eq!(found.status(), 400);
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_number_is_written_in_one_way() {
        let table =
            [("0", Some(0)), ("17", Some(17)), ("01", None), ("", None), ("+1", None), ("-1", None), ("x", None)];
        for (part, expected) in table {
            assert_eq!(number(part), expected, "{part:?}");
        }
        assert_eq!(number("99999999999999999999999"), None);
    }

    #[test]
    fn the_limits_of_a_form_are_told_apart() {
        let many: String = (0..10_000).map(|n| format!("f{n}=x&")).collect();
        let error = Fields::parse(many.as_bytes(), DEFAULT_FIELD_LIMIT).unwrap_err();
        assert_eq!(error.status(), 413);
        assert_eq!(error.public_message(), Some("The form has more than 1000 fields."));
        assert_eq!(Fields::parse(b"a=1&b=2&", 2).unwrap().iter().count(), 2);
        assert_eq!(Fields::parse(b"a=1&b=2&c=3", 2).unwrap_err().status(), 413);

        let long = format!("{}=1", "x".repeat(MAX_NAME_BYTES + 1));
        let error = Fields::parse(long.as_bytes(), 10).unwrap_err();
        assert_eq!(error.status(), 400);
        assert!(error.message().len() < 200, "a message does not grow with what was sent");

        let deep = format!("a{}=1", "[b]".repeat(50));
        assert_eq!(Tree::of(&Fields::parse(deep.as_bytes(), 10).unwrap()).unwrap_err().status(), 400);
    }
}
