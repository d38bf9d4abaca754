//! A body in a content coding: encoded at once where it is at hand, else piece by piece as it arrives.

use crate::negotiate::Coding;
use crate::{Body, Error, Result};
use async_compression::Level;
use async_compression::brotli::EncoderParams;
use async_compression::tokio::write::BrotliEncoder;
#[cfg(feature = "zstd")]
use async_compression::tokio::write::ZstdEncoder;
use bytes::{Buf, Bytes};
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use http::HeaderMap;
use http_body::Frame;
use std::cell::RefCell;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncWrite;

mod repeats;

pub(crate) use repeats::Repeats;

/// What an encoder takes in at a time.
const PIECE: usize = 32 * 1024;

/// What is encoded before the others on the same thread get their turn: half a millisecond to one of work, at the default
/// qualities. A body at hand of at most so many bytes is encoded in one go, so that its length is known.
const AT_ONCE: usize = 2 * PIECE;

/// How much was encoded before it is sent on without being asked for.
const ENOUGH: usize = 8 * 1024;

/// The quality of a coding, in its own scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quality(pub(crate) i32);

/// The body in this coding, its trailers kept. `flush` sends every piece on as soon as it has come (event streams). A body at hand
/// is looked for among the `repeats`.
///
/// # Errors
///
/// What the encoder says, which has memory to fail by and nothing else.
pub(crate) fn encode(
    body: Body,
    coding: Coding,
    quality: Quality,
    flush: bool,
    repeats: Option<&Repeats>,
) -> Result<Body> {
    match body.as_bytes() {
        Some(bytes) if bytes.len() <= AT_ONCE => {
            let encode = || at_hand(bytes, coding, quality);
            let encoded = match repeats {
                Some(repeats) => repeats.encoded(bytes, (coding, quality), encode),
                None => encode(),
            };
            encoded.map(Body::from)
        }
        _ => {
            let length = body.len().and_then(|length| usize::try_from(length).ok());
            let encoder = Some(Encoder::new(coding, quality, length));
            let piece = Bytes::new();
            Ok(Body::new(Encoded { body, encoder, piece, unsent: false, turn: 0, flush, trailers: None }))
        }
    }
}

