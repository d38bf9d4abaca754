//! `Session`: what a site remembers of a visitor between requests, and the stores it may be kept in.

use crate::extract::FromRequest;
use crate::request::Beside;
use crate::site::Needs;
use crate::{Error, Request, Result};
use ct_codecs::{Base64UrlSafeNoPadding, Decoder, Encoder};
use http::header::COOKIE;
use http::{HeaderValue, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;
use triomphe::UniqueArc;

pub mod contract;
#[cfg(feature = "cookie-sessions")]
mod cookie;
mod memory;
mod origin;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod values;

#[cfg(feature = "cookie-sessions")]
pub use cookie::CookieStore;
pub use memory::MemoryStore;
pub(crate) use origin::Origin;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use redis::RedisStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{Capabilities, GRACE_SECONDS, Record, Save, Saved, Store, StoreError, Token};
pub use values::{Change, Changes, Values};

/// What the site remembers of this visitor; an argument of a handler below the layer
/// [`Sessions`](crate::layers::Sessions).
///
/// Taking it reads the session, once for a request; from then on it is at hand, and nothing in it waits. What is
/// changed is written when the answer leaves the layer, all at once, and only if something was changed. Clones are the
/// same session; no lock is held between two calls, so a session may be kept across an `.await`.
///
/// What is written are the changes, not the session. In a store on the server, requests at the same time
///
/// - which change different keys keep all they did,
/// - which [`increment`](Session::increment) the same one lose no count,
/// - which write to the same key are resolved by this rule: what the later answer wrote stays. A removal is a write; a
///   value that is inserted where it was already is none.
///
/// A session in a cookie cannot do that: see [`CookieStore`].
///
/// **After a failure** (an answer that carries an error, or one of 500 and above) nothing is written, and the stored
/// session stays as it was, unless [`keep_on_error`](Session::keep_on_error) was called. A request that is dropped,
/// since its client went away, writes nothing either.
///
/// Keys that begin with `_` are for Purlin's own use.
///
/// # Errors
///
/// As an argument: 503 if the store cannot be asked. An `Option<Session>` is `None` then. Where the layer is told
/// [`anonymous_when_down`](crate::layers::Sessions::anonymous_when_down), it is an empty session instead, which
/// [`is_unavailable`](Session::is_unavailable), and changing that is the 503.
///
/// ```
/// use purlin::layers::Sessions;
/// use purlin::session::MemoryStore;
/// use purlin::{Redirect, Result, Router, Session, Stack, get};
///
/// async fn home(session: Session) -> Result<String> {
///     let visits = session.increment("visits", 1)?;
///     let name = session.get::<String>("name")?.unwrap_or("stranger".into());
///     Ok(format!("Hello, {name}! This is visit {visits}."))
/// }
///
/// async fn sign_in(session: Session) -> Result<Redirect> {
///     session.rotate();
///     session.insert("name", "Ada")?;
///     session.flash("success", "Welcome back.");
///     Ok(Redirect::see_other("/"))
/// }
///
/// let app = Stack::new()
///     .layer(Sessions::new(MemoryStore::new()))
///     .app(Router::new().route("/", get(home)).route("/sign-in", purlin::post(sign_in)));
/// # app.check().unwrap();
/// ```
#[derive(Clone)]
pub struct Session(Arc<Mutex<State>>);

/// A session as one request sees it.
#[derive(Clone)]
pub(crate) struct State {
    /// What opens the stored session; `None` if there is none yet.
    pub(crate) token: Option<String>,
    /// With the changes.
    pub(crate) values: Values,
    pub(crate) changes: Changes,
    pub(crate) created: u64,
    pub(crate) expires: u64,
    pub(crate) stale: bool,
    pub(crate) rotate: bool,
    /// Why nobody knows what the session holds.
    pub(crate) unavailable: Option<Arc<str>>,
    /// The token of the session that is to be deleted.
    pub(crate) destroyed: Option<String>,
    pub(crate) keep_on_error: bool,
    /// Whether the token is the session's id.
    shared: bool,
    loaded_at: u64,
    flashes: u8,
    closed: bool,
}

impl Session {
    /// The value of this key, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// The value is no `T`: after a change of the type, say, which visitors' sessions outlive.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        // Parsed outside of the lock: `T` is anybody's code.
        let Some(text) = self.lock().values.shared(key) else {
            return Ok(None);
        };
        match serde_json::from_str(&text) {
            Ok(value) => Ok(Some(value)),
            Err(cause) => Err(SessionError::Read {
                key: key.to_owned(),
                expected: std::any::type_name::<T>(),
                found: kind(&text),
                cause,
            }),
        }
    }

    /// Gives the key a value, in place of the one it had. The same value again is no change.
    ///
    /// # Errors
    ///
    /// JSON cannot hold the value, the key begins with `_` as Purlin's own do, or the session was written already.
    pub fn insert<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), SessionError> {
        if key.starts_with(OWN) {
            return Err(SessionError::Reserved { key: key.to_owned() });
        }
        self.insert_own(key, value)
    }

    /// The same, for Purlin's own keys.
    pub(crate) fn insert_own<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), SessionError> {
        let text = serde_json::to_string(value).map_err(|cause| SessionError::Write { key: key.to_owned(), cause })?;
        let mut state = self.lock();
        state.open(key)?;
        state.set(key, text);
        Ok(())
    }

    /// Takes the key away; whether it was there.
    pub fn remove(&self, key: &str) -> bool {
        let mut state = self.lock();
        state.values.get(key).is_some() && state.still_open("remove") && {
            state.remove(key);
            true
        }
    }

    /// Adds to the integer of this key, from 0 if it has none; the sum, as this request sees it.
    ///
    /// In a store on the server no increment is lost, however many requests count at the same time.
    /// It stops at the ends of `i64`.
    ///
    /// # Errors
    ///
    /// The value is something else, the key begins with `_`, or the session was written already.
    pub fn increment(&self, key: &str, by: i64) -> Result<i64, SessionError> {
        if key.starts_with(OWN) {
            return Err(SessionError::Reserved { key: key.to_owned() });
        }
        let mut state = self.lock();
        state.open(key)?;
        let before = match state.values.get(key) {
            None => 0,
            Some(text) => match values::integer(text) {
                Some(integer) => integer,
                None => return Err(SessionError::NotAnInteger { key: key.to_owned(), found: kind(text) }),
            },
        };
        if by != 0 {
            state.increment(key, by);
        }
        Ok(before.saturating_add(by))
    }

    /// Whether the key has a value.
    pub fn contains(&self, key: &str) -> bool {
        self.lock().values.get(key).is_some()
    }

    /// The keys, in their order; flash messages and the token of forms are not among them.
    pub fn keys(&self) -> Vec<String> {
        let state = self.lock();
        let own = |key: &&str| key.starts_with(FLASH) || *key == crate::csrf::KEY;
        state.values.iter().map(|(key, _)| key).filter(|key| !own(key)).map(str::to_owned).collect()
    }

    /// Whether it holds nothing, not even a flash message.
    pub fn is_empty(&self) -> bool {
        self.lock().values.is_empty()
    }

    /// Takes all keys and flash messages away. The session itself goes on; see [`destroy`](Session::destroy).
    pub fn clear(&self) {
        let mut state = self.lock();
        if !state.values.is_empty() && state.still_open("clear") {
            state.values = Values::default();
            state.changes.clear();
        }
    }

    /// Leaves a message for the next page that is shown, perhaps after a redirect.
    ///
    /// `kind` is free: `info`, `success`, `warning` and `error` are what the generated site's templates know.
    pub fn flash(&self, kind: &str, message: impl Into<String>) {
        let mut state = self.lock();
        if !state.still_open("flash") {
            return;
        }
        // Named by the time, so that messages keep their order, and by chance, so that two requests do not overwrite
        // each other's: a message is a key like any other, and the stores need not know of messages.
        let millis = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64;
        let chance = getrandom::u32().unwrap_or_default() & 0xff_ffff;
        let key = format!("{FLASH}{millis:011x}{:02x}{chance:06x}", state.flashes);
        state.flashes = state.flashes.saturating_add(1);
        let text = serde_json::Value::from(vec![kind.to_owned(), message.into()]).to_string();
        state.set(&key, text);
    }

    /// Takes the messages out, oldest first, to show them now. Those left by this very request are among them.
    ///
    /// If the answer then fails, they are kept for the next one.
    pub fn take_flash(&self) -> Vec<Flash> {
        let mut state = self.lock();
        let keys: Vec<_> =
            state.values.iter().map(|(key, _)| key).filter(|key| key.starts_with(FLASH)).map(str::to_owned).collect();
        if keys.is_empty() || !state.still_open("take_flash") {
            return Vec::new();
        }
        let mut messages = Vec::with_capacity(keys.len());
        for key in keys {
            let message = state.values.get(&key).and_then(|text| serde_json::from_str(text).ok());
            messages.extend(message.map(|(kind, message)| Flash { kind, message }));
            state.remove(&key);
        }
        messages
    }

    /// Moves the session to a new id, with all it holds but the [token of its forms](crate::csrf::CsrfToken). To be called
    /// whenever somebody signs in, so that an id which was planted or overheard before is worth nothing after (session
    /// fixation).
    ///
    /// Requests that are under way with the old id may end: see [`Store::save`]. A session in a cookie has no id, and
    /// is written anew.
    pub fn rotate(&self) {
        let mut state = self.lock();
        if state.still_open("rotate") {
            state.rotate = true;
            state.remove(crate::csrf::KEY);
        }
    }

    /// Deletes the session, here and in its store, and makes the client forget the cookie. To be called when somebody
    /// signs out.
    ///
    /// What is inserted after it, a flash message for example, begins a new session.
    pub fn destroy(&self) {
        let mut state = self.lock();
        if !state.still_open("destroy") {
            return;
        }
        let token = state.token.take();
        state.destroyed = state.destroyed.take().or(token);
        state.values = Values::default();
        state.changes = Changes::default();
        state.created = state.loaded_at;
        state.expires = 0;
        state.rotate = false;
        state.stale = false;
        state.unavailable = None;
    }

    /// The id under which a store on the server holds the session. `None` for a session that has not been stored yet
    /// and for one in a cookie; the old id until the answer leaves, after [`rotate`](Session::rotate).
    ///
    /// Whoever knows it *is* the visitor: it belongs in no log and on no page. `Debug` shortens it.
    pub fn id(&self) -> Option<SessionId> {
        let state = self.lock();
        let known = state.shared && state.unavailable.is_none();
        known.then(|| SessionId::parse(state.token.as_deref()?)).flatten()
    }

    /// Whether no stored session was found: what is inserted begins one.
    pub fn is_new(&self) -> bool {
        self.lock().token.is_none()
    }

    /// Whether the store could not be asked, and the visitor is shown the site as to a stranger: see
    /// [`anonymous_when_down`](crate::layers::Sessions::anonymous_when_down). A page may say so, instead of offering to
    /// sign in, which would be answered with 503.
    pub fn is_unavailable(&self) -> bool {
        self.lock().unavailable.is_some()
    }

    /// Writes what was changed even if the answer fails: a count of failed attempts, say.
    pub fn keep_on_error(&self) {
        self.lock().keep_on_error = true;
    }

    /// Its values as JSON, those of Purlin's own keys too.
    pub(crate) fn texts(&self) -> Vec<(String, String)> {
        self.lock().values.iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect()
    }

    /// What opens the stored session.
    pub(crate) fn token(&self) -> Option<String> {
        self.lock().token.clone()
    }

    fn fresh(now: u64, shared: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            token: None,
            values: Values::default(),
            changes: Changes::default(),
            created: now,
            expires: 0,
            stale: false,
            rotate: false,
            unavailable: None,
            destroyed: None,
            keep_on_error: false,
            shared,
            loaded_at: now,
            flashes: 0,
            closed: false,
        })))
    }

    fn stored(self, token: String, record: Record) -> Self {
        let mut state = self.lock();
        state.token = Some(token);
        (state.values, state.created, state.expires, state.stale) =
            (record.values, record.created, record.expires, record.stale);
        drop(state);
        self
    }

    /// With the token that the client sent, which may or may not open a session.
    fn unknown(self, token: Option<&str>, cause: &Error) -> Self {
        let mut state = self.lock();
        state.token = token.map(str::to_owned);
        state.unavailable = Some(format!("{cause:#}").into());
        drop(state);
        self
    }

    /// Ends the time in which changes are written, and gives them out.
    pub(crate) fn close(&self) -> State {
        let mut state = self.lock();
        state.closed = true;
        let changes = std::mem::take(&mut state.changes);
        State { changes, ..state.clone() }
    }

    /// No code but this module's runs under the lock, and nothing in it is left half-done by a panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&self, key: &str) -> Result<(), SessionError> {
        if self.closed { Err(SessionError::Closed { key: key.to_owned() }) } else { Ok(()) }
    }

    /// For what returns no `Result`, and must still not be lost in silence.
    fn still_open(&self, what: &str) -> bool {
        if self.closed {
            tracing::error!("`Session::{what}` came after the answer had left: nothing was changed");
        }
        !self.closed
    }

    fn set(&mut self, key: &str, text: String) {
        if self.values.get(key) == Some(&text) {
            return;
        }
        let (key, text): (Arc<str>, Arc<str>) = (key.into(), text.into());
        self.values.apply_one(&key, &Change::Set(text.clone()));
        self.changes.set(key, text);
    }

    fn remove(&mut self, key: &str) {
        let key: Arc<str> = key.into();
        self.values.apply_one(&key, &Change::Remove);
        self.changes.remove(key);
    }

    fn increment(&mut self, key: &str, by: i64) {
        let key: Arc<str> = key.into();
        self.values.apply_one(&key, &Change::Increment(by));
        self.changes.increment(key, by);
    }
}

