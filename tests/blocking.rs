//! `Blocking`, pools of threads, and handlers that are no `async fn`.

use purlin::layers::{AccessLog, Blocking, BodyLimit, ErrorPages, RequestIds, StaticFiles, lacking};
use purlin::log::Recorder;
use purlin::pool::{BodyReader, Metrics, Pool, Pools, Refusal};
use purlin::report::{Report, Reporter};
use purlin::site::Life;
use purlin::testing::{Client, layer_contract};
use purlin::{
    App, Assets, Body, BoxMiddleware, BoxService, Bytes, Error, Form, Json, Path, Query, Request, Response,
    ResponseExt, Result, Router, Service, Stack, State, get, handler, post, text,
};
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::Instrument;
use tracing_subscriber::prelude::*;

/// Holds up threads until it is opened.
#[derive(Clone)]
struct Gate(Arc<(Mutex<bool>, Condvar)>, watch::Sender<usize>);

impl Gate {
    fn new() -> Self {
        Self(Arc::default(), watch::Sender::new(0))
    }

    /// Waits on this thread.
    fn pass(&self) {
        self.1.send_modify(|waiting| *waiting += 1);
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Until so many threads have come to it.
    async fn held(&self, threads: usize) {
        self.1.subscribe().wait_for(|waiting| *waiting >= threads).await.unwrap();
    }
}

fn thread() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

fn req(path: &str) -> Request {
    purlin::http::Request::builder().uri(path).body(Body::empty()).unwrap()
}

/// A started application, asked as often as one likes at the same time.
#[derive(Clone)]
struct Site {
    app: BoxService,
    life: Arc<Life>,
}

impl Site {
    fn new<S: Service + 'static>(app: App<S>) -> Self {
        let app = BoxService::new(app);
        let life = Arc::new(Life::start(&app).unwrap());
        Self { app, life }
    }

    fn ask(&self, path: &'static str) -> tokio::task::JoinHandle<Response> {
        let app = self.app.clone();
        tokio::spawn(async move { app.call(req(path)).await })
    }

    fn pool(&self) -> Pool {
        self.life.site().shared::<Pools>().unwrap().get("default").unwrap()
    }

    /// Until the pool's figures are such.
    async fn until(&self, fits: impl Fn(Metrics) -> bool) {
        until(&self.pool(), fits).await;
    }
}

async fn until(pool: &Pool, fits: impl Fn(Metrics) -> bool) {
    while !fits(pool.metrics()) {
        tokio::task::yield_now().await;
    }
}

/// A site whose route `/held` waits at the gate on a thread of a pool of one.
fn one_thread(gate: &Gate, layer: Blocking) -> Site {
    let gate = gate.clone();
    let held = move || {
        gate.pass();
        "held no more"
    };
    Site::new(Stack::new().layer(layer.size(1)).app(Router::new().route("/held", get(held)).route("/", get(|| "free"))))
}

#[tokio::test]
async fn keeps_the_contract_of_layers() {
    layer_contract(Blocking::new).await;
    layer_contract(|| Blocking::new().own(true).size(2).limit(Duration::from_secs(60))).await;
    layer_contract(|| lacking::<Pool, _>(Blocking::new())).await;
    layer_contract(|| vec![BoxMiddleware::new(Blocking::new()), BoxMiddleware::new(RequestIds::new())]).await;
}

