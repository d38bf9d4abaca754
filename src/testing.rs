//! Tests of a site: a client in the same process, and the contracts that layers and stores promise to keep.
//!
//! [`Client`] asks an application as a browser would, without a socket: it keeps cookies, finds forms on the page, fills them
//! and submits them, follows links and redirects. An answer that nobody expected (500 and above) fails the test by
//! itself and shows the cause chain. So does one that breaks a rule of the [lint](crate::lint), an error or a warning, unless
//! it is [allowed](Client::allow).
//!
//! ```
//! use purlin::testing::Client;
//! use purlin::{Form, Redirect, Router, Stack, get, html};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Greeting { name: String }
//!
//! async fn page() -> purlin::Response {
//!     html("<title>Guests</title><form method=post><input name=name value=you><button>Sign</button></form>")
//! }
//!
//! async fn sign(Form(greeting): Form<Greeting>) -> Redirect {
//!     Redirect::see_other(format!("/thanks/{}", greeting.name))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let app = Stack::new().app(Router::new().route("/", get(page).post(sign)));
//! let client = Client::new(app);
//! let page = client.get("/").await;
//! page.assert_status(200).assert_contains("Guests");
//! page.form(0).set("name", "Ada").submit().await.assert_redirect("/thanks/Ada");
//! # }
//! ```
//!
//! Everything here panics where a test would: with what was asked, what was answered, and the test's own line.

use crate::capabilities::Capabilities;
use crate::layers::Lint;
use crate::lint::{Rule, Side, Violation};
use crate::request::Https;
use crate::site::{Life, Site};
use crate::{Body, BoxService, Connection, Error, Request, Response, Service};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

mod contract;
mod cookies;
mod events;
mod form;
mod html;
mod lint;
mod multipart;
mod page;
mod url;
#[cfg(feature = "websocket")]
mod websocket;
mod wire;

pub use crate::session::contract::store_contract;
pub use contract::layer_contract;
pub use cookies::KeptCookie;
pub use events::{EventParser, EventStream, ReceivedEvent};
pub use form::{PageForm, Which};
pub use html::Element;
pub use lint::lint;
pub use multipart::Multipart;
pub use page::{Link, Page};

use cookies::Jar;
use url::Url;

/// How many redirects are followed in a row; browsers give up at 20.
const MAX_REDIRECTS: usize = 10;

/// Asks a site as one visitor does.
///
/// Clones are the same visitor: they share the cookies. [`another_visitor`](Client::another_visitor) has none yet.
#[derive(Clone)]
pub struct Client {
    way: Arc<Way>,
    jar: Arc<Mutex<Jar>>,
    base: Url,
    headers: HeaderMap,
    peer: SocketAddr,
    expect_errors: bool,
    follow_redirects: bool,
    lint: bool,
    allowed: Vec<&'static Rule>,
}

/// Runs a future to its end, in a runtime of its own on this thread, whose timers and sockets work: what
/// [`#[purlin::test]`](crate::test) does with a test.
///
/// # Panics
///
/// Inside of another runtime, and where the system has no means for one.
///
/// ```
/// let answer = purlin::testing::block_on(async { 42 });
/// assert_eq!(answer, 42);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|error| panic!("no runtime for the test: {error}")).block_on(future)
}

enum Way {
    Inside { app: BoxService, life: Life },
    Server { address: String },
}

impl Client {
    /// A client of an application in the same process, which is started as the server would start it.
    ///
    /// Its background work ends when the last clone of the client is dropped.
    ///
    /// # Panics
    ///
    /// If the application does not fit together or cannot start, with the reason.
    #[track_caller]
    pub fn new(app: impl Service + 'static) -> Self {
        let app = BoxService::new(app);
        match Life::start_with(&app, Capabilities::new()) {
            Ok(life) => Self::by(Way::Inside { app, life }, "http://localhost"),
            Err(error) => panic!("{error:#}"),
        }
    }

