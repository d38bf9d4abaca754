//! `Tx`: the transaction of a request, begun when it is first asked for.

use super::Dialect;
use crate::extract::FromRequest;
use crate::lock::locked;
use crate::site::Needs;
use crate::{Context, Error, Request, Response, ResponseExt, Result};
use sqlx::{AssertSqlSafe, Pool, Transaction};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The transaction of this request: an argument of a handler below the layer [`Transaction`](crate::layers::Transaction).
///
/// It begins when it is first taken, and a request that takes none begins none. Queries are run on `&mut *tx`, a connection of
/// sqlx's; `tx.begin()` is a savepoint in it. Dropping the argument ends nothing: the layer does that, by the answer.
///
/// While it is taken, the request holds a connection of the pool, and in SQLite (but for `GET` and `HEAD`) the one place of
/// the writer. So it should be a handler's last argument; one that reads the body after it, which a client may send as slowly
/// as it likes, is reported when the site starts. It can be taken once at a time: hand `&mut tx` on.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use purlin::database::Tx;
/// use purlin::sqlx::{self, Sqlite};
/// use purlin::{Form, Redirect, Result};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Entry { name: String }
///
/// async fn sign(Form(entry): Form<Entry>, mut tx: Tx<Sqlite>) -> Result<Redirect> {
///     sqlx::query("INSERT INTO guest (name) VALUES ($1)").bind(&entry.name).execute(&mut *tx).await?;
///     Ok(Redirect::see_other("/"))
/// }
/// # purlin::post(sign);
/// # }
/// ```
///
/// # Errors
///
/// As an argument: 503 where no connection is to be had in `database.acquire_timeout`, or the database is out of reach; in
/// SQLite also where another's write has not ended by then.
pub struct Tx<D: Dialect> {
    // There from the moment a handler has it until it is dropped.
    transaction: Option<Transaction<'static, D>>,
    lent: Lent<D>,
}

impl<D: Dialect> Tx<D> {
    /// Nothing is written, however good the answer is. There is no way back.
    pub fn doom(&mut self) {
        self.lent.lock().doomed = true;
    }

    /// What was done is written even if the answer is an error or one of 400 and above: a count of failed attempts, say. Not
    /// after a panic.
    pub fn keep_on_error(&mut self) {
        self.lent.lock().keep = true;
    }
}

impl<D: Dialect> Deref for Tx<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.transaction.as_ref().expect("a handler has it")
    }
}

impl<D: Dialect> DerefMut for Tx<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.transaction.as_mut().expect("a handler has it")
    }
}

impl<D: Dialect> Drop for Tx<D> {
    fn drop(&mut self) {
        let mut state = self.lent.lock();
        // Once the layer has ended it, there is nobody who would commit: dropping it then rolls back.
        if matches!(state.stage, Stage::Taken) {
            state.stage = self.transaction.take().map_or(Stage::Unbegun, Stage::Held);
        }
    }
}

impl<D: Dialect> fmt::Debug for Tx<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tx")
    }
}

impl<D: Dialect> FromRequest for Tx<D> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let lent = req.extensions().get::<Lent<D>>().cloned();
        lent.ok_or_else(|| Error::internal(format!("the request has no transaction: {HINT}")))?.take().await
    }

    fn needs(needs: &mut Needs) {
        needs.needs::<Self>(HINT);
        needs.holds::<Self>();
    }
}

const HINT: &str = "add `.layer(Transaction::new(database.pool()))`";

/// What becomes of a request's transaction, left in the extensions of an answer by a layer or handler that has no [`Tx`].
///
/// ```
/// use purlin::database::Verdict;
/// use purlin::{IntoResponse, Response, text};
///
/// async fn preview() -> Response {
///     let mut response = text("nothing of this is kept");
///     response.extensions_mut().insert(Verdict::RollBack);
///     response
/// }
/// # purlin::get(preview);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is committed, also for an answer of 400 and above.
    Commit,
    /// It is rolled back, also for a good answer.
    RollBack,
}

/// By which answers a transaction is committed.
pub(crate) type Rule = Arc<dyn Fn(&Response) -> bool + Send + Sync>;

