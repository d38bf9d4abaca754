//! Python's `fnmatch.fnmatch`, by which cookiecutter reads `_copy_without_render`.

/// Whether `path` matches `pattern`: `*` any characters (`/` among them), `?` one, `[abc]`, `[a-z]` and `[!abc]` one of a set.
///
/// Case matters, as it does in Python on POSIX systems. A `[` that nothing closes stands for itself.
pub(crate) fn fnmatch(path: &str, pattern: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    // The last star and where it has matched up to: going back to that one alone is enough.
    let (mut at, mut next, mut star) = (0, 0, None);
    while at < path.len() {
        if pattern.get(next) == Some(&'*') {
            star = Some((next, at));
            next += 1;
        } else if let Some(length) = one(path[at], &pattern[next..]) {
            at += 1;
            next += length;
        } else if let Some((starred, from)) = star {
            star = Some((starred, from + 1));
            (at, next) = (from + 1, starred + 1);
        } else {
            return false;
        }
    }
    pattern[next..].iter().all(|c| *c == '*')
}

/// How many characters of `pattern` match this one character, if its beginning does.
fn one(c: char, pattern: &[char]) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match set(&pattern[1..]) {
            Some(length) => {
                let (negated, members) = match pattern[1..=length].split_first() {
                    Some(('!', rest)) => (true, rest),
                    _ => (false, &pattern[1..=length]),
                };
                (contains(members, c) != negated).then_some(length + 2)
            }
            None => (c == '[').then_some(1),
        },
        literal => (*literal == c).then_some(1),
    }
}

/// The length of a set's inside: up to its `]`, which stands for itself in first place (or after a first `!`).
fn set(inside: &[char]) -> Option<usize> {
    let first = usize::from(inside.first() == Some(&'!'));
    let skipped = first + usize::from(inside.get(first) == Some(&']'));
    inside.get(skipped..)?.iter().position(|c| *c == ']').map(|end| skipped + end)
}

fn contains(mut members: &[char], c: char) -> bool {
    loop {
        members = match members {
            [] => return false,
            [low, '-', high, rest @ ..] => {
                if (*low..=*high).contains(&c) {
                    return true;
                }
                rest
            }
            [member, rest @ ..] => {
                if *member == c {
                    return true;
                }
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::fnmatch;

    /// Each line was put to CPython 3.11 as well.
    const TABLE: &[(&str, &str, bool)] = &[
        ("templates/a.html", "templates/*", true),
        ("templates/errors/404.html", "templates/*", true),
        ("templates", "templates/*", false),
        ("src/templates/a", "templates/*", false),
        ("src/a.html", "*.html", true),
        ("a.htm", "*.html", false),
        ("a.html", "?.html", true),
        ("a/b", "a?b", true),
        ("ab", "a*b", true),
        ("axxbxxb", "a*b", true),
        ("axxbxxc", "a*b", false),
        ("", "*", true),
        ("", "", true),
        ("a", "", false),
        ("a", "[abc]", true),
        ("d", "[abc]", false),
        ("d", "[!abc]", true),
        ("b", "[a-c]", true),
        ("-", "[a-]", true),
        ("]", "[]]", true),
        ("x", "[!]]", true),
        ("]", "[!]]", false),
        ("[", "[", true),
        ("[a", "[a", true),
        ("a]", "[]a]", false),
        ("A", "a", false),
        ("!", "[a!]", true),
        ("b", "[c-a]", false),
    ];

    #[test]
    fn it_matches_as_python_does() {
        for (path, pattern, expected) in TABLE {
            assert_eq!(fnmatch(path, pattern), *expected, "{path} {pattern}");
        }
    }

    #[test]
    fn many_stars_end_soon() {
        assert!(!fnmatch(&"a".repeat(10_000), &"*a".repeat(50).replace("*a", "*ab")));
    }
}
