//! Conditional requests: entity tags, and what `If-Match` and its kin ask for (RFC 9110 §13).

use crate::{Body, Response};
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httpdate::HttpDate;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the preconditions of a request ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answer as if nothing had been asked.
    Proceed,
    /// 304 Not Modified (RFC 9110 §15.4.5): the client's copy is still good.
    NotModified,
    /// 412 Precondition Failed (RFC 9110 §15.5.13): do not carry the request out.
    PreconditionFailed,
}

/// Evaluates `If-Match`, `If-Unmodified-Since`, `If-None-Match` and `If-Modified-Since` (RFC 9110 §13.2.2).
///
/// `etag` and `modified` describe what exists now at the request's URL. Where nothing exists, preconditions other
/// than `If-Match` hold, and `If-Match` fails (§13.1.1): test for that header alone. Ask only where the
/// answer would otherwise be a success (§13.2.1).
///
/// Dates count in whole seconds, since HTTP's do. A date that cannot be read, or that comes twice, is ignored; so
/// is each member of a list of tags which is not a tag.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, header::IF_NONE_MATCH};
/// use purlin::conditional::{ETag, Outcome, evaluate};
///
/// let etag = ETag::strong("v2")?;
/// let mut headers = HeaderMap::new();
/// headers.insert(IF_NONE_MATCH, HeaderValue::from_static(r#""v1", W/"v2""#));
/// assert_eq!(evaluate(&Method::GET, &headers, Some(&etag), None), Outcome::NotModified);
/// assert_eq!(evaluate(&Method::PUT, &headers, Some(&etag), None), Outcome::PreconditionFailed);
/// # Ok::<(), purlin::conditional::InvalidETag>(())
/// ```
pub fn evaluate(method: &Method, headers: &HeaderMap, etag: Option<&ETag>, modified: Option<SystemTime>) -> Outcome {
    // §13.2.1: these neither select nor change a representation.
    if matches!(*method, Method::CONNECT | Method::OPTIONS | Method::TRACE) {
        return Outcome::Proceed;
    }
    let reading = matches!(*method, Method::GET | Method::HEAD);
    let modified = modified.map(seconds);

    if headers.contains_key(IF_MATCH) {
        if !lists(headers, IF_MATCH, |tag| etag.is_some_and(|etag| etag.strong_eq_bytes(tag))) {
            return Outcome::PreconditionFailed;
        }
    } else if let (Some(date), Some(modified)) = (date(headers, IF_UNMODIFIED_SINCE), modified)
        && modified > date
    {
        return Outcome::PreconditionFailed;
    }

    if headers.contains_key(IF_NONE_MATCH) {
        if lists(headers, IF_NONE_MATCH, |tag| etag.is_some_and(|etag| etag.opaque() == opaque(tag))) {
            return if reading { Outcome::NotModified } else { Outcome::PreconditionFailed };
        }
    } else if reading
        && let (Some(date), Some(modified)) = (date(headers, IF_MODIFIED_SINCE), modified)
        && modified <= date
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Makes an answer the 304 that says that the client has it (RFC 9110 §15.4.5): without its body, and what describes that.
///
/// All else stays: cookies, and the headers that caches renew theirs by. `Last-Modified` goes where there is an `ETag`: whoever has
/// the tag needs no date.
pub(crate) fn not_modified(response: &mut Response) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::empty();
    let headers = response.headers_mut();
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE, ACCEPT_RANGES] {
        headers.remove(name);
    }
    if headers.contains_key(ETAG) {
        headers.remove(LAST_MODIFIED);
    }
}

/// Whether the `Range` header counts (RFC 9110 §13.1.5): without `If-Range`, or if the client's part belongs to what
/// exists now. Otherwise the whole is sent.
///
/// A tag has to be strong and equal, a date to be `modified` to the second. A file which changes twice within a
/// second deceives a date: give it an [`ETag`], which clients prefer.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::IF_RANGE};
/// use purlin::conditional::{ETag, if_range};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(IF_RANGE, HeaderValue::from_static(r#""v1""#));
/// assert!(if_range(&headers, Some(&ETag::strong("v1")?), None));
/// assert!(!if_range(&headers, Some(&ETag::weak("v1")?), None));
/// # Ok::<(), purlin::conditional::InvalidETag>(())
/// ```
pub fn if_range(headers: &HeaderMap, etag: Option<&ETag>, modified: Option<SystemTime>) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    let Some(line) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    match etag {
        Some(etag) if etag.strong_eq_bytes(line.as_bytes()) => true,
        // No tag is a date and no date a tag: the quotes tell.
        _ => modified.is_some_and(|modified| date(headers, IF_RANGE) == Some(seconds(modified))),
    }
}

