//! What every layer promises: written once, run over all.

use super::{Broken, Client, Page, RequestBuilder};
use crate::layers::Lint;
use crate::lint::rule;
use crate::{Body, Error, Middleware, Request, Response, ResponseExt, Result, Service, Stack};
use bytes::Bytes;
use futures_core::Stream;
use http::header::{ALLOW, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, SET_COOKIE, VARY};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

/// Runs a layer through what every layer promises to those above and below it.
///
/// - It has a name in the printed stack.
/// - It asks what is below once at most, with the method, path, headers, body and extensions that came; if it does not ask, it
///   refuses, redirects, or answers `OPTIONS`.
/// - It asks before a body is there that it does not need, and answers before the body from below has ended.
/// - An answer keeps its status, headers (also several `Set-Cookie`, and what is in `Vary`) and extensions; its body arrives as
///   it was sent, with an error at its end if there is one, and `Content-Length` is right.
/// - An error from below is still carried with its status and headers, or has become a page.
/// - `HEAD` is answered with the headers of `GET`.
/// - It breaks no rule of the [lint](crate::lint).
/// - Requests at the same time do not get each other's answers; one that is cancelled at any `.await`, or ends in a panic, takes
///   what is below with it and does not disturb the next.
///
/// A layer that needs another one is run together with it, as a `Vec<BoxMiddleware>`, outermost first. Configure a layer so
/// that it lets bodies of 4 KiB pass.
///
/// ```
/// use purlin::layers::RequestIds;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// purlin::testing::layer_contract(RequestIds::new).await;
/// # }
/// ```
///
/// # Panics
///
/// If a promise is not kept, with its name and what was seen.
pub async fn layer_contract<M: Middleware>(make: impl Fn() -> M) {
    let broken = Broken::default();
    let bench = || Bench::new(make(), &broken);
    has_a_name(&bench());
    asks_once_with_what_came(&bench()).await;
    asks_before_the_body_is_there(&bench()).await;
    keeps_the_answer(&bench()).await;
    streams_the_body(&bench()).await;
    keeps_errors(&bench()).await;
    answers_head_as_get(&bench()).await;
    keeps_requests_apart(&bench()).await;
    can_be_cancelled(&bench()).await;
    survives_a_panic(&bench()).await;
    breaks_no_rule(&bench(), &broken);
}

/// A layer with something above and below it that looks.
struct Bench {
    client: Client,
    name: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    running: Arc<AtomicUsize>,
}

/// A request as it came to what is below.
#[derive(Debug)]
struct Asked {
    method: Method,
    target: String,
    header: bool,
    extension: bool,
    body: Option<Bytes>,
}

impl Bench {
    fn new(layer: impl Middleware, broken: &Broken) -> Self {
        let below = Below::default();
        let (asked, running) = (below.asked.clone(), below.running.clone());
        // The outer one says what is not said by the inner, which hears how the layer reads what is below.
        let above = Lint::new().always().call(broken.hear());
        let hear = broken.hear();
        let inner = Lint::new().always().call(move |violation| {
            if [&rule::BODY_POLLED_AFTER_END, &rule::BODY_POLLED_AFTER_ERROR].contains(&violation.rule()) {
                hear(violation);
            }
        });
        let app = Stack::new().layer(Above).layer(above).layer(layer).layer(inner).app(below);
        let client = Client::new(app).expect_errors().lint(false);
        let names: Vec<String> = client.site().layers().iter().skip(2).map(|layer| layer.name.clone()).collect();
        let names = names.split_last().map(|(_, names)| names.to_vec()).unwrap_or_default();
        Self { client, name: names.join(", "), asked, running }
    }

