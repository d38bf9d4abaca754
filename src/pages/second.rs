//! `Second`: the pages in Redis, which the processes of a site share, behind those in each one's memory.

use super::entry::{self, Unreadable};
use super::{Kept, Page, Pages, Variants};
use crate::Result;
use crate::cache::flight::{Flights, Lead, Turn};
use crate::cache::memory::{Entry, Put};
use crate::cache::redis::{self, Placed, Remote};
use crate::lock::locked;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Redis behind the memory.
///
/// What is in memory counts for `local_ttl`; who wants it after that asks Redis, once for all who want it, whether it is still that: so
/// for no longer than that a process gives what another has purged. Nothing listens and nothing is told: where Redis has been
/// away, nothing was missed. An entry is all the pages of one URL; of two processes that store another variant each at the same
/// time one is lost, and made again when it is asked for.
pub(crate) struct Second {
    remote: Arc<Remote>,
    local_ttl: Duration,
    looks: Flights<Option<redis::Ticket>>,
    /// So much was to be purged there while Redis was away: when it is back, everything goes.
    owes: AtomicU64,
    /// It was said that there is what cannot be read.
    has_complained: AtomicBool,
}

impl Second {
    pub(crate) fn new(remote: Arc<Remote>, local_ttl: Duration) -> Self {
        let (owes, has_complained) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { remote, local_ttl, looks: Flights::new(), owes, has_complained }
    }

    /// What a purge came to; a failed one is made up for.
    fn purged(&self, told: Result<(), crate::redis_link::LinkError>) -> Result<()> {
        told.map_err(|error| {
            self.owes.fetch_add(1, Ordering::SeqCst);
            redis::unreached(error)
        })
    }

    /// How often Redis could not be asked.
    pub(super) fn failures(&self) -> u64 {
        self.remote.failures()
    }

    pub(super) async fn purge_tag(&self, tag: &str) -> Result<()> {
        self.purged(self.remote.purge_tag(tag).await)
    }

    pub(super) async fn clear(&self) -> Result<()> {
        self.purged(self.remote.clear().await)
    }

    /// The log tells if it could not be done.
    pub(super) async fn remove(&self, key: &str) {
        drop(self.purged(self.remote.remove(key).await));
    }

    /// What was asked there before a purge is kept by nobody.
    pub(super) fn forget(&self, key: &str) {
        self.looks.forget(key);
    }

    pub(super) fn part_all(&self) {
        self.looks.part_all();
    }

    /// Until when what is known now counts.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.local_ttl
    }

    /// Puts the pages of a URL there.
    pub(super) async fn put(
        &self,
        key: &str,
        pages: &[Arc<Page>],
        tags: &[Box<str>],
        ticket: &redis::Ticket,
    ) -> Placed {
        let now = Instant::now();
        let left = |page: &Arc<Page>| page.kept_for().saturating_sub(page.held_for(now));
        let fresh_for = pages.iter().map(left).max().unwrap_or_default();
        let bytes = &*entry::write(pages, fresh_for, now);
        let put = redis::Put { key, bytes, tags, fresh_for, stale_for: Duration::ZERO, ticket };
        self.remote.put(put).await
    }

    fn complain(&self, key: &str, why: &Unreadable) {
        if !self.has_complained.swap(true, Ordering::Relaxed) {
            let place = self.remote.place();
            tracing::warn!(target: "purlin::cache", ?key, "pages in Redis at {place} cannot be read, and are made anew: {why}");
        }
    }
}

impl Pages {
    /// Whether a page that is not in memory may be elsewhere.
    pub(super) fn has_second(&self) -> bool {
        self.0.second.is_some()
    }

