//! Tags print as they were read, and the outcomes keep to RFC 9110 §13.
#![no_main]

use arbitrary::Arbitrary;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use purlin::conditional::{ETag, Outcome, evaluate, http_date, if_range};
use std::time::{Duration, SystemTime};

#[derive(Arbitrary, Debug)]
struct Input {
    method: u8,
    lines: Vec<(u8, Vec<u8>)>,
    opaque: String,
    weak: bool,
    tagged: bool,
    modified: Option<(u64, u32)>,
}

fuzz_target!(|input: Input| {
    let names = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];
    let methods = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS];
    let method = &methods[usize::from(input.method) % methods.len()];
    let reading = matches!(*method, Method::GET | Method::HEAD);
    let modified = input
        .modified
        .and_then(|(seconds, nanos)| SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos % 1_000_000_000)));
    let etag = if input.weak { ETag::weak(&input.opaque) } else { ETag::strong(&input.opaque) }.ok();

    let mut headers = HeaderMap::new();
    for (name, line) in &input.lines {
        let Ok(line) = HeaderValue::from_bytes(line) else { continue };
        if let Ok(read) = ETag::from_header(&line) {
            assert_eq!(read.to_header_value(), line);
            assert!(read.weak_eq(&read));
            assert_eq!(read.strong_eq(&read), !read.is_weak());
            let weak = read.clone().weaken();
            assert!(weak.is_weak() && weak.weak_eq(&read) && !weak.strong_eq(&read));
            assert_eq!(weak.clone().weaken(), weak);
        }
        headers.append(&names[usize::from(*name) % names.len()], line);
    }
    let current = if input.tagged { etag.as_ref() } else { None };

    let conditions = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    match evaluate(method, &headers, current, modified) {
        Outcome::Proceed => {}
        Outcome::NotModified => {
            assert!(reading);
            assert!(headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MODIFIED_SINCE));
        }
        Outcome::PreconditionFailed => {
            assert!(*method != Method::OPTIONS);
            assert!(conditions.iter().any(|name| headers.contains_key(name)));
        }
    }
    let ranged = if_range(&headers, current, modified);
    assert!(ranged || headers.contains_key(IF_RANGE));

    // What the server itself sent out holds when it comes back, and a weak tag never stands for bytes.
    let one = |name, value| HeaderMap::from_iter([(name, value)]);
    if let Some(etag) = &etag {
        let sent = etag.to_header_value();
        let outcome = |name| evaluate(&Method::GET, &one(name, sent.clone()), Some(etag), modified);
        assert_eq!(outcome(IF_NONE_MATCH), Outcome::NotModified);
        assert_eq!(outcome(IF_MATCH) == Outcome::Proceed, !etag.is_weak());
        assert_eq!(if_range(&one(IF_RANGE, sent.clone()), Some(etag), modified), !etag.is_weak());
    }
    if let Some(modified) = modified {
        let sent = http_date(modified);
        let outcome = |name| evaluate(&Method::GET, &one(name, sent.clone()), None, Some(modified));
        assert_eq!(outcome(IF_MODIFIED_SINCE), Outcome::NotModified);
        assert_eq!(outcome(IF_UNMODIFIED_SINCE), Outcome::Proceed);
        assert!(if_range(&one(IF_RANGE, sent.clone()), None, Some(modified)));
    }
});
