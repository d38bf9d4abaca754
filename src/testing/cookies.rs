//! The cookie jar of a client: keeps, sends and forgets cookies as a browser does (RFC 6265bis §5).

use super::url::Url;
use crate::cookie::{self, Attributes};
use http::{HeaderMap, header::SET_COOKIE};
use std::time::{Duration, SystemTime};

/// A cookie that the client keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptCookie {
    /// Its name.
    pub name: String,
    /// Its value, as it was sent.
    pub value: String,
    /// The host it came from, or the domain that it is for.
    pub domain: String,
    /// Whether that host alone gets it, and none below.
    pub host_only: bool,
    /// The path below which it is sent.
    pub path: String,
    /// When it is forgotten; `None`: when the browser is closed.
    pub expires: Option<SystemTime>,
    /// Whether it is sent by https only.
    pub secure: bool,
    /// Whether it is kept from scripts.
    pub http_only: bool,
    /// `Strict`, `Lax` or `None`, as it was sent.
    pub same_site: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Jar {
    cookies: Vec<KeptCookie>,
}

impl Jar {
    /// Keeps what an answer sets; returns the cookies that a browser would refuse in silence, and why.
    pub(super) fn keep(&mut self, url: &Url, headers: &HeaderMap) -> Vec<String> {
        let mut refused = Vec::new();
        for line in headers.get_all(SET_COOKIE) {
            let line = String::from_utf8_lossy(line.as_bytes());
            match parse(&line, url) {
                Ok(cookie) => self.put(cookie),
                Err(why) => refused.push(format!("{}: {why}", line.split(['=', ';']).next().unwrap_or_default())),
            }
        }
        refused
    }

    pub(super) fn put(&mut self, cookie: KeptCookie) {
        let same = |other: &KeptCookie| {
            (&other.name, &other.domain, &other.path) == (&cookie.name, &cookie.domain, &cookie.path)
        };
        // In the place of the one that it replaces: of two with equally long paths the older is sent first.
        match self.cookies.iter_mut().find(|other| same(other)) {
            Some(other) => *other = cookie,
            None => self.cookies.push(cookie),
        }
        let now = SystemTime::now();
        self.cookies.retain(|cookie| cookie.expires.is_none_or(|expires| expires > now));
    }

    /// What is sent to an address, as the value of `Cookie`; longer paths first (RFC 6265bis §5.8.3).
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let now = SystemTime::now();
        let mut sent: Vec<&KeptCookie> = self.cookies.iter().filter(|cookie| cookie.is_for(url, now)).collect();
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = sent.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub(super) fn all(&self) -> &[KeptCookie] {
        &self.cookies
    }

    pub(super) fn clear(&mut self) {
        self.cookies.clear();
    }
}

impl KeptCookie {
    pub(super) fn new(name: &str, value: &str, url: &Url) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            domain: url.host().to_owned(),
            host_only: true,
            path: "/".to_owned(),
            expires: None,
            secure: false,
            http_only: false,
            same_site: None,
        }
    }

    fn is_for(&self, url: &Url, now: SystemTime) -> bool {
        let host = url.host();
        let domain = host == self.domain || (!self.host_only && is_below(host, &self.domain));
        // RFC 6265bis §5.1.4.
        let path = url.path == self.path
            || (url.path.starts_with(&self.path)
                && (self.path.ends_with('/') || url.path[self.path.len()..].starts_with('/')));
        domain && path && (!self.secure || is_trusted(url)) && self.expires.is_none_or(|expires| expires > now)
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether secure cookies are kept from and sent to this address.
fn is_trusted(url: &Url) -> bool {
    url.https || cookie::is_trusted(url.host())
}

fn parse(line: &str, url: &Url) -> Result<KeptCookie, String> {
    let mut parts = line.split(';');
    let pair = parts.next().unwrap_or_default();
    let (name, value) = pair.split_once('=').ok_or("it has no `=`")?;
    let (name, value) = (name.trim(), value.trim());
    if name.len() + value.len() > crate::cookie::Cookie::MAX_BYTES {
        return Err(format!("name and value are {} bytes, 4096 are kept at most", name.len() + value.len()));
    }
    let mut cookie = KeptCookie::new(name, value, url);
    cookie.path = default_path(&url.path);
    let (mut max_age, mut path_was_set, mut partitioned) = (None, false, false);
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "expires" => cookie.expires = httpdate::parse_http_date(value).ok().or(cookie.expires),
            "max-age" => max_age = value.parse::<i64>().ok().or(max_age),
            "domain" if !value.is_empty() => {
                let domain = value.trim_start_matches('.').to_ascii_lowercase();
                if url.host() != domain && !is_below(url.host(), &domain) {
                    return Err(format!("its domain {domain} is not that of {}", url.host()));
                }
                cookie.domain = domain;
                cookie.host_only = false;
            }
            "path" if value.starts_with('/') => {
                cookie.path = value.to_owned();
                path_was_set = true;
            }
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "partitioned" => partitioned = true,
            "samesite" => cookie.same_site = Some(value.to_owned()),
            _ => {}
        }
    }
    if let Some(seconds) = max_age {
        let life = u64::try_from(seconds).map(Duration::from_secs);
        cookie.expires = Some(match life {
            // 400 days at most (RFC 6265bis §5.5), which also keeps the sum in range.
            Ok(life) => SystemTime::now() + life.min(Duration::from_secs(400 * 24 * 3600)),
            Err(_) => SystemTime::UNIX_EPOCH,
        });
    }
    if cookie.secure && !is_trusted(url) {
        return Err(format!("it is `Secure`, and {} is not https", url.origin()));
    }
    let attributes = Attributes {
        secure: cookie.secure,
        http_only: cookie.http_only,
        domain: !cookie.host_only,
        root: path_was_set && cookie.path == "/",
        cross_site: cookie.same_site.as_deref().is_some_and(|same_site| same_site.eq_ignore_ascii_case("none")),
        partitioned,
    };
    attributes.refused(name).map_or(Ok(cookie), |refused| Err(refused.to_string()))
}

