//! base64url without padding (RFC 4648 §5), by tables: for what is sealed, and no secret itself.
//!
//! `ct-codecs` takes the same time for every text of a length, and ten times as long: what has to stay secret is left to it.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What each byte stands for as a digit; 0xff for what is none.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// The bytes as text.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let digits = |[a, b, c]: [u8; 3]| {
        let bits = u32::from_be_bytes([0, a, b, c]);
        [18, 12, 6, 0].map(|at| DIGITS[(bits >> at & 63) as usize])
    };
    let (threes, rest) = bytes.as_chunks();
    let mut text = Vec::with_capacity((threes.len() + 1) * 4);
    for three in threes {
        text.extend_from_slice(&digits(*three));
    }
    match *rest {
        [a] => text.extend_from_slice(&digits([a, 0, 0])[..2]),
        [a, b] => text.extend_from_slice(&digits([a, b, 0])[..3]),
        _ => {}
    }
    // Digits, all of them.
    String::from_utf8(text).unwrap_or_default()
}

/// The bytes that the text stands for; `None` for what `encode` does not write.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = |four: [u8; 4]| {
        let [a, b, c, d] = four.map(|digit| u32::from(VALUES[usize::from(digit)]));
        // What is no digit is more than a digit can be.
        ((a | b | c | d) < 64).then(|| (a << 18 | b << 12 | c << 6 | d).to_be_bytes())
    };
    let (fours, rest) = text.as_bytes().as_chunks();
    let mut decoded = Vec::with_capacity((fours.len() + 1) * 3);
    for four in fours {
        let [_, a, b, c] = bytes(*four)?;
        decoded.extend_from_slice(&[a, b, c]);
    }
    // Bits that stand for nothing are nought: there is one text for some bytes.
    match *rest {
        [] => {}
        [a, b] => match bytes([a, b, b'A', b'A'])? {
            [_, a, 0, _] => decoded.push(a),
            _ => return None,
        },
        [a, b, c] => match bytes([a, b, c, b'A'])? {
            [_, a, b, 0] => decoded.extend_from_slice(&[a, b]),
            _ => return None,
        },
        _ => return None,
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_codecs::{Base64UrlSafeNoPadding, Decoder, Encoder};

    #[test]
    fn bytes_of_every_length_are_written_and_read_as_others_do() {
        let bytes: Vec<u8> = (0..600_u32).map(|n| (n * n * 7 + n) as u8).collect();
        for length in 0..300 {
            let bytes = &bytes[length..2 * length];
            let text = encode(bytes);
            assert_eq!(text, Base64UrlSafeNoPadding::encode_to_string(bytes).unwrap());
            assert_eq!(decode(&text).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn what_is_not_written_is_not_read() {
        // Every byte at every place, in texts of each remainder.
        for text in ["AAAA", "AAAAAA", "AAAAAAA", "AAAAA", "A", "AA", "AAA"] {
            for at in 0..text.len() {
                for byte in 0..=0x7f_u8 {
                    let mut text = text.as_bytes().to_vec();
                    text[at] = byte;
                    let text = String::from_utf8(text).unwrap();
                    assert_eq!(decode(&text), Base64UrlSafeNoPadding::decode_to_vec(&text, None).ok(), "{text:?}");
                }
            }
        }
        for text in ["AA==", "AAA=", "A+AA", "A/AA", "é", "AAé"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
