//! `Editor`: links that open a place of the source in the developer's editor.
//!
//! The browser follows them, and the system knows which program its scheme belongs to: the server starts no program, ever.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::path::PathBuf;

/// How an editor is asked for a place, as `PURLIN_EDITOR` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Editor {
    template: Option<String>,
    /// Prefixes of paths here and what they are where the editor runs: in a container they differ.
    paths: Vec<(String, String)>,
}

const PRESETS: [(&str, &str); 9] = [
    ("vscode", "vscode://file/{file}:{line}:{column}"),
    ("vscodium", "vscodium://file/{file}:{line}:{column}"),
    ("zed", "zed://file/{file}:{line}:{column}"),
    ("idea", "idea://open?file={file}&line={line}&column={column}"),
    ("vim", "vim://open?url=file://{file}&line={line}&column={column}"),
    ("neovim", "nvim://open?url=file://{file}&line={line}&column={column}"),
    ("emacs", "emacs://open?url=file://{file}&line={line}&column={column}"),
    ("sublime", "subl://open?url=file://{file}&line={line}&column={column}"),
    ("textmate", "txmt://open?url=file://{file}&line={line}&column={column}"),
];

/// Kept as it is in a path within a link.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'+')
    .add(b'\'');

impl Editor {
    /// As the environment says: `PURLIN_EDITOR` is the name of a preset or a link with `{file}`, `{line}` and `{column}`;
    /// `PURLIN_EDITOR_PATHS` is `/here=/there`, several separated by commas.
    pub(crate) fn from_env() -> Self {
        let var = |name: &str| std::env::var(name).unwrap_or_default();
        Self::new(&var("PURLIN_EDITOR"), &var("PURLIN_EDITOR_PATHS"))
    }

    /// No links for what is neither a preset nor a link of an editor.
    pub(crate) fn new(editor: &str, paths: &str) -> Self {
        let other = || Some(editor).filter(|link| link.contains("{file}") && is_of_editor(link));
        let preset = PRESETS.iter().find(|(name, _)| *name == editor.to_ascii_lowercase()).map(|(_, link)| *link);
        let paths = paths.split(',').filter_map(|pair| pair.split_once('='));
        Self {
            template: preset.or_else(other).map(str::to_owned),
            paths: paths.map(|(here, there)| (here.trim().to_owned(), there.trim().to_owned())).collect(),
        }
    }

    /// The link of a place; the file's whole path.
    pub(crate) fn link(&self, file: &str, line: u32, column: u32) -> Option<String> {
        let template = self.template.as_deref()?;
        let mapped = self.paths.iter().find_map(|(here, there)| {
            let rest = file.strip_prefix(here.as_str())?;
            // `/app` is not the beginning of `/apple`.
            (rest.is_empty() || rest.starts_with('/') || here.ends_with('/')).then(|| format!("{there}{rest}"))
        });
        let file = mapped.as_deref().unwrap_or(file);
        // `vscode://file//home` would be another path.
        let file = if template.contains("/{file}") && !template.contains("///{file}") && !template.contains("://{file}")
        {
            file.trim_start_matches('/')
        } else {
            file
        };
        let file = utf8_percent_encode(file, IN_PATH).to_string();
        let link = template.replace("{line}", &line.to_string()).replace("{column}", &column.max(1).to_string());
        Some(link.replace("{file}", &file))
    }
}

/// A file as the compiler names it, if it is on this machine. The name is never the client's.
pub(crate) fn on_disk(file: &str) -> Option<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    // Paths of a workspace's own crates are relative to its root, which may be above.
    let roots = manifest.iter().flat_map(|path| path.ancestors()).chain(here.ancestors());
    roots.map(|root| root.join(file)).find(|path| path.is_file())
}

/// Not what a browser itself would run, show or load.
fn is_of_editor(link: &str) -> bool {
    const BROWSERS: [&str; 6] = ["javascript", "data", "vbscript", "blob", "file", "about"];
    let scheme = link.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let known = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    scheme.is_some_and(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(known)
            && !BROWSERS.contains(&&*scheme)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_the_place_in_the_editor_that_was_named() {
        for (editor, expected) in [
            ("vscode", Some("vscode://file/home/me/a%20b.rs:7:3")),
            ("Zed", Some("zed://file/home/me/a%20b.rs:7:3")),
            ("idea", Some("idea://open?file=/home/me/a%20b.rs&line=7&column=3")),
            ("vim", Some("vim://open?url=file:///home/me/a%20b.rs&line=7&column=3")),
            ("neovim", Some("nvim://open?url=file:///home/me/a%20b.rs&line=7&column=3")),
            ("emacs", Some("emacs://open?url=file:///home/me/a%20b.rs&line=7&column=3")),
            ("sublime", Some("subl://open?url=file:///home/me/a%20b.rs&line=7&column=3")),
            ("my://x?f={file}&at={line}.{column}", Some("my://x?f=/home/me/a%20b.rs&at=7.3")),
            ("http://localhost:7000/{file}:{line}", Some("http://localhost:7000/home/me/a%20b.rs:7")),
            ("", None),
            ("ed", None),
            ("javascript:alert('{file}')", None),
            ("JavaScript:alert('{file}')", None),
            ("java\tscript:alert('{file}')", None),
            ("data:text/html,{file}", None),
            ("{file}", None),
        ] {
            assert_eq!(Editor::new(editor, "").link("/home/me/a b.rs", 7, 3).as_deref(), expected, "{editor}");
        }
    }

    #[test]
    fn paths_of_a_container_become_those_of_the_editor() {
        let editor = Editor::new("idea", "/app=/home/me/site, /usr/src/=/src/");
        let link = |file: &str| editor.link(file, 1, 0).unwrap();
        assert!(link("/app/src/main.rs").contains("file=/home/me/site/src/main.rs&line=1&column=1"));
        assert!(link("/apple/main.rs").contains("file=/apple/main.rs"));
        assert!(link("/usr/src/x.rs").contains("file=/src/x.rs"));
    }
}
