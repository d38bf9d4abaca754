//! `Lint`: each rule is broken by something here, and found; what breaks none is left in peace.

use futures_core::Stream;
use http_body::{Frame, SizeHint};
use purlin::http::Request as HttpRequest;
use purlin::layers::{ErrorPages, Lint};
use purlin::lint::{Severity, rules};
use purlin::testing::Client;
use purlin::{
    Body, Bytes, Error, HeaderMap, Middleware, Next, Request, Response, ResponseExt, Result, Router, Service, Stack,
    StatusCode, get, html,
};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

type Ids = Arc<Mutex<Vec<&'static str>>>;

fn hearing(ids: &Ids) -> Lint {
    let ids = ids.clone();
    Lint::new().always().call(move |violation| ids.lock().unwrap().push(violation.rule().id))
}

fn asked(line: &str, headers: &[(&str, &str)]) -> Request {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = HttpRequest::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name: purlin::HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, purlin::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    response
}

fn page(headers: &[(&str, &str)]) -> Response {
    let mut response = answer(200, headers, "hello");
    response.headers_mut().entry("content-type").or_insert("text/plain; charset=utf-8".parse().unwrap());
    response
}

/// Gives one answer, made beforehand.
struct Once(Mutex<Option<Response>>);

impl Service for Once {
    async fn call(&self, _: Request) -> Response {
        self.0.lock().unwrap().take().expect("asked once")
    }
}

/// What a `Lint` finds in this answer, its body read to the end.
async fn found(request: Request, response: Response) -> Vec<&'static str> {
    let ids = Ids::default();
    let app = Stack::new().layer(hearing(&ids)).app(Once(Mutex::new(Some(response))));
    let _ = app.call(request).await.into_body().collect(1 << 20).await;
    let ids = ids.lock().unwrap();
    ids.clone()
}

/// Frames as they are told.
struct Frames {
    frames: std::vec::IntoIter<Option<Result<Frame<Bytes>>>>,
    hint: Option<u64>,
}

impl Frames {
    fn body(frames: Vec<Frame<Bytes>>) -> Body {
        let frames: Vec<_> = frames.into_iter().map(|frame| Some(Ok(frame))).collect();
        Body::new(Self { frames: frames.into_iter(), hint: None })
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        Poll::Ready(self.frames.next().flatten())
    }

