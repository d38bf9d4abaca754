//! Server-sent events: an answer that goes on, read by a browser's `EventSource` (WHATWG HTML §9.2).
//!
//! A handler takes an [`EventSource`] as its argument and makes its answer of that: of a [stream](EventSource::stream), of an
//! [async closure that sends](EventSource::send), or of a [`Channel`] that many listen to.
//!
//! ```
//! use purlin::sse::{Event, Events, EventSource};
//! use std::time::Duration;
//!
//! async fn clock(events: EventSource) -> Events {
//!     events.send(async |out| {
//!         for second in 0.. {
//!             out.send(Event::new(second.to_string()).event("tick")).await?;
//!             tokio::time::sleep(Duration::from_secs(1)).await;
//!         }
//!         Ok(())
//!     })
//! }
//! # purlin::get(clock);
//! ```
//!
//! - **It ends with the server.** When that drains, the answer ends, and the browser asks again by itself: whoever answers
//!   then. A handler that is asked in the drain still answers 200, since any other status makes an `EventSource` give up.
//! - **It ends with the client.** What makes the events is part of the answer: it is dropped when nobody reads any more, and
//!   waits when the reader is slow. A client that is gone without a word is found by the comment that is sent
//!   [every 15 seconds](Events::keep_alive) where there is no event.
//! - **No layer holds it back.** `Cache-Control: no-store` keeps it out of caches, `X-Accel-Buffering: no` lets nginx pass it
//!   on, and [`Compression`](crate::layers::Compression) flushes after each piece.
//!   [`Deadline`](crate::layers::Deadline) times the head of an answer, not its body.
//! - **Six in all**: over HTTP/1.1 a browser opens so many connections to a site, its event streams in all tabs included. One
//!   stream with several [names of events](Event::event) is better than several streams.

use crate::extract::FromRequest;
use crate::response::{IntoResponse, Response};
use crate::site::Stopping;
use crate::{Body, Error, Request, Result};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use http_body::Frame;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

mod channel;
mod event;

pub use channel::{Channel, Subscription};
pub use event::{Event, IntoEvent};

/// After how long without an event a comment is sent, unless [`Events::keep_alive`] says otherwise.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How many events a [`Sender`] is ahead of its reader.
const AHEAD: usize = 16;

/// How many bytes of events that are there at once leave as one piece.
const PIECE: usize = 16 * 1024;

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Whoever asked for events: the argument of a handler that sends them.
///
/// It refuses nobody: whether the client asked for `text/event-stream`, and by which method, is the route's affair.
#[derive(Debug)]
pub struct EventSource {
    last: LastEventId,
    stopping: Stopping,
}

impl FromRequest for EventSource {
    async fn from_request(req: &mut Request) -> Result<Self> {
        Ok(Self { last: LastEventId::from_request(req).await?, stopping: Stopping::from_request(req).await? })
    }
}

impl EventSource {
    /// The id of the last event that the client got, if it comes again (WHATWG HTML §9.2.3): see [`LastEventId`].
    pub fn last_event_id(&self) -> Option<&str> {
        self.last.0.as_deref()
    }

    /// The events of a stream, of [`Event`] or `Result<Event, _>`. The first error ends the answer and is logged; the client
    /// comes again.
    pub fn stream<S>(self, stream: S) -> Events
    where
        S: Stream<Item: IntoEvent> + Send + 'static,
    {
        self.of(Box::pin(Mapped { stream }))
    }

