//! Instructions of a program, counted by callgrind, which Debian's package `valgrind` has.

use std::process::Command;

/// The instructions of this program when it is run with these arguments; none without `valgrind`. The profile is left in a
/// file, if one is named.
pub(crate) fn instructions(arguments: &[&str], profile: Option<&str>) -> Option<u64> {
    let this = std::env::current_exe().ok()?;
    let told = std::env::temp_dir().join(format!("purlin-callgrind-{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", profile.unwrap_or("/dev/null")));
    command.arg(format!("--log-file={}", told.display())).arg(this).args(arguments);
    let output = command.output().ok()?;
    let said = std::fs::read_to_string(&told).ok()?;
    std::fs::remove_file(&told).ok()?;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}
