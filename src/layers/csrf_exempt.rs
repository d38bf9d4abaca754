//! Marks routes that take requests from other sites.

use crate::csrf::Exempt;
use crate::site::About;
use crate::{Middleware, Request, Response, Result, Service};

/// Lets a route take what other sites send: a webhook, which proves by a signature who sends it; a form meant for everybody.
///
/// On a route it holds for the handlers that the route has so far; in the stack of a mount, for all routes below. The layer
/// [`Csrf`](super::Csrf) then lets requests of these methods pass, and no others. `cargo run -- routes` shows it behind the
/// route.
///
/// Such a handler must not go by the visitor's session, which comes along.
///
/// ```
/// use purlin::layers::CsrfExempt;
/// use purlin::{Bytes, Router, StatusCode, post};
///
/// async fn paid(body: Bytes) -> StatusCode {
///     // … check the signature first
///     StatusCode::NO_CONTENT
/// }
///
/// let routes = Router::new().route("/hooks/paid", post(paid).layer(CsrfExempt));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CsrfExempt;

impl Middleware for CsrfExempt {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        about.provides::<Exempt>();
    }
}
