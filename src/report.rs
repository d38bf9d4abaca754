//! `Report`: the facts of one failure; and the `Reporter`s that are told of it.

#[cfg(any(feature = "mail", feature = "webhook"))]
mod batch;
mod desk;
mod evidence;
mod fingerprint;
mod folder;
pub(crate) mod frames;
mod log;
#[cfg(feature = "mail")]
mod mail;
mod queue;
mod redaction;
mod scrub;
mod trail;
#[cfg(feature = "webhook")]
mod webhook;
pub(crate) mod write;

pub use crate::recording::{Line, Span};
#[cfg(all(feature = "debugger", debug_assertions))]
pub(crate) use desk::BodyReport;
pub(crate) use desk::{Desk, Watcher};
pub(crate) use evidence::Evidence;
pub use folder::Folder;
pub use frames::Frame;
pub use log::Log;
#[cfg(feature = "mail")]
pub use mail::{Mail, MailError};
pub use redaction::Redaction;
pub(crate) use scrub::between_words;
#[cfg(all(feature = "debugger", debug_assertions))]
pub(crate) use trail::Head;
pub(crate) use trail::Trail;
#[cfg(feature = "webhook")]
pub use webhook::{Webhook, WebhookError};

use crate::error::Place;
use crate::site::{Start, short_name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The facts of one failure, with nothing secret in them.
///
/// Made by [`ErrorPages`](crate::layers::ErrorPages), for its [`Reporter`]s and its development pages. [`Redaction`] is done where
/// it is made, so whatever is done with a report, what it hides is not in it.
///
/// `Display` prints all of it as text; [`to_json`](Report::to_json) and [`to_markdown`](Report::to_markdown) in other forms.
/// An answer that was reported carries its `Arc<Report>` in the extensions.
///
/// Everything in it is bounded: texts are cut after 16 KiB, lists after 500 items.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Told to the visitor, so that who is asked can find the report: 16 hexadecimal digits.
    pub id: String,
    /// The same for failures of one kind at one place, also after a new start: of the error's type, the line, the route and
    /// the layer, and where there is no line of the shape of the message; of no values. 16 hexadecimal digits.
    pub fingerprint: String,
    /// When it was made, as RFC 3339 writes it, in UTC.
    pub time: String,
    /// What failed.
    pub origin: Origin,
    /// The status of the answer.
    pub status: u16,
    /// What went wrong, for the developer.
    pub message: String,
    /// What the client was told.
    pub public: String,
    /// The type of the error it was made from.
    pub kind: Option<String>,
    /// Whether it was a panic.
    pub panic: bool,
    /// Behind the message: each the cause of the one before.
    pub causes: Vec<String>,
    /// The lines where it arose and gained context, in that order.
    pub places: Vec<Place>,
    /// The layer it arose in; `None` for a handler.
    pub layer: Option<String>,
    /// The layers that the request met or would have met, outermost first.
    pub stack: Vec<StackLine>,
    /// The route that was to answer.
    pub route: Option<RouteFacts>,
    /// The stack of a panic, innermost first.
    pub frames: Vec<Frame>,
    /// `None` for a failed start.
    pub request: Option<RequestFacts>,
    /// The session's names and values, if it was read.
    pub session: Option<Map<String, Value>>,
    /// Who had been found to be signed in.
    pub user: Option<User>,
    /// The view that could not be rendered.
    pub template: Option<TemplateFacts>,
    /// The spans in which the error arose, innermost first; recorded with
    /// [`log_lines`](crate::layers::ErrorPages::log_lines).
    pub spans: Vec<Span>,
    /// What the request logged, oldest first; recorded with [`log_lines`](crate::layers::ErrorPages::log_lines).
    pub log: Vec<Line>,
    /// The configuration, if the layer was [told](crate::layers::ErrorPages::config) it.
    pub config: Vec<Setting>,
    /// Which program this was.
    pub program: Program,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// An answer, which got an error page instead.
    Answer,
    /// The body of an answer, whose head had left: the client sees the connection cut.
    Body,
    /// The site's template of an error page; the framework's page was sent.
    ErrorPage,
    /// The start of the site: a layer refused, it does not fit together, or there was no place to listen.
    Start,
}

