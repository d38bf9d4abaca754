//! `Workbench`: the debugger of one site: it watches requests, keeps what failed, and answers below `/_debug/`.

use super::console::Console;
use super::engine::{self, Engine, Wanted};
use super::guard::{Guard, Refused, check_addresses, own_origin, random};
use super::page::{self, Page};
use super::record::{Record, Records};
use super::tell;
use crate::body::Watch;
use crate::editor::Editor;
use crate::report::{BodyReport, Desk, Evidence, Origin, Report, Trail};
use crate::request::{CspNonce, Stranger};
use crate::response::CarriedError;
use crate::site::{Site, Start};
use crate::timing::Clock;
use crate::{Error, MatchedRoute, Request, RequestExt, Response, ResponseExt, Result, Service, negotiate};
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HOST, HeaderName, LAST_MODIFIED, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;
use std::sync::{Arc, OnceLock, Weak};

/// Where the debugger answers.
pub(super) const PATH: &str = "/_debug";

/// Where a failure can be looked at.
const X_DEBUG_URL: HeaderName = HeaderName::from_static("x-debug-url");

/// A question is a line or two of Rust.
const LONGEST_QUESTION: u64 = 64 << 10;

/// The debugger of one site.
pub(crate) struct Workbench(Arc<Room>);

struct Room {
    guard: Guard,
    engine: Engine,
    records: Records,
    editor: Editor,
    site: Arc<Site>,
    /// That of the layer `ErrorPages`, which starts after this one.
    desk: OnceLock<Desk>,
}

impl Workbench {
    /// Opens it, for a site that only this machine can reach.
    ///
    /// # Errors
    ///
    /// A server that others can reach, a host that is none, a system without threads or randomness.
    pub(crate) fn start(
        start: &Start,
        hosts: &[String],
        beyond_loopback: bool,
        snapshots: Option<usize>,
    ) -> Result<Self> {
        if !beyond_loopback {
            check_addresses(start.addresses())?;
        }
        Ok(Self(Arc::new(Room {
            guard: Guard::new(hosts)?,
            engine: Engine::start(snapshots)?,
            records: Records::default(),
            editor: Editor::from_env(),
            site: start.site().clone(),
            desk: OnceLock::new(),
        })))
    }

    pub(crate) async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let room = &self.0;
        // Before anything of the request is believed. Who may not see the debugger gets what visitors get.
        if let Err(refused) = room.guard.may_see(&req) {
            if is_below(req.uri().path()) {
                tracing::warn!(target: "purlin::debugger", path = req.uri().path(), %refused, "refused");
            }
            if let Some(clock) = req.extensions().get::<Clock>() {
                clock.hide();
            }
            req.extensions_mut().insert(Stranger);
            return Ok(next.call(req).await);
        }
        if is_below(req.uri().path()) {
            // Boxed, so that other requests have no room kept for it.
            return Box::pin(room.answer(req)).await;
        }
        let visit = Visit::of(&mut req);
        // Known before anything can fail.
        room.desk();
        // Also a panic right below: of the layer of the site's own error pages, say.
        let answered = room.engine.watch(crate::panic::caught(next.call(req))).await;
        let mut response = answered.unwrap_or_else(Response::from);
        if let Some(error) = response.extensions().get::<CarriedError>().cloned() {
            Box::pin(room.look_at(visit, &error, &mut response)).await?;
        } else if response.body().as_bytes().is_none() {
            let route = response.extensions().get::<MatchedRoute>().cloned();
            let report = response.extensions().get::<BodyReport>().cloned();
            let body = response.body_mut().take();
            *response.body_mut() = body.watched(Watcher { room: room.clone(), visit, route, report });
        }
        Ok(response)
    }
}

