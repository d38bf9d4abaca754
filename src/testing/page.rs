//! `Page`: an answer, and what a test says of it.

use super::form::{self, Which};
use super::html::{Document, Element, normal};
use super::url::Url;
use super::{Broken, Client, Expect, PageForm, RequestBuilder, Sent, is_failure, redirected, status_code};
use crate::lint::Violation;
use crate::response::CarriedError;
use crate::{Body, Error, Response, ResponseExt};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::{self, Write};
use std::sync::OnceLock;

/// How much of a body a failed test shows.
const SHOWN: usize = 1500;

/// The answer to a request, read to its end.
///
/// `assert_…` methods return the page, so that several stand in a row. What they panic with shows the request, the answer and
/// the error behind it.
pub struct Page {
    client: Client,
    sent: Sent,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
    error: Option<CarriedError>,
    body_error: Option<Error>,
    refused: Vec<String>,
    pub(super) hops: Vec<String>,
    broken: Vec<Violation>,
    document: OnceLock<Document>,
}

/// A link on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// What is written on it.
    pub text: String,
    /// Where it leads, as it stands in the page.
    pub href: String,
}

impl Page {
    pub(super) async fn read(
        client: Client,
        sent: Sent,
        mut response: Response,
        refused: Vec<String>,
        hops: Vec<String>,
        broken: Broken,
    ) -> Self {
        let error = response.take_error();
        let (parts, mut body) = response.into_parts();
        let (mut whole, mut trailers, mut body_error) = (BytesMut::new(), HeaderMap::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.map(|frame| frame.into_data()) {
                Ok(Ok(data)) => whole.extend_from_slice(&data),
                Ok(Err(frame)) => trailers.extend(frame.into_trailers().unwrap_or_default()),
                Err(error) => {
                    body_error = Some(error);
                    break;
                }
            }
        }
        Self {
            client,
            sent,
            status: parts.status,
            headers: parts.headers,
            body: whole.freeze(),
            trailers,
            error,
            body_error,
            refused,
            hops,
            broken: broken.all(),
            document: OnceLock::new(),
        }
    }

    /// Fails the test for an answer that was not expected.
    pub(super) fn check(&self, expect: Expect) {
        self.check_answer(expect);
        if self.client.lint {
            self.check_rules();
        }
    }

    fn check_answer(&self, expect: Expect) {
        match expect {
            Expect::Anything => return,
            Expect::Status(status) if self.status == status => {}
            Expect::Status(status) => self.fail(&format!("expected the status {status}, found {}", self.status)),
            Expect::NoFailure => {
                if is_failure(self.status, self.error()) {
                    let status = self.status;
                    self.fail(&format!(
                        "did not expect {status} (a test that does says `.expect_status({})`)",
                        status.as_u16()
                    ));
                }
            }
        }
        if self.body_error.is_some() {
            self.fail("the body ended with an error");
        }
        let bodiless = self.sent.method == Method::HEAD || self.status == StatusCode::NOT_MODIFIED;
        if let Some(length) = self.header(CONTENT_LENGTH.as_str())
            && !bodiless
            && length != self.body.len().to_string()
        {
            let found = self.body.len();
            self.fail(&format!(
                "`content-length` says {length} bytes, and the body has {found}: no server can send that"
            ));
        }
    }

    /// What it broke of the [lint](mod@crate::lint)'s rules, the allowed ones too.
    pub fn violations(&self) -> &[Violation] {
        &self.broken
    }

    fn check_rules(&self) {
        let broken = self.broken.iter().filter(|violation| !self.client.allowed.contains(&violation.rule()));
        let broken: Vec<&Violation> = broken.collect();
        if let [first, ..] = broken[..] {
            let lines: Vec<String> = broken.iter().map(|violation| violation.to_string()).collect();
            let id = first.rule().id;
            self.fail(&format!("{}\n(a client that lets it pass says `.allow({id:?})`)", lines.join("\n")));
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The header of this name, the first of several; `None` also where it is no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The trailers that followed the body.
    pub fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// The body.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// If it is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        match std::str::from_utf8(&self.body) {
            Ok(text) => text,
            Err(error) => self.fail(&format!("expected a body of UTF-8 text: {error}")),
        }
    }

