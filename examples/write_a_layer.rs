//! Two layers of one's own, as a function and as a type: `cargo run --example write_a_layer`, then
//! `curl -i http://127.0.0.1:8000/`

use purlin::layers::{AccessLog, RequestIds};
use purlin::site::About;
use purlin::{
    Config, HeaderName, HeaderValue, Middleware, Next, Request, Response, Result, Router, Service, Stack, get, header,
};
use std::time::Instant;

/// A layer may be an `async fn`.
async fn never_stored(req: Request, next: Next<'_>) -> Result<Response> {
    let mut response = next.call(req).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A layer with an option is a type: tells in a header how long the stack below took.
struct ServerTiming {
    metric: &'static str,
}

impl Middleware for ServerTiming {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let start = Instant::now();
        let mut response = next.call(req).await;
        let ms = start.elapsed().as_secs_f64() * 1000.0;
        let value = format!("{};dur={ms:.3}", self.metric);
        response.headers_mut().insert(HeaderName::from_static("server-timing"), value.parse()?);
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        about.option("metric", self.metric);
    }
}

fn stack(_: Config) -> Result<impl Service> {
    Ok(Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(ServerTiming { metric: "site" })
        .layer(never_stored)
        .app(Router::new().route("/", get(async || "Look at the headers."))))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn both_layers_adorn_the_answer() {
    let client = purlin::testing::Client::new(stack(Config::default()).unwrap());
    let page = client.get("/").await;
    page.assert_status(200).assert_header("cache-control", "no-store");
    assert!(page.header("server-timing").unwrap().starts_with("site;dur="));
}