    fn size_hint(&self) -> SizeHint {
        self.hint.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

fn trailers(name: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, "1".parse().unwrap());
    Frame::trailers(trailers)
}

/// A broken answer for each rule that sees one answer from inside.
fn planted() -> Vec<(&'static str, Request, Response)> {
    let get = || asked("GET /", &[]);
    let gzip = || asked("GET /", &[("accept-encoding", "gzip")]);
    let typed = [("content-type", "text/plain; charset=utf-8")];
    let mut hinted = answer(200, &typed, ());
    *hinted.body_mut() = Body::new(Frames { frames: vec![Some(Ok(data("hello")))].into_iter(), hint: Some(4) });
    let streamed = |status, headers: &[(&str, &str)]| answer(status, headers, Frames::body(vec![data("hello")]));
    let tail = |headers: &[(&str, &str)], name| {
        let mut response = page(headers);
        *response.body_mut() = Frames::body(vec![data("hello"), trailers(name)]);
        response
    };
    let mut after = page(&[("trailer", "x-sum")]);
    *after.body_mut() = Frames::body(vec![data("he"), trailers("x-sum"), data("llo")]);
    vec![
        ("allow-missing", get(), answer(405, &[], ())),
        ("body-with-204", get(), answer(204, &[], "hello")),
        ("body-with-204", get(), streamed(204, &typed)),
        ("body-with-205", get(), answer(205, &[], "hello")),
        ("body-with-304", get(), answer(304, &[("etag", "\"1\"")], "hello")),
        ("cache-control-contradiction", get(), page(&[("cache-control", "no-store, max-age=60")])),
        ("cache-control-contradiction", get(), page(&[("cache-control", "public, private")])),
        ("cache-control-syntax", get(), page(&[("cache-control", "max-age=1h")])),
        ("cache-control-syntax", get(), page(&[("cache-control", "max-age 60")])),
        ("cache-control-contradiction", get(), page(&[("cache-control", "max-age=1"), ("cache-control", "max-age=2")])),
        ("cached-cookie", get(), page(&[("cache-control", "public, max-age=60"), ("set-cookie", "a=b")])),
        ("charset-missing", get(), page(&[("content-type", "text/html")])),
        ("content-encoding-unknown", get(), page(&[("content-encoding", "identity")])),
        ("content-encoding-unwanted", gzip(), page(&[("content-encoding", "br"), ("vary", "accept-encoding")])),
        ("content-length-doubled", get(), page(&[("content-length", "5"), ("content-length", "6")])),
        ("content-length-forbidden", get(), answer(204, &[("content-length", "0")], ())),
        ("content-length-syntax", get(), page(&[("content-length", "five")])),
        ("content-length-wrong", get(), page(&[("content-length", "6")])),
        ("content-length-wrong", get(), streamed(200, &[typed[0], ("content-length", "4")])),
        ("content-location-syntax", get(), page(&[("content-location", "/a b")])),
        ("content-range-missing", get(), answer(206, &typed, "hello")),
        ("content-range-wrong", get(), answer(206, &[typed[0], ("content-range", "bytes 0-3/9")], "hello")),
        ("content-range-wrong", get(), answer(206, &[typed[0], ("content-range", "bytes 5-9/9")], "hello")),
        ("content-range-wrong", get(), answer(416, &[typed[0], ("content-range", "bytes 0-3/9")], "hello")),
        ("content-range-unexpected", get(), page(&[("content-range", "bytes 0-4/5")])),
        ("content-type-doubled", get(), page(&[("content-type", "text/a;charset=b"), ("content-type", "b/c")])),
        ("content-type-missing", get(), answer(200, &[], "hello")),
        ("content-type-missing", get(), streamed(200, &[])),
        ("content-type-syntax", get(), page(&[("content-type", "html")])),
        (
            "cors-star-with-credentials",
            get(),
            page(&[("access-control-allow-origin", "*"), ("access-control-allow-credentials", "true")]),
        ),
        ("csp-syntax", get(), page(&[("content-security-policy", "default-src self")])),
        ("csp-syntax", get(), page(&[("content-security-policy", "default-src 'self' 'none'")])),
        ("csp-syntax", get(), page(&[("content-security-policy", "img-src *; img-src data:")])),
        ("data-after-trailers", get(), after),
        ("date-syntax", get(), page(&[("expires", "0")])),
        ("etag-syntax", get(), page(&[("etag", "1")])),
        ("field-doubled", get(), page(&[("etag", "\"1\""), ("etag", "\"2\"")])),
        ("header-injection", asked("GET /?next=%0d%0aX-Evil:%201", &[]), page(&[("x-evil", "1")])),
        ("header-injection", asked("GET /?next=%0aX-Evil:+1+2&b=c", &[]), page(&[("x-evil", "1 2")])),
        ("header-not-ascii", get(), page(&[("x-name", "Ada Lövelace")])),
        ("hop-by-hop-header", get(), page(&[("transfer-encoding", "chunked")])),
        ("hop-by-hop-header", get(), page(&[("connection", "close")])),
        ("hsts-over-http", get(), page(&[("strict-transport-security", "max-age=60")])),
        ("hsts-syntax", get(), page(&[("strict-transport-security", "includeSubDomains")])),
        ("interim-status", get(), answer(103, &[("link", "</a.css>")], ())),
        ("last-modified-future", get(), page(&[("last-modified", "Fri, 31 Dec 9999 23:59:59 GMT")])),
        ("location-missing", get(), answer(302, &[], ())),
        ("location-syntax", get(), answer(302, &[("location", "/a b")], ())),
        ("nosniff-syntax", get(), page(&[("x-content-type-options", "none")])),
        ("nosniff-without-type", get(), answer(200, &[("x-content-type-options", "nosniff")], "hello")),
        ("proxy-authenticate-missing", get(), answer(407, &[], ())),
        ("range-length-missing", get(), answer(416, &typed, "none")),
        ("retry-after-syntax", get(), answer(503, &[("retry-after", "soon")], ())),
        ("set-cookie-doubled", get(), page(&[("set-cookie", "a=1; Path=/"), ("set-cookie", "a=2; Path=/")])),
        ("set-cookie-refused", get(), page(&[("set-cookie", "__Host-a=1")])),
        ("set-cookie-refused", get(), page(&[("set-cookie", "a=1; SameSite=None")])),
        ("set-cookie-refused", get(), page(&[("set-cookie", "__Http-a=1; Secure")])),
        ("set-cookie-refused", get(), page(&[("set-cookie", "a=1; Partitioned")])),
        ("set-cookie-syntax", get(), page(&[("set-cookie", "a b=1")])),
        ("set-cookie-syntax", get(), page(&[("set-cookie", "a=\"b c\"")])),
        ("set-cookie-syntax", get(), page(&[("set-cookie", "a=b; Max-Age=1h")])),
        ("set-cookie-syntax", get(), page(&[("set-cookie", "a=b; Expires=tomorrow")])),
        ("size-hint-wrong", get(), hinted),
        ("status-out-of-range", get(), answer(799, &[], ())),
        ("trailer-forbidden", get(), tail(&[], "content-length")),
        ("trailer-undeclared", get(), tail(&[], "x-sum")),
        ("unknown-method-accepted", asked("PURLIN-LINT /", &[]), page(&[])),
        ("upgrade-missing", get(), answer(101, &[], ())),
        ("upgrade-missing", get(), answer(426, &[], ())),
        ("vary-missing", gzip(), page(&[("content-encoding", "gzip")])),
        ("vary-syntax", get(), page(&[("vary", "accept encoding")])),
        ("www-authenticate-missing", get(), answer(401, &[], ())),
    ]
}

#[tokio::test]
async fn each_planted_violation_is_found_and_no_other() {
    let mut missed = Vec::new();
    for (id, request, response) in planted() {
        let said = format!("{request:?}\n{response:?}");
        let found = found(request, response).await;
        if found != [id] {
            missed.push(format!("expected {id}, found {found:?} in\n{said}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

#[tokio::test]
async fn what_keeps_the_rules_is_left_in_peace() {
    let gzip = ("accept-encoding", "br;q=0.5, gzip");
    let table = [
        (asked("GET /", &[]), page(&[])),
        (asked("GET /", &[]), answer(200, &[], ())),
        (asked("GET /", &[]), answer(204, &[], ())),
        (asked("GET /", &[]), answer(304, &[("etag", "W/\"1\""), ("content-length", "500")], ())),
        (asked("HEAD /", &[]), page(&[("content-length", "5")])),
        (asked("HEAD /", &[]), answer(200, &[("content-length", "500"), ("content-type", "image/png")], ())),
        (asked("GET /", &[]), answer(101, &[("upgrade", "websocket"), ("connection", "upgrade")], ())),
        (asked("GET /", &[]), answer(401, &[("www-authenticate", "Basic realm=\"x\"")], ())),
        (asked("GET /", &[]), answer(405, &[("allow", "")], ())),
        (asked("GET /", &[]), answer(303, &[("location", "../guestbook?a=%20#b")], ())),
        (asked("GET /", &[gzip]), page(&[("content-encoding", "gzip"), ("vary", "Accept-Encoding, cookie")])),
        (asked("GET /", &[gzip]), page(&[("content-encoding", "br"), ("vary", "*")])),
        (
            asked("GET /", &[("accept-encoding", "*")]),
            page(&[("content-encoding", "zstd"), ("cache-control", "no-store")]),
        ),
        (asked("GET /", &[]), page(&[("cache-control", "private, no-cache=\"set-cookie\", max-age=0, unknown=x")])),
        (asked("GET /", &[]), page(&[("cache-control", "no-store, max-age=0")])),
        (
            asked("GET /", &[]),
            page(&[("set-cookie", "__Host-a=\"b\"; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=-1")]),
        ),
        (asked("GET /", &[]), page(&[("set-cookie", "a=1; Path=/"), ("set-cookie", "a=1; Path=/b")])),
        (asked("GET /", &[]), page(&[("expires", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "120")])),
        (asked("GET https://a.example/", &[]), page(&[("strict-transport-security", "max-age=60; includeSubDomains")])),
        (asked("GET /", &[]), answer(206, &[("content-type", "image/png"), ("content-range", "bytes 5-9/*")], "hello")),
        (asked("GET /", &[]), answer(206, &[("content-type", "multipart/byteranges; boundary=a")], "--a--")),
        (asked("GET /", &[]), answer(416, &[("content-range", "bytes */9")], ())),
        (asked("GET /?x=%0d%0aVary:%20a", &[]), page(&[("vary", "accept-encoding")])),
        (asked("GET /", &[]), page(&[("set-cookie", "a=1; Path=/; Version=1")])),
        (
            asked("GET /", &[]),
            page(&[("content-security-policy", "default-src 'self', script-src 'self' 'report-sha256'")]),
        ),
        (
            asked("GET /", &[]),
            page(&[("set-cookie", "a=1"), ("cache-control", "public, max-age=60, no-cache=\"Set-Cookie\"")]),
        ),
        (asked("GET /", &[]), page(&[("set-cookie", "a=1"), ("cache-control", "public, private=\"x-a, set-cookie\"")])),
        (asked("GET /", &[]), page(&[("cache-control", "max-age=60"), ("cache-control", "max-age=60")])),
        (asked("GET /", &[]), page(&[("cache-control", "must-understand, no-store, max-age=60")])),
        (asked("GET /", &[]), page(&[("vary", "*, accept")])),
        (asked("GET /", &[]), page(&[("vary", "accept"), ("vary", "Accept")])),
        (asked("POST /", &[gzip]), page(&[("content-encoding", "gzip")])),
        (asked("OPTIONS /", &[gzip]), page(&[("content-encoding", "gzip")])),
        (
            asked("GET /", &[("origin", "https://a.example")]),
            page(&[("access-control-allow-origin", "https://a.example")]),
        ),
        (asked("GET /", &[]), page(&[("content-type", "text/javascript")])),
        (asked("GET /", &[]), page(&[("content-type", "text/vtt")])),
        (asked("GET /", &[]), answer(200, &[("content-type", "text/html")], "<!doctype html><meta charset=utf-8>")),
        (asked("HEAD /", &[]), answer(200, &[("content-type", "text/html")], ())),
        (asked("GET /", &[("host", "localhost:8000")]), page(&[("strict-transport-security", "max-age=60")])),
        (asked("GET /", &[("host", "[::1]")]), page(&[("strict-transport-security", "max-age=60")])),
        (
            asked("GET /", &[("host", "a.example"), ("x-forwarded-proto", "https")]),
            page(&[("strict-transport-security", "max-age=60")]),
        ),
        (
            asked("GET /", &[]),
            page(&[(
                "content-security-policy",
                "default-src 'self'; script-src 'nonce-abc' 'strict-dynamic' https:; img-src data: *.example:*; \
             frame-ancestors 'none'; upgrade-insecure-requests",
            )]),
        ),
    ];
    for (request, response) in table {
        let said = format!("{request:?}\n{response:?}");
        assert_eq!(found(request, response).await, [""; 0], "{said}");
    }
}

#[test]
fn a_secure_cookie_comes_by_https_or_from_the_own_machine() {
    use purlin::lint::{Asked, Side, check};
    let found = |host: &str, more: &[(&str, &str)]| {
        let asked = Asked::by(&asked("GET /", &[&[("host", host)], more].concat()));
        let answer = page(&[("set-cookie", "a=1; Secure"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        check(&asked, &answer, Side::Outside).iter().map(|violation| violation.rule().id).collect::<Vec<_>>()
    };
    assert_eq!(found("shop.example", &[]), ["set-cookie-refused"]);
    assert_eq!(found("notlocalhost", &[]), ["set-cookie-refused"]);
    assert_eq!(found("shop.example", &[("forwarded", "proto=https")]), [""; 0]);
    for own in ["localhost:8000", "shop.localhost", "127.0.0.1:80", "127.1.2.3", "[::1]:8000"] {
        assert_eq!(found(own, &[]), [""; 0], "{own}");
    }
}

#[test]
fn what_an_rfc_must_not_have_is_an_error_and_its_advice_a_warning() {
    let errors =
        ["condition-ignored", "date-missing", "last-modified-future", "not-modified-lost-headers", "vary-syntax"];
    let warnings = [
        "cached-cookie",
        "content-range-unexpected",
        "location-missing",
        "nosniff-without-type",
        "range-length-missing",
        "set-cookie-syntax",
        "vary-missing",
    ];
    for (ids, severity) in [(&errors[..], Severity::Error), (&warnings[..], Severity::Warning)] {
        for id in ids {
            assert_eq!(purlin::lint::rule(id).unwrap().severity, severity, "{id}");
        }
    }
}

#[test]
fn what_is_asked_is_noted_without_what_it_tells_of_the_visitor() {
    let asked = asked("GET /page?token=hunter2", &[("cookie", "id=hunter2"), ("authorization", "Bearer hunter2")]);
    assert_eq!(format!("{:?}", purlin::lint::Asked::by(&asked)), "Asked(GET /page)");
}

/// What two of them find, one on each side of a layer, in answers by path.
async fn between(layer: impl Middleware, path: &str) -> Vec<&'static str> {
    async fn below(req: Request) -> Response {
        match req.uri().path() {
            "/cookies" => page(&[("set-cookie", "a=1"), ("vary", "cookie")]),
            "/length" => page(&[("content-length", "5")]),
            "/tag" => page(&[("etag", "\"1\"")]),
            "/piece" => {
                let mut response = page(&[("content-length", "5"), ("etag", "\"1\"")]);
                *response.body_mut() = Frames::body(vec![data("hello")]);
                response
            }
            "/broken" => answer(302, &[], ()),
            "/wrong-cookie" => page(&[("set-cookie", "a b=1")]),
            _ => Error::forbidden("no").header(purlin::header::SET_COOKIE, "tried=1".parse().unwrap()).into(),
        }
    }
    let (ids, inner) = (Ids::default(), Ids::default());
    let app = Stack::new().layer(hearing(&ids)).layer(layer).layer(hearing(&inner)).app(purlin::handler(below));
    let response = app.call(asked(&format!("GET {path}"), &[])).await;
    let _ = response.into_body().collect(1 << 20).await;
    let ids = ids.lock().unwrap();
    ids.clone()
}

async fn passes(req: Request, next: Next<'_>) -> Result<Response> {
    Ok(next.call(req).await)
}

async fn replaces_headers(req: Request, next: Next<'_>) -> Result<Response> {
    let mut response = next.call(req).await;
    response.headers_mut().insert("set-cookie", "mine=1".parse()?);
    response.headers_mut().insert("vary", "accept".parse()?);
    Ok(response)
}

async fn makes_a_new_error(req: Request, next: Next<'_>) -> Result<Response> {
    match next.call(req).await.take_error() {
        Some(_) => Err(Error::not_found("another")),
        None => Err(Error::internal("none")),
    }
}

async fn swallows_the_error(req: Request, next: Next<'_>) -> Result<Response> {
    let mut response = next.call(req).await;
    response.take_error();
    Ok(response)
}

/// Puts another body in place of the one from below, at hand or not.
async fn appends(req: Request, next: Next<'_>) -> Result<Response> {
    let mut response = next.call(req).await;
    let body = response.body_mut().take();
    *response.body_mut() = match body.as_bytes() {
        Some(bytes) => Body::from([bytes, &b"!"[..]].concat()),
        None => Frames::body(vec![data("hello"), data("!")]),
    };
    if response.body().as_bytes().is_none() {
        body.collect(100).await?;
    }
    Ok(response)
}

async fn encodes(req: Request, next: Next<'_>) -> Result<Response> {
    let mut response = next.call(req).await;
    response.headers_mut().insert("content-encoding", "gzip".parse()?);
    Ok(response)
}

#[tokio::test]
async fn two_of_them_tell_what_the_layer_between_lost_or_changed() {
    assert_eq!(between(replaces_headers, "/cookies").await, ["layer-lost-cookie", "layer-lost-vary"]);
    assert_eq!(between(makes_a_new_error, "/fails").await, ["layer-lost-headers"]);
    assert_eq!(between(swallows_the_error, "/fails").await, ["layer-lost-error"]);
    assert_eq!(between(appends, "/length").await, ["layer-kept-length"]);
    assert_eq!(between(appends, "/tag").await, ["etag-kept"]);
    assert_eq!(between(appends, "/piece").await, ["layer-kept-length", "etag-kept"]);
    assert_eq!(between(encodes, "/tag").await, ["etag-kept"]);
    assert_eq!(between(ErrorPages::new(), "/fails").await, [""; 0]);
    for path in ["/cookies", "/length", "/tag", "/piece", "/fails"] {
        assert_eq!(between(passes, path).await, [""; 0], "{path}");
    }
}

#[tokio::test]
async fn the_outer_one_keeps_silent_on_what_was_broken_further_in() {
    assert_eq!(between(passes, "/broken").await, [""; 0]);
}

/// Says something wrong of its own, of the kind that was wrong before.
async fn sets_another_cookie(req: Request, next: Next<'_>) -> Result<Response> {
    let mut response = next.call(req).await;
    response.headers_mut().append("set-cookie", "b; c=1".parse()?);
    Ok(response)
}

#[tokio::test]
async fn the_outer_one_says_a_second_violation_of_the_same_rule() {
    assert_eq!(between(sets_another_cookie, "/wrong-cookie").await, ["set-cookie-syntax"]);
}

#[tokio::test]
async fn an_application_that_was_passed_over_is_not_compared_with_the_one_that_answered() {
    let lost = Ids::default();
    let first = |lint: &Ids| {
        Stack::new().layer(hearing(lint)).app(purlin::handler(async || {
            Error::not_found("not here").header("x-first".parse().unwrap(), "1".parse().unwrap())
        }))
    };
    let app = purlin::Cascade::new().app(first(&Ids::default())).app(Router::new());
    let app = Stack::new().layer(hearing(&lost)).app(app);
    assert_eq!(app.call(asked("GET /", &[])).await.status(), 404);
    assert_eq!(*lost.lock().unwrap(), [""; 0]);
    // What the one that answered saw is compared.
    let app = purlin::Cascade::new().app(Router::new()).app(first(&Ids::default()));
    let app = Stack::new().layer(hearing(&lost)).layer(loses_a_header).app(app);
    assert_eq!(app.call(asked("GET /", &[])).await.status(), 404);
    assert_eq!(*lost.lock().unwrap(), ["layer-lost-headers"]);
}

async fn loses_a_header(req: Request, next: Next<'_>) -> Result<Response> {
    let mut response = next.call(req).await;
    response.headers_mut().remove("x-first");
    Ok(response)
}

/// What a `Lint` finds in an answer of a server, which reads a body as far as its length says.
async fn served(
    headers: &'static [(&'static str, &'static str)],
    pieces: &'static [&'static str],
) -> Vec<&'static str> {
    let ids = Ids::default();
    let page = async move || {
        let pieces = pieces.to_vec();
        answer(200, headers, Body::stream(Pieces(pieces.into_iter())))
    };
    let app = Stack::new().layer(hearing(&ids)).app(Router::new().route("/", get(page)));
    let server = purlin::Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let client = Client::connect(&format!("http://{}", server.addresses()[0])).lint(false);
    let served = tokio::spawn(server.serve(app, std::future::pending()));
    let _ = tokio::spawn(client.get("/").into_future()).await;
    served.abort();
    let ids = ids.lock().unwrap();
    ids.clone()
}

#[tokio::test]
async fn a_server_that_stops_at_the_told_length_hides_nothing() {
    const HEAD: &[(&str, &str)] = &[("content-type", "image/png"), ("content-length", "5")];
    assert_eq!(served(HEAD, &["he", "llo"]).await, [""; 0]);
    assert_eq!(served(HEAD, &["hello, world"]).await, ["content-length-wrong"]);
    assert_eq!(served(HEAD, &["he", "llo", ", world"]).await, ["content-length-wrong"]);
    assert_eq!(served(HEAD, &["hell"]).await, ["content-length-wrong"]);
}

/// A body that knows when it has ended, and is asked no further.
#[tokio::test]
async fn a_body_that_says_that_it_has_ended_is_whole() {
    struct Short(bool);
    impl http_body::Body for Short {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            Poll::Ready(std::mem::take(&mut self.0).then(|| Ok(data("hell"))))
        }

        fn is_end_stream(&self) -> bool {
            !self.0
        }
    }
    for (last, expected) in [(data("hell"), "content-length-wrong"), (trailers("x-sum"), "content-length-wrong")] {
        let (ids, mut response) = (Ids::default(), page(&[("content-length", "5"), ("trailer", "x-sum")]));
        *response.body_mut() = if last.is_data() { Body::new(Short(true)) } else { Frames::body(vec![last]) };
        let app = Stack::new().layer(hearing(&ids)).app(Once(Mutex::new(Some(response))));
        let mut body = app.call(asked("GET /", &[])).await.into_body();
        body.frame().await.unwrap().unwrap();
        assert_eq!(*ids.lock().unwrap(), [expected]);
    }
}

#[tokio::test]
async fn a_body_that_is_asked_on_and_on_is_said_once() {
    let (ids, mut response) = (Ids::default(), page(&[]));
    *response.body_mut() = Frames::body(vec![data("hello")]);
    let app = Stack::new().layer(hearing(&ids)).layer(Lint::new().always()).app(Once(Mutex::new(Some(response))));
    let mut body = app.call(asked("GET /", &[])).await.into_body();
    for _ in 0..1000 {
        let _ = body.frame().await;
    }
    // The inner one has said it, and the outer one nothing.
    assert_eq!(*ids.lock().unwrap(), [""; 0]);
    let app = Stack::new().layer(hearing(&ids)).app(purlin::handler(async || Frames::body(vec![data("hello")])));
    let mut body = app.call(asked("GET /", &[])).await.into_body();
    for _ in 0..1000 {
        let _ = body.frame().await;
    }
    assert_eq!(*ids.lock().unwrap(), ["content-type-missing", "body-polled-after-end"]);
}

async fn polled(frames: Vec<Option<Result<Frame<Bytes>>>>) -> Vec<&'static str> {
    let (ids, mut response) = (Ids::default(), page(&[]));
    let polls = frames.len() + 1;
    *response.body_mut() = Body::new(Frames { frames: frames.into_iter(), hint: None });
    let app = Stack::new().layer(hearing(&ids)).app(Once(Mutex::new(Some(response))));
    let mut body = app.call(asked("GET /", &[])).await.into_body();
    for _ in 0..polls {
        let _ = body.frame().await;
    }
    let ids = ids.lock().unwrap();
    ids.clone()
}

#[tokio::test]
async fn a_body_is_asked_no_further_than_its_end() {
    assert_eq!(polled(vec![Some(Ok(data("hello")))]).await, [""; 0]);
    assert_eq!(polled(vec![Some(Ok(data("hello"))), None]).await, ["body-polled-after-end"]);
    assert_eq!(polled(vec![Some(Err(Error::internal("disk gone")))]).await, ["body-polled-after-error"]);
}

/// Pieces with an error among them.
struct Pieces(std::vec::IntoIter<&'static str>);

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))))
    }
}

