//! Answers failures with pages that the site's own routes make.

use crate::document::{Detailed, Failed, LeftAlone};
use crate::failure::{Accept, Format, lacks_page};
use crate::forward::{Aside, Cookies, request};
use crate::request::OriginalUri;
use crate::response::CarriedError;
use crate::site::{About, Start};
use crate::{Error, MatchedRoute, Middleware, Request, Response, ResponseExt, Result, Service, View};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, EXPIRES, LAST_MODIFIED, LOCATION, VARY,
};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use std::collections::BTreeMap;

/// Gives a page of the site's own to an answer of 400 and above that has none: one that carries an error, or a bare status.
///
/// The page is what a route of the site answers, through the layers below: with the visitor's session, the site's menu and
/// templates. The route is asked by `GET` and told of the failure as [`Failed`]; nothing but its page is used.
///
/// - The status stays that of the failure, and so do its headers (`Allow`, `WWW-Authenticate`, `Retry-After`) and the error
///   that it carries, for the log and the reports above. Cookies of both are sent, and the document is asked with those of the failure.
/// - A document that fails itself, or is no success, is logged, and the answer stays as it was: for [`ErrorPages`] above.
///   It is never asked for a document of its own.
/// - Documents are for browsers. Who asks for JSON, Markdown or anything is left to [`ErrorPages`], which has problem details
///   (RFC 9457) and text for them; [`every_client`](ErrorDocuments::every_client) sends the document to all.
/// - A response is left alone which has a body, or which its handler wrapped in a
///   [`NoDocument`](crate::document::NoDocument).
///
/// # Beside `ErrorPages`
///
/// This layer stands below [`ErrorPages`] and above sessions, CSRF and templates. `ErrorPages` makes a page of a template and the
/// few names that are known without asking anybody, so it has one also when the database is down or the session cannot be
/// read; this one runs the site's code for it. A site with both has its own pages where they can be made, and a page in any
/// case. Below an `ErrorPages` with details, as in development, it does nothing: the page of details tells more. What
/// [`ErrorPages::on`](super::ErrorPages::on) says of a type of errors is said above this: an error whose status is to be another
/// one gets it by `or_status` where it arises, or is left out of documents by [`statuses`](ErrorDocuments::statuses).
///
/// A path at which the site has no route is said in the log when it starts: files and applications that do not tell their routes
/// may answer there, and else its failure would be the first to tell.
///
/// A copy of each request's head is kept, with its extensions.
///
/// [`ErrorPages`]: super::ErrorPages
///
/// ```
/// use purlin::document::Failed;
/// use purlin::layers::{ErrorDocuments, ErrorPages};
/// use purlin::{Html, Router, Stack, get};
///
/// async fn page(failed: Failed) -> Html<String> {
///     Html(format!("<h1>{}</h1><p>{} <a href=\"/\">Home</a>", failed.status().as_u16(), failed.message()))
/// }
///
/// let app = Stack::new()
///     .layer(ErrorPages::new())
///     .layer(ErrorDocuments::new("/errors/{status}"))
///     .app(Router::new().route("/errors/{status}", get(page)));
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let page = Client::new(app).get("/nowhere").accept("text/html").await;
/// page.assert_status(404).assert_contains("<h1>404</h1>");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ErrorDocuments {
    path: String,
    own: BTreeMap<u16, String>,
    statuses: Option<Vec<StatusCode>>,
    every_client: bool,
}

