//! `Memory`: values in this process, up to a weight in bytes, each for its time and under its tags.

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::time::Instant;

/// Values by key, which together weigh no more than was said.
///
/// What is pushed out is what was asked for least: one pass of a crawler over everything does not push out what visitors ask
/// for (S3-FIFO, as `quick_cache` has it). Keys are hashed with random keys of the process, so that no visitor can choose
/// colliding ones.
///
/// Time is tokio's, so that a test can pause it. What has ended is not given out any more; its room is taken by
/// [`sweep`](Memory::sweep), or by what comes next.
pub(crate) struct Memory<V> {
    entries: Cache<Box<str>, Arc<Entry<V>>, Weigh, RandomState, Pushed>,
    largest: u64,
    moments: Moments,
    evictions: Pushed,
}

/// One value of a [`Memory`].
pub(crate) struct Entry<V> {
    value: V,
    weight: u32,
    since: Ticket,
    tags: Box<[Arc<AtomicU64>]>,
    ends: Instant,
}

/// The moment before a value was made: a purge after it counts for the value, even if that is put there later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What is put into a [`Memory`].
pub(crate) struct Put<'a, V> {
    pub(crate) key: &'a str,
    pub(crate) value: V,
    /// Of the value alone; the key, the tags and the place in the table are counted beside it.
    pub(crate) bytes: usize,
    pub(crate) tags: &'a [Box<str>],
    /// From before the value was made.
    pub(crate) ticket: Ticket,
    /// When it is given out no more.
    pub(crate) ends: Instant,
}

/// What a value takes beside itself and its key: its place in the table, its `Arc`, and what it says of itself.
const OVERHEAD: usize = 192;

/// The same of a tag, which may be one that no other value has.
const TAG_OVERHEAD: usize = 96;

impl<V> Memory<V> {
    /// Of at most so many bytes, none of whose values takes more than `largest`.
    ///
    /// It is made of parts that are locked apart, each of which has room for four of the largest values: so there are the
    /// more of them, the smaller these are; 64 at most.
    pub(crate) fn new(bytes: u64, largest: u64) -> Self {
        let largest = largest.clamp(1, bytes.max(1));
        let shards = (bytes / largest.saturating_mul(4)).clamp(1, 64);
        // Rounded up by `quick_cache` where it is no power of two.
        let shards = 1 << shards.ilog2();
        let about = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(32 * shards, 1 << 20);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(about)
            .weight_capacity(bytes)
            .shards(shards)
            .build()
            .expect("both capacities are given, which is all that it asks for");
        let evictions = Pushed::default();
        Self {
            entries: Cache::with_options(options, Weigh, RandomState::new(), evictions.clone()),
            largest,
            moments: Moments::default(),
            evictions,
        }
    }

    /// To be taken before a value is made.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.moments.now.load(Ordering::SeqCst))
    }

    /// The value of this key, unless it has ended or was purged.
    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Arc<Entry<V>>> {
        let entry = self.entries.get(key)?;
        self.is_alive(&entry, now).then_some(entry)
    }

    /// Puts a value there, in place of another of its key; `false` where it is too large, has ended, or was purged since its
    /// ticket.
    pub(crate) fn put(&self, put: Put<'_, V>) -> bool {
        let Put { key, value, bytes, tags, ticket, ends } = put;
        let beside = tags.iter().map(|tag| tag.len() + TAG_OVERHEAD).sum::<usize>() + key.len() + OVERHEAD;
        let weight = u32::try_from(bytes.saturating_add(beside)).unwrap_or(u32::MAX);
        let tags = tags.iter().map(|tag| self.moments.of(tag)).collect();
        let entry = Entry { value, weight, since: ticket, tags, ends };
        if u64::from(weight) > self.largest || !self.is_alive(&entry, Instant::now()) {
            // What was there is older.
            self.entries.remove(key);
            return false;
        }
        self.entries.insert(key.into(), Arc::new(entry));
        true
    }

    /// Takes one out.
    pub(crate) fn remove(&self, key: &str) {
        self.entries.remove(key);
    }

    /// Purges what has this tag, and what is under way to have it.
    pub(crate) fn purge_tag(&self, tag: &str) {
        let purged = self.moments.of(tag);
        purged.store(self.moments.next(), Ordering::SeqCst);
    }

    /// Purges everything, and what is under way.
    pub(crate) fn clear(&self) {
        self.moments.cleared.store(self.moments.next(), Ordering::SeqCst);
        self.entries.clear();
    }

    /// Takes out what has ended or was purged. It goes through everything.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.entries.retain(|_, entry| self.is_alive(entry, now));
    }

    /// How many there are, those included that have ended and were not taken out yet.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What they weigh.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// What they may weigh.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.entries.capacity()
    }

    /// How many were pushed out to make room for others.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.0.load(Ordering::Relaxed)
    }

    /// What one may weigh.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    fn is_alive(&self, entry: &Entry<V>, now: Instant) -> bool {
        let since = entry.since.0;
        self.moments.cleared.load(Ordering::SeqCst) <= since
            && entry.tags.iter().all(|purged| purged.load(Ordering::SeqCst) <= since)
            && now < entry.ends
    }
}