/// How many transactions may be under way: all of the pool's connections but a fifth, and one at least, which are left for
/// what is asked beside them.
///
/// A request that has a transaction may need another connection before it can answer: its page wants to know who is signed
/// in. If all connections were with requests which wait for one more, none would ever come.
pub(crate) fn seats<D: Dialect>(pool: &Pool<D>) -> Arc<Semaphore> {
    let connections = pool.options().get_max_connections() as usize;
    let left = connections.div_ceil(5);
    Arc::new(Semaphore::new(connections.saturating_sub(left).max(1)))
}

/// The transaction of a request, between the layer, which ends it, and the argument, to which it is lent.
pub(crate) struct Lent<D: Dialect>(Arc<Shared<D>>);

struct Shared<D: Dialect> {
    pool: Pool<D>,
    seats: Arc<Semaphore>,
    /// Of a method that is not meant to write.
    safe: bool,
    limit: Duration,
    state: Mutex<State<D>>,
}

struct State<D: Dialect> {
    stage: Stage<D>,
    seat: Option<OwnedSemaphorePermit>,
    began: Option<Instant>,
    doomed: bool,
    keep: bool,
}

enum Stage<D: Dialect> {
    /// Nobody has asked for it.
    Unbegun,
    /// A `Tx` has it, or is about to.
    Taken,
    /// Nobody has it now.
    Held(Transaction<'static, D>),
    /// The answer has been decided upon.
    Ended,
}

impl<D: Dialect> Clone for Lent<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Dialect> Lent<D> {
    pub(crate) fn new(pool: &Pool<D>, seats: &Arc<Semaphore>, req: &Request, limit: Duration) -> Self {
        let state = State { stage: Stage::Unbegun, seat: None, began: None, doomed: false, keep: false };
        let (pool, seats, safe) = (pool.clone(), seats.clone(), req.method().is_safe());
        Self(Arc::new(Shared { pool, seats, safe, limit, state: Mutex::new(state) }))
    }

    /// Nothing that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        locked(&self.0.state)
    }

    async fn take(self) -> Result<Tx<D>> {
        // From here on whatever fails, or is dropped while it waits, gives it back.
        let mut tx = Tx { transaction: self.reserve()?, lent: self };
        if tx.transaction.is_none() {
            let Shared { pool, seats, safe, limit, .. } = &*tx.lent.0;
            let patience = pool.options().get_acquire_timeout();
            let seat = tokio::time::timeout(patience, seats.clone().acquire_owned()).await;
            let seat = seat.map_err(|_| sqlx::Error::PoolTimedOut).map_err(Error::unavailable);
            // Nobody closes it.
            tx.lent.lock().seat = seat.context("waiting for another request's transaction to end")?.ok();
            let statement = AssertSqlSafe(D::begin(*safe, *limit));
            // It is the database's failure and not the request's, whatever it is.
            let begun = pool.begin_with(statement).await.map_err(Error::unavailable);
            tx.transaction = Some(begun.context("beginning the request's transaction")?);
        }
        Ok(tx)
    }

