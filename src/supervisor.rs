//! `Supervisor`: keeps some processes of one program alive.

#[cfg(any(feature = "workers", feature = "wsgi"))]
mod coming;
#[cfg(any(feature = "workers", feature = "wsgi"))]
mod folder;

#[cfg(any(feature = "workers", feature = "wsgi"))]
pub(crate) use coming::Coming;
#[cfg(any(feature = "workers", feature = "wsgi"))]
pub(crate) use folder::Folder;

use crate::lock::locked;
use crate::race::{Either, first, unless};
use crate::site::Stopping;
use crate::spawn::{Child, Spawn, how};
use crate::{Error, Result};
use http::StatusCode;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// What the processes may do, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How long one may take until it says that it is ready.
    pub(crate) ready: Duration,
    /// How long what is under way in one may take when it is to end; then it is killed.
    pub(crate) drain: Duration,
    /// After how many requests one is replaced.
    pub(crate) max_requests: Option<u64>,
    /// With how many bytes of resident memory one is replaced.
    pub(crate) max_memory: Option<u64>,
    /// How often that is looked at.
    pub(crate) look: Duration,
    /// How many requests may be in one at the same time.
    pub(crate) at_once: u32,
    /// How long one may not answer by its control channel, until it is killed; `None` for programs that do not answer by it.
    pub(crate) hung: Option<Duration>,
    /// None is started before the first is asked for.
    pub(crate) lazy: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            max_requests: None,
            max_memory: None,
            look: Duration::from_secs(5),
            at_once: 256,
            hung: None,
            lazy: false,
        }
    }
}

/// One that lived for so long was no part of a crash loop.
const STEADY: Duration = Duration::from_millis(500);

/// The first and the longest pause of a crash loop, of one that is not even ready.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// The longest pause of one that was ready: it may be a client who kills it, and the others are not to pay for that. Who finds none
/// at work waits for as long as this.
const SHORT_PAUSE: Duration = Duration::from_millis(500);

/// How long one that is ready is waited for, by who finds none.
const COMING: Duration = Duration::from_secs(10);

/// How long the cause of a death may take to be known.
const POST_MORTEM: Duration = Duration::from_millis(500);

/// How long a program is left alone before it is started again: not at all after a long life, then twice as long each time.
fn pause(failures: u32, was_ready: bool) -> Duration {
    let longest = if was_ready { SHORT_PAUSE } else { PAUSES.1 };
    match failures.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => (PAUSES.0 * 2u32.saturating_pow(doublings.min(16))).min(longest),
    }
}

/// Keeps a number of processes alive, each with a `T` by which it is asked.
///
/// One that dies is started again at once, and in a crash loop after a pause that doubles: up to half a second, or to 30 seconds for
/// one that is not even ready. One that is worn out (by requests, or by its memory) is replaced: the new one is ready before the old
/// one drains.
pub(crate) struct Supervisor<T>(Arc<Crew<T>>);

impl<T> Clone for Supervisor<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Crew<T> {
    what: &'static str,
    limits: Limits,
    make: Box<Make<T>>,
    slots: Mutex<Vec<Slot<T>>>,
    changed: Notify,
    wanted: watch::Sender<bool>,
    /// Whether a drain has begun.
    drains: watch::Sender<bool>,
    retiring: Mutex<JoinSet<()>>,
}

/// Makes the program of one place, counted from 1, with the `T` by which it is asked.
type Make<T> = dyn Fn(usize) -> Result<(Spawn, T)> + Send + Sync;

struct Slot<T> {
    state: State,
    current: Option<Arc<Process<T>>>,
    /// Why it failed last.
    failed: Option<Error>,
}

/// How a place is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// Nothing was asked of it yet.
    Asleep,
    /// Started, and not ready.
    Starting,
    /// At work.
    Ready,
    /// Left alone for a while, after so many failures in a row, the last of which was this.
    Pausing { failures: u32, pause: Duration, cause: String },
    /// At its end.
    Stopped,
}

