//! The page: HTML that says all of it without a script, and that a script makes one to work in.

use super::engine::{Frame, Frames, Value, Variables, Whose};
use super::highlight;
use super::record::Record;
use super::workbench::{PATH, SITE};
use crate::Excerpt;
use crate::editor::{self, Editor};
use crate::failure::hints::Hint;
use crate::failure::markup::{Escaped, Markup, fill};
use crate::failure::routes::{Candidate, lines_to_paste, nearest_first};
use crate::site::Site;
use http::Method;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// So many lines of source before and after a place.
const AROUND: u32 = 6;

/// More than these are counted, not listed.
const MOST_ROUTES: usize = 100;

/// One report.
pub(super) struct Page<'a> {
    pub(super) record: &'a Record,
    pub(super) frames: Result<&'a Frames, &'a str>,
    pub(super) site: &'a Site,
    pub(super) editor: &'a Editor,
    pub(super) token: &'a str,
    pub(super) nonce: &'a str,
}

impl Page<'_> {
    pub(super) fn to_html(&self) -> String {
        let record = self.record;
        let title = record.status.canonical_reason().unwrap_or("Error");
        let causes: String = record
            .report
            .causes
            .iter()
            .map(|cause| format!("<li><span>caused by</span> {}</li>\n", Escaped(cause)))
            .collect();
        let causes = if causes.is_empty() { causes } else { format!("<ul class=\"causes\">\n{causes}</ul>\n") };
        let kind = record.report.kind.as_deref();
        let kind = kind.map(|kind| format!(" <span>{}</span>", Escaped(kind))).unwrap_or_default();
        let id = Escaped(&record.id);
        let links = format!(
            "<nav aria-label=\"This report\"><a href=\"{PATH}/{id}\">Address of this report</a> \
             <button type=\"button\" id=\"copy\" data-from=\"{PATH}/{id}.md\" hidden>Copy as Markdown</button> \
             <a href=\"{PATH}/{id}.md\">Markdown</a> <a href=\"{PATH}/{id}.json\">JSON</a> <a href=\"{PATH}/\">All reports</a></nav>"
        );
        fill(
            include_str!("../../templates/debugger.html"),
            &[
                ("nonce", Markup::of(self.nonce)),
                ("style", Markup(include_str!("../../templates/debugger.css").to_owned())),
                ("script", Markup(include_str!("../../templates/debugger.js").to_owned())),
                ("token", Markup::of(self.token)),
                ("id", Markup::of(&record.id)),
                ("path", Markup::of(PATH)),
                ("title", Markup::of(tab_title(&format!("{} {}", record.status.as_u16(), record.headline())))),
                ("status", Markup::of(format!("{} {title}", record.status.as_u16()))),
                ("asked", Markup::of(format!("{} {}", record.method, record.url()))),
                ("kind", Markup(kind)),
                ("message", Markup::of_prose(&record.headline())),
                ("causes", Markup(causes)),
                ("links", Markup(links)),
                ("body", Markup(self.body())),
            ],
        )
    }

    fn body(&self) -> String {
        let frames = self.stack_of_frames();
        // A view is rendered when its handler is done: its frames are the layers' and the engine's.
        let (frames, engine) = match self.record.template.is_some() {
            true => (String::new(), frames),
            false => (frames, String::new()),
        };
        [
            self.hints(),
            self.template(),
            frames,
            self.places(),
            self.routes(),
            self.layers(),
            self.request(),
            engine,
            self.extra(),
        ]
        .concat()
    }

    /// What there is to say first, and what to do.
    fn hints(&self) -> String {
        let mut notes = String::new();
        if self.record.in_body() {
            notes.push_str(
                "<p class=\"note\">It arose in the body of the answer, whose head had left: the client saw the connection cut, not \
                 this page.</p>\n",
            );
        }
        let mut hints = self.record.hints.clone();
        if self.record.is_unmatched() {
            let (path, method) = (self.record.path.as_str(), &self.record.method);
            let nearest = nearest_first(self.site, path, method).into_iter().next().filter(Candidate::is_near);
            hints.extend(nearest.map(|nearest| Hint { text: nearest.advice(), paste: None }));
        }
        if hints.is_empty() {
            return notes;
        }
        let told = hints.iter().map(|hint| {
            let paste = hint.paste.as_ref().map(|lines| format!("<pre>{}</pre>\n", Escaped(lines)));
            format!("<p>{}</p>\n{}", Escaped(&hint.text), paste.unwrap_or_default())
        });
        let told: String = told.collect();
        format!(
            "{notes}<section class=\"hint\" aria-labelledby=\"to-do\">\n<h2 id=\"to-do\">What to do</h2>\n{told}</section>\n"
        )
    }

    fn template(&self) -> String {
        let Some(template) = &self.record.template else { return String::new() };
        let code = template.excerpt.as_ref().map(|excerpt| template_code(excerpt, &template.file)).unwrap_or_default();
        let trail: String = template.trail.iter().map(|place| format!("<li>{}</li>", Escaped(place))).collect();
        let trail = if trail.is_empty() { trail } else { format!("<ul class=\"trail\">{trail}</ul>\n") };
        let facts = self.record.report.template.as_ref();
        let context =
            facts.map(|facts| format!("<ul class=\"tree\">{}</ul>\n", tree("its context", &facts.context, true)));
        format!(
            "<section class=\"card\">\n<h2>The template <code>{}</code></h2>\n{code}{trail}{}</section>\n",
            Escaped(&template.file),
            context.unwrap_or_default()
        )
    }

    fn has_own_frames(&self) -> bool {
        self.frames.is_ok_and(|frames| frames.list.iter().any(|frame| frame.whose == Whose::Own))
    }

    fn stack_of_frames(&self) -> String {
        let (frames, lack) = match self.frames {
            Ok(Frames { list, .. }) if list.is_empty() => return String::new(),
            Ok(Frames { list, lack }) => (list.as_slice(), lack.as_deref()),
            // Where no code ran there are none to miss.
            Err(_) if !self.record.status.is_server_error() => return String::new(),
            Err(lack) => {
                return format!(
                    "<section class=\"card\">\n<h2>Frames</h2>\n<p class=\"text\">{}</p>\n</section>\n",
                    Escaped(lack)
                );
            }
        };
        let own = frames.iter().filter(|frame| frame.whose == Whose::Own).count();
        let mut list = String::new();
        let mut at = 0;
        let mut first = self.record.template.is_none();
        while let Some(frame) = frames.get(at) {
            if frame.whose == Whose::Own {
                list.push_str(&self.frame(at, frame, std::mem::take(&mut first)));
                at += 1;
                continue;
            }
            let count = frames[at..].iter().take_while(|frame| frame.whose != Whose::Own).count();
            let inner: String = (at..at + count).map(|at| self.frame(at, &frames[at], false)).collect();
            let whose = folded(&frames[at..at + count]);
            let plural = if count == 1 { "frame" } else { "frames" };
            list.push_str(&format!(
                "<li class=\"folded\"><details>\n<summary>{count} {plural} of {whose}</summary>\n<ol>\n{inner}</ol>\n</details></li>\n"
            ));
            at += count;
        }
        let lack = lack.map(|lack| format!("<p class=\"note\">There is no prompt here: {}.</p>\n", Escaped(lack)));
        let lack = lack.unwrap_or_default();
        if self.record.template.is_some() {
            return format!(
                "<section class=\"frames\" aria-label=\"Frames\">\n<div class=\"folded\"><details>\n<summary>{} frames of its rendering, \
                 {own} of the site’s own</summary>\n{lack}<ol>\n{list}</ol>\n</details></div>\n</section>\n",
                frames.len()
            );
        }
        format!(
            "<section class=\"frames\" aria-labelledby=\"frames\">\n<div class=\"bar\"><h2 id=\"frames\">Frames <small>{own} of the site’s \
             own, {} in all; innermost first</small></h2>\n<button type=\"button\" id=\"unfold\" aria-pressed=\"false\" hidden>Unfold \
             others</button></div>\n{lack}<ol>\n{list}</ol>\n</section>\n",
            frames.len()
        )
    }

    fn frame(&self, at: usize, frame: &Frame, open: bool) -> String {
        let file = frame.file.as_deref().unwrap_or_default();
        let line = frame.line.unwrap_or(0);
        let code = highlight::lines_of(Path::new(file), line, AROUND);
        let before = |lines: &[(u32, String)]| indent(lines, line, frame.column);
        let what = format!("frame {at}, {file}:{line}");
        let code = code.map(|lines| code_of(&lines, line, before(&lines), &what)).unwrap_or_default();
        let place = self.place(file, frame.line, frame.column);
        let place = if is_newer(Path::new(file)) {
            place + " <strong>changed since the program was built: the lines may be others</strong>"
        } else {
            place
        };
        let alive = self.frames.is_ok_and(|frames| frames.lack.is_none());
        let variables = match &frame.variables {
            Some(variables) => variables_list(at, variables),
            None if alive => format!(
                "<div class=\"variables\" data-frame=\"{at}\" data-lazy>\n<p class=\"text\">Variables of this frame are read when it \
                 is opened, by a script.</p></div>\n"
            ),
            None => String::new(),
        };
        let mut values = frame.variables.iter().flat_map(|variables| &variables.values);
        // One that shows something.
        let first = values.find(|value| !value.masked);
        let example = first.map_or("1 + 1", |value| value.name.as_str());
        let prompt = prompt(&at.to_string(), &format!("Rust expression in {}", frame.function), example);
        let prompt = if alive { prompt } else { String::new() };
        let (open, class) = (if open { " open" } else { "" }, if frame.whose == Whose::Own { "own" } else { "other" });
        let inlined = if frame.inlined { " <small>inlined</small>" } else { "" };
        format!(
            "<li class=\"frame {class}\"><details class=\"card\" data-frame=\"{at}\"{open}>\n<summary><code title=\"{path}\">{name}</code>\
             {inlined} <small>{short}</small></summary>\n<div class=\"sides\">\n<div><p class=\"place\">{place}</p>\n{code}</div>\n\
             {variables}</div>\n{prompt}</details></li>\n",
            path = Escaped(&frame.path),
            name = Escaped(&frame.function),
            short = Escaped(short(file, frame.line)),
        )
    }

    /// A place as text, and as a link where an editor is known.
    fn place(&self, file: &str, line: Option<u32>, column: Option<u32>) -> String {
        let Some(line) = line else { return Escaped(file).to_string() };
        let text = format!("<code>{}:{line}</code>", Escaped(file));
        match self.editor.link(file, line, column.unwrap_or(1)) {
            Some(link) => format!("{text} <a href=\"{}\">Open in the editor</a>", Escaped(link)),
            None => text,
        }
    }

    /// Where the error came by; the first is that of the innermost frame, if frames are shown.
    fn places(&self) -> String {
        let places = self.record.places();
        if self.record.is_unmatched() || places.is_empty() {
            return String::new();
        }
        let shown = self.has_own_frames();
        // The line of the innermost frame, once more.
        if shown && places.len() == 1 {
            return String::new();
        }
        let mut list = String::new();
        for (nth, place) in places.into_iter().enumerate() {
            let told = if nth == 0 { "arose at" } else { "then at" };
            let path = editor::on_disk(place.file());
            let code = path.as_deref().and_then(|path| highlight::lines_of(path, place.line(), AROUND));
            let file = path.unwrap_or_else(|| PathBuf::from(place.file()));
            let told_place = self.place(&file.to_string_lossy(), Some(place.line()), Some(place.column()));
            let open = if nth == 0 && !shown && self.record.template.is_none() { " open" } else { "" };
            let before = |lines: &[(u32, String)]| indent(lines, place.line(), Some(place.column()));
            let code = code.map(|lines| code_of(&lines, place.line(), before(&lines), &place.to_string()));
            let code = code.unwrap_or_default();
            list.push_str(&format!(
                "<details class=\"card\"{open}><summary><small>{told}</small> <code>{}</code></summary>\n<p class=\"place\">{told_place}</p>\n\
                 {code}</details>\n",
                Escaped(place)
            ));
        }
        format!("<section aria-labelledby=\"places\">\n<h2 id=\"places\">Its way</h2>\n{list}</section>\n")
    }

    fn routes(&self) -> String {
        if !self.record.is_unmatched() {
            return String::new();
        }
        let (path, method) = (self.record.path.as_str(), &self.record.method);
        let candidates = nearest_first(self.site, path, method);
        if candidates.is_empty() {
            return "<p class=\"hint\">The site has no routes.</p>\n".to_owned();
        }
        let mut rows = String::new();
        for candidate in candidates.iter().take(MOST_ROUTES) {
            let path = Escaped(candidate.path());
            // Only a path without parameters can be gone to.
            let path = match candidate.path().contains(['{', '}']) {
                false => format!("<a href=\"{path}\">{path}</a>"),
                true => path.to_string(),
            };
            let near =
                if candidate.is_near() && candidate.is_as_near_as(&candidates[0]) { " class=\"near\"" } else { "" };
            let why = candidate.why().unwrap_or_else(|| candidate.route.place.to_string());
            let name = candidate.route.name.as_deref().unwrap_or_default();
            rows.push_str(&format!(
                "<tr{near}><td>{}</td><td>{path}</td><td>{}</td><td>{}</td></tr>\n",
                Escaped(candidate.methods()),
                Escaped(name),
                Escaped(why)
            ));
        }
        let more = match candidates.len().saturating_sub(MOST_ROUTES) {
            0 => String::new(),
            more => format!("<p class=\"text\">and {more} more</p>\n"),
        };
        let paste = Escaped(lines_to_paste(path, method));
        format!(
            "<section class=\"card\">\n<h2>The site’s routes <small>nearest first</small></h2>\n<section class=\"scroll\" tabindex=\"0\" \
             aria-label=\"Routes\"><table class=\"mono\">\n<thead><tr><th scope=\"col\">Method</th><th scope=\"col\">Path</th><th \
             scope=\"col\">Name</th><th scope=\"col\">Line</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></section>\n{more}</section>\n\
             <section class=\"card\">\n<h2>To answer it, add <small>to the site’s routes, and a handler</small></h2>\n<section \
             class=\"code\" tabindex=\"0\" aria-label=\"Lines to paste\"><pre class=\"paste\">{paste}</pre></section>\n</section>\n"
        )
    }

    /// The stack, with the layer that failed.
    fn layers(&self) -> String {
        let mut rows = String::new();
        for layer in &self.record.report.stack {
            let (class, word) =
                if layer.failed { (" class=\"failed\"", " <strong>it arose here</strong>") } else { ("", "") };
            rows.push_str(&format!(
                "<li{class}><code>{}</code>{word} <small>{}</small></li>\n",
                Escaped(&layer.name),
                Escaped(&layer.place)
            ));
        }
        let end = match (self.record.route(), &self.record.report.layer) {
            (Some(route), None) => {
                format!("<li class=\"failed\"><code>{}</code> <strong>the handler</strong></li>\n", Escaped(route))
            }
            (Some(route), Some(_)) => format!("<li><code>{}</code></li>\n", Escaped(route)),
            (None, _) => String::new(),
        };
        format!(
            "<section class=\"card\">\n<h2>The stack <small>outermost first</small></h2>\n<ol class=\"stack\">\n{rows}{end}</ol>\n</section>\n"
        )
    }

    /// Everything else that the report knows: the form, the session, the user, the log, the configuration.
    fn extra(&self) -> String {
        let known = serde_json::to_value(&*self.record.report);
        let Ok(serde_json::Value::Object(mut known)) = known else { return String::new() };
        // Those that are shown above.
        for name in ["message", "causes", "places", "frames", "stack", "status", "public", "panic", "layer"] {
            known.remove(name);
        }
        if let Some(request) = known.get_mut("request").and_then(serde_json::Value::as_object_mut) {
            request.remove("headers");
        }
        known.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
        let inner: String = known.iter().map(|(name, value)| tree(name, value, false)).collect();
        format!(
            "<details class=\"card\">\n<summary>Extra data <small>all that the report knows</small></summary>\n<ul \
             class=\"tree\">{inner}</ul>\n</details>\n"
        )
    }

    /// The body to send again, if it was read.
    fn body_again(&self) -> String {
        let Some(request) = &self.record.report.request else { return String::new() };
        match &request.json {
            Some(json) => json.to_string(),
            None => form_urlencoded::Serializer::new(String::new()).extend_pairs(&request.form).finish(),
        }
    }

    fn request(&self) -> String {
        let Record { report, method, .. } = self.record;
        let headers = self.record.headers();
        let mut rows = String::new();
        if let Some(id) = report.request.as_ref().and_then(|request| request.id.as_deref()) {
            rows.push_str(&fact("request id", id));
        }
        for (name, value) in &headers {
            rows.push_str(&fact(name, value));
        }
        if !report.public.is_empty() {
            rows.push_str(&fact("visitors are told", &report.public));
        }
        let url = self.record.url();
        let again = match *method {
            Method::GET => {
                format!(
                    "<p class=\"text\"><a href=\"{}\">Send it as it was, in this window</a></p>\n",
                    Escaped(self.record.link())
                )
            }
            _ => String::new(),
        };
        format!(
            "<details class=\"card\">\n<summary>The request <small>{method} {url}</small></summary>\n<section class=\"scroll\" \
             tabindex=\"0\" aria-label=\"Headers\"><table class=\"facts\"><tbody>\n{rows}</tbody></table></section>\n</details>\n\
             <details class=\"card\" id=\"replay\">\n<summary>Replay <small>send it again, edited if you like</small></summary>\n\
             <form hidden><div class=\"row\"><label>Method <input type=\"text\" name=\"method\" \
             value=\"{method}\" size=\"7\"></label> <label class=\"wide\">Address <input type=\"text\" name=\"url\" value=\"{link}\"></label></div>\n\
             <label>Headers, a line each <textarea name=\"headers\" rows=\"3\" spellcheck=\"false\">{headers}</textarea></label>\n\
             <label>Body <textarea name=\"body\" rows=\"3\" spellcheck=\"false\">{body}</textarea></label>\n\
             <div class=\"row\"><button type=\"submit\">Send</button> <output></output></div></form>\n\
             {again}</details>\n",
            method = Escaped(method),
            url = Escaped(url),
            link = Escaped(self.record.link()),
            headers = Escaped(replayed(&headers)),
            body = Escaped(self.body_again()),
        )
    }
}

