//! `Body`: the bytes of a request or a response, at hand or arriving in pieces.

use crate::request::MaxBody;
use crate::{Error, Result};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many bytes of a request's body are collected where no [`BodyLimit`](crate::layers::BodyLimit) stands above: 2 MiB.
pub const DEFAULT_BODY_LIMIT: u64 = 2 * 1024 * 1024;

/// The bytes of a request or a response.
///
/// Whole bytes (a page, a small file) are held without a box; anything else is a stream behind one. An error in a
/// streamed body is an [`Error`] as everywhere else. Trailers pass through.
///
/// ```
/// use purlin::Body;
/// # async fn example() -> purlin::Result<()> {
/// let body = Body::from("hello");
/// assert_eq!(body.collect(1024).await?, "hello");
/// # Ok(()) }
/// ```
pub struct Body(Inner);

enum Inner {
    Whole(Bytes),
    // The mutex is never locked (`get_mut` needs no lock): it makes the stream `Sync`, so that a
    // handler may hold a `&Request` across an await.
    Stream(Mutex<Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>>),
}

impl Body {
    /// A body of no bytes; allocates nothing.
    pub const fn empty() -> Self {
        Self(Inner::Whole(Bytes::new()))
    }

    /// Any other implementation of `http_body::Body`; a `Body` is taken as it is.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        if let Some(own) = (&mut body as &mut dyn std::any::Any).downcast_mut::<Option<Body>>() {
            return own.take().unwrap_or_default();
        }
        let body = body.expect("put there three lines above");
        Self(Inner::Stream(Mutex::new(Box::pin(Converted { body }))))
    }

    /// The same body, of whose failure somebody is told.
    pub(crate) fn watched(self, watch: impl Watch) -> Self {
        Self::new(Watched { body: self, watch, ended: false })
    }

    /// A body whose pieces arrive one after another, its length not known beforehand.
    ///
    /// The first error ends the body; the client sees the connection cut.
    pub fn stream<S, T, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<T, E>> + Send + 'static,
        T: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self(Inner::Stream(Mutex::new(Box::pin(Pieces { stream }))))
    }

    /// The whole body, if it is at hand already: `None` for a stream.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::Whole(bytes) => Some(bytes),
            Inner::Stream(_) => None,
        }
    }

    /// Takes the body, leaving an empty one.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Whether nothing is left to read.
    pub fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }

    /// The exact length in bytes, where it is known.
    pub fn len(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }

    /// Collects the body into memory, at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// 413 Content Too Large (RFC 9110 §15.5.14) as soon as the limit is passed, with nothing more read;
    /// the body's own error otherwise.
    #[track_caller]
    pub fn collect(self, limit: u64) -> impl Future<Output = Result<Bytes>> + Send {
        let place = std::panic::Location::caller();
        async move {
            let mut body = match self.0 {
                Inner::Whole(bytes) if bytes.len() as u64 <= limit => return Ok(bytes),
                inner => Body(inner),
            };
            let hint = http_body::Body::size_hint(&body);
            if hint.lower() > limit {
                return Err(Error::body_too_large(limit).at(place));
            }
            let mut first: Option<Bytes> = None;
            let mut all = BytesMut::new();
            let mut length: u64 = 0;
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame?.into_data() else {
                    continue;
                };
                length += data.len() as u64;
                if length > limit {
                    return Err(Error::body_too_large(limit).at(place));
                }
                // Most bodies arrive in one piece, which then needs no copy.
                match first.take() {
                    None if all.is_empty() => first = Some(data),
                    None => all.extend_from_slice(&data),
                    Some(start) => {
                        all.reserve(hint.lower().max(start.len() as u64 + data.len() as u64) as usize);
                        all.extend_from_slice(&start);
                        all.extend_from_slice(&data);
                    }
                }
            }
            Ok(first.unwrap_or_else(|| all.freeze()))
        }
    }

    /// The same body, whose reader gets a 413 instead of more than the limit.
    pub(crate) fn limited(self, limit: MaxBody) -> Self {
        Self::new(Limited { body: self, limit, read: 0 })
    }

    /// The next frame: a piece of data or the trailers; `None` at the end.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>>> {
        std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *self), cx)).await
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Inner::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Stream(stream) => unlocked(stream).as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Stream(stream) => stream.lock().map_or(true, |stream| stream.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(stream) => stream.lock().map_or_else(|_| SizeHint::default(), |stream| stream.size_hint()),
        }
    }
}

fn unlocked<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Whole(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Inner::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Inner::Whole(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self::from(Bytes::from_static(bytes))
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

pin_project_lite::pin_project! {
    /// Another body with its errors as ours.
    struct Converted<B> {
        #[pin]
        body: B,
    }
}

impl<B> http_body::Body for Converted<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let frame = ready!(self.project().body.poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Error::from_boxed(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project_lite::pin_project! {
    /// A stream of pieces as a body.
    struct Pieces<S> {
        #[pin]
        stream: S,
    }
}

impl<S, T, E> http_body::Body for Pieces<S>
where
    S: Stream<Item = Result<T, E>>,
    T: Into<Bytes>,
    E: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let piece = ready!(self.project().stream.poll_next(cx));
        Poll::Ready(piece.map(|piece| match piece {
            Ok(data) => Ok(Frame::data(data.into())),
            Err(error) => Err(Error::from_boxed(error.into())),
        }))
    }
}

/// Another body, of which no more is read than the limit allows.
struct Limited {
    body: Body,
    limit: MaxBody,
    read: u64,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let limit = self.limit.bytes();
        // Before the first byte is asked for: a client that waits for `100 Continue` then sends none.
        if self.read == 0 && self.body.size_hint().lower() > limit {
            return Poll::Ready(Some(Err(Error::body_too_large(limit))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if self.read > limit {
                self.body = Body::empty();
                return Poll::Ready(Some(Err(Error::body_too_large(limit))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
/// Who is told when a body fails after its head has left.
pub(crate) trait Watch: Send + Unpin + 'static {
    /// Around the making of each piece.
    fn around<T>(&self, work: impl FnOnce() -> T) -> T;

    /// The body failed, or panicked. Comes once.
    fn failed(&mut self, error: &Error);
}

/// A body that is watched.
struct Watched<W> {
    body: Body,
    watch: W,
    ended: bool,
}

impl<W: Watch> http_body::Body for Watched<W> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let body = Pin::new(&mut this.body);
        // A panic here would go through the server.
        let frame = match this.watch.around(|| crate::panic::guarded(|| body.poll_frame(cx))) {
            Ok(frame) => ready!(frame),
            Err(panic) => Some(Err(panic)),
        };
        if let Some(Err(error)) = &frame {
            this.ended = true;
            this.watch.failed(error);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
