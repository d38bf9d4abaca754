//! Gives every request an id.

use crate::service::then;
use crate::site::About;
use crate::{Middleware, Request, RequestId, Response, Result, Service};
use bytes::BytesMut;
use http::HeaderName;
use std::cell::RefCell;
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
    /// What ids of this process begin with.
    process: [u8; 12],
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
        let process = std::array::from_fn(|at| digit(process >> (5 * at)));
        Self { trust_client: false, process, count: AtomicU64::new(0) }
    }

    /// Keeps a well-formed id that came with the request; off by default. For a site behind a proxy which sets it.
    pub fn trust_client(mut self, trust: bool) -> Self {
        self.trust_client = trust;
        self
    }

    fn next_id(&self) -> Option<RequestId> {
        thread_local! {
            /// Ids are cut from one piece of memory, which is used again when those of before have gone.
            static PIECE: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(64 * LENGTH));
        }
        // The count comes round after 10^12 requests.
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; LENGTH];
        id[..12].copy_from_slice(&self.process);
        for (at, place) in id[12..].iter_mut().enumerate() {
            *place = digit(count >> (5 * (7 - at)));
        }
        let id = PIECE.try_with(|piece| {
            let mut piece = piece.borrow_mut();
            piece.extend_from_slice(&id);
            piece.split().freeze()
        });
        RequestId::of_digits(id.ok()?)
    }
}

/// How long an id is: 12 characters of process, 8 of count, 5 bits each.
const LENGTH: usize = 20;

/// The lowest 5 bits as a character.
fn digit(bits: u64) -> u8 {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    DIGITS[bits as usize & 31]
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for RequestIds {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let sent = if self.trust_client { req.headers().get(X_REQUEST_ID) } else { None };
        let sent = sent.and_then(|value| RequestId::new(value.to_str().ok()?));
        let id = sent.or_else(|| self.next_id());
        if let Some(id) = &id {
            req.extensions_mut().insert(id.clone());
        }
        then(next.call(req), |mut response| {
            if let Some(id) = id {
                response.headers_mut().insert(X_REQUEST_ID, id.into_header());
            }
            Ok(response)
        })
    }

    fn describe(&self, about: &mut About) {
        about.provides::<RequestId>().option("trust_client", self.trust_client);
    }
}