impl fmt::Debug for Session {
    /// The keys only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Session").field("keys", &state.values).field("changes", &state.changes).finish_non_exhaustive()
    }
}

impl FromRequest for Session {
    async fn from_request(req: &mut Request) -> Result<Self> {
        LazySession::of(req)?.load().await
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<Session>(HINT);
    }
}

/// What to do where no layer above has sessions.
pub(crate) const HINT: &str = "add `.layer(Sessions::new(…))`";

/// What keys of flash messages begin with.
const FLASH: &str = "_flash:";

/// How Purlin's own keys begin.
pub(crate) const OWN: char = '_';

/// A message left for the next page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Flash {
    /// Of what kind it is: `success`, `error` …
    pub kind: String,
    /// The text. It is no HTML.
    pub message: String,
}

/// A session which nobody has read yet; every request below the layer `Sessions` has one.
///
/// For layers which may need the session and often do not, such as those that show its messages on a page: they take it
/// on the way in, and [`load`](LazySession::load) it where they have to. It is also an argument for handlers.
#[derive(Clone)]
// Without weak references: whether it is in one hand is a load, and not an exchange of locked memory, of which one that nobody
// touches would need two.
pub struct LazySession(triomphe::Arc<Lazy>);

struct Lazy {
    origin: Arc<Origin>,
    https: bool,
    /// The `Cookie` lines, not looked into. One, but for HTTP/2, which may split it (RFC 9113 §8.2.3).
    cookie: Option<HeaderValue>,
    more_cookies: Option<Box<[HeaderValue]>>,
    session: OnceLock<Session>,
}

