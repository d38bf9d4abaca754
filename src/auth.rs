//! Sign-in: accounts and their passwords, who sent a request, and what he may do.
//!
//! The site says where its accounts are, by [`Account`] and [`Accounts`]; a layer does the rest.
//!
//! - [`SignIn`](crate::layers::SignIn): by a form, kept in the session. It gives handlers [`Auth`], which signs in and
//!   out, and turns every 401 from below into the sign-in page, and back.
//! - [`BasicAuth`](crate::layers::BasicAuth) (RFC 7617) and [`BearerAuth`](crate::layers::BearerAuth) (RFC 6750), for
//!   programs.
//! - All three give handlers the [`CurrentUser`], and templates `current_user`: its `id`, `name` and `roles`, or
//!   nothing.
//! - [`require_user`] and [`require_role`] are layers for a route or a mount.
//!
//! [`Passwords`] hashes by Argon2id, off the runtime's threads and in bounded memory; [`Throttle`] slows down who
//! guesses.
//!
//! ```
//! use purlin::auth::{Account, Accounts, Auth, CurrentUser, Password, PasswordHash, Passwords, require_role};
//! use purlin::config::SecretKeys;
//! use purlin::layers::{ErrorPages, Sessions, SignIn};
//! use purlin::session::MemoryStore;
//! use purlin::testing::Client;
//! use purlin::{Form, IntoResponse, Response, Result, Router, Stack, get, html, text};
//! use serde::Deserialize;
//!
//! #[derive(Clone)]
//! struct User { id: i64, email: String, hash: String, stamp: String, admin: bool }
//!
//! impl Account for User {
//!     fn id(&self) -> String { self.id.to_string() }
//!     fn name(&self) -> String { self.email.clone() }
//!     fn password_hash(&self) -> Option<&str> { Some(&self.hash) }
//!     fn stamp(&self) -> &str { &self.stamp }
//!     fn roles(&self) -> Vec<String> { if self.admin { vec!["admin".into()] } else { vec![] } }
//! }
//!
//! struct Users(Vec<User>); // In a site: a pool of connections to its database.
//!
//! impl Accounts for Users {
//!     type User = User;
//!
//!     async fn by_login(&self, login: &str) -> Result<Option<User>> {
//!         Ok(self.0.iter().find(|user| user.email == login).cloned())
//!     }
//!
//!     async fn by_id(&self, id: &str) -> Result<Option<User>> {
//!         Ok(self.0.iter().find(|user| user.id() == id).cloned())
//!     }
//!
//!     async fn save_hash(&self, _: &User, _: &PasswordHash) -> Result<()> {
//!         Ok(()) // In a site: UPDATE users SET password_hash = … WHERE id = …
//!     }
//! }
//!
//! #[derive(Deserialize)]
//! struct Credentials { email: String, password: Password }
//!
//! async fn form() -> Response {
//!     html("<form method=post><input name=email><input name=password type=password><button>Sign in</button></form>")
//! }
//!
//! async fn sign_in(auth: Auth, Form(form): Form<Credentials>) -> Result<Response> {
//!     match auth.sign_in(&form.email, &form.password).await? {
//!         Some(_) => Ok(auth.back_or("/").into_response()),
//!         None => Ok(text("The name or the password is wrong.")),
//!     }
//! }
//!
//! async fn reports(user: CurrentUser<User>) -> String {
//!     format!("Reports for {}", user.email)
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let hash = Passwords::new().hash(&Password::new("correct horse")?).await?.into();
//! let ada = User { id: 1, email: "ada@example.org".into(), hash, stamp: purlin::auth::new_stamp(), admin: true };
//!
//! let app = Stack::new()
//!     .layer(ErrorPages::new())
//!     .layer(Sessions::new(MemoryStore::new()))
//!     .layer(SignIn::new(Users(vec![ada]), &SecretKeys::random())) // In a site: &config.secret
//!     .app(
//!         Router::new()
//!             .route("/sign-in", get(form).post(sign_in))
//!             .route("/reports", get(reports).layer(require_role("admin"))),
//!     );
//!
//! let client = Client::new(app).default_header("accept", "text/html");
//! let page = client.get("/reports").await;
//! page.assert_redirect("/sign-in?next=/reports");
//! let form = page.follow().await.form(0);
//! let page = form.set("email", "ada@example.org").set("password", "correct horse").submit().await;
//! page.assert_redirect("/reports").follow().await.assert_contains("Reports for ada@example.org");
//! # Ok::<(), purlin::Error>(()) }).unwrap();
//! ```

mod authorization;
mod credentials;
mod current;
mod keepsake;
mod password;
mod recent;
mod throttle;
mod token;
mod visit;
mod way_back;

pub use authorization::{Basic, Malformed};
pub use current::CurrentUser;
pub use password::{Password, PasswordHash, Passwords, Verified};
pub use throttle::Throttle;
pub use token::{Token, new_stamp};
pub use visit::Auth;
pub use way_back::local_path;

