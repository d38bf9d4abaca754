//! `Trouble`: why there is no site to answer, for people, for programs, and for the terminal.

use super::ansi;
use super::build::Options;
use super::diagnostics::{Diagnostic, Sources};
use super::editor::Editor;
use super::project::Project;
use serde_json::{Value as Json, json};
use std::ops::Range;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// What is wrong, in every form in which it is told.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// What the page's template shows.
    pub(crate) view: Json,
    /// The same for a client that reads text.
    pub(crate) text: String,
    /// The same for a program.
    pub(crate) json: Json,
    /// Whether trying once more may help although nothing was changed.
    pub(crate) may_pass: bool,
    pub(crate) since: Instant,
}

/// So many errors are shown whole; the others have a line each.
const WHOLE: usize = 8;
const LISTED: usize = 60;

/// Of the compiler's own words, and of a program's.
const TEXT: usize = 12_000;

impl Trouble {
    fn new(view: Json, text: String, json: Json, may_pass: bool) -> Self {
        Self { view, text, json, may_pass, since: Instant::now() }
    }

    /// The compiler refused the source.
    pub(crate) fn refused(
        errors: &[Diagnostic],
        warnings: &[Diagnostic],
        took: Duration,
        project: &Project,
        options: &Options,
        editor: &Editor,
    ) -> Self {
        let sources = Sources::new(&project.workspace, editor);
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let title = match errors {
            [only] => only.message.clone(),
            _ => count(errors.len(), "error"),
        };
        let line = |diagnostic: &Diagnostic| {
            let place = diagnostic.place().map(|(file, line, column)| sources.place(&file, line, column));
            json!({"message": diagnostic.message, "code": diagnostic.code, "place": place})
        };
        let rendered = |diagnostics: &[Diagnostic]| {
            let texts = diagnostics.iter().filter_map(|diagnostic| diagnostic.rendered.as_deref().map(ansi::plain));
            texts.collect::<Vec<_>>().concat()
        };
        let text = format!("{} does not compile.\n\n{}", project.package, rendered(errors));
        let view = json!({
            "kind": "refused",
            "what": format!("{} does not compile", project.package),
            "title": title,
            "errors": errors.iter().take(WHOLE).map(|error| error.view(&sources)).collect::<Vec<_>>(),
            "more": errors.iter().skip(WHOLE).take(LISTED).map(line).collect::<Vec<_>>(),
            "warnings": warnings.iter().take(LISTED).map(line).collect::<Vec<_>>(),
            "warning_count": count(warnings.len(), "warning"),
            "command": options.command(project),
            "took": seconds(took),
            "said": bounded(rendered(errors).trim_end()),
        });
        let json = json!({
            "error": format!("{} does not compile", project.package),
            "errors": errors.iter().map(Diagnostic::json).collect::<Vec<_>>(),
        });
        Self::new(view, text, json, false)
    }

    /// Cargo could not go on: its manifest is broken, say, or a crate is not to be had.
    pub(crate) fn cargo(said: &str, command: &str, folder: &Path, editor: &Editor) -> Self {
        let said = ansi::plain(said);
        Self::of_words("cargo", "cargo cannot build it", &said, command, folder, editor, true)
    }

    /// The site ended before it served, or afterwards by itself.
    pub(crate) fn ended(
        was_serving: bool,
        status: &std::io::Result<ExitStatus>,
        said: &str,
        project: &Project,
        editor: &Editor,
    ) -> Self {
        let what = match was_serving {
            true => format!("{} has ended: {}", project.package, how(status)),
            false => format!("{} does not start: {}", project.package, how(status)),
        };
        Self::of_words("ended", &what, said, "purlin dev", &project.folder, editor, true)
    }

