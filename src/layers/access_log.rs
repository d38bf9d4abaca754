//! Logs a line for every request, and gives what happens below a span.

use crate::log::request::{Called, RequestSpan};
use crate::report::{Redaction, Report};
use crate::response::Logged;
use crate::service::then;
use crate::site::About;
use crate::{Error, Middleware, Request, RequestExt, RequestId, Response, ResponseExt, Result, Service};
use http::HeaderName;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Logs one event for each answer, with the cause of a failure on the same line.
///
/// The event has the target `purlin::access` and the fields `method`, `path` (as the client sent it, without the query,
/// which may hold secrets; a path whose parameters are secrets is in it all the same), `status`, `ms` until the head of the answer, `peer`, `id`, and after a failure `error` (the
/// cause chain) and `layer`, and from 500 `place`; where it was [reported](crate::report) `report`, the report's id. Its level is `INFO`; `WARN` for a failure below 500 that carries an error; `ERROR` from 500.
/// Everything logged below is in the span `request` with `method`, `path` and `id`. Below the layer `Traces` (feature `opentelemetry`) each
/// line has the ids of the trace, too.
///
/// Where nobody listens to the span, it costs one comparison; and under the log that [`log::start`](crate::log::start) starts, the
/// span is made only when something is logged in it, or somebody asks for it.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    _private: (),
}

impl AccessLog {
    /// There are no options: which events are kept, and how they are written, is the subscriber's affair (`[log]` in the
    /// configuration).
    pub fn new() -> Self {
        Self::default()
    }
}

impl Middleware for AccessLog {
    fn handle(&self, req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let start = Instant::now();
        let is_wanted = tracing::enabled!(target: "purlin::access", tracing::Level::ERROR);
        let peer = req.client_ip().filter(|_| is_wanted);
        let mut span = RequestSpan::new(is_wanted.then(|| Called::of(&req)));
        // In the span, since some layers work before they are polled.
        let answer = span.scope(|| next.call(req));
        then(span.around(answer), move |(mut response, called)| {
            if let Some(called) = called {
                write(&called, peer, &response, start);
                if response.error().is_some() {
                    response.extensions_mut().insert(Logged);
                }
            }
            Ok(response)
        })
    }

    fn describe(&self, about: &mut About) {
        about.wants::<RequestId>();
        #[cfg(feature = "opentelemetry")]
        about.wants::<crate::traces::Traced>();
    }
}

/// The page of the layer `Debugger`, to be opened from the terminal.
const X_DEBUG_URL: HeaderName = HeaderName::from_static("x-debug-url");

fn write(called: &Called, peer: Option<IpAddr>, response: &Response, start: Instant) {
    let ms = (start.elapsed().as_micros() as f64) / 1000.0;
    let status = response.status().as_u16();
    let (method, path) = (called.method.as_str(), called.uri.path());
    let id = called.id.as_ref().map(RequestId::as_str);
    let peer = peer.map(tracing::field::display);
    let error = response.error();
    let report = response.extensions().get::<Arc<Report>>();
    let cause = error.map(|error| report.map_or_else(|| one_line(error), |report| report.one_line()));
    let cause = cause.as_ref().map(tracing::field::display);
    let report = report.map(|report| report.id.as_str());
    let place = error.filter(|_| status >= 500).and_then(|error| error.place()).map(tracing::field::display);
    let layer = error.and_then(|error| error.layer());
    let page = response.headers().get(X_DEBUG_URL).and_then(|url| url.to_str().ok());
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "purlin::access", parent: None, tracing::Level::$level,
                method, path, status, ms, peer, id, error = cause, place, layer, report, debug = page
            )
        };
    }
    match error {
        _ if status >= 500 => event!(ERROR),
        Some(_) if status >= 400 => event!(WARN),
        _ => event!(INFO),
    }
}

/// The cause chain, with nothing in it that could begin another line of the log, nor a secret that shows by its form.
fn one_line(error: &Error) -> String {
    let mut line = if error.is_panic() { "panicked: ".to_owned() } else { String::new() };
    let causes: Vec<String> = error.chain().collect();
    line.extend(Redaction::new().text(&causes.join(": ")).escape_debug());
    line
}
