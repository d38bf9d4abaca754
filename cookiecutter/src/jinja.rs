//! Jinja set up as cookiecutter sets it up, so that both write the same bytes.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter};
use serde_json::Value as Json;

/// Renders templates that know one name, `cookiecutter`, or those that the caller gives.
pub(crate) struct Jinja {
    environment: Environment<'static>,
    trim_blocks: bool,
}

impl Jinja {
    /// `settings` is the template's `_jinja2_env_vars`: `trim_blocks` and `lstrip_blocks`, both off by default.
    ///
    /// # Errors
    ///
    /// Another setting is in it: leaving it out in silence would write other bytes than cookiecutter.
    pub(crate) fn new(settings: Option<&Json>) -> Result<Self, String> {
        let mut syntax = SyntaxConfig::builder();
        syntax.keep_trailing_newline(true);
        let mut trim_blocks = false;
        if let Some(settings) = settings {
            for (name, value) in settings.as_object().ok_or("_jinja2_env_vars is not a table")? {
                match (name.as_str(), value) {
                    ("trim_blocks", Json::Bool(yes)) => {
                        trim_blocks = *yes;
                        syntax.trim_blocks(*yes)
                    }
                    ("lstrip_blocks", Json::Bool(yes)) => syntax.lstrip_blocks(*yes),
                    _ => {
                        return Err(format!(
                            "_jinja2_env_vars sets {name} to {value}; trim_blocks and lstrip_blocks can be true or false"
                        ));
                    }
                };
            }
        }
        let mut environment = Environment::new();
        environment.set_syntax(syntax.build().map_err(|error| error.to_string())?);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // Costs time, and is what gives the message its line and the name that is not defined.
        environment.set_debug(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
            ValueKind::None => Ok(out.write_str("None")?),
            ValueKind::Number | ValueKind::String => escape_formatter(out, state, value),
            ValueKind::Undefined => {
                Err(Error::new(ErrorKind::UndefinedError, "an `if` without `else` comes to nothing here"))
            }
            kind => Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("a {kind} is not printed as Python prints it: join it first"),
            )),
        });
        Ok(Self { environment, trim_blocks })
    }

    /// The text that `source` stands for.
    ///
    /// # Errors
    ///
    /// What is wrong with the template and on which of its lines; a name that is not defined is an error everywhere.
    pub(crate) fn render(&self, source: &str, cookiecutter: &Value) -> Result<String, String> {
        self.render_with(source, Value::from_pairs([("cookiecutter", cookiecutter.clone())]))
    }

    /// The same with names of the caller's.
    pub(crate) fn render_with(&self, source: &str, context: Value) -> Result<String, String> {
        if let Some(line) = raw_at_the_end_of_a_line(source).filter(|_| self.trim_blocks) {
            return Err(format!(
                "line {line}: {{% raw %}} at the end of a line, which not every Jinja trims: write {{% raw -%}}"
            ));
        }
        self.environment.render_str(source, context).map_err(|error| {
            let line = error.line().map_or_else(String::new, |line| format!("line {line}: "));
            match error.detail() {
                Some(detail) => format!("{line}{}: {detail}", error.kind()),
                None => format!("{line}{}", error.kind()),
            }
        })
    }
}

/// With `trim_blocks`, the newline after this one tag is taken away by minijinja and left by Jinja2.
fn raw_at_the_end_of_a_line(source: &str) -> Option<usize> {
    let tag =
        |line: &str| line.strip_suffix("%}")?.trim_end().strip_suffix("raw")?.trim_end().ends_with("{%").then_some(());
    // The last line has no newline after it.
    let lines = source.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.zip(1..).find_map(|(line, number)| tag(line).map(|()| number))
}

#[cfg(test)]
mod tests {
    use super::Jinja;
    use minijinja::value::Value;

