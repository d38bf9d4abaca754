//! What drives the servers of the bench: their processes, and the load.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// So many at once.
pub const CONNECTIONS: usize = 32;

/// A server of the bench, in a process of its own.
pub struct Server {
    pub name: &'static str,
    process: Child,
    pub address: String,
    pub micros: Vec<f64>,
    pub per_second: Vec<f64>,
}

impl Server {
    /// Starts it; it reads its workload from its argument, the rest from the environment.
    pub fn start(name: &'static str, workload: &str, environment: &[(&str, &OsStr)]) -> Self {
        let program = std::env::current_exe().expect("cargo ran it").with_file_name(name);
        let mut process = Command::new(&program)
            .arg(workload)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo build --release` first", program.display()));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it tells its address");
        Self { name, process, address: line.trim().to_owned(), micros: Vec::new(), per_second: Vec::new() }
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Nanoseconds of CPU used so far, by all threads.
    pub fn cpu(&self) -> u64 {
        cpu(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Nanoseconds of CPU that this process has used so far, by all its threads.
pub fn cpu(process: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("Linux, and it runs");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Sends a request on each of the connections until all have been answered; each connection has its own of `each`.
pub async fn load(address: &str, each: &[String], requests: usize) {
    let mut tasks = Vec::new();
    for connection in 0..CONNECTIONS {
        let request = each[connection % each.len()].clone();
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

/// Reads one answer, a 200; returns its head and body lengths.
pub async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> (usize, usize) {
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

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
