//! nginx, as Debian packages it: one process, in front of several instances or behind a proxy.

use super::{Folder, free_port, left_out, program};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// nginx at a port of the loopback address.
pub(crate) struct Nginx {
    process: Child,
    folder: Folder,
    address: SocketAddr,
}

impl Nginx {
    /// Started in front of servers on unix sockets, with the lines of `docs/scaling.md`, and listening; `None` where it is not
    /// installed.
    #[allow(dead_code)] // It is for one of the features that have nginx.
    pub(crate) fn new(upstream: &[PathBuf]) -> Option<Self> {
        Self::with("the test of two instances behind nginx", |_, address| of_the_guide(address, upstream))
    }

    /// The same with other lines, for a folder and an address.
    pub(crate) fn with(tests: &'static str, lines: impl Fn(&Path, SocketAddr) -> String) -> Option<Self> {
        let Some(program) = program("nginx") else {
            left_out(tests, "install nginx-light or another nginx");
            return None;
        };
        for _ in 0..10 {
            let folder = Folder::new();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            let conf = folder.path().join("nginx.conf");
            std::fs::write(&conf, configuration(folder.path(), &lines(folder.path(), address)))
                .expect("our own folder");
            let process = Command::new(&program)
                .arg("-p")
                .arg(folder.path())
                .arg("-e")
                .arg(folder.path().join("error.log"))
                .arg("-c")
                .arg(&conf)
                .stdin(Stdio::null())
                .stderr(Stdio::null()) // its log has the same
                .spawn()
                .expect("nginx can be run");
            let mut nginx = Self { process, folder, address };
            if nginx.listens() {
                return Some(nginx);
            }
        }
        panic!("ten ports were free, and taken when nginx came");
    }

    /// Waits until it does; not if somebody else was there first.
    fn listens(&mut self) -> bool {
        let start = Instant::now();
        loop {
            let answers = TcpStream::connect(self.address).is_ok();
            if self.log().contains("Address already in use") {
                return false;
            }
            let ended = self.process.try_wait().expect("it is a child");
            assert!(ended.is_none(), "nginx ended: {}", self.log());
            if answers {
                return true;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "nginx does not listen: {}", self.log());
            std::thread::yield_now();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it complained about.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The guide's lines, with an address and sockets in place of its addresses.
#[allow(dead_code)]
fn of_the_guide(address: SocketAddr, upstream: &[PathBuf]) -> String {
    let guide = include_str!("../../docs/scaling.md");
    let lines = guide.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the guide has them");
    assert!(lines.contains("listen 80;"), "the guide has a server there");
    let mut site = lines.replace("listen 80;", &format!("listen {address};"));
    for (number, socket) in upstream.iter().enumerate() {
        let address = format!("10.0.0.1{}:8000", number + 1);
        assert!(site.contains(&address), "the guide has an instance at {address}");
        site = site.replace(&address, &format!("unix:{}", socket.display()));
    }
    site
}

fn configuration(folder: &Path, site: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {folder}/{what};\n"))
        .concat();
    // One process, so that ending it leaves none behind. `user` counts for root only, whose sockets another user could not
    // reach.
    format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
}
