//! Whatever the other side of a WebSocket says: it is heard the same in pieces of any size, is never larger than agreed, and comes
//! back the same when it is said again, compressed or not.
//!
//! The first two bytes say who speaks, what was agreed on, and how large the pieces are.
//!
//! `cargo fuzz run websocket corpus/websocket seeds/websocket` begins with the examples of RFC 6455 and RFC 7692.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::websocket::{Deflate, read_frames, write_frames};

const LIMIT: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let [how, size, said @ ..] = data else { return };
    // That of the reader; the other side speaks.
    let server = how & 1 == 0;
    let takeover = (how & 2 == 0).then_some(how & 4 == 0);
    let size = usize::from(*size).max(1);
    let (whole, fault) = read_frames([said].into_iter(), server, takeover, LIMIT);
    let (pieces, other) = read_frames(said.chunks(size), server, takeover, LIMIT);
    assert_eq!(whole, pieces);
    // What is wrong with a message that is too large and broken besides depends on how much of it was there.
    assert_eq!(fault.is_some(), other.is_some(), "{fault:?} {other:?}");
    for (opcode, payload) in &whole {
        match opcode {
            1 => assert!(str::from_utf8(payload).is_ok() && payload.len() <= LIMIT),
            2 => assert!(payload.len() <= LIMIT),
            8 => assert!(payload.len() <= 125 && payload.len() != 1),
            9 => assert!(payload.len() <= 125),
            10 => {}
            other => panic!("opcode {other}"),
        }
    }

    // Said again, by a side that compresses from the first byte on.
    let bits = 9 + (how >> 3) % 7;
    let own = Deflate::new().min_size(1).level(1 + u32::from(how >> 6) * 2).context_takeover(takeover == Some(true));
    let again = write_frames(&whole, !server, takeover.map(|_| (&own, bits)));
    assert_eq!(read_frames(again.chunks(size), server, takeover, LIMIT), (whole, None));

    // Any bytes are a message, and come as they are.
    let messages = said.chunks(LIMIT).map(|message| (2, message.to_vec())).collect::<Vec<_>>();
    let sent = write_frames(&messages, !server, takeover.map(|_| (&own, bits)));
    assert_eq!(read_frames(sent.chunks(size), server, takeover, LIMIT), (messages, None));
});
