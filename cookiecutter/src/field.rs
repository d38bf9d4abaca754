//! The fields of a resource: `title:text`, as they are said on the command line.

use crate::failure::Failure;
use crate::nearest::nearest;
use crate::own_site::Database;
use crate::words::Name;
use minijinja::value::Value;

/// What a field may hold, by the words for it; the first is the one that messages use.
const KINDS: &[(Kind, &[&str], &str)] = &[
    (Kind::Text, &["text", "string", "str"], "a line of text"),
    (Kind::LongText, &["longtext", "markdown", "textarea"], "text of many lines"),
    (Kind::Email, &["email"], "an e-mail address"),
    (Kind::Integer, &["integer", "int", "i64"], "a whole number"),
    (Kind::Number, &["number", "float", "f64", "real"], "a number"),
    (Kind::Bool, &["bool", "boolean"], "yes or no"),
    (Kind::Date, &["date"], "a day"),
];

/// More would not fit into the tuple that a row is read into.
const MOST: usize = 15;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    LongText,
    Email,
    Integer,
    Number,
    Bool,
    Date,
}

#[derive(Debug)]
pub(crate) struct Field {
    name: Name,
    pub(crate) kind: Kind,
}

/// Reads `name:type` for each of them.
///
/// # Errors
///
/// Names the field and what is wrong with it: for a type that is none, the list of those that are.
pub(crate) fn parse(words: &[String]) -> Result<Vec<Field>, Failure> {
    if words.is_empty() {
        return Err(Failure::usage("which fields? there is none")
            .remedy("for example: purlin add resource post title:text body:longtext published:bool"));
    }
    if words.len() > MOST {
        return Err(Failure::usage(format!("a resource has at most {MOST} fields, and these are {}", words.len())));
    }
    let mut fields: Vec<Field> = Vec::new();
    for word in words {
        let Some((name, kind)) = word.split_once(':') else {
            return Err(Failure::usage(format!("the field `{word}` has no type"))
                .remedy(format!("for example: {word}:text; there are {}", known().join(", "))));
        };
        let kind = Kind::named(kind).ok_or_else(|| {
            let failure = Failure::usage(format!("there is no type `{kind}` for the field `{name}`"));
            let failure = match nearest(kind, KINDS.iter().flat_map(|(_, names, _)| names.iter().copied())) {
                Some(near) => failure.remedy(format!("did you mean {name}:{near}?")),
                None => failure,
            };
            KINDS.iter().fold(failure.remedy("the types are"), |failure, (_, names, about)| {
                failure.remedy(format!("  {:9} {about}", names[0]))
            })
        })?;
        let cannot_be = |reason: &str| Failure::usage(format!("a field cannot be called `{name}`: {reason}"));
        let parsed = Name::parse(name).map_err(|reason| cannot_be(&reason))?;
        let snake = parsed.snake();
        if fields.iter().any(|field| field.name == parsed) {
            return Err(cannot_be("another one is"));
        }
        if snake == "id" {
            return Err(cannot_be("every resource has a number of that name already"));
        }
        if SQL.split_whitespace().any(|word| word == snake) {
            return Err(cannot_be("it is a word of SQL"));
        }
        if ["csrf_token", "form"].contains(&&*snake) {
            return Err(cannot_be("the form itself uses it"));
        }
        // Such a field would be kept as it was typed, and shown.
        if ["password", "passwd", "passphrase", "secret"].iter().any(|secret| snake.contains(secret)) {
            return Err(cannot_be("what is secret is hashed, or kept elsewhere, and never shown")
                .remedy("accounts with passwords: purlin new SITE --database sqlite --auth"));
        }
        fields.push(Field { name: parsed, kind });
    }
    Ok(fields)
}

fn known() -> Vec<&'static str> {
    KINDS.iter().map(|(_, names, _)| names[0]).collect()
}

/// Whether a table cannot have this name without quotes.
pub(crate) fn is_sql(word: &str) -> bool {
    SQL.split_whitespace().any(|known| known == word)
}

/// Words that PostgreSQL or SQLite would not take for a name (PostgreSQL's Appendix C, SQLite's "Keywords").
const SQL: &str = "
    add all alter analyse analyze and any array as asc asymmetric between both by case cast check collate column commit
    constraint create cross current_date current_role current_time current_timestamp current_user default deferrable deferred
    delete desc distinct do drop else end escape except exists false fetch filter for foreign from full glob grant group having
    if in index indexed initially inner insert intersect into is isnull join lateral leading left like limit localtime
    localtimestamp match natural not nothing notnull null offset on only or order outer over overlaps placing primary raise
    references returning right rowid row rows select session_user set similar some symmetric table then to trailing transaction
    true union unique update user using values variadic verbose view when where window with";

