//! `TraceContext`: which trace a request is part of, as `traceparent` and `tracestate` say (W3C Trace Context).
//!
//! ```
//! use purlin::trace_context::TraceContext;
//! use purlin::{HeaderMap, HeaderValue};
//!
//! let mut headers = HeaderMap::new();
//! headers.insert("traceparent", HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
//! let context = TraceContext::of(&headers).unwrap();
//! assert_eq!(context.trace_id, 0x0af7651916cd43dd8448eb211c80319c);
//! assert!(context.is_sampled());
//! assert_eq!(context.traceparent(), headers["traceparent"]);
//! ```

use http::{HeaderMap, HeaderName};

/// The header of the trace's own identity.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header of what the systems on the way have to say of it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A place in a trace: the span of whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Of the whole trace; never nought.
    pub trace_id: u128,
    /// Of the span that asks; never nought.
    pub parent_id: u64,
    /// The lowest bit says whether the trace is recorded.
    pub flags: u8,
    /// The members of `tracestate` in their order, `key=value` with commas between; empty where there are none.
    pub state: String,
}

/// Members of `tracestate`, at most (§3.3.1.1).
const MOST_MEMBERS: usize = 32;

/// So long a state is passed on in any case (§3.3.1.5); of a longer one, members are left out until it is not.
const LONGEST_STATE: usize = 512;

/// What is longer than this is left out first.
const LONG_MEMBER: usize = 128;

impl TraceContext {
    /// Reads the headers of a request; `None` if they do not say, or not in the way of the recommendation: then the trace begins here.
    ///
    /// A version from the future is read as far as this one goes (§4.3). A `tracestate` that breaks the rules is dropped, the rest
    /// is kept.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        // Of two, nobody knows which one is true.
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (trace_id, parent_id, flags) = parent(line.as_bytes())?;
        let lines = headers.get_all(TRACESTATE).iter().map(|line| line.to_str().ok());
        let state = lines.collect::<Option<Vec<&str>>>().and_then(|lines| state(&lines)).unwrap_or_default();
        Some(Self { trace_id, parent_id, flags, state })
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// As the header has it, in the version 00.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

/// §3.2: `00-` trace `-` parent `-` flags, all of it small hexadecimal digits.
fn parent(line: &[u8]) -> Option<(u128, u64, u8)> {
    let (known, rest) = line.split_at_checked(55)?;
    let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
    let version = hex(&known[..2])?;
    let ended = rest.is_empty() || version > 0 && rest[0] == b'-';
    let trace_id = hex(&known[3..35])?;
    // No more digits than these fit.
    let (parent_id, flags) = (hex(&known[36..52])? as u64, hex(&known[53..])? as u8);
    // Others than the two flags that there are mean nothing here (§3.2.2.5.2).
    (dashes && ended && version < 0xff && trace_id != 0 && parent_id != 0).then_some((trace_id, parent_id, flags & 3))
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// §3.3: members of all lines; `None` if one of them is none, or there are too many.
fn state(lines: &[&str]) -> Option<String> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    let mut count = 0;
    for member in lines.iter().flat_map(|line| line.split(',')).map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        count += 1;
        if !is_key(key) || !is_value(value) || count > MOST_MEMBERS {
            return None;
        }
        // The first is the latest.
        if !members.iter().any(|(known, _)| *known == key) {
            members.push((key, value));
        }
    }
    let length = |members: &[(&str, &str)]| {
        let all: usize = members.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        all.saturating_sub(1)
    };
    if length(&members) > LONGEST_STATE {
        members.retain(|(key, value)| key.len() + value.len() < LONG_MEMBER);
        while length(&members) > LONGEST_STATE {
            members.pop();
        }
    }
    let members: Vec<String> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Some(members.join(","))
}

/// `vendor`, or `tenant@vendor`.
fn is_key(key: &str) -> bool {
    let fits = |part: &str, most: usize| {
        let first = part.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
        first && part.len() <= most && part.bytes().all(rest)
    };
    match key.split_once('@') {
        Some((tenant, vendor)) => fits(tenant, 241) && fits(vendor, 14),
        None => fits(key, 256),
    }
}

