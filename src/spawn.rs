//! `Spawn`: starts another program, with sockets handed over to it and a channel by which it is told to end.
//!
//! Every program that Purlin starts is started here: between the moment when a socket may be inherited and the one when its program
//! has it, no other program of ours begins, which would inherit it too. (One that the site starts by itself, with
//! `std::process::Command`, could.)
//!
//! What a program of Purlin's own finds in its environment:
//!
//! | name | what it says |
//! | --- | --- |
//! | [`CONTROL`] | the number of the file descriptor that is its control channel: 0, unless standard input is something else |
//! | the name of [`Spawn::hand_over`] | the numbers of the sockets that were handed over by that name, `7` or `7,9` |
//! | `LISTEN_FDS`, `LISTEN_FDS_FIRST_FD` | a range with all of them in it, from which [`handed_over`] takes the named ones |
//!
//! The control channel is a pair of sockets. The child writes the line `ready` into it when it serves, and then writes back what it
//! reads, by which the parent may know that it is well. But for `!`: a drain has begun, and what goes on in the child should find an
//! end. The end of the file, which also comes when the parent dies, tells it to drain and exit.

use crate::lock::locked;
use crate::race::{Either, first, unless};
use crate::site::Stopping;
use crate::{Context as _, Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::future::pending;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, Command};
use tokio::time::sleep;

/// The environment variable that has the number of the control channel.
pub(crate) const CONTROL: &str = "PURLIN_CONTROL";

/// The one that has the name of this process, as the parent's log calls it.
pub(crate) const NAME: &str = "PURLIN_PROCESS";

/// Before a line of standard error that is one of the log: the parent's log passes it on as it is. (The record separator, as
/// in RFC 7464.)
pub(crate) const LOGGED: char = '\u{1e}';

/// What is written into the control channel once the program serves.
const READY: &[u8] = b"ready\n";

/// What the parent writes there when a drain begins. It is not answered.
const SOON: &[u8] = b"!";

/// How many lines of standard error are kept for an error, and how much of a line goes into the log at once.
const LAST_LINES: usize = 20;
const MAX_LINE: u64 = 8 * 1024;

/// What one program did not inherit may be inheritable while another starts: whoever hands over sockets starts alone, and all others
/// at the same time. (A start takes the better part of a millisecond, and CGI has one for each request.)
static STARTING: RwLock<()> = RwLock::new(());

/// A program to be started.
///
/// It inherits no file descriptor but those named here. Dropping its [`Child`] kills it.
pub(crate) struct Spawn {
    program: OsString,
    /// What it is told that it is called.
    called: Option<OsString>,
    args: Vec<OsString>,
    folder: Option<PathBuf>,
    allowed: Option<Vec<OsString>>,
    env: Vec<(OsString, Option<OsString>)>,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    handed: Vec<(String, OwnedFd)>,
    controlled: bool,
    outlives: bool,
    told: Option<Told>,
}

/// Who is told a line of standard error.
type Told = Box<dyn FnMut(&str) + Send>;

