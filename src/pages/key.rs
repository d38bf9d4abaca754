//! The key of a page: the URL as it was sent; and the tags by which pages are purged.

use crate::hosts::Host;
use crate::request::OriginalUri;
use crate::{Request, RequestExt};
use http::HeaderValue;
use http::header::HOST;
use std::borrow::Cow;
use std::cell::RefCell;

/// Longer URLs are not stored.
const MAX_KEY: usize = 4096;

/// The URL of a request as a key: scheme, host and target, as they were sent but for the host's case and the scheme's own port.
///
/// Nothing else is normalised: where two spellings of a path are one page, they are two keys of it; where they are two, the one
/// is not given for the other. `None` where the host is none, or the URL too long.
pub(crate) fn key(req: &Request) -> Option<String> {
    let scheme = if req.is_https() { "https" } else { "http" };
    let uri = req.extensions().get::<OriginalUri>().map_or(req.uri(), |uri| &uri.0);
    let host = match Host::of(req) {
        Some(host) => Some(host),
        // No server lets such a request in but of HTTP/1.0.
        None if !req.headers().contains_key(HOST) && req.uri().authority().is_none() => None,
        None => return None,
    };
    key_of(scheme, host, uri.path(), uri.query())
}

/// The key of a thread's last request, in memory that serves the next one: which is mostly for the same host.
#[derive(Default)]
struct Draft {
    key: String,
    /// How much of it is scheme and host.
    origin: usize,
    https: bool,
    /// As it was sent.
    host: Vec<u8>,
}

thread_local! {
    static DRAFT: RefCell<Draft> = RefCell::default();
}

/// Does something with the key of a request, which is not to be kept: made without new memory.
pub(crate) fn with_key<T>(req: &Request, look_up: impl FnOnce(&str) -> T) -> Option<T> {
    DRAFT.with_borrow_mut(|draft| {
        let https = req.is_https();
        let mut lines = req.headers().get_all(HOST).iter();
        let host = lines.next().filter(|_| lines.next().is_none());
        let uri = req.extensions().get::<OriginalUri>().map_or(req.uri(), |uri| &uri.0);
        match host {
            Some(host) if draft.origin > 0 && https == draft.https && *host.as_bytes() == *draft.host => {
                draft.key.truncate(draft.origin);
                draft.key.push_str(uri.path());
                if let Some(query) = uri.query() {
                    draft.key.push('?');
                    draft.key.push_str(query);
                }
            }
            _ => {
                draft.origin = 0;
                let key = key(req)?;
                if let Some(host) = host {
                    draft.origin = key.len() - target_length(&key);
                    draft.https = https;
                    draft.host.clear();
                    draft.host.extend_from_slice(host.as_bytes());
                }
                draft.key = key;
            }
        }
        (draft.key.len() <= MAX_KEY).then(|| look_up(&draft.key))
    })
}

/// None of the parts can hold a line break.
fn key_of(scheme: &str, host: Option<Host<'_>>, path: &str, query: Option<&str>) -> Option<String> {
    let mut key = String::with_capacity(48 + path.len() + query.map_or(0, str::len));
    key.push_str(scheme);
    key.push('\n');
    if let Some(host) = host {
        key.push_str(&host.name);
        let own = if scheme == "https" { 443 } else { 80 };
        if let Some(port) = host.port.filter(|port| *port != own) {
            key.push(':');
            key.push_str(itoa::Buffer::new().format(port));
        }
    }
    key.push('\n');
    key.push_str(path);
    if let Some(query) = query {
        key.push('?');
        key.push_str(query);
    }
    (key.len() <= MAX_KEY).then_some(key)
}

/// The key of what a header of the answer to the request of `key` names, if that is of the same origin (RFC 9111 §4.4).
pub(crate) fn key_beside(key: &str, reference: &HeaderValue) -> Option<String> {
    let mut parts = key.splitn(3, '\n');
    let (scheme, host, target) = (parts.next()?, parts.next()?, parts.next()?);
    let reference = reference.to_str().ok()?.split('#').next()?.trim();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let absolute = |rest: &str| {
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let target = if rest[at..].starts_with('/') { rest[at..].to_owned() } else { format!("/{}", &rest[at..]) };
        let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
        let other = key_of(scheme, Some(Host::parse(&rest[..at])?), path, query)?;
        other.starts_with(&key[..key.len() - target_length(key)]).then_some(other)
    };
    let local = |target: &str| Some(format!("{scheme}\n{host}\n{target}"));
    if let Some(rest) = reference.strip_prefix("//") {
        return absolute(rest);
    }
    if let Some((other, rest)) = reference.split_once("://") {
        return absolute(rest).filter(|_| other.eq_ignore_ascii_case(scheme));
    }
    match reference.chars().next() {
        None => local(&query.map_or(path.to_owned(), |query| format!("{path}?{query}"))),
        Some('/') => local(reference),
        Some('?') => local(&format!("{path}{reference}")),
        Some(_) => local(&format!("{}{reference}", &path[..=path.rfind('/')?])),
    }
}

fn target_length(key: &str) -> usize {
    key.splitn(3, '\n').nth(2).map_or(0, str::len)
}

/// The path in a key.
pub(crate) fn path_of(key: &str) -> &str {
    key.splitn(3, '\n').nth(2).and_then(|target| target.split('?').next()).unwrap_or_default()
}

