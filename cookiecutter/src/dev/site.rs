//! `Site`: the process that answers.

use super::ansi;
use super::build::lines;
use super::process::Group;
use super::project::Project;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The variable that tells the site that `purlin dev` runs it: it ends when its standard input does.
const MARK: &str = "PURLIN_DEV";

/// How many of its last lines are kept, and how much of each.
const LINES: usize = 200;
const LONGEST: usize = 2000;

/// Longer than the site itself gives the requests which it has begun.
const DRAIN: Duration = Duration::from_secs(10);

/// A site that has been started.
#[derive(Debug)]
pub(crate) struct Site {
    /// Which one of those that were started.
    pub(crate) number: u64,
    group: Group,
    said: Arc<Mutex<VecDeque<String>>>,
    ended: watch::Receiver<bool>,
    /// Open for as long as the site is to live.
    _line: tokio::process::ChildStdin,
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Event {
    /// It serves at this address.
    Ready(u64, SocketAddr),
    Ended(u64, io::Result<ExitStatus>),
}

impl Site {
    /// Starts the executable on an address of its own choice.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(crate) fn start(
        number: u64,
        executable: &Path,
        project: &Project,
        arguments: &[String],
        colours: bool,
        events: impl Fn(Event) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let mut command = Command::new(executable);
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--json"]);
        command.current_dir(&project.folder).env("CARGO_MANIFEST_DIR", &project.folder).env(MARK, "1");
        // Two run side by side while one takes over, and this program is the one that restarts.
        command.env("PURLIN__SERVER__CONTROL", "none").env_remove("PURLIN__SERVER__LISTEN");
        // Between us and the site there is nobody to hide from, and we speak plain http to it.
        command.env("PURLIN__SERVER__TLS__CERTIFICATE", "");
        if std::env::var_os("PURLIN_ENV").is_none() {
            command.env("PURLIN_ENV", "development");
        }
        if colours {
            command.env("CLICOLOR_FORCE", "1");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, group) = Group::start(&mut command)?;
        let line = child.stdin.take().ok_or_else(|| io::Error::other("it has no standard input"))?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (end, ended) = watch::channel(false);
        tokio::spawn(follow(number, child, group, said.clone(), end, events));
        Ok(Self { number, group, said, ended, _line: line })
    }

    /// Its last lines on standard error, without colours.
    pub(crate) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Lets it answer what it has begun, and ends it after ten seconds at the latest, with all that it has started.
    pub(crate) async fn end(self) {
        self.group.ask_to_end();
        let mut ended = self.ended.clone();
        let waited = tokio::time::timeout(DRAIN, async { ended.wait_for(|ended| *ended).await.is_ok() }).await;
        if waited.is_err() {
            self.group.kill();
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    /// It, and all that it has started.
    pub(crate) fn group(&self) -> Group {
        self.group
    }

    /// Ends it at once, with all that it has started.
    pub(crate) fn kill(&self) {
        self.group.kill();
    }
}

async fn follow(
    number: u64,
    mut child: Child,
    group: Group,
    said: Arc<Mutex<VecDeque<String>>>,
    end: watch::Sender<bool>,
    events: impl Fn(Event) + Clone + Send + 'static,
) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let on_ready = events.clone();
    let out = tokio::spawn(async move {
        let mut lines = lines(stdout);
        while let Some(line) = lines.next().await {
            match address_of(&line) {
                Some(address) => on_ready(Event::Ready(number, address)),
                // Nobody is left to be told, if it fails.
                None => drop(writeln!(io::stdout(), "{line}")),
            }
        }
    });
    let err = tokio::spawn(async move {
        let mut lines = lines(stderr);
        while let Some(line) = lines.next().await {
            let _ = writeln!(io::stderr(), "{line}");
            let mut plain = ansi::plain(&line);
            if plain.len() > LONGEST {
                plain = plain.chars().take(LONGEST).chain(['…']).collect();
            }
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() == LINES {
                said.pop_front();
            }
            said.push_back(plain);
        }
    });
    let status = child.wait().await;
    // What it had started ends with it; and what it wrote last is read.
    group.kill();
    for reader in [out, err] {
        let _ = tokio::time::timeout(Duration::from_millis(500), reader).await;
    }
    end.send_replace(true);
    events(Event::Ended(number, status));
}

/// Where it serves, if this is the line that says so: the first address of `{"serving":["http://127.0.0.1:1234"],…}`.
fn address_of(line: &str) -> Option<SocketAddr> {
    let line: Json = serde_json::from_str(line.trim().strip_prefix('{').map(|_| line)?).ok()?;
    let places = line["serving"].as_array()?;
    places.iter().find_map(|place| place.as_str()?.strip_prefix("http://")?.parse().ok())
}

type Sender = hyper::client::conn::http1::SendRequest<hyper::body::Incoming>;

/// The connections to one process of the site.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    idle: Mutex<Vec<Sender>>,
}

/// So many wait for the next request; more are closed after theirs.
const IDLE: usize = 32;

impl Upstream {
    pub(crate) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { address, idle: Mutex::new(Vec::new()) })
    }

    /// Passes a request on, and returns what the site answers.
    ///
    /// # Errors
    ///
    /// The site does not answer: it has ended, or cut the connection.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: hyper::Request<hyper::body::Incoming>,
    ) -> Result<hyper::Response<hyper::body::Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let is_new = kept.is_none();
            let mut sender = match kept {
                Some(sender) if sender.is_ready() => sender,
                Some(_) => continue,
                None => self.connect().await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    // A connection that is upgraded has no next request.
                    if response.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
                        self.keep(sender);
                    }
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    // It was closed meanwhile, and the request has not been sent.
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    async fn connect(&self) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// Takes it back once the answer has been read.
    fn keep(self: &Arc<Self>, mut sender: Sender) {
        let upstream = Arc::downgrade(self);
        tokio::spawn(async move {
            if sender.ready().await.is_ok()
                && let Some(upstream) = upstream.upgrade()
            {
                let mut idle = upstream.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE {
                    idle.push(sender);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_names_the_address_is_told_from_the_others() {
        for (line, expected) in [
            (
                r#"{"environment":"development","serving":["http://127.0.0.1:4711"],"server":null}"#,
                Some("127.0.0.1:4711"),
            ),
            (r#"{"serving":["unix:/a","http://[::1]:80"]}"#, Some("[::1]:80")),
            (r#"{"serving":[]}"#, None),
            (r#"{"level":"info"}"#, None),
            ("serving http://127.0.0.1:4711", None),
            ("", None),
        ] {
            assert_eq!(address_of(line), expected.map(|address| address.parse().unwrap()), "{line}");
        }
    }
}
