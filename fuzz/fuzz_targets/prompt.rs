//! Whatever is typed at the debugger's prompt, it is evaluated or refused: in a frame with values of many kinds.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use purlin_debugger::{Bounds, Frame, Image, Inspector, Limits, Roots, Snapshot, Snapshots, check, frames};
use std::collections::HashMap;
use std::time::Duration;

#[derive(Arbitrary, Debug)]
enum Input {
    Text(String),
    /// Of pieces that mean something, more of what is tried gets past the parser.
    Pieces(Vec<u8>),
}

const PIECES: [&str; 64] = [
    "items",
    "map",
    "text",
    "n",
    "x",
    "some",
    "tuple",
    "unit",
    "[0]",
    "[1..]",
    "[..=2]",
    "[\"k\"]",
    ".name",
    ".0",
    ".1",
    ".len()",
    ".iter()",
    ".map(|i| ",
    ".filter(|i| ",
    "i",
    ")",
    "(",
    "[",
    "]",
    ".sum()",
    ".rev()",
    ".take(",
    ".get(",
    ".unwrap()",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
    " << ",
    " >> ",
    " == ",
    " < ",
    " && ",
    " || ",
    " as u8",
    " as f64",
    "-",
    "!",
    "&",
    "*",
    "1",
    "255u8",
    "1.5",
    "0",
    "u128::MAX",
    "i128::MIN",
    "\"a\"",
    "'b'",
    "Some(",
    "None",
    ", ",
    ".join(",
    ".split(",
    ".pow(",
    ".windows(",
    ".chars()",
    "..",
    "|a| ",
];

/// A copy of this process, stopped in a frame with these variables.
fn stopped() -> (Image, Snapshot, Frame) {
    let items = vec![("a".to_owned(), 1_u32), ("b".to_owned(), 2)];
    let map: HashMap<String, i64> = [("k".to_owned(), -1)].into();
    let text = "größe".to_owned();
    let n = 200_u8;
    let x = 0.5;
    let some = Some(Box::new(3_i8));
    let tuple = (1_u8, "two", [3.0_f32; 4]);
    let unit = ();
    let limits = Limits::new().resident_bytes(u64::MAX).age(Duration::from_secs(1 << 20));
    let snapshots = Box::leak(Box::new(Snapshots::new(limits).unwrap()));
    let capture = snapshots.capture().unwrap();
    std::hint::black_box((&items, &map, &text, &n, &x, &some, &tuple, &unit));
    let image = Image::open().unwrap();
    let roots = Roots { own: vec![env!("CARGO_MANIFEST_DIR").into()], ..Roots::default() };
    let frame = frames(&image, &capture.registers, &roots).swap_remove(0);
    (image, capture.memory.unwrap(), frame)
}

thread_local! {
    static STOPPED: (Image, Snapshot, Frame) = stopped();
}

fuzz_target!(|input: Input| {
    let text: String = match input {
        Input::Text(text) => text,
        Input::Pieces(pieces) => pieces.iter().map(|piece| PIECES[usize::from(piece % 64)]).collect(),
    };
    let understood = check(&text);
    if let Err(mistake) = &understood {
        assert!(!mistake.message.is_empty() && text.get(mistake.at.clone()).is_some(), "{text:?} {mistake:?}");
    }
    // Not for each text, since these take longer by far.
    let complete = text.len().is_multiple_of(8);
    if understood.is_err() && !complete {
        return;
    }
    STOPPED.with(|(image, memory, frame)| {
        let bounds = Bounds { time: Duration::from_millis(50), ..Bounds::default() };
        let inspector = Inspector::new(image, memory).bounds(bounds);
        if understood.is_ok()
            && let Err(mistake) = inspector.evaluate(frame, &text)
        {
            assert!(!mistake.message.is_empty() && text.get(mistake.at.clone()).is_some(), "{text:?} {mistake:?}");
        }
        if complete {
            let completion = inspector.complete(frame, &text, text.len());
            assert!(text.is_char_boundary(completion.from));
        }
    });
});
