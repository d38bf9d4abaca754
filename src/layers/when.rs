//! A layer that is there for some requests only.

use crate::site::{About, Start, short_name};
use crate::{Middleware, Request, Response, Result, Service};
use std::any::TypeId;

/// Puts a layer in the way of those requests for which it is needed; the others go past it.
///
/// What the layer provides to those below is there for some requests only, so a handler that needs it is reported when the site
/// starts: it takes an `Option`, or has a layer above it that is always there. But with [`lacking`] what is asked for is there in
/// any case.
///
/// So an application can bring what it cannot do without, and install it by itself where nobody above has done so:
/// [`lacking`] asks whether something is in the request's extensions.
///
/// ```
/// use purlin::layers::{RequestIds, lacking};
/// use purlin::{RequestId, Router, Stack, get};
///
/// async fn id(id: RequestId) -> String {
///     id.to_string()
/// }
///
/// // Has ids of its own, unless the site around it gives them.
/// fn app() -> impl purlin::Service {
///     Stack::new()
///         .layer(lacking::<RequestId, _>(RequestIds::new()))
///         .app(Router::new().route("/id", get(id)))
/// }
/// # Stack::new().app(app()).check().unwrap();
/// ```
pub struct When<M> {
    layer: M,
    needed: Box<dyn Fn(&Request) -> bool + Send + Sync>,
    condition: String,
    /// Requests past the layer have this all the same.
    always: Option<TypeId>,
}

impl<M: Middleware> When<M> {
    /// `layer` for the requests of which `needed` is true. What that asks is called `condition` in the printed stack.
    pub fn new(
        condition: impl Into<String>,
        needed: impl Fn(&Request) -> bool + Send + Sync + 'static,
        layer: M,
    ) -> Self {
        Self { layer, needed: Box::new(needed), condition: condition.into(), always: None }
    }
}

/// A layer for the requests that have no `T` in their extensions: see [`When`].
pub fn lacking<T: Send + Sync + 'static, M: Middleware>(layer: M) -> When<M> {
    let when = When::new(format!("no {}", short_name::<T>()), |req| req.extensions().get::<T>().is_none(), layer);
    When { always: Some(TypeId::of::<T>()), ..when }
}

impl<M: Middleware> Middleware for When<M> {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        if !(self.needed)(&req) {
            return Ok(next.call(req).await);
        }
        self.layer.handle(req, next).await.map_err(|error| error.in_layer(short_name::<M>()))
    }

    fn describe(&self, about: &mut About) {
        about.named::<M>();
        self.layer.describe(about);
        about.provides_at_most(self.always);
        about.option("when", &self.condition);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.layer.start(start)
    }
}

impl<M> std::fmt::Debug for When<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "When({}, {})", self.condition, short_name::<M>())
    }
}
