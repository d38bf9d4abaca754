//! `run`: the command line of a site.

use crate::config::{Config, Listen, Loader, SecretKeys};
use crate::log::FAILED_START;
use crate::server::{Bound, Server};
use crate::site::{Boundary, Life, Outline, Site, Start};
use crate::{BoxService, Context, Error, Request, Response, Result, Service, log};
use arguments::{Arguments, Command, Misuse, help_of};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// `println!`, which goes on where nobody reads any more: behind `| head`, say.
macro_rules! say {
    ($($line:tt)*) => {
        $crate::run::say(format_args!($($line)*))
    };
}

pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    if let Err(cause) = unless_left(writeln!(std::io::stdout(), "{line}")) {
        eprintln!("error: standard output cannot be written to: {cause}");
    }
}

/// Whoever read may have left: that is no failure.
fn unless_left(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

mod arguments;
#[cfg(all(feature = "cgi", unix))]
mod cgi;
mod check;
mod commands;
#[cfg(unix)]
mod control;
mod lint;
#[cfg(unix)]
mod predecessor;
#[cfg(unix)]
mod restart;
#[cfg(unix)]
mod watchdog;

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
pub fn run<S: Service + 'static>(stack: impl FnOnce(Config) -> Result<S> + Send + 'static) -> ExitCode {
    started(std::env::args().skip(1).collect(), assembly(stack), Registered::default())
}

/// A site's `stack` without its types, so that what runs a site is compiled here, once, and not in each site at each edit.
/// With a line, the site prints it when it has started.
pub(crate) type Assembly = Box<dyn FnOnce(Config, Option<String>) -> Result<BoxService> + Send>;

pub(crate) fn assembly<S: Service + 'static>(stack: impl FnOnce(Config) -> Result<S> + Send + 'static) -> Assembly {
    Box::new(|config, line| Ok(BoxService::new(Announced { app: stack(config)?, line })))
}

/// What files may use beside the site's own stack: nothing, without the feature `deploy`.
#[cfg(feature = "deploy")]
pub(crate) type Registered = crate::deploy::Registry;
#[cfg(not(feature = "deploy"))]
#[derive(Default)]
pub(crate) struct Registered {}

