//! What a capture costs: `cargo run --release -p purlin-debugger --example cost`, a minute on a quiet machine.

use purlin_debugger::{Capture, Limits, Memory, Snapshot, Snapshots, capture};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limits = Limits::new().per_second(usize::MAX).resident_bytes(u64::MAX);
    let (none, one) = (Snapshots::new(limits.snapshots(0))?, Snapshots::new(limits.snapshots(1))?);

    println!("capture, nothing watched           {:>12}", each(1000, 1000, || drop(black_box(capture()))));
    for depth in [10, 40, 120] {
        let time = each(100, 50, || drop(black_box(nested(depth, &|| none.capture()))));
        println!("capture, {depth:>3} frames, no snapshot   {time:>12}");
    }
    if let Some(Err(refusal)) = one.capture().map(|capture| capture.memory) {
        println!("no snapshot: {refusal}");
        return Ok(());
    }
    // Huge pages make a fork cheap; a server whose memory came bit by bit has few of them.
    small_pages();
    for resident in [0, 100 << 20, 1 << 30_usize] {
        let mut memory = vec![1_u8; resident];
        let name = match resident >> 20 {
            0 => "small".to_owned(),
            mebibytes => format!("{mebibytes} MiB"),
        };
        let mut snapshots = Vec::new();
        println!(
            "capture with snapshot, {name:<11} {:>12}",
            each(40, 1, || {
                snapshots.clear();
                snapshots.extend(nested(40, &|| one.capture()).and_then(|capture| capture.memory.ok()));
            })
        );
        let begun = Instant::now();
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 2);
        println!("  then writing to all of it once   {:>12}", format!("{:.1?}", begun.elapsed()));
        if let Some(snapshot) = snapshots.first().filter(|_| resident > 0) {
            let pages = memory.as_ptr_range();
            let mut address = pages.start as u64;
            println!("  reading a page                   {:>12}", each(100, 10, || read(snapshot, &mut address)));
            address = pages.start as u64 - 4096;
            println!(
                "  reading it again                 {:>12}",
                each(100, 10, || {
                    address = pages.start as u64;
                    read(snapshot, &mut address);
                })
            );
        }
        let begun = Instant::now();
        snapshots.clear();
        println!("  dropping it                      {:>12}", format!("{:.1?}", begun.elapsed()));
        black_box(memory);
    }
    Ok(())
}

fn read(snapshot: &Snapshot, address: &mut u64) {
    let mut bytes = [0; 8];
    snapshot.read(*address, &mut bytes).expect("it is alive, and this is mapped");
    *address += 4096;
}

/// The median of some rounds, and the longest.
fn each(rounds: usize, times: u32, mut work: impl FnMut()) -> String {
    let mut rounds: Vec<Duration> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            (0..times).for_each(|_| work());
            begun.elapsed() / times
        })
        .collect();
    rounds.sort_unstable();
    format!("{:.2?} (at most {:.2?})", rounds[rounds.len() / 2], rounds[rounds.len() - 1])
}

#[inline(never)]
fn nested(depth: usize, innermost: &dyn Fn() -> Option<Capture>) -> Option<Capture> {
    let local = black_box(depth);
    let captured = if depth <= 1 { innermost() } else { nested(depth - 1, innermost) };
    black_box(local);
    captured
}

#[cfg(target_os = "linux")]
fn small_pages() {
    // SAFETY: takes no pointer; concerns memory that is mapped from now on.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

#[cfg(not(target_os = "linux"))]
fn small_pages() {}
