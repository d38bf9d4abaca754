//! `purlin`: makes Purlin sites, serves them while they are developed, and helps to keep them. One file per command, in `commands/`.

mod answers;
mod change;
mod commands;
mod dev;
mod diff;
mod edit;
mod failure;
mod field;
mod fnmatch;
mod git;
mod interview;
mod jinja;
mod machine;
mod manifest;
mod nearest;
mod own_site;
mod place;
mod questions;
mod record;
mod render;
mod scaffold;
mod screen;
mod shell;
mod site_name;
mod template;
mod words;

use crate::failure::Failure;
use lexopt::Arg;
use std::process::ExitCode;

/// Ends with 0 when all went well, 1 when the work failed, 2 when the command line was wrong.
fn main() -> ExitCode {
    match run(lexopt::Parser::from_env()) {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

fn run(mut arguments: lexopt::Parser) -> Result<ExitCode, Failure> {
    match arguments.next().map_err(Failure::arguments)? {
        Some(Arg::Value(name)) => commands::named(&name.to_string_lossy())?.run(arguments),
        Some(Arg::Short('h') | Arg::Long("help")) => commands::help::COMMAND.run(arguments),
        Some(Arg::Short('V') | Arg::Long("version")) => {
            screen::say(concat!("purlin ", env!("CARGO_PKG_VERSION"), "\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(option) => {
            let known = ["--help", "--version"];
            Err(Failure::unknown_option(
                &option,
                &known,
                "put the options of a command after its name: purlin new --help",
            ))
        }
        None => Err(Failure::usage("there is no command").remedy(commands::help::overview())),
    }
}
