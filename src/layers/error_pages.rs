//! Turns failures into pages: HTML, problem details or text, as the client asked.

use crate::failure::Failure;
use crate::request::CspNonce;
use crate::response::CarriedError;
use crate::site::{About, Site, Start};
use crate::template::{Engine, Facts, Links};
use crate::{
    Body, MatchedRoute, Middleware, Request, RequestId, Response, ResponseExt, Result, Service, View, negotiate,
};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::sync::{Arc, OnceLock};

/// Gives a page to every answer of 400 and above that has none: one that carries an error, or a bare status.
///
/// - **What**: `text/html` for browsers; `application/problem+json` (RFC 9457) for who asks for JSON; `text/plain` for
///   curl and others that take anything. `Vary: Accept` is added, and the answer's own headers stay.
/// - **To visitors** only the status, the error's [public message](crate::Error::public) and the request's id are told, on the
///   site's own template where it has one: see [`templates`](ErrorPages::templates).
/// - **To the developer**, with [`details`](ErrorPages::details), everything: message and causes, the places with their
///   source, layer and route, the frames of a panic, and for an address that nothing answers the routes there are.
///
/// An answer with a body is left alone: whoever wrote it meant it. The error stays on the answer, for the log above.
/// The pages of the framework bring their own `Content-Security-Policy`, under which nothing is loaded or run.
///
/// ```
/// use purlin::layers::ErrorPages;
/// use purlin::{Error, Result, Router, Service, Stack, get};
///
/// async fn cellar() -> Result<String> {
///     Err(Error::forbidden("the key is in the kitchen drawer").public("The cellar is locked."))
/// }
///
/// let app = Stack::new()
///     .layer(ErrorPages::new())
///     .app(Router::new().route("/cellar", get(cellar)));
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let response = app.call(purlin::http::Request::get("/cellar").body(purlin::Body::empty()).unwrap()).await;
/// assert_eq!(response.status(), 403);
/// assert_eq!(response.into_body().collect(100).await.unwrap(), "403 Forbidden\n\nThe cellar is locked.\n");
/// # });
/// ```
#[derive(Default)]
pub struct ErrorPages {
    details: bool,
    engine: Option<Arc<dyn Engine>>,
    site: OnceLock<Arc<Site>>,
}

impl ErrorPages {
    /// Pages for visitors, the framework's own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether everything is told; off by default. For development: causes and source are nobody else's business.
    pub fn details(mut self, details: bool) -> Self {
        self.details = details;
        self
    }

    /// The engine whose templates visitors see: `errors/STATUS.html`, else `errors/error.html`, else (from 500)
    /// `errors/500.html`, else the framework's page. By default the framework's.
    ///
    /// Such a template has the names `status` (404), `reason` (Not Found), `message` (the public one, or a sentence for the
    /// status), `request_id`, and those that other templates have; a name whose layer the request did not come to has its
    /// default, see [`Names`](crate::template::Names). If the template fails, the framework's page is sent with the status
    /// as it was, and the failure is logged.
    pub fn templates(mut self, engine: impl Engine) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// The name of the site's template for a status.
    fn template(&self, status: StatusCode) -> Option<(&dyn Engine, String)> {
        let engine = self.engine.as_deref()?;
        let last = if status.is_server_error() { "errors/500.html" } else { "errors/error.html" };
        let names = [format!("errors/{}.html", status.as_u16()), "errors/error.html".to_owned(), last.to_owned()];
        names.into_iter().find(|name| engine.contains(name)).map(|name| (engine, name))
    }

    async fn html(&self, failure: &Failure<'_>, headers: &mut HeaderMap) -> String {
        let template = self.template(failure.status);
        if !self.details
            && let Some((engine, name)) = template
        {
            if let Some(page) = self.site_page(engine, name, failure).await {
                return page;
            }
        } else if self.details {
            let nonce = sealed(failure.facts.nonce.as_ref(), headers);
            return failure.details_page(nonce.value(), template.as_ref().map(|(_, name)| name.as_str()));
        }
        let nonce = sealed(failure.facts.nonce.as_ref(), headers);
        failure.page(nonce.value())
    }

    /// The page of the site's own template; `None` if that fails too.
    async fn site_page(&self, engine: &dyn Engine, name: String, failure: &Failure<'_>) -> Option<String> {
        let context = serde_json::json!({
            "status": failure.status.as_u16(),
            "reason": failure.title(),
            "message": failure.public(),
            "request_id": failure.facts.id.as_ref().map(RequestId::as_str),
        });
        let view = View::new(name, context);
        let links = Links::new(self.site.get().cloned(), failure.route.cloned());
        // Also a panic in it must not take the answer away.
        let page = crate::panic::caught(failure.facts.render(engine, &view, links)).await.flatten();
        page.inspect_err(|error| {
            tracing::error!(
                template = view.template(),
                error = %format!("{error:#}").escape_debug(),
                place = error.place().map(tracing::field::display),
                "the template of an error page failed, so the framework's page was sent"
            );
        })
        .ok()
    }
}

