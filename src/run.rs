//! `run`: the command line of a site.

use crate::config::{Config, Listen};
use crate::server::Server;
use crate::site::{Life, Outline, Site, Start};
use crate::{Context, Error, Request, Response, Result, Service, log};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
usage: SITE [COMMAND] [OPTIONS]

  serve      serves the site, until it is interrupted (also without a command)
  routes     prints the routes: methods, path, name, line
  stack      prints the layers, outermost first, with their lines and options
  config     prints every setting, its value and where that comes from
  health     asks the running site for `/`, and fails if it does not answer
";

/// Between the two halves of the help, for sites with a database.
#[cfg(feature = "database")]
const HELP_OF_DATABASES: &str =
    "  migrate    runs the database's pending migrations; with --status prints all of them, and which have run\n";

#[cfg(not(feature = "database"))]
const HELP_OF_DATABASES: &str = "";

const MORE_HELP: &str = "  help       prints this

  --listen ADDRESS   serves there instead of the configured address: 127.0.0.1:9000, [::]:80, unix:/run/site.sock

The environment PURLIN_ENV (development, production or a name of yours) picks config/NAME.toml. A variable such as
PURLIN__SERVER__LISTEN=127.0.0.1:9000 stands above the file.";

/// Runs a site: reads the command line and the configuration, builds the stack, and serves it or prints what was asked for.
///
/// `stack` gets the [`Config`] and puts the site together. Whatever goes wrong before the first request is printed, with what
/// to do, and the process ends with status 1 (2 for a command line that cannot be read).
///
/// ```no_run
/// use purlin::{Config, Result, Router, Service, Stack, get};
///
/// fn stack(_: Config) -> Result<impl Service> {
///     Ok(Stack::new().app(Router::new().route("/", get(async || "Hello, world!"))))
/// }
///
/// fn main() -> std::process::ExitCode {
///     purlin::run(stack)
/// }
/// ```
pub fn run<S: Service + 'static>(stack: impl FnOnce(Config) -> Result<S>) -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("error: {problem}\n\n{HELP}{HELP_OF_DATABASES}{MORE_HELP}");
            return ExitCode::from(2);
        }
    };
    match arguments.obey(stack) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = error.chain().collect::<Vec<_>>().join("\n  caused by: ");
            // An address of a database, say, with the password in it.
            eprintln!("error: {}", crate::report::Redaction::new().text(&causes));
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Arguments {
    command: Command,
    listen: Vec<Listen>,
    status: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Command {
    #[default]
    Serve,
    Routes,
    Stack,
    Config,
    Health,
    Migrate,
    Help,
}

const COMMANDS: [(&str, Command); 7] = [
    ("serve", Command::Serve),
    ("routes", Command::Routes),
    ("stack", Command::Stack),
    ("config", Command::Config),
    ("health", Command::Health),
    ("migrate", Command::Migrate),
    ("help", Command::Help),
];

impl Arguments {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self::default();
        let mut command = None;
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (argument, None),
            };
            match name.as_str() {
                "--listen" => {
                    let value = value.or_else(|| arguments.next()).ok_or("--listen needs an address")?;
                    let listen = value.parse().map_err(|error| format!("--listen: {error}"))?;
                    read.listen.push(listen);
                }
                "--status" => read.status = true,
                option if option.starts_with('-') && !matches!(option, "-h" | "--help") => {
                    return Err(unknown("option", option, ["--listen", "--status", "--help"].into_iter()));
                }
                word => {
                    let name = if word.starts_with('-') { "help" } else { word };
                    let found = COMMANDS.iter().find(|(known, _)| *known == name);
                    let (_, found) =
                        found.ok_or_else(|| unknown("command", word, COMMANDS.iter().map(|(name, _)| *name)))?;
                    if command.replace(*found).is_some() {
                        return Err(format!("one command at a time: {word} is the second"));
                    }
                }
            }
        }
        read.command = command.unwrap_or_default();
        if read.status && read.command != Command::Migrate {
            return Err("--status belongs to the command migrate".to_owned());
        }
        Ok(read)
    }

    fn obey<S: Service + 'static>(self, stack: impl FnOnce(Config) -> Result<S>) -> Result<()> {
        if self.command == Command::Help {
            println!("{HELP}{HELP_OF_DATABASES}{MORE_HELP}");
            return Ok(());
        }
        let mut config = Config::load()?;
        if !self.listen.is_empty() {
            config.server.listen = self.listen;
        }
        match self.command {
            Command::Serve => serve(config, stack),
            Command::Routes => {
                print!("{}", outline(config, stack)?.routes_table());
                Ok(())
            }
            Command::Stack => {
                print!("{}", outline(config, stack)?.stack_table());
                Ok(())
            }
            Command::Migrate => migrate(&outline(config, stack)?, self.status),
            Command::Config => {
                for setting in config.values() {
                    println!("{} = {}  # {}", setting.key, setting.value, setting.source);
                }
                Ok(())
            }
            Command::Health => health(&config),
            Command::Help => Ok(()),
        }
    }
}

/// What the site is made of, without starting it. It is put together in a runtime, as when it is served.
fn outline<S: Service>(config: Config, stack: impl FnOnce(Config) -> Result<S>) -> Result<Site> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let _inside = runtime.enter();
    Outline::of(&stack(config)?)
}

/// Migrates the databases of the site, or says what there is to migrate.
#[cfg(feature = "database")]
fn migrate(site: &Site, status: bool) -> Result<()> {
    let mut databases = site.databases().peekable();
    if databases.peek().is_none() {
        return Err(Error::internal("the site has no database: `Database` is not among its layers"));
    }
    for database in databases {
        let migrations = if status { database.migrations()? } else { database.migrate()? };
        println!("{database}");
        for migration in &migrations {
            println!("  {:7}  {}", migration.state, migration.name);
        }
        if migrations.is_empty() {
            println!("  {}", if status { "no migrations" } else { "nothing to do" });
        }
    }
    Ok(())
}