/// JSON as a tree to be opened.
fn tree(name: &str, value: &serde_json::Value, open: bool) -> String {
    use serde_json::Value::{Array, Object};
    let name = Escaped(name);
    let (count, inner): (usize, String) = match value {
        Object(map) => (map.len(), map.iter().map(|(name, value)| tree(name, value, false)).collect()),
        Array(list) => {
            let numbered = list.iter().enumerate();
            (list.len(), numbered.map(|(at, value)| tree(&at.to_string(), value, false)).collect())
        }
        serde_json::Value::String(text) => {
            let (name, text) = (name.to_string(), Escaped(text));
            return format!("<li><span class=\"name\">{name}</span>: {text}</li>");
        }
        other => return format!("<li><span class=\"name\">{name}</span>: {}</li>", Escaped(other)),
    };
    if count == 0 {
        return format!("<li><span class=\"name\">{name}</span>: none</li>");
    }
    let open = if open { " open" } else { "" };
    format!(
        "<li><details{open}><summary><span class=\"name\">{name}</span> <small>{count}</small></summary><ul>{inner}</ul></details></li>"
    )
}

/// The headers that a script may send again and that say something of the request itself.
fn replayed(headers: &[(&str, String)]) -> String {
    let sent = headers.iter().filter(|(name, value)| {
        (matches!(*name, "accept" | "accept-language" | "content-type" | "range") || name.starts_with("x-"))
            && !value.contains('•')
    });
    sent.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
}

