//! `Cgi`: a program for each request.

use super::input::Progress;
use super::output::{Output, channel};
use super::scripts::{Found, find};
use super::variables::{RemoteUser, Script, Variables, split_mount};
use super::{Input, Spool};
use crate::race::{Either, first};
use crate::site::{Outline, Start};
use crate::spawn::{self, Spawn};
use crate::{Error, IntoResponse, Request, RequestExt, RequestId, Response, Result, Service};
use bytes::BytesMut;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, StatusCode};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// Answers by a program that is started for each request (CGI/1.1, RFC 3875): one program, or the scripts of a folder.
///
/// - The request is in the program's environment, as [`Variables`] tells, and its body in standard input; what it prints is the
///   answer, as [`HeadReader`](super::HeadReader) tells. Both bodies are streamed: what the program writes leaves at once, and it
///   waits for a client that is slow. It may answer without reading. No query becomes arguments (§4.4), which were options for some
///   programs.
/// - Of this process's environment it is given `PATH` and what [`pass_env`](Cgi::pass_env) names: no secret of the site's. The
///   client's cookies it has, with the site's session among them where that is in a cookie: see [`cookies`](Cgi::cookies).
/// - `CONTENT_LENGTH` is what arrives. A body whose length is not known before (a chunked one) is held back until it is, in memory
///   up to 64 KiB and from there in a file without a name: see [`max_held_body`](Cgi::max_held_body),
///   [`hold_bodies`](Cgi::hold_bodies).
/// - Standard error goes to the log line by line, with the request's id: 100 lines or 64 KiB a request.
/// - It is killed when its time is over and when the client leaves. What it has started itself is not: such a program gets a
///   broken pipe when it writes.
/// - A path without a scheme in a `Location`, without a `Status`, is a local redirect: the layer
///   [`Forwards`](crate::layers::Forwards) above answers by what is there, over at most as many steps as that says.
///
/// # Errors
///
/// Carried, for error pages, the log and reports, with the last lines of standard error: 502 Bad Gateway (RFC 9110 §15.6.3) for a
/// program that ends without a head or prints something else, 504 where it is late, 503 with `Retry-After` where too many run, 404
/// where there is no such script, the request body's own error, 413 for one that is too large to be held back, and 500 where the
/// program cannot be started. After the head the answer breaks off, which the client sees, and the log tells; so it does where the
/// program ends by a signal or with a status that is not 0, unless it has said how long its answer is, and that much is there.
/// What is wrong with the options, and a program that is not there, is reported when the site starts.
///
/// ```
/// use purlin::cgi::Cgi;
/// use purlin::{Router, Stack, get};
///
/// let script = "printf 'Content-Type: text/plain; charset=utf-8\\n\\nHello, %s!' \"${PATH_INFO#/}\"";
/// let routes = Router::new()
///     .route("/", get(async || "the new site"))
///     .mount("/hello", Cgi::program("/bin/sh").args(["-c", script]));
/// let app = Stack::new().app(routes);
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// Client::new(app).get("/hello/Ada").await.assert_status(200).assert_contains("Hello, Ada!");
/// # });
/// ```
///
/// A folder: `Cgi::folder("/srv/cgi-bin").interpreter("php", "/usr/bin/php-cgi")`.
#[derive(Clone)]
pub struct Cgi {
    what: What,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    passed: Vec<OsString>,
    interpreters: Vec<(String, PathBuf)>,
    index: Option<String>,
    root: Option<PathBuf>,
    authorization: bool,
    cookies: bool,
    exit_code: bool,
    spool: Spool,
    answer_timeout: Duration,
    timeout: Duration,
    queue_timeout: Duration,
    max_programs: usize,
    seats: Arc<Semaphore>,
    place: &'static Location<'static>,
}

#[derive(Clone, Debug)]
enum What {
    Program(PathBuf),
    Folder(PathBuf),
}

impl Cgi {
    /// One program. `SCRIPT_NAME` is the path of the mount where it stands, `PATH_INFO` the rest.
    #[track_caller]
    pub fn program(path: impl AsRef<Path>) -> Self {
        Self::new(What::Program(absolute(path.as_ref())), Location::caller())
    }

