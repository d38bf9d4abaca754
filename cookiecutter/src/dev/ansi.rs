//! Text as programs write it to a terminal, without its colours.

/// Leaves out the escape sequences of a terminal (ECMA-48 §5.4: CSI, and OSC up to its end) and other control characters.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => match letters.next() {
                Some('[') => while letters.next().is_some_and(|letter| !('@'..='~').contains(&letter)) {},
                Some(']') => {
                    while let Some(letter) = letters.next() {
                        if letter == '\x07' || letter == '\x1b' && letters.next_if_eq(&'\\').is_some() {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\n' | '\t' => plain.push(letter),
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_is_left_is_what_one_reads() {
        for (text, expected) in [
            ("plain", "plain"),
            ("\x1b[1m\x1b[38;5;9merror\x1b[0m: no\n", "error: no\n"),
            ("\x1b]8;;https://a.example\x1b\\E0308\x1b]8;;\x1b\\!", "E0308!"),
            ("\x1b]0;title\x07x", "x"),
            ("a\r\n\tb\x08", "a\n\tb"),
            ("\x1b", ""),
            ("\x1b[", ""),
            ("\x1b[1", ""),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }
}
