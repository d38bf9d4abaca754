//! What a site is made from: a `cookiecutter.json` and the folder beside it, out of the program itself or from disk.

use crate::failure::Failure;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A template, read whole.
pub(crate) struct Template {
    /// The text of `cookiecutter.json`.
    pub(crate) questions: Cow<'static, str>,
    /// What is in the folder, every folder before what it holds.
    pub(crate) entries: Vec<Entry>,
}

/// A file or folder of a template.
pub(crate) struct Entry {
    /// Not rendered yet, relative to the template's folder, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Folder,
    File { bytes: Cow<'static, [u8]>, executable: bool },
}

/// Path, whether it is executable, content: written by the build script.
static EMBEDDED: &[(&str, bool, &[u8])] = include!(concat!(env!("OUT_DIR"), "/template.rs"));

impl Template {
    /// The template that the program carries.
    pub(crate) fn embedded() -> Self {
        let mut folders = BTreeSet::new();
        let mut entries = Vec::new();
        for &(path, executable, bytes) in EMBEDDED {
            for (slash, _) in path.match_indices('/') {
                if folders.insert(&path[..slash]) {
                    entries.push(Entry { path: path[..slash].to_owned(), content: Content::Folder });
                }
            }
            let content = Content::File { bytes: Cow::Borrowed(bytes), executable };
            entries.push(Entry { path: path.to_owned(), content });
        }
        Self { questions: Cow::Borrowed(include_str!("../cookiecutter.json")), entries }
    }

    /// The template in a folder on disk, laid out as cookiecutter wants it.
    ///
    /// # Errors
    ///
    /// There is no `cookiecutter.json`, not exactly one folder named by an expression, something cannot be read, or a
    /// symbolic link lies in it.
    pub(crate) fn read(place: &Path) -> Result<Self, Failure> {
        let json = place.join("cookiecutter.json");
        let questions = fs::read_to_string(&json).map_err(|cause| {
            Failure::file("read", &json, &cause)
                .remedy("--template takes a folder that holds a cookiecutter.json; clone a repository first")
        })?;
        let mut roots = names(place)?;
        roots.retain(|name| ["cookiecutter", "{{", "}}"].iter().all(|part| name.contains(part)));
        let [root] = roots.as_slice() else {
            let message = format!(
                "{} holds {} folders named like {{{{cookiecutter.project_slug}}}}, not one",
                place.display(),
                roots.len()
            );
            return Err(Failure::new(message));
        };
        let mut entries = Vec::new();
        read_folder(&place.join(root), "", &mut entries)?;
        Ok(Self { questions: Cow::Owned(questions), entries })
    }
}

fn read_folder(folder: &Path, prefix: &str, entries: &mut Vec<Entry>) -> Result<(), Failure> {
    for name in names(folder)? {
        let from = folder.join(&name);
        let path = format!("{prefix}{name}");
        let metadata = fs::symlink_metadata(&from).map_err(|cause| Failure::file("read", &from, &cause))?;
        if metadata.is_dir() {
            let inside = format!("{path}/");
            entries.push(Entry { path, content: Content::Folder });
            read_folder(&from, &inside, entries)?;
        } else if metadata.is_file() {
            let bytes = fs::read(&from).map_err(|cause| Failure::file("read", &from, &cause))?;
            let content = Content::File { bytes: Cow::Owned(bytes), executable: executable(&metadata) };
            entries.push(Entry { path, content });
        } else {
            let message = format!("{} is neither a file nor a folder", from.display());
            return Err(Failure::new(message).remedy("a template holds only those, and no symbolic links"));
        }
    }
    Ok(())
}

/// The names in a folder, sorted, so that the first message about a template is always the same one.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let unreadable = |cause| Failure::file("read", folder, &cause);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        names.push(
            name.into_string()
                .map_err(|name| Failure::new(format!("the name of {} is not UTF-8", folder.join(name).display())))?,
        );
    }
    names.sort();
    Ok(names)
}

#[cfg(unix)]
fn executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn executable(_: &fs::Metadata) -> bool {
    false
}
