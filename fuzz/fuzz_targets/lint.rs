//! Whatever an exchange looks like, the rules say of it what they found, each at most as often as there are lines of headers, and
//! nothing of a cookie's value or of the query.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use purlin::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use purlin::lint::{Asked, Reading, Side, Violation, check};
use purlin::{Body, Response};

#[derive(Arbitrary, Debug)]
struct Exchange {
    method: u8,
    path: Vec<u8>,
    query: Vec<u8>,
    status: u16,
    asked: Vec<(u8, Vec<u8>)>,
    answer: Vec<(u8, Vec<u8>)>,
    body: Vec<u8>,
    steps: Vec<Step>,
    outside: bool,
}

/// What comes of a body.
#[derive(Arbitrary, Debug)]
enum Step {
    Poll,
    Data(u16),
    Trailers(Vec<(u8, Vec<u8>)>),
    Complete,
    End,
    Fail,
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "PURLIN-LINT"];

/// Those that a rule reads.
const NAMES: [&str; 33] = [
    "accept-encoding",
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "date",
    "etag",
    "expires",
    "forwarded",
    "host",
    "last-modified",
    "location",
    "origin",
    "proxy-authenticate",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-forwarded-proto",
    "x-other",
];

/// What stands in the value of a cookie and in a query, and nowhere else.
const SECRET: &str = "Hunter2Hunter2";

/// Bytes as a target has them, line breaks among them.
fn encoded(bytes: &[u8]) -> String {
    let letter = |byte: &u8| match byte {
        b'a'..=b'z' | b':' | b'+' | b'&' | b'-' => char::from(*byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    bytes.iter().map(letter).collect()
}

fn lines(lines: &[(u8, Vec<u8>)]) -> Vec<(HeaderName, HeaderValue)> {
    let line = |(name, value): &(u8, Vec<u8>)| {
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        Some((name, HeaderValue::from_bytes(value).ok()?))
    };
    lines.iter().filter_map(line).collect()
}

fn looked_at(broken: &[Violation]) {
    for violation in broken {
        assert!(!violation.found().is_empty());
        let said = violation.to_string();
        assert!(said.contains(violation.rule().id));
        assert!(!said.to_ascii_lowercase().contains(&SECRET.to_ascii_lowercase()), "{said}");
    }
}

fuzz_target!(|exchange: Exchange| {
    let mut request = Request::new(Body::empty());
    let method = METHODS[usize::from(exchange.method) % METHODS.len()];
    *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a token");
    let target = format!("/{}?{}&secret={SECRET}", encoded(&exchange.path), encoded(&exchange.query));
    let Ok(target) = Uri::try_from(target) else { return };
    *request.uri_mut() = target;
    request.headers_mut().extend(lines(&exchange.asked));
    let asked = Asked::by(&request);
    assert!(!format!("{asked:?}").contains(SECRET));
    let mut answer = Response::new(Body::from(exchange.body));
    *answer.status_mut() = StatusCode::from_u16(exchange.status).unwrap_or_default();
    for (name, value) in lines(&exchange.answer) {
        answer.headers_mut().append(name, value);
    }
    let cookie = HeaderValue::from_str(&format!("id={SECRET}; Path=/")).expect("visible ASCII");
    answer.headers_mut().append("set-cookie", cookie);
    let side = if exchange.outside { Side::Outside } else { Side::Inside };
    let broken = check(&asked, &answer, side);
    // A list in a line has elements: of each byte there is one at most.
    let bytes: usize = answer.headers().values().map(|value| value.len() + 2).sum();
    assert!(broken.len() <= bytes + 40, "{} of {bytes} bytes", broken.len());
    looked_at(&broken);
    let mut reading = Reading::of(&asked, &answer);
    let mut said = Vec::new();
    for step in &exchange.steps {
        match step {
            Step::Poll => reading.poll(),
            Step::Data(length) => reading.data(u64::from(*length)),
            Step::Trailers(trailers) => reading.trailers(&HeaderMap::from_iter(lines(trailers))),
            Step::Complete => reading.complete(),
            Step::End => reading.end(),
            Step::Fail => reading.fail(),
        }
        said.append(&mut reading.broken());
    }
    looked_at(&said);
    for (at, violation) in said.iter().enumerate() {
        assert!(said[..at].iter().all(|other| other.rule() != violation.rule()), "{violation} twice");
    }
});
