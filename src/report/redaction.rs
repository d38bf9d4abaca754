//! `Redaction`: what is never shown, by the names that values have.

use super::scrub;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// What stands in place of a value that is not shown.
pub(crate) const MASK: &str = "•••";

/// Which values are not shown in a [`Report`](super::Report), by their names.
///
/// A value is hidden if its name has one of these words in it, whatever the case and whether it is written `api_key`,
/// `apiKey` or `X-Api-Key`: `passw`, `pwd`, `passphrase`, `secret`, `token`, `key`, `auth`, `cookie`, `session`, `csrf`,
/// `signature`, `credential`, `private`, `card`; or if one of its words is `pass`, `pw`, `pin`, `otp`, `cvv`, `cvc`, `sid`,
/// `sig`, `jwt`, `ssn`, `iban` or `code`. `author`, `authority` (of a URL), `keyword` and `keyboard` are no such names.
///
/// It is used once, where a report is made, for everything in it: headers, query, form, nested values of sessions and of a
/// template's context, settings, fields of the log. In free text (messages, causes, log lines)
///
/// - the user of a URL is hidden, and so are values written as `password=…`, `"token": "…"`, `Authorization: …`,
/// - and what was hidden anywhere else, wherever it occurs again: a password that came by a form is hidden in the message
///   that repeats it.
///
/// The values of cookies are always hidden. What has neither a telling name nor been seen by one is shown: messages are to
/// be written without secrets.
///
/// ```
/// use purlin::report::Redaction;
///
/// let redaction = Redaction::new().also(["diagnosis"]);
/// assert!(redaction.hides("user[newPassword]") && redaction.hides("Diagnosis"));
/// assert!(!redaction.hides("author"));
/// assert_eq!(
///     redaction.text("GET https://ann:pw@example.org/?token=abc&page=2"),
///     "GET https://•••@example.org/?token=•••&page=2"
/// );
/// ```
#[derive(Clone, Default)]
pub struct Redaction {
    also: Vec<String>,
    values: BTreeSet<String>,
}

/// In any part of a name.
const PARTS: [&str; 14] = [
    "passw",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "key",
    "auth",
    "cookie",
    "session",
    "csrf",
    "signature",
    "credential",
    "private",
    "card",
];

/// As one of the words of a name.
const WORDS: [&str; 12] = ["pass", "pw", "pin", "otp", "cvv", "cvc", "sid", "sig", "jwt", "ssn", "iban", "code"];

/// Words that have one of `PARTS` in them and mean nothing secret.
const HARMLESS: [&str; 7] = ["author", "authors", "authority", "authorities", "keyword", "keywords", "keyboard"];

impl Redaction {
    /// The names above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hides values whose names have one of these words in them, too.
    pub fn also<S: AsRef<str>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.also.extend(words.into_iter().map(|word| squeezed(word.as_ref())).filter(|word| !word.is_empty()));
        self
    }

    /// Hides this value wherever it occurs. Shorter ones than three characters are left: they occur everywhere.
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.values.insert(value.into());
        self
    }

    /// What either hides.
    pub(crate) fn and(&self, other: Self) -> Self {
        let mut both = self.clone();
        both.also.extend(other.also);
        both.values.extend(other.values);
        both
    }

    /// Whether a value of this name is hidden.
    pub fn hides(&self, name: &str) -> bool {
        let words = words(name);
        if words.iter().any(|word| WORDS.contains(&word.as_str())) {
            return true;
        }
        let joined: String =
            words.iter().filter(|word| !HARMLESS.contains(&word.as_str())).map(String::as_str).collect();
        let all: String = words.concat();
        PARTS.iter().any(|part| joined.contains(part)) || self.also.iter().any(|part| all.contains(part.as_str()))
    }

    /// Free text, without what its form gives away: users of URLs, and values written beside a telling name.
    pub fn text(&self, text: &str) -> String {
        let mut scrubber = self.scrubber();
        scrubber.values.extend(self.values.iter().cloned());
        scrubber.text(text)
    }

    /// What hides the values of one report.
    pub(super) fn scrubber(&self) -> Scrubber<'_> {
        Scrubber { redaction: self, values: self.values.clone() }
    }
}

/// The words only: the values are secrets.
impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction").field("also", &self.also).finish_non_exhaustive()
    }
}

/// Lower case, letters and digits only.
fn squeezed(name: &str) -> String {
    words(name).concat()
}

