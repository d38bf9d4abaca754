//! Remembers visitors from one request to the next.

use crate::cookie::SameSite;
use crate::request::Beside;
use crate::service::{Answer, Step};
use crate::session::{LazySession, Origin, Session, Store};
use crate::site::{About, Start};
use crate::{Error, Middleware, Request, RequestExt, Response, ResponseExt, Result, Service};
use http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Gives every request below it a [`Session`], kept in a [`Store`].
///
/// - A session that nobody touches costs a tenth of a microsecond: its cookie is not decoded and its store not asked. One that is read
///   and not changed is not written, and sets no cookie, except that it is renewed when a tenth of
///   [`idle`](Sessions::idle) has passed.
/// - The cookie is `HttpOnly`, `SameSite=Lax`, for the whole site, and gone with the browser's own session. By https it
///   is `Secure`, and called `__Host-session`, which no other host and no plain http can set (RFC 6265bis §4.1.3.2); by
///   http, where browsers would refuse that, `session`. By https only the first is read.
/// - The session is written before the answer's first byte leaves. If it cannot be, the answer is the error: 503 for a
///   store that cannot be reached.
/// - A store that cannot be reached when a session is read is a 503 for whoever sent a session cookie and asks for a
///   page that looks at the session. [`anonymous_when_down`](Sessions::anonymous_when_down) shows them the page as to a
///   stranger.
/// - After a failure nothing is written, unless [`Session::keep_on_error`] was called. A failure is an answer that
///   carries an error ([`response.error()`](crate::ResponseExt::error): an `Err` of a handler or layer below, whatever
///   its status, or a panic), or has a status of 500 or above. A handler which *returns* a 4xx page of its own has not
///   failed.
/// - An answer for which the session was read says `Vary: Cookie` (RFC 9110 §12.5.5). Where there was a session, or one
///   begins or ends with it, it says `Cache-Control: private, no-cache` too (RFC 9111 §5.2.2), unless it has that
///   header already: such an answer is one visitor's, and some shared caches overlook `Vary`. Not `no-store`, which
///   would cost visitors the form they filled in when they go back to it.
///
/// - In templates `flash` is the list of messages left for the visitor, each with its `kind` and `message`; using it
///   takes them away.
///
/// ```
/// use purlin::layers::Sessions;
/// use purlin::session::MemoryStore;
/// use std::time::Duration;
///
/// let layer = Sessions::new(MemoryStore::new())
///     .idle(Duration::from_secs(30 * 60))
///     .lifetime(Duration::from_secs(12 * 3600));
/// ```
#[derive(Clone)]
pub struct Sessions {
    // What a request's session needs is behind one pointer, and cloning that is all that an untouched session costs.
    origin: Arc<Origin>,
    name: Option<Cow<'static, str>>,
    https: bool,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Sessions {
    /// Sessions kept in `store`.
    pub fn new(store: impl Store) -> Self {
        let origin = Origin {
            store: Arc::new(store),
            clock: Arc::new(SystemTime::now),
            names: [Cow::Borrowed("session"), Cow::Borrowed("__Host-session")],
            path: "/".into(),
            same_site: SameSite::Lax,
            persistent: false,
            anonymous_when_down: false,
            idle: 14 * DAY,
            lifetime: 90 * DAY,
        };
        Self { origin: Arc::new(origin), name: None, https: false }
    }

    /// The name of the cookie, by http and https. `session` and `__Host-session` by default.
    ///
    /// A name with the prefix `__Host-` or `__Secure-` works by https only.
    pub fn cookie_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self.named()
    }

    /// Below which path the cookie is sent; `/` by default. With another the name by https is `__Secure-session`.
    ///
    /// A path is no wall between two sites on one host: a script of one can read what the other answers.
    pub fn path(self, path: impl Into<Cow<'static, str>>) -> Self {
        self.with(|origin| origin.path = path.into()).named()
    }

    fn named(self) -> Self {
        let prefixed = if self.origin.path == "/" { "__Host-session" } else { "__Secure-session" };
        let names = match &self.name {
            Some(name) => [name.clone(), name.clone()],
            None => [Cow::Borrowed("session"), Cow::Borrowed(prefixed)],
        };
        self.with(|origin| origin.names = names)
    }

    fn with(mut self, set: impl FnOnce(&mut Origin)) -> Self {
        set(Arc::make_mut(&mut self.origin));
        self
    }

    /// Whether requests that another site caused carry the cookie; [`SameSite::Lax`] by default.
    ///
    /// `SameSite::None` holds by https only: by http browsers refuse it, and `Lax` is used.
    pub fn same_site(self, same_site: SameSite) -> Self {
        self.with(|origin| origin.same_site = same_site)
    }

    /// Every client comes by https, by a proxy that this server does not hear from; off by default, and not needed
    /// where [`is_https`](RequestExt::is_https) tells.
    pub fn https(mut self, always: bool) -> Self {
        self.https = always;
        self
    }

    /// After how long without use a session ends; 14 days by default.
    ///
    /// A session that is read is renewed once a tenth of this has passed since it was last, so that it ends after
    /// between nine tenths and the whole of it. At least a second.
    pub fn idle(self, idle: Duration) -> Self {
        self.with(|origin| origin.idle = idle.max(SECOND))
    }

