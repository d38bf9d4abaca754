//! HTML, read as a browser reads it as far as a test can tell: elements, attributes and text.

use std::fmt;

/// A page as a tree.
///
/// Nodes stand in document order, so that all below one are the nodes from the next on to its `end`.
#[derive(Debug)]
pub(super) struct Document {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    parent: usize,
    end: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text(String),
    Element { name: String, attributes: Vec<(String, String)> },
}

/// An element of a page.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    document: &'a Document,
    at: usize,
}

impl<'a> Element<'a> {
    /// Its tag's name, in lower case.
    pub fn name(&self) -> &'a str {
        match &self.document.nodes[self.at].kind {
            Kind::Element { name, .. } => name,
            Kind::Text(_) => "",
        }
    }

    /// The value of an attribute, with its entities decoded; the empty text for one without a value.
    pub fn attr(&self, name: &str) -> Option<&'a str> {
        match &self.document.nodes[self.at].kind {
            Kind::Element { attributes, .. } => {
                attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
            }
            Kind::Text(_) => None,
        }
    }

    /// The text in it as a reader sees it: white space made one space, scripts and styles left out.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.document.write_text(self.at, &mut text);
        normal(&text)
    }

    /// The text in it as it stands in the source.
    pub(super) fn raw_text(&self) -> String {
        let texts = self.document.nodes[self.at..self.document.nodes[self.at].end].iter();
        texts.filter_map(|node| if let Kind::Text(text) = &node.kind { Some(text.as_str()) } else { None }).collect()
    }

    /// The elements in it that a selector fits; see [`Page::select`](super::Page::select).
    #[track_caller]
    pub fn select(&self, selector: &str) -> Vec<Element<'a>> {
        let selectors: Vec<Selector> = selector.split(',').map(Selector::parse).collect();
        self.descendants().filter(|element| selectors.iter().any(|selector| selector.fits(*element))).collect()
    }

    pub(super) fn descendants(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let document = self.document;
        (self.at + 1..document.nodes[self.at].end)
            .filter(|&at| matches!(document.nodes[at].kind, Kind::Element { .. }))
            .map(|at| Element { document, at })
    }

    /// The elements around it, the nearest first.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let document = self.document;
        let parent = |&at: &usize| (at != 0).then(|| document.nodes[at].parent);
        std::iter::successors(parent(&self.at), parent).map(|at| Element { document, at })
    }

    pub(super) fn is(&self, other: &Element<'_>) -> bool {
        self.at == other.at
    }
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name())?;
        if let Kind::Element { attributes, .. } = &self.document.nodes[self.at].kind {
            for (name, value) in attributes {
                write!(f, " {name}={value:?}")?;
            }
        }
        write!(f, ">{}", self.text())
    }
}

/// White space as one space, none at the ends.
pub(super) fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Elements without content or end tag (HTML §13.1.2).
const VOID: [&str; 13] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"];

/// Elements that begin on a line of their own, and so end a paragraph (HTML §13.1.2.4).
const BLOCK: [&str; 29] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "details",
    "dialog",
    "div",
    "dl",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "ul",
];

/// What a start tag closes before it opens, and where that search ends (HTML §13.1.2.4).
fn implied_ends(name: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match name {
        "li" => (&["li"], &["ul", "ol", "menu"]),
        "dt" | "dd" => (&["dt", "dd"], &["dl"]),
        "option" => (&["option"], &["select", "datalist", "optgroup"]),
        "optgroup" => (&["option", "optgroup"], &["select"]),
        "td" | "th" => (&["td", "th"], &["tr", "table"]),
        "tr" => (&["td", "th", "tr"], &["table"]),
        "tbody" | "thead" | "tfoot" => (&["td", "th", "tr", "tbody", "thead", "tfoot"], &["table"]),
        name if BLOCK.contains(&name) => (&["p"], &["button", "td", "th", "li", "dd", "div", "section", "form"]),
        _ => (&[], &[]),
    }
}

