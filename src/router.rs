//! `Router`: which handler answers a request, by path and method.

use crate::handler::{Handler, HandlerService};
use crate::pool::{Pool, describe_installed};
use crate::request::OriginalUri;
use crate::site::{About, Boundary, Outline, RouteInfo, Site, Start, short_name};
use crate::stack::Layered;
use crate::timing::Visit;
use crate::{
    BoxService, Error, IntoResponse, Middleware, Redirect, Request, RequestExt, Response, ResponseExt, Result, Service,
};
use http::header::ALLOW;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Uri};
use std::panic::Location;
use std::sync::{Arc, OnceLock};

/// Dispatches requests to handlers by path and method.
///
/// Paths are written in matchit's syntax: `/posts/{id}`, `/img/{name}.png`, `/files/{*rest}`; a static segment wins over a
/// parameter. They are compared as the client sent them, percent-encoded; parameters are decoded after that, so a `%2F`
/// in one does not divide it.
///
/// - `HEAD` is answered by the `GET` handler, `OPTIONS` with the methods there are, a method without a handler with 405 and
///   `Allow` (RFC 9110 §9.3.2, §9.3.7, §15.5.6), unless a route has handlers for these.
/// - A path that differs from a route by its last slash only is redirected: see [`TrailingSlash`].
/// - A panic in a handler is caught here and becomes a carried 500.
/// - Two routes that would match the same request are reported when the site starts, with both lines.
///
/// ```
/// use purlin::{Path, Router, get, text};
///
/// async fn hello(Path(name): Path<String>) -> String {
///     format!("Hello, {name}!")
/// }
///
/// let routes = Router::new()
///     .route("/", get(async || text("Welcome")).name("home"))
///     .route("/hello/{name}", get(hello).name("hello"));
/// ```
#[derive(Default)]
pub struct Router {
    table: matchit::Router<Target>,
    routes: Vec<Entry>,
    mounts: Vec<Mount>,
    fallback: Option<(Endpoint, &'static Location<'static>)>,
    slash: TrailingSlash,
    problems: Vec<String>,
    here: Arc<OnceLock<Here>>,
}

/// Where a router stands in its site; known once the site has started.
#[derive(Debug)]
struct Here {
    site: Arc<Site>,
    namespace: String,
    host: Option<String>,
}

#[derive(Clone, Copy)]
enum Target {
    Route(usize),
    Mount(usize),
}

struct Entry {
    route: Route,
    pattern: Arc<str>,
    place: &'static Location<'static>,
    allow: HeaderValue,
}

struct Mount {
    path: String,
    name: Option<String>,
    service: BoxService,
    place: &'static Location<'static>,
}

/// What becomes of a path that differs from a route by its last slash only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrailingSlash {
    /// A permanent redirect (308) to the path as the route has it, the query kept. The default.
    #[default]
    Redirect,
    /// The route answers as if the path were its own.
    Ignore,
    /// It is another path: 404.
    Strict,
}

impl Router {
    /// No routes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. The same path may be added again with other methods.
    #[track_caller]
    pub fn route(self, path: &str, route: Route) -> Self {
        self.routed(path, route, Location::caller())
    }

    fn routed(mut self, path: &str, route: Route, place: &'static Location<'static>) -> Self {
        if !path.starts_with('/') {
            self.problems.push(format!("the route {path:?} ({place}) must begin with a slash"));
            return self;
        }
        if let Some(at) = self.routes.iter().position(|entry| &*entry.pattern == path) {
            self.merge_into(at, route, place);
            return self;
        }
        let target = Target::Route(self.routes.len());
        match self.table.insert(encoded(path), target) {
            Ok(()) => {
                let allow = route.allow();
                self.routes.push(Entry { route, pattern: path.into(), place, allow });
            }
            Err(error) => self.conflict(&format!("the route {path}"), place, error),
        }
        self
    }

