//! `restart`: one process serves after another, on the same sockets, and no request is lost in between.
//!
//! At `SIGHUP`, or when asked by the control socket, a server starts its executable once more and hands its sockets over: both have
//! them then, and neither closes them. When the new process is ready the old one accepts no more connections, and drains. If it is
//! not, the old one serves on. (Of several processes the new ones accept as each is ready; if not all are, they drain.)

use super::control::{Caller, Control, callers};
use super::{predecessor, watchdog};
use crate::config::Listen;
use crate::notify::Notify;
use crate::server::handover::{self, Handover};
use crate::server::{Bound, Opening, Step};
use crate::spawn::{Child, Spawn, how};
use crate::{BoxService, Context, Error, Result};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;

/// How many of its last words a new process leaves behind, and how long a line of them is.
const LAST_WORDS: usize = 20;
const MAX_LINE: u64 = 8 * 1024;

/// How long the end of a process is waited for that has closed its channel, and its word on what is wrong with it.
const END: Duration = Duration::from_secs(5);

/// Set by `purlin dev`, which holds the other end of the standard input: this process is not to outlive it, even if it is killed.
const DEV: &str = "PURLIN_DEV";

/// This executable, by the path under which it was started: what stands there later is what is started then. (The system's own link
/// to it, `/proc/self/exe`, would lead to the old one, which may be deleted.) Asked for the first time when the program starts.
pub(super) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let own = std::env::current_exe().unwrap_or_default();
        let same =
            |path: &PathBuf| path.canonicalize().is_ok_and(|path| own.canonicalize().is_ok_and(|own| own == path));
        let named = PathBuf::from(std::env::args_os().next().unwrap_or_default());
        let found = if named.components().count() > 1 {
            std::path::absolute(&named).ok().filter(same)
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|folder| folder.join(&named)).find(same)
        };
        found.unwrap_or(own)
    })
}

/// Why this process cannot be replaced: whoever waits for its end would take it for that of the site.
fn cannot_end() -> Option<&'static str> {
    const REPLACE: &str = "start a new container instead, and stop this one, which drains";
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let why = WHY.get_or_init(|| {
        if std::process::id() == 1 {
            return Some(format!("it is the first process of its container, which ends with it: {REPLACE}"));
        }
        // One that took over is nobody's child: whom it took over from was none that is waited for.
        let init = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
        let init = init.trim();
        let waited_for = std::os::unix::process::parent_id() == 1 && !predecessor::is_there();
        (waited_for && !matches!(init, "systemd" | "init" | ""))
            .then(|| format!("the container's init, {init}, ends with it: {REPLACE}"))
    });
    why.as_deref()
}

/// This process's time as the server, from its predecessor, if it has one, to its successor.
#[derive(Debug)]
pub(super) struct Reign {
    control: Option<Control>,
    limit: Duration,
    notify: Notify,
    status: String,
    events: mpsc::UnboundedSender<Event>,
    happens: mpsc::UnboundedReceiver<Event>,
    signals: [Ends; 2],
}

#[derive(Debug)]
enum Event {
    Stop,
    HungUp,
    Asked(Caller),
    Tried(Result<u32>),
}

impl Reign {
    /// `control` is where the control socket is to be; `limit` is the time for a successor to be ready. Signals are heard from here
    /// on, before anybody is told that the site serves.
    ///
    /// # Errors
    ///
    /// No signal can be waited for.
    pub(super) fn begin(control: Result<Option<PathBuf>>, limit: Duration, status: String) -> Result<Self> {
        // Both are remembered as they are at the start.
        program();
        cannot_end();
        let control = control.and_then(|place| place.map(Control::open).transpose());
        let control = control.inspect_err(|error| {
            tracing::warn!(target: "purlin::restart", error = format_args!("{error:#}"), "no control socket: the command `restart` does not find this server");
        });
        let (events, happens) = mpsc::unbounded_channel();
        let signals = listen_to_signals(&events)?;
        let (control, notify) = (control.unwrap_or_default(), Notify::from_env());
        Ok(Self { control, limit, notify, status, events, happens, signals })
    }

