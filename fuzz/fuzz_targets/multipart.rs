//! A form with files means the same however it is cut into pieces, and one that was written reads back.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use purlin::extract::Multipart;
use purlin::{Body, Bytes, FromRequest, Request};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

#[derive(Arbitrary, Debug)]
struct Input {
    boundary: String,
    parts: Vec<Field>,
    // What a stranger sends.
    raw: Vec<u8>,
    cuts: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Field {
    name: String,
    file_name: Option<String>,
    content: Vec<u8>,
}

/// A part as it was read.
#[derive(Debug, PartialEq)]
struct Read {
    name: String,
    file_name: Option<String>,
    content: Vec<u8>,
}

struct Pieces(VecDeque<Bytes>);

impl futures_core::Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// Pieces of the lengths that `cuts` says, over and over.
fn cut(body: &[u8], cuts: &[u8]) -> Body {
    let mut pieces = VecDeque::new();
    let mut rest = body;
    let mut lengths = cuts.iter().cycle();
    while !rest.is_empty() {
        let length = lengths.next().map_or(rest.len(), |&length| usize::from(length).max(1).min(rest.len()));
        let (piece, later) = rest.split_at(length);
        pieces.push_back(Bytes::copy_from_slice(piece));
        rest = later;
    }
    Body::stream(Pieces(pieces))
}

/// The parts that are whole, and the status of the error if there is one.
async fn read(content_type: &str, body: Body) -> (Vec<Read>, Option<u16>) {
    let mut parts = Vec::new();
    let status = read_parts(content_type, body, &mut parts).await.err().map(|error| {
        assert!(error.to_string().len() < 600 && error.public_message().is_some());
        error.status().as_u16()
    });
    (parts, status)
}

async fn read_parts(content_type: &str, body: Body, parts: &mut Vec<Read>) -> purlin::Result<()> {
    let mut req = Request::new(body);
    let Ok(content_type) = content_type.parse() else {
        return Err(purlin::Error::bad_request("no header").public("No header."));
    };
    req.headers_mut().insert("content-type", content_type);
    let mut form = Multipart::from_request(&mut req).await?;
    while let Some(mut part) = form.next().await? {
        if let Some(name) = part.file_name() {
            assert!((1..=200).contains(&name.len()), "{name:?}");
            assert!(!name.contains(['/', '\\', '\0', '\r', '\n', ':']), "{name:?}");
            assert!(!name.starts_with('.') && !name.ends_with(['.', ' ']), "{name:?}");
        }
        let (name, file_name) = (part.name().to_owned(), part.untrusted_file_name().map(str::to_owned));
        let mut content = Vec::new();
        while let Some(piece) = part.chunk().await? {
            assert!(!piece.is_empty());
            content.extend_from_slice(&piece);
        }
        parts.push(Read { name, file_name, content });
    }
    assert!(form.next().await?.is_none());
    Ok(())
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("all pieces are there"),
    }
}

/// As browsers write a name; `None` where that loses something.
fn quoted(name: &str) -> Option<String> {
    let ambiguous = ["%22", "%0D", "%0A", "\\"].iter().any(|escape| name.contains(escape));
    let control = name.chars().any(|c| c.is_ascii_control() && !matches!(c, '\r' | '\n' | '\t'));
    (!ambiguous && !control).then(|| name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A"))
}

fuzz_target!(|input: Input| {
    // Whatever it is, with a boundary that the fuzzer finds easily and with one of its own.
    let own = format!("multipart/form-data; boundary={}", input.boundary);
    for content_type in ["multipart/form-data; boundary=x", &own] {
        let whole = now(read(content_type, Body::from(input.raw.clone())));
        assert_eq!(now(read(content_type, cut(&input.raw, &input.cuts))), whole);
        assert_eq!(now(read(content_type, cut(&input.raw, &[1]))), whole);
    }

    let good = (1..=70).contains(&input.boundary.len())
        && input.boundary.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte))
        && !input.boundary.ends_with(' ');
    if !good || input.parts.len() > 100 {
        return;
    }
    let delimiter = format!("\r\n--{}", input.boundary);
    let mut body = Vec::new();
    let mut written = Vec::new();
    for Field { name, file_name, content } in input.parts {
        let (Some(quoted_name), Some(quoted_file)) = (quoted(&name), file_name.as_deref().map(quoted).unwrap_or(Some(String::new())))
        else {
            return;
        };
        let holds = content.windows(delimiter.len()).any(|window| window == delimiter.as_bytes());
        let text_is_long = file_name.is_none() && content.len() > 10_000;
        if holds || text_is_long || quoted_name.len() + quoted_file.len() > 8000 {
            return;
        }
        let file = file_name.as_ref().map(|_| format!("; filename=\"{quoted_file}\"")).unwrap_or_default();
        let head = format!("--{}\r\nContent-Disposition: form-data; name=\"{quoted_name}\"{file}\r\n\r\n", input.boundary);
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&content);
        body.extend_from_slice(b"\r\n");
        written.push(Read { name, file_name, content });
    }
    body.extend_from_slice(format!("--{}--\r\n", input.boundary).as_bytes());
    let content_type = format!("multipart/form-data; boundary=\"{}\"", input.boundary);
    assert_eq!(now(read(&content_type, cut(&body, &input.cuts))), (written, None));
});
