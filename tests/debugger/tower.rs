//! The debugger around services of tower: what panics or fails in them is shown from within, as in a handler.

use super::{BROWSER, SUPPORTED, own_frames, page_of};
use axum::response::IntoResponse as _;
use purlin::layers::{Debugger, ErrorPages};
use purlin::testing::Client;
use purlin::{Connection, Request, Response, Result, Router, Service, Stack};
use std::convert::Infallible;
use tower::ServiceExt;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn panics(axum::extract::Path(shelf): axum::extract::Path<usize>) -> String {
    let books = vec!["Emma".to_owned(), "Ulysses".to_owned()];
    tokio::task::yield_now().await;
    title_of(&books, shelf).to_owned()
}

fn title_of(books: &[String], shelf: usize) -> &str {
    &books[shelf]
}

/// An axum handler whose error is Purlin's.
async fn fails(axum::extract::Path(text): axum::extract::Path<String>) -> axum::response::Response {
    let answer: Response = match pages_of(&text) {
        Ok(pages) => pages.to_string().into_response().map(purlin::Body::new),
        Err(error) => error.into(),
    };
    answer.into_response()
}

fn pages_of(text: &str) -> Result<u16> {
    let digits = text.trim_end_matches(" pages");
    let pages: u16 = digits.parse()?;
    Ok(pages)
}

/// A service of tower's own kind, whose error is any error.
async fn refuses(req: Request) -> std::result::Result<Response, BoxError> {
    let query = req.uri().query().unwrap_or_default();
    let pages = pages_of(query)?;
    Ok(pages.to_string().into_response().map(purlin::Body::new))
}

fn books() -> axum::Router {
    use axum::routing::get;
    axum::Router::new().route("/panics/{shelf}", get(panics)).route("/fails/{text}", get(fails))
}

fn around(service: impl Service + 'static) -> Client {
    let app = Stack::new().layer(Debugger::new()).layer(ErrorPages::new().details(true)).app(service);
    Client::new(app).expect_errors()
}

#[tokio::test]
async fn a_panic_in_an_axum_router_shows_its_frames_and_their_variables() {
    // As the whole of what is below, and as a part of it.
    let mounted = Router::new().mount("/books", purlin::tower_service(books()));
    for (client, path) in [(around(purlin::tower_service(books())), "/panics/7"), (around(mounted), "/books/panics/7")]
    {
        let page = page_of(&client, path).await;
        page.assert_status(500).assert_contains("panicked: index out of bounds: the len is 2 but the index is 7");
        if SUPPORTED {
            assert_eq!(own_frames(&page)[..2], ["title_of", "panics (async)"], "{path}");
            page.assert_contains("[&quot;Emma&quot;, &quot;Ulysses&quot;]");
        }
    }
}

#[tokio::test]
async fn an_error_in_an_axum_router_shows_the_frame_of_its_question_mark() {
    let page = page_of(&around(purlin::tower_service(books())), "/fails/many").await;
    page.assert_status(500).assert_contains("invalid digit found in string");
    if SUPPORTED {
        assert_eq!(own_frames(&page)[..2], ["pages_of", "fails (async)"]);
        page.assert_contains("digits").assert_contains("&quot;many&quot;");
    }
}

#[tokio::test]
async fn an_error_of_a_tower_service_shows_the_frame_of_its_question_mark() {
    let page = page_of(&around(purlin::tower_service(tower::service_fn(refuses))), "/?many").await;
    page.assert_status(500).assert_contains("invalid digit found in string");
    if SUPPORTED {
        assert_eq!(own_frames(&page)[..2], ["pages_of", "refuses (async)"]);
        page.assert_contains("&quot;many&quot;");
    }
}

#[tokio::test]
async fn below_a_tower_layer_a_panic_is_shown_too() {
    let layer = tower_http::trace::TraceLayer::new_for_http();
    let app = Stack::new()
        .layer(Debugger::new())
        .layer(ErrorPages::new().details(true))
        .layer(purlin::tower(layer))
        .app(purlin::tower_service(books()));
    let page = page_of(&Client::new(app).expect_errors(), "/panics/7").await;
    page.assert_status(500);
    if SUPPORTED {
        assert_eq!(own_frames(&page)[..2], ["title_of", "panics (async)"]);
    }
}

#[tokio::test]
async fn as_a_service_within_axum_it_asks_for_the_clients_address() {
    let app = Stack::new()
        .layer(Debugger::new())
        .layer(ErrorPages::new().details(true))
        .app(purlin::tower_service(books()))
        .into_tower()
        .unwrap();
    let outer = axum::Router::new().fallback_service(app);
    for (peer, shown) in [(None, false), (Some("203.0.113.9:50000"), false), (Some("127.0.0.1:50000"), true)] {
        let mut req = axum::http::Request::get("/panics/7").header("host", "localhost").header("accept", BROWSER);
        if let Some(peer) = peer {
            req = req.extension(Connection::new(Some(peer.parse().unwrap()), None));
        }
        let answered: std::result::Result<_, Infallible> =
            outer.clone().oneshot(req.body(axum::body::Body::empty()).unwrap()).await;
        let (parts, body) = answered.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 10 << 20).await.unwrap();
        let page = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(parts.status, 500, "{peer:?}");
        assert_eq!(parts.headers.contains_key("x-debug-url"), shown, "{peer:?}");
        assert_eq!(page.contains("name=\"purlin-debugger\""), shown, "{peer:?}");
        assert_eq!(page.contains("[&quot;Emma&quot;, &quot;Ulysses&quot;]"), shown && SUPPORTED, "{peer:?}");
    }
}
