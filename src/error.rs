//! `Error`: one failure on its way outwards, with its status, its cause and the places it passed.

mod answer;

pub use answer::Answer;

#[cfg(all(feature = "debugger", debug_assertions))]
use crate::debugger::Captured;
use crate::recording::{self, Span};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use std::backtrace::Backtrace;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;

/// `std::result::Result` with Purlin's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: what the client is told, what the developer is told, and where it arose.
///
/// Any `std::error::Error` becomes one by `?`, as a 500 which remembers the line of that `?`. Constructors such as
/// [`Error::not_found`] set another status. The message and the causes are for the developer; the client is told the
/// status, and [`public`](Error::public)'s text if there is one.
///
/// `Display` prints the message, `{:#}` the message and its causes on one line, `Debug` the whole report: causes,
/// places, and for a panic the backtrace.
///
/// ```
/// use purlin::{Context, Error, Result};
///
/// fn port(text: &str) -> Result<u16> {
///     let port: u16 = text.parse().context("reading the port")?;
///     if port == 0 {
///         return Err(Error::bad_request("port 0 cannot be asked for").public("The port must not be 0."));
///     }
///     Ok(port)
/// }
///
/// let error = port("eighty").unwrap_err();
/// assert_eq!(error.status(), 500);
/// assert_eq!(format!("{error:#}"), "reading the port: invalid digit found in string");
/// assert!(error.place().unwrap().file().ends_with(".rs"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    status: StatusCode,
    message: Message,
    public: Option<Cow<'static, str>>,
    // Outermost first: what the code that met the failure was doing.
    contexts: Vec<Cow<'static, str>>,
    places: Vec<Place>,
    layer: Option<&'static str>,
    route: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    backtrace: Option<Backtrace>,
    panicked: bool,
    kind: Option<&'static str>,
    spans: Vec<Span>,
    #[cfg(all(feature = "debugger", debug_assertions))]
    captured: Captured,
}

/// A place in the source: `src/handlers/home.rs:12:20`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    file: Cow<'static, str>,
    line: u32,
    column: u32,
}

impl Place {
    /// The file, as the compiler was given it: relative to the workspace, for a site's own.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// A place that the compiler does not know, such as one in a template.
    pub(crate) fn new(file: String, line: u32, column: u32) -> Self {
        Self { file: file.into(), line, column }
    }

    /// A panic's place, which is lent for the time of the hook only.
    pub(crate) fn of_panic(location: &Location<'_>) -> Self {
        Self { file: location.file().to_owned().into(), line: location.line(), column: location.column() }
    }
}

