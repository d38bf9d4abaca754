//! `Wsgi`: an application in Python beside the site's own routes.

use crate::access_log::Lines;
use crate::cgi::{Exactly, chunked};
use crate::servers::left_out;
use purlin::layers::RequestIds;
use purlin::testing::{Client, Multipart};
use purlin::wsgi::Wsgi;
use purlin::{Body, Path, Response, Router, Stack, get};
use std::process::{Command, Stdio};
use std::time::Duration;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wsgi");

/// Whether there is a Python, with this module.
fn python(module: &str) -> bool {
    let found = Command::new("python3").args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        match module {
            "flask" => left_out("the test of a Flask application", "install Flask for python3"),
            _ => left_out("the tests of WSGI applications", "install python3"),
        }
    }
    found
}

fn demo(name: &str) -> Wsgi {
    python_in(&format!("demo:{name}")).processes(1)
}

/// One of the folder, where Python leaves nothing behind.
fn python_in(name: &str) -> Wsgi {
    Wsgi::app(name).folder(FOLDER).env("PYTHONDONTWRITEBYTECODE", "1")
}

fn client(app: Wsgi) -> Client {
    Client::new(Stack::new().layer(RequestIds::new()).app(Router::new().mount("/old", app)))
}

async fn body(response: Response) -> purlin::Result<usize> {
    Ok(response.into_body().collect(1 << 26).await?.len())
}

/// The path with its query, the answer's status and what it holds.
const TABLE: &[(&str, u16, &str)] = &[
    (
        "/old/environ?REQUEST_METHOD,SCRIPT_NAME,PATH_INFO,QUERY_STRING,SERVER_PROTOCOL,REMOTE_ADDR,wsgi.url_scheme",
        200,
        "REQUEST_METHOD='GET'\nSCRIPT_NAME='/old'\nPATH_INFO='/environ'\nQUERY_STRING='REQUEST_METHOD,SCRIPT_NAME,\
         PATH_INFO,QUERY_STRING,SERVER_PROTOCOL,REMOTE_ADDR,wsgi.url_scheme'\nSERVER_PROTOCOL='HTTP/1.1'\n\
         REMOTE_ADDR='127.0.0.1'\nwsgi.url_scheme='http'",
    ),
    (
        "/old/environ?wsgi.multithread,wsgi.multiprocess,wsgi.version",
        200,
        "wsgi.multithread=True\nwsgi.multiprocess=False\nwsgi.version=(1, 0)",
    ),
    // A path that is no ASCII: each character of the native string is a byte (PEP 3333).
    ("/old/caf%C3%A9", 404, "/café"),
    ("/old", 404, ""),
    ("/old/write", 201, "one two three"),
    ("/old/nothing", 204, ""),
    ("/old/again", 418, "short and stout"),
    ("/old/log", 200, "logged"),
    ("/old/stdin", 200, "''"),
];

#[tokio::test]
async fn an_application_answers_below_its_mount_and_keeps_to_pep_3333() {
    if !python("wsgiref") {
        return;
    }
    // The second is held against the rules by Python's own checker, at both of its sides.
    for name in ["application", "checked", "make()"] {
        let client = client(demo(name));
        for (path, status, text) in TABLE {
            client.get(path).expect_status(*status).await.assert_text(text);
        }
        let cookies = client.get("/old/write").await;
        let cookies: Vec<_> = cookies.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        client.head("/old/write").await.assert_status(201).assert_text("");
        client.post("/old/echo").body("hello").await.assert_text("hello");
        client.post("/old/lines").body("one\ntwo\nthree").await.assert_text("one|two|three");
        client.post("/old/unread").body(vec![b'x'; 1_000_000]).await.assert_text("did not look");
        client.post("/old/echo").body(chunked(300, &[b'x'; 1000])).await.assert_text(&"x".repeat(300_000));
        client.post("/old/echo").body(vec![b'x'; 1_000_000]).await.assert_text(&"x".repeat(1_000_000));
        let file = std::fs::read_to_string(format!("{FOLDER}/demo.py")).unwrap();
        client.get("/old/file").await.assert_text(&file);
    }
}

#[tokio::test]
async fn it_knows_how_it_is_run() {
    if !python("wsgiref") {
        return;
    }
    for (threads, processes, expected) in
        [(1, 1, "False False False"), (2, 1, "True False False"), (1, 2, "False True False")]
    {
        let app = demo("not_thread_safe").threads(threads).processes(processes);
        client(app).get("/old/").await.assert_text(expected);
    }
}

#[tokio::test]
async fn bodies_are_streamed_and_closed() {
    if !python("wsgiref") {
        return;
    }
    let client = client(demo("checked").threads(2));
    assert_eq!(body(client.get("/old/pieces?2000").raw().await).await.unwrap(), 8_890_000);
    // Nobody takes the rest of an answer that would not fit into any buffer.
    drop(client.get("/old/pieces?200000").raw().await);
    client.get("/old/closed").await.assert_text("True");
}

