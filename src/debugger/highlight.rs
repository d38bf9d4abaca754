//! The colours of Rust: enough of its grammar to tell comments, texts and words apart, and no more.

use crate::failure::markup::Escaped;

/// Longer files are not looked into: no source has as many bytes.
const LONGEST: u64 = 1 << 20;

/// A longer line is cut: a generated file may be one line.
const LONGEST_LINE: usize = 300;

/// The numbered lines around one of a file, as HTML. `None` if they cannot be read.
pub(super) fn lines_of(file: &std::path::Path, line: u32, around: u32) -> Option<Vec<(u32, String)>> {
    if file.metadata().ok()?.len() > LONGEST {
        return None;
    }
    let source = std::fs::read(file).ok()?;
    let lines = lines(&String::from_utf8_lossy(&source), line, around);
    lines.iter().any(|(number, _)| *number == line).then_some(lines)
}

/// The same of a text.
fn lines(source: &str, line: u32, around: u32) -> Vec<(u32, String)> {
    let (first, last) = (line.saturating_sub(around).max(1), line.saturating_add(around));
    let mut lines: Vec<(u32, String)> = Vec::new();
    let (mut number, mut html, mut width) = (1, String::new(), 0);
    for (kind, text) in Tokens(source) {
        for (nth, part) in text.split('\n').enumerate() {
            if nth > 0 {
                if number >= first {
                    lines.push((number, std::mem::take(&mut html)));
                }
                (number, width) = (number + 1, 0);
                html.clear();
            }
            if number > last {
                return lines;
            }
            if number < first || width > LONGEST_LINE {
                continue;
            }
            let part = part.trim_end_matches('\r');
            width += part.len();
            let cut = part.char_indices().nth(LONGEST_LINE).map_or(part, |(end, _)| &part[..end]);
            match kind {
                _ if cut.is_empty() => {}
                Kind::Plain => html.push_str(&Escaped(cut).to_string()),
                _ => html.push_str(&format!("<b class=\"{}\">{}</b>", kind.class(), Escaped(cut))),
            }
        }
    }
    if number >= first && !html.is_empty() {
        lines.push((number, html));
    }
    lines
}

/// A line of a template as HTML: what the engine reads, and the tags of markup.
pub(super) fn template_line(line: &str) -> String {
    let line = line.char_indices().nth(LONGEST_LINE).map_or(line, |(end, _)| &line[..end]);
    let marks = [("{{", "}}", "m"), ("{%", "%}", "m"), ("{#", "#}", "c"), ("<!--", "-->", "c"), ("<", ">", "t")];
    let (mut html, mut rest) = (String::new(), line);
    while !rest.is_empty() {
        let found = marks.iter().filter_map(|mark| Some((rest.find(mark.0)?, mark)));
        // Of two at one place the longer comes first in the table.
        let Some((at, (open, close, class))) = found.min_by_key(|(at, _)| *at) else { break };
        html.push_str(&Escaped(&rest[..at]).to_string());
        let end = rest[at + open.len()..].find(close).map_or(rest.len(), |end| at + open.len() + end + close.len());
        html.push_str(&format!("<b class=\"{class}\">{}</b>", Escaped(&rest[at..end])));
        rest = &rest[end..];
    }
    html + &Escaped(rest).to_string()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Plain,
    Comment,
    Text,
    Number,
    Keyword,
    Type,
    Macro,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Comment => "c",
            Self::Text => "s",
            Self::Number => "n",
            Self::Keyword => "k",
            Self::Type => "t",
            Self::Macro => "m",
        }
    }
}

/// What is left of a source, token by token; joined again they are the source.
struct Tokens<'a>(&'a str);

const KEYWORDS: [&str; 39] = [
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern", "false", "fn",
    "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "self", "Self",
    "static", "struct", "super", "trait", "true", "type", "union", "unsafe", "use", "where", "while",
];

