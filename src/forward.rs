//! `Forward` and `Include`: another path of the same site as the answer, or as a part of it.

use crate::cookie::cookies;
use crate::request::{OriginalUri, mount_prefix};
use crate::site::Needs;
use crate::{Body, Error, FromRequest, IntoResponse, Request, Response, ResponseExt, Result};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, SET_COOKIE, TRAILER, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, oneshot};

/// Answers with what another path of the same site answers; the client sees nothing of it.
///
/// The layer [`Forwards`](crate::layers::Forwards) asks what is below it once more: by `GET` (or `HEAD`), without a body, at the
/// path, which begins where that layer stands. The headers are the client's, and what the layers above have put into the
/// request's extensions is there again. Cookies that the answer sets which forwards are there too, as if the client had sent
/// them: a session that was begun for a flash message is the other path's session. They are sent beside those of the other answer.
///
/// A path that forwards to one that it came from is refused, with the whole chain named.
///
/// ```
/// use purlin::forward::Forward;
/// use purlin::layers::Forwards;
/// use purlin::{Response, Router, Stack, get, text, IntoResponse};
///
/// async fn account() -> Response {
///     let signed_in = false;
///     if signed_in { text("your account") } else { Forward::to("/login").into_response() }
/// }
///
/// let app = Stack::new()
///     .layer(Forwards::new())
///     .app(Router::new().route("/account", get(account)).route("/login", get(async || "Who are you?")));
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// Client::new(app).get("/account").await.assert_status(200).assert_contains("Who are you?");
/// # });
/// ```
#[derive(Clone)]
#[must_use = "a forward is the answer of a handler"]
pub struct Forward {
    to: String,
    keeps_request: bool,
    extensions: http::Extensions,
}

impl Forward {
    /// Forwards to a path, with its query if it has one: `/login?from=account`.
    pub fn to(path: impl Into<String>) -> Self {
        Self { to: path.into(), keeps_request: false, extensions: http::Extensions::new() }
    }

    /// Keeps the method and the body too; by default the other path is asked by `GET`.
    ///
    /// Of a body that was read already, the layer has kept the first 64 KiB: see
    /// [`Forwards::max_body`](crate::layers::Forwards::max_body).
    pub fn keep_request(mut self) -> Self {
        self.keeps_request = true;
        self
    }

    /// Puts something into the extensions of the request, for the other path's handler.
    pub fn with<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    pub(crate) fn target(&self) -> &str {
        &self.to
    }

    pub(crate) fn keeps_the_request(&self) -> bool {
        self.keeps_request
    }

    pub(crate) fn into_extensions(self) -> http::Extensions {
        self.extensions
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("to", &self.to).field("keep_request", &self.keeps_request).finish()
    }
}

impl IntoResponse for Forward {
    /// The answer carries the forward in its extensions. Its body is for the one who has no layer that follows it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(NOT_FORWARDED));
        response.extensions_mut().insert(self);
        response
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<InnerStack>(HINT);
    }
}

const NOT_FORWARDED: &str = "This was not forwarded: no layer `Forwards` stands above its handler.\n";

const HINT: &str = "add .layer(Forwards::new())";

/// The answers of other paths, as values: an extractor.
///
/// Each is asked for as a [`Forward`] is: by `GET`, from where the layer [`Forwards`](crate::layers::Forwards) stands, with the
/// client's headers except those for a part or another version of the answer. It has to be done before the handler has
/// answered; of several at once one is asked after another.
///
/// ```
/// use purlin::forward::Include;
/// use purlin::layers::Forwards;
/// use purlin::{Html, Result, Router, Stack, get};
///
/// async fn page(include: Include) -> Result<Html<String>> {
///     let news = include.text("/news").await?;
///     Ok(Html(format!("<main>…</main><aside>{news}</aside>")))
/// }
///
/// let app = Stack::new()
///     .layer(Forwards::new())
///     .app(Router::new().route("/", get(page)).route("/news", get(async || "Nothing new.")));
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// Client::new(app).get("/").await.assert_contains("Nothing new.");
/// # });
/// ```
#[derive(Clone)]
pub struct Include(InnerStack);

/// How many bytes of another path's answer [`Include::text`] takes: 1 MiB.
const MAX_TEXT: u64 = 1 << 20;

