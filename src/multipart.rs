//! Where the parts of a `multipart/form-data` body begin and end, and what their heads say (RFC 7578, RFC 2046 §5.1).
//!
//! Fed piece by piece, it gives out slices of the pieces: content is not copied, and what is held back is the beginning of
//! what may be a delimiter (73 bytes at most) or the head of one part, which has a limit. So memory is bounded by the largest
//! piece, however the body is cut up and however long it is.

use crate::error::bytes_in_words;
use crate::{Error, Result};
use bytes::{Buf, Bytes};
use http::StatusCode;
use memchr::memmem::Finder;
use std::borrow::Cow;

/// The parts of one body, as they come.
pub(crate) struct Framing {
    /// CR LF, two dashes, and the boundary.
    delimiter: Finder<'static>,
    max_head: usize,
    state: State,
    /// What came last and was not looked at yet.
    piece: Bytes,
    /// The beginning of a delimiter, or of a head.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Before the first delimiter, with so many bytes of it seen.
    Preamble(usize),
    /// After a delimiter: the rest of its line, and the head of a part; or two dashes.
    Head,
    Content,
    /// After the last delimiter.
    Epilogue,
}

/// What comes next in a body.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// A part begins.
    Part(Head),
    /// Some of its content, never empty.
    Content(Bytes),
    /// The part ends.
    PartEnd,
    /// Nothing before another piece is pushed.
    Starved,
}

enum Scanned {
    Bytes(Bytes),
    Delimiter,
    Starved,
}

impl Framing {
    /// `boundary` is one that [`boundary`] has found; the head of a part may have `max_head` bytes.
    pub(crate) fn new(boundary: &str, max_head: usize) -> Self {
        let delimiter = format!("\r\n--{boundary}");
        Self {
            delimiter: Finder::new(delimiter.as_bytes()).into_owned(),
            max_head,
            state: State::Preamble(0),
            piece: Bytes::new(),
            // The first delimiter may stand at the very beginning, as if a line had ended before it.
            held: b"\r\n".to_vec(),
        }
    }

    /// Takes the next piece, after [`Event::Starved`].
    pub(crate) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece is pushed when the last is used up");
        self.piece = piece;
    }

    /// The next event.
    ///
    /// # Errors
    ///
    /// 400 for what is no form, 413 for a head over the limit, 415 for what RFC 7578 has left behind.
    pub(crate) fn next(&mut self) -> Result<Event> {
        loop {
            match self.state {
                State::Preamble(seen) => match self.scan() {
                    Scanned::Bytes(bytes) => {
                        let seen = seen + bytes.len();
                        if seen > self.max_head {
                            let limit = bytes_in_words(self.max_head as u64);
                            return Err(malformed(format!("its boundary is not in the first {limit}")));
                        }
                        self.state = State::Preamble(seen);
                    }
                    Scanned::Delimiter => self.state = State::Head,
                    Scanned::Starved => return Ok(Event::Starved),
                },
                State::Head => return self.head(),
                State::Content => match self.scan() {
                    Scanned::Bytes(bytes) => return Ok(Event::Content(bytes)),
                    Scanned::Delimiter => {
                        self.state = State::Head;
                        return Ok(Event::PartEnd);
                    }
                    Scanned::Starved => return Ok(Event::Starved),
                },
                State::Epilogue => {
                    self.piece.clear();
                    return Ok(Event::Starved);
                }
            }
        }
    }

    /// Says whether the body may end here, which is after its last delimiter.
    ///
    /// # Errors
    ///
    /// 400 where something is missing.
    pub(crate) fn end(&self) -> Result<()> {
        let missing = match self.state {
            State::Epilogue => return Ok(()),
            State::Preamble(0) if self.held == b"\r\n" => "it is empty",
            State::Preamble(_) => "its boundary is not in it",
            State::Head => "it ends in the head of a part",
            State::Content => "it ends in the middle of a part, without its last boundary",
        };
        Err(malformed(missing.to_owned()))
    }

    /// What comes before the next delimiter.
    fn scan(&mut self) -> Scanned {
        let delimiter = self.delimiter.needle();
        if !self.held.is_empty() {
            let wanted = &delimiter[self.held.len()..];
            let length = wanted.len().min(self.piece.len());
            if self.piece[..length] != wanted[..length] {
                // A delimiter has a CR at its beginning only: in what was held, none begins further on.
                return Scanned::Bytes(std::mem::take(&mut self.held).into());
            }
            if length < wanted.len() {
                self.held.extend_from_slice(&self.piece.split_to(length));
                return Scanned::Starved;
            }
            self.held.clear();
            self.piece.advance(length);
            return Scanned::Delimiter;
        }
        match self.delimiter.find(&self.piece) {
            Some(0) => {
                self.piece.advance(delimiter.len());
                return Scanned::Delimiter;
            }
            Some(at) => return Scanned::Bytes(self.piece.split_to(at)),
            None => {}
        }
        let tail = self.piece.len().saturating_sub(delimiter.len() - 1);
        if let Some(at) = memchr::memrchr(b'\r', &self.piece[tail..])
            && delimiter.starts_with(&self.piece[tail + at..])
        {
            self.held.extend_from_slice(&self.piece.split_off(tail + at));
        }
        match self.piece.is_empty() {
            true => Scanned::Starved,
            false => Scanned::Bytes(std::mem::take(&mut self.piece)),
        }
    }

    fn head(&mut self) -> Result<Event> {
        let before = self.held.len();
        let length = self.piece.len().min(self.max_head.saturating_sub(before));
        self.held.extend_from_slice(&self.piece[..length]);
        if self.held.starts_with(b"--") {
            self.held.clear();
            self.piece.clear();
            self.state = State::Epilogue;
            return Ok(Event::Starved);
        }
        // The end may lie across two pieces.
        let from = before.saturating_sub(END_OF_HEAD.len() - 1);
        let Some(at) = memchr::memmem::find(&self.held[from..], END_OF_HEAD) else {
            if self.held.len() >= self.max_head {
                let limit = bytes_in_words(self.max_head as u64);
                return Err(too_large(
                    format!("the head of a part is larger than {limit} (setting `uploads.max_header_bytes`)"),
                    format!("A part of the form has headers of more than {limit}."),
                ));
            }
            self.piece.advance(length);
            return Ok(Event::Starved);
        };
        let end = from + at;
        self.piece.advance(end + END_OF_HEAD.len() - before);
        let head = Head::parse(&self.held[..end]);
        self.held.clear();
        self.state = State::Content;
        head.map(Event::Part)
    }
}

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// What the head of a part says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Head {
    pub(crate) name: String,
    /// As it was sent.
    pub(crate) file_name: Option<String>,
    /// As it was sent.
    pub(crate) content_type: Option<String>,
}

