//! Real servers for the tests: started with a folder of their own, and stopped when no test uses them any more.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(all(any(all(feature = "auth", feature = "redis"), feature = "proxy"), unix))]
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

/// What is not even compiled into this program: features that are off, as most are by default.
#[test]
fn what_has_its_feature_off_is_said_to_be_left_out() {
    let features = [
        ("auth", cfg!(feature = "auth"), "sign-in, also behind nginx"),
        ("cache", cfg!(feature = "cache"), "caches of values, also in Redis"),
        ("cgi", cfg!(feature = "cgi"), "CGI and FastCGI, also with PHP (real programs)"),
        ("compression", cfg!(feature = "compression"), "compression"),
        ("cookie-sessions", cfg!(feature = "cookie-sessions"), "sessions in cookies"),
        ("http2", cfg!(feature = "http2"), "HTTP/2"),
        ("mail", cfg!(feature = "mail"), "reports by mail"),
        ("metrics", cfg!(feature = "metrics"), "numbers for Prometheus"),
        ("multipart", cfg!(feature = "multipart"), "uploads"),
        ("opentelemetry", cfg!(feature = "opentelemetry"), "traces"),
        ("postgres", cfg!(feature = "postgres"), "databases and sessions in PostgreSQL (a real server)"),
        ("proxy", cfg!(feature = "proxy"), "the reverse proxy, also in front of nginx (a real server)"),
        ("redis", cfg!(feature = "redis"), "sessions in Redis, two instances behind nginx (real servers)"),
        ("redis-tls", cfg!(feature = "redis-tls"), "Redis by TLS"),
        ("sqlite", cfg!(feature = "sqlite"), "databases and sessions in SQLite"),
        ("tera", cfg!(feature = "tera"), "templates, forms and CSRF"),
        ("tls", cfg!(feature = "tls"), "https (openssl, curl)"),
        ("tower", cfg!(feature = "tower"), "tower layers and services"),
        ("validation", cfg!(feature = "validation"), "rules by garde"),
        ("webhook", cfg!(feature = "webhook"), "reports to a webhook"),
        ("wsgi", cfg!(feature = "wsgi"), "applications in Python (a real Flask)"),
        ("zstd", cfg!(feature = "zstd"), "zstd"),
    ];
    let off: String = (features.iter().filter(|(_, is_on, _)| !is_on))
        .map(|(feature, _, what)| format!("  {feature}: {what}\n"))
        .collect();
    if !off.is_empty() {
        let how = "cargo test --all-features; the servers are Debian's redis-server, postgresql, nginx-light, php-fpm and php-cgi";
        let _ = writeln!(std::io::stderr(), "\nLEFT OUT, since these features are off:\n{off}To run all tests: {how}");
    }
}

/// Where this program is, if anywhere; those for administrators are looked for, too.
#[allow(dead_code)]
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A port of this machine's loopback address at which nobody listens at the moment: another process may be there first.
///
/// Each is given once. None is of those that systems give to connections by themselves, from 32768 or 49152 on, so that a
/// server which is stopped finds its own again.
#[allow(dead_code)]
pub(crate) fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let number = std::process::id().wrapping_mul(97).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + (number % PORTS) as u16; // less than 32768
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST_PORT} to 32767 is free");
}

const FIRST_PORT: u16 = 20_768;
const PORTS: u32 = 12_000;

/// An empty folder of this user alone, deleted with what is in it.
#[allow(dead_code)]
pub(crate) struct Folder(PathBuf);

#[allow(dead_code)]
impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: the path of a unix socket in it has to fit into 108 bytes.
        let folder = std::env::temp_dir().join(format!("purlin-{}-{count}", std::process::id()));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
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
