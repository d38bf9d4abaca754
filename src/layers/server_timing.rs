//! In debug builds, measures how long a request is in each layer and in its handler.

use crate::site::{About, Start};
#[cfg(debug_assertions)]
use crate::timing::{Clock, Timings};
use crate::{Middleware, Request, Response, Result, Service};
#[cfg(debug_assertions)]
use {
    crate::site::Site,
    http::HeaderName,
    std::sync::{Arc, OnceLock},
};

/// Notes when a request comes to each layer below, and when its answer leaves it.
///
/// Stands outermost: of what is above it nothing is known. What it has noted is told
///
/// - to the browser, in the header `Server-Timing` (W3C Server Timing) of every answer, which its developer tools show beside the
///   request: the whole time, and that of each layer and of the handler without what is further in, on the way in and out, until the head
///   of the answer passes here. A body that streams takes its time after that.
/// - to handlers, as [`Timings`](crate::timing::Timings): the way in, with the lines of the layers.
///
/// Layers of a route and of a mount are measured too; what stands below [`Workers`](crate::layers) is in another process,
/// and is not.
///
/// Whom the layer [`Debugger`](crate::layers::Debugger) below does not let see its page, since they are not on this machine, gets neither.
///
/// **Only a debug build contains any of this**: in a release build the layer passes on what comes, no layer looks at a clock, and
/// nobody can learn from an answer what it took to make it. In a debug build the times are those of code that is not optimised:
/// they tell which layer takes more than another, and not how long it takes a visitor.
///
/// ```
/// use purlin::layers::{RequestIds, ServerTiming};
/// use purlin::{Router, Stack, get};
///
/// let app = Stack::new()
///     .layer(ServerTiming::new()) // in a site: `.on(config.errors.details)`
///     .layer(RequestIds::new())
///     .app(Router::new().route("/", get(async || "Hello")));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let page = purlin::testing::Client::new(app).get("/").await;
/// # if cfg!(debug_assertions) {
/// // total;dur=0.137, RequestIds;dur=0.031, handler;desc="/";dur=0.020
/// assert!(page.header("server-timing").unwrap().contains(", RequestIds;dur="));
/// # }
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ServerTiming {
    on: bool,
    #[cfg(debug_assertions)]
    site: OnceLock<Arc<Site>>,
}

impl ServerTiming {
    /// On in a debug build, and nothing in a release build.
    pub fn new() -> Self {
        Self {
            on: true,
            #[cfg(debug_assertions)]
            site: OnceLock::new(),
        }
    }

    /// Whether it does anything at all; on by default.
    pub fn on(mut self, on: bool) -> Self {
        self.on = on;
        self
    }
}

impl Default for ServerTiming {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for ServerTiming {
    #[cfg(debug_assertions)]
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        // One above counts already, and it knows more.
        if !self.on || req.extensions().get::<Clock>().is_some() {
            return Ok(next.call(req).await);
        }
        let clock = Clock::new(self.site.get().cloned());
        req.extensions_mut().insert(clock.clone());
        let mut response = next.call(req).await;
        if let Some(times) = clock.header() {
            response.headers_mut().append(HeaderName::from_static("server-timing"), times);
        }
        Ok(response)
    }

    #[cfg(not(debug_assertions))]
    fn handle(&self, req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        crate::service::then(next.call(req), Ok)
    }

    fn describe(&self, about: &mut About) {
        about.option("on", self.on && cfg!(debug_assertions));
        #[cfg(debug_assertions)]
        if self.on {
            about.provides::<Timings>();
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        // Started twice (by a test, say), it stays where it was first.
        #[cfg(debug_assertions)]
        let _ = self.site.set(start.site().clone());
        #[cfg(not(debug_assertions))]
        let _ = start;
        Ok(())
    }
}
