//! Every range lies within the representation, no byte is sent twice, and lengths are exact.
#![no_main]

use arbitrary::Arbitrary;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use purlin::range::{ByteRange, MAX_PARTS, Multipart, Ranges, requested, unsatisfied};

#[derive(Arbitrary, Debug)]
struct Input {
    header: Vec<u8>,
    // Halves of the inputs begin as ranges do, so that the fuzzer need not find the prefix.
    prefixed: bool,
    len: u64,
    content_type: Vec<u8>,
    boundary: [u8; 16],
}

fuzz_target!(|input: Input| {
    let mut header = input.header;
    if input.prefixed {
        header.splice(..0, *b"bytes=");
    }
    let Ok(header) = HeaderValue::from_bytes(&header) else { return };
    let headers = HeaderMap::from_iter([(RANGE, header)]);
    assert_eq!(requested(&Method::HEAD, &headers, input.len), Ranges::Whole);

    // Once with a length as it comes, once with one that fits in memory.
    for len in [input.len, input.len % 4096] {
        let ranges: Vec<ByteRange> = match requested(&Method::GET, &headers, len) {
            Ranges::Whole => continue,
            Ranges::Unsatisfiable => {
                assert!(len > 0);
                assert_eq!(unsatisfied(len), format!("bytes */{len}").as_str());
                continue;
            }
            Ranges::One(range) => vec![range],
            Ranges::Many(ranges) => {
                assert!((2..=MAX_PARTS).contains(&ranges.len()));
                ranges
            }
        };
        for range in &ranges {
            assert!(range.start() < range.end() && range.end() <= len);
            assert_eq!(range.length(), range.end() - range.start());
            assert_eq!(ByteRange::new(range.start(), range.end()), Some(*range));
            let expected = format!("bytes {}-{}/{len}", range.start(), range.end() - 1);
            assert_eq!(range.content_range(len), expected.as_str());
        }
        let mut sorted = ranges.clone();
        sorted.sort_by_key(|range| range.start());
        // Neither overlapping nor touching.
        assert!(sorted.windows(2).all(|pair| pair[0].end() < pair[1].start()));

        if len < 4096 {
            let data = vec![b'x'; len as usize];
            let content_type = HeaderValue::from_bytes(&input.content_type).ok();
            let multipart = Multipart::new(ranges.iter().copied(), len, content_type.as_ref(), input.boundary);
            let mut body = Vec::new();
            for (part, range) in multipart.parts().iter().zip(&ranges) {
                assert_eq!(part.range, *range);
                body.extend_from_slice(&part.head);
                body.extend_from_slice(&data[part.range.start() as usize..part.range.end() as usize]);
            }
            body.extend_from_slice(&multipart.tail());
            assert_eq!(body.len() as u64, multipart.content_length());
        }
    }
});
