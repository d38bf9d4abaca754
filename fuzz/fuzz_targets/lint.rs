//! Whatever the headers of an answer are, the rules say something of them in linear time, and nothing secret.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use purlin::http::{HeaderName, HeaderValue, Request, StatusCode};
use purlin::lint::{Asked, Side, check};
use purlin::{Body, Response};

#[derive(Arbitrary, Debug)]
struct Exchange {
    status: u16,
    asked: Vec<(u8, Vec<u8>)>,
    answer: Vec<(u8, Vec<u8>)>,
    body: Vec<u8>,
    outside: bool,
}

/// Those that a rule reads.
const NAMES: [&str; 30] = [
    "accept-encoding",
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "origin",
    "proxy-authenticate",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-other",
];

fuzz_target!(|exchange: Exchange| {
    let lines = |lines: &[(u8, Vec<u8>)]| -> Vec<(HeaderName, HeaderValue)> {
        let line = |(name, value): &(u8, Vec<u8>)| {
            let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
            Some((name, HeaderValue::from_bytes(value).ok()?))
        };
        lines.iter().filter_map(line).collect()
    };
    let mut request = Request::new(Body::empty());
    request.headers_mut().extend(lines(&exchange.asked));
    let mut answer = Response::new(Body::from(exchange.body));
    *answer.status_mut() = StatusCode::from_u16(exchange.status).unwrap_or_default();
    for (name, value) in lines(&exchange.answer) {
        answer.headers_mut().append(name, value);
    }
    let side = if exchange.outside { Side::Outside } else { Side::Inside };
    for violation in check(&Asked::by(&request), &answer, side) {
        assert!(!violation.found().is_empty());
        assert!(violation.to_string().contains(violation.rule().id));
    }
});
