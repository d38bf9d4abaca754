//! `Forwards`: another path of the site as the answer, or as a part of it.

use purlin::forward::{Chain, Forward, Include};
use purlin::layers::Forwards;
use purlin::testing::{Client, layer_contract};
use purlin::{
    Error, HeaderValue, IntoResponse, Request, RequestExt, Response, ResponseExt, Result, Router, Service, Stack,
    StatusCode, get, header, post, text,
};

fn client(routes: Router) -> Client {
    Client::new(Stack::new().layer(Forwards::new()).app(routes))
}

async fn told(req: Request) -> String {
    let headers = req.headers();
    let kind = headers.get("content-type").map_or("none", |kind| kind.to_str().unwrap());
    format!("{} {} of {}, {kind}", req.method(), req.uri(), req.original_path())
}

#[tokio::test]
async fn keeps_the_contract_of_layers() {
    layer_contract(Forwards::new).await;
}

#[tokio::test]
async fn the_other_path_answers_and_the_client_sees_no_redirect() {
    let routes = Router::new()
        .route("/account", get(async || Forward::to("/login?from=account")))
        .route("/login", get(async |req: Request| (StatusCode::IM_A_TEAPOT, req.uri().to_string())));
    let page = client(routes).get("/account").await;
    page.assert_status(418).assert_no_header("location").assert_contains("/login?from=account");
}

#[tokio::test]
async fn it_is_asked_by_get_without_a_body_unless_the_request_is_kept() {
    let routes = Router::new()
        .route("/plain", post(async |_: String| Forward::to("/told")))
        .route("/kept", post(async |_: String| Forward::to("/told").keep_request()))
        .route("/echo", post(async |_: String| Forward::to("/body").keep_request()))
        .route("/told", get(told).post(told))
        .route("/body", post(async |body: String| body));
    let client = client(routes);
    let form = [("a", "b")];
    assert_eq!(client.post("/plain").form(&form).await.text(), "GET /told of /told, none");
    let kept = client.post("/kept").form(&form).await;
    assert_eq!(kept.text(), "POST /told of /told, application/x-www-form-urlencoded");
    assert_eq!(client.post("/echo").form(&form).await.text(), "a=b");
}

#[tokio::test]
async fn a_body_beyond_what_is_kept_is_a_named_failure() {
    let routes = Router::new()
        .route("/echo", post(async |_: String| Forward::to("/body").keep_request()))
        .route("/body", post(async |body: String| body.len().to_string()));
    let app = Stack::new().layer(Forwards::new().max_body(3)).app(routes);
    struct Once(Option<&'static str>);
    impl futures_core::Stream for Once {
        type Item = Result<&'static str>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(self.0.take().map(Ok))
        }
    }
    let body = || purlin::Body::stream(Once(Some("four")));
    let response = app.call(purlin::http::Request::post("/echo").body(body()).unwrap()).await;
    let error = response.error().unwrap();
    assert_eq!(error.to_string(), "more than 3 bytes were read of the body that is to be kept");
    assert_eq!(error.layer(), Some("Forwards"));
}