    /// Sends a request; `None` where the layer answered it by itself, which it may do as a refusal only.
    async fn send(&self, promise: &str, request: RequestBuilder) -> Option<Page> {
        self.asked().clear();
        let answer = tokio::time::timeout(PATIENCE, request.into_future()).await;
        let Ok(page) = answer else { self.broken(promise, "no answer within 10 s") };
        // Of one that was cancelled, another thread may have begun a moment before.
        let asked = self.asked().iter().filter(|asked| asked.target != CANCELLED).count();
        if asked > 1 {
            self.broken("it asks what is below once at most", &format!("it was asked {asked} times\n\n{page:?}"));
        }
        // What methods there are may be known without asking, as a CORS layer does.
        if asked == 0 && page.status().is_success() && *page.method() != Method::OPTIONS {
            self.broken("it asks what is below, or refuses", &format!("{page:?}"));
        }
        (asked == 1).then_some(page)
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How many requests run below when those have ended that do: on another thread it may take a moment.
    async fn running_after_all(&self) -> usize {
        let mut running = self.running.load(Ordering::SeqCst);
        for _ in 0..1000 {
            if running == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            running = self.running.load(Ordering::SeqCst);
        }
        running
    }

    fn broken(&self, promise: &str, seen: &str) -> ! {
        panic!("the layer {} breaks the promise that {promise}: {seen}", self.name)
    }

    fn check(&self, kept: bool, promise: &str, seen: &dyn std::fmt::Debug) {
        if !kept {
            self.broken(promise, &format!("{seen:#?}"));
        }
    }
}

/// How long a layer may take for anything here.
const PATIENCE: Duration = Duration::from_secs(10);

/// As `/slow`.
const CANCELLED: &str = "/slow/cancelled";

const PROBE: HeaderName = HeaderName::from_static("x-probe");

/// Long enough to be worth compressing.
const LINE: &str = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.\n";

fn text() -> String {
    LINE.repeat(50)
}

/// Left in the extensions by what is above and what is below.
#[derive(Clone)]
struct Mark;

/// Stands above the layer.
struct Above;

impl Middleware for Above {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        req.extensions_mut().insert(Mark);
        let mut response = next.call(req).await;
        let marked = response.extensions().get::<Mark>().is_some();
        response.headers_mut().insert(EXTENSION, HeaderValue::from_static(if marked { "kept" } else { "lost" }));
        Ok(response)
    }
}

/// Tells the client whether the extension from below came up.
const EXTENSION: HeaderName = HeaderName::from_static("x-extension");

/// Stands below the layer.
#[derive(Default)]
struct Below {
    asked: Arc<Mutex<Vec<Asked>>>,
    running: Arc<AtomicUsize>,
}

/// Counts down when it is dropped, however that comes.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service for Below {
    async fn call(&self, mut req: Request) -> Response {
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&self.running);
        let body = req.body_mut().take();
        let path = req.uri().path().to_owned();
        // What comes without an end is not waited for.
        let body = if path == "/early" { None } else { body.collect(1 << 20).await.ok() };
        let asked = Asked {
            method: req.method().clone(),
            target: req.uri().to_string(),
            header: req.headers().get(PROBE).is_some_and(|value| value == "sent"),
            extension: req.extensions().get::<Mark>().is_some(),
            body: body.clone(),
        };
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(asked);
        let mut response = answer(&path, body).await;
        response.extensions_mut().insert(Mark);
        response
    }
}

async fn answer(path: &str, body: Option<Bytes>) -> Response {
    let status = |status: StatusCode| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    };
    match path {
        "/echo" => crate::text(body.unwrap_or_default()),
        "/created" => {
            let mut response = crate::text("made");
            *response.status_mut() = StatusCode::CREATED;
            response
        }
        "/nothing" => status(StatusCode::NO_CONTENT),
        "/unchanged" => status(StatusCode::NOT_MODIFIED).with_header(ETAG, HeaderValue::from_static("\"1\"")),
        "/elsewhere" => status(StatusCode::SEE_OTHER).with_header(LOCATION, HeaderValue::from_static("/plain")),
        "/pieces" => crate::text(Body::stream(Pieces::of(vec![Some("one "), Some("two "), Some("three")]))),
        "/broken" => crate::text(Body::stream(Pieces::of(vec![Some("begun"), None]))),
        "/endless" => {
            let response = Response::new(Body::stream(Endless(true)));
            response.with_header(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
        }
        "/missing" => Error::not_found("nothing here")
            .header(ALLOW, HeaderValue::from_static("GET"))
            .header(PROBE, FROM_BELOW)
            .into(),
        "/fails" => Error::internal("the cellar is flooded").header(PROBE, FROM_BELOW).into(),
        "/panics" => panic!("the layer contract panics on purpose"),
        "/stuck" => std::future::pending().await,
        "/slow" | CANCELLED => {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            crate::text("slow")
        }
        path if path.starts_with("/own/") => {
            tokio::task::yield_now().await;
            crate::text(path.to_owned())
        }
        _ => adorned(),
    }
}

