//! Begins a span for each request.

use crate::config::TracesConfig;
use crate::paths::Paths;
use crate::report::Redaction;
use crate::site::{About, Start};
use crate::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};
use crate::traces::{self, Maker, Serving, Traced};
use crate::{Middleware, Request, RequestExt, Response, Result, Service};
use opentelemetry::Context;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// Begins a span for each request, which tells a collector of OpenTelemetry how it was answered, with the feature `opentelemetry`.
///
/// The span is named and described by the semantic conventions of HTTP: `GET /posts/{id}`, with `http.request.method`, `http.route`,
/// `http.response.status_code`, `url.path`, `url.query`, `url.scheme`, `server.address`, `server.port`, `client.address`,
/// `network.protocol.version`, `user_agent.original`, and `error.type` after a failure. **Names are as few as the site's routes**,
/// whatever clients send; the longest text is 2 KiB. The span is an error from 500 on, and ends when the body of the answer does.
///
/// - **The trace** is that of `traceparent` and `tracestate` (W3C Trace Context), if who asked sent them and sent them right; or else it
///   begins here. Whether it is recorded is decided where it begins. Strangers may decide so, too: see [`public`](Self::public).
/// - **Below**, [`Proxy`](crate::proxy::Proxy) passes it on, with a span of its own; the spans of `tracing` that the site makes
///   become parts of it; the log's lines have its id, and so have those of [`AccessLog`](crate::layers::AccessLog), which stands below.
///   On the threads of `Blocking` it stays the same; to processes of `Workers` it is told, and for spans of what these do a second
///   `Traces` stands below that layer.
/// - **Secrets** of a query are not sent, by the names that [`Redaction`] knows. Messages of errors are, without what shows by its form.
///
/// Spans go to the collector in batches, by a thread of their own. At most 2048 wait; what is more is lost, of which nothing is said. What
/// the collector does not take is lost, too, which the log says once until it takes them again. When the server stops they are sent at once, for which it waits at most three seconds.
///
/// Without a collector, no span is made: then log lines have the id of a trace that came with a request.
///
/// ```
/// use purlin::layers::{AccessLog, RequestIds, Traces};
/// use purlin::{Config, Router, Stack};
///
/// # let config = Config::default();
/// let app = Stack::new()
///     .layer(RequestIds::new())
///     .layer(Traces::new(&config.traces))
///     .layer(AccessLog::new())
///     .app(Router::new());
/// # app.check().unwrap();
/// ```
pub struct Traces {
    from: From,
    public: bool,
    redaction: Arc<Redaction>,
    lives: Arc<RwLock<Lives>>,
    routes: OnceLock<Paths<Arc<str>>>,
}

enum From {
    Config(TracesConfig),
    Site,
}

/// By what spans are made, and in which context.
struct Made {
    provider: SdkTracerProvider,
    maker: Maker,
    base: Context,
}

impl Made {
    fn by(provider: SdkTracerProvider, redaction: &Arc<Redaction>) -> Self {
        let maker = Maker::new(&provider, redaction.clone());
        let base = Context::new().with_value(maker.clone());
        Self { provider, maker, base }
    }
}

/// What servers share that serve one layer.
#[derive(Default)]
struct Lives {
    /// How many have started, and not ended.
    count: usize,
    /// What the first of them makes by the configuration goes with the last.
    made: Option<Arc<Made>>,
}

/// One of them.
struct Held {
    lives: Arc<RwLock<Lives>>,
    made: Arc<Made>,
    is_ours: bool,
}

impl Held {
    /// Waits until what has ended is sent, as long as that takes.
    fn last_words(self) {
        if !self.is_ours || read(&self.lives).count > 1 {
            // Spans that are lost at the end have been told of like others.
            let _ = self.made.provider.force_flush();
        }
    }
}

/// Also where a site did not start.
impl Drop for Held {
    fn drop(&mut self) {
        let last = {
            let mut lives = write(&self.lives);
            lives.count -= 1;
            if self.is_ours && lives.count == 0 { lives.made.take() } else { None }
        };
        if let Some(made) = last {
            let _ = made.provider.shutdown_with_timeout(LAST_WORDS);
        }
    }
}

