//! `Running`: a span of a request that goes on until its answer's body has ended.

use super::Maker;
use crate::body::Watch;
use crate::report::{Redaction, Report};
use crate::{Error, Response, ResponseExt};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use std::sync::Arc;

/// A span that ends when this is dropped.
pub(super) struct Running {
    pub(super) context: Context,
    redaction: Arc<Redaction>,
    /// Others wait for the answer, which is 500 after a panic.
    serves: bool,
    /// The head of an answer is there, or the reason why there is none.
    answered: bool,
}

impl Running {
    pub(super) fn begin(maker: &Maker, builder: SpanBuilder, parent: &Context) -> Self {
        let serves = builder.span_kind == Some(SpanKind::Server);
        let span = maker.tracer.build_with_context(builder, parent);
        Self { context: parent.with_span(span), redaction: maker.redaction.clone(), serves, answered: false }
    }

    pub(super) fn is_recording(&self) -> bool {
        self.context.span().is_recording()
    }

    /// There is an answer, which is a failure from this status on.
    pub(super) fn answered(mut self, response: Response, failure: u16) -> Response {
        self.answered = true;
        let status = response.status().as_u16();
        let span = self.context.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
            if status >= failure {
                let error = response.error();
                span.set_attribute(KeyValue::new("error.type", kind(error, status)));
                // The status says it all.
                span.set_status(Status::error(""));
                if let Some(error) = error {
                    let report = response.extensions().get::<Arc<Report>>();
                    let cause = report.map_or_else(|| one_line(error, &self.redaction), |report| report.one_line());
                    exception(&self.context, error, cause);
                }
            }
        }
        // What is at hand is worth a box only if its end is to be known; a stream is made within the trace in any case.
        let waits = !response.body().is_empty() && (self.is_recording() || response.body().as_bytes().is_none());
        if !waits {
            return response;
        }
        response.map(|body| body.watched(Sending(self)))
    }

    /// There will be no answer.
    #[cfg(feature = "proxy")]
    pub(super) fn failed(mut self, error: &Error) {
        self.answered = true;
        self.broken(error);
    }

    /// It ends by this.
    fn broken(&self, error: &Error) {
        let span = self.context.span();
        if span.is_recording() {
            span.set_attribute(KeyValue::new("error.type", kind(Some(error), error.status().as_u16())));
            span.set_status(Status::error(""));
            exception(&self.context, error, one_line(error, &self.redaction));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let span = self.context.span();
        if !self.answered {
            // If not a panic below: nobody waits for it any more.
            let panics = std::thread::panicking();
            span.set_attribute(KeyValue::new("error.type", if panics { "panic" } else { "cancelled" }));
            if panics && self.serves {
                span.set_attribute(KeyValue::new("http.response.status_code", 500));
            }
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// The span of an answer whose body is under way.
struct Sending(Running);

impl Watch for Sending {
    fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        let _here = self.0.context.clone().attach();
        work()
    }

    fn failed(&mut self, error: &Error) {
        self.0.broken(error);
    }
}

/// One of few: the type of an error's cause, or the status.
fn kind(error: Option<&Error>, status: u16) -> String {
    match error {
        Some(error) if error.is_panic() => "panic".to_owned(),
        Some(error) => error.kind().map_or_else(|| status.to_string(), str::to_owned),
        None => status.to_string(),
    }
}

fn exception(context: &Context, error: &Error, cause: String) {
    let attributes = vec![
        KeyValue::new("exception.type", kind(Some(error), error.status().as_u16())),
        KeyValue::new("exception.message", crate::report::between_words(&cause, 2048)),
    ];
    context.span().add_event("exception", attributes);
}

/// The cause chain, without a secret that shows by its form.
fn one_line(error: &Error, redaction: &Redaction) -> String {
    redaction.text(&error.chain().collect::<Vec<_>>().join(": "))
}