#[cfg(feature = "redis")]
impl<V> Entry<V> {
    /// When it is given out no more.
    pub(crate) fn ends(&self) -> Instant {
        self.ends
    }
}

impl<V> Deref for Entry<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V> fmt::Debug for Memory<V> {
    /// Without keys and values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("entries", &self.len())
            .field("bytes", &self.bytes())
            .field("max_bytes", &self.max_bytes())
            .finish()
    }
}

/// Weights are worked out when a value is put there.
#[derive(Clone)]
struct Weigh;

impl<V> Weighter<Box<str>, Arc<Entry<V>>> for Weigh {
    fn weight(&self, _: &Box<str>, entry: &Arc<Entry<V>>) -> u64 {
        u64::from(entry.weight)
    }
}

/// Counts what is pushed out. All parts of a [`Memory`] count in the same number.
#[derive(Clone, Default)]
struct Pushed(Arc<AtomicU64>);

impl<V> Lifecycle<Box<str>, Arc<Entry<V>>> for Pushed {
    type RequestState = <Whenever<V> as Lifecycle<Box<str>, Arc<Entry<V>>>>::RequestState;

    // Not for what is replaced by another of its key, which `on_evict` is told of as well.
    fn before_evict(&self, _: &mut Self::RequestState, _: &Box<str>, _: &mut Arc<Entry<V>>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn on_evict(&self, state: &mut Self::RequestState, key: Box<str>, entry: Arc<Entry<V>>) {
        Whenever::default().on_evict(state, key, entry);
    }
}

/// By which what is pushed out is dropped after the lock, and not under it.
type Whenever<V> = DefaultLifecycle<Box<str>, Arc<Entry<V>>>;

/// When what was purged, counted in purges.
///
/// A tag is no list of its keys: purging one is a number that is written, however many values have it. A tag that no value has
/// any more is dropped when there are many, and `floor` is then what its last purge was: one who comes back to it with an
/// older ticket is late.
#[derive(Default)]
struct Moments {
    now: AtomicU64,
    cleared: AtomicU64,
    tags: RwLock<Tags>,
}

#[derive(Default)]
struct Tags {
    purged: HashMap<Box<str>, Arc<AtomicU64>>,
    floor: u64,
    /// At how many the unused ones are looked for.
    enough: usize,
}

/// Fewer tags than this are not worth a look.
const FEW: usize = 1024;

impl Moments {
    fn next(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// When this tag was purged last.
    fn of(&self, tag: &str) -> Arc<AtomicU64> {
        if let Some(purged) = self.tags.read().unwrap_or_else(PoisonError::into_inner).purged.get(tag) {
            return purged.clone();
        }
        let mut tags = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        if tags.purged.len() >= tags.enough.max(FEW) {
            tags.drop_unused();
        }
        let floor = tags.floor;
        tags.purged.entry(tag.into()).or_insert_with(|| Arc::new(AtomicU64::new(floor))).clone()
    }
}

impl Tags {
    fn drop_unused(&mut self) {
        let floor = &mut self.floor;
        self.purged.retain(|_, purged| {
            let used = Arc::strong_count(purged) > 1;
            if !used {
                *floor = (*floor).max(purged.load(Ordering::SeqCst));
            }
            used
        });
        // Looked for again when there are twice as many: each tag pays for its own look.
        self.enough = 2 * self.purged.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn put(memory: &Memory<u32>, key: &str, value: u32, tags: &[&str]) -> bool {
        put_since(memory, memory.ticket(), key, value, tags)
    }

    fn put_since(memory: &Memory<u32>, ticket: Ticket, key: &str, value: u32, tags: &[&str]) -> bool {
        let tags: Vec<Box<str>> = tags.iter().map(|&tag| tag.into()).collect();
        let ends = Instant::now() + Duration::from_secs(60);
        memory.put(Put { key, value, bytes: 100, tags: &tags, ticket, ends })
    }

    fn value(memory: &Memory<u32>, key: &str) -> Option<u32> {
        memory.get(key, Instant::now()).map(|entry| **entry)
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_there_for_its_time() {
        let memory = Memory::new(1 << 20, 1 << 16);
        assert!(put(&memory, "a", 1, &[]));
        tokio::time::advance(Duration::from_millis(59_999)).await;
        assert_eq!(value(&memory, "a"), Some(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((value(&memory, "a"), memory.len()), (None, 1));
        memory.sweep();
        assert_eq!((memory.len(), memory.bytes()), (0, 0));
    }

    #[tokio::test]
    async fn a_tag_purges_what_has_it_and_a_key_itself() {
        let memory = Memory::new(1 << 20, 1 << 16);
        for (key, tags) in [("a", &["x", "y"][..]), ("b", &["y"]), ("c", &[])] {
            assert!(put(&memory, key, 1, tags));
        }
        memory.purge_tag("nobody's");
        memory.purge_tag("x");
        let there = || ["a", "b", "c"].map(|key| value(&memory, key).is_some());
        assert_eq!(there(), [false, true, true]);
        memory.remove("c");
        assert_eq!(there(), [false, true, false]);
        assert!(put(&memory, "a", 2, &["x"]));
        assert_eq!(there(), [true, true, false], "what is made after the purge stays");
        memory.clear();
        assert_eq!((there(), memory.len()), ([false; 3], 0));
    }

    #[tokio::test]
    async fn what_was_made_before_a_purge_is_not_kept_after_it() {
        let memory = Memory::new(1 << 20, 1 << 16);
        let before = memory.ticket();
        memory.purge_tag("x");
        assert!(!put_since(&memory, before, "a", 1, &["x"]));
        assert!(put_since(&memory, before, "a", 1, &["y"]));
        let before = memory.ticket();
        memory.clear();
        assert!(!put_since(&memory, before, "a", 1, &[]));
        assert_eq!(value(&memory, "a"), None);
    }

    #[tokio::test]
    async fn it_never_weighs_more_than_was_said() {
        let memory = Memory::new(1 << 20, 1 << 16);
        let tags = ["a tag".into()];
        for n in 0..20_000_u32 {
            let (key, ends) = (n.to_string(), Instant::now() + Duration::from_secs(60));
            let bytes = (n as usize * 7919) % 60_000;
            memory.put(Put { key: &key, value: n, bytes, tags: &tags, ticket: memory.ticket(), ends });
            assert!(memory.bytes() <= 1 << 20, "{n}: {}", memory.bytes());
        }
        assert!(memory.bytes() > 1 << 19, "half of it is used at least: {}", memory.bytes());
        let ends = Instant::now() + Duration::from_secs(60);
        let (key, bytes) = ("large", (1 << 16) + 1);
        assert!(!memory.put(Put { key, value: 0, bytes, tags: &[], ticket: memory.ticket(), ends }));
        assert_eq!(value(&memory, "large"), None);
    }

    #[tokio::test]
    async fn what_is_pushed_out_is_counted_and_what_is_replaced_purged_or_taken_out_is_not() {
        let memory = Memory::new(1 << 20, 1 << 16);
        for n in 0..100 {
            assert!(put(&memory, "one", n, &["x"]));
        }
        memory.remove("one");
        assert!(put(&memory, "one", 0, &["x"]));
        memory.purge_tag("x");
        memory.sweep();
        assert!(put(&memory, "one", 0, &[]));
        memory.clear();
        assert_eq!((memory.len(), memory.evictions()), (0, 0));
        for n in 0..50_000_u64 {
            assert!(put(&memory, &n.to_string(), 0, &[]));
            assert_eq!(memory.evictions() + memory.len() as u64, n + 1);
        }
        assert!(memory.evictions() > 0);
    }

    #[tokio::test]
    async fn a_pass_over_everything_leaves_what_is_asked_for() {
        let memory = Memory::new(1 << 20, 1 << 14);
        for n in 0..100 {
            put(&memory, &format!("often {n}"), n, &[]);
        }
        for n in 0..50_000_u32 {
            put(&memory, &format!("once {n}"), n, &[]);
            value(&memory, &format!("often {}", n % 100));
        }
        let there = (0..100).filter(|n| value(&memory, &format!("often {n}")).is_some()).count();
        assert!(there >= 95, "{there} of 100");
    }

    #[tokio::test]
    async fn tags_that_nothing_has_are_dropped_and_their_purges_are_not_forgotten() {
        let memory = Memory::new(1 << 20, 1 << 16);
        put(&memory, "kept", 1, &["kept"]);
        let before = memory.ticket();
        for n in 0..10 * FEW {
            memory.purge_tag(&n.to_string());
        }
        let tags = memory.moments.tags.read().unwrap().purged.len();
        assert!(tags <= FEW + 1, "{tags}");
        assert_eq!(value(&memory, "kept"), Some(1));
        assert!(!put_since(&memory, before, "late", 1, &["0"]), "the tag's purge was dropped, and yet counts");
        assert!(put(&memory, "late", 1, &["0"]));
    }

    #[test]
    fn small_ones_hold_something_too() {
        for bytes in [1 << 10, 1 << 12, 1 << 16] {
            let memory = Memory::new(bytes, bytes);
            assert!(put(&memory, "a", 1, &[]), "{bytes}");
            assert_eq!(value(&memory, "a"), Some(1), "{bytes}");
        }
    }
}
