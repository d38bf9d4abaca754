//! Frames of RFC 6455 §5, read as they arrive and written; messages put together out of them.

use super::deflate::{Deflater, Inflated, Inflater};
use super::{CloseFrame, Deflate, Message};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why a connection fails (§7.1.7): the code that the other side is told, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Fault {
    fn protocol(reason: impl Into<String>) -> Self {
        Self { code: 1002, reason: reason.into() }
    }

    fn text() -> Self {
        Self { code: 1007, reason: "a text is not UTF-8".to_owned() }
    }

    fn too_large(limit: usize) -> Self {
        Self { code: 1009, reason: format!("a message is larger than {limit} bytes") }
    }
}

/// Which side of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// What a frame is (§5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Message(Message),
    Ping(Bytes),
    Pong,
    Close(Option<CloseFrame>),
}

/// The head of a frame, and how much of its payload is still to come.
#[derive(Clone, Copy, Debug)]
struct Head {
    fin: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    /// How much of the payload was read.
    read: u64,
    left: u64,
}

/// A message that has begun.
#[derive(Debug)]
struct Begun {
    text: bool,
    compressed: bool,
    /// How long its frames were so far.
    wire: u64,
    bytes: Vec<u8>,
    /// How much of a text is known to be UTF-8.
    checked: usize,
}

/// Reads frames. A payload is looked at as it arrives: a text that is none, or a message too long, fails at once.
#[derive(Debug)]
pub(super) struct Decoder {
    role: Role,
    limit: usize,
    inflater: Option<Inflater>,
    head: Option<Head>,
    message: Option<Begun>,
    control: Vec<u8>,
}

impl Decoder {
    /// Messages have at most `limit` bytes.
    pub(super) fn new(role: Role, limit: usize, inflater: Option<Inflater>) -> Self {
        Self { role, limit, inflater, head: None, message: None, control: Vec::new() }
    }

