//! `SqliteStore`: sessions in a file, with nothing to install.

use super::sql::{Columns, Key, Newer, PORTION, Row, Schema, Table, Work, collect, load, seconds, update};
use super::{Capabilities, Record, Save, Saved, Store, StoreError, Token};
use crate::database::{is_unavailable, waited};
use crate::site::Start;
use crate::{Error, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Executor, Sqlite};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::timeout;

/// Keeps sessions in an SQLite file: on the server, across restarts, and with nothing to install. For sites on one machine.
///
/// - A request's changes are merged into what is stored, in one step: requests at the same time lose nothing.
/// - One task writes. It takes all saves that are waiting, up to 256, into one transaction, and tells them that they are
///   done when that is committed. Requests that only read never wait for it (WAL mode).
/// - What is acknowledged survives the end of the process, however it ends. A power cut may cost the last moments before it,
///   and never damages the file, unless [`sync_every_commit`](SqliteStore::sync_every_commit) is on.
/// - A row's name is the SHA-256 of the session's id: whoever reads the file, or a copy of it, can open no session.
/// - Sessions that have ended are deleted once a minute by the layer.
///
/// The file is made if it is not there, for the site's user alone (mode 0600 on Unix); SQLite puts `-wal` and `-shm` beside
/// it. Its folder has to be there. The table is `purlin_session`, and may stand in a file with others; but a file of its own
/// is better, since SQLite has one writer for each file.
///
/// # Errors
///
/// The site does not start with a file that cannot be opened or written, or is no database. While it runs: 503 where another
/// program keeps the file locked for longer than the [`timeout`](SqliteStore::timeout), where the disk is full or fails, and
/// where the file was deleted or replaced; 500 where it is damaged. What was answered so is not written, not later either.
///
/// ```no_run
/// use purlin::layers::Sessions;
/// use purlin::session::SqliteStore;
///
/// let layer = Sessions::new(SqliteStore::new("data/sessions.db"));
/// ```
pub struct SqliteStore {
    path: PathBuf,
    timeout: Duration,
    sync: bool,
    opened: OnceCell<Opened>,
}

struct Opened {
    identity: Option<Identity>,
    readers: SqlitePool,
    writer: mpsc::Sender<Job>,
}

