//! What a request costs the whole server: instructions, counted by callgrind, which Debian's package `valgrind` has.
//!
//! `cargo bench --bench instructions` counts and compares with `benches/instructions.txt`; it fails if a request has come to cost
//! more than is written there. `cargo bench --bench instructions -- keep` writes the file anew. With the name of a workload behind it
//! (`-- profile full`) it leaves a profile of that for `callgrind_annotate`. With `--features cache` a page from the cache is counted, too.
//!
//! The server runs in one thread, over a stream in memory whose other end sends the next request when the last is answered. Each figure is
//! the difference of two runs of different length, so the start of the program is in none; and unlike times the figures are the
//! same on a busy machine. The tables of a run are keyed by chance, though, and now and then one is full of collisions: what comes to
//! more is counted again, and the least counts. What the system does for the server is not in them: reading, writing, looking at a file.

// By itself: with the rest of `measure` comes an allocator that counts.
#[path = "measure/callgrind.rs"]
mod callgrind;

use purlin::config::{LogConfig, LogFormat, SecretKeys};
use purlin::http::header::CONTENT_TYPE;
use purlin::layers::{
    AccessLog, BodyLimit, Compression, Csrf, Deadline, ErrorPages, Lint, RequestIds, SecurityHeaders, Sessions,
    StaticFiles, Templates,
};
use purlin::report::Log;
use purlin::session::{CookieStore, MemoryStore, Store};
use purlin::template::Tera;
use purlin::{
    Assets, Body, Form, HeaderName, HeaderValue, Json, Redirect, Response, Result, Router, Server, Service, Session,
    Stack, State, View, get, post,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is asked, and what has to be in the answer.
struct Workload {
    name: &'static str,
    words: &'static str,
    request: &'static str,
    /// The type of the body, and the body.
    body: Option<(&'static str, &'static str)>,
    answer: (u16, &'static str),
}

impl Workload {
    const fn get(name: &'static str, words: &'static str, path: &'static str, answer: (u16, &'static str)) -> Self {
        Self { name, words, request: path, body: None, answer }
    }
}

const WORKLOADS: &[Workload] = &[
    Workload::get("hyper", "raw hyper, plaintext", "/", (200, HELLO)),
    Workload::get("bare", "plaintext, no layer", "/", (200, HELLO)),
    Workload::get("hyper-full", "raw hyper, the bytes of the next", "/", (200, HELLO)),
    Workload::get("full", "plaintext through the whole stack", "/", (200, HELLO)),
    Workload::get("parameter", "the same, a route with a parameter", "/section7/12", (200, HELLO)),
    Workload::get("session-memory", "session counter, in memory", "/count", (200, "x-request-id")),
    Workload::get("session-cookie", "session counter, in a cookie", "/count", (200, "set-cookie")),
    Workload::get("page", "page of 50 rows", "/page", (200, "&lt;49&gt;")),
    Workload::get("page-gzip", "the same, compressed", "/page", (200, "content-encoding: gzip")),
    Workload::get(
        "differs-gzip",
        "a page that differs each time, compressed",
        "/differs",
        (200, "content-encoding: gzip"),
    ),
    #[cfg(feature = "cache")]
    Workload::get("cached", "the page of 50 rows, from the cache", "/page", (200, "cache-status: Purlin; hit")),
    Workload::get("file", "file of 1 KiB", "/static/small.css", (200, "{ color: #123456 }")),
    Workload::get("file-50k", "file of 50 KiB", "/static/large.js", (200, "var a = 12345678;")),
    Workload::get("not-modified", "304 for a file", "/static/small.css", (304, "etag")),
    Workload {
        name: "json",
        words: "JSON echo",
        request: "/echo",
        body: Some(("application/json", "{\"name\":\"Ada Lovelace\",\"age\":36,\"tags\":[\"a\"]}")),
        answer: (200, "Lovelace"),
    },
    Workload {
        name: "form",
        words: "form post and redirect",
        request: "/form",
        body: Some(("application/x-www-form-urlencoded", "name=Ada+Lovelace&message=Hello%21")),
        answer: (303, "location: /"),
    },
];

const HELLO: &str = "Hello, world!";

impl Workload {
    /// The request as a browser sends it; where nothing stands above the handler, as little as may be.
    fn request(&self, cookie: Option<&str>, etag: Option<&str>) -> String {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut request = format!("{method} {} HTTP/1.1\r\nHost: localhost\r\n", self.request);
        if !matches!(self.name, "hyper" | "bare") {
            request += "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
                        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
                        Accept-Language: de,en-US;q=0.7,en;q=0.3\r\nCookie: theme=dark";
            request.extend(cookie.into_iter().flat_map(|cookie| ["; ", cookie]));
            request += "\r\n";
        }
        if self.name.ends_with("gzip") {
            request += "Accept-Encoding: gzip, deflate, br, zstd\r\n";
        }
        request.extend(etag.into_iter().flat_map(|etag| ["If-None-Match: ", etag, "\r\n"]));
        if let Some((content_type, body)) = self.body {
            let length = body.len();
            request += "Origin: http://localhost\r\n";
            request += &format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}");
        } else {
            request += "\r\n";
        }
        request
    }
}

