//! The known word nearest to an unknown one, for "did you mean". The library has its own: the tool does without the library.

/// The candidate that `word` is most likely a slip of: one letter in three may be added, left out, changed or swapped
/// with its neighbour. The first of several equally near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            let allowed = word.len().max(letters.len()) / 3;
            // Asked first, so that a word of a megabyte costs no table.
            if word.len().abs_diff(letters.len()) > allowed {
                return None;
            }
            let slips = distance(&word, &letters);
            (slips <= allowed).then_some((slips, candidate))
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Damerau's distance in its restricted form (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(left != right)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_word_is_a_few_slips_away() {
        let known = ["new", "help", "--template", "--no-git", "project_name", "project_slug"];
        for (word, expected) in [
            ("new", Some("new")),
            ("ne", Some("new")),
            ("NEW", Some("new")),
            ("nwe", Some("new")),
            ("hlep", Some("help")),
            ("--tempalte", Some("--template")),
            ("--nogit", Some("--no-git")),
            ("projectname", Some("project_name")),
            ("project_slog", Some("project_slug")),
            ("serve", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(1 << 20), ["a"]), None);
    }
}
