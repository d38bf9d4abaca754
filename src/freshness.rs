//! Freshness: whether an answer may be stored and given to others, and for how long (RFC 9111).

use crate::negotiate::split;
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG,
    EXPIRES, LAST_MODIFIED, PRAGMA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// The most seconds that count: 68 years. Longer times, and those that no 64 bits hold, become this (RFC 9111 §1.2.2).
pub const FOREVER: u64 = 1 << 31;

/// What `Cache-Control` of an answer says (RFC 9111 §5.2.2, RFC 5861). Names have no case; what is not known is passed over.
///
/// It is read so that a mistake makes a cache ask once more, and never give what it should not (§4.2.1): a time that is no number
/// is 0, and so is one that is said twice and differently; a restriction counts however it is written.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use purlin::freshness::{ResponseDirectives, Scope};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60, private=\"set-cookie\""));
/// let said = ResponseDirectives::of(&headers);
/// assert_eq!(said.max_age, Some(60));
/// assert_eq!(said.private, Scope::Fields(vec![http::header::SET_COOKIE]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseDirectives {
    /// For how many seconds it is fresh.
    pub max_age: Option<u64>,
    /// The same for shared caches, before all else.
    pub s_maxage: Option<u64>,
    /// For how many seconds after that it may be given while it is fetched anew (RFC 5861 §3).
    pub stale_while_revalidate: Option<u64>,
    /// For how many seconds after that it may be given instead of an error (RFC 5861 §4).
    pub stale_if_error: Option<u64>,
    /// What is not given again without asking.
    pub no_cache: Scope,
    /// What no shared cache stores.
    pub private: Scope,
    /// Nothing of it is stored.
    pub no_store: bool,
    /// It may be stored even where it was asked for with `Authorization`.
    pub public: bool,
    /// Not given when stale, for no reason.
    pub must_revalidate: bool,
    /// The same for shared caches.
    pub proxy_revalidate: bool,
    /// Stored only by who knows the status, and by them in spite of `no_store`.
    pub must_understand: bool,
}

/// What of an answer a directive is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Nothing: it is not there.
    #[default]
    Nothing,
    /// These headers only.
    Fields(Vec<HeaderName>),
    /// All of it.
    Whole,
}

impl Scope {
    /// Whether it is all of the answer.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// The headers it is about.
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(fields) => fields,
            _ => &[],
        }
    }

    /// What is no list of names is about everything.
    fn add(&mut self, value: Option<Cow<'_, [u8]>>) {
        let names = value.map(|list| {
            let names = list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
            names.map(HeaderName::from_bytes).collect::<Result<Vec<_>, _>>()
        });
        match (names, std::mem::take(self)) {
            (Some(Ok(names)), Self::Nothing) if !names.is_empty() => *self = Self::Fields(names),
            (Some(Ok(names)), Self::Fields(mut fields)) if !names.is_empty() => {
                fields.extend(names);
                *self = Self::Fields(fields);
            }
            _ => *self = Self::Whole,
        }
    }
}

impl ResponseDirectives {
    /// Reads `Cache-Control`.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::read(headers, &CACHE_CONTROL)
    }

    /// Reads another header of the same form, one that is meant for certain caches (RFC 9213): `CDN-Cache-Control`. Parameters of
    /// its members are passed over.
    pub fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let any = directives(headers, name).next().is_some();
        any.then(|| Self::read(headers, name))
    }

    fn read(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut said = Self::default();
        for Directive { name, value } in directives(headers, name) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("max-age") {
                time(&mut said.max_age, value);
            } else if is("s-maxage") {
                time(&mut said.s_maxage, value);
            } else if is("stale-while-revalidate") {
                time(&mut said.stale_while_revalidate, value);
            } else if is("stale-if-error") {
                time(&mut said.stale_if_error, value);
            } else if is("no-cache") {
                said.no_cache.add(value);
            } else if is("private") {
                said.private.add(value);
            } else {
                said.no_store |= is("no-store");
                said.public |= is("public");
                said.must_revalidate |= is("must-revalidate");
                said.proxy_revalidate |= is("proxy-revalidate");
                said.must_understand |= is("must-understand");
            }
        }
        said
    }

    /// Whether it is never given without asking while it is stale, however long (§5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache.is_whole()
    }
}

