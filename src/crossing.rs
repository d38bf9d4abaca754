//! What crosses the boundary between two processes of a site beside a request and its answer, each in one header.
//!
//! The header of a request is written anew by the process that sends it, so that no client can forge it, and is taken off by the
//! one that receives it: no application sees it. The same goes for the answer's, in the other direction.

use crate::capabilities::Capabilities;
use crate::error::Place;
use crate::forwarded::Client;
use crate::request::{CspNonce, Https, MaxBody, OriginalMethod, OriginalUri};
use crate::response::{CarriedError, Logged};
use crate::router::{Params, add_params};
use crate::server::MindsDrain;
use crate::site::Stopping;
use crate::{Connection, Context as _, Error, Request, RequestExt, RequestId, Response, ResponseExt, Result};
use http::{HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// Beside a request: fields such as `peer=127.0.0.1:9`, with a tab in between.
const THERE: HeaderName = HeaderName::from_static("x-purlin-crossing");

/// Beside its answer: an object of JSON.
const BACK: HeaderName = HeaderName::from_static("x-purlin-crossing-back");

/// Writes down what is to be known of a request on the other side.
///
/// # Errors
///
/// What cannot stand in a header; nothing of it comes from the client without having been checked.
pub(crate) fn depart(req: &Request) -> Result<(HeaderName, HeaderValue)> {
    let extensions = req.extensions();
    let mut fields = String::with_capacity(128);
    let mut put = |name: &str, value: std::fmt::Arguments<'_>| {
        // Into a string, which does not fail.
        let _ = write!(fields, "{name}={value}\t");
    };
    if let Some(connection) = req.connection() {
        if let Some(peer) = connection.peer() {
            put("peer", format_args!("{peer}"));
        }
        if let Some(local) = connection.local() {
            put("local", format_args!("{local}"));
        }
    }
    if let Some(client) = extensions.get::<Client>() {
        match client.ip() {
            Some(ip) => put("client", format_args!("{ip}")),
            None => put("client", format_args!("unknown")),
        }
    }
    if req.is_https() {
        put("https", format_args!(""));
    }
    if let Some(id) = req.id() {
        put("id", format_args!("{id}"));
    }
    if let Some(OriginalUri(uri)) = extensions.get() {
        put("uri", format_args!("{uri}"));
    }
    if let Some(OriginalMethod(method)) = extensions.get() {
        put("method", format_args!("{method}"));
    }
    if let Some(max) = extensions.get::<MaxBody>() {
        put("max-body", format_args!("{}", max.bytes()));
    }
    if let Some(nonce) = extensions.get::<CspNonce>() {
        put("nonce", format_args!("{}", nonce.made().unwrap_or_default()));
    }
    // Which one it is, its own headers say.
    #[cfg(feature = "opentelemetry")]
    if crate::traces::ids().is_some() {
        put("trace", format_args!(""));
    }
    if let Some(params) = extensions.get::<Params>() {
        // As they stood in the path, percent-encoded.
        for (name, value) in params.iter() {
            put("param", format_args!("{name}={value}"));
        }
    }
    let value = HeaderValue::try_from(fields.trim_end()).context("writing down a request for another process")?;
    Ok((THERE, value))
}

