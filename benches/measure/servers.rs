//! Servers that are measured from outside: by wrk, and by what the system counts of their processes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The path of a program; none that is not installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not within 20 seconds: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A process and all that it has started, and those.
pub(crate) fn family(of: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("Linux").flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = numbers.filter_map(|pid| Some((pid, stat(pid)?[1] as u32))).collect();
    let mut family = vec![of];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

/// CPU seconds of processes, without those of their children.
pub(crate) fn cpu(processes: &[u32]) -> f64 {
    let ticks = processes.iter().filter_map(|pid| stat(*pid)).map(|stat| stat[11..13].iter().sum::<u64>()).sum::<u64>();
    ticks as f64 / 100.0 // USER_HZ
}

/// The proportional set size of processes, in MiB.
pub(crate) fn memory(processes: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let all = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = all.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
    };
    processes.iter().filter_map(of).sum::<f64>() / 1024.0
}

/// What follows the name of a process in its `stat`, the state as nought.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect())
}

/// The body of an answer.
pub(crate) fn body(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// How many requests were answered over so many connections, and all of them well.
pub(crate) fn wrk(port: u16, path: &str, connections: u32, seconds: u32) -> f64 {
    let url = format!("http://127.0.0.1:{port}{path}");
    let options = ["-t1".to_owned(), format!("-c{connections}"), format!("-d{seconds}s"), url];
    let output = Command::new("wrk").args(options).output().expect("wrk");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let line = text.lines().find(|line| line.contains("requests in")).expect("what wrk prints");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of requests")
}
