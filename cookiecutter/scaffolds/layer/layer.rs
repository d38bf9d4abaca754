//! `{{ name.pascal }}`: a header on every answer of what stands below it. What it does is yours to change.

use purlin::site::About;
use purlin::{HeaderValue, Middleware, Request, Response, Result, Service};

/// The header that it sets.
const HEADER: &str = "x-{{ name.kebab }}";

/// Puts a header on every answer of what stands below it, on that of a failure too.
#[derive(Clone, Debug)]
pub struct {{ name.pascal }} {
    value: HeaderValue,
}

impl {{ name.pascal }} {
    /// What the header says.
    pub fn new(value: &'static str) -> Self {
        Self {
            value: HeaderValue::from_static(value),
        }
    }
}

impl Middleware for {{ name.pascal }} {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        // Here a request is on its way in: look at it, change it, or answer it by a `return`.
        let mut response = next.call(req).await;
        // Here its answer is on its way out, also if something below failed: `response.error()` tells.
        response.headers_mut().insert(HEADER, self.value.clone());
        Ok(response)
    }

    /// What `cargo run -- stack` prints beside its name.
    fn describe(&self, about: &mut About) {
        about.option("value", self.value.to_str().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER, {{ name.pascal }}};
    use purlin::testing::{Client, layer_contract};
    use purlin::{Error, Response, Result, Router, Stack, get};

    async fn fails() -> Result<Response> {
        Err(Error::internal("on purpose"))
    }

    #[purlin::test]
    async fn every_answer_has_the_header() {
        let routes = Router::new()
            .route("/", get(async || "fine"))
            .route("/fails", get(fails));
        let app = Stack::new().layer({{ name.pascal }}::new("yes")).app(routes);
        let client = Client::new(app).expect_errors();
        for (path, status) in [("/", 200), ("/fails", 500), ("/none", 404)] {
            let answer = client.get(path).await;
            answer.assert_status(status).assert_header(HEADER, "yes");
        }
    }

    /// What every layer promises to those above and below it.
    #[purlin::test]
    async fn it_keeps_the_contract_of_layers() {
        layer_contract(|| {{ name.pascal }}::new("yes")).await;
    }
}
