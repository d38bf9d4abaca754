//! Logs a line for every request, and gives what happens below a span.

use crate::report::{Redaction, Report};
use crate::response::Logged;
use crate::site::About;
use crate::{Error, Middleware, Request, RequestExt, RequestId, Response, ResponseExt, Result, Service};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tracing::{Instrument, Span};

/// Logs one event for each answer, with the cause of a failure on the same line.
///
/// The event has the target `purlin::access` and the fields `method`, `path` (as the client sent it, without the query,
/// which may hold secrets; a path whose parameters are secrets is in it all the same), `status`, `ms` until the head of the answer, `peer`, `id`, and after a failure `error` (the
/// cause chain) and `layer`, and from 500 `place`; where it was [reported](crate::report) `report`, the report's id. Its level is `INFO`; `WARN` for a failure below 500 that carries an error; `ERROR` from 500.
/// Everything logged below is in the span `request` with `method`, `path` and `id`.
///
/// Where nobody listens to the span, it costs one comparison.
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
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let start = Instant::now();
        let line = tracing::enabled!(target: "purlin::access", tracing::Level::ERROR).then(|| Line {
            method: req.method().clone(),
            path: req.original_path().to_owned(),
            id: req.id().cloned(),
            peer: req.client_ip(),
        });
        let span = line.as_ref().map_or_else(Span::none, |line| {
            tracing::info_span!(
                target: "purlin::access",
                "request",
                method = line.method.as_str(),
                path = line.path,
                id = line.id.as_ref().map(RequestId::as_str),
            )
        });
        // The future of all that is below is some kilobytes: named once, or this one had room for two; pinned, so that it is
        // not moved into the span's.
        let mut response = pin!(next.call(req)).instrument(span).await;
        let Some(line) = line else {
            return Ok(response);
        };
        line.write(&response, start);
        if response.error().is_some() {
            response.extensions_mut().insert(Logged);
        }
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        about.wants::<RequestId>();
    }
}

struct Line {
    method: http::Method,
    path: String,
    id: Option<RequestId>,
    peer: Option<std::net::IpAddr>,
}

impl Line {
    fn write(&self, response: &Response, start: Instant) {
        let ms = (start.elapsed().as_micros() as f64) / 1000.0;
        let status = response.status().as_u16();
        let (method, path) = (self.method.as_str(), self.path.as_str());
        let id = self.id.as_ref().map(RequestId::as_str);
        let peer = self.peer.map(tracing::field::display);
        let error = response.error();
        let report = response.extensions().get::<Arc<Report>>();
        let cause = error.map(|error| report.map_or_else(|| one_line(error), |report| report.one_line()));
        let cause = cause.as_ref().map(tracing::field::display);
        let report = report.map(|report| report.id.as_str());
        let place = error.filter(|_| status >= 500).and_then(|error| error.place()).map(tracing::field::display);
        let layer = error.and_then(|error| error.layer());
        // The page of the layer `Debugger`, to be opened from the terminal.
        let page = response.headers().get("x-debug-url").and_then(|url| url.to_str().ok());
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
}

/// The cause chain, with nothing in it that could begin another line of the log, nor a secret that shows by its form.
fn one_line(error: &Error) -> String {
    let mut line = if error.is_panic() { "panicked: ".to_owned() } else { String::new() };
    let causes: Vec<String> = error.chain().collect();
    line.extend(Redaction::new().text(&causes.join(": ")).escape_debug());
    line
}
