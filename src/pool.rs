//! `Pool`: threads for work that blocks, and how many of them there may be.

mod body;
mod carry;
mod named;
mod park;

pub use body::BodyReader;
pub use named::Pools;
pub(crate) use named::{DEFAULT, Settings, describe_installed};

use crate::service::BoxFuture;
use crate::site::{Needs, Start};
use crate::{Body, Error, FromRequest, Request, Response, Result};
use bytes::Bytes;
use carry::Carried;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// A bounded pool of threads, for what would hold up others: calls that block, and long calculations.
///
/// The layer [`Blocking`](crate::layers::Blocking) runs what is below it on one, and a handler that is no `async fn` is run on
/// one by itself. An `async fn` takes the pool as an argument, for the part of its work that blocks. All who name the same pool
/// share it, in all applications of a site; see there for the options and their defaults.
///
/// A clone is the same pool. Threads are made when there is work for them, and end after ten idle seconds.
///
/// ```
/// use purlin::pool::Pool;
/// use purlin::{Result, Router, get};
///
/// async fn report(pool: Pool) -> Result<String> {
///     let total = pool.run(|| (1..=1000_u64).sum::<u64>()).await?;
///     Ok(format!("{total}"))
/// }
///
/// let routes = Router::new().route("/report", get(report));
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    name: String,
    state: Mutex<State>,
    /// There is a job, or the end has come.
    work: Condvar,
    /// The last thread has ended.
    ended: Notify,
}

struct State {
    settings: Settings,
    /// What no thread has begun, in the order in which it came, which is that of the numbers.
    waiting: VecDeque<(u64, Box<dyn Job>)>,
    next: u64,
    threads: usize,
    /// Threads without a job: they sleep, or are about to look for one.
    free: usize,
    asleep: usize,
    /// One of these is being woken. The next is woken by that one, if there is more to do: so jobs that come faster than a thread
    /// wakes are done by those that are up, and a short job does not cost a thread's sleep.
    waking: bool,
    /// Threads do not wait for more.
    ending: bool,
    done: u64,
    refused: u64,
}

/// What a thread does.
trait Job: Send {
    fn run(&mut self);

    /// Hands the answer to whoever waits. Apart, since the thread is free before that is there.
    fn answer(self: Box<Self>);
}

struct Work<W, T> {
    work: Option<W>,
    carried: Carried,
    waits: oneshot::Sender<Result<T>>,
    result: Option<Result<T>>,
}

impl<W, T> Job for Work<W, T>
where
    W: FnOnce(&mut oneshot::Sender<Result<T>>) -> Option<Result<T>> + Send,
    T: Send,
{
    fn run(&mut self) {
        let Some(work) = self.work.take().filter(|_| !self.waits.is_closed()) else {
            return;
        };
        let (carried, waits) = (&self.carried, &mut self.waits);
        self.result = carried.run(|| work(waits));
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            // An error means that nobody waits any more.
            let _ = self.waits.send(result);
        }
    }
}

/// What a pool does at a moment, and has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Threads that there are.
    pub threads: usize,
    /// Those that have work.
    pub busy: usize,
    /// Jobs for which no thread is free yet.
    pub queued: usize,
    /// Jobs that came to an end, also by a panic.
    pub done: u64,
    /// Jobs that were not begun, since the queue was full or no thread was free in time.
    pub refused: u64,
}

/// Why a pool did not do a job: the cause of its error 503.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// All threads work, and as many jobs wait as may.
    Full {
        /// The name of the pool.
        pool: String,
        /// Its threads.
        size: usize,
        /// How many jobs may wait.
        queue: usize,
    },
    /// No thread was free in time.
    Late {
        /// The name of the pool.
        pool: String,
        /// Its threads.
        size: usize,
        /// How long a job may wait.
        wait: Duration,
    },
    /// The system gives no thread.
    NoThread {
        /// The name of the pool.
        pool: String,
        /// What the system says.
        reason: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { pool, size, queue } => write!(
                f,
                "the pool `{pool}` is full: its threads (setting `size`, {size}) are busy, and as many requests wait as may \
                 (setting `queue`, {queue})"
            ),
            Self::Late { pool, size, wait } => write!(
                f,
                "no thread of the pool `{pool}` (setting `size`, {size}) was free within {wait:?} (setting `wait`)"
            ),
            Self::NoThread { pool, reason } => write!(f, "the pool `{pool}` cannot start a thread: {reason}"),
        }
    }
}

impl std::error::Error for Refusal {}

