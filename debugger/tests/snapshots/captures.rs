//! When something is captured, and which frames.

use super::{alone, limits, snapshots};
use purlin_debugger::{Capture, Memory, Registers, Snapshots, capture, capture_panics, take_panicked};
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Notes where a local variable of it stands, and calls on.
#[inline(never)]
fn nested(depth: usize, places: &mut Vec<u64>, innermost: &mut dyn FnMut() -> Option<Capture>) -> Option<Capture> {
    let local = black_box(depth as u64);
    places.push(&raw const local as u64);
    let captured = if depth == 1 { innermost() } else { nested(depth - 1, places, innermost) };
    // Used afterwards, so that the frame has to stand until then.
    black_box(local);
    captured
}

/// Which frame a place on the stack is in: the last whose stack pointer is not above it.
fn frame_of(registers: &[Registers], place: u64) -> usize {
    registers.partition_point(|frame| frame.sp <= place) - 1
}

#[test]
fn the_frames_are_those_of_the_callers_innermost_first() {
    let (snapshots, mut places) = (snapshots(limits()), Vec::new());
    let captured = snapshots.scope(|| nested(5, &mut places, &mut capture)).expect("it is watched");
    assert!(captured.registers.is_sorted_by(|inner, outer| inner.sp < outer.sp));
    let frames: Vec<usize> = places.iter().map(|&place| frame_of(&captured.registers, place)).collect();
    assert!(frames.is_sorted_by(|outer, inner| outer > inner), "each variable in a frame of its own: {frames:?}");
    // The same function called itself: from the same place, with the same code.
    assert_eq!(captured.registers[frames[1]].ip, captured.registers[frames[2]].ip);
    // Not one of the capture's own stands before them: what there is, is how `nested` calls what it was given.
    assert!(frames[4] <= 2, "{frames:?}");
}

#[test]
fn a_variable_is_found_by_the_registers_of_its_frame() {
    let (snapshots, mut places) = (snapshots(limits()), Vec::new());
    let captured = snapshots.scope(|| nested(3, &mut places, &mut capture)).expect("it is watched");
    let snapshot = captured.memory.expect("a snapshot");
    for (place, expected) in places.iter().zip([3, 2, 1]) {
        let frame = captured.registers[frame_of(&captured.registers, *place)];
        let mut bytes = [0; 8];
        snapshot.read(frame.sp + (place - frame.sp), &mut bytes).expect("the stack is there");
        assert_eq!(u64::from_ne_bytes(bytes), expected);
    }
}

#[test]
fn the_frames_of_whoever_polls_are_told_from_the_watched_ones() {
    let (snapshots, mut outside, mut inside) = (snapshots(limits()), Vec::new(), Vec::new());
    let captured = nested(4, &mut outside, &mut || snapshots.scope(|| nested(3, &mut inside, &mut capture)));
    let captured = captured.expect("it is watched");
    assert!(captured.watched < captured.registers.len());
    assert!(inside.iter().all(|&place| frame_of(&captured.registers, place) < captured.watched));
    assert!(outside.iter().all(|&place| frame_of(&captured.registers, place) >= captured.watched));
}

#[test]
fn a_deep_recursion_gives_the_innermost_frames() {
    let (snapshots, mut places) = (snapshots(limits()), Vec::new());
    let captured = snapshots.scope(|| nested(500, &mut places, &mut capture)).expect("it is watched");
    assert_eq!((captured.registers.len(), captured.watched), (128, 128));
    assert!(captured.registers[0].sp < *places.last().expect("500 of them"));
}

#[test]
fn nothing_is_captured_unless_the_thread_is_watched() {
    let snapshots = snapshots(limits());
    assert!(capture().is_none());
    assert!(Snapshots::current().is_none());
    snapshots.scope(|| {
        assert!(capture().is_some());
        assert!(Snapshots::current().is_some());
        // Another thread is another's affair, unless it is told.
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| capture().is_none()).join());
        assert!(elsewhere.expect("it does not panic"));
        snapshots.scope(|| assert!(capture().is_some()));
        assert!(capture().is_some());
    });
    assert!(capture().is_none());
    let panicked = catch_unwind(AssertUnwindSafe(|| snapshots.scope(|| std::panic::resume_unwind(Box::new(())))));
    assert!(panicked.is_err());
    assert!(capture().is_none(), "a panic leaves the scope as well");
}

#[test]
fn the_innermost_scope_decides_whose_snapshot_it_is() {
    let (outer, inner) = (snapshots(limits()), snapshots(limits()));
    let captured = outer.scope(|| inner.scope(|| Snapshots::current().and_then(|current| current.scope(capture))));
    assert!(captured.is_some());
    assert_eq!((outer.count(), inner.count()), (0, 1));
}