    fn of_words(
        kind: &str,
        what: &str,
        said: &str,
        command: &str,
        folder: &Path,
        editor: &Editor,
        may_pass: bool,
    ) -> Self {
        let sources = Sources::new(folder, editor);
        let found = Found::in_words(said, folder);
        let problems: Vec<Problem<'_>> = found.problems.iter().map(|line| Problem::of(line)).collect();
        let title = found.title.clone().unwrap_or_else(|| what.to_owned());
        let shown = match problems.is_empty() {
            true => what.to_owned(),
            // How it ended says less than why.
            false => format!("{}: {title}", what.split(':').next().unwrap_or(what)),
        };
        let excerpt = found.place.iter().filter(|_| problems.is_empty());
        let excerpt = excerpt.filter_map(|place| pointed(&title, std::slice::from_ref(place), found.carets, &sources));
        let view = json!({
            "kind": kind,
            "what": shown,
            "title": title,
            "errors": excerpt.collect::<Vec<_>>(),
            "problems": problems.iter().take(WHOLE).map(|problem| problem.view(folder, &sources)).collect::<Vec<_>>(),
            "more": problems.iter().skip(WHOLE).take(LISTED).map(|problem| problem.line(folder, &sources)).collect::<Vec<_>>(),
            "command": command,
            "said": bounded(found.last.as_deref().unwrap_or(said).trim_end()),
            "open": true,
        });
        let text = format!("{what}\n\n{}\n", said.trim_end());
        let mut json = json!({"error": what, "said": said});
        if !problems.is_empty() {
            json["problems"] =
                problems.iter().map(|Problem { says, remedy }| json!({"says": says, "remedy": remedy})).collect();
        }
        Self::new(view, text, json, may_pass)
    }
}

/// One of several things that a program finds wrong, each in a line of its own, with the remedy behind a colon.
#[derive(Debug, PartialEq, Eq)]
struct Problem<'a> {
    says: &'a str,
    remedy: Option<&'a str>,
}

impl<'a> Problem<'a> {
    fn of(line: &'a str) -> Self {
        match line.split_once(": ") {
            Some((says, remedy)) => Self { says, remedy: Some(remedy) },
            None => Self { says: line, remedy: None },
        }
    }

