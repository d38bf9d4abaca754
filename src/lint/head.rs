//! The rules that the head of an answer keeps or breaks.

use super::field::{
    date, elements, is_later, is_media_type, is_number, is_reference, is_token, list, pair, parts, values,
};
use super::{Asked, Rule, Side, Violation, rule};
use crate::Response;
use crate::conditional::ETag;
use crate::cookie::{Attributes, Cookie};
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, StatusCode, Version};
use std::collections::HashSet;
use std::time::SystemTime;

/// What is broken so far.
struct Broken<'a>(&'a mut Vec<Violation>);

impl Broken<'_> {
    fn add(&mut self, rule: &'static Rule, found: impl Into<std::borrow::Cow<'static, str>>) {
        self.0.push(Violation::new(rule, found));
    }

    /// Adds it if the header is not there.
    fn without(&mut self, headers: &HeaderMap, name: &HeaderName, rule: &'static Rule) {
        if !headers.contains_key(name) {
            self.add(rule, format!("no {name}"));
        }
    }
}

pub(super) fn check(asked: &Asked, answer: &Response, side: Side, broken: &mut Vec<Violation>) {
    let mut broken = Broken(broken);
    let (status, headers) = (answer.status(), answer.headers());
    of_the_status(asked, status, headers, side, &mut broken);
    lengths(asked, answer, side, &mut broken);
    once_only(headers, &mut broken);
    connection(status, headers, answer.version(), side, &mut broken);
    injection(asked, headers, &mut broken);
    content(asked, answer, &mut broken);
    ranges(asked, answer, &mut broken);
    negotiation(asked, answer, &mut broken);
    dates(headers, side, &mut broken);
    caches(headers, &mut broken);
    references(headers, &mut broken);
    cookies(asked, headers, side, &mut broken);
    security(asked, headers, &mut broken);
}

fn of_the_status(asked: &Asked, status: StatusCode, headers: &HeaderMap, side: Side, broken: &mut Broken<'_>) {
    let upgraded = headers.contains_key(header::UPGRADE);
    match status.as_u16() {
        101 | 426 if !upgraded => broken.add(&rule::UPGRADE_MISSING, "no upgrade"),
        101 => {}
        100..=199 => broken.add(&rule::INTERIM_STATUS, format!("the status {status}")),
        301 | 302 | 303 | 307 | 308 => broken.without(headers, &header::LOCATION, &rule::LOCATION_MISSING),
        401 => broken.without(headers, &header::WWW_AUTHENTICATE, &rule::WWW_AUTHENTICATE),
        405 => broken.without(headers, &header::ALLOW, &rule::ALLOW_MISSING),
        407 => broken.without(headers, &header::PROXY_AUTHENTICATE, &rule::PROXY_AUTHENTICATE),
        600.. => broken.add(&rule::STATUS_RANGE, format!("the status {}", status.as_u16())),
        _ => {}
    }
    if side == Side::Outside && !status.is_server_error() && !headers.contains_key(header::DATE) {
        broken.add(&rule::DATE_MISSING, "no date");
    }
    let served = status.is_success() || status == StatusCode::INTERNAL_SERVER_ERROR;
    if asked.method.as_str() == PROBING && served {
        broken.add(&rule::UNKNOWN_METHOD, format!("the status {status}"));
    }
}

/// The header that is sent in an address, and must not come back.
pub(crate) const SENT: HeaderName = HeaderName::from_static("x-purlin-lint");

/// The method that the rules take for one that nobody knows: a site may have methods of its own.
pub(crate) const PROBING: &str = "PURLIN-LINT";

/// Whether an answer of this status is all head (RFC 9110 §6.4.1).
pub(super) fn bodiless(status: StatusCode) -> Option<&'static Rule> {
    match status {
        StatusCode::NO_CONTENT => Some(&rule::BODY_WITH_204),
        StatusCode::RESET_CONTENT => Some(&rule::BODY_WITH_205),
        StatusCode::NOT_MODIFIED => Some(&rule::BODY_WITH_304),
        _ => None,
    }
}

