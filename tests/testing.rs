//! The testing client: asks as a browser does, and says what is wrong.

use purlin::testing::{Client, Multipart, Page};
use purlin::{
    Body, Connection, Context, Cookies, IntoResponse, Json, Next, Redirect, Request, RequestExt, Response, Result,
    Router, Stack, StatusCode, any, get, html, post, text,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn client(routes: Router) -> Client {
    Client::new(Stack::new().app(routes))
}

/// What the future panics with.
async fn complaint<T>(future: impl IntoFuture<Output = T, IntoFuture: Send + 'static>) -> String
where
    T: Send + 'static,
{
    let failed = match tokio::spawn(future.into_future()).await {
        Ok(_) => panic!("expected a failure"),
        Err(failed) => failed.into_panic(),
    };
    message(&*failed)
}

fn complaint_of<T>(check: impl FnOnce() -> T) -> String {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)) {
        Ok(_) => panic!("expected a failure"),
        Err(payload) => message(&*payload),
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    payload.downcast_ref::<String>().cloned().or(payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

async fn mirror(mut req: Request) -> Result<String> {
    let mut said = format!("{} {}\n", req.method(), req.uri());
    let mut headers: Vec<_> =
        req.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    headers.sort();
    said.extend(headers);
    let body = req.body_mut().take().collect(10_000).await?;
    said.push_str(std::str::from_utf8(&body)?);
    Ok(said)
}

fn mirrors() -> Client {
    client(Router::new().route("/{*rest}", any(mirror)).route("/", any(mirror)))
}

#[tokio::test]
async fn a_request_says_what_it_was_told() {
    let client = mirrors();
    let table = [
        (client.get("/a?b=c"), "GET /a?b=c\nhost: localhost\n"),
        (client.get("/a").query(&[("b", "c d"), ("e", "&")]), "GET /a?b=c+d&e=%26\nhost: localhost\n"),
        (client.get("/a?x").query(&[("b", 1)]), "GET /a?x&b=1\nhost: localhost\n"),
        (client.get("/grüße und küsse"), "GET /gr%C3%BC%C3%9Fe%20und%20k%C3%BCsse\nhost: localhost\n"),
        (client.get("//evil.example/../x"), "GET //evil.example/../x\nhost: localhost\n"),
        (client.get("http://other.example/x"), "GET /x\nhost: other.example\n"),
        (
            client.delete("/a").header("X-Y", "z").accept("text/html"),
            "DELETE /a\naccept: text/html\nhost: localhost\nx-y: z\n",
        ),
        (
            client.post("/").form(&[("a", "1 2"), ("b", "ü")]),
            "POST /\ncontent-length: 14\ncontent-type: application/x-www-form-urlencoded\nhost: localhost\na=1+2&b=%C3%BC",
        ),
        (
            client.put("/").json(&[1, 2]),
            "PUT /\ncontent-length: 5\ncontent-type: application/json\nhost: localhost\n[1,2]",
        ),
        (client.patch("/").body("hey"), "PATCH /\ncontent-length: 3\nhost: localhost\nhey"),
    ];
    for (request, expected) in table {
        assert_eq!(request.await.text(), expected);
    }
}

#[tokio::test]
async fn a_multipart_form_is_framed() {
    let page =
        mirrors().post("/").multipart(Multipart::new().text("a", "1").file("f", "x.txt", "text/plain", "hey")).await;
    page.assert_contains("content-type: multipart/form-data; boundary=").assert_contains("filename=\"x.txt\"");
}

#[tokio::test]
async fn answers_are_finished_as_a_server_finishes_them() {
    let routes = Router::new()
        .route("/", get(async || text("hello")))
        .route("/none", get(async || (StatusCode::NO_CONTENT, "what?")))
        .route("/stream", get(async || Body::stream(Pieces(vec![Ok("a"), Ok("b")]))));
    let client = client(routes).allow("body-with-204").allow("content-type-missing");
    client.get("/").await.assert_header("content-length", "5").assert_contains("hello");
    let head = client.head("/").await;
    head.assert_header("content-length", "5");
    assert_eq!(head.text(), "");
    assert_eq!(client.get("/none").await.text(), "");
    let stream = client.get("/stream").await;
    stream.assert_no_header("content-length");
    assert_eq!(stream.text(), "ab");
    assert_eq!(client.get("/").raw().await.body().as_bytes().unwrap(), "hello");
}

struct Pieces(Vec<std::result::Result<&'static str, std::io::Error>>);

impl futures_core::Stream for Pieces {
    type Item = std::result::Result<&'static str, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let next = if self.0.is_empty() { None } else { Some(self.0.remove(0)) };
        std::task::Poll::Ready(next)
    }
}

async fn fails() -> Result<Response> {
    std::fs::read("/no/such/file").context("reading the greeting")?;
    Ok(text(""))
}

#[tokio::test]
async fn an_unexpected_error_fails_the_test_with_its_causes_and_the_line_that_asked() {
    let client =
        client(Router::new().route("/", get(fails)).route("/busy", get(async || StatusCode::SERVICE_UNAVAILABLE)));
    let line = line!() + 1;
    let said = complaint(client.get("/")).await;
    for expected in [
        "did not expect 500 Internal Server Error (a test that does says `.expect_status(500)`)",
        "GET http://localhost/",
        "the error behind it: 500 Internal Server Error: reading the greeting",
        "caused by: No such file or directory",
        &format!("asked at tests/testing.rs:{line}"),
    ] {
        assert!(said.contains(expected), "{expected}\n---\n{said}");
    }
    let page = client.get("/").expect_status(500).await;
    assert_eq!(page.error().unwrap().message(), "reading the greeting");
    client.get("/").expect_errors().await.assert_status(500);
    client.clone().expect_errors().get("/").await.assert_status(500);
    assert!(complaint(client.get("/busy")).await.contains("did not expect 503"));
    assert!(
        complaint(client.get("/").expect_status(404)).await.contains("expected the status 404 Not Found, found 500")
    );
    client.get("/missing").await.assert_status(404);
}

#[tokio::test]
async fn a_panic_anywhere_is_an_error_like_others() {
    async fn layer(_: Request, _: Next<'_>) -> Result<Response> {
        panic!("out of luck")
    }
    let app = Stack::new().layer(layer).app(Router::new());
    let said = complaint(Client::new(app).get("/")).await;
    assert!(said.contains("500 Internal Server Error: panicked: out of luck"), "{said}");
}

#[tokio::test]
async fn a_body_that_breaks_off_fails_the_test() {
    let routes = Router::new()
        .route("/", get(async || Body::stream(Pieces(vec![Ok("begun"), Err(std::io::Error::other("disk gone"))]))))
        .route("/short", get(async || ([(purlin::header::CONTENT_LENGTH, 9.into())], "hello")));
    let client = client(routes).allow("content-type-missing");
    let said = complaint(client.get("/")).await;
    assert!(said.contains("the body ended with an error") && said.contains("disk gone"), "{said}");
    let page = client.get("/").expect_errors().await;
    assert_eq!(page.body_error().unwrap().message(), "disk gone");
    assert_eq!(page.text(), "begun");
    let said = complaint(client.get("/short")).await;
    assert!(said.contains("`content-length` says 9 bytes, and the body has 5"), "{said}");
}

#[tokio::test]
async fn an_application_that_does_not_fit_together_fails_the_test() {
    async fn needy(purlin::State(_): purlin::State<u8>) {}
    let said = complaint_of(|| client(Router::new().route("/", get(needy))));
    assert!(said.contains("the site does not fit together") && said.contains("needs `u8`"), "{said}");
}

#[tokio::test]
async fn cookies_are_kept_for_one_visitor() {
    async fn count(cookies: Cookies) -> impl IntoResponse {
        let count = cookies.get("count").and_then(|count| count.parse::<u32>().ok()).unwrap_or(0) + 1;
        ([(purlin::header::SET_COOKIE, format!("count={count}; HttpOnly").parse().unwrap())], count.to_string())
    }
    async fn logout() -> impl IntoResponse {
        ([(purlin::header::SET_COOKIE, "count=; Max-Age=0".parse().unwrap())], "bye")
    }
    let client = client(Router::new().route("/", get(count)).route("/logout", get(logout)));
    assert_eq!(client.get("/").await.text(), "1");
    assert_eq!(client.get("/").await.text(), "2");
    let other = client.another_visitor();
    assert_eq!(other.get("/").await.text(), "1");
    assert_eq!(client.cookie("count").as_deref(), Some("2"));
    assert!(client.cookies()[0].http_only);
    client.set_cookie("count", "41");
    assert_eq!(client.clone().get("/").await.text(), "42");
    client.get("/logout").await;
    assert_eq!(client.cookies(), []);
    assert_eq!(other.get("/").await.text(), "2");
    other.clear_cookies();
    assert_eq!(other.get("/").await.text(), "1");
}

#[tokio::test]
async fn https_and_the_peer_are_what_the_test_says() {
    async fn facts(connection: Connection, req: Request) -> String {
        format!("{} {:?}", req.is_https(), connection.ip())
    }
    let client = client(Router::new().route("/", get(facts)));
    assert_eq!(client.get("/").await.text(), "false Some(127.0.0.1)");
    let client = client.base_url("https://shop.example").peer("[::1]:9".parse().unwrap());
    let page = client.get("/").await;
    assert_eq!(page.text(), "true Some(::1)");
    assert_eq!(page.url(), "https://shop.example/");
}

fn redirects() -> Client {
    let routes = Router::new()
        .route("/old", get(async || Redirect::permanent("/new?x=1")))
        .route("/sign", post(async || Redirect::see_other("thanks")))
        .route("/again", post(async || Redirect::temporary("/new")))
        .route("/loop", get(async || Redirect::see_other("/loop")))
        .route("/away", get(async || Redirect::see_other("https://evil.example/")))
        .route("/thanks", any(mirror))
        .route("/new", any(mirror));
    client(routes)
}

#[tokio::test]
async fn redirects_are_followed_when_told() {
    let client = redirects();
    let page = client.get("/old").await;
    page.assert_status(308).assert_redirect("/new?x=1").assert_redirect("http://localhost/new?x=1");
    assert!(page.follow().await.text().starts_with("GET /new?x=1\n"));
    let signed = client.post("/sign").form(&[("a", "b")]).follow_redirects().await;
    assert_eq!(signed.text(), "GET /thanks\nhost: localhost\n");
    assert_eq!(signed.url(), "http://localhost/thanks");
    let again = client.clone().follow_redirects().post("/again").body("twice").await;
    assert_eq!(again.text(), "POST /new\ncontent-length: 5\nhost: localhost\ntwice");
    let said = complaint(client.get("/loop").follow_redirects()).await;
    assert!(said.contains("expected an end of the redirects after 10"), "{said}");
    assert!(said.contains("GET http://localhost/loop: 303 See Other\nGET http://localhost/loop: 303"), "{said}");
    let said = complaint(client.get("/away").follow_redirects()).await;
    assert!(said.contains("the redirect leads to another site: https://evil.example/"), "{said}");
    let said = complaint_of(|| page.assert_redirect("/newer"));
    assert!(said.contains("expected a redirect to /newer, found /new?x=1"), "{said}");
}

#[tokio::test]
async fn an_assertion_that_fails_shows_the_exchange() {
    let client = mirrors();
    let page = client.post("/guests").form(&[("name", "Ada")]).await;
    let said = complaint_of(|| page.assert_status(201));
    let expected = "expected the status 201 Created, found 200 OK\n\nPOST http://localhost/guests\n";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.contains("\n\n  name=Ada\n"), "{said}");
    assert!(said.contains("\n200 OK\n  content-type: text/plain; charset=utf-8\n"), "{said}");
    for (said, expected) in [
        (
            complaint_of(|| page.assert_header("content-type", "text/html")),
            "expected the header `content-type: text/html`, found [\"text/plain; charset=utf-8\"]",
        ),
        (complaint_of(|| page.assert_no_header("content-type")), "expected no header `content-type`"),
        (complaint_of(|| page.assert_contains("Eve")), "expected the text \"Eve\""),
        (complaint_of(|| page.assert_lacks("Ada")), "did not expect the text \"Ada\""),
        (complaint_of(|| page.json::<u8>()), "expected JSON of u8: expected value at line 1 column 1"),
        (complaint_of(|| page.title()), "expected a page of HTML"),
    ] {
        assert!(said.starts_with(expected), "{said}");
    }
    page.assert_status(200).assert_contains("Ada").assert_lacks("Eve");
}

#[tokio::test]
async fn json_is_read_and_compared() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Point {
        x: i32,
        y: i32,
    }
    async fn flip(Json(point): Json<Point>) -> Json<Point> {
        Json(Point { x: point.y, y: point.x })
    }
    let page = client(Router::new().route("/", post(flip))).post("/").json(&Point { x: 1, y: 2 }).await;
    assert_eq!(page.json::<Point>(), Point { x: 2, y: 1 });
    page.assert_json(&Point { x: 2, y: 1 });
    let said = complaint_of(|| page.assert_json(&Point { x: 0, y: 0 }));
    assert!(said.contains("expected the JSON {\n  \"x\": 0"), "{said}");
}

const PAGE: &str = r##"<!doctype html><title>Guest &amp; book</title>
<nav><a href="/">Home</a> <a href="next?page=2#top">Older
entries</a> <a href="/a">More</a> <a href="/b">More</a> <a href=/pic><img src=x alt="A picture"></a></nav>
<form id=search action=/search><input name=q value="old"></form>
<form id=sign method=post action="/sign?x=1">
  <input type=hidden name=csrf value="token&quot;7">
  <input name=name value=Ada> <input name=locked value=no disabled>
  <textarea name=message>
Hello
you</textarea>
  <select name=colour><option value=r>Red<option value=g selected>Green<option value=b disabled>Blue</select>
  <select name=tags multiple><option>one<option>two<option>three</select>
  <input type=radio name=size value=s><input type=radio name=size value=m checked>
  <input type=hidden name=agree value=no><input type=checkbox name=agree value=yes>
  <input type=checkbox name=news> <input type=submit value="Sign"> <button name=draft value=1 formaction=/draft>Keep <b>it</b></button>
  <input type=reset> <input value="no name">
</form>
<input name=outside value=here form=sign>
<form action=/upload method=POST enctype=multipart/form-data><input type=file name=photo><input name=caption><button>Upload</button></form>"##;

fn site() -> Client {
    client(Router::new().route("/", get(async || html(PAGE))).route("/{*rest}", any(mirror)))
}

#[tokio::test]
async fn a_page_can_be_looked_at() {
    let page = site().get("/").await;
    assert_eq!(page.title(), "Guest & book");
    assert!(page.contains_text("Older entries"));
    assert!(!page.contains_text("Younger entries"));
    page.assert_contains("Older entries").assert_contains("Guest &amp; book");
    assert_eq!(page.links().len(), 5);
    assert_eq!(page.select("#sign [name=name]")[0].attr("value"), Some("Ada"));
    assert_eq!(page.select("nav > a[href='/']")[0].text(), "Home");
}

#[tokio::test]
async fn links_and_buttons_are_clicked_by_what_is_on_them() {
    let page = site().get("/").await;
    let first = |page: Page| page.text().lines().next().unwrap().to_owned();
    assert_eq!(first(page.click("Older entries").await), "GET /next?page=2");
    assert_eq!(first(page.click("Older").await), "GET /next?page=2");
    assert_eq!(first(page.click("A picture").await), "GET /pic");
    assert_eq!(first(page.click("Upload").await), "POST /upload");
    page.click("Home").await.assert_status(200);
    let said = complaint_of(|| page.click("More"));
    assert!(said.starts_with("several links \"More\", to /a, /b"), "{said}");
    let said = complaint_of(|| page.click("Less"));
    assert!(said.contains("the links are \"Home\", \"Older entries\""), "{said}");
}

#[tokio::test]
async fn a_form_is_sent_with_what_the_page_filled_in() {
    let page = site().get("/").await;
    let said = page.form("#sign").submit().await;
    let (head, body) = said.text().split_once("sec-fetch-site: same-origin\n").unwrap();
    assert!(head.starts_with("POST /sign?x=1\n"), "{head}");
    assert!(head.contains("origin: http://localhost\nreferer: http://localhost/\n"), "{head}");
    assert_eq!(body, "csrf=token%227&name=Ada&message=Hello%0D%0Ayou&colour=g&size=m&agree=no&outside=here");
}

#[tokio::test]
async fn a_form_is_filled_in_as_by_hand() {
    let page = site().get("/").await;
    let form = page.form("/sign?x=1").set("name", "Eve").set("colour", "Red").set("size", "s").set("agree", "yes");
    let form = form.add("tags", "one").add("tags", "three").check("news").set("message", "a\nb");
    assert_eq!(form.value("colour").as_deref(), Some("r"));
    let fields: Vec<String> = form.fields().iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        fields.join(" "),
        "csrf=token\"7 name=Eve message=a\nb colour=r tags=one tags=three size=s agree=no agree=yes news=on outside=here"
    );
    let form = form.uncheck("news").uncheck("agree");
    let draft = form.press("Keep it").await;
    assert!(draft.text().starts_with("POST /draft\n"));
    assert!(draft.text().ends_with("size=s&agree=no&outside=here&draft=1"), "{}", draft.text());
    let search = page.form(0).set("q", "a b").submit().await;
    assert!(search.text().starts_with("GET /search?q=a+b\n"));
    let upload = page.form(2).set("caption", "cat").file("photo", "c.png", "image/png", "PNG").submit().await;
    upload
        .assert_contains("name=\"caption\"\r\n\r\ncat\r\n")
        .assert_contains("filename=\"c.png\"\r\nContent-Type: image/png");
    let (photo, caption) = (upload.text().find("\"photo\""), upload.text().find("\"caption\""));
    assert!(photo.is_some() && photo < caption, "in the order of the page");
}

