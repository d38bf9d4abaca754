//! What the compiler says of a mistake: something that a beginner can act on.
//!
//! Its words are in `cases/*.stderr`, and are written anew by `TRYBUILD=overwrite cargo test -p purlin-compile-tests`: also
//! where a list of what "other types implement trait" has grown.

/// The compiler whose words the files hold: another has other words around ours.
#[cfg(test)]
const RUSTC: &str = "rustc 1.95.";

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(rustc).arg("--version").output().unwrap();
    if String::from_utf8_lossy(&version.stdout).starts_with(RUSTC) {
        trybuild::TestCases::new().compile_fail("cases/*.rs");
    }
}
