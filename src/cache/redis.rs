//! `Remote`: values in Redis or Valkey, which the processes and machines of a site share.

use crate::Error;
use crate::config::Secret;
use crate::redis_link::{Link, LinkError, Lua, Misconfigured, News, Presence, lua};
use redis::{Cmd, Value};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Values by key in one Redis, below a prefix, each for its time and under its tags.
///
/// - Without Redis a site is slower, and does not fail: what cannot be read is not there, and what cannot be written is not
///   kept. The log says once that Redis is away (a warning), and once that it is back. Of those who ask meanwhile one tries to
///   connect, at most ten times a second; the others are told at once. Only a purge that did not reach Redis is an error: what
///   it was to purge is still given out.
/// - Every step is one script: one trip there and back, and nobody sees half of it.
/// - Nothing looks through the keys: a tag is a number, see `redis/cache.lua`.
///
/// Redis 5 or Valkey, one server; the user needs `EVALSHA`, `EVAL`, `TIME`, `HMGET`, `HGET`, `HSET`, `DEL`, `GET`, `SET`,
/// `PTTL` and `PEXPIRE` on the prefix's keys. With `maxmemory`, any policy will do.
pub(crate) struct Remote {
    link: Link,
    prefix: Box<str>,
    presence: Presence,
    failures: AtomicU64,
}

/// What Redis says to a key.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) stored: Option<Stored>,
    /// What is there is what was known.
    pub(crate) is_same: bool,
    /// For what is made now, if nothing is there; none where Redis is away.
    pub(crate) ticket: Option<Ticket>,
}

/// A value, and for how long.
pub(crate) struct Stored {
    pub(crate) bytes: Vec<u8>,
    /// Until it is stale; nought if it is.
    pub(crate) fresh_for: Duration,
    /// Until it ends.
    pub(crate) ends_in: Duration,
    pub(crate) tags: Vec<Box<str>>,
    /// The moment before it was made, by which one knows it again.
    pub(crate) since: Ticket,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is there.
    There,
    /// It was purged since its ticket, or a younger one is there.
    Outdated,
    /// Redis is away, or it is too large.
    Not,
}

/// The moment before a value was made, by Redis' own clock: a purge after it counts for the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(Box<str>);

impl Ticket {
    /// When it is put there: for a value that was not made from what a purge may mean.
    pub(crate) fn then() -> Self {
        Self("".into())
    }
}

/// What is put into Redis.
pub(crate) struct Put<'a> {
    pub(crate) key: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) tags: &'a [Box<str>],
    pub(crate) fresh_for: Duration,
    /// For how long it may be given out after that.
    pub(crate) stale_for: Duration,
    pub(crate) ticket: &'a Ticket,
}

/// What is larger is not put there: it would hold up whoever shares the connection.
pub(crate) const LARGEST: usize = 8 << 20;

/// Ten years: what a lifetime is cut to.
const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

static SCRIPT: Lua = lua!(include_str!("redis/cache.lua"));

impl Remote {
    /// Connects to nothing yet. All keys begin with the prefix, `purlin:cache:` for example; answers are waited for so long.
    ///
    /// # Errors
    ///
    /// What is said by the URL cannot be connected to.
    pub(crate) fn new(url: &Secret, prefix: &str, timeout: Duration) -> Result<Self, Misconfigured> {
        Ok(Self {
            link: Link::new(url.expose_str())?.timeout(timeout),
            prefix: prefix.into(),
            presence: Presence::default(),
            failures: AtomicU64::new(0),
        })
    }

    /// Where it is, without the password.
    pub(crate) fn place(&self) -> &str {
        self.link.place()
    }

    /// How often it could not be asked.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What is there by this key; nothing where Redis is away.
    pub(crate) async fn get(&self, key: &str) -> Answer {
        self.get_unless(key, None).await
    }

