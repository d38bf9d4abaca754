//! WebSocket (RFC 6455) as a handler's argument: messages both ways, over the connection of a request.
//!
//! ```
//! use purlin::websocket::WebSocketUpgrade;
//! use purlin::{Response, Result};
//!
//! async fn echo(upgrade: WebSocketUpgrade) -> Result<Response> {
//!     upgrade.on(async |mut socket| {
//!         while let Some(message) = socket.next().await? {
//!             socket.send(message).await?;
//!         }
//!         Ok(())
//!     })
//! }
//! # purlin::get(echo);
//! ```
//!
//! - **Pages of other sites are refused**: browsers let any page open a WebSocket anywhere, with the visitor's cookies (cross-site
//!   WebSocket hijacking). One whose `Origin` is not the site's own gets a 403 unless
//!   [`allow_origin`](WebSocketUpgrade::allow_origin) names it. Programs send no `Origin`, and are let in.
//! - **Everything is bounded**: a message by [`max_message`](WebSocketUpgrade::max_message), 1 MiB by default, after
//!   decompression, too; what waits to be read or sent by 16 messages. A side that does not read makes the other one wait.
//! - **Who is gone is found out**: by a ping after 30 seconds of silence, and a minute of it is the end
//!   ([`keep_alive`](WebSocketUpgrade::keep_alive)). Pings of the other side are answered.
//! - **It ends in order**: the end of the handler, and of all its senders, closes with 1000, its error with 1011 or, below 500,
//!   with 1008, the server's drain with 1001. The other side then has five seconds to close, too, from the last that it has taken.
//! - **Messages are compressed** where the client can do so (permessage-deflate, RFC 7692): see [`Deflate`].
//!
//! The handler's answer, 101, leaves before the conversation begins: what stands above sees a request that was quickly answered.
//! It goes through [`Workers`](crate::layers) as it is, and through [`Proxy`](crate), where a drain is the end of the connection without
//! a 1001: the server that is asked knows nothing of it. Over HTTP/2 (RFC 8441) there is none: browsers open a
//! connection of their own for a WebSocket.

