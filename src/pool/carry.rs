//! What goes with a request's work to another thread.

use crate::recording::{self, Recording};
use tokio::runtime::Handle;
use tracing::{Dispatch, Span, dispatcher};

/// What a thread knows of the request that it works on: where its log goes, in which span and trace it is, what its report keeps, who
/// debugs it, and the runtime that its timers and sockets are of.
pub(super) struct Carried {
    log: Dispatch,
    span: Span,
    recording: Option<Recording>,
    runtime: Option<Handle>,
    #[cfg(feature = "opentelemetry")]
    trace: opentelemetry::Context,
    #[cfg(all(feature = "debugger", debug_assertions))]
    watching: crate::debugger::Watching,
}

impl Carried {
    pub(super) fn of_here() -> Self {
        Self {
            log: dispatcher::get_default(Dispatch::clone),
            span: Span::current(),
            recording: Recording::elsewhere(),
            runtime: Handle::try_current().ok(),
            #[cfg(feature = "opentelemetry")]
            trace: opentelemetry::Context::current(),
            #[cfg(all(feature = "debugger", debug_assertions))]
            watching: crate::debugger::Watching::of_here(),
        }
    }

    /// Does a part of the request's work on this thread.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        dispatcher::with_default(&self.log, || {
            #[cfg(feature = "opentelemetry")]
            let _trace = self.trace.clone().attach();
            // Entered before anything is recorded, which knows of the span already.
            let _span = self.span.enter();
            let _runtime = self.runtime.as_ref().map(Handle::enter);
            recording::scope(self.recording.as_ref(), || {
                #[cfg(all(feature = "debugger", debug_assertions))]
                return self.watching.scope(work);
                #[cfg(not(all(feature = "debugger", debug_assertions)))]
                work()
            })
        })
    }
}