/// A process that was ready once.
#[derive(Debug)]
pub(crate) struct Process<T> {
    what: &'static str,
    number: usize,
    pid: u32,
    of: T,
    at_once: u32,
    permits: Arc<Semaphore>,
    served: AtomicU64,
    max_requests: u64,
    worn: Notify,
    kill: Notify,
    /// Why it was killed, by whom it was.
    reason: Mutex<Option<String>>,
    end: watch::Sender<Option<Arc<str>>>,
}

impl<T> Process<T> {
    /// With a permit for each request that may be in it.
    pub(crate) fn permits(&self) -> Arc<Semaphore> {
        self.permits.clone()
    }

    /// By which it is asked.
    pub(crate) fn of(&self) -> &T {
        &self.of
    }

    /// How many requests are in it.
    fn busy(&self) -> usize {
        (self.at_once as usize).saturating_sub(self.permits.available_permits())
    }

    /// One more request was handed to it.
    pub(crate) fn count(&self) {
        if self.served.fetch_add(1, Ordering::Relaxed) + 1 == self.max_requests {
            self.worn.notify_one();
        }
    }

    /// Kills it, for this reason, with all that is in it.
    pub(crate) fn kill(&self, reason: String) {
        locked(&self.reason).get_or_insert(reason);
        self.kill.notify_one();
    }

    /// Whether it is being killed.
    fn is_condemned(&self) -> bool {
        locked(&self.reason).is_some()
    }

    /// How it ended, if it has or does so in a moment: `worker 2 (process 123) was killed by signal 9 (SIGKILL)`.
    pub(crate) async fn end(&self) -> Option<Arc<str>> {
        let mut end = self.end.subscribe();
        let known = timeout(POST_MORTEM, end.wait_for(Option::is_some)).await;
        known.ok()?.ok()?.clone()
    }

    /// 502 with its end, if this error is because of that.
    #[cfg(any(feature = "workers", feature = "wsgi"))]
    pub(crate) async fn died(&self, error: Error) -> Error
    where
        T: Sync,
    {
        match self.end().await {
            Some(cause) => Error::new(StatusCode::BAD_GATEWAY, cause.to_string()),
            None => error.context(format!("asking {self}")),
        }
    }
}

impl<T> fmt::Display for Process<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (process {})", self.what, self.number, self.pid)
    }
}

enum Event {
    Died(ExitStatus),
    Hung,
    Killed,
    Worn(String),
    Stopped,
}

enum Replacement<T> {
    Ready(Box<Child>, Arc<Process<T>>),
    Failed(Error),
    Needless,
}

