//! `Workers`, with real processes: those that are started are this program once more, which therefore has no harness around it.

mod processes;

use processes::{is_there, kill, tests};
use purlin::capabilities::Capabilities;
use purlin::layers::{ErrorPages, RequestIds, Workers};
use purlin::site::{About, Start, Stopping};
use purlin::testing::Client;
use purlin::websocket::{WebSocket, WebSocketUpgrade};
use purlin::{
    Body, BoxMiddleware, BoxService, Bytes, Error, Middleware, Request, RequestExt, RequestId, Response, ResponseExt,
    Result, Router, Server, Service, Stack, StatusCode, any, get,
};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Which site a process is to put together.
const SITE: &str = "TEST_SITE";

/// The layers that have started in this process.
static STARTED: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// How many pieces of an endless body were made in this process.
static PIECES: AtomicU64 = AtomicU64::new(0);

/// Says that it has started, and passes on the message of an error that it sees, in a header.
struct Noting(&'static str);

impl Middleware for Noting {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = next.call(req).await;
        let seen = response.error().map(|error| format!("{error:#} in {:?} at {:?}", error.route(), error.place()));
        if let Some(seen) = seen {
            response.headers_mut().insert("x-seen", seen.replace('\n', " ").parse()?);
        }
        Ok(response)
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        STARTED.lock().unwrap().push(self.0);
        if self.0 == "fails in a worker" && start.capabilities().is_some_and(|server| server.processes) {
            return Err(Error::internal("the database is away"));
        }
        Ok(())
    }
}

async fn pid() -> String {
    std::process::id().to_string()
}

async fn who(req: Request) -> String {
    let id = req.extensions().get::<RequestId>().map(RequestId::as_str).unwrap_or_default();
    let processes = req.capabilities().is_some_and(|server| server.processes);
    let crossing = req.headers().keys().filter(|name| name.as_str().starts_with("x-purlin")).count();
    format!(
        "{} {} https={} id={} processes={processes} crossing={crossing} host={:?}",
        req.client_ip().unwrap(),
        req.original_path(),
        req.is_https(),
        !id.is_empty(),
        req.headers().get("host").unwrap()
    )
}

async fn sleep(purlin::Path(ms): purlin::Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    std::process::id().to_string()
}

async fn abort() -> String {
    std::process::abort()
}

async fn fails() -> Result<String> {
    Err(Error::new(StatusCode::IM_A_TEAPOT, "short and stout").public("A teapot.").context("making coffee"))
}

async fn panics() -> String {
    panic!("no such luck")
}

async fn echo(req: Request) -> Response {
    Response::new(req.into_body())
}

async fn count(req: Request) -> Result<String> {
    Ok(req.into_body().collect(1 << 30).await?.len().to_string())
}

/// Pieces of 64 KiB until nobody takes them; dies in the middle, if it is asked to.
struct Endless(Option<u64>);

impl futures_core::Stream for Endless {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
        let made = PIECES.fetch_add(1, Ordering::SeqCst);
        if self.0.is_some_and(|dies| made >= dies) {
            std::process::abort();
        }
        std::task::Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 64 * 1024]))))
    }
}

async fn endless() -> Response {
    Response::new(Body::stream(Endless(None)))
}

async fn half() -> Response {
    Response::new(Body::stream(Endless(Some(20))))
}

/// One piece, and the last one when the server is about to stop.
struct Events {
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    pieces: std::slice::Iter<'static, &'static str>,
}

impl futures_core::Stream for Events {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
        if self.pieces.len() == 1 {
            std::task::ready!(self.stopping.as_mut().poll(cx));
        }
        std::task::Poll::Ready(self.pieces.next().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))))
    }
}

async fn events(mut stopping: Stopping) -> Response {
    let stopping = Box::pin(async move { stopping.wait().await });
    Response::new(Body::stream(Events { stopping, pieces: ["begun", "the end"].iter() }))
}

