//! Server-sent events: as they are written, as a browser reads them, and when they end.

use purlin::sse::{Channel, Event, EventSource, Events, LastEventId};
use purlin::testing::{Client, EventParser};
use purlin::{Body, Error, Response, Router, Stack, get};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

fn read(stream: &[u8]) -> Vec<(String, String, String)> {
    let events = EventParser::new().feed(stream);
    events.into_iter().map(|event| (event.event, event.data, event.last_event_id)).collect()
}

/// A stream, and the events in it: name, data, last id.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str, &'static str)]);

#[rustfmt::skip]
const STREAMS: &[Row] = &[
    // The examples of HTML §9.2.6, in their order.
    ("several lines of data", "data: YHOO\ndata: +2\ndata: 10\n\n", &[("message", "YHOO\n+2\n10", "")]),
    ("a comment, ids, no data at the end", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        &[("message", "first event", "1"), ("message", "second event", "")]),
    ("empty data", "data\n\ndata\ndata\n\ndata:", &[("message", "", ""), ("message", "\n", "")]),
    ("with and without a space", "data:test\n\ndata: test\n\n", &[("message", "test", ""), ("message", "test", "")]),
    // What the algorithm says beside them.
    ("one space only", "data:  two\n\n", &[("message", " two", "")]),
    ("carriage returns", "data: a\rdata: b\r\rdata: c\r\n\r\n", &[("message", "a\nb", ""), ("message", "c", "")]),
    ("a byte order mark", "\u{feff}data: a\n\n", &[("message", "a", "")]),
    ("a second byte order mark is none", "\u{feff}\u{feff}data: a\n\n", &[]),
    ("named", "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n", &[("add", "73857293", ""), ("remove", "2153", "")]),
    ("a name is for one event", "event: add\ndata: 1\n\ndata: 2\n\n", &[("add", "1", ""), ("message", "2", "")]),
    ("an id goes on", "id: 1\ndata: a\n\ndata: b\n\n", &[("message", "a", "1"), ("message", "b", "1")]),
    ("an id with NUL is ignored", "id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", &[("message", "a", "1"), ("message", "b", "1")]),
    ("an id without data is kept", "id: 5\n\ndata: a\n\n", &[("message", "a", "5")]),
    ("fields in another case", "Data: a\n\n", &[]),
    ("unknown fields", "datum: a\ndata: b\n\n", &[("message", "b", "")]),
    ("the last event has no empty line", "data: a\n\ndata: b\n", &[("message", "a", "")]),
];

#[test]
fn a_stream_is_read_as_the_standard_says() {
    for (what, stream, expected) in STREAMS {
        let expected: Vec<_> = expected.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect();
        assert_eq!(read(stream.as_bytes()), expected, "{what}");
        // However it is cut.
        let mut parser = EventParser::new();
        let bytes: Vec<_> = stream.bytes().flat_map(|byte| parser.feed(&[byte])).map(|event| event.data).collect();
        assert_eq!(bytes, expected.iter().map(|event| event.1.clone()).collect::<Vec<_>>(), "{what}, byte by byte");
    }
}

