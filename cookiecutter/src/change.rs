//! Changes to a site on disk: all of them, or none.

use crate::diff;
use crate::failure::Failure;
use crate::screen::Paint;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

/// What is to be written below a site's folder; nothing is until [`write`](Self::write).
pub(crate) struct Changes {
    root: PathBuf,
    list: Vec<Change>,
}

struct Change {
    /// Relative to the root, with `/` between its parts.
    path: String,
    /// None where there is no file yet.
    old: Option<String>,
    new: String,
}

impl Changes {
    pub(crate) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), list: Vec::new() }
    }

    /// A new file.
    ///
    /// # Errors
    ///
    /// There is something at this path.
    pub(crate) fn create(&mut self, path: impl Into<String>, new: String) -> Result<(), Failure> {
        let path = path.into();
        match fs::symlink_metadata(self.root.join(&path)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(Failure::file("look at", &self.root.join(&path), &cause)),
            Ok(_) => {
                return Err(Failure::new(format!("{path} is there already"))
                    .remedy("nothing was written; choose another name, or move that away"));
            }
        }
        let new = formatted(&self.root, &path, &new).unwrap_or(new);
        self.list.push(Change { path, old: None, new });
        Ok(())
    }

    /// A new file whose place is known to be free, as it is.
    pub(crate) fn add(&mut self, path: &str, new: String) {
        self.list.push(Change { path: path.to_owned(), old: None, new });
    }

    /// Another text in the place of one that is known, as it is.
    pub(crate) fn replace(&mut self, path: &str, old: String, new: String) {
        self.list.push(Change { path: path.to_owned(), old: Some(old), new });
    }

    /// What a file holds, with the edits so far.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be read.
    pub(crate) fn text(&self, path: &str) -> Result<String, Failure> {
        if let Some(change) = self.list.iter().find(|change| change.path == path) {
            return Ok(change.new.clone());
        }
        let file = self.root.join(path);
        fs::read_to_string(&file).map_err(|cause| Failure::file("read", &file, &cause).remedy("nothing was written"))
    }

    /// Replaces what a file holds. It stays formatted if it was.
    pub(crate) fn edit(
        &mut self,
        path: &str,
        edited: impl FnOnce(&str) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let old = self.text(path)?;
        let mut new = edited(&old)?;
        if new == old {
            return Ok(());
        }
        if formatted(&self.root, path, &old).is_some_and(|formatted| formatted == old)
            && let Some(formatted) = formatted(&self.root, path, &new)
        {
            new = formatted;
        }
        match self.list.iter_mut().find(|change| change.path == path) {
            Some(change) => change.new = new,
            None => self.list.push(Change { path: path.to_owned(), old: Some(old), new }),
        }
        Ok(())
    }

    /// All of it as a patch, which `patch -p1` and `git apply` take.
    pub(crate) fn diff(&self) -> String {
        let mut text = String::new();
        for Change { path, old, new } in &self.list {
            let from = if old.is_some() { format!("a/{path}") } else { "/dev/null".to_owned() };
            text.push_str(&format!("--- {from}\n+++ b/{path}\n"));
            text.push_str(&diff::unified(old.as_deref().unwrap_or_default(), new));
        }
        text
    }

    /// A line for each new file, and for each edited one the lines that came and went, with their numbers.
    pub(crate) fn summary(&self) -> String {
        let paint = Paint::stdout();
        let mut text = String::new();
        for Change { path, old, new } in &self.list {
            let Some(old) = old else {
                text.push_str(&format!("  {} {path}\n", paint.green("created")));
                continue;
            };
            text.push_str(&format!("  {}  {path}\n", paint.bold("edited")));
            let mut number = 0;
            for line in diff::unified(old, new).lines() {
                match line.split_at(1) {
                    ("@", range) => {
                        let begin = range.split('+').nth(1).and_then(|range| range.split(',').next());
                        number = begin.and_then(|begin| begin.parse().ok()).unwrap_or(0);
                    }
                    ("+", added) => {
                        text.push_str(&format!("          {number:>4} {} {added}\n", paint.green("+")));
                        number += 1;
                    }
                    ("-", gone) => text.push_str(&format!("               {} {gone}\n", paint.red("-"))),
                    (" ", _) => number += 1,
                    _ => {}
                }
            }
        }
        text
    }

    /// Writes every file beside its place, then puts all of them there; a failure puts back what was.
    ///
    /// # Errors
    ///
    /// Names the path that could not be written, or that somebody has changed meanwhile.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let mut undo = Undo::default();
        self.put(&mut undo).map_err(|failure| match undo.run() {
            Ok(()) => failure.remedy("nothing was changed"),
            Err((path, cause)) => failure.remedy(format!("could not put {} back either: {cause}", path.display())),
        })
    }

    fn put(&self, undo: &mut Undo) -> Result<(), Failure> {
        let mut ready = Vec::new();
        for Change { path, old, new } in &self.list {
            let place = self.root.join(path);
            let folder = place.parent().unwrap_or(&self.root);
            undo.folders(folder)?;
            let name = place.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let aside = folder.join(format!(".purlin-{}-{name}", std::process::id()));
            undo.made.push(aside.clone());
            fs::write(&aside, new).map_err(|cause| Failure::file("write", &place, &cause))?;
            if old.is_some() {
                let kept =
                    fs::metadata(&place).and_then(|metadata| fs::set_permissions(&aside, metadata.permissions()));
                kept.map_err(|cause| Failure::file("write", &place, &cause))?;
            }
            ready.push((aside, place, old));
        }
        for (aside, place, old) in ready {
            let now = match fs::read_to_string(&place) {
                Ok(text) => Some(text),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
                Err(cause) => return Err(Failure::file("read", &place, &cause)),
            };
            if now != *old {
                return Err(Failure::new(format!("{} was changed by somebody else meanwhile", place.display())));
            }
            fs::rename(&aside, &place).map_err(|cause| Failure::file("write", &place, &cause))?;
            match old {
                Some(old) => undo.edited.push((place, old.clone())),
                None => undo.made.push(place),
            }
        }
        Ok(())
    }
}

/// What has been done so far, to be undone in reverse order.
#[derive(Default)]
struct Undo {
    folders: Vec<PathBuf>,
    made: Vec<PathBuf>,
    edited: Vec<(PathBuf, String)>,
}

impl Undo {
    fn folders(&mut self, folder: &Path) -> Result<(), Failure> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder).map_err(|cause| Failure::file("create", folder, &cause))?;
            self.folders.push(folder.to_owned());
        }
        Ok(())
    }

    fn run(self) -> Result<(), (PathBuf, io::Error)> {
        for (path, old) in self.edited {
            fs::write(&path, old).map_err(|cause| (path, cause))?;
        }
        for path in self.made {
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err((path, cause)),
                _ => {}
            }
        }
        for path in self.folders.into_iter().rev() {
            fs::remove_dir(&path).map_err(|cause| (path, cause))?;
        }
        Ok(())
    }
}

/// The text as rustfmt writes it with the site's own settings. None for what is no Rust, and where there is no rustfmt or it finds
/// no sense in the text.
fn formatted(root: &Path, path: &str, text: &str) -> Option<String> {
    if !path.ends_with(".rs") {
        return None;
    }
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024", "--emit", "stdout", "--quiet"]).current_dir(root);
    rustfmt.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = rustfmt.spawn().ok()?;
    // It reads all of its input before it writes.
    let fed = io::Write::write_all(&mut child.stdin.take()?, text.as_bytes());
    let output = child.wait_with_output().ok()?;
    (fed.is_ok() && output.status.success()).then(|| String::from_utf8(output.stdout).ok())?
}
