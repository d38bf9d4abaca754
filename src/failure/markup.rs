//! HTML by hand: everything is escaped unless it says that it is markup.
//!
//! The framework's own pages need no engine: they are shown when the site's has failed.

use std::fmt;

/// Text that is HTML already.
pub(crate) struct Markup(pub(crate) String);

impl Markup {
    /// Any text, escaped.
    pub(crate) fn of(text: impl fmt::Display) -> Self {
        Self(Escaped(text).to_string())
    }

    /// Prose, escaped, in which what stands between backticks is code.
    pub(crate) fn of_prose(text: &str) -> Self {
        let mut html = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, (code, after))) =
            rest.split_once('`').and_then(|(before, rest)| Some((before, rest.split_once('`')?)))
        {
            html.push_str(&format!("{}<code>{}</code>", Escaped(before), Escaped(code)));
            rest = after;
        }
        // The last one has nothing to end it.
        html.push_str(&Escaped(rest).to_string());
        Self(html)
    }
}

/// Writes text so that HTML shows it as it is, also within a quoted attribute.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'', '\0']) {
            self.0.write_str(&rest[..at])?;
            self.0.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\'' => "&#39;",
                // No character of HTML, however it is written.
                _ => "\u{fffd}",
            })?;
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

/// Puts values in place of `{{name}}`. What a value contains is not looked at again.
pub(crate) fn fill(template: &str, values: &[(&str, Markup)]) -> String {
    let mut page = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        if let Some((_, Markup(value))) = values.iter().find(|(known, _)| *known == name) {
            page.push_str(value);
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

/// The attribute by which a page's policy lets a style in; the nonce is base64url.
pub(crate) fn nonce(nonce: Option<&str>) -> Markup {
    Markup(nonce.map(|nonce| format!(" nonce=\"{}\"", Escaped(nonce))).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code_and_all_of_it_is_escaped() {
        for (text, expected) in [
            ("no `a<b>` here", "no <code>a&lt;b&gt;</code> here"),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
            ("`a` and ` <b>", "<code>a</code> and ` &lt;b&gt;"),
            ("<script>", "&lt;script&gt;"),
            ("", ""),
        ] {
            assert_eq!(Markup::of_prose(text).0, expected, "{text}");
        }
    }

    #[test]
    fn nothing_escapes_the_escaping() {
        assert_eq!(Escaped("<a href='\"&\">\0ä").to_string(), "&lt;a href=&#39;&quot;&amp;&quot;&gt;\u{fffd}ä");
        assert_eq!(Escaped(404).to_string(), "404");
    }

    #[test]
    fn a_value_is_not_filled_again() {
        let values = [("a", Markup("{{b}}".into())), ("b", Markup("no".into()))];
        assert_eq!(fill("<{{a}}{{unknown}}>{{", &values), "<{{b}}>");
    }

    #[test]
    fn the_pages_ask_for_known_values_only() {
        let known = ["status", "title", "nonce", "message", "id", "asked", "causes", "body", "note"];
        for page in [include_str!("../../templates/error.html"), include_str!("../../templates/error_details.html")] {
            for part in page.split("{{").skip(1) {
                let name = part.split("}}").next().unwrap_or_default();
                assert!(known.contains(&name), "{name}");
            }
        }
    }
}
