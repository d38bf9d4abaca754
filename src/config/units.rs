//! How durations, sizes, counts and log filters are written in a configuration.

use crate::nearest::nearest;
use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};
use std::fmt;
use std::time::Duration;

/// `"500ms"`, `"30s"`, `"2m"`, `"1h"`; nought is allowed.
pub(crate) fn duration<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    scalar(source, "a duration such as \"500ms\", \"30s\" or \"2m\"", parse_duration, |_| None)
}

/// A duration of some length: a limit of nought would refuse everything, which nobody means by it.
pub(crate) fn limit<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    let expected = "a duration above nought such as \"500ms\", \"30s\" or \"2m\"";
    scalar(source, expected, |text| parse_duration(text).filter(|limit| !limit.is_zero()), |_| None)
}

/// The same where it may be left out.
#[cfg(feature = "cache")]
pub(crate) fn given_duration<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    duration(source).map(Some)
}

/// A size of some bytes where it may be left out.
#[cfg(feature = "cache")]
pub(crate) fn given_some_size<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u64>, D::Error> {
    some_size(source).map(Some)
}

/// A part of a whole.
#[cfg(any(feature = "cache", feature = "opentelemetry"))]
pub(crate) fn part<'de, D: Deserializer<'de>>(source: D) -> Result<f64, D::Error> {
    let number: f64 = serde::Deserialize::deserialize(source)?;
    match (0.0..=1.0).contains(&number) {
        true => Ok(number),
        false => Err(D::Error::custom(format_args!("expected a number from 0 to 1 such as 0.8, found {number}"))),
    }
}

/// The same where it may be left out.
#[cfg(feature = "cache")]
pub(crate) fn given_part<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    part(source).map(Some)
}

/// A number of bytes: `2097152`, `"2 MiB"`, `"2MB"`.
pub(crate) fn size<'de, D: Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
    scalar(source, "a number of bytes such as 65536, \"64 KiB\" or \"2 MiB\"", parse_size, Some)
}

/// A size of some bytes: with none allowed, nothing would be.
pub(crate) fn some_size<'de, D: Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
    let some = |size: u64| Some(size).filter(|size| *size > 0);
    scalar(
        source,
        "a number of bytes from 1 up, such as 65536 or \"64 KiB\"",
        |text| parse_size(text).and_then(some),
        some,
    )
}

/// The same, of what is held in memory.
pub(crate) fn some_bytes<'de, D: Deserializer<'de>>(source: D) -> Result<usize, D::Error> {
    let size = some_size(source)?;
    usize::try_from(size)
        .map_err(|_| D::Error::custom(format_args!("expected a size that fits in memory, found {size}")))
}

/// A size of 8 KiB or more, the least that hyper's read buffer can be.
pub(crate) fn buffer<'de, D: Deserializer<'de>>(source: D) -> Result<usize, D::Error> {
    let enough = |size: u64| usize::try_from(size).ok().filter(|size| *size >= 8 << 10);
    let expected = "a number of bytes from \"8 KiB\" up, such as \"64 KiB\"";
    scalar(source, expected, |text| parse_size(text).and_then(enough), enough)
}

/// A whole number of one or more.
pub(crate) fn count<'de, D: Deserializer<'de>>(source: D) -> Result<usize, D::Error> {
    let some = |number| usize::try_from(number).ok().filter(|number| *number > 0);
    scalar(source, "a whole number from 1 up", |_| None, some)
}

/// `info`, `warn,my_site=debug`: checked here, because what reads it later takes any word for the name of a target.
pub(crate) fn log_filter<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let filter: String = serde::Deserialize::deserialize(source)?;
    for part in filter.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            let hint = nearest(level, LEVELS).map(|level| format!(": did you mean `{level}`?")).unwrap_or_default();
            let example = "levels such as \"info\" or \"warn,my_site=debug\"";
            return Err(D::Error::custom(format_args!("expected {example}, found level {level:?}{hint}")));
        }
    }
    Ok(filter)
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    number.checked_mul(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    })
}

/// `"64 KiB"` as 64 and `KiB`.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

fn scalar<'de, D: Deserializer<'de>, V>(
    source: D,
    expected: &'static str,
    text: impl Fn(&str) -> Option<V>,
    number: impl Fn(u64) -> Option<V>,
) -> Result<V, D::Error> {
    source.deserialize_any(Scalar { expected, text, number })
}

struct Scalar<T, N> {
    expected: &'static str,
    text: T,
    number: N,
}

impl<V, T: Fn(&str) -> Option<V>, N: Fn(u64) -> Option<V>> Visitor<'_> for Scalar<T, N> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V, E> {
        (self.text)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<V, E> {
        let read = u64::try_from(number).ok().and_then(|number| (self.number)(number));
        read.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("2m", Some(120_000)),
            ("1 h", Some(3_600_000)),
            (" 0s ", Some(0)),
            ("30", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("1m30s", None),
            ("30S", None),
            ("18446744073709551615h", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [
            ("65536", Some(65_536)),
            ("1 B", Some(1)),
            ("64 KiB", Some(65_536)),
            ("64kib", Some(65_536)),
            ("2 MB", Some(2_000_000)),
            ("3GiB", Some(3 << 30)),
            ("1 kB", Some(1_000)),
            ("1 GB", Some(1_000_000_000)),
            ("0", Some(0)),
            ("2 M", None),
            ("MiB", None),
            ("", None),
            ("-1", None),
            ("18446744073709551615 KiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }
}
