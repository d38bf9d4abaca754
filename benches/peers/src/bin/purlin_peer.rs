//! Purlin, with the stack that the generator writes.

use purlin::layers::{
    AccessLog, BodyLimit, Compression, Deadline, ErrorPages, RequestIds, SecurityHeaders, Sessions, StaticFiles, Templates, Uploads,
};
use purlin::config::{Listen, LogConfig, SecretKeys};
use purlin::session::{CookieStore, MemoryStore, RedisStore, SqliteStore, Store};
use purlin::template::Tera;
use purlin::{Assets, Multipart, MultipartForm, Result, Router, Server, Service, Session, Stack, get, post};
use std::sync::Arc;
use std::time::Duration;

async fn hello() -> &'static str {
    peers::HELLO
}

fn full() -> impl Service {
    let mut routes = Router::new().route("/", get(hello));
    for n in 0..peers::ROUTES {
        routes = routes.route(&format!("/section{n}/{{id}}"), get(hello));
    }
    let templates = Arc::new(Tera::new(Assets::embedded(&[])));
    Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(Compression::new())
        .layer(SecurityHeaders::new())
        .layer(ErrorPages::new().templates(templates.clone()))
        .layer(Deadline::new(Duration::from_secs(30)))
        .layer(BodyLimit::new(2 << 20))
        .layer(StaticFiles::new(Assets::folder(peers::files())))
        .layer(Sessions::new(CookieStore::new(&SecretKeys::random())))
        .layer(Templates::new(templates))
        .app(routes)
}

async fn count(session: Session) -> Result<String> {
    Ok(session.increment("n", 1)?.to_string())
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
        .layer(Uploads::new().folder(peers::files()))
        .app(Router::new().route("/count", post(discard)).route("/keep", post(keep)))
}

fn serve<S: Service + 'static>(app: S) -> purlin::Result<()> {
    let bound = Server::new().listen("127.0.0.1:0".parse::<Listen>()?).bind()?;
    if let Some(Listen::Tcp(address)) = bound.addresses().first() {
        peers::listening(*address);
    }
    bound.run(|| async { Ok(app) })
}

fn main() -> purlin::Result<()> {
    purlin::log::start(&LogConfig::default())?;
    match peers::workload().as_str() {
        "full" => serve(full()),
        "file" => {
            let files = StaticFiles::new(Assets::folder(peers::files()));
            serve(Stack::new().layer(files).app(Router::new()))
        }
        "session-memory" => serve(sessions(MemoryStore::new())),
        "session-redis" => serve(sessions(RedisStore::new(&peers::redis()))),
        "session-sqlite" => serve(sessions(SqliteStore::new(peers::sqlite().join("purlin.db")))),
        "uploads" => serve(uploads()),
        _ => serve(Stack::new().app(Router::new().route("/", get(hello)))),
    }
}
