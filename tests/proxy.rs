//! `Proxy`: an application that asks another server.

use purlin::layers::{BodyLimit, TrustedProxies};
use purlin::proxy::Proxy;
use purlin::testing::Client;
use purlin::{
    Body, IntoResponse, Request, Response, ResponseExt, Router, Server, Service, Stack, StatusCode, get, header, text,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server of our own, until the test ends.
async fn upstream(app: impl Service + 'static) -> String {
    let server = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = server.addresses()[0].to_string();
    tokio::spawn(server.serve(app, std::future::pending()));
    format!("http://{}", address.trim_start_matches("http://"))
}

/// A server that does as it is told, once for each connection.
async fn raw<F, Fut>(serve: F) -> (String, Arc<AtomicU32>)
where
    F: Fn(TcpStream, u32) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, counted.fetch_add(1, Ordering::SeqCst)));
        }
    });
    (address, count)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn echo(req: Request) -> Response {
    let mut lines = vec![format!("{} {} {:?}", req.method(), req.uri(), req.version())];
    let mut headers: Vec<String> =
        req.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    headers.sort();
    lines.extend(headers);
    let body = req.into_body().collect(1 << 20).await.unwrap();
    lines.push(format!("{} bytes", body.len()));
    text(lines.join("\n"))
}

fn client(app: impl Service + 'static) -> Client {
    Client::new(app).expect_errors()
}

