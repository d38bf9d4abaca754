//! `Failure`: one answer that failed, told as a page, as problem details or as text.

mod accept;
mod details;
pub(crate) mod hints;
pub(crate) mod markup;
pub(crate) mod routes;

pub(crate) use accept::{Accept, Format};

use crate::error::{Answer, Place};
use crate::report::frames::is_ours;
use crate::report::write::{fenced, harmless, inline};
use crate::report::{Frame, Report};
use crate::site::Site;
use crate::template::{Facts, TemplateError};
use crate::{Error, Excerpt, MatchedRoute, RequestId, Response, ResponseExt};
use hints::Hint;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use markup::{Escaped, Markup, fill};
use routes::Candidate;
use serde::Serialize;
use serde_json::json;
use std::borrow::Cow;
use std::path::PathBuf;
use std::slice;

/// The facts of one failed answer.
pub(crate) struct Failure<'a> {
    pub(crate) status: StatusCode,
    pub(crate) error: Option<&'a Error>,
    /// What errors of its type are told as.
    pub(crate) answer: Option<&'a Answer>,
    /// There is one if causes may be told, and if somebody else is told them.
    pub(crate) report: Option<&'a Report>,
    pub(crate) facts: &'a Facts,
    pub(crate) route: Option<&'a MatchedRoute>,
    pub(crate) site: Option<&'a Site>,
    /// Whether causes may be told: to the developer, never to a visitor.
    pub(crate) details: bool,
}

/// How many lines of source are shown before and after a place.
const AROUND: u32 = 6;

/// Longer files are not looked into: no source has as many bytes.
const LONGEST_SOURCE: u64 = 1 << 20;

