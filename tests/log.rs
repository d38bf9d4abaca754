//! The log of a site: an event is a line, whatever a visitor sends.

use purlin::layers::{AccessLog, RequestIds};
use purlin::{Router, Service, Stack, get};
use std::process::Command;
use tracing::Instrument;

/// The log writes to standard error of the process, and is set once for it: each case is a process of its own, which is this test
/// program again.
fn log_of(test: &str, format: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let output =
        Command::new(program).args([test, "--exact", "--nocapture"]).env("PURLIN_TEST_LOG", format).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn writes_two_events() {
    let Ok(format) = std::env::var("PURLIN_TEST_LOG") else {
        return; // Only as the process of a test below.
    };
    let mut config = purlin::config::LogConfig::default();
    config.level = "info,quiet=error".into();
    config.format = if format == "json" { purlin::config::LogFormat::Json } else { purlin::config::LogFormat::Text };
    purlin::log::start(&config).unwrap();
    let span = tracing::info_span!("request", id = "r1");
    let _entered = span.enter();
    tracing::info!(count = 3, path = "/a\n\u{1b}[2Jb", "said \"hello\"");
    tracing::info!(target: "quiet", "not seen");
    tracing::debug!("not seen");
    tracing::error!(ok = false, ratio = 0.5, "second");
}

#[test]
fn as_json_an_event_is_an_object_of_its_fields() {
    let log = log_of("log::writes_two_events", "json");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[0]["message"], "said \"hello\"");
    assert_eq!(lines[0]["path"], "/a\n\u{1b}[2Jb");
    assert_eq!(lines[0]["count"], 3);
    assert_eq!(lines[0]["span"], "request id=\"r1\"");
    assert_eq!((&lines[1]["ok"], &lines[1]["ratio"]), (&false.into(), &0.5.into()));
    assert!(lines[1]["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn as_text_an_event_is_a_line_and_no_command_to_the_terminal() {
    let log = log_of("log::writes_two_events", "text");
    assert_eq!(log.lines().count(), 2, "{log}");
    for part in ["INFO", "said \"hello\"", "count=3", "path=/a\\n\\u{1b}[2Jb", "(request id=\"r1\")"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

#[tokio::test]
async fn answers_two_requests() {
    if std::env::var_os("PURLIN_TEST_LOG").is_none() {
        return; // Only as the process of the test below.
    }
    let mut config = purlin::config::LogConfig::default();
    config.format = purlin::config::LogFormat::Json;
    purlin::log::start(&config).unwrap();
    async fn talks() -> &'static str {
        tokio::task::yield_now().await;
        tracing::info!("first");
        tokio::task::yield_now().await;
        tracing::info_span!("own", n = 1).in_scope(|| tracing::info!("in a span of its own"));
        tracing::info!("last");
        "hello"
    }
    async fn spawns() -> &'static str {
        tokio::spawn(async { tracing::info!("in a task") }.in_current_span()).await.unwrap();
        tokio::spawn(async { tracing::info!("in another") }).await.unwrap();
        "hello"
    }
    let routes = Router::new().route("/talks", get(talks)).route("/spawns", get(spawns));
    let app = Stack::new().layer(RequestIds::new()).layer(AccessLog::new()).app(routes);
    for path in ["/talks", "/spawns"] {
        app.call(purlin::http::Request::get(path).body(purlin::Body::empty()).unwrap()).await;
    }
    tracing::info!("after");
}

#[test]
fn what_a_request_logs_is_in_its_span_and_nothing_else_is() {
    let log = log_of("log::answers_two_requests", "json");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let span = |path: &str| format!("request method=\"GET\" path=\"{path}\" id=\"");
    for (at, message, expected) in [
        (0, "first", Some(span("/talks"))),
        (1, "in a span of its own", Some("own n=1".to_owned())),
        (2, "last", Some(span("/talks"))),
        (4, "in a task", Some(span("/spawns"))),
        (5, "in another", None),
        (7, "after", None),
    ] {
        let line = &lines[at];
        assert_eq!(line["message"], message, "{log}");
        match (line["span"].as_str(), expected) {
            (Some(span), Some(expected)) => assert!(span.starts_with(&expected), "{span}, expected {expected}"),
            (found, expected) => assert_eq!(found, expected.as_deref(), "{message}: {log}"),
        }
    }
    for (at, path) in [(3, "/talks"), (6, "/spawns")] {
        assert_eq!((&lines[at]["target"], &lines[at]["path"]), (&"purlin::access".into(), &path.into()), "{log}");
        assert_eq!(lines[at]["span"], serde_json::Value::Null, "{log}");
    }
}
