//! `RateLimit`: so many requests of a client, and what the others are told.

use purlin::layers::{ErrorPages, RateLimit};
use purlin::rate::Rate;
use purlin::site::Life;
use purlin::testing::Client;
use purlin::{Body, Connection, Request, ResponseExt, Router, Service, Stack, get, handler};
use std::time::Duration;

fn site(limit: RateLimit) -> impl Service {
    Stack::new().layer(limit).app(handler(async || "page"))
}

fn from(address: &str) -> Request {
    let mut req = Request::new(Body::empty());
    req.extensions_mut().insert(Connection::new(Some((address.parse::<std::net::IpAddr>().unwrap(), 5).into()), None));
    req
}

async fn status(app: &impl Service, address: &str) -> u16 {
    app.call(from(address)).await.status().as_u16()
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

#[tokio::test(start_paused = true)]
async fn who_sends_too_many_is_refused_and_told_when_to_come_again() {
    let client = Client::new(
        Stack::new()
            .layer(ErrorPages::new())
            .layer(RateLimit::new(Rate::per_minute(3)))
            .app(Router::new().route("/", get(async || "page"))),
    );
    for left in ["r=2;t=20", "r=1;t=40", "r=0;t=20"] {
        let answer = client.get("/").await;
        answer.assert_status(200).assert_header("ratelimit", &format!("\"3-per-minute\";{left}"));
        answer.assert_header("ratelimit-policy", "\"3-per-minute\";q=3;w=60");
    }
    let refused = client.get("/").header("accept", "text/html").await;
    refused
        .assert_status(429)
        .assert_header("retry-after", "20")
        .assert_header("ratelimit", "\"3-per-minute\";r=0;t=20");
    refused.assert_contains("Please try again in 20 seconds.");
    // Who was refused has lost nothing by it.
    pass(Duration::from_millis(19_999)).await;
    client.get("/").await.assert_status(429).assert_header("retry-after", "1");
    pass(Duration::from_millis(1)).await;
    client.get("/").await.assert_status(200);
    client.get("/").await.assert_status(429);
    pass(Duration::from_secs(60)).await;
    for _ in 0..3 {
        client.get("/").await.assert_status(200);
    }
    client.get("/").await.assert_status(429);
}

#[tokio::test(start_paused = true)]
async fn failures_below_tell_the_rate_too() {
    let app = Stack::new().layer(RateLimit::new(Rate::per_second(5))).app(Router::new());
    let response = app.call(from("192.0.2.1")).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["ratelimit"], "\"5-per-second\";r=4;t=1");
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_what_may_come_at_once() {
    let app = site(RateLimit::new(Rate::per_second(10).burst(1)));
    assert_eq!(status(&app, "192.0.2.1").await, 200);
    assert_eq!(status(&app, "192.0.2.1").await, 429);
    pass(Duration::from_millis(100)).await;
    assert_eq!(status(&app, "192.0.2.1").await, 200);

    let app = site(RateLimit::new(Rate::per_second(1).burst(5)));
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(status(&app, "192.0.2.1").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn all_rates_have_to_let_a_request_through() {
    let app = site(RateLimit::new(Rate::per_second(2)).also(Rate::per_hour(5)));
    let mut seen = Vec::new();
    for _ in 0..4 {
        for _ in 0..3 {
            let response = app.call(from("192.0.2.1")).await;
            let after = response.headers().get("retry-after").or_else(|| {
                let (_, value) = response.error()?.headers().iter().find(|(name, _)| name == "retry-after")?;
                Some(value)
            });
            seen.push((response.status().as_u16(), after.map(|value| value.to_str().unwrap().to_owned())));
        }
        pass(Duration::from_secs(1)).await;
    }
    let wait = |seconds: &str| (429, Some(seconds.to_owned()));
    let passes = || (200, None);
    let expected = vec![
        passes(),
        passes(),
        wait("1"),
        passes(),
        passes(),
        wait("718"),
        // The burst of the hour is used up by the next: one each 12 minutes from now on.
        passes(),
        wait("718"),
        wait("718"),
        wait("717"),
        wait("717"),
        wait("717"),
    ];
    assert_eq!(seen[0..5], expected[0..5]);
    assert_eq!(seen[6], expected[6]);
    assert_eq!(seen[7..], expected[7..]);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_a_client_and_of_ipv6_what_one_customer_has() {
    let app = site(RateLimit::new(Rate::per_hour(1)));
    let table = [
        ("192.0.2.1", 200),
        ("192.0.2.2", 200),
        ("192.0.2.1", 429),
        ("::ffff:192.0.2.1", 429),
        ("2001:db8:1:2::1", 200),
        ("2001:db8:1:2:ffff::9", 429),
        ("2001:db8:1:3::1", 200),
    ];
    for (address, expected) in table {
        assert_eq!(status(&app, address).await, expected, "{address}");
    }
    // Those without an address are one client, too.
    assert_eq!(app.call(Request::default()).await.status(), 200);
    assert_eq!(app.call(Request::default()).await.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_sites_own_goes_before_the_address_and_none_is_not_counted() {
    let key = |req: &Request| Some(req.headers().get("x-api-key")?.to_str().ok()?.to_owned());
    let client = Client::new(site(RateLimit::new(Rate::per_hour(1)).by(key)));
    client.get("/").header("x-api-key", "a").await.assert_status(200);
    client.get("/").header("x-api-key", "a").await.assert_status(429);
    client.get("/").header("x-api-key", "b").await.assert_status(200);
    for _ in 0..3 {
        let free = client.get("/").await;
        free.assert_status(200);
        assert_eq!(free.header("ratelimit"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_exempt_is_neither_counted_nor_refused() {
    let limit = RateLimit::new(Rate::per_hour(1)).exempt(|req| req.uri().path() == "/health").fields(false);
    let client = Client::new(site(limit));
    for _ in 0..3 {
        client.get("/health").await.assert_status(200);
    }
    let page = client.get("/").await;
    page.assert_status(200);
    assert_eq!(page.header("ratelimit"), None);
    client.get("/").await.assert_status(429).assert_header("retry-after", "3600");
    client.get("/health").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_route_has_a_say_of_its_own_beside_the_sites() {
    let search = get(async || "found").layer(RateLimit::new(Rate::per_hour(1).named("search")));
    let routes = Router::new().route("/search", search).route("/", get(async || "page"));
    let client = Client::new(Stack::new().layer(RateLimit::new(Rate::per_hour(3).named("site"))).app(routes));
    let found = client.get("/search").await;
    found.assert_status(200);
    assert_eq!(found.headers().get_all("ratelimit").iter().count(), 2);
    client.get("/search").await.assert_status(429);
    client.get("/").await.assert_status(200);
    client.get("/").await.assert_status(429);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_told_when_the_site_starts() {
    let five = (1..=4).fold(RateLimit::new(Rate::per_hour(9)), |limit, n| limit.also(Rate::per_second(n)));
    let table = [
        (RateLimit::new(Rate::per_second(0)), "expected one request at least"),
        (five, "expected 4 rates at most, found 5"),
        (
            RateLimit::new(Rate::per_second(1)).also(Rate::per_second(1).burst(9)),
            "two rates are called \"1-per-second\"",
        ),
        #[cfg(feature = "redis")]
        (RateLimit::new(Rate::per_second(1)).redis("redis://localhost"), "needs a name"),
        #[cfg(feature = "redis")]
        (RateLimit::new(Rate::per_second(1)).redis("http://localhost").name("x"), "expected a URL such as redis://"),
        #[cfg(not(feature = "redis"))]
        (RateLimit::new(Rate::per_second(1)).redis("redis://localhost"), "needs Purlin's feature `redis`"),
        #[cfg(not(feature = "auth"))]
        (RateLimit::new(Rate::per_second(1)).by_user(), "needs Purlin's feature `auth`"),
    ];
    for (limit, expected) in table {
        let error = format!("{:#}", Life::start(&site(limit)).expect_err("it does not start"));
        assert!(error.contains(expected), "{error}");
    }
}

#[cfg(all(feature = "redis", unix))]
mod redis {
    use super::*;
    use crate::servers::redis::Redis;
    use purlin::rate::WithoutRedis;

    fn limit(redis: &Redis, rate: Rate) -> RateLimit {
        RateLimit::new(rate).redis(&redis.url()).name("test").redis_timeout(Duration::from_secs(5))
    }

    #[tokio::test]
    async fn machines_share_a_rate_and_layers_of_other_names_do_not() {
        let Some(redis) = Redis::new(&[]) else { return };
        let rate = || Rate::per_hour(3);
        let (one, other) =
            (site(limit(&redis, rate()).also(Rate::per_day(50))), site(limit(&redis, rate()).also(Rate::per_day(50))));
        let first = one.call(from("192.0.2.1")).await;
        assert_eq!(first.headers()["ratelimit"], "\"3-per-hour\";r=2;t=1200, \"50-per-day\";r=49;t=1728");
        let statuses = [
            status(&other, "192.0.2.1").await,
            status(&one, "192.0.2.1").await,
            status(&other, "192.0.2.1").await,
            status(&one, "192.0.2.1").await,
            status(&one, "192.0.2.2").await,
        ];
        assert_eq!(statuses, [200, 200, 429, 429, 200]);
        let elsewhere = site(limit(&redis, rate()).name("elsewhere"));
        assert_eq!(status(&elsewhere, "192.0.2.1").await, 200);

        // A key of the client's ends by itself, and does not tell who that is.
        let keys = redis.ask(&["KEYS", "*"]);
        assert_eq!(keys.lines().count(), 3, "{keys}");
        assert!(keys.lines().all(|key| key.starts_with("purlin:rate:") && !key.contains("192")), "{keys}");
        for key in keys.lines() {
            let millis: u64 = redis.ask(&["PTTL", key]).parse().unwrap();
            assert!((1..=3 * 1728 * 1000).contains(&millis), "{millis}");
        }
    }

    #[tokio::test]
    async fn of_many_at_once_as_many_pass_as_may() {
        let Some(redis) = Redis::new(&[]) else { return };
        let apps: Vec<_> = (0..4).map(|_| std::sync::Arc::new(site(limit(&redis, Rate::per_hour(10))))).collect();
        let all: Vec<_> = (0..100)
            .map(|n| {
                let app = apps[n % 4].clone();
                tokio::spawn(async move { status(&*app, "192.0.2.1").await })
            })
            .collect();
        let mut passed = 0;
        for one in all {
            passed += u32::from(one.await.unwrap() == 200);
        }
        assert_eq!(passed, 10);
    }

    #[tokio::test]
    async fn without_redis_each_counts_for_itself_or_as_it_was_told() {
        let Some(redis) = Redis::new(&[]) else { return };
        for (without, expected) in [
            (WithoutRedis::CountHere, [200, 429]),
            (WithoutRedis::Pass, [200, 200]),
            (WithoutRedis::Refuse, [503, 503]),
        ] {
            let app = site(limit(&redis, Rate::per_hour(1)).without_redis(without));
            assert_eq!(status(&app, "192.0.2.1").await, 200);
            assert_eq!(status(&app, "192.0.2.1").await, 429);
            redis.kill();
            assert_eq!([status(&app, "192.0.2.1").await, status(&app, "192.0.2.1").await], expected, "{without:?}");
            redis.start();
            // It has forgotten, and is asked again as soon as the pause after the last attempt is over.
            let mut statuses = Vec::new();
            while !statuses.ends_with(&[200, 429]) {
                statuses.push(status(&app, &format!("198.51.100.{}", statuses.len() / 2)).await);
                tokio::task::yield_now().await;
                assert!(statuses.len() < 500, "{without:?} {statuses:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            redis.ask(&["FLUSHALL"]);
        }
    }
}
