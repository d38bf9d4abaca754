//! actix-web 4 with its usual middleware, put together as its documentation does.

use actix_session::storage::{CookieSessionStore, RedisSessionStore};
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::Key;
use actix_web::middleware::{Compress, DefaultHeaders, Logger};
use actix_web::{App, HttpServer, web};

async fn hello() -> &'static str {
    peers::HELLO
}

async fn count(session: Session) -> actix_web::Result<String> {
    let n = session.get::<i64>("n")?.unwrap_or(0) + 1;
    session.insert("n", n)?;
    Ok(n.to_string())
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let workload = peers::workload();
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    peers::listening(listener.local_addr()?);
    let key = Key::generate();
    match workload.as_str() {
        "full" => {
            HttpServer::new(move || {
                let mut headers = DefaultHeaders::new();
                for (name, value) in peers::HEADERS {
                    headers = headers.add((name, value));
                }
                headers = headers.add(("x-request-id", "0123456789abcdefghjk"));
                let mut app = App::new()
                    .wrap(SessionMiddleware::builder(CookieSessionStore::default(), key.clone()).cookie_secure(false).build())
                    .wrap(headers)
                    .wrap(Compress::default())
                    .wrap(Logger::new("%r %s %D"))
                    .app_data(web::PayloadConfig::new(2 << 20))
                    .route("/", web::get().to(hello));
                for n in 0..peers::ROUTES {
                    app = app.route(&format!("/section{n}/{{id}}"), web::get().to(hello));
                }
                app
            })
            .workers(2)
            .listen(listener)?
            .run()
            .await
        }
        "file" => {
            HttpServer::new(|| App::new().service(actix_files::Files::new("/static", peers::files())))
                .workers(2)
                .listen(listener)?
                .run()
                .await
        }
        "session-redis" => {
            let store = RedisSessionStore::new(peers::redis()).await.expect("Redis is there");
            HttpServer::new(move || {
                let sessions = SessionMiddleware::builder(store.clone(), key.clone()).cookie_secure(false).build();
                App::new().wrap(sessions).route("/", web::get().to(count))
            })
            .workers(2)
            .listen(listener)?
            .run()
            .await
        }
        _ => HttpServer::new(|| App::new().route("/", web::get().to(hello))).workers(2).listen(listener)?.run().await,
    }
}
