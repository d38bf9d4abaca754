//! Tower both ways: `cargo run --example with_tower --features tower`, then http://127.0.0.1:8000/axum/purlin

use purlin::{Config, Result, Router, Service, Stack, get};
use tower_http::cors::CorsLayer;

/// A layer of `tower-http` in the stack, and an axum `Router` mounted below it.
fn stack(_: Config) -> Result<impl Service> {
    let routes =
        Router::new().route("/", get(async || "purlin around")).mount("/axum", purlin::tower_service(axum_routes()?));
    Ok(Stack::new().layer(purlin::tower(CorsLayer::permissive())).app(routes))
}

/// An axum `Router`, with an application of Purlin's inside.
fn axum_routes() -> Result<axum::Router> {
    let inner = Stack::new().app(Router::new().route("/", get(async || "purlin in axum in purlin")));
    Ok(axum::Router::new()
        .route("/", axum::routing::get(async || "axum in purlin"))
        .nest_service("/purlin", inner.into_tower()?))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn each_answers_inside_the_other() {
    let client = purlin::testing::Client::new(stack(Config::default()).unwrap());
    for (path, expected) in
        [("/", "purlin around"), ("/axum", "axum in purlin"), ("/axum/purlin", "purlin in axum in purlin")]
    {
        let page = client.get(path).header("origin", "https://other.example").await;
        page.assert_status(200).assert_contains(expected).assert_header("access-control-allow-origin", "*");
    }
}
