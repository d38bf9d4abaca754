//! `Log`: reports as events of the log.

use super::{Origin, Report, Reporter};
use crate::log::FAILED_START;
use std::sync::Arc;

/// Logs one event for each report, with the target `purlin::report` and the level `ERROR`; `WARN` below 500.
///
/// Its fields: `report` (the id), `fingerprint`, `status`, `error` (message and causes on one line), `kind`, `place`,
/// `layer`, `route`, `method`, `url`, `id` (the request's) and `user`. The rest of a report is for a
/// [`Folder`](super::Folder) or a mail.
///
/// The access log has a line for a failed answer already, with the report's id; this is for failures that it does not see
/// (of bodies, of error pages), and for those who collect failures apart.
///
/// Why a site does not start [`run`](crate::run()) prints: with the configuration's `log.format = "text"` there is no event besides,
/// and with `"json"` there is the event alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log {
    _private: (),
}

impl Log {
    /// There are no options: which events are kept is the subscriber's affair.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Reporter for Log {
    fn report(&self, report: &Arc<Report>) {
        let is_kept = tracing::event_enabled!(target: "purlin::report", tracing::Level::ERROR);
        if report.origin == Origin::Start && !FAILED_START.wants_event(is_kept) {
            return;
        }
        let request = report.request.as_ref();
        let error = super::write::harmless(&report.one_line());
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "purlin::report", tracing::Level::$level,
                    report = report.id,
                    fingerprint = report.fingerprint,
                    origin = ?report.origin,
                    status = report.status,
                    error,
                    kind = report.kind,
                    place = report.places.first().map(tracing::field::display),
                    layer = report.layer,
                    route = report.route.as_ref().map(|route| route.path.as_str()),
                    method = request.map(|request| request.method.as_str()),
                    url = request.map(|request| request.url.as_str()),
                    id = request.and_then(|request| request.id.as_deref()),
                    user = report.user.as_ref().map(|user| user.id.as_str()),
                )
            };
        }
        if report.status >= 500 { event!(ERROR) } else { event!(WARN) }
    }

    fn name(&self) -> String {
        "log".to_owned()
    }
}
