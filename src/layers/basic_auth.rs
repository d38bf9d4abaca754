//! Signs in by HTTP Basic, for programs.

use crate::auth::{Accounts, Basic, Challenge, Credentials, Passwords, Recent, Throttle, Visitor, provided};
use crate::site::{About, Start, short_name};
use crate::{Error, Middleware, Request, Response, Result, Service};
use http::StatusCode;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Signs in who sends a name and a password with each request, by the scheme Basic (RFC 7617).
///
/// - Who sends none goes on as whoever the layers above know, or as nobody: [`require_user`](crate::auth::require_user)
///   keeps him out. Every 401 from below gets the challenge, at which browsers ask by a window of their own.
/// - A password that was right is known again for [`known_for`](BasicAuth::known_for), a minute by default, and not
///   hashed with each request: a program that asks a hundred times a second would keep two cores busy with it. The
///   account is looked up each time, so a new password counts at once. Failures are not kept, and are throttled.
/// - Whoever overhears a request has the password: this is for https.
///
/// # Errors
///
/// 401 with the challenge, where name or password are wrong or cannot be read; 429 with `Retry-After` after too many
/// failures, see [`Throttle`]; 503 if too many passwords wait to be hashed.
///
/// ```
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
/// use purlin::auth::require_user;
/// use purlin::layers::BasicAuth;
/// use purlin::{Router, Stack, get};
///
/// let api = Stack::new()
///     .layer(BasicAuth::new(Users).realm("the API"))
///     .layer(require_user())
///     .app(Router::new().route("/", get(async || "data")));
/// # api.check().unwrap();
/// ```
#[derive(Clone)]
pub struct BasicAuth {
    credentials: Credentials,
    recent: Arc<Recent>,
    accounts: &'static str,
    provides: fn(&mut About),
    realm: String,
    challenge: Result<Challenge, String>,
}

impl BasicAuth {
    /// Signs in who has one of these accounts.
    ///
    /// # Panics
    ///
    /// When the operating system has no random bytes to give.
    pub fn new<A: Accounts>(accounts: A) -> Self {
        let layer = Self {
            credentials: Credentials::new(accounts),
            recent: Arc::new(Recent::new(Duration::from_secs(60))),
            accounts: short_name::<A>(),
            provides: provided::<A::User>,
            realm: String::new(),
            challenge: Err(String::new()),
        };
        layer.realm("this site")
    }

    /// What the name and the password are for, as browsers tell those whom they ask (RFC 9110 §11.5); `this site` by
    /// default.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self.challenge = Challenge::new("Basic", &[("realm", &self.realm), ("charset", "UTF-8")]);
        self
    }

    /// What hashes the passwords; [`Passwords::new`] by default. A clone of it shares its bounds with other layers.
    pub fn passwords(mut self, passwords: Passwords) -> Self {
        self.credentials.passwords = passwords;
        self
    }

    /// What slows down who guesses; [`Throttle::new`] by default. A clone of it shares its counts with other layers.
    pub fn throttle(mut self, throttle: Throttle) -> Self {
        self.credentials.throttle = throttle;
        self
    }

    /// For how long a password that was right is not hashed again; a minute by default, and with zero it always is.
    ///
    /// # Panics
    ///
    /// When the operating system has no random bytes to give.
    pub fn known_for(mut self, lasts: Duration) -> Self {
        self.recent = Arc::new(Recent::new(lasts));
        self
    }

    /// The request, with its user if it has one.
    async fn signed_in(&self, mut req: Request) -> Result<Request> {
        let mut visitor = Visitor::of(&req).unwrap_or_default();
        let refused = |message: String| Error::unauthorized(message).public("The name or the password is wrong.");
        let sent = Basic::read(req.headers()).map_err(|malformed| refused(malformed.to_string()))?;
        if let Some(Basic { login, password }) = sent {
            let address = self.credentials.throttle.address_of(&req);
            let user = self.credentials.check_again(&login, &password, address, &self.recent).await?;
            let user = user.ok_or_else(|| refused("the name or the password is wrong".to_owned()))?;
            visitor = visitor.by_header(user);
        }
        visitor.enter(&mut req);
        Ok(req)
    }
}

impl Middleware for BasicAuth {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = match self.signed_in(req).await {
            Ok(req) => next.call(req).await,
            Err(error) => error.in_layer("BasicAuth").into(),
        };
        if response.status() == StatusCode::UNAUTHORIZED
            && let Ok(challenge) = &self.challenge
        {
            challenge.add(response.headers_mut());
        }
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        (self.provides)(about);
        about.option("accounts", self.accounts).option("realm", &self.realm);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        if let Err(problem) = &self.challenge {
            return Err(Error::internal(format!("BasicAuth: {problem}")));
        }
        Visitor::default_name(start);
        Ok(())
    }
}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicAuth")
            .field("accounts", &self.accounts)
            .field("realm", &self.realm)
            .field("passwords", &self.credentials.passwords)
            .field("throttle", &self.credentials.throttle)
            .finish_non_exhaustive()
    }
}
