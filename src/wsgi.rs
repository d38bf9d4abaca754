//! `Wsgi`: an application in Python beside the site's own routes, with the feature `wsgi`, on unix.

use crate::fastcgi::{Connect, Connected, FastCgi, Held};
use crate::service::BoxFuture;
use crate::site::{Outline, Start};
use crate::spawn::{LOGGED, Spawn};
use crate::supervisor::{Coming, Folder, Limits, Process, Supervisor};
use crate::{Context as _, Error, IntoResponse, Request, Response, Result, Service};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::net::UnixListener;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Answers with what a WSGI application answers (PEP 3333): one for Flask, Django, Pyramid or Pylons, mounted beside routes in Rust,
/// and moved over to them route by route.
///
/// The application runs in processes of the system's Python, which this site starts, watches and ends; nothing is to be installed
/// for that. They are asked by FastCGI over unix sockets in a folder of their own, that nobody else can enter.
///
/// - **The environ** has the [`Variables`](crate::cgi::Variables) of CGI: `SCRIPT_NAME` is the path of the mount, so the
///   application makes its links below it. `wsgi.multithread` and `wsgi.multiprocess` are what they are. What it writes to
///   `wsgi.errors` is logged with the request's id, what it prints to standard error as it is.
/// - **Bodies** are streamed both ways. One whose length is not known before is held back until it is, since
///   applications read `CONTENT_LENGTH`.
/// - **Of this process's environment** it is given what Python itself needs (`PATH`, `HOME`, the locale, `TZ`, `TMPDIR`, `PYTHONPATH`,
///   `VIRTUAL_ENV`) and what [`pass_env`](Wsgi::pass_env) names: no secret of the site's. The client's cookies it has, with the
///   site's session among them where that is in a cookie: see [`cookies`](Wsgi::cookies).
/// - **What it raises** is a failure as any other: 500, with the traceback as its cause and its lines as the places, for
///   [`ErrorPages`](crate::layers::ErrorPages), the log and reports.
/// - **A process that dies** costs the requests that are in it, which are answered 502 with the cause; it is back at once, in a crash loop
///   after a pause. One that does not answer in time is killed.
///
/// # Errors
///
/// Carried: 500 for what the application raised, 502 Bad Gateway (RFC 9110 §15.6.3) where its process died or answered something else,
/// 504 Gateway Timeout where it was late, 503 with `Retry-After` where all threads are taken, or no process is ready, with the reason:
/// the last lines of an application that cannot be imported, say. A folder that is not there is reported when the site starts.
///
/// ```no_run
/// use purlin::wsgi::Wsgi;
/// use purlin::{Router, Stack, get};
///
/// let routes = Router::new()
///     .route("/", get(async || "the new site"))
///     .mount("/shop", Wsgi::app("shop.web:app").folder("/srv/shop").python("/srv/shop/venv/bin/python"));
/// let app = Stack::new().app(routes);
/// ```
pub struct Wsgi {
    application: String,
    folder: Option<PathBuf>,
    python: PathBuf,
    paths: Vec<PathBuf>,
    processes: usize,
    threads: usize,
    limits: Limits,
    answer_timeout: Duration,
    queue_timeout: Duration,
    env: Vec<(OsString, OsString)>,
    passed: Vec<OsString>,
    authorization: bool,
    cookies: bool,
    hold: bool,
    crew: OnceLock<Supervisor<Python>>,
    place: &'static Location<'static>,
}

/// What the interpreter runs.
const ADAPTER: &str = include_str!("wsgi/adapter.py");

/// The header of an answer that is the account of a failure.
const FAILED: HeaderName = HeaderName::from_static("purlin-wsgi-failed");

/// The longest of those.
const LONGEST_ACCOUNT: u64 = 256 << 10;

/// How often a request goes to another process, of which nothing was sent.
const TRIES: u32 = 4;

/// What Python needs of the environment to be the one that the developer knows.
const PASSED: [&str; 9] = ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV"];

