//! Reads what a template mentions, without understanding it: words, literals, components and calls.
//!
//! Tera keeps what it parsed to itself. Two things need it: a name's value is worked out for the templates that mention it
//! only, and a link to a route that does not exist is found before anybody follows it. Reading too much is harmless
//! to both, so the template's syntax need not be known exactly.

use std::collections::HashSet;

/// What a template mentions.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mentions {
    /// Identifiers in tags.
    pub(super) words: HashSet<String>,
    /// String literals in tags: names of templates may be among them.
    pub(super) literals: HashSet<String>,
    /// The names of components that are defined here.
    pub(super) components: HashSet<String>,
    /// What could be the names of components that are used: whatever stands behind a `<`.
    pub(super) used: HashSet<String>,
    /// The calls of functions that were asked for.
    pub(super) calls: Vec<Call>,
}

/// A call of a function by its name, with arguments by theirs.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) function: &'static str,
    /// `None` for a value that is no literal string.
    pub(super) args: Vec<(String, Option<String>)>,
    /// Where the call is, in bytes.
    pub(super) at: usize,
}

/// Reads a template; `functions` are those whose calls are wanted.
pub(super) fn scan(source: &str, functions: &[&'static str]) -> Mentions {
    let mut mentions = Mentions::default();
    let mut rest = 0;
    while let Some((kind, start)) = next_tag(source, rest) {
        if kind == b'#' {
            rest = source[start..].find("#}").map_or(source.len(), |end| start + end + 2);
            continue;
        }
        let (tokens, end) = tokens_of(source, start, kind);
        rest = end;
        let mut first = tokens.iter().map(|(_, token)| token).filter(|token| **token != Token::Sign(b'-'));
        if kind == b'%' && first.next() == Some(&Token::Word("raw")) {
            rest = end_of_raw(source, end);
            continue;
        }
        read(&tokens, functions, &mut mentions);
    }
    mentions
}

/// Line and column, both from 1, of a place given in bytes; the column in characters.
pub(super) fn position(source: &str, at: usize) -> (u32, u32) {
    let before = &source[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line as u32, before[line_start..].chars().count() as u32 + 1)
}

/// The kind of the next tag (`{`, `%` or `#`) and where its inside begins.
fn next_tag(source: &str, from: usize) -> Option<(u8, usize)> {
    let bytes = source.as_bytes();
    let found = memchr::memchr_iter(b'{', &bytes[from..]).map(|at| from + at);
    found.filter_map(|at| Some((*bytes.get(at + 1)?, at + 2))).find(|(kind, _)| matches!(kind, b'{' | b'%' | b'#'))
}

fn end_of_raw(source: &str, from: usize) -> usize {
    let mut rest = from;
    while let Some(at) = source[rest..].find("{%") {
        let start = rest + at + 2;
        let inside = source[start..].trim_start_matches(['-', ' ', '\t', '\r', '\n']);
        if inside.starts_with("endraw") {
            return source.len() - inside.len();
        }
        rest = start;
    }
    source.len()
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Literal(&'a str),
    Sign(u8),
}

/// The tokens up to the tag's end, with their places, and where the tag ends.
fn tokens_of(source: &str, start: usize, kind: u8) -> (Vec<(usize, Token<'_>)>, usize) {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut braces = 0_usize;
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        let closes = bytes.get(at + 1) == Some(&b'}');
        match byte {
            b'%' if kind == b'%' && closes => return (tokens, at + 2),
            b'}' if kind == b'{' && closes && braces == 0 => return (tokens, at + 2),
            b'"' | b'\'' | b'`' => {
                let end = end_of_string(bytes, at + 1, byte);
                tokens.push((at, Token::Literal(&source[at + 1..end])));
                at = end + 1;
            }
            _ if byte.is_ascii_alphabetic() || byte == b'_' => {
                let more = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                let length = bytes[at..].iter().take_while(|byte| more(byte)).count();
                tokens.push((at, Token::Word(&source[at..at + length])));
                at += length;
            }
            _ => {
                match byte {
                    b'{' => braces += 1,
                    b'}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                if !byte.is_ascii_whitespace() {
                    tokens.push((at, Token::Sign(byte)));
                }
                at += 1;
            }
        }
    }
    (tokens, source.len())
}

/// Where the quote is that ends a string; a string without end reaches to that of the source.
fn end_of_string(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            _ if byte == quote => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

fn read(tokens: &[(usize, Token<'_>)], functions: &[&'static str], mentions: &mut Mentions) {
    if let [(_, Token::Word("component")), rest @ ..] = tokens {
        mentions.components.extend(dotted(rest));
    }
    for (nth, (at, token)) in tokens.iter().enumerate() {
        match token {
            Token::Literal(text) => {
                mentions.literals.insert((*text).to_owned());
            }
            Token::Word(word) => {
                mentions.words.insert((*word).to_owned());
                let called = matches!(tokens.get(nth + 1), Some((_, Token::Sign(b'('))));
                if let (true, Some(function)) = (called, functions.iter().find(|name| *name == word)) {
                    mentions.calls.push(call(function, *at, &tokens[nth + 2..]));
                }
            }
            Token::Sign(b'<') => mentions.used.extend(dotted(&tokens[nth + 1..])),
            Token::Sign(_) => {}
        }
    }
}

/// The name that begins here: `card`, or of several parts, `ui.card`.
fn dotted(tokens: &[(usize, Token<'_>)]) -> Option<String> {
    let mut name = String::new();
    let mut tokens = tokens.iter();
    while let Some((_, Token::Word(word))) = tokens.next() {
        name.push_str(word);
        match tokens.next() {
            Some((_, Token::Sign(b'.'))) => name.push('.'),
            _ => break,
        }
    }
    (!name.is_empty()).then_some(name)
}

/// Reads the arguments; `tokens` begin behind the parenthesis.
fn call(function: &'static str, at: usize, tokens: &[(usize, Token<'_>)]) -> Call {
    let mut call = Call { function, args: Vec::new(), at };
    let mut depth = 0_usize;
    let mut arg: Vec<&Token<'_>> = Vec::new();
    for (_, token) in tokens {
        match token {
            Token::Sign(b'(' | b'[' | b'{') => depth += 1,
            Token::Sign(b')' | b']' | b'}') if depth > 0 => depth -= 1,
            Token::Sign(b')') => break,
            Token::Sign(b',') if depth == 0 => {
                call.add(&std::mem::take(&mut arg));
                continue;
            }
            _ => {}
        }
        arg.push(token);
    }
    call.add(&arg);
    call
}

impl Call {
    fn add(&mut self, arg: &[&Token<'_>]) {
        match arg {
            // With a backslash, it would have to be unescaped: no name of a route or file needs that.
            [Token::Word(name), Token::Sign(b'='), Token::Literal(text)] if !text.contains('\\') => {
                self.args.push(((*name).to_owned(), Some((*text).to_owned())));
            }
            [Token::Word(name), Token::Sign(b'='), ..] => self.args.push(((*name).to_owned(), None)),
            _ => {}
        }
    }

    /// The literal given for an argument.
    pub(super) fn literal(&self, name: &str) -> Option<&str> {
        self.args.iter().find(|(key, _)| key == name)?.1.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        let mut words: Vec<_> = scan(source, &[]).words.into_iter().collect();
        words.sort();
        words
    }

    #[test]
    fn words_are_those_in_tags() {
        let table: &[(&str, &[&str])] = &[
            ("plain text { not } a tag", &[]),
            ("{{ flash }}", &["flash"]),
            ("{%- for m in flash -%}{{m.text|upper}}", &["flash", "for", "in", "m", "text", "upper"]),
            ("{# flash #}{{ a }}", &["a"]),
            ("{% raw %}{{ flash }}{% endraw %}{{ a }}", &["a"]),
            ("{%- raw -%} {{ x }} {%- endraw %}{{ a }}", &["a"]),
            ("{{ \"}} flash\" ~ a }} b", &["a"]),
            ("{{ {\"k\": {\"l\": a}} }} b", &["a"]),
            ("{{ 'it\\'s' ~ a }}", &["a"]),
            ("{{ unfinished", &["unfinished"]),
            ("{{ \"unfinished", &[]),
            ("{", &[]),
            ("{{", &[]),
            ("{# never ends {{ a }}", &[]),
            ("{% raw %} never ends {{ a }}", &[]),
            ("ä{{ ä }}{{ b }}", &["b"]),
        ];
        for (source, expected) in table {
            assert_eq!(words(source), *expected, "{source}");
        }
    }

    #[test]
    fn calls_have_their_literal_arguments() {
        let calls = |source| scan(source, &["url_for"]).calls;
        let one = |args: &[(&str, Option<&str>)], at| {
            let args = args.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
            vec![Call { function: "url_for", args, at }]
        };
        assert_eq!(calls("{{ url_for(name=\"a\") }}"), one(&[("name", Some("a"))], 3));
        assert_eq!(
            calls("{{ url_for( id = f(x=[1, 2]), name = 'a', ) | safe }}"),
            one(&[("id", None), ("name", Some("a"))], 3)
        );
        assert_eq!(calls("{{ url_for(name=a ~ \"b\") }}"), one(&[("name", None)], 3));
        assert_eq!(calls("{{ url_for }}"), []);
        assert_eq!(calls("url_for(name=\"a\")"), []);
        assert_eq!(calls("{{ f(x=url_for(name=`a`)) }}"), one(&[("name", Some("a"))], 7));
    }

    #[test]
    fn components_and_literals_are_noted() {
        let mentions = scan("{% component ui.card(title) %}{% include \"part.html\" %}{% endcomponent %}", &[]);
        assert!(mentions.components.contains("ui.card") && mentions.components.len() == 1);
        assert!(mentions.literals.contains("part.html") && mentions.used.is_empty());
        let mentions = scan("{{ <ui.nav.item label=\"a\" /> }}{% <card> %}{{ a < b }}{% </card> %}", &[]);
        let mut used: Vec<_> = mentions.used.iter().map(String::as_str).collect();
        used.sort_unstable();
        assert_eq!(used, ["b", "card", "ui.nav.item"]);
    }

    #[test]
    fn a_position_counts_lines_and_characters() {
        assert_eq!(position("abc", 0), (1, 1));
        assert_eq!(position("ä\nöx", 5), (2, 2));
        assert_eq!(position("a\n", 2), (2, 1));
    }
}