#[tokio::test]
async fn extensions_are_kept_and_given() {
    #[derive(Clone)]
    struct Above(&'static str);
    #[derive(Clone)]
    struct Given(u32);
    async fn mark(mut req: Request, next: purlin::Next<'_>) -> Result<Response> {
        req.extensions_mut().insert(Above("from above"));
        Ok(next.call(req).await)
    }
    async fn shows(req: Request) -> String {
        let ext = req.extensions();
        format!("{} {}", ext.get::<Above>().unwrap().0, ext.get::<Given>().unwrap().0)
    }
    let routes =
        Router::new().route("/", get(async || Forward::to("/shows").with(Given(7)))).route("/shows", get(shows));
    let client = Client::new(Stack::new().layer(mark).layer(Forwards::new()).app(routes));
    assert_eq!(client.get("/").await.text(), "from above 7");
}

#[tokio::test]
async fn cookies_of_both_answers_are_sent_and_the_later_value_counts() {
    fn with(cookies: &[&'static str], mut response: Response) -> Response {
        for cookie in cookies {
            response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }
        response
    }
    let routes = Router::new()
        .route("/", get(async || with(&["a=1", "b=1"], Forward::to("/x").into_response())))
        .route("/x", get(async || with(&["b=2; Path=/", "c=2"], text("x"))));
    let page = client(routes).get("/").await;
    let cookies: Vec<_> = page.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2; Path=/", "c=2"]);
}

#[tokio::test]
async fn cookies_are_the_same_by_name_domain_and_path() {
    fn with(cookies: &[&'static str], mut response: Response) -> Response {
        for cookie in cookies {
            response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }
        response
    }
    let first = ["a=1; Path=/", "a=2; Path=/shop", "a=3; Path=/; Domain=example.org", "b=1", "c=1; path=/x"];
    let second = ["a=4; path=/", "a=5; Path=/; domain=.EXAMPLE.org", "b=2; Path=/dir"];
    let routes = Router::new()
        .route("/dir/page", get(move || async move { with(&first, Forward::to("/y").into_response()) }))
        .route("/y", get(move || async move { with(&second, text("y")) }));
    let page = client(routes).get("/dir/page").await;
    let cookies: Vec<_> = page.headers().get_all("set-cookie").iter().collect();
    assert_eq!(
        cookies,
        ["a=2; Path=/shop", "c=1; path=/x", "a=4; path=/", "a=5; Path=/; domain=.EXAMPLE.org", "b=2; Path=/dir"]
    );
}

#[tokio::test]
async fn what_the_first_answer_sets_the_second_request_has() {
    async fn sets() -> Response {
        let mut response = Forward::to("/shows").into_response();
        let lines = [
            "kept=new; Path=/; HttpOnly",
            "gone=; Path=/; Max-Age=0",
            "old=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "elsewhere=1; Path=/shop",
            "here=1; Path=/shows; Max-Age=60",
        ];
        for line in lines {
            response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(line));
        }
        response
    }
    async fn shows(req: Request) -> String {
        let lines: Vec<_> = req.headers().get_all("cookie").iter().map(|line| line.to_str().unwrap()).collect();
        lines.join(" | ")
    }
    let routes = Router::new().route("/", get(sets)).route("/shows", get(shows));
    let page = client(routes).get("/").header("cookie", "kept=before; gone=1; old=1; other=1").await;
    assert_eq!(page.text(), "other=1; kept=new; here=1");
}

#[tokio::test]
async fn a_flash_of_the_first_answer_is_shown_by_the_second_and_there_is_one_session() {
    use purlin::Session;
    use purlin::config::{Secret, SecretKeys};
    use purlin::layers::Sessions;
    use purlin::session::CookieStore;
    async fn refuses(session: Session) -> Result<Forward> {
        session.insert("flash", &"please sign in")?;
        Ok(Forward::to("/login"))
    }
    async fn login(session: Session) -> Result<String> {
        let flash = session.get::<String>("flash")?.unwrap_or_default();
        session.insert("seen", &true)?;
        Ok(flash)
    }
    let routes = Router::new().route("/account", get(refuses)).route("/login", get(login));
    let store = CookieStore::new(&SecretKeys::new(Secret::new("0123456789abcdef0123456789abcdef")));
    let app = Stack::new().layer(Forwards::new()).layer(Sessions::new(store)).app(routes);
    let client = Client::new(app);
    let page = client.get("/account").await;
    assert_eq!(page.text(), "please sign in");
    assert_eq!(page.headers().get_all("set-cookie").iter().count(), 1);
    assert_eq!(client.get("/login").await.text(), "please sign in");
}

#[tokio::test]
async fn a_circle_is_refused_with_its_chain() {
    let routes = Router::new()
        .route("/a", get(async || Forward::to("/b")))
        .route("/b", get(async || Forward::to("/c?x=1")))
        .route("/c", get(async || Forward::to("/b")))
        .route("/form", get(async || "again, please").post(async || Forward::to("/form")));
    let client = client(routes).expect_errors();
    let page = client.get("/a").await;
    page.assert_status(500);
    assert_eq!(page.error().unwrap().to_string(), "forwarded in a circle: GET /a → GET /b → GET /c?x=1 → GET /b");
    client.post("/form").await.assert_status(200).assert_contains("again, please");
}

#[tokio::test]
async fn the_depth_is_bounded() {
    async fn deeper(req: Request) -> Forward {
        Forward::to(format!("{}x", req.uri().path()))
    }
    let routes = Router::new().route("/{x}", get(deeper));
    let app = Stack::new().layer(Forwards::new().max_depth(3)).app(routes);
    let response = app.call(purlin::http::Request::get("/x").body(purlin::Body::empty()).unwrap()).await;
    let error = response.error().unwrap().to_string();
    assert_eq!(error, "forwarded more than 3 times: GET /x → GET /xx → GET /xxx → GET /xxxx → GET /xxxxx");
}

#[tokio::test]
async fn only_a_path_of_this_site_can_be_forwarded_to() {
    for to in ["login", "https://evil.example/", "//evil.example", "", "/a b"] {
        let routes = Router::new().route("/", get(move || async move { Forward::to(to) }));
        let page = client(routes).expect_errors().get("/").await;
        page.assert_status(500);
        let error = page.error().unwrap().to_string();
        assert_eq!(error, format!("expected a path of this site as /login, found {to:?}"));
    }
}

#[tokio::test]
async fn below_a_mount_paths_begin_at_the_mount() {
    let section = Stack::new().layer(Forwards::new()).app(
        Router::new()
            .route("/", get(async || Forward::to("/told")))
            .route("/a", get(async || Forward::to("/told?x=1")))
            .route("/told", get(told)),
    );
    let client = Client::new(Router::new().mount("/section", section));
    for path in ["/section", "/section/"] {
        let text = client.get(path).await.text().to_owned();
        assert!(text.starts_with("GET /told of /section") && text.contains("/told, none"), "{text}");
    }
    assert_eq!(client.get("/section/a").await.text(), "GET /told?x=1 of /section/told, none");
}

#[tokio::test]
async fn the_chain_can_be_asked_for() {
    async fn shows(chain: Chain) -> String {
        chain.steps().join(", ")
    }
    let routes = Router::new().route("/", get(async || Forward::to("/x"))).route("/x", get(shows));
    let client = client(routes);
    assert_eq!(client.get("/").await.text(), "GET /, GET /x");
    assert_eq!(client.get("/x").await.text(), "GET /x");
}

#[test]
fn a_forward_without_the_layer_is_reported_at_the_start() {
    async fn includes(_: Include) {}
    let routes = Router::new().route("/", get(async || Forward::to("/x"))).route("/i", get(includes));
    let error = Stack::new().app(routes).check().unwrap_err().to_string();
    assert!(error.contains("the handler of GET / (tests/forwards.rs:"), "{error}");
    assert!(error.contains("the handler of GET /i (tests/forwards.rs:"), "{error}");
    assert!(error.contains("add .layer(Forwards::new())"), "{error}");
}

#[tokio::test]
async fn the_answer_of_another_path_is_a_value() {
    async fn page(include: Include) -> Result<String> {
        let whole = include.get("/part").await?;
        assert_eq!(whole.headers()["x-part"], "1");
        let (first, second) = tokio::join!(include.text("/part"), include.text("/forwards"));
        Ok(format!("[{}] [{}]", first?, second?))
    }
    async fn part() -> ([(purlin::HeaderName, HeaderValue); 1], &'static str) {
        ([(purlin::HeaderName::from_static("x-part"), HeaderValue::from_static("1"))], "a part")
    }
    async fn nests(include: Include) -> Result<String> {
        Ok(format!("nested {}", include.text("/part").await?))
    }
    let routes = Router::new()
        .route("/", get(page))
        .route("/part", get(part))
        .route("/forwards", get(async || Forward::to("/nests")))
        .route("/nests", get(nests));
    let page = client(routes).get("/").header("range", "bytes=0-1").await;
    assert_eq!(page.text(), "[a part] [nested a part]");
}

#[tokio::test]
async fn what_cannot_be_included_is_a_failure_with_its_cause() {
    async fn fails() -> Result<()> {
        Err(Error::not_found("no such part"))
    }
    async fn page(include: Include, req: Request) -> Result<String> {
        include.text(&format!("/{}", req.uri().query().unwrap_or_default())).await
    }
    let routes = Router::new().route("/", get(page)).route("/fails", get(fails)).route("/self", get(page));
    let client = client(routes).expect_errors();
    let error = |page: purlin::testing::Page| format!("{:#}", page.error().unwrap());
    let missing = error(client.get("/?fails").await);
    assert_eq!(missing, "including /fails: expected a success, found 404 Not Found: no such part");
    assert!(error(client.get("/?").await).contains("GET /? → GET /"));
}