/// By which one process is asked.
struct Python {
    path: PathBuf,
    ask: FastCgi,
}

impl Drop for Python {
    fn drop(&mut self) {
        // It removes it itself, if it ends in peace.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The socket of one process.
struct At {
    path: PathBuf,
    name: String,
}

impl Connect for At {
    fn connect(&self) -> BoxFuture<'_, Result<Connected>> {
        Box::pin(async {
            let stream = tokio::net::UnixStream::connect(&self.path).await;
            let stream = stream.context("connecting to its process").or_status(StatusCode::BAD_GATEWAY)?;
            Ok(Connected { io: Box::new(stream), lease: None })
        })
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Wsgi {
    /// The application of this name: `package.module:application`, `package.module:make_app()` for one that is made by a function,
    /// `shop.wsgi` or `shop.wsgi:application` for a file below the [`folder`](Wsgi::folder), and `production.ini` or
    /// `production.ini#main` for what PasteDeploy loads, which then has to be installed. Without a name in a module it is
    /// `application`, or `app`.
    #[track_caller]
    pub fn app(application: impl Into<String>) -> Self {
        Self {
            application: application.into(),
            folder: None,
            python: "python3".into(),
            paths: Vec::new(),
            processes: 2,
            threads: 4,
            limits: Limits { drain: Duration::from_secs(8), ..Limits::default() },
            answer_timeout: Duration::from_secs(60),
            queue_timeout: Duration::from_secs(5),
            env: Vec::new(),
            passed: Vec::new(),
            authorization: true,
            cookies: true,
            hold: true,
            crew: OnceLock::new(),
            place: Location::caller(),
        }
    }

    /// The folder that it runs in, from which modules are imported too; this process's own by default.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The interpreter, `python3` in `PATH` by default; 3.8 or newer. For a virtual environment that of its `bin` folder.
    pub fn python(mut self, python: impl Into<PathBuf>) -> Self {
        self.python = python.into();
        self
    }

    /// A folder from which modules are imported, in place of the one that it runs in; may be called several times.
    pub fn path(mut self, folder: impl Into<PathBuf>) -> Self {
        self.paths.push(folder.into());
        self
    }

    /// 2 processes.
    pub fn processes(mut self, processes: usize) -> Self {
        self.processes = processes.max(1);
        self
    }

    /// 4 threads in each process: as many requests are in it at the same time. 1 for an application that is not thread-safe.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.clamp(1, 1024);
        self
    }

    /// 60 seconds for the head of an answer, from the moment when the last of the request was taken: then the process is taken for
    /// hung and killed, with all other requests in it. And 60 seconds for each next piece of it, which then breaks off.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.answer_timeout = limit;
        self
    }

    /// 5 seconds for one of the threads to be free; then 503.
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = limit;
        self
    }

