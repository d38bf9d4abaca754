//! How the benches measure.

// Each bench uses a part.
#![allow(dead_code)]

pub(crate) mod callgrind;
pub(crate) mod servers;

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// What a future comes to that never waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing in a bench waits"),
    }
}

/// The time of one call, of so many.
pub(crate) fn nanoseconds<T>(calls: u32, mut work: impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        black_box(work());
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// The allocations of a call that is not the first.
pub(crate) fn allocations<T>(mut work: impl FnMut() -> T) -> u64 {
    work();
    allocation_counter::measure(|| drop(black_box(work()))).count_total
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
