//! Purlin beside its peers: what one request costs each, as a ratio to raw hyper.
//!
//! `cargo run --release` in `benches/peers` builds the peers, runs everything, and prints the tables; it takes about ten minutes.
//! `cargo run --release -- full session static-1k` runs those whose names begin so; `idle` is one of them. `--quick` is for a
//! look, `--markdown FILE` writes the tables to a file, `--threads N` gives each server more threads than one.
//!
//! The measure is the CPU time of the server's processes (all threads) per request, while 32 connections ask one request after the
//! other for as long as a round lasts. Rounds of the servers are interleaved and the medians of their ratios compared, so that a busy
//! machine disturbs all alike. Every answer's status and length is checked, and before and after the rounds each byte.

mod aims;
mod generated;
mod idle;
mod machine;
mod nginx;
mod table;
mod workloads;

use peers::drive::{Cores, Load, Server, Until, build};
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::{Cell, Row, Tables};
use workloads::{ACTIX, AXUM, HYPER, NGINX, PURLIN, Workload};

/// What the command line says.
struct Options {
    wanted: Vec<String>,
    rounds: usize,
    round: Duration,
    idle: usize,
    threads: usize,
    markdown: Option<PathBuf>,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self {
            wanted: Vec::new(),
            rounds: 9,
            round: Duration::from_millis(700),
            idle: 10_000,
            threads: 1,
            markdown: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => (options.rounds, options.round, options.idle) = (3, Duration::from_millis(250), 1_000),
                "--markdown" => options.markdown = Some(arguments.next().ok_or("--markdown: expected a file")?.into()),
                "--threads" => {
                    let threads =
                        arguments.next().and_then(|threads| threads.parse().ok()).filter(|threads| *threads > 0);
                    options.threads = threads.ok_or("--threads: expected a number")?;
                }
                _ if argument.starts_with('-') => {
                    return Err(format!(
                        "expected --quick, --markdown FILE, --threads N or names of workloads, found {argument}"
                    ));
                }
                _ => options.wanted.push(argument),
            }
        }
        let names: Vec<_> = workloads::all().iter().map(|workload| workload.name).chain(["idle"]).collect();
        match options.wanted.iter().find(|wanted| !names.iter().any(|name| name.starts_with(wanted.as_str()))) {
            Some(unknown) => Err(format!("no workload begins with {unknown:?}; there are {}", names.join(", "))),
            None => Ok(options),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| name.starts_with(wanted.as_str()))
    }
}

fn main() {
    let options = match Options::read() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            std::process::exit(2);
        }
    };
    generated::check();
    build(&[HYPER, PURLIN, AXUM, ACTIX]);
    let folder = std::env::temp_dir().join(format!("purlin-peers-{}", std::process::id()));
    let files = folder.join("static");
    std::fs::create_dir_all(&files).expect("a temporary folder");
    for (name, _) in workloads::FILES {
        std::fs::write(files.join(name), workloads::file(name)).expect("a temporary file");
    }
    let bench = Bench { cores: Cores::share(options.threads), folder, files };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tables = runtime.block_on(bench.run(&options));
    println!("\n{}", tables.markdown());
    if let Some(file) = &options.markdown {
        std::fs::write(file, tables.markdown()).unwrap_or_else(|error| eprintln!("{}: {error}", file.display()));
    }
}

/// Where it is run.
pub struct Bench {
    cores: Cores,
    folder: PathBuf,
    files: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Bench {
    async fn run(&self, options: &Options) -> Tables {
        let mut tables = Tables::new(machine::line(&self.cores), options.rounds, options.round);
        println!("{}", tables.machine);
        if nginx::version().is_none() {
            println!("nginx is not installed (Debian's nginx-light has it): its rows are empty");
        }
        for workload in workloads::all() {
            if options.wants(workload.name) {
                let row = self.row(workload, options).await;
                println!("\n{}", row.text());
                tables.rows.push(row);
            }
        }
        if options.wants("idle") {
            match idle::raise_limit(options.idle) {
                Ok(()) => tables.idle = idle::measure(self, options.idle, if options.rounds > 3 { 3 } else { 1 }).await,
                Err(problem) => println!("\nno idle connections: {problem}"),
            }
            println!("\n{}", tables.idle_text());
        }
        tables
    }

    /// Starts a server, with whom it asks in turn.
    fn start(&self, name: &'static str, mode: &str) -> Vec<Server> {
        let start = |name, mode| Server::start(name, mode, &self.cores, &[("PEERS_FILES", self.files.as_os_str())]);
        if name != NGINX {
            return vec![start(name, mode)];
        }
        let upstream = start(HYPER, "site");
        let nginx = nginx::start(
            &self.folder.join(format!("nginx-{}", upstream.id())),
            &self.files,
            &upstream.address,
            &self.cores,
        );
        vec![nginx, upstream]
    }

    async fn row(&self, workload: Workload, options: &Options) -> Row {
        let mut servers = Vec::new();
        let has_nginx = nginx::version().is_some();
        for name in workload.servers.iter().filter(|name| has_nginx || **name != NGINX) {
            let started = self.start(name, workload.mode);
            let requests = workload.requests(&started[0]).await;
            let length = workload.check(&started[0], as_text(&requests[0])).await;
            servers.push((started, requests, length));
        }
        // The first round is to warm up.
        for round in 0..=options.rounds {
            let count = servers.len();
            for at in 0..count {
                let (started, requests, length) = &mut servers[(round + at) % count];
                let load = Load {
                    requests,
                    pipelined: workload.pipelined,
                    status: workload.status,
                    length: *length,
                    until: Until::After(options.round),
                };
                started[0].round(&load).await;
            }
        }
        let mut cells = Vec::new();
        for (mut started, requests, length) in servers {
            workload.check(&started[0], as_text(&requests[0])).await;
            let server = started.remove(0);
            cells.push(Cell { server: server.name, rounds: server.rounds[1..].to_vec(), peak: server.peak(), length });
        }
        Row { name: workload.name, title: workload.title, cells }
    }
}

fn as_text(request: &[u8]) -> &str {
    std::str::from_utf8(request).expect("requests are written as text")
}

/// A file of this repository.
fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