fn fact(name: &str, value: &str) -> String {
    format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", Escaped(name), Escaped(value))
}

/// The last part of a path, and the line.
fn short(file: &str, line: Option<u32>) -> String {
    let parts: Vec<&str> = file.rsplit('/').take(3).collect();
    let short = parts.into_iter().rev().collect::<Vec<_>>().join("/");
    line.map(|line| format!("{short}:{line}")).unwrap_or(short)
}

/// Whose the frames are that are folded, in words.
fn folded(frames: &[Frame]) -> String {
    let names = [
        (Whose::Framework, "Purlin"),
        (Whose::Library, "libraries"),
        (Whose::Std, "the standard library"),
        (Whose::Unknown, "other code"),
    ];
    let there = names.into_iter().filter(|(whose, _)| frames.iter().any(|frame| frame.whose == *whose));
    let mut there: Vec<_> = there.map(|(_, name)| name).collect();
    match (there.pop(), there.as_slice()) {
        (last, []) => last.unwrap_or_default().to_owned(),
        (last, others) => format!("{} and {}", others.join(", "), last.unwrap_or_default()),
    }
}

/// A tab shows no more, and a list of bookmarks not much more: the whole message is the page's heading.
fn tab_title(title: &str) -> String {
    match title.char_indices().nth(70) {
        Some(_) => title.chars().take(69).chain(['…']).collect(),
        None => title.to_owned(),
    }
}

