//! A session read, changed and written by each request: what it costs the server and its store, and what is lost.
//!
//! `cargo run --release --bin sessions` in `benches/peers`, with the name of a store to run that one only. Each connection is
//! a visitor of its own; every answer is the number of the request. Last, 200 requests at once count in one session.

use peers::drive::{CONNECTIONS, Cores, Cpu, Load, Server, Until, build, median, target};
use peers::wire::Wire;
use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
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
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/axum_sqlx_peer/Cargo.toml");
    let build = Command::new("cargo")
        .args(["build", "--release", "--manifest-path", manifest, "--target-dir"])
        .arg(target())
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
async fn ask(address: &str, request: &[u8]) -> (String, String) {
    let answer = Wire::connect(address).await.ask(request).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    (answer.cookies(), String::from_utf8_lossy(&answer.body).into_owned())
}

fn request(cookie: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n").into_bytes()
}

/// The request of a visitor who is there.
async fn visitor(server: &Server) -> Vec<u8> {
    let (cookie, body) = ask(&server.address, &request("")).await;
    assert_eq!(body, "1", "{} counts the first request", server.name);
    assert!(!cookie.is_empty(), "{} begins no session", server.name);
    request(&format!("Cookie: theme=dark; {cookie}\r\n"))
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

/// So many by each connection.
fn load(requests: &[Vec<u8>], each: usize) -> Load<'_> {
    Load { requests, pipelined: 1, status: 200, length: None, until: Until::Answers(each) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    build(&["purlin_peer", "axum_peer", "actix_peer"]);
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
        let mut servers: Vec<_> =
            names.iter().map(|name| Server::start(name, &workload, &Cores::any(), &environment)).collect();
        let mut visitors = Vec::new();
        for server in &servers {
            let mut each = Vec::new();
            for _ in 0..CONNECTIONS {
                each.push(visitor(server).await);
            }
            load(&each, requests / 4 / CONNECTIONS).run(&server.address).await;
            visitors.push(each);
        }
        let mut store_micros = vec![Vec::new(); servers.len()];
        for _ in 0..ROUNDS {
            for (at, server) in servers.iter_mut().enumerate() {
                let before = redis.as_ref().map(|redis| Cpu::of(redis.process.id()));
                server.round(&load(&visitors[at], requests / CONNECTIONS)).await;
                let used = redis
                    .as_ref()
                    .zip(before)
                    .map_or(Duration::ZERO, |(redis, before)| Cpu::of(redis.process.id()).since(&before));
                store_micros[at].push(used.as_secs_f64() * 1e6 / requests as f64);
            }
        }
        println!("\na session {title}, read, changed and written by each request");
        println!(
            "{:<14}{:>14}{:>8}{:>16}{:>13}{:>20}",
            "", "µs CPU/request", "ratio", "µs of the store", "requests/s", "of 200 at once"
        );
        let least = servers[0].median(|round| round.micros);
        for (at, server) in servers.iter().enumerate() {
            // As many as were asked: nothing was lost between requests that followed one another.
            let count = ask(&server.address, &visitors[at][0]).await.1;
            assert_eq!(count, (2 + (requests / 4 + ROUNDS * requests) / CONNECTIONS).to_string(), "{}", server.name);
            println!(
                "{:<14}{:>14.2}{:>8.2}{:>16.2}{:>13.0}{:>20}",
                server.name,
                server.median(|round| round.micros),
                server.median(|round| round.micros) / least,
                median(store_micros[at].iter().copied()),
                server.median(|round| round.per_second),
                counted_at_once(server).await,
            );
        }
    }
    // There is none where no store needed it.
    let _ = std::fs::remove_dir_all(&folder);
}
