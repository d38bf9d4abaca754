//! Load with failures mixed in, over real sockets, at a site in a process of its own: nothing is dropped, nothing leaks, nothing
//! outlives the site.

use super::{fails, panics};
use purlin::layers::{Debugger, ErrorPages};
use purlin::{Body, Path, Router, Server, Stack, get};
use serde_json::Value;
use std::io::{BufRead, BufReader as Lines};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// More snapshots than these are neither alive at a time nor taken in a second.
const MOST: usize = 10;

const CLIENTS: usize = 24;

const PATIENCE: Duration = Duration::from_secs(60);

/// A body of three rows; a broken one panics instead of the third.
struct Rows {
    row: u32,
    broken: bool,
    paused: bool,
}

impl Rows {
    fn body(broken: bool) -> Body {
        Body::stream(Self { row: 0, broken, paused: false })
    }
}

impl futures_core::Stream for Rows {
    type Item = Result<String, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // What is always ready is not sent piece by piece.
        self.paused = !self.paused;
        if self.paused {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.row += 1;
        assert!(self.row < 3 || !self.broken, "there were only two rows");
        Poll::Ready((self.row <= 3).then(|| Ok(format!("row {}\n", self.row))))
    }
}

/// The other process of the tests below: a site that serves until it is killed. By itself it does nothing.
#[test]
#[ignore = "a process that other tests start"]
fn a_site_that_fails() {
    if std::env::var_os("PURLIN_TEST_FAILING_SITE").is_none() {
        return;
    }
    let site = async || {
        let routes = Router::new()
            .route("/good/{n}", get(async |Path(n): Path<u32>| format!("good {n}")))
            .route("/rows", get(async || Rows::body(false)))
            .route("/panics/{row}", get(panics))
            .route("/fails/{number}", get(fails))
            .route("/broken", get(async || Rows::body(true)));
        // What a visitor gets: the details of a failure would be most of the work.
        Ok(Stack::new().layer(Debugger::new()).layer(ErrorPages::new()).app(routes))
    };
    let server = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    println!("listening on {}", server.addresses()[0]);
    server.run(site).unwrap();
}

/// The site in its process.
struct Site {
    process: Child,
    address: SocketAddr,
    /// Left open: who writes into a closed one ends.
    _output: std::io::Lines<Lines<ChildStdout>>,
}

impl Site {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "debugger::load::a_site_that_fails", "--ignored", "--nocapture"])
            .env("PURLIN_TEST_FAILING_SITE", "")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = Lines::new(process.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| line.unwrap().split_once("listening on ").map(|(_, at)| at.parse().unwrap()));
        Self { process, address: address.expect("the site has started"), _output: lines }
    }

    /// What is below `/proc/PID/`.
    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.process.id())).unwrap()
    }

    /// How many descriptors it has open, but for the one of each snapshot.
    fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count();
        open.saturating_sub(self.snapshots().len())
    }

    /// KiB of memory of its own.
    fn memory(&self) -> u64 {
        let status = self.file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Its children and their states; all that it starts are snapshots.
    fn children(&self) -> Vec<(u32, char)> {
        let all = std::fs::read_dir("/proc").unwrap();
        let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let found = numbers.filter_map(|pid| Some((pid, process(pid)?)));
        found.filter(|(_, (_, parent))| *parent == self.process.id()).map(|(pid, (state, _))| (pid, state)).collect()
    }

    fn snapshots(&self) -> Vec<u32> {
        self.children().into_iter().map(|(pid, _)| pid).collect()
    }

    async fn connect(&self) -> Connection {
        Connection(BufReader::new(TcpStream::connect(self.address).await.unwrap()), self.address)
    }

    async fn get(&self, path: &str, accept: &str) -> Answer {
        self.connect().await.get(path, accept, true).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The state of a process as `ps` shows it, and its parent; none when there is none.
fn process(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): number (name) state parent …; a name may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Waits for what happens in another process.
#[track_caller]
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

struct Connection(BufReader<TcpStream>, SocketAddr);

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
    /// Whether all of the body came.
    whole: bool,
}

impl Connection {
    /// Asks; with `last` the site is told to close the connection, and the end is waited for.
    async fn get(&mut self, path: &str, accept: &str, last: bool) -> Answer {
        let answer = tokio::time::timeout(PATIENCE, self.ask(path, accept, last)).await;
        answer.unwrap_or_else(|_| panic!("{path}: no answer, or its connection stays open")).unwrap()
    }

    async fn ask(&mut self, path: &str, accept: &str, last: bool) -> std::io::Result<Answer> {
        let (connection, host) = (if last { "close" } else { "keep-alive" }, self.1);
        let ask =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: {accept}\r\nconnection: {connection}\r\n\r\n");
        self.0.write_all(ask.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).await?, 0, "{path}: the request was dropped: {head:?}");
        }
        let status = head[9..12].parse().expect("a number");
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (mut body, mut whole) = (Vec::new(), true);
        if let Some(length) = value("content-length:") {
            body.resize(length.parse().expect("a number"), 0);
            self.0.read_exact(&mut body).await?;
        } else {
            assert_eq!(value("transfer-encoding:"), Some("chunked"));
            whole = self.pieces(&mut body).await.is_ok();
        }
        if last || !whole {
            // The end, also while there are snapshots, which were given this very socket; a failed body may end with a reset.
            let rest = self.0.read(&mut [0]).await;
            assert!(matches!(rest, Ok(0)) || !whole, "{path}: {rest:?}");
        }
        Ok(Answer { status, head, body: String::from_utf8(body).expect("text"), whole })
    }

    /// # Errors
    ///
    /// The body broke off.
    async fn pieces(&mut self, body: &mut Vec<u8>) -> std::io::Result<()> {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            let broken = || std::io::Error::other("it broke off");
            let length = usize::from_str_radix(line.trim_end(), 16).map_err(|_| broken())?;
            let mut piece = vec![0; length + 2];
            self.0.read_exact(&mut piece).await?;
            if length == 0 {
                return Ok(());
            }
            body.extend(&piece[..length]);
        }
    }
}

