//! `Project`: the package whose site is served, as cargo describes it.

use super::process::{EndsWithIt, Group};
use crate::failure::Failure;
use serde_json::Value as Json;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs, io};

/// What is built, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    /// The package's folder.
    pub(crate) folder: PathBuf,
    pub(crate) package: String,
    /// The executable of it that is the site.
    pub(crate) bin: String,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
    /// Of the workspace, or of the package alone.
    pub(crate) workspace: PathBuf,
    id: String,
}

/// Which one is meant, as the command line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) package: Option<String>,
    pub(crate) bin: Option<String>,
    pub(crate) features: Vec<String>,
}

/// Why there is no project.
#[derive(Debug)]
pub(crate) enum NoProject {
    /// Cargo cannot read the manifest; its words, with colours if it was let.
    Manifest(String),
    /// Nothing that an edit of the manifest is likely to change.
    Other(Failure),
}

/// Set when cargo itself started this program, and then better than whatever stands in PATH.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

pub(crate) fn no_cargo(cause: &io::Error) -> Failure {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            Failure::new("could not find cargo to build the site with").remedy("install Rust from https://rustup.rs")
        }
        _ => Failure::new(format!("could not run {}: {cause}", Path::new(&cargo()).display())),
    }
}

/// The nearest folder with a `Cargo.toml`, from this one upwards.
///
/// # Errors
///
/// There is none.
pub(crate) fn folder_above(start: &Path) -> Result<PathBuf, Failure> {
    let found = start.ancestors().find(|folder| folder.join("Cargo.toml").is_file());
    found.map(Path::to_owned).ok_or_else(|| {
        Failure::new(format!("there is no site in {}, nor above it: no Cargo.toml", start.display()))
            .remedy("cd into the folder of a site, or make one: purlin new my-site --dev")
    })
}

impl Project {
    /// The project of a folder which has a `Cargo.toml`.
    ///
    /// # Errors
    ///
    /// There is no cargo, it cannot read the manifest, or it is not clear which executable is meant.
    pub(crate) fn of(folder: &Path, choice: &Choice) -> Result<Self, NoProject> {
        let metadata = metadata(folder, &["--no-deps"])?;
        Self::read(&metadata, folder, choice).map_err(NoProject::Other)
    }

    pub(super) fn read(metadata: &Json, folder: &Path, choice: &Choice) -> Result<Self, Failure> {
        let packages: Vec<Member<'_>> = list(&metadata["packages"]).iter().map(Member::new).collect();
        let package = match &choice.package {
            Some(name) => packages.iter().find(|package| package.name == name).ok_or_else(|| {
                let names = packages.iter().map(|package| package.name).collect::<Vec<_>>().join(", ");
                Failure::usage(format!("there is no package `{name}` here")).remedy(format!("there are: {names}"))
            })?,
            None => {
                // The folder's own, or in a folder of several the only one that can be run.
                let own = packages.iter().find(|package| package.folder == folder);
                let mut runnable = packages.iter().filter(|package| !package.bins.is_empty());
                match (own, runnable.next(), runnable.next()) {
                    (Some(own), ..) => own,
                    (None, Some(only), None) => only,
                    (None, None, _) => return Err(Failure::new("no package of this workspace has an executable")),
                    (None, Some(first), Some(second)) => {
                        let others = runnable.map(|package| package.name);
                        let names = [first.name, second.name].into_iter().chain(others).collect::<Vec<_>>().join(", ");
                        return Err(Failure::usage("this workspace has several packages that can be run")
                            .remedy(format!("name one by --package: {names}")));
                    }
                }
            }
        };
        let bin = match (&choice.bin, package.default_run, package.bins.as_slice()) {
            (Some(bin), _, bins) if bins.contains(&bin.as_str()) => bin,
            (Some(bin), _, bins) => {
                return Err(Failure::usage(format!("the package {} has no executable `{bin}`", package.name))
                    .remedy(format!("it has: {}", bins.join(", "))));
            }
            (None, Some(bin), _) | (None, None, &[bin]) => bin,
            (None, None, []) => {
                return Err(Failure::new(format!("the package {} has no executable", package.name)).remedy(
                    "a site starts in src/main.rs: fn main() -> std::process::ExitCode { purlin::run(stack) }",
                ));
            }
            (None, None, bins) => {
                return Err(Failure::usage(format!("the package {} has several executables", package.name)).remedy(
                    format!("name one by --bin: {} (or by default-run in Cargo.toml, for good)", bins.join(", ")),
                ));
            }
        };
        let path = |key: &str| PathBuf::from(metadata[key].as_str().unwrap_or_default());
        Ok(Self {
            folder: package.folder.clone(),
            package: package.name.to_owned(),
            bin: bin.to_owned(),
            target: path("target_directory"),
            workspace: path("workspace_root"),
            id: package.id.to_owned(),
        })
    }
}