/// The directory of the request's path (RFC 6265bis §5.1.4).
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(at) => path[..at].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn sent(from: &str, lines: &[&str], to: &str) -> String {
        let mut jar = Jar::default();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SET_COOKIE, HeaderValue::from_str(line).unwrap());
        }
        jar.keep(&Url::parse(from).unwrap(), &headers);
        jar.header(&Url::parse(to).unwrap()).unwrap_or_default()
    }

    #[test]
    fn cookies_are_sent_where_a_browser_sends_them() {
        type Case = (&'static str, &'static [&'static str], &'static str, &'static str);
        let table: &[Case] = &[
            ("http://a.example/", &["x=1"], "http://a.example/deep/er", "x=1"),
            ("http://a.example/", &["x=1"], "http://b.example/", ""),
            ("http://a.example/", &["x=1"], "http://sub.a.example/", ""),
            ("http://a.example/", &["x=1; Domain=a.example"], "http://sub.a.example/", "x=1"),
            ("http://www.a.example/", &["x=1; Domain=.a.example"], "http://a.example/", "x=1"),
            ("http://a.example/", &["x=1; Domain=b.example"], "http://a.example/", ""),
            ("http://a.example/", &["x=1; Domain=example"], "http://xample/", ""),
            ("http://a.example/one/two", &["x=1"], "http://a.example/one/three", "x=1"),
            ("http://a.example/one/two", &["x=1"], "http://a.example/", ""),
            ("http://a.example/", &["x=1; Path=/one"], "http://a.example/one", "x=1"),
            ("http://a.example/", &["x=1; Path=/one"], "http://a.example/one/two", "x=1"),
            ("http://a.example/", &["x=1; Path=/one"], "http://a.example/ones", ""),
            ("http://a.example/", &["x=1", "y=2; Path=/one"], "http://a.example/one", "y=2; x=1"),
            ("http://a.example/", &["x=1", "x=2"], "http://a.example/", "x=2"),
            ("http://a.example/", &["x=1", "x=; Max-Age=0"], "http://a.example/", ""),
            ("http://a.example/", &["x=1", "x=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "http://a.example/", ""),
            (
                "http://a.example/",
                &["x=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"],
                "http://a.example/",
                "x=1",
            ),
            ("http://a.example/", &["x=1; Max-Age=99999999999999"], "http://a.example/", "x=1"),
            ("https://a.example/", &["x=1; Secure"], "https://a.example/", "x=1"),
            ("https://a.example/", &["x=1; Secure"], "http://a.example/", ""),
            ("http://a.example/", &["x=1; Secure"], "https://a.example/", ""),
            ("http://localhost/", &["x=1; Secure"], "http://localhost/", "x=1"),
            ("https://a.example/", &["__Host-x=1; Secure; Path=/"], "https://a.example/", "__Host-x=1"),
            ("https://a.example/", &["__Host-x=1; Secure"], "https://a.example/", ""),
            ("https://a.example/", &["__Host-x=1; Path=/"], "https://a.example/", ""),
            ("https://a.example/", &["__Host-x=1; Secure; Path=/; Domain=a.example"], "https://a.example/", ""),
            ("http://a.example/", &["x=1; SameSite=None"], "http://a.example/", ""),
            ("http://a.example/", &["x=a=b; HttpOnly"], "http://a.example/", "x=a=b"),
            ("https://a.example/", &["__Http-x=1; Secure"], "https://a.example/", ""),
            ("http://a.example/", &["x=1; Partitioned"], "http://a.example/", ""),
            ("http://127.0.0.7/", &["x=1; Secure"], "http://127.0.0.7/", "x=1"),
            ("http://a.example/", &["nothing"], "http://a.example/", ""),
        ];
        for (from, lines, to, expected) in table {
            assert_eq!(sent(from, lines, to), *expected, "{from} {lines:?} {to}");
        }
    }

    #[test]
    fn a_refused_cookie_is_named_with_the_reason() {
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_static("id=7; Secure"));
        let refused = Jar::default().keep(&Url::parse("http://shop.example/").unwrap(), &headers);
        assert_eq!(refused, ["id: it is `Secure`, and http://shop.example is not https"]);
    }
}
