//! `{{ name.pascal }}`: where sessions are kept. For now in memory, until the site is stopped: put the place of your choice behind
//! the same five methods, and the contract below tells whether it keeps what the layer `Sessions` relies on.

use purlin::session::{
    Capabilities, GRACE_SECONDS, Record, Save, Saved, SessionId, Store, StoreError, Token, Values,
};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whoever begins a session beyond this one pushes out the one that would end first.
const MOST: usize = 100_000;

/// Keeps sessions by the token that each client has in its cookie.
#[derive(Default)]
pub struct {{ name.pascal }} {
    kept: Mutex<HashMap<String, Kept>>,
}

/// A session as it is kept. Times are seconds since 1970.
struct Kept {
    values: Values,
    created: u64,
    expires: u64,
    /// It has a new token since somebody signed in or out. Requests that began with the old one may finish: they see
    /// what was there, and what they change is changed at the new place.
    moved_to: Option<String>,
}

impl {{ name.pascal }} {
    /// Holds no session yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token under which the session is by now; none once it has ended there.
fn home(kept: &HashMap<String, Kept>, token: &str, now: u64) -> Option<String> {
    let mut at = token;
    loop {
        let session = kept.get(at).filter(|session| session.expires > now)?;
        match &session.moved_to {
            Some(next) => at = next,
            None => return Some(at.to_owned()),
        }
    }
}

/// Writes to a session that is there. Only what a request changed is written, so that two at once lose nothing.
fn change(kept: &mut HashMap<String, Kept>, token: &str, save: Save<'_>) -> Saved {
    let home = home(kept, token, save.now);
    let Some((home, session)) = home.and_then(|home| Some((home.clone(), kept.get_mut(&home)?)))
    else {
        return Saved::Gone;
    };
    session.values.apply(save.changes);
    if home != token {
        return Saved::Moved;
    }
    session.expires = save.expires;
    Saved::Kept
}

/// Moves a session to a token that nobody knows yet: whoever knew the old one learns nothing new.
fn rotate(kept: &mut HashMap<String, Kept>, old: &str, new: &str, save: Save<'_>) -> Saved {
    if home(kept, old, save.now).is_none() {
        return Saved::Gone;
    }
    let Some(before) = kept.get_mut(old) else {
        return Saved::Gone;
    };
    let mut values = before.values.clone();
    if before.moved_to.is_none() {
        before.moved_to = Some(new.to_owned());
        before.expires = save.expires.min(save.now.saturating_add(GRACE_SECONDS));
    }
    values.apply(save.changes);
    begin(kept, new, values, save)
}

/// A session under a token of its own.
fn begin(kept: &mut HashMap<String, Kept>, token: &str, values: Values, save: Save<'_>) -> Saved {
    if kept.len() >= MOST {
        let first = kept.iter().min_by_key(|(_, session)| session.expires);
        if let Some(first) = first.map(|(token, _)| token.clone()) {
            kept.remove(&first);
        }
    }
    let session = Kept {
        values,
        created: save.created,
        expires: save.expires,
        moved_to: None,
    };
    kept.insert(token.to_owned(), session);
    Saved::Token(token.to_owned())
}

impl Store for {{ name.pascal }} {
    fn capabilities(&self) -> Capabilities {
        Capabilities::shared()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        let kept = self.lock();
        if home(&kept, token.value, now).is_none() {
            return Ok(None);
        }
        let session = kept.get(token.value);
        let record = |one: &Kept| Record::new(one.values.clone(), one.created, one.expires);
        Ok(session.map(record))
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        // A token that a client made up never becomes that of a session.
        let new = SessionId::random()?.to_string();
        let mut kept = self.lock();
        Ok(match save.token {
            Some(token) if save.rotate => rotate(&mut kept, token.value, &new, save),
            Some(token) => change(&mut kept, token.value, save),
            None => begin(&mut kept, &new, save.values.clone(), save),
        })
    }

    async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
        self.lock().remove(token.value);
        Ok(())
    }

    async fn collect(&self, now: u64) -> Result<u64, StoreError> {
        let mut kept = self.lock();
        let before = kept.len();
        kept.retain(|_, session| session.expires > now);
        Ok((before - kept.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::{{ name.pascal }};
    use purlin::testing::store_contract;

    #[purlin::test]
    async fn it_keeps_the_contract_of_stores() {
        store_contract(async || {{ name.pascal }}::new()).await;
    }
}
