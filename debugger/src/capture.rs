//! The moment of failure: the frames of the thread, and the copy of its memory.

use crate::memory::Registers;
use crate::snapshot::{Refusal, Shared, Snapshot, Snapshots};
use crate::system;
use std::cell::{Cell, RefCell};
use std::panic;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};

/// How many frames are noted, from the innermost on.
const FRAMES: usize = 128;

/// What is known of a failure: where the thread stood, and the memory of that moment.
#[derive(Debug)]
#[non_exhaustive]
pub struct Capture {
    /// The frames of the thread, innermost first, from the caller of [`capture`](fn@capture) on; at most 128.
    pub registers: Box<[Registers]>,
    /// How many of them are inside of what is watched. The rest belong to whoever polls it: the server and the runtime.
    pub watched: usize,
    /// The memory, or why there is none.
    pub memory: Result<Snapshot, Refusal>,
}

/// Which snapshots a failure on this thread is for.
#[derive(Clone, Copy)]
struct Watched {
    snapshots: NonNull<Shared>,
    /// An address in the frame of `scope`.
    frame: u64,
}

thread_local! {
    // Neither needs to be made or dropped, so looking at it is one load.
    static WATCHED: Cell<Option<Watched>> = const { Cell::new(None) };
    static CAPTURING: Cell<bool> = const { Cell::new(false) };
    static PANICKED: RefCell<Option<Capture>> = const { RefCell::new(None) };
}

/// Captures the current thread, if what it runs is watched ([`Snapshots::watch`]); else it is one comparison.
///
/// To be called where the failure arises and its frames are still alive: in the conversion `From<E> for Error`, in a panic
/// hook. It never waits: what stands in the way becomes the [`Refusal`] in [`Capture::memory`]. None while this thread is
/// capturing already, as when the program's allocator fails in it.
///
/// ```
/// assert!(purlin_debugger::capture().is_none()); // nothing is watched
/// ```
// Also in a debug build: so it is a comparison in the caller, and no frame.
#[inline(always)]
pub fn capture() -> Option<Capture> {
    match WATCHED.get() {
        None => None,
        Some(watched) => capture_watched(watched),
    }
}

#[cold]
#[inline(never)]
fn capture_watched(watched: Watched) -> Option<Capture> {
    let mark = 0_u8;
    // SAFETY: `scope` holds a reference to the snapshots for as long as this is set, and set it on this thread.
    let shared = unsafe { watched.snapshots.as_ref() };
    capture_between(&raw const mark as u64, watched.frame, shared)
}

/// Notes the frames outside of the one that `inside` is an address in; watched are those inside of the one of `outside`.
fn capture_between(inside: u64, outside: u64, shared: &Shared) -> Option<Capture> {
    let _capturing = Capturing::begin()?;
    let mut frames = [Registers::default(); FRAMES];
    let count = system::unwind(&mut frames, inside);
    let memory = shared.take();
    let registers: Box<[Registers]> = frames[..count].into();
    let watched = registers.iter().take_while(|frame| frame.sp < outside).count();
    Some(Capture { registers, watched, memory })
}

/// While it lives, this thread is capturing.
struct Capturing;

impl Capturing {
    fn begin() -> Option<Self> {
        if CAPTURING.replace(true) { None } else { Some(Self) }
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        CAPTURING.set(false);
    }
}

impl Snapshots {
    /// Captures the current thread, watched or not. As [`capture`](fn@capture) else.
    #[inline(never)]
    pub fn capture(&self) -> Option<Capture> {
        let mark = 0_u8;
        capture_between(&raw const mark as u64, u64::MAX, &self.shared)
    }

