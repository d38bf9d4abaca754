//! The server, over real sockets and in memory.

use purlin::config::{Listen, Runtime, ServerConfig};
use purlin::layers::{AccessLog, RequestIds};
use purlin::server::{Bound, Server};
use purlin::site::Stopping;
use purlin::{Body, Error, Request, RequestExt, Response, Router, Service, Stack, StatusCode, get, handler, post};
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

fn server() -> Server {
    Server::new().listen("127.0.0.1:0".parse().unwrap())
}

/// A site on a port of its own.
struct Site {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<purlin::Result<()>>,
}

impl Site {
    fn start(server: Server, app: impl Service + 'static) -> Self {
        Self::of(server.bind().unwrap(), app)
    }

    fn of(bound: Bound, app: impl Service + 'static) -> Self {
        let address = bound.addresses()[0].to_string().parse().unwrap_or(([0; 4], 0).into());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(bound.serve(app, async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
    }
}

/// Longer than anything takes here: a test that would hang says where instead.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What the server says until it closes the connection.
async fn rest(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, client.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    match read {
        Ok(read) => read.map(|_| answer).unwrap(),
        Err(_) => answer + "(and the connection is left open)",
    }
}

/// Reads until the answers so far end in `end`.
async fn until(client: &mut (impl AsyncReadExt + Unpin), end: &str) -> String {
    let mut answer = String::new();
    while !answer.ends_with(end) {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, client.read(&mut bytes)).await;
        match read.unwrap_or_else(|_| panic!("no {end:?} in {answer:?}")).unwrap() {
            0 => panic!("closed after {answer:?}"),
            read => answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap()),
        }
    }
    answer
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.").skip(1).map(|answer| answer.split_ascii_whitespace().nth(1).unwrap_or("")).collect()
}

/// Says what it was asked: `GET / a`, the method, target and host, then the body.
async fn echo(req: Request) -> purlin::Result<String> {
    let (head, body) = req.into_parts();
    let body = body.collect(1 << 20).await?;
    let host = head.headers.get("host").map_or("-", |host| host.to_str().unwrap());
    Ok(format!("<{} {} {host} {}>", head.method, head.uri, String::from_utf8_lossy(&body)))
}

fn echoes() -> impl Service + 'static {
    purlin::handler(echo)
}

const OPEN: bool = true;
const CLOSED: bool = false;