    /// Brings what Redis has of a URL into memory, if that does not know; one asks for all who want it. The moment before, for
    /// what is made if it is not there; none where Redis is away, and memory goes on alone.
    pub(super) async fn look(&self, key: &str) -> Option<redis::Ticket> {
        let second = self.0.second.as_ref()?;
        match second.looks.turn(key).await {
            Turn::Done(ticket) => ticket,
            Turn::Panicked => None,
            Turn::Lead(lead) => {
                let ticket = self.look_for_all(second, key, &lead).await;
                lead.finish(ticket.clone());
                ticket
            }
        }
    }

    async fn look_for_all(
        &self,
        second: &Second,
        key: &str,
        lead: &Lead<Option<redis::Ticket>>,
    ) -> Option<redis::Ticket> {
        let owed = second.owes.load(Ordering::SeqCst);
        if owed > 0 && second.remote.clear().await.is_ok() {
            // Not what has come to it meanwhile.
            let _ = second.owes.compare_exchange(owed, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
        let memory = &self.0.memory;
        let since = memory.ticket();
        let before = memory.get(key, Instant::now());
        let variants = before.as_deref().and_then(|entry| entry.variants());
        let known = variants.and_then(|variants| variants.version.clone());
        // As long as it owes a purge, what is there is not to be had.
        let answer = match second.owes.load(Ordering::SeqCst) {
            1.. => redis::Answer::default(),
            0 => second.remote.get_unless(key, known.as_ref()).await,
        };
        let (now, until) = (Instant::now(), Some(second.until()));
        let write = locked(&self.0.writes);
        // Somebody has stored another since.
        let same = |one: &Arc<Entry<Kept>>, other: &Arc<Entry<Kept>>| Arc::ptr_eq(one, other);
        match (&before, &memory.get(key, now)) {
            (None, None) => {}
            (Some(before), Some(now)) if same(before, now) => {}
            _ => return answer.ticket,
        }
        let (pages, version, ends) = match (answer.stored, &answer.ticket, variants.zip(before.as_ref())) {
            (Some(stored), ..) => match entry::read(&stored.bytes, stored.ends_in, now) {
                Ok(pages) => (pages.into(), Some(stored.since), now + stored.ends_in),
                Err(why) => {
                    second.complain(key, &why);
                    memory.remove(key);
                    return answer.ticket;
                }
            },
            (None, ticket, Some((variants, entry))) if ticket.is_none() || answer.is_same => {
                (variants.pages.clone(), variants.version.clone(), entry.ends())
            }
            (None, _, Some(_)) => {
                // Purged by another process, or Redis had no room.
                memory.remove(key);
                return answer.ticket;
            }
            (None, _, None) => return answer.ticket,
        };
        let (bytes, tags) = (super::bytes_of(&pages), super::tags_of(key, &pages));
        let value = Kept::Variants(Variants { pages, version, until });
        memory.put(Put { key, value, bytes, tags: &tags, ticket: since, ends });
        drop(write);
        // Who removes says so first, and then takes out what is there: one of the two sees the other.
        if lead.is_forgotten() {
            memory.remove(key);
        }
        answer.ticket
    }

    /// Whether what was not put there, since another process was quicker, is there now.
    pub(super) async fn has_been_stored(&self, key: &str) -> bool {
        self.look(key).await;
        self.0.memory.get(key, Instant::now()).is_some_and(|entry| entry.variants().is_some())
    }
}

impl fmt::Debug for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Second")
            .field("remote", &self.remote)
            .field("local_ttl", &self.local_ttl)
            .finish_non_exhaustive()
    }
}

/// Reads what may stand in Redis, for whoever makes it up: how many pages it is.
#[doc(hidden)]
pub fn read_entry(bytes: &[u8], ends_in: Duration) -> Option<usize> {
    let now = Instant::now();
    let pages = entry::read(bytes, ends_in, now).ok()?;
    for page in &pages {
        page.usage(page.age(now), &crate::freshness::RequestDirectives::default());
    }
    let again = entry::write(&pages, ends_in, now);
    assert_eq!(entry::read(&again, ends_in, now).map(|pages| pages.len()), Ok(pages.len()));
    Some(pages.len())
}
