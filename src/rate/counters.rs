//! `Counters`: the requests of this process, counted in memory.

use super::rows::Rows;
use super::{MOST, Pace, Verdict, Whose, micros};
use crate::lock::locked;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use tokio::time::Instant;

/// Counts in room that does not grow: 16 bytes for a client and a rate. Where that does not suffice, whoever asked longest
/// ago, or least, is forgotten first; who was refused a moment ago, last.
#[derive(Debug)]
pub(crate) struct Counters {
    paces: Vec<Pace>,
    hashes: RandomState,
    start: Instant,
    /// Until when what a client has sent has used up its time, in microseconds since the start.
    until: Mutex<Rows<u64>>,
}

impl Counters {
    /// For so many clients.
    pub(crate) fn new(paces: Vec<Pace>, clients: usize) -> Self {
        let keys = clients.saturating_mul(paces.len());
        Self { paces, hashes: RandomState::new(), start: Instant::now(), until: Mutex::new(Rows::new(keys)) }
    }

    /// Counts a request, unless it is refused.
    pub(crate) fn ask(&self, whose: Whose<'_>) -> Verdict {
        let whose = whose.counted();
        // Not from nought, which is a place that is free.
        let now = micros(self.start.elapsed()) + 1;
        let mut keys = [0; MOST];
        let mut next = [0; MOST];
        let mut verdict = Verdict { wait: 0, ahead: [0; MOST] };
        for (at, key) in keys.iter_mut().enumerate().take(self.paces.len()) {
            *key = self.hashes.hash_one((at, whose));
        }
        let mut rows = locked(&self.until);
        for (at, pace) in self.paces.iter().enumerate() {
            let until = rows.find(keys[at]).map_or(0, |until| *until);
            verdict.ahead[at] = until.saturating_sub(now).min(pace.tolerance);
            match pace.next(until, now) {
                Ok(until) => next[at] = until,
                Err(wait) => verdict.wait = verdict.wait.max(wait),
            }
        }
        if verdict.wait == 0 {
            for at in 0..self.paces.len() {
                rows.put(keys[at], next[at], |until| *until);
                verdict.ahead[at] = next[at] - now;
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;
    use std::time::Duration;

    fn counters(rates: &[Rate], clients: usize) -> Counters {
        Counters::new(rates.iter().map(|rate| rate.pace().unwrap()).collect(), clients)
    }

    fn key(text: &str) -> Whose<'_> {
        Whose::Key(text)
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_rate_refuses_no_other_counts() {
        let counters = counters(&[Rate::per_second(2), Rate::per_minute(5)], 100);
        let mut passed = 0;
        // Ten times a second: the first rate lets two through, and the second sees but those.
        for _ in 0..20 {
            passed += u32::from(counters.ask(key("a")).wait == 0);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        // The burst of five, and none of them lost to what was refused.
        assert_eq!(passed, 5);
        assert_eq!(counters.ask(key("b")).wait, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_clients_neither_grows_nor_forgets_who_asks_most() {
        let counters = counters(&[Rate::per_hour(10)], 1024);
        while counters.ask(key("greedy")).wait == 0 {}
        for n in 0..50_000 {
            assert_eq!(counters.ask(key(&n.to_string())).wait, 0);
        }
        assert!(counters.ask(key("greedy")).wait > 0);
        assert_eq!(locked(&counters.until).size(), (1024, 16 << 10));
    }
}
