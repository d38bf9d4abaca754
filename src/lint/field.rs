//! The values of headers, read as strictly as they are to be written.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::time::{Duration, SystemTime};

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The values of a header as text; what is none is `not-ascii`'s affair.
pub(super) fn values(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The elements of a list, in all lines of a header, in lower case; commas in quotes part nothing.
pub(crate) fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    elements(headers.get_all(name))
}

/// The same, of lines that were taken out of their headers.
pub(super) fn elements<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Vec<String> {
    let lines = lines.into_iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines.flat_map(|line| parts(&line, ',')).map(|element| element.to_ascii_lowercase()).collect()
}

/// What stands between separators outside of quotes, trimmed, the empty left out.
pub(super) fn parts(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut part, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for letter in text.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if letter == separator && !quoted => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// `name=value` or `name`; the value without quotes.
pub(super) fn pair(text: &str) -> (&str, Option<&str>) {
    match text.split_once('=') {
        Some((name, value)) => {
            let value = value.trim();
            let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (name.trim(), Some(inner.unwrap_or(value)))
        }
        None => (text.trim(), None),
    }
}

/// RFC 9110 §8.3.1: `type/subtype`, then parameters, each a token and a token or a string in quotes.
pub(super) fn is_media_type(text: &str) -> bool {
    let all = parts(text, ';');
    let Some((first, parameters)) = all.split_first() else { return false };
    let typed = first.split_once('/').is_some_and(|(main, sub)| is_token(main) && is_token(sub));
    let bare = |value: &str| is_token(value) || (value.len() > 1 && value.starts_with('"') && value.ends_with('"'));
    typed && parameters.iter().all(|one| one.split_once('=').is_some_and(|(name, value)| is_token(name) && bare(value)))
}

/// A URL or a path (RFC 3986 §4.1): only letters that can stand in one, and `%` before two hexadecimal digits.
pub(super) fn is_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    let escapes = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    let fits = bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => escapes(at),
        byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
    });
    let relative = text.starts_with(['/', '?', '#', '.']);
    // `host:8000/path` is a URL of the scheme `host`; `a:b` at the beginning of a path is not to be.
    let scheme = text.split_once(':').is_none_or(|(scheme, _)| {
        scheme.contains('/') || (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && is_scheme(scheme))
    });
    fits && (relative || scheme)
}

fn is_scheme(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// A date as it is to be sent (RFC 9110 §5.6.7): what parses, and reads the same when it is written again.
pub(super) fn date(value: &HeaderValue) -> Option<SystemTime> {
    let text = value.to_str().ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    (httpdate::fmt_http_date(time) == text).then_some(time)
}

/// Whether it is later than that, clocks a minute apart allowed for.
pub(super) fn is_later(time: SystemTime, than: SystemTime) -> bool {
    time.duration_since(than).is_ok_and(|later| later > Duration::from_secs(60))
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The headers that stand behind line breaks in the target, decoded: what an attacker hopes to see in the answer.
pub(super) fn injected(target: &Uri) -> Vec<(HeaderName, String)> {
    let holds_break = |text: &str| ["%0a", "%0A", "%0d", "%0D"].iter().any(|escape| text.contains(escape));
    let Some(whole) = target.path_and_query().filter(|whole| holds_break(whole.as_str())) else { return Vec::new() };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    // In the query a space is a `+`, as in forms.
    let fields = whole.query().into_iter().flat_map(|query| query.split('&')).map(|field| field.replace('+', " "));
    let texts = std::iter::once(decoded(whole.path())).chain(fields.map(|field| decoded(&field)));
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        (!value.is_empty()).then(|| (name, value.to_owned()))
    };
    texts.flat_map(|text| text.split(['\r', '\n']).skip(1).filter_map(header).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_to_the_letter() {
        for good in
            ["text/html", "text/html; charset=utf-8", "image/svg+xml", "multipart/x; boundary=\"a; b\"", "a/b;c=d"]
        {
            assert!(is_media_type(good), "{good}");
        }
        for bad in
            ["", "html", "text/", "/html", "text/html, text/plain", "text/html; charset", "text/html; charset=a b"]
        {
            assert!(!is_media_type(bad), "{bad}");
        }
    }

    #[test]
    fn references_are_urls_and_paths() {
        for good in [
            "/",
            "/a?b=c#d",
            "https://example.org/%20",
            "guestbook",
            "//example.org",
            "?page=2",
            "mailto:a@b.c",
            "a/b:c",
        ] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["/a b", "/ä", "/%2", "/a\"b", "1a:b", "/<b>", "/a\\b"] {
            assert!(!is_reference(bad), "{bad}");
        }
        assert!(is_reference(""), "an empty reference is the page itself");
    }

    #[test]
    fn dates_are_read_in_the_one_form_that_is_sent() {
        let date = |text: &str| date(&HeaderValue::from_str(text).unwrap()).is_some();
        assert!(date("Sun, 06 Nov 1994 08:49:37 GMT"));
        for bad in [
            "0",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "1994-11-06",
        ] {
            assert!(!date(bad), "{bad}");
        }
    }

    #[test]
    fn headers_in_a_target_are_decoded_as_paths_and_forms_are() {
        let table: [(&str, &[(&str, &str)]); 7] = [
            ("/?a=b", &[]),
            ("/?a=%0d%0aX-Evil:%201", &[("x-evil", "1")]),
            ("/?a=%0aX-Evil:+1+2&b=c", &[("x-evil", "1 2")]),
            ("/a%0D%0AX-Evil:1+2?b", &[("x-evil", "1+2")]),
            ("/?a=%0dA:b%0a%0aC:%20d", &[("a", "b"), ("c", "d")]),
            ("/?a=%0d%0aX%20Evil:1", &[]),
            ("/?a=%0d%0aX-Evil:", &[]),
        ];
        for (target, expected) in table {
            let found = injected(&target.parse().unwrap());
            let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{target}");
        }
    }

    #[test]
    fn quotes_hold_separators() {
        assert_eq!(parts("a=\"x, y\", b,, c", ','), ["a=\"x, y\"", "b", "c"]);
        assert_eq!(parts(r#"a="\",b",c"#, ','), [r#"a="\",b""#, "c"]);
        assert_eq!(pair("max-age=\"60\""), ("max-age", Some("60")));
    }
}
