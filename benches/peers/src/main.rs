//! Drives each server with the same requests and prints what one request costs it, as a ratio to raw hyper.
//!
//! `cargo run --release` in `benches/peers`. The measure is the CPU time of the server's process (all its threads) per
//! request; rounds of the servers are interleaved and the medians compared, so that a busy machine disturbs all alike. Every
//! answer of the first request is checked: status, body, and the headers of the full stack.

use peers::drive::{Server, answer, load, median};
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const REQUESTS: usize = 40_000;
const ROUNDS: usize = 7;

async fn check(server: &Server, workload: &str, request: &str, body: &[u8]) {
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
        let mut servers: Vec<Server> = names.into_iter().map(|name| Server::start(name, workload, &[("PEERS_FILES", files.as_os_str())])).collect();
        for server in &servers {
            check(server, workload, request, body).await;
            load(&server.address, &[request.to_owned()], REQUESTS / 4).await;
        }
        for _ in 0..ROUNDS {
            for server in &mut servers {
                let (cpu, start) = (server.cpu(), Instant::now());
                load(&server.address, &[request.to_owned()], REQUESTS).await;
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
