//! `Debugger`: what the developer sees of a failure, and that nobody else does.
//!
//! The attacks are those that were recorded against pages of this kind elsewhere; each test names the one that it replays.

mod attacks;
mod input;
#[cfg(target_os = "linux")]
mod load;
#[cfg(feature = "tower")]
mod tower;

use purlin::config::Loader;
use purlin::layers::{Debugger, ErrorPages, RequestIds, Templates};
use purlin::report::Redaction;
use purlin::template::Tera;
use purlin::testing::{Client, Page};
use purlin::{
    Assets, Body, Context, Error, FromRequest, HeaderValue, Middleware, Path, Query, Request, Response, Result, Router,
    Server, Service, Stack, State, StatusCode, View, get,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Mutex;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

struct Order {
    customer: String,
    rows: Vec<u32>,
    card_number: String,
}

async fn panics(Path(row): Path<usize>) -> String {
    let order = Order { customer: "Ada".to_owned(), rows: vec![10, 20, 30], card_number: "fish".repeat(2) };
    tokio::task::yield_now().await;
    let price = price_of(&order, row).await;
    format!("{}{price}{}", order.customer, order.card_number)
}

/// No `async fn`: it is run on a pool of threads.
fn panics_there(Path(row): Path<usize>) -> String {
    let rows = vec![40, 50];
    row_at(&rows, row).to_string()
}

async fn price_of(order: &Order, row: usize) -> u32 {
    row_at(&order.rows, row)
}

fn row_at(rows: &[u32], row: usize) -> u32 {
    rows[row]
}

async fn unlocks() -> String {
    unlock("fish", &[1]).to_string()
}

fn unlock(token: &str, doors: &[u32]) -> u32 {
    doors[token.len()]
}

async fn fails(Path(text): Path<String>) -> Result<String> {
    let doubled = number_of(&text).context("reading the number")? * 2;
    Ok(doubled.to_string())
}

fn number_of(text: &str) -> Result<u8> {
    let trimmed = text.trim();
    let number: u8 = trimmed.parse()?;
    Ok(number)
}

async fn says(Query(query): Query<HashMap<String, String>>) -> Result<String> {
    let text = query.get("text").cloned().unwrap_or_default();
    Err(Error::internal(text))
}

static LOCK: Mutex<u32> = Mutex::new(1);

/// Asks for a lock that another thread died with.
async fn poisoned() -> String {
    let _ = std::thread::spawn(|| {
        let _held = LOCK.lock();
        std::panic::resume_unwind(Box::new("poison"));
    })
    .join();
    LOCK.lock().unwrap().to_string()
}

/// An error which cannot even be printed.
struct Unprintable;

impl std::fmt::Debug for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("not even its Debug")
    }
}

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("nor its Display")
    }
}

impl std::error::Error for Unprintable {}

struct Broken;

impl Middleware for Broken {
    async fn handle(&self, _: Request, _: &impl Service) -> Result<Response> {
        let left: Option<u32> = None;
        left.context("counting what is left")?;
        unreachable!("the line above fails")
    }
}

/// Lets every other origin read every answer, as some sites do in development.
struct Open;

impl Middleware for Open {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = next.call(req).await;
        response.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
        Ok(response)
    }
}

fn pieces() -> Body {
    struct Pieces(u8);
    impl futures_core::Stream for Pieces {
        type Item = Result<String, std::io::Error>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let left = self.0;
            self.0 = left.checked_sub(1).expect("there were only two pieces");
            std::task::Poll::Ready(Some(Ok("piece ".to_owned())))
        }
    }
    Body::stream(Pieces(2))
}

/// Asks for what no layer provides, past the check at the start.
async fn stateless(mut req: Request) -> Result<String> {
    let State(words) = State::<std::sync::Arc<Vec<String>>>::from_request(&mut req).await?;
    Ok(words.join(" "))
}

async fn misconfigured() -> Result<String> {
    let loader = Loader::new().environment("development").toml("[server]\nlisen = \"127.0.0.1:8000\"\n");
    let config = loader.load().context("reading the configuration again")?;
    Ok(config.values().len().to_string())
}

fn app_with(debugger: Debugger) -> purlin::App<impl Service> {
    app_of(debugger, ErrorPages::new().details(true))
}

