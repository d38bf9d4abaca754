//! A start page that counts visits, a guestbook with a form, public files; request ids, a log, compression, security headers,
//! error pages, a time limit, a body limit, cookies that are sealed, protection of forms, templates, and reload in development.

mod handlers;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use axum_extra::extract::cookie::Key;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tera::Tera;
use tower::ServiceBuilder;
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

#[derive(Clone)]
pub struct Shared {
    pub tera: Arc<Tera>,
    pub entries: Arc<Mutex<Vec<handlers::Entry>>>,
    key: Key,
}

impl FromRef<Shared> for Key {
    fn from_ref(shared: &Shared) -> Self {
        shared.key.clone()
    }
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut tera = Tera::new();
    tera.add_raw_templates([
        ("layout.html", include_str!("../templates/layout.html")),
        ("home.html", include_str!("../templates/home.html")),
        ("guestbook.html", include_str!("../templates/guestbook.html")),
    ])
    .expect("good templates");
    let shared = Shared { tera: Arc::new(tera), entries: Arc::default(), key: Key::generate() };
    let outer = ServiceBuilder::new()
        .set_x_request_id(MakeRequestUuid)
        .layer(TraceLayer::new_for_http())
        .propagate_x_request_id()
        .layer(CompressionLayer::new())
        .layer(SetResponseHeaderLayer::if_not_present(
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static("default-src 'self'"),
        ))
        .layer(SetResponseHeaderLayer::if_not_present(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        ));
    // Its bodies fail with another type than those above take: so by itself.
    let reload = tower_livereload::LiveReloadLayer::new();
    let inner = ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(30)))
        .layer(RequestBodyLimitLayer::new(2 << 20))
        .layer(CsrfLayer::new());
    let app = Router::new()
        .route("/", get(handlers::home))
        .route("/guestbook", get(handlers::guestbook).post(handlers::sign))
        .nest_service("/static", ServeDir::new("static"))
        .with_state(shared)
        .layer(inner)
        .layer(reload)
        .layer(outer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await.expect("a free port");
    let stopped = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, app).with_graceful_shutdown(stopped).await.expect("serves until it is stopped");
}
