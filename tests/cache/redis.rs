//! Caches in Redis: what processes share, and what becomes of a site without it.

use super::{Calls, MINUTE, config, settle};
use crate::servers::redis::Redis;
use purlin::cache::{Cache, Caches};
use purlin::tracing::{Event, Subscriber};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The same site in another process.
fn process(redis: &Redis, toml: &str) -> Cache {
    let store = if toml.contains("store") { "" } else { "store = 'redis'" };
    let config = config(&format!("[cache]\nurl = '{}'\n{store}\n{toml}", redis.url()));
    Caches::new(&config).unwrap().default_region()
}

async fn tagged(cache: &Cache, calls: &Calls, tags: &[&'static str]) -> usize {
    let calls = calls.clone();
    let lookup = tags.iter().fold(cache.key("key"), |lookup, tag| lookup.tag(*tag));
    lookup.get_or_try(move || async move { Ok(calls.call()) }).await.unwrap()
}

#[tokio::test]
async fn processes_share_what_one_has_made_and_purged() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (one, other, calls) = (process(&redis, ""), process(&redis, ""), Calls::default());
    assert_eq!(tagged(&one, &calls, &["x", "y"]).await, 1);
    assert_eq!(tagged(&other, &calls, &[]).await, 1);
    assert_eq!((one.metrics().misses, other.metrics().misses, other.metrics().remote_hits), (1, 0, 1));
    assert_eq!(other.get::<usize>("key").await.unwrap(), Some(1));

    other.purge_tag("nobody's").await.unwrap();
    assert_eq!(tagged(&one, &calls, &["x", "y"]).await, 1);
    other.purge_tag("y").await.unwrap();
    assert_eq!(tagged(&one, &calls, &["x", "y"]).await, 2);
    other.remove("key").await.unwrap();
    assert_eq!(tagged(&one, &calls, &["x", "y"]).await, 3);
    other.clear().await.unwrap();
    assert_eq!(tagged(&one, &calls, &[]).await, 4);
    one.key("key").ttl(MINUTE).put(70_usize).await;
    assert_eq!(tagged(&other, &calls, &[]).await, 70);
}

#[tokio::test]
async fn what_another_process_purges_while_it_is_made_is_not_kept() {
    let Some(redis) = Redis::new(&[]) else { return };
    for purge in ["key", "tag", "all"] {
        let (one, other, calls) = (process(&redis, ""), process(&redis, ""), Calls::default());
        let (purger, made) = (other.clone(), calls.clone());
        let load = move || async move {
            match purge {
                "key" => purger.remove("key").await?,
                "tag" => purger.purge_tag("x").await?,
                _ => purger.clear().await?,
            }
            Ok(made.call())
        };
        assert_eq!(one.key("key").tag("x").get_or_try(load).await.unwrap(), 1);
        assert_eq!(other.get::<usize>("key").await.unwrap(), None, "{purge}");
        assert_eq!(tagged(&other, &calls, &["x"]).await, 2, "{purge}");
        assert_eq!(tagged(&one, &calls, &["x"]).await, 2, "{purge}");
        one.remove("key").await.unwrap();
    }
}

#[tokio::test]
async fn memory_before_redis_learns_of_another_process_purge_soon() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (one, other) = (process(&redis, "store = 'both'\nlocal_ttl = '100ms'"), process(&redis, ""));
    let calls = Calls::default();
    assert_eq!(tagged(&one, &calls, &["x"]).await, 1);
    assert_eq!(tagged(&one, &calls, &["x"]).await, 1);
    assert_eq!((one.metrics().hits, one.metrics().entries), (1, 1));
    other.purge_tag("x").await.unwrap();
    let start = Instant::now();
    while tagged(&one, &calls, &["x"]).await == 1 {
        assert!(start.elapsed() < Duration::from_secs(5), "it is still given out");
        tokio::task::yield_now().await;
    }
    one.purge_tag("x").await.unwrap();
    assert_eq!(tagged(&one, &calls, &["x"]).await, 3, "its own purges count at once");
}

#[tokio::test]
async fn a_stale_value_in_redis_is_given_out_and_made_anew() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (one, calls) = (process(&redis, "ttl = '50ms'\nstale = '1h'"), Calls::default());
    assert_eq!(tagged(&one, &calls, &["x"]).await, 1);
    let start = Instant::now();
    while calls.count() == 1 {
        tagged(&one, &calls, &["x"]).await;
        settle().await;
        assert!(start.elapsed() < Duration::from_secs(5), "it is not made anew");
    }
    assert_eq!(one.metrics().misses, 1, "nobody waited");
    while tagged(&one, &calls, &["x"]).await == 1 {
        assert!(start.elapsed() < Duration::from_secs(5), "it is not kept");
    }
}

