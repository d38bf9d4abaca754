//! `Trail`: what a request has left behind, wherever it failed.

use crate::recording::Recording;
use crate::session::LazySession;
use crate::{Connection, Request, RequestExt, RequestId, View};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// In the extensions of a request whose failure would be reported. Those further in leave what they know in it, so that it is
/// there also when the rest was dropped, by a deadline for example.
#[derive(Clone)]
pub(crate) struct Trail(Arc<Facts>);

struct Facts {
    head: Head,
    recording: Option<Recording>,
    left: Mutex<Left>,
}

/// The request, without its body.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) peer: Option<SocketAddr>,
    pub(super) id: Option<RequestId>,
}

/// What those further in left.
#[derive(Clone, Default)]
pub(super) struct Left {
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

impl Trail {
    /// Begins one, in the request's extensions, which records at most so many lines of the log.
    pub(crate) fn begin(req: &mut Request, lines: usize) -> Self {
        let original = req.extensions().get::<crate::request::OriginalUri>().map(|original| &original.0);
        let head = Head {
            method: req.method().clone(),
            uri: original.unwrap_or_else(|| req.uri()).clone(),
            version: req.version(),
            headers: req.headers().clone(),
            peer: req.connection().and_then(Connection::peer),
            id: req.id().cloned(),
        };
        let recording = (lines > 0).then(|| Recording::new(lines));
        let trail = Self(Arc::new(Facts { head, recording, left: Mutex::default() }));
        req.extensions_mut().insert(trail.clone());
        trail
    }

    pub(crate) fn recording(&self) -> Option<&Recording> {
        self.0.recording.as_ref()
    }

    pub(super) fn head(&self) -> &Head {
        &self.0.head
    }

    pub(super) fn left(&self) -> Left {
        self.locked().clone()
    }

    /// The body was read.
    pub(crate) fn leave_body(req: &Request, bytes: &Bytes) {
        if let Some(trail) = req.extensions().get::<Self>() {
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
    pub(crate) fn leave_session(req: &Request, session: &LazySession) {
        if let Some(trail) = req.extensions().get::<Self>() {
            trail.locked().session = Some(session.clone());
        }
    }

    /// Who sent the request may be found out later.
    #[cfg(feature = "auth")]
    pub(crate) fn leave_visitor(req: &Request, visitor: &crate::auth::Visitor) {
        if let Some(trail) = req.extensions().get::<Self>() {
            trail.locked().visitor = Some(visitor.clone());
        }
    }

    /// A view could not be rendered.
    pub(crate) fn leave_view(&self, view: &View) {
        self.locked().view = Some(view.clone());
    }

    fn locked(&self) -> MutexGuard<'_, Left> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
