//! `AccessLog`: one line a request, with the cause of a failure.

use purlin::layers::{AccessLog, RequestIds};
use purlin::{Context, Result, Router, Service, Stack, get};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

async fn fails() -> Result<String> {
    let number: u8 = "many".parse().context("counting")?;
    Ok(number.to_string())
}

async fn log_of(path: &str) -> String {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let routes = Router::new()
        .route(
            "/",
            get(async || {
                tracing::info!("inside");
                "hello"
            }),
        )
        .route("/fails", get(fails));
    let app = Stack::new().layer(RequestIds::new()).layer(AccessLog::new()).app(routes);
    app.call(purlin::http::Request::get(path).body(purlin::Body::empty()).unwrap()).await;
    drop(guard);
    lines.text()
}

#[tokio::test]
async fn an_answer_is_one_event_and_what_happens_below_is_in_its_span() {
    let log = log_of("/?password=secret").await;
    assert!(log.contains("method=\"GET\" path=\"/\" status=200 ms="), "{log}");
    assert!(log.lines().any(|line| line.contains("request{") && line.contains("inside")), "{log}");
    assert!(!log.contains("secret"), "the query may hold secrets: {log}");
}

#[tokio::test]
async fn the_cause_of_a_failure_is_on_its_line() {
    let log = log_of("/fails").await;
    let line = log.lines().find(|line| line.contains("status=500")).unwrap();
    assert!(line.contains("ERROR"), "{line}");
    assert!(line.contains("error=counting: invalid digit found in string"), "{line}");
    assert!(line.contains("place=tests/access_log.rs:"), "{line}");
}

#[tokio::test]
async fn a_visitor_cannot_write_lines_of_the_log() {
    let log = log_of("/%0aERROR%20forged").await;
    assert_eq!(log.lines().count(), 1, "{log}");
}
