//! What is said of rates to clients: `RateLimit` and `RateLimit-Policy`, `Retry-After`.

use super::{Pace, Rate, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt::Write;
use std::time::Duration;

/// The fields of draft-ietf-httpapi-ratelimit-headers, in the syntax which it has had since its eighth version: two Lists of
/// Structured Fields (RFC 9651), whose members are the names of the rates, as Strings.
#[derive(Debug)]
pub(crate) struct Policy {
    /// `"10-per-second";q=10;w=1`
    policy: HeaderValue,
    names: Vec<Box<str>>,
}

pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl Policy {
    /// That of rates whose names can stand in a header.
    pub(crate) fn new(rates: &[Rate]) -> Self {
        let mut policy = String::new();
        let names: Vec<Box<str>> = rates.iter().map(|rate| rate.name().into()).collect();
        for (rate, name) in rates.iter().zip(&names) {
            let comma = if policy.is_empty() { "" } else { ", " };
            // Writing into a string does not fail.
            let _ = write!(policy, "{comma}\"{name}\";q={}", rate.requests);
            // The draft knows no parts of a second.
            if rate.period.subsec_nanos() == 0 {
                let _ = write!(policy, ";w={}", rate.period.as_secs());
            }
            if rate.burst != rate.requests {
                let _ = write!(policy, ";purlin-burst={}", rate.burst);
            }
        }
        Self { policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")), names }
    }

    /// The fields of an answer.
    pub(crate) fn fields(&self, paces: &[Pace], verdict: &Verdict) -> [(HeaderName, HeaderValue); 2] {
        let mut text = String::with_capacity(32 * self.names.len());
        for ((name, pace), &ahead) in self.names.iter().zip(paces).zip(&verdict.ahead) {
            let left = pace.left(ahead);
            // Where none is left, when there is one again; else when all are.
            let reset = if left == 0 { (ahead + pace.interval).saturating_sub(pace.tolerance) } else { ahead };
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}\"{name}\";r={left};t={}", whole_seconds(Duration::from_micros(reset)));
        }
        let state = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        [(RATE_LIMIT, state), (RATE_LIMIT_POLICY, self.policy.clone())]
    }

    /// Says it in an answer, beside what another layer has said there.
    pub(crate) fn tell(&self, paces: &[Pace], verdict: &Verdict, headers: &mut HeaderMap) {
        for (name, value) in self.fields(paces, verdict) {
            headers.append(name, value);
        }
    }
}

/// For `Retry-After`: part of a second is one, so that who comes then is not sent away again.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// For a sentence: try again in so much time.
pub(crate) fn seconds_in_words(seconds: u64) -> String {
    match seconds {
        1 => "a second".to_owned(),
        2..120 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let rates = [
            Rate::per_second(10).burst(20),
            Rate::per_hour(1000).named("hour"),
            Rate::new(3, Duration::from_millis(1500)),
        ];
        let paces: Vec<_> = rates.iter().map(|rate| rate.pace().unwrap()).collect();
        let policy = Policy::new(&rates);
        let table = [
            (
                [100_000, 3_600_000, 500_000, 0],
                "\"10-per-second\";r=19;t=1, \"hour\";r=999;t=4, \"3-per-1.5s\";r=2;t=1",
            ),
            (
                [2_000_000, 3_600_000_000, 1_200_000, 0],
                "\"10-per-second\";r=0;t=1, \"hour\";r=0;t=4, \"3-per-1.5s\";r=0;t=1",
            ),
            ([0; 4], "\"10-per-second\";r=20;t=0, \"hour\";r=1000;t=0, \"3-per-1.5s\";r=3;t=0"),
        ];
        for (ahead, expected) in table {
            let [(_, state), (_, told)] = policy.fields(&paces, &Verdict { wait: 0, ahead });
            assert_eq!(state, expected);
            assert_eq!(told, "\"10-per-second\";q=10;w=1;purlin-burst=20, \"hour\";q=1000;w=3600, \"3-per-1.5s\";q=3");
        }
    }
}