fn lengths(asked: &Asked, answer: &Response, side: Side, broken: &mut Broken<'_>) {
    let (status, headers) = (answer.status(), answer.headers());
    let least = http_body::Body::size_hint(answer.body()).lower();
    if let Some(rule) = bodiless(status).filter(|_| least > 0) {
        broken.add(rule, format!("a body of {least} bytes"));
        return;
    }
    let told: Vec<String> = values(headers, &header::CONTENT_LENGTH).collect();
    let [first, ..] = &told[..] else { return };
    if told.len() > 1 {
        broken.add(&rule::LENGTH_DOUBLED, format!("{} of them: {}", told.len(), told.join(" and ")));
    } else if !is_number(first) {
        broken.add(&rule::LENGTH_SYNTAX, format!("content-length: {first}"));
    } else if status == StatusCode::NO_CONTENT || status.is_informational() {
        broken.add(&rule::LENGTH_FORBIDDEN, format!("content-length: {first}"));
    } else if side == Side::Outside && headers.contains_key(header::TRANSFER_ENCODING) {
        broken.add(&rule::LENGTH_AND_CODING, format!("content-length: {first} beside transfer-encoding"));
    } else if let Some(length) = answer.body().len() {
        // After `HEAD` and in a 304 it is the length of the body that is left out.
        let left_out = length == 0 && (asked.is_head() || status == StatusCode::NOT_MODIFIED);
        if !left_out && first.parse() != Ok(length) {
            broken.add(&rule::LENGTH_WRONG, format!("content-length: {first} on a body of {length} bytes"));
        }
    }
}

/// Headers with one value (RFC 9110 §5.3); `Content-Type` and `Content-Length` have rules of their own.
fn once_only(headers: &HeaderMap, broken: &mut Broken<'_>) {
    const ONCE: [HeaderName; 13] = [
        header::AGE,
        header::CONTENT_DISPOSITION,
        header::CONTENT_LOCATION,
        header::CONTENT_RANGE,
        header::DATE,
        header::ETAG,
        header::EXPIRES,
        header::LAST_MODIFIED,
        header::LOCATION,
        header::RETRY_AFTER,
        header::SERVER,
        header::STRICT_TRANSPORT_SECURITY,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ];
    for name in ONCE {
        let found = headers.get_all(&name).iter().count();
        if found > 1 {
            broken.add(&rule::FIELD_DOUBLED, format!("{found} lines of {name}"));
        }
    }
    if headers.get_all(header::CONTENT_TYPE).iter().count() > 1 {
        let found: Vec<_> = values(headers, &header::CONTENT_TYPE).collect();
        broken.add(&rule::TYPE_DOUBLED, found.join(" and "));
    }
}

fn connection(status: StatusCode, headers: &HeaderMap, version: Version, side: Side, broken: &mut Broken<'_>) {
    const ABOUT_IT: [&str; 6] = ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];
    for name in ABOUT_IT {
        let upgrades = matches!(status.as_u16(), 101 | 426) && matches!(name, "connection" | "upgrade");
        // A server may say these in HTTP/1.1, and none of them in HTTP/2 (RFC 9113 §8.2.2).
        let servers = side == Side::Outside
            && version < Version::HTTP_2
            && matches!(name, "connection" | "keep-alive" | "transfer-encoding" | "upgrade");
        if headers.contains_key(name) && !upgrades && !servers {
            broken.add(&rule::HOP_BY_HOP, name);
        }
    }
}

fn injection(asked: &Asked, headers: &HeaderMap, broken: &mut Broken<'_>) {
    // `HeaderValue` keeps line breaks out; an application that reads lines by itself may make two headers of one.
    for (name, sent) in &asked.injected {
        // The whole value: the answer may have a `Vary` of its own.
        if headers.get_all(name).iter().any(|value| name == SENT || value.as_bytes() == sent.as_bytes()) {
            broken.add(&rule::INJECTION, format!("{name}, as it stands in the address"));
        }
    }
    for (name, value) in headers {
        if !value.as_bytes().is_ascii() {
            broken.add(&rule::NOT_ASCII, name.as_str().to_owned());
        }
    }
}