/// The words of a name: `apiKey[new-One]` has four. Two capitals in a row begin no word, or `APIKEY` were six.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars().take(LONGEST_NAME) {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is one from the start").extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Of a name is looked at.
const LONGEST_NAME: usize = 200;

/// Shorter values are not looked for elsewhere.
const SHORTEST: usize = 3;

/// From this length on a value is looked for within words, too.
const LONG: usize = 8;

/// More values than these are not looked for: a form of thousands of fields must not take minutes.
const MOST_VALUES: usize = 200;

/// Hides the values of one report: first those of telling names, which it remembers, then these wherever else they are.
pub(super) struct Scrubber<'r> {
    redaction: &'r Redaction,
    values: BTreeSet<String>,
}

impl Scrubber<'_> {
    /// A value under its name.
    pub(super) fn named<'v>(&mut self, name: &str, value: impl Into<Cow<'v, str>>) -> String {
        let value = value.into().into_owned();
        if !self.redaction.hides(name) || value.is_empty() {
            return value;
        }
        self.hidden(&value)
    }

    /// A value that is never shown.
    pub(super) fn hidden(&mut self, value: &str) -> String {
        self.remember(value);
        MASK.to_owned()
    }

    fn remember(&mut self, value: &str) {
        let value = value.trim();
        // `Bearer abc` is the secret `abc`.
        if let Some((scheme, rest)) = value.split_once(' ')
            && scrub::SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known))
        {
            self.remember(rest);
            if scheme.eq_ignore_ascii_case("basic")
                && let Some(password) = basic_password(rest.trim())
            {
                self.remember(&password);
            }
        }
        let common = ["true", "false", "null", "none", "yes", "off"].contains(&value.to_ascii_lowercase().as_str());
        if value.chars().count() >= SHORTEST && !common && self.values.len() < MOST_VALUES {
            self.values.insert(value.to_owned());
        }
    }

    /// A value of any shape under its name, and whatever is nested in it.
    pub(super) fn json(&mut self, name: &str, value: Value) -> Value {
        if self.redaction.hides(name) && !matches!(value, Value::Null | Value::Bool(_)) {
            return self.hidden_json(&value);
        }
        match value {
            Value::Object(object) => Value::Object(
                object
                    .into_iter()
                    .map(|(name, value)| {
                        let value = self.json(&name, value);
                        (name, value)
                    })
                    .collect(),
            ),
            Value::Array(list) => Value::Array(list.into_iter().map(|value| self.json("", value)).collect()),
            other => other,
        }
    }

    /// A value of any shape that is never shown.
    pub(super) fn hidden_json(&mut self, value: &Value) -> Value {
        self.remember_all(value);
        MASK.into()
    }

    fn remember_all(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.remember(text),
            Value::Number(number) => self.remember(&number.to_string()),
            Value::Array(list) => list.iter().for_each(|value| self.remember_all(value)),
            Value::Object(object) => object.values().for_each(|value| self.remember_all(value)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Hides in every text of a report what is remembered, and what its form gives away; cuts what is too long.
    pub(super) fn everywhere(&self, value: &mut Value) {
        let secrets = self.spellings();
        self.walk(value, &secrets);
    }

    fn walk(&self, value: &mut Value, secrets: &[Cow<'_, str>]) {
        match value {
            Value::String(text) => *text = self.clean(text, secrets),
            Value::Array(list) => {
                list.truncate(super::MOST_ITEMS);
                list.iter_mut().for_each(|value| self.walk(value, secrets));
            }
            Value::Object(object) => {
                for (mut name, mut value) in std::mem::take(object) {
                    // What a client sent may be a name as well.
                    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                        name = self.clean(&name, secrets);
                    }
                    self.walk(&mut value, secrets);
                    object.insert(name, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    pub(super) fn text(&self, text: &str) -> String {
        self.clean(text, &self.spellings())
    }

    fn clean(&self, text: &str, secrets: &[Cow<'_, str>]) -> String {
        let mut text = Cow::Borrowed(text);
        for secret in secrets {
            // Many times as fast as `str::contains`, for texts that nearly all have none.
            if memchr::memmem::find(text.as_bytes(), secret.as_bytes()).is_some() {
                text = scrub::without(&text, secret, secret.chars().count() < LONG).into();
            }
        }
        let mut text = scrub::by_form(&text, |name| self.redaction.hides(name));
        // After the hiding: half a secret is none that would be found.
        if text.len() > super::LONGEST_TEXT {
            let more = text.len() - super::LONGEST_TEXT;
            text.truncate(text.floor_char_boundary(super::LONGEST_TEXT));
            text.push_str(&format!("… ({more} more bytes)"));
        }
        text
    }

    /// The values as they may be written: as they are, within quotes, in a URL. The longest first, of which others may be parts.
    fn spellings(&self) -> Vec<Cow<'_, str>> {
        let mut all: Vec<Cow<'_, str>> = Vec::new();
        for value in self.values.iter().filter(|value| value.chars().count() >= SHORTEST) {
            all.push(value.as_str().into());
            if value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                continue;
            }
            let debug = format!("{value:?}");
            let json = Value::from(value.as_str()).to_string();
            for quoted in [debug, json] {
                all.push(quoted[1..quoted.len() - 1].to_owned().into());
            }
            let form: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let path = crate::site::encoded_segment(value);
            for encoded in [form, path] {
                all.push(encoded.to_ascii_lowercase().into());
                all.push(encoded.into());
            }
            let decoded = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            all.push(decoded.into());
        }
        all.retain(|text| text.chars().count() >= SHORTEST);
        all.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        all.dedup();
        all
    }
}

/// The password of `Authorization: Basic …` (RFC 7617 §2).
fn basic_password(credentials: &str) -> Option<String> {
    use ct_codecs::{Base64, Decoder};
    let mut bytes = vec![0; credentials.len()];
    let bytes = Base64::decode(&mut bytes, credentials, None).ok()?;
    let text = String::from_utf8_lossy(bytes);
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_hidden_by_the_words_of_its_name() {
        let redaction = Redaction::new().also(["Diagnosis", "blood-group"]);
        for name in [
            "password",
            "PASSWORD",
            "passwd",
            "user[password]",
            "newPassword",
            "passwort",
            "api_key",
            "apiKey",
            "APIKEY",
            "X-Api-Key",
            "x-auth-token",
            "authorization",
            "Proxy-Authorization",
            "set-cookie",
            "session_id",
            "sessionId",
            "_csrf_token",
            "signature",
            "client.secret",
            "card[number]",
            "creditcard",
            "cvv",
            "pin",
            "otp",
            "code",
            "sig",
            "access_token",
            "refreshToken",
            "private",
            "diagnosis",
            "theDiagnosis",
            "bloodGroup",
            "author_token",
            "authors_key",
        ] {
            assert!(redaction.hides(name), "{name}");
        }
        for name in [
            "",
            "name",
            "author",
            "authors",
            "bookAuthor",
            "authority",
            "uri.authority",
            "certificateAuthorities",
            "keyword",
            "keywords",
            "keyboard",
            "shipping",
            "zipcode",
            "page",
            "email",
            "passenger",
            "side",
            "encoded",
            "compass_point",
        ] {
            assert!(!redaction.hides(name), "{name}");
        }
    }

    #[test]
    fn a_value_seen_under_its_name_is_hidden_elsewhere_however_it_is_written() {
        let redaction = Redaction::new();
        let mut scrubber = redaction.scrubber();
        assert_eq!(scrubber.named("password", "tüx \"7\"/x"), MASK);
        assert_eq!(scrubber.named("authorization", "Basic YW5uOmh1bnRlcjI="), MASK);
        assert_eq!(scrubber.named("pin", "4711"), MASK);
        assert_eq!(scrubber.named("token", "true"), MASK);
        assert_eq!(scrubber.named("name", "ann"), "ann");
        let json = serde_json::json!({ "a": { "card": [{ "number": 5500 }], "ok": "x" }, "key": null });
        assert_eq!(scrubber.json("", json), serde_json::json!({ "a": { "card": MASK, "ok": "x" }, "key": null }));
        let table = [
            ("no user with tüx \"7\"/x", "no user with •••"),
            (r#"{"p":"tüx \"7\"/x"}"#, r#"{"p":"•••"}"#),
            ("/reset?p=t%C3%BCx+%227%22%2Fx", "/reset?p=•••"),
            ("/reset/t%C3%BCx%20%227%22%2Fx", "/reset/•••"),
            ("/reset/t%c3%bcx%20%227%22%2fx", "/reset/•••"),
            ("hunter2 is no number", "••• is no number"),
            ("YW5uOmh1bnRlcjI=", "•••"),
            ("4711, but not 14711 or 4711x", "•••, but not 14711 or 4711x"),
            ("card 5500", "card •••"),
            ("true enough", "true enough"),
        ];
        for (text, expected) in table {
            assert_eq!(scrubber.text(text), expected, "{text}");
        }
    }
}
