//! Puts a site on disk: all of it, or nothing.

use crate::failure::Failure;
use crate::render::{Node, Site};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What is at the path where a site is wanted.
pub(crate) enum Place {
    /// Nothing, and perhaps no folder around it either.
    Nothing,
    EmptyFolder,
}

impl Place {
    /// # Errors
    ///
    /// There is something at `target` which a site would overwrite or be mixed with.
    pub(crate) fn at(target: &Path) -> Result<Self, Failure> {
        match fs::symlink_metadata(target) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(cause) => return Err(Failure::file("look at", target, &cause)),
            Ok(_) => {}
        }
        // Through a symbolic link: one to an empty folder is as good as the folder.
        if !fs::metadata(target).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::new(format!("{} is there already, and not a folder", target.display()))
                .remedy("choose another path"));
        }
        let unreadable = |cause| Failure::file("read", target, &cause);
        let mut names = Vec::new();
        for entry in fs::read_dir(target).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
        }
        if names.is_empty() {
            return Ok(Self::EmptyFolder);
        }
        names.sort();
        let rest = names.len().saturating_sub(3);
        names.truncate(3);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let message = format!("{} is not empty: it holds {}{more}", target.display(), names.join(", "));
        Err(Failure::new(message).remedy("choose another path"))
    }

    /// Writes the site beside its place, then moves it there; a failure removes what was written.
    ///
    /// # Errors
    ///
    /// Names the path that could not be written, and the cause.
    pub(crate) fn put(&self, site: &Site<'_>, target: &Path) -> Result<(), Failure> {
        let mut staging = Staging::default();
        let result = match self {
            Self::Nothing => staging.beside(site, target),
            Self::EmptyFolder => staging.inside(site, target),
        };
        result.map_err(|failure| match staging.undo() {
            Ok(()) => failure.remedy("nothing was left behind"),
            Err((path, cause)) => failure.remedy(format!("could not remove {} either: {cause}", path.display())),
        })
    }
}

/// What has been made so far, to be undone in reverse order.
#[derive(Default)]
struct Staging {
    /// Folders on the way to the site, which others may have come to use.
    parents: Vec<PathBuf>,
    /// Ours alone, with everything below.
    made: Vec<PathBuf>,
}

impl Staging {
    /// A new folder: written under another name in the same parent, and renamed once it is complete.
    fn beside(&mut self, site: &Site<'_>, target: &Path) -> Result<(), Failure> {
        let Some(name) = target.file_name() else {
            return Err(Failure::new(format!("{} does not end with the name of a folder", target.display())));
        };
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        self.parents(parent)?;
        let mut hidden = std::ffi::OsString::from(format!(".purlin-{}-", std::process::id()));
        hidden.push(name);
        let folder = parent.join(hidden);
        self.folder(&folder, target)?;
        write(site, &folder, target)?;
        // Refused by the system when something with content has appeared there in the meantime.
        fs::rename(&folder, target).map_err(|cause| Failure::file("create", target, &cause))
    }

    /// An empty folder is kept (a shell may stand in it, or a disk be mounted there): written inside it, and moved up.
    fn inside(&mut self, site: &Site<'_>, target: &Path) -> Result<(), Failure> {
        let folder = target.join(format!(".purlin-{}", std::process::id()));
        self.folder(&folder, target)?;
        write(site, &folder, target)?;
        for name in site.keys().filter(|path| !path.contains('/')) {
            let to = target.join(name);
            fs::rename(folder.join(name), &to).map_err(|cause| Failure::file("create", &to, &cause))?;
            self.made.push(to);
        }
        fs::remove_dir(&folder).map_err(|cause| Failure::file("remove", &folder, &cause))
    }

    /// Creates the missing folders on the way to `folder`.
    fn parents(&mut self, folder: &Path) -> Result<(), Failure> {
        let missing: Vec<&Path> =
            folder.ancestors().take_while(|path| *path != Path::new("") && !path.exists()).collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => self.parents.push(path.to_owned()),
                // Somebody else needed it at the same moment.
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(Failure::file("create", path, &cause)),
            }
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path, named: &Path) -> Result<(), Failure> {
        fs::create_dir(folder).map_err(|cause| Failure::file("create", named, &cause))?;
        self.made.push(folder.to_owned());
        Ok(())
    }

    fn undo(self) -> Result<(), (PathBuf, io::Error)> {
        for path in self.made.into_iter().rev() {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|cause| (path, cause))?;
        }
        for path in self.parents.into_iter().rev() {
            match fs::remove_dir(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::DirectoryNotEmpty => return Err((path, cause)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes everything below `folder`; messages name the path below `target`, where it would have come to lie.
fn write(site: &Site<'_>, folder: &Path, target: &Path) -> Result<(), Failure> {
    for (path, node) in site {
        let to = folder.join(path);
        let written = match node {
            Node::Folder => fs::create_dir(&to),
            Node::File { bytes, executable } => {
                fs::write(&to, bytes).and_then(|()| if *executable { make_executable(&to) } else { Ok(()) })
            }
        };
        written.map_err(|cause| Failure::file("write", &target.join(path), &cause))?;
    }
    Ok(())
}

/// Executable for whoever can read it.
#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path)?.permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(mode | (mode & 0o444) >> 2))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> io::Result<()> {
    Ok(())
}