    /// 30 seconds for a process to import the application.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.limits.ready = limit;
        self
    }

    /// 8 seconds for what is under way in a process that is replaced or stopped; then it is killed.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.limits.drain = limit;
        self
    }

    /// Replaces a process after so many requests, against what leaks: never, by default. The new one is ready before the old one
    /// drains.
    pub fn max_requests(mut self, requests: u64) -> Self {
        self.limits.max_requests = Some(requests.max(1));
        self
    }

    /// Replaces a process whose resident memory is larger than so many bytes, which is looked at every five seconds: never, by
    /// default. Linux only.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.limits.max_memory = Some(bytes);
        self
    }

    /// Starts the processes with the first request; off by default.
    pub fn lazy(mut self, lazy: bool) -> Self {
        self.limits.lazy = lazy;
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Variables of this process that it is given beside those that Python needs; none by default.
    pub fn pass_env(mut self, names: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.passed.extend(names.into_iter().map(|name| name.as_ref().to_owned()));
        self
    }

    /// Whether it is given the header `Authorization`, with the client's password in it; on by default, since applications sign
    /// in by it. Off, where the site has done that.
    pub fn authorization(mut self, pass: bool) -> Self {
        self.authorization = pass;
        self
    }

    /// Whether it is given the client's cookies; on by default.
    pub fn cookies(mut self, pass: bool) -> Self {
        self.cookies = pass;
        self
    }

    /// Whether a body whose length is not known is held back until it is, up to 64 MiB; on by default. Without it, such a body is
    /// passed on as it comes, without a `CONTENT_LENGTH`: for applications that know `wsgi.input_terminated`, as Flask's do.
    pub fn hold_bodies(mut self, hold: bool) -> Self {
        self.hold = hold;
        self
    }

    async fn answer(&self, mut req: Request) -> Result<Response> {
        let crew = self.crew.get().context("the application is started with the site, which was not started")?;
        let asked = format!("{} {}", req.method(), req.uri().path());
        let late = tokio::time::Instant::now() + self.queue_timeout;
        let mut tries = 0;
        let (process, permit, connected) = loop {
            let process = crew.least_busy().await.map_err(soon)?;
            match tokio::time::timeout_at(late, process.permits().acquire_owned()).await {
                Ok(Ok(permit)) => match process.of().ask.connected().await {
                    Ok(connected) => break (process, permit, connected),
                    // It has just died, and was asked nothing. That is known in a moment, and the next one is another.
                    Err(error) if process.end().await.is_none() || tries == TRIES => return Err(error),
                    Err(_) => tries += 1,
                },
                // It has just been replaced.
                Ok(Err(_)) => {}
                Err(_) => {
                    let message = format!("all threads of {} are taken (`processes`, `threads`)", self.application);
                    return Err(soon(Error::new(StatusCode::SERVICE_UNAVAILABLE, message)));
                }
            }
        };
        process.count();
        // The thread is taken until it has done, also where the client has left before.
        req.extensions_mut().insert(Held(Arc::new(permit)));
        let response = match process.of().ask.answer(req, Some(connected)).await {
            Ok(response) => response,
            Err(error) => return Err(self.failed(error, &process, &asked).await),
        };
        if response.headers().contains_key(FAILED) {
            let body = response.into_body().collect(LONGEST_ACCOUNT).await?;
            let raised: Raised = serde_json::from_slice(&body).context("reading what the application raised")?;
            return Err(raised.into_error(&self.application));
        }
        Ok(response.map(|body| Coming::of(body, &process)))
    }

    /// Why there is no answer.
    async fn failed(&self, error: Error, process: &Process<Python>, asked: &str) -> Error {
        match error.status() {
            StatusCode::GATEWAY_TIMEOUT => {
                process.kill(format!("it did not answer {asked} within {:?}", self.answer_timeout));
                error.context(format!("asking {process}, which is killed"))
            }
            StatusCode::BAD_GATEWAY => match process.end().await {
                Some(cause) => Error::new(StatusCode::BAD_GATEWAY, cause.to_string()),
                None => error,
            },
            _ => error,
        }
    }

    /// Makes the processes, which start by themselves.
    fn crew(&self, sockets: PathBuf) -> Supervisor<Python> {
        let Self { application, python, paths, threads, processes, .. } = self;
        let (application, python, threads, processes) = (application.clone(), python.clone(), *threads, *processes);
        let mut args: Vec<OsString> = ["-c", ADAPTER].map(OsString::from).to_vec();
        args.extend(["--threads".into(), threads.to_string().into()]);
        if processes > 1 {
            args.push("--multiprocess".into());
        }
        args.extend(paths.iter().flat_map(|path| ["--path".into(), path.clone().into_os_string()]));
        args.extend(["--".into(), application.clone().into()]);
        let (home, env, passed) = (self.folder.clone(), self.env.clone(), self.passed.clone());
        let (answer, place) = (self.answer_timeout, self.place);
        let (authorization, cookies, hold) = (self.authorization, self.cookies, self.hold);
        let count = AtomicU64::new(0);
        let limits = Limits { at_once: u32::try_from(threads).unwrap_or(u32::MAX), ..self.limits.clone() };
        Supervisor::new("python", processes, limits, move |number| {
            let path = sockets.join(count.fetch_add(1, Ordering::Relaxed).to_string());
            let socket = UnixListener::bind(&path).context(format!("listening on {}", path.display()))?;
            let mut spawn = Spawn::new(&python).args(&args).stdin(socket);
            if let Some(home) = &home {
                spawn = spawn.folder(home);
            }
            spawn = spawn.only_env(passed.iter().map(OsString::as_os_str).chain(PASSED.map(OsStr::new)));
            // What it prints is there when it is printed, also if it dies then.
            spawn = spawn.env("PYTHONUNBUFFERED", "1");
            for (name, value) in &env {
                spawn = spawn.env(name, value);
            }
            let name = format!("python {number} ({application})");
            let of = name.clone();
            spawn = spawn.stderr(move |line| {
                let line = line.trim_start_matches(LOGGED);
                tracing::info!(target: "purlin::wsgi", program = of, "{line}");
            });
            let at = Arc::new(At { path: path.clone(), name });
            let ask = FastCgi::by(at, place)
                .max_connections(threads)
                .keep(threads)
                .answer_timeout(answer)
                .idle_timeout(answer)
                .hold_bodies(hold)
                .authorization(authorization)
                .cookies(cookies);
            Ok((spawn, Python { path, ask }))
        })
    }
}

