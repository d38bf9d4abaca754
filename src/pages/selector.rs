//! `Selector`: a header of the request that an answer depends on, as `Vary` says (RFC 9111 §4.1).

use super::page::hold_alone;
use crate::negotiate::{Coding, best_coding, normal_weights, split};
use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

/// One header that selects among the stored answers of a URL, with what it was in the request of this one.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(super) name: HeaderName,
    /// As it was sent, if in one line: most requests that match are written alike, and need no more than a look.
    pub(super) sent: Option<HeaderValue>,
    pub(super) normal: Option<Box<str>>,
}

/// The selectors of an answer; `None` for one that depends on what no header says (`*`).
pub(crate) fn selectors(
    request: &HeaderMap,
    answer: &HeaderMap,
    offered: Option<&[Coding]>,
) -> Option<Box<[Selector]>> {
    let mut selectors: Vec<Selector> = Vec::new();
    for name in named(answer) {
        let Ok(name) = HeaderName::from_bytes(name) else {
            // `*`, or what is no name.
            return None;
        };
        if name == "*" {
            return None;
        }
        if selectors.iter().all(|selector| selector.name != name) {
            // What was not coded as the offer says was coded by somebody else.
            let offered = offered.filter(|_| name == ACCEPT_ENCODING && is_as_offered(request, answer, offered));
            let mut sent = one(request, &name).cloned();
            sent.iter_mut().for_each(hold_alone);
            selectors.push(Selector { sent, normal: normal(request, &name, offered), name });
        }
    }
    selectors.sort_unstable_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    Some(selectors.into())
}

/// The names in `Vary`.
pub(crate) fn named(answer: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = answer.get_all(VARY).into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    lines.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
}

impl Selector {
    /// Whether a request says the same.
    pub(crate) fn matches(&self, request: &HeaderMap, offered: Option<&[Coding]>) -> bool {
        let mut lines = request.get_all(&self.name).iter();
        match (lines.next(), lines.next(), &self.sent) {
            (Some(line), None, Some(sent)) if line == sent => true,
            (None, _, _) if self.name != ACCEPT_ENCODING => self.normal.is_none(),
            _ => {
                let offered = offered.filter(|_| self.normal.as_deref().is_some_and(|normal| normal.starts_with('=')));
                self.normal == normal(request, &self.name, offered)
            }
        }
    }

    /// The header, and what a request says of it: what requests that want the same have in common.
    pub(crate) fn of_request(&self, request: &HeaderMap, offered: Option<&[Coding]>) -> String {
        let offered = offered.filter(|_| self.normal.as_deref().is_some_and(|normal| normal.starts_with('=')));
        format!("{}={:?}", self.name, normal(request, &self.name, offered))
    }
}

/// However it was spelled.
impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.normal == other.normal
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// Whether the coding of the answer is the one that comes of the offer, or none. Whoever has the same come of it can then read
/// it, and would have got the same.
fn is_as_offered(request: &HeaderMap, answer: &HeaderMap, offered: Option<&[Coding]>) -> bool {
    let Some(chosen) = offered.and_then(|offered| best_coding(request, offered)) else { return false };
    match answer.get(CONTENT_ENCODING) {
        None => true,
        Some(coding) => coding.to_str().ok().and_then(Coding::from_token) == Some(chosen),
    }
}