    /// A client of a server which listens at an address such as `http://127.0.0.1:8000`, over HTTP/1.1 and a connection for
    /// each request.
    ///
    /// The errors behind its answers stay in the server: a failed test shows the answer only.
    ///
    /// # Panics
    ///
    /// If the address is no `http://` one: the client speaks no TLS.
    #[track_caller]
    pub fn connect(address: &str) -> Self {
        let base = Url::parse(address).filter(|url| !url.https);
        let base = base.unwrap_or_else(|| panic!("expected an address as http://127.0.0.1:8000, found {address:?}"));
        let port = if base.host() == base.authority { ":80" } else { "" };
        Self::by(Way::Server { address: format!("{}{port}", base.authority) }, address)
    }

    #[track_caller]
    fn by(way: Way, base: &str) -> Self {
        Self {
            way: Arc::new(way),
            jar: Arc::default(),
            base: absolute(base),
            headers: HeaderMap::new(),
            peer: SocketAddr::from(([127, 0, 0, 1], 50_000)),
            expect_errors: false,
            follow_redirects: false,
            lint: true,
            allowed: Vec::new(),
        }
    }

    /// The scheme and host that requests are for; `http://localhost` by default. With `https://…` the site sees https.
    ///
    /// # Panics
    ///
    /// If it is no `http://` or `https://` address.
    #[track_caller]
    pub fn base_url(mut self, url: &str) -> Self {
        self.base = absolute(url);
        self
    }

