//! Content negotiation: what `Accept` and `Accept-Encoding` prefer among what is offered (RFC 9110 §12.5).

use http::header::{ACCEPT, ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// A content coding (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// The bytes as they are.
    Identity,
    /// `gzip` (RFC 1952).
    Gzip,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `deflate`: the zlib format (RFC 1950), in spite of the name.
    Deflate,
}

impl Coding {
    /// The name in `Accept-Encoding` and `Content-Encoding`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }

    /// The coding of that name, in any case; `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    pub fn from_token(token: &str) -> Option<Self> {
        Self::from_bytes(token.as_bytes())
    }

    fn from_bytes(token: &[u8]) -> Option<Self> {
        if token.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        let all = [Self::Identity, Self::Gzip, Self::Brotli, Self::Zstd, Self::Deflate];
        all.into_iter().find(|coding| token.eq_ignore_ascii_case(coding.token().as_bytes()))
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// The coding for an answer, by the request's `Accept-Encoding` (RFC 9110 §12.5.3).
///
/// The highest weight wins, then the earlier of `offers`: put what the server likes best first. `Identity` is
/// offered like the others; where the client does not name it, it is acceptable but comes last. `None`: the client
/// refuses all offers.
///
/// Without the header anything would be allowed, but clients which send none are the ones that cannot
/// decode: they get `Identity` if it is offered. An empty header asks for `Identity`. An element that cannot be
/// read is ignored; of a coding named twice the higher weight counts.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};
/// use purlin::negotiate::{Coding, best_coding};
///
/// let offers = [Coding::Brotli, Coding::Gzip, Coding::Identity];
/// let mut headers = HeaderMap::new();
/// assert_eq!(best_coding(&headers, &offers), Some(Coding::Identity));
/// headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br"));
/// assert_eq!(best_coding(&headers, &offers), Some(Coding::Brotli));
/// headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity;q=0, *;q=0"));
/// assert_eq!(best_coding(&headers, &offers), None);
/// ```
pub fn best_coding(headers: &HeaderMap, offers: &[Coding]) -> Option<Coding> {
    if !headers.contains_key(ACCEPT_ENCODING) {
        let identity = offers.contains(&Coding::Identity).then_some(Coding::Identity);
        return identity.or(offers.first().copied());
    }
    let mut named = [None; 5];
    let mut others = None;
    for Element { value, weight, .. } in elements(headers, ACCEPT_ENCODING).filter_map(Element::read) {
        let place = match Coding::from_bytes(value) {
            Some(coding) => &mut named[coding as usize],
            None if value == b"*" => &mut others,
            None => continue,
        };
        *place = (*place).max(Some(weight));
    }
    first_best(offers, |&coding| match (named[coding as usize].or(others), coding) {
        (Some(weight), _) => weight,
        (None, Coding::Identity) => Weight::LEAST,
        (None, _) => Weight::REFUSED,
    })
}

/// The media type for an answer, by the request's `Accept` (RFC 9110 §12.5.1).
///
/// Each offer has the weight of the most specific range that it matches: `text/html;level=1`, then `text/html`, then
/// `text/*`, then `*/*`. The highest weight wins; of equals the one that a more specific range names, so that
/// `application/json, */*` means JSON; then the earlier of `offers`. `None`: the client accepts no offer (406).
///
/// A range with parameters matches only offers which have them; but a `charset` is ignored where the offer has
/// none, since clients name it out of habit. Without the header, or with nothing readable in it, the
/// first offer is taken. An element that cannot be read is ignored.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ACCEPT};
/// use purlin::negotiate::best_media_type;
///
/// let offers = ["application/json", "text/html"];
/// let mut headers = HeaderMap::new();
/// assert_eq!(best_media_type(&headers, &offers), Some("application/json"));
/// headers.insert(ACCEPT, HeaderValue::from_static("text/html,application/xml;q=0.9,*/*;q=0.8"));
/// assert_eq!(best_media_type(&headers, &offers), Some("text/html"));
/// headers.insert(ACCEPT, HeaderValue::from_static("image/*"));
/// assert_eq!(best_media_type(&headers, &offers), None);
/// ```
pub fn best_media_type<'a>(headers: &HeaderMap, offers: &[&'a str]) -> Option<&'a str> {
    let ranges = || elements(headers, ACCEPT).filter_map(MediaRange::read);
    if ranges().next().is_none() {
        return offers.first().copied();
    }
    first_best(offers, |offer| {
        let Some(offer) = MediaRange::read(offer.as_bytes()) else { return (Weight::REFUSED, 0) };
        let best = ranges().filter_map(|range| Some((range.matches(&offer)?, range.weight))).max();
        let (specificity, weight) = best.unwrap_or_default();
        // A refusal is a refusal, however specific.
        if weight == Weight::REFUSED { (weight, 0) } else { (weight, specificity) }
    })
}