#[tokio::test]
async fn a_wrong_field_is_answered_with_those_there_are() {
    let page = site().get("/").await;
    let form = || page.form("#sign");
    let table = [
        (
            complaint_of(|| page.form("#login")),
            "expected a form \"#login\", found <form id=\"search\" action=\"/search\">",
        ),
        (complaint_of(|| page.form(7)), "expected a form at the place 7"),
        (
            complaint_of(|| form().set("nmae", "x")),
            "<form id=\"sign\" method=\"post\" action=\"/sign?x=1\"> has no field `nmae`",
        ),
        (complaint_of(|| form().set("locked", "x")), "the field `locked` of"),
        (complaint_of(|| form().set("size", "xl")), "the field `size` of"),
        (complaint_of(|| form().set("colour", "Blue")), "the field `colour` of"),
        (
            complaint_of(|| form().press("Go")),
            "<form id=\"sign\" method=\"post\" action=\"/sign?x=1\"> has no button \"Go\": there are \"Sign\", \"Keep it\"",
        ),
        (complaint_of(|| form().check("name")), "expected one check box `name`"),
        (complaint_of(|| form().file("name", "a", "b", "")), "the field `name` of"),
    ];
    for (said, expected) in table {
        assert!(said.starts_with(expected), "{said}");
    }
    assert!(complaint_of(|| form().set("size", "xl")).ends_with("has no choice \"xl\": there are \"s\", \"m\""));
    assert!(complaint_of(|| form().set("nmae", "x")).contains("\"name\""));
}

