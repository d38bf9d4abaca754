//! The known word that is nearest to an unknown one, for "did you mean".

/// The candidate that `word` is most likely a slip of; the first of several equally near.
///
/// A slip is a letter added, left out, changed or swapped with its neighbour, one for every three letters (so words of
/// one or two letters only match in another case). Upper and lower case are the same.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.to_lowercase().chars().collect();
        let allowed = word.len().max(letters.len()) / 3;
        // Also what keeps the table below small when the unknown word is a megabyte.
        if word.len().abs_diff(letters.len()) > allowed {
            continue;
        }
        let slips = distance(&word, &letters);
        if slips <= allowed && best.is_none_or(|(least, _)| slips < least) {
            best = Some((slips, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// What to say of an unknown word: which of the known ones is meant, or else all of them.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("expected `{}`", known.join("`, `")),
    }
}

/// How many slips lead from one word to the other.
pub(crate) fn slips(a: &str, b: &str) -> usize {
    let letters = |word: &str| word.chars().collect::<Vec<_>>();
    distance(&letters(a), &letters(b))
}

/// Damerau's distance in its usual restricted form (optimal string alignment), by three rows of the table.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut row = above.clone();
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        std::mem::swap(&mut before, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, hint, nearest};

    #[test]
    fn the_nearest_word_is_a_few_slips_away() {
        let known = ["listen", "drain", "https", "header_timeout", "idle_timeout", "log", "id"];
        for (word, expected) in [
            ("listen", Some("listen")),
            ("lisen", Some("listen")),
            ("litsen", Some("listen")),
            ("listenn", Some("listen")),
            ("LISTEN", Some("listen")),
            ("darin", Some("drain")),
            ("http", Some("https")),
            ("header_timout", Some("header_timeout")),
            ("timeout", None),
            ("lag", Some("log")),
            ("lg", Some("log")),
            ("lot", Some("log")),
            ("ie", None),
            ("ID", Some("id")),
            ("", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest("tést", ["test"]), Some("test"));
        assert_eq!(nearest("cat", ["car", "cap"]), Some("car"), "the first of two equally near");
        assert_eq!(nearest("cap", ["car", "cap"]), Some("cap"), "the nearer one, wherever it stands");
        assert_eq!(nearest(&"a".repeat(1 << 20), ["a", "b"]), None);
    }

    #[test]
    fn a_hint_is_the_nearest_word_or_all_of_them() {
        assert_eq!(hint("lisen", ["listen", "log"]), "did you mean `listen`?");
        assert_eq!(hint("colour", ["listen", "log"]), "expected `listen`, `log`");
        assert_eq!(hint("colour", []), "there are none");
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "acb", 1),
            ("abcd", "badc", 2),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            let letters = |word: &str| word.chars().collect::<Vec<_>>();
            assert_eq!(distance(&letters(a), &letters(b)), expected, "{a} {b}");
            assert_eq!(distance(&letters(b), &letters(a)), expected, "{b} {a}");
        }
    }
}