#[derive(Deserialize, Serialize)]
struct Person {
    name: String,
    age: u32,
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Message {
    name: String,
    message: String,
}

#[derive(Serialize)]
struct Row {
    id: u32,
    name: String,
    text: &'static str,
}

#[derive(Serialize)]
struct Page {
    title: Cow<'static, str>,
    rows: Vec<Row>,
}

const TEMPLATES: &[(&str, &[u8])] = &[(
    "page.html",
    b"<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{{ title }}</title></head>\n<body>\n<table>\n\
      {% for row in rows %}<tr><td>{{ row.id }}</td><td>{{ row.name }}</td><td>{{ row.text }}</td></tr>\n{% endfor %}\
      </table>\n</body>\n</html>\n",
)];

async fn hello() -> &'static str {
    HELLO
}

async fn count(session: Session) -> Result<String> {
    Ok(session.increment("n", 1)?.to_string())
}

async fn page() -> View {
    rows("Fifty rows".into())
}

async fn differs() -> View {
    static COUNT: AtomicU32 = AtomicU32::new(10_000);
    rows(COUNT.fetch_add(1, Ordering::Relaxed).to_string().into())
}

fn rows(title: Cow<'static, str>) -> View {
    let rows = (0..50).map(|id| Row { id, name: format!("row <{id}>"), text: "an entry of \"fifty\" & more" });
    View::new("page.html", Page { title, rows: rows.collect() })
}

async fn echo(Json(person): Json<Person>) -> Json<Person> {
    Json(person)
}

async fn form(Form(message): Form<Message>) -> Redirect {
    std::hint::black_box((message.name, message.message));
    Redirect::see_other("/")
}

