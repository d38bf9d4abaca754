//! `Auth`: signs in and out, as an argument of a handler.

use super::credentials::{Credentials, login_key};
use super::current::Visitor;
use super::keepsake::{self, DEVICE, Device, Keepsakes, REMEMBER};
use super::throttle::Who;
use super::{Account, CurrentUser, Password, PasswordHash, way_back};
use crate::lock::locked;
use crate::seal::SealError;
use crate::session::{LazySession, OWN, Session};
use crate::site::Needs;
use crate::{Error, FromRequest, Redirect, Request, Response, ResponseExt, Result};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, SET_COOKIE};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// Signs in and out; an argument of a handler below the layer [`SignIn`](crate::layers::SignIn).
///
/// ```
/// use purlin::auth::{Auth, Password};
/// use purlin::{Form, IntoResponse, Redirect, Response, Result, StatusCode, View};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Credentials {
///     email: String,
///     password: Password,
///     #[serde(default)]
///     remember: bool,
/// }
///
/// async fn sign_in(auth: Auth, Form(form): Form<Credentials>) -> Result<Response> {
///     if auth.sign_in(&form.email, &form.password).await?.is_none() {
///         let again = serde_json::json!({ "email": form.email, "error": "The name or the password is wrong." });
///         return Ok(View::new("sign_in.html", again).status(StatusCode::UNPROCESSABLE_ENTITY).into_response());
///     }
///     if form.remember {
///         auth.remember().await?;
///     }
///     Ok(auth.back_or("/").into_response())
/// }
///
/// async fn sign_out(auth: Auth) -> Result<Redirect> {
///     auth.sign_out().await?;
///     Ok(Redirect::see_other("/"))
/// }
/// # purlin::get(async || "the form").post(sign_in);
/// # purlin::post(sign_out);
/// ```
///
/// The form is to be a `<form method="post">` without an `action`: so it is sent to the page's own address, and the way
/// back in its `?next=` with it. What is done here takes effect if the answer is none that failed, as with a
/// [`Session`].
#[derive(Clone)]
pub struct Auth {
    visit: Arc<Visit>,
    address: Option<IpAddr>,
    next: Option<String>,
}

impl Auth {
    /// Signs in whoever has this password: the account, or `None` if there is none of this name or the password is
    /// another.
    ///
    /// The [session](Session) gets a new id, so that one which was planted before is worth nothing after; it keeps what
    /// it held, if that was nobody else's, but for Purlin's own keys such as the CSRF token.
    ///
    /// To say which of the two was wrong is to tell strangers who has an account here. An unknown name takes as long as
    /// a known one.
    ///
    /// # Errors
    ///
    /// 429 with `Retry-After` (RFC 6585 §4) if it comes too early after failures, see [`Throttle`](super::Throttle);
    /// 503 if too many passwords wait to be hashed, or the session's store cannot be asked; what the accounts say.
    pub async fn sign_in(&self, login: &str, password: &Password) -> Result<Option<CurrentUser>> {
        let (device, login_key) = (self.visit.device(), login_key(login));
        let who = match device.as_ref().and_then(|device| device.knows(&login_key)) {
            Some(device) => Who::Known(&login_key, device),
            None => Who::Stranger(&login_key),
        };
        let Some(user) = self.visit.door.credentials.check(login, password, who, self.address).await? else {
            return Ok(None);
        };
        self.visit.enter(user.clone()).await?;
        self.visit.keep(device, &login_key)?;
        Ok(Some(CurrentUser(user)))
    }

    /// Signs somebody in who proved otherwise who he is: who has just registered, who followed a link that was mailed
    /// to him. The session gets a new id.
    ///
    /// Also to be called after a new password, with the account as it is then: its new stamp ends all its sessions, and
    /// this one begins anew. Who is remembered in this browser is forgotten: [`remember`](Auth::remember) comes after.
    ///
    /// # Errors
    ///
    /// 503 if the session's store cannot be asked.
    pub async fn sign_in_as<U: Account>(&self, user: U) -> Result<()> {
        self.visit.enter(Arc::new(user)).await?;
        // Whoever is remembered here, it was perhaps somebody else.
        self.visit.forget()
    }

    /// Signs in whoever is signed in now again after this session, by a cookie of its own, for as long as
    /// [`SignIn::remember_for`](crate::layers::SignIn::remember_for) says. To be called after signing in, if the
    /// visitor asked for it.
    ///
    /// # Errors
    ///
    /// 401 if nobody is signed in.
    pub async fn remember(&self) -> Result<()> {
        let user = self.visit.required().await?;
        self.visit.remember(&*user, self.visit.door.now())
    }

