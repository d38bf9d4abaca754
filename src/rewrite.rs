//! Which path has become which: a table of old paths with parameters, and of what is there instead.

use crate::nearest::nearest;
use crate::router::encoded;
use std::panic::Location;

/// Old paths, in matchit's syntax, and what has become of them.
#[derive(Clone, Default)]
pub(crate) struct Table {
    paths: matchit::Router<usize>,
    rules: Vec<Rule>,
}

#[derive(Clone)]
struct Rule {
    from: String,
    to: Option<Target>,
    place: &'static Location<'static>,
}

#[derive(Clone)]
struct Target {
    text: String,
    pieces: Vec<Piece>,
    local: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Param { name: String, in_query: bool },
}

/// What has become of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is this path of the same site, beginning with one slash; with its query, if the rule has one.
    Path(String),
    /// It is this address.
    Url(String),
    /// It is gone.
    Gone,
}

impl Table {
    /// Adds a rule; `None` is gone. Its number counts from 0.
    ///
    /// # Errors
    ///
    /// Why there can be no such rule, as a whole sentence with the place.
    pub(crate) fn add(
        &mut self,
        from: &str,
        to: Option<&str>,
        place: &'static Location<'static>,
    ) -> Result<(), String> {
        let what = || format!("the redirect of {from:?} ({place})");
        if !from.starts_with('/') {
            return Err(format!("{} must begin with a slash", what()));
        }
        let to = to.map(|to| Target::parse(to, &names_of(from))).transpose();
        let to = to.map_err(|problem| format!("{}: {problem}", what()))?;
        match self.paths.insert(encoded(from), self.rules.len()) {
            Ok(()) => self.rules.push(Rule { from: from.to_owned(), to, place }),
            Err(matchit::InsertError::Conflict { with }) => {
                let other = self.rules.iter().find(|rule| encoded(&rule.from) == with);
                let other = other.map(|rule| format!(" ({})", rule.place)).unwrap_or_default();
                return Err(format!("{} is in conflict with that of {with}{other}", what()));
            }
            Err(error) => return Err(format!("{} is not a path that can be matched: {error}", what())),
        }
        Ok(())
    }

    /// What has become of a path as the client sent it, and by which rule.
    pub(crate) fn find(&self, path: &str) -> Option<(usize, Found)> {
        let matched = self.paths.at(path).ok()?;
        let at = *matched.value;
        let Some(target) = &self.rules[at].to else {
            return Some((at, Found::Gone));
        };
        let mut text = String::new();
        for piece in &target.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Param { name, in_query } => {
                    let value = matched.params.get(name).unwrap_or_default();
                    if *in_query {
                        // It is percent-encoded for a path, where these are not special.
                        text.extend(percent_encoding::utf8_percent_encode(value, IN_A_QUERY));
                    } else {
                        text.push_str(value);
                    }
                }
            }
        }
        if !target.local {
            return Some((at, Found::Url(text)));
        }
        // `//evil.example/` would be a redirect to another host (RFC 3986 §4.2): one slash leads.
        Some((at, Found::Path(format!("/{}", text.trim_start_matches(['/', '\\'])))))
    }

    /// A path that each rule fits, to look whether it comes back to where it began.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (String, String)> {
        self.rules.iter().map(|rule| {
            let mut sample = String::new();
            let mut rest = rule.from.as_str();
            while let Some((before, after)) = rest.split_once('{') {
                sample.push_str(before);
                sample.push_str("purlin");
                rest = after.split_once('}').map_or("", |(_, rest)| rest);
            }
            let to = rule.to.as_ref().map_or("", |to| to.text.as_str());
            (encoded(&(sample + rest)), format!("{} → {to} ({})", rule.from, rule.place))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.rules.len()
    }
}

