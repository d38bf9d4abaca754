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
    /// Started, with `docs/scaling.md`'s lines; `None` where it is not installed. It may not listen yet.
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

fn configuration(folder: &Path, upstream: &[PathBuf]) -> String {
    let folder = folder.display();
    let servers: String = upstream
        .iter()
        .map(|socket| format!("        server unix:{} max_fails=1 fail_timeout=1s;\n", socket.display()))
        .collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("    {what}_temp_path {folder}/{what};\n"))
        .concat();
    // One process, so that ending it leaves none behind; `user` counts for root only, whose workers could not reach
    // root's sockets otherwise.
    format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n{temporary}    access_log off;\n    upstream site {{\n{servers}        keepalive 16;\n    }}\n    \
         server {{\n        listen unix:{folder}/front.sock;\n        location / {{\n{LOCATION}        }}\n    }}\n}}\n"
    )
}

/// What stands in the guide.
const LOCATION: &str = "\
            proxy_pass http://site;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_connect_timeout 2s;
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries 2;
";