impl Document {
    pub(super) fn parse(source: &str) -> Self {
        let root = Node { parent: 0, end: 0, kind: Kind::Element { name: String::new(), attributes: Vec::new() } };
        let mut document = Self { nodes: vec![root] };
        let mut open: Vec<usize> = vec![0];
        let mut tokens = Tokens { rest: source };
        while let Some(token) = tokens.next() {
            match token {
                Token::Text(text) => document.push(&open, Kind::Text(decode(text))),
                Token::Start { name, attributes } => {
                    let in_a_form = || open.iter().any(|&at| document.name(at) == "form");
                    // A form in a form is passed over (HTML §13.2.6.4.7): its fields belong to the outer one.
                    if name == "form" && in_a_form() {
                        continue;
                    }
                    let (ends, until) = implied_ends(&name);
                    let inner = open.iter().rposition(|&at| until.contains(&document.name(at))).map_or(1, |at| at + 1);
                    if let Some(at) = (inner..open.len()).find(|&at| ends.contains(&document.name(open[at]))) {
                        document.close(&mut open, at);
                    }
                    let raw = matches!(name.as_str(), "script" | "style");
                    let text = matches!(name.as_str(), "textarea" | "title");
                    let void = VOID.contains(&name.as_str());
                    let at = document.nodes.len();
                    let end_tag = format!("</{name}");
                    document.push(&open, Kind::Element { name, attributes });
                    if raw || text {
                        open.push(at);
                        let content = tokens.until(&end_tag);
                        // A line break right after the start tag is not part of the text (HTML §13.2.6.4.7).
                        let content = content.strip_prefix("\r\n").or(content.strip_prefix('\n')).unwrap_or(content);
                        let content = if raw { content.to_owned() } else { decode(content) };
                        document.push(&open, Kind::Text(content));
                        let last = open.len() - 1;
                        document.close(&mut open, last);
                    } else if !void {
                        open.push(at);
                    }
                }
                Token::End(name) => {
                    if let Some(at) = open.iter().rposition(|&at| document.name(at) == name) {
                        document.close(&mut open, at);
                    }
                }
            }
        }
        document.close(&mut open, 0);
        document
    }

    fn push(&mut self, open: &[usize], kind: Kind) {
        let parent = open.last().copied().unwrap_or(0);
        self.nodes.push(Node { parent, end: self.nodes.len() + 1, kind });
    }

    /// Closes what is open from the place `from` of the list on.
    fn close(&mut self, open: &mut Vec<usize>, from: usize) {
        for at in open.drain(from..) {
            self.nodes[at].end = self.nodes.len();
        }
    }

    fn name(&self, at: usize) -> &str {
        match &self.nodes[at].kind {
            Kind::Element { name, .. } => name,
            Kind::Text(_) => "",
        }
    }

    fn write_text(&self, at: usize, to: &mut String) {
        match &self.nodes[at].kind {
            Kind::Text(text) => to.push_str(text),
            Kind::Element { name, .. } => {
                if at != 0 && matches!(name.as_str(), "script" | "style" | "template") {
                    return;
                }
                let apart = name == "br" || !implied_ends(name).0.is_empty();
                if apart {
                    to.push(' ');
                }
                let mut child = at + 1;
                while child < self.nodes[at].end {
                    self.write_text(child, to);
                    child = self.nodes[child].end;
                }
                if apart {
                    to.push(' ');
                }
            }
        }
    }

    pub(super) fn root(&self) -> Element<'_> {
        Element { document: self, at: 0 }
    }
}

