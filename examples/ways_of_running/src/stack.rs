//! How each part of the site is run is one line here. `cargo run … -- stack` prints the result.

use purlin::cgi::Cgi;
use purlin::fastcgi::FastCgi;
use purlin::layers::{AccessLog, Blocking, ErrorPages, RequestIds, Workers};
use purlin::wsgi::Wsgi;
use purlin::{Config, Html, Path, Result, Router, Service, Stack, get};
use std::time::Duration;

/// The folder of what is not written in Rust.
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ways_of_running");

/// Puts the site together.
pub(crate) fn stack(_: Config) -> Result<impl Service> {
    let routes = Router::new()
        // An `async fn` waits without a thread: for whatever asks a database, a file or another server. The usual case.
        .route("/", get(home))
        // A plain `fn` may block, and is run on a pool of threads: for code that calculates, or knows no `async`.
        .route("/digest/{text}", get(digest))
        // A whole application on such a pool, with a size of its own: for a part that is not to take all of it. More than four
        // at work and eight in the queue are told to come back.
        .mount("/reports", Stack::new().layer(Blocking::new().pool("reports").size(4).queue(8)).app(reports()))
        // In processes of their own: for code that may crash, hang or leak, and is not to take the site along.
        .mount("/pictures", Stack::new().layer(Workers::new(2).timeout(Duration::from_secs(10))).app(pictures()))
        // A program for each request: for an old script that is asked for seldom.
        .mount("/cgi-bin", Cgi::folder(format!("{HERE}/cgi-bin")))
        // Processes that somebody else keeps, by FastCGI: for PHP.
        .mount("/php", FastCgi::at("unix:/run/php/php-fpm.sock").root(format!("{HERE}/php")))
        // Processes of Python that this site keeps: for an application that moves over here route by route.
        .mount("/old", Wsgi::app("guestbook:application").folder(format!("{HERE}/python")).lazy(true));
    // The whole site in several processes is no line of the stack: `serve --processes 4`, or `server.processes = 4`. It is replaced
    // without a lost request by `restart`, and is itself a CGI program where a web server starts it as one.
    Ok(Stack::new().layer(RequestIds::new()).layer(AccessLog::new()).layer(ErrorPages::new()).app(routes))
}

async fn home() -> Html<&'static str> {
    Html(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Ways of running</title></head><body><h1>Ways of running</h1>\n<ul>\
         <li><a href=\"/digest/hello\">a plain <code>fn</code></a></li>\
         <li><a href=\"/reports/primes\">an application on a pool of threads</a></li>\
         <li><a href=\"/pictures/process\">worker processes</a></li>\
         <li><a href=\"/cgi-bin/date\">a program for each request</a></li>\
         <li><a href=\"/php/\">PHP</a></li>\
         <li><a href=\"/old/guestbook\">Python</a></li></ul></body></html>\n",
    )
}

/// FNV-1a, over and over: what would hold up every other request of its thread.
fn digest(Path(text): Path<String>) -> String {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for _ in 0..10_000 {
        digest = text.bytes().fold(digest, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }
    format!("{digest:016x}\n")
}

fn reports() -> Router {
    Router::new().route("/primes", get(primes))
}

/// An `async fn` that does not wait, but calculates: below `Blocking` that is no harm.
async fn primes() -> String {
    let is_prime = |number: &u32| {
        (2..*number).take_while(|divisor| divisor * divisor <= *number).all(|divisor| !number.is_multiple_of(divisor))
    };
    format!("{} primes\n", (2..20_000).filter(is_prime).count())
}

fn pictures() -> Router {
    Router::new()
        .route("/process", get(async || format!("process {}\n", std::process::id())))
        // What no language's exceptions catch: that request is answered 502, and the process is back at once.
        .route("/crash", get(async || -> String { std::process::abort() }))
}