    /// The snapshots that this thread is watched for: to be carried to where a part of the work goes, another thread or a task.
    ///
    /// ```
    /// use purlin_debugger::{Limits, Snapshots, capture};
    ///
    /// let snapshots = Snapshots::new(Limits::new())?;
    /// let captured = snapshots.scope(|| {
    ///     let snapshots = Snapshots::current().expect("this thread is watched");
    ///     std::thread::spawn(move || snapshots.scope(capture)).join()
    /// });
    /// assert!(captured.is_ok_and(|captured| captured.is_some()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn current() -> Option<Self> {
        let shared = WATCHED.get()?.snapshots.as_ptr();
        // SAFETY: the pointer is that of an `Arc`, as `scope` has it, which a reference held by `scope` keeps alive. The count
        // is raised for the clone that is made here.
        let shared = unsafe {
            Arc::increment_strong_count(shared);
            Arc::from_raw(shared)
        };
        Some(Self { shared })
    }

    /// Watches what `work` does on this thread: a [`capture`](fn@capture) in it is for these snapshots.
    pub fn scope<R>(&self, work: impl FnOnce() -> R) -> R {
        let mark = 0_u8;
        // Through the `Arc`'s own pointer, so that `current` may make a clone of it.
        let shared = Arc::as_ptr(&self.shared).cast_mut();
        // An `Arc`'s pointer is never null.
        let watched = NonNull::new(shared).map(|snapshots| Watched { snapshots, frame: &raw const mark as u64 });
        let before = WATCHED.replace(watched);
        if before.is_none() {
            // Of a panic that somebody caught without asking; not to be taken for one of this work.
            drop(take_panicked());
        }
        // Also when `work` panics. Scopes nest, since each is a call: so what is put back is still alive.
        let _restore = Restore(before);
        work()
    }

    /// Watches a future: whenever it is polled, on whichever thread, it is in a [`scope`](Self::scope).
    ///
    /// ```
    /// use purlin_debugger::{Limits, Snapshots, capture};
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     match std::pin::pin!(future).poll(&mut context) {
    /// #         std::task::Poll::Ready(output) => output,
    /// #         std::task::Poll::Pending => unreachable!("nothing is waited for"),
    /// #     }
    /// # }
    ///
    /// let snapshots = Snapshots::new(Limits::new())?;
    /// let captured = block_on(snapshots.watch(async { capture() }));
    /// assert!(captured.is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn watch<F: Future>(&self, future: F) -> Watch<F> {
        Watch { snapshots: self.clone(), future }
    }
}

struct Restore(Option<Watched>);

impl Drop for Restore {
    fn drop(&mut self) {
        WATCHED.set(self.0);
    }
}

/// The future of [`Snapshots::watch`].
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub struct Watch<F> {
    snapshots: Snapshots,
    future: F,
}

impl<F: Future> Future for Watch<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned whenever `self` is: it is never moved out, `Watch` has no `Drop` of its own, and is `Unpin`
        // only if `F` is, since that is what the compiler gives. `snapshots` is not treated as pinned.
        let (snapshots, future) = unsafe {
            let this = self.get_unchecked_mut();
            (&this.snapshots, Pin::new_unchecked(&mut this.future))
        };
        snapshots.scope(|| future.poll(context))
    }
}

/// From now on each panic of a watched thread is captured, and waits for [`take_panicked`]. The hook that was there before is
/// called afterwards; once is enough, further calls do nothing.
///
/// Before and not after, since std's hook may load the debug information of the whole program to print a backtrace, and the
/// copy would have that too.
pub fn capture_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some(capture) = capture() {
                keep_panicked(capture);
            }
            before(info);
        }));
    });
}

/// The capture of the last panic on this thread: for whoever caught it, right after `catch_unwind` has returned.
///
/// ```
/// use purlin_debugger::{Limits, Snapshots, capture_panics, take_panicked};
/// use std::panic::catch_unwind;
///
/// capture_panics();
/// let snapshots = Snapshots::new(Limits::new())?;
/// let panicked = snapshots.scope(|| catch_unwind(|| [1, 2, 3].iter().position(|&n| n == 4).unwrap()));
/// assert!(panicked.is_err());
/// assert!(take_panicked().is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn take_panicked() -> Option<Capture> {
    // None also when the thread is ending, and while a capture is being exchanged.
    PANICKED.try_with(|panicked| panicked.try_borrow_mut().ok().and_then(|mut panicked| panicked.take())).ok().flatten()
}

fn keep_panicked(capture: Capture) {
    let mut capture = Some(capture);
    let _ = PANICKED.try_with(|panicked| {
        if let Ok(mut panicked) = panicked.try_borrow_mut() {
            std::mem::swap(&mut *panicked, &mut capture);
        }
    });
    // What was there before, if anything, is dropped here, outside of the borrow.
}
