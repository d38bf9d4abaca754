//! `FastCgi`: an application that asks a FastCGI server.

use crate::access_log::Lines;
use crate::cgi::{Exactly, Folder, ask, causes, chunked, text, until};
use crate::servers::{left_out, program};
use bytes::BytesMut;
use purlin::fastcgi::{Decoder, FastCgi, Kind, Record, pairs, put_record, put_stream};
use purlin::layers::RequestIds;
use purlin::testing::Client;
use purlin::{Body, Router, Stack};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn get(path: &str) -> http::request::Builder {
    http::Request::get(path)
}

/// A connection as the server has it.
struct Peer {
    stream: TcpStream,
    decoder: Decoder,
}

/// A request as it came.
struct Came {
    params: Vec<(String, String)>,
    body: Vec<u8>,
    keep: bool,
}

impl Peer {
    /// The next record; `None` at the end of the connection.
    async fn record(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.decoder.record().unwrap() {
                return Some(record);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await {
                Ok(length @ 1..) => self.decoder.feed(&bytes[..length]),
                _ => return None,
            }
        }
    }

    async fn request(&mut self) -> Option<Came> {
        let (mut params, mut body, mut keep) = (Vec::new(), Vec::new(), false);
        loop {
            let record = self.record().await?;
            match record.kind {
                Kind::Begin => keep = record.content[2] == 1,
                Kind::Params => params.extend_from_slice(&record.content),
                Kind::Stdin if record.content.is_empty() => break,
                Kind::Stdin => body.extend_from_slice(&record.content),
                _ => return None,
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let params = pairs(&params).unwrap().into_iter().map(|(name, value)| (text(name), text(value))).collect();
        Some(Came { params, body, keep })
    }

    async fn send(&mut self, kind: Kind, content: &[u8]) {
        let mut bytes = BytesMut::new();
        put_record(&mut bytes, kind, 1, content);
        let _ = self.stream.write_all(&bytes).await;
    }

    async fn answer(&mut self, stdout: &str) {
        let mut bytes = BytesMut::new();
        put_stream(&mut bytes, Kind::Stdout, 1, stdout.as_bytes());
        put_record(&mut bytes, Kind::Stdout, 1, b"");
        put_record(&mut bytes, Kind::End, 1, &[0; 8]);
        let _ = self.stream.write_all(&bytes).await;
    }
}

/// A server that does as it is told, for each connection; which one it is, it is told too.
async fn server<F, Fut>(serve: F) -> (String, Arc<AtomicU32>)
where
    F: Fn(Peer, u32) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(Peer { stream, decoder: Decoder::new() }, counted.fetch_add(1, Ordering::SeqCst)));
        }
    });
    (address, count)
}

