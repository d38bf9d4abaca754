//! Error documents: what a site's own route is told of the failure that it shows.

use crate::response::CarriedError;
use crate::site::Needs;
use crate::{Error, FromRequest, IntoResponse, Request, Response, Result};
use http::{Method, StatusCode, Uri};

/// The failure that an error document is for, an extractor; left by the layer
/// [`ErrorDocuments`](crate::layers::ErrorDocuments).
///
/// A visitor can ask for the document's path too, and then there is none: take an `Option<Failed>`, or be a 404 to him.
#[derive(Clone, Debug)]
pub struct Failed {
    pub(crate) status: StatusCode,
    pub(crate) error: Option<CarriedError>,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

impl Failed {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the visitor may read: the error's [public message](Error::public), or a sentence for the status.
    pub fn message(&self) -> &str {
        let said = self.error.as_deref().and_then(Error::public_message);
        said.unwrap_or_else(|| crate::failure::sentence(self.status))
    }

    /// The error, if the answer carries one: it is for the developer, and nothing to show to visitors.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_deref()
    }

    /// The method of the request that failed.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The address that was asked for, as the client sent it.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl FromRequest for Failed {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let failed = req.extensions().get::<Self>().cloned();
        failed.ok_or_else(|| Error::not_found("an error document was asked for, and nothing has failed"))
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<Self>("add .layer(ErrorDocuments::new(\"/errors/{status}\"))");
    }
}

/// An answer that no error document replaces, though it is empty or carries an error.
///
/// ```
/// use purlin::StatusCode;
/// use purlin::document::NoDocument;
///
/// async fn probe() -> NoDocument<StatusCode> {
///     NoDocument(StatusCode::NOT_FOUND)
/// }
/// # purlin::get(probe);
/// ```
#[derive(Clone, Debug)]
pub struct NoDocument<T>(pub T);

/// In the extensions of such an answer.
#[derive(Clone, Copy)]
pub(crate) struct LeftAlone;

impl<T: IntoResponse> IntoResponse for NoDocument<T> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.extensions_mut().insert(LeftAlone);
        response
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

/// In the extensions of a request whose failure is told with everything, to its developer: a page of details is better than
/// a document.
#[derive(Clone, Copy)]
pub(crate) struct Detailed;
