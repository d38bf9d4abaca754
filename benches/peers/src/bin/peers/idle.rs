//! What a connection costs that has been answered once and rests.

use crate::Bench;
use crate::nginx;
use crate::workloads::{ACTIX, AXUM, HYPER, NGINX, PURLIN};
use peers::drive::{Server, median};
use peers::wire::Wire;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// nginx has no page of its own here.
const FILE: &[u8] = b"GET /static/small.css HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// What was found of a server.
pub struct Idle {
    pub server: &'static str,
    pub connections: usize,
    /// KiB of resident memory for each connection.
    pub each: f64,
    /// MiB, with all of them.
    pub whole: f64,
}

/// Lets this process, and those it starts, have so many connections.
pub fn raise_limit(connections: usize) -> Result<(), String> {
    let enough = connections + 500;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    if files.split_whitespace().next().is_some_and(|soft| soft.parse().is_ok_and(|soft: usize| soft >= enough)) {
        return Ok(());
    }
    let raised = Command::new("prlimit")
        .args([&format!("--nofile={enough}:"), "--pid", &std::process::id().to_string()])
        .stderr(Stdio::null())
        .status();
    match raised {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("{enough} open files are needed: `ulimit -n {enough}`")),
    }
}

/// Opens so many to each server in turn, in new processes each time; medians of the rounds.
pub async fn measure(bench: &Bench, connections: usize, rounds: usize) -> Vec<Idle> {
    let names =
        [HYPER, PURLIN, AXUM, ACTIX, NGINX].into_iter().filter(|name| *name != NGINX || nginx::version().is_some());
    let mut found: Vec<_> = names.map(|name| (name, Vec::new())).collect();
    for _ in 0..rounds {
        for (name, values) in &mut found {
            let started = bench.start(name, "site");
            let request = if *name == NGINX { FILE } else { REQUEST };
            match tokio::time::timeout(Duration::from_secs(60), one(&started[0], request, connections)).await {
                Ok(value) => values.push(value),
                Err(_) => println!("{name}: {connections} connections were not open after a minute"),
            }
        }
    }
    let found = found.into_iter().filter(|(_, values)| !values.is_empty());
    let idle = found.map(|(server, values)| Idle {
        server,
        connections: values.iter().map(|value| value.0).min().unwrap_or(0),
        each: median(values.iter().map(|value| value.1)),
        whole: median(values.iter().map(|value| value.2)),
    });
    idle.collect()
}

/// How many are open, KiB for each, and MiB of the whole.
async fn one(server: &Server, request: &'static [u8], connections: usize) -> (usize, f64, f64) {
    // What the first ones wake is there for all.
    let warm = ask(&server.address, 0, request).await;
    let (before, open) = (server.resident(), server.open());
    let mut resting = vec![warm];
    let mut asking = JoinSet::new();
    for connection in 0..connections {
        let address = server.address.clone();
        asking.spawn(async move { ask(&address, connection, request).await });
        if asking.len() == 64 {
            resting.extend(asking.join_next().await.map(|wire| wire.expect("it answers")));
        }
    }
    resting.extend(asking.join_all().await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (after, open) = (server.resident(), server.open() - open);
    (open, (after - before) * 1024.0 / connections as f64, after)
}

/// From one of several addresses, which have ports enough.
async fn ask(address: &str, connection: usize, request: &[u8]) -> Wire {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 2 + (connection / 2_500) as u8], 0).into()).expect("a port");
    let stream = socket.connect(address.parse().expect("an address")).await.expect("it listens");
    let mut wire = Wire::over(stream, 4 * 1024);
    assert_eq!(wire.ask(request).await.status, 200);
    wire
}
