//! Sessions: lazy, written as changes, in every store.

use purlin::config::{Secret, SecretKeys};
use purlin::layers::{AccessLog, ErrorPages, Sessions, Templates};
use purlin::request::Https;
use purlin::session::{
    Capabilities, CookieStore, LazySession, MemoryStore, Record, Save, Saved, Session, SessionError, Store, StoreError,
    Token,
};
use purlin::site::Life;
use purlin::template::{Engine, Page};
use purlin::{
    BoxService, Error, Middleware, Path, Redirect, Request, Response, ResponseExt, Result, Router, Service, Stack,
    StatusCode, View, get, handler, text,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn in_cookies(current: &str, old: &[&str]) -> CookieStore {
    CookieStore::new(&SecretKeys::new(Secret::new(current)).old(old.iter().copied().map(Secret::new).collect()))
}

/// What a browser does about one cookie.
struct Browser {
    app: BoxService,
    cookie: Option<String>,
    https: bool,
}

impl Browser {
    fn new(app: impl Service + 'static) -> Self {
        Self { app: BoxService::new(app), cookie: None, https: false }
    }

    /// Of another visitor.
    fn another(&self) -> Self {
        Self { app: self.app.clone(), cookie: None, https: false }
    }

    async fn get(&mut self, path: &str) -> Response {
        let response = self.app.call(self.request(path)).await;
        self.note(&response);
        response
    }

    fn request(&self, path: &str) -> Request {
        let mut req = Request::default();
        *req.uri_mut() = path.parse().unwrap();
        if let Some(cookie) = &self.cookie {
            req.headers_mut().insert("cookie", format!("theme=dark; {cookie}").parse().unwrap());
        }
        if self.https {
            req.extensions_mut().insert(Https);
        }
        req
    }

    fn note(&mut self, response: &Response) {
        if let Some(set) = set_cookie(response) {
            let pair = set.split(';').next().unwrap();
            self.cookie = (!set.contains("Max-Age=0;")).then(|| pair.to_owned());
        }
    }

    async fn text(&mut self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}: {:?}", response.error());
        body(response).await
    }
}

async fn body(response: Response) -> String {
    String::from_utf8(response.into_body().collect(1 << 20).await.unwrap().into()).unwrap()
}

fn set_cookie(response: &Response) -> Option<&str> {
    let mut all = response.headers().get_all("set-cookie").iter();
    let first = all.next().map(|value| value.to_str().unwrap());
    assert!(all.next().is_none(), "one session has one cookie");
    first
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn count(session: Session) -> Result<String> {
    Ok(session.increment("n", 1)?.to_string())
}

async fn show(session: Session) -> Result<String> {
    let flash = session.take_flash();
    let flash: Vec<_> = flash.iter().map(|flash| format!("{}={}", flash.kind, flash.message)).collect();
    Ok(format!("{:?} {}", session.get::<i64>("n")?, flash.join(" ")))
}

async fn peek(session: Session) -> Result<String> {
    Ok(format!("{:?}", session.get::<i64>("n")?))
}

async fn flash(session: Session) -> Redirect {
    session.flash("success", "Saved.");
    session.flash("info", "Second.");
    Redirect::see_other("/show")
}

async fn sign_in(session: Session) -> Result<&'static str> {
    session.rotate();
    session.insert("user", &7)?;
    Ok("")
}

async fn sign_out(session: Session) -> &'static str {
    session.destroy();
    ""
}

async fn sign_out_with_words(session: Session) -> &'static str {
    session.destroy();
    session.flash("info", "Bye.");
    ""
}

async fn fail(session: Session) -> Result<String> {
    session.increment("n", 100)?;
    Err(Error::not_found("no such page"))
}

async fn panics(session: Session) -> String {
    session.insert("n", &1000).unwrap();
    panic!("on purpose");
}

async fn answers_500(session: Session) -> Result<StatusCode> {
    session.increment("n", 100)?;
    Ok(StatusCode::BAD_GATEWAY)
}

async fn answers_422(session: Session) -> Result<StatusCode> {
    session.increment("n", 1)?;
    Ok(StatusCode::UNPROCESSABLE_ENTITY)
}

async fn fails_and_keeps(session: Session) -> Result<String> {
    session.keep_on_error();
    session.increment("n", 1)?;
    Err(Error::unauthorized("wrong password"))
}

fn routes() -> Router {
    Router::new()
        .route("/plain", get(async || "plain"))
        .route("/count", get(count))
        .route("/show", get(show))
        .route("/peek", get(peek))
        .route("/flash", get(flash))
        .route("/sign-in", get(sign_in))
        .route("/sign-out", get(sign_out))
        .route("/sign-out-with-words", get(sign_out_with_words))
        .route("/fail", get(fail))
        .route("/panic", get(panics))
        .route("/bad-gateway", get(answers_500))
        .route("/422", get(answers_422))
        .route("/fails-and-keeps", get(fails_and_keeps))
}

