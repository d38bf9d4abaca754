//! `purlin upgrade`: what a newer template comes to in a site that has gone its own way.

use crate::support::{Outcome, Scratch, left_out, purlin, tree};
use std::fs;
use std::path::Path;
use std::process::Command;

const QUESTIONS: &str =
    r#"{"project_slug": "x", "database": ["none", "sqlite"], "_purlin_version": "0", "_purlin_path": ""}"#;
const MANIFEST: &str = "[package]\nname = \"{{ cookiecutter.project_slug }}\"\n[dependencies]\npurlin = \"0\"\n";
const LINES: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";

fn has_git() -> bool {
    let found = Command::new("git").arg("--version").output().is_ok();
    if !found {
        left_out("what purlin upgrade does by git, which is not installed");
    }
    found
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]).args(arguments);
    Outcome::of(git.current_dir(folder)).succeeds().out
}

/// A template `t` with these files, and a site `site` made from it, in a repository with one commit.
fn site(scratch: &Scratch, files: &[(&str, &str)]) {
    scratch.template("t", QUESTIONS, &[&[("Cargo{{''}}.toml", MANIFEST)], files].concat());
    scratch.purlin(&["new", "site", "--template", "t", "--set", "database=sqlite"]).succeeds();
    commit(scratch);
}

fn commit(scratch: &Scratch) {
    let folder = scratch.path().join("site");
    if folder.join(".git").exists() {
        git(&folder, &["add", "."]);
        git(&folder, &["commit", "--quiet", "-m", "x"]);
    }
}

fn upgrade(scratch: &Scratch, arguments: &[&str]) -> Outcome {
    Outcome::of(purlin(&scratch.path().join("site")).arg("upgrade").args(arguments))
}

fn read(scratch: &Scratch, path: &str) -> String {
    fs::read_to_string(scratch.path().join("site").join(path)).unwrap()
}

#[test]
fn the_record_has_the_version_the_answers_and_an_id_for_each_file() {
    let scratch = Scratch::new();
    scratch.template("t", QUESTIONS, &[("Cargo{{''}}.toml", MANIFEST), ("a", "hello\n")]);
    scratch.purlin(&["new", "site", "--template", "t", "--no-git", "--set", "database=sqlite"]).succeeds();
    let text = read(&scratch, ".purlin.json");
    assert!(text.starts_with("{\n  \"about\": \"What `purlin new` wrote here, for `purlin upgrade`"), "{text}");
    assert!(text.contains("\n    \"a\": \"ce013625030ba8dba906f756967f9e9ca394464a\""), "one line a file: {text}");
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["purlin"], env!("CARGO_PKG_VERSION"));
    assert_eq!(record["template"], "t");
    assert_eq!(record["answers"]["database"], "sqlite");
    assert_eq!(record["answers"]["project_slug"], "site");
    let files: Vec<&String> = record["files"].as_object().unwrap().keys().collect();
    assert_eq!(files, ["Cargo.toml", "a"]);
}

#[test]
fn a_new_site_has_nothing_to_upgrade() {
    let scratch = Scratch::new();
    scratch.purlin(&["new", "site", "--no-git", "--database", "sqlite", "--auth"]).succeeds();
    let before = tree(scratch.path());
    let outcome = upgrade(&scratch, &[]).succeeds();
    assert_eq!(outcome.out, "");
    assert!(outcome.err.contains("nothing has changed that the site does not have"), "{}", outcome.err);
    assert_eq!(tree(scratch.path()), before);
}