impl Spawn {
    /// A program by its path, or by its name in `PATH`.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        let name = program.to_string_lossy().into_owned();
        Self {
            program,
            called: None,
            args: Vec::new(),
            folder: None,
            allowed: None,
            env: Vec::new(),
            stdin: None,
            stdout: None,
            handed: Vec::new(),
            controlled: false,
            outlives: false,
            told: Some(Box::new(move |line| tracing::info!(target: "purlin::process", program = name, "{line}"))),
        }
    }

    /// This executable once more, with the same arguments.
    pub(crate) fn this() -> Result<Self> {
        let program = std::env::current_exe().context("finding this executable")?;
        // The very same, also where a newer one has been put into its place meanwhile. (By its path it has its name in `ps`.)
        let file = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
        let same = Path::new("/proc/self/exe");
        let replaced = same.exists() && file(same) != file(&program);
        let mut spawn = Self::new(if replaced { same } else { &program });
        spawn.called = std::env::args_os().next();
        // Standard input is what programs have that the site starts itself: none of them is to read what is said there.
        spawn.stdin = Some(Stdio::null());
        spawn.args.extend(std::env::args_os().skip(1));
        Ok(spawn)
    }

    /// One of this executable's, whose log goes on in this one's: its lines say that they are of `name`.
    pub(crate) fn named(self, name: &str) -> Self {
        let of = name.to_owned();
        self.env(NAME, name).stderr(move |line| match line.strip_prefix(LOGGED) {
            Some(line) => crate::log::pass_on(line),
            None => tracing::warn!(target: "purlin::process", process = of, "{line}"),
        })
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// The folder it starts in; this program's own by default.
    pub(crate) fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Of this program's environment it is given only these variables; all of it by default.
    pub(crate) fn only_env(mut self, names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.allowed = Some(names.into_iter().map(|name| name.as_ref().to_owned()).collect());
        self
    }

    /// Adds a variable to its environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Takes a variable out of its environment.
    pub(crate) fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Its standard input: a socket, a pipe, a file. By default the control channel, if it has one, and else nothing.
    pub(crate) fn stdin(mut self, stdin: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(stdin.into().into());
        self
    }

    /// Its standard output; this program's own by default.
    pub(crate) fn stdout(mut self, stdout: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(stdout.into().into());
        self
    }

    /// Hands over a socket: its number in the new program stands in the environment variable `name`. Several may have one name.
    pub(crate) fn hand_over(mut self, name: &str, socket: &impl AsFd) -> Result<Self> {
        let socket = socket.as_fd().try_clone_to_owned().context("duplicating a socket for another program")?;
        self.handed.push((name.to_owned(), socket));
        Ok(self)
    }

    /// Gives it a control channel: see [`Child::ready`] and [`Child::stop`].
    pub(crate) fn controlled(mut self) -> Self {
        self.controlled = true;
        self
    }

    /// It goes on when this program ends or drops its [`Child`].
    pub(crate) fn outlives(mut self) -> Self {
        self.outlives = true;
        self
    }

    /// Is told each line that it writes to its standard error; by default they are events of the log.
    pub(crate) fn stderr(mut self, told: impl FnMut(&str) + Send + 'static) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// Its standard error is this program's own: for one that [`outlives`](Self::outlives) it. Nothing is kept of it.
    pub(crate) fn own_stderr(mut self) -> Self {
        self.told = None;
        self
    }

    /// Starts it, in a runtime of tokio's.
    pub(crate) fn start(self) -> Result<Child> {
        let what = || format!("starting {}", self.program.to_string_lossy());
        let mut command = Command::new(&self.program);
        command.args(&self.args).kill_on_drop(!self.outlives);
        command.stderr(if self.told.is_some() { Stdio::piped() } else { Stdio::inherit() });
        if let Some(called) = &self.called {
            command.arg0(called);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some(allowed) = &self.allowed {
            command.env_clear();
            command.envs(allowed.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        }
        // They are about this program, and about sockets that the other one does not have.
        const OURS: [&str; 9] = [
            "LISTEN_PID",
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
            "LISTEN_FDS_FIRST_FD",
            CONTROL,
            "PURLIN_PREDECESSOR",
            "PURLIN_CONTROL_SOCKET",
            "PURLIN_SOCKETS",
            "PURLIN_SOCKETS_LISTEN",
        ];
        for name in OURS {
            command.env_remove(name);
        }
        let mut handed = self.handed;
        let mut stdin = self.stdin;
        let mut control = None;
        if self.controlled {
            let (here, there) = UnixStream::pair().with_context(what)?;
            here.set_nonblocking(true)?;
            control = Some(tokio::net::UnixStream::from_std(here)?);
            match stdin {
                Some(_) => handed.push((CONTROL.to_owned(), there.into())),
                None => {
                    stdin = Some(OwnedFd::from(there).into());
                    command.env(CONTROL, "0");
                }
            }
        }
        command.stdin(stdin.unwrap_or_else(Stdio::null));
        command.stdout(self.stdout.unwrap_or_else(Stdio::inherit));
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut numbers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, socket) in &handed {
            numbers.entry(name.clone()).or_default().push(socket.as_raw_fd().to_string());
        }
        command.envs(numbers.iter().map(|(name, numbers)| (name, numbers.join(","))));
        let all = handed.iter().map(|(_, socket)| socket.as_raw_fd());
        if let (Some(first), Some(last)) = (all.clone().min(), all.max()) {
            command.env("LISTEN_FDS_FIRST_FD", first.to_string()).env("LISTEN_FDS", (last - first + 1).to_string());
        }
        let mut child = {
            let (_alone, _beside);
            if handed.is_empty() {
                _beside = STARTING.read().unwrap_or_else(PoisonError::into_inner);
            } else {
                _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
            }
            for (_, socket) in &handed {
                socket2::SockRef::from(socket).set_cloexec(false).with_context(what)?;
            }
            let child = command.spawn();
            // The duplicates are closed before another program may start.
            drop(handed);
            // What was given as standard input and output is closed here with it.
            drop(command);
            child.with_context(what)?
        };
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let reading = child.stderr.take().zip(self.told);
        let reading = reading.map(|(stderr, told)| tokio::spawn(read_lines(stderr, told, last.clone())));
        let pid = child.id().unwrap_or_default();
        Ok(Child { child, pid, control, last, reading })
    }
}

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Child {
    child: tokio::process::Child,
    pid: u32,
    control: Option<tokio::net::UnixStream>,
    last: Arc<Mutex<VecDeque<String>>>,
    reading: Option<tokio::task::JoinHandle<()>>,
}

impl Child {
    /// Its number, also after its end.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it says by the control channel that it serves.
    ///
    /// # Errors
    ///
    /// It ended, or has not said so within `limit`: with how it ended, and the last lines of its standard error. It may go on
    /// in the second case: see [`kill`](Child::kill).
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<()> {
        let Some(mut control) = self.control.take() else {
            return Err(Error::internal("a program without a control channel does not say that it is ready"));
        };
        let mut line = Vec::new();
        let said = async {
            while !line.ends_with(b"\n") && line.len() < READY.len() {
                match control.read_u8().await {
                    Ok(byte) => line.push(byte),
                    Err(_) => break,
                }
            }
        };
        let in_time = tokio::time::timeout(limit, said).await.is_ok();
        if in_time && line == READY {
            self.control = Some(control);
            return Ok(());
        }
        drop(control);
        let what = if !in_time {
            format!("the process {} was not ready within {limit:?}", self.pid)
        } else if line.is_empty() {
            match tokio::time::timeout(LAST_WORDS, self.wait()).await {
                Ok(status) => format!("the process {} {} before it was ready", self.pid, how(status)),
                Err(_) => format!("the process {} closed its control channel before it was ready", self.pid),
            }
        } else {
            let found = String::from_utf8_lossy(&line);
            format!("the process {}: expected the line `ready` in its control channel, found {found:?}", self.pid)
        };
        let words = self.last_words();
        let words = if words.is_empty() { words } else { format!("; its last lines:\n{words}") };
        Err(Error::internal(format!("{what}{words}")))
    }

    /// Tells it to drain and exit, by the end of its control channel.
    pub(crate) fn stop(&mut self) {
        self.control = None;
    }

    /// Kills it (SIGKILL); nothing happens if it has ended.
    pub(crate) fn kill(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.start_kill();
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().await;
        if let Some(reading) = &mut self.reading {
            // A program that it has started itself may hold standard error open.
            let _ = tokio::time::timeout(LAST_WORDS, reading).await;
            self.reading = None;
        }
        // Waiting fails if somebody else did it: nothing is known then.
        status.unwrap_or_default()
    }

    /// The same, or `None` if it has not answered by its control channel for so long. (Those of [`Control`] do, as long as one of
    /// their threads is free.) Meanwhile it is told of the drain, when that begins.
    pub(crate) async fn wait_or_hung(&mut self, limit: Option<Duration>, drain: &mut Stopping) -> Option<ExitStatus> {
        let Some(limit) = limit else { return Some(self.wait().await) };
        let Self { child, control, .. } = self;
        match first(child.wait(), hung(control, limit, drain)).await {
            // Known by now.
            Either::Left(_) => Some(self.wait().await),
            Either::Right(()) => None,
        }
    }

    /// Tells it that its end is near: what goes on in it should find one. Only for those of [`Control`].
    pub(crate) fn soon(&mut self) {
        // A channel in which there is no room for a byte has had others in vain: it is about to be killed.
        let _ = self.control.as_ref().map(|control| control.try_write(SOON));
    }

    /// The last lines of its standard error.
    pub(crate) fn last_words(&self) -> String {
        locked(&self.last).iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }
}

/// Ready when a program has not answered for so long.
async fn hung(control: &mut Option<tokio::net::UnixStream>, limit: Duration, drain: &mut Stopping) {
    let Some(control) = control else { return pending().await };
    loop {
        let begun = unless(sleep(limit.min(BEAT)), drain.wait()).await.is_some();
        let asking = async {
            if begun {
                control.write_all(SOON).await?;
                *drain = Stopping::never();
            }
            control.write_all(b"?").await?;
            control.read_u8().await
        };
        match tokio::time::timeout(limit, asking).await {
            Ok(Ok(_)) => {}
            // It is about to end.
            Ok(Err(_)) => return pending().await,
            Err(_) => return,
        }
    }
}

/// How often one is asked whether it is well.
const BEAT: Duration = Duration::from_secs(5);

/// How long the last of standard error is waited for, after the end of who wrote it.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a program ended: `exited with status 1`, `was killed by signal 9 (SIGKILL)`.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => {
            let name = SIGNALS.iter().find(|(number, _)| *number == signal).map(|(_, name)| format!(" ({name})"));
            format!("was killed by signal {signal}{}", name.unwrap_or_default())
        }
        (None, None) => "ended".to_owned(),
    }
}

