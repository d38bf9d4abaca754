//! `Diagnostic`: a message of the compiler, and how it is shown with its source.
//!
//! The compiler describes them in <https://doc.rust-lang.org/rustc/json.html>.

use super::editor::Editor;
use serde_json::{Value as Json, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A message of the compiler.
#[derive(Clone, Debug)]
pub(crate) struct Diagnostic {
    level: String,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    spans: Vec<Span>,
    children: Vec<Diagnostic>,
    /// As the compiler writes it on a terminal.
    pub(crate) rendered: Option<String>,
}

/// A place of the source, and what the compiler has to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    file: String,
    /// Lines and columns are counted from 1; columns are characters, and the last one is not part of it.
    start: (u64, u64),
    end: (u64, u64),
    primary: bool,
    label: Option<String>,
    replacement: Option<String>,
    text: Vec<String>,
    expanded_from: Option<Box<Span>>,
}

/// So many lines above and below the place that is meant, and other places.
const AROUND: u64 = 3;
const AROUND_OTHERS: u64 = 1;

/// Of a span with more lines than these, the first and the last are shown.
const LONG: u64 = 9;

/// What is shown of a line: a generated one can have megabytes.
const WIDEST: usize = 300;

/// So many alternatives are shown of a suggestion that has several.
const ALTERNATIVES: usize = 4;

impl Diagnostic {
    /// `None` for what only counts the others.
    pub(crate) fn read(json: &Json) -> Option<Self> {
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let (level, message) = (text("level")?, text("message")?);
        let spans: Vec<Span> = json["spans"].as_array()?.iter().filter_map(Span::read).collect();
        let counts = spans.is_empty() && (message.starts_with("aborting due to ") || message.ends_with(" emitted"));
        if level == "failure-note" || counts {
            return None;
        }
        let children = json["children"].as_array().into_iter().flatten().filter_map(Self::read).collect();
        let code = json["code"]["code"].as_str().map(str::to_owned);
        Some(Self { level, code, message, spans, children, rendered: text("rendered") })
    }

    pub(crate) fn is_error(&self) -> bool {
        self.level.starts_with("error")
    }

    /// Where the first place of it is, in this package if there is one in it.
    pub(crate) fn place(&self) -> Option<(String, u64, u64)> {
        let primary = self.spans.iter().find(|span| span.primary).or(self.spans.first())?;
        let span = primary.of_site();
        Some((span.file.clone(), span.start.0, span.start.1))
    }

    /// As the page shows it.
    pub(crate) fn view(&self, sources: &Sources<'_>) -> Json {
        let place = self.place().map(|(file, line, column)| sources.place(&file, line, column));
        let notes = self.children.iter().map(|child| {
            let (edits, places): (Vec<&Span>, Vec<&Span>) =
                child.spans.iter().partition(|span| span.replacement.is_some());
            json!({
                "level": child.level,
                "message": child.message,
                "excerpts": excerpts(&places, sources, 0),
                "diffs": diffs(&edits, sources),
            })
        });
        json!({
            "level": if self.is_error() { "error" } else { self.level.as_str() },
            "code": self.code,
            "message": self.message,
            "place": place,
            "excerpts": excerpts(&self.spans.iter().collect::<Vec<_>>(), sources, AROUND),
            "notes": notes.collect::<Vec<_>>(),
        })
    }

    /// As a program reads it.
    pub(crate) fn json(&self) -> Json {
        let (file, line, column) = match self.place() {
            Some((file, line, column)) => (json!(file), json!(line), json!(column)),
            None => (Json::Null, Json::Null, Json::Null),
        };
        let rendered = self.rendered.as_deref().map(super::ansi::plain);
        json!({"level": self.level, "code": self.code, "message": self.message, "file": file, "line": line, "column": column,
            "rendered": rendered})
    }
}

