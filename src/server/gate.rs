//! What hyper lets through and HTTP does not: the framing of a message in its raw bytes, and the place it is for.

use crate::hosts::Host;
use http::header::HOST;
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use memchr::{memchr, memchr_iter};
use std::cell::Cell;

/// Reads along with hyper, byte for byte, where the lines of an HTTP/1 connection end and where its messages do.
///
/// hyper takes a bare LF for the end of a line, drops a fragment from the target, lets `Transfer-Encoding` win over a
/// `Content-Length` without a word, and merges doubled lengths that are equal. RFC 9112 allows a server most of that;
/// but a proxy in front that reads the same bytes otherwise sees other requests than we do (request smuggling), so all
/// of it is refused (RFC 9112 §11.2). It cannot be seen in the parsed request, hence this second reader: it knows lines,
/// the two fields that frame a body, and chunks, and leaves everything else to hyper. It only ever refuses: a mistake in
/// it turns a good request away, and cannot let a bad one in.
pub(super) struct Gate {
    state: State,
    /// The start of a line whose end has not arrived.
    carry: Vec<u8>,
    request_line: usize,
    length: Option<u64>,
    chunked: bool,
    heads: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Between,
    Fields,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Not HTTP/1, or refused already: nothing is looked at.
    Open,
}

/// Why bytes were refused, and which of them is the first to go.
#[derive(Debug, PartialEq)]
pub(super) struct Spoilt {
    pub(super) at: usize,
    pub(super) why: &'static str,
}

type Verdict = Result<(), &'static str>;

impl Gate {
    pub(super) fn new() -> Self {
        Self { state: State::Between, carry: Vec::new(), request_line: 0, length: None, chunked: false, heads: 0 }
    }

    /// From here on the bytes are not HTTP/1.
    pub(super) fn open(&mut self) {
        self.state = State::Open;
    }

    /// All that has arrived is whole messages.
    pub(super) fn is_between(&self) -> bool {
        self.state == State::Between && self.carry.is_empty()
    }

    /// Part of a head has arrived.
    pub(super) fn in_head(&self) -> bool {
        self.state == State::Fields || (self.state == State::Between && !self.carry.is_empty())
    }

    /// Of the last request line, so many bytes have arrived.
    pub(super) fn request_line(&self) -> usize {
        if self.state == State::Between && !self.carry.is_empty() { self.carry.len() } else { self.request_line }
    }

    /// More of a body is to come.
    pub(super) fn in_body(&self) -> bool {
        !matches!(self.state, State::Between | State::Fields | State::Open)
    }

    /// How many heads have arrived.
    pub(super) fn heads(&self) -> u32 {
        self.heads
    }

