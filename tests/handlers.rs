//! Handlers: what they take from a request, what they may return, and how they refuse.

use purlin::layers::BodyLimit;
use purlin::testing::{Client, Page, RequestBuilder};
use purlin::{
    Body, Bytes, Context, Cookies, Error, Form, FromRequest, HeaderMap, Html, Json, Method, Path, Query, Request,
    Response, Result, Router, Stack, State, StatusCode, any, get, html, post, text,
};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashMap;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;

fn client(routes: Router) -> Client {
    Client::new(Stack::new().app(routes))
}

/// Writes the path's parameters as a `T`.
async fn show<T: Debug + Send>(Path(value): Path<T>) -> String {
    format!("{value:?}")
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Day {
    year: u16,
    month: u8,
    colour: Option<Colour>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Id(u32);

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Pair(u8, String);

/// A type with a rule of its own.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
#[allow(dead_code)]
struct Slug(String);

impl TryFrom<String> for Slug {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, &'static str> {
        if text.chars().all(|c| c.is_ascii_lowercase()) { Ok(Self(text)) } else { Err("a slug has small letters only") }
    }
}

/// Reads itself from text.
#[derive(Debug)]
#[allow(dead_code)]
struct Even(u8);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let number = u8::deserialize(from)?;
        if number % 2 == 0 { Ok(Self(number)) } else { Err(serde::de::Error::custom("an odd number")) }
    }
}

#[tokio::test]
async fn parameters_of_the_path_are_typed() {
    let routes = Router::new()
        .route("/u32/{x}", get(show::<u32>))
        .route("/i8/{x}", get(show::<i8>))
        .route("/f64/{x}", get(show::<f64>))
        .route("/bool/{x}", get(show::<bool>))
        .route("/char/{x}", get(show::<char>))
        .route("/string/{x}", get(show::<String>))
        .route("/ip/{x}", get(show::<Ipv4Addr>))
        .route("/nonzero/{x}", get(show::<NonZeroU32>))
        .route("/enum/{x}", get(show::<Colour>))
        .route("/id/{x}", get(show::<Id>))
        .route("/option/{x}", get(show::<Option<u8>>))
        .route("/slug/{x}", get(show::<Slug>))
        .route("/even/{x}", get(show::<Even>))
        .route("/list/{x}/{y}/{z}", get(show::<Vec<u8>>))
        .route("/tuple/{x}/{y}", get(show::<(u8, String)>))
        .route("/slugs/{x}/{y}", get(show::<(Slug, Even)>))
        .route("/pair/{x}/{y}", get(show::<Pair>))
        .route("/day/{month}/{year}", get(show::<Day>))
        .route("/day/{month}/{year}/{colour}", get(show::<Day>))
        .route("/map/{x}", get(show::<HashMap<String, u8>>))
        .route("/unit", get(show::<()>))
        .route("/optional/{x}", get(async |id: Option<Path<u8>>| format!("{:?}", id.map(|Path(id)| id))))
        .route(
            "/result/{x}",
            get(async |id: Result<Path<u8>>| format!("{:?}", id.map(|Path(id)| id).map_err(|e| e.status()))),
        );
    let client = client(routes);
    let table = [
        ("/u32/7", 200, "7"),
        ("/u32/-7", 404, ""),
        ("/u32/seven", 404, ""),
        ("/u32/4294967296", 404, ""),
        ("/u32/7%20", 404, ""),
        ("/u32/%37", 200, "7"),
        ("/u32/%FF", 400, ""),
        ("/i8/-128", 200, "-128"),
        ("/f64/1.5", 200, "1.5"),
        ("/bool/true", 200, "true"),
        ("/bool/1", 404, ""),
        ("/char/%C3%BC", 200, "'ü'"),
        ("/char/ab", 404, ""),
        ("/string/a%2Fb", 200, "\"a/b\""),
        ("/ip/127.0.0.1", 200, "127.0.0.1"),
        ("/ip/localhost", 404, ""),
        ("/nonzero/1", 200, "1"),
        ("/nonzero/0", 404, ""),
        ("/enum/green", 200, "Green"),
        ("/enum/Green", 404, ""),
        ("/id/7", 200, "Id(7)"),
        ("/id/x", 404, ""),
        ("/option/7", 200, "Some(7)"),
        ("/option/x", 404, ""),
        ("/slug/abc", 200, "Slug(\"abc\")"),
        ("/slug/ABC", 404, ""),
        ("/even/4", 200, "Even(4)"),
        ("/even/5", 404, ""),
        ("/list/1/2/3", 200, "[1, 2, 3]"),
        ("/list/1/2/x", 404, ""),
        ("/tuple/1/two", 200, "(1, \"two\")"),
        ("/tuple/x/two", 404, ""),
        ("/slugs/abc/4", 200, "(Slug(\"abc\"), Even(4))"),
        ("/slugs/abc/5", 404, ""),
        ("/slugs/ABC/4", 404, ""),
        ("/pair/1/two", 200, "Pair(1, \"two\")"),
        ("/day/2/2026", 200, "Day { year: 2026, month: 2, colour: None }"),
        ("/day/2/2026/red", 200, "Day { year: 2026, month: 2, colour: Some(Red) }"),
        ("/day/2/2026/blue", 404, ""),
        ("/day/2/-1", 404, ""),
        ("/map/7", 200, "{\"x\": 7}"),
        ("/unit", 200, "()"),
        ("/optional/7", 200, "Some(7)"),
        ("/optional/x", 200, "None"),
        ("/result/x", 200, "Err(404)"),
    ];
    for (path, status, body) in table {
        let page = client.get(path).await;
        assert_eq!((page.status().as_u16(), page.text()), (status, body), "{path} {:?}", page.error());
    }
}