#[tokio::test]
async fn nobody_waits_for_a_new_value_while_there_is_a_stale_one() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (one, calls) = (process(&redis, "ttl = '20ms'\nstale = '1h'"), Calls::default());
    assert_eq!(tagged(&one, &calls, &[]).await, 1);
    let start = Instant::now();
    while one.metrics().refreshes == 0 {
        let never = || std::future::pending::<purlin::Result<usize>>();
        assert_eq!(one.key("key").get_or_try(never).await.unwrap(), 1);
        settle().await;
        assert!(start.elapsed() < Duration::from_secs(5), "it does not become stale");
    }
    for _ in 0..10 {
        assert_eq!(tagged(&one, &calls, &[]).await, 1);
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn what_redis_holds_is_for_this_type_and_for_its_time() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (cache, calls) = (process(&redis, "prefix = 'site:'"), Calls::default());
    assert_eq!(tagged(&cache, &calls, &["x"]).await, 1);
    let mut keys: Vec<_> = redis.ask(&["KEYS", "*"]).lines().map(str::to_owned).collect();
    keys.sort();
    assert_eq!(keys, ["site:default:all", "site:default:t:x", "site:default:v:key"]);
    for key in &keys {
        let left: u64 = redis.ask(&["PTTL", key]).parse().unwrap();
        assert!(left > 290_000, "{key}: {left}");
    }
    assert_eq!(redis.ask(&["HGET", "site:default:v:key", "value"]), "1");
    // Another release of the site has another type there: it is made, and takes the place.
    let other = process(&redis, "prefix = 'site:'");
    assert_eq!(other.get::<String>("key").await.unwrap(), None);
    let text = other.key("key").get_or_try(|| async { Ok("text".to_owned()) }).await.unwrap();
    assert_eq!((text.as_str(), other.metrics().misses), ("text", 1));
    // Where Redis threw a tag away for want of memory, what had it does not come back.
    redis.ask(&["DEL", "site:default:all"]);
    assert_eq!(other.get::<String>("key").await.unwrap(), None);
}

#[tokio::test]
async fn a_script_that_redis_forgot_is_sent_again() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (cache, calls) = (process(&redis, ""), Calls::default());
    assert_eq!(tagged(&cache, &calls, &[]).await, 1);
    redis.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(tagged(&cache, &calls, &[]).await, 1);
}

/// What was logged of caches, with its level.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Text(String);
        impl purlin::tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &purlin::tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    let _ = write!(self.0, "{value:?}");
                }
            }
        }
        if event.metadata().target() == "purlin::cache" {
            let mut text = Text(format!("{}: ", event.metadata().level()));
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }
}

#[tokio::test]
async fn without_redis_the_site_goes_on_and_only_a_purge_says_so() {
    let Some(redis) = Redis::new(&["--appendonly", "no"]) else { return };
    let log = Log::default();
    let _guard = purlin::tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let (cache, calls) = (process(&redis, "timeout = '100ms'"), Calls::default());
    assert_eq!(tagged(&cache, &calls, &[]).await, 1);
    redis.kill();
    for expected in 2..7 {
        assert_eq!(tagged(&cache, &calls, &[]).await, expected);
    }
    for purged in [cache.remove("key").await, cache.purge_tag("x").await, cache.clear().await] {
        let error = purged.unwrap_err();
        assert_eq!((error.status().as_u16(), error.message().as_str()), (503, "purging what is in Redis"));
    }
    assert!(cache.metrics().remote_failures >= 5);
    redis.start();
    let start = Instant::now();
    while tagged(&cache, &calls, &[]).await == calls.count() && cache.metrics().remote_hits == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not notice that Redis is back");
        tokio::task::yield_now().await;
    }
    let log = log.0.lock().unwrap().clone();
    let [away, back] = &log[..] else { panic!("one warning, and the end of it: {log:#?}") };
    assert!(away.starts_with("WARN: the cache goes on without Redis, and says when that is back: "), "{away}");
    assert!(back.starts_with("INFO: Redis at ") && back.ends_with(" is back"), "{back}");
}

#[tokio::test]
async fn a_redis_that_answers_nothing_costs_the_time_out_once() {
    let Some(redis) = Redis::new(&[]) else { return };
    let (cache, calls) = (process(&redis, "timeout = '100ms'"), Calls::default());
    assert_eq!(tagged(&cache, &calls, &[]).await, 1);
    redis.signal("-STOP");
    let start = Instant::now();
    for _ in 0..20 {
        tagged(&cache, &calls, &[]).await;
    }
    let took = start.elapsed();
    redis.signal("-CONT");
    assert_eq!(calls.count(), 21);
    assert!(took < Duration::from_secs(2), "twenty time-outs would be two seconds: {took:?}");
}

#[tokio::test]
async fn a_password_is_printed_nowhere() {
    let config = config("[cache]\nstore = 'redis'\nurl = 'redis://me:open-sesame@127.0.0.1:1/3'");
    let caches = Caches::new(&config).unwrap();
    let site = purlin::Stack::new().layer(caches.clone()).app(purlin::Router::new()).check().unwrap();
    let printed = format!("{caches:?} {:?} {config:?} {}", caches.default_region(), site.stack_table());
    assert!(printed.contains("127.0.0.1:1/3") && !printed.contains("sesame"), "{printed}");
    let error = Caches::new(&super::config("[cache]\nstore = 'both'\nurl = 'http://open-sesame'")).unwrap_err();
    let expected = "the cache region `default`: cache.url: expected a URL such as redis://127.0.0.1:6379/0";
    assert!(format!("{error:#}").starts_with(expected) && !format!("{error:?}").contains("sesame"), "{error:?}");
}
