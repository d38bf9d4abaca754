//! What of a request's target and headers may stand in a span.

use crate::report::Redaction;
use percent_encoding::percent_decode_str;

/// So much of a text is kept, in bytes: what clients send is as long as they like.
const LONGEST: usize = 2048;

/// What stands in place of a secret, by the semantic conventions.
const REDACTED: &str = "REDACTED";

/// A query without the values that are secrets by their names, or by their form.
pub(super) fn redacted(query: &str, redaction: &Redaction) -> String {
    let mut kept = String::with_capacity(query.len());
    for field in query.split('&') {
        if kept.len() > LONGEST {
            break;
        }
        if !kept.is_empty() {
            kept.push('&');
        }
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (field, None),
        };
        kept.push_str(name);
        let Some(value) = value else { continue };
        kept.push('=');
        kept.push_str(if is_secret(name, value, redaction) { REDACTED } else { value });
    }
    short(&kept)
}

fn is_secret(name: &str, value: &str, redaction: &Redaction) -> bool {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    if value.is_empty() {
        return false;
    }
    if redaction.hides(&decoded(name)) {
        return true;
    }
    // `next=/reset?token=…` has one within.
    let value = decoded(value);
    value.contains(['=', ':', '@']) && redaction.text(&value) != value
}

/// Cut to what is kept.
pub(super) fn short(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_query_are_hidden_and_nothing_else() {
        let redaction = Redaction::new().also(["diagnosis"]);
        let table = [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("a&b=&=c", "a&b=&=c"),
            ("q=a%20b+c", "q=a%20b+c"),
            ("token=abc&page=2", "token=REDACTED&page=2"),
            ("page=2&api_key=x", "page=2&api_key=REDACTED"),
            ("to%6ben=abc", "to%6ben=REDACTED"),
            ("user[password]=x&user[name]=ann", "user[password]=REDACTED&user[name]=ann"),
            (
                "sig=x&X-Goog-Signature=y&AWSAccessKeyId=z",
                "sig=REDACTED&X-Goog-Signature=REDACTED&AWSAccessKeyId=REDACTED",
            ),
            ("token=", "token="),
            ("token=a=b", "token=REDACTED"),
            ("next=%2Freset%3Ftoken%3Dabc", "next=REDACTED"),
            ("next=/list%3Fpage%3D2", "next=/list%3Fpage%3D2"),
            ("url=https://ann:pw@example.org/", "url=REDACTED"),
            ("url=https://example.org/", "url=https://example.org/"),
            ("diagnosis=x", "diagnosis=REDACTED"),
        ];
        for (query, expected) in table {
            assert_eq!(redacted(query, &redaction), expected, "{query}");
        }
        assert_eq!(redacted(&"é".repeat(5000), &redaction).len(), 2048);
        assert!(redacted(&"a=b&".repeat(5000), &redaction).len() <= 2048);
    }
}
