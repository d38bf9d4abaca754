//! The commands of `purlin`, one file each.

pub(crate) mod add;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod help;
pub(crate) mod new;
pub(crate) mod upgrade;

use crate::failure::Failure;
use crate::nearest::nearest;
use crate::own_site::OwnSite;
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

/// What a site's own program can do, which Purlin gives it.
const OF_SITES: &[&str] =
    &["serve", "routes", "stack", "layers", "config", "check", "request", "lint", "health", "restart", "migrate"];

/// The command of this name.
///
/// # Errors
///
/// There is none; the message names the nearest.
pub(crate) fn named(name: &str) -> Result<&'static Command, Failure> {
    COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| {
        let remedy = match nearest(name, COMMANDS.iter().map(|command| command.name)) {
            _ if OF_SITES.contains(&name) => match OwnSite::find() {
                Ok(_) => format!("the site itself has it: cargo run -- {name}"),
                Err(_) => format!("a site has it, in its folder: cargo run -- {name}"),
            },
            Some(near) => format!("did you mean purlin {near}?"),
            None => "purlin help lists them".to_owned(),
        };
        Failure::usage(format!("there is no command `{name}`")).remedy(remedy)
    })
}

#[cfg(test)]
mod tests {
    /// In a package of its own the tool has no such file beside it.
    #[test]
    fn the_commands_of_sites_are_those_that_they_have() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/run/arguments.rs");
        let Ok(source) = std::fs::read_to_string(file) else { return };
        let (_, table) = source.split_once("const COMMANDS:").unwrap();
        let table = table.split_once("\n];").unwrap().0;
        let above_each = table.rsplit_once("Command::").unwrap().0.split("Command::");
        let names = above_each.map(|above| above.rsplit('(').next().unwrap().split('"').nth(1).unwrap());
        let found: Vec<&str> = names.filter(|name| *name != "help").collect();
        assert_eq!(found, super::OF_SITES);
    }

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
