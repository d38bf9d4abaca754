//! What error pages cost an answer that does not fail, and a report one that does.
//!
//! `cargo bench --bench error_pages`. Rounds are interleaved and the medians compared, so that a busy machine disturbs all alike.

mod measure;

use measure::{allocations, median, nanoseconds, now};
use purlin::layers::ErrorPages;
use purlin::report::{Report, Reporter};
use purlin::{Body, Error, HeaderMap, HeaderName, HeaderValue, Request, Result, Router, Service, Stack, get, text};
use std::hint::black_box;
use std::sync::{Arc, LazyLock};

/// Somebody is told, who does nothing of it.
struct Nobody;

impl Reporter for Nobody {
    fn report(&self, report: &Arc<Report>) {
        black_box(report);
    }
}

const ROUNDS: usize = 41;

/// As a browser sends it. Its values are clones: as from the server, which reads all of a head into one buffer.
fn request(path: &str) -> Request {
    static HEADERS: LazyLock<HeaderMap> = LazyLock::new(headers);
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("it is a path");
    *request.headers_mut() = HEADERS.clone();
    request
}

fn headers() -> HeaderMap {
    let headers = [
        ("host", "example.org"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "de,en-US;q=0.7,en;q=0.3"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "theme=dark; session=31dz1pfsyfz80000000031dz1pfsyfz8"),
        ("sec-fetch-mode", "navigate"),
        ("priority", "u=0, i"),
    ];
    let value = |text: &str| HeaderValue::from_str(text).expect("it is valid");
    headers.into_iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
}

/// The time of a call, without what the client does.
fn time(service: &impl Service, path: &str, calls: u32) -> f64 {
    let mut requests: Vec<Request> = (0..calls).map(|_| request(path)).collect();
    nanoseconds(calls, || now(service.call(black_box(requests.pop().expect("one for each call")))))
}

fn allocated(service: &impl Service) -> u64 {
    // The second is the one that counts.
    let mut requests = [request("/"), request("/")].into_iter();
    allocations(|| now(service.call(black_box(requests.next().expect("there are two")))))
}

fn routes() -> Router {
    Router::new()
        .route("/", get(async || text("Hello, world!")))
        .route("/fails", get(async || -> Result<String> { Err(Error::internal("no luck")) }))
}

fn main() {
    let none = Stack::new().app(routes());
    let pages = Stack::new().layer(ErrorPages::new()).app(routes());
    let told = Stack::new().layer(ErrorPages::new().reporter(Nobody)).app(routes());
    let lines = Stack::new().layer(ErrorPages::new().reporter(Nobody).log_lines(50)).app(routes());
    let mut good = [const { Vec::new() }; 4];
    let mut failed = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        good[0].push(time(&none, "/", 2000));
        good[1].push(time(&pages, "/", 2000));
        good[2].push(time(&told, "/", 2000));
        good[3].push(time(&lines, "/", 2000));
        failed[0].push(time(&pages, "/fails", 200));
        failed[1].push(time(&told, "/fails", 200));
    }
    let allocated = [allocated(&none), allocated(&pages), allocated(&told), allocated(&lines)];
    for (at, what) in ["no layer", "ErrorPages", "with a reporter", "with log lines too"].into_iter().enumerate() {
        println!("{what:20} {:7.0} ns  {:3} allocations", median(good[at].clone()), allocated[at]);
    }
    println!("a failure            {:7.0} ns", median(failed[0].clone()));
    println!("a failure, reported  {:7.0} ns", median(failed[1].clone()));
}
