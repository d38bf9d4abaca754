//! The opening handshake (RFC 6455 §4.2): what a request has to say.

use crate::{Error, Result, StatusCode};
use ct_codecs::{Base64, Decoder, Encoder};
use http::header::{ALLOW, CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// What the key is joined with (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to the key of a request that asks for a WebSocket.
///
/// # Errors
///
/// What it does not say as it has to, by the header's name.
pub(super) fn accept(method: &Method, headers: &HeaderMap) -> Result<String> {
    if method != Method::GET {
        let message = format!("a WebSocket is opened by GET, found {method}");
        return Err(Error::new(StatusCode::METHOD_NOT_ALLOWED, message).header(ALLOW, HeaderValue::from_static("GET")));
    }
    let has = |name: HeaderName, token: &str| listed(headers, name).any(|found| found.eq_ignore_ascii_case(token));
    if !has(UPGRADE, "websocket") {
        return Err(upgrade_required("`Upgrade: websocket`", headers.get(UPGRADE)));
    }
    if !has(CONNECTION, "upgrade") {
        return Err(upgrade_required("`Connection: Upgrade`", headers.get(CONNECTION)));
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") || several(headers, SEC_WEBSOCKET_VERSION) {
        // §4.4
        return Err(upgrade_required("`Sec-WebSocket-Version: 13`", version)
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY);
    let decoded = key.and_then(|key| Base64::decode_to_vec(key.as_bytes(), None).ok());
    match (key, decoded) {
        (Some(key), Some(nonce)) if nonce.len() == 16 && !several(headers, SEC_WEBSOCKET_KEY) => {
            accept_key(key.as_bytes())
        }
        _ => {
            let message = format!("expected one Sec-WebSocket-Key of 16 bytes in base64, found {}", shown(key));
            Err(Error::new(StatusCode::BAD_REQUEST, message.clone()).public(message))
        }
    }
}

/// What proves that the answer is one to this key (§4.2.2).
pub(crate) fn accept_key(key: &[u8]) -> Result<String> {
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(key);
    sha1.update(GUID);
    Base64::encode_to_string(sha1.digest().bytes()).map_err(Error::from)
}

fn upgrade_required(expected: &str, found: Option<&HeaderValue>) -> Error {
    let message = format!("here is a WebSocket: expected {expected}, found {}", shown(found));
    // RFC 9110 §15.5.22
    Error::new(StatusCode::UPGRADE_REQUIRED, message)
        .public(format!("Here is a WebSocket: the request has to say {expected}."))
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(CONNECTION, HeaderValue::from_static("upgrade"))
}

fn shown(value: Option<&HeaderValue>) -> String {
    value.map_or("none".to_owned(), |value| format!("{value:?}"))
}

fn several(headers: &HeaderMap, name: HeaderName) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

/// The parts of a list, of all headers of this name.
pub(super) fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty())
}

/// Whether the page that asks is one of this site: of the same scheme, host and port.
///
/// The scheme is that by which the client came: a site behind a proxy knows it from that, by the layer `TrustedProxies`.
pub(super) fn is_same_origin(headers: &HeaderMap, https: bool) -> bool {
    // The browser compares them itself, and knows what a proxy may hide.
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(ORIGIN), text(HOST)) else { return false };
    let (scheme, port) = if https { ("https://", ":443") } else { ("http://", ":80") };
    let bare = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    origin.strip_prefix(scheme).is_some_and(|of| bare(of) == bare(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_origin_is_the_sites_own_if_scheme_host_and_port_are() {
        let table = [
            ("http://a.example", "a.example", false, None, true),
            ("http://A.example", "a.EXAMPLE", false, None, true),
            ("http://a.example:80", "a.example", false, None, true),
            ("http://a.example", "a.example:80", false, None, true),
            ("http://a.example:8000", "a.example:8000", false, None, true),
            ("https://a.example", "a.example", true, None, true),
            ("https://a.example", "a.example:443", true, None, true),
            ("http://[::1]:8000", "[::1]:8000", false, None, true),
            ("http://a.example", "a.example", true, None, false),
            ("https://a.example", "a.example", false, None, false),
            ("http://b.example", "a.example", false, None, false),
            ("http://a.example:8001", "a.example:8000", false, None, false),
            ("http://a.example.evil", "a.example", false, None, false),
            ("http://evil/a.example", "a.example", false, None, false),
            ("null", "a.example", false, None, false),
            ("", "a.example", false, None, false),
            ("https://a.example", "a.example", false, Some("same-origin"), true),
            ("http://a.example", "a.example", false, Some("same-site"), false),
            ("http://a.example", "a.example", false, Some("cross-site"), false),
            ("http://a.example", "a.example", false, Some("none"), false),
        ];
        for (origin, host, https, site, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, origin.parse().unwrap());
            headers.insert(HOST, host.parse().unwrap());
            if let Some(site) = site {
                headers.insert("sec-fetch-site", site.parse().unwrap());
            }
            assert_eq!(is_same_origin(&headers, https), expected, "{origin} at {host}, https {https}, {site:?}");
        }
    }
}