fn routes() -> Router {
    Router::new()
        .route("/", get(async || "home").name("home"))
        .route("/panics/{row}", get(panics).name("panics"))
        .route("/there/{row}", get(panics_there))
        .route("/unlocks", get(unlocks))
        .route("/fails/{number}", get(fails))
        .route("/says", get(says))
        .route("/unprintable", get(async || -> Result<String> { Err(Unprintable.into()) }))
        .route("/denied", get(async || -> Result<String> { Err(Error::forbidden("not yours")) }))
        .route("/template", get(async || View::new("page.html", json!({ "title": "A page" }))))
        .route("/broken", get(async || "never").layer(Broken))
        .route("/pieces", get(async || pieces()))
        .route("/missing", get(async || View::new("pages.html", ())))
        .route("/stateless", get(stateless))
        .route("/misconfigured", get(misconfigured))
        .route("/poisoned", get(poisoned))
}

fn templates() -> Templates {
    let files: &[(&str, &[u8])] = &[("page.html", b"<h1>{{ title }}</h1>\n<p>{{ missing.field }}</p>\n")];
    Templates::new(Tera::new(Assets::embedded(Box::leak(files.into()))))
}

fn app_of(debugger: Debugger, pages: ErrorPages) -> purlin::App<impl Service> {
    Stack::new().layer(debugger).layer(pages).layer(Open).layer(templates()).app(routes())
}

fn client() -> Client {
    Client::new(app_with(Debugger::new())).expect_errors()
}

async fn page_of(client: &Client, path: &str) -> Page {
    client.get(path).accept(BROWSER).await
}

fn path_of(page: &Page) -> String {
    let url = page.header("x-debug-url").expect("the answer names its report");
    url.strip_prefix("http://localhost").expect("of this host").to_owned()
}

fn token_of(page: &Page) -> String {
    let meta = page.select("meta[name=purlin-debugger]");
    meta[0].attr("content").expect("the page holds a token").to_owned()
}

async fn ask(client: &Client, page: &Page, what: &str, question: Value) -> Value {
    let asked = client.post(&format!("{}/{what}", path_of(page))).header("origin", "http://localhost");
    let answer = asked.header("x-purlin-debugger-token", token_of(page)).json(&question).await;
    answer.assert_status(200).assert_header("content-type", "application/json");
    answer.json()
}

/// The names of the frames that stand open to the eye: the site's own.
fn own_frames(page: &Page) -> Vec<String> {
    page.select(".frames .own summary > code").iter().map(|code| code.text()).collect()
}

const SUPPORTED: bool = cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")));

#[tokio::test]
async fn a_panic_three_calls_deep_shows_its_frames_and_their_variables() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    page.assert_status(500).assert_contains("panicked: index out of bounds: the len is 3 but the index is 7");
    if SUPPORTED {
        assert_eq!(own_frames(&page)[..3], ["row_at", "price_of (async)", "panics (async)"]);
        page.assert_contains("[10, 20, 30]").assert_contains("Ada");
        // What a name calls secret is not read.
        page.assert_contains("card_number").assert_lacks("fishfish");
    }
}

#[tokio::test]
async fn a_panic_on_a_thread_of_the_pool_shows_the_frames_of_that_thread() {
    let client = client();
    let page = page_of(&client, "/there/7").await;
    page.assert_status(500).assert_contains("panicked: index out of bounds: the len is 2 but the index is 7");
    if SUPPORTED {
        assert_eq!(own_frames(&page)[..2], ["row_at", "panics_there"]);
        page.assert_contains("[40, 50]");
    }
}

#[tokio::test]
async fn an_error_of_a_helper_shows_the_frame_of_its_question_mark() {
    let client = client();
    let page = page_of(&client, "/fails/seven").await;
    page.assert_contains("reading the number").assert_contains("invalid digit found in string");
    if SUPPORTED {
        assert_eq!(own_frames(&page)[..2], ["number_of", "fails (async)"]);
        page.assert_contains("\"seven\"");
    }
}

#[tokio::test]
async fn the_prompt_evaluates_in_the_frame_that_was_chosen() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    if !SUPPORTED {
        return;
    }
    let evaluate = async |frame: usize, text: &str| {
        let answer = ask(&client, &page, "evaluate", json!({ "frame": frame, "text": text })).await;
        let value = answer["value"]["text"].as_str().or(answer["error"].as_str());
        value.unwrap_or_default().to_owned()
    };
    assert_eq!(evaluate(0, "rows.len() * 2").await, "6");
    assert_eq!(evaluate(0, "rows[1] + 1").await, "21");
    assert!(evaluate(0, "nonsense").await.starts_with("no variable `nonsense` (there are: rows, row)"));
    let names = ask(&client, &page, "complete", json!({ "frame": 0, "text": "ro" })).await;
    assert_eq!(names["names"], json!(["rows", "row"]));
    let opened = ask(&client, &page, "open", json!({ "frame": 0, "path": [0], "from": 1 })).await;
    assert_eq!(opened["value"]["children"][0]["text"], "20");
    let listed = ask(&client, &page, "variables", json!({ "frame": 0 })).await;
    assert_eq!(listed["variables"]["values"][1]["text"], "7");
    let beyond = ask(&client, &page, "variables", json!({ "frame": 9999 })).await;
    assert_eq!(beyond["error"], "there is no such frame");
}