/// An entity tag: the name of one version of a representation (RFC 9110 §8.8.3).
///
/// A strong one names these very bytes; a weak one (`W/"…"`) all that are as good. `==` compares both the name and the
/// strength; HTTP's two comparisons are [`strong_eq`](Self::strong_eq) and [`weak_eq`](Self::weak_eq). It
/// clones without copying.
///
/// ```
/// use purlin::conditional::ETag;
///
/// let etag: ETag = "W/\"v1\"".parse()?;
/// assert!(etag.is_weak());
/// assert!(etag.weak_eq(&ETag::strong("v1")?));
/// assert_eq!(ETag::strong("v1")?.weaken(), etag);
/// # Ok::<(), purlin::conditional::InvalidETag>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ETag(HeaderValue); // Exactly one well-formed tag, as it is sent.

impl ETag {
    /// A strong tag; `opaque` is what stands between the quotes.
    ///
    /// # Errors
    ///
    /// [`InvalidETag`] if it holds a quote, a space or a control character.
    pub fn strong(opaque: &str) -> Result<Self, InvalidETag> {
        Self::from_bytes(&[b"\"", opaque.as_bytes(), b"\""].concat())
    }

    /// A weak tag; `opaque` is what stands between the quotes.
    ///
    /// # Errors
    ///
    /// [`InvalidETag`] if it holds a quote, a space or a control character.
    pub fn weak(opaque: &str) -> Result<Self, InvalidETag> {
        Self::from_bytes(&[b"W/\"", opaque.as_bytes(), b"\""].concat())
    }

    /// Reads an `ETag` header. The `W` is a capital (RFC 9110 §8.8.3).
    ///
    /// # Errors
    ///
    /// [`InvalidETag`] if it is anything but one tag in quotes.
    pub fn from_header(value: &HeaderValue) -> Result<Self, InvalidETag> {
        match whole_tag(value.as_bytes()) {
            true => Ok(Self(value.clone())),
            false => Err(InvalidETag { found: String::from_utf8_lossy(value.as_bytes()).into_owned() }),
        }
    }

    /// The tag as a header value.
    pub fn to_header_value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Whether the tag is weak.
    pub fn is_weak(&self) -> bool {
        self.0.as_bytes().starts_with(b"W/")
    }

    /// The weak tag of the same name: for bytes which are as good but not the same, such as compressed ones.
    pub fn weaken(self) -> Self {
        if self.is_weak() {
            return self;
        }
        let weak = [b"W/", self.0.as_bytes()].concat();
        Self(HeaderValue::try_from(weak).expect("a header value with W/ before it is one"))
    }

    /// Whether both are strong and have one name: the same bytes (RFC 9110 §8.8.3.2).
    pub fn strong_eq(&self, other: &Self) -> bool {
        self.strong_eq_bytes(other.0.as_bytes())
    }

    /// Whether both have one name, weak or not: one is as good as the other (RFC 9110 §8.8.3.2).
    pub fn weak_eq(&self, other: &Self) -> bool {
        self.opaque() == other.opaque()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidETag> {
        let invalid = || InvalidETag { found: String::from_utf8_lossy(bytes).into_owned() };
        Self::from_header(&HeaderValue::from_bytes(bytes).map_err(|_| invalid())?)
    }

    /// `tag` may be anything, and is equal only if it is a strong tag.
    fn strong_eq_bytes(&self, tag: &[u8]) -> bool {
        !self.is_weak() && self.0.as_bytes() == tag
    }

    /// With its quotes.
    fn opaque(&self) -> &[u8] {
        opaque(self.0.as_bytes())
    }
}

impl FromStr for ETag {
    type Err = InvalidETag;