impl Failure<'_> {
    /// The status in words.
    pub(crate) fn title(&self) -> &'static str {
        let other = if self.status.is_server_error() { "Server Error" } else { "Client Error" };
        self.status.canonical_reason().unwrap_or(other)
    }

    /// What a visitor is told: the error's public message, or a sentence for the status.
    pub(crate) fn public(&self) -> &str {
        self.said().unwrap_or_else(|| sentence(self.status))
    }

    /// What was said for the public.
    fn said(&self) -> Option<&str> {
        self.error.and_then(Error::public_message).or(self.answer.and_then(|answer| answer.public.as_deref()))
    }

    /// What the developer is told first.
    fn message(&self) -> Cow<'_, str> {
        match (self.report, self.template()) {
            // Its place is told below.
            (Some(report), Some(template)) if report.message == template.to_string() => template.message().into(),
            (Some(report), _) if report.panic => format!("panicked: {}", report.message).into(),
            (Some(report), _) => report.message.as_str().into(),
            (None, _) => self.otherwise().into(),
        }
    }

    /// What is said where there is no error.
    pub(crate) fn otherwise(&self) -> &'static str {
        match self.route {
            Some(_) => "the handler answered with this status and an empty body",
            None => "a layer answered with this status and an empty body",
        }
    }

    /// What to do about it. The site's own code is called, which may panic.
    fn hints(&self) -> Vec<Hint> {
        let chain = || self.report.map(|report| [slice::from_ref(&report.message), &report.causes].concat());
        let hints = crate::panic::guarded(|| Some(hints::of(self.error?, &chain().unwrap_or_default())));
        hints.ok().flatten().unwrap_or_default()
    }

    fn causes(&self) -> &[String] {
        self.report.map(|report| report.causes.as_slice()).unwrap_or_default()
    }

    /// The address, with nothing secret in it.
    fn url(&self) -> &str {
        let request = self.report.and_then(|report| report.request.as_ref());
        request.map_or_else(|| self.facts.uri.path(), |request| &request.url)
    }

    fn id(&self) -> Option<&str> {
        self.facts.id.as_ref().map(RequestId::as_str)
    }

    fn template(&self) -> Option<&TemplateError> {
        self.error.and_then(|error| error.downcast_ref())
    }

    /// The places of the error, each with the source around it where that can be read: the site's own in the order in which
    /// the error came by, then the framework's.
    ///
    /// None where no route was found: the line of the router that says so is no news.
    fn places(&self) -> Vec<(&Place, Option<Excerpt>)> {
        if self.is_unmatched() {
            return Vec::new();
        }
        let mut places: Vec<&Place> = self.error.map(Error::places).unwrap_or_default().iter().collect();
        // `.context(…)?` is two places on one line.
        places.dedup_by_key(|place| (place.file(), place.line()));
        places.sort_by_key(|place| is_ours(place.file()));
        let of_template = self.template().and_then(|template| Some((template.place()?, template.excerpt()?)));
        let excerpt = |place: &Place| match &of_template {
            Some((known, excerpt)) if known == place => Some((*excerpt).clone()),
            _ => source_of(place),
        };
        places.into_iter().map(|place| (place, excerpt(place))).collect()
    }

    /// Whether no handler was found for the path or the method.
    fn is_unmatched(&self) -> bool {
        self.route.is_none() && matches!(self.status.as_u16(), 404 | 405)
    }

    fn frames(&self) -> &[Frame] {
        self.report.map(|report| report.frames.as_slice()).unwrap_or_default()
    }

    /// Routes that could have been meant, nearest first, where none was found for the path or the method.
    fn candidates(&self) -> Vec<Candidate<'_>> {
        let site = self.site.filter(|_| self.is_unmatched());
        site.map(|site| routes::nearest_first(site, self.facts.uri.path(), &self.facts.method)).unwrap_or_default()
    }

    /// Problem details (RFC 9457), `application/problem+json`.
    ///
    /// `type` is `about:blank`, so `title` is that of the status (§4.2.1). `detail` is the public message only; what a
    /// developer needs is in the extension `debug`.
    pub(crate) fn problem(&self) -> String {
        let problem = Problem {
            kind: "about:blank",
            title: self.title(),
            status: self.status.as_u16(),
            detail: self.said(),
            instance: self.facts.uri.path(),
            request_id: self.id(),
            report_id: self.report.map(|report| report.id.as_str()),
            debug: self.details.then(|| self.debug()),
        };
        // Only texts and numbers are in it, of which no one fails to be written.
        let text = serde_json::to_string_pretty(&problem).unwrap_or_default();
        // Nothing in it can end a script element that it was pasted into.
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026") + "\n"
    }

    fn debug(&self) -> serde_json::Value {
        let place = |(place, excerpt): &(&Place, Option<Excerpt>)| {
            let lines =
                excerpt.as_ref().map(|excerpt| excerpt.to_string().lines().map(str::to_owned).collect::<Vec<_>>());
            json!({ "file": place.file(), "line": place.line(), "column": place.column(), "excerpt": lines })
        };
        let own = self.frames().iter().filter(|frame| frame.own);
        let candidates = self.candidates();
        let routes: Vec<_> = candidates.iter().take(10).map(|found| found.path()).collect();
        json!({
            "message": self.message(),
            "causes": self.causes(),
            "places": self.places().iter().map(place).collect::<Vec<_>>(),
            "panic": self.error.is_some_and(Error::is_panic),
            "layer": self.error.and_then(Error::layer),
            "route": self.pattern(),
            "frames": own.map(|frame| frame.to_string()).collect::<Vec<_>>(),
            "routes": routes,
            "report": self.report,
        })
    }

    /// Plain text, for curl and whoever does not say what else.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} {}\n\n", self.status.as_u16(), self.title());
        if self.details {
            self.write_details(&mut text);
        } else {
            text.push_str(self.public());
            text.push('\n');
        }
        if let Some((what, id)) = self.name() {
            text.push_str(&format!("\n{what} {id}\n"));
        }
        harmless(&text)
    }

    /// Markdown, ready to be pasted into an issue.
    pub(crate) fn markdown(&self) -> String {
        match self.report.filter(|_| self.details) {
            Some(report) => report.to_markdown(),
            None => {
                let name = self.name().map(|(what, id)| format!("\n{}\n", fenced(&format!("{what} {id}"))));
                let (status, title) = (self.status.as_u16(), self.title());
                format!("# {status} {title}\n\n{}\n{}", inline(self.public()), name.unwrap_or_default())
            }
        }
    }

    /// What the visitor can name to whoever looks after the site: the report, or at least the request.
    fn name(&self) -> Option<(&'static str, &str)> {
        let report = self.report.map(|report| ("report", report.id.as_str()));
        report.or(self.id().map(|id| ("request", id)))
    }

    fn write_details(&self, text: &mut String) {
        text.push_str(&self.message());
        text.push('\n');
        for cause in self.causes() {
            text.push_str(&format!("  caused by: {cause}\n"));
        }
        for Hint { text: hint, paste } in self.hints() {
            text.push_str(&format!("\nwhat to do: {hint}\n"));
            paste.iter().flat_map(|lines| lines.lines()).for_each(|line| text.push_str(&format!("    {line}\n")));
        }
        for (place, excerpt) in self.places() {
            text.push_str(&format!("\nat {place}\n"));
            if let Some(excerpt) = excerpt {
                text.push_str(&format!("{excerpt}\n"));
            }
        }
        let frames = self.frames();
        if frames.iter().any(|frame| frame.own) {
            text.push_str("\nframes of the site's own\n");
            frames.iter().filter(|frame| frame.own).for_each(|frame| text.push_str(&format!("  {frame}\n")));
        }
        let candidates = self.candidates();
        if !candidates.is_empty() {
            text.push_str("\nroutes, nearest first\n");
            candidates.iter().take(10).for_each(|found| text.push_str(&format!("  {found}\n")));
        }
        for (name, value) in self.trail() {
            text.push_str(&format!("\n{name} {value}\n"));
        }
    }

    fn pattern(&self) -> Option<&str> {
        self.route.map(MatchedRoute::pattern).or(self.error.and_then(Error::route))
    }

    /// Where in the site it happened.
    fn trail(&self) -> Vec<(&'static str, &str)> {
        let route = self.pattern().map(|pattern| ("route", pattern));
        let layer = self.error.and_then(Error::layer).map(|layer| ("layer", layer));
        route.into_iter().chain(layer).collect()
    }

    /// The page for a visitor, complete in itself.
    pub(crate) fn page(&self, nonce: Option<&str>) -> String {
        let id = self.name().map(|(what, id)| {
            let what = if what == "report" { "Report" } else { "Request" };
            format!("<p class=\"id\">{what} <code>{}</code></p>\n", Escaped(id))
        });
        fill(
            include_str!("../templates/error.html"),
            &[
                ("status", Markup::of(self.status.as_u16())),
                ("title", Markup::of(self.title())),
                ("nonce", markup::nonce(nonce)),
                ("message", Markup::of(self.public())),
                ("id", Markup(id.unwrap_or_default())),
            ],
        )
    }
}

