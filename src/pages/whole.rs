//! A body collected, as far as it may be stored.

use crate::{Body, Error, Result};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body, as far as it is stored.
pub(crate) enum Whole {
    Bytes(Bytes),
    /// More than that.
    Large(Body),
}

/// Collects a body, unless it is longer.
pub(crate) async fn whole(mut body: Body, most: u64) -> Result<Whole> {
    if let Some(bytes) = body.as_bytes().filter(|bytes| bytes.len() as u64 <= most) {
        return Ok(Whole::Bytes(bytes.clone()));
    }
    if http_body::Body::size_hint(&body).lower() > most {
        return Ok(Whole::Large(body));
    }
    let mut pieces = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        // Trailers are not stored (RFC 9111 §3.1).
        let Ok(piece) = frame?.into_data() else { continue };
        length += piece.len() as u64;
        pieces.push(piece);
        if length > most {
            return Ok(Whole::Large(Body::new(Resumed { begun: pieces.into_iter(), rest: body })));
        }
    }
    // A copy, also of a single piece: that is a part of the buffer that it was read into, and would hold on to all of it.
    let mut all = BytesMut::with_capacity(length as usize);
    pieces.iter().for_each(|piece| all.extend_from_slice(piece));
    Ok(Whole::Bytes(all.freeze()))
}

/// A body of which some was read already.
struct Resumed {
    begun: std::vec::IntoIter<Bytes>,
    rest: Body,
}

impl http_body::Body for Resumed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match self.begun.next() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}
