//! What clients can write into the headers of proxies neither panics nor hides what the nearest proxy appended.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::forwarded::{Network, Node, forwarded, x_forwarded};
use purlin::{HeaderMap, HeaderValue};
use std::net::IpAddr;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let theirs: IpAddr = [192, 0, 2, 60].into();
    let appended = |prefix: &str| {
        let mut line = data.to_vec();
        line.extend_from_slice(prefix.as_bytes());
        HeaderValue::from_bytes(&line).ok()
    };

    // On a line of its own, or appended to the client's.
    for line in [Some(HeaderValue::from_static("for=192.0.2.60")), appended(", for=192.0.2.60")].into_iter().flatten() {
        let mut headers = HeaderMap::new();
        if line == "for=192.0.2.60" {
            headers.append("forwarded", value.clone());
        }
        headers.append("forwarded", line);
        if let Ok(hops) = forwarded(&headers) {
            let last = hops.unwrap().pop().unwrap();
            assert_eq!(last.from, Some(Node::Ip(theirs)), "{headers:?}");
        }
    }
    for line in [Some(HeaderValue::from_static("192.0.2.60")), appended(", 192.0.2.60")].into_iter().flatten() {
        let mut headers = HeaderMap::new();
        if line == "192.0.2.60" {
            headers.append("x-forwarded-for", value.clone());
        }
        headers.append("x-forwarded-for", line);
        headers.append("x-forwarded-proto", value.clone());
        headers.append("x-forwarded-host", value.clone());
        let last = x_forwarded(&headers).unwrap().pop().unwrap();
        assert_eq!(last.from, Some(Node::Ip(theirs)), "{headers:?}");
    }
    if let Ok(network) = std::str::from_utf8(data).unwrap_or_default().parse::<Network>() {
        assert_eq!(network.to_string().parse::<Network>().ok(), Some(network));
    }
});
