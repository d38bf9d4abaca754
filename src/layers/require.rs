//! Lets in who is signed in, or has a role.

use crate::auth::{Visitor, needed};
use crate::site::About;
use crate::{Error, Middleware, Request, Response, Result, Service};

/// Lets in who is signed in, or has a role: see [`require_user`](crate::auth::require_user) and
/// [`require_role`](crate::auth::require_role), which make it.
///
/// It stands below a layer that knows users, or the site does not start.
///
/// # Errors
///
/// 401 (RFC 9110 §15.5.2) where nobody is signed in, which [`SignIn`](crate::layers::SignIn) makes the sign-in page for
/// a browser; 403 (§15.5.4) where the role is missing.
#[derive(Clone, Debug)]
pub struct Require {
    role: Option<String>,
}

impl Require {
    pub(crate) fn new(role: Option<String>) -> Self {
        Self { role }
    }
}

impl Middleware for Require {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let user = Visitor::of(&req)?.required().await?;
        match &self.role {
            Some(role) if !user.has_role(role) => {
                Err(Error::forbidden(format!("the account {:?} lacks the role {role:?}", user.id())))
            }
            _ => Ok(next.call(req).await),
        }
    }

    fn describe(&self, about: &mut About) {
        needed(about);
        if let Some(role) = &self.role {
            about.option("role", role);
        }
    }
}
