//! A report as JSON, as text and as Markdown.

use super::Report;
use std::fmt::{self, Write as _};

impl Report {
    /// All of it, indented, with no `<`, `>` or `&` that a page could take for markup.
    pub fn to_json(&self) -> String {
        // Texts, numbers and lists of them: none fails to be written.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026") + "\n"
    }

    /// All of it, ready to be pasted into an issue.
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        let title = format!("{} {}", self.status, self.headline());
        let _ = writeln!(out, "# {}\n", inline(&title));
        for section in self.sections() {
            let _ = writeln!(out, "## {}\n\n{}\n", section.title, fenced(&section.text));
        }
        out.truncate(out.trim_end().len());
        out + "\n"
    }

    /// One line: `panicked: index out of bounds`.
    pub fn headline(&self) -> String {
        let message = self.message.lines().next().unwrap_or_default();
        if self.panic { format!("panicked: {message}") } else { message.to_owned() }
    }

    /// Message and causes on one line.
    pub(crate) fn one_line(&self) -> String {
        let mut line = if self.panic { "panicked: ".to_owned() } else { String::new() };
        for (nth, message) in std::iter::once(&self.message).chain(&self.causes).enumerate() {
            line.push_str(if nth > 0 { ": " } else { "" });
            line.extend(message.escape_debug());
        }
        line
    }

    fn sections(&self) -> Vec<Section> {
        let mut sections = vec![Section { title: "Failure", text: self.failure() }];
        let mut add = |title, text: String| {
            if !text.is_empty() {
                sections.push(Section { title, text });
            }
        };
        add("Places", self.places.iter().map(|place| format!("{place}\n")).collect());
        let frames =
            |own: bool| self.frames.iter().filter(move |frame| frame.own || !own).map(|frame| format!("{frame}\n"));
        add("Own frames", frames(true).collect());
        add("All frames", frames(false).collect());
        if let Some(request) = &self.request {
            let peer = request.peer.as_ref().map(|peer| format!("from {peer}\n"));
            let body = request.body_bytes.map(|bytes| format!("body: {bytes} bytes\n"));
            let line = format!("{} {} {}\n", request.method, request.url, request.version);
            add("Request", line + &peer.unwrap_or_default() + &pairs(&request.headers) + &body.unwrap_or_default());
            add("Cookies", pairs(&request.cookies));
            add("Query", pairs(&request.query));
            add("Form", pairs(&request.form));
            add("JSON", request.json.as_ref().map(pretty).unwrap_or_default());
        }
        if let Some(route) = &self.route {
            let name = route.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            let place = route.place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
            add("Route", format!("{}{name}{place}\n", route.path) + &pairs(&route.params));
        }
        let layers = self.stack.iter().map(|layer| {
            let mark = if layer.failed { " <- failed here" } else { "" };
            format!("{} {}{mark}\n", layer.name, layer.place)
        });
        add("Stack", layers.collect());
        if let Some(values) = &self.session {
            let values = values.iter().map(|(name, value)| format!("{name}: {value}\n"));
            add("Session", values.collect());
        }
        add("User", self.user.as_ref().map(|user| format!("{} ({})\n", user.name, user.id)).unwrap_or_default());
        if let Some(template) = &self.template {
            let excerpt = template.excerpt.as_ref().map(|excerpt| format!("{excerpt}\n")).unwrap_or_default();
            add("Template", format!("{}\n{excerpt}{}", template.name, pretty(&template.context)));
        }
        let spans = self.spans.iter().map(|span| format!("{}::{}{}\n", span.target, span.name, fields(&span.fields)));
        add("Spans", spans.collect());
        let lines = self.log.iter().map(|line| {
            let fields = fields(&line.fields);
            format!("{:>6} ms {:5} {}: {}{fields}\n", line.after_ms, line.level, line.target, line.message)
        });
        add("Log", lines.collect());
        let settings = self.config.iter().map(|line| format!("{} = {}  # {}\n", line.key, line.value, line.source));
        add("Configuration", settings.collect());
        add("Program", self.program_lines());
        sections
    }

    fn failure(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for more in self.message.lines().skip(1) {
            let _ = writeln!(text, "{more}");
        }
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        if let Some(kind) = &self.kind {
            let _ = writeln!(text, "type: {kind}");
        }
        if let Some(layer) = &self.layer {
            let _ = writeln!(text, "in the layer: {layer}");
        }
        let _ = writeln!(text, "time: {}\nreport: {}\nfingerprint: {}", self.time, self.id, self.fingerprint);
        if let Some(id) = self.request.as_ref().and_then(|request| request.id.as_ref()) {
            let _ = writeln!(text, "request: {id}");
        }
        if !self.public.is_empty() {
            let _ = writeln!(text, "the client was told: {}", self.public);
        }
        text
    }

    fn program_lines(&self) -> String {
        let program = &self.program;
        let release = program.release.as_ref().map(|release| format!(" {release}")).unwrap_or_default();
        let host = program.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        format!(
            "{}{release} ({} build, Purlin {})\n{}{host}, process {}, up {} s\n",
            program.name, program.profile, program.purlin, program.system, program.process, program.uptime_seconds
        )
    }
}

/// All of it as text, which speaks to no terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, section) in self.sections().into_iter().enumerate() {
            if nth > 0 {
                write!(f, "\n{}\n", section.title)?;
            } else {
                write!(f, "{} ", self.status)?;
            }
            for line in section.text.lines() {
                let indent = if nth > 0 { "  " } else { "" };
                writeln!(f, "{indent}{}", harmless(line))?;
            }
        }
        Ok(())
    }
}

struct Section {
    title: &'static str,
    text: String,
}

fn pairs(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

fn fields(fields: &[(String, String)]) -> String {
    fields.iter().map(|(name, value)| format!(" {name}={value}")).collect()
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Control characters, by which a message could speak to the terminal it is read in, are written out.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// A text as a block of code, with a fence that nothing in it ends (CommonMark §4.5).
pub(crate) fn fenced(text: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}text\n{}\n{fence}", harmless(text.trim_end()))
}

/// A text as a part of a line, of which nothing is markup (CommonMark §2.4).
pub(crate) fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '!' | '|' | '~' | '&' | '@' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}
