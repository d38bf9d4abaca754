//! axum 0.8 with tower-sessions and its store in SQLite, whose file is opened as a careful site opens it: WAL, and each commit
//! on the disk before it is answered.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tower_sessions::{Session, SessionManagerLayer};
use tower_sessions_sqlx_store::SqliteStore;

async fn count(session: Session) -> Result<String, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let n: i64 = session.get("n").await.map_err(failed)?.unwrap_or(0) + 1;
    session.insert("n", n).await.map_err(failed)?;
    Ok(n.to_string())
}

#[tokio::main]
async fn main() {
    let file = std::env::var_os("PEERS_SQLITE").expect("PEERS_SQLITE names the folder of the file");
    let options = SqliteConnectOptions::new()
        .filename(std::path::Path::new(&file).join("axum.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let store = SqliteStore::new(SqlitePool::connect_with(options).await.expect("a file"));
    store.migrate().await.expect("a table");
    let routes = Router::new().route("/", get(count)).layer(SessionManagerLayer::new(store).with_secure(false));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("bound"));
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, routes).await.expect("serves until it is killed");
}
