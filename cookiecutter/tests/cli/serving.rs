//! `purlin new --serve`.

use crate::support::{Outcome, Scratch, purlin};
use std::path::Path;
use std::process::Command;

/// A site without dependencies, which builds in a second and needs no network.
fn serve(scratch: &Scratch, main: &str) -> Command {
    let manifest = "[package]\nname = \"{{ cookiecutter.project_slug }}\"\nedition = \"2024\"\n[workspace]\n";
    scratch.template("t", r#"{"project_slug": "x"}"#, &[("Cargo{{''}}.toml", manifest), ("src/main.rs", main)]);
    let mut command = purlin(scratch.path());
    command.args(["new", "my-site", "--serve", "--no-git", "--template", "t"]);
    command.env("CARGO_TARGET_DIR", scratch.path().join("target"));
    command
}

#[test]
fn the_site_is_run_and_its_exit_code_is_ours() {
    let scratch = Scratch::new();
    let main =
        r#"fn main() { println!("served in {}", std::env::current_dir().unwrap().display()); std::process::exit(7); }"#;
    let outcome = Outcome::of(&mut serve(&scratch, main));
    assert_eq!(outcome.code, Some(7), "{outcome:#?}");
    let here = Path::new("my-site").display();
    assert!(outcome.out.contains(&format!("building and serving it: cargo run in {here}")), "{outcome:#?}");
    assert!(outcome.out.ends_with("my-site\n"), "{outcome:#?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_reaches_the_site_and_the_tool_waits_for_it() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;
    let scratch = Scratch::new();
    // Waits for its input, which stays open.
    let main = r#"fn main() { println!("ready"); std::io::stdin().read_line(&mut String::new()).unwrap(); }"#;
    let mut child =
        serve(&scratch, main).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "ready"));
    assert!(Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().signal(), Some(2));
}

#[test]
fn a_missing_cargo_is_said_and_the_site_is_there() {
    let scratch = Scratch::new();
    let mut command = serve(&scratch, "fn main() {}");
    command.env_remove("CARGO").env("PATH", scratch.path());
    Outcome::of(&mut command).fails(1, &["could not find cargo", "the site is made", "https://rustup.rs"]);
    assert!(scratch.path().join("my-site/src/main.rs").is_file());
}
