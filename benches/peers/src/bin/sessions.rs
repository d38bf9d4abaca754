//! A session read, changed and written by each request: what it costs the server and its store, and what is lost.
//!
//! `cargo run --release --bin sessions` in `benches/peers`, with the name of a store to run that one only. Each connection is
//! a visitor of its own; every answer is the number of the request. Last, 200 requests at once count in one session.

use peers::drive::{CONNECTIONS, Server, answer, cpu, load, median};
use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const ROUNDS: usize = 7;
const AT_ONCE: usize = 200;

/// The stores, the requests of a round, and who has them.
const STORES: [(&str, &str, usize, &[&str]); 3] = [
    ("memory", "in memory", 16_000, &["purlin_peer", "axum_peer"]),
    ("sqlite", "in SQLite", 3_200, &["purlin_peer", AXUM_SQLX]),
    ("redis", "in Redis", 16_000, &["purlin_peer", "axum_peer", "actix_peer"]),
];

/// The peer that stands in a workspace of its own.
const AXUM_SQLX: &str = "axum_sqlx_peer";

/// Builds it, so that it lies beside the others.
fn build_axum_sqlx() {
    let program = std::env::current_exe().expect("cargo ran it");
    let target = program.ancestors().nth(2).expect("target/release/sessions");
    let build = Command::new("cargo")
        .args(["build", "--release", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/sqlx/Cargo.toml"), "--target-dir"])
        .arg(target)
        .status();
    assert!(build.is_ok_and(|status| status.success()), "axum's peer for SQLite cannot be built");
}

/// A Redis of the bench's own, which keeps nothing.
struct Redis {
    process: Child,
    url: String,
}

impl Redis {
    async fn start() -> Self {
        // It cannot be told to find a port.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &free.port().to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        while TcpStream::connect(free).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { process, url: format!("redis://{free}") }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends one request; the cookie that the answer sets, and its body.
async fn ask(address: &str, request: &str) -> (Option<String>, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut buffer = vec![0; 64 * 1024];
    let (head, length) = answer(&mut stream, &mut buffer).await;
    let text = String::from_utf8_lossy(&buffer[..head + length]).into_owned();
    let set = text.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: "));
    let cookie = set.map(|line| line["set-cookie: ".len()..].split(';').next().unwrap_or_default().to_owned());
    (cookie, text[head..].to_owned())
}

fn request(cookie: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n")
}

/// The request of a visitor who is there.
async fn visitor(server: &Server) -> String {
    let (cookie, body) = ask(&server.address, &request("")).await;
    assert_eq!(body, "1", "{} counts the first request", server.name);
    request(&format!("Cookie: theme=dark; {}\r\n", cookie.expect("a session begins")))
}

/// How many of the requests at once were counted.
async fn counted_at_once(server: &Server) -> usize {
    let one = visitor(server).await;
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (address, one) = (server.address.clone(), one.clone());
            tokio::spawn(async move { ask(&address, &one).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("it is answered");
    }
    let count: usize = ask(&server.address, &one).await.1.parse().expect("a number");
    count - 2
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let folder = std::env::temp_dir().join(format!("purlin-bench-{}", std::process::id()));
    for (store, title, requests, names) in STORES {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == store) {
            continue;
        }
        if names.contains(&AXUM_SQLX) {
            build_axum_sqlx();
            std::fs::create_dir(&folder).expect("a new folder");
        }
        let redis = if store == "redis" { Some(Redis::start().await) } else { None };
        let url = redis.as_ref().map(|redis| redis.url.as_str()).unwrap_or_default();
        let workload = format!("session-{store}");
        let environment = [("PEERS_REDIS", OsStr::new(url)), ("PEERS_SQLITE", folder.as_os_str())];
        let mut servers: Vec<_> = names.iter().map(|name| Server::start(name, &workload, &environment)).collect();
        let mut visitors = Vec::new();
        for server in &servers {
            let mut each = Vec::new();
            for _ in 0..CONNECTIONS {
                each.push(visitor(server).await);
            }
            load(&server.address, &each, requests / 4).await;
            visitors.push(each);
        }
        let store_cpu = || redis.as_ref().map_or(0, |redis| cpu(redis.process.id()));
        let mut store_micros = vec![Vec::new(); servers.len()];
        for _ in 0..ROUNDS {
            for (at, server) in servers.iter_mut().enumerate() {
                let (before, store_before, start) = (server.cpu(), store_cpu(), Instant::now());
                load(&server.address, &visitors[at], requests).await;
                let seconds = start.elapsed().as_secs_f64();
                server.micros.push((server.cpu() - before) as f64 / 1000.0 / requests as f64);
                store_micros[at].push((store_cpu() - store_before) as f64 / 1000.0 / requests as f64);
                server.per_second.push(requests as f64 / seconds);
            }
        }
        println!("\na session {title}, read, changed and written by each request");
        println!("{:<14}{:>14}{:>8}{:>16}{:>13}{:>20}", "", "µs CPU/request", "ratio", "µs of the store", "requests/s", "of 200 at once");
        let least = median(&servers[0].micros);
        for (at, server) in servers.iter().enumerate() {
            // As many as were asked: nothing was lost between requests that followed one another.
            let count = ask(&server.address, &visitors[at][0]).await.1;
            assert_eq!(count, (2 + (requests / 4 + ROUNDS * requests) / CONNECTIONS).to_string(), "{}", server.name);
            println!(
                "{:<14}{:>14.2}{:>8.2}{:>16.2}{:>13.0}{:>20}",
                server.name,
                median(&server.micros),
                median(&server.micros) / least,
                median(&store_micros[at]),
                median(&server.per_second),
                counted_at_once(server).await,
            );
        }
    }
    // There is none where no store needed it.
    let _ = std::fs::remove_dir_all(&folder);
}
