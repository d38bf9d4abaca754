//! `Tour`: the files of a site, each with the sentence that it begins with. Something to read while it is built.

use super::diagnostics::Sources;
use serde_json::{Value as Json, json};
use std::fs;
use std::path::Path;

/// The stack of the site, and its files.
pub(crate) fn tour(folder: &Path, sources: &Sources<'_>) -> Json {
    let mut files: Vec<String> = ["src/stack.rs", "src/routes.rs"].into_iter().map(str::to_owned).collect();
    files.extend(names(folder, "src/handlers"));
    files.extend(["src/models.rs", "src/accounts.rs"].map(str::to_owned));
    files.extend(["templates/layout.html", "templates/home.html", "static/site.css"].map(str::to_owned));
    files.extend(["config/development.toml", "tests/site.rs", "README.md"].map(str::to_owned));
    if !folder.join("src/stack.rs").is_file() {
        files.splice(0..0, names(folder, "src"));
    }
    let files = files.iter().filter_map(|file| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        Some(json!({"place": sources.place(file, 1, 1), "about": about(file, &text)}))
    });
    let stack = fs::read_to_string(folder.join("src/stack.rs")).unwrap_or_default();
    let layers = layers(&stack).into_iter().map(|(line, name, comment)| {
        json!({"place": sources.place("src/stack.rs", line, 1), "name": name, "about": comment})
    });
    json!({"layers": layers.collect::<Vec<_>>(), "files": files.collect::<Vec<_>>()})
}

/// Sources of a folder, in the order of their names, without those that only list the others.
fn names(folder: &Path, below: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.join(below)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".rs") && name != "mod.rs").collect();
    names.sort();
    names.truncate(12);
    names.into_iter().map(|name| format!("{below}/{name}")).collect()
}

/// The first sentence of a file's first comment.
fn about(file: &str, text: &str) -> String {
    let extension = file.rsplit('.').next().unwrap_or_default();
    let comment: String = match extension {
        "rs" => {
            let lines = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
            lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
        }
        "toml" => text.lines().next().and_then(|line| line.strip_prefix('#')).unwrap_or_default().trim().to_owned(),
        "html" => between(text, "{#", "#}").trim_matches('-').trim().to_owned(),
        "css" => between(text, "/*", "*/").trim().to_owned(),
        "md" => "how to run it, test it, change it and deploy it".to_owned(),
        _ => String::new(),
    };
    let end = comment.find(". ").or_else(|| comment.find(": ").filter(|_| comment.len() > 120));
    let sentence = end.map_or(comment.as_str(), |end| &comment[..end]).trim_end_matches(['.', ':']);
    match sentence.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", &sentence[..at]),
        None => sentence.to_owned(),
    }
}

/// What is between two marks at the beginning of a text.
fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    text.trim_start().strip_prefix(open).and_then(|rest| rest.split(close).next()).unwrap_or_default()
}

/// The lines `.layer(Name::new()) // why` of a stack: their numbers, names and comments.
fn layers(source: &str) -> Vec<(u64, String, String)> {
    let line = |(number, line): (u64, &str)| {
        let rest = line.trim().strip_prefix(".layer(")?;
        let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        let comment = line.rsplit_once("// ").map_or("", |(_, comment)| comment).trim();
        (!name.is_empty()).then(|| (number, name, comment.to_owned()))
    };
    (1..).zip(source.lines()).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::editor::Editor;

    #[test]
    fn a_file_is_told_by_its_first_sentence() {
        for (file, text, expected) in [
            (
                "a.rs",
                "//! The whole chain,\n//! outermost first. More.\n//!\n//! Else.\nfn x() {}",
                "The whole chain, outermost first",
            ),
            ("a.rs", "use x;\n//! no", ""),
            ("a.toml", "# How it runs: `cargo run`. Every key", "How it runs: `cargo run`"),
            ("a.html", "{#- The page: yours. -#}\n<p>", "The page: yours"),
            ("a.html", "<p>", ""),
            ("a.css", "/* All of it */ body {}", "All of it"),
        ] {
            assert_eq!(about(file, text), expected, "{text}");
        }
    }

    #[test]
    fn the_stack_is_read_with_its_comments() {
        let source = "Ok(Stack::new()\n    .layer(Lint::new()) // logs http://x\n    .layer(sessions.https(true))\n    // .layer(No)\n";
        assert_eq!(
            layers(source),
            [(2, "Lint".to_owned(), "logs http://x".to_owned()), (3, "sessions".to_owned(), String::new())]
        );
    }

    #[test]
    fn a_folder_without_any_of_it_has_a_tour_all_the_same() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../embed"));
        let editor = Editor::default();
        let tour = tour(folder, &Sources::new(folder, &editor));
        assert_eq!(tour["layers"].as_array().unwrap().len(), 0);
        assert!(tour["files"].as_array().unwrap().iter().any(|file| file["place"]["file"] == "src/lib.rs"));
    }
}