impl From<&'static Location<'static>> for Place {
    fn from(location: &'static Location<'static>) -> Self {
        Self { file: location.file().into(), line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

enum Message {
    Text(Cow<'static, str>),
    Cause(Box<dyn StdError + Send + Sync + 'static>),
}

impl Error {
    /// An error of this status; the message is for the developer and in lower case.
    #[track_caller]
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::with(status, Message::Text(message.into()))
    }

    #[track_caller]
    fn with(status: StatusCode, message: Message) -> Self {
        #[cfg_attr(
            not(all(feature = "debugger", debug_assertions)),
            expect(unused_mut, reason = "nothing is captured")
        )]
        let mut error = Self::uncaptured(status, message);
        // Here the frames of what failed are still alive. Below 500 it is an answer more than a failure.
        #[cfg(all(feature = "debugger", debug_assertions))]
        if status.is_server_error() {
            error.0.captured = crate::debugger::capture();
        }
        error
    }

    #[track_caller]
    fn uncaptured(status: StatusCode, message: Message) -> Self {
        Self(Box::new(Inner {
            status,
            message,
            public: None,
            contexts: Vec::new(),
            places: vec![Location::caller().into()],
            layer: None,
            route: None,
            headers: Vec::new(),
            backtrace: None,
            panicked: false,
            kind: None,
            spans: recording::spans(),
            #[cfg(all(feature = "debugger", debug_assertions))]
            captured: None,
        }))
    }

    /// 500 Internal Server Error, with a message only.
    #[track_caller]
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 400 Bad Request (RFC 9110 §15.5.1).
    #[track_caller]
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401 Unauthorized (RFC 9110 §15.5.2), which asks for a `WWW-Authenticate` header: see [`header`](Error::header).
    #[track_caller]
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403 Forbidden (RFC 9110 §15.5.4).
    #[track_caller]
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404 Not Found (RFC 9110 §15.5.5).
    #[track_caller]
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409 Conflict (RFC 9110 §15.5.10).
    #[track_caller]
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 503 Service Unavailable (RFC 9110 §15.6.4), from the error that made it so.
    #[track_caller]
    pub fn unavailable<E: StdError + Send + Sync + 'static>(cause: E) -> Self {
        let mut error = Self::with(StatusCode::SERVICE_UNAVAILABLE, Message::Cause(Box::new(cause)));
        error.0.kind = Some(std::any::type_name::<E>());
        error
    }

    /// An error that is already boxed, such as another library's `Box<dyn Error + Send + Sync>`, as a 500.
    ///
    /// `?` cannot do this by itself: the box is not a `std::error::Error`.
    ///
    /// ```
    /// fn old_code() -> Result<(), Box<dyn std::error::Error + Send + Sync>> { Err("no luck".into()) }
    /// let error = old_code().map_err(purlin::Error::from_boxed).unwrap_err();
    /// assert_eq!(error.to_string(), "no luck");
    /// ```
    #[track_caller]
    pub fn from_boxed(cause: Box<dyn StdError + Send + Sync + 'static>) -> Self {
        // One of ours, which went through somebody's box, comes back as it was.
        let cause = match cause.downcast::<std::io::Error>() {
            // Through a reader, which has no other errors.
            Ok(error) if error.get_ref().is_some_and(|inner| inner.is::<Boxed>()) => match error.into_inner() {
                Some(inner) => inner,
                None => unreachable!("it was looked at in the line above"),
            },
            Ok(error) => error,
            Err(cause) => cause,
        };
        match cause.downcast::<Boxed>() {
            Ok(own) => own.0,
            Err(cause) => Self::with(StatusCode::INTERNAL_SERVER_ERROR, Message::Cause(cause)),
        }
    }

    #[track_caller]
    pub(crate) fn body_too_large(limit: u64) -> Self {
        let message = format!("request body is larger than {} (setting `body_limit`)", bytes_in_words(limit));
        let public = format!("The request is larger than {}.", bytes_in_words(limit));
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message).public(public)
    }

    pub(crate) fn panic(message: String, place: Option<Place>, backtrace: Option<Backtrace>, spans: Vec<Span>) -> Self {
        let mut error = Self::uncaptured(StatusCode::INTERNAL_SERVER_ERROR, Message::Text(message.into()));
        error.0.spans = spans;
        error.0.places = place.into_iter().collect();
        error.0.backtrace = backtrace;
        error.0.panicked = true;
        error
    }

