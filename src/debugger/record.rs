//! `Record`: one failure as the debugger keeps it, and the list of the last ones.

use super::engine::{Captured, Frame};
use crate::error::Place;
use crate::failure::hints::{self, Hint};
use crate::report::{Redaction, Report};
use crate::template::TemplateError;
use crate::{Error, Excerpt, MatchedRoute, Request, RequestExt, RequestId};
use http::header::COOKIE;
use http::{HeaderMap, Method, StatusCode, Uri};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

/// So many are kept; of which a few have a snapshot.
const MOST: usize = 50;

/// So many characters of an id will do.
const SHORTEST: usize = 6;

/// One failure.
pub(super) struct Record {
    /// 128 random bits: the address of its page, which nobody guesses.
    pub(super) id: String,
    pub(super) at: SystemTime,
    /// Whether it was met in the body of an answer whose head had left.
    pub(super) in_body: bool,
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) causes: Vec<String>,
    pub(super) panic: bool,
    pub(super) places: Vec<Place>,
    pub(super) layer: Option<&'static str>,
    pub(super) route: Option<String>,
    pub(super) public: Option<String>,
    pub(super) template: Option<Template>,
    pub(super) asked: Asked,
    /// What to do about it.
    pub(super) hints: Vec<Hint>,
    /// What is not shown, of the site's own words too.
    pub(super) redaction: Redaction,
    /// The same as a question, for the engine.
    pub(super) hides: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Its frames as they were read first.
    pub(super) seen: OnceLock<Vec<Frame>>,
    /// All that is known, where the layer `ErrorPages` made one.
    pub(super) report: Option<Arc<Report>>,
    pub(super) captured: Captured,
}

/// A template that failed.
pub(super) struct Template {
    pub(super) file: String,
    pub(super) excerpt: Option<Excerpt>,
    pub(super) trail: Vec<String>,
}

/// The request, without its body.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) id: Option<RequestId>,
}

impl Asked {
    pub(super) fn of(req: &Request) -> Self {
        let original = req.extensions().get::<crate::request::OriginalUri>().map(|original| &original.0);
        Self {
            method: req.method().clone(),
            uri: original.unwrap_or_else(|| req.uri()).clone(),
            headers: req.headers().clone(),
            id: req.id().cloned(),
        }
    }
}

const MASK: &str = "•••";

impl Record {
    /// Of an error. What the site's own code says of it, in a `Display`, may panic: then that is what is said.
    pub(super) fn of(
        id: String,
        status: StatusCode,
        error: &Error,
        route: Option<&MatchedRoute>,
        asked: Asked,
        redaction: Redaction,
        report: Option<Arc<Report>>,
    ) -> Self {
        let template = error.downcast_ref::<TemplateError>();
        let mut chain = match &report {
            // With nothing secret in it.
            Some(report) => [std::slice::from_ref(&report.message), report.causes.as_slice()].concat(),
            None => {
                let chain =
                    crate::panic::guarded(|| error.chain().map(|text| redaction.text(&text)).collect::<Vec<_>>());
                chain.unwrap_or_else(|_| vec!["the error could not be printed: its own `Display` panicked".into()])
            }
        };
        let hints = crate::panic::guarded(|| hints::of(error, &chain)).unwrap_or_default();
        let first = if chain.is_empty() { String::new() } else { chain.remove(0) };
        let message = match template {
            // Its place is told below.
            Some(template) if first == template.to_string() => template.message().to_owned(),
            _ => first,
        };
        let mut places = error.places().to_vec();
        // `.context(…)?` is two places on one line.
        places.dedup_by_key(|place| (place.file().to_owned(), place.line()));
        Self {
            id,
            at: SystemTime::now(),
            in_body: false,
            status,
            message,
            causes: chain,
            panic: error.is_panic(),
            places,
            layer: error.layer(),
            // The report's has the paths of mounts.
            route: match report.as_ref().and_then(|report| report.route.as_ref()) {
                Some(route) => Some(route.path.clone()),
                None => route.map(MatchedRoute::pattern).or(error.route()).map(str::to_owned),
            },
            public: error.public_message().map(str::to_owned),
            template: template.map(|template| Template {
                file: template.file().to_owned(),
                excerpt: template.excerpt().cloned(),
                trail: template.trail().to_vec(),
            }),
            asked,
            hints,
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
        if self.panic { format!("panicked: {}", self.message) } else { self.message.clone() }
    }

    /// Path and query, with nothing secret in them.
    pub(super) fn url(&self) -> String {
        if let Some(request) = self.report.as_ref().and_then(|report| report.request.as_ref()) {
            return request.url.clone();
        }
        let uri = &self.asked.uri;
        let Some(query) = uri.query() else { return uri.path().to_owned() };
        let shown = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if self.redaction.hides(name) => format!("{name}={MASK}"),
            _ => pair.to_owned(),
        });
        format!("{}?{}", uri.path(), shown.collect::<Vec<_>>().join("&"))
    }

    /// The same to be followed on this host: what begins with `//`, or for browsers `/\`, would lead to another.
    pub(super) fn link(&self) -> String {
        let url = self.url();
        if url.starts_with("//") || url.starts_with("/\\") { format!("/.{url}") } else { url }
    }

    /// The headers, with nothing secret in them.
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let shown = self.asked.headers.iter().map(|(name, value)| {
            let value = match self.redaction.hides(name.as_str()) || name == COOKIE {
                true => MASK.to_owned(),
                false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            };
            (name.to_string(), value)
        });
        shown.collect()
    }

    /// Whether no handler was found.
    pub(super) fn is_unmatched(&self) -> bool {
        self.route.is_none() && matches!(self.status.as_u16(), 404 | 405)
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
        let reported = |record: &Record| record.report.as_ref().is_some_and(|report| meant(&report.id));
        let records = self.locked();
        records.iter().find(|record| meant(&record.id) || reported(record)).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Record>> {
        self.locked().iter().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