#[tokio::test]
async fn the_server_is_told_who_asks_and_what_is_of_the_connection_stays_here() {
    let address = upstream(purlin::handler(echo)).await;
    let app = Router::new().mount("/old", Proxy::to(&format!("{address}/app")));
    let client = client(app).base_url("https://shop.example.org").peer("203.0.113.9:5".parse().unwrap());
    let page = client
        .post("/old/a%20b?c=d")
        .header("connection", "close, X-Private, host")
        .header("x-private", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic eA==")
        .header("upgrade", "h2c")
        .header("expect", "100-continue")
        .header("x_forwarded_for", "1.2.3.4")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-real-ip", "1.2.3.4")
        .header("forwarded", "for=1.2.3.4")
        .header("cookie", "a=b")
        .body("hello")
        .await;
    let expected = [
        "POST /app/a%20b?c=d HTTP/1.1",
        "connection: te",
        "content-length: 5",
        "cookie: a=b",
        "forwarded: for=203.0.113.9;proto=https;host=\"shop.example.org\"",
        "host: shop.example.org",
        "te: trailers",
        "via: 1.1 purlin-*",
        "x-forwarded-for: 203.0.113.9",
        "x-forwarded-host: shop.example.org",
        "x-forwarded-prefix: /old",
        "x-forwarded-proto: https",
        "5 bytes",
    ];
    // The proxy's own name, which it made up.
    let text = page.text();
    let via = text.find("purlin-").unwrap() + "purlin-".len();
    assert_eq!(format!("{}*{}", &text[..via], &text[via + 8..]), expected.join("\n"));
    let own = self::client(Proxy::to(&address).preserve_host(false));
    let port = address.strip_prefix("http://").unwrap();
    own.get("/").await.assert_contains(&format!("\nhost: {port}\n"));
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_who_that_says() {
    let address = upstream(purlin::handler(echo)).await;
    let app = Stack::new().layer(TrustedProxies::new().network("127.0.0.1")).app(Proxy::to(&address));
    let page = client(app).get("/").header("x-forwarded-for", "2001:db8::1").header("x-forwarded-proto", "https").await;
    page.assert_contains("forwarded: for=\"[2001:db8::1]\";proto=https;host=\"localhost\"");
    page.assert_contains("x-forwarded-for: 2001:db8::1\n");
}

#[tokio::test]
async fn answers_come_through_as_they_are() {
    async fn odd() -> Response {
        let mut response = (StatusCode::IM_A_TEAPOT, "short and stout").into_response();
        response.headers_mut().append(header::SET_COOKIE, "a=1".parse().unwrap());
        response.headers_mut().append(header::SET_COOKIE, "b=2".parse().unwrap());
        response
    }
    let address =
        upstream(Router::new().route("/odd", get(odd)).route("/none", get(async || StatusCode::NO_CONTENT))).await;
    let client = client(Proxy::to(&address));
    let page = client.get("/odd").await;
    page.assert_status(418).assert_header("content-length", "15").assert_no_header("connection");
    assert_eq!(page.text(), "short and stout");
    assert_eq!(page.headers().get_all("set-cookie").iter().count(), 2);
    client.head("/odd").await.assert_status(418).assert_header("content-length", "15");
    client.get("/none").await.assert_status(204);
    client.get("/nowhere").await.assert_status(404);
}

#[tokio::test]
async fn connections_are_used_again_and_a_lost_one_is_replaced() {
    let (address, connections) = raw(async |mut stream: TcpStream, count: u32| {
        // The first connection ends after two answers, without a word.
        for _ in 0..if count == 0 { 2 } else { 100 } {
            if head(&mut stream).await.is_empty() {
                return;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\nok")
                .await
                .unwrap();
        }
    })
    .await;
    let client = client(Proxy::to(&address));
    for _ in 0..6 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

struct Channel(tokio::sync::mpsc::Receiver<purlin::Result<purlin::Bytes>>);
impl futures_core::Stream for Channel {
    type Item = purlin::Result<purlin::Bytes>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    async fn first(mut body: Body) -> Response {
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        // The rest is sent back as it comes.
        let (send, receive) = tokio::sync::mpsc::channel::<purlin::Result<purlin::Bytes>>(1);
        tokio::spawn(async move {
            let mut next = Some(piece);
            while let Some(piece) = next {
                if send.send(Ok(piece)).await.is_err() {
                    return;
                }
                next = body.frame().await.map(|frame| frame.unwrap().into_data().unwrap());
            }
        });
        Body::stream(Channel(receive)).into_response()
    }
    let address = upstream(Router::new().route("/", purlin::post(first))).await;
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let req =
        purlin::http::Request::post("/").header("host", "localhost").body(Body::stream(Channel(receive))).unwrap();
    send.send(Ok("one".into())).await.unwrap();
    let proxy = Proxy::to(&address);
    let mut answer = proxy.call(req).await;
    assert_eq!(answer.status(), 200);
    for piece in ["one", "two", "three"] {
        if piece != "one" {
            send.send(Ok(piece.into())).await.unwrap();
        }
        assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), piece);
    }
    drop(send);
    assert!(answer.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn who_cannot_be_reached_is_a_502_and_who_is_late_a_504() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody: SocketAddr = gone.local_addr().unwrap();
    drop(gone);
    let page = client(Proxy::to(&format!("http://{nobody}"))).get("/").await;
    page.assert_status(502);
    assert!(format!("{:#}", page.error().unwrap()).starts_with(&format!("asking http://{nobody}: connecting: ")));

    let (silent, _) = raw(async |mut stream: TcpStream, _| {
        head(&mut stream).await;
        std::future::pending().await
    })
    .await;
    let page = client(Proxy::to(&silent).answer_timeout(Duration::from_millis(50))).get("/").await;
    page.assert_status(504);
    assert_eq!(format!("{:#}", page.error().unwrap()), format!("asking {silent}: no answer within 50ms"));

    let (nonsense, _) = raw(async |mut stream: TcpStream, _| {
        head(&mut stream).await;
        stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await.unwrap();
    })
    .await;
    client(Proxy::to(&nonsense)).get("/").await.assert_status(502);

    let (switches, _) = raw(async |mut stream: TcpStream, _| {
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
            .await
            .unwrap();
    })
    .await;
    client(Proxy::to(&switches)).get("/").await.assert_status(502);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_stops_is_an_error_of_the_body() {
    let (breaks, _) = raw(async |mut stream: TcpStream, _| {
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n\r\nhalf")
            .await
            .unwrap();
    })
    .await;
    let page = client(Proxy::to(&breaks)).get("/").await;
    assert_eq!(page.body_error().unwrap().status(), 502);

    let (stops, _) = raw(async |mut stream: TcpStream, _| {
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n\r\nhalf")
            .await
            .unwrap();
        std::future::pending().await
    })
    .await;
    let page = client(Proxy::to(&stops).idle_timeout(Duration::from_millis(50))).get("/").await;
    assert_eq!(page.body_error().unwrap().status(), 504);
}

/// What a server of few words is asked, head and first bytes of the body.
async fn asked(req: purlin::http::request::Builder, body: impl Into<Body>) -> String {
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let (address, _) = raw(move |mut stream: TcpStream, _| {
        let heard = heard.clone();
        async move {
            let mut said = head(&mut stream).await;
            if said.contains("transfer-encoding: chunked") {
                while !said.ends_with("0\r\n\r\n") {
                    said.push(char::from(stream.read_u8().await.unwrap()));
                }
            }
            heard.send(said).unwrap();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let answer = Proxy::to(&address).call(req.header("host", "localhost").body(body.into()).unwrap()).await;
    assert_eq!(answer.status(), 200, "{:?}", answer.error());
    soon(hears.recv()).await.unwrap()
}

struct Pieces(std::slice::Iter<'static, &'static str>);

impl futures_core::Stream for Pieces {
    type Item = purlin::Result<&'static str>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next().map(|piece| Ok(*piece)))
    }
}

fn pieces(pieces: &'static [&'static str]) -> Body {
    Body::stream(Pieces(pieces.iter()))
}

#[tokio::test]
async fn what_is_sent_is_what_http_1_has() {
    use purlin::http::{Request, Version};
    // RFC 9113 §8.2.3
    let said =
        asked(Request::get("/").header("cookie", "a=1").header("cookie", "b=2").version(Version::HTTP_2), "").await;
    assert!(said.contains("\r\ncookie: a=1; b=2\r\n") && said.contains("\r\nvia: 2.0 purlin-"), "{said}");
    assert!(!said.contains("content-length"), "{said}");
    // The body of a GET stays, and so does its absence where there could be one.
    let said = asked(Request::get("/").version(Version::HTTP_10), pieces(&["hello"])).await;
    assert!(said.contains("transfer-encoding: chunked") && said.contains("\r\nhello\r\n"), "{said}");
    assert!(said.contains("\r\nvia: 1.0 purlin-"), "{said}");
    for (method, length, kept) in [("POST", None, true), ("DELETE", Some("0"), true), ("DELETE", None, false)] {
        let mut req = Request::builder().method(method).uri("/");
        if let Some(length) = length {
            req = req.header("content-length", length);
        }
        let said = asked(req, "").await;
        assert_eq!(said.contains("\r\ncontent-length: 0\r\n"), kept, "{said}");
    }
    let said = asked(Request::get("/").header("expect", "100-continue").header("via", "1.1 other"), "").await;
    assert!(!said.contains("expect") && said.contains("\r\nvia: 1.1 other\r\nvia: 1.1 purlin-"), "{said}");
}

#[tokio::test]
async fn max_forwards_is_counted() {
    use purlin::http::Request;
    for (method, sent, expected) in
        [("OPTIONS", "2", "1"), ("TRACE", "1", "0"), ("GET", "0", "0"), ("OPTIONS", "x", "x")]
    {
        let said = asked(Request::builder().method(method).uri("/").header("max-forwards", sent), "").await;
        assert!(said.contains(&format!("\r\nmax-forwards: {expected}\r\n")), "{said}");
    }
    let nobody = Proxy::to("http://127.0.0.1:1");
    for (method, status) in [("OPTIONS", 204), ("TRACE", 501)] {
        let req = Request::builder().method(method).uri("/").header("max-forwards", "0").body(Body::empty()).unwrap();
        assert_eq!(nobody.call(req).await.status(), status, "{method}");
    }
}

async fn answered(answer: &'static str) -> purlin::testing::Page {
    let (address, _) = raw(async move |mut stream: TcpStream, _| {
        head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    client(Proxy::to(&address)).get("/").await
}

#[tokio::test]
async fn a_redirect_to_the_server_itself_stays_on_the_site() {
    async fn away(req: Request) -> Response {
        let host = req.headers()["host"].to_str().unwrap();
        let to = if req.uri().path() == "/app/out" {
            "http://example.org/x".into()
        } else {
            format!("http://{host}/app/in?a=1")
        };
        purlin::Redirect::see_other(to).into_response()
    }
    let address = upstream(purlin::handler(away)).await;
    let proxy = Proxy::to(&format!("{address}/app")).preserve_host(false);
    let client = client(Router::new().mount("/old", proxy));
    assert_eq!(client.get("/old/go").await.header("location"), Some("/old/in?a=1"));
    assert_eq!(client.get("/old/out").await.header("location"), Some("http://example.org/x"));
}

#[tokio::test]
async fn trailers_come_through_both_ways() {
    use http_body::Frame;
    /// Two frames: data, and what stands after it.
    struct Ends(u32);
    impl http_body::Body for Ends {
        type Data = purlin::Bytes;
        type Error = purlin::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<purlin::Result<Frame<purlin::Bytes>>>> {
            self.0 += 1;
            std::task::Poll::Ready(match self.0 {
                1 => Some(Ok(Frame::data("hello".into()))),
                2 => {
                    let trailers = [(header::HeaderName::from_static("x-sum"), "1".parse().unwrap())];
                    Some(Ok(Frame::trailers(trailers.into_iter().collect())))
                }
                _ => None,
            })
        }
    }
    async fn sums(body: Body) -> Response {
        let mut body = body;
        let mut seen = None;
        while let Some(frame) = body.frame().await {
            if let Ok(trailers) = frame.unwrap().into_trailers() {
                seen = trailers.get("x-sum").cloned();
            }
        }
        let mut response = Response::new(Body::new(Ends(0)));
        response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        response.headers_mut().insert("content-type", "text/plain; charset=utf-8".parse().unwrap());
        response.headers_mut().insert("x-seen", seen.unwrap_or("none".parse().unwrap()));
        response
    }
    let address = upstream(purlin::handler(sums)).await;
    let req = purlin::http::Request::post("/")
        .header("host", "localhost")
        .header("te", "trailers")
        .header("trailer", "x-sum");
    let answer = Proxy::to(&address).call(req.body(Body::new(Ends(0))).unwrap()).await;
    assert_eq!(answer.headers()["x-seen"], "1");
    let mut body = answer.into_body();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        trailers = frame.unwrap().into_trailers().ok().or(trailers);
    }
    assert_eq!(trailers.unwrap()["x-sum"], "1");
}

#[cfg(feature = "http2")]
#[tokio::test]
async fn a_client_of_http_2_is_answered_by_a_server_of_http_1() {
    let address = upstream(purlin::handler(echo)).await;
    let (client, server) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move { Server::new().serve_connection(Proxy::to(&address), server).await });
    let io = hyper_util::rt::TokioIo::new(client);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut send, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let req = purlin::http::Request::post("http://example.org/a").header("cookie", "a=1").header("cookie", "b=2");
    let answer = send.send_request(req.body(pieces(&["one", "two"])).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut text) = (answer.into_body(), Vec::new());
    while let Some(frame) =
        std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await
    {
        text.extend(frame.unwrap().into_data().unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("POST /a HTTP/1.1\n") && text.ends_with("\n6 bytes"), "{text}");
    for line in ["\ncookie: a=1; b=2\n", "\nhost: example.org\n", "\nvia: 2.0 purlin-"] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
}

#[tokio::test]
async fn what_is_of_the_servers_connection_stays_there() {
    let page = answered(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n\
         Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nProxy-Authenticate: Basic\r\n\
         Upgrade: h2c\r\nX-End: 1\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    page.assert_status(200).assert_header("x-end", "1");
    assert_eq!(page.text(), "hello");
    for name in
        ["content-length", "transfer-encoding", "connection", "keep-alive", "x-hop", "proxy-authenticate", "upgrade"]
    {
        page.assert_no_header(name);
    }
    let page = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n").await;
    page.assert_status(502);
}

#[tokio::test]
async fn only_a_websocket_is_an_upgrade() {
    let over = async |ask: &'static str, switch: &'static str| {
        let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let (address, _) = raw(move |mut stream: TcpStream, _| {
            let heard = heard.clone();
            async move {
                heard.send(head(&mut stream).await).unwrap();
                stream.write_all(switch.as_bytes()).await.unwrap();
            }
        })
        .await;
        let (mut client, server) = tokio::io::duplex(4096);
        tokio::spawn(async move { Server::new().serve_connection(Proxy::to(&address), server).await });
        client.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        soon(client.read_exact(&mut answer)).await.unwrap();
        (hears.recv().await.unwrap(), String::from_utf8(answer.to_vec()).unwrap())
    };
    let h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let ok = "HTTP/1.1 204 No Content\r\n\r\n";
    let (said, answer) = over(h2c, ok).await;
    assert!(!said.contains("upgrade") && !said.contains("http2-settings"), "{said}");
    assert_eq!(answer, "HTTP/1.1 204");
    let websocket = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket, h2c\r\n\r\n";
    let other = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let (said, answer) = over(websocket, other).await;
    assert!(said.contains("\r\nupgrade: websocket\r\n"), "{said}");
    assert_eq!(answer, "HTTP/1.1 502");
}

/// Two proxies may well stand behind one another; the same one twice leads nowhere.
#[tokio::test]
async fn a_proxy_that_leads_to_itself_is_found() {
    let address = upstream(purlin::handler(echo)).await;
    let inner = upstream(Proxy::to(&address)).await;
    client(Proxy::to(&inner)).get("/").await.assert_status(200).assert_contains("via: 1.1 purlin-");

    let bound = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let own = format!("http://{}", bound.addresses()[0].to_string().trim_start_matches("http://"));
    let proxy = Proxy::to(&own);
    tokio::spawn(bound.serve(proxy.clone(), std::future::pending()));
    client(proxy).get("/").await.assert_status(508);
}

#[tokio::test]
async fn too_many_requests_wait_and_then_are_refused() {
    let (address, connections) = raw(async |mut stream: TcpStream, _| {
        head(&mut stream).await;
        std::future::pending().await
    })
    .await;
    let proxy = Proxy::to(&address)
        .max_connections(1)
        .connect_timeout(Duration::from_millis(50))
        .answer_timeout(Duration::from_secs(60));
    let client = client(proxy);
    let first = tokio::spawn(client.get("/").into_future());
    while connections.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let page = client.get("/").await;
    page.assert_status(503);
    assert!(format!("{:#}", page.error().unwrap()).contains("1 connections are in use (`max_connections`)"));
    first.abort();
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn who_waits_is_next_when_a_connection_is_idle() {
    let (address, connections) = raw(async |mut stream: TcpStream, _| {
        while !head(&mut stream).await.is_empty() {
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let client = client(Proxy::to(&address).max_connections(1));
    let asked = async || client.get("/").await.text().to_owned();
    let all = async { tokio::join!(asked(), asked(), asked()) };
    let answers = tokio::time::timeout(Duration::from_secs(3), all).await.expect("a kept connection is a free one");
    assert_eq!(answers, ("ok".into(), "ok".into(), "ok".into()));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_while() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let (address, _) = raw(move |mut stream: TcpStream, _| {
        let ended = ended.clone();
        async move {
            while !head(&mut stream).await.is_empty() {
                stream.write_all(OK).await.unwrap();
            }
            ended.send(()).unwrap();
        }
    })
    .await;
    let client = client(Proxy::to(&address));
    assert_eq!(client.get("/").await.text(), "ok");
    assert!(end.try_recv().is_err());
    // From here on the clock runs to whatever is waited for.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    end.recv().await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_that_kills_who_answers_it_kills_one_more_at_most() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let passes = gate.clone();
    let (address, connections) = raw(move |mut stream: TcpStream, _| {
        let gate = gate.clone();
        async move {
            while head(&mut stream).await.starts_with("GET /slow") {
                gate.acquire().await.unwrap().forget();
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let client = client(Proxy::to(&address));
    let slow = || client.get("/slow").into_future();
    let all_have_come = async {
        while connections.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        passes.add_permits(5);
    };
    tokio::join!(slow(), slow(), slow(), all_have_come);
    assert_eq!(connections.load(Ordering::SeqCst), 3);
    client.get("/kills").await.assert_status(502);
    assert_eq!(connections.load(Ordering::SeqCst), 4);
    // Two of those that were kept are there still.
    tokio::join!(slow(), slow());
    assert_eq!(connections.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn what_is_not_safe_is_not_sent_again() {
    let (address, connections) = raw(async |mut stream: TcpStream, _| {
        head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        head(&mut stream).await;
    })
    .await;
    let client = client(Proxy::to(&address));
    assert_eq!(client.get("/").await.text(), "ok");
    client.post("/").body("once").await.assert_status(502);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_of_the_clients_that_fails_is_told_as_that() {
    let address = upstream(purlin::handler(echo)).await;
    struct Endless;
    impl futures_core::Stream for Endless {
        type Item = purlin::Result<Vec<u8>>;
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(Some(Ok(vec![0; 1000])))
        }
    }
    let app = Stack::new().layer(BodyLimit::new(5000)).app(Proxy::to(&address));
    let req = purlin::http::Request::post("/").header("host", "x").body(Body::stream(Endless)).unwrap();
    let response = app.call(req).await;
    assert_eq!(response.status(), 413, "{:?}", response.error());
}

/// A server that turns round every four bytes, after an upgrade; at the end of the client it says so, and leaves if it is to.
async fn chat(leaves: bool) -> (String, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let (ended, end) = tokio::sync::mpsc::unbounded_channel();
    let (address, _) = raw(move |mut stream: TcpStream, _| {
        let ended = ended.clone();
        async move {
            loop {
                let head = head(&mut stream).await.to_lowercase();
                match head.as_str() {
                    "" => return,
                    _ if head.contains("upgrade: websocket\r\n") => assert!(head.contains("connection: upgrade\r\n")),
                    _ => {
                        stream.write_all(OK).await.unwrap();
                        continue;
                    }
                }
                break;
            }
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Key: 1\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut bytes = [0; 4];
            while stream.read_exact(&mut bytes).await.is_ok() {
                bytes.reverse();
                stream.write_all(&bytes).await.unwrap();
            }
            let _ = ended.send(());
            if !leaves {
                std::future::pending().await
            }
        }
    })
    .await;
    (address, end)
}

const CHAT: &[u8] = b"GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Asks for the tunnel, and whether something passes.
async fn chats(client: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    client.write_all(CHAT).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(client.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("x-key: 1"), "{answer}");
    for (sent, expected) in [(b"ping", b"gnip"), (b"abcd", b"dcba")] {
        client.write_all(sent).await.unwrap();
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, expected);
    }
}

/// What is not there after this long will not come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not come")
}

#[tokio::test]
async fn an_upgrade_is_tunnelled_until_it_ends() {
    let (address, mut end) = chat(true).await;
    let (mut client, server) = tokio::io::duplex(4096);
    let served = tokio::spawn(async move { Server::new().serve_connection(Proxy::to(&address), server).await });
    chats(&mut client).await;
    assert!(!served.is_finished(), "the connection is served as long as the tunnel is there");
    drop(client);
    soon(end.recv()).await.unwrap();
    soon(served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_tunnel_is_one_of_the_connections() {
    let (address, mut end) = chat(true).await;
    let proxy = Proxy::to(&address).max_connections(1).connect_timeout(Duration::from_millis(50));
    let client = client(proxy.clone());
    let (mut talk, server) = tokio::io::duplex(4096);
    tokio::spawn(async move { Server::new().serve_connection(proxy, server).await });
    chats(&mut talk).await;
    client.get("/").await.assert_status(503);
    drop(talk);
    soon(end.recv()).await.unwrap();
    while client.get("/").await.status() != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_tunnel_by_which_nothing_passes_ends() {
    let (address, mut end) = chat(false).await;
    let (mut client, server) = tokio::io::duplex(4096);
    let proxy = Proxy::to(&address).idle_timeout(Duration::from_millis(100));
    tokio::spawn(async move { Server::new().serve_connection(proxy, server).await });
    chats(&mut client).await;
    assert_eq!(soon(client.read(&mut [0; 4])).await.unwrap(), 0);
    soon(end.recv()).await.unwrap();
}

/// One that leaves when it is told, and one that has to be cut.
#[tokio::test]
async fn a_server_that_stops_ends_its_tunnels() {
    for (leaves, drain) in [(true, Duration::from_secs(3600)), (false, Duration::from_millis(100))] {
        let (address, mut end) = chat(leaves).await;
        let bound = Server::new().listen("127.0.0.1:0".parse().unwrap()).drain(drain).bind().unwrap();
        let site = bound.addresses()[0].to_string();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(bound.serve(Proxy::to(&address), async {
            let _ = stopped.await;
        }));
        let mut client = TcpStream::connect(site.trim_start_matches("http://")).await.unwrap();
        chats(&mut client).await;
        stop.send(()).unwrap();
        soon(end.recv()).await.unwrap();
        soon(served).await.unwrap().unwrap();
        assert!(matches!(soon(client.read(&mut [0; 4])).await, Ok(0) | Err(_)), "{leaves}");
    }
}

#[tokio::test]
async fn a_tunnel_gives_no_room_to_others_and_an_idle_connection_does() {
    let (address, _end) = chat(true).await;
    let bound = Server::new().listen("127.0.0.1:0".parse().unwrap()).max_connections(2).bind().unwrap();
    let site = bound.addresses()[0].to_string();
    tokio::spawn(bound.serve(Proxy::to(&address), std::future::pending()));
    let connect = async || TcpStream::connect(site.trim_start_matches("http://")).await.unwrap();
    let get = async |stream: &mut TcpStream| {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        soon(head(stream)).await
    };
    let mut talk = connect().await;
    chats(&mut talk).await;
    let mut idle = connect().await;
    assert!(get(&mut idle).await.starts_with("HTTP/1.1 200"));
    let mut third = connect().await;
    assert!(get(&mut third).await.starts_with("HTTP/1.1 200"));
    talk.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    soon(talk.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"gnip");
}

#[tokio::test]
async fn no_request_decides_which_server_is_asked() {
    let address = upstream(purlin::handler(echo)).await;
    let client = client(Proxy::to(&format!("{address}/app")));
    client.get("/../admin").await.assert_status(400);
    client.get("/a/%2e%2e/%2e%2e/admin").await.assert_status(400);
    client.get("//169.254.169.254/latest").await.assert_contains("GET /app//169.254.169.254/latest HTTP");
    let page = client.get("/").header("host", "169.254.169.254").await;
    page.assert_contains("GET /app/ HTTP");
    let connect = client.request(purlin::Method::CONNECT, "/x").await;
    connect.assert_status(501);
}

/// What servers that are not ours do.
#[cfg(unix)]
mod in_front_of_nginx {
    use super::*;
    use crate::servers::nginx::Nginx;
    use purlin::post;

    /// A folder with one file, and beside it what leads on to a server of ours.
    async fn nginx(behind: Router) -> Option<(Nginx, String)> {
        let behind = upstream(behind).await;
        let nginx = Nginx::with("the tests of the proxy in front of nginx", |folder, address| {
            std::fs::create_dir(folder.join("files")).expect("our own folder");
            std::fs::write(folder.join("files/letters"), letters()).expect("our own folder");
            let root = folder.join("files");
            format!(
                "server {{ listen {address}; root {}; default_type application/octet-stream; charset utf-8; client_max_body_size 8m;\n\
                 location = /count {{ default_type text/plain; return 200 \"$connection $connection_requests\"; }}\n\
                 location /behind/ {{ proxy_pass {behind}/; proxy_http_version 1.1; proxy_buffering off; }} }}\n",
                root.display()
            )
        })?;
        let address = format!("http://{}", nginx.address());
        Some((nginx, address))
    }

    fn letters() -> Vec<u8> {
        (0..300_000u32).map(|at| b'a' + (at % 26) as u8).collect() // less than 26
    }

    #[tokio::test]
    async fn files_come_whole_in_part_and_not_again() {
        let Some((_nginx, address)) = nginx(Router::new()).await else { return };
        let client = client(Router::new().mount("/files", Proxy::to(&address)));
        let page = client.get("/files/letters").await;
        page.assert_status(200).assert_header("content-length", "300000");
        assert!(*page.bytes() == letters());
        let tag = page.header("etag").unwrap().to_owned();
        let part = client.get("/files/letters").header("range", "bytes=26-51").header("if-range", &tag).await;
        part.assert_status(206).assert_header("content-range", "bytes 26-51/300000");
        assert_eq!(part.text(), "abcdefghijklmnopqrstuvwxyz");
        client.get("/files/letters").header("range", "bytes=300000-").await.assert_status(416);
        client.get("/files/letters").header("if-none-match", &tag).await.assert_status(304).assert_header("etag", &tag);
        client.head("/files/letters").await.assert_status(200).assert_header("content-length", "300000");
        client.get("/files/nothing").await.assert_status(404);
    }

    #[tokio::test]
    async fn a_connection_is_kept_over_all_kinds_of_answers() {
        let Some((_nginx, address)) = nginx(Router::new()).await else { return };
        let client = client(Proxy::to(&address));
        let first = client.get("/count").await.text().to_owned();
        let connection = first.strip_suffix(" 1").unwrap_or_else(|| panic!("{first}"));
        client.get("/letters").await.assert_status(200);
        client.head("/letters").await.assert_status(200);
        client.get("/nothing").await.assert_status(404);
        client.post("/count").body("not read").await.assert_status(200);
        assert_eq!(client.get("/count").await.text(), format!("{connection} 6"));
    }

    #[tokio::test]
    async fn an_upload_in_chunks_arrives_and_an_answer_comes_as_it_is_made() {
        async fn measures(body: Body) -> purlin::Result<String> {
            let bytes = body.collect(8 << 20).await?;
            Ok(format!("{} {}", bytes.len(), bytes == letters()))
        }
        let (send, receive) = tokio::sync::mpsc::channel::<purlin::Result<purlin::Bytes>>(1);
        let receive = Arc::new(std::sync::Mutex::new(Some(Channel(receive))));
        let streams = move || {
            let body = receive.lock().unwrap().take().map(Body::stream);
            async move { body.unwrap_or_default().into_response() }
        };
        let behind = Router::new().route("/measure", post(measures)).route("/stream", get(streams));
        let Some((_nginx, address)) = nginx(behind).await else { return };
        let proxy = Proxy::to(&address);

        let (upload, uploads) = tokio::sync::mpsc::channel(1);
        let req = purlin::http::Request::post("/behind/measure").header("host", "localhost");
        let asked = tokio::spawn({
            let (proxy, req) = (proxy.clone(), req.body(Body::stream(Channel(uploads))).unwrap());
            async move { proxy.call(req).await }
        });
        for piece in letters().chunks(1000) {
            upload.send(Ok(purlin::Bytes::copy_from_slice(piece))).await.unwrap();
        }
        drop(upload);
        let answer = soon(asked).await.unwrap();
        assert_eq!(answer.into_body().collect(100).await.unwrap(), "300000 true");

        let req = purlin::http::Request::get("/behind/stream").header("host", "localhost").body(Body::empty()).unwrap();
        let mut answer = proxy.call(req).await;
        for piece in ["one", "two", "three"] {
            send.send(Ok(piece.into())).await.unwrap();
            assert_eq!(soon(answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(), piece);
        }
        drop(send);
        assert!(soon(answer.body_mut().frame()).await.is_none());
    }
}

#[test]
fn an_address_that_is_none_is_reported_at_the_start() {
    for address in ["https://example.org", "example.org", "http://user:secret@example.org"] {
        let error = Stack::new().app(Proxy::to(address)).check().unwrap_err().to_string();
        assert!(error.contains("expected an address as http://127.0.0.1:3000"), "{error}");
        assert!(error.contains("tests/proxy.rs:") && !error.contains("secret"), "{error}");
    }
}