impl Middleware for ErrorPages {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let facts = Facts::of(&mut req);
        let accept = Accept::of(&req);
        let mut response = next.call(req).await;
        if !lacks_page(&response, &facts.method) {
            return Ok(response);
        }
        let error = response.extensions().get::<CarriedError>().cloned();
        let route = response.extensions().get::<MatchedRoute>().cloned();
        let failure = Failure {
            status: response.status(),
            error: error.as_deref(),
            facts: &facts,
            route: route.as_ref(),
            site: self.site.get().map(|site| &**site),
            details: self.details,
        };
        let headers = response.headers_mut();
        // Those of the body that is not there.
        for name in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG, LAST_MODIFIED] {
            headers.remove(name);
        }
        let format = accept.format();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if !varies(headers) {
            headers.append(VARY, HeaderValue::from_static("accept"));
        }
        if self.details {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let page = match format {
            Format::Html => self.html(&failure, headers).await,
            Format::Problem => failure.problem(),
            Format::Text => failure.text(),
        };
        *response.body_mut() = Body::from(page);
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        about.option("details", self.details).option("templates", self.engine.is_some());
        about.wants::<RequestId>().wants::<CspNonce>();
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        if let Some(engine) = &self.engine {
            engine.check(start.site())?;
        }
        // Started twice (by a test, say), it stays where it was first.
        let _ = self.site.set(start.site().clone());
        Ok(())
    }
}

fn lacks_page(response: &Response, method: &Method) -> bool {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || !response.body().is_empty() {
        return false;
    }
    // The answer to a HEAD may have lost a body that a GET would be given.
    let stripped = method == Method::HEAD && response.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    response.error().is_some() || !stripped
}

/// Whether caches know already that the answer depends on `Accept`.
fn varies(headers: &HeaderMap) -> bool {
    let mut names = headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|name| name.trim_ascii() == b"*" || name.trim_ascii().eq_ignore_ascii_case(b"accept"))
}

/// Sets a policy that lets the page's own style in and nothing else; the nonce is the one that a layer above may have.
fn sealed(nonce: Option<&CspNonce>, headers: &mut HeaderMap) -> CspNonce {
    let nonce = nonce.cloned().unwrap_or_default();
    let style = nonce.value().map(|nonce| format!("style-src 'nonce-{nonce}'; ")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; {style}img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    nonce
}

/// What the client takes: kept from the request, read if there is a failure.
struct Accept {
    first: Option<HeaderValue>,
    // A second line is rare.
    more: Vec<HeaderValue>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Html,
    Problem,
    Text,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Problem => "application/problem+json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

impl Accept {
    fn of(req: &Request) -> Self {
        let mut lines = req.headers().get_all(ACCEPT).iter().cloned();
        Self { first: lines.next(), more: lines.collect() }
    }

    /// The form that the client likes best. Who takes anything gets text, and so does who takes none of them: an answer that
    /// was not asked for tells more than a 406 would (RFC 9110 §12.5.1 allows it).
    fn format(&self) -> Format {
        // `*/*` alone matches this, and it is offered first.
        const ANY: &str = "purlin/anything";
        const PROBLEM: &str = "application/problem+json";
        const JSON: &str = "application/json";
        const HTML: &str = "text/html; charset=utf-8";
        const TEXT: &str = "text/plain; charset=utf-8";
        let lines = self.first.iter().chain(&self.more);
        let headers: HeaderMap = lines.map(|line| (ACCEPT, line.clone())).collect();
        match negotiate::best_media_type(&headers, &[ANY, HTML, PROBLEM, JSON, TEXT]) {
            Some(HTML) => Format::Html,
            Some(PROBLEM | JSON) => Format::Problem,
            _ => Format::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_gets_the_form_asked_for() {
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        let table: &[(&[&str], Format)] = &[
            (&[], Format::Text),
            (&["*/*"], Format::Text),
            (&[""], Format::Text),
            (&[firefox], Format::Html),
            (&[chromium], Format::Html),
            (&["text/html"], Format::Html),
            (&["text/plain"], Format::Text),
            (&["text/plain, text/html;q=0.5"], Format::Text),
            (&["application/json"], Format::Problem),
            (&["application/problem+json"], Format::Problem),
            (&["application/problem+json, application/json;q=0.9"], Format::Problem),
            // axios, jQuery, Angular
            (&["application/json, text/plain, */*"], Format::Problem),
            (&["application/json, text/javascript, */*; q=0.01"], Format::Problem),
            (&["application/json;q=0.9, text/html"], Format::Html),
            (&["application/*"], Format::Problem),
            (&["text/*"], Format::Html),
            (&["text/html;q=0, */*"], Format::Text),
            (&["*/*;q=0"], Format::Text),
            // An image that is missing
            (&["image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"], Format::Text),
            (&["image/*"], Format::Text),
            (&["text/event-stream"], Format::Text),
            (&["image/png", "application/json"], Format::Problem),
            (&["nonsense"], Format::Text),
        ];
        for (lines, expected) in table {
            let mut lines = lines.iter().map(|line| HeaderValue::from_str(line).unwrap());
            let accept = Accept { first: lines.next(), more: lines.collect() };
            assert_eq!(accept.format(), *expected, "{:?} {:?}", accept.first, accept.more);
        }
    }
}
