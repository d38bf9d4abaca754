//! Sessions in Redis: what only a server of one's own can do to them.

use crate::servers::redis::{Redis, store};
use purlin::layers::Sessions;
use purlin::session::{RedisStore, contract::store_contract};
use purlin::site::Life;
use purlin::testing::Client;
use purlin::{Result, Router, Service, Session, Stack, get};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

async fn count(session: Session) -> Result<String> {
    Ok(session.increment("n", 1)?.to_string())
}

async fn peek(session: Session) -> Result<String> {
    Ok(session.get::<i64>("n")?.unwrap_or(0).to_string())
}

async fn sign_in(session: Session) -> Result<&'static str> {
    session.rotate();
    session.insert("user", "Ada")?;
    Ok("")
}

fn site(layer: Sessions) -> impl Service {
    let routes = Router::new()
        .route("/", get(async || "no session"))
        .route("/count", get(count))
        .route("/peek", get(peek))
        .route("/sign-in", get(sign_in))
        .route("/sign-out", get(async |session: Session| session.destroy()));
    Stack::new().layer(layer).app(routes)
}

/// What Redis says to a command.
fn ask(redis: &Redis, command: &[&str]) -> String {
    let socket = redis.folder().join("redis.sock");
    let output = std::process::Command::new("redis-cli").arg("-s").arg(socket).args(command).output();
    let output = output.expect("redis-cli comes with redis-server");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// What is acknowledged is on the disk: with `everysec`, the last writes may still be in the process when it is killed.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Why a site does not start.
fn refusal(store: RedisStore) -> String {
    format!("{:#}", Life::start(&site(Sessions::new(store))).expect_err("it does not start"))
}

#[tokio::test]
async fn the_redis_store_keeps_the_contract() {
    let Some(first) = store() else { return };
    store_contract(async || store().expect("it was there").store).await;
    drop(first);
}

#[tokio::test]
async fn nothing_in_redis_opens_a_session_and_redis_ends_it() {
    let Some(redis) = Redis::new(&[]) else { return };
    let client = Client::new(site(Sessions::new(RedisStore::new(&redis.url())).idle(Duration::from_secs(3600))));
    client.get("/count").await;
    let id = client.cookie("session").unwrap();
    let key = ask(&redis, &["KEYS", "*"]);
    assert!(key.starts_with("purlin:session:") && key.len() == 15 + 48 && !key.contains(&id), "{key}");
    let stored = ask(&redis, &["HGETALL", &key]);
    let fields: Vec<_> = stored.lines().collect();
    assert!(matches!(fields[..], ["created", _, ":n", "1", "expires", _]), "{stored}");
    let seconds: u32 = ask(&redis, &["TTL", &key]).parse().unwrap();
    assert!((3590..=3600).contains(&seconds), "{seconds}");

    client.get("/sign-in").await;
    let keys = ask(&redis, &["KEYS", "*"]);
    let new = keys.lines().find(|found| *found != key).unwrap();
    assert_eq!(keys.lines().count(), 2);
    let seconds: u32 = ask(&redis, &["TTL", &key]).parse().unwrap();
    assert!((8..=10).contains(&seconds), "the old key stays for the grace: {seconds}");
    let seconds: u32 = ask(&redis, &["TTL", new]).parse().unwrap();
    assert!((3590..=3600).contains(&seconds), "{seconds}");
    assert_eq!(ask(&redis, &["HGET", &key, "moved"]), new);

    client.get("/sign-out").await;
    assert_eq!(ask(&redis, &["EXISTS", new]), "0", "destroyed is deleted");
}

#[tokio::test]
async fn sites_with_prefixes_of_their_own_do_not_meet() {
    let Some(redis) = Redis::new(&[]) else { return };
    let client = |prefix: &'static str| Client::new(site(Sessions::new(RedisStore::new(&redis.url()).prefix(prefix))));
    let (one, other) = (client("one:"), client("other:"));
    one.get("/count").await;
    other.set_cookie("session", &one.cookie("session").unwrap());
    other.get("/peek").await.assert_contains("0");
    one.get("/peek").await.assert_contains("1");
    assert!(ask(&redis, &["KEYS", "*"]).starts_with("one:"));
}

#[tokio::test]
async fn a_script_that_redis_forgot_is_sent_again() {
    let Some(redis) = Redis::new(&[]) else { return };
    let client = Client::new(site(Sessions::new(RedisStore::new(&redis.url()))));
    client.get("/count").await.assert_contains("1");
    assert_eq!(ask(&redis, &["SCRIPT", "FLUSH"]), "OK");
    client.get("/count").await.assert_contains("2");
}

#[tokio::test]
async fn a_site_does_not_start_without_its_redis_unless_told_so() {
    let Some(redis) = Redis::new(&[]) else { return };
    redis.kill();
    let error = refusal(RedisStore::new(&redis.url()));
    let expected = format!(
        "the layer Sessions: Redis is asked when the site starts, unless `check_at_start(false)`: the session store is \
         unavailable: no connection to Redis at {}: ",
        redis.url().trim_start_matches("unix://")
    );
    assert!(error.starts_with(&expected), "{error}");

    let client = Client::new(site(Sessions::new(RedisStore::new(&redis.url()).check_at_start(false))));
    client.get("/").await.assert_contains("no session");
    client.get("/count").expect_status(503).await;
    redis.start();
    eventually(&client).await;
    client.get("/count").await;
}

/// Asks until the site has noticed that Redis is back.
async fn eventually(client: &Client) {
    let start = Instant::now();
    while client.get("/count").expect_errors().await.status() != 200 {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not notice that Redis is back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_read_says_what_is_expected_and_shows_no_password() {
    let table = [
        ("localhost", "found no URL: "),
        ("http://me:s3cret@localhost", "found one of http:// that cannot be read: "),
        ("redis://me:s3cret@localhost/x", "found one of redis:// that cannot be read: Invalid database number"),
        ("redis://", "found one of redis:// that cannot be read: "),
        #[cfg(not(feature = "redis-tls"))]
        ("rediss://me:s3cret@localhost", "found one of TLS, which needs Purlin's feature `redis-tls`: "),
    ];
    for (url, expected) in table {
        let store = RedisStore::new(url);
        assert!(!format!("{store:?}").contains("s3cret"), "{store:?}");
        let error = refusal(store);
        let start =
            "the layer Sessions: expected a URL such as redis://127.0.0.1:6379/0 or unix:///run/redis/redis.sock, ";
        assert!(error.starts_with(&format!("{start}{expected}")), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn the_stack_names_the_server_and_no_password() {
    let store = RedisStore::new("redis://me:s3cret@db.example:6380/3");
    assert!(!format!("{store:?}").contains("s3cret"), "{store:?}");
    let layer = Sessions::new(Arc::new(store));
    assert!(!format!("{layer:?}").contains("s3cret"), "{layer:?}");
    let table = Stack::new().layer(layer).app(Router::new()).check().unwrap().stack_table();
    assert!(table.contains("  store=RedisStore(db.example:6380/3)  cookie=session"), "{table}");
}

#[tokio::test]
async fn what_redis_refuses_is_503_with_its_words() {
    let Some(locked) = Redis::new(&["--requirepass", "s3cret"]) else { return };
    let error = refusal(RedisStore::new(&locked.url()));
    assert!(error.contains("NOAUTH"), "{error}");
    let error = refusal(RedisStore::new(&format!("{}?pass=wr0ng", locked.url())));
    assert!(error.contains("Password authentication failed") && !error.contains("wr0ng"), "{error}");
    let client = Client::new(site(Sessions::new(RedisStore::new(&format!("{}?pass=s3cret", locked.url())))));
    client.get("/count").await.assert_contains("1");

    let Some(redis) = Redis::new(&[]) else { return };
    let client = Client::new(site(Sessions::new(RedisStore::new(&redis.url()))));
    client.get("/count").await;
    let full = || ask(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    let room = || ask(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    let replica = || ask(&redis, &["REPLICAOF", "127.0.0.1", "1"]);
    let master = || ask(&redis, &["REPLICAOF", "NO", "ONE"]);
    let mut seen = 1;
    for (breaks, mends, word) in
        [(&full as &dyn Fn() -> String, &room as &dyn Fn() -> String, "OOM"), (&replica, &master, "read only replica")]
    {
        assert_eq!(breaks(), "OK");
        let page = client.get("/count").expect_status(503).await;
        let error = format!("{:#}", page.error().unwrap());
        assert!(error.starts_with("saving the session: the session store is unavailable: Redis at "), "{error}");
        assert!(error.contains(word), "{error}");
        client.get("/peek").await.assert_contains(&seen.to_string());
        assert!(refusal(RedisStore::new(&redis.url())).contains(word), "nor does a site start");
        assert_eq!(mends(), "OK");
        seen += 1;
        client.get("/count").await.assert_contains(&seen.to_string());
    }
}

#[tokio::test]
async fn what_is_no_session_at_a_sessions_key_is_an_error_that_names_it() {
    let Some(redis) = Redis::new(&[]) else { return };
    let client = Client::new(site(Sessions::new(RedisStore::new(&redis.url()))));
    client.get("/count").await;
    let key = ask(&redis, &["KEYS", "*"]);
    ask(&redis, &["HSET", &key, "expires", "soon"]);
    let page = client.get("/peek").expect_status(500).await;
    let error = format!("{:#}", page.error().unwrap());
    assert!(error.contains(&key) && error.contains(r#"a hash whose field "expires" is no time"#), "{error}");
    ask(&redis, &["SET", &key, "x"]);
    let page = client.get("/peek").expect_status(500).await;
    let error = format!("{:#}", page.error().unwrap());
    assert!(error.contains("WRONGTYPE"), "{error}");
}

#[tokio::test]
async fn a_redis_that_hangs_is_not_waited_for_and_is_left() {
    let Some(redis) = Redis::new(&[]) else { return };
    let store = RedisStore::new(&redis.url()).timeout(Duration::from_millis(200));
    let client = Client::new(site(Sessions::new(store)));
    client.get("/count").await.assert_contains("1");
    redis.signal("-STOP");
    let page = client.get("/peek").expect_status(503).await;
    let error = format!("{:#}", page.error().unwrap());
    assert!(error.ends_with("did not answer within 200ms"), "{error}");
    // One of them waits for a connection that never answers, the others for nothing.
    let start = Instant::now();
    for _ in 0..100 {
        client.get("/peek").expect_status(503).await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    client.get("/").await.assert_contains("no session");
    redis.signal("-CONT");
    eventually(&client).await;
    client.get("/count").await;
}

/// By TLS, with a certificate of our own.
#[cfg(feature = "redis-tls")]
#[tokio::test]
async fn a_redis_is_reached_by_tls_if_its_certificate_is_trusted() {
    use crate::servers::{Folder, left_out, program};
    let Some(openssl) = program("openssl") else {
        return left_out("the test of Redis by TLS", "install openssl");
    };
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let make = |words: &str| {
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1";
        let mut command = std::process::Command::new(&openssl);
        let made = command.current_dir(folder.path()).args(new.split(' ')).args(words.split(' ')).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    make("-subj /CN=authority -keyout ca.key -out ca.pem");
    make(
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -CA ca.pem \
         -CAkey ca.key -keyout key.pem -out cert.pem",
    );
    // Redis cannot be told to find a port: whoever takes this one meanwhile fails the test.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (key, certificate) = (file("key.pem"), file("cert.pem"));
    let tls =
        ["--tls-port", &port, "--tls-key-file", &key, "--tls-cert-file", &certificate, "--tls-auth-clients", "no"];
    let Some(redis) = Redis::new(&[&tls[..], &["--bind", "127.0.0.1", "--requirepass", "s3cret"]].concat()) else {
        return;
    };
    let url = format!("rediss://:s3cret@localhost:{port}");
    let pem = std::fs::read(file("ca.pem")).unwrap();
    let client = Client::new(site(Sessions::new(RedisStore::new(&url).root_certificate(&pem))));
    client.get("/count").await.assert_contains("1");
    client.get("/count").await.assert_contains("2");

    let error = refusal(RedisStore::new(&url));
    assert!(error.contains(&format!("no connection to Redis at localhost:{port}: ")), "{error}");
    assert!(error.contains("certificate"), "{error}");
    let other_name = RedisStore::new(&url.replace("localhost", "127.0.0.1")).root_certificate(&pem);
    assert!(refusal(other_name).contains("certificate"));
    for (url, pem) in [("redis://localhost", &pem[..]), (url.as_str(), b"-----BEGIN CERTIFICATE-----\nAA\n")] {
        let error = refusal(RedisStore::new(url).root_certificate(pem));
        assert!(error.contains("expected root certificates in PEM, for a URL of rediss://"), "{error}");
    }
    drop(redis);
}

/// What became of the requests of one visitor.
#[derive(Default)]
struct Told {
    counted: AtomicUsize,
    failed: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_of_load_costs_errors_only_while_it_lasts_and_no_acknowledged_session() {
    let Some(redis) = Redis::new(DURABLE) else { return };
    let redis = Arc::new(redis);
    let first = Client::new(site(Sessions::new(RedisStore::new(&redis.url()))));
    let (stop, back) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let begun = Arc::<Mutex<Vec<String>>>::default();
    let visitors: Vec<_> = (0..20).map(|_| (first.another_visitor(), Arc::<Told>::default())).collect();
    let mut tasks = Vec::new();
    for (client, told) in visitors.clone() {
        let (stop, back, begun) = (stop.clone(), back.clone(), begun.clone());
        client.get("/count").await;
        told.counted.fetch_add(1, Ordering::Relaxed);
        tasks.push(tokio::spawn(async move {
            // Once Redis is back and the site has noticed, nothing fails any more.
            let mut noticed = false;
            while !stop.load(Ordering::Relaxed) {
                let was_back = back.load(Ordering::Relaxed);
                let counted = client.get("/count").expect_errors().await.status();
                let newcomer = client.another_visitor();
                let began = newcomer.get("/count").expect_errors().await.status();
                for status in [counted, began] {
                    assert!(status == 200 || status == 503, "{status}");
                    assert!(!noticed || status == 200, "{status} after the site had noticed that Redis is back");
                }
                let count = if counted == 200 { &told.counted } else { &told.failed };
                count.fetch_add(1, Ordering::Relaxed);
                if began == 200 {
                    begun.lock().unwrap().push(newcomer.cookie("session").unwrap());
                }
                noticed |= was_back && counted == 200 && began == 200;
                tokio::task::yield_now().await;
            }
        }));
    }
    let all = async |what: fn(&Told) -> usize, least: usize| {
        let start = Instant::now();
        let before: Vec<_> = visitors.iter().map(|(_, told)| what(told)).collect();
        while visitors.iter().zip(&before).any(|((_, told), before)| what(told) < before + least) {
            assert!(start.elapsed() < Duration::from_secs(30), "the load does not go on");
            tokio::task::yield_now().await;
        }
    };
    let (counted, failed) =
        (|told: &Told| told.counted.load(Ordering::Relaxed), |told: &Told| told.failed.load(Ordering::Relaxed));
    all(counted, 10).await;
    let process = redis.clone();
    tokio::task::spawn_blocking(move || process.kill()).await.unwrap();
    all(failed, 10).await;
    let process = redis.clone();
    tokio::task::spawn_blocking(move || process.start()).await.unwrap();
    back.store(true, Ordering::Relaxed);
    all(counted, 10).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    for (client, told) in &visitors {
        let stored: usize = client.get("/peek").await.text().parse().unwrap();
        let (counted, failed) = (counted(told), failed(told));
        assert!(stored >= counted, "{counted} were acknowledged, {stored} are there");
        assert!(stored <= counted + failed, "{counted} were acknowledged and {failed} not, {stored} are there");
    }
    let begun = std::mem::take(&mut *begun.lock().unwrap());
    assert!(begun.len() >= 200);
    for cookie in begun {
        first.set_cookie("session", &cookie);
        first.get("/peek").await.assert_contains("1");
    }
}

#[tokio::test]
async fn while_redis_is_down_strangers_may_look_at_the_site() {
    let Some(redis) = Redis::new(DURABLE) else { return };
    let client = Client::new(site(Sessions::new(RedisStore::new(&redis.url())).anonymous_when_down(true)));
    client.get("/count").await.assert_contains("1");
    redis.kill();
    client.get("/peek").await.assert_contains("0");
    client.get("/count").expect_status(503).await;
    redis.start();
    eventually_counted(&client).await;
}

async fn eventually_counted(client: &Client) {
    let start = Instant::now();
    while client.get("/peek").await.text() != "1" {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not notice that Redis is back");
        tokio::task::yield_now().await;
    }
}
