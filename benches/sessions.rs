//! What sessions cost: left alone, read, and changed, by the kind of store.
//!
//! `cargo bench --bench sessions`. Rounds are interleaved and the quickest of each compared: what else the machine does can
//! only add.

mod measure;

use measure::{nanoseconds, now};
use purlin::config::SecretKeys;
use purlin::layers::{RequestIds, SecurityHeaders, Sessions, Templates};
use purlin::seal::Seal;
use purlin::session::{CookieStore, MemoryStore};
use purlin::template::{Engine, Page};
use purlin::{BoxService, Bytes, HeaderValue, Request, Response, Result, Router, Service, Session, Stack, get, text};
use std::hint::black_box;

const CALLS: u32 = 2_000;
const ROUNDS: usize = 101;

/// As one comes from a browser: with a cookie, which lies in the connection's buffer and is shared.
fn request(path: &'static str, cookie: &HeaderValue) -> Request {
    let mut req = Request::default();
    *req.uri_mut() = purlin::Uri::from_static(path);
    req.headers_mut().insert("cookie", cookie.clone());
    req.extensions_mut().insert(purlin::Connection::new(None, None));
    req
}

struct NoTemplates;

impl Engine for NoTemplates {
    fn render(&self, _: &Page<'_>) -> Result<String> {
        Ok(String::new())
    }

    fn contains(&self, _: &str) -> bool {
        true
    }
}

fn routes() -> Router {
    Router::new()
        .route("/untouched", get(async || text("hello")))
        .route("/read", get(async |session: Session| session.get::<u64>("user").map(|user| format!("{user:?}"))))
        .route("/changed", get(async |session: Session| session.increment("n", 1).map(|n| n.to_string())))
        .route("/begin", get(async |session: Session| session.insert("user", &7).map(|()| "")))
}

fn site(layer: Option<Sessions>) -> BoxService {
    let above = Stack::new().layer(RequestIds::new()).layer(SecurityHeaders::new());
    BoxService::new(above.layer(layer).layer(Templates::new(NoTemplates)).app(routes()))
}

/// The cookie of a visitor who is there already.
fn visitor(site: &BoxService) -> HeaderValue {
    let response: Response = now(site.call(request("/begin", &HeaderValue::from_static("theme=dark"))));
    let pair = match response.headers().get("set-cookie") {
        Some(set) => set.to_str().unwrap_or_default().split(';').next().unwrap_or_default(),
        None => "session=none",
    };
    HeaderValue::from_maybe_shared(Bytes::from(format!("theme=dark; {pair}"))).expect("part of a header value")
}

/// Holes all over the heap, as it has them where a process has lived for a while. In a tidy one the last chunk is cheaper to free and
/// to get again than all others, by 240 instructions, and it is chance whose chunk that is.
#[allow(clippy::vec_box)]
fn holes() -> Vec<Box<[u8; 200]>> {
    let mut chunks: Vec<_> = (0..2_000).map(|_| Some(Box::new([1; 200]))).collect();
    chunks.iter_mut().step_by(2).for_each(|chunk| *chunk = None);
    chunks.into_iter().flatten().collect()
}

fn least(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

fn main() {
    let keys = SecretKeys::random();
    let sites = [
        ("no sessions", site(None)),
        ("in a cookie", site(Some(Sessions::new(CookieStore::new(&keys))))),
        ("in memory", site(Some(Sessions::new(MemoryStore::new())))),
    ];
    println!("{:<28}{:>10}{:>10}", "", "ns a call", "of it own");
    for path in ["/untouched", "/read", "/changed"] {
        let mut plain = 0.0;
        let cookies: Vec<_> = sites.iter().map(|(_, site)| visitor(site)).collect();
        for ((_, site), cookie) in sites.iter().zip(&cookies) {
            black_box(now(site.call(request(path, cookie))));
        }
        let _holes = holes();
        let mut times = vec![Vec::new(); sites.len()];
        for _ in 0..ROUNDS {
            for (at, (_, site)) in sites.iter().enumerate() {
                let path = if at == 0 { "/untouched" } else { path };
                times[at].push(nanoseconds(CALLS, || now(site.call(request(path, &cookies[at])))));
            }
        }
        for (at, times) in times.into_iter().enumerate() {
            let (name, _) = &sites[at];
            let path = if at == 0 { "/untouched" } else { path };
            let time = least(times);
            if at == 0 {
                plain = time;
            }
            let own = time - plain;
            println!("{:<28}{time:>10.0}{own:>10.0}", format!("{name}, {}", &path[1..]));
        }
    }
    let seal = Seal::new(&keys, "bench").expect("the keys are long enough");
    for length in [64, 256, 1024, 2900] {
        let bytes = vec![b'x'; length];
        let sealed = seal.seal(&bytes, b"session").expect("randomness");
        let (mut sealing, mut opening) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS / 4 {
            sealing.push(nanoseconds(CALLS, || seal.seal(black_box(&bytes), b"session")));
            opening.push(nanoseconds(CALLS, || seal.open(black_box(&sealed), b"session")));
        }
        println!("{:<28}{:>10.0}", format!("seal {length} bytes"), least(sealing));
        println!("{:<28}{:>10.0}", format!("open {length} bytes"), least(opening));
    }
}