/// Paths that may be the same page have one tag: to purge one more than was meant costs little.
pub(crate) fn path_tag(path: &str) -> String {
    let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode_str(path).into();
    format!("path {}", decoded.escape_ascii())
}

/// A tag of the site's.
pub(crate) fn in_tag(tag: &str) -> String {
    format!("tag {tag}")
}

/// A tag as it stands in the header.
pub(crate) fn written(tag: &str) -> String {
    const SET: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ').add(b',').add(b'%').add(b'"');
    percent_encoding::utf8_percent_encode(tag, SET).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_for(https: bool, host: &str, target: &str) -> Option<String> {
        let mut req = Request::new(crate::Body::empty());
        *req.uri_mut() = target.parse().unwrap();
        if !host.is_empty() {
            req.headers_mut().insert(HOST, HeaderValue::from_str(host).unwrap());
        }
        if https {
            req.extensions_mut().insert(crate::request::Https);
        }
        key(&req)
    }

    #[test]
    fn a_key_is_the_url_as_it_was_sent() {
        let same = |one: &str, other: &str| key_for(false, one, "/a") == key_for(false, other, "/a");
        assert!(same("example.org", "EXAMPLE.org"));
        assert!(same("example.org", "example.org:80"));
        assert!(same("example.org", "example.org."));
        assert!(!same("example.org", "example.org:8080"));
        assert!(!same("example.org", "www.example.org"));
        assert!(key_for(false, "", "/a").is_some());
        for none in ["two hosts", "evil.org/path", "a@b"] {
            assert_eq!(key_for(false, none, "/a"), None, "{none}");
        }
        assert_ne!(key_for(true, "example.org", "/a"), key_for(false, "example.org", "/a"));
        assert_eq!(key_for(true, "example.org:443", "/a"), key_for(true, "example.org", "/a"));
        let paths = [
            "/a",
            "/a/",
            "/A",
            "/%61",
            "/a;x",
            "/a;x.css",
            "/a%2F",
            "/a%2f",
            "/a/.",
            "//a",
            "/a?",
            "/a?b=1&c=2",
            "/a?c=2&b=1",
        ];
        for (at, one) in paths.iter().enumerate() {
            for other in &paths[at + 1..] {
                assert_ne!(key_for(false, "x", one), key_for(false, "x", other), "{one} {other}");
            }
        }
        assert_eq!(key_for(false, "x", &format!("/{}", "a".repeat(MAX_KEY))), None);
    }

    #[test]
    fn the_key_that_is_made_of_the_last_one_is_the_same() {
        let hosts =
            ["example.org", "EXAMPLE.org:80", "example.org", "two hosts", "other.org:8080", "", "other.org:8080"];
        for host in hosts {
            for target in ["/a", "/longer/path?and=query", "/", "/a?"] {
                for https in [false, true, false] {
                    let mut req = Request::new(crate::Body::empty());
                    *req.uri_mut() = target.parse().unwrap();
                    if !host.is_empty() {
                        req.headers_mut().insert(HOST, HeaderValue::from_str(host).unwrap());
                    }
                    if https {
                        req.extensions_mut().insert(crate::request::Https);
                    }
                    for _ in 0..2 {
                        assert_eq!(with_key(&req, str::to_owned), key(&req), "{host} {target} {https}");
                    }
                }
            }
        }
        let mut req = Request::new(crate::Body::empty());
        req.headers_mut().insert(HOST, HeaderValue::from_static("x"));
        assert!(with_key(&req, |_| ()).is_some());
        *req.uri_mut() = format!("/{}", "a".repeat(MAX_KEY)).parse().unwrap();
        assert!(with_key(&req, |_| ()).is_none());
    }

    #[test]
    fn what_an_answer_names_is_purged_if_it_is_of_the_same_origin() {
        let of = key_for(false, "example.org:8080", "/a/b?c").unwrap();
        let table = [
            ("/x", Some("/x")),
            ("/x?y", Some("/x?y")),
            ("x", Some("/a/x")),
            ("?x", Some("/a/b?x")),
            ("", Some("/a/b?c")),
            ("/x#part", Some("/x")),
            ("http://example.org:8080/x", Some("/x")),
            ("HTTP://EXAMPLE.org:8080/x?y", Some("/x?y")),
            ("http://example.org:8080", Some("/")),
            ("//example.org:8080/x", Some("/x")),
            ("http://example.org/x", None),
            ("http://example.org:80800/x", None),
            ("https://example.org:8080/x", None),
            ("http://evil.org:8080/x", None),
            ("//evil.org/x", None),
            ("http://", None),
        ];
        for (reference, expected) in table {
            let found = key_beside(&of, &HeaderValue::from_str(reference).unwrap());
            let found = found.as_deref().and_then(|key| key.strip_prefix("http\nexample.org:8080\n"));
            assert_eq!(found, expected, "{reference}");
        }
    }

    #[test]
    fn spellings_of_a_path_have_one_tag() {
        assert_eq!(path_tag("/a%20b"), path_tag("/a b"));
        assert_eq!(path_tag("/%61"), path_tag("/a"));
        assert_ne!(path_tag("/a"), path_tag("/A"));
        assert_eq!(path_of("http\nx\n/a?b"), "/a");
    }
}
