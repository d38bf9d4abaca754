//! What is read ahead of the handler is neither lost nor changed, however a body arrives.
#![no_main]

use arbitrary::Arbitrary;
use http::Method;
use http_body::Frame;
use libfuzzer_sys::fuzz_target;
use purlin::layers::MethodOverride;
use purlin::{Body, Bytes, Error, Request, Response, Result, Service, Stack, handler, text};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

#[derive(Arbitrary, Debug)]
struct Input {
    pieces: Vec<Vec<u8>>,
    kind: u8,
    whole: bool,
}

struct Pieces(std::vec::IntoIter<Vec<u8>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece.into()))))
    }
}

async fn echo(method: Method, req: Request) -> Response {
    let body = req.into_body().collect(1 << 24).await.expect("the limit is far");
    let mut response = text(body);
    response.headers_mut().insert("x-method", method.as_str().parse().expect("a method"));
    response
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("it is all there"),
    }
}

fuzz_target!(|input: Input| {
    let whole = input.pieces.concat();
    let kind = match input.kind % 4 {
        0 => "application/x-www-form-urlencoded",
        1 => "multipart/form-data; boundary=x",
        2 => "multipart/form-data; boundary=\"ab\"",
        _ => "application/json",
    };
    let body = if input.whole { Body::from(whole.clone()) } else { Body::new(Pieces(input.pieces.into_iter())) };
    let app = Stack::new().layer(MethodOverride::new()).app(handler(echo));
    let request = http::Request::post("/").header("content-type", kind).body(body).expect("it is a request");
    let response = now(app.call(request));
    if response.status() == 400 {
        return;
    }
    let method = response.headers()["x-method"].to_str().expect("ASCII").to_owned();
    assert_eq!(now(response.into_body().collect(1 << 24)).expect("it is all there"), whole);
    if kind.starts_with("application/x") {
        let field = whole.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"_method="));
        let named = field.map(|name| String::from_utf8_lossy(name).trim().to_ascii_uppercase());
        let expected = named.filter(|name| ["PUT", "PATCH", "DELETE"].contains(&name.as_str()));
        assert_eq!(method, expected.unwrap_or_else(|| "POST".to_owned()));
    }
});