/// What a visitor is told of a status, where nobody said anything else.
pub(crate) fn sentence(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "You need to sign in to see this.",
        403 => "You are not allowed to see this.",
        404 => "There is no page at this address.",
        405 => "This address does not answer this kind of request.",
        408 => "The request took too long to arrive.",
        409 => "Something was changed meanwhile that this is in conflict with.",
        410 => "There was a page at this address, but it is gone.",
        413 => "What you sent is too large.",
        415 => "What you sent is of a kind that is not accepted here.",
        422 => "Something in what you sent is not as it should be.",
        429 => "There were too many requests. Please wait a moment, then try again.",
        400..500 => "The request could not be answered.",
        503 => "The site cannot answer at the moment. Please try again soon.",
        _ => "Something went wrong on our side. Please try again later.",
    }
}

/// Whether an answer of 400 and above is without a body: bare, or carrying an error.
pub(crate) fn lacks_page(response: &Response, method: &Method) -> bool {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || !response.body().is_empty() {
        return false;
    }
    // The answer to a HEAD may have lost a body that a GET would be given.
    let stripped = method == Method::HEAD && response.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    response.error().is_some() || !stripped
}

/// The members of RFC 9457 §3.1, in its order, and three extensions (§3.2).
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<serde_json::Value>,
}

/// The lines around a place of the source, if the file is on this machine. The name is the compiler's: never the client's.
fn source_of(place: &Place) -> Option<Excerpt> {
    let here = std::env::current_dir().unwrap_or_default();
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    // Paths of a workspace's own crates are relative to its root, which may be above.
    let roots = manifest.iter().flat_map(|path| path.ancestors()).chain(here.ancestors());
    let file = roots.map(|root| root.join(place.file())).find(|path| path.is_file())?;
    if file.metadata().ok()?.len() > LONGEST_SOURCE {
        return None;
    }
    let source = std::fs::read(file).ok()?;
    Excerpt::of(&String::from_utf8_lossy(&source), place.line(), place.column(), AROUND)
}
