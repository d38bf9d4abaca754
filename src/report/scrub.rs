//! Secrets in free text, found by how they are written.

use super::redaction::MASK;

/// What stands before credentials in a header (RFC 9110 §11.4).
pub(super) const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "token"];

/// The beginning of a text that is too long: up to a space, since the half of a secret would not be known for one.
pub(crate) fn between_words(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let start = &text[..text.floor_char_boundary(most)];
    let start = &start[..start.rfind(char::is_whitespace).unwrap_or(0)];
    format!("{start}… ({} bytes)", text.len())
}

/// The text without this value; one within a longer word stays if `whole` words are meant only.
pub(super) fn without(text: &str, value: &str, whole: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, found) in text.match_indices(value) {
        let end = at + found.len();
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        if at < rest || (whole && (is_word(text[..at].chars().next_back()) || is_word(text[end..].chars().next()))) {
            continue;
        }
        out.push_str(&text[rest..at]);
        out.push_str(MASK);
        rest = end;
    }
    out.push_str(&text[rest..]);
    out
}

/// The text without users in URLs, values beside a name that is to be hidden, and bearer tokens.
pub(super) fn by_form(text: &str, hides: impl Fn(&str) -> bool) -> String {
    // Nearly all texts of a report have none of them.
    if !text.contains([':', '=']) && !has_bearer(text) {
        return text.to_owned();
    }
    let text = users(text);
    let text = values(&text, hides);
    bearers(&text)
}

fn has_bearer(text: &str) -> bool {
    text.as_bytes().windows(7).any(|window| window.eq_ignore_ascii_case(b"bearer "))
}

/// `postgres://ann:pw@host/` as `postgres://•••@host/`.
fn users(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let url = &after[..after.find(ends_url).unwrap_or(after.len())];
        let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
        let user = match authority.rfind('@') {
            Some(at) => Some(at),
            // A password with an unencoded slash: what is behind the colon is no port.
            None => match authority.split_once(':') {
                Some((_, port)) if !port.bytes().all(|byte| byte.is_ascii_digit()) => url.rfind('@'),
                _ => None,
            },
        };
        rest = after;
        if let Some(end) = user {
            out.push_str(MASK);
            rest = &after[end..];
        }
    }
    out.push_str(rest);
    out
}

fn ends_url(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`')
}

/// As databases number their errors: `(code: 2067) UNIQUE constraint failed`. A code that somebody was sent has more digits.
fn is_error_code(before: &str, after: &str) -> bool {
    let number = after.trim_start().split_once(')').map(|(number, _)| number);
    before.ends_with("(code")
        && number.is_some_and(|number| number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// `password=abc`, `"token": "abc"`, `Authorization: Bearer abc`, `secret: Some("abc")`.
fn values(text: &str, hides: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, sign) in text.match_indices([':', '=']) {
        if at < rest {
            continue;
        }
        let Some(name) = Name::before(&text[..at]) else {
            continue;
        };
        if !hides(name.text) || is_error_code(&text[..at], &text[at + 1..]) {
            continue;
        }
        if let Some(value) = value_after(text, at + 1, sign == "=", &name) {
            out.push_str(&text[rest..value.start]);
            out.push_str(MASK);
            rest = value.end;
        }
    }
    out.push_str(&text[rest..]);
    out
}

/// A name before a sign, and how it stands there.
struct Name<'t> {
    text: &'t str,
    /// As a string is; backticks are put around names in prose.
    quoted: bool,
    in_backticks: bool,
    /// After `{`, `(` or a comma: as a field of a struct.
    field: bool,
}

impl<'t> Name<'t> {
    fn before(text: &'t str) -> Option<Self> {
        let text = text.trim_end_matches(' ');
        let inner = text.trim_end_matches(['"', '\'', '\\', '`']);
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']' | '%');
        let start =
            inner.rfind(|c| !is_part(c)).map_or(0, |at| at + inner[at..].chars().next().map_or(1, char::len_utf8));
        let before = inner[..start].trim_end_matches([' ', '\n', '"', '\'', '\\', '`']);
        let field = before.ends_with(['{', '(', ',']);
        let name = &inner[start..];
        let in_backticks = text[inner.len()..].ends_with('`');
        let quoted = inner.len() < text.len() && !in_backticks;
        (!name.is_empty()).then_some(Self { text: name, quoted, in_backticks, field })
    }

    /// Whether this is a variable, and what begins here the setting that it is for: ``PURLIN__SECRET: `secret`: …``.
    fn is_said_again(&self, rest: &str) -> bool {
        let spelt = |name: &str| name.to_lowercase().replace("__", ".").replace('-', "_");
        let variable = self.text.strip_prefix("PURLIN__").map(spelt);
        let setting = rest.strip_prefix('`').and_then(|rest| rest.split_once("`: ")).map(|(setting, _)| spelt(setting));
        let (Some(variable), Some(setting)) = (variable, setting) else {
            return false;
        };
        // Either may lead further: into the value of the variable, or to what the setting does not have.
        let (short, long) = if variable.len() < setting.len() { (variable, setting) } else { (setting, variable) };
        !short.is_empty()
            && long.strip_prefix(&short).is_some_and(|more| more.is_empty() || more.starts_with(['.', '[']))
    }
}

