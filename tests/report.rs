//! Reports: the facts of a failure, with nothing secret in them, for those who look after the site.

#[cfg(feature = "mail")]
mod mail;
#[cfg(feature = "webhook")]
mod webhook;

use crate::access_log::Lines;
use purlin::config::Loader;
use purlin::error::Answer;
use purlin::http::Request as HttpRequest;
use purlin::layers::{AccessLog, Deadline, ErrorPages, RequestIds, Sessions, Templates};
use purlin::log::Recorder;
use purlin::report::{Folder, Log, Origin, Redaction, Report, Reporter};
use purlin::session::MemoryStore;
use purlin::site::{Life, Start};
use purlin::template::{Engine, Page};
use purlin::{
    App, Body, Config, Context, Error, Form, HeaderValue, Json, Middleware, Path, Request, Response, Result, Router,
    Service, Session, Stack, StatusCode, View, get, header, post,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::prelude::*;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const FORMS: [&str; 4] = [BROWSER, "application/json", "text/markdown", "*/*"];

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Arc<Report>>>>);

impl Kept {
    fn all(&self) -> Vec<Arc<Report>> {
        self.0.lock().unwrap().clone()
    }

    #[track_caller]
    fn only(&self) -> Arc<Report> {
        let all = self.all();
        assert_eq!(all.len(), 1, "{all:#?}");
        all[0].clone()
    }
}

impl Reporter for Kept {
    fn report(&self, report: &Arc<Report>) {
        self.0.lock().unwrap().push(report.clone());
    }
}

/// An engine whose every template fails.
struct Broken;

impl Engine for Broken {
    fn render(&self, page: &Page<'_>) -> Result<String> {
        Err(Error::internal(format!("{} is broken", page.template())))
    }

    fn contains(&self, template: &str) -> bool {
        !template.starts_with("errors/")
    }
}

// Away from the lines that fail, whose source a developer is shown.
const NESTED: &str = "s3ssion-nested";
const CALLED: &str = "https://l0g-user@api.example.org/?key=l0g-query";
const FIELD: &str = "l0g-field";
const CARD: &str = "l0g-span-card";
const DATABASE: &str = "postgres://site:us3rinfo-pw@db.internal/site?sslmode=require";
const SMTP: &str = "c0nfig-smtp-password";
const CONTEXT: &str = "c0ntext-secret";

#[derive(serde::Deserialize)]
struct Login {
    name: String,
    password: String,
}

/// Where each secret comes in; the failing handlers repeat theirs in the message.
async fn form(Form(login): Form<Login>) -> Result<String> {
    Err(Error::internal(format!("no user {} with {}", login.name, login.password)))
}

async fn json_body(Json(value): Json<Value>) -> Result<String> {
    Err(Error::internal(format!("cannot charge {}", value["card"]["number"])))
}

async fn param(Path((_, token)): Path<(u32, String)>) -> Result<String> {
    Err(Error::internal(format!("nothing to reset by {token}")))
}

async fn session(session: Session) -> Result<String> {
    session.insert("profile", &json!({ "name": "ann", "apiKeys": [{ "id": 7, "value": NESTED }] }))?;
    session.insert("page", "start")?;
    Err(Error::internal(format!("the key {NESTED} was refused")))
}

async fn everything(request: Request) -> Result<String> {
    let told: Vec<String> = request.headers().iter().map(|(name, value)| format!("{name} {value:?}")).collect();
    Err(Error::internal(format!("refused: {} {}", request.uri(), told.join(" "))))
}

async fn database() -> Result<String> {
    let cause = std::io::Error::other(format!("cannot reach {DATABASE}"));
    Err(cause).context(format!("connecting with {SMTP}"))
}

async fn logs() -> Result<String> {
    let span = tracing::info_span!("charging", amount = 3, card = CARD);
    let _entered = span.enter();
    tracing::info!(access_token = FIELD, "calling {CALLED}");
    Err(Error::internal(format!("the call with {FIELD} failed")))
}

async fn view() -> View {
    View::new("page.html", json!({ "title": "Hello", "user": { "secret": CONTEXT } }))
}

async fn panics(Form(login): Form<Login>) -> String {
    let users: BTreeMap<&str, u32> = BTreeMap::new();
    let id = users.get("x").unwrap_or_else(|| panic!("nobody has {}", login.password));
    id.to_string()
}

fn routes() -> Router {
    Router::new()
        .route("/form", post(form))
        .route("/json", post(json_body))
        .route("/reset/{id}/{token}", get(param))
        .route("/session", get(session))
        .route("/everything", get(everything))
        .route("/database", get(database))
        .route("/logs", get(logs))
        .route("/view", get(view))
        .route("/panics", post(panics))
        .route("/users/{id}", get(user).name("user"))
        .route("/missing", get(async || Err::<String, Error>(Error::not_found("no such thing"))))
        .route(
            "/wait",
            get(async |session: Session| {
                session.insert("a", &1)?;
                std::future::pending::<Result<String>>().await
            }),
        )
}

