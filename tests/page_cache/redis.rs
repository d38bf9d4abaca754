//! `PageCache` before a Redis: what processes share, what each forgets, and what becomes of them without it.

use super::{Counter, SECOND, counted, said};
use crate::cache::redis::Log;
use crate::servers::redis::Redis;
use purlin::config::{CacheConfig, Loader};
use purlin::layers::{CacheFor, PageCache, Sessions};
use purlin::pages::Pages;
use purlin::session::MemoryStore;
use purlin::testing::{Client, Page};
use purlin::{IntoResponse, Request, Response, Router, Session, Stack, StatusCode, get, text};
use std::task::Poll;
use std::time::{Duration, Instant};
use tracing_subscriber::layer::SubscriberExt;

fn config(redis: &Redis, more: &str) -> CacheConfig {
    let or = |key: &str, line: &str| if more.contains(key) { String::new() } else { format!("{line}\n") };
    let own = or("timeout", "timeout = '2s'") + &or("local_ttl", "local_ttl = '1h'");
    let toml = format!("[cache]\nurl = '{}'\n{own}{more}", redis.url());
    Loader::new().environment("test").toml(&toml).load().unwrap_or_else(|error| panic!("{error}")).cache
}

/// The same site in another process: with a memory of its own, and answers that are counted together.
fn process(cache: PageCache, counter: &Counter, answer: fn(&Request) -> Response) -> (Client, Pages) {
    let pages = cache.pages();
    (Client::new(Stack::new().layer(cache).app(counted(counter, answer))).expect_errors().lint(false), pages)
}

fn is_hit(page: &Page) -> bool {
    page.header("cache-status").is_some_and(|status| status.starts_with("Purlin; hit"))
}

fn number(page: &Page) -> u32 {
    page.header("x-number").and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn news(req: &Request) -> Response {
    (CacheFor::secs(60).tag("news"), text(format!("news at {}", req.uri().path()))).into_response()
}

#[tokio::test]
async fn what_one_process_has_stored_all_give() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (counter, config) = (Counter::default(), config(&redis, "prefix = 'site:'"));
    let (one, _) = process(PageCache::new().redis(&config), &counter, news);
    let (other, _) = process(PageCache::new().redis(&config), &counter, news);
    one.get("/").await.assert_header("cache-status", "Purlin; fwd=uri-miss; ttl=60; stored");
    let page = other.get("/").await;
    page.assert_contains("news at /").assert_header("content-type", "text/plain; charset=utf-8");
    assert!(is_hit(&page) && number(&page) == 1, "{page:?}");
    page.assert_no_header("cache-tag").assert_no_header("purlin-cache-control");
    assert!(page.header("date").is_some() && page.header("age").is_some());
    assert!(is_hit(&other.get("/").await) && counter.so_far() == 1);
    // Below its prefix, and for no longer than it is of use.
    let mut keys: Vec<_> = redis
        .ask(&["--raw", "KEYS", "*"])
        .replace("\n/", " /")
        .replace("http\n", "http ")
        .lines()
        .map(str::to_owned)
        .collect();
    keys.sort();
    assert!(keys.iter().all(|key| key.starts_with("site:pages/")), "{keys:?}");
    let left: u64 = redis
        .ask(&["EVAL", "for _, k in ipairs(redis.call('KEYS', '*v:*')) do return redis.call('PTTL', k) end", "0"])
        .parse()
        .unwrap();
    assert!((50_000..=60_000).contains(&left), "{left}");
}

