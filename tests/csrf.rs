//! `Csrf`: what other sites send is refused, and what the site's own pages send is not.

use http_body::Frame;
use purlin::form::Filled;
use purlin::layers::{BodyLimit, Csrf, CsrfExempt, ErrorPages, MethodOverride, RequestIds, Sessions, Templates};
use purlin::session::{Capabilities, MemoryStore, Record, Save, Saved, Store, StoreError, Token};
use purlin::template::Tera;
use purlin::testing::{Client, Multipart, Page};
use purlin::{
    App, Assets, Body, Bytes, CsrfToken, Error, Form, Html, Redirect, Result, Router, Service, Session, Stack, View,
    any, get, handler, post, put,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

const PAGES: Assets = Assets::embedded(&[
    ("errors/error.html", b"<p>{{ message }}</p>{{ csrf_field() }}"),
    ("field.html", b"<form method=post action=/done>{{ csrf_field() }}<input name=text><button>Send</button></form>"),
    ("files.html", b"{% <forms.form action='/done' files={true}> %}<input type=file name=f>{% </forms.form> %}"),
    ("if.html", b"{% if user %}{{ csrf_field() }}{% endif %}no form"),
    ("none.html", b"no form"),
    (
        "search.html",
        b"{% <forms.form action='/search' method='get'> %}{{ <forms.input name='q' label='Q' /> }}{% </forms.form> %}",
    ),
    ("token.html", b"<meta name=csrf-token content={{ csrf_token }}>"),
]);

async fn done(session: Session) -> &'static str {
    session.increment("done", 1).unwrap();
    "done"
}

async fn sign_in(session: Session) -> Redirect {
    session.rotate();
    session.insert("user", "Ada").unwrap();
    Redirect::see_other("/field")
}

fn shown(template: &'static str) -> View {
    View::new(template, json!({ "user": null })).form(Filled::new())
}

fn routes() -> Router {
    let view = |name: &'static str| get(move || std::future::ready(shown(name)));
    Router::new()
        .route("/done", any(done))
        .route("/text", post(async |Form(form): Form<BTreeMap<String, String>>| form["text"].clone()))
        .route("/length", any(async |body: Bytes| body.len().to_string()))
        .route("/fields", post(async |body: Body| body.collect(1 << 20).await.map(|bytes| bytes.len().to_string())))
        .route("/field", view("field.html"))
        .route("/files", view("files.html"))
        .route("/if", view("if.html"))
        .route("/none", view("none.html"))
        .route("/search", view("search.html"))
        .route("/token", view("token.html"))
        .route("/sign-in", post(sign_in))
        .route("/fails", get(async || Err::<(), _>(Error::internal("broken"))))
        .route("/by-hand", get(async |token: CsrfToken| -> Result<Html<String>> { Ok(Html(token.field()?)) }))
        .route(
            "/hooks/{name}",
            post(async |body: Bytes| body.len().to_string()).layer(CsrfExempt).put(done).name("hook"),
        )
}

fn stack(csrf: Csrf) -> App<impl Service> {
    let tera = std::sync::Arc::new(Tera::new(PAGES));
    Stack::new()
        .layer(RequestIds::new())
        .layer(ErrorPages::new().templates(tera.clone()))
        .layer(BodyLimit::new(64 << 10))
        .layer(Sessions::new(MemoryStore::new()))
        .layer(csrf)
        .layer(Templates::new(tera))
        .app(routes())
}

fn client() -> Client {
    Client::new(stack(Csrf::new()))
}

fn token(page: &Page) -> String {
    page.select("input[name=csrf_token]")[0].attr("value").unwrap().to_owned()
}

/// Why it was refused.
fn why(page: &Page) -> String {
    assert_eq!(page.status(), 403, "{page:?}");
    format!("{:#}", page.error().unwrap())
}