#[tokio::test]
async fn a_failing_layer_is_marked_in_the_stack() {
    let client = client();
    page_of(&client, "/broken").await.assert_contains("counting what is left");
    let page = page_of(&client, "/template").await;
    let failed: Vec<String> = page.select(".stack .failed").iter().map(|line| line.text()).collect();
    assert!(failed.len() == 1 && failed[0].starts_with("Templates it arose here"), "{failed:?}");
}

#[tokio::test]
async fn a_template_error_shows_the_template_around_it() {
    let page = page_of(&client(), "/template").await;
    page.assert_status(500)
        .assert_contains("page.html")
        .assert_contains("<p>{{ missing.field }}</p>".replace('<', "&lt;").replace('>', "&gt;").as_str());
}

#[tokio::test]
async fn the_engines_frames_of_a_template_error_stand_folded_below_all_else() {
    let page = page_of(&client(), "/template").await;
    assert!(page.select("#frames").is_empty() && page.select("#unfold").is_empty());
    if SUPPORTED {
        let folded = page.select(".frames > .folded > details");
        assert!(folded.len() == 1 && folded[0].attr("open").is_none());
        let text = page.text();
        assert!(text.find("class=\"frames\"") > text.find("<h2>The stack"), "{text}");
    }
}

#[tokio::test]
async fn names_in_backticks_are_code_in_the_heading() {
    let page = page_of(&client(), "/template").await;
    let heading = page.select("h1");
    assert!(heading[0].text().contains("missing") && !heading[0].text().contains('`'), "{:?}", heading[0].text());
    assert_eq!(page.select("h1 > code")[0].text(), "missing");
    let page = page_of(&client(), "/says?text=%60%3Cb%3E%60").await;
    assert_eq!(page.select("h1 > code")[0].text(), "<b>", "and it is escaped");
}

#[tokio::test]
async fn the_example_of_a_prompt_is_a_variable_that_is_shown() {
    let page = page_of(&client(), "/unlocks").await;
    if SUPPORTED {
        let prompt = page.select(".frames .own textarea");
        assert_eq!(prompt[0].attr("placeholder"), Some("an expression, such as doors"));
    }
}

#[tokio::test]
async fn a_list_without_reports_is_no_alarm() {
    let page = page_of(&client(), "/_debug/").await;
    page.assert_contains("Nothing has failed since the site started.");
    assert!(page.select(".hint").is_empty());
}

#[tokio::test]
async fn an_unknown_address_lists_the_routes_the_nearest_first() {
    let page = page_of(&client(), "/panic/7").await;
    page.assert_status(404);
    assert_eq!(page.select("tbody tr.near td")[1].text(), "/panics/{row}");
}

#[tokio::test]
async fn a_panic_in_a_streamed_body_is_in_the_list() {
    let client = client().allow("content-type-missing");
    let page = client.get("/pieces").await;
    assert!(page.body_error().is_some());
    let list: Value = client.get("/_debug/reports.json").await.json();
    assert_eq!(list[0]["url"], "/pieces");
    let report = page_of(&client, &format!("/_debug/{}", list[0]["id"].as_str().unwrap())).await;
    report.assert_status(200).assert_contains("there were only two pieces").assert_contains("whose head had left");
    if SUPPORTED {
        // A type that is declared inside of a function.
        assert_eq!(own_frames(&report)[0], "Pieces::poll_next");
    }
    // One report like any other, with all that is known of the request.
    let told: Value = client.get(&format!("/_debug/{}.json", list[0]["id"].as_str().unwrap())).await.json();
    assert_eq!((&told["report"]["origin"], &told["route"]), (&json!("body"), &json!("/pieces")));
    assert_eq!(told["report"]["request"]["url"], "/pieces");
}