impl SqliteStore {
    /// Sessions in this file. Nothing is opened before the site starts.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), timeout: Duration::from_secs(5), sync: false, opened: OnceCell::new() }
    }

    /// How long a request waits for its session to be read or written; 5 seconds by default.
    pub fn timeout(self, limit: Duration) -> Self {
        Self { timeout: limit, ..self }
    }

    /// Waits for the disk with each commit (`PRAGMA synchronous = FULL`), so that a power cut costs nothing acknowledged; off
    /// by default. Saves that wait meanwhile share the next commit.
    pub fn sync_every_commit(self, sync: bool) -> Self {
        Self { sync, ..self }
    }

    fn options(&self) -> SqliteConnectOptions {
        let sync = if self.sync { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
        SqliteConnectOptions::new()
            .filename(&self.path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(sync)
            .busy_timeout(self.timeout)
    }

    /// Makes the file and the table, where they are not there.
    async fn make(&self) -> Result<SqliteConnection, StoreError> {
        make_file(&self.path).map_err(|cause| {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let why = if folder.is_some_and(|folder| !folder.is_dir()) { NO_FOLDER } else { NOT_ALLOWED };
            self.unopened(why, Box::new(cause))
        })?;
        let made = async {
            let mut connection = self.options().connect().await.map_err(failed)?;
            update(&mut Tables(&mut connection)).await?;
            Ok(connection)
        };
        made.await.map_err(|error| match error {
            StoreError::Unavailable(cause) => unavailable(Unopened { path: self.path.clone(), why: DISK, cause }),
            StoreError::Other(cause) if cause.is::<Newer>() => self.unopened(NEWER, cause),
            StoreError::Other(cause) => self.unopened(DAMAGED, cause),
            other => other,
        })
    }

    fn unopened(&self, why: &'static str, cause: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
        StoreError::Other(Box::new(Unopened { path: self.path.clone(), why, cause }))
    }

    async fn opened(&self) -> Result<&Opened, StoreError> {
        let open = async || {
            let connection = self.make().await?;
            let (writer, jobs) = mpsc::channel(QUEUE);
            tokio::spawn(write(jobs, File { options: self.options(), connection: Some(connection) }));
            let readers = SqlitePoolOptions::new()
                .max_connections(READERS)
                .acquire_timeout(self.timeout)
                .connect_lazy_with(self.options());
            Ok::<_, StoreError>(Opened { identity: identity(&self.path), readers, writer })
        };
        let opened = self.opened.get_or_try_init(open).await?;
        // SQLite would go on with a file that has no name any more, and all that is written would be lost when the site
        // ends. This blocks the thread, for a microsecond.
        if identity(&self.path) != opened.identity {
            return Err(unavailable(Replaced { path: self.path.clone() }));
        }
        Ok(opened)
    }

    /// Has it done by the task that writes. After an error it has not been done, and will not be.
    async fn ask(&self, what: What) -> Result<Done, StoreError> {
        let (reply, mut answer) = oneshot::channel();
        let turn = Arc::new(OnceLock::new());
        let job = Job { what, turn: turn.clone(), reply };
        let asked = async {
            let writer = &self.opened().await?.writer;
            writer.send(job).await.map_err(|_| unavailable(Gone))?;
            (&mut answer).await.map_err(|_| unavailable(Gone))?
        };
        match timeout(self.timeout, asked).await {
            Ok(done) => done,
            Err(elapsed) if turn.set(Turn::TooLate).is_ok() => Err(unavailable(elapsed)),
            // It is in the transaction that is about to be committed: nobody else's lock is waited for any more.
            Err(_) => answer.await.map_err(|_| unavailable(Gone))?,
        }
    }
}

struct Tables<'c>(&'c mut SqliteConnection);

