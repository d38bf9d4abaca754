//! `Asking`: the span of a request to another server.

use super::query::{redacted, short};
use super::running::Running;
use super::{Maker, tell};
use crate::request::known_method;
use crate::{Error, Response};
use http::{HeaderMap, Method, Uri};
use opentelemetry::trace::{SpanBuilder, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};

/// A request to another server, by the semantic conventions for HTTP clients. Where no span is made here it is nothing, and the headers
/// stay those that the client sent.
pub(crate) struct Asking(Option<Running>);

impl Asking {
    /// Begins the span, and tells the server of it.
    pub(crate) fn begin(method: &Method, host: &str, port: u16, target: &Uri, headers: &mut HeaderMap) -> Self {
        let Some((maker, parent)) =
            Context::map_current(|here| here.get::<Maker>().cloned().map(|maker| (maker, here.clone())))
        else {
            return Self(None);
        };
        let mut builder = SpanBuilder::from_name(known_method(method).unwrap_or("HTTP")).with_kind(SpanKind::Client);
        if parent.span().is_recording() {
            let named = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let mut url = format!("http://{named}:{port}{}", target.path());
            if let Some(query) = target.query() {
                url.push('?');
                url.push_str(&redacted(query, &maker.redaction));
            }
            let mut attributes = vec![
                KeyValue::new("http.request.method", known_method(method).unwrap_or("_OTHER")),
                KeyValue::new("server.address", host.to_owned()),
                KeyValue::new("server.port", i64::from(port)),
                KeyValue::new("url.full", short(&url)),
            ];
            if known_method(method).is_none() {
                attributes.push(KeyValue::new("http.request.method_original", short(method.as_str())));
            }
            builder = builder.with_attributes(attributes);
        }
        let running = Running::begin(&maker, builder, &parent);
        {
            let _here = running.context.clone().attach();
            tell(headers);
        }
        Self(Some(running))
    }

    /// The span ends with the body of this; from 400 on it is a failure of who asked.
    pub(crate) fn answered(self, response: Response) -> Response {
        match self.0 {
            Some(running) => running.answered(response, 400),
            None => response,
        }
    }

    /// There is no answer.
    pub(crate) fn failed(self, error: &Error) {
        if let Some(running) = self.0 {
            running.failed(error);
        }
    }
}
