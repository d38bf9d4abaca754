//! `Status`: what was done with a request, for `Cache-Status` (RFC 9211).

use http::{HeaderValue, StatusCode};
use std::fmt::Write;

/// What was done with a request, as `Cache-Status` has it (RFC 9211 §2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// Why it went on; `None` for a hit.
    pub(crate) forwarded: Option<&'static str>,
    pub(crate) code: Option<StatusCode>,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
    pub(crate) ttl: Option<i64>,
}

impl Status {
    pub(crate) const HIT: Self = Self { forwarded: None, code: None, stored: false, collapsed: false, ttl: None };

    pub(crate) fn forwarded(reason: &'static str) -> Self {
        Self { forwarded: Some(reason), ..Self::HIT }
    }

    pub(crate) fn value(self) -> HeaderValue {
        if let (None, Some(ttl)) = (self.forwarded, self.ttl) {
            return Self::hit(ttl);
        }
        let mut text = String::with_capacity(64);
        text.push_str("Purlin");
        match self.forwarded {
            None => text.push_str("; hit"),
            Some(reason) => {
                text.push_str("; fwd=");
                text.push_str(reason);
            }
        }
        if let Some(code) = self.code {
            let _ = write!(text, "; fwd-status={}", code.as_u16());
        }
        if let Some(ttl) = self.ttl {
            text.push_str("; ttl=");
            text.push_str(itoa::Buffer::new().format(ttl));
        }
        for (is, name) in [(self.stored, "; stored"), (self.collapsed, "; collapsed")] {
            if is {
                text.push_str(name);
            }
        }
        HeaderValue::try_from(text).expect("made of letters, digits and signs")
    }

    /// What is said most: in one allocation.
    fn hit(ttl: i64) -> HeaderValue {
        const HIT: &[u8] = b"Purlin; hit; ttl=";
        let (mut text, mut digits) = ([0; 40], itoa::Buffer::new());
        let ttl = digits.format(ttl).as_bytes();
        let length = HIT.len() + ttl.len();
        text[..HIT.len()].copy_from_slice(HIT);
        text[HIT.len()..length].copy_from_slice(ttl);
        HeaderValue::from_bytes(&text[..length]).expect("made of letters, digits and signs")
    }
}