    /// The lines that it speaks of, first those of what is wrong.
    fn places(&self, folder: &Path) -> Vec<Place> {
        let texts = [Some(self.says), self.remedy];
        let mut places: Vec<Place> = Vec::new();
        for (_, place) in texts.into_iter().flatten().flat_map(|text| places_in(text, folder)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    fn view(&self, folder: &Path, sources: &Sources<'_>) -> Json {
        let shown = pointed(self.says, &self.places(folder), None, sources);
        json!({
            "says": linked(self.says, folder, sources),
            "remedy": self.remedy.map(|remedy| linked(remedy, folder, sources)),
            "excerpts": shown.map_or_else(|| json!([]), |shown| shown["excerpts"].clone()),
        })
    }

    fn line(&self, folder: &Path, sources: &Sources<'_>) -> Json {
        let place = self.places(folder).into_iter().next();
        let message = match self.remedy {
            Some(remedy) => format!("{}: {remedy}", self.says),
            None => self.says.to_owned(),
        };
        json!({"message": message, "place": place.map(|(file, line, column)| sources.place(&file, line, column))})
    }
}

/// A text in pieces: those that are places have links, where there is an editor.
fn linked(text: &str, folder: &Path, sources: &Sources<'_>) -> Json {
    let mut pieces = Vec::new();
    let mut from = 0;
    for (at, (file, line, column)) in places_in(text, folder) {
        let place = sources.place(&file, line, column);
        pieces.push(json!({"text": text[from..at.start]}));
        pieces.push(json!({"text": text[at.clone()], "link": place["link"]}));
        from = at.end;
    }
    pieces.push(json!({"text": text[from..]}));
    Json::Array(pieces)
}

/// The source at these places, the first of which is the one that is meant; `carets` is how wide it is, where that was said.
fn pointed(message: &str, places: &[Place], carets: Option<usize>, sources: &Sources<'_>) -> Option<Json> {
    let spans = places.iter().enumerate().map(|(at, (file, line, column))| {
        let width = carets.unwrap_or_else(|| sources.word(file, *line, *column)).max(1) as u64;
        json!({"file_name": file, "line_start": line, "line_end": line, "column_start": column,
            "column_end": column + width, "is_primary": at == 0, "text": []})
    });
    let spans: Vec<Json> = spans.collect();
    let message = json!({"level": "error", "message": message, "spans": spans});
    Diagnostic::read(&message).filter(|_| !places.is_empty()).map(|diagnostic| diagnostic.view(sources))
}

/// A file with line and column.
type Place = (String, u64, u64);

/// What is found in the last words of a program.
struct Found {
    /// The line that says what is wrong.
    title: Option<String>,
    /// A file of the site that it names, with line and column.
    place: Option<Place>,
    /// How many characters it marks there.
    carets: Option<usize>,
    /// What is wrong one by one, where it is a list.
    problems: Vec<String>,
    /// From where it begins to speak of its end.
    last: Option<String>,
}

impl Found {
    fn in_words(said: &str, folder: &Path) -> Self {
        let lines: Vec<&str> = said.lines().collect();
        let panicked = lines.iter().position(|line| line.contains("' panicked at ") || line.contains(") panicked at "));
        let error = lines.iter().position(|line| line.starts_with("error"));
        // A panic says first where it was, and what it was below that.
        let (from, title) = match (error, panicked) {
            (Some(at), _) => {
                let line = lines[at];
                let text = line.split_once(": ").map_or(line, |(_, text)| text);
                // The place is shown beside it.
                let text = match place_in(text, folder) {
                    Some(_) => text.split_once(": ").map_or(text, |(_, text)| text),
                    None => text,
                };
                (at, Some(text.to_owned()))
            }
            (None, Some(at)) => (at, lines.get(at + 1).map(|line| (*line).to_owned())),
            (None, None) => {
                let first = lines.iter().position(|line| !line.trim().is_empty()).unwrap_or(0);
                (first, None)
            }
        };
        let rest = lines.get(from..).unwrap_or_default();
        let mut marks = rest.iter().filter_map(|line| Some(line.trim_start().strip_prefix('|')?.trim()));
        let carets = marks.find(|marks| !marks.is_empty() && marks.chars().all(|c| c == '^'));
        let problems = rest.iter().skip(1).map_while(|line| line.strip_prefix("  - "));
        Self {
            carets: carets.map(str::len),
            problems: problems.map(str::to_owned).collect(),
            title: title.filter(|title| !title.trim().is_empty()),
            place: rest.iter().find_map(|line| place_in(line, folder)),
            last: error.or(panicked).map(|_| rest.join("\n")),
        }
    }
}

/// The first `file:line` or `file:line:column` of a line of text, for a file that is there.
fn place_in(text: &str, folder: &Path) -> Option<Place> {
    places_in(text, folder).next().map(|(_, place)| place)
}

/// All of them, with where they stand in it.
fn places_in<'a>(text: &'a str, folder: &'a Path) -> impl Iterator<Item = (Range<usize>, Place)> + 'a {
    let separates = |letter: char| letter.is_whitespace() || "()'\"`,".contains(letter);
    let mut from = 0;
    text.split_inclusive(separates).filter_map(move |word| {
        let at = from;
        from += word.len();
        let word = word.trim_end_matches(separates).trim_end_matches(':');
        let mut parts = word.rsplitn(3, ':');
        let (last, middle, first) = (parts.next()?, parts.next()?, parts.next());
        let (file, line, column) = match (first, middle.parse::<u64>(), last.parse::<u64>()) {
            (Some(file), Ok(line), Ok(column)) => (file, line, column),
            // A file's name may have a colon in it, which here it has not.
            (None, _, Ok(line)) => (middle, line, 1),
            _ => return None,
        };
        let is = line > 0 && folder.join(file).is_file();
        is.then(|| (at..at + word.len(), (file.to_owned(), line, column.max(1))))
    })
}

fn how(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Err(cause) => format!("nobody knows how ({cause})"),
        Ok(status) => {
            #[cfg(unix)]
            if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(status) {
                let name = match signal {
                    4 => " (SIGILL)",
                    6 => " (SIGABRT)",
                    9 => " (SIGKILL)",
                    11 => " (SIGSEGV)",
                    15 => " (SIGTERM)",
                    _ => "",
                };
                return format!("killed by signal {signal}{name}");
            }
            match status.code() {
                Some(code) => format!("exit status {code}"),
                None => status.to_string(),
            }
        }
    }
}

/// The end of a text, which is where programs say why they end; or all of it.
fn bounded(text: &str) -> String {
    match text.len().checked_sub(TEXT) {
        None | Some(0) => text.to_owned(),
        Some(beyond) => {
            let start = (beyond..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            let line = text[start..].find('\n').map_or(start, |at| start + at + 1);
            format!("…\n{}", &text[line..])
        }
    }
}

/// `0.9 s`, `41 s`, `2 min 5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..=9 => format!("{:.1} s", time.as_secs_f64()),
        whole @ 10..=99 => format!("{whole} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_site_name_the_place() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = |said: &str| {
            let found = Found::in_words(said, folder);
            (found.title, found.place, found.last)
        };
        let place = |file: &str, line, column| Some((file.to_owned(), line, column));
        let text = |text: &str| Some(text.to_owned());
        for (said, expected) in [
            (
                "INFO hello\nerror: Cargo.toml:3:7: unknown key\n  |\n3 | a\n",
                (
                    text("unknown key"),
                    place("Cargo.toml", 3, 7),
                    text("error: Cargo.toml:3:7: unknown key\n  |\n3 | a"),
                ),
            ),
            (
                "error: a template is broken\n\nsrc/main.rs:48:1: unexpected end of input",
                (
                    text("a template is broken"),
                    place("src/main.rs", 48, 1),
                    text("error: a template is broken\n\nsrc/main.rs:48:1: unexpected end of input"),
                ),
            ),
            (
                "\nthread 'main' (7) panicked at src/main.rs:9:5:\nno table\nnote: run with",
                (
                    text("no table"),
                    place("src/main.rs", 9, 5),
                    text("thread 'main' (7) panicked at src/main.rs:9:5:\nno table\nnote: run with"),
                ),
            ),
            (
                "error: the database at localhost:5432 does not answer",
                (
                    text("the database at localhost:5432 does not answer"),
                    None,
                    text("error: the database at localhost:5432 does not answer"),
                ),
            ),
            ("see src/main.rs:3", (None, place("src/main.rs", 3, 1), None)),
            ("", (None, None, None)),
        ] {
            assert_eq!(found(said), expected, "{said}");
        }
    }

