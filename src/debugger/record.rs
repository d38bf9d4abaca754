//! `Record`: one failure as the debugger keeps it, and the list of the last ones.

use super::engine::{Captured, Frame};
use crate::error::Place;
use crate::failure::hints::{self, Hint};
use crate::report::{Head, Origin, Redaction, Report};
use crate::template::TemplateError;
use crate::{Error, Excerpt};
use http::{Method, StatusCode};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

/// So many are kept; of which a few have a snapshot.
const MOST: usize = 50;

/// So many characters of an id will do.
const SHORTEST: usize = 6;

/// One failure: its report, and what only the debugger has of it.
pub(super) struct Record {
    /// 128 random bits: the address of its page, which nobody guesses.
    pub(super) id: String,
    pub(super) at: SystemTime,
    /// That of the answer.
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) template: Option<Template>,
    /// The path that was asked for: the report's URL is a text.
    pub(super) path: String,
    pub(super) method: Method,
    /// What to do about it.
    pub(super) hints: Vec<Hint>,
    /// What is not shown, of the site's own words too.
    pub(super) redaction: Redaction,
    /// The same as a question, for the engine.
    pub(super) hides: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Its frames as they were read first.
    pub(super) seen: OnceLock<Vec<Frame>>,
    pub(super) report: Arc<Report>,
    pub(super) captured: Captured,
}

/// A template that failed.
pub(super) struct Template {
    pub(super) file: String,
    pub(super) excerpt: Option<Excerpt>,
    pub(super) trail: Vec<String>,
}

impl Record {
    pub(super) fn of(
        id: String,
        status: StatusCode,
        error: &Error,
        head: &Head,
        redaction: Redaction,
        report: Arc<Report>,
    ) -> Self {
        let template = error.downcast_ref::<TemplateError>();
        let message = match template {
            // Its place is told below.
            Some(template) if report.message == template.to_string() => template.message().to_owned(),
            _ => report.message.clone(),
        };
        let chain = [std::slice::from_ref(&report.message), report.causes.as_slice()].concat();
        Self {
            id,
            at: SystemTime::now(),
            status,
            message,
            template: template.map(|template| Template {
                file: template.file().to_owned(),
                excerpt: template.excerpt().cloned(),
                trail: template.trail().to_vec(),
            }),
            path: head.uri.path().to_owned(),
            method: head.method.clone(),
            // They ask the error, whose own code may panic.
            hints: crate::panic::guarded(|| hints::of(error, &chain)).unwrap_or_default(),
            hides: {
                let redaction = redaction.clone();
                Box::new(move |name| redaction.hides(name))
            },
            redaction,
            seen: OnceLock::new(),
            report,
            captured: error.captured().clone(),
        }
    }

    /// What happened, on one line.
    pub(super) fn headline(&self) -> String {
        if self.report.panic { format!("panicked: {}", self.message) } else { self.message.clone() }
    }

    /// Whether it was met in the body of an answer whose head had left.
    pub(super) fn in_body(&self) -> bool {
        self.report.origin == Origin::Body
    }

    /// The pattern of the route, with the paths of mounts.
    pub(super) fn route(&self) -> Option<&str> {
        self.report.route.as_ref().map(|route| route.path.as_str())
    }

    /// The lines where it arose and gained context.
    pub(super) fn places(&self) -> Vec<&Place> {
        let mut places: Vec<_> = self.report.places.iter().collect();
        // `.context(…)?` is two places on one line.
        places.dedup_by_key(|place| (place.file(), place.line()));
        places
    }

    /// Path and query, with nothing secret in them.
    pub(super) fn url(&self) -> &str {
        self.report.request.as_ref().map_or(&self.path, |request| &request.url)
    }

    /// The same to be followed on this host: what begins with `//`, or for browsers `/\`, would lead to another.
    pub(super) fn link(&self) -> String {
        let url = self.url();
        if url.starts_with("//") || url.starts_with("/\\") { format!("/.{url}") } else { url.to_owned() }
    }

    /// The headers and the names of the cookies, with nothing secret in them.
    pub(super) fn headers(&self) -> Vec<(&str, String)> {
        let Some(request) = &self.report.request else { return Vec::new() };
        let mut shown: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        if !request.cookies.is_empty() {
            let cookies = request.cookies.iter().map(|(name, value)| format!("{name}={value}"));
            shown.push(("cookie", cookies.collect::<Vec<_>>().join("; ")));
        }
        shown
    }

    /// Whether no handler was found.
    pub(super) fn is_unmatched(&self) -> bool {
        self.report.route.is_none() && matches!(self.status.as_u16(), 404 | 405)
    }
}

/// The last failures, newest first.
#[derive(Default)]
pub(super) struct Records(Mutex<VecDeque<Arc<Record>>>);

impl Records {
    pub(super) fn add(&self, record: Record) -> Arc<Record> {
        let record = Arc::new(record);
        let mut records = self.locked();
        let old = if records.len() == MOST { records.pop_back() } else { None };
        records.push_front(record.clone());
        drop(records);
        // Its snapshot's process ends here, not under the lock.
        drop(old);
        record
    }

    /// By its id, by its report's, or by the beginning of either; the newest of several.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Record>> {
        let meant = |of: &str| of == id || (id.len() >= SHORTEST && of.starts_with(id));
        self.locked().iter().find(|record| meant(&record.id) || meant(&record.report.id)).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Record>> {
        self.locked().iter().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
