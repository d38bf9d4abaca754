//! Whatever stands in the headers, a restriction that is added to it counts, and nothing of one connection is stored.
#![no_main]

use arbitrary::Arbitrary;
use http::header::{AGE, CACHE_CONTROL, CONNECTION, DATE, ETAG, EXPIRES, LAST_MODIFIED, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use purlin::freshness::{
    FOREVER, RequestDirectives, ResponseDirectives, Scope, age, freshen, heuristic_lifetime, lifetime, storable, strip,
};
use std::time::{Duration, SystemTime};

#[derive(Arbitrary, Debug)]
struct Input {
    status: u16,
    lines: Vec<(u8, Vec<u8>)>,
    stored: Vec<(u8, Vec<u8>)>,
    received: u32,
    took: u16,
}

fn headers(lines: &[(u8, Vec<u8>)]) -> HeaderMap {
    let names = [CACHE_CONTROL, EXPIRES, DATE, AGE, LAST_MODIFIED, ETAG, PRAGMA, CONNECTION, HeaderName::from_static("x-own")];
    let mut headers = HeaderMap::new();
    for (name, line) in lines {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(names[usize::from(*name) % names.len()].clone(), line);
        }
    }
    headers
}

fuzz_target!(|input: Input| {
    let answer = headers(&input.lines);
    let received = SystemTime::UNIX_EPOCH + Duration::from_secs(input.received.into());
    let status = StatusCode::from_u16(200 + input.status % 400).unwrap();
    let said = ResponseDirectives::of(&answer);
    let asked = RequestDirectives::of(&answer);
    let times = [
        said.max_age,
        said.s_maxage,
        said.stale_while_revalidate,
        said.stale_if_error,
        asked.max_age,
        asked.min_fresh,
        asked.max_stale,
        lifetime(&answer, &said, received),
        heuristic_lifetime(status, &answer, &said, received),
        age(&answer, received - Duration::from_secs(u64::from(input.took).min(input.received.into())), received),
    ];
    assert!(times.iter().flatten().all(|time| *time <= FOREVER));

    // A restriction counts, whatever stands before it.
    for restriction in ["no-store", "private"] {
        let mut more = answer.clone();
        more.append(CACHE_CONTROL, HeaderValue::from_static(restriction));
        let said = ResponseDirectives::of(&more);
        assert!(if restriction == "private" { said.private == Scope::Whole } else { said.no_store });
        let stored = storable(status, &HeaderMap::new(), &said, Some(60));
        assert!(stored.is_err() || (said.must_understand && restriction == "no-store"), "{restriction}");
    }
    // A second time is the same, or none.
    let mut more = answer.clone();
    more.append(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    let again = ResponseDirectives::of(&more);
    assert!(matches!(again.max_age, Some(60 | 0)), "{again:?}");

    let mut stored = headers(&input.stored);
    freshen(&mut stored, &answer);
    assert!(!stored.contains_key(AGE) || answer.contains_key(AGE));
    strip(&mut stored, &said);
    assert!(!stored.contains_key(CONNECTION));
    assert!(said.private.fields().iter().all(|name| !stored.contains_key(name)));
});
