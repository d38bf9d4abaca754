//! `Source`: where a request was made, by what its browser says.

use crate::{Error, HeaderMap, Request, RequestExt, Result};
use http::header::{HOST, HeaderName, ORIGIN};

/// An origin that is trusted: `https://shop.example.org`, as browsers write it (RFC 6454 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustedOrigin(String);

impl TrustedOrigin {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let origin = Origin::parse(text).filter(|origin| origin.host.bytes().all(is_of_host));
        let origin = origin.ok_or_else(|| {
            Error::internal(format!("expected an origin as https://shop.example.org, without a path, found {text:?}"))
        })?;
        Ok(Self(format!("{}://{}", origin.scheme, without_port(origin.host, origin.scheme)).to_ascii_lowercase()))
    }
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)
}

/// Where a request was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// On a page of this site, by its visitor, or by a site that is trusted.
    Here,
    /// On another site: why that is known, for the developer.
    Elsewhere(String),
    /// Nobody says. The token decides.
    Unknown,
}

impl Source {
    /// Of a request, by what browsers say of it and no page can change (WHATWG Fetch, Fetch Metadata).
    pub(crate) fn of(req: &Request, trusted: &[TrustedOrigin]) -> Self {
        let headers = req.headers();
        let (site, origin) = match (one(headers, &SEC_FETCH_SITE), one(headers, &ORIGIN)) {
            (Ok(site), Ok(origin)) => (site, origin),
            (Err(name), _) | (_, Err(name)) => {
                return Self::Elsewhere(format!("expected one header {name}, found several"));
            }
        };
        if origin.is_some_and(|origin| trusted.iter().any(|trusted| trusted.0.eq_ignore_ascii_case(origin))) {
            return Self::Here;
        }
        match (site, origin) {
            (Some("same-origin" | "none"), _) => Self::Here,
            (Some(site), _) => {
                let origin = origin.map(|origin| format!(", from {}", shown(origin))).unwrap_or_default();
                Self::Elsewhere(format!("Sec-Fetch-Site is {}{origin}", shown(site)))
            }
            // An origin that the browser keeps to itself, such as that of a page whose policy is `no-referrer`.
            (None, None | Some("null")) => Self::Unknown,
            (None, Some(origin)) => {
                let host = host(req);
                if Origin::parse(origin).is_some_and(|origin| origin.is(host, req.is_https())) {
                    return Self::Here;
                }
                let host = host.map_or("missing".to_owned(), shown);
                Self::Elsewhere(format!(
                    "Origin is {} and Host is {host}: a proxy must pass on the Host that it was sent",
                    shown(origin)
                ))
            }
        }
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The only header of this name.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, HeaderName> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    if lines.next().is_some() {
        return Err(name.clone());
    }
    // What is no text is no value that browsers send.
    Ok(first.map(|value| value.to_str().unwrap_or("?")))
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

/// The host that the request is for (RFC 9110 §7.2).
fn host(req: &Request) -> Option<&str> {
    let authority = req.uri().authority().map(|authority| authority.as_str());
    authority.or_else(|| req.headers().get(HOST)?.to_str().ok())
}

struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        (known && !host.is_empty()).then_some(Self { scheme, host })
    }

    /// Whether it is that of a host. Of the scheme is known only that of a request that came by https, since a proxy
    /// may have ended the TLS: what else came is not told from http, as in Go's `CrossOriginProtection`.
    fn is(&self, host: Option<&str>, https: bool) -> bool {
        let own = without_port(self.host, self.scheme);
        let same = host.is_some_and(|host| without_port(host, self.scheme).eq_ignore_ascii_case(own));
        same && (!https || self.scheme.eq_ignore_ascii_case("https"))
    }
}