    /// A header on every request that does not set it itself.
    ///
    /// # Panics
    ///
    /// If it is no header.
    #[track_caller]
    pub fn default_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = header(name, value.as_ref());
        self.headers.insert(name, value);
        self
    }

    /// The address that requests come from; `127.0.0.1:50000` by default. In the same process only.
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = peer;
        self
    }

    /// Leaves answers of 500 and above to the test; off by default. See [`RequestBuilder::expect_status`].
    pub fn expect_errors(mut self) -> Self {
        self.expect_errors = true;
        self
    }

    /// Follows redirects, ten in a row at most; off by default.
    pub fn follow_redirects(mut self) -> Self {
        self.follow_redirects = true;
        self
    }

    /// Whether an answer that breaks a rule of the [lint](crate::lint) fails the test, be that rule an error or a warning; on by
    /// default.
    pub fn lint(mut self, on: bool) -> Self {
        self.lint = on;
        self
    }

    /// Lets answers break a rule of the [lint](crate::lint), by its id; may be called several times.
    ///
    /// # Panics
    ///
    /// If there is no such rule.
    #[track_caller]
    pub fn allow(mut self, rule: &str) -> Self {
        self.allowed.push(crate::lint::rule(rule).unwrap_or_else(|error| panic!("{error}")));
        self
    }

    /// The same site, asked by somebody else: without cookies.
    pub fn another_visitor(&self) -> Self {
        Self { jar: Arc::default(), ..self.clone() }
    }

    /// Begins a `GET` request of a path, such as `/guestbook?page=2`, or of a whole `http://…` address.
    ///
    /// The path is sent as it stands, `..` and doubled slashes too; what cannot stand in a path is percent-encoded.
    #[track_caller]
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Begins a `HEAD` request.
    #[track_caller]
    pub fn head(&self, path: &str) -> RequestBuilder {
        self.request(Method::HEAD, path)
    }

    /// Begins a `POST` request.
    #[track_caller]
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// Begins a `PUT` request.
    #[track_caller]
    pub fn put(&self, path: &str) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    /// Begins a `PATCH` request.
    #[track_caller]
    pub fn patch(&self, path: &str) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    /// Begins a `DELETE` request.
    #[track_caller]
    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// Begins an `OPTIONS` request.
    #[track_caller]
    pub fn options(&self, path: &str) -> RequestBuilder {
        self.request(Method::OPTIONS, path)
    }

    /// Begins a request of any method.
    #[track_caller]
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = match path {
            "*" => Url { path: "*".to_owned(), ..self.base.clone() },
            path => self.base.given(path).unwrap_or_else(|| panic!("expected a path as /guestbook, found {path:?}")),
        };
        self.begin(method, url)
    }

    #[track_caller]
    fn begin(&self, method: Method, url: Url) -> RequestBuilder {
        RequestBuilder {
            client: self.clone(),
            method,
            url,
            headers: self.headers.clone(),
            body: Body::empty(),
            expect: if self.expect_errors { Expect::Anything } else { Expect::NoFailure },
            follow: self.follow_redirects,
            place: Location::caller(),
        }
    }

    /// The cookies that the client keeps.
    pub fn cookies(&self) -> Vec<KeptCookie> {
        self.jar().all().to_vec()
    }

    /// The value of the cookie of this name.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.jar().all().iter().find(|cookie| cookie.name == name).map(|cookie| cookie.value.clone())
    }

    /// Keeps a cookie for the whole site, as if the site had set it.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.jar().put(KeptCookie::new(name, value, &self.base));
    }

    /// Forgets all cookies.
    pub fn clear_cookies(&self) {
        self.jar().clear();
    }

    /// What the application is made of.
    ///
    /// # Panics
    ///
    /// For a client of a listening server, which does not tell.
    #[track_caller]
    pub fn site(&self) -> &Arc<Site> {
        match &*self.way {
            Way::Inside { life, .. } => life.site(),
            Way::Server { address } => panic!("the server at {address} does not tell what it is made of"),
        }
    }

    /// The path of a route of the site, by its name: see [`Site::url_for`].
    ///
    /// # Panics
    ///
    /// If there is no such route, or its parameters are others.
    #[track_caller]
    pub fn url_for(&self, name: &str, params: &[(&str, &str)]) -> String {
        self.site().url_for("", name, params).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn jar(&self) -> MutexGuard<'_, Jar> {
        // Nothing that holds the lock leaves the jar half-changed.
        self.jar.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sends a request and returns the answer as a server would send it.
    async fn exchange(&self, sent: &Sent, body: Body, broken: &Broken) -> crate::Result<Response> {
        self.exchange_with(sent, body, broken, None::<()>).await
    }

    /// The same, with something beside the request, which an application in the same process finds.
    async fn exchange_with(
        &self,
        sent: &Sent,
        body: Body,
        broken: &Broken,
        beside: Option<impl Clone + Send + Sync + 'static>,
    ) -> crate::Result<Response> {
        let uri = Uri::try_from(sent.url.target())?;
        let mut req = Request::new(body);
        *req.method_mut() = sent.method.clone();
        *req.uri_mut() = uri;
        *req.headers_mut() = sent.headers.clone();
        if sent.url.https {
            req.extensions_mut().insert(Https);
        }
        if let Some(beside) = beside {
            req.extensions_mut().insert(beside);
        }
        match &*self.way {
            Way::Inside { app, .. } => {
                let connection = Connection::new(Some(self.peer), None).with_capabilities(Capabilities::new());
                req.extensions_mut().insert(connection);
                let lint = Lint::of(Side::Inside).call(broken.hear());
                let watch = lint.begin(&mut req);
                // The outermost edge of a server catches panics too.
                let response = crate::panic::caught(app.call(req)).await.unwrap_or_else(Response::from);
                Ok(as_sent(&sent.method, lint.end(watch, response)?))
            }
            Way::Server { address } => {
                let lint = Lint::of(Side::Outside).call(broken.hear());
                let watch = lint.begin(&mut req);
                lint.end(watch, wire::send(address, req).await?)
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.base)
    }
}

#[track_caller]
fn absolute(url: &str) -> Url {
    Url::parse(url).unwrap_or_else(|| panic!("expected an address as https://shop.example, found {url:?}"))
}

#[track_caller]
fn header(name: &str, value: &[u8]) -> (HeaderName, HeaderValue) {
    match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
        (Ok(name), Ok(value)) => (name, value),
        _ => panic!("`{name}: {}` is no header", String::from_utf8_lossy(value)),
    }
}

