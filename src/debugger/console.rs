//! `Console`: the prompt where nothing failed: template expressions about the site.
//!
//! It works on copies in which nothing secret is left, with the functions and filters of the framework alone: nothing of the site
//! is called, and nothing grows without bound.

use super::engine::Value;
use super::record::Record;
use crate::Request;
use crate::report::{Desk, Evidence, Origin, Trail};
use crate::site::Site;
use http::{Method, StatusCode};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// What an expression may talk about, by name.
pub(super) struct Console {
    names: Map<String, Json>,
    #[cfg_attr(not(feature = "tera"), expect(dead_code, reason = "links are made by the engine's function"))]
    site: Arc<Site>,
}

/// A longer expression is not read.
const LONGEST: usize = 2 << 10;

/// So many parts of an answer are shown.
const MOST_PARTS: usize = 2000;

/// Of a value's line so many characters are shown.
const LONGEST_LINE: usize = 300;

/// What is offered behind a `|`.
const FILTERS: [&str; 14] = [
    "default", "first", "get", "group_by", "join", "keys", "last", "length", "lower", "pairs", "sort", "unique",
    "upper", "values",
];

impl Console {
    /// Of this site, asked by this request.
    pub(super) fn new(site: &Arc<Site>, desk: &Desk, records: &[Arc<Record>], req: &mut Request) -> Self {
        let trail = Trail::begin(req, 0);
        let report = desk.write(Evidence {
            origin: Origin::Answer,
            status: StatusCode::OK,
            error: None,
            public: "",
            otherwise: "",
            trail: Some(&trail),
            route: None,
        });
        let mut config = Json::Object(Map::new());
        for setting in &report.config {
            put(&mut config, &setting.key, setting_value(&setting.value));
        }
        let routes = site.routes().iter().map(|route| {
            json!({
                "name": route.name,
                "path": route.path,
                "methods": route.methods.iter().map(Method::as_str).collect::<Vec<_>>(),
                "handlers": route.handlers,
                "place": route.place.to_string(),
            })
        });
        let stack = site.layers().iter().map(|layer| {
            let options: Map<String, Json> =
                layer.options.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
            json!({
                "name": layer.name,
                "options": options,
                "place": layer.line(),
                "mount": layer.mount,
                "route": layer.route,
            })
        });
        let reports = records.iter().map(|record| serde_json::to_value(&*record.report).unwrap_or_default());
        let names = [
            ("request", serde_json::to_value(&report.request).unwrap_or_default()),
            ("config", config),
            ("routes", routes.collect()),
            ("stack", stack.collect()),
            ("reports", reports.collect()),
            ("program", serde_json::to_value(&report.program).unwrap_or_default()),
        ];
        Self { names: names.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(), site: site.clone() }
    }

    /// What an expression is worth.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(super) fn evaluate(&self, text: &str) -> Result<Value, String> {
        if text.len() > LONGEST {
            return Err(format!("expected {LONGEST} bytes at most, found {}", text.len()));
        }
        let answer = match self.walk(text) {
            Ok(value) => value.clone(),
            // It says more than the engine would.
            Err(problem) if is_path(text.trim()) => return Err(problem),
            Err(problem) => self.rendered(text, problem)?,
        };
        Ok(shown("", &answer, &mut { MOST_PARTS }))
    }

    /// The names that could end an expression.
    pub(super) fn complete(&self, text: &str) -> Vec<String> {
        let start = text.char_indices().rev().take_while(|(_, c)| in_path(*c)).last().map_or(text.len(), |(at, _)| at);
        let (before, path) = text.split_at(start);
        let begin = |known: &mut dyn Iterator<Item = &str>, word: &str| -> Vec<String> {
            let mut found: Vec<String> = known.filter(|name| name.starts_with(word)).map(str::to_owned).collect();
            found.sort();
            found
        };
        match path.rsplit_once('.') {
            None if before.trim_end().ends_with('|') => begin(&mut FILTERS.into_iter(), path),
            None => begin(&mut self.names.keys().map(String::as_str).chain(["url_for"]), path),
            Some((of, word)) => match self.walk(of) {
                Ok(Json::Object(map)) => begin(&mut map.keys().map(String::as_str).filter(|key| is_name(key)), word),
                _ => Vec::new(),
            },
        }
    }

    /// The value at a path: `routes[0].name`, `config.server["listen"]`.
    ///
    /// # Errors
    ///
    /// The text is no path, or leads nowhere.
    fn walk(&self, text: &str) -> Result<&Json, String> {
        let text = text.trim();
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        let names = || self.names.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut value = self.names.get(name).ok_or_else(|| format!("no name `{name}` (there are: {})", names()))?;
        while !rest.is_empty() {
            let (key, after) = match rest.strip_prefix('.') {
                Some(rest) => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
                None => {
                    let inner = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                    inner.ok_or_else(|| format!("expected `]` in `{rest}`"))?
                }
            };
            let bare = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
            let next = match value {
                Json::Object(map) => map.get(bare),
                Json::Array(list) => key.parse::<usize>().ok().and_then(|at| list.get(at)),
                _ => None,
            };
            value = next.ok_or_else(|| format!("no `{key}` in {}", kind(value)))?;
            rest = after;
        }
        Ok(value)
    }

    #[cfg(not(feature = "tera"))]
    fn rendered(&self, _: &str, problem: String) -> Result<Json, String> {
        Err(format!("{problem}; without the feature `tera` an expression is a path, as `routes[0].name`"))
    }

    #[cfg(feature = "tera")]
    fn rendered(&self, text: &str, _: String) -> Result<Json, String> {
        let site = self.site.clone();
        crate::template::evaluate(text, &self.names, move |name, params| site.url_for("", name, params))
    }
}

