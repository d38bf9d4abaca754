//! `MethodOverride`: a form stands for `PUT`, `PATCH` or `DELETE`, and for nothing else.

use purlin::layers::{BodyLimit, Csrf, CsrfExempt, MethodOverride, Sessions};
use purlin::request::OriginalMethod;
use purlin::session::MemoryStore;
use purlin::testing::{Client, Multipart};
use purlin::{Form, Method, Request, Router, Stack, delete, get, post};
use std::collections::BTreeMap;

async fn method(method: Method, req: Request) -> String {
    let original = req.extensions().get::<OriginalMethod>().map(|original| original.0.to_string());
    format!("{method} {}", original.unwrap_or_default())
}

fn routes() -> Router {
    Router::new().route("/", purlin::any(method)).route(
        "/form",
        post(async || "posted").put(async |Form(form): Form<BTreeMap<String, String>>| format!("{form:?}")),
    )
}

fn client() -> Client {
    Client::new(Stack::new().layer(BodyLimit::new(1 << 10)).layer(MethodOverride::new()).app(routes()))
}

#[tokio::test]
async fn a_post_stands_for_what_its_field_says() {
    let client = client();
    let table = [
        ("PUT", 200, "PUT POST"),
        ("patch", 200, "PATCH POST"),
        ("Delete", 200, "DELETE POST"),
        ("POST", 200, "POST "),
        ("GET", 400, ""),
        ("HEAD", 400, ""),
        ("OPTIONS", 400, ""),
        ("TRACE", 400, ""),
        ("CONNECT", 400, ""),
        ("PROPFIND", 400, ""),
        ("", 400, ""),
        ("PUT DELETE", 400, ""),
    ];
    for (name, status, expected) in table {
        for request in [
            client.post("/").form(&[("a", "b"), ("_method", name)]),
            client.post("/").multipart(Multipart::new().text("_method", name)),
            client.post("/").header("x-http-method-override", name),
        ] {
            // What a field holds is not decoded, and no method has anything to decode.
            let page = request.await;
            assert_eq!((page.status().as_u16(), page.text()), (status, expected), "{name}: {:?}", page.error());
        }
    }
    client.post("/").form(&[("a", "b")]).await.assert_contains("POST ");
    client.post("/").json(&[("_method", "PUT")]).await.assert_contains("POST ");
}

#[tokio::test]
async fn other_methods_stay_as_they_are() {
    let client = client();
    for name in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = client.request(name.parse().unwrap(), "/").header("x-http-method-override", "DELETE");
        assert_eq!(request.form(&[("_method", "DELETE")]).await.text(), format!("{name} "));
    }
}

#[tokio::test]
async fn the_handler_finds_its_form_and_the_limit_holds() {
    let client = client();
    let page = client.post("/form").form(&[("a", "1"), ("_method", "PUT"), ("b", "2")]).await;
    assert_eq!(page.text(), "{\"_method\": \"PUT\", \"a\": \"1\", \"b\": \"2\"}");
    client.post("/form").form(&[("a", "x".repeat(2000))]).await.assert_status(413);
}

#[tokio::test]
async fn what_is_protected_stays_so_and_an_exemption_opens_no_other_method() {
    let routes = Router::new()
        .route("/", delete(async || "gone").get(async || "shown"))
        .route("/hook", post(async || "taken").layer(CsrfExempt).delete(async || "gone"))
        .route("/token", get(async |token: purlin::CsrfToken| token.masked().unwrap()));
    let client = Client::new(
        Stack::new()
            .layer(MethodOverride::new())
            .layer(Sessions::new(MemoryStore::new()))
            .layer(Csrf::new())
            .app(routes),
    );
    let token = client.get("/token").await.text().to_owned();
    client.post("/").form(&[("_method", "DELETE")]).await.assert_status(403);
    client.post("/").form(&[("_method", "DELETE"), ("csrf_token", &token)]).await.assert_contains("gone");
    client.post("/hook").await.assert_contains("taken");
    client.post("/hook").form(&[("_method", "DELETE")]).await.assert_status(403);
    client.post("/hook").header("x-http-method-override", "DELETE").await.assert_status(403);
    client.get("/").header("x-http-method-override", "DELETE").await.assert_contains("shown");
}
