//! Numbers of a site for Prometheus: a [`Registry`], which the layer [`Metrics`](crate::layers::Metrics) fills and a path shows.
//!
//! ```
//! use purlin::layers::Metrics;
//! use purlin::metrics::Registry;
//! use purlin::testing::Client;
//! use purlin::{Router, Stack, get};
//!
//! let metrics = Registry::new();
//! let orders = metrics.counter("orders_total", "Orders taken", &["kind"])?;
//! let order = get(move || {
//!     orders.with_label_values(&["book"]).inc();
//!     async { "thank you" }
//! });
//! let app = Stack::new()
//!     .layer(Metrics::new(&metrics))
//!     .app(Router::new().route("/order", order));
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! Client::new(app).get("/order").await;
//! // Where only those come who may: see the guide.
//! let shown = Client::new(metrics).get("/").await;
//! shown.assert_contains("orders_total{kind=\"book\"} 1");
//! shown.assert_contains("http_requests_total{method=\"GET\",route=\"/order\",status=\"2xx\"} 1");
//! # });
//! # Ok::<(), purlin::Error>(())
//! ```

mod own;
mod text;

pub use prometheus;

use crate::negotiate::{best_media_type, vary};
use crate::site::Site;
use crate::{Body, Error, IntoResponse, Request, Response, Result, Service};
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A site's numbers, and an application that shows them.
///
/// As an application it answers every path with the text format of Prometheus (0.0.4), or with OpenMetrics 1.0 for whoever prefers that
/// (`Accept`). **They are not for everybody**: mount it below a layer that asks who it is, or serve it by a server of its own, where only
/// the collector comes. It shows
///
/// - what the layer [`Metrics`](crate::layers::Metrics) has counted,
/// - the site's own counters, gauges and histograms,
/// - Purlin's own: `purlin_pool_…` of the thread pools; with the feature `cache` `purlin_cache_…` of the regions of
///   [`Caches`](crate::layers) and `purlin_page_cache_…` of the stored pages, of several layers the sum; where a site has them,
/// - of the process: `process_start_time_seconds`, and on Linux `process_resident_memory_bytes` and `process_open_fds`.
///
/// The numbers are of one process. Of several which serve the same port ([`Server::prefork`](crate::Server::prefork)) a collector would reach
/// now one, now another: one process with all its threads is what can be measured so. Above the layer `Workers` one process sees all.
///
/// Clones are the same registry. The crate `prometheus` counts, and is [`prometheus`] here.
#[derive(Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Default)]
struct Inner {
    registry: prometheus::Registry,
    requests: OnceLock<Requests>,
    own: OnceLock<()>,
}

impl Registry {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter of the site's own, which only grows; its name ends in `_total`.
    ///
    /// # Errors
    ///
    /// A name that is none, or is taken.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels).map_err(Error::from)?)
    }

    /// A number of the site's own that goes up and down.
    ///
    /// # Errors
    ///
    /// As for [`counter`](Registry::counter).
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.registered(GaugeVec::new(Opts::new(name, help), labels).map_err(Error::from)?)
    }

    /// A histogram of the site's own, with these upper bounds.
    ///
    /// # Errors
    ///
    /// As for [`counter`](Registry::counter), and bounds that do not grow.
    pub fn histogram(&self, name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.registered(HistogramVec::new(options, labels).map_err(Error::from)?)
    }

    /// The registry underneath, for collectors that others have written.
    pub fn prometheus(&self) -> &prometheus::Registry {
        &self.0.registry
    }

    /// All of it, as text: OpenMetrics or the format 0.0.4.
    fn show(&self, open_metrics: bool) -> Result<String> {
        let families = self.0.registry.gather();
        if open_metrics {
            return Ok(text::open_metrics(&families));
        }
        prometheus::TextEncoder::new().encode_to_string(&families).map_err(Error::from)
    }

    fn registered<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C> {
        self.0.registry.register(Box::new(collector.clone())).map_err(Error::from)?;
        Ok(collector)
    }

    /// Those of requests, made when they are first asked for.
    pub(crate) fn requests(&self, bounds: &[f64]) -> Result<&Requests> {
        if let Some(requests) = self.0.requests.get() {
            return Ok(requests);
        }
        let labels = ["method", "route"];
        let made = Requests {
            total: self.counter(
                "http_requests_total",
                "Requests by the class of their answer.",
                &["method", "route", "status"],
            )?,
            seconds: self.histogram(
                "http_request_duration_seconds",
                "From the request's arrival to the head of its answer.",
                &labels,
                bounds,
            )?,
            in_flight: self.registered(
                IntGauge::new("http_requests_in_flight", "Requests whose answers have not ended.")
                    .map_err(Error::from)?,
            )?,
            received: self.histogram(
                "http_request_body_bytes",
                "Bodies of requests, of known length.",
                &labels,
                SIZES,
            )?,
            sent: self.histogram("http_response_body_bytes", "Bodies of answers.", &labels, SIZES)?,
        };
        Ok(self.0.requests.get_or_init(|| made))
    }

    /// Purlin's own numbers of this site, of the first that asks for it.
    pub(crate) fn show_own(&self, site: &Arc<Site>) -> Result<()> {
        if self.0.own.set(()).is_ok() {
            self.0.registry.register(Box::new(own::Own::new(Arc::downgrade(site))?)).map_err(Error::from)?;
        }
        Ok(())
    }
}

/// Bounds of bodies, in bytes.
const SIZES: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 8_388_608.0];

/// What is counted of requests.
pub(crate) struct Requests {
    pub(crate) total: IntCounterVec,
    pub(crate) seconds: HistogramVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) received: HistogramVec,
    pub(crate) sent: HistogramVec,
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Service for Registry {
    async fn call(&self, req: Request) -> Response {
        if !matches!(*req.method(), Method::GET | Method::HEAD) {
            let message = format!("numbers are answered for GET and HEAD, not for {}", req.method());
            let error = Error::new(StatusCode::METHOD_NOT_ALLOWED, message);
            return error.header(ALLOW, HeaderValue::from_static("GET, HEAD")).into();
        }
        let chosen = best_media_type(req.headers(), &[TEXT, OPEN_METRICS]).unwrap_or(TEXT);
        let shown = match self.show(chosen == OPEN_METRICS) {
            Ok(shown) => shown,
            Err(error) => return error.context("showing the metrics").into(),
        };
        let body = if req.method() == Method::HEAD { Body::empty() } else { Body::from(shown) };
        let mut response = body.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(chosen));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        vary(response.headers_mut(), &ACCEPT);
        response
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
