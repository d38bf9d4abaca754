//! SQLite: its file, its one writer, and the promises of all databases.

// One file for both: what is promised is promised for each.
#[allow(clippy::duplicate_mod)]
#[path = "promises.rs"]
mod promises;

use crate::servers::Folder;
use purlin::config::{Loader, Secret};
use purlin::database::{Database, Tx};
use purlin::layers::Transaction;
use purlin::sqlx;
use purlin::testing::Client;
use purlin::{Assets, Config, Result, Router, Stack, State, get, post};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) type Db = sqlx::Sqlite;

fn open(config: &Config, migrations: Assets) -> Result<Database<Db>> {
    Database::sqlite(config, migrations)
}

/// With a new database for each site.
fn config() -> Option<(Config, ())> {
    Some((Loader::new().environment("test").load().unwrap(), ()))
}

/// With one database, which goes with the folder.
fn lasting() -> Option<(Config, Folder)> {
    let folder = Folder::new();
    let mut config = Loader::new().environment("test").root(folder.path()).load().unwrap();
    config.database.temporary = false;
    config.database.url = Secret::new("sqlite:data/site.db");
    Some((config, folder))
}

const GUESTS: Assets = Assets::embedded(&[("0001_guest.sql", b"CREATE TABLE guest (name TEXT)")]);

fn start(database: &Database<Db>) -> Result<()> {
    purlin::site::Life::start(&Stack::new().layer(database.clone()).app(Router::new())).map(drop)
}

#[tokio::test]
async fn a_temporary_database_goes_with_its_site() {
    let (config, ()) = config().unwrap();
    let database = open(&config, GUESTS).unwrap();
    let place = database.to_string();
    let path = std::path::Path::new(place.strip_prefix("sqlite:").unwrap()).to_owned();
    let other = open(&config, GUESTS).unwrap();
    assert_ne!(place, other.to_string());
    let client = Client::new(Stack::new().layer(database).app(Router::new()));
    assert!(path.is_file());
    drop(client);
    assert!(!path.exists() && !path.parent().unwrap().exists());
}

#[tokio::test]
async fn the_file_is_in_the_sites_folder_and_made_by_migrating_only() {
    let (mut config, folder) = lasting().unwrap();
    config.database.migrate_at_start = false;
    let database = open(&config, GUESTS).unwrap();
    let error = format!("{:#}", start(&database).unwrap_err());
    assert!(error.contains("data/site.db lacks a migration: 0001_guest\n"), "{error}");
    let error = format!("{:#}", start(&open(&config, Assets::embedded(&[])).unwrap()).unwrap_err());
    assert!(error.contains("connecting to sqlite:") && error.contains("there is no such database"), "{error}");
    assert!(!folder.path().join("data").exists());
    database.migrate().await.unwrap();
    let file = folder.path().join("data/site.db");
    assert!(file.is_file());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the site's user alone may read it");
    }
    start(&database).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_another_process_is_just_making_is_not_missed() {
    for _ in 0..25 {
        let (config, _folder) = lasting().unwrap();
        let asked = || {
            let database = open(&config, GUESTS).unwrap();
            tokio::spawn(async move { database.migrations().await.map(|all| all.len()) })
        };
        let migrated = || {
            let database = open(&config, GUESTS).unwrap();
            tokio::spawn(async move { database.migrate().await.map(|all| all.len()) })
        };
        let (asked, migrated) = ([asked(), asked(), asked()], [migrated(), migrated(), migrated()]);
        for asked in asked {
            assert_eq!(asked.await.unwrap().unwrap(), 1, "pending or applied");
        }
        let mut ran = 0;
        for migrated in migrated {
            ran += migrated.await.unwrap().unwrap();
        }
        assert_eq!(ran, 1);
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_stops_the_start() {
    let (config, folder) = lasting().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/site.db"), [7; 8192]).unwrap();
    let error = format!("{:#}", start(&open(&config, GUESTS).unwrap()).unwrap_err());
    assert!(error.contains("file is not a database"), "{error}");
}

#[tokio::test]
async fn a_database_in_memory_is_refused() {
    let (mut config, _folder) = lasting().unwrap();
    for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite:x?mode=memory"] {
        config.database.url = Secret::new(url);
        let error = open(&config, GUESTS).unwrap_err().to_string();
        assert!(error.contains("expected a file, found a database in memory"), "{error}");
    }
}

#[derive(Clone, Default)]
struct Turn {
    writing: Arc<Notify>,
    go_on: Arc<Notify>,
}

async fn write_slowly(State(turn): State<Turn>, mut tx: Tx<Db>) -> Result<()> {
    sqlx::query("INSERT INTO guest VALUES ('slow')").execute(&mut *tx).await?;
    turn.writing.notify_one();
    turn.go_on.notified().await;
    Ok(())
}

async fn write(mut tx: Tx<Db>) -> Result<()> {
    // Reads first: as a reader that wants to write it would be refused, since another has written meanwhile.
    let _: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&mut *tx).await?;
    sqlx::query("INSERT INTO guest VALUES ('quick')").execute(&mut *tx).await?;
    Ok(())
}

async fn read(mut tx: Tx<Db>) -> Result<String> {
    let guests: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&mut *tx).await?;
    Ok(format!("{guests} guests"))
}

fn busy_site(config: &Config) -> (Client, Turn) {
    let database = open(config, GUESTS).unwrap();
    let turn = Turn::default();
    let app = Stack::new()
        .layer(database.clone())
        .layer(State(turn.clone()))
        .layer(Transaction::new(database.pool()))
        .app(Router::new().route("/", get(read).post(write)).route("/slowly", post(write_slowly)));
    (Client::new(app).expect_errors(), turn)
}

#[tokio::test]
async fn readers_do_not_wait_for_a_writer_and_writers_take_turns() {
    let (client, turn) = busy_site(&config().unwrap().0);
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.post("/slowly").await.status() }
    });
    turn.writing.notified().await;
    client.get("/").await.assert_contains("0 guests");
    let quick: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.post("/").await.status() })
        })
        .collect();
    turn.go_on.notify_one();
    assert_eq!(slow.await.unwrap(), 200);
    for quick in quick {
        assert_eq!(quick.await.unwrap(), 200);
    }
    client.get("/").await.assert_contains("5 guests");
}

#[tokio::test]
async fn a_writer_that_waits_too_long_is_told_503() {
    let (mut config, ()) = config().unwrap();
    config.database.acquire_timeout = Duration::from_millis(200);
    let (client, turn) = busy_site(&config);
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.post("/slowly").await.status() }
    });
    turn.writing.notified().await;
    let answer = client.post("/").await;
    answer.assert_status(503);
    let error = format!("{:#}", answer.error().unwrap());
    assert!(error.contains("beginning the request's transaction") && error.contains("database is locked"), "{error}");
    turn.go_on.notify_one();
    assert_eq!(slow.await.unwrap(), 200);
    client.post("/").await.assert_status(200);
}
