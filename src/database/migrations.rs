//! Migrations: files of SQL, compared with what a database has run, and run.

use super::Dialect;
use crate::{Assets, Context, Error, Result};
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, MigrationType};
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr};
use std::collections::BTreeMap;
use std::fmt;

/// A migration, and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The file's name without `.sql`, as `0001_guestbook`; the number alone where there is no file.
    pub name: String,
    /// Whether it has run.
    pub state: MigrationState,
}

/// Whether a migration has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationState {
    /// It has.
    Applied,
    /// It has not.
    Pending,
    /// It has, and its file was changed since: what the database looks like is no longer what the files say.
    Changed,
    /// It has, and there is no such file here: a newer site was run on this database.
    Unknown,
}

impl fmt::Display for MigrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
        })
    }
}

/// A database as the site's command line sees it.
pub(crate) trait Migrated: fmt::Debug + fmt::Display + Send + Sync {
    /// See [`Database::migrate`](super::Database::migrate).
    fn migrate(&self) -> Result<Vec<Migration>>;

    /// See [`Database::migrations`](super::Database::migrations).
    fn migrations(&self) -> Result<Vec<Migration>>;
}

/// That of sqlx's own command line.
const TABLE: &str = "_sqlx_migrations";

/// The migrations of a site, by their numbers.
#[derive(Debug)]
pub(super) struct Migrations(BTreeMap<i64, File>);

#[derive(Debug)]
struct File {
    name: String,
    migration: sqlx::migrate::Migration,
}

impl Migrations {
    /// Reads the files; what does not end in `.sql` is none.
    ///
    /// # Errors
    ///
    /// A file cannot be read, is no UTF-8, or has a name without a number or with that of another.
    pub(super) fn read(assets: &Assets) -> Result<Self> {
        let mut files = BTreeMap::<i64, File>::new();
        let names = assets.names().context("listing the migrations")?;
        for file in names.iter().filter(|name| name.ends_with(".sql")) {
            let (version, words) =
                parse(file).map_err(|problem| Error::internal(format!("the migration {file}: {problem}")))?;
            let bytes = assets.read(file).context(format!("reading the migration {file}"))?;
            let text = std::str::from_utf8(&bytes).context(format!("the migration {file}"))?;
            // A checkout with the line endings of Windows is no other migration.
            let text = text.replace("\r\n", "\n");
            let alone = text.starts_with("-- no-transaction");
            let sql = AssertSqlSafe(text).into_sql_str();
            let migration = sqlx::migrate::Migration::new(version, words.into(), MigrationType::Simple, sql, alone);
            let name = file.trim_end_matches(".sql").to_owned();
            if let Some(other) = files.insert(version, File { name, migration }) {
                return Err(Error::internal(format!("the migrations {}.sql and {file} have one number", other.name)));
            }
        }
        Ok(Self(files))
    }

    pub(super) fn are_some(&self) -> bool {
        !self.0.is_empty()
    }

    /// All of them, as in a database which is not there.
    pub(super) fn pending(&self) -> Vec<Migration> {
        let pending = |file: &File| Migration { name: file.name.clone(), state: MigrationState::Pending };
        self.0.values().map(pending).collect()
    }

    /// What has become of each, those without a file at their place among them.
    pub(super) async fn compare<D: Dialect>(&self, connection: &mut D::Connection) -> Result<Vec<Migration>> {
        let applied = if D::has_migrations(connection).await.map_err(D::unavailable)? {
            connection.list_applied_migrations(TABLE).await.map_err(plain::<D>)?
        } else {
            Vec::new()
        };
        let mut migrations: BTreeMap<i64, Migration> = self
            .0
            .iter()
            .map(|(version, file)| (*version, Migration { name: file.name.clone(), state: MigrationState::Pending }))
            .collect();
        for AppliedMigration { version, checksum } in applied {
            let state = match self.0.get(&version) {
                None => MigrationState::Unknown,
                Some(file) if file.migration.checksum == checksum => MigrationState::Applied,
                Some(_) => MigrationState::Changed,
            };
            let unknown = || Migration { name: format!("{version:04}"), state };
            migrations.entry(version).or_insert_with(unknown).state = state;
        }
        Ok(migrations.into_values().collect())
    }

    /// Runs what is pending; each in a transaction of its own, and looked for again under the lock.
    pub(super) async fn run<D: Dialect>(&self, connection: &mut D::Connection) -> Result<Vec<Migration>> {
        connection.lock().await.map_err(plain::<D>)?;
        connection.ensure_migrations_table(TABLE).await.map_err(plain::<D>)?;
        let mut ran = Vec::new();
        while let Some(migration) = self.step::<D>(connection).await? {
            ran.push(migration);
        }
        connection.unlock().await.map_err(plain::<D>)?;
        Ok(ran)
    }

