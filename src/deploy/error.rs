//! What is wrong with a file that puts applications together, and where.

use crate::config::tree::{Node, Text};
use crate::config::{ConfigError, Position};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is wrong with a file that puts applications together.
///
/// Its message names the file, line and column, what was expected and what was found, and shows the line:
///
/// ```text
/// site.toml:7:9: [app.main] uses `purlin:compresion`, which nothing is registered as: did you mean `purlin:compression`?
///   |
/// 7 | use = "purlin:compresion"
///   |       ^^^^^^^^^^^^^^^^^^^
/// ```
#[derive(Debug)]
pub struct DeployError {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    position: Option<Position>,
    file: PathBuf,
    problem: String,
    source: Option<io::Error>,
}

impl DeployError {
    /// Where it is; `None` for a file that cannot be read and that no other file names.
    pub fn position(&self) -> Option<&Position> {
        self.inner.position.as_ref()
    }

    /// What is wrong, without the place.
    pub fn problem(&self) -> &str {
        &self.inner.problem
    }

    pub(super) fn new(file: &Path, problem: impl Into<String>) -> Self {
        Self::made(None, file, problem.into())
    }

    /// At the value of `node`.
    pub(super) fn at(node: &Node, problem: impl Into<String>) -> Self {
        Self::of(&node.text, &node.span, problem)
    }

    /// At the key of `node`.
    pub(super) fn at_key(node: &Node, problem: impl Into<String>) -> Self {
        Self::of(&node.text, &node.key, problem)
    }

    pub(super) fn of(text: &Text, span: &Range<usize>, problem: impl Into<String>) -> Self {
        Self::made(Some(Position::new(text, span, false)), Path::new(""), problem.into())
    }

    /// `place` is named where the error has no place of its own.
    pub(super) fn from_config(error: ConfigError, what: &str, place: &Node) -> Self {
        match error {
            ConfigError::Syntax { position, problem } => Self::made(Some(position), Path::new(""), problem),
            ConfigError::Invalid { position, key, problem } => {
                Self::made(Some(position), Path::new(""), format!("`{key}` of {what}: {problem}"))
            }
            ConfigError::UnknownKey { position, key, nearest, known } => {
                let hint = match nearest {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("expected `{}`", known.join("` or `")),
                };
                Self::made(Some(position), Path::new(""), format!("{what} has no option `{key}`: {hint}"))
            }
            ConfigError::Missing { key, .. } => Self::at(place, format!("{what} needs `{key}`, which is not set")),
            other => Self::at(place, other.to_string()),
        }
    }

    pub(super) fn unreadable(named: Option<&Node>, path: &Path, source: io::Error) -> Self {
        let position = named.map(|node| Position::new(&node.text, &node.span, false));
        let mut error = Self::made(position, path, format!("cannot read the file {}", path.display()));
        error.inner.source = Some(source);
        error
    }

    fn made(position: Option<Position>, file: &Path, problem: String) -> Self {
        Self { inner: Box::new(Inner { position, file: file.to_owned(), problem, source: None }) }
    }
}

impl fmt::Display for DeployError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { position, file, problem, source } = &*self.inner;
        match position {
            Some(position) => write!(f, "{position}: {problem}{}", position.excerpt()),
            None if source.is_some() => f.write_str(problem),
            None => write!(f, "{}: {problem}", file.display()),
        }
    }
}

impl std::error::Error for DeployError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| source as _)
    }
}
