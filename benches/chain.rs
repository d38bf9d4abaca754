//! What a layer costs by itself: 12 layers that do next to nothing, against none.
//!
//! `cargo bench --bench chain`. Rounds are interleaved and the medians compared, so that a busy machine disturbs both alike.

mod measure;

use measure::{allocations, median, nanoseconds, now};
use purlin::{BoxMiddleware, Middleware, Request, Response, Result, Service, Stack, handler, text};
use std::hint::black_box;

/// Looks at the request and the response, and changes neither.
struct Trivial;

impl Middleware for Trivial {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        black_box(req.method());
        let response = next.call(req).await;
        black_box(response.status());
        Ok(response)
    }
}

const CALLS: u32 = 20_000;
const ROUNDS: usize = 61;

fn call(service: &impl Service) -> Response {
    now(service.call(black_box(Request::default())))
}

async fn hello() -> Response {
    text("Hello, world!")
}

fn main() {
    let none = Stack::new().app(handler(hello));
    let four = || Stack::new().layer(Trivial).layer(Trivial).layer(Trivial).layer(Trivial);
    let twelve = four()
        .layer(Trivial)
        .layer(Trivial)
        .layer(Trivial)
        .layer(Trivial)
        .layer(Trivial)
        .layer(Trivial)
        .layer(Trivial)
        .layer(Trivial)
        .app(handler(hello));
    let boxed: Vec<_> = (0..12).map(|_| BoxMiddleware::new(Trivial)).collect();
    let boxed = Stack::new().layer(boxed).app(handler(hello));

    let (mut plain, mut layered, mut dynamic) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(nanoseconds(CALLS, || call(&none)));
        layered.push(nanoseconds(CALLS, || call(&twelve)));
        dynamic.push(nanoseconds(CALLS, || call(&boxed)));
    }
    let (plain, layered, dynamic) = (median(plain), median(layered), median(dynamic));
    let (a, b, c) = (allocations(|| call(&none)), allocations(|| call(&twelve)), allocations(|| call(&boxed)));
    println!("{:<28}{:>10}{:>12}{:>13}", "", "ns a call", "ns a layer", "allocations");
    println!("{:<28}{plain:>10.1}{:>12}{a:>13}", "the handler alone", "");
    println!("{:<28}{layered:>10.1}{:>12.1}{b:>13}", "in 12 layers", (layered - plain) / 12.0);
    println!("{:<28}{dynamic:>10.1}{:>12.1}{c:>13}", "in 12 boxed layers", (dynamic - plain) / 12.0);
}
