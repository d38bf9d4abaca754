//! `ErrorPages`: what visitors and developers are told, in the form they asked for.

use purlin::http::Request as HttpRequest;
use purlin::layers::{ErrorPages, RequestIds, SecurityHeaders};
use purlin::site::Life;
use purlin::template::{Engine, Names, Page};
use purlin::{
    App, Body, Context, Error, HeaderName, HeaderValue, Middleware, Path, Request, Response, ResponseExt, Result,
    Router, Service, Stack, StatusCode, get, header, post,
};
use std::sync::Mutex;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const PROBLEM: &str = "application/problem+json";

async fn wiki(Path(name): Path<String>) -> Result<String> {
    Err(Error::not_found(format!("no page called {name}")).public(format!("There is no page called {name}.")))
}

async fn secret() -> Result<String> {
    let number: u8 = "swordfish".parse().context("reading the password \"swordfish\"")?;
    Ok(number.to_string())
}

async fn panics() -> String {
    let numbers: Vec<u32> = Vec::new();
    deeper(&numbers)
}

fn deeper(numbers: &[u32]) -> String {
    numbers[7].to_string()
}

fn site(pages: ErrorPages) -> App<impl Service> {
    let routes = Router::new()
        .route("/", get(async || "home").name("home"))
        .route("/wiki/{name}", get(wiki).name("wiki"))
        .route("/guestbook", post(async || "thanks").name("sign"))
        .route("/secret", get(secret))
        .route("/panics", get(panics))
        .route("/bare/{status}", get(async |Path(status): Path<u16>| StatusCode::from_u16(status)))
        .route("/own", get(async || (StatusCode::IM_A_TEAPOT, "short and stout")))
        .route("/streamed", get(async || (StatusCode::BAD_GATEWAY, in_pieces())))
        .route(
            "/busy",
            get(async || -> Result<String> {
                Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "the pool is empty")
                    .header(header::RETRY_AFTER, HeaderValue::from_static("7")))
            }),
        );
    Stack::new().layer(RequestIds::new()).layer(pages).app(routes)
}

/// A body whose length is not known.
fn in_pieces() -> Body {
    struct Once(bool);
    impl futures_core::Stream for Once {
        type Item = Result<&'static str, std::io::Error>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let first = std::mem::take(&mut self.0);
            std::task::Poll::Ready(first.then_some(Ok("in pieces")))
        }
    }
    Body::stream(Once(true))
}

async fn ask(app: &impl Service, method: &str, path: &str, accept: &str) -> Response {
    let mut request = HttpRequest::builder().method(method).uri(path);
    if !accept.is_empty() {
        request = request.header("accept", accept);
    }
    app.call(request.body(Body::empty()).unwrap()).await
}

async fn body(response: Response) -> String {
    String::from_utf8(response.into_body().collect(1 << 20).await.unwrap().to_vec()).unwrap()
}

