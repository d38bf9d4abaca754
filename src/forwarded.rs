//! `Forwarded` (RFC 7239) and `X-Forwarded-*`: what proxies say of the request that they pass on.

use crate::hosts::Host;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Who sent a request to a proxy, as that says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// An address.
    Ip(IpAddr),
    /// Something that is no address: `unknown`, or a name that the proxy made up (RFC 7239 §6.2, §6.3).
    Unknown,
}

impl Node {
    /// Reads an address with or without a port, an IPv6 one with or without its brackets; or anything else as unknown.
    fn parse(text: &str) -> Self {
        let text = text.trim_matches([' ', '\t']);
        let address = text.parse::<IpAddr>().ok().or_else(|| {
            let inner = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
            inner.and_then(|inner| inner.parse::<Ipv6Addr>().ok()).map(IpAddr::V6)
        });
        let address = address.or_else(|| {
            // The port may be one that is made up, too (§6.1), and some proxies send 0.
            let (host, port) = text.rsplit_once(':')?;
            let known =
                !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            match host.strip_prefix('[') {
                _ if !known => None,
                Some(inner) => inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            }
        });
        address.map_or(Self::Unknown, |address| Self::Ip(address.to_canonical()))
    }
}

/// What one proxy says of the request that came to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Who sent it.
    pub from: Option<Node>,
    /// Whether it came by https; `None` if that is not said.
    pub https: Option<bool>,
    /// The host that it was for, as the proxy writes it.
    pub host: Option<String>,
}

/// Reads `Forwarded`: a hop for each proxy, the nearest one last. `None` if there is no such header.
///
/// # Errors
///
/// A header that does not follow the grammar of RFC 7239 §4. Nothing is guessed then: an open quote, which a client can
/// send, would hide what the proxy appended.
///
/// ```
/// use purlin::forwarded::forwarded;
/// use purlin::{HeaderMap, HeaderValue, header};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(header::FORWARDED, HeaderValue::from_static("for=\"[2001:db8::1]:4711\";proto=https, for=192.0.2.1"));
/// let hops = forwarded(&headers)?.unwrap();
/// assert_eq!(hops.len(), 2);
/// assert_eq!(hops[0].https, Some(true));
/// # Ok::<(), purlin::forwarded::ForwardedError>(())
/// ```
pub fn forwarded(headers: &HeaderMap) -> Result<Option<Vec<Hop>>, ForwardedError> {
    let mut hops = Vec::new();
    let mut any = false;
    for line in headers.get_all(FORWARDED) {
        any = true;
        let line = line.to_str().map_err(|_| ForwardedError { at: 0, expected: "visible ASCII" })?;
        let mut scan = Scan { text: line, at: 0 };
        loop {
            scan.blanks();
            match scan.peek() {
                None => break,
                // Lists may have empty elements (RFC 9110 §5.6.1).
                Some(b',') => scan.at += 1,
                Some(_) => hops.push(scan.element()?),
            }
        }
    }
    Ok(any.then_some(hops))
}

/// Why a `Forwarded` header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedError {
    at: usize,
    expected: &'static str,
}

impl std::fmt::Display for ForwardedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected {} in the header Forwarded, found something else at byte {}", self.expected, self.at)
    }
}