/// What `Cache-Control` of a request asks for (RFC 9111 §5.2.1). What cannot be read is passed over.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use purlin::freshness::{FOREVER, RequestDirectives};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60, max-stale"));
/// let asked = RequestDirectives::of(&headers);
/// assert_eq!((asked.max_age, asked.max_stale), (Some(60), Some(FOREVER)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestDirectives {
    /// Nothing older than so many seconds.
    pub max_age: Option<u64>,
    /// Nothing that is stale in less than so many seconds.
    pub min_fresh: Option<u64>,
    /// What has been stale for no more than so many seconds will do, too.
    pub max_stale: Option<u64>,
    /// Nothing without asking.
    pub no_cache: bool,
    /// The answer is not to be stored.
    pub no_store: bool,
    /// Nothing but what is stored: else 504.
    pub only_if_cached: bool,
}

impl RequestDirectives {
    /// Reads `Cache-Control`, and where there is none, `Pragma` (§5.4).
    pub fn of(headers: &HeaderMap) -> Self {
        let mut asked = Self::default();
        let name = if headers.contains_key(CACHE_CONTROL) { CACHE_CONTROL } else { PRAGMA };
        let pragma = name == PRAGMA;
        for Directive { name, value } in directives(headers, &name) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let seconds = |value: Option<Cow<'_, [u8]>>| value.and_then(|value| seconds(&value));
            if is("no-cache") {
                asked.no_cache = true;
            } else if pragma {
                // Nothing else was ever said there.
            } else if is("max-age") {
                asked.max_age = seconds(value).or(asked.max_age);
            } else if is("min-fresh") {
                asked.min_fresh = seconds(value).or(asked.min_fresh);
            } else if is("max-stale") {
                asked.max_stale = if value.is_none() { Some(FOREVER) } else { seconds(value).or(asked.max_stale) };
            } else {
                asked.no_store |= is("no-store");
                asked.only_if_cached |= is("only-if-cached");
            }
        }
        asked
    }
}

/// For how many seconds from when it was made an answer is fresh in a shared cache (RFC 9111 §4.2.1): by `s-maxage`, else
/// `max-age`, else `Expires`. `None` where nothing is said of it.
///
/// An `Expires` that is no date, or comes twice, has passed (§5.3).
pub fn lifetime(headers: &HeaderMap, said: &ResponseDirectives, received: SystemTime) -> Option<u64> {
    said.s_maxage.or(said.max_age).or_else(|| {
        let mut lines = headers.get_all(EXPIRES).iter();
        let (line, second) = (lines.next()?, lines.next());
        let expires = date(line).filter(|_| second.is_none());
        let made = headers.get(DATE).and_then(date).unwrap_or(received);
        Some(
            expires.and_then(|expires| expires.duration_since(made).ok()).map_or(0, |left| left.as_secs().min(FOREVER)),
        )
    })
}

/// A guess at it where nothing is said (§4.2.2): a tenth of the time that it had not been changed, a day at most. For statuses
/// that may be guessed at (RFC 9110 §15.1), or any where the answer is `public`.
pub fn heuristic_lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    said: &ResponseDirectives,
    received: SystemTime,
) -> Option<u64> {
    if !(said.public || matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)) {
        return None;
    }
    let made = headers.get(DATE).and_then(date).unwrap_or(received);
    let changed = headers.get(LAST_MODIFIED).and_then(date)?;
    Some((made.duration_since(changed).ok()?.as_secs() / 10).min(24 * 3600))
}

/// How old an answer is when it arrives, in seconds (§4.2.3): by `Age`, with the time that it took on its way, or by `Date`.
///
/// `None` for an `Age` that is no number, or of which there are several: §5.1 would take the first, and others take another, so
/// nobody knows; to ask is safe.
pub fn age(headers: &HeaderMap, requested: SystemTime, received: SystemTime) -> Option<u64> {
    let mut lines = headers.get_all(AGE).iter();
    let said = match (lines.next(), lines.next()) {
        (None, _) => 0,
        (Some(line), None) => seconds(line.as_bytes().trim_ascii())?,
        _ => return None,
    };
    let since = |made: SystemTime| received.duration_since(made).unwrap_or_default();
    let apparent = headers.get(DATE).and_then(date).map_or(Duration::ZERO, since);
    Some(apparent.as_secs().max(said.saturating_add(since(requested).as_secs())).min(FOREVER))
}

