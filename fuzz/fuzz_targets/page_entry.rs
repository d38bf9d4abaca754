//! Whatever stands in Redis where pages are expected: it is none, or can be used and is read as it was when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::pages::read_entry;
use std::time::Duration;

fuzz_target!(|input: (u32, &[u8])| {
    let (ends_in, bytes) = input;
    let ends_in = Duration::from_millis(ends_in.into());
    read_entry(bytes, ends_in);
    // What is behind the beginning is of use more often.
    read_entry(&[b"purlin page\x01", bytes].concat(), ends_in);
});
