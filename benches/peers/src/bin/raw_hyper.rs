//! Raw hyper: the floor. The same bytes as the others, written by hand.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;

#[tokio::main]
async fn main() {
    let workload: &'static str = peers::workload().leak();
    let file: &'static [u8] = std::fs::read(peers::files().join("small.css")).expect("the driver made it").leak();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    peers::listening(listener.local_addr().expect("bound"));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(move |_: Request<hyper::body::Incoming>| async move {
                let mut response = Response::new(Full::new(Bytes::from_static(match workload {
                    "file" => file,
                    _ => peers::HELLO.as_bytes(),
                })));
                let headers = response.headers_mut();
                let content_type = if workload == "file" { "text/css; charset=utf-8" } else { "text/plain; charset=utf-8" };
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                if workload == "full" {
                    for (name, value) in peers::HEADERS {
                        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
                    }
                    headers.insert(HeaderName::from_static("x-request-id"), HeaderValue::from_static("0123456789abcdefghjk"));
                }
                Ok::<_, Infallible>(response)
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
