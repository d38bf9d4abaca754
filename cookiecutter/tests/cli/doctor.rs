//! `purlin doctor`: what it finds, and the remedies. What only a built site can tell is seen by `.ci/run`.

use crate::support::{Outcome, Scratch, left_out, purlin};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

fn doctor(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = purlin(folder);
    command.arg("doctor").args(arguments).env_remove("PURLIN__SECRET").env_remove("PURLIN_ENV");
    command
}

/// What is found about this, as `state: what it says → remedy`.
fn found(outcome: &Outcome, about: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(&outcome.out).unwrap_or_else(|cause| panic!("{cause}: {outcome:#?}"));
    let list = list.as_array().unwrap().iter().filter(|finding| finding["about"] == about);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    list.map(|one| format!("{}: {} → {}", text(&one["state"]), text(&one["says"]), text(&one["remedy"]))).collect()
}

#[track_caller]
fn finds(command: &mut Command, about: &str, expected: &str) {
    let outcome = Outcome::of(command.args(["--no-build", "--json"]));
    let found = found(&outcome, about);
    assert!(found.iter().any(|line| line.contains(expected)), "no {expected:?} in {found:?}");
    let failed = outcome.out.contains("\"failed\"");
    assert_eq!(outcome.code, Some(i32::from(failed)), "{outcome:#?}");
}

/// A site whose development server listens at this port.
fn site(scratch: &Scratch, port: u16) -> std::path::PathBuf {
    scratch.purlin(&["new", "site", "--no-git"]).succeeds();
    let folder = scratch.path().join("site");
    let config = folder.join("config/development.toml");
    let text = fs::read_to_string(&config).unwrap().replace("127.0.0.1:8000", &format!("127.0.0.1:{port}"));
    fs::write(config, text).unwrap();
    folder
}

#[test]
fn outside_of_a_site_it_looks_at_the_machine() {
    let scratch = Scratch::new();
    let outcome = Outcome::of(&mut doctor(scratch.path(), &[])).succeeds();
    for line in ["rustc", "cargo", "git", "no Purlin site here, nor in a folder above: only the machine was looked at"]
    {
        assert!(outcome.out.contains(line), "no {line:?} in {}", outcome.out);
    }
    assert!(!outcome.out.contains("port"), "{}", outcome.out);
}

#[test]
fn a_missing_tool_is_a_failure_with_a_remedy() {
    let scratch = Scratch::new();
    let mut command = doctor(scratch.path(), &[]);
    let outcome = Outcome::of(command.env("PATH", scratch.path()));
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    for line in ["failed   rustc      Rust is not installed", "→ install it from https://rustup.rs", "warning  git"] {
        assert!(outcome.out.contains(line), "no {line:?} in {}", outcome.out);
    }
}

#[cfg(unix)]
#[test]
fn an_old_compiler_is_a_failure() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    scratch.write("bin/rustc", "#!/bin/sh\necho 'rustc 1.70.0 (90c541806 2023-05-31)'\n");
    fs::set_permissions(scratch.path().join("bin/rustc"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = doctor(scratch.path(), &[]);
    finds(
        command.env("PATH", scratch.path().join("bin")),
        "rustc",
        "is the oldest that will do → rustup update stable",
    );
}

#[test]
fn a_port_that_is_taken_is_told_with_who_has_it() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = site(&scratch, port);
    finds(&mut doctor(&site, &[]), "port", &format!("warning: 127.0.0.1:{port} is taken"));
    finds(&mut doctor(&site, &[]), "port", &format!("cargo run -- --listen 127.0.0.1:{}", port.wrapping_add(1)));
    #[cfg(target_os = "linux")]
    finds(&mut doctor(&site, &[]), "port", &format!("by process {}, ", std::process::id()));
    drop(listener);
    finds(&mut doctor(&site, &[]), "port", "ok: ");
}

