//! Puts an element into a page of HTML as it streams past.

use crate::{Body, Error};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The page with the element before the first `</head>`, `</body>` or `</html>` that is one, and not part of a script, a
/// comment or an attribute. What has none of them is a fragment, and stays as it is.
pub(crate) fn tagged(body: Body, element: String) -> Body {
    if let Some(whole) = body.as_bytes() {
        let mut scan = Scan::default();
        return match scan.find(whole) {
            Some(at) => {
                let mut page = BytesMut::with_capacity(whole.len() + element.len());
                page.extend_from_slice(&whole[..at]);
                page.extend_from_slice(element.as_bytes());
                page.extend_from_slice(&whole[at..]);
                Body::from(page.freeze())
            }
            None => body,
        };
    }
    Body::new(Tagged { body, scan: Some(Scan::default()), element, held: BytesMut::new(), last: None })
}

/// A page in pieces. Held back is at most the beginning of an end tag.
struct Tagged {
    body: Body,
    // `None` once the element stands.
    scan: Option<Scan>,
    element: String,
    held: BytesMut,
    /// What came while something was held: trailers.
    last: Option<Frame<Bytes>>,
}

impl http_body::Body for Tagged {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Some(last) = this.last.take() {
            return Poll::Ready(Some(Ok(last)));
        }
        loop {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None if this.held.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Ok(Frame::data(this.held.split().freeze())))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => frame,
            };
            let Some(scan) = &mut this.scan else { return Poll::Ready(Some(Ok(frame))) };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) if this.held.is_empty() => return Poll::Ready(Some(Ok(trailers))),
                Err(trailers) => {
                    this.last = Some(trailers);
                    return Poll::Ready(Some(Ok(Frame::data(this.held.split().freeze()))));
                }
            };
            let before = this.held.len();
            let found = scan.find(&data);
            let mut out = BytesMut::with_capacity(before + data.len() + this.element.len());
            out.extend_from_slice(&this.held.split());
            out.extend_from_slice(&data);
            match found {
                // Where the end tag began, which may be in what was held.
                Some(_) => {
                    let at = out.len() - (data.len() - scan.end) - scan.candidate;
                    let rest = out.split_off(at);
                    out.extend_from_slice(this.element.as_bytes());
                    out.extend_from_slice(&rest);
                    this.scan = None;
                }
                None => {
                    let held = scan.candidate.min(out.len());
                    this.held = out.split_off(out.len() - held);
                }
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.scan {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

/// Where in the text the scan is: enough of HTML §13.2.5 to tell tags from what only looks like them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Text,
    /// Behind `<`, `</`, or a part of a name.
    Tag,
    /// Behind `<!`, and then behind `<!-`.
    Declaration,
    Dash,
    Comment,
    /// Between the name and `>`; in quotes, which these are.
    Attributes,
    Quoted(u8),
    /// In an element of text only, until its end tag.
    Raw,
}

/// Longer names are none that matter.
const NAME: usize = 10;

/// Elements whose content is text (§13.1.2). `noscript` is one where scripts run, and `</body>` in it is none either way.
const RAW: [&[u8]; 8] = [b"script", b"style", b"textarea", b"title", b"iframe", b"xmp", b"noembed", b"noframes"];

/// Looks for the place of the element, piece by piece.
#[derive(Debug, Default)]
struct Scan {
    state: State,
    /// The name of the tag that is being read, in lower case, with the slash of an end tag.
    name: Vec<u8>,
    /// That of the element of text only.
    raw: Vec<u8>,
    /// The end of a comment so far: how many dashes.
    dashes: usize,
    /// How many bytes back the tag began that is being read; 0 where none that matters is.
    candidate: usize,
    /// How far the last piece was read.
    end: usize,
}

impl Scan {
    /// Reads on; where the end tag begins before which the element belongs, if it begins in this piece. `candidate` and `end`
    /// tell where it begins in any case.
    fn find(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < piece.len() {
            // Most of a page is text, or a script.
            if matches!(self.state, State::Text) || (self.state == State::Raw && self.name.is_empty()) {
                match memchr::memchr(b'<', &piece[at..]) {
                    Some(skip) => at += skip,
                    None => break,
                }
            }
            let byte = piece[at];
            at += 1;
            if self.read(byte) {
                // Up to here, and this byte is not part of the name.
                self.end = at;
                return Some(at.saturating_sub(self.candidate));
            }
        }
        self.end = piece.len();
        None
    }

    /// Reads one byte; true when the place is found.
    fn read(&mut self, byte: u8) -> bool {
        match self.state {
            State::Text => {
                if byte == b'<' {
                    self.state = State::Tag;
                    self.name.clear();
                    self.candidate = 1;
                }
            }
            State::Tag => return self.tag(byte),
            State::Declaration => {
                self.state = match byte {
                    b'-' => State::Dash,
                    b'>' => State::Text,
                    // A doctype, whose quotes hold no `>` in practice; or a bogus comment.
                    _ => State::Attributes,
                }
            }
            State::Dash => {
                (self.state, self.dashes) = match byte {
                    // `<!-->` is a whole comment.
                    b'-' => (State::Comment, 2),
                    b'>' => (State::Text, 0),
                    _ => (State::Attributes, 0),
                }
            }
            State::Comment => match byte {
                b'-' => self.dashes += 1,
                b'>' if self.dashes >= 2 => self.state = State::Text,
                // `--!>` ends one too.
                b'!' if self.dashes >= 2 => {}
                _ => self.dashes = 0,
            },
            State::Attributes => match byte {
                b'>' => self.leave(),
                b'"' | b'\'' => self.state = State::Quoted(byte),
                _ => {}
            },
            State::Quoted(quote) => {
                if byte == quote {
                    self.state = State::Attributes;
                }
            }
            State::Raw => self.raw(byte),
        }
        false
    }

    fn tag(&mut self, byte: u8) -> bool {
        match byte {
            b'!' if self.name.is_empty() => {
                self.candidate = 0;
                self.state = State::Declaration;
            }
            b'/' if self.name.is_empty() => self.push(byte),
            b'a'..=b'z' | b'A'..=b'Z' => self.push(byte.to_ascii_lowercase()),
            b'0'..=b'9' | b'-' | b':' if self.name.last().is_some_and(|&last| last != b'/') => self.push(byte),
            b'<' => {
                self.name.clear();
                self.candidate = 1;
            }
            _ if matches!(&self.name[..], b"/head" | b"/body" | b"/html") => {
                if byte == b'>' || byte == b'/' || byte.is_ascii_whitespace() {
                    self.candidate += 1;
                    return true;
                }
                self.candidate = 0;
                self.state = State::Attributes;
            }
            _ => {
                self.candidate = 0;
                match (self.name.first(), byte) {
                    // `< ` is text.
                    (None, _) => self.state = State::Text,
                    (_, b'>') => self.leave(),
                    _ => self.state = State::Attributes,
                }
            }
        }
        false
    }

    fn push(&mut self, byte: u8) {
        if self.name.len() <= NAME {
            self.name.push(byte);
        }
        // Only what may be an end tag that matters is held back.
        let wanted: [&[u8]; 3] = [b"/head", b"/body", b"/html"];
        match wanted.iter().any(|wanted| wanted.starts_with(&self.name)) {
            true => self.candidate += 1,
            false => self.candidate = 0,
        }
    }

    /// Behind the `>` of a tag.
    fn leave(&mut self) {
        self.state = State::Text;
        if RAW.contains(&&self.name[..]) {
            self.raw.clone_from(&self.name);
            self.state = State::Raw;
        }
        self.name.clear();
    }

    /// In a script or the like, where only its end tag counts.
    fn raw(&mut self, byte: u8) {
        match byte {
            b'<' => {
                self.name.clear();
                self.name.push(byte);
            }
            b'/' if self.name == b"<" => self.name.push(byte),
            b'a'..=b'z' | b'A'..=b'Z' if self.name.len() >= 2 && self.name.len() <= NAME + 2 => {
                self.name.push(byte.to_ascii_lowercase());
            }
            b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | 0x0c if self.name.get(2..) == Some(&self.raw[..]) => {
                self.name.clear();
                self.state = if byte == b'>' { State::Text } else { State::Attributes };
            }
            _ => self.name.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages, with `|` where the element belongs.
    #[rustfmt::skip]
    const PAGES: &[&str] = &[
        "<!doctype html><title>a</title><head>|</head><body></body></html>",
        "<!DOCTYPE html PUBLIC \"-//W3C//DTD HTML 4.01//EN\" \"http://a/\"><HTML><p>a|</BODY></HTML>",
        "<p>a|</html>",
        "<p>a|</body >",
        "<p>a|</body\n>",
        "<p>a|</body/>",
        "a < b |</body>",
        "a <<|</body>",
        "a </ b> |</body>",
        "<p>a</p></bodyguard>|</body>",
        "<p>a</p></bod></b>|</body>",
        "<!-- </body> -->|</body>",
        "<!-- </body> -- > --!>|</body>",
        "<!-->|</body>",
        "<!--->|</body>",
        "<!-- a->b --->|</body>",
        "<!-><p>|</body>",
        "<script>x = '</body>'</script>|</body>",
        "<SCRIPT type=\"a>b\">if (a < b) '</body>'; '</scripts>'</SCRIPT >|</body>",
        "<script><!-- '</body>' --></script>|</body>",
        "<style>a::after { content: '</head>' }</style>|</head>",
        "<textarea></body></textarea>|</body>",
        "<title></head></title>|</head>",
        "<script>1 << 2 </ 3 <</script>|</body>",
        "<p title='</body>' data-x=\"</html>\">|</body>",
        "<p title=</p>|</body>",
        "<iframe srcdoc=\"<p></body>\"></iframe>|</body>",
        "<h1>a</h1><x-y>b</x-y>|</body>",
        "|</head>",
        // Fragments.
        "<p>a</p>",
        "",
        "</bod",
        "<p title='</body>",
        "<script></body>",
        "<!-- </body>",
        "<head><body>",
        "</headless></bodyguard></html5>",
    ];

    async fn read(body: Body) -> String {
        String::from_utf8(body.collect(1 << 20).await.unwrap().to_vec()).unwrap()
    }

    struct Pieces(std::vec::IntoIter<Bytes>);

    impl futures_core::Stream for Pieces {
        type Item = crate::Result<Bytes>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.next().map(Ok))
        }
    }

    #[tokio::test]
    async fn the_element_stands_where_the_head_or_the_body_ends_however_the_page_is_cut() {
        for page in PAGES {
            let plain = page.replace('|', "");
            let expected = page.replace('|', "<x>");
            assert_eq!(read(tagged(Body::from(plain.clone()), "<x>".into())).await, expected, "whole: {page}");
            let bytes = Bytes::from(plain.clone());
            let one_by_one = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
            let in_two = (0..bytes.len()).map(|at| vec![bytes.slice(..at), bytes.slice(at..)]);
            for pieces in std::iter::once(one_by_one).chain(in_two) {
                let shown = format!("{pieces:?}");
                let body = Body::stream(Pieces(pieces.into_iter()));
                assert_eq!(read(tagged(body, "<x>".into())).await, expected, "{shown}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_held_back_but_the_beginning_of_an_end_tag() {
        let pieces =
            ["<p>one</p>", "<p>two</p></bo", "x>three", "</body>"].map(|piece| Bytes::from_static(piece.as_bytes()));
        let mut body = tagged(Body::stream(Pieces(Vec::from(pieces).into_iter())), "<x>".into());
        for expected in ["<p>one</p>", "<p>two</p>", "</box>three", "<x></body>"] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
        }
        assert!(body.frame().await.is_none());
    }
}
