//! `Cgi`: a program for each request.

use crate::access_log::Lines;
use crate::servers::{left_out, program};
use purlin::cgi::{Cgi, RemoteUser};
use purlin::layers::{Forwards, RequestIds};
use purlin::testing::{Client, Page};
use purlin::{Body, Connection, Request, Response, ResponseExt, Result, Router, Service, Stack, get};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A shell script as the program.
fn shell(script: &str) -> Cgi {
    Cgi::program("/bin/sh").args(["-c", script])
}

/// A script which prints this head and then what the commands do.
fn plain(commands: &str) -> Cgi {
    shell(&format!("printf 'Content-Type: text/plain; charset=utf-8\\n\\n'; {commands}"))
}

pub(crate) trait Exactly {
    fn assert_text(&self, text: &str);
}

impl Exactly for Page {
    fn assert_text(&self, text: &str) {
        assert_eq!(self.text(), text);
    }
}

pub(crate) async fn ask(app: &impl Service, req: http::request::Builder, body: impl Into<Body>) -> Response {
    app.call(req.header("host", "localhost").body(body.into()).unwrap()).await
}

pub(crate) async fn text(response: Response) -> Result<String> {
    let bytes = response.into_body().collect(1 << 26).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn causes(response: &Response) -> String {
    response.error().expect("a carried error").chain().collect::<Vec<_>>().join("\n")
}

/// In pieces, so that its length is not known.
pub(crate) fn chunked(pieces: usize, piece: &'static [u8]) -> Body {
    struct Pieces(usize, &'static [u8]);
    impl http_body::Body for Pieces {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            let next = self.0.checked_sub(1).map(|left| {
                self.0 = left;
                Ok(http_body::Frame::data(bytes::Bytes::from_static(self.1)))
            });
            std::task::Poll::Ready(next)
        }
    }
    Body::new(Pieces(pieces, piece))
}

/// A folder that is gone when the test has ended.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("purlin-cgi-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// An executable. It is another process that writes it: while this one has a file open for that, a program that starts at the
    /// same time has it open too, and it could not be run.
    fn executable(&self, name: &str, text: &str) -> &Self {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", text]).arg(&path);
        assert!(shell.status().unwrap().success());
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within five seconds");
}

#[tokio::test]
async fn a_program_answers_with_what_it_prints() {
    let cgi = shell(
        "printf 'Status: 201 Created\\r\\nContent-Type: text/plain; charset=utf-8\\r\\nX-Seen: %s %s\\r\\n\\r\\n' \"$PATH_INFO\" \"$QUERY_STRING\"; cat",
    );
    let client = Client::new(Router::new().mount("/run", cgi));
    let response = client.post("/run/a%20b?c=d").body("hello").await;
    response.assert_status(201).assert_contains("hello");
    assert_eq!(response.header("x-seen"), Some("/a b c=d"));
}

#[tokio::test]
async fn its_environment_has_the_request_and_nothing_else() {
    let cgi = plain("export -p").env("SETTING", "mine");
    let app = Stack::new().layer(RequestIds::new()).app(Router::new().mount("/env", cgi));
    let mut req = http::Request::post("/env/x?y").header("host", "example.org:8080").header("content-type", "a/b");
    for (name, value) in
        [("proxy", "http://evil"), ("x_a", "1"), ("x-b", "2"), ("authorization", "Basic eDp5"), ("cookie", "c=1")]
    {
        req = req.header(name, value);
    }
    let mut req: Request = req.body(Body::from("hello")).unwrap();
    req.extensions_mut().insert(Connection::new(Some("192.0.2.1:5".parse().unwrap()), None));
    req.extensions_mut().insert(RemoteUser { scheme: "Basic".into(), user: "anna".into() });
    let printed = text(app.call(req).await).await.unwrap();
    let own = ["PWD", "OLDPWD", "SHLVL", "_"];
    let lines =
        printed.lines().filter_map(|line| line.strip_prefix("export ")).map(|line| line.replace(['\'', '"'], ""));
    let mut lines: Vec<String> = lines.filter(|line| !own.contains(&line.split('=').next().unwrap())).collect();
    lines.sort();
    let id = lines.iter().position(|line| line.starts_with("UNIQUE_ID=")).expect("the id of the request");
    assert!(lines.remove(id).len() > "UNIQUE_ID=".len());
    let path = lines.iter().position(|line| line.starts_with("PATH=")).unwrap();
    lines.remove(path);
    let expected = [
        "AUTH_TYPE=Basic",
        "CONTENT_LENGTH=5",
        "CONTENT_TYPE=a/b",
        "GATEWAY_INTERFACE=CGI/1.1",
        "HTTP_COOKIE=c=1",
        "HTTP_HOST=example.org:8080",
        "HTTP_X_B=2",
        "PATH_INFO=/x",
        "QUERY_STRING=y",
        "REMOTE_ADDR=192.0.2.1",
        "REMOTE_HOST=192.0.2.1",
        "REMOTE_PORT=5",
        "REMOTE_USER=anna",
        "REQUEST_METHOD=POST",
        "REQUEST_SCHEME=http",
        "REQUEST_URI=/env/x?y",
        "SCRIPT_FILENAME=/bin/sh",
        "SCRIPT_NAME=/env",
        "SERVER_NAME=example.org",
        "SERVER_PORT=8080",
        "SERVER_PROTOCOL=HTTP/1.1",
        concat!("SERVER_SOFTWARE=Purlin/", env!("CARGO_PKG_VERSION")),
        "SETTING=mine",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn what_it_may_see_is_chosen() {
    let cgi = plain("echo \"$HTTP_AUTHORIZATION|$HTTP_COOKIE|$CARGO_PKG_NAME\"");
    let req = || http::Request::get("/").header("authorization", "Basic eDp5").header("cookie", "a=1");
    assert_eq!(text(ask(&cgi, req(), "").await).await.unwrap(), "|a=1|\n");
    let cgi = cgi.authorization(true).cookies(false).pass_env(["CARGO_PKG_NAME"]);
    // cargo sets it for tests.
    let name = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    assert_eq!(text(ask(&cgi, req(), "").await).await.unwrap(), format!("Basic eDp5||{name}\n"));
}

#[tokio::test]
async fn options_that_cannot_work_are_told_at_the_start() {
    let folder = Folder::new("options");
    folder.write("data", "");
    let table = [
        (Cgi::program(folder.0.join("no")), "expected an executable file, found none at"),
        (Cgi::program(folder.0.join("data")), "expected an executable file, found none at"),
        (Cgi::folder(folder.0.join("no")), "expected a folder, found none at"),
        (Cgi::folder(&folder.0).interpreter("php", "/no/php"), "found none at /no/php"),
        (Cgi::folder(&folder.0).args(["x"]), "`args` are for one program"),
        (shell("").index("x"), "`interpreter` and `index` are for the scripts of a folder"),
        (shell("").env("A=B", "c"), "expected the name of an environment variable, found \"A=B\""),
        (shell("").pass_env(["HTTP_PROXY"]), "HTTP_PROXY is the name of a request's header"),
    ];
    for (cgi, expected) in table {
        let error = purlin::site::Life::start(&cgi).unwrap_err().message();
        assert!(error.contains(expected) && error.contains("tests/cgi.rs:"), "{error}");
    }
}

#[tokio::test]
async fn bodies_are_as_long_as_they_are_said_to_be() {
    let cgi = plain("echo \"$CONTENT_LENGTH\"; wc -c").temporary_folder(std::env::temp_dir());
    for (pieces, piece) in [(0, &b"x"[..]), (3, b"abc"), (4000, &[b'x'; 1000])] {
        let length = pieces * piece.len();
        let told = text(ask(&cgi, http::Request::post("/"), chunked(pieces, piece)).await).await.unwrap();
        assert_eq!(told.split_whitespace().collect::<Vec<_>>(), [length.to_string(), length.to_string()]);
    }
    let told = text(ask(&cgi, http::Request::post("/"), vec![0; 3_000_000]).await).await.unwrap();
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["3000000", "3000000"]);
    let told = text(ask(&cgi, http::Request::get("/"), "").await).await.unwrap();
    assert_eq!(told, "\n0\n");
    let large = ask(&cgi.clone().max_held_body(8), http::Request::post("/"), chunked(3, b"abc")).await;
    assert_eq!(large.status(), 413);
    let streamed =
        text(ask(&cgi.hold_bodies(false), http::Request::post("/"), chunked(3, b"abc")).await).await.unwrap();
    assert_eq!(streamed, "\n9\n");
}

#[tokio::test]
async fn what_it_writes_leaves_at_once() {
    let (mut feed, input) = tokio::io::duplex(64);
    let body = Body::new(Reading(input));
    // It echoes each line as it comes.
    let cgi = plain("while read line; do echo \"$line\"; done").hold_bodies(false);
    let mut answer = ask(&cgi, http::Request::post("/"), body).await.into_body();
    for line in [&b"one\n"[..], b"two\n"] {
        tokio::io::AsyncWriteExt::write_all(&mut feed, line).await.unwrap();
        let echoed = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(echoed, line);
    }
    drop(feed);
    assert!(answer.frame().await.is_none());
}

/// What is read as a body.
struct Reading(tokio::io::DuplexStream);

impl http_body::Body for Reading {
    type Data = bytes::Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let mut bytes = [0; 64];
        let mut read = tokio::io::ReadBuf::new(&mut bytes);
        std::task::ready!(tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut self.0), cx, &mut read))?;
        let filled = read.filled();
        std::task::Poll::Ready(
            (!filled.is_empty()).then(|| Ok(http_body::Frame::data(bytes::Bytes::copy_from_slice(filled)))),
        )
    }
}

