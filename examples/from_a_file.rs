//! A site whose layers stand in a file: `cargo run --features deploy --example from_a_file -- serve examples/from_a_file/site.toml`.
//!
//! The same file in PasteDeploy's dialect is `site.ini` beside it, and `two_servers.toml` serves more with it. Try `stack`, `routes`, `config check`, `layers`, `request GET /`.

use purlin::deploy::Registry;
use purlin::{Config, Middleware, Request, Response, Result, Router, Service, Stack, get};
use serde::Deserialize;
use std::process::ExitCode;

/// A layer of the site's own, which is made from the options of its section.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greet {
    word: String,
}

impl Middleware for Greet {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = next.call(req).await;
        response.headers_mut().insert("x-greeting", self.word.parse()?);
        Ok(response)
    }
}

/// The site itself: `app:main` in the file.
fn stack(_: Config) -> Result<impl Service> {
    Ok(Stack::new().app(Router::new().route("/", get(async || "Hello from a file!\n"))))
}

fn registry() -> Registry {
    Registry::new().layer("app:greet", |greet: Greet, _| Ok(greet)).doc("Greets in a header.")
}

fn main() -> ExitCode {
    purlin::deploy::run(registry(), stack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use purlin::deploy::{Deploy, Graph, NoOptions};

    #[test]
    fn both_files_are_one_graph_and_can_be_built() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/from_a_file");
        let read = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            Graph::from_text(folder.join(name), &text).unwrap()
        };
        assert_eq!(read("site.toml"), read("site.ini"));
        let registry = registry().app("app:main", |_: NoOptions, section| stack(section.config()?.clone()));
        Deploy::new(registry).config(Config::default()).graph(read("site.toml")).unwrap().check().unwrap();
    }

    #[test]
    fn two_servers_are_put_together_from_two_files() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/from_a_file/two_servers.toml");
        let registry = registry().app("app:main", |_: NoOptions, section| stack(section.config()?.clone()));
        let deployment = Deploy::new(registry).config(Config::default()).open(&file.display().to_string()).unwrap();
        deployment.check().unwrap();
        assert_eq!(deployment.servers().unwrap().len(), 2);
    }
}