/// Bytes of a client, the statuses they are answered with, and whether the connection can be used further.
#[rustfmt::skip]
const SHAPES: &[(&str, &str, &[&str], bool)] = &[
    ("a plain request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", &["200"], OPEN),
    ("empty lines before a request", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &["200"], OPEN),
    ("HTTP/1.0 has no Host", "GET / HTTP/1.0\r\n\r\n", &["200"], CLOSED),
    ("HTTP/1.0 keeps alive if asked", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &["200"], OPEN),
    ("Connection: close is kept", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &["200"], CLOSED),
    ("three in one packet", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n", &["200", "200", "200"], OPEN),
    ("an answered request before a bad one", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /\r\n\r\n", &["200", "400"], CLOSED),
    ("a body of some length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &["200"], OPEN),
    ("a body in chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &["200"], OPEN),
    ("chunks with extensions and trailers", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n", &["200"], OPEN),
    ("the server itself is asked", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &["204"], OPEN),
    ("a target with everything that browsers leave", "GET /a|b[]'?q=[x]{y}|^`' HTTP/1.1\r\nHost: a\r\n\r\n", &["200"], OPEN),

    ("no Host", "GET / HTTP/1.1\r\n\r\n", &["400"], CLOSED),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &["400"], CLOSED),
    ("the same Host twice", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", &["400"], CLOSED),
    ("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", &["400"], CLOSED),
    ("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", &["400"], CLOSED),
    ("a Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &["400"], CLOSED),
    ("a Host with a user", "GET / HTTP/1.1\r\nHost: root@a\r\n\r\n", &["400"], CLOSED),
    ("a Host with a bad port", "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", &["400"], CLOSED),
    ("a Host with a port too high", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", &["400"], CLOSED),
    ("a list of Hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", &["400"], CLOSED),
    ("a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", &["400"], CLOSED),
    ("Host beside an absolute target that is worse", "GET http://root@b/ HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("OPTIONS *x", "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &["501"], CLOSED),
    ("authority-form", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a target without a slash", "GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a fragment", "GET /#top HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a tab in the target", "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a target beyond ASCII", "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a method that is none", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("an endless method", "GETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\nHost: a\r\n\r\n", &["501"], CLOSED),
    ("HTTP/0.9", "GET /\r\n\r\n", &["400"], CLOSED),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("HTTP/2.0 without its preface", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("HTTP/3.0", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a bare LF after a header", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", &["400"], CLOSED),
    ("a bare LF at the end of the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", &["400"], CLOSED),
    ("bare LFs throughout", "GET / HTTP/1.1\nHost: a\n\n", &["400"], CLOSED),
    ("a bare CR in a header", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rZ: z\r\n\r\n", &["400"], CLOSED),
    ("a bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("a bare CR before the request", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", &["400"], CLOSED),
    ("CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", &["400"], CLOSED),
    ("a NUL in a header", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", &["400"], CLOSED),
    ("a control in a header", "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", &["400"], CLOSED),
    ("a folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", &["400"], CLOSED),
    ("a space before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", &["400"], CLOSED),
    ("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", &["400"], CLOSED),
    ("a header without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", &["400"], CLOSED),
    ("a header without a name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", &["400"], CLOSED),
    ("a header's name beyond ASCII", "GET / HTTP/1.1\r\nHost: a\r\n\u{e4}: x\r\n\r\n", &["400"], CLOSED),

    ("a length and chunks", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", &["400"], CLOSED),
    ("chunks and a length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG", &["400"], CLOSED),
    ("chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &["400"], CLOSED),
    ("two Transfer-Encodings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &["400"], CLOSED),
    ("another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", &["400"], CLOSED),
    ("another coding before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &["400"], CLOSED),
    ("identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", &["400"], CLOSED),
    ("chunked with a vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", &["400"], CLOSED),
    ("chunked with a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", &["400"], CLOSED),
    ("xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", &["400"], CLOSED),
    ("chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &["400"], CLOSED),
    ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", &["400"], CLOSED),
    ("the same length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", &["400"], CLOSED),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", &["400"], CLOSED),
    ("+3", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", &["400"], CLOSED),
    ("-3", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", &["400"], CLOSED),
    ("0x3", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", &["400"], CLOSED),
    ("no length in Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", &["400"], CLOSED),
    ("a length beyond 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\nabc", &["400"], CLOSED),
    ("a chunk without a size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n", &["400"], CLOSED),
    ("a chunk of size 0x3", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", &["400"], CLOSED),
    ("a chunk of size -1", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", &["400"], CLOSED),
    ("a chunk of more than 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", &["400"], CLOSED),
    ("a chunk longer than its size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", &["400"], CLOSED),
    ("a bare LF after a chunk's size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", &["400"], CLOSED),
    ("a bare LF after a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", &["400"], CLOSED),
    ("a bare LF in a chunk's extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;\nabc\r\n0\r\n\r\n", &["400"], CLOSED),
    ("a bare LF after the last chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", &["400"], CLOSED),
];

#[tokio::test]
async fn every_shape_of_request_is_answered_or_refused_as_the_rfcs_say() {
    let site = Site::start(server(), echoes());
    let mut wrong = Vec::new();
    for (name, bytes, expected, open) in SHAPES {
        let mut client = site.connect().await;
        client.write_all(bytes.as_bytes()).await.unwrap();
        if *open {
            client.write_all(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        }
        let answers = rest(&mut client).await;
        let found = statuses(&answers);
        let mut all = expected.to_vec();
        all.extend(open.then_some("200"));
        if found != all || answers.contains("left open") || *open != answers.contains("/last") {
            wrong.push(format!("{name}: expected {all:?}, found {found:?} in {answers:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    site.stop().await;
}

#[tokio::test]
async fn a_shape_that_arrives_byte_by_byte_is_refused_too() {
    for (name, bytes, expected, _) in SHAPES.iter().filter(|(_, _, _, open)| *open == CLOSED) {
        // A duplex of one byte hands them over one by one.
        let (client, io) = tokio::io::duplex(1);
        let served = tokio::spawn(async move { server().serve_connection(echoes(), io).await });
        let (mut reader, mut writer) = tokio::io::split(client);
        let bytes = bytes.as_bytes().to_vec();
        let writing = tokio::spawn(async move {
            // The server stops reading where it refuses.
            let _ = writer.write_all(&bytes).await;
            writer
        });
        let answers = rest(&mut reader).await;
        assert_eq!(statuses(&answers), *expected, "{name}: {answers}");
        assert!(!answers.contains("left open"), "{name}: {answers}");
        drop((reader, writing.await.unwrap()));
        served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_host_of_an_absolute_target_wins_and_the_target_becomes_a_path() {
    let site = Site::start(server(), echoes());
    for (target, expected) in [
        ("http://b:80/x?y", "<GET /x?y b:80 >"),
        ("https://b", "<GET / b >"),
        ("http://b?y", "<GET /?y b >"),
        ("/x", "<GET /x a >"),
    ] {
        let mut client = site.connect().await;
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(bytes.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.ends_with(expected), "{target}: {answer}");
    }
    site.stop().await;
}

/// A connection in memory, of so many bytes each way.
fn connect(
    server: Server,
    app: impl Service + 'static,
    bytes: usize,
) -> (DuplexStream, JoinHandle<purlin::Result<()>>) {
    let (client, io) = tokio::io::duplex(bytes);
    (client, tokio::spawn(async move { server.serve_connection(app, io).await }))
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn an_answer_is_not_kept_back_by_the_beginning_of_another_request() {
    // An old client's line break after its form; hyper's `pipeline_flush` would wait for the rest of it.
    for begun in ["\r\n", "GET /2 HT"] {
        let (mut client, _served) = connect(server(), echoes(), 4096);
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
        client.write_all(begun.as_bytes()).await.unwrap();
        until(&mut client, "<POST / a x>").await;
    }
}

/// A connection that counts how often it is written to, and flushed, which hyper does whenever it is polled.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
    flushes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn answers_to_requests_that_come_together_are_written_together() {
    let (mut client, io) = tokio::io::duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let io = Counted { io, writes: writes.clone(), flushes: Arc::default() };
    tokio::spawn(async move { server().serve_connection(echoes(), io).await });
    let requests: String = (0..40).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.write_all(requests.as_bytes()).await.unwrap();
    let answers = until(&mut client, "<GET /39 a >").await;
    for n in 0..40 {
        assert!(answers.contains(&format!("<GET /{n} a >")), "{n}: {answers}");
    }
    // hyper answers sixteen at a time.
    assert!(writes.load(Ordering::SeqCst) <= 4, "{writes:?}");
    writes.store(0, Ordering::SeqCst);
    client.write_all(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client.write_all(GET).await.unwrap();
    until(&mut client, "<GET / a >").await;
    assert!(writes.load(Ordering::SeqCst) <= 2, "{writes:?}");
}

/// A body of one piece, and no end.
struct Begun(bool);

impl http_body::Body for Begun {
    type Data = purlin::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<purlin::Bytes>, Error>>> {
        match std::mem::replace(&mut self.0, true) {
            false => Poll::Ready(Some(Ok(http_body::Frame::data("a piece".into())))),
            true => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_handler_of_the_request_that_came_with_it() {
    async fn never() -> &'static str {
        std::future::pending().await
    }
    async fn endless() -> Body {
        Body::new(Begun(false))
    }
    let app = || {
        let routes = Router::new().route("/", get(async || "at once")).route("/never", get(never));
        Stack::new().app(routes.route("/endless", get(endless)).route("/read", post(async |text: String| text)))
    };
    for (first, expected) in [("/", "at once"), ("/endless", "a piece\r\n")] {
        for next in
            ["GET /never HTTP/1.1\r\nHost: a\r\n\r\n", "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx"]
        {
            let (mut client, _served) = connect(server(), app(), 4096);
            client.write_all(format!("GET {first} HTTP/1.1\r\nHost: a\r\n\r\n{next}").as_bytes()).await.unwrap();
            until(&mut client, expected).await;
        }
    }
}

#[tokio::test]
async fn answers_that_are_there_leave_before_a_connection_that_breaks() {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let app = || {
        let half = async || Response::new(Body::new(Half { said: false, panics: false }));
        let routes = Router::new().route("/", self::get(async || "the first")).route("/half", self::get(half));
        Stack::new().app(routes)
    };
    for then in [
        // Hung up right behind; an answer that fails; what is no request.
        get("/") + &get("/"),
        get("/half"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let (mut client, _served) = connect(server(), app(), 4096);
        client.write_all((get("/") + &then).as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let answers = rest(&mut client).await;
        assert!(
            answers.starts_with("HTTP/1.1 200 OK\r\n") && answers.contains("\r\n\r\nthe first"),
            "{then}: {answers}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_has_answered_rests() {
    let (mut client, io) = tokio::io::duplex(1 << 20);
    let flushes = Arc::new(AtomicUsize::new(0));
    let io = Counted { io, writes: Arc::default(), flushes: flushes.clone() };
    let large = async || "large ".repeat(1000);
    let routes = Router::new().route("/", get(async || "small")).route("/large", get(large));
    tokio::spawn(async move { server().serve_connection(Stack::new().app(routes), io).await });
    for _ in 0..2 {
        client.write_all(&[GET, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await.unwrap();
        until(&mut client, "large large ").await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let before = flushes.load(Ordering::SeqCst);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(flushes.load(Ordering::SeqCst), before);
    }
}

#[tokio::test]
async fn answers_to_requests_that_come_together_arrive_whole_at_a_client_that_takes_little() {
    let (mut client, _served) = connect(server(), echoes(), 64);
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let requests: String = (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let (sent, answers) = tokio::join!(writer.write_all(requests.as_bytes()), until(&mut reader, "<GET /99 a >"));
    sent.unwrap();
    for n in 0..100 {
        assert_eq!(answers.matches(&format!("<GET /{n} a >")).count(), 1, "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_takes_too_long_is_answered_408_however_it_drips() {
    let (mut client, _served) = connect(server().header_timeout(Duration::from_secs(10)), echoes(), 4096);
    let start = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        client.write_all(b"X: y\r\n").await.unwrap();
    }
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_left_without_a_word() {
    for http2 in [true, false] {
        let server = server().header_timeout(Duration::from_secs(10)).http2(http2);
        let (mut client, _served) = connect(server, echoes(), 4096);
        let start = Instant::now();
        assert_eq!(rest(&mut client).await, "");
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_counted_from_its_last_answer() {
    async fn slow() -> &'static str {
        tokio::time::sleep(Duration::from_secs(20)).await;
        "slow"
    }
    for (app, answered) in
        [(Router::new().route("/", get(slow)), 20), (Router::new().route("/", get(async || "slow")), 0)]
    {
        let server = server().header_timeout(Duration::from_secs(10)).idle_timeout(Duration::from_secs(30));
        let (mut client, _served) = connect(server, Stack::new().app(app), 4096);
        let start = Instant::now();
        client.write_all(GET).await.unwrap();
        until(&mut client, "slow").await;
        tokio::time::sleep(Duration::from_secs(29)).await;
        client.write_all(GET).await.unwrap();
        until(&mut client, "slow").await;
        assert_eq!(rest(&mut client).await, "");
        assert_eq!(start.elapsed().as_secs(), 2 * answered + 29 + 30);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_after_an_idle_time_has_its_own_time() {
    let server = server().header_timeout(Duration::from_secs(10)).idle_timeout(Duration::from_secs(30));
    let (mut client, _served) = connect(server, echoes(), 4096);
    client.write_all(GET).await.unwrap();
    until(&mut client, ">").await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    let start = Instant::now();
    client.write_all(b"GET / HTTP").await.unwrap();
    assert_eq!(statuses(&rest(&mut client).await), ["408"]);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_a_408_for_its_reader() {
    let (mut client, _served) = connect(server().body_timeout(Duration::from_secs(10)), echoes(), 4096);
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    client.write_all(b"a").await.unwrap();
    let start = Instant::now();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let app = handler(async || vec![b'x'; 1 << 20]);
    let (mut client, served) = connect(server().write_timeout(Duration::from_secs(10)), app, 4096);
    client.write_all(GET).await.unwrap();
    let mut some = [0; 1024];
    client.read_exact(&mut some).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    client.read_exact(&mut some).await.unwrap();
    let start = Instant::now();
    served.await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn heads_have_limits() {
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
    let field = |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(length));
    for (bytes, status) in [
        (line(60_000), "200"),
        (line(66_000), "414"),
        (fields(99), "200"),
        (fields(100), "431"),
        (field(65_000), "200"),
        (field(66_000), "431"),
        (format!("{} / HTTP/1.1\r\n", "G".repeat(70_000)), "414"),
    ] {
        let (mut client, _served) = connect(server(), handler(async || "hello"), 128 * 1024);
        client.write_all(bytes.as_bytes()).await.unwrap();
        let answer = if status == "200" { until(&mut client, "hello").await } else { rest(&mut client).await };
        assert_eq!(statuses(&answer), [status], "{}", &bytes[..40]);
    }
    let (mut client, _served) =
        connect(server().max_headers(2).max_header_bytes(8192), handler(async || "hello"), 128 * 1024);
    client.write_all(fields(2).as_bytes()).await.unwrap();
    assert_eq!(statuses(&rest(&mut client).await), ["431"]);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_an_error_for_its_reader_and_nothing_else() {
    let (told, telling) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let app = handler(move |req: Request| {
        let told = told.lock().unwrap().take();
        async move {
            let error = req.into_body().collect(100).await.unwrap_err();
            told.unwrap().send(error).unwrap();
        }
    });
    let site = Site::start(server(), app);
    let mut client = site.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na").await.unwrap();
    drop(client);
    let error = telling.await.unwrap();
    assert_eq!(error.status(), 400);
    assert!(format!("{error:#}").starts_with("reading the request's body: "), "{error:#}");
    site.stop().await;
}

#[tokio::test]
async fn a_request_whose_client_has_gone_is_dropped() {
    struct Dropped(Option<oneshot::Sender<()>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.take().map(|dropped| dropped.send(()));
        }
    }
    let (began, begun) = oneshot::channel();
    let (dropped, gone) = oneshot::channel();
    let parts = Mutex::new(Some((began, Dropped(Some(dropped)))));
    let app = handler(move || {
        let (began, dropped) = parts.lock().unwrap().take().unwrap();
        async move {
            began.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(dropped);
        }
    });
    let site = Site::start(server(), app);
    let mut client = site.connect().await;
    client.write_all(GET).await.unwrap();
    begun.await.unwrap();
    drop(client);
    gone.await.unwrap();
    site.stop().await;
}

#[tokio::test]
async fn an_answer_that_does_not_read_its_request_still_arrives() {
    let app = handler(async || (StatusCode::PAYLOAD_TOO_LARGE, "too large"));
    let site = Site::start(server(), app);
    let mut client = site.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    // More than the server reads along with the head; without its patience the socket would be reset.
    for _ in 0..10 {
        client.write_all(&[b'x'; 10_000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too large"), "{answer}");
    site.stop().await;
}

#[tokio::test]
async fn a_body_is_asked_for_when_its_client_waits_to_be_asked() {
    let (mut client, _served) = connect(server(), echoes(), 4096);
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await.unwrap();
    until(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
    client.write_all(b"abc").await.unwrap();
    until(&mut client, "<POST / a abc>").await;
}

#[tokio::test]
async fn the_connection_is_in_the_request() {
    let app = handler(async |req: Request| {
        let connection = req.connection().unwrap().clone();
        format!("{} {};", connection.peer().unwrap(), connection.local().unwrap())
    });
    let site = Site::start(server(), app);
    let mut client = site.connect().await;
    client.write_all(GET).await.unwrap();
    let answer = until(&mut client, ";").await;
    assert!(answer.ends_with(&format!("{} {};", client.local_addr().unwrap(), site.address)), "{answer}");
    drop(client);
    site.stop().await;
}

/// The lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Collects what is logged on this thread, on which a test's server runs too.
    fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_error_is_logged_once_whether_a_layer_does_it_or_not() {
    async fn fails() -> purlin::Result<()> {
        Err(Error::internal("the disk is full"))
    }
    async fn missing() -> purlin::Result<()> {
        Err(Error::not_found("no such page"))
    }
    let routes = || Router::new().route("/", get(fails)).route("/missing", get(missing));
    for logged in [true, false] {
        let (lines, _guard) = Lines::collect();
        let site = match logged {
            true => Site::start(server(), Stack::new().layer(AccessLog::new()).app(routes())),
            false => Site::start(server(), Stack::new().app(routes())),
        };
        let mut client = site.connect().await;
        client.write_all(b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        assert_eq!(statuses(&rest(&mut client).await), ["404", "500"]);
        site.stop().await;
        assert_eq!(lines.text().matches("the disk is full").count(), 1, "{}", lines.text());
        assert_eq!(lines.text().contains("purlin::server"), !logged, "{}", lines.text());
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_lives_on() {
    let (lines, _guard) = Lines::collect();
    let app = handler(async |req: Request| {
        assert!(req.uri().path() != "/panics", "not that one");
        "well"
    });
    let site = Site::start(server(), app);
    let mut client = site.connect().await;
    client.write_all(b"GET /panics HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    client.write_all(GET).await.unwrap();
    let answers = until(&mut client, "well").await;
    assert_eq!(statuses(&answers), ["500", "200"]);
    assert!(lines.text().contains("not that one") && lines.text().contains("/panics"), "{}", lines.text());
    drop(client);
    site.stop().await;
}

/// A body of one piece, after which it fails, or panics.
struct Half {
    said: bool,
    panics: bool,
}

impl http_body::Body for Half {
    type Data = purlin::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<purlin::Bytes>, Error>>> {
        if !std::mem::replace(&mut self.said, true) {
            return Poll::Ready(Some(Ok(http_body::Frame::data("half".into()))));
        }
        assert!(!self.panics, "the other half is missing");
        Poll::Ready(Some(Err(Error::internal("the other half is missing"))))
    }
}

#[tokio::test]
async fn an_answer_that_fails_midway_is_cut_and_said() {
    for panics in [true, false] {
        let (lines, _guard) = Lines::collect();
        let app = handler(move || async move { Response::new(Body::new(Half { said: false, panics })) });
        let site = Site::start(server(), Stack::new().layer(purlin::layers::RequestIds::new()).app(app));
        let mut client = site.connect().await;
        client.write_all(GET).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(!answer.ends_with("0\r\n\r\n"), "it looks whole: {answer}");
        let log = lines.text();
        assert!(
            log.contains("the other half is missing") && log.contains("path=\"/\"") && log.contains(" id=\""),
            "{log}"
        );
        assert!(site.connect().await.peer_addr().is_ok());
        site.stop().await;
    }
}

#[tokio::test]
async fn a_connection_can_become_something_else() {
    let app = handler(async |mut req: Request| {
        let upgrade = hyper::upgrade::on(&mut req);
        tokio::spawn(async move {
            let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let mut bytes = [0; 5];
            io.read_exact(&mut bytes).await.unwrap();
            bytes.reverse();
            io.write_all(&bytes).await.unwrap();
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "mirror".parse().unwrap());
        response
    });
    let site = Site::start(server(), app);
    let mut client = site.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: mirror\r\n\r\n").await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    // Neither lines nor heads any more.
    client.write_all(b"\n\0abc").await.unwrap();
    assert_eq!(rest(&mut client).await, "cba\0\n");
    site.stop().await;
}

/// An app whose answer waits until it is let go, and tells how many wait.
fn waiting() -> (impl Service + 'static, Arc<Notify>, Arc<Notify>) {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let app = {
        let (arrived, go) = (arrived.clone(), go.clone());
        handler(move || {
            let (arrived, go) = (arrived.clone(), go.clone());
            async move {
                arrived.notify_one();
                go.notified().await;
                "done"
            }
        })
    };
    (app, arrived, go)
}

#[tokio::test]
async fn a_drain_ends_idle_connections_when_they_have_rested_and_busy_ones_with_their_answer() {
    let (app, arrived, go) = waiting();
    let site = Site::start(server(), app);
    let mut busy = site.connect().await;
    busy.write_all(GET).await.unwrap();
    arrived.notified().await;
    let mut idle = site.connect().await;
    idle.write_all(GET).await.unwrap();
    arrived.notified().await;
    go.notify_waiters();
    until(&mut busy, "done").await;
    until(&mut idle, "done").await;

    busy.write_all(GET).await.unwrap();
    arrived.notified().await;
    site.stop.send(()).unwrap();
    assert_eq!(rest(&mut idle).await, "", "an idle connection is closed");
    assert!(!site.served.is_finished());
    assert!(TcpStream::connect(site.address).await.is_err(), "nobody listens any more");
    go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("done"), "{answer}");
    site.served.await.unwrap().unwrap();
}

/// Answers once the server drains.
async fn until_the_drain(mut stopping: Stopping) -> &'static str {
    stopping.wait().await;
    "draining"
}

#[tokio::test]
async fn what_is_asked_in_the_drain_on_a_connection_that_was_idle_is_answered_and_is_the_last() {
    for runtime in [Runtime::Shared, Runtime::PerCore] {
        let router = Router::new().route("/", get(async || "hello")).route("/drain", get(until_the_drain));
        let site = Site::start(server().runtime(runtime), router);
        let (mut idle, mut other) = (site.connect().await, site.connect().await);
        idle.write_all(GET).await.unwrap();
        until(&mut idle, "hello").await;
        // Part of a request is there before, the rest comes after.
        let mut begun = site.connect().await;
        begun.write_all(&GET[..7]).await.unwrap();
        other.write_all(b"GET /drain HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        // What was sent before has arrived by then.
        idle.write_all(GET).await.unwrap();
        until(&mut idle, "hello").await;
        site.stop.send(()).unwrap();
        let answer = rest(&mut other).await;
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("draining"), "{answer}");
        idle.write_all(GET).await.unwrap();
        begun.write_all(&GET[7..]).await.unwrap();
        for client in [&mut idle, &mut begun] {
            let answer = rest(client).await;
            assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("hello"), "{answer}");
        }
        site.served.await.unwrap().unwrap();
    }
}

/// A body that ends when the server drains, or never.
struct Long {
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    begun: bool,
}

impl http_body::Body for Long {
    type Data = purlin::Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<purlin::Bytes>, Error>>> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(Ok(http_body::Frame::data("begun ".into()))));
        }
        self.stopping.as_mut().poll(cx).map(|()| None)
    }
}

#[tokio::test]
async fn a_long_answer_learns_of_the_drain_or_is_named_with_its_id_and_cut() {
    let (lines, _guard) = Lines::collect();
    async fn polite(mut stopping: Stopping) -> Response {
        assert!(!stopping.is_stopping());
        let stopping = Box::pin(async move { stopping.wait().await });
        Response::new(Body::new(Long { stopping, begun: false }))
    }
    async fn endless() -> Response {
        Response::new(Body::new(Long { stopping: Box::pin(std::future::pending()), begun: false }))
    }
    let router = Router::new().route("/polite", get(polite)).route("/endless", get(endless));
    let app = Stack::new().layer(RequestIds::new()).app(router);
    let site = Site::start(server().drain(Duration::from_millis(500)), app);
    let (mut polite, mut endless) = (site.connect().await, site.connect().await);
    polite.write_all(b"GET /polite HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    endless.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(&mut polite, "begun \r\n").await;
    let head = until(&mut endless, "begun \r\n").await;
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    site.stop().await;
    assert_eq!(rest(&mut polite).await, "0\r\n\r\n", "it has ended");
    assert_eq!(rest(&mut endless).await, "", "it has not");
    let log = lines.text();
    let expected =
        format!("still open at the end of the drain: cut method=\"GET\" path=\"/endless\" id=\"{id}\" peer=");
    assert!(log.contains(&expected) && !log.contains("/polite"), "{log}");
}

#[tokio::test]
async fn a_request_that_was_waiting_to_be_accepted_is_answered_in_the_drain() {
    let bound = server().bind().unwrap();
    let address: SocketAddr = bound.addresses()[0].to_string().parse().unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(GET).await.unwrap();
    // Told to stop before it has begun.
    bound.serve(handler(async || "hello"), async {}).await.unwrap();
    assert!(rest(&mut client).await.ends_with("hello"));
}

#[tokio::test]
async fn what_outlasts_the_drain_is_named_and_cut() {
    let (lines, _guard) = Lines::collect();
    let (app, arrived, _go) = waiting();
    let site = Site::start(server().drain(Duration::from_millis(50)), app);
    let mut client = site.connect().await;
    client.write_all(b"GET /slow?password=x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    arrived.notified().await;
    let peer = client.local_addr().unwrap();
    site.stop().await;
    assert_eq!(rest(&mut client).await, "");
    let log = lines.text();
    let expected = format!("still open at the end of the drain: cut method=\"GET\" path=\"/slow\" peer={peer} age_ms=");
    assert!(log.contains(&expected), "{log}");
}

#[tokio::test]
async fn background_work_starts_once_and_ends_with_the_server() {
    struct Worker(Arc<AtomicUsize>);
    impl purlin::Middleware for Worker {
        async fn handle(&self, req: Request, next: &impl Service) -> purlin::Result<Response> {
            Ok(next.call(req).await)
        }

        fn start(&self, start: &mut purlin::site::Start) -> purlin::Result<()> {
            let state = self.0.clone();
            start.task("worker", async move |mut stopping| {
                state.fetch_add(1, Ordering::SeqCst);
                stopping.wait().await;
                state.fetch_add(100, Ordering::SeqCst);
            });
            Ok(())
        }
    }
    for runtime in [Runtime::Shared, Runtime::PerCore] {
        let state = Arc::new(AtomicUsize::new(0));
        let site = Site::start(server().runtime(runtime), Stack::new().layer(Worker(state.clone())).app(echoes()));
        let mut client = site.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        rest(&mut client).await;
        assert_eq!(state.load(Ordering::SeqCst), 1);
        site.stop().await;
        assert_eq!(state.load(Ordering::SeqCst), 101);
    }
}

#[tokio::test]
async fn a_server_with_a_runtime_for_each_core_serves_reads_files_and_drains() {
    let app = handler(async || tokio::fs::read_to_string("Cargo.toml").await);
    let site = Site::start(server().runtime(Runtime::PerCore), app);
    for _ in 0..20 {
        let mut client = site.connect().await;
        client.write_all(GET).await.unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
    let address = site.address;
    site.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_app_that_cannot_start_is_an_error_of_serve() {
    let app = Router::new().route("/", get(async || "one")).route("/", get(async || "two"));
    let error = server().bind().unwrap().serve(Stack::new().app(app), async {}).await.unwrap_err();
    assert!(error.to_string().contains('/'), "{error}");
}

#[tokio::test]
async fn one_connection_too_many_waits_and_an_idle_one_makes_room_for_it() {
    let (app, arrived, go) = waiting();
    let site = Site::start(server().max_connections(1), app);
    let mut first = site.connect().await;
    first.write_all(GET).await.unwrap();
    arrived.notified().await;
    let mut second = site.connect().await;
    second.write_all(GET).await.unwrap();
    let third = site.connect().await;
    drop(third);
    // The first one is busy: nobody else is let in.
    go.notify_one();
    until(&mut first, "done").await;
    // Now it is idle, and has to leave.
    assert_eq!(rest(&mut first).await, "");
    arrived.notified().await;
    go.notify_one();
    until(&mut second, "done").await;
    drop(second);
    site.stop().await;
}

#[test]
fn a_port_that_cannot_be_had_is_said_with_what_to_do() {
    for runtime in [Runtime::Shared, Runtime::PerCore] {
        let first = server().runtime(runtime).bind().unwrap();
        let Listen::Tcp(address) = first.addresses()[0] else { panic!("not TCP") };
        let error = Server::new().listen(Listen::Tcp(address)).runtime(runtime).bind().unwrap_err();
        let port = address.port();
        let expected = format!("port {port} on 127.0.0.1 is in use; `");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(error.to_string().contains("--listen 127.0.0.1:"), "{error}");
    }
    // TEST-NET-1 (RFC 5737).
    let error = Server::new().listen("192.0.2.1:80".parse().unwrap()).bind().unwrap_err();
    assert!(error.to_string().starts_with("this machine has no address 192.0.2.1; `"), "{error}");
}

#[test]
fn the_defaults_are_those_of_the_configuration() {
    let configured = format!("{:?}", Server::from_config(&ServerConfig::default()));
    let listening = format!("{:?}", Server::new().listen("127.0.0.1:8000".parse().unwrap()));
    assert_eq!(configured, listening);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::process::{Child, Command, ExitStatus, Stdio};
    use tokio::net::UnixStream;

    /// A path of a socket in a folder of its own.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let name = format!("purlin-server-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("site.sock")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    async fn ask(path: &std::path::Path) -> String {
        let mut client = UnixStream::connect(path).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        rest(&mut client).await
    }

    #[tokio::test]
    async fn a_unix_socket_is_served_and_removed_at_the_end() {
        let folder = Folder::new();
        let path = folder.socket();
        for runtime in [Runtime::Shared, Runtime::PerCore] {
            let server = Server::new().listen(Listen::Unix(path.clone())).runtime(runtime);
            let site = Site::of(server.bind().unwrap(), echoes());
            assert!(ask(&path).await.ends_with("<GET / a >"));
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o660, "the user and the group may connect");
            site.stop().await;
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_program_is_replaced_and_that_of_a_live_one_is_not() {
        let folder = Folder::new();
        let path = folder.socket();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let site = Site::of(Server::new().listen(Listen::Unix(path.clone())).bind().unwrap(), echoes());
        let error = Server::new().listen(Listen::Unix(path.clone())).bind().unwrap_err();
        assert!(
            error.to_string().ends_with("is in use by a running program; stop it, or `--listen` on another path"),
            "{error}"
        );
        assert!(ask(&path).await.ends_with("<GET / a >"), "the first server is untouched");
        site.stop().await;

        std::fs::write(&path, "important").unwrap();
        let error = Server::new().listen(Listen::Unix(path.clone())).bind().unwrap_err();
        assert!(error.to_string().ends_with("there is a file which is no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "important");
        let error = Server::new().listen(Listen::Unix(path.join("x"))).bind().unwrap_err();
        assert!(error.to_string().starts_with("cannot listen on unix:"), "{error}");
        let error = Server::new().listen(Listen::Unix(folder.0.join("no/site.sock"))).bind().unwrap_err();
        assert!(error.to_string().ends_with("its folder is not there"), "{error}");
    }

    /// A site in a process of its own: this program, running the test below.
    struct Process {
        child: Child,
        address: SocketAddr,
        log: BufReader<std::process::ChildStdout>,
    }

    impl Process {
        /// `shell` is what a shell does before it becomes the site.
        fn start(shell: &str, listen: &str, stdin: Stdio) -> Self {
            let mut child = Command::new("sh")
                .args([
                    "-c",
                    &format!("{shell} exec \"$0\" \"$@\""),
                    std::env::current_exe().unwrap().to_str().unwrap(),
                ])
                .args(["--exact", "server::unix::a_site_for_the_tests_here", "--ignored", "--nocapture"])
                .env("PURLIN_TEST_LISTEN", listen)
                .stdin(stdin)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut log = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            let address = loop {
                line.clear();
                assert_ne!(log.read_line(&mut line).unwrap(), 0, "the site has not started");
                if let Some((_, address)) = line.split_once("listening on ") {
                    break address.trim().parse().unwrap();
                }
            };
            Self { child, address, log }
        }

        fn signal(&self, name: &str) {
            let kill = format!("kill -{name} {}", self.child.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        }

        fn end(mut self) -> (ExitStatus, String) {
            let mut log = String::new();
            self.log.read_to_string(&mut log).unwrap();
            (self.child.wait().unwrap(), log)
        }
    }

    #[test]
    #[ignore = "a part of other tests"]
    fn a_site_for_the_tests_here() {
        let Ok(listen) = std::env::var("PURLIN_TEST_LISTEN") else { return };
        let subscriber = tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let bound = Server::new().listen(listen.parse().unwrap()).drain(PATIENCE).bind().unwrap();
        println!("listening on {}", bound.addresses()[0]);
        let app = handler(async |req: Request| {
            if req.uri().path() == "/never" {
                println!("never");
                std::future::pending::<()>().await;
            }
            "hello"
        });
        bound.run(async || Ok(app)).unwrap();
        println!("ended in order");
    }

    fn get(address: SocketAddr, path: &str) -> std::net::TcpStream {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        client
    }

    fn answer(mut client: std::net::TcpStream) -> String {
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn sigterm_and_sigint_drain() {
        for signal in ["TERM", "INT"] {
            let site = Process::start("", "127.0.0.1:0", Stdio::null());
            assert!(answer(get(site.address, "/")).ends_with("hello"));
            site.signal(signal);
            let (status, log) = site.end();
            assert!(status.success() && log.contains("ended in order"), "{status} {log}");
        }
    }

    #[test]
    fn a_second_signal_ends_the_process_at_once() {
        let mut site = Process::start("", "127.0.0.1:0", Stdio::null());
        let client = get(site.address, "/never");
        let mut line = String::new();
        while !line.contains("never") {
            site.log.read_line(&mut line).unwrap();
        }
        site.signal("TERM");
        while !line.contains("draining") {
            site.log.read_line(&mut line).unwrap();
        }
        site.signal("INT");
        let (status, log) = site.end();
        assert_eq!(status.code(), Some(130), "{log}");
        assert_eq!(answer(client), "");
    }

    #[test]
    fn an_inherited_socket_is_served() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // As systemd hands it over: from 3 on, and the variables name the process.
        let shell = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$;";
        let site = Process::start(shell, "inherited", Stdio::from(OwnedFd::from(listener)));
        assert_eq!(site.address, address);
        assert!(answer(get(address, "/")).ends_with("hello"));
        site.signal("TERM");
        assert!(site.end().0.success());
    }

    #[test]
    fn without_an_inherited_socket_there_is_an_error() {
        let error = Server::new().listen(Listen::Inherited).bind().unwrap_err();
        assert!(error.to_string().starts_with("no socket was inherited: "), "{error}");
    }

    #[test]
    fn a_server_without_a_file_descriptor_left_says_so_and_lives_on() {
        let site = Process::start("ulimit -n 24;", "127.0.0.1:0", Stdio::null());
        // Busy, so that nobody can be asked to leave.
        let busy: Vec<_> = (0..40).map(|_| get(site.address, "/never")).collect();
        drop(busy);
        assert!(answer(get(site.address, "/")).ends_with("hello"));
        site.signal("TERM");
        let (status, log) = site.end();
        assert!(status.success() && log.contains("cannot accept"), "{status} {log}");
    }
}

/// HTTP/2, frame by frame: clients that know how would not send the half of this.
#[cfg(feature = "http2")]
mod http2 {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    const ACK: u8 = 1;
    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Each field literally and without an index (RFC 7541 §6.2.2).
    fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
        let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
    }

    async fn next(client: &mut (impl AsyncReadExt + Unpin)) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        tokio::time::timeout(PATIENCE, client.read_exact(&mut head)).await.unwrap().ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        client.read_exact(&mut payload).await.unwrap();
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// What the stream is answered: the status's index in the static table of HPACK, or none for a reset or an end, and the body.
    async fn answer(client: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), stream: u32) -> (Option<u8>, String) {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let Some((kind, flags, of, payload)) = next(client).await else { return (None, String::new()) };
            match kind {
                HEADERS if of == stream => status = Some(payload[0]),
                DATA if of == stream => body.extend(payload),
                RST_STREAM if of == stream => return (None, String::new()),
                PING if flags & ACK == 0 => client.write_all(&frame(PING, ACK, 0, &payload)).await.unwrap(),
                _ => continue,
            }
            if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return (status, String::from_utf8(body).unwrap());
            }
        }
    }

    const OK: Option<u8> = Some(0x88);
    const BAD_REQUEST: Option<u8> = Some(0x8c);

    async fn begin(client: &mut (impl AsyncWriteExt + Unpin)) {
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    }

    fn request(stream: u32, list: &[(&str, &str)]) -> Vec<u8> {
        frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(list))
    }

    #[tokio::test]
    async fn requests_of_http2_look_like_those_of_http1_and_are_held_to_the_same() {
        let base = [(":method", "GET"), (":scheme", "https"), (":path", "/x?y")];
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let table: &[(Fields<'_>, Option<u8>, &str)] = &[
            (&[(":authority", "a:80")], OK, "<GET /x?y a:80 >"),
            (&[(":authority", "a"), ("host", "A")], OK, "<GET /x?y a >"),
            (&[("host", "a")], OK, "<GET /x?y a >"),
            (&[], BAD_REQUEST, ""),
            (&[(":authority", "a"), ("host", "b")], BAD_REQUEST, ""),
            (&[(":authority", "root@a")], BAD_REQUEST, ""),
            (&[(":authority", "a"), ("connection", "close")], None, ""),
            (&[(":authority", "a"), ("transfer-encoding", "chunked")], None, ""),
            (&[(":authority", "a"), ("te", "gzip")], None, ""),
            (&[(":authority", "a"), ("X-Capital", "a")], None, ""),
            (&[("x", "y"), (":authority", "a")], None, ""),
        ];
        for (more, status, body) in table {
            let (mut client, _served) = connect(server(), echoes(), 64 * 1024);
            begin(&mut client).await;
            let all: Vec<_> = base.iter().chain(*more).copied().collect();
            client.write_all(&request(1, &all)).await.unwrap();
            assert_eq!(answer(&mut client, 1).await, (*status, (*body).to_owned()), "{more:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_told_to_go_away() {
        let server = server().header_timeout(Duration::from_secs(10)).idle_timeout(Duration::from_secs(30));
        let (mut client, served) = connect(server, echoes(), 64 * 1024);
        let start = Instant::now();
        begin(&mut client).await;
        client
            .write_all(&request(1, &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]))
            .await
            .unwrap();
        assert_eq!(answer(&mut client, 1).await.0, OK);
        while next(&mut client).await.expect("a GOAWAY before the end").0 != GOAWAY {}
        assert_eq!(start.elapsed().as_secs(), 30);
        // It does not even answer the ping, and is left.
        served.await.unwrap().unwrap();
        assert!(start.elapsed().as_secs() < 35);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_a_408_for_its_reader() {
        let (mut client, _served) = connect(server().body_timeout(Duration::from_secs(10)), echoes(), 64 * 1024);
        begin(&mut client).await;
        let head = fields(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]);
        client.write_all(&frame(HEADERS, END_HEADERS, 1, &head)).await.unwrap();
        let start = Instant::now();
        let (status, _) = answer(&mut client, 1).await;
        // 408 is not in the static table: a literal with the name `:status`, index 8 (RFC 7541 §6.2).
        assert!(status.is_some_and(|status| status & 0x0f == 8), "{status:?}");
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn a_drain_answers_what_has_begun_and_names_what_it_cuts() {
        let (lines, _guard) = Lines::collect();
        let (app, arrived, go) = waiting();
        let site = Site::start(server().drain(Duration::from_millis(300)), app);
        let mut client = site.connect().await;
        begin(&mut client).await;
        for (stream, path) in [(1, "/first"), (3, "/second")] {
            let list = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")];
            client.write_all(&request(stream, &list)).await.unwrap();
            arrived.notified().await;
        }
        site.stop.send(()).unwrap();
        while next(&mut client).await.expect("a GOAWAY before the end").0 != GOAWAY {}
        go.notify_one();
        assert_eq!(answer(&mut client, 1).await, (OK, "done".to_owned()));
        while next(&mut client).await.is_some() {}
        site.served.await.unwrap().unwrap();
        let log = lines.text();
        assert!(log.contains("path=\"/second\"") && !log.contains("path=\"/first\""), "{log}");
    }

    #[tokio::test]
    async fn a_server_without_http2_does_not_speak_it() {
        let (mut client, _served) = connect(server().http2(false), echoes(), 4096);
        begin(&mut client).await;
        let answer = rest(&mut client).await;
        assert!(!answer.contains("200"), "{answer}");
    }
}