impl Span {
    fn read(json: &Json) -> Option<Self> {
        // One that is not counted from 1 is none of the compiler's.
        let number = |key: &str| json[key].as_u64().filter(|number| *number > 0);
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let lines = json["text"].as_array().into_iter().flatten();
        let expanded_from = &json["expansion"]["span"];
        Some(Self {
            file: text("file_name")?,
            start: (number("line_start")?, number("column_start")?),
            end: (number("line_end")?, number("column_end")?),
            primary: json["is_primary"] == true,
            label: text("label"),
            replacement: text("suggested_replacement"),
            text: lines.filter_map(|line| line["text"].as_str().map(str::to_owned)).collect(),
            expanded_from: Self::read(expanded_from).map(Box::new),
        })
    }

    /// Where somebody wrote what a macro of another package made this of.
    fn of_site(&self) -> &Self {
        let mut span = self;
        // Files of the workspace are named relative to it.
        while Path::new(&span.file).is_absolute() || span.file.starts_with('<') {
            match &span.expanded_from {
                Some(from) => span = from,
                None => return self,
            }
        }
        span
    }
}

/// The source files, each read once, and the way to them.
pub(crate) struct Sources<'a> {
    workspace: &'a Path,
    editor: &'a Editor,
    read: RefCell<HashMap<PathBuf, Option<Rc<Vec<String>>>>>,
}

impl<'a> Sources<'a> {
    /// Names are relative to the workspace, as cargo has them.
    pub(crate) fn new(workspace: &'a Path, editor: &'a Editor) -> Self {
        Self { workspace, editor, read: RefCell::default() }
    }

    fn lines(&self, file: &str) -> Option<Rc<Vec<String>>> {
        let path = self.workspace.join(file);
        let mut read = self.read.borrow_mut();
        let lines = read.entry(path).or_insert_with_key(|path| {
            let source = std::fs::read_to_string(path).ok()?;
            Some(Rc::new(source.lines().map(str::to_owned).collect()))
        });
        lines.clone()
    }

    /// How many characters the word has that stands there.
    pub(crate) fn word(&self, file: &str, line: u64, column: u64) -> usize {
        let lines = self.lines(file);
        let text = lines.as_ref().and_then(|lines| lines.get(line as usize - 1)).map_or("", String::as_str);
        text.chars().skip(column as usize - 1).take_while(|letter| letter.is_alphanumeric() || *letter == '_').count()
    }

    pub(crate) fn place(&self, file: &str, line: u64, column: u64) -> Json {
        let path = self.workspace.join(file);
        json!({"file": file, "line": line, "column": column, "link": self.editor.link(&path.to_string_lossy(), line, column)})
    }
}

/// The source around spans: one excerpt for each file, the one that is meant first.
fn excerpts(spans: &[&Span], sources: &Sources<'_>, around: u64) -> Vec<Json> {
    let mut files: Vec<(&str, Vec<&Span>)> = Vec::new();
    let mut ordered: Vec<(&Span, &Span)> = spans.iter().map(|span| (*span, span.of_site())).collect();
    ordered.sort_by_key(|(span, _)| !span.primary);
    for (span, found) in ordered {
        match files.iter_mut().find(|(file, _)| *file == found.file) {
            Some((_, spans)) => spans.push(span),
            None => files.push((&found.file, vec![span])),
        }
    }
    files.into_iter().filter_map(|(file, spans)| excerpt(file, &spans, sources, around)).collect()
}