/// Says in `Vary` that the answer depends on this header of the request (RFC 9110 §12.5.5), unless it does already.
pub(crate) fn vary(headers: &mut HeaderMap, name: &HeaderName) {
    let mut names = headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let there = |said: &[u8]| said == b"*" || said.eq_ignore_ascii_case(name.as_str().as_bytes());
    if !names.any(|said| there(said.trim_ascii())) {
        headers.append(VARY, HeaderValue::from(name.clone()));
    }
}

/// What the layer that compresses offers, told to the whole site: whoever keys by `Accept-Encoding` then knows what comes of one.
#[derive(Clone, Debug)]
#[cfg_attr(not(all(feature = "cache", feature = "compression")), allow(dead_code))]
pub(crate) struct Offered(pub(crate) std::sync::Arc<[Coding]>);

/// The header with what means the same written the same: names in lower case, their weights in thousandths, in an order.
///
/// Of `Accept-Encoding`, whose order says nothing (RFC 9110 §12.5.3).
#[cfg_attr(not(feature = "cache"), allow(dead_code))]
pub(crate) fn normal_weights(headers: &HeaderMap, name: HeaderName) -> String {
    let read = elements(headers, name).filter_map(Element::read);
    let mut all: Vec<String> = read
        .map(|Element { value, weight, .. }| {
            format!("{};{}", String::from_utf8_lossy(value).to_ascii_lowercase(), weight.0 / 2)
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

/// The first of those offers that rank highest, if that is more than the default, which stands for refused.
fn first_best<T: Copy, R: Ord + Default>(offers: &[T], rank: impl Fn(&T) -> R) -> Option<T> {
    let mut best = None;
    let mut highest = R::default();
    for offer in offers {
        let rank = rank(offer);
        if rank > highest {
            (best, highest) = (Some(*offer), rank);
        }
    }
    best
}

/// A `qvalue` (RFC 9110 §12.4.2) in half thousandths: room for one step between 0.001 and nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Weight(u16);

impl Weight {
    const REFUSED: Self = Self(0);
    /// What is acceptable without having been named.
    const LEAST: Self = Self(1);
    const FULL: Self = Self(2000);

    /// Stretches the grammar by what is seen in the wild: `.2` (Java's `HttpURLConnection`), and
    /// more than three decimals, which are cut off.
    fn read(text: &[u8]) -> Option<Self> {
        let (whole, decimals) = match text.iter().position(|&b| b == b'.') {
            Some(dot) => (&text[..dot], &text[dot + 1..]),
            None => (text, &b""[..]),
        };
        let whole = match whole {
            b"0" => 0,
            b"1" => 1000,
            b"" if !decimals.is_empty() => 0,
            _ => return None,
        };
        if !decimals.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = decimals.iter().chain(b"000").take(3);
        let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')) + whole;
        (thousandths <= 1000).then_some(Self(thousandths * 2))
    }
}

/// One element of a list: `gzip;q=0.5`, `text/html;level=1`.
struct Element<'a> {
    value: &'a [u8],
    /// What follows the first semicolon, the weight included; all of it can be read.
    parameters: &'a [u8],
    weight: Weight,
}

impl<'a> Element<'a> {
    /// `q` may stand anywhere among the parameters (§12.5.1); of two the first counts.
    fn read(text: &'a [u8]) -> Option<Self> {
        let (value, rest) = cut(text, b';').unwrap_or((text, b""));
        let mut weight = None;
        for parameter in parameters(rest) {
            let (name, value) = parameter?;
            if name.eq_ignore_ascii_case(b"q") && weight.is_none() {
                weight = Some(Weight::read(value)?);
            }
        }
        let weight = weight.unwrap_or(Weight::FULL);
        Some(Self { value: value.trim_ascii(), parameters: rest, weight })
    }
}

/// A media type, or a range of them.
struct MediaRange<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    parameters: &'a [u8],
    weight: Weight,
}

impl<'a> MediaRange<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let Element { value, parameters, weight } = Element::read(text)?;
        // A lone `*` comes from Java's `HttpURLConnection`, too.
        let (kind, subtype) = if value == b"*" { (value, value) } else { cut(value, b'/')? };
        let well_formed = is_token(kind) && is_token(subtype) && (kind != b"*" || subtype == b"*");
        well_formed.then_some(Self { kind, subtype, parameters, weight })
    }

    /// How specifically the range names the offer, if it does.
    fn matches(&self, offer: &MediaRange<'_>) -> Option<usize> {
        let mut specificity = match (self.kind, self.subtype) {
            (b"*", _) => 0,
            (kind, _) if !kind.eq_ignore_ascii_case(offer.kind) => return None,
            (_, b"*") => 1,
            (_, subtype) if !subtype.eq_ignore_ascii_case(offer.subtype) => return None,
            _ => 2,
        };
        for (name, value) in parameters(self.parameters).flatten() {
            if name.eq_ignore_ascii_case(b"q") {
                continue;
            }
            let mut offered = parameters(offer.parameters).flatten();
            match offered.find(|(other, _)| other.eq_ignore_ascii_case(name)) {
                Some((_, other)) if same_value(value, other) => specificity += 1,
                None if name.eq_ignore_ascii_case(b"charset") => {}
                _ => return None,
            }
        }
        Some(specificity)
    }
}

