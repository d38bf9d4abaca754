//! Extractors: what a handler takes from a request.

use crate::form::{DEFAULT_FIELD_LIMIT, FieldLimit, Fields, read_whole};
use crate::report::Trail;
use crate::request::MaxBody;
use crate::response::{IntoResponse, of_type};
use crate::router::MatchedRoute;
use crate::service::then;
use crate::site::{About, Needs, Site};
use crate::{Body, Connection, Error, Middleware, Request, RequestId, Response, Result, Service};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

#[cfg(feature = "multipart")]
mod multipart;
mod path;
mod values;

#[cfg(feature = "multipart")]
pub use multipart::{FromFields, Multipart, MultipartForm, Part};
pub use path::Path;

/// Takes something from a request, as an argument of a handler.
///
/// ```
/// use purlin::{Error, FromRequest, Request, Result};
///
/// struct Language(String);
///
/// impl FromRequest for Language {
///     async fn from_request(req: &mut Request) -> Result<Self> {
///         let header = req.headers().get("accept-language").and_then(|value| value.to_str().ok());
///         Ok(Language(header.unwrap_or("en").chars().take(2).collect()))
///     }
/// }
///
/// async fn hello(Language(language): Language) -> &'static str {
///     if language == "de" { "Guten Tag" } else { "Good day" }
/// }
/// # purlin::get(hello);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "`{Self}` is no extractor",
    note = "take `Path<T>`, `Query<T>`, `Form<T>`, `Submitted<T>`, `Json<T>`, `State<T>`, `Session`, `HeaderMap`, `Option` of one, or the whole `Request`",
    note = "a plain type comes out of one of these, as in `Path(id): Path<u32>`; a type of your own may implement `FromRequest`"
)]
pub trait FromRequest: Sized {
    /// Takes it; what it needs of the body it takes out of the request.
    ///
    /// # Errors
    ///
    /// The answer to a request that does not have it.
    fn from_request(req: &mut Request) -> impl Future<Output = Result<Self>> + Send;

    /// Says what must be provided by the layers above, which is then checked when the site starts.
    fn needs(needs: &mut Needs) {
        let _ = needs;
    }
}

/// The argument, or `None` where it cannot be had for whatever reason.
///
/// What it needs of the layers above it then does without.
impl<T: FromRequest + Send> FromRequest for Option<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(T::from_request(req).await.ok())
    }

    fn needs(needs: &mut Needs) {
        needs.optional::<T>();
    }
}

/// The argument, or why it cannot be had.
impl<T: FromRequest + Send> FromRequest for Result<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(T::from_request(req).await)
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

/// The whole request, which no argument may follow.
impl FromRequest for Request {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(std::mem::take(req))
    }

    fn needs(needs: &mut Needs) {
        needs.whole_request();
    }
}

impl FromRequest for Method {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(req.method().clone())
    }
}

/// The path and query; below a mount, those of the mounted part.
impl FromRequest for Uri {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(req.uri().clone())
    }
}

impl FromRequest for Version {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(req.version())
    }
}

impl FromRequest for HeaderMap {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(req.headers().clone())
    }
}

/// The cookies of the request; a bad one is not among them.
///
/// ```
/// use purlin::Cookies;
///
/// async fn theme(cookies: Cookies) -> String {
///     cookies.get("theme").unwrap_or("light").to_owned()
/// }
/// # purlin::get(theme);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cookies(HeaderMap);

impl Cookies {
    /// The value of the cookie of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        crate::cookie::cookie(&self.0, name)
    }

    /// Names and values, as they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        crate::cookie::cookies(&self.0)
    }
}

impl FromRequest for Cookies {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let mut cookies = HeaderMap::new();
        for value in req.headers().get_all(http::header::COOKIE) {
            cookies.append(http::header::COOKIE, value.clone());
        }
        Ok(Self(cookies))
    }
}

/// The body as it comes, to be read piece by piece.
impl FromRequest for Body {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(req.body_mut().take())
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}

/// The whole body, up to the limit of the layer `BodyLimit` (2 MiB without one).
impl FromRequest for Bytes {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let limit = req.extensions().get::<MaxBody>().map_or(crate::body::DEFAULT_BODY_LIMIT, MaxBody::bytes);
        let bytes = req.body_mut().take().collect(limit).await?;
        Trail::leave_body(req, &bytes);
        Ok(bytes)
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}