#[tokio::test]
async fn one_that_does_not_read_answers_all_the_same() {
    let cgi = plain("echo done");
    assert_eq!(text(ask(&cgi, http::Request::post("/"), vec![0; 10_000_000]).await).await.unwrap(), "done\n");
    // And one that writes much before it reads much.
    let cgi = plain("head -c 3000000 /dev/zero; wc -c");
    let answer = text(ask(&cgi, http::Request::post("/"), vec![0; 3_000_000]).await).await.unwrap();
    assert!(answer.len() > 3_000_000 && answer.ends_with("3000000\n"));
}

#[tokio::test]
async fn a_slow_client_makes_it_wait() {
    let folder = Folder::new("slow");
    let far = folder.0.join("far");
    let cgi = plain(&format!("head -c 4000000 /dev/zero; : >'{}'", far.display()));
    let mut body = ask(&cgi, http::Request::get("/"), "").await.into_body();
    body.frame().await.unwrap().unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!far.exists(), "four megabytes are held somewhere");
    let mut rest = 0;
    while let Some(frame) = body.frame().await {
        rest += frame.unwrap().into_data().unwrap().len();
    }
    assert!(rest > 3_900_000 && far.exists());
}

#[tokio::test]
async fn a_head_has_no_body_and_says_how_long_it_were() {
    let cgi = shell(
        "printf 'Content-Type: text/plain; charset=utf-8\\nContent-Length: 5\\n\\n'; [ $REQUEST_METHOD = HEAD ] || printf hello",
    );
    let client = Client::new(cgi);
    client.get("/").await.assert_status(200).assert_text("hello");
    let head = client.head("/").await;
    head.assert_status(200).assert_text("");
    assert_eq!(head.header("content-length"), Some("5"));
    // One that does not care.
    Client::new(plain("echo hello")).head("/").await.assert_status(200).assert_text("");
}

