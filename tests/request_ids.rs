//! `RequestIds`: every request has an id, and its answer tells it.

use purlin::layers::RequestIds;
use purlin::{Request, RequestId, Service, Stack, handler};
use std::collections::HashSet;

async fn show(id: RequestId) -> String {
    id.to_string()
}

async fn ask(app: &impl Service, sent: Option<&str>) -> (String, String) {
    let mut req = Request::default();
    if let Some(sent) = sent {
        req.headers_mut().insert("x-request-id", sent.parse().unwrap());
    }
    let response = app.call(req).await;
    let header = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body = response.into_body().collect(1024).await.unwrap();
    (header, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_answer_and_the_handler_see_the_same_id() {
    let app = Stack::new().layer(RequestIds::new()).app(handler(show));
    let (header, seen) = ask(&app, None).await;
    assert_eq!(header, seen);
    assert_eq!(header.len(), 20);
}

#[tokio::test]
async fn no_id_comes_twice() {
    let app = Stack::new().layer(RequestIds::new()).app(handler(show));
    let mut seen = HashSet::new();
    for _ in 0..2000 {
        assert!(seen.insert(ask(&app, None).await.0));
    }
}

#[tokio::test]
async fn a_clients_id_is_ignored_unless_trusted_and_well_formed() {
    let strict = Stack::new().layer(RequestIds::new()).app(handler(show));
    assert_ne!(ask(&strict, Some("mine")).await.0, "mine");
    let trusting = Stack::new().layer(RequestIds::new().trust_client(true)).app(handler(show));
    assert_eq!(ask(&trusting, Some("mine-1")).await.0, "mine-1");
    for bad in ["with space", "new\tline", "<script>", &"x".repeat(129)] {
        assert_ne!(ask(&trusting, Some(bad)).await.0, bad, "{bad:?}");
    }
}
