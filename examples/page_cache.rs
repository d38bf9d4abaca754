//! A cache in front of another server: `ORIGIN=http://127.0.0.1:3000 cargo run --example page_cache --features cache,proxy`
//!
//! It keeps to the letter of RFC 9111, and so is what the public tests of caches are run against (`.ci/http-cache-tests`). A cache of a site's
//! own pages is one line, `.layer(PageCache::new())`: none of the options below is for that.

use purlin::layers::PageCache;
use purlin::proxy::Proxy;
use purlin::{Config, Context, Result, Service, Stack};
use std::time::Duration;

fn stack(origin: &str) -> impl Service + use<> {
    let cache = PageCache::new()
        .heuristics(true) // what says no more than when it was changed
        .validating(true) // what has to be asked for each time
        .obey_clients(true) // `Cache-Control` of requests
        .stale_if_error(Duration::from_secs(60)) // while the server is down
        .targeted("surrogate-control") // what the tests know of headers for certain caches
        .share_set_cookie(true); // never in front of anything with a sign-in
    Stack::new().layer(cache).app(Proxy::to(origin))
}

fn main() -> std::process::ExitCode {
    purlin::run(|_: Config| -> Result<_> {
        let origin = std::env::var("ORIGIN").context("reading the variable ORIGIN, the server's address")?;
        Ok(stack(&origin))
    })
}

#[test]
fn it_fits_together() {
    purlin::Stack::new().app(stack("http://127.0.0.1:3000")).check().unwrap();
}
