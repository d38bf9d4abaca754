//! A cookie that is written reads back, and nothing in it becomes an attribute.
#![no_main]

use arbitrary::Arbitrary;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use purlin::cookie::{Cookie, SameSite, cookie, cookies};
use std::time::{Duration, SystemTime};

#[derive(Arbitrary, Debug)]
struct Input {
    lines: Vec<Vec<u8>>,
    name: String,
    value: String,
    path: Option<String>,
    domain: Option<String>,
    max_age: Option<Duration>,
    // Seconds from 1970 on, either way.
    expires: Option<i64>,
    http_only: bool,
    secure: bool,
    same_site: u8,
    partitioned: bool,
}

fuzz_target!(|input: Input| {
    let mut headers = HeaderMap::new();
    for line in &input.lines {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, line);
        }
    }
    for (name, value) in cookies(&headers) {
        assert!(!name.is_empty() && !name.contains(['=', ';']) && !value.contains(';'));
        assert_eq!(name, name.trim_matches([' ', '\t']));
        assert_eq!(value, value.trim_matches([' ', '\t']));
        // The first of that name, which may be another one.
        let first = cookies(&headers).find(|(other, _)| *other == name).map(|(_, value)| value);
        assert_eq!(cookie(&headers, name), first);
    }

    let mut written = Cookie::new(input.name.clone(), input.value.clone())
        .http_only(input.http_only)
        .secure(input.secure)
        .partitioned(input.partitioned)
        .same_site([SameSite::Strict, SameSite::Lax, SameSite::None][usize::from(input.same_site % 3)]);
    let mut attributes = 2 + usize::from(input.http_only) + usize::from(input.secure) + usize::from(input.partitioned);
    if let Some(path) = input.path {
        written = written.path(path);
    }
    if let Some(domain) = input.domain {
        written = written.domain(domain);
        attributes += 1;
    }
    if let Some(max_age) = input.max_age {
        written = written.max_age(max_age);
        attributes += 1;
    }
    if let Some(seconds) = input.expires {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        };
        if let Some(time) = time {
            written = written.expires(time);
            attributes += 1;
        }
    }
    let value = match written.to_header_value() {
        Ok(value) => value,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let text = value.to_str().expect("a written cookie is visible ASCII");
    let mut pieces = text.split(';');
    let pair = pieces.next().expect("a split has a first piece");
    assert_eq!(pieces.count(), attributes, "{text}");
    assert!(pair.len() <= Cookie::MAX_BYTES + 1);
    if pair.to_ascii_lowercase().starts_with("__host-") {
        assert!(text.contains("; Secure") && text.contains("; Path=/;") && !text.contains("; Domain="), "{text}");
    }

    // As a browser would send it back.
    let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(pair).expect("part of a header value"))]);
    assert!(cookies(&headers).eq([(input.name.as_str(), input.value.as_str())]), "{text}");
});
