//! The span of a request, which is made when something is logged in it.

use super::Log;
use crate::request::original_uri;
use crate::{Request, RequestExt, RequestId, recording};
use http::{Method, Uri};
use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tracing::Span;
use tracing::span::EnteredSpan;

/// What a request is called in the log.
pub(crate) struct Called {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) id: Option<RequestId>,
}

impl Called {
    pub(crate) fn of(req: &Request) -> Self {
        Self { method: req.method().clone(), uri: original_uri(req).clone(), id: req.id().cloned() }
    }

    fn span(&self) -> Span {
        tracing::info_span!(
            target: "purlin::access",
            "request",
            method = self.method.as_str(),
            path = self.uri.path(),
            id = self.id.as_ref().map(RequestId::as_str),
        )
    }
}

/// The span `request`. To make one, and to write its fields, costs more than a layer, and few requests log anything: so under the
/// log that [`start`](super::start) starts it is made only when somebody looks.
#[derive(Default)]
pub(crate) struct RequestSpan {
    // In the hands of the thread while that works in it: boxed, since it goes there and back.
    called: Option<Box<Called>>,
    span: Option<Span>,
}

thread_local! {
    /// The requests that this thread works on, outermost first, whose spans are made late.
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

struct Open {
    called: Box<Called>,
    span: Option<EnteredSpan>,
}

impl RequestSpan {
    /// That of this request; none, and no span, where nobody wants to know what it is called.
    pub(crate) fn new(called: Option<Called>) -> Self {
        let Some(called) = called else { return Self::default() };
        // Other subscribers may do anything with it; and so may a report, which names the spans that it is from.
        let late = tracing::dispatcher::get_default(|log| log.is::<Log>()) && !recording::is_on();
        Self { span: (!late).then(|| called.span()), called: Some(Box::new(called)) }
    }

    /// Works in the span.
    pub(crate) fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if let Some(span) = &self.span {
            return span.in_scope(work);
        }
        let Some(called) = self.called.take() else {
            return work();
        };
        OPEN.with_borrow_mut(|open| open.push(Open { called, span: None }));
        // Also when the work panics.
        let _closed = Closed(self);
        work()
    }

    /// The future, polled in the span, and then what the request is called.
    pub(crate) fn around<F: Future>(self, future: F) -> Within<F> {
        Within { future, span: self }
    }
}

pin_project_lite::pin_project! {
    /// What [`RequestSpan::around`] returns.
    pub(crate) struct Within<F> {
        #[pin]
        future: F,
        span: RequestSpan,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = (F::Output, Option<Box<Called>>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.span.scope(|| this.future.poll(cx)));
        // The span ends here.
        Poll::Ready((answer, std::mem::take(this.span).called))
    }
}

struct Closed<'a>(&'a mut RequestSpan);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        if let Some(open) = OPEN.with_borrow_mut(Vec::pop) {
            *self.0 = RequestSpan { called: Some(open.called), span: open.span.map(EnteredSpan::exit) };
        }
    }
}

/// Makes the spans that this thread is in and that are not made yet, for somebody who is about to look.
pub(super) fn make() {
    let _ = OPEN.try_with(|open| {
        // It is borrowed where one is being made: that is somebody who looks, too.
        let Ok(mut open) = open.try_borrow_mut() else { return };
        for Open { called, span } in open.iter_mut() {
            span.get_or_insert_with(|| called.span().entered());
        }
    });
}
