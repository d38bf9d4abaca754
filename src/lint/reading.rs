//! The rules of a body, told frame by frame as it is read.

use super::field::list;
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
    /// What was broken at all: each rule is said once, however long somebody reads on.
    said: Vec<&'static super::Rule>,
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
        // What is wrong with a body whose length is known was said with the head.
        let known = answer.body().len().is_some();
        Self {
            of: asked.and(answer),
            told: told.filter(|_| !all_head && !known),
            hinted: answer.body().len(),
            forbidden: head::bodiless(answer.status())
                .filter(|_| http_body::Body::size_hint(answer.body()).lower() == 0),
            untyped: if known { None } else { head::untyped(answer) },
            trailers: list(headers, &header::TRAILER),
            seen: 0,
            state: State::Data,
            broken: Vec::new(),
            said: Vec::new(),
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
            self.add(&rule::DATA_AFTER_TRAILERS, "data after trailers");
        }
        if length == 0 {
            return;
        }
        self.seen += length;
        if let Some(rule) = self.forbidden.take() {
            self.add(rule, "a body that streams");
        }
        if let Some(untyped) = self.untyped.take() {
            self.broken.push(untyped.of(&self.of));
        }
        // At once: a server stops reading where the length that it was told ends.
        if let Some(told) = self.told.take_if(|told| *told < self.seen) {
            self.add(&rule::LENGTH_WRONG, format!("content-length: {told} on a longer body"));
        }
        if let Some(hinted) = self.hinted.take_if(|hinted| *hinted < self.seen) {
            self.add(&rule::SIZE_HINT_WRONG, format!("a hint of {hinted} bytes on a longer body"));
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
        self.complete();
    }

    /// All bytes have come, as the body itself says; the reader may ask for its end, and need not.
    pub fn complete(&mut self) {
        let seen = self.seen;
        if let Some(told) = self.told.take().filter(|told| *told != seen) {
            self.add(&rule::LENGTH_WRONG, format!("content-length: {told} on a body of {seen} bytes"));
        }
        if let Some(hinted) = self.hinted.take().filter(|hinted| *hinted != seen) {
            self.add(&rule::SIZE_HINT_WRONG, format!("a hint of {hinted} bytes on a body of {seen}"));
        }
    }

    /// The body ends: the reader was given `None`.
    pub fn end(&mut self) {
        if !self.is_over() {
            self.complete();
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
    fn is_over(&self) -> bool {
        matches!(self.state, State::Ended | State::Failed)
    }

    /// Whether as many bytes have come as `Content-Length` or the body itself said, and no more.
    pub(crate) fn is_full(&self) -> bool {
        [self.told, self.hinted].contains(&Some(self.seen))
    }

    /// How many bytes have come.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// What was broken since the last time that it was asked; each rule once.
    pub fn broken(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.broken)
    }

    fn add(&mut self, rule: &'static super::Rule, found: impl Into<std::borrow::Cow<'static, str>>) {
        if !self.said.contains(&rule) {
            self.said.push(rule);
            self.broken.push(Violation::new(rule, found).of(&self.of));
        }
    }
}
