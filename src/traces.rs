//! Traces of a site by OpenTelemetry, with the feature `opentelemetry`: the layer [`Traces`](crate::layers::Traces) begins a span for each
//! request, and what is made of them here goes to a collector by OTLP.
//!
//! What the site marks itself by `tracing`'s spans becomes spans of the same trace:
//!
//! ```
//! use purlin::layers::Traces;
//! use purlin::testing::Client;
//! use purlin::traces::{self, Kept};
//! use purlin::{Router, Stack, get};
//! use tracing::Instrument;
//! use tracing_subscriber::prelude::*;
//!
//! async fn order() -> &'static str {
//!     async {}.instrument(tracing::info_span!("charging the card")).await;
//!     "thank you"
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! // The log that a site starts does this by itself.
//! let _log = tracing_subscriber::registry().with(traces::spans()).set_default();
//! let kept = Kept::new();
//! let app = Stack::new().layer(Traces::with_provider(kept.provider())).app(Router::new().route("/order", get(order)));
//! Client::new(app).get("/order").await;
//!
//! let spans = kept.spans();
//! assert_eq!(spans[0].name, "charging the card");
//! assert_eq!(spans[1].name, "GET /order");
//! assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
//! # });
//! ```

#[cfg(feature = "proxy")]
mod asking;
mod kept;
mod otlp;
mod query;
mod running;
mod serving;

pub use kept::Kept;
pub use {opentelemetry, opentelemetry_sdk};

#[cfg(feature = "proxy")]
pub(crate) use asking::Asking;
pub(crate) use otlp::provider;
pub(crate) use serving::Serving;

use crate::report::Redaction;
use crate::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};
use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use std::pin::pin;
use std::sync::Arc;
use tracing::{Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::{DynFilterFn, Filtered};
use tracing_subscriber::layer;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// Says in the headers of a request to another server where this work stands in a trace, as `traceparent` and `tracestate`; what they said
/// before is gone. Where there is no trace they stay as they are.
///
/// [`Proxy`](crate::proxy::Proxy) does so by itself; this is for what handlers ask of others.
///
/// ```
/// use purlin::layers::Traces;
/// use purlin::testing::Client;
/// use purlin::traces::{self, Kept};
/// use purlin::{HeaderMap, Router, Stack, get};
///
/// async fn order() -> String {
///     let mut headers = HeaderMap::new();
///     traces::tell(&mut headers);
///     format!("asks with {headers:?}")
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let traces = Traces::with_provider(Kept::new().provider());
/// let app = Stack::new().layer(traces).app(Router::new().route("/order", get(order)));
/// assert!(Client::new(app).get("/order").await.text().contains("traceparent"));
/// # });
/// ```
pub fn tell(headers: &mut HeaderMap) {
    let Some(here) = current() else { return };
    // Digits and dashes; and what was read from a header.
    let Ok(parent) = HeaderValue::try_from(here.traceparent()) else { return };
    headers.insert(TRACEPARENT, parent);
    headers.remove(TRACESTATE);
    if let Some(state) = HeaderValue::try_from(here.state).ok().filter(|state| !state.is_empty()) {
        headers.insert(TRACESTATE, state);
    }
}

/// Where the work that is done here stands in a trace; `None` where there is none. Requests to others are told by [`tell`].
///
/// ```
/// use purlin::traces;
///
/// // Outside of a request.
/// assert_eq!(traces::current(), None);
/// ```
pub fn current() -> Option<TraceContext> {
    Context::map_current(|context| {
        let span = context.span();
        let here = span.span_context();
        here.is_valid().then(|| TraceContext {
            trace_id: u128::from_be_bytes(here.trace_id().to_bytes()),
            parent_id: u64::from_be_bytes(here.span_id().to_bytes()),
            flags: here.trace_flags().to_u8(),
            state: here.trace_state().header(),
        })
    })
}

/// The ids of the trace and the span that is worked in here: for lines of the log.
pub(crate) fn ids() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.span();
        let here = span.span_context();
        here.is_valid().then(|| (here.trace_id(), here.span_id()))
    })
}