#[test]
fn an_event_is_read_as_it_was_written() {
    let table = [
        ("plain", Event::new("a"), ("message", "a", "")),
        ("nothing", Event::new(""), ("message", "", "")),
        ("lines of every kind", Event::new("a\nb\r\nc\rd"), ("message", "a\nb\nc\nd", "")),
        ("a line feed at the end", Event::new("a\n"), ("message", "a\n", "")),
        ("only line feeds", Event::new("\n\r\n"), ("message", "\n\n", "")),
        ("a field in the data", Event::new("id: 7\nevent: x"), ("message", "id: 7\nevent: x", "")),
        ("spaces in front", Event::new("  a").event(" b").id(" c"), (" b", "  a", " c")),
        ("colons", Event::new(": a").event(":").id(":1"), (":", ": a", ":1")),
        ("named, with an id", Event::new("ü ☃").event("snow").id("ü"), ("snow", "ü ☃", "ü")),
        ("json", Event::json(&serde_json::json!({"a": "b\nc"})).unwrap(), ("message", r#"{"a":"b\nc"}"#, "")),
    ];
    for (what, event, (name, data, id)) in table {
        let bytes = event.to_bytes().unwrap();
        assert_eq!(read(&bytes), [(name.to_owned(), data.to_owned(), id.to_owned())], "{what}: {bytes:?}");
    }
    assert_eq!(Event::comment("one\ntwo").to_bytes().unwrap(), ": one\n: two\n\n");
    let mut parser = EventParser::new();
    assert_eq!(parser.feed(&Event::comment("event: a\n\ndata: b").to_bytes().unwrap()), []);
    assert_eq!(Event::new("a").retry(Duration::from_millis(1500)).to_bytes().unwrap(), "retry: 1500\ndata: a\n\n");
}

#[test]
fn no_name_and_no_id_can_begin_another_field() {
    let refused = [
        (
            Event::new("a").event("x\ndata: b"),
            r#"the `event` of an event: expected one line of text, found '\n' in "x\ndata: b""#,
        ),
        (Event::new("a").event("x\r"), r#"the `event` of an event: expected one line of text, found '\r' in "x\r""#),
        (Event::new("a").id("1\n2"), r#"the `id` of an event: expected one line of text, found '\n' in "1\n2""#),
        (Event::new("a").id("1\0"), r#"the `id` of an event: expected one line of text, found '\0' in "1\0""#),
    ];
    for (event, expected) in refused {
        assert_eq!(event.to_bytes().unwrap_err().message(), expected);
    }
}

fn app<H, A>(handler: H) -> purlin::App<impl purlin::Service>
where
    H: purlin::Handler<A>,
    A: 'static,
{
    Stack::new().app(Router::new().route("/", get(handler)))
}

#[tokio::test]
async fn the_answer_is_one_that_nobody_keeps() {
    async fn events(events: EventSource) -> Events {
        events.send(async |out| out.send(Event::new("a")).await)
    }
    let client = Client::new(app(events));
    let page = client.get("/").await;
    page.assert_header("content-type", "text/event-stream");
    page.assert_header("cache-control", "no-store");
    page.assert_header("x-accel-buffering", "no");
    assert_eq!(page.text(), "data: a\n\n");
    client.head("/").await.assert_status(200).assert_header("content-type", "text/event-stream");
}

#[tokio::test]
async fn events_come_from_a_closure_a_stream_or_a_receiver() {
    struct Three(u32);
    impl futures_core::Stream for Three {
        type Item = Event;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Event>> {
            self.0 += 1;
            std::task::Poll::Ready((self.0 <= 3).then(|| Event::new(self.0.to_string())))
        }
    }
    let closure = async |events: EventSource| {
        events.send(async |out| {
            for n in 1..=3 {
                out.send(Event::new(n.to_string())).await?;
            }
            Ok(())
        })
    };
    let stream = async |events: EventSource| events.stream(Three(0));
    let receiver = async |events: EventSource| {
        let (sender, receiver) = mpsc::channel::<purlin::Result<Event>>(1);
        tokio::spawn(async move {
            for n in 1..=3 {
                sender.send(Ok(Event::new(n.to_string()))).await.unwrap();
            }
        });
        events.receive(receiver)
    };
    let routes =
        Router::new().route("/closure", get(closure)).route("/stream", get(stream)).route("/receiver", get(receiver));
    let client = Client::new(Stack::new().app(routes));
    for path in ["/closure", "/stream", "/receiver"] {
        let mut events = client.events(path).await;
        let mut all = Vec::new();
        while let Some(event) = events.next().await {
            all.push(event.data);
        }
        assert_eq!(all, ["1", "2", "3"], "{path}");
    }
}

#[tokio::test]
async fn what_was_sent_before_a_failure_arrives_and_the_failure_ends_it() {
    async fn events(events: EventSource) -> Events {
        events.send(async |out| {
            out.send(Event::new("one")).await?;
            out.send(Event::new("two").event("a\nb")).await?;
            out.send(Event::new("three")).await
        })
    }
    let mut body = Client::new(app(events)).get("/").raw().await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: one\n\n");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("sending events"), "{error:#}");
    assert!(format!("{error:#}").contains("expected one line of text"), "{error:#}");
    assert!(error.place().unwrap().to_string().contains("sse.rs"), "{:?}", error.place());
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_comment_is_sent_every_fifteen_seconds_without_an_event() {
    async fn slow(events: EventSource) -> Events {
        let events = events.send(async |out| {
            tokio::time::sleep(Duration::from_secs(40)).await;
            out.send(Event::new("late")).await
        });
        events.retry(Duration::from_secs(2))
    }
    let mut body = Client::new(app(slow)).get("/").raw().await.into_body();
    let began = tokio::time::Instant::now();
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        seen.push((began.elapsed().as_secs(), String::from_utf8(data.to_vec()).unwrap()));
    }
    let expected = [(0, "retry: 2000\n\n"), (15, ":\n\n"), (30, ":\n\n"), (40, "data: late\n\n")];
    assert_eq!(seen, expected.map(|(at, text)| (at, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn the_time_without_an_event_is_an_option() {
    async fn never(events: EventSource) -> Events {
        events.send(async |_out| std::future::pending().await).keep_alive(Duration::from_millis(100))
    }
    let mut body = Client::new(app(never)).get("/").raw().await.into_body();
    let began = tokio::time::Instant::now();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), ":\n\n");
    assert_eq!(began.elapsed().as_millis(), 100);
    async fn silent(events: EventSource) -> Events {
        events.send(async |_out| std::future::pending().await).keep_alive(Duration::ZERO)
    }
    let mut body = Client::new(app(silent)).get("/").raw().await.into_body();
    assert!(tokio::time::timeout(Duration::from_secs(3600), body.frame()).await.is_err());
}

#[tokio::test]
async fn who_sends_waits_for_a_slow_reader_and_is_dropped_with_it() {
    struct Gone(Arc<AtomicUsize>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (sent, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (sent_by, gone_by) = (sent.clone(), gone.clone());
    let handler = move |events: EventSource| {
        let (sent, gone) = (sent_by.clone(), Gone(gone_by.clone()));
        async move {
            events.send(async move |out| {
                let _gone = gone;
                loop {
                    out.send(Event::new("x".repeat(1000))).await?;
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            })
        }
    };
    let mut body = Client::new(app(handler)).get("/").raw().await.into_body();
    assert_eq!(sent.load(Ordering::SeqCst), 0, "before anybody reads, nothing is made");
    body.frame().await.unwrap().unwrap();
    let after_one = sent.load(Ordering::SeqCst);
    assert!(after_one <= 64, "{after_one} events for one piece that was read");
    drop(body);
    assert_eq!(gone.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_handler_sees_the_last_event_id() {
    async fn last(LastEventId(last): LastEventId) -> String {
        format!("{last:?}")
    }
    let client = Client::new(app(last));
    for (sent, expected) in [
        (None, "None"),
        (Some(&b"7"[..]), "Some(\"7\")"),
        (Some("ü".as_bytes()), "Some(\"ü\")"),
        (Some(b""), "None"),
        (Some(b"\xff"), "None"),
    ] {
        let request = match sent {
            Some(id) => client.get("/").header("last-event-id", id),
            None => client.get("/"),
        };
        assert_eq!(request.await.text(), expected, "{sent:?}");
    }
}

async fn subscribe(purlin::State(channel): purlin::State<Channel>, events: EventSource) -> Events {
    events.subscribe(&channel)
}

fn channel_site(channel: &Channel) -> Client {
    let routes = Router::new().route("/", get(subscribe));
    Client::new(Stack::new().layer(purlin::State(channel.clone())).app(routes))
}

#[tokio::test]
async fn all_who_listen_get_an_event_and_who_comes_back_what_it_missed() {
    let channel = Channel::new(10);
    let client = channel_site(&channel);
    channel.publish(Event::new("before anybody")).unwrap();
    let (mut one, mut two) = (client.events("/").await, client.events("/").await);
    assert_eq!(channel.listeners(), 2);
    assert_eq!(channel.publish(Event::new("a")).unwrap(), 2);
    let (first, second) = (one.next().await.unwrap(), two.next().await.unwrap());
    assert_eq!((first.data.as_str(), second.data.as_str()), ("a", "a"));
    let seen = first.last_event_id;
    assert!(!seen.is_empty());
    drop(one);
    assert_eq!(channel.listeners(), 1);
    channel.publish(Event::new("b")).unwrap();
    channel.publish(Event::new("c").event("named")).unwrap();
    let mut again = client.get("/").header("last-event-id", &seen).events().await;
    assert_eq!(again.next().await.unwrap().data, "b");
    let last = again.next().await.unwrap();
    assert_eq!((last.event.as_str(), last.data.as_str()), ("named", "c"));
    // Nothing was missed: the next one is the next one.
    let mut current = client.get("/").header("last-event-id", &last.last_event_id).events().await;
    channel.publish(Event::new("d")).unwrap();
    for events in [&mut again, &mut current] {
        assert_eq!(events.next().await.unwrap().data, "d");
    }
}

#[tokio::test]
async fn who_missed_more_than_is_kept_is_told() {
    let reset = || Event::new("").event("reset");
    let channel = Channel::new(2).when_missed(reset()).unwrap();
    let client = channel_site(&channel);
    let mut slow = client.events("/").await;
    channel.publish(Event::new("1")).unwrap();
    let first = slow.next().await.unwrap();
    for n in 2..=4 {
        channel.publish(Event::new(n.to_string())).unwrap();
    }
    // `slow` has not read 2, which is gone.
    for (who, id) in [("slow", None), ("too old", Some(first.last_event_id.as_str())), ("foreign", Some("another-1"))] {
        let mut events = match id {
            None => std::mem::replace(&mut slow, client.events("/").await),
            Some(id) => client.get("/").header("last-event-id", id).events().await,
        };
        let mut seen = Vec::new();
        for _ in 0..3 {
            let event = events.next().await.unwrap();
            seen.push((event.event, event.data));
        }
        let expected = [("reset", ""), ("message", "3"), ("message", "4")];
        assert_eq!(seen, expected.map(|(name, data)| (name.to_owned(), data.to_owned())), "{who}");
    }
}

#[tokio::test]
async fn a_channel_keeps_so_many_bytes_and_knows_ids_of_ones_own() {
    let channel = Channel::new(100).memory(100);
    for n in 0..10 {
        channel.publish(Event::new("x".repeat(30)).id(format!("post {n}"))).unwrap();
    }
    assert!(!channel.subscribe(Some("post 8")).has_missed());
    assert!(channel.subscribe(Some("post 2")).has_missed());
    let client = channel_site(&channel);
    let mut events = client.get("/").header("last-event-id", "post 8").events().await;
    assert_eq!(events.next().await.unwrap().last_event_id, "post 9");
    assert!(channel.publish(Event::new("a").id("b\nc")).is_err());
}

/// A site on a port of its own.
struct Site {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<purlin::Result<()>>,
}

impl Site {
    fn start(app: impl purlin::Service + 'static) -> Self {
        let bound = purlin::Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let address = bound.addresses()[0].to_string().parse().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(bound.serve(app, async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    async fn ask(&self, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).ends_with(end) {
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut piece)).await;
        match read.unwrap_or_else(|_| panic!("no {end:?} in {:?}", String::from_utf8_lossy(&all))).unwrap() {
            0 => panic!("closed after {:?}", String::from_utf8_lossy(&all)),
            read => all.extend_from_slice(&piece[..read]),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn over_a_socket_each_event_comes_at_once_and_the_answer_ends_with_the_server() {
    let channel = Channel::new(10);
    let routes = Router::new().route("/", get(subscribe));
    let site = Site::start(Stack::new().layer(purlin::State(channel.clone())).app(routes));
    let mut stream = site.ask("").await;
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    for n in 0..3 {
        channel.publish(Event::new(n.to_string()).id(n.to_string())).unwrap();
        let event = until(&mut stream, "\n\n\r\n").await;
        assert!(event.ends_with(&format!("id: {n}\ndata: {n}\n\n\r\n")), "{event}");
    }
    // It would go on for ever; the server need not cut it.
    let began = std::time::Instant::now();
    site.stop.send(()).unwrap();
    assert_eq!(until(&mut stream, "0\r\n\r\n").await, "0\r\n\r\n");
    drop(stream);
    site.served.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(channel.listeners(), 0);
}

#[tokio::test]
async fn who_hangs_up_is_no_listener_any_more() {
    let channel = Channel::new(10);
    let routes = Router::new().route("/", get(subscribe));
    let site = Site::start(Stack::new().layer(purlin::State(channel.clone())).app(routes));
    let mut stream = site.ask("").await;
    until(&mut stream, "\r\n\r\n").await;
    assert_eq!(channel.listeners(), 1);
    drop(stream);
    while channel.listeners() > 0 {
        tokio::task::yield_now().await;
    }
    site.stop.send(()).unwrap();
    site.served.await.unwrap().unwrap();
}

#[cfg(feature = "compression")]
#[tokio::test]
async fn compressed_each_event_can_be_read_when_it_comes() {
    use flate2::read::GzDecoder;
    use std::io::Read;
    let (publish, mut published) = mpsc::channel::<Event>(1);
    let receiver = std::sync::Mutex::new(None);
    let (sender, taken) = mpsc::channel::<Event>(1);
    *receiver.lock().unwrap() = Some(taken);
    tokio::spawn(async move {
        while let Some(event) = published.recv().await {
            sender.send(event).await.unwrap();
        }
    });
    let receiver = Arc::new(receiver);
    let handler = move |events: EventSource| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        async move { events.receive(receiver) }
    };
    let layered = Stack::new().layer(purlin::layers::Compression::new());
    let client = Client::new(layered.app(Router::new().route("/", get(handler))));
    let response: Response = client.get("/").header("accept-encoding", "gzip").raw().await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut body: Body = response.into_body();
    let mut seen = Vec::new();
    for n in 0..3 {
        publish.send(Event::new(n.to_string())).await.unwrap();
        // One event, and nothing behind it that would push it out.
        let expected: String = (0..=n).map(|n| format!("data: {n}\n\n")).collect();
        loop {
            seen.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
            let (mut text, mut decoder) = ([0; 200], GzDecoder::new(&seen[..]));
            let mut length = 0;
            while let Ok(more @ 1..) = decoder.read(&mut text[length..]) {
                length += more;
            }
            if text[..length] == *expected.as_bytes() {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_for_the_head_of_an_endless_answer() {
    async fn events(events: EventSource) -> Events {
        events.send(async |out| {
            tokio::time::sleep(Duration::from_secs(30)).await;
            out.send(Event::new("late")).await
        })
    }
    let app = Stack::new()
        .layer(purlin::layers::AccessLog::new())
        .layer(purlin::layers::ErrorPages::new())
        .layer(purlin::layers::Deadline::new(Duration::from_secs(1)))
        .app(Router::new().route("/", get(events)));
    let mut events = Client::new(app).events("/").await;
    assert_eq!(events.next().await.unwrap().data, "late");
}

#[tokio::test]
async fn a_failure_of_the_stream_says_why() {
    struct Fails;
    impl futures_core::Stream for Fails {
        type Item = purlin::Result<Event>;
        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(Some(Err(Error::internal("the well is dry"))))
        }
    }
    let page = Client::new(app(async |events: EventSource| events.stream(Fails))).get("/").expect_errors().await;
    let error = page.body_error().unwrap();
    assert!(format!("{error:#}").contains("the well is dry"), "{error:#}");
}
