//! What every server of the bench serves: its routes, its headers, its page, its files, and how it says where it listens.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The answer of `/`.
pub const HELLO: &str = "Hello, world!";

/// The headers that a careful site sets on every answer, as Purlin's `SecurityHeaders` does by https; and an `x-request-id`.
pub const HEADERS: [(&str, &str); 8] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("strict-transport-security", "max-age=63072000; includeSubDomains"),
];

const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// For servers that make no ids.
pub const REQUEST_ID: &str = "0123456789abcdefghjk";

/// So many routes `/section{n}/{id}` stand beside `/`, `/count`, `/rows`, `/json` and `/form`: 30 in all.
pub const SECTIONS: usize = 25;

/// The level of gzip, where it can be set: that of Purlin's `Compression`.
pub const GZIP: u32 = 2;

/// Where a form that was taken leads to.
pub const AFTER_FORM: &str = "/rows";

/// The template of `/rows`, and its name.
pub const TEMPLATE: (&str, &str) = ("rows.html", include_str!("../templates/rows.html"));

/// What it is rendered with: `page()`.
#[derive(Serialize)]
pub struct Page {
    pub title: Cow<'static, str>,
    pub rows: &'static [Row],
}

#[derive(Serialize)]
pub struct Row {
    pub id: usize,
    pub name: String,
    pub message: String,
    pub open: bool,
}

/// How the page is called; where it differs each time, a number comes behind.
pub const TITLE: &str = "Questions & answers";

/// 50 rows, in which there is something to escape. In the mode `site-differs` it has another title each time.
pub fn page() -> Page {
    static DIFFERS: LazyLock<bool> = LazyLock::new(|| std::env::args().nth(1).as_deref() == Some("site-differs"));
    static COUNT: AtomicU64 = AtomicU64::new(100_000);
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
        (0..50)
            .map(|id| Row {
                id,
                name: format!("Visitor {id} <visitor{id}@example.org>"),
                message: format!(
                    "Is {id} < {} && {id} > 0? They say \"yes\", and this line is about as long as such lines are.",
                    id + 1
                ),
                open: id % 3 == 0,
            })
            .collect()
    });
    let title = match *DIFFERS {
        true => format!("{TITLE} {}", COUNT.fetch_add(1, Ordering::Relaxed)).into(),
        false => TITLE.into(),
    };
    Page { title, rows: &ROWS }
}

/// What `/json` is sent, and answers.
#[derive(Deserialize, Serialize)]
pub struct Note {
    pub name: String,
    pub message: String,
    pub tags: Vec<String>,
    pub count: u64,
    pub open: bool,
}

/// What `/form` is sent.
#[derive(Deserialize)]
pub struct Entry {
    pub name: String,
    pub message: String,
}

impl Entry {
    /// Whether it is taken.
    pub fn is_good(&self) -> bool {
        !self.name.is_empty() && self.message.len() <= 500
    }
}

/// What the process serves, its first argument: one route and nothing around it (`bare`), or the whole site, with sessions as
/// the server usually has them (`site`), in memory or in a cookie; and what the benches `sessions` and `uploads` ask for.
pub fn mode() -> String {
    std::env::args().nth(1).expect("what to serve is the first argument")
}

/// So many threads serve: `PEERS_THREADS`.
pub fn threads() -> usize {
    std::env::var("PEERS_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(1)
}

/// The folder with the files below `/static`, made by the driver: `PEERS_FILES`.
pub fn files() -> PathBuf {
    std::env::var_os("PEERS_FILES").expect("PEERS_FILES names the folder with the files").into()
}

/// Its files, sorted by name.
pub fn read_files() -> Vec<(String, Vec<u8>)> {
    let folder = std::fs::read_dir(files()).expect("the driver made it");
    let mut files: Vec<_> = folder
        .map(|entry| {
            let path = entry.expect("it is there").path();
            let name = path.file_name().expect("a file's").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("the driver wrote it"))
        })
        .collect();
    files.sort();
    files
}

/// Where Redis is, started by the driver: `PEERS_REDIS`.
pub fn redis() -> String {
    std::env::var("PEERS_REDIS").expect("PEERS_REDIS is the URL of a Redis")
}

/// The folder for the file of SQLite, made by the driver: `PEERS_SQLITE`.
pub fn sqlite() -> PathBuf {
    std::env::var_os("PEERS_SQLITE").expect("PEERS_SQLITE names a folder").into()
}

/// Tells the driver where the server listens.
pub fn listening(address: std::net::SocketAddr) {
    println!("{address}");
}
