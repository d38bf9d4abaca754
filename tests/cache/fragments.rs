//! Fragments of templates: markup that is made once, escaped once, and nobody's but the arguments'.

use super::{cache, config};
use purlin::cache::{Cache, Caches};
use purlin::layers::{Csrf, Sessions, Templates};
use purlin::session::MemoryStore;
use purlin::site::Life;
use purlin::template::{Tera, tera};
use purlin::testing::Client;
use purlin::{Assets, Query, Router, Stack, View, get};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

type Files = &'static [(&'static str, &'static [u8])];

/// A site whose page is told its query, and how often the templates called `made`.
fn site(files: Files, cache: Option<Cache>) -> (Client, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    (Client::new(app(files, cache, made.clone())), made)
}

fn app(files: Files, cache: Option<Cache>, made: Arc<AtomicUsize>) -> impl purlin::Service {
    let mut files = files.to_vec();
    files.sort();
    let engine = Tera::new(Assets::embedded(files.leak())).configure(move |tera| {
        let made = made.clone();
        tera.register_function("made", move |_: tera::Kwargs, _: &tera::State<'_>| {
            made.fetch_add(1, Ordering::Relaxed) + 1
        });
    });
    let engine = cache.into_iter().fold(engine, Tera::fragments);
    let page = async |Query(query): Query<BTreeMap<String, String>>| View::new("page.html", query);
    let routes = Router::new().route("/", get(page).name("home")).route("/posts/{id}", get(page).name("post"));
    let sessions = Sessions::new(MemoryStore::new());
    Stack::new().layer(sessions).layer(Csrf::new()).layer(Templates::new(engine)).app(routes)
}