/// What is built for the project, as cargo resolves it. Asking takes longer than the rest, and may take the network.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependencies {
    /// How many packages, the site's own among them.
    pub(crate) count: usize,
    /// The folders of those which are not from a registry: the site's own first.
    pub(crate) folders: Vec<PathBuf>,
}

impl Dependencies {
    /// `None` where cargo does not know; it will say why when it builds. Dropping this ends the cargo that is asked.
    pub(crate) async fn of(project: &Project, choice: &Choice) -> Option<Self> {
        let features = choice.features.join(",");
        let mut arguments = vec!["--filter-platform", "host-tuple"];
        if !features.is_empty() {
            arguments.extend(["--features", &features]);
        }
        let mut command = tokio::process::Command::from(ask(&project.folder, &arguments));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let (child, group) = Group::start(&mut command).ok()?;
        let ends = EndsWithIt::new(group);
        let output = child.wait_with_output().await.ok()?;
        ends.has_ended();
        Self::read(&serde_json::from_slice(&output.stdout).ok()?, project)
    }

    fn read(metadata: &Json, project: &Project) -> Option<Self> {
        let nodes: HashMap<&str, &Json> =
            list(&metadata["resolve"]["nodes"]).iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
        let mut needed = BTreeSet::new();
        let mut next = vec![project.id.as_str()];
        while let Some(id) = next.pop() {
            if !needed.insert(id) {
                continue;
            }
            let built = |dependency: &&Json| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let dependencies = list(&nodes.get(id)?["deps"]).iter().filter(built);
            next.extend(dependencies.filter_map(|dependency| dependency["pkg"].as_str()));
        }
        let mut folders = vec![project.folder.clone()];
        let mut seen: HashSet<PathBuf> = folders.iter().cloned().collect();
        for package in list(&metadata["packages"]) {
            let member = Member::new(package);
            if package["source"].is_null() && needed.contains(member.id) && seen.insert(member.folder.clone()) {
                folders.push(member.folder);
            }
        }
        Some(Self { count: needed.len(), folders })
    }
}

struct Member<'a> {
    id: &'a str,
    name: &'a str,
    folder: PathBuf,
    default_run: Option<&'a str>,
    bins: Vec<&'a str>,
}

