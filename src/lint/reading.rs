//! The rules of a body, told frame by frame as it is read.

use super::{Asked, Violation, head, rule};
use crate::{HeaderMap, Response};
use http::StatusCode;
use http::header;

/// A body being read, from whichever end: told what comes, it says what that breaks.
///
/// ```
/// use purlin::http::Request;
/// use purlin::lint::{Asked, Reading};
/// use purlin::{Body, Response};
///
/// let asked = Asked::by(&Request::get("/").body(Body::empty()).unwrap());
/// let mut reading = Reading::of(&asked, &Response::new(Body::empty()));
/// reading.end();
/// reading.poll();
/// assert_eq!(reading.broken()[0].rule().id, "body-polled-after-end");
/// ```
#[derive(Debug)]
pub struct Reading {
    of: String,
    told: Option<u64>,
    hinted: Option<u64>,
    forbidden: Option<&'static super::Rule>,
    untyped: Option<Violation>,
    trailers: Vec<String>,
    seen: u64,
    state: State,
    broken: Vec<Violation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
    Failed,
}

impl Reading {
    /// Begins to read the body of this answer.
    pub fn of(asked: &Asked, answer: &Response) -> Self {
        let headers = answer.headers();
        let all_head = asked.is_head() || answer.status() == StatusCode::NOT_MODIFIED;
        let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let trailers = headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
        let trailers = trailers.flat_map(|line| line.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
        // What is wrong with a body whose length is known was said with the head.
        let known = answer.body().len().is_some();
        Self {
            of: asked.and(answer),
            told: told.filter(|_| !all_head && !known),
            hinted: answer.body().len(),
            forbidden: head::bodiless(answer.status())
                .filter(|_| http_body::Body::size_hint(answer.body()).lower() == 0),
            untyped: if known { None } else { head::untyped(answer) },
            trailers,
            seen: 0,
            state: State::Data,
            broken: Vec::new(),
        }
    }

    /// The reader asks for more.
    pub fn poll(&mut self) {
        match self.state {
            State::Ended => self.add(&rule::BODY_POLLED_AFTER_END, "one more poll after `None`"),
            State::Failed => self.add(&rule::BODY_POLLED_AFTER_ERROR, "one more poll after an error"),
            State::Data | State::Trailers => {}
        }
    }

    /// So many bytes come.
    pub fn data(&mut self, length: u64) {
        if self.state == State::Trailers {
            self.add(&rule::DATA_AFTER_TRAILERS, format!("{length} bytes after trailers"));
        }
        if length == 0 {
            return;
        }
        self.seen += length;
        if let Some(rule) = self.forbidden.take() {
            self.add(rule, format!("a body of at least {length} bytes"));
        }
        if let Some(untyped) = self.untyped.take() {
            self.broken.push(untyped.of(&self.of));
        }
    }

    /// Trailers come.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        self.state = State::Trailers;
        // RFC 9110 §6.5.1: framing, routing, what changes how the content is understood, and what is read before it.
        const FORBIDDEN: [&str; 20] = [
            "age",
            "allow",
            "authorization",
            "cache-control",
            "connection",
            "content-encoding",
            "content-length",
            "content-range",
            "content-type",
            "date",
            "expires",
            "host",
            "location",
            "retry-after",
            "set-cookie",
            "te",
            "trailer",
            "transfer-encoding",
            "vary",
            "www-authenticate",
        ];
        for name in trailers.keys() {
            if FORBIDDEN.contains(&name.as_str()) {
                self.add(&rule::TRAILER_FORBIDDEN, format!("the trailer {name}"));
            } else if !self.trailers.iter().any(|told| told == name.as_str()) {
                self.add(&rule::TRAILER_UNDECLARED, format!("the trailer {name}"));
            }
        }
    }

    /// The body ends.
    pub fn end(&mut self) {
        if self.state != State::Failed && self.state != State::Ended {
            let seen = self.seen;
            if let Some(told) = self.told.take().filter(|told| *told != seen) {
                self.add(&rule::LENGTH_WRONG, format!("content-length: {told} on a body of {seen} bytes"));
            }
            if let Some(hinted) = self.hinted.take().filter(|hinted| *hinted != seen) {
                self.add(&rule::SIZE_HINT_WRONG, format!("a hint of {hinted} bytes on a body of {seen}"));
            }
        }
        self.state = State::Ended;
    }

    /// The body breaks off.
    pub fn fail(&mut self) {
        self.state = State::Failed;
    }

    /// What is read, as a violation names it.
    pub(crate) fn name(&self) -> &str {
        &self.of
    }

    /// Whether it has ended or failed.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended | State::Failed)
    }

    /// How many bytes have come.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// What was broken since the last time that it was asked.
    pub fn broken(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.broken)
    }

    fn add(&mut self, rule: &'static super::Rule, found: impl Into<std::borrow::Cow<'static, str>>) {
        // Each once: a loop that polls on would say it without end.
        if !self.broken.iter().any(|broken| broken.rule == rule) {
            self.broken.push(Violation::new(rule, found).of(&self.of));
        }
    }
}
