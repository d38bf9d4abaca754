//! CORS: which pages of other sites may read what this one answers, and what a browser asks before it sends (WHATWG Fetch §3.3).

use crate::paths::Paths;
use crate::site::Site;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a request is to CORS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// It has no `Origin`: the browser asks for nothing, or it is no browser.
    None,
    /// A page of this origin may read the answer, or not.
    Simple(&'a HeaderValue),
    /// A browser asks on behalf of a page of this origin, before it sends what no form could.
    Preflight(&'a HeaderValue, &'a HeaderValue),
    /// More than one `Origin`: no browser's.
    Garbled,
}

impl<'a> Kind<'a> {
    /// Of a request: a preflight is `OPTIONS` with both `Origin` and `Access-Control-Request-Method` (Fetch §3.3.2).
    pub(crate) fn of<B>(req: &'a Request<B>) -> Self {
        let headers = req.headers();
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Self::None;
        };
        if origins.next().is_some() {
            return Self::Garbled;
        }
        match headers.get(ACCESS_CONTROL_REQUEST_METHOD) {
            Some(method) if req.method() == Method::OPTIONS => Self::Preflight(origin, method),
            _ => Self::Simple(origin),
        }
    }
}

/// An origin as browsers write it in `Origin` (HTML §7.1.1): scheme and host, small, and the port if it is not the scheme's.
pub(crate) fn origin(text: &str) -> Result<HeaderValue, String> {
    let expected = |what: &str| Err(format!("expected an origin as https://app.example.org, found {text:?}: {what}"));
    if text == "null" {
        return expected("`null` is that of every sandboxed page and every file; `origin_if` may let them in");
    }
    if text == "*" {
        return expected("any origin is `any_origin()`");
    }
    let Some((scheme, host)) = text.split_once("://") else {
        return expected("it has no scheme");
    };
    if host.contains(['/', '?', '#', '@']) {
        return expected("it ends with the host and its port, without a slash");
    }
    let is_of_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    let is_of_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    if scheme.is_empty() || host.is_empty() || !scheme.bytes().all(is_of_scheme) || !host.bytes().all(is_of_host) {
        return expected("browsers write it in small letters, and other scripts as xn--…");
    }
    let usual = [("https", ":443"), ("http", ":80")];
    if usual.iter().any(|(of, port)| *of == scheme && host.ends_with(port)) {
        return expected("browsers leave the scheme's own port out");
    }
    HeaderValue::from_str(text).map_err(|_| format!("expected an origin, found {text:?}"))
}

/// Whether it is a list of names of headers, as browsers ask by.
pub(crate) fn names(headers: &HeaderMap, name: &http::HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(|name| name.trim_matches([' ', '\t']).to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

/// The methods of a site's routes, by their whole paths.
#[derive(Debug)]
pub(crate) struct RouteMethods(Paths<Methods>);

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Methods {
    /// These, as `Access-Control-Allow-Methods` has them.
    These(HeaderValue),
    /// Any: a handler takes them all.
    Any,
    /// It is another application's affair.
    Unknown,
}

impl RouteMethods {
    /// Of the site that has started.
    pub(crate) fn of(site: &Site) -> Self {
        let mut paths: BTreeMap<&str, Option<Vec<&Method>>> = BTreeMap::new();
        // Of several hosts' routes of one path, all count: what is too much here, the router refuses.
        for route in site.routes() {
            let methods = paths.entry(&route.path).or_insert_with(|| Some(Vec::new()));
            if route.methods.is_empty() {
                *methods = None;
            } else if let Some(methods) = methods {
                methods.extend(&route.methods);
            }
        }
        let known =
            |methods: Option<Vec<&Method>>| methods.map_or(Methods::Any, |methods| Methods::These(list(methods)));
        let known = paths.into_iter().map(|(path, methods)| (path, known(methods)));
        Self(Paths::new(site, known, |_| Methods::Unknown))
    }

    /// Those of a path.
    pub(crate) fn at(&self, path: &str) -> &Methods {
        self.0.at(path).unwrap_or(&Methods::Unknown)
    }
}

/// Each once, in the order of the alphabet, `HEAD` where there is `GET`; `OPTIONS` is the preflight's own.
fn list(mut methods: Vec<&Method>) -> HeaderValue {
    if methods.contains(&&Method::GET) {
        methods.push(&Method::HEAD);
    }
    methods.retain(|method| **method != Method::OPTIONS);
    methods.sort_by_key(|method| method.as_str());
    methods.dedup();
    joined(methods.iter().map(|method| method.as_str()))
}

/// A list as headers have it. Of methods and names of headers, which can stand there.
pub(crate) fn joined<'a>(items: impl IntoIterator<Item = &'a str>) -> HeaderValue {
    let mut text = String::new();
    for item in items {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing into a string does not fail.
        let _ = write!(text, "{comma}{item}");
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        for good in [
            "https://app.example.org",
            "http://localhost:5173",
            "https://xn--bcher-kva.example",
            "https://[::1]:8443",
            "chrome-extension://abcdef",
            "http://a:443",
        ] {
            assert_eq!(origin(good).unwrap(), good);
        }
        for (bad, why) in [
            ("*", "`any_origin()`"),
            ("null", "sandboxed"),
            ("app.example.org", "no scheme"),
            ("https://app.example.org/", "without a slash"),
            ("https://app.example.org/x", "without a slash"),
            ("https://user@app.example.org", "without a slash"),
            ("https://App.example.org", "small letters"),
            ("HTTPS://app.example.org", "small letters"),
            ("https://bücher.example", "small letters"),
            ("https://*.example.org", "small letters"),
            ("https://", "small letters"),
            ("https://app.example.org:443", "own port"),
            ("http://app.example.org:80", "own port"),
        ] {
            let error = origin(bad).unwrap_err();
            assert!(error.contains(why) && error.contains(bad), "{error}");
        }
    }
}
