//! `ETags`: pages by their tags, and nothing sent twice.

use purlin::config::{Secret, SecretKeys};
use purlin::http::Request as HttpRequest;
use purlin::layers::ETags;
use purlin::testing::{Client, layer_contract};
use purlin::{
    Body, HeaderValue, Request, Response, ResponseExt, Router, Service, Stack, StatusCode, get, handler, html,
};

fn secret(text: &str) -> SecretKeys {
    SecretKeys::new(Secret::new(text))
}

fn layer() -> ETags {
    ETags::new(&secret("0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"))
}

const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

/// An answer made by its path.
async fn answer(req: Request) -> Response {
    let mut response = html("<title>News</title>");
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &'static str| drop(headers.insert(name, HeaderValue::from_static(value)));
    match req.uri().path() {
        "/tagged" => set("etag", "\"own\""),
        "/weak" => set("etag", "W/\"own\""),
        "/broken" => set("etag", "own"),
        "/dated" => set("last-modified", DATE),
        "/no-store" => set("cache-control", "private, No-Store"),
        "/no-cache" => set("cache-control", "no-cache"),
        "/language" => set("content-language", "de"),
        "/cookie" => set("set-cookie", "a=b"),
        "/length" => set("content-length", "19"),
        "/headers" => {
            for (name, value) in [
                ("cache-control", "max-age=5"),
                ("content-location", "/news"),
                ("expires", DATE),
                ("vary", "Cookie"),
                ("content-language", "de"),
            ] {
                set(name, value);
            }
        }
        "/other" => return html("<title>Olds</title>"),
        "/empty" => *response.body_mut() = Body::empty(),
        "/large" => return html("x".repeat((1 << 20) + 1)),
        "/largest" => return html("x".repeat(1 << 20)),
        "/stream" | "/tagged-stream" => {
            if req.uri().path() == "/tagged-stream" {
                set("etag", "\"own\"");
            }
            *response.body_mut() = Body::stream(Wrapped(Body::from("streamed")));
        }
        "/created" => *response.status_mut() = StatusCode::CREATED,
        "/missing" => *response.status_mut() = StatusCode::NOT_FOUND,
        _ => {}
    }
    response
}

/// A body as a stream of one piece.
struct Wrapped(Body);

impl futures_core::Stream for Wrapped {
    type Item = purlin::Result<purlin::Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let bytes = self.0.as_bytes().cloned().filter(|bytes| !bytes.is_empty());
        self.0 = Body::empty();
        std::task::Poll::Ready(bytes.map(Ok))
    }
}

fn site(layer: ETags) -> impl Service {
    Stack::new().layer(layer).app(handler(answer))
}

async fn ask(app: &impl Service, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = HttpRequest::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    app.call(request.body(Body::empty()).unwrap()).await
}

