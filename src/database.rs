//! A site's database: a pool of connections, migrations, and one transaction a request.
//!
//! With the feature `sqlite` or `postgres`, on [sqlx], whose queries a handler writes as they are. Three things
//! come with it:
//!
//! - [`Database`] is a layer. What stands below it takes the pool as [`State`]`<Pool<…>>`. When the site starts it runs the
//!   migrations in development, and everywhere else refuses to start while one is pending.
//! - The layer [`Transaction`](crate::layers::Transaction) and its argument [`Tx`]: what one request writes is written as a
//!   whole if its answer is good, and not at all if it is not.
//! - The command `migrate` of the site's command line, and `migrate --status`.
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use purlin::database::{Database, Tx};
//! use purlin::layers::Transaction;
//! use purlin::sqlx::{self, Sqlite};
//! use purlin::testing::Client;
//! use purlin::{Assets, Config, Path, Result, Router, Stack, get};
//!
//! async fn count(mut tx: Tx<Sqlite>) -> Result<String> {
//!     let guests: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&mut *tx).await?;
//!     Ok(format!("{guests} guests"))
//! }
//!
//! async fn sign(Path(name): Path<String>, mut tx: Tx<Sqlite>) -> Result<&'static str> {
//!     sqlx::query("INSERT INTO guest (name) VALUES ($1)").bind(name).execute(&mut *tx).await?;
//!     Ok("thank you")
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! // In a site: embed!("migrations"), and the configuration that `stack` is given.
//! let migrations = Assets::embedded(&[("0001_guest.sql", b"CREATE TABLE guest (name TEXT NOT NULL)")]);
//! let database = Database::sqlite(&Config::for_tests()?, migrations)?;
//! let app = Stack::new()
//!     .layer(database.clone())
//!     .layer(Transaction::new(database.pool()))
//!     .app(Router::new().route("/", get(count)).route("/sign/{name}", get(sign)));
//!
//! let client = Client::new(app);
//! client.get("/sign/Ada").await;
//! client.get("/").await.assert_contains("1 guests");
//! # Ok(()) }
//! # main().unwrap(); }
//! ```
//!
//! # Migrations
//!
//! Files of SQL, `0001_guestbook.sql`: a number, an underscore, words. They run in the order of their numbers, each once and
//! each in a transaction of its own, so that one which fails leaves nothing; one that begins with `-- no-transaction` runs
//! without. What has run is noted in the table `_sqlx_migrations`, as sqlx's own command line notes it. A file that has run is
//! never changed again: the change is another file.
//!
//! # Tests
//!
//! In the environment `test` ([`Config::for_tests`]) each `Database` is a new one, made when it is put together and removed
//! when it is dropped: see [`DatabaseConfig::temporary`](crate::config::DatabaseConfig::temporary).
//!
//! # SQLite
//!
//! The file is opened in WAL mode, with foreign keys enforced, and every commit is on the disk before it is acknowledged. It
//! has one writer at a time; another waits for `database.acquire_timeout`, then fails. A database in memory is refused: it
//! would be another one for each connection.

// With no database at all, the feature `database` alone.
#![cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code, unused_imports))]

mod dialect;
mod migrations;
mod temporary;
mod tx;

pub use dialect::Dialect;
pub(crate) use migrations::Migrated;
pub use migrations::{Migration, MigrationState};
pub(crate) use tx::{Ending, Lent, Rule, seats};
pub use tx::{Tx, Verdict};

pub use sqlx::Pool;

use crate::config::DatabaseConfig;
use crate::site::{About, Start};
use crate::{Assets, Config, Context, Error, Middleware, Request, Response, Result, Service, State};
use migrations::Migrations;
use sqlx::Connection;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use temporary::Temporary;
use tokio::time::Instant;

/// The database of a site: the pool as the state of everything below, and its migrations run or checked at the start.
///
/// Clones are the same database. See [the module](self).
///
/// # Errors
///
/// When the site starts: the database cannot be reached, has a migration pending, or one that was changed after it had run.
pub struct Database<D: Dialect> {
    state: State<Pool<D>>,
    inner: Arc<Inner<D>>,
}

