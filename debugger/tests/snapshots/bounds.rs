//! How many there are, for how long, and how often.

use super::{alone, children, descriptors, eventually, freeze, limits, process, snapshots};
use purlin_debugger::{Ended, Limits, Memory, Refusal, Unreadable};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[test]
fn a_further_one_ends_the_one_longest_out_of_use() {
    let snapshots = snapshots(limits().snapshots(3));
    let value = black_box(1_u64);
    let (at, mut bytes) = (&raw const value as u64, [0; 8]);
    let [first, second, third] = [freeze(&snapshots), freeze(&snapshots), freeze(&snapshots)];
    assert_eq!(snapshots.count(), 3);
    // Somebody works with the first one.
    first.read(at, &mut bytes).expect("it is alive");
    let fourth = freeze(&snapshots);
    assert_eq!(snapshots.count(), 3);
    assert_eq!(
        [&first, &second, &third, &fourth].map(|snapshot| snapshot.ended()),
        [None, Some(Ended::Evicted), None, None]
    );
    assert_eq!(second.read(at, &mut bytes), Err(Unreadable::Ended(Ended::Evicted)));
    assert_eq!(
        second.read(8, &mut bytes).map_err(|e| e.to_string()),
        Err("the snapshot gave way to a newer one".into())
    );
    eventually("its process is gone", || process(second.pid()).is_none());
    // Also when what is read was known already.
    first.read(at, &mut bytes).expect("it is alive");
    let fifth = freeze(&snapshots);
    assert_eq!((first.ended(), third.ended()), (None, Some(Ended::Evicted)));
    drop(fourth);
    assert_eq!(snapshots.count(), 2);
    // Now there is room.
    let _sixth = freeze(&snapshots);
    assert_eq!((first.ended(), fifth.ended()), (None, None));
}

#[test]
fn together_they_stay_within_the_memory_that_is_given_to_them() {
    alone("bounds::together_they_stay_within_the_memory_that_is_given_to_them", || {
        let snapshots = snapshots(limits().total_bytes(400 << 20));
        let small = [freeze(&snapshots), freeze(&snapshots), freeze(&snapshots), freeze(&snapshots)];
        assert_eq!(snapshots.count(), 4);
        let large = black_box(vec![1_u8; 120 << 20]);
        let kept = freeze(&snapshots);
        // Three of them would have room.
        assert!((2..=3).contains(&snapshots.count()), "{}", snapshots.count());
        assert_eq!((small[0].ended(), kept.ended()), (Some(Ended::Evicted), None));
        let tight = super::snapshots(limits().total_bytes(1));
        let (first, second) = (freeze(&tight), freeze(&tight));
        assert_eq!((first.ended(), second.ended()), (Some(Ended::Evicted), None));
        drop(black_box(large));
    });
}

#[test]
fn what_was_read_before_its_end_is_still_known() {
    let snapshots = snapshots(limits().snapshots(1));
    let value = black_box([7_u8; 3]);
    let (first, mut bytes) = (freeze(&snapshots), [0; 3]);
    first.read(value.as_ptr() as u64, &mut bytes).expect("it is alive");
    let _second = freeze(&snapshots);
    assert_eq!(first.ended(), Some(Ended::Evicted));
    first.read(value.as_ptr() as u64, &mut bytes).expect("the page is known");
    assert_eq!(bytes, [7; 3]);
}

#[test]
fn one_of_age_ends() {
    let snapshots = snapshots(limits().age(Duration::from_millis(30)));
    let begun = Instant::now();
    let snapshot = freeze(&snapshots);
    eventually("it is ended for its age", || snapshot.ended().is_some());
    assert!(begun.elapsed() >= Duration::from_millis(30));
    assert_eq!(snapshot.ended(), Some(Ended::Aged));
    assert_eq!(snapshots.count(), 0);
    eventually("its process is gone", || process(snapshot.pid()).is_none());
    assert_eq!(snapshot.read(8, &mut [0]), Err(Unreadable::Ended(Ended::Aged)));
}

