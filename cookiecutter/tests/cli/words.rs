//! Commands, options and messages.

use crate::support::{Outcome, Scratch, purlin};

#[test]
fn help_and_version_are_one_word_away() {
    let scratch = Scratch::new();
    let list = scratch.purlin(&["help"]).succeeds().out;
    assert!(list.contains("new ") && list.contains("help "), "{list}");
    assert_eq!(scratch.purlin(&["--help"]).succeeds().out, list);
    assert_eq!(scratch.purlin(&["-h"]).succeeds().out, list);
    for command in ["new", "add", "doctor", "upgrade", "help"] {
        let help = scratch.purlin(&["help", command]).succeeds().out;
        assert!(help.starts_with(&format!("usage: purlin {command}")), "{help}");
        assert_eq!(scratch.purlin(&[command, "--help"]).succeeds().out, help);
        assert_eq!(scratch.purlin(&[command, "-h"]).succeeds().out, help);
    }
    for version in ["--version", "-V"] {
        assert_eq!(scratch.purlin(&[version]).succeeds().out, concat!("purlin ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

#[test]
fn the_command_line_is_checked_before_anything_is_done() {
    let scratch = Scratch::new();
    for (arguments, messages) in [
        (&[][..], &["there is no command", "new "][..]),
        (&["nwe", "x"], &["there is no command `nwe`", "did you mean purlin new?"]),
        (&["deploy"], &["there is no command `deploy`", "purlin help lists them"]),
        (&["routes"], &["there is no command `routes`", "a site has it, in its folder: cargo run -- routes"]),
        (&["help", "nwe"], &["there is no command `nwe`"]),
        (&["help", "new", "new"], &["unexpected argument `new`"]),
        (&["--verson"], &["unknown option --verson", "did you mean --version?"]),
        (&["--name", "x", "new"], &["unknown option --name", "after its name"]),
        (&["new"], &["there is no PATH", "purlin new my-site"]),
        (&["new", ""], &["there is no PATH"]),
        (&["new", "x", "y"], &["unexpected argument `y`", "purlin new --help"]),
        (&["new", "x", "--nogit"], &["unknown option --nogit", "did you mean --no-git?"]),
        (&["new", "x", "-x"], &["unknown option -x", "purlin new --help"]),
        (&["new", "x", "--name"], &["missing argument", "--name"]),
        (&["new", "x", "--no-git=yes"], &["--no-git"]),
        (&["new", "x", "--set", "database"], &["--set takes KEY=VALUE", "`database`"]),
        (&["new", "x", "--auth"], &["auth cannot be without a database", "choose sqlite or postgres"]),
        (&["new", "x", "--auth", "--database", "none"], &["auth cannot be without a database"]),
        (&["new", "x", "--database", "sqllite"], &["database cannot be `sqllite`: did you mean sqlite?"]),
        (&["new", "x", "--database"], &["missing argument", "--database"]),
        (&["new", "x", "--sessions", "files"], &["it is one of cookie, sqlite, redis, postgres"]),
        (&["new", "x", "--auth=yes"], &["--auth"]),
        (&["new", "x", "--set", "projct_slug=y"], &["does not ask `projct_slug`", "did you mean project_slug?"]),
        (&["new", "x", "--set", "colour=red"], &["does not ask `colour`", "project_name"]),
        (&["new", "x", "--set", "__crate_name=y"], &["does not ask `__crate_name`"]),
        (&["new", "x", "--set", "_copy_without_render=y"], &["does not ask `_copy_without_render`"]),
    ] {
        scratch.purlin(arguments).fails(2, messages);
        assert_eq!(scratch.names(), [""; 0], "{arguments:?}");
    }
}

#[test]
fn a_command_of_the_site_is_told_as_one_inside_of_it() {
    let scratch = Scratch::new();
    scratch.write("Cargo.toml", "[package]\nname = \"site\"\n[dependencies]\npurlin = \"0\"\n");
    for name in ["routes", "stack", "serve", "config", "check", "migrate"] {
        let remedy = format!("the site itself has it: cargo run -- {name}");
        scratch.purlin(&[name]).fails(2, &[&format!("there is no command `{name}`"), &remedy]);
    }
}

#[test]
fn a_pipe_gets_no_colours() {
    let scratch = Scratch::new();
    let made = scratch.purlin(&["new", "my-site"]).succeeds();
    let refused = scratch.purlin(&["new", "my-site"]);
    assert!(!format!("{}{}", made.out, refused.err).contains('\x1b'));
}

#[cfg(unix)]
#[test]
fn output_that_nobody_reads_is_no_failure_but_a_full_disk_is() {
    let scratch = Scratch::new();
    let through = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(scratch.path()).args(["-c", script, "sh"]).arg(purlin(scratch.path()).get_program());
        Outcome::of(&mut shell)
    };
    assert_eq!(through("{ \"$1\" help; echo $? >&2; } | true").err.trim(), "0");
    if std::path::Path::new("/dev/full").exists() {
        through("\"$1\" help > /dev/full").fails(1, &["could not write to standard output"]);
    }
}
