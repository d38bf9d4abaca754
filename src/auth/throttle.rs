//! `Throttle`: how long who failed to sign in has to wait before the next attempt.

use crate::lock::locked;
use crate::rate::{Rows, is_near, network, seconds_in_words, whole_seconds};
use crate::{Error, Request, RequestExt, Result};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Slows down the guessing of passwords: after some failures each further one costs twice the time of the last.
///
/// Failures are counted
///
/// - **for an account** (whether it exists or not), so that many addresses cannot share the guessing of one password;
///   5 are free by default;
/// - **for an address**, so that one cannot try a few passwords on every account; 20 are free by default, since an
///   office or a school has one address. An IPv6 address counts by its first 64 bits, which is what one customer is
///   given.
///
/// Then the next attempt has to wait 1 s, 2 s, 4 s … up to [`longest`](Throttle::longest), 5 minutes by default. One
/// that comes too early is 429 with `Retry-After` (RFC 6585 §4); nothing is verified for it, and it is not counted. An
/// attempt is counted when it begins, so that a thousand at once are not all free. A success ends the count of the
/// account; that of the address goes on, or else one could sign in to an account of his own now and then. After three
/// times the longest wait without a failure all are forgotten.
///
/// **Nobody is locked out.** Accounts and addresses are slowed down for strangers only: a browser that has signed in to
/// an account before proves that by a cookie, and has a count of its own for it (OWASP's *device cookies*). So whoever
/// fails on purpose at the account of another, or in the same house, keeps out, for five minutes after his last attempt
/// at most, who comes by a new browser, and nobody else. A program that signs in by Basic is known for a day by its
/// password, which was right.
///
/// The counts are in memory, 65,536 of each kind in 2 MiB; where these do not suffice, that which failed least is
/// forgotten first. Several servers count each for itself. Clones share the counts.
///
/// ```
/// use purlin::auth::Throttle;
/// use std::time::Duration;
///
/// let throttle = Throttle::new().per_account(10).longest(Duration::from_secs(60));
/// ```
#[derive(Clone)]
pub struct Throttle {
    per_account: u32,
    per_address: u32,
    longest: Duration,
    address: Arc<Address>,
    shared: Arc<Shared>,
}

type Address = dyn Fn(&Request) -> Option<IpAddr> + Send + Sync;

struct Shared {
    // Two tables: a flood of one kind does not make the other forget.
    accounts: Mutex<Table>,
    addresses: Mutex<Table>,
    hashes: RandomState,
    start: Instant,
}

impl Throttle {
    /// With the defaults above.
    pub fn new() -> Self {
        let shared = Shared {
            accounts: Mutex::default(),
            addresses: Mutex::default(),
            hashes: RandomState::new(),
            start: Instant::now(),
        };
        Self {
            per_account: 5,
            per_address: 20,
            longest: Duration::from_secs(300),
            address: Arc::new(of_connection),
            shared: Arc::new(shared),
        }
    }

    /// How many failures are free for an account; 5 by default, 0 for all.
    pub fn per_account(mut self, free: u32) -> Self {
        self.per_account = free;
        self
    }

    /// How many failures are free for an address; 20 by default, 0 for all.
    pub fn per_address(mut self, free: u32) -> Self {
        self.per_address = free;
        self
    }

