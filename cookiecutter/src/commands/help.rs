//! `purlin help`: lists the commands, or explains one.

use super::{COMMANDS, Command, named};
use crate::failure::Failure;
use crate::screen;
use lexopt::Arg;
use std::process::ExitCode;

pub(crate) const COMMAND: Command =
    Command { name: "help", summary: "explain a command", help: HELP, options: &["--help"], work: run };

const HELP: &str = "\
usage: purlin help [COMMAND]

Lists the commands, or explains one of them.

  -h, --help    this text

example:
  purlin help new
";

fn run(command: &Command, mut arguments: lexopt::Parser) -> Result<ExitCode, Failure> {
    let mut about = None;
    while let Some(argument) = arguments.next().map_err(Failure::arguments)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => about = about.or(Some(command)),
            Arg::Value(name) if about.is_none() => about = Some(named(&name.to_string_lossy())?),
            other => return Err(command.unexpected(&other)),
        }
    }
    match about {
        Some(command) => command.print_help(),
        None => {
            screen::say(&overview())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The list of commands.
pub(crate) fn overview() -> String {
    let mut text = "usage: purlin COMMAND [OPTIONS]\n\n".to_owned();
    for Command { name, summary, .. } in COMMANDS {
        text.push_str(&format!("  {name:7}  {summary}\n"));
    }
    text.push_str("\npurlin COMMAND --help says more, with an example; purlin --version says which purlin this is.\n");
    text
}
