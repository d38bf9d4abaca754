//! `Rate`: how many requests are let through in what time, and the counters that know.

mod counters;
mod fields;
#[cfg(feature = "redis")]
mod remote;
mod rows;

pub(crate) use counters::Counters;
pub(crate) use fields::{Policy, seconds_in_words, whole_seconds};
#[cfg(feature = "redis")]
pub(crate) use remote::Remote;
#[cfg(feature = "auth")]
pub(crate) use rows::Rows;

use crate::{Error, Result};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// So many requests in so much time, and so many at once.
///
/// It is counted by the generic cell rate algorithm (GCRA, ITU-T I.371; a leaky bucket that is a moment in time): of 60 a minute
/// one comes back each second, and there is no window at whose beginning everybody comes. Whoever has not asked for a while has the
/// whole [burst](Rate::burst) before him. So in one period there are at most `requests` and the burst together, and in the long run
/// `requests` a period.
///
/// ```
/// use purlin::rate::Rate;
/// use std::time::Duration;
///
/// let a_second = Rate::per_second(10).burst(30);
/// let a_quarter = Rate::new(1000, Duration::from_secs(900)).named("quarter");
/// assert_eq!(a_second.to_string(), "10 per second, 30 at once");
/// assert_eq!(a_quarter.to_string(), "1000 per 900s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    requests: u32,
    period: Duration,
    burst: u32,
    name: Option<Cow<'static, str>>,
}

impl Rate {
    /// So many requests in this time.
    pub const fn new(requests: u32, period: Duration) -> Self {
        Self { requests, period, burst: requests, name: None }
    }

    /// So many a second.
    pub const fn per_second(requests: u32) -> Self {
        Self::new(requests, Duration::from_secs(1))
    }

    /// So many a minute.
    pub const fn per_minute(requests: u32) -> Self {
        Self::new(requests, Duration::from_secs(60))
    }

    /// So many an hour.
    pub const fn per_hour(requests: u32) -> Self {
        Self::new(requests, Duration::from_secs(3600))
    }

    /// So many a day.
    pub const fn per_day(requests: u32) -> Self {
        Self::new(requests, Duration::from_secs(86_400))
    }

    /// How many may come at once; as many as in the whole period by default. With 1, none before its time.
    pub const fn burst(mut self, requests: u32) -> Self {
        self.burst = requests;
        self
    }

    /// What clients see it called; `10-per-second` and the like by default.
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What clients see it called.
    pub fn name(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => Cow::Borrowed(name),
            None => format!("{}-per-{}", self.requests, Period(self.period)).into(),
        }
    }

    /// As it is counted.
    ///
    /// # Errors
    ///
    /// It lets nothing through, or more than can be told from no limit; or its name cannot stand in a header.
    pub(crate) fn pace(&self) -> Result<Pace> {
        let wrong = |expected: &str| Err(Error::internal(format!("the rate of {self}: expected {expected}")));
        let interval = micros(self.period).checked_div(u64::from(self.requests)).unwrap_or(0);
        if self.requests == 0 || self.burst == 0 {
            return wrong("one request at least, in a period and at once; to refuse all, take the route away");
        }
        if interval == 0 {
            return wrong("no more than a request in a microsecond");
        }
        if interval.saturating_mul(u64::from(self.requests.max(self.burst))) > micros(LONGEST) {
            return wrong("no more than a year, for the period and for the burst to come back");
        }
        let name = self.name();
        if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte)) {
            return wrong("a name of printable ASCII, without quotes and backslashes");
        }
        Ok(Pace { interval, tolerance: interval * u64::from(self.burst) })
    }
}

const LONGEST: Duration = Duration::from_secs(366 * 86_400);

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.requests, Period(self.period))?;
        if self.burst != self.requests { write!(f, ", {} at once", self.burst) } else { Ok(()) }
    }
}

struct Period(Duration);

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_secs(), self.0.subsec_nanos()) {
            (1, 0) => f.write_str("second"),
            (60, 0) => f.write_str("minute"),
            (3600, 0) => f.write_str("hour"),
            (86_400, 0) => f.write_str("day"),
            _ => write!(f, "{:?}", self.0),
        }
    }
}

/// A rate as it is counted, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From one request to the next.
    pub(crate) interval: u64,
    /// How far ahead of their time requests may be: the burst.
    pub(crate) tolerance: u64,
}

