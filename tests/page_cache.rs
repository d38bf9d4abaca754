//! `PageCache`: one answer for all who ask for the same, and nobody's for another.

use purlin::layers::{CacheFor, MethodOverride, PageCache, SecurityHeaders, Sessions};
use purlin::pages::Pages;
use purlin::request::CspNonce;
use purlin::session::MemoryStore;
use purlin::testing::Client;
use purlin::{
    Body, Bytes, Error, HeaderMap, IntoResponse, Method, Middleware, Redirect, Request, RequestExt, Response, Result,
    Router, Service, Session, Stack, StatusCode, Uri, get, handler, header, html, post, text,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

const SECOND: Duration = Duration::from_secs(1);

/// Answers of which each says how many came before.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn so_far(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// As a layer, it counts what goes past.
impl Middleware for Counter {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        self.next();
        Ok(next.call(req).await)
    }
}

/// A service that answers what it is given, after a line that counts.
fn counted(counter: &Counter, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> impl Service + 'static {
    let counter = counter.clone();
    let answer = Arc::new(answer);
    handler(move |req: Request| {
        let (counter, answer) = (counter.clone(), answer.clone());
        async move {
            let number = counter.next();
            let mut response = answer(&req);
            response.headers_mut().insert("x-number", number.into());
            response
        }
    })
}

/// Answers with the headers that the query names: `/?cache-control=max-age=60&vary=foo`.
fn said(req: &Request) -> Response {
    let mut response = text(format!("page at {}", req.uri().path()));
    for pair in req.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name == "status" {
            *response.status_mut() = StatusCode::from_bytes(value.as_bytes()).unwrap();
            continue;
        }
        let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        response
            .headers_mut()
            .append(name, value.replace("%20", " ").replace("%22", "\"").replace("%27", "'").parse().unwrap());
    }
    response
}

fn client(app: impl Service + 'static) -> Client {
    Client::new(Stack::new().layer(PageCache::new()).app(app)).expect_errors().lint(false)
}

fn number(page: &purlin::testing::Page) -> &str {
    page.header("x-number").unwrap_or("none")
}

#[tokio::test(start_paused = true)]
async fn a_page_is_given_again_for_its_time() {
    let counter = Counter::default();
    let news = CacheFor::secs(60);
    let app = Stack::new().layer(news).app(counted(&counter, |_| html("<p>News</p>")));
    let client = Client::new(Stack::new().layer(PageCache::new()).app(app));
    let first = client.get("/").await;
    first.assert_header("cache-status", "Purlin; fwd=uri-miss; ttl=60; stored").assert_no_header("age");
    tokio::time::advance(59 * SECOND).await;
    let again = client.get("/").await;
    again.assert_header("cache-status", "Purlin; hit; ttl=1").assert_header("age", "59").assert_contains("News");
    assert_eq!((number(&again), again.header("date").is_some()), ("1", true));
    for page in [&first, &again] {
        // Of what it says to the store, nobody else hears.
        page.assert_no_header("purlin-cache-control").assert_header("cache-control", "no-cache");
    }
    tokio::time::advance(SECOND).await;
    let anew = client.get("/").await;
    assert_eq!((number(&anew), counter.so_far()), ("2", 2));
    anew.assert_header("cache-status", "Purlin; fwd=uri-miss; ttl=60; stored");
}

#[tokio::test]
async fn nothing_is_stored_that_does_not_say_so() {
    let client = client(counted(&Counter::default(), said));
    let table = [
        ("", false),
        ("etag=%22a%22", false),
        ("last-modified=Sun,%2006%20Nov%201994%2008:49:37%20GMT", false),
        ("cache-control=public", false),
        ("cache-control=max-age=60", true),
        ("cache-control=s-maxage=60", true),
        ("cache-control=max-age=60,%20s-maxage=0", false),
        ("expires=Sat,%2006%20Nov%202094%2008:49:37%20GMT", true),
        ("expires=0", false),
        ("cache-control=max-age=60&cache-control=no-store", false),
        ("cache-control=max-age=60,private", false),
        ("cache-control=max-age=60,no-cache", false),
        ("cache-control=max-age=60&status=404", true),
        ("cache-control=max-age=60&status=503", true),
        ("status=404", false),
        ("status=301&location=/a", false),
        ("cache-control=max-age=60&status=206", false),
        ("cache-control=max-age=60&age=61", false),
        ("cache-control=max-age=60&age=now", false),
        ("cache-control=max-age=60&vary=*", false),
        ("purlin-cache-control=max-age=60", true),
        ("purlin-cache-control=max-age=60&cache-control=no-cache", true),
        ("purlin-cache-control=max-age=0&cache-control=max-age=60", false),
        // What says that it is for one person, however long it would be good for.
        ("purlin-cache-control=max-age=60&cache-control=private,%20no-cache", false),
        ("purlin-cache-control=max-age=60&cache-control=no-store", false),
        ("cache-control=max-age=60&set-cookie=a=b", false),
        ("cache-control=s-maxage=60,public&set-cookie=a=b", false),
        ("cache-control=max-age=60&vary=Cookie", false),
        ("cache-control=public,max-age=60&vary=accept,%20cookie", false),
        ("cache-control=max-age=60&vary=authorization", false),
        ("cache-control=max-age=60&content-security-policy=script-src%20'nonce-abc'", false),
        ("cache-control=max-age=60&content-security-policy-report-only=script-src%20'NONCE-abc'", false),
        ("cache-control=max-age=60&content-security-policy=script-src%20'self'", true),
        // Without what it excepts.
        ("cache-control=max-age=60,private=%22set-cookie%22&set-cookie=a=b", true),
    ];
    for (query, expected) in table {
        let target = format!("/?{query}");
        client.get(&target).await;
        let again = client.get(&target).await;
        let hit = again.header("cache-status").is_some_and(|status| status.starts_with("Purlin; hit"));
        assert_eq!(hit, expected, "{query}: {again:?}");
        assert!(!hit || again.header("set-cookie").is_none(), "{query}");
    }
}

