//! What `Lint` costs an answer: where it watches, where it does not, and two around a layer.
//!
//! `cargo bench --bench lint`. Rounds are interleaved and the medians compared, so that a busy machine disturbs all alike.

use purlin::http::Request as HttpRequest;
use purlin::layers::{Lint, SecurityHeaders};
use purlin::{Body, Response, Service, Stack, handler, html};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

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
    let mut future = pin!(service.call(black_box(request)));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        Poll::Pending => unreachable!("nothing in this bench waits"),
    }
}

fn nanoseconds(service: &impl Service) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(call(service));
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn allocations(service: &impl Service) -> u64 {
    call(service);
    allocation_counter::measure(|| drop(black_box(call(service)))).count_total
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
        a.push(nanoseconds(&none));
        b.push(nanoseconds(&off));
        c.push(nanoseconds(&one));
        d.push(nanoseconds(&two));
    }
    let times = times.map(median);
    let counts = [allocations(&none), allocations(&off), allocations(&one), allocations(&two)];
    let names = ["without it", "as it is in a release build", "one that watches", "two that watch"];
    println!("{:<30}{:>10}{:>10}{:>13}", "", "ns a call", "more", "allocations");
    for ((name, time), count) in names.iter().zip(times).zip(counts) {
        println!("{name:<30}{time:>10.0}{:>10.0}{count:>13}", time - times[0]);
    }
}