#[tokio::test]
async fn a_plain_fn_is_a_handler_and_is_run_on_a_thread_of_the_pool() {
    fn plain(
        Path(name): Path<String>,
        Query(query): Query<HashMap<String, u8>>,
        State(of): State<&'static str>,
    ) -> String {
        format!("{name} {} {of} on {}", query["n"], thread())
    }
    fn form(Form(form): Form<HashMap<String, String>>) -> Json<HashMap<String, String>> {
        Json(form)
    }
    fn whole(req: Request) -> Result<String> {
        Err(Error::not_found(format!("nothing at {}", req.uri())))
    }
    async fn is_async() -> String {
        thread()
    }
    let routes = Router::new()
        .route("/plain/{name}", get(plain))
        .route("/form", post(form))
        .route("/async", get(is_async))
        .route("/closure", get(thread))
        .fallback(whole);
    let client = Client::new(Stack::new().layer(State("state")).app(routes));
    assert_eq!(client.get("/plain/a%20b?n=7").await.text(), "a b 7 state on pool default");
    assert_eq!(client.get("/closure").await.text(), "pool default");
    assert_ne!(client.get("/async").await.text(), "pool default");
    assert_eq!(client.post("/form").form(&[("a", "b")]).await.text(), r#"{"a":"b"}"#);
    client.get("/none").expect_errors().await.assert_status(404);
}

#[tokio::test]
async fn what_is_async_works_below_the_layer() {
    async fn sleeps() -> Result<String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let (there, here) = tokio::join!(tokio::net::TcpStream::connect(listener.local_addr()?), listener.accept());
        there?;
        here?;
        let spawned = tokio::spawn(async { 7 }).await?;
        Ok(format!("{spawned} on {}", thread()))
    }
    let client = Client::new(Stack::new().layer(Blocking::new().pool("db")).app(handler(sleeps)));
    assert_eq!(client.get("/").await.text(), "7 on pool db");
}

#[tokio::test]
async fn code_may_have_a_runtime_of_its_own_inside() {
    fn wraps() -> Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async { "asynchronous inside" }).to_owned())
    }
    async fn wraps_too() -> Result<String> {
        wraps()
    }
    let client = Client::new(Stack::new().app(handler(wraps)));
    assert_eq!(client.get("/").await.text(), "asynchronous inside");
    let client = Client::new(Stack::new().layer(Blocking::new()).app(handler(wraps_too)));
    assert_eq!(client.get("/").await.text(), "asynchronous inside");
}

#[tokio::test]
async fn what_there_is_no_room_for_is_answered_503_and_nothing_is_lost_after() {
    let gate = Gate::new();
    let site = one_thread(&gate, Blocking::new().queue(1).retry_after(Duration::from_secs(3)));
    let held = site.ask("/held");
    gate.held(1).await;
    let waits = site.ask("/");
    site.until(|pool| pool.queued == 1).await;

    let refused = site.app.call(req("/")).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "3");
    let error = refused.error().unwrap();
    assert_eq!(error.layer(), Some("Blocking"));
    let full = Refusal::Full { pool: "default".into(), size: 1, queue: 1 };
    assert_eq!(error.downcast_ref::<Refusal>(), Some(&full));
    let said = error.to_string();
    assert!(said.contains("the pool `default` is full") && said.contains("(setting `queue`, 1)"), "{said}");

    gate.open();
    let text = async |answer: Response| answer.into_body().collect(100).await.unwrap();
    assert_eq!(text(held.await.unwrap()).await, "held no more");
    assert_eq!(text(waits.await.unwrap()).await, "free");
    assert_eq!(text(site.app.call(req("/")).await).await, "free");
    let Metrics { threads, busy, queued, done, refused, .. } = site.pool().metrics();
    assert_eq!((threads, busy, queued, done, refused), (1, 0, 0, 3, 1));
}

