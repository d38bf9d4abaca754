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
    let pair = redaction.text(&format!("{before} password={word} {after}"));
    assert!(!pair.contains(&format!("password={word}")), "{pair:?}");
    let quoted = redaction.text(&format!("{before} \"token\": \"{word}\" {after}"));
    assert!(!quoted.contains(&format!("\"token\": \"{word}\"")), "{quoted:?}");
    let url = redaction.text(&format!("{before} a://ann:{word}@host/ {after}"));
    assert!(!url.contains(&format!("ann:{word}@host")), "{url:?}");
});