    /// The executable files of a folder and of those in it: the path is followed until there is a file, and `PATH_INFO` is what is
    /// left. What is hidden (`.git`) or outside of the folder, be it by a symbolic link, is not there; nor are the folders
    /// themselves, without an [`index`](Cgi::index).
    #[track_caller]
    pub fn folder(path: impl AsRef<Path>) -> Self {
        Self::new(What::Folder(absolute(path.as_ref())), Location::caller())
    }

    fn new(what: What, place: &'static Location<'static>) -> Self {
        Self {
            what,
            args: Vec::new(),
            env: Vec::new(),
            passed: Vec::new(),
            interpreters: Vec::new(),
            index: None,
            root: None,
            authorization: false,
            cookies: true,
            exit_code: true,
            spool: Spool::default(),
            answer_timeout: Duration::from_secs(60),
            timeout: Duration::from_secs(300),
            queue_timeout: Duration::from_secs(5),
            max_programs: 32,
            seats: Arc::new(Semaphore::new(32)),
            place,
        }
    }

    /// Arguments of the program; none by default.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable of its environment, before that of the request with the same name.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Variables of this process that it is given beside `PATH`; none by default.
    pub fn pass_env(mut self, names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.passed.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Scripts of a folder with this extension are given to a program, `("php", "/usr/bin/php-cgi")`: as its argument, and as
    /// `SCRIPT_FILENAME`, with the `REDIRECT_STATUS` that PHP asks for. They need not be executable.
    pub fn interpreter(mut self, extension: &str, program: impl AsRef<Path>) -> Self {
        self.interpreters.push((extension.trim_start_matches('.').to_owned(), absolute(program.as_ref())));
        self
    }

    /// The script that answers for a folder itself, `index.php`, where the path ends in a slash; none by default.
    pub fn index(mut self, name: &str) -> Self {
        self.index = Some(name.to_owned());
        self
    }

    /// `DOCUMENT_ROOT`, and what `PATH_TRANSLATED` is below; by default the folder, and for a program nothing.
    pub fn document_root(mut self, folder: impl AsRef<Path>) -> Self {
        self.root = Some(absolute(folder.as_ref()));
        self
    }

    /// Whether it is given the header `Authorization`, with the client's password in it, to check it by itself; off by default
    /// (§4.1.18).
    pub fn authorization(mut self, pass: bool) -> Self {
        self.authorization = pass;
        self
    }

    /// Whether it is given the client's cookies; on by default.
    pub fn cookies(mut self, pass: bool) -> Self {
        self.cookies = pass;
        self
    }

    /// Whether an exit status that is not 0 makes an answer one that was cut; on by default. Off for shell scripts whose last
    /// command may well fail. A signal always does.
    pub fn check_exit_status(mut self, check: bool) -> Self {
        self.exit_code = check;
        self
    }

    /// 64 MiB of a body whose length is not known before; then 413. Of each: how many are held at a time, the server's
    /// `max_connections` and a [`BodyLimit`](crate::layers::BodyLimit) above bound.
    pub fn max_held_body(mut self, bytes: u64) -> Self {
        self.spool.most = bytes;
        self
    }

    /// Whether a body whose length is not known is held back until it is; on by default. Without it, such a body is passed on as it
    /// comes, without a `CONTENT_LENGTH`: for programs that read to the end.
    pub fn hold_bodies(mut self, hold: bool) -> Self {
        self.spool.off = !hold;
        self
    }

    /// Where bodies are held back that are larger than 64 KiB; the system's folder of temporary files by default.
    pub fn temporary_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool.folder = folder.into();
        self
    }

    /// 60 seconds for the head of the answer, from the moment when the last of the request was taken.
    pub fn answer_timeout(mut self, limit: Duration) -> Self {
        self.answer_timeout = limit;
        self
    }

