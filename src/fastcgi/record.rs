//! The records of FastCGI 1.0, and how they are read and written.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// What a record is (§8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A request begins (§5.1).
    Begin,
    /// It is given up (§5.4).
    Abort,
    /// It is answered (§5.5).
    End,
    /// Its parameters (§5.2): a stream.
    Params,
    /// Its body (§5.3): a stream.
    Stdin,
    /// The answer (§5.3): a stream.
    Stdout,
    /// For the log (§5.3): a stream.
    Stderr,
    /// A second body, of filters (§5.3): a stream.
    Data,
    /// What the application can do is asked (§4.1).
    GetValues,
    /// It is told.
    GetValuesResult,
    /// A record of a type that the application does not know was sent (§4.2).
    UnknownType,
    /// Any other.
    Other(u8),
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Begin,
        Self::Abort,
        Self::End,
        Self::Params,
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::Data,
        Self::GetValues,
        Self::GetValuesResult,
        Self::UnknownType,
    ];

    fn of(number: u8) -> Self {
        let known = usize::from(number).checked_sub(1).and_then(|at| Self::ALL.get(at));
        known.copied().unwrap_or(Self::Other(number))
    }

    fn number(self) -> u8 {
        match self {
            Self::Other(number) => number,
            known => Self::ALL.iter().position(|kind| *kind == known).map_or(0, |at| at as u8 + 1),
        }
    }
}

/// One record, without its padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: Kind,
    /// The request that it belongs to; 0 for the connection itself.
    pub request: u16,
    /// At most 65535 bytes. An empty one ends a stream.
    pub content: Bytes,
}

/// The version in each record (§8).
const VERSION: u8 = 1;

/// The bytes before the content.
const HEADER: usize = 8;

/// The most that one record holds, in eights: no padding is needed then.
pub(super) const MAX_CONTENT: usize = 0xfff8;

/// Reads records as they arrive, in pieces of any size. It holds 65798 bytes at most, those of one record.
///
/// ```
/// use purlin::fastcgi::{Decoder, Kind};
///
/// let mut decoder = Decoder::new();
/// decoder.feed(b"\x01\x06\x00\x01\x00\x05\x03\x00hel");
/// assert_eq!(decoder.record().unwrap(), None);
/// decoder.feed(b"lo\0\0\0");
/// let record = decoder.record().unwrap().unwrap();
/// assert_eq!((record.kind, record.content.as_ref()), (Kind::Stdout, &b"hello"[..]));
/// ```
#[derive(Debug, Default)]
pub struct Decoder(BytesMut);

impl Decoder {
    /// At the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Where what arrives is put, without a copy.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// The next record, if all of it is there.
    ///
    /// # Errors
    ///
    /// Another version: whatever is at the other end, it speaks no FastCGI 1.0. Nothing can be read after that.
    pub fn record(&mut self) -> Result<Option<Record>, RecordError> {
        if let Some(version) = self.0.first().filter(|version| **version != VERSION) {
            let found = String::from_utf8_lossy(&self.0[..self.0.len().min(40)]).into_owned();
            return Err(RecordError { version: *version, found });
        }
        let Some(header) = self.0.get(..HEADER) else { return Ok(None) };
        let kind = Kind::of(header[1]);
        let request = u16::from_be_bytes([header[2], header[3]]);
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let padding = usize::from(header[6]);
        if self.0.len() < HEADER + length + padding {
            self.0.reserve(HEADER + length + padding - self.0.len());
            return Ok(None);
        }
        self.0.advance(HEADER);
        let content = self.0.split_to(length).freeze();
        self.0.advance(padding);
        Ok(Some(Record { kind, request, content }))
    }
}

/// What arrived is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    version: u8,
    found: String,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a record of FastCGI, version 1, found version {} in {:?}", self.version, self.found)
    }
}

impl std::error::Error for RecordError {}

/// Writes a record; the content is at most 65535 bytes, and what is more is left out. Padded to eights (§3.3).
pub fn put_record(to: &mut BytesMut, kind: Kind, request: u16, content: &[u8]) {
    let content = &content[..content.len().min(usize::from(u16::MAX))];
    let padding = (8 - content.len() % 8) % 8;
    to.reserve(HEADER + content.len() + padding);
    to.put_u8(VERSION);
    to.put_u8(kind.number());
    to.put_u16(request);
    to.put_u16(content.len() as u16);
    to.put_u8(padding as u8);
    to.put_u8(0);
    to.put_slice(content);
    to.put_bytes(0, padding);
}

/// Writes bytes of a stream, in as many records as that takes: in none, for none, which would end it.
pub fn put_stream(to: &mut BytesMut, kind: Kind, request: u16, content: &[u8]) {
    for piece in content.chunks(MAX_CONTENT) {
        put_record(to, kind, request, piece);
    }
}

/// Writes a pair of a name and its value (§3.4).
pub fn put_pair(to: &mut BytesMut, name: &[u8], value: &[u8]) {
    for length in [name.len(), value.len()] {
        match length {
            0..=127 => to.put_u8(length as u8),
            // Nobody has two gigabytes of one.
            _ => to.put_u32(length as u32 | 1 << 31),
        }
    }
    to.put_slice(name);
    to.put_slice(value);
}

/// Reads all pairs of a whole stream; `None` where one is not whole.
pub fn pairs(mut from: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut pairs = Vec::new();
    while !from.is_empty() {
        let name = pair_length(&mut from)?;
        let value = pair_length(&mut from)?;
        let (name, rest) = from.split_at_checked(name)?;
        let (value, rest) = rest.split_at_checked(value)?;
        pairs.push((name, value));
        from = rest;
    }
    Some(pairs)
}

