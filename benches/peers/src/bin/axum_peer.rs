//! axum 0.8 with tower-http and tower-sessions, put together as their documentation does.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Multipart};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::routing::{get, post};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tower::ServiceBuilder;
use tower_http::ServiceBuilderExt;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::MakeRequestUuid;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_sessions::{MemoryStore, SessionManagerLayer};
use tower_sessions_14 as sessions;
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};

async fn hello() -> &'static str {
    peers::HELLO
}

fn full() -> Router {
    let mut routes = Router::new().route("/", get(hello));
    for n in 0..peers::ROUTES {
        routes = routes.route(&format!("/section{n}/{{id}}"), get(hello));
    }
    let layers = ServiceBuilder::new()
        .set_x_request_id(MakeRequestUuid)
        .layer(TraceLayer::new_for_http().on_response(
            |response: &axum::http::Response<_>, latency: Duration, _: &tracing::Span| {
                tracing::info!(status = response.status().as_u16(), ms = latency.as_secs_f64() * 1000.0);
            },
        ).make_span_with(|request: &Request<_>| {
            tracing::info_span!("request", method = %request.method(), path = request.uri().path())
        }))
        .propagate_x_request_id()
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(30)))
        .layer(RequestBodyLimitLayer::new(2 << 20));
    let mut routes = routes.layer(SessionManagerLayer::new(MemoryStore::default())).layer(layers);
    for (name, value) in peers::HEADERS {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        routes = routes.layer(SetResponseHeaderLayer::if_not_present(name, value));
    }
    routes
}

async fn count(session: sessions::Session) -> Result<String, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let n: i64 = session.get("n").await.map_err(failed)?.unwrap_or(0) + 1;
    session.insert("n", n).await.map_err(failed)?;
    Ok(n.to_string())
}

fn counting(store: impl sessions::SessionStore + Clone) -> Router {
    Router::new().route("/", get(count)).layer(sessions::SessionManagerLayer::new(store).with_secure(false))
}

async fn redis() -> RedisStore<Pool> {
    let config = Config::from_url(&peers::redis()).expect("a URL");
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
    let path = peers::files().join(format!("axum-{}", NAMES.fetch_add(1, Ordering::Relaxed)));
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
    let routes = match peers::workload().as_str() {
        "full" => full(),
        "file" => Router::new().nest_service("/static", ServeDir::new(peers::files())),
        "session-memory" => counting(sessions::MemoryStore::default()),
        "session-redis" => counting(redis().await),
        "uploads" => {
            Router::new().route("/count", post(discard)).route("/keep", post(keep)).layer(DefaultBodyLimit::max(1 << 30))
        }
        _ => Router::new().route("/", get(hello)),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    peers::listening(listener.local_addr().expect("bound"));
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, routes).await.expect("serves until it is killed");
}
