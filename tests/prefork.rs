//! `Server::prefork`, with real processes: those that are started are this program once more, which therefore has no harness
//! around it.
#![cfg(unix)]

mod processes;

use processes::{is_there, kill, tests};
use purlin::capabilities::Capabilities;
use purlin::config::{Listen, Runtime};
use purlin::site::Start;
use purlin::{Error, Middleware, Path, Request, Response, Result, Router, Server, Service, Stack, get};
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// By which a process knows that it is a child: where the server is to listen.
const CHILD: &str = "PURLIN_SERVER";

struct Fails(bool);

impl Middleware for Fails {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        Ok(next.call(req).await)
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        if self.0 { Err(Error::internal("the database is away")) } else { Ok(()) }
    }
}

async fn pid() -> String {
    std::process::id().to_string()
}

async fn sleep(Path(ms): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    std::process::id().to_string()
}

fn app() -> impl Service {
    let fails = std::env::var(CHILD).is_ok_and(|of| of.contains("broken"));
    let routes = Router::new()
        .route("/pid", get(pid))
        .route("/sleep/{ms}", get(sleep))
        .route("/processes", get(async |server: Capabilities| server.processes.to_string()));
    Stack::new().layer(Fails(fails)).app(routes)
}

fn server(listen: &str) -> Server {
    Server::new().listen(listen.parse().unwrap()).prefork(2).drain(Duration::from_secs(3))
}

struct Running {
    at: Listen,
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<()>>,
}

impl Running {
    fn start(listen: &str) -> Self {
        let bound = server(listen).bind().unwrap();
        let at = bound.addresses()[0].clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = tokio::spawn(bound.serve(app(), async {
            let _ = stopped.await;
        }));
        Self { at, stop, served }
    }

    async fn get(&self, path: &str) -> String {
        match &self.at {
            Listen::Unix(path_of_socket) => ask(UnixStream::connect(path_of_socket).await.unwrap(), path).await,
            other => ask(TcpStream::connect(other.to_string()).await.unwrap(), path).await,
        }
    }

    /// Both, once each has answered.
    async fn pids(&self) -> [u32; 2] {
        let began = Instant::now();
        loop {
            let (a, b) = tokio::join!(self.get("/sleep/20"), self.get("/sleep/20"));
            if let (Ok(a), Ok(b)) = (a.parse(), b.parse())
                && a != b
            {
                return [a, b];
            }
            assert!(began.elapsed() < Duration::from_secs(20), "one answers all");
        }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap().unwrap();
    }
}

/// The body of the answer, by HTTP/1.0; what was lost is empty.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

async fn several_processes_answer_at_one_address() {
    let site = Running::start("127.0.0.1:0");
    let pids = site.pids().await;
    assert!(!pids.contains(&std::process::id()));
    assert_eq!(site.get("/processes").await, "true");
    site.stop().await;
    assert!(!pids.into_iter().any(is_there));
}

async fn one_that_is_killed_loses_its_own_requests_and_is_back() {
    let site = Running::start("127.0.0.1:0");
    let [victim, other] = site.pids().await;
    let (answers, ()) = tokio::join!(
        async {
            let mut answers = tokio::task::JoinSet::new();
            for _ in 0..10 {
                let at = site.at.to_string();
                answers.spawn(async move { ask(TcpStream::connect(at).await.unwrap(), "/sleep/300").await });
            }
            answers.join_all().await
        },
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            kill(victim);
        }
    );
    assert!(answers.iter().all(|answer| answer.is_empty() || *answer == other.to_string()), "{answers:?}");
    let began = Instant::now();
    let pids = site.pids().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(pids.contains(&other) && !pids.contains(&victim));
    site.stop().await;
}

async fn a_request_under_way_ends_before_the_server_does() {
    let site = Running::start("127.0.0.1:0");
    site.pids().await;
    let at = site.at.to_string();
    let asking = tokio::spawn(async move { ask(TcpStream::connect(at).await.unwrap(), "/sleep/500").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    site.stop().await;
    assert!(asking.await.unwrap().parse::<u32>().is_ok());
}

async fn a_unix_socket_is_shared_too_and_its_file_goes_with_the_server() {
    let path = std::env::temp_dir().join(format!("purlin-prefork-{}.sock", std::process::id()));
    let site = Running::start(&format!("unix:{}", path.display()));
    site.pids().await;
    site.stop().await;
    assert!(!path.exists());
}

async fn a_site_that_does_not_start_is_told_with_its_last_lines() {
    let path = std::env::temp_dir().join(format!("purlin-broken-{}.sock", std::process::id()));
    let bound = server(&format!("unix:{}", path.display())).bind().unwrap();
    let error = bound.serve(app(), std::future::pending()).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("does not start: the process ") && error.contains("exited with status"), "{error}");
    assert!(error.contains("the database is away"), "{error}");
}

async fn processes_end_when_the_server_is_killed() {
    let mut server = std::process::Command::new(std::env::current_exe().unwrap());
    let mut server = server.env("TEST_SERVE", "1").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid: u32 = ask(TcpStream::connect(line.trim()).await.unwrap(), "/pid").await.parse().unwrap();
    assert!(is_there(pid));
    server.kill().unwrap();
    server.wait().unwrap();
    let began = Instant::now();
    while is_there(pid) {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_runtime_for_each_core_does_not_go_with_it() {
    let error = server("127.0.0.1:0").runtime(Runtime::PerCore).bind().unwrap_err();
    assert!(error.message().starts_with("`server.processes = 2` and `server.runtime = \"per-core\"`"), "{error}");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let served = |listen: &str, says: bool| {
        let served = runtime.block_on(async {
            let bound = server(listen).bind()?;
            if says {
                println!("{}", bound.addresses()[0]);
            }
            bound.serve(app(), std::future::pending()).await
        });
        if let Err(error) = served {
            eprintln!("{error:#}");
            std::process::exit(1);
        }
    };
    if let Ok(of) = std::env::var(CHILD) {
        return served(&of, false);
    }
    if std::env::var_os("TEST_SERVE").is_some() {
        return served("127.0.0.1:0", true);
    }
    tests! { runtime,
        several_processes_answer_at_one_address
        one_that_is_killed_loses_its_own_requests_and_is_back
        a_request_under_way_ends_before_the_server_does
        a_unix_socket_is_shared_too_and_its_file_goes_with_the_server
        a_site_that_does_not_start_is_told_with_its_last_lines
        processes_end_when_the_server_is_killed
        a_runtime_for_each_core_does_not_go_with_it
    }
}
