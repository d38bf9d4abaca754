//! `Desk`: where failures become reports, and from where reporters get them.

#[cfg(feature = "mail")]
use super::Mail;
#[cfg(feature = "webhook")]
use super::Webhook;
use super::{Evidence, Folder, Origin, Redaction, Report, Reporter, Trail};
#[cfg(any(feature = "mail", feature = "webhook"))]
use crate::Context as _;
use crate::config::{Config, ReportsConfig, Setting};
use crate::site::{Site, Start, Told};
use crate::{Body, Error, MatchedRoute, Response, Result};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
#[cfg(all(feature = "debugger", debug_assertions))]
use std::sync::Weak;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// What reports are made by, and who gets them.
#[derive(Clone)]
pub(crate) struct Desk {
    reporters: Vec<Arc<dyn Reporter>>,
    pub(super) redaction: Redaction,
    pub(super) settings: Vec<Setting>,
    pub(super) release: Option<String>,
    pub(super) since: Option<Instant>,
    pub(crate) lines: usize,
    pub(crate) least: StatusCode,
    site: OnceLock<Arc<Site>>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            reporters: Vec::new(),
            redaction: Redaction::default(),
            settings: Vec::new(),
            release: None,
            since: Some(Instant::now()),
            lines: 0,
            least: StatusCode::INTERNAL_SERVER_ERROR,
            site: OnceLock::new(),
        }
    }
}

impl Desk {
    pub(crate) fn add(&mut self, reporter: impl Reporter) {
        self.reporters.push(Arc::new(reporter));
    }

    /// Adds those whom the configuration names.
    pub(crate) fn add_configured(&mut self, config: &ReportsConfig) -> Result<()> {
        if !config.folder.as_os_str().is_empty() {
            self.add(Folder::new(&config.folder).keep(config.keep));
        }
        let mail = &config.mail;
        if [mail.server.expose_str(), &mail.from, &mail.to].iter().any(|text| !text.is_empty()) {
            #[cfg(feature = "mail")]
            self.add(Mail::new(&mail.server, &mail.from, &mail.to).context("reading `reports.mail`")?);
            #[cfg(not(feature = "mail"))]
            return Err(lacking("mail"));
        }
        let hook = &config.webhook;
        if [&hook.url, &hook.secret].iter().any(|text| !text.expose().is_empty()) {
            #[cfg(feature = "webhook")]
            {
                let webhook = Webhook::new(&hook.url).context("reading `reports.webhook`")?;
                self.add(if hook.secret.expose().is_empty() { webhook } else { webhook.sign(&hook.secret) });
            }
            #[cfg(not(feature = "webhook"))]
            return Err(lacking("webhook"));
        }
        Ok(())
    }

    pub(crate) fn redact(&mut self, redaction: Redaction) {
        self.redaction = self.redaction.and(redaction);
    }

    pub(crate) fn config(&mut self, config: &Config) {
        self.settings = config.values();
        for secret in config.masked() {
            self.redaction = std::mem::take(&mut self.redaction).value(secret);
        }
    }

    pub(crate) fn release(&mut self, release: String) {
        self.release = Some(release);
    }

    /// Whether anybody is told.
    pub(crate) fn is_staffed(&self) -> bool {
        !self.reporters.is_empty()
    }

