//! PostgreSQL: a real server, and the promises of all databases.

// One file for both: what is promised is promised for each.
#[allow(clippy::duplicate_mod)]
#[path = "promises.rs"]
mod promises;

use crate::servers::postgres::{self, Postgres};
use purlin::config::{Loader, Secret};
use purlin::database::{Database, Tx};
use purlin::layers::Transaction;
use purlin::sqlx::{self, Connection, Executor};
use purlin::testing::Client;
use purlin::{Assets, Config, Result, Router, Stack, get, post};
use std::sync::LazyLock;
use std::time::Duration;

pub(crate) type Db = sqlx::Postgres;

fn open(config: &Config, migrations: Assets) -> Result<Database<Db>> {
    Database::postgres(config, migrations)
}

/// With a new database for each site.
fn config() -> Option<(Config, ())> {
    let mut config = Loader::new().environment("test").load().unwrap();
    config.database.url = Secret::new(postgres::url()?);
    Some((config, ()))
}

/// With one database, which goes with the second value.
fn lasting() -> Option<(Config, Database<Db>)> {
    let (mut config, ()) = config()?;
    let database = open(&config, Assets::embedded(&[])).unwrap();
    let url = postgres::named(config.database.url.expose_str(), name(&database.to_string()));
    config.database.url = Secret::new(url);
    config.database.temporary = false;
    Some((config, database))
}

/// Of a database, by its place: `postgres://127.0.0.1:5432/name`, or `postgres:name at /run/postgresql`.
fn name(place: &str) -> &str {
    let name = place.strip_prefix("postgres:").unwrap();
    match name.strip_prefix("//") {
        Some(url) => url.rsplit_once('/').unwrap().1,
        None => name.split(' ').next().unwrap(),
    }
}

const GUESTS: Assets = Assets::embedded(&[("0001_guest.sql", b"CREATE TABLE guest (name TEXT UNIQUE)")]);

async fn sign(mut tx: Tx<Db>) -> Result<()> {
    sqlx::query("INSERT INTO guest VALUES ('Ada')").execute(&mut *tx).await?;
    Ok(())
}

async fn count(mut tx: Tx<Db>) -> Result<String> {
    let guests: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&mut *tx).await?;
    Ok(format!("{guests} guests"))
}

#[tokio::test]
async fn a_temporary_database_goes_with_its_site() {
    let Some((config, ())) = config() else { return };
    let database = open(&config, GUESTS).unwrap();
    let name = database.to_string();
    let mut server = sqlx::PgConnection::connect(config.database.url.expose_str()).await.unwrap();
    let mut names = async || -> Vec<String> {
        sqlx::query_scalar("SELECT datname FROM pg_database").fetch_all(&mut server).await.unwrap()
    };
    let is_there =
        |names: Vec<String>| names.iter().any(|found| name.contains(found.as_str()) && found.contains("purlin_test"));
    assert!(is_there(names().await));
    let client = Client::new(Stack::new().layer(database).app(Router::new()));
    drop(client);
    assert!(!is_there(names().await));
}

#[tokio::test]
async fn a_database_that_is_not_there_is_made_by_migrating() {
    let Some((mut config, lent)) = lasting() else { return };
    // The name of one that has just been removed is nobody's.
    let place = lent.to_string();
    drop(lent);
    config.database.migrate_at_start = false;
    let database = open(&config, GUESTS).unwrap();
    let start = || purlin::site::Life::start(&Stack::new().layer(database.clone()).app(Router::new()));
    let error = start().unwrap_err().to_string();
    assert!(error.contains(&place) && error.contains("lacks a migration: 0001_guest\n"), "{error}");
    database.migrate().await.unwrap();
    drop(start().unwrap());
    let mut server = sqlx::PgConnection::connect(&postgres::url().unwrap()).await.unwrap();
    let drop_it = sqlx::AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", name(&place)));
    server.execute(drop_it).await.unwrap();
}

#[tokio::test]
async fn a_failed_statement_cannot_be_committed_in_silence() {
    async fn shrug(mut tx: Tx<Db>) -> Result<&'static str> {
        sqlx::query("INSERT INTO guest VALUES ('Ada')").execute(&mut *tx).await?;
        // The second is refused, and with it everything in the transaction.
        drop(sqlx::query("INSERT INTO guest VALUES ('Ada')").execute(&mut *tx).await);
        Ok("done")
    }
    let Some((config, ())) = config() else { return };
    let database = open(&config, GUESTS).unwrap();
    let app = Stack::new()
        .layer(database.clone())
        .layer(Transaction::new(database.pool()))
        .app(Router::new().route("/", get(count).post(shrug)));
    let client = Client::new(app).expect_errors();
    let answer = client.post("/").await;
    answer.assert_status(500).assert_lacks("done");
    let error = format!("{:#}", answer.error().unwrap());
    assert!(error.contains("a statement of it had failed, though the answer is good: nothing was written"), "{error}");
    client.get("/").await.assert_contains("0 guests");
}

