//! `Assets`: a folder of files that belong to the site, on disk or in the executable.

use bytes::Bytes;
use std::borrow::Cow;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A folder of files: templates, or what is public.
///
/// Made by [`embed!`](crate::embed): on disk in a debug build, in the executable in a release build.
#[derive(Clone, Debug)]
pub struct Assets(Place);

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Embedded(&'static [(&'static str, &'static [u8])]),
}

impl Assets {
    /// The files below a folder, read when they are asked for.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self(Place::Folder(path.into()))
    }

    /// Files in the executable, as name and bytes, sorted by name.
    pub const fn embedded(files: &'static [(&'static str, &'static [u8])]) -> Self {
        Self(Place::Embedded(files))
    }

    /// The folder, unless the files are in the executable.
    pub fn as_folder(&self) -> Option<&Path> {
        match &self.0 {
            Place::Folder(path) => Some(path),
            Place::Embedded(_) => None,
        }
    }

    /// The path of a file on disk; `None` for a name that could lead out of the folder, is hidden, or is no name.
    ///
    /// The name is one of this folder's, with `/` between its parts: no `..`, no root, no drive, no part that begins with a
    /// dot, no NUL and no backslash. Whether there is such a file is another question.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let folder = self.as_folder()?;
        is_plain(name).then(|| folder.join(name))
    }

    /// The bytes of a file: borrowed from the executable, or read from the folder.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none of this name, or whatever reading it says.
    pub fn read(&self, name: &str) -> io::Result<Bytes> {
        match &self.0 {
            Place::Embedded(_) => self.find(name).map(Bytes::from_static).ok_or_else(|| not_found(name)),
            Place::Folder(_) => {
                let path = self.path(name).ok_or_else(|| not_found(name))?;
                std::fs::read(path).map(Bytes::from)
            }
        }
    }

    /// The bytes of a file in the executable.
    pub fn find(&self, name: &str) -> Option<&'static [u8]> {
        let Place::Embedded(files) = &self.0 else {
            return None;
        };
        let at = files.binary_search_by(|(other, _)| (*other).cmp(name)).ok()?;
        Some(files[at].1)
    }

    /// The names of all files, sorted, with `/` between their parts; hidden ones are left out.
    ///
    /// # Errors
    ///
    /// What listing the folder says, with its path.
    pub fn names(&self) -> io::Result<Vec<Cow<'static, str>>> {
        match &self.0 {
            Place::Embedded(files) => Ok(files.iter().map(|(name, _)| Cow::Borrowed(*name)).collect()),
            Place::Folder(folder) => {
                let mut names = Vec::new();
                list(folder, "", &mut names)
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
                names.sort();
                Ok(names)
            }
        }
    }
}

fn list(folder: &Path, prefix: &str, names: &mut Vec<Cow<'static, str>>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            list(&path, &format!("{prefix}{name}/"), names)?;
        } else {
            names.push(Cow::Owned(format!("{prefix}{name}")));
        }
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    let parts = Path::new(name).components();
    !name.is_empty()
        && !name.contains(['\\', '\0', ':'])
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
        && parts.into_iter().all(|part| matches!(part, Component::Normal(_)))
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let assets = Assets::folder("/srv/public");
        let table = [
            ("site.css", true),
            ("img/logo.svg", true),
            ("a..b", true),
            ("", false),
            (".", false),
            ("..", false),
            ("../secret", false),
            ("img/../../secret", false),
            ("/etc/passwd", false),
            ("img//logo.svg", false),
            (".env", false),
            (".git/config", false),
            ("img/.hidden", false),
            ("..\\secret", false),
            ("c:secret", false),
            ("a\0b", false),
        ];
        for (name, allowed) in table {
            assert_eq!(assets.path(name).is_some(), allowed, "{name:?}");
        }
    }
}