#[tokio::test]
async fn browsers_say_where_a_request_was_made() {
    let client = Client::new(stack(Csrf::new().trust("https://shop.example").trust("http://localhost:8001")));
    let table = [
        ("POST", "sec-fetch-site: same-origin", 200),
        ("POST", "sec-fetch-site: none", 200),
        ("POST", "sec-fetch-site: same-site", 403),
        ("POST", "sec-fetch-site: cross-site", 403),
        ("PUT", "sec-fetch-site: cross-site", 403),
        ("PATCH", "sec-fetch-site: cross-site", 403),
        ("DELETE", "sec-fetch-site: cross-site", 403),
        ("PROPFIND", "sec-fetch-site: cross-site", 403),
        ("get", "sec-fetch-site: cross-site", 403),
        ("GET", "sec-fetch-site: cross-site", 200),
        ("HEAD", "sec-fetch-site: cross-site", 200),
        ("OPTIONS", "sec-fetch-site: cross-site", 200),
        ("TRACE", "sec-fetch-site: cross-site", 200),
        ("POST", "origin: http://localhost", 200),
        ("POST", "origin: http://localhost:8000", 403),
        ("POST", "origin: https://evil.example", 403),
        ("POST", "origin: null", 403),
        ("POST", "x-nothing: 1", 403),
        ("GET", "x-nothing: 1", 200),
        ("POST", "origin: https://shop.example", 200),
        ("POST", "origin: http://localhost:8001", 200),
        ("POST", "origin: http://shop.example", 403),
    ];
    for (method, header, status) in table {
        let (name, value) = header.split_once(": ").unwrap();
        let page = client.request(method.parse().unwrap(), "/done").header(name, value).await;
        assert_eq!(page.status(), status, "{method} {header}: {:?}", page.error());
    }
    let from_shop =
        client.post("/done").header("sec-fetch-site", "cross-site").header("origin", "https://shop.example");
    from_shop.await.assert_status(200);
}

#[tokio::test]
async fn a_form_of_the_site_passes_in_any_browser() {
    let client = client();
    let page = client.get("/field").await;
    // As today's browsers do it: the token goes along, and is not looked at.
    page.form(0).submit().await.assert_contains("done");
    // As older ones do, with the page that was open before, and the one that is loaded now: two masks, one secret.
    let again = client.get("/field").await;
    assert_ne!(token(&page), token(&again), "a page's token is its own");
    for page in [&page, &again] {
        client.post("/done").form(&[("text", "a b&"), ("csrf_token", &*token(page))]).await.assert_contains("done");
    }
    client.post("/done").header("x-csrf-token", token(&page)).await.assert_contains("done");
    client.delete("/done").header("x-csrf-token", token(&page)).await.assert_contains("done");
}

#[tokio::test]
async fn a_token_is_worth_nothing_elsewhere_or_changed() {
    let client = client();
    let mine = token(&client.get("/field").await);
    let stranger = client.another_visitor();
    let theirs = token(&stranger.get("/field").await);
    let swapped = if mine.starts_with('A') { "B" } else { "A" };
    let changed = format!("{swapped}{}", &mine[1..]);
    for bad in [&theirs, &changed, &mine[..85], &format!("{mine}A"), "", "x", &"A".repeat(86), &"é".repeat(43)] {
        let why_not = why(&client.post("/done").header("x-csrf-token", bad).await);
        assert!(why_not.ends_with("the token is not its session's"), "{bad}: {why_not}");
        why(&client.post("/done").form(&[("csrf_token", bad)]).await);
    }
    let nobody = client.another_visitor();
    let why_not = why(&nobody.post("/done").header("x-csrf-token", &mine).await);
    assert!(why_not.ends_with("the token comes with a session that has none"), "{why_not}");
    client.post("/done").header("x-csrf-token", &mine).await.assert_status(200);
    // A good token does not help a request that says it comes from elsewhere.
    let request = client.post("/done").header("x-csrf-token", &mine).header("sec-fetch-site", "cross-site");
    why(&request.await);
}