fn pair_length(from: &mut &[u8]) -> Option<usize> {
    match from.first()? {
        short @ 0..=127 => {
            *from = &from[1..];
            Some(usize::from(*short))
        }
        _ => {
            let (length, rest) = from.split_first_chunk::<4>()?;
            *from = rest;
            usize::try_from(u32::from_be_bytes(*length) & !(1 << 31)).ok()
        }
    }
}

/// How a request ended (§5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The exit status that the program would have had by CGI.
    pub app: u32,
    /// What became of the request.
    pub protocol: Protocol,
}

/// What became of a request, for FastCGI itself (§5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// It was answered.
    Complete,
    /// A second one on the same connection is not taken.
    CannotMultiplex,
    /// There is no room for it now.
    Overloaded,
    /// The application is no responder.
    UnknownRole,
    /// Any other.
    Other(u8),
}

impl End {
    /// Reads the content of a record `End`; `None` for one that is too short.
    pub fn read(content: &[u8]) -> Option<Self> {
        let (app, rest) = content.split_first_chunk::<4>()?;
        let protocol = match rest.first()? {
            0 => Protocol::Complete,
            1 => Protocol::CannotMultiplex,
            2 => Protocol::Overloaded,
            3 => Protocol::UnknownRole,
            other => Protocol::Other(*other),
        };
        Some(Self { app: u32::from_be_bytes(*app), protocol })
    }
}

/// The content of a record `Begin`: of a responder, whose connection is kept or not (§5.1).
pub(super) fn begin(keep: bool) -> [u8; 8] {
    [0, 1, u8::from(keep), 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_in_pieces_of_every_size() {
        let mut bytes = BytesMut::new();
        put_record(&mut bytes, Kind::Begin, 1, &begin(true));
        put_stream(&mut bytes, Kind::Stdin, 1, &vec![b'x'; MAX_CONTENT + 3]);
        put_record(&mut bytes, Kind::Stdin, 1, b"");
        put_record(&mut bytes, Kind::Other(77), 0, b"abc");
        let expected = [
            (Kind::Begin, 1, 8),
            (Kind::Stdin, 1, MAX_CONTENT),
            (Kind::Stdin, 1, 3),
            (Kind::Stdin, 1, 0),
            (Kind::Other(77), 0, 3),
        ];
        for size in [1, 7, 8, 9, 1000, bytes.len()] {
            let mut decoder = Decoder::new();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.feed(piece);
                while let Some(record) = decoder.record().unwrap() {
                    found.push((record.kind, record.request, record.content.len()));
                }
            }
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn records_are_those_of_the_specification() {
        let table: [(&[u8], Kind, u16, &[u8]); 4] = [
            (
                b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00",
                Kind::Begin,
                1,
                b"\0\x01\x01\0\0\0\0\0",
            ),
            (b"\x01\x04\x01\x02\x00\x00\x00\x00", Kind::Params, 258, b""),
            (b"\x01\x06\x00\x01\x00\x03\x05\x00abc\0\0\0\0\0", Kind::Stdout, 1, b"abc"),
            (b"\x01\x0b\x00\x00\x00\x08\x00\x00\x4d\0\0\0\0\0\0\0", Kind::UnknownType, 0, b"\x4d\0\0\0\0\0\0\0"),
        ];
        for (bytes, kind, request, content) in table {
            let mut written = BytesMut::new();
            put_record(&mut written, kind, request, content);
            assert_eq!(written, bytes);
            let mut decoder = Decoder::new();
            decoder.feed(bytes);
            let record = decoder.record().unwrap().unwrap();
            assert_eq!((record.kind, record.request, record.content.as_ref()), (kind, request, content));
        }
        for number in 0..=255 {
            assert_eq!(Kind::of(number).number(), number);
        }
    }

    #[test]
    fn what_speaks_another_language_is_told() {
        for (bytes, expected) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "found version 72 in \"HTTP/1.1 400 Bad Request\\r\\n\""),
            (b"\x02", "found version 2"),
            (b"\0", "found version 0"),
        ] {
            let mut decoder = Decoder::new();
            decoder.feed(bytes);
            assert!(decoder.record().unwrap_err().to_string().contains(expected));
        }
    }

    #[test]
    fn pairs_have_lengths_of_one_byte_or_four() {
        let long = vec![b'v'; 128];
        let longer = vec![b'w'; 70_000];
        let all: [(&[u8], &[u8]); 5] =
            [(b"A", b"b"), (b"EMPTY", b""), (b"", b""), (b"LONG", &long), (&longer[..127], &longer)];
        let mut bytes = BytesMut::new();
        for (name, value) in all {
            put_pair(&mut bytes, name, value);
        }
        assert_eq!(bytes[..4], *b"\x01\x01Ab");
        assert_eq!(pairs(&bytes).unwrap(), all);
        for cut in [1, 3, 10, 20, bytes.len() - 1] {
            assert!(pairs(&bytes[..cut]).is_none_or(|some| some.len() < 5), "{cut}");
        }
        assert_eq!(pairs(b"\x80\x00\x00\x01\x00a").unwrap(), [(&b"a"[..], &b""[..])]);
        assert_eq!(pairs(b"\xff\xff\xff\xff\x00a"), None);
    }

    #[test]
    fn an_end_has_two_statuses() {
        assert_eq!(End::read(b"\0\0\x01\0\0\0\0\0"), Some(End { app: 256, protocol: Protocol::Complete }));
        assert_eq!(End::read(b"\0\0\0\0\x02\0\0\0"), Some(End { app: 0, protocol: Protocol::Overloaded }));
        assert_eq!(End::read(b"\0\0\0\0"), None);
    }
}