#[tokio::test]
async fn without_the_layer_of_error_pages_it_knows_as_much() {
    let app = Stack::new().layer(Debugger::new()).layer(RequestIds::new()).layer(templates()).app(routes());
    let client = Client::new(app).expect_errors().allow("content-type-missing");
    let page = page_of(&client, "/fails/x?token=fishfish").await;
    page.assert_status(500)
        .assert_contains("reading the number")
        .assert_contains("RequestIds")
        .assert_lacks("fishfish");
    let told: Value = client.get(&format!("{}.json", path_of(&page))).await.json();
    let report = &told["report"];
    assert_eq!(
        (&told["route"], &report["kind"]),
        (&json!("/fails/{number}"), &json!("core::num::error::ParseIntError"))
    );
    assert_eq!((&told["request"]["id"], &report["request"]["method"]), (&Value::Null, &json!("GET")));
    assert_eq!(page_of(&client, "/unprintable").await.status(), 500);

    assert!(client.get("/pieces").await.body_error().is_some());
    let list: Value = client.get("/_debug/reports.json").await.json();
    let told: Value = client.get(&format!("/_debug/{}.json", list[0]["id"].as_str().unwrap())).await.json();
    assert_eq!((&told["in_body"], &told["report"]["request"]["url"]), (&json!(true), &json!("/pieces")));
}

#[tokio::test]
async fn a_report_keeps_its_address_and_is_there_as_json_and_markdown() {
    let client = client();
    let page = page_of(&client, "/fails/x").await;
    let path = path_of(&page);
    page_of(&client, &path).await.assert_status(200).assert_contains("reading the number");
    page_of(&client, "/_debug/").await.assert_contains(&path).assert_contains("reading the number");
    let told: Value = client.get(&format!("{path}.json")).await.json();
    assert_eq!(told["causes"], json!(["invalid digit found in string"]));
    let text = client.get(&format!("{path}.md")).await;
    text.assert_header("content-type", "text/markdown; charset=utf-8").assert_contains("# 500 reading the number");
    client.get("/_debug/AAAAAAAAAAAAAAAAAAAAAA").await.assert_status(404);
}

#[tokio::test]
async fn who_asks_for_text_gets_text_and_the_address() {
    let client = client();
    let page = client.get("/fails/x").await;
    page.assert_header("content-type", "text/plain; charset=utf-8").assert_lacks("<html");
    assert!(path_of(&page).starts_with("/_debug/"));
    client.get("/denied").await.assert_no_header("x-debug-url");
}

#[tokio::test]
async fn the_page_stands_on_nothing_of_the_site() {
    let client = client();
    for path in ["/unprintable", "/poisoned", "/template", "/broken"] {
        let page = page_of(&client, path).await;
        assert_eq!(page.status(), 500, "{path}");
        assert_eq!(page.select("main").len(), 1, "{path}");
    }
}

#[tokio::test]
async fn what_did_not_fail_is_left_alone() {
    let client = client();
    client.get("/").await.assert_status(200).assert_contains("home").assert_no_header("x-debug-url");
    let denied = page_of(&client, "/denied").await;
    denied.assert_status(403);
}

async fn ask_site(client: &Client, what: &str, text: &str) -> Value {
    let page = page_of(client, "/_debug/").await;
    let asked = client.post(&format!("/_debug/site/{what}")).header("origin", "http://localhost");
    let answer = asked.header("x-purlin-debugger-token", token_of(&page)).json(&json!({ "frame": 0, "text": text }));
    answer.await.assert_status(200).json()
}

#[tokio::test]
async fn the_site_can_be_asked_where_nothing_failed() {
    let config =
        "secret = \"0123456789abcdef0123456789abcdef0123456789\"\n[app]\ntitle = \"Tea\"\napi_key = \"sk-live\"\n";
    let config = Loader::new().environment("test").toml(config).load().unwrap();
    let pages = ErrorPages::new().details(true).config(&config);
    let client = Client::new(app_of(Debugger::new(), pages)).expect_errors();
    page_of(&client, "/_debug/").await.assert_contains("Ask the site").assert_contains("Nothing has failed");
    for (text, expected) in [
        ("routes[1].path", "\"/panics/{row}\""),
        ("stack[1].name", "\"ErrorPages\""),
        ("config.app.title", "\"Tea\""),
        ("config.secret", "\"•••\""),
        ("config.app.api_key", "\"•••\""),
        ("request.method", "\"POST\""),
        ("reports", "[]"),
    ] {
        let answer = ask_site(&client, "evaluate", text).await;
        assert_eq!(answer["value"]["text"], expected, "{text}: {answer}");
    }
    let whole = ask_site(&client, "evaluate", "request").await.to_string();
    // The token is in the header of the question itself.
    let token = token_of(&page_of(&client, "/_debug/").await);
    assert!(whole.contains("x-purlin-debugger-token") && !whole.contains(&token), "{whole}");
    assert_eq!(ask_site(&client, "complete", "config.app.t").await["names"], json!(["title"]));
    let mistake = ask_site(&client, "evaluate", "nothing").await;
    assert!(mistake["error"].as_str().unwrap().contains("nothing"), "{mistake}");
    page_of(&client, "/fails/x").await;
    assert_eq!(ask_site(&client, "evaluate", "reports[0].message").await["value"]["text"], "\"reading the number\"");
    #[cfg(feature = "tera")]
    for (text, expected) in [
        ("routes | length > 3 and config.app.title == \"Tea\"", "true"),
        ("url_for(name=\"panics\", row=7)", "\"/panics/7\""),
    ] {
        assert_eq!(ask_site(&client, "evaluate", text).await["value"]["text"], expected, "{text}");
    }
    // Under the same guard as all else.
    let asked = client.post("/_debug/site/evaluate").header("origin", "http://localhost");
    asked.json(&json!({ "frame": 0, "text": "config" })).await.assert_status(403);
    let asked = client.post("/_debug/site/evaluate").header("origin", "null").header("x-purlin-debugger-token", &token);
    asked.json(&json!({ "frame": 0, "text": "config" })).await.assert_status(404);
}

