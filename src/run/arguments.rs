//! What stands on the command line of a site.

use crate::config::Listen;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Arguments {
    pub(super) command: Command,
    /// What follows the command: a file, a key, a method and a path.
    pub(super) words: Vec<String>,
    pub(super) listen: Vec<Listen>,
    pub(super) processes: Option<usize>,
    pub(super) set: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) data: Option<String>,
    pub(super) matched: Option<String>,
    pub(super) status: bool,
    pub(super) json: bool,
    pub(super) help: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Command {
    #[default]
    Serve,
    Routes,
    Stack,
    Layers,
    Config,
    Check,
    Request,
    Lint,
    Health,
    Restart,
    Migrate,
    Help,
}

impl Command {
    /// Whether this build has it: `migrate` is for sites with a database.
    pub(super) fn is_here(self) -> bool {
        match self {
            Self::Migrate => cfg!(feature = "database"),
            Self::Layers => cfg!(feature = "deploy"),
            Self::Restart => cfg!(unix),
            _ => true,
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        COMMANDS.iter().find(|(known, ..)| *known == name).map(|(_, command, ..)| *command)
    }

    /// How many words may follow it.
    fn most_words(self) -> usize {
        match self {
            Self::Serve | Self::Routes | Self::Stack | Self::Restart => 1,
            Self::Config | Self::Request => 3,
            Self::Lint => usize::MAX,
            _ => 0,
        }
    }
}

const OPTIONS: [&str; 9] =
    ["--listen", "--processes", "--status", "--help", "--json", "--match", "--set", "--header", "--data"];

/// What is wrong with a command line, and how it is to be: the usage of the command that was meant, if there is one.
#[derive(Debug, PartialEq)]
pub(super) struct Misuse {
    pub(super) problem: String,
    pub(super) usage: String,
}

impl Arguments {
    pub(super) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, Misuse> {
        let mut command = None;
        Self::read_for(&mut command, arguments).map_err(|problem| {
            let usage = command.map_or_else(|| format!("{USAGE}\n`--help` lists the commands."), help_of);
            Misuse { problem, usage }
        })
    }

    /// `command` is the one that it is for, as soon as that has been read.
    fn read_for(command: &mut Option<Command>, arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self::default();
        let mut given = Vec::new();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (argument, None),
            };
            let mut value =
                |what: &str| value.clone().or_else(|| arguments.next()).ok_or_else(|| format!("{name} needs {what}"));
            match name.as_str() {
                "--listen" => {
                    let listen = value("an address")?.parse().map_err(|error| format!("--listen: {error}"))?;
                    read.listen.push(listen);
                }
                "--processes" => {
                    let count = value("a number")?;
                    let number = count.parse().ok().filter(|count| (1..=1024).contains(count));
                    let problem = || format!("--processes: expected a number from 1 to 1024, found {count:?}");
                    read.processes = Some(number.ok_or_else(problem)?);
                }
                "--set" => {
                    let set = value("KEY=VALUE")?;
                    let pair =
                        set.split_once('=').ok_or_else(|| format!("--set: expected KEY=VALUE, found {set:?}"))?;
                    read.set.push((pair.0.trim().to_owned(), pair.1.to_owned()));
                }
                "--header" => {
                    let header = value("'NAME: VALUE'")?;
                    let problem = || format!("--header: expected 'NAME: VALUE', found {header:?}");
                    let (name, value) = header.split_once(':').ok_or_else(problem)?;
                    read.headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                "--data" => read.data = Some(value("a text")?),
                "--match" => read.matched = Some(value("a URL")?),
                "--status" => read.status = true,
                "--json" => read.json = true,
                "-h" | "--help" => {
                    read.help = true;
                    continue;
                }
                option if option.starts_with('-') => return Err(unknown("option", option, OPTIONS.into_iter())),
                word => {
                    match command {
                        None => {
                            let here = COMMANDS.iter().filter(|(_, command, ..)| command.is_here());
                            let names = here.map(|(name, ..)| *name);
                            *command = Some(Command::named(word).ok_or_else(|| unknown("command", word, names))?);
                        }
                        Some(Command::Config | Command::Request) => read.words.push(word.to_owned()),
                        Some(_) if Command::named(word).is_some() => {
                            return Err(format!("one command at a time: {word} is the second"));
                        }
                        Some(_) => read.words.push(word.to_owned()),
                    }
                    continue;
                }
            }
            given.push(name);
        }
        read.command = command.unwrap_or(if read.help { Command::Help } else { Command::Serve });
        let (name, _, words, _, options) =
            COMMANDS.iter().find(|(_, known, ..)| *known == read.command).expect("each command stands in COMMANDS");
        // Every command reads the configuration, so that an address may be given to each.
        if let Some(option) = given.iter().find(|option| *option != "--listen" && !options.contains(&option.as_str())) {
            let of = COMMANDS.iter().filter(|(.., options)| options.contains(&option.as_str())).map(|(name, ..)| *name);
            let of: Vec<&str> = of.collect();
            return Err(match of.as_slice() {
                [one] => format!("{option} belongs to the command {one}"),
                more => format!("{option} belongs to the commands {}", more.join(", ")),
            });
        }
        if read.help {
            return Ok(read);
        }
        if read.words.len() > read.command.most_words() {
            let word = &read.words[read.command.most_words()];
            return Err(format!("{name} takes {}: found {word:?}", if words.is_empty() { "no word" } else { words }));
        }
        let least = match read.command {
            Command::Request => 2,
            Command::Lint => 1,
            _ => 0,
        };
        if read.words.len() < least {
            return Err(format!("{name} needs {words}"));
        }
        if read.command == Command::Config {
            read.check_config_words()?;
        }
        Ok(read)
    }