    /// One that arose in another process.
    #[cfg(all(unix, feature = "workers"))]
    pub(crate) fn from_afar(afar: crate::crossing::Afar) -> Self {
        let status = StatusCode::from_u16(afar.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut contexts: Vec<Cow<'static, str>> = afar.chain.into_iter().map(Cow::from).collect();
        let mut error = Self::uncaptured(status, Message::Text(contexts.pop().unwrap_or_default()));
        error.0.contexts = contexts;
        error.0.public = afar.public.map(Cow::from);
        error.0.places = afar.places;
        error.0.layer = afar.layer.map(crate::crossing::kept);
        error.0.route = afar.route;
        error.0.kind = afar.kind.map(crate::crossing::kept);
        error.0.panicked = afar.panicked;
        error
    }

    /// Sets the status.
    pub fn status_code(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        #[cfg(all(feature = "debugger", debug_assertions))]
        if !status.is_server_error() {
            self.0.captured = None;
        }
        self
    }

    /// What the debugger keeps of the moment when it arose.
    #[cfg(all(feature = "debugger", debug_assertions))]
    pub(crate) fn captured(&self) -> &Captured {
        &self.0.captured
    }

    /// The same of a panic, which was captured before it unwound.
    #[cfg(all(feature = "debugger", debug_assertions))]
    pub(crate) fn with_captured(mut self, captured: Captured) -> Self {
        self.0.captured = captured;
        self
    }

    /// Sets what the client may read beside the status: a whole sentence, with nothing of the cause in it.
    pub fn public(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.0.public = Some(text.into());
        self
    }

    /// Adds a header which the answer will carry, such as `Allow` beside 405 or `Retry-After` beside 503.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says what was being done, and notes the place.
    #[track_caller]
    pub fn context(mut self, what: impl Into<Cow<'static, str>>) -> Self {
        self.0.contexts.insert(0, what.into());
        self.0.places.push(Location::caller().into());
        self
    }

    pub(crate) fn at(mut self, place: &'static Location<'static>) -> Self {
        self.0.places = vec![place.into()];
        self
    }

    pub(crate) fn with_places(mut self, places: Vec<Place>) -> Self {
        self.0.places = places;
        self
    }

    /// Names the layer it arose in, unless one is named already: the innermost is the one that failed.
    pub(crate) fn in_layer(mut self, layer: &'static str) -> Self {
        self.0.layer.get_or_insert(layer);
        self
    }

    /// Names the route whose handler or view failed, unless one is named already.
    pub(crate) fn in_route(mut self, route: &str) -> Self {
        self.0.route.get_or_insert_with(|| route.to_owned());
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What the client may read, if anything was said for it.
    pub fn public_message(&self) -> Option<&str> {
        self.0.public.as_deref()
    }

    /// What went wrong, for the developer: the outermost context, or the message.
    pub fn message(&self) -> String {
        self.chain().next().unwrap_or_default()
    }

    /// The contexts from the outermost inwards, then the message, then its causes.
    pub fn chain(&self) -> impl Iterator<Item = String> + '_ {
        let contexts = self.0.contexts.iter().map(|context| context.to_string());
        let (text, cause) = match &self.0.message {
            Message::Text(text) => (Some(text.to_string()), None),
            Message::Cause(cause) => (None, Some(&**cause as &(dyn StdError + 'static))),
        };
        let causes = std::iter::successors(cause, |&cause| cause.source()).map(|cause| cause.to_string());
        contexts.chain(text).chain(causes)
    }

    /// The error it was made from, if that was a `T`.
    pub fn downcast_ref<T: StdError + 'static>(&self) -> Option<&T> {
        match &self.0.message {
            Message::Cause(cause) => cause.downcast_ref(),
            Message::Text(_) => None,
        }
    }

    /// The first cause that is a `T`: the error it was made from, or one behind it.
    pub fn find_cause<T: StdError + 'static>(&self) -> Option<&T> {
        let first = match &self.0.message {
            Message::Cause(cause) => Some(&**cause as &(dyn StdError + 'static)),
            Message::Text(_) => None,
        };
        std::iter::successors(first, |&cause| cause.source()).find_map(|cause| cause.downcast_ref())
    }

    /// The type of the error it was made from, by `?` for example: `core::num::error::ParseIntError`.
    pub fn kind(&self) -> Option<&'static str> {
        self.0.kind
    }

    /// The spans in which it arose, innermost first, if they were recorded.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.0.spans
    }

    /// The line where it arose.
    pub fn place(&self) -> Option<&Place> {
        self.0.places.first()
    }

    /// The lines where it arose and gained context, in that order.
    pub fn places(&self) -> &[Place] {
        &self.0.places
    }

    /// The layer it arose in; `None` for a handler or anything else that is not a layer.
    pub fn layer(&self) -> Option<&'static str> {
        self.0.layer
    }

    /// The route whose handler panicked, or whose view could not be rendered, as `/posts/{id}`.
    pub fn route(&self) -> Option<&str> {
        self.0.route.as_deref()
    }

    /// The headers that the answer will carry.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.headers
    }

    /// Whether it was a panic.
    pub fn is_panic(&self) -> bool {
        self.0.panicked
    }