    /// Reads the bytes that came next.
    pub(super) fn see(&mut self, bytes: &[u8]) -> Result<(), Spoilt> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::Open => return Ok(()),
                State::Body(left) => at += self.skip(left, rest.len(), State::Body, State::Between),
                State::Chunk(left) => at += self.skip(left, rest.len(), State::Chunk, State::ChunkEnd),
                _ => at += self.lines(rest).map_err(|(end, why)| Spoilt { at: at + end, why })?,
            }
        }
        Ok(())
    }

    /// Reads lines as long as there are whole ones and no body begins; tells how many bytes that were, or which broke off.
    fn lines(&mut self, bytes: &[u8]) -> Result<usize, (usize, &'static str)> {
        let mut start = 0;
        // One search over all lines: a new one for each of these short pieces would cost as much as the lines do.
        for end in memchr_iter(b'\n', bytes) {
            if let Err(why) = self.whole_line(&bytes[start..end]) {
                self.state = State::Open;
                return Err((end, why));
            }
            start = end + 1;
            if matches!(self.state, State::Body(_) | State::Chunk(_)) {
                return Ok(start);
            }
        }
        self.carry.extend_from_slice(&bytes[start..]);
        Ok(bytes.len())
    }

    fn skip(&mut self, left: u64, here: usize, more: fn(u64) -> State, done: State) -> usize {
        let skipped = left.min(here as u64);
        self.state = if skipped == left { done } else { more(left - skipped) };
        skipped as usize // at most `here`
    }

    fn whole_line(&mut self, end: &[u8]) -> Verdict {
        if self.carry.is_empty() {
            return self.line(end);
        }
        let mut line = std::mem::take(&mut self.carry);
        line.extend_from_slice(end);
        let verdict = self.line(&line);
        line.clear();
        self.carry = line;
        verdict
    }

    fn line(&mut self, line: &[u8]) -> Verdict {
        let line = line.strip_suffix(b"\r").ok_or("a line ends in LF without CR")?;
        match self.state {
            // RFC 9112 §2.2: empty lines before a request are skipped.
            State::Between if line.is_empty() => Ok(()),
            State::Between => {
                // RFC 9112 §3.2: a target has no fragment. hyper would drop it; another may not.
                if memchr(b'#', line).is_some() {
                    return Err("the target has a fragment");
                }
                (self.request_line, self.length, self.chunked) = (line.len(), None, false);
                self.state = State::Fields;
                Ok(())
            }
            State::Fields if line.is_empty() => {
                self.heads = self.heads.wrapping_add(1);
                self.state = match self.length {
                    _ if self.chunked => State::ChunkSize,
                    Some(length) if length > 0 => State::Body(length),
                    _ => State::Between,
                };
                Ok(())
            }
            State::Fields => self.field(line),
            State::ChunkSize => {
                self.state = match chunk_size(line).ok_or("a chunk has no valid size")? {
                    0 => State::Trailers,
                    size => State::Chunk(size),
                };
                Ok(())
            }
            State::ChunkEnd if line.is_empty() => {
                self.state = State::ChunkSize;
                Ok(())
            }
            State::ChunkEnd => Err("a chunk is longer than its size"),
            State::Trailers => {
                if line.is_empty() {
                    self.state = State::Between;
                }
                Ok(())
            }
            State::Body(_) | State::Chunk(_) | State::Open => Ok(()),
        }
    }

    /// RFC 9112 §6.1 to §6.3, without the leniency that it allows.
    fn field(&mut self, line: &[u8]) -> Verdict {
        match line.first() {
            Some(b' ' | b'\t') => Err("a header line is folded"),
            Some(b'c' | b'C') => match value_of(line, b"content-length") {
                None => Ok(()),
                Some(_) if self.chunked => Err("both Transfer-Encoding and Content-Length"),
                Some(_) if self.length.is_some() => Err("two Content-Length fields"),
                Some(value) => {
                    self.length = Some(decimal(value).ok_or("Content-Length is not a number")?);
                    Ok(())
                }
            },
            Some(b't' | b'T') => match value_of(line, b"transfer-encoding") {
                None => Ok(()),
                Some(_) if self.chunked => Err("two Transfer-Encoding fields"),
                Some(_) if self.length.is_some() => Err("both Transfer-Encoding and Content-Length"),
                Some(value) if value.eq_ignore_ascii_case(b"chunked") => {
                    self.chunked = true;
                    Ok(())
                }
                Some(_) => Err("Transfer-Encoding is not just `chunked`"),
            },
            _ => Ok(()),
        }
    }
}

/// The value of the line, if the field has this name, in lower case. A space before the colon is left for hyper to refuse.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| trim(value))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Digits only: no sign, no list.
fn decimal(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// RFC 9112 §7.1: hexadecimal digits, then perhaps extensions, which nobody knows.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = memchr(b';', line).unwrap_or(line.len());
    let digits = trim(&line[..end]);
    let all = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit) && line[0] == digits[0];
    all.then(|| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).flatten()
}

/// A request that goes no further, and its answer.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

