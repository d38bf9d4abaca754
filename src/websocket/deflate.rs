//! permessage-deflate (RFC 7692): what is agreed on, and messages made smaller by it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::fmt::Write;

/// What a flush leaves at its end, and what a message is sent without (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How messages are compressed, where the client can do so (permessage-deflate, RFC 7692).
///
/// By default each message is by itself: a connection that is idle then keeps no memory for it. With
/// [`context_takeover`](Deflate::context_takeover) messages refer to those before them, which makes small ones of one kind much
/// smaller, for some 300 KB of memory in each connection.
///
/// A message that holds what an attacker chose beside a secret can leak the secret by its length, as a page can (CRIME): such a
/// connection does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deflate {
    pub(super) level: u32,
    pub(super) takeover: bool,
    pub(super) min_size: usize,
}

impl Deflate {
    /// Level 2, each message by itself, from 256 bytes on.
    pub fn new() -> Self {
        Self { level: 2, takeover: false, min_size: 256 }
    }

    /// How hard it works: 1 to 9; 2 by default.
    pub fn level(mut self, level: u32) -> Self {
        self.level = level.clamp(1, 9);
        self
    }

    /// Whether a message may refer to those before it; off by default.
    pub fn context_takeover(mut self, on: bool) -> Self {
        self.takeover = on;
        self
    }

    /// Shorter messages are sent as they are; 256 bytes by default.
    pub fn min_size(mut self, bytes: usize) -> Self {
        self.min_size = bytes;
        self
    }
}

impl Default for Deflate {
    fn default() -> Self {
        Self::new()
    }
}

/// What both sides have agreed on (§7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) server_takeover: bool,
    pub(super) client_takeover: bool,
    pub(super) server_bits: u8,
    /// Whether the client has to be told the size of the server's window, since it asked for it.
    says_bits: bool,
}

impl Agreed {
    /// The answer to `Sec-WebSocket-Extensions` of a client: the first of its offers that can be taken.
    pub(super) fn to_offers<'a>(offers: impl Iterator<Item = &'a str>, own: &Deflate) -> Option<Self> {
        offers.flat_map(extensions).find_map(|extension| Self::to_offer(&extension, own))
    }

    fn to_offer(extension: &Extension, own: &Deflate) -> Option<Self> {
        if extension.name != "permessage-deflate" {
            return None;
        }
        let mut agreed =
            Self { server_takeover: own.takeover, client_takeover: own.takeover, server_bits: 15, says_bits: false };
        for (at, (name, value)) in extension.params.iter().enumerate() {
            // One that comes twice, is unknown, or has a bad value makes the offer void (§7.1).
            if extension.params[..at].iter().any(|(before, _)| before == name) {
                return None;
            }
            match (name.as_str(), value.as_deref()) {
                ("server_no_context_takeover", None) => agreed.server_takeover = false,
                ("client_no_context_takeover", None) => agreed.client_takeover = false,
                // A window of 256 bytes is one that zlib does not have.
                ("server_max_window_bits", Some(bits)) => {
                    agreed.server_bits = window_bits(bits).filter(|&bits| bits > 8)?;
                    agreed.says_bits = true;
                }
                // We read any window: nothing has to be said to it.
                ("client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(bits)) => drop(window_bits(bits)?),
                _ => return None,
            }
        }
        Some(agreed)
    }

    /// What a client has offered that offers nothing but the extension, as the testing kit does.
    pub(super) fn of_answer(answer: &str) -> Option<Self> {
        let mut all = extensions(answer);
        let extension = all.next().filter(|extension| extension.name == "permessage-deflate")?;
        let has = |wanted: &str| extension.params.iter().any(|(name, _)| name == wanted);
        Some(Self {
            server_takeover: !has("server_no_context_takeover"),
            client_takeover: !has("client_no_context_takeover"),
            server_bits: 15,
            says_bits: false,
        })
    }

    /// The header of the answer.
    pub(super) fn header(&self) -> String {
        let mut header = "permessage-deflate".to_owned();
        if !self.server_takeover {
            header.push_str("; server_no_context_takeover");
        }
        if !self.client_takeover {
            header.push_str("; client_no_context_takeover");
        }
        if self.says_bits {
            // A `String` takes everything.
            let _ = write!(header, "; server_max_window_bits={}", self.server_bits);
        }
        header
    }
}

/// 8 to 15, as decimal digits without a zero in front (§7.1.2.1).
fn window_bits(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|bits| plain && (8..=15).contains(bits))
}

