//! The cookiecutter tool from PyPI and `purlin new` write the same bytes, but for the record that `purlin upgrade` goes by.

use crate::making::{BAD_NAMES, GOOD_NAMES};
use crate::support::{Outcome, Scratch, left_out, purlin, same, tree};
use std::fs;
use std::path::Path;
use std::process::Command;

const TEMPLATE: &str = env!("CARGO_MANIFEST_DIR");

/// The tool, on PATH or as a module of python3; says so when there is neither.
fn tool() -> Option<Vec<&'static str>> {
    let candidates = [vec!["cookiecutter"], vec!["python3", "-m", "cookiecutter"]];
    let works = |words: &Vec<&str>| {
        let output = Command::new(words[0]).args(&words[1..]).arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().find(works);
    if found.is_none() {
        left_out("the comparison with the cookiecutter tool; python3 -m pip install cookiecutter, then run this again");
    }
    found
}

fn cookiecutter(tool: &[&str], scratch: &Scratch, template: &Path, out: &str, values: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(tool[0]);
    command.args(&tool[1..]).args(["--no-input", "--default-config", "-o"]).arg(scratch.path().join(out)).arg(template);
    command.args(values.iter().map(|(key, value)| format!("{key}={value}")));
    // It keeps a replay file there.
    Outcome::of(command.env("HOME", scratch.path()).current_dir(scratch.path()))
}

/// Both tools, with the same values; `project_slug` must be among them.
#[track_caller]
fn compare(tool: &[&str], scratch: &Scratch, template: Option<&Path>, values: &[(&str, &str)]) {
    let slug = values.iter().find(|(key, _)| *key == "project_slug").expect("a slug").1;
    let case = format!("{values:?}");
    cookiecutter(tool, scratch, template.unwrap_or(Path::new(TEMPLATE)), "theirs", values).succeeds();
    let mut ours = purlin(scratch.path());
    ours.args(["new", &format!("ours/{slug}"), "--no-git"]);
    ours.args(values.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]));
    ours.args(template.iter().flat_map(|template| ["--template".as_ref(), template.as_os_str()]));
    Outcome::of(&mut ours).succeeds();
    fs::remove_file(scratch.path().join("ours").join(slug).join(".purlin.json")).expect("the record");
    same(&scratch.path().join("ours"), &scratch.path().join("theirs"), &case);
    for folder in ["ours", "theirs"] {
        fs::remove_dir_all(scratch.path().join(folder)).unwrap();
    }
}