/// A layer in the way of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StackLine {
    /// Its name.
    pub name: String,
    /// The line that put it into the stack.
    pub place: String,
    /// Whether the failure arose in it.
    pub failed: bool,
}

/// The route that was to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RouteFacts {
    /// As it was written, with the prefixes of mounts: `/posts/{id}`.
    pub path: String,
    /// Its name.
    pub name: Option<String>,
    /// The line that added it.
    pub place: Option<String>,
    /// The path's parameters.
    pub params: Vec<(String, String)>,
}

/// What the client sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RequestFacts {
    /// Its id, of the layer `RequestIds`.
    pub id: Option<String>,
    /// The method.
    pub method: String,
    /// Path and query.
    pub url: String,
    /// `HTTP/1.1`.
    pub version: String,
    /// The address of the client, if a trusted proxy said it, or else of the other end of the connection.
    pub peer: Option<String>,
    /// The headers in their order, without the cookies.
    pub headers: Vec<(String, String)>,
    /// The names of the cookies. Their values are never shown.
    pub cookies: Vec<(String, String)>,
    /// The query's parameters.
    pub query: Vec<(String, String)>,
    /// The fields of the form, if it was read.
    pub form: Vec<(String, String)>,
    /// The JSON body, if it was read.
    pub json: Option<Value>,
    /// The length of the body in bytes, if it was read.
    pub body_bytes: Option<u64>,
}

/// Who was signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// The account's id.
    pub id: String,
    /// The account's name.
    pub name: String,
}

/// A view that could not be rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TemplateFacts {
    /// The template's name.
    pub name: String,
    /// What the handler gave it.
    pub context: Value,
    /// The lines around the fault, numbered.
    pub excerpt: Option<String>,
}

/// A setting, as [`Config::values`](crate::Config::values) shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Setting {
    /// The whole key, `server.listen`.
    pub key: String,
    /// The value, or `•••`.
    pub value: String,
    /// Where it comes from.
    pub source: String,
}

/// Which program this was, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Program {
    /// The name of the executable.
    pub name: String,
    /// What the site calls this build of it: see [`release`](crate::layers::ErrorPages::release).
    pub release: Option<String>,
    /// `debug` or `release`: how Purlin was built.
    pub profile: String,
    /// The version of Purlin.
    pub purlin: String,
    /// The system: `linux x86_64`.
    pub system: String,
    /// The machine's name.
    pub host: Option<String>,
    /// The process.
    pub process: u32,
    /// How long the site had been running, in seconds.
    pub uptime_seconds: u64,
}

/// A longer text is cut.
const LONGEST_TEXT: usize = 16 << 10;

/// Of a longer list the rest is left out.
const MOST_ITEMS: usize = 500;

/// Is told of failures: the [`Log`], a [`Folder`], `Mail`, a `Webhook`, or one of the site's own.
///
/// ```
/// use purlin::layers::ErrorPages;
/// use purlin::report::{Report, Reporter};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Default)]
/// struct Count(AtomicU64);
///
/// impl Reporter for Count {
///     fn report(&self, _: &Arc<Report>) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let pages = ErrorPages::new().reporter(Count::default());
/// ```
pub trait Reporter: Send + Sync + 'static {
    /// Takes a report. Called while the client waits for its answer, so what takes time is left to work that
    /// [`start`](Reporter::start) began, by a queue which is bounded.
    ///
    /// A panic in it is logged and does no harm to the answer.
    fn report(&self, report: &Arc<Report>);

    /// Runs once, before the first request; long work is started here. Nothing, by default.
    ///
    /// If the site does not start, this may run later than `start`s of layers, and the work ends within five seconds.
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible to report: the site then does not start.
    fn start(&self, start: &mut Start) -> crate::Result<()> {
        let _ = start;
        Ok(())
    }

    /// How the printed stack calls it; its type's name by default.
    fn name(&self) -> String {
        short_name::<Self>().to_owned()
    }
}

impl<R: Reporter + ?Sized> Reporter for Arc<R> {
    fn report(&self, report: &Arc<Report>) {
        (**self).report(report);
    }

    fn start(&self, start: &mut Start) -> crate::Result<()> {
        (**self).start(start)
    }

    fn name(&self) -> String {
        (**self).name()
    }
}