thread_local! {
    /// The pool that this thread is of, by its address; 0 for none.
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// A thread without work ends after this.
const IDLE: Duration = Duration::from_secs(10);

impl Pool {
    pub(crate) fn new(name: impl Into<String>, settings: Settings) -> Self {
        Self(Arc::new(Shared {
            name: name.into(),
            state: Mutex::new(State {
                settings,
                waiting: VecDeque::new(),
                next: 0,
                threads: 0,
                free: 0,
                asleep: 0,
                waking: false,
                ending: false,
                done: 0,
                refused: 0,
            }),
            work: Condvar::new(),
            ended: Notify::new(),
        }))
    }

    /// Runs `work` on a thread of the pool, and waits for what it returns.
    ///
    /// On a thread of this pool already, as in an `async fn` below a [`Blocking`](crate::layers::Blocking), it is run right there:
    /// a job that waited for another would hold two threads. Log lines, spans and failures belong to the request as they do
    /// elsewhere. Dropping the future takes work that has not begun out of the queue; work that has begun cannot be stopped.
    ///
    /// # Errors
    ///
    /// 503 (RFC 9110 §15.6.4) with `Retry-After` and a [`Refusal`] as its cause, where the queue is full or no thread was free in
    /// time; 500 where the work panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.admit(Admission::Limited, work).await
    }

    /// A body that `source` is read for, on the pool: a piece of at most 64 KiB whenever the client has taken the one before.
    ///
    /// A slow client holds no thread. When it leaves, nothing more is read.
    ///
    /// ```
    /// use purlin::pool::Pool;
    /// use purlin::{Body, Result};
    ///
    /// // No `async fn`: it is run on the pool itself.
    /// fn backup(pool: Pool) -> Result<Body> {
    ///     Ok(pool.reader(std::fs::File::open("backup.tar")?))
    /// }
    /// # purlin::get(backup);
    /// ```
    pub fn reader(&self, source: impl Read + Send + 'static) -> Body {
        body::of_reader(self.clone(), source)
    }

    /// A body of the pieces of an iterator, which is asked for each on the pool, whenever the client has taken the one before.
    ///
    /// ```
    /// use purlin::pool::Pool;
    ///
    /// fn squares(pool: Pool) -> purlin::Body {
    ///     pool.pieces((1..1000_u64).map(|n| Ok(format!("{}\n", n * n))))
    /// }
    /// # purlin::get(squares);
    /// ```
    pub fn pieces<T: Into<Bytes> + 'static>(&self, pieces: impl Iterator<Item = Result<T>> + Send + 'static) -> Body {
        body::of_iterator(self.clone(), pieces)
    }

    /// Its name: `default`, where nobody gave one.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it does now, and has done so far.
    pub fn metrics(&self) -> Metrics {
        let state = self.0.locked();
        Metrics {
            threads: state.threads,
            busy: state.threads - state.free,
            queued: state.waiting.len().saturating_sub(state.free),
            done: state.done,
            refused: state.refused,
        }
    }

    /// Drives the answer of a service on a thread of the pool. The head comes back as soon as it is known; a body that
    /// streams is nobody's thread.
    pub(crate) async fn answer(
        &self,
        answer: impl FnOnce() -> BoxFuture<'static, Response> + Send + 'static,
    ) -> Result<Response> {
        let work = move |waits: &mut oneshot::Sender<Result<Response>>| {
            let mut answer = std::pin::pin!(crate::panic::caught(async move { answer().await }));
            // Ends with whoever waits: at the `.await` that the answer has reached.
            park::block_on(std::future::poll_fn(|cx| match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => waits.poll_closed(cx).map(|()| None),
            }))
        };
        self.begin(Admission::Limited, work).await
    }

    /// Whether this thread is one of the pool's.
    pub(crate) fn is_here(&self) -> bool {
        HERE.get() == self.0.address()
    }

    /// Ends the threads when the site does.
    pub(crate) fn ends_with(&self, start: &mut Start) {
        let pool = self.clone();
        start.task("threads of a pool", |mut stopping| async move {
            pool.0.locked().ending = false;
            stopping.wait().await;
            pool.end().await;
        });
    }

    /// Waits until what was begun or queued has ended, and the threads with it.
    async fn end(&self) {
        self.0.locked().ending = true;
        self.0.work.notify_all();
        loop {
            let ended = self.0.ended.notified();
            if self.0.locked().threads == 0 {
                break;
            }
            ended.await;
        }
        let Metrics { done, refused, .. } = self.metrics();
        if done + refused > 0 {
            tracing::info!(target: "purlin::pool", pool = self.name(), done, refused, "the threads have ended");
        }
    }

    async fn admit<T: Send + 'static>(
        &self,
        admission: Admission,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if self.is_here() {
            return crate::panic::guarded(work);
        }
        self.begin(admission, |_| Some(crate::panic::guarded(work))).await
    }

    async fn begin<T: Send + 'static>(
        &self,
        admission: Admission,
        work: impl FnOnce(&mut oneshot::Sender<Result<T>>) -> Option<Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (waits, mut answer) = oneshot::channel();
        let work = Work { work: Some(work), carried: Carried::of_here(), waits, result: None };
        let mut ticket = self.submit(admission, Box::new(work))?;
        let done = match ticket.wait.take() {
            None => answer.await,
            Some(wait) => match tokio::time::timeout(wait, &mut answer).await {
                Ok(done) => done,
                Err(_) if ticket.withdraw() => {
                    return Err(self.refuse(|pool, settings| Refusal::Late { pool, size: settings.size(), wait }));
                }
                // It was begun in time.
                Err(_) => answer.await,
            },
        };
        ticket.begun = true;
        done.unwrap_or_else(|_| Err(Error::internal(format!("a job of the pool `{}` has no answer", self.name()))))
    }

    /// Puts a job where a thread finds it.
    fn submit(&self, admission: Admission, job: Box<dyn Job>) -> Result<Ticket> {
        let mut state = self.0.locked();
        let size = state.settings.size();
        let is_free = state.waiting.len() < state.free;
        let starts = !is_free && state.threads < size;
        let queued = !is_free && !starts;
        if queued && admission == Admission::Limited && state.waiting.len() - state.free >= state.settings.queue() {
            drop(state);
            return Err(self.refuse(|pool, settings| Refusal::Full { pool, size, queue: settings.queue() }));
        }
        let id = state.next;
        state.next += 1;
        state.waiting.push_back((id, job));
        if starts {
            state.threads += 1;
            state.free += 1;
        }
        let wait = (queued && admission == Admission::Limited).then(|| state.settings.wait());
        let wakes = is_free && state.wakes();
        drop(state);
        let ticket = Ticket { pool: self.clone(), id, wait, begun: false };
        if starts {
            self.thread()?;
        } else if wakes {
            self.0.work.notify_one();
        }
        Ok(ticket)
    }

    /// Starts a thread that is counted already.
    fn thread(&self) -> Result<()> {
        let pool = self.0.clone();
        let thread = std::thread::Builder::new().name(format!("pool {}", self.name()));
        let Err(error) = thread.spawn(move || pool.work()) else {
            return Ok(());
        };
        let mut state = self.0.locked();
        state.threads -= 1;
        state.free -= 1;
        // Else one of the others takes the job.
        if state.threads > 0 {
            return Ok(());
        }
        drop(state);
        Err(self.refuse(|pool, _| Refusal::NoThread { pool, reason: error.to_string() }))
    }

    fn refuse(&self, refusal: impl FnOnce(String, &Settings) -> Refusal) -> Error {
        let mut state = self.0.locked();
        state.refused += 1;
        let seconds = state.settings.retry_after().as_secs().max(1);
        let refusal = refusal(self.0.name.clone(), &state.settings);
        drop(state);
        Error::unavailable(refusal)
            .header(RETRY_AFTER, HeaderValue::from(seconds))
            .public("There is more to do than can be done at the moment. Please try again soon.")
    }
}

