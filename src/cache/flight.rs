//! `Flights`: of those who want the same thing at the same time, one gets it and the others wait for that.

use crate::lock::locked;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use tokio::sync::Notify;

/// What is being made at the moment, by its key.
///
/// Whoever comes first to a key leads, and does the work in its own future: no task is begun. Those who come while it works
/// follow, and get a clone of what it came to. Where the leader's future is dropped (its visitor left, or waited for too long),
/// the first of the followers leads in its stead. Where it panics, the followers are told so, and whoever comes next leads: so
/// a panic is one per arrival, and not one after another for each of a thousand who wait.
///
/// Clones are the same flights.
pub(crate) struct Flights<V>(Arc<Mutex<HashMap<Arc<str>, Place<V>>>>);

/// Who is under way to one key.
struct Place<V> {
    /// Whom one may join.
    open: Option<Arc<Flight<V>>>,
    /// Who began before a purge: nobody joins them, and they may still have to be told of another.
    parted: Vec<Arc<Flight<V>>>,
}

/// What became of the wait for a turn.
pub(crate) enum Turn<V> {
    /// It is the caller's to do the work.
    Lead(Lead<V>),
    /// What another came to.
    Done(V),
    /// The one who led panicked.
    Panicked,
}

/// The work is the holder's. Dropped without [`finish`](Lead::finish), it is another's.
pub(crate) struct Lead<V> {
    flights: Flights<V>,
    key: Arc<str>,
    flight: Arc<Flight<V>>,
}

struct Flight<V> {
    end: OnceLock<End<V>>,
    ended: Notify,
    forgotten: AtomicBool,
}

enum End<V> {
    Done(V),
    Panicked,
    Dropped,
}

impl<V> Flights<V> {
    /// Nobody is under way.
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// How many keys are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Those who come from now on do not join who is under way to this key: what that comes to may be out of date. Say so
    /// *before* the store is purged, and see [`Lead::is_forgotten`].
    pub(crate) fn forget(&self, key: &str) {
        if let Some(place) = self.lock().get_mut(key) {
            place.part();
            for flight in &place.parted {
                flight.forgotten.store(true, Ordering::SeqCst);
            }
        }
    }

    /// The same for all keys; but who leads is not told, since only some of them may be meant. Whether what it makes may still
    /// be kept, the store knows by its ticket.
    pub(crate) fn part_all(&self) {
        self.lock().values_mut().for_each(Place::part);
    }

    /// The lead, unless another has it; waits for nothing.
    pub(crate) fn try_lead(&self, key: &str) -> Option<Lead<V>> {
        self.enter(key).ok()
    }

    /// Leads, or joins who does.
    fn enter(&self, key: &str) -> Result<Lead<V>, Arc<Flight<V>>> {
        let mut under_way = self.lock();
        let there = under_way.get_key_value(key).map(|(key, place)| (key.clone(), place.open.clone()));
        let key = match there {
            Some((_, Some(flight))) => return Err(flight),
            Some((key, None)) => key,
            None => key.into(),
        };
        let flight = Arc::new(Flight { end: OnceLock::new(), ended: Notify::new(), forgotten: AtomicBool::new(false) });
        let place = under_way.entry(key.clone()).or_insert(Place { open: None, parted: Vec::new() });
        place.open = Some(flight.clone());
        Ok(Lead { flights: self.clone(), key, flight })
    }

    /// Only this file's code runs under the lock, and none that could panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Place<V>>> {
        locked(&self.0)
    }
}

impl<V> Place<V> {
    fn part(&mut self) {
        self.parted.extend(self.open.take());
    }
}

impl<V: Clone> Flights<V> {
    /// The caller's turn: to do the work for this key, or to have what another came to, for which it waits.
    ///
    /// Whoever leads and then asks for its own key again waits for itself.
    pub(crate) async fn turn(&self, key: &str) -> Turn<V> {
        loop {
            let flight = match self.enter(key) {
                Ok(lead) => return Turn::Lead(lead),
                Err(flight) => flight,
            };
            // Made before the look: what ends in between is not missed.
            let ended = flight.ended.notified();
            if flight.end.get().is_none() {
                ended.await;
            }
            match flight.end.get() {
                Some(End::Done(value)) => return Turn::Done(value.clone()),
                Some(End::Panicked) => return Turn::Panicked,
                // The leader is gone: whoever is first now leads.
                Some(End::Dropped) | None => {}
            }
        }
    }
}