struct Extension {
    name: String,
    params: Vec<(String, Option<String>)>,
}

/// The extensions of a header (RFC 6455 §9.1). Values may be in quotes, in which no comma or semicolon has a place: what they hold
/// has to be a token.
fn extensions(header: &str) -> impl Iterator<Item = Extension> {
    header.split(',').filter_map(|extension| {
        let mut parts = extension.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
        let params = parts.map(|param| match param.split_once('=') {
            Some((name, value)) => {
                let value = value.trim();
                let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
                (name.trim().to_owned(), Some(bare.to_owned()))
            }
            None => (param.to_owned(), None),
        });
        Some(Extension { name, params: params.collect() })
    })
}

/// Makes messages smaller.
pub(super) struct Deflater {
    level: u32,
    bits: u8,
    takeover: bool,
    min_size: usize,
    // Made with the first message that is long enough, and kept only where the next one refers to it.
    state: Option<Compress>,
}

impl Deflater {
    pub(super) fn new(own: &Deflate, takeover: bool, bits: u8) -> Self {
        Self { level: own.level, bits, takeover, min_size: own.min_size.max(1), state: None }
    }

    /// The message compressed; `None` for one that is to be sent as it is.
    pub(super) fn deflate(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() < self.min_size {
            return None;
        }
        let level = Compression::new(self.level);
        let mut state = self.state.take().unwrap_or_else(|| Compress::new_with_window_bits(level, false, self.bits));
        let begin = state.total_in();
        let mut out = Vec::with_capacity(message.len() / 2 + 64);
        loop {
            let taken = (state.total_in() - begin) as usize;
            let status = state.compress_vec(&message[taken..], &mut out, FlushCompress::Sync);
            if !matches!(status, Ok(Status::Ok | Status::BufError)) {
                // It has memory to fail by and nothing else; the next message begins anew.
                debug_assert!(false, "{status:?}");
                return None;
            }
            // A flush is at its end when room is left.
            if (state.total_in() - begin) as usize == message.len() && out.len() < out.capacity() {
                break;
            }
            out.reserve(message.len() / 4 + 64);
        }
        if self.takeover {
            self.state = Some(state);
        }
        out.truncate(out.len() - if out.ends_with(&TAIL) { TAIL.len() } else { 0 });
        Some(out)
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").field("takeover", &self.takeover).finish_non_exhaustive()
    }
}

/// What came of a piece of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inflated {
    Whole,
    TooLarge,
    Broken,
}

/// Makes messages what they were.
pub(super) struct Inflater {
    takeover: bool,
    state: Option<Decompress>,
}

impl Inflater {
    pub(super) fn new(takeover: bool) -> Self {
        Self { takeover, state: None }
    }

    /// Adds what a piece stands for; with the `last` one the message is whole.
    pub(super) fn inflate(&mut self, piece: &[u8], last: bool, out: &mut Vec<u8>, limit: usize) -> Inflated {
        let mut state = self.state.take().unwrap_or_else(|| Decompress::new(false));
        for piece in [piece, if last { &TAIL } else { &[] }] {
            let inflated = run(&mut state, piece, out, limit);
            if inflated != Inflated::Whole {
                return inflated;
            }
        }
        if !last || self.takeover {
            self.state = Some(state);
        }
        Inflated::Whole
    }
}