struct Inner<D: Dialect> {
    options: D::Options,
    migrations: Migrations,
    migrate_at_start: bool,
    max_connections: u32,
    patience: Duration,
    // Dropped last, with the last clone.
    _temporary: Option<Temporary<D>>,
}

#[cfg(feature = "sqlite")]
impl Database<sqlx::Sqlite> {
    /// The SQLite database that the configuration names: `database.url = "sqlite:data/site.db"`.
    ///
    /// Nothing is opened before the site starts.
    ///
    /// # Errors
    ///
    /// The URL is missing or another database's, a migration's file cannot be read or has a name that does not fit, or no tokio
    /// runtime is there: [`run`](crate::run()) and tests are in one.
    pub fn sqlite(config: &Config, migrations: Assets) -> Result<Self> {
        Self::new(&config.database, &config.root, &migrations)
    }
}

#[cfg(feature = "postgres")]
impl Database<sqlx::Postgres> {
    /// The PostgreSQL database that the configuration names: `database.url = "postgres://user:password@host/name"`.
    ///
    /// What the URL leaves out comes from the variables of libpq (`PGHOST`, `PGPASSWORD` …) and `~/.pgpass`. Nothing is
    /// connected to before the site starts, unless the database is a temporary one.
    ///
    /// # Errors
    ///
    /// As for [`sqlite`](Database::sqlite); a temporary database cannot be made.
    pub fn postgres(config: &Config, migrations: Assets) -> Result<Self> {
        Self::new(&config.database, &config.root, &migrations)
    }
}

impl<D: Dialect> Database<D> {
    fn new(config: &DatabaseConfig, root: &Path, migrations: &Assets) -> Result<Self> {
        let migrations = Migrations::read(migrations)?;
        let patience = config.acquire_timeout;
        let (options, temporary) = if config.temporary {
            let (options, temporary) = Temporary::new(config, root)?;
            (options, Some(temporary))
        } else {
            (D::options(config, root)?, None)
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::internal(
                "a database's pool has background work, and there is no tokio runtime to do it",
            ));
        }
        let max_connections = u32::try_from(config.max_connections).unwrap_or(u32::MAX);
        let pool = sqlx::pool::PoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(patience)
            .connect_lazy_with(options.clone());
        let migrate_at_start = config.migrate_at_start;
        let inner = Inner { options, migrations, migrate_at_start, max_connections, patience, _temporary: temporary };
        Ok(Self { state: State(pool), inner: Arc::new(inner) })
    }

    /// The pool, for whoever needs it before there is a request.
    pub fn pool(&self) -> Pool<D> {
        self.state.0.clone()
    }

    /// Every migration, and whether it has run: in a database that is not there, none. What the command `migrate --status`
    /// prints.
    ///
    /// # Errors
    ///
    /// The database cannot be reached.
    pub async fn migrations(&self) -> Result<Vec<Migration>> {
        let options = &self.inner.options;
        let mut connection = match self.connect(|| D::connect(options)).await? {
            Some(connection) => connection,
            None if self.inner.migrations.are_some() => return Ok(self.inner.migrations.pending()),
            None => {
                let message = "there is no such database; the command `migrate` makes it";
                return Err(Error::internal(message).context(self.connecting()));
            }
        };
        let listed = self.inner.migrations.compare::<D>(&mut connection).await;
        // What was asked is answered; how the connection ends changes nothing.
        drop(connection.close().await);
        listed.context(format!("reading the migrations of {self}"))
    }

    /// Runs what is pending, and returns that; a database that is not there is made. What the command `migrate` does.
    ///
    /// Two at the same time wait for each other.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, a migration fails, or one that has run was changed since; those before it have run.
    pub async fn migrate(&self) -> Result<Vec<Migration>> {
        let options = &self.inner.options;
        let connect = || async {
            match D::connect(options).await? {
                Some(connection) => Ok(connection),
                None => D::make(options).await,
            }
        };
        let mut connection = self.connect(connect).await?;
        let ran = self.inner.migrations.run::<D>(&mut connection).await;
        // Also ends a lock that is still held after a failure.
        drop(connection.close().await);
        ran.context(format!("migrating {self}"))
    }

    /// A connection apart from the pool, whose connections belong to the runtime that made them.
    async fn connect<T, F>(&self, connect: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        let deadline = Instant::now() + self.inner.patience;
        let error = loop {
            match tokio::time::timeout_at(deadline, connect()).await {
                Ok(Ok(connection)) => return Ok(connection),
                // A server that is starting up; an SQLite file that another process is just making.
                Ok(Err(error)) if D::will_pass(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(Err(error)) => break D::unavailable(error),
                Err(elapsed) => break Error::unavailable(elapsed),
            }
        };
        Err(error.context(self.connecting()))
    }

    fn connecting(&self) -> String {
        format!("connecting to {self} (setting `database.url`)")
    }

    /// Runs the migrations, or sees that none is pending.
    async fn begin(&self) -> Result<()> {
        if self.inner.migrate_at_start {
            for migration in self.migrate().await? {
                tracing::info!(target: "purlin::database", "ran the migration {}", migration.name);
            }
            return Ok(());
        }
        let migrations = self.migrations().await?;
        let named = |state| -> Vec<&str> {
            migrations.iter().filter(|migration| migration.state == state).map(|migration| &*migration.name).collect()
        };
        for name in named(MigrationState::Unknown) {
            tracing::warn!(target: "purlin::database", "{self} was migrated by a newer site: {name} is not known here");
        }
        if let [name, ..] = named(MigrationState::Changed)[..] {
            return Err(migrations::changed(name));
        }
        match named(MigrationState::Pending)[..] {
            [] => Ok(()),
            ref pending => {
                let count =
                    if pending.len() == 1 { "a migration".into() } else { format!("{} migrations", pending.len()) };
                let list = pending.join(", ");
                Err(Error::internal(format!(
                    "{self} lacks {count}: {list}\n  run this program with the command `migrate` first, or set database.migrate_at_start = true"
                )))
            }
        }
    }
}