/// What would have to be told apart by who sent it, and is not, is not given.
#[tokio::test]
async fn a_request_with_authorization_goes_past_what_is_not_public() {
    let client = client(counted(&Counter::default(), said));
    for (control, shared) in [("max-age=60", false), ("max-age=60,public", true), ("s-maxage=60", true)] {
        let target = format!("/?cache-control={control}");
        client.get(&target).header("authorization", "Basic YQ==").await;
        let stranger = client.get(&target).await;
        let hit = |page: &purlin::testing::Page| page.header("cache-status").unwrap().contains("; hit");
        assert_eq!(hit(&stranger), shared, "{control}");
        // The stranger's page is stored, and is not that of who signed in.
        let signed_in = client.get(&target).header("authorization", "Basic Yg==").await;
        assert_eq!(hit(&signed_in), shared, "{control}");
        assert!(hit(&client.get(&target).await), "{control}");
    }
}

async fn greet(session: Session) -> Result<Response> {
    let name: Option<String> = session.get("name")?;
    let mut response = text(format!("hello, {}", name.as_deref().unwrap_or("stranger")));
    // The mistake that is to be survived.
    response.headers_mut().insert("cache-control", "public, max-age=60".parse()?);
    Ok(response)
}

async fn sign_in(session: Session, uri: Uri) -> Result<&'static str> {
    session.insert("name", uri.query().unwrap_or_default())?;
    Ok("welcome")
}

fn members() -> Router {
    Router::new()
        .route("/account/{*rest}", get(greet).layer(CacheFor::secs(60)))
        .route("/account", get(greet))
        .route("/sign-in", post(sign_in))
        .route("/flash", post(async |session: Session| session.flash("info", "saved")))
        .route("/front", get(async || text("for all")).layer(CacheFor::secs(60)))
}

/// Cache deception: whatever the path looks like, it is the page that says whose it is.
#[tokio::test]
async fn nobody_gets_a_page_for_which_the_session_was_looked_at() {
    let paths = [
        "/account",
        "/account/x.css",
        "/account/x.js?v=1",
        "/account/a%2Fb.png",
        "/account/%2e%2e/front",
        "/account/;x.css",
        "/account/x%00.css",
        "/account/x.css%3F",
        "/account/%23.css",
        "/account//x.ico",
        "/account/static/..%2Fx.css",
    ];
    let store = MemoryStore::new;
    let below = Stack::new().layer(PageCache::new()).layer(Sessions::new(store())).app(members());
    let above = Stack::new().layer(Sessions::new(store())).layer(PageCache::new()).app(members());
    for (order, ada) in [("below", Client::new(below)), ("above", Client::new(above))] {
        let ada = ada.expect_errors().lint(false);
        let (bob, stranger) = (ada.another_visitor(), ada.another_visitor());
        ada.post("/sign-in?Ada").await.assert_status(200);
        bob.post("/sign-in?Bob").await.assert_status(200);
        for path in paths {
            for (who, name) in [(&ada, "Ada"), (&bob, "Bob"), (&stranger, "stranger"), (&ada, "Ada")] {
                let page = who.get(path).await;
                assert_eq!(page.text(), format!("hello, {name}"), "{order}: {path}");
                let vary = page.headers().get_all("vary").iter().any(|vary| vary == "Cookie");
                assert!(vary, "{order}: {path}");
            }
        }
        // And a page for which it was not, is for all of them.
        ada.get("/front").await.assert_contains("for all");
        let status = bob.get("/front").await.header("cache-status").unwrap().to_owned();
        assert!(status.starts_with("Purlin; hit"), "{order}: {status}");
    }
}

#[cfg(feature = "tera")]
#[tokio::test]
async fn pages_with_the_token_of_a_form_or_a_message_are_for_one() {
    use purlin::layers::{Csrf, Templates};
    use purlin::{Assets, View, template::Tera};
    let pages: &[(&str, &[u8])] = &[
        ("flash.html", b"<p>{% for one in flash %}{{ one.message }}{% endfor %}</p>"),
        ("form.html", b"<p>{{ csrf_token }}</p>"),
        ("plain.html", b"<p>for all</p>"),
    ];
    let view = |name: &'static str| get(move || std::future::ready(View::new(name, ()))).layer(CacheFor::secs(60));
    let routes = members()
        .route("/form", view("form.html"))
        .route("/messages", view("flash.html"))
        .route("/plain", view("plain.html"));
    let app = Stack::new()
        .layer(PageCache::new())
        .layer(Sessions::new(MemoryStore::new()))
        .layer(Csrf::new())
        .layer(Templates::new(Tera::new(Assets::embedded(pages))))
        .app(routes);
    let ada = Client::new(app).expect_errors().lint(false);
    let bob = ada.another_visitor();
    let form = ada.get("/form").await;
    assert!(form.text().len() > 30, "{form:?}");
    assert_ne!(bob.get("/form").await.text(), form.text());
    ada.post("/flash").header("sec-fetch-site", "same-origin").await.assert_status(200);
    ada.get("/messages").await.assert_contains("saved");
    bob.get("/messages").await.assert_lacks("saved");
    ada.get("/plain").await.assert_contains("for all");
    assert!(bob.get("/plain").await.header("cache-status").unwrap().contains("; hit"));
}

#[cfg(feature = "tera")]
#[tokio::test]
async fn a_view_that_is_yet_to_be_rendered_is_not_stored() {
    use purlin::layers::Templates;
    use purlin::{Assets, View, template::Tera};
    let page = get(async || View::new("a.html", ())).layer(CacheFor::secs(60)).layer(PageCache::new());
    let templates = Templates::new(Tera::new(Assets::embedded(&[("a.html", b"<p>rendered</p>")])));
    let client = Client::new(Stack::new().layer(templates).app(Router::new().route("/", page)));
    for _ in 0..2 {
        client.get("/").await.assert_contains("rendered");
    }
}