fn cause(page: &Page) -> String {
    format!("{:#}", page.error().expect("a carried error"))
}

#[tokio::test]
async fn a_parameter_that_does_not_fit_is_named() {
    let routes = Router::new()
        .route("/u8/{id}", get(show::<u8>))
        .route("/enum/{colour}", get(show::<Colour>))
        .route("/slug/{slug}", get(show::<Slug>))
        .route("/nonzero/{n}", get(show::<NonZeroU32>))
        .route("/ip/{ip}", get(show::<Ipv4Addr>));
    let client = client(routes);
    let table = [
        ("/u8/300", "expected the path's parameter `id` to be a number (u8), found \"300\""),
        ("/enum/blue", "expected the path's parameter `colour` to be one of red, green, found \"blue\""),
        ("/slug/A", "a slug has small letters only"),
        ("/nonzero/0", "the path's parameter `n` is \"0\": invalid value: integer `0`, expected a nonzero u32"),
        ("/ip/x", "the path's parameter `ip` is \"x\": "),
    ];
    for (path, expected) in table {
        let said = cause(&client.get(path).await);
        assert!(said.contains(expected), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_type_that_no_such_path_can_fill_is_the_sites_own_failure() {
    let routes = Router::new()
        .route("/none", get(show::<u8>))
        .route("/two/{x}/{y}", get(show::<u8>))
        .route("/three/{x}/{y}", get(show::<(u8, u8, u8)>))
        .route("/names/{x}/{y}", get(show::<Day>))
        .route("/deep/{x}", get(show::<(Vec<u8>,)>));
    let client = client(routes);
    let table = [
        ("/none", "the path has 0 parameters, and the handler asks for one value: take a tuple or a struct"),
        ("/two/1/2", "the path has 2 parameters, and the handler asks for one value: take a tuple or a struct"),
        ("/three/1/2", "the path has 2 parameters, and the handler asks for 3"),
        ("/names/1/2", "missing field `year`"),
        ("/deep/1", "invalid type: string \"1\", expected a sequence"),
    ];
    for (path, expected) in table {
        let page = client.get(path).expect_status(500).await;
        assert!(cause(&page).contains(expected), "{path}: {}", cause(&page));
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Search {
    q: String,
    page: Option<u32>,
    #[serde(default)]
    exact: bool,
}

async fn search(Query(search): Query<Search>) -> String {
    format!("{search:?}")
}

async fn sign(Form(search): Form<Search>) -> String {
    format!("{search:?}")
}

async fn point(Json(search): Json<Search>) -> Json<Search> {
    Json(search)
}

async fn echo(body: String) -> String {
    body
}

fn forms() -> Client {
    client(
        Router::new()
            .route("/search", get(search))
            .route("/form", any(sign))
            .route("/json", post(point))
            .route("/text", post(echo))
            .route("/bytes", post(async |body: Bytes| body.len().to_string())),
    )
}

#[tokio::test]
async fn a_query_is_a_struct() {
    let client = forms();
    let full = "Search { q: \"a b\", page: Some(2), exact: true }";
    let table = [
        ("/search?q=a+b&page=2&exact=true", 200, full),
        ("/search?exact=true&page=2&q=a%20b&unknown=1", 200, full),
        ("/search?q=%C3%BC", 200, "Search { q: \"ü\", page: None, exact: false }"),
        ("/search?q=", 200, "Search { q: \"\", page: None, exact: false }"),
        ("/search", 400, "The query of the address cannot be read: missing field `q`."),
        (
            "/search?q=a&page=two",
            400,
            "The query of the address cannot be read: expected the field `page` to be a number (u32), found \"two\".",
        ),
        (
            "/search?q=a&q=b",
            400,
            "The query of the address cannot be read: expected the field `q` once, found it 2 times.",
        ),
        (
            "/search?q=a&exact=1",
            400,
            "The query of the address cannot be read: expected the field `exact` to be true or false, found \"1\".",
        ),
    ];
    for (path, status, expected) in table {
        let page = client.get(path).await;
        let found = page.error().and_then(|error| error.public_message()).unwrap_or(page.text());
        assert_eq!((page.status().as_u16(), found), (status, expected), "{path}");
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Order {
    tags: Vec<String>,
    sizes: Option<Vec<u8>>,
    news: bool,
    colour: Option<Colour>,
    slug: Option<Slug>,
    id: Option<Id>,
    amount: Option<NonZeroU32>,
}

#[tokio::test]
async fn fields_of_a_form_are_typed() {
    async fn order(Form(order): Form<Order>) -> String {
        format!("{order:?}")
    }
    async fn pairs(Form(pairs): Form<Vec<(String, u8)>>) -> String {
        format!("{pairs:?}")
    }
    async fn map(Form(map): Form<std::collections::BTreeMap<String, String>>) -> String {
        format!("{map:?}")
    }
    async fn lists(Form(map): Form<std::collections::BTreeMap<String, Vec<u8>>>) -> String {
        format!("{map:?}")
    }
    let routes = Router::new()
        .route("/order", post(order))
        .route("/pairs", post(pairs))
        .route("/map", post(map))
        .route("/lists", post(lists));
    let client = client(routes);
    let table = [
        ("/order", "", "tags: [], sizes: None, news: false, colour: None, slug: None, id: None, amount: None"),
        ("/order", "tags=a&x=y&tags=b", "tags: [\"a\", \"b\"]"),
        ("/order", "tags=a", "tags: [\"a\"]"),
        ("/order", "sizes=1&sizes=2", "sizes: Some([1, 2])"),
        ("/order", "news=on", "news: true"),
        ("/order", "news=true", "news: true"),
        ("/order", "colour=red&slug=abc&id=7", "colour: Some(Red), slug: Some(Slug(\"abc\")), id: Some(Id(7))"),
        ("/order", "news=yes", "expected the field `news` to be true or false, found \"yes\"."),
        ("/order", "sizes=1&sizes=x", "expected the field `sizes[1]` to be a number (u8), found \"x\"."),
        ("/order", "colour=blue", "expected the field `colour` to be one of red, green, found \"blue\"."),
        ("/order", "slug=ABC", "the field `slug` is \"ABC\": a slug has small letters only."),
        ("/order", "amount=0", "the field `amount` is \"0\": invalid value: integer `0`, expected a nonzero u32."),
        ("/order", "id=1&id=2", "expected the field `id` once, found it 2 times."),
        ("/pairs", "b=1&a=2&b=3", "[(\"b\", 1), (\"a\", 2), (\"b\", 3)]"),
        ("/map", "b=1&a=2&b=3", "{\"a\": \"2\", \"b\": \"3\"}"),
        ("/lists", "b=1&a=2&b=3", "{\"a\": [2], \"b\": [1, 3]}"),
    ];
    for (path, form, expected) in table {
        let page = client.post(path).header("content-type", "application/x-www-form-urlencoded").body(form).await;
        let found = page.error().and_then(|error| error.public_message()).unwrap_or(page.text());
        assert!(found.contains(expected), "{form}: {found}");
    }
    let long = client.post("/order").form(&[("id", "x".repeat(1000))]).await;
    assert!(cause(&long).len() < 200, "a message does not grow with what was sent: {}", cause(&long));
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_refused_with_a_reason() {
    let client = forms();
    let typed = |path: &str, content_type: &str, body: &'static str| -> RequestBuilder {
        let request = client.post(path).body(body);
        if content_type.is_empty() { request } else { request.header("content-type", content_type) }
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";
    let table = [
        (typed("/form", FORM, "q=a+b&page=2&exact=true"), 200, "Search { q: \"a b\", page: Some(2), exact: true }"),
        (
            typed("/form", "Application/X-WWW-Form-Urlencoded ; charset=UTF-8", "q=a"),
            200,
            "Search { q: \"a\", page: None, exact: false }",
        ),
        (typed("/form", FORM, "page=2"), 400, "The form cannot be read: missing field `q`."),
        (
            typed("/form", FORM, "q=a&page=x"),
            400,
            "The form cannot be read: expected the field `page` to be a number (u32), found \"x\".",
        ),
        (typed("/form", "", "q=a"), 415, "The request's content type must be application/x-www-form-urlencoded."),
        (typed("/form", JSON, "{}"), 415, "The request's content type must be application/x-www-form-urlencoded."),
        (typed("/json", JSON, "{\"q\":\"a\",\"page\":2}"), 200, "{\"q\":\"a\",\"page\":2,\"exact\":false}"),
        (
            typed("/json", "application/problem+json; x=y", "{\"q\":\"a\"}"),
            200,
            "{\"q\":\"a\",\"page\":null,\"exact\":false}",
        ),
        (typed("/json", JSON, ""), 400, "The JSON cannot be read: EOF while parsing a value at line 1 column 0."),
        (
            typed("/json", JSON, "{\"q\":\"a\""),
            400,
            "The JSON cannot be read: EOF while parsing an object at line 1 column 8.",
        ),
        (typed("/json", JSON, "{}"), 422, "The JSON cannot be read: missing field `q` at line 1 column 2."),
        (
            typed("/json", JSON, "{\"q\":1}"),
            422,
            "The JSON cannot be read: invalid type: integer `1`, expected a string at line 1 column 6.",
        ),
        (typed("/json", "text/plain", "{}"), 415, "The request's content type must be application/json."),
        (typed("/json", "text/x+json", "{}"), 415, "The request's content type must be application/json."),
        (typed("/text", "", "grüß dich"), 200, "grüß dich"),
        (client.post("/text").body(b"abc\xFFd".as_slice()), 400, "The request's text is not UTF-8."),
        (client.post("/bytes").body(vec![0; 2 << 20]), 200, "2097152"),
        (client.post("/bytes").body(vec![0; (2 << 20) + 1]), 413, "The request is larger than 2 MiB."),
        (client.post("/text").body(vec![b'x'; (2 << 20) + 1]), 413, "The request is larger than 2 MiB."),
    ];
    for (at, (request, status, expected)) in table.into_iter().enumerate() {
        let page = request.await;
        let found = page.error().and_then(|error| error.public_message()).unwrap_or(page.text());
        assert_eq!((page.status().as_u16(), found), (status, expected), "row {at}");
    }
    let refused = typed("/json", "", "{}").await;
    assert_eq!(cause(&refused), "expected a body of type application/json, found \"none\"");
    let mangled = client.post("/text").body(b"abc\xFFd".as_slice()).await;
    assert_eq!(cause(&mangled), "expected a body in UTF-8, found other bytes at 3");
    let wrong = typed("/form", FORM, "page=2").await;
    assert_eq!(cause(&wrong), "reading the form: missing field `q`");
}

#[tokio::test]
async fn the_limit_of_a_body_holds_for_every_extractor_and_a_route_may_have_its_own() {
    let routes = Router::new()
        .route("/form", post(sign))
        .route("/json", post(point))
        .route("/text", post(echo))
        .route("/large", post(echo).layer(BodyLimit::new(100)));
    let client = Client::new(Stack::new().layer(BodyLimit::new(10)).app(routes));
    let long = "x".repeat(20);
    for request in [
        client.post("/form").form(&[("q", &long)]),
        client.post("/json").json(&[&long]),
        client.post("/text").body(long.clone()),
    ] {
        let page = request.await;
        page.assert_status(413);
        assert!(
            cause(&page).contains("request body is larger than 10 bytes (setting `body_limit`)"),
            "{}",
            cause(&page)
        );
    }
    assert_eq!(client.post("/large").body(long.clone()).await.text(), long);
    client.post("/large").body("x".repeat(101)).await.assert_status(413);
}

/// An extractor of a site's own.
struct Language(String);

impl FromRequest for Language {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let header = req.headers().get("accept-language").or_400()?;
        Ok(Self(header.to_str()?.to_owned()))
    }
}

#[tokio::test]
async fn arguments_are_taken_in_order_and_the_first_failure_answers() {
    #[allow(clippy::too_many_arguments)]
    async fn all(
        method: Method,
        Path(id): Path<u8>,
        Query(query): Query<HashMap<String, String>>,
        headers: HeaderMap,
        cookies: Cookies,
        State(suffix): State<&'static str>,
        Language(language): Language,
        body: String,
    ) -> String {
        let host = headers["host"].to_str().unwrap();
        format!("{method} {id} {} {host} {} {suffix} {language} {body}", query["q"], cookies.get("c").unwrap_or("none"))
    }
    let client = Client::new(Stack::new().layer(State("!")).app(Router::new().route("/{id}", any(all))));
    client.set_cookie("c", "7");
    let page = client.post("/1?q=x").header("accept-language", "de").body("text").await;
    assert_eq!(page.text(), "POST 1 x localhost 7 ! de text");
    client.post("/x").await.assert_status(404);
    let page = client.post("/1").await;
    page.assert_status(400);
    assert_eq!(page.error().unwrap().message(), "expected a value and found none");
}

#[tokio::test]
async fn anything_that_can_become_a_response_may_be_returned() {
    fn header() -> [(purlin::HeaderName, purlin::HeaderValue); 1] {
        [(purlin::header::VARY, purlin::HeaderValue::from_static("*"))]
    }
    let routes = Router::new()
        .route("/unit", get(async || ()))
        .route("/str", get(async || "text"))
        .route("/string", get(async || String::from("text")))
        .route("/bytes", get(async || Bytes::from_static(b"text")))
        .route("/vec", get(async || b"text".to_vec()))
        .route("/body", get(async || Body::from("text")))
        .route("/html", get(async || html("text")))
        .route("/html2", get(async || Html("text")))
        .route("/text", get(async || text("text")))
        .route("/json", get(async || Json("text")))
        .route("/status", get(async || StatusCode::IM_A_TEAPOT))
        .route("/created", get(async || (StatusCode::CREATED, "text")))
        .route("/headers", get(async || (header(), "text")))
        .route("/ok", get(async || -> Result<&'static str> { Ok("text") }))
        .route("/err", get(async || -> Result<&'static str> { Err(Error::conflict("taken")) }))
        .route("/io", get(async || -> Result<(), std::io::Error> { Err(std::io::Error::other("disk gone")) }))
        .route("/response", get(async || Response::new(Body::from("text"))));
    let client = client(routes).allow("content-type-missing");
    let table = [
        ("/unit", 200, "", ""),
        ("/str", 200, "text/plain; charset=utf-8", "text"),
        ("/string", 200, "text/plain; charset=utf-8", "text"),
        ("/bytes", 200, "application/octet-stream", "text"),
        ("/vec", 200, "application/octet-stream", "text"),
        ("/body", 200, "", "text"),
        ("/html", 200, "text/html; charset=utf-8", "text"),
        ("/html2", 200, "text/html; charset=utf-8", "text"),
        ("/text", 200, "text/plain; charset=utf-8", "text"),
        ("/json", 200, "application/json", "\"text\""),
        ("/status", 418, "", ""),
        ("/created", 201, "text/plain; charset=utf-8", "text"),
        ("/headers", 200, "text/plain; charset=utf-8", "text"),
        ("/ok", 200, "text/plain; charset=utf-8", "text"),
        ("/err", 409, "", ""),
        ("/io", 500, "", ""),
        ("/response", 200, "", "text"),
    ];
    for (path, status, content_type, body) in table {
        let page = client.get(path).expect_errors().await;
        let found = (page.status().as_u16(), page.header("content-type").unwrap_or_default(), page.text());
        assert_eq!(found, (status, content_type, body), "{path}");
    }
}