    /// 5 minutes for all of it, from the start of the program.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// 5 seconds for one of [`max_programs`](Cgi::max_programs) to have ended; then 503.
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = limit;
        self
    }

    /// 32 programs at the same time. Clones share them.
    pub fn max_programs(mut self, programs: usize) -> Self {
        self.max_programs = programs.max(1);
        self.seats = Arc::new(Semaphore::new(self.max_programs.min(Semaphore::MAX_PERMITS)));
        self
    }

    async fn answer(&self, req: Request) -> Result<Response> {
        let (script, command) = self.command(&req)?;
        if req.method() == Method::CONNECT {
            return Err(Error::new(StatusCode::NOT_IMPLEMENTED, "a program opens no tunnels"));
        }
        let mut variables = Variables::of(&req, &script)?;
        if let Some(RemoteUser { scheme, user }) = RemoteUser::of(&req).await? {
            variables.user(&scheme, &user)?;
        }
        if self.authorization {
            variables.authorization(req.headers());
        }
        if !self.cookies {
            variables.remove("HTTP_COOKIE");
        }
        let id = req.id().cloned();
        let (head, body) = req.into_parts();
        let input = Input::of(body, &self.spool).await?;
        variables.length(input.length());
        let seat = self.seat().await?;
        let (output, answer) = channel(&head.method, true);
        let running = self.start(&command, &variables, input, output, id, seat).await?;
        tokio::spawn(running.run());
        answer.response(&head.extensions).await.map_err(|error| error.context(format!("running {}", command.name())))
    }

    /// What is run for a request.
    fn command(&self, req: &Request) -> Result<(Script, Command)> {
        let mut script = Script::mounted(req);
        script.root.clone_from(&self.root);
        let folder = match &self.what {
            What::Program(program) => {
                script.file = Some(program.clone());
                return Ok((script, Command { file: program.clone(), interpreter: None }));
            }
            What::Folder(folder) => folder,
        };
        let (_, path) = split_mount(req);
        let found = find(folder, path, self.index.as_deref())
            .map_err(|error| Error::from(error).context(format!("looking for a script in {}", folder.display())))?;
        let nothing = || Error::not_found(format!("no script for {path} in {}", folder.display()));
        let Found { file, end, added } = found.ok_or_else(nothing)?;
        let interpreter = file.extension().and_then(|extension| {
            self.interpreters.iter().find(|(own, _)| extension == own.as_str()).map(|(_, program)| program.clone())
        });
        if interpreter.is_none() && !is_executable(&file) {
            return Err(Error::not_found(format!("{} is no executable file, and has no interpreter", file.display())));
        }
        let decoded = |path: &str| percent_encoding::percent_decode_str(path).collect::<Vec<u8>>();
        script.name.extend(decoded(&path[..end]));
        script.name.extend(added.unwrap_or_default().into_bytes());
        script.path_info = decoded(&path[end..]);
        script.file = Some(file.clone());
        script.root.get_or_insert_with(|| folder.clone());
        Ok((script, Command { file, interpreter }))
    }

    async fn seat(&self) -> Result<OwnedSemaphorePermit> {
        match timeout(self.queue_timeout, self.seats.clone().acquire_owned()).await {
            // Never closed.
            Ok(seat) => Ok(seat?),
            Err(_) => {
                let message = format!("{} programs are running (`max_programs`)", self.max_programs);
                Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, message)
                    .header(RETRY_AFTER, HeaderValue::from_static("1")))
            }
        }
    }

    async fn start(
        &self,
        command: &Command,
        variables: &Variables,
        input: Input,
        output: Output,
        id: Option<RequestId>,
        seat: OwnedSemaphorePermit,
    ) -> Result<Running> {
        let mut spawn = match &command.interpreter {
            Some(interpreter) => {
                Spawn::new(interpreter).args(&self.args).args([&command.file]).env("REDIRECT_STATUS", "200")
            }
            None => Spawn::new(&command.file).args(&self.args),
        };
        if let Some(folder) = command.file.parent() {
            spawn = spawn.folder(folder);
        }
        let path = OsStr::new("PATH");
        spawn = spawn.only_env(self.passed.iter().map(OsString::as_os_str).chain([path]));
        if std::env::var_os(path).is_none() {
            spawn = spawn.env(path, "/usr/local/bin:/usr/bin:/bin");
        }
        for (name, value) in variables.iter() {
            spawn = spawn.env(name, OsStr::from_bytes(value));
        }
        for (name, value) in &self.env {
            spawn = spawn.env(name, value);
        }
        let name = command.name();
        let mut log = Log::new(name.clone(), id.clone());
        spawn = spawn.stderr(move |line| log.line(line));
        let progress = Progress::now();
        let mut feeding = None;
        match input {
            input if input.is_empty() => {}
            Input::File(file, _) => spawn = spawn.stdin(OwnedFd::from(file)),
            input => {
                let (to, stdin) = pipe::pipe()?;
                spawn = spawn.stdin(stdin.into_blocking_fd()?);
                let progress = progress.clone();
                feeding = Some((to, input, progress));
            }
        }
        let (stdout, from) = pipe::pipe()?;
        let spawn = spawn.stdout(stdout.into_blocking_fd()?);
        // A start takes the better part of a millisecond, during which its thread waits: other requests shall not.
        let child = tokio::task::spawn_blocking(move || spawn.start()).await??;
        let feeding =
            feeding.map(|(to, input, progress)| tokio::spawn(async move { input.write_to(to, &progress).await }));
        Ok(Running {
            child,
            stdout: from,
            feeding,
            output,
            progress,
            answer_timeout: self.answer_timeout,
            timeout: self.timeout,
            exit_code: self.exit_code,
            name,
            id,
            _seat: seat,
        })
    }

    /// What is wrong with the options.
    fn problem(&self) -> Option<String> {
        let executable = |path: &Path| match is_executable(path) {
            true => None,
            false => Some(format!("expected an executable file, found none at {}", path.display())),
        };
        let problem = match &self.what {
            What::Program(_) if !self.interpreters.is_empty() || self.index.is_some() => {
                Some("`interpreter` and `index` are for the scripts of a folder".to_owned())
            }
            What::Program(program) => executable(program),
            What::Folder(folder) if !folder.is_dir() => {
                Some(format!("expected a folder, found none at {}", folder.display()))
            }
            What::Folder(_) if !self.args.is_empty() => Some("`args` are for one program, not for a folder".to_owned()),
            What::Folder(_) => self.interpreters.iter().find_map(|(_, program)| executable(program)),
        };
        let names = self.env.iter().map(|(name, _)| name).chain(&self.passed);
        let bad = |name: &&OsString| name.is_empty() || name.as_bytes().iter().any(|byte| matches!(byte, b'=' | 0));
        let problem = problem.or_else(|| {
            let bad = names.clone().find(bad)?;
            Some(format!("expected the name of an environment variable, found {bad:?}"))
        });
        let problem = problem.or_else(|| {
            // Its value would be taken for that of a header.
            let header = names.clone().find(|name| name.as_bytes().starts_with(b"HTTP_"))?;
            Some(format!("{} is the name of a request's header", header.to_string_lossy()))
        });
        problem.map(|problem| format!("Cgi ({}): {problem}", self.place))
    }
}