async fn user(Path(id): Path<u32>) -> Result<String> {
    let number: u8 = "many".parse().context(format!("counting the friends of user {id}"))?;
    Ok(number.to_string())
}

fn config() -> Config {
    Loader::new()
        .environment("development")
        .toml("[app]\ntitle = 'Wiki'\nsmtp_password = 'c0nfig-smtp-password'\n")
        .load()
        .unwrap()
}

fn site(pages: ErrorPages) -> App<impl Service> {
    Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(pages)
        .layer(Deadline::new(Duration::from_secs(5)))
        .layer(Sessions::new(MemoryStore::new()))
        .layer(Templates::new(Broken))
        .app(routes())
}

fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &'static str) -> Request {
    let mut request = HttpRequest::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body)).unwrap()
}

async fn body(response: Response) -> String {
    String::from_utf8(response.into_body().collect(1 << 22).await.unwrap().to_vec()).unwrap()
}

/// A folder of this test's own, removed at its end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("purlin-reports-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(&self.0).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
        });
        let mut files: Vec<_> = files.collect();
        files.sort();
        files
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");

type Case =
    (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, &'static [&'static str]);

/// Method, address, headers, body, and the secrets which then must be nowhere.
const SECRETS: &[Case] = &[
    ("GET", "/everything", &[("authorization", "Bearer h3ader-bearer")], "", &["h3ader-bearer"]),
    // ann:b4sic-pass
    (
        "GET",
        "/everything",
        &[("authorization", "Basic YW5uOmI0c2ljLXBhc3M=")],
        "",
        &["YW5uOmI0c2ljLXBhc3M", "b4sic-pass"],
    ),
    (
        "GET",
        "/everything",
        &[("x-api-key", "h3ader-key"), ("x-csrf-token", "h3ader-csrf")],
        "",
        &["h3ader-key", "h3ader-csrf"],
    ),
    ("GET", "/everything", &[("cookie", "theme=c00kie-theme; sid=c00kie-sid")], "", &["c00kie-theme", "c00kie-sid"]),
    ("GET", "/everything", &[("cookie", "no cookie but c00kie-junk")], "", &["c00kie-junk"]),
    (
        "GET",
        "/everything?reset_token=qu3ry-token&a%5Bpassword%5D=qu3ry%20nested",
        &[],
        "",
        &["qu3ry-token", "qu3ry nested", "qu3ry%20nested", "qu3ry+nested"],
    ),
    (
        "GET",
        "/everything",
        &[("referer", "https://r3f-user@example.org/x?code=r3f-code")],
        "",
        &["r3f-user", "r3f-code"],
    ),
    ("POST", "/form", &[FORM], "name=ann&password=f0rm%2Fpass+%22x%22", &["f0rm/pass \"x\"", "f0rm%2Fpass", "f0rm"]),
    (
        "POST",
        "/json",
        &[JSON],
        r#"{"name":"ann","card":{"number":"4111-json-1111","cvv":"9-8-1"}}"#,
        &["4111-json-1111", "9-8-1"],
    ),
    ("GET", "/reset/7/p4ram%2Ftoken", &[], "", &["p4ram%2Ftoken", "p4ram/token", "p4ram"]),
    ("GET", "/session", &[], "", &["s3ssion-nested"]),
    ("GET", "/database", &[], "", &["us3rinfo-pw", "c0nfig-smtp-password"]),
    ("GET", "/logs", &[], "", &["l0g-span-card", "l0g-field", "l0g-user", "l0g-query"]),
    ("GET", "/view", &[], "", &["c0ntext-secret"]),
    ("POST", "/panics", &[FORM], "name=ann&password=p4nic-pass", &["p4nic-pass"]),
    ("GET", "/everything?diagnosis=own-w0rd", &[], "", &["own-w0rd"]),
];