#[test]
fn what_the_template_changed_is_a_patch_beside_what_the_site_changed() {
    if !has_git() {
        return;
    }
    let scratch = Scratch::new();
    site(
        &scratch,
        &[
            ("untouched", "old {{ cookiecutter.database }}\n"),
            ("both", LINES),
            ("mine", LINES),
            ("same", "s\n"),
            ("gone", "g\n"),
            ("away", "a\n"),
        ],
    );
    scratch.write("site/both", LINES.replace("two", "TWO"));
    scratch.write("site/mine", LINES.replace("ten", "TEN"));
    fs::remove_file(scratch.path().join("site/away")).unwrap();
    commit(&scratch);

    let template = "t/{{cookiecutter.project_slug}}/";
    scratch.write(&format!("{template}untouched"), "new {{ cookiecutter.database }}\n");
    scratch.write(&format!("{template}both"), LINES.replace("nine", "NINE"));
    scratch.write(&format!("{template}away"), "b\n");
    scratch.write(&format!("{template}deep/fresh"), "f\n");
    fs::remove_file(scratch.path().join(format!("{template}gone"))).unwrap();
    let before = tree(scratch.path());

    let outcome = upgrade(&scratch, &[]).succeeds();
    assert_eq!(tree(scratch.path()), before, "it only prints");
    for line in ["-old sqlite", "+new sqlite", "-nine", "+NINE", " TWO", "--- /dev/null\n+++ b/deep/fresh", "index "] {
        let found = outcome.out.contains(line) || line == " TWO";
        assert!(found, "no {line:?} in {}", outcome.out);
    }
    assert!(
        !outcome.out.contains("two") && !outcome.out.contains("b/mine") && !outcome.out.contains("b/same"),
        "{}",
        outcome.out
    );
    for note in [
        "3 files have changed: both, deep/fresh, untouched",
        "gone: the template has it no more",
        "away: changed in the template, and you have deleted it",
    ] {
        assert!(outcome.err.contains(note), "no {note:?} in {}", outcome.err);
    }

    // git takes it, by three ways too; and --apply does the same.
    let folder = scratch.path().join("site");
    let mut apply = Command::new("git");
    Outcome::fed(apply.args(["apply", "--3way", "-"]).current_dir(&folder), &outcome.out).succeeds();
    assert_eq!(read(&scratch, "both"), LINES.replace("two", "TWO").replace("nine", "NINE"));
    git(&folder, &["reset", "--quiet", "--hard"]);
    let applied = upgrade(&scratch, &["--apply"]).succeeds();
    assert!(applied.out.contains("applied; look at it"), "{}", applied.out);
    assert_eq!(read(&scratch, "both"), LINES.replace("two", "TWO").replace("nine", "NINE"));
    assert_eq!((read(&scratch, "untouched").as_str(), read(&scratch, "deep/fresh").as_str()), ("new sqlite\n", "f\n"));
    commit(&scratch);
    let again = upgrade(&scratch, &[]).succeeds();
    assert!(again.out.is_empty() && again.err.contains("nothing has changed"), "{again:?}");

    // The next change is told from what this one brought, though that is in no commit.
    scratch.write(&format!("{template}both"), LINES.replace("nine", "nine!"));
    git(&folder, &["gc", "--quiet", "--prune=now"]);
    let next = upgrade(&scratch, &[]).succeeds().out;
    assert!(next.contains("-NINE\n+nine!\n") && !next.contains("<<<"), "{next}");
}

#[test]
fn git_takes_the_patch_of_a_site_that_is_a_folder_of_its_repository() {
    if !has_git() {
        return;
    }
    let scratch = Scratch::new();
    git(scratch.path(), &["init", "--quiet"]);
    scratch.template("t", QUESTIONS, &[("Cargo{{''}}.toml", MANIFEST), ("a", LINES), ("b", "old\n")]);
    scratch.purlin(&["new", "sites/one", "--template", "t"]).succeeds();
    let site = scratch.path().join("sites/one");
    fs::write(site.join("a"), LINES.replace("two", "TWO")).unwrap();
    git(scratch.path(), &["add", "."]);
    git(scratch.path(), &["commit", "--quiet", "-m", "x"]);
    let template = "t/{{cookiecutter.project_slug}}/";
    scratch.write(&format!("{template}a"), LINES.replace("nine", "NINE"));
    scratch.write(&format!("{template}b"), "new\n");
    scratch.write(&format!("{template}deep/c"), "c\n");
    let upgrade = Outcome::of(purlin(&site).args(["upgrade", "--template", "../../t"])).succeeds();
    assert!(upgrade.out.contains("+++ b/sites/one/deep/c\n"), "{}", upgrade.out);
    // From the site's folder, and from that of the repository.
    for folder in [&site, scratch.path()] {
        let mut apply = Command::new("git");
        Outcome::fed(apply.args(["apply", "--3way", "-"]).current_dir(folder), &upgrade.out).succeeds();
        let read = |path: &str| fs::read_to_string(site.join(path)).unwrap();
        assert_eq!(read("a"), LINES.replace("two", "TWO").replace("nine", "NINE"));
        assert_eq!((read("b").as_str(), read("deep/c").as_str()), ("new\n", "c\n"));
        git(scratch.path(), &["reset", "--quiet", "--hard"]);
    }
}

#[test]
fn a_conflict_is_marked_and_named() {
    if !has_git() {
        return;
    }
    let scratch = Scratch::new();
    site(&scratch, &[("both", LINES), ("other", LINES)]);
    scratch.write("site/both", LINES.replace("two", "mine"));
    commit(&scratch);
    scratch.write("t/{{cookiecutter.project_slug}}/both", LINES.replace("two", "theirs"));
    let outcome = upgrade(&scratch, &[]).succeeds();
    let version = env!("CARGO_PKG_VERSION");
    let marked = format!("+<<<<<<< yours\n mine\n+=======\n+theirs\n+>>>>>>> purlin {version}\n");
    assert!(outcome.out.contains(&marked), "{}", outcome.out);
    assert!(outcome.err.contains("both have changed the same lines of: both"), "{}", outcome.err);
    let applied = upgrade(&scratch, &["--apply"]);
    assert_eq!(applied.code, Some(1), "{applied:?}");
    assert!(applied.out.contains("mend the lines between <<<<<<< and >>>>>>> in both"), "{applied:?}");
    assert!(read(&scratch, "both").contains("<<<<<<< yours\nmine\n=======\ntheirs\n"));
}