fn etag(response: &Response) -> Option<&str> {
    response.headers().get("etag").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_has_a_strong_tag_by_its_bytes_and_what_they_are() {
    let app = site(layer());
    let first = ask(&app, "GET", "/", &[]).await;
    let tag = etag(&first).unwrap();
    assert!(tag.len() == 18 && tag.starts_with('"'), "{tag}");
    assert_eq!(first.into_body().collect(100).await.unwrap(), "<title>News</title>");
    let tag_of = async |path| etag(&ask(&app, "GET", path, &[]).await).map(str::to_owned);
    let first = tag_of("/").await;
    for same in ["/", "/again", "/cookie", "/no-cache", "/dated", "/length"] {
        assert_eq!(tag_of(same).await, first, "{same}");
    }
    for other in ["/other", "/language", "/largest"] {
        let tag = tag_of(other).await;
        assert!(tag.is_some() && tag != first, "{other}");
    }
    for none in ["/no-store", "/empty", "/large", "/stream", "/created", "/missing"] {
        assert_eq!(tag_of(none).await, None, "{none}");
    }
    for (own, tag) in
        [("/tagged", "\"own\""), ("/weak", "W/\"own\""), ("/broken", "own"), ("/tagged-stream", "\"own\"")]
    {
        assert_eq!(tag_of(own).await.as_deref(), Some(tag), "{own}");
    }
    assert_eq!(etag(&ask(&app, "HEAD", "/", &[]).await), first.as_deref());
    assert_eq!(etag(&ask(&app, "POST", "/", &[]).await), None);
    let short = site(layer().limit(18));
    assert_eq!(etag(&ask(&short, "GET", "/", &[]).await), None);
}

/// Nobody who does not know the secret can tell which pages have one tag.
#[tokio::test]
async fn tags_are_keyed_by_the_secret() {
    let other = site(ETags::new(&secret("0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6979")));
    let tags = [
        ask(&site(layer()), "GET", "/", &[]).await,
        ask(&site(layer()), "GET", "/", &[]).await,
        ask(&other, "GET", "/", &[]).await,
    ];
    let tags: Vec<_> = tags.iter().map(|response| etag(response).unwrap()).collect();
    assert_eq!(tags[0], tags[1], "every process has the same");
    assert_ne!(tags[0], tags[2]);
}

#[tokio::test]
async fn conditions_are_answered_as_the_rfc_says() {
    let app = site(layer());
    let tag = etag(&ask(&app, "GET", "/", &[]).await).unwrap().to_owned();
    let weak = format!("W/{tag}");
    let list = format!("\"x\", {weak}");
    let (inm, ims, im, ius) = ("if-none-match", "if-modified-since", "if-match", "if-unmodified-since");
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);
    let table: &[Row<'_>] = &[
        ("GET", "/", &[(inm, &tag)], 304),
        ("HEAD", "/", &[(inm, &tag)], 304),
        // The tag that the layer Compression sent.
        ("GET", "/", &[(inm, &weak)], 304),
        ("GET", "/", &[(inm, &list)], 304),
        ("GET", "/", &[(inm, "*")], 304),
        ("GET", "/", &[(inm, "\"x\"")], 200),
        ("GET", "/other", &[(inm, &tag)], 200),
        ("GET", "/", &[(im, &tag)], 200),
        ("GET", "/", &[(im, &weak)], 412),
        ("GET", "/", &[(im, "\"x\"")], 412),
        ("GET", "/", &[(ims, DATE)], 200),
        ("GET", "/dated", &[(ims, DATE)], 304),
        ("GET", "/dated", &[(ims, "Wed, 21 Oct 2015 07:27:59 GMT")], 200),
        ("GET", "/dated", &[(ims, DATE), (inm, "\"x\"")], 200),
        ("GET", "/dated", &[(ius, "Wed, 21 Oct 2015 07:27:59 GMT")], 412),
        ("GET", "/tagged", &[(inm, "\"own\"")], 304),
        ("GET", "/weak", &[(inm, "\"own\"")], 304),
        ("GET", "/tagged-stream", &[(inm, "\"own\"")], 304),
        // What has no tag was not asked about.
        ("GET", "/stream", &[(inm, "*")], 200),
        ("GET", "/broken", &[(inm, "*")], 200),
        ("GET", "/no-store", &[(inm, "*")], 200),
        ("GET", "/missing", &[(inm, "*")], 404),
        // The handler's own affair.
        ("POST", "/", &[(inm, "*")], 200),
        ("PUT", "/tagged", &[(im, "\"x\"")], 200),
    ];
    for (method, path, headers, expected) in table {
        let response = ask(&app, method, path, headers).await;
        assert_eq!(response.status(), *expected, "{method} {path} {headers:?}");
        assert_eq!(response.error().is_some(), *expected == 412);
        if *expected == 304 {
            assert!(response.body().is_empty() && response.headers().contains_key("etag") || *path == "/dated");
        }
    }
}

#[tokio::test]
async fn a_304_keeps_what_renews_a_copy_and_loses_what_describes_a_body() {
    let app = site(layer());
    let response = ask(&app, "GET", "/headers", &[("if-none-match", "*")]).await;
    let mut names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-location", "etag", "expires", "vary"]);
    let response = ask(&app, "GET", "/cookie", &[("if-none-match", "*")]).await;
    assert_eq!(response.headers()["set-cookie"], "a=b");
    let response = ask(&app, "GET", "/length", &[]).await;
    assert_eq!(response.headers()["content-length"], "19");
    let response = ask(&app, "GET", "/length", &[("if-none-match", "*")]).await;
    assert!(!response.headers().contains_key("content-length"));
}

