//! What `Lint` costs an answer: where it watches, where it does not, and two around a layer.
//!
//! `cargo bench --bench lint`. Rounds are interleaved and the medians compared, so that a busy machine disturbs all alike.

mod measure;

use measure::{allocations, median, nanoseconds, now};
use purlin::http::Request as HttpRequest;
use purlin::layers::{Lint, SecurityHeaders};
use purlin::{Body, Response, Service, Stack, handler, html};
use std::hint::black_box;

const CALLS: u32 = 5_000;
const ROUNDS: usize = 41;

fn call(service: &impl Service) -> Response {
    let request = HttpRequest::get("/guestbook?page=2")
        .header("host", "localhost:8000")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("cookie", "id=0123456789abcdef");
    let request = request.body(Body::empty()).expect("the headers are right");
    now(service.call(black_box(request)))
}

async fn page() -> Response {
    html("<title>Guests</title><p>Hello, world!")
}

fn main() {
    let on = || Lint::new().always();
    let none = Stack::new().layer(SecurityHeaders::new()).app(handler(page));
    let off = Stack::new().layer(Lint::new()).layer(SecurityHeaders::new()).app(handler(page));
    let one = Stack::new().layer(on()).layer(SecurityHeaders::new()).app(handler(page));
    let two = Stack::new().layer(on()).layer(SecurityHeaders::new()).layer(on()).app(handler(page));
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let [a, b, c, d] = &mut times;
        a.push(nanoseconds(CALLS, || call(&none)));
        b.push(nanoseconds(CALLS, || call(&off)));
        c.push(nanoseconds(CALLS, || call(&one)));
        d.push(nanoseconds(CALLS, || call(&two)));
    }
    let times = times.map(median);
    let counts = [
        allocations(|| call(&none)),
        allocations(|| call(&off)),
        allocations(|| call(&one)),
        allocations(|| call(&two)),
    ];
    let names = ["without it", "as it is in a release build", "one that watches", "two that watch"];
    println!("{:<30}{:>10}{:>10}{:>13}", "", "ns a call", "more", "allocations");
    for ((name, time), count) in names.iter().zip(times).zip(counts) {
        println!("{name:<30}{time:>10.0}{:>10.0}{count:>13}", time - times[0]);
    }
}