/// Becomes another protocol, in which all comes back in upper case.
async fn shout(mut req: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut req);
    tokio::spawn(async move {
        let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let mut piece = [0; 64];
        while let Ok(length @ 1..) = io.read(&mut piece).await {
            let loud = piece[..length].to_ascii_uppercase();
            io.write_all(&loud).await.unwrap();
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("connection", "upgrade".parse().unwrap());
    response.headers_mut().insert("upgrade", "shouting".parse().unwrap());
    response
}

/// Says each message again, with the process that heard it.
async fn talk(upgrade: WebSocketUpgrade) -> Result<Response> {
    upgrade.on(async |mut socket| {
        while let Some(message) = socket.next().await? {
            let said = message.as_text().unwrap_or_default();
            socket.send(format!("{said} {}", std::process::id())).await?;
        }
        Ok(())
    })
}

/// Where a handler stands in a trace, and who asked it.
#[cfg(feature = "opentelemetry")]
async fn trace(req: Request) -> String {
    let here = purlin::traces::current().map(|here| here.traceparent()).unwrap_or_default();
    let asked = req.headers().get("traceparent").and_then(|line| line.to_str().ok()).unwrap_or_default();
    format!("{} {here} {asked}", std::process::id())
}

#[cfg(feature = "opentelemetry")]
fn traces() -> purlin::layers::Traces {
    purlin::layers::Traces::with_provider(purlin::traces::Kept::new().provider())
}

fn routes() -> Router {
    Router::new()
        .route("/pid", get(pid))
        .route("/who", any(who))
        .route("/started", get(async || STARTED.lock().unwrap().join(" ")))
        .route("/sleep/{ms}", get(sleep))
        .route("/abort", get(abort))
        .route("/fails", get(fails))
        .route("/panics", get(panics))
        .route("/echo", any(echo))
        .route("/count", any(count))
        .route("/endless", get(endless))
        .route("/half", get(half))
        .route("/pieces", get(async || PIECES.load(Ordering::SeqCst).to_string()))
        .route("/events", get(events))
        .route("/shout", get(shout))
        .route("/talk", get(talk))
        .route("/hangs", get(async || std::future::pending::<String>().await))
        .route("/blocks", get(async || std::thread::sleep(Duration::from_secs(3600))))
        .route("/server", get(async |server: Capabilities| server.processes.to_string()))
}

/// A site by its name, which the processes put together in the same way.
fn site(name: &str, workers: Workers) -> BoxService {
    match name {
        "plain" => BoxService::new(
            Stack::new()
                .layer(RequestIds::new())
                .layer(Noting("above"))
                .layer(ErrorPages::new())
                .layer(workers)
                .layer(Noting("below"))
                .app(routes()),
        ),
        "two" => {
            let second = Workers::new(1).env(SITE, name);
            let stack = |layer, workers: Workers| Stack::new().layer(Noting(layer)).layer(workers);
            BoxService::new(
                Stack::new().layer(RequestIds::new()).layer(Noting("above")).app(
                    Router::new()
                        .route("/here", get(pid))
                        .mount("/a", stack("a", workers).layer(Noting("below a")).app(routes()))
                        .mount("/b", stack("b", second).layer(Noting("below b")).app(routes())),
                ),
            )
        }
        #[cfg(feature = "opentelemetry")]
        "traced" => BoxService::new(
            Stack::new().layer(traces()).layer(workers).layer(purlin::layers::AccessLog::new()).app(
                Router::new()
                    .route("/trace", get(trace))
                    .mount("/again", Stack::new().layer(traces()).app(Router::new().route("/trace", get(trace)))),
            ),
        ),
        "broken" => BoxService::new(Stack::new().layer(workers).layer(Noting("fails in a worker")).app(routes())),
        other => panic!("there is no site {other}"),
    }
}

fn server() -> Server {
    Server::new().listen("127.0.0.1:0".parse().unwrap()).drain(Duration::from_secs(3))
}

/// A site that is served, until it is stopped.
struct Running {
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<()>>,
}

impl Running {
    async fn start(name: &str, workers: Workers) -> Self {
        let bound = server().bind().unwrap();
        let address = bound.addresses()[0].to_string().parse().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let app = site(name, workers.env(SITE, name));
        let served = tokio::spawn(bound.serve(app, async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    async fn get(&self, path: &str) -> Answer {
        ask(self.address, path, "").await
    }

    async fn pid(&self) -> u32 {
        let answer = self.get("/pid").await;
        answer.body.parse().unwrap_or_else(|_| panic!("{answer:?}"))
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap().unwrap();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// By HTTP/1.0, which ends with the connection.
async fn ask(address: SocketAddr, path: &str, more: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: example.org\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(10), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn requests_are_answered_in_other_processes() {
    let site = Running::start("plain", Workers::new(2)).await;
    let first = site.pid().await;
    assert_ne!(first, std::process::id());
    // Each has its share, as soon as both are there.
    until("the second process", async || {
        let (a, b) = tokio::join!(site.get("/sleep/50"), site.get("/sleep/50"));
        a.body != b.body
    })
    .await;
    site.stop().await;
    assert!(!is_there(first));
}

async fn what_is_known_of_a_request_crosses_and_cannot_be_forged() {
    let site = Running::start("plain", Workers::new(1)).await;
    let forged = "x-purlin-crossing: peer=1.2.3.4:5\thttps=\r\n";
    let answer = ask(site.address, "/who", forged).await;
    let expected = "127.0.0.1 /who https=false id=true processes=true crossing=0 host=\"example.org\"";
    assert_eq!(answer.body, expected);
    assert!(!answer.head.contains("x-purlin"), "{}", answer.head);
    assert_eq!(site.get("/server").await.body, "true");
    site.stop().await;
}

async fn each_layer_starts_once_and_on_its_own_side() {
    STARTED.lock().unwrap().clear();
    let site = Running::start("two", Workers::new(1)).await;
    assert_eq!(site.get("/a/started").await.body, "below a");
    assert_eq!(site.get("/b/started").await.body, "below b");
    assert_eq!(*STARTED.lock().unwrap(), ["above", "a", "b"]);
    let pids = [site.get("/here").await, site.get("/a/pid").await, site.get("/b/pid").await].map(|answer| answer.body);
    assert_eq!(pids[0], std::process::id().to_string());
    assert!(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2], "{pids:?}");
    assert!(site.get("/b/who?a=b").await.body.contains(" /b/who "));
    site.stop().await;
}

async fn an_error_below_is_a_page_above() {
    let site = Running::start("plain", Workers::new(1)).await;
    let answer = site.get("/fails").await;
    assert_eq!(answer.status, 418);
    assert!(answer.body.contains("A teapot."), "{}", answer.body);
    assert!(answer.head.contains("making coffee: short and stout"), "{}", answer.head);
    assert!(answer.head.contains("tests/workers.rs"), "{}", answer.head);
    let answer = site.get("/panics").await;
    assert_eq!(answer.status, 500);
    assert!(answer.head.contains("no such luck in Some(\"/panics\")"), "{}", answer.head);
    let answer = site.get("/nowhere").await;
    assert_eq!(answer.status, 404);
    site.stop().await;
}

async fn a_crash_is_a_502_with_its_cause_and_the_worker_is_back_within_a_second() {
    let site = Running::start("plain", Workers::new(1)).await;
    let first = site.pid().await;
    let began = Instant::now();
    let answer = site.get("/abort").await;
    assert_eq!(answer.status, 502);
    assert!(
        answer.head.contains(&format!("worker 1 (process {first}) was killed by signal 6 (SIGABRT)")),
        "{answer:?}"
    );
    assert_ne!(site.pid().await, first);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    site.stop().await;
}

async fn a_worker_that_is_killed_loses_what_is_in_it_and_nothing_else() {
    let site = Arc::new(Running::start("plain", Workers::new(2)).await);
    until("the second process", async || {
        let (a, b) = tokio::join!(site.get("/sleep/20"), site.get("/sleep/20"));
        a.body != b.body
    })
    .await;
    let victim = site.pid().await;
    let asking: Vec<_> = (0..40)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { site.get("/sleep/300").await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    kill(victim);
    let mut answers = Vec::new();
    for asking in asking {
        answers.push(asking.await.unwrap());
    }
    let lost = answers.iter().filter(|answer| answer.status == 502).count();
    let kept = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((lost, kept), (20, 20));
    assert!(answers.iter().all(|answer| answer.status == 502 || answer.body != victim.to_string()));
    let lost = answers.iter().find(|answer| answer.status == 502).unwrap();
    assert!(lost.head.contains("was killed by signal 9 (SIGKILL)"), "{lost:?}");
    Arc::into_inner(site).unwrap().stop().await;
}

async fn a_hung_worker_is_killed_and_its_requests_are_told_why() {
    let workers = Workers::new(1).threads(1).timeout(Duration::from_millis(500));
    let site = Running::start("plain", workers).await;
    let first = site.pid().await;
    let (hung, other) = tokio::join!(site.get("/blocks"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        site.get("/pid").await
    });
    assert_eq!((hung.status, other.status), (504, 502), "{hung:?} {other:?}");
    let why = format!("worker 1 (process {first}) was killed: it did not answer GET /blocks within 500ms");
    assert!(other.head.contains(&why), "{other:?}");
    assert_ne!(site.pid().await, first);
    site.stop().await;
}

async fn workers_are_replaced_and_nobody_notices() {
    let site = Running::start("plain", Workers::new(2).max_requests(20)).await;
    let mut pids = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let (a, b) = tokio::join!(site.get("/sleep/1"), site.get("/pid"));
        assert_eq!((a.status, b.status), (200, 200), "{a:?} {b:?}");
        pids.insert(b.body);
    }
    assert!(pids.len() >= 4, "{pids:?}");
    site.stop().await;
}

async fn a_site_that_does_not_start_in_a_worker_is_told_so() {
    let site = Running::start("broken", Workers::new(1)).await;
    let answer = site.get("/pid").await;
    assert_eq!(answer.status, 503);
    site.stop().await;
}

async fn lazy_workers_start_with_the_first_request() {
    STARTED.lock().unwrap().clear();
    let site = Running::start("plain", Workers::new(1).lazy(true)).await;
    let own = std::process::id();
    let children = || {
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        children.split_whitespace().count()
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = children();
    assert_eq!(before, 0);
    assert_ne!(site.pid().await, own);
    site.stop().await;
}

async fn bodies_are_streamed_both_ways() {
    let site = Running::start("plain", Workers::new(1)).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    for word in ["one", "two"] {
        // The answer to each comes before the next is sent.
        stream.write_all(format!("3\r\n{word}\r\n").as_bytes()).await.unwrap();
        while !String::from_utf8_lossy(&heard).contains(word) {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0);
        }
    }
    stream.write_all(b"0\r\nX-Trailer: yes\r\n\r\n").await.unwrap();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard.ends_with(b"\r\n0\r\n\r\n") || heard.ends_with(b"x-trailer: yes\r\n\r\n"), "{heard:?}");
    site.stop().await;
}

async fn a_slow_client_slows_the_worker_down() {
    let site = Running::start("plain", Workers::new(1)).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 100]).await.unwrap();
    let mut made = 0;
    until("the pause", async || {
        let before = std::mem::replace(&mut made, site.get("/pieces").await.body.parse::<u64>().unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
        before == made
    })
    .await;
    // What fits into the buffers on the way: 64 KiB each.
    assert!(made < 400, "{made} pieces");
    drop(stream);
    site.stop().await;
}

async fn a_body_whose_worker_dies_is_cut() {
    let site = Running::start("plain", Workers::new(1)).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(!answer.ends_with(b"0\r\n\r\n"));
    assert_eq!(site.get("/pid").await.status, 200);
    site.stop().await;
}

async fn an_upgrade_passes_through() {
    let site = Running::start("plain", Workers::new(1)).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let ask = "GET /shout HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shouting\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: shouting"), "{head}");
    for word in ["hello", "again"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, word.to_uppercase().as_bytes());
    }
    drop(stream);
    site.stop().await;
}

/// A connection by which the worker sends pieces until it is about to stop, after the first of them.
async fn listening(site: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.0\r\nHost: a\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"begun") {
        heard.push(stream.read_u8().await.unwrap());
    }
    stream
}

async fn an_answer_that_goes_on_hears_of_the_servers_drain() {
    // Longer than this test may take.
    let limit = Duration::from_secs(600);
    let site = Running::start("plain", Workers::new(2).drain(limit)).await;
    let (mut one, mut other) = (listening(&site).await, listening(&site).await);
    site.stop().await;
    for stream in [&mut one, &mut other] {
        let mut last = String::new();
        stream.read_to_string(&mut last).await.unwrap();
        assert_eq!(last, "the end");
    }
}

async fn an_answer_that_goes_on_hears_that_its_worker_is_replaced() {
    let limit = Duration::from_secs(600);
    let site = Running::start("plain", Workers::new(1).max_requests(2).drain(limit)).await;
    let mut stream = listening(&site).await;
    let first = site.pid().await;
    let mut last = String::new();
    stream.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "the end");
    assert_ne!(site.pid().await, first);
    // Those that come after it hear of the server's end too.
    let mut stream = listening(&site).await;
    site.stop().await;
    last.clear();
    stream.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "the end");
}

