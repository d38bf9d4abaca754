//! `git init` for a new site.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

/// What became of the wish for a repository.
pub(crate) enum Repository {
    /// A new one was made.
    Made,
    /// The site lies inside the one at this path already.
    Inside(PathBuf),
    /// There is no `git` to run.
    NoGit,
    /// `git` ran, and said this.
    Failed(String),
}

/// Makes `folder` a repository, unless it is part of one.
pub(crate) fn init(folder: &Path) -> Repository {
    if let Some(around) = around(folder) {
        return Repository::Inside(around);
    }
    let mut git = Command::new("git");
    // Set while git runs a hook; they would send `init` to that repository instead.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    match git.args(["init", "--quiet"]).current_dir(folder).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Repository::Made,
        Ok(output) => Repository::Failed(match String::from_utf8_lossy(&output.stderr).lines().next() {
            Some(line) => line.to_owned(),
            None => output.status.to_string(),
        }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Repository::NoGit,
        Err(cause) => Repository::Failed(cause.to_string()),
    }
}

/// The root of the repository around `folder`: in a worktree and a submodule `.git` is a file.
fn around(folder: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(folder).ok()?;
    folder.ancestors().find(|folder| folder.join(".git").exists()).map(Path::to_owned)
}
