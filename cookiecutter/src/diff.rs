//! The difference of two texts, as `diff -u` prints it.

use std::fmt::Write;

/// How many lines that stay the same are shown around a change.
const AROUND: usize = 3;

#[derive(Clone, Copy, PartialEq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// Without the names of the files: empty if the texts are the same.
pub(crate) fn unified(old: &str, new: &str) -> String {
    let lines = compare(&old.split_inclusive('\n').collect::<Vec<_>>(), &new.split_inclusive('\n').collect::<Vec<_>>());
    let changed: Vec<usize> = (0..lines.len()).filter(|&at| !matches!(lines[at], Line::Same(_))).collect();
    let mut text = String::new();
    let mut next = 0;
    while let Some(&first) = changed.get(next) {
        let mut last = first;
        while let Some(&more) = changed.get(next).filter(|&&more| more <= last + 2 * AROUND + 1) {
            last = more;
            next += 1;
        }
        hunk(&lines, first.saturating_sub(AROUND), (last + AROUND + 1).min(lines.len()), &mut text);
    }
    text
}

fn hunk(lines: &[Line<'_>], begin: usize, end: usize, text: &mut String) {
    let old = |lines: &[Line<'_>]| lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
    let new = |lines: &[Line<'_>]| lines.iter().filter(|line| !matches!(line, Line::Gone(_))).count();
    // A side without lines is named by the line before it.
    let range = |above: usize, count: usize| format!("{},{count}", if count == 0 { above } else { above + 1 });
    let (above, shown) = (&lines[..begin], &lines[begin..end]);
    let _ = writeln!(text, "@@ -{} +{} @@", range(old(above), old(shown)), range(new(above), new(shown)));
    for line in shown {
        let (sign, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Gone(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// The longest common subsequence, by the table: the files of a site have hundreds of lines, not millions.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let begin = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let end = old[begin..].iter().rev().zip(new[begin..].iter().rev()).take_while(|(old, new)| old == new).count();
    let (left, right) = (&old[begin..old.len() - end], &new[begin..new.len() - end]);
    let mut common = vec![vec![0_u32; right.len() + 1]; left.len() + 1];
    for (i, one) in left.iter().enumerate().rev() {
        for (j, other) in right.iter().enumerate().rev() {
            common[i][j] = if one == other { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let mut lines: Vec<Line<'a>> = old[..begin].iter().map(|line| Line::Same(line)).collect();
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        match (left.get(i), right.get(j)) {
            (Some(one), Some(other)) if one == other => {
                lines.push(Line::Same(one));
                (i, j) = (i + 1, j + 1);
            }
            (Some(one), other) if other.is_none() || common[i + 1][j] >= common[i][j + 1] => {
                lines.push(Line::Gone(one));
                i += 1;
            }
            (_, Some(other)) => {
                lines.push(Line::New(other));
                j += 1;
            }
            (_, None) => break,
        }
    }
    lines.extend(old[old.len() - end..].iter().map(|line| Line::Same(line)));
    lines
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn a_difference_reads_as_that_of_diff() {
        for (old, new, expected) in [
            ("a\n", "a\n", ""),
            ("", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"),
            ("a\n", "", "@@ -1,1 +0,0 @@\n-a\n"),
            ("a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"),
            ("a", "a\n", "@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n"),
            (
                "1\n2\n3\n4\n5\n6\n7\n8\n9\n",
                "1\n2\n3\n4\n5\nx\n6\n7\n8\n9\n",
                "@@ -3,6 +3,7 @@\n 3\n 4\n 5\n+x\n 6\n 7\n 8\n",
            ),
            (
                "x\n1\n2\n3\n4\n5\n6\n7\ny\n",
                "1\n2\n3\n4\n5\n6\n7\n",
                "@@ -1,4 +1,3 @@\n-x\n 1\n 2\n 3\n@@ -6,4 +5,3 @@\n 5\n 6\n 7\n-y\n",
            ),
        ] {
            assert_eq!(unified(old, new), expected, "{old:?} {new:?}");
        }
    }
}
