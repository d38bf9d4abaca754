//! What the figures were measured on, and with.

use crate::{nginx, repository};
use peers::drive::Cores;
use std::process::Command;

/// Machine, system, versions, day and load, in some lines.
pub fn line(cores: &Cores) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or_default().trim_matches([' ', '\t', ':', '=', '"']).to_owned()
    };
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let online = read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count().max(count);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    format!(
        "{} cores of {}, Linux {}, {}; {}; load average at the start {load}.\nPurlin {}, {}, {}, nginx {}.\n{cores}; {} connections.",
        online,
        value(&read("/proc/cpuinfo"), "model name"),
        read("/proc/sys/kernel/osrelease").trim(),
        value(&read("/etc/os-release"), "PRETTY_NAME"),
        told("date", &["+%Y-%m-%d"]),
        told(
            "git",
            &["-C", &repository().display().to_string(), "log", "-1", "--format=%h", "--", "src", "Cargo.lock"]
        ),
        told("rustc", &["--version"]).split(' ').take(2).collect::<Vec<_>>().join(" "),
        packages(),
        nginx::version().map_or("not installed".to_owned(), |version| version.replace("nginx/", "")),
        peers::drive::CONNECTIONS,
    )
}

fn told(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or("?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The versions that the lock file has; of two the newer one.
fn packages() -> String {
    const NAMES: [&str; 9] =
        ["hyper", "tokio", "tera", "axum", "tower-http", "tower-sessions", "actix-web", "actix-session", "actix-files"];
    let lock = include_str!("../../../Cargo.lock");
    let found = NAMES.map(|name| {
        let entry = format!("name = \"{name}\"\nversion = \"");
        let versions = lock.split(&entry).skip(1).filter_map(|rest| rest.split('"').next());
        format!("{name} {}", versions.last().unwrap_or("?"))
    });
    found.join(", ")
}