impl Default for Pool {
    /// One of its own, with the defaults of all options.
    fn default() -> Self {
        Self::new(DEFAULT, Settings::default())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name()).field("metrics", &self.metrics()).finish()
    }
}

/// That of the layer [`Blocking`](crate::layers::Blocking) above; else the site's own, which is named `default`.
impl FromRequest for Pool {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let pool = req.extensions().get::<Self>().cloned();
        pool.ok_or_else(|| {
            Error::internal("the request has no pool: take `Pool` as an argument, or add .layer(Blocking::new())")
        })
    }

    fn needs(needs: &mut Needs) {
        needs.pool();
    }
}

/// What a job may meet before it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// The limits of the pool.
    Limited,
    /// Nothing: it goes on with an answer whose head has left, and which could only be cut off.
    GoesOn,
}

/// The place of a job in the queue, which is given up with it.
struct Ticket {
    pool: Pool,
    id: u64,
    /// How long it may wait, if it has to.
    wait: Option<Duration>,
    begun: bool,
}

impl Ticket {
    /// Takes the job out of the queue; `false` if it was begun.
    fn withdraw(&mut self) -> bool {
        self.begun = true;
        // Dropped after the lock: there may be anything in a job.
        let job = {
            let waiting = &mut self.pool.0.locked().waiting;
            waiting.binary_search_by_key(&self.id, |(id, _)| *id).ok().and_then(|at| waiting.remove(at))
        };
        job.is_some()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.begun {
            self.withdraw();
        }
    }
}

impl State {
    /// Whether a thread is to be woken; that is then taken for done.
    fn wakes(&mut self) -> bool {
        let wakes = !self.waiting.is_empty() && self.asleep > 0 && !self.waking;
        self.waking |= wakes;
        wakes
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The life of a thread.
    fn work(&self) {
        HERE.set(self.address());
        let mut state = self.locked();
        loop {
            if let Some((_, mut job)) = state.waiting.pop_front() {
                state.free -= 1;
                let wakes = state.wakes();
                drop(state);
                if wakes {
                    self.work.notify_one();
                }
                // What a job runs is guarded by itself. What is left is what it drops: of that no thread ends, either.
                let _ = crate::panic::guarded(|| job.run());
                state = self.locked();
                state.free += 1;
                state.done += 1;
                drop(state);
                let _ = crate::panic::guarded(|| job.answer());
                state = self.locked();
                continue;
            }
            if state.ending {
                break;
            }
            state.asleep += 1;
            let (guard, waited) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.asleep -= 1;
            state.waking = false;
            if waited.timed_out() && state.waiting.is_empty() {
                break;
            }
        }
        state.free -= 1;
        state.threads -= 1;
        if state.threads == 0 {
            self.ended.notify_waiters();
        }
    }
}