fn is_below(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What has to be known of a request when it has been answered.
struct Visit {
    trail: Trail,
    is_https: bool,
    nonce: Option<CspNonce>,
}

impl Visit {
    fn of(req: &mut Request) -> Self {
        Self { trail: Trail::begin(req, 0), is_https: req.is_https(), nonce: req.extensions().get().cloned() }
    }

    /// Where a failure of it can be looked at.
    fn address_of(&self, record: &Record) -> String {
        let headers = self.trail.head().headers();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        format!("{}{PATH}/{}", own_origin(self.is_https, host), record.id)
    }
}

impl Room {
    /// Where reports are written that the layer `ErrorPages` has not written.
    fn desk(&self) -> &Desk {
        self.desk.get_or_init(|| {
            let desk = self.site.shared::<Weak<Desk>>().and_then(|desk| desk.upgrade());
            let mut desk = desk.map_or_else(|| Desk::of(&self.site), |desk| Desk::clone(&desk));
            // What any of these layers hides is hidden.
            desk.redact(self.site.shared().unwrap_or_default());
            engine::hide(desk.redaction());
            desk
        })
    }

    /// Keeps a failure.
    fn keep(&self, visit: &Visit, status: StatusCode, error: &Error, report: Arc<Report>) -> Result<Arc<Record>> {
        let redaction = self.desk().redaction().clone();
        Ok(self.records.add(Record::of(random()?, status, error, visit.trail.head(), redaction, report)))
    }

    /// Keeps a failure, and gives a browser its page.
    async fn look_at(&self, visit: Visit, error: &Error, response: &mut Response) -> Result<()> {
        let head = visit.trail.head();
        let wants_page = wants_html(&head.headers()) && head.method != Method::HEAD;
        let status = response.status();
        // A 404 for curl is an answer, and nothing to look into.
        if !status.is_server_error() && !wants_page {
            return Ok(());
        }
        let report = response.extensions().get::<Arc<Report>>().cloned().unwrap_or_else(|| {
            self.desk().write(Evidence {
                origin: Origin::Answer,
                status,
                error: Some(error),
                public: error.public_message().unwrap_or_default(),
                otherwise: "",
                trail: Some(&visit.trail),
                route: response.extensions().get(),
            })
        });
        let record = self.keep(&visit, status, error, report)?;
        response.headers_mut().insert(X_DEBUG_URL, HeaderValue::try_from(visit.address_of(&record))?);
        if !wants_page {
            return Ok(());
        }
        let page = self.page(&record, visit.nonce).await?;
        let (parts, body) = page.into_parts();
        let headers = response.headers_mut();
        // Those of the body that is not there, and any by which another origin could read this one.
        for name in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG, LAST_MODIFIED, CONTENT_DISPOSITION] {
            headers.remove(name);
        }
        let shared: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
        shared.iter().for_each(|name| drop(headers.remove(name)));
        for (name, value) in &parts.headers {
            headers.insert(name, value.clone());
        }
        // The page that is replaced may have said so.
        negotiate::vary(headers, &ACCEPT);
        *response.body_mut() = body;
        Ok(())
    }

    async fn page(&self, record: &Arc<Record>, nonce: Option<CspNonce>) -> Result<Response> {
        let frames = self.engine.frames(record).await;
        let nonce = nonce.unwrap_or_default();
        let page = Page {
            record,
            frames: frames.as_ref().map_err(String::as_str),
            site: &self.site,
            editor: &self.editor,
            token: self.guard.token(),
            nonce: nonce.value().unwrap_or_default(),
        };
        sealed(crate::html(page.to_html()), nonce.value())
    }

    /// Answers below `/_debug/`.
    async fn answer(&self, req: Request) -> Result<Response> {
        let nonce = req.extensions().get::<CspNonce>().cloned().unwrap_or_default();
        let path = req.uri().path()[PATH.len()..].trim_matches('/').to_owned();
        let answer = match path.split_once('/') {
            None if !matches!(*req.method(), Method::GET | Method::HEAD) => {
                let error = StatusCode::METHOD_NOT_ALLOWED;
                let allowed = HeaderValue::from_static("GET, HEAD");
                told(error, "the debugger's pages are read by GET").with_header(ALLOW, allowed)
            }
            None => match path.as_str() {
                "" => {
                    let nonce = nonce.value().unwrap_or_default();
                    crate::html(page::list(&self.records.all(), &self.site, self.guard.token(), nonce))
                }
                "reports.json" => json(&tell::list(&self.records.all())),
                name => return self.show(name, nonce).await,
            },
            Some((id, what)) => {
                let (id, what) = (id.to_owned(), what.to_owned());
                self.reply(&id, &what, req).await
            }
        };
        sealed(answer, nonce.value())
    }

    /// One report, as a page, as JSON or as Markdown.
    async fn show(&self, name: &str, nonce: CspNonce) -> Result<Response> {
        let (id, form) = name.split_once('.').unwrap_or((name, ""));
        let Some(record) = self.records.find(id) else {
            let gone = told(StatusCode::NOT_FOUND, GONE);
            return sealed(gone, None);
        };
        let answer = match form {
            "" => return self.page(&record, Some(nonce)).await,
            "json" => json(&tell::json(&record, self.engine.frames(&record).await)),
            "md" => {
                let mut answer = crate::text(tell::markdown(&record, self.engine.frames(&record).await));
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"));
                answer
            }
            _ => told(StatusCode::NOT_FOUND, "a report is a page, `.json` or `.md`"),
        };
        sealed(answer, None)
    }

    /// What the page asks.
    async fn reply(&self, id: &str, what: &str, mut req: Request) -> Response {
        if let Err(refused) = self.guard.may_ask(&req) {
            tracing::warn!(target: "purlin::debugger", path = req.uri().path(), %refused, "refused");
            let status = match refused {
                Refused::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
                Refused::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Refused::Locked => StatusCode::LOCKED,
                _ => StatusCode::FORBIDDEN,
            };
            let mut answer = told(status, &refused.to_string());
            if status == StatusCode::METHOD_NOT_ALLOWED {
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            return answer;
        }
        let console = (id == SITE).then(|| Console::new(&self.site, self.desk(), &self.records.all(), &mut req));
        let wanted = match req.into_body().collect(LONGEST_QUESTION).await {
            Ok(body) => serde_json::from_slice::<Wanted>(&body).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(error) => return told(StatusCode::BAD_REQUEST, &error),
        };
        if let Some(console) = console {
            return match what {
                // What an expression makes the template engine do is not our code.
                "evaluate" => match crate::panic::guarded(|| console.evaluate(&wanted.text)) {
                    Ok(Ok(value)) => json(&json!({ "value": value })),
                    Ok(Err(problem)) => json(&json!({ "error": problem })),
                    Err(panic) => json(&json!({ "error": panic.message() })),
                },
                "complete" => json(&json!({ "names": console.complete(&wanted.text) })),
                _ => told(StatusCode::NOT_FOUND, "no such question"),
            };
        }
        let Some(record) = self.records.find(id) else {
            return told(StatusCode::NOT_FOUND, GONE);
        };
        let engine = &self.engine;
        let answer = match what {
            "variables" => engine.variables(&record, wanted.frame).await.map(|found| json!({ "variables": found })),
            "open" => engine.open(&record, wanted).await.map(|value| json!({ "value": value })),
            "evaluate" => engine.evaluate(&record, wanted).await.map(|value| json!({ "value": value })),
            "complete" => engine.complete(&record, wanted).await.map(|names| json!({ "names": names })),
            _ => return told(StatusCode::NOT_FOUND, "no such question"),
        };
        match answer {
            Ok(answer) => json(&answer),
            // An answer, too: the expression was wrong, or its value is not there.
            Err(error) => json(&json!({ "error": error })),
        }
    }
}

/// In the place of a report's id: the prompt about the site. No id is as short.
pub(super) const SITE: &str = "site";

const GONE: &str = "there is no such report: the last 50 are kept, until the site stops";

fn told(status: StatusCode, text: &str) -> Response {
    let mut answer = crate::text(format!("{text}\n"));
    *answer.status_mut() = status;
    answer
}

fn json(value: &serde_json::Value) -> Response {
    // Nothing in it can end a script element that it was pasted into.
    let text = value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let mut answer = crate::text(text);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Adds what keeps an answer where it belongs: nothing is loaded, no frame shows it, no cache keeps it, no other origin may
/// include it, and no address of a report leaves in a `Referer`.
fn sealed(mut answer: Response, nonce: Option<&str>) -> Result<Response> {
    let own = nonce.map(|nonce| format!("style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "));
    let policy = format!(
        "default-src 'none'; {}connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        own.unwrap_or_default()
    );
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy)?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    Ok(answer)
}

/// Whether the client likes a page best. Who takes anything, as curl does, gets text.
fn wants_html(headers: &HeaderMap) -> bool {
    const ANY: &str = "purlin/anything";
    const HTML: &str = "text/html; charset=utf-8";
    let offered = [ANY, HTML, "application/problem+json", "application/json", "text/markdown", "text/plain"];
    headers.contains_key(ACCEPT) && negotiate::best_media_type(headers, &offered) == Some(HTML)
}

/// Keeps the failure of a streamed body, whose head has left: the log names the address.
struct Watcher {
    room: Arc<Room>,
    visit: Visit,
    route: Option<MatchedRoute>,
    report: Option<BodyReport>,
}

impl Watch for Watcher {
    fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        self.room.engine.scope(work)
    }

    fn failed(&mut self, error: &Error) {
        let Self { room, visit, route, report } = self;
        let report = report.as_ref().and_then(BodyReport::get).cloned();
        let report =
            report.unwrap_or_else(|| room.desk().write(Evidence::of_body(error, &visit.trail, route.as_ref())));
        let Ok(record) = room.keep(visit, StatusCode::INTERNAL_SERVER_ERROR, error, report) else { return };
        tracing::error!(
            target: "purlin::debugger",
            debug = %visit.address_of(&record),
            report = record.report.id,
            error = %record.headline().escape_debug(),
            "the body of an answer failed"
        );
    }
}
