//! A panic as an error: caught, with its place and its backtrace.

use crate::error::Place;
use crate::recording::{self, Span};
use crate::{Error, Result};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

thread_local! {
    /// How many guarded polls this thread is in.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<Option<Facts>> = const { RefCell::new(None) };
}

struct Facts {
    place: Option<Place>,
    backtrace: Backtrace,
    // Those that the panic leaves: they are closed when it has been caught.
    spans: Vec<Span>,
    #[cfg(all(feature = "debugger", debug_assertions))]
    captured: crate::debugger::Captured,
}

/// Runs `future`; a panic in it becomes an error with the panic's message, place and backtrace.
///
/// What the future had borrowed may be left half-changed, as after any unwinding; a handler shares nothing with the next
/// request but what it locks, and a poisoned lock says so.
///
/// # Errors
///
/// 500 after a panic.
pub(crate) fn caught<F: Future>(future: F) -> Caught<F> {
    Caught { future }
}

pin_project_lite::pin_project! {
    /// What `caught` returns. Not an `async fn`, which would move the future once more, and have room for it twice.
    pub(crate) struct Caught<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<F::Output>> {
        let future = self.project().future;
        match guarded(|| future.poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// The same for what is no future.
///
/// # Errors
///
/// 500 after a panic.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T> {
    watch();
    let guard = Guard::enter();
    let result = catch_unwind(AssertUnwindSafe(work));
    drop(guard);
    result.map_err(|payload| error_of(&*payload))
}

fn error_of(payload: &(dyn std::any::Any + Send)) -> Error {
    let message = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic whose payload is no text".to_owned());
    let facts = LAST.with_borrow_mut(Option::take);
    let Some(facts) = facts else {
        return Error::panic(message, None, None, Vec::new());
    };
    let error = Error::panic(message, facts.place, Some(facts.backtrace), facts.spans);
    #[cfg(all(feature = "debugger", debug_assertions))]
    let error = error.with_captured(facts.captured);
    error
}

struct Guard;

impl Guard {
    fn enter() -> Self {
        GUARDED.set(GUARDED.get() + 1);
        Guard
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDED.set(GUARDED.get() - 1);
    }
}

/// Chains a panic hook, once a process. Inside a guarded poll it notes the facts, which the error then carries to the
/// log; any other panic goes to the hook that was there.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.try_with(Cell::get).unwrap_or(0) == 0 {
                return before(info);
            }
            // First: the backtrace loads the debug information, which a copy of the process need not have.
            #[cfg(all(feature = "debugger", debug_assertions))]
            let captured = crate::debugger::capture();
            let place = info.location().map(Place::of_panic);
            let facts = Facts {
                place,
                backtrace: Backtrace::force_capture(),
                spans: recording::spans(),
                #[cfg(all(feature = "debugger", debug_assertions))]
                captured,
            };
            // A panic while the facts are borrowed must not panic again: the hook would abort the process.
            let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(facts)));
        }));
    });
}