#[tokio::test]
async fn a_page_with_a_number_used_once_is_not_given_twice() {
    async fn page(mut req: Request) -> Result<Response> {
        let nonce = req.extensions_mut().get::<CspNonce>().unwrap().clone();
        Ok((CacheFor::secs(60), html(format!("<script nonce=\"{}\"></script>", nonce.value().unwrap())))
            .into_response())
    }
    async fn plain() -> Response {
        (CacheFor::secs(60), html("<p>no script</p>")).into_response()
    }
    let routes = || Router::new().route("/", get(page)).route("/plain", get(plain));
    let below = Stack::new().layer(PageCache::new()).layer(SecurityHeaders::new()).app(routes());
    let above = Stack::new().layer(SecurityHeaders::new()).layer(PageCache::new()).app(routes());
    for client in [Client::new(below), Client::new(above)] {
        let (first, second) = (client.get("/").await, client.get("/").await);
        assert_ne!(first.text(), second.text());
        for page in [first, second] {
            let policy = page.header("content-security-policy").unwrap().to_owned();
            let nonce = page.text().split('"').nth(1).unwrap();
            assert!(policy.contains(&format!("'nonce-{nonce}'")), "{policy} {}", page.text());
        }
        client.get("/plain").await;
        let plain = client.get("/plain").await;
        assert!(plain.header("cache-status").unwrap().contains("; hit"));
        assert!(plain.header("content-security-policy").is_some());
    }
}

/// Poisoning: what one sends does not come to another, by what the key does not have in it.
#[tokio::test]
async fn what_an_attacker_sends_beside_the_url_comes_to_nobody_else() {
    // An application that believes everything.
    fn gullible(req: &Request) -> Response {
        let mut seen: Vec<String> = req.headers().iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        seen.push(format!("{} {}", req.method(), req.uri()));
        let mut response = text(seen.join("\n"));
        response.headers_mut().insert("cache-control", "max-age=60".parse().unwrap());
        response
    }
    let attacks: &[(&str, &[u8])] = &[
        ("x-forwarded-host", b"evil.example"),
        ("x-host", b"evil.example"),
        ("x-forwarded-server", b"evil.example"),
        ("x-forwarded-scheme", b"evil"),
        ("x-forwarded-prefix", b"/evil"),
        ("x-original-url", b"/evil"),
        ("x-rewrite-url", b"/evil"),
        ("x-http-method-override", b"evil"),
        ("x-http-method", b"evil"),
        ("x-method-override", b"evil"),
        ("x-http-host-override", b"evil.example"),
        ("authorization", b"Basic evil"),
        ("host", b"evil.example"),
        ("host", b"localhost:1337"),
        ("range", b"bytes=0-1"),
        ("if-match", b"\"evil\""),
        ("if-unmodified-since", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        ("upgrade", b"evil"),
    ];
    for (at, (name, value)) in attacks.iter().enumerate() {
        let client = client(counted(&Counter::default(), gullible));
        let target = format!("/page/{at}");
        client.get(&target).header(name, value).await;
        let victim = client.get(&target).await;
        assert!(!victim.text().contains("evil") && !victim.text().contains("1337"), "{name}: {}", victim.text());
        // Nor is it kept from being stored.
        let hit = client.get(&target).await;
        assert!(hit.header("cache-status").unwrap().contains("; hit"), "{name}: {hit:?}");
        assert!(!hit.text().contains("evil"), "{name}: {}", hit.text());
    }
    let client = client(counted(&Counter::default(), gullible));
    // A GET with a body, of which applications may take parameters.
    client.request(Method::GET, "/fat").body("q=evil").await;
    assert_eq!(number(&client.get("/fat").await), "2");
    // An answer to HEAD is not that of a GET.
    let head = client.head("/head").await;
    assert!(head.header("cache-status").unwrap().contains("fwd="));
    client.get("/head").await.assert_contains("GET /head");
    // Nor the order of parameters, an empty query, a parameter twice.
    for target in ["/q?a=1&b=2", "/q?b=2&a=1", "/q?", "/q", "/q?a=1&a=evil", "/Q", "/q/", "/%71"] {
        client.get(target).await.assert_contains(&format!("GET {target}"));
        client.get(target).await.assert_contains(&format!("GET {target}"));
    }
}

#[tokio::test]
async fn what_is_of_one_connection_or_request_is_not_given_again() {
    let client = client(counted(&Counter::default(), said));
    let target = "/?cache-control=max-age=60&x-request-id=1&connection=x-own&x-own=1&keep-alive=timeout=5&kept=yes&server-timing=a";
    client.get(target).await;
    let again = client.get(target).await;
    again.assert_header("kept", "yes").assert_no_header("x-request-id").assert_no_header("x-own");
    again.assert_no_header("connection").assert_no_header("keep-alive").assert_no_header("server-timing");
}

/// One for which a header is too large, or that is refused for another reason, says nothing of the page.
#[tokio::test]
async fn what_one_request_was_refused_is_not_what_the_next_is_told() {
    async fn page(headers: HeaderMap) -> Result<&'static str> {
        match headers.get("x-large") {
            Some(_) => Err(Error::bad_request("a header is too large").header("x-a".parse()?, "1".parse()?)),
            None => Ok("fine"),
        }
    }
    for status in [400, 403, 404, 413, 414, 429, 431, 500, 501, 502, 503] {
        let code = StatusCode::from_u16(status).unwrap();
        let refusing = handler(move |req: Request| {
            let refused = req.headers().contains_key("x-large");
            std::future::ready(if refused { code.into_response() } else { "fine".into_response() })
        });
        let client = client(Stack::new().layer(CacheFor::secs(60)).app(refusing));
        client.get("/").header("x-large", "a".repeat(9000)).await.assert_status(status);
        client.get("/").await.assert_status(200);
    }
    let client = client(Router::new().route("/", get(page).layer(CacheFor::secs(60))));
    client.get("/").header("x-large", "1").await.assert_status(400);
    client.get("/").await.assert_status(200);
    client.get("/").header("x-large", "1").await.assert_status(200);
}

