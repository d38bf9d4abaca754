//! What to do about a failure, where its kind tells.

use crate::Error;
use crate::config::ConfigError;
use crate::extract::MissingState;
use crate::template::{MissingTemplate, TemplateError};

/// What to do: a sentence or two, and the lines to write, if they are known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hint {
    pub(crate) text: String,
    pub(crate) paste: Option<String>,
}

impl Hint {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), paste: None }
    }

    fn paste(mut self, lines: impl Into<String>) -> Self {
        self.paste = Some(lines.into());
        self
    }
}

/// What there is to say of an error; `chain` is its messages, with nothing secret in them.
pub(crate) fn of(error: &Error, chain: &[String]) -> Vec<Hint> {
    let mut hints = Vec::new();
    if let Some(missing) = error.find_cause::<MissingTemplate>() {
        hints.push(missing_template(missing));
    }
    if let Some(template) = error.find_cause::<TemplateError>() {
        hints.extend(undefined(template));
    }
    if let Some(missing) = error.find_cause::<MissingState>() {
        let text = format!(
            "No layer above the handler provides a `{}`. Add a line to the stack (src/stack.rs), above the router, with a value \
             of that type:",
            missing.short()
        );
        hints.push(Hint::new(text).paste(".layer(State(value))"));
    }
    if let Some(problem) = error.find_cause::<ConfigError>() {
        hints.push(configuration(problem));
    }
    hints.extend(chain.iter().find_map(|message| of_message(message)));
    hints
}

fn missing_template(missing: &MissingTemplate) -> Hint {
    let file = match missing.folder() {
        Some(folder) => format!("the file {folder}/{}", missing.name()),
        None => format!("a template {}", missing.name()),
    };
    match missing.near() {
        [] => Hint::new(format!("Create {file}: there are no templates yet.")),
        near => Hint::new(format!("Create {file}, or name one that there is: {}.", near.join(", "))),
    }
}

/// A name or a field that a template uses and nobody gave.
fn undefined(template: &TemplateError) -> Option<Hint> {
    let message = template.message();
    let (before, _) = message.split_once("` is not defined")?;
    let (kind, name) = before.rsplit_once('`')?;
    let what = if kind.trim().eq_ignore_ascii_case("field") { "a field" } else { "a name" };
    let known = message.split_once("Available ").and_then(|(_, known)| Some(known.split_once(": ")?.1));
    let nearest = known.and_then(|known| crate::nearest::nearest(name, known.split(", ").map(str::trim)));
    let instead = nearest.map(|nearest| format!(", write `{nearest}` in the template")).unwrap_or_default();
    let text = format!(
        "The template uses {what} `{name}` that it was not given. Put it into the context where the view is made{instead}, or say \
         in the template what it is without:"
    );
    let line = template.excerpt().and_then(|excerpt| excerpt.lines().find(|(number, _)| *number == excerpt.line()));
    let whole = line.and_then(|(_, line)| path_to(line, name)).unwrap_or(name);
    Some(Hint::new(text).paste(format!("{{{{ {whole} | default(value=\"\") }}}}")))
}

/// The path in a line that ends with a name: `item.price`.
fn path_to<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let of_path = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let inside = line.split(|c: char| !of_path(c));
    inside
        .filter_map(|path| path.strip_suffix(name).map(|before| (path, before)))
        .find_map(|(path, before)| (before.is_empty() || before.ends_with('.')).then_some(path))
}

fn configuration(problem: &ConfigError) -> Hint {
    let again = "The configuration is read when the site starts: start it again then.";
    match problem {
        ConfigError::Unreadable { path, .. } => {
            Hint::new(format!("Make {} a file that the site may read. {again}", path.display()))
        }
        ConfigError::Environment { .. } => Hint::new(format!("Set the variable PURLIN_ENV. {again}")),
        ConfigError::Syntax { position, .. } => {
            Hint::new(format!("Mend the line {position}, which is no TOML. {again}"))
        }
        ConfigError::UnknownKey { position, key, nearest, known } => {
            let expected = match nearest {
                Some(nearest) => format!("write `{nearest}`"),
                None => format!("expected is one of {}", known.join(", ")),
            };
            Hint::new(format!("At {position} stands `{key}`, which nothing reads: {expected}. {again}"))
        }
        ConfigError::Invalid { position, key, problem } => {
            Hint::new(format!("At {position} change `{key}`: {problem}. {again}"))
        }
        ConfigError::Missing { key, file } => {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
            let text = format!("Give `{key}` a value, in {}. {again}", file.display());
            Hint::new(text).paste(format!("[{table}]\n{name} = "))
        }
        ConfigError::NoSecret { .. } => {
            Hint::new(format!("Give the site a secret. {again}")).paste("export PURLIN__SECRET=$(openssl rand -hex 32)")
        }
    }
}

