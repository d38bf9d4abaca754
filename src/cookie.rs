//! Cookies: reading `Cookie`, writing `Set-Cookie` (RFC 6265bis).

use crate::conditional::printable_date;
use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

/// Every cookie of a request, name and value, in the order in which the browser sent them.
///
/// A pair without `=` or without a name, or one that is not UTF-8, is passed over: it may have been set by anyone
/// on a neighbouring host, and must not cost the visitor the page. Values come as they were sent: nothing is
/// percent-decoded, and quotes around a value belong to it (RFC 6265bis §4.1.1).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::COOKIE};
/// use purlin::cookie::cookies;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(COOKIE, HeaderValue::from_static("theme=dark; odd; lang=en"));
/// assert!(cookies(&headers).eq([("theme", "dark"), ("lang", "en")]));
/// ```
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    // HTTP/2 may spread the cookies over several header lines (RFC 9113 §8.2.3).
    pairs(headers.get_all(COOKIE))
}

/// The cookies of these lines, as [`cookies`] reads them.
pub(crate) fn pairs<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> impl Iterator<Item = (&'a str, &'a str)> {
    lines.into_iter().flat_map(|line| line.as_bytes().split(|&b| b == b';')).filter_map(pair)
}

/// The value of the cookie called `name`; names are case-sensitive.
///
/// Of several the first wins: browsers send the one with the longest path first (RFC 6265bis §5.8.3). A name alone
/// does not tell who set it: only the `__Host-` prefix keeps a subdomain from putting its own in front.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::COOKIE};
/// use purlin::cookie::cookie;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(COOKIE, HeaderValue::from_static("theme=dark; theme=light"));
/// assert_eq!(cookie(&headers, "theme"), Some("dark"));
/// assert_eq!(cookie(&headers, "Theme"), None);
/// ```
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    first(headers.get_all(COOKIE), name)
}

/// The value of the first cookie of this name in these lines, as [`cookie`] reads it.
pub(crate) fn first<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>, name: &str) -> Option<&'a str> {
    let mut halves = lines.into_iter().flat_map(|line| line.as_bytes().split(|&b| b == b';')).filter_map(halves);
    halves.find_map(|(found, value)| (found == name.as_bytes()).then(|| str::from_utf8(value).ok())?)
}

/// A cookie to be set.
///
/// Unless told otherwise it is kept from scripts (`HttpOnly`), from other sites' forms and images (`SameSite=Lax`),
/// is sent for every path (`Path=/`) to this host alone (no `Domain`), and is forgotten when the browser is closed.
/// `Secure` is off, since a site may be developed over plain HTTP: switch it on wherever there is TLS.
///
/// Nothing is encoded: a value outside the grammar is an error, never another value.
///
/// ```
/// use purlin::cookie::Cookie;
/// use std::time::Duration;
///
/// let cookie = Cookie::new("__Host-id", "31d4d96e").secure(true).max_age(Duration::from_secs(3600));
/// assert_eq!(
///     cookie.to_header_value()?,
///     "__Host-id=31d4d96e; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
/// );
/// # Ok::<(), purlin::cookie::CookieError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    name: Cow<'static, str>,
    value: Cow<'static, str>,
    path: Cow<'static, str>,
    domain: Option<Cow<'static, str>>,
    max_age: Option<u64>,
    expires: Option<SystemTime>,
    http_only: bool,
    secure: bool,
    same_site: SameSite,
    partitioned: bool,
}

/// Whether a browser sends the cookie along with requests that another site caused (RFC 6265bis §4.1.2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SameSite {
    /// Never, not even when a link is followed: the visitor arrives signed out.
    Strict,
    /// Only when a link is followed (the default).
    #[default]
    Lax,
    /// Always; asks for `Secure`.
    None,
}

impl Cookie {
    /// What a browser keeps at most: 4096 bytes of name and value together (RFC 6265bis §5.6).
    pub const MAX_BYTES: usize = 4096;

