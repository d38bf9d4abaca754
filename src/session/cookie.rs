//! `CookieStore`: the whole session in the client's cookie, encrypted.

use super::{Capabilities, Record, Save, Saved, Store, StoreError, Token, Values};
use crate::config::SecretKeys;
use crate::cookie::Cookie;
use crate::seal::{Seal, SealError};
use crate::site::Start;
use crate::{Error, Result};

/// Keeps the whole session in the client's cookie, encrypted: nothing is stored on the server, and no server needs to
/// know another.
///
/// **What it cannot do.** Of two requests at the same time, each answer carries the whole session as that request saw
/// it: the browser keeps the one that comes last, and what only the other changed is lost, counts included. A session
/// which has been destroyed is forgotten by its browser, but a copy of the cookie made before opens it until it
/// expires: nobody on the server remembers that it ended. And about 2900 bytes is all that it holds, for browsers keep
/// no more. Where one of these matters, take a store on the server.
///
/// # Format
///
/// ```text
/// cookie   = Seal (see purlin::seal), for the purpose "session cookie 1", the cookie's name its context
/// sealed   = created  expires  *( length key  length value )
/// created  = seconds since 1970
/// expires  = seconds since created
/// value    = JSON text
/// ```
///
/// Numbers and lengths are unsigned LEB128; keys are in ascending order, each once.
///
/// - *Encrypted*, and not only signed: the session holds what the site knows of the visitor, and browsers' cookie files
///   get copied.
/// - *The name is authenticated*: by http a neighbouring host can set a cookie called `session`; it can never be taken
///   for `__Host-session`.
/// - *The version is in the purpose*, so that another format has other keys, and no byte is read before it is
///   authenticated.
/// - *The times are inside*: `Max-Age` is a request which the client need not follow.
/// - *Not compressed*: beside a secret, text that a stranger can choose tells the secret by its length (CRIME, 2012).
/// - *Not padded*: the length of the whole tells whoever watches the connection about as much as the page's own length
///   does.
/// - *Every write has a new nonce*, so that equal sessions look different.
/// - *Lengths, not JSON around it*: a value is a text that is already JSON; quoting keys in another would only make it
///   longer.
///
/// What does not open (another secret, changed, cut off, from another site, expired) is no session, and the visitor
/// begins anew. It is never an error: anybody can send it.
///
/// ```
/// use purlin::layers::Sessions;
/// use purlin::session::CookieStore;
///
/// # let config = purlin::Config::for_tests()?;
/// let layer = Sessions::new(CookieStore::new(&config.secret));
/// # Ok::<(), purlin::config::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct CookieStore {
    // What is wrong with a secret is told when the site starts, as with every other option.
    seal: Result<Seal, SealError>,
}

impl CookieStore {
    /// What the store's keys are for: see [`Seal`].
    pub const PURPOSE: &'static str = "session cookie 1";

    /// Sessions sealed by the site's secret, which is the same on all its servers. With one shorter than
    /// [`MIN_SECRET_BYTES`](crate::seal::MIN_SECRET_BYTES) the site does not start.
    ///
    /// Whoever knows the secret can write himself any session. What an old one sealed is opened, and sealed anew at the
    /// next use; so an old secret can be dropped when the sessions' lifetime has passed, and one that became known must
    /// be dropped at once.
    pub fn new(keys: &SecretKeys) -> Self {
        Self { seal: Seal::new(keys, Self::PURPOSE) }
    }

    fn seal(&self) -> Result<&Seal, StoreError> {
        self.seal.as_ref().map_err(|error| StoreError::Other(Box::new(error.clone())))
    }
}

impl Store for CookieStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::carried()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        let Some(opened) = self.seal()?.open(token.value, token.cookie.as_bytes()) else {
            return Ok(None);
        };
        let record = read(&opened.bytes).filter(|record| record.expires > now);
        Ok(record.map(|record| Record { stale: opened.old, ..record }))
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        if save.values.is_empty() {
            return Ok(Saved::Emptied);
        }
        let bytes = write(save.values, save.created, save.expires);
        let sealed = self.seal()?.seal(&bytes, save.cookie.as_bytes());
        let token = sealed.map_err(|error| StoreError::Other(Box::new(error)))?;
        if token.len() > save.max_token_bytes {
            return Err(too_large(token.len(), save));
        }
        Ok(Saved::Token(token))
    }

    /// Does nothing: the layer makes the client forget the cookie.
    async fn destroy(&self, _: Token<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        match &self.seal {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::from(error.clone()).context("the secret of the session cookie")),
        }
    }
}

fn too_large(token_bytes: usize, save: Save<'_>) -> StoreError {
    let mut largest: Vec<_> = save.values.iter().map(|(key, text)| (key.to_owned(), key.len() + text.len())).collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    largest.truncate(3);
    let around = Cookie::MAX_BYTES - save.max_token_bytes.min(Cookie::MAX_BYTES);
    StoreError::TooLarge { bytes: around + token_bytes, max_bytes: Cookie::MAX_BYTES, largest }
}

