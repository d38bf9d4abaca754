//! Tower both ways: its layers and services here, ours there.

use http_body::Body as _;
use purlin::testing::Client;
use purlin::{
    Body, Bytes, Connection, Error, Middleware, Next, Request, RequestExt, Response, ResponseExt, Result, Router,
    Service, Stack, any, get, handler, post, text,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::ServiceBuilder;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

async fn echo(req: Request) -> Result<Response> {
    let mut req = req;
    let body = req.body_mut().take().collect(1 << 20).await?;
    Ok(text(body))
}

fn routes() -> Router {
    Router::new()
        .route("/", get(async || text("hello ".repeat(100))))
        .route("/echo", post(echo))
        .route("/never", get(async || std::future::pending::<()>().await))
        .route("/fails", get(async || -> Result<()> { Err(Error::conflict("taken")) }))
        .route("/panics", get(async || -> () { panic!("out of luck") }))
}

#[tokio::test]
async fn layers_of_tower_http_stand_in_a_stack() {
    let app = Stack::new()
        .layer(purlin::tower(TraceLayer::new_for_http()))
        .layer(purlin::tower(CorsLayer::permissive()))
        .layer(purlin::tower(CompressionLayer::new()))
        .layer(purlin::tower(RequestBodyLimitLayer::new(10)))
        .layer(purlin::tower(SetResponseHeaderLayer::overriding(
            purlin::header::SERVER,
            purlin::HeaderValue::from_static("tower"),
        )))
        .app(routes());
    let client = Client::new(app);
    let page = client.get("/").header("accept-encoding", "gzip").header("origin", "https://other.example").await;
    page.assert_status(200).assert_header("access-control-allow-origin", "*").assert_header("content-encoding", "gzip");
    page.assert_header("server", "tower");
    assert!(page.bytes().len() < 100);
    assert_eq!(client.post("/echo").body("short").await.text(), "short");
    client.post("/echo").body("longer than that").await.assert_status(413);
    client
        .options("/")
        .header("origin", "https://x.example")
        .header("access-control-request-method", "PUT")
        .await
        .assert_status(200);
    let names: Vec<_> = client.site().layers().iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(
        names,
        ["TraceLayer", "CorsLayer", "CompressionLayer", "RequestBodyLimitLayer", "SetResponseHeaderLayer"]
    );
    assert!(client.site().layers()[0].place.file().ends_with("tests/tower.rs"));
}

#[tokio::test]
async fn a_carried_error_is_still_carried_above_a_tower_layer() {
    let app = Stack::new()
        .layer(purlin::tower(TraceLayer::new_for_http()))
        .layer(purlin::tower(CompressionLayer::new()))
        .app(routes());
    let client = Client::new(app);
    let page = client.get("/fails").await;
    page.assert_status(409);
    assert_eq!(page.error().unwrap().message(), "taken");
    assert!(client.get("/panics").expect_status(500).await.error().unwrap().is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_ends_the_work_below() {
    struct Dropped(Arc<AtomicU32>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicU32::new(0));
    let guarded = dropped.clone();
    let never = move || {
        let guard = Dropped(guarded.clone());
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        }
    };
    let limit = Duration::from_secs(3);
    // The one answers by itself, the other fails.
    let timeout = TimeoutLayer::with_status_code(purlin::StatusCode::GATEWAY_TIMEOUT, limit);
    let app = Stack::new().layer(purlin::tower(timeout)).app(handler(never.clone()));
    Client::new(app).get("/").expect_status(504).await;
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    let app = Stack::new().layer(purlin::tower(tower::timeout::TimeoutLayer::new(limit))).app(handler(never));
    let page = Client::new(app).get("/").expect_status(503).await;
    let error = page.error().unwrap();
    assert_eq!((error.message().as_str(), error.layer()), ("request timed out", Some("TimeoutLayer")));
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_layer_is_applied_once_and_keeps_its_state_between_requests() {
    let layers = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(ConcurrencyLimitLayer::new(1));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    let wait = move || {
        let gate = held.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            "done"
        }
    };
    let client = Client::new(Stack::new().layer(purlin::tower(layers)).app(handler(wait)));
    let first = tokio::spawn(client.get("/").into_future());
    tokio::task::yield_now().await;
    let shed = client.get("/").expect_status(503).await;
    assert_eq!(shed.error().unwrap().message(), "service overloaded");
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().text(), "done");
    assert_eq!(client.get("/").await.text(), "done");
}

#[tokio::test]
async fn a_request_waits_until_a_layer_is_ready() {
    let busy = Arc::new(AtomicU32::new(0));
    let counted = busy.clone();
    let work = move || {
        let busy = counted.clone();
        async move {
            let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::task::yield_now().await;
            busy.fetch_sub(1, Ordering::SeqCst);
            now.to_string()
        }
    };
    let client = Client::new(Stack::new().layer(purlin::tower(ConcurrencyLimitLayer::new(2))).app(handler(work)));
    let asked: Vec<_> = (0..20).map(|_| tokio::spawn(client.get("/").into_future())).collect();
    for page in asked {
        assert!(page.await.unwrap().text().parse::<u32>().unwrap() <= 2);
    }
}

#[derive(Clone)]
struct Twice;

impl<S> tower::Layer<S> for Twice {
    type Service = TwiceService<S>;
    fn layer(&self, inner: S) -> TwiceService<S> {
        TwiceService(inner)
    }
}

/// Asks what is below twice, as a retry does: the first time without waiting for the answer.
#[derive(Clone)]
struct TwiceService<S>(S);

impl<S> tower::Service<Request> for TwiceService<S>
where
    S: tower::Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = std::result::Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let mut again = Request::new(Body::empty());
        *again.uri_mut() = req.uri().clone();
        *again.extensions_mut() = req.extensions().clone();
        let mut inner = self.0.clone();
        Box::pin(async move {
            let mut first = Box::pin(inner.call(req));
            let early = std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_ready())).await;
            assert!(!early);
            tokio::task::yield_now().await;
            drop(first);
            inner.call(again).await
        })
    }
}

