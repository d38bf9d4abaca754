//! That Purlin's stack is that of a generated site: the same layers in the same order.

use crate::repository;

/// Compares the two files.
///
/// # Panics
///
/// If a layer was added to one and not to the other.
pub fn check() {
    let template = repository().join("cookiecutter/{{cookiecutter.project_slug}}/src/stack.rs");
    let template = std::fs::read_to_string(&template).unwrap_or_else(|error| panic!("{}: {error}", template.display()));
    let peer = include_str!("../../../servers/purlin_peer/src/main.rs");
    let (_, peer) = peer.split_once("fn stack(").expect("it is there");
    let (peer, _) = peer.split_once("fn routes(").expect("it is there");
    assert_eq!(
        layers(peer),
        layers(&default_site(&template)),
        "left: the peer's layers, right: those of a generated site"
    );
}

/// What the generator leaves for a site without a database, with sessions in the cookie and nobody to sign in.
fn default_site(template: &str) -> String {
    let (mut kept, mut conditions) = (String::new(), Vec::new());
    for line in template.lines() {
        let holds = || match line {
            _ if line.contains("not cookiecutter.__database") => true,
            _ => line.contains("cookiecutter.sessions == 'cookie'"),
        };
        if line.starts_with("{% if") {
            conditions.push((holds(), holds()));
        } else if line.starts_with("{% elif") {
            if let Some((now, ever)) = conditions.last_mut() {
                *now = !*ever && holds();
                *ever |= *now;
            }
        } else if line.starts_with("{% else") {
            if let Some((now, ever)) = conditions.last_mut() {
                *now = !*ever;
            }
        } else if line.starts_with("{% endif") {
            conditions.pop();
        } else if conditions.iter().all(|(now, _)| *now) {
            kept = kept + line + "\n";
        }
    }
    kept
}

/// Their names, in order.
fn layers(code: &str) -> Vec<String> {
    let name = |line: &str| {
        Some(line.trim().strip_prefix(".layer(")?.split(|c: char| !c.is_alphanumeric()).next()?.to_owned())
    };
    code.lines().filter_map(name).collect()
}
