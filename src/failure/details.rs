//! The page for the developer: what happened, where, and what to do.

use super::hints::Hint;
use super::markup::{self, Escaped, Markup, fill};
use super::routes::{Candidate, lines_to_paste};
use super::{Failure, TemplateError};
use crate::report::Frame;
use crate::{Error, Excerpt};

/// More than these are counted, not listed.
const MOST_ROUTES: usize = 200;

impl Failure<'_> {
    /// The page for the developer, complete in itself. `visitors` is the template that production would show.
    pub(crate) fn details_page(&self, nonce: Option<&str>, visitors: Option<&str>) -> String {
        let asked = format!("{} {}", self.facts.method, self.url());
        let id = self.id().map(|id| format!(" <span>request <code>{}</code></span>", Escaped(id)));
        fill(
            include_str!("../../templates/error_details.html"),
            &[
                ("status", Markup::of(self.status.as_u16())),
                ("title", Markup::of(self.title())),
                ("nonce", markup::nonce(nonce)),
                ("asked", Markup::of(asked)),
                ("id", Markup(id.unwrap_or_default())),
                ("message", Markup::of_prose(&self.message())),
                ("causes", self.causes_list()),
                (
                    "body",
                    Markup(
                        self.hints_list()
                            + &self.places_list()
                            + &self.routes_list()
                            + &self.frames_list()
                            + &self.facts_table(),
                    ),
                ),
                ("note", self.note(visitors)),
            ],
        )
    }

    fn causes_list(&self) -> Markup {
        let causes = self.causes();
        if causes.is_empty() {
            return Markup(String::new());
        }
        let cause = |cause: &String| format!("<li><span>caused by</span> {}</li>\n", Escaped(cause));
        Markup(format!("<ul class=\"causes\">\n{}</ul>\n", causes.iter().map(cause).collect::<String>()))
    }

    fn hints_list(&self) -> String {
        let hints = self.hints();
        let told = |hint: &Hint| {
            let paste = hint.paste.as_ref().map(|lines| {
                format!(
                    "<section class=\"code paste\" tabindex=\"0\" aria-label=\"What to write\"><pre><code>{}</code></pre></section>\n",
                    Escaped(lines)
                )
            });
            format!(
                "<section class=\"card\">\n<h2>What to do</h2>\n<p class=\"text\">{}</p>\n{}</section>\n",
                Escaped(&hint.text),
                paste.unwrap_or_default()
            )
        };
        hints.iter().map(told).collect()
    }

    /// The first place is open: it is where the error arose.
    fn places_list(&self) -> String {
        let mut list = String::new();
        for (nth, (place, excerpt)) in self.places().into_iter().enumerate() {
            let told = if nth == 0 { "arose at" } else { "then at" };
            let head = format!("<small>{told}</small> <code>{}</code>", Escaped(place));
            match excerpt {
                Some(excerpt) => {
                    let open = if nth == 0 { " open" } else { "" };
                    let code = code(&excerpt, &place.to_string());
                    list.push_str(&format!(
                        "<details class=\"card\"{open}>\n<summary>{head}</summary>\n{code}</details>\n"
                    ));
                }
                None => list.push_str(&format!("<section class=\"card\">\n<h2>{head}</h2>\n</section>\n")),
            }
        }
        list
    }

    fn routes_list(&self) -> String {
        let candidates = self.candidates();
        if candidates.is_empty() {
            return String::new();
        }
        let rows: String = candidates.iter().take(MOST_ROUTES).map(row).collect();
        let rest = match candidates.len().saturating_sub(MOST_ROUTES) {
            0 => String::new(),
            more => format!("<p class=\"text\">and {more} more</p>\n"),
        };
        let paste = lines_to_paste(self.facts.uri.path(), &self.facts.method);
        format!(
            "<section class=\"card\">\n<h2>The site's routes <small>nearest first</small></h2>\n<section class=\"scroll\" tabindex=\"0\" aria-label=\"Routes\">\n<table>\n\
             <thead><tr><th scope=\"col\">Method</th><th scope=\"col\">Path</th><th scope=\"col\">Name</th>\
             <th scope=\"col\" class=\"place-column\">Line</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</section>\n{rest}\
             </section>\n\
             <section class=\"card\">\n<h2>To answer it, add <small>to the site's routes, and a handler</small></h2>\n\
             <section class=\"code paste\" tabindex=\"0\" aria-label=\"Lines to paste\"><pre><code>{}</code></pre></section>\n</section>\n",
            Escaped(paste)
        )
    }

    fn frames_list(&self) -> String {
        let frames = self.frames();
        if frames.is_empty() {
            return String::new();
        }
        let rows = |frames: &mut dyn Iterator<Item = &Frame>| -> String {
            frames.map(|frame| format!("<span>{}</span>", Escaped(frame))).collect()
        };
        let own = frames.iter().filter(|frame| frame.own).count();
        let mut list = String::new();
        if own > 0 {
            list.push_str(&format!(
                "<section class=\"card\">\n<h2>Own frames <small>{own} of {}</small></h2>\n\
                 <section class=\"code\" tabindex=\"0\" aria-label=\"Own frames\"><pre>{}</pre></section>\n</section>\n",
                frames.len(),
                rows(&mut frames.iter().filter(|frame| frame.own))
            ));
        }
        list.push_str(&format!(
            "<details class=\"card\">\n<summary>All {} frames <small>with those of libraries</small></summary>\n\
             <section class=\"code\" tabindex=\"0\" aria-label=\"All frames\"><pre>{}</pre></section>\n</details>\n",
            frames.len(),
            rows(&mut frames.iter())
        ));
        list
    }

    fn facts_table(&self) -> String {
        let mut rows = String::new();
        let mut row = |name: &str, value: &str| {
            rows.push_str(&format!(
                "<tr><th scope=\"row\">{name}</th><td class=\"mono\">{}</td></tr>\n",
                Escaped(value)
            ));
        };
        for (name, value) in self.trail() {
            row(if name == "route" { "Route" } else { "Layer" }, value);
        }
        for place in self
            .error
            .and_then(|error| error.downcast_ref::<TemplateError>())
            .map(TemplateError::trail)
            .unwrap_or_default()
        {
            row("Template", place);
        }
        for (name, value) in self.error.map(Error::headers).unwrap_or_default() {
            let header = format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
            row("Header", &crate::report::Redaction::new().text(&header));
        }
        if rows.is_empty() {
            return String::new();
        }
        format!(
            "<section class=\"card\">\n<h2>Where in the site</h2>\n<table class=\"facts\">\n<tbody>\n{rows}</tbody>\n</table>\n</section>\n"
        )
    }

    fn note(&self, visitors: Option<&str>) -> Markup {
        let public = Escaped(self.public());
        let shown = match visitors {
            Some(template) => format!("the template <code>{}</code>", Escaped(template)),
            None => "a plain page".to_owned(),
        };
        Markup(format!(
            "This page is for development (<code>errors.details</code>). Visitors see {shown} which says “{public}”"
        ))
    }
}

