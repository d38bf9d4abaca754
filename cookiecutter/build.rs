//! Puts the template's folder into the program, so that `purlin new` works without a network or a checkout.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Named as cookiecutter wants it: the name is itself a template.
const FOLDER: &str = "{{cookiecutter.project_slug}}";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let root = required("CARGO_MANIFEST_DIR")?.join(FOLDER);
    let mut files = Vec::new();
    list(&root, &mut files)?;
    files.sort();

    let mut code = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).map_err(io::Error::other)?;
        let (Some(name), Some(path)) = (name.to_str(), file.to_str()) else {
            return Err(io::Error::other(format!("the name of {} is not UTF-8", file.display())));
        };
        let name = name.replace('\\', "/");
        let executable = executable(&fs::metadata(file)?);
        writeln!(code, "({name:?}, {executable}, include_bytes!({path:?})),").map_err(io::Error::other)?;
    }
    code.push_str("]\n");
    fs::write(required("OUT_DIR")?.join("template.rs"), code)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(unix)]
fn executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn executable(_: &fs::Metadata) -> bool {
    false
}

fn required(variable: &str) -> io::Result<PathBuf> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("cargo sets {variable}")))
}