    /// Two `route` calls with one path are one route with the methods of both.
    fn merge_into(&mut self, at: usize, route: Route, place: &'static Location<'static>) {
        let entry = &mut self.routes[at];
        for (method, endpoint) in route.methods {
            if entry.route.has(&method) {
                self.problems.push(format!(
                    "two handlers for {method} {}: the one at {place} and the one at {}",
                    entry.pattern, entry.place
                ));
            } else {
                entry.route.methods.push((method, endpoint));
            }
        }
        if let Some(any) = route.any
            && entry.route.any.replace(any).is_some()
        {
            self.problems.push(format!(
                "two handlers for any method of {}: the one at {place} and the one at {}",
                entry.pattern, entry.place
            ));
        }
        match (&entry.route.name, route.name) {
            (Some(first), Some(second)) if *first != second => self.problems.push(format!(
                "the path {} is named `{first}` at {} and `{second}` at {place}: a path has one name",
                entry.pattern, entry.place
            )),
            (None, Some(name)) => entry.route.name = Some(name),
            _ => {}
        }
        entry.allow = entry.route.allow();
    }

    fn conflict(&mut self, what: &str, place: &'static Location<'static>, error: matchit::InsertError) {
        let problem = match error {
            matchit::InsertError::Conflict { with } => {
                let other = self.place_of(&with).map(|place| format!(" ({place})")).unwrap_or_default();
                format!("{what} ({place}) is in conflict with {with}{other}: a request could match both")
            }
            other => format!("{what} ({place}) is not a path that can be matched: {other}"),
        };
        self.problems.push(problem);
    }

    fn place_of(&self, pattern: &str) -> Option<&'static Location<'static>> {
        let route = self.routes.iter().find(|entry| encoded(&entry.pattern) == pattern).map(|entry| entry.place);
        route.or_else(|| {
            let mount = self.mounts.iter().find(|mount| pattern.starts_with(&mount.path));
            mount.map(|mount| mount.place)
        })
    }

    /// Puts a service below a path: another router, a whole stack, a file server.
    ///
    /// It sees the rest of the path as its own, from its own root; `RequestExt::original_path` has the whole.
    #[track_caller]
    pub fn mount(self, path: &str, service: impl Service + 'static) -> Self {
        self.mounted(path, None, BoxService::new(service), Location::caller())
    }

    /// Mounts a service under a name: its route `post` is `blog:post` to the rest of the site. The same service can so be
    /// mounted twice.
    #[track_caller]
    pub fn mount_named(self, name: &str, path: &str, service: impl Service + 'static) -> Self {
        self.mounted(path, Some(name.to_owned()), BoxService::new(service), Location::caller())
    }

    fn mounted(
        mut self,
        path: &str,
        name: Option<String>,
        service: BoxService,
        place: &'static Location<'static>,
    ) -> Self {
        let path = path.trim_end_matches('/').to_owned();
        let what = format!("the mount {}", if path.is_empty() { "/" } else { &path });
        if !path.is_empty() && !path.starts_with('/') {
            self.problems.push(format!("{what} ({place}) must begin with a slash"));
            return self;
        }
        let target = Target::Mount(self.mounts.len());
        let exact = if path.is_empty() { "/".to_owned() } else { encoded(&path) };
        let mut patterns = vec![exact];
        if !path.is_empty() {
            patterns.push(format!("{}/", encoded(&path)));
        }
        patterns.push(format!("{}/{{*{REST}}}", encoded(&path)));
        for pattern in patterns {
            if let Err(error) = self.table.insert(pattern, target) {
                self.conflict(&what, place, error);
                return self;
            }
        }
        self.mounts.push(Mount { path, name, service, place });
        self
    }

