//! `Authorization` and `WWW-Authenticate` (RFC 9110 §11): what clients send for Basic and Bearer, and what asks for it.

use super::{Password, Token};
use ct_codecs::{Base64, Base64NoPadding, Decoder};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use std::fmt;
use zeroize::Zeroizing;

/// What a client sent to say who it is, by the scheme Basic (RFC 7617).
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// The user-id: whatever stands before the first colon.
    pub login: String,
    /// The password: whatever stands after it.
    pub password: Password,
}

impl Basic {
    /// Reads the `Authorization` of a request; `None` where there is none, or one of another scheme.
    ///
    /// The text is UTF-8, as the challenge asks for (§2.1).
    ///
    /// # Errors
    ///
    /// [`Malformed`]: two headers, no Base64 (with or without its padding), no UTF-8, no colon, a control character
    /// (§2), or a password that is too long.
    ///
    /// ```
    /// use purlin::HeaderMap;
    /// use purlin::auth::Basic;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".parse()?);
    /// let basic = Basic::read(&headers)?.expect("it is there");
    /// assert_eq!(basic.login, "Aladdin");
    /// assert_eq!(basic.password.expose(), "open sesame");
    /// # Ok::<(), purlin::Error>(())
    /// ```
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, Malformed> {
        let Some(sent) = credentials(headers, "basic")? else {
            return Ok(None);
        };
        if sent.len() > MAX_BASIC {
            return Err(Malformed("expected credentials of at most 2 KiB"));
        }
        let bytes = Base64::decode_to_vec(sent, None).or_else(|_| Base64NoPadding::decode_to_vec(sent, None));
        let bytes = Zeroizing::new(bytes.map_err(|_| Malformed("expected credentials in Base64"))?);
        let text = str::from_utf8(&bytes).map_err(|_| Malformed("expected credentials in UTF-8"))?;
        if text.chars().any(char::is_control) {
            return Err(Malformed("expected credentials without control characters"));
        }
        let (login, password) = text.split_once(':').ok_or(Malformed("expected a colon between name and password"))?;
        let password = Password::new(password).map_err(|_| Malformed("expected a shorter password"))?;
        Ok(Some(Self { login: login.to_owned(), password }))
    }
}

impl fmt::Debug for Basic {
    /// Without the name too: people type passwords there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Basic(•••)")
    }
}

/// Base64 makes 4 of 3.
const MAX_BASIC: usize = 2048;

impl Token {
    /// Reads the `Authorization` of a request, by the scheme Bearer (RFC 6750 §2.1); `None` where there is none, or one
    /// of another scheme.
    ///
    /// A token in the query or in a form (§2.2, §2.3) is not looked for: addresses are kept in logs and histories.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: two headers, no token, another character than a token has, or more than [`Token::MAX_BYTES`].
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, Malformed> {
        let Some(sent) = credentials(headers, "bearer")? else {
            return Ok(None);
        };
        Self::parse(sent).map(Some).ok_or(Malformed("expected a token of letters, digits and -._~+/ with = at its end"))
    }
}

/// Why an `Authorization` header cannot be read. What it held is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// What follows the name of the scheme; `None` for other schemes. Schemes know no case (RFC 9110 §11.1).
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Result<Option<&'a str>, Malformed> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    let bytes = line.as_bytes();
    let end = bytes.iter().position(|&byte| byte == b' ').unwrap_or(bytes.len());
    let (found, rest) = bytes.split_at(end);
    if !found.eq_ignore_ascii_case(scheme.as_bytes()) {
        // Of two headers one may be of this scheme: which one an application in front of this looked at is not known.
        let another = lines.any(|line| {
            line.as_bytes().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
        });
        return if another { Err(TWICE) } else { Ok(None) };
    }
    if lines.next().is_some() {
        return Err(TWICE);
    }
    let rest = rest.trim_ascii();
    if rest.is_empty() {
        return Err(Malformed("expected credentials after the name of the scheme"));
    }
    str::from_utf8(rest).map(Some).map_err(|_| Malformed("expected credentials in ASCII"))
}

const TWICE: Malformed = Malformed("expected one header `authorization`, found several");

/// A challenge: a scheme, and what it says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    scheme: &'static str,
    value: HeaderValue,
}

impl Challenge {
    /// # Errors
    ///
    /// A parameter holds what no header can.
    pub(crate) fn new(scheme: &'static str, params: &[(&str, &str)]) -> Result<Self, String> {
        let params: Vec<_> = params.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        let value = HeaderValue::try_from(format!("{scheme} {}", params.join(", ")));
        let value = value.map_err(|_| format!("no header can hold the challenge {scheme} {}", params.join(", ")))?;
        Ok(Self { scheme, value })
    }

    pub(crate) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// Adds it, unless one of its scheme is there.
    pub(crate) fn add(&self, headers: &mut HeaderMap) {
        if !headers.get_all(WWW_AUTHENTICATE).iter().any(|value| self.is_in(value.as_bytes())) {
            headers.append(WWW_AUTHENTICATE, self.value.clone());
        }
    }

    fn is_in(&self, value: &[u8]) -> bool {
        let start = value.get(..self.scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(self.scheme.as_bytes()))
            && value.get(self.scheme.len()).is_none_or(|&byte| byte == b' ')
    }
}

