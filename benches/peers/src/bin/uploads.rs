//! Uploads of 100 MiB: what one costs a server, and what it holds of it in memory.
//!
//! `cargo run --release --bin uploads` in `benches/peers`. CPU time of the server's process and the peak of its memory above
//! what it had before, medians of interleaved rounds; every answer is checked.

use peers::drive::{Cores, Server, build};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const LENGTH: usize = 100 << 20;
const PIECE: usize = 1 << 20;
const ROUNDS: usize = 7;

/// MiB of memory: now, and at most since it was last forgotten.
fn memory(server: &Server) -> [f64; 2] {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    })
}

fn forget_peak(server: &Server) {
    std::fs::write(format!("/proc/{}/clear_refs", server.id()), "5").expect("it is our own");
}

/// Seconds, seconds of CPU, and MiB above what it had before, of so many uploads at once.
fn measure(server: &Server, path: &str, piece: &[u8], at_once: usize) -> [f64; 3] {
    forget_peak(server);
    let (before, cpu, start) = (memory(server)[0], server.cpu(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| upload(&server.address, path, piece));
        }
    });
    [start.elapsed().as_secs_f64(), server.cpu().since(&cpu).as_secs_f64(), memory(server)[1] - before]
}

fn upload(address: &str, path: &str, piece: &[u8]) {
    let begin = "--xyzzy\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.bin\"\r\n\r\n";
    let end = "\r\n--xyzzy--\r\n";
    let length = begin.len() + LENGTH + end.len();
    let mut stream = TcpStream::connect(address).expect("it listens");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: multipart/form-data; boundary=xyzzy\r\n\r\n{begin}"
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    for _ in 0..LENGTH / PIECE {
        stream.write_all(piece).expect("it reads");
    }
    stream.write_all(end.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("\r\n\r\n{LENGTH}")), "{answer}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    build(&["purlin_peer", "axum_peer"]);
    let files = std::env::temp_dir().join(format!("purlin-uploads-{}", std::process::id()));
    std::fs::create_dir_all(&files).expect("a temporary folder");
    // All bytes come, line ends among them, and no two pieces of a disk's block are the same.
    let mut state = 1u32;
    let piece: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(PIECE)
    .collect();
    for (path, what) in [("/count", "read and thrown away"), ("/keep", "to a temporary file")] {
        for at_once in [1, 8] {
            println!("\n100 MiB, {what}, {at_once} at once");
            println!("{:<14}{:>10}{:>14}{:>18}", "", "MiB/s", "ms CPU each", "MiB of memory");
            // New ones each time: what an allocator keeps of earlier uploads would hide what the next one takes.
            let mut rows = [("purlin_peer", Vec::new()), ("axum_peer", Vec::new())];
            for _ in 0..ROUNDS {
                for (name, row) in &mut rows {
                    let server = Server::start(name, "uploads", &Cores::any(), &[("PEERS_FILES", files.as_os_str())]);
                    row.push(measure(&server, path, &piece, at_once));
                    let left = std::fs::read_dir(&files).expect("our own folder").count();
                    assert_eq!(left, 0, "{} leaves files behind", server.name);
                }
            }
            for (name, row) in rows {
                let [seconds, cpu, memory] =
                    [0, 1, 2].map(|column| median(row.iter().map(|row| row[column]).collect()));
                let uploads = at_once as f64;
                let (rate, each) = (100.0 * uploads / seconds, cpu * 1000.0 / uploads);
                println!("{name:<14}{rate:>10.0}{each:>14.1}{memory:>18.1}");
            }
        }
    }
    std::fs::remove_dir_all(&files).expect("our own folder");
}