    /// The next thing that is said in the input, which is used up as far as it was read; `None` where more of it is needed.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Heard>, Fault> {
        loop {
            let mut head = match self.head.take() {
                Some(head) => head,
                None => match self.read_head(input)? {
                    Some(head) => head,
                    None => return Ok(None),
                },
            };
            let now = input.len().min(usize::try_from(head.left).unwrap_or(usize::MAX));
            let mut piece = input.split_to(now);
            if let Some(mask) = head.mask {
                unmask(&mut piece, mask, head.read);
            }
            head.read += now as u64;
            head.left -= now as u64;
            if head.opcode.is_control() {
                self.control.extend_from_slice(&piece);
            } else {
                self.take_in(&piece, head.left == 0 && head.fin)?;
            }
            if head.left > 0 {
                self.head = Some(head);
                return Ok(None);
            }
            if let Some(heard) = self.end_of_frame(head)? {
                return Ok(Some(heard));
            }
        }
    }

    fn read_head(&mut self, input: &mut BytesMut) -> Result<Option<Head>, Fault> {
        let [first, second, rest @ ..] = &input[..] else { return Ok(None) };
        let (fin, reserved, number) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        let Some(opcode) = Opcode::of(number) else {
            return Err(Fault::protocol(format!("expected a known opcode, found {number}")));
        };
        let compressed = reserved == 0x40 && self.inflater.is_some() && matches!(opcode, Opcode::Text | Opcode::Binary);
        if reserved != 0 && !compressed {
            return Err(Fault::protocol("a reserved bit is set, and nothing was agreed on that sets it"));
        }
        let masked = second & 0x80 != 0;
        if masked != (self.role == Role::Server) {
            let found = if masked { "a masked frame of a server" } else { "a frame of a client without a mask" };
            return Err(Fault::protocol(found));
        }
        let (extended, smallest) = match second & 0x7f {
            126 => (2, 126),
            127 => (8, 1 << 16),
            _ => (0, 0),
        };
        let length = second & 0x7f;
        // Before the rest of the head is there: so much is known to be wrong.
        if opcode.is_control() && !fin {
            return Err(Fault::protocol("a control frame is in fragments"));
        }
        if opcode.is_control() && length > 125 {
            return Err(Fault::protocol("the payload of a control frame is longer than 125 bytes"));
        }
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => return Err(Fault::protocol("a continuation of no message")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Fault::protocol("a message begins within another one"));
            }
            _ => {}
        }
        let mask_length = if masked { 4 } else { 0 };
        if rest.len() < extended + mask_length {
            return Ok(None);
        }
        let left = match extended {
            0 => u64::from(length),
            extended => rest[..extended].iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte)),
        };
        if left < smallest || left > i64::MAX as u64 {
            return Err(Fault::protocol("the length of a frame is not written as it has to be"));
        }
        let mask = masked.then(|| [rest[extended], rest[extended + 1], rest[extended + 2], rest[extended + 3]]);
        if !opcode.is_control() {
            let message = self.message.get_or_insert_with(|| Begun {
                text: opcode == Opcode::Text,
                compressed,
                wire: 0,
                bytes: Vec::new(),
                checked: 0,
            });
            message.wire += left;
            // What cannot be compressed grows by a few bytes a block; how long it is then is seen when it is decompressed.
            let room = if message.compressed { self.limit / 1000 + 64 } else { 0 };
            if message.wire > self.limit.saturating_add(room) as u64 {
                return Err(Fault::too_large(self.limit));
            }
        }
        input.advance(2 + extended + mask_length);
        Ok(Some(Head { fin, opcode, mask, read: 0, left }))
    }

    /// A piece of a message; `last` is its end.
    fn take_in(&mut self, piece: &[u8], last: bool) -> Result<(), Fault> {
        let Some(message) = &mut self.message else { return Ok(()) };
        match &mut self.inflater {
            Some(inflater) if message.compressed => match inflater.inflate(piece, last, &mut message.bytes, self.limit)
            {
                Inflated::Whole => {}
                Inflated::TooLarge => return Err(Fault::too_large(self.limit)),
                Inflated::Broken => {
                    return Err(Fault { code: 1007, reason: "a message cannot be decompressed".to_owned() });
                }
            },
            _ => message.bytes.extend_from_slice(piece),
        }
        if message.text {
            match std::str::from_utf8(&message.bytes[message.checked..]) {
                Ok(_) => message.checked = message.bytes.len(),
                // The end of it may be the beginning of a character.
                Err(error) if error.error_len().is_none() && !last => message.checked += error.valid_up_to(),
                Err(_) => return Err(Fault::text()),
            }
        }
        Ok(())
    }

    fn end_of_frame(&mut self, head: Head) -> Result<Option<Heard>, Fault> {
        let mut payload = || std::mem::take(&mut self.control);
        Ok(Some(match head.opcode {
            Opcode::Ping => Heard::Ping(Bytes::from(payload())),
            Opcode::Pong => {
                self.control.clear();
                Heard::Pong
            }
            Opcode::Close => Heard::Close(close_frame(&payload())?),
            _ if !head.fin => return Ok(None),
            _ => {
                let Some(message) = self.message.take() else { return Ok(None) };
                Heard::Message(match message.text {
                    true => Message::Text(String::from_utf8(message.bytes).map_err(|_| Fault::text())?),
                    false => Message::Binary(Bytes::from(message.bytes)),
                })
            }
        }))
    }
}

/// The payload of a close frame (§5.5.1): nothing, or a code that may be sent (§7.4) and a reason.
fn close_frame(payload: &[u8]) -> Result<Option<CloseFrame>, Fault> {
    match payload {
        [] => Ok(None),
        [_] => Err(Fault::protocol("a close frame has half a code")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_sendable(code) {
                return Err(Fault::protocol(format!("a close frame has the code {code}, which may not be sent")));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| Fault::text())?;
            Ok(Some(CloseFrame { code, reason: reason.to_owned() }))
        }
    }
}