    /// The stack at the time of a panic.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        self.0.backtrace.as_ref()
    }
}

impl<E> From<E> for Error
where
    E: StdError + Send + Sync + 'static,
{
    // Not inlined: the frame of the failing function is below this one while the debugger looks at it.
    #[track_caller]
    #[inline(never)]
    fn from(cause: E) -> Self {
        let mut error = Self::from_boxed(Box::new(cause));
        error.0.kind.get_or_insert(std::any::type_name::<E>());
        error
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync + 'static> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

/// `Error` where a `std::error::Error` is asked for. `Error` itself cannot be one: `From<E>` would then overlap `From<T> for T`.
struct Boxed(Error);

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl StdError for Boxed {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chain = self.chain();
        f.write_str(&chain.next().unwrap_or_default())?;
        if f.alternate() {
            for cause in chain {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.status)?;
        if self.is_panic() {
            f.write_str("panicked: ")?;
        }
        let mut chain = self.chain();
        f.write_str(&chain.next().unwrap_or_default())?;
        for cause in chain {
            write!(f, "\n  caused by: {cause}")?;
        }
        for place in &self.0.places {
            write!(f, "\n  at {place}")?;
        }
        if let Some(route) = &self.0.route {
            write!(f, "\n  on the route {route}")?;
        }
        if let Some(layer) = self.0.layer {
            write!(f, "\n  in the layer {layer}")?;
        }
        if let Some(backtrace) = &self.0.backtrace {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}

/// Adds to a failed `Result`, or makes an `Error` of a `None`.
///
/// ```
/// use purlin::{Context, Result};
///
/// fn title(titles: &[&str], n: usize) -> Result<String> {
///     Ok(titles.get(n).or_404()?.to_string())
/// }
/// assert_eq!(title(&[], 0).unwrap_err().status(), 404);
/// ```
pub trait Context<T>: Sized {
    /// Says what was being done when it failed; a `None` becomes a 500 with that message.
    ///
    /// # Errors
    ///
    /// The same failure, with the context.
    fn context(self, what: impl Into<Cow<'static, str>>) -> Result<T>;

    /// The same failure with this status.
    ///
    /// # Errors
    ///
    /// The same failure, with the status.
    fn or_status(self, status: StatusCode) -> Result<T>;

    /// The same failure as 404 Not Found.
    ///
    /// # Errors
    ///
    /// 404 Not Found (RFC 9110 §15.5.5).
    #[track_caller]
    fn or_404(self) -> Result<T> {
        self.or_status(StatusCode::NOT_FOUND)
    }

    /// The same failure as 400 Bad Request.
    ///
    /// # Errors
    ///
    /// 400 Bad Request (RFC 9110 §15.5.1).
    #[track_caller]
    fn or_400(self) -> Result<T> {
        self.or_status(StatusCode::BAD_REQUEST)
    }
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    #[track_caller]
    fn context(self, what: impl Into<Cow<'static, str>>) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error.into().context(what)),
        }
    }

    #[track_caller]
    fn or_status(self, status: StatusCode) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error.into().status_code(status)),
        }
    }
}

impl<T> Context<T> for Option<T> {
    #[track_caller]
    fn context(self, what: impl Into<Cow<'static, str>>) -> Result<T> {
        match self {
            Some(value) => Ok(value),
            None => Err(Error::internal(what)),
        }
    }

    #[track_caller]
    fn or_status(self, status: StatusCode) -> Result<T> {
        match self {
            Some(value) => Ok(value),
            None => Err(Error::new(status, "expected a value and found none")),
        }
    }
}

/// Writes a length as a person would: `2 MiB`, `1500 bytes`.
pub(crate) fn bytes_in_words(length: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (size, unit) in UNITS {
        if length >= size && length.is_multiple_of(size) {
            return format!("{} {unit}", length / size);
        }
    }
    format!("{length} bytes")
}

const _: () = {
    const fn is_send_sync<T: Send + Sync>() {}
    is_send_sync::<Error>();
    is_send_sync::<Bytes>();
};