#[tokio::test]
async fn what_only_logs_changes_nothing() {
    for layer in [None, Some(Lint::new().always())] {
        let routes = Router::new()
            .route("/whole", get(async || answer(200, &[("content-length", "9"), ("x-a", "1")], "hello")))
            .route("/pieces", get(async || Body::stream(Pieces(vec!["a", "b"].into_iter()))))
            .route("/moved", get(async || StatusCode::FOUND));
        let app = Stack::new().layer(layer).app(routes);
        let whole = app.call(asked("GET /whole", &[])).await;
        assert_eq!(whole.headers().len(), 2);
        assert_eq!(whole.body().as_bytes().unwrap(), "hello", "a body at hand stays at hand");
        let pieces = app.call(asked("GET /pieces", &[])).await;
        assert_eq!(pieces.body().len(), None);
        assert_eq!(pieces.into_body().collect(10).await.unwrap(), "ab");
        assert_eq!(app.call(asked("GET /moved", &[])).await.status(), 302);
    }
}

#[tokio::test]
async fn each_violation_of_a_route_is_logged_once_and_a_hundred_at_most() {
    let lines = crate::access_log::Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = Stack::new().layer(Lint::new().always()).app(purlin::handler(async || StatusCode::FOUND));
    for _ in 0..3 {
        app.call(asked("GET /old?a=b", &[])).await;
    }
    let once = lines.text();
    assert_eq!(once.matches("location-missing: GET /old: 302").count(), 1, "{once}");
    assert_eq!(once.lines().count(), 1, "{once}");
    for number in 0..200 {
        app.call(asked(&format!("GET /{number}"), &[])).await;
    }
    let all = lines.text();
    assert_eq!(all.lines().count(), 101, "{all}");
    assert!(all.lines().last().unwrap().contains("more than 100 violations: no others are logged"), "{all}");
}