/// A conversation with a worker, and its process.
async fn talking(site: &Running) -> (WebSocket, u32) {
    let mut socket = Client::connect(&format!("http://{}", site.address)).websocket("/talk").await;
    socket.send("hello").await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    let pid = answer.as_text().unwrap().strip_prefix("hello ").unwrap().parse().unwrap();
    (socket, pid)
}

async fn closed_as_going_away(socket: &mut WebSocket) {
    assert_eq!(socket.next().await.unwrap(), None);
    let closed = socket.closed().unwrap();
    assert_eq!((closed.code, closed.reason.as_str()), (1001, "the server is going away"));
}

async fn a_websocket_is_closed_in_order_by_the_servers_drain() {
    const CLOSE: [u8; 2] = 1001_u16.to_be_bytes();
    let site = Running::start("plain", Workers::new(2).drain(Duration::from_secs(600))).await;
    let (mut socket, pid) = talking(&site).await;
    assert_ne!(pid, std::process::id());
    // One by hand, which takes its time to close.
    let mut raw = TcpStream::connect(site.address).await.unwrap();
    let ask = "GET /talk HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    raw.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(raw.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && !head.contains("x-purlin"), "{head}");
    let began = Instant::now();
    let Running { stop, mut served, .. } = site;
    stop.send(()).unwrap();
    closed_as_going_away(&mut socket).await;
    let mut frame = [0; 28];
    raw.read_exact(&mut frame).await.unwrap();
    assert_eq!(
        (&frame[..2], &frame[2..4], &frame[4..]),
        (&[0x88, 26][..], &CLOSE[..], &b"the server is going away"[..])
    );
    // Nobody ends it before it has closed, too.
    let early = tokio::time::timeout(Duration::from_millis(200), raw.read_u8()).await;
    assert!(early.is_err() && !served.is_finished(), "{early:?}");
    // A frame with a mask of nothing.
    raw.write_all(&[0x88, 0x82, 0, 0, 0, 0, CLOSE[0], CLOSE[1]]).await.unwrap();
    assert_eq!(raw.read(&mut [0]).await.unwrap(), 0);
    drop((socket, raw));
    (&mut served).await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

async fn a_websocket_is_closed_in_order_when_its_worker_is_replaced() {
    let site = Running::start("plain", Workers::new(1).max_requests(2).drain(Duration::from_secs(600))).await;
    let (mut socket, first) = talking(&site).await;
    assert_eq!(site.pid().await, first);
    closed_as_going_away(&mut socket).await;
    // The next one is with its successor.
    let (mut socket, second) = talking(&site).await;
    assert_ne!(second, first);
    let stopped = tokio::spawn(site.stop());
    closed_as_going_away(&mut socket).await;
    drop(socket);
    stopped.await.unwrap();
}

async fn a_trace_goes_on_in_other_processes() {
    #[cfg(feature = "opentelemetry")]
    {
        let site = Running::start("traced", Workers::new(1)).await;
        let theirs = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
        let told = async |path: &str, more: &str| {
            let answer = ask(site.address, path, more).await;
            let told: Vec<String> = answer.body.split(' ').map(str::to_owned).collect();
            let [pid, here, asked] = <[String; 3]>::try_from(told).unwrap_or_else(|_| panic!("{answer:?}"));
            assert_ne!(pid, std::process::id().to_string());
            (here, asked)
        };
        let (here, asked) = told("/trace", theirs).await;
        assert_eq!(here, asked);
        assert!(here.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{here}");
        assert!(!here.contains("b7ad6b7169203331"), "the server's own span is the parent: {here}");
        // The trace that the server began.
        let (here, asked) = told("/trace", "").await;
        assert_eq!((here.len(), here), (55, asked));
        // A layer there has a span of its own.
        let (here, asked) = told("/again/trace", theirs).await;
        assert!(here.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && here != asked, "{here} {asked}");
        site.stop().await;
    }
}

async fn an_upload_of_some_size_arrives_whole() {
    let site = Running::start("plain", Workers::new(1)).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let body = vec![b'x'; 5_000_000];
    let head = format!("POST /count HTTP/1.0\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("5000000"), "{answer}");
    site.stop().await;
}

async fn workers_end_when_the_server_is_killed() {
    let mut server = std::process::Command::new(std::env::current_exe().unwrap());
    server.env("TEST_SERVE", "plain").stdout(std::process::Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line).unwrap();
    let pid: u32 = ask(line.trim().parse().unwrap(), "/pid", "").await.body.parse().unwrap();
    assert!(is_there(pid));
    server.kill().unwrap();
    server.wait().unwrap();
    until("the end of the worker", async || !is_there(pid)).await;
}

async fn what_is_provided_above_is_missing_below() {
    struct Provides;
    impl Middleware for Provides {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            Ok(next.call(req).await)
        }
        fn describe(&self, about: &mut About) {
            about.provides::<u32>();
        }
    }
    let app = Stack::new()
        .layer(Provides)
        .layer(Workers::new(1))
        .app(Router::new().route("/", get(async |_: purlin::State<u32>| "")));
    let error = app.check().unwrap_err().to_string();
    assert!(error.contains("needs `u32`, which Provides (tests/workers.rs:"), "{error}");
    assert!(error.contains(") provides above Workers (tests/workers.rs:"), "{error}");
    assert!(error.contains("), in another process: move the line tests/workers.rs:"), "{error}");
    let app = Stack::new()
        .layer(RequestIds::new())
        .layer(Workers::new(1))
        .layer(purlin::extract::State(7u32))
        .app(Router::new().route("/", get(async |_: purlin::State<u32>, _: RequestId| "")));
    let table = app.check().unwrap().stack_table();
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    assert!(
        lines[0].starts_with("RequestIds") && lines[1].starts_with("Workers") && lines[3].starts_with("State<u32>")
    );
    assert!(lines[2].starts_with("---- in the processes of Workers (tests/workers.rs:"), "{table}");
    let several = vec![BoxMiddleware::new(RequestIds::new()), BoxMiddleware::new(Workers::new(1))];
    let error = Stack::new().layer(several).app(routes()).check().unwrap_err().to_string();
    assert!(error.contains("is one of several in one `layer(…)`: give it a line of its own"), "{error}");
    let app = Router::new().route("/", get(pid).layer(Workers::new(1)));
    let error = Stack::new().app(app).check().unwrap_err().to_string();
    assert!(error.contains("is one of the route GET /: put it into a stack, which may be mounted"), "{error}");
}

async fn without_a_server_all_stays_in_one_process() {
    let client = Client::new(site("plain", Workers::new(2)));
    assert_eq!(client.get("/pid").await.text(), std::process::id().to_string());
}

async fn serve(name: &str, says: bool) -> Result<()> {
    let bound = server().bind()?;
    if says {
        println!("{}", bound.addresses()[0]);
    }
    bound.serve(site(name, Workers::new(1).env(SITE, name)), std::future::pending()).await
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Ok(name) = std::env::var("TEST_SERVE") {
        return runtime.block_on(serve(&name, std::env::var_os(SITE).is_none())).unwrap();
    }
    if let Ok(name) = std::env::var(SITE) {
        return runtime.block_on(serve(&name, false)).unwrap();
    }
    tests! { runtime,
        requests_are_answered_in_other_processes
        what_is_known_of_a_request_crosses_and_cannot_be_forged
        each_layer_starts_once_and_on_its_own_side
        a_trace_goes_on_in_other_processes
        an_error_below_is_a_page_above
        a_crash_is_a_502_with_its_cause_and_the_worker_is_back_within_a_second
        a_worker_that_is_killed_loses_what_is_in_it_and_nothing_else
        a_hung_worker_is_killed_and_its_requests_are_told_why
        workers_are_replaced_and_nobody_notices
        a_site_that_does_not_start_in_a_worker_is_told_so
        lazy_workers_start_with_the_first_request
        bodies_are_streamed_both_ways
        a_slow_client_slows_the_worker_down
        a_body_whose_worker_dies_is_cut
        an_upgrade_passes_through
        an_answer_that_goes_on_hears_of_the_servers_drain
        an_answer_that_goes_on_hears_that_its_worker_is_replaced
        a_websocket_is_closed_in_order_by_the_servers_drain
        a_websocket_is_closed_in_order_when_its_worker_is_replaced
        an_upload_of_some_size_arrives_whole
        workers_end_when_the_server_is_killed
        what_is_provided_above_is_missing_below
        without_a_server_all_stays_in_one_process
    }
}