/// Where the value is that begins at `from`; `None` if this is prose, as `reading the token: it is empty`.
fn value_after(text: &str, from: usize, is_pair: bool, name: &Name<'_>) -> Option<std::ops::Range<usize>> {
    let mut start = from + blanks(&text[from..]);
    if text[start..].starts_with('>') {
        start += 1 + blanks(&text[start + 1..]);
    }
    if text[start..].starts_with("Some(") {
        start += "Some(".len();
    }
    let rest = &text[start..];
    // How a secret is made, as the remedies tell it.
    if rest.starts_with("$(openssl rand ") {
        return None;
    }
    // What is to be filled in: `secret = …`.
    if rest.strip_prefix('…').is_some_and(|rest| word(rest) == 0) {
        return None;
    }
    if !is_pair && name.is_said_again(rest) {
        return None;
    }
    // Of a URL, of a Rust path, or with nothing after it.
    if rest.starts_with("//") || rest.starts_with(':') || rest.is_empty() {
        return None;
    }
    if let Some(quote) = Quote::of(rest) {
        let start = start + quote.length;
        return Some(start..quote.end(text, start));
    }
    if !is_pair && (name.text.contains('-') || is_header(name.text)) {
        // A header: all of its line, unless it stands in quotes itself.
        let end = rest.find(['\n', '\r', '"']).unwrap_or(rest.len());
        return (end > 0).then_some(start..start + end);
    }
    let mut end = word(rest);
    let is_scheme = SCHEMES.iter().any(|scheme| rest[..end].eq_ignore_ascii_case(scheme));
    if is_scheme && rest[end..].starts_with(' ') {
        end += 1 + word(&rest[end + 1..]);
    }
    // `src/auth.rs:12:5`
    if !is_pair && name.text.contains('.') && rest[..end].bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
        return None;
    }
    if is_pair || name.quoted || name.field || is_scheme {
        return (end > 0).then_some(start..start + end);
    }
    // After a colon there may be prose, of which no word has a digit or a capital within.
    let value = rest[..end].trim_end_matches(['.', '!', '?', ':']);
    let odd = value.chars().skip(1).any(|c| !(c.is_lowercase() || matches!(c, '\'' | '-' | '’')));
    // Behind a name that is set off as one, a single word is no sentence.
    let alone = name.in_backticks && !rest[end..].trim_start_matches([',', ' ']).starts_with(char::is_alphanumeric);
    ((odd || alone) && !value.is_empty()).then_some(start..start + end)
}

fn is_header(name: &str) -> bool {
    ["authorization", "cookie"].iter().any(|header| name.eq_ignore_ascii_case(header))
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches(' ').len()
}

/// The length of the word that the text begins with.
fn word(text: &str) -> usize {
    let ends =
        |c: char| c.is_whitespace() || matches!(c, '&' | ';' | ',' | '"' | '\'' | '`' | ')' | ']' | '}' | '<' | '>');
    text.find(ends).unwrap_or(text.len())
}

/// An opening quote, perhaps escaped within a text that is quoted itself.
struct Quote {
    mark: char,
    escapes: usize,
    length: usize,
}

impl Quote {
    fn of(text: &str) -> Option<Self> {
        let escapes = text.len() - text.trim_start_matches('\\').len();
        let mark = text[escapes..].chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
        Some(Self { mark, escapes, length: escapes + 1 })
    }

    /// Where the text in it ends: at the same quote with no more backslashes, or with the text.
    fn end(&self, text: &str, start: usize) -> usize {
        for (at, _) in text[start..].match_indices(self.mark) {
            let before = &text[start..start + at];
            let escapes = before.len() - before.trim_end_matches('\\').len();
            if escapes <= self.escapes {
                return start + at - escapes;
            }
        }
        text.len()
    }
}

/// `bearer abcdef` as `bearer •••`, wherever it is written.
fn bearers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for at in 0..text.len() {
        if at < rest || !text.as_bytes()[at..].get(..7).is_some_and(|head| head.eq_ignore_ascii_case(b"bearer ")) {
            continue;
        }
        let start = at + 7;
        let end = start + word(&text[start..]);
        // `bearer token`, in prose.
        if end - start >= 6 && text[start..end] != *MASK {
            out.push_str(&text[rest..start]);
            out.push_str(MASK);
            rest = end;
        }
    }
    out.push_str(&text[rest..]);
    out
}

#[cfg(test)]
mod tests {
    use crate::report::Redaction;