impl<T: Send + Sync + 'static> Supervisor<T> {
    /// So many processes, which the log calls by this name; `make` makes the program of each. None is started before
    /// [`run`](Supervisor::run).
    pub(crate) fn new(
        what: &'static str,
        processes: usize,
        limits: Limits,
        make: impl Fn(usize) -> Result<(Spawn, T)> + Send + Sync + 'static,
    ) -> Self {
        let slots = (0..processes).map(|_| Slot { state: State::Asleep, current: None, failed: None }).collect();
        Self(Arc::new(Crew {
            what,
            make: Box::new(make),
            slots: Mutex::new(slots),
            changed: Notify::new(),
            wanted: watch::Sender::new(!limits.lazy),
            drains: watch::Sender::new(false),
            retiring: Mutex::default(),
            limits,
        }))
    }

    /// Keeps them alive until it is told to stop; then drains them, and returns when they have ended.
    pub(crate) async fn run(self, stopping: Stopping) {
        let count = locked(&self.0.slots).len();
        let mut keeping = JoinSet::new();
        for at in 0..count {
            keeping.spawn(self.clone().keep(at, stopping.clone()));
        }
        while keeping.join_next().await.is_some() {}
        let mut retiring = std::mem::take(&mut *locked(&self.0.retiring));
        while retiring.join_next().await.is_some() {}
    }

    /// The one with the fewest requests in it, as soon as there is one.
    ///
    /// # Errors
    ///
    /// 503 Service Unavailable, if none is ready for ten seconds: with the state of the first.
    pub(crate) async fn least_busy(&self) -> Result<Arc<Process<T>>> {
        let find = || {
            let slots = locked(&self.0.slots);
            let ready = slots.iter().filter_map(|slot| slot.current.as_ref());
            ready.filter(|process| !process.is_condemned()).min_by_key(|process| process.busy()).cloned()
        };
        if let Some(process) = find() {
            return Ok(process);
        }
        self.0.wanted.send_if_modified(|wanted| !std::mem::replace(wanted, true));
        let until = Instant::now() + COMING;
        loop {
            let changed = self.0.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            if let Some(process) = find() {
                return Ok(process);
            }
            let is_long = |state: &State| match state {
                State::Pausing { pause, .. } => *pause > SHORT_PAUSE,
                state => *state == State::Stopped,
            };
            let all_pausing = self.states().iter().all(is_long);
            if all_pausing || tokio::time::timeout_at(until, changed).await.is_err() {
                let state = match self.states().into_iter().next() {
                    Some(State::Pausing { failures, pause, cause }) => {
                        format!("{cause}; after {failures} failures in a row it is started again in {pause:?}")
                    }
                    Some(state) => format!("the first is {state:?}").to_lowercase(),
                    None => "there are none".to_owned(),
                };
                let message = format!("no {} is ready: {state}", self.0.what);
                return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, message));
            }
        }
    }

    /// Tells all of them that their end is near, those too that are started from now on: if they answer by their control channels.
    pub(crate) fn soon(&self) {
        self.0.drains.send_replace(true);
    }

    /// How each place is.
    pub(crate) fn states(&self) -> Vec<State> {
        locked(&self.0.slots).iter().map(|slot| slot.state.clone()).collect()
    }

    /// Waits until all are at work for the first time.
    ///
    /// # Errors
    ///
    /// The first failure of any of them, if that comes before.
    pub(crate) async fn started(&self) -> Result<()> {
        loop {
            let changed = self.0.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            if let Some(error) = locked(&self.0.slots).iter_mut().find_map(|slot| slot.failed.take()) {
                return Err(error);
            }
            if self.states().iter().all(|state| *state == State::Ready) {
                return Ok(());
            }
            changed.await;
        }
    }

    fn failed(&self, at: usize, error: Error) {
        if let Some(slot) = locked(&self.0.slots).get_mut(at) {
            slot.failed = Some(error);
        }
    }

    fn set(&self, at: usize, state: State, current: Option<Arc<Process<T>>>) {
        if let Some(slot) = locked(&self.0.slots).get_mut(at) {
            (slot.state, slot.current) = (state, current);
        }
        self.0.changed.notify_waiters();
    }

    /// Keeps the process of one place alive.
    async fn keep(self, at: usize, mut stopping: Stopping) {
        let mut wanted = self.0.wanted.subscribe();
        // The sender is in `self`.
        if unless(stopping.wait(), wanted.wait_for(|wanted| *wanted)).await.is_none() {
            return self.set(at, State::Stopped, None);
        }
        drop(wanted);
        let mut failures = 0;
        loop {
            self.set(at, State::Starting, None);
            let Some(started) = unless(stopping.wait(), self.start(at)).await else {
                return self.set(at, State::Stopped, None);
            };
            let began = Instant::now();
            let was_ready = started.is_ok();
            let cause = match started {
                Ok((child, process)) => match self.attend(at, child, process, &mut stopping).await {
                    Some(cause) => {
                        self.failed(at, Error::internal(cause.to_string()));
                        tracing::error!(target: "purlin::process", "{cause}");
                        cause.to_string()
                    }
                    None => return self.set(at, State::Stopped, None),
                },
                Err(error) => {
                    let (what, number) = (self.0.what, at + 1);
                    tracing::error!(target: "purlin::process", "{what} {number} does not start: {error:#}");
                    let line = error.message().lines().next().unwrap_or_default().to_owned();
                    self.failed(at, error.context(format!("{what} {number} does not start")));
                    format!("{what} {number} does not start: {line}")
                }
            };
            failures = if began.elapsed() < STEADY { failures + 1 } else { 1 };
            let pause = pause(failures, was_ready);
            if pause > Duration::ZERO {
                let (what, number) = (self.0.what, at + 1);
                tracing::warn!(
                    target: "purlin::process", failures, pause_ms = pause.as_millis() as u64,
                    "{what} {number} is left alone for a while"
                );
                self.set(at, State::Pausing { failures, pause, cause }, None);
                if unless(stopping.wait(), sleep(pause)).await.is_none() {
                    return self.set(at, State::Stopped, None);
                }
            }
        }
    }

    /// Starts the process of one place and waits until it is ready.
    async fn start(&self, at: usize) -> Result<(Child, Arc<Process<T>>)> {
        let limits = &self.0.limits;
        let (spawn, of) = (self.0.make)(at + 1)?;
        let mut child = spawn.controlled().start()?;
        if let Err(error) = child.ready(limits.ready).await {
            child.kill();
            child.wait().await;
            return Err(error);
        }
        let process = Arc::new(Process {
            what: self.0.what,
            number: at + 1,
            pid: child.pid(),
            of,
            at_once: limits.at_once,
            permits: Arc::new(Semaphore::new(limits.at_once as usize)),
            served: AtomicU64::new(0),
            max_requests: limits.max_requests.unwrap_or(u64::MAX),
            worn: Notify::new(),
            kill: Notify::new(),
            reason: Mutex::default(),
            end: watch::Sender::new(None),
        });
        self.set(at, State::Ready, Some(process.clone()));
        tracing::info!(target: "purlin::process", "{process} is ready");
        Ok((child, process))
    }

    /// Stays with a process and those that replace it, until one dies, by the cause that is returned, or all are to stop.
    async fn attend(
        &self,
        at: usize,
        mut child: Child,
        mut process: Arc<Process<T>>,
        stopping: &mut Stopping,
    ) -> Option<Arc<str>> {
        let mut drain = Stopping::new(self.0.drains.subscribe());
        loop {
            let event = {
                let mut died = pin!(child.wait_or_hung(self.0.limits.hung, &mut drain));
                let mut killed = pin!(process.kill.notified());
                let mut worn = pin!(self.worn(&process));
                let mut stopped = pin!(stopping.wait());
                poll_fn(|cx| {
                    if let Poll::Ready(status) = died.as_mut().poll(cx) {
                        return Poll::Ready(status.map_or(Event::Hung, Event::Died));
                    }
                    if killed.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Event::Killed);
                    }
                    if stopped.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Event::Stopped);
                    }
                    worn.as_mut().poll(cx).map(Event::Worn)
                })
                .await
            };
            let status = match event {
                Event::Died(status) => status,
                Event::Hung => {
                    let limit = self.0.limits.hung.unwrap_or_default();
                    locked(&process.reason).get_or_insert_with(|| format!("it has done nothing for {limit:?}"));
                    child.kill();
                    child.wait().await
                }
                Event::Killed => {
                    child.kill();
                    child.wait().await
                }
                Event::Worn(why) => {
                    tracing::info!(target: "purlin::process", "{process} is replaced: {why}");
                    match self.replacement(at, &mut child, &process, stopping).await {
                        Replacement::Ready(next, replacing) => {
                            if self.0.limits.hung.is_some() {
                                child.soon();
                            }
                            drain = Stopping::new(self.0.drains.subscribe());
                            let old = std::mem::replace(&mut child, *next);
                            let worn = std::mem::replace(&mut process, replacing);
                            let drain = self.0.limits.drain;
                            let mut retiring = locked(&self.0.retiring);
                            while retiring.try_join_next().is_some() {}
                            retiring.spawn(retire(old, worn, drain));
                        }
                        Replacement::Failed(error) => {
                            tracing::error!(target: "purlin::process", "no replacement for {process}: {error:#}");
                            process.worn.notify_one();
                        }
                        // Met again above.
                        Replacement::Needless => {}
                    }
                    continue;
                }
                Event::Stopped => {
                    self.set(at, State::Stopped, None);
                    retire(child, process, self.0.limits.drain).await;
                    return None;
                }
            };
            // Before it is told how it ended, so that nobody who hears of it comes back to it.
            self.set(at, State::Starting, None);
            return Some(ended(&process, status));
        }
    }

    /// Starts one in the place of a process, unless that dies or is to be killed meanwhile, or all are to stop.
    async fn replacement(
        &self,
        at: usize,
        child: &mut Child,
        process: &Process<T>,
        stopping: &mut Stopping,
    ) -> Replacement<T> {
        let mut starting = pin!(async {
            match self.start(at).await {
                Ok((child, process)) => Replacement::Ready(Box::new(child), process),
                Err(error) => {
                    sleep(self.0.limits.look).await;
                    Replacement::Failed(error)
                }
            }
        });
        let mut died = pin!(child.wait());
        let mut stopped = pin!(stopping.wait());
        let mut killed = pin!(process.kill.notified());
        poll_fn(|cx| {
            if died.as_mut().poll(cx).is_ready() || stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Replacement::Needless);
            }
            if killed.as_mut().poll(cx).is_ready() {
                // It is done by who waits for that again.
                process.kill.notify_one();
                return Poll::Ready(Replacement::Needless);
            }
            starting.as_mut().poll(cx)
        })
        .await
    }

    /// Ready when a process has done enough, with the reason.
    async fn worn(&self, process: &Process<T>) -> String {
        let requests = process.worn.notified();
        let memory = async {
            let Some(limit) = self.0.limits.max_memory else { return pending().await };
            loop {
                sleep(self.0.limits.look).await;
                if let Some(bytes) = resident(process.pid).filter(|bytes| *bytes > limit) {
                    return format!("it has {} MiB of memory", bytes >> 20);
                }
            }
        };
        match first(requests, memory).await {
            Either::Left(()) => format!("it has had {} requests", process.served.load(Ordering::Relaxed)),
            Either::Right(why) => why,
        }
    }
}