fn header_of<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn a_browser_gets_a_page_a_program_problem_details_and_curl_text() {
    let app = site(ErrorPages::new());
    for (accept, content_type) in [
        (BROWSER, "text/html; charset=utf-8"),
        ("application/json", PROBLEM),
        (PROBLEM, PROBLEM),
        ("*/*", "text/plain; charset=utf-8"),
        ("", "text/plain; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
    ] {
        let response = ask(&app, "GET", "/wiki/start", accept).await;
        assert_eq!(response.status(), 404);
        assert_eq!(header_of(&response, "content-type"), content_type, "{accept}");
        assert_eq!(header_of(&response, "vary"), "accept");
        assert_eq!(header_of(&response, "x-content-type-options"), "nosniff");
        assert_eq!(response.error().unwrap().message(), "no page called start", "the log above still has it");
        assert!(body(response).await.contains("There is no page called start."), "{accept}");
    }
}

#[tokio::test]
async fn problem_details_are_those_of_rfc_9457() {
    let app = site(ErrorPages::new());
    let response = ask(&app, "GET", "/wiki/start?q=1", "application/json").await;
    let id = header_of(&response, "x-request-id").to_owned();
    let problem: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
    let expected = serde_json::json!({
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no page called start.",
        "instance": "/wiki/start",
        "request_id": id,
    });
    assert_eq!(problem, expected);
    let response = ask(&app, "GET", "/secret", "application/json").await;
    let problem: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(problem.get("detail"), None, "nothing was said for the public");
}

#[tokio::test]
async fn a_visitor_never_learns_the_cause() {
    let app = site(ErrorPages::new());
    for path in ["/secret", "/panics", "/busy", "/nowhere"] {
        for accept in [BROWSER, "application/json", "*/*"] {
            let response = ask(&app, "GET", path, accept).await;
            let id = header_of(&response, "x-request-id").to_owned();
            let page = body(response).await;
            assert!(page.contains(&id), "{path} {accept}");
            for word in ["swordfish", "invalid digit", "index out", "pool", ".rs", "no route", "guestbook", "{name}"] {
                assert!(!page.contains(word), "{path} {accept}: {word} in {page}");
            }
        }
    }
}

#[tokio::test]
async fn a_developer_learns_everything() {
    let app = site(ErrorPages::new().details(true));
    for accept in [BROWSER, "application/json", "*/*"] {
        let response = ask(&app, "GET", "/secret", accept).await;
        assert_eq!(header_of(&response, "cache-control"), "no-store");
        let page = body(response).await;
        for word in ["reading the password", "invalid digit found in string", "tests/error_pages.rs", "let number: u8"]
        {
            assert!(page.contains(word), "{accept}: {word} in {page}");
        }
        let page = body(ask(&app, "GET", "/panics", accept).await).await;
        for word in ["index out of bounds: the len is 0", "numbers[7].to_string()", "error_pages::deeper", "/panics"] {
            assert!(page.contains(word), "{accept}: {word} in {page}");
        }
    }
    let problem: serde_json::Value =
        serde_json::from_str(&body(ask(&app, "GET", "/panics", PROBLEM).await).await).unwrap();
    let debug = &problem["debug"];
    assert_eq!((debug["panic"].as_bool(), debug["route"].as_str()), (Some(true), Some("/panics")));
    let frames: Vec<&str> = debug["frames"].as_array().unwrap().iter().map(|frame| frame.as_str().unwrap()).collect();
    assert!(frames.iter().all(|frame| !frame.starts_with("core::") && !frame.starts_with("purlin::")), "{frames:?}");
    assert_eq!(problem.get("detail"), None, "what is public stays apart");
}

#[tokio::test]
async fn an_address_that_nothing_answers_is_met_with_the_routes_there_are() {
    let app = site(ErrorPages::new().details(true));
    let _life = Life::start(&app).unwrap();
    let page = body(ask(&app, "GET", "/guestbok", BROWSER).await).await;
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("<tr") && line.contains("<td")).collect();
    assert!(rows[0].contains("class=\"near\"") && rows[0].contains("/guestbook"), "{rows:?}");
    assert!(page.contains(".route(&quot;/guestbok&quot;, get(guestbok).name(&quot;guestbok&quot;))"), "{page}");
    let text = body(ask(&app, "GET", "/guestbook", "*/*").await).await;
    assert!(text.starts_with("405 Method Not Allowed\n"), "{text}");
    assert!(text.contains("POST /guestbook (sign) fits, but does not answer GET"), "{text}");
    let page = body(ask(&app, "GET", "/wiki/start", BROWSER).await).await;
    assert!(
        !page.contains("The site&#39;s routes") && !page.contains("<table>"),
        "a handler's own 404 is another thing"
    );
}

#[tokio::test]
async fn a_bare_status_gets_a_page_and_a_body_is_left_alone() {
    let app = site(ErrorPages::new());
    for (status, title) in [(404, "Not Found"), (418, "I&#39;m a teapot"), (499, "Client Error"), (599, "Server Error")]
    {
        let response = ask(&app, "GET", &format!("/bare/{status}"), BROWSER).await;
        assert_eq!(response.status().as_u16(), status);
        let page = body(response).await;
        assert!(page.contains(&format!("<title>{status} {title}</title>")), "{page}");
    }
    for (path, expected) in
        [("/bare/304", ""), ("/bare/200", ""), ("/own", "short and stout"), ("/streamed", "in pieces")]
    {
        let response = ask(&app, "GET", path, BROWSER).await;
        assert!(!response.headers().contains_key("vary"), "{path}");
        assert_eq!(body(response).await, expected);
    }
}