pub(crate) fn started(arguments: Vec<String>, stack: Assembly, registered: Registered) -> ExitCode {
    #[cfg(all(feature = "cgi", unix))]
    if cgi::is_asked() {
        return ended(cgi::answer(stack));
    }
    #[cfg(unix)]
    predecessor::meet();
    let arguments = match Arguments::read(arguments.into_iter()) {
        Ok(arguments) => arguments,
        Err(Misuse { problem, usage }) => {
            tell_predecessor(&format!("error: {problem}"));
            eprintln!("error: {problem}\n\n{usage}");
            return ExitCode::from(2);
        }
    };
    FAILED_START.printed_by_run();
    ended(arguments.obey(stack, registered))
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let problem = printed(&error);
            tell_predecessor(&problem);
            if !FAILED_START.is_logged() {
                eprintln!("{problem}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The error with its causes, without what is secret: an address of a database, say, with the password in it.
fn printed(error: &Error) -> String {
    let causes = error.chain().collect::<Vec<_>>().join("\n  caused by: ");
    format!("error: {}", crate::report::Redaction::new().text(&causes))
}

/// A server that this process was to replace says why it did not.
fn tell_predecessor(problem: &str) {
    #[cfg(unix)]
    predecessor::say(problem);
    #[cfg(not(unix))]
    let _ = problem;
}

impl Arguments {
    fn obey(self, stack: Assembly, registered: Registered) -> Result<()> {
        if self.command == Command::Help || self.help {
            say!("{}", help_of(self.command));
            return Ok(());
        }
        if self.command == Command::Layers {
            return commands::layers(registered, self.json);
        }
        if self.command == Command::Lint {
            return lint::lint(&self.words, self.json, &mut std::io::stdout());
        }
        if self.command == Command::Check {
            return check::check(Config::load().map_err(Error::from), stack, self.json);
        }
        if self.file().is_none() && !self.set.is_empty() {
            return Err(Error::internal("--set sets a key of a file, and none is named"));
        }
        if self.file().is_some() && self.processes.is_some() {
            return Err(Error::internal(
                "--processes is for a site without a FILE: one says it in its servers, by `prefork`",
            ));
        }
        let mut config = match self.command {
            // It signs nothing: whoever may restart a site need not know its secret.
            Command::Restart => {
                let any = SecretKeys::random();
                Loader::from_process().var("PURLIN__SECRET", any.current().expose_str()).load()?
            }
            _ => Config::load()?,
        };
        if let Some(processes) = self.processes {
            config.server.processes = processes;
        }
        // Of the servers of a file one takes it.
        if !self.listen.is_empty() && self.file().is_none() {
            config.server.listen.clone_from(&self.listen);
        }
        match (self.command, self.file()) {
            (Command::Serve, None) => serve(config, stack, &self.listen, self.json),
            (Command::Serve, Some(file)) => {
                log::start(&config.log)?;
                warn(&config);
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
                let runtime = runtime.context("starting the runtime")?;
                let served = runtime.block_on(async {
                    let opened = commands::open(file, &self.set, config.clone(), stack, registered)?;
                    let (servers, places) =
                        commands::bind(&opened, &self.listen, config.environment.name(), self.json)?;
                    servers.iter().try_for_each(|(bound, _)| config.check_details(bound.addresses()))?;
                    serve_all(servers, &config, Some(file), &self.listen, places).await
                });
                // A blocking task that never ends must not keep the process.
                runtime.shutdown_timeout(Duration::from_secs(1));
                served
            }
            (Command::Migrate, _) => migrate(&outline(config, stack)?, self.status),
            (Command::Health, _) => health(&config),
            (Command::Restart, file) => ask_for_restart(&config, file, &self.listen),
            (Command::Config, file) => match self.words.as_slice() {
                [file] if file != "check" => {
                    commands::settings_of_file(&commands::open(file, &self.set, config, stack, registered)?, self.json)
                }
                [] => {
                    commands::settings(&config, self.json);
                    Ok(())
                }
                [word, key, ..] if word == "explain" => match file {
                    None => commands::explain(&config, key, self.json),
                    Some(file) => {
                        let opened = commands::open(file, &self.set, config, stack, registered)?;
                        commands::explain_in_file(&opened, key, self.json)
                    }
                },
                _ => {
                    let whole = match file {
                        None => outline(config, stack).map(drop),
                        Some(file) => inside(|| {
                            commands::check_file(&commands::open(file, &self.set, config, stack, registered)?)
                        }),
                    };
                    whole.map(|()| say!("{}", if self.json { "{\"ok\":true}" } else { "ok" }))
                }
            },
            (_, file) => {
                let app = || match file {
                    None => stack(config, None),
                    Some(file) => commands::app(&commands::open(file, &self.set, config, stack, registered)?),
                };
                match self.command {
                    Command::Request => commands::request(
                        app,
                        (&self.words[0], &self.words[1]),
                        &self.headers,
                        self.data.clone().unwrap_or_default(),
                        self.json,
                    ),
                    Command::Routes => {
                        let site = inside(|| Outline::of(&app()?))?;
                        commands::routes(&site, self.matched.as_deref(), self.json)
                    }
                    _ => {
                        commands::stack(&inside(|| Outline::of(&app()?))?, self.json);
                        Ok(())
                    }
                }
            }
        }
    }
}

/// What the site is made of, without starting it.
fn outline(config: Config, stack: Assembly) -> Result<Site> {
    inside(|| Outline::of(&stack(config, None)?))
}

/// A site is put together in a runtime, as when it is served.
fn inside<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let _inside = runtime.enter();
    work()
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
        say!("{database}");
        for migration in &migrations {
            say!("  {:7}  {}", migration.state, migration.name);
        }
        if migrations.is_empty() {
            say!("  {}", if status { "no migrations" } else { "nothing to do" });
        }
    }
    Ok(())
}

#[cfg(not(feature = "database"))]
fn migrate(_: &Site, _: bool) -> Result<()> {
    Err(Error::internal("the site has no database: Purlin's features `sqlite` and `postgres` bring one"))
}

fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!(target: "purlin::config", "{warning}");
    }
}

