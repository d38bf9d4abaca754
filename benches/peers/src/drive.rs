//! The processes of the servers, what they use, and the load.

use crate::wire::{Seen, Wire};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// So many at once, each with one request under way.
pub const CONNECTIONS: usize = 32;

/// Builds packages of this workspace, each by itself, so that their programs lie beside this one.
pub fn build(packages: &[&str]) {
    for package in packages {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([
            "build",
            "--release",
            "--locked",
            "--manifest-path",
            manifest,
            "--package",
            package,
            "--target-dir",
        ]);
        let status = cargo.arg(target()).status();
        assert!(status.is_ok_and(|status| status.success()), "{package} cannot be built");
    }
}

/// The folder that cargo built this in.
pub fn target() -> std::path::PathBuf {
    let program = std::env::current_exe().expect("cargo ran it");
    program.ancestors().nth(2).expect("target/release/peers").to_owned()
}

/// Where the servers run, and the load.
///
/// On the same core, and so that none interrupts another (`SCHED_BATCH`): they take turns, and a server finds the requests of all
/// connections when its turn comes. So what is measured is its work and not its waking up, however fast the load is and
/// whatever else the machine does.
#[derive(Clone, Debug)]
pub struct Cores {
    pub threads: usize,
    shared: bool,
}

impl Cores {
    /// So many threads for a server, and so many cores for all; the last ones, since interrupts come to the first.
    pub fn share(threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (first, last) = (cores.saturating_sub(threads), cores - 1);
        let own = std::process::id().to_string();
        let done = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).arg(&own).stdout(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        // What it starts inherits both.
        let shared =
            done("taskset", &["-a", "-p", "-c", &format!("{first}-{last}")]) && done("chrt", &["-a", "-b", "-p", "0"]);
        Self { threads, shared }
    }

    /// Two threads for a server, and wherever the system puts them.
    pub fn any() -> Self {
        Self { threads: 2, shared: false }
    }

    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let threads = self.threads.to_string();
        command.env("PEERS_THREADS", &threads).env("TOKIO_WORKER_THREADS", &threads);
        command
    }
}

impl std::fmt::Display for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place =
            if self.shared { "which take turns with the load on as many cores" } else { "on any core, as the load is" };
        write!(f, "{} thread(s) of a server, {place}", self.threads)
    }
}

/// A server of the bench, in a process of its own.
pub struct Server {
    pub name: &'static str,
    process: Child,
    pub address: String,
    pub rounds: Vec<Round>,
}

impl Server {
    /// Starts one of this workspace; it reads what to serve from its argument, the rest from the environment.
    pub fn start(name: &'static str, mode: &str, cores: &Cores, environment: &[(&str, &OsStr)]) -> Self {
        let program = target().join("release").join(name);
        let mut process = cores
            .command(&program)
            .arg(mode)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it tells its address");
        assert!(!line.is_empty(), "{name} {mode} does not start");
        Self::new(name, process, line.trim().to_owned())
    }

    /// One that was started.
    pub fn new(name: &'static str, process: Child, address: String) -> Self {
        Self { name, process, address, rounds: Vec::new() }
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has used so far.
    pub fn cpu(&self) -> Cpu {
        Cpu::of(self.process.id())
    }

    /// Loads it, and keeps what that took.
    pub async fn round(&mut self, load: &Load<'_>) {
        let (cpu, start) = (self.cpu(), Instant::now());
        let answered = load.run(&self.address).await;
        let (wall, cpu) = (start.elapsed(), self.cpu().since(&cpu));
        self.rounds.push(Round::of(answered, wall, cpu));
    }

    /// The median of its rounds.
    pub fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }

    /// MiB at most so far, of all its processes.
    pub fn peak(&self) -> f64 {
        memory(self.process.id(), "VmHWM:")
    }

    /// MiB now, of all its processes.
    pub fn resident(&self) -> f64 {
        memory(self.process.id(), "VmRSS:")
    }