impl Head {
    /// Reads what stands between a delimiter and the content, both line ends not included.
    fn parse(head: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(head)
            .map_err(|error| malformed(format!("the head of a part is not UTF-8 at byte {}", error.valid_up_to())))?;
        // White space after the boundary is there to be skipped (RFC 2046 §5.1.1).
        let Some(lines) = text.trim_start_matches([' ', '\t']).strip_prefix("\r\n") else {
            return Err(match text.trim_matches([' ', '\t']).is_empty() {
                true => malformed("a part has no headers".to_owned()),
                false => malformed(format!("expected the end of a line after a boundary, found {}", shown(text))),
            });
        };
        let [mut disposition, mut content_type, mut encoding] = [None; 3];
        for line in lines.split("\r\n") {
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(malformed(format!("expected a header of a part, found {}", shown(line))));
            }
            let value = value.trim_matches([' ', '\t']);
            if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                return Err(malformed(format!("the header {name} of a part has a control character")));
            }
            let header = match name.to_ascii_lowercase().as_str() {
                "content-disposition" => &mut disposition,
                "content-type" => &mut content_type,
                "content-transfer-encoding" => &mut encoding,
                // Others say nothing here (RFC 7578 §4.8).
                _ => continue,
            };
            if header.replace(value).is_some() {
                return Err(malformed(format!("expected the header {name} of a part once, found it again")));
            }
        }
        let Some(disposition) = disposition else {
            return Err(malformed("a part has no Content-Disposition".to_owned()));
        };
        let (name, file_name) = disposed(disposition)?;
        if let Some(encoding) = encoding
            && !["7bit", "8bit", "binary"].iter().any(|plain| plain.eq_ignore_ascii_case(encoding))
        {
            // Deprecated by RFC 7578 §4.7. Kept as it is, the content would be another than was meant.
            let message = format!("the part {} is encoded as {}, expected it as it is", shown(&name), shown(encoding));
            return Err(unsupported(message));
        }
        if file_name.is_none() && content_type.is_some_and(is_multipart) {
            // Deprecated by RFC 7578 §4.3: several files have several parts of one name.
            return Err(unsupported(format!("the part {} has parts of its own", shown(&name))));
        }
        Ok(Self { name, file_name, content_type: content_type.map(str::to_owned) })
    }
}

/// The name and the file name of `form-data; name="photo"; filename="cat.png"` (RFC 7578 §4.2).
fn disposed(text: &str) -> Result<(String, Option<String>)> {
    let (kind, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    if !kind.trim_matches([' ', '\t']).eq_ignore_ascii_case("form-data") {
        return Err(malformed(format!("expected the Content-Disposition form-data, found {}", shown(text))));
    }
    let [mut name, mut file_name, mut extended] = [const { None }; 3];
    for parameter in Parameters(rest) {
        let (key, value) = parameter.map_err(|()| {
            malformed(format!("expected a Content-Disposition with parameters, found {}", shown(text)))
        })?;
        let place = match key.to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut file_name,
            "filename*" => &mut extended,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(malformed(format!("expected the parameter {key} of a part once, found it again")));
        }
    }
    let Some(name) = name else {
        return Err(malformed(format!("expected the name of a part, found {}", shown(text))));
    };
    if file_name.is_none() && extended.is_some() {
        // RFC 7578 §4.2 forbids RFC 5987's form. Beside `filename`, as .NET sends it, it is left aside; alone, it would
        // make a field of what is meant as a file.
        return Err(malformed(format!("the part {} has a `filename*` and no `filename`", shown(&name))));
    }
    Ok((unescaped(&name), file_name.map(|name| unescaped(&name))))
}

