//! What every server of the bench shares: its routes' count, its headers, the file it serves, how it says where it listens.

pub mod drive;

/// The answer of `/`.
pub const HELLO: &str = "Hello, world!";

/// The headers that a careful site sets on every answer.
pub const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// As Purlin's `SecurityHeaders` has it.
pub const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; \
                          base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// So many other routes stand beside `/`, in the full stacks.
pub const ROUTES: usize = 30;

/// The folder with the files, made by the driver: `PEERS_FILES`.
pub fn files() -> std::path::PathBuf {
    std::env::var_os("PEERS_FILES").expect("PEERS_FILES names the folder with the files").into()
}

/// Where Redis is, started by the driver: `PEERS_REDIS`.
pub fn redis() -> String {
    std::env::var("PEERS_REDIS").expect("PEERS_REDIS is the URL of a Redis")
}

/// The folder for the file of SQLite, made by the driver: `PEERS_SQLITE`.
pub fn sqlite() -> std::path::PathBuf {
    std::env::var_os("PEERS_SQLITE").expect("PEERS_SQLITE names a folder").into()
}

/// Which workload the process serves: its first argument.
pub fn workload() -> String {
    std::env::args().nth(1).expect("the workload is the first argument")
}

/// Tells the driver where the server listens.
pub fn listening(address: std::net::SocketAddr) {
    println!("{address}");
}
