//! `Cascade`: applications that are asked one after another, until one has the answer.

use crate::replay::Replay;
use crate::site::{Boundary, Outline, Start};
use crate::{BoxService, Request, Response, Result, Service};
use http::header::ALLOW;
use http::{HeaderValue, StatusCode};
use std::fmt;

/// Asks applications in their order; one that answers 404 or 405 passes the request on to the next.
///
/// - Each is asked with the request as it came: method, target, headers, and what the layers above have put into its
///   extensions. What an application that passed has done to them is not seen by the next; its answer, with cookies in
///   it, is dropped.
/// - The **body** is read by nobody until an application reads it. What that one reads is kept, up to
///   [`max_body`](Cascade::max_body), and the next reads it from the beginning. If it read more than that, the request cannot
///   be passed on, and its answer is sent, whatever it is.
/// - Where all pass, the first answer that is not a 404 is sent, which tells more, else the last. The error that it carries is
///   still carried. If it is a 405, its `Allow` names the methods of all that have answered 405 (RFC 9110 §15.5.6).
/// - Every other answer, be it a failure, ends the search.
///
/// Two applications with equal names of routes are told apart by [`app_named`](Cascade::app_named).
///
/// ```
/// use purlin::{Cascade, Router, Stack, get};
///
/// let new = Router::new().route("/guests", get(async || "the new list"));
/// let old = Router::new().route("/guests", get(async || "the old list")).route("/rooms", get(async || "rooms"));
///
/// let app = Stack::new().app(Cascade::new().app(new).app(old));
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let client = Client::new(app);
/// client.get("/guests").await.assert_contains("the new list");
/// client.get("/rooms").await.assert_contains("rooms");
/// # });
/// ```
pub struct Cascade {
    apps: Vec<(Option<String>, BoxService)>,
    passes: Vec<StatusCode>,
    max_body: u64,
}

impl Cascade {
    /// No applications yet: everything is a 404.
    pub fn new() -> Self {
        Self {
            apps: Vec::new(),
            passes: vec![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED],
            max_body: 64 * 1024,
        }
    }

    /// Asks this application, after those that are there already.
    pub fn app(mut self, service: impl Service + 'static) -> Self {
        self.apps.push((None, BoxService::new(service)));
        self
    }

    /// The same under a name: its route `list` is `old:list` to the rest of the site.
    pub fn app_named(mut self, name: &str, service: impl Service + 'static) -> Self {
        self.apps.push((Some(name.to_owned()), BoxService::new(service)));
        self
    }

    /// By which answers an application passes; by default 404 Not Found and 405 Method Not Allowed.
    pub fn passes(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.passes = statuses.into_iter().collect();
        self
    }

    /// How many bytes of a body are kept for the next application, where one reads it and then passes; 64 KiB by default.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }
}

impl Default for Cascade {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Cascade {
    async fn call(&self, req: Request) -> Response {
        let [(_, first), others @ ..] = self.apps.as_slice() else {
            return crate::Error::not_found("a cascade of no applications").into();
        };
        if others.is_empty() {
            return first.call(req).await;
        }
        let (head, body) = req.into_parts();
        let body = Replay::new(body, self.max_body);
        let mut telling: Option<Response> = None;
        let mut allowed: Vec<String> = Vec::new();
        let whole = body.body().unwrap_or_default();
        let mut response = first.call(Request::from_parts(head.clone(), whole)).await;
        for (_, app) in others {
            if !self.passes.contains(&response.status()) {
                return response;
            }
            // It has read more than is kept, and passed all the same.
            let Some(again) = body.body() else { return response };
            note_methods(&response, &mut allowed);
            if response.status() != StatusCode::NOT_FOUND {
                telling.get_or_insert(response);
            }
            response = app.call(Request::from_parts(head.clone(), again)).await;
        }
        if !self.passes.contains(&response.status()) {
            return response;
        }
        note_methods(&response, &mut allowed);
        let mut response = telling.unwrap_or(response);
        // Made of headers, which it would be again.
        if response.status() == StatusCode::METHOD_NOT_ALLOWED
            && let Ok(methods) = HeaderValue::try_from(allowed.join(", "))
        {
            response.headers_mut().insert(ALLOW, methods);
        }
        response
    }

    fn describe(&self, outline: &mut Outline) {
        for (name, app) in &self.apps {
            outline.mount("", name.as_deref(), |outline| app.describe(outline));
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.apps.iter().try_for_each(|(name, app)| start.within(name.as_deref(), |start| app.start(start)))
    }

    fn below(&'static self, boundary: &mut Boundary) {
        for (name, app) in &self.apps {
            boundary.within(name.as_deref(), |boundary| app.below(boundary));
        }
    }
}

/// Adds the methods that a 405 allows to those that are known already.
fn note_methods(response: &Response, allowed: &mut Vec<String>) {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return;
    }
    let lines = response.headers().get_all(ALLOW).iter().filter_map(|line| line.to_str().ok());
    for method in lines.flat_map(|line| line.split(',')).map(str::trim).filter(|method| !method.is_empty()) {
        if !allowed.iter().any(|known| known == method) {
            allowed.push(method.to_owned());
        }
    }
}

impl fmt::Debug for Cascade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cascade")
            .field("apps", &self.apps.len())
            .field("passes", &self.passes)
            .field("max_body", &self.max_body)
            .finish()
    }
}