/// A setting's value is written as in its file; what stands for a secret is no TOML, and stays as it is.
fn setting_value(text: &str) -> Json {
    let read = toml::from_str::<Map<String, Json>>(&format!("value = {text}"));
    read.ok().and_then(|mut read| read.remove("value")).unwrap_or_else(|| text.into())
}

/// Puts a setting into the tables of its key.
fn put(config: &mut Json, key: &str, value: Json) {
    let mut table = config;
    for part in key.split('.') {
        if !table.is_object() {
            *table = Json::Object(Map::new());
        }
        table = &mut table[part];
    }
    *table = value;
}

fn in_path(c: char) -> bool {
    c.is_alphanumeric() || "_.[]\"".contains(c)
}

/// Whether it is meant to lead somewhere: begins with a name, and has no operators.
fn is_path(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(in_path)
        && !["true", "false", "none"].contains(&text.to_lowercase().as_str())
}

/// Whether it can stand behind a dot.
fn is_name(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "none",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "text",
        Json::Array(_) => "list",
        Json::Object(_) => "map",
    }
}

/// A value with all of its parts, as long as there is room.
fn shown(name: &str, value: &Json, room: &mut usize) -> Value {
    let mut text = value.to_string();
    if text.chars().count() > LONGEST_LINE {
        text = text.chars().take(LONGEST_LINE).chain(['…']).collect();
    }
    let mut part = |(name, value): (String, &Json)| {
        *room = room.checked_sub(1)?;
        Some(shown(&name, value, room))
    };
    let children: Vec<Value> = match value {
        Json::Object(map) => map.iter().map(|(name, value)| (name.clone(), value)).map_while(&mut part).collect(),
        Json::Array(list) => {
            list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).map_while(&mut part).collect()
        }
        _ => Vec::new(),
    };
    let whole = value.as_object().map(Map::len).or(value.as_array().map(Vec::len)).unwrap_or(0);
    let note = (children.len() < whole).then(|| format!("{} more are not shown", whole - children.len()));
    Value {
        name: name.to_owned(),
        kind: kind(value).to_owned(),
        text,
        note,
        argument: false,
        masked: false,
        count: children.len() as u64,
        children,
        path: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> Console {
        let mut config = Json::Object(Map::new());
        for (key, value) in [("server.listen", "127.0.0.1:8000"), ("secret", "•••"), ("app.title", "Tea & more")]
        {
            put(&mut config, key, value.into());
        }
        let routes = json!([{ "name": "home", "path": "/" }, { "name": null, "path": "/posts/{id}" }]);
        let names = [("config", config), ("routes", routes)];
        let names = names.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        Console { names, site: Arc::default() }
    }

    #[test]
    fn a_path_leads_to_its_value() {
        let console = console();
        for (text, expected) in [
            ("config.server.listen", Ok("\"127.0.0.1:8000\"")),
            (" config[\"app\"].title ", Ok("\"Tea & more\"")),
            ("routes[1].path", Ok("\"/posts/{id}\"")),
            ("routes[0]", Ok("{\"name\":\"home\",\"path\":\"/\"}")),
            ("routes[2]", Err("no `2` in list")),
            ("routes[0", Err("expected `]` in `[0`")),
            ("nothing", Err("no name `nothing` (there are: config, routes)")),
            ("", Err("no name `` (there are: config, routes)")),
        ] {
            let found = console.walk(text).map(ToString::to_string);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn settings_are_what_they_are_in_the_file() {
        for (text, expected) in [
            ("\"Tea\"", json!("Tea")),
            ("7", json!(7)),
            ("true", json!(true)),
            ("[\"a\", \"b\"]", json!(["a", "b"])),
            ("•••", json!("•••")),
            ("1 minute", json!("1 minute")),
            ("1\nsecret = 2", json!(1)),
        ] {
            assert_eq!(setting_value(text), expected);
        }
    }

    #[test]
    fn what_could_follow_is_named() {
        let console = console();
        for (text, expected) in [
            ("co", vec!["config"]),
            ("config.", vec!["app", "secret", "server"]),
            ("1 + config.server.l", vec!["listen"]),
            ("routes[0].na", vec!["name"]),
            ("routes | le", vec!["length"]),
            ("routes | l", vec!["last", "length", "lower"]),
            ("nothing.", vec![]),
            ("", vec!["config", "routes", "url_for"]),
        ] {
            assert_eq!(console.complete(text), expected, "{text}");
        }
    }

    #[cfg(feature = "tera")]
    #[test]
    fn an_expression_is_that_of_a_template() {
        let console = console();
        for (text, expected) in [
            ("routes | length", "2"),
            ("routes[0].name ~ \"!\"", "\"home!\""),
            ("config.server.listen == \"x\" or not config.nothing", "true"),
            ("1 + 2 * 3", "7"),
            ("config.secret", "\"•••\""),
            ("config.app.title | upper", "\"TEA & MORE\""),
            ("[1, 2]", "[1,2]"),
            ("true", "true"),
            ("\"a-b\" | replace(from=\"-\", to=\"+\")", "\"a+b\""),
            ("[1, 2] | join(sep=\", \")", "\"1, 2\""),
        ] {
            assert_eq!(console.evaluate(text).map(|value| value.text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("nothing", "no name `nothing` (there are: config, routes)"),
            ("routes[0].nothing", "no `nothing` in map"),
            ("nothing + 1", "undefined"),
            ("(nothing)", "not defined"),
            ("1 }}{% for i in range(end=100000) %}{{ i }}{% endfor %}{{ 2", "an expression ends before `}}`"),
            ("routes |", ""),
            ("routes | nonsense", "nonsense"),
            ("url_for(name=\"nowhere\")", "no route is named `nowhere`"),
            ("get_env(name=\"PATH\")", "get_env"),
        ] {
            let problem = console.evaluate(text).map(|value| value.text).unwrap_err();
            assert!(problem.contains(expected) && !problem.contains('\n'), "{text}: {problem}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let console = console();
        let pieces = ["routes", "[", "]", "0", ".", "config", "\"", "name", "ü", " ", "|", "(", ")", "{{", "}", "-1"];
        for seed in 0..4000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut text = String::new();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(pieces[(state >> 40) as usize % pieces.len()]);
            }
            let _ = (console.evaluate(&text), console.complete(&text));
        }
    }

    #[cfg(feature = "tera")]
    #[test]
    fn no_expression_grows_without_bound() {
        let console = console();
        let long = "x".repeat(LONGEST);
        let doubled = format!("\"aaaaaaaaaa\"{}", " | replace(from=\"a\", to=\"aaaaaaaaaaaaaaaaaaaaaaaa\")".repeat(30));
        let joined = format!("range(end=99999) | join(sep=\"{}\")", "s".repeat(1000));
        let deep = format!("{}1{}", "(".repeat(900), ")".repeat(900));
        for text in [&long, &doubled, &joined, &deep] {
            assert!(console.evaluate(text).is_err());
        }
        let many = console.evaluate("range(end=99999)").unwrap();
        assert_eq!((many.children.len(), many.note.as_deref()), (MOST_PARTS, Some("97999 more are not shown")));
    }
}
