//! Two lines of a stack replaced: Tera by minijinja, and Purlin's `Compression` by tower-http's.
//! `cargo run --example replace_a_layer --features tower`

use purlin::layers::{AccessLog, ErrorPages, RequestIds, Templates};
use purlin::template::{Engine, Page};
use purlin::{Config, Context, Path, Result, Router, Service, Stack, View, get};
use serde::Serialize;
use tower_http::compression::CompressionLayer;

/// minijinja as Purlin's template engine.
struct MiniJinja(minijinja::Environment<'static>);

impl MiniJinja {
    fn new() -> Result<Self> {
        let mut environment = minijinja::Environment::new();
        environment.add_template("hello.html", include_str!("replace_a_layer.html"))?;
        Ok(Self(environment))
    }
}

impl Engine for MiniJinja {
    fn render(&self, page: &Page<'_>) -> Result<String> {
        let template = self.0.get_template(page.template())?;
        let context: minijinja::Value = serde_json::from_value(page.to_json()?.into())?;
        template.render(context).context("rendering by minijinja")
    }

    fn contains(&self, template: &str) -> bool {
        self.0.get_template(template).is_ok()
    }
}

#[derive(Serialize)]
struct Hello {
    name: String,
    layers: Vec<&'static str>,
}

async fn hello(Path(name): Path<String>) -> View {
    View::new("hello.html", Hello { name, layers: vec!["tower-http's compression", "minijinja's templates"] })
}

fn stack(_: Config) -> Result<impl Service> {
    Ok(Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(purlin::tower(CompressionLayer::new())) // was: Compression::new()
        .layer(ErrorPages::new())
        .layer(Templates::new(MiniJinja::new()?)) // was: Templates::new(Tera::new(embed!("templates")))
        .app(Router::new().route("/hello/{name}", get(hello))))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn a_page_by_minijinja_is_compressed_by_tower_http() {
    let client = purlin::testing::Client::new(stack(Config::default()).unwrap());
    let page = client.get("/hello/Ada%20&%20Bob").await;
    page.assert_status(200).assert_contains("<h1>Hello, Ada &amp; Bob!</h1>");
    let page = client.get("/hello/Ada").header("accept-encoding", "gzip").await;
    page.assert_header("content-encoding", "gzip");
    assert_eq!(&page.bytes()[..2], [0x1f, 0x8b], "these are gzip's first bytes");
}