/// Bytes in this coding, in one go.
fn at_hand(bytes: &[u8], coding: Coding, quality: Quality) -> Result<Bytes> {
    match coding {
        Coding::Gzip | Coding::Deflate => SPARE.with_borrow_mut(|spare| spare.deflate(bytes, coding, quality)),
        #[cfg(feature = "zstd")]
        Coding::Zstd => SPARE.with_borrow_mut(|spare| spare.zstd(bytes, quality)),
        _ => {
            let mut encoder = Encoder::new(coding, quality, Some(bytes.len()));
            encoder.write_all(bytes)?;
            Ok(Bytes::from(encoder.finish()?))
        }
    }
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// What one body at hand leaves for the next of its thread: tables of a third of a mebibyte, which the system takes as long to give
/// as a page takes to be encoded, and the memory that is written into.
#[derive(Default)]
struct Spare {
    deflate: Option<(Compression, Coding, Compress)>,
    #[cfg(feature = "zstd")]
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
    out: Vec<u8>,
}

impl Spare {
    /// As gzip (RFC 1952) or in the zlib format (RFC 1950).
    fn deflate(&mut self, bytes: &[u8], coding: Coding, quality: Quality) -> Result<Bytes> {
        let level = level(quality);
        let mut compress = match self.deflate.take() {
            Some((of_level, of_coding, mut compress)) if (of_level, of_coding) == (level, coding) => {
                compress.reset();
                compress
            }
            _ => Compress::new(level, coding == Coding::Deflate),
        };
        let out = &mut self.out;
        out.clear();
        // What does not shrink grows by an eighth at most.
        out.reserve(bytes.len() + bytes.len() / 8 + 64);
        if coding == Coding::Gzip {
            // RFC 1952 §2.3: deflate, no flags, no time, how hard it worked, an unknown system.
            let how_hard = if level == Compression::best() { 2 } else { 0 };
            out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, how_hard, 255]);
        }
        loop {
            let taken = compress.total_in() as usize; // At most all the bytes.
            match compress.compress_vec(&bytes[taken..], out, FlushCompress::Finish).map_err(io::Error::from)? {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError => out.reserve(bytes.len() / 8 + 64),
            }
        }
        // Only now: zlib-rs 0.6.8 panics where one that has not come to its end begins anew.
        self.deflate = Some((level, coding, compress));
        if coding == Coding::Gzip {
            let mut sum = Crc::new();
            sum.update(bytes);
            out.extend_from_slice(&sum.sum().to_le_bytes());
            out.extend_from_slice(&sum.amount().to_le_bytes());
        }
        Ok(Bytes::copy_from_slice(out))
    }

    #[cfg(feature = "zstd")]
    fn zstd(&mut self, bytes: &[u8], Quality(quality): Quality) -> Result<Bytes> {
        let mut compressor = match self.zstd.take() {
            Some((of_quality, compressor)) if of_quality == quality => compressor,
            _ => zstd::bulk::Compressor::new(quality)?,
        };
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        compressor.compress_to_buffer(bytes, &mut self.out)?;
        self.zstd = Some((quality, compressor));
        Ok(Bytes::copy_from_slice(&self.out))
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

/// The level of gzip and deflate.
fn level(Quality(quality): Quality) -> Compression {
    Compression::new(quality.clamp(1, 9) as u32)
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    // Large: its tables are in it.
    Brotli(Box<AtOnce<BrotliEncoder<Vec<u8>>>>),
    #[cfg(feature = "zstd")]
    Zstd(AtOnce<ZstdEncoder<Vec<u8>>>),
    Identity(Vec<u8>),
}

impl Encoder {
    fn new(coding: Coding, quality: Quality, length: Option<usize>) -> Self {
        let precise = Level::Precise(quality.0);
        let out = Vec::with_capacity(length.unwrap_or(ENOUGH).min(AT_ONCE) / 3 + 64);
        match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(out, level(quality))),
            Coding::Deflate => Self::Deflate(ZlibEncoder::new(out, level(quality))),
            Coding::Brotli => {
                // A window no larger than the text: its tables are cleared for every answer.
                let length = length.unwrap_or(1 << 18).clamp(1 << 10, 1 << 18);
                let window = (usize::BITS - (length - 1).leading_zeros()) as i32;
                let params = EncoderParams::default().quality(precise).window_size(window).size_hint(length);
                Self::Brotli(Box::new(AtOnce(BrotliEncoder::with_params(out, params))))
            }
            #[cfg(feature = "zstd")]
            Coding::Zstd => Self::Zstd(AtOnce(ZstdEncoder::with_quality(out, precise))),
            #[cfg(not(feature = "zstd"))]
            Coding::Zstd => Self::Identity(out),
            Coding::Identity => Self::Identity(out),
        }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Deflate(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.0.get_mut(),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.0.get_mut(),
            Self::Identity(out) => out,
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Deflate(encoder) => encoder,
            Self::Brotli(encoder) => &mut **encoder,
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder,
            Self::Identity(out) => out,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        match &mut self {
            Self::Gzip(encoder) => encoder.try_finish()?,
            Self::Deflate(encoder) => encoder.try_finish()?,
            Self::Brotli(encoder) => encoder.finish()?,
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Identity(_) => {}
        }
        Ok(std::mem::take(self.out()))
    }

    /// What was encoded so far, if that is at least so much.
    fn take(&mut self, least: usize) -> Option<Bytes> {
        let out = self.out();
        (out.len() >= least).then(|| Bytes::from(std::mem::take(out)))
    }
}

/// An encoder that writes into a `Vec`, which always takes everything: nothing in it can wait.
struct AtOnce<W>(W);

impl<W: AsyncWrite + Unpin> AtOnce<W> {
    fn finish(&mut self) -> io::Result<()> {
        self.done(|encoder, cx| encoder.poll_shutdown(cx))
    }

    fn done<T>(&mut self, work: impl FnOnce(Pin<&mut W>, &mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
        match work(Pin::new(&mut self.0), &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::Error::other("an encoder waits for memory to write into")),
        }
    }
}

impl<W: AsyncWrite + Unpin> Write for AtOnce<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.done(|encoder, cx| encoder.poll_write(cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.done(|encoder, cx| encoder.poll_flush(cx))
    }
}