fn content(asked: &Asked, answer: &Response, broken: &mut Broken<'_>) {
    let headers = answer.headers();
    if let Some(found) = untyped(answer).filter(|_| answer.body().len().is_some_and(|length| length > 0)) {
        broken.0.push(found);
    }
    let typed: Vec<String> = values(headers, &header::CONTENT_TYPE).collect();
    if let [content_type] = &typed[..] {
        if !is_media_type(content_type) {
            broken.add(&rule::TYPE_SYNTAX, format!("content-type: {content_type}"));
        } else if is_guessed(&content_type.to_ascii_lowercase(), answer) {
            broken.add(&rule::CHARSET_MISSING, format!("content-type: {content_type}"));
        }
    }
    // Those of IANA's registry.
    const CODINGS: [&str; 12] = [
        "aes128gcm",
        "br",
        "compress",
        "dcb",
        "dcz",
        "deflate",
        "exi",
        "gzip",
        "pack200-gzip",
        "x-compress",
        "x-gzip",
        "zstd",
    ];
    let codings = list(headers, &header::CONTENT_ENCODING);
    for coding in &codings {
        if !CODINGS.contains(&coding.as_str()) {
            broken.add(&rule::CODING_UNKNOWN, format!("content-encoding: {coding}"));
        } else if refused(asked, coding) && !answer.status().is_redirection() {
            broken.add(&rule::CODING_UNWANTED, format!("content-encoding: {coding}"));
        }
    }
    for tag in headers.get_all(header::ETAG) {
        if ETag::from_header(tag).is_err() {
            broken.add(&rule::ETAG_SYNTAX, format!("etag: {}", String::from_utf8_lossy(tag.as_bytes())));
        }
    }
}

/// Whether a client has to guess the charset of an answer of this type.
fn is_guessed(content_type: &str, answer: &Response) -> bool {
    // UTF-8 by their own definition, or told in the text itself.
    const SAY_IT: [&str; 10] = [
        "text/cache-manifest",
        "text/calendar",     // RFC 5545 §3.1.4
        "text/csv",          // RFC 7111 §5.1
        "text/ecmascript",   // RFC 9239 §4.2
        "text/event-stream", // HTML §9.2.5
        "text/javascript",   // RFC 9239 §4.2
        "text/turtle",
        "text/vcard", // RFC 6350 §3.1
        "text/vtt",
        "text/xml", // RFC 7303 §3
    ];
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.starts_with("text/") || SAY_IT.contains(&kind) || content_type.contains("charset=") {
        return false;
    }
    if !matches!(kind, "text/html" | "text/css") {
        return true;
    }
    // `<meta charset>` (HTML §13.2.3.2) and `@charset` are near the beginning, which is not always to be seen.
    let coded = answer.headers().contains_key(header::CONTENT_ENCODING);
    let seen = answer.body().as_bytes().filter(|body| !body.is_empty() && !coded);
    seen.is_some_and(|body| {
        let start = body[..body.len().min(1024)].to_ascii_lowercase();
        !start.starts_with(b"\xef\xbb\xbf") && !start.windows(7).any(|word| word == b"charset")
    })
}

/// What a body of this answer breaks by being there at all.
pub(super) fn untyped(answer: &Response) -> Option<Violation> {
    let headers = answer.headers();
    if headers.contains_key(header::CONTENT_TYPE) || bodiless(answer.status()).is_some() {
        return None;
    }
    let nosniff = list(headers, &header::X_CONTENT_TYPE_OPTIONS).iter().any(|value| value == "nosniff");
    Some(match nosniff {
        true => Violation::new(&rule::NOSNIFF_UNTYPED, "a body, nosniff, and no content-type"),
        false => Violation::new(&rule::TYPE_MISSING, "a body and no content-type"),
    })
}

/// Whether `Accept-Encoding` is there, and leaves this coding out.
fn refused(asked: &Asked, coding: &str) -> bool {
    let offers = elements(&asked.codings);
    let weight = |name: &str| {
        let element = offers.iter().find(|offer| offer.split(';').next().is_some_and(|first| first.trim() == name))?;
        let zero =
            |parameter: &str| pair(parameter).0 == "q" && pair(parameter).1.is_some_and(|q| q.parse() == Ok(0.0));
        Some(!element.split(';').skip(1).any(zero))
    };
    !asked.codings.is_empty() && !weight(coding).or_else(|| weight("*")).unwrap_or(false)
}