fn write(values: &Values, created: u64, expires: u64) -> Vec<u8> {
    let size = values.iter().map(|(key, text)| key.len() + text.len() + 4).sum::<usize>();
    let mut bytes = Vec::with_capacity(size + 10);
    write_number(&mut bytes, created);
    write_number(&mut bytes, expires.saturating_sub(created));
    for (key, text) in values.iter() {
        for part in [key, text] {
            write_number(&mut bytes, part.len() as u64);
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    bytes
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads what `write` wrote. It is authentic already; `None` stands for a mistake of ours, or of whoever has the
/// secret.
fn read(mut bytes: &[u8]) -> Option<Record> {
    let created = read_number(&mut bytes)?;
    let expires = created.checked_add(read_number(&mut bytes)?)?;
    let mut pairs = Vec::new();
    while !bytes.is_empty() {
        let (key, text) = (read_text(&mut bytes)?, read_text(&mut bytes)?);
        if pairs.last().is_some_and(|&(last, _)| last >= key) {
            return None;
        }
        pairs.push((key, text));
    }
    Some(Record::new(pairs.into_iter().collect(), created, expires))
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let digit = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if digit << shift >> shift != digit {
            return None;
        }
        number |= digit << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn read_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(read_number(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::session::{Changes, contract};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    fn store(current: &str, old: &[&str]) -> CookieStore {
        let old = old.iter().copied().map(Secret::new).collect();
        CookieStore::new(&SecretKeys::new(Secret::new(current)).old(old))
    }

    #[tokio::test]
    async fn the_cookie_store_keeps_the_contract() {
        contract::store_contract(async || store(SECRET, &[])).await;
    }

    #[test]
    fn what_is_written_can_be_read() {
        let long = "x".repeat(3000);
        let table: &[&[(&str, &str)]] =
            &[&[], &[("", "")], &[("a", "1")], &[("a", "1"), ("b", &long), ("ü", "\"😀\"")]];
        for pairs in table {
            let values: Values = pairs.iter().copied().collect();
            for (created, expires) in [(0, 0), (0, u64::MAX), (1_800_000_000, 1_800_086_400), (u64::MAX, u64::MAX)] {
                let record = read(&write(&values, created, expires)).unwrap();
                assert_eq!(record, Record::new(values.clone(), created, expires));
            }
        }
    }

    #[test]
    fn the_format_is_what_it_was() {
        let values: Values = [("n", "7"), ("name", "\"Ada\"")].into_iter().collect();
        let bytes = write(&values, 1_800_000_000, 1_800_086_400);
        assert_eq!(bytes, b"\x80\xa4\xa7\xda\x06\x80\xa3\x05\x01n\x017\x04name\x05\"Ada\"");
    }

    #[test]
    fn what_cannot_have_been_written_is_not_read() {
        let table: &[(&str, &[u8])] = &[
            ("nothing", b""),
            ("one number", b"\x01"),
            ("a number without end", b"\x01\x80"),
            ("a number of 65 bits", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
            ("a number of eleven bytes", b"\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"),
            ("an end that overflows", b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ("a key without value", b"\x01\x01\x01k"),
            ("a key longer than the rest", b"\x01\x01\x05k"),
            ("a length that overflows", b"\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01k"),
            ("a key that is not UTF-8", b"\x01\x01\x01\xff\x011"),
            ("a key twice", b"\x01\x01\x01k\x011\x01k\x012"),
            ("keys out of order", b"\x01\x01\x01k\x011\x01j\x012"),
        ];
        for (what, bytes) in table {
            assert_eq!(read(bytes), None, "{what}");
        }
    }

    #[tokio::test]
    async fn a_cookie_of_another_name_or_secret_is_no_session() {
        let changes = Changes::new();
        let values = [("k", "1")].into_iter().collect();
        let save = Save::new("session", &changes, &values);
        let store = store(SECRET, &[]);
        let Ok(Saved::Token(token)) = store.save(save).await else { panic!("a session is sealed") };
        let load =
            async |store: &CookieStore, name: &str| store.load(Token::new(name, &token), save.now).await.unwrap();
        let record = Record::new(values.clone(), save.created, save.expires);
        assert_eq!(load(&store, "session").await, Some(record.clone()));
        assert_eq!(load(&store, "__Host-session").await, None);
        assert_eq!(load(&self::store(OTHER, &[]), "session").await, None);
        let rotated = self::store(OTHER, &[SECRET]);
        assert_eq!(load(&rotated, "session").await, Some(Record { stale: true, ..record }));
    }

    #[tokio::test]
    async fn a_session_too_large_names_what_is_large() {
        let large = format!("\"{}\"", "x".repeat(3000));
        let changes = Changes::new();
        let values = [("cart", large.as_str()), ("n", "1"), ("name", "\"Ada\""), ("z", "1")].into_iter().collect();
        let error = store(SECRET, &[]).save(Save::new("session", &changes, &values)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the session is too large for a cookie: 4196 bytes of Set-Cookie, browsers keep 4096; most is taken by \
             \"cart\" (3006 bytes), \"name\" (9 bytes), \"n\" (2 bytes); keep less in it, or use a store on \
             the server, such as \
             `MemoryStore`"
        );
    }

    #[tokio::test]
    async fn a_short_secret_says_so_and_none_is_printed() {
        let store = store("short", &[]);
        let changes = Changes::new();
        let values = [("k", "1")].into_iter().collect();
        let error = store.save(Save::new("session", &changes, &values)).await.unwrap_err();
        assert!(matches!(error, StoreError::Other(cause) if cause.to_string().contains("at least 32 bytes, found 5")));
        let printed = format!("{:?}", self::store(SECRET, &[OTHER]));
        assert_eq!(printed, r#"CookieStore { seal: Ok(Seal { purpose: "session cookie 1", old: 1, .. }) }"#);
    }
}
