//! Every layer keeps what layers promise; a layer that does not is found out.

use http_body::Frame;
use purlin::layers::{
    AccessLog, BodyLimit, Csrf, CsrfExempt, Deadline, ErrorPages, FieldLimit, Lint, MethodOverride, RequestIds,
    SecurityHeaders, Sessions, StaticFiles,
};
use purlin::session::MemoryStore;
use purlin::testing::layer_contract;
use purlin::{
    Assets, Body, BoxMiddleware, Bytes, Error, Middleware, Next, Request, RequestExt, Response, ResponseExt, Result,
    Service, Session, State,
};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

#[tokio::test]
async fn every_layer_keeps_the_contract() {
    layer_contract(RequestIds::new).await;
    layer_contract(|| RequestIds::new().trust_client(true)).await;
    layer_contract(AccessLog::new).await;
    layer_contract(|| BodyLimit::new(64 << 10)).await;
    layer_contract(|| Deadline::new(Duration::from_secs(60))).await;
    layer_contract(SecurityHeaders::new).await;
    layer_contract(ErrorPages::new).await;
    layer_contract(|| ErrorPages::new().details(true)).await;
    layer_contract(|| StaticFiles::new(Assets::folder("examples"))).await;
    layer_contract(|| Sessions::new(MemoryStore::new())).await;
    layer_contract(|| {
        let sessions = BoxMiddleware::new(Sessions::new(MemoryStore::new()));
        vec![sessions, BoxMiddleware::new(Csrf::new())]
    })
    .await;
    layer_contract(|| CsrfExempt).await;
    layer_contract(MethodOverride::new).await;
    layer_contract(|| FieldLimit::new(10)).await;
    layer_contract(Lint::new).await;
    layer_contract(|| State("shared")).await;
    layer_contract(|| Some(RequestIds::new())).await;
    layer_contract(|| std::sync::Arc::new(RequestIds::new())).await;
    #[cfg(all(unix, feature = "workers"))]
    layer_contract(|| purlin::layers::Workers::new(2)).await;
    layer_contract(|| vec![BoxMiddleware::new(RequestIds::new()), BoxMiddleware::new(AccessLog::new())]).await;
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn the_cache_of_pages_keeps_the_contract() {
    use purlin::layers::{CacheFor, PageCache};
    layer_contract(PageCache::new).await;
    layer_contract(|| PageCache::new().heuristics(true).validating(true).obey_clients(true)).await;
    layer_contract(|| CacheFor::secs(60).tag("all")).await;
}

#[cfg(feature = "compression")]
#[tokio::test]
async fn compression_keeps_the_contract() {
    layer_contract(purlin::layers::Compression::new).await;
}

#[cfg(feature = "debugger")]
#[tokio::test]
async fn the_debugger_keeps_the_contract() {
    layer_contract(purlin::layers::Debugger::new).await;
}

#[cfg(feature = "multipart")]
#[tokio::test]
async fn uploads_keep_the_contract() {
    layer_contract(purlin::layers::Uploads::new).await;
}

#[cfg(feature = "tera")]
#[tokio::test]
async fn templates_keep_the_contract() {
    use purlin::layers::Templates;
    use purlin::template::Tera;
    layer_contract(|| Templates::new(Tera::new(Assets::folder("templates")))).await;
}

#[cfg(feature = "tower")]
#[tokio::test]
async fn layers_of_tower_keep_the_contract() {
    use tower_http::cors::CorsLayer;
    use tower_http::trace::TraceLayer;
    layer_contract(|| purlin::tower(TraceLayer::new_for_http())).await;
    layer_contract(|| purlin::tower(CorsLayer::permissive())).await;
    layer_contract(|| purlin::tower(tower::limit::ConcurrencyLimitLayer::new(3))).await;
    layer_contract(|| purlin::tower(tower::ServiceBuilder::new().buffer(3))).await;
}

/// RFC 9110 §8.8.1: another coding is another sequence of bytes. `Compression` makes the tag weak.
#[cfg(feature = "tower")]
#[tokio::test]
async fn a_layer_of_tower_that_keeps_a_strong_etag_is_found_out() {
    let said = broken(|| purlin::tower(tower_http::compression::CompressionLayer::new())).await;
    assert!(said.contains("it breaks no rule of the lint: error etag-kept: GET /plain: 200"), "{said}");
}

/// A session that is used at every request.
async fn visited(mut req: Request, next: Next<'_>) -> Result<Response> {
    req.extract::<Session>().await?.increment("visits", 1)?;
    Ok(next.call(req).await)
}

#[tokio::test]
async fn a_session_in_use_keeps_the_contract() {
    let used = || vec![BoxMiddleware::new(Sessions::new(MemoryStore::new())), BoxMiddleware::new(visited)];
    layer_contract(used).await;
}

#[tokio::test]
async fn a_layer_that_refuses_keeps_the_contract() {
    async fn refuses(_: Request, _: Next<'_>) -> Result<Response> {
        Err(Error::forbidden("members only"))
    }
    layer_contract(|| refuses).await;
}

/// The promise that a layer is found to break.
async fn broken<M: Middleware>(make: impl Fn() -> M + Send + 'static) -> String {
    // Not `spawn`: the contract's future is not `Send` for every `make`.
    let failed = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(layer_contract(make));
    });
    let failed = failed.await.expect_err("expected a broken promise").into_panic();
    failed.downcast::<String>().map(|text| *text).unwrap()
}