    /// The same, unless it is what is known.
    pub(crate) async fn get_unless(&self, key: &str, known: Option<&Ticket>) -> Answer {
        let fill = |call: &mut Cmd| {
            call.arg(known.map_or("", |known| &*known.0)).arg(LARGEST);
        };
        let Ok(answer) = self.ask("get", self.key(key), fill).await else {
            return Answer::default();
        };
        let parts: Vec<Vec<u8>> = redis::from_redis_value(answer).unwrap_or_default();
        let mut parts = parts.into_iter();
        let ticket = parts.next().and_then(|ticket| String::from_utf8(ticket).ok());
        let is_same = parts.len() == 1;
        let stored = parts.next().and_then(|bytes| {
            let mut millis = || -> Option<u64> { std::str::from_utf8(&parts.next()?).ok()?.parse().ok() };
            let (ends_in, stale_for) = (millis()?, millis()?);
            let fresh_for = Duration::from_millis(ends_in.saturating_sub(stale_for));
            let tags = String::from_utf8(parts.next()?).ok()?;
            let tags = tags.split('\0').filter_map(|tag| tag.strip_prefix(&*self.prefix)?.strip_prefix("t:"));
            let tags = tags.map(Box::from).collect();
            let since = Ticket(String::from_utf8(parts.next()?).ok()?.into());
            Some(Stored { bytes, fresh_for, ends_in: Duration::from_millis(ends_in), tags, since })
        });
        Answer { stored, is_same, ticket: ticket.map(|ticket| Ticket(ticket.into())) }
    }

    /// Puts a value there, unless it was purged since its ticket, or a younger one is there.
    pub(crate) async fn put(&self, put: Put<'_>) -> Placed {
        let Put { key, bytes, tags, fresh_for, stale_for, ticket } = put;
        if bytes.len() > LARGEST || fresh_for.saturating_add(stale_for) < Duration::from_millis(1) {
            return Placed::Not;
        }
        let millis = |time: Duration| u64::try_from(time.min(MAX).as_millis()).unwrap_or(u64::MAX);
        let fill = |call: &mut Cmd| {
            call.arg(&*ticket.0).arg(millis(fresh_for.saturating_add(stale_for))).arg(millis(stale_for)).arg(bytes);
            call.arg(self.everything());
            for tag in tags {
                call.arg(self.tag(tag));
            }
        };
        match self.ask("put", self.key(key), fill).await {
            Ok(Value::Int(1)) => Placed::There,
            Ok(_) => Placed::Outdated,
            Err(_) => Placed::Not,
        }
    }

    /// Takes one out, and what is under way to be put there.
    ///
    /// # Errors
    ///
    /// Redis did not say that it has done so.
    pub(crate) async fn remove(&self, key: &str) -> Result<(), LinkError> {
        self.ask("remove", self.key(key), |_| {}).await.map(drop)
    }

    /// Purges what has this tag, and what is under way to have it.
    ///
    /// # Errors
    ///
    /// Redis did not say that it has done so.
    pub(crate) async fn purge_tag(&self, tag: &str) -> Result<(), LinkError> {
        self.ask("purge", self.tag(tag), |_| {}).await.map(drop)
    }

    /// Purges everything below the prefix, and what is under way.
    ///
    /// # Errors
    ///
    /// Redis did not say that it has done so.
    pub(crate) async fn clear(&self) -> Result<(), LinkError> {
        self.ask("purge", self.everything(), |_| {}).await.map(drop)
    }

    fn key(&self, key: &str) -> String {
        format!("{}v:{key}", self.prefix)
    }

    fn tag(&self, tag: &str) -> String {
        // What parts the tags of an entry is in none of them.
        format!("{}t:{}", self.prefix, tag.replace('\0', "\u{fffd}"))
    }

    /// The tag that everything has.
    fn everything(&self) -> String {
        format!("{}all", self.prefix)
    }

    /// Takes one step of the script.
    async fn ask(&self, what: &str, key: String, fill: impl Fn(&mut Cmd)) -> Result<Value, LinkError> {
        let call = |by: &str, script: &str| {
            let mut call = Cmd::with_capacity(12, 256);
            call.arg(by).arg(script).arg(1).arg(&key).arg(what);
            fill(&mut call);
            call
        };
        let answer = self.link.run(&SCRIPT, call).await;
        if answer.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        match self.presence.hear(&answer) {
            None => {}
            Some(News::Back) => tracing::info!(target: "purlin::cache", "Redis at {} is back", self.place()),
            Some(News::Away(why)) => {
                let away = "the cache goes on without Redis, and says when that is back";
                tracing::warn!(target: "purlin::cache", "{away}: {why}");
            }
            Some(News::Refuses(why)) => {
                tracing::warn!(target: "purlin::cache", "Redis refuses a step of the cache: {why}");
            }
        }
        answer
    }
}

/// What says that a purge did not reach Redis.
pub(crate) fn unreached(error: LinkError) -> Error {
    Error::unavailable(error).context("purging what is in Redis")
}

impl fmt::Debug for Stored {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, fresh_for, ends_in, .. } = self;
        let mut all = f.debug_struct("Stored");
        all.field("bytes", &bytes.len()).field("fresh_for", fresh_for).field("ends_in", ends_in).finish_non_exhaustive()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("link", &self.link).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
