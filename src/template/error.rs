//! `TemplateError`: what is wrong with a template, and where.

use crate::Excerpt;
use crate::error::Place;
use std::fmt;

/// What is wrong with a template, and where: `templates/home.html:12:5: unknown filter `slug``.
///
/// Found on an [`Error`](crate::Error) by `downcast_ref::<TemplateError>()`. `Display` is one line; `{:#}` adds the
/// excerpt and the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    file: String,
    line: u32,
    column: u32,
    message: String,
    excerpt: Option<Excerpt>,
    trail: Vec<String>,
}

/// How many lines are shown before and after the one that is meant.
const AROUND: u32 = 6;

impl TemplateError {
    /// A fault in a file. Line and column count from 1, the column in characters; a line of 0 means the file as a whole.
    pub fn new(file: impl Into<String>, line: u32, column: u32, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, column, message: message.into(), excerpt: None, trail: Vec::new() }
    }

    /// Adds the excerpt, from the template's source.
    pub fn source(mut self, source: &str) -> Self {
        self.excerpt = Excerpt::of(source, self.line, self.column, AROUND);
        self
    }

    /// Adds a line to the trail: which template included or called the one at fault.
    pub fn via(mut self, place: impl Into<String>) -> Self {
        self.trail.push(place.into());
        self
    }

    /// The file: its path where it is on disk, else its name among the templates.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1; 0 where the file as a whole is meant.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The lines around the fault.
    pub fn excerpt(&self) -> Option<&Excerpt> {
        self.excerpt.as_ref()
    }

    /// How the template at fault came to be rendered, innermost first: `called from layout.html:3:8`.
    pub fn trail(&self) -> &[String] {
        &self.trail
    }

    /// The same fault in other words.
    #[cfg(feature = "tera")]
    pub(super) fn in_words(self, message: String) -> Self {
        Self { message, ..self }
    }

    pub(crate) fn place(&self) -> Option<Place> {
        (self.line > 0).then(|| Place::new(self.file.clone(), self.line, self.column))
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message)?,
        }
        if f.alternate() {
            if let Some(excerpt) = &self.excerpt {
                write!(f, "\n{excerpt}")?;
            }
            for place in &self.trail {
                write!(f, "\n{place}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for TemplateError {}

/// No template has this name.
#[derive(Debug)]
pub(crate) struct MissingTemplate {
    name: String,
    folder: Option<String>,
    nearest: Option<String>,
    near: Vec<String>,
}

/// So many that there are instead are named.
const MOST_NEAR: usize = 5;

impl MissingTemplate {
    /// With the folder where templates lie, if they are on disk, and the names that there are.
    #[cfg_attr(not(any(feature = "tera", test)), expect(dead_code, reason = "other engines have errors of their own"))]
    pub(crate) fn new<'a>(name: &str, folder: Option<&str>, known: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        let nearest = crate::nearest::nearest(name, known.clone()).map(str::to_owned);
        // The framework's own are for no handler to name.
        let mut near: Vec<&str> = known.into_iter().filter(|known| !known.starts_with("purlin/")).collect();
        // A name of any length is the client's, if a handler takes it from the address.
        if name.len() <= LONGEST_NAME {
            near.sort_by_key(|known| crate::nearest::slips(name, known));
        }
        near.truncate(MOST_NEAR);
        let near = near.into_iter().map(str::to_owned).collect();
        Self { name: name.to_owned(), folder: folder.map(str::to_owned), nearest, near }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn folder(&self) -> Option<&str> {
        self.folder.as_deref()
    }

    /// Those that there are, the nearest first.
    pub(crate) fn near(&self) -> &[String] {
        &self.near
    }
}

/// A longer name is not compared.
const LONGEST_NAME: usize = 200;

impl fmt::Display for MissingTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no template is called `{}`", self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, ": did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for MissingTemplate {}