/// What hyper does with an answer: a length where it is known, no body where there can be none (RFC 9110 §6.4.1, §8.6).
fn as_sent(method: &Method, mut response: Response) -> Response {
    let status = response.status();
    let bodiless = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless && let Some(length) = response.body().len() {
        // After `HEAD` an unknown length may look like an empty body.
        if length > 0 || method != Method::HEAD {
            response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
        }
    }
    if bodiless || method == Method::HEAD {
        response.body_mut().take();
    }
    response
}

/// What an answer broke, heard while it came.
#[derive(Clone, Default)]
struct Broken(Arc<Mutex<Vec<Violation>>>);

impl Broken {
    fn hear(&self) -> impl Fn(&Violation) + Send + Sync + 'static {
        let all = self.0.clone();
        move |violation| all.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(violation.clone())
    }

    fn all(&self) -> Vec<Violation> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// A request to be sent by `.await`, which gives the [`Page`] that answers it.
#[must_use = "a request is sent by `.await`"]
pub struct RequestBuilder {
    client: Client,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Body,
    expect: Expect,
    follow: bool,
    place: &'static Location<'static>,
}

#[derive(Clone, Copy)]
enum Expect {
    NoFailure,
    Anything,
    Status(StatusCode),
}

/// A request as it went out.
struct Sent {
    method: Method,
    url: Url,
    headers: HeaderMap,
    // `None` for a body that was a stream, and is gone.
    body: Option<Bytes>,
    place: &'static Location<'static>,
}