    /// Returns when the servers are to drain: at a signal, or when a successor serves. Then somebody may be about to be told so.
    ///
    /// # Errors
    ///
    /// The predecessor does not let this process take over.
    async fn last(
        mut self,
        handover: Handover,
        addresses: Vec<Listen>,
        mut steps: mpsc::UnboundedReceiver<Step>,
        open: watch::Sender<bool>,
        servers: usize,
    ) -> Result<Option<JoinHandle<()>>> {
        for expected in [Step::Started, Step::Serving] {
            for _ in 0..servers {
                // One of them has failed, and says why itself; or all are told to stop.
                let Some(step) = self.next(&mut steps).await else { return Ok(None) };
                debug_assert_eq!(step, expected);
            }
            if expected == Step::Started {
                handover::close_others();
                predecessor::ready().await?;
                open.send_replace(true);
            }
        }
        // It has told the service manager who serves from now on.
        if !predecessor::is_there() {
            self.notify.ready(&self.status);
        }
        if let Some(control) = &mut self.control {
            control.own();
        }
        predecessor::serving();
        let _watchdog = Ends(tokio::spawn(watchdog::feed(self.notify.clone(), addresses)).abort_handle());
        let listening = self.control.as_ref().map(|control| control.listen(callers(self.events.clone(), Event::Asked)));
        let listening = listening.transpose().inspect_err(|error| {
            tracing::warn!(target: "purlin::restart", error = format_args!("{error:#}"), "nobody listens at the control socket");
        });
        let _listening = listening.ok().flatten().map(Ends);
        let mut attempt: Option<(Ends, Option<Caller>)> = None;
        while let Some(event) = self.happens.recv().await {
            let caller = match event {
                Event::Stop => {
                    if let Some((_, Some(caller))) = attempt {
                        tokio::spawn(caller.answer(Err("the site has been told to stop")));
                    }
                    self.notify.stopping("draining");
                    return Ok(None);
                }
                Event::Tried(tried) => {
                    let caller = attempt.take().and_then(|(_, caller)| caller);
                    match tried {
                        Ok(pid) => {
                            self.notify.replaced(pid, &self.status);
                            handover.done();
                            if let Some(control) = self.control.take() {
                                control.hand_over();
                            }
                            tracing::info!(target: "purlin::restart", pid, "the new process serves");
                            drop(self.signals);
                            ignore_one_signal();
                            let answer = caller.map(|caller| answer_when_closed(caller, pid, steps, servers));
                            return Ok(answer.map(tokio::spawn));
                        }
                        Err(error) => {
                            let why = error.chain().collect::<Vec<_>>().join(": ");
                            tracing::error!(target: "purlin::restart", error = why, "not restarted: this process serves on");
                            self.notify.ready(&format!("{}; the last restart failed", self.status));
                            if let Some(caller) = caller {
                                let own = std::process::id();
                                tokio::spawn(
                                    caller.answer(Err(&format!("not restarted, process {own} serves on: {why}"))),
                                );
                            }
                        }
                    }
                    continue;
                }
                Event::Asked(caller) => Some(caller),
                Event::HungUp => None,
            };
            let refused = if attempt.is_some() { Some("a restart is under way") } else { cannot_end() };
            let started = match refused {
                Some(refused) => Err(Error::internal(refused)),
                None => self.successor(&handover),
            };
            match started {
                Ok((successor, channel)) => {
                    tracing::info!(target: "purlin::restart", program = %program().display(), "starting the new process");
                    self.notify.reloading("restarting");
                    let (events, limit) = (self.events.clone(), self.limit);
                    let trying = tokio::spawn(async move {
                        let _ = events.send(Event::Tried(attempt_with(successor, channel, limit).await));
                    });
                    attempt = Some((Ends(trying.abort_handle()), caller));
                }
                Err(error) => {
                    let why = error.chain().collect::<Vec<_>>().join(": ");
                    tracing::warn!(target: "purlin::restart", "not restarted: {why}");
                    if let Some(caller) = caller {
                        tokio::spawn(caller.answer(Err(&format!("not restarted: {why}"))));
                    }
                }
            }
        }
        Ok(None)
    }

