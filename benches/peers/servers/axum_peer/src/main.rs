//! axum 0.8 with tower-http, tower-sessions and Tera, put together as their documentation does.

use axum::extract::{DefaultBodyLimit, FromRef, Multipart, State};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use axum_extra::extract::cookie::{Cookie, Key, PrivateCookieJar, SameSite};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tera::{Context, Tera};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tower::ServiceBuilder;
use tower_http::CompressionLevel;
use tower_http::ServiceBuilderExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::csrf::CsrfLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::MakeRequestUuid;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};
use tower_sessions_14 as sessions;
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};

#[derive(Clone)]
struct Shared {
    tera: Arc<Tera>,
    key: Key,
}

impl FromRef<Shared> for Key {
    fn from_ref(shared: &Shared) -> Self {
        shared.key.clone()
    }
}

async fn hello() -> &'static str {
    site::HELLO
}

fn failed<E>(_: E) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn count(session: Session) -> Result<String, StatusCode> {
    let n: i64 = session.get("n").await.map_err(failed)?.unwrap_or(0) + 1;
    session.insert("n", n).await.map_err(failed)?;
    Ok(n.to_string())
}

/// tower-sessions keeps none in cookies.
async fn count_in_cookie(jar: PrivateCookieJar) -> (PrivateCookieJar, String) {
    let n = jar.get("session").and_then(|cookie| cookie.value().parse::<i64>().ok()).unwrap_or(0) + 1;
    let cookie =
        Cookie::build(("session", n.to_string())).path("/").secure(true).http_only(true).same_site(SameSite::Lax);
    (jar.add(cookie), n.to_string())
}

async fn rows(State(shared): State<Shared>) -> Result<Html<String>, StatusCode> {
    let context = Context::from_serialize(&site::page()).map_err(failed)?;
    Ok(Html(shared.tera.render(site::TEMPLATE.0, &context).map_err(failed)?))
}

async fn echo(Json(note): Json<site::Note>) -> Json<site::Note> {
    Json(note)
}

async fn sign(Form(entry): Form<site::Entry>) -> Result<Redirect, StatusCode> {
    if !entry.is_good() {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(Redirect::to(site::AFTER_FORM))
}

fn site(mode: &str) -> Router {
    let mut tera = Tera::new();
    tera.add_raw_template(site::TEMPLATE.0, site::TEMPLATE.1).expect("a template");
    let mut routes = Router::new()
        .route("/", get(hello))
        .route("/rows", get(rows))
        .route("/json", post(echo))
        .route("/form", post(sign))
        .nest_service("/static", ServeDir::new(site::files()));
    for n in 0..site::SECTIONS {
        routes = routes.route(&format!("/section{n}/{{id}}"), get(hello));
    }
    routes = match mode {
        "site-cookie" => routes.route("/count", get(count_in_cookie)),
        _ => routes.route("/count", get(count)).layer(SessionManagerLayer::new(MemoryStore::default())),
    };
    let layers = ServiceBuilder::new()
        .layer(CompressionLayer::new().quality(CompressionLevel::Precise(site::GZIP as i32)))
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(30)))
        .layer(RequestBodyLimitLayer::new(2 << 20))
        .layer(CsrfLayer::new());
    let mut routes = routes.with_state(Shared { tera: Arc::new(tera), key: Key::generate() }).layer(layers);
    for (name, value) in site::HEADERS {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        routes = routes.layer(SetResponseHeaderLayer::if_not_present(name, value));
    }
    if mode == "site-cached" {
        routes = routes.layer(axum_response_cache::CacheLayer::with_lifespan(Duration::from_secs(3600)));
    }
    let traced = ServiceBuilder::new()
        .set_x_request_id(MakeRequestUuid)
        .layer(
            TraceLayer::new_for_http()
                .on_response(|response: &axum::http::Response<_>, latency: Duration, _: &tracing::Span| {
                    tracing::info!(status = response.status().as_u16(), ms = latency.as_secs_f64() * 1000.0);
                })
                .make_span_with(|request: &Request<_>| {
                    tracing::info_span!("request", method = %request.method(), path = request.uri().path())
                }),
        )
        .propagate_x_request_id();
    routes.layer(traced)
}

async fn count_14(session: sessions::Session) -> Result<String, StatusCode> {
    let n: i64 = session.get("n").await.map_err(failed)?.unwrap_or(0) + 1;
    session.insert("n", n).await.map_err(failed)?;
    Ok(n.to_string())
}

fn counting(store: impl sessions::SessionStore + Clone) -> Router {
    Router::new().route("/", get(count_14)).layer(sessions::SessionManagerLayer::new(store).with_secure(false))
}

async fn redis() -> RedisStore<Pool> {
    let config = Config::from_url(&site::redis()).expect("a URL");
    let pool = Pool::new(config, None, None, None, 6).expect("a pool");
    pool.connect();
    pool.wait_for_connect().await.expect("Redis is there");
    RedisStore::new(pool)
}

/// Reads a form and throws it away.
async fn discard(mut form: Multipart) -> String {
    let mut length = 0;
    while let Some(mut field) = form.next_field().await.expect("a form") {
        while let Some(piece) = field.chunk().await.expect("a form") {
            length += piece.len();
        }
    }
    length.to_string()
}

/// Keeps its file in a temporary one, as axum's example `stream-to-file` does.
async fn keep(mut form: Multipart) -> String {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let path = site::files().join(format!("axum-{}", NAMES.fetch_add(1, Ordering::Relaxed)));
    let mut file = BufWriter::new(File::create(&path).await.expect("our own folder"));
    while let Some(mut field) = form.next_field().await.expect("a form") {
        while let Some(piece) = field.chunk().await.expect("a form") {
            file.write_all(&piece).await.expect("room");
        }
    }
    file.flush().await.expect("room");
    let length = file.get_ref().metadata().await.expect("it is there").len();
    tokio::fs::remove_file(&path).await.expect("it is there");
    length.to_string()
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mode = site::mode();
    let routes = match mode.as_str() {
        "site" | "site-cookie" | "site-memory" | "site-cached" | "site-differs" => site(&mode),
        "session-memory" => counting(sessions::MemoryStore::default()),
        "session-redis" => counting(redis().await),
        "uploads" => Router::new()
            .route("/count", post(discard))
            .route("/keep", post(keep))
            .layer(DefaultBodyLimit::max(1 << 30)),
        _ => Router::new().route("/", get(hello)),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    site::listening(listener.local_addr().expect("bound"));
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    // Without it each connection has a copy of all routes: of the site 131 KiB.
    axum::serve(listener, routes.into_make_service()).await.expect("serves until it is killed");
}
