//! Where no snapshot can be taken, everything can be called all the same, and says so.

#![cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]

use purlin_debugger::{Limits, LiveMemory, Refusal, Snapshots, capture, capture_panics, take_panicked};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_capture_says_why_it_holds_nothing() {
    let snapshots = Snapshots::new(Limits::new()).expect("nothing is needed for it");
    assert!(capture().is_none());
    let captured = snapshots.scope(capture).expect("it is watched");
    assert_eq!((captured.registers.len(), captured.watched, snapshots.count()), (0, 0, 0));
    let refusal = captured.memory.expect_err("it is not supported");
    assert_eq!(refusal, Refusal::Unsupported);
    assert!(refusal.is_lasting());
    let text = refusal.to_string();
    assert!(text.starts_with("not supported here: ") && text.contains(std::env::consts::OS), "{text}");
}

#[test]
fn a_panic_is_captured_to_say_the_same() {
    capture_panics();
    let snapshots = Snapshots::new(Limits::new()).expect("nothing is needed for it");
    let caught = catch_unwind(AssertUnwindSafe(|| snapshots.scope(|| panic!("watched"))));
    assert!(caught.is_err());
    let captured = take_panicked().expect("it was watched");
    assert_eq!(captured.memory.expect_err("it is not supported"), Refusal::Unsupported);
}

#[test]
fn the_live_memory_is_not_supported_either() {
    let error = LiveMemory::new().expect_err("there is no way to read it safely");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
