//! Lets pages of other sites read what this one answers.

use crate::cors::{Kind, Methods, RouteMethods, joined, names, origin};
use crate::negotiate::vary;
use crate::site::{About, LayerInfo, Site, Start};
use crate::{Body, Error, Middleware, Request, RequestExt, Response, Result, Service, StatusCode};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

/// Lets pages of other origins read answers, and send what no form can send: cross-origin resource sharing, by the Fetch standard.
///
/// Nobody is let in by default: say [`origin`](Cors::origin), [`origin_if`](Cors::origin_if) or [`any_origin`](Cors::any_origin).
///
/// - A **preflight** (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) is answered here with 204, also to an origin that
///   is not let in, which finds nothing in it; no session, sign-in or route below sees it. The methods are those of the route that is
///   asked for, unless [`methods`](Cors::methods) says them.
/// - Every **other** answer gets `Access-Control-Allow-Origin` if its request's origin is let in: failures too, which scripts could not
///   tell from a network that is down. What an application below says of this itself is replaced.
/// - `Vary: Origin` is in every answer, also to requests without an `Origin`, unless any origin is let in: no cache gives one origin
///   what is for another.
///
/// CORS lets pages read. It keeps nobody out: what is not let in is sent all the same, and its page does not see the answer. That a page
/// of another site changes nothing in a visitor's name is the affair of [`Csrf`](super::Csrf), which asks nobody here: an origin that is to
/// post with the visitor's cookie is said to both, by `Cors::origin` with [`credentials`](Cors::credentials) and by
/// [`Csrf::trust`](super::Csrf::trust).
///
/// It stands above what refuses requests (`Csrf`, `Require`), or a preflight, which has no cookie, would be refused; around a
/// router and not on one route, whose layers no preflight reaches.
///
/// There is no *private network access*: it never became part of Fetch, and browsers that ask for leave now ask the visitor.
///
/// # Errors
///
/// When it starts: nobody is let in; an origin that no browser sends; credentials together with `*`; a layer above that refuses
/// preflights, or a route that it stands on.
///
/// ```
/// use purlin::layers::Cors;
/// use purlin::testing::Client;
/// use purlin::{Router, Stack, get};
///
/// let app = Stack::new()
///     .layer(Cors::new().origin("https://app.example.org").headers(["x-api-key"]))
///     .app(Router::new().route("/notes", get(async || "all").put(async || "kept")));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let client = Client::new(app);
/// client
///     .get("/notes")
///     .header("origin", "https://app.example.org")
///     .await
///     .assert_header("access-control-allow-origin", "https://app.example.org");
/// client
///     .options("/notes")
///     .header("origin", "https://app.example.org")
///     .header("access-control-request-method", "PUT")
///     .await
///     .assert_status(204)
///     .assert_header("access-control-allow-methods", "GET, HEAD, PUT");
/// # });
/// ```
#[derive(Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    origin_if: Vec<Box<OriginIf>>,
    any_origin: bool,
    credentials: bool,
    methods: Option<Vec<Method>>,
    headers: Vec<HeaderName>,
    any_header: bool,
    expose: Vec<HeaderName>,
    expose_all: bool,
    max_age: Option<Duration>,
    problem: Option<String>,
    started: OnceLock<RouteMethods>,
}

type OriginIf = dyn Fn(&str, &Request) -> bool + Send + Sync;

impl Cors {
    /// Lets nobody in yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets pages of this origin in, `https://app.example.org`; may be said several times.
    pub fn origin(mut self, text: &str) -> Self {
        match origin(text) {
            Ok(origin) => self.origins.push(origin),
            Err(problem) => self.problem = Some(format!("Cors::origin: {problem}")),
        }
        self
    }

    /// Lets those origins in for which this is true, of the origin as the browser wrote it and of the request. Compare it whole, or from
    /// `https://` on: whoever looks at its end only lets `https://evilexample.org` in for `example.org`.
    ///
    /// ```
    /// use purlin::layers::Cors;
    ///
    /// let of_ours = |origin: &str| {
    ///     origin.strip_prefix("https://").is_some_and(|host| host == "example.org" || host.ends_with(".example.org"))
    /// };
    /// let cors = Cors::new().origin_if(move |origin, _| of_ours(origin));
    /// # let _ = cors;
    /// ```
    pub fn origin_if(mut self, allowed: impl Fn(&str, &Request) -> bool + Send + Sync + 'static) -> Self {
        self.origin_if.push(Box::new(allowed));
        self
    }

    /// Lets all pages read, by `*`: for what is public. Not together with [`credentials`](Cors::credentials).
    pub fn any_origin(mut self, any: bool) -> Self {
        self.any_origin = any;
        self
    }