#[tokio::test]
async fn the_server_keeps_the_limit_too() {
    async fn settings(mut tx: Tx<Db>) -> Result<String> {
        let statement: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&mut *tx).await?;
        let idle: String = sqlx::query_scalar("SHOW idle_in_transaction_session_timeout").fetch_one(&mut *tx).await?;
        Ok(format!("{statement} {idle}"))
    }
    let Some((config, ())) = config() else { return };
    let database = open(&config, GUESTS).unwrap();
    let app = Stack::new()
        .layer(database.clone())
        .layer(Transaction::new(database.pool()).limit(Duration::from_millis(1500)))
        .app(Router::new().route("/", get(settings)));
    Client::new(app).get("/").await.assert_contains("1500ms 1500ms");
    let mut connection = database.pool().acquire().await.unwrap();
    let after: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&mut *connection).await.unwrap();
    assert_eq!(after, "0", "for that transaction only");
}

#[tokio::test]
async fn of_two_that_cannot_both_be_one_is_told_503() {
    async fn count_up(mut tx: Tx<Db>) -> Result<()> {
        tx.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await?;
        let guests: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&mut *tx).await?;
        sqlx::query("INSERT INTO guest VALUES ($1)").bind(guests.to_string()).execute(&mut *tx).await?;
        // Both have read by now, and each has written what the other would have to have seen.
        BARRIER.wait().await;
        Ok(())
    }
    static BARRIER: LazyLock<tokio::sync::Barrier> = LazyLock::new(|| tokio::sync::Barrier::new(2));

    let Some((config, ())) = config() else { return };
    let migrations = Assets::embedded(&[("0001_guest.sql", b"CREATE TABLE guest (name TEXT)")]);
    let database = open(&config, migrations).unwrap();
    let app = Stack::new()
        .layer(database.clone())
        .layer(Transaction::new(database.pool()))
        .app(Router::new().route("/", get(count).post(count_up)));
    let client = Client::new(app).expect_errors();
    let post = || {
        let client = client.clone();
        tokio::spawn(async move { client.post("/").await.status().as_u16() })
    };
    let mut statuses = [post(), post()];
    let mut found = Vec::new();
    for status in &mut statuses {
        found.push(status.await.unwrap());
    }
    found.sort_unstable();
    assert_eq!(found, [200, 503]);
    client.get("/").await.assert_contains("1 guests");
}

#[tokio::test]
async fn a_server_that_is_away_is_503_and_is_used_again_when_it_is_back() {
    let Some(server) = own() else { return };
    let mut config = Loader::new().environment("test").load().unwrap();
    config.database.url = Secret::new(server.url());
    config.database.temporary = false;
    config.database.acquire_timeout = Duration::from_millis(300);
    let database = open(&config, GUESTS).unwrap();
    let app = Stack::new()
        .layer(database.clone())
        .layer(Transaction::new(database.pool()))
        .app(Router::new().route("/", get(count).post(sign)));
    let client = Client::new(app).expect_errors();
    client.post("/").await.assert_status(200);
    server.kill();
    client.get("/").await.assert_status(503);
    let error =
        format!("{:#}", purlin::site::Life::start(&Stack::new().layer(database).app(Router::new())).unwrap_err());
    assert!(error.contains("connecting to postgres://127.0.0.1:") && error.contains("/postgres (setting"), "{error}");
    server.start();
    client.get("/").await.assert_contains("1 guests");
}

fn own() -> Option<Postgres> {
    Postgres::new()
}

#[tokio::test]
async fn a_server_on_a_unix_socket_is_named_by_its_folder() {
    let mut config = Loader::new().environment("test").load().unwrap();
    config.database.temporary = false;
    config.database.url = Secret::new("postgres://me:hunter2@localhost/name?host=/run/postgresql");
    assert_eq!(open(&config, GUESTS).unwrap().to_string(), "postgres:name at /run/postgresql");
}

#[tokio::test]
async fn a_password_is_not_shown() {
    let mut config = Loader::new().environment("test").load().unwrap();
    config.database.temporary = false;
    config.database.acquire_timeout = Duration::from_millis(100);
    for url in [
        "postgres://me:hunter2@127.0.0.1:9/name",
        "postgres://me@127.0.0.1:9/name?password=hunter2",
        "postgres://me:hunter2@127.0.0.1:9/name?sslmode=no",
        "postgres://me:hunter2@127.0.0.1:port/name",
    ] {
        config.database.url = Secret::new(url);
        let mut shown = format!("{config:?}");
        match open(&config, GUESTS) {
            Ok(database) => {
                let app = Stack::new().layer(database.clone()).app(Router::new().route("/", post(async || "")));
                let table = app.check().unwrap().stack_table();
                assert!(table.contains("url=postgres://127.0.0.1:9/name"), "{table}");
                let error = purlin::site::Life::start(&app).unwrap_err();
                shown += &format!("{database} {database:?} {table} {error:#} {error:?}");
            }
            Err(error) => shown += &format!("{error:#} {error:?}"),
        }
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