/// The host without the port that the scheme has anyway.
fn without_port<'a>(host: &'a str, scheme: &str) -> &'a str {
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    host.strip_suffix(port).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Https;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut req = Request::default();
        for (name, value) in headers {
            req.headers_mut().append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        req
    }

    const SITE: &str = "sec-fetch-site";

    #[test]
    fn a_request_is_made_where_its_browser_says() {
        type Row = (&'static [(&'static str, &'static str)], &'static str);
        let table: &[Row] = &[
            // Sec-Fetch-Site decides, whatever the rest says.
            (&[(SITE, "same-origin")], "here"),
            (&[(SITE, "none")], "here"),
            (&[(SITE, "same-site")], "Sec-Fetch-Site is \"same-site\""),
            (&[(SITE, "cross-site")], "Sec-Fetch-Site is \"cross-site\""),
            (&[(SITE, "Same-Origin")], "Sec-Fetch-Site is \"Same-Origin\""),
            (&[(SITE, "")], "Sec-Fetch-Site is \"\""),
            (&[(SITE, "same-origin"), ("origin", "https://b.example"), ("host", "a.example")], "here"),
            (
                &[(SITE, "cross-site"), ("origin", "https://a.example"), ("host", "a.example")],
                "Sec-Fetch-Site is \"cross-site\", from \"https://a.example\"",
            ),
            (&[(SITE, "same-origin"), (SITE, "cross-site")], "expected one header sec-fetch-site, found several"),
            // Without it, Origin against Host.
            (&[("origin", "https://a.example"), ("host", "a.example")], "here"),
            (&[("origin", "http://a.example"), ("host", "a.example")], "here"),
            (&[("origin", "https://A.example"), ("host", "a.EXAMPLE")], "here"),
            (&[("origin", "https://a.example"), ("host", "a.example:443")], "here"),
            (&[("origin", "http://a.example"), ("host", "a.example:80")], "here"),
            (&[("origin", "http://[::1]:8000"), ("host", "[::1]:8000")], "here"),
            (&[("origin", "http://localhost:8000"), ("host", "localhost:8000")], "here"),
            (&[("origin", "http://localhost:8001"), ("host", "localhost:8000")], "Origin is"),
            (&[("origin", "http://a.example:443"), ("host", "a.example")], "Origin is"),
            (&[("origin", "https://a.example.evil.example"), ("host", "a.example")], "Origin is"),
            (&[("origin", "https://evil-a.example"), ("host", "a.example")], "Origin is"),
            (&[("origin", "https://evil.example/a.example"), ("host", "a.example")], "Origin is"),
            (&[("origin", "https://a.example@evil.example"), ("host", "a.example")], "Origin is"),
            (&[("origin", "https://evil.example"), ("host", "a.example")], "Origin is \"https://evil.example\""),
            (&[("origin", "https://evil.example")], "Origin is \"https://evil.example\" and Host is missing"),
            (&[("origin", "file://"), ("host", "")], "Origin is"),
            (&[("origin", "a.example"), ("host", "a.example")], "Origin is"),
            (&[("origin", ""), ("host", "")], "Origin is"),
            (&[("origin", "https://a.example"), ("origin", "null"), ("host", "a.example")], "expected one header"),
            // Trusted ones.
            (&[("origin", "https://shop.example"), ("host", "a.example")], "here"),
            (&[(SITE, "cross-site"), ("origin", "https://shop.example"), ("host", "a.example")], "here"),
            (&[("origin", "http://shop.example"), ("host", "a.example")], "Origin is"),
            (&[("origin", "https://shop.example:444"), ("host", "a.example")], "Origin is"),
            (&[("origin", "https://x.shop.example"), ("host", "a.example")], "Origin is"),
            // Neither.
            (&[("host", "a.example")], "unknown"),
            (&[("origin", "null"), ("host", "a.example")], "unknown"),
            (&[(SITE, "cross-site"), ("origin", "null"), ("host", "a.example")], "Sec-Fetch-Site is \"cross-site\""),
            (&[("referer", "https://evil.example/"), ("host", "a.example")], "unknown"),
        ];
        let trusted = [TrustedOrigin::parse("https://shop.example").unwrap()];
        for (headers, expected) in table {
            let found = match Source::of(&request(headers), &trusted) {
                Source::Here => "here".to_owned(),
                Source::Unknown => "unknown".to_owned(),
                Source::Elsewhere(why) => why,
            };
            assert!(found.starts_with(expected), "{headers:?}: expected {expected}, found {found}");
        }
    }

    #[test]
    fn what_came_by_https_was_not_sent_by_a_page_without() {
        for (origin, expected) in [("https://a.example", true), ("http://a.example", false)] {
            let mut req = request(&[("origin", origin), ("host", "a.example")]);
            req.extensions_mut().insert(Https);
            assert_eq!(Source::of(&req, &[]) == Source::Here, expected, "{origin}");
        }
    }

    #[test]
    fn an_absolute_address_goes_before_the_host() {
        let mut req = request(&[("origin", "http://a.example"), ("host", "b.example")]);
        *req.uri_mut() = "http://a.example/".parse().unwrap();
        assert_eq!(Source::of(&req, &[]), Source::Here);
    }

    #[test]
    fn a_trusted_origin_is_an_origin() {
        let table = [
            ("https://shop.example.org", Some("https://shop.example.org")),
            ("HTTPS://Shop.Example.org:443", Some("https://shop.example.org")),
            ("http://localhost:8001", Some("http://localhost:8001")),
            ("https://shop.example.org/", None),
            ("https://shop.example.org/path", None),
            ("https://*.example.org", None),
            ("https://user@shop.example.org", None),
            ("shop.example.org", None),
            ("https://", None),
            ("null", None),
            ("*", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = TrustedOrigin::parse(text);
            assert_eq!(found.as_ref().ok().map(|origin| &*origin.0), expected, "{text}");
        }
    }
}