/// Reads it again, into the request's extensions; the server there can do this.
///
/// # Errors
///
/// 400 Bad Request for a request that does not come from the other process.
pub(crate) fn arrive(req: &mut Request, server: Capabilities) -> Result<()> {
    let fields = req.headers_mut().remove(THERE).context("the request comes from no process of this site").or_400()?;
    let fields = std::str::from_utf8(fields.as_bytes()).or_400()?;
    let (mut peer, mut local) = (None::<SocketAddr>, None::<SocketAddr>);
    let mut params = Vec::new();
    #[cfg(feature = "opentelemetry")]
    let trace = crate::trace_context::TraceContext::of(req.headers());
    for (name, value) in fields.split('\t').filter_map(|field| field.split_once('=')) {
        let extensions = req.extensions_mut();
        match name {
            "peer" => peer = Some(value.parse().or_400()?),
            "local" => local = Some(value.parse().or_400()?),
            "client" if value == "unknown" => drop(extensions.insert(Client(None))),
            "client" => drop(extensions.insert(Client(Some(value.parse().or_400()?)))),
            "https" => drop(extensions.insert(Https)),
            "id" => drop(extensions.insert(RequestId::new(value).or_400()?)),
            "uri" => drop(extensions.insert(OriginalUri(value.parse::<Uri>().or_400()?))),
            "method" => drop(extensions.insert(OriginalMethod(value.parse::<Method>().or_400()?))),
            "max-body" => drop(extensions.insert(MaxBody::new(value.parse().or_400()?))),
            "nonce" => drop(extensions.insert(CspNonce::of((!value.is_empty()).then(|| value.to_owned())))),
            #[cfg(feature = "opentelemetry")]
            "trace" => trace.iter().for_each(|trace| drop(extensions.insert(trace.clone()))),
            "param" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                params.push((name.into(), value.to_owned()));
            }
            _ => {}
        }
    }
    let stopping = req.connection().map(Connection::stopping).unwrap_or_else(Stopping::never);
    let connection = Connection::new(peer, local).with_capabilities(server).with_stopping(stopping);
    req.extensions_mut().insert(connection);
    add_params(req, params);
    Ok(())
}

/// What goes back beside an answer.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Back {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Afar>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    logged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    /// Whether what the connection becomes ends by itself in a drain.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    minds_drain: bool,
}

/// An error that arose in another process: what of it can be written down. Its headers are the answer's already.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Afar {
    pub(crate) status: u16,
    /// The contexts, the message, the causes.
    pub(crate) chain: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public: Option<String>,
    pub(crate) places: Vec<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) panicked: bool,
}

/// How much of an error crosses: a head is no place for more.
const MAX_CAUSES: usize = 16;
const MAX_TEXT: usize = 4 * 1024;

impl Afar {
    fn of(error: &Error) -> Self {
        let text = |text: &str| crate::report::between_words(text, MAX_TEXT);
        Self {
            status: error.status().as_u16(),
            chain: error.chain().take(MAX_CAUSES).map(|cause| text(&cause)).collect(),
            public: error.public_message().map(text),
            places: error.places().iter().take(MAX_CAUSES).cloned().collect(),
            layer: error.layer().map(str::to_owned),
            route: error.route().map(text),
            kind: error.kind().map(str::to_owned),
            panicked: error.is_panic(),
        }
    }
}

/// Writes down what an answer carries, as one that leaves this process. `nonce` is the request's.
pub(crate) fn give_back(response: &mut Response, nonce: Option<&CspNonce>) {
    let back = Back {
        error: response.error().map(Afar::of),
        logged: response.extensions().get::<Logged>().is_some(),
        nonce: nonce.and_then(CspNonce::made).map(str::to_owned),
        minds_drain: response.extensions().get::<MindsDrain>().is_some(),
    };
    // It may come from a server that an application asks, and is none of its business.
    response.headers_mut().remove(BACK);
    if back.error.is_some() || back.logged || back.nonce.is_some() || back.minds_drain {
        // In JSON, control characters are escaped, all but one, and other bytes may stand in a header (RFC 9110 §5.5).
        let json = serde_json::to_string(&back).ok().map(|json| json.replace('\u{7f}', "\\u007f"));
        let header = json.and_then(|json| HeaderValue::from_bytes(json.as_bytes()).ok());
        if let Some(header) = header {
            response.headers_mut().insert(BACK, header);
        }
    }
    // The process that asked tells of it; here is nobody to do it again.
    response.extensions_mut().insert(Logged);
}

