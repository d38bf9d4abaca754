//! One request over TCP, as HTTP/1.1 (RFC 9112): enough to test a listening server.

use crate::{Body, Context as _, Error, Request, Response, Result};
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::{Frame, SizeHint};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;

/// The longest head of an answer that is read.
const MAX_HEAD: usize = 256 * 1024;

/// How many trailers are kept.
const MAX_TRAILERS: usize = 100;

/// Sends a request on a connection of its own and returns the answer's head, its body still arriving.
///
/// # Errors
///
/// No connection, one that ends early, or an answer that is no HTTP/1.1.
pub(super) async fn send(address: &str, req: Request) -> Result<Response> {
    let (head, incoming) = open(address, req).await?;
    Ok(head.map(|()| Body::new(incoming)))
}

/// Sends a request on a connection of its own, and returns the head of its answer, the connection, and what came behind the head.
///
/// # Errors
///
/// Those of [`send`].
#[cfg(feature = "websocket")]
pub(super) async fn upgrade(address: &str, req: Request) -> Result<(http::Response<()>, TcpStream, BytesMut)> {
    let (head, incoming) = open(address, req).await?;
    Ok((head, incoming.stream, incoming.buffer))
}

/// An answer as it came, to the end of its connection.
pub(super) struct Whole {
    /// Its body as far as it was read.
    pub(super) response: Response,
    /// What came behind the last of its chunks.
    pub(super) trailers: Option<HeaderMap>,
    /// Why its body broke off.
    pub(super) broken: Option<Error>,
    /// How many bytes came behind it.
    pub(super) behind: u64,
    /// Whether its body went on when it was left.
    pub(super) goes_on: bool,
}

/// How far an answer is read.
pub(super) struct Patience {
    /// How many bytes of a body are read.
    pub(super) bytes: usize,
    /// How long the head may take, and a body that says how long it is.
    pub(super) answer: Duration,
    /// How long a body is read that does not say it: it may have no end.
    pub(super) body: Duration,
    /// For how long something may come behind the answer.
    pub(super) behind: Duration,
}

/// Sends a request and reads the answer to its end, or as far as the patience goes, and whatever comes behind.
///
/// # Errors
///
/// Those of [`send`], and a head that does not come in time.
pub(super) async fn exchange(address: &str, req: Request, patience: &Patience) -> Result<Whole> {
    let head = tokio::time::timeout(patience.answer, open(address, req)).await;
    let late = || Error::internal(format!("expected an answer within {:?}, found none", patience.answer));
    let (head, mut incoming) = head.map_err(|_| late())??;
    let (mut body, mut broken, mut trailers) = (BytesMut::new(), None, None);
    let reading = async {
        while body.len() < patience.bytes {
            match poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut incoming), cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => body.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    broken = Some(error);
                    break;
                }
                None => break,
            }
        }
    };
    let told = head.headers().contains_key(CONTENT_LENGTH);
    let longest = if told { patience.answer } else { patience.body };
    let goes_on = tokio::time::timeout(longest, reading).await.is_err();
    if goes_on && told {
        broken =
            Some(Error::internal(format!("nothing more of the body within {longest:?} ({:?} left)", incoming.left)));
    }
    let ended = incoming.left == Left::Bytes(0) && broken.is_none();
    let mut behind = incoming.buffer.len() as u64;
    if ended && behind == 0 {
        // A server that keeps the connection open although it was asked not to has nothing more to say, as far as one can know.
        let more = poll_fn(|cx| poll_read(&incoming.stream, &mut incoming.buffer, cx));
        behind = tokio::time::timeout(patience.behind, more).await.map_or(0, |read| read.unwrap_or(0)) as u64;
    }
    // What was not read to its end has no length that one could compare.
    let whole = broken.is_none() && !goes_on && (ended || incoming.left == Left::UntilClose);
    incoming.left = Left::UntilClose;
    let body = if whole { Body::from(body.freeze()) } else { Body::new(incoming) };
    let behind = if ended { behind } else { 0 };
    Ok(Whole { response: head.map(|()| body), trailers, broken, behind, goes_on })
}