#[tokio::test]
async fn the_headers_of_the_answer_stay() {
    let app = site(ErrorPages::new());
    assert_eq!(header_of(&ask(&app, "GET", "/busy", BROWSER).await, "retry-after"), "7");
    assert_eq!(header_of(&ask(&app, "GET", "/guestbook", BROWSER).await, "allow"), "POST, OPTIONS");
    async fn all(_: Request) -> Result<Response> {
        let mut response = purlin::IntoResponse::into_response(StatusCode::UNAUTHORIZED);
        for (name, value) in [
            ("www-authenticate", "Basic realm=\"x\""),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("vary", "cookie"),
            ("content-length", "0"),
            ("etag", "\"x\""),
        ] {
            response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Ok(response)
    }
    let app = Stack::new().layer(ErrorPages::new()).app(purlin::handler(all));
    let response = ask(&app, "GET", "/", BROWSER).await;
    let values =
        |name| response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("www-authenticate"), ["Basic realm=\"x\""]);
    assert_eq!(values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values("vary"), ["cookie", "accept"]);
    assert!(values("content-length").is_empty() && values("etag").is_empty(), "those were of no body");
}

#[tokio::test]
async fn a_head_has_the_headers_of_its_get() {
    let app = site(ErrorPages::new());
    let get = ask(&app, "GET", "/wiki/x", BROWSER).await;
    let head = ask(&app, "HEAD", "/wiki/x", BROWSER).await;
    assert_eq!((head.status(), header_of(&head, "content-type")), (get.status(), header_of(&get, "content-type")));
    assert_eq!(head.body().len(), get.body().len());
    // A file server, say, which has left the body of its own page out.
    let stripped = async |_: Request| {
        let mut response = purlin::IntoResponse::into_response(StatusCode::NOT_FOUND);
        response.headers_mut().insert("content-length", HeaderValue::from_static("512"));
        response
    };
    let app = Stack::new().layer(ErrorPages::new()).app(purlin::handler(stripped));
    let response = ask(&app, "HEAD", "/", BROWSER).await;
    assert_eq!((response.body().len(), header_of(&response, "content-length")), (Some(0), "512"));
    // Details name the method, and a GET would be told more or less.
    let client = purlin::testing::Client::new(site(ErrorPages::new().details(true)));
    assert!(client.get("/wiki/x").await.header("content-length").is_some());
    client.head("/wiki/x").await.assert_no_header("content-length");
}

#[tokio::test]
async fn markup_from_the_client_is_harmless_in_every_form() {
    let path = "/wiki/%3Cscript%3Ealert(1)%3C%2Fscript%3E%22'%1b%5B31m";
    for details in [false, true] {
        let app = site(ErrorPages::new().details(details));
        let _life = Life::start(&app).unwrap();
        for path in [path, &path.replace("/wiki", "/nothing")] {
            for (accept, forbidden) in
                [(BROWSER, &["<script", "\"'"][..]), ("application/json", &["<", ">"]), ("*/*", &["\u{1b}"])]
            {
                let page = body(ask(&app, "GET", path, accept).await).await;
                for word in forbidden {
                    assert!(!page.contains(word), "{details} {path} {accept}: {page}");
                }
            }
        }
    }
    let app = site(ErrorPages::new());
    let page = body(ask(&app, "GET", path, BROWSER).await).await;
    assert!(page.contains("There is no page called &lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;"), "{page}");
    let problem = body(ask(&app, "GET", path, "application/json").await).await;
    let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
    assert_eq!(problem["detail"], "There is no page called <script>alert(1)</script>\"'\u{1b}[31m.");
}

