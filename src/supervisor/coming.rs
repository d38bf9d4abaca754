//! What comes from a process, until it ends.

use super::Process;
use crate::{Body, Error, Result};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The body of a process's answer. Where it breaks off, the cause is told, and it is told when the process is known to be gone: who
/// asks again then is not given to a process that has ended but not been missed yet.
pub(crate) struct Coming<T> {
    body: Body,
    process: Arc<Process<T>>,
    broken: Option<Pin<Box<dyn Future<Output = Error> + Send>>>,
}

impl<T: Send + Sync + 'static> Coming<T> {
    /// The body as it is, if it is whole already.
    pub(crate) fn of(body: Body, process: &Arc<Process<T>>) -> Body {
        match body.as_bytes() {
            Some(_) => body,
            None => Body::new(Self { body, process: process.clone(), broken: None }),
        }
    }
}

impl<T: Send + Sync + 'static> http_body::Body for Coming<T> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.broken.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => {
                    let process = self.process.clone();
                    self.broken = Some(Box::pin(async move { process.died(error).await }));
                }
                frame => return Poll::Ready(frame),
            }
        }
        let Some(broken) = &mut self.broken else { return Poll::Ready(None) };
        let error = ready!(broken.as_mut().poll(cx));
        Poll::Ready(Some(Err(error.context(format!("reading the answer of a {}", self.process.what)))))
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