#[tokio::test]
async fn signing_in_ends_the_tokens_from_before() {
    let client = client();
    let before = token(&client.get("/field").await);
    client.post("/sign-in").header("x-csrf-token", &before).await.assert_redirect("/field");
    why(&client.post("/done").header("x-csrf-token", &before).await);
    let after = token(&client.get("/field").await);
    client.post("/done").header("x-csrf-token", after).await.assert_status(200);
}

#[tokio::test]
async fn a_page_without_a_form_begins_no_session() {
    let client = client();
    for path in ["/none", "/if", "/search"] {
        client.get(path).await.assert_status(200).assert_no_header("set-cookie");
    }
    client.get("/none").await.assert_no_header("vary");
    client.post("/done").header("sec-fetch-site", "cross-site").await.assert_no_header("set-cookie");
    let page = client.get("/field").await;
    assert!(page.header("set-cookie").is_some());
    page.assert_header("cache-control", "private, no-cache");
    client.get("/field").await.assert_no_header("set-cookie");
}

#[tokio::test]
async fn the_token_is_had_by_name_and_by_hand() {
    let client = client();
    let page = client.get("/token").await;
    let token = page.select("meta")[0].attr("content").unwrap().to_owned();
    client.post("/done").header("x-csrf-token", token).await.assert_status(200);
    let page = client.get("/by-hand").await;
    let field = page.select("input[type=hidden]")[0].attr("value").unwrap().to_owned();
    client.post("/done").header("x-csrf-token", field).await.assert_status(200);
    assert_eq!(client.get("/token").await.text().len(), "<meta name=csrf-token content=>".len() + 86);
}

/// A body in pieces of so many bytes.
struct Pieces(std::vec::IntoIter<Vec<u8>>);

fn pieces(body: &[u8], size: usize) -> Body {
    let pieces: Vec<Vec<u8>> = body.chunks(size).map(<[u8]>::to_vec).collect();
    Body::new(Pieces(pieces.into_iter()))
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece.into()))))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn the_handler_finds_the_body_whole() {
    let client = client();
    let token = token(&client.get("/field").await);
    let filler = "x".repeat(5000);
    for body in [
        format!("csrf_token={token}&text={filler}"),
        format!("text={filler}&csrf_token={token}"),
        format!("a=b&csrf_token={token}&text={filler}&c=d"),
    ] {
        for size in [1, 7, 1000, 10_000] {
            let request = client.post("/text").header("content-type", FORM).body(pieces(body.as_bytes(), size));
            assert_eq!(request.await.text(), filler, "{size}");
        }
        let request = client.post("/text").header("content-type", FORM).body(body);
        assert_eq!(request.await.text(), filler);
    }
}

#[tokio::test]
async fn a_form_that_is_too_large_is_413_before_it_is_anything_else() {
    let client = client();
    let token = token(&client.get("/field").await);
    let filler = "x".repeat(70 << 10);
    let last = format!("text={filler}&csrf_token={token}");
    for size in [1000, 100_000] {
        let request = client.post("/text").header("content-type", FORM).body(pieces(last.as_bytes(), size));
        request.await.assert_status(413);
    }
    client.post("/text").header("content-type", FORM).body(last).await.assert_status(413);
    // Where browsers say where they are, nothing is read.
    let request = client.post("/done").header("content-type", FORM).header("origin", "http://localhost");
    request.body(pieces(filler.as_bytes(), 1000)).await.assert_status(200);
}

