//! What clients write into `traceparent` and `tracestate` neither panics nor is passed on in another form than the recommendation's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};
use purlin::{HeaderMap, HeaderValue};

fuzz_target!(|data: &[u8]| {
    // Lines of the two headers: the first is the parent.
    let mut lines = data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let mut headers = HeaderMap::new();
    headers.extend(lines.next().map(|line| (TRACEPARENT, line)));
    for line in lines {
        headers.append(TRACESTATE, line);
    }
    let Some(read) = TraceContext::of(&headers) else { return };
    assert!(read.trace_id != 0 && read.parent_id != 0 && read.flags < 4 && read.state.len() <= 512);
    assert!(read.state.is_empty() || (1..=32).contains(&read.state.split(',').count()));

    // What is written is read again as the same.
    let mut again = HeaderMap::new();
    again.insert(TRACEPARENT, HeaderValue::try_from(read.traceparent()).unwrap());
    again.insert(TRACESTATE, HeaderValue::try_from(&read.state).unwrap());
    assert_eq!(TraceContext::of(&again), Some(read));
});
