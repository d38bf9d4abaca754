//! What every session store promises, as tests that run against any of them.

use super::{Changes, GRACE_SECONDS, Record, Save, Saved, SessionId, Store, Token, Values};
use std::collections::BTreeSet;
use std::sync::Arc;

const COOKIE: &str = "session";
const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 3600;

/// Runs every promise of [`Store`] against stores made by `make`, each of them empty or at least without the sessions
/// of the others.
///
/// No clock is needed, nor waited for: a store is told the time. What only a store on the server can promise is run
/// where [`Capabilities::shared`](super::Capabilities::shared) says so.
///
/// # Panics
///
/// At the first promise that is not kept, which the message names. Outside of a tokio runtime.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use purlin::session::{MemoryStore, contract::store_contract};
///
/// store_contract(async || MemoryStore::new()).await;
/// # });
/// ```
pub async fn store_contract<S: Store>(make: impl AsyncFn() -> S) {
    a_session_comes_back_as_it_was_saved(&make().await).await;
    a_token_that_opens_nothing_is_no_error(&make().await).await;
    changes_are_applied_to_what_is_there(&make().await).await;
    a_session_ends_at_its_time(&make().await).await;
    a_session_can_be_written_without_changes(&make().await).await;
    rotation_gives_a_new_token(&make().await).await;
    destroying_is_never_an_error(&make().await).await;
    let store = make().await;
    if store.capabilities().shared {
        a_large_session_is_kept_whole(&store).await;
        the_clients_token_is_never_adopted(&make().await).await;
        the_old_token_shows_nothing_new_and_ends_soon(&make().await).await;
        changes_under_way_follow_a_rotation(&make().await).await;
        changes_under_way_follow_every_rotation(&make().await).await;
        rotating_from_the_old_token_gives_nothing_of_the_new_session(&make().await).await;
        a_destroyed_session_does_not_come_back(&make().await).await;
        a_destroyed_session_is_gone_under_its_old_tokens_too(&make().await).await;
        changes_of_different_keys_at_once_all_survive(make().await).await;
        increments_at_once_are_all_counted(make().await).await;
        let store = make().await;
        if !store.capabilities().expires {
            ended_sessions_are_collected(&store).await;
        }
    }
}

impl<'a> Save<'a> {
    /// A new session with these values, from `NOW` for an hour.
    pub(super) fn new(cookie: &'a str, changes: &'a Changes, values: &'a Values) -> Self {
        Save {
            cookie,
            token: None,
            changes,
            values,
            created: NOW,
            expires: NOW + HOUR,
            rotate: false,
            now: NOW,
            max_token_bytes: 4000,
        }
    }
}

fn changes(make: impl FnOnce(&mut Changes)) -> Changes {
    let mut changes = Changes::new();
    make(&mut changes);
    changes
}

/// Saves a new session with what the changes make of nothing.
async fn begin(store: &impl Store, changes: &Changes) -> String {
    let mut values = Values::default();
    values.apply(changes);
    match store.save(Save::new(COOKIE, changes, &values)).await {
        Ok(Saved::Token(token)) => token,
        other => panic!("a new session is saved and has a token: {other:?}"),
    }
}

async fn load_at(store: &impl Store, token: &str, now: u64) -> Option<Record> {
    match store.load(Token::new(COOKIE, token), now).await {
        Ok(record) => record,
        Err(error) => panic!("a session can be loaded: {error:?}"),
    }
}

async fn load(store: &impl Store, token: &str) -> Option<Record> {
    load_at(store, token, NOW).await
}

async fn values(store: &impl Store, token: &str) -> Values {
    load(store, token).await.expect("the session is there").values
}

/// Saves changes the way a request does which loaded `before`.
async fn change(store: &impl Store, token: &str, before: &Record, changes: &Changes, rotate: bool) -> (Saved, String) {
    let mut values = before.values.clone();
    values.apply(changes);
    let save = Save {
        token: Some(Token::new(COOKIE, token)),
        created: before.created,
        expires: before.expires,
        rotate,
        ..Save::new(COOKIE, changes, &values)
    };
    let saved = store.save(save).await.unwrap_or_else(|error| panic!("changes can be saved: {error:?}"));
    let token = if let Saved::Token(new) = &saved { new.clone() } else { token.to_owned() };
    (saved, token)
}