#[tokio::test]
async fn of_a_form_with_files_the_token_stands_before_them() {
    let client = client();
    let page = client.get("/files").await;
    assert_eq!(page.select("form")[0].attr("enctype"), Some("multipart/form-data"));
    let token = token(&page);
    let file = vec![b'x'; 40 << 10];
    let first = Multipart::new().text("csrf_token", &token).file("f", "a.txt", "text/plain", &file);
    let later =
        Multipart::new().text("title", "A cat").text("csrf_token", &token).file("f", "a.txt", "text/plain", &file);
    for form in [first, later] {
        let length: usize = client.post("/fields").multipart(form).await.text().parse().unwrap();
        assert!(length > file.len() + 200, "the handler finds all of it, and found {length} bytes");
    }
    let behind = Multipart::new().file("f", "a.txt", "text/plain", "x").text("csrf_token", &token);
    assert!(why(&client.post("/fields").multipart(behind).await).contains("it has no token"));
    let far = Multipart::new().text("title", &"x".repeat(9000)).text("csrf_token", &token);
    assert!(why(&client.post("/fields").multipart(far).await).contains("it has no token"));
    let header = Multipart::new().file("f", "a.txt", "text/plain", &file);
    client.post("/fields").multipart(header).header("x-csrf-token", &token).await.assert_status(200);
    page.form(0).submit().await.assert_contains("done");
}

#[tokio::test]
async fn other_bodies_have_the_header_only() {
    let client = client();
    let token = token(&client.get("/field").await);
    let json = json!({ "csrf_token": token });
    assert!(why(&client.post("/length").json(&json).await).contains("it has no token"));
    client.post("/length").json(&json).header("x-csrf-token", token).await.assert_status(200);
}

#[tokio::test]
async fn an_exempt_route_takes_what_others_send_and_says_so() {
    let client = client();
    client.post("/hooks/paid").header("origin", "https://pay.example").body("12345").await.assert_contains("5");
    client.post("/hooks/paid").body("12345").await.assert_contains("5");
    why(&client.put("/hooks/paid").await);
    why(&client.post("/hooks").await);
    why(&client.post("/hooks/a/b").await);
    let table = client.site().routes_table();
    let row = table.lines().find(|line| line.contains("/hooks/{name}")).unwrap();
    assert!(row.ends_with("[CsrfExempt]"), "{table}");
    assert_eq!(table.matches("CsrfExempt").count(), 1, "{table}");
    assert!(client.site().stack_table().contains("on POST /hooks/{name}\n"), "{}", client.site().stack_table());
}

#[tokio::test]
async fn a_section_may_be_exempt_as_a_whole() {
    let api = Stack::new().layer(CsrfExempt).app(Router::new().route("/orders", post(done)).route("/", post(done)));
    let routes = Router::new().mount("/api", api).route("/orders", post(done));
    let client = Client::new(Stack::new().layer(Sessions::new(MemoryStore::new())).layer(Csrf::new()).app(routes));
    client.post("/api/orders").await.assert_status(200);
    client.post("/api").await.assert_status(200);
    why(&client.post("/orders").await);
}

#[tokio::test]
async fn the_visitor_is_told_in_words_and_the_developer_the_reason() {
    let client = client().default_header("accept", "text/html");
    let page =
        client.post("/done").header("sec-fetch-site", "cross-site").header("origin", "https://evil.example").await;
    page.assert_status(403).assert_contains("sent by a page of another site, so nothing was done");
    page.assert_lacks("evil.example").assert_lacks("Sec-Fetch-Site");
    let page = client.post("/done").await;
    page.assert_status(403).assert_contains("Please go back, load the page anew, and send the form once more.");
    // What the site's own template of error pages calls is there, and empty: nothing could keep a new token.
    page.assert_lacks("csrf_token");

    let app = Stack::new()
        .layer(ErrorPages::new().details(true))
        .layer(Sessions::new(MemoryStore::new()))
        .layer(Csrf::new())
        .layer(Templates::new(Tera::new(PAGES)))
        .app(routes().route("/x", put(done)));
    let client = Client::new(app).default_header("accept", "text/html");
    let page = client.put("/x").header("origin", "https://evil.example").await;
    page.assert_status(403).assert_contains("the request was made on another site: Origin is");
    page.assert_contains("a proxy must pass on the Host that it was sent").assert_contains("evil.example");
    assert!(client.put("/x").await.contains_text("first in the form, or the header x-csrf-token"));
    assert_eq!(page.error().unwrap().layer(), Some("Csrf"));
}