/// What browsers escape in names, and nothing else (HTML §4.10.21.8).
fn unescaped(name: &str) -> String {
    match name.contains('%') {
        true => name.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n"),
        false => name.to_owned(),
    }
}

/// The boundary in a `Content-Type: multipart/form-data`.
///
/// # Errors
///
/// 400 where there is none, or one that RFC 2046 §5.1.1 does not allow.
pub(crate) fn boundary(content_type: &str) -> Result<String> {
    let rest = &content_type[content_type.find(';').unwrap_or(content_type.len())..];
    let mut boundary = None;
    for parameter in Parameters(rest) {
        let (key, value) = parameter.map_err(|()| {
            malformed(format!("expected a Content-Type with parameters, found {}", shown(content_type)))
        })?;
        if key.eq_ignore_ascii_case("boundary") && boundary.replace(value).is_some() {
            return Err(malformed("its Content-Type has two boundaries".to_owned()));
        }
    }
    let Some(boundary) = boundary else {
        return Err(malformed("its Content-Type has no boundary".to_owned()));
    };
    if !(1..=MAX_BOUNDARY).contains(&boundary.len()) {
        let found = boundary.len();
        return Err(malformed(format!("expected a boundary of 1 to {MAX_BOUNDARY} characters, found {found}")));
    }
    // More than the RFC's letters, digits and `'()+_,-./:=?`, because some clients take others; no controls, on which the
    // search for delimiters relies, and no space at its end, which cannot be told from what may follow it.
    if boundary.bytes().any(|byte| !matches!(byte, b' '..=b'~')) || boundary.ends_with(' ') {
        return Err(malformed(format!("expected a boundary of visible ASCII, found {}", shown(&boundary))));
    }
    Ok(boundary.into_owned())
}

const MAX_BOUNDARY: usize = 70;

/// The charset that a `Content-Type` names.
pub(crate) fn charset(content_type: &str) -> Option<Cow<'_, str>> {
    let rest = &content_type[content_type.find(';')?..];
    let mut parameters = Parameters(rest).map_while(std::result::Result::ok);
    parameters.find(|(key, _)| key.eq_ignore_ascii_case("charset")).map(|(_, value)| value)
}

fn is_multipart(content_type: &str) -> bool {
    content_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// Parameters after a header's value: `; name="a b"; size=3` (RFC 2045 §5.1).
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = std::result::Result<(&'a str, Cow<'a, str>), ()>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = std::mem::take(&mut self.0).trim_start_matches([' ', '\t', ';']);
        if text.is_empty() {
            return None;
        }
        let Some((key, value)) = text.split_once('=') else {
            return Some(Err(()));
        };
        let (key, value) = (key.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
        if key.is_empty() || !key.bytes().all(is_token) {
            return Some(Err(()));
        }
        let (value, rest) = match value.strip_prefix('"') {
            Some(quoted) => match unquoted(quoted) {
                Some((value, rest)) => (value, rest.trim_start_matches([' ', '\t'])),
                None => return Some(Err(())),
            },
            None => {
                let (value, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
                (Cow::Borrowed(value.trim_end_matches([' ', '\t'])), rest)
            }
        };
        if !rest.is_empty() && !rest.starts_with(';') {
            return Some(Err(()));
        }
        self.0 = rest;
        Some(Ok((key, value)))
    }
}

/// The text up to its closing quote, and what comes after that.
///
/// A backslash escapes a quote or another backslash, as curl and Python write them; before anything else it is itself, as in
/// the paths of old browsers.
fn unquoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let (mut end, mut escapes) = (0, false);
    loop {
        match text.as_bytes()[end..] {
            [b'"', ..] => break,
            [b'\\', b'"' | b'\\', ..] => (end, escapes) = (end + 2, true),
            [_, ..] => end += 1,
            [] => return None,
        }
    }
    let (value, rest) = (&text[..end], &text[end + 1..]);
    if !escapes {
        return Some((Cow::Borrowed(value), rest));
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next_if(|next| matches!(next, '"' | '\\')) } else { None };
        plain.push(escaped.unwrap_or(c));
    }
    Some((Cow::Owned(plain), rest))
}

/// RFC 9110 §5.6.2
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A text for a message, which must not grow with what was sent.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[track_caller]
pub(crate) fn malformed(message: String) -> Error {
    let public = format!("The form cannot be read: {message}.");
    Error::bad_request(format!("the form cannot be read: {message}")).public(public)
}

#[track_caller]
pub(crate) fn unsupported(message: String) -> Error {
    let public = format!("The form cannot be read: {message}.");
    Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the form cannot be read: {message}")).public(public)
}

#[track_caller]
pub(crate) fn too_large(message: String, public: String) -> Error {
    Error::new(StatusCode::PAYLOAD_TOO_LARGE, message).public(public)
}
