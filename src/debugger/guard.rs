//! `Guard`: who may see the debugger. Whoever may sees the memory of the process, so only its developer may.
//!
//! Each rule stands for somebody else's accident; `tests/debugger.rs` replays them by their numbers.
//!
//! - **The peer's socket address is loopback.** Never what a header says of it (web-console, CVE-2015-3224: a spoofed
//!   `X-Forwarded-For`), and not whom a trusted proxy names. A header of a proxy means that the client is somewhere else, so its
//!   presence alone ends it, also if the layer `TrustedProxies` above has taken it off.
//! - **`Host` is a name of this machine.** A foreign name that resolves to 127.0.0.1 makes a foreign page same-origin with
//!   this server (DNS rebinding; Werkzeug, CVE-2024-34069).
//! - **No other origin reads or includes a page** (Vite, GHSA-vg6x-rcgg-rjx6; Next.js, CVE-2025-48068): `Origin` and
//!   `Sec-Fetch-Site` say who asks, and no answer has a header of CORS.
//! - **What asks for more than a page is a POST with JSON, the exact `Origin` and a token** that stands in the page and is
//!   random for each start of the process (better_errors, CVE-2021-39197: a form of another site; Werkzeug, CVE-2019-14806: a PIN
//!   that could be computed). `Origin: null` is not equal to anything.

use crate::config::Listen;
use crate::forwarded::{TakenOff, is_of_proxy};
use crate::{Error, Request, RequestExt, Result};
use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN, VIA};
use http::{HeaderMap, Method};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// The header in which the page sends its token.
const TOKEN: HeaderName = HeaderName::from_static(TOKEN_NAME);

const TOKEN_NAME: &str = "x-purlin-debugger-token";

/// After so many wrong tokens nothing is answered any more, until the next start. The same one again counts once: a page which was
/// left open from the start before asks with the token of that one, and guesses nothing.
const MOST_FAILURES: usize = 10;

/// 128 bits.
const TOKEN_BYTES: usize = 16;

/// Who may see the debugger.
pub(super) struct Guard {
    hosts: Vec<String>,
    token: String,
    wrong: Mutex<Vec<String>>,
}

/// Why a request may not. For the log and, by its status, for the client, which is not told more than "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It did not come from this machine.
    Peer(Option<IpAddr>),
    /// It came through a proxy.
    Forwarded(HeaderName),
    /// It is for a name that is not this machine's.
    Host(String),
    /// A page of another origin asks.
    Foreign(String),
    /// Not a POST.
    Method(Method),
    /// Not JSON.
    ContentType,
    /// A wrong token, or none.
    Token,
    /// There were too many wrong tokens.
    Locked,
}

impl Guard {
    /// With these hosts beside those of this machine, and a new token.
    ///
    /// # Errors
    ///
    /// A host that is none; a system without randomness.
    pub(super) fn new(hosts: &[String]) -> Result<Self> {
        for host in hosts {
            if Host::parse(host).is_none_or(|parsed| parsed.name != host.as_str()) {
                let message =
                    format!("expected a host as dev.example.org, without a port and in lower case, found {host:?}");
                return Err(Error::internal(message));
            }
        }
        Ok(Self { hosts: hosts.to_vec(), token: random()?, wrong: Mutex::default() })
    }

