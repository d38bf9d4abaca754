//! Worker processes: `cargo run --example workers --features workers`, then http://127.0.0.1:8000/ and …/crash
//!
//! When to use them: where something of a site may crash, leak or hang, an old library say, and is not to take the rest along. It
//! costs 34 to 52 µs of CPU a request and the memory of each process. Handlers that only block need `Blocking`, and no process.

use purlin::layers::{AccessLog, ErrorPages, RequestIds, Workers};
use purlin::{Config, Result, Router, Service, Stack, get};
use std::time::Duration;

async fn home() -> String {
    format!("process {}\n", std::process::id())
}

/// What no language's exceptions catch.
async fn crash() -> String {
    std::process::abort()
}

/// Never answers, and blocks a thread for it.
async fn hang() -> String {
    std::thread::sleep(Duration::from_secs(3600));
    String::new()
}

fn stack(_: Config) -> Result<impl Service> {
    Ok(Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(ErrorPages::new())
        .layer(Workers::new(2).timeout(Duration::from_secs(10))) // from here on, in two processes
        .app(Router::new().route("/", get(home)).route("/crash", get(crash)).route("/hang", get(hang))))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn in_tests_all_of_it_is_in_one_process() {
    let client = purlin::testing::Client::new(stack(Config::default()).unwrap());
    client.get("/").await.assert_status(200).assert_contains(&std::process::id().to_string());
}