#[tokio::test]
async fn a_secret_is_in_no_byte_of_any_output() {
    for (method, url, headers, sent, secrets) in SECRETS {
        let (kept, folder, lines) = (Kept::default(), Temporary::new("secrets"), Lines::default());
        // The site's own events are its own affair: of the log, only Purlin's are looked at.
        let ours = tracing_subscriber::filter::filter_fn(|metadata| metadata.target().starts_with("purlin"));
        let writer = lines.clone();
        let written = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).with_filter(ours);
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recorder::new()).with(written));
        let mut outputs = Vec::new();
        for details in [true, false] {
            let pages = ErrorPages::new()
                .details(details)
                .log_lines(20)
                .config(&config())
                .redact(Redaction::new().also(["diagnosis"]))
                .reporter(kept.clone())
                .reporter(Log::new())
                .reporter(Folder::new(&folder.0));
            let app = site(pages);
            let life = Life::start(&app).unwrap();
            for form in FORMS {
                let mut headers = headers.to_vec();
                headers.push(("accept", form));
                let response = app.call(request(method, url, &headers, sent)).await;
                assert_eq!(response.status(), 500, "{url}");
                let name = format!("the answer as {form} with details={details}");
                let page = body(response).await;
                // RFC 9457 repeats the path to who asked for it.
                let own = format!("\"instance\": \"{}\"", url.split('?').next().unwrap());
                outputs.push((name, page.replace(&own, "")));
            }
            assert!(life.end(Duration::from_secs(5)).await.is_empty());
        }
        let reports = kept.all();
        assert_eq!(reports.len(), 8, "{url}");
        for report in reports {
            assert!(report.to_json().contains("•••"), "{url}: nothing was hidden");
            outputs.push(("JSON".into(), report.to_json()));
            outputs.push(("JSON of serde".into(), serde_json::to_string(&*report).unwrap()));
            outputs.push(("Markdown".into(), report.to_markdown()));
            outputs.push(("text".into(), report.to_string()));
            outputs.push(("Debug".into(), format!("{report:#?}")));
        }
        let files = folder.files();
        assert_eq!(files.len(), 8, "{url}");
        outputs.extend(files);
        // The access log has each path as it was sent: it cannot know what the parameters of a path are called.
        let path = format!("path={:?}", url.split('?').next().unwrap());
        outputs.push(("the log".into(), lines.text().replace(&path, "")));
        assert!(lines.text().contains("purlin::report") && lines.text().contains("purlin::access"), "{}", lines.text());
        for (name, output) in outputs {
            for secret in *secrets {
                assert!(!output.contains(secret), "{url}: {secret} is in {name}:\n{output}");
            }
        }
    }
}

#[tokio::test]
async fn a_report_has_the_facts_of_the_failure() {
    let kept = Kept::default();
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recorder::new()));
    let app = site(ErrorPages::new().config(&config()).release("wiki 1.2").log_lines(5).reporter(kept.clone()));
    let _life = Life::start(&app).unwrap();
    let headers = [("accept-language", "de"), ("cookie", "theme=dark"), ("x-request-id", "r-1")];
    app.call(request("GET", "/users/17?page=2", &headers, "")).await;
    let report = kept.only();
    assert_eq!((report.status, report.origin, report.panic), (500, Origin::Answer, false));
    assert_eq!(report.message, "counting the friends of user 17");
    assert_eq!(report.causes, ["invalid digit found in string"]);
    assert_eq!(report.kind.as_deref(), Some("core::num::error::ParseIntError"));
    assert_eq!(report.public, "Something went wrong on our side. Please try again later.");
    assert!(report.places[0].file().ends_with("tests/report.rs"), "{:?}", report.places);
    assert_eq!(report.layer, None);
    let layers: Vec<&str> = report.stack.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(layers, ["RequestIds", "AccessLog", "ErrorPages", "Deadline", "Sessions", "Templates"]);
    let route = report.route.as_ref().unwrap();
    assert_eq!((route.path.as_str(), route.name.as_deref()), ("/users/{id}", Some("user")));
    assert_eq!(route.params, [("id".to_owned(), "17".to_owned())]);
    let request = report.request.as_ref().unwrap();
    assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", "/users/17?page=2"));
    assert!(request.headers.contains(&("accept-language".into(), "de".into())), "{:?}", request.headers);
    assert_eq!(request.cookies, [("theme".to_owned(), "•••".to_owned())]);
    assert_eq!(request.query, [("page".to_owned(), "2".to_owned())]);
    let title = report.config.iter().find(|setting| setting.key == "app.title").unwrap();
    assert_eq!((title.value.as_str(), title.source.contains(":2")), ("'Wiki'", true), "{title:?}");
    assert_eq!(report.program.release.as_deref(), Some("wiki 1.2"));
    assert!(report.time.starts_with("20") && report.time.ends_with('Z'), "{}", report.time);
    let again: Report = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), serde_json::to_value(&*report).unwrap());
}

#[tokio::test]
async fn a_report_has_what_those_further_in_knew() {
    let kept = Kept::default();
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recorder::new()));
    let app = site(ErrorPages::new().log_lines(5).reporter(kept.clone()));
    let _life = Life::start(&app).unwrap();
    app.call(request("GET", "/session", &[], "")).await;
    app.call(request("POST", "/form", &[FORM], "name=ann&password=x")).await;
    app.call(request("GET", "/view", &[], "")).await;
    app.call(request("GET", "/logs", &[], "")).await;
    app.call(request("POST", "/panics", &[FORM], "name=ann&password=x")).await;
    let [session, form, view, logs, panic] = &kept.all()[..] else { panic!("{:#?}", kept.all()) };

    let values = session.session.as_ref().unwrap();
    assert_eq!((&values["page"], &values["profile"]["name"]), (&json!("start"), &json!("ann")));
    let fields = &form.request.as_ref().unwrap().form;
    assert_eq!(*fields, [("name".to_owned(), "ann".to_owned()), ("password".to_owned(), "•••".to_owned())]);
    assert_eq!(form.request.as_ref().unwrap().body_bytes, Some(19));

    let template = view.template.as_ref().unwrap();
    assert_eq!((template.name.as_str(), &template.context["title"]), ("page.html", &json!("Hello")));
    assert_eq!(view.layer.as_deref(), Some("Templates"));
    let failed: Vec<&str> = view.stack.iter().filter(|line| line.failed).map(|line| line.name.as_str()).collect();
    assert_eq!(failed, ["Templates"]);

    assert_eq!(logs.log.len(), 1);
    assert_eq!((logs.log[0].level.as_str(), logs.log[0].target.as_str()), ("INFO", "main::report"));
    let span = &logs.spans[0];
    assert_eq!((span.name.as_str(), &span.fields[0]), ("charging", &("amount".to_owned(), "3".to_owned())));

    assert!(panic.panic && panic.message.starts_with("nobody has"), "{}", panic.message);
    assert!(
        panic.frames.iter().any(|frame| frame.own && frame.name.ends_with("report::panics")),
        "{:#?}",
        panic.frames
    );
    assert_eq!(panic.route.as_ref().unwrap().path, "/panics");
}