thread_local! {
    static SPARE: Cell<Option<UniqueArc<Lazy>>> = const { Cell::new(None) };
}

impl LazySession {
    pub(crate) fn new(origin: &Arc<Origin>, https: bool, req: &Request) -> Self {
        let cookie = req.headers().get(COOKIE).cloned();
        let split = req.version() >= Version::HTTP_2 && cookie.is_some();
        let more_cookies = split.then(|| req.headers().get_all(COOKIE).iter().skip(1).cloned().collect());
        if let Some(mut spare) = SPARE.take()
            && Arc::ptr_eq(&spare.origin, origin)
        {
            (spare.https, spare.cookie, spare.more_cookies) = (https, cookie, more_cookies);
            return Self(spare.shareable());
        }
        Self(triomphe::Arc::new(Lazy { origin: origin.clone(), https, cookie, more_cookies, session: OnceLock::new() }))
    }

    /// Ends what was not read and is in nobody's hands. What it leaves serves the next request of this thread: to make it anew
    /// is a third of what a session costs that nobody touches.
    pub(crate) fn end(self) {
        if let Ok(mut lazy) = UniqueArc::try_from(self.0)
            && lazy.session.get().is_none()
        {
            // They are the visitor's, and lie in the connection's buffer, which is to be free for what comes next.
            (lazy.cookie, lazy.more_cookies) = (None, None);
            SPARE.set(Some(lazy));
        }
    }