fn ranges(asked: &Asked, answer: &Response, broken: &mut Broken<'_>) {
    let (status, headers) = (answer.status(), answer.headers());
    let told = values(headers, &header::CONTENT_RANGE).next();
    let parted = values(headers, &header::CONTENT_TYPE).any(|value| value.starts_with("multipart/byteranges"));
    let found = |told: &str| format!("content-range: {told}");
    match (status, told) {
        (StatusCode::PARTIAL_CONTENT, None) if !parted => broken.add(&rule::RANGE_MISSING, "no content-range"),
        (StatusCode::RANGE_NOT_SATISFIABLE, None) => broken.add(&rule::RANGE_LENGTH, "no content-range"),
        (StatusCode::PARTIAL_CONTENT, Some(told)) => match part(&told) {
            _ if parted => broken.add(&rule::RANGE_WRONG, format!("{} beside several parts", found(&told))),
            Some(expected) => {
                let length = answer.body().len().filter(|length| *length > 0 || !asked.is_head());
                if length.is_some_and(|length| length != expected) {
                    let length = length.unwrap_or_default();
                    broken.add(&rule::RANGE_WRONG, format!("{} on a body of {length} bytes", found(&told)));
                }
            }
            None if told.starts_with("bytes ") => broken.add(&rule::RANGE_WRONG, found(&told)),
            None => {}
        },
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(told)) => {
            if told.strip_prefix("bytes ").is_some_and(|rest| !rest.strip_prefix("*/").is_some_and(is_number)) {
                broken.add(&rule::RANGE_WRONG, found(&told));
            }
        }
        (_, Some(told)) => broken.add(&rule::RANGE_UNEXPECTED, format!("{} on a {}", found(&told), status.as_u16())),
        (_, None) => {}
    }
}

/// How long a part is: of `bytes FIRST-LAST/LENGTH` or `bytes FIRST-LAST/*`.
fn part(told: &str) -> Option<u64> {
    let (range, length) = told.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let inside = length == "*" || length.parse::<u64>().is_ok_and(|length| last < length);
    if inside { last.checked_sub(first)?.checked_add(1) } else { None }
}

fn negotiation(asked: &Asked, answer: &Response, broken: &mut Broken<'_>) {
    let headers = answer.headers();
    let varies = list(headers, &header::VARY);
    // `*` beside names, and a name twice, say no more than once, and are no mistake.
    for name in varies.iter().filter(|name| !is_token(name)) {
        broken.add(&rule::VARY_SYNTAX, format!("vary: {name}"));
    }
    // What is stored nowhere is mixed up nowhere.
    let stored = matches!(asked.method, Method::GET | Method::HEAD)
        && !list(headers, &header::CACHE_CONTROL).iter().any(|directive| directive == "no-store");
    let coded = headers.contains_key(header::CONTENT_ENCODING) && !asked.codings.is_empty();
    if stored && coded && !varies.iter().any(|name| name == "*" || name == header::ACCEPT_ENCODING.as_str()) {
        broken.add(&rule::VARY_MISSING, "content-encoding, and no vary: accept-encoding");
    }
    // Whether `access-control-allow-origin` repeats the client's origin or names a fixed one, one answer does not tell.
    let shared = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let credentials = headers.get(header::ACCESS_CONTROL_ALLOW_CREDENTIALS).is_some_and(|value| value == "true");
    if credentials && shared.is_some_and(|value| value == "*") {
        broken.add(&rule::CORS_STAR, "access-control-allow-origin: *");
    }
}

fn dates(headers: &HeaderMap, side: Side, broken: &mut Broken<'_>) {
    // The server's clock is what counts; from within it is this one.
    let told = headers.get(header::DATE).filter(|_| side == Side::Outside).and_then(date);
    let now = told.unwrap_or_else(SystemTime::now);
    for name in [header::DATE, header::LAST_MODIFIED, header::EXPIRES] {
        let Some(value) = headers.get(&name) else { continue };
        match date(value) {
            None => broken.add(&rule::DATE_SYNTAX, format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))),
            Some(time) if name == header::LAST_MODIFIED && is_later(time, now) => {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                broken.add(&rule::LAST_MODIFIED_FUTURE, format!("last-modified: {value}"));
            }
            Some(_) => {}
        }
    }
    if let Some(value) = headers.get(header::RETRY_AFTER)
        && !value.to_str().is_ok_and(is_number)
        && date(value).is_none()
    {
        broken.add(&rule::RETRY_AFTER, format!("retry-after: {}", String::from_utf8_lossy(value.as_bytes())));
    }
}