#[tokio::test]
async fn a_layer_may_ask_what_is_below_again() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let first_hangs = move || {
        let time = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if time == 0 {
                std::future::pending::<()>().await;
            }
            "second"
        }
    };
    let client = Client::new(Stack::new().layer(purlin::tower(Twice)).app(handler(first_hangs)));
    assert_eq!(client.get("/").await.text(), "second");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn tower_layers_stand_in_one_another_and_in_a_buffer() {
    let id = || SetRequestIdLayer::x_request_id(MakeRequestUuid);
    let app = Stack::new()
        .layer(purlin::tower(id()))
        .layer(purlin::tower(ServiceBuilder::new().buffer(8).layer(id()).layer(CompressionLayer::new())))
        .layer(purlin::tower(id()))
        .app(handler(async |req: Request| req.headers()["x-request-id"].to_str().unwrap().to_owned()));
    let page = Client::new(app).get("/").await;
    assert_eq!(page.text().len(), 36, "{}", page.text());
}

#[tokio::test]
async fn a_layer_that_loses_the_extensions_is_told_of() {
    let layer = ServiceBuilder::new().map_request(|_: Request| Request::new(Body::empty()));
    let app = Stack::new().layer(purlin::tower(layer)).app(routes());
    let page = Client::new(app).get("/").expect_status(500).await;
    let expected = "a tower layer lost the request's extensions, and with them what is below it";
    assert_eq!(page.error().unwrap().message(), expected);
}

#[tokio::test]
async fn an_error_of_ours_that_passed_through_tower_is_the_same() {
    let layer = ServiceBuilder::new().map_future(|answer| async move {
        let _: std::result::Result<Response, Infallible> = { answer }.await;
        Err::<Response, Box<dyn std::error::Error + Send + Sync>>(Error::forbidden("not for you").into())
    });
    let app = Stack::new().layer(purlin::tower(layer)).app(routes());
    let page = Client::new(app).get("/").await;
    page.assert_status(403);
    assert_eq!(page.error().unwrap().message(), "not for you");
}

