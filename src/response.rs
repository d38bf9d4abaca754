//! `Response`, and everything that becomes one.

use crate::site::Needs;
use crate::{Body, Error, Result, spare};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::sync::Arc;

/// The `http` crate's response with Purlin's [`Body`].
pub type Response = http::Response<Body>;

/// What Purlin adds to the `http` crate's response.
pub trait ResponseExt {
    /// The error that this response carries: the failure below which it stands for.
    fn error(&self) -> Option<&Error>;

    /// Takes the error off, for whoever turns it into a page or deals with it otherwise.
    fn take_error(&mut self) -> Option<CarriedError>;

    /// Sets a header, replacing others of that name.
    #[must_use]
    fn with_header(self, name: HeaderName, value: HeaderValue) -> Self;
}

impl ResponseExt for Response {
    fn error(&self) -> Option<&Error> {
        self.extensions().get::<CarriedError>().map(|carried| &*carried.0)
    }

    fn take_error(&mut self) -> Option<CarriedError> {
        self.extensions_mut().remove()
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers_mut().insert(name, value);
        self
    }
}

/// An [`Error`] on a response. It derefs to the error.
#[derive(Clone, Debug)]
pub struct CarriedError(Arc<Error>);

impl std::ops::Deref for CarriedError {
    type Target = Error;

    fn deref(&self) -> &Error {
        &self.0
    }
}

impl From<Error> for CarriedError {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

/// In the extensions of a response whose error is in the log: whoever stands further out does not log it again.
#[derive(Clone, Copy, Debug)]
pub struct Logged;

/// The response which carries the error: its status and headers, and an empty body.
impl From<Error> for Response {
    fn from(error: Error) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = error.status();
        for (name, value) in error.headers() {
            response.headers_mut().append(name, value.clone());
        }
        response.extensions_mut().insert(CarriedError::from(error));
        response
    }
}

/// Anything a handler may return.
///
/// Text, bytes, [`Html`], [`Json`](crate::Json), [`View`](crate::View), [`Redirect`], a status, a `Response`; a status and
/// headers before any of them in a tuple; and a `Result` of any of them, whose error is carried outwards.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "`{Self}` cannot become a response",
    note = "return text, `Html`, `Json`, `View`, `Redirect`, a `StatusCode`, a `Response`, or a `Result` of one of them",
    note = "the error of a `Result` may be `purlin::Error` or any `std::error::Error + Send + Sync`"
)]
pub trait IntoResponse {
    /// Turns it into a response.
    fn into_response(self) -> Response;

    /// What it needs of the layers above a handler that returns it. Nothing, by default.
    fn needs(needs: &mut Needs) {
        let _ = needs;
    }
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.into()
    }
}

// Else the message would be that a `String` is no `std::error::Error`, and not what may be returned.
#[diagnostic::do_not_recommend]
impl<T: IntoResponse, E: Into<Error>> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into().into(),
        }
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

/// 204 No Content would forbid a body that a layer above may want to add: `()` is an empty 200.
impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::new(Body::empty())
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        let mut response = spare::response(Body::empty());
        *response.status_mut() = self;
        response
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub(crate) fn of_type(content_type: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = spare::response(body.into());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        of_type(TEXT, self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        of_type(TEXT, self)
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        of_type(BYTES, self)
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        of_type(BYTES, self)
    }
}

/// A page of HTML, as `text/html; charset=utf-8`. Nothing in it is escaped.
#[derive(Clone, Debug)]
pub struct Html<T>(pub T);

impl<T: Into<Body>> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        of_type(HTML, self.0)
    }
}

/// Plain text, as `text/plain; charset=utf-8`.
pub fn text(text: impl Into<Body>) -> Response {
    of_type(TEXT, text)
}

/// A page of HTML, as `text/html; charset=utf-8`. Nothing in it is escaped.
pub fn html(page: impl Into<Body>) -> Response {
    of_type(HTML, page)
}

/// Sends the client elsewhere.
///
/// ```
/// use purlin::{IntoResponse, Redirect};
/// let response = Redirect::see_other("/guestbook").into_response();
/// assert_eq!(response.status(), 303);
/// assert_eq!(response.headers()["location"], "/guestbook");
/// ```
#[derive(Clone, Debug)]
pub struct Redirect {
    status: StatusCode,
    to: String,
}

impl Redirect {
    /// 303 See Other (RFC 9110 §15.4.4): what answers a form that did its work.
    pub fn see_other(to: impl Into<String>) -> Self {
        Self { status: StatusCode::SEE_OTHER, to: to.into() }
    }

    /// 307 Temporary Redirect (RFC 9110 §15.4.8): method and body are kept.
    pub fn temporary(to: impl Into<String>) -> Self {
        Self { status: StatusCode::TEMPORARY_REDIRECT, to: to.into() }
    }

    /// 308 Permanent Redirect (RFC 9110 §15.4.9): method and body are kept, clients remember.
    pub fn permanent(to: impl Into<String>) -> Self {
        Self { status: StatusCode::PERMANENT_REDIRECT, to: to.into() }
    }
}

impl IntoResponse for Redirect {
    /// A target that no header can hold (a line break, say) is a carried 500, never a header of its own.
    fn into_response(self) -> Response {
        let to: String = percent_encoding::utf8_percent_encode(&self.to, NOT_IN_A_URL).to_string();
        match HeaderValue::from_str(&to) {
            Ok(location) => {
                let mut response = self.status.into_response();
                response.headers_mut().insert(LOCATION, location);
                response
            }
            Err(error) => Error::from(error).context(format!("redirecting to {:?}", self.to)).into(),
        }
    }
}

/// What must be encoded to be in a `Location`: beside non-ASCII, what RFC 3986 §2 knows no place for.
const NOT_IN_A_URL: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    /// The status replaces that of the second part, unless that is an error: a failure keeps its own.
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        if response.error().is_none() {
            *response.status_mut() = self.0;
        }
        response
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

impl<T: IntoResponse> IntoResponse for (HeaderMap, T) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        add(response.headers_mut(), self.0);
        response
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

impl<T: IntoResponse> IntoResponse for (StatusCode, HeaderMap, T) {
    fn into_response(self) -> Response {
        (self.0, (self.1, self.2)).into_response()
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

impl<T: IntoResponse, const N: usize> IntoResponse for ([(HeaderName, HeaderValue); N], T) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        response.headers_mut().extend(self.0);
        response
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

/// Replaces what has the same name, keeps several of one name in `headers` together.
fn add(to: &mut HeaderMap, headers: HeaderMap) {
    to.extend(headers);
}

impl IntoResponse for std::convert::Infallible {
    fn into_response(self) -> Response {
        match self {}
    }
}