    /// The body as a value, from JSON.
    ///
    /// # Panics
    ///
    /// If it is no JSON of this type.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => self.fail(&format!("expected JSON of {}: {error}", std::any::type_name::<T>())),
        }
    }

    /// The error that the answer carries, or that was rendered into it. Not from a listening server.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_deref()
    }

    /// The error that ended the body early.
    pub fn body_error(&self) -> Option<&Error> {
        self.body_error.as_ref()
    }

    /// The method that was asked with in the end, redirects followed.
    pub fn method(&self) -> &Method {
        &self.sent.method
    }

    /// The address that was asked for in the end, redirects followed: `http://localhost/guestbook`.
    pub fn url(&self) -> String {
        self.sent.url.to_string()
    }

    /// Whether it sends its reader elsewhere.
    pub fn is_redirect(&self) -> bool {
        redirected(self.status, &self.headers).is_some()
    }

    /// Begins the request that a browser makes when it is redirected: 303 as `GET`, 307 and 308 with the same method
    /// and body (RFC 9110 §15.4).
    ///
    /// # Panics
    ///
    /// If the answer is no redirect, or leads to another host.
    #[track_caller]
    pub fn follow(&self) -> RequestBuilder {
        if !self.is_redirect() {
            self.fail("expected a redirect to follow");
        }
        RequestBuilder { place: std::panic::Location::caller(), ..self.next_request() }
    }

    #[track_caller]
    pub(super) fn next_request(&self) -> RequestBuilder {
        let location = redirected(self.status, &self.headers).unwrap_or_default();
        let url = match self.sent.url.join(&location) {
            Some(url) if url.host() == self.sent.url.host() => url,
            _ => self.fail(&format!("the redirect leads to another site: {location}")),
        };
        let before = &self.sent.method;
        let method = match self.status.as_u16() {
            303 if *before != Method::HEAD => Method::GET,
            301 | 302 if *before == Method::POST => Method::GET,
            _ => before.clone(),
        };
        let mut next = self.client.begin(method, url);
        next.place = self.sent.place;
        next.headers = self.sent.headers.clone();
        for name in [http::header::COOKIE, http::header::HOST, CONTENT_LENGTH] {
            next.headers.remove(name);
        }
        if next.method != *before {
            next.headers.remove(CONTENT_TYPE);
        } else if let Some(body) = &self.sent.body {
            next.body = Body::from(body.clone());
        } else {
            self.fail("the redirect asks for the body again, which was a stream");
        }
        next
    }

    pub(super) fn into_hops(mut self) -> Vec<String> {
        self.hops.push(format!("{} {}: {}", self.sent.method, self.sent.url, self.status));
        self.hops
    }

    fn is_html(&self) -> bool {
        let content_type = self.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        content_type.starts_with("text/html") || content_type.starts_with("application/xhtml+xml")
    }

    #[track_caller]
    pub(super) fn document(&self) -> &Document {
        if !self.is_html() {
            self.fail("expected a page of HTML");
        }
        self.document.get_or_init(|| Document::parse(self.text()))
    }

    /// The address that references on the page start from.
    pub(super) fn base(&self) -> Url {
        let url = &self.sent.url;
        let base = self.document().root().descendants().find(|element| element.name() == "base");
        base.and_then(|base| base.attr("href")).and_then(|href| url.join(href)).unwrap_or_else(|| url.clone())
    }

    /// The page's title.
    #[track_caller]
    pub fn title(&self) -> String {
        let root = self.document().root();
        root.descendants().find(|element| element.name() == "title").map(|title| title.text()).unwrap_or_default()
    }

    /// Whether a reader of the page sees this text, however it is broken into lines; of what is no page, whether it has it.
    #[track_caller]
    pub fn contains_text(&self, text: &str) -> bool {
        if self.is_html() {
            self.document().root().text().contains(&normal(text))
        } else {
            String::from_utf8_lossy(&self.body).contains(text)
        }
    }

    /// The elements that a selector fits, such as `main .entry > a[href]`: tags, `#ids`, `.classes`, `[attributes]` with or
    /// without a value, below (a space) or right below (`>`) one another, several after commas.
    ///
    /// # Panics
    ///
    /// If it is no page of HTML, or the selector has something else in it.
    #[track_caller]
    pub fn select(&self, selector: &str) -> Vec<Element<'_>> {
        self.document().root().select(selector)
    }

    /// The links on the page.
    #[track_caller]
    pub fn links(&self) -> Vec<Link> {
        let links = self.document().root().descendants().filter(|element| matches!(element.name(), "a" | "area"));
        links.filter_map(|link| Some(Link { text: label(link), href: link.attr("href")?.to_owned() })).collect()
    }

    /// A form on the page: by its `"#id"`, by its action (`"/guestbook"`), or by its place among them, from 0.
    ///
    /// # Panics
    ///
    /// If there is no such form, with those there are.
    #[track_caller]
    pub fn form<'a>(&self, which: impl Into<Which<'a>>) -> PageForm {
        form::find(self, which.into())
    }

    /// Clicks on the link, or else the button of a form, on which this is written.
    ///
    /// # Panics
    ///
    /// If nothing or several different things have this text on them, with those there are.
    #[track_caller]
    pub fn click(&self, text: &str) -> RequestBuilder {
        let text = normal(text);
        let links = self.links();
        let mut found: Vec<&Link> = links.iter().filter(|link| link.text == text).collect();
        if found.is_empty() {
            if let Some(pressed) = form::press(self, &text) {
                return pressed;
            }
            found = links.iter().filter(|link| link.text.contains(&text)).collect();
        }
        found.dedup_by(|one, other| one.href == other.href);
        match found[..] {
            [link] => {
                let Some(url) = self.base().join(&link.href) else {
                    self.fail(&format!("the link {text:?} leads out of the web: {}", link.href))
                };
                self.navigate(Method::GET, url)
            }
            [] => {
                let texts = links.iter().map(|link| link.text.as_str());
                let nearest = match crate::nearest::nearest(&text, texts.clone()) {
                    Some(nearest) => format!("; did you mean {nearest:?}?"),
                    None => String::new(),
                };
                let there: Vec<String> = texts.map(|text| format!("{text:?}")).collect();
                self.fail(&format!("no link or button {text:?}{nearest}; the links are {}", there.join(", ")))
            }
            _ => {
                let targets: Vec<&str> = found.iter().map(|link| link.href.as_str()).collect();
                self.fail(&format!("several links {text:?}, to {}", targets.join(", ")))
            }
        }
    }

    /// Begins a request as a browser makes it when a reader leaves this page for another.
    #[track_caller]
    pub(super) fn navigate(&self, method: Method, url: Url) -> RequestBuilder {
        let from = &self.sent.url;
        let same = from.origin() == url.origin();
        let mut request = self.client.begin(method, url);
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                request.headers.entry(name).or_insert(value);
            }
        };
        set(http::header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        set(http::header::REFERER, &from.to_string());
        // Fetch Metadata, which a site may check instead of a token.
        set(HeaderName::from_static("sec-fetch-site"), if same { "same-origin" } else { "cross-site" });
        set(HeaderName::from_static("sec-fetch-mode"), "navigate");
        set(HeaderName::from_static("sec-fetch-dest"), "document");
        if request.method != Method::GET {
            let origin = from.origin();
            if let Ok(origin) = HeaderValue::from_str(&origin) {
                request.headers.entry(http::header::ORIGIN).or_insert(origin);
            }
        }
        request
    }

    /// Expects this status.
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        let status = status_code(status);
        if self.status != status {
            self.fail(&format!("expected the status {status}, found {}", self.status));
        }
        self
    }

    /// Expects a header with this value.
    #[track_caller]
    pub fn assert_header(&self, name: &str, value: &str) -> &Self {
        let found: Vec<_> = self.headers.get_all(name).iter().collect();
        if !found.iter().any(|found| found.as_bytes() == value.as_bytes()) {
            self.fail(&format!("expected the header `{name}: {value}`, found {found:?}"));
        }
        self
    }

    /// Expects that there is no header of this name.
    #[track_caller]
    pub fn assert_no_header(&self, name: &str) -> &Self {
        if let Some(found) = self.headers.get(name) {
            self.fail(&format!("expected no header `{name}`, found {found:?}"));
        }
        self
    }

    /// Expects the text, in what a reader sees or in the source.
    #[track_caller]
    pub fn assert_contains(&self, text: &str) -> &Self {
        if !self.has(text) {
            self.fail(&format!("expected the text {text:?}"));
        }
        self
    }

    /// Expects that the text is neither in what a reader sees nor in the source.
    #[track_caller]
    pub fn assert_lacks(&self, text: &str) -> &Self {
        if self.has(text) {
            self.fail(&format!("did not expect the text {text:?}"));
        }
        self
    }

    #[track_caller]
    fn has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text) || self.contains_text(text)
    }

    /// Expects a redirect to this path or address.
    #[track_caller]
    pub fn assert_redirect(&self, to: &str) -> &Self {
        let found = redirected(self.status, &self.headers);
        let url = |reference: &str| self.sent.url.join(reference);
        if found.as_deref().and_then(url).is_none_or(|found| Some(found) != url(to)) {
            let found = found.unwrap_or_else(|| "none".to_owned());
            self.fail(&format!("expected a redirect to {to}, found {found}"));
        }
        self
    }

    /// Expects JSON that is equal to the value's.
    #[track_caller]
    pub fn assert_json(&self, value: &(impl Serialize + ?Sized)) -> &Self {
        let expected = serde_json::to_value(value).unwrap_or_else(|error| panic!("the value cannot be JSON: {error}"));
        let found: serde_json::Value = self.json();
        if found != expected {
            self.fail(&format!("expected the JSON {expected:#}\nfound {found:#}"));
        }
        self
    }

    #[track_caller]
    pub(super) fn fail(&self, what: &str) -> ! {
        panic!("{what}\n\n{self:?}")
    }
}