impl Service for Cgi {
    async fn call(&self, req: Request) -> Response {
        // Boxed, so that other answers of the router above have no room kept for it.
        Box::pin(self.answer(req)).await.into_response()
    }

    fn describe(&self, outline: &mut Outline) {
        outline.application::<Self>(self.place);
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        self.problem().map_or(Ok(()), |problem| Err(Error::internal(problem)))
    }
}

impl fmt::Debug for Cgi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cgi")
            .field("what", &self.what)
            .field("max_programs", &self.max_programs)
            .finish_non_exhaustive()
    }
}

/// A file, and the program that reads it, where it is none itself.
struct Command {
    file: PathBuf,
    interpreter: Option<PathBuf>,
}

impl Command {
    fn name(&self) -> String {
        self.file.display().to_string()
    }
}

/// A program starts in its own folder, from where a relative path would lead elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// How long a program may take to end after its output has; its exit status counts until then.
const ENDING: Duration = Duration::from_secs(1);

/// How much is read of it at a time.
const PIECE: usize = 16 * 1024;

/// A program at work on a request. It has its seat until it has ended.
struct Running {
    child: spawn::Child,
    stdout: pipe::Receiver,
    feeding: Option<JoinHandle<Result<()>>>,
    output: Output,
    progress: Progress,
    answer_timeout: Duration,
    timeout: Duration,
    exit_code: bool,
    name: String,
    id: Option<RequestId>,
    _seat: OwnedSemaphorePermit,
}

