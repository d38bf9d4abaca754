//! What the stores in SQLite and PostgreSQL have in common: a row for each session, and what a save does to rows.

use super::{Changes, GRACE_SECONDS, Record, Save, Saved, SessionId, StoreError, Token, Values};
use orion::hazardous::hash::sha2::sha256::Sha256;
use std::collections::BTreeMap;
use std::fmt;

/// The name of a row: the SHA-256 of the session's id. Whoever reads the database, or a copy of it, can open no session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(id: SessionId) -> Result<Self, StoreError> {
        // No salt: there is no list of likely ids to go through, of 192 random bits.
        let digest = Sha256::digest(id.as_bytes()).map_err(|cause| StoreError::Other(Box::new(cause)))?;
        Self::read(digest.as_ref())
    }

    /// As it stands in the database.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let bytes =
            bytes.try_into().map_err(|_| Foreign::error("a key of 32 bytes", format!("{} bytes", bytes.len())))?;
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A session in its table.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) values: Values,
    pub(super) created: u64,
    pub(super) expires: u64,
    /// Where the session went, from the rotation until the end of the grace; the values are those from before.
    pub(super) moved_to: Option<Key>,
}

/// The columns `data`, `created`, `expires` and `moved_to`, as the databases know them.
pub(super) type Columns = (String, i64, i64, Option<Vec<u8>>);

impl Row {
    pub(super) fn read((data, created, expires, moved_to): Columns) -> Result<Self, StoreError> {
        let values: BTreeMap<String, String> = serde_json::from_str(&data)
            .map_err(|cause| Foreign::error("an object of texts in the column `data`", cause.to_string()))?;
        Ok(Self {
            values: values.into_iter().collect(),
            created: seconds_read(created)?,
            expires: seconds_read(expires)?,
            moved_to: moved_to.as_deref().map(Key::read).transpose()?,
        })
    }

    /// A JSON object which has the JSON text of each key as a text: nobody parses what nobody asks for.
    pub(super) fn data(&self) -> Result<String, StoreError> {
        let values: BTreeMap<&str, &str> = self.values.iter().collect();
        serde_json::to_string(&values).map_err(|cause| StoreError::Other(Box::new(cause)))
    }
}

/// Seconds as a column has them, which counts no further than 63 bits.
pub(super) fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn seconds_read(seconds: i64) -> Result<u64, StoreError> {
    u64::try_from(seconds).map_err(|_| Foreign::error("seconds since 1970", seconds.to_string()))
}

/// The table, in a transaction.
pub(super) trait Table {
    /// The session, unless it has ended at `now`. Nobody else changes it before the transaction ends.
    fn read(&mut self, key: &Key, now: u64) -> impl Future<Output = Result<Option<Row>, StoreError>> + Send;

    /// Writes the session, whether it is there or not.
    fn write(&mut self, key: &Key, row: &Row) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The tables as a whole.
pub(super) trait Schema {
    /// Begins a transaction that nobody else who updates the tables is in.
    const BEGIN: &'static str;

    /// What leads from each version of the tables to the next, the first from none; each notes its own.
    const STEPS: &'static [&'static str];

    /// The version that was noted last; 0 where there are no tables.
    fn version(&mut self) -> impl Future<Output = Result<i64, StoreError>> + Send;

    fn execute(&mut self, statement: &'static str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Makes the tables, or brings them to the version that is used here. Asks for nothing more than reading where they are.
pub(super) async fn update<S: Schema>(schema: &mut S) -> Result<(), StoreError> {
    if missing::<S>(schema.version().await?)?.is_empty() {
        return Ok(());
    }
    schema.execute(S::BEGIN).await?;
    // Again: somebody else may have been quicker.
    for step in missing::<S>(schema.version().await?)? {
        schema.execute(step).await?;
    }
    schema.execute("COMMIT").await
}

fn missing<S: Schema>(version: i64) -> Result<&'static [&'static str], StoreError> {
    let steps = usize::try_from(version).ok().and_then(|version| S::STEPS.get(version..));
    steps.ok_or_else(|| StoreError::Other(Box::new(Newer { found: version, known: S::STEPS.len() })))
}

/// The tables are of a version that is not known here.
#[derive(Debug)]
pub(super) struct Newer {
    found: i64,
    known: usize,
}

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, known } = self;
        write!(
            f,
            "the tables of the sessions: expected version {known} or one before, found {found}, of a newer Purlin"
        )
    }
}

