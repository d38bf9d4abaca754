//! `View`: a page to be, by the name of its template; and `Engine`, which makes it one.

mod engine;
mod error;
#[cfg(all(feature = "tera", feature = "debugger", debug_assertions))]
mod expression;
#[cfg(all(feature = "tera", feature = "cache"))]
mod fragments;
mod names;
#[cfg(feature = "tera")]
mod scan;
#[cfg(feature = "tera")]
mod tera_engine;

#[cfg(feature = "tera")]
pub use ::tera;
pub(crate) use engine::Facts;
pub use engine::{Engine, Links, Page};
pub(crate) use error::MissingTemplate;
pub use error::TemplateError;
#[cfg(all(feature = "tera", feature = "debugger", debug_assertions))]
pub(crate) use expression::evaluate;
pub use names::Names;
#[cfg(feature = "tera")]
pub use tera_engine::Tera;

use crate::form::Filled;
use crate::site::Needs;
use crate::{Body, IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// The page that a handler wants: a template's name, and what the template may talk about.
///
/// The layer [`Templates`](crate::layers::Templates) makes the page of it on the way out; a site whose handler returns a
/// view without that layer above it does not start. The context is anything serialisable with names at its top: a struct,
/// a map, `serde_json::json!({…})`, or `()` for none.
///
/// ```
/// use purlin::{StatusCode, View};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Post { title: String }
///
/// async fn show() -> View {
///     View::new("post.html", Post { title: "First".into() })
/// }
///
/// async fn gone() -> View {
///     View::new("gone.html", ()).status(StatusCode::GONE)
/// }
/// ```
#[derive(Clone)]
pub struct View {
    template: Cow<'static, str>,
    context: Value,
    form: Option<Value>,
    status: StatusCode,
    content_type: Option<HeaderValue>,
    place: &'static Location<'static>,
}

impl View {
    /// A view of a template, by its name below the templates' folder: `errors/404.html`.
    #[track_caller]
    pub fn new(template: impl Into<Cow<'static, str>>, context: impl Serialize + Send + Sync + 'static) -> Self {
        Self {
            template: template.into(),
            context: Arc::new(context),
            form: None,
            status: StatusCode::OK,
            content_type: None,
            place: Location::caller(),
        }
    }

    /// The status of the answer; 200 OK by default.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The form on the page, by the name `form`; if something is wrong with it, the status becomes 422 Unprocessable Content
    /// (RFC 9110 §15.5.21).
    ///
    /// Any other form on the page can be in the context, and is given to the components by `form={…}`.
    pub fn form(mut self, form: impl Into<Filled>) -> Self {
        let form = form.into();
        if !form.problems().is_empty() {
            self.status = StatusCode::UNPROCESSABLE_ENTITY;
        }
        self.form = Some(Arc::new(form));
        self
    }

    /// The `Content-Type` of the answer; that of the template's extension by default, and `text/html; charset=utf-8` where
    /// that says nothing.
    pub fn content_type(mut self, content_type: HeaderValue) -> Self {
        self.content_type = Some(content_type);
        self
    }

    /// The name of the template.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The line that made the view.
    pub fn place(&self) -> &'static Location<'static> {
        self.place
    }

    /// What the handler gave, for a report.
    pub(crate) fn context_json(&self) -> serde_json::Result<serde_json::Value> {
        self.context.to_json()
    }

    /// The header's value for the page.
    pub(crate) fn media_type(&self) -> HeaderValue {
        self.content_type.clone().unwrap_or_else(|| match crate::media_type::of_path(&*self.template) {
            crate::media_type::OCTET_STREAM => HeaderValue::from_static("text/html; charset=utf-8"),
            known => HeaderValue::from_static(known),
        })
    }
}

impl IntoResponse for View {
    /// The answer carries the view in its extensions. Its body is for the one who has no layer that renders it, and is
    /// replaced by the page otherwise.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(NOT_RENDERED));
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<View>("add `.layer(Templates::new(…))`");
    }
}

const NOT_RENDERED: &str = "This view was not rendered: no layer `Templates` stands above its handler.\n";

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("template", &self.template)
            .field("status", &self.status)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// What a name in a template stands for.
pub(crate) type Value = Arc<dyn Data + Send + Sync>;

/// Any serialisable value behind a pointer, in the forms that engines take: `Serialize` itself cannot be one.
///
/// A form an engine knows is made in one pass over the value; anything else goes by JSON.
pub(crate) trait Data {
    fn to_json(&self) -> serde_json::Result<serde_json::Value>;

    #[cfg(feature = "tera")]
    fn to_tera(&self) -> ::tera::TeraResult<::tera::Value>;
}

impl<T: Serialize> Data for T {
    fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(self)
    }

    #[cfg(feature = "tera")]
    fn to_tera(&self) -> ::tera::TeraResult<::tera::Value> {
        ::tera::Value::try_from_serializable(self)
    }
}