impl std::error::Error for ForwardedError {}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn expected(&self, expected: &'static str) -> ForwardedError {
        ForwardedError { at: self.at, expected }
    }

    /// `forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )`
    fn element(&mut self) -> Result<Hop, ForwardedError> {
        let mut hop = Hop::default();
        let mut seen = [false; 4];
        loop {
            self.blanks();
            if !matches!(self.peek(), None | Some(b';' | b',')) {
                self.pair(&mut hop, &mut seen)?;
                self.blanks();
            }
            match self.peek() {
                Some(b';') => self.at += 1,
                None | Some(b',') => return Ok(hop),
                Some(_) => return Err(self.expected("`;` or `,` after a value")),
            }
        }
    }

    fn pair(&mut self, hop: &mut Hop, seen: &mut [bool; 4]) -> Result<(), ForwardedError> {
        let name = self.token("the name of a parameter")?;
        if self.peek() != Some(b'=') {
            return Err(self.expected("`=` after a name"));
        }
        self.at += 1;
        let value = match self.peek() {
            Some(b'"') => self.quoted()?,
            _ => Cow::Borrowed(self.token("a value")?),
        };
        let known = ["for", "proto", "host", "by"].iter().position(|known| name.eq_ignore_ascii_case(known));
        // Each may be there once in an element (§4).
        if let Some(known) = known
            && std::mem::replace(&mut seen[known], true)
        {
            return Err(self.expected("each parameter once"));
        }
        match known {
            Some(0) => hop.from = Some(Node::parse(&value)),
            Some(1) => hop.https = https(&value),
            Some(2) => hop.host = Some(value.into_owned()),
            _ => {}
        }
        Ok(())
    }

    fn token(&mut self, expected: &'static str) -> Result<&'a str, ForwardedError> {
        let rest = &self.text[self.at..];
        let tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        // Not of the grammar, and sent by proxies all the same: `for=192.0.2.1:80`, `for=[::1]`.
        let sent = |byte: u8| tchar(byte) || b":[]".contains(&byte);
        let is_value = expected == "a value";
        let end =
            rest.bytes().position(|byte| !(if is_value { sent(byte) } else { tchar(byte) })).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.expected(expected));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    /// RFC 9110 §5.6.4.
    fn quoted(&mut self) -> Result<Cow<'a, str>, ForwardedError> {
        self.at += 1;
        let mut value = String::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(value));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let byte = self.peek().ok_or_else(|| self.expected("a character after a backslash"))?;
                    value.push(char::from(byte));
                    self.at += 1;
                }
                Some(byte) => {
                    value.push(char::from(byte));
                    self.at += 1;
                }
                None => return Err(self.expected("a closing quote")),
            }
        }
    }
}

fn https(scheme: &str) -> Option<bool> {
    let scheme = scheme.trim_matches([' ', '\t']);
    if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") {
        return Some(true);
    }
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws")).then_some(false)
}

/// Reads `X-Forwarded-For`, `-Proto` and `-Host`, which no standard describes: a hop for each address, the nearest proxy
/// last. `None` if none of the three is there.
///
/// A scheme or host for each address belongs to that; of any other number the last one, which the nearest proxy wrote,
/// belongs to all.
pub fn x_forwarded(headers: &HeaderMap) -> Option<Vec<Hop>> {
    let list = |name: HeaderName| -> Vec<String> {
        let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
        let lines: Vec<String> = lines.collect();
        lines.iter().flat_map(|line| line.split(',')).map(|value| value.trim().to_owned()).collect()
    };
    let (from, proto, host) = (list(X_FORWARDED_FOR), list(X_FORWARDED_PROTO), list(X_FORWARDED_HOST));
    if from.is_empty() && proto.is_empty() && host.is_empty() {
        return None;
    }
    let hops = from.len().max(1);
    let of = |values: &[String], at: usize| {
        if values.len() == hops { values.get(at).cloned() } else { values.last().cloned() }
    };
    let hop = |at: usize| Hop {
        from: from.get(at).map(|text| Node::parse(text)),
        https: of(&proto, at).and_then(|scheme| https(&scheme)),
        host: of(&host, at),
    };
    Some((0..hops).map(hop).collect())
}

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whether a header is one by which proxies speak of the client. `X-Forwarded-` begins a dozen.
///
/// `_` is taken for `-`: applications by CGI and its heirs (RFC 3875 §4.1.18) see one name for both, and would believe
/// `X_Forwarded_For` where `X-Forwarded-For` was taken off.
pub(crate) fn is_of_proxy(name: &HeaderName) -> bool {
    const OTHERS: [&str; 12] = [
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "client-ip",
        "x-cluster-client-ip",
        "x-original-host",
        "x-original-url",
        "x-rewrite-url",
        "x-envoy-external-address",
        "cf-connecting-ip",
        "fastly-client-ip",
        "true-client-ip",
    ];
    // Most headers begin otherwise, and each request has a dozen of them.
    if !name.as_str().starts_with(['c', 'f', 't', 'x']) {
        return false;
    }
    let same = |known: &&str| {
        let found = name.as_str().bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
        found.take(known.len()).eq(known.bytes())
    };
    same(&"x-forwarded") || OTHERS.iter().any(|known| known.len() == name.as_str().len() && same(known))
}

