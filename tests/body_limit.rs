//! `BodyLimit`: one limit, one message that names the setting.

use futures_core::Stream;
use purlin::layers::BodyLimit;
use purlin::{Body, Bytes, ResponseExt, Router, Service, Stack, post};
use std::pin::Pin;
use std::task::{Context, Poll};

/// So many pieces of 10 bytes, their sum not announced.
struct Pieces(usize);

impl Stream for Pieces {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        self.0 -= 1;
        Poll::Ready(Some(Ok(Bytes::from_static(b"0123456789"))))
    }
}

async fn whole(body: Bytes) -> String {
    body.len().to_string()
}

async fn piecewise(mut body: Body) -> purlin::Result<String> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.into_data().map_or(0, |data| data.len());
    }
    Ok(length.to_string())
}

fn app() -> impl Service {
    let routes = Router::new()
        .route("/whole", post(whole))
        .route("/piecewise", post(piecewise))
        .route("/large", post(whole).layer(BodyLimit::new(1000)));
    Stack::new().layer(BodyLimit::new(100)).app(routes)
}

#[tokio::test]
async fn the_limit_holds_for_announced_and_for_streamed_bodies() {
    let app = app();
    let table = [
        ("/whole", Body::from(vec![0; 100]), 200),
        ("/whole", Body::from(vec![0; 101]), 413),
        ("/whole", Body::stream(Pieces(10)), 200),
        ("/whole", Body::stream(Pieces(11)), 413),
        ("/piecewise", Body::from(vec![0; 101]), 413),
        ("/piecewise", Body::stream(Pieces(10)), 200),
        ("/piecewise", Body::stream(Pieces(11)), 413),
        ("/large", Body::stream(Pieces(100)), 200),
        ("/large", Body::stream(Pieces(101)), 413),
    ];
    for (at, (path, body, status)) in table.into_iter().enumerate() {
        let req = purlin::http::Request::post(path).body(body).unwrap();
        let response = app.call(req).await;
        assert_eq!(response.status(), status, "row {at}: {path}");
        if status == 413 {
            let error = response.error().unwrap();
            assert!(error.message().contains("(setting `body_limit`)"), "{error}");
            assert!(error.public_message().is_some());
        }
    }
}