const FROM_BELOW: HeaderValue = HeaderValue::from_static("below");

fn adorned() -> Response {
    let mut response = crate::text(text());
    let headers = response.headers_mut();
    headers.insert(PROBE, FROM_BELOW);
    headers.insert(VARY, HeaderValue::from_static("x-below"));
    headers.insert(ETAG, HeaderValue::from_static("\"1\""));
    headers.insert(LAST_MODIFIED, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
    headers.append(SET_COOKIE, HeaderValue::from_static("probe-a=1"));
    headers.append(SET_COOKIE, HeaderValue::from_static("probe-b=2"));
    response
}

/// Pieces with a wait before each; `None` is an error.
struct Pieces {
    pieces: std::vec::IntoIter<Option<&'static str>>,
    waited: bool,
}

impl Pieces {
    fn of(pieces: Vec<Option<&'static str>>) -> Self {
        Self { pieces: pieces.into_iter(), waited: false }
    }
}

impl Stream for Pieces {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.waited = !self.waited;
        if self.waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.next().map(|piece| match piece {
            Some(text) => Ok(Bytes::from_static(text.as_bytes())),
            None => Err(std::io::Error::other("the disk is gone")),
        }))
    }
}

/// One piece, then nothing more, and no end.
struct Endless(bool);

impl Stream for Endless {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.0) {
            Poll::Ready(Some(Ok(Bytes::from_static(b"data: 1\n\n"))))
        } else {
            Poll::Pending
        }
    }
}

fn has_a_name(bench: &Bench) {
    let layers = bench.client.site().layers();
    let named = layers.len() > 3 && layers.iter().all(|layer| !layer.name.is_empty());
    bench.check(named, "it has a name in the printed stack", &layers);
}

async fn asks_once_with_what_came(bench: &Bench) {
    const PROMISE: &str = "the request comes to what is below as it came to the layer";
    let methods =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    for method in methods {
        let with_body = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        for streamed in [false, true] {
            let mut request = bench.client.request(method.clone(), "/echo?a=b%20c&d").header(PROBE.as_str(), "sent");
            let mut expected = "";
            if with_body {
                request = request.header(CONTENT_TYPE.as_str(), "application/octet-stream");
                request = match streamed {
                    true => request.body(Body::stream(Pieces::of(vec![Some("some "), Some("text")]))),
                    false => request.body("some text"),
                };
                expected = "some text";
            }
            if bench.send(PROMISE, request).await.is_some() {
                let asked = bench.asked().remove(0);
                let same = asked.method == method
                    && asked.target == "/echo?a=b%20c&d"
                    && asked.header
                    && asked.extension
                    && asked.body.as_deref() == Some(expected.as_bytes());
                bench.check(same, PROMISE, &asked);
            }
        }
    }
}

async fn asks_before_the_body_is_there(bench: &Bench) {
    const PROMISE: &str = "it does not wait for a body that it does not need";
    let request = bench.client.put("/early").header(CONTENT_TYPE.as_str(), "application/octet-stream");
    bench.send(PROMISE, request.body(Body::stream(Endless(true)))).await;
}

