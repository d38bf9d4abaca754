//! actix-web 4 with its usual middleware, put together as its documentation does.

use actix_session::storage::{CookieSessionStore, RedisSessionStore};
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::Key;
use actix_web::error::{ErrorBadRequest, ErrorInternalServerError};
use actix_web::http::header::LOCATION;
use actix_web::middleware::{Compress, DefaultHeaders, Logger};
use actix_web::{App, HttpResponse, HttpServer, Responder, web};
use std::time::Duration;
use tera::{Context, Tera};

async fn hello() -> &'static str {
    site::HELLO
}

async fn count(session: Session) -> actix_web::Result<String> {
    let n = session.get::<i64>("n")?.unwrap_or(0) + 1;
    session.insert("n", n)?;
    Ok(n.to_string())
}

async fn rows(tera: web::Data<Tera>) -> actix_web::Result<impl Responder> {
    let context = Context::from_serialize(&site::page()).map_err(ErrorInternalServerError)?;
    Ok(web::Html::new(tera.render(site::TEMPLATE.0, &context).map_err(ErrorInternalServerError)?))
}

async fn echo(note: web::Json<site::Note>) -> impl Responder {
    note
}

async fn sign(entry: web::Form<site::Entry>) -> actix_web::Result<HttpResponse> {
    if !entry.is_good() {
        return Err(ErrorBadRequest("no name, or too long a message"));
    }
    Ok(HttpResponse::SeeOther().insert_header((LOCATION, site::AFTER_FORM)).finish())
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    env_logger::init_from_env(env_logger::Env::new().default_filter_or("info"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    site::listening(listener.local_addr()?);
    let key = Key::generate();
    // Idle connections are closed after as long as by Purlin and nginx.
    let idle = Duration::from_secs(75);
    match site::mode().as_str() {
        "site" | "site-cookie" | "site-differs" => {
            let mut tera = Tera::new();
            tera.add_raw_template(site::TEMPLATE.0, site::TEMPLATE.1).expect("a template");
            let tera = web::Data::new(tera);
            HttpServer::new(move || {
                let mut headers = DefaultHeaders::new();
                for (name, value) in site::HEADERS {
                    headers = headers.add((name, value));
                }
                headers = headers.add(("x-request-id", site::REQUEST_ID));
                let mut app = App::new()
                    .wrap(SessionMiddleware::new(CookieSessionStore::default(), key.clone()))
                    .wrap(headers)
                    .wrap(Compress::default())
                    .wrap(Logger::default())
                    .app_data(web::PayloadConfig::new(2 << 20))
                    .app_data(tera.clone())
                    .route("/", web::get().to(hello))
                    .route("/count", web::get().to(count))
                    .route("/rows", web::get().to(rows))
                    .route("/json", web::post().to(echo))
                    .route("/form", web::post().to(sign));
                for n in 0..site::SECTIONS {
                    app = app.route(&format!("/section{n}/{{id}}"), web::get().to(hello));
                }
                app.service(actix_files::Files::new("/static", site::files()))
            })
            .workers(site::threads())
            .keep_alive(idle)
            .tcp_nodelay(true)
            .listen(listener)?
            .run()
            .await
        }
        "session-redis" => {
            let store = RedisSessionStore::new(site::redis()).await.expect("Redis is there");
            HttpServer::new(move || {
                let sessions = SessionMiddleware::builder(store.clone(), key.clone()).cookie_secure(false).build();
                App::new().wrap(sessions).route("/", web::get().to(count))
            })
            .workers(site::threads())
            .listen(listener)?
            .run()
            .await
        }
        _ => {
            let server = HttpServer::new(|| App::new().route("/", web::get().to(hello)));
            server.workers(site::threads()).keep_alive(idle).tcp_nodelay(true).listen(listener)?.run().await
        }
    }
}