/// What messages of other libraries mean on a site.
fn of_message(message: &str) -> Option<Hint> {
    let lower = message.to_lowercase();
    if lower.contains("no such table") || (lower.contains("relation \"") && lower.contains("does not exist")) {
        let text = "The database has no such table: have its migrations run? See which have with `migrate --status`.";
        return Some(Hint::new(text).paste("cargo run -- migrate"));
    }
    if message.contains("PoisonError") {
        let text = "Another thread panicked while it held this lock: its own report tells why. Where a half-changed value does no \
                    harm, the lock can be taken all the same:";
        return Some(Hint::new(text).paste(".lock().unwrap_or_else(std::sync::PoisonError::into_inner)"));
    }
    lower.contains("pool timed out").then(|| {
        Hint::new(
            "All connections were in use for as long as a request waits for one: look for a transaction that is held while \
             something else is waited for, or raise `database.max_connections`.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(error: &Error) -> Vec<String> {
        let hints = of(error, &error.chain().collect::<Vec<_>>());
        hints.into_iter().map(|hint| format!("{} {}", hint.text, hint.paste.unwrap_or_default())).collect()
    }

    #[test]
    fn a_failure_of_a_known_kind_says_what_to_do() {
        let template = |message: &str| Error::from(TemplateError::new("a.html", 1, 1, message));
        let internal = |message: &'static str| Error::internal(message);
        for (error, expected) in [
            (
                Error::from(MissingTemplate::new(
                    "crat.html",
                    Some("templates"),
                    ["cart.html", "home.html", "x/y.html"],
                )),
                &["Create the file templates/crat.html, or name one that there is: cart.html, home.html"][..],
            ),
            (
                Error::from(MissingTemplate::new("a.html", None, [])),
                &["Create a template a.html: there are no templates yet."],
            ),
            (
                template("field `prise` is not defined. Available fields: name, price"),
                &["a field `prise`", "write `price` in the template", "{{ prise | default(value=\"\") }}"],
            ),
            (template("variable `title` is not defined"), &["a name `title`", "where the view is made, or say"]),
            (Error::from(MissingState::of::<Vec<u8>>()), &[".layer(State(value))", "`Vec<u8>`", "src/stack.rs"]),
            (internal("error returned from database: no such table: posts"), &["cargo run -- migrate"]),
            (internal("relation \"posts\" does not exist"), &["cargo run -- migrate"]),
            (internal("called `Result::unwrap()` on an `Err` value: PoisonError { .. }"), &["Another thread panicked"]),
            (internal("pool timed out while waiting for an open connection"), &["database.max_connections"]),
        ] {
            let found = texts(&error);
            for part in expected {
                assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
            }
        }
        assert_eq!(texts(&internal("a relation that does not exist")), [""; 0]);
        assert_eq!(texts(&template("unknown filter `slug`")), [""; 0]);
    }

    #[test]
    fn the_lines_to_write_have_the_whole_path() {
        for (line, name, expected) in [
            ("<li>{{ item.name }}: {{ item.price }}", "price", Some("item.price")),
            ("{{ price }}", "price", Some("price")),
            ("{{ the_price }}{{ a.b.price | round }}", "price", Some("a.b.price")),
            ("nothing", "price", None),
        ] {
            assert_eq!(path_to(line, name), expected);
        }
    }

    #[test]
    fn a_broken_configuration_names_its_file_and_its_key() {
        let missing = ConfigError::Missing { key: "app.title".to_owned(), file: "config/development.toml".into() };
        let found = texts(&Error::from(missing));
        assert!(found[0].starts_with("Give `app.title` a value, in config/development.toml."), "{found:?}");
        assert!(found[0].ends_with("[app]\ntitle = "), "{found:?}");
        let loader = crate::config::Loader::new().environment("development");
        let problem = loader.toml("[server]\nlisen = \"127.0.0.1:1\"\n").load().unwrap_err();
        let found = texts(&Error::from(problem));
        for part in ["config/development.toml:2:1", "`server.lisen`", "write `server.listen`", "start it again"] {
            assert!(found[0].contains(part), "{part}: {found:?}");
        }
    }
}
