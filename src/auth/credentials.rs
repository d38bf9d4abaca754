//! `Credentials`: whether a name and a password belong together; throttled, and in the same time whether or not there
//! is such an account.

use super::recent::{Known, Recent};
use super::throttle::Who;
use super::{Account, Accounts, Password, PasswordHash, Passwords, Throttle, Verified};
use crate::service::BoxFuture;
use crate::{Error, Result};
use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

/// What looks at names and passwords.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) accounts: Arc<dyn DynAccounts>,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
}

impl Credentials {
    pub(crate) fn new(accounts: impl Accounts) -> Self {
        Self { accounts: Arc::new(accounts), passwords: Passwords::new(), throttle: Throttle::new() }
    }

    /// The account that this password opens.
    ///
    /// # Errors
    ///
    /// 429 if it comes too early after failures, 503 if too many passwords wait to be hashed; what the accounts say.
    pub(super) async fn check(
        &self,
        login: &str,
        password: &Password,
        who: Who<'_>,
        address: Option<IpAddr>,
    ) -> Result<Option<Arc<dyn Account>>> {
        let attempt = self.throttle.attempt(who, address)?;
        let found = match self.find(login).await {
            Ok(user) => self.compare(user, password).await,
            Err(error) => Err(error),
        };
        match &found {
            Ok(Some(_)) => attempt.succeeded(),
            Ok(None) => {}
            // Nothing was learnt by it, and the next attempt need not wait for what the site cannot do.
            Err(_) => attempt.take_back(),
        }
        self.tell(found.as_ref().ok().and_then(Option::as_ref), found.is_ok(), address);
        found
    }

    /// The same for the credentials of Basic, which come with each request.
    pub(crate) async fn check_again(
        &self,
        login: &str,
        password: &Password,
        address: Option<IpAddr>,
        recent: &Recent,
    ) -> Result<Option<Arc<dyn Account>>> {
        let user = self.find(login).await?;
        let hash = |user: &Arc<dyn Account>| user.password_hash().map(str::to_owned);
        let known = user.as_ref().and_then(hash).map_or(Known::No, |hash| recent.look(password, &hash));
        let key = login_key(login);
        let who = match &known {
            Known::Right => return Ok(user),
            Known::Before(mac) => Who::Known(&key, mac),
            Known::No => Who::Stranger(&key),
        };
        let found = self.check(login, password, who, address).await?;
        if let Some(hash) = found.as_ref().and_then(hash) {
            recent.add(password, &hash);
        }
        Ok(found)
    }

    /// Whether this is the password of an account whose owner is here already.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub(super) async fn confirm(
        &self,
        user: &Arc<dyn Account>,
        password: &Password,
        address: Option<IpAddr>,
    ) -> Result<bool> {
        let attempt = self.throttle.attempt(Who::SignedIn(&user.id()), address)?;
        let found = self.compare(Some(user.clone()), password).await;
        match &found {
            Ok(Some(_)) => attempt.succeeded(),
            Ok(None) => {}
            Err(_) => attempt.take_back(),
        }
        found.map(|found| found.is_some())
    }

    async fn find(&self, login: &str) -> Result<Option<Arc<dyn Account>>> {
        // What is no name need not be looked for; a database may also have no way to hold it.
        if !is_login(login) {
            return Ok(None);
        }
        self.accounts.by_login(login).await.map_err(|error| error.context("looking for an account by its login name"))
    }

    async fn compare(&self, user: Option<Arc<dyn Account>>, password: &Password) -> Result<Option<Arc<dyn Account>>> {
        let hash = user.as_ref().and_then(|user| user.password_hash());
        match self.passwords.verify(password, hash).await? {
            Verified::No => Ok(None),
            Verified::Yes => Ok(user),
            Verified::Outdated(new) => {
                if let Some(user) = &user
                    && let Err(error) = self.accounts.save_hash(&**user, &new).await
                {
                    // The old one is as good as it was.
                    tracing::error!(
                        account = user.id(),
                        "a password that was hashed anew could not be kept: {error:#}"
                    );
                }
                Ok(user)
            }
        }
    }

    /// Without the name that was typed: sometimes it is a password.
    fn tell(&self, user: Option<&Arc<dyn Account>>, checked: bool, address: Option<IpAddr>) {
        let address = address.map(tracing::field::display);
        match user {
            Some(user) => tracing::info!(account = user.id(), address, "a password was right"),
            None if checked => tracing::info!(address, "a password was wrong"),
            None => {}
        }
    }
}

/// The longest name that is looked for: an e-mail address has 254 bytes at most (RFC 5321 §4.5.3.1.3).
const LONGEST_LOGIN: usize = 320;

fn is_login(login: &str) -> bool {
    !login.is_empty() && login.len() <= LONGEST_LOGIN && !login.chars().any(char::is_control)
}

/// A name as failures are counted by it: so that another case or a space is not another name.
pub(super) fn login_key(login: &str) -> String {
    if is_login(login) { login.trim().to_lowercase() } else { String::new() }
}

/// `Accounts` as a trait object needs it.
pub(crate) trait DynAccounts: Send + Sync {
    fn by_login<'a>(&'a self, login: &'a str) -> BoxFuture<'a, Result<Option<Arc<dyn Account>>>>;
    fn by_id<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Arc<dyn Account>>>>;
    fn save_hash<'a>(&'a self, user: &'a dyn Account, hash: &'a PasswordHash) -> BoxFuture<'a, Result<()>>;
}

impl<A: Accounts> DynAccounts for A {
    fn by_login<'a>(&'a self, login: &'a str) -> BoxFuture<'a, Result<Option<Arc<dyn Account>>>> {
        Box::pin(
            async move { Ok(Accounts::by_login(self, login).await?.map(|user| Arc::new(user) as Arc<dyn Account>)) },
        )
    }

    fn by_id<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Arc<dyn Account>>>> {
        Box::pin(async move { Ok(Accounts::by_id(self, id).await?.map(|user| Arc::new(user) as Arc<dyn Account>)) })
    }

    fn save_hash<'a>(&'a self, user: &'a dyn Account, hash: &'a PasswordHash) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match (user as &dyn Any).downcast_ref::<A::User>() {
                Some(user) => Accounts::save_hash(self, user, hash).await,
                None => Err(Error::internal("an account is of another type than those of the layer's `Accounts`")),
            }
        })
    }
}
