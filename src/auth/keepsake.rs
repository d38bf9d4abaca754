//! What a browser keeps for longer than its session: who is remembered, and whom it has signed in before.

use super::token::{base64, random_text, sha256};
use crate::Result;
use crate::config::SecretKeys;
use crate::cookie::Cookie;
use crate::seal::{Seal, SealError};
use http::HeaderValue;
use std::time::{Duration, SystemTime};

/// The two cookies of the layer `SignIn`, sealed (see [`Seal`](crate::seal::Seal)), the name of the cookie their
/// context.
///
/// ```text
/// remember   purpose "remember me 1"   JSON [account id, stamp, seconds since 1970]
/// device     purpose "known device 1"  JSON [random text, [digest of a login name, …]]
/// ```
///
/// **Remember me is sealed, and not stored.** The two ways that the best go are this one (Devise, Spring Security's
/// token-based services) and a table of *selectors* and hashed *validators*, a new one with each use (Jaspan's scheme;
/// Spring Security's persistent services), which can end one browser alone, and notices when a copied token is used
/// second. It notices as well when two tabs are opened at once, or when an answer is lost on the way, and signs its
/// owner out; the window that must be left open against that lets a thief in too. It asks every site for a table more
/// and a write with each use. Sealed, it works with any session store; a new password ends all of them, by the
/// account's stamp; and what a thief of the browser's cookies gets is what he gets by the session's cookie anyway. Who
/// needs to end one browser alone gives sessions a store on the server and a long life
/// ([`Sessions::persistent`](crate::layers::Sessions::persistent)) instead.
///
/// **A known device** only has its own count of failures, see [`Throttle`](super::Throttle): nobody is signed in by it.
pub(crate) struct Keepsakes {
    remember: Seal,
    device: Seal,
}

pub(crate) const REMEMBER: [&str; 2] = ["remember", "__Host-remember"];
pub(crate) const DEVICE: [&str; 2] = ["device", "__Host-device"];

/// As long as browsers keep a cookie (RFC 6265bis §5.5).
const DEVICE_LASTS: Duration = Duration::from_secs(400 * 24 * 3600);

/// How many people a browser knows at the same time.
const MOST_LOGINS: usize = 4;

/// Whom a browser is to be signed in as.
#[derive(Debug, PartialEq)]
pub(crate) struct Remembered {
    pub(crate) id: String,
    pub(crate) stamp: String,
    /// In seconds since 1970.
    pub(crate) since: u64,
    /// Sealed with an old secret.
    pub(crate) old: bool,
}

/// A browser that somebody signed in by before.
#[derive(Default)]
pub(crate) struct Device {
    name: String,
    logins: Vec<String>,
}

impl Keepsakes {
    pub(crate) fn new(keys: &SecretKeys) -> Result<Self, SealError> {
        Ok(Self { remember: Seal::new(keys, "remember me 1")?, device: Seal::new(keys, "known device 1")? })
    }

    /// Who is remembered by this cookie; `None` if it is none of ours.
    pub(crate) fn remembered(&self, https: bool, text: &str) -> Option<Remembered> {
        let opened = self.remember.open(text, name(REMEMBER, https).as_bytes())?;
        let (id, stamp, since) = serde_json::from_slice(&opened.bytes).ok()?;
        Some(Remembered { id, stamp, since, old: opened.old })
    }

    /// The cookie that remembers somebody since a time, to be kept for so long.
    pub(crate) fn remember(
        &self,
        https: bool,
        id: &str,
        stamp: &str,
        since: u64,
        lasts: Duration,
    ) -> Result<HeaderValue> {
        let text = serde_json::to_vec(&(id, stamp, since))?;
        let name = name(REMEMBER, https);
        let sealed = self.remember.seal(&text, name.as_bytes())?;
        Ok(Cookie::new(name, sealed).secure(https).max_age(lasts).to_header_value()?)
    }

