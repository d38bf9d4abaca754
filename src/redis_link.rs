//! `Link`: the one connection to a Redis, made when it is needed, and again when it is lost.

use crate::lock::locked;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Script,
    ServerErrorKind, Value,
};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A connection which all requests share: what they ask at the same time goes over the wire together.
///
/// Not redis' own `ConnectionManager`: that one keeps a connection whose other end has vanished without a word (every
/// command then runs out of its time, until the kernel gives up after a quarter of an hour), and lets each request
/// wait while it tries to connect again and again, where most could be told at once that Redis is down.
///
/// No task of its own: whoever asks connects, if need be. So nothing is left over when the site has ended.
pub(crate) struct Link {
    client: Client,
    timeout: Duration,
    /// Where Redis is, without the password.
    place: Arc<str>,
    state: Mutex<State>,
    /// Held while the first connects, so that the others who come meanwhile do not.
    first: tokio::sync::Mutex<()>,
}

enum State {
    /// Nobody has asked yet, or what there was broke a moment ago.
    None,
    There(Wire),
    Failed {
        error: LinkError,
        /// Until then nobody tries.
        until: Instant,
    },
}

/// The connection, and which one it is.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) connection: MultiplexedConnection,
    made: Instant,
}

/// After a failed attempt to connect, so much time passes before the next.
const PAUSE: Duration = Duration::from_millis(100);

/// So many commands may be under way; others wait for their turn.
const UNDER_WAY: usize = 1024;

impl Link {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// What is said by the URL cannot be connected to.
    pub(crate) fn new(url: &str) -> Result<Self, Misconfigured> {
        Self::read(url).map_err(|cause| Misconfigured::url(url, cause))
    }