impl ErrorDocuments {
    /// The path of the documents, from where the layer stands; `{status}` in it is the number of the status.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), own: BTreeMap::new(), statuses: None, every_client: false }
    }

    /// Another path for one status.
    pub fn on(mut self, status: StatusCode, path: impl Into<String>) -> Self {
        self.own.insert(status.as_u16(), path.into());
        self
    }

    /// Only these have documents; by default all of 400 and above.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = Some(statuses.into_iter().collect());
        self
    }

    /// Whether clients that did not ask for HTML get the document too; off by default. For routes that answer as they are asked.
    pub fn every_client(mut self, every: bool) -> Self {
        self.every_client = every;
        self
    }

    fn path_for(&self, status: StatusCode) -> String {
        let path = self.own.get(&status.as_u16()).unwrap_or(&self.path);
        path.replace("{status}", status.as_str())
    }

    fn replaces(&self, response: &Response, head: &Parts, accept: &Accept) -> bool {
        lacks_page(response, &head.method)
            && response.extensions().get::<LeftAlone>().is_none()
            && self.statuses.as_ref().is_none_or(|statuses| statuses.contains(&response.status()))
            && (self.every_client || accept.format() == Format::Html)
    }

    /// The failure with its document, or as it was.
    async fn shown(&self, mut failure: Response, head: Parts, next: &impl Service) -> Response {
        let path = self.path_for(failure.status());
        let mut cookies = Cookies::new(&head);
        cookies.take(failure.headers_mut());
        let document = match self.document(&failure, &head, &path, &cookies, next).await {
            Ok(document) => document,
            Err(error) => {
                cookies.give(failure.headers_mut());
                tracing::error!(
                    document = path,
                    status = failure.status().as_u16(),
                    error = %crate::report::Redaction::new().text(&format!("{error:#}")).escape_debug(),
                    place = error.place().map(tracing::field::display),
                    "an error document failed, so the answer is sent without"
                );
                return failure;
            }
        };
        let (mut parts, body) = document.into_parts();
        // They speak of another address, or of how long its answer may be kept.
        for name in [ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, ETAG, EXPIRES, LAST_MODIFIED, LOCATION] {
            parts.headers.remove(name);
        }
        let headers = failure.headers_mut();
        // Those of the body that is not there.
        for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, ETAG, LAST_MODIFIED] {
            headers.remove(name);
        }
        // What varies, of both; else what the failure says itself goes before what the document does.
        let varies: Vec<HeaderValue> = headers.get_all(VARY).iter().cloned().collect();
        let own: Vec<_> = headers.keys().filter(|name| **name != VARY).cloned().collect();
        for name in &own {
            parts.headers.remove(name);
        }
        headers.remove(VARY);
        parts.headers.extend(std::mem::take(headers));
        for vary in varies {
            parts.headers.append(VARY, vary);
        }
        if !self.every_client {
            parts.headers.append(VARY, HeaderValue::from_static("accept"));
        }
        cookies.take(&mut parts.headers);
        cookies.give(&mut parts.headers);
        // A view that is rendered above has the links of its own route.
        let route = parts.extensions.get::<View>().and_then(|_| parts.extensions.get::<MatchedRoute>().cloned());
        parts.extensions.extend(std::mem::take(failure.extensions_mut()));
        if let Some(route) = route {
            parts.extensions.insert(route);
        }
        parts.status = failure.status();
        Response::from_parts(parts, body)
    }

    async fn document(
        &self,
        failure: &Response,
        head: &Parts,
        path: &str,
        cookies: &Cookies,
        next: &impl Service,
    ) -> Result<Response> {
        let (mut parts, body) = request(head, path, Aside::Part)?.into_parts();
        cookies.send(&mut parts);
        let mut req = Request::from_parts(parts, body);
        if head.method == http::Method::HEAD {
            *req.method_mut() = http::Method::HEAD;
        }
        let original = head.extensions.get::<OriginalUri>().map_or(&head.uri, |original| &original.0);
        req.extensions_mut().insert(Failed {
            status: failure.status(),
            error: failure.extensions().get::<CarriedError>().cloned(),
            method: head.method.clone(),
            uri: original.clone(),
        });
        let mut document = crate::panic::caught(next.call(req)).await?;
        if let Some(error) = document.take_error() {
            return Err(Error::internal(format!("{}: {:#}", document.status(), *error)));
        }
        let bodiless = document.body().is_empty() && head.method != http::Method::HEAD;
        if !document.status().is_success() && document.status() != failure.status() || bodiless {
            let found = if bodiless { "an empty answer".to_owned() } else { document.status().to_string() };
            return Err(Error::internal(format!("expected a page, found {found}")));
        }
        Ok(document)
    }
}

impl Middleware for ErrorDocuments {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let others = req.extensions().get::<Failed>().is_some() || req.extensions().get::<Detailed>().is_some();
        if others {
            return Ok(next.call(req).await);
        }
        let accept = Accept::of(&req);
        let (head, body) = req.into_parts();
        // A layer between here and the router may panic, too, and the visitor is to have a page.
        let answer = crate::panic::caught(next.call(Request::from_parts(head.clone(), body))).await;
        let response = answer.unwrap_or_else(Response::from);
        if !self.replaces(&response, &head, &accept) {
            return Ok(response);
        }
        // Boxed, so that answers which do not fail have no room kept for it.
        Ok(Box::pin(self.shown(response, head, next)).await)
    }

    fn describe(&self, about: &mut About) {
        about.provides::<Failed>().option("path", &self.path);
        if !self.own.is_empty() {
            let own: Vec<_> = self.own.iter().map(|(status, path)| format!("{status} {path}")).collect();
            about.option("on", own.join(", "));
        }
        if let Some(statuses) = &self.statuses {
            let statuses: Vec<_> = statuses.iter().map(StatusCode::as_str).collect();
            about.option("statuses", statuses.join(", "));
        }
        about.option("every_client", self.every_client);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        let all = || std::iter::once(&self.path).chain(self.own.values());
        let bad = all().find(|path| !path.starts_with('/') || path.starts_with("//"));
        if let Some(path) = bad {
            return Err(Error::internal(format!(
                "ErrorDocuments: expected a path of this site as /errors/{{status}}, found {path:?}"
            )));
        }
        let site = start.site();
        // Where the layer stands, it does not know: below one of these.
        let below = || std::iter::once("").chain(site.mounts().iter().map(String::as_str));
        for path in all() {
            let asked = path.replace("{status}", "404");
            let asked = asked.split('?').next().unwrap_or_default();
            if !below().any(|mount| site.route_at(&format!("{mount}{asked}"), None, None).is_some()) {
                tracing::warn!(document = path, "no route of the site is at the path of an error document");
            }
        }
        Ok(())
    }
}
