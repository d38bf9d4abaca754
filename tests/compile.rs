//! What the compiler says of a mistake: something that a beginner can act on.
//!
//! The words are in `tests/compile/*.stderr`, written anew by `TRYBUILD=overwrite cargo test compile`: also where a list of what
//! "other types implement trait" has grown. With the default features only, as they decide what is in those lists.

/// The compiler whose words the files in `tests/compile` hold.
const RUSTC: &str = "rustc 1.95.";

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(rustc).arg("--version").output().unwrap();
    if !String::from_utf8_lossy(&version.stdout).starts_with(RUSTC) {
        // Another compiler has other words around ours.
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compile/*.rs");
}