/// Those that end a program, where all unix systems give them the same number.
const SIGNALS: [(i32, &str); 11] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (15, "SIGTERM"),
];

/// The control channel of this program, if it was started with one.
///
/// # Errors
///
/// The environment names one that is not there.
pub(crate) fn control() -> Result<Option<Control>> {
    let stream = match std::env::var(CONTROL) {
        Err(_) => return Ok(None),
        Ok(number) if number == "0" => {
            let stdin = std::io::stdin().as_fd().try_clone_to_owned();
            UnixStream::from(stdin.context("taking the control channel from standard input")?)
        }
        Ok(_) => match handed_over(CONTROL)?.pop() {
            Some(socket) => UnixStream::from(socket),
            None => return Ok(None),
        },
    };
    stream.set_nonblocking(true).context("taking over the control channel")?;
    Ok(Some(Control(tokio::net::UnixStream::from_std(stream).context("taking over the control channel")?)))
}

/// The end of a control channel that a child has.
#[derive(Debug)]
pub(crate) struct Control(tokio::net::UnixStream);

impl Control {
    /// Says that this program serves.
    pub(crate) async fn ready(&mut self) {
        // Nobody is there to hear it: `ended` says so.
        let _ = self.0.write_all(READY).await;
    }

    /// Ready when this program is to drain and exit: it was told to, or its parent has died. Until then it says that it is well,
    /// as often as it is asked, and `soon` when it hears that its end is near.
    pub(crate) async fn ended(&mut self, soon: impl Fn()) {
        let mut heard = [0; 64];
        while let Ok(length @ 1..) = self.0.read(&mut heard).await {
            for byte in heard[..length].chunks(1) {
                if byte == SOON {
                    soon();
                } else if self.0.write_all(byte).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The sockets that were handed over to this program by this name, each of them once.
///
/// # Errors
///
/// The environment names what is no socket, or not a stream's.
pub(crate) fn handed_over(name: &str) -> Result<Vec<OwnedFd>> {
    let Ok(numbers) = std::env::var(name) else { return Ok(Vec::new()) };
    let first: usize = std::env::var("LISTEN_FDS_FIRST_FD").ok().and_then(|first| first.parse().ok()).unwrap_or(3);
    let mut inherited = inherited();
    let take = |number: &str| -> Result<Option<OwnedFd>> {
        let number: usize = number.trim().parse().context(format!("reading the file descriptor {number:?}"))?;
        let Some(at) = number.checked_sub(first) else { return Ok(None) };
        if let Ok(Some(socket)) = inherited.take_tcp_listener(at) {
            return Ok(Some(socket.into()));
        }
        // Whether it listens is not looked at.
        Ok(inherited.take_unix_listener(at)?.map(OwnedFd::from))
    };
    let sockets: Result<Vec<Option<OwnedFd>>> = numbers.split(',').map(take).collect();
    let sockets: Option<Vec<OwnedFd>> =
        sockets.context(format!("taking over the sockets in {name}"))?.into_iter().collect();
    sockets.context(format!("the sockets in {name} were not handed over, or are taken already"))
}

/// The sockets that were open when this program started: `sd_listen_fds(3)`. Each is taken once, by whoever asks first.
pub(crate) fn inherited() -> MutexGuard<'static, listenfd::ListenFd> {
    static INHERITED: OnceLock<Mutex<listenfd::ListenFd>> = OnceLock::new();
    locked(INHERITED.get_or_init(|| Mutex::new(listenfd::ListenFd::from_env())))
}

async fn read_lines(stderr: ChildStderr, mut told: Told, last: Arc<Mutex<VecDeque<String>>>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(length) if length > 0 => {}
            _ => return,
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        told(text);
        let mut last = locked(&last);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(text.trim_start_matches(LOGGED).to_owned());
    }
}

/// Says what was being done, if it failed.
trait With<T> {
    fn with_context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> With<T> for std::io::Result<T> {
    #[track_caller]
    fn with_context(self, what: impl FnOnce() -> String) -> Result<T> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(Error::from(error).context(what())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn shell(script: &str) -> Spawn {
        Spawn::new("/bin/sh").args(["-c", script])
    }

    /// What the script prints.
    async fn said(spawn: Spawn) -> String {
        let (here, there) = std::io::pipe().unwrap();
        let mut child = spawn.stdout(there).start().unwrap();
        let said = tokio::task::spawn_blocking(|| std::io::read_to_string(here)).await.unwrap().unwrap();
        child.wait().await;
        said
    }

    #[tokio::test]
    async fn a_program_says_when_it_is_ready_and_is_told_to_end() {
        let mut child = shell("echo ready >&0; read line; exit 7").controlled().start().unwrap();
        child.ready(Duration::from_secs(10)).await.unwrap();
        child.stop();
        assert_eq!(how(child.wait().await), "exited with status 7");
    }

    #[tokio::test]
    async fn the_control_channel_has_another_number_where_standard_input_is_taken() {
        let (stdin, _) = std::io::pipe().unwrap();
        let script =
            r#"[ -p /dev/fd/0 ] && [ "$PURLIN_CONTROL" -gt 2 ] && [ -S "/dev/fd/$PURLIN_CONTROL" ] && echo yes"#;
        assert_eq!(said(shell(script).stdin(stdin).controlled()).await, "yes\n");
    }

    #[tokio::test]
    async fn one_that_ends_before_it_is_ready_is_told_with_its_last_lines() {
        let mut child = shell("echo first >&2; echo the port is taken >&2; exit 3").controlled().start().unwrap();
        let pid = child.pid();
        let error = child.ready(Duration::from_secs(10)).await.unwrap_err();
        let expected = format!(
            "the process {pid} exited with status 3 before it was ready; its last lines:\n  first\n  the port is taken"
        );
        assert_eq!(error.message(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_is_ready_is_told_too_and_can_be_killed() {
        let mut child = shell("exec sleep 100").controlled().start().unwrap();
        let error = child.ready(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(error.message(), format!("the process {} was not ready within 10s", child.pid()));
        child.kill();
        assert_eq!(how(child.wait().await), "was killed by signal 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = Spawn::new("/no/such/program").start().unwrap_err();
        assert_eq!(error.message(), "starting /no/such/program");
    }

    #[tokio::test]
    async fn only_what_is_allowed_of_the_environment_is_passed() {
        let spawn = shell("export -p").only_env(["PATH", "NO_SUCH_VARIABLE"]).env("COLOUR", "green");
        let said = said(spawn).await;
        let mut names: Vec<&str> =
            said.lines().filter_map(|line| line.strip_prefix("export ")?.split('=').next()).collect();
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
        assert_eq!(names, ["COLOUR", "PATH"]);
    }

    #[tokio::test]
    async fn standard_error_is_told_line_by_line() {
        let (tell, told) = std::sync::mpsc::channel();
        let mut child = shell("printf 'one\\ntwo\\n' >&2; head -c 10000 /dev/zero | tr '\\0' x >&2")
            .stderr(move |line| tell.send(line.len()).unwrap())
            .start()
            .unwrap();
        child.wait().await;
        assert_eq!(told.iter().collect::<Vec<_>>(), [3, 3, 8192, 1808]);
    }

    /// Each program prints which sockets it has, while others are started with theirs.
    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_program_inherits_its_own_sockets_and_no_others() {
        const LIST: &str = r#"for n in /proc/self/fd/*; do
            case $(readlink "$n") in socket:*) [ "${n##*/}" -gt 2 ] && echo "${n##*/}";; esac
        done; echo "named $MINE""#;
        let starting = (0..4).map(|which| {
            tokio::spawn(async move {
                let socket = TcpListener::bind("127.0.0.1:0").unwrap();
                for _ in 0..10 {
                    let spawn = shell(LIST).env("MINE", "none");
                    let spawn = if which % 2 == 0 { spawn.hand_over("MINE", &socket).unwrap() } else { spawn };
                    let said = said(spawn).await;
                    let lines: Vec<&str> = said.lines().collect();
                    match lines.as_slice() {
                        ["named none"] => assert_eq!(which % 2, 1),
                        [number, named] => assert_eq!(*named, format!("named {number}")),
                        other => panic!("{other:?}"),
                    }
                }
            })
        });
        for task in starting.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }

    #[test]
    fn an_end_is_told_by_its_status_or_its_signal() {
        let table = [
            (0, "exited with status 0"),
            (256, "exited with status 1"),
            (6, "was killed by signal 6 (SIGABRT)"),
            (11, "was killed by signal 11 (SIGSEGV)"),
            (40, "was killed by signal 40"),
        ];
        for (raw, expected) in table {
            assert_eq!(how(ExitStatus::from_raw(raw)), expected);
        }
    }
}
