//! What a stack from a file costs, beside the same stack in code; and what loading 100 sections takes.
//!
//! `cargo bench --features deploy --bench deploy`. Rounds are interleaved and the medians compared, so that a busy machine
//! disturbs both alike.

mod measure;

use measure::{allocations, median, nanoseconds, now};
use purlin::deploy::{Deploy, Graph, NoOptions, Registry};
use purlin::{BoxMiddleware, Middleware, Request, Response, Result, Service, Stack, handler, text};
use std::hint::black_box;
use std::time::Instant;

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
const LAYERS: usize = 12;

fn call(service: &impl Service) -> Response {
    now(service.call(black_box(Request::default())))
}

async fn hello() -> Response {
    text("Hello, world!")
}

fn registry() -> Registry {
    Registry::new()
        .layer("bench:trivial", |_: NoOptions, _| Ok(Trivial))
        .app("bench:hello", |_: NoOptions, _| Ok(handler(hello)))
}

/// A file with so many layers, each a section, around an application.
fn file(layers: usize) -> String {
    let names: String = (0..layers).map(|n| format!("\"l{n}\", ")).collect();
    let mut text = format!("[defaults]\nadmin = \"ops\"\n[app.main]\npipeline = [{names}\"bench:hello\"]\n");
    for n in 0..layers {
        text += &format!("[layer.l{n}]\nuse = \"bench:trivial\"\nglobals = {{ place = \"${{here}}/{n}\" }}\n");
    }
    text
}

fn load(text: &str, registry: Registry) -> impl Service + use<> {
    let graph = Graph::from_toml("bench.toml", text).expect("the bench's file is good");
    let deployment = Deploy::new(registry).graph(graph).expect("nothing is laid over it");
    deployment.app("main").expect("the bench's file can be built")
}

fn main() {
    let none = Stack::new().app(handler(hello));
    let four = || Stack::new().layer(Trivial).layer(Trivial).layer(Trivial).layer(Trivial);
    let eight = four().layer(Trivial).layer(Trivial).layer(Trivial).layer(Trivial);
    let code = eight.layer(Trivial).layer(Trivial).layer(Trivial).layer(Trivial).app(handler(hello));
    let boxed: Vec<_> = (0..LAYERS).map(|_| BoxMiddleware::new(Trivial)).collect();
    let boxed = Stack::new().layer(boxed).app(handler(hello));
    let from_file = load(&file(LAYERS), registry());

    let mut times = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        times[0].push(nanoseconds(CALLS, || call(&none)));
        times[1].push(nanoseconds(CALLS, || call(&code)));
        times[2].push(nanoseconds(CALLS, || call(&boxed)));
        times[3].push(nanoseconds(CALLS, || call(&from_file)));
    }
    let [none_ns, code_ns, boxed_ns, file_ns] = times.map(median);
    println!("{:<28}{:>10}{:>12}{:>13}", "", "ns a call", "ns a layer", "allocations");
    println!("{:<28}{none_ns:>10.1}{:>12}{:>13}", "the handler alone", "", allocations(|| call(&none)));
    for (name, time, count) in [
        ("12 layers in code", code_ns, allocations(|| call(&code))),
        ("12 boxed layers in code", boxed_ns, allocations(|| call(&boxed))),
        ("12 layers of a file", file_ns, allocations(|| call(&from_file))),
    ] {
        println!("{name:<28}{time:>10.1}{:>12.1}{count:>13}", (time - none_ns) / LAYERS as f64);
    }

    let hundred = file(99);
    let loads = (0..31).map(|_| {
        let registry = registry();
        let start = Instant::now();
        black_box(load(&hundred, registry));
        start.elapsed().as_secs_f64() * 1e3
    });
    println!("100 sections: {:.2} ms from text to application", median(loads.collect()));
}
