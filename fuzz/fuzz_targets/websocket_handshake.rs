//! Whatever asks for a WebSocket: only what may gets one, of what it has offered, and the division of lists into lines means nothing.
//!
//! `cargo fuzz run websocket_handshake corpus/websocket_handshake seeds/websocket_handshake` begins with what browsers say.
#![no_main]

use http::header::{HOST, ORIGIN, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use purlin::extract::FromRequest;
use purlin::websocket::{Deflate, WebSocketUpgrade};
use purlin::{Body, Request, Response, Result};
use tokio::runtime::Runtime;
use url::Url;

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
}

const SPOKEN: [&str; 3] = ["chat", "superchat", "v2.chat"];

fn answer(method: &Method, headers: &HeaderMap, deflate: Deflate) -> Result<Response> {
    let mut req = Request::new(Body::empty());
    *req.method_mut() = method.clone();
    *req.headers_mut() = headers.clone();
    let upgrade = hyper::upgrade::on(&mut http::Request::new(()));
    req.extensions_mut().insert(upgrade);
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let upgrade = WebSocketUpgrade::from_request(&mut req).await?;
            let answer = upgrade.protocols(SPOKEN).deflate(deflate).on(async |_| Ok(()));
            // The connection is none: what would speak on it ends.
            tokio::task::yield_now().await;
            answer
        })
    })
}

/// The same in one line, where that can be read at all.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderMap> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().ok()).collect::<Option<Vec<_>>>()?;
    let mut joined = headers.clone();
    if !lines.is_empty() {
        joined.insert(name, HeaderValue::try_from(lines.join(",")).ok()?);
    }
    Some(joined)
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some(Ok(method)) = lines.next().map(|line| Method::from_bytes(line.as_bytes())) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
    for takeover in [false, true] {
        let deflate = || Deflate::new().context_takeover(takeover);
        let got = answer(&method, &headers, deflate());
        for name in [SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL] {
            let Some(joined) = joined(&headers, &name) else { continue };
            match (&got, answer(&method, &joined, deflate())) {
                (Ok(got), Ok(other)) => assert_eq!(got.headers(), other.headers()),
                (Err(got), Err(other)) => assert_eq!(got.status(), other.status()),
                (got, other) => panic!("{got:?} in lines, {other:?} in one"),
            }
        }
        let got = match got {
            Ok(got) => got,
            Err(error) => {
                assert!([400, 403, 405, 426].contains(&error.status().as_u16()), "{error:?}");
                continue;
            }
        };
        assert_eq!((got.status().as_u16(), method.as_str()), (101, "GET"));
        assert_eq!(headers.get("sec-websocket-version").map(HeaderValue::as_bytes), Some(&b"13"[..]));
        assert_eq!(headers.get("sec-websocket-key").map(HeaderValue::len), Some(24), "16 bytes in base64");
        let said = |name: &HeaderName| got.headers().get(name).map(|value| value.to_str().expect("in ASCII"));
        if let Some(protocol) = said(&SEC_WEBSOCKET_PROTOCOL) {
            assert!(SPOKEN.contains(&protocol));
        }
        if let Some(agreed) = said(&SEC_WEBSOCKET_EXTENSIONS) {
            let offers = || headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|offer| offer.to_str().ok());
            let mut params = agreed.split("; ");
            assert_eq!(params.next(), Some("permessage-deflate"));
            for param in params {
                match param.split_once('=') {
                    None => assert!(["server_no_context_takeover", "client_no_context_takeover"].contains(&param)),
                    Some((name, bits)) => {
                        assert_eq!(name, "server_max_window_bits");
                        assert!((9..16).contains(&bits.parse::<u8>().expect("a number")));
                        assert!(offers().any(|offer| offer.contains(name) && offer.contains(bits)));
                    }
                }
            }
            assert!(takeover || agreed.contains("server_no_context_takeover; client_no_context_takeover"));
        }
        // A page's origin, as browsers write it, is that of the host, by their own rules.
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(Ok(origin)) = text(ORIGIN).map(Url::parse)
            && text(ORIGIN) == Some(&origin.origin().ascii_serialization())
            && !headers.contains_key("sec-fetch-site")
        {
            let host = Url::parse(&format!("http://{}", text(HOST).expect("a host"))).expect("a good host");
            assert_eq!(origin.origin(), host.origin());
        }
    }
});