    /// The longest wait; 5 minutes by default, a second at least.
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest.max(FIRST);
        self
    }

    /// Where a request comes from; by default the other end of the connection, unless that is this machine or one of
    /// a network of its own (10.0.0.0/8 and others that are not of the internet), which is a proxy that all visitors
    /// share. So behind a proxy failures are counted for accounts only, unless the layer
    /// [`TrustedProxies`](crate::layers::TrustedProxies) stands above, which knows the client's address.
    ///
    /// A header that clients can write would let them choose an address for each attempt. With `None` the address is not
    /// counted.
    ///
    /// ```
    /// use purlin::RequestExt;
    /// use purlin::auth::Throttle;
    ///
    /// // Also those of a network of its own, for a site that is asked from there.
    /// let throttle = Throttle::new().address(|req| req.client_ip());
    /// ```
    pub fn address(mut self, address: impl Fn(&Request) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.address = Arc::new(address);
        self
    }

    /// Where this request comes from.
    pub(crate) fn address_of(&self, req: &Request) -> Option<IpAddr> {
        (self.address)(req)
    }

    /// Lets an attempt begin, counted as a failure until [`Attempt::succeeded`] says otherwise.
    ///
    /// # Errors
    ///
    /// 429: it comes too early.
    pub(super) fn attempt(&self, account: Who<'_>, address: Option<IpAddr>) -> Result<Attempt> {
        let is_stranger = matches!(account, Who::Stranger(_));
        let account = (self.per_account > 0).then(|| self.shared.hashes.hash_one(account));
        let address = address.filter(|_| is_stranger && self.per_address > 0);
        let address = address.map(|address| self.shared.hashes.hash_one(network(address)));
        let now = self.shared.start.elapsed();
        // Always in this order, so that no two wait for each other.
        let (mut accounts, mut addresses) = (lock(&self.shared.accounts), lock(&self.shared.addresses));
        let wait = |table: &mut Table, key: Option<u64>, free| {
            let count = key.and_then(|key| table.find(key, now, self.forgotten_after()))?;
            self.wait(*count, free, now)
        };
        let waits = [wait(&mut accounts, account, self.per_account), wait(&mut addresses, address, self.per_address)];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(too_early(wait));
        }
        for (table, key) in [(&mut accounts, account), (&mut addresses, address)] {
            if let Some(key) = key {
                table.add(key, now, self.forgotten_after());
            }
        }
        Ok(Attempt { shared: self.shared.clone(), account, address })
    }

    /// For how long the next attempt still has to wait.
    fn wait(&self, count: Count, free: u32, now: Duration) -> Option<Duration> {
        let beyond = count.failures.checked_sub(free)?;
        let wait = FIRST.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX)).min(self.longest);
        let left = (count.last + wait).saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    fn forgotten_after(&self) -> Duration {
        self.longest.saturating_mul(3)
    }
}

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("per_account", &self.per_account)
            .field("per_address", &self.per_address)
            .field("longest", &self.longest)
            .finish_non_exhaustive()
    }
}

/// Whose failures are counted.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Who<'a> {
    /// Somebody who says he is the one of this login name.
    Stranger(&'a str),
    /// A browser or a program that has signed in by this login name before, and what it is known by.
    Known(&'a str, &'a [u8]),
    /// Whoever has the session of the account of this id.
    SignedIn(&'a str),
}

/// An attempt under way.
pub(super) struct Attempt {
    shared: Arc<Shared>,
    account: Option<u64>,
    address: Option<u64>,
}

impl Attempt {
    /// It was no failure: nothing of the account's is left to count.
    pub(super) fn succeeded(self) {
        if let Some(account) = self.account {
            lock(&self.shared.accounts).set(account, |_| 0);
        }
        if let Some(address) = self.address {
            lock(&self.shared.addresses).set(address, less_one);
        }
    }

    /// It came to nothing, by no fault of who made it.
    pub(super) fn take_back(self) {
        for (table, key) in [(&self.shared.accounts, self.account), (&self.shared.addresses, self.address)] {
            if let Some(key) = key {
                lock(table).set(key, less_one);
            }
        }
    }
}

fn less_one(failures: u32) -> u32 {
    failures.saturating_sub(1)
}

/// No code but this module's runs under the lock, and nothing in it is left half-done by a panic.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    locked(table)
}

fn of_connection(req: &Request) -> Option<IpAddr> {
    req.client_ip().filter(|ip| !is_near(*ip))
}