/// Reads it again, into the response's extensions. `nonce` is the request's.
pub(crate) fn take_back(response: &mut Response, nonce: Option<&CspNonce>) {
    let Some(back) = response.headers_mut().remove(BACK) else { return };
    // Written by `give_back`, in the same executable.
    let Ok(back) = serde_json::from_slice::<Back>(back.as_bytes()) else { return };
    if let Some(afar) = back.error {
        response.extensions_mut().insert(CarriedError::from(Error::from_afar(afar)));
    }
    if back.logged {
        response.extensions_mut().insert(Logged);
    }
    if back.minds_drain {
        response.extensions_mut().insert(MindsDrain);
    }
    if let (Some(nonce), Some(made)) = (nonce, back.nonce) {
        nonce.make(made);
    }
}

/// The same text for as long as the process lives. Those of layers and of types are few; of anything more, only that it was there.
pub(crate) fn kept(text: String) -> &'static str {
    static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    const MOST: usize = 1024;
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    if let Some(known) = kept.get(&*text) {
        return known;
    }
    if kept.len() >= MOST {
        return "(another)";
    }
    let text: &'static str = text.leak();
    kept.insert(text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;

    #[test]
    fn an_error_crosses_whatever_its_message_holds() {
        let message = "no such thing: \u{7f} \0 \r\n ä";
        let mut response = Response::from(Error::not_found(message));
        give_back(&mut response, None);
        // As a header is that was sent.
        let header = response.headers_mut().remove(BACK).unwrap();
        let mut there = Response::new(Body::empty());
        there.headers_mut().insert(BACK, header);
        take_back(&mut there, None);
        let error = there.extensions().get::<CarriedError>().unwrap();
        assert_eq!((error.message().as_str(), error.status()), (message, http::StatusCode::NOT_FOUND));
    }

    fn crossed(req: Request) -> Request {
        let (name, value) = depart(&req).unwrap();
        let mut there = Request::new(Body::empty());
        there.headers_mut().insert(name, value);
        arrive(&mut there, Capabilities::new().processes(true)).unwrap();
        assert!(there.headers().is_empty());
        there
    }

    #[test]
    fn what_the_outer_layers_know_of_a_request_crosses() {
        let mut req = Request::new(Body::empty());
        let peer: SocketAddr = "203.0.113.9:5".parse().unwrap();
        let local: SocketAddr = "[::1]:80".parse().unwrap();
        let nonce = CspNonce::default();
        let made = nonce.value().unwrap().to_owned();
        let extensions = req.extensions_mut();
        extensions.insert(Connection::new(Some(peer), Some(local)));
        extensions.insert(Client(Some("2001:db8::1".parse().unwrap())));
        extensions.insert(Https);
        extensions.insert(RequestId::new("abc/=").unwrap());
        extensions.insert(OriginalUri("/blog/a%20b?c=d&e".parse().unwrap()));
        extensions.insert(OriginalMethod(Method::POST));
        extensions.insert(MaxBody::new(77));
        extensions.insert(nonce);
        add_params(&mut req, vec![("slug".into(), "a%3Db=c".to_owned()), ("rest".into(), String::new())]);
        let there = crossed(req);
        let connection = there.connection().unwrap();
        assert_eq!((connection.peer(), connection.local()), (Some(peer), Some(local)));
        assert!(there.capabilities().unwrap().processes);
        assert_eq!(there.client_ip(), Some("2001:db8::1".parse().unwrap()));
        assert!(there.is_https());
        assert_eq!(there.id().unwrap().as_str(), "abc/=");
        assert_eq!(there.extensions().get::<OriginalUri>().unwrap().0, "/blog/a%20b?c=d&e");
        assert_eq!(there.extensions().get::<OriginalMethod>().unwrap().0, Method::POST);
        assert_eq!(there.extensions().get::<MaxBody>().unwrap().bytes(), 77);
        assert_eq!(there.extensions().get::<CspNonce>().unwrap().made(), Some(&*made));
        let params: Vec<_> = there.extensions().get::<Params>().unwrap().iter().collect();
        assert_eq!(params, [("slug", "a%3Db=c"), ("rest", "")]);
    }

    #[cfg(feature = "opentelemetry")]
    #[test]
    fn the_trace_crosses_if_there_is_one_and_not_because_a_client_says_so() {
        use crate::trace_context::{TRACEPARENT, TraceContext};
        const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let there = || {
            let (name, value) = depart(&Request::new(Body::empty())).unwrap();
            let mut there = Request::new(Body::empty());
            there.headers_mut().insert(name, value);
            there.headers_mut().insert(TRACEPARENT, HeaderValue::from_static(PARENT));
            arrive(&mut there, Capabilities::new().processes(true)).unwrap();
            there.extensions().get::<TraceContext>().cloned()
        };
        assert_eq!(there(), None);
        let mut headers = http::HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(PARENT));
        let from = TraceContext::of(&headers);
        let context = crate::traces::asked_by(&opentelemetry::Context::new(), from.as_ref().unwrap());
        let _here = context.attach();
        assert_eq!(there(), from);
        headers.clear();
        crate::traces::tell(&mut headers);
        assert_eq!(TraceContext::of(&headers), from);
    }

    #[test]
    fn what_nobody_knows_is_not_there() {
        let there = crossed(Request::new(Body::empty()));
        assert!(there.connection().unwrap().peer().is_none());
        assert!(there.client_ip().is_none() && !there.is_https() && there.id().is_none());
        assert!(there.extensions().get::<CspNonce>().is_none());
    }

    #[test]
    fn a_client_that_its_proxy_does_not_tell_stays_unknown() {
        let mut req = Request::new(Body::empty());
        req.extensions_mut().insert(Connection::new(Some("127.0.0.1:5".parse().unwrap()), None));
        req.extensions_mut().insert(Client(None));
        assert_eq!(crossed(req).client_ip(), None);
    }

    #[test]
    fn who_does_not_come_from_this_site_is_refused() {
        let server = Capabilities::new();
        let mut req = Request::new(Body::empty());
        assert_eq!(arrive(&mut req, server).unwrap_err().status(), 400);
        for bad in ["peer=x", "id=a b", "method=\u{e4}", "max-body=-1"] {
            let mut req = Request::new(Body::empty());
            req.headers_mut().insert(THERE, HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert_eq!(arrive(&mut req, server).unwrap_err().status(), 400, "{bad}");
        }
    }

    #[test]
    fn an_error_comes_back_with_what_pages_and_logs_say_of_it() {
        let cause: Result<u16, _> = "eighty".parse::<u16>();
        let error = cause.context("reading the port\nof the \u{e4}ther").unwrap_err();
        let error = error.public("No such port.").in_layer("Ports").in_route("/ports/{port}");
        let places = error.places().to_vec();
        let (kind, debug) = (error.kind(), format!("{error:?}"));
        let mut response = Response::from(error.status_code(http::StatusCode::IM_A_TEAPOT));
        give_back(&mut response, None);
        let (mut head, _) = response.into_parts();
        head.extensions = http::Extensions::new();
        let mut here = Response::from_parts(head, Body::empty());
        take_back(&mut here, None);
        assert!(here.headers().is_empty());
        assert!(here.extensions().get::<Logged>().is_none());
        let error = here.error().unwrap();
        assert_eq!(error.status(), 418);
        assert_eq!(error.public_message(), Some("No such port."));
        assert_eq!((error.layer(), error.route()), (Some("Ports"), Some("/ports/{port}")));
        assert_eq!((error.kind(), error.places()), (kind, &*places));
        assert_eq!(format!("{error:?}"), debug.replace("500 Internal Server Error", "418 I'm a teapot"));
    }

    #[test]
    fn a_nonce_that_is_made_there_is_known_here() {
        let (here, there) = (CspNonce::default(), CspNonce::default());
        let mut response = Response::new(Body::empty());
        there.value().unwrap();
        give_back(&mut response, Some(&there));
        take_back(&mut response, Some(&here));
        assert_eq!(here.made(), there.made());
    }

    #[test]
    fn an_answer_that_carries_nothing_has_no_header() {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(BACK, HeaderValue::from_static("{\"logged\":true}"));
        give_back(&mut response, None);
        assert!(response.headers().is_empty());
    }
}
