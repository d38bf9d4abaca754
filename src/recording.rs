//! What one request logs, and the spans it is in: kept while somebody asked for it.

use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// A span, with the fields it had when an error arose in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Where it is from: the module, mostly.
    pub target: String,
    /// Its fields and their values.
    pub fields: Vec<(String, String)>,
}

/// An event of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Line {
    /// Milliseconds since the request came.
    pub after_ms: u64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: String,
    /// Where it is from: the module, mostly.
    pub target: String,
    /// The message.
    pub message: String,
    /// Its other fields and their values.
    pub fields: Vec<(String, String)>,
}

thread_local! {
    /// The recording of the request that this thread works on.
    static CURRENT: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// The last lines of one request.
#[derive(Clone, Debug)]
pub(crate) struct Recording(Arc<Recorded>);

#[derive(Debug)]
struct Recorded {
    since: std::time::Instant,
    most: usize,
    lines: Mutex<VecDeque<Line>>,
}

impl Recording {
    /// Of at most so many lines.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Recorded { since: std::time::Instant::now(), most, lines: Mutex::default() }))
    }

    /// What was logged, oldest first.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.locked().iter().cloned().collect()
    }

    fn push(&self, mut line: Line) {
        line.after_ms = self.0.since.elapsed().as_millis() as u64;
        let mut lines = self.locked();
        if lines.len() == self.0.most {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what happens on this thread is recorded.
pub(crate) fn is_on() -> bool {
    CURRENT.try_with(|current| current.try_borrow().is_ok_and(|current| current.is_some())).unwrap_or(false)
}

/// Adds a line to the recording of this thread, if there is one.
pub(crate) fn add(line: impl FnOnce() -> Line) {
    let current = CURRENT.try_with(|current| current.try_borrow().ok().and_then(|current| current.clone()));
    if let Ok(Some(recording)) = current {
        recording.push(line());
    }
}

/// The spans that this thread is in, innermost first; none where nothing is recorded.
pub(crate) fn spans() -> Vec<Span> {
    if !is_on() {
        return Vec::new();
    }
    tracing::dispatcher::get_default(|dispatch| {
        let current = dispatch.current_span();
        let registry = dispatch.downcast_ref::<Registry>();
        let Some(span) = registry.zip(current.id()).and_then(|(registry, id)| registry.span(id)) else {
            return Vec::new();
        };
        let told = span.scope().take(MOST_SPANS).map(|span| Span {
            name: span.name().to_owned(),
            target: span.metadata().target().to_owned(),
            fields: span.extensions().get::<Fields>().map(|fields| fields.0.clone()).unwrap_or_default(),
        });
        told.collect()
    })
}

const MOST_SPANS: usize = 32;

/// The fields of a span, in its extensions.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

pin_project_lite::pin_project! {
    /// A future whose polls are recorded.
    pub(crate) struct Watched<F> {
        #[pin]
        future: F,
        recording: Option<Recording>,
    }
}

/// Records what the future logs; nothing without a recording.
pub(crate) fn watched<F: Future>(recording: Option<Recording>, future: F) -> Watched<F> {
    Watched { future, recording }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(recording) = this.recording else {
            return this.future.poll(cx);
        };
        // Put back also when the future panics.
        let _before = Before(CURRENT.replace(Some(recording.clone())));
        this.future.poll(cx)
    }
}

struct Before(Option<Recording>);

impl Drop for Before {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
