//! A program's output on its way to the client: the head, then the body as it is written.

use super::head::{Head, HeadError, HeadReader};
use crate::forward::{Forward, InnerStack};
use crate::{Body, Error, IntoResponse, Response, Result};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Extensions, Method, StatusCode};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};

/// The two ends of an answer: of whoever reads the program, and of whoever asked. `typed`: a body has to have a type.
pub(crate) fn channel(method: &Method, typed: bool) -> (Output, Answer) {
    let (answer, head) = oneshot::channel();
    // One piece on its way, and one in the hands of each: who writes waits for who reads.
    let (sender, pieces) = mpsc::channel(1);
    let no_body = method == Method::HEAD;
    let output = Output {
        reader: HeadReader::new(),
        answer: Some(answer),
        held: None,
        pieces: sender,
        left: None,
        whole: Arc::new(AtomicBool::new(false)),
        typed,
        no_body,
        excess: false,
    };
    (output, Answer { head, pieces, no_body })
}

/// Where the program's output goes.
pub(crate) struct Output {
    reader: HeadReader,
    answer: Option<oneshot::Sender<Result<Head>>>,
    /// A head without a type, of which it is not known yet whether a body follows.
    held: Option<Head>,
    pieces: mpsc::Sender<Result<Bytes>>,
    /// What is left of the length that the program announced.
    left: Option<u64>,
    /// The client has all that it is to have; what the program does then is its own affair.
    whole: Arc<AtomicBool>,
    typed: bool,
    no_body: bool,
    excess: bool,
}

impl Output {
    /// Takes what the program wrote, and waits for the client to take it.
    ///
    /// # Errors
    ///
    /// 502 for what is no head.
    pub(crate) async fn take(&mut self, bytes: Bytes) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.answer.is_none() {
            return self.body(bytes).await;
        }
        if self.held.is_some() {
            return Err(bad(HeadError::NoType));
        }
        let Some((head, rest)) = self.reader.feed(&bytes).map_err(bad)? else { return Ok(()) };
        let no_type = self.typed && !head.headers.contains_key(CONTENT_TYPE) && head.local.is_none();
        if no_type && !self.no_body && head.status != StatusCode::NO_CONTENT && head.status != StatusCode::NOT_MODIFIED
        {
            if !rest.is_empty() {
                return Err(bad(HeadError::NoType));
            }
            self.held = Some(head);
            return Ok(());
        }
        self.give(head);
        self.body(rest).await
    }

    fn give(&mut self, head: Head) {
        let bodiless =
            matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT);
        self.no_body |= bodiless || head.local.is_some();
        self.left = head.length.filter(|_| !self.no_body);
        self.whole.store(self.no_body || self.left == Some(0), Ordering::Release);
        if let Some(answer) = self.answer.take() {
            // Nobody waits for it any more: `gone` says so.
            let _ = answer.send(Ok(head));
        }
    }

    async fn body(&mut self, mut piece: Bytes) -> Result<()> {
        if self.no_body || piece.is_empty() {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            if piece.len() as u64 > *left {
                if !std::mem::replace(&mut self.excess, true) {
                    tracing::warn!(target: "purlin::cgi", "a program wrote more than its Content-Length: left out");
                }
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            }
            *left -= piece.len() as u64;
            if piece.is_empty() {
                return Ok(());
            }
        }
        let last = self.left == Some(0);
        // Nobody takes it any more: `gone` says so.
        let _ = self.pieces.send(Ok(piece)).await;
        if last {
            self.whole.store(true, Ordering::Release);
            let _ = self.pieces.send(Ok(Bytes::new())).await;
        }
        Ok(())
    }

    /// The output has ended; `how` says why it is not to be believed that this is all, where it is not.
    ///
    /// # Errors
    ///
    /// 502 where the head was not there yet, or the body not whole.
    pub(crate) async fn end(&mut self, how: Option<String>) -> Result<()> {
        // Not if it was broken off: a body may have been on its way.
        if let Some(head) = self.held.take_if(|_| how.is_none()) {
            self.give(head);
        }
        if self.answer.is_some() {
            let found = bad(self.reader.end());
            return Err(how.into_iter().fold(found, Error::context));
        }
        if self.is_whole() {
            return Ok(());
        }
        if let Some(how) = how {
            return Err(Error::new(StatusCode::BAD_GATEWAY, how));
        }
        match self.left {
            Some(left) => {
                Err(Error::new(StatusCode::BAD_GATEWAY, format!("{left} bytes of its Content-Length are missing")))
            }
            None => {
                self.whole.store(true, Ordering::Release);
                let _ = self.pieces.send(Ok(Bytes::new())).await;
                Ok(())
            }
        }
    }

    /// The answer is this failure; a body that had begun is cut.
    pub(crate) async fn fail(mut self, error: Error) {
        match self.answer.take() {
            Some(answer) => drop(answer.send(Err(error))),
            None => drop(self.pieces.send(Err(error)).await),
        }
    }

    /// Whether the head is on its way.
    pub(crate) fn has_begun(&self) -> bool {
        self.answer.is_none()
    }

    /// Whether the client has all that it is to have.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Ready when nobody waits for the rest of the answer any more.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let (pieces, whole) = (self.pieces.clone(), self.whole.clone());
        async move {
            pieces.closed().await;
            if whole.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn bad(error: HeadError) -> Error {
    Error::from(error).status_code(StatusCode::BAD_GATEWAY)
}

/// Where the program's output comes from, for whoever asked.
pub(crate) struct Answer {
    head: oneshot::Receiver<Result<Head>>,
    pieces: mpsc::Receiver<Result<Bytes>>,
    no_body: bool,
}

impl Answer {
    /// The answer as soon as its head is there.
    pub(crate) async fn response(self, extensions: &Extensions) -> Result<Response> {
        let gone = |_| Error::internal("what reads the program's output has ended");
        let head = self.head.await.map_err(gone)??;
        if let Some(path) = head.local {
            if extensions.get::<InnerStack>().is_none() {
                let message = format!(
                    "a local redirect to {path}, which no layer above follows: add .layer(Forwards::new()) above"
                );
                return Err(Error::new(StatusCode::BAD_GATEWAY, message));
            }
            let mut response = Forward::to(path).into_response();
            for cookie in head.headers.get_all(http::header::SET_COOKIE) {
                response.headers_mut().append(http::header::SET_COOKIE, cookie.clone());
            }
            return Ok(response);
        }
        let bodiless =
            matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT);
        let body = if self.no_body || bodiless || head.length == Some(0) {
            Body::empty()
        } else {
            Body::new(Arriving { pieces: self.pieces, length: head.length, ended: false })
        };
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        if head.status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        Ok(response)
    }
}

/// The body as it is written. Dropping it tells the other end.
struct Arriving {
    pieces: mpsc::Receiver<Result<Bytes>>,
    /// What is still to come, where that is known.
    length: Option<u64>,
    ended: bool,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        Poll::Ready(match piece {
            Some(Ok(piece)) if piece.is_empty() => {
                self.ended = true;
                None
            }
            Some(Ok(piece)) => {
                self.length = self.length.map(|left| left.saturating_sub(piece.len() as u64));
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None => {
                self.ended = true;
                Some(Err(Error::new(StatusCode::BAD_GATEWAY, "the program's output was given up")))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
