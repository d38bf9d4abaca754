//! `MemoryStore`: sessions in the server's memory, gone when it stops.

use super::{Capabilities, GRACE_SECONDS, Record, Save, Saved, SessionId, Store, StoreError, Token, Values};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps sessions in memory: for development, tests, and sites on one machine whose visitors may be signed out by a
/// restart.
///
/// At most 100,000 sessions, unless [`max_sessions`](MemoryStore::max_sessions) says otherwise; a new one then takes
/// the place of the one that would end first, which is the one idle for longest. A session takes about 300 bytes and
/// what it holds. Whoever makes sessions faster than visitors use theirs can push those out: begin sessions for those
/// who do something, not for every caller.
///
/// ```
/// use purlin::layers::Sessions;
/// use purlin::session::MemoryStore;
///
/// let layer = Sessions::new(MemoryStore::new().max_sessions(10_000));
/// ```
pub struct MemoryStore {
    max_sessions: usize,
    // One lock: it is held for the time of a map's look-up, and a rotation needs two sessions at once.
    sessions: Mutex<Sessions>,
}

/// What a token spells: as it is sent, so that nothing is decoded to find a session.
type Id = [u8; 32];

fn id(token: Token<'_>) -> Option<Id> {
    token.value.as_bytes().try_into().ok()
}

#[derive(Default)]
struct Sessions {
    by_id: HashMap<Id, Entry>,
    // For collecting and for finding the one to push out.
    by_expiry: BTreeSet<(u64, Id)>,
}

struct Entry {
    values: Values,
    created: u64,
    expires: u64,
    /// Where the session went, from the rotation until the end of the grace; the values are those from before.
    moved_to: Option<Id>,
}

impl MemoryStore {
    /// Holds no session yet.
    pub fn new() -> Self {
        Self { max_sessions: 100_000, sessions: Mutex::default() }
    }

    /// How many sessions are kept; 100,000 by default, at least 1.
    pub fn max_sessions(mut self, max: usize) -> Self {
        self.max_sessions = max.max(1);
        self
    }

    /// How many sessions it holds, those included that have ended and were not collected yet.
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Only this file's code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// What this id opens, and where the session is by now; nothing if it has ended there.
    fn live(&self, id: Id, now: u64) -> Option<(&Entry, Id)> {
        let there = |id| self.by_id.get(&id).filter(|entry| entry.expires > now);
        let opened = there(id)?;
        let (mut entry, mut home) = (opened, id);
        while let Some(next) = entry.moved_to {
            (entry, home) = (there(next)?, next);
        }
        Some((opened, home))
    }

    /// Applies the changes to a session that is there, or that has moved from there.
    fn change(&mut self, id: Id, save: Save<'_>) -> Option<Saved> {
        let (_, home) = self.live(id, save.now)?;
        let entry = self.by_id.get_mut(&home)?;
        entry.values.apply(save.changes);
        if home != id {
            return Some(Saved::Moved);
        }
        if entry.expires != save.expires {
            self.by_expiry.remove(&(entry.expires, id));
            self.by_expiry.insert((save.expires, id));
            entry.expires = save.expires;
        }
        Some(Saved::Kept)
    }

    /// Begins a session: a new one, or the one at `old`, moved.
    fn begin(&mut self, new_id: Id, old: Option<Token<'_>>, save: Save<'_>, max: usize) -> Option<()> {
        let new = |values| Entry { values, created: save.created, expires: save.expires, moved_to: None };
        let mut values = save.values.clone();
        if let Some(token) = old {
            let old_id = id(token)?;
            let (old, _) = self.live(old_id, save.now)?;
            // From the values of this moment, which other requests may have changed since this one loaded them.
            values = old.values.clone();
            if old.moved_to.is_none() {
                let expires = save.expires.min(save.now.saturating_add(GRACE_SECONDS));
                self.put(old_id, Entry { expires, moved_to: Some(new_id), ..new(values.clone()) });
            }
            values.apply(save.changes);
        }
        while self.by_id.len() >= max
            && let Some((_, id)) = self.by_expiry.pop_first()
        {
            self.by_id.remove(&id);
        }
        self.put(new_id, new(values));
        Some(())
    }

    fn put(&mut self, id: Id, entry: Entry) {
        let expires = entry.expires;
        if let Some(old) = self.by_id.insert(id, entry) {
            self.by_expiry.remove(&(old.expires, id));
        }
        self.by_expiry.insert((expires, id));
    }
}

impl Store for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::shared()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        let Some(id) = id(token) else {
            return Ok(None);
        };
        let sessions = self.lock();
        let live = sessions.live(id, now);
        Ok(live.map(|(entry, _)| Record::new(entry.values.clone(), entry.created, entry.expires)))
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        match save.token {
            Some(token) if !save.rotate => {
                let done = id(token).and_then(|id| self.lock().change(id, save));
                Ok(done.unwrap_or(Saved::Gone))
            }
            old => {
                // Made before the lock is taken: it asks the system.
                let token = SessionId::random()?.to_string();
                let id = id(Token::new(save.cookie, &token));
                let done = id.and_then(|id| self.lock().begin(id, old, save, self.max_sessions));
                Ok(done.map_or(Saved::Gone, |()| Saved::Token(token)))
            }
        }
    }

    async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
        let mut sessions = self.lock();
        if let Some(id) = id(token)
            && let Some(entry) = sessions.by_id.remove(&id)
        {
            sessions.by_expiry.remove(&(entry.expires, id));
        }
        Ok(())
    }

    async fn collect(&self, now: u64) -> Result<u64, StoreError> {
        let mut sessions = self.lock();
        let mut collected = 0;
        while let Some(&(expires, id)) = sessions.by_expiry.first()
            && expires <= now
        {
            sessions.by_expiry.pop_first();
            sessions.by_id.remove(&id);
            collected += 1;
        }
        Ok(collected)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    /// Without the ids, which open sessions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("sessions", &self.len()).field("max_sessions", &self.max_sessions).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Changes, contract};

    #[tokio::test]
    async fn the_memory_store_keeps_the_contract() {
        contract::store_contract(async || MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn a_full_store_pushes_out_the_session_that_would_end_first() {
        let store = MemoryStore::new().max_sessions(2);
        let mut tokens = Vec::new();
        for expires in [200, 100, 300] {
            let changes = Changes::new();
            let values = [("n", expires.to_string())].into_iter().collect();
            let save = Save { expires, ..Save::new("s", &changes, &values) };
            let Saved::Token(token) = store.save(save).await.unwrap() else { panic!("a new session has a token") };
            tokens.push(token);
        }
        let mut there = Vec::new();
        for token in &tokens {
            there.push(store.load(Token::new("s", token), 0).await.unwrap().is_some());
        }
        assert_eq!(there, [true, false, true]);
        assert_eq!(store.len(), 2);
    }
}
