//! What was encoded before: a body that comes again, to the byte, need not be encoded again.

use super::Quality;
use crate::Result;
use crate::lock::locked;
use crate::negotiate::Coding;
use bytes::Bytes;
use foldhash::quality::RandomState;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard};

/// What an entry takes beside its bytes, in the map and the queue.
const ENTRY: usize = 256;

/// Of how many bodies it is known that they came once: eight bytes each.
const SEEN: usize = 1024;

/// Bodies that came twice, and what they were encoded to.
///
/// A body is found by a hash and then compared in full, so that no answer can stand for another. It is kept when it comes the
/// second time: a site whose pages all differ keeps nothing, and pays for the hash, a twentieth of a nanosecond a byte.
pub(crate) struct Repeats {
    most: usize,
    // With a key: who knew the hash could have pages of his own take the places of others. It only has to spread, nothing rests
    // on it but the place; SipHash would take ten times as long.
    hash: RandomState,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<u64, Entry>,
    // By age: what was used since it was last looked at goes to the end again.
    order: VecDeque<u64>,
    bytes: usize,
    // The hashes of what came once, each at its place.
    seen: Vec<u64>,
}

#[derive(Clone)]
struct Entry {
    coding: (Coding, Quality),
    plain: Bytes,
    encoded: Bytes,
    used: bool,
}

impl Repeats {
    /// Keeps so many bytes at most, those of the bodies and of what they were encoded to.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, hash: RandomState::default(), kept: Mutex::default() }
    }

    /// What `encode` makes of these bytes in this coding, or made of them before.
    pub(crate) fn encoded(
        &self,
        plain: &Bytes,
        coding: (Coding, Quality),
        encode: impl FnOnce() -> Result<Bytes>,
    ) -> Result<Bytes> {
        let hash = self.hash(plain, coding);
        let (found, again) = self.kept().look(hash);
        // Compared, and encoded, while others may look.
        if let Some(entry) = found
            && entry.coding == coding
            && entry.plain == plain
        {
            return Ok(entry.encoded);
        }
        let encoded = encode()?;
        if again {
            self.keep(hash, coding, plain, &encoded);
        }
        Ok(encoded)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        locked(&self.kept)
    }

    fn keep(&self, hash: u64, coding: (Coding, Quality), plain: &Bytes, encoded: &Bytes) {
        // Copied: they may be slices of what is much larger.
        let plain = Bytes::copy_from_slice(plain);
        let entry = Entry { coding, plain, encoded: Bytes::copy_from_slice(encoded), used: false };
        if entry.cost() > self.most {
            return;
        }
        let mut kept = self.kept();
        kept.bytes += entry.cost();
        match kept.entries.insert(hash, entry) {
            Some(before) => kept.bytes -= before.cost(),
            None => kept.order.push_back(hash),
        }
        kept.shrink(self.most);
    }

    fn hash(&self, bytes: &[u8], (coding, _): (Coding, Quality)) -> u64 {
        self.hash.hash_one((bytes, coding as u8))
    }
}

impl Kept {
    /// What is kept by this hash, and whether it came before.
    fn look(&mut self, hash: u64) -> (Option<Entry>, bool) {
        if let Some(entry) = self.entries.get_mut(&hash) {
            entry.used = true;
            return (Some(entry.clone()), true);
        }
        self.seen.resize(SEEN, 0);
        let seen = &mut self.seen[hash as usize % SEEN];
        let again = *seen == hash;
        *seen = hash;
        (None, again)
    }

    /// Lets go of the oldest that was not used since it was last looked at, until all fit.
    fn shrink(&mut self, most: usize) {
        while self.bytes > most {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            match self.entries.get_mut(&oldest).map(|entry| std::mem::take(&mut entry.used)) {
                Some(true) => self.order.push_back(oldest),
                _ => self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| entry.cost()),
            }
        }
    }
}

impl Entry {
    fn cost(&self) -> usize {
        self.plain.len() + self.encoded.len() + ENTRY
    }
}

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key, nor what was answered to others.
        f.debug_struct("Repeats").field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes back for a body, and whether it had to be encoded for that.
    fn ask(repeats: &Repeats, plain: &str, coding: Coding) -> (Bytes, bool) {
        let mut made = false;
        let encoded = repeats.encoded(&Bytes::copy_from_slice(plain.as_bytes()), (coding, Quality(2)), || {
            made = true;
            Ok(Bytes::from(format!("{coding} of {plain}")))
        });
        (encoded.unwrap(), made)
    }

    #[test]
    fn the_third_time_it_is_there() {
        let repeats = Repeats::new(10_000);
        for (plain, coding, made) in [
            ("a page", Coding::Gzip, true),
            ("a page", Coding::Gzip, true),
            ("a page", Coding::Gzip, false),
            ("a page", Coding::Brotli, true),
            ("another page, a little longer", Coding::Gzip, true),
            ("a page", Coding::Gzip, false),
            ("", Coding::Gzip, true),
            ("\0", Coding::Gzip, true),
            ("\0\0", Coding::Gzip, true),
        ] {
            let expected = (Bytes::from(format!("{coding} of {plain}")), made);
            assert_eq!(ask(&repeats, plain, coding), expected, "{plain:?} {coding}");
        }
    }

    #[test]
    fn what_has_the_same_hash_is_not_the_same() {
        let repeats = Repeats::new(10_000);
        ask(&repeats, "a page", Coding::Gzip);
        ask(&repeats, "a page", Coding::Gzip);
        let hash = repeats.hash(b"a page", (Coding::Gzip, Quality(2)));
        let mut kept = repeats.kept();
        kept.entries.get_mut(&hash).unwrap().plain = Bytes::from_static(b"a lage");
        drop(kept);
        assert_eq!(ask(&repeats, "a page", Coding::Gzip), (Bytes::from("gzip of a page"), true));
        // The newer has taken the place of the older, and nothing is counted twice.
        assert!(!ask(&repeats, "a page", Coding::Gzip).1);
        let kept = repeats.kept();
        let cost: usize = kept.entries.values().map(Entry::cost).sum();
        assert_eq!((kept.entries.len(), kept.order.len(), kept.bytes), (1, 1, cost));
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let repeats = Repeats::new(4000);
        for round in 0..3 {
            for page in 0..100 {
                let plain = format!("page {page}").repeat(20);
                ask(&repeats, &plain, Coding::Gzip);
                ask(&repeats, &plain, Coding::Gzip);
                let kept = repeats.kept();
                let cost: usize = kept.entries.values().map(Entry::cost).sum();
                assert!(kept.bytes == cost && cost <= 4000, "{round} {page}: {} {cost}", kept.bytes);
                assert_eq!(kept.entries.len(), kept.order.len());
            }
        }
        let large = "large".repeat(1000);
        for _ in 0..3 {
            assert!(ask(&repeats, &large, Coding::Gzip).1);
        }
        assert!(!repeats.kept().entries.is_empty());
    }

    #[test]
    fn what_is_asked_for_stays_when_others_go() {
        let repeats = Repeats::new(4000);
        let often = "often".repeat(20);
        for page in 0..100 {
            ask(&repeats, &often, Coding::Gzip);
            let plain = format!("page {page}").repeat(20);
            ask(&repeats, &plain, Coding::Gzip);
            ask(&repeats, &plain, Coding::Gzip);
        }
        assert!(!ask(&repeats, &often, Coding::Gzip).1);
    }
}
