//! The head of a program's answer (RFC 3875 §6).

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::fmt;

/// What a program answers, before the body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Head {
    /// Of `Status` (§6.3.3); without it 200, or 302 where there is a `Location`.
    pub status: StatusCode,
    /// The other fields, without those of the connection and those for the server alone (`X-CGI-`, §6.3.5).
    pub headers: HeaderMap,
    /// The path of a local redirect (§6.2.2): the server is to answer what it answers there. `Location` is not among the headers
    /// then.
    pub local: Option<String>,
    /// The length that the program announces for its body.
    pub length: Option<u64>,
}

/// Reads a program's head as it arrives, in pieces of any size.
///
/// Lines end in LF or CRLF, the head in an empty one. At least one of `Content-Type`, `Location` and `Status` has to be there, and
/// each at most once (§6.3). A `Location` that begins with one slash, without a `Status`, is a local redirect (§6.2.2); any other
/// one is for the client (§6.2.3, §6.2.4).
///
/// Declined: answers that begin with `HTTP/1.1`, of programs that write the whole answer ("non-parsed header", §5), folded lines, a
/// status that is none of a final answer. Bounds: 16 KiB a line, 64 KiB and 256 lines in all.
///
/// ```
/// use purlin::cgi::HeadReader;
///
/// let mut reader = HeadReader::new();
/// assert!(reader.feed(b"Status: 201 Created\nContent-").unwrap().is_none());
/// let (head, body) = reader.feed(b"Type: text/plain\n\nhello").unwrap().unwrap();
/// assert_eq!(head.status, 201);
/// assert_eq!(head.headers["content-type"], "text/plain");
/// assert_eq!(body, "hello");
/// ```
#[derive(Debug, Default)]
pub struct HeadReader {
    buffer: BytesMut,
    /// How far no line ends.
    searched: usize,
    read: usize,
    lines: usize,
    status: Option<StatusCode>,
    location: Option<HeaderValue>,
    headers: HeaderMap,
}

const MAX_LINE: usize = 16 * 1024;
const MAX_HEAD: usize = 64 * 1024;
const MAX_LINES: usize = 256;

/// Why a program's answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// Nothing was written.
    Nothing,
    /// The output ended before the head did.
    Unfinished {
        /// What of the last line was there.
        found: String,
    },
    /// The program writes whole answers, with a status line (§5).
    NonParsed {
        /// The line.
        found: String,
    },
    /// A line that is no field.
    Line {
        /// Its number, from 1.
        number: usize,
        /// What was expected of it.
        expected: &'static str,
        /// The line.
        found: String,
    },
    /// A field that may be there once.
    Twice {
        /// Its name.
        field: &'static str,
    },
    /// None of the three fields, one of which has to be there.
    NoField,
    /// A body without its type.
    NoType,
    /// More than a line, or a head, may have.
    TooLarge {
        /// What is.
        what: &'static str,
        /// How it begins.
        found: String,
    },
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("expected a head, found no output"),
            Self::Unfinished { found } => {
                write!(f, "expected an empty line after the head, found the end of the output after {found}")
            }
            Self::NonParsed { found } => write!(
                f,
                "expected fields as `Content-Type: text/html`, found {found}: programs that write the status line themselves (nph) are not run"
            ),
            Self::Line { number, expected, found } => {
                write!(f, "expected {expected} in line {number} of the head, found {found}")
            }
            Self::Twice { field } => write!(f, "expected `{field}` once in the head, found it again"),
            Self::NoField => {
                f.write_str("expected `Content-Type`, `Location` or `Status` in the head, found none of them")
            }
            Self::NoType => f.write_str("expected `Content-Type` in the head, found a body without it"),
            Self::TooLarge { what, found } => {
                write!(f, "expected {what} in the head, found more, which begins {found}")
            }
        }
    }
}

impl std::error::Error for HeadError {}