    /// Answers what no route does, instead of a carried 404.
    #[track_caller]
    pub fn fallback<H: Handler<A>, A: 'static>(mut self, handler: H) -> Self {
        self.fallback = Some((Endpoint::new(handler), Location::caller()));
        self
    }

    /// Adds all routes, mounts and the fallback of another router; what becomes of last slashes stays as it is here.
    pub fn merge(mut self, other: Router) -> Self {
        self.problems.extend(other.problems);
        for entry in other.routes {
            self = self.routed(&entry.pattern, entry.route, entry.place);
        }
        for mount in other.mounts {
            self = self.mounted(&mount.path, mount.name, mount.service, mount.place);
        }
        match (&self.fallback, other.fallback) {
            (Some((_, first)), Some((_, second))) => {
                self.problems.push(format!("two fallbacks are merged: {first} and {second}"));
            }
            (None, Some(fallback)) => self.fallback = Some(fallback),
            _ => {}
        }
        self
    }

    /// Sets what becomes of a path with one slash too many or too few at its end; [`TrailingSlash::Redirect`] by default.
    pub fn trailing_slash(mut self, policy: TrailingSlash) -> Self {
        self.slash = policy;
        self
    }

    /// Asks whoever it is for. A handler is asked at once, so that its request is in its own future and in none around it.
    fn dispatch(&self, mut req: Request) -> impl Future<Output = Response> + Send {
        let asked = match self.find(req.uri().path()) {
            Some(Found::Route(at, params)) => {
                let entry = &self.routes[at];
                match entry.route.endpoint(req.method()) {
                    Some(endpoint) if endpoint.is_handler => {
                        add_params(&mut req, params);
                        req.extensions_mut().insert(self.matched(entry));
                        let visit = Visit::to_route(&req, &entry.pattern);
                        Ok((endpoint.service.call(req), entry, visit))
                    }
                    _ => Err(Box::pin(self.dispatch_later(Some(Found::Route(at, params)), req))),
                }
            }
            found => Err(Box::pin(self.dispatch_later(found, req))),
        };
        async move {
            match asked {
                Ok((answer, entry, visit)) => self.caught(answer, entry, visit).await,
                Err(answer) => answer.await,
            }
        }
    }

    /// The same when it is polled: what is called may panic, and errors know the spans that they arise in.
    async fn dispatch_later(&self, found: Option<Found>, mut req: Request) -> Response {
        match found {
            Some(Found::Route(at, params)) => self.answer(&self.routes[at], req, params).await,
            Some(Found::Mount(at, rest, params)) => {
                let mount = &self.mounts[at];
                add_params(&mut req, params);
                match below(req.uri(), rest) {
                    Ok(uri) => {
                        let whole = std::mem::replace(req.uri_mut(), uri);
                        if req.extensions().get::<OriginalUri>().is_none() {
                            req.extensions_mut().insert(OriginalUri(whole));
                        }
                        mount.service.call(req).await
                    }
                    Err(error) => error.into(),
                }
            }
            None => self.not_found(req).await,
        }
    }

    async fn answer(&self, entry: &Entry, mut req: Request, params: Vec<(Arc<str>, String)>) -> Response {
        let Some(endpoint) = entry.route.endpoint(req.method()) else {
            if req.method() == Method::OPTIONS {
                return StatusCode::NO_CONTENT.into_response().with_header(ALLOW, entry.allow.clone());
            }
            let allowed = entry.allow.to_str().unwrap_or_default();
            let message = format!("{} is answered for {allowed}, not for {}", entry.pattern, req.method());
            return Error::new(StatusCode::METHOD_NOT_ALLOWED, message).header(ALLOW, entry.allow.clone()).into();
        };
        add_params(&mut req, params);
        req.extensions_mut().insert(self.matched(entry));
        let visit = Visit::to_route(&req, &entry.pattern);
        self.caught(endpoint.service.call(req), entry, visit).await
    }

    fn matched(&self, entry: &Entry) -> MatchedRoute {
        MatchedRoute { pattern: entry.pattern.clone(), here: self.here.clone() }
    }

    /// The answer of a route's handler; a panic in it becomes one of the route.
    async fn caught(&self, answer: impl Future<Output = Response>, entry: &Entry, mut visit: Visit) -> Response {
        let mut response = match crate::panic::caught(answer).await {
            Ok(response) => response,
            Err(error) => error.in_route(&entry.pattern).into(),
        };
        visit.end();
        // A view's links are relative to the route, and an error's page names it. Other answers carry nothing and pay nothing.
        if !response.extensions().is_empty() {
            response.extensions_mut().insert(self.matched(entry));
        }
        response
    }

    /// The handlers that are run on a pool by themselves, where no layer above has one.
    fn describe_pool(&self, outline: &mut Outline) {
        let routes = self.routes.iter().flat_map(|entry| {
            let endpoints = entry.route.endpoints().filter(|(_, endpoint)| endpoint.blocks);
            endpoints.map(|(method, _)| ((method, &*entry.pattern), entry.place))
        });
        let (handlers, places): (Vec<_>, Vec<_>) = routes.unzip();
        let fallback = self.fallback.as_ref().filter(|(endpoint, _)| endpoint.blocks);
        let place = places.first().copied().or(fallback.map(|(_, place)| *place));
        if let Some(place) = place {
            let count = handlers.len() + usize::from(fallback.is_some());
            outline.install::<Pool>(place, Some(handlers), |about| {
                describe_installed(about);
                about.option("handlers", count);
            });
        }
    }

    fn find(&self, path: &str) -> Option<Found> {
        let matched = self.table.at(path).ok()?;
        let mut params = Vec::new();
        let mut rest = "";
        for (name, value) in matched.params.iter() {
            if name == REST {
                rest = value;
            } else {
                params.push((Arc::from(name), value.to_owned()));
            }
        }
        Some(match *matched.value {
            Target::Route(at) => Found::Route(at, params),
            Target::Mount(at) => Found::Mount(at, rest.len(), params),
        })
    }

    async fn not_found(&self, req: Request) -> Response {
        let path = req.uri().path();
        let other = match path.strip_suffix('/') {
            Some(path) => path.to_owned(),
            None => format!("{path}/"),
        };
        if self.slash != TrailingSlash::Strict
            && !other.is_empty()
            && let Some(Found::Route(at, params)) = self.find(&other)
        {
            if self.slash == TrailingSlash::Ignore {
                return self.answer(&self.routes[at], req, params).await;
            }
            return slash_redirect(&req, &other);
        }
        match &self.fallback {
            Some((endpoint, _)) => match crate::panic::caught(endpoint.service.call(req)).await {
                Ok(response) => response,
                Err(error) => error.into(),
            },
            None => Error::not_found(format!("no route matches {} {}", req.method(), req.original_path())).into(),
        }
    }
}

