//! The frames of a backtrace, and which of them are the site's own.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// One frame: a function, and the line it was at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Frame {
    /// The function's name, without what the compiler adds.
    pub name: String,
    /// `src/handlers.rs:12:5`, where it is known.
    pub place: Option<String>,
    /// Whether it is the site's, and neither a library's nor the framework's.
    pub own: bool,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.place {
            Some(place) => write!(f, " at {place}"),
            None => Ok(()),
        }
    }
}

/// Reads a backtrace as the standard library writes it: `  3: NAME`, then `     at FILE:LINE:COLUMN`.
///
/// There is no stable way to its frames but the text.
pub(crate) fn read(backtrace: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for line in backtrace.lines().map(str::trim_start) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut() {
                frame.place = Some(place.strip_prefix("./").unwrap_or(place).to_owned());
            }
        } else if let Some((number, name)) = line.split_once(": ")
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            frames.push(Frame { name: readable(name.trim()), place: None, own: false });
        }
    }
    for frame in &mut frames {
        frame.own = is_own(frame);
    }
    frames
}

/// Without what the compiler adds: the body of an `async fn` is a closure of it, and instances are told apart by
/// `::h0123456789abcdef`.
fn readable(name: &str) -> String {
    let plain = match name.rsplit_once("::h") {
        Some((plain, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => plain,
        _ => name,
    };
    plain.replace("::{{closure}}", "")
}

/// Neither of a library nor of the framework, nor one without a line.
fn is_own(frame: &Frame) -> bool {
    const ELSEWHERE: [&str; 5] = ["/.cargo/", "/registry/src/", "/rustc/", "/rustlib/", "/library/std/"];
    const OTHERS: [&str; 9] = ["core", "std", "alloc", "tokio", "hyper", "hyper_util", "purlin", "tracing", "__rustc"];
    // C's start code has lines too.
    let Some(place) = frame.place.as_ref().filter(|place| place.contains(".rs:")) else {
        return false;
    };
    let crate_name = frame.name.trim_start_matches(['<', '&', '(']).split([':', ' ', '<']).next().unwrap_or_default();
    !ELSEWHERE.iter().any(|part| place.contains(part)) && !OTHERS.contains(&crate_name) && !is_ours(place)
}

/// Whether a file is one of the framework's.
pub(crate) fn is_ours(file: &str) -> bool {
    // This file's folder's.
    let folder = Path::new(file!()).parent().and_then(Path::parent);
    folder.is_some_and(|folder| Path::new(file).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_read_and_own_frames_are_told_from_others() {
        let text = "   0: std::backtrace_rs::backtrace::libunwind::trace\n             \
                    at /rustc/5980/library/std/src/../../backtrace/src/backtrace/libunwind.rs:117:9\n   \
                    1: my_site::handlers::show::{{closure}}::h0123456789abcdef\n             \
                    at ./site/handlers.rs:12:5\n  \
                    12: <tokio::task::Blocking<T> as core::future::Future>::poll\n             \
                    at /home/me/.cargo/registry/src/index/tokio-1/src/a.rs:1:1\n  \
                    13: purlin::router::Router::dispatch::{{closure}}\n             \
                    at /home/me/purlin/src/router.rs:1:1\n  \
                    14: <unknown>\n";
        let frames = read(text);
        assert_eq!(frames.len(), 5);
        let own: Vec<String> = frames.iter().filter(|frame| frame.own).map(ToString::to_string).collect();
        assert_eq!(own, ["my_site::handlers::show at site/handlers.rs:12:5"]);
        assert_eq!(read(""), []);
        assert_eq!(read("disabled backtrace"), []);
    }
}
