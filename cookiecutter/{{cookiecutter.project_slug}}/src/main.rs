//! Starts the site: `cargo run`, `cargo run -- routes`, `cargo run -- stack`, `cargo run -- help`.

fn main() -> std::process::ExitCode {
    purlin::run({{ cookiecutter.__crate_name }}::stack::stack)
}