use crate::extract::FromRequest;
use crate::panic::caught;
use crate::request::original_uri;
use crate::response::Response;
use crate::server::MindsDrain;
use crate::site::Stopping;
use crate::{Body, Error, Request, RequestExt, Result, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::HeaderValue;
use http::header::{CONNECTION, ORIGIN, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::DuplexStream;

mod deflate;
mod driver;
mod frame;
mod handshake;

pub use deflate::Deflate;
#[doc(hidden)]
pub use frame::{read_frames, write_frames};

pub(crate) use handshake::accept_key;

use deflate::{Agreed, Deflater, Inflater};
use driver::{Driver, Handle, Io, Shared};
use frame::{Decoder, Encoder, Role};

/// The largest message, unless [`WebSocketUpgrade::max_message`] says otherwise: 1 MiB.
pub const MAX_MESSAGE: usize = 1 << 20;

/// After how long without a word a ping is sent, unless [`WebSocketUpgrade::keep_alive`] says otherwise.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long the connection may take to become a WebSocket once the answer is on its way.
const BEGINNING: Duration = Duration::from_secs(10);

/// A request that wants to become a WebSocket, as the argument of a handler, which makes its answer of it by
/// [`on`](WebSocketUpgrade::on).
///
/// # Errors
///
/// 426 Upgrade Required (RFC 9110 §15.5.22) for a request that does not ask for a WebSocket, or for another version of it than 13;
/// 400 for a bad or missing `Sec-WebSocket-Key`; 405 for another method than GET; 501 where the connection cannot be taken over, as
/// over HTTP/2 or CGI. The message names the header.
pub struct WebSocketUpgrade {
    way: Way,
    accept: String,
    origin: Option<HeaderValue>,
    same_origin: bool,
    allowed: Vec<String>,
    /// What is wrong with one of them.
    problem: Option<String>,
    offered: Vec<String>,
    protocol: Option<String>,
    extensions: Vec<String>,
    deflate: Option<Deflate>,
    max_message: usize,
    keep_alive: Duration,
    stopping: Stopping,
    path: String,
}

/// How the connection is taken over.
enum Way {
    Http(OnUpgrade),
    Inside(DuplexStream),
}

/// In the extensions of a request of the testing kit: the other end of its connection.
#[derive(Clone)]
pub(crate) struct Inside(pub(crate) Arc<Mutex<Option<DuplexStream>>>);

impl FromRequest for WebSocketUpgrade {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let accept = handshake::accept(req.method(), req.headers())?;
        let way = match req.extensions_mut().remove::<Inside>() {
            Some(Inside(end)) => crate::lock::locked(&end).take().map(Way::Inside),
            None => req.extensions_mut().remove::<OnUpgrade>().map(Way::Http),
        };
        let way = way.ok_or_else(|| {
            let message = format!("the connection of this request, by {:?}, cannot become a WebSocket", req.version());
            Error::new(StatusCode::NOT_IMPLEMENTED, message)
        })?;
        let headers = req.headers();
        let listed = |name| handshake::listed(headers, name).map(str::to_owned).collect();
        Ok(Self {
            way,
            accept,
            origin: headers.get(ORIGIN).cloned(),
            same_origin: handshake::is_same_origin(headers, req.is_https()),
            allowed: Vec::new(),
            problem: None,
            offered: listed(SEC_WEBSOCKET_PROTOCOL),
            protocol: None,
            extensions: headers
                .get_all(SEC_WEBSOCKET_EXTENSIONS)
                .iter()
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect(),
            deflate: Some(Deflate::new()),
            max_message: MAX_MESSAGE,
            keep_alive: KEEP_ALIVE,
            stopping: Stopping::from_request(req).await?,
            path: original_uri(req).path().to_owned(),
        })
    }
}

impl WebSocketUpgrade {
    /// Lets pages of another site in, by its origin: `https://shop.example`. May be called several times. `*` is every site, for
    /// what visitors' cookies have no say in. What no browser sends as an origin is an error of the handler, which says what to
    /// write.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        let origin = origin.into();
        if origin != "*"
            && let Err(problem) = crate::cors::origin(&origin)
        {
            self.problem.get_or_insert(problem);
        }
        self.allowed.push(origin);
        self
    }

    /// The subprotocols that the handler speaks (§1.9). The first that the client offers as well is agreed on, in the client's
    /// order; none if there is none: see [`protocol`](WebSocketUpgrade::protocol).
    pub fn protocols<P: AsRef<str>>(mut self, spoken: impl IntoIterator<Item = P>) -> Self {
        let spoken: Vec<_> = spoken.into_iter().collect();
        let is_spoken = |offered: &&String| spoken.iter().any(|spoken| spoken.as_ref() == offered.as_str());
        self.protocol = self.offered.iter().find(is_spoken).cloned();
        self
    }

    /// The subprotocol that is agreed on.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The origin of the page that asks; programs send none.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_ref().and_then(|origin| origin.to_str().ok())
    }

    /// The most bytes of a message that is received, after decompression; 1 MiB by default. A larger one ends the connection with
    /// 1009.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// After how long without a word a ping is sent; 30 seconds by default. After twice that time without one the other side is
    /// taken for gone. Zero is never.
    pub fn keep_alive(mut self, silence: Duration) -> Self {
        self.keep_alive = silence;
        self
    }

    /// How messages are compressed, if the client can do so; `None` for not at all.
    pub fn deflate(mut self, deflate: impl Into<Option<Deflate>>) -> Self {
        self.deflate = deflate.into();
        self
    }

    /// Answers 101 Switching Protocols, and begins the conversation once that has left: `work` is run as a task of its own, until
    /// it ends or the server has drained. Its error is logged, unless it is that of a client that is gone.
    ///
    /// # Errors
    ///
    /// 403 for a page of another site (§10.2).
    pub fn on<W, F>(self, work: W) -> Result<Response>
    where
        W: FnOnce(WebSocket) -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        if let Some(problem) = &self.problem {
            return Err(Error::internal(format!("WebSocketUpgrade::allow_origin: {problem}")));
        }
        self.check_origin()?;
        let offers = self.extensions.iter().map(String::as_str);
        let own = self.deflate.as_ref();
        let agreed = own.and_then(|own| Some((own, Agreed::to_offers(offers, own)?)));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.extensions_mut().insert(MindsDrain);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(http::header::SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(&self.accept)?);
        if let Some(protocol) = &self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::try_from(protocol)?);
        }
        if let Some((_, agreed)) = &agreed {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::try_from(agreed.header())?);
        }
        let deflater =
            agreed.as_ref().map(|(own, agreed)| Deflater::new(own, agreed.server_takeover, agreed.server_bits));
        let inflater = agreed.as_ref().map(|(_, agreed)| Inflater::new(agreed.client_takeover));
        let decoder = Decoder::new(Role::Server, self.max_message, inflater);
        let encoder = Encoder::new(Role::Server, deflater);
        let Self { way, keep_alive, mut stopping, path, protocol, .. } = self;
        tokio::spawn(async move {
            let io: Box<dyn Io> = match way {
                Way::Inside(end) => Box::new(end),
                Way::Http(upgrade) => match tokio::time::timeout(BEGINNING, upgrade).await {
                    Ok(Ok(upgraded)) => Box::new(TokioIo::new(upgraded)),
                    // It went before it began.
                    Ok(Err(_)) | Err(_) => return,
                },
            };
            let stopping = Box::pin(async move { stopping.wait().await });
            let shared = Arc::new(Shared::default());
            let socket = WebSocket::new(&shared, protocol);
            let closing = Handle::new(&shared);
            let driver = Driver::new(io, BytesMut::new(), decoder, encoder, keep_alive, Some(stopping), shared);
            both(driver, run(work(socket), closing, path)).await;
        });
        Ok(response)
    }

    fn check_origin(&self) -> Result<()> {
        let Some(origin) = self.origin() else {
            return match &self.origin {
                Some(bad) => Err(refused(&format!("{bad:?}"))),
                None => Ok(()),
            };
        };
        let allowed = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
        if self.same_origin || self.allowed.iter().any(allowed) { Ok(()) } else { Err(refused(origin)) }
    }
}