#[tokio::test]
async fn a_cookie_that_a_browser_would_refuse_is_named_when_a_test_fails() {
    let routes =
        Router::new().route("/", get(async || ([(purlin::header::SET_COOKIE, "__Host-id=1".parse().unwrap())], "x")));
    let page = client(routes).allow("set-cookie-refused").get("/").await;
    let said = complaint_of(|| page.assert_status(201));
    assert!(said.contains("a browser would refuse the cookie __Host-id: its prefix __Host- asks for Secure"), "{said}");
}

/// A server that takes one request, notes it and answers with these bytes.
async fn canned(answer: &'static str) -> (Client, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") && !request.ends_with("END") {
            let mut piece = [0; 1000];
            let length = stream.read(&mut piece).await.unwrap();
            request.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    // What it answers is up to the test.
    (Client::connect(&format!("http://{address}")).lint(false), served)
}

#[tokio::test]
async fn a_listening_server_is_asked_in_the_same_way() {
    let table = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nset-cookie: a=b\r\n\r\nhelloxxx", "hello"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nx-t: 1\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.0 200 OK\r\nX:  y \r\n\r\n", ""),
    ];
    for (answer, body) in table {
        let (client, served) = canned(answer).await;
        let page = client.post("/x?y").header("a", "b").body("The END").await;
        assert_eq!(page.text(), body, "{answer}");
        let request = served.await.unwrap();
        assert!(request.starts_with("POST /x?y HTTP/1.1\r\na: b\r\nhost: 127.0.0.1:"), "{request}");
        assert!(request.ends_with("connection: close\r\n\r\nThe END"), "{request}");
        assert_eq!(client.cookie("a").is_some(), answer.contains("set-cookie"));
    }
}