/// Counts what is asked of a store.
struct Counting<S> {
    store: S,
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl<S> Counting<S> {
    fn new(store: S) -> (Self, Arc<Mutex<Vec<&'static str>>>) {
        let asked = Arc::<Mutex<Vec<_>>>::default();
        (Self { store, asked: asked.clone() }, asked)
    }

    fn note(&self, what: &'static str) {
        self.asked.lock().unwrap().push(what);
    }
}

impl<S: Store> Store for Counting<S> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        self.note("load");
        self.store.load(token, now).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        self.note("save");
        self.store.save(save).await
    }

    async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
        self.note("destroy");
        self.store.destroy(token).await
    }
}

fn take(asked: &Mutex<Vec<&'static str>>) -> Vec<&'static str> {
    std::mem::take(&mut asked.lock().unwrap())
}

/// Runs the same tests on the kinds of stores; those that this machine has no server for are left out.
macro_rules! on {
    ([$($kind:ident)*] $tests:tt) => { $(on! { $kind $tests })* on! { tests $tests } };
    (tests { $(async fn $name:ident($store:ident) $body:block)* }) => { $(async fn $name($store: impl Store) $body)* };
    (in_a_cookie { $(async fn $name:ident($store:ident) $body:block)* }) => {
        mod in_a_cookie {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(in_cookies(SECRET, &[])).await; })*
        }
    };
    (in_memory { $(async fn $name:ident($store:ident) $body:block)* }) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(MemoryStore::new()).await; })*
        }
    };
    (in_redis { $(async fn $name:ident($store:ident) $body:block)* }) => {
        #[cfg(all(feature = "redis", unix))]
        mod in_redis {
            $(#[tokio::test] async fn $name() {
                if let Some(redis) = crate::servers::redis::store() {
                    super::$name(redis.store).await;
                }
            })*
        }
    };
    (in_sqlite { $(async fn $name:ident($store:ident) $body:block)* }) => {
        #[cfg(feature = "sqlite")]
        mod in_sqlite {
            $(#[tokio::test] async fn $name() {
                let folder = crate::servers::Folder::new();
                super::$name(purlin::session::SqliteStore::new(folder.path().join("sessions.db"))).await;
            })*
        }
    };
    (in_postgres { $(async fn $name:ident($store:ident) $body:block)* }) => {
        #[cfg(all(feature = "postgres", unix))]
        mod in_postgres {
            $(#[tokio::test] async fn $name() {
                if let Some(postgres) = crate::servers::postgres::store() {
                    super::$name(postgres.store()).await;
                }
            })*
        }
    };
}

/// Where the sessions are on the server.
mod shared;