    #[test]
    fn secrets_are_found_by_how_they_are_written() {
        let redaction = Redaction::new();
        let table = [
            // URLs
            ("postgres://ann:pw@host/db failed", "postgres://•••@host/db failed"),
            ("postgres://ann:p/w@host/db", "postgres://•••@host/db"),
            ("postgres://ann:p@w@host/db", "postgres://•••@host/db"),
            ("https://token@host", "https://•••@host"),
            ("a://b:c@d and e://f:g@h.", "a://•••@d and e://•••@h."),
            ("https://host/@ann and https://host:80/@ann", "https://host/@ann and https://host:80/@ann"),
            ("https://host/?token=abc&page=2#x", "https://host/?token=•••&page=2#x"),
            ("/reset?api_key=a%20b;x=1", "/reset?api_key=•••;x=1"),
            ("?user%5Bpassword%5D=abc", "?user%5Bpassword%5D=•••"),
            // Pairs
            ("password=abc", "password=•••"),
            ("password = 'a b' in x", "password = '•••' in x"),
            ("password=\"a \\\" b\", user=\"c\"", "password=\"•••\", user=\"c\""),
            ("Key => 'abc'", "Key => '•••'"),
            ("user=ann", "user=ann"),
            ("x=1 password=", "x=1 password="),
            ("export SECRET=$(openssl rand -hex 32)", "export SECRET=$(openssl rand -hex 32)"),
            ("export SECRET=$(printf abc)", "export SECRET=••• abc)"),
            // As JSON and Debug
            ("{\"token\": \"abc\", \"n\": 1}", "{\"token\": \"•••\", \"n\": 1}"),
            ("{\"card\":4111,\"n\":1}", "{\"card\":•••,\"n\":1}"),
            ("\"{\\\"token\\\":\\\"abc\\\",\\\"n\\\":1}\"", "\"{\\\"token\\\":\\\"•••\\\",\\\"n\\\":1}\""),
            ("Login { user: \"ann\", password: \"abc\" }", "Login { user: \"ann\", password: \"•••\" }"),
            ("Login { password: Some(\"abc\"), pin: 12 }", "Login { password: Some(\"•••\"), pin: ••• }"),
            ("Login { secret: abc }", "Login { secret: ••• }"),
            // Headers
            ("Authorization: Bearer abc def\nHost: x", "Authorization: •••\nHost: x"),
            ("cookie: a=1; b=2", "cookie: •••"),
            ("x-api-key: abc def", "x-api-key: •••"),
            ("sent Bearer abcdefgh to it", "sent Bearer ••• to it"),
            ("token: Bearer abc", "token: •••"),
            // Prose, which stays
            ("reading the token: it is empty", "reading the token: it is empty"),
            ("the password: invalid digit found in string", "the password: invalid digit found in string"),
            ("password: hunter2", "password: •••"),
            ("key: Expected", "key: Expected"),
            ("`secret`: expected 32 bytes, found 5", "`secret`: expected 32 bytes, found 5"),
            ("PURLIN__SECRET: `secret`: expected 32 bytes", "PURLIN__SECRET: `secret`: expected 32 bytes"),
            ("PURLIN__OLD_SECRETS: `old_secrets[1]`: no", "PURLIN__OLD_SECRETS: `old_secrets[1]`: •••"),
            ("write `secret = …` there", "write `secret = …` there"),
            // What only looks like it
            ("`password`: hunter", "`password`: •••"),
            ("`password`: hunter2 is wrong", "`password`: ••• is wrong"),
            ("`password`: `hunter`: is wrong", "`password`: `•••`: is wrong"),
            ("PURLIN__SECRET: `hunter`: is wrong", "PURLIN__SECRET: `•••`: is wrong"),
            ("secret: `secret`", "secret: `•••`"),
            ("secret: `secret`: no one knows", "secret: `•••`: no one knows"),
            ("PURLIN__SECRET: `secretive`: no one knows", "PURLIN__SECRET: `•••`: no one knows"),
            ("PURLIN__SECRET=`secret`: no one knows", "PURLIN__SECRET=`•••`: no one knows"),
            ("secret = …hunter", "secret = •••"),
            ("the bearer of a ring", "the bearer of a ring"),
            ("at src/auth.rs:12:5", "at src/auth.rs:12:5"),
            ("std::auth::Key::new", "std::auth::Key::new"),
            ("(code: 2067) UNIQUE constraint failed", "(code: 2067) UNIQUE constraint failed"),
            ("(code: 123456)", "(code: •••)"),
            ("code: 2067)", "code: •••)"),
            ("", ""),
            ("password:", "password:"),
            ("ü=ä:ö password=ü", "ü=ä:ö password=•••"),
        ];
        for (text, expected) in table {
            assert_eq!(redaction.text(text), expected, "{text}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let redaction = Redaction::new();
        let pieces =
            ["password", "ü", "=", ":", "://", "@", "\"", "\\", "'", " ", "Bearer ", "Some(", "•••", "\n", "&"];
        for seed in 0..40_000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut text = String::new();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(pieces[(state >> 40) as usize % pieces.len()]);
            }
            redaction.text(&text);
        }
    }
}