fn caches(headers: &HeaderMap, broken: &mut Broken<'_>) {
    const SECONDS: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
    const BARE: [&str; 7] =
        ["no-store", "no-transform", "must-revalidate", "proxy-revalidate", "must-understand", "public", "immutable"];
    let elements = list(headers, &header::CACHE_CONTROL);
    let directives: Vec<(&str, Option<&str>)> = elements.iter().map(|element| pair(element)).collect();
    for (element, (name, value)) in elements.iter().zip(&directives) {
        let readable = is_token(name)
            && (!SECONDS.contains(name) || value.is_some_and(is_number))
            && (!BARE.contains(name) || value.is_none());
        if !readable {
            broken.add(&rule::CACHE_SYNTAX, format!("cache-control: {element}"));
        }
    }
    let bare = |wanted: &str| directives.contains(&(wanted, None));
    let lives = directives.iter().any(|(name, value)| {
        matches!(*name, "max-age" | "s-maxage")
            && value.and_then(|value| value.parse::<u64>().ok()).is_some_and(|age| age > 0)
    });
    // Of two lives a cache takes the first, or none (RFC 9111 §4.2.1).
    let two_lives = SECONDS.iter().any(|wanted| {
        let mut all = directives.iter().filter(|(name, _)| name == wanted);
        let first = all.next();
        all.any(|other| Some(other) != first)
    });
    // Who understands the status may store it in spite of `no-store` (RFC 9111 §5.2.2.3).
    let never = bare("no-store") && !bare("must-understand");
    if two_lives || (never && (bare("public") || bare("immutable") || lives)) || (bare("public") && bare("private")) {
        broken.add(&rule::CACHE_CONTRADICTION, format!("cache-control: {}", elements.join(", ")));
    }
    // `no-cache="set-cookie"` and `private="set-cookie"` keep it from others (RFC 9111 §5.2.2.4, §5.2.2.7).
    let without = |(name, value): &(&str, Option<&str>)| {
        let named = |names: &str| names.split(',').any(|name| name.trim() == "set-cookie");
        matches!(*name, "private" | "no-cache") && value.is_some_and(named)
    };
    let shared = bare("public") && !bare("private") && !never && !directives.iter().any(without);
    if shared && headers.contains_key(header::SET_COOKIE) {
        broken.add(&rule::COOKIE_SHARED, "set-cookie beside cache-control: public");
    }
}

fn references(headers: &HeaderMap, broken: &mut Broken<'_>) {
    for (name, rule) in
        [(header::LOCATION, &rule::LOCATION_SYNTAX), (header::CONTENT_LOCATION, &rule::LOCATION_OF_CONTENT)]
    {
        for value in values(headers, &name).filter(|value| !is_reference(value)) {
            // A query may hold secrets.
            let path = value.split(['?', '#']).next().unwrap_or_default();
            broken.add(rule, format!("{name}: {path}"));
        }
    }
}

fn cookies(asked: &Asked, headers: &HeaderMap, side: Side, broken: &mut Broken<'_>) {
    let mut seen = HashSet::new();
    for line in headers.get_all(header::SET_COOKIE) {
        let Ok(line) = std::str::from_utf8(line.as_bytes()) else {
            broken.add(&rule::COOKIE_SYNTAX, "a cookie of other letters than ASCII");
            continue;
        };
        let mut fields = line.split(';').map(str::trim);
        let first = fields.next().unwrap_or_default();
        let (name, value) = first.split_once('=').unwrap_or(("", first));
        let attributes: Vec<(String, &str)> = fields
            .map(|field| field.split_once('=').unwrap_or((field, "")))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
            .collect();
        if let Some(problem) = unreadable(name, value, &attributes) {
            // The name only: the value lets in who has it.
            broken.add(&rule::COOKIE_SYNTAX, format!("the cookie {name:?}: {problem}"));
            continue;
        }
        let of = |key: &str| attributes.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value);
        let attributes = Attributes {
            secure: of("secure").is_some(),
            http_only: of("httponly").is_some(),
            domain: of("domain").is_some(),
            root: of("path") == Some("/"),
            cross_site: of("samesite").is_some_and(|value| value.eq_ignore_ascii_case("none")),
            partitioned: of("partitioned").is_some(),
        };
        let problem = match attributes.refused(name) {
            Some(refused) => Some(refused.to_string()),
            None if name.len() + value.len() > Cookie::MAX_BYTES => Some("more than 4096 bytes".to_owned()),
            None if attributes.secure && side == Side::Outside && !asked.trusted => {
                Some("`Secure`, and not by https".to_owned())
            }
            None => None,
        };
        if let Some(problem) = problem {
            broken.add(&rule::COOKIE_REFUSED, format!("the cookie {name:?}: {problem}"));
        }
        let key = (name.to_owned(), of("domain").map(str::to_ascii_lowercase), of("path").map(str::to_owned));
        if !seen.insert(key) {
            broken.add(&rule::COOKIE_DOUBLED, format!("the cookie {name:?} twice"));
        }
    }
}