#[tokio::test]
async fn redirects_are_the_clients_or_local() {
    let routes = || {
        Router::new()
            .mount("/here", shell("printf 'Location: /there?a=b\\nSet-Cookie: seen=1\\n\\n'"))
            .mount("/out", shell("printf 'Location: https://example.org/x\\n\\n'"))
            .mount("/see", shell("printf 'Status: 303 See Other\\nLocation: /there\\n\\n'"))
            .mount("/round", shell("printf 'Location: /round\\n\\n'"))
            .route("/there", get(async |req: purlin::Query<Vec<(String, String)>>| format!("there {:?}", req.0)))
    };
    let client = Client::new(Stack::new().layer(Forwards::new()).app(routes()));
    let local = client.post("/here").body("x").await;
    local.assert_status(200).assert_contains("there");
    assert_eq!(local.header("set-cookie"), Some("seen=1"));
    let out = client.get("/out").await;
    assert_eq!((out.status().as_u16(), out.header("location")), (302, Some("https://example.org/x")));
    let see = client.get("/see").await;
    assert_eq!((see.status().as_u16(), see.header("location")), (303, Some("/there")));
    client.get("/round").expect_status(500).await;
    let alone = ask(&routes(), http::Request::get("/here"), "").await;
    assert_eq!(alone.status(), 502);
    assert!(
        causes(&alone).contains("a local redirect to /there?a=b, which no layer above follows"),
        "{}",
        causes(&alone)
    );
}

