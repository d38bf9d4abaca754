//! The head of a CGI program's answer is the same in pieces of any size, and never one that HTTP forbids.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::cgi::{Head, HeadError, HeadReader};

fn read(output: &[u8], size: usize) -> Result<(Head, Vec<u8>), HeadError> {
    let mut reader = HeadReader::new();
    let mut pieces = output.chunks(size);
    while let Some(piece) = pieces.next() {
        if let Some((head, body)) = reader.feed(piece)? {
            return Ok((head, [&body[..], &pieces.flatten().copied().collect::<Vec<u8>>()].concat()));
        }
    }
    Err(reader.end())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, output) = input;
    let whole = read(output, output.len().max(1));
    let pieces = read(output, usize::from(size).max(1));
    match (whole, pieces) {
        (Ok((head, body)), Ok((other, rest))) => {
            assert_eq!((head.status, &head.headers, &head.local, head.length), (other.status, &other.headers, &other.local, other.length));
            assert_eq!(body, rest);
            assert!(output.ends_with(&body), "the body is what follows the head");
            assert!((200..600).contains(&head.status.as_u16()));
            assert!(!head.headers.contains_key("transfer-encoding") && !head.headers.contains_key("connection"));
            assert!(head.headers.get_all("location").iter().count() <= 1);
            if let Some(local) = &head.local {
                assert!(local.starts_with('/') && !local.starts_with("//") && !head.headers.contains_key("location"));
            }
        }
        // How much is too much depends on the pieces it comes in.
        (Err(HeadError::TooLarge { .. }), _) | (_, Err(HeadError::TooLarge { .. })) => assert!(output.len() > 256),
        (Err(whole), Err(pieces)) => assert_eq!(whole, pieces),
        (whole, pieces) => panic!("{whole:?} whole, {pieces:?} in pieces"),
    }
});
