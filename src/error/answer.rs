//! `Answer`: what clients are told of errors of one type.

use http::{HeaderName, HeaderValue, StatusCode};
use std::borrow::Cow;

/// What clients are told of errors of one type, by [`ErrorPages::on`](crate::layers::ErrorPages::on).
///
/// ```
/// use purlin::error::Answer;
/// use purlin::{HeaderValue, StatusCode, header};
///
/// let answer = Answer::new(StatusCode::SERVICE_UNAVAILABLE)
///     .public("There is too much to do at the moment.")
///     .header(header::RETRY_AFTER, HeaderValue::from_static("5"));
/// # let _ = answer;
/// ```
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) public: Option<Cow<'static, str>>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// This status, and its usual sentence.
    pub fn new(status: StatusCode) -> Self {
        Self { status, public: None, headers: Vec::new() }
    }

    /// What the client may read beside the status, if the error says nothing itself: see
    /// [`Error::public`](crate::Error::public).
    pub fn public(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.public = Some(text.into());
        self
    }

    /// A header of the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<StatusCode> for Answer {
    fn from(status: StatusCode) -> Self {
        Self::new(status)
    }
}