fn serve(config: Config, stack: Assembly, listen: &[Listen], as_json: bool) -> Result<()> {
    log::start(&config.log)?;
    warn(&config);
    let bound = match bind(&config) {
        Ok(bound) => bound,
        Err(error) => return Err(told(config, stack, error)),
    };
    let line = announcement(&bound, config.environment.name(), None, as_json);
    let places = places(&bound);
    let runtime = bound.runtime()?;
    let served = runtime.block_on(async {
        let bound = bound.announce(&line);
        let app = match bound.keeps_others() {
            // It is made in the others, and not here.
            true => BoxService::new(crate::Router::new()),
            false => stack(config.clone(), Some(line))?,
        };
        serve_all(vec![(bound, app)], &config, None, listen, places).await
    });
    // A blocking task that never ends must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn bind(config: &Config) -> Result<Bound> {
    let bound = Server::from_config(&config.server).bind()?;
    config.check_details(bound.addresses())?;
    Ok(bound)
}

/// Serves until a signal or a successor ends it. `file` and `listen` are those of the command line, `places` is for people.
#[cfg(unix)]
async fn serve_all(
    servers: Vec<(Bound, BoxService)>,
    config: &Config,
    file: Option<&str>,
    listen: &[Listen],
    places: String,
) -> Result<()> {
    if !servers.iter().any(|(bound, _)| bound.leads()) {
        return restart::serve_all(servers, None).await;
    }
    let status = format!("serving {places} ({})", config.environment);
    let control = control::place(config, file, listen);
    let reign = restart::Reign::begin(control, config.server.restart_timeout, status)?;
    restart::serve_all(servers, Some(reign)).await
}

#[cfg(not(unix))]
async fn serve_all(
    servers: Vec<(Bound, BoxService)>,
    _: &Config,
    _: Option<&str>,
    _: &[Listen],
    _: String,
) -> Result<()> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut running = tokio::task::JoinSet::new();
    for (bound, app) in servers {
        let mut stopped = stopped.clone();
        running.spawn(async move { bound.serve(app, async move { drop(stopped.wait_for(|stop| *stop).await) }).await });
    }
    let stop = std::sync::Arc::new(stop);
    let signals = crate::server::signals()?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            signals.await;
            stop.send_replace(true);
        }
    });
    let mut served = Ok(());
    while let Some(ended) = running.join_next().await {
        stop.send_replace(true);
        served = served.and(ended.context("a server ended by a panic").and_then(|ended| ended));
    }
    served
}

/// Has the site that runs with this configuration replaced.
#[cfg(unix)]
fn ask_for_restart(config: &Config, file: Option<&str>, listen: &[Listen]) -> Result<()> {
    /// For what goes before and after the new process has its time.
    const BESIDE: Duration = Duration::from_secs(15);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let answer = runtime.block_on(async {
        let place = control::place(config, file, listen)?;
        let place = place.context("the site has no control socket: `server.control` is \"none\"")?;
        control::restart(&place, config.server.restart_timeout + BESIDE).await
    });
    say!("restarted: {}", answer?);
    Ok(())
}

#[cfg(not(unix))]
fn ask_for_restart(_: &Config, _: Option<&str>, _: &[Listen]) -> Result<()> {
    Err(Error::internal("a site can be restarted on unix only"))
}

/// The site cannot be served. Those whom its stack tells of failures are told of this one too; a stack that fails as well has
/// nobody to tell.
fn told(config: Config, stack: Assembly, error: Error) -> Error {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return error;
    };
    runtime.block_on(async {
        match stack(config, None) {
            Ok(app) => Life::never(&app, error).told().await,
            Err(_) => error,
        }
    })
}

/// What is printed once a server serves: one line, for programs too.
fn announcement(bound: &Bound, environment: &str, name: Option<&str>, as_json: bool) -> String {
    if as_json {
        let places: Vec<String> = bound.addresses().iter().map(|listen| url(bound, listen)).collect();
        return serde_json::json!({ "serving": places, "environment": environment, "server": name }).to_string();
    }
    let name = name.map(|name| format!(", {name}")).unwrap_or_default();
    format!("serving {} ({environment}{name}), Ctrl-C stops it", places(bound))
}

fn places(bound: &Bound) -> String {
    bound.addresses().iter().map(|listen| url(bound, listen)).collect::<Vec<_>>().join(", ")
}

