//! Gives every request an id.

use crate::site::About;
use crate::{Middleware, Request, RequestId, Response, Result, Service};
use http::HeaderName;
use std::sync::atomic::{AtomicU64, Ordering};

/// The header that carries the id, of the answer and (from a trusted proxy) of the request.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request a [`RequestId`], and its answer the same in `x-request-id`.
///
/// An id of 20 characters: random for the process, then counted, so that ids are unique without a random number for each
/// request. It is no secret and proves nothing. An id sent by the client is ignored unless
/// [`trust_client`](RequestIds::trust_client) says otherwise: it would let anybody write into the log.
#[derive(Debug)]
pub struct RequestIds {
    trust_client: bool,
    process: u64,
    count: AtomicU64,
}

impl RequestIds {
    /// Makes its own ids.
    pub fn new() -> Self {
        // Only uniqueness hangs on it; without randomness the time will do.
        let process = getrandom::u64().unwrap_or_else(|_| {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            now.as_nanos() as u64
        });
        Self { trust_client: false, process, count: AtomicU64::new(0) }
    }

    /// Keeps a well-formed id that came with the request; off by default. For a site behind a proxy which sets it.
    pub fn trust_client(mut self, trust: bool) -> Self {
        self.trust_client = trust;
        self
    }

    fn next_id(&self) -> Option<RequestId> {
        // 12 characters of process, 8 of count, 5 bits each: the count comes round after 10^12 requests.
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 20];
        for (at, digit) in id.iter_mut().enumerate() {
            let (source, shift) = if at < 12 { (self.process, 5 * at) } else { (count, 5 * (19 - at)) };
            *digit = DIGITS[(source >> shift) as usize & 31];
        }
        RequestId::new(std::str::from_utf8(&id).ok()?)
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for RequestIds {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let sent = if self.trust_client { req.headers().get(X_REQUEST_ID) } else { None };
        let sent = sent.and_then(|value| RequestId::new(value.to_str().ok()?));
        let Some(id) = sent.or_else(|| self.next_id()) else {
            return Ok(next.call(req).await);
        };
        req.extensions_mut().insert(id.clone());
        let mut response = next.call(req).await;
        response.headers_mut().insert(X_REQUEST_ID, id.as_header().clone());
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        about.provides::<RequestId>().option("trust_client", self.trust_client);
    }
}