#[tokio::test]
async fn where_no_snapshot_is_taken_the_variables_are_read_at_once() {
    let client = Client::new(app_with(Debugger::new().snapshots(0))).expect_errors();
    for path in ["/panics/7", "/fails/seven"] {
        let mut page = page_of(&client, path).await;
        page.assert_status(500);
        if !SUPPORTED {
            page.assert_contains("There is no prompt here: no snapshot was taken: not supported here");
            continue;
        }
        // A request waits two seconds for it, and the reader may be at work for other tests.
        for _ in 0..30 {
            if page.text().contains("read while the request stood still") {
                break;
            }
            page = page_of(&client, path).await;
        }
        page.assert_contains("There is no prompt here: no snapshot was taken: snapshots are switched off");
        assert!(page.select(".prompt").is_empty() && page.select("[data-lazy]").is_empty());
        match path {
            "/panics/7" => {
                assert_eq!(own_frames(&page)[..3], ["row_at", "price_of (async)", "panics (async)"]);
                page.assert_contains("[10, 20, 30]").assert_contains("Ada").assert_lacks("fishfish");
                // With its source, as ever.
                assert!(page.select(".own .code .hit")[0].text().contains("rows[row]"));
            }
            _ => drop(page.assert_contains("\"seven\"")),
        }
        let told: Value = client.get(&format!("{}.json", path_of(&page))).await.json();
        assert!(told["lack"].as_str().unwrap().contains("read while the request stood still"), "{told}");
    }
}

#[tokio::test]
async fn a_report_whose_snapshot_is_gone_keeps_what_was_read() {
    let client = Client::new(app_with(Debugger::new().snapshots(1))).expect_errors();
    let first = page_of(&client, "/panics/7").await;
    // Nobody looked at this one while it could be read.
    let unseen = client.get("/fails/x").await;
    page_of(&client, "/panics/8").await;
    if !SUPPORTED {
        return;
    }
    let again = page_of(&client, &path_of(&first)).await;
    again.assert_contains("There is no prompt here: the snapshot gave way to a newer one");
    again.assert_contains("[10, 20, 30]").assert_lacks("fishfish");
    assert!(again.select(".prompt").is_empty());
    let later = page_of(&client, &path_of(&unseen)).await;
    later.assert_contains("the snapshot gave way to a newer one");
    assert_eq!(own_frames(&later)[..2], ["number_of", "fails (async)"]);
    assert!(later.select(".own .code .hit")[0].text().contains("trimmed.parse()?"));
}

#[tokio::test]
async fn of_many_failures_in_a_second_ten_have_a_snapshot() {
    let client = client();
    let begun = std::time::Instant::now();
    let mut paths = Vec::new();
    for _ in 0..50 {
        paths.push(path_of(&client.get("/fails/x").await));
    }
    let lack = async |path: &str| client.get(&format!("{path}.json")).await.json::<Value>()["lack"].clone();
    if SUPPORTED && begun.elapsed().as_secs_f32() < 1.0 {
        assert_eq!(lack(&paths[9]).await, Value::Null);
        let eleventh = lack(&paths[10]).await;
        assert_eq!(eleventh, "no snapshot was taken: the limit of 10 snapshots a second was reached");
    } else {
        println!("left out: this machine took longer than a second for 50 failures");
    }
    assert!(paths.iter().all(|path| path.starts_with("/_debug/")));
    client.get("/").await.assert_status(200);
}

