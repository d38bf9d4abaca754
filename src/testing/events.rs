//! An event stream as a browser reads it (WHATWG HTML §9.2.6).

use super::{Client, RequestBuilder};
use crate::{Body, ResponseExt};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// How long nothing may come, not even a comment.
const PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    /// Opens an event stream, as a browser's `EventSource` does. Further headers, `Last-Event-ID` among them, are set by
    /// [`RequestBuilder::events`].
    ///
    /// ```
    /// use purlin::sse::{Event, Events, EventSource};
    /// use purlin::testing::Client;
    /// use purlin::{Router, Stack, get};
    ///
    /// async fn news(events: EventSource) -> Events {
    ///     events.send(async |out| out.send(Event::new("It rains.").event("weather")).await)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let client = Client::new(Stack::new().app(Router::new().route("/news", get(news))));
    /// let mut events = client.events("/news").await;
    /// let event = events.next().await.expect("an event");
    /// assert_eq!((event.event.as_str(), event.data.as_str()), ("weather", "It rains."));
    /// assert!(events.next().await.is_none(), "the answer has ended");
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`RequestBuilder::events`].
    #[track_caller]
    pub fn events(&self, path: &str) -> impl Future<Output = EventStream> + Send + use<> {
        self.get(path).events()
    }
}

impl RequestBuilder {
    /// Sends it as a browser's `EventSource` does, and reads its answer event by event.
    ///
    /// # Panics
    ///
    /// If the answer is one that an `EventSource` does not take: another status than 200, or another type than
    /// `text/event-stream` (WHATWG HTML §9.2.3).
    pub fn events(mut self) -> impl Future<Output = EventStream> + Send + use<> {
        for (name, value) in [(ACCEPT, "text/event-stream"), (CACHE_CONTROL, "no-store")] {
            self.headers.entry(name).or_insert(http::HeaderValue::from_static(value));
        }
        let (asked, place) = (format!("{} {}", self.method, self.url), self.place);
        async move {
            let response = self.raw().await;
            let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim();
            if response.status() != 200 || !kind.eq_ignore_ascii_case("text/event-stream") {
                let (status, error) = (response.status(), response.error());
                let why = error.map(|error| format!(": {error:#}")).unwrap_or_default();
                panic!("expected events from {asked}, found {status} of type {kind:?}{why}\nasked at {place}");
            }
            EventStream { body: response.into_body(), parser: EventParser::new(), ready: VecDeque::new(), asked, place }
        }
    }
}

/// An event stream that is being read: see [`Client::events`].
pub struct EventStream {
    body: Body,
    parser: EventParser,
    ready: VecDeque<ReceivedEvent>,
    asked: String,
    place: &'static Location<'static>,
}

impl EventStream {
    /// The next event; `None` when the answer has ended. Comments are passed over.
    ///
    /// # Panics
    ///
    /// If the answer breaks off, or nothing at all comes for a minute.
    pub async fn next(&mut self) -> Option<ReceivedEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let Ok(frame) = frame else {
                panic!("nothing came for {PATIENCE:?} from {}\nasked at {}", self.asked, self.place);
            };
            match frame? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.ready.extend(self.parser.feed(&data));
                    }
                }
                Err(error) => panic!("{} broke off: {error:#}\nasked at {}", self.asked, self.place),
            }
        }
    }

    /// How long the site lets the browser wait before it asks again, if it said so.
    pub fn retry(&self) -> Option<Duration> {
        self.parser.retry
    }

    /// The id that the browser would send as `Last-Event-ID`.
    pub fn last_event_id(&self) -> &str {
        &self.parser.last_event_id
    }

    /// The rest of the answer, which was not read yet.
    pub fn into_body(self) -> Body {
        self.body
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventStream({})", self.asked)
    }
}

/// An event as a browser hands it to a script.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedEvent {
    /// Its name; `message` where it has none.
    pub event: String,
    /// Its lines, joined by line feeds.
    pub data: String,
    /// The last id that came, with it or before it; empty where there was none.
    pub last_event_id: String,
}

/// Reads an event stream piece by piece, as HTML §9.2.6 says.
///
/// ```
/// use purlin::testing::EventParser;
///
/// let mut parser = EventParser::new();
/// assert!(parser.feed(b"data: YHOO\ndata: +2\nda").is_empty());
/// let events = parser.feed(b"ta: 10\n\n");
/// assert_eq!(events[0].data, "YHOO\n+2\n10");
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventParser {
    line: Vec<u8>,
    begun: bool,
    after_cr: bool,
    name: String,
    data: String,
    id: String,
    last_event_id: String,
    retry: Option<Duration>,
}

impl EventParser {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a piece, and returns the events that end in it.
    pub fn feed(&mut self, piece: &[u8]) -> Vec<ReceivedEvent> {
        let mut events = Vec::new();
        for &byte in piece {
            let after_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    let line = if self.begun { &line[..] } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) };
                    self.begun = true;
                    events.extend(self.line(&String::from_utf8_lossy(line)));
                }
                byte => self.line.push(byte),
            }
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<ReceivedEvent> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = value.to_owned(),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis);
            }
            // A comment, or what the standard does not know.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<ReceivedEvent> {
        self.last_event_id.clone_from(&self.id);
        let (name, mut data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        // A last line feed is taken off; without data there is no event.
        data.pop()?;
        let event = if name.is_empty() { "message".to_owned() } else { name };
        Some(ReceivedEvent { event, data, last_event_id: self.last_event_id.clone() })
    }
}
