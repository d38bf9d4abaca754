//! `SecurityHeaders`: browsers are told to be careful, unless a handler knows better.

use purlin::layers::SecurityHeaders;
use purlin::request::CspNonce;
use purlin::{Request, Response, Service, Stack, handler, html};

async fn page(req: Request) -> Response {
    match req.uri().path() {
        "/nonce" => html(req.extensions().get::<CspNonce>().unwrap().value().unwrap().to_owned()),
        "/own" => {
            let mut response = html("");
            response.headers_mut().insert("x-frame-options", "SAMEORIGIN".parse().unwrap());
            response
        }
        _ => html("plain"),
    }
}

async fn get(app: &impl Service, path: &str) -> Response {
    app.call(purlin::http::Request::get(path).body(purlin::Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_answer_has_them() {
    let app = Stack::new().layer(SecurityHeaders::new()).app(handler(page));
    let response = get(&app, "/").await;
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("x-frame-options"), "DENY");
    let policy = header("content-security-policy");
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert!(!response.headers().contains_key("strict-transport-security"), "plain http gets none (RFC 6797 §7.2)");
}

#[tokio::test]
async fn a_nonce_is_in_the_policy_of_the_page_that_asked_and_differs_each_time() {
    let app = Stack::new().layer(SecurityHeaders::new()).app(handler(page));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let response = get(&app, "/nonce").await;
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let body = response.into_body().collect(100).await.unwrap();
        let nonce = String::from_utf8(body.to_vec()).unwrap();
        assert!(policy.contains(&format!("script-src 'self' 'nonce-{nonce}'")), "{policy}");
        assert_eq!(nonce.len(), 22);
        seen.push(nonce);
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn what_a_handler_sets_stays() {
    let app = Stack::new().layer(SecurityHeaders::new()).app(handler(page));
    assert_eq!(get(&app, "/own").await.headers()["x-frame-options"], "SAMEORIGIN");
}

#[tokio::test]
async fn https_gets_hsts_and_each_header_can_be_changed_or_left_out() {
    let layer = SecurityHeaders::new().https(true).without("x-frame-options").set("referrer-policy", "no-referrer");
    let app = Stack::new().layer(layer).app(handler(page));
    let response = get(&app, "/").await;
    assert_eq!(response.headers()["strict-transport-security"], "max-age=63072000; includeSubDomains");
    assert!(!response.headers().contains_key("x-frame-options"));
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
}