impl Running {
    async fn run(mut self) {
        let limit = self.timeout;
        let deadline = Instant::now() + limit;
        let gone = self.output.gone();
        let ended = first(timeout_at(deadline, self.pass()), gone).await;
        if let Some(feeding) = &self.feeding {
            feeding.abort();
        }
        let failed = match ended {
            Either::Left(Ok(Ok(()))) => {
                // It has closed its output, and may still have something to do.
                if timeout_at(deadline, self.child.wait()).await.is_err() {
                    self.child.kill();
                    self.child.wait().await;
                }
                return;
            }
            Either::Left(Ok(Err(error))) => Some(error),
            Either::Left(Err(_)) => Some(late(&format!("not ended within {limit:?}, and was killed"))),
            Either::Right(()) => None,
        };
        // What it has started itself ends by a broken pipe, and with it standard error, for which the wait waits.
        drop(self.stdout);
        self.child.kill();
        self.child.wait().await;
        let id = self.id.as_ref().map(RequestId::as_str);
        let Some(mut error) = failed else {
            tracing::debug!(target: "purlin::cgi", program = self.name, id, "the client has left: killed");
            return;
        };
        let words = self.child.last_words();
        if !words.is_empty() {
            error = error.context(format!("its standard error ended with:\n{words}"));
        }
        if self.output.has_begun() {
            // The server logs it, with the rest of what it knows.
            error = error.context(format!("running {}", self.name));
        }
        self.output.fail(error).await;
    }

    /// Passes on what it writes, until the end.
    async fn pass(&mut self) -> Result<()> {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            let reading = self.stdout.read_buf(&mut buffer);
            let read = if self.output.has_begun() {
                reading.await?
            } else {
                let failed = failed(&mut self.feeding);
                match first(reading, first(failed, self.progress.stalled(self.answer_timeout))).await {
                    Either::Left(read) => read?,
                    Either::Right(Either::Left(error)) => return Err(error),
                    Either::Right(Either::Right(())) => {
                        let limit = self.answer_timeout;
                        return Err(late(&format!("not answered within {limit:?}, and was killed")));
                    }
                }
            };
            if read == 0 {
                break;
            }
            self.output.take(buffer.split().freeze()).await?;
        }
        if self.output.is_whole() {
            return Ok(());
        }
        // It had less than the client meant.
        if self.feeding.as_ref().is_some_and(JoinHandle::is_finished) {
            let error = first(failed(&mut self.feeding), std::future::ready(())).await;
            if let Either::Left(error) = error {
                return Err(error);
            }
        }
        let how = match timeout(ENDING, self.child.wait()).await {
            Ok(status) if status.success() || (status.code().is_some() && !self.exit_code) => None,
            Ok(status) => Some(format!("it {}", spawn::how(status))),
            // It goes on, without anything more to say.
            Err(_) => None,
        };
        self.output.end(how).await
    }
}

/// Ready if the request's body has failed.
async fn failed(feeding: &mut Option<JoinHandle<Result<()>>>) -> Error {
    if let Some(task) = feeding {
        let fed = task.await;
        *feeding = None;
        if let Ok(Err(error)) = fed {
            return error;
        }
    }
    std::future::pending().await
}

fn late(what: &str) -> Error {
    Error::new(StatusCode::GATEWAY_TIMEOUT, format!("it has {what}"))
}

/// What a program says on its standard error, as events of the log: so much of it, and no more.
pub(crate) struct Log {
    program: String,
    id: Option<RequestId>,
    lines: usize,
    bytes: usize,
}

impl Log {
    const LINES: usize = 100;
    const BYTES: usize = 64 * 1024;

    pub(crate) fn new(program: String, id: Option<RequestId>) -> Self {
        Self { program, id, lines: 0, bytes: 0 }
    }

    pub(crate) fn line(&mut self, line: &str) {
        if self.lines > Self::LINES || line.is_empty() {
            return;
        }
        self.lines += 1;
        self.bytes += line.len();
        let (program, id) = (self.program.as_str(), self.id.as_ref().map(RequestId::as_str));
        if self.lines > Self::LINES || self.bytes > Self::BYTES {
            self.lines = Self::LINES + 1;
            tracing::warn!(target: "purlin::cgi", program, id, "more of its standard error is left out");
            return;
        }
        let line: String = line.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
        tracing::warn!(target: "purlin::cgi", program, id, "{line}");
    }
}