enum Token<'a> {
    Text(&'a str),
    Start { name: String, attributes: Vec<(String, String)> },
    End(String),
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// What stands before `end`, in whatever case; all of it if that never comes.
    fn until(&mut self, end: &str) -> &'a str {
        let found = self.rest.char_indices().map(|(at, _)| at).find(|&at| {
            self.rest.as_bytes()[at..].get(..end.len()).is_some_and(|here| here.eq_ignore_ascii_case(end.as_bytes()))
        });
        self.take(found.unwrap_or(self.rest.len()))
    }

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let mut after = self.rest.chars().skip(1);
            let next = after.next().unwrap_or(' ');
            if !self.rest.starts_with('<') || !(next.is_ascii_alphabetic() || "/!?".contains(next)) {
                let begin = usize::from(self.rest.starts_with('<'));
                let end = self.rest[begin..].find('<').map_or(self.rest.len(), |at| at + begin);
                return Some(Token::Text(self.take(end)));
            }
            if self.rest.starts_with("<!--") {
                let end = self.rest[2..].find("-->").map_or(self.rest.len(), |at| at + 5);
                self.take(end);
                continue;
            }
            if next == '!' || next == '?' {
                self.take(self.rest.find('>').map_or(self.rest.len(), |at| at + 1));
                continue;
            }
            let end_tag = next == '/';
            self.take(if end_tag { 2 } else { 1 });
            let length = self.rest.find(|c: char| c.is_ascii_whitespace() || "/>".contains(c));
            let name = self.take(length.unwrap_or(self.rest.len())).to_ascii_lowercase();
            let attributes = self.attributes();
            return Some(if end_tag { Token::End(name) } else { Token::Start { name, attributes } });
        }
    }

    /// The attributes of a tag, and its end.
    fn attributes(&mut self) -> Vec<(String, String)> {
        let mut attributes: Vec<(String, String)> = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if self.rest.is_empty() {
                return attributes;
            }
            if self.rest.starts_with('>') {
                self.take(1);
                return attributes;
            }
            // An attribute that begins with `=` has that in its name (HTML §13.2.5.32).
            let first = self.rest.chars().next().map_or(0, char::len_utf8);
            let length = self.rest[first..].find(|c: char| c.is_ascii_whitespace() || "/>=".contains(c));
            let length = length.map_or(self.rest.len(), |at| at + first);
            let name = self.take(length).to_ascii_lowercase();
            let value = self.value();
            if !attributes.iter().any(|(other, _)| *other == name) {
                attributes.push((name, value));
            }
        }
    }

    fn value(&mut self) -> String {
        let Some(rest) = self.rest.trim_start().strip_prefix('=') else {
            return String::new();
        };
        self.rest = rest.trim_start();
        for quote in ['"', '\''] {
            if self.rest.starts_with(quote) {
                self.take(1);
                let value = self.take(self.rest.find(quote).unwrap_or(self.rest.len()));
                self.take(1);
                return decode(value);
            }
        }
        decode(self.take(self.rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(self.rest.len())))
    }
}

/// Replaces character references that end in a semicolon; any other `&` is left, as in `?a=1&copy=2`.
fn decode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest.find(';').map(|end| &rest[1..end]);
        match reference.and_then(|name| Some((name, character(name)?))) {
            Some((name, character)) => {
                decoded.push(character);
                rest = &rest[name.len() + 2..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        return Some(code.ok().and_then(char::from_u32).filter(|&c| c != '\0').unwrap_or('\u{FFFD}'));
    }
    const NAMED: [(&str, char); 22] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", '\u{A0}'),
        ("copy", '©'),
        ("reg", '®'),
        ("hellip", '…'),
        ("ndash", '–'),
        ("mdash", '—'),
        ("lsquo", '‘'),
        ("rsquo", '’'),
        ("ldquo", '“'),
        ("rdquo", '”'),
        ("laquo", '«'),
        ("raquo", '»'),
        ("middot", '·'),
        ("bull", '•'),
        ("times", '×'),
        ("larr", '←'),
        ("rarr", '→'),
    ];
    NAMED.iter().find(|(key, _)| *key == name).map(|(_, character)| *character)
}

/// `main .entry > a[href="/"]`: compounds, each below or right below the one before.
struct Selector {
    // The last compound first; whether it must be the parent of what comes before it in this list.
    compounds: Vec<(bool, Vec<Test>)>,
}

enum Test {
    Any,
    Tag(String),
    Attr(String, Option<String>),
    Class(String),
}

impl Selector {
    #[track_caller]
    fn parse(text: &str) -> Self {
        let mut compounds = Vec::new();
        let mut child = false;
        for part in words(text) {
            if part == ">" {
                child = true;
                continue;
            }
            compounds.push((std::mem::take(&mut child), compound(&part, text)));
        }
        assert!(!compounds.is_empty() && !child, "expected a selector such as `main .entry > a[href]`, found {text:?}");
        compounds.reverse();
        Self { compounds }
    }