on! { [in_a_cookie in_memory in_sqlite in_postgres in_redis] {
    async fn a_counter_counts(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        for expected in ["1", "2", "3"] {
            assert_eq!(browser.text("/count").await, expected);
        }
        let mut other = browser.another();
        assert_eq!(other.text("/count").await, "1");
        assert_eq!(browser.text("/peek").await, "Some(3)");
    }

    async fn an_untouched_session_costs_the_store_nothing(store) {
        let (store, asked) = Counting::new(store);
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/count").await;
        take(&asked);
        let response = browser.get("/plain").await;
        assert_eq!(take(&asked), [""; 0]);
        assert_eq!(set_cookie(&response), None);
        assert_eq!(header(&response, "vary"), None);
        assert_eq!(header(&response, "cache-control"), None);
    }

    async fn an_unchanged_session_is_not_written(store) {
        let (store, asked) = Counting::new(store);
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/count").await;
        assert_eq!(take(&asked), ["save"], "without a cookie there is nothing to load");
        let response = browser.get("/peek").await;
        assert_eq!(take(&asked), ["load"]);
        assert_eq!(set_cookie(&response), None);
        assert_eq!(header(&response, "vary"), Some("Cookie"));
        assert_eq!(header(&response, "cache-control"), Some("private, no-cache"));
    }

    async fn a_visitor_without_a_session_is_given_none_for_looking(store) {
        let (store, asked) = Counting::new(store);
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        let response = browser.get("/show").await;
        assert_eq!(take(&asked), [""; 0]);
        assert_eq!(set_cookie(&response), None);
        assert_eq!(header(&response, "vary"), Some("Cookie"));
        assert_eq!(header(&response, "cache-control"), None, "the page is the same for all without a session");
    }

    async fn a_message_survives_the_redirect_and_is_shown_once(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        assert_eq!(browser.get("/flash").await.status(), 303);
        assert_eq!(browser.text("/plain").await, "plain");
        assert_eq!(browser.text("/show").await, "None success=Saved. info=Second.");
        assert_eq!(browser.text("/show").await, "None ");
    }

    async fn a_message_is_kept_when_its_page_fails(store) {
        async fn shows_and_fails(session: Session) -> Result<String> {
            assert_eq!(session.take_flash().len(), 2);
            Err(Error::internal("the template is broken"))
        }
        let routes = routes().route("/broken", get(shows_and_fails));
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes));
        browser.get("/flash").await;
        assert_eq!(browser.get("/broken").await.status(), 500);
        assert_eq!(browser.text("/show").await, "None success=Saved. info=Second.");
    }

    async fn a_message_left_by_the_page_itself_is_shown_on_it(store) {
        async fn at_once(session: Session) -> String {
            session.flash("info", "now");
            format!("{}", session.take_flash().len())
        }
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(handler(at_once)));
        let response = browser.get("/").await;
        assert_eq!(set_cookie(&response), None, "nothing is left to be kept");
        assert_eq!(body(response).await, "1");
    }

    async fn a_failure_leaves_the_session_as_it_was(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/count").await;
        for (path, status) in [("/fail", 404), ("/panic", 500), ("/bad-gateway", 502)] {
            let response = browser.get(path).await;
            assert_eq!(response.status(), status);
            assert_eq!(set_cookie(&response), None, "{path}");
            assert_eq!(browser.text("/peek").await, "Some(1)", "{path}");
        }
    }

    async fn a_failure_that_asks_for_it_is_remembered(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        assert_eq!(browser.get("/fails-and-keeps").await.status(), 401);
        assert_eq!(browser.get("/fails-and-keeps").await.status(), 401);
        assert_eq!(browser.text("/peek").await, "Some(2)");
    }

    async fn a_page_that_answers_422_has_not_failed(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        assert_eq!(browser.get("/422").await.status(), 422);
        assert_eq!(browser.text("/peek").await, "Some(1)");
    }

    async fn signing_in_changes_the_cookie_and_keeps_the_session(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/count").await;
        let before = browser.cookie.clone();
        browser.text("/sign-in").await;
        assert_ne!(browser.cookie, before);
        assert_eq!(browser.text("/peek").await, "Some(1)");
    }

    async fn signing_out_forgets_the_session(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/count").await;
        let response = browser.get("/sign-out").await;
        let expected = "session=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax";
        assert_eq!(set_cookie(&response), Some(expected));
        assert_eq!(browser.text("/peek").await, "None");
        assert_eq!(browser.text("/sign-out").await, "", "twice is no error");
    }

    async fn words_of_farewell_begin_a_session_of_their_own(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/count").await;
        let before = browser.cookie.clone();
        browser.text("/sign-out-with-words").await;
        assert_ne!(browser.cookie, before);
        assert_eq!(browser.text("/show").await, "None info=Bye.");
    }

    async fn junk_in_the_cookie_is_no_session(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/count").await;
        let good = browser.cookie.clone().unwrap();
        let forged = format!("{}{}", &good[..good.len() - 2], if good.ends_with("AA") { "BB" } else { "AA" });
        let (short, long) = (&good[..good.len() - 1], &good.repeat(40));
        for cookie in ["session=", "session=x", "session=\"\"", "session=é", &forged, short, long] {
            browser.cookie = Some(cookie.to_owned());
            assert_eq!(browser.text("/peek").await, "None", "{cookie}");
            assert_eq!(browser.cookie.as_deref(), Some(cookie), "a cookie that opens nothing is left alone");
        }
        browser.cookie = Some(format!("{forged}; other=1"));
        assert_eq!(browser.text("/count").await, "1", "a new session takes its place");
    }

    async fn the_cookie_is_kept_from_scripts_and_other_sites(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        let response = browser.get("/count").await;
        let set = set_cookie(&response).unwrap();
        assert!(set.starts_with("session=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
        browser.https = true;
        let response = browser.get("/count").await;
        let set = set_cookie(&response).unwrap();
        assert!(set.starts_with("__Host-session="), "{set}");
        assert!(set.ends_with("; Path=/; HttpOnly; Secure; SameSite=Lax"), "{set}");
        assert_eq!(body(response).await, "1", "a session from plain http, which may have been planted, is not taken over");
    }

    async fn options_shape_the_cookie(store) {
        let layer = Sessions::new(store)
            .https(true)
            .path("/app")
            .same_site(purlin::cookie::SameSite::Strict)
            .persistent(true)
            .idle(Duration::from_secs(3600));
        let mut browser = Browser::new(Stack::new().layer(layer).app(routes()));
        let response = browser.get("/count").await;
        let set = set_cookie(&response).unwrap();
        assert!(set.starts_with("__Secure-session="), "{set}");
        assert!(set.ends_with("; Path=/app; Max-Age=3600; HttpOnly; Secure; SameSite=Strict"), "{set}");
    }

    async fn the_answers_own_caching_words_stand(store) {
        async fn own(session: Session) -> Result<Response> {
            session.insert("n", &1)?;
            let response = text("").with_header(purlin::header::CACHE_CONTROL, "no-store".parse()?);
            Ok(response.with_header(purlin::header::VARY, "accept, COOKIE".parse()?))
        }
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(handler(own)));
        let response = browser.get("/").await;
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        assert_eq!(response.headers().get_all("vary").iter().count(), 1);
    }

    async fn handles_of_one_request_share_the_session(store) {
        async fn two(first: Session, mut req: Request) -> Result<String> {
            let second: Session = purlin::RequestExt::extract(&mut req).await?;
            first.insert("a", "1")?;
            tokio::task::yield_now().await;
            let third = LazySession::of(&req)?.load().await?;
            let other = tokio::spawn(async move { third.insert("b", "2") });
            other.await??;
            second.remove("a");
            Ok(format!("{:?} {:?}", first.keys(), first.contains("a")))
        }
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(handler(two)));
        assert_eq!(browser.text("/").await, r#"["b"] false"#);
    }

    async fn values_are_typed(store) {
        #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
        struct Cart { items: Vec<(u32, String)>, note: Option<String> }
        async fn typed(session: Session) -> Result<String> {
            let cart = Cart { items: vec![(1, "tea".into())], note: None };
            if session.get::<Cart>("cart")?.is_none() {
                session.insert("cart", &cart)?;
            }
            assert_eq!(session.get::<Cart>("cart")?, Some(cart));
            let error = session.get::<u8>("cart").unwrap_err();
            assert_eq!(error.to_string(), r#"session value "cart": expected u8, found an object"#);
            let error = session.increment("cart", 1).unwrap_err();
            assert_eq!(error.to_string(), r#"session value "cart": expected an integer to add to, found an object"#);
            let unit: std::collections::HashMap<(u8, u8), u8> = [((1, 1), 1)].into();
            assert!(matches!(session.insert("map", &unit), Err(SessionError::Write { .. })));
            for own in ["_flash:x", "_account", "_csrf", "_"] {
                assert!(matches!(session.insert(own, "x"), Err(SessionError::Reserved { .. })), "{own}");
                assert!(matches!(session.increment(own, 1), Err(SessionError::Reserved { .. })), "{own}");
            }
            assert_eq!(session.increment("i", i64::MAX)?, i64::MAX);
            assert_eq!(session.increment("i", 1)?, i64::MAX);
            session.clear();
            session.insert("after", &true)?;
            assert_eq!(session.keys(), ["after"]);
            Ok(format!("{session:?}"))
        }
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(handler(typed)));
        assert_eq!(browser.text("/").await, r#"Session { keys: {"after"}, changes: {"*": remove, "after": set}, .. }"#);
        browser.text("/").await;
    }

    async fn a_session_ends_when_it_is_idle_or_old(store) {
        let clock = Arc::new(AtomicU64::new(1_800_000_000));
        let hand = clock.clone();
        let now = move || SystemTime::UNIX_EPOCH + Duration::from_secs(hand.load(Ordering::Relaxed));
        let (store, asked) = Counting::new(store);
        let layer =
            Sessions::new(store).clock(now).idle(Duration::from_secs(1000)).lifetime(Duration::from_secs(3000));
        let mut browser = Browser::new(Stack::new().layer(layer).app(routes()));
        browser.text("/count").await;
        // Seconds since the last request; what is seen; whether it is renewed.
        let steps = [
            (99, "Some(1)", false),
            (2, "Some(1)", true),
            (999, "Some(1)", true),
            (999, "Some(1)", true),
            // 2099 s old: from here the lifetime is what ends it, and nothing can be renewed beyond.
            (899, "Some(1)", false),
            (1, "Some(1)", false),
            (1, "None", false),
        ];
        for (row, (seconds, seen, renewed)) in steps.into_iter().enumerate() {
            take(&asked);
            clock.fetch_add(seconds, Ordering::Relaxed);
            assert_eq!(browser.text("/peek").await, seen, "row {row}");
            let expected: &[&str] = if renewed { &["load", "save"] } else { &["load"] };
            assert_eq!(take(&asked), expected, "row {row}");
        }
        browser.text("/count").await;
        clock.fetch_add(1000, Ordering::Relaxed);
        assert_eq!(browser.text("/peek").await, "None");
    }

    async fn an_answer_that_has_left_takes_its_session_along(store) {
        let kept = Arc::<Mutex<Option<Session>>>::default();
        let keep = kept.clone();
        let handler = handler(move |session: Session| {
            *keep.lock().unwrap() = Some(session);
            async { "" }
        });
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(handler));
        browser.text("/").await;
        let late = kept.lock().unwrap().take().unwrap();
        assert!(matches!(late.insert("k", &1), Err(SessionError::Closed { .. })));
        assert!(matches!(late.increment("k", 1), Err(SessionError::Closed { .. })));
        late.flash("info", "lost, and logged");
        assert!(late.is_empty());
    }
} }

