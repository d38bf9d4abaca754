//! `Traces`: spans of requests, which trace they are part of, and how they reach a collector.

use purlin::config::{Loader, TracesConfig};
use purlin::layers::{AccessLog, Blocking, RequestIds, Traces, TrustedProxies, When};
use purlin::report::Redaction;
use purlin::site::Life;
use purlin::testing::Client;
use purlin::trace_context::TraceContext;
use purlin::traces::opentelemetry;
use purlin::traces::opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use purlin::traces::opentelemetry_sdk::error::OTelSdkResult;
use purlin::traces::opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData};
use purlin::traces::{self, Kept};
use purlin::{
    Body, Bytes, Error, HeaderValue, IntoResponse, Method, Request, Response, Result, Router, Server, Service, Stack,
    StatusCode, get, handler, header, http,
};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tracing::Instrument;
use tracing_subscriber::prelude::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a handler knows of the trace that it is in.
async fn here() -> String {
    traces::current().map_or_else(|| "none".to_owned(), |here| format!("{} {}", here.traceparent(), here.state))
}

fn routes() -> Router {
    async fn fails() -> Result<()> {
        let error = "seven".parse::<u8>().unwrap_err();
        Err(Error::from(error).context("signing in with password=hunter2"))
    }
    async fn refuses() -> Result<()> {
        Err(Error::not_found("no such page"))
    }
    async fn panics() -> &'static str {
        panic!("out of cheese")
    }
    async fn slow() {
        std::future::pending().await
    }
    async fn stream() -> Response {
        streamed(vec![Ok("one "), Ok("two")])
    }
    async fn breaks() -> Response {
        streamed(vec![Ok("one "), Err("the disk is gone")])
    }
    let posts = Router::new().route("/{id}", get(async || "a post").post(async || "an answer"));
    Router::new()
        .route("/", get(async || "front"))
        .route("/here", get(here))
        .route("/fails", get(fails))
        .route("/refuses", get(refuses))
        .route("/panics", get(panics))
        .route("/slow", get(slow))
        .route("/stream", get(stream))
        .route("/breaks", get(breaks))
        .mount("/posts", posts)
        .mount("/else", handler(async || "where"))
}

fn streamed(pieces: Vec<Result<&'static str, &'static str>>) -> Response {
    let mut response = Body::stream(Pieces(pieces.into_iter())).into_response();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

struct Pieces(std::vec::IntoIter<Result<&'static str, &'static str>>);

impl futures_core::Stream for Pieces {
    type Item = Result<Bytes, Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let piece = self.0.next();
        std::task::Poll::Ready(piece.map(|piece| piece.map(Bytes::from).map_err(Error::internal)))
    }
}

fn traced(kept: &Kept, app: impl Service + 'static) -> impl Service + 'static {
    Stack::new().layer(Traces::with_provider(kept.provider())).app(app)
}

fn client(kept: &Kept) -> Client {
    Client::new(traced(kept, routes())).expect_errors()
}

fn one(kept: &Kept) -> SpanData {
    let mut spans = kept.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    spans.remove(0)
}

fn named(kept: &Kept, name: &str) -> SpanData {
    let spans = kept.spans();
    let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
    spans.into_iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} among {names:?}"))
}

fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    span.attributes.iter().map(|known| (known.key.to_string(), known.value.to_string())).collect()
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    attributes(span).remove(name)
}

fn is_error(span: &SpanData) -> bool {
    matches!(span.status, Status::Error { .. })
}

fn request(path: &str) -> Request {
    let mut req = Request::default();
    *req.uri_mut() = path.parse().unwrap();
    req
}

