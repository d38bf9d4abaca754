//! `Remote`: requests counted in Redis or Valkey, by all processes and machines of a site together.

use super::{MOST, Pace, Verdict, Whose};
use crate::redis_link::{Link, LinkError, Lua, Misconfigured, News, Presence, lua};
use crate::{Error, Result};
use orion::hazardous::hash::blake2::blake2b::Blake2b;
use redis::Cmd;
use std::fmt::{self, Write};
use std::time::Duration;

/// Counts below a prefix, by one script: one trip there and back, and no two requests pass where one may.
///
/// A client's key is a digest of what it is known by: an address, a login name or a token is not to be read there. A key ends by
/// itself when what is counted has used up its time. Redis 5 or Valkey, one server; the user needs `EVALSHA`, `EVAL`, `TIME`,
/// `GET` and `SET` on the prefix's keys. With `maxmemory`, any policy will do.
pub(crate) struct Remote {
    link: Link,
    presence: Presence,
}

/// As many as make a guess of no use.
const DIGEST_BYTES: usize = 16;

static SCRIPT: Lua = lua!(include_str!("remote/rate.lua"));

impl Remote {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// What is said by the URL cannot be connected to.
    pub(crate) fn new(url: &str) -> Result<Self, Misconfigured> {
        Ok(Self { link: Link::new(url)?, presence: Presence::default() })
    }

    /// Waits so long for an answer.
    pub(crate) fn timeout(self, limit: Duration) -> Self {
        Self { link: self.link.timeout(limit), ..self }
    }

    /// Where it is, without the password.
    pub(crate) fn place(&self) -> &str {
        self.link.place()
    }

    /// Counts a request, unless it is refused.
    ///
    /// # Errors
    ///
    /// Redis cannot be asked, which was logged.
    pub(crate) async fn ask(&self, name: &str, paces: &[Pace], whose: Whose<'_>) -> Result<Verdict> {
        let key = key(name, whose.counted())?;
        let call = |by: &str, script: &str| {
            let mut call = Cmd::with_capacity(4 + 2 * MOST, 256);
            call.arg(by).arg(script).arg(1).arg(&key);
            for pace in paces {
                call.arg(pace.interval).arg(pace.tolerance);
            }
            call
        };
        let answer = self.link.run(&SCRIPT, call).await;
        self.tell(&answer);
        let said: Vec<u64> = redis::from_redis_value(answer.map_err(Error::unavailable)?)?;
        let mut verdict = Verdict { wait: said.first().copied().unwrap_or(0), ahead: [0; MOST] };
        for (ahead, said) in verdict.ahead.iter_mut().zip(said.iter().skip(1)) {
            *ahead = *said;
        }
        Ok(verdict)
    }

    fn tell<T>(&self, answer: &Result<T, LinkError>) {
        match self.presence.hear(answer) {
            None => {}
            Some(News::Back) => tracing::info!(target: "purlin::rate_limit", "Redis at {} is back", self.place()),
            Some(News::Away(why)) => {
                tracing::warn!(target: "purlin::rate_limit", "requests are not counted in Redis until that is back: {why}");
            }
            Some(News::Refuses(why)) => {
                tracing::warn!(target: "purlin::rate_limit", "Redis refuses to count requests: {why}");
            }
        }
    }
}

fn key(name: &str, whose: Whose<'_>) -> Result<String> {
    let mut digest = Blake2b::new(DIGEST_BYTES)?;
    let (kind, text) = match whose {
        Whose::Client(None) => ("client", "".into()),
        Whose::Client(Some(address)) => ("client", std::borrow::Cow::Owned(address.to_string())),
        #[cfg(feature = "auth")]
        Whose::User(id) => ("user", id.into()),
        Whose::Key(key) => ("key", key.into()),
    };
    for part in [kind, "\0", &text] {
        digest.update(part.as_bytes())?;
    }
    let mut key = format!("purlin:rate:{name}:");
    for byte in digest.finalize()?.as_ref() {
        // Writing into a string does not fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("link", &self.link).finish_non_exhaustive()
    }
}