#[tokio::test]
async fn only_a_session_on_the_server_has_an_id() {
    async fn id(session: Session) -> Result<String> {
        session.insert("k", &1)?;
        Ok(session.id().map(|id| id.to_string()).unwrap_or_default())
    }
    let mut browser = Browser::new(Stack::new().layer(Sessions::new(MemoryStore::new())).app(handler(id)));
    assert_eq!(browser.text("/").await, "");
    let cookie = browser.cookie.clone().unwrap();
    assert_eq!(format!("session={}", browser.text("/").await), cookie);
    let mut browser = Browser::new(Stack::new().layer(Sessions::new(in_cookies(SECRET, &[]))).app(handler(id)));
    assert_eq!(browser.text("/").await, "");
    assert_eq!(browser.text("/").await, "");
}

#[tokio::test]
async fn a_session_too_large_for_its_cookie_is_an_error_that_says_why() {
    async fn large(session: Session) -> Result<&'static str> {
        session.insert("cart", &"x".repeat(5000))?;
        Ok("")
    }
    let mut browser = Browser::new(Stack::new().layer(Sessions::new(in_cookies(SECRET, &[]))).app(handler(large)));
    let response = browser.get("/").await;
    assert_eq!(response.status(), 500);
    let error = format!("{:#}", response.error().unwrap());
    assert!(error.starts_with("saving the session: the session is too large for a cookie: 6"), "{error}");
    assert!(error.contains(r#"most is taken by "cart" (5006 bytes)"#), "{error}");
}

/// What a cookie cannot do: nobody on the server knows that its session has ended. Stores on the server refuse it, see
/// `shared::signing_out_deletes_the_session_on_the_server`.
#[tokio::test]
async fn a_copy_of_a_cookie_from_before_the_sign_out_opens_its_session_until_that_expires() {
    let clock = Arc::new(AtomicU64::new(1_800_000_000));
    let hand = clock.clone();
    let now = move || SystemTime::UNIX_EPOCH + Duration::from_secs(hand.load(Ordering::Relaxed));
    let layer = Sessions::new(in_cookies(SECRET, &[])).clock(now);
    let layer = layer.idle(Duration::from_secs(1000)).lifetime(Duration::from_secs(3000));
    let mut browser = Browser::new(Stack::new().layer(layer).app(routes()));
    browser.text("/count").await;
    browser.text("/sign-in").await;
    let (mut once, mut again) = (browser.another(), browser.another());
    once.cookie.clone_from(&browser.cookie);
    again.cookie.clone_from(&browser.cookie);
    browser.text("/sign-out").await;
    assert_eq!(browser.text("/peek").await, "None", "the browser has forgotten it");
    let copy = once.cookie.clone();
    // Seconds since the sign-out; what is seen by a copy that stays as it was, and by one that is used and so renewed.
    for (seconds, unused, used) in [(0, "Some(1)", "Some(1)"), (999, "Some(1)", "Some(1)"), (1000, "None", "Some(1)")] {
        clock.store(1_800_000_000 + seconds, Ordering::Relaxed);
        once.cookie.clone_from(&copy);
        assert_eq!(once.text("/peek").await, unused, "after {seconds} s");
        assert_eq!(again.text("/peek").await, used, "after {seconds} s");
    }
    clock.store(1_800_001_990, Ordering::Relaxed);
    assert_eq!(again.text("/peek").await, "Some(1)");
    // Its lifetime ends it in any case.
    for (seconds, used) in [(2989, "Some(1)"), (3000, "None")] {
        clock.store(1_800_000_000 + seconds, Ordering::Relaxed);
        assert_eq!(again.text("/peek").await, used, "after {seconds} s");
    }
}

#[tokio::test]
async fn the_largest_cookie_is_one_that_browsers_keep() {
    async fn large(session: Session, uri: purlin::Uri) -> Result<&'static str> {
        session.insert("k", &"x".repeat(uri.path()[1..].parse()?))?;
        Ok("")
    }
    let layer = Sessions::new(in_cookies(SECRET, &[])).https(true).persistent(true);
    let mut browser = Browser::new(Stack::new().layer(layer).app(handler(large)));
    let mut longest = 0;
    for bytes in 2800..3100 {
        let response = browser.get(&format!("/{bytes}")).await;
        let Some(set) = set_cookie(&response) else { break };
        longest = set.len();
    }
    assert!((4093..=4096).contains(&longest), "{longest} bytes");
}

