//! All or nothing: what a failure leaves behind.

use crate::support::{Outcome, Scratch, left_out, purlin, tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_broken_template_is_named_with_its_line_and_leaves_nothing() {
    for (json, file, content, messages) in [
        ("{}", "a", "", &["holds 0 folders"][..]),
        (r#"{"project_slug": "x""#, "a", "", &["cookiecutter.json: ", "line 1"]),
        (r#"{"project_slug": {"a": 1}}"#, "a", "", &["cookiecutter.json: project_slug is not text"]),
        (r#"{"project_slug": "x", "y": []}"#, "a", "", &["cookiecutter.json: y is not text"]),
        (
            r#"{"project_slug": "x", "y": "{{ cookiecutter.z }}", "z": "1"}"#,
            "a",
            "",
            &["cookiecutter.json: y: ", "undefined"],
        ),
        (r#"{"project_slug": "x", "_extensions": ["a.B"]}"#, "a", "", &["_extensions are Python"]),
        (r#"{"project_slug": "x"}"#, "src/a.rs", "\n\n{{ cookiecutter.nope }}", &["src/a.rs: line 3: undefined"]),
        (r#"{"project_slug": "x", "__left_out": "z src"}"#, "a", "", &["__left_out names src, which is not there"]),
        (r#"{"project_slug": "x"}"#, "a", "{% if %}", &["the template's a: line 1: syntax error"]),
        (r#"{"project_slug": "x"}"#, "{{ cookiecutter.nope }}", "", &["{{ cookiecutter.nope }}: ", "undefined"]),
        (
            r#"{"project_slug": "x", "up": ".."}"#,
            "{{cookiecutter.up}}/a",
            "",
            &["becomes `..`, which is not a path inside"],
        ),
        (r#"{"project_slug": "x", "d": ""}"#, "{{cookiecutter.d}}/a", "", &["becomes ``, which is not a path inside"]),
        (r#"{"project_slug": "x", "d": "a/b"}"#, "{{cookiecutter.d}}", "", &["becomes a/b, and there is no folder a"]),
        (r#"{"project_slug": "x", "d": "/etc/a"}"#, "{{cookiecutter.d}}", "", &["not a path inside"]),
    ] {
        let scratch = Scratch::new();
        let files = [("z", "fine"), (file, content)];
        scratch.template("t", json, if json == "{}" { &[] } else { &files });
        let before = tree(scratch.path());
        scratch.purlin(&["new", "deep/down/site", "--template", "t"]).fails(1, messages);
        assert_eq!(tree(scratch.path()), before, "{json} {file}");
    }
    let scratch = Scratch::new();
    scratch
        .purlin(&["new", "s", "--template", "t"])
        .fails(1, &["could not read t/cookiecutter.json", "clone a repository"]);
}

#[cfg(unix)]
#[test]
fn a_template_with_a_symbolic_link_is_refused() {
    let scratch = Scratch::new();
    scratch.template("t", r#"{"project_slug": "x"}"#, &[("a", "")]);
    let link = scratch.path().join("t/{{cookiecutter.project_slug}}/link");
    std::os::unix::fs::symlink("a", link).unwrap();
    scratch
        .purlin(&["new", "s", "--template", "t"])
        .fails(1, &["link is neither a file nor a folder", "symbolic links"]);
}

/// No byte may be written to any file: what a disk quota does too.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("empty")).unwrap();
    for path in ["site", "deep/down/site", "empty"] {
        let before = tree(scratch.path());
        let mut shell = Command::new("sh");
        shell.current_dir(scratch.path()).args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
        shell.arg(purlin(scratch.path()).get_program()).args(["new", path, "--set", "project_slug=x"]);
        let file = format!("could not write {path}/.dockerignore: ");
        Outcome::of(&mut shell).fails(1, &[&file, "File too large", "nothing was left behind"]);
        assert_eq!(tree(scratch.path()), before, "{path}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    let scratch = Scratch::new();
    let Some(disk) = Disk::mount(scratch.path(), "size=64k") else {
        left_out("the full disk, since a small one can be mounted by root alone");
        return;
    };
    let big = "x".repeat(40_000);
    scratch.template("t", r#"{"project_slug": "x"}"#, &[("src/a", &big), ("src/b", &big)]);
    fs::create_dir(disk.0.join("empty")).unwrap();
    for path in ["site", "deep/down/site", "empty"] {
        let before = tree(&disk.0);
        let mut command = purlin(&disk.0);
        command.args(["new", path, "--template"]).arg(scratch.path().join("t"));
        let file = format!("could not write {path}/src/b: ");
        let messages = [&file, "No space left on device", "free some space", "nothing was left behind"];
        Outcome::of(&mut command).fails(1, &messages);
        assert_eq!(tree(&disk.0), before, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    // Permissions do not stop root; a disk mounted for reading does.
    let locked = scratch.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = fs::create_dir(locked.join("probe")).is_ok_and(|()| fs::remove_dir(locked.join("probe")).is_ok());
    let disk = if is_root { Disk::mount(scratch.path(), "ro") } else { None };
    let folder = match &disk {
        Some(disk) => &disk.0,
        None if is_root => {
            left_out("the unwritable folder, since nothing is unwritable for root here");
            return;
        }
        None => &locked,
    };
    for path in ["site", "deep/site"] {
        let named = format!("could not create {}: ", if path == "site" { "site" } else { "deep" });
        Outcome::of(purlin(folder).args(["new", path])).fails(1, &[&named, "that you may write to"]);
    }
    Outcome::of(purlin(folder).args(["new", ".", "--set", "project_slug=x"])).fails(1, &["could not create .: "]);
    assert!(tree(folder).is_empty());
}

/// A disk in memory, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    /// None where that is not allowed.
    fn mount(folder: &Path, options: &str) -> Option<Self> {
        let point = folder.join("disk");
        fs::create_dir(&point).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&point);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(point))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