#[test]
fn an_age_beyond_all_clocks_is_a_long_one() {
    let snapshots = snapshots(limits().age(Duration::MAX).answer_within(Duration::MAX));
    let value = black_box(3_u8);
    let (snapshot, mut byte) = (freeze(&snapshots), [0]);
    snapshot.read(&raw const value as u64, &mut byte).expect("it is alive");
    assert_eq!((byte, snapshot.ended()), ([3], None));
}

/// 50 failures in a second: the eleventh is a report without a snapshot.
#[test]
fn a_storm_of_failures_gets_ten_snapshots_a_second() {
    alone("bounds::a_storm_of_failures_gets_ten_snapshots_a_second", || {
        // Again if the machine was busy with something else: the promise is about failures within a second.
        let storm = || {
            let (snapshots, begun) = (snapshots(Limits::new()), Instant::now());
            let captures: Vec<_> = (0..50).map(|_| snapshots.capture().expect("it is not capturing")).collect();
            (begun.elapsed() < Duration::from_secs(1)).then_some((snapshots, captures, begun))
        };
        let (snapshots, captures, begun) = (0..20).find_map(|_| storm()).expect("50 failures within a second");
        assert!(captures.iter().all(|capture| !capture.registers.is_empty()), "frames there are always");
        let (taken, refused) = captures.split_at(10);
        assert!(taken.iter().all(|capture| capture.memory.is_ok()));
        for capture in refused {
            let refusal = *capture.memory.as_ref().expect_err("it is beyond the limit");
            assert_eq!(refusal, Refusal::Rate { limit: 10 });
            assert_eq!(refusal.to_string(), "the limit of 10 snapshots a second was reached");
            assert!(!refusal.is_lasting());
        }
        assert_eq!((snapshots.count(), children().len()), (10, 10));
        // One descriptor for each that is alive, though all fifty captures are held.
        let alive = descriptors(std::process::id());
        drop(captures);
        eventually("all are gone", || children().is_empty());
        eventually("with their descriptors", || descriptors(std::process::id()) == alive - 10);
        eventually("a second later there may be another", || {
            snapshots.capture().is_some_and(|capture| capture.memory.is_ok())
        });
        assert!(begun.elapsed() >= Duration::from_secs(1));
    });
}

#[test]
fn dropping_one_ends_its_process() {
    let snapshots = snapshots(limits());
    let snapshot = freeze(&snapshots);
    let pid = snapshot.pid();
    assert!(process(pid).is_some());
    drop(snapshot);
    assert_eq!(snapshots.count(), 0);
    eventually("its process is gone", || process(pid).is_none());
}

#[test]
fn dropping_the_whole_ends_and_reaps_all_before_it_returns() {
    let snapshots = snapshots(limits());
    let kept = [freeze(&snapshots), freeze(&snapshots)];
    let clone = snapshots.clone();
    drop(snapshots);
    assert_eq!(kept[0].ended(), None, "a clone is left");
    drop(clone);
    for snapshot in kept {
        assert!(process(snapshot.pid()).is_none());
        assert_eq!(snapshot.read(8, &mut [0]), Err(Unreadable::Ended(Ended::Closed)));
    }
}

#[test]
fn nothing_is_left_of_a_thousand() {
    alone("bounds::nothing_is_left_of_a_thousand", || {
        let before = descriptors(std::process::id());
        let watching = snapshots(limits());
        let value = black_box(9_u8);
        for round in 0..1000 {
            let (snapshot, mut byte) = (freeze(&watching), [0]);
            if round % 10 == 0 {
                snapshot.read(&raw const value as u64, &mut byte).expect("it is alive");
                assert_eq!(byte, [9]);
            }
        }
        drop(watching);
        assert_eq!(children(), []);
        assert_eq!(descriptors(std::process::id()), before);
        let threads = std::fs::read_dir("/proc/self/task").expect("/proc is there").count();
        drop(snapshots(limits()));
        let again = std::fs::read_dir("/proc/self/task").expect("/proc is there").count();
        assert_eq!(again, threads, "the thread that reaps ends too");
    });
}