#[tokio::test]
async fn what_is_no_answer_is_a_502_that_tells_what_was_found() {
    let table = [
        (":", "expected a head, found no output"),
        ("echo '<html>'", "expected a field as `Content-Type: text/html` in line 1 of the head, found \"<html>\""),
        ("head -c 100000 /dev/zero", "lines of at most 16 KiB in the head, found more, which begins \"\\0"),
        ("yes 'X-A: b'", "expected at most 64 KiB in 256 lines"),
        ("printf 'HTTP/1.1 200 OK\\r\\n\\r\\n'", "programs that write the status line themselves (nph) are not run"),
        ("printf 'Content-Type: a/b\\n'", "found the end of the output after a whole line"),
        ("printf 'Status: 200 OK\\n\\nhello'", "found a body without it"),
        ("printf 'Status: 200 OK\\n\\n'; sleep 0.1; echo hello", "found a body without it"),
        ("echo 'no such table: pages' >&2; exit 3", "it exited with status 3\nexpected a head, found no output"),
        ("kill -9 $$", "it was killed by signal 9 (SIGKILL)"),
        ("printf 'Content-Type: a/b\\n'; kill -SEGV $$", "it was killed by signal 11 (SIGSEGV)"),
    ];
    for (script, expected) in table {
        let response = ask(&shell(script), http::Request::get("/"), "").await;
        assert_eq!(response.status(), 502, "{script}");
        let causes = causes(&response);
        assert!(causes.contains(expected), "{script}: {causes}");
        assert!(causes.starts_with("running /bin/sh"), "{causes}");
        if script.contains("no such table") {
            assert!(causes.contains("its standard error ended with:\n  no such table: pages"), "{causes}");
        }
        assert_eq!(response.error().unwrap().public_message(), None);
    }
    // No body, no type (§6.3.1).
    let none = ask(&shell("printf 'Status: 404 Not Found\\n\\n'"), http::Request::get("/"), "").await;
    assert_eq!((none.status().as_u16(), text(none).await.unwrap().as_str()), (404, ""));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let folder = Folder::new("none");
    folder.executable("no-interpreter", "#!/no/such/interpreter\n");
    let cgi = Cgi::program(folder.0.join("no-interpreter"));
    let response = ask(&cgi, http::Request::get("/"), "").await;
    assert_eq!(response.status(), 500);
    assert!(causes(&response).contains("no-interpreter"), "{}", causes(&response));
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_cut() {
    let table = [
        ("echo half; exit 1", Some("running /bin/sh: it exited with status 1")),
        ("echo half; kill -9 $$", Some("running /bin/sh: it was killed by signal 9 (SIGKILL)")),
        ("echo whole", None),
    ];
    for (commands, expected) in table {
        let response = ask(&plain(commands), http::Request::get("/"), "").await;
        assert_eq!(response.status(), 200);
        let error = text(response).await.err().map(|error| error.chain().collect::<Vec<_>>().join(": "));
        assert_eq!(error.as_deref(), expected, "{commands}");
    }
    let lenient = plain("echo whole; exit 1").check_exit_status(false);
    assert_eq!(text(ask(&lenient, http::Request::get("/"), "").await).await.unwrap(), "whole\n");
    let sized = |length: u32, commands: &str| {
        shell(&format!("printf 'Content-Type: a/b\\nContent-Length: {length}\\n\\n'; {commands}"))
    };
    let short = text(ask(&sized(9, "printf hello"), http::Request::get("/"), "").await).await.unwrap_err();
    assert_eq!(format!("{short:#}"), "running /bin/sh: 4 bytes of its Content-Length are missing");
    let whole = text(ask(&sized(5, "printf hello; exit 1"), http::Request::get("/"), "").await).await;
    assert_eq!(whole.unwrap(), "hello");
    let long = text(ask(&sized(5, "printf 'hello, world'"), http::Request::get("/"), "").await).await;
    assert_eq!(long.unwrap(), "hello");
}

#[tokio::test]
async fn one_that_is_late_is_killed_and_answered_by_504() {
    let folder = Folder::new("late");
    let pid = folder.0.join("pid");
    let script = format!("echo $$ >'{0}.new'; mv '{0}.new' '{0}'; exec sleep 100", pid.display());
    let cgi = shell(&script).answer_timeout(Duration::from_millis(300));
    let response = ask(&cgi, http::Request::get("/"), "").await;
    assert_eq!(response.status(), 504);
    assert!(causes(&response).contains("it has not answered within 300ms, and was killed"));
    gone(&pid).await;
    let cgi = plain("echo first; exec sleep 100").timeout(Duration::from_millis(300));
    let response = ask(&cgi, http::Request::get("/"), "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await.unwrap_err().status(), 504);
    let endless = shell("while :; do printf 'X-A: b\\n'; sleep 0.01; done").answer_timeout(Duration::from_millis(300));
    assert_eq!(ask(&endless, http::Request::get("/"), "").await.status(), 504, "a head by the drop");
}

async fn gone(pid: &Path) {
    let pid = std::fs::read_to_string(pid).expect("the program has begun").trim().to_owned();
    // Also none that has ended and waits for its parent to hear of it.
    until("its process is gone", || !Path::new("/proc").join(&pid).exists()).await;
}

#[tokio::test]
async fn it_is_killed_when_the_client_leaves() {
    let folder = Folder::new("leaves");
    let pid = folder.0.join("pid");
    let note = format!("echo $$ >'{0}.new'; mv '{0}.new' '{0}'", pid.display());
    // Before the head
    let cgi = shell(&format!("{note}; exec sleep 100"));
    let mut asking = Box::pin(ask(&cgi, http::Request::get("/"), ""));
    tokio::select! {
        _ = &mut asking => panic!("it answered"),
        () = until("it has begun", || pid.exists()) => {}
    }
    drop(asking);
    gone(&pid).await;
    // After it
    std::fs::remove_file(&pid).unwrap();
    let cgi = plain(&format!("{note}; trap '' PIPE; exec sleep 100"));
    let response = ask(&cgi, http::Request::get("/"), "").await;
    until("it has begun", || pid.exists()).await;
    drop(response);
    gone(&pid).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault() {
    let pieces = async_pieces();
    let cgi = plain("wc -c").hold_bodies(false);
    let response =
        ask(&shell("cat >/dev/null; sleep 100").hold_bodies(false), http::Request::post("/"), Body::new(pieces)).await;
    assert_eq!(response.status(), 400);
    let response = ask(&cgi, http::Request::post("/"), Body::new(async_pieces())).await;
    // The head may have been there before.
    assert!(response.status() == 400 || text(response).await.is_err());
}

fn async_pieces() -> Broken {
    Broken(2)
}

/// A piece, and then a failure.
struct Broken(u8);

impl http_body::Body for Broken {
    type Data = bytes::Bytes;
    type Error = purlin::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>>>> {
        self.0 -= 1;
        std::task::Poll::Ready(Some(match self.0 {
            1 => Ok(http_body::Frame::data(bytes::Bytes::from_static(b"some"))),
            _ => Err(purlin::Error::bad_request("the client broke off")),
        }))
    }
}

#[tokio::test]
async fn its_standard_error_is_in_the_log_with_the_id_of_the_request() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let cgi = plain("echo 'the first thing' >&2; printf 'a\\033b\\n' >&2; yes noise | head -n 500 >&2; echo done");
    let response = ask(&Stack::new().layer(RequestIds::new()).app(cgi), http::Request::get("/"), "").await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(text(response).await.unwrap(), "done\n");
    until("its standard error is in the log", || lines.text().contains("more of its standard error is left out")).await;
    let log = lines.text();
    let first = log.lines().find(|line| line.contains("the first thing")).unwrap();
    assert!(first.contains("purlin::cgi") && first.contains(&id) && first.contains("/bin/sh"), "{first}");
    assert_eq!(log.matches("noise").count(), 98);
    assert!(!log.contains('\u{1b}'), "what a terminal obeys");
}

#[tokio::test]
async fn no_more_run_than_are_allowed() {
    let folder = Folder::new("seats");
    let open = folder.0.join("open");
    let cgi = plain(&format!("while ! [ -e '{}' ]; do sleep 0.02; done; echo done", open.display()))
        .max_programs(2)
        .queue_timeout(Duration::from_millis(100));
    let (first, second) = (ask(&cgi, http::Request::get("/"), "").await, ask(&cgi, http::Request::get("/"), "").await);
    let third = ask(&cgi, http::Request::get("/"), "").await;
    assert_eq!(third.status(), 503);
    assert_eq!(third.headers()["retry-after"], "1");
    assert!(causes(&third).contains("2 programs are running (`max_programs`)"));
    std::fs::write(open, "").unwrap();
    assert_eq!(text(first).await.unwrap(), "done\n");
    assert_eq!(text(second).await.unwrap(), "done\n");
    let fourth = ask(&cgi.queue_timeout(Duration::from_secs(10)), http::Request::get("/"), "").await;
    assert_eq!(fourth.status(), 200);
}

#[tokio::test]
async fn a_folder_has_scripts_and_what_is_below_them() {
    let folder = Folder::new("folder");
    let show = "printf 'Content-Type: text/plain; charset=utf-8\\n\\n%s|%s|%s|%s' \"$SCRIPT_NAME\" \"$PATH_INFO\" \"$PATH_TRANSLATED\" \"$(pwd)\"";
    folder
        .executable("show", &format!("#!/bin/sh\n{show}"))
        .executable("sub/index.sh", &format!("#!/bin/sh\n{show}"))
        .write("sub/read.sh", &format!("{show}; printf '|%s|%s' \"$REDIRECT_STATUS\" \"$0\""))
        .write("data.txt", "secret")
        .executable(".hidden", &format!("#!/bin/sh\n{show}"));
    std::os::unix::fs::symlink("/bin/sh", folder.0.join("out")).unwrap();
    let root = folder.0.display().to_string();
    let cgi = Cgi::folder(&folder.0).interpreter("sh", "/bin/sh").index("index.sh");
    let client = Client::new(Router::new().mount("/cgi-bin", cgi));
    client.get("/cgi-bin/show").await.assert_text(&format!("/cgi-bin/show|||{root}"));
    client.get("/cgi-bin/show/a/b").await.assert_text(&format!("/cgi-bin/show|/a/b|{root}/a/b|{root}"));
    let read = format!("/cgi-bin/sub/read.sh|/x|{root}/x|{root}/sub|200|{root}/sub/read.sh");
    client.get("/cgi-bin/sub/read.sh/x").await.assert_text(&read);
    let index = format!("/cgi-bin/sub/index.sh|||{root}/sub|200|{root}/sub/index.sh");
    let index = index.split("|200").next().unwrap().to_owned();
    client.get("/cgi-bin/sub/").await.assert_text(&index);
    for none in ["", "/", "/no", "/data.txt", "/.hidden", "/out", "/sub/../show", "/sub%2Findex.sh", "/show%00"] {
        client.get(&format!("/cgi-bin{none}")).expect_status(404).await;
    }
}

#[tokio::test]
async fn a_php_script_is_run_by_php_cgi() {
    let Some(php) = ["php-cgi8.2", "php-cgi"].into_iter().find_map(program) else {
        left_out("the test with php-cgi", "install Debian's php-cgi");
        return;
    };
    let folder = Folder::new("php");
    folder.write("hello.php", "<?php header('X-Method: ' . $_SERVER['REQUEST_METHOD']); echo $_GET['a'] ?? '', $_POST['b'] ?? '', $_SERVER['PATH_INFO'] ?? '';");
    let client = Client::new(Router::new().mount("/php", Cgi::folder(&folder.0).interpreter("php", php)));
    client.get("/php/hello.php/info?a=1").await.assert_status(200).assert_text("1/info");
    let posted = client.post("/php/hello.php?a=1").form(&[("b", "2")]).await;
    posted.assert_text("12");
    assert_eq!(posted.header("x-method"), Some("POST"));
    // An old hole (CVE-2012-1823): a query that is an option.
    client.get("/php/hello.php?-s").await.assert_text("");
}

/// The example `cgi`, which is built with the tests, as a CGI program; `None` where only these tests were built.
fn example() -> Option<PathBuf> {
    let here = std::env::current_exe().unwrap();
    let example = here.parent()?.parent()?.join("examples/cgi");
    if !example.exists() {
        left_out("the tests of a site that is a CGI program", "build it: cargo build --example cgi --features cgi");
        return None;
    }
    Some(example)
}

#[tokio::test]
async fn a_site_is_a_cgi_program_where_it_is_started_as_one() {
    let Some(example) = example() else { return };
    // A query that is a command for who takes it for arguments.
    let client = Client::new(Router::new().mount("/old/site", Cgi::program(&example)));
    client.get("/old/site?serve").await.assert_status(200).assert_text("This process answers you and ends.");
    client.get("/old/site/hello/Ada%20L").await.assert_text("Hello, Ada L!");
    client.get("/old/site/no").expect_status(404).await;
    client.head("/old/site/hello/Ada").await.assert_status(200).assert_text("");
    let large: Vec<u8> = (0..3_000_000u32).map(|at| at as u8).collect();
    let cgi = Cgi::program(&example);
    let echoed = ask(&cgi, http::Request::post("/echo"), large.clone()).await;
    assert_eq!(echoed.into_body().collect(1 << 24).await.unwrap(), large);
    let echoed = ask(&cgi, http::Request::post("/echo"), chunked(1000, b"abcde")).await;
    assert_eq!(text(echoed).await.unwrap().len(), 5000);
    let half = ask(&cgi, http::Request::get("/half"), "").await;
    assert_eq!(half.status(), 200);
    assert!(text(half).await.is_err(), "a cut answer is cut at both ends");
    let options = ask(&cgi, http::Request::delete("/echo"), "").await;
    assert_eq!((options.status().as_u16(), options.headers()["allow"].to_str().unwrap()), (405, "POST, OPTIONS"));
}

#[tokio::test]
async fn python_runs_a_site_as_a_cgi_program_too() {
    let Some(example) = example() else { return };
    let Some(python) = program("python3") else {
        left_out("the test with another server of CGI programs", "install Debian's python3");
        return;
    };
    let folder = Folder::new("python");
    let script = format!("#!/bin/sh\nexec '{}'\n", example.display());
    folder.executable("cgi-bin/site", &script);
    let serve = "import http.server, sys\n\
        class H(http.server.CGIHTTPRequestHandler):\n  have_fork = True\n\
        s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\nprint(s.server_port, flush=True)\ns.serve_forever()";
    let mut server = std::process::Command::new(python);
    server.args(["-W", "ignore", "-c", serve]).current_dir(&folder.0);
    let mut server = server.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line).unwrap();
    let Ok(port) = line.trim().parse::<u16>() else {
        // From 3.15 on it has none.
        server.wait().unwrap();
        left_out("the test with another server of CGI programs", "use a Python with http.server.CGIHTTPRequestHandler");
        return;
    };
    let asked = tokio::task::spawn_blocking(move || {
        let exchange = |request: &str| {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            std::io::read_to_string(stream).unwrap()
        };
        (
            exchange("GET /cgi-bin/site/hello/Ada HTTP/1.0\r\nHost: a\r\n\r\n"),
            exchange("POST /cgi-bin/site/echo HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
        )
    })
    .await
    .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(asked.0.contains("200") && asked.0.ends_with("Hello, Ada!"), "{}", asked.0);
    assert!(asked.1.ends_with("hello"), "{}", asked.1);
}

#[cfg(feature = "deploy")]
#[tokio::test]
async fn a_file_names_programs_and_fastcgi_servers() {
    use purlin::deploy::{Deploy, Graph, Registry};
    let folder = Folder::new("deploy");
    folder
        .write("cgi/show.sh", "printf 'Content-Type: text/plain; charset=utf-8\\n\\n%s %s' \"$PATH_INFO\" \"$COLOUR\"");
    let text = "[app.main]\nuse = 'purlin:cgi'\nfolder = 'cgi'\ninterpreters = { sh = '/bin/sh' }\nenv = { COLOUR = 'green' }\n\
        answer_timeout = '10s'\nmax_programs = 2\n[app.php]\nuse = 'purlin:fastcgi'\nat = '127.0.0.1:1'\nroot = 'cgi'\nkeep = 1\n\
        [app.both]\nuse = 'purlin:cgi'\nfolder = 'cgi'\nprogram = '/bin/sh'\n";
    let graph = Graph::from_toml(folder.0.join("site.toml"), text).unwrap_or_else(|error| panic!("{error}"));
    let deployment = Deploy::new(Registry::new()).config(purlin::Config::default()).graph(graph).unwrap();
    let app = deployment.app("main").unwrap_or_else(|error| panic!("{error}"));
    Client::new(app).get("/show.sh/a").await.assert_status(200).assert_text("/a green");
    assert!(deployment.app("php").is_ok());
    let Err(error) = deployment.app("both") else { panic!("both a program and a folder") };
    assert!(error.to_string().contains("expected one of `program` and `folder`"), "{error}");
}
