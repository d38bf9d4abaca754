//! `Serving`: the span of a request that this server answers.

use super::query::{redacted, short};
use super::running::Running;
use super::{Maker, asked_by, is_within, remote};
use crate::report::Redaction;
use crate::request::{known_method, original_uri};
use crate::trace_context::TraceContext;
use crate::{Request, RequestExt, Response};
use http::Version;
use http::header::{HOST, USER_AGENT};
use http::uri::Authority;
use opentelemetry::trace::{Link, SpanBuilder, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue, StringValue};
use std::sync::Arc;

/// A request that is being answered, by the semantic conventions for HTTP servers (stable, 1.23 and later).
pub(crate) struct Serving(Running);

impl Serving {
    /// Begins the span. `from` is who asked; with `public` it is a stranger, to whose trace there is a link only.
    pub(crate) fn begin(
        maker: &Maker,
        base: &Context,
        req: &Request,
        from: Option<&TraceContext>,
        route: Option<&Arc<str>>,
        public: bool,
    ) -> Self {
        // One within another is part of it, in the same process or below `Workers`.
        let outer = Context::map_current(|here| is_within(here).then(|| here.clone()));
        let (parent, link) = match (outer, from) {
            (Some(outer), _) => (outer.with_value(maker.clone()), None),
            (None, Some(from)) if public => (base.clone(), Some(Link::with_context(remote(from)))),
            (None, Some(from)) => (asked_by(base, from), None),
            (None, None) => (base.clone(), None),
        };
        let (method, named) = match known_method(req.method()) {
            Some(method) => (method, method),
            None => ("_OTHER", "HTTP"),
        };
        let name = match route {
            Some(route) => format!("{named} {route}"),
            None => named.to_owned(),
        };
        let uri = original_uri(req);
        // Those by which a sampler may choose.
        let mut attributes = Vec::with_capacity(12);
        attributes.push(KeyValue::new("http.request.method", method));
        attributes.push(KeyValue::new("url.path", short(uri.path())));
        attributes.push(KeyValue::new("url.scheme", if req.is_https() { "https" } else { "http" }));
        if let Some(route) = route {
            attributes.push(KeyValue::new("http.route", StringValue::from(route.clone())));
        }
        let mut builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        if let Some(link) = link {
            builder = builder.with_links(vec![link]);
        }
        let serving = Self(Running::begin(maker, builder, &parent));
        if serving.0.is_recording() {
            serving.describe(req, &maker.redaction);
        }
        serving
    }

    /// All else that is known of the request.
    fn describe(&self, req: &Request, redaction: &Redaction) {
        let span = self.0.context.span();
        let mut attributes = Vec::with_capacity(8);
        if known_method(req.method()).is_none() {
            attributes.push(KeyValue::new("http.request.method_original", short(req.method().as_str())));
        }
        let uri = original_uri(req);
        if let Some(query) = uri.query() {
            attributes.push(KeyValue::new("url.query", redacted(query, redaction)));
        }
        let host = req.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        // A user has no business there.
        let host = host.or_else(|| uri.authority().cloned()).filter(|host| !host.as_str().contains('@'));
        if let Some(host) = host {
            let port = host.port_u16().unwrap_or(if req.is_https() { 443 } else { 80 });
            attributes.push(KeyValue::new("server.address", short(host.host().trim_matches(['[', ']']))));
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        } else if let Some(local) = req.connection().and_then(|connection| connection.local()) {
            attributes.push(KeyValue::new("server.address", local.ip().to_canonical().to_string()));
            attributes.push(KeyValue::new("server.port", i64::from(local.port())));
        }
        if let Some(client) = req.client_ip() {
            attributes.push(KeyValue::new("client.address", client.to_string()));
        }
        let version = match req.version() {
            Version::HTTP_09 => Some("0.9"),
            Version::HTTP_10 => Some("1.0"),
            Version::HTTP_11 => Some("1.1"),
            Version::HTTP_2 => Some("2"),
            Version::HTTP_3 => Some("3"),
            _ => None,
        };
        attributes.extend(version.map(|version| KeyValue::new("network.protocol.version", version)));
        let agent = req.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        attributes.extend(agent.map(|agent| KeyValue::new("user_agent.original", short(agent))));
        span.set_attributes(attributes);
    }

    /// In which the request is answered.
    pub(crate) fn context(&self) -> &Context {
        &self.0.context
    }

    /// The span ends with the body of this.
    pub(crate) fn answered(self, response: Response) -> Response {
        self.0.answered(response, 500)
    }
}