    /// Each line was put to Jinja2 3.1 in cookiecutter's environment as well.
    const TABLE: &[(&str, &str)] = &[
        ("", ""),
        ("a\n", "a\n"),
        ("a\n\n", "a\n\n"),
        ("{{ cookiecutter.name }}\n", "My <Site>\n"),
        ("{{ cookiecutter['name'] | lower | replace(' ', '-') }}", "my-<site>"),
        ("{{ cookiecutter.name.lower().replace(' ', '_') }}", "my_<site>"),
        ("{{ cookiecutter.yes }} {{ cookiecutter.no }} {{ none }}", "True False None"),
        ("{% if cookiecutter.yes %}\na\n{% endif %}\nb\n", "a\nb\n"),
        ("  {% if cookiecutter.no %}\na\n  {% else %}\nc\n  {% endif %}\nb\n", "c\nb\n"),
        ("a\n  {# aside #}\nb\n", "a\nb\n"),
        ("a {%- if cookiecutter.yes %} b {% endif -%} \n c", "a b c"),
        ("{% if cookiecutter.name == 'x' %}a{% elif cookiecutter.yes and not cookiecutter.no %}b{% endif %}", "b"),
        ("{% raw %}{{ cookiecutter.name }}\n{% endraw %}\nx", "{{ cookiecutter.name }}\nx"),
        ("a\n  {% raw -%}\n{{ b }}\n  {% endraw %}\nx", "a\n{{ b }}\nx"),
        ("{% set x = cookiecutter.name ~ '!' %}{{ x }}", "My <Site>!"),
        ("{% for x in ['a', 'b'] %}\n{{ loop.index }}{{ x }}\n{% endfor %}\n", "1a\n2b\n"),
        ("{{ '\\\\' }}{{ \"\\\"\" }}", "\\\""),
        ("{{ '' }}", ""),
        ("${{ '{{' }} x }}", "${{ x }}"),
        ("{{ 1 + 2 }} {{ 7 // 2 }} {{ 'a' in 'abc' }}", "3 3 True"),
        ("{{ cookiecutter.nope is defined }}", "False"),
        ("{{ cookiecutter.nope | default('x') }}", "x"),
    ];

    #[test]
    fn it_renders_as_cookiecutter_does() {
        let settings = serde_json::json!({ "trim_blocks": true, "lstrip_blocks": true });
        let jinja = Jinja::new(Some(&settings)).unwrap();
        let values = [("name", Value::from("My <Site>")), ("yes", Value::from(true)), ("no", Value::from(false))];
        let values = Value::from_pairs(values);
        for (source, expected) in TABLE {
            assert_eq!(jinja.render(source, &values).as_deref(), Ok(*expected), "{source}");
        }
    }

    #[test]
    fn a_name_that_is_not_defined_is_named_with_its_line() {
        let jinja = Jinja::new(None).unwrap();
        for source in [
            "a\n{{ cookiecutter.nope }}",
            "a\n{% if cookiecutter.nope %}{% endif %}",
            "a\n{{ cookiecutter.nope | lower }}",
        ] {
            let message = jinja.render(source, &Value::from_pairs([("name", "x")])).unwrap_err();
            assert!(message.starts_with("line 2: ") && message.contains("nope"), "{message}");
        }
    }

    #[test]
    fn what_jinja2_would_render_otherwise_is_refused() {
        let jinja = Jinja::new(Some(&serde_json::json!({ "trim_blocks": true }))).unwrap();
        let values = Value::from_pairs([("list", Value::from_iter([1, 2]))]);
        for (source, expected) in [
            ("a\n{% raw %}\n{{ b }}{% endraw %}", "line 2: {% raw %} at the end of a line"),
            ("{{ cookiecutter.list }}", "line 1: "),
            ("{{ 'a' if false }}", "line 1: undefined"),
        ] {
            let message = jinja.render(source, &values).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn settings_that_are_not_understood_are_refused() {
        let settings = serde_json::json!({ "block_start_string": "<%" });
        assert!(Jinja::new(Some(&settings)).is_err());
    }
}