impl RequestBuilder {
    /// Sets a header, instead of others of that name.
    ///
    /// # Panics
    ///
    /// If it is no header.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = header(name, value.as_ref());
        self.headers.insert(name, value);
        self
    }

    /// Adds a header, beside others of that name.
    ///
    /// # Panics
    ///
    /// If it is no header.
    #[track_caller]
    pub fn append_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = header(name, value.as_ref());
        self.headers.append(name, value);
        self
    }

    /// Sets `Accept`.
    #[track_caller]
    pub fn accept(self, types: &str) -> Self {
        self.header(ACCEPT.as_str(), types)
    }

    /// Adds to the query: a struct, a map, or pairs such as `&[("page", 2)]`.
    ///
    /// # Panics
    ///
    /// If it cannot be written as a query.
    #[track_caller]
    pub fn query(mut self, query: &(impl Serialize + ?Sized)) -> Self {
        let added = urlencoded(query);
        self.url.query = Some(match self.url.query.take() {
            Some(query) => format!("{query}&{added}"),
            None => added,
        });
        self
    }

    /// Sends a form as `application/x-www-form-urlencoded`: a struct, a map, or pairs.
    ///
    /// # Panics
    ///
    /// If it cannot be written as a form.
    #[track_caller]
    pub fn form(self, form: &(impl Serialize + ?Sized)) -> Self {
        let form = urlencoded(form);
        self.typed("application/x-www-form-urlencoded", form)
    }

    /// Sends JSON.
    ///
    /// # Panics
    ///
    /// If it cannot be written as JSON.
    #[track_caller]
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Self {
        let json = serde_json::to_vec(value).unwrap_or_else(|error| panic!("the body cannot be JSON: {error}"));
        self.typed("application/json", json)
    }

    /// Sends a form with files.
    pub fn multipart(self, form: Multipart) -> Self {
        let (content_type, body) = form.finish();
        self.typed(&content_type, body)
    }

    /// Sends a body; its type is said by [`header`](RequestBuilder::header).
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    fn typed(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        let (name, value) = header(CONTENT_TYPE.as_str(), content_type.as_bytes());
        self.headers.insert(name, value);
        self.body(body)
    }

    /// Expects this status and no other; also the way to expect one of 500 and above.
    #[track_caller]
    pub fn expect_status(mut self, status: u16) -> Self {
        self.expect = Expect::Status(status_code(status));
        self
    }

    /// Leaves an answer of 500 and above to the test, and an error in its body too.
    pub fn expect_errors(mut self) -> Self {
        self.expect = Expect::Anything;
        self
    }

    /// Follows redirects, ten in a row at most.
    pub fn follow_redirects(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Sends it and returns the answer's head, the body not read and nothing checked: for streams that do not end.
    ///
    /// # Panics
    ///
    /// If there is no answer, as from a server that is not there.
    pub async fn raw(mut self) -> Response {
        let body = self.body.take();
        let sent = self.sent(&body);
        self.answer(&sent, body, &Broken::default()).await.0
    }

    /// Notes what is sent, with the headers that every request has.
    fn sent(&self, body: &Body) -> Sent {
        let mut headers = self.headers.clone();
        if let Ok(host) = HeaderValue::from_str(&self.url.authority) {
            headers.entry(HOST).or_insert(host);
        }
        let cookies = self.client.jar().header(&self.url);
        if let Some(Ok(cookies)) = cookies.map(HeaderValue::try_from) {
            headers.entry(COOKIE).or_insert(cookies);
        }
        if let Some(length) = body.len().filter(|&length| length > 0) {
            headers.entry(CONTENT_LENGTH).or_insert(length.into());
        }
        let (method, url) = (self.method.clone(), self.url.clone());
        Sent { method, url, headers, body: body.as_bytes().cloned(), place: self.place }
    }

    /// The answer, and the cookies in it that a browser would refuse.
    async fn answer(&self, sent: &Sent, body: Body, broken: &Broken) -> (Response, Vec<String>) {
        match self.client.exchange(sent, body, broken).await {
            Ok(response) => {
                let refused = self.client.jar().keep(&self.url, response.headers());
                (response, refused)
            }
            Err(error) => {
                panic!("no answer to {} {}: {error:#}\nasked at {}", self.method, self.url, self.place)
            }
        }
    }

    async fn send(mut self) -> Page {
        let mut hops = Vec::new();
        loop {
            let body = self.body.take();
            let sent = self.sent(&body);
            let broken = Broken::default();
            let (response, refused) = self.answer(&sent, body, &broken).await;
            let hops_before = std::mem::take(&mut hops);
            let page = Page::read(self.client.clone(), sent, response, refused, hops_before, broken).await;
            if !(self.follow && page.is_redirect()) {
                page.check(self.expect);
                return page;
            }
            page.check(match self.expect {
                Expect::Anything => Expect::Anything,
                _ => Expect::NoFailure,
            });
            if page.hops.len() == MAX_REDIRECTS {
                page.fail(&format!("expected an end of the redirects after {MAX_REDIRECTS}"));
            }
            let next = page.next_request();
            self = RequestBuilder { expect: self.expect, follow: true, ..next };
            hops = page.into_hops();
        }
    }
}

impl IntoFuture for RequestBuilder {
    type Output = Page;
    type IntoFuture = Pin<Box<dyn Future<Output = Page> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBuilder({} {})", self.method, self.url)
    }
}

#[track_caller]
fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or_else(|_| panic!("expected a status from 100 to 999, found {status}"))
}

#[track_caller]
fn urlencoded(value: &(impl Serialize + ?Sized)) -> String {
    serde_urlencoded::to_string(value).unwrap_or_else(|error| panic!("it cannot be a form or query: {error}"))
}

/// Whether nobody expects such an answer: 500 and above, or one that carries an error with such a status.
fn is_failure(status: StatusCode, error: Option<&Error>) -> bool {
    status.is_server_error() || error.is_some_and(|error| error.status().is_server_error())
}

/// Where an answer sends its reader, if it does (RFC 9110 §15.4).
fn redirected(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = headers.get(LOCATION).filter(|_| redirects)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}