impl Schema for Tables<'_> {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    const STEPS: &'static [&'static str] = &["
        CREATE TABLE purlin_session (
            key BLOB NOT NULL PRIMARY KEY,
            data TEXT NOT NULL,
            created INTEGER NOT NULL,
            expires INTEGER NOT NULL,
            moved_to BLOB
        ) STRICT;
        CREATE INDEX purlin_session_expires ON purlin_session (expires);
        CREATE TABLE purlin_session_version (version INTEGER NOT NULL) STRICT;
        INSERT INTO purlin_session_version (version) VALUES (1);
    "];

    async fn version(&mut self) -> Result<i64, StoreError> {
        let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'purlin_session_version'";
        if self.0.fetch_optional(table).await.map_err(failed)?.is_none() {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT version FROM purlin_session_version").fetch_one(&mut *self.0).await.map_err(failed)
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), StoreError> {
        self.0.execute(statement).await.map_err(failed).map(drop)
    }
}

/// Connections that read.
const READERS: u32 = 4;

/// Saves that wait to be written; others wait to be among them.
const QUEUE: usize = 1024;

/// Saves in one transaction.
const GROUP: usize = 256;

/// What the task that writes is asked to do.
enum What {
    Save(Box<Work>),
    Destroy(Key),
    Collect(u64),
}

enum Done {
    Saved(Saved),
    Deleted(u64),
}

struct Job {
    what: What,
    turn: Arc<OnceLock<Turn>>,
    reply: oneshot::Sender<Result<Done, StoreError>>,
}

/// What became of a job first. A request which is told that its change could not be written must not find it made later,
/// when somebody who had locked the file has let go.
enum Turn {
    Taken,
    TooLate,
}

impl Job {
    /// Whether it is still to be done, and the task's own from now on.
    fn take(&self) -> bool {
        !self.reply.is_closed() && matches!(self.turn.get_or_init(|| Turn::Taken), Turn::Taken)
    }
}

/// Writes until the store is dropped.
async fn write(mut jobs: mpsc::Receiver<Job>, mut file: File) {
    let mut waiting = Vec::new();
    while jobs.recv_many(&mut waiting, GROUP).await > 0 {
        let mut at_once = GROUP;
        while !waiting.is_empty() {
            // Who does not wait any more has been answered otherwise: that nobody takes the reply is no failure.
            let mut connection = match file.begin().await {
                Ok(connection) => connection,
                Err(error) => {
                    // Before any job was looked at: it is everybody's failure, and not waited for once for each.
                    let again = repeated(error);
                    waiting.drain(..).for_each(|job| _ = job.reply.send(Err(again())));
                    break;
                }
            };
            let group = &waiting[..at_once.min(waiting.len())];
            match transaction(&mut connection, group).await {
                Ok(done) => {
                    // After a failure it is not used again: who knows what state it is in.
                    file.connection = Some(connection);
                    waiting.drain(..done.len()).zip(done).for_each(|(job, done)| _ = job.reply.send(Ok(done)));
                }
                // One of them is at fault, or all are: each by itself learns what is its own.
                Err(_) if group.len() > 1 => at_once = 1,
                Err(error) => _ = waiting.remove(0).reply.send(Err(error)),
            }
        }
    }
    if let Some(connection) = file.connection {
        // Puts the log into the file; what is not put now is read from the log the next time.
        let _ = connection.close().await;
    }
}

/// The file, as the task has it that writes.
struct File {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
}

impl File {
    /// A connection in a transaction that has the file's lock.
    async fn begin(&mut self) -> Result<SqliteConnection, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(failed)?,
        };
        connection.execute("BEGIN IMMEDIATE").await.map_err(failed)?;
        Ok(connection)
    }
}

/// Does all of it and commits, or does nothing.
async fn transaction(connection: &mut SqliteConnection, group: &[Job]) -> Result<Vec<Done>, StoreError> {
    let mut all = Vec::with_capacity(group.len());
    for job in group {
        if !job.take() {
            all.push(Done::Deleted(0)); // for nobody
            continue;
        }
        all.push(match &job.what {
            What::Save(work) => Done::Saved(work.run(&mut Rows(connection)).await?),
            What::Destroy(key) => {
                let delete = sqlx::query("DELETE FROM purlin_session WHERE key = ?").bind(key.bytes());
                Done::Deleted(delete.execute(&mut *connection).await.map_err(failed)?.rows_affected())
            }
            What::Collect(now) => {
                let delete = "DELETE FROM purlin_session WHERE rowid IN \
                              (SELECT rowid FROM purlin_session WHERE expires <= ? LIMIT ?)";
                let delete = sqlx::query(delete).bind(seconds(*now)).bind(PORTION);
                Done::Deleted(delete.execute(&mut *connection).await.map_err(failed)?.rows_affected())
            }
        });
    }
    connection.execute("COMMIT").await.map_err(failed)?;
    Ok(all)
}

struct Rows<'c>(&'c mut SqliteConnection);

impl Table for Rows<'_> {
    async fn read(&mut self, key: &Key, now: u64) -> Result<Option<Row>, StoreError> {
        let select = "SELECT data, created, expires, moved_to FROM purlin_session WHERE key = ? AND expires > ?";
        let select = sqlx::query_as::<Sqlite, Columns>(select).bind(key.bytes()).bind(seconds(now));
        select.fetch_optional(&mut *self.0).await.map_err(failed)?.map(Row::read).transpose()
    }

    async fn write(&mut self, key: &Key, row: &Row) -> Result<(), StoreError> {
        let replace =
            "INSERT OR REPLACE INTO purlin_session (key, data, created, expires, moved_to) VALUES (?, ?, ?, ?, ?)";
        let replace = sqlx::query(replace)
            .bind(key.bytes())
            .bind(row.data()?)
            .bind(seconds(row.created))
            .bind(seconds(row.expires))
            .bind(row.moved_to.as_ref().map(Key::bytes));
        replace.execute(&mut *self.0).await.map_err(failed).map(drop)
    }
}

