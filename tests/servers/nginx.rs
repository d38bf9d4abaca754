//! nginx, as Debian packages it: one process in front of several instances.

use super::{Folder, left_out, program};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// nginx in front of servers on unix sockets; it listens on one, too.
pub(crate) struct Nginx {
    process: Child,
    folder: Folder,
}

impl Nginx {
    /// Started, with the lines of `docs/scaling.md`; `None` where it is not installed. It may not listen yet.
    pub(crate) fn new(upstream: &[PathBuf]) -> Option<Self> {
        let Some(program) = program("nginx") else {
            left_out("the test of two instances behind nginx", "install nginx-light or another nginx");
            return None;
        };
        let folder = Folder::new();
        let conf = folder.path().join("nginx.conf");
        std::fs::write(&conf, configuration(folder.path(), upstream)).expect("our own folder");
        let process = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx can be run");
        Some(Self { process, folder })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("front.sock")
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

/// The guide's lines, with the sockets in place of its addresses.
fn configuration(folder: &Path, upstream: &[PathBuf]) -> String {
    let guide = include_str!("../../docs/scaling.md");
    let lines = guide.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the guide has them");
    let folder = folder.display();
    let mut site = lines.replace("listen 80;", &format!("listen unix:{folder}/front.sock;"));
    for (number, socket) in upstream.iter().enumerate() {
        let address = format!("10.0.0.1{}:8000", number + 1);
        assert!(site.contains(&address), "the guide has an instance at {address}");
        site = site.replace(&address, &format!("unix:{}", socket.display()));
    }
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