fn refused(origin: &str) -> Error {
    let message = format!(
        "a page of {origin} opens a WebSocket: expected one of this site; `WebSocketUpgrade::allow_origin` lets others in"
    );
    Error::new(StatusCode::FORBIDDEN, message).public("This WebSocket is for pages of this site only.")
}

impl fmt::Debug for WebSocketUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade")
            .field("path", &self.path)
            .field("origin", &self.origin)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// Both, at the same time and on one task, until both have ended.
async fn both(driver: Driver, work: impl Future<Output = ()>) {
    // The connection is given up with the driver, however long the handler goes on.
    let (mut driver, mut work) = (Some(driver), std::pin::pin!(work));
    let mut worked = false;
    poll_fn(|cx| {
        worked = worked || work.as_mut().poll(cx).is_ready();
        if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
            driver = None;
        }
        if driver.is_none() && worked { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The handler's part, and how the connection ends with it.
async fn run(work: impl Future<Output = Result<()>> + Send, closing: Handle, path: String) {
    let failed = match caught(work).await {
        // All handles are gone, and so the connection is closed.
        Ok(Ok(())) => return,
        Ok(Err(error)) if error.find_cause::<Gone>().is_some() => {
            tracing::debug!(target: "purlin::websocket", path, error = format_args!("{error:#}"), "a client is gone");
            return;
        }
        Ok(Err(error)) | Err(error) => error,
    };
    let error = crate::report::Redaction::new().text(&format!("{failed:#}"));
    let place = failed.place().map(tracing::field::display);
    if failed.status().is_server_error() {
        tracing::error!(target: "purlin::websocket", path, error, place, "a WebSocket failed");
        // What failed is nobody else's affair.
        closing.close(Some(CloseFrame { code: 1011, reason: "the server failed".to_owned() }));
    } else {
        tracing::warn!(target: "purlin::websocket", path, error, place, "what a client said by a WebSocket was refused");
        closing.close(Some(CloseFrame { code: 1008, reason: "the message was refused".to_owned() }));
    }
}

/// A text or some bytes, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A value as JSON, in a text.
    ///
    /// # Errors
    ///
    /// A value that JSON does not have.
    #[track_caller]
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        use crate::Context as _;
        Ok(Self::Text(serde_json::to_string(value).context("writing a message as JSON")?))
    }

    /// The text; `None` for bytes.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The bytes, of a text those of UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// What the message says in JSON.
    ///
    /// # Errors
    ///
    /// 400, with line and column, where it is no JSON or does not fit the type.
    #[track_caller]
    pub fn parse_json<T: DeserializeOwned>(&self) -> Result<T> {
        let place = std::panic::Location::caller();
        serde_json::from_slice(self.as_bytes()).map_err(|error| {
            Error::from(error).at(place).status_code(StatusCode::BAD_REQUEST).context("reading a message as JSON")
        })
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(Bytes::from(bytes))
    }
}

/// Why a WebSocket was closed (§5.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseFrame {
    /// A code of RFC 6455 §7.4, or of one's own from 4000 to 4999. Two are never sent: 1005 where there was none, and 1006 where the
    /// connection broke.
    pub code: u16,
    /// In words, at most 123 bytes.
    pub reason: String,
}