    /// What the page has to send with what it asks.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether the client may see the page.
    pub(super) fn may_see(&self, req: &Request) -> Result<(), Refused> {
        // An address such as ::ffff:127.0.0.1 is that of a client by IPv4 at a socket for both.
        let peer = req.connection().and_then(crate::Connection::ip);
        if !peer.is_some_and(|peer| peer.is_loopback()) {
            return Err(Refused::Peer(peer));
        }
        let headers = req.headers();
        // Which are taken off by the layer that believes them, or does not.
        if let Some(TakenOff(name)) = req.extensions().get() {
            return Err(Refused::Forwarded(name.clone()));
        }
        if let Some(name) = headers.keys().find(|name| **name == VIA || is_of_proxy(name)) {
            return Err(Refused::Forwarded(name.clone()));
        }
        let host = self.host(req)?;
        if let Some(origin) = headers.get(ORIGIN)
            && origin.as_bytes() != own_origin(req.is_https(), host).as_bytes()
        {
            return Err(Refused::Foreign(shown(origin.as_bytes())));
        }
        let fetch = |name: &str| headers.get(name).map(|value| value.as_bytes());
        match fetch("sec-fetch-site") {
            None | Some(b"same-origin" | b"none") => Ok(()),
            // A link from elsewhere may be followed: the page that has it sees nothing of where it leads.
            Some(_) if fetch("sec-fetch-mode") == Some(b"navigate") && fetch("sec-fetch-dest") == Some(b"document") => {
                Ok(())
            }
            Some(site) => Err(Refused::Foreign(shown(site))),
        }
    }

    /// Whether a page of ours asks, for what is not in it.
    pub(super) fn may_ask(&self, req: &Request) -> Result<(), Refused> {
        self.may_see(req)?;
        if req.method() != Method::POST {
            return Err(Refused::Method(req.method().clone()));
        }
        let headers = req.headers();
        let host = self.host(req)?;
        // Each browser sends it with each POST. `null` is what any sandboxed frame sends.
        match only(headers, &ORIGIN) {
            Some(origin) if origin == own_origin(req.is_https(), host) => {}
            origin => return Err(Refused::Foreign(origin.unwrap_or("none").to_owned())),
        }
        // A form can send three types of content without asking first, and this is none of them.
        let json = only(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next());
        if !json.is_some_and(|json| json.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Refused::ContentType);
        }
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= MOST_FAILURES {
            return Err(Refused::Locked);
        }
        let sent = only(headers, &TOKEN).unwrap_or_default();
        if sent.len() == self.token.len() && ct_codecs::verify(sent.as_bytes(), self.token.as_bytes()) {
            return Ok(());
        }
        // As much of it as tells it from others.
        let sent: String = sent.chars().take(2 * self.token.len()).collect();
        if !wrong.contains(&sent) {
            wrong.push(sent);
        }
        Err(Refused::Token)
    }

    /// The host as it was sent, if it is one of this machine.
    fn host<'r>(&self, req: &'r Request) -> Result<&'r str, Refused> {
        let lines = req.headers().get_all(HOST).iter().count();
        let Some(text) = only(req.headers(), &HOST) else {
            return Err(Refused::Host(format!("{lines} headers")));
        };
        // An absolute address goes before the header, and says the same where all is well.
        let agrees = req.uri().authority().is_none_or(|authority| authority.as_str() == text);
        let host = Host::parse(text).filter(|host| {
            agrees && (host.is_local() || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host.name)))
        });
        host.map(|_| text).ok_or_else(|| Refused::Host(shown(text.as_bytes())))
    }
}

// Not the token.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(Some(peer)) => write!(f, "the client is at {peer}, which is not this machine"),
            Self::Peer(None) => f.write_str("the client's address is not known"),
            Self::Forwarded(name) => write!(f, "the header {name} says that it came through a proxy"),
            Self::Host(host) => write!(f, "the host {host} is none of this machine's: see `Debugger::host`"),
            Self::Foreign(origin) => write!(f, "a page of another origin asks: {origin}"),
            Self::Method(method) => write!(f, "expected POST, found {method}"),
            Self::ContentType => f.write_str("expected the content type application/json"),
            Self::Token => f.write_str("the token is not the page's: load the page again"),
            Self::Locked => write!(f, "locked after {MOST_FAILURES} wrong tokens: start the site again"),
        }
    }
}

