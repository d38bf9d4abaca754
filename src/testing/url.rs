//! Addresses: where a request goes, and what a link on a page leads to.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::fmt;

/// An address on a web server: `https://shop.example/cart?item=7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) https: bool,
    /// Host and port, as the header `Host` has them.
    pub(super) authority: String,
    /// Begins with a slash.
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl Url {
    /// An absolute address; its fragment is left out, as it never reaches a server.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = rest[..end].to_ascii_lowercase();
        let root = Self { https, authority, path: "/".to_owned(), query: None };
        let valid = !root.authority.is_empty() && !root.authority.contains([' ', '@']);
        valid.then(|| root.join(&rest[end..])).flatten()
    }

    /// Resolves a reference (RFC 3986 §5.2); `None` for one that leaves the web, such as `mailto:`.
    pub(super) fn join(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim();
        let reference = reference.split('#').next().unwrap_or_default();
        if reference.is_empty() {
            return Some(self.clone());
        }
        let scheme = reference.split(['/', '?']).next().and_then(|start| start.split_once(':'));
        if let Some((scheme, _)) = scheme
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(utf8_percent_encode(query, IN_QUERY).to_string())),
            None => (reference, None),
        };
        let path = match path {
            "" => self.path.clone(),
            path if path.starts_with('/') => without_dots(path),
            path => {
                let directory = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
                without_dots(&format!("{directory}{path}"))
            }
        };
        let path = utf8_percent_encode(&path, IN_PATH).to_string();
        Some(Self { path, query, ..self.clone() })
    }

    /// What a test asks for: a whole address, or a path on this host. Nothing is resolved in it, so that a test can
    /// send `/../secret` and `//evil.example`.
    pub(super) fn given(&self, text: &str) -> Option<Self> {
        let root = if text.starts_with('/') { self.clone() } else { Self::parse(text)? };
        let rest = match text.split_once("://") {
            Some((_, rest)) if !text.starts_with('/') => &rest[rest.find(['/', '?', '#']).unwrap_or(rest.len())..],
            _ => text,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = utf8_percent_encode(if path.is_empty() { "/" } else { path }, IN_PATH).to_string();
        let query = query.map(|query| utf8_percent_encode(query, IN_QUERY).to_string());
        Some(Self { path, query, ..root })
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host without its port.
    pub(super) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }

    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    /// What stands in a request's first line: path and query.
    pub(super) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.target())
    }
}

/// What browsers encode in a path (WHATWG URL, path percent-encode set). A `%` is taken as it is.
const IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}').add(b'^');

/// What browsers encode in a query.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\'');

/// Resolves `.` and `..` (RFC 3986 §5.2.4), encoded dots too, as browsers do.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_as_browsers_resolve_them() {
        let base = Url::parse("http://localhost:8000/blog/posts/7?page=2#top").unwrap();
        assert_eq!(base.host(), "localhost");
        let table = [
            ("", Some("http://localhost:8000/blog/posts/7?page=2")),
            ("#end", Some("http://localhost:8000/blog/posts/7?page=2")),
            ("?page=3", Some("http://localhost:8000/blog/posts/7?page=3")),
            ("8", Some("http://localhost:8000/blog/posts/8")),
            ("./8/", Some("http://localhost:8000/blog/posts/8/")),
            ("..", Some("http://localhost:8000/blog/")),
            ("../../../x", Some("http://localhost:8000/x")),
            ("/a/%2e%2E/b", Some("http://localhost:8000/b")),
            ("/", Some("http://localhost:8000/")),
            ("/hello/Jürgen B?q=a b", Some("http://localhost:8000/hello/J%C3%BCrgen%20B?q=a%20b")),
            ("/100%", Some("http://localhost:8000/100%")),
            ("//evil.example/", Some("http://evil.example/")),
            ("https://shop.example", Some("https://shop.example/")),
            ("https://shop.example?x", Some("https://shop.example/?x")),
            ("a:b", None),
            ("mailto:me@example.org", None),
            ("./a:b", Some("http://localhost:8000/blog/posts/a:b")),
            ("/a:b", Some("http://localhost:8000/a:b")),
        ];
        for (reference, expected) in table {
            let found = base.join(reference).map(|url| url.to_string());
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
    }
}
