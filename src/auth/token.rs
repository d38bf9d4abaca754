//! `Token`: a long random text that stands for an account, such as an API key.

use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use orion::hazardous::hash::sha2::sha256::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// What a client holds to prove something, and the site knows by its [`digest`](Token::digest) only: an API key, the
/// secret in a link that sets a new password. It does not print.
///
/// The digest is what the site's database keeps: whoever reads the table has no token. It is SHA-256 and no dear hash,
/// since a token, other than a password, cannot be guessed; and looking a digest up tells by its time nothing about a
/// token.
///
/// ```
/// use purlin::auth::Token;
///
/// let token = Token::random();
/// println!("Keep this, it is shown once: {}", token.expose());
/// let kept = token.digest();
///
/// let sent = Token::parse(token.expose()).expect("that is how tokens look");
/// assert_eq!(sent.digest(), kept);
/// assert_eq!(format!("{sent:?}"), "Token(•••)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// How long a token may be: 4096 bytes, room for one that carries claims.
    pub const MAX_BYTES: usize = 4096;

    /// A new one of 256 random bits, as 43 characters of base64url.
    ///
    /// # Panics
    ///
    /// When the operating system has no random bytes to give.
    pub fn random() -> Self {
        Self(Zeroizing::new(random_text::<32>()))
    }

    /// A token as a client sent it: letters, digits, `-`, `.`, `_`, `~`, `+` and `/`, then perhaps `=` (RFC 6750 §2.1).
    /// `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.trim_end_matches('=');
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let good = !inner.is_empty() && text.len() <= Self::MAX_BYTES && inner.bytes().all(known);
        good.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The token as the client sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the database keeps: its SHA-256 as 43 characters of base64url.
    pub fn digest(&self) -> String {
        base64(sha256(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(•••)")
    }
}

/// A new [stamp](super::Account::stamp) for an account: 128 random bits, as 22 characters of base64url.
///
/// # Panics
///
/// When the operating system has no random bytes to give.
pub fn new_stamp() -> String {
    random_text::<16>()
}

pub(super) fn random_text<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    // Without random bytes nothing can be kept secret; std's own `HashMap` gives up in the same way.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    base64(bytes)
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlSafeNoPadding::encode_to_string(bytes).expect("4/3 of some bytes fit into memory")
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = Sha256::digest(bytes).expect("nothing in memory reaches 2⁶¹ bytes (FIPS 180-4 §1)");
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_all_different() {
        let (one, other) = (Token::random(), Token::random());
        assert_eq!(one.expose().len(), 43);
        assert!(one != other && one.digest() != other.digest());
        assert_eq!(new_stamp().len(), 22);
        assert_ne!(new_stamp(), new_stamp());
    }

    #[test]
    fn the_digest_is_sha_256() {
        // FIPS 180-2, appendix B.1: "abc".
        assert_eq!(Token::parse("abc").unwrap().digest(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    }
}
