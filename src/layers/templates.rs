//! Renders the views that handlers return.

use crate::service::{Answer, Step};
use crate::site::{About, Site, Start};
use crate::template::{Engine, Facts, Links};
use crate::{Body, MatchedRoute, Middleware, Request, RequestId, Response, Result, Service, View};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use std::sync::{Arc, OnceLock};

/// Renders the [`View`] that a handler returned, by a template engine; every other answer passes.
///
/// Templates may use what the handler put into the context, the [`Names`](crate::template::Names) that layers gave, and
/// the names and functions of the engine; another engine is another argument of `new`, see [`Engine`]. A `Content-Type`
/// that the handler set stays.
///
/// ```
/// use purlin::layers::Templates;
/// use purlin::{Assets, Router, Stack, View, get};
/// use purlin::template::Tera;
///
/// async fn hello() -> View {
///     View::new("hello.html", serde_json::json!({ "name": "Ann & Bob" }))
/// }
///
/// let templates = Assets::embedded(&[("hello.html", b"Hello, {{ name }}!")]);
/// let app = Stack::new()
///     .layer(Templates::new(Tera::new(templates)))
///     .app(Router::new().route("/", get(hello)));
/// # use purlin::Service;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let response = app.call(purlin::http::Request::get("/").body(purlin::Body::empty()).unwrap()).await;
/// assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
/// assert_eq!(response.into_body().collect(100).await.unwrap(), "Hello, Ann &amp; Bob!");
/// # });
/// ```
///
/// # Errors
///
/// What the engine says, as a carried 500 in place of the view's answer. The site does not start with a template that
/// cannot be read, or that names a route which does not exist.
pub struct Templates {
    engine: Arc<dyn Engine>,
    site: OnceLock<Arc<Site>>,
}

impl Templates {
    /// Renders by this engine.
    pub fn new(engine: impl Engine) -> Self {
        Self { engine: Arc::new(engine), site: OnceLock::new() }
    }
}

impl Templates {
    async fn render(&self, facts: Facts, view: View, mut response: Response) -> Result<Response> {
        let route = response.extensions().get::<MatchedRoute>();
        let links = Links::new(self.site.get().cloned(), route.cloned());
        let page = facts.render(&*self.engine, &view, links).await;
        let page = page.map_err(|error| {
            if let Some(trail) = &facts.trail {
                trail.leave_view(&view);
            }
            match route {
                Some(route) => error.in_route(route.pattern()),
                None => error,
            }
        })?;
        *response.body_mut() = Body::from(page);
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().entry(CONTENT_TYPE).or_insert_with(|| view.media_type());
        Ok(response)
    }
}

impl Middleware for Templates {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let facts = Facts::of(&mut req);
        Answer::below(next.call(req), |mut response: Response| match response.extensions_mut().remove() {
            Some(view) => Step::Later(Box::pin(self.render(facts, view, response))),
            None => Step::Done(Ok(response)),
        })
    }

    fn describe(&self, about: &mut About) {
        self.engine.describe(about);
        about.provides::<View>().wants::<RequestId>().wants::<crate::request::CspNonce>().wants::<crate::Session>();
        // A page that fails is to roll back.
        #[cfg(feature = "database")]
        about.wants::<crate::database::Verdict>();
        about.pages(self.engine.clone());
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.engine.check(start.site())?;
        // Started twice (by a test, say), it stays where it was first.
        let _ = self.site.set(start.site().clone());
        Ok(())
    }
}