#[tokio::test]
async fn a_new_secret_takes_over_the_sessions_of_the_old_one() {
    let old = "fedcba9876543210fedcba9876543210";
    let app = |store| Stack::new().layer(Sessions::new(store)).app(routes());
    let mut before = Browser::new(app(in_cookies(old, &[])));
    before.text("/count").await;
    let mut after = Browser::new(app(in_cookies(SECRET, &[old])));
    after.cookie = before.cookie;
    assert_eq!(after.text("/peek").await, "Some(1)");
    let mut later = Browser::new(app(in_cookies(SECRET, &[])));
    later.cookie = after.cookie;
    assert_eq!(later.text("/peek").await, "Some(1)", "reading it sealed it anew");
}

/// A store that is down, from the given call on.
struct Down(&'static str);

impl Store for Down {
    fn capabilities(&self) -> Capabilities {
        Capabilities::shared()
    }

    async fn load(&self, _: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        match self.0 {
            "load" => Err(StoreError::Unavailable("connection refused".into())),
            _ => Ok(Some(Record::new(Default::default(), now, now + 3600))),
        }
    }

    async fn save(&self, _: Save<'_>) -> Result<Saved, StoreError> {
        Err(StoreError::Unavailable("connection reset".into()))
    }

    async fn destroy(&self, _: Token<'_>) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("connection reset".into()))
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_503_with_its_cause() {
    async fn without(session: Option<Session>) -> String {
        session.is_some().to_string()
    }
    let table = [
        ("load", "/peek", "loading the session: the session store is unavailable: connection refused"),
        ("save", "/count", "saving the session: the session store is unavailable: connection reset"),
        ("destroy", "/sign-out", "saving the session: the session store is unavailable: connection reset"),
    ];
    for (down, path, expected) in table {
        let routes = routes().route("/without", get(without));
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(Down(down))).app(routes));
        browser.cookie = Some("session=x".into());
        let response = browser.get(path).await;
        assert_eq!(response.status(), 503, "{down}");
        assert_eq!(format!("{:#}", response.error().unwrap()), expected);
        assert_eq!(browser.text("/plain").await, "plain", "pages that need no session are there");
        let seen = browser.text("/without").await;
        assert_eq!(seen, (down != "load").to_string(), "a page is not lost because its session could not be renewed");
        let response = browser.get("/fails-and-keeps").await;
        let status = if down == "load" { 503 } else { 401 };
        assert_eq!(response.status(), status, "the first failure is the one that is told");
    }
}

/// A store with a switch.
struct Switched {
    store: MemoryStore,
    down: Arc<AtomicBool>,
}

impl Switched {
    fn new() -> (Self, Arc<AtomicBool>) {
        let down = Arc::<AtomicBool>::default();
        (Self { store: MemoryStore::new(), down: down.clone() }, down)
    }

    fn ask(&self) -> Result<&MemoryStore, StoreError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("connection refused".into()));
        }
        Ok(&self.store)
    }
}