#[tokio::test]
async fn what_it_raises_is_a_failure_with_its_place_and_traceback() {
    if !python("wsgiref") {
        return;
    }
    let client = client(demo("application")).expect_errors();
    let table = [
        ("/old/raise", "demo:application raised ValueError: no such thing", "ValueError: no such thing"),
        ("/old/no-head", "a body without a call of start_response", "AssertionError"),
        ("/old/header", "a control character in the header", "Set-Cookie"),
        ("/old/exit", "demo:application raised SystemExit: 3", "SystemExit"),
    ];
    for (path, message, cause) in table {
        let page = client.get(path).await;
        let error = page.error().unwrap();
        assert_eq!(error.status(), 500);
        assert!(error.message().contains(message), "{path}: {}", error.message());
        let traceback = error.chain().last().unwrap();
        assert!(traceback.contains(cause), "{traceback}");
    }
    let page = client.get("/old/raise").await;
    let error = page.error().unwrap();
    assert!(error.chain().last().unwrap().starts_with("Traceback (most recent call last):"));
    let place = error.place().unwrap();
    let line = std::fs::read_to_string(place.file()).unwrap();
    assert_eq!(line.lines().nth(place.line() as usize - 1).unwrap().trim(), r#"raise ValueError("no such thing")"#);
    // An answer that has begun is cut.
    let half = client.get("/old/raise-later").await;
    assert!(half.body_error().is_some());
    half.assert_status(200);
    // What only the adapter says, the application cannot.
    let pretended = client.get("/old/pretend").await;
    assert!(pretended.error().unwrap().message().contains("Purlin-Wsgi-Failed is for the server to say"));
}

#[tokio::test]
async fn a_process_that_dies_costs_its_own_requests_and_is_back() {
    if !python("wsgiref") {
        return;
    }
    let client = client(demo("application")).expect_errors();
    let first = client.get("/old/pid").await.text().to_owned();
    let page = client.get("/old/die").await;
    assert_eq!(page.status(), 502);
    let message = page.error().unwrap().message();
    assert_eq!(message, format!("python 1 (process {first}) exited with status 7"));
    let second = client.get("/old/pid").expect_status(200).await.text().to_owned();
    assert_ne!(first, second);
    // What has begun is cut, with the cause; when that is told, the next request is not given to the process that ended.
    let half = client.get("/old/die-later").await;
    let cause = format!("python 1 (process {second}) exited with status 7");
    assert!(half.body_error().unwrap().chain().any(|line| line == cause), "{:#}", half.body_error().unwrap());
    client.get("/old/pid").expect_status(200).await;
}

#[tokio::test]
async fn one_that_does_not_answer_in_time_is_killed() {
    if !python("wsgiref") {
        return;
    }
    let client = client(demo("application").timeout(Duration::from_millis(500))).expect_errors();
    let first = client.get("/old/pid").await.text().to_owned();
    let page = client.get("/old/hang").await;
    assert_eq!(page.status(), 504);
    assert!(
        page.error().unwrap().chain().any(|cause| cause.contains("which is killed")),
        "{:#}",
        page.error().unwrap()
    );
    assert_ne!(client.get("/old/pid").expect_status(200).await.text(), first);
}

#[tokio::test]
async fn more_requests_than_threads_wait_and_then_are_told_to_come_back() {
    if !python("wsgiref") {
        return;
    }
    let app = demo("application").threads(1).queue_timeout(Duration::from_millis(50));
    let client = client(app).expect_errors();
    // The body of this one is not taken.
    let held = client.get("/old/pieces?200000").raw().await;
    let page = client.get("/old/pid").await;
    page.assert_status(503).assert_header("retry-after", "1");
    assert!(page.error().unwrap().message().contains("all threads of demo:application are taken"));
    drop(held);
}

#[tokio::test]
async fn a_client_that_says_nothing_more_costs_no_process() {
    if !python("wsgiref") {
        return;
    }
    struct Silent;
    impl http_body::Body for Silent {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }
    let limit = Duration::from_millis(300);
    let client = client(demo("application").threads(2).timeout(limit).hold_bodies(false)).expect_errors();
    let first = client.get("/old/pid").await.text().to_owned();
    // How long it may say nothing is for the server to say, and not what kills a process.
    let silent = client.post("/old/echo").body(Body::new(Silent)).raw();
    assert!(tokio::time::timeout(3 * limit, silent).await.is_err(), "it is waited for");
    assert_eq!(client.get("/old/pid").expect_status(200).await.text(), first);
}

#[tokio::test]
async fn a_thread_is_taken_until_it_has_done_although_the_client_has_left() {
    if !python("wsgiref") {
        return;
    }
    let app = demo("application").threads(1).queue_timeout(Duration::from_millis(100));
    let client = client(app).expect_errors();
    let first = client.get("/old/pid").await.text().to_owned();
    let slow = client.get("/old/slow").raw();
    assert!(tokio::time::timeout(Duration::from_millis(300), slow).await.is_err(), "it takes a second");
    client.get("/old/pid").await.assert_status(503);
    let began = std::time::Instant::now();
    while client.get("/old/pid").await.status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "the thread does not come back");
    }
    assert_eq!(client.get("/old/pid").await.text(), first, "it was not killed");
}

