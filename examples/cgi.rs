//! Programs beside the routes of a site, and the site as such a program itself.
//!
//! `cargo run --features cgi --example cgi`, then http://127.0.0.1:8000/date; or, as a web server would start it:
//! `GATEWAY_INTERFACE=CGI/1.1 REQUEST_METHOD=GET PATH_INFO=/ target/debug/examples/cgi`.

use purlin::capabilities::Capabilities;
use purlin::cgi::Cgi;
use purlin::fastcgi::FastCgi;
use purlin::{Body, Bytes, Config, Path, Request, Result, Router, Service, Stack, get, post};

async fn home(server: Capabilities) -> &'static str {
    if server.run_once { "This process answers you and ends." } else { "This process answers everybody." }
}

async fn hello(Path(name): Path<String>) -> String {
    format!("Hello, {name}!")
}

/// Sends back what comes, as it comes.
async fn echo(req: Request) -> Body {
    req.into_body()
}

/// A program starts in its own folder: paths are absolute.
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

fn stack(_: Config) -> Result<impl Service> {
    let date = "printf 'Content-Type: text/plain; charset=utf-8\\n\\n'; exec date";
    let routes = Router::new()
        .route("/", get(home))
        .route("/hello/{name}", get(hello))
        .route("/echo", post(echo))
        .route("/half", get(async || Body::stream(Half::default())))
        // A program for each request: for what is asked for seldom, and for old scripts. Some milliseconds each.
        .mount("/date", Cgi::program("/bin/sh").args(["-c", date]))
        // PHP, and applications of other languages, by processes that stay: what is asked for often.
        .mount("/php", FastCgi::at("unix:/run/php/php-fpm.sock").root(HERE).front_controller("index.php"));
    Ok(Stack::new().app(routes))
}

/// An answer that breaks off after its first word.
#[derive(Default)]
struct Half(bool);

impl futures_core::Stream for Half {
    type Item = Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let first = !std::mem::replace(&mut self.0, true);
        let piece = if first { Ok(Bytes::from("half")) } else { Err(purlin::Error::internal("no second half")) };
        std::task::Poll::Ready(Some(piece))
    }
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn a_program_tells_the_date() {
    let client = purlin::testing::Client::new(stack(Config::default()).unwrap());
    client.get("/").await.assert_contains("answers everybody");
    client.get("/hello/Ada").await.assert_contains("Hello, Ada!");
    client.get("/date").await.assert_status(200).assert_contains(":");
}
