//! What the tool asks git for: a repository for a new site, old texts, and merges.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
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
    match git(folder).args(["init", "--quiet"]).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Repository::Made,
        Ok(output) => Repository::Failed(match String::from_utf8_lossy(&output.stderr).lines().next() {
            Some(line) => line.to_owned(),
            None => output.status.to_string(),
        }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Repository::NoGit,
        Err(cause) => Repository::Failed(cause.to_string()),
    }
}

fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    // Set while git runs a hook; they would send `init` to that repository instead.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    git.current_dir(folder);
    git
}

/// What `git` prints, with this input; none if it cannot be run or fails.
fn ask(git: &mut Command, input: &[u8]) -> Option<Vec<u8>> {
    let output = fed(git, input)?;
    output.status.success().then_some(output.stdout)
}

fn fed(git: &mut Command, input: &[u8]) -> Option<Output> {
    let piped = git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = piped.spawn().ok()?;
    let written = child.stdin.take()?.write_all(input);
    let output = child.wait_with_output().ok()?;
    written.is_ok().then_some(output)
}

/// Whether what is tracked in this folder is as it was committed, and nothing else is there; none without a repository.
pub(crate) fn is_clean(folder: &Path) -> Option<bool> {
    Some(ask(git(folder).args(["status", "--porcelain", "--", "."]), b"")?.is_empty())
}

/// Where the folder is in its repository: `sites/one/`, and nothing at the top; none without a repository.
pub(crate) fn prefix(folder: &Path) -> Option<String> {
    let text = String::from_utf8(ask(git(folder).args(["rev-parse", "--show-prefix"]), b"")?).ok()?;
    Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// The text that git calls by this id, if it still has it.
pub(crate) fn blob(folder: &Path, id: &str) -> Option<String> {
    String::from_utf8(ask(git(folder).args(["cat-file", "blob", id]), b"")?).ok()
}

/// Keeps these texts in the repository around the folder, under a reference of their own, so that [`blob`] has them when an
/// upgrade needs them. Nothing else of the repository changes; without one, nothing is done.
pub(crate) fn keep(folder: &Path, name: &str, texts: &[(&str, &[u8])]) -> Option<()> {
    ask(git(folder).args(["rev-parse", "--git-dir"]), b"")?;
    let aside = Aside::new("keep").ok()?;
    let mut places = String::new();
    for (number, (_, bytes)) in texts.iter().enumerate() {
        let place = aside.0.join(number.to_string());
        fs::write(&place, bytes).ok()?;
        places.push_str(&format!("{}\n", place.to_str()?));
    }
    // All by one process.
    let hash = ["hash-object", "-w", "--no-filters", "--stdin-paths"];
    let ids = String::from_utf8(ask(git(folder).args(hash), places.as_bytes())?).ok()?;
    let lines = ids.lines().zip(texts).map(|(id, (path, _))| format!("100644 {id}\t{path}\n"));
    // An index beside the user's, which is left alone.
    let index = aside.0.join("index");
    let add = ["update-index", "--add", "--index-info"];
    ask(git(folder).args(add).env("GIT_INDEX_FILE", &index), lines.collect::<String>().as_bytes())?;
    let tree = String::from_utf8(ask(git(folder).arg("write-tree").env("GIT_INDEX_FILE", &index), b"")?).ok()?;
    ask(git(folder).args(["update-ref", &format!("refs/purlin/{name}"), tree.trim()]), b"").map(drop)
}

/// A folder for files that are needed for a moment.
struct Aside(PathBuf);

impl Aside {
    fn new(what: &str) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("purlin-{what}-{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What both have changed since they were the same, and in how many places they contradict each other, which are marked.
///
/// # Errors
///
/// git cannot be run, or a file for it cannot be written.
pub(crate) fn merge(ours: &str, base: &str, theirs: &str, name: &str) -> io::Result<(String, usize)> {
    let aside = Aside::new("merge")?;
    for (file, text) in [("ours", ours), ("base", base), ("theirs", theirs)] {
        fs::write(aside.0.join(file), text)?;
    }
    let mut git = git(&aside.0);
    git.args(["merge-file", "-p", "-L", "yours", "-L", "before", "-L", name, "ours", "base", "theirs"]);
    let output = git.stdin(Stdio::null()).output()?;
    // The number of conflicts, up to 127; above that it is a failure.
    match output.status.code() {
        Some(conflicts @ 0..=127) => {
            let text = String::from_utf8(output.stdout).map_err(io::Error::other)?;
            Ok((text, usize::try_from(conflicts).unwrap_or(0)))
        }
        _ => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// The root of the repository around `folder`: in a worktree and a submodule `.git` is a file.
fn around(folder: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(folder).ok()?;
    folder.ancestors().find(|folder| folder.join(".git").exists()).map(Path::to_owned)
}
