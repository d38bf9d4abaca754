//! `Deadline`: no answer takes for ever.

use purlin::layers::Deadline;
use purlin::{Request, ResponseExt, Service, Stack, handler};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_late_answer_becomes_503_and_names_the_setting() {
    async fn slow() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let app = Stack::new().layer(Deadline::new(Duration::from_secs(1))).app(handler(slow));
    let response = app.call(Request::default()).await;
    assert_eq!(response.status(), 503);
    let error = format!("{:#}", response.error().unwrap());
    assert!(error.contains("answering within 1s (setting `answer_within`)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_timely_answer_is_left_alone() {
    async fn quick() -> &'static str {
        tokio::time::sleep(Duration::from_millis(999)).await;
        "done"
    }
    let app = Stack::new().layer(Deadline::new(Duration::from_secs(1))).app(handler(quick));
    assert_eq!(app.call(Request::default()).await.status(), 200);
}
