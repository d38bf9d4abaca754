//! `RedisStore`: sessions in Redis or Valkey, for sites on several machines.

use super::{Capabilities, Change, GRACE_SECONDS, Record, Save, Saved, SessionId, Store, StoreError, Token};
use crate::redis_link::{Link, LinkError, Lua, Misconfigured, lua, send};
use crate::site::Start;
use crate::{Error, Result};
use orion::hazardous::hash::blake2::blake2b::Blake2b;
use redis::{Cmd, FromRedisValue, Value};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Keeps sessions in Redis or [Valkey](https://valkey.io), which several servers of a site may share.
///
/// - A request's changes are merged on the server by one script: requests at the same time, on whichever machine, lose
///   nothing.
/// - Sessions that have ended are deleted by Redis (`EXPIRE`); nothing is collected. The key is
///   `purlin:session:` and a digest of the session's token (24 bytes of BLAKE2b, RFC 7693, in hex): whoever reads the
///   database, a copy of it or its slow log can open no session with what is there.
/// - All requests share one connection. Each answer is waited for a [second](RedisStore::timeout), and so is connecting;
///   at most 1024 commands are under way, others wait for their turn within that second. While Redis is down, one
///   request at a time tries to connect, at most ten times a second; the others are told at once. The site goes on by
///   itself when Redis is back.
/// - When the site starts, a session is made and deleted, to find out whether Redis is there and may be written to: see
///   [`check_at_start`](RedisStore::check_at_start).
///
/// # The URL
///
/// `redis://[[user]:password@]host[:port][/database]`, or `unix:///path/to/socket[?db=1&user=…&pass=…]`; `valkey://` is
/// the same as `redis://`. `rediss://` is TLS, with the feature `redis-tls`: the server's certificate must lead to one
/// that the system trusts, or to [`root_certificate`](RedisStore::root_certificate). A password belongs into the
/// environment, and is never printed.
///
/// # What it needs
///
/// Redis 4 or Valkey, one server: its replicas are not read from, and a Redis Cluster is refused by its own redirections.
/// The user may be limited to the prefix's keys and `PING`, `EVALSHA`, `EVAL`, `HGETALL`, `HMGET`, `HGET`, `HKEYS`,
/// `HSET`, `HDEL`, `HINCRBY`, `EXPIRE` and `DEL`.
///
/// What an acknowledged change survives is Redis' own affair. With `appendonly yes` and `appendfsync always` it survives
/// the end of Redis and of its machine. With `appendfsync everysec`, the default of the former, `kill -9` and a power cut
/// may cost the last two seconds; without an append-only file, a restart goes back to the last snapshot. With `maxmemory`,
/// let the policy be `noeviction`, or visitors are signed out for want of memory.
///
/// # Errors
///
/// 503 when Redis cannot be reached, does not answer in time, or cannot serve now (it is loading, out of memory, a replica
/// …). A change that was not acknowledged in time may have been made all the same: that is so with everything that is asked
/// by a wire.
///
/// ```no_run
/// use purlin::layers::Sessions;
/// use purlin::session::RedisStore;
///
/// let layer = Sessions::new(RedisStore::new("redis://127.0.0.1:6379/0"));
/// ```
pub struct RedisStore {
    // What is wrong with the URL is told when the site starts, as with every other option.
    link: Result<Link, Misconfigured>,
    prefix: Cow<'static, str>,
    check_at_start: bool,
}

impl RedisStore {
    /// Sessions in the Redis of this URL. Nothing is connected to before the site starts; with a URL that cannot be read
    /// it does not start.
    pub fn new(url: &str) -> Self {
        Self { link: Link::new(url), prefix: PREFIX.into(), check_at_start: true }
    }

    /// What the keys begin with; `purlin:session:` by default. Sites that share a database need one each.
    pub fn prefix(self, prefix: impl Into<Cow<'static, str>>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// How long an answer is waited for, and a connection; 1 second by default. A request to the site asks Redis twice
    /// at most: to read its session, and to write it.
    pub fn timeout(self, limit: Duration) -> Self {
        Self { link: self.link.map(|link| link.timeout(limit)), ..self }
    }

    /// Trusts the certificates which one of these signed, in PEM, instead of what the system trusts; for `rediss://`.
    /// With what is no such thing, or another URL, the site does not start.
    #[cfg(feature = "redis-tls")]
    pub fn root_certificate(self, pem: &[u8]) -> Self {
        Self { link: self.link.and_then(|link| link.trusting(pem)), ..self }
    }

    /// Whether the site refuses to start while Redis cannot be reached or written to; on by default. Off, it starts, and
    /// what needs a session is answered 503 until Redis is there.
    pub fn check_at_start(self, check: bool) -> Self {
        Self { check_at_start: check, ..self }
    }

    fn link(&self) -> Result<&Link, StoreError> {
        self.link.as_ref().map_err(|error| StoreError::Other(Box::new(error.clone())))
    }

    /// The key of the session which this token may open; none for what is not as long as one.
    fn key(&self, token: Token<'_>) -> Result<Option<String>, StoreError> {
        (token.value.len() == TOKEN_BYTES).then(|| self.key_of(token.value)).transpose()
    }

    /// No salt: of 192 random bits there is no list of likely ones to go through.
    fn key_of(&self, token: &str) -> Result<String, StoreError> {
        let digest = || {
            let mut digest = Blake2b::new(DIGEST_BYTES)?;
            digest.update(token.as_bytes())?;
            digest.finalize()
        };
        let digest = digest().map_err(|cause| StoreError::Other(Box::new(cause)))?;
        let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        let mut key = Vec::with_capacity(self.prefix.len() + 2 * DIGEST_BYTES);
        key.extend_from_slice(self.prefix.as_bytes());
        key.extend(digest.as_ref().iter().flat_map(digits));
        String::from_utf8(key).map_err(|cause| StoreError::Other(Box::new(cause)))
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        let link = self.link()?;
        let wire = link.wire().await?;
        let mut connection = wire.connection.clone();
        Ok(link.answer(wire, send(&mut connection, command)).await?)
    }

    /// Does what `save.lua` says.
    async fn run(&self, what: &str, keys: &[String], save: Save<'_>) -> Result<Done, StoreError> {
        let call = |by: &str, source: &str| script(by, source, what, keys, save);
        match self.link()?.run(&SAVE, call).await? {
            Value::Int(0) => Ok(Done::Gone),
            Value::Int(_) => Ok(Done::Written),
            other => Ok(Done::Moved(read(other)?)),
        }
    }

    async fn change(&self, session: String, save: Save<'_>) -> Result<Saved, StoreError> {
        let (mut keys, mut what, mut saved) = ([session], "change", Saved::Kept);
        for _ in 0..MAX_MOVES {
            match self.run(what, &keys, save).await? {
                Done::Written => return Ok(saved),
                Done::Gone => return Ok(Saved::Gone),
                Done::Moved(home) => (keys, what, saved) = ([home], "follow", Saved::Moved),
            }
        }
        Err(StoreError::Other(Box::new(TooManyMoves)))
    }

    async fn rotate(&self, session: String, save: Save<'_>) -> Result<Saved, StoreError> {
        let token = SessionId::random()?.to_string();
        let mut keys = vec![session, self.key_of(&token)?];
        for _ in 0..MAX_MOVES {
            match self.run("rotate", &keys, save).await? {
                Done::Written => return Ok(Saved::Token(token)),
                Done::Gone => return Ok(Saved::Gone),
                Done::Moved(home) => {
                    keys.truncate(2);
                    keys.push(home);
                }
            }
        }
        Err(StoreError::Other(Box::new(TooManyMoves)))
    }

    /// Whether a session that went there is still there, or where it went on to.
    async fn lives(&self, mut home: String, now: u64) -> Result<bool, StoreError> {
        for _ in 0..MAX_MOVES {
            let ask = redis::cmd("HMGET").arg(&home).arg("expires").arg("moved").take();
            let (expires, moved): (Option<u64>, Option<String>) = read(self.ask(&ask).await?)?;
            match moved {
                _ if expires.is_none_or(|expires| expires <= now) => return Ok(false),
                None => return Ok(true),
                Some(next) => home = next,
            }
        }
        Err(StoreError::Other(Box::new(TooManyMoves)))
    }

    /// Makes a session and deletes it.
    async fn check(&self) -> Result<(), StoreError> {
        // Without the password it is told of by this, and by longer commands in riddles.
        self.ask(&redis::cmd("PING")).await?;
        let (changes, values) = Default::default();
        let save = Save {
            cookie: "check",
            token: None,
            changes: &changes,
            values: &values,
            created: 0,
            expires: 1,
            rotate: false,
            now: 0,
            max_token_bytes: usize::MAX,
        };
        if let Saved::Token(token) = self.save(save).await? {
            let token = Token::new("check", &token);
            self.load(token, 0).await?;
            self.destroy(token).await?;
        }
        Ok(())
    }
}

const PREFIX: &str = "purlin:session:";

/// Of 24 bytes in base64url.
const TOKEN_BYTES: usize = 32;

/// As many as make a token.
const DIGEST_BYTES: usize = 24;

static SAVE: Lua = lua!(include_str!("redis/save.lua"));

/// The command that runs `save.lua`, by its source or by the name that Redis has for it. Not `Script::prepare_invoke`, which
/// allocates for each argument.
fn script(command: &str, script: &str, what: &str, keys: &[String], save: Save<'_>) -> Cmd {
    let seconds = save.expires.saturating_sub(save.now).min(MAX_SECONDS);
    let begins = what == "begin";
    let mut call = Cmd::with_capacity(16, 256);
    call.arg(command).arg(script).arg(keys.len()).arg(keys);
    call.arg(what).arg(save.now).arg(save.created).arg(save.expires).arg(seconds).arg(GRACE_SECONDS);
    call.arg(u8::from(!begins && save.changes.cleared()));
    if begins {
        for (key, text) in save.values.iter() {
            call.arg("set").arg(key).arg(text);
        }
        return call;
    }
    for (key, change) in save.changes.iter() {
        match change {
            Change::Set(text) => call.arg("set").arg(key).arg(&**text),
            Change::Remove => call.arg("remove").arg(key).arg(""),
            Change::Increment(by) => call.arg("add").arg(key).arg(by),
        };
    }
    call
}

fn read<T: FromRedisValue>(answer: Value) -> Result<T, StoreError> {
    redis::from_redis_value(answer).map_err(|cause| StoreError::Other(Box::new(cause)))
}

/// A hundred years. Beyond what Redis can count in milliseconds, it refuses.
const MAX_SECONDS: u64 = 100 * 366 * 24 * 3600;

/// So often a session is followed to where it went: each time is a rotation of the last few seconds.
const MAX_MOVES: usize = 32;

/// What the script did.
enum Done {
    Written,
    Gone,
    Moved(String),
}

impl Store for RedisStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::expiring()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        let Some(key) = self.key(token)? else {
            return Ok(None);
        };
        let fields: Vec<(String, String)> = read(self.ask(redis::cmd("HGETALL").arg(&key)).await?)?;
        if fields.is_empty() {
            return Ok(None);
        }
        let own = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let time = |name| match own(name).map(str::parse) {
            Some(Ok(seconds)) => Ok(seconds),
            _ => Err(StoreError::Other(Box::new(Foreign { key: key.clone(), field: name }))),
        };
        let (created, expires) = (time("created")?, time("expires")?);
        if expires <= now {
            return Ok(None);
        }
        if let Some(home) = own("moved")
            && !self.lives(home.to_owned(), now).await?
        {
            return Ok(None);
        }
        let values = fields.iter().filter_map(|(field, text)| Some((field.strip_prefix(':')?, text.as_str())));
        Ok(Some(Record::new(values.collect(), created, expires)))
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        let Some(token) = save.token else {
            let token = SessionId::random()?.to_string();
            self.run("begin", &[self.key_of(&token)?], save).await?;
            return Ok(Saved::Token(token));
        };
        let Some(session) = self.key(token)? else {
            return Ok(Saved::Gone);
        };
        if save.rotate { self.rotate(session, save).await } else { self.change(session, save).await }
    }

    async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
        match self.key(token)? {
            Some(key) => self.ask(redis::cmd("DEL").arg(key)).await.map(drop),
            None => Ok(()),
        }
    }

    fn name(&self) -> Cow<'static, str> {
        match &self.link {
            Ok(link) => format!("RedisStore({})", link.place()).into(),
            Err(_) => "RedisStore".into(),
        }
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        let link = self.link.as_ref().map_err(|error| Error::from(error.clone()))?;
        if !self.check_at_start {
            return Ok(());
        }
        let another = Self { link: Ok(link.another()), prefix: self.prefix.clone(), check_at_start: false };
        // The site's runtime may have this thread only, and a connection belongs to the runtime that made it.
        let checked = std::thread::scope(|scope| {
            let check = scope.spawn(|| -> Result<()> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(another.check()).map_err(StoreError::carried)
            });
            // Its panic is this one's.
            check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        checked.map_err(|error| error.context("Redis is asked when the site starts, unless `check_at_start(false)`"))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("link", &self.link)
            .field("prefix", &self.prefix)
            .field("check_at_start", &self.check_at_start)
            .finish()
    }
}

