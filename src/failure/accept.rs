//! In which form a client is told of a failure.

use crate::{Request, negotiate};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};

/// What the client takes: kept from the request, read if there is a failure.
pub(crate) struct Accept {
    first: Option<HeaderValue>,
    // A second line is rare.
    more: Vec<HeaderValue>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    Html,
    Problem,
    Markdown,
    Text,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Problem => "application/problem+json",
            // RFC 7763
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

impl Accept {
    pub(crate) fn of(req: &Request) -> Self {
        let mut lines = req.headers().get_all(ACCEPT).iter().cloned();
        Self { first: lines.next(), more: lines.collect() }
    }

    /// The form that the client likes best. Who takes anything gets text, and so does who takes none of them: an answer that
    /// was not asked for tells more than a 406 would (RFC 9110 §12.5.1 allows it).
    pub(crate) fn format(&self) -> Format {
        // `*/*` alone matches this, and it is offered first.
        const ANY: &str = "purlin/anything";
        const PROBLEM: &str = "application/problem+json";
        const JSON: &str = "application/json";
        const HTML: &str = "text/html; charset=utf-8";
        const TEXT: &str = "text/plain; charset=utf-8";
        const MARKDOWN: &str = "text/markdown; charset=utf-8";
        let lines = self.first.iter().chain(&self.more);
        let headers: HeaderMap = lines.map(|line| (ACCEPT, line.clone())).collect();
        match negotiate::best_media_type(&headers, &[ANY, HTML, PROBLEM, JSON, TEXT, MARKDOWN]) {
            Some(HTML) => Format::Html,
            Some(PROBLEM | JSON) => Format::Problem,
            Some(MARKDOWN) => Format::Markdown,
            _ => Format::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_gets_the_form_asked_for() {
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        let table: &[(&[&str], Format)] = &[
            (&[], Format::Text),
            (&["*/*"], Format::Text),
            (&[""], Format::Text),
            (&[firefox], Format::Html),
            (&[chromium], Format::Html),
            (&["text/html"], Format::Html),
            (&["text/plain"], Format::Text),
            (&["text/plain, text/html;q=0.5"], Format::Text),
            (&["text/markdown"], Format::Markdown),
            (&["text/markdown, text/plain;q=0.9, */*;q=0.1"], Format::Markdown),
            (&["application/json"], Format::Problem),
            (&["application/problem+json"], Format::Problem),
            (&["application/problem+json, application/json;q=0.9"], Format::Problem),
            // axios, jQuery, Angular
            (&["application/json, text/plain, */*"], Format::Problem),
            (&["application/json, text/javascript, */*; q=0.01"], Format::Problem),
            (&["application/json;q=0.9, text/html"], Format::Html),
            (&["application/*"], Format::Problem),
            (&["text/*"], Format::Html),
            (&["text/html;q=0, */*"], Format::Text),
            (&["*/*;q=0"], Format::Text),
            // An image that is missing
            (&["image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"], Format::Text),
            (&["image/*"], Format::Text),
            (&["text/event-stream"], Format::Text),
            (&["image/png", "application/json"], Format::Problem),
            (&["nonsense"], Format::Text),
        ];
        for (lines, expected) in table {
            let mut lines = lines.iter().map(|line| HeaderValue::from_str(line).unwrap());
            let accept = Accept { first: lines.next(), more: lines.collect() };
            assert_eq!(accept.format(), *expected, "{:?} {:?}", accept.first, accept.more);
        }
    }
}
