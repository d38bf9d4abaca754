//! `Excerpt`: the lines of a source around a place in it.

use std::fmt;

/// A few lines of a source file, one of which is meant.
///
/// `Display` writes them with their numbers and a caret below the column.
///
/// ```
/// use purlin::Excerpt;
///
/// let excerpt = Excerpt::of("<ul>\n<li>{{ nam }}\n</ul>\n", 2, 8, 6).unwrap();
/// assert_eq!(
///     excerpt.to_string(),
///     "1 | <ul>\n\
///      2 | <li>{{ nam }}\n\
///      \x20 |        ^\n\
///      3 | </ul>"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    first: u32,
    lines: Vec<String>,
    line: u32,
    column: u32,
}

/// What is shown of a line: a minified script is one line of megabytes.
const LONGEST: usize = 240;

impl Excerpt {
    /// The line of `source`, counted from 1, and at most `around` lines before and after it; `None` if there is no such line.
    ///
    /// `column` counts characters from 1; 0 if the whole line is meant.
    pub fn of(source: &str, line: u32, column: u32, around: u32) -> Option<Self> {
        let first = line.checked_sub(1)?.saturating_sub(around) + 1;
        let count = line + around + 1 - first;
        let lines: Vec<String> = source.lines().skip(first as usize - 1).take(count as usize).map(shortened).collect();
        (first as usize + lines.len() > line as usize).then_some(Self { first, lines, line, column })
    }

    /// The lines with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (u32, &str)> {
        (self.first..).zip(self.lines.iter().map(String::as_str))
    }

    /// The number of the line that is meant, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column that is meant, in characters from 1; 0 for the whole line.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// What stands before the caret below the line: spaces, and tabs where the line has tabs. `None` without a column, or
    /// where it is beyond what is shown.
    pub fn indent(&self) -> Option<String> {
        let before = self.column.checked_sub(1)? as usize;
        let (_, text) = self.lines().find(|(number, _)| *number == self.line)?;
        let indent: String = text.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        (before <= LONGEST).then_some(indent)
    }
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line.to_owned(),
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.first as usize + self.lines.len() - 1;
        let width = last.to_string().len();
        for (number, text) in self.lines() {
            if number > self.first {
                f.write_str("\n")?;
            }
            write!(f, "{}", format!("{number:width$} | {text}").trim_end())?;
            if let (true, Some(indent)) = (number == self.line, self.indent()) {
                write!(f, "\n{:width$} | {indent}^", "")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Excerpt;

    #[test]
    fn an_excerpt_stays_within_its_source() {
        let source = "a\nb\nc\nd\ne";
        let table: &[(u32, u32, Option<&[u32]>)] = &[
            (0, 1, None),
            (1, 1, Some(&[1, 2])),
            (3, 1, Some(&[2, 3, 4])),
            (3, 0, Some(&[3])),
            (5, 9, Some(&[1, 2, 3, 4, 5])),
            (6, 1, None),
            (u32::MAX - 10, 1, None),
        ];
        for (line, around, expected) in table {
            let found = Excerpt::of(source, *line, 1, *around);
            let numbers = found.map(|excerpt| excerpt.lines().map(|(number, _)| number).collect::<Vec<_>>());
            assert_eq!(numbers.as_deref(), *expected, "{line} {around}");
        }
        assert_eq!(Excerpt::of("", 1, 1, 2), None);
    }

    #[test]
    fn a_caret_stands_below_its_column_also_after_tabs_and_never_far_away() {
        let caret = |source: &str, column| Excerpt::of(source, 1, column, 0).unwrap().to_string();
        assert_eq!(caret("\tab", 3), "1 | \tab\n  | \t ^");
        assert_eq!(caret("äb", 2), "1 | äb\n  |  ^");
        assert_eq!(caret("ab", 0), "1 | ab");
        assert_eq!(caret(&"x".repeat(9000), 5000).chars().count(), 246);
    }
}
