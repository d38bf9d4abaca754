//! `ErrorDocuments`: failures shown by the site's own routes.

use purlin::document::{Failed, NoDocument};
use purlin::layers::{ErrorDocuments, ErrorPages};
use purlin::testing::{Client, Page, layer_contract};
use purlin::{
    Error, HeaderValue, Html, IntoResponse, Path, Response, Result, Router, Service, Stack, StatusCode, get, header,
};

async fn locked() -> Result<()> {
    Err(Error::forbidden("the key is in the drawer")
        .public("The cellar is locked.")
        .header(header::RETRY_AFTER, HeaderValue::from_static("60")))
}

async fn document(Path(status): Path<u16>, failed: Failed) -> Html<String> {
    Html(format!("own {status}: {} {} {}", failed.message(), failed.method(), failed.uri()))
}

fn routes() -> Router {
    Router::new()
        .route("/locked", get(locked).post(locked))
        .route("/bare", get(async || StatusCode::GONE))
        .route("/said", get(async || (StatusCode::CONFLICT, "said")))
        .route("/errors/{status}", get(document))
}

fn client(layer: ErrorDocuments, routes: Router) -> Client {
    let app = Stack::new().layer(ErrorPages::new()).layer(layer).app(routes);
    Client::new(app).default_header("accept", "text/html").expect_errors()
}

fn own() -> ErrorDocuments {
    ErrorDocuments::new("/errors/{status}")
}

#[tokio::test]
async fn keeps_the_contract_of_layers() {
    layer_contract(own).await;
}

#[tokio::test]
async fn a_failure_has_the_page_of_the_route_and_keeps_what_it_was() {
    let client = client(own(), routes());
    let page = client.get("/locked?x=1").await;
    page.assert_status(403)
        .assert_header("retry-after", "60")
        .assert_header("content-type", "text/html; charset=utf-8");
    assert_eq!(page.text(), "own 403: The cellar is locked. GET /locked?x=1");
    assert_eq!(page.error().unwrap().to_string(), "the key is in the drawer");
    assert!(page.headers().get_all("vary").iter().any(|vary| vary == "accept"));
    client.post("/locked").await.assert_status(403).assert_contains("POST /locked");
    client.get("/bare").await.assert_status(410).assert_contains("own 410: There was a page");
    client.get("/nowhere").await.assert_status(404).assert_contains("own 404");
    client.post("/bare").await.assert_status(405).assert_header("allow", "GET, HEAD, OPTIONS");
    client.head("/nowhere").await.assert_status(404).assert_header("content-type", "text/html; charset=utf-8");
}

#[tokio::test]
async fn an_answer_with_a_body_and_one_that_opts_out_are_left_alone() {
    let routes = routes().route("/out", get(async || NoDocument(locked().await)));
    let client = client(own(), routes);
    client.get("/said").await.assert_status(409).assert_contains("said").assert_lacks("own");
    client.get("/out").await.assert_status(403).assert_contains("The cellar is locked.").assert_lacks("own");
}

#[tokio::test]
async fn programs_get_what_error_pages_has_for_them() {
    let client = client(own(), routes());
    let page = client.get("/locked").accept("application/json").await;
    page.assert_status(403).assert_header("content-type", "application/problem+json");
    assert_eq!(page.json::<serde_json::Value>()["detail"], "The cellar is locked.");
    client.get("/locked").accept("*/*").await.assert_header("content-type", "text/plain; charset=utf-8");
    let every = self::client(own().every_client(true), routes());
    every.get("/locked").accept("application/json").await.assert_status(403).assert_contains("own 403");
}

#[tokio::test]
async fn a_status_may_have_another_document_or_none() {
    let layer = own().on(StatusCode::NOT_FOUND, "/lost").statuses([StatusCode::NOT_FOUND, StatusCode::GONE]);
    let client = client(layer, routes().route("/lost", get(async || "lost?")));
    client.get("/nowhere").await.assert_status(404).assert_contains("lost?");
    client.get("/bare").await.assert_contains("own 410");
    client.get("/locked").await.assert_lacks("own");
}

#[tokio::test]
async fn a_document_that_fails_is_asked_once_and_the_answer_stays() {
    async fn fails(_: Path<u16>) -> Result<()> {
        Err(Error::internal("the menu is empty"))
    }
    async fn panics(_: Path<u16>) -> Html<String> {
        panic!("no menu")
    }
    async fn sends_away(_: Path<u16>) -> purlin::Redirect {
        purlin::Redirect::see_other("/login")
    }
    async fn empty(_: Path<u16>) {}
    for route in [get(fails), get(panics), get(sends_away), get(empty)] {
        let routes = Router::new().route("/locked", get(locked)).route("/errors/{status}", route);
        let page = client(own(), routes).get("/locked").await;
        page.assert_status(403).assert_contains("The cellar is locked.").assert_header("retry-after", "60");
        assert_eq!(page.error().unwrap().to_string(), "the key is in the drawer");
        page.assert_no_header("location");
    }
    client(own(), Router::new()).get("/nowhere").await.assert_status(404);
}

