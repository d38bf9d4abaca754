//! What is wrong with a configuration, and where it is written.

use super::Source;
use super::secret::{MASK, has_login, is_secret};
use super::tree::Text;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// What is wrong with a configuration.
///
/// Its message names the place, what was expected there and what was found, and shows the line:
///
/// ```text
/// config/development.toml:2:1: unknown key `server.lisen`: did you mean `server.listen`?
///   |
/// 2 | lisen = "127.0.0.1:3000"
///   | ^^^^^
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is there, or was asked for by `PURLIN_CONFIG`, and cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `PURLIN_ENV` names no environment of this site.
    Environment {
        /// What was expected, and what was found.
        problem: String,
    },
    /// The file is not TOML.
    Syntax {
        /// Where.
        position: Position,
        /// What was expected.
        problem: String,
    },
    /// No setting has this name.
    UnknownKey {
        /// Where.
        position: Position,
        /// The whole key, `server.lisen`.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
        /// The names that are known in its table.
        known: Vec<String>,
    },
    /// The value does not fit its setting.
    Invalid {
        /// Where.
        position: Position,
        /// The whole key.
        key: String,
        /// What was expected, and what was found.
        problem: String,
    },
    /// One of the site's own settings has no value.
    Missing {
        /// The whole key, `app.title`.
        key: String,
        /// The file to write it into.
        file: PathBuf,
    },
    /// The site would be served to others without a secret.
    NoSecret {
        /// The environment's name.
        environment: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, .. } => write!(f, "cannot read the configuration {}", path.display()),
            Self::Environment { problem } => write!(f, "PURLIN_ENV: {problem}"),
            Self::Syntax { position, problem } => write!(f, "{position}: {problem}{}", position.0.excerpt),
            Self::UnknownKey { position, key, nearest, known } => {
                // Told in terms of variables, unless the key stands in the value of one.
                let variable = position.spells(key);
                match variable {
                    true => write!(f, "{position}: no setting has this name")?,
                    false => write!(f, "{position}: unknown key `{key}`")?,
                }
                match (nearest, key.rsplit_once('.')) {
                    (Some(nearest), _) if variable => write!(f, ": did you mean {}?", variable_name(nearest))?,
                    (Some(nearest), _) => write!(f, ": did you mean `{nearest}`?")?,
                    (None, None) if variable => write!(f, ": a site's own begin with PURLIN__APP__")?,
                    (None, None) => write!(f, ": expected `{}`; a site's own stand under [app]", known.join("`, `"))?,
                    (None, Some((table, _))) if variable => {
                        let names: Vec<_> =
                            known.iter().map(|name| variable_name(&format!("{table}.{name}"))).collect();
                        write!(f, ": expected {}", names.join(" or "))?;
                    }
                    (None, Some(_)) => write!(f, ": expected `{}`", known.join("` or `"))?,
                }
                f.write_str(&position.0.excerpt)
            }
            Self::Invalid { position, key, problem } => {
                write!(f, "{position}: `{key}`: {problem}{}", position.0.excerpt)
            }
            Self::Missing { key, file } => {
                let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
                let (file, variable) = (file.display(), variable_name(key));
                write!(f, "`{key}` has no value: write `{name} = …` under [{table}] in {file}, or set {variable}")
            }
            Self::NoSecret { environment } => write!(
                f,
                "the {environment} environment needs a secret to sign and encrypt with, and has none
  to try it here:  export PURLIN__SECRET=$(openssl rand -hex 32)
  to deploy:       run `openssl rand -hex 32` once, and keep its answer as PURLIN__SECRET where the server's
                   environment is set (EnvironmentFile= of systemd, --env-file of docker, your host's secrets)
  to develop:      with PURLIN_ENV=development the site makes its own
A new secret at every start would sign everybody out; one in version control would be no secret."
            ),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// `server.listen` as `PURLIN__SERVER__LISTEN`.
pub(crate) fn variable_name(key: &str) -> String {
    format!("PURLIN__{}", key.to_uppercase().replace('.', "__").replace('-', "_"))
}

/// A place in a configuration: prints as `config/production.toml:3:1`, or the variable's name.
#[derive(Clone, Debug)]
pub struct Position(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    source: Source,
    column: usize,
    excerpt: String,
}

impl Position {
    /// The file and line, or the variable.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// The column in that line, in characters from 1; 1 in a variable.
    pub fn column(&self) -> usize {
        self.0.column
    }

    /// `secret` hides the line's values. They are hidden too when the line looks as if it had something to hide.
    pub(crate) fn new(text: &Text, span: &Range<usize>, secret: bool) -> Self {
        let source = text.source_at(span.start);
        let Source::File { line: number, .. } = &source else { return Self::nowhere(source) };
        let range = text.line(span.start);
        let line = &text.text[range.clone()];
        let within = |at: usize| text.text.floor_char_boundary(at.clamp(range.start, range.end));
        let (start, end) = (within(span.start), within(span.end.max(span.start)));
        let column = text.text[range.start..start].chars().count();
        let width = text.text[start..end].chars().count();
        let (mut shown, mut under, mut width) = (line.trim_end().to_owned(), column, width.max(1));
        if secret || is_secret(line) || has_login(line) {
            // The key may stand, when it is what tells that there is a secret; all else goes.
            let key =
                line.split_once('=').map(|(key, _)| key).filter(|key| is_secret(key) && !key.contains(['"', '\'']));
            shown = key.map_or(MASK.into(), |key| format!("{key}= {MASK}"));
            let start = shown.chars().count() - MASK.chars().count();
            (under, width) = if column < start { (column, width.min(start - column)) } else { (start, 3) };
        }
        let mut excerpt = String::new();
        // A longer line would wrap, and its caret with it.
        if shown.chars().count() <= 120 {
            let shown: String = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let (number, gutter) = (number.to_string(), " ".repeat(number.to_string().len()));
            let caret = " ".repeat(under) + &"^".repeat(width);
            excerpt = format!("\n{gutter} |\n{number} | {shown}\n{gutter} | {caret}");
        }
        Self(Box::new(Inner { source, column: column + 1, excerpt }))
    }

    /// The line with carets under the place; empty where there is none to show.
    #[cfg(feature = "deploy")]
    pub(crate) fn excerpt(&self) -> &str {
        &self.0.excerpt
    }

    /// Whether this is a variable whose name begins with the key, give or take an underscore.
    fn spells(&self, key: &str) -> bool {
        let words = variable_name(key).replace("__", "_");
        match &self.0.source {
            Source::Variable(name) => name.to_uppercase().replace("__", "_").starts_with(&words),
            _ => false,
        }
    }

    /// Where there is no line to show.
    pub(crate) fn nowhere(source: Source) -> Self {
        Self(Box::new(Inner { source, column: 1, excerpt: String::new() }))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.source {
            Source::File { .. } => write!(f, "{}:{}", self.0.source, self.0.column),
            _ => write!(f, "{}", self.0.source),
        }
    }
}