pub(crate) use authorization::Challenge;
pub(crate) use credentials::Credentials;
pub(crate) use current::{Visitor, needed, provided};
pub(crate) use keepsake::Keepsakes;
pub(crate) use recent::Recent;
pub(crate) use visit::{Door, Visit};
pub(crate) use way_back::Arrival;

use crate::Result;
use crate::layers::Require;
use std::any::Any;
use std::sync::Arc;

/// One account, as the site has it.
pub trait Account: Any + Send + Sync {
    /// What never changes about it, as text: `7`. Sessions hold it. It should never be given to another account, not
    /// even when this one is gone.
    fn id(&self) -> String;

    /// What pages call whoever it belongs to.
    fn name(&self) -> String;

    /// The hash of its password, as [`Passwords::hash`] made it; `None` where nobody signs in by a password.
    fn password_hash(&self) -> Option<&str>;

    /// A text that is another one whenever all its sessions are to end: when it has a new password, when its owner
    /// signs out everywhere. [`new_stamp`] makes one, to be kept in a column of its own.
    ///
    /// It is random, and no count, since in some databases the id of a deleted account is used again; and not made from
    /// the hash, which is renewed when hashes are to cost more, and should then sign nobody out.
    fn stamp(&self) -> &str;

    /// The names of its roles, for [`require_role`] and templates; none by default.
    fn roles(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it has a role: by default one of [`roles`](Account::roles). To be written where one role implies
    /// another.
    fn has_role(&self, role: &str) -> bool {
        self.roles().iter().any(|own| own == role)
    }
}

/// Where the site's accounts are; an `Arc` of one is one too, for several layers to share.
///
/// What it says when it fails is the answer, as with a handler: 503 where the database cannot be reached.
pub trait Accounts: Send + Sync + 'static {
    /// One account.
    type User: Account;

    /// The account of this login name, as it was typed into the form: an e-mail address, say. Whether case counts is
    /// the site's to decide, here and when somebody registers. It is 320 bytes at most, and holds no control
    /// characters.
    ///
    /// # Errors
    ///
    /// They cannot be asked.
    fn by_login(&self, login: &str) -> impl Future<Output = Result<Option<Self::User>>> + Send;

    /// The account of this [id](Account::id).
    ///
    /// # Errors
    ///
    /// They cannot be asked.
    fn by_id(&self, id: &str) -> impl Future<Output = Result<Option<Self::User>>> + Send;

    /// Keeps another hash of the same password, which costs more than the one there is: called when somebody signs in
    /// after [`Passwords::cost`] was raised. The stamp stays as it is.
    ///
    /// In SQLite, which has one writer, a handler that signs in takes no transaction (`Tx`) before it does: this would wait for
    /// that to end.
    ///
    /// # Errors
    ///
    /// It could not be kept. That is logged, and who signs in does not notice.
    fn save_hash(&self, user: &Self::User, hash: &PasswordHash) -> impl Future<Output = Result<()>> + Send;
}

impl<A: Accounts> Accounts for Arc<A> {
    type User = A::User;

    fn by_login(&self, login: &str) -> impl Future<Output = Result<Option<Self::User>>> + Send {
        (**self).by_login(login)
    }

    fn by_id(&self, id: &str) -> impl Future<Output = Result<Option<Self::User>>> + Send {
        (**self).by_id(id)
    }

    fn save_hash(&self, user: &Self::User, hash: &PasswordHash) -> impl Future<Output = Result<()>> + Send {
        (**self).save_hash(user, hash)
    }
}

/// Where the site's tokens are, for [`BearerAuth`](crate::layers::BearerAuth).
pub trait Tokens: Send + Sync + 'static {
    /// The account that a token stands for.
    type User: Account;

    /// The account of this token; `None` for one that is unknown, withdrawn or has expired. To be looked up by its
    /// [digest](Token::digest).
    ///
    /// # Errors
    ///
    /// They cannot be asked.
    fn by_token(&self, token: &Token) -> impl Future<Output = Result<Option<Self::User>>> + Send;
}

impl<T: Tokens> Tokens for Arc<T> {
    type User = T::User;

    fn by_token(&self, token: &Token) -> impl Future<Output = Result<Option<Self::User>>> + Send {
        (**self).by_token(token)
    }
}

/// Lets in whoever is signed in, and answers others with 401: a layer for a route or a mount.
///
/// ```
/// use purlin::auth::require_user;
/// use purlin::{Router, Stack, get};
///
/// let account = Router::new().route("/", get(async || "your account"));
/// let routes = Router::new()
///     .route("/letters", get(async || "your letters").layer(require_user()))
///     .mount("/account", Stack::new().layer(require_user()).app(account));
/// ```
pub fn require_user() -> Require {
    Require::new(None)
}

/// Lets in whoever has this role, and answers others with 403, or with 401 if they are not signed in: a layer for a
/// route or a mount.
///
/// ```
/// use purlin::auth::require_role;
/// use purlin::{Router, get};
///
/// let routes = Router::new().route("/reports", get(async || "all reports").layer(require_role("admin")));
/// ```
pub fn require_role(role: impl Into<String>) -> Require {
    Require::new(Some(role.into()))
}