fn too_early(wait: Duration) -> Error {
    let seconds = whole_seconds(wait);
    let words = seconds_in_words(seconds);
    Error::new(StatusCode::TOO_MANY_REQUESTS, format!("too many attempts to sign in failed: {seconds} s to wait"))
        .header(RETRY_AFTER, HeaderValue::from(seconds))
        .public(format!("Too many attempts to sign in have failed. Please try again in {words}."))
}

/// Those of accounts, or of addresses: 65,536 in 2 MiB, and who failed least is forgotten first.
struct Table(Rows<Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Since the throttle's start.
    last: Duration,
    /// 0 for none.
    failures: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self(Rows::new(65_536))
    }
}

impl Table {
    fn find(&mut self, key: u64, now: Duration, forgotten_after: Duration) -> Option<&mut Count> {
        let is_known = |count: &&mut Count| count.failures > 0 && now.saturating_sub(count.last) <= forgotten_after;
        self.0.find(key).filter(is_known)
    }

    fn add(&mut self, key: u64, now: Duration, forgotten_after: Duration) {
        if let Some(count) = self.find(key, now, forgotten_after) {
            count.failures = count.failures.saturating_add(1);
            count.last = now;
            return;
        }
        self.0.put(key, Count { last: now, failures: 1 }, |count| {
            let is_remembered = now.saturating_sub(count.last) <= forgotten_after;
            (if is_remembered { count.failures } else { 0 }, count.last)
        });
    }