fn refused(status: StatusCode, why: &'static str) -> Result<(), Refusal> {
    Err(Refusal { status, why })
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;

/// The longest method: those registered with IANA have at most 17 letters.
const MAX_METHOD: usize = 32;

/// Checks for whom a request is, and brings it into one form: the target is a path with its query, the host stands in `Host`.
///
/// So nobody below has to know that HTTP/2 and requests to a proxy put the host elsewhere; and a client cannot claim
/// `https` by writing it into the target.
pub(super) fn check<B>(req: &mut http::Request<B>, known: &KnownHost) -> Result<(), Refusal> {
    if req.method().as_str().len() > MAX_METHOD {
        return refused(StatusCode::NOT_IMPLEMENTED, "the method is too long");
    }
    // RFC 9110 §9.3.6: only a proxy tunnels. There is no path that could lead to a route.
    if *req.method() == Method::CONNECT {
        return refused(StatusCode::NOT_IMPLEMENTED, "CONNECT is for proxies");
    }
    let mut hosts = req.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return refused(BAD, "two Host fields");
    }
    if host.is_some_and(|host| !known.is_host(host.as_bytes())) {
        return refused(BAD, "Host is no host");
    }
    if let Some(authority) = req.uri().authority() {
        if !matches!(req.uri().scheme_str(), Some("http" | "https")) {
            return refused(BAD, "the target is no path and no http URL");
        }
        let authority = authority.as_str().as_bytes();
        if !is_host(authority) {
            return refused(BAD, "the target's authority is no host");
        }
        // RFC 9113 §8.3.1. In HTTP/1.1 the target wins over Host: RFC 9112 §3.2.2.
        if req.version() == Version::HTTP_2 && host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority))
        {
            return refused(BAD, "Host differs from :authority");
        }
        let Ok(value) = HeaderValue::from_bytes(authority) else {
            return refused(BAD, "the target's authority is no host");
        };
        req.headers_mut().insert(HOST, value);
        *req.uri_mut() = match req.uri().path_and_query() {
            Some(target) if target.as_str().starts_with('/') => Uri::from(target.clone()),
            // `http://a?b` has an empty path, which is `/` (RFC 9110 §4.2.3).
            Some(target) => {
                target.to_string().parse().map_err(|_| Refusal { status: BAD, why: "the target is no path" })?
            }
            None => Uri::from_static("/"),
        };
    } else if host.is_none() && req.version() != Version::HTTP_10 {
        return refused(BAD, "no Host");
    }
    let target = req.uri().path_and_query().map_or("", |target| target.as_str());
    match target.as_bytes().first() {
        Some(b'/') if target.is_ascii() => Ok(()),
        // RFC 9112 §3.2.4
        Some(b'*') if target == "*" && *req.method() == Method::OPTIONS => Ok(()),
        _ => refused(BAD, "the target is no path"),
    }
}

/// The last host of a connection that was found to be one: most of its requests are for the same.
pub(super) struct KnownHost(Cell<(u8, [u8; 47])>);

impl KnownHost {
    pub(super) fn none() -> Self {
        Self(Cell::new((0, [0; 47])))
    }