impl std::error::Error for Newer {}

/// A [`Save`] on its own legs.
pub(super) struct Work {
    session: Option<Key>,
    new: Option<(Key, SessionId)>,
    changes: Changes,
    values: Values,
    created: u64,
    expires: u64,
    now: u64,
}

impl Work {
    /// `None`: the token opens no session anyway.
    pub(super) fn of(save: &Save<'_>) -> Result<Option<Self>, StoreError> {
        let session = match save.token {
            None => None,
            Some(token) => match token.id() {
                None => return Ok(None),
                Some(id) => Some(Key::of(id)?),
            },
        };
        let new = if session.is_none() || save.rotate {
            let id = SessionId::random()?;
            Some((Key::of(id)?, id))
        } else {
            None
        };
        Ok(Some(Self {
            session,
            new,
            changes: save.changes.clone(),
            values: save.values.clone(),
            created: save.created,
            expires: save.expires,
            now: save.now,
        }))
    }

    /// Does what [`Store::save`](super::Store::save) promises.
    pub(super) async fn run(&self, table: &mut impl Table) -> Result<Saved, StoreError> {
        let row = |values| Row { values, created: self.created, expires: self.expires, moved_to: None };
        let Some(session) = self.session else {
            let Some((key, id)) = self.new else { return Ok(Saved::Gone) };
            table.write(&key, &row(self.values.clone())).await?;
            return Ok(Saved::Token(id.to_string()));
        };
        let Some(opened) = table.read(&session, self.now).await? else {
            return Ok(Saved::Gone);
        };
        let (mut home, mut there) = (session, opened.clone());
        for _ in 0..MAX_MOVES {
            let Some(next) = there.moved_to else { break };
            let Some(row) = table.read(&next, self.now).await? else {
                return Ok(Saved::Gone);
            };
            (home, there) = (next, row);
        }
        let Some((key, id)) = self.new else {
            there.values.apply(&self.changes);
            if home == session {
                there.expires = self.expires;
            }
            table.write(&home, &there).await?;
            return Ok(if home == session { Saved::Kept } else { Saved::Moved });
        };
        // From the values of this moment, which other requests may have changed since this one loaded them.
        let mut values = opened.values.clone();
        if opened.moved_to.is_none() {
            let expires = self.expires.min(self.now.saturating_add(GRACE_SECONDS));
            table.write(&session, &Row { expires, moved_to: Some(key), ..opened }).await?;
        }
        values.apply(&self.changes);
        table.write(&key, &row(values)).await?;
        Ok(Saved::Token(id.to_string()))
    }
}

/// The session that the token opens, if it lives where it went to, too.
pub(super) async fn load(table: &mut impl Table, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
    let Some(id) = token.id() else {
        return Ok(None);
    };
    let Some(row) = table.read(&Key::of(id)?, now).await? else {
        return Ok(None);
    };
    let mut home = row.moved_to;
    for _ in 0..MAX_MOVES {
        let Some(key) = home else { break };
        let Some(next) = table.read(&key, now).await? else {
            return Ok(None);
        };
        home = next.moved_to;
    }
    Ok(Some(Record::new(row.values, row.created, row.expires)))
}

/// So many ended sessions are deleted at a time, so that saves need not wait for all of them.
pub(super) const PORTION: u32 = 1000;

/// Deletes portions until one is not full; how many rows that were.
pub(super) async fn collect<F>(mut portion: impl FnMut() -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>> + Send,
{
    let mut all = 0;
    loop {
        let deleted = portion().await?;
        all += deleted;
        if deleted < u64::from(PORTION) {
            return Ok(all);
        }
    }
}

/// So often a session is followed to where it went: each time is a rotation of the last few seconds.
const MAX_MOVES: usize = 32;

/// What stands in the table was not written by a store.
#[derive(Debug)]
struct Foreign {
    expected: &'static str,
    found: String,
}

impl Foreign {
    fn error(expected: &'static str, found: String) -> StoreError {
        StoreError::Other(Box::new(Self { expected, found }))
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row of the table `purlin_session`: expected {}, found {}", self.expected, self.found)
    }
}

impl std::error::Error for Foreign {}
