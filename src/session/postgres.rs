//! `PostgresStore`: sessions in PostgreSQL, for sites that have it already.

use super::sql::{Columns, Key, PORTION, Row, Schema, Table, Work, collect, load, seconds, update};
use super::{Capabilities, Record, Save, Saved, Store, StoreError, Token};
use crate::database::{begin, is_unavailable, waited};
use crate::site::Start;
use crate::{Error, Result};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Postgres, Transaction};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Keeps sessions in PostgreSQL, which several servers of a site may share.
///
/// - A request's changes are merged into what is stored, in a transaction that holds the session's row: requests at the same
///   time, on whichever machine, lose nothing. Requests that only read wait for nobody.
/// - A row's name is the SHA-256 of the session's id: whoever reads the database, or a copy of it, can open no session.
/// - Sessions that have ended are deleted once a minute by the layer.
/// - At most [`max_connections`](PostgresStore::max_connections) are open; a request waits for one, and for its answer, at
///   most for the [`timeout`](PostgresStore::timeout). After a restart of PostgreSQL the site goes on by itself.
///
/// The table `purlin_session` is made when the site starts, where it is not there: the user needs `CREATE` on the schema for
/// that, once.
///
/// # Errors
///
/// The site does not start where PostgreSQL cannot be reached, unless [`check_at_start`](PostgresStore::check_at_start) is
/// off. While it runs: 503 where it cannot be reached or does not answer in time.
///
/// ```no_run
/// use purlin::layers::Sessions;
/// use purlin::session::PostgresStore;
///
/// let layer = Sessions::new(PostgresStore::new("postgres://site@localhost/site"));
/// ```
pub struct PostgresStore {
    // What is wrong with the URL is told when the site starts, as with every other option.
    options: Result<PgConnectOptions, Unreadable>,
    max_connections: u32,
    timeout: Duration,
    check_at_start: bool,
    pool: OnceCell<PgPool>,
}

impl PostgresStore {
    /// Sessions in the database of this URL, `postgres://user:password@host:port/database`; `?host=/run/postgresql` for a
    /// unix socket, and what is left out comes from the variables of libpq (`PGPASSWORD` …). Nothing is connected to before
    /// the site starts; with a URL that cannot be read it does not start.
    pub fn new(url: &str) -> Self {
        let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
        let options = match url.parse() {
            Ok(options) if is_postgres => Ok(options),
            Ok(_) => Err(Unreadable(None)),
            Err(cause) => Err(Unreadable(Some(Arc::new(cause)))),
        };
        Self {
            options,
            max_connections: 10,
            timeout: Duration::from_secs(5),
            check_at_start: true,
            pool: OnceCell::new(),
        }
    }

    /// How many connections are open at most; 10 by default, at least 1.
    pub fn max_connections(self, max: u32) -> Self {
        Self { max_connections: max.max(1), ..self }
    }

    /// How long a request waits for its session to be read or written; 5 seconds by default.
    pub fn timeout(self, limit: Duration) -> Self {
        Self { timeout: limit, ..self }
    }

    /// Whether the site refuses to start while PostgreSQL cannot be reached; on by default. Off, it starts, and what needs a
    /// session is answered 503 until PostgreSQL is there.
    pub fn check_at_start(self, check: bool) -> Self {
        Self { check_at_start: check, ..self }
    }

    fn options(&self) -> Result<&PgConnectOptions, StoreError> {
        self.options.as_ref().map_err(|cause| StoreError::Other(Box::new(cause.clone())))
    }

    /// A connection to a database with the table.
    async fn make(&self) -> Result<PgConnection, StoreError> {
        let options = self.options()?;
        let made = async {
            let mut connection = options.connect().await.map_err(failed)?;
            update(&mut Tables(&mut connection)).await?;
            Ok(connection)
        };
        self.within(made).await
    }

    async fn pool(&self) -> Result<&PgPool, StoreError> {
        let open = async || {
            // Only the table is wanted; how the connection ends changes nothing.
            drop(self.make().await?.close().await);
            Ok(PgPoolOptions::new()
                .max_connections(self.max_connections)
                .acquire_timeout(self.timeout)
                .connect_lazy_with(self.options()?.clone()))
        };
        self.pool.get_or_try_init(open).await
    }

    /// Does it within the time for it. What is dropped on the way is rolled back.
    async fn within<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout(self.timeout, work).await.map_err(unavailable)?
    }

    /// The server keeps the limit too. A lock that is waited for would take a connection from the pool for as long as it
    /// is held, and a server of the site that has been stopped in the middle would hold one for ever.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let begin = AssertSqlSafe(begin::<Postgres>(self.timeout));
        self.pool().await?.begin_with(begin).await.map_err(failed)
    }

    /// How many rows were deleted.
    async fn delete(&self, delete: Query<'_, Postgres, PgArguments>) -> Result<u64, StoreError> {
        let deleted = async {
            let mut transaction = self.begin().await?;
            let deleted = delete.execute(&mut *transaction).await.map_err(failed)?.rows_affected();
            transaction.commit().await.map_err(failed)?;
            Ok(deleted)
        };
        self.within(deleted).await
    }
}

struct Tables<'c>(&'c mut PgConnection);

