//! The way back from the sign-in page: which addresses it may lead to, and where a request came from.

use crate::Request;
use crate::negotiate;
use crate::request::OriginalUri;
use http::header::{ACCEPT, HOST, REFERER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_decode_str, utf8_percent_encode};

/// The path, with its query, if it leads to this site and nowhere else; `None` for everything that may lead away.
///
/// What stands in `?next=…` was written by anybody, and a redirect to wherever that says makes the site's good name a
/// bait (an *open redirect*, CWE-601). So this takes what it knows to be good, and not all that it does not know to be
/// bad: a path as this site's own requests have it, ASCII, that begins with one slash. Refused are
///
/// - what has a host, or what some client takes for one: `//evil.example`, and with a backslash in place of a slash,
///   which browsers read as one;
/// - control characters and spaces, which browsers take out before they look: `/\t/evil.example`;
/// - two slashes anywhere in the path, and the same written with `%2F` or `%5C`, for the sake of whoever decodes the
///   path or resolves its dots and redirects again;
/// - a fragment, and what is longer than 2000 bytes.
///
/// ```
/// use purlin::auth::local_path;
///
/// assert_eq!(local_path("/orders?page=2"), Some("/orders?page=2"));
/// assert_eq!(local_path("//evil.example"), None);
/// assert_eq!(local_path("https://evil.example"), None);
/// ```
pub fn local_path(text: &str) -> Option<&str> {
    // RFC 3986 §3.3 and §3.4, and what browsers leave as it is in a query (WHATWG URL, "query percent-encode set").
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]{}|^`".contains(&byte);
    let (path, _) = text.split_once('?').unwrap_or((text, ""));
    if !path.starts_with('/') || text.len() > MAX_BYTES || !text.bytes().all(known) {
        return None;
    }
    // Decoded again and again, as a proxy and a router behind it might, until there is nothing left to decode.
    let mut decoded = path.as_bytes().to_vec();
    for _ in 0..MOST_DECODINGS {
        let leads_away = |byte: &u8| *byte == b'\\' || byte.is_ascii_control();
        if decoded.windows(2).any(|two| two == b"//") || decoded.iter().any(leads_away) {
            return None;
        }
        let next: Vec<u8> = percent_decode(&decoded).collect();
        if next == decoded {
            return Some(text);
        }
        decoded = next;
    }
    None
}

/// Nobody encodes an address as often as this.
const MOST_DECODINGS: u8 = 5;

/// Longer ones are not carried: browsers and proxies have limits of their own.
const MAX_BYTES: usize = 2000;

/// The name of the parameter.
const NEXT: &str = "next";

/// Where the query of the sign-in page says to go back to.
pub(crate) fn next(uri: &Uri) -> Option<String> {
    let value = uri.query()?.split('&').find_map(|pair| pair.strip_prefix(NEXT)?.strip_prefix('='))?;
    if value.len() > 3 * MAX_BYTES {
        return None;
    }
    // As a form would send it, with + for a space: which no good path has.
    let text = percent_decode_str(value).decode_utf8().ok()?;
    local_path(&text).map(str::to_owned)
}

/// What is kept of a request, to send its visitor to the sign-in page and back.
pub(crate) struct Arrival {
    method: Method,
    uri: Uri,
    // Clones of these copy nothing.
    accept: Option<HeaderValue>,
    mode: Option<HeaderValue>,
    // Of what is not asked for by `GET`.
    referer: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

impl Arrival {
    pub(crate) fn of(req: &Request) -> Self {
        let original = req.extensions().get::<OriginalUri>().map(|original| &original.0);
        let header = |name: HeaderName| req.headers().get(name).cloned();
        let reads = is_reading(req.method());
        Self {
            method: req.method().clone(),
            uri: original.unwrap_or_else(|| req.uri()).clone(),
            accept: header(ACCEPT),
            mode: header(SEC_FETCH_MODE),
            referer: if reads { None } else { header(REFERER) },
            host: if reads { None } else { header(HOST) },
        }
    }

    /// The path as the client sent it.
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// Whether a browser wants to show the answer as a page. A script that asks for HTML, to put it into a page, does
    /// not: it is told so by `Sec-Fetch-Mode`, where the browser has it (Fetch Metadata §2.2).
    pub(crate) fn is_navigation(&self) -> bool {
        self.mode.as_ref().is_none_or(|mode| mode == "navigate") && self.wants_html()
    }

    /// Whether a page is the answer that the client likes best.
    pub(crate) fn wants_html(&self) -> bool {
        // `*/*` alone matches this, and it is offered first: curl is no browser.
        const ANY: &str = "purlin/anything";
        const HTML: &str = "text/html";
        let headers: HeaderMap = self.accept.iter().map(|accept| (ACCEPT, accept.clone())).collect();
        negotiate::best_media_type(&headers, &[ANY, HTML, "application/json", "text/plain"]) == Some(HTML)
    }

    /// The sign-in page, with the way back from it.
    ///
    /// That is where the visitor wanted to go, if he may be sent there. What he sent by another method than `GET` is
    /// not done when he comes back, since a redirect cannot repeat it and it may have been planned for him by somebody
    /// else: the way back is then the page that he sent it from, if `Referer` tells and it is of this host, or none.
    pub(crate) fn sign_in_at(&self, page: &str) -> String {
        let back = if is_reading(&self.method) {
            self.uri.path_and_query().map(|path| path.as_str())
        } else {
            self.sent_from()
        };
        // The sign-in page is not the way back from itself.
        let back = back.and_then(local_path).filter(|back| !is_at(back, page));
        match back {
            // What is not a letter or digit is encoded: slashes too, so that no proxy looks for a path in it.
            Some(back) => format!("{page}?{NEXT}={}", utf8_percent_encode(back, IN_A_QUERY)),
            None => page.to_owned(),
        }
    }

    /// The path of the page that the request was sent from.
    fn sent_from(&self) -> Option<&str> {
        let referer = self.referer.as_ref()?.to_str().ok()?;
        let (_, rest) = referer.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
        // HTTP/2 has the host in the address (RFC 9113 §8.3.1).
        let host =
            self.host.as_ref().map(|host| host.to_str().ok()).unwrap_or(self.uri.authority().map(|host| host.as_str()));
        let rest = rest.strip_prefix(host?)?;
        rest.starts_with('/').then_some(rest)
    }
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether a path with a query is at this page.
fn is_at(path: &str, page: &str) -> bool {
    path.split('?').next().is_some_and(|path| path.trim_end_matches('/') == page.trim_end_matches('/'))
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

const IN_A_QUERY: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_to_this_site_is_a_way_back() {
        let good = [
            "/",
            "/a",
            "/a/b.html?c=d&e=%20f",
            "/?q=//evil.example",
            "/?q=https://evil.example",
            "/a%20b",
            "/%C3%BC",
            "/a:b@c",
            "/~me/",
            "/.well-known",
            "/evil.example",
            "/100%25",
            "/%",
            "/a?b[c]={d}|e^f`",
        ];
        for text in good {
            assert_eq!(local_path(text), Some(text), "{text:?}");
        }
        let long = format!("/{}", "x".repeat(2000));
        let bad = [
            "",
            " ",
            "a",
            "evil.example",
            "?a",
            "#a",
            "//",
            "//evil.example",
            "///evil.example",
            "////evil.example/",
            "/\\evil.example",
            "\\\\evil.example",
            "\\/evil.example",
            "/\\/evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https://evil.example",
            "HTTPS://evil.example",
            "https:\\\\evil.example",
            "http:///evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            " //evil.example",
            "/ /evil.example",
            "\t//evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r/evil.example",
            "/\0/evil.example",
            "\u{1}//evil.example",
            "/\u{7f}/evil.example",
            "/a\r\nSet-Cookie: b=c",
            // Other slashes, and what is folded to a slash or a dot.
            "/\u{2044}evil.example",
            "/\u{ff0f}evil.example",
            "/\u{3002}evil",
            "/ü",
            // Encoded, once and twice.
            "/%2F/evil.example",
            "/%2Fevil.example",
            "/%2f%2fevil.example",
            "%2F%2Fevil.example",
            "/%5Cevil.example",
            "/%5cevil.example",
            "/%252Fevil.example",
            "/%25252fevil.example",
            "/%2525252525252525252525252525252525252525",
            "/%255Cevil.example",
            "/%09/evil.example",
            "/%0d%0aSet-Cookie:%20a=b",
            "/%00",
            "/%2509/evil.example",
            // Dots that lead to two slashes.
            "/.//evil.example",
            "/..//evil.example",
            "/a/..//evil.example",
            "/%2e%2e//evil.example",
            "/a//b",
            "/a#b",
            "/a?b#c",
            "/\"",
            "/<script>",
            "/a?b c",
            "/a?b\\c",
            "@evil.example",
            "/@evil.example//",
            &long,
        ];
        for text in bad {
            assert_eq!(local_path(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_way_back_is_read_from_the_query() {
        let table = [
            ("/sign-in", None),
            ("/sign-in?next", None),
            ("/sign-in?next=", None),
            ("/sign-in?next=/a", Some("/a")),
            ("/sign-in?next=%2Fa%3Fb%3Dc%26d", Some("/a?b=c&d")),
            ("/sign-in?x=1&next=/a&next=/b", Some("/a")),
            ("/sign-in?nextt=/a", None),
            ("/sign-in?xnext=/a", None),
            ("/sign-in?next=//evil.example", None),
            ("/sign-in?next=/%09/evil.example", None),
            ("/sign-in?next=%5Cevil.example", None),
            ("/sign-in?next=%2F%5Cevil.example", None),
            ("/sign-in?next=%ff", None),
            // What was encoded in the path stays so.
            ("/sign-in?next=%2Fa%2520b", Some("/a%20b")),
        ];
        for (uri, expected) in table {
            assert_eq!(next(&uri.parse().unwrap()).as_deref(), expected, "{uri}");
        }
    }

    fn arrival(method: &str, uri: &str, headers: &[(&'static str, &str)]) -> Arrival {
        let mut req = Request::default();
        *req.method_mut() = method.parse().unwrap();
        *req.uri_mut() = uri.parse().unwrap();
        for (name, value) in headers {
            req.headers_mut().insert(*name, value.parse().unwrap());
        }
        Arrival::of(&req)
    }

    #[test]
    fn a_visitor_is_sent_to_the_sign_in_page_and_back() {
        let from = |referer| [("host", "site.example:8000"), ("referer", referer)];
        let table: &[(Arrival, &str)] = &[
            (arrival("GET", "/", &[]), "/sign-in?next=/"),
            (arrival("GET", "/a/b?c=d&e=%2F", &[]), "/sign-in?next=/a/b%3Fc%3Dd%26e%3D%252F"),
            (arrival("HEAD", "/a", &[]), "/sign-in?next=/a"),
            (arrival("GET", "//evil.example", &[]), "/sign-in"),
            (arrival("GET", "/sign-in?next=/a", &[]), "/sign-in"),
            (arrival("GET", "/sign-in/", &[]), "/sign-in"),
            (arrival("POST", "/a", &[]), "/sign-in"),
            (arrival("POST", "/a", &from("http://site.example:8000/form?x")), "/sign-in?next=/form%3Fx"),
            (arrival("PUT", "/a", &from("https://site.example:8000/")), "/sign-in?next=/"),
            (arrival("POST", "/a", &from("http://site.example:8000")), "/sign-in"),
            (arrival("POST", "/a", &from("http://site.example:80000/")), "/sign-in"),
            (arrival("POST", "/a", &from("http://site.example:8000.evil.example/")), "/sign-in"),
            (arrival("POST", "/a", &from("http://evil.example/form")), "/sign-in"),
            (arrival("POST", "/a", &from("http://site.example:8000//evil.example")), "/sign-in"),
            (arrival("POST", "/a", &from("about:blank")), "/sign-in"),
            (arrival("POST", "https://site.example/a", &[("referer", "https://site.example/b")]), "/sign-in?next=/b"),
            (arrival("POST", "/a", &[("referer", "https://site.example/b")]), "/sign-in"),
        ];
        for (arrival, expected) in table {
            assert_eq!(arrival.sign_in_at("/sign-in"), *expected, "{} {}", arrival.method, arrival.uri);
        }
    }

    #[test]
    fn who_wants_a_page_is_told_from_who_does_not() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        let table: &[(&[(&'static str, &str)], bool)] = &[
            (&[], false),
            (&[("accept", "*/*")], false),
            (&[("accept", browser)], true),
            (&[("accept", "text/html")], true),
            (&[("accept", browser), ("sec-fetch-mode", "navigate")], true),
            // htmx and the like
            (&[("accept", browser), ("sec-fetch-mode", "cors")], false),
            (&[("accept", "text/html, */*"), ("sec-fetch-mode", "same-origin")], false),
            (&[("accept", "application/json")], false),
            (&[("accept", "application/json, text/html;q=0.9")], false),
            (&[("accept", "application/json, text/plain, */*")], false),
            (&[("accept", "image/avif,image/webp,*/*")], false),
        ];
        for (headers, expected) in table {
            assert_eq!(arrival("GET", "/", headers).is_navigation(), *expected, "{headers:?}");
        }
    }
}