    /// How far another server has come, unless the process is told to stop. Nobody can ask for a restart yet.
    async fn next(&mut self, steps: &mut mpsc::UnboundedReceiver<Step>) -> Option<Step> {
        std::future::poll_fn(|cx| {
            while let Poll::Ready(event) = self.happens.poll_recv(cx) {
                if matches!(event, None | Some(Event::Stop)) {
                    return Poll::Ready(None);
                }
            }
            steps.poll_recv(cx)
        })
        .await
    }

    /// The new process, to be started, and this end of the channel to it.
    fn successor(&self, handover: &Handover) -> Result<(Spawn, UnixStream)> {
        let (here, there) = UnixStream::pair().context("making a channel to the new process")?;
        let there = there.into_std().context("making a channel to the new process")?;
        there.set_nonblocking(false)?;
        let mut spawn = Spawn::new(program())
            .args(std::env::args_os().skip(1))
            .outlives()
            .own_stderr()
            // It is this process's number.
            .without_env("WATCHDOG_PID")
            .env(handover::LISTEN, handover.listen())
            .hand_over(predecessor::CHANNEL, &there)?;
        for socket in handover.sockets() {
            spawn = spawn.hand_over(handover::SOCKETS, socket)?;
        }
        if let Some(control) = &self.control {
            spawn = spawn.hand_over(super::control::SOCKET, control.socket())?;
        }
        Ok((spawn, here))
    }
}

/// Ends a task with itself.
#[derive(Debug)]
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn listen_to_signals(events: &mpsc::UnboundedSender<Event>) -> Result<[Ends; 2]> {
    let stop = crate::server::signals()?;
    let mut hang_up = signal(SignalKind::hangup()).context("waiting for SIGHUP")?;
    // There it says that the terminal is gone, and its programs are to end.
    let terminal = std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
    let (on_stop, on_hang_up) = (events.clone(), events.clone());
    let stop = tokio::spawn(async move {
        stop.await;
        let _ = on_stop.send(Event::Stop);
    });
    let hang_up = tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            let _ = on_hang_up.send(if terminal { Event::Stop } else { Event::HungUp });
        }
    });
    if std::env::var_os(DEV).is_some() {
        let events = events.clone();
        std::thread::spawn(move || {
            // What is read says nothing; that it ends says that `purlin dev` has ended, however it did.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = events.send(Event::Stop);
        });
    }
    Ok([Ends(stop.abort_handle()), Ends(hang_up.abort_handle())])
}

/// Whoever asked for the restart is told when every connection from then on is the new process's.
async fn answer_when_closed(caller: Caller, pid: u32, mut steps: mpsc::UnboundedReceiver<Step>, servers: usize) {
    for _ in 0..servers {
        // `Closed` is all that there is left to say.
        steps.recv().await;
    }
    let own = std::process::id();
    caller.answer(Ok(&format!("process {pid} serves, process {own} answers what it has begun"))).await;
}

/// systemd, when it stops the unit, tells this process too, which drains already. One more ends it.
fn ignore_one_signal() {
    // Signals were listened to before: there is no reason why that should fail now.
    if let Ok(signals) = crate::server::signals() {
        tokio::spawn(signals);
    }
}

/// A process that is killed if it does not take over.
struct Candidate(Option<Child>);

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill();
        }
    }
}

/// Starts the new process and waits until it serves; tells its number.
async fn attempt_with(successor: Spawn, channel: UnixStream, limit: Duration) -> Result<u32> {
    let mut child = successor.start()?;
    let pid = child.pid();
    let mut last_words = VecDeque::new();
    let talked = {
        let mut candidate = Candidate(Some(child));
        let talked = timeout(limit, talk(channel, &mut last_words)).await;
        if let Ok(true) = talked {
            candidate.0 = None;
            return Ok(pid);
        }
        if talked.is_err() {
            drop(candidate);
            None
        } else {
            candidate.0.take()
        }
    };
    let what = match talked {
        None => {
            format!("the new process {pid} was not ready within {limit:?} (`server.restart_timeout`), and was killed")
        }
        Some(ended) => {
            child = ended;
            match timeout(END, child.wait()).await {
                Ok(status) => format!("the new process {pid} {}", how(status)),
                Err(_) => {
                    child.kill();
                    format!("the new process {pid} closed its channel, and was killed")
                }
            }
        }
    };
    if last_words.is_empty() {
        last_words.extend(why_it_cannot_run().await);
    }
    let words: String = last_words.iter().map(|line| format!("\n  {line}")).collect();
    let words = if words.is_empty() { words } else { format!("; its last words:{words}") };
    Err(Error::internal(format!("{what}{words}")))
}

