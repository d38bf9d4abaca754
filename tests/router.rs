//! `Router`: which handler answers, and what is said where none does.

use purlin::testing::Client;
use purlin::{
    IntoResponse, MatchedRoute, Middleware, Next, Path, Request, RequestExt, Response, Result, Router, Service, Stack,
    State, StatusCode, TrailingSlash, Uri, Urls, any, get, patch, post, put,
};
use std::collections::BTreeMap;

fn client(routes: Router) -> Client {
    Client::new(Stack::new().app(routes))
}

fn problems(routes: Router) -> String {
    Stack::new().app(routes).check().expect_err("expected a problem").message()
}

async fn path(uri: Uri, req: Request) -> String {
    format!("{uri} of {}", req.original_path())
}

async fn params(Path(params): Path<BTreeMap<String, String>>) -> String {
    params.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_method_chooses_the_handler() {
    let routes = Router::new()
        .route("/", get(async || "get").post(async || "post").delete(async || "delete"))
        .route("/put", put(async || "put"))
        .route("/patch", patch(async || "patch").on("PURGE".parse().unwrap(), async || "purge"))
        .route("/any", any(async || "any").get(async || "get"))
        .route("/head", get(async || "get").head(async || ([("x-head".parse().unwrap(), "1".parse().unwrap())], "")))
        .route("/options", get(async || "get").options(async || "options"))
        .route("/twice", get(async || "get"))
        .route("/twice", post(async || "post"));
    let client = client(routes);
    let table = [
        ("GET", "/", 200, "get", ""),
        ("POST", "/", 200, "post", ""),
        ("DELETE", "/", 200, "delete", ""),
        ("HEAD", "/", 200, "", ""),
        ("OPTIONS", "/", 204, "", "GET, POST, DELETE, HEAD, OPTIONS"),
        ("PUT", "/", 405, "", "GET, POST, DELETE, HEAD, OPTIONS"),
        ("get", "/", 405, "", "GET, POST, DELETE, HEAD, OPTIONS"),
        ("GET", "/put", 405, "", "PUT, OPTIONS"),
        ("HEAD", "/put", 405, "", "PUT, OPTIONS"),
        ("OPTIONS", "/put", 204, "", "PUT, OPTIONS"),
        ("PATCH", "/patch", 200, "patch", ""),
        ("PURGE", "/patch", 200, "purge", ""),
        ("GET", "/patch", 405, "", "PATCH, PURGE, OPTIONS"),
        ("GET", "/any", 200, "get", ""),
        ("HEAD", "/any", 200, "", ""),
        ("OPTIONS", "/any", 200, "any", ""),
        ("BREW", "/any", 200, "any", ""),
        ("OPTIONS", "/options", 200, "options", ""),
        ("GET", "/twice", 200, "get", ""),
        ("POST", "/twice", 200, "post", ""),
        ("PUT", "/twice", 405, "", "GET, POST, HEAD, OPTIONS"),
    ];
    for (method, path, status, body, allow) in table {
        let page = client.request(method.parse().unwrap(), path).await;
        assert_eq!(page.status(), status, "{method} {path}");
        assert_eq!(page.text(), body, "{method} {path}");
        assert_eq!(page.header("allow").unwrap_or_default(), allow, "{method} {path}");
    }
    client.head("/").await.assert_header("content-length", "3");
    client.head("/head").await.assert_header("x-head", "1");
}

#[tokio::test]
async fn the_path_chooses_the_route() {
    let routes = Router::new()
        .route("/", get(async || "root"))
        .route("/posts/new", get(async || "new"))
        .route("/posts/{id}", get(params))
        .route("/posts/{id}/edit", get(params))
        .route("/img/{name}.png", get(params))
        .route("/files/{*rest}", get(params))
        .route("/files/special", get(async || "special"))
        .route("/{a}/{b}/{c}/{d}", get(params))
        .route("/grüße/{name}", get(params))
        .route("/with space", get(async || "space"))
        .route("/{{literal}}", get(async || "braces"));
    let client = client(routes);
    let table = [
        ("/", 200, "root"),
        ("/posts/new", 200, "new"),
        ("/posts/7", 200, "id=7"),
        ("/posts/newer", 200, "id=newer"),
        ("/posts/7/edit", 200, "id=7"),
        ("/posts/new/edit", 200, "id=new"),
        ("/posts/", 404, ""),
        ("/posts", 404, ""),
        ("/img/cat.png", 200, "name=cat"),
        ("/img/cat.gif", 404, ""),
        ("/img/.png", 404, ""),
        ("/files/a/b/c.txt", 200, "rest=a/b/c.txt"),
        ("/files/a//b/", 200, "rest=a//b/"),
        ("/files/special", 200, "special"),
        ("/files/", 404, ""),
        ("/1/2/3/4", 200, "a=1 b=2 c=3 d=4"),
        ("/grüße/Ö", 200, "name=Ö"),
        ("/with space", 200, "space"),
        ("/%7Bliteral%7D", 404, ""),
        // Parameters are decoded after the match, once.
        ("/posts/a%2Fb", 200, "id=a/b"),
        ("/posts/a%20b", 200, "id=a b"),
        ("/posts/a+b", 200, "id=a+b"),
        ("/posts/%2520", 200, "id=%20"),
        ("/posts/%C3%BC", 200, "id=ü"),
        ("/posts/%", 200, "id=%"),
        ("/posts/%FF", 400, ""),
        ("/posts/n%65w", 200, "id=new"),
        ("/posts/%2e%2e", 200, "id=.."),
        ("/Posts/new", 404, ""),
        ("/nothing?x=y", 404, ""),
    ];
    for (path, status, body) in table {
        let page = client.get(path).await;
        assert_eq!(page.status(), status, "{path}");
        assert_eq!(page.text(), body, "{path}");
    }
    let missing = client.get("/nothing?secret").await;
    assert_eq!(missing.error().unwrap().message(), "no route matches GET /nothing");
    let mangled = client.get("/posts/%FF").await;
    assert_eq!(mangled.error().unwrap().public_message(), Some("The address is not UTF-8."));
}

#[tokio::test]
async fn a_mount_sees_its_own_part_of_the_path() {
    let inner = || Router::new().route("/", get(path)).route("/page", get(path)).route("/deep/{*rest}", get(path));
    let routes = Router::new()
        .route("/", get(path))
        .route("/shop/special", get(async || "special"))
        .mount("/shop", inner())
        .mount("/slash/", inner())
        .mount("/outer", Router::new().mount("/inner", inner()))
        .mount("/handler", purlin::handler(path));
    let client = client(routes);
    let table = [
        ("/", 200, "/ of /"),
        ("/shop", 200, "/ of /shop"),
        ("/shop/", 200, "/ of /shop/"),
        ("/shop?x=y", 200, "/?x=y of /shop"),
        ("/shop/page?x=y", 200, "/page?x=y of /shop/page"),
        ("/shop/special", 200, "special"),
        ("/shop/deep//a%2Fb", 200, "/deep//a%2Fb of /shop/deep//a%2Fb"),
        ("/shop/missing", 404, ""),
        ("/shopping", 404, ""),
        ("/slash", 200, "/ of /slash"),
        ("/slash/page", 200, "/page of /slash/page"),
        ("/outer/inner/page", 200, "/page of /outer/inner/page"),
        ("/outer/inner", 200, "/ of /outer/inner"),
        ("/outer", 404, ""),
        ("/handler/any/thing", 200, "/any/thing of /handler/any/thing"),
        ("/handler//any", 200, "//any of /handler//any"),
    ];
    for (path, status, body) in table {
        let page = client.get(path).await;
        assert_eq!((page.status().as_u16(), page.text()), (status, body), "{path}");
    }
    let missing = client.get("/shop/missing").await;
    assert_eq!(missing.error().unwrap().message(), "no route matches GET /shop/missing");
}

#[tokio::test]
async fn a_mount_at_the_root_takes_what_no_route_does() {
    let routes = Router::new()
        .route("/about", get(async || "about"))
        .mount("/", Router::new().route("/", get(path)).route("/page", get(path)));
    let client = client(routes);
    for (path, status, body) in
        [("/about", 200, "about"), ("/", 200, "/ of /"), ("/page", 200, "/page of /page"), ("/other", 404, "")]
    {
        let page = client.get(path).await;
        assert_eq!((page.status().as_u16(), page.text()), (status, body), "{path}");
    }
}

#[tokio::test]
async fn parameters_of_a_mount_come_first() {
    async fn both(Path((shop, item)): Path<(String, u32)>) -> String {
        format!("{shop} {item}")
    }
    let shop = || Router::new().route("/items/{item}", get(both)).route("/all/{item}", get(params));
    let client = client(Router::new().mount("/shops/{shop}", shop()));
    assert_eq!(client.get("/shops/a%2Fb/items/7").await.text(), "a/b 7");
    assert_eq!(client.get("/shops/x/all/7").await.text(), "item=7 shop=x");
    client.get("/shops/x/items/seven").await.assert_status(404);
}

#[tokio::test]
async fn a_stack_can_be_mounted_with_layers_of_its_own() {
    async fn stamp(req: Request, next: Next<'_>) -> Result<Response> {
        let mut response = next.call(req).await;
        response.headers_mut().insert("x-stamp", "admin".parse()?);
        Ok(response)
    }
    let admin = Stack::new().layer(stamp).app(Router::new().route("/", get(path)));
    let client = client(Router::new().route("/", get(path)).mount("/admin", admin));
    client.get("/").await.assert_no_header("x-stamp");
    client.get("/admin").await.assert_header("x-stamp", "admin");
    client.get("/admin/missing").await.assert_status(404).assert_header("x-stamp", "admin");
    let names: Vec<_> =
        client.site().layers().iter().map(|layer| (layer.name.as_str(), layer.mount.as_str())).collect();
    assert_eq!(names, [("stamp", "/admin")]);
}

#[tokio::test]
async fn names_become_urls_through_mounts() {
    async fn links(urls: Urls) -> Result<String> {
        let here = urls.url_for("post", &[("slug", "a b")])?;
        let home = urls.url_for("home", &[])?;
        let other = urls.url_for("news:post", &[("slug", "x")])?;
        Ok(format!("{here} {home} {other}"))
    }
    let blog = || Router::new().route("/", get(links).name("index")).route("/{slug}", get(links).name("post"));
    let routes = Router::new()
        .route("/", get(async || "").name("home"))
        .mount_named("blog", "/blog", blog())
        .mount_named("news", "/news", Router::new().mount("/old", blog()));
    let client = client(routes);
    assert_eq!(client.get("/blog/x").await.text(), "/blog/a%20b / /news/old/x");
    assert_eq!(client.get("/news/old/x").await.text(), "/news/old/a%20b / /news/old/x");
    assert_eq!(client.url_for("blog:index", &[]), "/blog");
    let site = client.site();
    assert!(site.url_for("", "post", &[("slug", "x")]).is_err());
    let names: Vec<_> =
        site.routes().iter().map(|route| (route.name.as_deref().unwrap(), route.path.as_str())).collect();
    let expected = [
        ("home", "/"),
        ("blog:index", "/blog"),
        ("blog:post", "/blog/{slug}"),
        ("news:index", "/news/old"),
        ("news:post", "/news/old/{slug}"),
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn merged_routers_are_one() {
    let other = Router::new()
        .route("/", post(async || "post"))
        .route("/b", get(async || "b").name("b"))
        .mount("/m", Router::new().route("/", get(path)))
        .fallback(async || (StatusCode::NOT_FOUND, "lost"));
    let client = client(Router::new().route("/", get(async || "get")).merge(other));
    for (method, path, body) in [
        ("GET", "/", "get"),
        ("POST", "/", "post"),
        ("GET", "/b", "b"),
        ("GET", "/m", "/ of /m"),
        ("GET", "/x", "lost"),
    ] {
        assert_eq!(client.request(method.parse().unwrap(), path).await.text(), body, "{method} {path}");
    }
    assert_eq!(client.url_for("b", &[]), "/b");
}

#[tokio::test]
async fn a_fallback_answers_what_no_route_does() {
    let routes = Router::new()
        .route("/a", get(async || "a"))
        .mount("/m", Router::new().route("/x", get(async || "x")))
        .fallback(async |uri: Uri| (StatusCode::NOT_FOUND, format!("nothing at {uri}")));
    let client = client(routes);
    client.get("/b?c").await.assert_status(404).assert_contains("nothing at /b?c");
    // A route that does not take the method is a route all the same, and a mount answers for itself.
    client.post("/a").await.assert_status(405).assert_lacks("nothing");
    client.get("/m/y").await.assert_status(404).assert_lacks("nothing");
    // One slash too many is no loss.
    client.get("/a/").await.assert_redirect("/a");
}

#[tokio::test]
async fn a_panic_in_a_fallback_is_a_carried_error() {
    async fn fails() {
        panic!("lost for good")
    }
    let page = client(Router::new().fallback(fails)).get("/").expect_status(500).await;
    assert_eq!(page.error().unwrap().message(), "lost for good");
}

struct Mark(&'static str);

impl Middleware for Mark {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = next.call(req).await;
        response.headers_mut().append("x-mark", self.0.parse()?);
        Ok(response)
    }
}

#[tokio::test]
async fn layers_of_a_route_stand_around_what_it_has_so_far() {
    let routes = Router::new()
        .route("/", get(async || "get").layer(Mark("inner")).post(async || "post").layer(Mark("outer")))
        .route("/plain", get(async || "plain"));
    let client = client(routes);
    let marks = |page: &purlin::testing::Page| {
        let marks = page.headers().get_all("x-mark").iter().map(|mark| mark.to_str().unwrap().to_owned());
        marks.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(marks(&client.get("/").await), "inner outer");
    assert_eq!(marks(&client.head("/").await), "inner outer");
    assert_eq!(marks(&client.post("/").await), "outer");
    assert_eq!(marks(&client.put("/").await), "", "405 is the router's own answer");
    assert_eq!(marks(&client.get("/plain").await), "");
    let layers: Vec<_> = client.site().layers().iter().map(|layer| layer.route.as_deref().unwrap()).collect();
    assert_eq!(layers, ["GET /", "GET /", "POST /"]);
}

#[tokio::test]
async fn an_error_names_the_layer_however_that_was_wrapped() {
    struct Refuse;
    impl Middleware for Refuse {
        async fn handle(&self, _: Request, _: &impl Service) -> Result<Response> {
            Err(purlin::Error::forbidden("no"))
        }
    }
    let hello = || get(async || "hello");
    let routes = Router::new()
        .route("/plain", hello().layer(Refuse))
        .route("/optional", hello().layer(Some(Refuse)))
        .route("/shared", hello().layer(std::sync::Arc::new(Refuse)))
        .route("/boxed", hello().layer(purlin::BoxMiddleware::new(Refuse)))
        .route("/listed", hello().layer(vec![purlin::BoxMiddleware::new(Refuse)]));
    let client = client(routes);
    for path in ["/plain", "/optional", "/shared", "/boxed", "/listed"] {
        let page = client.get(path).await;
        assert_eq!(page.error().unwrap().layer(), Some("Refuse"), "{path}");
    }
}

#[tokio::test]
async fn a_layer_of_a_route_starts_once() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    #[derive(Clone, Default)]
    struct Starts(Arc<AtomicU32>);
    impl Middleware for Starts {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            Ok(next.call(req).await)
        }
        fn start(&self, _: &mut purlin::site::Start) -> Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
    let starts = Starts::default();
    let route = get(async || "").post(async || "").any(async || "").layer(starts.clone());
    client(Router::new().route("/", route));
    assert_eq!(starts.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_last_slash_is_a_matter_of_policy() {
    let routes = || {
        Router::new()
            .route("/a", get(async || "a").post(async || "posted"))
            .route("/b/", get(async || "b"))
            .route("/c/{x}/{y}", get(params))
            .route("/f/{*rest}", get(params))
            .mount("/m", Router::new().route("/n", get(async || "n")))
    };
    let by_redirect = client(routes());
    let table = [
        ("/a", 200, ""),
        ("/a/", 308, "/a"),
        ("/a//", 404, ""),
        ("/a/?x=y&z", 308, "/a?x=y&z"),
        ("/b", 308, "/b/"),
        ("/b?x", 308, "/b/?x"),
        ("/c/1/2/", 308, "/c/1/2"),
        ("/c/1/%2F/", 308, "/c/1/%2F"),
        ("/c/1/ü/", 308, "/c/1/%C3%BC"),
        ("/f/x/", 200, ""),
        ("/m/n/", 308, "/m/n"),
        ("/m/n/?q=1", 308, "/m/n?q=1"),
        ("/none/", 404, ""),
    ];
    for (path, status, location) in table {
        let page = by_redirect.get(path).await;
        assert_eq!(page.status(), status, "{path}");
        assert_eq!(page.header("location").unwrap_or_default(), location, "{path}");
    }
    assert_eq!(by_redirect.post("/a/").follow_redirects().await.text(), "posted");
    let ignoring = client(routes().trailing_slash(TrailingSlash::Ignore));
    let strict = client(routes().trailing_slash(TrailingSlash::Strict));
    for (path, ignored, strictly) in [("/a", 200, 200), ("/a/", 200, 404), ("/b", 200, 404), ("/c/1/2/", 200, 404)] {
        assert_eq!(ignoring.get(path).await.status(), ignored, "{path}");
        assert_eq!(strict.get(path).await.status(), strictly, "{path}");
    }
    assert_eq!(ignoring.get("/c/1/2/").await.text(), "x=1 y=2");
}

#[tokio::test]
async fn a_redirect_for_a_slash_never_leaves_the_site() {
    let routes = || Router::new().route("/{*rest}", get(params)).route("/x/{a}/", get(params));
    let tables = [
        client(Router::new().route("/{a}/{b}", get(params)).route("/{a}/", get(params))),
        client(Router::new().mount("/{tenant}", routes())),
        client(Router::new().mount("/", Router::new().route("/{a}/{b}", get(params)))),
        client(routes()),
    ];
    let paths = [
        "//evil.example/",
        "//evil.example",
        "///evil.example/",
        "//evil.example/x/",
        "/\\evil.example/",
        "//evil.example/%2F..",
    ];
    for client in tables {
        for path in paths {
            let page = client.get(path).await;
            let location = page.header("location").unwrap_or("/");
            assert!(location.starts_with('/'), "{path}: {location}");
            assert!(!location[1..].starts_with(['/', '\\']), "{path}: {location}");
        }
    }
}

#[test]
fn conflicts_name_both_lines() {
    let line = line!() + 1;
    let routes = || Router::new().route("/posts/{id}", get(path));
    let both = |said: &str, second: u32| {
        for line in [line, second] {
            assert!(said.contains(&format!("tests/router.rs:{line}:")), "{line}: {said}");
        }
    };
    let said = problems(routes().route("/posts/{slug}", get(path)));
    both(&said, line!() - 1);
    assert!(said.contains("the route /posts/{slug} (") && said.contains("is in conflict with /posts/{id} ("), "{said}");
    let said = problems(routes().route("/posts/{id}", get(path)));
    both(&said, line!() - 1);
    assert!(said.contains("two handlers for GET /posts/{id}"), "{said}");
    let other = Router::new().route("/posts/{slug}", get(path));
    let at = line!() - 1;
    both(&problems(routes().merge(other)), at);
    let other = Router::new().route("/posts/{id}", get(path));
    let at = line!() - 1;
    both(&problems(routes().merge(other)), at);
    let said = problems(routes().mount("/posts/{id}", Router::new()));
    both(&said, line!() - 1);
    assert!(said.contains("the mount /posts/{id}"), "{said}");
    let mounted = Router::new().mount("/shop", Router::new());
    let first = line!() - 1;
    let said = problems(mounted.mount("/shop", Router::new()));
    assert!(said.contains(&format!("tests/router.rs:{first}:")), "{said}");
    assert!(said.contains(&format!("tests/router.rs:{}:", line!() - 2)), "{said}");
}

#[test]
fn what_is_wrong_with_a_router_is_said_at_start() {
    let fallback = || Router::new().fallback(path);
    let table = [
        (Router::new().route("posts", get(path)), "the route \"posts\" (tests/router.rs:"),
        (Router::new().mount("shop", Router::new()), "the mount shop (tests/router.rs:"),
        (Router::new().route("/{id", get(path)), "the route /{id (tests/router.rs:"),
        (Router::new().route("/{a}{b}", get(path)), "is not a path that can be matched"),
        (
            Router::new().route("/a", get(path).name("x")).route("/b", get(path).name("x")),
            "two routes are named `x`: /a (",
        ),
        (Router::new().route("/a", get(path).name("x")).route("/a", post(path).name("y")), "is named `x` at"),
        (Router::new().route("/a", any(path)).route("/a", any(path)), "two handlers for any method of /a"),
        (fallback().merge(fallback()), "two fallbacks are merged"),
        (Router::new().mount("/in", Router::new().route("no", get(path))), "the route \"no\""),
    ];
    for (routes, expected) in table {
        let said = problems(routes);
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn what_a_handler_lacks_is_said_at_start() {
    async fn stateful(State(_): State<u64>) {}
    async fn optional(_: Option<State<u64>>) {}
    async fn greedy(_: String, _: purlin::Bytes) {}
    async fn late(_: Request, _: String) {}
    async fn later(_: Request, _: Uri) {}
    async fn hidden(_: String, _: Option<purlin::Bytes>) {}
    async fn last(_: Uri, _: Request) {}
    async fn with_id(_: purlin::RequestId) {}
    let routes = |route: purlin::Route| Router::new().route("/x", route);
    let table = [
        (
            routes(get(stateful)),
            "the handler of GET /x (tests/router.rs:",
            "needs `u64`, which no layer above it provides: add `.layer(State(…))`",
        ),
        (Router::new().fallback(stateful), "the handler of whatever else is below / (tests/router.rs:", "needs `u64`"),
        (
            Router::new().mount("/m", routes(post(stateful))),
            "the handler of POST /m/x (tests/router.rs:",
            "needs `u64`",
        ),
        (routes(get(with_id)), "needs `RequestId`", "add `.layer(RequestIds::new())`"),
        (routes(post(greedy)), "reads the request's body twice, by String and Bytes", "one argument can"),
        (
            routes(post(late)),
            "the handler of POST /x",
            "has an argument after the whole `Request`, which leaves nothing for it",
        ),
        (routes(post(later)), "the handler of POST /x", "has an argument after the whole `Request`"),
        (routes(post(hidden)), "reads the request's body twice, by String and Bytes", "one argument can"),
    ];
    for (routes, who, what) in table {
        let said = problems(routes);
        assert!(said.contains(who) && said.contains(what), "{who} {what}\n{said}");
    }
    for fine in [routes(get(optional)), routes(get(last)), routes(get(stateful).layer(State(7_u64)))] {
        Stack::new().app(fine).check().unwrap();
    }
    Stack::new().layer(State(7_u64)).app(routes(get(stateful))).check().unwrap();
}

#[tokio::test]
async fn the_route_that_answers_is_known_below() {
    async fn which(route: MatchedRoute) -> String {
        route.pattern().to_owned()
    }
    let routes = Router::new().route("/posts/{id}", get(which)).mount("/m", Router::new().route("/in/{x}", get(which)));
    let client = client(routes);
    assert_eq!(client.get("/posts/7").await.text(), "/posts/{id}");
    assert_eq!(client.get("/m/in/7").await.text(), "/in/{x}");
    let nowhere = Stack::new().app(purlin::handler(which));
    Client::new(nowhere).get("/").expect_status(500).await;
}

#[tokio::test]
async fn a_redirect_to_what_no_header_can_hold_is_encoded() {
    let table = [("/a\r\nset-cookie: x=y", "/a%0D%0Aset-cookie:%20x=y"), ("/ü?q=<b>", "/%C3%BC?q=%3Cb%3E")];
    for (to, expected) in table {
        let response = purlin::Redirect::see_other(to).into_response();
        assert_eq!(response.headers()["location"], expected);
    }
}
