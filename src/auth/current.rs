//! `CurrentUser`: who sent a request, as the layers above found out.

use super::{Account, Visit};
use crate::site::{About, Needs, Start};
use crate::template::Names;
use crate::{Error, FromRequest, Request, Result};
use serde::Serialize;
use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The account of whoever sent the request; an argument of a handler below [`SignIn`](crate::layers::SignIn),
/// [`BasicAuth`](crate::layers::BasicAuth) or [`BearerAuth`](crate::layers::BearerAuth).
///
/// `CurrentUser<User>` holds the site's own type, that of its [`Accounts`](super::Accounts); `CurrentUser` alone what
/// every [`Account`] has. It is looked for when it is first asked for, once for a request.
///
/// # Errors
///
/// As an argument: 401 (RFC 9110 §15.5.2) where nobody is signed in, which `SignIn` makes the sign-in page for a
/// browser. An `Option<CurrentUser>` is `None` then.
///
/// ```
/// # use purlin::auth::Account;
/// # struct User { email: String }
/// # impl Account for User {
/// #     fn id(&self) -> String { String::new() }
/// #     fn name(&self) -> String { String::new() }
/// #     fn password_hash(&self) -> Option<&str> { None }
/// #     fn stamp(&self) -> &str { "" }
/// # }
/// use purlin::auth::CurrentUser;
///
/// async fn profile(CurrentUser(user): CurrentUser<User>) -> String {
///     format!("You get our letters at {}.", user.email)
/// }
///
/// async fn hello(user: Option<CurrentUser>) -> String {
///     user.map_or("Hello, stranger!".to_owned(), |user| format!("Hello, {}!", user.name()))
/// }
/// # purlin::get(profile);
/// # purlin::get(hello);
/// ```
pub struct CurrentUser<U: ?Sized = dyn Account>(pub Arc<U>);

impl<U: ?Sized> Clone for CurrentUser<U> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<U: ?Sized> Deref for CurrentUser<U> {
    type Target = U;

    fn deref(&self) -> &U {
        &self.0
    }
}

impl<U: Account + ?Sized> fmt::Debug for CurrentUser<U> {
    /// The id only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurrentUser({:?})", self.0.id())
    }
}

impl<U: Account> FromRequest for CurrentUser<U> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let user: Arc<dyn Any + Send + Sync> = Visitor::of(req)?.required().await?;
        let user = user.downcast().map_err(|_| {
            Error::internal(format!("the current user is no {}: another layer knows him", std::any::type_name::<U>()))
        })?;
        Ok(Self(user))
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<CurrentUser<U>>("add `.layer(SignIn::new(…))` with accounts of this type");
    }
}

impl FromRequest for CurrentUser {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Visitor::of(req)?.required().await.map(Self)
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<named::CurrentUser>(HINT);
    }
}

/// A layer below needs a user, of whatever type.
pub(crate) fn needed(about: &mut About) {
    about.need::<named::CurrentUser>(false, HINT);
}

/// A layer gives users of this type to those below.
pub(crate) fn provided<U: Account>(about: &mut About) {
    about.provides::<CurrentUser<U>>().provides::<CurrentUser>().provides::<named::CurrentUser>();
}

const HINT: &str = "add `.layer(SignIn::new(…))`";

mod named {
    /// So that the message says `CurrentUser`, and not `CurrentUser<dyn …>`.
    pub(super) struct CurrentUser;
}

/// Knows who sent a request; in the extensions below the layers that can find out.
#[derive(Clone, Default)]
pub(crate) struct Visitor {
    // By a header of the request, which goes before the session: whoever sent it said who he is.
    user: Option<Arc<dyn Account>>,
    visit: Option<Arc<Visit>>,
}

impl Visitor {
    /// The same request, after a layer found out by one of its headers who sent it.
    pub(crate) fn by_header(self, user: Arc<dyn Account>) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The same request, with a session that may tell.
    pub(crate) fn by_session(self, visit: Arc<Visit>) -> Self {
        Self { visit: Some(visit), ..self }
    }

    /// The session that may tell.
    pub(super) fn visit(&self) -> Option<&Arc<Visit>> {
        self.visit.as_ref()
    }

    /// The one of a request.
    ///
    /// # Errors
    ///
    /// No layer above knows users.
    pub(crate) fn of(req: &Request) -> Result<Self> {
        let visitor = req.extensions().get::<Self>().cloned();
        visitor.ok_or_else(|| Error::internal(format!("no layer above knows users: {HINT}")))
    }

    /// Is the request's from here inwards, for handlers and templates.
    pub(crate) fn enter(self, req: &mut Request) {
        let visitor = self.clone();
        Names::of(req).add_async(NAME, move || {
            let visitor = visitor.clone();
            async move { Ok(visitor.find().await?.map(|user| Shown::of(&*user))) }
        });
        crate::report::Trail::leave_visitor(req, &self);
        req.extensions_mut().insert(self);
    }

    /// What pages have of him that the layer was not asked about.
    pub(crate) fn default_name(start: &mut Start) {
        Names::default_value(start, NAME, None::<Shown>);
    }

    pub(crate) async fn find(&self) -> Result<Option<Arc<dyn Account>>> {
        match (&self.user, &self.visit) {
            (Some(user), _) => Ok(Some(user.clone())),
            (None, Some(visit)) => visit.user().await,
            (None, None) => Ok(None),
        }
    }

    /// Who it is, if that has been found out already.
    pub(crate) fn known(&self) -> Option<Arc<dyn Account>> {
        self.user.clone().or_else(|| self.visit.as_ref()?.known())
    }

    /// # Errors
    ///
    /// 401: nobody is signed in.
    pub(crate) async fn required(&self) -> Result<Arc<dyn Account>> {
        self.find().await?.ok_or_else(|| Error::unauthorized("nobody is signed in"))
    }
}

const NAME: &str = "current_user";

/// What templates have of the current user: nothing that a page should not show by accident.
#[derive(Serialize)]
struct Shown {
    id: String,
    name: String,
    roles: Vec<String>,
}

impl Shown {
    fn of(user: &dyn Account) -> Self {
        Self { id: user.id(), name: user.name(), roles: user.roles() }
    }
}
