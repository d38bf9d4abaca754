//! Bodies on their way through: as they leave, and as they arrive.

use super::pool::Lease;
use super::{end_to_end, late};
use crate::lock::locked;
use crate::{Body, Error, Response, Result};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// A request that was taken apart, as it is sent; and how far its body is.
///
/// `Content-Length` and `Transfer-Encoding` become those of the body, which a layer may have changed.
pub(crate) fn leaving(mut head: Parts, body: Body) -> (http::Request<Body>, Arc<Mutex<Sent>>) {
    head.extensions = http::Extensions::new();
    // Known to hyper by the body.
    let length = head.headers.remove(CONTENT_LENGTH);
    if body.is_end_stream() {
        // RFC 9110 §8.6: there could be one, and there is none.
        if length.is_some_and(|length| length == "0")
            || [Method::POST, Method::PUT, Method::PATCH].contains(&head.method)
        {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    } else if body.size_hint().exact().is_none() {
        // Unless it is told, hyper leaves out the body of a GET.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let sent = Arc::new(Mutex::new(Sent { last: Instant::now(), waits: false, failed: None }));
    let body = if body.as_bytes().is_some() { body } else { Body::new(Leaving { body, sent: sent.clone() }) };
    (http::Request::from_parts(head, body), sent)
}

/// An answer as it is passed on: without the headers of its connection, its body as it arrives. `limit` is for each piece of it.
pub(crate) fn arriving(answer: http::Response<Incoming>, lease: Lease, limit: Duration) -> Response {
    let (mut head, incoming) = answer.into_parts();
    if head.headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112 §6.3: that length is not the body's.
        head.headers.remove(CONTENT_LENGTH);
    }
    end_to_end(&mut head.headers);
    head.version = Version::HTTP_11;
    let body = if incoming.is_end_stream() {
        lease.keep();
        Body::empty()
    } else {
        Body::new(Arriving { incoming, limit, timer: None, lease: Some(lease) })
    };
    Response::from_parts(head, body)
}

/// How far a request's body is.
pub(crate) struct Sent {
    pub(super) last: Instant,
    /// It is the client that is waited for.
    pub(super) waits: bool,
    /// Its own error, where that is what broke off.
    pub(crate) failed: Option<Error>,
}

/// A request's body as it leaves.
struct Leaving {
    body: Body,
    sent: Arc<Mutex<Sent>>,
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                // hyper's error would say only that there was one.
                locked(&self.sent).failed = Some(error);
                Poll::Ready(Some(Err(Error::bad_request("the request's body broke off"))))
            }
            Poll::Ready(frame) => {
                let mut sent = locked(&self.sent);
                (sent.last, sent.waits) = (Instant::now(), false);
                Poll::Ready(frame)
            }
            Poll::Pending => {
                locked(&self.sent).waits = true;
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body as it arrives. At its end the connection is kept; a body that nobody reads to its end closes it.
struct Arriving {
    incoming: Incoming,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    lease: Option<Lease>,
}

impl Arriving {
    fn keep(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.keep();
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.timer = None;
                match &frame {
                    Some(Err(_)) => self.lease = None,
                    None => self.keep(),
                    Some(Ok(_)) if self.incoming.is_end_stream() => self.keep(),
                    Some(Ok(_)) => {}
                }
                let broken = |error: hyper::Error| Error::from(error).status_code(StatusCode::BAD_GATEWAY);
                Poll::Ready(
                    frame.map(|frame| {
                        frame.map_err(|error| broken(error).context("reading the answer of another server"))
                    }),
                )
            }
            Poll::Pending => {
                let limit = self.limit;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
                std::task::ready!(timer.as_mut().poll(cx));
                self.lease = None;
                Poll::Ready(Some(Err(late("no more of the answer", limit))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
