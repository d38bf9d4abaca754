//! `Cascade`: applications that are asked one after another.

use purlin::testing::Client;
use purlin::{
    Body, Cascade, Error, IntoResponse, Request, Response, ResponseExt, Router, Service, Stack, StatusCode, Urls, get,
    handler, post,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

async fn echo(body: String) -> String {
    body
}

/// Reads the whole body, and then has nothing to say.
async fn reads_and_passes(_: String) -> StatusCode {
    StatusCode::NOT_FOUND
}

fn stream(length: usize) -> Body {
    struct Pieces(usize);
    impl futures_core::Stream for Pieces {
        type Item = purlin::Result<Vec<u8>>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let piece = self.0.min(1000);
            self.0 -= piece;
            std::task::Poll::Ready((piece > 0).then(|| Ok(vec![b'x'; piece])))
        }
    }
    Body::stream(Pieces(length))
}

fn request(path: &str, body: impl Into<Body>) -> Request {
    purlin::http::Request::post(path).body(body.into()).unwrap()
}

async fn collected(response: Response) -> usize {
    response.into_body().collect(1 << 20).await.unwrap().len()
}

#[tokio::test]
async fn the_first_application_with_an_answer_gives_it() {
    let first = Router::new().route("/a", get(async || "first"));
    let second = Router::new().route("/a", get(async || "second")).route("/b", get(async || "second"));
    let client = Client::new(Cascade::new().app(first).app(second));
    assert_eq!(client.get("/a").await.text(), "first");
    assert_eq!(client.get("/b").await.text(), "second");
    client.get("/c").await.assert_status(404);
}

#[tokio::test]
async fn a_method_that_one_lacks_is_looked_for_in_the_next() {
    let first = Router::new().route("/a", get(async || "first"));
    let second = Router::new().route("/a", post(async || "second"));
    let client = Client::new(Cascade::new().app(first).app(second));
    assert_eq!(client.post("/a").await.text(), "second");
}

