//! What it costs to leave the runtime for a thread that may block, and what is gained.
//!
//! `cargo bench --bench blocking`. On Linux: CPU time is that of all threads, as `/proc` tells it. Rounds are interleaved and
//! the medians compared, so that a busy machine disturbs all alike.

mod measure;

use measure::median;
use purlin::layers::Blocking;
use purlin::pool::Pool;
use purlin::{BoxService, Request, Router, Service, Stack, get};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tower::ServiceExt;

type Ask = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

fn ask(app: impl Service + 'static) -> Ask {
    let app = BoxService::new(app);
    Arc::new(move || {
        let app = app.clone();
        Box::pin(async move { assert_eq!(app.call(Request::default()).await.status(), 200) })
    })
}

fn ask_axum(app: axum::Router) -> Ask {
    Arc::new(move || {
        let app = app.clone();
        Box::pin(async move {
            let request = axum::http::Request::new(axum::body::Body::empty());
            let Ok(response) = app.oneshot(request).await;
            assert_eq!(response.status(), 200);
        })
    })
}

fn plain() -> &'static str {
    black_box("done")
}

async fn inline() -> &'static str {
    plain()
}

async fn on_the_pool(pool: Pool) -> purlin::Result<&'static str> {
    pool.run(plain).await
}

async fn on_tokios() -> purlin::Result<&'static str> {
    Ok(spawn_blocking(plain).await?)
}

/// Nanoseconds of CPU that the threads of this process have used.
fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let used = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    used.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok()).sum()
}

/// Microseconds a request, of CPU and by the clock, with so many at the same time.
async fn round(ask: &Ask, at_once: u32, requests: u32) -> (f64, f64) {
    let (cpu_before, start) = (cpu(), Instant::now());
    let each = requests / at_once;
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let ask = ask.clone();
            tokio::spawn(async move {
                for _ in 0..each {
                    ask().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no request fails");
    }
    let requests = f64::from(each * at_once);
    ((cpu() - cpu_before) / requests / 1e3, start.elapsed().as_nanos() as f64 / requests / 1e3)
}

const ROUNDS: usize = 21;
const REQUESTS: u32 = 1_600;

async fn cost() {
    let routed = |route| ask(Stack::new().app(Router::new().route("/", route)));
    let axum = |route| ask_axum(axum::Router::new().route("/", route));
    let table: [(&str, Ask); 7] = [
        ("async fn", routed(get(inline))),
        (
            "async fn below `Blocking`",
            ask(Stack::new().layer(Blocking::new()).app(Router::new().route("/", get(inline)))),
        ),
        ("fn", routed(get(plain))),
        ("async fn, `pool.run`", routed(get(on_the_pool))),
        ("async fn, `spawn_blocking`", routed(get(on_tokios))),
        ("axum, async fn", axum(axum::routing::get(inline))),
        ("axum, `spawn_blocking`", axum(axum::routing::get(async || spawn_blocking(plain).await.unwrap_or_default()))),
    ];
    println!(
        "{:<28}{:>16}{:>16}{:>18}{:>16}",
        "µs a request", "CPU, 1 at once", "by the clock", "CPU, 32 at once", "by the clock"
    );
    let mut found = vec![[const { Vec::new() }; 4]; table.len()];
    for _ in 0..ROUNDS {
        for (at, (_, ask)) in table.iter().enumerate() {
            for (column, at_once) in [(0, 1), (2, 32)] {
                let (cpu, clock) = round(ask, at_once, REQUESTS).await;
                found[at][column].push(cpu);
                found[at][column + 1].push(clock);
            }
        }
    }
    for ((name, _), columns) in table.iter().zip(found) {
        let [a, b, c, d] = columns.map(median);
        println!("{name:<28}{a:>16.1}{b:>16.1}{c:>18.1}{d:>16.1}");
    }
}

/// About a millisecond of work.
fn burn() -> String {
    let mut sum = 0_u64;
    for n in 0..1_000_000_u64 {
        sum = sum.wrapping_add(black_box(n).rotate_left(7) ^ sum);
    }
    sum.to_string()
}

async fn burns() -> String {
    burn()
}

/// Work that calculates, by 16 clients at once, and what another route's clients notice of it.
async fn beside(name: &str, app: impl Service + 'static) {
    let app = BoxService::new(app);
    let (stop, burnt) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let to = |path: &'static str| {
        let mut request = Request::default();
        *request.uri_mut() = path.parse().expect("a path");
        request
    };
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (app, stop, burnt) = (app.clone(), stop.clone(), burnt.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(app.call(to("/burn")).await.status(), 200);
                    burnt.fetch_add(1, Ordering::Relaxed);
                    // As a connection does between two requests.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut late: Vec<f64> = Vec::new();
    let mut due = start;
    while start.elapsed() < Duration::from_secs(3) {
        // From when a client sends it: also the runtime may be late.
        due = (due + Duration::from_millis(2)).max(Instant::now());
        tokio::time::sleep_until(due.into()).await;
        assert_eq!(app.call(to("/quick")).await.status(), 200);
        late.push(due.elapsed().as_nanos() as f64 / 1e6);
    }
    let seconds = start.elapsed().as_secs_f64();
    let answered = burnt.load(Ordering::Relaxed) as f64 / seconds;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no request fails");
    }
    late.sort_by(f64::total_cmp);
    let of = |part: usize| late[(late.len() - 1) * part / 100];
    println!("{name:<28}{answered:>16.0}{:>16.2}{:>16.2}{:>16.2}", of(50), of(99), of(100));
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let run = |work: Pin<Box<dyn Future<Output = ()> + Send>>| {
        runtime.block_on(async { tokio::spawn(work).await.expect("no request fails") });
    };
    run(Box::pin(cost()));
    println!();
    println!("{:<28}{:>16}{:>16}{:>16}{:>16}", "16 clients calculate", "answers/s", "median, ms", "99 %", "the worst");
    let routes = |burn| Router::new().route("/burn", burn).route("/quick", get(inline));
    run(Box::pin(async move { beside("async fn", Stack::new().app(routes(get(burns)))).await }));
    let two = Blocking::new().size(2);
    run(Box::pin(async move { beside("fn, 2 threads", Stack::new().app(routes(get(burn).layer(two)))).await }));
    run(Box::pin(async move { beside("fn, 16 threads", Stack::new().app(routes(get(burn)))).await }));
    let spawned = async || spawn_blocking(burn).await.unwrap_or_default();
    run(Box::pin(async move { beside("async fn, `spawn_blocking`", Stack::new().app(routes(get(spawned)))).await }));
}
