//! Real servers for the tests: started with a folder of their own, and stopped when no test uses them any more.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(all(feature = "redis", unix))]
pub(crate) mod nginx;
#[cfg(all(feature = "postgres", unix))]
pub(crate) mod postgres;
#[cfg(all(feature = "redis", unix))]
pub(crate) mod redis;

/// Says once what was not tested, and how to test it; past the test runner, which hides what passing tests print.
///
/// With `PURLIN_TEST_SERVERS=all`, as where everything is installed, it fails instead.
#[allow(dead_code)] // With a feature for each kind of server, there may be none of them.
pub(crate) fn left_out(what: &'static str, how: &str) {
    static SAID: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let all = std::env::var("PURLIN_TEST_SERVERS").is_ok_and(|which| which == "all");
    assert!(!all, "{what} cannot be run: {how}");
    let mut said = SAID.lock().unwrap();
    if !said.contains(&what) {
        said.push(what);
        let _ = writeln!(std::io::stderr(), "\nLEFT OUT: {what}. To run them, {how}.");
    }
}

#[cfg(not(feature = "redis"))]
#[test]
fn what_needs_redis_is_left_out() {
    let how = "install redis-server and nginx-light: cargo test --features redis-tls";
    let _ = writeln!(std::io::stderr(), "\nLEFT OUT: the tests of sessions in Redis. To run them, {how}.");
}

/// Where this program is, if anywhere; those for administrators are looked for, too.
#[allow(dead_code)]
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// An empty folder, deleted with what is in it.
#[allow(dead_code)]
pub(crate) struct Folder(PathBuf);

#[allow(dead_code)]
impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: the path of a unix socket in it has to fit into 108 bytes.
        let folder = std::env::temp_dir().join(format!("purlin-{}-{count}", std::process::id()));
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