impl Store for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::shared()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        let loaded = async {
            let mut connection = self.opened().await?.readers.acquire().await.map_err(failed)?;
            load(&mut Rows(&mut connection), token, now).await
        };
        timeout(self.timeout, loaded).await.map_err(unavailable)?
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        let Some(work) = Work::of(&save)? else {
            return Ok(Saved::Gone);
        };
        match self.ask(What::Save(Box::new(work))).await? {
            Done::Saved(saved) => Ok(saved),
            Done::Deleted(_) => Ok(Saved::Gone), // never the answer to a save
        }
    }

    async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
        match token.id() {
            Some(id) => self.ask(What::Destroy(Key::of(id)?)).await.map(drop),
            None => Ok(()),
        }
    }

    async fn collect(&self, now: u64) -> Result<u64, StoreError> {
        let portion = async || match self.ask(What::Collect(now)).await? {
            Done::Deleted(count) => Ok(count),
            Done::Saved(_) => Ok(0), // never the answer to this
        };
        collect(portion).await
    }

    fn name(&self) -> Cow<'static, str> {
        format!("SqliteStore({})", self.path.display()).into()
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        // The connection belongs to the runtime that made it: what the requests use is opened by the first of them.
        waited(async {
            let connection = self.make().await.map_err(StoreError::carried)?;
            connection.close().await.map_err(Error::from)
        })
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("timeout", &self.timeout)
            .field("sync_every_commit", &self.sync)
            .finish_non_exhaustive()
    }
}

/// Which file it is that has the name: device and inode.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// A file that is open cannot be deleted or renamed there.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<Identity> {
    None
}

/// Sessions are for the site's own user.
fn make_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn failed(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    // SQLITE_IOERR, SQLITE_FULL and SQLITE_CANTOPEN; the lowest byte is the primary code.
    let disk = code.is_some_and(|code| matches!(code & 0xff, 10 | 13 | 14));
    if disk || is_unavailable::<Sqlite>(&error) { unavailable(error) } else { StoreError::Other(Box::new(error)) }
}

/// The same failure for each of those whom it concerns.
fn repeated(error: StoreError) -> impl Fn() -> StoreError {
    let passing = matches!(error, StoreError::Unavailable(_));
    let cause: Arc<dyn std::error::Error + Send + Sync> = match error {
        StoreError::Unavailable(cause) | StoreError::Other(cause) => cause.into(),
        error => Arc::new(error),
    };
    move || if passing { unavailable(cause.clone()) } else { StoreError::Other(Box::new(cause.clone())) }
}

fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(cause))
}

/// The file cannot be used.
#[derive(Debug)]
struct Unopened {
    path: PathBuf,
    why: &'static str,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

const NO_FOLDER: &str = "there is no such folder; make it first";
const NOT_ALLOWED: &str = "the site's user must be allowed to read and write it";
const DISK: &str = "another program has locked it, the disk is full, or the site's user must not make files beside it";
const NEWER: &str = "give this site another file, or the version of Purlin that has written it";
const DAMAGED: &str = "if it is no SQLite database, or damaged, move it away, with its -wal and -shm: a new one is made, \
                       and who was signed in signs in again";

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the session file {} cannot be used: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for Unopened {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

/// The name belongs to another file, or to none.
#[derive(Debug)]
struct Replaced {
    path: PathBuf,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "the session file {path} was deleted or replaced: put it back, or restart the site to go on with another"
        )
    }
}

impl std::error::Error for Replaced {}

/// The task that writes is gone.
#[derive(Debug)]
struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what writes the sessions has ended with its runtime")
    }
}

impl std::error::Error for Gone {}
