//! `Cors`, held against the Fetch standard, and beside tower-http's.

use purlin::layers::{Cors, Csrf, ErrorPages, Sessions};
use purlin::session::MemoryStore;
use purlin::site::Life;
use purlin::{Body, Error, Method, Request, Response, Result, Router, Service, Stack, any, get, handler};
use std::time::Duration;

const APP: &str = "https://app.example.org";

fn routes() -> Router {
    let page = get(async || "all").put(async || "kept").post(async || "added");
    async fn lost() -> Result<()> {
        Err(Error::conflict("somebody else was quicker"))
    }
    let own = async || {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("access-control-allow-origin", "*".parse().unwrap());
        response
    };
    Router::new()
        .route("/notes", page)
        .route("/notes/{id}", get(async || "one").delete(async || "gone"))
        .route("/lost", get(lost))
        .route("/own", get(own))
        .route("/any", any(async || "whatever"))
        .mount("/elsewhere", handler(async || "somebody else's"))
}

fn site(cors: Cors) -> impl Service {
    let site = Stack::new().layer(cors).app(routes());
    Life::start(&site).expect("it starts");
    site
}

fn refusal(app: impl Service) -> String {
    format!("{:#}", Life::start(&app).expect_err("it does not start"))
}

async fn ask(app: &impl Service, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut req = Request::new(Body::empty());
    *req.method_mut() = method.parse().unwrap();
    *req.uri_mut() = path.parse().unwrap();
    for (name, value) in headers {
        req.headers_mut().append(http_name(name), value.parse().unwrap());
    }
    app.call(req).await
}

fn http_name(name: &str) -> purlin::HeaderName {
    name.parse().unwrap()
}

/// What an answer says of CORS: `origin: https://…; credentials: true`, in the order of the alphabet.
fn said<B>(response: &purlin::http::Response<B>) -> String {
    let mut all: Vec<String> = response
        .headers()
        .iter()
        .filter_map(|(name, value)| {
            let name =
                name.as_str().strip_prefix("access-control-").or(Some(name.as_str()).filter(|name| *name == "vary"))?;
            Some(format!("{name}: {}", value.to_str().unwrap()))
        })
        .collect();
    all.sort();
    all.join("; ")
}

#[tokio::test]
async fn an_answer_is_for_pages_of_the_origins_that_are_let_in() {
    type Row = (fn() -> Cors, &'static [(&'static str, &'static str)], &'static str);
    let one = || Cors::new().origin(APP).origin("http://localhost:5173");
    let table: &[Row] = &[
        (one, &[], "vary: origin"),
        (one, &[("origin", APP)], "allow-origin: https://app.example.org; vary: origin"),
        (one, &[("origin", "http://localhost:5173")], "allow-origin: http://localhost:5173; vary: origin"),
        // Compared byte for byte (Fetch §3.3.5).
        (one, &[("origin", "https://APP.example.org")], "vary: origin"),
        (one, &[("origin", "https://app.example.org.evil.example")], "vary: origin"),
        (one, &[("origin", "http://app.example.org")], "vary: origin"),
        (one, &[("origin", "https://app.example.org:8443")], "vary: origin"),
        (one, &[("origin", "null")], "vary: origin"),
        (one, &[("origin", "*")], "vary: origin"),
        (one, &[("origin", APP), ("origin", "https://evil.example")], "vary: origin"),
        (
            || Cors::new().origin(APP).credentials(true).expose(["etag", "x-total"]),
            &[("origin", APP)],
            "allow-credentials: true; allow-origin: https://app.example.org; expose-headers: etag, x-total; vary: origin",
        ),
        (
            || Cors::new().origin(APP).credentials(true).expose(["etag"]),
            &[("origin", "https://evil.example")],
            "vary: origin",
        ),
        (|| Cors::new().any_origin(true), &[], "allow-origin: *"),
        (|| Cors::new().any_origin(true).expose_all(true), &[("origin", "null")], "allow-origin: *; expose-headers: *"),
        (
            || Cors::new().origin_if(|origin, req| origin == "null" && req.uri().path() == "/notes"),
            &[("origin", "null")],
            "allow-origin: null; vary: origin",
        ),
        (|| Cors::new().origin_if(|_, _| false), &[("origin", APP)], "vary: origin"),
    ];
    for (cors, headers, expected) in table {
        let response = ask(&site(cors()), "GET", "/notes", headers).await;
        assert_eq!((said(&response).as_str(), response.status().as_u16()), (*expected, 200), "{headers:?}");
    }
}

