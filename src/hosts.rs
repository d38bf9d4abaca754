//! `Hosts`: which application answers a request, by the host that it is for.

use crate::site::{Boundary, Outline, Start};
use crate::{BoxService, Error, Request, RequestExt, Response, Result, Service};
use http::StatusCode;
use http::header::HOST;
use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::Location;

/// Puts applications together by the host that a request is for (RFC 9110 §7.2).
///
/// - A pattern is a name (`example.org`), a name with a port (`example.org:8443`), an address (`192.0.2.1`, `[2001:db8::1]`), or
///   all names below one: `*.example.org`, of any depth, and not `example.org` itself. A name with a port wins over one
///   without, a name over a wildcard, and a longer wildcard over a shorter one. A pattern without a port fits every port.
/// - Names are compared without regard to case and without the root's dot; a name in another script is written as it is
///   sent, in punycode (`xn--bcher-kva.example`); an IPv6 address in whichever of its spellings.
/// - Each application sees the whole path. What it is to have below a path is mounted by a [`Router`](crate::Router) within.
/// - URLs that are made of names are paths where they lead to the same host, and `//admin.example.org/path` to another: with the port
///   of its pattern, if that has one. To the routes of a wildcard no other host has URLs, nor to those of the fallback. Two
///   applications with equal names of routes are told apart by [`host_named`](Hosts::host_named).
///
/// What decides is the header `Host`, into which the layer [`TrustedProxies`](crate::layers::TrustedProxies) above may have
/// put that which the client asked for.
///
/// A route that is [`CsrfExempt`](crate::layers::CsrfExempt) is found by its path: where one host has such routes, give each its
/// own `Csrf`, below this.
///
/// # Errors
///
/// 421 Misdirected Request (RFC 9110 §15.5.20) for a host that is none of these, unless there is a
/// [`fallback`](Hosts::fallback). A pattern that is none, or that is there twice, is reported when the site starts.
///
/// ```
/// use purlin::{Hosts, Router, Stack, get};
///
/// let shop = Router::new().route("/", get(async || "the shop"));
/// let customers = Router::new().route("/", get(async || "a customer's page"));
///
/// let app = Stack::new().app(Hosts::new().host("example.org", shop).host("*.example.org", customers));
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let client = Client::new(app).base_url("http://tea.example.org");
/// client.get("/").await.assert_contains("a customer's page");
/// # });
/// ```
#[derive(Default)]
pub struct Hosts {
    // The most telling patterns first.
    mounts: Vec<Mount>,
    fallback: Option<BoxService>,
    problems: Vec<String>,
}

struct Mount {
    pattern: Pattern,
    name: Option<String>,
    service: BoxService,
    place: &'static Location<'static>,
}

impl Hosts {
    /// No hosts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers requests for hosts of this pattern by an application.
    #[track_caller]
    pub fn host(self, pattern: &str, service: impl Service + 'static) -> Self {
        self.mounted(pattern, None, BoxService::new(service), Location::caller())
    }

    /// The same under a name: its route `list` is `admin:list` to the rest of the site.
    #[track_caller]
    pub fn host_named(self, name: &str, pattern: &str, service: impl Service + 'static) -> Self {
        self.mounted(pattern, Some(name.to_owned()), BoxService::new(service), Location::caller())
    }

    /// Answers requests for all other hosts; by default they are refused.
    pub fn fallback(mut self, service: impl Service + 'static) -> Self {
        self.fallback = Some(BoxService::new(service));
        self
    }

    fn mounted(
        mut self,
        pattern: &str,
        name: Option<String>,
        service: BoxService,
        place: &'static Location<'static>,
    ) -> Self {
        let Some(parsed) = Pattern::parse(pattern) else {
            self.problems.push(format!(
                "the host {pattern:?} ({place}) is none: expected a name as example.org or *.example.org, in punycode, or an \
                 address, with or without a port"
            ));
            return self;
        };
        if let Some(other) = self.mounts.iter().find(|mount| mount.pattern == parsed) {
            self.problems.push(format!("two applications for the host {parsed}: {} and {place}", other.place));
            return self;
        }
        self.mounts.push(Mount { pattern: parsed, name, service, place });
        self.mounts.sort_by_key(|mount| std::cmp::Reverse(mount.pattern.rank()));
        self
    }

