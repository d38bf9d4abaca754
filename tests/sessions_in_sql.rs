//! Sessions in SQLite and PostgreSQL: what only a file, or a server of one's own, can do to them.

use purlin::layers::Sessions;
use purlin::session::Store;
use purlin::site::Life;
use purlin::{Result, Router, Service, Session, Stack, get};

async fn count(session: Session) -> Result<String> {
    Ok(session.increment("n", 1)?.to_string())
}

async fn sign_in(session: Session) -> Result<&'static str> {
    session.rotate();
    session.insert("user", "Ada")?;
    Ok("")
}

fn site(store: impl Store) -> impl Service + 'static {
    let routes = Router::new().route("/", get(async || "no session")).route("/count", get(count));
    Stack::new().layer(Sessions::new(store)).app(routes.route("/sign-in", get(sign_in)))
}

/// Why a site does not start.
fn refusal(store: impl Store) -> String {
    format!("{:#}", Life::start(&site(store)).expect_err("it does not start"))
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use crate::servers::Folder;
    use purlin::session::{SqliteStore, contract::store_contract};
    use purlin::testing::Client;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn the_sqlite_store_keeps_the_contract() {
        let folder = Folder::new();
        let count = AtomicU32::new(0);
        store_contract(async || {
            let count = count.fetch_add(1, Ordering::Relaxed);
            SqliteStore::new(folder.path().join(format!("{count}.db")))
        })
        .await;
    }

    #[tokio::test]
    async fn sessions_outlive_the_site() {
        let folder = Folder::new();
        let file = folder.path().join("sessions.db");
        let client = Client::new(site(SqliteStore::new(&file)));
        assert_eq!(client.get("/count").await.text(), "1");
        let cookie = client.cookie("session").unwrap();
        drop(client);
        let client = Client::new(site(SqliteStore::new(&file)));
        client.set_cookie("session", &cookie);
        assert_eq!(client.get("/count").await.text(), "2");
    }

    #[tokio::test]
    async fn the_file_is_for_the_sites_user_and_opens_no_session() {
        let folder = Folder::new();
        let file = folder.path().join("sessions.db");
        let client = Client::new(site(SqliteStore::new(&file)));
        client.get("/count").await;
        client.get("/sign-in").await;
        let cookie = client.cookie("session").unwrap();
        for name in ["sessions.db", "sessions.db-wal"] {
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            let found = bytes.windows(cookie.len()).any(|window| window == cookie.as_bytes());
            assert!(!found, "{name} holds the cookie");
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{name}");
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_said_when_the_site_starts() {
        let folder = Folder::new();
        let nowhere = folder.path().join("no/such/sessions.db");
        let said = refusal(SqliteStore::new(&nowhere));
        assert!(said.contains("no/such/sessions.db cannot be used: there is no such folder; make it first"), "{said}");

        let text = folder.path().join("text.db");
        std::fs::write(&text, "certainly not a database, but long enough to be looked at by one".repeat(100)).unwrap();
        let said = refusal(SqliteStore::new(&text));
        assert!(
            said.contains("text.db cannot be used: if it is no SQLite database, or damaged, move it away"),
            "{said}"
        );
        assert!(said.contains("file is not a database"), "{said}");

        let said = refusal(SqliteStore::new(folder.path()));
        assert!(said.contains("the site's user must be allowed to read and write it"), "{said}");
        assert!(Life::start(&site(SqliteStore::new(folder.path().join("sessions.db")))).is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_while_the_site_runs_is_an_error_of_the_request_and_the_site_lives_on() {
        let folder = Folder::new();
        let file = folder.path().join("sessions.db");
        // So that there is something in the file, and not in the log alone.
        let client = Client::new(site(SqliteStore::new(&file)));
        client.get("/count").await;
        let cookie = client.cookie("session").unwrap();
        drop(client);
        let client = Client::new(site(SqliteStore::new(&file))).expect_errors();
        for name in ["sessions.db-wal", "sessions.db-shm"] {
            let _ = std::fs::remove_file(folder.path().join(name));
        }
        std::fs::write(&file, vec![0x5a; 16_384]).unwrap();
        client.set_cookie("session", &cookie);
        assert_eq!(client.get("/count").await.status(), 500);
        assert_eq!(client.get("/").await.text(), "no session");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_is_deleted_or_replaced_while_the_site_runs_is_a_503_until_it_is_back() {
        let folder = Folder::new();
        let (file, elsewhere) = (folder.path().join("sessions.db"), folder.path().join("moved.db"));
        let client = Client::new(site(SqliteStore::new(&file))).expect_errors();
        assert_eq!(client.get("/count").await.text(), "1");
        std::fs::rename(&file, &elsewhere).unwrap();
        for _ in 0..2 {
            assert_eq!(client.get("/count").await.status(), 503);
            let stranger = client.another_visitor();
            assert_eq!(stranger.get("/count").await.status(), 503, "no session begins in a file without a name");
            std::fs::write(&file, "").unwrap();
        }
        assert_eq!(client.get("/").await.text(), "no session");
        std::fs::rename(&elsewhere, &file).unwrap();
        assert_eq!(client.get("/count").await.text(), "2");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_somebody_keeps_locked_is_a_503_after_the_timeout() {
        use purlin::sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
        let folder = Folder::new();
        let file = folder.path().join("sessions.db");
        let store = SqliteStore::new(&file).timeout(std::time::Duration::from_millis(100));
        let client = Client::new(site(store)).expect_errors();
        assert_eq!(client.get("/count").await.text(), "1");
        let mut other = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        for _ in 0..5 {
            let answers = tokio::join!(client.get("/count"), client.get("/count"), client.get("/count"));
            assert_eq!([answers.0.status(), answers.1.status(), answers.2.status()], [503; 3]);
        }
        other.execute("COMMIT").await.unwrap();
        assert_eq!(client.get("/count").await.text(), "2", "who was answered 503 was not counted later");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_with_one_file_lose_no_count() {
        let folder = Folder::new();
        let file = folder.path().join("sessions.db");
        let one = Client::new(site(SqliteStore::new(&file)));
        let two = Client::new(site(SqliteStore::new(&file)));
        assert_eq!(one.get("/count").await.text(), "1");
        two.set_cookie("session", &one.cookie("session").unwrap());
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..100 {
            requests.spawn(one.get("/count").into_future());
            requests.spawn(two.get("/count").into_future());
        }
        assert!(requests.join_all().await.iter().all(|page| page.status() == 200));
        assert_eq!(one.get("/count").await.text(), "202");
    }

    /// How many transactions a log in the format of SQLite's WAL mode has: the frames that end one say how many pages the
    /// file has then, the others 0 (<https://www.sqlite.org/fileformat2.html#walformat>).
    fn commits(log: &[u8]) -> usize {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        let page = number(&log[8..]) as usize;
        log[32..].chunks(24 + page).filter(|frame| number(&frame[4..]) != 0).count()
    }

    #[tokio::test]
    async fn a_thousand_saves_at_once_share_a_few_commits() {
        use purlin::sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
        let folder = Folder::new();
        let file = folder.path().join("sessions.db");
        let client = Client::new(site(SqliteStore::new(&file).sync_every_commit(true)));
        assert_eq!(client.get("/count").await.text(), "1");
        // While somebody reads what was there, the log is not begun anew: all of it can be counted.
        let mut reader = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        reader.execute("BEGIN; SELECT count(*) FROM purlin_session").await.unwrap();
        let counted = || commits(&std::fs::read(folder.path().join("sessions.db-wal")).unwrap());
        let before = counted();
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let visitor = client.another_visitor();
            requests.spawn(visitor.get("/count").into_future());
        }
        assert!(requests.join_all().await.iter().all(|page| page.status() == 200));
        let commits = counted() - before;
        assert!((1..=20).contains(&commits), "{commits} commits, each of which waits for the disk");
    }

    #[tokio::test]
    async fn ended_sessions_are_collected_however_many_they_are() {
        use purlin::sqlx::{self, ConnectOptions, sqlite::SqliteConnectOptions};
        let folder = Folder::new();
        let file = folder.path().join("sessions.db");
        let store = std::sync::Arc::new(SqliteStore::new(&file));
        let client = Client::new(site(store.clone()));
        assert_eq!(client.get("/count").await.text(), "1");
        let mut other = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        let insert = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 2500) \
                      INSERT INTO purlin_session SELECT randomblob(32), '{}', 1, n, NULL FROM number";
        sqlx::query(insert).execute(&mut other).await.unwrap();
        assert_eq!(store.collect(2400).await.unwrap(), 2400);
        assert_eq!(store.collect(2600).await.unwrap(), 100);
        assert_eq!(client.get("/count").await.text(), "2");
    }

    #[tokio::test]
    async fn a_file_of_a_newer_version_is_not_touched() {
        use purlin::sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
        let folder = Folder::new();
        let file = folder.path().join("sessions.db");
        assert!(Life::start(&site(SqliteStore::new(&file))).is_ok());
        let mut other = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        other.execute("UPDATE purlin_session_version SET version = 2").await.unwrap();
        let said = refusal(SqliteStore::new(&file));
        assert!(said.contains("sessions.db cannot be used: give this site another file"), "{said}");
        assert!(said.contains("expected version 1 or one before, found 2, of a newer Purlin"), "{said}");
    }

    /// A process that writes sessions and says so, until it is killed.
    #[cfg(unix)]
    mod killed {
        use super::*;
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};

        #[tokio::test]
        async fn what_is_acknowledged_survives_the_killed_process() {
            let folder = Folder::new();
            let file = folder.path().join("sessions.db");
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "sessions_in_sql::sqlite::killed::a_writer_for_the_test_above",
                    "--ignored",
                    "--nocapture",
                ])
                .env("PURLIN_TEST_FILE", &file)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut acknowledged = Vec::new();
            while acknowledged.len() < 50 {
                let line = lines.next().expect("it goes on").unwrap();
                acknowledged.extend(line.strip_prefix("written ").map(str::to_owned));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            // Also those that it said before it was gone.
            acknowledged
                .extend(lines.map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("written ")?.to_owned())));
            let client = Client::new(site(SqliteStore::new(&file)));
            for cookie in acknowledged {
                client.set_cookie("session", &cookie);
                assert_eq!(client.get("/count").await.text(), "2");
            }
        }

        #[tokio::test]
        #[ignore = "a part of another test"]
        async fn a_writer_for_the_test_above() {
            let store = std::sync::Arc::new(SqliteStore::new(std::env::var_os("PURLIN_TEST_FILE").unwrap()));
            loop {
                let client = Client::new(site(store.clone()));
                assert_eq!(client.get("/count").await.text(), "1");
                println!("written {}", client.cookie("session").unwrap());
            }
        }
    }
}

#[cfg(all(feature = "postgres", unix))]
mod postgres {
    use super::*;
    use crate::servers::postgres::{Postgres, store};
    use purlin::session::{PostgresStore, contract::store_contract};
    use purlin::testing::Client;
    use std::sync::Mutex;

    #[tokio::test]
    async fn the_postgres_store_keeps_the_contract() {
        let databases = Mutex::new(Vec::new());
        if store().is_none() {
            return;
        }
        store_contract(async || {
            let database = store().expect("it was there");
            let store = database.store();
            databases.lock().unwrap().push(database);
            store
        })
        .await;
    }

    #[tokio::test]
    async fn two_servers_that_start_at_once_both_start() {
        let Some(database) = store() else { return };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async { Life::start(&site(database.store())).map(drop).unwrap() });
                });
            }
        });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_visitor_whose_session_is_locked_keeps_nobody_else_from_theirs() {
        use purlin::sqlx::{Connection, Executor, PgConnection};
        let Some(server) = Postgres::new() else { return };
        let store = PostgresStore::new(&server.url()).timeout(std::time::Duration::from_millis(300));
        let client = Client::new(site(store)).expect_errors();
        assert_eq!(client.get("/count").await.text(), "1");
        let other = client.another_visitor();
        assert_eq!(other.get("/count").await.text(), "1");
        let cookie = client.cookie("session").unwrap();
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        let lock =
            "BEGIN; SELECT 1 FROM purlin_session WHERE key = (SELECT key FROM purlin_session LIMIT 1) FOR UPDATE";
        connection.execute(lock).await.unwrap();
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..30 {
            requests.spawn(client.get("/count").into_future());
        }
        assert!(requests.join_all().await.iter().all(|page| page.status() == 503));
        assert_eq!(other.get("/count").await.text(), "2");
        connection.execute("COMMIT").await.unwrap();
        client.set_cookie("session", &cookie);
        assert_eq!(client.get("/count").await.text(), "2");
    }

    #[tokio::test]
    async fn ended_sessions_are_collected_but_for_those_that_somebody_works_on() {
        use purlin::sqlx::{self, Connection, Executor, PgConnection};
        let Some(server) = Postgres::new() else { return };
        let store = PostgresStore::new(&server.url());
        assert_eq!(store.collect(2400).await.unwrap(), 0);
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        let insert = "INSERT INTO purlin_session \
                      SELECT sha256(n::text::bytea), '{}', 1, n, NULL FROM generate_series(1, 2500) AS n";
        sqlx::query(insert).execute(&mut connection).await.unwrap();
        connection.execute("BEGIN; SELECT 1 FROM purlin_session WHERE expires = 7 FOR UPDATE").await.unwrap();
        assert_eq!(store.collect(2400).await.unwrap(), 2399);
        connection.execute("COMMIT").await.unwrap();
        assert_eq!(store.collect(2600).await.unwrap(), 101);
    }

    #[tokio::test]
    async fn tables_of_a_newer_version_are_not_touched() {
        use purlin::sqlx::{Connection, Executor, PgConnection};
        let Some(server) = Postgres::new() else { return };
        assert!(Life::start(&site(PostgresStore::new(&server.url()))).is_ok());
        let mut connection = PgConnection::connect(&server.url()).await.unwrap();
        connection.execute("UPDATE purlin_session_version SET version = 2").await.unwrap();
        let said = refusal(PostgresStore::new(&server.url()));
        assert!(said.contains("expected version 1 or one before, found 2, of a newer Purlin"), "{said}");
    }

    #[tokio::test]
    async fn a_restart_of_the_server_costs_no_session() {
        let Some(server) = Postgres::new() else { return };
        let client = Client::new(site(PostgresStore::new(&server.url()))).expect_errors();
        assert_eq!(client.get("/count").await.text(), "1");
        server.kill();
        assert_eq!(client.get("/count").await.status(), 503);
        assert_eq!(client.get("/").await.text(), "no session");
        server.start();
        assert_eq!(client.get("/count").await.text(), "2");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_when_the_site_starts_unless_it_need_not_be() {
        let there = "postgres://site:hunter2@localhost/site?host=/nowhere";
        let said = refusal(PostgresStore::new(there));
        assert!(said.contains("PostgreSQL is asked when the site starts, unless `check_at_start(false)`"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(Life::start(&site(PostgresStore::new(there).check_at_start(false))).is_ok());
        let client = Client::new(site(PostgresStore::new(there).check_at_start(false))).expect_errors();
        assert_eq!(client.get("/count").await.status(), 503);
        let said = refusal(PostgresStore::new("mysql://site:hunter2@localhost/site").check_at_start(false));
        assert!(said.contains("expected one such as postgres://"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
