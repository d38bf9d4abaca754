//! The commands of `purlin`, one file each.

pub(crate) mod add;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod help;
pub(crate) mod new;
pub(crate) mod upgrade;

use crate::failure::Failure;
use crate::nearest::nearest;
use crate::screen;
use lexopt::Arg;
use std::process::ExitCode;

/// Every command, in the order in which `purlin help` lists them.
pub(crate) const COMMANDS: &[Command] =
    &[new::COMMAND, dev::COMMAND, add::COMMAND, doctor::COMMAND, upgrade::COMMAND, help::COMMAND];

/// A command: what is known about it, and what it does.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// One line, for the list of commands.
    pub(crate) summary: &'static str,
    /// Usage, options, and one example.
    pub(crate) help: &'static str,
    /// The options it takes, as on the command line, for "did you mean".
    pub(crate) options: &'static [&'static str],
    /// Does the work; the site that it may have run has an exit code of its own.
    pub(crate) work: fn(&Command, lexopt::Parser) -> Result<ExitCode, Failure>,
}

impl Command {
    pub(crate) fn run(&self, arguments: lexopt::Parser) -> Result<ExitCode, Failure> {
        (self.work)(self, arguments)
    }

    /// What `purlin COMMAND --help` prints.
    pub(crate) fn print_help(&self) -> Result<ExitCode, Failure> {
        screen::say(self.help)?;
        Ok(ExitCode::SUCCESS)
    }

    /// An argument that the command does not take.
    pub(crate) fn unexpected(&self, argument: &Arg<'_>) -> Failure {
        Failure::unknown_option(argument, self.options, &format!("purlin {} --help lists what it takes", self.name))
    }
}

/// The command of this name.
///
/// # Errors
///
/// There is none; the message names the nearest.
pub(crate) fn named(name: &str) -> Result<&'static Command, Failure> {
    COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| {
        let remedy = match nearest(name, COMMANDS.iter().map(|command| command.name)) {
            Some(near) => format!("did you mean purlin {near}?"),
            None => "purlin help lists them".to_owned(),
        };
        Failure::usage(format!("there is no command `{name}`")).remedy(remedy)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_help_has_its_options_and_an_example() {
        for command in super::COMMANDS {
            assert!(command.help.starts_with(&format!("usage: purlin {}", command.name)), "{}", command.name);
            assert!(command.help.contains("\nexample:\n"), "{}", command.name);
            assert!(command.options.contains(&"--help"), "{}", command.name);
            for option in command.options {
                assert!(command.help.contains(option), "{} {option}", command.name);
            }
        }
    }
}