    /// A cookie with the defaults above. What is wrong with it is told by [`to_header_value`](Self::to_header_value).
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            path: Cow::Borrowed("/"),
            domain: None,
            max_age: None,
            expires: None,
            http_only: true,
            secure: false,
            same_site: SameSite::default(),
            partitioned: false,
        }
    }

    /// Makes the browser forget the cookie called `name`.
    ///
    /// Browsers tell cookies apart by name, domain, path and partition: give this one the `path`, `domain` and
    /// `partitioned` that the cookie was set with, and `secure` if its prefix asks for it.
    ///
    /// ```
    /// use purlin::cookie::Cookie;
    /// assert_eq!(
    ///     Cookie::removal("id").to_header_value()?,
    ///     "id=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax",
    /// );
    /// # Ok::<(), purlin::cookie::CookieError>(())
    /// ```
    pub fn removal(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, "").max_age(Duration::ZERO).expires(SystemTime::UNIX_EPOCH)
    }

    /// The paths for which the cookie is sent: this one and those below it. `/` unless told.
    ///
    /// Paths are no wall: a script on one path of a host reads the cookies of another.
    pub fn path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.path = path.into();
        self
    }

    /// Sends the cookie to this domain and everything below it. None unless told: this host alone.
    pub fn domain(mut self, domain: impl Into<Cow<'static, str>>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// How long the browser keeps the cookie, in whole seconds; the browser's session unless told.
    ///
    /// Part of a second counts as one, so that a short life is not taken for a removal. Browsers keep no cookie
    /// longer than 400 days (RFC 6265bis §5.5).
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age.as_secs().saturating_add(u64::from(max_age.subsec_nanos() > 0)));
        self
    }

    /// When the browser forgets the cookie; [`max_age`](Self::max_age) goes before it and needs no right clock.
    ///
    /// Times that an HTTP date cannot name (before 1970, after 9999) become the nearest that it can.
    pub fn expires(mut self, expires: SystemTime) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Keeps the cookie from scripts; on unless told.
    pub fn http_only(mut self, http_only: bool) -> Self {
        self.http_only = http_only;
        self
    }

    /// Sends the cookie over TLS only; off unless told.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Whether other sites' requests carry the cookie; [`SameSite::Lax`] unless told.
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Keeps a separate cookie for each site in which this one is embedded (CHIPS); off unless told. Asks for `Secure`.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// The name, unchecked.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value, unchecked.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The cookie as the value of a `Set-Cookie` header, to be appended (`insert` would drop the other cookies).
    ///
    /// It is marked as sensitive: `Debug` does not print it, and HTTP/2 does not index it.
    ///
    /// # Errors
    ///
    /// Whatever a browser would refuse in silence, and whatever would end the header or begin another attribute:
    /// a name, value, path or domain outside the grammar (RFC 6265bis §4.1.1), more than
    /// [`MAX_BYTES`](Self::MAX_BYTES), a name whose prefix promises what the attributes do not keep (§4.1.3),
    /// `SameSite=None` or `Partitioned` without `Secure`.
    pub fn to_header_value(&self) -> Result<HeaderValue, CookieError> {
        self.check()?;
        // Measured, then written: `Bytes` takes a full buffer as it is, so that this is the only allocation.
        let mut text = String::with_capacity(self.length());
        self.write(&mut text).expect("a String takes everything");
        let mut value =
            HeaderValue::from_maybe_shared(Bytes::from(text)).expect("`check` let through nothing but 0x20 to 0x7E");
        value.set_sensitive(true);
        Ok(value)
    }

    fn check(&self) -> Result<(), CookieError> {
        let name = || self.name.to_string();
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return Err(CookieError::Name { name: name() });
        }
        let value = match self.value.as_bytes() {
            [b'"', inside @ .., b'"'] => inside,
            value => value,
        };
        // First as a whole, which the compiler makes one step for many bytes: a sealed session has hundreds.
        if !value.iter().fold(true, |good, &byte| good & is_cookie_octet(byte))
            && let Some(&byte) = value.iter().find(|&&byte| !is_cookie_octet(byte))
        {
            return Err(CookieError::Value { name: name(), byte });
        }
        let bytes = self.name.len() + self.value.len();
        if bytes > Self::MAX_BYTES {
            return Err(CookieError::TooLong { name: name(), bytes });
        }
        // Browsers drop an attribute of more than 1024 bytes (§5.6), and use the request's own directory
        // for a path that does not begin with a slash (§5.6.4): both would be another cookie than the one meant.
        let path = self.path.as_bytes();
        if path.len() > 1024 || path.first() != Some(&b'/') || !path.iter().all(|&b| is_attribute_octet(b)) {
            return Err(CookieError::Path { name: name(), path: self.path.to_string() });
        }
        if let Some(domain) = &self.domain
            && !is_domain(domain)
        {
            return Err(CookieError::Domain { name: name(), domain: domain.to_string() });
        }
        let attributes = Attributes {
            secure: self.secure,
            http_only: self.http_only,
            domain: self.domain.is_some(),
            root: self.path == "/",
            cross_site: self.same_site == SameSite::None,
            partitioned: self.partitioned,
        };
        match attributes.refused(&self.name) {
            None => Ok(()),
            Some(Refused::Prefix { prefix, needs }) => Err(CookieError::Prefix { name: name(), prefix, needs }),
            Some(Refused::Insecure { because }) => Err(CookieError::Insecure { name: name(), because }),
        }
    }

    /// How many bytes the header's value has.
    pub(crate) fn length(&self) -> usize {
        let mut length = Length(0);
        self.write(&mut length).expect("counting does not fail");
        length.0
    }

    fn write(&self, out: &mut impl Write) -> fmt::Result {
        out.write_str(&self.name)?;
        out.write_char('=')?;
        out.write_str(&self.value)?;
        out.write_str("; Path=")?;
        out.write_str(&self.path)?;
        if let Some(domain) = &self.domain {
            out.write_str("; Domain=")?;
            out.write_str(domain)?;
        }
        if let Some(seconds) = self.max_age {
            write!(out, "; Max-Age={seconds}")?;
        }
        if let Some(expires) = self.expires {
            write!(out, "; Expires={}", printable_date(expires))?;
        }
        if self.http_only {
            out.write_str("; HttpOnly")?;
        }
        if self.secure {
            out.write_str("; Secure")?;
        }
        out.write_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        })?;
        if self.partitioned {
            out.write_str("; Partitioned")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Cookie {
    /// Without the value, which may open a session.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie({:?}, {} bytes)", self.name, self.value.len())
    }
}