    fn from_str(text: &str) -> Result<Self, InvalidETag> {
        Self::from_bytes(text.as_bytes())
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({self})")
    }
}

/// What was found where an entity tag was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidETag {
    found: String,
}

impl fmt::Display for InvalidETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected an entity tag, \"…\" or W/\"…\" without quotes and spaces inside, found {:?}", self.found)
    }
}

impl std::error::Error for InvalidETag {}

/// `time` as an HTTP date (RFC 9110 §5.6.7), for `Last-Modified` and `Expires`.
///
/// Times that it cannot name (before 1970, after 9999) become the nearest that it can: a file may claim any.
///
/// ```
/// use purlin::conditional::http_date;
/// use std::time::SystemTime;
/// assert_eq!(http_date(SystemTime::UNIX_EPOCH), "Thu, 01 Jan 1970 00:00:00 GMT");
/// ```
pub fn http_date(time: SystemTime) -> HeaderValue {
    HeaderValue::try_from(printable_date(time).to_string())
        .expect("a date is letters, digits, commas, colons and spaces")
}

/// `HttpDate` panics outside of its years.
pub(crate) fn printable_date(time: SystemTime) -> HttpDate {
    HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds(time)))
}

/// Seconds since 1970, cut off to what an HTTP date can say: a file from before 1970 compares as it was printed.
fn seconds(time: SystemTime) -> u64 {
    const LAST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().min(LAST))
}

/// The date of a header which has one line and holds a date; else §13.1.3 and §13.1.4 want it ignored.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    let mut lines = headers.get_all(name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    httpdate::parse_http_date(line.to_str().ok()?).ok().map(seconds)
}

/// Whether the header is `*`, or one of its tags satisfies `test`.
///
/// `*` counts only when nothing stands beside it (§13.1.1): what a list with `*` in it means is anyone's guess.
fn lists(headers: &HeaderMap, name: HeaderName, test: impl Fn(&[u8]) -> bool) -> bool {
    let lines = headers.get_all(name);
    let mut all = lines.iter();
    if let (Some(line), None) = (all.next(), all.next())
        && line.as_bytes().trim_ascii() == b"*"
    {
        return true;
    }
    lines.iter().flat_map(|line| tags(line.as_bytes())).any(test)
}

/// The entity tags of a list; whatever else stands between two commas is passed over. A tag may hold a comma.
fn tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            while let [b' ' | b'\t' | b',', rest @ ..] = list {
                list = rest;
            }
            if list.is_empty() {
                return None;
            }
            let (tag, rest) = list.split_at(tag_length(list).unwrap_or(0));
            let comma = rest.iter().position(|&b| b == b',').unwrap_or(rest.len());
            list = &rest[comma..];
            if !tag.is_empty() && rest[..comma].trim_ascii().is_empty() {
                return Some(tag);
            }
        }
    })
}

/// The length of the tag with which `text` begins, if it does.
fn tag_length(text: &[u8]) -> Option<usize> {
    let quoted = opaque(text);
    let inside = quoted.strip_prefix(b"\"")?;
    // `etagc`, RFC 9110 §8.8.3: anything visible but a quote, and all beyond ASCII.
    let end = inside.iter().position(|&b| !matches!(b, 0x21 | 0x23..=0x7E | 0x80..))?;
    (inside[end] == b'"').then_some(text.len() - inside.len() + end + 1)
}

fn whole_tag(text: &[u8]) -> bool {
    tag_length(text) == Some(text.len())
}