/// The parameter that holds what is left of a path below a mount. No site can write a name with a space.
const REST: &str = "purlin rest";

enum Found {
    Route(usize, Vec<(Arc<str>, String)>),
    /// With the length of the rest of the path.
    Mount(usize, usize, Vec<(Arc<str>, String)>),
}

fn slash_redirect(req: &Request, path: &str) -> Response {
    // Below a mount the client's path is longer than ours.
    let whole = req.original_path();
    let mounted = whole.strip_suffix(req.uri().path()).unwrap_or_default();
    // `//evil.example/` would be a redirect to another host (RFC 3986 §4.2): one slash leads.
    let path = format!("/{}", format!("{mounted}{path}").trim_start_matches(['/', '\\']));
    let to = match req.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    Redirect::permanent(to).into_response()
}

/// The URI with the last `rest` bytes of its path only.
fn below(uri: &Uri, rest: usize) -> Result<Uri> {
    let path = uri.path();
    let path = &path[path.len() - rest..];
    let path_and_query = match uri.query() {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query)?);
    Ok(Uri::from_parts(parts)?)
}

/// A pattern with its literals percent-encoded as browsers send them.
pub(crate) fn encoded(pattern: &str) -> String {
    if pattern.is_ascii() && !pattern.contains(' ') {
        return pattern.to_owned();
    }
    const LITERAL: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ');
    percent_encoding::utf8_percent_encode(pattern, LITERAL).to_string()
}