#[tokio::test]
async fn a_request_is_a_span_by_the_semantic_conventions() {
    let kept = Kept::new();
    let app = Stack::new()
        .layer(TrustedProxies::new().network("127.0.0.1/32"))
        .layer(Traces::with_provider(kept.provider()).redact(Redaction::new().also(["diagnosis"])))
        .app(routes());
    Client::new(app)
        .base_url("http://shop.example.org:8080")
        .get("/posts/7?page=2&token=abc&diagnosis=x")
        .header("user-agent", "curl/8")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "https")
        .await;
    let span = one(&kept);
    assert_eq!((&*span.name, span.span_kind.clone()), ("GET /posts/{id}", SpanKind::Server));
    assert_eq!((span.parent_span_id, span.status.clone()), (SpanId::INVALID, Status::Unset));
    let expected = [
        ("client.address", "203.0.113.9"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/posts/{id}"),
        ("network.protocol.version", "1.1"),
        ("server.address", "shop.example.org"),
        ("server.port", "8080"),
        ("url.path", "/posts/7"),
        ("url.query", "page=2&token=REDACTED&diagnosis=REDACTED"),
        ("url.scheme", "https"),
        ("user_agent.original", "curl/8"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(attributes(&span), BTreeMap::from(expected));
    assert!(span.end_time >= span.start_time);
}

#[tokio::test]
async fn names_are_as_few_as_the_routes() {
    let kept = Kept::new();
    let client = client(&kept);
    for (method, path) in [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/posts/1"),
        ("POST", "/posts/2"),
        ("GET", "/none"),
        ("GET", "/posts/1/2"),
        ("GET", "/else/a/b"),
        ("BREW", "/"),
        ("STEEP", "/.env"),
    ] {
        client.request(Method::from_bytes(method.as_bytes()).unwrap(), path).await;
    }
    let spans = kept.spans();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    let expected =
        ["GET /", "HEAD /", "GET /posts/{id}", "POST /posts/{id}", "GET", "GET", "GET /else/*", "HTTP /", "HTTP"];
    assert_eq!(names, expected);
    assert_eq!(attribute(&spans[4], "http.route"), None);
    assert_eq!(attribute(&spans[7], "http.request.method").unwrap(), "_OTHER");
    assert_eq!(attribute(&spans[7], "http.request.method_original").unwrap(), "BREW");
}

#[tokio::test]
async fn what_clients_send_is_cut() {
    let kept = Kept::new();
    let long = "ä".repeat(3000);
    client(&kept)
        .get(&format!("/{}?q={}", "x".repeat(9000), "y".repeat(9000)))
        .header("user-agent", "a".repeat(9000))
        .header("x-other", long)
        .await;
    let span = one(&kept);
    for name in ["url.path", "url.query", "user_agent.original"] {
        assert_eq!(attribute(&span, name).unwrap().len(), 2048, "{name}");
    }
}

#[tokio::test]
async fn a_trace_goes_on_where_the_headers_say_and_begins_where_they_are_wrong() {
    let table = [
        (PARENT, true),
        ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("nonsense", false),
    ];
    for (parent, goes_on) in table {
        let kept = Kept::new();
        client(&kept).get("/").header("traceparent", parent).header("tracestate", "a=1, b=2").await;
        let span = one(&kept);
        let (trace, state) = (span.span_context.trace_id(), span.span_context.trace_state().header());
        assert_ne!(trace, TraceId::INVALID);
        if goes_on {
            assert_eq!(trace.to_string(), "0af7651916cd43dd8448eb211c80319c", "{parent}");
            assert_eq!((span.parent_span_id.to_string().as_str(), &*state), ("b7ad6b7169203331", "a=1,b=2"));
            assert!(span.parent_span_is_remote);
        } else {
            assert_ne!(trace.to_string().to_lowercase(), "0af7651916cd43dd8448eb211c80319c", "{parent}");
            assert_eq!((span.parent_span_id, &*state), (SpanId::INVALID, ""), "{parent}");
        }
    }
}

#[tokio::test]
async fn a_trace_that_is_not_recorded_stays_so_and_is_known_all_the_same() {
    let kept = Kept::new();
    let client = client(&kept);
    let parent = PARENT.replace("-01", "-00");
    let page = client.get("/here").header("traceparent", &parent).header("tracestate", "a=1").await;
    assert!(kept.spans().is_empty());
    let (here, state) = page.text().split_once(' ').unwrap();
    assert!(here.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && here.ends_with("-00"), "{here}");
    assert_eq!(state, "a=1");
}

#[tokio::test]
async fn a_member_of_the_state_that_cannot_be_kept_leaves_the_others() {
    let state = "a=1,tenant@abcdefghijklmn=2,tenant@short=3";
    let page = client(&Kept::new()).get("/here").header("traceparent", PARENT).header("tracestate", state).await;
    let (_, kept) = page.text().split_once(' ').unwrap();
    assert!(kept.starts_with("a=1,") && kept.ends_with("tenant@short=3"), "{kept}");
}

#[tokio::test]
async fn for_strangers_each_trace_begins_here_with_a_link_to_theirs() {
    let kept = Kept::new();
    let app = Stack::new().layer(Traces::with_provider(kept.provider()).public(true)).app(routes());
    let unrecorded = PARENT.replace("-01", "-00");
    Client::new(app).get("/").header("traceparent", &unrecorded).await;
    let span = one(&kept);
    assert_ne!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_eq!(span.links.len(), 1);
    assert_eq!(span.links[0].span_context.span_id().to_string(), "b7ad6b7169203331");
}

#[tokio::test]
async fn from_500_on_a_span_is_an_error_which_tells_the_cause_and_no_secret() {
    let kept = Kept::new();
    let client = client(&kept);
    client.get("/refuses").expect_status(404).await;
    client.get("/fails").expect_status(500).await;
    client.get("/panics").expect_status(500).await;
    let spans = kept.spans();
    assert_eq!(spans.iter().map(is_error).collect::<Vec<_>>(), [false, true, true]);
    let kinds: Vec<_> = spans.iter().map(|span| attribute(span, "error.type")).collect();
    assert_eq!(kinds, [None, Some("core::num::error::ParseIntError".to_owned()), Some("panic".to_owned())]);
    assert!(spans[0].events.is_empty());
    let event = &spans[1].events[0];
    let told: Vec<String> = event.attributes.iter().map(|known| format!("{}={}", known.key, known.value)).collect();
    let message = "exception.message=signing in with password=••• invalid digit found in string";
    assert_eq!(told, ["exception.type=core::num::error::ParseIntError", message]);
}

#[tokio::test]
async fn an_answer_without_an_error_has_its_status_for_a_type() {
    let kept = Kept::new();
    let app = traced(&kept, handler(async || StatusCode::BAD_GATEWAY));
    Client::new(app).expect_errors().get("/").await;
    let span = one(&kept);
    assert_eq!((is_error(&span), attribute(&span, "error.type").unwrap()), (true, "502".to_owned()));
}

#[tokio::test]
async fn a_span_ends_with_the_body_and_not_with_the_head() {
    for is_read in [true, false] {
        for (path, name) in [("/stream", "GET /stream"), ("/", "GET /")] {
            let kept = Kept::new();
            let app = traced(&kept, routes());
            let _life = Life::start(&app).unwrap();
            let response = app.call(request(path)).await;
            assert!(kept.spans().is_empty(), "{path}");
            if is_read {
                response.into_body().collect(100).await.unwrap();
            } else {
                drop(response);
            }
            assert_eq!(one(&kept).name, name);
        }
    }
    // Nothing is to come.
    let kept = Kept::new();
    let app = traced(&kept, handler(async || StatusCode::NO_CONTENT));
    let _response = app.call(request("/")).await;
    assert_eq!(one(&kept).name, "GET");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let kept = Kept::new();
    let app = traced(&kept, routes());
    let response = app.call(request("/breaks")).await;
    response.into_body().collect(100).await.unwrap_err();
    let span = one(&kept);
    assert!(is_error(&span));
    assert_eq!(attribute(&span, "http.response.status_code").unwrap(), "200");
    assert_eq!(attribute(&span, "error.type").unwrap(), "500");
    assert!(span.events[0].attributes.iter().any(|known| known.value.as_str().contains("the disk is gone")));
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_cancelled() {
    let kept = Kept::new();
    let app = traced(&kept, routes());
    let mut call = Box::pin(app.call(request("/slow")));
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
    assert!(!polled && kept.spans().is_empty());
    drop(call);
    let span = one(&kept);
    assert_eq!(attribute(&span, "error.type").unwrap(), "cancelled");
    assert_eq!((is_error(&span), attribute(&span, "http.response.status_code")), (true, None));
}

#[tokio::test]
async fn a_panic_of_a_layer_is_an_answer_of_500_and_no_cancelled_request() {
    struct Panics;
    impl purlin::Middleware for Panics {
        async fn handle(&self, _: Request, _: &impl Service) -> Result<Response> {
            panic!("out of cheese")
        }
    }
    let kept = Kept::new();
    let app = Stack::new().layer(Traces::with_provider(kept.provider())).layer(Panics).app(routes());
    let server = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(app, std::future::pending()));
    let mut stream = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    let span = one(&kept);
    assert_eq!((is_error(&span), attribute(&span, "error.type").unwrap()), (true, "panic".to_owned()));
    assert_eq!(attribute(&span, "http.response.status_code").unwrap(), "500");
}

#[tokio::test]
async fn spans_of_handlers_are_parts_of_the_requests() {
    let _log = tracing_subscriber::registry().with(traces::spans()).set_default();
    let kept = Kept::new();
    async fn order() -> String {
        let outer = async {
            tracing::info!("before");
            here().instrument(tracing::info_span!("card", amount = 7)).await
        };
        let within = outer.instrument(tracing::info_span!("order")).await;
        format!("{within} {}", here().await)
    }
    let routes = Router::new().route("/order", get(order));
    let app = Stack::new().layer(Traces::with_provider(kept.provider())).layer(AccessLog::new()).app(routes);
    let page = Client::new(app).get("/order").header("traceparent", PARENT).await;
    // Of what is not in a request, nothing is made.
    tracing::info_span!("elsewhere").in_scope(|| tracing::info!("nothing"));
    let names: Vec<_> = kept.spans().iter().map(|span| span.name.clone()).collect();
    assert_eq!(names, ["card", "order", "GET /order"]);
    let (card, order, request) = (named(&kept, "card"), named(&kept, "order"), named(&kept, "GET /order"));
    assert_eq!(card.parent_span_id, order.span_context.span_id());
    assert_eq!(order.parent_span_id, request.span_context.span_id());
    assert!(kept.spans().iter().all(|span| span.span_context.trace_id() == request.span_context.trace_id()));
    assert_eq!(attribute(&card, "amount").unwrap(), "7");
    assert_eq!((order.events.len(), &*order.events[0].name), (1, "before"));
    // Who is asked from a handler is told of the span that asks.
    let told: Vec<&str> = page.text().split_whitespace().collect();
    assert!(told[0].contains(&card.span_context.span_id().to_string()), "{told:?}");
    assert!(told[1].contains(&request.span_context.span_id().to_string()), "{told:?}");
}

#[tokio::test]
async fn who_is_asked_is_told_of_the_trace_and_of_no_state_that_is_none() {
    async fn asks() -> String {
        let mut headers = purlin::HeaderMap::new();
        headers.insert("tracestate", HeaderValue::from_static("old=1"));
        traces::tell(&mut headers);
        format!("{:?} {:?}", headers.get("traceparent"), headers.get("tracestate"))
    }
    assert_eq!(asks().await, "None Some(\"old=1\")");
    for (state, expected) in [("", "None"), ("a=1, b=2", "Some(\"a=1,b=2\")")] {
        let kept = Kept::new();
        let client = Client::new(traced(&kept, handler(asks)));
        let page = client.get("/").header("traceparent", PARENT).header("tracestate", state).await;
        let span = one(&kept).span_context.span_id();
        assert_eq!(page.text(), format!("Some(\"00-0af7651916cd43dd8448eb211c80319c-{span}-01\") {expected}"));
    }
}

#[tokio::test]
async fn in_a_trace_that_is_not_recorded_handlers_have_no_spans() {
    let _log = tracing_subscriber::registry().with(traces::spans()).set_default();
    let kept = Kept::new();
    let app = traced(&kept, handler(async || here().instrument(tracing::info_span!("inner")).await));
    let page = Client::new(app).get("/").header("traceparent", PARENT.replace("-01", "-00")).await;
    assert!(kept.spans().is_empty());
    assert!(page.text().trim_end().ends_with("-00"), "{}", page.text());
}

#[tokio::test]
async fn on_threads_that_block_the_trace_is_the_same() {
    let _log = tracing_subscriber::registry().with(traces::spans()).set_default();
    let kept = Kept::new();
    fn work() -> String {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::info_span!("work").in_scope(|| format!("{thread} {}", traces::current().unwrap().traceparent()))
    }
    let app = Stack::new()
        .layer(Traces::with_provider(kept.provider()))
        .layer(Blocking::new())
        .app(Router::new().route("/", get(work)));
    let page = Client::new(app).get("/").header("traceparent", PARENT).await;
    let (work, request) = (named(&kept, "work"), named(&kept, "GET /"));
    assert_eq!(work.parent_span_id, request.span_context.span_id());
    assert!(page.text().contains("0af7651916cd43dd8448eb211c80319c"), "{}", page.text());
    assert!(!page.text().starts_with(std::thread::current().name().unwrap()), "{}", page.text());
}

#[tokio::test]
async fn a_layer_within_another_is_a_part_of_its_span() {
    let kept = Kept::new();
    let inner = Stack::new().layer(Traces::with_provider(kept.provider())).app(routes());
    let app = traced(&kept, Router::new().mount("/shop", inner));
    Client::new(app).get("/shop/").header("traceparent", PARENT).await;
    let spans = kept.spans();
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
    assert_eq!(spans[1].parent_span_id.to_string(), "b7ad6b7169203331");
}

#[tokio::test]
async fn what_is_only_noise_goes_past_the_layer() {
    let kept = Kept::new();
    let is_told = |req: &Request| req.uri().path() != "/";
    let app = Stack::new()
        .layer(When::new("not the health check", is_told, Traces::with_provider(kept.provider())))
        .app(routes());
    let client = Client::new(app);
    client.get("/").await;
    client.get("/posts/7").await;
    assert_eq!(one(&kept).name, "GET /posts/{id}");
}

#[test]
fn the_access_log_stands_below() {
    let wrong = Stack::new().layer(AccessLog::new()).layer(Traces::new(&TracesConfig::default())).app(Router::new());
    let problem = wrong.check().unwrap_err().to_string();
    assert!(problem.contains("AccessLog") && problem.contains("Traces"), "{problem}");
    let right = Stack::new()
        .layer(RequestIds::new())
        .layer(Traces::new(&TracesConfig::default()))
        .layer(AccessLog::new())
        .app(Router::new());
    right.check().unwrap();
}

#[tokio::test]
async fn the_part_that_is_recorded_counts_for_traces_that_begin_here() {
    let kept = Kept::new();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(kept.clone())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
        .build();
    let client = Client::new(Stack::new().layer(Traces::with_provider(provider)).app(routes()));
    client.get("/").await;
    assert!(kept.spans().is_empty());
    client.get("/").header("traceparent", PARENT).await;
    assert_eq!(one(&kept).name, "GET /");
}

#[tokio::test]
async fn without_a_collector_the_trace_is_that_of_who_asks() {
    let app = Stack::new().layer(Traces::new(&TracesConfig::default())).app(routes());
    let client = Client::new(app);
    assert_eq!(client.get("/here").header("traceparent", PARENT).await.text().trim(), PARENT);
    assert_eq!(client.get("/here").await.text(), "none");
}

#[tokio::test]
async fn without_a_collector_too_strangers_are_not_believed() {
    async fn headers(req: Request) -> String {
        let told = ["traceparent", "tracestate"].map(|name| req.headers().contains_key(name));
        format!("{told:?} {}", here().await)
    }
    for (public, expected) in [(false, format!("[true, true] {PARENT} a=1")), (true, "[false, false] none".to_owned())]
    {
        let traces = Traces::new(&TracesConfig::default()).public(public);
        let app = Stack::new().layer(traces).app(handler(headers));
        let page = Client::new(app).get("/").header("traceparent", PARENT).header("tracestate", "a=1").await;
        assert_eq!(page.text(), expected);
    }
}

#[tokio::test]
async fn a_layer_without_a_collector_leaves_the_trace_that_it_is_in() {
    let _log = tracing_subscriber::registry().with(traces::spans()).set_default();
    for public in [false, true] {
        let kept = Kept::new();
        let asks = handler(async || here().instrument(tracing::info_span!("inner")).await);
        let nothing = Traces::new(&TracesConfig::default()).public(public);
        let app = traced(&kept, Stack::new().layer(nothing).app(asks));
        let page = Client::new(app).get("/").header("traceparent", PARENT).await;
        let (inner, request) = (named(&kept, "inner"), named(&kept, "GET"));
        assert_eq!(inner.parent_span_id, request.span_context.span_id());
        assert!(page.text().contains(&inner.span_context.span_id().to_string()), "{}", page.text());
    }
}

#[tokio::test]
async fn what_this_process_knows_of_a_trace_goes_before_what_strangers_say() {
    // As below `Workers`: the span of another process, and nothing that makes spans.
    let kept = Kept::new();
    let inner = Stack::new().layer(Traces::with_provider(kept.provider()).public(true)).app(routes());
    let app = Stack::new().layer(Traces::new(&TracesConfig::default())).app(inner);
    Client::new(app).get("/").header("traceparent", PARENT).await;
    let span = one(&kept);
    assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((&*span.parent_span_id.to_string(), span.links.len()), ("b7ad6b7169203331", 0));
}

fn config(toml: &str) -> Result<TracesConfig> {
    Ok(Loader::new().environment("test").toml(format!("[traces]\n{toml}")).load()?.traces)
}

#[test]
fn headers_for_the_collector_do_not_print() {
    let toml = "[traces]\nendpoint = 'http://127.0.0.1:4318'\nsecret_headers = 'api-key=hunter2'";
    let config = Loader::new().environment("test").toml(toml).load().unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!format!("{:?}", Traces::new(&config.traces)).contains("hunter2"));
    let shown = config.values().into_iter().find(|setting| setting.key == "traces.secret_headers").unwrap();
    assert_eq!(shown.value, "•••");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_at_the_start() {
    for (toml, expected) in [
        ("endpoint = 'collector:4318'", "expected an endpoint as https://"),
        ("endpoint = 'http://ann:hunter2@127.0.0.1:4318'", "expected an endpoint as https://"),
        ("endpoint = 'http://127.0.0.1:1'\nsecret_headers = 'hunter2'", "`traces.secret_headers`: expected headers"),
        ("endpoint = 'http://127.0.0.1:1'\nsecret_headers = 'a b=hunter2'", "`traces.secret_headers`"),
        ("endpoint = 'http://127.0.0.1:1'\nsecret_headers = 'a=%0Ahunter2'", "`traces.secret_headers`"),
    ] {
        let app = Stack::new().layer(Traces::new(&config(toml).unwrap())).app(routes());
        let error = format!("{:#}", Life::start(&app).unwrap_err());
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
    let error = config("sample = 2.0").unwrap_err().to_string();
    assert!(error.contains("expected a number from 0 to 1"), "{error}");
}

/// The head of a request to a collector, and the spans in it.
type Batch = (http::Request<()>, Vec<u8>);

/// A collector of our own, and what it was sent.
struct Collector {
    address: String,
    got: Arc<Mutex<Vec<Batch>>>,
}

impl Collector {
    async fn start() -> Self {
        let got: Arc<Mutex<Vec<Batch>>> = Arc::default();
        let kept = got.clone();
        let app = handler(move |req: Request| {
            let kept = kept.clone();
            async move {
                let (head, body) = req.into_parts();
                let body = body.collect(1 << 20).await?;
                kept.lock().unwrap().push((http::Request::from_parts(head, ()), body.to_vec()));
                // An empty message of protobuf.
                Ok::<_, Error>(([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))], ""))
            }
        });
        let server = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let address = server.addresses()[0].to_string();
        tokio::spawn(server.serve(app, std::future::pending()));
        Self { address: format!("http://{}", address.trim_start_matches("http://")), got }
    }
}

/// A field of a message of protobuf.
#[derive(Clone, Debug)]
enum Proto {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Proto {
    /// The fields of a message with this number.
    fn all(&self, number: u64) -> Vec<Proto> {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is no message") };
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let key = varint(&mut rest);
            let value = match key & 7 {
                0 => Self::Number(varint(&mut rest)),
                1 => Self::Number(u64::from_le_bytes(cut(&mut rest, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut rest) as usize;
                    Self::Bytes(cut(&mut rest, length).to_vec())
                }
                5 => Self::Number(u64::from(u32::from_le_bytes(cut(&mut rest, 4).try_into().unwrap()))),
                other => panic!("wire type {other}"),
            };
            if key >> 3 == number {
                found.push(value);
            }
        }
        found
    }

    fn one(&self, number: u64) -> Proto {
        self.all(number).into_iter().next().unwrap_or(Self::Number(0))
    }

    fn text(&self) -> String {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is no text") };
        String::from_utf8(bytes.clone()).unwrap()
    }

    fn hex(&self) -> String {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is no id") };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn number(&self) -> u64 {
        let Self::Number(number) = self else { panic!("{self:?} is no number") };
        *number
    }

    /// `KeyValue`s of which the value is a text or a number.
    fn attributes(&self, number: u64) -> BTreeMap<String, String> {
        let value = |value: Proto| match (value.all(1).pop(), value.all(3).pop()) {
            (Some(text), _) => text.text(),
            (_, Some(number)) => number.number().to_string(),
            _ => "?".to_owned(),
        };
        self.all(number).into_iter().map(|pair| (pair.one(1).text(), value(pair.one(2)))).collect()
    }
}

fn cut<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (cut, left) = rest.split_at(length);
    *rest = left;
    cut
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let byte = cut(rest, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

/// Asks for some pages, and ends as a server does.
async fn ask(app: impl Service, paths: &[&str]) -> Vec<&'static str> {
    let life = Life::start(&app).unwrap();
    for path in paths {
        let mut req = request(path);
        req.headers_mut().insert("traceparent", HeaderValue::from_static(PARENT));
        *req.version_mut() = http::Version::HTTP_2;
        app.call(req).await.into_body().collect(1 << 20).await.unwrap();
    }
    life.end(Duration::from_secs(20)).await
}

/// As a process of its own, since variables and the log are of a process: see the tests below.
#[tokio::test]
async fn sends_spans_as_the_variables_say() {
    if std::env::var_os("PURLIN_TEST_TRACES").is_none() {
        return; // Only as the process of a test below.
    }
    let mut log = purlin::config::LogConfig::default();
    log.format = purlin::config::LogFormat::Json;
    purlin::log::start(&log).unwrap();
    async fn logs() -> &'static str {
        tracing::info!("in the request");
        async { tracing::info!("in the span") }.instrument(tracing::info_span!("inner")).await;
        "logged"
    }
    let app = Stack::new()
        .layer(Traces::new(&TracesConfig::default()))
        .layer(AccessLog::new())
        .app(routes().route("/logs", get(logs)));
    tracing::info!("before");
    assert!(ask(app, &["/logs", "/fails", "/logs", "/"]).await.is_empty());
}

/// What the process above logs.
async fn log_with(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["traces::sends_spans_as_the_variables_say", "--exact", "--nocapture"]).env("PURLIN_TEST_TRACES", "1");
    command.envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}\n{}", String::from_utf8_lossy(&output.stdout));
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_a_collector_by_the_standard_variables() {
    let collector = Collector::start().await;
    log_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.address),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging"),
    ])
    .await;
    let got = collector.got.lock().unwrap();
    let (head, body) = &got[0];
    assert_eq!((head.method(), head.uri().path()), (&Method::POST, "/v1/traces"));
    assert_eq!(head.headers()["content-type"], "application/x-protobuf");
    assert_eq!(head.headers()["api-key"], "hunter2");
    let resource = Proto::Bytes(body.clone()).one(1);
    let of_resource = resource.one(1).attributes(1);
    assert_eq!(of_resource["service.name"], "shop");
    assert_eq!(of_resource["deployment.environment.name"], "staging");
    let scope = resource.one(2);
    assert_eq!(scope.one(1).one(1).text(), "purlin");
    let spans: Vec<Proto> = got
        .iter()
        .flat_map(|(_, body)| Proto::Bytes(body.clone()).all(1))
        .flat_map(|resource| resource.all(2))
        .flat_map(|scope| scope.all(2))
        .collect();
    let names: Vec<String> = spans.iter().map(|span| span.one(5).text()).collect();
    assert_eq!(names, ["inner", "GET /logs", "GET /fails", "inner", "GET /logs", "GET /"]);
    let (inner, logs, fails) = (&spans[0], &spans[1], &spans[2]);
    assert_eq!(logs.one(1).hex(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((logs.one(4).hex(), logs.one(6).number()), ("b7ad6b7169203331".to_owned(), 2));
    assert_eq!(inner.one(4).hex(), logs.one(2).hex());
    assert!(logs.one(7).number() <= inner.one(7).number() && inner.one(8).number() <= logs.one(8).number());
    let attributes = logs.attributes(9);
    assert_eq!((&*attributes["http.route"], &*attributes["http.response.status_code"]), ("/logs", "200"));
    assert_eq!(attributes["network.protocol.version"], "2");
    assert_eq!((logs.one(15).all(3).len(), fails.one(15).one(3).number()), (0, 2));
    assert_eq!(fails.one(11).one(2).text(), "exception");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_the_log_have_the_ids_of_the_trace() {
    let collector = Collector::start().await;
    let log = log_with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/in/full", collector.address))]).await;
    assert_eq!(collector.got.lock().unwrap()[0].0.uri().path(), "/in/full");
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{log}"));
    let access = lines.iter().find(|line| line["target"] == "purlin::access").unwrap();
    assert!(line("before").get("trace_id").is_none());
    let (request, inner) = (line("in the request"), line("in the span"));
    for line in [access, request, inner] {
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c", "{log}");
    }
    assert_eq!(access["span_id"], request["span_id"]);
    assert_ne!(request["span_id"], inner["span_id"]);
    assert_eq!(access["path"], "/logs");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_compressed_if_that_is_wanted() {
    let collector = Collector::start().await;
    log_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.address), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]).await;
    let got = collector.got.lock().unwrap();
    assert_eq!(
        (&got[0].0.headers()["content-encoding"], &got[0].1[..2]),
        (&HeaderValue::from_static("gzip"), &[0x1f, 0x8b][..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_is_told_once_and_costs_only_spans() {
    // Nobody listens there: it is taken, and given back.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*address),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ];
    let log = log_with(&variables).await;
    let told: Vec<&str> = log.lines().filter(|line| line.contains("purlin::traces")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("spans are lost until the collector takes them"), "{told:?}");
    assert!(told[0].contains("WARN") && told[0].contains("127.0.0.1") && told[0].contains("refused"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_or_wrong_in_the_variables() {
    let collector = Collector::start().await;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.address);
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_off")]
    {
        let log = log_with(&[endpoint, off]).await;
        assert!(collector.got.lock().unwrap().is_empty(), "{off:?}");
        // Who asked is known all the same.
        assert!(log.contains("0af7651916cd43dd8448eb211c80319c"), "{off:?} {log}");
    }
    for (name, value, expected) in [
        ("OTEL_TRACES_EXPORTER", "zipkin", "expected `otlp` or `none` in OTEL_TRACES_EXPORTER, found \"zipkin\""),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "expected `http/protobuf` in OTEL_EXPORTER_OTLP_PROTOCOL, found \"grpc\"",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "expected a number of milliseconds in OTEL_EXPORTER_OTLP_TIMEOUT"),
    ] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["traces::sends_spans_as_the_variables_say", "--exact", "--nocapture"]);
        command.envs([("PURLIN_TEST_TRACES", "1"), endpoint, (name, value)]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success());
        assert!(told.replace("\\\"", "\"").contains(expected), "{told}");
    }
}

#[tokio::test]
async fn the_configuration_names_the_collector_and_what_it_wants() {
    let collector = Collector::start().await;
    let toml =
        format!("endpoint = '{}/'\nsecret_headers = 'api-key=a%20b,x=abc%2541'\nservice = 'wiki'", collector.address);
    let app = Stack::new().layer(Traces::new(&config(&toml).unwrap())).app(routes());
    // On one thread, which is not to wait for what is done on it.
    assert!(ask(app, &["/"]).await.is_empty());
    let got = collector.got.lock().unwrap();
    let (head, body) = &got[0];
    assert_eq!(head.uri().path(), "/v1/traces");
    assert_eq!(
        (&head.headers()["api-key"], &head.headers()["x"]),
        (&HeaderValue::from_static("a b"), &HeaderValue::from_static("abc%41"))
    );
    assert_eq!(Proto::Bytes(body.clone()).one(1).one(1).attributes(1)["service.name"], "wiki");
}

#[tokio::test]
async fn servers_that_share_a_layer_end_one_by_one_and_begin_anew() {
    let collector = Collector::start().await;
    let toml = format!("endpoint = '{}'", collector.address);
    let app = Stack::new().layer(Traces::new(&config(&toml).unwrap())).app(routes());
    let sent = || {
        let got = std::mem::take(&mut *collector.got.lock().unwrap());
        let resources = got.into_iter().flat_map(|(_, body)| Proto::Bytes(body).all(1));
        let spans = resources.flat_map(|resource| resource.all(2)).flat_map(|scope| scope.all(2));
        spans.map(|span| span.one(5).text()).collect::<Vec<_>>()
    };
    let limit = Duration::from_secs(20);
    let first = Life::start(&app).unwrap();
    let second = Life::start(&app).unwrap();
    app.call(request("/")).await.into_body().collect(100).await.unwrap();
    assert!(first.end(limit).await.is_empty());
    assert_eq!(sent(), ["GET /"]);
    app.call(request("/posts/7")).await.into_body().collect(100).await.unwrap();
    assert!(second.end(limit).await.is_empty());
    assert_eq!(sent(), ["GET /posts/{id}"]);
    let again = Life::start(&app).unwrap();
    app.call(request("/refuses")).await.into_body().collect(100).await.unwrap();
    assert!(again.end(limit).await.is_empty());
    assert_eq!(sent(), ["GET /refuses"]);
}

#[tokio::test]
async fn a_start_that_fails_is_no_server_that_is_waited_for() {
    struct Fails;
    impl purlin::Middleware for Fails {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            Ok(next.call(req).await)
        }
        fn start(&self, _: &mut purlin::site::Start) -> Result<()> {
            Err(Error::internal("not today"))
        }
    }
    let collector = Collector::start().await;
    let traces = Traces::new(&config(&format!("endpoint = '{}'", collector.address)).unwrap());
    let app = Stack::new().layer(traces).layer(Fails).app(routes());
    Life::start(&app).unwrap_err();
    // There is no server, and so nothing is made.
    assert_eq!(app.call(request("/here")).await.into_body().collect(100).await.unwrap(), "none");
}

/// An exporter that waits for ever.
#[derive(Debug)]
struct Stuck;

impl purlin::traces::opentelemetry_sdk::trace::SpanProcessor for Stuck {
    fn on_start(&self, _: &mut purlin::traces::opentelemetry_sdk::trace::Span, _: &opentelemetry::Context) {}

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        loop {
            std::thread::park();
        }
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[test]
fn a_provider_that_is_never_done_holds_up_no_server_and_no_runtime() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let late = runtime.block_on(async {
            let provider = SdkTracerProvider::builder().with_span_processor(Stuck).build();
            ask(Stack::new().layer(Traces::with_provider(provider)).app(routes()), &["/"]).await
        });
        drop(runtime);
        done.send(late).unwrap();
    });
    assert!(is_done.recv_timeout(Duration::from_secs(15)).unwrap().is_empty());
}

