//! `Capabilities` and `When`: what an application does depends on where it runs.

use purlin::capabilities::Capabilities;
use purlin::layers::{RequestIds, When, lacking};
use purlin::site::{Outline, Start};
use purlin::testing::{Client, layer_contract};
use purlin::{
    Error, Request, RequestExt, RequestId, Response, Result, Router, Server, Service, Stack, StatusCode, get, handler,
};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn shows(server: Capabilities) -> String {
    let Capabilities { asynchronous, threads, processes, run_once, streaming, .. } = server;
    format!("{asynchronous} {threads} {processes} {run_once} {streaming}")
}

/// Notes what it is told at the start.
struct Noting(Arc<Mutex<Option<Capabilities>>>);

impl Service for Noting {
    async fn call(&self, req: Request) -> Response {
        handler(shows).call(req).await
    }

    fn describe(&self, _: &mut Outline) {}

    fn start(&self, start: &mut Start) -> Result<()> {
        *self.0.lock().unwrap() = start.capabilities();
        Ok(())
    }
}

#[tokio::test]
async fn the_testing_client_says_what_it_can_do() {
    let noted = Arc::default();
    let client = Client::new(Noting(Arc::clone(&noted)));
    assert_eq!(*noted.lock().unwrap(), Some(Capabilities::new()));
    assert_eq!(client.get("/").await.text(), "true true false false true");
}

#[tokio::test]
async fn the_server_says_it_with_each_request_and_at_the_start() {
    let noted = Arc::default();
    let app = Noting(Arc::clone(&noted));
    let (mut client, server) = tokio::io::duplex(4096);
    let served = tokio::spawn(async move { Server::new().processes(true).serve_connection(app, server).await });
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("true true true false true"), "{answer}");
    served.await.unwrap().unwrap();
    assert_eq!(*noted.lock().unwrap(), Some(Capabilities::new().processes(true)));
}

#[tokio::test]
async fn who_runs_it_otherwise_says_so_or_nothing_is_known() {
    let app = handler(shows);
    let mut req = Request::default();
    req.extensions_mut().insert(Capabilities::new().run_once(true).threads(false).streaming(false).asynchronous(false));
    let answer = app.call(req).await.into_body().collect(100).await.unwrap();
    assert_eq!(answer, "false false false true false");
    assert_eq!(app.call(Request::default()).await.status(), 500);
    assert_eq!(Request::default().capabilities(), None);
}

#[tokio::test]
async fn keeps_the_contract_of_layers() {
    layer_contract(|| lacking::<RequestId, _>(RequestIds::new())).await;
    layer_contract(|| When::new("never", |_| false, RequestIds::new())).await;
}

#[tokio::test]
async fn an_application_brings_a_layer_where_nobody_above_has_it() {
    async fn id(id: RequestId) -> String {
        id.to_string()
    }
    let app = || Stack::new().layer(lacking::<RequestId, _>(RequestIds::new())).app(Router::new().route("/", get(id)));
    let alone = Client::new(app());
    let page = alone.get("/").await;
    assert_eq!(page.header("x-request-id"), Some(page.text()));
    assert_eq!(alone.site().layers()[0].name, "RequestIds");
    assert!(alone.site().stack_table().contains("when=no RequestId"));

    let within = Client::new(Stack::new().layer(RequestIds::new()).app(app()));
    let page = within.get("/").await;
    assert_eq!(page.header("x-request-id"), Some(page.text()));
}

#[test]
fn what_is_there_for_some_requests_only_is_promised_to_nobody() {
    async fn id(id: RequestId) -> String {
        id.to_string()
    }
    let routes = || Router::new().route("/", get(id));
    let below_tea = |req: &Request| req.uri().path().starts_with("/tea");
    let error = Stack::new()
        .layer(When::new("below /tea", below_tea, RequestIds::new()))
        .app(routes())
        .check()
        .unwrap_err()
        .to_string();
    assert!(error.contains("needs `RequestId`, which no layer above it provides"), "{error}");
    Stack::new().layer(lacking::<RequestId, _>(RequestIds::new())).app(routes()).check().unwrap();
    // Those that have the one may lack the other.
    let other = Stack::new().layer(lacking::<Capabilities, _>(RequestIds::new())).app(routes()).check().unwrap_err();
    assert!(other.to_string().contains("needs `RequestId`"), "{other}");
}

#[tokio::test]
async fn a_layer_may_be_for_some_requests_only() {
    async fn refuses(_: Request, _: purlin::Next<'_>) -> Result<Response> {
        Err(Error::new(StatusCode::IM_A_TEAPOT, "no"))
    }
    let layer = When::new("below /tea", |req: &Request| req.uri().path().starts_with("/tea"), refuses);
    let client = Client::new(Stack::new().layer(layer).app(handler(async || "coffee")));
    client.get("/tea").await.assert_status(418);
    assert_eq!(client.get("/coffee").await.text(), "coffee");
}
