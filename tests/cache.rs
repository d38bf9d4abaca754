//! The caches of a site: one makes a value, and what is purged is gone.

use purlin::cache::{Cache, Caches, Metrics};
use purlin::config::{CacheConfig, Loader};
use purlin::testing::{Client, layer_contract};
use purlin::{Error, Result, Router, Stack, StatusCode, get};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tokio::time::advance;

const MINUTE: Duration = Duration::from_secs(60);

fn config(toml: &str) -> CacheConfig {
    Loader::new().environment("test").toml(toml).load().unwrap_or_else(|error| panic!("{error}")).cache
}

fn cache(toml: &str) -> Cache {
    Caches::new(&config(toml)).unwrap().default_region()
}

/// A loader that counts its calls, and says how many there were.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn call(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn get(&self, cache: &Cache, key: &str) -> Result<usize> {
        let calls = self.clone();
        cache.get_or_try(key, MINUTE, move || async move { Ok(calls.call()) }).await
    }
}

/// Lets what was begun beside the requests go on to its end.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_made_once_for_its_time() {
    let (cache, calls) = (cache(""), Calls::default());
    for _ in 0..3 {
        assert_eq!(calls.get(&cache, "key").await.unwrap(), 1);
    }
    assert_eq!(calls.get(&cache, "other").await.unwrap(), 2);
    advance(MINUTE).await;
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 3);
    let Metrics { hits, misses, entries, .. } = cache.metrics();
    assert_eq!((hits, misses, entries), (2, 3, 2));
}

