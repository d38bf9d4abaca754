//! The rules of the lint, held against any server that listens.

use super::url::Url;
use super::wire::{self, Patience, Whole};
use crate::lint::{Asked, PROBING, Reading, Rule, SENT, Side, Violation, check, list, rule};
use crate::{Body, Context, Error, HeaderMap, HeaderName, Request, Response, Result};
use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Uri};
use std::time::Duration;

/// How much of a body is read.
const MOST: usize = 1 << 20;

/// How long the head of an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a body is read that does not say how long it is; and how long once that of the page had no end.
const BODY: Duration = Duration::from_secs(2);
const NEXT_BODY: Duration = Duration::from_millis(100);

/// How long a server may keep a connection open after an answer, during which something may come behind it.
const BEHIND: Duration = Duration::from_millis(500);

const CODINGS: &str = "gzip, br, zstd, deflate";

/// Asks the server that listens at an address such as `http://127.0.0.1:8000/page` a dozen questions, and says what its answers
/// break of the [rules](mod@crate::lint), in the order of the questions.
///
/// It asks by `GET`, `HEAD`, `OPTIONS` and a method that nobody knows; with codings, types, a condition, ranges; for a page that
/// is not there, and with a line break in the address. None of it changes anything on a server that keeps to HTTP. The server may
/// be written in any language. It is asked by http and HTTP/1.1: what speaks https is asked behind its proxy. Of a body that has no
/// end, such as an event stream, the beginning is looked at.
///
/// ```
/// # use purlin::{Router, Server, Stack, get};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> purlin::Result<()> {
/// # let server = Server::new().listen("127.0.0.1:0".parse()?).bind()?;
/// # let address = server.addresses()[0].to_string();
/// # let app = Stack::new().app(Router::new().route("/", get(async || "Hello")));
/// # tokio::spawn(server.serve(app, std::future::pending()));
/// let broken = purlin::testing::lint(&format!("http://{address}/")).await?;
/// assert!(broken.is_empty(), "{broken:?}");
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// If the address is no `http://` one, or nobody listens there.
pub async fn lint(address: &str) -> Result<Vec<Violation>> {
    let url = Url::parse(address).filter(|url| !url.https);
    let url = url.ok_or_else(|| {
        Error::bad_request(format!("expected an address as http://127.0.0.1:8000, found {address:?}"))
    })?;
    let port = if url.host() == url.authority { ":80" } else { "" };
    let target = url.target();
    let patience = Patience { bytes: MOST, answer: PATIENCE, body: BODY, behind: BEHIND };
    let server = format!("{}{port}", url.authority);
    let mut probe = Probe { server, host: url.authority, patience, broken: Vec::new() };
    // A server that is not there breaks no rule.
    tokio::net::TcpStream::connect(&probe.server).await.context(format!("connecting to {}", probe.server))?;
    let plain = probe.get(&target, &[("accept-encoding", "identity")]).await;
    let again = probe.get(&target, &[("accept-encoding", "identity")]).await;
    let coded = probe.get(&target, &[("accept-encoding", CODINGS)]).await;
    let head = probe.ask(Method::HEAD, &target, &[("accept-encoding", "identity")]).await;
    if let (Some(plain), Some(again)) = (&plain, &again) {
        if let Some(head) = &head {
            probe.compare_head(plain, again, head);
        }
        if let Some(coded) = &coded {
            probe.compare_codings(plain, coded);
        }
        probe.conditions(&target, plain, again).await;
        probe.types(&target).await;
        probe.origins(&target).await;
    }
    for range in ["bytes=0-0", "bytes=999999999999-"] {
        probe.get(&target, &[("range", range)]).await;
    }
    probe.ask(Method::OPTIONS, &target, &[]).await;
    let unknown = Method::from_bytes(PROBING.as_bytes()).context("the method of the lint")?;
    probe.ask(unknown, &target, &[]).await;
    let joint = if target.contains('?') { '&' } else { '?' };
    let injected = format!("%0d%0a{SENT}:%20injected");
    let missing = "/purlin-lint-no-such-page";
    for target in [missing, &format!("{missing}{injected}"), &format!("{target}{joint}next={injected}")] {
        probe.get(target, &[]).await;
    }
    Ok(probe.broken)
}

