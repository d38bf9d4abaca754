//! Counts requests for Prometheus.

use crate::metrics::{Registry, Requests};
use crate::paths::Paths;
use crate::request::known_method;
use crate::site::{About, Start};
use crate::{Body, Bytes, Error, Middleware, Request, RequestExt, Response, Result, Service};
use http_body::{Frame, SizeHint};
use prometheus::{Histogram, IntGauge};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// Counts requests, and how long they take, in a [`Registry`].
///
/// | | | labels |
/// |---|---|---|
/// | `http_requests_total` | a counter | `method`, `route`, `status` |
/// | `http_request_duration_seconds` | a histogram, from the request's arrival to the head of its answer | `method`, `route` |
/// | `http_requests_in_flight` | a gauge, until the end of the answer | |
/// | `http_request_body_bytes` | a histogram, where the length was said | `method`, `route` |
/// | `http_response_body_bytes` | a histogram | `method`, `route` |
///
/// **There are no more series than the site has routes**, whatever clients send: `route` is the pattern of the route (`/posts/{id}`), of an
/// application that is mounted `/mount/*`, and empty for all other paths; `method` is one of HTTP's nine or `other`; `status` is `2xx` and so
/// on, or `gone` where the request was dropped before it was answered, because its client went away.
///
/// It stands outermost, so that it counts what the site answers.
///
/// ```
/// use purlin::layers::{AccessLog, Metrics};
/// use purlin::metrics::Registry;
/// use purlin::{Router, Stack};
///
/// let metrics = Registry::new();
/// let app = Stack::new()
///     .layer(Metrics::new(&metrics).bounds([0.01, 0.1, 1.0]))
///     .layer(AccessLog::new())
///     .app(Router::new());
/// # app.check().unwrap();
/// ```
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    bounds: Vec<f64>,
    routes: OnceLock<Paths<Arc<str>>>,
}

impl Metrics {
    /// Counts in this registry.
    pub fn new(registry: &Registry) -> Self {
        let bounds = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        Self { registry: registry.clone(), bounds, routes: OnceLock::new() }
    }

    /// The upper bounds of `http_request_duration_seconds`; 13 from a millisecond to 10 seconds by default.
    pub fn bounds(mut self, seconds: impl IntoIterator<Item = f64>) -> Self {
        self.bounds = seconds.into_iter().collect();
        self
    }

    fn route(&self, req: &Request) -> &str {
        self.routes.get().and_then(|routes| routes.at(req.original_path())).map_or("", |route| &**route)
    }
}

impl Middleware for Metrics {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let requests = self.registry.requests(&self.bounds)?;
        let (method, route) = (known_method(req.method()).unwrap_or("other"), self.route(&req));
        // What arrives, and not what the head promises: one lie would spoil the sum for good.
        let received = requests.received.with_label_values(&[method, route]);
        match req.body().as_bytes() {
            Some(bytes) => received.observe(bytes.len() as f64),
            None => req = req.map(|body| Body::new(Counted { body, length: 0, passed: received, _under_way: None })),
        }
        let mut asked = Asked { requests, method, route, start: Instant::now(), status: "gone" };
        let under_way = UnderWay::new(&requests.in_flight);
        let response = next.call(req).await;
        asked.status = match response.status().as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        drop(asked);
        let sent = requests.sent.with_label_values(&[method, route]);
        Ok(match response.body().as_bytes() {
            Some(bytes) => {
                sent.observe(bytes.len() as f64);
                response
            }
            None => {
                response.map(|body| Body::new(Counted { body, length: 0, passed: sent, _under_way: Some(under_way) }))
            }
        })
    }

    fn describe(&self, about: &mut About) {
        about.option("bounds", format_args!("{:?}", self.bounds));
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        let named = |error: Error| error.context("the layer Metrics");
        self.registry.requests(&self.bounds).map_err(named)?;
        self.registry.show_own(start.site()).map_err(named)?;
        // Started twice (by a test, say), it stays as it was first.
        let _ = self.routes.set(Paths::of_routes(start.site()));
        Ok(())
    }
}

/// A request that will have been counted when this is dropped.
struct Asked<'a> {
    requests: &'a Requests,
    method: &'static str,
    route: &'a str,
    start: Instant,
    status: &'static str,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let Self { requests, method, route, start, status } = *self;
        requests.total.with_label_values(&[method, route, status]).inc();
        requests.seconds.with_label_values(&[method, route]).observe(start.elapsed().as_secs_f64());
    }
}

/// A request whose answer has not ended.
struct UnderWay(IntGauge);

impl UnderWay {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A streamed body, whose length is known at its end.
struct Counted {
    body: Body,
    length: u64,
    passed: Histogram,
    _under_way: Option<UnderWay>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.length += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.passed.observe(self.length as f64);
    }
}
