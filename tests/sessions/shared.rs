//! Sessions on the server: what several requests at the same time do to one, and what nobody can do to it.

use super::*;
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

/// Sends that many requests at once, and waits until all are answered with 200.
async fn at_once(browser: &Browser, paths: impl IntoIterator<Item = String>) {
    let tasks: Vec<_> = paths
        .into_iter()
        .map(|path| {
            let (app, req) = (browser.app.clone(), browser.request(&path));
            tokio::spawn(async move { app.call(req).await.status() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
}

async fn set(session: Session, uri: purlin::Uri) -> Result<&'static str> {
    // The others read the session too before this one is written.
    tokio::task::yield_now().await;
    session.insert(uri.path(), &true)?;
    Ok("")
}

async fn keys(session: Session) -> String {
    session.keys().len().to_string()
}

on! { [in_memory in_sqlite in_postgres in_redis] {
    async fn two_hundred_requests_at_once_each_with_its_own_key_leave_two_hundred_keys(store) {
        let routes = routes().route("/set/{n}", get(set)).route("/keys", get(keys));
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes));
        browser.text("/set/0").await;
        at_once(&browser, (0..200).map(|n| format!("/set/{n}"))).await;
        assert_eq!(browser.text("/keys").await, "200");
    }

    async fn two_hundred_increments_at_once_leave_two_hundred(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/sign-in").await;
        at_once(&browser, (0..200).map(|_| "/count".to_owned())).await;
        assert_eq!(browser.text("/peek").await, "Some(200)");
    }

    async fn of_two_writes_to_the_same_key_that_of_the_later_answer_stays(store) {
        let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (says, waits) = (started.clone(), go.clone());
        let slow = move |session: Session| {
            let (says, waits) = (says.clone(), waits.clone());
            async move {
                session.insert("n", &5)?;
                says.notify_one();
                waits.notified().await;
                Ok::<_, Error>("")
            }
        };
        let quick = async |session: Session| session.insert("n", &2).map(|()| "");
        let routes = routes().route("/slow", get(slow)).route("/quick", get(quick));
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes));
        browser.text("/count").await;
        let (app, req) = (browser.app.clone(), browser.request("/slow"));
        let first = tokio::spawn(async move { app.call(req).await.status() });
        started.notified().await;
        browser.text("/quick").await;
        assert_eq!(browser.text("/peek").await, "Some(2)");
        go.notify_one();
        assert_eq!(first.await.unwrap(), 200);
        assert_eq!(browser.text("/peek").await, "Some(5)", "written first, and answered last");
    }

    async fn an_id_that_the_client_chose_is_never_taken(store) {
        let mut attacker = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        let chosen = format!("session={}", purlin::session::SessionId::random().unwrap());
        for path in ["/count", "/sign-in", "/flash"] {
            attacker.cookie = Some(chosen.clone());
            attacker.get(path).await;
            assert_ne!(attacker.cookie.as_ref(), Some(&chosen), "{path} begins a session of another id");
            attacker.cookie = Some(chosen.clone());
            assert_eq!(attacker.text("/show").await, "None ", "{path} leaves nothing under the one that was chosen");
        }
    }

    async fn a_planted_id_is_worth_nothing_after_sign_in(store) {
        let mut victim = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        victim.text("/count").await;
        let planted = victim.cookie.clone();
        victim.text("/sign-in").await;
        let mut attacker = victim.another();
        attacker.cookie.clone_from(&planted);
        assert_eq!(attacker.text("/peek").await, "Some(1)", "what he had");
        victim.text("/count").await;
        assert_eq!(attacker.text("/peek").await, "Some(1)", "and nothing from then on");
        assert_eq!(attacker.cookie, planted, "nor the new id");
    }

    async fn a_request_under_way_does_not_take_the_new_cookie_back(store) {
        let layer = Sessions::new(store).persistent(true);
        let mut browser = Browser::new(Stack::new().layer(layer).app(routes()));
        browser.text("/count").await;
        let mut under_way = browser.another();
        under_way.cookie.clone_from(&browser.cookie);
        browser.text("/sign-in").await;
        let response = under_way.get("/count").await;
        assert_eq!(set_cookie(&response), None, "the old one, set again, would sign the visitor out");
        assert_eq!(browser.text("/peek").await, "Some(2)", "and what it did is not lost");
    }

    async fn the_id_from_before_the_sign_in_opens_nothing_after_the_grace(store) {
        let clock = Arc::new(AtomicU64::new(1_800_000_000));
        let hand = clock.clone();
        let now = move || SystemTime::UNIX_EPOCH + Duration::from_secs(hand.load(Ordering::Relaxed));
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store).clock(now)).app(routes()));
        browser.text("/count").await;
        let mut old = browser.another();
        old.cookie.clone_from(&browser.cookie);
        browser.text("/sign-in").await;
        clock.fetch_add(9, Ordering::Relaxed);
        assert_eq!(old.text("/peek").await, "Some(1)");
        clock.fetch_add(1, Ordering::Relaxed);
        assert_eq!(old.text("/peek").await, "None");
        assert_eq!(browser.text("/peek").await, "Some(1)");
    }

    async fn signing_out_deletes_the_session_on_the_server(store) {
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes()));
        browser.text("/count").await;
        let mut cookies = vec![browser.cookie.clone()];
        browser.text("/sign-in").await;
        cookies.push(browser.cookie.clone());
        browser.text("/sign-out").await;
        for cookie in cookies {
            let mut thief = browser.another();
            thief.cookie = cookie;
            assert_eq!(thief.text("/peek").await, "None", "a copy of the cookie opens nothing");
            assert_eq!(thief.text("/count").await, "1", "nor does it bring the session back");
        }
    }

    async fn a_request_under_way_does_not_bring_back_what_was_signed_out(store) {
        let (held, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (says, waits) = (held.clone(), go.clone());
        let slow = move |session: Session| {
            let (says, waits) = (says.clone(), waits.clone());
            async move {
                session.rotate();
                session.increment("n", 1)?;
                says.notify_one();
                waits.notified().await;
                Ok::<_, Error>("")
            }
        };
        let mut browser =
            Browser::new(Stack::new().layer(Sessions::new(store)).app(routes().route("/slow", get(slow))));
        browser.text("/count").await;
        let cookie = browser.cookie.clone();
        let (app, req) = (browser.app.clone(), browser.request("/slow"));
        let under_way = tokio::spawn(async move { app.call(req).await });
        held.notified().await;
        browser.text("/sign-out").await;
        go.notify_one();
        let response = under_way.await.unwrap();
        assert_eq!(set_cookie(&response), None);
        browser.cookie = cookie;
        assert_eq!(browser.text("/peek").await, "None");
    }

    async fn a_handler_that_fails_leaves_what_another_request_did(store) {
        let shared = Arc::new(Mutex::new(()));
        let lock = shared.clone();
        let fails = move |session: Session| {
            let lock = lock.clone();
            async move {
                session.clear();
                let _done = lock.lock().await;
                Err::<String, _>(Error::internal("on purpose"))
            }
        };
        let routes = routes().route("/fails", get(fails));
        let mut browser = Browser::new(Stack::new().layer(Sessions::new(store)).app(routes));
        browser.text("/count").await;
        let meanwhile = shared.lock().await;
        let (app, req) = (browser.app.clone(), browser.request("/fails"));
        let failing = tokio::spawn(async move { app.call(req).await.status() });
        browser.text("/count").await;
        drop(meanwhile);
        assert_eq!(failing.await.unwrap(), 500);
        assert_eq!(browser.text("/peek").await, "Some(2)");
    }
} }