impl<V> Lead<V> {
    /// Whether somebody has purged what is being made, so that it may be out of date. Whoever stores it asks *after* that, and
    /// then takes it out again: so no purge is missed, whenever it comes.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.flight.forgotten.load(Ordering::SeqCst)
    }

    /// Tells those who wait.
    pub(crate) fn finish(self, value: V) {
        self.end(End::Done(value));
    }

    fn end(&self, end: End<V>) {
        let mut under_way = self.flights.lock();
        // Within the lock: who sees a leader that is gone finds the place free.
        if self.flight.end.set(end).is_err() {
            return;
        }
        if let Some(place) = under_way.get_mut(&self.key) {
            place.open.take_if(|flight| Arc::ptr_eq(flight, &self.flight));
            place.parted.retain(|flight| !Arc::ptr_eq(flight, &self.flight));
            if place.open.is_none() && place.parted.is_empty() {
                under_way.remove(&self.key);
            }
        }
        drop(under_way);
        self.flight.ended.notify_waiters();
    }
}

impl<V> Drop for Lead<V> {
    fn drop(&mut self) {
        self.end(if std::thread::panicking() { End::Panicked } else { End::Dropped });
    }
}

impl<V> Clone for Flights<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::task::{JoinSet, yield_now};

    /// Works for as many turns of the runtime; `None` is what a panic is told by.
    async fn work(flights: Flights<usize>, calls: Arc<AtomicUsize>, turns: usize) -> Option<usize> {
        match flights.turn("key").await {
            Turn::Lead(lead) => {
                let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
                for _ in 0..turns {
                    yield_now().await;
                }
                lead.finish(call);
                Some(call)
            }
            Turn::Done(call) => Some(call),
            Turn::Panicked => None,
        }
    }

    #[tokio::test]
    async fn a_thousand_at_once_are_one_call() {
        let (flights, calls) = (Flights::new(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..1000 {
            tasks.spawn(work(flights.clone(), calls.clone(), 3));
        }
        assert_eq!(tasks.join_all().await, vec![Some(1); 1000]);
        assert_eq!((calls.load(Ordering::Relaxed), flights.len()), (1, 0));
    }

    #[tokio::test]
    async fn where_the_leader_is_dropped_a_follower_leads() {
        let (flights, calls) = (Flights::new(), Arc::new(AtomicUsize::new(0)));
        let first = tokio::spawn(work(flights.clone(), calls.clone(), usize::MAX));
        yield_now().await;
        let mut followers = JoinSet::new();
        for _ in 0..50 {
            followers.spawn(work(flights.clone(), calls.clone(), 3));
        }
        yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(followers.join_all().await, vec![Some(2); 50]);
        assert_eq!((calls.load(Ordering::Relaxed), flights.len()), (2, 0));
    }

    #[tokio::test]
    async fn a_follower_that_leaves_is_missed_by_nobody() {
        let (flights, calls) = (Flights::new(), Arc::new(AtomicUsize::new(0)));
        let first = tokio::spawn(work(flights.clone(), calls.clone(), 5));
        yield_now().await;
        let follower = tokio::spawn(work(flights.clone(), calls.clone(), 1));
        yield_now().await;
        follower.abort();
        assert_eq!(first.await.unwrap(), Some(1));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_panic_is_told_and_poisons_nothing() {
        let (flights, calls) = (Flights::new(), Arc::new(AtomicUsize::new(0)));
        let leader = flights.clone();
        let panics = tokio::spawn(async move {
            let Turn::Lead(_lead) = leader.turn("key").await else { panic!("nobody else is there") };
            for _ in 0..10 {
                yield_now().await;
            }
            panic!("the work fails");
        });
        yield_now().await;
        let follower = tokio::spawn(work(flights.clone(), calls.clone(), 1));
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(follower.await.unwrap(), None);
        assert_eq!(work(flights.clone(), calls.clone(), 1).await, Some(1));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_joined_by_nobody_and_known_to_its_leader() {
        let flights = Flights::new();
        for (forget, told) in
            [((|flights| flights.forget("key")) as fn(&Flights<usize>), true), (|flights| flights.part_all(), false)]
        {
            let Turn::Lead(old) = flights.turn("key").await else { panic!("nobody else is there") };
            assert!(!old.is_forgotten() && flights.try_lead("key").is_none());
            forget(&flights);
            assert_eq!(old.is_forgotten(), told);
            let Some(new) = flights.try_lead("key") else { panic!("the key is free") };
            old.finish(1);
            assert!(flights.try_lead("key").is_none(), "the end of the old is not that of the new");
            assert!(!new.is_forgotten());
            drop(new);
            assert_eq!(flights.len(), 0);
        }
        // Who was parted by one purge is told of another.
        let Turn::Lead(old) = flights.turn("key").await else { panic!("nobody else is there") };
        flights.part_all();
        let Turn::Lead(new) = flights.turn("key").await else { panic!("the key is free") };
        flights.forget("key");
        assert!(old.is_forgotten() && new.is_forgotten());
        drop((old, new));
        assert_eq!(flights.len(), 0);
    }
}