impl Service for Router {
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send {
        self.dispatch(req)
    }

    fn describe(&self, outline: &mut Outline) {
        for problem in &self.problems {
            outline.problem(problem);
        }
        self.describe_pool(outline);
        for entry in &self.routes {
            entry.describe(outline);
        }
        for mount in &self.mounts {
            outline.mount(&mount.path, mount.name.as_deref(), |outline| mount.service.describe(outline));
        }
        if let Some((endpoint, place)) = &self.fallback {
            outline.within_fallback(place, |outline| endpoint.service.describe(outline));
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        // Started twice (by a test, say), a router stays where it was first.
        let here = Here {
            site: start.site().clone(),
            namespace: start.namespace().to_owned(),
            host: start.host().map(str::to_owned),
        };
        let _ = self.here.set(here);
        for mount in &self.mounts {
            start.within(mount.name.as_deref(), |start| mount.service.start(start))?;
        }
        for entry in &self.routes {
            for (_, endpoint) in entry.route.endpoints() {
                endpoint.service.start(start)?;
            }
        }
        if let Some((endpoint, _)) = &self.fallback {
            endpoint.service.start(start)?;
        }
        Ok(())
    }

    fn below(&'static self, boundary: &mut Boundary) {
        for mount in &self.mounts {
            boundary.within(mount.name.as_deref(), |boundary| mount.service.below(boundary));
        }
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths = self.routes.iter().map(|entry| &*entry.pattern);
        f.debug_list().entries(paths).entries(self.mounts.iter().map(|mount| &mount.path)).finish()
    }
}

/// The handlers of one path by method, with its name and its own layers.
///
/// Made by [`get`], [`post`] and the others, and added to by the methods of the same names.
///
/// ```
/// use purlin::layers::BodyLimit;
/// use purlin::{Route, get, text};
///
/// async fn list() -> purlin::Response { text("…") }
/// async fn upload(body: purlin::Body) -> purlin::Response { text("thanks") }
///
/// let route: Route = get(list).post(upload).layer(BodyLimit::new(50 << 20)).name("files");
/// ```
#[derive(Default)]
pub struct Route {
    methods: Vec<(Method, Endpoint)>,
    any: Option<Endpoint>,
    name: Option<String>,
}

#[derive(Clone)]
struct Endpoint {
    service: BoxService,
    handler: &'static str,
    /// No layer of the route stands above the handler.
    is_handler: bool,
    /// It is no `async fn`, and no layer of the route brings a pool for it.
    blocks: bool,
}

impl Endpoint {
    fn new<H: Handler<A>, A: 'static>(handler: H) -> Self {
        let blocks = HandlerService::<H, A>::needs().is_blocking();
        let service = BoxService::new(HandlerService::new(handler));
        Self { service, handler: std::any::type_name::<H>(), is_handler: true, blocks }
    }
}

// Written out, and not by a macro, which the compiler would show with every handler that does not fit.

/// A route with a handler for `GET` (RFC 9110 §9.3.1).
pub fn get<H: Handler<A>, A: 'static>(handler: H) -> Route {
    Route::default().get(handler)
}

/// A route with a handler for `POST` (RFC 9110 §9.3.3).
pub fn post<H: Handler<A>, A: 'static>(handler: H) -> Route {
    Route::default().post(handler)
}

/// A route with a handler for `PUT` (RFC 9110 §9.3.4).
pub fn put<H: Handler<A>, A: 'static>(handler: H) -> Route {
    Route::default().put(handler)
}

/// A route with a handler for `DELETE` (RFC 9110 §9.3.5).
pub fn delete<H: Handler<A>, A: 'static>(handler: H) -> Route {
    Route::default().delete(handler)
}

/// A route with a handler for `HEAD` (RFC 9110 §9.3.2).
pub fn head<H: Handler<A>, A: 'static>(handler: H) -> Route {
    Route::default().head(handler)
}

