//! A room in which everybody hears everybody: `cargo run --example chat --features websocket`, then open the address in two windows.
//!
//! Messages come by WebSocket; who only listens, as a ticker on another page would, gets them as server-sent events, with what was
//! missed during a break.

use purlin::layers::{AccessLog, ErrorPages, RequestIds, SecurityHeaders};
use purlin::sse::{Channel, Event, EventSource, Events};
use purlin::websocket::WebSocketUpgrade;
use purlin::{Config, Response, Result, Router, Service, Stack, State, get, html};
use tokio::sync::broadcast;

#[derive(Clone)]
struct Room {
    /// For those who talk.
    lines: broadcast::Sender<String>,
    /// For those who listen.
    ticker: Channel,
}

impl Room {
    fn new() -> Self {
        Self { lines: broadcast::Sender::new(100), ticker: Channel::new(100) }
    }

    fn say(&self, line: String) -> Result<()> {
        self.ticker.publish(Event::new(&*line).event("line"))?;
        // Nobody may be there.
        let _ = self.lines.send(line);
        Ok(())
    }
}

async fn chat(State(room): State<Room>, upgrade: WebSocketUpgrade) -> Result<Response> {
    upgrade.max_message(1000).on(async move |socket| {
        let (sender, mut receiver) = socket.split();
        let mut lines = room.lines.subscribe();
        let telling = tokio::spawn(async move {
            loop {
                match lines.recv().await {
                    Ok(line) => sender.send(line).await?,
                    // Who reads too slowly misses some.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok::<_, purlin::Error>(()),
                }
            }
        });
        while let Some(message) = receiver.next().await? {
            if let Some(line) = message.as_text() {
                room.say(line.to_owned())?;
            }
        }
        telling.abort();
        Ok(())
    })
}

async fn ticker(State(room): State<Room>, events: EventSource) -> Events {
    events.subscribe(&room.ticker)
}

async fn page() -> Response {
    html(
        "<!doctype html><html lang=en><title>Chat</title><body><h1>Chat</h1><ol id=lines></ol>\
         <form><label>Say <input name=line autofocus autocomplete=off></label> <button>Send</button></form>\
         <script src=/chat.js></script></body></html>",
    )
}

async fn script() -> Response {
    let mut script = purlin::text(
        r##"
const socket = new WebSocket(location.href.replace(/^http/, "ws") + "chat");
socket.onmessage = ({ data }) => {
  document.querySelector("#lines").append(Object.assign(document.createElement("li"), { textContent: data }));
};
document.querySelector("form").onsubmit = (event) => {
  event.preventDefault();
  socket.send(event.target.line.value);
  event.target.reset();
};
"##,
    );
    script.headers_mut().insert("content-type", purlin::HeaderValue::from_static("text/javascript; charset=utf-8"));
    script
}

fn stack(_: Config) -> Result<impl Service> {
    let routes = Router::new()
        .route("/", get(page))
        .route("/chat.js", get(script))
        .route("/chat", get(chat))
        .route("/ticker", get(ticker));
    Ok(Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(SecurityHeaders::new())
        .layer(ErrorPages::new())
        .layer(State(Room::new()))
        .app(routes))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn what_one_says_all_hear() {
    use purlin::testing::Client;
    let client = Client::new(stack(Config::default()).unwrap());
    let mut ticker = client.events("/ticker").await;
    let (mut ada, mut bob) = (client.websocket("/chat").await, client.websocket("/chat").await);
    // Whoever has got something back is in the room.
    ada.send("hello").await.unwrap();
    assert_eq!(ada.next().await.unwrap(), Some("hello".into()));
    bob.send("hello, Ada").await.unwrap();
    assert_eq!(ada.next().await.unwrap(), Some("hello, Ada".into()));
    assert_eq!(ticker.next().await.unwrap().data, "hello");
    assert_eq!(ticker.next().await.unwrap().data, "hello, Ada");
}
