//! What one request logs, and the spans it is in: kept while somebody asked for it.

use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use tracing::span::Id;

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

/// The last lines of one request, and the spans it is in.
///
/// A registry of spans could be asked for those; but whoever writes a field holds its lock, and a `Debug` that panics there
/// would meet it in the panic hook. Nobody else's code runs under this lock.
#[derive(Clone, Debug)]
pub(crate) struct Recording(Arc<Recorded>);

#[derive(Debug)]
struct Recorded {
    since: Instant,
    most: usize,
    state: Arc<Mutex<State>>,
    /// The spans that the request is in, outermost first. Each thread that works on a part of it is in its own.
    entered: Mutex<Vec<Id>>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    spans: VecDeque<(Id, Span)>,
}

impl Recording {
    /// Of at most so many lines; made of one that is not needed any more, if that is in nobody else's hands.
    pub(crate) fn new(most: usize, spare: Option<Self>) -> Self {
        let since = Instant::now();
        if let Some(Self(mut spare)) = spare
            && let Some(recorded) = Arc::get_mut(&mut spare)
            && let Some(state) = Arc::get_mut(&mut recorded.state)
        {
            (recorded.since, recorded.most) = (since, most);
            *state.get_mut().unwrap_or_else(PoisonError::into_inner) = State::default();
            recorded.entered.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
            return Self(spare);
        }
        Self(Arc::new(Recorded { since, most, state: Arc::default(), entered: Mutex::default() }))
    }

    /// That of this thread, for a part of the request that goes on elsewhere: in the spans that this thread is in now.
    pub(crate) fn elsewhere() -> Option<Self> {
        let here = Self::current()?;
        let entered = Mutex::new(here.entered().clone());
        let Recorded { since, most, ref state, .. } = *here.0;
        Some(Self(Arc::new(Recorded { since, most, state: state.clone(), entered })))
    }

    /// That of this thread.
    fn current() -> Option<Self> {
        CURRENT.try_with(|current| current.try_borrow().ok().and_then(|current| current.clone())).ok().flatten()
    }

    /// What was logged, oldest first.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.locked().lines.iter().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entered(&self) -> MutexGuard<'_, Vec<Id>> {
        self.0.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this thread works on a request that is recorded.
pub(crate) fn is_on() -> bool {
    CURRENT.try_with(|current| current.try_borrow().is_ok_and(|current| current.is_some())).unwrap_or(false)
}

/// More spans are not kept at a time.
const MOST_SPANS: usize = 64;

/// Adds a line to the recording of this thread, if there is one.
pub(crate) fn add(line: impl FnOnce() -> Line) {
    let Some(recording) = Recording::current() else {
        return;
    };
    let mut line = line();
    line.after_ms = recording.0.since.elapsed().as_millis() as u64;
    let lines = &mut recording.locked().lines;
    if lines.len() >= recording.0.most {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// A span begins.
pub(crate) fn begin(id: &Id, span: impl FnOnce() -> Span) {
    let Some(recording) = Recording::current() else {
        return;
    };
    let span = span();
    let spans = &mut recording.locked().spans;
    // Ids are used again.
    spans.retain(|(other, _)| other != id);
    if spans.len() >= MOST_SPANS {
        spans.pop_front();
    }
    spans.push_back((id.clone(), span));
}

/// A span has new fields, which replace those of the same name.
pub(crate) fn record(id: &Id, fields: impl FnOnce() -> Vec<(String, String)>) {
    let Some(recording) = Recording::current() else {
        return;
    };
    let fields = fields();
    let spans = &mut recording.locked().spans;
    if let Some((_, span)) = spans.iter_mut().find(|(other, _)| other == id) {
        span.fields.retain(|(name, _)| !fields.iter().any(|(newer, _)| newer == name));
        span.fields.extend(fields);
    }
}

/// This thread is in a span from now on.
pub(crate) fn enter(id: &Id) {
    if let Some(recording) = Recording::current() {
        recording.entered().push(id.clone());
    }
}

/// And now no more.
pub(crate) fn exit(id: &Id) {
    if let Some(recording) = Recording::current() {
        let mut entered = recording.entered();
        if let Some(at) = entered.iter().rposition(|other| other == id) {
            entered.remove(at);
        }
    }
}

/// The spans that this thread is in, innermost first; none where nothing is recorded.
pub(crate) fn spans() -> Vec<Span> {
    let Some(recording) = Recording::current() else {
        return Vec::new();
    };
    let (state, entered) = (recording.locked(), recording.entered());
    let known = |id: &Id| state.spans.iter().find(|(other, _)| other == id).map(|(_, span)| span.clone());
    entered.iter().rev().take(MOST_SPANS).filter_map(known).collect()
}

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
        scope(this.recording.as_ref(), || this.future.poll(cx))
    }
}

/// The same of what is no future.
pub(crate) fn scope<T>(recording: Option<&Recording>, work: impl FnOnce() -> T) -> T {
    let Some(recording) = recording else {
        return work();
    };
    // Put back also when the work panics.
    let _before = Before(CURRENT.replace(Some(recording.clone())));
    work()
}

struct Before(Option<Recording>);

impl Drop for Before {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
