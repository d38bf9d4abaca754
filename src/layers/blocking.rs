//! Runs what is below it on threads that may block.

use crate::pool::{DEFAULT, Pool, Pools, Settings};
use crate::site::{About, Start};
use crate::{Context, Error, Middleware, Request, Response, Result, Service};
use std::sync::OnceLock;
use std::time::Duration;

/// Runs what is below it on a pool of threads, so that code which blocks holds up nobody else.
///
/// - A request has a thread from here until the head of its answer is known; others wait for one. Requests that do not come
///   this way, and files, are answered as ever meanwhile.
/// - Bodies are streamed both ways, on no thread of the pool: a slow client holds none. What makes an answer's body by code that
///   blocks uses [`Pool::reader`] or [`Pool::pieces`]; what reads a request's by such code, a
///   [`BodyReader`](crate::pool::BodyReader).
/// - All layers of a site with the same [`pool`](Blocking::pool) share it, in whichever application they stand. Below the layer
///   the [`Pool`] is an argument for handlers.
/// - A client that leaves takes its request out of the queue. One that was begun ends at the next `.await`; code that blocks
///   cannot be stopped, and runs to its end.
/// - A panic is that request's failure. Log lines, spans, reports and the debugger see the thread as the request's own.
///
/// A handler that is no `async fn` is run on a pool by itself, and needs no layer. The layer is for a whole application whose
/// code blocks, and to say how large the pool is. What is `async` below it works too, tokio's timers and sockets included, but
/// has a thread while it waits. A value of `tokio::task_local!` is not seen there.
///
/// An application that cannot do without brings one along, [`lacking::<Pool, _>(Blocking::new())`](crate::layers::lacking),
/// which stands aside where there is one above.
///
/// ```
/// use purlin::layers::Blocking;
/// use purlin::{Router, Stack, get};
///
/// fn slow() -> String {
///     std::thread::sleep(std::time::Duration::from_millis(2));
///     "done".to_owned()
/// }
///
/// let app = Stack::new()
///     .layer(Blocking::new().size(8))
///     .app(Router::new().route("/slow", get(slow)));
/// # app.check().unwrap();
/// ```
///
/// # Errors
///
/// 503 (RFC 9110 §15.6.4) with `Retry-After`, as from [`Pool::run`], where the queue is full or no thread was free in time; 503
/// where the answer is not there within the [`limit`](Blocking::limit). A site in which a pool has an option twice, with two
/// values, does not start.
#[derive(Debug)]
pub struct Blocking {
    name: String,
    own: bool,
    settings: Settings,
    limit: Option<Duration>,
    pool: OnceLock<Pool>,
}

impl Blocking {
    /// On the pool `default`.
    pub fn new() -> Self {
        Self { name: DEFAULT.to_owned(), own: false, settings: Settings::default(), limit: None, pool: OnceLock::new() }
    }

    /// On the pool of this name; `default` by default.
    pub fn pool(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether the pool is this layer's own and shared with nobody, whatever its name; off by default.
    pub fn own(mut self, own: bool) -> Self {
        self.own = own;
        self
    }

    /// How many threads there are at most: four a core by default, and 16 at least. For work that waits (databases, files); for
    /// work that calculates, as many as there are cores are enough.
    pub fn size(mut self, threads: usize) -> Self {
        self.settings.size = Some(threads.max(1));
        self
    }

    /// How many requests may wait for a thread; 1000 by default. Any more are answered 503 at once.
    pub fn queue(mut self, requests: usize) -> Self {
        self.settings.queue = Some(requests);
        self
    }

    /// How long a request may wait for a thread; 5 seconds by default. Then it is answered 503.
    pub fn wait(mut self, limit: Duration) -> Self {
        self.settings.wait = Some(limit);
        self
    }

    /// When a refused client may come again, in its answer's `Retry-After` (RFC 9110 §10.2.3): whole seconds, 1 by default.
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.settings.retry_after = Some(time);
        self
    }

    /// How long a request may take in all, from its arrival here to the head of its answer; not limited by default. Then it is
    /// answered 503, and ends at the next `.await`: code that blocks keeps its thread until it returns.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    fn here(&self) -> &Pool {
        // Not started by a server, as in a test that calls the stack by itself.
        self.pool.get_or_init(|| Pool::new(&*self.name, self.settings.clone()))
    }
}

impl Default for Blocking {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for Blocking {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let pool = self.here();
        if pool.is_here() {
            return Ok(next.call(req).await);
        }
        let next = next.owned().ok_or_else(|| {
            Error::internal("expected a `Stack` around what is below, found a service that cannot go to another thread")
        })?;
        req.extensions_mut().insert(pool.clone());
        let answer = pool.answer(move || next.answer(req));
        let answer = match self.limit {
            None => answer.await,
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .map_err(Error::unavailable)
                .context(format!("answering within {limit:?} on the pool `{}` (setting `limit`)", self.name))?,
        };
        match answer {
            // It arose further in, and not in this layer.
            Err(error) if error.is_panic() => Ok(error.into()),
            answer => answer,
        }
    }

    fn describe(&self, about: &mut About) {
        about.option("pool", if self.own { "own" } else { &*self.name });
        // What another layer says of the same pool counts here too: so what nobody says here is not told.
        self.settings.describe(about);
        if let Some(limit) = self.limit {
            about.option("limit", format_args!("{limit:?}"));
        }
        about.provides::<Pool>();
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        let pool = if self.own {
            let pool = Pool::new(&*self.name, self.settings.clone());
            pool.ends_with(start);
            pool
        } else {
            Pools::named(start, &self.name, &self.settings)?
        };
        // Started twice (by a test, say), it stays with the pool that it had first.
        let _ = self.pool.set(pool);
        Ok(())
    }
}
