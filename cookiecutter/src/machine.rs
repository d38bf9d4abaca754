//! What the machine has: programs and their versions, ports and who listens there.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

/// The first line that a program prints of itself; none if it is not there or fails.
pub(crate) fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Whether this program is what its name means in a shell.
pub(crate) fn is_on_path() -> bool {
    let Ok(own) = env::current_exe().and_then(fs::canonicalize) else { return true };
    let path = env::var_os("PATH").unwrap_or_default();
    let name = format!("purlin{}", env::consts::EXE_SUFFIX);
    let mut found = env::split_paths(&path).map(|folder| folder.join(&name)).filter(|file| file.is_file());
    found.next().and_then(|file| fs::canonicalize(file).ok()) == Some(own)
}

/// `1.95.0` of `rustc 1.95.0 (…)`, as numbers that can be compared.
pub(crate) fn numbers(text: &str) -> Option<[u32; 3]> {
    let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    Some([numbers.next()?, numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)])
}

/// Whether nobody listens at this address.
pub(crate) fn is_free(address: SocketAddr) -> io::Result<bool> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// The process that listens at this port, as far as this user may know: its number and name.
#[cfg(target_os = "linux")]
pub(crate) fn listener(port: u16) -> Option<(u32, String)> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| inode(line, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let has = |link: std::path::PathBuf| sockets.iter().any(|socket| link.as_os_str() == socket.as_str());
        files.any(|file| fs::read_link(file.path()).is_ok_and(has)).then_some(())?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some((id, name.trim().to_owned()))
    })
}

/// Whether a process is `purlin dev` in this folder or one below it.
#[cfg(target_os = "linux")]
pub(crate) fn is_dev_in(process: u32, folder: &Path) -> bool {
    let process = Path::new("/proc").join(process.to_string());
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
    let mut words = arguments.split(|byte| *byte == 0);
    let is_purlin = words.next().is_some_and(|program| program.ends_with(b"purlin"));
    let serves = words.next() == Some(b"dev") || words.any(|word| word == b"--dev");
    is_purlin && serves && fs::read_link(process.join("cwd")).is_ok_and(|at| at.starts_with(folder))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_dev_in(_: u32, _: &Path) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn listener(_: u16) -> Option<(u32, String)> {
    None
}

/// The inode of a socket that listens at the port, in a line of `/proc/net/tcp` (proc(5)): state 0A is LISTEN.
#[cfg(target_os = "linux")]
fn inode(line: &str, port: u16) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (_, hexadecimal) = words.get(1)?.rsplit_once(':')?;
    let listens = u16::from_str_radix(hexadecimal, 16) == Ok(port) && *words.get(3)? == "0A";
    listens.then(|| words.get(9).map(|word| (*word).to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_out_of_what_a_program_says() {
        for (text, expected) in [
            ("rustc 1.95.0 (abc 2026-04-01)", Some([1, 95, 0])),
            ("rustc 1.96.0-nightly (abc)", Some([1, 96, 0])),
            ("cargo 1.95", Some([1, 95, 0])),
            ("git version 2.39.5", Some([2, 39, 5])),
            ("none", None),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_listens_at_a_port_is_named() {
        let listener_here = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener_here.local_addr().unwrap();
        assert!(!is_free(address).unwrap());
        assert_eq!(listener(address.port()).unwrap().0, std::process::id());
    }
}