/// The codes of RFC 6455 §7.4.1 that may be sent, those that IANA has registered since, and those for libraries and applications.
pub(super) fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Takes the mask off, or puts it on: `from` is where in the payload the piece begins (§5.3).
fn unmask(piece: &mut [u8], mask: [u8; 4], from: u64) {
    let turn = (from % 4) as usize;
    let turned = std::array::from_fn::<u8, 8, _>(|at| mask[(at + turn) % 4]);
    let wide = u64::from_ne_bytes(turned);
    let mut words = piece.chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        word.copy_from_slice(&(masked ^ wide).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(turned) {
        *byte ^= mask;
    }
}

/// Writes frames.
#[derive(Debug)]
pub(super) struct Encoder {
    role: Role,
    deflater: Option<Deflater>,
}

impl Encoder {
    pub(super) fn new(role: Role, deflater: Option<Deflater>) -> Self {
        Self { role, deflater }
    }

    /// A message, as one frame.
    pub(super) fn message(&mut self, message: &Message, out: &mut BytesMut) {
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
        };
        match self.deflater.as_mut().and_then(|deflater| deflater.deflate(payload)) {
            Some(deflated) => self.frame(opcode, true, &deflated, out),
            None => self.frame(opcode, false, payload, out),
        }
    }

    pub(super) fn ping(&self, out: &mut BytesMut) {
        self.frame(Opcode::Ping, false, &[], out);
    }

    pub(super) fn pong(&self, payload: &[u8], out: &mut BytesMut) {
        self.frame(Opcode::Pong, false, payload, out);
    }

    /// A close frame; a reason that is too long is cut at a character.
    pub(super) fn close(&self, frame: Option<&CloseFrame>, out: &mut BytesMut) {
        let mut payload = Vec::new();
        if let Some(CloseFrame { code, reason }) = frame {
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(123)]);
        }
        self.frame(Opcode::Close, false, &payload, out);
    }

    fn frame(&self, opcode: Opcode, compressed: bool, payload: &[u8], out: &mut BytesMut) {
        out.reserve(payload.len() + 14);
        out.put_u8(0x80 | if compressed { 0x40 } else { 0 } | opcode as u8);
        let masked = if self.role == Role::Client { 0x80 } else { 0 };
        match payload.len() {
            length @ ..126 => out.put_u8(masked | length as u8),
            length @ ..0x1_0000 => {
                out.put_u8(masked | 126);
                out.put_u16(length as u16);
            }
            length => {
                out.put_u8(masked | 127);
                out.put_u64(length as u64);
            }
        }
        if self.role == Role::Server {
            out.put_slice(payload);
            return;
        }
        // It has to be one that nobody can guess in a browser (§10.3), which this is not.
        let mask = getrandom::u32().unwrap_or(0x5eed_cafe).to_ne_bytes();
        out.put_slice(&mask);
        let begin = out.len();
        out.put_slice(payload);
        unmask(&mut out[begin..], mask, 0);
    }
}

/// What one side says as the other one hears it, for whoever makes it up: opcodes with what was said, and the code of the fault by
/// which it ends. `takeover` is that of a compression that is agreed on.
#[doc(hidden)]
pub fn read_frames<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    by_server: bool,
    takeover: Option<bool>,
    limit: usize,
) -> (Vec<(u8, Vec<u8>)>, Option<u16>) {
    let mut decoder =
        Decoder::new(if by_server { Role::Server } else { Role::Client }, limit, takeover.map(Inflater::new));
    let (mut all, mut input) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            all.push(match decoder.next(&mut input) {
                Ok(None) => break,
                Err(fault) => return (all, Some(fault.code)),
                Ok(Some(Heard::Message(Message::Text(text)))) => (Opcode::Text as u8, text.into_bytes()),
                Ok(Some(Heard::Message(Message::Binary(bytes)))) => (Opcode::Binary as u8, bytes.to_vec()),
                Ok(Some(Heard::Ping(payload))) => (Opcode::Ping as u8, payload.to_vec()),
                Ok(Some(Heard::Pong)) => (Opcode::Pong as u8, Vec::new()),
                Ok(Some(Heard::Close(frame))) => {
                    let payload = |frame: CloseFrame| [&frame.code.to_be_bytes()[..], frame.reason.as_bytes()].concat();
                    (Opcode::Close as u8, frame.map(payload).unwrap_or_default())
                }
            });
        }
    }
    (all, None)
}