/// The whole body as text.
///
/// # Errors
///
/// 400 where it is not UTF-8.
impl FromRequest for String {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let bytes = Bytes::from_request(req).await?;
        match String::from_utf8(bytes.into()) {
            Ok(text) => Ok(text),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                Err(Error::bad_request(format!("expected a body in UTF-8, found other bytes at {at}"))
                    .public("The request's text is not UTF-8."))
            }
        }
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}

/// The query, as a struct that derives `Deserialize`.
///
/// Names mean what they mean [in a form](crate::form#what-names-mean): one that comes several times fills a `Vec`, and an
/// `Option` is `None` where its value is empty.
///
/// # Errors
///
/// 400, naming the field, where the query does not fit.
///
/// ```
/// use purlin::Query;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Page { #[serde(default)] page: u32 }
///
/// async fn list(Query(Page { page }): Query<Page>) -> String { format!("page {page}") }
/// # purlin::get(list);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let query = req.uri().query().unwrap_or_default();
        let fields = Fields::parse(query.as_bytes(), DEFAULT_FIELD_LIMIT);
        let value = fields.and_then(|fields| read_whole(&fields, "The query of the address"));
        value.map(Self).map_err(|error| error.status_code(StatusCode::BAD_REQUEST).context("reading the query"))
    }
}

/// A form sent as `application/x-www-form-urlencoded`, as a struct that derives `Deserialize`.
///
/// [What names mean](crate::form#what-names-mean) is a table of its own: nested fields, lists, check boxes, fields left empty.
/// Here a value that does not fit is an error; [`Submitted`](crate::form::Submitted) shows the page again instead.
///
/// # Errors
///
/// 415 for another content type, 413 for a body or a number of fields over the limit, 400, naming the field, where the form
/// does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        expect_form(req.headers())?;
        let limit = FieldLimit::of(req);
        let bytes = Bytes::from_request(req).await?;
        let value = Fields::parse(&bytes, limit).and_then(|fields| read_whole(&fields, "The form"));
        value.map(Self).map_err(|error| error.context("reading the form"))
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}

/// JSON: of a request as an argument, of a response as a result.
///
/// # Errors
///
/// As an argument: 415 unless the content type is `application/json` or ends in `+json`, 413 for a body over the limit,
/// 400 where it is no JSON, 422 where it does not fit the type, with line and column.
///
/// ```
/// use purlin::Json;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize, Serialize)]
/// struct Point { x: f64, y: f64 }
///
/// async fn mirror(Json(point): Json<Point>) -> Json<Point> {
///     Json(Point { x: -point.x, y: point.y })
/// }
/// # purlin::post(mirror);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        expect_type(req.headers(), "application/json", |essence| {
            essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
        })?;
        let bytes = Bytes::from_request(req).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(error) => {
                let status = match error.classify() {
                    serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
                    _ => StatusCode::BAD_REQUEST,
                };
                let public = format!("The JSON cannot be read: {error}.");
                Err(Error::from(error).status_code(status).context("reading the JSON body").public(public))
            }
        }
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => of_type(http::HeaderValue::from_static("application/json"), json),
            Err(error) => Error::from(error).context("writing a JSON answer").into(),
        }
    }
}

/// # Errors
///
/// 415 for another content type than that of a form without files.
pub(crate) fn expect_form(headers: &HeaderMap) -> Result<()> {
    expect_type(headers, FORM, |essence| essence == FORM)
}

const FORM: &str = "application/x-www-form-urlencoded";

fn expect_type(headers: &HeaderMap, expected: &str, fits: impl Fn(&str) -> bool) -> Result<()> {
    let found = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if fits(&essence) {
        return Ok(());
    }
    let found = if found.is_empty() { "none" } else { found };
    let message = format!("expected a body of type {expected}, found {found:?}");
    Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
        .public(format!("The request's content type must be {expected}.")))
}

