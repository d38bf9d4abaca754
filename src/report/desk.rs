//! `Desk`: where failures become reports, and from where reporters get them.

#[cfg(feature = "mail")]
use super::Mail;
#[cfg(feature = "webhook")]
use super::Webhook;
use super::{Evidence, Folder, Redaction, Report, Reporter, Trail};
#[cfg(any(feature = "mail", feature = "webhook"))]
use crate::Context as _;
use crate::body::Watch;
use crate::config::{Config, ReportsConfig, Setting};
use crate::site::{Site, Start, Told};
use crate::{Error, MatchedRoute, Response, Result};
use http::StatusCode;
use std::fmt;
#[cfg(all(feature = "debugger", debug_assertions))]
use std::sync::Weak;
use std::sync::{Arc, OnceLock};
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
    /// One at which nobody is told, for the debugger of a site without the layer `ErrorPages`.
    #[cfg(all(feature = "debugger", debug_assertions))]
    pub(crate) fn of(site: &Arc<Site>) -> Self {
        Self { site: OnceLock::from(site.clone()), ..Self::default() }
    }

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

    #[cfg(all(feature = "debugger", debug_assertions))]
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
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

/// Has those at the desk told when a streamed body fails.
pub(crate) struct Watcher {
    desk: Arc<Desk>,
    trail: Trail,
    route: Option<MatchedRoute>,
    report: BodyReport,
}

impl Watcher {
    /// Watches the answer's body.
    pub(crate) fn over(response: &mut Response, desk: Arc<Desk>, trail: Trail) {
        let route = response.extensions().get::<MatchedRoute>().cloned();
        let report = BodyReport::default();
        response.extensions_mut().insert(report.clone());
        let body = response.body_mut().take();
        *response.body_mut() = body.watched(Self { desk, trail, route, report });
    }
}

impl Watch for Watcher {
    fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        crate::recording::scope(self.trail.recording(), work)
    }

    fn failed(&mut self, error: &Error) {
        let report = self.desk.tell(Evidence::of_body(error, &self.trail, self.route.as_ref()));
        // It fails once.
        let _ = self.report.0.set(report);
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