async fn keeps_the_answer(bench: &Bench) {
    const PROMISE: &str = "an answer from below keeps its status, headers and extensions, and its body";
    if let Some(page) = bench.send(PROMISE, bench.client.get("/plain")).await {
        let cookies: Vec<_> = page.headers().get_all(SET_COOKIE).iter().collect();
        let varies =
            page.headers().get_all(VARY).iter().any(|vary| vary.to_str().is_ok_and(|vary| vary.contains("x-below")));
        let same = page.status() == 200
            && page.bytes() == text().as_bytes()
            && page.header("x-probe") == Some("below")
            && page.header("etag") == Some("\"1\"")
            && page.header("last-modified") == Some("Sun, 06 Nov 1994 08:49:37 GMT")
            && page.header("content-type") == Some("text/plain; charset=utf-8")
            && page.header(EXTENSION.as_str()) == Some("kept")
            && varies
            && ["probe-a=1", "probe-b=2"].iter().all(|cookie| cookies.contains(&&HeaderValue::from_static(cookie)));
        bench.check(same, PROMISE, &page);
    }
    for (path, status, body) in
        [("/created", 201, "made"), ("/nothing", 204, ""), ("/unchanged", 304, ""), ("/elsewhere", 303, "")]
    {
        if let Some(page) = bench.send(PROMISE, bench.client.get(path)).await {
            bench.check(page.status() == status && page.text() == body, PROMISE, &page);
            bench.check(path != "/elsewhere" || page.header("location") == Some("/plain"), PROMISE, &page);
        }
    }
    // Whatever the layer makes of it, the length is right.
    for codings in ["gzip", "br", "zstd", "deflate", "gzip;q=0.5, identity;q=0", "*"] {
        let request = bench.client.get("/plain").header("accept-encoding", codings);
        if let Some(page) = bench.send(PROMISE, request).await {
            let length = page.header("content-length").is_none_or(|length| length == page.bytes().len().to_string());
            bench.check(length && page.status() == 200, "`content-length` is the body's length", &page);
        }
    }
}

async fn streams_the_body(bench: &Bench) {
    const PROMISE: &str = "a streamed body arrives as it was sent, up to the error that ends it";
    if let Some(page) = bench.send(PROMISE, bench.client.get("/pieces")).await {
        bench.check(page.bytes() == "one two three" && page.body_error().is_none(), PROMISE, &page);
    }
    if let Some(page) = bench.send(PROMISE, bench.client.get("/broken")).await {
        bench.check(page.body_error().is_some(), PROMISE, &page);
    }
    let promise = "it answers before the body from below has ended";
    let endless = async {
        let mut response = bench.client.get("/endless").header("accept-encoding", "gzip, br").raw().await;
        if response.headers().get(CONTENT_TYPE).is_some_and(|value| value == "text/event-stream") {
            // One event is sent on its way before there is another, however it is coded.
            response.body_mut().frame().await
        } else {
            None
        }
    };
    if tokio::time::timeout(PATIENCE, endless).await.is_err() {
        bench.broken(promise, "it waits for an event stream to end");
    }
}

async fn keeps_errors(bench: &Bench) {
    const PROMISE: &str =
        "an error from below stays on the answer, or becomes a page, and keeps its status and headers";
    for (path, status, message) in [("/missing", 404, "nothing here"), ("/fails", 500, "the cellar is flooded")] {
        if let Some(page) = bench.send(PROMISE, bench.client.get(path)).await {
            let carried = page.error().map(|error| error.chain().any(|line| line.contains(message)));
            let kept = page.status() == status
                && page.header("x-probe") == Some("below")
                && page.header(EXTENSION.as_str()) == Some("kept")
                && carried.unwrap_or(!page.bytes().is_empty());
            bench.check(kept, PROMISE, &page);
        }
    }
}

