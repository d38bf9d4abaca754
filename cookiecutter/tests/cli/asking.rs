//! `purlin new --interactive`.

use crate::support::{Outcome, Scratch, purlin, same};
use std::fs;
use std::process::Command;

const QUESTIONS: &str = r#"{
    "project_name": "X",
    "project_slug": "{{ cookiecutter.project_name | lower | replace(' ', '-') }}",
    "description": "A site",
    "database": ["none", "sqlite"],
    "auth": false,
    "_private": "p",
    "__derived": "{{ cookiecutter.database }}",
    "__prompts__": {
        "project_name": "What is the site called",
        "database": { "__prompt__": "Database", "none": "no database", "sqlite": "a file" }
    }
}"#;
const FILE: &str = "{{ cookiecutter.project_name }}|{{ cookiecutter.project_slug }}|{{ cookiecutter.description }}|\
    {{ cookiecutter.__derived }}|{{ cookiecutter.auth }}|{{ cookiecutter._private }}";

/// The printed command, run by a shell in another folder with this program as `purlin`.
fn again(scratch: &Scratch, out: &str) -> String {
    let command = out.lines().map(str::trim).find(|line| line.starts_with("purlin new")).expect(out).to_owned();
    fs::create_dir_all(scratch.path().join("again")).unwrap();
    let program = purlin(scratch.path()).get_program().to_str().unwrap().to_owned();
    let mut shell = Command::new("sh");
    shell.current_dir(scratch.path().join("again"));
    shell.args(["-c", &format!("purlin() {{ \"$PURLIN\" \"$@\"; }}; {command}")]).env("PURLIN", program);
    Outcome::of(&mut shell).succeeds();
    command
}

#[cfg(unix)]
#[test]
fn the_printed_command_gives_the_same_site() {
    for (path, input, expected, command) in [
        ("my-site", "\n\n\n\n\n", "My Site|my-site|A site|none|False|p", "purlin new my-site --template ../t"),
        (
            "my-site",
            "It's\n\nall \"mine\" & $HOME \\ `x`\n2\ny\n",
            "It's|my-site|all \"mine\" & $HOME \\ `x`|sqlite|True|p",
            "purlin new my-site --auth --database sqlite --description 'all \"mine\" & $HOME \\ `x`' \
             --name 'It'\\''s' --template ../t",
        ),
        ("My Shop", "\nshop\n  \nsqlite\nno\n", "My Shop|shop|A site|sqlite|False|p", "purlin new 'My Shop' "),
        ("sp ace", "\n\n\n1\n\n", "sp ace|sp-ace|A site|none|False|p", "purlin new 'sp ace' --template ../t"),
    ] {
        let scratch = Scratch::new();
        scratch.template("t", QUESTIONS, &[("f", FILE)]);
        fs::create_dir(scratch.path().join("first")).unwrap();
        let mut first = purlin(&scratch.path().join("first"));
        let outcome = Outcome::fed(first.args(["new", path, "-i", "--template", "../t"]), input).succeeds();
        assert_eq!(fs::read_to_string(scratch.path().join("first").join(path).join("f")).unwrap(), expected);
        let printed = again(&scratch, &outcome.out);
        assert!(printed.starts_with(command), "{printed}");
        same(&scratch.path().join("first"), &scratch.path().join("again"), &printed);
    }
}

#[cfg(unix)]
#[test]
fn what_was_given_is_not_asked_and_stays_in_the_command() {
    let scratch = Scratch::new();
    scratch.template("t", QUESTIONS, &[("f", FILE)]);
    fs::create_dir(scratch.path().join("first")).unwrap();
    let mut first = purlin(&scratch.path().join("first"));
    first.args(["new", "s", "-i", "--no-git", "--template", "../t", "--name", "N", "--set", "_private=q"]);
    let outcome = Outcome::fed(&mut first, "\n\n\n\n").succeeds();
    assert!(!outcome.out.contains("What is the site called"), "{}", outcome.out);
    let printed = again(&scratch, &outcome.out);
    assert_eq!(printed, "purlin new s --set _private=q --name N --template ../t --no-git");
    same(&scratch.path().join("first"), &scratch.path().join("again"), &printed);
}

#[cfg(unix)]
#[test]
fn the_site_that_purlin_carries_can_be_asked_for_too() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("first")).unwrap();
    let mut first = purlin(&scratch.path().join("first"));
    let input = "A \"B\" \\ C\n\n".to_owned() + &"\n".repeat(20);
    let outcome = Outcome::fed(first.args(["new", "my-site", "-i"]), &input).succeeds();
    let printed = again(&scratch, &outcome.out);
    same(&scratch.path().join("first"), &scratch.path().join("again"), &printed);
}

#[test]
fn an_answer_that_cannot_be_with_another_is_asked_again_with_the_reason() {
    let scratch = Scratch::new();
    let input = "Shop\n\n\n1\ny\nno\nredis\n";
    let outcome = Outcome::fed(purlin(scratch.path()).args(["new", "shop", "-i", "--no-git"]), input).succeeds();
    assert!(outcome.out.contains("no: auth cannot be without a database"), "{}", outcome.out);
    assert_eq!(outcome.out.matches("5/6 Do people register and sign in").count(), 2, "{}", outcome.out);
    assert!(outcome.out.contains("purlin new shop --sessions redis --no-git"), "{}", outcome.out);

    // What was given is not asked again: then it is the other that has to change, or nothing can.
    let mut command = purlin(scratch.path());
    let outcome = Outcome::fed(command.args(["new", "with-users", "-i", "--auth"]), "\n\n\n\nsqlite\n\n").succeeds();
    assert_eq!(outcome.out.matches("4/6 Where is its data kept").count(), 2, "{}", outcome.out);
    let mut command = purlin(scratch.path());
    let both = ["new", "neither", "-i", "--auth", "--database", "none"];
    Outcome::fed(command.args(both), "\n\n\n\n").fails(2, &["auth cannot be without a database"]);
    assert!(!scratch.path().join("neither").exists());
}

#[test]
fn a_bad_answer_is_asked_again_with_the_reason() {
    let scratch = Scratch::new();
    scratch.template("t", QUESTIONS, &[("f", FILE)]);
    let mut command = purlin(scratch.path());
    command.args(["new", "test", "-i", "--template", "t"]);
    let outcome = Outcome::fed(&mut command, "{{ x }}\nShop\nfn\n9\nshop\n\n3\nsqllite\n2\nmaybe\nyes\n").succeeds();
    for line in [
        "1/5 What is the site called [Test]: ",
        "no: {{ starts an expression",
        "2/5 project_slug [shop]: ",
        "no: that is a word of the Rust language",
        "no: it starts with 9",
        "Database?\n      1  none    no database\n      2  sqlite  a file\n    Number or name [none]: ",
        "no: it is one of none, sqlite",
        "no: did you mean sqlite?",
        "5/5 auth [no]: ",
        "no: it is yes or no",
    ] {
        assert!(outcome.out.contains(line), "no {line:?} in {}", outcome.out);
    }
    assert_eq!(fs::read_to_string(scratch.path().join("test/f")).unwrap(), "Shop|shop|A site|sqlite|True|p");
}

#[test]
fn input_that_ends_too_early_writes_nothing() {
    let scratch = Scratch::new();
    let mut command = purlin(scratch.path());
    Outcome::fed(command.args(["new", "my-site", "-i"]), "Shop\n")
        .fails(1, &["before `project_slug` was answered", "nothing was written"]);
    assert_eq!(scratch.names(), [""; 0]);
}
