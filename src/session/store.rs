//! `Store`: where sessions are kept, and what every such place promises.

use super::{Changes, SessionId, Values};
use crate::site::{Start, short_name};
use crate::{Error, Result, error};
use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;

/// Keeps sessions: in the cookie itself, in memory, in a database.
///
/// The client holds a *token*, the value of its cookie, which the store makes and which opens one session. Times are
/// whole seconds since 1970, and the store is told what time it is: it asks no clock.
///
/// Every promise made here is checked by [`contract::store_contract`](super::contract::store_contract).
pub trait Store: Send + Sync + 'static {
    /// What can be promised of it.
    fn capabilities(&self) -> Capabilities;

    /// The session that the token opens.
    ///
    /// `None` for every token that opens nothing: unknown, forged, cut off, or of a session that ends at `now` or
    /// has ended before. Clients send anything, so such a token is never an error.
    ///
    /// # Errors
    ///
    /// The store cannot be asked.
    fn load(&self, token: Token<'_>, now: u64) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Writes what a request did to a session, in one step as others see it.
    ///
    /// - Without a token a session is made, under a token which nobody can guess ([`SessionId::random`]). A token that
    ///   a client chose never becomes that of a session.
    /// - With one, a store that is [shared](Capabilities::shared) applies the changes to what it holds at that time, as
    ///   [`Values::apply`] does; of two writes to the same key the later one stays. Without changes only the time of
    ///   expiry is written. A session which has been destroyed or has expired is not brought back: [`Saved::Gone`].
    /// - [`rotate`](Save::rotate) moves it to a new token. The old one opens the session as it was before, and for
    ///   [`GRACE_SECONDS`] only: requests that are under way with it find what they knew, what they change is applied
    ///   to the session in its new place ([`Saved::Moved`]; its time is left alone), and they never learn the new token
    ///   nor anything written from the rotation on. Whoever planted the old token is left with what he had. Rotating
    ///   from the old token makes a session of its own. Once the session is destroyed in its new place, the old token
    ///   opens nothing either.
    ///
    /// # Errors
    ///
    /// The changes could not be written, and nothing of them was; or, where another process keeps them, it did not say
    /// in time whether they were.
    fn save(&self, save: Save<'_>) -> impl Future<Output = Result<Saved, StoreError>> + Send;

    /// Deletes the session that the token opens; it is no error if there is none.
    ///
    /// # Errors
    ///
    /// The store cannot be asked.
    fn destroy(&self, token: Token<'_>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes the sessions that have ended, and tells how many. Called once a minute by the layer, unless the store
    /// [expires](Capabilities::expires) them itself.
    ///
    /// # Errors
    ///
    /// The store cannot be asked.
    fn collect(&self, now: u64) -> impl Future<Output = Result<u64, StoreError>> + Send {
        let _ = now;
        async { Ok(0) }
    }

    /// What the printed stack calls it: the type's name, by default. A secret has no place here.
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(short_name::<Self>())
    }

    /// Runs once, before the first request. Nothing, by default.
    ///
    /// # Errors
    ///
    /// Whatever makes the store useless, such as a secret that is too short: the site then does not start.
    fn start(&self, start: &mut Start) -> Result<()> {
        let _ = start;
        Ok(())
    }
}

/// For how many seconds requests under way may use the token from before a rotation.
pub const GRACE_SECONDS: u64 = 10;

/// What can be promised of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The sessions are on the server, shared by all requests. Without this the whole session travels with each
    /// request: of two at once the later answer wins, and a destroyed session lives on in copies of its cookie until it
    /// expires.
    pub shared: bool,
    /// It deletes what has ended by itself, by a clock of its own: [`Store::collect`] is not called.
    pub expires: bool,
}

impl Capabilities {
    /// Of a store on the server.
    pub fn shared() -> Self {
        Self { shared: true, expires: false }
    }

    /// Of a store on the server which deletes by itself what has ended.
    pub fn expiring() -> Self {
        Self { shared: true, expires: true }
    }

    /// Of a store in the client's hands.
    pub fn carried() -> Self {
        Self { shared: false, expires: true }
    }
}

/// What a client sent to open its session.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Token<'a> {
    /// The name of the cookie.
    pub cookie: &'a str,
    /// Its value.
    pub value: &'a str,
}

impl<'a> Token<'a> {
    /// The value of the cookie of this name.
    pub fn new(cookie: &'a str, value: &'a str) -> Self {
        Self { cookie, value }
    }

    /// The id that the value spells, for stores which use such.
    pub fn id(&self) -> Option<SessionId> {
        SessionId::parse(self.value)
    }
}

impl fmt::Debug for Token<'_> {
    /// Without the value, which opens the session.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?}, {} bytes)", self.cookie, self.value.len())
    }
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// What it holds.
    pub values: Values,
    /// When it began, in seconds since 1970.
    pub created: u64,
    /// When it ends, in seconds since 1970: at this second it is gone.
    pub expires: u64,
    /// It should be written again soon, since it lies there in an old way: under a secret that is being replaced, say.
    pub stale: bool,
}

