//! WebSocket: the handshake, messages both ways, and every way of ending.
//!
//! What frames may look like is held against the Autobahn test suite (`.ci/autobahn/run`); here is what that does not ask.

use purlin::layers::{AccessLog, ErrorPages, RequestIds, SecurityHeaders};
use purlin::testing::Client;
use purlin::websocket::{Deflate, Gone, Message, WebSocketUpgrade};
use purlin::{Error, Response, Result, Router, Service, Stack, get};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

async fn echo(upgrade: WebSocketUpgrade) -> Result<Response> {
    upgrade.protocols(["chat.v2", "chat.v1"]).on(async |mut socket| {
        while let Some(message) = socket.next().await? {
            socket.send(message).await?;
        }
        Ok(())
    })
}

fn site(upgrade: impl purlin::Handler<(WebSocketUpgrade,)>) -> Client {
    Client::new(Stack::new().app(Router::new().route("/", get(upgrade))))
}

#[tokio::test]
async fn what_is_sent_comes_back_in_order_text_and_bytes_compressed_and_not() {
    let client = site(echo);
    for extensions in ["permessage-deflate", ""] {
        let mut socket = client.get("/").header("sec-websocket-extensions", extensions).websocket().await;
        let messages = [
            Message::text("hello"),
            Message::text("x".repeat(100_000)),
            Message::text(""),
            Message::from(vec![0, 1, 2, 255]),
            Message::text("schön ☃ 𝄞"),
            Message::from(vec![7; 500_000]),
        ];
        for message in &messages {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().as_ref(), Some(message), "{extensions:?}");
        }
        let closed = socket.close(4000, "enough").await;
        assert_eq!((closed.code, closed.reason.as_str()), (4000, ""), "{extensions:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_told_which_header_is_wrong() {
    let client = site(echo).expect_errors();
    let right = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let table: [(&str, &str, u16, &str); 12] = [
        ("upgrade", "", 426, "expected `Upgrade: websocket`, found \"\""),
        ("upgrade", "h2c", 426, "expected `Upgrade: websocket`, found \"h2c\""),
        ("connection", "", 426, "expected `Connection: Upgrade`"),
        ("connection", "close", 426, "expected `Connection: Upgrade`, found \"close\""),
        ("sec-websocket-version", "", 426, "expected `Sec-WebSocket-Version: 13`"),
        ("sec-websocket-version", "8", 426, "expected `Sec-WebSocket-Version: 13`, found \"8\""),
        ("sec-websocket-key", "", 400, "expected one Sec-WebSocket-Key of 16 bytes in base64"),
        ("sec-websocket-key", "AAAA", 400, "expected one Sec-WebSocket-Key of 16 bytes in base64, found \"AAAA\""),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ", 400, "expected one Sec-WebSocket-Key"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==, a", 400, "expected one Sec-WebSocket-Key"),
        ("sec-websocket-key", "!!!!", 400, "expected one Sec-WebSocket-Key"),
        // Without a connection that could be taken over.
        ("x-right", "in all", 501, "cannot become a WebSocket"),
    ];
    for (name, value, status, expected) in table {
        let request = right.iter().fold(client.get("/"), |request, (name, value)| request.header(name, value));
        let page = request.header(name, value).await;
        let message = page.error().unwrap().message();
        assert_eq!(page.status(), status, "{name}: {value}: {message}");
        assert!(message.contains(expected), "{name}: {value}: {message}");
        if status == 426 {
            page.assert_header("upgrade", "websocket");
        }
        let version = page.header("sec-websocket-version");
        assert_eq!(version, (name == "sec-websocket-version").then_some("13"), "{name}: {value}");
    }
    client.get("/").await.assert_status(426);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_unless_they_are_named() {
    let allows = |origin: &'static str| {
        site(move |upgrade: WebSocketUpgrade| async move {
            upgrade.allow_origin(origin).on(async |mut socket| socket.send("in").await)
        })
    };
    let table = [
        ("https://other.example", "http://localhost", true),
        ("https://other.example", "http://LOCALHOST:80", true),
        ("https://other.example", "http://evil.example", false),
        ("https://other.example", "https://localhost", false),
        ("https://other.example", "http://localhost:8000", false),
        ("https://other.example", "null", false),
        ("https://shop.example", "https://shop.example", true),
        ("https://shop.example", "https://SHOP.example", true),
        ("https://shop.example", "http://shop.example", false),
        ("https://shop.example", "https://shop.example.evil", false),
        ("*", "https://anybody.example", true),
    ];
    for (allowed, origin, expected) in table {
        let client = allows(allowed).expect_errors();
        let request = client.get("/").header("origin", origin);
        if expected {
            assert_eq!(request.websocket().await.next().await.unwrap(), Some("in".into()), "{origin}");
        } else {
            let opened = tokio::spawn(request.websocket()).await;
            let panic = opened.unwrap_err().into_panic();
            let message = panic.downcast_ref::<String>().unwrap();
            assert!(message.contains("403") && message.contains("expected one of this site"), "{message}");
        }
    }
}