    /// Signs out: destroys the session, and forgets who is remembered.
    ///
    /// # Errors
    ///
    /// 503 if the session's store cannot be asked.
    pub async fn sign_out(&self) -> Result<()> {
        self.visit.session.load().await?.destroy();
        self.visit.forget()?;
        self.visit.state().user = Some(None);
        Ok(())
    }

    /// Whether this is the password of whoever is signed in: to be asked for once more before something dear, such as a
    /// new password.
    ///
    /// # Errors
    ///
    /// 401 if nobody is signed in, 429 with `Retry-After` after too many failures, 503 if too many passwords wait to be
    /// hashed.
    pub async fn confirm(&self, password: &Password) -> Result<bool> {
        let user = self.visit.required().await?;
        self.visit.door.credentials.confirm(&user, password, self.address).await
    }

    /// Hashes a password for the site's database: see [`Passwords::hash`](super::Passwords::hash).
    ///
    /// # Errors
    ///
    /// 503 with `Retry-After` if too many wait to be hashed.
    pub async fn hash(&self, password: &Password) -> Result<PasswordHash> {
        self.visit.door.credentials.passwords.hash(password).await
    }

    /// Where the visitor wanted to go before he was sent to the sign-in page: the `next` of the address, if it is a
    /// [local path](super::local_path). For a link from there to the page for registering, say.
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Sends the visitor to where he wanted to go, or else to this address of the site.
    pub fn back_or(&self, default: &str) -> Redirect {
        Redirect::see_other(self.next().unwrap_or(default))
    }
}

impl FromRequest for Auth {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let visit = Visitor::of(req).ok().and_then(|visitor| visitor.visit().cloned());
        let visit = visit.ok_or_else(|| Error::internal(format!("nobody can sign in: {HINT}")))?;
        let address = visit.door.credentials.throttle.address_of(req);
        Ok(Self { visit, address, next: way_back::next(req.uri()) })
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<Auth>(HINT);
    }
}

const HINT: &str = "add `.layer(SignIn::new(…))`";

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("next", &self.next).finish_non_exhaustive()
    }
}

/// What the layer was told.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) credentials: Credentials,
    // What is wrong with a secret is told when the site starts.
    pub(crate) keepsakes: Arc<Result<Keepsakes, SealError>>,
    pub(crate) remember_for: Duration,
    pub(crate) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Door {
    fn now(&self) -> u64 {
        keepsake::seconds((self.clock)())
    }

    pub(crate) fn keepsakes(&self) -> Result<&Keepsakes> {
        (*self.keepsakes).as_ref().map_err(|error| Error::from(error.clone()).context("the secret of the layer SignIn"))
    }
}

/// One request, as the layer knows it.
pub(crate) struct Visit {
    door: Arc<Door>,
    session: LazySession,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who is signed in, once that was looked for.
    user: Option<Option<Arc<dyn Account>>>,
    /// The cookies that the answer sets.
    remember: Option<HeaderValue>,
    device: Option<HeaderValue>,
    /// The answer has left the layer: the session changes no more.
    left: bool,
}

/// The key of the session that holds the account's id and stamp, and no more: all else is looked up when it is needed.
const KEY: &str = "_account";