/// Why a [`Cookie`] cannot be set. The value is never part of the message.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields say what their names say.
pub enum CookieError {
    /// The name is empty or not a token (RFC 9110 §5.6.2).
    Name { name: String },
    /// The value holds a byte which a cookie value cannot.
    Value { name: String, byte: u8 },
    /// The path does not begin with `/`, holds `;`, a control or a non-ASCII character, or exceeds 1024 bytes.
    Path { name: String, path: String },
    /// The domain is not a host name in ASCII.
    Domain { name: String, domain: String },
    /// Name and value together exceed [`Cookie::MAX_BYTES`].
    TooLong { name: String, bytes: usize },
    /// The name's prefix asks for something that the attributes lack (RFC 6265bis §4.1.3).
    Prefix { name: String, prefix: &'static str, needs: &'static str },
    /// `SameSite=None` or `Partitioned` without `Secure`.
    Insecure { name: String, because: &'static str },
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name } => {
                write!(f, "cookie name {name:?}: expected letters, digits and !#$%&'*+-.^_`|~, at least one")
            }
            Self::Value { name, byte } => write!(
                f,
                "value of cookie {name:?}: expected visible ASCII without quote, comma, semicolon and backslash, \
                 found byte 0x{byte:02X}; encode such values before setting them"
            ),
            Self::Path { name, path } => {
                write!(
                    f,
                    "path of cookie {name:?}: expected / and then ASCII without ;, 1024 bytes at most, found {path:?}"
                )
            }
            Self::Domain { name, domain } => {
                write!(f, "domain of cookie {name:?}: expected a host name in ASCII, found {domain:?}")
            }
            Self::TooLong { name, bytes } => write!(
                f,
                "cookie {name:?}: name and value are {bytes} bytes, browsers keep at most {}",
                Cookie::MAX_BYTES
            ),
            Self::Prefix { name, prefix, needs } => {
                write!(f, "cookie {name:?}: browsers accept the prefix {prefix} only with {needs}")
            }
            Self::Insecure { name, because } => {
                write!(f, "cookie {name:?}: browsers refuse {because} without Secure")
            }
        }
    }
}