/// The cause of an error that says no more than that the other side is gone, or broke the protocol: not a failure of the site.
#[derive(Clone, Debug)]
pub struct Gone {
    message: String,
}

impl Gone {
    fn closed(frame: &CloseFrame) -> Self {
        Self { message: format!("the WebSocket is closed ({})", frame.code) }
    }

    fn by_us() -> Self {
        Self { message: "the WebSocket was closed by this side".to_owned() }
    }

    fn fault(frame: &CloseFrame) -> Self {
        Self { message: format!("the other side broke the protocol: {} ({})", frame.reason, frame.code) }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Gone {}

#[track_caller]
fn gone(error: Gone) -> Error {
    Error::from(error).status_code(StatusCode::BAD_REQUEST)
}

/// A conversation that has begun: reads and sends messages. [`split`](WebSocket::split) makes two halves of it, of which the one
/// that sends can be cloned.
///
/// Dropping it, or all parts of it, closes it with 1000.
#[derive(Debug)]
pub struct WebSocket {
    sender: Sender,
    receiver: Receiver,
}

impl WebSocket {
    fn new(shared: &Arc<Shared>, protocol: Option<String>) -> Self {
        let handle = Handle::new(shared);
        Self { sender: Sender { handle: handle.clone() }, receiver: Receiver { handle, protocol } }
    }

    /// The client's end, for the testing kit.
    pub(crate) fn client(
        io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        ahead: BytesMut,
        answer: &http::HeaderMap,
    ) -> Self {
        let text = |name| answer.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let agreed = text(SEC_WEBSOCKET_EXTENSIONS).and_then(Agreed::of_answer);
        let own = Deflate::new().min_size(1);
        let deflater = agreed.as_ref().map(|agreed| Deflater::new(&own, agreed.client_takeover, 15));
        let inflater = agreed.as_ref().map(|agreed| Inflater::new(agreed.server_takeover));
        let decoder = Decoder::new(Role::Client, 64 << 20, inflater);
        let encoder = Encoder::new(Role::Client, deflater);
        let shared = Arc::new(Shared::default());
        let socket = Self::new(&shared, text(SEC_WEBSOCKET_PROTOCOL).map(str::to_owned));
        tokio::spawn(Driver::new(Box::new(io), ahead, decoder, encoder, Duration::ZERO, None, shared));
        socket
    }

    /// The next message; `None` when the other side has closed or is gone, or the server drains. Nothing is lost where it is dropped
    /// before it is ready.
    ///
    /// # Errors
    ///
    /// [`Gone`]: the other side broke the protocol, or sent too large a message; it has been told, and all is over.
    #[track_caller]
    #[allow(clippy::should_implement_trait, reason = "it is what streams call it")]
    pub fn next(&mut self) -> impl Future<Output = Result<Option<Message>>> + Send {
        self.receiver.next()
    }

    /// The next message, as JSON.
    ///
    /// # Errors
    ///
    /// Those of [`next`](WebSocket::next) and [`Message::parse_json`].
    #[track_caller]
    pub fn next_json<T: DeserializeOwned>(&mut self) -> impl Future<Output = Result<Option<T>>> + Send {
        self.receiver.next_json()
    }

    /// Sends a message: ready once there is room for it among those that wait to leave.
    ///
    /// # Errors
    ///
    /// [`Gone`]: the WebSocket is closed, by whomever.
    #[track_caller]
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<()>> + Send {
        self.sender.send(message)
    }

    /// Sends a value as JSON, in a text.
    ///
    /// # Errors
    ///
    /// Those of [`send`](WebSocket::send) and [`Message::json`].
    #[track_caller]
    pub fn send_json<T: Serialize + ?Sized>(&mut self, value: &T) -> impl Future<Output = Result<()>> + Send + use<T> {
        self.sender.send_json(value)
    }

    /// Waits until all that was sent is with the operating system.
    ///
    /// # Errors
    ///
    /// [`Gone`]: the WebSocket was closed before.
    #[track_caller]
    pub fn flush(&mut self) -> impl Future<Output = Result<()>> + Send {
        self.sender.flush()
    }

    /// Closes, once what was sent before has left, and waits until the other side has, too, five seconds at most. What it says
    /// meanwhile is not heard.
    ///
    /// # Panics
    ///
    /// For a code that may not be sent: others than 1000 to 1003, 1007 to 1014 and 3000 to 4999.
    #[track_caller]
    pub fn close(self, code: u16, reason: impl Into<String>) -> impl Future<Output = CloseFrame> + Send {
        self.sender.close(code, reason);
        let handle = self.receiver.handle.clone();
        async move { poll_fn(|cx| handle.poll_over(cx)).await }
    }

    /// Why it was closed, once it is.
    pub fn closed(&self) -> Option<CloseFrame> {
        self.receiver.closed()
    }

    /// The subprotocol that was agreed on.
    pub fn protocol(&self) -> Option<&str> {
        self.receiver.protocol.as_deref()
    }

    /// Two halves: each may go to a task of its own.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// The half of a [`WebSocket`] that sends. Clones send into the same one.
#[derive(Clone, Debug)]
pub struct Sender {
    handle: Handle,
}

impl Sender {
    /// As [`WebSocket::send`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn send<M: Into<Message>>(&self, message: M) -> impl Future<Output = Result<()>> + Send + use<M> {
        let place = std::panic::Location::caller();
        let mut message = Some(message.into());
        let handle = self.handle.clone();
        async move { poll_fn(|cx| handle.poll_send(&mut message, cx)).await.map_err(|error| gone(error).at(place)) }
    }

    /// As [`WebSocket::send_json`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> impl Future<Output = Result<()>> + Send + use<T> {
        let message = Message::json(value);
        let sender = self.clone();
        async move { sender.send(message?).await }
    }

    /// As [`WebSocket::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn flush(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let place = std::panic::Location::caller();
        let handle = self.handle.clone();
        async move { poll_fn(|cx| handle.poll_flush(cx)).await.map_err(|error| gone(error).at(place)) }
    }