#[tokio::test]
async fn a_violation_of_a_known_route_is_logged_once_for_all_its_paths() {
    let lines = crate::access_log::Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fails = async || -> Result<()> { Err(Error::new(StatusCode::UNAUTHORIZED, "who?")) };
    let app = Stack::new().layer(Lint::new().always()).app(Router::new().route("/{id}", get(fails)));
    for number in 0..5 {
        app.call(asked(&format!("GET /{number}"), &[])).await;
    }
    assert_eq!(lines.text().lines().count(), 1, "{}", lines.text());
}

#[tokio::test]
async fn a_violation_can_be_a_500() {
    let routes = Router::new()
        .route("/moved", get(async || StatusCode::FOUND))
        .route("/piece", get(async || answer(200, &[("content-length", "9")], Frames::body(vec![data("hello")]))))
        .route("/", get(async || "hello"));
    let app = Stack::new().layer(Lint::new().always().fail()).layer(Lint::new().always()).app(routes);
    let response = app.call(asked("GET /moved", &[])).await;
    assert_eq!(response.status(), 500);
    let message = response.error().unwrap().message().to_owned();
    assert!(message.starts_with("warning location-missing: GET /moved: 302: a redirect says"), "{message}");
    let body = app.call(asked("GET /piece", &[])).await.into_body();
    assert!(body.collect(100).await.unwrap_err().message().contains("content-type-missing"));
    assert_eq!(app.call(asked("GET /", &[])).await.status(), 200);
}