#[tokio::test]
async fn a_secret_that_is_a_word_of_reports_does_not_spoil_them() {
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()));
    for password in ["answer", "id", "status", "GET", "500", "null", "POST", "e", "%22%2C%5C"] {
        let mut request = request("POST", "/form", &[FORM], "");
        *request.body_mut() = Body::from(format!("name=ann&password={password}"));
        app.call(request).await;
    }
    assert_eq!(kept.all().len(), 9);
    for report in kept.all() {
        let fields = &report.request.as_ref().unwrap().form;
        assert_eq!(fields[1], ("password".to_owned(), "•••".to_owned()));
        assert_eq!((report.origin, report.status, report.id.len()), (Origin::Answer, 500, 16));
    }
}

#[tokio::test]
async fn a_fingerprint_is_of_the_kind_of_failure_and_not_of_its_values() {
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()));
    for url in ["/users/1", "/users/2?x=3", "/database"] {
        app.call(request("GET", url, &[], "")).await;
    }
    for sent in ["name=a&password=b", "name=c&password=d"] {
        app.call(request("POST", "/form", &[FORM], sent)).await;
    }
    let prints: Vec<String> = kept.all().iter().map(|report| report.fingerprint.clone()).collect();
    assert_eq!(prints[0], prints[1]);
    assert_eq!(prints[3], prints[4], "the message of a line differs by its values only");
    assert!(prints[0] != prints[2] && prints[0] != prints[3], "{prints:?}");
    let ids: std::collections::BTreeSet<String> = kept.all().iter().map(|report| report.id.clone()).collect();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn a_visitor_is_told_the_status_the_public_message_and_the_reports_id() {
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()));
    for (nth, form) in FORMS.into_iter().enumerate() {
        let response = app.call(request("GET", "/users/17", &[("accept", form)], "")).await;
        let page = body(response).await;
        let report = kept.all()[nth].clone();
        assert!(page.contains(&report.id) && page.contains("500"), "{form}: {page}");
        for word in ["friends", "digit", ".rs", "Deadline", "{id}"] {
            assert!(!page.contains(word), "{form}: {word} in {page}");
        }
    }
    let response = app.call(request("GET", "/users/17", &[("accept", "text/markdown")], "")).await;
    assert_eq!(response.headers()["content-type"], "text/markdown; charset=utf-8");
    let id = &kept.all()[4].id;
    let expected = format!(
        "# 500 Internal Server Error\n\nSomething went wrong on our side. Please try again later.\n\n```text\nreport {id}\n```\n"
    );
    assert_eq!(body(response).await, expected);
}