/// One that answers every request with what came.
async fn echo(mut peer: Peer, connection: u32) {
    while let Some(came) = peer.request().await {
        let of = |name: &str| came.params.iter().find(|(own, _)| own == name).map_or("-", |(_, value)| value.as_str());
        let told = format!(
            "{} {}{} {} {connection}",
            of("REQUEST_METHOD"),
            of("SCRIPT_NAME"),
            of("PATH_INFO"),
            came.body.len()
        );
        peer.answer(&format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{told}")).await;
        if !came.keep {
            break;
        }
    }
}

#[tokio::test]
async fn a_mounted_application_is_asked() {
    let (address, count) = server(echo).await;
    let client = Client::new(Router::new().mount("/app", FastCgi::at(&address)));
    client.get("/app/a").await.assert_status(200).assert_text("GET /app/a 0 0");
    client.post("/app/").body("hello").await.assert_text("POST /app/ 5 1");
    client.post("/app").body(vec![b'x'; 1_000_000]).await.assert_text("POST /app 1000000 2");
    client.post("/app").body(chunked(300, &[b'x'; 1000])).await.assert_text("POST /app 300000 3");
    client.head("/app/a").await.assert_status(200).assert_text("");
    assert_eq!(count.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn kept_connections_are_used_again() {
    let (address, count) = server(echo).await;
    let app = FastCgi::at(&address).keep(2);
    let client = Client::new(app);
    for _ in 0..3 {
        client.get("/a").await.assert_text("GET /a 0 0");
    }
    // Its body is on the way while the answer comes: that one is kept too.
    client.post("/a").body(vec![0; 500_000]).await.assert_text("POST /a 500000 0");
    client.get("/a").await.assert_text("GET /a 0 0");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_kept_connection_that_is_lost_costs_no_safe_request() {
    // The first one answers once, and is closed when the next request comes.
    let serve = async |mut peer: Peer, connection: u32| {
        if connection > 0 {
            return echo(peer, connection).await;
        }
        peer.request().await;
        peer.answer("Content-Type: a/b\n\nfirst").await;
        peer.request().await;
    };
    let (address, count) = server(move |peer, connection| Box::pin(serve(peer, connection))).await;
    let app = FastCgi::at(&address).keep(2);
    assert_eq!(text(ask(&app, get("/"), "").await).await.unwrap(), "first");
    assert_eq!(text(ask(&app, get("/"), "").await).await.unwrap(), "GET / 0 1");
    assert_eq!(count.load(Ordering::SeqCst), 2);

    let (address, count) = server(move |peer, connection| Box::pin(serve(peer, connection))).await;
    let app = FastCgi::at(&address).keep(2);
    assert_eq!(text(ask(&app, get("/"), "").await).await.unwrap(), "first");
    let posted = ask(&app, http::Request::post("/"), "x").await;
    assert_eq!(posted.status(), 502, "it may have been done");
    assert!(causes(&posted).contains("the connection was closed before it answered"));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_no_answer_is_a_502_that_tells_what_was_found() {
    type Serve = fn(Peer) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    let table: [(Serve, u16, &str); 10] = [
        (|_| Box::pin(async {}), 502, "the connection was closed before it answered"),
        (
            |mut peer| Box::pin(async move { drop(peer.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await) }),
            502,
            "expected a record of FastCGI, version 1, found version 72 in \"HTTP/1.1 400",
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.request().await;
                    peer.answer("<html>\n\n").await
                })
            },
            502,
            "expected a field as `Content-Type: text/html` in line 1 of the head, found \"<html>\"",
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.request().await;
                    peer.answer("").await
                })
            },
            502,
            "expected a head, found no output",
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.request().await;
                    peer.send(Kind::Stdout, b"Content-Type: a/b\n").await
                })
            },
            502,
            "the connection was closed before the answer was whole\nexpected an empty line after the head",
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.request().await;
                    peer.send(Kind::Stderr, b"no such ta").await;
                    peer.send(Kind::Stderr, b"ble\nat line 3").await;
                    peer.send(Kind::End, &[0, 0, 0, 255, 0, 0, 0, 0]).await
                })
            },
            502,
            "its standard error ended with:\n  no such table\n  at line 3\nit ended with status 255",
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.request().await;
                    peer.send(Kind::End, &[0, 0, 0, 0, 2, 0, 0, 0]).await
                })
            },
            503,
            "the server has no room for the request",
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.request().await;
                    peer.send(Kind::End, &[0, 0, 0, 0, 3, 0, 0, 0]).await
                })
            },
            502,
            "found the protocol status UnknownRole",
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.request().await;
                    let mut bytes = BytesMut::new();
                    put_record(&mut bytes, Kind::Stdout, 7, b"x");
                    drop(peer.stream.write_all(&bytes).await)
                })
            },
            502,
            "expected records of the request 1, found one of 7",
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.request().await;
                    peer.send(Kind::Begin, &[0; 8]).await
                })
            },
            502,
            "expected an answer, found a record of the kind Begin",
        ),
    ];
    for (serve, status, expected) in table {
        let (address, _) = server(move |peer, _| serve(peer)).await;
        let response = ask(&FastCgi::at(&address), get("/"), "").await;
        let causes = causes(&response);
        assert_eq!(response.status(), status, "{causes}");
        assert!(causes.contains(expected) && causes.starts_with(&format!("asking {address}")), "{causes}");
    }
    // Nobody listens
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let response = ask(&FastCgi::at(&address), get("/"), "").await;
    assert_eq!(response.status(), 502);
    assert!(causes(&response).contains("connecting"), "{}", causes(&response));
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_cut() {
    let (address, _) = server(async |mut peer: Peer, connection| {
        peer.request().await;
        peer.send(Kind::Stdout, b"Content-Type: a/b\n\nhalf").await;
        if connection == 1 {
            peer.send(Kind::End, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
        }
    })
    .await;
    let app = FastCgi::at(&address);
    for expected in ["the connection was closed before the answer was whole", "it ended with status 1"] {
        let response = ask(&app, get("/"), "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await.unwrap_err().chain().last().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_server_that_is_late_is_a_504() {
    let (address, _) = server(async |mut peer: Peer, connection| {
        peer.request().await;
        if connection == 1 {
            peer.send(Kind::Stdout, b"Content-Type: a/b\n\nhalf").await;
        }
        while peer.record().await.is_some() {}
    })
    .await;
    let limit = Duration::from_millis(200);
    let app = FastCgi::at(&address).answer_timeout(limit).idle_timeout(limit);
    let response = ask(&app, get("/"), "").await;
    assert_eq!(response.status(), 504);
    assert!(causes(&response).contains("no answer within 200ms"));
    let half = ask(&app, get("/"), "").await;
    assert_eq!(half.status(), 200);
    assert_eq!(text(half).await.unwrap_err().chain().last().unwrap(), "no more of its answer within 200ms");
}

#[tokio::test]
async fn no_more_are_asked_at_once_than_are_allowed() {
    let (address, _) = server(async |mut peer: Peer, _| {
        peer.request().await;
        while peer.record().await.is_some() {}
    })
    .await;
    let app = FastCgi::at(&address).max_connections(1).connect_timeout(Duration::from_millis(50));
    let mut first = Box::pin(ask(&app, get("/"), ""));
    let second = tokio::select! {
        _ = &mut first => panic!("it answered"),
        second = async { tokio::task::yield_now().await; ask(&app, get("/"), "").await } => second,
    };
    assert_eq!((second.status().as_u16(), second.headers()["retry-after"].to_str().unwrap()), (503, "1"));
}

#[tokio::test]
async fn the_server_is_told_when_the_client_leaves() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let (address, _) = server(move |mut peer, _| {
        let tell = tell.lock().unwrap().clone();
        async move {
            peer.request().await;
            peer.send(Kind::Stdout, b"Content-Type: a/b\n\nhalf").await;
            while let Some(record) = peer.record().await {
                tell.send(record.kind).unwrap();
            }
            tell.send(Kind::Other(0)).unwrap();
        }
    })
    .await;
    drop(ask(&FastCgi::at(&address), get("/"), "").await);
    let mut heard = Vec::new();
    until("the end of the connection", || {
        heard.extend(told.try_iter());
        heard.ends_with(&[Kind::Other(0)])
    })
    .await;
    assert_eq!(heard, [Kind::Abort, Kind::Other(0)]);
}

#[tokio::test]
async fn one_that_answers_before_it_has_read_everything_is_no_dead_lock() {
    let (address, count) = server(async |mut peer: Peer, _| {
        peer.record().await;
        peer.answer("Content-Type: a/b\n\nearly").await;
        while peer.record().await.is_some() {}
    })
    .await;
    let app = FastCgi::at(&address).keep(2);
    for _ in 0..2 {
        let answer = ask(&app, http::Request::post("/"), vec![0; 20_000_000]).await;
        assert_eq!(text(answer).await.unwrap(), "early");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2, "what is left of a body would be the next request");
}

#[tokio::test]
async fn an_address_that_is_none_is_told_at_the_start() {
    let error = purlin::site::Life::start(&FastCgi::at("php")).unwrap_err().message();
    assert!(
        error.contains("expected an address as 127.0.0.1:9000 or unix:/run/php/php-fpm.sock, found \"php\""),
        "{error}"
    );
    let error = purlin::site::Life::start(&FastCgi::at("unix:/a").root("/no/folder")).unwrap_err().message();
    assert!(error.contains("expected a folder, found none at /no/folder"), "{error}");
}

/// A php-fpm of our own with two processes, on a unix socket in a folder of its own; `None` where it is not installed.
struct Fpm {
    folder: Folder,
    process: Child,
}

impl Fpm {
    async fn start(name: &str) -> Option<Self> {
        let Some(php) = ["php-fpm8.2", "php-fpm"].into_iter().find_map(program) else {
            left_out("the tests with php-fpm", "install Debian's php-fpm");
            return None;
        };
        let folder = Folder::new(name);
        let at = folder.0.display();
        let root = std::fs::metadata(&folder.0).map(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0).unwrap();
        let user = if root { "user = root\n" } else { "" };
        let pool = format!(
            "[global]\nerror_log = {at}/fpm.log\ndaemonize = no\n[site]\nlisten = {at}/fpm.sock\n{user}pm = static\n\
             pm.max_children = 2\nphp_admin_value[log_errors] = 1\nphp_value[upload_max_filesize] = 16M\n\
             php_value[post_max_size] = 64M\nphp_value[output_buffering] = 0\n"
        );
        folder.write("fpm.conf", &pool);
        let mut command = Command::new(php);
        command.args(["-n", "-R", "-F", "-y"]).arg(folder.0.join("fpm.conf"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let fpm = Self { folder, process };
        until("php-fpm listens", || fpm.folder.0.join("fpm.sock").exists()).await;
        Some(fpm)
    }

    fn asked(&self) -> FastCgi {
        let www = self.folder.0.join("www");
        std::fs::create_dir_all(&www).unwrap();
        FastCgi::at(&format!("unix:{}/fpm.sock", self.folder.0.display())).root(www)
    }
}

impl Drop for Fpm {
    fn drop(&mut self) {
        // Its processes end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn php_fpm_answers_what_php_is_asked() {
    let Some(fpm) = Fpm::start("fpm").await else { return };
    let app = fpm.asked();
    fpm.folder
        .write("www/index.php", "<?php echo 'index ', $_SERVER['SCRIPT_NAME'];")
        .write(
            "www/echo.php",
            "<?php header('X-Method: ' . $_SERVER['REQUEST_METHOD']); setcookie('seen', 'yes', 0, '/'); setcookie('b', '2', 0, '/');
             echo json_encode([$_GET, $_POST, $_COOKIE, $_SERVER['PATH_INFO'] ?? null, $_SERVER['SCRIPT_NAME'],
                $_SERVER['PHP_SELF'], $_SERVER['HTTP_X_A'] ?? null, $_SERVER['HTTP_PROXY'] ?? null, $_SERVER['REQUEST_URI'],
                $_SERVER['DOCUMENT_ROOT'] === dirname(__FILE__), $_SERVER['HTTPS'] ?? null]);",
        )
        .write("www/upload.php", "<?php $f = $_FILES['file']; echo $f['name'], ' ', $f['size'], ' ', md5_file($f['tmp_name']), ' ', $_POST['note'];")
        .write("www/raw.php", "<?php echo strlen(file_get_contents('php://input')), ' ', $_SERVER['CONTENT_LENGTH'] ?? 'none';")
        .write("www/large.php", "<?php for ($i = 0; $i < 300; $i++) { echo str_repeat(chr(65 + $i % 26), 10000); }")
        .write("www/status.php", "<?php http_response_code(418); header('Content-Type: text/x-tea'); echo 'short and stout';")
        .write("www/redirect.php", "<?php header('Location: /elsewhere');")
        .write("www/exit.php", "<?php echo 'before'; exit(1); echo 'after';")
        .write("www/fatal.php", "<?php ini_set('display_errors', '0'); error_log('about to fail'); nosuchfunction();")
        .write("www/slow.php", "<?php usleep(3000000); echo 'late';")
        .write("www/cat.jpg", "<?php echo 'a picture that runs';");
    let client = Client::new(Router::new().mount("/php", app.clone()));

    let page = client.get("/php/echo.php/path/info?a=1&b[]=2").header("x-a", "b").header("proxy", "evil").await;
    page.assert_status(200);
    assert_eq!(page.header("x-method"), Some("GET"));
    assert_eq!(page.headers().get_all("set-cookie").iter().count(), 2);
    let expected = r#"[{"a":"1","b":["2"]},[],[],"\/path\/info","\/php\/echo.php","\/php\/echo.php\/path\/info","b",null,"\/php\/echo.php\/path\/info?a=1&b[]=2",true,null]"#;
    page.assert_text(expected);
    let posted = client.post("/php/echo.php").form(&[("c", "3")]).await;
    assert!(posted.text().starts_with(r#"[[],{"c":"3"},{"seen":"yes","b":"2"},"""#), "{}", posted.text());

    let file = vec![b'x'; 5_000_000];
    let form =
        purlin::testing::Multipart::new().file("file", "a.bin", "application/octet-stream", file).text("note", "hello");
    client
        .post("/php/upload.php")
        .multipart(form)
        .await
        .assert_text("a.bin 5000000 9dff3479548c346bbeeeab2c23af22fd hello");
    client
        .post("/php/raw.php")
        .header("content-type", "a/b")
        .body(vec![0; 20_000_000])
        .await
        .assert_text("20000000 20000000");
    client
        .post("/php/raw.php")
        .header("content-type", "a/b")
        .body(chunked(200, &[b'x'; 1000]))
        .await
        .assert_text("200000 200000");
    client.post("/php/raw.php").header("content-type", "a/b").await.assert_text("0 0");
    assert_eq!(client.get("/php/large.php").await.text().len(), 3_000_000);
    client.head("/php/large.php").await.assert_status(200).assert_text("");

    let tea = client.get("/php/status.php").expect_status(418).await;
    assert_eq!(tea.header("content-type"), Some("text/x-tea;charset=UTF-8"));
    tea.assert_text("short and stout");
    let redirect = client.get("/php/redirect.php").await;
    assert_eq!((redirect.status().as_u16(), redirect.header("location")), (302, Some("/elsewhere")));
    client.get("/php/exit.php").await.assert_status(200).assert_text("before");
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let logged = Stack::new().layer(RequestIds::new()).app(app.clone());
    let fatal = ask(&logged, get("/fatal.php"), "").await;
    assert_eq!(fatal.status(), 500);
    let id = fatal.headers()["x-request-id"].to_str().unwrap().to_owned();
    until("PHP's message is in the log", || lines.text().contains("undefined function nosuchfunction")).await;
    drop(guard);
    let line = lines.text().lines().find(|line| line.contains("about to fail")).unwrap().to_owned();
    assert!(line.contains("purlin::cgi") && line.contains(&id), "{line}");
    client.get("/php/").await.assert_text("index /php/index.php");
    client.get("/php").await.assert_status(308);
    for none in ["/php/no.php", "/php/cat.jpg", "/php/cat.jpg/x.php", "/php/../fpm.conf"] {
        client.get(none).expect_status(404).await;
    }
    let late = ask(&app.clone().answer_timeout(Duration::from_millis(200)), get("/slow.php"), "").await;
    assert_eq!(late.status(), 504);
    // The process goes on with it; the other one answers.
    let other = ask(&app, get("/index.php"), "").await;
    assert_eq!(text(other).await.unwrap(), "index /index.php");
}

#[tokio::test]
async fn php_fpm_keeps_connections_and_loses_none() {
    let Some(fpm) = Fpm::start("fpm-keep").await else { return };
    let app = fpm.asked().keep(1);
    fpm.folder.write("www/pid.php", "<?php echo getmypid(), ' ', strlen(file_get_contents('php://input'));");
    let mut pids = std::collections::BTreeSet::new();
    for length in [0, 5, 100_000, 0, 3_000_000, 7] {
        let answer = text(ask(&app, http::Request::post("/pid.php"), vec![b'x'; length]).await).await.unwrap();
        let (pid, read) = answer.split_once(' ').unwrap();
        assert_eq!(read, length.to_string());
        pids.insert(pid.to_owned());
    }
    assert_eq!(pids.len(), 1, "all by one connection, and so by one process");
    // Not read by the script: what is left of the body is no request.
    fpm.folder.write("www/early.php", "<?php echo 'early';");
    for _ in 0..3 {
        let answer = ask(&app, http::Request::post("/early.php"), Body::from(vec![0; 4_000_000])).await;
        assert_eq!(text(answer).await.unwrap(), "early");
    }
    assert_eq!(ask(&app, get("/pid.php"), "").await.status(), 200);
}

/// The applications that the Python adapter is tried with, each in `wsgiref`'s validator, which fails what breaks PEP 3333: the
/// adapter as well as the application.
const APPLICATION: &str = r#"
import hashlib, json, sys, time
from wsgiref.validate import validator

closed = []

class Closing:
    def __init__(self, pieces):
        self.pieces = iter(pieces)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.pieces)
    def close(self):
        closed.append(1)

PLAIN = [('Content-Type', 'text/plain; charset=utf-8')]

def plain(environ, start_response):
    path, body = environ['PATH_INFO'], environ['wsgi.input']
    if path == '/environ':
        start_response('200 OK', PLAIN + [('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2')])
        keys = ['REQUEST_METHOD', 'SCRIPT_NAME', 'QUERY_STRING', 'HTTP_X_A', 'wsgi.url_scheme', 'wsgi.multithread',
                'wsgi.multiprocess', 'wsgi.run_once', 'REMOTE_ADDR', 'HTTP_PROXY']
        return [json.dumps([environ.get(key) for key in keys]).encode()]
    if path.startswith('/latin'):
        start_response('200 OK', PLAIN)
        return [path.encode('latin-1')]
    if path == '/read':
        digest, length = hashlib.md5(), 0
        while True:
            piece = body.read(10000)
            if not piece:
                break
            digest.update(piece)
            length += len(piece)
        start_response('200 OK', PLAIN)
        return [('%d %s' % (length, digest.hexdigest())).encode()]
    if path == '/lines':
        first = body.readline(), body.readline(), body.readlines(1), list(body), body.readline(), body.read(5)
        start_response('200 OK', PLAIN)
        return [repr(first).encode()]
    if path == '/pieces':
        start_response('200 OK', PLAIN)
        return (b'%d,' % at for at in range(1000))
    if path == '/write':
        write = start_response('200 OK', PLAIN)
        write(b'written, ')
        return [b'and returned']
    if path == '/none':
        start_response('204 No Content', [])
        return []
    if path == '/fails':
        raise ValueError('no such page in the book')
    if path == '/half':
        def half():
            yield b'half'
            raise ValueError('no second half')
        start_response('200 OK', PLAIN)
        return Closing(half())
    if path == '/changed':
        start_response('200 OK', PLAIN)
        try:
            raise ValueError('another answer')
        except ValueError:
            start_response('500 Internal Server Error', PLAIN, sys.exc_info())
        return [b'it failed']
    if path == '/closed':
        start_response('200 OK', PLAIN)
        count, closed[:] = len(closed), []
        return Closing([b'%d' % count])
    if path == '/log':
        environ['wsgi.errors'].write('one line\nand \u00e4nother\n')
        start_response('200 OK', PLAIN)
        return [b'logged']
    if path == '/large':
        start_response('200 OK', PLAIN)
        return [b'x' * 3000000]
    if path == '/header':
        start_response('200 OK', PLAIN + [('X-A', 'a\r\nSet-Cookie: evil=1')])
        return [b'']
    start_response('404 Not Found', PLAIN)
    return [b'no such path']

application = validator(plain)

class Factory:
    @staticmethod
    def make():
        return application

# The validator takes no control characters in a header: without it the adapter has to see them.
unchecked = plain
"#;

/// The adapter with this application; `None` where there is no Python.
struct Adapter {
    folder: Folder,
    process: Child,
    control: std::os::unix::net::UnixStream,
}

impl Adapter {
    fn start(name: &str, application: &str) -> Option<Self> {
        use std::os::fd::OwnedFd;
        let Some(python) = program("python3") else {
            left_out("the tests of the WSGI adapter", "install Debian's python3");
            return None;
        };
        let folder = Folder::new(name);
        folder.write("book.py", APPLICATION);
        let listener = std::os::unix::net::UnixListener::bind(folder.0.join("wsgi.sock")).unwrap();
        // As a stand-in for a control channel beside standard input: what is standard output to others.
        let (control, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let adapter = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wsgi/adapter.py");
        let mut command = Command::new(python);
        command.args(["-W", "error", "-B", adapter, "--threads", "3", "--path"]).arg(&folder.0).arg(application);
        command.env("PURLIN_CONTROL", "1").stdin(OwnedFd::from(listener)).stdout(OwnedFd::from(theirs));
        let process = command.stderr(Stdio::inherit()).spawn().unwrap();
        drop(command);
        let mut ready = [0; 6];
        std::io::Read::read_exact(&mut &control, &mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        Some(Self { folder, process, control })
    }

    fn asked(&self) -> FastCgi {
        FastCgi::at(&format!("unix:{}/wsgi.sock", self.folder.0.display())).keep(3)
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_wsgi_application_is_served_by_the_adapter() {
    let Some(adapter) = Adapter::start("wsgi", "book:application") else { return };
    let app = adapter.asked();
    let client = Client::new(Router::new().mount("/book", app.clone()));
    let page = client.get("/book/environ?a=b").header("x-a", "c").header("proxy", "evil").await;
    page.assert_status(200)
        .assert_text(r#"["GET", "/book", "a=b", "c", "http", true, false, false, "127.0.0.1", null]"#);
    assert_eq!(page.headers().get_all("set-cookie").iter().count(), 2);
    // Bytes of a path are characters of the environ (PEP 3333), and so the same bytes again.
    client.get("/book/latin/r%C3%A9sum%C3%A9").await.assert_text("/latin/résumé");
    client.post("/book/read").await.assert_text("0 d41d8cd98f00b204e9800998ecf8427e");
    let large = client.post("/book/read").body(vec![b'x'; 5_000_000]).await;
    assert!(large.text().starts_with("5000000 "), "{}", large.text());
    let held = client.post("/book/read").body(chunked(100, &[b'x'; 1000])).await;
    assert!(held.text().starts_with("100000 "), "{}", held.text());
    let streamed =
        ask(&app.clone().hold_bodies(false), http::Request::post("/read"), chunked(100, &[b'x'; 1000])).await;
    assert!(text(streamed).await.unwrap().starts_with("100000 "));
    let lines = client.post("/book/lines").body("a\n\nbc\nd\ne\nf").await;
    lines.assert_text(r"(b'a\n', b'\n', [b'bc\n'], [b'd\n', b'e\n', b'f'], b'', b'')");
    assert!(client.get("/book/pieces").await.text().ends_with("998,999,"));
    client.get("/book/write").await.assert_text("written, and returned");
    client.get("/book/none").await.assert_status(204).assert_text("");
    client.get("/book/changed").expect_status(500).await.assert_text("it failed");
    client.get("/book/log").await.assert_text("logged");
    client.get("/book/other").expect_status(404).await.assert_text("no such path");
    assert_eq!(client.get("/book/large").await.text().len(), 3_000_000);
    client.head("/book/large").await.assert_status(200).assert_text("");
    // Not read: what is left of the body is no request.
    for _ in 0..4 {
        let unread = ask(&app, http::Request::post("/none"), vec![0; 100_000]).await;
        assert_eq!(unread.status(), 204);
    }

    // For the mount `Wsgi`, which makes a carried error of it.
    let failed = ask(&app, get("/fails"), "").await;
    assert_eq!((failed.status().as_u16(), failed.headers().contains_key("purlin-wsgi-failed")), (500, true));
    let found = text(failed).await.unwrap();
    assert!(found.contains("ValueError: no such page in the book"), "{found}");
    client.get("/book/closed").await;
    let half = ask(&app, get("/half"), "").await;
    assert_eq!(half.status(), 200);
    assert!(text(half).await.is_err());
    client.get("/book/closed").await.assert_text("2");
    // Three at once
    let (one, two, three) =
        tokio::join!(ask(&app, get("/large"), ""), ask(&app, get("/large"), ""), ask(&app, get("/large"), ""));
    for answer in [one, two, three] {
        assert_eq!(text(answer).await.unwrap().len(), 3_000_000);
    }
}

#[tokio::test]
async fn the_adapter_lets_no_header_split_and_ends_when_it_is_told_to() {
    let Some(mut adapter) = Adapter::start("wsgi-end", "book:unchecked") else { return };
    let app = adapter.asked();
    let split = ask(&app, get("/header"), "").await;
    assert_eq!(split.status(), 500);
    assert!(text(split).await.unwrap().contains("a control character in the header"));
    // One under way goes on; what is idle is closed.
    let page = ask(&app, get("/environ"), "").await;
    assert_eq!(page.status(), 200);
    assert!(page.headers().contains_key("content-length"), "of one piece, whose length is known");
    let under_way = ask(&app, get("/large"), "").await;
    adapter.control.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(text(under_way).await.unwrap().len(), 3_000_000);
    until("the adapter has ended", || adapter.process.try_wait().unwrap().is_some()).await;
    assert!(adapter.process.wait().unwrap().success());
}

#[tokio::test]
async fn the_adapter_takes_a_factory_and_says_what_it_does_not_find() {
    let Some(adapter) = Adapter::start("wsgi-factory", "book:Factory.make()") else { return };
    assert_eq!(ask(&adapter.asked(), get("/environ"), "").await.status(), 200);
    let python = program("python3").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wsgi/adapter.py");
    for (application, expected) in [
        ("book:nothing", "expected `nothing` in the module book, found none"),
        ("book:PLAIN", "expected an application at book:PLAIN, found [("),
        ("nobook", "No module named 'nobook'"),
        ("none.ini", "PasteDeploy is not installed"),
    ] {
        let listener =
            std::os::unix::net::UnixListener::bind(adapter.folder.0.join(format!("{}.sock", expected.len()))).unwrap();
        let mut command = Command::new(&python);
        command.args(["-B", script, "--path"]).arg(&adapter.folder.0).arg(application);
        let output = command.stdin(std::os::fd::OwnedFd::from(listener)).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{application}");
        // Where it is installed, it does not find the file.
        assert!(error.contains(expected) || (application == "none.ini" && error.contains("none.ini")), "{error}");
    }
}
