//! `Pages`: the pages of the port itself, while there is no site to answer.

use super::build::Progress;
use super::diagnostics::Sources;
use super::editor::Editor;
use super::front::{Html, Renew};
use super::state::{Busy, Step, random};
use super::tour::tour;
use super::trouble::Trouble;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment};
use serde_json::{Value as Json, json};
use std::path::PathBuf;

const HEAD: &str = include_str!("head.html");
const TROUBLE: &str = include_str!("trouble.html");
const BUILDING: &str = include_str!("building.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(crate) struct Pages {
    environment: Environment<'static>,
    editor: Editor,
    folder: PathBuf,
    /// What the site is called.
    name: String,
    /// Of this run: the next one has other pages.
    session: String,
}

impl Pages {
    pub(crate) fn new(folder: PathBuf, name: String, editor: Editor) -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        // The engine's own writes every slash of a path as five letters.
        environment.set_formatter(|out, _, value| {
            let text = value.to_string();
            Ok(out.write_str(&if value.is_safe() { text } else { escape(&text) })?)
        });
        environment.add_filter("ticks", |text: &str| Value::from_safe_string(ticks(text)));
        Self { environment, editor, folder, name, session: random() }
    }

    /// Which page it is that is shown after so many were settled.
    pub(crate) fn id(&self, settled: u64) -> String {
        format!("{}.{settled}", &self.session[..12])
    }

    pub(crate) fn trouble(&self, trouble: &Trouble, settled: u64, renew: Renew) -> Html {
        self.render(TROUBLE, settled, renew, &trouble.view)
    }

    pub(crate) fn building(&self, progress: &Progress, busy: &Busy, settled: u64, renew: Renew) -> Html {
        let view = json!({
            "title": format!("{} is being built", self.name),
            "first": settled == 0,
            "progress": Self::numbers(progress, busy.step),
            "elapsed": busy.since.elapsed().as_secs(),
            "tour": tour(&self.folder, &Sources::new(&self.folder, &self.editor)),
            "refresh": 2,
        });
        self.render(BUILDING, settled, renew, &view)
    }

    /// What the building page is told while it is shown.
    pub(crate) fn progress(progress: &Progress, step: Step) -> String {
        Self::numbers(progress, step).to_string()
    }

    fn numbers(progress: &Progress, step: Step) -> Json {
        json!({
            "done": progress.done,
            "all": progress.to_compile(),
            "count": progress.crates(),
            "now": if step == Step::Starting { "starting it" } else { progress.now.as_str() },
        })
    }

    fn render(&self, template: &str, settled: u64, renew: Renew, view: &Json) -> Html {
        let nonce = random();
        let page = json!({
            "id": self.id(settled),
            "nonce": nonce,
            "name": self.name,
            "renew": match renew { Renew::Never => "", Renew::Reload => "reload", Renew::Get => "get" },
        });
        let context = Value::from_pairs([
            ("page", value(&page)),
            ("view", value(view)),
            ("style", Value::from_safe_string(STYLE.to_owned())),
            ("script", Value::from_safe_string(SCRIPT.to_owned())),
        ]);
        let source = format!("{HEAD}{template}");
        let text = self.environment.render_str(&source, context);
        // The templates are ours, and the tests render them; a mistake in one must not hide the message.
        let text = text.unwrap_or_else(|error| format!("<!DOCTYPE html><title>purlin dev</title><p>{error:?}"));
        Html { text, nonce }
    }
}

/// A text in HTML, with what stands between backticks as code.
fn ticks(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let mut html = String::new();
    for (at, part) in parts.iter().enumerate() {
        // The last one has nothing to end it.
        let (open, close) = match (at % 2, at + 1 < parts.len()) {
            (1, true) => ("<code>", "</code>"),
            (1, false) => ("`", ""),
            _ => ("", ""),
        };
        html.push_str(open);
        html.push_str(&escape(part));
        html.push_str(close);
    }
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// The same for the template engine.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(yes) => Value::from(*yes),
        Json::Number(number) => number.as_i64().map_or_else(|| Value::from(number.as_f64()), Value::from),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => Value::from(list.iter().map(value).collect::<Vec<_>>()),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(key, json)| (key.as_str(), value(json)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn pages() -> Pages {
        Pages::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")), "<my> site".to_owned(), Editor::default())
    }

    fn busy(step: Step) -> Busy {
        Busy { step, old: None, since: Instant::now().checked_sub(Duration::from_secs(7)).unwrap() }
    }

    #[test]
    fn what_stands_between_backticks_is_code_and_all_of_it_is_escaped() {
        for (text, expected) in [
            ("no `a<b>` here", "no <code>a&lt;b&gt;</code> here"),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
            ("one ` alone", "one ` alone"),
            ("<script>", "&lt;script&gt;"),
            ("", ""),
        ] {
            assert_eq!(ticks(text), expected, "{text}");
        }
    }

    #[test]
    fn the_building_page_says_how_far_it_is() {
        let progress = Progress { done: 3, fresh: 0, all: Some(70), now: "Compiling <serde>".to_owned() };
        let page = pages().building(&progress, &busy(Step::Building), 0, Renew::Reload).text;
        for expected in [
            "3 of 70 crates",
            "Compiling &lt;serde&gt;",
            "max=\"70\" value=\"3\"",
            "&lt;my&gt; site",
            "http-equiv=\"refresh\"",
        ] {
            assert!(page.contains(expected), "{expected} in {page}");
        }
        assert!(!page.contains("<serde>") && !page.contains("undefined"));
        // One crate is built of those seventy.
        let change = Progress { done: 0, fresh: 69, ..progress.clone() };
        let page = pages().building(&change, &busy(Step::Building), 1, Renew::Reload).text;
        assert!(page.contains("0 of 1 crate<") && page.contains("max=\"1\" value=\"0\""), "{page}");
        // There may be more than were expected.
        let more = Progress { done: 71, ..progress.clone() };
        assert!(Pages::progress(&more, Step::Building).contains("\"all\":71"));
        let page = pages().building(&more, &busy(Step::Starting), 1, Renew::Never).text;
        assert!(
            page.contains("starting it")
                && page.contains("data-since=\"7\"")
                && !page.contains("<script")
                && !page.contains("refresh")
        );
    }

    #[test]
    fn a_page_has_what_its_policy_allows_and_an_own_name() {
        let pages = pages();
        let (one, other) = (pages.id(1), pages.id(2));
        assert_ne!(one, other);
        let html = pages.building(&Progress::default(), &busy(Step::Building), 1, Renew::Get);
        assert!(html.text.contains(&format!("data-page=\"{one}\"")) && html.text.contains("data-renew=\"get\""));
        assert_eq!(html.text.matches(&format!("nonce=\"{}\"", html.nonce)).count(), 2);
        assert!(
            !html.text.contains("style=") && !html.text.contains("http://") && !html.text.contains(" onload="),
            "{}",
            html.text
        );
    }
}
