//! The log of a site: an event is a line, whatever a visitor sends.

use std::process::Command;

/// The log writes to standard error of the process, and is set once for it: each case is a process of its own, which is this test
/// program again.
fn log_of(format: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args(["log::writes_two_events", "--exact", "--nocapture"])
        .env("PURLIN_TEST_LOG", format)
        .output()
        .unwrap();
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
    let log = log_of("json");
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
    let log = log_of("text");
    assert_eq!(log.lines().count(), 2, "{log}");
    for part in ["INFO", "said \"hello\"", "count=3", "path=/a\\n\\u{1b}[2Jb", "(request id=\"r1\")"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains('\u{1b}'), "{log:?}");
}