impl Store for Switched {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
        self.ask()?.load(token, now).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
        self.ask()?.save(save).await
    }

    async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
        self.ask()?.destroy(token).await
    }
}

#[tokio::test]
async fn while_the_store_is_down_visitors_may_be_shown_the_site_as_strangers() {
    async fn look(session: Session) -> Result<String> {
        let id = session.id().map(|_| "known").unwrap_or("unknown");
        Ok(format!("{:?} {} {} {id}", session.get::<i64>("n")?, session.is_unavailable(), session.is_new()))
    }
    let (store, down) = Switched::new();
    let layer = Sessions::new(store).anonymous_when_down(true);
    let app = Stack::new().layer(layer).app(routes().route("/look", get(look)));
    let mut browser = Browser::new(app);
    browser.text("/count").await;
    let cookie = browser.cookie.clone();
    assert_eq!(browser.text("/look").await, "Some(1) false false known");

    down.store(true, Ordering::Relaxed);
    let response = browser.get("/look").await;
    assert_eq!(header(&response, "cache-control"), Some("private, no-cache"), "no cache keeps it for this visitor");
    assert_eq!(body(response).await, "None true false unknown");
    assert_eq!(browser.another().text("/look").await, "None false true unknown", "strangers are asked for nothing");
    let changed = "saving the session: its changes cannot be written, since it could not be read: loading the \
                   session: the session store is unavailable: connection refused";
    let refused = "saving the session: the session store is unavailable: connection refused";
    for (path, expected) in
        [("/count", changed), ("/sign-in", changed), ("/sign-out", refused), ("/sign-out-with-words", refused)]
    {
        let response = browser.get(path).await;
        assert_eq!(response.status(), 503, "{path}");
        assert_eq!(format!("{:#}", response.error().unwrap()), expected, "{path}");
        assert_eq!(set_cookie(&response), None, "{path}");
    }
    assert_eq!(browser.get("/fail").await.status(), 404, "a failure of the page's own is told");
    assert_eq!(browser.another().get("/count").await.status(), 503, "nor can a session begin");

    down.store(false, Ordering::Relaxed);
    assert_eq!(browser.cookie, cookie);
    assert_eq!(browser.text("/look").await, "Some(1) false false known", "the session is as it was");
}

#[tokio::test]
async fn a_store_that_comes_back_during_a_request_gives_nobody_a_second_session() {
    let (store, down) = Switched::new();
    let back = down.clone();
    let returns = move |session: Session, uri: purlin::Uri| {
        let back = back.clone();
        async move {
            back.store(false, Ordering::Relaxed);
            match uri.path() {
                "/out" => session.destroy(),
                _ => session.insert("n", &7)?,
            }
            Ok::<_, Error>("")
        }
    };
    let routes = routes().route("/back", get(returns.clone())).route("/out", get(returns));
    let layer = Sessions::new(store).anonymous_when_down(true);
    let mut browser = Browser::new(Stack::new().layer(layer).app(routes));
    browser.text("/count").await;
    let cookie = browser.cookie.clone();
    down.store(true, Ordering::Relaxed);
    assert_eq!(browser.get("/back").await.status(), 503);
    assert_eq!(browser.cookie, cookie);
    assert_eq!(browser.text("/peek").await, "Some(1)");
    down.store(true, Ordering::Relaxed);
    browser.text("/out").await;
    assert_eq!(browser.cookie, None, "whoever signs out is signed out");
    browser.cookie = cookie;
    assert_eq!(browser.text("/peek").await, "None", "on the server");
}

