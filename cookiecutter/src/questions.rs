//! `cookiecutter.json`: what a template asks, what it derives from the answers, and its settings.
//!
//! As in cookiecutter, a key without underscore is a question, `_key` is a private value used as it stands, and
//! `__key` is derived: rendered, never asked. Each may use the keys above it.
//!
//! Two derived keys do here what hooks in Python do there. `__refused` says why the answers above it cannot be, or is empty.
//! `__left_out` names the files and folders that these answers leave out, a space between them.

use crate::answers::{Answer, Answers};
use crate::failure::Failure;
use crate::jinja::Jinja;
use crate::nearest::nearest;
use crate::site_name;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

const REFUSED: &str = "__refused";
const LEFT_OUT: &str = "__left_out";

/// Values by key, as text.
pub(crate) type Given = BTreeMap<String, String>;

/// A `cookiecutter.json`, read and checked.
pub(crate) struct Questions {
    entries: Vec<(String, Sort)>,
    prompts: Map<String, Json>,
    pub(crate) settings: Settings,
    jinja: Jinja,
}

/// What a template says about how it is copied.
#[derive(Default)]
pub(crate) struct Settings {
    /// Patterns for `fnmatch`: paths whose content is copied as it is.
    pub(crate) copy_without_render: Vec<String>,
    /// The line ending of every rendered file, instead of each file's own.
    pub(crate) newline: Option<String>,
}

enum Sort {
    Text(String),
    Choice(Vec<String>),
    YesNo(bool),
    Private(Json),
    Derived(String),
}

/// A question whose default is known, since everything above it has been answered.
pub(crate) struct Question<'a> {
    pub(crate) key: &'a str,
    pub(crate) prompt: &'a str,
    /// The values that can be chosen, each with its description; empty unless this is a choice.
    pub(crate) choices: Vec<(String, &'a str)>,
    pub(crate) default: Answer,
    /// Counted from 1, and out of how many.
    pub(crate) number: (usize, usize),
}

impl Questions {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |message: String| Failure::new(format!("cookiecutter.json: {message}"));
        let mut table: Map<String, Json> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let prompts = match table.shift_remove("__prompts__") {
            None => Map::new(),
            Some(Json::Object(prompts)) => prompts,
            Some(_) => return Err(wrong("__prompts__ is not a table".to_owned())),
        };
        let settings = Settings::read(&table).map_err(wrong)?;
        let jinja = Jinja::new(table.get("_jinja2_env_vars")).map_err(wrong)?;
        let mut entries = Vec::new();
        for (key, value) in table {
            let sort = match value {
                value if key.starts_with('_') && !key.starts_with("__") => Sort::Private(value),
                Json::String(text) if key.starts_with("__") => Sort::Derived(text),
                Json::String(text) => Sort::Text(text),
                Json::Number(number) => Sort::Text(number.to_string()),
                Json::Bool(yes) => Sort::YesNo(yes),
                Json::Array(options) if !options.is_empty() && !key.starts_with("__") => Sort::Choice(
                    options
                        .into_iter()
                        .map(|option| match option {
                            Json::String(text) => Ok(text),
                            Json::Number(number) => Ok(number.to_string()),
                            _ => Err(wrong(format!("{key} has a choice that is neither text nor a number"))),
                        })
                        .collect::<Result<_, _>>()?,
                ),
                _ => return Err(wrong(format!("{key} is not text, a number, yes or no, or a list to choose from"))),
            };
            entries.push((key, sort));
        }
        Ok(Self { entries, prompts, settings, jinja })
    }

    pub(crate) fn jinja(&self) -> &Jinja {
        &self.jinja
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(known, _)| known == key)
    }

    /// Whether every key can be set; the error names the nearest that can.
    pub(crate) fn check_keys<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
        let can = |sort: &Sort| !matches!(sort, Sort::Derived(_) | Sort::Private(Json::Array(_) | Json::Object(_)));
        let known: Vec<&str> = self.entries.iter().filter(|(_, sort)| can(sort)).map(|(key, _)| key.as_str()).collect();
        for key in keys {
            if !known.contains(&key) {
                let remedy = match nearest(key, known.iter().copied()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("it asks {}", known.join(", ")),
                };
                return Err(Failure::usage(format!("the template does not ask `{key}`")).remedy(remedy));
            }
        }
        Ok(())
    }

    /// Answers every question: from `given` where it is there, else by `ask`, which is shown the default: `suggested`, or
    /// the template's own. It is also told why its answer to the question was refused, if it was.
    ///
    /// # Errors
    ///
    /// A given answer cannot be, a default cannot be rendered, or `ask` fails.
    pub(crate) fn answer(
        &self,
        given: &Given,
        suggested: &Given,
        mut ask: impl FnMut(&Question<'_>, Option<&str>) -> Result<Answer, Failure>,
    ) -> Result<Answers, Failure> {
        let mut answers = Answers::default();
        let public = |(_, sort): &&(String, Sort)| !matches!(sort, Sort::Private(_) | Sort::Derived(_));
        let count = self.entries.iter().filter(public).count();
        let mut number = 0;
        // The last choice that was asked for, to come back to if what is answered cannot be.
        let mut asked: Option<(usize, usize)> = None;
        let mut refused: Option<String> = None;
        let mut at = 0;
        while let Some((key, sort)) = self.entries.get(at) {
            at += 1;
            let render = |text: &str| {
                self.jinja
                    .render(text, &answers.value())
                    .map_err(|message| Failure::new(format!("cookiecutter.json: {key}: {message}")))
            };
            let (choices, default) = match sort {
                Sort::Derived(text) => {
                    let text = render(text)?;
                    if key == REFUSED && !text.is_empty() {
                        let Some((question, before)) = asked else { return Err(Failure::usage(text)) };
                        (at, number) = (question, before);
                        answers.keep(question);
                        refused = Some(text);
                        continue;
                    }
                    answers.add(key, Answer::Text(text));
                    continue;
                }
                Sort::Private(json) => {
                    let answer = match (given.get(key).or(suggested.get(key)), json) {
                        (None, json) => Answer::Private(json.clone()),
                        (Some(text), Json::Bool(_)) => {
                            Answer::YesNo(yes_or_no(text).map_err(|reason| cannot_be(key, text, &reason))?)
                        }
                        (Some(text), _) => {
                            one_line(text).map_err(|reason| cannot_be(key, text, &reason))?;
                            Answer::Text(text.clone())
                        }
                    };
                    answers.add(key, answer);
                    continue;
                }
                Sort::Text(text) => (Vec::new(), Answer::Text(render(text)?)),
                Sort::YesNo(yes) => (Vec::new(), Answer::YesNo(*yes)),
                Sort::Choice(options) => {
                    let labels = self.prompts.get(key).and_then(Json::as_object);
                    let mut choices = Vec::new();
                    for option in options {
                        let rendered = render(option)?;
                        let label = labels.and_then(|labels| labels.get(&rendered)?.as_str()).unwrap_or("");
                        choices.push((rendered, label));
                    }
                    let first = Answer::Text(choices[0].0.clone()); // `parse` refuses an empty list
                    (choices, first)
                }
            };
            number += 1;
            let prompt = match self.prompts.get(key) {
                Some(Json::String(prompt)) => prompt,
                Some(Json::Object(prompt)) => prompt.get("__prompt__").and_then(Json::as_str).unwrap_or(key),
                _ => key,
            };
            let mut question = Question { key, prompt, choices, default, number: (number, count) };
            let read = |question: &Question<'_>, text: &str| {
                question.read(text).map_err(|reason| cannot_be(question.key, text, &reason))
            };
            if let Some(text) = suggested.get(key) {
                question.default = read(&question, text)?;
            }
            let answer = match given.get(key) {
                Some(text) => read(&question, text)?,
                None => {
                    if !matches!(sort, Sort::Text(_)) {
                        asked = Some((at - 1, number - 1));
                    }
                    ask(&question, refused.take().as_deref())?
                }
            };
            answers.add(key, answer);
        }
        Ok(answers)
    }
}