fn excerpt(file: &str, spans: &[&Span], sources: &Sources<'_>, around: u64) -> Option<Json> {
    let source = sources.lines(file);
    // What the compiler saw, where it says so.
    let mut lines: BTreeMap<u64, String> = BTreeMap::new();
    for span in spans {
        let span = span.of_site();
        lines.extend((span.start.0..).zip(span.text.iter().cloned()));
    }
    // The file may have been edited since.
    let same = |source: &Vec<String>| {
        lines.iter().all(|(number, text)| source.get(*number as usize - 1).is_some_and(|line| line == text))
    };
    let source = source.filter(|source| same(source));

    let mut shown = BTreeSet::new();
    for span in spans {
        let at = span.of_site();
        let around = if span.primary { around } else { around.min(AROUND_OTHERS) };
        let (start, end) = (at.start.0, at.end.0);
        shown.extend(start.saturating_sub(around).max(1)..start);
        shown.extend(end + 1..=end + around);
        if end - start < LONG {
            shown.extend(start..=end);
        } else {
            shown.extend((start..start + 3).chain(end - 1..=end));
        }
    }
    let line = |number: u64| match &source {
        Some(source) => source.get(number as usize - 1),
        None => lines.get(&number),
    };
    let mut rows = Vec::new();
    let mut before = None;
    for number in shown {
        let Some(text) = line(number) else { continue };
        if before.is_some_and(|before| before + 1 < number) {
            rows.push(json!({"kind": "gap"}));
        }
        before = Some(number);
        let within = |span: &&&Span| (span.of_site().start.0..=span.of_site().end.0).contains(&number);
        let hit = spans.iter().filter(within).any(|span| span.primary);
        rows.push(json!({"kind": "line", "number": number, "text": cut(text), "hit": hit}));
        let mut marks: Vec<&&Span> = spans.iter().filter(|span| span.of_site().end.0 == number).collect();
        // The rightmost nearest to its line, as the compiler does it.
        marks.sort_by_key(|span| std::cmp::Reverse(span.of_site().start.1));
        rows.extend(marks.into_iter().filter_map(|span| mark(span, text)));
    }
    (!rows.is_empty()).then(|| {
        let main = spans.iter().find(|span| span.primary).unwrap_or(&spans[0]).of_site();
        json!({"place": sources.place(file, main.start.0, main.start.1), "rows": rows})
    })
}

/// What stands below a line: carets, and what they say.
fn mark(span: &Span, line: &str) -> Option<Json> {
    let at = span.of_site();
    let one_line = at.start.0 == at.end.0;
    let last = at.end.1.max(2) - 1;
    let first = if one_line { at.start.1.min(last.max(at.start.1)) } else { last };
    if first as usize > WIDEST {
        return None;
    }
    // Tabs stay tabs, so that the carets are below what they mean.
    let letters = line.chars().chain(std::iter::repeat(' ')).take(first as usize - 1);
    let indent: String = letters.map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    let width = if one_line { (at.end.1.saturating_sub(at.start.1)).clamp(1, WIDEST as u64) } else { 1 };
    let marks = if span.primary { "^" } else { "-" }.repeat(width as usize);
    // A label of the place in a macro says more than none.
    let label = span.label.as_deref().or(at.label.as_deref()).unwrap_or_default();
    Some(json!({"kind": "mark", "indent": indent, "marks": marks, "label": label, "primary": span.primary}))
}

/// What suggestions would make of the source: lines with a sign before them, for each file.
fn diffs(edits: &[&Span], sources: &Sources<'_>) -> Vec<Json> {
    let same = |one: &Span, other: &Span| (&one.file, one.start, one.end) == (&other.file, other.start, other.end);
    let alternatives = edits.iter().enumerate().any(|(at, one)| edits[..at].iter().any(|other| same(one, other)));
    let groups: Vec<Vec<&Span>> = if alternatives {
        edits.iter().take(ALTERNATIVES).map(|edit| vec![*edit]).collect()
    } else {
        let mut files: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
        edits.iter().for_each(|edit| files.entry(&edit.file).or_default().push(edit));
        files.into_values().collect()
    };
    groups.into_iter().filter_map(|edits| diff(edits, sources)).collect()
}

