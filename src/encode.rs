//! A body in a content coding: encoded at once where it is at hand, else piece by piece as it arrives.

use crate::negotiate::Coding;
use crate::{Body, Error, Result};
use async_compression::Level;
use async_compression::brotli::EncoderParams;
#[cfg(feature = "zstd")]
use async_compression::tokio::write::ZstdEncoder;
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder};
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Frame;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncWrite;

/// What an encoder takes in at a time.
const PIECE: usize = 32 * 1024;

/// What is encoded before the others on the same thread get their turn: half a millisecond to one of work, at the default
/// qualities. A body at hand of at most so many bytes is encoded in one go, so that its length is known.
const AT_ONCE: usize = 2 * PIECE;

/// How much was encoded before it is sent on without being asked for.
const ENOUGH: usize = 8 * 1024;

/// The quality of a coding, in its own scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality(pub(crate) i32);

/// The body in this coding, its trailers kept. `flush` sends every piece on as soon as it has come (event streams).
///
/// # Errors
///
/// What the encoder says, which has memory to fail by and nothing else.
pub(crate) fn encode(body: Body, coding: Coding, quality: Quality, flush: bool) -> Result<Body> {
    match body.as_bytes() {
        Some(bytes) if bytes.len() <= AT_ONCE => {
            let mut encoder = Encoder::new(coding, quality, Some(bytes.len()));
            encoder.write_all(bytes)?;
            Ok(Body::from(encoder.finish()?))
        }
        _ => {
            let length = body.len().and_then(|length| usize::try_from(length).ok());
            let encoder = Some(Encoder::new(coding, quality, length));
            let piece = Bytes::new();
            Ok(Body::new(Encoded { body, encoder, piece, unsent: false, turn: 0, flush, trailers: None }))
        }
    }
}

/// A body being encoded as it is read.
struct Encoded {
    body: Body,
    // `None` after the end.
    encoder: Option<Encoder>,
    // What has been read and not encoded yet.
    piece: Bytes,
    // Whether the encoder holds back something that it was given.
    unsent: bool,
    // How much was encoded since the others had their turn.
    turn: usize,
    flush: bool,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let Some(encoder) = &mut this.encoder else {
            return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        };
        loop {
            if !this.piece.is_empty() {
                // Encoding never waits: without this a large body would keep its thread from all others. tokio's own budget
                // is for 128 steps of microseconds, and these are long.
                if this.turn >= AT_ONCE {
                    this.turn = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let length = this.piece.len().min(PIECE);
                this.turn += length;
                encoder.write_all(&this.piece[..length])?;
                this.piece.advance(length);
                this.unsent = true;
                if this.flush && this.piece.is_empty() {
                    encoder.flush()?;
                    this.unsent = false;
                }
                if let Some(data) = encoder.take(if this.flush { 1 } else { ENOUGH }) {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                continue;
            }
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending if this.unsent => {
                    // The source pauses: what it said so far should not wait in the encoder.
                    this.turn = 0;
                    this.unsent = false;
                    encoder.flush()?;
                    return match encoder.take(1) {
                        Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                        None => Poll::Pending,
                    };
                }
                Poll::Pending => return Poll::Pending,
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.piece = data,
                    Err(frame) => this.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    this.encoder = None;
                    this.trailers = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let last = this.encoder.take().map(Encoder::finish).transpose()?.unwrap_or_default();
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from(last)))));
                }
            }
        }
    }
}

enum Encoder {
    Gzip(GzipEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    // Large: its tables are in it.
    Brotli(Box<BrotliEncoder<Vec<u8>>>),
    #[cfg(feature = "zstd")]
    Zstd(ZstdEncoder<Vec<u8>>),
    Identity(Vec<u8>),
}

impl Encoder {
    fn new(coding: Coding, Quality(quality): Quality, length: Option<usize>) -> Self {
        let level = Level::Precise(quality);
        let out = Vec::with_capacity(length.unwrap_or(ENOUGH).min(AT_ONCE) / 3 + 64);
        match coding {
            Coding::Gzip => Self::Gzip(GzipEncoder::with_quality(out, level)),
            Coding::Deflate => Self::Deflate(ZlibEncoder::with_quality(out, level)),
            Coding::Brotli => {
                // A window no larger than the text: its tables are cleared for every answer.
                let length = length.unwrap_or(1 << 18).clamp(1 << 10, 1 << 18);
                let window = (usize::BITS - (length - 1).leading_zeros()) as i32;
                let params = EncoderParams::default().quality(level).window_size(window).size_hint(length);
                Self::Brotli(Box::new(BrotliEncoder::with_params(out, params)))
            }
            #[cfg(feature = "zstd")]
            Coding::Zstd => Self::Zstd(ZstdEncoder::with_quality(out, level)),
            #[cfg(not(feature = "zstd"))]
            Coding::Zstd => Self::Identity(out),
            Coding::Identity => Self::Identity(out),
        }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Deflate(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Identity(out) => out,
        }
    }

    fn writer(&mut self) -> &mut (dyn AsyncWrite + Unpin) {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Deflate(encoder) => encoder,
            Self::Brotli(encoder) => &mut **encoder,
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder,
            Self::Identity(out) => out,
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = at_once(|cx| Pin::new(self.writer()).poll_write(cx, bytes))?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        at_once(|cx| Pin::new(self.writer()).poll_flush(cx))
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        at_once(|cx| Pin::new(self.writer()).poll_shutdown(cx))?;
        Ok(std::mem::take(self.out()))
    }

    /// What was encoded so far, if that is at least so much.
    fn take(&mut self, least: usize) -> Option<Bytes> {
        let out = self.out();
        (out.len() >= least).then(|| Bytes::from(std::mem::take(out)))
    }
}

/// The encoders write into a `Vec`, which always takes everything: nothing here can wait.
fn at_once<T>(mut work: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    match work(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::Error::other("an encoder waits for memory to write into")),
    }
}