/// What is written on a link or button, or what stands there instead for those who cannot see it.
pub(super) fn label(element: Element<'_>) -> String {
    let text = element.text();
    if !text.is_empty() {
        return text;
    }
    let image = element.descendants().find_map(|inner| inner.attr("alt"));
    normal(element.attr("aria-label").or(image).or(element.attr("title")).unwrap_or_default())
}

/// The request, the answer, its body's start and the error behind it.
impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn headers(f: &mut fmt::Formatter<'_>, headers: &HeaderMap) -> fmt::Result {
            headers
                .iter()
                .try_for_each(|(name, value)| writeln!(f, "  {name}: {}", String::from_utf8_lossy(value.as_bytes())))
        }
        for hop in &self.hops {
            writeln!(f, "{hop}")?;
        }
        writeln!(f, "{} {}", self.sent.method, self.sent.url)?;
        headers(f, &self.sent.headers)?;
        if let Some(body) = self.sent.body.as_ref().filter(|body| !body.is_empty()) {
            writeln!(f, "\n{}", indented(&start_of(body)))?;
        }
        writeln!(f, "\n{}", self.status)?;
        headers(f, &self.headers)?;
        if !self.body.is_empty() {
            writeln!(f, "\n{}", indented(&start_of(&self.body)))?;
        }
        if let Some(error) = self.error() {
            writeln!(f, "\nthe error behind it: {}", indented(&format!("{error:?}")).trim_start())?;
        }
        if let Some(error) = &self.body_error {
            writeln!(f, "\nthe error in its body: {}", indented(&format!("{error:?}")).trim_start())?;
        }
        for cookie in &self.refused {
            writeln!(f, "\na browser would refuse the cookie {cookie}")?;
        }
        write!(f, "\nasked at {}", self.sent.place)
    }
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(all, "  {line}");
        all
    })
}

fn start_of(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return format!("({} bytes that are no text)", body.len());
    };
    let text = text.trim_end();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…\n({} bytes)", &text[..end], body.len()),
        None => text.to_owned(),
    }
}