impl<'a> Iterator for Tokens<'a> {
    type Item = (Kind, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0;
        let first = rest.chars().next()?;
        let (kind, length) = match first {
            '/' if rest.starts_with("//") => (Kind::Comment, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (Kind::Comment, block_comment(rest)),
            '"' => (Kind::Text, 1 + quoted(&rest[1..], '"')),
            '\'' => quote(rest),
            '0'..='9' => (Kind::Number, number(rest)),
            c if is_word(c) => word(rest),
            c => (Kind::Plain, c.len_utf8()),
        };
        let (token, rest) = rest.split_at(length);
        self.0 = rest;
        Some((kind, token))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(rest: &str) -> (Kind, usize) {
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    // r"…", b'…', br#"…"#, c"…"
    if matches!(word, "r" | "b" | "br" | "c" | "cr") {
        let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
        if word.ends_with('r') && after[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = end + hashes + 1;
            return (Kind::Text, rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len()));
        }
        if hashes == 0 && after.starts_with(['"', '\'']) && word != "r" {
            let mark = if after.starts_with('"') { '"' } else { '\'' };
            return (Kind::Text, end + 1 + quoted(&after[1..], mark));
        }
    }
    let called = after.starts_with('!') && !after.starts_with("!=");
    match word {
        _ if KEYWORDS.contains(&word) => (Kind::Keyword, end),
        _ if called => (Kind::Macro, end + 1),
        _ if word.starts_with(|c: char| c.is_uppercase()) => (Kind::Type, end),
        "bool" | "char" | "str" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64"
        | "i128" | "isize" | "f32" | "f64" => (Kind::Type, end),
        _ => (Kind::Plain, end),
    }
}

/// Up to and with the closing mark.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character, or a lifetime.
fn quote(rest: &str) -> (Kind, usize) {
    let mut inner = rest[1..].chars();
    match (inner.next(), inner.next()) {
        (Some('\\'), _) => (Kind::Text, 1 + quoted(&rest[1..], '\'')),
        (Some(c), Some('\'')) => (Kind::Text, 2 + c.len_utf8()),
        (Some(c), _) if is_word(c) => (Kind::Type, rest[1..].find(|c| !is_word(c)).map_or(rest.len(), |end| end + 1)),
        _ => (Kind::Plain, 1),
    }
}

fn number(rest: &str) -> usize {
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    // `1.5`, but neither `1..2` nor `1.max(2)`.
    let fraction = rest[end..].strip_prefix('.').filter(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    end + fraction.map_or(0, |after| 1 + after.find(|c| !is_word(c)).unwrap_or(after.len()))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_template_is_coloured_and_nothing_in_it_is_markup() {
        for (line, expected) in [
            ("", ""),
            ("plain & simple", "plain &amp; simple"),
            ("<li>{{ a.b }}: x", "<b class=\"t\">&lt;li&gt;</b><b class=\"m\">{{ a.b }}</b>: x"),
            ("{% if a > 1 %}{# no #}", "<b class=\"m\">{% if a &gt; 1 %}</b><b class=\"c\">{# no #}</b>"),
            ("<!-- <b> --> {{ open", "<b class=\"c\">&lt;!-- &lt;b&gt; --&gt;</b> <b class=\"m\">{{ open</b>"),
        ] {
            assert_eq!(template_line(line), expected);
        }
    }

    #[test]
    fn words_have_the_colours_of_what_they_are() {
        for (source, expected) in [
            ("let x = 1;", r#"<b class="k">let</b> x = <b class="n">1</b>;"#),
            ("a // b", r#"a <b class="c">// b</b>"#),
            ("/* a /* b */ */ c", r#"<b class="c">/* a /* b */ */</b> c"#),
            (r#""a\"b" c"#, r#"<b class="s">&quot;a\&quot;b&quot;</b> c"#),
            ("r#\"a\"b\"# c", "<b class=\"s\">r#&quot;a&quot;b&quot;#</b> c"),
            (r"b'\'' c", r#"<b class="s">b&#39;\&#39;&#39;</b> c"#),
            ("'ä' 'a fn", r#"<b class="s">&#39;ä&#39;</b> <b class="t">&#39;a</b> <b class="k">fn</b>"#),
            (
                "1.5e3 1..2 1.max(2)",
                r#"<b class="n">1.5e3</b> <b class="n">1</b>..<b class="n">2</b> <b class="n">1</b>.max(<b class="n">2</b>)"#,
            ),
            ("vec![Vec] a != b", r#"<b class="m">vec!</b>[<b class="t">Vec</b>] a != b"#),
            ("<script>", "&lt;script&gt;"),
            ("\"", r#"<b class="s">&quot;</b>"#),
            ("'", "&#39;"),
            ("r#\"", "<b class=\"s\">r#&quot;</b>"),
            ("/*", r#"<b class="c">/*</b>"#),
        ] {
            assert_eq!(lines(source, 1, 0), [(1, expected.to_owned())], "{source}");
        }
    }

    #[test]
    fn a_text_of_several_lines_keeps_its_colour() {
        let shown = lines("a\n\"b\nc\"\nd\n", 3, 1);
        assert_eq!(
            shown,
            [
                (2, "<b class=\"s\">&quot;b</b>".to_owned()),
                (3, "<b class=\"s\">c&quot;</b>".to_owned()),
                (4, "d".to_owned())
            ]
        );
        assert_eq!(lines("", 1, 3), []);
        assert_eq!(lines("a\n", 9, 3), []);
    }

    #[test]
    fn joined_again_the_tokens_are_the_source() {
        for source in [include_str!("highlight.rs"), include_str!("guard.rs"), "é\u{0}'\"/*'", "0x", "b", "r##", "'\\"]
        {
            assert_eq!(Tokens(source).map(|(_, text)| text).collect::<String>(), source);
        }
    }
}
