//! `Metrics` and the `Registry` that shows what it has counted.

use purlin::layers::{Blocking, Metrics};
use purlin::metrics::Registry;
use purlin::site::Life;
use purlin::testing::Client;
use purlin::{Body, Bytes, Error, Method, Request, Result, Router, Service, Stack, get, handler};
use std::time::Duration;

fn routes() -> Router {
    async fn fails() -> Result<()> {
        Err(Error::internal("no"))
    }
    async fn slow() {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    async fn stream() -> impl purlin::IntoResponse {
        let pieces = ["one ", "two"].map(|piece| Ok::<_, Error>(Bytes::from(piece)));
        let text = purlin::HeaderValue::from_static("text/plain; charset=utf-8");
        ([(purlin::header::CONTENT_TYPE, text)], Body::stream(Pieces(pieces.into_iter())))
    }
    let posts = Router::new().route("/{id}", get(async || "a post").post(async || "an answer"));
    Router::new()
        .route("/", get(async || "front"))
        .route("/fails", get(fails))
        .route("/slow", get(slow))
        .route("/stream", get(stream))
        .mount("/posts", posts)
        .mount("/else", handler(async || "where"))
}

struct Pieces(std::array::IntoIter<Result<Bytes, Error>, 2>);

impl futures_core::Stream for Pieces {
    type Item = Result<Bytes, Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

async fn shown(registry: &Registry) -> String {
    Client::new(registry.clone()).get("/").await.text().to_owned()
}

/// The samples whose names begin so.
async fn samples(registry: &Registry, name: &str) -> Vec<String> {
    shown(registry).await.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[tokio::test]
async fn requests_are_counted_by_method_route_and_class() {
    let registry = Registry::new();
    let client = Client::new(Stack::new().layer(Metrics::new(&registry)).app(routes()));
    client.get("/").await;
    client.get("/").await;
    client.get("/posts/7").await;
    client.get("/posts/8").await;
    client.post("/posts/9").await;
    client.get("/fails").expect_status(500).await;
    client.get("/else/a/b").await;
    for path in ["/none", "/posts/7/8", "/.env"] {
        client.get(path).await;
    }
    client.request(Method::from_bytes(b"BREW").unwrap(), "/").await;
    client.request(Method::from_bytes(b"STEEP").unwrap(), "/").await;
    let expected = [
        r#"http_requests_total{method="GET",route="",status="4xx"} 3"#,
        r#"http_requests_total{method="GET",route="/",status="2xx"} 2"#,
        r#"http_requests_total{method="GET",route="/else/*",status="2xx"} 1"#,
        r#"http_requests_total{method="GET",route="/fails",status="5xx"} 1"#,
        r#"http_requests_total{method="GET",route="/posts/{id}",status="2xx"} 2"#,
        r#"http_requests_total{method="POST",route="/posts/{id}",status="2xx"} 1"#,
        r#"http_requests_total{method="other",route="/",status="4xx"} 2"#,
    ];
    assert_eq!(samples(&registry, "http_requests_total").await, expected);
    assert_eq!(samples(&registry, "http_requests_in_flight").await, ["http_requests_in_flight 0"]);
}

#[tokio::test(start_paused = true)]
async fn how_long_an_answer_takes_falls_between_the_bounds() {
    let registry = Registry::new();
    let client = Client::new(Stack::new().layer(Metrics::new(&registry).bounds([0.25, 0.5])).app(routes()));
    client.get("/slow").await;
    let expected = [
        r#"http_request_duration_seconds_bucket{method="GET",route="/slow",le="0.25"} 0"#,
        r#"http_request_duration_seconds_bucket{method="GET",route="/slow",le="0.5"} 1"#,
        r#"http_request_duration_seconds_bucket{method="GET",route="/slow",le="+Inf"} 1"#,
    ];
    assert_eq!(samples(&registry, "http_request_duration_seconds_bucket").await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_is_counted_and_no_longer_under_way() {
    let registry = Registry::new();
    let app = Stack::new().layer(Metrics::new(&registry)).app(routes());
    let _life = Life::start(&app).unwrap();
    let mut req = Request::default();
    *req.uri_mut() = "/slow".parse().unwrap();
    let mut call = Box::pin(app.call(req));
    assert!(tokio::time::timeout(Duration::from_millis(10), &mut call).await.is_err());
    assert_eq!(samples(&registry, "http_requests_in_flight").await, ["http_requests_in_flight 1"]);
    drop(call);
    assert_eq!(samples(&registry, "http_requests_in_flight").await, ["http_requests_in_flight 0"]);
    let expected = [r#"http_requests_total{method="GET",route="/slow",status="gone"} 1"#];
    assert_eq!(samples(&registry, "http_requests_total").await, expected);
}

#[tokio::test]
async fn bodies_are_measured_also_those_that_stream() {
    let registry = Registry::new();
    let client = Client::new(Stack::new().layer(Metrics::new(&registry)).app(routes()));
    client.get("/stream").await.assert_contains("one two");
    client.post("/posts/1").body("four").await;
    let sums: Vec<String> = shown(&registry)
        .await
        .lines()
        .filter(|line| line.contains("_body_bytes_sum") && !line.ends_with(" 0"))
        .map(str::to_owned)
        .collect();
    let expected = [
        r#"http_request_body_bytes_sum{method="POST",route="/posts/{id}"} 4"#,
        r#"http_response_body_bytes_sum{method="GET",route="/stream"} 7"#,
        r#"http_response_body_bytes_sum{method="POST",route="/posts/{id}"} 9"#,
    ];
    assert_eq!(sums, expected);
}

#[tokio::test]
async fn the_format_is_what_the_collector_prefers() {
    let registry = Registry::new();
    registry.counter("orders_total", "Orders.", &[]).unwrap().with_label_values::<&str>(&[]).inc();
    let client = Client::new(registry.clone());
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let (open, plain) =
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8");
    for (accept, expected) in
        [(prometheus, open), ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", plain), ("*/*", plain), ("image/png", plain)]
    {
        let answer = client.get("/").header("accept", accept).await;
        answer.assert_status(200).assert_header("content-type", expected).assert_header("cache-control", "no-store");
        let text = answer.text();
        assert_eq!(text.ends_with("# EOF\n"), expected == open, "{text}");
        assert!(text.contains(if expected == open { "\norders_total 1.0\n" } else { "\norders_total 1\n" }), "{text}");
    }
    client.post("/").await.assert_status(405).assert_header("allow", "GET, HEAD");
}

#[tokio::test]
async fn a_sites_own_numbers_stand_beside_and_none_is_there_twice() {
    let registry = Registry::new();
    let orders = registry.counter("orders_total", "Orders.", &["kind"]).unwrap();
    orders.with_label_values(&["book"]).inc_by(2);
    registry.gauge("stock", "Stock.", &[]).unwrap().with_label_values::<&str>(&[]).set(1.5);
    registry.histogram("weight", "Weight.", &[], &[1.0]).unwrap().with_label_values::<&str>(&[]).observe(3.0);
    let text = shown(&registry).await;
    for line in ["orders_total{kind=\"book\"} 2", "stock 1.5", "weight_bucket{le=\"1\"} 0", "weight_sum 3"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(registry.counter("orders_total", "Again.", &[]).is_err());
    assert!(registry.counter("no name", "Bad.", &[]).is_err());
    // Two layers count together.
    let one = Stack::new().layer(Metrics::new(&registry)).app(routes());
    let two = Stack::new().layer(Metrics::new(&registry)).app(routes());
    Client::new(one).get("/").await;
    Client::new(two).get("/").await;
    assert!(shown(&registry).await.contains(r#"{method="GET",route="/",status="2xx"} 2"#));
}

#[cfg(feature = "cache")]
mod of_caches {
    use super::{samples, shown};
    use purlin::cache::{Cache, Caches};
    use purlin::layers::{CacheFor, Metrics, PageCache};
    use purlin::metrics::Registry;
    use purlin::pages::Pages;
    use purlin::testing::Client;
    use purlin::{Error, Path, Result, Router, Stack, get, post};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// The numbers of a kind that are not nought, without what they have in common.
    async fn counted(registry: &Registry, prefix: &str) -> Vec<String> {
        let all = samples(registry, prefix).await;
        let told = all.iter().filter(|line| !line.ends_with(" 0") && !line.contains("bytes"));
        told.map(|line| line[prefix.len()..].to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_became_of_requests_at_a_page_cache_is_counted() {
        let broken = Arc::new(AtomicBool::new(false));
        let failing = broken.clone();
        let page = get(move || {
            let failing = failing.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                if failing.load(Ordering::SeqCst) { Err(Error::internal("no")) } else { Ok("a page") }
            }
        });
        let pages = CacheFor::secs(60).tag("pages");
        let routes = Router::new()
            .route("/page", page.layer(pages))
            .route("/own", get(async || "for nobody else"))
            .route("/purge", post(async |pages: Pages| pages.purge_tag("pages").await));
        let registry = Registry::new();
        let cache = PageCache::new().memory(1 << 20).stale_if_error(Duration::from_secs(600));
        let stored = cache.pages();
        let client = Client::new(Stack::new().layer(Metrics::new(&registry)).layer(cache).app(routes));
        let page = || client.get("/page");

        tokio::join!(page().into_future(), page().into_future());
        page().await;
        assert_eq!(
            counted(&registry, "purlin_page_cache_").await,
            ["collapsed_total 1", "entries 1", "hits_total 1", "misses_total 1", "stores_total 1"]
        );
        assert!(shown(&registry).await.contains("\npurlin_page_cache_max_bytes 1048576\n"));
        let bytes = format!("purlin_page_cache_bytes {}", stored.bytes());
        assert_eq!(samples(&registry, "purlin_page_cache_bytes").await, [bytes]);

        // Stale, made anew, and in place of a failure.
        tokio::time::advance(Duration::from_secs(61)).await;
        page().await;
        tokio::time::advance(Duration::from_secs(61)).await;
        broken.store(true, Ordering::SeqCst);
        page().await.assert_status(200);
        client.get("/own").await;
        client.get("/own").await;
        client.post("/purge").await;
        let metrics = stored.metrics();
        assert_eq!((metrics.stale, metrics.revalidations, metrics.stores, metrics.purges), (1, 2, 2, 2));
        assert_eq!((metrics.hits, metrics.collapsed), (1, 1));
        assert_eq!(
            counted(&registry, "purlin_page_cache_").await,
            [
                "collapsed_total 1",
                "entries 2",
                "hits_total 1",
                "misses_total 3",
                "passed_total 1",
                // That of the tag, and that of the URL which was written to.
                "purges_total 2",
                "revalidations_total 2",
                "stale_hits_total 1",
                "stores_total 2"
            ]
        );
    }

    #[tokio::test]
    async fn pages_of_several_layers_are_summed_and_what_is_pushed_out_is_counted() {
        let section = || {
            let page = get(async |Path(_): Path<u32>| "x".repeat(10_000)).layer(CacheFor::secs(60));
            Stack::new().layer(PageCache::new().memory(100_000)).app(Router::new().route("/{page}", page))
        };
        let registry = Registry::new();
        let app = Router::new().mount("/a", section()).mount("/b", section());
        let client = Client::new(Stack::new().layer(Metrics::new(&registry)).app(app));
        for page in 0..30 {
            client.get(&format!("/a/{page}")).await;
            client.get(&format!("/b/{page}")).await;
        }
        let numbers = counted(&registry, "purlin_page_cache_").await;
        let number = |name: &str| -> u64 {
            let line = numbers.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{numbers:?}"));
            line.trim().parse().unwrap()
        };
        assert_eq!((number("misses_total"), number("stores_total")), (60, 60));
        assert_eq!(number("evictions_total") + number("entries"), 60);
        assert!(number("evictions_total") >= 40, "{numbers:?}");
        let max = samples(&registry, "purlin_page_cache_max_bytes").await;
        assert_eq!(max, ["purlin_page_cache_max_bytes 200000"]);
    }

    #[tokio::test]
    async fn what_regions_keep_push_out_and_purge_is_counted() {
        async fn value(cache: Cache, Path(name): Path<String>) -> Result<String> {
            cache.region("small")?.key(name).get_or_try(async || Ok("x".repeat(10_000))).await
        }
        async fn purge(cache: Cache) -> Result<()> {
            let small = cache.region("small")?;
            small.remove("1").await?;
            small.purge_tag("none").await?;
            small.clear().await
        }
        let config =
            purlin::config::Loader::new().environment("test").toml("[cache.regions.small]\nmemory = '100 KiB'");
        let caches = Caches::new(&config.load().unwrap().cache).unwrap();
        let small = caches.region("small").unwrap();
        let routes = Router::new().route("/{name}", get(value).post(purge));
        let registry = Registry::new();
        let client = Client::new(Stack::new().layer(Metrics::new(&registry)).layer(caches).app(routes));
        for name in 0..30 {
            client.get(&format!("/{name}")).await.assert_status(200);
        }
        let metrics = small.metrics();
        assert_eq!((metrics.stores, metrics.purges), (30, 0));
        assert_eq!(metrics.evictions + metrics.entries as u64, 30);
        assert!(metrics.evictions >= 15, "{metrics:?}");
        client.post("/1").await.assert_status(200);
        let expected = [
            ("stores", 30),
            ("purges", 3),
            ("evictions", metrics.evictions),
            ("misses", 30),
            ("waited", 0),
            ("refreshes", 0),
            ("too_large", 0),
        ];
        for (name, number) in expected {
            let line = format!("purlin_cache_{name}_total{{region=\"small\"}} {number}");
            assert!(samples(&registry, "purlin_cache_").await.contains(&line), "{line}");
        }
    }
}

#[tokio::test]
async fn the_pools_and_the_process_are_among_them() {
    let registry = Registry::new();
    let app = Stack::new().layer(Metrics::new(&registry)).layer(Blocking::new().pool("pages").size(3)).app(routes());
    let client = Client::new(app);
    client.get("/").await.assert_status(200);
    let text = shown(&registry).await;
    assert!(text.contains("purlin_pool_done_total{pool=\"pages\"} 1"), "{text}");
    assert!(text.contains("process_start_time_seconds 1"), "{text}");
    #[cfg(target_os = "linux")]
    for name in ["process_resident_memory_bytes", "process_open_fds"] {
        let line = samples(&registry, name).await.remove(0);
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 3.0, "{line}");
    }
    // Counters do not count twice what they have read.
    let again = shown(&registry).await;
    assert!(again.contains("purlin_pool_done_total{pool=\"pages\"} 1"), "{again}");
}