    fn is_host(&self, host: &[u8]) -> bool {
        let (length, known) = self.0.get();
        if length > 0 && known[..usize::from(length)] == *host {
            return true;
        }
        let good = is_host(host);
        if let (true, Ok(length)) = (good && host.len() <= known.len(), u8::try_from(host.len())) {
            let mut new = known;
            new[..host.len()].copy_from_slice(host);
            self.0.set((length, new));
        }
        good
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), as everything below reads it: what passes here ends up in the links of pages and
/// mails, and what were no host to a layer would go past what that decides by hosts.
fn is_host(host: &[u8]) -> bool {
    std::str::from_utf8(host).is_ok_and(|host| Host::parse(host).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: &[u8], pieces: usize) -> (Option<&'static str>, State) {
        let mut gate = Gate::new();
        for piece in bytes.chunks(pieces) {
            if let Err(spoilt) = gate.see(piece) {
                return (Some(spoilt.why), gate.state);
            }
        }
        (None, gate.state)
    }

    #[test]
    fn the_raw_gate_knows_where_messages_end_however_they_are_cut() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n";
        let post = "POST / HTTP/1.1\r\nHost: a\r\n";
        let table: &[(String, Option<&str>, State)] = &[
            (format!("{get}\r\n"), None, State::Between),
            (format!("\r\n\r\n{get}\r\n{get}\r\n"), None, State::Between),
            (get.to_string(), None, State::Fields),
            (format!("{post}Content-Length: 3\r\n\r\nab"), None, State::Body(1)),
            (format!("{post}Content-Length: 3\r\n\r\nab\n"), None, State::Between),
            (format!("{post}content-length:\t3 \r\n\r\nabc{get}\r\n"), None, State::Between),
            (format!("{post}Content-Length: 0\r\n\r\n"), None, State::Between),
            (format!("{post}Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), None, State::Between),
            (
                format!("{post}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\na\nc\r\n0\r\nA: b\r\n\r\n"),
                None,
                State::Between,
            ),
            (format!("{post}Transfer-Encoding: chunked\r\n\r\n3 \r\nab"), None, State::Chunk(1)),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), Some("a line ends in LF without CR"), State::Open),
            (format!("{get}\n"), Some("a line ends in LF without CR"), State::Open),
            (format!("{get}X: a\n\r\n"), Some("a line ends in LF without CR"), State::Open),
            ("GET /#a HTTP/1.1\r\n".into(), Some("the target has a fragment"), State::Open),
            (format!("{get} X: a\r\n"), Some("a header line is folded"), State::Open),
            (format!("{post}Content-Length: +3\r\n"), Some("Content-Length is not a number"), State::Open),
            (format!("{post}Content-Length: 3, 3\r\n"), Some("Content-Length is not a number"), State::Open),
            (format!("{post}Content-Length: \r\n"), Some("Content-Length is not a number"), State::Open),
            (
                format!("{post}Content-Length: 18446744073709551616\r\n"),
                Some("Content-Length is not a number"),
                State::Open,
            ),
            (
                format!("{post}Content-Length: 3\r\ncontent-length: 3\r\n"),
                Some("two Content-Length fields"),
                State::Open,
            ),
            (
                format!("{post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
                Some("both Transfer-Encoding and Content-Length"),
                State::Open,
            ),
            (
                format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
                Some("both Transfer-Encoding and Content-Length"),
                State::Open,
            ),
            (
                format!("{post}Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
                Some("two Transfer-Encoding fields"),
                State::Open,
            ),
            (
                format!("{post}Transfer-Encoding: gzip, chunked\r\n"),
                Some("Transfer-Encoding is not just `chunked`"),
                State::Open,
            ),
            (
                format!("{post}Transfer-Encoding: chunked\r\n\r\n0x3\r\n"),
                Some("a chunk has no valid size"),
                State::Open,
            ),
            (format!("{post}Transfer-Encoding: chunked\r\n\r\n 3\r\n"), Some("a chunk has no valid size"), State::Open),
            (
                format!("{post}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n"),
                Some("a line ends in LF without CR"),
                State::Open,
            ),
            (
                format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n"),
                Some("a chunk is longer than its size"),
                State::Open,
            ),
        ];
        for (bytes, why, state) in table {
            for pieces in 1..=bytes.len() {
                assert_eq!(seen(bytes.as_bytes(), pieces), (*why, *state), "{bytes:?} in pieces of {pieces}");
            }
        }
    }

    #[test]
    fn a_host_that_is_known_is_that_one_and_no_other() {
        let long = "a".repeat(60);
        let known = KnownHost::none();
        for (host, good) in [
            ("", false),
            ("a.example", true),
            ("a.example", true),
            ("a.exampl", true),
            ("a.example/", false),
            ("a.example", true),
            ("a b", false),
            (long.as_str(), true),
            ("", false),
        ] {
            assert_eq!(known.is_host(host.as_bytes()), good, "{host}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in [
            "a",
            "example.com",
            "a_b.example",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:80",
            "a:",
            "xn--bcher-kva.example:65535",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "user@a",
            "a:b",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:80:80",
            "a/b",
            "[::1",
            "[::1]x",
            "[::g]",
            "::1",
            "a,b",
            "a%41",
            "a'",
            "\u{e4}",
            "a\\b",
            "[::1%25eth0]",
            "http://a",
            "a?b",
            "a#b",
            "a~b.example",
            "a..b",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
