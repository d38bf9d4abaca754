//! What cannot be shown, or not all of it: the page says so and why, and shows the rest.

use super::{SUPPORTED, ask, own_frames, page_of};
use purlin::layers::{Debugger, ErrorPages};
use purlin::testing::Client;
use purlin::{Error, Result, Router, Stack, get};
use serde_json::json;
use std::sync::{Arc, Mutex};

struct Node {
    name: String,
    next: Mutex<Option<Arc<Node>>>,
}

/// Two nodes that hold each other.
async fn circle() -> Result<String> {
    let first = Arc::new(Node { name: "first".to_owned(), next: Mutex::new(None) });
    let second = Arc::new(Node { name: "second".to_owned(), next: Mutex::new(Some(first.clone())) });
    if let Ok(mut next) = first.next.lock() {
        *next = Some(second.clone());
    }
    let failed = refuse(&second.name);
    if let Ok(mut next) = first.next.lock() {
        *next = None;
    }
    failed
}

fn refuse(name: &str) -> Result<String> {
    Err(Error::internal(format!("refused {name}")))
}

/// 100 megabytes of text, and a list of as many bytes.
async fn huge() -> Result<String> {
    let text = "x".repeat(100_000_000);
    let list = vec![0_u64; 12_000_000];
    let short = "short".to_owned();
    refuse(&short).map(|told| format!("{told}{}{}", text.len(), list.len()))
}

/// An error of a thread that works for nobody's request.
async fn elsewhere() -> Result<String> {
    let failed = std::thread::spawn(|| refuse("elsewhere")).join();
    failed.unwrap_or_else(|_| refuse("here"))
}

/// A panic of another thread, of which this one hears by an error.
async fn joined() -> Result<String> {
    let shelf = 7_usize;
    let told = tokio::task::spawn_blocking(move || ["a", "b"][shelf].to_owned()).await?;
    Ok(told)
}

fn client() -> Client {
    let routes = Router::new()
        .route("/circle", get(circle))
        .route("/huge", get(huge))
        .route("/elsewhere", get(elsewhere))
        .route("/joined", get(joined));
    let app = Stack::new().layer(Debugger::new()).layer(ErrorPages::new().details(true)).app(routes);
    Client::new(app).expect_errors()
}

#[tokio::test]
async fn data_that_goes_in_circles_is_shown_once() {
    let page = page_of(&client(), "/circle").await;
    page.assert_status(500).assert_contains("refused second");
    if SUPPORTED {
        page.assert_contains("&lt;itself&gt;").assert_contains("Node { name: &quot;first&quot;");
        assert!(page.text().len() < 1 << 20, "{} bytes", page.text().len());
    }
}

#[tokio::test]
async fn a_text_of_100_megabytes_is_cut() {
    let client = client();
    let page = page_of(&client, "/huge").await;
    page.assert_status(500);
    assert!(page.text().len() < 1 << 20, "{} bytes", page.text().len());
    if !SUPPORTED {
        return;
    }
    page.assert_contains("… (100000000 bytes)").assert_contains("&quot;short&quot;");
    let names = own_frames(&page);
    let frame = names.iter().position(|name| name == "huge (async)").expect("the handler's frame");
    let length = ask(&client, &page, "evaluate", json!({ "frame": frame, "text": "list.len()" })).await;
    assert_eq!(length["value"]["text"], "12000000", "{length}");
    let whole = ask(&client, &page, "evaluate", json!({ "frame": frame, "text": "text" })).await;
    assert!(whole.to_string().len() < 2_000, "{} bytes", whole.to_string().len());
}

#[tokio::test]
async fn an_error_of_another_thread_says_that_its_frames_are_not_there() {
    let page = page_of(&client(), "/elsewhere").await;
    page.assert_status(500).assert_contains("refused elsewhere");
    page.assert_contains("its frames were not captured: it arose outside of the request");
    // Where it arose is known all the same.
    page.assert_contains("tests/debugger/input.rs");
}

#[tokio::test]
async fn a_panic_of_another_thread_shows_who_waited_for_it() {
    let page = page_of(&client(), "/joined").await;
    page.assert_status(500).assert_contains("panicked");
    if SUPPORTED {
        assert_eq!(own_frames(&page)[0], "joined (async)");
        page.assert_contains("shelf");
    }
}