    fn find(&self, req: &Request) -> Option<&BoxService> {
        let host = Host::of(req);
        let found = host.and_then(|host| {
            let fitting = self.mounts.iter().find(|mount| mount.pattern.fits(&host, req.is_https()));
            fitting.map(|mount| &mount.service)
        });
        found.or(self.fallback.as_ref())
    }
}

impl Service for Hosts {
    async fn call(&self, req: Request) -> Response {
        match self.find(&req) {
            Some(service) => service.call(req).await,
            None => {
                let host = req.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
                let known: Vec<String> = self.mounts.iter().map(|mount| mount.pattern.to_string()).collect();
                let message = format!("expected one of the hosts {}, found {host:?}", known.join(", "));
                Error::new(StatusCode::MISDIRECTED_REQUEST, message)
                    .public("This server does not answer for that host.")
                    .into()
            }
        }
    }

    fn describe(&self, outline: &mut Outline) {
        for problem in &self.problems {
            outline.problem(problem);
        }
        for mount in &self.mounts {
            outline.on_host(&mount.pattern, |outline| {
                outline.mount("", mount.name.as_deref(), |outline| mount.service.describe(outline));
            });
        }
        if let Some(service) = &self.fallback {
            outline.on_host(REST, |outline| service.describe(outline));
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        for mount in &self.mounts {
            start.on_host(&mount.pattern, |start| {
                start.within(mount.name.as_deref(), |start| mount.service.start(start))
            })?;
        }
        self.fallback.as_ref().map_or(Ok(()), |service| start.on_host(REST, |start| service.start(start)))
    }

    fn below(&'static self, boundary: &mut Boundary) {
        for mount in &self.mounts {
            boundary.on_host(&mount.pattern, |boundary| {
                boundary.within(mount.name.as_deref(), |boundary| mount.service.below(boundary));
            });
        }
        if let Some(service) = &self.fallback {
            boundary.on_host(REST, |boundary| service.below(boundary));
        }
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.mounts.iter().map(|mount| mount.pattern.to_string())).finish()
    }
}

/// How the hosts of the fallback are called in the outline.
const REST: &str = "*";

/// Of some patterns the one that decides for a host.
pub(crate) fn most_telling<'a>(patterns: impl Iterator<Item = &'a str>, host: &str, https: bool) -> Option<&'a str> {
    let host = Host::parse(host)?;
    let rank = |text: &str| match Pattern::parse(text) {
        Some(pattern) => pattern.fits(&host, https).then(|| Some(pattern.rank())),
        None => (text == REST).then_some(None),
    };
    patterns
        .filter_map(|pattern| Some((rank(pattern)?, pattern)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, pattern)| pattern)
}

/// A pattern as it is compared; `None` for what is none.
#[cfg(feature = "deploy")]
pub(crate) fn canonical(pattern: &str) -> Option<String> {
    Pattern::parse(pattern).map(|pattern| pattern.to_string())
}

/// A host and its port, as `Host` has them (RFC 3986 §3.2.2), of which registered names are narrowed down to what names of hosts
/// are made of: RFC 3986's `~`, `'`, `(`, `;` and percent escapes are in no name that a client resolves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host<'a> {
    /// In lower case, without the root's dot; an IPv6 address in brackets and its shortest spelling.
    pub(crate) name: Cow<'a, str>,
    pub(crate) port: Option<u16>,
}