#[cfg(not(feature = "database"))]
fn migrate(_: &Site, _: bool) -> Result<()> {
    Err(Error::internal("the site has no database: Purlin's features `sqlite` and `postgres` bring one"))
}

fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str>) -> String {
    match crate::nearest::nearest(word, known) {
        Some(nearest) => format!("there is no {what} `{word}`: did you mean `{nearest}`?"),
        None => format!("there is no {what} `{word}`"),
    }
}

fn serve<S: Service + 'static>(config: Config, stack: impl FnOnce(Config) -> Result<S>) -> Result<()> {
    log::start(&config.log)?;
    for warning in &config.warnings {
        tracing::warn!(target: "purlin::config", "{warning}");
    }
    let bound = match Server::from_config(&config.server).bind() {
        Ok(bound) => bound,
        Err(error) => return Err(told(config, stack, error)),
    };
    let environment = config.environment.clone();
    let places: Vec<String> = bound.addresses().iter().map(url).collect();
    let line = format!("serving {} ({environment}), Ctrl-C stops it", places.join(", "));
    bound.run(|| async { Ok(Announced { app: stack(config)?, line }) })
}

/// The site cannot be served. Those whom its stack tells of failures are told of this one too; a stack that fails as well has
/// nobody to tell.
fn told<S: Service>(config: Config, stack: impl FnOnce(Config) -> Result<S>, error: Error) -> Error {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return error;
    };
    runtime.block_on(async {
        match stack(config) {
            Ok(app) => Life::never(&app, error).told().await,
            Err(_) => error,
        }
    })
}

/// Where a browser on this machine finds the server.
fn url(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => format!("http://{}", reachable(*address)),
        other => other.to_string(),
    }
}

/// The address by which this machine reaches a server that listens on all of its own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// An application which says that it is there as soon as it has started, and not before.
struct Announced<S> {
    app: S,
    line: String,
}

impl<S: Service> Service for Announced<S> {
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send {
        self.app.call(req)
    }

    fn describe(&self, outline: &mut Outline) {
        self.app.describe(outline);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.app.start(start)?;
        println!("{}", self.line);
        Ok(())
    }
}

/// How long the running site may take to answer `health`.
const HEALTHY: Duration = Duration::from_secs(5);

/// Asks the server that runs with this configuration for `/`.
fn health(config: &Config) -> Result<()> {
    let listen = config.server.listen.first().context("no address to ask: `server.listen` is empty")?;
    let status = match listen {
        Listen::Tcp(address) => {
            let address = reachable(*address);
            let stream = TcpStream::connect_timeout(&address, HEALTHY).context(format!("connecting to {address}"))?;
            stream.set_read_timeout(Some(HEALTHY))?;
            status_of(stream)
        }
        #[cfg(unix)]
        Listen::Unix(path) => {
            let stream = std::os::unix::net::UnixStream::connect(path);
            let stream = stream.context(format!("connecting to {}", path.display()))?;
            stream.set_read_timeout(Some(HEALTHY))?;
            status_of(stream)
        }
        other => return Err(Error::internal(format!("cannot ask a server that listens on {other}: give `--listen`"))),
    };
    match status.context("asking for /")? {
        status if status < 500 => {
            println!("healthy: {status}");
            Ok(())
        }
        status => Err(Error::internal(format!("the site answers {status}"))),
    }
}

fn status_of(mut stream: impl Read + Write) -> Result<u16> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    let status = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.parse().ok());
    status.context(format!("expected an answer in HTTP/1.1, found {:?}", String::from_utf8_lossy(&line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::ErrorPages;
    use crate::report::{Report, Reporter};
    use crate::{Router, Stack};
    use std::sync::{Arc, Mutex};

    fn read(words: &[&str]) -> Result<Arguments, String> {
        Arguments::read(words.iter().map(|word| (*word).to_owned()))
    }

    /// Keeps the messages that it is told.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Reporter for Kept {
        fn report(&self, report: &Arc<Report>) {
            self.0.lock().unwrap().push(report.message.clone());
        }
    }

    #[test]
    fn a_taken_port_is_told_to_whom_the_stack_names() {
        let kept = Kept::default();
        let pages = ErrorPages::new().reporter(kept.clone());
        let stack = |_| Ok(Stack::new().layer(pages).app(Router::new()));
        let error = told(Config::default(), stack, Error::internal("the port is taken"));
        assert_eq!(error.to_string(), "the port is taken");
        assert_eq!(*kept.0.lock().unwrap(), ["the port is taken"]);
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
        assert_eq!(read(&["routes", "--help"]).unwrap_err(), "one command at a time: --help is the second");
        assert_eq!(read(&["-h"]).unwrap().command, Command::Help);
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let table: &[(&[&str], &str)] = &[
            (&["route"], "there is no command `route`: did you mean `routes`?"),
            (&["--listne", "x"], "there is no option `--listne`: did you mean `--listen`?"),
            (&["--listen"], "--listen needs an address"),
            (&["stack", "routes"], "one command at a time: routes is the second"),
            (&["routes", "--status"], "--status belongs to the command migrate"),
        ];
        for (words, message) in table {
            assert_eq!(read(words).unwrap_err(), *message, "{words:?}");
        }
        assert!(read(&["--listen", "localhost:80"]).unwrap_err().starts_with("--listen: expected an address such as"));
    }
}