/// Refuses to start where other machines could reach the server.
///
/// # Errors
///
/// Names the address, and what to do.
pub(super) fn check_addresses(addresses: &[Listen]) -> Result<()> {
    let reachable = |listen: &&Listen| match listen {
        Listen::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        // Nobody knows the peers of a unix socket: each request is refused anyway.
        _ => false,
    };
    match addresses.iter().find(reachable) {
        None => Ok(()),
        Some(address) => Err(Error::internal(format!(
            "the debugger does not start on a server that others can reach: it listens at {address}. Listen at 127.0.0.1, or, if \
             that is meant, say `Debugger::beyond_loopback(true)`; the debugger then still answers this machine only"
        ))),
    }
}

/// 128 random bits in base64url: no one guesses it, and nothing that could be known of the machine is in it.
///
/// # Errors
///
/// The system has no randomness to give.
pub(super) fn random() -> Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(Base64UrlSafeNoPadding::encode_to_string(bytes)?)
}

/// `http://localhost:8000`, as the browser writes it for a page of the same host.
pub(super) fn own_origin(is_https: bool, host: &str) -> String {
    let (scheme, port) = if is_https { ("https", ":443") } else { ("http", ":80") };
    format!("{scheme}://{}", host.strip_suffix(port).unwrap_or(host))
}

/// The only header of this name, if it is text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first)?.to_str().ok()
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(100).flat_map(char::escape_debug).collect()
}

