//! `Seal`: text that only this site can make and read, to be left in the client's hands.

mod base64url;

use crate::config::{Secret, SecretKeys};
use orion::hazardous::aead::xchacha20poly1305::{Nonce, SecretKey, XChaCha20Poly1305};
use orion::hazardous::kdf::hkdf::{Hkdf, SHA256};
use std::fmt;

/// Seals bytes into text and opens it again: nobody else can read it, change it, or make one.
///
/// For what a site gives to a client and wants back unread and unchanged: a session, a link that signs in. The text
/// may be copied and sent again, and it does not end by itself: put a time into it where that matters.
///
/// Each *purpose* has its own keys, so that text sealed for one is worth nothing for another. The *context* is what the
/// text belongs to, such as the name of its cookie; it is not in the text, and has to be the same for opening.
///
/// What the old ones of the site's secrets sealed can be opened still; nothing new is sealed by them.
///
/// # How
///
/// - The key of a purpose is HKDF-SHA256 (RFC 5869) of the secret, with the salt `purlin seal` and the purpose as its
///   info.
/// - The text is base64url (RFC 4648 §5, no padding) of nonce (24 bytes) ‖ ciphertext ‖ tag (16 bytes).
/// - The cipher is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), the context its associated data. Its nonce is long
///   enough to be drawn at random without ever meeting the same one twice (2⁹⁶ texts for one chance in two), which a
///   counter shared by several servers, or the 12 bytes of AES-GCM, would not be. The tag is compared in constant time.
/// - Length is not hidden: the text is 4/3 of the bytes and 54.
///
/// ```
/// use purlin::config::SecretKeys;
/// use purlin::seal::Seal;
///
/// let keys = SecretKeys::random();
/// let seal = Seal::new(&keys, "remember-me")?;
/// let text = seal.seal(b"user 7", b"example.org")?;
///
/// assert_eq!(seal.open(&text, b"example.org").unwrap().bytes, b"user 7");
/// assert!(seal.open(&text, b"example.com").is_none());
/// assert!(Seal::new(&keys, "invitation")?.open(&text, b"example.org").is_none());
/// # Ok::<(), purlin::seal::SealError>(())
/// ```
pub struct Seal {
    purpose: String,
    key: Key,
    old: Vec<Key>,
}

impl Seal {
    /// A seal for this purpose.
    ///
    /// # Errors
    ///
    /// One of the secrets is shorter than [`MIN_SECRET_BYTES`].
    pub fn new(keys: &SecretKeys, purpose: impl Into<String>) -> Result<Self, SealError> {
        let purpose = purpose.into();
        let key = Key::derive(keys.current(), &purpose)?;
        // The first of all is the current one.
        let old = keys.all().skip(1).map(|secret| Key::derive(secret, &purpose)).collect::<Result<_, _>>()?;
        Ok(Self { purpose, key, old })
    }

    /// Seals bytes into text of letters, digits, `-` and `_`.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn seal(&self, bytes: &[u8], context: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(SealError::Randomness)?;
        Ok(base64url::encode(&self.key.seal(nonce, bytes, context)))
    }

    /// Opens a text; `None` for one that is forged, cut off, changed, or sealed for something else. Which of these it
    /// was cannot be told, to nobody.
    pub fn open(&self, text: &str, context: &[u8]) -> Option<Opened> {
        let sealed = decode(text)?;
        let current = self.key.open(&sealed, context).map(|bytes| Opened { bytes, old: false });
        current.or_else(|| {
            let bytes = self.old.iter().find_map(|key| key.open(&sealed, context))?;
            Some(Opened { bytes, old: true })
        })
    }
}

impl fmt::Debug for Seal {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("purpose", &self.purpose).field("old", &self.old.len()).finish_non_exhaustive()
    }
}

/// What a [`Seal`] opened.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// What was sealed.
    pub bytes: Vec<u8>,
    /// It was sealed with an old secret: seal it again, while that still opens it.
    pub old: bool,
}

impl fmt::Debug for Opened {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} bytes, old: {})", self.bytes.len(), self.old)
    }
}

/// How long a secret must be, in bytes. Length is all that can be checked: it should be random, as `openssl rand -hex
/// 32` makes it.
pub const MIN_SECRET_BYTES: usize = 32;

/// What one secret is for one purpose.
struct Key(SecretKey);

impl Key {
    fn derive(secret: &Secret, purpose: &str) -> Result<Self, SealError> {
        let secret = secret.expose();
        if secret.len() < MIN_SECRET_BYTES {
            return Err(SealError::ShortSecret { bytes: secret.len() });
        }
        let mut key = [0; 32];
        Hkdf::<SHA256>::derive_key(b"purlin seal", secret, Some(purpose.as_bytes()), &mut key)
            .expect("32 bytes are more than none and less than 255 hashes (RFC 5869 §2.3)");
        Ok(Self(SecretKey::from(key)))
    }

    fn seal(&self, nonce: [u8; NONCE], bytes: &[u8], context: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; NONCE + bytes.len() + TAG];
        sealed[..NONCE].copy_from_slice(&nonce);
        XChaCha20Poly1305::seal(&self.0, &Nonce::from(nonce), bytes, Some(context), &mut sealed[NONCE..])
            .expect("the room is what is needed, and no slice reaches 2³⁸ bytes (RFC 8439 §2.8)");
        sealed
    }

    fn open(&self, sealed: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let mut bytes = vec![0; sealed.len().checked_sub(TAG)?];
        XChaCha20Poly1305::open(&self.0, &Nonce::from(*nonce), sealed, Some(context), &mut bytes).ok()?;
        Some(bytes)
    }
}

const NONCE: usize = 24;
const TAG: usize = 16;