    /// So many descriptors are open in it, of the process that has the most.
    pub fn open(&self) -> usize {
        let count = |id| std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
        family(self.process.id()).into_iter().map(count).max().unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.name == "nginx" {
            // Its workers do not notice that their master was killed.
            let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        } else {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// This process and those it has started.
fn family(process: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    std::iter::once(process).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
}

fn memory(process: u32, line: &str) -> f64 {
    let kib = family(process).into_iter().map(|id| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let value = status.lines().find_map(|found| found.strip_prefix(line));
        value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<f64>().ok()).expect("Linux tells it")
    });
    kib.sum::<f64>() / 1024.0
}

/// Nanoseconds of CPU, by thread: one that has ended takes its own with it.
pub struct Cpu(HashMap<String, u64>);

impl Cpu {
    /// Of a process and its children, so far.
    pub fn of(process: u32) -> Self {
        let mut threads = HashMap::new();
        for process in family(process) {
            let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let used = std::fs::read_to_string(task.path().join("schedstat")).ok();
                if let Some(used) = used.and_then(|used| used.split(' ').next()?.parse().ok()) {
                    threads.insert(task.file_name().to_string_lossy().into_owned(), used);
                }
            }
        }
        assert!(!threads.is_empty(), "the server has ended");
        Self(threads)
    }

    /// Used since then.
    pub fn since(&self, before: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, used)| used.saturating_sub(before.0.get(thread).copied().unwrap_or(0)));
        Duration::from_nanos(used.sum())
    }
}

/// What is asked, and until when.
pub struct Load<'a> {
    /// Each connection has its own of these.
    pub requests: &'a [Vec<u8>],
    /// So many in one write, each with its answer.
    pub pipelined: usize,
    /// What every answer has; any length, if it is none.
    pub status: u16,
    pub length: Option<usize>,
    pub until: Until,
}

/// The end of a load.
#[derive(Clone, Copy)]
pub enum Until {
    After(Duration),
    /// So many by each connection.
    Answers(usize),
}

impl Load<'_> {
    /// Runs it on its connections at once: how long each answer took, in µs.
    pub async fn run(&self, address: &str) -> Vec<u32> {
        let mut connections = Vec::new();
        for connection in 0..CONNECTIONS {
            connections.push((
                Wire::connect(address).await,
                self.requests[connection % self.requests.len()].repeat(self.pipelined),
            ));
        }
        let begin = Instant::now();
        let (pipelined, expected, length, until) = (self.pipelined, self.status, self.length, self.until);
        let tasks: Vec<_> = connections
            .into_iter()
            .map(|(mut wire, request)| {
                tokio::spawn(async move {
                    let mut took = Vec::with_capacity(1 << 14);
                    loop {
                        let start = Instant::now();
                        match until {
                            Until::After(limit) if start - begin > limit => return took,
                            Until::Answers(limit) if took.len() >= limit => return took,
                            _ => {}
                        }
                        wire.send(&request).await;
                        for _ in 0..pipelined {
                            let seen = wire.skim().await;
                            assert_eq!(
                                seen,
                                Seen { status: expected, length: length.unwrap_or(seen.length) },
                                "another answer under load"
                            );
                            took.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
                        }
                    }
                })
            })
            .collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await.expect("no connection failed"));
        }
        took
    }
}

/// What one round of the load took.
#[derive(Clone, Debug)]
pub struct Round {
    /// µs of CPU a request.
    pub micros: f64,
    pub per_second: f64,
    /// ms in which 99 of 100 requests were answered.
    pub p99: f64,
}

impl Round {
    fn of(mut took: Vec<u32>, wall: Duration, cpu: Duration) -> Self {
        let count = took.len();
        let (_, p99, _) = took.select_nth_unstable((count - 1) * 99 / 100);
        Self {
            micros: cpu.as_secs_f64() * 1e6 / count as f64,
            per_second: count as f64 / wall.as_secs_f64(),
            p99: f64::from(*p99) / 1000.0,
        }
    }
}

/// The value in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
