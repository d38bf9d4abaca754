//! Adding lines to a site's own files, at places that a reader would choose too.

use std::ops::Range;

/// The text with these lines above the one that is nothing but `marker`, set in as far as that is. None without it.
pub(crate) fn above_marker(text: &str, marker: &str, added: &str) -> Option<String> {
    let (range, line) = lines(text).find(|(_, line)| line.trim() == marker)?;
    let indent = &line[..line.len() - line.trim_start().len()];
    let added: String = added.lines().map(|line| format!("{indent}{line}\n")).collect();
    Some(insert(text, range.start, &added))
}

/// The text with `pub mod name;` in its place among the others, or at its end.
pub(crate) fn with_module(text: &str, name: &str) -> String {
    let modules = lines(text)
        .filter_map(|(range, line)| Some((range, line.trim_end().strip_prefix("pub mod ")?.strip_suffix(';')?)));
    let modules: Vec<_> = modules.collect();
    let after = modules.iter().find(|(_, other)| *other > name);
    let at = after.map(|(range, _)| above(text, range.start)).or(modules.last().map(|(range, _)| range.end));
    insert(text, at.unwrap_or(text.len()), &format!("pub mod {name};\n"))
}

/// Whether it has this module.
pub(crate) fn has_module(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        [format!("pub mod {name};"), format!("mod {name};")].iter().any(|module| line.starts_with(module))
    })
}

/// The text with `use path::item;`: in the list of what is used from there already, or in a line of its own.
pub(crate) fn with_import(text: &str, path: &str, item: &str) -> String {
    if let Some(Import { range, mut items }) = import(text, path) {
        if !items.iter().any(|known| known == item) {
            items.push(item.to_owned());
        }
        return replace(text, range, &written(path, items));
    }
    let line = format!("use {path}::{item};\n");
    let uses: Vec<_> = lines(text).filter(|(_, line)| line.starts_with("use ")).collect();
    let at = match uses.iter().find(|(_, other)| *other > line.as_str()).or(uses.first()) {
        Some((range, _)) => above(text, range.start),
        None => {
            // Below what the file says of itself, and the empty line after that.
            let head = |line: &str| line.starts_with("//!") || line.trim().is_empty();
            let at = lines(text).find(|(_, line)| !head(line)).map_or(text.len(), |(range, _)| range.start);
            return insert(text, at, &format!("{line}\n"));
        }
    };
    insert(text, at, &line)
}

/// The text without that import, if nothing else in it says the item's name.
pub(crate) fn without_import_if_unused(text: &str, path: &str, item: &str) -> String {
    let Some(Import { range, mut items }) = import(text, path) else { return text.to_owned() };
    items.retain(|known| known != item);
    let rest = replace(text, range.clone(), "");
    if mentions(&rest, item) {
        return text.to_owned();
    }
    if items.is_empty() {
        let end = if text[range.end..].starts_with('\n') { range.end + 1 } else { range.end };
        return replace(text, range.start..end, "");
    }
    replace(text, range, &written(path, items))
}

/// Whether this word stands anywhere in the code.
pub(crate) fn mentions(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).any(|code| {
        code.match_indices(word).any(|(at, _)| {
            !code[..at].chars().next_back().is_some_and(part)
                && !code[at + word.len()..].chars().next().is_some_and(part)
        })
    })
}

/// What stands between the parentheses behind `call`, which ends with the first; where it occurs last.
pub(crate) fn last_argument(text: &str, call: &str) -> Option<Range<usize>> {
    let begin = text.rfind(call)? + call.len();
    let mut depth = 1;
    for (at, c) in text[begin..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(begin..begin + at);
        }
    }
    None
}

pub(crate) fn replace(text: &str, range: Range<usize>, by: &str) -> String {
    format!("{}{by}{}", &text[..range.start], &text[range.end..])
}

struct Import {
    range: Range<usize>,
    items: Vec<String>,
}

/// `use path::item;` or `use path::{item, item};`, at the beginning of a line; one with braces inside its braces is left alone.
fn import(text: &str, path: &str) -> Option<Import> {
    let begin = format!("use {path}::");
    lines(text).filter(|(_, line)| line.starts_with(&begin)).find_map(|(range, _)| {
        let end = range.start + text[range.start..].find(';')?;
        let rest = &text[range.start + begin.len()..end];
        let items = match rest.strip_prefix('{') {
            Some(list) => list.strip_suffix('}')?,
            None => rest,
        };
        let plain = |c: char| c.is_alphanumeric() || c == '_' || c == ',' || c.is_whitespace();
        let items: Vec<String> = if items.chars().all(plain) {
            items.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
        } else {
            return None;
        };
        Some(Import { range: range.start..end + 1, items })
    })
}