    fn set(&mut self, key: u64, failures: impl Fn(u32) -> u32) {
        if let Some(count) = self.0.find(key) {
            count.failures = failures(count.failures);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_trusted_proxy_it_is_the_client_that_is_counted() {
        let mut req = Request::default();
        req.extensions_mut().insert(crate::Connection::new(Some(([10, 0, 0, 1], 5).into()), None));
        assert_eq!(Throttle::new().address_of(&req), None);
        let client = [203, 0, 113, 9].into();
        req.extensions_mut().insert(crate::forwarded::Client(Some(client)));
        assert_eq!(Throttle::new().address_of(&req), Some(client));
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// The seconds to wait, 0 for an attempt that was let in and failed.
    fn fails(throttle: &Throttle, who: Who<'_>, address: Option<IpAddr>) -> u64 {
        match throttle.attempt(who, address) {
            Ok(_) => 0,
            Err(error) => {
                assert_eq!(error.status(), 429);
                let (name, seconds) = &error.headers()[0];
                assert_eq!(name, "retry-after");
                seconds.to_str().unwrap().parse().unwrap()
            }
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_beyond_the_free_ones_doubles_the_wait() {
        let throttle = Throttle::new().longest(Duration::from_secs(20));
        let ada = Who::Stranger("ada");
        for _ in 0..5 {
            assert_eq!(fails(&throttle, ada, None), 0);
        }
        for expected in [1, 2, 4, 8, 16, 20, 20] {
            assert_eq!(fails(&throttle, ada, None), expected);
            // What comes too early does not count.
            assert_eq!(fails(&throttle, ada, None), expected);
            pass(expected).await;
            assert_eq!(fails(&throttle, ada, None), 0, "after {expected} s");
        }
        assert_eq!(fails(&throttle, Who::Stranger("bob"), None), 0);
        // 3 times 20 s after the last failure.
        pass(60).await;
        assert_eq!(fails(&throttle, ada, None), 0);
        assert_eq!(fails(&throttle, ada, None), 20);
        pass(61).await;
        for _ in 0..5 {
            assert_eq!(fails(&throttle, ada, None), 0);
        }
        assert_eq!(fails(&throttle, ada, None), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_at_once_are_counted_when_they_begin() {
        let throttle = Throttle::new();
        let under_way: Vec<_> = (0..1000).map(|_| throttle.attempt(Who::Stranger("ada"), None)).collect();
        assert_eq!(under_way.iter().flatten().count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_ends_the_count_of_the_account_and_not_of_the_address() {
        let throttle = Throttle::new();
        for _ in 0..100 {
            throttle.attempt(Who::Stranger("ada"), ip("192.0.2.1")).unwrap().succeeded();
        }
        for _ in 0..4 {
            for _ in 0..4 {
                assert_eq!(fails(&throttle, Who::Stranger("ada"), ip("192.0.2.1")), 0);
            }
            throttle.attempt(Who::Stranger("ada"), ip("192.0.2.1")).unwrap().succeeded();
        }
        for _ in 0..4 {
            assert_eq!(fails(&throttle, Who::Stranger("ada"), ip("192.0.2.1")), 0);
        }
        // 20 of that address.
        assert_eq!(fails(&throttle, Who::Stranger("bob"), ip("192.0.2.1")), 1);
        assert_eq!(fails(&throttle, Who::Stranger("ada"), ip("192.0.2.2")), 0);
        assert_eq!(fails(&throttle, Who::Stranger("ada"), ip("192.0.2.2")), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_came_to_nothing_is_taken_back() {
        let throttle = Throttle::new();
        for _ in 0..100 {
            throttle.attempt(Who::Stranger("ada"), ip("192.0.2.1")).unwrap().take_back();
        }
        assert_eq!(fails(&throttle, Who::Stranger("ada"), ip("192.0.2.1")), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_tries_many_accounts_waits() {
        let throttle = Throttle::new();
        for n in 0..20 {
            assert_eq!(fails(&throttle, Who::Stranger(&n.to_string()), ip("192.0.2.1")), 0);
        }
        assert_eq!(fails(&throttle, Who::Stranger("another"), ip("192.0.2.1")), 1);
        assert_eq!(fails(&throttle, Who::Stranger("another"), ip("::ffff:192.0.2.1")), 1);
        assert_eq!(fails(&throttle, Who::Stranger("another"), ip("192.0.2.2")), 0);
        // Who shares the address, and is known, goes on.
        assert_eq!(fails(&throttle, Who::Known("ada", b"her browser"), ip("192.0.2.1")), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn ipv6_counts_by_what_one_customer_has() {
        let throttle = Throttle::new();
        for n in 0..20 {
            let address = ip(&format!("2001:db8:1:2::{n:x}"));
            assert_eq!(fails(&throttle, Who::Stranger(&n.to_string()), address), 0);
        }
        assert_eq!(fails(&throttle, Who::Stranger("x"), ip("2001:db8:1:2:ffff::1")), 1);
        assert_eq!(fails(&throttle, Who::Stranger("x"), ip("2001:db8:1:3::1")), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_at_the_account_of_another_does_not_lock_him_out() {
        let throttle = Throttle::new();
        for _ in 0..100 {
            let wait = fails(&throttle, Who::Stranger("ada"), None);
            pass(wait).await;
        }
        while fails(&throttle, Who::Stranger("ada"), None) == 0 {}
        assert_eq!(fails(&throttle, Who::Stranger("ada"), None), 300);
        assert_eq!(fails(&throttle, Who::Known("ada", b"her browser"), None), 0);
        assert_eq!(fails(&throttle, Who::SignedIn("7"), None), 0);
        // For a browser that is not known it is over soon.
        pass(300).await;
        assert_eq!(fails(&throttle, Who::Stranger("ada"), None), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_counted_where_all_are_free() {
        let throttle = Throttle::new().per_account(0).per_address(0);
        for _ in 0..1000 {
            assert_eq!(fails(&throttle, Who::Stranger("ada"), ip("192.0.2.1")), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_names_neither_grows_nor_forgets_who_fails_most() {
        let throttle = Throttle::new();
        for _ in 0..5 {
            fails(&throttle, Who::Stranger("ada"), None);
        }
        for n in 0..300_000 {
            fails(&throttle, Who::Stranger(&n.to_string()), None);
        }
        assert_eq!(fails(&throttle, Who::Stranger("ada"), None), 1);
        let table = lock(&throttle.shared.accounts);
        assert_eq!(table.0.size(), (65_536, 2 << 20));
    }
}
