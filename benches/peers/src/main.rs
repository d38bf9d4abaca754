//! Drives each server with the same requests and prints what one request costs it, as a ratio to raw hyper.
//!
//! `cargo run --release` in `benches/peers`. The measure is the CPU time of the server's process (all its threads) per
//! request; rounds of the servers are interleaved and the medians compared, so that a busy machine disturbs all alike. Every
//! answer of the first request is checked: status, body, and the headers of the full stack.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 32;
const REQUESTS: usize = 40_000;
const ROUNDS: usize = 7;

struct Server {
    name: &'static str,
    process: Child,
    address: String,
    micros: Vec<f64>,
    per_second: Vec<f64>,
}

impl Server {
    fn start(name: &'static str, workload: &str, files: &std::path::Path) -> Self {
        let program = std::env::current_exe().expect("cargo ran it").with_file_name(name);
        let mut process = Command::new(&program)
            .arg(workload)
            .env("PEERS_FILES", files)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo build --release` first", program.display()));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it tells its address");
        Self { name, process, address: line.trim().to_owned(), micros: Vec::new(), per_second: Vec::new() }
    }

    /// Nanoseconds of CPU used so far, by all threads.
    fn cpu(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("Linux, and it runs");
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a request on each of the connections until all have been answered.
async fn load(address: &str, request: &'static str, requests: usize) {
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        tasks.push(tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            for _ in 0..requests / CONNECTIONS {
                stream.write_all(request.as_bytes()).await.expect("it reads");
                answer(&mut stream, &mut buffer).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("no connection failed");
    }
}

/// Reads one answer; returns its head and body lengths.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> (usize, usize) {
    let mut read = 0;
    let mut whole = None;
    loop {
        let n = stream.read(&mut buffer[read..]).await.expect("it answers");
        assert!(n > 0, "the server closed the connection: {:?}", String::from_utf8_lossy(&buffer[..read]));
        read += n;
        if whole.is_none() {
            if let Some(head) = buffer[..read].windows(4).position(|four| four == b"\r\n\r\n") {
                let text = std::str::from_utf8(&buffer[..head]).expect("ASCII").to_ascii_lowercase();
                assert!(text.starts_with("http/1.1 200"), "{text}");
                let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let length: usize = length.and_then(|length| length.parse().ok()).expect("a Content-Length");
                whole = Some((head + 4, length));
            }
        }
        if let Some((head, body)) = whole {
            if read >= head + body {
                assert_eq!(read, head + body, "one answer to one request");
                return (head, body);
            }
        }
    }
}

async fn check(server: &Server, workload: &str, request: &'static str, body: &[u8]) {
    let mut stream = TcpStream::connect(&server.address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut buffer = vec![0; 64 * 1024];
    let (head, length) = answer(&mut stream, &mut buffer).await;
    assert_eq!(&buffer[head..head + length], body, "{} answers something else", server.name);
    if workload == "full" {
        let head = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        for (name, value) in peers::HEADERS.into_iter().chain([("x-request-id", "")]) {
            assert!(head.contains(&format!("{name}: {}", value.to_ascii_lowercase())), "{}: no {name}", server.name);
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let files = std::env::temp_dir().join(format!("purlin-peers-{}", std::process::id()));
    std::fs::create_dir_all(&files).expect("a temporary folder");
    let small = "a { color: #123456 }\n".repeat(50)[..1024].to_owned();
    std::fs::write(files.join("small.css"), &small).expect("a temporary file");

    const PLAIN: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const FULL: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: text/html\r\nCookie: theme=dark; lang=en\r\n\r\n";
    const FILE: &str = "GET /static/small.css HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let workloads = [
        ("bare", "plaintext, one route", PLAIN, peers::HELLO.as_bytes()),
        ("full", "plaintext through the full stack, 31 routes", FULL, peers::HELLO.as_bytes()),
        ("file", "a static file of 1 KiB", FILE, small.as_bytes()),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (workload, title, request, body) in workloads {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == workload) {
            continue;
        }
        let names = ["raw_hyper", "purlin_peer", "axum_peer", "actix_peer"];
        let mut servers: Vec<Server> = names.into_iter().map(|name| Server::start(name, workload, &files)).collect();
        for server in &servers {
            check(server, workload, request, body).await;
            load(&server.address, request, REQUESTS / 4).await;
        }
        for _ in 0..ROUNDS {
            for server in &mut servers {
                let (cpu, start) = (server.cpu(), Instant::now());
                load(&server.address, request, REQUESTS).await;
                let seconds = start.elapsed().as_secs_f64();
                server.micros.push((server.cpu() - cpu) as f64 / 1000.0 / REQUESTS as f64);
                server.per_second.push(REQUESTS as f64 / seconds);
            }
        }
        println!("\n{title}\n{:<14}{:>14}{:>10}{:>14}", "", "µs CPU/request", "ratio", "requests/s");
        let floor = median(&servers[0].micros);
        for server in &servers {
            let cpu = median(&server.micros);
            println!("{:<14}{cpu:>14.2}{:>10.2}{:>14.0}", server.name, cpu / floor, median(&server.per_second));
        }
    }
    std::fs::remove_dir_all(&files).expect("our own folder");
}