impl<D: Dialect> Middleware for Database<D> {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        self.state.handle(req, next).await
    }

    fn describe(&self, about: &mut About) {
        about.name("Database").provides::<Pool<D>>();
        about.option("url", self).option("max_connections", self.inner.max_connections);
        about.migrated(Arc::new(self.clone()));
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        waited(self.begin())?;
        let pool = self.pool();
        start.task("closing the database", |mut stopping| async move {
            stopping.wait().await;
            pool.close().await;
        });
        Ok(())
    }
}

impl<D: Dialect> Migrated for Database<D> {
    fn migrate(&self) -> Result<Vec<Migration>> {
        waited(self.migrate())
    }

    fn migrations(&self) -> Result<Vec<Migration>> {
        waited(self.migrations())
    }
}

impl<D: Dialect> Clone for Database<D> {
    fn clone(&self) -> Self {
        Self { state: State(self.pool()), inner: self.inner.clone() }
    }
}

/// As a URL without user and password: `sqlite:/srv/data/site.db`.
impl<D: Dialect> fmt::Display for Database<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&D::place(&self.inner.options))
    }
}

impl<D: Dialect> fmt::Debug for Database<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

/// Whether the database is out of reach or busy, and not asked for something impossible.
pub(crate) fn is_unavailable<D: Dialect>(error: &sqlx::Error) -> bool {
    D::is_unavailable(error)
}

/// The statement that begins a transaction which writes, and whose statements the database ends after this time.
#[cfg(feature = "postgres")]
pub(crate) fn begin<D: Dialect>(limit: Duration) -> String {
    D::begin(false, limit)
}

/// Does the work on a thread of its own and waits for that: a site starts in code that is not async, and the runtime that it
/// is called from may have this one thread only.
pub(crate) fn waited<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let on_its_own = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("starting a runtime")?.block_on(work)
    };
    std::thread::scope(|scope| match scope.spawn(on_its_own).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