fn read(lives: &RwLock<Lives>) -> RwLockReadGuard<'_, Lives> {
    lives.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(lives: &RwLock<Lives>) -> RwLockWriteGuard<'_, Lives> {
    lives.write().unwrap_or_else(PoisonError::into_inner)
}

/// How long the server waits for spans when it stops.
const LAST_WORDS: Duration = Duration::from_secs(3);

impl Traces {
    /// Sends spans where the configuration says, `[traces]`, or OpenTelemetry's own variables, which go before it:
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER` and so on, see [the guide](crate::guide::network).
    pub fn new(config: &TracesConfig) -> Self {
        Self::made(From::Config(config.clone()), None)
    }

    /// Makes spans by what the site has put together of OpenTelemetry's SDK itself: other exporters, samplers, limits. It is flushed when
    /// the server stops, for which that waits at most three seconds; to shut it down is for whoever made it.
    pub fn with_provider(provider: SdkTracerProvider) -> Self {
        Self::made(From::Site, Some(Made::by(provider, &Arc::default())))
    }

    fn made(from: From, made: Option<Made>) -> Self {
        let lives = Lives { count: 0, made: made.map(Arc::new) };
        let (lives, routes) = (Arc::new(RwLock::new(lives)), OnceLock::new());
        Self { from, public: false, redaction: Arc::default(), lives, routes }
    }

    /// Whether strangers ask, and not a proxy or a service of one's own: off by default.
    ///
    /// Then each trace begins here, and has a link to theirs. Who is believed can have each of his requests recorded, or none. Without a
    /// collector their headers are taken off.
    pub fn public(mut self, public: bool) -> Self {
        self.public = public;
        self
    }

    /// What of a query is hidden, besides what [`Redaction`] hides by itself: of this request's, and of those that
    /// [`Proxy`](crate::proxy::Proxy) sends below.
    pub fn redact(mut self, redaction: Redaction) -> Self {
        self.redaction = Arc::new(redaction);
        if let Some(made) = &mut write(&self.lives).made {
            *made = Arc::new(Made::by(made.provider.clone(), &self.redaction));
        }
        self
    }
}

impl Middleware for Traces {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let from = TraceContext::of(req.headers());
        let made = read(&self.lives).made.clone();
        let Some(made) = made else {
            let here = Context::current();
            return Ok(match from {
                // One above has said where this stands.
                _ if traces::is_within(&here) => next.call(req).await,
                Some(from) if !self.public => {
                    let context = traces::asked_by(&here, &from);
                    traces::within(&context, || next.call(req)).await
                }
                _ => {
                    if self.public {
                        // What strangers say goes no further, to other servers say.
                        req.headers_mut().remove(TRACEPARENT);
                        req.headers_mut().remove(TRACESTATE);
                    }
                    next.call(req).await
                }
            });
        };
        let route = self.routes.get().and_then(|routes| routes.at(req.original_path()));
        let serving = Serving::begin(&made.maker, &made.base, &req, from.as_ref(), route, self.public);
        let response = traces::within(serving.context(), || next.call(req)).await;
        Ok(serving.answered(response))
    }

    fn describe(&self, about: &mut About) {
        about.provides::<Traced>().option("public", self.public);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        let _ = self.routes.set(Paths::of_routes(start.site()));
        let held = {
            let mut lives = write(&self.lives);
            if let From::Config(config) = &self.from
                && lives.made.is_none()
            {
                lives.made = traces::provider(config)?.map(|provider| Arc::new(Made::by(provider, &self.redaction)));
            }
            let Some(made) = lives.made.clone() else { return Ok(()) };
            lives.count += 1;
            Held { lives: self.lives.clone(), made, is_ours: matches!(self.from, From::Config(_)) }
        };
        start.task("traces", |mut stopping| async move {
            stopping.wait().await;
            // Who makes the provider may let it wait for ever. No thread of the runtime's is to: they hold up its end.
            let (done, is_done) = oneshot::channel();
            let work = move || {
                held.last_words();
                let _ = done.send(());
            };
            if std::thread::Builder::new().name("traces".to_owned()).spawn(work).is_ok() {
                let _ = tokio::time::timeout(LAST_WORDS, is_done).await;
            }
        });
        Ok(())
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("public", &self.public).finish_non_exhaustive()
    }
}