    /// Runs the first that is pending, if there is one.
    async fn step<D: Dialect>(&self, connection: &mut D::Connection) -> Result<Option<Migration>> {
        let Some(exclusive) = D::EXCLUSIVE else {
            let Some(file) = self.next::<D>(connection).await? else { return Ok(None) };
            return file.apply::<D>(connection).await.map(Some);
        };
        let mut transaction =
            connection.begin_with(AssertSqlSafe(exclusive.to_owned())).await.map_err(D::unavailable)?;
        let file = self.next::<D>(&mut transaction).await?;
        let applied = match file {
            Some(file) if !file.migration.no_tx => Some(file.apply::<D>(&mut transaction).await?),
            _ => None,
        };
        transaction.commit().await.map_err(D::unavailable)?;
        match file {
            Some(file) if file.migration.no_tx => file.apply::<D>(connection).await.map(Some),
            _ => Ok(applied),
        }
    }

    async fn next<D: Dialect>(&self, connection: &mut D::Connection) -> Result<Option<&File>> {
        let applied = connection.list_applied_migrations(TABLE).await.map_err(plain::<D>)?;
        let applied: BTreeMap<i64, _> =
            applied.into_iter().map(|applied| (applied.version, applied.checksum)).collect();
        for (version, file) in &self.0 {
            match applied.get(version) {
                None => return Ok(Some(file)),
                Some(checksum) if *checksum == file.migration.checksum => {}
                Some(_) => return Err(changed(&file.name)),
            }
        }
        Ok(None)
    }
}

impl File {
    async fn apply<D: Dialect>(&self, connection: &mut D::Connection) -> Result<Migration> {
        let applied = connection.apply(TABLE, &self.migration).await.map_err(plain::<D>);
        applied.context(format!("running the migration {}", self.name))?;
        Ok(Migration { name: self.name.clone(), state: MigrationState::Applied })
    }
}

/// A migration whose file is not what has run.
pub(super) fn changed(name: &str) -> Error {
    Error::internal(format!(
        "the migration {name} was changed after it had run\n  undo the change, and write what is to change into a new file; \
         while you develop, you may also begin with a new database"
    ))
}

/// The database's own error, without sqlx's words for where it arose, which the contexts say better.
#[track_caller]
fn plain<D: Dialect>(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => D::unavailable(error),
        error => error.into(),
    }
}

/// The number and the words of a file's name, `0001_guestbook.sql`.
fn parse(file: &str) -> Result<(i64, String), &'static str> {
    let expected = "expected a name such as 0001_guestbook.sql: a number, an underscore, words";
    let stem = file.strip_suffix(".sql").ok_or(expected)?;
    let (number, words) = stem.split_once('_').ok_or(expected)?;
    if words.is_empty() || number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected);
    }
    if words.ends_with(".down") || words.ends_with(".up") {
        return Err("there is no way back: what undoes a migration is another one, with a number of its own");
    }
    if words.contains('/') {
        return Err(expected);
    }
    let number = number.parse().map_err(|_| "its number is larger than 9223372036854775807")?;
    Ok((number, words.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_known_by_its_name() {
        for (name, expected) in [
            ("0001_guestbook.sql", Some((1, "guestbook"))),
            ("20261121093000_add_users.sql", Some((20_261_121_093_000, "add users"))),
            ("7_.sql", None),
            ("_x.sql", None),
            ("x.sql", None),
            ("guestbook_1.sql", None),
            ("-1_x.sql", None),
            ("+1_x.sql", None),
            ("0001-x.sql", None),
            ("0001_x.txt", None),
            ("0001_x.up.sql", None),
            ("0001_x.down.sql", None),
            ("old/0001_x.sql", None),
            ("1_old/0001_x.sql", None),
            ("99999999999999999999_x.sql", None),
        ] {
            assert_eq!(parse(name).ok(), expected.map(|(number, words)| (number, words.to_owned())), "{name}");
        }
    }

    #[test]
    fn two_with_one_number_are_named() {
        let assets = Assets::embedded(&[("0001_a.sql", b""), ("001_b.sql", b""), ("README.md", b"")]);
        let message = Migrations::read(&assets).unwrap_err().to_string();
        assert_eq!(message, "the migrations 0001_a.sql and 001_b.sql have one number");
    }

    #[test]
    fn line_endings_do_not_make_another_migration() {
        let read = |text: &'static [u8]| {
            let assets = Assets::embedded(Box::leak(Box::new([("1_a.sql", text)])));
            Migrations::read(&assets).unwrap().0[&1].migration.checksum.to_vec()
        };
        assert_eq!(read(b"SELECT 1;\r\nSELECT 2;\r\n"), read(b"SELECT 1;\nSELECT 2;\n"));
        assert_ne!(read(b"SELECT 1;"), read(b"SELECT 2;"));
    }
}
