//! What `Workers` cost: CPU for a request, of both processes; what CPU-bound handlers bring; memory of a process.
//!
//! `cargo bench --bench workers --features workers`. The site is this program once more, in a process of its own. Rounds are
//! interleaved and their medians compared. Linux only: the figures are those of `/proc`.

use purlin::layers::{RequestIds, Workers};
use purlin::{Path, Result, Router, Server, Stack, get};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How many worker processes the site has; 0 for none.
const SITE: &str = "BENCH_WORKERS";

const ROUNDS: usize = 9;
const REQUESTS: usize = 6_000;

/// Turns of a loop that no compiler takes away: a millisecond or so for 1,000.
async fn work(Path(thousands): Path<u64>) -> String {
    let mut state = 7u64;
    for turn in 0..thousands * 400_000 {
        state = black_box(state.rotate_left(5) ^ turn);
    }
    state.to_string()
}

fn routes() -> Router {
    Router::new().route("/hello", get(async || "Hello, world!")).route("/work/{thousands}", get(work))
}

async fn serve(processes: usize) -> Result<()> {
    let server = Server::new().listen("127.0.0.1:0".parse()?).bind()?;
    if let Some(address) = server.addresses().first() {
        println!("{address}");
    }
    let workers = (processes > 0).then(|| Workers::new(processes));
    let app = Router::new().route("/here", get(async || "here")).mount("/w", Stack::new().layer(workers).app(routes()));
    server.serve(Stack::new().layer(RequestIds::new()).app(app), std::future::pending()).await
}

/// A site in its process.
struct Site {
    process: Child,
    address: String,
}

impl Site {
    fn start(processes: usize) -> Self {
        let program = std::env::current_exe().expect("the program that runs is there");
        let mut command = Command::new(program);
        command.env(SITE, processes.to_string()).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut process = command.spawn().expect("it starts");
        let mut address = String::new();
        let out = process.stdout.take().expect("piped above");
        BufReader::new(out).read_line(&mut address).expect("it prints where it serves");
        Self { process, address: address.trim().to_owned() }
    }

    /// Those of the workers.
    fn workers(&self) -> Vec<u32> {
        let own = self.process.id();
        let tasks = std::fs::read_dir(format!("/proc/{own}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        children
            .flat_map(|all| all.split_whitespace().map(|pid| pid.parse().unwrap_or(0)).collect::<Vec<_>>())
            .collect()
    }

    /// The CPU time of all its processes.
    fn cpu(&self) -> Duration {
        let of = |pid: u32| -> u64 {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let times = tasks.filter_map(|task| {
                let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
                stat.split(' ').next()?.parse::<u64>().ok()
            });
            times.sum()
        };
        Duration::from_nanos(of(self.process.id()) + self.workers().into_iter().map(of).sum::<u64>())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks by one connection, and returns how long each answer took.
async fn ask(address: String, path: String, count: usize) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.expect("it serves");
    let _ = stream.set_nodelay(true);
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut took = Vec::with_capacity(count);
    let mut answer = vec![0; 4096];
    for _ in 0..count {
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("it is open");
        let length = stream.read(&mut answer).await.expect("it answers");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
        took.push(began.elapsed());
    }
    took
}

/// CPU of the site for a request, in microseconds, with so many connections.
async fn cost(site: &Site, path: &str, connections: usize) -> f64 {
    let before = site.cpu();
    let each = REQUESTS / connections;
    let all = (0..connections).map(|_| tokio::spawn(ask(site.address.clone(), path.to_owned(), each)));
    for one in all.collect::<Vec<_>>() {
        one.await.expect("no answer is wrong");
    }
    (site.cpu() - before).as_secs_f64() * 1e6 / (each * connections) as f64
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn memory(pid: u32) -> (u64, u64) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let of = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    (of("Rss:"), of("Pss:"))
}

async fn measure() {
    let (inline, workers) = (Site::start(0), Site::start(2));
    // Until each has started and is warm.
    for site in [&inline, &workers] {
        cost(site, "/w/hello", 8).await;
    }
    println!("CPU of a request to all processes of the site, in µs: medians of {ROUNDS} rounds of {REQUESTS}");
    for connections in [1, 8, 64] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            without.push(cost(&inline, "/w/hello", connections).await);
            with.push(cost(&workers, "/w/hello", connections).await);
        }
        let (without, with) = (middle(without), middle(with));
        println!(
            "  {connections:3} connections: {without:6.1} inline, {with:6.1} by workers: {:.1} more",
            with - without
        );
    }
    println!("CPU-bound handlers of 1 ms or so, 8 connections for 1,600 requests; a route above the workers meanwhile");
    for (name, site) in [("inline", &inline), ("by 2 workers", &workers)] {
        let began = Instant::now();
        let busy: Vec<_> =
            (0..8).map(|_| tokio::spawn(ask(site.address.clone(), "/w/work/1".to_owned(), 200))).collect();
        let mut beside = ask(site.address.clone(), "/here".to_owned(), 100).await;
        for one in busy {
            one.await.expect("no answer is wrong");
        }
        let rate = 1600.0 / began.elapsed().as_secs_f64();
        beside.sort();
        println!(
            "  {name:12}: {rate:6.0} a second; the other route {:?}, 99 of 100 within {:?}",
            beside[50], beside[98]
        );
    }
    println!("memory after that, in KiB: resident, and of that its share (PSS)");
    println!("  the only process of the site inline: {:?}", memory(inline.process.id()));
    println!("  the server's process with workers:   {:?}", memory(workers.process.id()));
    for pid in workers.workers() {
        println!("  a worker:                            {:?}", memory(pid));
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    match std::env::var(SITE) {
        Ok(processes) => {
            if let Err(error) = runtime.block_on(serve(processes.parse().unwrap_or(0))) {
                eprintln!("{error:#}");
            }
        }
        Err(_) => runtime.block_on(measure()),
    }
}