    fn fits(&self, element: Element<'_>) -> bool {
        fits(&self.compounds, element)
    }
}

fn fits(compounds: &[(bool, Vec<Test>)], element: Element<'_>) -> bool {
    let Some(((child, tests), outer)) = compounds.split_first() else {
        return true;
    };
    if !tests.iter().all(|test| test.fits(element)) {
        return false;
    }
    if outer.is_empty() {
        return true;
    }
    let mut around = element.ancestors();
    if *child { around.next().is_some_and(|parent| fits(outer, parent)) } else { around.any(|one| fits(outer, one)) }
}

impl Test {
    fn fits(&self, element: Element<'_>) -> bool {
        match self {
            Self::Any => !element.name().is_empty(),
            Self::Tag(name) => element.name() == name,
            Self::Attr(name, None) => element.attr(name).is_some(),
            Self::Attr(name, Some(value)) => element.attr(name) == Some(value),
            Self::Class(class) => {
                element.attr("class").unwrap_or_default().split_ascii_whitespace().any(|one| one == class)
            }
        }
    }
}

/// Splits at white space and around `>`, but not in brackets.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth > 0 || !(c.is_whitespace() || c == '>') {
            words.last_mut().expect("begins with one").push(c);
            continue;
        }
        if c == '>' {
            words.push(">".to_owned());
        }
        words.push(String::new());
    }
    words.retain(|word| !word.is_empty());
    words
}