#[tokio::test]
async fn a_method_that_stands_for_another_is_the_other() {
    let counter = Counter::default();
    let routes =
        Router::new().route("/notes", get(async || text("notes")).layer(CacheFor::secs(60)).delete(async || "gone"));
    let routes = counted_routes(routes, &counter);
    let client = Client::new(Stack::new().layer(PageCache::new()).layer(MethodOverride::new()).app(routes)).lint(false);
    client.get("/notes").await;
    client.get("/notes").await;
    assert_eq!(counter.so_far(), 1);
    client.post("/notes").form(&[("_method", "DELETE")]).await.assert_contains("gone");
    client.get("/notes").await.assert_contains("notes");
    assert_eq!(counter.so_far(), 3);
    let other = client.get("/notes").header("x-http-method-override", "DELETE").await;
    other.assert_contains("notes");
}

fn counted_routes(routes: Router, counter: &Counter) -> impl Service + 'static {
    Stack::new().layer(counter.clone()).app(routes)
}

#[tokio::test]
async fn each_host_and_scheme_has_its_own() {
    let by_host = |req: &Request| {
        let https = req.is_https();
        let host = req.headers()["host"].to_str().unwrap().to_ascii_lowercase();
        (CacheFor::secs(60), text(format!("{host} {https}"))).into_response()
    };
    let client = client(counted(&Counter::default(), by_host));
    client.get("/").header("host", "a.example").await.assert_contains("a.example false");
    client.get("/").header("host", "b.example").await.assert_contains("b.example false");
    let again = client.get("/").header("host", "A.example").await;
    assert_eq!(number(&again), "1");
    let client = client.base_url("https://a.example");
    client.get("/").await.assert_contains("a.example true");
    client.get("/").header("host", "a.example:443").await.assert_contains("a.example true");
}

type App = Arc<dyn Fn(Request) -> std::pin::Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;

/// A service that many tasks ask.
fn shared(app: impl Service + 'static) -> App {
    let app = Arc::new(app);
    Arc::new(move |req| {
        let app = app.clone();
        Box::pin(async move { app.call(req).await })
    })
}

fn request(target: &str) -> Request {
    let mut req = Request::new(Body::empty());
    *req.uri_mut() = target.parse().unwrap();
    req.headers_mut().insert("host", "localhost".parse().unwrap());
    req
}

async fn body(response: Response) -> Bytes {
    response.into_body().collect(1 << 24).await.unwrap()
}

/// Answers when it is let, as it is told.
#[derive(Clone, Default)]
struct Gate {
    counter: Counter,
    open: Arc<Notify>,
}

