//! What is different between SQLite and PostgreSQL, as far as Purlin has to know.

use crate::config::DatabaseConfig;
use crate::{Error, Result};
use sqlx::migrate::Migrate;
use sqlx::{ConnectOptions, Connection};
use std::path::Path;
use std::time::Duration;

/// A database that a site can be built on: `sqlx::Sqlite` or `sqlx::Postgres`, by the features `sqlite` and `postgres`.
pub trait Dialect: sealed::Dialect {}

pub(super) mod sealed {
    use super::*;

    pub trait Dialect: sqlx::Database<Connection: Migrate + Connection<Options = <Self as Dialect>::Options>> {
        type Options: ConnectOptions<Connection = Self::Connection> + Clone + Send + Sync;

        /// What begins a step of migrating that no other process may take at the same time, where
        /// [`Migrate::lock`] does nothing.
        const EXCLUSIVE: Option<&'static str>;

        /// The settings as sqlx takes them.
        ///
        /// # Errors
        ///
        /// The URL is none of this database's.
        fn options(config: &DatabaseConfig, root: &Path) -> Result<Self::Options>;

        /// The database as a URL, without what is secret.
        fn place(options: &Self::Options) -> String;

        /// `None` where there is no such database.
        fn connect(options: &Self::Options) -> impl Future<Output = sqlx::Result<Option<Self::Connection>>> + Send;

        /// Makes the database, unless another process has done that meanwhile, and connects to it.
        fn make(options: &Self::Options) -> impl Future<Output = sqlx::Result<Self::Connection>> + Send;

        /// The statement that begins a request's transaction; `safe` for a method that is not meant to write.
        fn begin(safe: bool, limit: Duration) -> String;

        /// Fails for a transaction that is lost already and yet could be "committed".
        fn check(connection: &mut Self::Connection) -> impl Future<Output = sqlx::Result<()>> + Send;

        /// Whether what failed with this code may succeed in a moment.
        fn is_passing(code: &str) -> bool;

        fn will_pass(error: &sqlx::Error) -> bool {
            let code = error.as_database_error().and_then(|error| error.code());
            code.is_some_and(|code| Self::is_passing(&code))
        }

        /// Whether migrations have ever run.
        fn has_migrations(connection: &mut Self::Connection) -> impl Future<Output = sqlx::Result<bool>> + Send;

        /// A new, empty database for tests, and its settings.
        fn make_temporary(
            config: &DatabaseConfig,
            root: &Path,
            name: &str,
        ) -> impl Future<Output = Result<Self::Options>> + Send;

        /// Removes what [`make_temporary`](Self::make_temporary) has made.
        fn remove_temporary(options: &Self::Options, name: &str) -> impl Future<Output = Result<()>> + Send;

        /// Whether the database is out of reach or busy.
        fn is_unavailable(error: &sqlx::Error) -> bool {
            use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Tls, WorkerCrashed};
            matches!(error, Io(_) | Tls(_) | PoolClosed | PoolTimedOut | WorkerCrashed) || Self::will_pass(error)
        }

        /// The answer to a failure of the database itself: 503 where it is out of reach or busy, else 500.
        #[track_caller]
        fn unavailable(error: sqlx::Error) -> Error {
            if Self::is_unavailable(&error) { Error::unavailable(error) } else { error.into() }
        }
    }
}

/// `database.url`, if its scheme is one of these.
fn url<'a>(config: &'a DatabaseConfig, schemes: &[&str], example: &str) -> Result<&'a str> {
    let url = config.url.expose_str();
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    if schemes.contains(&scheme) {
        return Ok(url);
    }
    let found = match scheme {
        _ if url.is_empty() => "nothing: PURLIN__DATABASE__URL is not set, nor is it in the file".to_owned(),
        // Not a scheme, and so perhaps the beginning of a password.
        scheme if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            "another text".to_owned()
        }
        scheme => format!("a URL that begins with `{scheme}:`"),
    };
    Err(Error::internal(format!("`database.url`: expected a URL such as {example}, found {found}")))
}

