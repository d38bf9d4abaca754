//! `Trail`: what a request has left behind, wherever it failed.

use crate::forwarded::Client;
use crate::recording::Recording;
use crate::request::{Beside, original_uri};
use crate::session::LazySession;
use crate::{Connection, Request, RequestExt, RequestId, View};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Beside a request whose failure would be reported. Those further in leave what they know in it, so that it is
/// there also when the rest was dropped, by a deadline for example.
#[derive(Clone)]
pub(crate) struct Trail {
    facts: Arc<Facts>,
    recording: Option<Recording>,
}

#[derive(Default)]
struct Facts {
    head: Head,
    left: Mutex<Left>,
}

/// The request, without its body.
#[derive(Default)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    /// A list, which takes half of what a map takes: it is read where something has failed, and made for each request.
    lines: Vec<(HeaderName, HeaderValue)>,
    pub(crate) peer: Option<SocketAddr>,
    /// Who the client is, where a trusted proxy said so.
    pub(crate) client: Option<Client>,
}

/// What those further in left.
#[derive(Clone, Default)]
pub(super) struct Left {
    pub(super) id: Option<RequestId>,
    pub(super) body: Option<ReadBody>,
    /// Of a form with files.
    pub(super) fields: Vec<(String, String)>,
    pub(super) session: Option<LazySession>,
    pub(super) view: Option<View>,
    #[cfg(feature = "auth")]
    pub(super) visitor: Option<crate::auth::Visitor>,
}

#[derive(Clone)]
pub(super) struct ReadBody {
    pub(super) content_type: Option<HeaderValue>,
    pub(super) bytes: Bytes,
}

impl Head {
    /// Takes what is to be known of a request.
    fn note(&mut self, req: &Request) {
        self.method = req.method().clone();
        self.uri = original_uri(req).clone();
        self.version = req.version();
        self.lines.clear();
        self.lines.extend(req.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        self.peer = req.connection().and_then(Connection::peer);
        self.client = req.extensions().get().copied();
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.lines.len());
        for (name, value) in &self.lines {
            headers.append(name, value.clone());
        }
        headers
    }
}

thread_local! {
    /// What the last trail of this thread leaves that nobody asked for.
    static SPARE: Cell<Option<(Arc<Facts>, Option<Recording>)>> = const { Cell::new(None) };
}

impl Trail {
    /// Begins one, which records at most so many lines of the log. Below another it goes on with what that one has.
    pub(crate) fn begin(req: &mut Request, lines: usize) -> Self {
        let (spare, recording) = SPARE.try_with(Cell::take).ok().flatten().unzip();
        let facts = match Self::of(req) {
            Some(outer) => outer.facts.clone(),
            None => {
                let mut facts: Arc<Facts> = spare.unwrap_or_default();
                // In nobody else's hands: it is new, or `end` has seen to that.
                if let Some(facts) = Arc::get_mut(&mut facts) {
                    facts.head.note(req);
                }
                facts
            }
        };
        let recording = (lines > 0).then(|| Recording::new(lines, recording.flatten()));
        let trail = Self { facts, recording };
        if let Some(id) = req.id() {
            trail.locked().id = Some(id.clone());
        }
        Beside::of(req).trail = Some(trail.clone());
        trail
    }

    /// Ends one that has led nowhere. If it is in nobody else's hands, what it is made of serves the next request of this thread.
    pub(crate) fn end(self) {
        let Self { mut facts, recording } = self;
        if let Some(left) = Arc::get_mut(&mut facts) {
            if let Some(session) = left.left.get_mut().unwrap_or_else(PoisonError::into_inner).session.take() {
                session.end();
            }
            // They are the visitor's, and lie in the connection's buffer, which is to be free for what comes next.
            let mut lines = std::mem::take(&mut left.head.lines);
            lines.clear();
            *left = Facts { head: Head { lines, ..Head::default() }, left: Mutex::default() };
            let _ = SPARE.try_with(|spare| spare.set(Some((facts, recording))));
        }
    }

    /// That of a request.
    pub(crate) fn of(req: &Request) -> Option<&Self> {
        req.extensions().get::<Beside>()?.trail.as_ref()
    }

    pub(crate) fn recording(&self) -> Option<&Recording> {
        self.recording.as_ref()
    }

    pub(crate) fn head(&self) -> &Head {
        &self.facts.head
    }

    pub(super) fn left(&self) -> Left {
        self.locked().clone()
    }

    /// The body was read.
    pub(crate) fn leave_body(req: &Request, bytes: &Bytes) {
        if let Some(trail) = Self::of(req) {
            let content_type = req.headers().get(CONTENT_TYPE).cloned();
            trail.locked().body = Some(ReadBody { content_type, bytes: bytes.clone() });
        }
    }

    /// A text field of a form with files was read. How many there may be is bounded by the form.
    #[cfg(feature = "multipart")]
    pub(crate) fn leave_field(&self, name: &str, text: &str) {
        self.locked().fields.push((name.to_owned(), text.to_owned()));
    }

    /// There is a session, which may be read later.
    pub(crate) fn leave_session(&self, session: &LazySession) {
        self.locked().session = Some(session.clone());
    }

    /// Who sent the request may be found out later.
    #[cfg(feature = "auth")]
    pub(crate) fn leave_visitor(req: &Request, visitor: &crate::auth::Visitor) {
        if let Some(trail) = Self::of(req) {
            trail.locked().visitor = Some(visitor.clone());
        }
    }

    /// A view could not be rendered.
    pub(crate) fn leave_view(&self, view: &View) {
        self.locked().view = Some(view.clone());
    }

    fn locked(&self) -> MutexGuard<'_, Left> {
        self.facts.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
