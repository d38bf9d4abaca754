//! In debug builds, lets an open page follow the site: its process, its templates, its styles.

use crate::site::{About, Start};
use crate::{Middleware, Request, Response, Result, Service};

#[cfg(debug_assertions)]
use crate::live::{Live, LiveScript, admit, tagged};
#[cfg(debug_assertions)]
use http::header::{
    ACCEPT, ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
#[cfg(debug_assertions)]
use http::{HeaderMap, HeaderName, Method, StatusCode};
#[cfg(debug_assertions)]
use std::sync::Arc;

/// Reloads an open page when the site starts anew, or a file of its templates or public files has changed; a changed style alone
/// is put in place without a reload.
///
/// Stands below [`Compression`](super::Compression) and above [`ErrorPages`](super::ErrorPages) and the debugger, so that their
/// pages come back by themselves too once what failed is mended. A site with another order does not start.
///
/// - Into each answer to `GET` that is a whole page of HTML, of whatever status, it puts one element `script`, before the first
///   `</head>` or `</body>`. Fragments, parts, files to be saved and what is encoded already stay as they are. The page streams
///   through. Its `ETag` and `Last-Modified` go, and a browser that asks for a page is not answered 304: it would keep one of
///   another process. A Content-Security-Policy of the page itself is made to let the script in, and its connection.
/// - `/_purlin/live` is an [event stream](crate::sse): `hello` with an id of the process, `styles` or `reload` with the names of
///   what has changed. Only pages of the same origin may listen. In one browser, one tab does so for all, since a browser
///   opens six connections to a site and no more.
/// - The folders of [`StaticFiles`](super::StaticFiles) and [`Templates`](super::Templates), and of whatever else says
///   [`About::reads`], are looked at every 100 ms while somebody listens, and for five seconds after a page has left.
///
/// **Only a debug build contains any of this.** In a release build the layer passes on what comes.
///
/// ```
/// use purlin::layers::{ErrorPages, LiveReload};
/// use purlin::{Router, Stack, get, html};
///
/// let app = Stack::new()
///     .layer(LiveReload::new().on(true)) // in a site: `config.templates.reload`
///     .layer(ErrorPages::new())
///     .app(Router::new().route("/", get(async || html("<body>Hello</body>"))));
/// # app.check().unwrap();
/// ```
#[derive(Debug)]
pub struct LiveReload {
    on: bool,
    #[cfg(debug_assertions)]
    live: Arc<Live>,
}

impl LiveReload {
    /// On in a debug build, and nothing in a release build.
    pub fn new() -> Self {
        Self {
            on: true,
            #[cfg(debug_assertions)]
            live: Live::new(),
        }
    }

    /// Whether it does anything at all; on by default.
    pub fn on(mut self, on: bool) -> Self {
        self.on = on;
        self
    }
}

impl Default for LiveReload {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for LiveReload {
    #[cfg(debug_assertions)]
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        if !self.on {
            return Ok(next.call(req).await);
        }
        if let Some(answer) = self.live.answer(&mut req).await {
            return answer;
        }
        let method = req.method().clone();
        if is_for_page(&req) {
            for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
                req.headers_mut().remove(name);
            }
        }
        let response = next.call(req).await;
        Ok(match is_page(&response) {
            // An answer to HEAD whose body the server is to leave away is as long as that to GET.
            true if method == Method::GET || (method == Method::HEAD && !response.body().is_empty()) => {
                self.put_into(response)
            }
            true if method == Method::HEAD => {
                let mut response = response;
                unsaid(response.headers_mut());
                response
            }
            _ => response,
        })
    }

    #[cfg(not(debug_assertions))]
    fn handle(&self, req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        crate::service::then(next.call(req), Ok)
    }

    fn describe(&self, about: &mut About) {
        about.option("on", self.on && cfg!(debug_assertions));
        #[cfg(debug_assertions)]
        if self.on {
            about.provides::<LiveScript>();
            // Of a compressed page nothing can be read: what compresses stands further out.
            about.wants::<crate::negotiate::Offered>();
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        #[cfg(debug_assertions)]
        if self.on {
            self.live.start(start.site().folders().map(std::path::Path::to_owned).collect());
        }
        #[cfg(not(debug_assertions))]
        let _ = start;
        Ok(())
    }
}

#[cfg(debug_assertions)]
impl LiveReload {
    fn put_into(&self, mut response: Response) -> Response {
        let before = response.body().len();
        let body = std::mem::take(response.body_mut());
        let nonce = admit(&mut response.headers().clone());
        *response.body_mut() = tagged(body, self.live.element(nonce.as_deref()));
        if before.is_some() && before == response.body().len() {
            // A fragment.
            return response;
        }
        admit(response.headers_mut());
        unsaid(response.headers_mut());
        self.live.begin();
        response
    }
}

/// Whether a browser asks for something to show: that is not answered 304.
#[cfg(debug_assertions)]
fn is_for_page(req: &Request) -> bool {
    let header = |name: HeaderName| req.headers().get(name).and_then(|value| value.to_str().ok());
    match header(HeaderName::from_static("sec-fetch-dest")) {
        Some(dest) => matches!(dest, "document" | "iframe" | "frame"),
        None => header(ACCEPT).is_some_and(|types| types.contains("text/html")),
    }
}

#[cfg(debug_assertions)]
fn is_page(response: &Response) -> bool {
    let headers = response.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = text(CONTENT_TYPE).to_ascii_lowercase();
    let status = response.status();
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    kind.split(';').next().unwrap_or_default().trim() == "text/html"
        // The tags are looked for as ASCII.
        && !kind.contains("utf-16")
        && !bodiless
        && !status.is_informational()
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && !text(CONTENT_DISPOSITION).trim_start().to_ascii_lowercase().starts_with("attachment")
}

/// Takes off what is not true of the page any more, or would bring back an old one.
#[cfg(debug_assertions)]
fn unsaid(headers: &mut HeaderMap) {
    for name in [CONTENT_LENGTH, ETAG, LAST_MODIFIED, ACCEPT_RANGES] {
        headers.remove(name);
    }
    for digest in ["content-md5", "digest", "content-digest", "repr-digest"] {
        headers.remove(HeaderName::from_static(digest));
    }
}
