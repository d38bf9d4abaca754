//! A request's body that several applications may read, one after another.

use crate::lock::locked;
use crate::{Body, Error, Result};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

/// Keeps what is read of a body, up to a limit, so that who asks next reads it from its beginning.
///
/// Nothing is read ahead: an application that does not read the body leaves it where it is, with a client that waits for
/// `100 Continue` still waiting.
pub(crate) enum Replay {
    /// At hand already: a clone copies nothing.
    Whole(Bytes),
    Stream(Arc<Mutex<Kept>>),
}

pub(crate) struct Kept {
    body: Body,
    /// What was read; nothing more once that is over the limit. Copied: a piece of one byte would keep the whole buffer alive
    /// that the server read it into.
    read: Vec<u8>,
    /// Something has been read, kept or not.
    begun: bool,
    limit: u64,
    over: bool,
    trailers: Option<http::HeaderMap>,
    ended: bool,
    /// Who reads: the last one that was given the body.
    reader: u64,
    waker: Option<Waker>,
}

impl Replay {
    pub(crate) fn new(body: Body, limit: u64) -> Self {
        match body.as_bytes() {
            Some(bytes) => Self::Whole(bytes.clone()),
            None => Self::Stream(Arc::new(Mutex::new(Kept {
                body,
                read: Vec::new(),
                begun: false,
                limit,
                over: false,
                trailers: None,
                ended: false,
                reader: 0,
                waker: None,
            }))),
        }
    }

    /// The body from its beginning; whoever had it before reads no more. `None` if more was read than is kept.
    pub(crate) fn body(&self) -> Option<Body> {
        let kept = match self {
            Self::Whole(bytes) => return Some(Body::from(bytes.clone())),
            Self::Stream(kept) => kept,
        };
        let mut state = locked(kept);
        if state.over {
            return None;
        }
        state.reader += 1;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        Some(Body::new(Reading { kept: kept.clone(), reader: state.reader, next: 0, told: false }))
    }
}

/// In what pieces it is read again.
const PIECE: usize = 16 * 1024;

/// The body as one of the readers has it.
struct Reading {
    kept: Arc<Mutex<Kept>>,
    reader: u64,
    /// Where it is in what was kept.
    next: usize,
    /// The trailers were given.
    told: bool,
}

impl http_body::Body for Reading {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let mut kept = locked(&this.kept);
        if kept.reader != this.reader {
            return Poll::Ready(Some(Err(Error::internal(
                "the request's body is read by the application that was asked after this one",
            ))));
        }
        if !kept.over && this.next < kept.read.len() {
            let end = kept.read.len().min(this.next + PIECE);
            let piece = Bytes::copy_from_slice(&kept.read[this.next..end]);
            this.next = end;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if kept.ended {
            let trailers = if this.told { None } else { kept.trailers.clone() };
            this.told = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        kept.waker = Some(cx.waker().clone());
        let frame = match ready!(Pin::new(&mut kept.body).poll_frame(cx)).transpose() {
            Ok(frame) => frame,
            Err(error) => {
                // A body that has failed cannot be read once more.
                kept.over = true;
                kept.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
        };
        let frame = match frame.map(Frame::into_data) {
            None => {
                kept.ended = true;
                return Poll::Ready(None);
            }
            Some(Err(other)) => {
                kept.ended = true;
                this.told = true;
                kept.trailers = other.trailers_ref().cloned();
                return Poll::Ready(Some(Ok(other)));
            }
            Some(Ok(data)) => data,
        };
        kept.begun = true;
        if !kept.over && (kept.read.len() + frame.len()) as u64 <= kept.limit {
            kept.read.extend_from_slice(&frame);
            this.next = kept.read.len();
        } else {
            kept.over = true;
            kept.read = Vec::new();
        }
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        let kept = locked(&self.kept);
        let rest = kept.ended && (self.told || kept.trailers.is_none());
        rest && (kept.over || self.next >= kept.read.len()) || (!kept.begun && kept.body.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let kept = locked(&self.kept);
        let rest = kept.body.size_hint();
        let again = kept.read.len().saturating_sub(self.next) as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(again));
        }
        hint.set_lower(rest.lower().saturating_add(again));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pieces: &'static [&'static str]) -> Body {
        struct Pieces(std::slice::Iter<'static, &'static str>);
        impl futures_core::Stream for Pieces {
            type Item = Result<&'static str>;
            fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                Poll::Ready(self.0.next().map(|piece| Ok(*piece)))
            }
        }
        Body::stream(Pieces(pieces.iter()))
    }

    #[tokio::test]
    async fn each_reader_begins_at_the_beginning() {
        let replay = Replay::new(stream(&["one ", "two ", "three"]), 100);
        let mut first = replay.body().unwrap();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
        let mut second = replay.body().unwrap();
        assert_eq!(second.frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
        assert_eq!(second.collect(100).await.unwrap(), "two three");
        assert_eq!(replay.body().unwrap().collect(100).await.unwrap(), "one two three");
        let error = first.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("asked after this one"), "{error}");
    }

    /// A client may send its body byte by byte, each in a buffer of the server's.
    #[tokio::test]
    async fn what_is_kept_holds_no_buffers_of_the_servers() {
        struct Buffer {
            _held: Arc<()>,
            bytes: [u8; 8192],
        }
        impl AsRef<[u8]> for Buffer {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }
        struct Bytewise(Arc<()>, u32);
        impl futures_core::Stream for Bytewise {
            type Item = Result<Bytes>;
            fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                self.1 += 1;
                let buffer = Bytes::from_owner(Buffer { _held: self.0.clone(), bytes: [b'x'; 8192] });
                Poll::Ready((self.1 <= 20_000).then(|| Ok(buffer.slice(..1))))
            }
        }
        let held = Arc::new(());
        let replay = Replay::new(Body::stream(Bytewise(held.clone(), 0)), 20_000);
        assert_eq!(replay.body().unwrap().collect(1 << 20).await.unwrap().len(), 20_000);
        // The test's own, and the stream's.
        assert_eq!(Arc::strong_count(&held), 2);
        let mut again = replay.body().unwrap();
        let mut pieces = Vec::new();
        while let Some(frame) = again.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(pieces, [PIECE, 20_000 - PIECE]);
    }

    #[tokio::test]
    async fn more_than_is_kept_is_read_once() {
        let replay = Replay::new(stream(&["12345", "67890"]), 9);
        assert_eq!(replay.body().unwrap().collect(100).await.unwrap(), "1234567890");
        assert!(replay.body().is_none());
    }
}