    /// The session of a request.
    ///
    /// # Errors
    ///
    /// No layer `Sessions` stands above.
    pub fn of(req: &Request) -> Result<Self> {
        let lazy = req.extensions().get::<Beside>().and_then(|beside| beside.session.clone());
        lazy.ok_or_else(|| Error::internal(format!("the request has no session: {HINT}")))
    }

    /// The session, read now unless it was before. Without a session cookie there is nothing to read, and no store is
    /// asked.
    ///
    /// # Errors
    ///
    /// 503 if the store cannot be asked, unless the layer is told
    /// [`anonymous_when_down`](crate::layers::Sessions::anonymous_when_down).
    pub async fn load(&self) -> Result<Session> {
        if let Some(session) = self.loaded() {
            return Ok(session.clone());
        }
        let read = match self.read().await {
            Ok(session) => session,
            Err(error) => {
                let lenient = self.0.origin.anonymous_when_down && matches!(error, StoreError::Unavailable(_));
                let error = error.carried().context("loading the session");
                if !lenient {
                    return Err(error);
                }
                tracing::error!("a visitor is shown the site as to a stranger: {error:#}");
                self.fresh().unknown(self.sent(), &error)
            }
        };
        // Read twice at the same time, it is the first that both go on with.
        Ok(self.0.session.get_or_init(|| read).clone())
    }