    fn check_config_words(&self) -> Result<(), String> {
        match self.words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] | ["check"] | ["check", _] | ["explain", _] | ["explain", _, _] => Ok(()),
            ["explain"] => Err("config explain needs a key".to_owned()),
            // A file has a dot in its name, and no command has.
            [file] if file.contains('.') => Ok(()),
            [word, ..] => Err(unknown("command config", word, ["explain", "check"].into_iter())),
        }
    }

    /// The file among the words.
    pub(super) fn file(&self) -> Option<&str> {
        let at = match self.command {
            Command::Request => 2,
            Command::Config if self.words.first().is_some_and(|word| word == "explain") => 2,
            Command::Config if self.words.first().is_some_and(|word| word == "check") => 1,
            _ => 0,
        };
        self.words.get(at).map(String::as_str)
    }
}

/// The commands: name, what follows it, what it does, and the options that it has.
pub(super) const COMMANDS: [(&str, Command, &str, &str, &[&str]); 12] = [
    (
        "serve",
        Command::Serve,
        "[FILE[#NAME]]",
        "serves the site, until it is interrupted (also without a command)
  FILE  a file that puts applications together, TOML or PasteDeploy's INI: all its servers start; with #NAME that
        application of it, by the server `main` or the only one
  --processes N  by so many processes that share the sockets, instead of `server.processes`; a FILE says it by `prefork`
  --json  prints a line for programs where each server serves",
        &["--listen", "--processes", "--json", "--set"],
    ),
    (
        "routes",
        Command::Routes,
        "[FILE[#NAME]]",
        "prints the routes: methods, path, name, line
  --match URL  only the one that answers there, with its parameters and the layers in the way",
        &["--match", "--json", "--set"],
    ),
    (
        "stack",
        Command::Stack,
        "[FILE[#NAME]]",
        "prints the layers, outermost first, with their lines and options",
        &["--json", "--set"],
    ),
    (
        "layers",
        Command::Layers,
        "",
        "prints what a file may use: layers, applications and servers, with their options and defaults",
        &["--json"],
    ),
    (
        "config",
        Command::Config,
        "[explain KEY | check] [FILE[#NAME]]",
        "prints every setting, or those of a FILE, each with its value and where that comes from
  explain KEY  only this one: server.listen, or of a FILE layer.gzip.min_size, app.main or defaults.admin_email
  check        says whether the configuration, the stack and all of a FILE fit together",
        &["--json", "--set"],
    ),
    (
        "check",
        Command::Check,
        "",
        "says whether the settings, the stack and its routes, the templates and the database are in order, with remedies
  It starts nothing, runs no migration, and fails if something is not. PURLIN_ENV=production checks what visitors get.",
        &["--json"],
    ),
    (
        "request",
        Command::Request,
        "METHOD PATH [FILE[#NAME]]",
        "sends one request through the stack, without a socket, and prints the answer
  --header 'NAME: VALUE'  a header of the request; may be given several times
  --data TEXT             its body",
        &["--header", "--data", "--json", "--set"],
    ),
    (
        "lint",
        Command::Lint,
        "URL…",
        "asks a server that listens, in whatever language, and prints what its answers break of HTTP's rules
  It fails if that is an error, and not if it is advice.",
        &["--json"],
    ),
    ("health", Command::Health, "", "asks the running site for `/`, and fails if it does not answer", &["--listen"]),
    (
        "restart",
        Command::Restart,
        "[FILE[#NAME]]",
        "has the running site replaced by its executable as it is now, without losing a request; waits until that serves
  FILE  the one that the site was started with; so with --listen
  It fails if the new process does not start: then the one that runs serves on.",
        &["--listen"],
    ),
    (
        "migrate",
        Command::Migrate,
        "",
        "runs the database's pending migrations; with --status prints all of them, and which have run",
        &["--status"],
    ),
    ("help", Command::Help, "", "prints this", &[]),
];