impl Kind {
    fn named(word: &str) -> Option<Self> {
        let named = |(_, names, _): &&(Self, &[&str], &str)| names.contains(&word);
        KINDS.iter().find(named).map(|(kind, ..)| *kind)
    }
}

impl Field {
    /// What the visitor is told who fills in nothing; a box need not be ticked.
    pub(crate) fn missing(&self) -> Option<String> {
        Some(match self.kind {
            Kind::Bool => return None,
            Kind::Text | Kind::LongText => format!("Please fill in the {}.", self.name.phrase()),
            Kind::Email => "Please give an e-mail address.".to_owned(),
            Kind::Date => "Please give a day".to_owned(),
            Kind::Integer | Kind::Number => "Please fill in this field.".to_owned(),
        })
    }

    /// Whether it can stand for the whole in a list.
    pub(crate) fn is_heading(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Email)
    }

    pub(crate) fn snake(&self) -> String {
        self.name.snake()
    }

    pub(crate) fn rust(&self) -> &'static str {
        match self.kind {
            Kind::Text | Kind::LongText | Kind::Email | Kind::Date => "String",
            Kind::Integer => "i64",
            Kind::Number => "f64",
            Kind::Bool => "bool",
        }
    }

    fn sql(&self, database: Database) -> &'static str {
        match (self.kind, database) {
            (Kind::Text | Kind::LongText | Kind::Email | Kind::Date, _) => "TEXT",
            (Kind::Integer, Database::Postgres) => "BIGINT",
            (Kind::Number, Database::Postgres) => "DOUBLE PRECISION",
            (Kind::Bool, Database::Postgres) => "BOOLEAN",
            (Kind::Integer | Kind::Bool, _) => "INTEGER",
            (Kind::Number, _) => "REAL",
        }
    }

    /// The component that writes it in a form.
    fn component(&self) -> String {
        let (name, label) = (self.snake(), self.name.title());
        let (component, rest) = match self.kind {
            Kind::Text => ("input", r#" maxlength="200" required={true}"#),
            Kind::LongText => ("textarea", r#" rows="8" maxlength="10000" required={true}"#),
            Kind::Email => ("input", r#" type="email" maxlength="254" required={true}"#),
            Kind::Integer => ("input", r#" type="number" required={true}"#),
            Kind::Number => ("input", r#" type="number" step="any" required={true}"#),
            Kind::Date => ("input", r#" type="date" required={true}"#),
            Kind::Bool => ("checkbox", ""),
        };
        format!(r#"<forms.{component} name="{name}" label="{label}"{rest} />"#)
    }

    /// For templates.
    pub(crate) fn value(&self, database: Database) -> Value {
        let kind = KINDS.iter().find(|(kind, ..)| *kind == self.kind).map_or("", |(_, names, _)| names[0]);
        let title = self.name.title();
        // None of it can stand in a page by chance, as a part of a token, say.
        let (sample, changed) = match self.kind {
            Kind::Text | Kind::LongText => (format!("{title} one"), format!("{title} two")),
            Kind::Email => ("ada@example.org".to_owned(), "eve@example.org".to_owned()),
            Kind::Integer => ("1234567".to_owned(), "7654321".to_owned()),
            Kind::Number => ("1234.5".to_owned(), "9876.25".to_owned()),
            Kind::Date => ("2026-05-17".to_owned(), "2028-02-29".to_owned()),
            Kind::Bool => (String::new(), String::new()),
        };
        let (most, most_in_words) = match self.kind {
            Kind::LongText => ("10_000", "10,000"),
            _ => ("200", "200"),
        };
        Value::from_pairs([
            ("name", Value::from(self.snake())),
            ("title", Value::from(title)),
            ("phrase", Value::from(self.name.phrase())),
            ("kind", Value::from(kind)),
            ("rust", Value::from(self.rust())),
            ("sql", Value::from(self.sql(database))),
            ("component", Value::from(self.component())),
            ("sample", Value::from(sample)),
            ("changed", Value::from(changed)),
            ("most", Value::from(most)),
            ("most_in_words", Value::from(most_in_words)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_name_and_a_type() {
        let words = ["title:text", "publishedOn:date", "likes:int"].map(str::to_owned);
        let fields = parse(&words).unwrap();
        let read: Vec<_> = fields.iter().map(|field| (field.snake(), field.kind)).collect();
        let expected = [("title", Kind::Text), ("published_on", Kind::Date), ("likes", Kind::Integer)];
        assert_eq!(read, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