impl Pace {
    /// The moment until which what was let through has used up its time, after one more request; or how long that has to wait.
    pub(crate) fn next(self, until: u64, now: u64) -> Result<u64, u64> {
        // Never further ahead than one can get: the clock, or the rate, was another when that was written.
        let next = until.clamp(now, now + self.tolerance) + self.interval;
        let too_early = next.saturating_sub(now + self.tolerance);
        if too_early == 0 { Ok(next) } else { Err(too_early) }
    }

    /// How many requests are left to whoever is so far ahead.
    pub(crate) fn left(self, ahead: u64) -> u64 {
        self.tolerance.saturating_sub(ahead) / self.interval
    }
}

/// The most rates of one layer.
pub(crate) const MOST: usize = 4;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// For how long it would have to wait; nought for one that passes.
    pub(crate) wait: u64,
    /// How far ahead of its time the client is now, for each rate.
    pub(crate) ahead: [u64; MOST],
}

/// What is done while Redis cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WithoutRedis {
    /// Each process counts for itself: nobody is refused who would not have been, and a client gets as many times the rate as
    /// there are processes.
    #[default]
    CountHere,
    /// All requests pass, and nothing is counted.
    Pass,
    /// All are refused with 503: for what must not be asked too often, whatever happens.
    Refuse,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Whose<'a> {
    /// Those of an address; `None` is all that have none.
    Client(Option<IpAddr>),
    /// Those of an account.
    #[cfg(feature = "auth")]
    User(&'a str),
    /// Those of which the site says the same.
    Key(&'a str),
}

impl Whose<'_> {
    /// With the address as it counts.
    fn counted(self) -> Self {
        match self {
            Self::Client(address) => Self::Client(address.map(network)),
            other => other,
        }
    }
}

/// What one customer of a provider has: an IPv4 address, or 64 bits of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

/// This machine, or one of a network of its own: RFC 1918, 4193, 3927 and 4291 §2.5.6, 6598.
pub(crate) fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_a_proxy_that_all_share() {
        let near = "127.0.0.1 ::1 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.1.1 100.64.0.1 100.127.255.255 \
                    fd00::1 fc00::1 fe80::1 ::ffff:10.0.0.1";
        let far = "8.8.8.8 172.32.0.1 172.15.0.1 100.63.0.1 100.128.0.1 192.169.0.1 2001:db8::1 ::ffff:8.8.8.8";
        for (list, expected) in [(near, true), (far, false)] {
            for address in list.split_whitespace() {
                assert_eq!(is_near(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn a_pace_lets_the_burst_through_and_then_one_at_its_time() {
        let pace = Rate::per_second(10).burst(3).pace().unwrap();
        assert_eq!(pace, Pace { interval: 100_000, tolerance: 300_000 });
        let mut until = 0;
        for left in [2, 1, 0] {
            until = pace.next(until, 1_000_000).unwrap();
            assert_eq!(pace.left(until - 1_000_000), left);
        }
        assert_eq!(pace.next(until, 1_000_000), Err(100_000));
        assert_eq!(pace.next(until, 1_099_999), Err(1));
        assert_eq!(pace.next(until, 1_100_000), Ok(1_400_000));
        // Long after, and with a clock that went back.
        assert_eq!(pace.next(until, 9_000_000), Ok(9_100_000));
        assert_eq!(pace.next(u64::MAX / 2, 1_000_000), Err(100_000));
    }

    #[test]
    fn a_rate_that_makes_no_sense_says_what_would() {
        let table = [
            (Rate::per_second(0), "the rate of 0 per second: expected one request at least"),
            (Rate::per_second(1).burst(0), "1 per second, 0 at once: expected one request at least"),
            (Rate::per_second(1_000_001), "no more than a request in a microsecond"),
            (Rate::new(1, Duration::ZERO), "no more than a request in a microsecond"),
            (Rate::new(1, Duration::MAX), "no more than a year"),
            (Rate::per_day(1).burst(400), "no more than a year"),
            (Rate::per_day(1).named("täglich"), "a name of printable ASCII"),
            (Rate::per_day(1).named("a\"b"), "a name of printable ASCII"),
            (Rate::per_day(1).named(""), "a name of printable ASCII"),
        ];
        for (rate, expected) in table {
            let error = rate.pace().unwrap_err().message();
            assert!(error.contains(expected), "{error}");
        }
    }
}