    fn read(url: &str) -> RedisResult<Self> {
        let info = url.into_connection_info()?;
        let place = match info.redis_settings().db() {
            0 => info.addr().to_string(),
            database => format!("{}/{database}", info.addr()),
        };
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(TcpKeepalive::new());
        let client = Client::open(info.set_tcp_settings(tcp))?;
        #[cfg(feature = "redis-tls")]
        {
            // Without one, rustls panics where the site's own packages bring two to choose from. An error says that the
            // site has chosen already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(Self::of(client, Duration::from_secs(1), place.into()))
    }

    /// Trusts these certificates instead of the system's.
    ///
    /// # Errors
    ///
    /// They are no PEM, or the connection is not by TLS.
    #[cfg(feature = "redis-tls")]
    pub(crate) fn trusting(self, pem: &[u8]) -> Result<Self, Misconfigured> {
        let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
        let client = Client::build_with_tls(self.client.get_connection_info().clone(), certificates);
        Ok(Self { client: client.map_err(Misconfigured::certificate)?, ..self })
    }

    fn of(client: Client, timeout: Duration, place: Arc<str>) -> Self {
        Self { client, timeout, place, state: Mutex::new(State::None), first: tokio::sync::Mutex::new(()) }
    }

    /// Another one to the same place.
    pub(crate) fn another(&self) -> Self {
        Self::of(self.client.clone(), self.timeout, self.place.clone())
    }

    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The connection; it may break as soon as it is used.
    ///
    /// # Errors
    ///
    /// There is none to be had, or there was none a moment ago.
    pub(crate) async fn wire(&self) -> Result<Wire, LinkError> {
        let first = match &mut *self.state() {
            State::There(wire) => return Ok(wire.clone()),
            State::Failed { error, until } if Instant::now() < *until => return Err(error.clone()),
            // Redis is down: one request tries, and the others need not wait for what comes of it.
            State::Failed { until, .. } => {
                *until = Instant::now() + self.timeout + PAUSE;
                false
            }
            // It is probably there: all wait for the first to connect.
            State::None => true,
        };
        let mut turn = None;
        if first {
            turn = Some(self.first.lock().await);
            match &*self.state() {
                State::There(wire) => return Ok(wire.clone()),
                State::Failed { error, .. } => return Err(error.clone()),
                State::None => {}
            }
        }
        let connected = self.connect().await;
        *self.state() = match &connected {
            Ok(wire) => State::There(wire.clone()),
            Err(error) => State::Failed { error: error.clone(), until: Instant::now() + PAUSE },
        };
        drop(turn);
        connected
    }

    async fn connect(&self) -> Result<Wire, LinkError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            // Timed by `answer`, together with the time in the queue.
            .set_response_timeout(None)
            .set_concurrency_limit(UNDER_WAY)
            .set_pipeline_buffer_size(UNDER_WAY);
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => Ok(Wire { connection, made: Instant::now() }),
            Err(cause) => Err(self.error(What::Connecting, cause)),
        }
    }

    /// Waits for the answer to what was asked over this wire, and leaves the wire if it turns out to be broken.
    ///
    /// # Errors
    ///
    /// No answer in time, or one that says no.
    pub(crate) async fn answer<T>(
        &self,
        wire: Wire,
        asked: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, LinkError> {
        let answer = tokio::time::timeout(self.timeout, asked).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(cause)) => self.error(What::Asking, cause),
            Err(_) => {
                self.error(What::Waiting(self.timeout), std::io::Error::from(std::io::ErrorKind::TimedOut).into())
            }
        };
        if error.breaks() {
            self.leave(&wire);
        }
        Err(error)
    }

    /// Runs a script, by the name that Redis has for it, or by its source where Redis does not know it. `call` makes the command,
    /// of these first two words.
    ///
    /// # Errors
    ///
    /// No connection, no answer in time, or one that says no.
    pub(crate) async fn run(&self, script: &Lua, call: impl Fn(&str, &str) -> Cmd) -> Result<Value, LinkError> {
        let wire = self.wire().await?;
        let mut connection = wire.connection.clone();
        let asked = async {
            match send(&mut connection, &call("EVALSHA", script.script.get_hash())).await {
                // Redis has been restarted since, or somebody made it forget.
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    send(&mut connection, &call("EVAL", script.source)).await
                }
                answer => answer,
            }
        };
        self.answer(wire, asked).await
    }

    /// The next one who asks connects anew; those who wait for an answer by this wire may still get it.
    fn leave(&self, wire: &Wire) {
        let mut state = self.state();
        if matches!(&*state, State::There(current) if current.made == wire.made) {
            *state = State::None;
        }
    }

    fn error(&self, what: What, cause: RedisError) -> LinkError {
        LinkError { place: self.place.clone(), what, cause }
    }

    /// Only this file's code runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl fmt::Debug for Link {
    /// Without the URL, which may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("place", &self.place).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A script that Redis runs in one step.
pub(crate) struct Lua {
    source: &'static str,
    script: LazyLock<Script, fn() -> Script>,
}

/// A [`Lua`] of a source that is there for ever.
macro_rules! lua {
    ($source:expr) => {
        $crate::redis_link::Lua::new($source, || redis::Script::new($source))
    };
}

pub(crate) use lua;

impl Lua {
    pub(crate) const fn new(source: &'static str, script: fn() -> Script) -> Self {
        Self { source, script: LazyLock::new(script) }
    }
}

/// What is to be logged of Redis, where a site goes on without it: once that it is away, and once that it is back.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    is_away: AtomicBool,
    /// It was said that it refuses.
    has_refused: AtomicBool,
}

/// What is to be logged.
#[derive(Debug)]
pub(crate) enum News {
    Back,
    /// With the error and its cause.
    Away(String),
    /// What is asked cannot be done there, whoever asks.
    Refuses(String),
}