#[tokio::test]
async fn an_application_that_cannot_be_imported_is_told_with_its_last_lines() {
    if !python("wsgiref") {
        return;
    }
    let app = python_in("broken").processes(1);
    let page = client(app).get("/old/").expect_status(503).await;
    let chain = page.error().unwrap().chain().collect::<Vec<_>>().join("\n");
    assert!(chain.contains("python 1 does not start"), "{chain}");
    let nowhere = purlin::site::Life::start(&Router::new().mount("/x", Wsgi::app("x").folder("/no/such/folder")));
    assert!(nowhere.unwrap_err().message().contains("expected a folder, found none at /no/such/folder"));
}

#[tokio::test]
async fn its_environment_has_no_secret_of_the_sites() {
    if !python("wsgiref") {
        return;
    }
    let app = demo("application").env("DATABASE_URL", "x").pass_env(["CARGO_PKG_NAME"]);
    let page = client(app).get("/old/os").await;
    let names: Vec<&str> = page.text().split(' ').collect();
    assert!(
        names.contains(&"DATABASE_URL") && names.contains(&"PATH") && names.contains(&"CARGO_PKG_NAME"),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name.starts_with("PURLIN") || name.starts_with("LISTEN")), "{names:?}");
    assert!(!names.contains(&"CARGO_MANIFEST_DIR"), "{names:?}");
}

#[tokio::test]
async fn it_is_replaced_after_so_many_requests() {
    if !python("wsgiref") {
        return;
    }
    let client = client(demo("application").max_requests(3));
    let mut pids = Vec::new();
    let began = std::time::Instant::now();
    // The new one takes a moment until it is ready; the old one answers meanwhile.
    while pids.len() < 3 {
        let pid = client.get("/old/pid").await.text().to_owned();
        if !pids.contains(&pid) {
            pids.push(pid);
        }
        assert!(began.elapsed() < Duration::from_secs(60), "still the same: {pids:?}");
    }
}

#[tokio::test]
async fn what_it_logs_is_logged_with_the_requests_id() {
    if !python("wsgiref") {
        return;
    }
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let page = client(demo("application")).get("/old/log").await;
    let id = page.header("x-request-id").unwrap();
    let text = lines.text();
    let line =
        text.lines().find(|line| line.contains("hello from the application")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(id), "{line}");
}

#[tokio::test]
async fn a_site_in_flask_is_moved_over_route_by_route() {
    if !python("flask") {
        return;
    }
    let flask = || python_in("flask_site");
    // The first one was moved already.
    let routes = Router::new().route("/shop/items/7", get(async || "the seventh, in Rust")).mount("/shop", flask());
    let client = Client::new(Stack::new().app(routes));
    client.get("/shop/items/7").await.assert_text("the seventh, in Rust");
    client.get("/shop/items/8").await.assert_json(&serde_json::json!({
        "item": 8, "url": "http://localhost/shop/items/8", "address": "127.0.0.1"
    }));
    client.get("/shop/items/1000").await.assert_status(404);

    // A form, a redirect, a session and a flash message.
    let home = client.get("/shop/").await;
    home.assert_contains("nobody");
    let welcome = home.form("/shop/login").set("user", "Ada").submit().await.assert_redirect("/shop/").follow().await;
    welcome.assert_contains("Hello, Ada!");
    client.get("/shop/").await.assert_contains("Ada").assert_lacks("Hello");
    client.another_visitor().get("/shop/").await.assert_contains("nobody");

    let form = Multipart::new().file("file", "cat.bin", "application/octet-stream", vec![7; 300_000]);
    client.post("/shop/upload").multipart(form).await.assert_text("cat.bin 300000");
    client.get("/shop/stream").await.assert_text("0\n1\n2\n");
    // Flask makes a page of its own for what a view raises.
    client.get("/shop/fails").expect_status(500).await.assert_contains("Internal Server Error");

    // All of it, at the root.
    let routes = Router::new().route("/new/{n}", get(async |Path(n): Path<u32>| n.to_string()));
    let client = Client::new(purlin::Cascade::new().app(routes).app(flask()));
    client.get("/items/3").await.assert_contains(r#"http://localhost/items/3"#);
    client.get("/new/3").await.assert_text("3");
}