/// Notes how a process ended, for those whose requests were in it.
fn ended<T>(process: &Process<T>, status: ExitStatus) -> Arc<str> {
    let how = match locked(&process.reason).take() {
        Some(reason) => format!("was killed: {reason}"),
        None => how(status),
    };
    let cause: Arc<str> = format!("{process} {how}").into();
    process.end.send_replace(Some(cause.clone()));
    cause
}

/// Ends a process that is given nothing more to do: when what is in it has ended, or at the end of `drain`.
async fn retire<T>(mut child: Child, process: Arc<Process<T>>, drain: Duration) {
    let mut until = Instant::now() + drain;
    let end = until;
    {
        let mut idle = pin!(process.permits.acquire_many(process.at_once));
        let mut gone = pin!(child.wait());
        let mut killed = pin!(process.kill.notified());
        let over = poll_fn(|cx| {
            if gone.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if killed.as_mut().poll(cx).is_ready() {
                until = Instant::now();
                return Poll::Ready(());
            }
            idle.as_mut().poll(cx).map(drop)
        });
        let _ = tokio::time::timeout_at(end, over).await;
    }
    // Who chose it and has not asked it yet, asks another.
    process.permits.close();
    child.stop();
    let status = match tokio::time::timeout_at(until, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            locked(&process.reason).get_or_insert_with(|| format!("it did not end within {drain:?}"));
            child.kill();
            child.wait().await
        }
    };
    let cause = ended(&process, status);
    if status.success() {
        tracing::info!(target: "purlin::process", "{cause}");
    } else {
        tracing::warn!(target: "purlin::process", "{cause}");
    }
}