impl FromRequest for Connection {
    async fn from_request(req: &mut Request) -> Result<Self> {
        match req.extensions().get::<Connection>() {
            Some(connection) => Ok(connection.clone()),
            // Made in the process, by a test: there is no other end.
            None => Ok(Connection::new(None, None)),
        }
    }
}

impl FromRequest for RequestId {
    async fn from_request(req: &mut Request) -> Result<Self> {
        req.extensions().get::<RequestId>().cloned().ok_or_else(|| Error::internal("the request has no id"))
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<RequestId>("add `.layer(RequestIds::new())`");
    }
}

impl FromRequest for MatchedRoute {
    async fn from_request(req: &mut Request) -> Result<Self> {
        req.extensions()
            .get::<MatchedRoute>()
            .cloned()
            .ok_or_else(|| Error::internal("no route was matched: no router stands above"))
    }
}

/// The whole site: its layers and routes, as an argument.
impl FromRequest for Arc<Site> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let route = MatchedRoute::from_request(req).await?;
        route.site().cloned().ok_or_else(|| Error::internal("the site has not been started"))
    }
}

/// Makes URLs of the site's routes by their names.
///
/// ```
/// use purlin::{Redirect, Result, Urls};
///
/// async fn old_address(urls: Urls) -> Result<Redirect> {
///     Ok(Redirect::permanent(urls.url_for("page", &[("slug", "start")])?))
/// }
/// # purlin::get(old_address);
/// ```
#[derive(Clone, Debug)]
pub struct Urls {
    site: Arc<Site>,
    route: MatchedRoute,
}

impl Urls {
    /// The path of a route; a name is looked up among the routes of the same mount first. Of a route that is for another host, the
    /// URL without its scheme: `//admin.example.org/`.
    ///
    /// # Errors
    ///
    /// See [`Site::url_for`].
    #[track_caller]
    pub fn url_for(&self, name: &str, params: &[(&str, &str)]) -> Result<String> {
        self.site.url_from(self.route.host(), self.route.namespace(), name, params)
    }
}

impl FromRequest for Urls {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let route = MatchedRoute::from_request(req).await?;
        let site = route.site().cloned().ok_or_else(|| Error::internal("the site has not been started"))?;
        Ok(Self { site, route })
    }
}

/// What handlers share: a database pool, a client, settings.
///
/// As a layer it provides the value to everything below; as an argument it is a clone of it, so put what is dear to clone
/// into an `Arc`. A handler whose state no layer provides is reported when the site starts.
///
/// ```
/// use purlin::{Router, Stack, State, get};
/// use std::sync::Arc;
///
/// struct Greeting(&'static str);
///
/// async fn hello(State(greeting): State<Arc<Greeting>>) -> String {
///     greeting.0.to_owned()
/// }
///
/// let app = Stack::new()
///     .layer(State(Arc::new(Greeting("hello"))))
///     .app(Router::new().route("/", get(hello)));
/// assert!(app.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> Middleware for State<T> {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        req.extensions_mut().insert(Provided(self.0.clone()));
        then(next.call(req), Ok)
    }

    fn describe(&self, about: &mut About) {
        about.name(format!("State<{}>", crate::site::short_name::<T>())).provides::<T>();
    }
}

/// No layer provides the state that a handler asks for; where the site was checked, its start says so first.
#[derive(Debug)]
pub(crate) struct MissingState(&'static str);

impl MissingState {
    pub(crate) fn of<T>() -> Self {
        Self(std::any::type_name::<T>())
    }

    /// The type without modules: `Arc<Greeting>`.
    pub(crate) fn short(&self) -> String {
        let mut short = String::with_capacity(self.0.len());
        for part in self.0.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
            short.push_str(part.rsplit_once("::").map_or(part, |(_, name)| name));
        }
        short
    }
}

impl std::fmt::Display for MissingState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no state of type {}", self.0)
    }
}

impl std::error::Error for MissingState {}

/// Apart from other extensions of the same type.
#[derive(Clone)]
struct Provided<T>(T);

impl<T: Clone + Send + Sync + 'static> FromRequest for State<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        match req.extensions().get::<Provided<T>>() {
            Some(Provided(value)) => Ok(Self(value.clone())),
            None => Err(MissingState::of::<T>().into()),
        }
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<T>("add `.layer(State(…))` with a value of it");
    }
}