/// Whether a request says that its client came to a proxy by https, be that to be believed or not.
pub(crate) fn says_https(headers: &HeaderMap) -> bool {
    let hops = forwarded(headers).ok().flatten().into_iter().chain(x_forwarded(headers));
    hops.flatten().any(|hop| hop.https == Some(true))
}

/// Takes the host that a proxy names, if it is one.
pub(crate) fn host_of(hop: &Hop) -> Option<String> {
    Some(Host::parse(hop.host.as_deref()?)?.to_string())
}

/// Addresses with a common beginning (CIDR, RFC 4632): `10.0.0.0/8`, `2001:db8::/32`; an address is a network of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is of this network. `::ffff:10.0.0.1` is `10.0.0.1`.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits);
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let bad = || NetworkError { text: text.to_owned() };
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => {
                let digits = bits.bytes().all(|byte| byte.is_ascii_digit());
                bits.parse().ok().filter(|bits| digits && *bits <= most).ok_or_else(bad)?
            }
        };
        // Requests come with the address that is meant: a network of the others would never fit.
        if address.to_canonical() != address && bits < 128 {
            return Err(bad());
        }
        let (address, bits) = match address.to_canonical() {
            IpAddr::V4(canonical) if address.is_ipv6() => (IpAddr::V4(canonical), 32),
            canonical => (canonical, bits),
        };
        Ok(Self { address, bits })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError {
    text: String,
}

impl std::fmt::Display for NetworkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected a network as 10.0.0.0/8 or 2001:db8::/32, or an address, found {:?}", self.text)
    }
}

impl std::error::Error for NetworkError {}

/// Who the client is, where a trusted proxy said so; left in the request's extensions by the layer
/// [`TrustedProxies`](crate::layers::TrustedProxies) for [`RequestExt::client_ip`](crate::RequestExt::client_ip).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub(crate) Option<IpAddr>);

impl Client {
    /// Its address; `None` where the proxy does not know it or does not tell.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0
    }
}

