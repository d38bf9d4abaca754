//! `Origin`: where the sessions of a layer come from, and how they go back.

use super::store::DynStore;
use super::{Save, Saved, Session, State, Token};
use crate::cookie::{Cookie, SameSite};
use crate::{Error, Result};
use http::{HeaderValue, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What the layer was told: its store, its cookie, and how long sessions last.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) store: Arc<dyn DynStore>,
    pub(crate) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// The names of the cookie, by http and by https.
    pub(crate) names: [Cow<'static, str>; 2],
    pub(crate) path: Cow<'static, str>,
    pub(crate) same_site: SameSite,
    pub(crate) persistent: bool,
    pub(crate) anonymous_when_down: bool,
    pub(crate) idle: Duration,
    pub(crate) lifetime: Duration,
}

impl Origin {
    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        // A clock before 1970 is broken; at 0 nothing has expired, and nobody is signed out by it.
        (self.clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// The name of the cookie.
    pub(crate) fn name(&self, https: bool) -> &Cow<'static, str> {
        &self.names[usize::from(https)]
    }

    /// The cookie with this value; for so long, if it shall outlive the browser.
    ///
    /// # Errors
    ///
    /// A browser would refuse it.
    pub(crate) fn cookie(&self, https: bool, value: String, max_age: Duration) -> Result<HeaderValue> {
        Ok(self.with_value(https, value, max_age).to_header_value()?)
    }

    fn with_value(&self, https: bool, value: String, max_age: Duration) -> Cookie {
        let cookie = self.shaped(https, Cookie::new(self.name(https).clone(), value));
        if self.persistent { cookie.max_age(max_age) } else { cookie }
    }

    fn removal(&self, https: bool) -> Result<HeaderValue> {
        Ok(self.shaped(https, Cookie::removal(self.name(https).clone())).to_header_value()?)
    }

    fn shaped(&self, https: bool, cookie: Cookie) -> Cookie {
        let same_site = if https || self.same_site != SameSite::None { self.same_site } else { SameSite::Lax };
        cookie.path(self.path.clone()).secure(https).same_site(same_site)
    }

    /// Whether a session that ends at `expires` is to be renewed, and when it then ends. By tenths: one that is only
    /// read is hardly ever written.
    fn renewed(&self, now: u64, created: u64, expires: u64) -> Option<u64> {
        let idle = self.idle.as_secs();
        let longest = now.saturating_add(idle).min(created.saturating_add(self.lifetime.as_secs()));
        let due = longest > expires.saturating_add(idle / 10) || longest < expires;
        due.then_some(longest)
    }

    /// Writes what a request did to its session; the `Set-Cookie` that the answer needs.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(crate) async fn save(&self, session: &Session, https: bool, failed: bool) -> Result<Option<HeaderValue>> {
        let state = session.close();
        if failed && !state.keep_on_error {
            return Ok(None);
        }
        let (name, now) = (self.name(https), self.now());
        if let Some(old) = &state.destroyed {
            self.store.dyn_destroy(Token::new(name, old)).await.map_err(|error| error.carried())?;
        }
        if let Some(cause) = &state.unavailable {
            // They belong to a session that nobody has seen: to write them would be to overwrite it, or to begin
            // another in its place.
            if !state.changes.is_empty() || state.rotate {
                let message = format!("its changes cannot be written, since it could not be read: {cause}");
                return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, message));
            }
            return Ok(None);
        }
        let renewed = self.renewed(now, state.created, state.expires);
        let State { changes, values, .. } = &state;
        let changed = !changes.is_empty() || state.rotate || state.stale;
        let written = match state.token {
            Some(_) => changed || renewed.is_some(),
            None => !values.is_empty(),
        };
        if !written {
            return state.destroyed.map(|_| self.removal(https)).transpose();
        }
        let expires = renewed.unwrap_or(state.expires);
        let cookie = |value| self.with_value(https, value, Duration::from_secs(expires.saturating_sub(now)));
        let save = Save {
            cookie: name,
            token: state.token.as_deref().map(|token| Token::new(name, token)),
            changes,
            values,
            created: state.created,
            expires,
            rotate: state.rotate,
            now,
            max_token_bytes: Cookie::MAX_BYTES.saturating_sub(cookie(String::new()).length()),
        };
        match self.store.dyn_save(save).await {
            Ok(Saved::Token(token)) => Ok(Some(cookie(token).to_header_value()?)),
            Ok(Saved::Kept) => {
                // The browser's own clock for it is set anew.
                let token = state.token.filter(|_| self.persistent && renewed.is_some());
                Ok(token.map(|token| cookie(token).to_header_value()).transpose()?)
            }
            // The browser is given the new token by the answer to another request, which this one must not undo.
            Ok(Saved::Moved) => Ok(None),
            Ok(Saved::Emptied) => self.removal(https).map(Some),
            Ok(Saved::Gone) => {
                // No removal: the browser may have been given a new session by then, which it would take away.
                tracing::warn!("a session ended while a request was under way: its changes are dropped");
                Ok(None)
            }
            // Nothing is lost by it, and the page that was only looked at need not be.
            Err(error) if state.token.is_some() && !changed => {
                tracing::warn!("a session could not be renewed: {:#}", error.carried());
                Ok(None)
            }
            Err(error) => Err(error.carried()),
        }
    }
}