#[tokio::test(start_paused = true)]
async fn a_fragment_is_made_once_for_the_same_arguments() {
    let files: Files = &[
        ("page.html", b"<title>x</title>{{ fragment(name=\"part.html\", who=who, ttl=\"1m\") }}"),
        ("part.html", b"<p>{{ who }} {{ made() }}</p>"),
    ];
    let (client, made) = site(files, Some(cache("")));
    client.get("/?who=Ann").await.assert_contains("<p>Ann 1</p>");
    client.get("/?who=Ann&other=1").await.assert_contains("<p>Ann 1</p>");
    client.get("/?who=Bob").await.assert_contains("<p>Bob 2</p>");
    tokio::time::advance(Duration::from_secs(59)).await;
    client.get("/?who=Ann").await.assert_contains("<p>Ann 1</p>");
    tokio::time::advance(Duration::from_secs(1)).await;
    client.get("/?who=Ann").await.assert_contains("<p>Ann 3</p>");
    assert_eq!(made.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn markup_from_the_cache_is_escaped_once_and_not_injected() {
    let files: Files = &[
        (
            "page.html",
            b"<title>x</title>{{ fragment(name=\"part.html\", who=who) }}{{ fragment(name=\"part.txt\", who=who) }}\
              {{ fragment(name=\"part.html\", who=who | safe) }}",
        ),
        ("part.html", b"<b>{{ who }}</b>"),
        ("part.txt", b"[{{ who }}]"),
    ];
    let (client, _) = site(files, Some(cache("")));
    for _ in 0..2 {
        let page = client.get("/?who=%3Ci%3E%26").await;
        // In a template of markup it is escaped there; a text is, by the page; and what is said to be safe is another value.
        page.assert_contains("<b>&lt;i&gt;&amp;</b>[&lt;i&gt;&amp;]<b><i>&</b>");
    }
}

#[tokio::test]
async fn no_argument_passes_for_another() {
    let files: Files = &[
        ("page.html", b"<title>x</title>{{ fragment(name=\"part.html\", a=a, b=b, c=[a, b]) }}"),
        ("part.html", b"<p>{{ a }}|{{ b }}</p>"),
    ];
    let (client, _) = site(files, Some(cache("")));
    for (a, b) in [("x", "y"), ("xs1:y", ""), ("", "x"), ("x", ""), ("s1:x", "y"), ("xy", ""), ("x\"", ",y")] {
        let query = [("a", a), ("b", b)];
        let page = client.get("/").query(&query).await;
        page.assert_contains(&format!("<p>{}|{b}</p>", a.replace('"', "&quot;")));
    }
}

#[tokio::test]
async fn a_key_stands_for_the_arguments_and_tags_purge() {
    let files: Files = &[
        (
            "page.html",
            b"<title>x</title>{{ fragment(name=\"part.html\", who=who, key=[version, 1], tags=[\"people\", who]) }}",
        ),
        ("part.html", b"<p>{{ who }}</p>"),
    ];
    let caches = Caches::new(&config("[cache.regions.markup]\nttl = '1h'")).unwrap();
    let cache = caches.region("markup").unwrap();
    let (client, _) = site(files, Some(cache.clone()));
    client.get("/?who=Ann&version=1").await.assert_contains("<p>Ann</p>");
    client.get("/?who=Bob&version=1").await.assert_contains("<p>Ann</p>");
    client.get("/?who=Bob&version=2").await.assert_contains("<p>Bob</p>");
    cache.purge_tag("Bob").await.unwrap();
    client.get("/?who=Eve&version=1").await.assert_contains("<p>Ann</p>");
    cache.purge_tag("people").await.unwrap();
    client.get("/?who=Eve&version=1").await.assert_contains("<p>Eve</p>");
}

#[tokio::test(start_paused = true)]
async fn a_stale_fragment_is_made_anew_by_one() {
    let files: Files =
        &[("page.html", b"<title>x</title>{{ fragment(name=\"part.html\") }}"), ("part.html", b"<p>{{ made() }}</p>")];
    let (client, _) = site(files, Some(cache("[cache]\nttl = '1m'\nstale = '1h'")));
    client.get("/").await.assert_contains("<p>1</p>");
    tokio::time::advance(Duration::from_secs(60)).await;
    client.get("/").await.assert_contains("<p>2</p>");
    client.get("/").await.assert_contains("<p>2</p>");
}

#[tokio::test]
async fn a_fragment_sees_its_arguments_and_nothing_of_the_visitor() {
    let files: Files = &[
        ("page.html", b"<title>x</title>{{ fragment(name=\"part.html\") }}"),
        ("part.html", b"<p>{{ who | default(value=\"nobody\") }} {{ url_for(name=\"post\", id=7) }}</p>"),
    ];
    let (client, _) = site(files, Some(cache("")));
    client.get("/?who=Ann").await.assert_contains("<p>nobody /posts/7</p>");
}

#[tokio::test]
async fn what_cannot_be_a_fragment_says_so() {
    const PAGE: &[u8] = b"{{ fragment(name=name) }}";
    let table: [(Files, bool, &str, &str); 5] = [
        (
            &[("page.html", PAGE), ("form.html", b"<form>{{ csrf_field() }}</form>")],
            true,
            "form.html",
            "put the form outside of it",
        ),
        (
            &[("page.html", PAGE), ("loop.html", b"{{ fragment(name=\"loop.html\") }}")],
            true,
            "loop.html",
            "the 8th in another",
        ),
        (
            &[("page.html", PAGE), ("part.html", b"")],
            true,
            "prat.html",
            "unknown template `prat.html`: did you mean `part.html`?",
        ),
        (&[("page.html", PAGE), ("part.html", b"")], false, "part.html", "have no cache for fragments"),
        (
            &[("page.html", b"{{ fragment(name=name, ttl=\"soon\") }}"), ("part.html", b"")],
            true,
            "part.html",
            "expected a duration",
        ),
    ];
    for (files, with_cache, name, expected) in table {
        let (client, _) = site(files, with_cache.then(|| cache("")));
        let answer = client.get(&format!("/?name={name}")).expect_status(500).await;
        let error = format!("{:#}", answer.error().expect("it failed"));
        assert!(error.contains(expected), "{name}: {error}");
    }
    let refused =
        |files: Files, cache| format!("{:#}", Life::start(&app(files, Some(cache), Arc::default())).unwrap_err());
    let error = refused(&[("page.html", b"\n {{ fragment(name=\"prat.html\") }}"), ("part.html", b"")], cache(""));
    assert!(error.contains("page.html:2:5: unknown template `prat.html`: did you mean `part.html`?"), "{error}");
}