impl HeadReader {
    /// At the beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was written next: the head and the beginning of the body, once the head is there. After that, and after an
    /// error, another reader is needed.
    ///
    /// # Errors
    ///
    /// What is no head.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<(Head, Bytes)>, HeadError> {
        self.buffer.extend_from_slice(bytes);
        while let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]).map(|at| self.searched + at) {
            let mut line = self.buffer.split_to(end + 1);
            self.searched = 0;
            self.read += line.len();
            line.truncate(end);
            if line.last() == Some(&b'\r') {
                line.truncate(end - 1);
            }
            if line.is_empty() && self.lines > 0 {
                let head = self.finish()?;
                return Ok(Some((head, self.buffer.split().freeze())));
            }
            self.line(&line)?;
        }
        self.searched = self.buffer.len();
        if self.searched > MAX_LINE {
            return Err(too_large("lines of at most 16 KiB", &self.buffer));
        }
        Ok(None)
    }

    /// What the end of the output means where the head is not there yet.
    pub fn end(&self) -> HeadError {
        if self.read == 0 && self.buffer.is_empty() {
            return HeadError::Nothing;
        }
        if self.lines == 0 && self.buffer.starts_with(b"HTTP/") {
            return HeadError::NonParsed { found: excerpt(&self.buffer) };
        }
        let found = if self.buffer.is_empty() { "a whole line".to_owned() } else { excerpt(&self.buffer) };
        HeadError::Unfinished { found }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), HeadError> {
        self.lines += 1;
        if line.len() > MAX_LINE {
            return Err(too_large("lines of at most 16 KiB", line));
        }
        if self.read > MAX_HEAD || self.lines > MAX_LINES {
            return Err(too_large("at most 64 KiB in 256 lines", line));
        }
        let number = self.lines;
        let wrong = |expected| HeadError::Line { number, expected, found: excerpt(line) };
        if number == 1 && line.starts_with(b"HTTP/") {
            return Err(HeadError::NonParsed { found: excerpt(line) });
        }
        if line.is_empty() {
            return Err(HeadError::NoField);
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(wrong("one line for each field"));
        }
        let colon = memchr::memchr(b':', line).ok_or_else(|| wrong("a field as `Content-Type: text/html`"))?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| wrong("the name of a field before the colon"))?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii())
            .map_err(|_| wrong("a value without control characters"))?;
        match name.as_str() {
            "status" => {
                let status = status(value.as_bytes()).ok_or_else(|| wrong("a status from 200 to 599 as `200 OK`"))?;
                once(&mut self.status, status, "Status")
            }
            "location" if value.is_empty() => Err(wrong("a path or an address")),
            "location" => once(&mut self.location, value, "Location"),
            "content-type" if self.headers.contains_key(CONTENT_TYPE) => {
                Err(HeadError::Twice { field: "Content-Type" })
            }
            "content-length" if self.headers.contains_key(CONTENT_LENGTH) => {
                Err(HeadError::Twice { field: "Content-Length" })
            }
            "content-length" if length(&value).is_none() => Err(wrong("a length in bytes")),
            _ if is_for_the_server(name.as_str()) => Ok(()),
            _ => {
                self.headers.try_append(name, value).map_err(|_| wrong("fewer fields"))?;
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<Head, HeadError> {
        let (status, location, mut headers) = (self.status, self.location.take(), std::mem::take(&mut self.headers));
        if status.is_none() && location.is_none() && !headers.contains_key(CONTENT_TYPE) {
            return Err(HeadError::NoField);
        }
        let path = |value: &HeaderValue| {
            let path = value.to_str().ok().filter(|path| path.starts_with('/'))?;
            Some(path.to_owned())
        };
        let local = location.as_ref().filter(|_| status.is_none()).and_then(path);
        if let Some(local) = &local
            && local.starts_with("//")
        {
            // Of another host for a browser, of this one for a program: it has to say which, by a status.
            let found = format!("{local:?}");
            return Err(HeadError::Line {
                number: self.lines,
                expected: "a path or an address with its scheme",
                found,
            });
        }
        let usual = if location.is_some() { StatusCode::FOUND } else { StatusCode::OK };
        if let (Some(location), None) = (location, &local) {
            headers.insert(LOCATION, location);
        }
        let length = headers.get(CONTENT_LENGTH).and_then(length);
        Ok(Head { status: status.unwrap_or(usual), headers, local, length })
    }
}

fn once<T>(field: &mut Option<T>, value: T, name: &'static str) -> Result<(), HeadError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::Twice { field: name }),
    }
}

