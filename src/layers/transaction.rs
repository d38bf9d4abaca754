//! Writes what a request does to the database as a whole, or not at all.

use crate::database::{Dialect, Ending, Lent, Pool, Rule, Tx, Verdict, seats};
use crate::session::Session;
use crate::site::About;
use crate::{Middleware, Request, Response, Result, Service};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Gives every request below it a transaction, [`Tx`], and ends that by the answer.
///
/// - It begins when a handler first takes it; a request that takes none costs no connection. At most four in five of the pool's
///   connections are with transactions, so that what is asked beside them (who is signed in, on a page that is being
///   rendered) finds one; a pool for this has two at least. A request waits for its turn as it waits for a connection.
/// - It is committed if the answer is below 400, and rolled back if that carries an error, is one of 400 or above, or comes of
///   a panic. A request whose client goes away is rolled back too.
/// - The commit comes before the answer's first byte leaves. If it fails, the failure is the answer.
/// - The rule can be overruled: by [`commit_when`](Transaction::commit_when) for all routes, by
///   [`CommitWhen`](crate::layers::CommitWhen) for one, by a [`Verdict`] on the answer, and by the handler itself, with
///   [`Tx::doom`] and [`Tx::keep_on_error`].
///
/// It stands below `Sessions`, so that a session is not written where the transaction could not be, and above `Templates`, so
/// that a page which cannot be rendered is a failure that rolls back; the site does not start otherwise.
///
/// ```
/// # #[cfg(feature = "sqlite")] fn stack(config: purlin::Config) -> purlin::Result<impl purlin::Service> {
/// use purlin::database::Database;
/// use purlin::layers::Transaction;
/// use purlin::{Assets, Router, Stack};
///
/// let database = Database::sqlite(&config, Assets::folder("migrations"))?;
/// Ok(Stack::new()
///     .layer(database.clone())
///     .layer(Transaction::new(database.pool()))
///     .app(Router::new()))
/// # }
/// ```
///
/// # Errors
///
/// 503 (RFC 9110 §15.6.4) where the commit finds the database out of reach or busy, and where the answer is not there when the
/// [`limit`](Transaction::limit) has passed; 500 where it is refused for another reason, a deferred constraint for one.
pub struct Transaction<D: Dialect> {
    pool: Pool<D>,
    seats: Arc<Semaphore>,
    limit: Duration,
    rule: Option<Rule>,
}

impl<D: Dialect> Transaction<D> {
    /// Transactions on connections of this pool.
    pub fn new(pool: Pool<D>) -> Self {
        Self { seats: seats(&pool), pool, limit: Duration::from_secs(30), rule: None }
    }

    /// How long a transaction lasts at most, from its beginning to its end; 30 seconds by default. Then it is rolled back, and
    /// what is still under way is dropped.
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// By which answers it is committed, in place of those which carry no error and are below 400.
    pub fn commit_when(self, good: impl Fn(&Response) -> bool + Send + Sync + 'static) -> Self {
        Self { rule: Some(Arc::new(good)), ..self }
    }
}

impl<D: Dialect> Middleware for Transaction<D> {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let lent = Lent::new(&self.pool, &self.seats, &req, self.limit);
        req.extensions_mut().insert(lent.clone());
        let _ending = Ending(&lent);
        let response = lent.answer(next.call(req)).await?;
        // Boxed, so that requests which take no transaction have no room kept for it.
        Box::pin(lent.end(response, self.rule.as_ref())).await
    }

    fn describe(&self, about: &mut About) {
        about.name("Transaction").provides::<Tx<D>>().provides::<Verdict>().wants::<Session>();
        about.option("limit", format_args!("{:?}", self.limit));
        if self.rule.is_some() {
            about.option("commit_when", "a rule of the site's");
        }
    }
}
