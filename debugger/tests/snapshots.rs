//! What the crate promises of captures and frozen copies, through its public face.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
// The promises are about processes, signals and descriptors: for those std has no calls.
#![allow(clippy::undocumented_unsafe_blocks)]

#[path = "snapshots/bounds.rs"]
mod bounds;
#[path = "snapshots/captures.rs"]
mod captures;
#[path = "snapshots/memory.rs"]
mod memory;
#[path = "snapshots/processes.rs"]
mod processes;
#[path = "snapshots/refusals.rs"]
mod refusals;

use purlin_debugger::{Limits, Snapshot, Snapshots};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Without the limit of a rate, which tests of other things would run into.
fn limits() -> Limits {
    Limits::new().per_second(1_000_000)
}

fn snapshots(limits: Limits) -> Snapshots {
    Snapshots::new(limits).expect("a thread and a descriptor")
}

/// A snapshot of this moment. Another thread of the same `Snapshots` may be in the way; nothing else may.
fn freeze(snapshots: &Snapshots) -> Snapshot {
    let capture = snapshots.capture().expect("this thread is not capturing");
    capture.memory.unwrap_or_else(|refusal| panic!("no snapshot: {refusal}"))
}

/// Waits until what happens in another process, or in the thread that reaps, has happened.
#[track_caller]
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// The state of a process as `ps` shows it, and its parent; none when there is none.
fn process(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): number (name) state parent …; a name may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// All children of this process, zombies too.
fn children() -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc is there");
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|&pid| process(pid).is_some_and(|(_, parent)| parent == std::process::id())).collect()
}

/// The descriptors that a process has open.
fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours").count()
}

/// Runs the named test as the only one of a process of its own: for what changes the whole process, or looks at it as a whole.
/// The body is what is done there.
fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return body();
    }
    let output = itself(test).output().expect("the test program can be run again");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
}

/// As [`alone`], but it is left running: gives the process, and the first line it prints that begins with `says `.
fn started(test: &str) -> Option<(Child, BufReader<ChildStdout>, String)> {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return None;
    }
    let mut child = itself(test).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be run again");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains("says ") {
        line.clear();
        assert_ne!(output.read_line(&mut line).expect("text"), 0, "it ended without saying anything");
    }
    let said = line.split_once("says ").expect("it was looked for").1.trim().to_owned();
    Some((child, output, said))
}

fn itself(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, test);
    command
}

const ALONE: &str = "PURLIN_DEBUGGER_TEST_ALONE";