/// Whether it serves; what it says meanwhile is kept. An end of the channel says that it does not.
async fn talk(channel: UnixStream, last_words: &mut VecDeque<String>) -> bool {
    let mut channel = BufReader::new(channel);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut channel).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(length) if length > 0 => {}
            _ => return false,
        }
        let text = String::from_utf8_lossy(&line);
        match text.trim_end().split_once(' ') {
            None if text == "ready\n" => drop(channel.write_all(b"go\n").await),
            None if text == "serving\n" => return true,
            Some(("said", text)) => {
                if last_words.len() == LAST_WORDS {
                    last_words.pop_front();
                }
                last_words.push_back(text.to_owned());
            }
            _ => {}
        }
    }
}

/// An executable that has ended without a word may not run here at all: one for another system, or without its libraries, says so
/// when it is asked for anything.
async fn why_it_cannot_run() -> Vec<String> {
    let Ok(nowhere) = std::fs::File::options().write(true).open("/dev/null") else { return Vec::new() };
    let help = Spawn::new(program()).args(["help"]).stderr(|_| {}).stdout(nowhere);
    let Ok(mut child) = help.start() else { return Vec::new() };
    match timeout(END, child.wait()).await {
        Ok(status) if !status.success() => child.last_words().lines().map(|line| line.trim().to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// Serves them all until they are told to stop, or one of them fails: half a site is none. Without a reign this process belongs to
/// another one, which tells it when to stop.
pub(super) async fn serve_all(servers: Vec<(Bound, BoxService)>, reign: Option<Reign>) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let (steps, followed) = mpsc::unbounded_channel();
    let (open, opened) = watch::channel(reign.is_none());
    let (mut handover, mut addresses) = (Handover::default(), Vec::new());
    let mut running = JoinSet::new();
    let count = servers.len();
    for (bound, app) in servers {
        if reign.is_some() {
            handover.and(bound.handover()?);
            addresses.extend_from_slice(bound.addresses());
        }
        let mut stopped = stopped.clone();
        let bound = bound.opening(Opening { steps: steps.clone(), open: opened.clone() });
        running.spawn(async move {
            let stopped = async move {
                // An error means that the sender is gone, and the process about to end.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            bound.serve(app, stopped).await
        });
    }
    drop(steps);
    let stop = std::sync::Arc::new(stop);
    let reigning = tokio::spawn({
        let stop = stop.clone();
        async move {
            let last = match reign {
                Some(reign) => reign.last(handover, addresses, followed, open, count).await,
                None => serve_for_another(open).await,
            };
            stop.send_replace(true);
            last
        }
    });
    let mut served = Ok(());
    while let Some(ended) = running.join_next().await {
        stop.send_replace(true);
        served = served.and(ended.context("a server ended by a panic").and_then(|ended| ended));
        if served.is_err() {
            // Others may wait to be let begin.
            reigning.abort();
        }
    }
    if !reigning.is_finished() {
        reigning.abort();
        return served;
    }
    let last = reigning.await.context("the end of the server").and_then(|last| last);
    match last {
        Ok(Some(answer)) => served.and(answer.await.context("telling that the new process serves")),
        Ok(None) => served,
        Err(error) => served.and(Err(error)),
    }
}

/// A process that serves for another one, which a signal may reach with it. What it means is for that one to say; only the second
/// that ends a process is for all.
async fn serve_for_another(_open: watch::Sender<bool>) -> Result<Option<JoinHandle<()>>> {
    let _hang_up = signal(SignalKind::hangup()).context("waiting for SIGHUP")?;
    crate::server::signals()?.await;
    Ok(None)
}
