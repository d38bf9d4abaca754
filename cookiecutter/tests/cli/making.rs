//! `purlin new`: what comes out, and what is refused.

use crate::support::{Outcome, Scratch, left_out, purlin, same, tree};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_path_is_all_it_takes() {
    let scratch = Scratch::new();
    let made = scratch.purlin(&["new", "my-site"]).succeeds();
    for line in ["made My Site, ", " in my-site", "src/", "main.rs", "cd my-site", "purlin dev", "cargo test"] {
        assert!(made.out.contains(line), "no {line:?} in {}", made.out);
    }
    let manifest = fs::read_to_string(scratch.path().join("my-site/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"my-site\""), "{manifest}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing beside the site");
}

#[test]
fn a_tool_that_is_not_on_the_path_says_how_to_put_it_there() {
    let scratch = Scratch::new();
    let next = |path: &Path, site: &str| {
        let made = Outcome::of(purlin(scratch.path()).args(["new", site, "--no-git"]).env("PATH", path)).succeeds();
        made.out.split_once("\nnext:\n").unwrap().1.to_owned()
    };
    let own = Path::new(purlin(scratch.path()).get_program()).to_owned();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let install = match fs::read_to_string(root.parent().unwrap().join("Cargo.toml")) {
        Ok(text) if text.contains("\nname = \"purlin\"\n") => format!("cargo install --path {}", root.display()),
        _ => "cargo install purlin-cli".to_owned(),
    };
    // Nobody of that name, and another one.
    scratch.write("bin/purlin", "");
    for (path, site) in [(scratch.path().join("none"), "a"), (scratch.path().join("bin"), "b")] {
        let next = next(&path, site);
        let lines: Vec<&str> = next.lines().map(str::trim).collect();
        assert_eq!(lines[1], format!("{install}    puts this purlin on the PATH"), "{next}");
        assert!(lines[2].starts_with("purlin dev"), "{next}");
    }
    let next = next(own.parent().unwrap(), "c");
    assert!(!next.contains("cargo install"), "{next}");
}

#[test]
fn site_templates_keep_their_braces() {
    let scratch = Scratch::new();
    scratch.purlin(&["new", "my-site"]).succeeds();
    let layout = fs::read_to_string(scratch.path().join("my-site/templates/layout.html")).unwrap();
    assert!(layout.contains("{% block"), "{layout}");
}

