//! Refuses request bodies that are too large.

use crate::request::MaxBody;
use crate::service::then;
use crate::site::About;
use crate::{Middleware, Request, Response, Result, Service};

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
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        if !req.body().is_empty() {
            match req.extensions().get::<MaxBody>() {
                // A limit further out is replaced, and its wrapper around the body stays.
                Some(outer) => outer.set(self.bytes),
                None => {
                    let limit = MaxBody::new(self.bytes);
                    let body = req.body_mut().take();
                    *req.body_mut() = body.limited(limit.clone());
                    req.extensions_mut().insert(limit);
                }
            }
        }
        then(next.call(req), Ok)
    }

    fn describe(&self, about: &mut About) {
        about.option("bytes", crate::error::bytes_in_words(self.bytes));
    }
}
