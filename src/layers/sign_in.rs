//! Knows who is signed in, and sends who is not to the sign-in page.

use crate::auth::{
    Accounts, Arrival, Auth, Challenge, Credentials, Door, Keepsakes, Passwords, Throttle, Visit, Visitor, local_path,
    provided,
};
use crate::config::SecretKeys;
use crate::session::{self, Session};
use crate::site::{About, Start, short_name};
use crate::{Body, Error, Middleware, Request, Response, ResponseExt, Result, Service};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Signs in by a form, and keeps that in the [session](Session), whichever store it has.
///
/// - Handlers below have [`Auth`], which signs in and out, and [`CurrentUser`](crate::auth::CurrentUser); templates
///   have `current_user`. Where nobody asks, nothing is looked up.
/// - The session holds the account's id and [stamp](crate::auth::Account::stamp), and no more. The account is looked up
///   for each request that asks for it: who is closed out, loses a role or has a new password is so with the next
///   request, on every server.
/// - **401 from below**, from [`require_user`](crate::auth::require_user) or any
///   [`Error::unauthorized`](crate::Error::unauthorized): where nobody is signed in, a browser that wants a page is
///   sent to the sign-in page (303), with the way back in `?next=`. That is a path of this site, see
///   [`local_path`](crate::auth::local_path). Others get the 401, with a `WWW-Authenticate` that names the page (RFC
///   9110 §15.5.2 asks for one; no scheme is registered for forms). An answer with a body, or with a challenge of its
///   own (see [`BasicAuth`](crate::layers::BasicAuth)), is left alone.
/// - An answer for which the account was looked up, and somebody is signed in, says `Cache-Control: no-store`, unless it has
///   that header already: or the back button would show it after the sign-out, to whoever sits there then.
/// - **What was sent by `POST`** is not done after signing in: no redirect repeats it, and nobody should find that
///   signing in has bought something. The way back is then the page that the form was on.
/// - Failures are throttled, see [`Throttle`].
/// - Remembering is by a cookie of its own, sealed and not stored: it works with any session store, asks for no table,
///   and ends by its time, by a new stamp (so by a new password), and in the browser by signing out. A copy that was
///   stolen before goes on until one of the first two. To end one browser alone, keep sessions in a store on the server
///   and let them be [`persistent`](crate::layers::Sessions::persistent) instead.
/// - The cookies are `HttpOnly`, `SameSite=Lax`, and where the session's is, `Secure`, called `__Host-remember` and
///   `__Host-device`, the one by which [`Throttle`] knows a browser.
///
/// It stands below [`Sessions`](crate::layers::Sessions), and below [`ErrorPages`](crate::layers::ErrorPages), which
/// makes the page of a 403 and the problem details of a 401.
///
/// ```
/// use purlin::auth::Throttle;
/// use purlin::layers::SignIn;
/// # use purlin::auth::*;
/// # use purlin::Result;
/// # struct User;
/// # impl Account for User {
/// #     fn id(&self) -> String { String::new() }
/// #     fn name(&self) -> String { String::new() }
/// #     fn password_hash(&self) -> Option<&str> { None }
/// #     fn stamp(&self) -> &str { "" }
/// # }
/// # struct Users;
/// # impl Accounts for Users {
/// #     type User = User;
/// #     async fn by_login(&self, _: &str) -> Result<Option<User>> { Ok(None) }
/// #     async fn by_id(&self, _: &str) -> Result<Option<User>> { Ok(None) }
/// #     async fn save_hash(&self, _: &User, _: &PasswordHash) -> Result<()> { Ok(()) }
/// # }
/// # let config = purlin::Config::for_tests()?;
/// use std::time::Duration;
///
/// let layer = SignIn::new(Users, &config.secret)
///     .page("/welcome")
///     .remember_for(Duration::from_secs(7 * 24 * 3600))
///     .throttle(Throttle::new().per_account(10));
/// # Ok::<(), purlin::config::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct SignIn {
    door: Arc<Door>,
    page: Cow<'static, str>,
    accounts: &'static str,
    provides: fn(&mut About),
    challenge: Result<Challenge, String>,
}