#[tokio::test]
async fn failures_say_so_too_and_what_is_below_does_not_say_otherwise() {
    let app = site(Cors::new().origin(APP));
    for (path, status) in [("/lost", 409), ("/none", 404), ("/own", 200)] {
        let response = ask(&app, "GET", path, &[("origin", APP)]).await;
        assert_eq!(response.status(), status);
        assert_eq!(said(&response), "allow-origin: https://app.example.org; vary: origin", "{path}");
        let response = ask(&app, "GET", path, &[("origin", "https://evil.example")]).await;
        assert_eq!(said(&response), "vary: origin", "{path}");
    }
}

#[tokio::test]
async fn a_preflight_is_told_the_methods_of_its_route_and_reaches_nothing() {
    let cors = || Cors::new().origin(APP).headers(["content-type", "x-api-key"]).max_age(Duration::from_secs(600));
    let app = site(cors());
    let table = [
        ("/notes", "PUT", "GET, HEAD, POST, PUT"),
        // The router's answer to a method that is none of its own is the browser's to give.
        ("/notes", "DELETE", "GET, HEAD, POST, PUT"),
        ("/notes/7", "DELETE", "DELETE, GET, HEAD"),
        ("/any", "QUERY", "QUERY"),
        ("/any", "no method", "GET, HEAD, POST"),
        ("/elsewhere/x", "PUT", "GET, HEAD, POST"),
        ("/none", "PUT", "GET, HEAD, POST"),
    ];
    for (path, method, expected) in table {
        let headers = [
            ("origin", APP),
            ("access-control-request-method", method),
            ("access-control-request-headers", "x-api-key"),
        ];
        let response = ask(&app, "OPTIONS", path, &headers).await;
        assert_eq!(response.status(), 204, "{path}");
        let vary =
            if path == "/any" { "; vary: access-control-request-method; vary: origin" } else { "; vary: origin" };
        let rest = "allow-headers: content-type, x-api-key; allow-methods: ";
        let expected = format!("{rest}{expected}; allow-origin: https://app.example.org; max-age: 600{vary}");
        assert_eq!(said(&response), expected, "{path} {method}");
    }
    let app = site(cors().methods([Method::PUT, Method::PATCH]));
    let headers = [("origin", APP), ("access-control-request-method", "PATCH")];
    let response = ask(&app, "OPTIONS", "/elsewhere/x", &headers).await;
    assert_eq!(response.headers()["access-control-allow-methods"], "PUT, PATCH");
}

#[tokio::test]
async fn what_is_no_preflight_goes_to_the_router() {
    let app = site(Cors::new().origin(APP));
    for headers in [&[("origin", APP)][..], &[("access-control-request-method", "PUT")], &[]] {
        let response = ask(&app, "OPTIONS", "/notes", headers).await;
        assert_eq!(response.headers()["allow"], "GET, PUT, POST, HEAD, OPTIONS", "{headers:?}");
    }
    // Only `OPTIONS` is one, whatever else a request has.
    let both = [("origin", APP), ("access-control-request-method", "PUT")];
    assert_eq!(ask(&app, "GET", "/notes", &both).await.status(), 200);
}

#[tokio::test]
async fn a_preflight_of_another_origin_learns_nothing() {
    let app = site(Cors::new().origin(APP).credentials(true).headers(["x-api-key"]));
    let headers = [("origin", "https://evil.example"), ("access-control-request-method", "PUT")];
    let response = ask(&app, "OPTIONS", "/notes", &headers).await;
    assert_eq!((response.status().as_u16(), said(&response).as_str()), (204, "vary: origin"));
    assert!(!response.headers().contains_key("allow"));
}

#[tokio::test]
async fn an_origin_that_is_let_in_does_not_pass_csrf_by_that() {
    let stack = |csrf: Csrf| {
        Stack::new()
            .layer(ErrorPages::new())
            .layer(Cors::new().origin(APP).credentials(true))
            .layer(Sessions::new(MemoryStore::new()))
            .layer(csrf)
            .app(routes())
    };
    let from_app = [("origin", APP), ("sec-fetch-site", "cross-site")];
    let app = stack(Csrf::new());
    Life::start(&app).unwrap();
    let refused = ask(&app, "POST", "/notes", &from_app).await;
    assert_eq!(refused.status(), 403);
    // The page is told so.
    assert_eq!(refused.headers()["access-control-allow-origin"], APP);
    let app = stack(Csrf::new().trust(APP));
    Life::start(&app).unwrap();
    assert_eq!(ask(&app, "POST", "/notes", &from_app).await.status(), 200);
}

