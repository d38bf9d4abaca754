//! Holds a server against the rules of HTTP: `cargo run --example lint -- http://127.0.0.1:8000/ [--json]`.
//!
//! Prints a line for each violation, and ends with status 1 if one is an error. Every site has the same as its command `lint`.

use purlin::lint::Severity;
use purlin::testing::lint;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (options, addresses): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with('-'));
    if addresses.is_empty() || options.iter().any(|option| option != "--json") {
        eprintln!("usage: lint URL… [--json]");
        return ExitCode::from(2);
    }
    let mut broken = Vec::new();
    for address in &addresses {
        match lint(address).await {
            Ok(found) => broken.extend(found),
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::from(2);
            }
        }
    }
    for violation in &broken {
        match options.is_empty() {
            true => println!("{violation}"),
            false => println!("{}", serde_json::to_string(violation).expect("strings are JSON")),
        }
    }
    let error = broken.iter().any(|violation| violation.rule().severity == Severity::Error);
    if error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