/// Printable ASCII without `,` and `=`, no space at its end.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=')
        && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(parent.as_bytes()).unwrap());
        }
        for state in states {
            headers.append(TRACESTATE, HeaderValue::from_bytes(state.as_bytes()).unwrap());
        }
        headers
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_parent_is_read_or_it_is_none() {
        let table = [
            (format!("00-{TRACE}-{SPAN}-01"), Some(1)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(0)),
            (format!("00-{TRACE}-{SPAN}-02"), Some(2)),
            (format!("00-{TRACE}-{SPAN}-ff"), Some(3)),
            (format!("00-{TRACE}-{SPAN}-fc"), Some(0)),
            // From the future: more may follow, after a dash.
            (format!("01-{TRACE}-{SPAN}-01"), Some(1)),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), Some(1)),
            (format!("cc-{TRACE}-{SPAN}-01."), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("00-{TRACE}-{SPAN}-0"), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00-{TRACE}-{SPAN}-"), None),
            (format!("0-{TRACE}-{SPAN}-01"), None),
            (format!("000-{TRACE}-{SPAN}-01"), None),
            (format!("+0-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-+1"), None),
            (format!("00_{TRACE}_{SPAN}_01"), None),
            (format!("00-{TRACE}_{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
            (format!("00-{TRACE}-{SPAN}-0A"), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{SPAN}-01", "g".repeat(32)), None),
            (format!("00-{}-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{TRACE}0-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}0-01"), None),
            (format!(" 00-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-\u{e4}"), None),
            (String::new(), None),
        ];
        for (line, flags) in table {
            let read = TraceContext::of(&headers(&[&line], &[]));
            assert_eq!(read.as_ref().map(|context| context.flags), flags, "{line}");
            if let Some(read) = read {
                assert_eq!((read.trace_id, read.parent_id), (0x0af7651916cd43dd8448eb211c80319c, 0xb7ad6b7169203331));
            }
        }
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(TraceContext::of(&headers(&[&good, &good], &[])), None);
        assert_eq!(TraceContext::of(&headers(&[], &["a=1"])), None);
    }

    #[test]
    fn a_state_is_kept_or_dropped_as_a_whole() {
        let many = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        let key = |length: usize| format!("{}=1", "k".repeat(length));
        let table: Vec<(Vec<String>, String)> = [
            (vec!["a=1"], "a=1"),
            (vec!["a=1,b=2", "c=3"], "a=1,b=2,c=3"),
            (vec![" a=1 \t, b=2 ,, ,"], "a=1,b=2"),
            (vec![""], ""),
            (vec!["a=1,a=2,b=3"], "a=1,b=3"),
            (vec!["0a-_*/=1"], "0a-_*/=1"),
            (vec!["t0@v=x y"], "t0@v=x y"),
            (vec!["@v=1"], ""),
            (vec!["t@=1"], ""),
            (vec!["t@v@w=1"], ""),
            (vec!["A=1"], ""),
            (vec!["_a=1"], ""),
            (vec!["a"], ""),
            (vec!["a="], ""),
            (vec!["=1"], ""),
            (vec!["a=1=2"], ""),
            (vec!["a =1"], ""),
            (vec!["b=2,a=\u{e4}"], ""),
            (vec!["t@vvvvvvvvvvvvvvv=1"], ""),
        ]
        .map(|(lines, state)| (lines.into_iter().map(str::to_owned).collect(), state.to_owned()))
        .into_iter()
        .chain([
            (vec![many(32)], many(32)),
            (vec![many(33)], String::new()),
            (vec![many(20), many(13)], String::new()),
            (vec![key(256)], key(256)),
            (vec![key(257)], String::new()),
            (vec![format!("a={}", "v".repeat(256))], format!("a={}", "v".repeat(256))),
            (vec![format!("a={}", "v".repeat(257))], String::new()),
            // Too long in all: first the long ones go, then the last ones.
            (vec![format!("a={0},b=1,c={0}", "v".repeat(256))], "b=1".to_owned()),
            (
                vec![(0..6).map(|at| format!("k{at}={}", "v".repeat(100))).collect::<Vec<_>>().join(",")],
                (0..4).map(|at| format!("k{at}={}", "v".repeat(100))).collect::<Vec<_>>().join(","),
            ),
        ])
        .collect();
        let parent = format!("00-{TRACE}-{SPAN}-01");
        for (lines, expected) in table {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let read = TraceContext::of(&headers(&[&parent], &lines)).unwrap();
            assert_eq!(read.state, expected, "{lines:?}");
        }
    }
}