async fn answers_head_as_get(bench: &Bench) {
    const PROMISE: &str = "`HEAD` is answered with the headers of `GET`";
    fn headers(page: &Page) -> BTreeMap<String, Vec<HeaderValue>> {
        // Times are each request's own, and may by chance be those of another.
        let names = page.headers().keys().filter(|name| *name != SET_COOKIE && name.as_str() != "server-timing");
        names.map(|name| (name.to_string(), page.headers().get_all(name).iter().cloned().collect())).collect()
    }
    for path in ["/plain", "/pieces", "/missing"] {
        for codings in ["", "gzip, br, zstd, deflate"] {
            let ask = |method| bench.client.request(method, path).header("accept-encoding", codings);
            // Twice, to know what changes by itself: an id, the time.
            let (Some(first), Some(second), Some(head)) = (
                bench.send(PROMISE, ask(Method::GET)).await,
                bench.send(PROMISE, ask(Method::GET)).await,
                bench.send(PROMISE, ask(Method::HEAD)).await,
            ) else {
                continue;
            };
            let (get, second, found) = (headers(&first), headers(&second), headers(&head));
            let stable = get.iter().filter(|(name, value)| second.get(*name) == Some(value));
            // The one header that `HEAD` may leave out (RFC 9110 §9.3.2).
            let mut stable =
                stable.filter(|(name, _)| *name != "content-length" || found.contains_key("content-length"));
            let same = stable.all(|(name, value)| found.get(name) == Some(value))
                && found.keys().all(|name| get.contains_key(name))
                && head.status() == first.status();
            bench.check(same, PROMISE, &(first, head));
        }
    }
}

async fn keeps_requests_apart(bench: &Bench) {
    const PROMISE: &str = "requests at the same time get their own answers";
    let asked: Vec<_> = (0..20).map(|n| tokio::spawn(bench.client.get(&format!("/own/{n}")).into_future())).collect();
    for (n, page) in asked.into_iter().enumerate() {
        match tokio::time::timeout(PATIENCE, page).await {
            Ok(Ok(page)) => {
                let own = page.text() == format!("/own/{n}") || !page.status().is_success();
                bench.check(own, PROMISE, &page);
            }
            Ok(Err(error)) => bench.broken(PROMISE, &error.to_string()),
            Err(_) => bench.broken(PROMISE, "no answer within 10 s"),
        }
    }
}

async fn can_be_cancelled(bench: &Bench) {
    const PROMISE: &str = "a request can be cancelled at any `.await`, and what is below ends with it";
    for polls in 0..16 {
        let mut asked = bench.client.get(CANCELLED).into_future();
        for _ in 0..polls {
            if poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_ready())).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(asked);
        let running = bench.running_after_all().await;
        bench.check(running == 0, PROMISE, &format_args!("{running} still running after {polls} polls"));
        if let Some(page) = bench.send(PROMISE, bench.client.get("/slow")).await {
            bench.check(page.text() == "slow", PROMISE, &page);
        }
    }
    // What would not end by itself.
    let mut asked = bench.client.get("/stuck").into_future();
    let mut begun = false;
    for _ in 0..1000 {
        if poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_ready())).await {
            return;
        }
        begun |= bench.running.load(Ordering::SeqCst) > 0;
        if begun {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(asked);
    let running = bench.running_after_all().await;
    bench.check(running == 0, PROMISE, &format_args!("{running} still running that does not end by itself"));
}

async fn survives_a_panic(bench: &Bench) {
    const PROMISE: &str = "a panic below does not disturb the next request";
    let before = bench.send(PROMISE, bench.client.get("/created")).await;
    bench.send(PROMISE, bench.client.get("/panics")).await;
    let running = bench.running_after_all().await;
    bench.check(running == 0, PROMISE, &format_args!("{running} still running"));
    let after = bench.send(PROMISE, bench.client.get("/created")).await;
    let status = |page: &Option<Page>| page.as_ref().map(Page::status);
    bench.check(status(&before) == status(&after), PROMISE, &after);
}

fn breaks_no_rule(bench: &Bench, broken: &Broken) {
    if let [first, ..] = &broken.all()[..] {
        bench.broken("it breaks no rule of the lint", &first.to_string());
    }
}