/// One client of the load: good and failing requests by turns, some on one connection, some on one of their own.
async fn visit(site: &Site, client: usize, requests: usize) {
    let mut kept = site.connect().await;
    for nth in 0..requests {
        let number = client * requests + nth;
        let (path, status, text) = match number % 8 {
            0 => ("/panics/7".to_owned(), 500, "500 Internal Server Error"),
            2 => ("/fails/seven".to_owned(), 500, "500 Internal Server Error"),
            4 => ("/broken".to_owned(), 200, "row 1\nrow 2\n"),
            5 => (format!("/nowhere/{number}"), 404, "404 Not Found"),
            7 => ("/rows".to_owned(), 200, "row 1\nrow 2\nrow 3\n"),
            _ => (format!("/good/{number}"), 200, ""),
        };
        let answer = match nth % 3 {
            0 => site.get(&path, "*/*").await,
            _ => kept.get(&path, "*/*", false).await,
        };
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.whole, path != "/broken", "{path}: {answer:?}");
        match number % 8 {
            1 | 3 | 6 => assert_eq!(answer.body, format!("good {number}")),
            4 | 7 => assert_eq!(answer.body, text),
            _ => assert!(answer.body.contains(text), "{path}: {answer:?}"),
        }
        assert_eq!(answer.head.contains("x-debug-url: "), status == 500, "{path}: {answer:?}");
        if !answer.whole {
            kept = site.connect().await;
        }
    }
}