fn assert_values(found: &Values, expected: &[(&str, &str)], promise: &str) {
    let found: Vec<_> = found.iter().collect();
    assert_eq!(found, expected, "{promise}");
}

async fn a_session_comes_back_as_it_was_saved(store: &impl Store) {
    let pairs = [
        ("", r#""an empty key""#),
        ("array", r#"[1,2.5,-3e300,null,true,{"a":[]}]"#),
        ("empty", r#""""#),
        ("key with\nspace, ; = \" \u{1f600}", "1"),
        ("large", "9223372036854775807"),
        ("text", r#""quote \" backslash \\ line\n \u0000 ü 😀""#),
        ("unicode ü", "\"ü\""),
    ];
    let made = changes(|c| pairs.iter().for_each(|(key, text)| c.set(*key, *text)));
    let token = begin(store, &made).await;
    assert!(
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
        "a token is made of letters, digits, - and _"
    );
    for _ in 0..2 {
        let record = load(store, &token).await.expect("a saved session is there");
        assert_values(&record.values, &pairs, "a session comes back as it was saved");
        assert_eq!((record.created, record.expires), (NOW, NOW + HOUR), "its times come back");
    }
    let other = begin(store, &changes(|c| c.set("other", "1"))).await;
    assert_ne!(token, other, "every session has its own token");
    assert_values(&values(store, &token).await, &pairs, "another session changes nothing in it");
}

async fn a_token_that_opens_nothing_is_no_error(store: &impl Store) {
    let token = begin(store, &changes(|c| c.set("k", "1"))).await;
    let first = if token.starts_with('A') { "B" } else { "A" };
    let forged = format!("{first}{}", &token[1..]);
    let junk = [
        String::new(),
        "A".into(),
        token[..token.len() - 1].into(),
        format!("{token}A"),
        format!("{token}="),
        forged,
        "A".repeat(32),
        "A".repeat(4096),
        "../../etc/passwd".into(),
        "' OR 1=1 --".into(),
        "*".into(),
        "%00%ff".into(),
        "üü😀".into(),
        "\0\r\n".into(),
    ];
    for token in junk {
        assert!(load(store, &token).await.is_none(), "the token {token:?} opens nothing");
        store.destroy(Token::new(COOKIE, &token)).await.expect("destroying nothing is no error");
    }
    assert!(load(store, &token).await.is_some(), "the true token still opens its session");
}

async fn changes_are_applied_to_what_is_there(store: &impl Store) {
    type Row = (fn(&mut Changes), &'static [(&'static str, &'static str)]);
    let steps: &[Row] = &[
        (|c| c.set("b", "2"), &[("a", "1"), ("b", "2"), ("word", "\"w\"")]),
        (|c| c.set("a", "[]"), &[("a", "[]"), ("b", "2"), ("word", "\"w\"")]),
        (|c| c.increment("b", -5), &[("a", "[]"), ("b", "-3"), ("word", "\"w\"")]),
        (|c| c.increment("n", 7), &[("a", "[]"), ("b", "-3"), ("n", "7"), ("word", "\"w\"")]),
        (|c| c.increment("word", 1), &[("a", "[]"), ("b", "-3"), ("n", "7"), ("word", "1")]),
        (|c| c.increment("n", i64::MAX), &[("a", "[]"), ("b", "-3"), ("n", "9223372036854775807"), ("word", "1")]),
        (
            |c| {
                c.remove("word");
                c.remove("never there");
            },
            &[("a", "[]"), ("b", "-3"), ("n", "9223372036854775807")],
        ),
        (
            |c| {
                c.clear();
                c.increment("n", 1);
                c.set("z", "0");
            },
            &[("n", "1"), ("z", "0")],
        ),
    ];
    let first = changes(|c| {
        c.set("a", "1");
        c.set("word", "\"w\"");
    });
    let mut token = begin(store, &first).await;
    for (row, (make, expected)) in steps.iter().enumerate() {
        let before = load(store, &token).await.expect("the session is there");
        token = change(store, &token, &before, &changes(make), false).await.1;
        assert_values(&values(store, &token).await, expected, &format!("changes are applied (row {row})"));
    }
    let before = load(store, &token).await.expect("the session is there");
    let (saved, token) = change(store, &token, &before, &changes(Changes::clear), false).await;
    match saved {
        Saved::Emptied => {}
        _ => assert_values(&values(store, &token).await, &[], "a cleared session holds nothing"),
    }
}

async fn a_session_ends_at_its_time(store: &impl Store) {
    let token = begin(store, &changes(|c| c.set("k", "1"))).await;
    assert!(load_at(store, &token, NOW + HOUR - 1).await.is_some(), "a session lives until its last second");
    assert!(load_at(store, &token, NOW + HOUR).await.is_none(), "a session has ended at its time");
    assert!(load_at(store, &token, NOW + 1000 * HOUR).await.is_none(), "a session has ended long after its time");
}

async fn a_session_can_be_written_without_changes(store: &impl Store) {
    let token = begin(store, &changes(|c| c.set("k", "1"))).await;
    let mut before = load(store, &token).await.expect("the session is there");
    before.expires += HOUR;
    let token = change(store, &token, &before, &Changes::new(), false).await.1;
    let after = load_at(store, &token, NOW + HOUR).await.expect("a session which is written lives longer");
    assert_eq!((after.created, after.expires), (NOW, NOW + 2 * HOUR), "a session written anew keeps its beginning");
    assert_values(&after.values, &[("k", "1")], "a session written anew keeps what it holds");
}

async fn rotation_gives_a_new_token(store: &impl Store) {
    let old = begin(store, &changes(|c| c.set("cart", "[7]"))).await;
    let before = load(store, &old).await.expect("the session is there");
    let (saved, new) = change(store, &old, &before, &changes(|c| c.set("user", "1")), true).await;
    assert!(matches!(saved, Saved::Token(_)) && new != old, "rotation gives a new token");
    let record = load(store, &new).await.expect("the new token opens the session");
    assert_values(&record.values, &[("cart", "[7]"), ("user", "1")], "rotation keeps what the session holds");
    assert_eq!((record.created, record.expires), (before.created, before.expires), "rotation keeps the times");
}

async fn destroying_is_never_an_error(store: &impl Store) {
    let token = begin(store, &changes(|c| c.set("k", "1"))).await;
    for _ in 0..2 {
        store.destroy(Token::new(COOKIE, &token)).await.expect("a session can be destroyed, also twice");
    }
}

async fn a_large_session_is_kept_whole(store: &impl Store) {
    let text = format!("\"{}\"", "x".repeat(256 << 10));
    let token = begin(store, &changes(|c| c.set("k", text.as_str()))).await;
    assert_values(&values(store, &token).await, &[("k", &text)], "256 KiB are kept");
}

async fn the_clients_token_is_never_adopted(store: &impl Store) {
    let chosen = SessionId::random().expect("randomness").to_string();
    assert!(load(store, &chosen).await.is_none(), "a token nobody was given opens nothing");
    let before = Record::new(Values::default(), NOW, NOW + HOUR);
    for rotate in [false, true] {
        let (saved, token) = change(store, &chosen, &before, &changes(|c| c.set("k", "1")), rotate).await;
        assert_eq!(saved, Saved::Gone, "a session that is not there cannot be changed");
        assert!(load(store, &token).await.is_none(), "no session is made under a token that the client chose");
    }
}

async fn the_old_token_shows_nothing_new_and_ends_soon(store: &impl Store) {
    let old = begin(store, &changes(|c| c.set("cart", "1"))).await;
    let before = load(store, &old).await.expect("the session is there");
    let new = change(store, &old, &before, &changes(|c| c.set("user", "1")), true).await.1;
    let after = load(store, &new).await.expect("the session is there");
    change(store, &new, &after, &changes(|c| c.set("secret", "1")), false).await;
    if let Some(record) = load_at(store, &old, NOW + GRACE_SECONDS - 1).await {
        assert_values(
            &record.values,
            &[("cart", "1")],
            "the old token shows the session as it was before the rotation",
        );
    }
    assert!(load_at(store, &old, NOW + GRACE_SECONDS).await.is_none(), "after the grace the old token opens nothing");
    assert!(load_at(store, &new, NOW + GRACE_SECONDS).await.is_some(), "after the grace the new token still opens it");
}

async fn changes_under_way_follow_a_rotation(store: &impl Store) {
    let old = begin(store, &changes(|c| c.set("a", "1"))).await;
    let before = load(store, &old).await.expect("the session is there");
    let new = change(store, &old, &before, &changes(|c| c.set("user", "1")), true).await.1;
    let under_way = Record { expires: NOW + GRACE_SECONDS, ..before };
    let (saved, _) = change(store, &old, &under_way, &changes(|c| c.set("b", "2")), false).await;
    assert_eq!(saved, Saved::Moved, "a request under way is saved, and does not learn the new token");
    let record = load(store, &new).await.expect("the session is there");
    let expected = [("a", "1"), ("b", "2"), ("user", "1")];
    assert_values(&record.values, &expected, "what a request under way changed is in the rotated session");
    assert_eq!(record.expires, NOW + HOUR, "a request under way does not shorten the rotated session");
}

async fn changes_under_way_follow_every_rotation(store: &impl Store) {
    let old = begin(store, &changes(|c| c.set("a", "1"))).await;
    let before = load(store, &old).await.expect("the session is there");
    let second = change(store, &old, &before, &changes(|c| c.set("user", "1")), true).await.1;
    let third = change(store, &second, &before, &changes(|c| c.set("admin", "1")), true).await.1;
    let (saved, _) = change(store, &old, &before, &changes(|c| c.set("b", "2")), false).await;
    assert_eq!(saved, Saved::Moved, "a request under way is saved, however often its session was rotated");
    let expected = [("a", "1"), ("admin", "1"), ("b", "2"), ("user", "1")];
    let found = values(store, &third).await;
    assert_values(&found, &expected, "what a request under way changed is in the session rotated twice");
    let found = values(store, &second).await;
    assert_values(&found, &[("a", "1"), ("user", "1")], "and not where that only passed through");
}

async fn rotating_from_the_old_token_gives_nothing_of_the_new_session(store: &impl Store) {
    let planted = begin(store, &changes(|c| c.set("cart", "1"))).await;
    let before = load(store, &planted).await.expect("the session is there");
    let new = change(store, &planted, &before, &changes(|c| c.set("user", "\"victim\"")), true).await.1;
    let (saved, third) = change(store, &planted, &before, &changes(|c| c.set("x", "1")), true).await;
    assert_ne!(third, new, "the new token is not given to whoever has the old one");
    if matches!(saved, Saved::Token(_)) {
        let found = values(store, &third).await;
        assert_eq!(found.get("user"), None, "rotating from the old token gives nothing of the new session");
    }
    let found = values(store, &new).await;
    assert_values(&found, &[("cart", "1"), ("user", "\"victim\"")], "the new session is left as it was");
}

async fn a_destroyed_session_does_not_come_back(store: &impl Store) {
    let token = begin(store, &changes(|c| c.set("k", "1"))).await;
    let before = load(store, &token).await.expect("the session is there");
    store.destroy(Token::new(COOKIE, &token)).await.expect("a session can be destroyed");
    assert!(load(store, &token).await.is_none(), "a destroyed session is gone");
    for rotate in [false, true] {
        let (saved, _) = change(store, &token, &before, &changes(|c| c.set("late", "1")), rotate).await;
        assert_eq!(saved, Saved::Gone, "a request under way does not bring a destroyed session back");
        assert!(load(store, &token).await.is_none(), "a destroyed session stays gone");
    }
}

async fn a_destroyed_session_is_gone_under_its_old_tokens_too(store: &impl Store) {
    let first = begin(store, &changes(|c| c.set("user", "1"))).await;
    let before = load(store, &first).await.expect("the session is there");
    let second = change(store, &first, &before, &Changes::new(), true).await.1;
    let third = change(store, &second, &before, &Changes::new(), true).await.1;
    store.destroy(Token::new(COOKIE, &third)).await.expect("a session can be destroyed");
    for old in [&first, &second, &third] {
        assert!(load(store, old).await.is_none(), "a destroyed session is gone under the tokens from before, too");
        for rotate in [false, true] {
            let (saved, _) = change(store, old, &before, &changes(|c| c.set("late", "1")), rotate).await;
            assert_eq!(saved, Saved::Gone, "and they do not bring it back");
        }
    }
}

/// So many at once.
const TASKS: usize = 200;

async fn at_once<S: Store>(store: &Arc<S>, token: &str, make: impl Fn(usize) -> Changes) {
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (store, token, made) = (store.clone(), token.to_owned(), make(task));
        tasks.push(tokio::spawn(async move {
            let before = load(&*store, &token).await.expect("the session is there");
            // The others load it too before this one writes.
            tokio::task::yield_now().await;
            let (saved, _) = change(&*store, &token, &before, &made, false).await;
            assert_eq!(saved, Saved::Kept, "changes at once are all saved");
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
}

async fn changes_of_different_keys_at_once_all_survive<S: Store>(store: S) {
    let store = Arc::new(store);
    let token = begin(&*store, &changes(|c| c.set("first", "1"))).await;
    at_once(&store, &token, |task| changes(|c| c.set(format!("key{task}"), task.to_string()))).await;
    let values = values(&*store, &token).await;
    let found: BTreeSet<_> = values.iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
    let mut expected: BTreeSet<_> = (0..TASKS).map(|task| (format!("key{task}"), task.to_string())).collect();
    expected.insert(("first".into(), "1".into()));
    let lost = expected.difference(&found).count();
    assert_eq!(lost, 0, "of {TASKS} requests at once which each set a key of their own, {lost} keys were lost");
    assert_eq!(found, expected, "and nothing else is in the session");
}

async fn increments_at_once_are_all_counted<S: Store>(store: S) {
    let store = Arc::new(store);
    let token = begin(&*store, &changes(|c| c.set("first", "1"))).await;
    at_once(&store, &token, |_| changes(|c| c.increment("n", 1))).await;
    let expected = TASKS.to_string();
    let expected = [("first", "1"), ("n", expected.as_str())];
    assert_values(&values(&*store, &token).await, &expected, "increments at once are all counted");
}

async fn ended_sessions_are_collected(store: &impl Store) {
    let made = changes(|c| c.set("k", "1"));
    let mut values = Values::default();
    values.apply(&made);
    for seconds in [10, 20, 30] {
        let save = Save { expires: NOW + seconds, ..Save::new(COOKIE, &made, &values) };
        store.save(save).await.expect("a session can be saved");
    }
    let living = begin(store, &made).await;
    let mut collected = Vec::new();
    for now in [NOW, NOW + 20, NOW + 20, NOW + 30] {
        collected.push(store.collect(now).await.expect("sessions can be collected"));
    }
    assert_eq!(collected, [0, 2, 0, 1], "what has ended is collected, once");
    assert!(load(store, &living).await.is_some(), "what lives is not collected");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Capabilities, MemoryStore, StoreError};

    /// Saves whole sessions, as most do.
    struct SavesAll(MemoryStore);

    impl Store for SavesAll {
        fn capabilities(&self) -> Capabilities {
            Capabilities::shared()
        }

        async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
            self.0.load(token, now).await
        }

        async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
            let all = changes(|c| {
                c.clear();
                save.values.iter().for_each(|(key, text)| c.set(key, text));
            });
            self.0.save(Save { changes: &all, ..save }).await
        }

        async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
            self.0.destroy(token).await
        }
    }

    #[tokio::test]
    #[should_panic = "of 200 requests at once which each set a key of their own, 199 keys were lost"]
    async fn a_store_that_saves_whole_sessions_is_found_out() {
        changes_of_different_keys_at_once_all_survive(SavesAll(MemoryStore::new())).await;
    }

    /// Gives a session back that has been moved, to whoever has the old token.
    struct KeepsOldTokens(MemoryStore);

    impl Store for KeepsOldTokens {
        fn capabilities(&self) -> Capabilities {
            Capabilities::shared()
        }

        async fn load(&self, token: Token<'_>, now: u64) -> Result<Option<Record>, StoreError> {
            self.0.load(token, now).await
        }

        async fn save(&self, save: Save<'_>) -> Result<Saved, StoreError> {
            self.0.save(Save { rotate: false, ..save }).await?;
            self.0.save(Save { token: None, ..save }).await
        }

        async fn destroy(&self, token: Token<'_>) -> Result<(), StoreError> {
            self.0.destroy(token).await
        }
    }

    #[tokio::test]
    #[should_panic = "the old token shows the session as it was before the rotation"]
    async fn a_store_that_leaves_the_old_token_open_is_found_out() {
        the_old_token_shows_nothing_new_and_ends_soon(&KeepsOldTokens(MemoryStore::new())).await;
    }
}