    /// The session, if it has been read.
    pub fn loaded(&self) -> Option<&Session> {
        self.0.session.get()
    }

    /// The messages for the page that is about to be shown: see [`Session::take_flash`].
    ///
    /// None if the store cannot be asked: that is logged, the messages wait there, and pages which need no more of the
    /// session than this can still be shown.
    pub async fn take_flash(&self) -> Vec<Flash> {
        match self.load().await {
            Ok(session) => session.take_flash(),
            Err(error) => {
                tracing::error!("messages for the visitor could not be read: {error:#}");
                Vec::new()
            }
        }
    }

    /// Whether the client sent a cookie that may open a session. Nothing is read for this, and the cookie may be a
    /// forged one.
    pub fn is_sent(&self) -> bool {
        self.sent().is_some()
    }

    async fn read(&self) -> Result<Session, StoreError> {
        let Lazy { origin, https, .. } = &*self.0;
        let (now, fresh) = (origin.now(), self.fresh());
        let Some(token) = self.sent() else {
            return Ok(fresh);
        };
        let record = origin.store.dyn_load(Token::new(origin.name(*https), token), now).await?;
        // The lifetime may have been shortened since the session was written.
        match record.filter(|record| record.created.saturating_add(origin.lifetime.as_secs()) > now) {
            Some(record) => Ok(fresh.stored(token.to_owned(), record)),
            None => {
                tracing::debug!(bytes = token.len(), "the session cookie opens no session");
                Ok(fresh)
            }
        }
    }

    fn fresh(&self) -> Session {
        let origin = &self.0.origin;
        Session::fresh(origin.now(), origin.store.dyn_capabilities().shared)
    }

    /// The session cookie's value.
    fn sent(&self) -> Option<&str> {
        self.cookie(self.0.origin.name(self.0.https))
    }

    /// The value of a cookie of the request, for whoever keeps one beside the session's.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let Lazy { cookie, more_cookies, .. } = &*self.0;
        let lines = cookie.iter().chain(more_cookies.iter().flatten());
        crate::cookie::first(lines, name).filter(|value| !value.is_empty())
    }

    /// Whether cookies are set as by https.
    #[cfg(feature = "auth")]
    pub(crate) fn is_https(&self) -> bool {
        self.0.https
    }
}

impl FromRequest for LazySession {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Self::of(req)
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<Session>(HINT);
    }
}

impl fmt::Debug for LazySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loaded() {
            Some(session) => session.fmt(f),
            None => f.write_str("Session(not read)"),
        }
    }
}

/// The id of a session in a store on the server, and the value of its cookie: 192 random bits as 32 characters of
/// base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 24]);

impl SessionId {
    /// An id that nobody can guess.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes).map_err(|cause| StoreError::Other(Box::new(cause)))?;
        Ok(Self(bytes))
    }

    /// The id that this text spells; `None` for what is no id.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 24];
        let length = Base64UrlSafeNoPadding::decode(&mut bytes, text, None).ok()?.len();
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// Its 24 bytes.
    pub fn as_bytes(&self) -> &[u8; 24] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        // 24 bytes are 32 characters: they fit.
        f.write_str(Base64UrlSafeNoPadding::encode_to_str(&mut text, self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    /// Its beginning: enough to tell two apart, not enough to use one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({}…)", &self.to_string()[..6])
    }
}

/// Why a [`Session`] could not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields say what their names say.
pub enum SessionError {
    /// The value is no `expected`.
    Read { key: String, expected: &'static str, found: &'static str, cause: serde_json::Error },
    /// JSON cannot hold the value.
    Write { key: String, cause: serde_json::Error },
    /// What should be counted is no integer.
    NotAnInteger { key: String, found: &'static str },
    /// The key begins with `_`, as Purlin's own do.
    Reserved { key: String },
    /// The answer had left, and the session with it: nothing would write the change.
    Closed { key: String },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { key, expected, found, .. } => {
                write!(f, "session value {key:?}: expected {expected}, found {found}")
            }
            Self::Write { key, .. } => write!(f, "session value {key:?}: JSON cannot hold it"),
            Self::NotAnInteger { key, found } => {
                write!(f, "session value {key:?}: expected an integer to add to, found {found}")
            }
            Self::Reserved { key } => write!(f, "session key {key:?}: {OWN:?} is how Purlin's own keys begin"),
            Self::Closed { key } => {
                write!(f, "session key {key:?}: changed after the answer had left, when nothing is written any more")
            }
        }
    }
}

impl std::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { cause, .. } | Self::Write { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

/// What a JSON text is, by its first byte.
fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