impl Visit {
    pub(crate) fn new(door: &Arc<Door>, req: &Request) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { door: door.clone(), session: LazySession::of(req)?, state: Mutex::default() }))
    }

    /// Who is signed in.
    pub(crate) async fn user(&self) -> Result<Option<Arc<dyn Account>>> {
        let known = {
            let state = self.state();
            if state.left { Some(state.user.clone().flatten()) } else { state.user.clone() }
        };
        if let Some(user) = known {
            return Ok(user);
        }
        let found = self.look().await?;
        // Looked for twice at the same time, it is the first that both go on with.
        Ok(self.state().user.get_or_insert(found).clone())
    }

    async fn required(&self) -> Result<Arc<dyn Account>> {
        self.user().await?.ok_or_else(|| Error::unauthorized("nobody is signed in"))
    }

    async fn look(&self) -> Result<Option<Arc<dyn Account>>> {
        // Also where no cookie was sent, and there is nothing to read: so the answer says that it depends on the
        // cookie.
        let session = self.session.load().await?;
        if let Some((id, stamp)) = of_session(&session) {
            if let Some(user) = self.account(&id, &stamp).await? {
                return Ok(Some(user));
            }
            // All that it holds is of somebody who has been signed out.
            tracing::info!(account = id, "a session ended, since its account has another stamp or is gone");
            session.destroy();
        }
        self.restore().await
    }

    /// Signs in whoever is remembered.
    async fn restore(&self) -> Result<Option<Arc<dyn Account>>> {
        let Some(text) = self.sent(REMEMBER) else {
            return Ok(None);
        };
        let (door, now) = (&self.door, self.door.now());
        let remembered = door.keepsakes()?.remembered(self.session.is_https(), text);
        let remembered = remembered.filter(|it| it.since.saturating_add(door.remember_for.as_secs()) > now);
        if let Some(it) = remembered
            && let Some(user) = self.account(&it.id, &it.stamp).await?
        {
            tracing::info!(account = it.id, "somebody who is remembered was signed in");
            self.enter(user.clone()).await?;
            if it.old {
                self.remember(&*user, it.since)?;
            }
            return Ok(Some(user));
        }
        self.forget()?;
        Ok(None)
    }

    /// The account of this id, if it has this stamp still.
    async fn account(&self, id: &str, stamp: &str) -> Result<Option<Arc<dyn Account>>> {
        let user = self.door.credentials.accounts.by_id(id).await;
        let user = user.map_err(|error| error.context("looking for an account by its id"))?;
        Ok(user.filter(|user| user.stamp() == stamp))
    }

    async fn enter(&self, user: Arc<dyn Account>) -> Result<()> {
        let session = self.session.load().await?;
        let id = user.id();
        if session.contains(KEY) && of_session(&session).is_none_or(|(other, _)| other != id) {
            session.clear();
        }
        // The session may have been planted by somebody who knows what was in it, such as the token of its forms.
        for key in session.keys().iter().filter(|key| key.starts_with(OWN)) {
            session.remove(key);
        }
        session.rotate();
        session.insert_own(KEY, &(&id, user.stamp()))?;
        self.state().user = Some(Some(user));
        Ok(())
    }

    fn remember(&self, user: &dyn Account, since: u64) -> Result<()> {
        let left = self.door.remember_for.saturating_sub(Duration::from_secs(self.door.now().saturating_sub(since)));
        let cookie = self.door.keepsakes()?.remember(self.session.is_https(), &user.id(), user.stamp(), since, left)?;
        self.state().remember = Some(cookie);
        Ok(())
    }

    /// The value of one of the cookies.
    fn sent(&self, names: [&'static str; 2]) -> Option<&str> {
        self.session.cookie(keepsake::name(names, self.session.is_https()))
    }

    fn forget(&self) -> Result<()> {
        let sent = self.sent(REMEMBER).is_some();
        self.state().remember = if sent { Some(keepsake::forget(REMEMBER, self.session.is_https())?) } else { None };
        Ok(())
    }

    fn device(&self) -> Option<Device> {
        let text = self.sent(DEVICE)?;
        self.door.keepsakes().ok()?.device(self.session.is_https(), text)
    }

    /// After somebody signed in by his password.
    fn keep(&self, device: Option<Device>, login: &str) -> Result<()> {
        // Whoever was remembered here before, it was perhaps somebody else.
        self.forget()?;
        self.state().device = Some(self.door.keepsakes()?.know(self.session.is_https(), device, login)?);
        Ok(())
    }

    /// Sets the cookies, unless the answer failed: the session is not written then either.
    pub(crate) fn leave(&self, response: &mut Response) {
        let mut state = self.state();
        state.left = true;
        let cookies = [state.remember.take(), state.device.take()];
        let is_personal = matches!(state.user, Some(Some(_)));
        drop(state);
        if is_personal {
            // Browsers show a page as it was left when one goes back to it, without asking, unless it says this: whoever
            // sits down after the sign-out would see it.
            response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
        if response.error().is_none() && !response.status().is_server_error() {
            for cookie in cookies.into_iter().flatten() {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
        }
    }

    /// Who is signed in, if that was looked for.
    pub(super) fn known(&self) -> Option<Arc<dyn Account>> {
        self.state().user.clone().flatten()
    }

    /// No code but this module's runs under the lock, and nothing in it is left half-done by a panic.
    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// The id and the stamp. What cannot be read was written by an older site, and is nobody.
fn of_session(session: &Session) -> Option<(String, String)> {
    session.get(KEY).ok().flatten()
}