/// It is worth asking again.
fn soon(error: Error) -> Error {
    error.header(RETRY_AFTER, HeaderValue::from_static("1"))
}

impl Service for Wsgi {
    async fn call(&self, req: Request) -> Response {
        // Boxed, so that other answers of the router above have no room kept for it.
        Box::pin(self.answer(req)).await.into_response()
    }

    fn describe(&self, outline: &mut Outline) {
        outline.application::<Self>(self.place);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        for folder in self.folder.iter().chain(&self.paths) {
            if !folder.is_dir() {
                let found = folder.display();
                return Err(Error::internal(format!(
                    "Wsgi ({}): expected a folder, found none at {found}",
                    self.place
                )));
            }
        }
        // Started twice (by a test, say), it stays with the processes that it had first.
        if self.crew.get().is_none() {
            let folder = Folder::new()?;
            let crew = self.crew(folder.path().to_owned());
            let running = crew.clone();
            start.task("python", |stopping| async move {
                // Until the last of them has ended.
                let _folder = folder;
                running.run(stopping).await;
            });
            let _ = self.crew.set(crew);
        }
        Ok(())
    }
}

impl fmt::Debug for Wsgi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { application, folder, python, processes, threads, .. } = self;
        f.debug_struct("Wsgi")
            .field("application", application)
            .field("folder", folder)
            .field("python", python)
            .field("processes", processes)
            .field("threads", threads)
            .finish_non_exhaustive()
    }
}

/// What the application raised.
#[derive(Debug, Deserialize)]
struct Raised {
    what: String,
    /// The innermost first.
    places: Vec<(String, u32)>,
    traceback: String,
}

/// The whole of it, as the cause of the failure.
#[derive(Debug)]
struct Traceback(String);

impl fmt::Display for Traceback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for Traceback {}

impl Raised {
    fn into_error(self, application: &str) -> Error {
        let places = self.places.into_iter().map(|(file, line)| crate::error::Place::new(file, line, 1)).collect();
        let error = Error::from(Traceback(self.traceback)).with_places(places);
        error.context(format!("{application} raised {}", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_raised_is_told_with_its_places_and_its_traceback() {
        let account = r#"{"what":"ValueError: no","places":[["/srv/shop/web.py",12],["/srv/shop/wsgi.py",3]],"traceback":"Traceback …\n"}"#;
        let error = serde_json::from_str::<Raised>(account).unwrap().into_error("shop.web:app");
        assert_eq!(format!("{error:#}"), "shop.web:app raised ValueError: no: Traceback …");
        assert_eq!(error.place().unwrap().to_string(), "/srv/shop/web.py:12:1");
        assert_eq!(error.status(), 500);
    }
}
