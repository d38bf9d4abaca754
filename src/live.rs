//! Live reload: the script in a page, and the events that it hears. In debug builds only.

use crate::sse::{Channel, Event, EventSource, Events};
use crate::{Error, FromRequest, IntoResponse, Request, Response, ResponseExt, Result, StatusCode};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderValue, Method};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

mod policy;
mod tag;
mod watch;

pub(crate) use policy::admit;
pub(crate) use tag::tagged;

use watch::Watch;

const EVENTS: &str = "/_purlin/live";
const SCRIPT: &str = "/_purlin/live.js";
const SCRIPT_TEXT: &str = include_str!("../templates/live.js");

/// How soon the browser asks again where the answer has ended, in milliseconds.
const RETRY: u64 = 100;

/// In the site, so that what writes pages stands below the layer that puts the script into them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveScript;

/// What one process tells all pages.
#[derive(Debug)]
pub(crate) struct Live {
    /// Which process it is.
    id: String,
    /// How many changes of files were seen.
    version: AtomicU64,
    channel: Channel,
    watch: OnceLock<Watch>,
}

impl Live {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            id: process_id(),
            version: AtomicU64::new(0),
            channel: Channel::new(64),
            watch: OnceLock::new(),
        })
    }

    /// The folders to watch; what was said first stays.
    pub(crate) fn start(&self, folders: Vec<PathBuf>) {
        let _ = self.watch.set(Watch::new(folders));
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Watches as long as somebody listens, and a while longer: a page that is on its way will.
    pub(crate) fn begin(self: &Arc<Self>) {
        if let Some(watch) = self.watch.get() {
            watch.begin(self);
        }
    }

    /// Tells all pages that files have changed.
    fn changed(&self, names: &[String]) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let kind = if names.iter().all(|name| name.ends_with(".css")) { "styles" } else { "reload" };
        let event = Event::new(names.join("\n")).event(kind).id(version.to_string());
        // Names and numbers are one line each; should a file's name not be, that is lines of data.
        let _ = self.channel.publish(event);
    }

    /// The element for a page that is answered now.
    pub(crate) fn element(&self, nonce: Option<&str>) -> String {
        let nonce = nonce.map(|nonce| format!(" nonce=\"{nonce}\"")).unwrap_or_default();
        let (id, version, mark) = (&self.id, self.version(), mark());
        format!("<script src=\"{SCRIPT}?v={mark}\" data-id=\"{id}\" data-version=\"{version}\"{nonce} defer></script>")
    }

    /// The answer to what the script asks, and to who asks for it; `None` for everything else.
    pub(crate) async fn answer(self: &Arc<Self>, req: &mut Request) -> Option<Result<Response>> {
        let path = req.uri().path();
        if (path != EVENTS && path != SCRIPT) || (req.method() != Method::GET && req.method() != Method::HEAD) {
            return None;
        }
        if path == SCRIPT {
            let response = crate::text(SCRIPT_TEXT)
                .with_header(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"))
                .with_header(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
            return Some(Ok(response));
        }
        if let Err(refused) = same_origin(req) {
            return Some(Err(refused));
        }
        Some(EventSource::from_request(req).await.map(|source| self.events(source).into_response()))
    }

    fn events(self: &Arc<Self>, source: EventSource) -> Events {
        // Before the number is read: what changes after that is among the events.
        let news = self.channel.subscribe(None);
        let hello = Event::new(self.id.clone())
            .event("hello")
            .id(self.version().to_string())
            .retry(std::time::Duration::from_millis(RETRY));
        self.begin();
        source.stream(Hello { hello: Some(hello), news })
    }
}

/// An event, and then what is published.
struct Hello {
    hello: Option<Event>,
    news: crate::sse::Subscription,
}

impl futures_core::Stream for Hello {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.hello.take() {
            Some(hello) => Poll::Ready(Some(hello)),
            None => Pin::new(&mut self.news).poll_next(cx),
        }
    }
}

/// The page of another origin has nothing to listen to here. There is no secret in it, but neither is it any use.
fn same_origin(req: &Request) -> Result<()> {
    let header = |name: &str| req.headers().get(name).and_then(|value| value.to_str().ok());
    let host = header(HOST.as_str()).unwrap_or_default();
    let foreign = match (header("sec-fetch-site"), header(ORIGIN.as_str())) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").is_none_or(|(_, of)| !of.eq_ignore_ascii_case(host)),
        (None, None) => false,
    };
    match foreign {
        true => Err(Error::new(StatusCode::FORBIDDEN, "the events of live reload are for pages of this site")),
        false => Ok(()),
    }
}

/// Changes with the script: its URL is kept for ever.
fn mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| {
        // FNV-1a: a name, and no secret.
        let hash = SCRIPT_TEXT
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{hash:016x}")
    })
}

/// Random for each process; the same for those that serve one site at the same time, any of which may answer.
fn process_id() -> String {
    #[cfg(unix)]
    if std::env::var_os(crate::server::prefork::CHILD).is_some() {
        return format!("{:x}", std::os::unix::process::parent_id());
    }
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{random:016x}")
}