impl Schema for Tables<'_> {
    // The lock is for servers that start at the same time. The number means nothing.
    const BEGIN: &'static str = "BEGIN; SELECT pg_advisory_xact_lock(7814427310451)";

    const STEPS: &'static [&'static str] = &["
        CREATE TABLE purlin_session (
            key bytea PRIMARY KEY,
            data text NOT NULL,
            created bigint NOT NULL,
            expires bigint NOT NULL,
            moved_to bytea
        );
        CREATE INDEX purlin_session_expires ON purlin_session (expires);
        CREATE TABLE purlin_session_version (version bigint NOT NULL);
        INSERT INTO purlin_session_version (version) VALUES (1);
    "];

    async fn version(&mut self) -> Result<i64, StoreError> {
        // Not by `to_regclass`, which may answer from before the lock.
        let there = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables WHERE \
                     schemaname = ANY (current_schemas(false)) AND tablename = 'purlin_session_version')";
        if !sqlx::query_scalar::<_, bool>(there).fetch_one(&mut *self.0).await.map_err(failed)? {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT version FROM purlin_session_version").fetch_one(&mut *self.0).await.map_err(failed)
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), StoreError> {
        self.0.execute(statement).await.map_err(failed).map(drop)
    }
}

/// Rows as they are; to be written by nobody else before the transaction ends, or just to be read.
struct Rows<'c> {
    connection: &'c mut PgConnection,
    for_update: bool,
}

impl Table for Rows<'_> {
    async fn read(&mut self, key: &Key, now: u64) -> Result<Option<Row>, StoreError> {
        let select = match self.for_update {
            true => {
                "SELECT data, created, expires, moved_to FROM purlin_session WHERE key = $1 AND expires > $2 FOR UPDATE"
            }
            false => "SELECT data, created, expires, moved_to FROM purlin_session WHERE key = $1 AND expires > $2",
        };
        let select = sqlx::query_as::<Postgres, Columns>(select).bind(key.bytes()).bind(seconds(now));
        select.fetch_optional(&mut *self.connection).await.map_err(failed)?.map(Row::read).transpose()
    }

    async fn write(&mut self, key: &Key, row: &Row) -> Result<(), StoreError> {
        let write = "INSERT INTO purlin_session (key, data, created, expires, moved_to) VALUES ($1, $2, $3, $4, $5) \
                     ON CONFLICT (key) DO UPDATE SET (data, created, expires, moved_to) = \
                     (excluded.data, excluded.created, excluded.expires, excluded.moved_to)";
        let write = sqlx::query(write)
            .bind(key.bytes())
            .bind(row.data()?)
            .bind(seconds(row.created))
            .bind(seconds(row.expires))
            .bind(row.moved_to.as_ref().map(Key::bytes));
        write.execute(&mut *self.connection).await.map_err(failed).map(drop)
    }
}

impl Store for PostgresStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::shared()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        let loaded = async {
            let mut connection = self.pool().await?.acquire().await.map_err(failed)?;
            load(&mut Rows { connection: &mut connection, for_update: false }, token, now).await
        };
        self.within(loaded).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        let Some(work) = Work::of(&save)? else {
            return Ok(Saved::Gone);
        };
        let saved = async {
            let mut transaction = self.begin().await?;
            let saved = work.run(&mut Rows { connection: &mut transaction, for_update: true }).await?;
            transaction.commit().await.map_err(failed)?;
            Ok(saved)
        };
        self.within(saved).await
    }

    async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
        let Some(id) = token.id() else { return Ok(()) };
        let key = Key::of(id)?;
        self.delete(sqlx::query("DELETE FROM purlin_session WHERE key = $1").bind(key.bytes())).await.map(drop)
    }

    async fn collect(&self, now: u64) -> Result<u64, StoreError> {
        // What somebody works on is left for the next time: waiting for it, each might wait for the other.
        let delete = "WITH ended AS MATERIALIZED (\
                          SELECT key FROM purlin_session WHERE expires <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED\
                      ) DELETE FROM purlin_session USING ended WHERE purlin_session.key = ended.key";
        collect(async || self.delete(sqlx::query(delete).bind(seconds(now)).bind(i64::from(PORTION))).await).await
    }

    fn name(&self) -> Cow<'static, str> {
        match &self.options {
            Ok(options) => {
                let database = options.get_database().unwrap_or(options.get_username());
                format!("PostgresStore({database} at {})", options.get_host()).into()
            }
            Err(_) => "PostgresStore".into(),
        }
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        self.options().map_err(StoreError::carried)?;
        if !self.check_at_start {
            return Ok(());
        }
        // The connection belongs to the runtime that made it: what the requests use is opened by the first of them.
        let checked = waited(async {
            let connection = self.make().await.map_err(StoreError::carried)?;
            connection.close().await.map_err(Error::from)
        });
        checked
            .map_err(|error| error.context("PostgreSQL is asked when the site starts, unless `check_at_start(false)`"))
    }
}

impl fmt::Debug for PostgresStore {
    /// Without the URL, which has a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("database", &self.name())
            .field("max_connections", &self.max_connections)
            .field("timeout", &self.timeout)
            .field("check_at_start", &self.check_at_start)
            .finish_non_exhaustive()
    }
}

fn failed(error: sqlx::Error) -> StoreError {
    if is_unavailable::<Postgres>(&error) { unavailable(error) } else { StoreError::Other(Box::new(error)) }
}

fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(cause))
}

/// The URL cannot be read, or is another database's. It is not quoted: there may be a password in it.
#[derive(Clone, Debug)]
struct Unreadable(Option<Arc<sqlx::Error>>);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the URL of the session store: expected one such as postgres://user:password@host/database")
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_deref().map(|cause| cause as _)
    }
}