/// `quoted-string`, RFC 9110 §5.6.4.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_codecs::Encoder;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (AUTHORIZATION, HeaderValue::from_bytes(line).unwrap())).collect()
    }

    #[test]
    fn basic_credentials_are_read() {
        let long = Base64::encode_to_string(format!("ada:{}", "x".repeat(1025))).unwrap();
        let longer = "A".repeat(4096);
        type Row<'a> = (&'a [&'a [u8]], Result<Option<(&'a str, &'a str)>, ()>);
        let (long, longer) = (format!("Basic {long}"), format!("Basic {longer}"));
        let (long, longer) = ([long.as_bytes()], [longer.as_bytes()]);
        let table: &[Row<'_>] = &[
            (&[], Ok(None)),
            (&[b""], Ok(None)),
            (&[b"Bearer abc"], Ok(None)),
            (&[b"Basicx QTpi"], Ok(None)),
            // RFC 7617 §2 and §2.1.
            (&[b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="], Ok(Some(("Aladdin", "open sesame")))),
            (&[b"Basic dGVzdDoxMjPCow=="], Ok(Some(("test", "123\u{a3}")))),
            (&[b"bAsIc QWxhZGRpbjpvcGVuIHNlc2FtZQ=="], Ok(Some(("Aladdin", "open sesame")))),
            (&[b"Basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ== "], Ok(Some(("Aladdin", "open sesame")))),
            (&[b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"], Ok(Some(("Aladdin", "open sesame")))),
            // a:b:c, :b, a:, :
            (&[b"Basic YTpiOmM="], Ok(Some(("a", "b:c")))),
            (&[b"Basic OmI="], Ok(Some(("", "b")))),
            (&[b"Basic YTo="], Ok(Some(("a", "")))),
            (&[b"Basic Og=="], Ok(Some(("", "")))),
            (&[b"Basic"], Err(())),
            (&[b"Basic "], Err(())),
            (&[b"Basic !!!!"], Err(())),
            (&[b"Basic QWxhZGRpbg=="], Err(())),
            (&[b"Basic QTpi QTpi"], Err(())),
            (&[b"Basic QTpi=QTpi"], Err(())),
            // The bytes FF 3A FF, a line break, a NUL.
            (&[b"Basic /zr/"], Err(())),
            (&[b"Basic YQo6Yg=="], Err(())),
            (&[b"Basic YTpiAA=="], Err(())),
            (&[b"Basic \xff"], Err(())),
            (&long, Err(())),
            (&longer, Err(())),
            (&[b"Basic QTpi", b"Basic QTpi"], Err(())),
            (&[b"Basic QTpi", b"Bearer x"], Err(())),
            (&[b"Bearer x", b"Basic QTpi"], Err(())),
        ];
        for (lines, expected) in table {
            let found = Basic::read(&headers(lines)).map_err(|_| ());
            let found = found.as_ref().map(|found| found.as_ref().map(|it| (it.login.as_str(), it.password.expose())));
            assert_eq!(found, expected.as_ref().map(|found| *found), "{lines:?}");
        }
    }

    #[test]
    fn bearer_tokens_are_read() {
        let long = format!("Bearer {}", "x".repeat(Token::MAX_BYTES));
        let longer = format!("Bearer {}", "x".repeat(Token::MAX_BYTES + 1));
        type Row<'a> = (&'a [&'a [u8]], Result<Option<&'a str>, ()>);
        let table: &[Row<'_>] = &[
            (&[], Ok(None)),
            (&[b"Basic QTpi"], Ok(None)),
            (&[b"Bearer mF_9.B5f-4.1JqM"], Ok(Some("mF_9.B5f-4.1JqM"))),
            (&[b"bearer a+/~=="], Ok(Some("a+/~=="))),
            (&[b"Bearer   a "], Ok(Some("a"))),
            (&[long.as_bytes()], Ok(Some(&long[7..]))),
            (&[longer.as_bytes()], Err(())),
            (&[b"Bearer"], Err(())),
            (&[b"Bearer ="], Err(())),
            (&[b"Bearer a=b"], Err(())),
            (&[b"Bearer a b"], Err(())),
            (&[b"Bearer a,b"], Err(())),
            (&[b"Bearer \"a\""], Err(())),
            (&[b"Bearer \xc3\xbc"], Err(())),
            (&[b"Bearer a", b"Bearer b"], Err(())),
        ];
        for (lines, expected) in table {
            let found = Token::read(&headers(lines)).map_err(|_| ());
            let found = found.as_ref().map(|found| found.as_ref().map(Token::expose));
            assert_eq!(found, expected.as_ref().map(|found| *found), "{lines:?}");
        }
    }

    #[test]
    fn a_challenge_is_quoted_and_stands_once() {
        let basic = Challenge::new("Basic", &[("realm", "a \"b\" \\c"), ("charset", "UTF-8")]).unwrap();
        assert_eq!(basic.value(), r#"Basic realm="a \"b\" \\c", charset="UTF-8""#);
        assert!(Challenge::new("Basic", &[("realm", "a\nb")]).is_err());
        let bearer = Challenge::new("Bearer", &[("realm", "x")]).unwrap();
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            basic.add(&mut headers);
            bearer.add(&mut headers);
        }
        assert_eq!(headers.get_all(WWW_AUTHENTICATE).iter().count(), 2);
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("basicx realm=\"\""));
        basic.add(&mut headers);
        assert_eq!(headers.get_all(WWW_AUTHENTICATE).iter().count(), 2);
    }
}