const USAGE: &str = "usage: SITE [COMMAND] [OPTIONS]";

const MORE_HELP: &str = "
  --listen ADDRESS   serves there instead of the configured address: 127.0.0.1:9000, [::]:80, unix:/run/site.sock
  --set KEY=VALUE    sets a key of FILE: layer.gzip.min_size=4096, defaults.admin_email=ops@example.org
  --json             prints for programs
  COMMAND --help     tells more of one

The environment PURLIN_ENV (development, production or a name of yours) picks config/NAME.toml. A variable such as
PURLIN__SERVER__LISTEN=127.0.0.1:9000 stands above the file.";

pub(super) fn help() -> String {
    let mut help = format!("{USAGE}\n\n");
    for (name, command, _, about, _) in COMMANDS {
        if command.is_here() {
            help += &format!("  {name:9}  {}\n", about.lines().next().unwrap_or_default());
        }
    }
    help + MORE_HELP
}

pub(super) fn help_of(command: Command) -> String {
    let found = COMMANDS.iter().find(|(_, known, ..)| *known == command);
    let Some((name, _, words, about, options)) = found.filter(|_| command != Command::Help) else { return help() };
    let options: String = options.iter().map(|option| format!(" [{option}]")).collect();
    let space = if words.is_empty() { "" } else { " " };
    format!("usage: SITE {name}{space}{words}{options}\n\n  {about}")
}

fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str>) -> String {
    format!("there is no {what} `{word}`: {}", crate::nearest::hint(word, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Arguments, Misuse> {
        Arguments::read(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn a_command_line_is_read() {
        let serve = |listen: &[&str]| Arguments {
            command: Command::Serve,
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            ..Arguments::default()
        };
        assert_eq!(read(&[]), Ok(serve(&[])));
        assert_eq!(read(&["serve", "--listen", "127.0.0.1:0"]), Ok(serve(&["127.0.0.1:0"])));
        assert_eq!(read(&["--listen=[::1]:1", "--listen", "unix:/x"]), Ok(serve(&["[::1]:1", "unix:/x"])));
        assert_eq!(read(&["-h"]).unwrap().command, Command::Help);
        let routes = read(&["routes", "--help"]).unwrap();
        assert!(routes.help && help_of(routes.command).starts_with("usage: SITE routes [FILE[#NAME]] [--match]"));
        let request = read(&["request", "GET", "/", "site.toml#x", "--header", "A: b", "--json"]).unwrap();
        assert_eq!((request.file(), request.json), (Some("site.toml#x"), true));
        assert_eq!(request.headers, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(
            read(&["serve", "site.toml", "--set", "app.x.y=1=2"]).unwrap().set,
            [("app.x.y".into(), "1=2".into())]
        );
        assert_eq!(read(&["config", "explain", "server.listen"]).unwrap().file(), None);
        assert_eq!(read(&["config", "explain", "app.x.y", "site.toml"]).unwrap().file(), Some("site.toml"));
        assert_eq!(read(&["config", "check", "site.toml"]).unwrap().file(), Some("site.toml"));
        assert_eq!(read(&["config", "site.toml#x"]).unwrap().file(), Some("site.toml#x"));
        assert_eq!(read(&["config", "check"]).unwrap().file(), None);
        let lint = read(&["lint", "http://localhost:8000", "http://localhost:8000/a", "--json"]).unwrap();
        assert_eq!((lint.command, lint.words.len(), lint.json), (Command::Lint, 2, true));
        assert_eq!(read(&["routes", "--match", "/x"]).unwrap().matched.as_deref(), Some("/x"));
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let table: &[(&[&str], &str)] = &[
            (&["route"], "there is no command `route`: did you mean `routes`?"),
            (&["--listne", "x"], "there is no option `--listne`: did you mean `--listen`?"),
            (&["--listen"], "--listen needs an address"),
            (&["stack", "routes"], "one command at a time: routes is the second"),
            (&["routes", "--status"], "--status belongs to the command migrate"),
            (&["serve", "--match", "/"], "--match belongs to the command routes"),
            (
                &["health", "--json"],
                "--json belongs to the commands serve, routes, stack, layers, config, check, request, lint",
            ),
            (&["serve", "a.toml", "b.toml"], "serve takes [FILE[#NAME]]: found \"b.toml\""),
            (&["health", "x"], "health takes no word: found \"x\""),
            (&["lint"], "lint needs URL…"),
            (&["request", "GET"], "request needs METHOD PATH [FILE[#NAME]]"),
            (&["request", "GET", "/", "--header", "x"], "--header: expected 'NAME: VALUE', found \"x\""),
            (&["config", "explian", "x"], "there is no command config `explian`: did you mean `explain`?"),
            (&["config", "explain"], "config explain needs a key"),
            (&["stack", "--set", "x"], "--set: expected KEY=VALUE, found \"x\""),
        ];
        for (words, message) in table {
            assert_eq!(read(words).unwrap_err().problem, *message, "{words:?}");
        }
        let Misuse { problem, .. } = read(&["--listen", "localhost:80"]).unwrap_err();
        assert!(problem.starts_with("--listen: expected an address such as"));
    }

    #[test]
    fn a_wrong_command_line_is_told_the_usage_of_its_command_and_no_other() {
        let usage = |words: &[&str]| read(words).unwrap_err().usage;
        assert!(usage(&["request", "/x"]).starts_with("usage: SITE request METHOD PATH [FILE[#NAME]] [--header]"));
        assert_eq!(usage(&["health", "x"]), help_of(Command::Health));
        for words in [&["routse"][..], &["--listen", "localhost:80"]] {
            assert_eq!(usage(words), "usage: SITE [COMMAND] [OPTIONS]\n`--help` lists the commands.");
        }
    }

    #[test]
    fn only_commands_that_this_build_has_are_offered() {
        let problem = read(&["xyzzy"]).unwrap_err().problem;
        for (name, command, ..) in COMMANDS {
            assert_eq!(problem.contains(&format!("`{name}`")), command.is_here(), "{problem}");
            assert_eq!(help().contains(&format!("\n  {name} ")), command.is_here());
        }
    }
}