/// A tag without its `W/`.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::Outcome::{NotModified, PreconditionFailed, Proceed};
    use super::*;

    const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
    const BEFORE: &str = "Wed, 21 Oct 2015 07:27:59 GMT";
    const AFTER: &str = "Wed, 21 Oct 2015 07:28:01 GMT";

    /// `DATE`, and the part of a second that file systems keep and HTTP does not.
    fn modified() -> SystemTime {
        httpdate::parse_http_date(DATE).unwrap() + Duration::from_millis(700)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn tags_are_read_to_the_letter() {
        let good = ["\"\"", "\"a\"", "W/\"\"", "W/\"a\"", "\"a,b\"", "\"a\\\"", "\"!#~\"", "\"é\"", "\"W/\""];
        for text in good {
            assert_eq!(text.parse::<ETag>().unwrap().to_string(), text);
        }
        let bad =
            ["", "a", "\"", "\"a", "a\"", "w/\"a\"", "W\"a\"", "W/ \"a\"", "W/", "W/a", "\"a b\"", "\"a\"b\"", "*"];
        for text in bad.into_iter().chain(["\"a\" ", " \"a\"", "\"a\", \"b\"", "\"\u{7f}\"", "\"\t\"", "\"\n\""]) {
            assert!(text.parse::<ETag>().is_err(), "{text:?}");
        }
        assert!(ETag::strong("a\"").is_err());
        assert!(ETag::weak("a b").is_err());
        assert_eq!(
            ETag::strong("a b").unwrap_err().to_string(),
            "expected an entity tag, \"…\" or W/\"…\" without quotes and spaces inside, found \"\\\"a b\\\"\""
        );
        assert!(ETag::from_header(&HeaderValue::from_bytes(b"\"\xff\"").unwrap()).is_ok());
        assert_eq!(headers(&[("etag", "\"a\"")]).get(ETAG), Some(&ETag::strong("a").unwrap().to_header_value()));
    }

    /// The table of RFC 9110 §8.8.3.2.
    #[test]
    fn tags_compare_strongly_and_weakly() {
        let table = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ];
        for (a, b, strong, weak) in table {
            let (a, b): (ETag, ETag) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((a.strong_eq(&b), a.weak_eq(&b)), (strong, weak), "{a} {b}");
            assert_eq!((b.strong_eq(&a), b.weak_eq(&a)), (strong, weak), "{b} {a}");
        }
    }

    #[test]
    fn preconditions_go_in_the_order_of_the_rfc() {
        let (im, inm, ims, ius) = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since");
        // The request's headers; then the outcomes of GET and of PUT for "v" modified at DATE.
        type Row<'a> = (&'a [(&'static str, &'a str)], Outcome, Outcome);
        let table: &[Row<'_>] = &[
            (&[], Proceed, Proceed),
            // §13.1.1 If-Match: strong comparison.
            (&[(im, "\"v\"")], Proceed, Proceed),
            (&[(im, "*")], Proceed, Proceed),
            (&[(im, " * ")], Proceed, Proceed),
            (&[(im, "\"x\", \"v\"")], Proceed, Proceed),
            (&[(im, "\"x\""), (im, "\"v\"")], Proceed, Proceed),
            (&[(im, "W/\"v\"")], PreconditionFailed, PreconditionFailed),
            (&[(im, "\"x\"")], PreconditionFailed, PreconditionFailed),
            (&[(im, "")], PreconditionFailed, PreconditionFailed),
            (&[(im, "v")], PreconditionFailed, PreconditionFailed),
            (&[(im, "*, \"x\"")], PreconditionFailed, PreconditionFailed),
            (&[(im, "*"), (im, "\"x\"")], PreconditionFailed, PreconditionFailed),
            // §13.1.2 If-None-Match: weak comparison; 304 only for GET and HEAD.
            (&[(inm, "\"v\"")], NotModified, PreconditionFailed),
            (&[(inm, "W/\"v\"")], NotModified, PreconditionFailed),
            (&[(inm, "*")], NotModified, PreconditionFailed),
            (&[(inm, "\"x\"")], Proceed, Proceed),
            (&[(inm, "\"x\",, ,W/\"v\"")], NotModified, PreconditionFailed),
            (&[(inm, "\"x\""), (inm, "\"v\"")], NotModified, PreconditionFailed),
            // What is no tag is passed over, and its neighbours are not.
            (&[(inm, "v")], Proceed, Proceed),
            (&[(inm, "x, \"v\"")], NotModified, PreconditionFailed),
            (&[(inm, "\"x y\", \"v\"")], NotModified, PreconditionFailed),
            (&[(inm, "\"v\"x, \"y\"")], Proceed, Proceed),
            (&[(inm, "w/\"v\"")], Proceed, Proceed),
            // A comma within a tag parts nothing.
            (&[(inm, "\"x,\"v\",y\"")], Proceed, Proceed),
            (&[(inm, "\"a,b\", \"v\"")], NotModified, PreconditionFailed),
            // §13.1.3 If-Modified-Since: only GET and HEAD, only without If-None-Match.
            (&[(ims, DATE)], NotModified, Proceed),
            (&[(ims, AFTER)], NotModified, Proceed),
            (&[(ims, BEFORE)], Proceed, Proceed),
            (&[(ims, DATE), (inm, "\"x\"")], Proceed, Proceed),
            (&[(ims, BEFORE), (inm, "\"v\"")], NotModified, PreconditionFailed),
            (&[(ims, "yesterday")], Proceed, Proceed),
            (&[(ims, "")], Proceed, Proceed),
            (&[(ims, DATE), (ims, DATE)], Proceed, Proceed),
            // §5.6.7: the two obsolete forms.
            (&[(ims, "Wednesday, 21-Oct-15 07:28:00 GMT")], NotModified, Proceed),
            (&[(ims, "Wed Oct 21 07:28:00 2015")], NotModified, Proceed),
            // §13.1.4 If-Unmodified-Since: any method, only without If-Match.
            (&[(ius, DATE)], Proceed, Proceed),
            (&[(ius, AFTER)], Proceed, Proceed),
            (&[(ius, BEFORE)], PreconditionFailed, PreconditionFailed),
            (&[(ius, BEFORE), (im, "\"v\"")], Proceed, Proceed),
            (&[(ius, DATE), (im, "\"x\"")], PreconditionFailed, PreconditionFailed),
            (&[(ius, "yesterday")], Proceed, Proceed),
            (&[(ius, BEFORE), (ius, BEFORE)], Proceed, Proceed),
            // §13.2.2: the first step that fails decides; one that holds leads to the next.
            (&[(im, "\"x\""), (inm, "\"v\"")], PreconditionFailed, PreconditionFailed),
            (&[(im, "\"v\""), (inm, "\"v\"")], NotModified, PreconditionFailed),
            (&[(ius, BEFORE), (inm, "\"v\"")], PreconditionFailed, PreconditionFailed),
            (&[(ius, DATE), (ims, DATE)], NotModified, Proceed),
            (&[(im, "\"v\""), (ims, DATE)], NotModified, Proceed),
        ];
        let etag = ETag::strong("v").unwrap();
        for (lines, get, put) in table {
            let headers = headers(lines);
            let outcome = |method| evaluate(&method, &headers, Some(&etag), Some(modified()));
            assert_eq!((outcome(Method::GET), outcome(Method::PUT)), (*get, *put), "{lines:?}");
            assert_eq!((outcome(Method::HEAD), outcome(Method::DELETE)), (*get, *put), "{lines:?}");
            assert_eq!(outcome(Method::OPTIONS), Proceed, "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_known_decides_nothing() {
        let weak = ETag::weak("v").unwrap();
        type Row<'a> = (&'static str, &'a str, Option<&'a ETag>, Outcome);
        let table: &[Row<'_>] = &[
            // §13.1.1: a weak tag never matches strongly, a missing one only `*`.
            ("if-match", "W/\"v\"", Some(&weak), PreconditionFailed),
            ("if-match", "\"v\"", Some(&weak), PreconditionFailed),
            ("if-match", "\"v\"", None, PreconditionFailed),
            ("if-match", "*", None, Proceed),
            ("if-none-match", "\"v\"", Some(&weak), NotModified),
            ("if-none-match", "\"v\"", None, Proceed),
            ("if-none-match", "*", None, NotModified),
            // §13.1.3, §13.1.4: no date, no condition.
            ("if-modified-since", DATE, None, Proceed),
            ("if-unmodified-since", BEFORE, None, Proceed),
        ];
        for (name, value, etag, expected) in table {
            assert_eq!(evaluate(&Method::GET, &headers(&[(name, value)]), *etag, None), *expected, "{name}: {value}");
        }
    }

    /// RFC 9110 §15.4.5.
    #[test]
    fn a_304_says_what_caches_need_and_nothing_of_the_body() {
        let of_body = [("content-type", "text/css"), ("content-length", "4"), ("content-encoding", "br")];
        let more = [("content-language", "de"), ("accept-ranges", "bytes"), ("content-range", "bytes 0-3/4")];
        let kept =
            [("cache-control", "max-age=5"), ("content-location", "/a"), ("vary", "accept"), ("set-cookie", "a=b")];
        for (tag, kept_too) in [(&[][..], &[("last-modified", DATE)][..]), (&[("etag", "\"v\"")], &[("etag", "\"v\"")])]
        {
            let mut response = Response::new(Body::from("body"));
            let lines = [&of_body[..], &more, &kept, &[("last-modified", DATE)], tag].concat();
            *response.headers_mut() = headers(&lines);
            not_modified(&mut response);
            assert_eq!((response.status(), response.body().is_empty()), (StatusCode::NOT_MODIFIED, true));
            assert_eq!(*response.headers(), headers(&[&kept[..], kept_too].concat()));
        }
    }

    /// RFC 9110 §13.1.5.
    #[test]
    fn a_range_counts_only_for_the_same_bytes() {
        let table: &[(&[&str], bool)] = &[
            (&[], true),
            (&["\"v\""], true),
            (&["\"x\""], false),
            (&["W/\"v\""], false),
            (&["*"], false),
            (&["\"v\", \"x\""], false),
            (&["\"v\"", "\"v\""], false),
            (&[DATE], true),
            (&[BEFORE], false),
            (&[AFTER], false),
            (&[DATE, DATE], false),
            (&[""], false),
            (&["yesterday"], false),
        ];
        for (lines, expected) in table {
            let lines: Vec<_> = lines.iter().map(|line| ("if-range", *line)).collect();
            let etag = ETag::strong("v").unwrap();
            assert_eq!(if_range(&headers(&lines), Some(&etag), Some(modified())), *expected, "{lines:?}");
        }
        let weak = ETag::weak("v").unwrap();
        assert!(!if_range(&headers(&[("if-range", "W/\"v\"")]), Some(&weak), None));
        assert!(!if_range(&headers(&[("if-range", "\"v\"")]), Some(&weak), None));
        assert!(!if_range(&headers(&[("if-range", DATE)]), None, None));
    }

    #[test]
    fn dates_beyond_the_calendar_do_not_panic() {
        let early = UNIX_EPOCH - Duration::from_secs(86_400);
        let late = UNIX_EPOCH + Duration::from_secs(400_000_000_000);
        assert_eq!(http_date(early), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(late), "Fri, 31 Dec 9999 23:59:59 GMT");
        // The date that was printed is the date that comes back.
        for time in [early, late] {
            let headers = HeaderMap::from_iter([(IF_MODIFIED_SINCE, http_date(time))]);
            assert_eq!(evaluate(&Method::GET, &headers, None, Some(time)), NotModified);
        }
    }

    /// The fuzz target's invariants, over repeatable noise.
    #[test]
    fn noise_does_not_deceive() {
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as usize
        };
        let alphabet = b"\"\"\"vxW/*, \t\xff";
        let etag = ETag::strong("v").unwrap();
        for _ in 0..50_000 {
            let line: Vec<u8> = (0..random() % 12).map(|_| alphabet[random() % alphabet.len()]).collect();
            let value = HeaderValue::from_bytes(&line).unwrap();
            for tag in tags(&line) {
                assert!(whole_tag(tag), "{value:?}");
            }
            if let Ok(read) = ETag::from_header(&value) {
                assert_eq!(read.to_header_value(), value);
                assert!(read.clone().weaken().is_weak() && read.clone().weaken().weak_eq(&read));
            }
            // Nothing that If-Match accepts fails to match If-None-Match.
            let outcome =
                |name| evaluate(&Method::PUT, &HeaderMap::from_iter([(name, value.clone())]), Some(&etag), None);
            assert!(
                outcome(IF_MATCH) == PreconditionFailed || outcome(IF_NONE_MATCH) == PreconditionFailed,
                "{value:?}"
            );
        }
    }
}
