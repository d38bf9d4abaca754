//! Refuses request bodies that are too large.

use crate::request::MaxBody;
use crate::site::About;
use crate::{Body, Error, Middleware, Request, Response, Result, Service};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Bounds the body of a request.
///
/// One limit for everything below, extractors and whoever reads the body piece by piece. Without this layer extractors
/// collect 2 MiB at most, and a streamed body has no bound. Of several, the innermost counts: a route may allow more than
/// its site.
///
/// # Errors
///
/// 413 Content Too Large (RFC 9110 §15.5.14), when the body is read: before its first byte where `Content-Length` says so,
/// else as soon as the limit is passed. The message names the setting, `body_limit`.
#[derive(Clone, Debug)]
pub struct BodyLimit {
    bytes: u64,
}

impl BodyLimit {
    /// `bytes` is the most that a body may have; there is no default.
    pub fn new(bytes: u64) -> Self {
        Self { bytes }
    }
}

impl Middleware for BodyLimit {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        if req.body().is_empty() {
            return Ok(next.call(req).await);
        }
        match req.extensions().get::<MaxBody>() {
            // A limit further out is replaced, and its wrapper around the body stays.
            Some(outer) => outer.set(self.bytes),
            None => {
                let limit = MaxBody::new(self.bytes);
                let body = req.body_mut().take();
                *req.body_mut() = Body::new(Limited { body, limit: limit.clone(), read: 0 });
                req.extensions_mut().insert(limit);
            }
        }
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        about.option("bytes", crate::error::bytes_in_words(self.bytes));
    }
}

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
