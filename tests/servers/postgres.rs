//! PostgreSQL: the one that `PURLIN_TEST_POSTGRES` names, or Debian's, at a port of the loopback address.

use super::{Folder, free_port, left_out, program};
use purlin::session::{PostgresStore, SessionId};
use purlin::sqlx::{self, Connection, Executor};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// The URL of a server that the tests share, for one who may make databases; `None` where there is no PostgreSQL.
pub(crate) fn url() -> Option<String> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    if let Ok(url) = std::env::var("PURLIN_TEST_POSTGRES") {
        return Some(url);
    }
    // Never dropped: it ends with this process, and takes its folder along.
    SHARED.get_or_init(Postgres::new).as_ref().map(Postgres::url)
}

/// An empty database for sessions; `None` where there is no PostgreSQL.
pub(crate) fn store() -> Option<Database> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = url()?;
    let name = format!("purlin_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    maintain(&server, format!("CREATE DATABASE {name}"));
    Some(Database { server, name })
}

/// Dropped on the server when it is dropped here.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) fn store(&self) -> PostgresStore {
        PostgresStore::new(&named(&self.server, &self.name))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        maintain(&self.server, format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// The URL of another database on the same server.
pub(crate) fn named(server: &str, name: &str) -> String {
    let (place, options) = server.split_once('?').unwrap_or((server, ""));
    let (place, _) = place.rsplit_once('/').expect("the URL names a database");
    format!("{place}/{name}?{options}")
}

/// On a thread of its own: the test's runtime may have this one only.
fn maintain(server: &str, statement: String) {
    let done = std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = sqlx::PgConnection::connect(server).await?;
                connection.execute(sqlx::AssertSqlSafe(statement)).await?;
                connection.close().await
            })
        });
        done.join().unwrap()
    });
    done.unwrap();
}

/// A server of the test's own.
pub(crate) struct Postgres {
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    folder: Folder,
    password: String,
    port: u16,
    process: Mutex<Option<Child>>,
}

impl Postgres {
    /// Started; `None` where it is not installed.
    pub(crate) fn new() -> Option<Self> {
        let Some(programs) = programs() else {
            let how = "install postgresql, or set PURLIN_TEST_POSTGRES=postgres://user:password@host/postgres (for most of them)";
            left_out("the tests of PostgreSQL", how);
            return None;
        };
        let folder = Folder::new();
        // It refuses to run as root.
        let owner = (id("-u") == 0).then(|| (id_of("-u", "postgres"), id_of("-g", "postgres")));
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
        }
        // Everybody on this machine reaches the port.
        let password = SessionId::random().expect("the system has randomness").to_string();
        let file = folder.path().join("password");
        std::fs::write(&file, &password).expect("our own folder");
        let mut server = Self { programs, owner, folder, password, port: 0, process: Mutex::new(None) };
        let mut initdb = server.command("initdb");
        // Not by SCRAM, whose thousands of hashes are slow in a test build.
        initdb
            .args(["--username=postgres", "--auth=password", "--no-sync", "--encoding=UTF8", "--locale=C"])
            .arg("--pwfile")
            .arg(file)
            .arg("-D")
            .arg(server.folder.path().join("data"));
        let output = initdb.output().expect("initdb can be run");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        for _ in 0..10 {
            server.port = free_port();
            match server.try_start() {
                Ok(()) => return Some(server),
                Err(said) => assert!(said.contains("Address already in use"), "postgres ended:\n{said}"),
            }
        }
        panic!("ten ports were free, and taken when postgres came");
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// Starts it at its port, with the data that it left; returns when it answers.
    pub(crate) fn start(&self) {
        self.try_start().unwrap_or_else(|said| panic!("postgres ended:\n{said}"));
    }

    /// Fails with what it said.
    fn try_start(&self) -> Result<(), String> {
        let folder = self.folder.path();
        // The shell waits for the end of this process, however that comes, and then ends the server and clears up.
        let script =
            "\"$@\" 2>&1 & server=$!; exec >&-; cat >/dev/null; kill -QUIT $server; wait $server; rm -rf \"$0\"";
        let mut shell = self.command("sh");
        shell.args(["-c", script]).arg(folder).arg(self.programs.join("postgres")).arg("-D").arg(folder.join("data"));
        shell.arg("-p").arg(self.port.to_string());
        let only_there = ["listen_addresses=127.0.0.1", "unix_socket_directories="];
        for setting in only_there.into_iter().chain(["fsync=off", "max_connections=200", "shared_buffers=16MB"]) {
            shell.args(["-c", setting]);
        }
        let mut process =
            shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("postgres can be run by a shell");
        let mut said = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("piped"));
        while !said.contains("database system is ready to accept connections") {
            let length = lines.read_line(&mut said).expect("it writes text");
            if length == 0 {
                // As in `kill`, so that the shell leaves the folder alone.
                process.kill().expect("it is a child that was not waited for");
                process.wait().expect("it is a child");
                return Err(said);
            }
        }
        // What it says from now on must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        *self.process.lock().unwrap() = Some(process);
        Ok(())
    }

    /// Ends it as a crash would end it: connections are cut, and the next start recovers.
    pub(crate) fn kill(&self) {
        let Some(mut process) = self.process.lock().unwrap().take() else { return };
        let id = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).expect("it runs");
        let id = id.lines().next().expect("its first line").to_owned();
        let killed = Command::new("sh").args(["-c", "kill -QUIT $0", &id]).status().expect("a shell");
        assert!(killed.success());
        // Its folder stays: the shell, which would remove it, is gone before it reads the end of its input.
        process.kill().expect("it runs");
        process.wait().expect("it is a child");
        while self.folder.path().join("data/postmaster.pid").exists() {
            std::thread::yield_now();
        }
    }

    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = Command::new(if path.is_file() { path.as_path() } else { program.as_ref() });
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        // Its own working directory may be one that the owner cannot enter.
        command.current_dir("/").env_remove("PGDATA").env_remove("PGOPTIONS");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder with `initdb` and `postgres`: Debian keeps them out of the PATH, one for each version.
fn programs() -> Option<PathBuf> {
    if let Some(initdb) = program("initdb") {
        return initdb.parent().map(PathBuf::from);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let folders = versions.map(|version| version.path().join("bin")).filter(|folder| folder.join("initdb").is_file());
    folders.max()
}

fn id(which: &str) -> u32 {
    id_of(which, "")
}

fn id_of(which: &str, user: &str) -> u32 {
    let mut command = Command::new("id");
    command.arg(which).args((!user.is_empty()).then_some(user));
    let output = command.output().expect("id can be run");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}