impl SignIn {
    /// Signs in who has one of these accounts. The secret seals the cookies; with one shorter than
    /// [`MIN_SECRET_BYTES`](crate::seal::MIN_SECRET_BYTES) the site does not start.
    pub fn new<A: Accounts>(accounts: A, keys: &SecretKeys) -> Self {
        let door = Door {
            credentials: Credentials::new(accounts),
            keepsakes: Arc::new(Keepsakes::new(keys)),
            remember_for: Duration::from_secs(30 * 24 * 3600),
            clock: Arc::new(SystemTime::now),
        };
        let provides = provided::<A::User>;
        let layer = Self {
            door: Arc::new(door),
            page: "".into(),
            accounts: short_name::<A>(),
            provides,
            challenge: Err(String::new()),
        };
        layer.page("/sign-in")
    }

    fn with(mut self, set: impl FnOnce(&mut Door)) -> Self {
        set(Arc::make_mut(&mut self.door));
        self
    }

    /// The path of the sign-in page, from the root of the whole site; `/sign-in` by default.
    pub fn page(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.page = path.into();
        self.challenge = Challenge::new("Cookie", &[("realm", "sign-in"), ("form-action", &self.page)]);
        self
    }

    /// What hashes the passwords; [`Passwords::new`] by default. A clone of it shares its bounds with other layers.
    pub fn passwords(self, passwords: Passwords) -> Self {
        self.with(|door| door.credentials.passwords = passwords)
    }

    /// What slows down who guesses; [`Throttle::new`] by default. A clone of it shares its counts with other layers.
    pub fn throttle(self, throttle: Throttle) -> Self {
        self.with(|door| door.credentials.throttle = throttle)
    }

    /// For how long somebody is remembered who asks for it, since he signed in by his password; 30 days by default.
    pub fn remember_for(self, lasts: Duration) -> Self {
        self.with(|door| door.remember_for = lasts)
    }

    /// Another clock than the system's, for tests.
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.with(|door| door.clock = Arc::new(clock))
    }

    /// The answer to who should sign in first: the way to the sign-in page, or what asks for it.
    async fn ask(&self, visitor: &Visitor, arrival: &Arrival, response: &mut Response) {
        let wants_page = response.body().is_empty() && arrival.path() != self.page && arrival.is_navigation();
        if wants_page
            && matches!(visitor.find().await, Ok(None))
            && let Ok(location) = HeaderValue::try_from(arrival.sign_in_at(&self.page))
        {
            // No failure any more: what the layers above do for one is not due.
            response.take_error();
            *response.status_mut() = StatusCode::SEE_OTHER;
            *response.body_mut() = Body::empty();
            let headers = response.headers_mut();
            headers.remove(CONTENT_LENGTH);
            headers.insert(LOCATION, location);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return;
        }
        if let Ok(challenge) = &self.challenge {
            challenge.add(response.headers_mut());
        }
    }
}

impl Middleware for SignIn {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let arrival = Arrival::of(&req);
        let visit = Visit::new(&self.door, &req)?;
        let visitor = Visitor::of(&req).unwrap_or_default().by_session(visit.clone());
        visitor.clone().enter(&mut req);
        let mut response = next.call(req).await;
        if response.status() == StatusCode::UNAUTHORIZED && !response.headers().contains_key(WWW_AUTHENTICATE) {
            // Boxed, so that answers which ask for nothing have no room kept for it.
            Box::pin(self.ask(&visitor, &arrival, &mut response)).await;
        }
        let status = response.status();
        if (status.is_client_error() || status.is_server_error()) && response.body().is_empty() && arrival.wants_html()
        {
            // The page that a layer above makes of it may say who is signed in, and the layer of sessions has to know
            // that the answer is one visitor's. What cannot be looked up is left out there.
            let _ = Box::pin(visitor.find()).await;
        }
        visit.leave(&mut response);
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        (self.provides)(about);
        about.provides::<Auth>().need::<Session>(false, session::HINT);
        about.option("accounts", self.accounts).option("page", &self.page);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.door.keepsakes()?;
        if local_path(&self.page).is_none() || self.page.contains('?') {
            return Err(Error::internal(format!("SignIn::page expects a path as /sign-in, found {:?}", self.page)));
        }
        Visitor::default_name(start);
        Ok(())
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn")
            .field("accounts", &self.accounts)
            .field("page", &self.page)
            .field("remember_for", &self.door.remember_for)
            .field("passwords", &self.door.credentials.passwords)
            .field("throttle", &self.door.credentials.throttle)
            .finish_non_exhaustive()
    }
}