impl Target {
    fn parse(text: &str, names: &[&str]) -> Result<Self, String> {
        let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let local = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
        match authority.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default()) {
            // Whoever writes the path would write the host.
            Some(host) if host.contains(['{', '}']) => {
                return Err(format!("the host of {text:?} is not to be a parameter"));
            }
            Some(host) if crate::hosts::Host::parse(host).is_none() => return Err(format!("{host:?} is no host")),
            None if !local => {
                return Err(format!(
                    "expected a path as /new or an address as https://example.org/new, found {text:?}"
                ));
            }
            _ => {}
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut in_query = false;
        while let Some((before, after)) = rest.split_once('{') {
            in_query |= before.contains('?');
            let (name, after) = after.split_once('}').ok_or_else(|| format!("{text:?} has an open brace"))?;
            let name = name.trim_start_matches('*');
            if !names.contains(&name) {
                let near = nearest(name, names.iter().copied()).map(|near| format!(": did you mean `{near}`?"));
                return Err(format!("there is no parameter `{name}` in its path{}", near.unwrap_or_default()));
            }
            pieces.push(Piece::Text(encoded(before)));
            pieces.push(Piece::Param { name: name.to_owned(), in_query });
            rest = after;
        }
        pieces.push(Piece::Text(encoded(rest)));
        Ok(Self { text: text.to_owned(), pieces, local })
    }
}

fn names_of(pattern: &str) -> Vec<&str> {
    let names = pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    names.map(|(name, _)| name.trim_start_matches('*')).collect()
}

const IN_A_QUERY: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b'&').add(b'=').add(b'+').add(b'#').add(b';');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_what_its_rule_says() {
        let mut table = Table::default();
        let rules = [
            ("/old", Some("/new")),
            ("/gone", None),
            ("/blog/{year}/{slug}", Some("/posts/{slug}?year={year}")),
            ("/wiki/{*page}", Some("https://wiki.example.org/{page}")),
            ("/all/{*rest}", Some("/{*rest}")),
            ("/ask/{q}", Some("/search?q={q}&all=1")),
            ("/Über uns", Some("/über")),
        ];
        for (from, to) in rules {
            table.add(from, to, Location::caller()).unwrap();
        }
        let path = |path: &str| Some(Found::Path(path.to_owned()));
        let url = |url: &str| Some(Found::Url(url.to_owned()));
        let cases = [
            ("/old", path("/new")),
            ("/old/", None),
            ("/gone", Some(Found::Gone)),
            ("/blog/2024/a%20b", path("/posts/a%20b?year=2024")),
            ("/wiki/a/b", url("https://wiki.example.org/a/b")),
            ("/wiki//evil.example", url("https://wiki.example.org//evil.example")),
            ("/all/x/y", path("/x/y")),
            ("/all//evil.example/x", path("/evil.example/x")),
            ("/all/\\evil.example", path("/evil.example")),
            ("/all///\\/evil.example", path("/evil.example")),
            ("/ask/a&all=0#x+y", path("/search?q=a%26all%3D0%23x%2By&all=1")),
            ("/%C3%9Cber%20uns", path("/%C3%BCber")),
        ];
        for (asked, expected) in cases {
            assert_eq!(table.find(asked).map(|(_, found)| found), expected, "{asked}");
        }
    }

    #[test]
    fn what_can_be_no_rule_says_why() {
        let mut table = Table::default();
        table.add("/a/{id}", Some("/b"), Location::caller()).unwrap();
        let cases = [
            ("old", Some("/new"), "must begin with a slash"),
            ("/x", Some("new"), "expected a path as /new or an address as https://example.org/new, found \"new\""),
            ("/x", Some("//evil.example"), "expected a path"),
            ("/x", Some("/\\evil.example"), "expected a path"),
            ("/x", Some("javascript:alert(1)"), "expected a path"),
            ("/{host}", Some("https://{host}/"), "is not to be a parameter"),
            ("/{host}", Some("https://{host}.example.org/"), "is not to be a parameter"),
            ("/x", Some("https://user@example.org/"), "\"user@example.org\" is no host"),
            ("/x/{slug}", Some("/y/{slag}"), "there is no parameter `slag` in its path: did you mean `slug`?"),
            ("/x/{slug}", Some("/y/{slug"), "has an open brace"),
            ("/a/{name}", Some("/y"), "is in conflict with that of /a/{id}"),
        ];
        for (from, to, expected) in cases {
            let problem = table.add(from, to, Location::caller()).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
            assert!(problem.contains("rewrite.rs:"), "{problem}");
        }
    }
}
