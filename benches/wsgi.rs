//! What a WSGI application costs in `Wsgi`, beside gunicorn.
//!
//! `cargo bench --bench wsgi --no-default-features --features wsgi`. Debian's wrk is needed, and gunicorn and Flask for `python3`, in a
//! virtual environment say. The same applications in two processes of four threads each, asked over 8 connections in interleaved
//! rounds. CPU is that of all processes of a server, the interpreters' included. Each body is compared before and after.

mod measure;

use measure::median;
use measure::servers::{body, cpu, family, free_port, listens, memory, program, until, wrk};
use purlin::wsgi::Wsgi;
use purlin::{Server, Stack};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ROUNDS: usize = 5;
const SECONDS: u32 = 3;
const CONNECTIONS: u32 = 8;

/// The same page by the bare protocol, and by Flask.
const APPLICATIONS: &str = r#"
PAGE = b"hello, world" * 100

def bare(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]

from flask import Flask, Response
flask = Flask(__name__)

@flask.route("/")
def page():
    return Response(PAGE, mimetype="text/plain")
"#;

const GUNICORN: [(&str, &[&str]); 2] =
    [("gthread, 4 threads", &["--threads", "4", "--worker-class", "gthread"]), ("sync", &["--worker-class", "sync"])];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "serve") {
        return serve(Path::new(&arguments[at + 1]), &arguments[at + 2], &arguments[at + 3]);
    }
    let missing: Vec<&str> = ["wrk", "gunicorn"].into_iter().filter(|name| program(name).is_none()).collect();
    if !missing.is_empty() {
        println!("nothing measured: install {}", missing.join(", "));
        return;
    }
    println!("{:<44}{:>12}{:>14}{:>12}", "", "requests/s", "µs CPU each", "MiB (PSS)");
    for application in ["bare", "flask"] {
        let bench = Bench::start(application);
        let mut measured: Vec<Vec<(f64, f64)>> = vec![Vec::new(); bench.rows.len()];
        let expected = "hello, world".repeat(100);
        for _ in 0..ROUNDS {
            for ((what, port, processes), measured) in bench.rows.iter().zip(&mut measured) {
                assert_eq!(body(*port, "/"), expected, "{what}");
                let before = cpu(processes);
                let requests = wrk(*port, "/", CONNECTIONS, SECONDS);
                let used = cpu(processes) - before;
                assert_eq!(body(*port, "/"), expected, "{what}");
                measured.push((requests / f64::from(SECONDS), used * 1e6 / requests));
            }
        }
        for ((what, _, processes), rounds) in bench.rows.iter().zip(&measured) {
            let rate = median(rounds.iter().map(|round| round.0).collect());
            let used = median(rounds.iter().map(|round| round.1).collect());
            println!("{application}: {what:<38}{rate:>12.0}{used:>14.0}{:>12.1}", memory(processes));
        }
    }
}

/// The site that is measured, in a process of its own.
fn serve(folder: &Path, application: &str, port: &str) {
    let app = Wsgi::app(format!("applications:{application}")).folder(folder).processes(2).threads(4);
    let app = program("gunicorn")
        .map(|gunicorn| gunicorn.with_file_name("python3"))
        .filter(|python| python.is_file())
        .into_iter()
        .fold(app, |app, python| app.python(python));
    let listen = format!("127.0.0.1:{port}").parse().expect("an address");
    let bound = Server::new().listen(listen).bind().expect("a free port");
    bound.run(|| async { Ok(Stack::new().app(app)) }).expect("a server");
}

/// All that is asked, in a folder of its own; stopped at the end.
struct Bench {
    folder: PathBuf,
    children: Vec<Child>,
    /// What it is, its port, and its processes.
    rows: Vec<(String, u16, Vec<u32>)>,
}

impl Bench {
    fn start(application: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("purlin-bench-wsgi-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("applications.py"), APPLICATIONS).expect("a file");
        let mut bench = Self { folder, children: Vec::new(), rows: Vec::new() };
        let port = free_port();
        let mut purlin = Command::new(std::env::current_exe().expect("this program"));
        purlin.arg("serve").arg(&bench.folder).args([application, &port.to_string()]);
        bench.add("Purlin, `Wsgi`, 4 threads".to_owned(), port, purlin);
        for (kind, options) in GUNICORN {
            let port = free_port();
            let mut gunicorn = Command::new(program("gunicorn").expect("looked for before"));
            gunicorn.args(["--workers", "2", "--bind", &format!("127.0.0.1:{port}"), "--log-level", "warning"]);
            gunicorn.args(options).arg(format!("applications:{application}")).current_dir(&bench.folder);
            bench.add(format!("gunicorn, {kind}"), port, gunicorn);
        }
        bench
    }

    fn add(&mut self, what: String, port: u16, mut command: Command) {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("a server");
        let pid = child.id();
        self.children.push(child);
        until(&what, || listens(port));
        // Also the processes are there then that have to be started for it.
        body(port, "/");
        until(&what, || family(pid).len() >= 3);
        self.rows.push((what, port, family(pid)));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Their workers end with SIGTERM only.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
