//! Purlin, with the stack that the generator writes; the driver compares the two.

use purlin::config::{Config, Listen, Loader};
use purlin::layers::{
    AccessLog, BodyLimit, CacheFor, Compression, Csrf, Deadline, Debugger, ErrorPages, Lint, PageCache, RequestIds,
    SecurityHeaders, Sessions, StaticFiles, Templates, Uploads,
};
use purlin::report::Log;
use purlin::session::{CookieStore, MemoryStore, RedisStore, SqliteStore, Store};
use purlin::template::Tera;
use purlin::{
    Assets, Error, Form, Json, Multipart, MultipartForm, Redirect, Result, Router, Server, Service, Session, Stack,
    State, View, get, post,
};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

fn stack(config: Config, files: Assets, sessions: Sessions) -> Result<impl Service> {
    const TEMPLATES: &[(&str, &[u8])] = &[(site::TEMPLATE.0, site::TEMPLATE.1.as_bytes())];
    let tera = Tera::new(Assets::embedded(TEMPLATES)).reload(config.templates.reload);
    let tera = Arc::new(tera.configure(|tera| {
        tera.global_context().insert("site_name", "Peers");
    }));
    let pages = ErrorPages::new()
        .details(config.errors.details)
        .templates(tera.clone())
        .config(&config)
        .log_lines(50)
        .reporter(Log::new())
        .reporters(&config.reports)?;
    Ok(Stack::new()
        .layer(Lint::new())
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(Compression::new())
        .layer(SecurityHeaders::new().https(config.https))
        .layer(Debugger::new())
        .layer(pages)
        .layer(Deadline::new(config.answer_within))
        .layer(BodyLimit::new(config.body_limit))
        .layer(StaticFiles::new(files))
        .layer(sessions.https(config.https))
        .layer(Csrf::new())
        .layer(State(Guestbook))
        .layer(Templates::new(tera))
        .app(routes()))
}

fn routes() -> Router {
    let mut routes = Router::new()
        .route("/", get(hello))
        .route("/count", get(count))
        .route("/rows", get(rows))
        .route("/json", post(echo))
        .route("/form", post(sign));
    for n in 0..site::SECTIONS {
        routes = routes.route(&format!("/section{n}/{{id}}"), get(hello));
    }
    routes
}

/// What handlers share.
#[derive(Clone)]
struct Guestbook;

async fn hello() -> &'static str {
    site::HELLO
}

async fn count(session: Session) -> Result<String> {
    Ok(session.increment("n", 1)?.to_string())
}

async fn rows() -> View {
    View::new(site::TEMPLATE.0, site::page())
}

async fn echo(Json(note): Json<site::Note>) -> Json<site::Note> {
    Json(note)
}

async fn sign(State(_): State<Guestbook>, Form(entry): Form<site::Entry>) -> Result<Redirect> {
    if !entry.is_good() {
        return Err(Error::bad_request("no name, or too long a message"));
    }
    Ok(Redirect::see_other(site::AFTER_FORM))
}

/// As `embed!` has the files in the executable of a release build.
fn embedded() -> Assets {
    let files = site::read_files().into_iter();
    let files: Vec<(&str, &[u8])> = files.map(|(name, bytes)| (&*name.leak(), &*bytes.leak())).collect();
    Assets::embedded(files.leak())
}

/// The same below a cache of pages, which has an id and a line in the log for each request above it.
fn cached(app: impl Service + 'static) -> impl Service {
    Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(PageCache::new())
        .layer(CacheFor::secs(3600))
        .app(app)
}

fn sessions(store: impl Store) -> impl Service {
    Stack::new().layer(Sessions::new(store)).app(Router::new().route("/", get(count)))
}

/// Reads a form and throws it away.
async fn discard(mut form: Multipart) -> Result<String> {
    let mut length = 0;
    while let Some(mut part) = form.next().await? {
        while let Some(piece) = part.chunk().await? {
            length += piece.len();
        }
    }
    Ok(length.to_string())
}

/// Keeps its file in a temporary one.
async fn keep(MultipartForm((), mut files): MultipartForm<()>) -> Result<String> {
    Ok(files.require("f")?.len().to_string())
}

fn uploads() -> impl Service {
    Stack::new()
        .layer(BodyLimit::new(1 << 30))
        .layer(Uploads::new().folder(site::files()))
        .app(Router::new().route("/count", post(discard)).route("/keep", post(keep)))
}

fn serve<S: Service + 'static>(server: Server, app: S) -> Result<()> {
    let bound = server.listen("127.0.0.1:0".parse::<Listen>()?).bind()?;
    if let Some(Listen::Tcp(address)) = bound.addresses().first() {
        site::listening(*address);
    }
    bound.run(|| async { Ok(app) })
}

/// As a release build finds it, but for room for all of the idle connections; where it listens is left to `serve`.
fn config() -> Result<Config> {
    let random = || format!("{:016x}", RandomState::new().build_hasher().finish());
    let mut config = Loader::new()
        .environment("production")
        .toml("server.max_connections = 16384")
        .var("PURLIN__SECRET", [random(), random(), random(), random()].concat())
        .load()?;
    config.server.listen.clear();
    Ok(config)
}

fn main() -> Result<()> {
    let mode = site::mode();
    let config = config()?;
    purlin::log::start(&config.log)?;
    match mode.as_str() {
        "site" | "site-cookie" | "site-memory" | "site-folder" | "site-differs" => {
            let files = if mode == "site-folder" { Assets::folder(site::files()) } else { embedded() };
            let sessions = match mode.as_str() {
                "site-memory" => Sessions::new(MemoryStore::new()),
                _ => Sessions::new(CookieStore::new(&config.secret)),
            };
            serve(Server::from_config(&config.server), stack(config, files, sessions)?)
        }
        "site-cached" => {
            let sessions = Sessions::new(CookieStore::new(&config.secret));
            let app = stack(config.clone(), embedded(), sessions)?;
            serve(Server::from_config(&config.server), cached(app))
        }
        "session-memory" => serve(Server::new(), sessions(MemoryStore::new())),
        "session-redis" => serve(Server::new(), sessions(RedisStore::new(&site::redis()))),
        "session-sqlite" => serve(Server::new(), sessions(SqliteStore::new(site::sqlite().join("purlin.db")))),
        "uploads" => serve(Server::new(), uploads()),
        _ => serve(Server::new(), Stack::new().app(Router::new().route("/", get(hello)))),
    }
}