impl Gate {
    fn service(&self, answer: impl Fn(usize) -> Response + Send + Sync + 'static) -> impl Service + 'static {
        let (gate, answer) = (self.clone(), Arc::new(answer));
        handler(move |_: Request| {
            let (gate, answer) = (gate.clone(), answer.clone());
            async move {
                let number = gate.counter.next();
                gate.open.notified().await;
                answer(number)
            }
        })
    }
}

fn for_a_minute(number: usize) -> Response {
    (CacheFor::secs(60), text(format!("answer {number}"))).into_response()
}

async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_thousand_who_want_the_same_are_one_call() {
    let gate = Gate::default();
    let app = shared(Stack::new().layer(PageCache::new()).app(gate.service(for_a_minute)));
    let mut visitors = JoinSet::new();
    for _ in 0..1000 {
        visitors.spawn(app(request("/")));
    }
    settle().await;
    assert_eq!(gate.counter.so_far(), 1);
    gate.open.notify_one();
    let (mut collapsed, mut bodies) = (0, 0);
    for response in visitors.join_all().await {
        collapsed += usize::from(response.headers()["cache-status"].to_str().unwrap().contains("; collapsed"));
        bodies += usize::from(body(response).await == "answer 1");
    }
    assert_eq!((gate.counter.so_far(), collapsed, bodies), (1, 999, 1000));
}

#[tokio::test]
async fn where_the_one_who_asks_leaves_the_next_asks() {
    let gate = Gate::default();
    let app = shared(Stack::new().layer(PageCache::new()).app(gate.service(for_a_minute)));
    let first = tokio::spawn(app(request("/")));
    settle().await;
    let mut others = JoinSet::new();
    for _ in 0..50 {
        others.spawn(app(request("/")));
    }
    settle().await;
    first.abort();
    let _ = first.await;
    settle().await;
    assert_eq!(gate.counter.so_far(), 2);
    gate.open.notify_one();
    for response in others.join_all().await {
        assert_eq!(body(response).await, "answer 2");
    }
}

#[tokio::test]
async fn who_waited_for_what_is_not_to_be_shared_asks_by_himself() {
    for answer in [
        |number: usize| text(format!("answer {number}")),
        |number| (CacheFor::secs(60), text(format!("answer {number}")).with_cookie()).into_response(),
        |number| (CacheFor::secs(60), Error::internal(format!("answer {number}")).into_response()).into_response(),
        |number| (CacheFor::secs(60), text(format!("answer {number}").repeat(200_000))).into_response(),
    ] {
        let gate = Gate::default();
        let app = shared(Stack::new().layer(PageCache::new()).app(gate.service(answer)));
        let mut visitors = JoinSet::new();
        for _ in 0..20 {
            visitors.spawn(app(request("/")));
        }
        settle().await;
        assert_eq!(gate.counter.so_far(), 1);
        gate.open.notify_one();
        settle().await;
        // The others ask at the same time, and not one after the other.
        for _ in 0..200 {
            gate.open.notify_one();
            gate.open.notify_waiters();
            yield_now().await;
        }
        let mut bodies = Vec::new();
        for response in visitors.join_all().await {
            assert!(!response.headers()["cache-status"].to_str().unwrap().contains("collapsed"));
            bodies.push((response.status(), body(response).await));
        }
        assert_eq!(gate.counter.so_far(), 20);
        if bodies[0].0 == 200 {
            bodies.sort();
            bodies.dedup();
            assert_eq!(bodies.len(), 20, "each has its own");
        }
    }
}

trait WithCookie {
    fn with_cookie(self) -> Response;
}

impl WithCookie for Response {
    fn with_cookie(mut self) -> Response {
        self.headers_mut().insert("set-cookie", "a=b".parse().unwrap());
        self
    }
}

#[tokio::test]
async fn a_stream_is_stored_up_to_the_limit_and_passes_whole_above_it() {
    struct Pieces(usize);
    impl futures_core::Stream for Pieces {
        type Item = Result<Bytes>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let more = self.0 > 0;
            self.0 = self.0.saturating_sub(1);
            std::task::Poll::Ready(more.then(|| Ok(Bytes::from_static(&[b'x'; 1000]))))
        }
    }
    let counter = Counter::default();
    let pieces = |req: &Request| {
        let count = req.uri().query().unwrap().parse().unwrap();
        (CacheFor::secs(60), text(Body::stream(Pieces(count)))).into_response()
    };
    let cache = PageCache::new().largest(20_000);
    let app = shared(Stack::new().layer(cache).app(counted(&counter, pieces)));
    for (count, hit) in [(10, true), (100, false)] {
        for _ in 0..2 {
            let response = app(request(&format!("/?{count}"))).await;
            assert_eq!(body(response).await.len(), count * 1000);
        }
        let status = app(request(&format!("/?{count}"))).await.headers()["cache-status"].to_str().unwrap().to_owned();
        assert_eq!(status.contains("hit"), hit, "{status}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_not_stored() {
    let counter = Counter::default();
    let broken = |_: &Request| {
        struct Broken;
        impl futures_core::Stream for Broken {
            type Item = std::io::Result<Bytes>;
            fn poll_next(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Self::Item>> {
                std::task::Poll::Ready(Some(Err(std::io::Error::other("the disk is gone"))))
            }
        }
        (CacheFor::secs(60), text(Body::stream(Broken))).into_response()
    };
    let client = client(counted(&counter, broken));
    client.get("/").await.assert_status(500);
    client.get("/").await.assert_status(500);
    assert_eq!(counter.so_far(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_another_for_ever() {
    let gate = Gate::default();
    let app = shared(Stack::new().layer(PageCache::new().wait(3 * SECOND)).app(gate.service(for_a_minute)));
    let first = tokio::spawn(app(request("/")));
    settle().await;
    let second = tokio::spawn(app(request("/")));
    settle().await;
    assert_eq!(gate.counter.so_far(), 1);
    tokio::time::advance(4 * SECOND).await;
    settle().await;
    assert_eq!(gate.counter.so_far(), 2);
    gate.open.notify_waiters();
    assert_eq!(body(second.await.unwrap()).await, "answer 2");
    assert_eq!(body(first.await.unwrap()).await, "answer 1");
}

#[tokio::test]
async fn each_vary_has_its_own() {
    let echo = |req: &Request| {
        let mut response = text(format!("{:?}", req.headers().get("x-language")));
        response.headers_mut().insert("vary", "X-Language".parse().unwrap());
        (CacheFor::secs(60), response).into_response()
    };
    let counter = Counter::default();
    let client = client(counted(&counter, echo));
    for _ in 0..2 {
        client.get("/").header("x-language", "en").await.assert_contains("en");
        client.get("/").header("x-language", "de").await.assert_contains("de");
        client.get("/").await.assert_contains("None");
        client.get("/").header("x-language", " en ").await.assert_contains("en");
    }
    assert_eq!(counter.so_far(), 3);
    // More than are kept: the oldest go, and nothing is mixed up.
    for at in 0..100 {
        client.get("/").header("x-language", at.to_string()).await.assert_contains(&format!("\"{at}\""));
    }
}

#[cfg(feature = "compression")]
#[tokio::test]
async fn each_coding_is_made_once() {
    use purlin::layers::Compression;
    let counter = Counter::default();
    let page = |_: &Request| (CacheFor::secs(60), html("<p>again and again</p>".repeat(500))).into_response();
    let app = Stack::new().layer(PageCache::new()).layer(Compression::new()).app(counted(&counter, page));
    let client = Client::new(app);
    let spellings = [
        ("gzip", "gzip"),
        ("gzip, deflate", "gzip"),
        ("deflate;q=0.5, GZIP;q=1.0", "gzip"),
        ("gzip;q=0.9, br;q=0.8", "gzip"),
        ("br", "br"),
        ("br, gzip;q=0.5", "br"),
        ("deflate", "deflate"),
        ("", "none"),
        ("identity", "none"),
        ("compress", "none"),
    ];
    for round in 0..2 {
        for (accepted, coding) in spellings {
            let page = client.get("/").header("accept-encoding", accepted).await;
            assert_eq!(page.header("content-encoding").unwrap_or("none"), coding, "{accepted}");
            assert!(round == 0 || page.header("cache-status").unwrap().contains("; hit"), "{accepted}");
        }
        let none = client.get("/").await;
        assert_eq!(none.header("content-encoding"), None);
    }
    assert_eq!(counter.so_far(), 4, "gzip, br, deflate, and plain");
}

#[cfg(feature = "compression")]
#[test]
fn it_stands_above_compression() {
    use purlin::layers::Compression;
    let app = Stack::new().layer(Compression::new()).layer(PageCache::new()).app(Router::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(async { purlin::site::Life::start(&app).unwrap_err().to_string() });
    assert!(error.contains("PageCache") && error.contains("move the line"), "{error}");
    // A part of a site may have one of its own.
    let part = Stack::new().layer(PageCache::new()).app(Router::new());
    let app = Stack::new().layer(Compression::new()).app(Router::new().mount("/old", part));
    runtime.block_on(async { purlin::site::Life::start(&app).unwrap() });
}

#[tokio::test(start_paused = true)]
async fn a_stale_page_is_given_while_it_is_made_anew() {
    let gate = Gate::default();
    let counter = gate.counter.clone();
    let app = gate.service(|number| {
        let swr = CacheFor::secs(60).stale_while_revalidate(30 * SECOND);
        (swr, text(format!("answer {number}"))).into_response()
    });
    let app = shared(Stack::new().layer(PageCache::new()).app(app));
    gate.open.notify_one();
    assert_eq!(body(app(request("/")).await).await, "answer 1");
    tokio::time::advance(70 * SECOND).await;
    for _ in 0..5 {
        let response = app(request("/")).await;
        assert_eq!(response.headers()["cache-status"], "Purlin; hit; ttl=-10");
        assert_eq!(body(response).await, "answer 1");
        settle().await;
    }
    // Asked once, beside the requests.
    assert_eq!(counter.so_far(), 2);
    gate.open.notify_one();
    settle().await;
    let response = app(request("/")).await;
    assert_eq!(response.headers()["cache-status"], "Purlin; hit; ttl=60");
    assert_eq!(body(response).await, "answer 2");
    // Longer than that, it is not.
    tokio::time::advance(91 * SECOND).await;
    gate.open.notify_one();
    assert_eq!(body(app(request("/")).await).await, "answer 3");
}

#[tokio::test(start_paused = true)]
async fn a_stale_page_is_given_instead_of_an_error() {
    let counter = Counter::default();
    let failing = {
        let counter = counter.clone();
        handler(move |uri: Uri| {
            let counter = counter.clone();
            async move {
                match counter.next() {
                    1 => Ok(([(header::CACHE_CONTROL, uri.query().unwrap_or_default().parse()?)], text("all is well"))),
                    2 => Err(Error::internal("the cellar is flooded")),
                    _ => Err(Error::new(StatusCode::NOT_FOUND, "gone")),
                }
            }
        })
    };
    let app = shared(Stack::new().layer(PageCache::new()).app(failing));
    let ask = || app(request("/?max-age=60,stale-if-error=30"));
    ask().await;
    tokio::time::advance(80 * SECOND).await;
    let stale = ask().await;
    assert_eq!(stale.status(), 200);
    assert_eq!(stale.headers()["cache-status"], "Purlin; fwd=stale; fwd-status=500; ttl=-20");
    // What is no failure counts.
    assert_eq!(ask().await.status(), 404);
    assert_eq!(counter.so_far(), 3);

    for (control, status) in [("max-age=60", 500), ("max-age=60,stale-if-error=30,must-revalidate", 500)] {
        counter.0.store(0, Ordering::SeqCst);
        let target = format!("/?{control}");
        app(request(&target)).await;
        tokio::time::advance(80 * SECOND).await;
        assert_eq!(app(request(&target)).await.status(), status, "{control}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_page_is_asked_for_by_its_tag() {
    let counter = Counter::default();
    let tagged = |req: &Request| {
        let mut response = match req.headers().get("if-none-match") {
            Some(tag) if tag == "\"one\"" => StatusCode::NOT_MODIFIED.into_response(),
            _ => text("the page"),
        };
        response.headers_mut().insert("etag", "\"one\"".parse().unwrap());
        (CacheFor::secs(60).tag("news"), response).into_response()
    };
    let cache = PageCache::new();
    let pages = cache.pages();
    let client = Client::new(Stack::new().layer(cache).app(counted(&counter, tagged)));
    client.get("/").await;
    tokio::time::advance(61 * SECOND).await;
    let anew = client.get("/").await;
    anew.assert_status(200).assert_contains("the page");
    anew.assert_header("cache-status", "Purlin; fwd=stale; fwd-status=304; stored").assert_header("x-number", "2");
    let hit = client.get("/").await;
    hit.assert_header("cache-status", "Purlin; hit; ttl=60").assert_header("x-number", "2");
    // Who has it is told so, from the store.
    for (name, value) in [("if-none-match", "W/\"one\""), ("if-none-match", "\"other\", \"one\"")] {
        let page = client.get("/").header(name, value).await;
        page.assert_status(304).assert_header("etag", "\"one\"").assert_no_header("content-type");
    }
    client.get("/").header("if-none-match", "\"other\"").await.assert_status(200);
    assert_eq!(counter.so_far(), 2);
    // The tags stay with it.
    pages.purge_tag("news").await.unwrap();
    client.get("/").await.assert_header("x-number", "3");
    // Nothing is there: the whole is asked for, and stored; who has it is told so nevertheless.
    pages.purge_all().await.unwrap();
    let page = client.get("/").header("if-none-match", "\"one\"").await;
    page.assert_status(304).assert_header("x-number", "4");
    client.get("/").await.assert_status(200).assert_header("x-number", "4");
}

#[tokio::test(start_paused = true)]
async fn a_304_that_makes_a_page_personal_takes_it_out() {
    let counter = Counter::default();
    let turning = {
        let counter = counter.clone();
        handler(move || {
            let number = counter.next();
            async move {
                let mut response = text("the page");
                if number > 1 {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                    response.headers_mut().insert("set-cookie", "session=secret".parse().unwrap());
                }
                response.headers_mut().insert("etag", "\"one\"".parse().unwrap());
                (CacheFor::secs(60), response)
            }
        })
    };
    let app = shared(Stack::new().layer(PageCache::new()).app(turning));
    app(request("/")).await;
    tokio::time::advance(61 * SECOND).await;
    let own = app(request("/")).await;
    assert_eq!((own.status(), own.headers()["set-cookie"].to_str().unwrap()), (StatusCode::OK, "session=secret"));
    assert_eq!(body(own).await, "the page");
    assert_eq!(counter.so_far(), 2);
    app(request("/")).await;
    assert_eq!(counter.so_far(), 3);
}

#[tokio::test]
async fn parts_are_answered_from_the_whole() {
    let counter = Counter::default();
    let page = |req: &Request| {
        assert!(!req.headers().contains_key("range") || req.uri().path() == "/other");
        let mut response = text("0123456789");
        response.headers_mut().insert("etag", "\"one\"".parse().unwrap());
        (CacheFor::secs(60), response).into_response()
    };
    let client = client(counted(&counter, page));
    client.get("/").await;
    let part = client.get("/").header("range", "bytes=2-4").await;
    part.assert_status(206).assert_header("content-range", "bytes 2-4/10");
    assert_eq!(part.bytes(), "234");
    assert_eq!(client.get("/").header("range", "bytes=-1").await.bytes(), "9");
    let parts = client.get("/").header("range", "bytes=0-0,9-9").await;
    parts.assert_status(206);
    assert!(parts.header("content-type").unwrap().starts_with("multipart/byteranges"));
    client.get("/").header("range", "bytes=10-").await.assert_status(416).assert_header("content-range", "bytes */10");
    let other = client.get("/").header("range", "bytes=2-4").header("if-range", "\"other\"").await;
    other.assert_status(200).assert_contains("0123456789");
    assert_eq!(counter.so_far(), 1);
    // For a part of what is not there, the whole is not fetched, nor the part stored.
    client.get("/other").header("range", "bytes=2-4").await.assert_header("cache-status", "Purlin; fwd=bypass");
    client.get("/other").await.assert_contains("0123456789");
}

#[tokio::test(start_paused = true)]
async fn head_is_answered_from_the_store_and_stores_nothing() {
    let counter = Counter::default();
    let page = |req: &Request| {
        let tag = req.uri().query().unwrap_or("one");
        let mut response = if *req.method() == Method::HEAD { text("") } else { text("the page") };
        response.headers_mut().insert("etag", format!("\"{tag}\"").parse().unwrap());
        (CacheFor::secs(60), response).into_response()
    };
    let app = shared(Stack::new().layer(PageCache::new()).app(counted(&counter, page)));
    let head = || {
        let mut req = request("/");
        *req.method_mut() = Method::HEAD;
        req
    };
    app(head()).await;
    assert_eq!(body(app(request("/")).await).await, "the page");
    assert_eq!(counter.so_far(), 2);
    assert_eq!(app(head()).await.headers()["cache-status"], "Purlin; hit; ttl=60");
    // It is stale, and still the same: one HEAD makes it fresh.
    tokio::time::advance(61 * SECOND).await;
    app(head()).await;
    let fresh = app(request("/")).await;
    assert_eq!(fresh.headers()["cache-status"], "Purlin; hit; ttl=60");
    assert_eq!((body(fresh).await, counter.so_far()), (Bytes::from("the page"), 3));
}

#[tokio::test]
async fn what_is_changed_is_taken_out() {
    let counter = Counter::default();
    let routes = Router::new()
        .route(
            "/a",
            get(async || "a").layer(CacheFor::secs(60)).post(async || "changed").put(async || StatusCode::CONFLICT),
        )
        .route("/b", get(async || "b").layer(CacheFor::secs(60)))
        .route(
            "/new",
            post(async || (StatusCode::CREATED, [(header::LOCATION, "/b".parse().unwrap())], "made").into_created()),
        );
    let client = Client::new(Stack::new().layer(PageCache::new()).app(counted_routes(routes, &counter)))
        .expect_errors()
        .lint(false);
    let hit = async |path: &str| client.get(path).await.header("cache-status").unwrap().contains("; hit");
    for path in ["/a", "/b", "/a?x"] {
        assert!(!hit(path).await && hit(path).await, "{path}");
    }
    client.put("/a").await.assert_status(409);
    assert!(hit("/a").await, "it was refused");
    client.options("/a").await;
    assert!(hit("/a").await);
    client.post("/a").await.assert_header("cache-status", "Purlin; fwd=method");
    assert!(!hit("/a").await && hit("/b").await && hit("/a?x").await);
    client.post("/new").await.assert_status(201);
    assert!(!hit("/b").await);
}

trait IntoCreated {
    fn into_created(self) -> Response;
}

impl<T: IntoResponse> IntoCreated for (StatusCode, [(header::HeaderName, header::HeaderValue); 1], T) {
    fn into_created(self) -> Response {
        (self.0, (self.1, self.2)).into_response()
    }
}

#[tokio::test]
async fn pages_are_purged_by_path_tag_and_all() {
    async fn purge(pages: Pages, uri: Uri) -> Result<Redirect> {
        match uri.query().unwrap_or_default().split_once('=') {
            Some(("path", path)) => pages.purge(path).await?,
            Some((_, tag)) => pages.purge_tag(tag).await?,
            None => pages.purge_all().await?,
        }
        Ok(Redirect::see_other("/"))
    }
    let page = |tag: &'static str| get(async || "page").layer(CacheFor::secs(60).tag(tag).tag("all of them"));
    let inner = Router::new().route("/c", page("c"));
    let routes = Router::new()
        .route("/a", page("a"))
        .route("/b%20b", page("b"))
        .mount("/in", inner)
        .route("/purge", post(purge));
    let client = Client::new(Stack::new().layer(PageCache::new()).app(routes)).expect_errors().lint(false);
    let paths = ["/a", "/a?x", "/in/c"];
    let hits = async || {
        let mut hits = Vec::new();
        for path in paths {
            let page = client.get(path).await;
            page.assert_status(200).assert_no_header("cache-tag");
            hits.push(page.header("cache-status").unwrap().contains("; hit"));
        }
        hits
    };
    assert_eq!(hits().await, [false; 3]);
    for (query, left) in [
        ("?path=/none", [true, true, true]),
        ("?path=/a", [false, false, true]),
        ("?path=/%61", [false, false, true]),
        ("?path=/in/c", [true, true, false]),
        ("?path=/c", [true, true, true]),
        ("?tag=c", [true, true, false]),
        ("?tag=a", [false, false, true]),
        ("?tag=all of them", [false, false, false]),
        ("?tag=other", [true, true, true]),
        ("", [false, false, false]),
    ] {
        assert_eq!(hits().await.len(), 3);
        client.post(&format!("/purge{}", query.replace(' ', "%20"))).await;
        let query = query.replace("all of them", "all%20of%20them");
        if query.contains("all%20") {
            // As a handler would write it.
            continue;
        }
        assert_eq!(hits().await, left, "{query}");
    }
}

#[tokio::test]
async fn what_was_under_way_when_it_was_purged_is_not_stored() {
    type Change = fn(&Pages) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>;
    let changes: [Change; 3] = [
        |pages| Box::pin(pages.purge("/")),
        |pages| Box::pin(pages.purge_tag("news")),
        |pages| Box::pin(pages.purge_all()),
    ];
    for purge in changes {
        let gate = Gate::default();
        let cache = PageCache::new();
        let pages = cache.pages();
        let service =
            gate.service(|number| (CacheFor::secs(60).tag("news"), text(format!("answer {number}"))).into_response());
        let app = shared(Stack::new().layer(cache).app(service));
        let before = tokio::spawn(app(request("/")));
        settle().await;
        purge(&pages).await.unwrap();
        // Who comes after does not wait for what was made before.
        let after = tokio::spawn(app(request("/")));
        settle().await;
        assert_eq!(gate.counter.so_far(), 2);
        gate.open.notify_one();
        assert_eq!(body(before.await.unwrap()).await, "answer 1");
        gate.open.notify_one();
        assert_eq!(body(after.await.unwrap()).await, "answer 2");
        assert_eq!(body(app(request("/")).await).await, "answer 2");
    }
}

#[tokio::test]
async fn what_is_changed_while_it_is_asked_for_is_not_stored() {
    let gate = Gate::default();
    let reading = gate.service(for_a_minute);
    let routes = shared(reading);
    let both = handler(move |req: Request| {
        let routes = routes.clone();
        async move { if *req.method() == Method::POST { text("changed") } else { routes(req).await } }
    });
    let app = shared(Stack::new().layer(PageCache::new()).app(both));
    let before = tokio::spawn(app(request("/")));
    settle().await;
    let mut change = request("/");
    *change.method_mut() = Method::POST;
    app(change).await;
    gate.open.notify_one();
    assert_eq!(body(before.await.unwrap()).await, "answer 1");
    gate.open.notify_one();
    assert_eq!(body(app(request("/")).await).await, "answer 2");
}

#[tokio::test(start_paused = true)]
async fn clients_make_work_only_where_they_may() {
    let page = |_: &Request| (CacheFor::secs(60), text("the page")).into_response();
    for obey in [false, true] {
        let app = Stack::new().layer(PageCache::new().obey_clients(obey)).app(counted(&Counter::default(), page));
        let client = Client::new(app).expect_errors().lint(false);
        client.get("/").header("cache-control", "only-if-cached").await.assert_status(504);
        client.get("/").await;
        tokio::time::advance(10 * SECOND).await;
        for (name, value) in [
            ("cache-control", "no-cache"),
            ("cache-control", "max-age=5"),
            ("cache-control", "min-fresh=55"),
            ("cache-control", "no-store"),
            ("pragma", "no-cache"),
        ] {
            let hit = client.get("/").header(name, value).await.header("cache-status").unwrap().contains("; hit");
            assert_eq!(hit, !obey, "{value}");
            tokio::time::advance(9 * SECOND).await;
        }
        client.get("/").header("cache-control", "only-if-cached").await.assert_status(200);
    }
}

#[tokio::test]
async fn it_says_nothing_of_what_it_does_where_it_is_told_so() {
    let app = Stack::new().layer(PageCache::new().cache_status(false)).app(counted(&Counter::default(), for_all));
    let client = Client::new(app);
    client.get("/").await.assert_no_header("cache-status");
    client.get("/").await.assert_no_header("cache-status").assert_header("age", "0");
}

fn for_all(_: &Request) -> Response {
    (CacheFor::secs(60), text("for all")).into_response()
}

#[tokio::test]
async fn memory_is_bounded_by_weight() {
    let cache = PageCache::new().memory(1 << 20).largest(1 << 16);
    let pages = cache.pages();
    let page = |req: &Request| (CacheFor::secs(60), text(req.uri().path().repeat(1000))).into_response();
    let app = shared(Stack::new().layer(cache).app(counted(&Counter::default(), page)));
    for at in 0..500 {
        app(request(&format!("/{at}"))).await;
        assert!(pages.bytes() <= 1 << 20);
    }
    assert!(pages.len() > 50, "{pages:?}");
}

#[cfg(feature = "proxy")]
#[tokio::test]
async fn it_stands_in_front_of_a_proxy() {
    use purlin::proxy::Proxy;
    let counter = Counter::default();
    let server = purlin::Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(counted(&counter, said), std::future::pending()));
    let address = format!("http://{}", address.trim_start_matches("http://"));
    let client = client(Proxy::to(&address));
    for _ in 0..3 {
        client.get("/a?cache-control=max-age=60").await.assert_contains("page at /a").assert_header("x-number", "1");
    }
    client.get("/a?cache-control=private").await;
    client.get("/a?cache-control=private").await.assert_header("x-number", "3");
    // An application elsewhere says it to this cache alone in the same header.
    for _ in 0..2 {
        let page = client.get("/b?purlin-cache-control=max-age=60&cache-tag=b").await;
        page.assert_header("x-number", "4").assert_header("cache-control", "no-cache").assert_no_header("cache-tag");
    }
}

#[cfg(all(feature = "redis", unix))]
mod redis;