#[tokio::test]
async fn a_collector_that_does_not_answer_holds_up_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 64];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(b"HTTP/1.1 ").await;
            open.push(stream);
        }
    });
    let toml = format!("endpoint = 'http://{address}'");
    let app = Stack::new().layer(Traces::new(&config(&toml).unwrap())).app(routes());
    // More than wait for it.
    let paths = vec!["/"; 3000];
    let start = std::time::Instant::now();
    assert!(ask(app, &paths).await.is_empty());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    silent.abort();
}

#[cfg(feature = "proxy")]
mod proxy {
    use super::*;
    use purlin::proxy::Proxy;

    async fn tells(req: Request) -> String {
        let told = |name: &str| req.headers().get_all(name).iter().map(|line| line.to_str().unwrap().to_owned());
        told("traceparent").chain(told("tracestate")).collect::<Vec<_>>().join(" ")
    }

    async fn upstream() -> String {
        let app = Router::new()
            .route("/tells", get(tells))
            .route("/refuses", get(async || StatusCode::NOT_FOUND))
            .route("/stream", get(async || streamed(vec![Ok("one "), Ok("two")])));
        let server = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let address = server.addresses()[0].to_string();
        tokio::spawn(server.serve(app, std::future::pending()));
        format!("http://{}", address.trim_start_matches("http://"))
    }