#[tokio::test]
async fn a_server_that_answers_badly_fails_the_test() {
    let table = [
        ("", "expected an answer, found the connection closed after \"\""),
        ("SSH-2.0\r\n\r\n", "expected a status in the answer's head, found \"SSH-2.0\""),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "expected a header in the answer's head, found \"no colon\""),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", "the connection was closed within the body"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "expected the size of a chunk, found \"x\""),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\nsorry", "did not expect 500 Internal Server Error"),
    ];
    for (answer, expected) in table {
        let (client, _served) = canned(answer).await;
        let said = complaint(client.get("/")).await;
        assert!(said.contains(expected), "{said}");
    }
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let said = complaint(Client::connect(&format!("http://{gone}")).get("/")).await;
    assert!(
        said.contains(&format!("no answer to GET http://{gone}/: connecting to {gone}: Connection refused")),
        "{said}"
    );
}

#[tokio::test]
async fn a_site_is_tested_over_a_socket_as_in_the_process() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let bound = purlin::Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = format!("http://{}", bound.addresses()[0]);
    let routes = Router::new()
        .route("/", get(async || html(PAGE)))
        .route("/stream", get(async || Body::stream(Pieces(vec![Ok("a"), Ok("b")]))))
        .route("/fails", get(fails))
        .route("/{*rest}", any(mirror));
    let served = tokio::spawn(bound.serve(Stack::new().app(routes), async {
        let _ = stopped.await;
    }));
    let client = Client::connect(&address).allow("content-type-missing");
    let signed = client.get("/").await.form("#sign").set("name", "Eve").submit().await;
    assert!(signed.text().starts_with("POST /sign?x=1\n") && signed.text().contains("name=Eve"), "{}", signed.text());
    client.head("/").await.assert_header("content-length", &PAGE.len().to_string());
    assert_eq!(client.get("/stream").await.text(), "ab");
    let long = client.post("/echo").body(Body::stream(Pieces(vec![Ok("1234"), Ok("5678")]))).await;
    assert!(long.text().ends_with("\n12345678"), "{}", long.text());
    client.post("/large").body(vec![b'x'; 100_000]).expect_status(413).await;
    client.get("/fails").expect_status(500).await;
    let _ = stop.send(());
    served.await.unwrap().unwrap();
}

#[purlin::test]
async fn an_async_test_is_run_to_its_end() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    client(Router::new().route("/", get(async || "here"))).get("/").await.assert_contains("here");
}

#[purlin::test]
async fn an_async_test_may_end_by_a_question_mark() -> Result<()> {
    let number: u8 = "12".parse()?;
    assert_eq!(number, 12);
    Ok(())
}

#[purlin::test]
#[should_panic(expected = "on purpose")]
async fn an_async_test_fails_by_what_panics_in_it() {
    panic!("on purpose");
}

#[purlin::test]
fn a_test_that_is_not_async_is_one_too() {
    assert!(tokio::runtime::Handle::try_current().is_err());
}