/// Why an answer is not stored by a shared cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unstorable {
    /// `no-store`, of the answer.
    NoStore,
    /// `private`.
    Private,
    /// It was asked for with `Authorization`, and does not say that it is for all (§3.5).
    Authorization,
    /// It is a part, no answer of its own (206, 304, 1xx), or one whose status is not known and must be.
    Status,
    /// Nothing says how long it is good for.
    NoFreshness,
}

/// Whether an answer to `GET` may be stored and given to others (RFC 9111 §3).
///
/// With `Authorization` only what says `public` or `s-maxage` is: §3.5 would let `must-revalidate` do as well, which many
/// write who mean the contrary.
///
/// # Errors
///
/// Why not.
pub fn storable(
    status: StatusCode,
    request: &HeaderMap,
    said: &ResponseDirectives,
    lifetime: Option<u64>,
) -> Result<(), Unstorable> {
    let part = matches!(status.as_u16(), 100..=199 | 206 | 304);
    if part || (said.must_understand && !is_understood(status)) {
        return Err(Unstorable::Status);
    }
    if said.no_store && !said.must_understand {
        return Err(Unstorable::NoStore);
    }
    if said.private.is_whole() {
        return Err(Unstorable::Private);
    }
    if request.contains_key(AUTHORIZATION) && !said.public && said.s_maxage.is_none() {
        return Err(Unstorable::Authorization);
    }
    if lifetime.is_none() && !said.no_cache.is_whole() {
        return Err(Unstorable::NoFreshness);
    }
    Ok(())
}

/// Whether the status asks for nothing of a cache that is not done (§5.2.2.3): those that are registered.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 207 | 208 | 300..=303 | 305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511
    )
}

/// Takes off what a cache does not store (§3.1): what is of one connection or proxy, and what the answer itself excepts.
pub fn strip(headers: &mut HeaderMap, said: &ResponseDirectives) {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let listed = lines.flat_map(|line| line.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok());
    let named = said.private.fields().iter().chain(said.no_cache.fields()).cloned();
    let away: Vec<HeaderName> = listed.chain(named).collect();
    let hops = [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    for name in away.iter().chain(&hops) {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authentication-info"] {
        headers.remove(name);
    }
}

/// Puts the headers of a 304, or of an answer to `HEAD`, in place of those that are stored (§3.2, §4.3.4).
///
/// What describes the stored bytes stays: length, coding, range, digests; and the tag, by which the server was asked.
pub fn freshen(stored: &mut HeaderMap, with: &HeaderMap) {
    // Counted anew from the new answer.
    stored.remove(AGE);
    for name in with.keys() {
        let of_bytes = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG].contains(name)
            || ["content-md5", "digest", "content-digest", "repr-digest"].contains(&name.as_str());
        if of_bytes && (*name != ETAG || stored.contains_key(ETAG)) {
            continue;
        }
        stored.remove(name);
        for value in with.get_all(name) {
            stored.append(name.clone(), value.clone());
        }
    }
}

/// A date as HTTP writes them (RFC 9110 §5.6.7).
pub(crate) fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// One member of the list.
struct Directive<'a> {
    name: &'a [u8],
    value: Option<Cow<'a, [u8]>>,
}

/// The members of all lines. A comma in quotes parts nothing; quotes that are not closed are none.
fn directives<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Directive<'a>> {
    let lines = headers.get_all(name).into_iter();
    let members = lines.flat_map(|line| split(line.as_bytes(), b',')).map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty()).map(|member| {
        let member = split(member, b';').next().unwrap_or(member).trim_ascii();
        match member.iter().position(|&byte| byte == b'=') {
            // With a blank around the sign the value is none: a time is then 0, and a restriction holds for all.
            Some(at) => {
                Directive { name: member[..at].trim_ascii(), value: Some(value(&member[at + 1..], &member[..at])) }
            }
            None => Directive { name: member, value: None },
        }
    })
}

fn value<'a>(text: &'a [u8], name: &[u8]) -> Cow<'a, [u8]> {
    if name.ends_with(b" ") || name.ends_with(b"\t") {
        return Cow::Borrowed(b"");
    }
    let [b'"', inside @ .., b'"'] = text else { return Cow::Borrowed(text) };
    if !inside.contains(&b'\\') {
        return Cow::Borrowed(inside);
    }
    let mut bytes = inside.iter();
    let unescaped = std::iter::from_fn(|| match bytes.next() {
        Some(b'\\') => bytes.next(),
        byte => byte,
    });
    Cow::Owned(unescaped.copied().collect())
}

