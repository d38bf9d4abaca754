//! The answers to a template's questions, in the order in which they were given.

use minijinja::value::Value;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Text(String),
    YesNo(bool),
    /// A private value, as it stands in `cookiecutter.json`.
    Private(Json),
}

impl Answer {
    /// As it is given after `--set key=`.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::YesNo(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            Self::Private(json) => json.to_string(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Answers {
    list: Vec<(String, Answer)>,
}

impl Answers {
    pub(crate) fn add(&mut self, key: &str, answer: Answer) {
        self.list.push((key.to_owned(), answer));
    }

    /// Forgets all but the first `count`.
    pub(crate) fn keep(&mut self, count: usize) {
        self.list.truncate(count);
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.list.iter().find(|(known, _)| known == key).map(|(_, answer)| answer.text())
    }

    /// What would give the same answers again: by key, without what is derived, what stands in the template, and the version.
    pub(crate) fn given(&self) -> BTreeMap<String, String> {
        let given = self.list.iter().filter(|(key, answer)| {
            !key.starts_with("__") && key != "_purlin_version" && !matches!(answer, Answer::Private(_))
        });
        given.map(|(key, answer)| (key.clone(), answer.text())).collect()
    }

    /// The `cookiecutter` of the templates.
    pub(crate) fn value(&self) -> Value {
        Value::from_pairs(self.list.iter().map(|(key, answer)| {
            let value = match answer {
                Answer::Text(text) => Value::from(text),
                Answer::YesNo(yes) => Value::from(*yes),
                Answer::Private(json) => from_json(json),
            };
            (key.as_str(), value)
        }))
    }
}

fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(yes) => Value::from(*yes),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(float)) => Value::from(float),
            (None, None) => Value::from(number.to_string()),
        },
        Json::String(text) => Value::from(text),
        Json::Array(items) => items.iter().map(from_json).collect(),
        Json::Object(items) => Value::from_pairs(items.iter().map(|(key, item)| (key.as_str(), from_json(item)))),
    }
}