#[tokio::test]
async fn a_developer_gets_the_report_as_markdown() {
    let app = site(ErrorPages::new().details(true));
    let _life = Life::start(&app).unwrap();
    let page = body(app.call(request("GET", "/users/17", &[("accept", "text/markdown")], "")).await).await;
    assert!(page.starts_with("# 500 counting the friends of user 17\n\n## Failure\n\n```text\n"), "{page}");
    for part in
        ["caused by: invalid digit found in string", "## Stack", "Sessions tests/report.rs", "## Route", "id: 17"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = app.call(request("GET", "/everything?x=```%0A%23%20h", &[("accept", "text/markdown")], "")).await;
    let page = body(page).await;
    assert!(page.contains("\n````text\n"), "a fence that nothing ends: {page}");
}

#[tokio::test]
async fn errors_of_a_type_are_answered_as_one_place_says() {
    let kept = Kept::default();
    let pages = ErrorPages::new()
        .reporter(kept.clone())
        .on::<std::num::ParseIntError>(|error| match error.kind() {
            std::num::IntErrorKind::InvalidDigit => {
                Some(Answer::new(StatusCode::NOT_FOUND).public("There is no such number."))
            }
            std::num::IntErrorKind::PosOverflow => Some(StatusCode::BAD_REQUEST.into()),
            _ => None,
        })
        .on::<std::io::Error>(|_| {
            Some(
                Answer::new(StatusCode::SERVICE_UNAVAILABLE).header(header::RETRY_AFTER, HeaderValue::from_static("5")),
            )
        });
    /// An error with another behind it.
    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let routes = Router::new()
        .route(
            "/parse/{text}",
            get(async |Path(text): Path<String>| -> Result<String> { Ok(text.parse::<u8>()?.to_string()) }),
        )
        .route(
            "/kept",
            get(async || "x".parse::<u8>().or_status(StatusCode::CONFLICT).map(|number| number.to_string())),
        )
        .route("/outer", get(async || Err::<String, _>(Outer(std::io::Error::other("inner")))))
        .route(
            "/own",
            get(async || -> Result<String> { Err(Error::from("x".parse::<u8>().unwrap_err()).public("Own words.")) }),
        );
    let app = Stack::new().layer(pages).app(routes);
    let table = [
        ("/parse/x", 404, "404 Not Found\n\nThere is no such number.\n"),
        ("/parse/999", 400, "400 Bad Request\n\nThe request could not be answered.\n"),
        ("/kept", 409, "409 Conflict\n\nSomething was changed meanwhile that this is in conflict with.\n"),
        ("/own", 404, "404 Not Found\n\nOwn words.\n"),
    ];
    for (url, status, expected) in table {
        let response = app.call(request("GET", url, &[], "")).await;
        assert_eq!(response.status().as_u16(), status, "{url}");
        assert_eq!(body(response).await, expected, "{url}");
    }
    assert!(kept.all().is_empty(), "none of these is a failure of the site");
    let response = app.call(request("GET", "/outer", &[], "")).await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &HeaderValue::from_static("5")));
    assert_eq!(kept.only().status, 503);
    let response = app.call(request("GET", "/parse/", &[], "")).await;
    assert_eq!(response.status(), 404, "an address without a route");
}

#[tokio::test]
async fn failures_below_500_are_reported_to_who_asks_for_them() {
    for (from, expected) in [(500, 0), (400, 1)] {
        let kept = Kept::default();
        let from = StatusCode::from_u16(from).unwrap();
        let app = site(ErrorPages::new().reporter(kept.clone()).report_from(from));
        assert_eq!(app.call(request("GET", "/missing", &[], "")).await.status(), 404);
        assert_eq!(kept.all().len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_is_reported_with_what_was_known() {
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()));
    let _life = Life::start(&app).unwrap();
    assert_eq!(app.call(request("GET", "/wait", &[], "")).await.status(), 503);
    let report = kept.only();
    assert_eq!((report.status, report.layer.as_deref()), (503, Some("Deadline")));
    assert_eq!(report.session.as_ref().unwrap()["a"], 1, "though the session's layer was dropped");
    assert_eq!(report.route.as_ref().unwrap().path, "/wait");
}

/// A body of one piece, and then an error or a panic.
struct Breaking {
    sent: bool,
    panics: bool,
}

impl futures_core::Stream for Breaking {
    type Item = Result<&'static str, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.sent, true) {
            return std::task::Poll::Ready(Some(Ok("piece")));
        }
        assert!(!self.panics, "the rows ran out");
        std::task::Poll::Ready(Some(Err(std::io::Error::other("the disk is gone"))))
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_reported() {
    for (panics, message) in [(false, "the disk is gone"), (true, "the rows ran out")] {
        let kept = Kept::default();
        let routes = Router::new()
            .route("/rows/{id}", get(move || async move { Body::stream(Breaking { sent: false, panics }) }));
        let app = Stack::new().layer(ErrorPages::new().reporter(kept.clone())).app(routes);
        let _life = Life::start(&app).unwrap();
        let response = app.call(request("GET", "/rows/7", &[], "")).await;
        assert_eq!(response.status(), 200);
        assert!(kept.all().is_empty());
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "piece");
        assert_eq!(body.frame().await.unwrap().unwrap_err().message(), message, "the client's connection is cut");
        assert!(body.frame().await.is_none());
        let report = kept.only();
        assert_eq!((report.origin, report.message.as_str(), report.panic), (Origin::Body, message, panics));
        assert_eq!(report.request.as_ref().unwrap().url, "/rows/7");
        assert_eq!(report.route.as_ref().unwrap().path, "/rows/{id}");
    }
}

/// Templates of error pages that fail.
struct BrokenPages;

impl Engine for BrokenPages {
    fn render(&self, _: &Page<'_>) -> Result<String> {
        panic!("no such colour")
    }

    fn contains(&self, template: &str) -> bool {
        template == "errors/500.html"
    }
}