fn run(state: &mut Decompress, mut piece: &[u8], out: &mut Vec<u8>, limit: usize) -> Inflated {
    loop {
        if out.len() == out.capacity() {
            // Little by little, however much a small piece may stand for.
            let more = out.len().clamp(1024, 256 * 1024);
            out.reserve(more);
        }
        let before = (state.total_in(), state.total_out());
        let Ok(status) = state.decompress_vec(piece, out, FlushDecompress::Sync) else { return Inflated::Broken };
        if out.len() > limit {
            return Inflated::TooLarge;
        }
        piece = &piece[(state.total_in() - before.0) as usize..];
        let stuck = (state.total_in(), state.total_out()) == before;
        match status {
            // A block may say that it is the last one (§7.2.3.4); another may follow.
            Status::StreamEnd => {
                state.reset(false);
                if piece.is_empty() || piece == TAIL {
                    return Inflated::Whole;
                }
            }
            _ if piece.is_empty() && out.len() < out.capacity() => return Inflated::Whole,
            _ if stuck && out.len() < out.capacity() => return Inflated::Broken,
            _ => {}
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("takeover", &self.takeover).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_offer_that_can_be_taken_is_agreed_on() {
        const NONE: &str = "server_no_context_takeover; client_no_context_takeover";
        let own = |takeover| Deflate::new().context_takeover(takeover);
        let table: &[(&str, bool, Option<&str>)] = &[
            ("permessage-deflate", true, Some("")),
            ("permessage-deflate", false, Some(NONE)),
            // What browsers say.
            ("permessage-deflate; client_max_window_bits", true, Some("")),
            ("permessage-deflate; client_no_context_takeover", true, Some("client_no_context_takeover")),
            ("permessage-deflate; server_no_context_takeover", true, Some("server_no_context_takeover")),
            ("permessage-deflate; server_max_window_bits=10", true, Some("server_max_window_bits=10")),
            ("permessage-deflate; server_max_window_bits=\"10\"", true, Some("server_max_window_bits=10")),
            ("permessage-deflate; client_max_window_bits=10", true, Some("")),
            ("permessage-deflate; server_max_window_bits=8, permessage-deflate", true, Some("")),
            ("x-webkit-deflate-frame, permessage-deflate", true, Some("")),
            ("permessage-deflate; server_max_window_bits=8", true, None),
            ("permessage-deflate; server_max_window_bits", true, None),
            ("permessage-deflate; server_max_window_bits=16", true, None),
            ("permessage-deflate; server_max_window_bits=010", true, None),
            ("permessage-deflate; server_max_window_bits=+10", true, None),
            ("permessage-deflate; client_max_window_bits=7", true, None),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits", true, None),
            ("permessage-deflate; server_no_context_takeover=1", true, None),
            ("permessage-deflate; unknown", true, None),
            ("permessage-deflate;", true, None),
            ("permessage-bzip2", true, None),
            ("", true, None),
        ];
        for (offer, takeover, expected) in table {
            let agreed = Agreed::to_offers(std::iter::once(*offer), &own(*takeover)).map(|agreed| agreed.header());
            let expected = expected.map(|params| match params {
                "" => "permessage-deflate".to_owned(),
                params => format!("permessage-deflate; {params}"),
            });
            assert_eq!(agreed, expected, "{offer:?}");
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        for takeover in [false, true] {
            for bits in 9..=15 {
                let own = Deflate::new().min_size(0);
                let (mut deflater, mut inflater) = (Deflater::new(&own, takeover, bits), Inflater::new(takeover));
                for length in [0, 1, 10, 100, 1000, 70_000, 1_000_000] {
                    let message: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8 ^ (n / 1000) as u8).collect();
                    let Some(deflated) = deflater.deflate(&message) else {
                        assert!(message.is_empty());
                        continue;
                    };
                    let mut out = Vec::new();
                    let (last, first) = deflated.split_last().unwrap();
                    assert_eq!(inflater.inflate(first, false, &mut out, 2_000_000), Inflated::Whole);
                    assert_eq!(inflater.inflate(&[*last], true, &mut out, 2_000_000), Inflated::Whole);
                    assert!(out == message, "{length} bytes, {bits} bits, takeover {takeover}");
                }
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 7692 §7.2.3: "Hello", compressed in several ways.
        let examples: [&[u8]; 4] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for example in examples {
            let mut out = Vec::new();
            assert_eq!(Inflater::new(false).inflate(example, true, &mut out, 100), Inflated::Whole, "{example:x?}");
            assert_eq!(out, b"Hello", "{example:x?}");
        }
        // The second one refers to the first.
        let mut inflater = Inflater::new(true);
        for example in [examples[0], &[0xf2, 0x00, 0x11, 0x00, 0x00]] {
            let mut out = Vec::new();
            assert_eq!(inflater.inflate(example, true, &mut out, 100), Inflated::Whole);
            assert_eq!(out, b"Hello");
        }
    }

    #[test]
    fn a_bomb_is_found_before_it_is_large() {
        let bomb = Deflater::new(&Deflate::new(), false, 15).deflate(&vec![0; 100_000_000]).unwrap();
        let mut out = Vec::new();
        assert_eq!(Inflater::new(false).inflate(&bomb, true, &mut out, 1_000_000), Inflated::TooLarge);
        assert!(out.capacity() < 2_000_000, "{}", out.capacity());
        assert_eq!(Inflater::new(false).inflate(&[0xff; 10], true, &mut Vec::new(), 100), Inflated::Broken);
    }
}