/// Whether a file was changed after the program that runs was built.
fn is_newer(file: &Path) -> bool {
    static BUILT: OnceLock<Option<SystemTime>> = OnceLock::new();
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let built = BUILT.get_or_init(|| changed(&std::env::current_exe().ok()?));
    built.zip(changed(file)).is_some_and(|(built, changed)| changed > built)
}

fn variables_list(at: usize, variables: &Variables) -> String {
    let values: String = variables.values.iter().map(value_item).collect();
    let lack =
        variables.lack.as_ref().map(|lack| format!("<p class=\"text\">{}</p>\n", Escaped(lack))).unwrap_or_default();
    let advice = variables.advice.as_ref();
    let advice = advice.map(|advice| format!("<pre class=\"paste\">{}</pre>\n", Escaped(advice))).unwrap_or_default();
    let none = match variables.values.is_empty() && variables.lack.is_none() {
        true => "<p class=\"text\">No variables here.</p>\n",
        false => "",
    };
    format!(
        "<div class=\"variables\" data-frame=\"{at}\">\n<h3>Variables</h3>\n{none}<ul>\n{values}</ul>\n{lack}{advice}</div>\n"
    )
}

/// What the script builds of JSON looks the same: see `item` there.
fn value_item(value: &Value) -> String {
    let note = value.note.as_ref().map(|note| format!(" <em>{}</em>", Escaped(note))).unwrap_or_default();
    let argument = if value.argument { "<small>argument </small>" } else { "" };
    // An entry of a map whose key is no simple value is of no type.
    let kind = if value.kind.is_empty() { String::new() } else { format!(": {}", value.kind) };
    let head = format!(
        "{argument}<span class=\"name\">{}</span><span class=\"type\">{}</span> = <span class=\"value\">{}</span>{note}",
        Escaped(&value.name),
        Escaped(kind),
        Escaped(&value.text)
    );
    if value.count == 0 {
        return format!("<li>{head}</li>\n");
    }
    let path = value.path.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
    let children: String = value.children.iter().map(value_item).collect();
    let listed = value.children.len();
    format!(
        "<li><details data-path=\"{path}\" data-count=\"{}\" data-listed=\"{listed}\"><summary>{head}</summary>\n<ul>\n{children}</ul>\
         </details></li>\n",
        value.count
    )
}