#[tokio::test]
async fn an_error_page_that_fails_is_reported_and_the_framework_s_is_sent() {
    let kept = Kept::default();
    let app = site(ErrorPages::new().templates(BrokenPages).reporter(kept.clone()));
    let response = app.call(request("GET", "/users/1", &[("accept", BROWSER)], "")).await;
    assert_eq!(response.status(), 500);
    let page = body(response).await;
    let reports = kept.all();
    let origins: Vec<Origin> = reports.iter().map(|report| report.origin).collect();
    assert_eq!(origins, [Origin::Answer, Origin::ErrorPage]);
    assert!(page.contains(&reports[0].id) && page.contains("<!DOCTYPE html>"), "{page}");
    assert_eq!(reports[1].message, "no such colour");
    assert_eq!(reports[1].template.as_ref().unwrap().name, "errors/500.html");
}

/// Refuses to start.
struct Refuses;

impl Middleware for Refuses {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        Ok(next.call(req).await)
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        Err(Error::internal("no licence for postgres://a:st4rt-secret@host/"))
    }
}

#[tokio::test]
async fn a_start_that_fails_is_reported_before_the_process_ends() {
    let (kept, folder) = (Kept::default(), Temporary::new("start"));
    let pages = ErrorPages::new().reporter(kept.clone()).reporter(Folder::new(&folder.0));
    let app = Stack::new().layer(pages).layer(Refuses).app(routes().route("/x", get(async || "x")));
    // The routes need a session, so the check alone would refuse: give them one.
    let app = Stack::new().layer(Sessions::new(MemoryStore::new())).layer(Templates::new(Broken)).app(app);
    assert!(Life::start(&app).is_err());
    let report = kept.only();
    assert_eq!((report.origin, report.message.as_str()), (Origin::Start, "no licence for postgres://•••@host/"));
    let files = folder.files();
    assert!(files.len() == 1 && !files[0].1.contains("st4rt-secret"), "{files:?}");
}

#[tokio::test]
async fn a_start_that_fails_anywhere_is_one_report_to_the_outermost_who_are_told() {
    let (outer, inner, folder) = (Kept::default(), Kept::default(), Temporary::new("refused"));
    let pages = || ErrorPages::new().reporter(outer.clone()).reporter(Folder::new(&folder.0));
    let within =
        || Router::new().mount("/x", Stack::new().layer(ErrorPages::new().reporter(inner.clone())).app(Router::new()));

    // Above the layer, so that it has not started; and a site that is not put together rightly, whose layers do not start.
    assert!(Life::start(&Stack::new().layer(Refuses).layer(pages()).app(within())).is_err());
    assert!(Life::start(&Stack::new().layer(pages()).app(routes().mount("/y", within()))).is_err());
    let messages: Vec<String> = outer.all().iter().map(|report| report.message.clone()).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[0], "no licence for postgres://•••@host/");
    assert!(messages[1].starts_with("the site does not fit together\n  - the handler of "), "{messages:?}");
    assert!(outer.all().iter().all(|report| report.origin == Origin::Start));
    assert_eq!((inner.all().len(), folder.files().len()), (0, 2));
}