    /// Whether the visitor's cookies and passwords may come along, and the answer to them be read; off by default.
    pub fn credentials(mut self, allow: bool) -> Self {
        self.credentials = allow;
        self
    }

    /// The methods that a preflight is told; by default those of the route that is asked for. Where those are not known, below a mount that
    /// is no router, `GET, HEAD, POST`, which need no preflight.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods.get_or_insert_default().extend(methods);
        self
    }

    /// The headers that pages may send, beside those that need no leave (`Accept`, `Content-Type` of a form …); none by default.
    /// `content-type` is needed for JSON.
    pub fn headers<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        read(&mut self.headers, &mut self.problem, "headers", names);
        self
    }

    /// Whether pages may send any header but `Authorization`, by `*`; off by default. Not together with credentials.
    pub fn any_header(mut self, any: bool) -> Self {
        self.any_header = any;
        self
    }

    /// The headers of answers that pages may read, beside the few which they always may; none by default.
    pub fn expose<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        read(&mut self.expose, &mut self.problem, "expose", names);
        self
    }

    /// Whether pages may read all headers of answers, by `*`; off by default. Not together with credentials.
    pub fn expose_all(mut self, all: bool) -> Self {
        self.expose_all = all;
        self
    }

    /// For how long a browser need not ask again; by default it decides (5 seconds). Browsers cut it to 2 hours, or 24.
    pub fn max_age(mut self, time: Duration) -> Self {
        self.max_age = Some(time);
        self
    }

    /// Whether the same is said to everybody.
    fn is_for_all(&self) -> bool {
        self.any_origin
    }

    fn allows(&self, origin: &HeaderValue, req: &Request) -> bool {
        let text = || origin.to_str().unwrap_or_default();
        self.any_origin || self.origins.contains(origin) || self.origin_if.iter().any(|allowed| allowed(text(), req))
    }

    /// What an allowed origin is told in any answer.
    fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.is_for_all() {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else if let Some(origin) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if self.credentials {
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }

    fn preflight(&self, req: &Request, origin: Option<&HeaderValue>, asked: &HeaderValue) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if !self.is_for_all() {
            vary(headers, &ORIGIN);
        }
        let Some(origin) = origin else {
            return response;
        };
        self.allow(Some(origin), headers);
        let known = self.started.get().map(|routes| routes.at(req.original_path()));
        let methods = match (&self.methods, known) {
            (Some(methods), _) => joined(methods.iter().map(Method::as_str)),
            (None, Some(Methods::These(methods))) => methods.clone(),
            (None, Some(Methods::Any)) => {
                vary(headers, &ACCESS_CONTROL_REQUEST_METHOD);
                // Of what is no method nobody makes one.
                match Method::from_bytes(asked.as_bytes()) {
                    Ok(_) => asked.clone(),
                    Err(_) => HeaderValue::from_static(SAFE),
                }
            }
            (None, Some(Methods::Unknown) | None) => HeaderValue::from_static(SAFE),
        };
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        if self.any_header {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
        } else if !self.headers.is_empty() {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, joined(self.headers.iter().map(HeaderName::as_str)));
        }
        if let Some(time) = self.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(time.as_secs()));
        }
        self.tell_developer(req, asked);
        response
    }

    /// The browser says that it was refused, and not always why.
    fn tell_developer(&self, req: &Request, asked: &HeaderValue) {
        let lacking = names(req.headers(), &ACCESS_CONTROL_REQUEST_HEADERS);
        let is_lacking = |name: &&String| !self.any_header && !self.headers.iter().any(|own| own.as_str() == **name);
        let lacking: Vec<&String> = lacking.iter().filter(is_lacking).collect();
        if !lacking.is_empty() {
            tracing::debug!(target: "purlin::cors", ?lacking, method = ?asked, "a preflight asks for headers that `Cors::headers` does not name");
        }
    }
}

/// Those that need no preflight (Fetch §2.2.1).
const SAFE: &str = "GET, HEAD, POST";

fn read<'a>(
    into: &mut Vec<HeaderName>,
    problem: &mut Option<String>,
    option: &str,
    names: impl IntoIterator<Item = &'a str>,
) {
    for name in names {
        match HeaderName::from_bytes(name.as_bytes()) {
            _ if name == "*" => {
                let instead = if option == "headers" { "any_header(true)" } else { "expose_all(true)" };
                *problem = Some(format!("Cors::{option}: expected names of headers, found \"*\": say `{instead}`"));
            }
            Ok(name) => into.push(name),
            Err(_) => *problem = Some(format!("Cors::{option}: expected the name of a header, found {name:?}")),
        }
    }
}