/// The resident memory of a process in bytes; `None` where the system does not say so.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Router;
    use crate::site::Life;

    fn shell(script: &str) -> Spawn {
        Spawn::new("/bin/sh").args(["-c", script])
    }

    /// Some processes, each of which does the script; and the site whose end stops them.
    fn crew(count: usize, limits: Limits, script: &'static str) -> (Supervisor<usize>, Life, JoinSet<()>) {
        let life = Life::start(&Router::new()).unwrap();
        let supervisor = Supervisor::new("worker", count, limits, move |number| {
            Ok((shell(script).env("NUMBER", number.to_string()), number))
        });
        let mut running = JoinSet::new();
        running.spawn(supervisor.clone().run(life.stopping()));
        (supervisor, life, running)
    }

    /// Is ready, and ends when it is told to.
    const GOOD: &str = "echo ready >&0; read line; exit 0";

    #[tokio::test]
    async fn those_that_are_ready_are_at_work_until_they_are_stopped() {
        let (supervisor, life, mut running) = crew(3, Limits::default(), GOOD);
        supervisor.started().await.unwrap();
        let numbers: Vec<usize> =
            locked(&supervisor.0.slots).iter().filter_map(|slot| Some(slot.current.as_ref()?.of)).collect();
        assert_eq!(numbers, [1, 2, 3]);
        life.end(Duration::ZERO).await;
        running.join_next().await.unwrap().unwrap();
        assert_eq!(supervisor.states(), [State::Stopped, State::Stopped, State::Stopped]);
    }

    #[tokio::test]
    async fn one_that_is_killed_is_back_within_a_second_and_its_end_is_told() {
        let (supervisor, _life, _running) = crew(1, Limits::default(), GOOD);
        let first = supervisor.least_busy().await.unwrap();
        let began = std::time::Instant::now();
        let mut kill = shell(&format!("kill -9 {}", first.pid)).start().unwrap();
        kill.wait().await;
        let expected = format!("worker 1 (process {}) was killed by signal 9 (SIGKILL)", first.pid);
        assert_eq!(first.end().await.as_deref(), Some(&*expected));
        let second = supervisor.least_busy().await.unwrap();
        assert_ne!(second.pid, first.pid);
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn one_that_is_hung_is_killed_with_the_reason() {
        let (supervisor, _life, _running) = crew(1, Limits::default(), "echo ready >&0; exec sleep 100");
        let process = supervisor.least_busy().await.unwrap();
        process.kill("it did not answer within 3s".to_owned());
        let expected = format!("worker 1 (process {}) was killed: it did not answer within 3s", process.pid);
        assert_eq!(process.end().await.as_deref(), Some(&*expected));
    }

    #[tokio::test]
    async fn one_that_does_not_say_that_it_is_well_is_killed() {
        let hung = Some(Duration::from_millis(50));
        let limits = Limits { hung, ..Limits::default() };
        // It answers once.
        let script = "echo ready >&0; head -c 1 <&0 >&0; exec sleep 100";
        let (supervisor, _life, _running) = crew(1, limits, script);
        let process = supervisor.least_busy().await.unwrap();
        let end = process.end().await.unwrap();
        assert!(end.ends_with("was killed: it has done nothing for 50ms"), "{end}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn one_that_takes_too_much_memory_is_replaced() {
        // Only the first one grows.
        let first = std::sync::atomic::AtomicBool::new(true);
        let limits = Limits { max_memory: Some(20 << 20), look: Duration::from_millis(10), ..Limits::default() };
        let life = Life::start(&Router::new()).unwrap();
        let supervisor = Supervisor::new("worker", 1, limits, move |number| {
            let grows = first.swap(false, Ordering::Relaxed);
            let grow = if grows { "x=$(head -c 40000000 /dev/zero | tr '\\0' x); " } else { "" };
            Ok((shell(&format!("echo ready >&0; {grow}read line; exit 0")), number))
        });
        let mut running = JoinSet::new();
        running.spawn(supervisor.clone().run(life.stopping()));
        let grown = supervisor.least_busy().await.unwrap();
        let expected = format!("worker 1 (process {}) exited with status 0", grown.pid);
        let mut end = grown.end.subscribe();
        let ended = timeout(Duration::from_secs(30), end.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
        assert_eq!(ended.as_deref(), Some(&*expected), "it was drained, and not killed");
        let next = supervisor.least_busy().await.unwrap();
        assert_ne!(next.pid, grown.pid);
        assert_eq!(supervisor.states(), [State::Ready]);
    }

    #[test]
    fn a_crash_loop_is_slowed_down() {
        let millis = |was_ready| (0..14).map(|failures| pause(failures, was_ready).as_millis()).collect::<Vec<_>>();
        let expected = [0, 0, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000];
        assert_eq!(millis(false), expected);
        assert_eq!(millis(true)[..8], [0, 0, 50, 100, 200, 400, 500, 500]);
        assert_eq!(pause(u32::MAX, false), PAUSES.1);
    }

    #[tokio::test]
    async fn who_asks_in_a_crash_loop_is_told_the_cause() {
        let (supervisor, _life, _running) = crew(1, Limits::default(), "echo the database is away >&2; exit 3");
        let Err(error) = supervisor.least_busy().await else { panic!("it is never ready") };
        assert_eq!(error.status(), 503);
        let message = error.message();
        assert!(message.starts_with("no worker is ready: worker 1 does not start: the process "), "{message}");
        assert!(message.contains("exited with status 3 before it was ready"), "{message}");
        assert!(message.contains("failures in a row"), "{message}");
    }

    #[tokio::test]
    async fn one_that_has_had_its_requests_is_replaced_and_then_drained() {
        let limits = Limits { max_requests: Some(2), ..Limits::default() };
        let (supervisor, _life, _running) = crew(1, limits, GOOD);
        let first = supervisor.least_busy().await.unwrap();
        let permit = first.permits.clone().acquire_owned().await.unwrap();
        first.count();
        first.count();
        let second = loop {
            // It is at work until the other one is ready.
            let process = supervisor.least_busy().await.unwrap();
            if process.pid != first.pid {
                break process;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(second.number, 1);
        assert!(first.end.borrow().is_none());
        drop(permit);
        let end = first.end.subscribe().wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(end.as_deref(), Some(&*format!("worker 1 (process {}) exited with status 0", first.pid)));
        assert!(first.permits.is_closed());
    }

    #[tokio::test]
    async fn a_lazy_crew_is_started_by_the_first_who_asks() {
        let (supervisor, _life, _running) = crew(2, Limits { lazy: true, ..Limits::default() }, GOOD);
        tokio::task::yield_now().await;
        assert_eq!(supervisor.states(), [State::Asleep, State::Asleep]);
        supervisor.least_busy().await.unwrap();
        supervisor.started().await.unwrap();
    }

    #[tokio::test]
    async fn the_least_busy_one_is_chosen() {
        let (supervisor, _life, _running) = crew(2, Limits::default(), GOOD);
        supervisor.started().await.unwrap();
        let first = supervisor.least_busy().await.unwrap();
        let _permit = first.permits.clone().acquire_owned().await.unwrap();
        let second = supervisor.least_busy().await.unwrap();
        assert_eq!((first.number, second.number), (1, 2));
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_killed() {
        let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
        let (supervisor, life, mut running) = crew(1, limits, "echo ready >&0; exec sleep 100");
        let process = supervisor.least_busy().await.unwrap();
        life.end(Duration::ZERO).await;
        running.join_next().await.unwrap().unwrap();
        let end = process.end().await.unwrap();
        assert!(end.ends_with("was killed: it did not end within 100ms"), "{end}");
    }

    #[test]
    fn the_memory_of_a_process_is_known() {
        if cfg!(target_os = "linux") {
            assert!(resident(std::process::id()).unwrap() > 1 << 20);
            assert_eq!(resident(u32::MAX), None);
        }
    }
}