#[tokio::test]
async fn a_rule_can_be_allowed_by_its_id() {
    let app = |id: &str| {
        let lint = Lint::new().always().fail().allow(id);
        Stack::new().layer(lint).app(Router::new().route("/moved", get(async || StatusCode::FOUND)))
    };
    assert_eq!(app("location-missing").call(asked("GET /moved", &[])).await.status(), 302);
    let failed = tokio::spawn(async move { drop(Client::new(app("locaton-missing"))) }).await.unwrap_err();
    let said = *failed.into_panic().downcast::<String>().unwrap();
    assert!(said.contains("there is no rule `locaton-missing`: did you mean `location-missing`?"), "{said}");
}

#[tokio::test]
async fn the_testing_client_fails_a_test_by_it() {
    let routes =
        || Router::new().route("/moved", get(async || StatusCode::FOUND)).route("/", get(async || html("<p>")));
    let client = Client::new(Stack::new().app(routes()));
    client.get("/").await;
    let asking = client.clone();
    let failed = tokio::spawn(async move { asking.get("/moved").await }).await.unwrap_err();
    let said = *failed.into_panic().downcast::<String>().unwrap();
    assert!(
        said.starts_with("warning location-missing: GET /moved: 302: a redirect says in `Location` where to"),
        "{said}"
    );
    assert!(said.contains("a client that lets it pass says `.allow(\"location-missing\")`"), "{said}");
    assert!(said.contains("tests/lint.rs"), "{said}");
    let page = client.clone().allow("location-missing").get("/moved").await;
    assert_eq!(page.violations()[0].found(), "no location");
    client.lint(false).get("/moved").await;
}