#[tokio::test]
async fn a_page_brings_a_policy_under_which_only_its_own_style_is_read() {
    for details in [false, true] {
        let routes = Router::new().route("/wiki/{name}", get(wiki));
        let app = Stack::new().layer(SecurityHeaders::new()).layer(ErrorPages::new().details(details)).app(routes);
        let response = ask(&app, "GET", "/wiki/x", BROWSER).await;
        let policy = header_of(&response, "content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"), "{policy}");
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        let page = body(response).await;
        assert!(page.contains(&format!("<style nonce=\"{nonce}\">")), "{page}");
        assert!(!page.contains("style=") && !page.contains("<script") && !page.contains("http"), "{page}");
        assert!(page.len() < 40_000, "{}", page.len());
    }
}

/// An engine of a few templates, which are functions.
#[derive(Default)]
struct Few {
    names: &'static [&'static str],
    fails: bool,
    asked: Mutex<Vec<String>>,
}

impl Engine for Few {
    fn render(&self, page: &Page<'_>) -> Result<String> {
        self.asked.lock().unwrap().push(page.template().to_owned());
        assert!(!page.template().contains("410"), "a template that panics");
        if self.fails {
            return Err(Error::internal("a broken template"));
        }
        let names = page.to_json()?;
        Ok(format!(
            "{} {} {} {} {}",
            page.template(),
            names["status"],
            names["reason"],
            names["message"],
            names["user"]
        ))
    }

    fn contains(&self, template: &str) -> bool {
        self.names.contains(&template)
    }
}

struct User;

impl Middleware for User {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        Names::of(&mut req).add("user", || "ann");
        Ok(next.call(req).await)
    }
}

fn with_templates(engine: Few, details: bool) -> App<impl Service> {
    let routes = Router::new()
        .route("/secret", get(secret))
        .route("/bare/{status}", get(async |Path(status): Path<u16>| StatusCode::from_u16(status)));
    Stack::new().layer(ErrorPages::new().details(details).templates(engine)).layer(User).app(routes)
}

#[tokio::test]
async fn a_site_has_pages_of_its_own() {
    let table: &[(&[&str], u16, &str)] = &[
        (&["errors/404.html", "errors/500.html", "errors/error.html"], 404, "errors/404.html"),
        (&["errors/404.html", "errors/500.html", "errors/error.html"], 403, "errors/error.html"),
        (&["errors/404.html", "errors/500.html", "errors/error.html"], 503, "errors/error.html"),
        (&["errors/404.html", "errors/500.html"], 503, "errors/500.html"),
        (&["errors/404.html", "errors/500.html"], 403, ""),
    ];
    for (names, status, expected) in table {
        let app = with_templates(Few { names, ..Few::default() }, false);
        let response = ask(&app, "GET", &format!("/bare/{status}"), BROWSER).await;
        assert_eq!(response.status().as_u16(), *status);
        assert_eq!(response.headers().contains_key("content-security-policy"), expected.is_empty());
        let page = body(response).await;
        match *expected {
            "" => assert!(page.contains("<!DOCTYPE html>"), "{page}"),
            name => assert!(page.starts_with(&format!("{name} {status} ")) && page.ends_with("\"ann\""), "{page}"),
        }
        let text = body(ask(&app, "GET", &format!("/bare/{status}"), "*/*").await).await;
        assert!(text.starts_with(&status.to_string()), "the templates are of HTML");
    }
}

#[tokio::test]
async fn a_page_of_the_site_that_fails_or_panics_is_replaced_and_the_status_stays() {
    for (status, fails) in [(404, true), (410, false)] {
        let app =
            with_templates(Few { names: &["errors/404.html", "errors/410.html"], fails, ..Few::default() }, false);
        let response = ask(&app, "GET", &format!("/bare/{status}"), BROWSER).await;
        assert_eq!(response.status().as_u16(), status);
        let page = body(response).await;
        assert!(page.contains("<!DOCTYPE html>") && !page.contains("broken"), "{page}");
    }
}

#[tokio::test]
async fn details_go_before_the_site_s_own_page_and_say_which_that_is() {
    let app = with_templates(Few { names: &["errors/error.html"], ..Few::default() }, true);
    let page = body(ask(&app, "GET", "/secret", BROWSER).await).await;
    assert!(page.contains("reading the password") && page.contains("errors/error.html"), "{page}");
}
