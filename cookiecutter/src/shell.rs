//! Words as a POSIX shell reads them back, for the commands that the tool prints.

use std::borrow::Cow;

/// `word`, in single quotes unless the shell would leave it alone anyway (POSIX.1-2024, XCU §2.2.2).
pub(crate) fn quote(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// `path` quoted, and never taken for an option.
pub(crate) fn quote_path(path: &str) -> String {
    let here = if path.starts_with('-') { "./" } else { "" };
    quote(&format!("{here}{path}")).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shell_reads_every_word_back() {
        for (word, expected) in [
            ("my-site", "my-site"),
            ("../a_b/c.d", "../a_b/c.d"),
            ("key=value", "key=value"),
            ("", "''"),
            ("My Site", "'My Site'"),
            ("it's", r"'it'\''s'"),
            ("~", "'~'"),
            ("$HOME", "'$HOME'"),
            ("a*b", "'a*b'"),
            ("a\\b", "'a\\b'"),
            ("Caf\u{e9}", "'Caf\u{e9}'"),
        ] {
            assert_eq!(super::quote(word), expected);
        }
        assert_eq!(super::quote_path("-x"), "./-x");
    }
}