/// Who may not listen there is not the one who will, and whoever may is told that it is free.
#[test]
fn a_port_that_only_a_service_may_have_is_no_failure() {
    let scratch = Scratch::new();
    let site = site(&scratch, 1);
    let outcome = Outcome::of(&mut doctor(&site, &["--no-build", "--json"]));
    let found = found(&outcome, "port");
    assert!(found.len() == 1 && !found[0].starts_with("failed"), "{found:?}");
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_could_read_is_a_failure() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let site = site(&scratch, 0);
    finds(&mut doctor(&site, &[]), "secret", "ok: .purlin/secret is made at the first start");
    scratch.write("site/.purlin/secret", "x");
    let mode = |mode| fs::set_permissions(site.join(".purlin/secret"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    finds(
        &mut doctor(&site, &[]),
        "secret",
        "failed: others can read .purlin/secret (mode 644) → chmod 600 .purlin/secret",
    );
    mode(0o600);
    finds(&mut doctor(&site, &[]), "secret", "ok: .purlin/secret is readable by you alone");
    if Command::new("git").arg("--version").output().is_err() {
        left_out("whether git keeps the secret, since git is not installed");
        return;
    }
    let git = |words: &[&str]| Outcome::of(Command::new("git").args(words).current_dir(&site)).succeeds();
    git(&["init", "--quiet"]);
    finds(&mut doctor(&site, &[]), "secret", "ok: .purlin/secret is readable by you alone");
    fs::write(site.join(".gitignore"), "/target\n").unwrap();
    finds(
        &mut doctor(&site, &[]),
        "secret",
        "failed: git does not ignore .purlin/secret → echo /.purlin >> .gitignore",
    );
    git(&["add", ".purlin/secret"]);
    finds(&mut doctor(&site, &[]), "secret", "failed: git keeps .purlin/secret → git rm --cached");
}

#[test]
fn production_needs_a_secret_of_its_own() {
    let scratch = Scratch::new();
    let site = site(&scratch, 0);
    let missing = "failed: PURLIN__SECRET is not set: the site would not start in production → export PURLIN__SECRET=";
    finds(&mut doctor(&site, &["--production"]), "secret", missing);
    finds(
        doctor(&site, &["--production"]).env("PURLIN__SECRET", "short"),
        "secret",
        "failed: PURLIN__SECRET is too short",
    );
    let long = "0123456789012345678901234567890123456789";
    let outcome = Outcome::of(doctor(&site, &["--production", "--no-build"]).env("PURLIN__SECRET", long));
    assert!(outcome.out.contains("PURLIN__SECRET is set") && !outcome.out.contains(long), "{outcome:#?}");
}

#[test]
fn versions_that_do_not_belong_together_are_told() {
    let scratch = Scratch::new();
    let site = site(&scratch, 0);
    let manifest = site.join("Cargo.toml");
    let own = env!("CARGO_PKG_VERSION");
    let purlin = |dependency: &str, lock: &str| {
        fs::write(&manifest, format!("[package]\nname = \"site\"\n[dependencies]\npurlin = {dependency}\n")).unwrap();
        fs::write(site.join("Cargo.lock"), format!("[[package]]\nname = \"purlin\"\nversion = \"{lock}\"\n")).unwrap();
    };
    purlin("\"0.1\"", own);
    finds(&mut doctor(&site, &[]), "purlin", &format!("ok: {own} by Cargo.lock"));
    // In a workspace it lies above.
    fs::rename(site.join("Cargo.lock"), scratch.path().join("Cargo.lock")).unwrap();
    finds(&mut doctor(&site, &[]), "purlin", &format!("ok: {own} by Cargo.lock"));
    purlin("\"0.0\"", "0.0.1");
    finds(&mut doctor(&site, &[]), "purlin", "then: purlin upgrade");
    purlin("\"9\"", "9.0.0");
    finds(&mut doctor(&site, &[]), "purlin", "warning: 9.0.0 by Cargo.lock, and this tool is of");
    finds(&mut doctor(&site, &[]), "purlin", "→ cargo install purlin-cli --version 9.0.0");
    // A clone beside the site, and one in the same repository.
    let version = |version: &str| {
        let text = format!("[package]\nname = \"purlin\"\nversion = \"{version}\"\n");
        scratch.write("clone/Cargo.toml", text);
    };
    version("9.0.0");
    purlin("{ path = \"../clone\" }", own);
    let tool = site.join("../clone/cookiecutter");
    finds(&mut doctor(&site, &[]), "purlin", &format!("→ cargo install --path {}", tool.display()));
    version(own);
    finds(&mut doctor(&site, &[]), "purlin", &format!("ok: {own} in ../clone"));
    let elsewhere = "warning: Cargo.toml takes Purlin from ../clone: nobody else can build the site, nor a container or CI → in \
                     the place of the path, put git = \"https://";
    finds(&mut doctor(&site, &[]), "purlin", elsewhere);
    fs::create_dir(scratch.path().join(".git")).unwrap();
    let outcome = Outcome::of(&mut doctor(&site, &["--no-build", "--json"]));
    assert_eq!(found(&outcome, "purlin").len(), 1, "{outcome:#?}");
    purlin("{ path = \"/nowhere\" }", own);
    finds(&mut doctor(&site, &[]), "purlin", "failed: Cargo.toml takes Purlin from /nowhere, and it is not there");
}

#[test]
fn a_lost_record_is_a_warning() {
    let scratch = Scratch::new();
    let site = site(&scratch, 0);
    finds(&mut doctor(&site, &[]), "record", "ok: .purlin.json knows");
    fs::remove_file(site.join(".purlin.json")).unwrap();
    finds(&mut doctor(&site, &[]), "record", "warning: there is no .purlin.json");
    fs::write(site.join(".purlin.json"), "no").unwrap();
    finds(&mut doctor(&site, &[]), "record", "→ git checkout .purlin.json");
}

/// Builds nothing but a program of a line: the site answers `check` by itself.
#[test]
fn what_the_site_says_of_itself_is_told_too() {
    let scratch = Scratch::new();
    let main = r##"fn main() {
        let words: Vec<String> = std::env::args().skip(1).collect();
        if words == ["check", "--json"] {
            println!(r#"[{{"about":"templates","state":"failed","says":"a.html: no","remedy":"mend it"}}]"#);
            std::process::exit(1);
        }
        if std::env::var("PURLIN_ENV").as_deref() == Ok("production") { eprintln!("error: config/production.toml:3: no"); std::process::exit(1) }
    }"##;
    // A dependency of that name which is none of the registry's.
    scratch.write("purlin/Cargo.toml", "[package]\nname = \"purlin\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    scratch.write("purlin/src/lib.rs", "");
    let manifest = "[package]\nname = \"site\"\nedition = \"2024\"\n[dependencies]\npurlin = { path = \"../purlin\" }\n[workspace]\n";
    scratch.write("site/Cargo.toml", manifest);
    scratch.write("site/src/main.rs", main);
    scratch.write("site/config/production.toml", "");
    let mut command = doctor(&scratch.path().join("site"), &["--json"]);
    let outcome = Outcome::of(command.env("CARGO_TARGET_DIR", scratch.path().join("target")));
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert_eq!(found(&outcome, "build"), ["ok: the site compiles → -"]);
    assert_eq!(found(&outcome, "templates"), ["failed: a.html: no → mend it"]);
    assert_eq!(
        found(&outcome, "settings"),
        ["failed: config/production.toml:3: no → mend it, then: PURLIN_ENV=production cargo run -- config"]
    );

    scratch.write("site/src/main.rs", "fn main() { nonsense }");
    let mut command = doctor(&scratch.path().join("site"), &["--json"]);
    let outcome = Outcome::of(command.env("CARGO_TARGET_DIR", scratch.path().join("target")));
    assert!(found(&outcome, "build")[0].starts_with("failed: error"), "{outcome:#?}");
    assert!(found(&outcome, "build")[0].ends_with("→ cargo build"), "{outcome:#?}");
}