fn decode(text: &str) -> Option<Vec<u8>> {
    // Shorter than nothing sealed: not worth the room.
    (text.len() >= (NONCE + TAG) * 4 / 3).then(|| base64url::decode(text))?
}

/// Why nothing can be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields say what their names say.
pub enum SealError {
    /// The secret is shorter than [`MIN_SECRET_BYTES`].
    ShortSecret { bytes: usize },
    /// The system has no randomness to give.
    Randomness(getrandom::Error),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortSecret { bytes } => write!(
                f,
                "expected a secret of at least {MIN_SECRET_BYTES} bytes, found {bytes}: \
                 make one with `openssl rand -hex 32`"
            ),
            Self::Randomness(_) => f.write_str("the system has no randomness to give"),
        }
    }
}

impl std::error::Error for SealError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Randomness(cause) => Some(cause),
            Self::ShortSecret { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    fn keys(current: &str, old: &[&str]) -> SecretKeys {
        SecretKeys::new(Secret::new(current)).old(old.iter().copied().map(Secret::new).collect())
    }

    fn seal(current: &str, purpose: &str) -> Seal {
        Seal::new(&keys(current, &[]), purpose).unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let pairs = digits.chunks(2).map(|pair| str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn the_cipher_gives_the_drafts_answer() {
        // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
        let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
        let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + at as u8);
        let context = hex("50515253c0c1c2c3c4c5c6c7");
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                     sunscreen would be it.";
        let expected = hex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb
             731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452
             2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9
             21f9664c97637da9768812f615c68b13b52e
             c0875924c1c7987947deafd8780acf49");
        let key = Key(SecretKey::from(key));
        let sealed = key.seal(nonce, text, &context);
        assert_eq!(sealed[..NONCE], nonce);
        assert_eq!(sealed[NONCE..], expected);
        assert_eq!(key.open(&sealed, &context).as_deref(), Some(&text[..]));
    }

    #[test]
    fn the_key_and_the_text_stay_what_they_were() {
        // Computed by Python's hmac and by libsodium. Another answer would sign out every visitor of every site.
        let seal = seal(SECRET, "test");
        assert_eq!(
            seal.key.0.unprotected_as_ref(),
            hex("76efa54a7a1ad5b650eec485b319b07d54faf490f2945091d922a183f9ed5fff")
        );
        let sealed = base64url::encode(&seal.key.seal([7; NONCE], b"hello", b"context"));
        assert_eq!(sealed, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH3ILcresf-PCtnWkD0ro-PP2m3Kw4");
        assert_eq!(seal.open(&sealed, b"context").unwrap().bytes, b"hello");
    }

    #[test]
    fn what_is_sealed_can_be_opened() {
        let seal = seal(SECRET, "test");
        for length in [0usize, 1, 2, 3, 15, 16, 17, 63, 64, 65, 3000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let text = seal.seal(&bytes, b"context").unwrap();
            assert_eq!(text.len(), ((length + 40) * 4).div_ceil(3), "{length} bytes");
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            assert_eq!(seal.open(&text, b"context"), Some(Opened { bytes, old: false }));
        }
        assert_ne!(seal.seal(b"same", b"").unwrap(), seal.seal(b"same", b"").unwrap(), "no nonce is used twice");
    }

    #[test]
    fn what_was_not_sealed_here_cannot_be_opened() {
        let seal = seal(SECRET, "test");
        let text = seal.seal(b"some bytes", b"context").unwrap();
        // Every bit of every character that carries one, every shorter text, every longer one by a character.
        for at in 0..text.len() {
            for digit in [b'A', b'B', b'-', b'_', b'=', b' ', b'%'] {
                let mut changed = text.clone().into_bytes();
                if changed[at] != digit {
                    changed[at] = digit;
                    let changed = String::from_utf8(changed).unwrap();
                    assert_eq!(seal.open(&changed, b"context"), None, "{changed}");
                }
            }
            assert_eq!(seal.open(&text[..at], b"context"), None, "the first {at} characters");
            assert_eq!(seal.open(&text[at + 1..], b"context"), None, "all but the first {}", at + 1);
        }
        let table: &[(&str, Seal, &[u8])] = &[
            ("another secret", self::seal(OTHER, "test"), b"context"),
            ("another purpose", self::seal(SECRET, "test2"), b"context"),
            ("another context", self::seal(SECRET, "test"), b"contexT"),
            ("no context", self::seal(SECRET, "test"), b""),
        ];
        for (what, other, context) in table {
            assert_eq!(other.open(&text, context), None, "{what}");
        }
        for junk in ["", "=", "\0", "ü", &"A".repeat(53), &"A".repeat(54), &"A".repeat(100_000), &format!("{text}=")] {
            assert_eq!(seal.open(junk, b"context"), None);
        }
    }

    #[test]
    fn old_secrets_open_and_never_seal() {
        let before = seal(OTHER, "test");
        let after = Seal::new(&keys(SECRET, &[OTHER]), "test").unwrap();
        let old = before.seal(b"x", b"").unwrap();
        assert_eq!(after.open(&old, b""), Some(Opened { bytes: b"x".into(), old: true }));
        let new = after.seal(b"x", b"").unwrap();
        assert_eq!(after.open(&new, b""), Some(Opened { bytes: b"x".into(), old: false }));
        assert_eq!(before.open(&new, b""), None);
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_printed() {
        for keys in [keys("short", &[]), keys(SECRET, &["short"])] {
            let error = Seal::new(&keys, "test").unwrap_err();
            assert_eq!(
                error.to_string(),
                "expected a secret of at least 32 bytes, found 5: make one with `openssl rand -hex 32`"
            );
        }
        assert_eq!(format!("{:?}", seal(SECRET, "test")), r#"Seal { purpose: "test", old: 0, .. }"#);
    }
}