#[tokio::test]
async fn what_the_site_calls_secret_is_read_nowhere() {
    for snapshots in [4, 0] {
        let pages = ErrorPages::new().details(true).redact(Redaction::new().also(["customer"]));
        let client = Client::new(app_of(Debugger::new().snapshots(snapshots), pages)).expect_errors();
        let page = page_of(&client, "/panics/7?customer=Bob").await;
        page.assert_lacks("Bob");
        let variables: String = page.select(".variables").iter().map(|list| list.text()).collect();
        assert!(!variables.contains("Ada"), "{variables}");
        if SUPPORTED {
            assert!(
                variables.contains("customer: String = ••••••") && variables.contains("[10, 20, 30]"),
                "{variables}"
            );
        }
        if SUPPORTED && snapshots > 0 {
            let answer = ask(&client, &page, "evaluate", json!({ "frame": 1, "text": "order" })).await;
            assert!(answer["value"]["text"].is_string() && !answer.to_string().contains("Ada"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_report_is_found_by_the_beginning_of_its_id_and_by_the_id_in_the_log() {
    let client = client();
    let page = page_of(&client, "/fails/x").await;
    let told: Value = client.get(&format!("{}.json", path_of(&page))).await.json();
    let (whole, reported) = (told["id"].as_str().unwrap(), told["report"]["id"].as_str().unwrap());
    for id in [whole, &whole[..6], reported, &reported[..8]] {
        page_of(&client, &format!("/_debug/{id}")).await.assert_status(200).assert_contains("reading the number");
    }
    client.get(&format!("/_debug/{}", &whole[..5])).await.assert_status(404);
}

#[tokio::test]
async fn a_failure_says_what_to_do() {
    let client = client();
    let to_do = async |path: &str| {
        let page = page_of(&client, path).await;
        page.select(".hint").iter().map(|hint| hint.text()).collect::<Vec<_>>().join("\n")
    };
    for (path, parts) in [
        ("/missing", &["Create a template pages.html, or name one that there is: page.html"][..]),
        ("/template", &["uses a", "`missing`", "where the view is made", "| default(value="]),
        ("/stateless", &["provides a `Arc<Vec<String>>`", "src/stack.rs", ".layer(State(value))"]),
        (
            "/misconfigured",
            &["config/development.toml:2:1", "`server.lisen`", "write `server.listen`", "start it again"],
        ),
        ("/poisoned", &["Another thread panicked while it held this lock", "into_inner"]),
        ("/panic/7", &["Did you mean /panics/{row}? It is added at tests/debugger.rs:"]),
    ] {
        let told = to_do(path).await;
        for part in parts {
            assert!(told.contains(part), "{path}: {part}: {told}");
        }
    }
    assert_eq!(to_do("/panics/7").await, "");
    let page = page_of(&client, "/missing").await;
    let told: Value = client.get(&format!("{}.json", path_of(&page))).await.json();
    assert!(told["to_do"][0]["text"].as_str().unwrap().starts_with("Create a template pages.html"), "{told}");
    client.get(&format!("{}.md", path_of(&page))).await.assert_contains("To do: Create a template pages.html");
    // For who reads text, and without the debugger, the same.
    client.get("/missing").await.assert_contains("what to do: Create a template pages.html");
}

#[tokio::test]
async fn it_does_not_start_where_others_can_reach_it_unless_told() {
    let serve = async |debugger: Debugger| {
        let server = Server::new().listen("0.0.0.0:0".parse().unwrap()).bind().unwrap();
        server.serve(app_with(debugger), async {}).await
    };
    let error = format!("{:#}", serve(Debugger::new()).await.unwrap_err());
    assert!(
        error.contains("the debugger does not start on a server that others can reach: it listens at 0.0.0.0:"),
        "{error}"
    );
    assert!(serve(Debugger::new().beyond_loopback(true)).await.is_ok());
}

/// Whatever is wrong with a request: no page of the debugger, no report, no address of one.
async fn is_plain(client: &Client, headers: &[(&str, &str)], why: &str) {
    let failed = page_of(client, "/panics/7").await;
    let asked = |path: &str| {
        headers.iter().fold(client.get(path).accept(BROWSER), |asked, (name, value)| asked.header(name, value))
    };
    let page = asked("/panics/7").await;
    page.assert_status(500);
    assert!(page.header("x-debug-url").is_none() && page.select("meta[name=purlin-debugger]").is_empty(), "{why}");
    for path in ["/_debug/".to_owned(), "/_debug/reports.json".to_owned(), path_of(&failed), path_of(&failed) + ".json"]
    {
        assert_eq!(asked(&path).await.status(), 404, "{why}: {path}");
    }
    let question = headers
        .iter()
        .fold(client.post(&format!("{}/evaluate", path_of(&failed))), |asked, (name, value)| asked.header(name, value));
    let answer =
        question.header("x-purlin-debugger-token", token_of(&failed)).json(&json!({ "frame": 0, "text": "row" }));
    assert!(matches!(answer.await.status().as_u16(), 403 | 404), "{why}");
}

#[tokio::test]
async fn cve_2016_10516_text_of_an_error_is_never_markup() {
    let client = client();
    for text in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "</title></style></script><svg onload=alert(1)>",
    ] {
        let page = client.get("/says").query(&[("text", text)]).accept(BROWSER).await;
        page.assert_status(500);
        // Nor on the page under its address, nor where a browser would take JSON or Markdown for HTML.
        for form in ["", ".json"] {
            let again = page_of(&client, &format!("{}{form}", path_of(&page))).await;
            for source in [page.text(), again.text()] {
                assert!(!source.contains(text), "{text}");
                assert!(!source.contains("<img") && !source.contains("<svg"), "{text}");
            }
        }
        let markdown = client.get(&format!("{}.md", path_of(&page))).await;
        markdown.assert_header("content-type", "text/markdown; charset=utf-8");
        markdown.assert_header("x-content-type-options", "nosniff");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"), "{policy}");
        for rule in [
            "script-src 'nonce-",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{rule}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        page.assert_header("cache-control", "no-store").assert_header("x-content-type-options", "nosniff");
    }
}

#[tokio::test]
async fn cve_2019_14806_there_is_no_pin_to_compute_and_guessing_ends() {
    let (one, other) = (client(), client());
    let (page, elsewhere) = (page_of(&one, "/panics/7").await, page_of(&other, "/panics/7").await);
    // 128 random bits, new at each start on the same machine.
    assert_eq!(token_of(&page).len(), 22);
    assert_ne!(token_of(&page), token_of(&elsewhere));
    let guess = async |token: &str| {
        let asked = one.post(&format!("{}/variables", path_of(&page))).header("origin", "http://localhost");
        asked.header("x-purlin-debugger-token", token).json(&json!({ "frame": 0 })).await.status().as_u16()
    };
    assert_eq!(guess(&token_of(&page)).await, 200);
    // A tab that was left open is no guess; ten guesses are.
    for _ in 0..10 {
        assert_eq!(guess(&token_of(&elsewhere)).await, 403);
    }
    assert_eq!(guess(&token_of(&page)).await, 200);
    for wrong in 'A'..='I' {
        assert_eq!(guess(&wrong.to_string().repeat(22)).await, 403);
    }
    assert_eq!(guess(&token_of(&page)).await, 423);
}

#[tokio::test]
async fn cve_2024_34069_a_foreign_name_of_this_machine_is_foreign() {
    let client = client();
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "evil.example:8000",
        "0.0.0.0",
        "127.0.0.1.evil.example",
    ] {
        is_plain(&client, &[("host", host)], host).await;
        is_plain(
            &client,
            &[("host", host), ("origin", &format!("http://{host}")), ("sec-fetch-site", "same-origin")],
            host,
        )
        .await;
    }
}

#[tokio::test]
async fn cve_2021_39197_a_form_of_another_site_asks_nothing() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    let body = r#"{"frame":0,"text":"row"}"#;
    // A form sends one of three types and cannot add a header; each rule alone is enough.
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "multipart/form-data; boundary=x"),
        ("origin", "https://evil.example"),
        ("x-purlin-debugger-token", ""),
        ("sec-fetch-site", "cross-site"),
    ] {
        let asked = client
            .post(&format!("{}/evaluate", path_of(&page)))
            .header("origin", "http://localhost")
            .header("content-type", "application/json")
            .header("x-purlin-debugger-token", token_of(&page))
            .header(name, value);
        let status = asked.body(body).await.status().as_u16();
        assert!(matches!(status, 403 | 404 | 415), "{name}: {value}: {status}");
    }
    let asked = client.get(&format!("{}/evaluate", path_of(&page))).header("x-purlin-debugger-token", token_of(&page));
    asked.header("origin", "http://localhost").await.assert_status(405);
}

#[tokio::test]
async fn cve_2015_3224_no_header_says_where_the_client_is() {
    let outside = client().peer("203.0.113.9:50000".parse().unwrap());
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-for", "0000::1, 127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "::1"),
        ("client-ip", "127.0.0.1"),
    ] {
        let page = outside.get("/panics/7").accept(BROWSER).header(name, value).await;
        page.assert_no_header("x-debug-url").assert_lacks("purlin-debugger");
        outside.get("/_debug/").header(name, value).await.assert_status(404);
    }
    // Through a proxy on this machine the peer is this machine, and the client is not.
    for name in ["x-forwarded-for", "forwarded", "via", "x-forwarded-host", "cf-connecting-ip"] {
        is_plain(&client(), &[(name, "203.0.113.9")], name).await;
    }
}

