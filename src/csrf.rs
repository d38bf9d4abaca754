//! `CsrfToken`: what proves that a form came from a page of this site, and not from another's.

mod exempt;
mod source;

pub use exempt::Exempt;
pub(crate) use exempt::ExemptRoutes;
pub(crate) use source::{Source, TrustedOrigin};

use crate::session::{LazySession, Session};
use crate::site::Needs;
use crate::{FromRequest, HeaderName, Request, Result};
use ct_codecs::{Base64UrlSafeNoPadding, Decoder, Encoder};
use std::fmt;

/// The field of a form that holds the token, and its name in templates.
pub const FIELD: &str = "csrf_token";

/// The header that may hold the token instead.
pub const HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// What proves that a form came from a page of this site: a secret of the session, hidden anew on each page.
///
/// In templates `{{ csrf_field() }}` writes it into a form; a handler takes it as an argument where a page is made in
/// another way, or a script needs it. It is made, and a session with it, when it is asked for, and not before.
///
/// The secret is 256 random bits, kept in the session under `_csrf` until that ends or [is rotated](Session::rotate), which
/// it is when somebody signs in. The token is a random mask and the secret under it (`mask ‖ mask ⊕ secret`, in base64url):
/// on each page another, so that the length of compressed pages tells nothing of the secret (BREACH). It is compared in
/// constant time.
///
/// ```
/// use purlin::{CsrfToken, Json, Result};
///
/// async fn for_scripts(token: CsrfToken) -> Result<Json<String>> {
///     Ok(Json(token.masked()?))
/// }
/// # purlin::get(for_scripts);
/// ```
#[derive(Clone)]
pub struct CsrfToken(Session);

const BYTES: usize = 32;

/// Where the session has the secret.
pub(crate) const KEY: &str = "_csrf";

impl CsrfToken {
    pub(crate) fn of(session: Session) -> Self {
        Self(session)
    }

    /// The token, in 86 letters, digits, `-` and `_`.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give, or the session was written already and cannot keep a new secret.
    pub fn masked(&self) -> Result<String> {
        let secret = match self.secret() {
            Some(secret) => secret,
            None => {
                let mut secret = [0; BYTES];
                getrandom::fill(&mut secret)?;
                self.0.insert_own(KEY, &encoded(&secret)?)?;
                secret
            }
        };
        let mut token = [0; 2 * BYTES];
        let (mask, hidden) = token.split_at_mut(BYTES);
        getrandom::fill(mask)?;
        hidden.iter_mut().zip(secret).zip(mask).for_each(|((hidden, secret), mask)| *hidden = secret ^ *mask);
        encoded(&token)
    }

    /// The field for a form: `<input type="hidden" …>`.
    ///
    /// # Errors
    ///
    /// As [`masked`](Self::masked).
    pub fn field(&self) -> Result<String> {
        // Nothing in base64url has to be escaped.
        Ok(format!("<input type=\"hidden\" name=\"{FIELD}\" value=\"{}\">", self.masked()?))
    }

    /// Whether this is the session's token, under whichever mask.
    pub fn matches(&self, token: &str) -> bool {
        let mut sent = [0; 2 * BYTES];
        let whole = Base64UrlSafeNoPadding::decode(&mut sent, token, None).is_ok_and(|sent| sent.len() == 2 * BYTES);
        let (mask, hidden) = sent.split_at_mut(BYTES);
        hidden.iter_mut().zip(mask).for_each(|(hidden, mask)| *hidden ^= *mask);
        whole && self.secret().is_some_and(|secret| ct_codecs::verify(hidden, &secret))
    }

    /// Whether the session has had a token yet.
    pub(crate) fn is_made(&self) -> bool {
        self.secret().is_some()
    }

    fn secret(&self) -> Option<[u8; BYTES]> {
        let text = self.0.get::<String>(KEY).ok()??;
        let mut secret = [0; BYTES];
        let whole = Base64UrlSafeNoPadding::decode(&mut secret, text, None).is_ok_and(|secret| secret.len() == BYTES);
        whole.then_some(secret)
    }
}

fn encoded(bytes: &[u8]) -> Result<String> {
    Ok(Base64UrlSafeNoPadding::encode_to_string(bytes)?)
}

impl FromRequest for CsrfToken {
    async fn from_request(req: &mut Request) -> Result<Self> {
        LazySession::of(req)?.load().await.map(Self)
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<Self>("add `.layer(Csrf::new())`");
    }
}

impl fmt::Debug for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfToken(…)")
    }
}
