//! Bodies for code that blocks: answers that it makes piece by piece, and requests that it reads.

use super::{Admission, Pool, park};
use crate::body::DEFAULT_BODY_LIMIT;
use crate::request::MaxBody;
use crate::service::BoxFuture;
use crate::site::Needs;
use crate::{Body, Error, FromRequest, Request, Result};
use bytes::{Buf, Bytes};
use futures_core::Stream;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;

/// How much is read at a time.
const PIECE: usize = 64 * 1024;

pub(super) fn of_reader(pool: Pool, mut source: impl Read + Send + 'static) -> Body {
    let next = move || {
        let mut piece = vec![0; PIECE];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return None,
                Ok(length) => {
                    piece.truncate(length);
                    return Some(Ok(Bytes::from(piece)));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(Error::from(error))),
            }
        }
    };
    Body::stream(Pieces { pool, next: Some(next), asked: None })
}

pub(super) fn of_iterator<T: Into<Bytes>>(
    pool: Pool,
    mut pieces: impl Iterator<Item = Result<T>> + Send + 'static,
) -> Body {
    let next = move || pieces.next().map(|piece| piece.map(Into::into));
    Body::stream(Pieces { pool, next: Some(next), asked: None })
}

/// Pieces that are made on a pool, one whenever the one before is taken.
struct Pieces<F> {
    pool: Pool,
    /// Makes the next piece; away while it does, and gone at the end.
    next: Option<F>,
    asked: Option<BoxFuture<'static, Result<Asked<F>>>>,
}

struct Asked<F> {
    next: F,
    piece: Option<Result<Bytes>>,
}

// Nothing in it is pinned but what is in a box.
impl<F> Unpin for Pieces<F> {}

impl<F> Stream for Pieces<F>
where
    F: FnMut() -> Option<Result<Bytes>> + Send + 'static,
{
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        if this.asked.is_none() {
            let Some(mut next) = this.next.take() else {
                return Poll::Ready(None);
            };
            let pool = this.pool.clone();
            this.asked = Some(Box::pin(async move {
                let work = move || {
                    let piece = next();
                    Asked { next, piece }
                };
                pool.admit(Admission::GoesOn, work).await
            }));
        }
        let Some(asked) = &mut this.asked else {
            return Poll::Ready(None);
        };
        let asked = ready!(asked.as_mut().poll(cx));
        this.asked = None;
        Poll::Ready(match asked {
            Ok(Asked { next, piece: Some(Ok(piece)) }) => {
                this.next = Some(next);
                Some(Ok(piece))
            }
            Ok(Asked { piece, .. }) => piece,
            // It panicked.
            Err(error) => Some(Err(error)),
        })
    }
}

/// The body of a request as a [`Read`] and [`BufRead`], for a handler that is no `async fn`.
///
/// It waits on the thread until more has arrived, so a client that is slow holds a thread; in an `async fn` it would hold up
/// others. No more is read than [`BodyLimit`](crate::layers::BodyLimit) allows, and 2 MiB where there is none.
///
/// ```
/// use purlin::Result;
/// use purlin::pool::BodyReader;
/// use std::io::BufRead;
///
/// fn count_lines(body: BodyReader) -> Result<String> {
///     let mut lines = 0;
///     for line in body.lines() {
///         line?;
///         lines += 1;
///     }
///     Ok(format!("{lines} lines"))
/// }
/// # purlin::post(count_lines);
/// ```
///
/// # Errors
///
/// Those of the body, as an [`io::Error`] that `?` makes the same [`Error`] of again: 413 (RFC 9110 §15.5.14) past the limit.
pub struct BodyReader {
    body: Body,
    piece: Bytes,
    runtime: Option<Handle>,
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let _runtime = self.runtime.as_ref().map(Handle::enter);
        while self.piece.is_empty() {
            match park::block_on(self.body.frame()) {
                None => break,
                Some(frame) => {
                    if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                        self.piece = data;
                    }
                }
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.piece.advance(amount);
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut piece = self.fill_buf()?;
        let length = piece.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader").field("body", &self.body).finish_non_exhaustive()
    }
}

impl FromRequest for BodyReader {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let body = req.body_mut().take();
        let body = match req.extensions().get::<MaxBody>() {
            Some(_) => body,
            None => body.limited(MaxBody::new(DEFAULT_BODY_LIMIT)),
        };
        Ok(Self { body, piece: Bytes::new(), runtime: Handle::try_current().ok() })
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}