    pub(crate) fn names(&self) -> String {
        self.reporters.iter().map(|reporter| reporter.name()).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn site(&self) -> Option<&Site> {
        self.site.get().map(|site| &**site)
    }

    pub(crate) fn shared_site(&self) -> Option<&Arc<Site>> {
        self.site.get()
    }

    /// Starts those who are told.
    pub(crate) fn start(&self, start: &mut Start) -> Result<()> {
        // Started twice (by a test, say), it stays where it was first.
        let _ = self.site.set(start.site().clone());
        start.telling(|start| self.reporters.iter().try_for_each(|reporter| reporter.start(start)))
    }

    /// The report of a failure.
    pub(crate) fn write(&self, evidence: Evidence<'_>) -> Arc<Report> {
        Arc::new(evidence.report(self))
    }

    /// Gives it to all that are told.
    pub(crate) fn hand(&self, report: &Arc<Report>) {
        for reporter in &self.reporters {
            if let Err(error) = crate::panic::guarded(|| reporter.report(report)) {
                let place = error.place().map(tracing::field::display);
                tracing::error!(target: "purlin::report", reporter = reporter.name(), place, "a reporter panicked");
            }
        }
    }

    /// Writes the report of a failure that is none of an answer, and gives it to all that are told.
    pub(crate) fn tell(&self, evidence: Evidence<'_>) -> Arc<Report> {
        let report = self.write(evidence);
        self.hand(&report);
        report
    }

    /// Tells the layer `Debugger`, which stands above, of itself: the outermost speaks for the site, and what any hides is
    /// hidden.
    #[cfg(all(feature = "debugger", debug_assertions))]
    pub(crate) fn share(self: &Arc<Self>, start: &mut Start) {
        let others = start.site().shared::<Redaction>().unwrap_or_default();
        start.share(others.and(self.redaction.clone()));
        if start.site().shared::<Weak<Self>>().is_none() {
            // The site is not to keep what keeps the site.
            start.share(Arc::downgrade(self));
        }
    }
}

/// In the extensions of an answer whose body is watched: the report of its failure, for those further out who see it fail.
#[derive(Clone, Default)]
pub(crate) struct BodyReport(Arc<OnceLock<Arc<Report>>>);

impl BodyReport {
    #[cfg(all(feature = "debugger", debug_assertions))]
    pub(crate) fn get(&self) -> Option<&Arc<Report>> {
        self.0.get()
    }
}

/// A streamed body of an answer, of whose failure those at the desk are told.
pub(crate) struct Watched {
    body: Body,
    desk: Arc<Desk>,
    trail: Trail,
    route: Option<MatchedRoute>,
    report: BodyReport,
    ended: bool,
}

impl Watched {
    /// Puts itself in place of the answer's body.
    pub(crate) fn over(response: &mut Response, desk: Arc<Desk>, trail: Trail) {
        let route = response.extensions().get::<MatchedRoute>().cloned();
        let report = BodyReport::default();
        response.extensions_mut().insert(report.clone());
        let body = response.body_mut().take();
        *response.body_mut() = Body::new(Self { body, desk, trail, route, report, ended: false });
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let body = Pin::new(&mut this.body);
        let watched = crate::recording::watched(this.trail.recording().cloned(), NextFrame(body));
        let mut watched = std::pin::pin!(watched);
        // A panic here would go through the server.
        let frame = match crate::panic::guarded(|| watched.as_mut().poll(cx)) {
            Ok(frame) => ready!(frame),
            Err(panic) => Some(Err(panic)),
        };
        let Some(Err(error)) = &frame else {
            return Poll::Ready(frame);
        };
        this.ended = true;
        let report = this.desk.tell(Evidence {
            origin: Origin::Body,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: Some(error),
            public: "",
            otherwise: "",
            trail: Some(&this.trail),
            route: this.route.as_ref(),
        });
        // It fails once.
        let _ = this.report.0.set(report);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The next frame of a body as a future.
struct NextFrame<'b>(Pin<&'b mut Body>);

impl Future for NextFrame<'_> {
    type Output = Option<Result<Frame<Bytes>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll_frame(cx)
    }
}

impl Told for Desk {
    fn failed(&self, start: &mut Start, error: &Error) {
        // It has not begun where the failure lies further out, or before the first layer's start.
        if self.site().is_none()
            && let Err(error) = self.start(start)
        {
            let error = self.redaction.text(&error.chain().collect::<Vec<_>>().join(": "));
            tracing::error!(target: "purlin::report", error, "not all can be told of the failed start");
        }
        self.tell(Evidence::of_start(error));
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("reporters", &self.names()).finish_non_exhaustive()
    }
}

/// A reporter is configured that is not compiled in: silence would be found out when it is needed.
#[cfg(not(all(feature = "mail", feature = "webhook")))]
fn lacking(feature: &str) -> Error {
    Error::internal(format!(
        "`reports.{feature}` is configured, which needs Purlin's feature `{feature}`: add it to the features of purlin in Cargo.toml"
    ))
}