#[tokio::test]
async fn a_layer_above_the_handler_may_read_the_session_later() {
    struct Shows;
    impl Middleware for Shows {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            let session = LazySession::of(&req)?;
            let mut response = next.call(req).await;
            if session.is_sent() {
                let flash = session.load().await?.take_flash();
                *response.body_mut() = format!("{} messages", flash.len()).into();
            }
            Ok(response)
        }
    }
    let mut browser = Browser::new(Stack::new().layer(Sessions::new(MemoryStore::new())).layer(Shows).app(routes()));
    assert_eq!(browser.text("/plain").await, "plain");
    browser.get("/flash").await;
    assert_eq!(browser.text("/plain").await, "2 messages");
    assert_eq!(browser.text("/plain").await, "0 messages");
}

#[tokio::test]
async fn one_that_is_kept_after_the_answer_stays_its_visitors() {
    static KEPT: Mutex<Vec<LazySession>> = Mutex::new(Vec::new());
    struct Keeps;
    impl Middleware for Keeps {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            KEPT.lock().unwrap().push(LazySession::of(&req)?);
            Ok(next.call(req).await)
        }
    }
    async fn name(session: Session, Path(name): Path<String>) -> Result<String> {
        session.insert("name", &name)?;
        Ok(name)
    }
    let routes = Router::new().route("/name/{name}", get(name)).route("/plain", get(async || text("plain")));
    let first = Browser::new(Stack::new().layer(Sessions::new(MemoryStore::new())).layer(Keeps).app(routes));
    let mut browsers = [first.another(), first.another(), first];
    browsers[0].get("/name/Ann").await;
    browsers[1].get("/name/Bob").await;
    KEPT.lock().unwrap().clear();
    // Nobody reads these sessions while they are answered; the third has none, and the first comes again.
    for at in [0, 1, 2, 0] {
        browsers[at].get("/plain").await;
    }
    let kept = std::mem::take(&mut *KEPT.lock().unwrap());
    let mut names = Vec::new();
    for session in kept {
        names.push(session.load().await.unwrap().get::<String>("name").unwrap());
    }
    assert_eq!(names, [Some("Ann".into()), Some("Bob".into()), None, Some("Ann".into())]);
}

/// Shows the names that its template is made of.
struct Words;

impl Engine for Words {
    fn render(&self, page: &Page<'_>) -> Result<String> {
        Ok(serde_json::to_string(&page.to_json()?)?)
    }

    fn contains(&self, _: &str) -> bool {
        true
    }

    fn uses<'n>(&self, template: &str, names: &[&'n str]) -> Vec<&'n str> {
        names.iter().copied().filter(|name| template.contains(name)).collect()
    }
}

