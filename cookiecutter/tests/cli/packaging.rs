//! What is published is what was tested.

use crate::support::tree;
use std::path::Path;
use std::process::Command;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_package_holds_the_whole_template() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--list", "--allow-dirty", "--offline", "--manifest-path"]);
    let output = cargo.arg(Path::new(CRATE).join("Cargo.toml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<&str> = listed.lines().collect();
    let folder = "{{cookiecutter.project_slug}}";
    let template = tree(&Path::new(CRATE).join(folder));
    let files = template.iter().filter(|(_, node)| node.is_some()).map(|(name, _)| format!("{folder}/{name}"));
    let scaffolds = tree(&Path::new(CRATE).join("scaffolds"));
    let scaffolds = scaffolds.iter().filter(|(_, node)| node.is_some()).map(|(name, _)| format!("scaffolds/{name}"));
    for file in files.chain(scaffolds).chain(
        ["cookiecutter.json", "build.rs", "hooks/pre_gen_project.py", "hooks/post_gen_project.py"].map(str::to_owned),
    ) {
        assert!(listed.contains(&file.as_str()), "{file} is not in the package: {listed:#?}");
    }
    assert!(!listed.iter().any(|name| name.starts_with("tests/")), "{listed:#?}");
}

/// For those who run the cookiecutter tool: `purlin new` puts in its own version.
#[test]
fn the_template_asks_for_the_version_that_it_is_published_with() {
    let questions: serde_json::Value = serde_json::from_str(include_str!("../../cookiecutter.json")).unwrap();
    let version = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    assert_eq!(questions["_purlin_version"], version);
}