#[test]
fn a_future_is_watched_whenever_and_wherever_it_is_polled() {
    let snapshots = snapshots(limits());
    let mut polls = 0;
    let future = snapshots.watch(async move {
        let first = capture().is_some();
        std::future::poll_fn(|_| {
            polls += 1;
            if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        first && capture().is_some()
    });
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(capture().is_none(), "between the polls this thread does something else");
    let polled = std::thread::spawn(move || future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    assert_eq!(polled.join().expect("it does not panic"), Poll::Ready(true));
}

#[test]
fn two_futures_on_one_thread_are_not_taken_for_each_other() {
    let (watched, count) = (snapshots(limits()), Cell::new(0));
    let once = || {
        let mut pending = true;
        std::future::poll_fn(move |_| if std::mem::take(&mut pending) { Poll::Pending } else { Poll::Ready(()) })
    };
    let seen = async {
        once().await;
        count.set(count.get() + usize::from(capture().is_some()));
    };
    let unseen = async {
        once().await;
        count.set(count.get() + 100 * usize::from(capture().is_some()));
    };
    let (mut seen, mut unseen) = (pin!(watched.watch(seen)), pin!(unseen));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        let _ = seen.as_mut().poll(&mut context);
        let _ = unseen.as_mut().poll(&mut context);
    }
    assert_eq!(count.get(), 1);
}

#[inline(never)]
fn third(numbers: &[u64], place: &Cell<u64>) -> u64 {
    let index = black_box(numbers.len() as u64 + 39);
    place.set(&raw const index as u64);
    let found = numbers[index as usize];
    black_box(index);
    found
}

#[test]
fn a_panic_is_captured_with_the_frames_that_are_gone_when_it_is_caught() {
    alone("captures::a_panic_is_captured_with_the_frames_that_are_gone_when_it_is_caught", || {
        capture_panics();
        capture_panics();
        let (snapshots, place) = (snapshots(limits()), Cell::new(0));
        let caught = snapshots.scope(|| catch_unwind(AssertUnwindSafe(|| third(&[1, 2, 3], &place))));
        assert!(caught.is_err());
        let captured = take_panicked().expect("it was watched");
        assert!(take_panicked().is_none(), "once is enough");
        let snapshot = captured.memory.expect("a snapshot");
        let mut bytes = [0; 8];
        snapshot.read(place.get(), &mut bytes).expect("the stack is there");
        assert_eq!(u64::from_ne_bytes(bytes), 42);
        assert!(frame_of(&captured.registers, place.get()) < captured.watched);
    });
}

#[test]
fn a_panic_of_a_thread_that_is_not_watched_is_let_alone() {
    alone("captures::a_panic_of_a_thread_that_is_not_watched_is_let_alone", || {
        capture_panics();
        assert!(catch_unwind(|| panic!("nobody watches")).is_err());
        assert!(take_panicked().is_none());
    });
}

#[test]
fn the_hook_that_was_there_before_is_called() {
    alone("captures::the_hook_that_was_there_before_is_called", || {
        thread_local!(static CALLED: Cell<usize> = const { Cell::new(0) });
        std::panic::set_hook(Box::new(|_| CALLED.set(CALLED.get() + 1)));
        capture_panics();
        let snapshots = snapshots(limits());
        assert!(catch_unwind(AssertUnwindSafe(|| snapshots.scope(|| panic!("watched")))).is_err());
        assert_eq!(CALLED.get(), 1);
        assert!(take_panicked().is_some(), "also when it is caught outside of the scope");
    });
}

/// Work that catches its own panic, and then work whose panic comes from another thread, where the hook ran.
#[test]
fn a_panic_that_was_caught_and_forgotten_is_not_taken_for_the_next() {
    alone("captures::a_panic_that_was_caught_and_forgotten_is_not_taken_for_the_next", || {
        capture_panics();
        let snapshots = snapshots(limits());
        snapshots.scope(|| assert!(catch_unwind(|| panic!("forgotten")).is_err()));
        let next = || std::panic::resume_unwind(Box::new("without a hook"));
        assert!(catch_unwind(AssertUnwindSafe(|| snapshots.scope(next))).is_err());
        assert!(take_panicked().is_none());
        super::eventually("the forgotten one is let go", || super::children().is_empty());
    });
}

/// The program's allocator fails in a capture, and what it fails with captures.
mod allocator {
    use super::*;
    use std::alloc::{GlobalAlloc, Layout, System};

    thread_local!(static PROBED: Cell<Option<usize>> = const { Cell::new(None) });

    struct Probe;

    #[global_allocator]
    static PROBE: Probe = Probe;

    unsafe impl GlobalAlloc for Probe {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if let Some(nested) = PROBED.get() {
                PROBED.set(None);
                let captured = capture();
                PROBED.set(Some(nested + usize::from(captured.is_none())));
            }
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    #[test]
    fn a_capture_within_a_capture_is_none() {
        let snapshots = snapshots(limits());
        let captured = snapshots.scope(|| {
            PROBED.set(Some(0));
            capture()
        });
        let nested = PROBED.replace(None).expect("it was set");
        assert!(nested > 0, "a capture allocates");
        assert!(captured.is_some_and(|captured| captured.memory.is_ok()));
        assert!(snapshots.scope(capture).is_some(), "and the next one is as ever");
    }
}