impl Include {
    /// The answer of another path, whatever it is. Its cookies are not sent unless the handler does so.
    ///
    /// # Errors
    ///
    /// What is no path, a path that includes itself (the chain is named), or a request that has been answered already.
    pub async fn get(&self, path: &str) -> Result<Response> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::internal(format!("including {path}: the request has been answered already"));
        self.0.0.send(Call { path: path.to_owned(), reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The text of another path's answer.
    ///
    /// # Errors
    ///
    /// As [`get`](Include::get); an answer that is no success, with its cause and as a 500; a body over 1 MiB or not in
    /// UTF-8.
    pub async fn text(&self, path: &str) -> Result<String> {
        let mut response = self.get(path).await?;
        let status = response.status();
        if !status.is_success() {
            let cause = response.take_error().map(|error| format!(": {:#}", *error)).unwrap_or_default();
            return Err(Error::internal(format!("including {path}: expected a success, found {status}{cause}")));
        }
        let bytes = response.into_body().collect(MAX_TEXT).await.map_err(|error| {
            error.status_code(http::StatusCode::INTERNAL_SERVER_ERROR).context(format!("including {path}"))
        })?;
        String::from_utf8(bytes.into()).map_err(|error| Error::from(error).context(format!("including {path}")))
    }
}

impl fmt::Debug for Include {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Include")
    }
}

impl FromRequest for Include {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let inner = req.extensions().get::<InnerStack>();
        inner.cloned().map(Self).ok_or_else(|| Error::internal(format!("no layer above gives an `Include`: {HINT}")))
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<InnerStack>(HINT);
    }
}

/// The paths by which a request came to where it is, the client's own first; an extractor.
///
/// Of one step where nothing was forwarded.
#[derive(Clone, Debug)]
pub struct Chain(Arc<[String]>);

impl Chain {
    pub(crate) fn begin(req: &Request) -> Self {
        Self([entry(req.method(), req.uri())].into())
    }

    /// Method and target of each: `GET /account`.
    pub fn steps(&self) -> &[String] {
        &self.0
    }

    /// The chain with one more step.
    ///
    /// # Errors
    ///
    /// One that it has already, or too many.
    pub(crate) fn and(&self, method: &Method, uri: &Uri, most: usize) -> Result<Self> {
        let step = entry(method, uri);
        let whole = || format!("{} → {step}", self.0.join(" → "));
        if self.0.contains(&step) {
            return Err(Error::internal(format!("forwarded in a circle: {}", whole())));
        }
        if self.0.len() > most {
            return Err(Error::internal(format!("forwarded more than {most} times: {}", whole())));
        }
        Ok(Self(self.0.iter().cloned().chain([step]).collect()))
    }
}

impl FromRequest for Chain {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(req.extensions().get::<Self>().cloned().unwrap_or_else(|| Self::begin(req)))
    }
}

fn entry(method: &Method, uri: &Uri) -> String {
    format!("{method} {}", uri.path_and_query().map_or(uri.path(), PathAndQuery::as_str))
}

/// The way from an [`Include`] to the layer that asks; what that layer provides.
#[derive(Clone)]
pub(crate) struct InnerStack(pub(crate) mpsc::UnboundedSender<Call>);

pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) reply: oneshot::Sender<Result<Response>>,
}

/// What is asked beside the client's own request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// In place of it: what the client accepts, it accepts of this.
    Forward,
    /// For the site itself, which wants all of it, and as it is.
    Part,
}

/// A request for another path, by `GET` or `HEAD`, made of what came to a layer.
///
/// # Errors
///
/// What is no path.
pub(crate) fn request(head: &Parts, path: &str, aside: Aside) -> Result<Request> {
    let mut parts = retargeted(head, path)?;
    parts.method = if aside == Aside::Forward && head.method == Method::HEAD { Method::HEAD } else { Method::GET };
    for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, TRANSFER_ENCODING, TRAILER, EXPECT] {
        parts.headers.remove(name);
    }
    if aside == Aside::Part {
        let others =
            [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, ACCEPT_ENCODING];
        for name in others {
            parts.headers.remove(name);
        }
    }
    Ok(Request::from_parts(parts, Body::empty()))
}