impl Record {
    /// A session as it is stored.
    pub fn new(values: Values, created: u64, expires: u64) -> Self {
        Self { values, created, expires, stale: false }
    }
}

/// What a store is asked to write.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Save<'a> {
    /// The name of the cookie that the token is for.
    pub cookie: &'a str,
    /// The session that was loaded; `None` makes a new one.
    pub token: Option<Token<'a>>,
    /// What was done to it.
    pub changes: &'a Changes,
    /// What it holds after the changes, as the request saw it: all there is to write for a session that is new, or in
    /// the client's hands.
    pub values: &'a Values,
    /// When it began.
    pub created: u64,
    /// When it ends.
    pub expires: u64,
    /// Move it to a new token.
    pub rotate: bool,
    /// What time it is.
    pub now: u64,
    /// How long a token may be, so that browsers keep the cookie.
    pub max_token_bytes: usize,
}

/// What became of a [`Save`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Saved {
    /// It is written, and the client's token still opens it.
    Kept,
    /// It is written to where the session has been moved meanwhile, whose token this client's answer is not to say.
    Moved,
    /// It is written, and the client has to be given this token: letters, digits, `-` and `_`.
    Token(String),
    /// It holds nothing any more, and the client may forget its token.
    Emptied,
    /// There is no such session any more: destroyed, expired or evicted while the request was under way. Nothing is
    /// written.
    Gone,
}

impl fmt::Debug for Saved {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "Kept",
            Self::Moved => "Moved",
            Self::Token(_) => "Token(…)",
            Self::Emptied => "Emptied",
            Self::Gone => "Gone",
        })
    }
}

/// Why a [`Store`] could not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached, or not now; the answer is 503 (RFC 9110 §15.6.4).
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// The session is too large for a cookie.
    TooLarge {
        /// How long the `Set-Cookie` line would be, in bytes.
        bytes: usize,
        /// How long it may be.
        max_bytes: usize,
        /// The keys that take most, with the bytes of key and value, largest first.
        largest: Vec<(String, usize)>,
    },
    /// Anything else; the answer is 500.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(_) => f.write_str("the session store is unavailable"),
            Self::TooLarge { bytes, max_bytes, largest } => {
                write!(
                    f,
                    "the session is too large for a cookie: {bytes} bytes of Set-Cookie, browsers keep {max_bytes}; \
                     most is taken by "
                )?;
                for (at, (key, size)) in largest.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{key:?} ({})", error::bytes_in_words(*size as u64))?;
                }
                f.write_str("; keep less in it, or use a store on the server, such as `MemoryStore`")
            }
            Self::Other(_) => f.write_str("the session store failed"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(cause) | Self::Other(cause) => Some(&**cause),
            Self::TooLarge { .. } => None,
        }
    }
}

impl StoreError {
    /// The error that is carried to the client's answer.
    #[track_caller]
    pub(crate) fn carried(self) -> Error {
        match self {
            Self::Unavailable(_) => Error::unavailable(self),
            _ => self.into(),
        }
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// `Store` as a trait object needs it: a request's session must not carry the store's type into every handler.
pub(crate) trait DynStore: Send + Sync {
    fn dyn_capabilities(&self) -> Capabilities;
    fn dyn_load<'a>(&'a self, token: Token<'a>, now: u64) -> BoxFuture<'a, Option<Record>>;
    fn dyn_save<'a>(&'a self, save: Save<'a>) -> BoxFuture<'a, Saved>;
    fn dyn_destroy<'a>(&'a self, token: Token<'a>) -> BoxFuture<'a, ()>;
    fn dyn_collect(&self, now: u64) -> BoxFuture<'_, u64>;
    fn dyn_name(&self) -> Cow<'static, str>;
    fn dyn_start(&self, start: &mut Start) -> Result<()>;
}

impl<S: Store> DynStore for S {
    fn dyn_capabilities(&self) -> Capabilities {
        self.capabilities()
    }

    fn dyn_load<'a>(&'a self, token: Token<'a>, now: u64) -> BoxFuture<'a, Option<Record>> {
        Box::pin(self.load(token, now))
    }

    fn dyn_save<'a>(&'a self, save: Save<'a>) -> BoxFuture<'a, Saved> {
        Box::pin(self.save(save))
    }

    fn dyn_destroy<'a>(&'a self, token: Token<'a>) -> BoxFuture<'a, ()> {
        Box::pin(self.destroy(token))
    }

    fn dyn_collect(&self, now: u64) -> BoxFuture<'_, u64> {
        Box::pin(self.collect(now))
    }

    fn dyn_name(&self) -> Cow<'static, str> {
        self.name()
    }

    fn dyn_start(&self, start: &mut Start) -> Result<()> {
        self.start(start)
    }
}

/// A store that several layers, or the tests, share.
impl<S: Store> Store for std::sync::Arc<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        (**self).load(token, now).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        (**self).save(save).await
    }

    async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
        (**self).destroy(token).await
    }

    async fn collect(&self, now: u64) -> Result<u64, StoreError> {
        (**self).collect(now).await
    }

    fn name(&self) -> Cow<'static, str> {
        (**self).name()
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        (**self).start(start)
    }
}