#[tokio::test]
async fn a_405_tells_more_than_the_404_after_it() {
    let first = Router::new().route("/a", get(async || "first"));
    let client = Client::new(Cascade::new().app(first).app(Router::new()));
    let page = client.post("/a").await;
    page.assert_status(405);
    assert_eq!(page.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert!(page.error().unwrap().to_string().contains("not for POST"));
}

#[tokio::test]
async fn where_all_lack_the_method_those_of_all_are_named() {
    let first = Router::new().route("/a", get(async || "first"));
    let second = Router::new().route("/a", post(async || "second"));
    let third = Router::new().route("/a", get(async || "third").delete(async || "third"));
    let client = Client::new(Cascade::new().app(first).app(Router::new()).app(second).app(third));
    let page = client.put("/a").await;
    page.assert_status(405);
    assert_eq!(page.header("allow"), Some("GET, HEAD, OPTIONS, POST, DELETE"));
    assert_eq!(page.headers().get_all("allow").iter().count(), 1);
}

#[tokio::test]
async fn the_first_that_tells_more_than_a_404_is_sent_only_if_all_pass() {
    let says = |status: u16| handler(move || async move { StatusCode::from_u16(status).unwrap().into_response() });
    let asked = async |statuses: [u16; 3], passes: &[u16]| {
        let passes = passes.iter().map(|status| StatusCode::from_u16(*status).unwrap());
        let app = statuses.into_iter().fold(Cascade::new(), |app, status| app.app(says(status))).passes(passes);
        app.call(Request::default()).await.status().as_u16()
    };
    assert_eq!(asked([404, 403, 404], &[403, 404]).await, 403);
    assert_eq!(asked([404, 403, 405], &[403, 404, 405]).await, 403);
    assert_eq!(asked([404, 404, 404], &[404]).await, 404);
    // The last one does not pass.
    assert_eq!(asked([403, 403, 404], &[403]).await, 404);
    assert_eq!(asked([404, 405, 410], &[404, 405]).await, 410);
}

#[tokio::test]
async fn other_failures_end_the_search_and_are_carried() {
    async fn fails() -> Result<(), Error> {
        Err(Error::internal("the cellar is flooded"))
    }
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let second = handler(move || {
        count.fetch_add(1, Ordering::Relaxed);
        async { "second" }
    });
    let app = Cascade::new().app(Router::new().route("/", get(fails))).app(second);
    let response = app.call(Request::default()).await;
    assert_eq!(response.error().unwrap().to_string(), "the cellar is flooded");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_body_is_there_for_the_next_whether_or_not_it_was_read() {
    for first in
        [Router::new(), Router::new().route("/", get(async || "")), Router::new().route("/", post(reads_and_passes))]
    {
        let app = Cascade::new().app(first).app(Router::new().route("/", post(echo)));
        assert_eq!(collected(app.call(request("/", "hello")).await).await, 5);
        assert_eq!(collected(app.call(request("/", stream(60_000))).await).await, 60_000);
    }
}

#[tokio::test]
async fn a_body_that_is_not_read_may_be_of_any_length() {
    let app = Cascade::new().app(Router::new()).app(Router::new().route("/", post(echo))).max_body(0);
    assert_eq!(collected(app.call(request("/", stream(500_000))).await).await, 500_000);
}

#[tokio::test]
async fn who_reads_more_than_is_kept_has_the_last_word() {
    let first = Router::new().route("/", post(reads_and_passes));
    let app = Cascade::new().app(first).app(Router::new().route("/", post(echo))).max_body(10_000);
    assert_eq!(app.call(request("/", stream(10_000))).await.status(), 200);
    assert_eq!(app.call(request("/", stream(10_001))).await.status(), 404);
}

#[tokio::test]
async fn what_passes_can_be_said() {
    let first = handler(async || StatusCode::FORBIDDEN.into_response());
    let second = handler(async || "second");
    let app = Cascade::new().app(first).app(second).passes([StatusCode::FORBIDDEN]);
    assert_eq!(app.call(Request::default()).await.status(), 200);
    let missing = handler(async || StatusCode::NOT_FOUND.into_response());
    let app = Cascade::new().app(missing).app(handler(async || "second")).passes([StatusCode::FORBIDDEN]);
    assert_eq!(app.call(Request::default()).await.status(), 404);
    assert_eq!(Cascade::new().call(Request::default()).await.status(), 404);
}

#[tokio::test]
async fn each_is_asked_with_what_the_layers_above_left() {
    #[derive(Clone)]
    struct Mark(&'static str);
    async fn spoils(mut req: Request) -> StatusCode {
        req.extensions_mut().insert(Mark("spoilt"));
        StatusCode::NOT_FOUND
    }
    async fn looks(req: Request) -> &'static str {
        req.extensions().get::<Mark>().map_or("none", |mark| mark.0)
    }
    let app = Cascade::new().app(handler(spoils)).app(handler(looks));
    let mut req = Request::default();
    req.extensions_mut().insert(Mark("from above"));
    assert_eq!(app.call(req).await.into_body().collect(100).await.unwrap(), "from above");
}

#[tokio::test]
async fn equal_names_are_told_apart() {
    async fn link(urls: Urls) -> purlin::Result<String> {
        Ok(format!("{} {}", urls.url_for("list", &[])?, urls.url_for("old:list", &[])?))
    }
    let new = || Router::new().route("/new", get(link).name("list"));
    let old = || Router::new().route("/old", get(link).name("list"));
    let client = Client::new(Cascade::new().app(new()).app_named("old", old()));
    assert_eq!(client.get("/new").await.text(), "/new /old");
    assert_eq!(client.get("/old").await.text(), "/old /old");
    let error = Stack::new().app(Cascade::new().app(new()).app(old())).check().unwrap_err();
    assert!(error.to_string().contains("two routes are named `list`"), "{error}");
}