impl Presence {
    /// What an answer tells that has not been told.
    pub(crate) fn hear<T>(&self, answer: &Result<T, LinkError>) -> Option<News> {
        let error = match answer {
            Ok(_) if !self.is_away.load(Ordering::Relaxed) => return None,
            Ok(_) => return self.is_away.swap(false, Ordering::Relaxed).then_some(News::Back),
            Err(error) => error,
        };
        let is_away = error.is_unavailable();
        // A key that is another's is there for every request.
        let told = if is_away { &self.is_away } else { &self.has_refused };
        if told.swap(true, Ordering::Relaxed) {
            return None;
        }
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let words = format!("{error}{cause}");
        Some(if is_away { News::Away(words) } else { News::Refuses(words) })
    }
}

/// Redis could not be asked, or said no.
#[derive(Clone, Debug)]
pub(crate) struct LinkError {
    place: Arc<str>,
    what: What,
    cause: RedisError,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Connecting,
    Asking,
    Waiting(Duration),
}

impl LinkError {
    /// Whether it is Redis' state and not what it was asked: it may be able to answer later, or to somebody else.
    pub(crate) fn is_unavailable(&self) -> bool {
        match self.cause.kind() {
            ErrorKind::Server(ServerErrorKind::ResponseError) => {
                matches!(self.what, What::Connecting) || self.is_protocol_error()
            }
            ErrorKind::UnexpectedReturnType | ErrorKind::Client => false,
            // All other codes (LOADING, READONLY, OOM, MISCONF, NOAUTH, NOPERM, BUSY …) are such, but for this one.
            ErrorKind::Extension => self.cause.code() != Some("WRONGTYPE"),
            _ => true,
        }
    }

    /// Whether another connection may do better: this one is broken, or it leads to what is no longer the master.
    fn breaks(&self) -> bool {
        use ServerErrorKind::{MasterDown, ReadOnly};
        let code = matches!(self.cause.kind(), ErrorKind::Server(ReadOnly | MasterDown));
        code || self.cause.is_io_error() || self.cause.is_unrecoverable_error() || self.is_protocol_error()
    }

    /// After such words Redis closes the connection. They are what a long command gets before a password.
    fn is_protocol_error(&self) -> bool {
        self.cause.detail().is_some_and(|detail| detail.starts_with("Protocol error"))
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, .. } = self;
        match what {
            What::Connecting => write!(f, "no connection to Redis at {place}"),
            What::Asking => write!(f, "Redis at {place} failed"),
            What::Waiting(limit) => write!(f, "Redis at {place} did not answer within {limit:?}"),
        }
    }
}

impl std::error::Error for LinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.what {
            What::Waiting(_) => None,
            _ => Some(root(&self.cause)),
        }
    }
}

/// Sends a command and waits for the answer, without the box that `Cmd::query_async` takes.
pub(crate) async fn send(connection: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    connection.send_packed_command(command).await?.extract_error()
}

/// Redis cannot be connected to in the way that was said. Of the URL only the scheme is told: the rest may be a password.
#[derive(Clone, Debug)]
pub(crate) struct Misconfigured {
    message: String,
    cause: redis::RedisError,
}

impl Misconfigured {
    fn url(url: &str, cause: redis::RedisError) -> Self {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        let plain = scheme.filter(|scheme| scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+'));
        let found = match plain {
            Some("rediss" | "valkeys") if cfg!(not(feature = "redis-tls")) => {
                "one of TLS, which needs Purlin's feature `redis-tls`".to_owned()
            }
            Some(scheme) => format!("one of {scheme}:// that cannot be read"),
            None => "no URL".to_owned(),
        };
        let expected = "a URL such as redis://127.0.0.1:6379/0 or unix:///run/redis/redis.sock";
        Self { message: format!("expected {expected}, found {found}"), cause }
    }

    #[cfg(feature = "redis-tls")]
    fn certificate(cause: redis::RedisError) -> Self {
        Self { message: "expected root certificates in PEM, for a URL of rediss://".to_owned(), cause }
    }
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misconfigured {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(root(&self.cause))
    }
}

/// The error itself, or what it comes from if there is such a thing: the two print the same.
fn root(error: &RedisError) -> &(dyn std::error::Error + 'static) {
    std::error::Error::source(error).unwrap_or(error)
}
