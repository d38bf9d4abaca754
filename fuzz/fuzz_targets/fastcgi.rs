//! Records and pairs of FastCGI: whatever comes is read the same in pieces of any size, and what is written is read as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::Bytes;
use purlin::fastcgi::{Decoder, End, Record, RecordError, pairs, put_pair, put_record};

fn read(bytes: &[u8], size: usize) -> (Vec<Record>, Option<RecordError>) {
    let mut decoder = Decoder::new();
    let mut records = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.feed(piece);
        loop {
            match decoder.record() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(error) => return (records, Some(error)),
            }
        }
    }
    (records, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let (whole, error) = read(bytes, bytes.len().max(1));
    let (pieces, other) = read(bytes, usize::from(size).max(1));
    assert_eq!(whole, pieces);
    // What is shown of it depends on how much was there.
    assert_eq!(error.is_some(), other.is_some());
    let mut written = Default::default();
    for record in &whole {
        put_record(&mut written, record.kind, record.request, &record.content);
        let _ = End::read(&record.content);
    }
    assert_eq!(read(&written, written.len().max(1)).0, whole);
    if let Some(read) = pairs(bytes) {
        let mut written = Default::default();
        for (name, value) in &read {
            put_pair(&mut written, name, value);
        }
        assert_eq!(pairs(&written).as_ref(), Some(&read));
        assert!(Bytes::from(written).len() <= bytes.len(), "written the short way");
    }
});