#[test]
fn the_manifest_points_at_the_checkout_or_at_the_published_version() {
    let scratch = Scratch::new();
    let manifest = |arguments: &[&str]| {
        let arguments = [&["new", "x", "--no-git"], arguments].concat();
        scratch.purlin(&arguments).succeeds();
        let text = fs::read_to_string(scratch.path().join("x/Cargo.toml")).unwrap();
        fs::remove_dir_all(scratch.path().join("x")).unwrap();
        text
    };
    let published =
        concat!("version = \"", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"), "\"");
    let from_registry = manifest(&["--set", "_purlin_path="]);
    assert!(from_registry.contains(published) && !from_registry.contains("clone"), "{from_registry}");
    let from_clone = manifest(&["--set", r#"_purlin_path=/a "b"\c"#]);
    assert!(from_clone.contains(r#"path = "/a \"b\"\\c""#), "{from_clone}");
    // Who reads it learns why nobody else can build it.
    assert!(from_clone.contains("# The path is a clone of Purlin on this machine") && from_clone.contains(published));

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let expected = match fs::read_to_string(root.join("Cargo.toml")) {
        Ok(text) if text.contains("\nname = \"purlin\"\n") => format!("path = \"{}\"", root.display()),
        _ => published.to_owned(),
    };
    assert!(manifest(&[]).contains(&expected));
}

#[test]
fn names_come_from_the_path() {
    for (path, name, slug) in [
        ("my-site", "My Site", "my-site"),
        ("a_b-c", "A B C", "a_b-c"),
        ("deep/down/shop", "Shop", "shop"),
        ("shop/", "Shop", "shop"),
        ("./shop", "Shop", "shop"),
        ("My Shop", "My Shop", "my-shop"),
        ("WebShop", "WebShop", "webshop"),
        ("web2", "Web2", "web2"),
        ("tests", "Tests", "tests"),
        ("generator", "Generator", "generator"),
    ] {
        let scratch = Scratch::new();
        scratch.template("t", NAMES, &[("names", "{{ cookiecutter.project_name }}/{{ cookiecutter.project_slug }}")]);
        scratch.purlin(&["new", path, "--template", "t", "--no-git"]).succeeds();
        let names = fs::read_to_string(scratch.path().join(path).join("names")).unwrap();
        assert_eq!(names, format!("{name}/{slug}"), "{path}");
    }
}

const NAMES: &str =
    r#"{"project_name": "X", "project_slug": "{{ cookiecutter.project_name | lower | replace(' ', '-') }}", "_x": ""}"#;

/// Names that cannot be, and a word of the reason. The cookiecutter tool's hook is held against the same table.
pub(crate) const BAD_NAMES: &[(&str, &str)] = &[
    ("", "empty"),
    ("9lives", "starts with 9"),
    ("-x", "starts with -"),
    ("_x", "starts with _"),
    ("my.site", "'.'"),
    ("caf\u{e9}", "character"),
    ("My-Site", "capital letter M"),
    ("my site", "space"),
    ("a/b", "'/'"),
    ("..", "'.'"),
    ("a\"b", "character"),
    ("a'b", "character"),
    ("a\\b", "character"),
    ("fn", "Rust language"),
    ("async", "Rust language"),
    ("gen", "Rust language"),
    ("self", "Rust language"),
    ("abstract", "Rust language"),
    ("test", "comes with Rust"),
    ("core", "comes with Rust"),
    ("std", "comes with Rust"),
    ("proc-macro", "comes with Rust"),
    ("deps", "cargo builds"),
    ("purlin", "the site uses"),
    ("serde", "the site uses"),
    ("nul", "Windows"),
    ("com1", "Windows"),
    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "at most 64"),
];

pub(crate) const GOOD_NAMES: &[&str] = &[
    "a",
    "my-site",
    "my_site",
    "a1",
    "site-",
    "tests",
    "fnord",
    "com10",
    "purlin-site",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

#[test]
fn bad_names_are_refused_before_anything_is_written() {
    let scratch = Scratch::new();
    for (name, reason) in BAD_NAMES {
        let slug = format!("project_slug={name}");
        scratch
            .purlin(&["new", "site", "--set", &slug])
            .fails(2, &["project_slug cannot be", reason, "--set project_slug"]);
    }
    for path in ["9lives", "fn", "test", "core", "caf\u{e9}", "my.site", "x/9"] {
        scratch.purlin(&["new", path]).fails(2, &["project_slug cannot be"]);
    }
    for (arguments, reason) in [
        (["--name", " "], "it is empty"),
        (["--name", "a\nb"], "control character '\\n'"),
        (["--name", "{{ 1 }}"], "{{ starts an expression"),
        (["--description", "a {% b"], "{% starts an expression"),
        (["--description", "\x1b[31m"], "control character"),
    ] {
        scratch.purlin(&["new", "site", arguments[0], arguments[1]]).fails(2, &["cannot be", reason]);
    }
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn good_names_are_taken() {
    let scratch = Scratch::new();
    for name in GOOD_NAMES {
        scratch.purlin(&["new", name, "--no-git"]).succeeds();
    }
}

#[test]
fn a_choice_is_checked_against_its_list() {
    let scratch = Scratch::new();
    let questions = r#"{"project_slug": "x", "database": ["none", "sqlite", "postgres"], "auth": false}"#;
    scratch.template(
        "t",
        questions,
        &[("f", "{{ cookiecutter.database }} {{ cookiecutter.auth }}{% if cookiecutter.auth %}!{% endif %}")],
    );
    for (arguments, expected) in [
        (&[][..], "none False"),
        (&["--set", "database=sqlite"], "sqlite False"),
        (&["--set", "auth=YES", "--set", "database=none"], "none True!"),
        (&["--set", "auth=off"], "none False"),
    ] {
        scratch.purlin(&[&["new", "s", "--no-git", "--template", "t"], arguments].concat()).succeeds();
        assert_eq!(fs::read_to_string(scratch.path().join("s/f")).unwrap(), expected);
        fs::remove_dir_all(scratch.path().join("s")).unwrap();
    }
    for (pair, message) in [
        ("database=sqlit", "did you mean sqlite?"),
        ("database=oracle", "one of none, sqlite, postgres"),
        ("auth=maybe", "yes or no"),
    ] {
        scratch.purlin(&["new", "s", "--template", "t", "--set", pair]).fails(2, &["cannot be", message]);
    }
}

#[test]
fn nothing_that_is_there_is_touched() {
    let scratch = Scratch::new();
    scratch.write("full/src/lib.rs", "mine");
    scratch.write("full/a", "");
    scratch.write("hidden/.keep", "");
    scratch.write("file", "mine");
    let before = tree(scratch.path());
    for (path, message) in [
        ("full", "full is not empty: it holds a, src"),
        ("hidden", "hidden is not empty: it holds .keep"),
        ("file", "file is there already, and not a folder"),
        ("file/site", "could not"),
        (".", ". is not empty: it holds file, full, hidden"),
    ] {
        scratch.purlin(&["new", path, "--set", "project_slug=x"]).fails(1, &[message]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", scratch.path().join("link")).unwrap();
        scratch.purlin(&["new", "link"]).fails(1, &["link is there already"]);
        fs::remove_file(scratch.path().join("link")).unwrap();
    }
    assert_eq!(tree(scratch.path()), before);
}

#[test]
fn an_empty_folder_is_filled_and_stays_the_same_folder() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("my-site");
    fs::create_dir(&folder).unwrap();
    // A handle on the folder sees what is made in it, as the shell that stands there would.
    let mut inside = purlin(&folder);
    let made = Outcome::of(inside.args(["new", ".", "--no-git"])).succeeds();
    assert!(!made.out.contains("cd "), "{}", made.out);
    scratch.purlin(&["new", "other/my-site", "--no-git"]).succeeds();
    same(&folder, &scratch.path().join("other/my-site"), "in place");
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::create_dir(scratch.path().join("kept")).unwrap();
        let number = || fs::metadata(scratch.path().join("kept")).unwrap().ino();
        let before = number();
        scratch.purlin(&["new", "kept"]).succeeds();
        assert_eq!(number(), before);
    }
}

#[test]
fn of_several_at_once_one_wins_and_the_others_leave_nothing() {
    let scratch = Scratch::new();
    let start = || {
        purlin(scratch.path())
            .args(["new", "deep/site", "--no-git"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let children: Vec<_> = (0..4).map(|_| start().unwrap()).collect();
    let won = children.into_iter().map(|mut child| child.wait().unwrap()).filter(|status| status.success()).count();
    assert_eq!(won, 1);
    let parent: Vec<_> =
        fs::read_dir(scratch.path().join("deep")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(parent, ["site"]);
    scratch.purlin(&["new", "other/site", "--no-git"]).succeeds();
    same(&scratch.path().join("deep/site"), &scratch.path().join("other/site"), "the winner");
}

#[test]
fn a_repository_is_made_unless_there_is_one() {
    let scratch = Scratch::new();
    if Command::new("git").arg("--version").output().is_err() {
        left_out("git init for new sites, since git is not installed");
        return;
    }
    let out = scratch.purlin(&["new", "alone"]).succeeds().out;
    assert!(out.contains("git: a new repository"), "{out}");
    assert!(scratch.path().join("alone/.git/HEAD").is_file());

    let out = scratch.purlin(&["new", "alone/nested"]).succeeds().out;
    assert!(out.contains("git: part of the repository") && out.contains("alone\n"), "{out}");
    assert!(!scratch.path().join("alone/nested/.git").exists());

    let out = scratch.purlin(&["new", "without", "--no-git"]).succeeds().out;
    assert!(!out.contains("git:"), "{out}");
    assert!(!scratch.path().join("without/.git").exists());

    // As in a hook: git would take the variable for the repository to initialise.
    let elsewhere = scratch.path().join("elsewhere");
    Outcome::of(purlin(scratch.path()).args(["new", "hooked"]).env("GIT_DIR", &elsewhere)).succeeds();
    assert!(scratch.path().join("hooked/.git/HEAD").is_file() && !elsewhere.exists());
}

#[test]
fn a_missing_or_failing_git_is_said_and_no_failure() {
    let scratch = Scratch::new();
    let made = Outcome::of(purlin(scratch.path()).args(["new", "a"]).env("PATH", scratch.path())).succeeds();
    assert!(made.out.contains("git: not found"), "{}", made.out);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        scratch.write("bin/git", "#!/bin/sh\necho 'fatal: no' >&2\nexit 128\n");
        let git = scratch.path().join("bin/git");
        fs::set_permissions(git, fs::Permissions::from_mode(0o755)).unwrap();
        let made =
            Outcome::of(purlin(scratch.path()).args(["new", "b"]).env("PATH", scratch.path().join("bin"))).succeeds();
        assert!(made.out.contains("git init said: fatal: no"), "{}", made.out);
    }
}
