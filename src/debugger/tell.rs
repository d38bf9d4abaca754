//! A report for machines and for pasting: JSON and Markdown.

use super::engine::{Frames, Value, Whose};
use super::record::Record;
use serde_json::json;
use std::fmt::Write;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// All that is known.
pub(super) fn json(record: &Record, frames: Result<Frames, String>) -> serde_json::Value {
    let (frames, lack) = match frames {
        Ok(frames) => (frames.list, frames.lack),
        Err(lack) => (Vec::new(), Some(lack)),
    };
    json!({
        "id": record.id,
        "time": record.at.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default(),
        "status": record.status.as_u16(),
        "message": record.message,
        "causes": record.report.causes,
        "to_do": record.hints.iter().map(|hint| json!({ "text": hint.text, "lines": hint.paste })).collect::<Vec<_>>(),
        "panic": record.report.panic,
        "in_body": record.in_body(),
        "layer": record.report.layer,
        "route": record.route(),
        "places": record.places().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "request": {
            "method": record.method.as_str(),
            "url": record.url(),
            "id": record.report.request.as_ref().and_then(|request| request.id.as_deref()),
            "headers": record.headers(),
        },
        "frames": frames,
        "lack": lack,
        "report": *record.report,
    })
}

/// The list of what is kept.
pub(super) fn list(records: &[Arc<Record>]) -> serde_json::Value {
    let told = records.iter().map(|record| {
        json!({
            "id": record.id,
            "status": record.status.as_u16(),
            "message": record.headline(),
            "method": record.method.as_str(),
            "url": record.url(),
        })
    });
    told.collect()
}

/// For an issue or a chat: what happened, where, and the variables of the site's own frames.
pub(super) fn markdown(record: &Record, frames: Result<Frames, String>) -> String {
    let mut text = format!("# {} {}\n\n", record.status.as_u16(), one_line(&record.headline()));
    // Writing to a String does not fail.
    let mut line = |args: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(args);
    };
    for cause in &record.report.causes {
        line(format_args!("- caused by: {}\n", one_line(cause)));
    }
    line(format_args!("\n{}\n", fenced("", &format!("{} {}", record.method, record.url()))));
    for (name, value) in [("route", record.route()), ("layer", record.report.layer.as_deref())] {
        if let Some(value) = value {
            line(format_args!("- {name}: `{}`\n", value.replace('`', "'")));
        }
    }
    for place in record.places() {
        line(format_args!("- at `{place}`\n"));
    }
    for hint in &record.hints {
        line(format_args!("\nTo do: {}\n", one_line(&hint.text)));
        if let Some(lines) = &hint.paste {
            line(format_args!("\n{}\n", fenced("", lines)));
        }
    }
    match frames {
        Err(lack) => line(format_args!("\nNo frames: {}\n", one_line(&lack))),
        Ok(frames) => {
            if let Some(lack) = &frames.lack {
                line(format_args!("\n{}\n", one_line(lack)));
            }
            for frame in frames.list.iter().filter(|frame| frame.whose == Whose::Own) {
                let place = frame.file.as_deref().zip(frame.line).map(|(file, line)| format!(" at `{file}:{line}`"));
                line(format_args!("\n## `{}`{}\n", frame.path.replace('`', "'"), place.unwrap_or_default()));
                let values = frame.variables.as_ref().map(|found| found.values.as_slice()).unwrap_or_default();
                let told: String = values.iter().map(assignment).collect();
                if !told.is_empty() {
                    line(format_args!("\n{}\n", fenced("rust", told.trim_end())));
                }
            }
        }
    }
    text
}

fn assignment(value: &Value) -> String {
    let note = value.note.as_ref().map(|note| format!(" // {}", one_line(note))).unwrap_or_default();
    format!("{}: {} = {}{note}\n", value.name, value.kind, one_line(&value.text))
}

/// Without what would begin another line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As a block, whatever backticks are in it.
fn fenced(language: &str, text: &str) -> String {
    let mut longest = 2;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    format!("{fence}{language}\n{text}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_backticks_end_a_block() {
        assert_eq!(fenced("", "a"), "```\na\n```");
        assert_eq!(fenced("rust", "```\n# b"), "````rust\n```\n# b\n````");
        assert_eq!(one_line("a\n# b"), "a # b");
    }
}