/// The files and folders that these answers leave out.
pub(crate) fn left_out(answers: &Answers) -> Vec<String> {
    let paths = answers.text(LEFT_OUT).unwrap_or_default();
    paths.split_whitespace().map(str::to_owned).collect()
}

impl Question<'_> {
    /// The default, if it is an answer that could be given.
    pub(crate) fn checked_default(&self) -> Result<Answer, Failure> {
        let text = self.default.text();
        self.read(&text).map_err(|reason| cannot_be(self.key, &text, &reason))
    }

    /// The answer that `text` is; the error says why it cannot be one.
    pub(crate) fn read(&self, text: &str) -> Result<Answer, String> {
        one_line(text)?;
        // The cookiecutter tool renders what it is given on its command line: these would be other bytes there.
        if let Some(mark) = ["{{", "{%", "{#"].into_iter().find(|mark| text.contains(mark)) {
            return Err(format!("{mark} starts an expression in a template"));
        }
        if let Answer::YesNo(_) = self.default {
            return yes_or_no(text).map(Answer::YesNo);
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|(choice, _)| choice == text) {
            let known: Vec<&str> = self.choices.iter().map(|(choice, _)| choice.as_str()).collect();
            return Err(match nearest(text, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("it is one of {}", known.join(", ")),
            });
        }
        match self.key {
            "project_name" if text.trim().is_empty() => return Err("it is empty".to_owned()),
            "project_slug" => site_name::check(text)?,
            _ => {}
        }
        Ok(Answer::Text(text.to_owned()))
    }
}

impl Settings {
    fn read(table: &Map<String, Json>) -> Result<Self, String> {
        let mut settings = Self::default();
        if let Some(patterns) = table.get("_copy_without_render") {
            let text = |pattern: &Json| pattern.as_str().map(str::to_owned);
            let patterns = patterns.as_array().and_then(|patterns| patterns.iter().map(text).collect());
            settings.copy_without_render = patterns.ok_or("_copy_without_render is not a list of patterns")?;
        }
        match table.get("_new_lines").map(Json::as_str) {
            None | Some(Some("")) => {}
            Some(Some(newline @ ("\n" | "\r\n" | "\r"))) => settings.newline = Some(newline.to_owned()),
            Some(_) => return Err("_new_lines is none of \\n, \\r\\n and \\r".to_owned()),
        }
        // They are Python, and would be missed only where a template uses them.
        match table.get("_extensions") {
            None => Ok(settings),
            Some(_) => Err("_extensions are Python, and only the cookiecutter tool can load them".to_owned()),
        }
    }
}

fn cannot_be(key: &str, text: &str, reason: &str) -> Failure {
    let failure = Failure::usage(format!("{key} cannot be `{}`: {reason}", text.replace(char::is_control, "\u{fffd}")));
    match key {
        "project_slug" => failure.remedy("choose another path, or name the package with --set project_slug=NAME"),
        _ => failure,
    }
}

fn one_line(text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("it has the control character {c:?} in it")),
        None => Ok(()),
    }
}

/// The words that cookiecutter takes for yes and no.
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.trim().to_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
        _ => Err("it is yes or no".to_owned()),
    }
}