#[tokio::test]
async fn a_template_takes_the_messages_only_where_it_shows_them() {
    let pages = || {
        let page = get(async || View::new("flash", ()));
        routes().route("/page", page).route("/other-page", get(async || View::new("without", ())))
    };
    let (store, asked) = Counting::new(MemoryStore::new());
    let app = Stack::new().layer(Sessions::new(store)).layer(Templates::new(Words)).app(pages());
    let mut browser = Browser::new(app);
    browser.get("/flash").await;
    take(&asked);
    let response = browser.get("/other-page").await;
    assert_eq!(header(&response, "vary"), None);
    assert_eq!(take(&asked), [""; 0], "a page without messages reads no session");
    let expected = r#"{"flash":[{"kind":"success","message":"Saved."},{"kind":"info","message":"Second."}]}"#;
    assert_eq!(browser.text("/page").await, expected);
    assert_eq!(browser.text("/page").await, r#"{"flash":[]}"#);
    // Pages are shown to everybody while the store is down, and without sessions altogether.
    let app = Stack::new().layer(Sessions::new(Down("load"))).layer(Templates::new(Words)).app(pages());
    let mut browser = Browser::new(app);
    browser.cookie = Some("session=x".into());
    assert_eq!(browser.text("/page").await, r#"{"flash":[]}"#);
    let mut browser = Browser::new(Stack::new().layer(Templates::new(Words)).app(pages()));
    assert_eq!(browser.text("/page").await, r#"{"flash":[]}"#);
}

#[tokio::test]
async fn a_cookie_split_by_http_2_is_found() {
    let mut browser = Browser::new(Stack::new().layer(Sessions::new(MemoryStore::new())).app(routes()));
    browser.text("/count").await;
    let mut req = browser.another().request("/peek");
    *req.version_mut() = purlin::http::Version::HTTP_2;
    for pair in ["theme=dark", &browser.cookie.clone().unwrap()] {
        req.headers_mut().append("cookie", pair.parse().unwrap());
    }
    assert_eq!(body(browser.app.call(req).await).await, "Some(1)");
}

#[tokio::test]
async fn a_handler_without_the_layer_is_found_when_the_site_starts() {
    let error = Stack::new().app(routes()).check().unwrap_err().to_string();
    assert!(
        error.contains("needs `Session`, which no layer above it provides: add `.layer(Sessions::new(…))`"),
        "{error}"
    );
    assert_eq!(Browser::new(routes()).get("/peek").await.status(), 500);
}

#[tokio::test]
async fn what_a_browser_would_refuse_is_told_when_the_site_starts() {
    let layer = || Sessions::new(MemoryStore::new());
    let table = [
        (layer().cookie_name("my session"), r#"the layer Sessions: cookie name "my session""#),
        (layer().path("app"), r#"the layer Sessions: path of cookie "session""#),
        (layer().cookie_name("__Host-id").path("/app"), r#"the layer Sessions: cookie "__Host-id": browsers accept"#),
        (
            Sessions::new(in_cookies("short", &[])),
            "the layer Sessions: the secret of the session cookie: expected a secret",
        ),
        (
            Sessions::new(in_cookies(SECRET, &["old"])),
            "the layer Sessions: the secret of the session cookie: expected a secret",
        ),
    ];
    for (layer, expected) in table {
        let error = Life::start(&Stack::new().layer(layer).app(routes())).unwrap_err();
        assert!(format!("{error:#}").starts_with(expected), "{error:#}");
    }
    for good in [layer(), layer().cookie_name("__Host-id"), layer().same_site(purlin::cookie::SameSite::None)] {
        Life::start(&Stack::new().layer(good).app(routes())).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn ended_sessions_are_collected_while_the_site_lives() {
    let store = Arc::new(MemoryStore::new());
    let clock = Arc::new(AtomicU64::new(1_800_000_000));
    let hand = clock.clone();
    let now = move || SystemTime::UNIX_EPOCH + Duration::from_secs(hand.load(Ordering::Relaxed));
    let layer = Sessions::new(store.clone()).clock(now).idle(Duration::from_secs(10));
    let mut browser = Browser::new(Stack::new().layer(layer).app(routes()));
    let life = Life::start(&browser.app).unwrap();
    browser.text("/count").await;
    clock.fetch_add(10, Ordering::Relaxed);
    assert_eq!(store.len(), 1);
    // Of the paused clock: it passes at once, and the site's own work runs meanwhile.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(store.len(), 0);
    assert!(life.end(Duration::from_secs(1)).await.is_empty(), "it ends with the site");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ends_sessions_itself_is_not_asked_to() {
    struct Expiring(Arc<AtomicU64>);
    impl Store for Expiring {
        fn capabilities(&self) -> Capabilities {
            Capabilities::expiring()
        }

        async fn load(&self, _: Token<'_>, _: u64) -> Result<Option<Record>, StoreError> {
            Ok(None)
        }

        async fn save(&self, _: Save<'_>) -> Result<Saved, StoreError> {
            Ok(Saved::Gone)
        }

        async fn destroy(&self, _: Token<'_>) -> Result<(), StoreError> {
            Ok(())
        }

        async fn collect(&self, _: u64) -> Result<u64, StoreError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(0)
        }
    }
    let collected = Arc::<AtomicU64>::default();
    let life = Life::start(&Stack::new().layer(Sessions::new(Expiring(collected.clone()))).app(routes())).unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(life.end(Duration::from_secs(1)).await.is_empty());
    assert_eq!(collected.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn why_the_store_is_down_is_in_the_log_and_not_on_the_page() {
    let log = |layer: Sessions, path: &'static str| async move {
        let lines = crate::access_log::Lines::default();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let stack = Stack::new().layer(AccessLog::new()).layer(ErrorPages::new()).layer(layer);
        let mut browser = Browser::new(stack.app(routes()));
        browser.cookie = Some("session=x".into());
        let response = browser.get(path).await;
        let page = format!("{} {}", response.status(), body(response).await);
        assert!(!page.contains("refused") && !page.contains("reset"), "{page}");
        (page, lines.text())
    };
    let (page, lines) = log(Sessions::new(Down("load")), "/peek").await;
    assert!(page.starts_with("503"), "{page}");
    let cause = "loading the session: the session store is unavailable: connection refused";
    assert!(lines.contains("status=503") && lines.contains(cause), "{lines}");
    let (page, lines) = log(Sessions::new(Down("save")), "/count").await;
    assert!(page.starts_with("503"), "{page}");
    assert!(lines.contains("saving the session: the session store is unavailable: connection reset"), "{lines}");
    let (page, lines) = log(Sessions::new(Down("load")).anonymous_when_down(true), "/peek").await;
    assert_eq!(page, "200 OK None");
    assert!(lines.contains("ERROR") && lines.contains(cause), "{lines}");
}

#[test]
fn the_stack_prints_the_sessions_and_no_secret() {
    let app = Stack::new().layer(Sessions::new(in_cookies(SECRET, &[])).persistent(true)).app(routes());
    let table = app.check().unwrap().stack_table();
    assert!(table.contains("store=CookieStore  cookie=session  idle=14d  lifetime=90d  persistent=true\n"), "{table}");
    let layer = Sessions::new(in_cookies(SECRET, &[])).https(true).anonymous_when_down(true);
    assert!(!format!("{layer:?}").contains(SECRET));
    let table = Stack::new().layer(layer).app(routes()).check().unwrap().stack_table();
    assert!(table.contains("  https=true  anonymous_when_down=true\n"), "{table}");
}

#[test]
fn a_shared_store_is_printed_by_its_own_name() {
    let layer = Sessions::new(Arc::new(Arc::new(MemoryStore::new())));
    let table = Stack::new().layer(layer).app(routes()).check().unwrap().stack_table();
    assert!(table.contains("store=MemoryStore  "), "{table}");
}