    /// The events that `work` sends. It runs as a part of the answer, on no task of its own, and is dropped where it waits when
    /// the client is gone or the server drains. Its end is that of the answer, and so is its error, which is logged.
    ///
    /// ```
    /// use purlin::sse::{Event, Events, EventSource};
    ///
    /// async fn countdown(events: EventSource) -> Events {
    ///     events.send(async |out| {
    ///         for left in (0..3).rev() {
    ///             out.send(Event::new(left.to_string())).await?;
    ///         }
    ///         Ok(())
    ///     })
    /// }
    /// # use purlin::{Router, Stack, get, testing::Client};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # let client = Client::new(Stack::new().app(Router::new().route("/", get(countdown))));
    /// # let mut events = client.events("/").await;
    /// # assert_eq!(events.next().await.unwrap().data, "2");
    /// # }
    /// ```
    pub fn send<W, F>(self, work: W) -> Events
    where
        W: FnOnce(Sender) -> F,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let work = Box::pin(work(Sender { sender }));
        self.of(Box::pin(Sent { receiver, work: Some(work) }))
    }

    /// The events of a receiver; they end when its last sender is dropped.
    pub fn receive<E: IntoEvent + Send + 'static>(self, receiver: mpsc::Receiver<E>) -> Events {
        self.stream(Received { receiver })
    }

    /// The events of a channel: first those that the client has missed since its `Last-Event-ID`.
    pub fn subscribe(self, channel: &Channel) -> Events {
        let subscription = channel.subscribe(self.last_event_id());
        self.stream(subscription)
    }

    fn of(self, events: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>) -> Events {
        let mut stopping = self.stopping;
        Events {
            body: Feed {
                events: Some(events),
                stopping: Box::pin(async move { stopping.wait().await }),
                keep_alive: KEEP_ALIVE,
                timer: None,
                first: Bytes::new(),
                failed: None,
            },
        }
    }
}

/// Sends events into an answer; its clones send into the same one. See [`EventSource::send`].
#[derive(Clone)]
pub struct Sender {
    sender: mpsc::Sender<Bytes>,
}

impl Sender {
    /// Sends an event, once there is room for it: a reader may be 16 of them behind.
    ///
    /// # Errors
    ///
    /// An event that cannot be sent, with the reason (see [`Event`]); and that the answer is over, which only a task of one's
    /// own lives to see.
    #[track_caller]
    pub fn send(&self, event: impl IntoEvent) -> impl Future<Output = Result<()>> + Send {
        let place = std::panic::Location::caller();
        let bytes = event.into_event().and_then(|event| event.to_bytes());
        async move {
            let bytes = bytes.map_err(|error| error.at(place))?;
            self.sender
                .send(bytes)
                .await
                .map_err(|_| Error::internal("nobody listens to the events any more").at(place))
        }
    }

    /// Whether nobody listens any more; only a task of one's own lives to see that.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sse::Sender")
    }
}

/// The id of the last event that a client got before its connection broke (WHATWG HTML §9.2.3), as an argument of a handler;
/// `None` where it asks for the first time, or has got no id.
///
/// It is whatever the client sends: the ids of a [`Channel`] are checked by that.
///
/// ```
/// use purlin::sse::LastEventId;
///
/// async fn since(LastEventId(last): LastEventId) -> String {
///     format!("everything after {}", last.as_deref().unwrap_or("the beginning"))
/// }
/// # purlin::get(since);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastEventId(pub Option<String>);

/// What is not UTF-8, or empty, is none.
impl FromRequest for LastEventId {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let header = req.headers().get("last-event-id");
        let id = header.and_then(|id| std::str::from_utf8(id.as_bytes()).ok());
        Ok(Self(id.filter(|id| !id.is_empty()).map(str::to_owned)))
    }
}

/// An answer of events: what a handler returns that was asked by an [`EventSource`].
#[must_use = "events are sent as the answer of a handler"]
pub struct Events {
    body: Feed,
}

impl Events {
    /// After how long without an event a comment is sent, which keeps the connection open and finds out whether anybody is
    /// there; 15 seconds by default. Zero sends none.
    pub fn keep_alive(mut self, every: Duration) -> Self {
        self.body.keep_alive = every;
        self
    }

    /// How long the browser waits before it asks again, once the answer has ended; its own default is some seconds. Sent before
    /// the first event.
    pub fn retry(mut self, after: Duration) -> Self {
        self.body.first = Event::retry_line(after);
        self
    }
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::new(self.body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, EVENT_STREAM);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        response
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("keep_alive", &self.body.keep_alive).finish_non_exhaustive()
    }
}