#[tokio::test]
async fn a_folder_keeps_the_last_reports_for_its_own_user_only() {
    let folder = Temporary::new("bounded");
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.0.join("2020-notes.json"), "mine").unwrap();
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()).reporter(Folder::new(&folder.0).keep(3)));
    let life = Life::start(&app).unwrap();
    for id in 0..5 {
        app.call(request("GET", &format!("/users/{id}"), &[], "")).await;
    }
    assert!(life.end(Duration::from_secs(5)).await.is_empty(), "what waits is written before the end");
    let files = folder.files();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(files[0], ("2020-notes.json".to_owned(), "mine".to_owned()), "what is no report stays");
    for (report, (name, text)) in kept.all()[2..].iter().zip(&files[1..]) {
        assert!(name.ends_with(&format!("-{}.json", report.id)), "{name}");
        assert_eq!(*text, report.to_json());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

#[tokio::test]
async fn the_configuration_names_who_is_told() {
    let root = Temporary::new("configured");
    let configured = |toml: &str| {
        let loader = Loader::new().environment("development").root(&root.0).toml(toml);
        ErrorPages::new().reporters(&loader.load().unwrap().reports)
    };
    assert!(!site(configured("").unwrap()).check().unwrap().stack_table().contains("reporters="));
    let app = site(configured("[reports]\nfolder = 'kept'\nkeep = 2").unwrap());
    let table = app.check().unwrap().stack_table();
    assert!(table.contains(&format!("reporters=folder {}", root.0.join("kept").display())), "{table}");
    let life = Life::start(&app).unwrap();
    for id in 0..3 {
        app.call(request("GET", &format!("/users/{id}"), &[], "")).await;
    }
    assert!(life.end(Duration::from_secs(10)).await.is_empty());
    assert_eq!(std::fs::read_dir(root.0.join("kept")).unwrap().count(), 2);

    // Half a configuration is no mail at all, and is found out before it is needed.
    let error = configured("[reports.mail]\nto = 'ops@example.org'").err().unwrap();
    let error = error.chain().collect::<Vec<_>>().join(": ");
    let expected = match cfg!(feature = "mail") {
        true => "reading `reports.mail`: expected a mail server as",
        false => "`reports.mail` is configured, which needs Purlin's feature `mail`",
    };
    assert!(error.starts_with(expected), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_stops_the_start() {
    let file = Temporary::new("file");
    std::fs::write(&file.0, "").unwrap();
    let app = Stack::new().layer(ErrorPages::new().reporter(Folder::new(file.0.join("x")))).app(Router::new());
    let error = format!("{:#}", Life::start(&app).unwrap_err());
    assert!(error.contains("making the folder of reports"), "{error}");
    std::fs::remove_file(&file.0).unwrap();
}

#[tokio::test]
async fn a_panic_in_a_layer_gets_a_page_and_a_report() {
    async fn layer(req: Request, next: purlin::Next<'_>) -> Result<Response> {
        let response = next.call(req).await;
        assert!(!response.status().is_success(), "the layer's own");
        Ok(response)
    }
    let kept = Kept::default();
    let app = Stack::new()
        .layer(RequestIds::new())
        .layer(ErrorPages::new().reporter(kept.clone()))
        .layer(layer)
        .app(Router::new().route("/", get(async || "hello")));
    let response = app.call(request("GET", "/", &[("accept", BROWSER)], "")).await;
    assert_eq!(response.status(), 500);
    assert!(response.headers().contains_key("x-request-id"));
    let report = kept.only();
    assert!(report.panic && report.places[0].file().ends_with("tests/report.rs"), "{report}");
    assert!(body(response).await.contains(&report.id));
}

struct Panics;

impl Reporter for Panics {
    fn report(&self, _: &Arc<Report>) {
        panic!("out of paper");
    }
}

/// A value whose `Serialize` panics.
struct Hostile;

impl serde::Serialize for Hostile {
    fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        panic!("not for reports")
    }
}

#[tokio::test]
async fn neither_a_reporter_nor_a_value_that_panics_takes_the_answer_away() {
    let kept = Kept::default();
    let routes = Router::new().route("/", get(async || View::new("page.html", Hostile)));
    let pages = ErrorPages::new().reporter(Panics).reporter(kept.clone());
    let app = Stack::new().layer(pages).layer(Templates::new(Broken)).app(routes);
    let response = app.call(request("GET", "/", &[], "")).await;
    assert_eq!(response.status(), 500);
    let report = kept.only();
    assert!(body(response).await.contains(&report.id));
    assert_eq!(report.request, None, "without what was sent, which could not be told from what is secret");
}

#[tokio::test]
async fn the_log_has_one_event_for_a_failure_and_the_access_log_names_the_report() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()).reporter(Log::new()));
    let response = app.call(request("GET", "/users/17?q=1", &[("x-request-id", "r-1")], "")).await;
    assert_eq!(response.extensions().get::<Arc<Report>>().unwrap().id, kept.only().id);
    drop(guard);
    let (text, report) = (lines.text(), kept.only());
    let events: Vec<&str> = text.lines().filter(|line| line.contains("purlin::report")).collect();
    assert_eq!(events.len(), 1, "{text}");
    for part in [
        "ERROR",
        &format!("report=\"{}\"", report.id),
        &format!("fingerprint=\"{}\"", report.fingerprint),
        "error=\"counting the friends of user 17: invalid digit found in string\"",
        "route=\"/users/{id}\"",
        "url=\"/users/17?q=1\"",
        "place=tests/report.rs:",
    ] {
        assert!(events[0].contains(part), "{part}: {}", events[0]);
    }
    let access = text.lines().find(|line| line.contains("purlin::access: method")).unwrap();
    assert!(access.contains(&format!("report=\"{}\"", report.id)), "{access}");
}

#[tokio::test]
async fn without_the_layer_a_failure_is_a_bare_status_and_one_event() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let app = Stack::new().layer(AccessLog::new()).app(Router::new().route("/users/{id}", get(user)));
    let response = app.call(request("GET", "/users/17", &[], "")).await;
    drop(guard);
    assert_eq!((response.status().as_u16(), response.body().len()), (500, Some(0)));
    assert_eq!(lines.text().lines().count(), 1, "{}", lines.text());
}

/// A value whose `Debug` panics.
struct Unspeakable;

impl std::fmt::Debug for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("words fail me")
    }
}

#[tokio::test]
async fn a_debug_that_panics_while_a_span_records_it_is_a_report_like_any_other() {
    let lines = Lines::default();
    let written = tracing_subscriber::fmt::layer().with_writer(lines.clone());
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recorder::new()).with(written));
    async fn records() -> String {
        let span = tracing::info_span!("telling", who = "ann", what = tracing::field::Empty);
        let _entered = span.enter();
        span.record("who", "bob");
        span.record("what", tracing::field::debug(Unspeakable));
        String::new()
    }
    let kept = Kept::default();
    let routes = Router::new().route("/", get(records));
    let app = Stack::new().layer(ErrorPages::new().log_lines(5).reporter(kept.clone())).app(routes);
    assert_eq!(app.call(request("GET", "/", &[], "")).await.status(), 500);
    let report = kept.only();
    assert!(report.panic && report.message == "words fail me", "{report}");
    assert_eq!((report.spans[0].name.as_str(), &report.spans[0].fields[0].1), ("telling", &"bob".to_owned()));
}