/// The first header by which a proxy spoke, trusted or not: it has been taken off.
#[derive(Clone, Debug)]
pub(crate) struct TakenOff(
    #[cfg_attr(not(all(feature = "debugger", debug_assertions)), allow(dead_code))] pub(crate) HeaderName,
);

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn shown(hops: &[Hop]) -> String {
        let node = |node: &Option<Node>| match node {
            None => "-".to_owned(),
            Some(Node::Unknown) => "?".to_owned(),
            Some(Node::Ip(ip)) => ip.to_string(),
        };
        let hop = |hop: &Hop| {
            let proto = hop.https.map_or("", |https| if https { " https" } else { " http" });
            let host = hop.host.as_ref().map(|host| format!(" {host}")).unwrap_or_default();
            format!("{}{proto}{host}", node(&hop.from))
        };
        hops.iter().map(hop).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let table: &[(&[&str], Result<&str, usize>)] = &[
            // The examples of §4 and §7.
            (&["for=\"_gazonk\""], Ok("?")),
            (&["For=\"[2001:db8:cafe::17]:4711\""], Ok("2001:db8:cafe::17")),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], Ok("192.0.2.60 http")),
            (&["for=192.0.2.43, for=198.51.100.17"], Ok("192.0.2.43, 198.51.100.17")),
            (&["for=192.0.2.43, for=\"[2001:db8:cafe::17]\""], Ok("192.0.2.43, 2001:db8:cafe::17")),
            (&["for=_hidden, for=_SEVKISEK", "for=unknown"], Ok("?, ?, ?")),
            // Lists, blanks and empty elements
            (&["for=192.0.2.1 ; proto=https\t;host=example.org"], Ok("192.0.2.1 https example.org")),
            (&[" , for=192.0.2.1 ,, "], Ok("192.0.2.1")),
            (&["for=192.0.2.1;;proto=https;"], Ok("192.0.2.1 https")),
            (&[";for=192.0.2.1"], Ok("192.0.2.1")),
            (&[""], Ok("")),
            (&["proto=https"], Ok("- https")),
            (&["proto=HTTPS;host=\"example.org:8443\""], Ok("- https example.org:8443")),
            (&["proto=gopher;for=192.0.2.1"], Ok("192.0.2.1")),
            (&["secret=x;for=192.0.2.1;ext=\"a,b;c\""], Ok("192.0.2.1")),
            (&["for=\"192\\.0.2.1\""], Ok("192.0.2.1")),
            // Not of the grammar, and sent
            (&["for=192.0.2.1:4711"], Ok("192.0.2.1")),
            (&["for=[2001:db8::1]:80"], Ok("2001:db8::1")),
            (&["for=\"192.0.2.1:_port\""], Ok("192.0.2.1")),
            (&["for=::ffff:192.0.2.1"], Ok("192.0.2.1")),
            // No address
            (&["for=\"192.0.2.1:\""], Ok("?")),
            (&["for=192.0.2.256"], Ok("?")),
            (&["for=\"\""], Ok("?")),
            // An open quote hides what follows: refused
            (&["for=\"192.0.2.1, for=198.51.100.17"], Err(33)),
            (&["for=\"192.0.2.1\\"], Err(15)),
            (&["for=192.0.2.1 for=198.51.100.17"], Err(14)),
            (&["for=192.0.2.1;for=198.51.100.17"], Err(31)),
            (&["for"], Err(3)),
            (&["for="], Err(4)),
            (&["=192.0.2.1"], Err(0)),
            (&["for =192.0.2.1"], Err(3)),
            (&["for= 192.0.2.1"], Err(4)),
            (&["192.0.2.1"], Err(9)),
            (&["for=\"a\"b"], Err(7)),
        ];
        for (lines, expected) in table {
            let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
            let found = forwarded(&headers(&lines)).map(|hops| shown(&hops.unwrap())).map_err(|error| error.at);
            assert_eq!(found.as_deref().map_err(|at| *at), *expected, "{lines:?}");
        }
        assert_eq!(forwarded(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn x_forwarded_is_read_as_proxies_write_it() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let table: &[Row<'_>] = &[
            (&[], None),
            (&[("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            (
                &[("x-forwarded-for", "192.0.2.1, 198.51.100.1"), ("x-forwarded-for", "203.0.113.1")],
                Some("192.0.2.1, 198.51.100.1, 203.0.113.1"),
            ),
            (&[("x-forwarded-for", "2001:db8::1")], Some("2001:db8::1")),
            (&[("x-forwarded-for", "[2001:db8::1]:80, 192.0.2.1:80")], Some("2001:db8::1, 192.0.2.1")),
            (&[("x-forwarded-for", "nonsense, , 192.0.2.1")], Some("?, ?, 192.0.2.1")),
            (&[("x-forwarded-proto", "https")], Some("- https")),
            (
                &[("x-forwarded-for", "192.0.2.1, 198.51.100.1"), ("x-forwarded-proto", "https")],
                Some("192.0.2.1 https, 198.51.100.1 https"),
            ),
            (
                &[("x-forwarded-for", "192.0.2.1, 198.51.100.1"), ("x-forwarded-proto", "https, http")],
                Some("192.0.2.1 https, 198.51.100.1 http"),
            ),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https, http")], Some("192.0.2.1 http")),
            (
                &[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-host", "example.org:80")],
                Some("192.0.2.1 example.org:80"),
            ),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in *lines {
                headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(x_forwarded(&headers).map(|hops| shown(&hops)).as_deref(), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "127.0.0.1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1/128", "::1", true),
        ];
        for (network, address, expected) in table {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
        for none in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "localhost",
            "::ffff:0:0/96",
        ] {
            assert!(none.parse::<Network>().is_err(), "{none}");
        }
    }
}