/// A route with a handler for `OPTIONS` (RFC 9110 §9.3.7).
pub fn options<H: Handler<A>, A: 'static>(handler: H) -> Route {
    Route::default().options(handler)
}

/// A route with a handler for `PATCH` (RFC 5789).
pub fn patch<H: Handler<A>, A: 'static>(handler: H) -> Route {
    Route::default().patch(handler)
}

/// A route whose handler takes every method that has none of its own.
pub fn any<H: Handler<A>, A: 'static>(handler: H) -> Route {
    Route::default().any(handler)
}

impl Route {
    /// Adds a handler for `GET` (RFC 9110 §9.3.1).
    #[must_use]
    pub fn get<H: Handler<A>, A: 'static>(self, handler: H) -> Self {
        self.on(Method::GET, handler)
    }

    /// Adds a handler for `POST` (RFC 9110 §9.3.3).
    #[must_use]
    pub fn post<H: Handler<A>, A: 'static>(self, handler: H) -> Self {
        self.on(Method::POST, handler)
    }

    /// Adds a handler for `PUT` (RFC 9110 §9.3.4).
    #[must_use]
    pub fn put<H: Handler<A>, A: 'static>(self, handler: H) -> Self {
        self.on(Method::PUT, handler)
    }

    /// Adds a handler for `DELETE` (RFC 9110 §9.3.5).
    #[must_use]
    pub fn delete<H: Handler<A>, A: 'static>(self, handler: H) -> Self {
        self.on(Method::DELETE, handler)
    }

    /// Adds a handler for `HEAD` (RFC 9110 §9.3.2).
    #[must_use]
    pub fn head<H: Handler<A>, A: 'static>(self, handler: H) -> Self {
        self.on(Method::HEAD, handler)
    }

    /// Adds a handler for `OPTIONS` (RFC 9110 §9.3.7).
    #[must_use]
    pub fn options<H: Handler<A>, A: 'static>(self, handler: H) -> Self {
        self.on(Method::OPTIONS, handler)
    }

    /// Adds a handler for `PATCH` (RFC 5789).
    #[must_use]
    pub fn patch<H: Handler<A>, A: 'static>(self, handler: H) -> Self {
        self.on(Method::PATCH, handler)
    }

    /// Adds a handler for any method, also one of your own. A second one for the same method replaces the first.
    #[must_use]
    pub fn on<H: Handler<A>, A: 'static>(self, method: Method, handler: H) -> Self {
        self.put_endpoint(method, Endpoint::new(handler))
    }

    // Not generic, so that it is compiled once, here.
    fn put_endpoint(mut self, method: Method, endpoint: Endpoint) -> Self {
        self.methods.retain(|(other, _)| *other != method);
        self.methods.push((method, endpoint));
        self
    }

    /// Sets the handler for every method that has none of its own.
    #[must_use]
    pub fn any<H: Handler<A>, A: 'static>(mut self, handler: H) -> Self {
        self.any = Some(Endpoint::new(handler));
        self
    }

    /// Names the route, for making URLs of it: `url_for` in templates, [`Urls`](crate::Urls) in handlers.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Puts a layer around the handlers that the route has so far; the last one added is outermost.
    #[must_use]
    #[track_caller]
    pub fn layer<M: Middleware>(mut self, layer: M) -> Self {
        let brings_pool = About::is_provider::<Pool>(|about| layer.describe(about), Location::caller());
        let layer = Arc::new(layer);
        for (at, endpoint) in self.methods.iter_mut().map(|(_, endpoint)| endpoint).chain(&mut self.any).enumerate() {
            let shared = Shared { layer: layer.clone(), starts: at == 0 };
            endpoint.service = BoxService::new(Layered::new(shared, endpoint.service.clone()));
            endpoint.is_handler = false;
            endpoint.blocks &= !brings_pool;
        }
        self
    }

    fn has(&self, method: &Method) -> bool {
        self.methods.iter().any(|(other, _)| other == method)
    }

    fn endpoint(&self, method: &Method) -> Option<&Endpoint> {
        let of = |method: &Method| self.methods.iter().find(|(other, _)| other == method).map(|(_, endpoint)| endpoint);
        of(method).or_else(|| if method == Method::HEAD { of(&Method::GET) } else { None }).or(self.any.as_ref())
    }

    fn endpoints(&self) -> impl Iterator<Item = (Option<&Method>, &Endpoint)> {
        let methods = self.methods.iter().map(|(method, endpoint)| (Some(method), endpoint));
        methods.chain(self.any.as_ref().map(|endpoint| (None, endpoint)))
    }

    /// The value of `Allow`: `GET, HEAD, OPTIONS`.
    fn allow(&self) -> HeaderValue {
        let mut methods: Vec<&str> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        if methods.contains(&"GET") && !methods.contains(&"HEAD") {
            methods.push("HEAD");
        }
        if !methods.contains(&"OPTIONS") {
            methods.push("OPTIONS");
        }
        // A method is a token (RFC 9110 §9.1), so every one of them can stand in a header.
        HeaderValue::try_from(methods.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"))
    }
}