    /// Closes, once what was sent before has left. Only the first one counts.
    ///
    /// # Panics
    ///
    /// As [`WebSocket::close`].
    #[track_caller]
    pub fn close(&self, code: u16, reason: impl Into<String>) {
        assert!(frame::is_sendable(code), "expected a code that may be sent (1000, 4000 to 4999), found {code}");
        self.handle.close(Some(CloseFrame { code, reason: reason.into() }));
    }

    /// Why it was closed, once it is.
    pub fn closed(&self) -> Option<CloseFrame> {
        self.handle.over()
    }
}

/// The half of a [`WebSocket`] that receives: also a stream of messages. Once it is dropped, what arrives is thrown away.
#[derive(Debug)]
pub struct Receiver {
    handle: Handle,
    protocol: Option<String>,
}

impl Receiver {
    /// As [`WebSocket::next`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    #[allow(clippy::should_implement_trait, reason = "it is what streams call it")]
    pub fn next(&mut self) -> impl Future<Output = Result<Option<Message>>> + Send {
        let place = std::panic::Location::caller();
        async move { poll_fn(|cx| self.handle.poll_next(cx)).await.map_err(|error| gone(error).at(place)) }
    }

    /// As [`WebSocket::next_json`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn next_json<T: DeserializeOwned>(&mut self) -> impl Future<Output = Result<Option<T>>> + Send {
        let next = self.next();
        async move { next.await?.map(|message| message.parse_json()).transpose() }
    }

    /// Why it was closed, once it is.
    pub fn closed(&self) -> Option<CloseFrame> {
        self.handle.over()
    }
}

impl Stream for Receiver {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.handle.poll_next(cx).map(|next| next.map_err(gone).transpose())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.handle.no_reader();
    }
}