#[test]
fn the_site_is_the_same_byte_for_byte() {
    let Some(tool) = tool() else { return };
    let scratch = Scratch::new();
    let basic = [("project_name", "My Site"), ("project_slug", "my-site"), ("_purlin_path", "")];
    compare(&tool, &scratch, None, &basic);
    compare(
        &tool,
        &scratch,
        None,
        &[basic[1], ("project_name", r#"Café "\" 'q' <&> $x `"#), ("_purlin_path", "/a b\\\"c")],
    );
    compare(
        &tool,
        &scratch,
        None,
        &[basic[1], ("project_name", "x"), ("description", "\u{df} \u{4e2d} #}} %}"), ("_purlin_path", "/x")],
    );
}

/// The answers to all questions that have few: every combination there is.
fn combinations() -> Vec<Vec<(String, String)>> {
    let questions = fs::read_to_string(Path::new(TEMPLATE).join("cookiecutter.json")).unwrap();
    let questions: serde_json::Value = serde_json::from_str(&questions).unwrap();
    let mut all = vec![Vec::new()];
    for (key, value) in questions.as_object().unwrap().iter().filter(|(key, _)| !key.starts_with('_')) {
        let options: Vec<&str> = match value {
            serde_json::Value::Array(options) => options.iter().filter_map(|option| option.as_str()).collect(),
            serde_json::Value::Bool(_) => vec!["no", "yes"],
            _ => continue,
        };
        let with = |answers: &Vec<(String, String)>, option: &str| {
            let mut answers = answers.clone();
            answers.push((key.clone(), option.to_owned()));
            answers
        };
        all = all
            .iter()
            .flat_map(|answers| options.iter().map(|option| with(answers, option)).collect::<Vec<_>>())
            .collect();
    }
    assert!(all.len() > 20, "{all:?}");
    all
}

#[test]
fn every_combination_is_the_same_or_refused_by_both() {
    let Some(tool) = tool() else { return };
    let scratch = Scratch::new();
    let mut refused = 0;
    for answers in combinations() {
        let mut values = vec![("project_name", "My Site"), ("project_slug", "my-site"), ("_purlin_path", "/p")];
        values.extend(answers.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let set = values.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let ours = scratch.purlin(&["new".to_owned(), "tried".to_owned()].into_iter().chain(set).collect::<Vec<_>>());
        if ours.code == Some(0) {
            fs::remove_dir_all(scratch.path().join("tried")).unwrap();
            compare(&tool, &scratch, None, &values);
            continue;
        }
        refused += 1;
        let reason = ours.err.trim_start_matches("error: ").trim();
        let theirs = cookiecutter(&tool, &scratch, Path::new(TEMPLATE), "theirs", &values);
        assert!(theirs.code != Some(0) && theirs.err.contains(reason), "{values:?} {reason} {theirs:?}");
        assert!(!scratch.path().join("tried").exists() && !scratch.path().join("theirs/my-site").exists());
    }
    assert_eq!(refused, 4, "sign-in without a database, and nothing else");
}

#[test]
fn every_combination_is_formatted_and_can_be_read() {
    let scratch = Scratch::new();
    let formatter = Command::new("rustfmt").arg("--version").output().is_ok_and(|output| output.status.success());
    if !formatter {
        left_out("the format of generated sites; rustup component add rustfmt, then run this again");
    }
    // The formatter breaks lines that a long name makes long, and sorts names before and after `purlin`.
    let names = ["my-site", "zoological-garden-of-a-town-at-the-sea"];
    for (name, answers) in names.into_iter().flat_map(|name| combinations().into_iter().map(move |all| (name, all))) {
        let set = answers.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let new = ["new", name, "--no-git"].map(str::to_owned);
        if scratch.purlin(&new.into_iter().chain(set).collect::<Vec<_>>()).code != Some(0) {
            continue;
        }
        let site = scratch.path().join(name);
        let mut sources = Vec::new();
        for (name, node) in tree(&site) {
            let Some((bytes, _)) = node else { continue };
            let text = String::from_utf8(bytes).unwrap();
            let written = |mark: &str| text.lines().any(|line| line.contains(mark));
            assert!(!written("cookiecutter."), "{answers:?} {name}");
            assert!(text.ends_with('\n') && !text.ends_with("\n\n") && !text.contains("\n\n\n"), "{answers:?} {name}");
            if name.ends_with(".toml") || name == "Cargo.lock" {
                toml::from_str::<toml::Table>(&text).unwrap_or_else(|error| panic!("{answers:?} {name}: {error}"));
            }
            if name.ends_with(".rs") {
                sources.push(site.join(name));
            }
        }
        if formatter {
            let mut command = Command::new("rustfmt");
            Outcome::of(command.args(["--edition", "2024", "--check"]).args(&sources)).succeeds();
        }
        fs::remove_dir_all(site).unwrap();
    }
}

#[test]
fn a_template_with_everything_in_it_comes_out_the_same() {
    let Some(tool) = tool() else { return };
    let questions = r#"{
        "project_name": "X",
        "project_slug": "x",
        "port": 8000,
        "database": ["none", "sqlite"],
        "auth": false,
        "css": true,
        "_private": "{{ not rendered }}",
        "_flag": true,
        "__crate": "{{ cookiecutter.project_slug.replace('-', '_') }}",
        "_copy_without_render": ["templates/*", "*.tera", "whole", "[ab]?/{*"],
        "_jinja2_env_vars": { "trim_blocks": true, "lstrip_blocks": true },
        "__prompts__": { "project_name": "Name", "database": { "__prompt__": "Which", "none": "no" } }
    }"#;
    let files = [
        ("Cargo{{''}}.toml", "name = \"{{ cookiecutter.project_slug }}\"\n"),
        (
            "{{cookiecutter.__crate}}/{{ cookiecutter.port }}.txt",
            "{{ cookiecutter._private }} {{ cookiecutter._flag }}",
        ),
        ("{% if cookiecutter.database == 'sqlite' %}db.rs{% endif %}", "{{ cookiecutter.database }}"),
        ("src/{% if cookiecutter.auth %}auth.rs{% endif %}", "{{ cookiecutter.auth }}"),
        ("src/main.rs", "fn main() { /* {{ cookiecutter.project_name }} */ }\n\n\n"),
        ("src/no_newline", "{{ cookiecutter.css }}"),
        ("src/empty", ""),
        (
            "src/blocks",
            "a\n  {% if cookiecutter.auth %}\n  b\n  {% else %}\n  c\n  {% endif %}\n  {# aside #}\nd {%- if 1 %} e {% endif %}\nf\n  {% raw -%}\n{{ x }}\n{% endraw %}\n",
        ),
        ("src/crlf", "a {{ cookiecutter.port }}\r\nb\r\n{% if cookiecutter.css %}\r\nc\r\n{% endif %}\r\nd"),
        ("src/cr", "a {{ cookiecutter.port }}\rb\r"),
        ("src/mixed", "a\r\nb {{ cookiecutter.port }}\nc\r\n"),
        ("src/mixed_cr", "a\nb\rc {{ cookiecutter.port }}\n"),
        ("src/bom", "\u{feff}{{ cookiecutter.port }}\n"),
        ("src/umlaut", "\u{e4}\u{f6}\u{fc} {{ cookiecutter.project_name }} \u{1f600}\n"),
        ("src/ci.yml", "on: ${{ '{{' }} github.ref }}\n"),
        ("src/page.tera", "{{ mine }}\r\n{{ cookiecutter.port }}\n"),
        ("templates/layout.html", "{% block x %}{{ y }}{% endblock %}"),
        ("templates/{{cookiecutter.database}}.html", "{{ y }}"),
        ("templates/errors/{{ kept }}.html", "{{ y }}"),
        ("whole/{{ kept }}/{% if %}", "{{ y }}"),
        ("a1/{{cookiecutter.port}}", "{{ y }}"),
        ("c1/{{cookiecutter.port}}", "{{ cookiecutter.port }}"),
        (".hidden/.file", "{{ cookiecutter.port }}"),
        ("static/a.pdf", "{{ y }}"),
    ];
    let scratch = Scratch::new();
    scratch.template("t", questions, &files);
    let root = scratch.path().join("t/{{cookiecutter.project_slug}}");
    fs::write(root.join("static/nul"), b"\0\x01\x02{{ y }}\0\0\x7fELF\0\0\xff\xfe\0").unwrap();
    fs::write(root.join("static/icon.png"), b"\x89PNG\r\n\x1a\n{{ y }}\0").unwrap();
    fs::create_dir_all(root.join("void/{{cookiecutter.port}}")).unwrap();
    fs::create_dir_all(root.join("templates/void/deep")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for name in ["src/blocks", "templates/layout.html", "static/icon.png", "templates/errors/{{ kept }}.html"] {
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    let template = scratch.path().join("t");
    let slug = ("project_slug", "my-site");
    compare(&tool, &scratch, Some(&template), &[slug, ("project_name", "My Site")]);
    compare(&tool, &scratch, Some(&template), &[slug, ("project_name", "b"), ("database", "sqlite"), ("port", "0")]);
    compare(
        &tool,
        &scratch,
        Some(&template),
        &[slug, ("project_name", "c"), ("auth", "Y"), ("css", "off"), ("_flag", "no")],
    );
    compare(&tool, &scratch, Some(&template), &[slug, ("project_name", " d "), ("_private", "{{ x }}")]);

    scratch.template("t", &questions.replacen('{', r#"{ "_new_lines": "\r\n","#, 1), &files);
    compare(&tool, &scratch, Some(&template), &[slug, ("project_name", "e")]);
}

#[test]
fn the_hook_refuses_the_same_names() {
    if Command::new("python3").arg("--version").output().is_err() {
        left_out("the hook for the cookiecutter tool, since python3 is not installed");
        return;
    }
    let hook = fs::read_to_string(Path::new(TEMPLATE).join("hooks/pre_gen_project.py")).unwrap();
    let hook = hook.replace("{{ cookiecutter.__refused | tojson }}", "\"\"");
    let marker = "{{ cookiecutter.project_slug | tojson }}";
    assert!(hook.contains(marker));
    let refuses = |name: &str| {
        let script = hook.replace(marker, &serde_json::to_string(name).unwrap());
        let output = Command::new("python3").args(["-c", &script]).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.is_empty() || message.starts_with("project_slug cannot be"), "{message}");
        !output.status.success()
    };
    for (name, _) in BAD_NAMES {
        assert!(refuses(name), "{name}");
    }
    for name in GOOD_NAMES {
        assert!(!refuses(name), "{name}");
    }
    let Some(tool) = tool() else { return };
    let scratch = Scratch::new();
    let outcome = cookiecutter(&tool, &scratch, Path::new(TEMPLATE), "theirs", &[("project_slug", "test")]);
    assert!(outcome.code != Some(0) && outcome.err.contains("project_slug cannot be 'test'"), "{outcome:?}");
    assert!(!scratch.path().join("theirs/test").exists());
}