async fn open(address: &str, req: Request) -> Result<(http::Response<()>, Incoming)> {
    let connected = TcpStream::connect(address).await;
    let stream = connected.context(format!("connecting to {address}"))?;
    let method = req.method().clone();
    let mut buffer = BytesMut::new();
    let (status, headers) = {
        // Both at once: a server may answer, and stop reading, before it has the whole body.
        let mut writing = pin!(write(&stream, req));
        let mut reading = pin!(read_head(&stream, &mut buffer));
        let mut written = None;
        poll_fn(|cx| {
            if written.is_none()
                && let Poll::Ready(result) = writing.as_mut().poll(cx)
            {
                written = Some(result);
            }
            let head = ready!(reading.as_mut().poll(cx));
            Poll::Ready(match (head, written.take()) {
                (Err(_), Some(Err(error))) => Err(error),
                (head, _) => head,
            })
        })
        .await?
    };
    let left = left_after(&method, status, &headers)?;
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
    *response.version_mut() = Version::HTTP_11;
    Ok((response, Incoming { stream, buffer, left, trailers: HeaderMap::new() }))
}

async fn write(stream: &TcpStream, req: Request) -> Result<()> {
    let (mut parts, mut body) = req.into_parts();
    // Nothing but an upgrade says more of its connection.
    parts.headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
    let length = body.len();
    match length {
        Some(0) if matches!(parts.method, Method::GET | Method::HEAD) => {}
        Some(length) => {
            parts.headers.entry(CONTENT_LENGTH).or_insert(length.into());
        }
        None => {
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    let mut head = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri).into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    write_all(stream, &head).await?;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if length.is_none() && !data.is_empty() {
            write_all(stream, format!("{:x}\r\n", data.len()).as_bytes()).await?;
            write_all(stream, &data).await?;
            write_all(stream, b"\r\n").await?;
        } else {
            write_all(stream, &data).await?;
        }
    }
    if length.is_none() {
        write_all(stream, b"0\r\n\r\n").await?;
    }
    Ok(())
}

async fn write_all(stream: &TcpStream, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        stream.writable().await?;
        match stream.try_write(data) {
            Ok(length) => data = &data[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(Error::from(error).context("sending the request")),
        }
    }
    Ok(())
}

type Head = (StatusCode, Vec<(HeaderName, HeaderValue)>);

async fn read_head(stream: &TcpStream, buffer: &mut BytesMut) -> Result<Head> {
    loop {
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = buffer.split_to(end + 4);
            let (status, headers) = parse_head(&head[..end])?;
            // An interim answer such as 100 Continue comes before the one that counts (RFC 9110 §15.2).
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok((status, headers));
            }
        }
        if buffer.len() > MAX_HEAD {
            return Err(Error::internal(format!("expected the answer's head within {MAX_HEAD} bytes")));
        }
        if poll_fn(|cx| poll_read(stream, buffer, cx)).await? == 0 {
            let found = String::from_utf8_lossy(buffer).into_owned();
            return Err(Error::internal(format!("expected an answer, found the connection closed after {found:?}")));
        }
    }
}

fn poll_read(stream: &TcpStream, buffer: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        let mut piece = [0; 8192];
        match stream.try_read(&mut piece) {
            Ok(length) => {
                buffer.extend_from_slice(&piece[..length]);
                return Poll::Ready(Ok(length));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(Error::from(error).context("reading the answer"))),
        }
    }
}

fn parse_head(head: &[u8]) -> Result<Head> {
    let bad = |what: &str, line: &[u8]| {
        Error::internal(format!("expected {what} in the answer's head, found {:?}", String::from_utf8_lossy(line)))
    };
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix(b"HTTP/1.1 ").or(first.strip_prefix(b"HTTP/1.0 ")).and_then(|rest| rest.get(..3));
    let status = status.and_then(|status| StatusCode::from_bytes(status).ok()).ok_or_else(|| bad("a status", first))?;
    let mut headers = Vec::new();
    for line in lines {
        headers.push(parse_line(line).map_err(|what| bad(what, line))?);
    }
    Ok((status, headers))
}