    /// The transaction for one who has it alone from now on; `None` if it is still to begin.
    fn reserve(&self) -> Result<Option<Transaction<'static, D>>> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.stage, Stage::Taken) {
            Stage::Unbegun => {
                state.began = Some(Instant::now());
                Ok(None)
            }
            Stage::Held(transaction) => Ok(Some(transaction)),
            Stage::Taken => Err(Error::internal(
                "the request's transaction is taken already: one argument has it at a time, hand `&mut tx` on",
            )),
            Stage::Ended => {
                state.stage = Stage::Ended;
                Err(Error::internal("the request's transaction has ended with its answer"))
            }
        }
    }

    /// Waits for the answer, at most for the limit from the transaction's beginning on.
    ///
    /// # Errors
    ///
    /// 503; the work that would have answered is dropped.
    pub(crate) async fn answer(&self, answer: impl Future<Output = Response>) -> Result<Response> {
        let mut answer = pin!(answer);
        let mut timer: Option<Pin<Box<tokio::time::Sleep>>> = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(response));
            }
            if timer.is_none() {
                // Without a transaction there is no timer.
                let began = self.lock().began;
                timer = began.map(|began| Box::pin(tokio::time::sleep_until(began + self.0.limit)));
            }
            match timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Err(self.overdue("answering"))),
                _ => Poll::Pending,
            }
        })
        .await
    }

    #[track_caller]
    fn overdue(&self, doing: &str) -> Error {
        let limit = self.0.limit;
        let message =
            format!("{doing} within {limit:?} of the transaction's beginning (option `limit` of Transaction)");
        Error::unavailable(Overdue).context(message)
    }

    /// Commits or rolls back, as the answer says.
    ///
    /// # Errors
    ///
    /// It should have been committed and was not: 503 where the database is out of reach or busy, else 500.
    pub(crate) async fn end(&self, response: Response, rule: Option<&Rule>) -> Result<Response> {
        let (stage, _seat, began, doomed, keep) = {
            let mut state = self.lock();
            let stage = std::mem::replace(&mut state.stage, Stage::Ended);
            (stage, state.seat.take(), state.began, state.doomed, state.keep)
        };
        let transaction = match stage {
            Stage::Held(transaction) => transaction,
            Stage::Unbegun | Stage::Ended => return Ok(response),
            Stage::Taken => {
                let message = "the request's transaction is still taken when its answer leaves, by a task or a body that \
                               goes on: nothing was written";
                return keep_first(response, Error::internal(message));
            }
        };
        // Counted from the beginning; a moment is always left to end it in.
        let deadline = began.unwrap_or_else(Instant::now) + self.0.limit;
        let deadline = deadline.max(Instant::now() + Duration::from_secs(1));
        let commit = is_good(&response, doomed, keep, rule);
        let ended = tokio::time::timeout_at(deadline, finish(transaction, commit)).await;
        match ended {
            Ok(Ok(())) => Ok(response),
            Ok(Err(error)) if commit => keep_first(response, error.context("committing the request's transaction")),
            Err(_) if commit => keep_first(response, self.overdue("committing")),
            // The connection is dropped or broken, and the database rolls back when it notices.
            Ok(Err(error)) => {
                tracing::warn!(target: "purlin::database", "a transaction could not be rolled back: {error:#}");
                Ok(response)
            }
            Err(_) => {
                tracing::warn!(target: "purlin::database", "rolling back did not end in time");
                Ok(response)
            }
        }
    }
}

/// pyramid_tm's rule, and who may overrule it.
fn is_good(response: &Response, doomed: bool, keep: bool, rule: Option<&Rule>) -> bool {
    if doomed || response.error().is_some_and(Error::is_panic) {
        return false;
    }
    match response.extensions().get::<Verdict>() {
        Some(verdict) => *verdict == Verdict::Commit,
        None if keep => true,
        None => match rule {
            Some(rule) => rule(response),
            None => response.error().is_none() && response.status().as_u16() < 400,
        },
    }
}

async fn finish<D: Dialect>(mut transaction: Transaction<'static, D>, commit: bool) -> Result<()> {
    if !commit {
        return transaction.rollback().await.map_err(D::unavailable);
    }
    let sound = D::check(&mut transaction).await.map_err(D::unavailable);
    sound.context("a statement of it had failed, though the answer is good: nothing was written")?;
    transaction.commit().await.map_err(D::unavailable)
}

/// An answer can carry one error: the first.
fn keep_first(response: Response, error: Error) -> Result<Response> {
    if response.error().is_none() {
        return Err(error);
    }
    tracing::error!(target: "purlin::database", "after a failure the transaction could not be ended either: {error:#}");
    Ok(response)
}

/// Takes the transaction from whoever still has it when the request is dropped.
pub(crate) struct Ending<'a, D: Dialect>(pub(crate) &'a Lent<D>);

impl<D: Dialect> Drop for Ending<'_, D> {
    fn drop(&mut self) {
        let (stage, seat) = {
            let mut state = self.0.lock();
            (std::mem::replace(&mut state.stage, Stage::Ended), state.seat.take())
        };
        // Outside of the lock; begins to roll back.
        drop(stage);
        drop(seat);
    }
}

#[derive(Debug)]
struct Overdue;

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was up")
    }
}

impl std::error::Error for Overdue {}