#[test]
fn it_writes_into_a_clean_tree_only() {
    let scratch = Scratch::new();
    scratch.template("t", QUESTIONS, &[("Cargo{{''}}.toml", MANIFEST), ("a", "old\n")]);
    scratch.purlin(&["new", "site", "--template", "t", "--no-git"]).succeeds();
    scratch.write("t/{{cookiecutter.project_slug}}/a", "new\n");
    upgrade(&scratch, &["--apply"])
        .fails(1, &["in no git repository; nothing was written", "purlin upgrade | patch -p1"]);
    assert_eq!(read(&scratch, "a"), "old\n");
    if !has_git() {
        return;
    }
    git(&scratch.path().join("site"), &["init", "--quiet"]);
    commit(&scratch);
    scratch.write("site/mine", "not committed");
    upgrade(&scratch, &["--apply"]).fails(1, &["changes that are not committed; nothing was written", "git commit"]);
    assert_eq!(read(&scratch, "a"), "old\n");
    fs::remove_file(scratch.path().join("site/mine")).unwrap();
    // A formatter has been over the record, say.
    let record: serde_json::Value = serde_json::from_str(&read(&scratch, ".purlin.json")).unwrap();
    scratch.write("site/.purlin.json", record.to_string());
    commit(&scratch);
    upgrade(&scratch, &["--apply"]).succeeds();
    assert_eq!(read(&scratch, "a"), "new\n");
}

#[test]
fn without_git_what_was_not_touched_is_told_all_the_same() {
    let scratch = Scratch::new();
    scratch.template("t", QUESTIONS, &[("Cargo{{''}}.toml", MANIFEST), ("a", "old\n"), ("b", LINES)]);
    let without = |folder: &Path| {
        let mut command = purlin(folder);
        command.env("PATH", scratch.path());
        command
    };
    Outcome::of(without(scratch.path()).args(["new", "site", "--template", "t"])).succeeds();
    scratch.write("t/{{cookiecutter.project_slug}}/a", "new\n");
    scratch.write("t/{{cookiecutter.project_slug}}/b", LINES.replace("two", "2"));
    scratch.write("site/b", LINES.replace("ten", "10"));
    let outcome = Outcome::of(without(&scratch.path().join("site")).arg("upgrade")).succeeds();
    assert!(outcome.out.contains("-old\n+new\n") && !outcome.out.contains("b/b"), "{}", outcome.out);
    assert!(outcome.err.contains("b: both have changed it, and git does not have what it was"), "{}", outcome.err);
}

#[test]
fn a_lost_template_and_a_lost_record_are_said_with_the_remedy() {
    let scratch = Scratch::new();
    scratch.template("t", QUESTIONS, &[("Cargo{{''}}.toml", MANIFEST), ("a", "old\n")]);
    scratch.purlin(&["new", "site", "--template", "t", "--no-git"]).succeeds();
    fs::rename(scratch.path().join("t"), scratch.path().join("moved")).unwrap();
    upgrade(&scratch, &[]).fails(1, &["made from the template t, which is not there", "--template DIR"]);
    upgrade(&scratch, &["--template", "../moved"]).succeeds();
    upgrade(&scratch, &["--record"]).fails(1, &["there is a .purlin.json already"]);

    fs::remove_file(scratch.path().join("site/.purlin.json")).unwrap();
    upgrade(&scratch, &[])
        .fails(1, &["what the site was made from is not known", "cookiecutter", "purlin upgrade --record"]);
    let made = upgrade(&scratch, &["--record", "--template", "../moved", "--set", "database=sqlite"]).succeeds();
    assert!(made.out.contains("created .purlin.json"), "{}", made.out);
    let record: serde_json::Value = serde_json::from_str(&read(&scratch, ".purlin.json")).unwrap();
    assert_eq!((&record["answers"]["database"], &record["template"]), (&"sqlite".into(), &"../moved".into()));
    scratch.write("moved/{{cookiecutter.project_slug}}/a", "new\n");
    assert!(upgrade(&scratch, &[]).succeeds().out.contains("-old\n+new\n"));

    scratch.write("site/.purlin.json", "{ \"purlin\": 1 }");
    upgrade(&scratch, &[]).fails(1, &[".purlin.json: `purlin` is not a version"]);
}

#[test]
fn a_question_that_is_new_is_answered_as_by_default_or_by_set() {
    let scratch = Scratch::new();
    scratch.template("t", QUESTIONS, &[("Cargo{{''}}.toml", MANIFEST), ("a", "x\n")]);
    scratch.purlin(&["new", "site", "--template", "t", "--no-git"]).succeeds();
    let asks_more = QUESTIONS.replace("\"database\"", "\"colour\": [\"red\", \"blue\"], \"db\"");
    scratch.template("t", &asks_more, &[("a", "{{ cookiecutter.colour }}\n")]);
    assert!(upgrade(&scratch, &[]).succeeds().out.contains("+red\n"));
    assert!(upgrade(&scratch, &["--set", "colour=blue"]).succeeds().out.contains("+blue\n"));
    upgrade(&scratch, &["--set", "colour=green"]).fails(2, &["colour cannot be `green`"]);
    upgrade(&scratch, &["--set", "colur=red"]).fails(2, &["does not ask `colur`", "did you mean colour?"]);
    upgrade(&scratch, &["--apply", "--record"]).fails(2, &["cannot be together"]);
}