fn diff(mut edits: Vec<&Span>, sources: &Sources<'_>) -> Option<Json> {
    let file = &edits.first()?.file;
    let source = sources.lines(file)?;
    let first = edits.iter().map(|edit| edit.start.0).min()?;
    let last = edits.iter().map(|edit| edit.end.0).max()?;
    // Beyond the end of the file is where something is added to it.
    let line = |number: u64| source.get(number as usize - 1).map_or("", String::as_str);
    let old: Vec<&str> = (first..=last).map(line).collect();
    if old.len() > 40 {
        return None;
    }
    let mut text = old.join("\n");
    // From the end, so that the places of the others stay what they are.
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.start));
    for edit in edits {
        let at = |(number, column): (u64, u64)| {
            let above: usize = old.iter().take((number - first) as usize).map(|line| line.len() + 1).sum();
            let line = old[(number - first) as usize];
            let within = line.char_indices().nth(column as usize - 1).map_or(line.len(), |(at, _)| at);
            above + within
        };
        let (start, end) = (at(edit.start), at(edit.end));
        // Places that overlap are not what they were, once one of them is edited.
        text.get(start..end)?;
        text.replace_range(start..end, edit.replacement.as_deref().unwrap_or_default());
    }
    let new: Vec<&str> = text.split('\n').collect();
    let above = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let below = old[above..].iter().rev().zip(new[above..].iter().rev()).take_while(|(old, new)| old == new).count();
    let row = |sign: &str, number: u64, text: &str| json!({"sign": sign, "number": number, "text": cut(text)});
    let mut rows = Vec::new();
    let changed = above..old.len() - below;
    rows.extend(changed.clone().map(|at| row("-", first + at as u64, old[at])));
    // A line that is only added says nothing of the one that it is added before.
    rows.retain(|_| !changed.is_empty());
    let added = above..new.len() - below;
    rows.extend(added.map(|at| row("+", first + at as u64, new[at])));
    if changed.is_empty() && new.len() - below < new.len() {
        rows.push(row(" ", first + above as u64, old[above]));
    }
    rows.retain(|row| row["sign"] != "+" || row["text"] != "" || changed.is_empty());
    (!rows.is_empty()).then(|| json!({"place": sources.place(file, first + above as u64, 1), "rows": rows}))
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "use std::fs;\n\nfn main() {\n\tlet x = helo();\n    both(\n        1,\n    );\n}\n";

    fn span(start: (u64, u64), end: (u64, u64), primary: bool, label: &str, replacement: Option<&str>) -> Json {
        json!({"file_name": "main.rs", "line_start": start.0, "column_start": start.1, "line_end": end.0, "column_end": end.1,
            "is_primary": primary, "label": label, "suggested_replacement": replacement, "text": [], "expansion": null})
    }

    fn message(spans: Vec<Json>, children: Vec<Json>) -> Diagnostic {
        let json = json!({"level": "error", "message": "no `helo`", "code": {"code": "E0425"}, "spans": spans, "children": children,
            "rendered": "error"});
        Diagnostic::read(&json).unwrap()
    }

    /// The rows of an excerpt or a diff, as one would read them.
    fn rows(excerpt: &Json) -> Vec<String> {
        let text = |row: &Json, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let row = |row: &Json| match row["kind"].as_str() {
            Some("gap") => "...".to_owned(),
            Some("mark") => format!(" |{}{} {}", text(row, "indent"), text(row, "marks"), text(row, "label")),
            _ => format!("{}{}|{}", text(row, "sign"), row["number"], text(row, "text")),
        };
        excerpt["rows"].as_array().unwrap().iter().map(row).collect()
    }

    fn viewed(source: &str, diagnostic: &Diagnostic) -> Json {
        let name = format!("purlin-diagnostics-{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("main.rs"), source).unwrap();
        let view = diagnostic.view(&Sources::new(&folder, &Editor::new("zed", "")));
        std::fs::remove_dir_all(&folder).unwrap();
        view
    }

    #[test]
    fn a_place_is_shown_with_the_lines_around_it_and_carets_below_it() {
        let spans = vec![span((1, 5), (1, 8), false, "here", None), span((4, 10), (4, 14), true, "not found", None)];
        let view = viewed(SOURCE, &message(spans, vec![]));
        assert_eq!(view["code"], "E0425");
        assert_eq!(view["place"]["line"], 4);
        assert!(view["place"]["link"].as_str().unwrap().ends_with("main.rs:4:10"));
        assert_eq!(
            rows(&view["excerpts"][0]),
            [
                "1|use std::fs;",
                " |    --- here",
                "2|",
                "3|fn main() {",
                "4|\tlet x = helo();",
                " |\t        ^^^^ not found",
                "5|    both(",
                "6|        1,",
                "7|    );"
            ]
        );
    }

    #[test]
    fn a_place_of_several_lines_is_marked_at_its_end() {
        let view = viewed(SOURCE, &message(vec![span((5, 5), (7, 6), true, "too few", None)], vec![]));
        let rows = rows(&view["excerpts"][0]);
        assert!(rows.contains(&" |    ^ too few".to_owned()), "{rows:?}");
        let hits = view["excerpts"][0]["rows"].as_array().unwrap().iter().filter(|row| row["hit"] == true);
        assert_eq!(hits.count(), 3);
    }

    #[test]
    fn a_suggestion_is_the_line_before_and_after() {
        let child =
            |spans: Vec<Json>| json!({"level": "help", "message": "try", "code": null, "spans": spans, "children": []});
        let diffs = |spans: Vec<Json>| {
            let view = viewed(SOURCE, &message(vec![span((4, 10), (4, 14), true, "", None)], vec![child(spans)]));
            view["notes"][0]["diffs"].as_array().unwrap().iter().map(rows).collect::<Vec<_>>()
        };
        assert_eq!(
            diffs(vec![span((4, 12), (4, 14), true, "", Some("llo"))]),
            [["-4|\tlet x = helo();", "+4|\tlet x = hello();"]]
        );
        // Two edits of one suggestion.
        assert_eq!(
            diffs(vec![span((4, 10), (4, 10), true, "", Some("a(")), span((4, 16), (4, 16), true, "", Some(")"))]),
            [["-4|\tlet x = helo();", "+4|\tlet x = a(helo());"]]
        );
        // Alternatives, each of them a line that is added.
        assert_eq!(
            diffs(vec![
                span((1, 1), (1, 1), true, "", Some("use a;\n")),
                span((1, 1), (1, 1), true, "", Some("use b;\n"))
            ]),
            [["+1|use a;", " 1|use std::fs;"], ["+1|use b;", " 1|use std::fs;"]]
        );
        assert_eq!(diffs(vec![span((6, 1), (7, 1), true, "", Some(""))]), [["-6|        1,"]]);
    }

    #[test]
    fn what_a_macro_of_another_package_made_is_shown_where_it_was_written() {
        let mut inner = span((900, 1), (900, 5), true, "in the macro", None);
        inner["file_name"] = json!("/registry/src/lib.rs");
        inner["expansion"] = json!({"span": span((4, 10), (4, 14), false, "", None), "macro_decl_name": "m!"});
        let view = viewed(SOURCE, &message(vec![inner], vec![]));
        assert_eq!(view["place"]["file"], "main.rs");
        assert!(rows(&view["excerpts"][0]).contains(&" |\t        ^^^^ in the macro".to_owned()));
    }

    #[test]
    fn a_file_that_is_another_now_or_gone_is_shown_as_the_compiler_saw_it() {
        let mut place = span((4, 1), (4, 4), true, "was", None);
        place["text"] = json!([{"text": "old();", "highlight_start": 1, "highlight_end": 4}]);
        for source in [SOURCE, ""] {
            let view = viewed(source, &message(vec![place.clone()], vec![]));
            assert_eq!(rows(&view["excerpts"][0]), ["4|old();", " |^^^ was"]);
        }
    }

    #[test]
    fn odd_messages_break_nothing() {
        assert!(
            Diagnostic::read(&json!({"level": "error", "message": "aborting due to 2 previous errors", "spans": []}))
                .is_none()
        );
        assert!(Diagnostic::read(&json!({"level": "failure-note", "message": "more", "spans": []})).is_none());
        assert!(Diagnostic::read(&json!({})).is_none());
        // Columns and lines that are not there.
        let child = json!({"level": "help", "message": "x", "spans": [span((99, 9), (99, 3), true, "", Some("y"))], "children": []});
        let spans = vec![
            span((99, 1), (99, 2), true, "", None),
            span((1, 900), (1, 901), true, "far", None),
            span((3, 5), (3, 2), true, "", None),
        ];
        viewed(SOURCE, &message(spans, vec![child]));
        viewed("", &message(vec![span((1, 1), (1, 1), true, "", None)], vec![]));
        // Suggestions that overlap, the second of them in the middle of a letter by then.
        let overlap = vec![span((1, 2), (1, 3), true, "", Some("äää")), span((1, 1), (1, 3), true, "", Some(""))];
        let child = json!({"level": "help", "message": "x", "spans": overlap, "children": []});
        viewed("abc\n", &message(vec![span((1, 1), (1, 2), true, "", None)], vec![child]));
    }
}
