//! The address of a server that a proxy asks.

use super::pool::Address;
use crate::hosts::Host;
use crate::{Error, Result};
use http::{HeaderValue, Uri};

#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) at: Address,
    pub(super) authority: HeaderValue,
    /// Before each path; empty, or with a slash at its beginning and none at its end.
    base: String,
}

impl Upstream {
    pub(super) fn parse(address: &str) -> Option<Self> {
        let rest = address.strip_prefix("http://")?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let host = Host::parse(authority)?;
        let base = path.trim_end_matches('/').to_owned();
        // A query or a `..` would be in the middle of another path.
        if base.contains(['?', '#']) || leads_up(&base) || Uri::try_from(format!("{base}/")).is_err() {
            return None;
        }
        let name = host.name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&host.name);
        Some(Self {
            at: Address::Tcp(name.to_owned(), host.port.unwrap_or(80)),
            authority: HeaderValue::try_from(host.to_string()).ok()?,
            base,
        })
    }

    /// What is asked for: of the request's own target its path and query, and nothing else.
    pub(super) fn target(&self, uri: &Uri) -> Result<Uri> {
        let path = uri.path();
        if !path.starts_with('/') || (!self.base.is_empty() && leads_up(path)) {
            return Err(Error::bad_request(format!(
                "expected a path that stays below the server's own, found {path:?}"
            )));
        }
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Uri::try_from(format!("{}{path}{query}", self.base))?)
    }

    /// The path of an address that is one of this server's own, below its base.
    pub(super) fn path_of<'a>(&self, location: &'a str) -> Option<&'a str> {
        let rest = location.strip_prefix("http://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let own = |host: &str| Host::parse(host).map(|host| (host.name.into_owned(), host.port.unwrap_or(80)));
        let mine = own(self.authority.to_str().ok()?)?;
        let path = Some(&rest[end..]).filter(|_| own(&rest[..end]) == Some(mine))?.strip_prefix(self.base.as_str())?;
        // Neither beside the base, nor an address on another host.
        (path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/\\")).then_some(path)
    }
}

/// Whether a path has a segment `..`, also for a server that decodes it first or knows another slash.
fn leads_up(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    // And for one that decodes it twice.
    let twice = percent_encoding::percent_decode_str(&decoded).decode_utf8_lossy();
    twice.split(['/', '\\']).any(|segment| segment.split(';').next() == Some(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_with_a_host() {
        for good in ["http://127.0.0.1:3000", "http://old.internal/shop/", "http://[::1]:80", "http://localhost"] {
            assert!(Upstream::parse(good).is_some(), "{good}");
        }
        let bad = [
            "",
            "127.0.0.1:3000",
            "https://example.org",
            "http://",
            "http://user:password@example.org",
            "http://example.org/a?b",
            "http://example.org/a/../b",
            "http://example.org/a b",
            "http://a b",
        ];
        for bad in bad {
            assert!(Upstream::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_address_of_the_servers_own_is_a_path_here() {
        let root = Upstream::parse("http://localhost:3000").unwrap();
        let shop = Upstream::parse("http://shop.internal/shop").unwrap();
        let table = [
            (&root, "http://localhost:3000/a?b=1#c", Some("/a?b=1#c")),
            (&root, "http://LOCALHOST:3000/", Some("/")),
            (&root, "http://localhost:3000", None),
            (&root, "http://localhost/a", None),
            (&root, "https://localhost:3000/a", None),
            (&root, "http://localhost:3000//evil.example", None),
            (&root, "http://localhost:3000@evil.example/", None),
            (&root, "/a", None),
            (&shop, "http://shop.internal:80/shop/a", Some("/a")),
            (&shop, "http://shop.internal/shop/", Some("/")),
            (&shop, "http://shop.internal/shopping", None),
            (&shop, "http://shop.internal/login", None),
        ];
        for (to, location, expected) in table {
            assert_eq!(to.path_of(location), expected, "{location}");
        }
    }

    #[test]
    fn a_target_stays_with_its_server_and_below_its_path() {
        let root = Upstream::parse("http://localhost").unwrap();
        let shop = Upstream::parse("http://localhost/shop").unwrap();
        let target = |to: &Upstream, uri: &str| to.target(&uri.parse().unwrap()).map(|uri| uri.to_string()).ok();
        assert_eq!(target(&root, "/a?b=1").as_deref(), Some("/a?b=1"));
        assert_eq!(target(&shop, "/a?b=1").as_deref(), Some("/shop/a?b=1"));
        assert_eq!(target(&shop, "http://169.254.169.254/latest").as_deref(), Some("/shop/latest"));
        assert_eq!(target(&shop, "//evil.example/a").as_deref(), Some("/shop//evil.example/a"));
        assert_eq!(target(&shop, "/a..b/...").as_deref(), Some("/shop/a..b/..."));
        for up in [
            "/..",
            "/../admin",
            "/a/../../admin",
            "/%2e%2E/admin",
            "/a/..%2fadmin",
            "/..%5cadmin",
            "/%252e%252e/x",
            "/..;x/a",
        ] {
            assert_eq!(target(&shop, up), None, "{up}");
        }
    }
}