/// What the header says, so that what means the same is the same; `None` if it is not there. Of `Accept-Encoding` with an offer
/// it is what comes of that.
///
/// - Lists are lists in one line or in several, with blanks around their commas or without.
/// - Languages and media types have no case. Their order stays: many servers go by it.
fn normal(request: &HeaderMap, name: &HeaderName, offered: Option<&[Coding]>) -> Option<Box<str>> {
    if *name == ACCEPT_ENCODING {
        if let Some(offered) = offered {
            let chosen = best_coding(request, offered).map_or("none", Coding::token);
            // Who refuses what is not coded is no one to share that with.
            let plain = if best_coding(request, &[Coding::Identity]).is_some() { "" } else { "!" };
            return Some(format!("={chosen}{plain}").into());
        }
        return request.contains_key(name).then(|| normal_weights(request, name.clone()).into());
    }
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    let mut text = Vec::new();
    for element in lines.flat_map(|line| split(line.as_bytes(), b',')).map(<[u8]>::trim_ascii) {
        if !element.is_empty() {
            text.extend_from_slice(element);
            text.push(b',');
        }
    }
    if *name == ACCEPT_LANGUAGE || *name == ACCEPT {
        text.retain(|byte| !byte.is_ascii_whitespace());
        text.make_ascii_lowercase();
    }
    // Bytes beyond ASCII are compared, too: no two texts become one.
    Some(text.escape_ascii().to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Brotli, Gzip, Identity, Zstd};

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn is_same(
        vary: &'static str,
        first: &[(&'static str, &'static str)],
        second: &[(&'static str, &'static str)],
    ) -> bool {
        let selectors = selectors(&headers(first), &headers(&[("vary", vary)]), None).unwrap();
        selectors.iter().all(|selector| selector.matches(&headers(second), None))
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        type Lines = &'static [(&'static str, &'static str)];
        let table: &[(&str, Lines, Lines, bool)] = &[
            ("foo", &[("foo", "1")], &[("foo", "1")], true),
            ("foo", &[("foo", "1")], &[("foo", "2")], false),
            ("foo", &[("foo", "1")], &[], false),
            ("foo", &[], &[("foo", "1")], false),
            ("foo", &[], &[], true),
            ("foo", &[], &[("foo", "")], false),
            ("FOO, bar", &[("foo", "1"), ("bar", "2")], &[("bar", "2"), ("foo", "1")], true),
            ("foo, bar", &[("foo", "1"), ("bar", "2")], &[("foo", "1")], false),
            ("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
            ("foo", &[("foo", "1,2")], &[("foo", " 1, 2 ")], true),
            ("foo", &[("foo", "1,2")], &[("foo", "2,1")], false),
            ("foo", &[("foo", "12")], &[("foo", "1,2")], false),
            ("foo", &[("foo", "\"1, 2\"")], &[("foo", "\"1,2\"")], false),
            ("foo", &[("foo", "a")], &[("foo", "A")], false),
            ("foo", &[("foo", "1"), ("other", "2")], &[("foo", "1"), ("other", "3")], true),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", " eN ,   De")], true),
            ("accept-language", &[("accept-language", "en;q=0.5")], &[("accept-language", "en; q=0.5")], true),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", "de, en")], false),
            ("accept-encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "BR;q=1.0,gzip")], true),
            ("accept-encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "gzip")], false),
            ("accept-encoding", &[("accept-encoding", "gzip")], &[], false),
        ];
        for (vary, first, second, expected) in table {
            assert_eq!(is_same(vary, first, second), *expected, "{vary}: {first:?} {second:?}");
        }
    }

    #[test]
    fn a_star_depends_on_everything() {
        for vary in ["*", "*, *", ", *", "*, foo", "foo, *", "no name"] {
            assert_eq!(selectors(&HeaderMap::new(), &headers(&[("vary", vary)]), None), None, "{vary}");
        }
        assert_eq!(selectors(&HeaderMap::new(), &headers(&[("vary", "foo"), ("vary", "*")]), None), None);
        assert_eq!(selectors(&HeaderMap::new(), &headers(&[("vary", "")]), None).unwrap().len(), 0);
    }

    /// Of a request by `Accept-Encoding` an answer in a coding; whether another may have it.
    #[test]
    fn of_an_offer_it_is_what_comes_of_it_that_counts() {
        let offer = [Zstd, Gzip, Brotli, Identity];
        let table = [
            // All that Compression chose: one for each coding.
            ("gzip, br, zstd", "zstd", "zstd", true),
            ("gzip, deflate", "gzip", "br, gzip;q=1.0", true),
            ("gzip", "gzip", "br", false),
            ("gzip", "gzip", "identity", false),
            ("gzip", "gzip", "gzip, zstd", false),
            // Too small to be compressed: whoever would have had it compressed so, and takes it as it is.
            ("gzip", "", "deflate, gzip", true),
            ("gzip", "", "gzip, identity;q=0", false),
            // Coded by a server behind, which makes no zstd: the offer tells nothing.
            ("gzip, zstd", "gzip", "zstd", false),
            ("gzip, zstd", "gzip", "zstd,gzip", true),
            ("gzip, zstd", "x-own", "zstd", false),
        ];
        for (first, coding, second, expected) in table {
            let (mut request, mut answer) = (HeaderMap::new(), headers(&[("vary", "Accept-Encoding")]));
            request.insert(ACCEPT_ENCODING, HeaderValue::from_static(first));
            if !coding.is_empty() {
                answer.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            let selectors = selectors(&request, &answer, Some(&offer)).unwrap();
            request.insert(ACCEPT_ENCODING, HeaderValue::from_static(second));
            assert_eq!(selectors[0].matches(&request, Some(&offer)), expected, "{first} {coding} {second}");
        }
        let selectors = selectors(&HeaderMap::new(), &headers(&[("vary", "accept-encoding")]), Some(&offer)).unwrap();
        assert!(selectors[0].matches(&headers(&[("accept-encoding", "identity")]), Some(&offer)));
    }
}
