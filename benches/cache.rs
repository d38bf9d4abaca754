//! What a hit in a cache costs, beside a map behind a lock; what one miss costs a thousand; and what a tag costs a page.
//!
//! `cargo bench --bench cache --features cache`. Rounds are interleaved and the medians compared. `-- hit`, `-- tag` and `-- page`
//! do one thing ten thousand times, and `-- start` none, for `valgrind --tool=callgrind`.

mod measure;

use measure::{allocations, median, nanoseconds, now};
use purlin::cache::Caches;
use purlin::config::{CacheConfig, SecretKeys};
use purlin::layers::ETags;
use purlin::{Request, Response, Result, Service, Stack, handler, html};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CALLS: u32 = 20_000;
const ROUNDS: usize = 61;
const HOUR: Duration = Duration::from_secs(3600);

type Value = Arc<Vec<u64>>;

async fn made() -> Result<Value> {
    Ok(Arc::new((0..100).collect()))
}

/// What one would write without a cache: a map, a lock, and when it ends.
type Map = Mutex<HashMap<String, (Value, Instant)>>;

fn look_up(map: &Map, key: &str) -> Option<Value> {
    let map = map.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    map.get(key).filter(|(_, ends)| Instant::now() < *ends).map(|(value, _)| value.clone())
}

fn page(length: usize) -> impl Service {
    let text: &'static str = "<li>A line of a page.</li>\n".repeat(length / 27 + 1)[..length].to_owned().leak();
    handler(move || async move { html(text) })
}

fn call(service: &impl Service) -> Response {
    now(service.call(black_box(Request::default())))
}

fn main() {
    let cache = Caches::new(&CacheConfig::default()).expect("the defaults are a cache").default_region();
    let keys: Vec<String> = (0..1000).map(|n| format!("post:{n}")).collect();
    let map = Map::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for key in &keys {
        let value = runtime.block_on(cache.get_or_try(key, HOUR, made)).expect("it cannot fail");
        map.lock().expect("nobody panics").insert(key.clone(), (value, Instant::now() + HOUR));
    }
    let mut next = 0;
    let mut key = || {
        next = (next + 1) % keys.len();
        keys[next].as_str()
    };
    let (bare, layer) = (page(10_000), || ETags::new(&SecretKeys::random()));
    let tagged = Stack::new().layer(layer()).app(page(10_000));
    match std::env::args().nth(1).as_deref() {
        Some("start") => return,
        Some("hit") => return (0..10_000).for_each(|_| drop(black_box(now(cache.get_or_try(key(), HOUR, made))))),
        Some("tag") => return (0..10_000).for_each(|_| drop(black_box(call(&tagged)))),
        Some("page") => return (0..10_000).for_each(|_| drop(black_box(call(&bare)))),
        _ => {}
    }

    let (mut hit, mut got, mut mapped) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        hit.push(nanoseconds(CALLS, || now(cache.get_or_try(key(), HOUR, made))));
        got.push(nanoseconds(CALLS, || now(cache.get::<Value>(key()))));
        mapped.push(nanoseconds(CALLS, || look_up(&map, key())));
    }
    let count = allocations(|| now(cache.get_or_try("post:0", HOUR, made)));
    println!("{:<44}{:>10}{:>13}", "a hit among 1,000 keys", "ns", "allocations");
    println!("{:<44}{:>10.1}{count:>13}", "Cache::get_or_try", median(hit));
    println!("{:<44}{:>10.1}", "Cache::get", median(got));
    println!("{:<44}{:>10.1}", "Mutex<HashMap<String, (Arc, Instant)>>", median(mapped));

    let threads = std::thread::available_parallelism().map_or(2, |count| count.get());
    let (mut shared, mut locked) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        shared.push(on_threads(threads, &keys, |key| drop(black_box(now(cache.get_or_try(key, HOUR, made))))));
        locked.push(on_threads(threads, &keys, |key| drop(black_box(look_up(&map, key)))));
    }
    println!("\nthe same on {threads} threads, per hit of each");
    println!("{:<44}{:>10.1}", "Cache::get_or_try", median(shared));
    println!("{:<44}{:>10.1}", "Mutex<HashMap<String, (Arc, Instant)>>", median(locked));

    println!("\n{:<44}{:>10}{:>13}", "a page, and with its tag", "ns", "allocations");
    for length in [1_000, 10_000, 50_000] {
        let (bare, tagged) = (page(length), Stack::new().layer(layer()).app(page(length)));
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            without.push(nanoseconds(CALLS / 10, || call(&bare)));
            with.push(nanoseconds(CALLS / 10, || call(&tagged)));
        }
        let (without, with) = (median(without), median(with));
        let more = allocations(|| call(&tagged)) - allocations(|| call(&bare));
        println!("{:<44}{:>10.1}{more:>13}", format!("{length} bytes: {without:.0} and {with:.0}"), with - without);
    }
}

fn on_threads(threads: usize, keys: &[String], hit: impl Fn(&str) + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..100).for_each(|_| keys.iter().for_each(|key| hit(key))));
        }
    });
    start.elapsed().as_nanos() as f64 / (100 * keys.len()) as f64
}