    /// After how long a session ends, however much it is used; 90 days by default. At least a second.
    ///
    /// Rotation does not prolong it.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.with(|origin| origin.lifetime = lifetime.max(SECOND))
    }

    /// Keeps the cookie when the browser is closed, for as long as the session lasts; off by default.
    pub fn persistent(self, persistent: bool) -> Self {
        self.with(|origin| origin.persistent = persistent)
    }

    /// While the store cannot be reached, shows visitors the site as to a stranger; off by default, when they are
    /// answered 503.
    ///
    /// Only what is read is let through: whatever changes such a session, signing in and out included, is answered 503,
    /// and nobody's session is lost or replaced by it. Each such request logs the cause. To be switched on where a page
    /// without its visitor's name is better than none, and not where a stranger is shown something that must not be
    /// shown to those who are signed in.
    pub fn anonymous_when_down(self, anonymous: bool) -> Self {
        self.with(|origin| origin.anonymous_when_down = anonymous)
    }

    /// Another clock than the system's, for tests.
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.with(|origin| origin.clock = Arc::new(clock))
    }
}

impl Sessions {
    /// Writes the session, and what the answer has to say of it.
    async fn save(&self, session: Session, https: bool, mut response: Response) -> Result<Response> {
        let failed = response.error().is_some() || response.status().is_server_error();
        // One without a stored session is the same for everybody who has none.
        let mut personal = !session.is_new();
        match self.origin.save(&session, https, failed).await {
            Ok(Some(cookie)) => {
                response.headers_mut().append(SET_COOKIE, cookie);
                personal = true;
            }
            Ok(None) => {}
            Err(error) if response.error().is_some() => {
                // The answer can carry one error: the first.
                tracing::error!("after a failure the session could not be saved either: {error:#}");
            }
            Err(error) => return Err(error.context("saving the session")),
        }
        vary_by_cookie(response.headers_mut());
        if personal {
            response.headers_mut().entry(CACHE_CONTROL).or_insert(PRIVATE);
        }
        Ok(response)
    }
}

impl Middleware for Sessions {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let https = self.https || req.is_https();
        let lazy = LazySession::new(&self.origin, https, &req);
        let beside = Beside::of(&mut req);
        beside.session = Some(lazy.clone());
        if let Some(trail) = &beside.trail {
            trail.leave_session(&lazy);
        }
        Answer::below(next.call(req), move |response| match lazy.loaded() {
            Some(session) => Step::Later(Box::pin(self.save(session.clone(), https, response))),
            None => {
                lazy.end();
                Step::Done(Ok(response))
            }
        })
    }

    fn describe(&self, about: &mut About) {
        about
            .provides::<Session>()
            .provides::<LazySession>()
            .option("store", self.origin.store.dyn_name())
            .option("cookie", self.origin.name(self.https))
            .option("idle", Words(self.origin.idle))
            .option("lifetime", Words(self.origin.lifetime));
        if self.https {
            about.option("https", true);
        }
        if self.origin.persistent {
            about.option("persistent", true);
        }
        if self.origin.anonymous_when_down {
            about.option("anonymous_when_down", true);
        }
        if self.origin.path != "/" {
            about.option("path", &self.origin.path);
        }
        if self.origin.same_site != SameSite::Lax {
            about.option("same_site", format_args!("{:?}", self.origin.same_site));
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        // Whatever a browser would refuse is told now, and not with the first session.
        let schemes: &[bool] = if self.https || self.name.as_ref().is_some_and(|name| name.starts_with("__")) {
            &[true]
        } else {
            &[false, true]
        };
        let named = |error: Error| error.context("the layer Sessions");
        for https in schemes {
            self.origin.cookie(*https, String::new(), SECOND).map_err(named)?;
        }
        let store = &self.origin.store;
        store.dyn_start(start).map_err(named)?;
        if !store.dyn_capabilities().expires {
            let origin = self.origin.clone();
            start.task("collecting ended sessions", move |mut stopping| async move {
                while tokio::time::timeout(COLLECT_EVERY, stopping.wait()).await.is_err() {
                    match origin.store.dyn_collect(origin.now()).await {
                        Ok(0) => {}
                        Ok(sessions) => tracing::debug!(sessions, "collected ended sessions"),
                        Err(error) => tracing::warn!("ended sessions could not be collected: {:#}", error.carried()),
                    }
                }
            });
        }
        Ok(())
    }
}

const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

const COLLECT_EVERY: Duration = Duration::from_secs(60);

fn vary_by_cookie(headers: &mut HeaderMap) {
    let mut named = headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    if !named.any(|name| matches!(name.trim_ascii(), b"*") || name.trim_ascii().eq_ignore_ascii_case(b"cookie")) {
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("store", &self.origin.store.dyn_name())
            .field("cookie", self.origin.name(self.https))
            .field("path", &self.origin.path)
            .field("same_site", &self.origin.same_site)
            .field("persistent", &self.origin.persistent)
            .field("anonymous_when_down", &self.origin.anonymous_when_down)
            .field("idle", &self.origin.idle)
            .field("lifetime", &self.origin.lifetime)
            .field("https", &self.https)
            .finish_non_exhaustive()
    }
}

/// A duration as a person would write it.
struct Words(Duration);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(24 * 3600, "d"), (3600, "h"), (60, "min"), (1, "s")];
        let (size, unit) = units.into_iter().find(|(size, _)| seconds.is_multiple_of(*size)).unwrap_or((1, "s"));
        write!(f, "{}{unit}", seconds / size)
    }
}
