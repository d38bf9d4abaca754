//! nginx, which serves files, and pages from its cache.

use peers::drive::{Cores, Server};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where Debian has it.
const PROGRAM: &str = "/usr/sbin/nginx";

/// `nginx/1.22.1`; `None` where it is not installed.
pub fn version() -> Option<String> {
    let told = Command::new(PROGRAM).arg("-v").output().ok()?;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    told.trim().rsplit(' ').next().map(str::to_owned)
}

/// Starts it in a folder of its own, with the files below `/static`, and what `upstream` answers, cached.
pub fn start(folder: &Path, files: &Path, upstream: &str, cores: &Cores) -> Server {
    // It cannot be told to find a port.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    std::fs::create_dir_all(folder).expect("a temporary folder");
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
    let headers: Vec<_> =
        site::HEADERS.iter().map(|(name, value)| format!("    add_header {name} \"{value}\";")).collect();
    let hidden: Vec<_> =
        site::HEADERS.iter().map(|(name, _)| format!("            proxy_hide_header {name};")).collect();
    let text = include_str!("../../../nginx.conf")
        .replace("{user}", if is_root { "user root;" } else { "" })
        .replace("{threads}", &cores.threads.to_string())
        .replace("{folder}", &folder.display().to_string())
        .replace("{files}", &files.display().to_string())
        .replace("{address}", &free.to_string())
        .replace("{upstream}", upstream)
        .replace("{headers}", &format!("{}\n    add_header x-request-id $request_id;", headers.join("\n")))
        .replace("{hidden}", &hidden.join("\n"));
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text).expect("our own folder");
    let process = cores
        .command(Path::new(PROGRAM))
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&file)
        .args(["-g", "daemon off;"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed");
    let server = Server::new("nginx", process, free.to_string());
    wait(free);
    server
}

fn wait(address: SocketAddr) {
    for _ in 0..500 {
        if TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nginx does not listen on {address} after 5 seconds");
}