#[tokio::test]
async fn what_a_stranger_writes_into_headers_stays_short() {
    let client = client();
    let long = "x".repeat(5000);
    let page = client.post("/done").header("sec-fetch-site", &long).header("origin", &long).await;
    assert!(why(&page).len() < 400);
}

#[test]
fn the_order_of_the_layers_is_checked() {
    let told = |app: Result<purlin::site::Site>| app.unwrap_err().message();
    let sessions = || Sessions::new(MemoryStore::new());
    let app = || Router::new().route("/", post(done));
    let error = told(Stack::new().layer(Csrf::new()).layer(sessions()).app(app()).check());
    assert!(error.contains("the layer Csrf") && error.contains("needs `Session`, which Sessions"), "{error}");
    let error = told(Stack::new().layer(sessions()).layer(Csrf::new()).layer(MethodOverride::new()).app(app()).check());
    assert!(
        error.contains("the layer Csrf") && error.contains("needs `OriginalMethod`, which MethodOverride"),
        "{error}"
    );
    let error =
        told(Stack::new().layer(sessions()).app(Router::new().route("/", get(async |_: CsrfToken| ""))).check());
    assert!(error.contains("needs `CsrfToken`") && error.contains("add `.layer(Csrf::new())`"), "{error}");
    let fits = Stack::new().layer(MethodOverride::new()).layer(sessions()).layer(Csrf::new()).app(app()).check();
    assert!(fits.is_ok());
}

#[test]
fn what_cannot_be_trusted_or_protected_stops_the_site_from_starting() {
    let start = |app: &App<_>| purlin::site::Life::start(app).unwrap_err().to_string();
    let wrong = stack(Csrf::new().trust("shop.example"));
    let told = format!("{:#}", purlin::site::Life::start(&wrong).unwrap_err());
    assert!(told.contains("the layer Csrf: expected an origin as https://shop.example.org"), "{told}");
    let unprotected = Stack::new()
        .layer(Sessions::new(MemoryStore::new()))
        .layer(Templates::new(Tera::new(PAGES)))
        .app(handler(async || "hello"));
    let told = start(&unprotected);
    assert!(told.contains("field.html:1:35: no layer of the site protects forms: add `.layer(Csrf::new())`"), "{told}");
}

/// A store that nobody can ask.
struct Down;

impl Store for Down {
    fn capabilities(&self) -> Capabilities {
        MemoryStore::new().capabilities()
    }

    async fn load(&self, _: Token<'_>, _: u64) -> Result<Option<Record>, StoreError> {
        Err(StoreError::Other("down".into()))
    }

    async fn save(&self, _: Save<'_>) -> Result<Saved, StoreError> {
        Err(StoreError::Other("down".into()))
    }

    async fn destroy(&self, _: Token<'_>) -> Result<(), StoreError> {
        Err(StoreError::Other("down".into()))
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_asked_only_where_the_token_decides() {
    let app = Stack::new()
        .layer(Sessions::new(Down))
        .layer(Csrf::new())
        .layer(Templates::new(Tera::new(PAGES)))
        .app(Router::new().route("/", post(async || "done").get(async || View::new("field.html", ()))));
    let client = Client::new(app).expect_errors();
    client.set_cookie("session", "x");
    client.post("/").header("sec-fetch-site", "same-origin").await.assert_status(200);
    client.post("/").header("sec-fetch-site", "cross-site").await.assert_status(403);
    let page = client.post("/").header("x-csrf-token", "x").await;
    assert!(page.status().is_server_error(), "{page:?}");
    // A page is shown all the same, and its form passes in today's browsers.
    client.get("/").await.assert_status(200).assert_lacks("csrf_token").assert_contains("<input name=text>");
}