#[tokio::test]
async fn an_origin_that_no_browser_sends_is_told_to_whoever_wrote_it() {
    for (allowed, expected) in [
        ("shop.example", "it has no scheme"),
        ("https://shop.example/", "without a slash"),
        ("https://shop.example:443", "leave the scheme's own port out"),
        ("null", "every sandboxed page"),
    ] {
        let client =
            site(move |upgrade: WebSocketUpgrade| async move { upgrade.allow_origin(allowed).on(async |_| Ok(())) });
        let opened = tokio::spawn(client.expect_errors().get("/").websocket()).await;
        let panic = opened.unwrap_err().into_panic();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("WebSocketUpgrade::allow_origin") && message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn the_first_protocol_that_both_speak_is_agreed_on() {
    let client = site(echo);
    for (offered, expected) in
        [("chat.v1", Some("chat.v1")), ("a, chat.v1,chat.v2", Some("chat.v1")), ("a", None), ("", None)]
    {
        let socket = client.get("/").header("sec-websocket-protocol", offered).websocket().await;
        assert_eq!(socket.protocol(), expected, "{offered:?}");
    }
}

#[tokio::test]
async fn json_is_read_and_sent() {
    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Point {
        x: i32,
        y: i32,
    }
    let client = site(async |upgrade: WebSocketUpgrade| {
        upgrade.on(async |mut socket| {
            while let Some(Point { x, y }) = socket.next_json().await? {
                socket.send_json(&Point { x: -x, y: -y }).await?;
            }
            Ok(())
        })
    });
    let mut socket = client.websocket("/").await;
    socket.send_json(&Point { x: 1, y: 2 }).await.unwrap();
    assert_eq!(socket.next_json::<Point>().await.unwrap(), Some(Point { x: -1, y: -2 }));
    socket.send("{\"x\": 1}").await.unwrap();
    assert_eq!(socket.next().await.unwrap(), None);
    assert_eq!(socket.closed().unwrap().code, 1008);
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection_also_when_it_was_small_before() {
    let limited = async |upgrade: WebSocketUpgrade| {
        upgrade.max_message(1000).on(async |mut socket| {
            while let Some(message) = socket.next().await? {
                socket.send(message).await?;
            }
            Ok(())
        })
    };
    for extensions in ["permessage-deflate", ""] {
        let client = site(limited);
        let mut socket = client.get("/").header("sec-websocket-extensions", extensions).websocket().await;
        socket.send("x".repeat(1000)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().len(), 1000);
        socket.send("x".repeat(1001)).await.unwrap();
        assert_eq!(socket.next().await.unwrap(), None);
        let closed = socket.closed().unwrap();
        assert_eq!((closed.code, closed.reason.as_str()), (1009, "a message is larger than 1000 bytes"));
    }
}

#[tokio::test]
async fn the_end_of_the_handler_is_told_by_a_code() {
    let ends = |code: u16| {
        site(move |upgrade: WebSocketUpgrade| async move {
            upgrade.on(async move |mut socket| {
                socket.send("last words").await?;
                match code {
                    1000 => Ok(()),
                    1011 => Err(Error::internal("the cellar is flooded")),
                    1012 => panic!("a WebSocket panics on purpose"),
                    code => {
                        socket.close(code, "by the handler").await;
                        Ok(())
                    }
                }
            })
        })
    };
    let table = [
        (1000, 1000, ""),
        (1011, 1011, "the server failed"),
        (1012, 1011, "the server failed"),
        (4001, 4001, "by the handler"),
    ];
    for (how, code, reason) in table {
        let mut socket = ends(how).websocket("/").await;
        assert_eq!(socket.next().await.unwrap(), Some("last words".into()), "{how}");
        assert_eq!(socket.next().await.unwrap(), None);
        let closed = socket.closed().unwrap();
        assert_eq!((closed.code, closed.reason.as_str()), (code, reason), "{how}");
    }
}

#[tokio::test]
async fn a_handler_learns_how_the_client_left() {
    let (told, mut hears) = tokio::sync::mpsc::channel::<(u16, String)>(1);
    let client = site(move |upgrade: WebSocketUpgrade| {
        let told = told.clone();
        async move {
            upgrade.on(async move |mut socket| {
                while socket.next().await?.is_some() {}
                let closed = socket.closed().expect("it is closed");
                told.send((closed.code, closed.reason)).await.unwrap();
                let error = socket.send("too late").await.unwrap_err();
                assert!(error.find_cause::<Gone>().is_some());
                Err(error)
            })
        }
    });
    client.websocket("/").await.close(4321, "no more").await;
    assert_eq!(hears.recv().await.unwrap(), (4321, "no more".to_owned()));
    drop(client.websocket("/").await);
    assert_eq!(hears.recv().await.unwrap(), (1000, String::new()));
}

#[tokio::test]
async fn halves_work_apart_and_many_may_send() {
    let client = site(async |upgrade: WebSocketUpgrade| {
        upgrade.on(async |socket| {
            let (sender, mut receiver) = socket.split();
            let counts = (0..3).map(|n| {
                let sender = sender.clone();
                tokio::spawn(async move { sender.send(format!("{n}")).await })
            });
            let counts: Vec<_> = counts.collect();
            while let Some(message) = receiver.next().await? {
                sender.send(message).await?;
            }
            for count in counts {
                count.await.unwrap()?;
            }
            Ok(())
        })
    });
    let mut socket = client.websocket("/").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(socket.next().await.unwrap().unwrap().as_text().unwrap().to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["0", "1", "2"]);
    socket.send("back").await.unwrap();
    assert_eq!(socket.next().await.unwrap(), Some("back".into()));
}

#[tokio::test]
async fn who_does_not_read_makes_the_sender_wait() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let client = site(move |upgrade: WebSocketUpgrade| {
        let count = count.clone();
        async move {
            upgrade.deflate(None).on(async move |mut socket| {
                for _ in 0..1000 {
                    socket.send(vec![0; 10_000]).await?;
                    count.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        }
    });
    let mut socket = client.websocket("/").await;
    // Until nothing moves any more.
    let mut before = usize::MAX;
    while sent.load(Ordering::SeqCst) != before {
        before = sent.load(Ordering::SeqCst);
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
    assert!(before < 100, "{before} of 1000 messages were taken that nobody reads");
    for _ in 0..1000 {
        assert_eq!(socket.next().await.unwrap().unwrap().len(), 10_000);
    }
    assert_eq!(socket.next().await.unwrap(), None);
}

/// A connection on which frames are written by hand.
struct Raw(TcpStream);

impl Raw {
    async fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let handshake = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(handshake.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Self(stream)
    }

    /// With a mask of zeros, which changes nothing.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await.ok()?;
        let length = self.0.read_u8().await.unwrap();
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        Some((first, payload))
    }
}

struct Running {
    address: String,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<()>>,
}

fn serve(app: impl Service + 'static) -> Running {
    let bound = purlin::Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = bound.addresses()[0].to_string();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(bound.serve(app, async {
        let _ = stopped.await;
    }));
    Running { address, stop, served }
}

fn layered() -> impl Service + 'static {
    let stack = Stack::new().layer(RequestIds::new()).layer(AccessLog::new());
    #[cfg(feature = "compression")]
    let stack = stack.layer(purlin::layers::Compression::new());
    stack
        .layer(SecurityHeaders::new())
        .layer(ErrorPages::new())
        .layer(purlin::layers::Deadline::new(Duration::from_secs(60)))
        .app(Router::new().route("/", get(echo)))
}

#[tokio::test]
async fn through_a_server_and_its_layers_and_closed_by_its_drain() {
    let site = serve(layered());
    let client = Client::connect(&format!("http://{}", site.address));
    let mut socket = client.websocket("/").await;
    socket.send("hello").await.unwrap();
    assert_eq!(socket.next().await.unwrap(), Some("hello".into()));
    let mut raw = Raw::open(&site.address).await;
    let began = std::time::Instant::now();
    site.stop.send(()).unwrap();
    assert_eq!(socket.next().await.unwrap(), None);
    let closed = socket.closed().unwrap();
    assert_eq!((closed.code, closed.reason.as_str()), (1001, "the server is going away"));
    // The other one takes its time, and is still heard.
    let (first, payload) = raw.hear().await.unwrap();
    assert_eq!((first, &payload[..2]), (0x88, &1001_u16.to_be_bytes()[..]));
    raw.send(0x88, &1001_u16.to_be_bytes()).await;
    assert_eq!(raw.hear().await, None);
    drop((socket, raw));
    site.served.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn pings_are_answered_and_frames_that_are_none_are_refused() {
    let site = serve(layered());
    let mut raw = Raw::open(&site.address).await;
    raw.send(0x89, b"are you there?").await;
    assert_eq!(raw.hear().await.unwrap(), (0x8a, b"are you there?".to_vec()));
    raw.send(0x8a, b"not asked for").await;
    raw.send(0x01, b"in ").await;
    raw.send(0x89, b"").await;
    raw.send(0x80, b"two").await;
    assert_eq!(raw.hear().await.unwrap(), (0x8a, vec![]));
    assert_eq!(raw.hear().await.unwrap(), (0x81, b"in two".to_vec()));
    #[rustfmt::skip]
    let table: &[(&str, &[u8], u16)] = &[
        ("a frame without a mask", &[0x81, 0x01, b'a'], 1002),
        ("a reserved bit", &[0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("an unknown opcode", &[0x83, 0x80, 0, 0, 0, 0], 1002),
        ("a ping in fragments", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        ("a long ping", &[0x89, 0xfe, 0, 126, 0, 0, 0, 0], 1002),
        ("a continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0], 1002),
        ("a text within a text", &[0x01, 0x80, 0, 0, 0, 0, 0x01, 0x80, 0, 0, 0, 0], 1002),
        ("a length longer than it has to be", &[0x81, 0xfe, 0, 1, 0, 0, 0, 0, b'a'], 1002),
        ("a length with the highest bit", &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("a length beyond the limit", &[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
        ("no UTF-8", &[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
        ("half a character", &[0x81, 0x81, 0, 0, 0, 0, 0xc3], 1007),
        ("half a close code", &[0x88, 0x81, 0, 0, 0, 0, 3], 1002),
        ("a close code that is never sent", &[0x88, 0x82, 0, 0, 0, 0, 3, 0xed], 1002),
        ("a reason that is no UTF-8", &[0x88, 0x83, 0, 0, 0, 0, 3, 0xe8, 0xff], 1007),
        ("a close", &[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8], 1000),
    ];
    for (what, frame, code) in table {
        let mut raw = Raw::open(&site.address).await;
        // What was said before is answered first.
        raw.send(0x81, b"before").await;
        raw.0.write_all(frame).await.unwrap();
        assert_eq!(raw.hear().await.unwrap(), (0x81, b"before".to_vec()), "{what}");
        let (first, payload) = raw.hear().await.unwrap();
        assert_eq!((first, payload[..2].to_vec()), (0x88, code.to_be_bytes().to_vec()), "{what}");
        assert_eq!(raw.hear().await, None, "{what}");
    }
    site.stop.send(()).unwrap();
    drop(raw);
    site.served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_answers_pings_may_keep_quiet() {
    let client = site(echo);
    let mut socket = client.websocket("/").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    socket.send("still there").await.unwrap();
    assert_eq!(socket.next().await.unwrap(), Some("still there".into()));
}

#[tokio::test]
async fn silence_is_broken_by_a_ping_and_ends_with_the_connection() {
    let (told, hears) = oneshot::channel();
    let told = Arc::new(std::sync::Mutex::new(Some(told)));
    let app = Router::new().route(
        "/",
        get(move |upgrade: WebSocketUpgrade| {
            let told = told.lock().unwrap().take().unwrap();
            async move {
                upgrade.keep_alive(Duration::from_millis(100)).on(async move |mut socket| {
                    let next = socket.next().await?;
                    assert_eq!(next, None);
                    told.send(socket.closed().unwrap().code).unwrap();
                    Ok(())
                })
            }
        }),
    );
    let site = serve(Stack::new().app(app));
    let mut raw = Raw::open(&site.address).await;
    assert_eq!(raw.hear().await.unwrap(), (0x89, vec![]));
    assert_eq!(hears.await.unwrap(), 1006);
    assert_eq!(raw.hear().await, None);
    site.stop.send(()).unwrap();
    site.served.await.unwrap().unwrap();
}

#[cfg(feature = "proxy")]
#[tokio::test]
async fn through_a_proxy() {
    let site = serve(layered());
    let proxy = purlin::proxy::Proxy::to(&format!("http://{}", site.address));
    let front = serve(Stack::new().app(Router::new().mount("/", proxy)));
    let client = Client::connect(&format!("http://{}", front.address));
    let mut socket = client.get("/").header("origin", format!("http://{}", front.address)).websocket().await;
    socket.send("x".repeat(10_000)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().len(), 10_000);
    assert_eq!(socket.close(1000, "").await.code, 1000);
    for running in [front, site] {
        running.stop.send(()).unwrap();
        running.served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn compression_is_what_both_agree_on() {
    let client = site(async |upgrade: WebSocketUpgrade| {
        upgrade.deflate(Deflate::new().context_takeover(true).level(6).min_size(0)).on(async |mut socket| {
            while let Some(message) = socket.next().await? {
                socket.send(message).await?;
            }
            Ok(())
        })
    });
    for offer in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
    ] {
        let mut socket = client.get("/").header("sec-websocket-extensions", offer).websocket().await;
        for _ in 0..10 {
            socket.send("the same again and again ".repeat(1000)).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap().len(), 25_000, "{offer}");
        }
    }
}