struct Probe {
    server: String,
    host: String,
    patience: Patience,
    broken: Vec<Violation>,
}

/// An answer, and the question.
struct Got {
    asked: Asked,
    answer: Response,
}

impl Probe {
    async fn get(&mut self, target: &str, headers: &[(&'static str, &str)]) -> Option<Got> {
        self.ask(Method::GET, target, headers).await
    }

    /// Sends a request, and notes what its answer breaks by itself.
    async fn ask(&mut self, method: Method, target: &str, headers: &[(&'static str, &str)]) -> Option<Got> {
        let mut req = Request::new(Body::empty());
        *req.method_mut() = method;
        *req.uri_mut() = Uri::try_from(target).ok()?;
        req.headers_mut().insert(header::HOST, HeaderValue::from_str(&self.host).ok()?);
        for (name, value) in headers {
            req.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value).ok()?);
        }
        let asked = Asked::by(&req);
        let question = format!("{} {}", req.method(), req.uri().path());
        let whole = wire::exchange(&self.server, req, &self.patience).await;
        let Whole { response: answer, trailers, broken, behind, goes_on } = match whole {
            Ok(whole) => whole,
            Err(error) => {
                self.add(&rule::UNREADABLE, format!("{error:#}"), &question);
                return None;
            }
        };
        if goes_on {
            self.patience.body = NEXT_BODY;
        }
        let got = Got { asked, answer };
        self.broken.extend(check(&got.asked, &got.answer, Side::Outside));
        if let Some(trailers) = trailers {
            let mut reading = Reading::of(&got.asked, &got.answer);
            reading.data(got.answer.body().len().unwrap_or_default());
            reading.trailers(&trailers);
            self.broken.append(&mut reading.broken());
        }
        if let Some(error) = broken {
            let told = got.answer.headers().contains_key(header::CONTENT_LENGTH);
            let rule = if told { &rule::LENGTH_WRONG } else { &rule::UNREADABLE };
            self.add(rule, format!("{error:#}"), &got.name());
        }
        if behind > 0 {
            let rule = match got.answer.status() {
                _ if got.asked.is_head() => &rule::BODY_AFTER_HEAD,
                StatusCode::NO_CONTENT => &rule::BODY_WITH_204,
                StatusCode::NOT_MODIFIED => &rule::BODY_WITH_304,
                _ => &rule::LENGTH_WRONG,
            };
            self.add(rule, format!("{behind} bytes behind the answer"), &got.name());
        }
        Some(got)
    }

    fn add(&mut self, rule: &'static Rule, found: impl Into<std::borrow::Cow<'static, str>>, asked: &str) {
        self.broken.push(Violation::new(rule, found).of(asked));
    }

    /// `HEAD` beside `GET`, which was asked twice to know what changes by itself.
    fn compare_head(&mut self, plain: &Got, again: &Got, head: &Got) {
        let (one, other, found) = (plain.answer.headers(), again.answer.headers(), head.answer.headers());
        if plain.answer.status() == again.answer.status() && head.answer.status() != plain.answer.status() {
            let found = format!("{} by HEAD, {} by GET", head.answer.status(), plain.answer.status());
            return self.add(&rule::HEAD_DIFFERS, found, &head.name());
        }
        // What is known only by making the body may be left out, and what is about the connection (RFC 9110 §9.3.2).
        let left_out =
            ["content-length", "transfer-encoding", "connection", "keep-alive", "trailer", "set-cookie", "date"];
        let missing = one.keys().filter(|name| other.contains_key(*name) && !found.contains_key(*name));
        let missing: Vec<_> = missing.map(HeaderName::as_str).filter(|name| !left_out.contains(name)).collect();
        let lengths = [one, other, found].map(|headers| headers.get(header::CONTENT_LENGTH));
        if !missing.is_empty() {
            self.add(&rule::HEAD_DIFFERS, format!("no {} by HEAD", missing.join(", ")), &head.name());
        } else if lengths[0] == lengths[1]
            && lengths[0].is_some()
            && lengths[2].is_some_and(|length| Some(length) != lengths[0])
        {
            // RFC 9110 §8.6: here it is no advice.
            self.add(&rule::LENGTH_WRONG, "another content-length by HEAD than by GET", &head.name());
        }
    }

    fn compare_codings(&mut self, plain: &Got, coded: &Got) {
        let coding = |got: &Got| got.answer.headers().get(header::CONTENT_ENCODING).cloned();
        if plain.answer.status() != coded.answer.status() || coding(plain) == coding(coded) {
            return;
        }
        if !varies(plain.answer.headers(), "accept-encoding") {
            self.add(
                &rule::VARY_MISSING,
                "another content-encoding, and no vary: accept-encoding on the plain answer",
                &plain.name(),
            );
        }
        let tag = |got: &Got| got.answer.headers().get(header::ETAG).cloned();
        if let Some(tag) =
            tag(plain).filter(|one| Some(one) == tag(coded).as_ref() && !one.as_bytes().starts_with(b"W/"))
        {
            let found = format!("etag: {} on both", String::from_utf8_lossy(tag.as_bytes()));
            self.add(&rule::ETAG_SAME, found, &coded.name());
        }
    }

    /// Whether the server knows its own tag again.
    async fn conditions(&mut self, target: &str, plain: &Got, again: &Got) {
        let tag =
            |got: &Got| got.answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let Some(tag) = tag(plain).filter(|one| plain.answer.status().is_success() && tag(again).as_ref() == Some(one))
        else {
            return;
        };
        let Some(got) = self.get(target, &[("accept-encoding", "identity"), ("if-none-match", &tag)]).await else {
            return;
        };
        if got.answer.status().is_success() {
            self.add(&rule::CONDITION_IGNORED, format!("if-none-match: {tag} answered in full"), &got.name());
        } else if got.answer.status() == StatusCode::NOT_MODIFIED {
            let kept = [header::CACHE_CONTROL, header::CONTENT_LOCATION, header::ETAG, header::EXPIRES, header::VARY];
            let lost = kept
                .iter()
                .filter(|name| plain.answer.headers().contains_key(*name) && !got.answer.headers().contains_key(*name));
            let lost: Vec<&str> = lost.map(HeaderName::as_str).collect();
            if !lost.is_empty() {
                self.add(&rule::NOT_MODIFIED_LOST, format!("no {}", lost.join(", ")), &got.name());
            }
        }
    }

    /// Whether an answer that depends on `Accept` says so.
    async fn types(&mut self, target: &str) {
        let page = self.get(target, &[("accept", "text/html")]).await;
        let data = self.get(target, &[("accept", "application/json")]).await;
        let (Some(page), Some(data)) = (page, data) else { return };
        let of = |got: &Got| {
            let value = got.answer.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
            Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        };
        if of(&page) != of(&data) {
            for got in [page, data].iter().filter(|got| !varies(got.answer.headers(), "accept")) {
                self.add(&rule::VARY_MISSING, "another content-type, and no vary: accept", &got.name());
            }
        }
    }

    /// Whether an answer that repeats the origin of a script says so: two are asked for, since one may be the only one allowed.
    async fn origins(&mut self, target: &str) {
        for origin in ["https://one.purlin-lint.example", "https://two.purlin-lint.example"] {
            let Some(got) = self.get(target, &[("origin", origin)]).await else { return };
            let shared = got.answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            if shared.is_none_or(|shared| shared != origin) {
                return;
            }
            if origin.contains("two") && !varies(got.answer.headers(), "origin") {
                let found = "the access-control-allow-origin of each, and no vary: origin";
                self.add(&rule::VARY_MISSING, found, &got.name());
            }
        }
    }
}

impl Got {
    fn name(&self) -> String {
        self.asked.and(&self.answer)
    }
}

/// Whether the answer says that it depends on this header, or is kept nowhere.
fn varies(headers: &HeaderMap, name: &str) -> bool {
    list(headers, &header::VARY).iter().any(|one| one == name || one == "*")
        || list(headers, &header::CACHE_CONTROL).iter().any(|one| one == "no-store")
}