/// Makes the spans of `tracing` that are begun within a request below [`Traces`](crate::layers::Traces) spans of its trace, and what is
/// logged in them their events: part of what [`log::start`](crate::log::start) starts, and to be added by a site that has a subscriber
/// of its own.
///
/// Spans that the subscriber filters out, by their level say, are none here either. In a trace that is not recorded nothing is made.
pub fn spans<S>() -> impl tracing_subscriber::Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    log_spans()
}

/// The type of [`spans`].
pub(crate) type Spans<S> = Filtered<OpenTelemetryLayer<S, Here>, DynFilterFn<S, IsWanted<S>>, S>;

type IsWanted<S> = fn(&Metadata<'_>, &layer::Context<'_, S>) -> bool;

pub(crate) fn log_spans<S>() -> Spans<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let wanted: IsWanted<S> = |metadata, _| {
        // The span of the access log is the request's own, which has a better one; and its lines are no part of what is traced.
        metadata.target() != "purlin::access"
            && Context::map_current(|context| context.get::<Maker>().is_some() && context.span().is_recording())
    };
    OpenTelemetryLayer::new(Here::new())
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(DynFilterFn::new(wanted))
}

/// What makes the spans of a request; in the context of its work, so that each is made by the layer `Traces` that it is below.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    tracer: SdkTracer,
    /// What they are not to tell.
    redaction: Arc<Redaction>,
}

impl Maker {
    pub(crate) fn new(provider: &SdkTracerProvider, redaction: Arc<Redaction>) -> Self {
        let scope = InstrumentationScope::builder("purlin").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { tracer: provider.tracer_with_scope(scope), redaction }
    }
}

/// What a layer says to provide, by which those that tell of a trace know whether they stand below.
pub(crate) struct Traced;

/// A tracer that leaves it to the [`Maker`] of where it is used.
#[derive(Debug)]
pub(crate) struct Here {
    /// Makes none.
    nobody: SdkTracer,
}

impl Here {
    fn new() -> Self {
        let provider = SdkTracerProvider::default();
        // It has nothing to send.
        let _ = provider.shutdown();
        Self { nobody: provider.tracer("") }
    }
}

impl Tracer for Here {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        // What is to have no parent has none of the context either.
        let maker = parent.get::<Maker>().cloned().or_else(|| Context::map_current(|here| here.get().cloned()));
        maker.as_ref().map_or(&self.nobody, |maker| &maker.tracer).build_with_context(builder, parent)
    }
}

/// Whether something in this process, or a process that it serves, has said which trace this is part of.
pub(crate) fn is_within(context: &Context) -> bool {
    context.get::<Maker>().is_some() || context.span().span_context().is_valid()
}

/// A context in which whoever asked is the parent.
pub(crate) fn asked_by(base: &Context, from: &TraceContext) -> Context {
    base.with_remote_span_context(remote(from))
}

fn remote(from: &TraceContext) -> SpanContext {
    let members = from.state.split(',').filter_map(|member| member.split_once('='));
    // What the recommendation lets pass, and the library does not, is left out: of a vendor's name it takes 13 letters, and not 14.
    let members = members.filter(|member| TraceState::from_key_value([*member]).is_ok());
    let state = TraceState::from_key_value(members).unwrap_or_default();
    let (trace, span) = (from.trace_id.to_be_bytes(), from.parent_id.to_be_bytes());
    let flags = TraceFlags::new(from.flags);
    SpanContext::new(TraceId::from_bytes(trace), SpanId::from_bytes(span), flags, true, state)
}

/// Does the work in a context, all of it.
pub(crate) async fn within<F: Future>(context: &Context, work: impl FnOnce() -> F) -> F::Output {
    // Some layers work before they are polled.
    let work = {
        let _here = context.clone().attach();
        work()
    };
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        let _here = context.clone().attach();
        work.as_mut().poll(cx)
    })
    .await
}
