//! Waits for a future on a thread that may block.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Runs a future to its end on this thread.
///
/// Not tokio's own `block_on`, in which another one panics: code that blocks may well have one inside, as clients of databases
/// and of HTTP do that wrap an asynchronous one.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parked = Arc::new(Parked { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(parked.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // The flag counts, and not the token of `park`: code in the future may have used that up.
        while !parked.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_is_not_lost_whose_token_was_used_up() {
        let mut polls = 0;
        let output = block_on(std::future::poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                cx.waker().wake_by_ref();
                // As a channel's `recv` in the future might.
                thread::park();
                return Poll::Pending;
            }
            Poll::Ready(polls)
        }));
        assert_eq!(output, 2);
    }

    #[test]
    fn one_may_be_inside_another() {
        assert_eq!(block_on(async { block_on(async { 7 }) }), 7);
    }
}