/// The same request for another path, which begins where the layer stands.
///
/// # Errors
///
/// What is no path.
pub(crate) fn retargeted(head: &Parts, path: &str) -> Result<Parts> {
    let no_path = || Error::internal(format!("expected a path of this site as /login, found {path:?}"));
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(no_path());
    }
    let mut parts = head.clone();
    parts.uri = with_path(&head.uri, path).ok_or_else(no_path)?;
    // What is below is to see what it would if the client had asked for this.
    if let Some(OriginalUri(original)) = head.extensions.get::<OriginalUri>() {
        let prefix = mount_prefix(&head.extensions, head.uri.path());
        let original = with_path(original, &format!("{prefix}{path}")).ok_or_else(no_path)?;
        parts.extensions.insert(OriginalUri(original));
    }
    Ok(parts)
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// The cookies that answers to one request have set on the way to the one that is sent.
///
/// What is asked next gets them as if the client had sent them: a flash message that was put into a session just now is there.
#[derive(Clone, Debug)]
pub(crate) struct Cookies {
    /// Of the client's own request: where cookies belong that do not say it.
    directory: String,
    set: Vec<SetCookie>,
}

/// One line `Set-Cookie` (RFC 6265 §4.1).
#[derive(Clone, Debug)]
struct SetCookie {
    line: HeaderValue,
    name: String,
    /// `None`: it is to be forgotten.
    value: Option<String>,
    path: String,
    domain: String,
}

impl Cookies {
    /// None yet; of the client's request this is the head.
    pub(crate) fn new(head: &Parts) -> Self {
        let path = original_path(head);
        // §5.1.4
        let directory = path.rfind('/').filter(|at| *at > 0).map_or("/", |at| &path[..at]);
        Self { directory: directory.to_owned(), set: Vec::new() }
    }

    /// Takes the cookies of one more answer: its values are the later ones.
    pub(crate) fn take(&mut self, headers: &mut HeaderMap) {
        for line in headers.get_all(SET_COOKIE) {
            let cookie = SetCookie::parse(line, &self.directory);
            // The same one has the same name, domain and path (§5.3).
            self.set.retain(|other| {
                (&other.name, &other.domain, &other.path) != (&cookie.name, &cookie.domain, &cookie.path)
            });
            self.set.push(cookie);
        }
        headers.remove(SET_COOKIE);
    }

    /// Has the answer that is sent set them, after it has been taken itself.
    pub(crate) fn give(self, headers: &mut HeaderMap) {
        for cookie in self.set {
            headers.append(SET_COOKIE, cookie.line);
        }
    }

    /// Puts them among the cookies of the next request, where its path is one of theirs.
    pub(crate) fn send(&self, parts: &mut Parts) {
        let path = original_path(parts);
        let mine: Vec<_> = self.set.iter().filter(|cookie| cookie.is_for(path)).collect();
        if mine.is_empty() {
            return;
        }
        let others = cookies(&parts.headers).filter(|(name, _)| !mine.iter().any(|cookie| cookie.name == *name));
        let set = mine.iter().filter_map(|cookie| Some((cookie.name.as_str(), cookie.value.as_deref()?)));
        let all: Vec<String> = others.chain(set).map(|(name, value)| format!("{name}={value}")).collect();
        parts.headers.remove(COOKIE);
        // Made of headers, which it would be again.
        if let Ok(line) = HeaderValue::try_from(all.join("; "))
            && !all.is_empty()
        {
            parts.headers.insert(COOKIE, line);
        }
    }
}

fn original_path(head: &Parts) -> &str {
    head.extensions.get::<OriginalUri>().map_or(&head.uri, |original| &original.0).path()
}

impl SetCookie {
    fn parse(line: &HeaderValue, directory: &str) -> Self {
        let text = String::from_utf8_lossy(line.as_bytes());
        let mut attributes = text.split(';');
        let (name, value) = attributes.next().and_then(|pair| pair.split_once('=')).unwrap_or_default();
        let (mut path, mut domain, mut life, mut expires) = (directory, String::new(), None, None);
        for attribute in attributes {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let value = value.trim();
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => path = value,
                "domain" => domain = value.trim_start_matches('.').to_ascii_lowercase(),
                "max-age" => life = value.parse::<i64>().ok().or(life),
                "expires" => expires = httpdate::parse_http_date(value).ok().or(expires),
                _ => {}
            }
        }
        let over = life.map_or_else(|| expires.is_some_and(|at| at <= SystemTime::now()), |life| life <= 0);
        Self {
            line: line.clone(),
            name: name.trim().to_owned(),
            value: (!over).then(|| value.trim().to_owned()),
            path: path.to_owned(),
            domain,
        }
    }

    /// §5.1.4
    fn is_for(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'))
    }
}