#[tokio::test]
async fn cve_2021_3129_the_page_asks_for_nothing_that_writes_or_runs() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    let file = std::env::temp_dir().join(format!("purlin-written-{}", std::process::id()));
    for text in [
        format!("std::fs::write({:?}, \"x\")", file.display().to_string()),
        "row = 1".to_owned(),
        "rows.push(1)".to_owned(),
        "rows.clear()".to_owned(),
        "std::process::exit(1)".to_owned(),
        "std::process::Command::new(\"id\")".to_owned(),
        "unsafe { *(0 as *mut u8) = 1 }".to_owned(),
        "include_str!(\"/etc/passwd\")".to_owned(),
        "panic!()".to_owned(),
        "phar://x".to_owned(),
    ] {
        let answer = ask(&client, &page, "evaluate", json!({ "frame": 0, "text": text })).await;
        assert!(answer["value"].is_null() && answer["error"].is_string(), "{text}: {answer}");
    }
    assert!(!file.exists());
    // Nor are there other questions: no solutions to run, no files to open.
    for what in ["execute-solution", "run", "file", "update-config", "../evaluate"] {
        let asked = client.post(&format!("{}/{what}", path_of(&page))).header("origin", "http://localhost");
        let asked = asked.header("x-purlin-debugger-token", token_of(&page)).json(&json!({ "frame": 0 }));
        assert_eq!(asked.await.status(), 404, "{what}");
    }
    let asked = client.post(&format!("{}/open", path_of(&page))).header("origin", "http://localhost");
    let file =
        asked.header("x-purlin-debugger-token", token_of(&page)).json(&json!({ "frame": 0, "file": "/etc/passwd" }));
    file.await.assert_status(400);
}