/// The body: events as they come, a comment where none does, and an end when the server drains.
struct Feed {
    // `None` after the end: whoever made them is gone by then.
    events: Option<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    keep_alive: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    first: Bytes,
    /// What came behind events that had to leave first.
    failed: Option<Error>,
}

impl Feed {
    /// Nothing happens for so long: says so, by a comment.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if self.keep_alive.is_zero() {
            return Poll::Pending;
        }
        let every = self.keep_alive;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
        std::task::ready!(timer.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(Bytes::from_static(b":\n\n"))
    }

    fn leave(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>>>> {
        if let Some(timer) = &mut self.timer {
            match Instant::now().checked_add(self.keep_alive) {
                Some(at) => timer.as_mut().reset(at),
                None => self.timer = None,
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let first = std::mem::take(&mut this.first);
            return this.leave(first);
        }
        if let Some(failed) = this.failed.take() {
            return Poll::Ready(Some(Err(failed)));
        }
        let Some(events) = &mut this.events else { return Poll::Ready(None) };
        // What is there already is still sent.
        let over = this.stopping.as_mut().poll(cx).is_ready();
        // What is there at once leaves at once, and as one piece.
        let mut piece = Bytes::new();
        let mut pieces = BytesMut::new();
        while piece.len() + pieces.len() < PIECE {
            match events.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(event))) if piece.is_empty() && pieces.is_empty() => piece = event,
                Poll::Ready(Some(Ok(event))) => {
                    pieces.extend_from_slice(&std::mem::take(&mut piece));
                    pieces.extend_from_slice(&event);
                }
                Poll::Ready(end) => {
                    this.events = None;
                    this.failed = end.and_then(Result::err).map(|error| error.context("sending events"));
                    break;
                }
                Poll::Pending => break,
            }
        }
        if over {
            this.events = None;
        }
        if !pieces.is_empty() {
            piece = pieces.freeze();
        }
        if !piece.is_empty() {
            return this.leave(piece);
        }
        match &this.events {
            None => Poll::Ready(this.failed.take().map(Err)),
            Some(_) => this.poll_quiet(cx).map(|comment| Some(Ok(Frame::data(comment)))),
        }
    }
}

pin_project_lite::pin_project! {
    /// A stream of events as bytes.
    struct Mapped<S> {
        #[pin]
        stream: S,
    }
}

impl<S: Stream<Item: IntoEvent>> Stream for Mapped<S> {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.project().stream.poll_next(cx));
        Poll::Ready(next.map(|event| event.into_event()?.to_bytes()))
    }
}

/// The events that some work sends, which goes on as long as they are asked for.
struct Sent {
    receiver: mpsc::Receiver<Bytes>,
    // `None` after its end.
    work: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
}

impl Stream for Sent {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // First what was sent: only then is there room for more.
        if let Poll::Ready(Some(event)) = this.receiver.poll_recv(cx) {
            return Poll::Ready(Some(Ok(event)));
        }
        let ended = match &mut this.work {
            Some(work) => match work.as_mut().poll(cx) {
                Poll::Ready(ended) => ended,
                Poll::Pending => return this.receiver.poll_recv(cx).map(|event| event.map(Ok)),
            },
            None => return this.receiver.poll_recv(cx).map(|event| event.map(Ok)),
        };
        this.work = None;
        match this.receiver.poll_recv(cx) {
            // Its last words; what failed is told when they have left.
            Poll::Ready(Some(event)) => {
                if let Err(error) = ended {
                    this.work = Some(Box::pin(std::future::ready(Err(error))));
                }
                Poll::Ready(Some(Ok(event)))
            }
            Poll::Ready(None) => Poll::Ready(ended.err().map(Err)),
            // Clones of the sender are with others.
            Poll::Pending => ended.map_or_else(|error| Poll::Ready(Some(Err(error))), |()| Poll::Pending),
        }
    }
}

struct Received<E> {
    receiver: mpsc::Receiver<E>,
}

impl<E> Stream for Received<E> {
    type Item = E;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<E>> {
        self.receiver.poll_recv(cx)
    }
}