/// `Status = "Status:" status-code SP reason-phrase`; the reason may be left out.
fn status(value: &[u8]) -> Option<StatusCode> {
    let (code, rest) = value.split_at_checked(3)?;
    let final_ = (b'2'..=b'5').contains(&code[0]) && (rest.is_empty() || rest[0] == b' ');
    StatusCode::from_bytes(code).ok().filter(|_| final_)
}

fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// What a program may not say: of the connection (§6.3.4), which is not its own, and `X-CGI-` (§6.3.5).
fn is_for_the_server(name: &str) -> bool {
    const CONNECTION: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ];
    name.starts_with("x-cgi-") || CONNECTION.contains(&name)
}

fn too_large(what: &'static str, found: &[u8]) -> HeadError {
    HeadError::TooLarge { what, found: excerpt(found) }
}

/// Up to 80 bytes of what was found, in quotes.
fn excerpt(bytes: &[u8]) -> String {
    let mut shown = bytes;
    shown = &shown[..shown.len().min(80)];
    let text = String::from_utf8_lossy(shown.chunk());
    format!("{text:?}{}", if bytes.len() > 80 { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head in one line, and the body; fed in pieces of every size.
    fn read(output: &str) -> Result<String, String> {
        let whole = read_in(output.as_bytes(), output.len().max(1));
        for size in 1..output.len().min(40) {
            assert_eq!(read_in(output.as_bytes(), size), whole, "{output:?} in pieces of {size}");
        }
        whole
    }

    fn read_in(output: &[u8], size: usize) -> Result<String, String> {
        let mut reader = HeadReader::new();
        let mut pieces = output.chunks(size);
        let (head, mut body) = loop {
            let Some(piece) = pieces.next() else { return Err(reader.end().to_string()) };
            match reader.feed(piece).map_err(|error| error.to_string())? {
                Some((head, body)) => break (head, body.to_vec()),
                None => continue,
            }
        };
        body.extend(pieces.flatten());
        let headers: Vec<String> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        let local = head.local.map(|local| format!(" to {local}")).unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        Ok(format!("{}{local} {} {body}", head.status.as_u16(), headers.join(" ")).trim_end().to_owned())
    }

    #[test]
    fn heads_are_read_as_the_rfc_has_them() {
        let table = [
            // §6.2.1: a document
            ("Content-Type: text/plain\n\nhello", "200 content-type=text/plain hello"),
            ("Content-Type: text/plain\r\n\r\nhello\r\n", "200 content-type=text/plain hello"),
            ("Content-Type: text/plain\r\n\nhello", "200 content-type=text/plain hello"),
            ("content-type:text/plain\n\n", "200 content-type=text/plain"),
            ("Content-Type:  a/b \t\nX-A:\n\n", "200 content-type=a/b x-a="),
            ("Status: 404 Not Found\nContent-Type: a/b\n\nx", "404 content-type=a/b x"),
            ("Status: 404\n\n", "404"),
            ("Status: 599 \n\n", "599"),
            (
                "Content-Type: a/b\nSet-Cookie: a=1\nSet-Cookie: b=2\n\n",
                "200 content-type=a/b set-cookie=a=1 set-cookie=b=2",
            ),
            ("Content-Type: a/b\nContent-Length: 5\n\nhello", "200 content-type=a/b content-length=5 hello"),
            ("Content-Type: a/b\n\n\n\n", "200 content-type=a/b"),
            // §6.2.2: a local redirect
            ("Location: /login?from=a\n\n", "302 to /login?from=a"),
            ("Location: /login\nSet-Cookie: a=1\n\n", "302 to /login set-cookie=a=1"),
            // §6.2.3, §6.2.4: a redirect for the client
            ("Location: https://example.org/#a\n\n", "302 location=https://example.org/#a"),
            ("Location: /a\nStatus: 303 See Other\n\n", "303 location=/a"),
            ("Status: 302 Found\nLocation: //example.org/a\n\n", "302 location=//example.org/a"),
            ("Status: 201 Created\nLocation: /a\nContent-Type: a/b\n\nx", "201 content-type=a/b location=/a x"),
            ("Location: next.html\n\n", "302 location=next.html"),
            // Not for it to say
            (
                "Content-Type: a/b\nConnection: close\nTransfer-Encoding: chunked\nTrailer: x\nX-CGI-Debug: 1\nX-A: b\n\n",
                "200 content-type=a/b x-a=b",
            ),
        ];
        for (output, expected) in table {
            assert_eq!(read(output).as_deref(), Ok(expected), "{output:?}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused_with_what_was_found() {
        let long = "x".repeat(MAX_LINE + 1);
        let endless = "X-A: b\n".repeat(300);
        let wide = format!("X-A: {}\n", "b".repeat(8000)).repeat(9);
        let table: &[(&str, &str)] = &[
            ("", "expected a head, found no output"),
            ("\n", "expected `Content-Type`, `Location` or `Status` in the head, found none of them"),
            ("\r\n\r\nhello", "expected `Content-Type`, `Location` or `Status` in the head, found none of them"),
            ("X-A: b\n\nhello", "expected `Content-Type`, `Location` or `Status` in the head, found none of them"),
            ("Content-Type: a/b", "found the end of the output after \"Content-Type: a/b\""),
            ("Content-Type: a/b\n", "found the end of the output after a whole line"),
            ("<html>\n\n", "expected a field as `Content-Type: text/html` in line 1 of the head, found \"<html>\""),
            ("Content-Type: a/b\n<html>\n\n", "in line 2 of the head, found \"<html>\""),
            (
                "HTTP/1.1 200 OK\nContent-Type: a/b\n\n",
                "found \"HTTP/1.1 200 OK\": programs that write the status line",
            ),
            ("HTTP/1.0 200 OK", "(nph) are not run"),
            ("Content Type: a/b\n\n", "expected the name of a field before the colon in line 1"),
            ("Content-Type : a/b\n\n", "expected the name of a field before the colon"),
            (": a\n\n", "expected the name of a field before the colon"),
            ("Content-Type: a/b\n c/d\n\n", "expected one line for each field in line 2"),
            ("Content-Type: a\rb\n\n", "expected a value without control characters"),
            ("Content-Type: a\0b\n\n", "expected a value without control characters"),
            ("Status: OK\n\n", "expected a status from 200 to 599"),
            ("Status: 100 Continue\n\n", "expected a status from 200 to 599"),
            ("Status: 101 Switching Protocols\n\n", "expected a status from 200 to 599"),
            ("Status: 600\n\n", "expected a status from 200 to 599"),
            ("Status: 2000\n\n", "expected a status from 200 to 599"),
            ("Status: 20\n\n", "expected a status from 200 to 599"),
            ("Status: 200\nStatus: 200\n\n", "expected `Status` once in the head, found it again"),
            ("Location: /a\nLocation: /b\n\n", "expected `Location` once"),
            ("Content-Type: a/b\nContent-Type: a/b\n\n", "expected `Content-Type` once"),
            ("Content-Length: 1\nContent-Length: 1\n\n", "expected `Content-Length` once"),
            ("Content-Length: -1\n\n", "expected a length in bytes"),
            ("Content-Length: 99999999999999999999\n\n", "expected a length in bytes"),
            ("Location: \n\n", "expected a path or an address"),
            ("Location: //example.org/\n\n", "expected a path or an address with its scheme"),
            (&long, "expected lines of at most 16 KiB in the head, found more, which begins \"xxxx"),
            (&endless, "expected at most 64 KiB in 256 lines"),
            (&wide, "expected at most 64 KiB in 256 lines"),
        ];
        for (output, expected) in table {
            let error = if output.len() > 1000 { read_in(output.as_bytes(), 4096) } else { read(output) }.unwrap_err();
            assert!(error.contains(expected), "{output:.80?}: {error}");
        }
    }
}
