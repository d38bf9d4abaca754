//! A WebSocket as a browser opens one.

use super::{Broken, Client, RequestBuilder, Way, wire};
use crate::websocket::{Inside, WebSocket};
use crate::{Body, Request, ResponseExt};
use bytes::BytesMut;
use ct_codecs::{Base64, Encoder};
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Uri};
use std::sync::{Arc, Mutex};

impl Client {
    /// Opens a WebSocket, as a browser does on a page of the site: with its cookies, its origin and compression. Without a socket
    /// where the client has none. Subprotocols and other headers are set by [`RequestBuilder::websocket`].
    ///
    /// ```
    /// use purlin::testing::Client;
    /// use purlin::websocket::{Message, WebSocketUpgrade};
    /// use purlin::{Router, Stack, get};
    ///
    /// async fn shout(upgrade: WebSocketUpgrade) -> purlin::Result<purlin::Response> {
    ///     upgrade.on(async |mut socket| {
    ///         while let Some(message) = socket.next().await? {
    ///             socket.send(message.as_text().unwrap_or_default().to_uppercase()).await?;
    ///         }
    ///         Ok(())
    ///     })
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> purlin::Result<()> {
    /// let client = Client::new(Stack::new().app(Router::new().route("/shout", get(shout))));
    /// let mut socket = client.websocket("/shout").await;
    /// socket.send("hello").await?;
    /// assert_eq!(socket.next().await?, Some(Message::text("HELLO")));
    /// assert_eq!(socket.close(1000, "").await.code, 1000);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`RequestBuilder::websocket`].
    #[track_caller]
    pub fn websocket(&self, path: &str) -> impl Future<Output = WebSocket> + Send + use<> {
        self.get(path).websocket()
    }
}

impl RequestBuilder {
    /// Sends it as a browser does that opens a WebSocket; headers that were set stay as they are.
    ///
    /// # Panics
    ///
    /// If it is not answered 101, or by an answer that a browser does not take (RFC 6455 §4.1).
    pub fn websocket(mut self) -> impl Future<Output = WebSocket> + Send + use<> {
        let mut nonce = [0; 16];
        let _ = getrandom::fill(&mut nonce);
        let key = Base64::encode_to_string(nonce).unwrap_or_default();
        let origin = format!("{}://{}", if self.url.https { "https" } else { "http" }, self.url.authority);
        let headers: [(HeaderName, &str); 6] = [
            (CONNECTION, "keep-alive, Upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, &key),
            (SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate; client_max_window_bits"),
            (http::header::ORIGIN, &origin),
        ];
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                self.headers.entry(name).or_insert(value);
            }
        }
        async move { self.open().await }
    }

    async fn open(self) -> WebSocket {
        let sent = self.sent(&Body::empty());
        let asked = format!("a WebSocket from {} {}", self.method, self.url);
        let place = self.place;
        let fail = |why: String| -> ! { panic!("expected {asked}, found {why}\nasked at {place}") };
        let opened = match &*self.client.way {
            Way::Inside { .. } => {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                let end = Inside(Arc::new(Mutex::new(Some(theirs))));
                let response = self.client.exchange_with(&sent, Body::empty(), &Broken::default(), Some(end)).await;
                response.map(|response| {
                    let why = response.error().map(|error| format!(": {error:#}"));
                    let (head, _) = response.into_parts();
                    (head.status, head.headers, why, Socket::Inside(ours), BytesMut::new())
                })
            }
            Way::Server { address } => {
                let mut req = Request::new(Body::empty());
                *req.method_mut() = sent.method.clone();
                *req.uri_mut() = Uri::try_from(sent.url.target()).unwrap_or_default();
                *req.headers_mut() = sent.headers.clone();
                wire::upgrade(address, req).await.map(|(head, stream, ahead)| {
                    let (head, ()) = head.into_parts();
                    (head.status, head.headers, None, Socket::Tcp(stream), ahead)
                })
            }
        };
        let (status, headers, why, socket, ahead) = match opened {
            Ok(opened) => opened,
            Err(error) => fail(format!("no answer: {error:#}")),
        };
        self.client.jar().keep(&self.url, &headers);
        if status != 101 {
            fail(format!("{status}{}", why.unwrap_or_default()));
        }
        let accept = sent.headers.get(SEC_WEBSOCKET_KEY).map(|key| crate::websocket::accept_key(key.as_bytes()));
        let proof = headers.get(SEC_WEBSOCKET_ACCEPT).and_then(|value| value.to_str().ok());
        if !matches!(&accept, Some(Ok(accept)) if Some(accept.as_str()) == proof) {
            fail(format!("the wrong Sec-WebSocket-Accept {proof:?}"));
        }
        if let Some(protocol) = headers.get(SEC_WEBSOCKET_PROTOCOL) {
            let offered = sent.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
            if !offered.flat_map(|offered| offered.split(',')).any(|offered| offered.trim().as_bytes() == protocol) {
                fail(format!("the protocol {protocol:?}, which was not offered"));
            }
        }
        match socket {
            Socket::Inside(socket) => WebSocket::client(socket, ahead, &headers),
            Socket::Tcp(socket) => WebSocket::client(socket, ahead, &headers),
        }
    }
}

enum Socket {
    Inside(tokio::io::DuplexStream),
    Tcp(tokio::net::TcpStream),
}
