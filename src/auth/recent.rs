//! `Recent`: which passwords were found right a moment ago, so that each request of a program is not hashed anew.

use super::Password;
use crate::lock::locked;
use orion::hazardous::mac::hmac::sha256::{HmacSha256, SecretKey};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// What was found right, for a short time.
///
/// A client of Basic sends its password with each request (RFC 7617 §2.2), and hashing it each time would cost 20 ms of
/// a core and 19 MiB: a program that asks a hundred times a second would take the whole machine. So a password that was
/// found right is known again for a short time, by a MAC over it and over the hash that it was compared with:
///
/// - the account is looked up each time, so a new password, or an account that is closed, counts at once;
/// - only what was right is kept: guessing costs the full price, and is throttled;
/// - the key of the MAC is random and ends with the process. Somebody who reads this memory reads the passwords that
///   are in it anyway.
///
/// For a day longer it is remembered that it was right, so that a program which asks now and then, and has no cookie to
/// prove what it is, need not wait for the failures of strangers.
pub(crate) struct Recent {
    key: SecretKey,
    lasts: Duration,
    // When each was compared.
    right: Mutex<HashMap<Mac, Instant>>,
}

type Mac = [u8; 32];

/// What is known of a password.
#[derive(Debug, PartialEq)]
pub(super) enum Known {
    /// It was right a moment ago.
    Right,
    /// It was right today, and is to be compared again; this names it.
    Before(Mac),
    /// It was never right, or that was too long ago.
    No,
}

/// How many are kept; then the oldest makes room.
const MOST: usize = 1024;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Recent {
    /// Panics when the operating system has no random bytes to give.
    pub(crate) fn new(lasts: Duration) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        let key = SecretKey::try_from(&key).expect("any bytes but none are a key");
        Self { key, lasts, right: Mutex::default() }
    }

    pub(super) fn look(&self, password: &Password, hash: &str) -> Known {
        let mac = self.mac(password, hash);
        // What is looked up is a MAC: its time tells nothing about the password.
        match self.lock().get(&mac).map(Instant::elapsed) {
            Some(age) if age < self.lasts => Known::Right,
            Some(age) if age < DAY => Known::Before(mac),
            _ => Known::No,
        }
    }

    pub(super) fn add(&self, password: &Password, hash: &str) {
        let mac = self.mac(password, hash);
        let mut right = self.lock();
        if right.len() >= MOST && !right.contains_key(&mac) {
            // Not worth an order: a thousand are looked through in less time than one is hashed.
            let oldest = right.iter().min_by_key(|(_, compared)| **compared).map(|(mac, _)| *mac);
            oldest.map(|oldest| right.remove(&oldest));
        }
        right.insert(mac, Instant::now());
    }

    /// No code but this module's runs under the lock, and nothing in it is left half-done by a panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<Mac, Instant>> {
        locked(&self.right)
    }

    /// A hash holds the salt of its account, so no account's password is taken for another's.
    fn mac(&self, password: &Password, hash: &str) -> Mac {
        // The length keeps the two apart.
        let text = [&(hash.len() as u64).to_le_bytes(), hash.as_bytes(), password.expose().as_bytes()];
        let mut mac = HmacSha256::new(&self.key);
        for part in text {
            mac.update(part).expect("nothing in memory reaches 2⁶¹ bytes (FIPS 180-4 §1)");
        }
        let mac = mac.finalize().expect("it is finalized once");
        mac.unprotected_as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").field("lasts", &self.lasts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_password_is_known_for_a_while_and_with_its_hash_only() {
        let recent = Recent::new(Duration::from_secs(60));
        let (good, bad) = (Password::new("good").unwrap(), Password::new("bad").unwrap());
        recent.add(&good, "hash");
        assert_eq!(recent.look(&good, "hash"), Known::Right);
        assert_eq!(recent.look(&bad, "hash"), Known::No);
        assert_eq!(recent.look(&good, "hash of the new password"), Known::No);
        assert_eq!(recent.look(&Password::new("hgood").unwrap(), "has"), Known::No);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(matches!(recent.look(&good, "hash"), Known::Before(_)));
        tokio::time::advance(DAY).await;
        assert_eq!(recent.look(&good, "hash"), Known::No);
    }

    #[tokio::test(start_paused = true)]
    async fn its_room_is_bounded_and_the_oldest_goes_first() {
        let recent = Recent::new(Duration::from_secs(60));
        let password = |n: usize| Password::new(n.to_string()).unwrap();
        for n in 0..MOST + 10 {
            recent.add(&password(n), "hash");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(recent.lock().len(), MOST);
        assert_eq!(recent.look(&password(9), "hash"), Known::No);
        assert_eq!(recent.look(&password(10), "hash"), Known::Right);
        assert_eq!(recent.look(&password(MOST + 9), "hash"), Known::Right);
    }
}