/// Where a browser on this machine finds the server.
fn url(bound: &Bound, listen: &Listen) -> String {
    let scheme = if bound.speaks_tls_at(listen) { "https" } else { "http" };
    match listen {
        Listen::Tcp(address) => format!("{scheme}://{}", reachable(*address)),
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

/// An application which says that it is there as soon as it has started, and not before; nothing, without a line.
struct Announced<S> {
    app: S,
    line: Option<String>,
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
        // One of several processes leaves it to their parent.
        #[cfg(unix)]
        if std::env::var_os(crate::server::prefork::CHILD).is_some() {
            return Ok(());
        }
        if let Some(line) = &self.line {
            say!("{line}");
        }
        Ok(())
    }

    fn below(&'static self, boundary: &mut Boundary) {
        self.app.below(boundary);
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
            #[cfg(feature = "tls")]
            if !config.server.tls.certificate.as_os_str().is_empty() {
                return healthy(status_of(crate::server::tls::to_itself(stream)?));
            }
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
    healthy(status)
}

fn healthy(status: Result<u16>) -> Result<()> {
    match status.context("asking for /")? {
        status if status < 500 => {
            say!("healthy: {status}");
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

    /// Keeps the messages that it is told.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Reporter for Kept {
        fn report(&self, report: &Arc<Report>) {
            self.0.lock().unwrap().push(report.message.clone());
        }
    }

    #[test]
    fn an_error_is_printed_with_its_causes_and_without_passwords() {
        let short = Loader::new().environment("production").var("PURLIN__SECRET", "short").load().unwrap_err();
        assert_eq!(
            printed(&Error::from(short)),
            "error: PURLIN__SECRET: `secret`: expected 32 bytes at least, found 5: make one with `openssl rand -hex 32`"
        );
        let error = Error::internal("no database at postgres://ann:pw@host").context("starting the site");
        assert_eq!(printed(&error), "error: starting the site\n  caused by: no database at postgres://•••@host");
    }

    #[test]
    fn a_public_site_does_not_start_with_details_for_strangers() {
        let secret = SecretKeys::random();
        let loader = Loader::new().environment("production").var("PURLIN__SECRET", secret.current().expose_str());
        let loader = loader.var("PURLIN__ERRORS__DETAILS", "true").var("PURLIN__SERVER__LISTEN", "0.0.0.0:0");
        let error = bind(&loader.clone().load().unwrap()).unwrap_err().to_string();
        assert!(
            error.starts_with("PURLIN__ERRORS__DETAILS: `errors.details` is on in the production environment"),
            "{error}"
        );
        assert!(error.contains("the site listens at 0.0.0.0:"), "{error}");
        assert!(bind(&loader.var("PURLIN__ERRORS__BEYOND_LOOPBACK", "true").load().unwrap()).is_ok());
    }

    struct Refuses;

    impl crate::Middleware for Refuses {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            Ok(next.call(req).await)
        }

        fn start(&self, _: &mut Start) -> Result<()> {
            Err(Error::internal("the kettle is empty"))
        }
    }

    /// The site of the test below, in a process of its own; nothing in the tests' own.
    #[test]
    fn a_site_that_does_not_start() {
        if std::env::var_os("PURLIN__LOG__FORMAT").is_some() {
            let pages = ErrorPages::new().reporter(crate::report::Log::new());
            let stack = |_| Ok(Stack::new().layer(pages).layer(Refuses).app(Router::new()));
            started(Vec::new(), assembly(stack), Registered::default());
        }
    }

    #[test]
    fn a_failed_start_is_said_once() {
        for (format, start) in [("text", "error: the kettle is empty"), ("json", "{\"timestamp\":")] {
            let mut site = std::process::Command::new(std::env::current_exe().unwrap());
            site.args(["run::tests::a_site_that_does_not_start", "--exact", "--nocapture"]);
            site.envs([
                ("PURLIN_ENV", "test"),
                ("PURLIN__SERVER__LISTEN", "127.0.0.1:0"),
                ("PURLIN__LOG__FORMAT", format),
            ]);
            let said = String::from_utf8(site.output().unwrap().stderr).unwrap();
            assert_eq!(said.matches("the kettle is empty").count(), 1, "{said}");
            assert!(said.lines().any(|line| line.starts_with(start) && line.contains("the kettle")), "{said}");
        }
    }

    #[test]
    fn a_taken_port_is_told_to_whom_the_stack_names() {
        let kept = Kept::default();
        let pages = ErrorPages::new().reporter(kept.clone());
        let stack = |_| Ok(Stack::new().layer(pages).app(Router::new()));
        let error = told(Config::default(), assembly(stack), Error::internal("the port is taken"));
        assert_eq!(error.to_string(), "the port is taken");
        assert_eq!(*kept.0.lock().unwrap(), ["the port is taken"]);
    }
}
