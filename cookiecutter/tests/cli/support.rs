//! Folders to try things in, the program, and trees to compare.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io};

/// A folder of the test's own, outside every repository, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("purlin-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = fs::canonicalize(env::temp_dir()).unwrap().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Creates a file, and the folders around it.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A cookiecutter template below `path` that holds these files.
    pub(crate) fn template(&self, path: &str, questions: &str, files: &[(&str, &str)]) {
        self.write(&format!("{path}/cookiecutter.json"), questions);
        for (name, content) in files {
            self.write(&format!("{path}/{{{{cookiecutter.project_slug}}}}/{name}"), content);
        }
    }

    pub(crate) fn purlin<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome {
        Outcome::of(purlin(self.path()).args(arguments))
    }

    /// Everything here, hidden names included.
    pub(crate) fn names(&self) -> Vec<String> {
        tree(self.path()).into_keys().collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program, started in `folder` as a user would.
pub(crate) fn purlin(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purlin"));
    command.current_dir(folder).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    command
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    pub(crate) fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    pub(crate) fn fed(command: &mut Command, input: &str) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A program that refuses its arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap().into()
    }

    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, messages: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for message in messages {
            assert!(self.err.contains(message), "no {message:?} in {self:#?}");
        }
        self
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A file's bytes and whether it is executable; none for a folder.
pub(crate) type Node = Option<(Vec<u8>, bool)>;

/// What is below a folder, without what git keeps for itself.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Node> {
    fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Node>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                if !name.ends_with(".git") {
                    walk(&path, &format!("{name}/"), found);
                }
                found.insert(name, None);
            } else {
                found.insert(name, Some((fs::read(&path).unwrap(), executable(&path))));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, "", &mut found);
    found.remove(".git");
    found
}

/// Asserts that two trees are the same, and names the first file in which they are not.
#[track_caller]
pub(crate) fn same(left: &Path, right: &Path, case: &str) {
    let (left, right) = (tree(left), tree(right));
    let names = |tree: &BTreeMap<String, Node>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right), "{case}");
    for (name, node) in &left {
        let text = |node: &Node| {
            node.as_ref().map(|(bytes, executable)| (String::from_utf8_lossy(bytes).into_owned(), *executable))
        };
        assert!(*node == right[name], "{case}: {name}\n{:#?}\n{:#?}", text(node), text(&right[name]));
    }
}

#[cfg(unix)]
fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn executable(_: &Path) -> bool {
    false
}

/// Says that something was not tested, past the test harness, which keeps what a passing test prints to itself.
pub(crate) fn left_out(what: &str) {
    let _ = writeln!(io::stderr(), "\nLEFT OUT: {what}");
}