    pub(crate) fn device(&self, https: bool, text: &str) -> Option<Device> {
        let opened = self.device.open(text, name(DEVICE, https).as_bytes())?;
        let (name, logins) = serde_json::from_slice(&opened.bytes).ok()?;
        Some(Device { name, logins })
    }

    /// The cookie of a browser that has just signed in by this login name.
    pub(crate) fn know(&self, https: bool, device: Option<Device>, login: &str) -> Result<HeaderValue> {
        let mut device = device.unwrap_or_else(|| Device { name: random_text::<12>(), logins: Vec::new() });
        let login = digest(login);
        device.logins.retain(|other| *other != login);
        device.logins.insert(0, login);
        device.logins.truncate(MOST_LOGINS);
        let text = serde_json::to_vec(&(device.name, device.logins))?;
        let name = name(DEVICE, https);
        let sealed = self.device.seal(&text, name.as_bytes())?;
        Ok(Cookie::new(name, sealed).secure(https).max_age(DEVICE_LASTS).to_header_value()?)
    }
}

impl Device {
    /// What failures are counted by, if somebody signed in by this login name before.
    pub(crate) fn knows(&self, login: &str) -> Option<&[u8]> {
        self.logins.contains(&digest(login)).then_some(self.name.as_bytes())
    }
}

/// The removal of a cookie.
pub(crate) fn forget(names: [&'static str; 2], https: bool) -> Result<HeaderValue> {
    Ok(Cookie::removal(name(names, https)).secure(https).to_header_value()?)
}

/// By https the name is one that no other host and no plain http can set (RFC 6265bis §4.1.3.2).
pub(crate) fn name(names: [&'static str; 2], https: bool) -> &'static str {
    names[usize::from(https)]
}

/// Short: the cookie is sealed, so that nobody can look for a login name with the same one.
fn digest(login: &str) -> String {
    base64(&sha256(login.as_bytes())[..9])
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn keepsakes() -> Keepsakes {
        Keepsakes::new(&SecretKeys::new(Secret::new("0123456789abcdef0123456789abcdef"))).unwrap()
    }

    fn value(cookie: &HeaderValue) -> String {
        let text = cookie.to_str().unwrap();
        text.split(['=', ';']).nth(1).unwrap().to_owned()
    }

    #[test]
    fn the_cookies_are_read_by_the_name_they_were_set_with_and_by_their_own_seal() {
        let keepsakes = keepsakes();
        let cookie = keepsakes.remember(true, "7", "stamp", 1000, Duration::from_secs(60)).unwrap();
        let text = cookie.to_str().unwrap();
        assert!(
            text.starts_with("__Host-remember=")
                && text.ends_with("; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax")
        );
        let expected = Remembered { id: "7".into(), stamp: "stamp".into(), since: 1000, old: false };
        assert_eq!(keepsakes.remembered(true, &value(&cookie)), Some(expected));
        assert_eq!(keepsakes.remembered(false, &value(&cookie)), None);
        assert!(keepsakes.device(true, &value(&cookie)).is_none());
        assert_eq!(keepsakes.remembered(true, "x"), None);
        assert!(!text.contains("stamp"));
    }

    #[test]
    fn a_browser_knows_the_last_four_who_signed_in_by_it() {
        let keepsakes = keepsakes();
        let mut device = None;
        let mut names = Vec::new();
        for login in ["ada", "bob", "cid", "bob", "dan", "eve"] {
            let cookie = keepsakes.know(false, device.take(), login).unwrap();
            device = keepsakes.device(false, &value(&cookie));
            names.extend(device.as_ref().and_then(|device| device.knows(login)).map(<[u8]>::to_vec));
        }
        let device = device.unwrap();
        let known = |login: &str| device.knows(login).is_some();
        assert!(known("bob") && known("cid") && known("dan") && known("eve") && !known("ada"));
        assert!(names.len() == 6 && names.iter().all(|name| *name == names[0]), "it keeps its own name");
    }
}