#[track_caller]
fn compound(part: &str, whole: &str) -> Vec<Test> {
    let unfit = || -> ! {
        panic!(
            "expected a selector of tags, #ids, .classes and [attributes], as `main .entry > a[href]`, found {whole:?}"
        )
    };
    let mut tests = Vec::new();
    let mut rest = part;
    while let Some(first) = rest.chars().next() {
        if first == '[' {
            let Some(end) = rest.find(']') else { unfit() };
            let inside = &rest[1..end];
            tests.push(match inside.split_once('=') {
                Some((name, value)) => {
                    let value = value.trim_matches(|c| c == '"' || c == '\'');
                    Test::Attr(name.to_ascii_lowercase(), Some(value.to_owned()))
                }
                None => Test::Attr(inside.to_ascii_lowercase(), None),
            });
            rest = &rest[end + 1..];
            continue;
        }
        let begin = usize::from(matches!(first, '#' | '.' | '*'));
        let end = rest[begin..].find(['#', '.', '[', '*']).map_or(rest.len(), |at| at + begin);
        let word = &rest[begin..end];
        if word.contains([':', '+', '~', '(', ']']) || (word.is_empty() && first != '*') {
            unfit();
        }
        tests.push(match first {
            '#' => Test::Attr("id".to_owned(), Some(word.to_owned())),
            '.' => Test::Class(word.to_owned()),
            '*' => Test::Any,
            _ => Test::Tag(word.to_ascii_lowercase()),
        });
        rest = &rest[end..];
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the tree with every element closed.
    fn drawn(source: &str) -> String {
        fn draw(document: &Document, at: usize, to: &mut String) {
            match &document.nodes[at].kind {
                Kind::Text(text) => to.push_str(text),
                Kind::Element { name, attributes } => {
                    to.push('(');
                    to.push_str(name);
                    for (name, value) in attributes {
                        to.push_str(&format!(" {name}={value}"));
                    }
                    to.push(':');
                    let mut child = at + 1;
                    while child < document.nodes[at].end {
                        draw(document, child, to);
                        child = document.nodes[child].end;
                    }
                    to.push(')');
                }
            }
        }
        let document = Document::parse(source);
        let mut text = String::new();
        draw(&document, 0, &mut text);
        text.strip_prefix("(:").and_then(|text| text.strip_suffix(')')).unwrap().to_owned()
    }

    #[test]
    fn sources_become_trees() {
        let table = [
            ("plain", "plain"),
            ("<p>one<p>two", "(p:one)(p:two)"),
            ("<P CLASS=a>x</P>", "(p class=a:x)"),
            ("<!doctype html><!-- <p> --><b>x</b>", "(b:x)"),
            ("<!-->x", "x"),
            ("<?php ?>x", "x"),
            ("<ul><li>a<li>b<ul><li>c</ul></ul>", "(ul:(li:a)(li:b(ul:(li:c))))"),
            ("<select><option>a<option selected>b</select>", "(select:(option:a)(option selected=:b))"),
            ("<table><tr><td>a<td>b<tr><td>c</table>", "(table:(tr:(td:a)(td:b))(tr:(td:c)))"),
            ("<dl><dt>a<dd>b<dt>c</dl>", "(dl:(dt:a)(dd:b)(dt:c))"),
            ("<p>a<div>b</div>", "(p:a)(div:b)"),
            ("<p><a href=x>a</a></p>b", "(p:(a href=x:a))b"),
            ("<br>a<br/>b", "(br:)a(br:)b"),
            ("<input name=\"a\" value='&lt;b&gt; \"c\"' disabled>", "(input name=a value=<b> \"c\" disabled=:)"),
            ("<a href=/x?a=1&b=2&amp;copy=3>y</a>", "(a href=/x?a=1&b=2&copy=3:y)"),
            ("<a href=\"?a=1&copy=2\">y</a>", "(a href=?a=1&copy=2:y)"),
            ("<a\nhref = \"x\"\n>y</a>", "(a href=x:y)"),
            ("<a x=1 x=2>", "(a x=1:)"),
            ("<a =x>", "(a =x=:)"),
            ("<a é=1 ü>x", "(a é=1 ü=:x)"),
            ("1 < 2 & 3 <4", "1 < 2 & 3 <4"),
            ("&amp;lt; &#39; &#x2F; &hellip; &bogus; &#xD800; &", "&lt; ' / … &bogus; \u{FFFD} &"),
            ("<script>if (a < b) '</p>'</script>x", "(script:if (a < b) '</p>')x"),
            ("<textarea>\n\n<b>&amp;</TEXTAREA>x", "(textarea:\n<b>&)x"),
            ("<title>a &lt; <b></title>", "(title:a < <b>)"),
            ("<textarea>never ends", "(textarea:never ends)"),
            ("</p>a</b>", "a"),
            ("<b><i>x</b>y</i>", "(b:(i:x))y"),
            ("<form><form action=x><input></form>y", "(form:(input:))y"),
            ("<a href=\"open", "(a href=open:)"),
            ("<", "<"),
            ("<a", "(a:)"),
            ("<é>", "<é>"),
        ];
        for (source, expected) in table {
            assert_eq!(drawn(source), expected, "{source}");
        }
    }

    #[test]
    fn selectors_find_elements() {
        let source = "<main id=top><div class='entry new'><p>a</p><a href=/x>b</a></div><div class=entry><ul><li><p>c</ul>\
                      </div></main><p>d</p>";
        let document = Document::parse(source);
        let table = [
            ("p", "a c d"),
            ("main p", "a c"),
            ("main > p", ""),
            (".entry > p", "a"),
            (".entry>p", "a"),
            ("div.new a", "b"),
            ("#top .entry p", "a c"),
            ("[href]", "b"),
            ("a[href='/x']", "b"),
            ("a[href=\"/y\"]", ""),
            ("a, li", "b c"),
            ("* > li", "c"),
        ];
        for (selector, expected) in table {
            let found: Vec<_> = document.root().select(selector).iter().map(Element::text).collect();
            assert_eq!(found.join(" "), expected, "{selector}");
        }
    }

    #[test]
    fn text_is_what_a_reader_sees() {
        let table = [
            ("<p>a\n  b</p><p>c</p>", "a b c"),
            ("<ul><li>a</li><li>b</li></ul>", "a b"),
            ("a<b>b</b>c", "abc"),
            ("a<br>b<script>c</script><style>d</style>", "a b"),
            ("&lt;b&gt;", "<b>"),
        ];
        for (source, expected) in table {
            assert_eq!(Document::parse(source).root().text(), expected, "{source}");
        }
    }
}