#[tokio::test]
async fn a_plain_fn_is_refused_in_the_same_way() {
    let gate = Gate::new();
    let site = one_thread(&gate, Blocking::new().queue(0));
    let held = site.ask("/held");
    gate.held(1).await;
    assert_eq!(site.app.call(req("/")).await.status(), 503);
    gate.open();
    assert_eq!(held.await.unwrap().status(), 200);
    assert_eq!(site.app.call(req("/")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_free_thread_in_time_is_answered_503() {
    let gate = Gate::new();
    let site = one_thread(&gate, Blocking::new().wait(Duration::from_secs(5)));
    let held = site.ask("/held");
    gate.held(1).await;
    let before = tokio::time::Instant::now();
    let late = site.app.call(req("/")).await;
    assert_eq!(before.elapsed(), Duration::from_secs(5));
    assert_eq!((late.status().as_u16(), &late.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert!(matches!(late.error().unwrap().downcast_ref(), Some(Refusal::Late { size: 1, .. })));
    assert_eq!(site.pool().metrics().queued, 0);
    gate.open();
    assert_eq!(held.await.unwrap().status(), 200);
    assert_eq!(site.pool().metrics().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_limited_in_all() {
    let alive = Arc::new(());
    let guard = alive.clone();
    let stuck = move || {
        let guard = guard.clone();
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        }
    };
    let app = Stack::new().layer(Blocking::new().limit(Duration::from_secs(2))).app(handler(stuck));
    let response = app.call(Request::default()).await;
    assert_eq!(response.status(), 503);
    let error = format!("{:#}", response.error().unwrap());
    assert!(error.contains("answering within 2s on the pool `default` (setting `limit`)"), "{error}");
    // It ended where it waited.
    while Arc::strong_count(&alive) > 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_out_of_the_queue() {
    let gate = Gate::new();
    let site = one_thread(&gate, Blocking::new());
    let held = site.ask("/held");
    gate.held(1).await;
    let leaves = site.ask("/held");
    site.until(|pool| pool.queued == 1).await;
    leaves.abort();
    site.until(|pool| pool.queued == 0).await;
    gate.open();
    assert_eq!(held.await.unwrap().status(), 200);
    assert_eq!(site.app.call(req("/")).await.status(), 200);
    // The one that left was never begun.
    assert_eq!(site.pool().metrics().done, 2);
}

#[tokio::test]
async fn a_client_that_leaves_an_answer_ends_it_at_its_await_and_the_thread_lives_on() {
    let (entered, mut enters) = mpsc::unbounded_channel();
    let ends = watch::Sender::new(false);
    struct Ends(watch::Sender<bool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.send_replace(true);
        }
    }
    let ended = ends.clone();
    let stuck = move || {
        let (entered, ended) = (entered.clone(), Ends(ended.clone()));
        async move {
            let _ended = ended;
            entered.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let routes = Router::new().route("/stuck", get(stuck)).route("/", get(|| "free"));
    let site = Site::new(Stack::new().layer(Blocking::new().size(1)).app(routes));
    let leaves = site.ask("/stuck");
    enters.recv().await.unwrap();
    leaves.abort();
    ends.subscribe().wait_for(|ended| *ended).await.unwrap();
    assert_eq!(site.app.call(req("/")).await.status(), 200);
}

#[tokio::test]
async fn ten_applications_share_the_pool_that_they_name_and_own_opts_out() {
    let gate = Gate::new();
    let app = |layer: Blocking| {
        let gate = gate.clone();
        let held = move || {
            gate.pass();
            thread()
        };
        Stack::new().layer(layer).app(Router::new().route("/", get(held)))
    };
    let mut routes = Router::new();
    for n in 0..10 {
        // One of them says how large it is.
        let layer = if n == 3 { Blocking::new().pool("all").size(2) } else { Blocking::new().pool("all") };
        routes = routes.mount(&format!("/{n}"), app(layer));
    }
    let own = Blocking::new().pool("mine").own(true).size(1);
    let site = Site::new(Stack::new().app(routes.mount("/own", app(own))));
    let pools = site.life.site().shared::<Pools>().unwrap();
    assert!(pools.get("mine").is_none() && pools.all().len() <= 2, "{pools:?}");
    let all = pools.get("all").unwrap();
    assert_eq!(all.metrics(), Metrics::default(), "threads are made on first need");

    let paths = ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"];
    let asked: Vec<_> = paths.into_iter().map(|path| site.ask(path)).collect();
    gate.held(2).await;
    until(&all, |pool| pool.queued == 8).await;
    let Metrics { threads, busy, .. } = all.metrics();
    assert_eq!((threads, busy), (2, 2));
    let own = site.ask("/own");
    gate.held(3).await;
    gate.open();
    for answer in asked {
        assert_eq!(answer.await.unwrap().into_body().collect(100).await.unwrap(), "pool all");
    }
    assert_eq!(own.await.unwrap().into_body().collect(100).await.unwrap(), "pool mine");
    assert_eq!(all.metrics().done, 10);
}

#[test]
fn a_pool_with_two_sizes_is_refused_at_the_start() {
    let app = |size| Stack::new().layer(Blocking::new().pool("db").size(size)).app(Router::new());
    let site = Stack::new().app(Router::new().mount("/a", app(2)).mount("/b", app(3)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async { Life::start(&site).unwrap_err() }).to_string();
    assert_eq!(error, "the pool `db` has the setting `size` twice: 2 and 3; say it once, or name another pool");
}

#[tokio::test]
async fn one_pool_within_itself_needs_no_second_thread() {
    fn plain() -> String {
        thread()
    }
    async fn runs(pool: Pool) -> Result<String> {
        pool.run(|| format!("{} again", thread())).await
    }
    let inner =
        Stack::new().layer(Blocking::new()).app(Router::new().route("/plain", get(plain)).route("/runs", get(runs)));
    let client =
        Client::new(Stack::new().layer(Blocking::new().size(1).queue(0)).app(Router::new().mount("/in", inner)));
    assert_eq!(client.get("/in/plain").await.text(), "pool default");
    assert_eq!(client.get("/in/runs").await.text(), "pool default again");
    let done = client.site().shared::<Pools>().unwrap().get("default").unwrap().metrics().done;
    assert_eq!(done, 2);
}

#[tokio::test]
async fn an_async_handler_takes_the_pool_for_a_part_of_its_work() {
    async fn runs(pool: Pool) -> Result<String> {
        let there = pool.run(thread).await?;
        Ok(format!("{there}, {}", thread() == there))
    }
    let client = Client::new(Stack::new().app(Router::new().route("/", get(runs))));
    assert_eq!(client.get("/").await.text(), "pool default, false");
    // It stands in nobody's way: no layer is installed for it.
    assert!(client.site().layers().is_empty());
}

#[tokio::test]
async fn a_panic_is_the_failure_of_its_request_and_the_thread_lives_on() {
    fn panics() -> &'static str {
        panic!("the glass is broken")
    }
    async fn runs(pool: Pool) -> Result<()> {
        pool.run(|| panic!("in a part of it")).await
    }
    let routes = Router::new()
        .route("/", get(panics))
        .route("/runs", get(runs))
        .route("/thread", get(|| format!("{:?}", std::thread::current().id())));
    let site = Site::new(Stack::new().layer(Blocking::new().size(1)).app(routes));
    let body = async |path| site.app.call(req(path)).await.into_body().collect(100).await.unwrap();
    let before = body("/thread").await;
    for (path, message) in [("/", "the glass is broken"), ("/runs", "in a part of it")] {
        let response = site.app.call(req(path)).await;
        let error = response.error().unwrap();
        assert!(error.is_panic() && error.message() == message, "{error:?}");
        assert!(error.place().unwrap().file().ends_with("tests/blocking.rs"), "{error:?}");
        assert_eq!((error.layer(), error.route()), (None, (path == "/").then_some("/")), "{error:?}");
        assert_eq!(before, body("/thread").await);
    }
    // Where no router catches it, either.
    let app = Stack::new().layer(Blocking::new()).app(handler(panics));
    let response = app.call(Request::default()).await;
    assert_eq!(response.error().unwrap().layer(), None);
}

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Arc<Report>>>>);

impl Reporter for Kept {
    fn report(&self, report: &Arc<Report>) {
        self.0.lock().unwrap().push(report.clone());
    }
}

#[tokio::test]
async fn a_failure_on_a_thread_of_the_pool_has_a_whole_report() {
    #[inline(never)]
    fn reads_the_lock(name: &str) -> Result<String> {
        let _span = tracing::info_span!("reading", name).entered();
        tracing::warn!(name, "about to fail");
        Ok(std::fs::read_to_string(format!("/nonexistent/{name}"))?)
    }
    fn fails() -> Result<String> {
        reads_the_lock("one")
    }
    fn panics() -> Result<String> {
        tracing::warn!("about to panic");
        let _span = tracing::info_span!("panicking").entered();
        panic!("the glass is broken")
    }
    async fn fails_below() -> Result<String> {
        tokio::task::yield_now().await;
        reads_the_lock("below")
    }
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recorder::new()));
    let kept = Kept::default();
    let below = Stack::new().layer(Blocking::new()).app(Router::new().route("/", get(fails_below)));
    async fn section(req: Request, next: purlin::Next<'_>) -> Result<Response> {
        Ok(next.call(req).instrument(tracing::info_span!("section")).await)
    }
    let routes = Router::new().route("/fails", get(fails)).route("/panics", get(panics)).mount("/below", below);
    let app = Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(ErrorPages::new().log_lines(20).reporter(kept.clone()))
        .layer(section)
        .app(routes);
    let client = Client::new(app).expect_errors();
    for (path, said, spans) in [
        ("/fails", "about to fail", ["reading", "section"]),
        ("/panics", "about to panic", ["panicking", "section"]),
        ("/below", "about to fail", ["reading", "section"]),
    ] {
        client.get(path).await.assert_status(500);
        let report = kept.0.lock().unwrap().pop().unwrap();
        assert_eq!(report.panic, path == "/panics");
        assert!(report.places[0].file().ends_with("tests/blocking.rs"), "{:?}", report.places);
        assert_eq!(report.layer, None);
        assert_eq!(report.spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), spans, "{path}");
        assert!(report.log.iter().any(|line| line.message == said), "{path}: {:?}", report.log);
        if report.panic {
            let own: Vec<_> = report.frames.iter().filter(|frame| frame.own).collect();
            assert!(own.iter().any(|frame| frame.to_string().contains("panics")), "{:#?}", report.frames);
        }
    }
}

#[tokio::test]
async fn a_request_is_read_while_it_arrives_on_the_thread_of_a_plain_fn() {
    fn lines(body: BodyReader) -> Result<String> {
        let mut lines = Vec::new();
        for line in body.lines() {
            lines.push(line?);
        }
        Ok(lines.join("|"))
    }
    let (send, receive) = mpsc::channel::<Result<Bytes>>(1);
    let site = Site::new(Stack::new().app(Router::new().route("/", post(lines))));
    let mut req = req("/");
    *req.method_mut() = purlin::Method::POST;
    *req.body_mut() = Body::stream(Receiving(receive));
    let app = site.app.clone();
    let answer = tokio::spawn(async move { app.call(req).await.into_body().collect(100).await });
    // One piece fits into the channel: that all are taken says that they are read.
    for piece in ["one\ntw", "o\n", "three"] {
        send.send(Ok(Bytes::from(piece))).await.unwrap();
    }
    drop(send);
    assert_eq!(answer.await.unwrap().unwrap(), "one|two|three");
}

struct Receiving(mpsc::Receiver<Result<Bytes>>);

impl futures_core::Stream for Receiving {
    type Item = Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes>>> {
        self.0.poll_recv(cx)
    }
}

#[tokio::test]
async fn a_body_that_is_read_is_limited_and_its_error_is_told_as_it_was() {
    fn length(mut body: BodyReader) -> Result<String> {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        Ok(bytes.len().to_string())
    }
    let routes = || Router::new().route("/", post(length));
    let client = Client::new(Stack::new().app(routes()));
    assert_eq!(client.post("/").body(vec![0; 2 << 20]).await.text(), "2097152");
    client.post("/").body(vec![0; (2 << 20) + 1]).expect_errors().await.assert_status(413);
    let client = Client::new(Stack::new().layer(BodyLimit::new(4 << 20)).app(routes()));
    assert_eq!(client.post("/").body(vec![0; 3 << 20]).await.text(), "3145728");
    client.post("/").body(vec![0; 5 << 20]).expect_errors().await.assert_status(413);
}

/// Counts how often it is read.
struct Counting(Arc<AtomicUsize>, usize);

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1 == 0 {
            return Err(std::io::Error::other("the disk is gone"));
        }
        self.1 -= 1;
        self.0.fetch_add(1, Ordering::SeqCst);
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

#[tokio::test]
async fn a_body_is_read_as_fast_as_it_is_taken_and_holds_no_thread_meanwhile() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = reads.clone();
    let site = Site::new(
        Stack::new()
            .app(Router::new().route("/", get(move |pool: Pool| pool.reader(Counting(counter.clone(), usize::MAX))))),
    );
    let mut body = site.app.call(req("/")).await.into_body();
    assert_eq!(reads.load(Ordering::SeqCst), 0);
    for n in 1..=3 {
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((piece.len(), reads.load(Ordering::SeqCst)), (64 << 10, n));
        assert_eq!(site.pool().metrics().busy, 0);
    }
    drop(body);
    assert_eq!(site.app.call(req("/")).await.status(), 200);
    assert_eq!(reads.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_cut_off_by_a_full_pool() {
    let gate = Gate::new();
    let held = {
        let gate = gate.clone();
        move || gate.pass()
    };
    let pieces = |pool: Pool| pool.pieces(["a", "b", "c"].into_iter().map(Ok));
    let routes = Router::new().route("/held", get(held)).route("/pieces", get(pieces));
    let site = Site::new(Stack::new().layer(Blocking::new().size(1).queue(0)).app(routes));
    let body = site.app.call(req("/pieces")).await.into_body();
    let held = site.ask("/held");
    gate.held(1).await;
    let read = tokio::spawn(body.collect(100));
    site.until(|pool| pool.queued == 1).await;
    gate.open();
    assert_eq!(read.await.unwrap().unwrap(), "abc");
    held.await.unwrap();
}

#[tokio::test]
async fn a_body_that_fails_on_the_pool_is_reported_and_ends() {
    fn breaks(pool: Pool) -> Body {
        pool.reader(Counting(Arc::default(), 1))
    }
    fn panics(pool: Pool) -> Body {
        pool.pieces((0..3).map(|n| if n < 2 { Ok("piece") } else { panic!("the third is broken") }))
    }
    let kept = Kept::default();
    let routes = Router::new().route("/breaks", get(breaks)).route("/panics", get(panics));
    let site = Site::new(Stack::new().layer(ErrorPages::new().reporter(kept.clone())).app(routes));
    for (path, message) in [("/breaks", "the disk is gone"), ("/panics", "the third is broken")] {
        let response = site.app.call(req(path)).await;
        assert_eq!(response.status(), 200);
        let error = response.into_body().collect(1 << 20).await.unwrap_err();
        assert_eq!(error.message(), message);
        assert_eq!(kept.0.lock().unwrap().pop().unwrap().message, message);
        assert_eq!(site.pool().metrics().busy, 0);
    }
}

#[tokio::test]
async fn a_full_pool_is_in_nobody_elses_way() {
    async fn quick() -> &'static str {
        "quick"
    }
    let gate = Gate::new();
    let held = {
        let gate = gate.clone();
        move || gate.pass()
    };
    let slow = Stack::new().layer(Blocking::new().size(2).queue(3)).app(Router::new().route("/held", get(held)));
    let routes = Router::new().route("/quick", get(quick)).mount("/slow", slow);
    let site = Site::new(Stack::new().layer(StaticFiles::new(Assets::folder("examples"))).app(routes));
    let asked: Vec<_> = (0..5).map(|_| site.ask("/slow/held")).collect();
    gate.held(2).await;
    site.until(|pool| pool.queued == 3).await;
    assert_eq!(site.app.call(req("/slow/held")).await.status(), 503);
    // Nothing of the pool moves until the gate opens: what is answered here needs none of it. The runtime is one thread.
    for _ in 0..100 {
        let page = site.app.call(req("/quick")).await;
        assert_eq!(page.into_body().collect(100).await.unwrap(), "quick");
        let file = site.app.call(req("/static/hello.rs")).await;
        assert_eq!(file.status(), 200);
        assert!(!file.into_body().collect(1 << 20).await.unwrap().is_empty());
    }
    assert_eq!(site.pool().metrics().done, 0);
    gate.open();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_end_of_a_site_waits_for_its_threads() {
    let gate = Gate::new();
    let site = one_thread(&gate, Blocking::new());
    let held = site.ask("/held");
    gate.held(1).await;
    let pool = site.pool();
    let waits = site.ask("/");
    site.until(|pool| pool.queued == 1).await;
    let Site { app, life } = site;
    drop(app);
    let life = Arc::into_inner(life).unwrap();
    let end = tokio::spawn(life.end(Duration::from_secs(60)));
    tokio::task::yield_now().await;
    assert!(!end.is_finished());
    gate.open();
    assert_eq!(end.await.unwrap(), Vec::<&str>::new());
    // What was queued was done, too, and no thread is left.
    assert_eq!((held.await.unwrap().status().as_u16(), waits.await.unwrap().status().as_u16()), (200, 200));
    let Metrics { threads, done, .. } = pool.metrics();
    assert_eq!((threads, done), (0, 2));
}

#[tokio::test]
async fn a_thread_that_does_not_end_is_named_and_not_waited_for() {
    let gate = Gate::new();
    let site = one_thread(&gate, Blocking::new());
    let held = site.ask("/held");
    gate.held(1).await;
    let life = Arc::into_inner(site.life).unwrap();
    assert_eq!(life.end(Duration::from_millis(20)).await, ["threads of a pool"]);
    gate.open();
    held.await.unwrap();
}

#[tokio::test]
async fn an_application_that_finds_no_layer_above_installs_one_and_says_so() {
    fn plain() -> &'static str {
        "plain"
    }
    let routes =
        || Router::new().route("/", get(plain)).route("/async", get(async || "async")).route("/also", post(plain));
    let alone = Stack::new().layer(RequestIds::new()).app(Router::new().mount("/in", routes()));
    let site = alone.check().unwrap();
    let layer = &site.layers()[1];
    assert_eq!((&*layer.name, layer.installed, &*layer.mount), ("Blocking", true, "/in"));
    let table = site.stack_table();
    assert!(table.contains("pool=default  handlers=2  (installed by the application)"), "{table}");
    assert!(table.contains("tests/blocking.rs"), "{table}");

    let within = Stack::new().layer(Blocking::new()).app(Router::new().mount("/in", routes()));
    let site = within.check().unwrap();
    assert_eq!(site.layers().iter().map(|layer| layer.installed).collect::<Vec<_>>(), [false]);
    assert!(!site.stack_table().contains("installed"), "{}", site.stack_table());

    // A layer of the route is as good.
    let of_route = Stack::new().app(Router::new().route("/", get(plain).layer(Blocking::new().own(true))));
    assert!(of_route.check().unwrap().layers().iter().all(|layer| !layer.installed));
    // One handler is an application, too.
    let one = Stack::new().app(handler(plain)).check().unwrap();
    assert!(one.layers()[0].installed && one.layers().len() == 1);

    // An application that says that it blocks.
    let app = || Stack::new().layer(lacking::<Pool, _>(Blocking::new().pool("own"))).app(handler(async || thread()));
    let client = Client::new(Stack::new().app(app()));
    assert!(client.site().layers()[0].installed);
    assert_eq!(client.get("/").await.text(), "pool own");
    let client = Client::new(Stack::new().layer(Blocking::new().pool("theirs")).app(app()));
    assert!(client.site().layers().iter().all(|layer| !layer.installed));
    assert_eq!(client.get("/").await.text(), "pool theirs");
}

#[tokio::test]
async fn what_is_installed_is_logged_once() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _log = tracing::subscriber::set_default(log);
    let client = Client::new(Stack::new().app(Router::new().route("/", get(|| "a")).route("/b", get(|| "b"))));
    client.get("/").await;
    client.get("/b").await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("installed by the application, which found none above it").count(), 1, "{log}");
    assert!(log.contains("layer=\"Blocking\"") && log.contains("tests/blocking.rs"), "{log}");
}

#[tokio::test]
async fn layers_at_run_time_go_to_the_thread_with_the_request() {
    async fn adorns(req: Request, next: purlin::Next<'_>) -> Result<Response> {
        let mut response = next.call(req).await;
        response.headers_mut().insert("x-thread", thread().parse()?);
        Ok(response)
    }
    async fn refuses(_: Request, _: purlin::Next<'_>) -> Result<Response> {
        Err(Error::forbidden("no"))
    }
    let layers = |last: Option<BoxMiddleware>| {
        let layers = vec![BoxMiddleware::new(Blocking::new()), BoxMiddleware::new(adorns)];
        layers.into_iter().chain(last).collect::<Vec<_>>()
    };
    let app = Stack::new().layer(layers(None)).app(handler(async || text("hello")));
    let response = app.call(Request::default()).await;
    assert_eq!(response.headers()["x-thread"], "pool default");
    let app = Stack::new().layer(layers(Some(BoxMiddleware::new(refuses)))).app(handler(async || text("hello")));
    let response = app.call(Request::default()).await;
    assert_eq!((response.status().as_u16(), &response.headers()["x-thread"]), (403, &"pool default".parse().unwrap()));
}

#[tokio::test]
async fn what_is_borrowed_is_refused_with_what_to_do() {
    use purlin::Middleware;
    struct Alone;
    impl Service for Alone {
        async fn call(&self, _: Request) -> Response {
            text("alone")
        }
    }
    let error = Blocking::new().handle(Request::default(), &Alone).await.unwrap_err();
    assert!(error.message().starts_with("expected a `Stack` around what is below"), "{error}");
}