/// Numbered lines that are HTML, the one that is meant marked, and below it the column, if what is before that is known.
fn code_of(lines: &[(u32, String)], hit: u32, before: Option<String>, what: &str) -> String {
    let mut html = String::new();
    for (number, line) in lines {
        let class = if *number == hit { " class=\"hit\"" } else { "" };
        // Writing to a String does not fail.
        let _ = write!(html, "<span{class}><i>{number}</i>{line}\n</span>");
        if let Some(before) = before.as_ref().filter(|_| *number == hit) {
            let _ = write!(html, "<span class=\"hit caret\" aria-hidden=\"true\"><i></i>{before}^\n</span>");
        }
    }
    format!(
        "<section class=\"code\" tabindex=\"0\" aria-label=\"Source of {}\"><pre>{html}</pre></section>\n",
        Escaped(what)
    )
}

/// What stands before a column, where a column is as wide as a character.
fn indent(lines: &[(u32, String)], line: u32, column: Option<u32>) -> Option<String> {
    let (_, html) = lines.iter().find(|(number, _)| *number == line)?;
    let before = column.filter(|column| (1..=200).contains(column) && html.is_ascii() && !html.contains('\t'))?;
    Some(" ".repeat(before as usize - 1))
}

/// The lines of a template, with the place in the line marked.
fn template_code(excerpt: &Excerpt, what: &str) -> String {
    let lines: Vec<_> = excerpt.lines().map(|(number, line)| (number, highlight::template_line(line))).collect();
    code_of(&lines, excerpt.line(), excerpt.indent(), what)
}

