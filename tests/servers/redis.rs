//! Redis: the one that `PURLIN_TEST_REDIS` names, or Debian's, on a unix socket.

use super::{Folder, left_out, program};
use purlin::session::RedisStore;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// An empty store of its own in the Redis that the tests share; `None` where there is no Redis.
pub(crate) fn store() -> Option<Shared> {
    let (url, server) = match std::env::var("PURLIN_TEST_REDIS") {
        Ok(url) => (url, None),
        Err(_) => {
            let server = shared()?;
            (server.url(), Some(server))
        }
    };
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("purlin:test:{}:{count}:", std::process::id());
    Some(Shared { store: RedisStore::new(&url).prefix(prefix), _server: server })
}

/// A store, and the server that must stay for as long.
pub(crate) struct Shared {
    pub(crate) store: RedisStore,
    _server: Option<Arc<Redis>>,
}

fn shared() -> Option<Arc<Redis>> {
    static SHARED: Mutex<Weak<Redis>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().or_else(|| {
        let server = Arc::new(Redis::new(&["--appendonly", "no"])?);
        *shared = Arc::downgrade(&server);
        Some(server)
    })
}

/// A server of the test's own.
pub(crate) struct Redis {
    options: Vec<String>,
    folder: Folder,
    process: Mutex<Option<Child>>,
}

impl Redis {
    /// Started; `None` where it is not installed.
    pub(crate) fn new(options: &[&str]) -> Option<Self> {
        if program("redis-server").is_none() {
            let how = "install redis-server, or set PURLIN_TEST_REDIS=redis://127.0.0.1:6379/0 (for most of them)";
            left_out("the tests of sessions in Redis", how);
            return None;
        }
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let server = Self { options, folder: Folder::new(), process: Mutex::new(None) };
        server.start();
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.folder.path().join("redis.sock").display())
    }

    /// What `redis-cli` says to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.folder().join("redis.sock")).args(command).output();
        String::from_utf8_lossy(&output.expect("redis-cli comes with redis-server").stdout).trim_end().to_owned()
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts it, with the data that it left; returns when it answers.
    pub(crate) fn start(&self) {
        let folder = self.folder.path();
        let mut process = Command::new(program("redis-server").expect("it was there"))
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(folder.join("redis.sock"))
            .arg("--dir")
            .arg(folder)
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server can be run");
        let mut said = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("piped"));
        // "The server is now ready to accept connections at …"
        while !said.contains("eady to accept connections") {
            let length = lines.read_line(&mut said).expect("it writes text");
            assert!(length > 0, "redis-server ended:\n{said}");
        }
        // What it says from now on must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        *self.process.lock().unwrap() = Some(process);
    }

    /// Ends it as the power going out would end it: without a word.
    pub(crate) fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().expect("it runs");
            process.wait().expect("it is a child");
        }
    }

    /// Stops or continues it where it is: it answers nothing meanwhile.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.lock().unwrap().as_ref().expect("it runs").id().to_string();
        let kill = Command::new("sh").args(["-c", "kill $0 $1", signal, &id]).status();
        assert!(kill.expect("a shell").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