#[tokio::test]
async fn cookies_of_both_are_sent() {
    fn with(cookie: &'static str, response: impl IntoResponse) -> Response {
        let mut response = response.into_response();
        response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        response
    }
    let routes = Router::new()
        .route("/", get(async || with("a=1", StatusCode::FORBIDDEN)))
        .route("/errors/{status}", get(async || with("b=2", "page")));
    let page = client(own(), routes).get("/").await;
    let cookies: Vec<_> = page.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

#[tokio::test]
async fn a_document_has_the_cookies_that_the_failure_sets() {
    async fn fails() -> Response {
        let mut response = StatusCode::FORBIDDEN.into_response();
        response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static("session=new; Path=/"));
        response
    }
    async fn page(req: purlin::Request) -> String {
        req.headers()["cookie"].to_str().unwrap().to_owned()
    }
    let routes = Router::new().route("/", get(fails)).route("/errors/{status}", get(page));
    client(own(), routes).get("/").header("cookie", "session=old; a=1").await.assert_contains("a=1; session=new");
}

#[tokio::test]
async fn below_a_mount_documents_are_the_mounts_own() {
    let section = Stack::new().layer(own()).app(routes());
    let client = Client::new(Stack::new().layer(ErrorPages::new()).app(Router::new().mount("/section", section)))
        .default_header("accept", "text/html");
    client.get("/section/locked").await.assert_status(403).assert_contains("GET /section/locked");
}

#[tokio::test]
async fn a_visitor_who_asks_for_the_document_has_failed_at_nothing() {
    let page: Page = client(own(), routes()).get("/errors/403").await;
    page.assert_status(404).assert_contains("own 404");
}

#[tokio::test]
async fn details_go_before_documents() {
    let app = Stack::new().layer(ErrorPages::new().details(true)).layer(own()).app(routes());
    let page = Client::new(app).get("/locked").accept("text/html").await;
    page.assert_contains("the key is in the drawer").assert_lacks("own 403");
}

#[test]
fn a_document_needs_the_layer_and_a_path() {
    let error = Stack::new().app(routes()).check().unwrap_err().to_string();
    assert!(error.contains("ErrorDocuments::new"), "{error}");
    let app = Stack::new().layer(ErrorDocuments::new("errors")).app(Router::new());
    let error = purlin::site::Life::start(&app).unwrap_err().to_string();
    assert!(error.contains("expected a path of this site as /errors/{status}, found \"errors\""), "{error}");
    let app = Stack::new().layer(own().on(StatusCode::GONE, "//errors/410")).app(routes());
    let error = purlin::site::Life::start(&app).unwrap_err().to_string();
    assert!(error.contains("found \"//errors/410\""), "{error}");
}

#[test]
fn a_path_without_a_route_is_said_at_the_start() {
    use crate::access_log::Lines;
    let said = |layer: ErrorDocuments, below: bool| {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
        let section = Stack::new().layer(layer).app(routes());
        let app = if below { Router::new().mount("/section", section) } else { Router::new().mount("/", section) };
        tracing::subscriber::with_default(subscriber, || drop(purlin::site::Life::start(&app).unwrap()));
        lines.text()
    };
    for below in [false, true] {
        assert_eq!(said(own().on(StatusCode::GONE, "/errors/410?x=1"), below), "");
        let text = said(own().on(StatusCode::GONE, "/erors/410"), below);
        assert!(text.contains("no route of the site is at the path of an error document"), "{text}");
        assert!(text.contains("/erors/410") && text.lines().count() == 1, "{text}");
    }
}

#[tokio::test]
async fn a_layer_that_panics_over_a_document_leaves_the_answer() {
    async fn panics(req: purlin::Request, next: purlin::Next<'_>) -> Result<Response> {
        assert!(!req.uri().path().starts_with("/errors"), "no menu");
        Ok(next.call(req).await)
    }
    let app = Stack::new().layer(ErrorPages::new()).layer(own()).layer(panics).app(routes());
    let client = Client::new(app).default_header("accept", "text/html").expect_errors();
    client.get("/locked").await.assert_status(403).assert_contains("The cellar is locked.").assert_lacks("own 403");
}

#[tokio::test]
async fn an_answer_varies_by_what_either_varies() {
    fn with(vary: &'static str, response: impl IntoResponse) -> Response {
        let mut response = response.into_response();
        response.headers_mut().append(header::VARY, HeaderValue::from_static(vary));
        response
    }
    let routes = Router::new()
        .route("/", get(async || with("cookie", StatusCode::FORBIDDEN)))
        .route("/errors/{status}", get(async || with("accept-language", "page")));
    let page = client(own(), routes).get("/").await;
    let mut varies: Vec<_> =
        page.headers().get_all("vary").iter().flat_map(|vary| vary.to_str().unwrap().split(", ")).collect();
    varies.sort_unstable();
    varies.dedup();
    assert_eq!(varies, ["accept", "accept-language", "cookie"]);
}