/// The prompt of a frame, or of the site: shown by the script, without which it is of no use.
fn prompt(at: &str, label: &str, example: &str) -> String {
    format!(
        "<div class=\"prompt\" data-frame=\"{at}\" hidden><div role=\"log\" aria-label=\"Answers: {label}\"><ol \
         class=\"log\"></ol></div><label for=\"ask-{at}\"><span aria-hidden=\"true\">&gt;</span><span class=\"sr\">{label}</span></label>\
         <textarea id=\"ask-{at}\" rows=\"1\" spellcheck=\"false\" autocomplete=\"off\" autocapitalize=\"off\" \
         placeholder=\"an expression, such as {example}\"></textarea><ul class=\"names\" hidden></ul></div>\n",
        label = Escaped(label),
        example = Escaped(example)
    )
}

/// The list of what is kept.
pub(super) fn list(records: &[Arc<Record>], site: &Site, token: &str, nonce: &str) -> String {
    let rows: String = records
        .iter()
        .map(|record| {
            format!(
                "<tr><td>{}</td><td><a href=\"{PATH}/{}\">{}</a></td><td>{} {}</td><td>{}</td></tr>\n",
                record.status.as_u16(),
                Escaped(&record.id),
                Escaped(record.headline()),
                Escaped(&record.method),
                Escaped(record.url()),
                ago(record)
            )
        })
        .collect();
    let body = match records {
        [] => "<p class=\"note\">Nothing has failed since the site started.</p>\n".to_owned(),
        _ => format!(
            "<section class=\"card\">\n<h2>Newest first</h2>\n<section class=\"scroll\" tabindex=\"0\" aria-label=\"Reports\"><table>\n\
             <thead><tr><th scope=\"col\">Status</th><th scope=\"col\">What</th><th scope=\"col\">Request</th><th scope=\"col\">When</th></tr>\
             </thead>\n<tbody>\n{rows}</tbody></table></section>\n</section>\n"
        ),
    };
    let ask = format!(
        "<section class=\"card\" id=\"ask\">\n<h2>Ask the site <small>an expression as in a template, over <code>request</code>, \
         <code>config</code>, <code>routes</code>, <code>stack</code>, <code>reports</code>, <code>program</code></small></h2>\n\
         <noscript><p class=\"text\">The prompt needs JavaScript.</p></noscript>\n{}</section>\n",
        prompt(SITE, "Expression about the site", "routes | length")
    );
    let tables = format!(
        "<details class=\"card\"><summary>Routes</summary><section class=\"code\" tabindex=\"0\" aria-label=\"Routes\"><pre \
         class=\"paste\">{}</pre></section></details>\n<details class=\"card\"><summary>The stack</summary><section class=\"code\" \
         tabindex=\"0\" aria-label=\"The stack\"><pre class=\"paste\">{}</pre></section></details>\n",
        Escaped(site.routes_table()),
        Escaped(site.stack_table())
    );
    fill(
        include_str!("../../templates/debugger.html"),
        &[
            ("nonce", Markup::of(nonce)),
            ("style", Markup(include_str!("../../templates/debugger.css").to_owned())),
            ("script", Markup(include_str!("../../templates/debugger.js").to_owned())),
            ("token", Markup::of(token)),
            ("id", Markup::of(SITE)),
            ("path", Markup::of(PATH)),
            ("title", Markup::of("Reports")),
            ("status", Markup::of("Debugger")),
            ("asked", Markup(String::new())),
            ("kind", Markup(String::new())),
            ("message", Markup::of("Reports of this site")),
            ("causes", Markup(String::new())),
            ("links", Markup(format!("<nav aria-label=\"Reports\"><a href=\"{PATH}/reports.json\">JSON</a></nav>"))),
            ("body", Markup(ask + &body + &tables)),
        ],
    )
}

fn ago(record: &Record) -> String {
    let seconds = record.at.elapsed().map(|since| since.as_secs()).unwrap_or_default();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}