#[tokio::test]
async fn what_one_process_purges_the_others_forget_within_local_ttl() {
    let Some(redis) = Redis::new(&[]) else { return };
    for purge in ["path", "tag", "all", "post"] {
        let counter = Counter::default();
        let (one, pages) = process(PageCache::new().redis(&config(&redis, "")), &counter, news);
        let (other, _) = process(PageCache::new().redis(&config(&redis, "local_ttl = '50ms'")), &counter, news);
        // Without memory of it, a purge counts at once.
        let (third, _) = process(PageCache::new().redis(&config(&redis, "")), &counter, news);
        assert_eq!((number(&one.get("/a").await), number(&other.get("/a").await)), (1, 1), "{purge}");
        match purge {
            "path" => pages.purge("/a").await.unwrap(),
            "tag" => pages.purge_tag("news").await.unwrap(),
            "all" => pages.purge_all().await.unwrap(),
            _ => drop(one.post("/a").await),
        }
        let begin = Instant::now();
        while number(&other.get("/a").await) == 1 {
            assert!(begin.elapsed() < Duration::from_secs(10), "{purge}: it is still given");
            tokio::task::yield_now().await;
        }
        let anew = number(&other.get("/a").await);
        assert!(anew > 1, "{purge}");
        assert_eq!((number(&one.get("/a").await), number(&third.get("/a").await)), (anew, anew), "{purge}");
        pages.purge_all().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_changed_is_purged_also_where_the_visitor_leaves_before_redis_has_heard_of_it() {
    let Some(redis) = Redis::new(&[]) else { return };
    let counter = Counter::default();
    let (client, _) = process(PageCache::new().redis(&config(&redis, "")), &counter, news);
    assert_eq!(number(&client.get("/a").await), 1);
    redis.ask(&["CLIENT", "PAUSE", "300", "ALL"]);
    let mut post = Box::pin(async { client.post("/a").await });
    // Until the handler has answered; then he hangs up.
    std::future::poll_fn(|cx| match post.as_mut().poll(cx) {
        Poll::Ready(page) => panic!("Redis pauses: {page:?}"),
        Poll::Pending if counter.so_far() == 2 => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    })
    .await;
    drop(post);
    let begin = Instant::now();
    while number(&client.get("/a").await) == 1 {
        assert!(begin.elapsed() < Duration::from_secs(10), "it is still given");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_another_process_purges_while_it_is_made_is_not_stored() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (_, pages) = process(PageCache::new().redis(&config(&redis, "")), &Counter::default(), news);
    let counter = Counter::default();
    let making = {
        let (pages, counter) = (pages.clone(), counter.clone());
        purlin::handler(move || {
            let (pages, counter) = (pages.clone(), counter.clone());
            async move {
                if counter.next() == 1 {
                    pages.purge_tag("news").await?;
                }
                Ok::<_, purlin::Error>((CacheFor::secs(60).tag("news"), text("news")))
            }
        })
    };
    let client = Client::new(Stack::new().layer(PageCache::new().redis(&config(&redis, ""))).app(making));
    client.get("/").await.assert_header("cache-status", "Purlin; fwd=uri-miss; ttl=60");
    client.get("/").await;
    assert!(is_hit(&client.get("/").await) && counter.so_far() == 2);
}

#[tokio::test]
async fn variants_and_tags_and_stale_pages_go_through_it() {
    fn answer(req: &Request) -> Response {
        let language = req.headers().get("accept-language").map_or("none", |value| value.to_str().unwrap());
        let mut response = text(format!("in {language}"));
        if req.headers().get("if-none-match").is_some_and(|tag| tag == "\"one\"") {
            response = StatusCode::NOT_MODIFIED.into_response();
        }
        let headers = response.headers_mut();
        headers.insert("vary", "Accept-Language".parse().unwrap());
        headers.insert("etag", "\"one\"".parse().unwrap());
        let time = if req.uri().path() == "/stale" { SECOND } else { 600 * SECOND };
        (CacheFor::new(time).stale_while_revalidate(600 * SECOND), response).into_response()
    }
    let Some(redis) = Redis::new(&[]) else { return };
    let (counter, config) = (Counter::default(), config(&redis, ""));
    let (one, _) = process(PageCache::new().redis(&config), &counter, answer);
    let (other, _) = process(PageCache::new().redis(&config), &counter, answer);
    for language in ["de", "en"] {
        one.get("/").header("accept-language", language).await;
    }
    for language in ["de", "en"] {
        other.get("/").header("accept-language", language).await.assert_contains(language);
    }
    assert_eq!(counter.so_far(), 2, "each variant once");
    // What another stored is stale after its time: it is given at once, and asked for by its tag.
    one.get("/stale").header("accept-language", "de").await;
    let begin = Instant::now();
    while counter.so_far() == 3 {
        let page = other.get("/stale").header("accept-language", "de").await;
        page.assert_contains("in de");
        assert!(is_hit(&page) && begin.elapsed() < Duration::from_secs(20), "{page:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_personal_is_never_there() {
    async fn greet(session: Session) -> purlin::Result<Response> {
        session.insert("name", "Ada")?;
        Ok((CacheFor::secs(60), text("secret of one")).into_response())
    }
    let Some(redis) = Redis::new(&[]) else { return };
    let config = config(&redis, "");
    let stack = || Stack::new().layer(PageCache::new().redis(&config));
    let routes = Router::new().route("/", get(greet));
    Client::new(stack().layer(Sessions::new(MemoryStore::new())).app(routes)).get("/").await;
    let client = Client::new(stack().app(counted(&Counter::default(), said))).expect_errors().lint(false);
    for query in ["max-age=60&set-cookie=a=b", "max-age=60&vary=cookie", "private", "no-store", "max-age=60,private"] {
        client.get(&format!("/?cache-control={query}")).await;
    }
    client.get("/?cache-control=max-age=60").header("authorization", "Basic YQ==").await;
    assert_eq!(redis.ask(&["KEYS", "*"]), "");
}

#[tokio::test]
async fn what_cannot_be_read_is_made_anew_and_told_once() {
    let Some(redis) = Redis::new(&[]) else { return };
    let log = Log::default();
    let _guard = purlin::tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let counter = Counter::default();
    for (at, script) in [
        // Cut off, foreign, longer than anybody writes, and another's key altogether.
        "redis.call('HSET', KEYS[1], 'value', string.sub(redis.call('HGET', KEYS[1], 'value'), 1, -2))",
        "redis.call('HSET', KEYS[1], 'value', '{}')",
        "redis.call('HSET', KEYS[1], 'value', string.rep('x', 9000000))",
        "redis.call('SET', KEYS[1], 'x')",
        "redis.call('DEL', KEYS[1]) redis.call('HSET', KEYS[1], 'value', 'x')",
    ]
    .into_iter()
    .enumerate()
    {
        let client = || process(PageCache::new().redis(&config(&redis, "")), &counter, news).0;
        let path = format!("/{at}");
        client().get(&path).await;
        let before = counter.so_far();
        let script = format!(
            "for _, k in ipairs(redis.call('KEYS', '*v:*{path}')) do local KEYS = {{ k }} {script} end return 1"
        );
        assert_eq!(redis.ask(&["EVAL", &script, "0"]), "1");
        let client = client();
        for _ in 0..3 {
            client.get(&path).await.assert_status(200).assert_contains(&path);
        }
        assert_eq!(counter.so_far(), before + 1, "{script}");
    }
    let log = log.0.lock().unwrap().clone();
    assert_eq!(log.len(), 3, "{log:#?}");
    assert!(
        log[0].contains("cannot be read, and are made anew: expected pages, found a text longer than the entry"),
        "{log:#?}"
    );
    assert!(log[1].contains("expected pages of this release, found what begins otherwise"), "{log:#?}");
    assert!(log[2].contains("Redis refuses a step of the cache"), "{log:#?}");
}

#[tokio::test]
async fn without_redis_memory_goes_on_alone_and_what_was_purged_meanwhile_does_not_come_back() {
    let Some(redis) = Redis::new(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let log = Log::default();
    let _guard = purlin::tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let (counter, config) = (Counter::default(), config(&redis, "local_ttl = '10ms'\ntimeout = '300ms'"));
    let (client, pages) = process(PageCache::new().redis(&config), &counter, news);
    client.get("/a").await;
    client.get("/b").await;
    redis.kill();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(50) {
        assert!(is_hit(&client.get("/a").await), "from memory, however long nothing is heard");
    }
    client.get("/c").await;
    assert!(is_hit(&client.get("/c").await), "and new ones are stored there");
    let error = pages.purge("/a").await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.message().as_str()), (503, "purging what is in Redis"));
    assert!(!is_hit(&client.get("/a").await), "in this process it is purged");
    assert_eq!(counter.so_far(), 4);
    redis.start();
    // Another process, which knows nothing: what this one was to purge is given by nobody when it has been there again.
    let begin = Instant::now();
    while !log.0.lock().unwrap().iter().any(|line| line.ends_with(" is back")) {
        client.get("/b").await;
        assert!(begin.elapsed() < Duration::from_secs(10), "it does not notice that Redis is back");
        tokio::task::yield_now().await;
    }
    client.get("/b").await;
    let (fresh, _) = process(PageCache::new().redis(&config), &counter, news);
    let page = fresh.get("/a").await;
    assert!(number(&page) > 1, "the first /a was purged: {page:?} {:?}", log.0.lock().unwrap());
    let log = log.0.lock().unwrap().clone();
    let [away, back] = &log[..] else { panic!("one warning, and the end of it: {log:#?}") };
    assert!(away.starts_with("WARN: the cache goes on without Redis") && back.ends_with(" is back"), "{log:?}");
}

#[tokio::test]
async fn it_says_what_is_wrong_with_its_url_and_prints_no_password() {
    let of = |url: &str| {
        let toml = format!("[cache]\nurl = '{url}'");
        PageCache::new().redis(&Loader::new().environment("test").toml(&toml).load().unwrap().cache)
    };
    let site = |cache: PageCache| Stack::new().layer(cache).app(Router::new());
    let good = of("redis://me:open-sesame@127.0.0.1:1/3");
    let printed = format!("{good:?} {}", site(good.clone()).check().unwrap().stack_table());
    assert!(printed.contains("127.0.0.1:1/3") && !printed.contains("sesame"), "{printed}");
    for (url, expected) in [
        ("", "PageCache::redis expects a Redis in `cache.url` (PURLIN__CACHE__URL), found nothing"),
        ("http://open-sesame", "PageCache::redis, cache.url: expected a URL such as redis://127.0.0.1:6379/0"),
    ] {
        let error = purlin::site::Life::start(&site(of(url))).expect_err("it does not start");
        let error = format!("{error:#} {error:?}");
        assert!(error.contains(expected) && !error.contains("sesame"), "{error}");
    }
}
