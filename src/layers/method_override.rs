//! Lets a form stand for `PUT`, `PATCH` or `DELETE`.

use crate::request::{METHOD_FIELD, OriginalMethod};
use crate::site::About;
use crate::{Error, Middleware, Request, Response, Result, Service, ahead};
use http::Method;

/// Gives a `POST` the method that its form's field `_method` says, or its header `X-HTTP-Method-Override`.
///
/// HTML's forms know `GET` and `POST` only (HTML §4.10.18.6); so one which deletes something says
/// `<input type="hidden" name="_method" value="DELETE">`, or `{{ <forms.method value="DELETE" /> }}`.
///
/// - Of a `POST` only, and to `PUT`, `PATCH` and `DELETE` only: no request that may change something becomes one that
///   may not, or the other way round, so what [`Csrf`](super::Csrf) protects stays protected.
/// - It must stand above `Csrf`, which is checked when the site starts: the request is judged by the method that it has in
///   the end, and a route that is exempt for `POST` opens no other.
/// - The header goes first. The field is looked for in forms as `Csrf` looks for its token, and has to come before the first
///   file.
/// - Layers above it, such as `AccessLog`, see the `POST` that was sent; below,
///   [`OriginalMethod`](crate::request::OriginalMethod) is in the request's extensions.
///
/// # Errors
///
/// 400 for any other method, 413 for a form over the limit.
///
/// ```
/// use purlin::layers::MethodOverride;
/// use purlin::testing::Client;
/// use purlin::{Router, Stack, delete};
///
/// let app = Stack::new()
///     .layer(MethodOverride::new())
///     .app(Router::new().route("/notes/7", delete(async || "gone")));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// Client::new(app).post("/notes/7").form(&[("_method", "DELETE")]).await.assert_contains("gone");
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MethodOverride;

impl MethodOverride {
    /// The one there is.
    pub fn new() -> Self {
        Self
    }
}

const HEADER: &str = "x-http-method-override";

impl Middleware for MethodOverride {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        if *req.method() == Method::POST
            // Boxed, so that other requests have no room kept for it.
            && let Some(method) = Box::pin(meant(&mut req)).await?
        {
            let original = std::mem::replace(req.method_mut(), method);
            req.extensions_mut().insert(OriginalMethod(original));
        }
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        about.provides::<OriginalMethod>();
    }
}

async fn meant(req: &mut Request) -> Result<Option<Method>> {
    let header = req.headers().get(HEADER).map(|value| value.to_str().unwrap_or("?").to_owned());
    let name = match header {
        Some(name) => name,
        None => match ahead::field(req, METHOD_FIELD).await? {
            Some(name) => name,
            None => return Ok(None),
        },
    };
    match name.trim().to_ascii_uppercase().as_str() {
        "PUT" => Ok(Some(Method::PUT)),
        "PATCH" => Ok(Some(Method::PATCH)),
        "DELETE" => Ok(Some(Method::DELETE)),
        // As it is.
        "POST" => Ok(None),
        _ => {
            let found: String = name.chars().take(20).collect();
            Err(Error::bad_request(format!("expected a POST to stand for PUT, PATCH or DELETE, found {found:?}"))
                .public("The form stands for a method that it cannot stand for."))
        }
    }
}
