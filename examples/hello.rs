//! The smallest site: `cargo run --example hello`, then http://127.0.0.1:8000/hello/you

use purlin::{Config, Path, Result, Router, Service, Stack, get};

async fn hello(Path(name): Path<String>) -> String {
    format!("Hello, {name}!")
}

fn stack(_: Config) -> Result<impl Service> {
    Ok(Stack::new().app(Router::new().route("/hello/{name}", get(hello))))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn it_greets_by_name() {
    let client = purlin::testing::Client::new(stack(Config::default()).unwrap());
    client.get("/hello/Ada").await.assert_status(200).assert_contains("Hello, Ada!");
}