/// What was heard, said by the other side in its turn.
#[doc(hidden)]
pub fn write_frames(heard: &[(u8, Vec<u8>)], by_server: bool, deflate: Option<(&Deflate, u8)>) -> Vec<u8> {
    let deflater = deflate.map(|(own, bits)| Deflater::new(own, own.takeover, bits));
    let mut encoder = Encoder::new(if by_server { Role::Server } else { Role::Client }, deflater);
    let mut out = BytesMut::new();
    for (opcode, payload) in heard {
        match Opcode::of(*opcode) {
            Some(Opcode::Text) => encoder.message(&String::from_utf8_lossy(payload).as_ref().into(), &mut out),
            Some(Opcode::Binary) => encoder.message(&payload.clone().into(), &mut out),
            Some(Opcode::Ping) => encoder.frame(Opcode::Ping, false, payload, &mut out),
            Some(Opcode::Pong) => encoder.pong(payload, &mut out),
            Some(Opcode::Close) => {
                let frame = close_frame(payload).unwrap_or_default();
                encoder.close(frame.as_ref(), &mut out);
            }
            Some(Opcode::Continuation) | None => {}
        }
    }
    out.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that are the same each time (xorshift).
    struct Random(u64);

    impl Random {
        fn next(&mut self, below: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % below as u64) as usize
        }
    }

    fn read(bytes: &[u8], cuts: &[usize], role: Role) -> (Vec<Heard>, Option<Fault>) {
        let mut decoder = Decoder::new(role, 10_000, Some(Inflater::new(true)));
        let (mut heard, mut input, mut from) = (Vec::new(), BytesMut::new(), 0);
        for &cut in cuts.iter().chain([&bytes.len()]) {
            input.extend_from_slice(&bytes[from..cut]);
            from = cut;
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(next)) => heard.push(next),
                    Ok(None) => break,
                    Err(fault) => return (heard, Some(fault)),
                }
            }
        }
        (heard, None)
    }

    fn cuts(random: &mut Random, length: usize) -> Vec<usize> {
        let mut cuts: Vec<_> = (0..random.next(8)).map(|_| random.next(length + 1)).collect();
        cuts.sort_unstable();
        cuts
    }

    #[test]
    fn what_was_written_is_read_however_it_is_cut() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for turn in 0..500 {
            let role = if turn % 2 == 0 { Role::Client } else { Role::Server };
            let other = if role == Role::Client { Role::Server } else { Role::Client };
            let deflater = (turn % 3 > 0).then(|| Deflater::new(&Deflate::new().min_size(1), true, 15));
            let mut encoder = Encoder::new(role, deflater);
            let (mut out, mut expected) = (BytesMut::new(), Vec::new());
            for _ in 0..random.next(6) {
                let length = random.next(300) * random.next(30);
                let message = match random.next(2) {
                    0 => Message::Text("aä☃𝄞".chars().cycle().skip(random.next(4)).take(length / 4).collect()),
                    _ => Message::Binary((0..length).map(|_| random.next(256) as u8).collect()),
                };
                encoder.message(&message, &mut out);
                expected.push(Heard::Message(message));
                encoder.pong(b"?", &mut out);
                expected.push(Heard::Pong);
            }
            encoder.close(Some(&CloseFrame { code: 1000, reason: "x".repeat(200) }), &mut out);
            expected.push(Heard::Close(Some(CloseFrame { code: 1000, reason: "x".repeat(123) })));
            let cuts = cuts(&mut random, out.len());
            assert_eq!(read(&out, &cuts, other), (expected, None), "turn {turn}");
        }
    }

    #[test]
    fn noise_means_the_same_however_it_is_cut_and_panics_nowhere() {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        for turn in 0..3_000 {
            // Heads that are good in most of their bits get further.
            let mut bytes = Vec::new();
            for _ in 0..1 + random.next(4) {
                bytes.push(
                    [0x81, 0x82, 0x01, 0x80, 0x00, 0xc1, 0xc2, 0x89, 0x8a, 0x88, random.next(256) as u8]
                        [random.next(11)],
                );
                let length = [0, 1, 2, 5, 125, 126, 127][random.next(7)];
                bytes.push(length | [0x80, 0x80, 0x80, 0][random.next(4)]);
                bytes.extend(
                    (0..random.next(140))
                        .map(|_| [0, 1, 0x7f, 0xf2, 0x48, 0xc3, 0xff, random.next(256) as u8][random.next(8)]),
                );
            }
            let role = if turn % 4 == 0 { Role::Client } else { Role::Server };
            let whole = read(&bytes, &[], role);
            let cut = read(&bytes, &cuts(&mut random, bytes.len()), role);
            assert_eq!(whole.0, cut.0, "{bytes:x?}");
            assert_eq!(whole.1.map(|fault| fault.code), cut.1.map(|fault| fault.code), "{bytes:x?}");
        }
    }

    #[test]
    fn a_mask_is_put_on_wherever_a_piece_begins() {
        let plain: Vec<u8> = (0..100).collect();
        for from in 0..9 {
            for length in 0..40 {
                let mut piece = plain[..length].to_vec();
                unmask(&mut piece, [1, 2, 3, 4], from);
                let expected: Vec<_> =
                    (0..length).map(|at| plain[at] ^ [1, 2, 3, 4][(at + from as usize) % 4]).collect();
                assert_eq!(piece, expected, "{length} bytes from {from}");
            }
        }
    }
}