/// A `Host` of which nothing is left over: a name or an address, and a port.
#[derive(Debug, PartialEq)]
struct Host<'a> {
    name: &'a str,
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let end = inner.find(']')?;
                inner[..end].parse::<Ipv6Addr>().ok()?;
                text.split_at(end + 2)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let labels = || name.split('.').all(|label| !label.is_empty() && label.bytes().all(known));
        (port && (name.starts_with('[') || labels())).then_some(Self { name })
    }

    /// Names that are this machine on every machine (RFC 6761 §6.3), and addresses that are.
    fn is_local(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        if let Some(inner) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            return inner.parse() == Ok(Ipv6Addr::LOCALHOST);
        }
        // Four numbers in full: `127.1` and `2130706433` are for resolvers, not for browsers.
        name.parse::<Ipv4Addr>()
            .map_or_else(|_| name == "localhost" || name.ends_with(".localhost"), |address| address.is_loopback())
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Https;
    use crate::{Body, Connection};
    use std::net::SocketAddr;

    fn guard() -> Guard {
        Guard::new(&["dev.example.org".to_owned()]).unwrap()
    }

    fn request(peer: Option<&str>, headers: &[(&str, &str)]) -> Request {
        let mut req = http::Request::get("/_debug/");
        for (name, value) in headers {
            req = req.header(*name, *value);
        }
        let mut req = req.body(Body::empty()).unwrap();
        let peer = peer.map(|ip| SocketAddr::new(ip.parse().unwrap(), 50_000));
        req.extensions_mut().insert(Connection::new(peer, None));
        req
    }

    #[test]
    fn only_the_socket_says_where_the_client_is() {
        let guard = guard();
        for (peer, seen) in [
            (Some("127.0.0.1"), true),
            (Some("127.8.9.10"), true),
            (Some("::1"), true),
            (Some("::ffff:127.0.0.1"), true),
            (Some("192.168.1.2"), false),
            (Some("10.0.0.1"), false),
            (Some("0.0.0.0"), false),
            (Some("::ffff:192.168.1.2"), false),
            (Some("fe80::1"), false),
            (None, false),
        ] {
            assert_eq!(guard.may_see(&request(peer, &[("host", "localhost")])).is_ok(), seen, "{peer:?}");
        }
    }

    #[test]
    fn a_host_is_a_name_of_this_machine_or_one_that_was_configured() {
        let guard = guard();
        for (host, seen) in [
            ("localhost", true),
            ("localhost:8000", true),
            ("LocalHost:8000", true),
            ("shop.localhost", true),
            ("a.shop.localhost:1", true),
            ("127.0.0.1", true),
            ("127.255.0.9:65535", true),
            ("[::1]", true),
            ("[::1]:8000", true),
            ("[0:0:0:0:0:0:0:1]", true),
            ("dev.example.org", true),
            ("dev.example.org:8000", true),
            ("", false),
            (":8000", false),
            ("evil.example", false),
            ("example.org", false),
            ("a.dev.example.org", false),
            ("dev.example.org.evil.example", false),
            ("localhost.evil.example", false),
            ("localhost.", false),
            (".localhost", false),
            ("a..localhost", false),
            ("notlocalhost", false),
            ("evil-localhost", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1.nip.io", false),
            ("evil.example@localhost", false),
            ("localhost@evil.example", false),
            ("localhost#evil.example", false),
            ("localhost/evil.example", false),
            ("localhost:8000@evil.example", false),
            ("localhost:80:80", false),
            ("localhost:", false),
            ("localhost:+80", false),
            ("localhost:99999", false),
            ("localhost evil.example", false),
            ("localhost,evil.example", false),
            // Every system takes it for this machine, and browsers send it: the "0.0.0.0 day".
            ("0.0.0.0", false),
            ("[::]", false),
            ("127.1", false),
            ("2130706433", false),
            ("0x7f.0.0.1", false),
            ("0177.0.0.1", false),
            ("[::ffff:127.0.0.1]", false),
            ("[::1", false),
            ("[::1]evil.example", false),
            ("[localhost]", false),
            ("169.254.169.254", false),
        ] {
            assert_eq!(guard.may_see(&request(Some("127.0.0.1"), &[("host", host)])).is_ok(), seen, "{host:?}");
        }
        assert!(guard.may_see(&request(Some("127.0.0.1"), &[])).is_err());
        let twice = request(Some("127.0.0.1"), &[("host", "localhost"), ("host", "localhost")]);
        assert!(guard.may_see(&twice).is_err());
    }

    #[test]
    fn an_absolute_address_must_agree_with_the_host() {
        let mut req = request(Some("127.0.0.1"), &[("host", "localhost")]);
        *req.uri_mut() = "http://evil.example/_debug/".parse().unwrap();
        assert!(matches!(guard().may_see(&req), Err(Refused::Host(_))));
    }

    #[test]
    fn what_a_proxy_adds_ends_it_whatever_it_says() {
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-server",
            "x_forwarded_for",
            "x-real-ip",
            "x-client-ip",
            "via",
            "cf-connecting-ip",
            "true-client-ip",
        ] {
            let req = request(Some("127.0.0.1"), &[("host", "localhost"), (name, "127.0.0.1")]);
            assert!(matches!(guard().may_see(&req), Err(Refused::Forwarded(_))), "{name}");
        }
    }

    #[test]
    fn no_page_of_another_origin_sees_anything() {
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], true),
            (&[("origin", "http://localhost:8000")], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")], true),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")], true),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], false),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")], false),
            (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://localhost:8000")], false),
            (&[("origin", "http://localhost")], false),
            (&[("origin", "http://localhost:3000")], false),
            (&[("origin", "http://localhost:8000.evil.example")], false),
            (&[("origin", "http://evil.example")], false),
            (&[("origin", "file://")], false),
        ];
        for (headers, seen) in table {
            let headers = [&[("host", "localhost:8000")], *headers].concat();
            assert_eq!(guard().may_see(&request(Some("127.0.0.1"), &headers)).is_ok(), *seen, "{headers:?}");
        }
    }

    fn asking(guard: &Guard, change: &[(&str, Option<&str>)]) -> Result<(), Refused> {
        let mut headers = vec![
            ("host", "localhost:8000"),
            ("origin", "http://localhost:8000"),
            ("content-type", "application/json"),
            (TOKEN_NAME, guard.token()),
        ];
        for (name, value) in change {
            headers.retain(|(known, _)| known != name);
            headers.extend(value.map(|value| (*name, value)));
        }
        let mut req = request(Some("127.0.0.1"), &headers);
        *req.method_mut() = Method::POST;
        guard.may_ask(&req)
    }

    #[test]
    fn a_call_is_json_with_the_exact_origin_and_the_token() {
        let guard = guard();
        assert_eq!(asking(&guard, &[]), Ok(()));
        assert_eq!(asking(&guard, &[("content-type", Some("application/json; charset=utf-8"))]), Ok(()));
        for (name, value) in [
            ("origin", None),
            ("origin", Some("null")),
            ("origin", Some("http://LOCALHOST:8000")),
            ("origin", Some("http://localhost:8000/")),
            ("origin", Some("http://localhost:8001")),
            ("origin", Some("http://127.0.0.1:8000")),
            ("content-type", None),
            ("content-type", Some("text/plain")),
            ("content-type", Some("application/x-www-form-urlencoded")),
            ("content-type", Some("multipart/form-data")),
            ("content-type", Some("application/jsonp")),
            ("sec-fetch-site", Some("cross-site")),
        ] {
            assert!(asking(&guard, &[(name, value)]).is_err(), "{name}: {value:?}");
        }
        // None of them came as far as the token.
        assert!(guard.wrong.lock().unwrap().is_empty());
    }

    #[test]
    fn an_origin_leaves_out_the_port_that_its_scheme_has() {
        let mut req = request(Some("127.0.0.1"), &[("host", "localhost:80")]);
        assert_eq!(own_origin(req.is_https(), "localhost:80"), "http://localhost");
        assert_eq!(own_origin(req.is_https(), "localhost:443"), "http://localhost:443");
        req.extensions_mut().insert(Https);
        assert_eq!(own_origin(req.is_https(), "localhost:443"), "https://localhost");
    }

    #[test]
    fn ten_wrong_tokens_lock_it_also_for_the_right_one() {
        let guard = guard();
        let length = guard.token().len();
        let wrong = [String::new(), guard.token()[1..].to_owned()];
        for (nth, token) in wrong.into_iter().chain(('A'..='H').map(|one| one.to_string().repeat(length))).enumerate() {
            assert_eq!(asking(&guard, &[]), Ok(()), "{nth}");
            assert_eq!(asking(&guard, &[(TOKEN_NAME, Some(&token))]), Err(Refused::Token), "{nth}");
        }
        assert_eq!(asking(&guard, &[]), Err(Refused::Locked));
    }

    #[test]
    fn a_page_of_the_start_before_locks_nobody_out() {
        let guard = guard();
        let before = "A".repeat(guard.token().len());
        for _ in 0..100 {
            assert_eq!(asking(&guard, &[(TOKEN_NAME, Some(&before))]), Err(Refused::Token));
        }
        assert_eq!(asking(&guard, &[]), Ok(()));
    }

    #[test]
    fn tokens_are_128_random_bits_and_are_not_printed() {
        let (one, other) = (guard(), guard());
        assert_eq!(one.token().len(), 22);
        assert_ne!(one.token(), other.token());
        assert!(!format!("{one:?}").contains(one.token()));
    }

    #[test]
    fn it_starts_where_only_this_machine_can_reach_it() {
        for (address, starts) in [
            ("127.0.0.1:8000", true),
            ("127.9.9.9:1", true),
            ("[::1]:8000", true),
            ("unix:/run/site.sock", true),
            ("0.0.0.0:8000", false),
            ("[::]:8000", false),
            ("192.168.1.2:8000", false),
        ] {
            let addresses = ["127.0.0.1:1".parse().unwrap(), address.parse().unwrap()];
            assert_eq!(check_addresses(&addresses).is_ok(), starts, "{address}");
        }
        assert!(check_addresses(&[]).is_ok());
    }

    #[test]
    fn a_configured_host_is_a_host() {
        for host in ["dev.example.org:8000", "http://dev.example.org", "*", "", "*.example.org", "a b"] {
            assert!(Guard::new(&[host.to_owned()]).is_err(), "{host:?}");
        }
    }
}