/// A layer around several handlers, which is one layer and starts once.
struct Shared<M> {
    layer: Arc<M>,
    starts: bool,
}

impl<M: Middleware> Middleware for Shared<M> {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        self.layer.handle(req, next).await.map_err(|error| error.in_layer(short_name::<M>()))
    }

    fn describe(&self, about: &mut About) {
        about.named::<M>();
        self.layer.describe(about);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        if self.starts { self.layer.start(start) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for (method, endpoint) in self.endpoints() {
            map.entry(&method.map_or("any", Method::as_str), &endpoint.handler);
        }
        map.finish()
    }
}

impl Entry {
    fn describe(&self, outline: &mut Outline) {
        for (method, endpoint) in self.route.endpoints() {
            outline.within_route(method, &self.pattern, self.place, |outline| endpoint.service.describe(outline));
        }
        outline.route(RouteInfo {
            name: self.route.name.clone(),
            host: None,
            path: self.pattern.to_string(),
            methods: self.route.methods.iter().map(|(method, _)| method.clone()).collect(),
            handlers: self.route.endpoints().map(|(_, endpoint)| endpoint.handler).collect(),
            place: self.place,
        });
    }
}

/// The route that answers a request; an extractor, and in the extensions of the request below the router, and of an answer
/// that carries a [`View`](crate::View) or an [`Error`] above it.
#[derive(Clone, Debug)]
pub struct MatchedRoute {
    pattern: Arc<str>,
    here: Arc<OnceLock<Here>>,
}

impl MatchedRoute {
    /// The path as the route was written, without the prefixes of mounts: `/posts/{id}`.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The whole site, once it has started.
    pub fn site(&self) -> Option<&Arc<Site>> {
        self.here.get().map(|here| &here.site)
    }

    /// The prefix of route names where the router stands: `blog:` inside a mount named `blog`.
    pub fn namespace(&self) -> &str {
        self.here.get().map_or("", |here| &here.namespace)
    }

    /// The hosts that the router is for, where a [`Hosts`](crate::Hosts) stands above: see
    /// [`RouteInfo::host`](crate::site::RouteInfo::host).
    pub fn host(&self) -> Option<&str> {
        self.here.get().and_then(|here| here.host.as_deref())
    }
}

/// The path's parameters, decoded, in the order of the path; those of mounts first.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(Arc<str>, String)>);

impl Params {
    /// The parameter of this name, as it stood in the path: percent-encoded.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Names and values as they stood in the path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(crate) fn add_params(req: &mut Request, params: Vec<(Arc<str>, String)>) {
    if params.is_empty() {
        return;
    }
    match req.extensions_mut().get_mut::<Params>() {
        Some(Params(before)) => before.extend(params),
        None => {
            req.extensions_mut().insert(Params(params));
        }
    }
}