fn axum_routes() -> axum::Router {
    use axum::routing::{get, post};
    axum::Router::new()
        .route("/", get(async || "root"))
        .route("/users/{id}", get(async |axum::extract::Path(id): axum::extract::Path<u32>| format!("user {id}")))
        .route("/echo", post(async |body: String| body))
        .route("/uri", get(async |uri: axum::http::Uri| uri.to_string()))
}

#[tokio::test]
async fn an_axum_router_can_be_mounted() {
    let app = Stack::new()
        .app(Router::new().route("/", get(async || "ours")).mount("/api", purlin::tower_service(axum_routes())));
    let client = Client::new(app);
    let table =
        [("/", "ours"), ("/api", "root"), ("/api/", "root"), ("/api/users/7", "user 7"), ("/api/uri?x=y", "/uri?x=y")];
    for (path, expected) in table {
        assert_eq!(client.get(path).await.text(), expected, "{path}");
    }
    assert_eq!(client.post("/api/echo").body("hello").await.text(), "hello");
    client.get("/api/missing").await.assert_status(404);
    client.get("/api/users/x").await.assert_status(400);
    client.head("/api").await.assert_header("content-length", "4");
    let table = client.site().routes_table();
    assert!(table.contains("any  /api/{*path}") && table.contains("tests/tower.rs"), "{table}");
}

struct Stamp;

impl Middleware for Stamp {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = next.call(req).await;
        response.headers_mut().insert("x-stamp", "purlin".parse()?);
        Ok(response)
    }
}

#[tokio::test]
async fn our_stack_is_served_inside_axum() {
    use tower::ServiceExt;
    let facts = async |connection: Connection, req: Request| format!("{} {:?}", req.original_path(), connection.ip());
    let app = Stack::new().layer(Stamp).app(routes().route("/facts", any(facts)));
    let outer = axum::Router::new()
        .route("/axum", axum::routing::get(async || "axum"))
        .nest_service("/nested", Stack::new().app(routes()).into_tower().unwrap())
        .fallback_service(app.into_tower().unwrap());
    let ask = async |path: &str, body: &str| {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let req = axum::http::Request::builder().method(method).uri(path).body(axum::body::Body::from(body.to_owned()));
        let response = outer.clone().oneshot(req.unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (parts, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(ask("/axum", "").await.1, "axum");
    let (parts, body) = ask("/echo", "hello").await;
    assert_eq!(
        (body.as_str(), &parts.headers["x-stamp"]),
        ("hello", &"purlin".parse::<purlin::HeaderValue>().unwrap())
    );
    assert_eq!(ask("/nested/echo", "hello").await.1, "hello");
    assert_eq!(ask("/facts", "").await.1, "/facts None");
    let (parts, _) = ask("/fails", "").await;
    assert_eq!(parts.status, 409);
    assert_eq!(ask("/missing", "").await.0.status, 404);
    // A panic in a layer stays within.
    async fn panics(_: Request, _: Next<'_>) -> Result<Response> {
        panic!("in a layer")
    }
    let response =
        Stack::new().layer(panics).app(routes()).into_tower().unwrap().oneshot(Request::default()).await.unwrap();
    assert_eq!(response.error().unwrap().message(), "in a layer");
}

#[tokio::test]
async fn an_application_that_does_not_fit_together_is_no_tower_service() {
    async fn needy(_: purlin::State<u8>) {}
    let error = Stack::new().app(handler(needy)).into_tower().err().unwrap();
    assert!(error.message().contains("needs `u8`"), "{error}");
}

#[tokio::test]
async fn bodies_stream_through_a_tower_layer() {
    struct Endless;
    impl futures_core::Stream for Endless {
        type Item = std::result::Result<Bytes, std::io::Error>;
        fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(Some(Ok(Bytes::from_static(b"tick"))))
        }
    }
    let app = Stack::new()
        .layer(purlin::tower(TraceLayer::new_for_http()))
        .app(handler(async || Response::new(Body::stream(Endless))));
    let mut response = Client::new(app).get("/").raw().await;
    assert!(!response.body().is_end_stream());
    for _ in 0..3 {
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "tick");
    }
}
