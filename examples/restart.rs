//! A site that is replaced while it serves: `cargo run --example restart`, and then, from another terminal, `cargo run --example
//! restart -- restart`. The process changes; no request is lost.
//!
//! The events at `/events` go on until the server stops, and end by themselves then.

use purlin::site::Stopping;
use purlin::{Body, Config, Response, Result, Router, Service, Stack, get};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Which process answers: a new one after each restart.
async fn process() -> String {
    format!("process {}\n", std::process::id())
}

/// An answer that takes its time.
async fn slow() -> String {
    tokio::time::sleep(Duration::from_millis(500)).await;
    process().await
}

/// An event each second.
struct Events {
    next: Pin<Box<tokio::time::Sleep>>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl http_body::Body for Events {
    type Data = purlin::Bytes;
    type Error = purlin::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<purlin::Bytes>>>> {
        if self.stopping.as_mut().poll(cx).is_ready() {
            // The client asks again, and is answered by the next process.
            return Poll::Ready(None);
        }
        std::task::ready!(self.next.as_mut().poll(cx));
        self.next = Box::pin(tokio::time::sleep(Duration::from_secs(1)));
        let event = format!("data: process {}\n\n", std::process::id());
        Poll::Ready(Some(Ok(http_body::Frame::data(event.into()))))
    }
}

async fn events(mut stopping: Stopping) -> Response {
    let stopping = Box::pin(async move { stopping.wait().await });
    let mut response =
        Response::new(Body::new(Events { next: Box::pin(tokio::time::sleep(Duration::ZERO)), stopping }));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}

fn stack(_: Config) -> Result<impl Service> {
    let routes = Router::new().route("/", get(process)).route("/slow", get(slow)).route("/events", get(events));
    Ok(Stack::new().app(routes))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn it_names_its_process() {
    let client = purlin::testing::Client::new(stack(Config::default()).unwrap());
    client.get("/").await.assert_status(200).assert_contains(&std::process::id().to_string());
}