#[test]
fn what_browsers_refuse_is_told_when_the_site_starts() {
    let site = |cors| Stack::new().layer(cors).app(routes());
    let any = || Cors::new().any_origin(true);
    let table = [
        (Cors::new(), "lets nobody in: say `.origin("),
        (any().credentials(true), "say `.origin(\"https://app.example.org\")` for each instead of `any_origin`"),
        (any().origin(APP), "lets in any origin and some"),
        (
            Cors::new().origin(APP).credentials(true).any_header(true),
            "say `.headers([\"content-type\"])` instead of `any_header`",
        ),
        (
            Cors::new().origin(APP).credentials(true).expose_all(true),
            "say `.expose([\"etag\"])` instead of `expose_all`",
        ),
        (Cors::new().origin("*"), "any origin is `any_origin()`"),
        (Cors::new().origin("https://app.example.org/"), "without a slash"),
        (any().headers(["*"]), "say `any_header(true)`"),
        (any().expose(["a b"]), "expected the name of a header, found \"a b\""),
    ];
    for (cors, expected) in table {
        let error = refusal(site(cors));
        assert!(error.contains(expected), "{error}");
    }
    let below = Stack::new().layer(Sessions::new(MemoryStore::new())).layer(Csrf::new()).layer(any()).app(routes());
    let error = refusal(below);
    assert!(error.contains("stands below Csrf") && error.contains("tests/cors.rs"), "{error}");
    // One around all hosts, too; and not one at a mount whose path only begins alike.
    let host = Stack::new().layer(any()).app(routes());
    let below = Stack::new().layer(Sessions::new(MemoryStore::new())).layer(Csrf::new());
    let error = refusal(below.app(purlin::Hosts::new().host("api.example.org", host)));
    assert!(error.contains("stands below Csrf"), "{error}");
    let signed = Stack::new().layer(Sessions::new(MemoryStore::new())).layer(Csrf::new()).app(routes());
    let open = Stack::new().layer(any()).app(routes());
    Stack::new().app(Router::new().mount("/app", signed).mount("/app-api", open)).check().unwrap();
    let on_route = Stack::new().app(Router::new().route("/x", get(async || "x").layer(any())));
    let error = refusal(on_route);
    assert!(error.contains("stands on the route GET /x, where no preflight arrives"), "{error}");
}

/// The same questions to both. Where they differ, it says why.
#[cfg(feature = "tower")]
#[tokio::test]
async fn beside_tower_http() {
    use tower_http::cors::{AllowOrigin, Any, CorsLayer};
    let ours = [
        Cors::new().any_origin(true).methods([Method::PUT]).headers(["x-a"]),
        Cors::new().origin(APP).credentials(true).methods([Method::PUT]).headers(["x-a"]).expose(["x-b"]),
    ];
    let list = AllowOrigin::list([APP.parse().unwrap()]);
    let common = || CorsLayer::new().allow_methods([Method::PUT]).allow_headers([http_name("x-a")]);
    let theirs = [
        common().allow_origin(Any),
        common().allow_origin(list).allow_credentials(true).expose_headers([http_name("x-b")]),
    ];
    let preflight = |origin: &'static str| vec![("origin", origin), ("access-control-request-method", "PUT")];
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        let ours = site(ours);
        let theirs = Stack::new().layer(purlin::tower(theirs)).app(routes());
        for (method, headers) in [
            ("GET", vec![("origin", APP)]),
            ("GET", vec![("origin", "https://evil.example")]),
            ("GET", vec![]),
            ("OPTIONS", preflight(APP)),
            ("OPTIONS", preflight("https://evil.example")),
        ] {
            let own = ask(&ours, method, "/notes", &headers).await;
            let other = ask(&theirs, method, "/notes", &headers).await;
            // It says `Vary` with what a preflight asks by, though its answer does not depend on that; and nothing of the origin to
            // whom `*` is said.
            let differ = |said: String| -> Vec<String> {
                let others = |part: &&str| !part.starts_with("vary: ");
                said.split("; ").filter(others).map(str::to_owned).collect()
            };
            let (mut own_said, mut other_said) = (differ(said(&own)), differ(said(&other)));
            let of_nobody = headers.iter().any(|(_, value)| value.contains("evil")) || headers.is_empty();
            if of_nobody {
                // It tells everybody the rest: credentials, methods, headers, what is exposed. Without the origin, a browser
                // looks at none of it.
                assert_eq!(
                    own_said.iter().any(|part| part.starts_with("allow-origin")),
                    other_said.iter().any(|part| part.starts_with("allow-origin"))
                );
                own_said.retain(|part| part.starts_with("allow-origin"));
                other_said.retain(|part| part.starts_with("allow-origin"));
            }
            assert_eq!(own_said, other_said, "{method} {headers:?}");
            // 204 says that there is nothing to read; it says 200.
            let expected = if method == "OPTIONS" { (204, 200) } else { (200, 200) };
            assert_eq!((own.status().as_u16(), other.status().as_u16()), expected);
        }
    }
}
