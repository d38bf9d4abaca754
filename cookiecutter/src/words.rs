//! A name in every way in which code writes it, and the plural of an English word.

use crate::site_name;
use minijinja::value::Value;

/// The lower-case words of a name: `blog`, `post` of `blog-post`, `blog_post` and `BlogPost`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Name(Vec<String>);

impl Name {
    /// # Errors
    ///
    /// Why the text cannot name a module of Rust.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(first) = text.chars().next() else {
            return Err("it is empty".to_owned());
        };
        if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')) {
            return Err(format!("it has the character {c:?} in it, and takes letters, digits, - and _"));
        }
        if !first.is_ascii_alphabetic() {
            return Err(format!("it starts with {first}, not with a letter"));
        }
        if text.len() > 40 {
            return Err(format!("it has {} letters, and takes at most 40", text.len()));
        }
        let letters: Vec<char> = text.chars().collect();
        let mut words = vec![String::new()];
        for (at, c) in letters.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| letters[at]);
            let after = letters.get(at + 1);
            // `BlogPost`, and the second of `HTTPServer`: where a word of small letters begins.
            let begins = c.is_ascii_uppercase()
                && before.is_some_and(|before| {
                    before.is_ascii_lowercase()
                        || before.is_ascii_digit()
                        || before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase)
                });
            if begins || matches!(c, '-' | '_') {
                words.push(String::new());
            }
            if !matches!(c, '-' | '_')
                && let Some(word) = words.last_mut()
            {
                word.push(c.to_ascii_lowercase());
            }
        }
        words.retain(|word| !word.is_empty());
        let name = Self(words);
        if site_name::is_keyword(&name.snake()) {
            return Err("it is a word of the Rust language".to_owned());
        }
        Ok(name)
    }

    /// `blog_post`
    pub(crate) fn snake(&self) -> String {
        self.0.join("_")
    }

    /// `blog-post`
    pub(crate) fn kebab(&self) -> String {
        self.0.join("-")
    }

    /// `BlogPost`
    pub(crate) fn pascal(&self) -> String {
        self.0.iter().map(|word| capital(word)).collect()
    }

    /// `blog post`
    pub(crate) fn phrase(&self) -> String {
        self.0.join(" ")
    }

    /// `Blog post`
    pub(crate) fn title(&self) -> String {
        capital(&self.phrase())
    }

    /// `blog-posts`
    pub(crate) fn plural(&self) -> Self {
        let mut words = self.0.clone();
        if let Some(last) = words.last_mut() {
            *last = plural(last);
        }
        Self(words)
    }

    /// `blog-post` of `blog-posts`: what it was the plural of, if it looks like one.
    pub(crate) fn singular(&self) -> Option<Self> {
        let mut words = self.0.clone();
        let last = words.last_mut()?;
        *last = singular(last)?;
        Some(Self(words))
    }

    /// For templates.
    pub(crate) fn value(&self) -> Value {
        Value::from_pairs([
            ("snake", self.snake()),
            ("kebab", self.kebab()),
            ("pascal", self.pascal()),
            ("phrase", self.phrase()),
            ("title", self.title()),
        ])
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

const IRREGULAR: &[(&str, &str)] = &[
    ("child", "children"),
    ("foot", "feet"),
    ("goose", "geese"),
    ("half", "halves"),
    ("hero", "heroes"),
    ("knife", "knives"),
    ("leaf", "leaves"),
    ("life", "lives"),
    ("loaf", "loaves"),
    ("man", "men"),
    ("mouse", "mice"),
    ("person", "people"),
    ("potato", "potatoes"),
    ("quiz", "quizzes"),
    ("shelf", "shelves"),
    ("thief", "thieves"),
    ("tomato", "tomatoes"),
    ("tooth", "teeth"),
    ("wife", "wives"),
    ("wolf", "wolves"),
    ("woman", "women"),
];

/// The usual rules, and the words that have their own.
fn plural(word: &str) -> String {
    if let Some((_, plural)) = IRREGULAR.iter().find(|(singular, _)| *singular == word) {
        return (*plural).to_owned();
    }
    let consonant_y = word.strip_suffix('y').filter(|stem| stem.ends_with(|c: char| !"aeiou".contains(c)));
    if let Some(stem) = consonant_y {
        return format!("{stem}ies");
    }
    if let Some(stem) = word.strip_suffix("sis") {
        return format!("{stem}ses");
    }
    let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|end| word.ends_with(end));
    format!("{word}{}", if hisses { "es" } else { "s" })
}

fn singular(word: &str) -> Option<String> {
    if let Some((singular, _)) = IRREGULAR.iter().find(|(_, plural)| *plural == word) {
        return Some((*singular).to_owned());
    }
    let candidates = [
        word.strip_suffix("yses").map(|stem| format!("{stem}ysis")),
        word.strip_suffix("ies").map(|stem| format!("{stem}y")),
        word.strip_suffix("es").map(str::to_owned),
    ];
    let with_s = word.strip_suffix('s').filter(|stem| !stem.ends_with(['s', 'u', 'i'])).map(str::to_owned);
    candidates.into_iter().flatten().chain(with_s).find(|one| one.len() > 1 && plural(one) == word)
}

#[cfg(test)]
mod tests {
    use super::{Name, plural};

    #[test]
    fn a_name_is_read_however_it_is_written() {
        for (text, snake, pascal, title) in [
            ("post", "post", "Post", "Post"),
            ("blog-post", "blog_post", "BlogPost", "Blog post"),
            ("blog_post", "blog_post", "BlogPost", "Blog post"),
            ("BlogPost", "blog_post", "BlogPost", "Blog post"),
            ("blogPost", "blog_post", "BlogPost", "Blog post"),
            ("HTTPServer", "http_server", "HttpServer", "Http server"),
            ("page2", "page2", "Page2", "Page2"),
            ("a--b_", "a_b", "AB", "A b"),
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!((&*name.snake(), &*name.pascal(), &*name.title()), (snake, pascal, title), "{text}");
            assert_eq!(name.kebab(), snake.replace('_', "-"));
        }
        for (text, reason) in [
            ("", "empty"),
            ("9lives", "starts with 9"),
            ("_x", "starts with _"),
            ("caf\u{e9}", "'é'"),
            ("a/b", "'/'"),
            ("a b", "' '"),
            ("Type", "a word of the Rust language"),
            ("self", "a word of the Rust language"),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "at most 40"),
        ] {
            assert!(Name::parse(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn words_have_the_plural_that_people_write() {
        for (one, many) in [
            ("post", "posts"),
            ("entry", "entries"),
            ("day", "days"),
            ("address", "addresses"),
            ("box", "boxes"),
            ("branch", "branches"),
            ("bus", "buses"),
            ("analysis", "analyses"),
            ("person", "people"),
            ("child", "children"),
            ("page", "pages"),
            ("status", "statuses"),
            ("photo", "photos"),
            ("hero", "heroes"),
        ] {
            assert_eq!(plural(one), many);
            let many = Name::parse(&format!("blog-{many}")).unwrap();
            assert_eq!(many.singular().unwrap().kebab(), format!("blog-{one}"));
        }
        for one in ["post", "address", "bus", "analysis", "glass", "is"] {
            assert_eq!(Name::parse(&format!("x-{one}")).unwrap().singular(), None, "{one}");
        }
    }
}