/// The elements of all lines of a list header (RFC 9110 §5.6.1); empty ones are allowed and mean nothing.
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).iter();
    let elements = lines.flat_map(|line| split(line.as_bytes(), b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The `name=value` between semicolons (RFC 9110 §5.6.6), and `None` for what is something else.
fn parameters(text: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    let pieces = split(text, b';').map(<[u8]>::trim_ascii).filter(|piece| !piece.is_empty());
    pieces.map(|piece| {
        let (name, value) = cut(piece, b'=')?;
        let (name, value) = (name.trim_ascii_end(), value.trim_ascii_start());
        let readable = is_token(value) || matches!(value, [b'"', .., b'"']);
        (is_token(name) && readable).then_some((name, value))
    })
}

/// Splits where `at` stands outside of quotes (RFC 9110 §5.6.4).
pub(crate) fn split(text: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    // A quote that is never closed is no quote, lest it swallow the elements after it. None after it is closed
    // either: remembered, since looking for the end again and again is quadratic.
    let mut unclosed = false;
    std::iter::from_fn(move || {
        let text = rest?;
        let mut end = 0;
        while end < text.len() && text[end] != at {
            if text[end] == b'"' && !unclosed {
                match quoted_length(&text[end..]) {
                    Some(length) => end += length,
                    None => unclosed = true,
                }
            } else {
                end += 1;
            }
        }
        rest = text.get(end + 1..);
        Some(&text[..end])
    })
}

/// The length of the quoted string with which `text` begins; `None` if it does not end.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Whether two parameter values mean the same: quoted or not, in any case.
fn same_value(a: &[u8], b: &[u8]) -> bool {
    unquoted(a).eq(unquoted(b))
}

fn unquoted(value: &[u8]) -> impl Iterator<Item = u8> {
    let (mut inside, quoted) = match value {
        [b'"', inside @ .., b'"'] => (inside.iter(), true),
        value => (value.iter(), false),
    };
    std::iter::from_fn(move || match inside.next()? {
        b'\\' if quoted => inside.next(),
        byte => Some(byte),
    })
    .map(u8::to_ascii_lowercase)
}

/// What stands before and after the first `at`.
fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&b| b == at)?;
    Some((&text[..place], &text[place + 1..]))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    // In ASCII #$%&' stand in a row, and so do ^ _ and the backtick before the small letters.
    let is_tchar = |b: &u8| {
        matches!(b, b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z')
            || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'|' | b'~')
    };
    !text.is_empty() && text.iter().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::Coding::{Brotli, Deflate, Gzip, Identity, Zstd};
    use super::*;
    use http::HeaderValue;

    fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn codings_have_names() {
        for coding in [Identity, Gzip, Brotli, Zstd, Deflate] {
            assert_eq!(Coding::from_token(coding.token()), Some(coding));
            assert_eq!(Coding::from_token(&coding.to_string().to_uppercase()), Some(coding));
        }
        assert_eq!(Coding::from_token("x-gzip"), Some(Gzip));
        for unknown in ["", "*", "compress", "gzip ", "gzipp", "brotli"] {
            assert_eq!(Coding::from_token(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn weights_have_up_to_three_decimals() {
        let table = [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.", Some(0)),
            ("1.", Some(1000)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.001", Some(1)),
            ("0.999", Some(999)),
            ("1.000", Some(1000)),
            // Beyond the grammar, and seen.
            (".2", Some(200)),
            ("0.3333333", Some(333)),
            // Beyond reason.
            ("", None),
            (".", None),
            ("1.001", None),
            ("2", None),
            ("00.5", None),
            ("-0.5", None),
            ("+1", None),
            ("0.5.5", None),
            ("0,5", None),
            ("0.a", None),
            ("1e0", None),
            ("NaN", None),
        ];
        for (text, thousandths) in table {
            assert_eq!(Weight::read(text.as_bytes()), thousandths.map(|q: u16| Weight(q * 2)), "{text:?}");
        }
    }

    /// RFC 9110 §12.5.3.
    #[test]
    fn the_coding_is_what_the_client_likes_best_and_then_the_server() {
        let all: &[Coding] = &[Zstd, Brotli, Gzip, Deflate, Identity];
        let table: &[(&[&str], &[Coding], Option<Coding>)] = &[
            // Absent: anything is allowed, and those that cannot decode are meant.
            (&[], all, Some(Identity)),
            (&[], &[Gzip, Brotli], Some(Gzip)),
            (&[], &[], None),
            // Empty: no coding at all.
            (&[""], all, Some(Identity)),
            (&[" , ,"], all, Some(Identity)),
            (&[""], &[Gzip], None),
            // The section's own examples.
            (&["compress, gzip"], all, Some(Gzip)),
            (&["*"], all, Some(Zstd)),
            (&["compress;q=0.5, gzip;q=1.0"], all, Some(Gzip)),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], all, Some(Gzip)),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], &[Brotli, Identity], Some(Identity)),
            // Browsers.
            (&["gzip, deflate, br, zstd"], all, Some(Zstd)),
            (&["gzip, deflate, br, zstd"], &[Identity, Gzip], Some(Gzip)),
            (&["gzip, deflate, br"], &[Gzip, Brotli], Some(Gzip)),
            (&["br;q=0.9, gzip"], all, Some(Gzip)),
            (&["br;q=0.001, gzip;q=0.002"], all, Some(Gzip)),
            // Several lines are one list (§5.3).
            (&["gzip;q=0.5", "br"], all, Some(Brotli)),
            // Identity, named and not.
            (&["identity"], all, Some(Identity)),
            (&["identity, gzip"], all, Some(Gzip)),
            (&["identity, gzip"], &[Identity, Gzip], Some(Identity)),
            (&["identity, gzip;q=0.5"], all, Some(Identity)),
            (&["gzip;q=0.001"], all, Some(Gzip)),
            (&["gzip;q=0"], &[Gzip, Identity], Some(Identity)),
            (&["compress"], all, Some(Identity)),
            (&["identity;q=0"], &[Identity], None),
            (&["identity;q=0"], all, None),
            (&["identity;q=0, gzip"], all, Some(Gzip)),
            (&["identity;q=0.000, *"], all, Some(Zstd)),
            (&["*;q=0"], all, None),
            (&["*;q=0, identity;q=0.1"], all, Some(Identity)),
            (&["*;q=0, deflate"], all, Some(Deflate)),
            (&["*;q=0.5, gzip;q=0"], &[Gzip, Identity], Some(Identity)),
            (&["*;q=0.5, br;q=0.1"], &[Brotli, Gzip], Some(Gzip)),
            // Case, spaces, aliases.
            (&["GZIP;Q=1"], all, Some(Gzip)),
            (&["x-gzip"], all, Some(Gzip)),
            (&["\tbr ;\tq=1 ,gzip; q=0.5"], all, Some(Brotli)),
            // Twice: the higher weight.
            (&["gzip;q=0, gzip;q=0.5"], all, Some(Gzip)),
            (&["gzip", "gzip;q=0"], all, Some(Gzip)),
            // Garbage costs its own element.
            (&["br;q=high, gzip"], all, Some(Gzip)),
            (&["br;q=2, gzip;q=0.1"], all, Some(Gzip)),
            (&["br;q, gzip;q=0.1"], all, Some(Gzip)),
            (&["b r, gzip;;, =, ;q=1, \""], all, Some(Gzip)),
            (&["é", "gzip"], all, Some(Gzip)),
            (&["\"br, gzip"], all, Some(Gzip)),
            (&["gzip;level=9;q=0.5, br;q=0.4"], all, Some(Gzip)),
        ];
        for (lines, offers, expected) in table {
            assert_eq!(best_coding(&headers(ACCEPT_ENCODING, lines), offers), *expected, "{lines:?} {offers:?}");
        }
    }

    /// RFC 9110 §12.5.1.
    #[test]
    fn the_media_type_is_what_the_client_likes_best_and_then_the_server() {
        const HTML: &str = "text/html; charset=utf-8";
        const JSON: &str = "application/json";
        const TEXT: &str = "text/plain";
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
        let java = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
        let table: &[(&[&str], &[&'static str], Option<&'static str>)] = &[
            (&[], &[JSON, HTML], Some(JSON)),
            (&[], &[], None),
            (&["*/*"], &[], None),
            (&["*/*"], &[JSON, HTML], Some(JSON)),
            // Nothing that can be read: as if absent.
            (&[""], &[JSON, HTML], Some(JSON)),
            (&["html, */json, text/, /x, text, a/b/c, t ext/html"], &[JSON, HTML], Some(JSON)),
            (&["text/html;q=high"], &[JSON, HTML], Some(JSON)),
            // Who asks.
            (&[firefox], &[JSON, HTML], Some(HTML)),
            (&[firefox], &[JSON, TEXT], Some(JSON)),
            (&[java], &[JSON, HTML], Some(HTML)),
            (&[java], &[JSON], Some(JSON)),
            (&["application/json, text/plain, */*"], &[HTML, JSON], Some(JSON)),
            (&["application/json, text/javascript, */*; q=0.01"], &[HTML, JSON], Some(JSON)),
            (&["application/json; charset=utf-8"], &[HTML, JSON], Some(JSON)),
            // The highest weight, then the more specific range, then the server's order.
            (&["text/html;q=0.5, application/json;q=0.6"], &[HTML, JSON], Some(JSON)),
            (&["text/html;q=0.5, */*"], &[HTML, JSON], Some(JSON)),
            (&["text/*, application/json"], &[HTML, JSON], Some(JSON)),
            (&["text/*, */*"], &[JSON, HTML], Some(HTML)),
            (&["application/json, text/html"], &[HTML, JSON], Some(HTML)),
            // A specific refusal goes before a general welcome.
            (&["*/*, text/html;q=0"], &[HTML, JSON], Some(JSON)),
            (&["*/*, text/*;q=0"], &[HTML, TEXT], None),
            (&["text/*;q=0, text/plain;q=0.1"], &[HTML, TEXT], Some(TEXT)),
            (&["image/*"], &[HTML, JSON], None),
            (&["*/*;q=0"], &[HTML], None),
            // Several lines are one list (§5.3).
            (&["text/html;q=0.5", "application/json"], &[HTML, JSON], Some(JSON)),
            // Case and spaces; q in any place.
            (&["TEXT/HTML ; Q=0.5, Application/*;q=0.1"], &[JSON, HTML], Some(HTML)),
            (&["text/html;q=0.1;level=1, application/json;q=0.5"], &["text/html;level=1", JSON], Some(JSON)),
            // Parameters: all of the range's have to be there.
            (&["text/html;level=1"], &["text/html"], None),
            (&["text/html;level=1"], &["text/html;level=2"], None),
            (&["text/html;level=1"], &["text/html;a=b; level=1"], Some("text/html;a=b; level=1")),
            (&["text/html;level=\"\\1\""], &["text/html;level=1"], Some("text/html;level=1")),
            (&["text/html;charset=UTF-8"], &[HTML], Some(HTML)),
            (&["text/html;charset=\"utf-8\""], &[HTML], Some(HTML)),
            (&["text/html;charset=latin1"], &[HTML], None),
            (&["text/html;level=1;q=0.3, text/html"], &["text/html;level=1", TEXT], Some("text/html;level=1")),
            (&["text/html;level=1;q=0, text/html"], &["text/html;level=1"], None),
            // Commas and semicolons within quotes part nothing (§5.6.4).
            (&["text/html;x=\"a,b;q=0\\\"\", application/json;q=0.1"], &[JSON, HTML], Some(JSON)),
            (&["text/html;x=\", text/plain"], &[HTML, TEXT], Some(TEXT)),
            // A suffix is part of the name.
            (&["application/json"], &["application/problem+json"], None),
            (&["é/é, text/plain"], &[HTML, TEXT], Some(TEXT)),
        ];
        for (lines, offers, expected) in table {
            assert_eq!(best_media_type(&headers(ACCEPT, lines), offers), *expected, "{lines:?} {offers:?}");
        }
    }

    /// The table of weights in RFC 9110 §12.5.1; its last row as corrected by erratum 7138.
    #[test]
    fn the_most_specific_range_gives_the_weight() {
        let accept = "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, \
                      text/plain;format=fixed;q=0.4, */*;q=0.5";
        let weight = |offer: &'static str| {
            let read = |text: &'static str| MediaRange::read(text.as_bytes()).unwrap();
            let offer = read(offer);
            accept
                .split(',')
                .map(read)
                .filter_map(|range| Some((range.matches(&offer)?, range.weight.0 / 2)))
                .max()
                .unwrap()
                .1
        };
        for (offer, thousandths) in [
            ("text/plain;format=flowed", 1000),
            ("text/plain", 700),
            ("text/html", 300),
            ("image/jpeg", 500),
            ("text/plain;format=fixed", 400),
            ("text/html;level=3", 300),
        ] {
            assert_eq!(weight(offer), thousandths, "{offer}");
        }
    }

    #[test]
    fn a_quote_without_end_costs_linear_time() {
        let line = "\\\"".repeat(100_000);
        assert_eq!(split(format!("\"{line}").as_bytes(), b',').count(), 1);
    }

    /// The fuzz target's invariants, over repeatable noise.
    #[test]
    fn noise_chooses_only_what_is_offered() {
        let mut seed = 0xD1B5_4A32_D192_ED03_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as usize
        };
        let words = [
            "gzip", "br", "*", "identity", "text", "/", "html", "json", ",", ";", "q=", "0", "1", ".5", "\"", "\\",
            " ", "é",
        ];
        let codings = [Brotli, Gzip, Identity];
        let types = ["text/html", "text/json;a=\"q\""];
        for _ in 0..20_000 {
            let mut line = || (0..random() % 10).map(|_| words[random() % words.len()]).collect::<String>();
            let (a, b) = (line(), line());
            let coding = |lines: &[&str]| best_coding(&headers(ACCEPT_ENCODING, lines), &codings);
            let media_type = |lines: &[&str]| best_media_type(&headers(ACCEPT, lines), &types);
            assert!(coding(&[&a]).is_none_or(|coding| codings.contains(&coding)));
            assert!(media_type(&[&a]).is_none_or(|media_type| types.contains(&media_type)));
            // The order of lines means nothing.
            assert_eq!(coding(&[&a, &b]), coding(&[&b, &a]), "{a:?} {b:?}");
            assert_eq!(media_type(&[&a, &b]), media_type(&[&b, &a]), "{a:?} {b:?}");
            // A welcome for all that was not named leaves nothing refused which was not refused by name.
            assert!(coding(&[&a, "br, *"]).is_some());
            assert!(media_type(&[&a, "text/html;q=1"]).is_some());
        }
    }
}