#[tokio::test]
async fn a_head_without_a_body_has_no_tag_made_up() {
    let routes = Router::new().route(
        "/",
        get(async || html("page"))
            .head(async || html("").with_header(purlin::header::CONTENT_LENGTH, HeaderValue::from_static("4"))),
    );
    let app = Stack::new().layer(layer()).app(routes);
    assert_eq!(etag(&ask(&app, "HEAD", "/", &[]).await), None);
    assert!(etag(&ask(&app, "GET", "/", &[]).await).is_some());
}

/// What leaves below it is what is named; the layer above names what it makes of that.
#[cfg(feature = "compression")]
#[tokio::test]
async fn below_compression_the_tag_is_made_weak_and_answers_304_all_the_same() {
    let routes = Router::new().route("/", get(async || html("<p>a line</p>\n".repeat(200))));
    let app = Stack::new().layer(purlin::layers::Compression::new()).layer(layer()).app(routes);
    let client = Client::new(app);
    let plain = client.get("/").await.header("etag").unwrap().to_owned();
    let page = client.get("/").header("accept-encoding", "gzip").await;
    let weak = page.header("etag").unwrap().to_owned();
    assert_eq!(weak, format!("W/{plain}"));
    for tag in [&weak, &plain] {
        let answer = client.get("/").header("accept-encoding", "gzip").header("if-none-match", tag).await;
        answer.assert_status(304).assert_header("vary", "accept-encoding");
    }
}

/// Above the layer that renders it has the page; below, there is none to be named.
#[cfg(feature = "tera")]
#[tokio::test]
async fn a_view_that_is_no_page_yet_is_left_alone() {
    use purlin::layers::Templates;
    use purlin::template::Tera;
    use purlin::{Assets, View};
    let templates = || Templates::new(Tera::new(Assets::embedded(&[("page.html", b"<title>x</title>")])));
    let routes = || Router::new().route("/", get(async || View::new("page.html", ())));
    let above = Client::new(Stack::new().layer(layer()).layer(templates()).app(routes()));
    assert!(above.get("/").await.header("etag").is_some());
    let below = Client::new(Stack::new().layer(templates()).layer(layer()).app(routes()));
    assert!(below.get("/").header("if-none-match", "*").await.assert_status(200).header("etag").is_none());
}

#[tokio::test]
async fn the_layer_keeps_the_contract_and_does_not_print_its_key() {
    layer_contract(layer).await;
    assert_eq!(format!("{:?}", layer()), "ETags { limit: 1048576, .. }");
}

/// Beside what is below: the tag's value, and its header.
#[tokio::test]
async fn a_tag_costs_few_allocations() {
    let app = site(layer());
    let bare = handler(answer);
    let count = async |app: &dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = Response>>>| {
        app().await;
        let (mut least, mut response) = (u64::MAX, None);
        for _ in 0..3 {
            let future = app();
            let info = allocation_counter::measure(|| {
                response = at_once(future);
            });
            least = least.min(info.count_total);
        }
        drop(response);
        least
    };
    let (app, bare) = (std::sync::Arc::new(app), std::sync::Arc::new(bare));
    let request = || HttpRequest::get("/").body(Body::empty()).unwrap();
    let with = count(&|| {
        let (app, request) = (app.clone(), request());
        Box::pin(async move { app.call(request).await })
    })
    .await;
    let without = count(&|| {
        let (bare, request) = (bare.clone(), request());
        Box::pin(async move { bare.call(request).await })
    })
    .await;
    assert!(with - without <= 3, "{with} instead of {without}");
}

/// The future's answer, which it gives at once.
fn at_once<T>(mut future: std::pin::Pin<Box<dyn Future<Output = T>>>) -> Option<T> {
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}
