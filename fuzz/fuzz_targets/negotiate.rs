//! Only what is offered is chosen, and the order and division of lines mean nothing.
#![no_main]

use arbitrary::Arbitrary;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use purlin::negotiate::{Coding, best_coding, best_media_type};

#[derive(Arbitrary, Debug)]
struct Input {
    lines: Vec<Vec<u8>>,
    codings: Vec<u8>,
    types: Vec<u8>,
}

const CODINGS: [Coding; 5] = [Coding::Identity, Coding::Gzip, Coding::Brotli, Coding::Zstd, Coding::Deflate];
const TYPES: [&str; 5] = [
    "text/html; charset=utf-8",
    "application/json",
    "text/plain",
    "text/plain;format=flowed",
    "image/png;x=\"a,\\\"b\"",
];

fn headers<'a>(name: HeaderName, lines: impl IntoIterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(&name, line);
        }
    }
    headers
}

fuzz_target!(|input: Input| {
    let codings: Vec<Coding> = input.codings.iter().take(8).map(|&i| CODINGS[usize::from(i) % 5]).collect();
    let types: Vec<&str> = input.types.iter().take(8).map(|&i| TYPES[usize::from(i) % 5]).collect();
    let forwards = || input.lines.iter().map(Vec::as_slice);
    let backwards = || input.lines.iter().rev().map(Vec::as_slice);

    let coding = best_coding(&headers(ACCEPT_ENCODING, forwards()), &codings);
    assert!(coding.is_none_or(|coding| codings.contains(&coding)));
    assert_eq!(coding, best_coding(&headers(ACCEPT_ENCODING, backwards()), &codings));

    let media_type = best_media_type(&headers(ACCEPT, forwards()), &types);
    assert!(media_type.is_none_or(|media_type| types.contains(&media_type)));
    assert_eq!(media_type, best_media_type(&headers(ACCEPT, backwards()), &types));

    // Whoever welcomes an offer by name is not sent away, whatever else was said.
    if let Some(offer) = codings.first() {
        let welcome = headers(ACCEPT_ENCODING, forwards().chain([offer.token().as_bytes()]));
        assert!(best_coding(&welcome, &codings).is_some());
    }
    if let Some(offer) = types.first() {
        let welcome = headers(ACCEPT, forwards().chain([offer.as_bytes()]));
        assert!(best_media_type(&welcome, &types).is_some());
    }
    // Whoever refuses everything, and says no more, gets nothing.
    assert_eq!(best_coding(&headers(ACCEPT_ENCODING, [&b"*;q=0"[..]]), &codings), None);
    assert_eq!(best_media_type(&headers(ACCEPT, [&b"*/*;q=0"[..]]), &types), None);

    for line in forwards().filter_map(|line| str::from_utf8(line).ok()) {
        if let Some(coding) = Coding::from_token(line) {
            assert_eq!(Coding::from_token(coding.token()), Some(coding));
        }
    }
});