impl std::error::Error for CookieError {}

/// What of a cookie decides, together with its name, whether a browser keeps it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    /// Whether there is a `Domain`.
    pub(crate) domain: bool,
    /// Whether `Path=/` is said.
    pub(crate) root: bool,
    /// `SameSite=None`
    pub(crate) cross_site: bool,
    pub(crate) partitioned: bool,
}

/// Why a browser does not keep a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Prefix { prefix: &'static str, needs: &'static str },
    Insecure { because: &'static str },
}

impl Attributes {
    /// Why a browser refuses a cookie of this name in silence (RFC 6265bis §4.1.3, §5.7).
    ///
    /// Browsers compare prefixes without regard to case, so that a server which does the same with names is not deceived (§5.4).
    pub(crate) fn refused(self, name: &str) -> Option<Refused> {
        // The two with `Http-` come from draft-ietf-httpbis-layered-cookies; Chrome and Firefox have them since 2025.
        let starts = |prefix: &&str| {
            name.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        let prefix = ["__Host-Http-", "__Host-", "__Http-", "__Secure-"].into_iter().find(starts);
        if let Some(prefix) = prefix {
            let host = prefix.starts_with("__Host-");
            let needs = match () {
                () if !self.secure => Some("Secure"),
                () if prefix.ends_with("Http-") && !self.http_only => Some("HttpOnly"),
                () if host && self.domain => Some("no Domain"),
                () if host && !self.root => Some("Path=/"),
                () => None,
            };
            if let Some(needs) = needs {
                return Some(Refused::Prefix { prefix, needs });
            }
        }
        let because = match () {
            () if self.secure => return None,
            () if self.cross_site => "SameSite=None",
            () if self.partitioned => "Partitioned",
            () => return None,
        };
        Some(Refused::Insecure { because })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix { prefix, needs } => write!(f, "its prefix {prefix} asks for {needs}"),
            Self::Insecure { because } => write!(f, "{because} asks for Secure"),
        }
    }
}

/// Whether browsers trust this host without https, and keep its `Secure` cookies: it is their own machine
/// (Secure Contexts §3.1).
pub(crate) fn is_trusted(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let ends = |name: &str| {
        let start = host.len().checked_sub(name.len()).and_then(|at| host.split_at_checked(at));
        start.is_some_and(|(start, end)| end.eq_ignore_ascii_case(name) && (start.is_empty() || start.ends_with('.')))
    };
    let loopback =
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    ends("localhost") || loopback()
}

fn pair(pair: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = halves(pair)?;
    Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?))
}

/// A name, which is not empty, and a value.
fn halves(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = pair.split_at_checked(pair.iter().position(|&b| b == b'=')?)?;
    let name = trim(name);
    (!name.is_empty()).then(|| (name, trim(&value[1..])))
}

/// Takes off spaces and tabs and nothing else. Servers which also take off, say, U+2000 read a `__Host-` name where the
/// browser saw another, and let a subdomain set it.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// `tchar`, RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `cookie-octet`, RFC 6265bis §4.1.1.
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'"') & (byte != b',') & (byte != b';') & (byte != b'\\')
}