    #[tokio::test]
    async fn a_proxy_has_a_span_of_its_own_and_tells_the_server_of_it() {
        let kept = Kept::new();
        let address = upstream().await;
        let app = traced(&kept, Router::new().mount("/old", Proxy::to(&address)));
        let client = Client::new(app).expect_errors();
        let page = client
            .get("/old/tells?page=2&token=abc")
            .header("traceparent", PARENT)
            .header("tracestate", "a=1, b=2")
            .await;
        let (asks, request) = (named(&kept, "GET"), named(&kept, "GET /old/{*path}"));
        assert_eq!((asks.span_kind.clone(), asks.parent_span_id), (SpanKind::Client, request.span_context.span_id()));
        let span = asks.span_context.span_id();
        assert_eq!(page.text(), format!("00-0af7651916cd43dd8448eb211c80319c-{span}-01 a=1,b=2"));
        let port = address.rsplit(':').next().unwrap();
        let expected = [
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("server.address", "127.0.0.1"),
            ("server.port", port),
            ("url.full", &format!("{address}/tells?page=2&token=REDACTED")),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(attributes(&asks), BTreeMap::from(expected));
        // For who asks, that the server refuses is a failure; for who serves it is none.
        client.get("/old/refuses").expect_status(404).await;
        let spans = kept.spans();
        let [asks, request] = &spans[2..] else { panic!("{spans:?}") };
        assert_eq!((is_error(asks), attribute(asks, "error.type").unwrap()), (true, "404".to_owned()));
        assert!(!is_error(request));
    }

    #[tokio::test]
    async fn what_the_site_hides_of_queries_is_hidden_in_what_it_asks_too() {
        let kept = Kept::new();
        let traces = Traces::with_provider(kept.provider()).redact(Redaction::new().also(["diagnosis"]));
        let app = Stack::new().layer(traces).app(Proxy::to(&upstream().await));
        Client::new(app).get("/tells?diagnosis=flu&page=2&token=abc").await;
        let spans = kept.spans();
        assert_eq!(spans.len(), 2);
        let url = attribute(&spans[0], "url.full").unwrap();
        assert!(url.ends_with("/tells?diagnosis=REDACTED&page=2&token=REDACTED"), "{url}");
        assert!(!format!("{spans:?}").contains("flu"), "{spans:?}");
    }

    #[tokio::test]
    async fn its_span_ends_with_the_body() {
        let kept = Kept::new();
        let app = traced(&kept, Proxy::to(&upstream().await));
        let response = app.call(request("/stream")).await;
        assert!(kept.spans().is_empty());
        response.into_body().collect(100).await.unwrap();
        assert_eq!(kept.spans().len(), 2);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error_of_both() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let kept = Kept::new();
        let app = traced(&kept, Proxy::to(&address));
        Client::new(app).expect_errors().get("/").expect_status(502).await;
        let spans = kept.spans();
        assert_eq!((spans.len(), spans.iter().all(is_error)), (2, true));
        assert_eq!(attribute(&spans[0], "http.response.status_code"), None);
        assert!(attribute(&spans[0], "error.type").is_some());
    }

    #[tokio::test]
    async fn a_trace_that_is_not_recorded_is_told_as_such() {
        let kept = Kept::new();
        let app = traced(&kept, Proxy::to(&upstream().await));
        let unrecorded = PARENT.replace("-01", "-00");
        let page = Client::new(app).get("/tells").header("traceparent", &unrecorded).await;
        let told = TraceContext::of(&[("traceparent", page.text())].into_iter().fold(
            purlin::HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.insert(name, value.trim().parse().unwrap());
                headers
            },
        ))
        .unwrap();
        assert_eq!((told.trace_id, told.is_sampled()), (0x0af7651916cd43dd8448eb211c80319c, false));
        assert!(kept.spans().is_empty());
    }

    #[tokio::test]
    async fn without_the_layer_the_headers_are_passed_on_as_they_came() {
        let app = Stack::new().app(Proxy::to(&upstream().await));
        let client = Client::new(app);
        let page = client.get("/tells").header("traceparent", "nonsense").header("tracestate", "A=1").await;
        assert_eq!(page.text(), "nonsense A=1");
    }
}