/// What handlers of a site share.
#[derive(Clone)]
struct Shared(#[expect(dead_code)] Arc<()>);

/// The stack of a generated site, with 35 routes. The layer `Debugger` is left out: in a release build it is nothing.
fn whole(store: impl Store, files: PathBuf) -> Result<impl Service> {
    let mut routes = Router::new()
        .route("/", get(hello).name("home"))
        .route("/count", get(count))
        .route("/page", get(page))
        .route("/differs", get(differs))
        .route("/echo", post(echo))
        .route("/form", post(form));
    for n in 0..30 {
        routes = routes.route(&format!("/section{n}/{{id}}"), get(hello));
    }
    let tera = Arc::new(Tera::new(Assets::embedded(TEMPLATES)));
    let pages = ErrorPages::new().templates(tera.clone()).log_lines(50).reporter(Log::new());
    Ok(Stack::new()
        .layer(Lint::new())
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(Compression::new())
        .layer(SecurityHeaders::new())
        .layer(pages)
        .layer(Deadline::new(Duration::from_secs(30)))
        .layer(BodyLimit::new(2 << 20))
        .layer(StaticFiles::new(Assets::folder(files)))
        .layer(Sessions::new(store))
        .layer(Csrf::new())
        .layer(State(Shared(Arc::default())))
        .layer(Templates::new(tera))
        .app(routes))
}

/// The answers of raw hyper: the same bytes as the whole stack's.
async fn by_hand(full: bool) -> Result<Response, Infallible> {
    let mut response = Response::new(Body::from(HELLO));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if full {
        for (name, value) in [
            ("vary", "accept-encoding"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
            (
                "content-security-policy",
                "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; \
                 base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            ),
            ("x-request-id", "0123456789abcdefghjk"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    Ok(response)
}

/// The other end of the connection: asks again when the answer has left, so many times, and then hangs up.
struct Client {
    request: Vec<u8>,
    left: u32,
    waits: bool,
    answer: Vec<u8>,
    reader: Option<Waker>,
    /// Where the last answer goes.
    last: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Client {
    fn new(request: String, times: u32) -> Self {
        let request = request.into_bytes();
        Self { request, left: times, waits: false, answer: Vec::new(), reader: None, last: Arc::default() }
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waits {
            if !this.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                this.reader = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if this.left == 0 {
            *this.last.lock().expect("one thread") = std::mem::take(&mut this.answer);
        } else {
            this.left -= 1;
            this.waits = true;
            this.answer.clear();
            buf.put_slice(&this.request);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().answer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        slices.iter().for_each(|slice| this.answer.extend_from_slice(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // All these answers are written before they are flushed.
        if this.waits && !this.answer.is_empty() {
            this.waits = false;
            this.reader.iter().for_each(Waker::wake_by_ref);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Asks for the first time, for what is sent along from then on: the session's cookie, the file's tag.
async fn first(app: &Arc<impl Service + 'static>, workload: &Workload) -> Result<String> {
    let client = Client::new(workload.request(None, None), 1);
    let last = client.last.clone();
    Server::new().serve_connection(app.clone(), client).await?;
    let answer = String::from_utf8_lossy(&last.lock().expect("one thread")).into_owned();
    let header = |name: &str| answer.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
    let cookie = header("set-cookie: ").map(|cookie| cookie.split(';').next().unwrap_or_default().to_owned());
    let etag = header("etag: ").filter(|_| workload.name == "not-modified");
    Ok(workload.request(cookie.as_deref(), etag.as_deref()))
}

/// Has the workload's request answered so many times, and looks at the last answer.
async fn run(workload: &Workload, times: u32, files: &Path) -> Result<()> {
    let last = match workload.name {
        "hyper" | "hyper-full" => {
            let full = workload.name == "hyper-full";
            let client = Client::new(workload.request(None, None), times);
            let last = client.last.clone();
            let service = hyper::service::service_fn(move |_| by_hand(full));
            let builder = hyper::server::conn::http1::Builder::new();
            builder.serve_connection(hyper_util::rt::TokioIo::new(client), service).await?;
            last
        }
        "bare" => {
            let client = Client::new(workload.request(None, None), times);
            let last = client.last.clone();
            let app = Stack::new().app(Router::new().route("/", get(hello)));
            Server::new().serve_connection(app, client).await?;
            last
        }
        "session-cookie" => {
            through(whole(CookieStore::new(&SecretKeys::random()), files.to_path_buf())?, workload, times).await?
        }
        #[cfg(feature = "cache")]
        "cached" => {
            let site = whole(MemoryStore::new(), files.to_path_buf())?;
            let cached = Stack::new()
                .layer(RequestIds::new())
                .layer(AccessLog::new())
                .layer(purlin::layers::PageCache::new())
                .layer(purlin::layers::CacheFor::secs(3600))
                .app(site);
            through(cached, workload, times).await?
        }
        _ => through(whole(MemoryStore::new(), files.to_path_buf())?, workload, times).await?,
    };
    let answer = last.lock().expect("one thread");
    let answer = String::from_utf8_lossy(&answer);
    let (status, text) = workload.answer;
    let good = answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text);
    assert!(good, "{}: expected {status} with {text:?}, found {answer}", workload.name);
    Ok(())
}

async fn through(
    app: impl Service + 'static,
    workload: &Workload,
    times: u32,
) -> Result<Arc<std::sync::Mutex<Vec<u8>>>> {
    let app = Arc::new(app);
    let client = Client::new(first(&app, workload).await?, times);
    let last = client.last.clone();
    Server::new().serve_connection(app, client).await?;
    Ok(last)
}

/// The files that are asked for.
fn files() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("purlin-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("small.css"), &"a { color: #123456 }\n".repeat(50)[..1024])?;
    std::fs::write(folder.join("large.js"), &"var a = 12345678;\n".repeat(3000)[..50 * 1024])?;
    Ok(folder)
}

/// How many requests the two runs have.
const FEW: u32 = 200;
const MANY: u32 = 1000;

/// By how much more a request may cost than is written down, of a hundred.
const TOLERANCE: f64 = 2.0;

/// How often what comes to more is counted again.
const AGAIN: u32 = 3;

/// What the figures hang on beside the code: the compiler, and the library that copies and allocates.
fn made_by() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = said(&rustc, &["-V"]).unwrap_or_default();
    let libc = said("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_default();
    format!("{rustc}, {libc}, {}", std::env::consts::ARCH)
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let named = |name: &str| WORKLOADS.iter().find(|workload| workload.name == name);
    match arguments[..] {
        [] => compare(false),
        ["keep"] => compare(true),
        ["profile", name] if named(name).is_some() => {
            let to = format!("callgrind.{name}.out");
            callgrind::instructions(&["run", name, "2000"], Some(&to))
                .map_or_else(without_valgrind, |_| println!("callgrind_annotate {to}"));
            Ok(ExitCode::SUCCESS)
        }
        ["run", name, times] => {
            let Some(workload) = named(name) else {
                return Ok(ExitCode::FAILURE);
            };
            purlin::log::start(&{
                let mut log = LogConfig::default();
                log.format = LogFormat::Json;
                log
            })?;
            let files = files()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let done = runtime.block_on(run(workload, times.parse()?, &files));
            std::fs::remove_dir_all(&files)?;
            done.map(|()| ExitCode::SUCCESS)
        }
        _ => {
            let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
            eprintln!("expected nothing, `keep` or `profile NAME`, found {arguments:?}; names: {}", names.join(" "));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn without_valgrind() {
    println!("LEFT OUT: `valgrind` is not there to count");
}

/// Counts, and holds the figures against those that were kept; or keeps them.
fn compare(keep: bool) -> Result<ExitCode> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let made_by = made_by();
    let same = kept.lines().any(|line| line == format!("# {made_by}"));
    let mut file =
        format!("# Instructions for a request, by `cargo bench --bench instructions -- keep`, with\n# {made_by}\n");
    let mut failed = false;
    println!("{:<40}{:>12}{:>12}{:>9}", made_by, "kept", "now", "");
    for workload in WORKLOADS {
        let counted = |times: u32| callgrind::instructions(&["run", workload.name, &times.to_string()], None);
        let a_request = || {
            let (few, many) = counted(FEW).zip(counted(MANY))?;
            Some(many.saturating_sub(few) / u64::from(MANY - FEW))
        };
        let before =
            kept.lines().find_map(|line| line.strip_prefix(workload.name)?.strip_prefix(' ')?.parse::<u64>().ok());
        let more = |now: u64| before.map(|before| (now as f64 / before as f64 - 1.0) * 100.0);
        let regressed = |now| more(now).is_some_and(|more| more > TOLERANCE);
        let Some(mut now) = a_request() else {
            without_valgrind();
            return Ok(ExitCode::SUCCESS);
        };
        for _ in 0..AGAIN {
            if same && regressed(now) {
                now = a_request().unwrap_or(now).min(now);
            }
        }
        let _ = writeln!(file, "{} {now}", workload.name);
        let (more, regressed) = (more(now), regressed(now));
        failed |= regressed;
        let before = before.map(|before| before.to_string()).unwrap_or_default();
        let more = more.map(|more| format!("{more:+.1} %")).unwrap_or_default();
        println!("{:<40}{before:>12}{now:>12}{more:>9}{}", workload.words, if regressed { "  MORE" } else { "" });
    }
    if keep {
        std::fs::write(&path, file)?;
        println!("kept in {}", path.display());
    } else if !same {
        println!("LEFT OUT: the comparison, since the figures that were kept are those of another compiler or library");
    } else if failed {
        println!("FAILED: more than {TOLERANCE} % above what was kept; if it is worth it, keep it: `-- keep`");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