impl<'a> Member<'a> {
    fn new(package: &'a Json) -> Self {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let is_bin = |target: &&Json| list(&target["kind"]).iter().any(|kind| kind == "bin");
        let bins = list(&package["targets"]).iter().filter(is_bin);
        Self {
            id: text("id"),
            name: text("name"),
            folder: Path::new(text("manifest_path")).parent().map(Path::to_owned).unwrap_or_default(),
            default_run: package["default_run"].as_str(),
            bins: bins.filter_map(|target| target["name"].as_str()).collect(),
        }
    }
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn ask(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(["metadata", "--format-version", "1"]).args(arguments).current_dir(folder);
    command
}

fn metadata(folder: &Path, arguments: &[&str]) -> Result<Json, NoProject> {
    let output = ask(folder, arguments).output();
    let Output { status, stdout, stderr } = output.map_err(|cause| NoProject::Other(no_cargo(&cause)))?;
    if !status.success() {
        return Err(NoProject::Manifest(String::from_utf8_lossy(&stderr).into_owned()));
    }
    serde_json::from_slice(&stdout)
        .map_err(|cause| NoProject::Other(Failure::new(format!("could not read what cargo metadata printed: {cause}"))))
}

/// Where the site says that it listens while it is developed: `server.listen` of `config/development.toml`, or the variable that
/// overrides it. Nothing else of the file is looked at, and a broken one says nothing here.
pub(crate) fn configured_address(folder: &Path) -> Option<String> {
    if let Ok(listen) = env::var("PURLIN__SERVER__LISTEN") {
        return Some(listen);
    }
    listen_of(&fs::read_to_string(folder.join("config/development.toml")).ok()?)
}

fn listen_of(config: &str) -> Option<String> {
    let mut section = "";
    for line in config.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.split(']').next().unwrap_or_default().trim();
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim();
            if (section, key) == ("server", "listen") || (section, key) == ("", "server.listen") {
                // The first of several.
                let value = value.trim().trim_start_matches('[').trim();
                let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
                return value[1..].split(quote).next().map(str::to_owned);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, bins: &[&str], default_run: Option<&str>) -> Json {
        let mut targets = vec![json!({"kind": ["lib"], "name": name})];
        targets.extend(bins.iter().map(|bin| json!({"kind": ["bin"], "name": bin})));
        json!({"name": name, "id": format!("id of {name}"), "manifest_path": format!("/w/{name}/Cargo.toml"), "source": null,
            "targets": targets, "default_run": default_run})
    }

    fn read(packages: &[Json], folder: &str, package: Option<&str>, bin: Option<&str>) -> Result<String, String> {
        let metadata = json!({"packages": packages, "target_directory": "/t", "workspace_root": "/w"});
        let choice = Choice { package: package.map(str::to_owned), bin: bin.map(str::to_owned), ..Choice::default() };
        Project::read(&metadata, Path::new(folder), &choice)
            .map(|project| format!("{} {}", project.package, project.bin))
            .map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn the_executable_is_the_only_one_or_the_one_that_is_named() {
        let one = package("one", &["one"], None);
        let two = package("two", &["web", "tool"], None);
        let three = package("three", &["web", "tool"], Some("tool"));
        let none = package("none", &[], None);
        let all = [one.clone(), two.clone(), three, none.clone()];
        assert_eq!(read(&all, "/w/one", None, None).unwrap(), "one one");
        assert_eq!(read(&all, "/w/two", None, Some("web")).unwrap(), "two web");
        assert_eq!(read(&all, "/w/three", None, None).unwrap(), "three tool");
        assert_eq!(read(&all, "/w", Some("one"), None).unwrap(), "one one");
        assert_eq!(read(&[one, none], "/w", None, None).unwrap(), "one one");
        for (folder, package, bin, expected) in [
            ("/w/two", None, None, "name one by --bin: web, tool"),
            ("/w/two", None, Some("wbe"), "it has: web, tool"),
            ("/w/none", None, None, "has no executable"),
            ("/w", None, None, "name one by --package: one, two, three"),
            ("/w", Some("four"), None, "there are: one, two, three, none"),
        ] {
            let failure = read(&all, folder, package, bin).unwrap_err();
            assert!(failure.contains(expected), "{failure}");
        }
    }

    #[test]
    fn what_only_tests_need_is_not_counted_and_folders_are_those_on_this_machine() {
        let site = package("site", &["site"], None);
        let mut serde = package("serde", &[], None);
        serde["source"] = json!("registry");
        let dependency =
            |name: &str, kind: Json| json!({"pkg": format!("id of {name}"), "dep_kinds": [{"kind": kind}]});
        let node = |name: &str, deps: Vec<Json>| json!({"id": format!("id of {name}"), "deps": deps});
        let metadata = json!({
            "packages": [site, serde, package("near", &[], None), package("other", &[], None)],
            "resolve": {"nodes": [
                node("site", vec![dependency("serde", Json::Null), dependency("near", json!("build")), dependency("other", json!("dev"))]),
                node("serde", vec![]), node("near", vec![dependency("site", json!("dev"))]), node("other", vec![]),
            ]},
            "target_directory": "/t", "workspace_root": "/w",
        });
        let project = Project::read(&metadata, Path::new("/w/site"), &Choice::default()).unwrap();
        let found = Dependencies::read(&metadata, &project).unwrap();
        assert_eq!(found, Dependencies { count: 3, folders: vec!["/w/site".into(), "/w/near".into()] });
    }

    #[test]
    fn the_address_is_read_without_the_rest_of_the_configuration() {
        for (config, expected) in [
            ("[server]\nlisten = \"127.0.0.1:9000\" # there\n", Some("127.0.0.1:9000")),
            ("server.listen = '[::1]:80'", Some("[::1]:80")),
            ("[log]\nlisten = \"no\"\n[ server ]\n  listen=[ \"127.0.0.1:1\", \"127.0.0.1:2\" ]", Some("127.0.0.1:1")),
            ("[server]\n# listen = \"127.0.0.1:9000\"\n", None),
            ("[server]\nlisten = 9000", None),
            ("[server\nlisten", None),
            ("", None),
        ] {
            assert_eq!(listen_of(config).as_deref(), expected, "{config}");
        }
    }
}
