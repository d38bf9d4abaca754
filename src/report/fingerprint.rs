//! What is the same in failures of one kind.

use crate::Error;

/// Of the error's type, the line where it arose, the route and the layer. Without a line, or from a cause, which may have
/// come to the line by other ways, of the shape of the innermost message too.
pub(super) fn of(error: Option<&Error>, status: u16, route: Option<&str>) -> String {
    let mut hash = Fnv::new();
    hash.add(&status.to_string());
    hash.add(route.unwrap_or_default());
    if let Some(error) = error {
        hash.add(if error.is_panic() { "panic" } else { error.kind().unwrap_or("message") });
        hash.add(error.layer().unwrap_or_default());
        if let Some(place) = error.place() {
            hash.add(&place.to_string());
        }
        if error.place().is_none() || (error.kind().is_some() && !error.is_panic()) {
            // The innermost: what was being done is told by the line, and has values in it.
            hash.add(&shape(&error.chain().last().unwrap_or_default()));
        }
    }
    format!("{:016x}", hash.0)
}

/// The words of a message without what may be a value: whatever is in quotes, or has more than letters in it.
fn shape(message: &str) -> String {
    let mut shape = String::new();
    let mut quote = None;
    for word in message.split_whitespace().take(40) {
        let marks = |c: char| matches!(c, '"' | '\'' | '`');
        if quote.is_none() {
            let plain = word.trim_matches(|c: char| c.is_ascii_punctuation());
            let is_plain = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_lowercase());
            shape.push_str(if is_plain && !word.contains(marks) { plain } else { "_" });
            shape.push(' ');
            let begins = word.find(marks).map(|at| &word[at..]);
            quote = begins.filter(|begun| begun.matches(marks).count() == 1).and_then(|begun| begun.chars().next());
            // `don't` begins nothing.
            if word.chars().next().is_some_and(char::is_alphanumeric) && word.contains('\'') {
                quote = None;
            }
        } else if quote.is_some_and(|mark| word.contains(mark)) {
            quote = None;
        }
    }
    shape
}

/// FNV-1a: the standard library's hasher may be another one in the next release.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, text: &str) {
        // 0xff is in no UTF-8: `ab`, `c` is not `a`, `bc`.
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_no_values() {
        let table = [
            ("no user 17 in \"the list\" of 2026-11-21", "no user _ in _ of _ "),
            ("expected `a b c`, found 'x'", "expected _ found _ "),
            ("can't open /tmp/x: no such file", "_ open _ no such file "),
            ("invalid digit found in string", "invalid digit found in string "),
            ("", ""),
        ];
        for (message, expected) in table {
            assert_eq!(shape(message), expected, "{message}");
        }
    }

    #[test]
    fn it_is_the_same_in_every_process() {
        let error = Error::panic("x".into(), None, None, Vec::new());
        assert_eq!(of(Some(&error), 500, Some("/")), "187bce8a3ee8fe49");
        assert_ne!(of(Some(&error), 500, Some("/a")), "187bce8a3ee8fe49");
    }
}