#[test]
fn no_secret_is_told() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let heard = ids.clone();
    let lint = Lint::new().always().call(move |violation| heard.lock().unwrap().push(violation.to_string()));
    let response = answer(302, &[("set-cookie", "sid=hunter2 hunter2"), ("location", "/a b?token=hunter2")], ());
    let app = Stack::new().layer(lint).app(Once(Mutex::new(Some(response))));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(app.call(asked("GET /?password=hunter2", &[])));
    let said = ids.lock().unwrap().join("\n");
    assert!(said.contains("set-cookie-syntax") && said.contains("location-syntax"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

/// Those that look at two places, or at a reader; broken in the tests around.
const AROUND: [&str; 8] = [
    "body-polled-after-end",
    "body-polled-after-error",
    "etag-kept",
    "layer-kept-length",
    "layer-lost-cookie",
    "layer-lost-error",
    "layer-lost-headers",
    "layer-lost-vary",
];

#[test]
fn every_rule_has_a_test_that_breaks_it() {
    let outside = answering().into_iter().flat_map(|(ids, _)| ids.iter().copied());
    let tested: BTreeSet<&str> = planted().iter().map(|(id, ..)| *id).chain(outside).chain(AROUND).collect();
    let all: BTreeSet<&str> = rules().map(|rule| rule.id).collect();
    assert_eq!(all, tested);
    assert_eq!(all.len(), rules().count(), "an id is there twice");
}

#[test]
fn a_rule_says_what_to_do_and_where_it_comes_from() {
    for rule in rules() {
        assert!(rule.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
        assert!(rule.says.len() > 30 && !rule.says.ends_with('.'), "{}", rule.id);
        assert!(!rule.source.is_empty());
    }
    assert!(Severity::Error > Severity::Warning);
    assert!(rules().is_sorted_by_key(|rule| rule.id));
}

/// What the lint finds from outside in a server that answers so, each id once.
async fn outside(answer: fn(&str) -> String) -> BTreeSet<&'static str> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/page", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 1000];
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) => request.extend_from_slice(&piece[..length]),
                }
            }
            let _ = stream.write_all(answer(&String::from_utf8(request).unwrap()).as_bytes()).await;
        }
    });
    let broken = purlin::testing::lint(&address).await.unwrap();
    server.abort();
    broken.iter().map(|violation| violation.rule().id).collect()
}