macro_rules! layer {
    ($name:ident($req:ident, $next:ident) $body:block) => {
        #[allow(unused_mut)]
        async fn $name(mut $req: Request, $next: Next<'_>) -> Result<Response> $body
    };
}

layer!(asks_twice(req, next) {
    let _ = next.call(Request::default()).await;
    Ok(next.call(req).await)
});
layer!(answers_by_itself(_req, _next) {
    Ok(purlin::text("hello"))
});
layer!(loses_the_query(req, next) {
    *req.uri_mut() = req.uri().path().parse()?;
    Ok(next.call(req).await)
});
layer!(loses_extensions(req, next) {
    req.extensions_mut().clear();
    Ok(next.call(req).await)
});
layer!(collects_the_request(req, next) {
    let body = req.body_mut().take().collect(1 << 20).await?;
    *req.body_mut() = Body::from(body);
    Ok(next.call(req).await)
});
layer!(replaces_cookies(req, next) {
    let mut response = next.call(req).await;
    response.headers_mut().insert("set-cookie", "mine=1".parse()?);
    Ok(response)
});
layer!(replaces_vary(req, next) {
    let mut response = next.call(req).await;
    response.headers_mut().insert("vary", "cookie".parse()?);
    Ok(response)
});
layer!(makes_a_new_response(req, next) {
    let (parts, body) = next.call(req).await.into_parts();
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    Ok(response)
});
layer!(collects_the_answer(req, next) {
    let response = next.call(req).await;
    let (parts, body) = response.into_parts();
    let body = body.collect(1 << 20).await.unwrap_or_default();
    Ok(Response::from_parts(parts, Body::from(body)))
});
layer!(changes_the_length(req, next) {
    let mut response = next.call(req).await;
    if response.body().len().is_some_and(|length| length > 0) {
        *response.body_mut() = Body::from("longer or shorter");
    }
    Ok(response)
});
layer!(swallows_errors(req, next) {
    let mut response = next.call(req).await;
    response.take_error();
    Ok(response)
});
layer!(throws_errors(req, next) {
    let mut response = next.call(req).await;
    match response.take_error() {
        Some(error) => Err(Error::new(error.status(), error.message())),
        None => Ok(response),
    }
});
layer!(forgets_head(req, next) {
    let head = req.method() == purlin::Method::HEAD;
    let mut response = next.call(req).await;
    if !head {
        response.headers_mut().insert("x-mine", "1".parse()?);
    }
    Ok(response)
});

/// Asks a body on after its end or its error.
struct PollsOn(Body);

impl http_body::Body for PollsOn {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            let _ = Pin::new(&mut self.0).poll_frame(cx);
        }
        Poll::Ready(frame)
    }
}

layer!(polls_on(req, next) {
    let mut response = next.call(req).await;
    if response.body().len().is_none() {
        let body = response.body_mut().take();
        *response.body_mut() = Body::new(PollsOn(body));
    }
    Ok(response)
});

/// Answers with what the last request got.
#[derive(Default)]
struct MixesUp(std::sync::Mutex<Option<Response>>);

impl Middleware for MixesUp {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let own = req.uri().path().starts_with("/own/");
        let mut response = next.call(req).await;
        if own {
            let mut last = self.0.lock().unwrap();
            let other = last.replace(purlin::text(response.body_mut().take()));
            return Ok(other.unwrap_or(response));
        }
        Ok(response)
    }
}

/// Lets one request in at a time, and keeps the door shut when that one is cancelled.
struct ShutsTheDoor(tokio::sync::Semaphore);

impl Middleware for ShutsTheDoor {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        self.0.acquire().await?.forget();
        let response = next.call(req).await;
        self.0.add_permits(1);
        Ok(response)
    }
}

#[tokio::test]
async fn a_broken_promise_is_named() {
    let table = [
        (
            broken(|| asks_twice).await,
            "the layer asks_twice breaks the promise that it asks what is below once at most",
        ),
        (broken(|| answers_by_itself).await, "it asks what is below, or refuses"),
        (broken(|| loses_the_query).await, "the request comes to what is below as it came to the layer"),
        (broken(|| loses_extensions).await, "the request comes to what is below as it came to the layer"),
        (broken(|| collects_the_request).await, "it does not wait for a body that it does not need"),
        (broken(|| replaces_cookies).await, "an answer from below keeps its status, headers"),
        (broken(|| replaces_vary).await, "an answer from below keeps its status, headers"),
        (broken(|| makes_a_new_response).await, "an answer from below keeps its status, headers"),
        (broken(|| changes_the_length).await, "an answer from below keeps its status, headers"),
        (broken(|| collects_the_answer).await, "a streamed body arrives as it was sent"),
        (broken(|| swallows_errors).await, "an error from below stays on the answer"),
        (broken(|| throws_errors).await, "an error from below stays on the answer"),
        (broken(|| forgets_head).await, "`HEAD` is answered with the headers of `GET`"),
        (broken(|| polls_on).await, "it breaks no rule of the lint: warning body-polled-after-end: GET /pieces: 200"),
        (broken(MixesUp::default).await, "requests at the same time get their own answers"),
        (broken(|| ShutsTheDoor(tokio::sync::Semaphore::new(1))).await, "a request can be cancelled at any `.await`"),
    ];
    for (said, expected) in table {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}