impl From<LinkError> for StoreError {
    fn from(error: LinkError) -> Self {
        if error.is_unavailable() { Self::Unavailable(Box::new(error)) } else { Self::Other(Box::new(error)) }
    }
}

/// Something else's hash lies at a session's key.
#[derive(Debug)]
struct Foreign {
    key: String,
    field: &'static str,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a session at the key {:?}, found a hash whose field {:?} is no time", self.key, self.field)
    }
}

impl std::error::Error for Foreign {}

/// More rotations than visitors make in their few seconds of grace.
#[derive(Debug)]
struct TooManyMoves;

impl fmt::Display for TooManyMoves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a session was rotated more than {MAX_MOVES} times within {GRACE_SECONDS} seconds")
    }
}

impl std::error::Error for TooManyMoves {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_b2sum_says_of_the_token() {
        let store = RedisStore::new("redis://localhost");
        let token = "0123456789abcdefghijklmnopqrstuv";
        let key = store.key(Token::new("session", token)).unwrap().unwrap();
        // printf %s TOKEN | b2sum -l 192
        assert_eq!(key, "purlin:session:a15d338b454bb4ebb889aea01702acec0775e871cfce3cd2");
        for junk in ["", "x", &token[1..], &format!("{token}w"), &token.repeat(100)] {
            assert_eq!(store.key(Token::new("session", junk)).unwrap(), None, "{junk:?}");
        }
    }
}