const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn sent(request: &str, status: &str, headers: &str, body: &str) -> String {
    let typed = if body.is_empty() { "" } else { "content-type: text/plain; charset=utf-8\r\n" };
    let length = if status.starts_with("304") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let body = if request.starts_with("HEAD ") { "" } else { body };
    format!("HTTP/1.1 {status}\r\n{DATE}{typed}{length}{headers}\r\n{body}")
}

fn good(request: &str, headers: &str) -> String {
    match request.split(' ').next() {
        Some("PURLIN-LINT") => sent(request, "501 Not Implemented", "", ""),
        _ if request.contains("if-none-match: \"1\"") => sent(request, "304 Not Modified", headers, ""),
        _ => sent(request, "200 OK", headers, "hello"),
    }
}

/// What is found, in a server that answers its requests so.
type Case = (&'static [&'static str], fn(&str) -> String);

/// What only several answers show, or a connection.
fn answering() -> Vec<Case> {
    vec![
        (&[], |request| good(request, "")),
        (&[], |request| good(request, "etag: \"1\"\r\nvary: accept-encoding\r\n")),
        (&["answer-unreadable"], |_| "HTTP/1.1 200 OK\r\nno colon\r\n\r\n".to_owned()),
        (&["body-after-head"], |request| good(request, "") + if request.starts_with("HEAD ") { "hello" } else { "" }),
        (&["condition-ignored"], |request| good(&request.replace("if-none-match", "x"), "etag: \"1\"\r\n")),
        (&["content-length-and-transfer-encoding"], |request| match request.starts_with("OPTIONS ") {
            true => good(request, "transfer-encoding: chunked\r\n").replace("hello", "5\r\nhello\r\n0\r\n\r\n"),
            false => good(request, ""),
        }),
        (&["content-length-wrong"], |request| good(request, "").replace("hello", "hell")),
        (&["content-length-wrong"], |request| {
            good(request, "") + if request.starts_with("GET ") { "behind" } else { "" }
        }),
        (&["content-length-wrong"], |request| match request.starts_with("HEAD ") {
            true => good(request, "").replace("content-length: 5", "content-length: 6"),
            false => good(request, ""),
        }),
        (&["date-missing"], |request| good(request, "").replace(DATE, "")),
        (&["etag-of-two-codings"], |request| match request.contains("br") {
            true => good(request, "etag: \"1\"\r\nvary: accept-encoding\r\ncontent-encoding: gzip\r\n"),
            false => good(request, "etag: \"1\"\r\nvary: accept-encoding\r\n"),
        }),
        (&["head-differs"], |request| good(request, if request.starts_with("HEAD ") { "" } else { "x-a: 1\r\n" })),
        (&["header-injection"], |request| {
            let lines = request.split("\r\n").next().unwrap();
            let injected = lines.contains("%0d%0a").then_some("x-purlin-lint: injected\r\n");
            good(request, injected.unwrap_or_default())
        }),
        (&["not-modified-lost-headers"], |request| match request.contains("if-none-match") {
            true => good(request, "etag: \"1\"\r\n"),
            false => good(request, "etag: \"1\"\r\ncache-control: no-cache\r\n"),
        }),
        // By the server's own clock.
        (&["last-modified-future"], |request| good(request, "last-modified: Mon, 07 Nov 1994 08:49:37 GMT\r\n")),
        (&["trailer-forbidden", "trailer-undeclared"], |request| match request.starts_with("GET ") {
            true => good(request, "transfer-encoding: chunked\r\n")
                .replace("content-length: 5\r\n", "")
                .replace("hello", "5\r\nhello\r\n0\r\ncontent-type: text/plain\r\nx-sum: 1\r\n\r\n"),
            false => good(request, ""),
        }),
        (&["unknown-method-accepted"], |request| good(&request.replace("PURLIN-LINT", "GET"), "")),
        (&["vary-missing"], |request| {
            let origin = request.lines().find_map(|line| line.strip_prefix("origin: "));
            let shared = origin.map(|origin| format!("access-control-allow-origin: {origin}\r\n"));
            good(request, &shared.unwrap_or_default())
        }),
        (&[], |request| good(request, "access-control-allow-origin: https://one.purlin-lint.example\r\n")),
        (&["vary-missing"], |request| match request.contains("accept: application/json") {
            true => good(request, "").replace("text/plain; charset=utf-8", "application/json"),
            false => good(request, ""),
        }),
    ]
}

