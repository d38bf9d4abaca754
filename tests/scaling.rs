//! Two instances of one site behind nginx, which share their sessions in Redis.

use crate::servers::Folder;
use crate::servers::nginx::Nginx;
use crate::servers::redis::Redis;
use purlin::layers::Sessions;
use purlin::session::RedisStore;
use purlin::{Result, Router, Server, Session, Stack, State, get};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

async fn count(session: Session, State(name): State<Arc<str>>) -> Result<String> {
    Ok(format!("{} {name}", session.increment("n", 1)?))
}

async fn sign_in(session: Session) -> Result<&'static str> {
    session.rotate();
    session.insert("user", "Ada")?;
    Ok("")
}

async fn who(session: Session) -> Result<String> {
    Ok(session.get("user")?.unwrap_or_default())
}

/// The other process of the tests below: a site that serves until it is killed. By itself it does nothing.
#[test]
#[ignore = "a process that other tests start"]
fn an_instance() {
    let Ok(words) = std::env::var("PURLIN_TEST_INSTANCE") else { return };
    let [name, socket, redis] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{words}") };
    let stack = Stack::new().layer(Sessions::new(RedisStore::new(redis))).layer(State(Arc::<str>::from(name))).app(
        Router::new().route("/count", get(count).post(count)).route("/sign-in", get(sign_in)).route("/who", get(who)),
    );
    Server::new().listen(format!("unix:{socket}").parse().unwrap()).bind().unwrap().run(async || Ok(stack)).unwrap();
}

/// A process with an instance of the site.
struct Instance {
    process: Child,
    socket: PathBuf,
}

impl Instance {
    fn new(name: &str, folder: &Folder, redis: &Redis) -> Self {
        let socket = folder.path().join(format!("{name}.sock"));
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "scaling::an_instance", "--ignored", "--nocapture"])
            .env("PURLIN_TEST_INSTANCE", format!("{name} {} {}", socket.display(), redis.url()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, socket }
    }

    /// As a new release would end it.
    fn terminate(&mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -TERM $0", &id]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }

    /// As a crash would end it.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns when somebody listens there.
async fn listening(socket: &Path) {
    let start = Instant::now();
    while UnixStream::connect(socket).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody listens at {}", socket.display());
        tokio::task::yield_now().await;
    }
}

/// What a browser remembers of the site.
#[derive(Clone, Default)]
struct Visitor {
    cookie: String,
}

impl Visitor {
    /// Asks on a connection of its own; the status and the body.
    async fn ask(&mut self, socket: &Path, method: &str, path: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let cookie = &self.cookie;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n");
        stream.write_all(format!("{head}Cookie: {cookie}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        if let Some(set) = head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")) {
            self.cookie = set["set-cookie: ".len()..].split(';').next().unwrap().to_owned();
        }
        (status, body.to_owned())
    }
}

#[tokio::test]
async fn a_session_begun_on_one_instance_goes_on_at_the_other() {
    let Some(redis) = Redis::new(&[]) else { return };
    let folder = Folder::new();
    let (one, two) = (Instance::new("one", &folder, &redis), Instance::new("two", &folder, &redis));
    listening(&one.socket).await;
    listening(&two.socket).await;
    let mut visitor = Visitor::default();
    let answer = |status: u16, body: &str| (status, body.to_owned());
    assert_eq!(visitor.ask(&one.socket, "GET", "/count").await, answer(200, "1 one"));
    assert_eq!(visitor.ask(&two.socket, "GET", "/count").await, answer(200, "2 two"));
    let before = visitor.cookie.clone();
    visitor.ask(&one.socket, "GET", "/sign-in").await;
    assert_ne!(visitor.cookie, before);
    assert_eq!(visitor.ask(&two.socket, "GET", "/who").await, answer(200, "Ada"));
    assert_eq!(visitor.ask(&two.socket, "GET", "/count").await, answer(200, "3 two"));
}

/// What the visitors of the load were told, by all of them.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    by_one: AtomicUsize,
    by_two: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_two_instances_is_killed_or_stopped_under_load_nobody_loses_the_session() {
    let Some(redis) = Redis::new(&[]) else { return };
    let folder = Folder::new();
    let (mut one, two) = (Instance::new("one", &folder, &redis), Instance::new("two", &folder, &redis));
    let Some(nginx) = Nginx::new(&[one.socket.clone(), two.socket.clone()]) else { return };
    for socket in [&one.socket, &two.socket, &nginx.socket()] {
        listening(socket).await;
    }
    let load = Arc::<Load>::default();
    let visit = async |number: usize, socket: PathBuf, load: Arc<Load>| {
        let mut visitor = Visitor::default();
        let (mut counted, mut refused) = (0, 0);
        visitor.ask(&socket, "GET", "/sign-in").await;
        while !load.stop.load(Ordering::Relaxed) {
            // What is asked by GET, nginx asks the other instance when one has gone; a POST may have been obeyed already.
            let method = if number.is_multiple_of(2) { "GET" } else { "POST" };
            let (status, body) = visitor.ask(&socket, method, "/count").await;
            match (status, body.split_once(' ')) {
                (200, Some((n, name))) => {
                    let n: usize = n.parse().unwrap();
                    assert!(n > counted && n <= counted + refused + 2, "{n} after {counted}, {refused} refused");
                    counted = n;
                    let by = if name == "one" { &load.by_one } else { &load.by_two };
                    by.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    assert!(method == "POST" && status == 502, "{method}: {status} {body}");
                    refused += 1;
                }
            }
        }
        assert_eq!(visitor.ask(&socket, "GET", "/who").await, (200, "Ada".to_owned()), "still signed in");
    };
    let visitors: Vec<_> = (0..20).map(|n| tokio::spawn(visit(n, nginx.socket(), load.clone()))).collect();
    let more = async |which: fn(&Load) -> &AtomicUsize| {
        let (start, before) = (Instant::now(), which(&load).load(Ordering::Relaxed));
        while which(&load).load(Ordering::Relaxed) < before + 200 {
            assert!(start.elapsed() < Duration::from_secs(30), "the load does not go on: {}", nginx.log());
            assert!(!visitors.iter().any(|visitor| visitor.is_finished()), "a visitor gave up: {}", nginx.log());
            tokio::task::yield_now().await;
        }
    };
    more(|load| &load.by_one).await;
    one.kill();
    more(|load| &load.by_two).await;
    // Started again, it takes its share again.
    let mut one = Instance::new("one", &folder, &redis);
    more(|load| &load.by_one).await;
    one.terminate();
    more(|load| &load.by_two).await;
    load.stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        visitor.await.unwrap();
    }
}
