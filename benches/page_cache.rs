//! What a stored page costs, against a handler that answers at once.
//!
//! `cargo bench --bench page_cache --features cache`. Rounds are interleaved and the medians compared, so that a busy machine disturbs
//! all alike. `-- plain` and `-- stored` do one thing ten thousand times, for `valgrind --tool=callgrind`.

mod measure;

use measure::{allocations, median, nanoseconds, now};
use purlin::layers::{CacheFor, PageCache};
use purlin::{Body, HeaderValue, Request, Response, Service, Stack, handler, header, html, text};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const CALLS: u32 = 20_000;
const ROUNDS: usize = 61;

/// As a browser sends it.
fn request() -> Request {
    let mut req = Request::new(Body::empty());
    *req.uri_mut() = "/posts/7?page=2".parse().expect("a path");
    let lines = [
        (header::HOST, "www.example.org"),
        (header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::ACCEPT_LANGUAGE, "en-GB,en;q=0.5"),
        (header::COOKIE, "session=0123456789abcdef0123456789abcdef"),
        (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ];
    for (name, value) in lines {
        req.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    req
}

/// Of a request that was made before, since making one costs as much.
fn call(service: &impl Service, req: &Request) -> Response {
    let mut copy = Request::new(Body::empty());
    *copy.uri_mut() = req.uri().clone();
    *copy.headers_mut() = req.headers().clone();
    now(service.call(black_box(copy)))
}

fn page() -> Response {
    let mut response = html("<p>the same for everybody</p>".repeat(200));
    let headers = response.headers_mut();
    for (name, value) in [
        ("vary", "Accept-Encoding"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("etag", "\"one\""),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn main() {
    // Of which the cache takes its clock.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let stored = handler(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready((CacheFor::secs(3600), page()))
    });
    let stored = Stack::new().layer(PageCache::new()).app(stored);
    let plain = Stack::new().app(handler(async || text("Hello, world!")));
    let made = Stack::new().app(handler(async || page()));
    let req = request();
    drop(call(&stored, &req));

    match std::env::args().nth(1).as_deref() {
        Some("plain") => return (0..10_000).for_each(|_| drop(black_box(call(&plain, &req)))),
        Some("stored") => return (0..10_000).for_each(|_| drop(black_box(call(&stored, &req)))),
        _ => {}
    }
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        a.push(nanoseconds(CALLS, || call(&plain, &req)));
        b.push(nanoseconds(CALLS, || call(&stored, &req)));
        c.push(nanoseconds(CALLS, || call(&made, &req)));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1, "all others were answered from the store");
    println!("{:<40}{:>10}{:>13}", "", "ns a call", "allocations");
    for (name, times, count) in [
        ("a handler: 13 bytes of text", a, allocations(|| call(&plain, &req))),
        ("a stored page of 5.8 kB, with 9 headers", b, allocations(|| call(&stored, &req))),
        ("the same page made, without the layer", c, allocations(|| call(&made, &req))),
    ] {
        println!("{name:<40}{:>10.1}{count:>13}", median(times));
    }
}