fn written(path: &str, mut items: Vec<String>) -> String {
    items.sort();
    match items.as_slice() {
        [item] => format!("use {path}::{item};"),
        items => format!("use {path}::{{{}}};", items.join(", ")),
    }
}

fn insert(text: &str, at: usize, added: &str) -> String {
    // The last line of a file may lack its end.
    let newline = if at > 0 && !text[..at].ends_with('\n') { "\n" } else { "" };
    replace(text, at..at, &format!("{newline}{added}"))
}

/// The beginning of what belongs to the line at this place: its attributes and comments, which stand right above it.
fn above(text: &str, at: usize) -> usize {
    let belongs = |line: &str| {
        let line = line.trim();
        line.starts_with("#[") || line.starts_with("//") && !line.starts_with("//!")
    };
    let before: Vec<_> = lines(&text[..at]).collect();
    before.iter().rev().take_while(|(_, line)| belongs(line)).last().map_or(at, |(range, _)| range.start)
}

/// Each line with its end, and where it stands.
fn lines(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut end = 0;
    text.split_inclusive('\n').map(move |line| {
        let begin = end;
        end += line.len();
        (begin..end, line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_above_the_marker_as_far_in_as_it_is() {
        let text = "a\n    // your layers here\n  b\n";
        let expected = "a\n    .x()\n    .y()\n    // your layers here\n  b\n";
        assert_eq!(above_marker(text, "// your layers here", ".x()\n.y()").as_deref(), Some(expected));
        assert_eq!(above_marker("a // your layers here\n", "// your layers here", "x"), None);
    }

    #[test]
    fn a_module_stands_among_the_others() {
        for (text, name, expected) in [
            ("//! x\n\npub mod b;\npub mod d;\n", "c", "//! x\n\npub mod b;\npub mod c;\npub mod d;\n"),
            ("pub mod b;\n\nfn x() {}\n", "c", "pub mod b;\npub mod c;\n\nfn x() {}\n"),
            ("pub mod b;\n", "a", "pub mod a;\npub mod b;\n"),
            ("//! x", "a", "//! x\npub mod a;\n"),
            ("pub mod a;\n#[cfg(test)]\npub mod t;\n", "p", "pub mod a;\npub mod p;\n#[cfg(test)]\npub mod t;\n"),
            ("//! x\n/// t\n// u\npub mod t;\n", "p", "//! x\npub mod p;\n/// t\n// u\npub mod t;\n"),
            ("// Of all.\n\npub mod t;\n", "p", "// Of all.\n\npub mod p;\npub mod t;\n"),
        ] {
            assert_eq!(with_module(text, name), expected);
            assert!(has_module(expected, name) && !has_module(text, name));
        }
    }

    #[test]
    fn an_import_joins_its_kin() {
        for (text, path, item, expected) in [
            ("use a::{B, d};\n", "a", "c", "use a::{B, c, d};\n"),
            ("use a::{\n    B, d,\n};\nx\n", "a", "c", "use a::{B, c, d};\nx\n"),
            ("use a::b;\n", "a", "c", "use a::{b, c};\n"),
            ("use a::c;\n", "a", "c", "use a::c;\n"),
            ("use b::x;\nuse d::x;\n", "c", "x", "use b::x;\nuse c::x;\nuse d::x;\n"),
            ("use b::x;\n#[cfg(y)]\nuse d::x;\n", "c", "x", "use b::x;\nuse c::x;\n#[cfg(y)]\nuse d::x;\n"),
            ("#[cfg(y)]\nuse b::x;\n", "c", "x", "use c::x;\n#[cfg(y)]\nuse b::x;\n"),
            ("use a::{b::{c, d}, e};\n", "a", "f", "use a::f;\nuse a::{b::{c, d}, e};\n"),
            ("//! x\n\nfn y() {}\n", "a", "b", "//! x\n\nuse a::b;\n\nfn y() {}\n"),
        ] {
            assert_eq!(with_import(text, path, item), expected, "{text}");
        }
    }

    #[test]
    fn an_import_that_nothing_uses_goes() {
        for (text, expected) in [
            ("use a::{b, c};\nc()\n", "use a::c;\nc()\n"),
            ("use a::b;\nx // b\n", "x // b\n"),
            ("use a::b;\nbc b()\n", "use a::b;\nbc b()\n"),
            ("use x::b;\n", "use x::b;\n"),
        ] {
            assert_eq!(without_import_if_unused(text, "a", "b"), expected, "{text}");
        }
    }

    #[test]
    fn the_argument_of_the_last_call_ends_where_its_parenthesis_does() {
        let text = "x(1); y = x(a(b), c()); z";
        assert_eq!(&text[last_argument(text, "x(").unwrap()], "a(b), c()");
        assert_eq!(last_argument("x(", "x("), None);
    }
}