#[tokio::test]
async fn a_thousand_misses_at_once_are_one_call() {
    let (cache, calls, gate) = (cache(""), Calls::default(), Arc::new(Semaphore::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        let (cache, calls, gate) = (cache.clone(), calls.clone(), gate.clone());
        tasks.spawn(async move {
            let load = move || async move {
                drop(gate.acquire().await);
                Ok(calls.call())
            };
            cache.get_or_try("key", MINUTE, load).await.unwrap()
        });
    }
    settle().await;
    gate.add_permits(1);
    assert_eq!(tasks.join_all().await, vec![1; 1000]);
    assert_eq!(calls.count(), 1);
    assert_eq!(cache.metrics().waited, 999);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_on_several_threads_are_one_call_too() {
    let (cache, calls) = (cache(""), Calls::default());
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        let (cache, calls) = (cache.clone(), calls.clone());
        tasks.spawn(async move { calls.get(&cache, "key").await.unwrap() });
    }
    assert_eq!(tasks.join_all().await, vec![1; 1000]);
}

#[tokio::test]
async fn where_the_one_who_makes_it_leaves_the_next_makes_it() {
    let (cache, calls) = (cache(""), Calls::default());
    let (of_first, calls_of_first) = (cache.clone(), calls.clone());
    let first = tokio::spawn(async move {
        let load = move || async move {
            calls_of_first.call();
            std::future::pending::<Result<usize>>().await
        };
        of_first.get_or_try("key", MINUTE, load).await
    });
    yield_now().await;
    let mut others = JoinSet::new();
    for _ in 0..10 {
        let (cache, calls) = (cache.clone(), calls.clone());
        others.spawn(async move { calls.get(&cache, "key").await.unwrap() });
    }
    yield_now().await;
    first.abort();
    assert_eq!(others.join_all().await, vec![2; 10]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_wait_and_not_kept() {
    let (cache, calls) = (cache(""), Calls::default());
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let (cache, calls) = (cache.clone(), calls.clone());
        tasks.spawn(async move {
            let load = move || async move {
                calls.call();
                yield_now().await;
                Err::<usize, _>(Error::unavailable(std::io::Error::other("no stock")).public("Come back later."))
            };
            cache.get_or_try("key", MINUTE, load).await.unwrap_err()
        });
    }
    for error in tasks.join_all().await {
        assert_eq!(
            (error.status(), error.public_message()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("Come back later."))
        );
        assert_eq!(error.message(), "no stock");
        assert!(error.place().unwrap().file().ends_with("cache.rs"));
    }
    assert_eq!((calls.count(), cache.metrics().failures), (1, 1));
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_kept_for_as_long_as_asked() {
    let (cache, calls) = (cache(""), Calls::default());
    let fail = || async {
        let calls = calls.clone();
        let load = move || async move { Err::<usize, _>(Error::not_found(format!("call {}", calls.call()))) };
        let failed = cache.key("key").errors(Duration::from_secs(5)).get_or_try(load).await;
        failed.unwrap_err().message()
    };
    assert_eq!(fail().await, "call 1");
    advance(Duration::from_millis(4_999)).await;
    assert_eq!(fail().await, "call 1");
    advance(Duration::from_millis(1)).await;
    assert_eq!(fail().await, "call 2");
}

#[tokio::test]
async fn a_panic_is_a_500_for_those_who_wait_and_poisons_nothing() {
    let (cache, calls) = (cache(""), Calls::default());
    let of_first = cache.clone();
    let first = tokio::spawn(async move {
        let load = || async {
            for _ in 0..10 {
                yield_now().await;
            }
            panic!("the loader is wrong");
        };
        of_first.get_or_try::<usize, _, _>("key", MINUTE, load).await
    });
    yield_now().await;
    let (of_second, calls_of_second) = (cache.clone(), calls.clone());
    let second = tokio::spawn(async move { calls_of_second.get(&of_second, "key").await });
    assert!(first.await.unwrap_err().is_panic());
    let error = second.await.unwrap().unwrap_err();
    assert_eq!(error.status(), 500);
    assert!(error.message().contains("panicked"), "{error}");
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_given_out_while_one_makes_it_anew() {
    let (cache, calls) = (cache("[cache]\nstale = '1h'"), Calls::default());
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 1);
    advance(MINUTE + Duration::from_secs(3599)).await;
    // None of them waits, and one call is made for all.
    for _ in 0..10 {
        assert_eq!(calls.get(&cache, "key").await.unwrap(), 1);
    }
    settle().await;
    assert_eq!(calls.count(), 2);
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 2);
    assert_eq!((cache.metrics().stale, cache.metrics().refreshes), (10, 1));
    // Past all its time it is waited for.
    advance(MINUTE + Duration::from_secs(3600)).await;
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 3);
    assert_eq!(cache.get::<usize>("key").await.unwrap(), Some(3));
    advance(MINUTE).await;
    assert_eq!(cache.get::<usize>("key").await.unwrap(), None, "stale is for those who can make it anew");
}

/// Also where its time has ended altogether meanwhile: then who asks waits for the one who makes it.
#[tokio::test(start_paused = true)]
async fn what_is_made_beside_the_requests_is_made_once() {
    let (cache, calls, gate) = (cache("[cache]\nstale = '1m'"), Calls::default(), Arc::new(Semaphore::new(0)));
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 1);
    advance(MINUTE).await;
    let (made, held) = (calls.clone(), gate.clone());
    let load = move || async move {
        drop(held.acquire().await);
        Ok(made.call())
    };
    assert_eq!(cache.get_or_try("key", MINUTE, load).await.unwrap(), 1);
    settle().await;
    advance(MINUTE).await;
    let (of_second, calls_of_second) = (cache.clone(), calls.clone());
    let second = tokio::spawn(async move { calls_of_second.get(&of_second, "key").await.unwrap() });
    settle().await;
    gate.add_permits(1);
    assert_eq!((second.await.unwrap(), calls.count()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_stays_while_making_it_anew_fails() {
    let (cache, calls) = (cache("[cache]\nstale = '1h'"), Calls::default());
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 1);
    advance(MINUTE).await;
    let fail = |panics: bool| {
        let (cache, calls) = (cache.clone(), calls.clone());
        async move {
            let load = move || async move {
                calls.call();
                assert!(!panics, "the loader is wrong");
                Err(Error::internal("no"))
            };
            cache.get_or_try::<usize, _, _>("key", MINUTE, load).await.unwrap()
        }
    };
    // The next attempt is a second later, however often it is asked for.
    for (expected, panics) in [(2, false), (3, true), (4, false)] {
        for _ in 0..5 {
            assert_eq!(fail(panics).await, 1);
            settle().await;
        }
        assert_eq!(calls.count(), expected);
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 1);
    settle().await;
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_early_refresh_comes_between_its_part_and_the_end() {
    let cache = cache("[cache]\nearly_refresh = 0.5\nttl = '100s'");
    let mut seconds = Vec::new();
    for key in 0..40 {
        let calls = Calls::default();
        let get = || {
            let calls = calls.clone();
            cache.key(format!("{key}")).get_or_try(move || async move { Ok(calls.call()) })
        };
        get().await.unwrap();
        let mut second = 0;
        while calls.count() == 1 {
            get().await.unwrap();
            settle().await;
            advance(Duration::from_secs(1)).await;
            second += 1;
        }
        seconds.push(second);
    }
    let (first, last) = (seconds.iter().min().unwrap(), seconds.iter().max().unwrap());
    assert!(*first >= 50 && *last <= 101, "{seconds:?}");
    assert!(last - first > 10, "they are spread: {seconds:?}");
    // Nobody waited, but where the moment was drawn within the last second.
    assert!(cache.metrics().misses <= 44, "{:?}", cache.metrics());
}

#[tokio::test(start_paused = true)]
async fn that_nothing_was_found_is_remembered_as_the_region_says() {
    for (toml, expected) in [("", [1, 2, 3]), ("[cache]\nnegative = '5s'\nstale = '1h'", [1, 1, 2])] {
        let (cache, calls) = (cache(toml), Calls::default());
        let find = || {
            let calls = calls.clone();
            cache.find("key", MINUTE, move || async move {
                calls.call();
                Ok(None::<String>)
            })
        };
        let mut counts = Vec::new();
        for wait in [4, 1, 0] {
            assert_eq!(find().await.unwrap(), None);
            counts.push(calls.count());
            advance(Duration::from_secs(wait)).await;
        }
        assert_eq!(counts, expected, "{toml}");
    }
    let (cache, calls) = (cache(""), Calls::default());
    for _ in 0..2 {
        let calls = calls.clone();
        assert_eq!(cache.find("key", MINUTE, move || async move { Ok(Some(calls.call())) }).await.unwrap(), Some(1));
    }
}

#[tokio::test]
async fn what_is_purged_is_made_anew() {
    let (cache, calls) = (cache(""), Calls::default());
    let get = async |key: &'static str, tags: &[&'static str]| {
        let calls = calls.clone();
        let lookup = tags.iter().fold(cache.key(key), |lookup, tag| lookup.tag(*tag));
        lookup.get_or_try(move || async move { Ok(calls.call()) }).await.unwrap()
    };
    let all = async || [get("a", &["x"]).await, get("b", &["x", "y"]).await, get("c", &[]).await];
    assert_eq!(all().await, [1, 2, 3]);
    cache.purge_tag("y").await.unwrap();
    assert_eq!(all().await, [1, 4, 3]);
    cache.purge_tag("x").await.unwrap();
    assert_eq!(all().await, [5, 6, 3]);
    cache.remove("c").await.unwrap();
    assert_eq!(all().await, [5, 6, 7]);
    cache.clear().await.unwrap();
    assert_eq!(all().await, [8, 9, 10]);
}

/// Whoever purges and asks afterwards is not given what was read before.
#[tokio::test]
async fn what_is_under_way_when_the_purge_comes_is_neither_kept_nor_joined() {
    for purge in ["key", "tag", "all"] {
        let (cache, calls, gate) = (cache(""), Calls::default(), Arc::new(Semaphore::new(0)));
        let (of_first, calls_of_first, gate_of_first) = (cache.clone(), calls.clone(), gate.clone());
        let first = tokio::spawn(async move {
            let load = move || async move {
                let read = calls_of_first.call();
                drop(gate_of_first.acquire().await);
                Ok(read)
            };
            of_first.key("key").tag("tag").get_or_try(load).await.unwrap()
        });
        yield_now().await;
        match purge {
            "key" => cache.remove("key").await.unwrap(),
            "tag" => cache.purge_tag("tag").await.unwrap(),
            _ => cache.clear().await.unwrap(),
        }
        assert_eq!(calls.get(&cache, "key").await.unwrap(), 2, "{purge}");
        cache.remove("key").await.unwrap();
        gate.add_permits(1);
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(cache.get::<usize>("key").await.unwrap(), None, "{purge}");
    }
}

#[tokio::test]
async fn what_is_put_there_takes_the_place_of_what_is_under_way() {
    let (cache, calls) = (cache(""), Calls::default());
    cache.key("key").put(70_usize).await;
    assert_eq!(calls.get(&cache, "key").await.unwrap(), 70);
    assert_eq!(cache.get::<usize>("key").await.unwrap(), Some(70));
    assert_eq!(cache.get::<usize>("no such key").await.unwrap(), None);
}

#[tokio::test]
async fn values_in_memory_are_not_written_as_json() {
    let cache = cache("");
    let load = || async { Ok(Arc::new(vec![1_u8; 1000])) };
    let first = cache.get_or_try("key", MINUTE, load).await.unwrap();
    let second = cache.get_or_try("key", MINUTE, load).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn a_key_has_one_type() {
    let cache = cache("");
    cache.key("key").put("text".to_owned()).await;
    let error = cache.get::<u32>("key").await.unwrap_err();
    let expected = "\"key\" of the cache region `default`: expected a u32, found a alloc::string::String";
    assert_eq!(error.message(), expected);
}

#[tokio::test]
async fn it_is_bounded_and_what_is_not_kept_is_given_out() {
    let cache = cache("[cache]\nmemory = '4 MiB'");
    for key in 0..200 {
        let value = cache.get_or_try(key.to_string(), MINUTE, || async { Ok("x".repeat(50_000)) }).await.unwrap();
        assert_eq!(value.len(), 50_000);
        assert!(cache.metrics().bytes <= 4 << 20, "{:?}", cache.metrics());
    }
    assert!(cache.metrics().entries > 40, "{:?}", cache.metrics());
    let large = cache.get_or_try("large", MINUTE, || async { Ok("x".repeat(100_000)) }).await.unwrap();
    assert_eq!((large.len(), cache.metrics().too_large), (100_000, 1));
    assert_eq!(cache.get::<String>("large").await.unwrap(), None);
    let (calls, nought) = (Calls::default(), Duration::ZERO);
    for expected in 1..3 {
        let calls = calls.clone();
        let value = cache.get_or_try("nought", nought, move || async move { Ok(calls.call()) }).await.unwrap();
        assert_eq!(value, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn regions_differ_in_what_they_say() {
    let config = config(
        "[cache]\nttl = '1h'\n[cache.regions.prices]\nttl = '10s'\nmemory = '1 MiB'\n[cache.regions.pages]\nstale = '1m'",
    );
    let caches = Caches::new(&config).unwrap();
    let names: Vec<_> = caches.all().map(|cache| cache.name().to_owned()).collect();
    assert_eq!(names, ["default", "pages", "prices"]);
    let prices = caches.region("prices").unwrap();
    assert_eq!((prices.metrics().max_bytes, caches.default_region().metrics().max_bytes), (1 << 20, 32 << 20));
    let calls = Calls::default();
    let get = async |cache: &Cache| {
        let calls = calls.clone();
        cache.key("key").get_or_try(move || async move { Ok(calls.call()) }).await.unwrap()
    };
    let default = prices.region("default").unwrap();
    assert_eq!((get(&prices).await, get(&default).await), (1, 2));
    advance(Duration::from_secs(10)).await;
    assert_eq!((get(&prices).await, get(&default).await), (3, 2));
    let error = caches.region("price").unwrap_err();
    assert_eq!(error.message(), "no cache region is named `price`: did you mean `prices`? (setting `cache.regions`)");
}

#[test]
fn what_is_wrong_with_a_region_is_told_with_its_place() {
    let table = [
        (
            "[cache.regions.pages]\ntll = '1s'",
            "config/test.toml:2:1: unknown key `cache.regions.pages.tll`: did you mean `cache.regions.pages.ttl`?",
        ),
        ("[cache]\nregion = 1", "config/test.toml:2:1: unknown key `cache.region`: did you mean `cache.regions`?"),
        (
            "[cache.regions.pages]\nmemory = '0 B'",
            "config/test.toml:2:10: `cache.regions.pages.memory`: expected a number of bytes from 1 up",
        ),
        (
            "[cache]\nearly_refresh = 1.5",
            "config/test.toml:2:17: `cache.early_refresh`: expected a number from 0 to 1 such as 0.8, found 1.5",
        ),
        (
            "[cache]\nstore = 'disk'",
            "config/test.toml:2:9: `cache.store`: expected \"memory\" or \"redis\" or \"both\", found \"disk\"",
        ),
    ];
    for (toml, expected) in table {
        let error = Loader::new().environment("test").toml(toml).load().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let config = Loader::new()
        .environment("test")
        .toml("[cache.regions.pages]\nttl = '1s'")
        .var("PURLIN__CACHE__REGIONS__PAGES__TTL", "2m")
        .var("PURLIN__CACHE__EARLY_REFRESH", "1")
        .load()
        .unwrap();
    assert_eq!(config.cache.regions["pages"].ttl, Some(Duration::from_secs(120)));
    let error = Caches::new(&self::config("[cache.regions.pages]\nstore = 'redis'")).unwrap_err();
    let expected = match cfg!(feature = "redis") {
        true => "the cache region `pages`: expected a Redis in `cache.url` (PURLIN__CACHE__URL), found nothing",
        false => "the cache region `pages`: to be kept in Redis it needs Purlin's feature `redis`",
    };
    assert_eq!(format!("{error:#}"), expected);
}

async fn count(cache: Cache) -> Result<String> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let load = || async { Ok(CALLS.fetch_add(1, Ordering::Relaxed)) };
    Ok(format!("call {}", cache.get_or_try("count", MINUTE, load).await?))
}

#[tokio::test]
async fn a_handler_takes_it_as_an_argument() {
    let caches = Caches::new(&config("")).unwrap();
    let client = Client::new(Stack::new().layer(caches).app(Router::new().route("/", get(count))));
    client.get("/").await.assert_contains("call 0");
    client.get("/").await.assert_contains("call 0");
    let shared = client.site().shared::<Caches>().unwrap();
    shared.default_region().clear().await.unwrap();
    client.get("/").await.assert_contains("call 1");

    let error = Stack::new().app(Router::new().route("/", get(count))).check().unwrap_err();
    assert!(
        error
            .message()
            .contains("needs `Cache`, which no layer above it provides: add `.layer(Caches::new(&config.cache)?)`")
    );
}

#[tokio::test]
async fn caches_keep_the_contract_of_layers() {
    layer_contract(|| Caches::new(&config("")).unwrap()).await;
}

#[tokio::test]
async fn what_is_kept_does_not_print() {
    let caches = Caches::new(&config("")).unwrap();
    let cache = caches.default_region();
    cache.key("user:7").put("a secret".to_owned()).await;
    let printed = format!("{cache:?} {caches:?} {:?}", cache.metrics());
    assert!(!printed.contains("secret") && !printed.contains("user:7"), "{printed}");
}

#[cfg(feature = "tera")]
mod fragments;
#[cfg(all(feature = "redis", unix))]
pub(crate) mod redis;