impl Middleware for Cors {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let origin = match Kind::of(&req) {
            Kind::Preflight(origin, asked) => {
                let origin = Some(origin).filter(|origin| self.allows(origin, &req));
                if origin.is_none() {
                    tracing::debug!(target: "purlin::cors", "a preflight of an origin that `Cors` does not let in");
                }
                return Ok(self.preflight(&req, origin, asked));
            }
            Kind::Simple(origin) => Some(origin).filter(|origin| self.allows(origin, &req)).cloned(),
            Kind::None | Kind::Garbled => None,
        };
        let mut response = next.call(req).await;
        let headers = response.headers_mut();
        for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
            headers.remove(name);
        }
        if !self.is_for_all() {
            vary(headers, &ORIGIN);
        }
        self.allow(origin.as_ref(), headers);
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            if self.expose_all {
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
            } else if !self.expose.is_empty() {
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, joined(self.expose.iter().map(HeaderName::as_str)));
            }
        }
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        let mut origins: Vec<&str> = self.origins.iter().filter_map(|origin| origin.to_str().ok()).collect();
        if self.any_origin {
            origins.push("any");
        }
        if !self.origin_if.is_empty() {
            origins.push("a function's");
        }
        about.option("origins", origins.join(" ")).option("credentials", self.credentials);
        if let Some(methods) = &self.methods {
            about.option("methods", methods.iter().map(Method::as_str).collect::<Vec<_>>().join(" "));
        }
        for (name, any, names) in
            [("headers", self.any_header, &self.headers), ("expose", self.expose_all, &self.expose)]
        {
            if any {
                about.option(name, "any");
            } else if !names.is_empty() {
                about.option(name, names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(" "));
            }
        }
        if let Some(time) = self.max_age {
            about.option("max_age", format_args!("{time:?}"));
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        if let Some(problem) = &self.problem {
            return Err(Error::internal(problem.clone()));
        }
        let of_some = !self.origins.is_empty() || !self.origin_if.is_empty();
        let wrong = match self.any_origin {
            false if !of_some => {
                Some("lets nobody in: say `.origin(\"https://app.example.org\")` or `.any_origin(true)`")
            }
            true if of_some => Some("lets in any origin and some: take `any_origin` out, or the others"),
            true if self.credentials => Some(
                "cannot let any origin in with credentials, which browsers refuse: say `.origin(\"https://app.example.org\")` for each \
                 instead of `any_origin`",
            ),
            _ if self.credentials && self.any_header => Some(
                "cannot let any header in with credentials, for which browsers read `*` as a name: say `.headers([\"content-type\"])` \
                 instead of `any_header`",
            ),
            _ if self.credentials && self.expose_all => Some(
                "cannot expose all headers with credentials, for which browsers read `*` as a name: say `.expose([\"etag\"])` instead \
                 of `expose_all`",
            ),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(Error::internal(format!("the layer Cors {wrong}")));
        }
        stands_well(start.site())?;
        // Started twice (by a test, say), it stays as it was first.
        let _ = self.started.set(RouteMethods::of(start.site()));
        Ok(())
    }
}

/// Whether one mount is the other or below it.
fn is_below(mount: &str, above: &str) -> bool {
    mount.strip_prefix(above).is_some_and(|rest| rest.is_empty() || above.is_empty() || rest.starts_with('/'))
}

/// That preflights reach it.
fn stands_well(site: &Site) -> Result<()> {
    let layers = site.layers();
    for (at, cors) in layers.iter().enumerate().filter(|(_, layer)| layer.name == "Cors") {
        let line = cors.line();
        if let Some(route) = &cors.route {
            return Err(Error::internal(format!(
                "the layer Cors ({line}) stands on the route {route}, where no preflight arrives: put it around a router, which may be \
                 mounted: `Stack::new().layer(Cors::new()…).app(routes)`"
            )));
        }
        let refuses = |layer: &&LayerInfo| {
            ["BasicAuth", "BearerAuth", "Csrf", "Require"].contains(&layer.name.as_str())
                && layer.route.is_none()
                && is_below(&cors.mount, &layer.mount)
                && (layer.host.is_none() || layer.host == cors.host)
        };
        if let Some(above) = layers[..at].iter().find(refuses) {
            let (name, other) = (&above.name, above.line());
            return Err(Error::internal(format!(
                "the layer Cors ({line}) stands below {name}, which refuses what has no cookie or password, as preflights have none, and \
                 whose refusals no page of another site could read: move the line {line} above {other}"
            )));
        }
    }
    Ok(())
}

impl fmt::Debug for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origins, any_origin, credentials, .. } = self;
        let mut all = f.debug_struct("Cors");
        all.field("origins", origins).field("any_origin", any_origin).field("credentials", credentials);
        all.finish_non_exhaustive()
    }
}
