//! Bodies on their way through: as they leave, and as they arrive.

use super::pool::Lease;
use super::{late, locked};
use crate::{Body, Error, Result};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// How far a request's body is.
pub(super) struct Sent {
    pub(super) last: Instant,
    pub(super) failed: Option<Error>,
}

/// A request's body as it leaves.
pub(super) struct Leaving {
    pub(super) body: Body,
    pub(super) sent: Arc<Mutex<Sent>>,
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
                locked(&self.sent).last = Instant::now();
                Poll::Ready(frame)
            }
            Poll::Pending => Poll::Pending,
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
pub(super) struct Arriving {
    pub(super) incoming: Incoming,
    pub(super) limit: Duration,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) lease: Option<Lease>,
}

impl Arriving {
    pub(super) fn keep(&mut self) {
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
                Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(error).context("reading a proxy's answer"))))
            }
            Poll::Pending => {
                let limit = self.limit;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
                std::task::ready!(timer.as_mut().poll(cx));
                self.lease = None;
                Poll::Ready(Some(Err(late("no more of a proxy's answer", limit))))
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