/// RFC 6265 §4.1.1.
fn unreadable(name: &str, value: &str, attributes: &[(String, &str)]) -> Option<String> {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let octet = |byte: u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    if !is_token(name) {
        return Some("expected a name of letters, digits and `-_.`".to_owned());
    }
    if !inner.bytes().all(octet) {
        return Some("the value has a space, a comma, a quote, a backslash or another letter than ASCII".to_owned());
    }
    let expires = |value: &str| http::HeaderValue::from_str(value).is_ok_and(|value| date(&value).is_some());
    attributes.iter().find_map(|(name, value)| {
        let fits = match name.as_str() {
            "expires" => expires(value),
            "max-age" => is_number(value.strip_prefix('-').unwrap_or(value)),
            "samesite" => ["strict", "lax", "none"].iter().any(|known| value.eq_ignore_ascii_case(known)),
            "path" => value.is_empty() || value.starts_with('/'),
            "domain" => !value.is_empty(),
            "secure" | "httponly" | "partitioned" => value.is_empty(),
            // Others may be there, and are passed over (`extension-av`).
            _ => true,
        };
        (!fits).then(|| format!("the attribute {name:?}"))
    })
}

fn security(asked: &Asked, headers: &HeaderMap, broken: &mut Broken<'_>) {
    if let Some(value) = values(headers, &header::STRICT_TRANSPORT_SECURITY).next() {
        let directives: Vec<String> = parts(&value, ';').iter().map(|one| one.to_ascii_lowercase()).collect();
        let aged = directives.iter().any(|one| matches!(pair(one), ("max-age", Some(age)) if is_number(age)));
        if !aged || directives.iter().any(|one| !is_token(pair(one).0)) {
            broken.add(&rule::HSTS_SYNTAX, format!("strict-transport-security: {value}"));
        } else if !asked.trusted {
            broken.add(&rule::HSTS_OVER_HTTP, format!("strict-transport-security: {value}"));
        }
    }
    for value in values(headers, &header::X_CONTENT_TYPE_OPTIONS) {
        if !value.eq_ignore_ascii_case("nosniff") {
            broken.add(&rule::NOSNIFF_SYNTAX, format!("x-content-type-options: {value}"));
        }
    }
    for name in [header::CONTENT_SECURITY_POLICY, header::CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        for found in values(headers, &name).filter_map(|line| line.split(',').find_map(policy_problem)) {
            broken.add(&rule::CSP_SYNTAX, found);
        }
    }
}

/// The first part of a policy that a browser drops, or takes for a host.
fn policy_problem(policy: &str) -> Option<String> {
    let mut seen: Vec<String> = Vec::new();
    for directive in policy.split(';').map(str::trim).filter(|directive| !directive.is_empty()) {
        let mut words = directive.split_ascii_whitespace();
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Some(format!("the directive {name:?}"));
        }
        if seen.contains(&name) {
            return Some(format!("the directive {name:?} twice: the second is ignored"));
        }
        let sources: Vec<&str> = words.collect();
        if name.ends_with("-src") || matches!(name.as_str(), "base-uri" | "form-action" | "frame-ancestors") {
            if sources.contains(&"'none'") && sources.len() > 1 {
                return Some(format!("'none' beside others in {name}"));
            }
            if let Some(word) = sources.iter().find(|word| !is_source(word)) {
                return Some(format!("{word} in {name}"));
            }
        }
        seen.push(name);
    }
    None
}

fn is_source(word: &str) -> bool {
    const KEYWORDS: [&str; 15] = [
        "self",
        "none",
        "unsafe-inline",
        "unsafe-eval",
        "unsafe-hashes",
        "strict-dynamic",
        "report-sample",
        "wasm-unsafe-eval",
        "inline-speculation-rules",
        "trusted-types-eval",
        "report-sha256",
        "report-sha384",
        "report-sha512",
        "unsafe-allow-redirects",
        "unsafe-webtransport-hashes",
    ];
    const KEYS: [&str; 4] = ["nonce-", "sha256-", "sha384-", "sha512-"];
    match word.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'').is_some_and(|inner| {
            let lower = inner.to_ascii_lowercase();
            KEYWORDS.contains(&lower.as_str())
                || KEYS.iter().any(|key| lower.len() > key.len() && lower.starts_with(key))
        }),
        // A host or a scheme; a keyword without its quotes would be a host of that name.
        None => {
            !word.contains(['\'', '"'])
                && word.is_ascii()
                && !KEYWORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
        }
    }
}