/// So many requests of each client, while the developer looks at pages.
async fn load(site: &Site, requests: usize) {
    let clients = async {
        let mut visits: Vec<_> = (0..CLIENTS).map(|client| Box::pin(visit(site, client, requests))).collect();
        std::future::poll_fn(|context| {
            visits.retain_mut(|visit| visit.as_mut().poll(context).is_pending());
            if visits.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    };
    let developer = async {
        loop {
            let page = site.get("/panics/7", super::BROWSER).await;
            assert_eq!(page.status, 500);
            assert!(page.body.contains("index out of bounds") && page.body.ends_with("</html>\n"), "{page:?}");
        }
    };
    tokio::select! {
        () = clients => {}
        () = developer => {}
    }
}

#[tokio::test]
async fn under_load_nothing_is_dropped_and_nothing_leaks() {
    let site = Site::start();
    // What is opened and read once: the debug information, the first records.
    site.get("/panics/7", super::BROWSER).await;
    load(&site, 20).await;
    let (descriptors, memory) = (site.descriptors(), site.memory());
    let begun = Instant::now();
    load(&site, 120).await;
    println!("{} requests, 3 of 8 of them failures, in {:.1?}", CLIENTS * 120, begun.elapsed());
    // Fewer, if a connection was just being closed then.
    eventually("the descriptors are as many as before", || site.descriptors() <= descriptors);
    eventually("no snapshot beyond the bound, and no zombie", || {
        let children = site.children();
        children.len() <= MOST && children.iter().all(|(_, state)| !"ZX".contains(*state))
    });
    // Those of the load gave way, with their records; a second after it there may be others.
    while site.snapshots().is_empty() {
        assert!(begun.elapsed() < 3 * PATIENCE, "no snapshot is taken any more");
        assert_eq!(site.get("/panics/7", "*/*").await.status, 500);
    }
    // Once it has closed what it was given; one that has ended meanwhile holds nothing.
    let open = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    eventually("a snapshot holds its own socket, and none of a client's", || {
        site.snapshots().iter().all(|pid| open(pid) <= 1)
    });
    let after = site.memory();
    println!("{memory} KiB before, {after} KiB after");
    assert!(after < memory + (48 << 10), "{memory} KiB before, {after} KiB after");
}

#[tokio::test]
async fn a_storm_of_failures_leaves_the_site_responsive_and_most_reports_without_a_snapshot() {
    let site = Site::start();
    // Reads the debug information, which takes the longest.
    site.get("/panics/7", super::BROWSER).await;
    // Again if the machine was so busy that all of them could have a snapshot.
    for _ in 0..20 {
        let begun = Instant::now();
        let mut kept = site.connect().await;
        let mut reports = Vec::new();
        for nth in 0..50 {
            let answer = site.get(if nth % 2 == 0 { "/panics/7" } else { "/fails/seven" }, "*/*").await;
            assert_eq!(answer.status, 500);
            let url = answer.head.lines().find_map(|line| line.strip_prefix("x-debug-url: ")).unwrap().trim();
            reports.push(url[url.find("/_debug/").unwrap()..].to_owned());
            assert_eq!(kept.get(&format!("/good/{nth}"), "*/*", false).await.body, format!("good {nth}"));
        }
        let took = begun.elapsed();
        let (mut with, mut evicted, mut refused) = (0, 0, 0);
        for report in &reports {
            let told = site.get(&format!("{report}.json"), "*/*").await;
            let told: Value = serde_json::from_str(&told.body).unwrap();
            let frames = told["frames"].as_array().unwrap();
            let own = frames.iter().find(|frame| frame["whose"] == "own").expect("frames there are always");
            let values = own["variables"]["values"].as_array().map_or(0, Vec::len);
            // Said of the frame, or once for all of them.
            match own["variables"]["lack"].as_str().or(told["lack"].as_str()) {
                None => with += usize::from(values > 0),
                Some(lack) if lack.contains("gave way to a newer one") => evicted += 1,
                Some(lack) => refused += usize::from(lack.contains("snapshots a second was reached")),
            }
        }
        println!("50 failures in {took:.1?}: {with} with variables, {evicted} evicted, {refused} refused");
        // One second begins somewhere in the first, and one ends somewhere in the last.
        let most = MOST * (took.as_secs() as usize + 2);
        assert!((1..=MOST).contains(&with) && with + evicted <= most, "{with} with variables, {evicted} evicted");
        if most < 50 {
            assert!(refused >= 50 - most, "{refused} refused");
            return;
        }
    }
    panic!("no 50 failures within three seconds");
}

#[tokio::test]
async fn all_snapshots_go_with_the_site_also_when_it_is_killed() {
    let mut site = Site::start();
    // Two a time: no limit is in the way.
    for path in ["/panics/7", "/fails/seven"] {
        assert_eq!(site.get(path, "*/*").await.status, 500);
    }
    let mut pids = Vec::new();
    eventually("there are two snapshots", || {
        pids = site.snapshots();
        pids.len() == 2
    });
    site.process.kill().unwrap();
    site.process.wait().unwrap();
    // Dead, for whoever inherits them to reap; in a container that may be nobody.
    eventually("they are dead", || pids.iter().all(|&pid| process(pid).is_none_or(|(state, _)| "ZX".contains(state))));
}

/// Killed for want of memory, or by somebody: the page has frames and source, and says why it has no more.
#[tokio::test]
async fn a_report_whose_snapshot_was_killed_keeps_the_rest() {
    let site = Site::start();
    let url = site.get("/panics/7", "*/*").await.head;
    let url = url.lines().find_map(|line| line.strip_prefix("x-debug-url: ")).unwrap().trim().to_owned();
    let path = &url[url.find("/_debug/").unwrap()..];
    let mut pids = Vec::new();
    eventually("there is a snapshot", || {
        pids = site.snapshots();
        pids.len() == 1
    });
    let killed = Command::new("sh").args(["-c", "kill -KILL $0", &pids[0].to_string()]).status();
    assert!(killed.unwrap().success());
    eventually("it is reaped", || site.children().is_empty());
    let page = site.get(path, super::BROWSER).await;
    assert_eq!(page.status, 200);
    for text in ["row_at", "price_of (async)", "process was killed, perhaps for want of memory"] {
        assert!(page.body.contains(text), "{text}");
    }
}
