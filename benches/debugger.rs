//! What the debugger costs what does not fail: instructions, counted by callgrind, which Debian's package `valgrind` has.
//!
//! `cargo bench --bench debugger --features debugger,tower`; with `--profile dev` that of a debug build.
//!
//! Each figure is the difference of two runs of different length, so the start of the program is in none. Unlike times they
//! are the same in each run, within a few.

mod measure;

use measure::{callgrind, now};
use purlin::layers::Debugger;
use purlin::{Body, Connection, Error, Request, Response, Router, Stack, get, text};
use std::convert::Infallible;
use std::hint::black_box;
use tower::Service;

/// As a browser of the developer sends it.
fn request() -> Request {
    let mut request = Request::new(Body::empty());
    for (name, value) in [
        ("host", "localhost:8000"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "de,en-US;q=0.7,en;q=0.3"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
    ] {
        request.headers_mut().insert(name, purlin::HeaderValue::from_static(value));
    }
    let peer = ([127, 0, 0, 1], 50_000).into();
    request.extensions_mut().insert(Connection::new(Some(peer), None));
    request
}

fn ask(service: &mut impl Service<Request, Response = Response, Error = Infallible>) {
    let Ok(answer) = now(service.call(black_box(request())));
    drop(black_box(answer));
}

fn routes() -> Router {
    Router::new().route("/", get(async || text("Hello, world!")))
}

/// What is counted, and in words.
const KINDS: [(&str, &str); 5] = [
    ("none", "a request, no layer"),
    ("empty", "a request, a layer that does nothing"),
    ("layer", "a request, `Debugger`"),
    ("error", "`From<E> for Error`, nothing armed"),
    ("capture", "of these for the debugger"),
];

/// For comparison: what any layer costs.
struct Nothing;

impl purlin::Middleware for Nothing {
    async fn handle(&self, req: Request, next: &impl purlin::Service) -> purlin::Result<Response> {
        Ok(next.call(req).await)
    }
}

fn run(kind: &str, times: u32) -> purlin::Result<()> {
    match kind {
        "none" => {
            let mut service = Stack::new().app(routes()).into_tower()?;
            (0..times).for_each(|_| ask(&mut service));
        }
        "empty" => {
            let mut service = Stack::new().layer(Nothing).app(routes()).into_tower()?;
            (0..times).for_each(|_| ask(&mut service));
        }
        "layer" => {
            let mut service = Stack::new().layer(Debugger::new()).app(routes()).into_tower()?;
            (0..times).for_each(|_| ask(&mut service));
        }
        "error" => (0..times).for_each(|_| drop(black_box(Error::from(black_box(std::fmt::Error))))),
        // In a release build nobody calls it.
        _ if cfg!(debug_assertions) => (0..times).for_each(|_| drop(black_box(purlin_debugger::capture()))),
        _ => {}
    }
    Ok(())
}

/// The instructions of one time; none without the tool.
fn instructions(kind: &str) -> Option<u64> {
    let counted = |times: u32| callgrind::instructions(&[kind, &times.to_string()], None);
    const FEW: u32 = 500;
    const MANY: u32 = 2500;
    Some(counted(MANY)?.saturating_sub(counted(FEW)?) / u64::from(MANY - FEW))
}

fn main() -> purlin::Result<()> {
    let mut args = std::env::args().skip(1);
    if let (Some(kind), Some(times)) = (args.next(), args.next())
        && KINDS.iter().any(|(known, _)| *known == kind)
    {
        return run(&kind, times.parse()?);
    }
    println!("{:<40}{:>14}", if cfg!(debug_assertions) { "debug build" } else { "release build" }, "instructions");
    for (kind, what) in KINDS {
        match instructions(kind) {
            Some(count) => println!("{what:<40}{count:>14}"),
            None => {
                println!("not counted: `valgrind` is not there");
                break;
            }
        }
    }
    Ok(())
}