/// `av-octet`, RFC 6265bis §4.1.1.
fn is_attribute_octet(byte: u8) -> bool {
    (byte == b' ' || byte.is_ascii_graphic()) && byte != b';'
}

/// A host name of RFC 1034 §3.5 with the underscores that real ones have; browsers pass over a dot in front.
fn is_domain(domain: &str) -> bool {
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    domain.len() <= 253
        && domain.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// Counts what would be written.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[&[u8]]) -> HeaderMap {
        let lines = lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line).unwrap()));
        let mut headers = HeaderMap::new();
        lines.for_each(|(name, line)| _ = headers.append(name, line));
        headers
    }

    #[test]
    fn request_cookies_are_read_as_browsers_send_them() {
        type Row = (&'static [&'static [u8]], &'static [(&'static str, &'static str)]);
        let table: &[Row] = &[
            (&[], &[]),
            (&[b""], &[]),
            (&[b";; ;\t;"], &[]),
            (&[b"a=1"], &[("a", "1")]),
            (&[b"a=1; b=2"], &[("a", "1"), ("b", "2")]),
            // RFC 6265bis §5.8.3 writes "; ", old clients ";" alone.
            (&[b"a=1;b=2;"], &[("a", "1"), ("b", "2")]),
            (&[b" \ta\t=  1 \t; b = 2 "], &[("a", "1"), ("b", "2")]),
            // RFC 9113 §8.2.3: HTTP/2 splits the header.
            (&[b"a=1", b"b=2; c=3"], &[("a", "1"), ("b", "2"), ("c", "3")]),
            // Only the first = counts: base64 ends in others.
            (&[b"a=b=c=="], &[("a", "b=c==")]),
            (&[b"a="], &[("a", "")]),
            // RFC 6265bis §4.1.1: quotes belong to the value, and shield no semicolon (§5.6).
            (&[b"a=\"1\""], &[("a", "\"1\"")]),
            (&[b"a=\"1; b=2\""], &[("a", "\"1"), ("b", "2\"")]),
            // Nameless cookies.
            (&[b"a; =b; =; c=1"], &[("c", "1")]),
            // Not UTF-8, in the value and in the name: only that pair is lost.
            (&[b"a=\xff; b=1"], &[("b", "1")]),
            (&[b"\xffa=1; b=\xc3\xa9"], &[("b", "é")]),
            // Nothing is decoded.
            (&[b"a=%20+"], &[("a", "%20+")]),
            // RFC 2965 is history: its attributes are ordinary cookies.
            (&[b"$Version=1; a=1; $Path=/"], &[("$Version", "1"), ("a", "1"), ("$Path", "/")]),
            // What other programs on the domain set, outside the grammar and still sent by browsers.
            (&[b"user[id]=1; a b={\"x\":1, \"y\":2}"], &[("user[id]", "1"), ("a b", "{\"x\":1, \"y\":2}")]),
            // U+2000 before the name is part of the name.
            (&[b"\xe2\x80\x80__Host-id=1"], &[("\u{2000}__Host-id", "1")]),
        ];
        for (lines, expected) in table {
            let headers = request(lines);
            assert_eq!(cookies(&headers).collect::<Vec<_>>(), *expected, "{lines:?}");
        }
    }

    #[test]
    fn the_first_of_several_cookies_of_one_name_wins() {
        let headers = request(&[b"b=0; a=1; a=2", b"a=3"]);
        assert_eq!(cookie(&headers, "a"), Some("1"));
        assert_eq!(cookie(&headers, "A"), None);
        // One that cannot be read is not there.
        assert_eq!(cookie(&request(&[b"a=\xff; a=2"]), "a"), Some("2"));
    }

    #[test]
    fn attributes_are_written_in_a_fixed_order() {
        let plain = || Cookie::new("a", "1");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480);
        let table = [
            (plain(), "a=1; Path=/; HttpOnly; SameSite=Lax"),
            (plain().http_only(false), "a=1; Path=/; SameSite=Lax"),
            (Cookie::new("a", "\"b=c/+:\""), "a=\"b=c/+:\"; Path=/; HttpOnly; SameSite=Lax"),
            (plain().same_site(SameSite::Strict).path("/x y"), "a=1; Path=/x y; HttpOnly; SameSite=Strict"),
            (plain().max_age(Duration::from_millis(1)), "a=1; Path=/; Max-Age=1; HttpOnly; SameSite=Lax"),
            (plain().max_age(Duration::MAX), "a=1; Path=/; Max-Age=18446744073709551615; HttpOnly; SameSite=Lax"),
            (
                plain().domain("example.com").expires(time).secure(true).same_site(SameSite::None).partitioned(true),
                "a=1; Path=/; Domain=example.com; Expires=Wed, 21 Oct 2015 07:28:00 GMT; HttpOnly; Secure; \
                 SameSite=None; Partitioned",
            ),
            (
                plain().expires(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
                "a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax",
            ),
            (
                plain().expires(SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000)),
                "a=1; Path=/; Expires=Fri, 31 Dec 9999 23:59:59 GMT; HttpOnly; SameSite=Lax",
            ),
        ];
        for (cookie, expected) in table {
            assert_eq!(cookie.to_header_value().unwrap(), expected);
        }
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        for name in ["", "a b", "a=", "a;", "a\r\nX: y", "é", "\"a\"", "a,b", "a\0", "a[0]"] {
            let error = Cookie::new(name, "1").to_header_value().unwrap_err();
            assert_eq!(error, CookieError::Name { name: name.to_owned() });
        }
        for (value, byte) in [
            ("1; Domain=evil", b';'),
            ("1\r\nSet-Cookie: b=2", b'\r'),
            ("a b", b' '),
            ("a,b", b','),
            ("a\\", b'\\'),
            ("a\"b", b'"'),
            ("\"", b'"'),
            ("\"\"\"", b'"'),
            ("é", 0xC3),
            ("\u{7f}", 0x7F),
            ("\0", 0),
        ] {
            let error = Cookie::new("a", value).to_header_value().unwrap_err();
            assert_eq!(error, CookieError::Value { name: "a".to_owned(), byte }, "{value:?}");
        }
        let long = format!("/{}", "x".repeat(1024));
        for path in ["", "x", "/;Secure", "/\n", "/é", long.as_str()] {
            let error = Cookie::new("a", "1").path(path.to_owned()).to_header_value().unwrap_err();
            assert_eq!(error, CookieError::Path { name: "a".to_owned(), path: path.to_owned() });
        }
        for domain in ["", ".", "a..b", "a.", "..a", "a;b", "a b", "a\n", "bücher.example", "a:80", "/"] {
            let error = Cookie::new("a", "1").domain(domain).to_header_value().unwrap_err();
            assert_eq!(error, CookieError::Domain { name: "a".to_owned(), domain: domain.to_owned() });
        }
        for domain in ["localhost", ".example.com", "xn--bcher-kva.example", "_x.example", "127.0.0.1"] {
            assert!(Cookie::new("a", "1").domain(domain).to_header_value().is_ok(), "{domain}");
        }
    }

    /// RFC 6265bis §4.1.3, and draft-ietf-httpbis-layered-cookies for `Http-`.
    #[test]
    fn a_prefix_promises_what_the_attributes_keep() {
        let secure = |name| Cookie::new(name, "1").secure(true);
        let table = [
            (Cookie::new("__Secure-a", "1"), Some(("__Secure-", "Secure"))),
            (secure("__Secure-a").domain("a.b").path("/x").http_only(false), None),
            (Cookie::new("__Host-a", "1"), Some(("__Host-", "Secure"))),
            (secure("__Host-a"), None),
            (secure("__Host-a").http_only(false), None),
            (secure("__Host-a").path("/x"), Some(("__Host-", "Path=/"))),
            (secure("__Host-a").domain("a.b"), Some(("__Host-", "no Domain"))),
            (Cookie::new("__Http-a", "1"), Some(("__Http-", "Secure"))),
            (secure("__Http-a").http_only(false), Some(("__Http-", "HttpOnly"))),
            (secure("__Http-a").path("/x").domain("a.b"), None),
            (secure("__Host-Http-a").http_only(false), Some(("__Host-Http-", "HttpOnly"))),
            (secure("__Host-Http-a").path("/x"), Some(("__Host-Http-", "Path=/"))),
            (secure("__Host-Http-a"), None),
            // §5.4: without regard to case.
            (Cookie::new("__hOST-a", "1"), Some(("__Host-", "Secure"))),
            (Cookie::new("__SECURE-", "1"), Some(("__Secure-", "Secure"))),
            // Not the prefixes.
            (Cookie::new("_Host-a", "1"), None),
            (Cookie::new("__Host", "1"), None),
            (Cookie::removal("__Host-a"), Some(("__Host-", "Secure"))),
            (Cookie::removal("__Host-a").secure(true), None),
        ];
        for (cookie, broken) in table {
            let name = cookie.name().to_owned();
            let expected = broken.map(|(prefix, needs)| CookieError::Prefix { name, prefix, needs });
            assert_eq!(cookie.to_header_value().err(), expected, "{cookie:?}");
        }
    }

    #[test]
    fn what_crosses_sites_is_secure() {
        let error = |cookie: Cookie| cookie.to_header_value().unwrap_err().to_string();
        let cookie = || Cookie::new("a", "1");
        assert_eq!(
            error(cookie().same_site(SameSite::None)),
            "cookie \"a\": browsers refuse SameSite=None without Secure"
        );
        assert_eq!(error(cookie().partitioned(true)), "cookie \"a\": browsers refuse Partitioned without Secure");
    }

    #[test]
    fn name_and_value_fit_in_4096_bytes() {
        assert!(Cookie::new("a", "x".repeat(4095)).to_header_value().is_ok());
        let error = Cookie::new("a", "x".repeat(4096)).to_header_value().unwrap_err();
        assert_eq!(error, CookieError::TooLong { name: "a".to_owned(), bytes: 4097 });
    }

    #[test]
    fn debug_and_errors_do_not_show_the_value() {
        let cookie = Cookie::new("id", "secret;");
        assert_eq!(format!("{cookie:?}"), "Cookie(\"id\", 7 bytes)");
        let error = cookie.to_header_value().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
        let value = Cookie::new("id", "secret").to_header_value().unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    /// The fuzz target's invariants, over repeatable noise.
    #[test]
    fn a_written_cookie_reads_back() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as usize
        };
        let alphabet: Vec<char> = "aZ09_-=;, \t\"\\\r\n\0%é/.".chars().collect();
        let mut written = 0;
        for _ in 0..20_000 {
            let mut text = |max: usize| -> String {
                (0..random() % (max + 1)).map(|_| alphabet[random() % alphabet.len()]).collect()
            };
            let (name, value, path, domain) = (text(3), text(4), format!("/{}", text(2)), text(2));
            let line = text(12).into_bytes();
            if let Ok(line) = HeaderValue::from_bytes(&line) {
                let headers = HeaderMap::from_iter([(COOKIE, line)]);
                assert!(cookies(&headers).all(|(name, _)| !name.is_empty() && !name.contains([';', '='])));
            }
            let mut cookie = Cookie::new(name.clone(), value.clone()).path(path);
            if domain.len() > 1 {
                cookie = cookie.domain(domain);
            }
            let Ok(set) = cookie.to_header_value() else { continue };
            written += 1;
            let set = set.to_str().expect("visible ASCII");
            let (pair, attributes) = set.split_once("; ").expect("Path is always there");
            assert!(attributes.split("; ").count() <= 4);
            let headers = request(&[pair.as_bytes()]);
            assert!(cookies(&headers).eq([(name.as_str(), value.as_str())]), "{set}");
        }
        assert!(written > 100, "{written}");
    }
}