#[tokio::test]
async fn a_server_is_held_against_the_same_rules_from_outside() {
    for (at, (expected, answer)) in answering().into_iter().enumerate() {
        assert_eq!(outside(answer).await, expected.iter().copied().collect(), "row {at}");
    }
}

#[tokio::test]
async fn of_a_body_without_an_end_the_beginning_is_looked_at() {
    struct Events(bool);
    impl Stream for Events {
        type Item = Result<Bytes>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match std::mem::take(&mut self.0) {
                true => Poll::Ready(Some(Ok(Bytes::from_static(b"data: 1\n\n")))),
                false => Poll::Pending,
            }
        }
    }
    let events = async || answer(200, &[("content-type", "text/event-stream")], Body::stream(Events(true)));
    let server = purlin::Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = format!("http://{}/", server.addresses()[0]);
    let app = Stack::new().app(Router::new().route("/", get(events)));
    let served = tokio::spawn(server.serve(app, std::future::pending()));
    let asked = purlin::testing::lint(&address);
    let broken = tokio::time::timeout(std::time::Duration::from_secs(10), asked).await.expect("in less than 10 s");
    assert_eq!(broken.unwrap(), []);
    served.abort();
}

#[tokio::test]
async fn nothing_is_found_in_the_layers_of_a_site_behind_a_server() {
    use purlin::layers::{AccessLog, RequestIds, SecurityHeaders, Sessions, StaticFiles};
    use purlin::session::MemoryStore;
    async fn fails() -> Result<&'static str> {
        Err(Error::internal("the cellar is flooded"))
    }
    async fn long() -> Response {
        html("<p>The quick brown fox jumps over the lazy dog.</p>\n".repeat(100))
    }
    let routes = Router::new()
        .route("/", get(long))
        .route("/moved", get(async || purlin::Redirect::see_other("/")))
        .route("/fails", get(fails))
        .route("/json", get(async || purlin::Json([1, 2, 3])));
    let app = Stack::new().layer(RequestIds::new()).layer(AccessLog::new());
    #[cfg(feature = "compression")]
    let app = app.layer(purlin::layers::Compression::new());
    let app = app
        .layer(SecurityHeaders::new())
        .layer(ErrorPages::new())
        .layer(StaticFiles::new(purlin::Assets::folder("examples")))
        .layer(Sessions::new(MemoryStore::new()))
        .app(routes);
    let server = purlin::Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = server.addresses()[0].to_string();
    let served = tokio::spawn(server.serve(app, std::future::pending()));
    for path in ["/", "/moved", "/fails", "/json", "/missing", "/static/replace_a_layer.html"] {
        let broken = purlin::testing::lint(&format!("http://{address}{path}")).await.unwrap();
        assert!(broken.is_empty(), "{path}: {broken:#?}");
    }
    served.abort();
}

#[tokio::test]
async fn an_address_that_cannot_be_asked_is_an_error() {
    let said = purlin::testing::lint("https://example.org").await.unwrap_err();
    assert!(said.message().contains("expected an address as http://127.0.0.1:8000"), "{said}");
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let said = purlin::testing::lint(&format!("http://{gone}")).await.unwrap_err();
    assert!(format!("{said:#}").contains(&format!("connecting to {gone}")), "{said:#}");
}

#[test]
fn a_violation_is_json_too() {
    let asked = purlin::lint::Asked::by(&asked("GET /old?a=b", &[]));
    let broken = purlin::lint::check(&asked, &answer(302, &[], ()), purlin::lint::Side::Inside);
    let json = serde_json::to_value(&broken[0]).unwrap();
    assert_eq!(json["rule"], "location-missing");
    assert_eq!(json["asked"], "GET /old: 302");
    assert_eq!(json["severity"], "warning");
    assert_eq!(json["source"], "RFC 9110 §15.4");
    assert_eq!(json["found"], "no location");
}

#[test]
fn the_documented_rules_are_those_of_the_code() {
    let page = include_str!("../docs/layers.md");
    let written: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let known: Vec<String> = rules()
        .map(|rule| format!("| `{}` | {} | {} | {} |", rule.id, rule.severity, rule.source, rule.says))
        .collect();
    assert!(written == known, "the table of docs/layers.md is to be:\n{}", known.join("\n"));
}
