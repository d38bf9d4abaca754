//! Which routes a path that matched none could have meant.

use crate::nearest::slips;
use crate::site::{RouteInfo, Site};
use http::Method;
use std::fmt;

/// A route that could have been meant.
pub(crate) struct Candidate<'a> {
    pub(crate) route: &'a RouteInfo,
    /// 0 where the path fits and only the method does not.
    far: usize,
    method: &'a Method,
}

/// All routes of the site, those first whose pattern is nearest to the path.
pub(crate) fn nearest_first<'a>(site: &'a Site, path: &str, method: &'a Method) -> Vec<Candidate<'a>> {
    let far = |route: &RouteInfo| distance(path, &route.path);
    let mut found: Vec<_> = site.routes().iter().map(|route| Candidate { route, far: far(route), method }).collect();
    found.sort_by_key(|candidate| candidate.far);
    found
}

impl Candidate<'_> {
    pub(crate) fn path(&self) -> &str {
        &self.route.path
    }

    pub(crate) fn methods(&self) -> String {
        match self.route.methods.as_slice() {
            [] => "any".to_owned(),
            methods => methods.iter().map(Method::as_str).collect::<Vec<_>>().join(" "),
        }
    }

    /// Whether it is likely to be the one: it fits, or a slip or two would make it.
    pub(crate) fn is_near(&self) -> bool {
        self.far <= self.path().len().div_ceil(3).min(4)
    }

    /// Whether no other is much nearer.
    #[cfg(all(feature = "debugger", debug_assertions))]
    pub(crate) fn is_as_near_as(&self, nearest: &Self) -> bool {
        self.far <= nearest.far + 1
    }

    /// How to say which route was probably meant.
    #[cfg(all(feature = "debugger", debug_assertions))]
    pub(crate) fn advice(&self) -> String {
        match self.why() {
            Some(why) => format!("The route {} ({}) {why}.", self.path(), self.route.place),
            None => format!("Did you mean {}? It is added at {}.", self.path(), self.route.place),
        }
    }

    /// Why it did not answer, where that is known.
    pub(crate) fn why(&self) -> Option<String> {
        let answers = self.route.methods.is_empty() || self.route.methods.contains(self.method);
        (self.far == 0 && !answers).then(|| format!("fits, but does not answer {}", self.method))
    }
}

impl fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.methods(), self.path())?;
        if let Some(name) = &self.route.name {
            write!(f, " ({name})")?;
        }
        match self.why() {
            Some(why) => write!(f, " {why}"),
            None => write!(f, " {}", self.route.place),
        }
    }
}

/// Slips between a path and a pattern, part by part; a parameter takes any part.
fn distance(path: &str, pattern: &str) -> usize {
    let mut parts = path.split('/').skip(1);
    let mut far = 0;
    for expected in pattern.split('/').skip(1) {
        if expected.starts_with("{*") {
            return far;
        }
        far += match parts.next() {
            Some(part) if !part.is_empty() && expected.starts_with('{') && expected.ends_with('}') => 0,
            // Beyond any name that somebody gave to a route, it is not worth a table of its square.
            Some(part) if part.len() > 256 => part.len(),
            Some(part) => slips(part, expected),
            None => expected.len() + 1,
        };
    }
    far + parts.map(|part| part.len() + 1).sum::<usize>()
}

/// The lines that would make a route of the path: for `src/routes.rs`, and a handler.
pub(crate) fn lines_to_paste(path: &str, method: &Method) -> String {
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    // Braces of a literal are doubled in matchit's syntax.
    let pattern = path.replace('{', "{{").replace('}', "}}");
    let name = path.rsplit('/').map(identifier).find(|part| !part.is_empty()).unwrap_or_else(|| "home".to_owned());
    let verb = match method.as_str() {
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    };
    format!(
        ".route({pattern:?}, {verb}({name}).name({name:?}))\n\nasync fn {name}() -> &'static str {{\n    {:?}\n}}",
        format!("Hello from {path}")
    )
}

fn identifier(part: &str) -> String {
    let letters = part.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    let letters: String = letters.collect();
    letters.trim_matches('_').trim_start_matches(|c: char| c.is_ascii_digit()).trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_near_to_the_pattern_that_was_meant() {
        let table = [
            ("/guestbok", "/guestbook", 1),
            ("/posts/7", "/posts/{id}", 0),
            ("/post/7", "/posts/{id}", 1),
            ("/files/a/b/c", "/files/{*rest}", 0),
            ("/", "/about", 5),
            ("/about/us", "/about", 3),
            ("/posts/", "/posts/{id}", 4),
            ("", "/", 1),
        ];
        for (path, pattern, expected) in table {
            assert_eq!(distance(path, pattern), expected, "{path} {pattern}");
        }
    }

    #[test]
    fn the_lines_to_paste_are_rust_whatever_the_path() {
        let first = |path: &str| lines_to_paste(path, &Method::GET).lines().next().unwrap_or_default().to_owned();
        for (path, expected) in [
            ("/about", r#".route("/about", get(about).name("about"))"#),
            ("/", r#".route("/", get(home).name("home"))"#),
            ("/a/Über-uns/7", r#".route("/a/Über-uns/7", get(ber_uns).name("ber_uns"))"#),
            ("/%22{x}", r#".route("/\"{{x}}", get(x).name("x"))"#),
            ("/%3Cscript%3E", r#".route("/<script>", get(script).name("script"))"#),
        ] {
            assert_eq!(first(path), expected, "{path}");
        }
        assert!(lines_to_paste("/x", &Method::POST).starts_with(".route(\"/x\", post(x)"));
    }
}