#[tokio::test]
async fn ghsa_vg6x_rcgg_rjx6_no_other_origin_reads_an_answer() {
    let client = client();
    for origin in
        ["https://evil.example", "http://localhost:3000", "https://localhost", "http://localhost.evil.example"]
    {
        is_plain(&client, &[("origin", origin)], origin).await;
    }
    // The site lets everybody read its answers; not this one.
    let page = page_of(&client, "/panics/7").await;
    page.assert_no_header("access-control-allow-origin");
    page.assert_header("cross-origin-resource-policy", "same-origin");
    // No socket is upgraded.
    let asked = client.get("/_debug/").header("connection", "upgrade").header("upgrade", "websocket");
    asked.header("origin", "https://evil.example").await.assert_status(404);
    let asked = client.options(&format!("{}/evaluate", path_of(&page))).header("origin", "https://evil.example");
    let preflight = asked.header("access-control-request-method", "POST").await;
    assert_ne!(preflight.status(), StatusCode::OK);
}

#[tokio::test]
async fn cve_2025_48068_no_other_origin_includes_source() {
    let client = client();
    for (site, mode, dest) in [
        ("cross-site", "no-cors", "script"),
        ("cross-site", "no-cors", "style"),
        ("cross-site", "no-cors", "image"),
        ("same-site", "no-cors", "script"),
        ("cross-site", "navigate", "iframe"),
        ("cross-site", "cors", "empty"),
    ] {
        let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
        is_plain(&client, &headers, dest).await;
    }
}

#[tokio::test]
async fn an_origin_of_null_is_no_origin() {
    let client = client();
    is_plain(&client, &[("origin", "null")], "null").await;
    is_plain(&client, &[("origin", "null"), ("sec-fetch-site", "same-origin")], "null").await;
}

#[tokio::test]
async fn a_spoofed_host_does_not_come_in_by_another_header() {
    let client = client();
    for headers in [
        [("host", "evil.example"), ("x-forwarded-host", "localhost")],
        [("host", "evil.example"), ("x-host", "localhost")],
        [("host", "localhost@evil.example"), ("x-a", "")],
        [("host", "localhost#.evil.example"), ("x-a", "")],
        [("host", "localhost:evil.example"), ("x-a", "")],
    ] {
        is_plain(&client, &headers, headers[0].1).await;
    }
    let named = Client::new(app_with(Debugger::new().host("dev.example.org"))).expect_errors();
    let page = named.get("/panics/7").header("host", "dev.example.org:8000").accept(BROWSER).await;
    page.assert_header("content-type", "text/html; charset=utf-8");
    assert!(page.header("x-debug-url").unwrap().starts_with("http://dev.example.org:8000/_debug/"));
    is_plain(&named, &[("host", "other.example.org")], "not configured").await;
}
