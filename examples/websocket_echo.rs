//! Sends back what it is sent: the server that the Autobahn test suite asks (`.ci/autobahn/run`).
//!
//! `cargo run --release --features websocket --example websocket_echo -- 127.0.0.1:9001`

use purlin::websocket::{Deflate, WebSocketUpgrade};
use purlin::{Response, Result, Router, Server, Stack, get};

/// The suite sends messages of 16 MiB.
const MAX_MESSAGE: usize = 64 << 20;

async fn echo(upgrade: WebSocketUpgrade, deflate: Deflate) -> Result<Response> {
    upgrade.max_message(MAX_MESSAGE).deflate(deflate.min_size(0)).on(async |mut socket| {
        while let Some(message) = socket.next().await? {
            socket.send(message).await?;
        }
        Ok(())
    })
}

/// Each message by itself.
async fn alone(upgrade: WebSocketUpgrade) -> Result<Response> {
    echo(upgrade, Deflate::new()).await
}

/// Messages refer to those before them, if the client has nothing against it.
async fn together(upgrade: WebSocketUpgrade) -> Result<Response> {
    echo(upgrade, Deflate::new().context_takeover(true)).await
}

fn main() -> Result<()> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let routes = Router::new().route("/", get(together)).route("/alone", get(alone));
    Server::new().listen(listen.parse()?).bind()?.run(async || Ok(Stack::new().app(routes)))
}