impl<'a> Host<'a> {
    /// The one that a request is for.
    pub(crate) fn of(req: &'a Request) -> Option<Self> {
        let mut lines = req.headers().get_all(HOST).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line.to_str().ok()?),
            (None, _) => Self::parse(req.uri().authority()?.as_str()),
            // Two are refused by the server. Elsewhere nobody guesses.
            (Some(_), Some(_)) => None,
        }
    }

    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let end = inner.find(']')?;
                let address: Ipv6Addr = inner[..end].parse().ok()?;
                (Cow::Owned(format!("[{address}]")), &inner[end + 1..])
            }
            None => {
                let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                let name = name.strip_suffix('.').unwrap_or(name);
                (Some(lower(name)).filter(|name| is_name(name))?, rest)
            }
        };
        let port = match rest {
            // An empty port is that of the scheme (RFC 3986 §3.2.3).
            "" | ":" => None,
            rest => {
                let digits = rest.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
                Some(digits.parse().ok()?)
            }
        };
        Some(Self { name, port })
    }

    /// Whether it is an address, and not a name.
    fn is_address(&self) -> bool {
        self.name.starts_with('[') || self.name.parse::<Ipv4Addr>().is_ok()
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn lower(name: &str) -> Cow<'_, str> {
    let upper = name.bytes().any(|byte| byte.is_ascii_uppercase());
    if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

/// Labels of letters, digits, `-` and `_`: what browsers send. 253 bytes are the most that DNS has (RFC 1035 §2.3.4).
fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(known);
    name.len() <= 253 && name.split('.').all(label)
}

/// A host, or all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    host: Host<'static>,
    below: bool,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (below, text) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        let host = Host::parse(text).filter(|host| !(below && host.is_address()))?;
        Some(Self { host: Host { name: Cow::Owned(host.name.into_owned()), port: host.port }, below })
    }

    /// What is looked at first: no wildcard, then the longer name, then the one with a port.
    fn rank(&self) -> (bool, usize, bool) {
        (!self.below, self.host.name.len(), self.host.port.is_some())
    }

    fn fits(&self, host: &Host<'_>, https: bool) -> bool {
        let port = || host.port.unwrap_or(if https { 443 } else { 80 });
        let name = match self.below {
            false => self.host.name == host.name,
            true => host.name.strip_suffix(&*self.host.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        };
        name && self.host.port.is_none_or(|wanted| wanted == port())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_as_it_is_compared() {
        let table = [
            ("example.org", Some("example.org")),
            ("EXAMPLE.org:8080", Some("example.org:8080")),
            ("example.org.", Some("example.org")),
            ("example.org.:80", Some("example.org:80")),
            ("example.org:", Some("example.org")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("a_b.example", Some("a_b.example")),
            ("192.0.2.1:80", Some("192.0.2.1:80")),
            ("[::1]", Some("[::1]")),
            ("[0:0:0:0:0:0:0:1]:8000", Some("[::1]:8000")),
            ("[2001:DB8::1]", Some("[2001:db8::1]")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("example.org..", None),
            ("example.org:80:80", None),
            ("example.org:+80", None),
            ("example.org:65536", None),
            ("user@example.org", None),
            ("example.org/path", None),
            ("bücher.example", None),
            ("*.example.org", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[127.0.0.1]", None),
            ("::1", None),
        ];
        for (text, expected) in table {
            assert_eq!(Host::parse(text).map(|host| host.to_string()).as_deref(), expected, "{text:?}");
        }
        assert!(Host::parse(&"a".repeat(64)).is_none());
        assert!(Host::parse(&"a.".repeat(127)).is_some_and(|host| host.name.len() == 253));
        assert!(Host::parse(&"a.".repeat(128)).is_none());
    }

    #[test]
    fn a_pattern_fits_what_it_says_and_nothing_else() {
        let table = [
            ("example.org", "example.org", true),
            ("example.org", "example.org:8080", true),
            ("example.org", "www.example.org", false),
            ("Example.ORG", "example.org", true),
            ("example.org:8080", "example.org:8080", true),
            ("example.org:8080", "example.org", false),
            ("example.org:80", "example.org", true),
            ("*.example.org", "www.example.org", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "badexample.org", false),
            ("*.example.org:8443", "www.example.org", false),
            ("[0:0::1]", "[::1]:8000", true),
            ("192.0.2.1", "192.0.2.1", true),
        ];
        for (pattern, host, expected) in table {
            let fits = Pattern::parse(pattern).unwrap().fits(&Host::parse(host).unwrap(), false);
            assert_eq!(fits, expected, "{pattern} {host}");
        }
        let https = Pattern::parse("example.org:443").unwrap();
        assert!(https.fits(&Host::parse("example.org").unwrap(), true));
        for none in ["*", "*.", "*.*.org", "www.*.org", "*example.org", "*.192.0.2.1", "*.[::1]", "http://example.org"]
        {
            assert!(Pattern::parse(none).is_none(), "{none}");
        }
    }
}
