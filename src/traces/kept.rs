//! `Kept`: spans that go nowhere, for tests.

use crate::lock::locked;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use std::sync::{Arc, Mutex};

/// Keeps the spans that have ended in memory, all of them: for tests.
///
/// Clones share them.
///
/// ```
/// use purlin::layers::Traces;
/// use purlin::testing::Client;
/// use purlin::traces::Kept;
/// use purlin::{Router, Stack, get};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let kept = Kept::new();
/// let routes = Router::new().route("/posts/{id}", get(async || "a post"));
/// let app = Stack::new().layer(Traces::with_provider(kept.provider())).app(routes);
/// Client::new(app).get("/posts/7").await;
/// assert_eq!(kept.spans()[0].name, "GET /posts/{id}");
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Kept {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What makes spans that are kept here as soon as they end.
    pub fn provider(&self) -> SdkTracerProvider {
        SdkTracerProvider::builder().with_simple_exporter(self.clone()).build()
    }

    /// Those that have ended, in that order.
    pub fn spans(&self) -> Vec<SpanData> {
        locked(&self.0).clone()
    }
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        locked(&self.0).extend(batch);
        Ok(())
    }
}