    #[test]
    fn every_problem_of_a_list_has_its_places_and_its_remedy() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let said = "error: the site does not fit together\n  - the layer Csrf (src/main.rs:9:5) needs `Session`, which Sessions \
                    provides further in: move the line src/main.rs:10:5 above src/main.rs:9:5\n  - two routes are named `x`\n\
                    caused by\n  - not of it";
        let found = Found::in_words(said, folder);
        assert_eq!(found.problems.len(), 2);
        let problem = Problem::of(&found.problems[0]);
        assert_eq!(problem.remedy, Some("move the line src/main.rs:10:5 above src/main.rs:9:5"));
        let place = |line| ("src/main.rs".to_owned(), line, 5);
        assert_eq!(problem.places(folder), [place(9), place(10)]);
        let editor = Editor::new("zed", "");
        let view = problem.view(folder, &Sources::new(folder, &editor));
        let text =
            |pieces: &Json| pieces.as_array().unwrap().iter().map(|p| p["text"].as_str().unwrap()).collect::<String>();
        assert_eq!(text(&view["says"]), problem.says);
        assert_eq!(text(&view["remedy"]), problem.remedy.unwrap());
        assert!(view["remedy"][1]["link"].as_str().unwrap().ends_with("src/main.rs:10:5"), "{view}");
        assert_eq!(view["says"][0]["link"], Json::Null);
        assert_eq!(view["excerpts"].as_array().unwrap().len(), 1);
        let alone = Problem::of(&found.problems[1]);
        assert_eq!(alone, Problem { says: "two routes are named `x`", remedy: None });
        assert_eq!(alone.view(folder, &Sources::new(folder, &editor))["excerpts"], json!([]));
    }

    #[test]
    fn a_mark_is_as_wide_as_on_the_terminal_or_as_the_word_there() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let editor = Editor::default();
        let marks = |said: &str| {
            let trouble = Trouble::of_words("ended", "it ends", said, "purlin dev", folder, &editor, true);
            let rows = trouble.view["errors"][0]["excerpts"][0]["rows"].as_array().unwrap().clone();
            rows.iter().find_map(|row| row["marks"].as_str().map(str::to_owned)).unwrap()
        };
        assert_eq!(marks("error: Cargo.toml:1:2: no\n  |\n1 | [package]\n  |  ^^^"), "^^^");
        assert_eq!(marks("error: Cargo.toml:1:2: no"), "^".repeat("package".len()));
        assert_eq!(marks("error: Cargo.toml:1:1: no"), "^");
    }

    #[test]
    fn a_long_text_is_cut_at_a_line_of_its_beginning() {
        assert_eq!(bounded("short"), "short");
        let long = "ä line\n".repeat(5000);
        let cut = bounded(&long);
        assert!(cut.len() <= TEXT + 10 && cut.starts_with("…\nä line\n") && cut.ends_with("ä line\n"));
        assert!(bounded(&"ü".repeat(TEXT)).len() <= TEXT + 10);
    }

    #[test]
    fn times_are_as_exact_as_one_cares() {
        for (time, expected) in [(0, "0.0 s"), (940, "0.9 s"), (41_200, "41 s"), (125_000, "2 min 5 s")] {
            assert_eq!(seconds(Duration::from_millis(time)), expected);
        }
    }
}