/// What sqlx says of a URL that it cannot read; it does not quote it.
#[track_caller]
fn unreadable(error: sqlx::Error) -> Error {
    Error::from(error).context("reading `database.url`")
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::{sealed, unreadable, url};
    use crate::config::DatabaseConfig;
    use crate::{Context, Error, Result};
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
    use sqlx::{ConnectOptions, Executor, Sqlite};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    impl super::Dialect for Sqlite {}

    impl sealed::Dialect for Sqlite {
        type Options = SqliteConnectOptions;

        // The lock on the file; sqlx has none of its own for SQLite.
        const EXCLUSIVE: Option<&'static str> = Some("BEGIN IMMEDIATE");

        fn options(config: &DatabaseConfig, root: &Path) -> Result<Self::Options> {
            let url = url(config, &["sqlite"], "sqlite:data/site.db")?;
            if url.contains(":memory:") || url.contains("mode=memory") {
                let message = "expected a file, found a database in memory, which is another one for each connection";
                return Err(Error::internal(format!("`database.url`: {message}")));
            }
            let options: SqliteConnectOptions = url.parse().map_err(unreadable)?;
            let path = root.join(options.get_filename());
            Ok(opened(options.filename(path), config))
        }

        fn place(options: &Self::Options) -> String {
            format!("sqlite:{}", options.get_filename().display())
        }

        async fn connect(options: &Self::Options) -> sqlx::Result<Option<SqliteConnection>> {
            // Asked first, and not tried then: another process may be just making the file. SQLite would fail, or, if the
            // file comes between its first attempt and its second, open it for reading only.
            if !options.get_filename().exists() {
                return Ok(None);
            }
            options.connect().await.map(Some)
        }

        async fn make(options: &Self::Options) -> sqlx::Result<SqliteConnection> {
            let file = options.get_filename();
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            make_file(file)?;
            options.connect().await
        }

        fn begin(safe: bool, _: Duration) -> String {
            // A transaction which reads first and writes later cannot wait for another's write to end: SQLite refuses it at
            // once (SQLITE_BUSY_SNAPSHOT). One that begins as a writer waits its turn.
            if safe { "BEGIN" } else { "BEGIN IMMEDIATE" }.to_owned()
        }

        async fn check(_: &mut SqliteConnection) -> sqlx::Result<()> {
            // A transaction that SQLite has rolled back cannot be committed.
            Ok(())
        }

        fn is_passing(code: &str) -> bool {
            // The primary code is the lowest byte: SQLITE_BUSY and SQLITE_LOCKED.
            code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6))
        }

        async fn has_migrations(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
            let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
            Ok(connection.fetch_optional(table).await?.is_some())
        }

        async fn make_temporary(config: &DatabaseConfig, _: &Path, name: &str) -> Result<Self::Options> {
            let folder = folder(name);
            let mut builder = std::fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&folder).context(format!("making the folder {}", folder.display()))?;
            let file = folder.join("site.db");
            make_file(&file).context(format!("making the file {}", file.display()))?;
            let options = SqliteConnectOptions::new().filename(file);
            // What a test has written need not outlive the machine.
            Ok(opened(options, config).synchronous(SqliteSynchronous::Off))
        }

        async fn remove_temporary(_: &Self::Options, name: &str) -> Result<()> {
            std::fs::remove_dir_all(folder(name)).context("removing a temporary database")
        }
    }

    fn opened(options: SqliteConnectOptions, config: &DatabaseConfig) -> SqliteConnectOptions {
        // Readers and the writer do not wait for each other. Foreign keys are on by sqlx's own default, and `synchronous` is
        // FULL by SQLite's: what is committed is on the disk.
        options.journal_mode(SqliteJournalMode::Wal).busy_timeout(config.acquire_timeout)
    }

    /// Empty, which is an empty database to SQLite; one that is there stays as it is.
    fn make_file(file: &Path) -> std::io::Result<()> {
        let mut made = std::fs::OpenOptions::new();
        made.append(true).create(true);
        // Nobody else's business; what SQLite puts beside it gets the same mode.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut made, 0o600);
        made.open(file).map(drop)
    }

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(name)
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::{sealed, unreadable, url};
    use crate::config::DatabaseConfig;
    use crate::{Context, Result};
    use sqlx::postgres::{PgConnectOptions, PgConnection};
    use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Postgres};
    use std::path::Path;
    use std::time::Duration;

    impl super::Dialect for Postgres {}

    impl sealed::Dialect for Postgres {
        type Options = PgConnectOptions;

        const EXCLUSIVE: Option<&'static str> = None;

        fn options(config: &DatabaseConfig, _: &Path) -> Result<Self::Options> {
            let url = url(config, &["postgres", "postgresql"], "postgres://user:password@host/name")?;
            url.parse().map_err(unreadable)
        }

        fn place(options: &Self::Options) -> String {
            let name = options.get_database().unwrap_or(options.get_username());
            match options.get_socket() {
                Some(socket) => format!("postgres:{name} at {}", socket.display()),
                None => format!("postgres://{}:{}/{name}", options.get_host(), options.get_port()),
            }
        }

        async fn connect(options: &Self::Options) -> sqlx::Result<Option<PgConnection>> {
            match options.connect().await {
                // invalid_catalog_name
                Err(error) if has_code(&error, &["3D000"]) => Ok(None),
                connected => connected.map(Some),
            }
        }

        async fn make(options: &Self::Options) -> sqlx::Result<PgConnection> {
            let name = options.get_database().unwrap_or(options.get_username()).replace('"', "\"\"");
            let made = maintain(options, format!("CREATE DATABASE \"{name}\"")).await;
            match made {
                // Another process may have made it at the same time: duplicate_database, or a unique index that says so.
                Err(error) if !has_code(&error, &["42P04", "23505"]) => Err(error),
                _ => options.connect().await,
            }
        }

        fn begin(_: bool, limit: Duration) -> String {
            // The server keeps the limit too: a process that has been stopped must not hold its locks for ever.
            let millis = limit.as_millis().clamp(1, i32::MAX as u128);
            format!(
                "BEGIN; SET LOCAL statement_timeout = {millis}; SET LOCAL idle_in_transaction_session_timeout = {millis}"
            )
        }

        async fn check(connection: &mut PgConnection) -> sqlx::Result<()> {
            // After a statement that failed, COMMIT rolls back and reports success; any other statement fails.
            connection.execute("SELECT 1").await.map(drop)
        }

        fn is_passing(code: &str) -> bool {
            // Classes 08 (connection), 53 (resources), 57P (shutdown, starting up); serialization failure, deadlock, lock
            // not available: https://www.postgresql.org/docs/current/errcodes-appendix.html
            ["08", "53", "57P"].iter().any(|class| code.starts_with(class))
                || matches!(code, "40001" | "40P01" | "55P03")
        }

        async fn has_migrations(connection: &mut PgConnection) -> sqlx::Result<bool> {
            sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(connection).await
        }

        async fn make_temporary(config: &DatabaseConfig, root: &Path, name: &str) -> Result<Self::Options> {
            let options = Self::options(config, root)?;
            maintain(&options, format!("CREATE DATABASE {name}")).await.context("making a temporary database")?;
            Ok(options.database(name))
        }

        async fn remove_temporary(options: &Self::Options, name: &str) -> Result<()> {
            let removed = maintain(options, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            removed.context("removing a temporary database")
        }
    }

    /// Whether the server has refused it with one of these codes.
    fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
        error.as_database_error().and_then(|error| error.code()).is_some_and(|code| codes.contains(&&*code))
    }

    /// Does this in the database that every server has for it.
    async fn maintain(options: &PgConnectOptions, statement: String) -> sqlx::Result<()> {
        let mut connection = options.clone().database("postgres").connect().await?;
        connection.execute(AssertSqlSafe(statement)).await?;
        connection.close().await
    }
}
