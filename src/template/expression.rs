//! One expression, evaluated by Tera with nothing of the site in it: for the debugger's prompt.

use super::tera_engine::{arguments, lower};
use crate::Result;
use ::tera::{Context, ErrorKind, Kwargs, State, TeraResult, Value};
use serde_json::{Map, Value as Json};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// More bytes than these no text becomes on its way.
const LONGEST_TEXT: usize = 1 << 20;

/// What an expression is worth; `link` makes the URL of a route.
///
/// # Errors
///
/// What is wrong with it, on one line.
pub(crate) fn evaluate(
    text: &str,
    names: &Map<String, Json>,
    link: impl Fn(&str, &[(&str, &str)]) -> Result<String> + Send + Sync + 'static,
) -> std::result::Result<Json, String> {
    // Behind it other tags could stand: loops, which take their time.
    if text.contains("}}") {
        return Err("an expression ends before `}}`: of two closing braces, put a space between".to_owned());
    }
    let answer: Arc<Mutex<Option<Json>>> = Arc::default();
    let mut tera = ::tera::Tera::new();
    bound(&mut tera);
    tera.register_function("url_for", move |kwargs: Kwargs, _: &State<'_>| -> TeraResult<String> {
        let args = arguments(&kwargs)?;
        let name = args.iter().find(|(key, _)| *key == "name").map_or("", |(_, value)| value.as_str());
        let params: Vec<(&str, &str)> =
            args.iter().filter(|(key, _)| *key != "name").map(|(key, value)| (*key, value.as_str())).collect();
        link(name, &params).map_err(|error| ::tera::Error::message(error.message()))
    });
    let slot = answer.clone();
    // The value itself: what is printed of it would be text.
    tera.register_filter(ANSWER, move |value: &Value, _: Kwargs, _: &State<'_>| -> TeraResult<&'static str> {
        if value.is_undefined() {
            return Err(::tera::Error::message("it is not defined"));
        }
        let json = serde_json::to_value(value).map_err(|error| ::tera::Error::message(error.to_string()))?;
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(json);
        Ok("")
    });
    let mut context = Context::new();
    for (name, value) in names {
        let value = Value::try_from_serializable(value).map_err(|error| one_line(&error.to_string()))?;
        context.insert_value(name.clone(), value);
    }
    tera.render_str_to(&format!("{{{{ ({text}) | {ANSWER} }}}}"), &context, false, io::sink()).map_err(|error| {
        match error.kind() {
            ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => one_line(report.message()),
            _ => one_line(&error.to_string()),
        }
    })?;
    let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    answer.ok_or_else(|| "it has no value".to_owned())
}

const ANSWER: &str = "__answer";

/// Replaces the filters that can make much of little.
fn bound(tera: &mut ::tera::Tera) {
    tera.register_filter("replace", |text: &str, kwargs: Kwargs, _: &State<'_>| -> TeraResult<String> {
        let (from, to) = (kwargs.must_get::<&str>("from")?, kwargs.must_get::<&str>("to")?);
        fits(text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len()))?;
        Ok(text.replace(from, to))
    });
    tera.register_filter("join", |list: Vec<Value>, kwargs: Kwargs, _: &State<'_>| -> TeraResult<String> {
        let sep = kwargs.get::<&str>("sep")?.unwrap_or_default();
        let parts: Vec<String> = list.iter().map(ToString::to_string).collect();
        let length: usize = parts.iter().map(String::len).sum();
        fits(parts.len().saturating_mul(sep.len()).saturating_add(length))?;
        Ok(parts.join(sep))
    });
    tera.register_filter("indent", |_: &str, _: Kwargs, _: &State<'_>| -> TeraResult<String> {
        Err(::tera::Error::message("the filter `indent` is for pages"))
    });
}

fn fits(length: usize) -> TeraResult<()> {
    match length {
        0..=LONGEST_TEXT => Ok(()),
        _ => Err(::tera::Error::message(format!("the text would have {length} bytes, the limit is {LONGEST_TEXT}"))),
    }
}

fn one_line(message: &str) -> String {
    let message = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    lower(message.trim().trim_start_matches("error: "))
}
