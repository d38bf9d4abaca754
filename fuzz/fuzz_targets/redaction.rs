//! Whatever stands around a secret: beside its name, in a URL or known as a value, it is hidden.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use purlin::report::Redaction;

#[derive(Arbitrary, Debug)]
struct Case {
    before: String,
    secret: String,
    after: String,
}

fuzz_target!(|case: Case| {
    let Case { before, secret, after } = case;
    let redaction = Redaction::new();
    redaction.hides(&before);
    redaction.text(&before);

    let known = redaction.clone().value(&*secret).text(&format!("{before}{secret}{after}"));
    if secret.chars().count() >= 8 && !secret.contains('•') && secret.trim() == secret {
        assert!(!known.contains(&secret), "{known:?}");
    }

    let word: String = secret.chars().filter(char::is_ascii_alphanumeric).collect();
    if word.is_empty() {
        return;
    }
    for written in [format!("password={word}"), format!("\"token\": \"{word}\""), format!("a://ann:{word}@host")] {
        // Without the scheme that makes an address of it, it is any text.
        let secret = written.trim_start_matches("a://");
        if before.contains(secret) || after.contains(secret) {
            continue;
        }
        let text = redaction.text(&format!("{before} {written} {after}"));
        assert!(!text.contains(secret), "{text:?}");
    }
});