#[tokio::test]
async fn lines_of_the_log_are_recorded_if_asked_for_and_the_last_ones_only() {
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recorder::new()));
    for (most, expected) in [(0, vec![]), (2, vec!["line 3", "line 4"])] {
        let kept = Kept::default();
        let routes = Router::new().route(
            "/",
            get(async || -> Result<String> {
                for number in 0..5 {
                    tracing::info!("line {number}");
                    tokio::task::yield_now().await;
                }
                Err(Error::internal("stop"))
            }),
        );
        let app = Stack::new().layer(ErrorPages::new().log_lines(most).reporter(kept.clone())).app(routes);
        tracing::info!("before");
        app.call(request("GET", "/", &[], "")).await;
        let report = kept.only();
        let lines: Vec<&str> = report.log.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(lines, expected);
    }
}

#[tokio::test]
async fn a_secret_in_a_long_body_is_hidden_too() {
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()));
    let much = "x ".repeat(200 << 10);
    for (path, content_type, sent) in [
        ("/form", FORM, format!("name=ann&much={much}&password=l0ng-form")),
        ("/json", JSON, json!({ "much": much, "card": { "number": "l0ng-json" } }).to_string()),
        ("/form", FORM, format!("{}name=ann&password=m4ny-fields", "a=1&".repeat(900))),
    ] {
        let mut request = request("POST", path, &[content_type], "");
        *request.body_mut() = Body::from(sent);
        assert_eq!(app.call(request).await.status(), 500);
    }
    for (report, secret) in kept.all().iter().zip(["l0ng-form", "l0ng-json", "m4ny-fields"]) {
        let json = report.to_json();
        assert!(report.message.contains("•••") && !json.contains(secret), "{json}");
        assert!(json.len() < 64 << 10, "{} bytes", json.len());
    }
}

#[cfg(feature = "multipart")]
#[tokio::test]
async fn the_fields_of_a_form_with_files_are_in_the_report_and_their_secrets_are_not() {
    #[derive(serde::Deserialize)]
    struct Profile {
        name: String,
        password: String,
    }
    async fn upload(purlin::MultipartForm(profile, _): purlin::MultipartForm<Profile>) -> Result<String> {
        Err(Error::internal(format!("{} may not by {}", profile.name, profile.password)))
    }
    let kept = Kept::default();
    let app = Stack::new().layer(ErrorPages::new().reporter(kept.clone())).app(Router::new().route("/", post(upload)));
    let part =
        |name: &str, text: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let sent = part("name", "ann") + &part("password", "mult1part") + "--b--\r\n";
    let mut request = request("POST", "/", &[("content-type", "multipart/form-data; boundary=b")], "");
    *request.body_mut() = Body::from(sent);
    app.call(request).await;
    let report = kept.only();
    assert_eq!(report.message, "ann may not by •••");
    let fields = &report.request.as_ref().unwrap().form;
    assert_eq!(*fields, [("name".to_owned(), "ann".to_owned()), ("password".to_owned(), "•••".to_owned())]);
    assert!(!report.to_json().contains("mult1part"));
}

#[cfg(feature = "auth")]
#[tokio::test]
async fn a_report_names_who_was_known_to_be_signed_in() {
    use purlin::auth::{Account, CurrentUser, Token, Tokens};
    use purlin::layers::BearerAuth;

    struct Ann;

    impl Account for Ann {
        fn id(&self) -> String {
            "7".to_owned()
        }

        fn name(&self) -> String {
            "Ann".to_owned()
        }

        fn password_hash(&self) -> Option<&str> {
            Some("$argon2id$h4sh")
        }

        fn stamp(&self) -> &str {
            "st4mp"
        }
    }

    struct Anybody;

    impl Tokens for Anybody {
        type User = Ann;

        async fn by_token(&self, _: &Token) -> Result<Option<Ann>> {
            Ok(Some(Ann))
        }
    }

    async fn fails(user: CurrentUser<Ann>) -> Result<String> {
        Err(Error::internal(format!("{} {:?}", user.stamp(), user.password_hash())))
    }

    let kept = Kept::default();
    let routes = Router::new().route("/", get(fails));
    let app = Stack::new().layer(ErrorPages::new().reporter(kept.clone())).layer(BearerAuth::new(Anybody)).app(routes);
    app.call(request("GET", "/", &[("authorization", "Bearer t0ken-of-ann")], "")).await;
    let report = kept.only();
    let user = report.user.as_ref().unwrap();
    assert_eq!((user.id.as_str(), user.name.as_str()), ("7", "Ann"));
    for secret in ["st4mp", "h4sh", "t0ken-of-ann"] {
        assert!(!report.to_json().contains(secret), "{secret}: {report}");
    }
}