/// A header; or what was expected in its place.
fn parse_line(line: &[u8]) -> Result<(HeaderName, HeaderValue), &'static str> {
    let colon = line.iter().position(|&byte| byte == b':').ok_or("a header")?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| "a header's name")?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| "a value")?;
    Ok((name, value))
}

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    UntilClose,
    /// In the chunk at hand; then its line break.
    Chunk(u64),
    ChunkHead,
    Trailers,
}

/// RFC 9112 §6.3.
fn left_after(method: &Method, status: StatusCode, headers: &[(HeaderName, HeaderValue)]) -> Result<Left> {
    let header = |name| headers.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.to_str().ok());
    if method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Left::Bytes(0));
    }
    if header(TRANSFER_ENCODING).is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked")) {
        return Ok(Left::ChunkHead);
    }
    match header(CONTENT_LENGTH) {
        Some(length) => Ok(Left::Bytes(length.parse().context("reading the answer's content-length")?)),
        None => Ok(Left::UntilClose),
    }
}

struct Incoming {
    stream: TcpStream,
    buffer: BytesMut,
    left: Left,
    /// Those that came, and were not passed on.
    trailers: HeaderMap,
}

impl Incoming {
    /// The next piece that is in the buffer: `Ok(None)` where more has to be read, an empty piece at the end.
    fn piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.left {
                Left::Bytes(0) => return Ok(Some(Bytes::new())),
                _ if self.buffer.is_empty() => return Ok(None),
                Left::UntilClose => return Ok(Some(self.buffer.split().freeze())),
                Left::Bytes(left) => {
                    let length = left.min(self.buffer.len() as u64);
                    self.left = Left::Bytes(left - length);
                    return Ok(Some(self.buffer.split_to(length as usize).freeze()));
                }
                Left::Chunk(0) => {
                    if self.buffer.len() < 2 {
                        return Ok(None);
                    }
                    self.buffer.advance(2);
                    self.left = Left::ChunkHead;
                }
                Left::Chunk(left) => {
                    let length = left.min(self.buffer.len() as u64);
                    self.left = Left::Chunk(left - length);
                    return Ok(Some(self.buffer.split_to(length as usize).freeze()));
                }
                Left::ChunkHead | Left::Trailers => {
                    let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") else {
                        return Ok(None);
                    };
                    let line = self.buffer.split_to(end + 2);
                    let line = &line[..end];
                    self.left = match (self.left, line) {
                        (Left::Trailers, b"") => Left::Bytes(0),
                        (Left::Trailers, line) => {
                            let (name, value) = parse_line(line).map_err(|what| {
                                let found = String::from_utf8_lossy(line);
                                Error::internal(format!("expected {what} in the trailers, found {found:?}"))
                            })?;
                            if self.trailers.len() < MAX_TRAILERS {
                                self.trailers.append(name, value);
                            }
                            Left::Trailers
                        }
                        _ => {
                            let line = String::from_utf8_lossy(line);
                            let size = line.split(';').next().unwrap_or_default().trim();
                            let size = u64::from_str_radix(size, 16);
                            match size.context(format!("expected the size of a chunk, found {line:?}"))? {
                                0 => Left::Trailers,
                                size => Left::Chunk(size),
                            }
                        }
                    };
                }
            }
        }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            match this.piece() {
                Ok(Some(piece)) if piece.is_empty() => {
                    let trailers = std::mem::take(&mut this.trailers);
                    return Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))));
                }
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(None) => {}
            }
            match ready!(poll_read(&this.stream, &mut this.buffer, cx)) {
                Ok(0) if this.left == Left::UntilClose => return Poll::Ready(None),
                Ok(0) => {
                    let error =
                        Error::internal(format!("the connection was closed within the body ({:?} left)", this.left));
                    this.left = Left::Bytes(0);
                    return Poll::Ready(Some(Err(error)));
                }
                Ok(_) => {}
                Err(error) => {
                    this.left = Left::Bytes(0);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Left::Bytes(0) && self.trailers.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Bytes(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}
