//! Which file below a folder a path asks for, and what of the path is left for it.

use percent_encoding::percent_decode_str;
use std::io;
use std::path::{Path, PathBuf};

/// A file that was found, and where the path is split.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) file: PathBuf,
    /// How much of the path leads to it.
    pub(crate) end: usize,
    /// What is to be added to that: the name of the folder's index.
    pub(crate) added: Option<String>,
}

/// Walks down the path until there is a file.
///
/// `None` for what is not there, is hidden, or leads out of the folder: by `..`, by an encoded slash, or by a symbolic link.
///
/// # Errors
///
/// What the file system says, beside that something is not there.
pub(crate) fn find(folder: &Path, path: &str, index: Option<&str>) -> io::Result<Option<Found>> {
    let mut at = folder.to_owned();
    let mut end = 0;
    for segment in path.split_inclusive('/') {
        let name = segment.trim_end_matches('/');
        if name.is_empty() {
            end += segment.len();
            continue;
        }
        let Some(name) = plain_segment(name) else { return Ok(None) };
        at.push(&*name);
        end += segment.trim_end_matches('/').len();
        match std::fs::metadata(&at) {
            Ok(metadata) if metadata.is_dir() => end += segment.len() - segment.trim_end_matches('/').len(),
            Ok(metadata) if metadata.is_file() => return inside(folder, at, end, None),
            Ok(_) => return Ok(None),
            Err(error) => return not_there(error),
        }
    }
    let Some(index) = index.filter(|_| path.ends_with('/')) else { return Ok(None) };
    at.push(index);
    match std::fs::metadata(&at) {
        Ok(metadata) if metadata.is_file() => inside(folder, at, end, Some(index.to_owned())),
        Ok(_) => Ok(None),
        Err(error) => not_there(error),
    }
}

fn inside(folder: &Path, file: PathBuf, end: usize, added: Option<String>) -> io::Result<Option<Found>> {
    // Where a link leads is known only from the file itself.
    let inside = std::fs::canonicalize(&file)?.starts_with(std::fs::canonicalize(folder)?);
    Ok(inside.then_some(Found { file, end, added }))
}

fn not_there<T>(error: io::Error) -> io::Result<Option<T>> {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename) { Ok(None) } else { Err(error) }
}

/// One part of a path decoded; `None` for what is hidden, leads up, or has a slash, a backslash or a NUL in it.
fn plain_segment(segment: &str) -> Option<std::borrow::Cow<'_, str>> {
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    let plain = !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    plain.then_some(name)
}

/// A whole path decoded, every part of it as [`plain_segment`] has it. Empty parts are left out.
pub(crate) fn plain_path(path: &str) -> Option<String> {
    let mut plain = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        plain.push('/');
        plain.push_str(&plain_segment(segment)?);
    }
    if path.ends_with('/') {
        plain.push('/');
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_path_leads_to_a_file_inside_the_folder_or_to_none() {
        let base = std::env::temp_dir().join(format!("purlin-scripts-{}", std::process::id()));
        let folder = base.join("cgi");
        fs::create_dir_all(folder.join("sub/.hidden")).unwrap();
        fs::create_dir_all(folder.join("empty")).unwrap();
        for file in ["cgi/a", "cgi/b c", "cgi/sub/d", "cgi/sub/index", "cgi/.dot", "cgi/sub/.hidden/e", "outside"] {
            fs::write(base.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink(base.join("outside"), folder.join("out")).unwrap();
        std::os::unix::fs::symlink(folder.join("a"), folder.join("in")).unwrap();
        std::os::unix::fs::symlink(&base, folder.join("up")).unwrap();
        let table = [
            ("/a", Some(("a", 2, ""))),
            ("/a/", Some(("a", 2, "/"))),
            ("/a/x/../y", Some(("a", 2, "/x/../y"))),
            ("//a", Some(("a", 3, ""))),
            ("/b%20c/x", Some(("b c", 6, "/x"))),
            ("/%61", Some(("a", 4, ""))),
            ("/sub/d/x", Some(("sub/d", 6, "/x"))),
            ("/sub/", Some(("sub/index", 5, ""))),
            ("/in", Some(("in", 3, ""))),
            ("/sub", None),
            ("/empty/", None),
            ("/", None),
            ("/no", None),
            ("/.dot", None),
            ("/sub/.hidden/e", None),
            ("/sub/../a", None),
            ("/sub/%2e%2e/a", None),
            ("/sub%2Fd", None),
            ("/sub%5Cd", None),
            ("/a%00", None),
            ("/%ff", None),
            ("/out", None),
            ("/up/outside", None),
        ];
        for (path, expected) in table {
            let found = find(&folder, path, Some("index")).unwrap();
            let found = found.as_ref().map(|found| {
                (found.file.strip_prefix(&folder).unwrap().to_str().unwrap(), found.end, &path[found.end..])
            });
            assert_eq!(found, expected, "{path}");
        }
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn a_path_is_decoded_where_nothing_in_it_leads_elsewhere() {
        let table = [
            ("/a/b.php", Some("/a/b.php")),
            ("/a%20b/", Some("/a b/")),
            ("//a", Some("/a")),
            ("/", Some("/")),
            ("/../a", None),
            ("/a/.git/x", None),
            ("/a%2fb", None),
            ("/a%00", None),
        ];
        for (path, expected) in table {
            assert_eq!(plain_path(path).as_deref(), expected, "{path}");
        }
    }
}