fn row(candidate: &Candidate<'_>) -> String {
    let path = Escaped(candidate.path());
    // Only a path without parameters can be gone to.
    let path = match candidate.path().contains(['{', '}']) {
        false => format!("<a href=\"{path}\">{path}</a>"),
        true => path.to_string(),
    };
    let near = if candidate.is_near() { " class=\"near\"" } else { "" };
    let name = candidate.route.name.as_deref().unwrap_or_default();
    let place = candidate.why().unwrap_or_else(|| candidate.route.place.to_string());
    format!(
        "<tr{near}><td class=\"mono\">{}</td><td class=\"mono\">{path}</td><td class=\"mono\">{}</td>\
         <td class=\"mono place-column\">{}</td></tr>\n",
        Escaped(candidate.methods()),
        Escaped(name),
        Escaped(place)
    )
}

/// Numbered lines, the one that is meant marked.
fn code(excerpt: &Excerpt, what: &str) -> String {
    let mut lines = String::new();
    for (number, text) in excerpt.lines() {
        let hit = number == excerpt.line();
        let class = if hit { " class=\"hit\"" } else { "" };
        lines.push_str(&format!("<span{class}><i>{number}</i>{}\n</span>", Escaped(text)));
        if let (true, Some(indent)) = (hit, excerpt.indent()) {
            lines.push_str(&format!("<span class=\"caret\" aria-hidden=\"true\"><i></i>{indent}^\n</span>"));
        }
    }
    format!(
        "<section class=\"code\" tabindex=\"0\" aria-label=\"Source of {}\"><pre>{lines}</pre></section>\n",
        Escaped(what)
    )
}
