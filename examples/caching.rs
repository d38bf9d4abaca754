//! Values, a part of a page and the page itself, each made once: `cargo run --example caching --features cache`, then
//! `curl -i http://127.0.0.1:8000/`, and again with `-H 'If-None-Match: …'`.

use purlin::cache::{Cache, Caches};
use purlin::layers::{ETags, ErrorPages, Templates};
use purlin::template::Tera;
use purlin::{Assets, Config, Redirect, Result, Router, Service, Stack, View, get, post};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Post {
    id: u32,
    title: String,
}

/// What a database would be asked.
async fn newest() -> Result<Arc<Vec<Post>>> {
    Ok(Arc::new((1..=3).rev().map(|id| Post { id, title: format!("Post <{id}>") }).collect()))
}

/// One query in five minutes, however many visitors there are: for an hour more the old list is shown while it is made anew.
async fn home(cache: Cache) -> Result<View> {
    let lookup = cache.key("posts:newest").ttl(Duration::from_secs(300)).stale(Duration::from_secs(3600)).tag("posts");
    Ok(View::new("home.html", Home { posts: lookup.get_or_try(newest).await? }))
}

#[derive(Serialize)]
struct Home {
    posts: Arc<Vec<Post>>,
}

/// What was made of the posts is gone, wherever it was kept.
async fn publish(cache: Cache) -> Result<Redirect> {
    cache.purge_tag("posts").await?;
    Ok(Redirect::see_other("/"))
}

const TEMPLATES: &[(&str, &[u8])] = &[
    // Each post's markup is kept by itself: a new post costs one, and not the whole list.
    (
        "home.html",
        b"<!doctype html><title>Posts</title>\
          {% for post in posts %}{{ fragment(name=\"post.html\", post=post, tags=\"posts\") }}{% endfor %}",
    ),
    ("post.html", b"<h2 id=post-{{ post.id }}>{{ post.title }}</h2>\n"),
];

fn stack(config: Config) -> Result<impl Service> {
    let caches = Caches::new(&config.cache)?;
    let engine = Tera::new(Assets::embedded(TEMPLATES)).fragments(caches.default_region());
    Ok(Stack::new()
        .layer(ErrorPages::new())
        .layer(ETags::new(&config.secret))
        .layer(caches)
        .layer(Templates::new(engine))
        .app(Router::new().route("/", get(home)).route("/publish", post(publish))))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn a_page_is_made_of_what_is_kept_and_not_sent_twice() {
    let client = purlin::testing::Client::new(stack(Config::default()).unwrap());
    let page = client.get("/").await;
    page.assert_contains("<h2 id=post-3>Post &lt;3&gt;</h2>");
    let tag = page.header("etag").unwrap();
    client.get("/").header("if-none-match", tag).await.assert_status(304);

    let cache = client.site().shared::<Caches>().unwrap().default_region();
    // The list, and three posts.
    assert_eq!((cache.metrics().misses, cache.metrics().entries), (4, 4));
    client.post("/publish").await.assert_redirect("/");
    client.get("/").await.assert_contains("post-1");
    assert_eq!(cache.metrics().misses, 8);
}