/// A time of an answer: what cannot be read, and what is said in two ways, is 0.
fn time(said: &mut Option<u64>, value: Option<Cow<'_, [u8]>>) {
    let new = value.and_then(|value| seconds(&value)).unwrap_or(0);
    *said = Some(if said.is_some_and(|before| before != new) { 0 } else { new });
}

/// Digits and nothing else.
fn seconds(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| {
        text.iter()
            .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
            .min(FOREVER)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn control(lines: &[&str]) -> HeaderMap {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        headers(&lines)
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn at(seconds: i64) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs((1_700_000_000 + seconds) as u64);
        httpdate::fmt_http_date(time)
    }

    #[test]
    fn times_are_read_so_that_a_mistake_is_no_time() {
        let table: &[(&[&str], Option<u64>)] = &[
            (&["max-age=60"], Some(60)),
            (&["MaX-aGe=60"], Some(60)),
            (&["foobar, max-age=60"], Some(60)),
            (&["public,max-age=60,immutable"], Some(60)),
            (&["max-age=\"60\""], Some(60)),
            (&["max-age=\"6\\0\""], Some(60)),
            (&["max-age=0060"], Some(60)),
            (&["max-age=2147483647"], Some(FOREVER - 1)),
            (&["max-age=2147483649"], Some(FOREVER)),
            (&["max-age=99999999999999999999999999"], Some(FOREVER)),
            (&["max-age=60;target"], Some(60)),
            // No number.
            (&["max-age"], Some(0)),
            (&["max-age="], Some(0)),
            (&["max-age=-60"], Some(0)),
            (&["max-age='60'"], Some(0)),
            (&["max-age=60.0"], Some(0)),
            (&["max-age=60a"], Some(0)),
            (&["max-age=a60"], Some(0)),
            (&["max-age= 60"], Some(0)),
            (&["max-age =60"], Some(0)),
            (&["max-age=\"60"], Some(0)),
            // Twice.
            (&["max-age=60, max-age=60"], Some(60)),
            (&["max-age=60, max-age=30"], Some(0)),
            (&["max-age=60", "max-age=30"], Some(0)),
            (&["max-age=1, max-age=60"], Some(0)),
            // In quotes, or of another name.
            (&["extension=\"max-age=60\""], None),
            (&["extension=\"a, max-age=60\""], None),
            (&["extension=\"max-age=60\", max-age=1"], Some(1)),
            (&["extension=\"\\\", max-age=60\""], None),
            (&["x-max-age=60"], None),
            (&[""], None),
            (&[",, ,"], None),
            // A quote that is never closed is none.
            (&["extension=\"a, max-age=60"], Some(60)),
        ];
        for (lines, expected) in table {
            assert_eq!(ResponseDirectives::of(&control(lines)).max_age, *expected, "{lines:?}");
        }
    }

    #[test]
    fn restrictions_count_however_they_are_written() {
        let set_cookie = || Scope::Fields(vec![http::header::SET_COOKIE]);
        let table: &[(&str, Scope)] = &[
            ("private", Scope::Whole),
            ("PRIVATE", Scope::Whole),
            ("private=", Scope::Whole),
            ("private =\"set-cookie\"", Scope::Whole),
            ("private=\"set-cookie\"", set_cookie()),
            ("private=Set-Cookie", set_cookie()),
            ("private=\"set-cookie, \"", set_cookie()),
            ("private=\"set-cookie\", private", Scope::Whole),
            ("private, private=\"set-cookie\"", Scope::Whole),
            ("private=\"no name\"", Scope::Whole),
            ("private=\"set-cookie, max-age=60", Scope::Whole),
            ("private=\"\"", Scope::Whole),
            ("x-private", Scope::Nothing),
            ("private=\"set-cookie\", private=\"etag\"", Scope::Fields(vec![http::header::SET_COOKIE, ETAG])),
        ];
        for (line, expected) in table {
            assert_eq!(ResponseDirectives::of(&control(&[line])).private, *expected, "{line}");
        }
        for line in ["no-store", "No-StOrE", "max-age=60, no-store", "no-store=1", "no-store =x"] {
            assert!(ResponseDirectives::of(&control(&[line])).no_store, "{line}");
        }
    }

    #[test]
    fn lifetimes_are_those_of_shared_caches() {
        type Lines<'a> = &'a [(&'static str, String)];
        let cc = |value: &str| ("cache-control", value.to_owned());
        let table: &[(Lines<'_>, Option<u64>)] = &[
            (&[], None),
            (&[cc("max-age=60")], Some(60)),
            (&[cc("max-age=60, s-maxage=1")], Some(1)),
            (&[cc("s-maxage=60"), cc("max-age=1")], Some(60)),
            (&[cc("max-age=0"), ("expires", at(60)), ("date", at(0))], Some(0)),
            (&[("expires", at(60)), ("date", at(0))], Some(60)),
            (&[("expires", at(60))], Some(60)),
            (&[("expires", at(60)), ("date", "foo".to_owned())], Some(60)),
            (&[("expires", at(10)), ("date", at(-10))], Some(20)),
            (&[("expires", at(0)), ("date", at(0))], Some(0)),
            (&[("expires", at(300)), ("date", at(400))], Some(0)),
            (&[("expires", "0".to_owned())], Some(0)),
            (&[("expires", "Thu, 18 Aug 2050 02:01:18 UTC".to_owned())], Some(0)),
            (&[("expires", at(60)), ("expires", at(60))], Some(0)),
            (&[("expires", "Thursday, 18-Aug-50 02:01:18 GMT".to_owned()), ("date", at(0))], Some(844_400_878)),
        ];
        for (lines, expected) in table {
            let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let headers = headers(&lines);
            let said = ResponseDirectives::of(&headers);
            assert_eq!(lifetime(&headers, &said, now()), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_guess_is_a_tenth_of_the_time_without_a_change() {
        let guess = |status: u16, control: &'static str, changed: i64| {
            let headers = headers(&[("cache-control", control), ("last-modified", &at(changed)), ("date", &at(0))]);
            let said = ResponseDirectives::of(&headers);
            heuristic_lifetime(StatusCode::from_u16(status).unwrap(), &headers, &said, now())
        };
        assert_eq!(guess(200, "", -1000), Some(100));
        assert_eq!(guess(200, "", -100_000_000), Some(24 * 3600));
        assert_eq!(guess(404, "", -1000), Some(100));
        assert_eq!(guess(200, "", 1000), None);
        for status in [201, 202, 403, 502, 503, 504, 599] {
            assert_eq!(guess(status, "", -1000), None, "{status}");
            assert_eq!(guess(status, "public", -1000), Some(100), "{status}");
        }
    }

    #[test]
    fn an_age_that_nobody_understands_is_none() {
        let table: &[(&[&str], i64, u64, Option<u64>)] = &[
            (&[], 0, 0, Some(0)),
            (&["30"], 0, 0, Some(30)),
            (&["30"], 0, 5, Some(35)),
            (&[], -20, 0, Some(20)),
            (&["30"], -20, 0, Some(30)),
            (&["10"], -20, 0, Some(20)),
            // The clock of the server is ahead.
            (&["15"], 10, 0, Some(15)),
            (&[" 30 "], 0, 0, Some(30)),
            (&["99999999999999999999"], 0, 9, Some(FOREVER)),
            (&["abc"], 0, 0, None),
            (&["-7200"], 0, 0, None),
            (&["7200.0"], 0, 0, None),
            (&["0, 0"], 0, 0, None),
            (&["0", "0"], 0, 0, None),
            (&["7200;foo=1"], 0, 0, None),
            (&[""], 0, 0, None),
        ];
        for (lines, made, took, expected) in table {
            let mut lines: Vec<_> = lines.iter().map(|line| ("age", *line)).collect();
            let made = at(*made);
            lines.push(("date", &made));
            let requested = now() - Duration::from_secs(*took);
            assert_eq!(age(&headers(&lines), requested, now()), *expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_stored_is_what_says_so() {
        use Unstorable::{Authorization, NoFreshness, NoStore, Private, Status};
        let table: &[(u16, &str, bool, Result<(), Unstorable>)] = &[
            (200, "max-age=60", false, Ok(())),
            (200, "", false, Err(NoFreshness)),
            (200, "public", false, Err(NoFreshness)),
            (200, "no-cache", false, Ok(())),
            (200, "max-age=60, no-store", false, Err(NoStore)),
            (200, "max-age=60, private", false, Err(Private)),
            (200, "s-maxage=60, private", false, Err(Private)),
            (200, "max-age=60, private=\"x\"", false, Ok(())),
            (200, "max-age=60", true, Err(Authorization)),
            (200, "max-age=60, must-revalidate", true, Err(Authorization)),
            (200, "max-age=60, public", true, Ok(())),
            (200, "s-maxage=60", true, Ok(())),
            (200, "public, private, max-age=60", true, Err(Private)),
            (206, "max-age=60", false, Err(Status)),
            (304, "max-age=60", false, Err(Status)),
            (101, "max-age=60", false, Err(Status)),
            (599, "max-age=60", false, Ok(())),
            (599, "max-age=60, must-understand", false, Err(Status)),
            (599, "max-age=60, must-understand, no-store", false, Err(Status)),
            (200, "max-age=60, must-understand, no-store", false, Ok(())),
            (500, "max-age=60", false, Ok(())),
        ];
        for (status, line, authorized, expected) in table {
            let answer = control(&[line]);
            let said = ResponseDirectives::of(&answer);
            let request = if *authorized { headers(&[("authorization", "Basic x")]) } else { HeaderMap::new() };
            let lifetime = lifetime(&answer, &said, now());
            let status = StatusCode::from_u16(*status).unwrap();
            assert_eq!(storable(status, &request, &said, lifetime), *expected, "{status} {line}");
        }
    }

    #[test]
    fn requests_say_what_will_do() {
        let read = |line: &str| RequestDirectives::of(&control(&[line]));
        let none = RequestDirectives::default();
        assert_eq!(read("max-age=0"), RequestDirectives { max_age: Some(0), ..none });
        assert_eq!(read("max-age=x"), none);
        assert_eq!(read("min-fresh=60, no-store"), RequestDirectives { min_fresh: Some(60), no_store: true, ..none });
        assert_eq!(read("max-stale"), RequestDirectives { max_stale: Some(FOREVER), ..none });
        assert_eq!(read("max-stale=60"), RequestDirectives { max_stale: Some(60), ..none });
        assert_eq!(read("max-stale=x"), none);
        assert_eq!(read("Only-If-Cached"), RequestDirectives { only_if_cached: true, ..none });
        let pragma = |lines: &[(&'static str, &str)]| RequestDirectives::of(&headers(lines)).no_cache;
        assert!(pragma(&[("pragma", "no-cache")]));
        assert!(!pragma(&[("pragma", "no-cache"), ("cache-control", "max-stale")]));
        assert!(!pragma(&[("pragma", "max-age=0")]));
    }

    #[test]
    fn what_is_of_one_connection_is_not_stored() {
        let mut stored = headers(&[
            ("connection", "a, B"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "x"),
            ("proxy-authenticate", "x"),
            ("proxy-authentication-info", "x"),
            ("te", "x"),
            ("transfer-encoding", "x"),
            ("upgrade", "x"),
            ("set-cookie", "a=b"),
            ("cache-control", "no-cache=\"set-cookie\", private=\"d\""),
            ("d", "4"),
        ]);
        let said = ResponseDirectives::of(&stored);
        strip(&mut stored, &said);
        let left: Vec<_> = stored.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(stored.contains_key("c") && stored.contains_key(CACHE_CONTROL));
    }

    #[test]
    fn a_304_changes_what_does_not_describe_the_bytes() {
        let mut stored = headers(&[
            ("age", "30"),
            ("etag", "\"a\""),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-md5", "x"),
            ("content-type", "text/plain"),
            ("x", "1"),
            ("x", "2"),
            ("kept", "yes"),
        ]);
        let with = headers(&[
            ("etag", "\"b\""),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-md5", "y"),
            ("content-type", "text/html"),
            ("x", "3"),
            ("new", "yes"),
        ]);
        freshen(&mut stored, &with);
        let expected = headers(&[
            ("etag", "\"a\""),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-md5", "x"),
            ("content-type", "text/html"),
            ("x", "3"),
            ("new", "yes"),
            ("kept", "yes"),
        ]);
        assert_eq!(stored, expected);
    }
}
