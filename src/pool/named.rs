//! The pools of a site by name, and the options of one.

use super::Pool;
use crate::site::{About, Start};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The pool of whoever names none.
pub(crate) const DEFAULT: &str = "default";

/// The pools of a site, which all share that name them: [`Site::shared`](crate::site::Site::shared) has it once the site has
/// started, if it has a pool.
///
/// ```
/// use purlin::layers::Blocking;
/// use purlin::pool::Pools;
/// use purlin::testing::Client;
/// use purlin::{Stack, handler};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
///
/// let client = Client::new(Stack::new().layer(Blocking::new()).app(handler(|| "done")));
/// client.get("/").await;
/// let pools = client.site().shared::<Pools>().unwrap();
/// assert_eq!(pools.get("default").unwrap().metrics().done, 1);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pools(Arc<Mutex<BTreeMap<String, Pool>>>);

impl Pools {
    /// The pool of this name, if somebody names it.
    pub fn get(&self, name: &str) -> Option<Pool> {
        self.locked().get(name).cloned()
    }

    /// All of them, by their names.
    pub fn all(&self) -> Vec<Pool> {
        self.locked().values().cloned().collect()
    }

    /// The pool of this name, made if it is the first time that it is named.
    ///
    /// # Errors
    ///
    /// An option that has another value elsewhere.
    pub(crate) fn named(start: &mut Start, name: &str, settings: &Settings) -> Result<Pool> {
        let pools = start.site().shared::<Self>().unwrap_or_else(|| {
            let pools = Self::default();
            start.share(pools.clone());
            pools
        });
        let known = pools.get(name);
        if let Some(pool) = known {
            let problem = pool.0.locked().settings.add(settings);
            return match problem {
                None => Ok(pool),
                Some(problem) => Err(Error::internal(format!("the pool `{name}` has {problem}"))),
            };
        }
        let pool = Pool::new(name, settings.clone());
        pool.ends_with(start);
        pools.locked().insert(name.to_owned(), pool.clone());
        Ok(pool)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Pool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands in for a layer `Blocking` around a handler that is no `async fn`, where there is none above it.
pub(crate) fn describe_installed(about: &mut About) {
    about.name("Blocking").option("pool", DEFAULT).provides::<Pool>();
}

/// The options of a pool; those that nobody gave have their defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) size: Option<usize>,
    pub(crate) queue: Option<usize>,
    pub(crate) wait: Option<Duration>,
    pub(crate) retry_after: Option<Duration>,
}

impl Settings {
    /// Four threads a core, and 16 at least.
    pub(crate) fn size(&self) -> usize {
        // Found once: the system is asked by reading some files.
        static DEFAULT: LazyLock<usize> =
            LazyLock::new(|| (4 * std::thread::available_parallelism().map_or(1, NonZeroUsize::get)).max(16));
        self.size.unwrap_or_else(|| *DEFAULT)
    }

    pub(crate) fn queue(&self) -> usize {
        self.queue.unwrap_or(1000)
    }

    pub(crate) fn wait(&self) -> Duration {
        self.wait.unwrap_or(Duration::from_secs(5))
    }

    pub(crate) fn retry_after(&self) -> Duration {
        self.retry_after.unwrap_or(Duration::from_secs(1))
    }

    /// Those that were given.
    pub(crate) fn describe(&self, about: &mut About) {
        if let Some(size) = self.size {
            about.option("size", size);
        }
        if let Some(queue) = self.queue {
            about.option("queue", queue);
        }
        if let Some(wait) = self.wait {
            about.option("wait", format_args!("{wait:?}"));
        }
        if let Some(time) = self.retry_after {
            about.option("retry_after", format_args!("{time:?}"));
        }
    }

    /// Adds what others say of the same pool; what both say must be the same, or the problem is returned.
    fn add(&mut self, other: &Self) -> Option<String> {
        fn agreed<T: Copy + PartialEq + std::fmt::Debug>(
            name: &str,
            own: &mut Option<T>,
            other: Option<T>,
        ) -> Option<String> {
            match (*own, other) {
                (Some(first), Some(second)) if first != second => Some(format!(
                    "the setting `{name}` twice: {first:?} and {second:?}; say it once, or name another pool"
                )),
                (None, Some(value)) => {
                    *own = Some(value);
                    None
                }
                _ => None,
            }
        }
        agreed("size", &mut self.size, other.size)
            .or_else(|| agreed("queue", &mut self.queue, other.queue))
            .or_else(|| agreed("wait", &mut self.wait, other.wait))
            .or_else(|| agreed("retry_after", &mut self.retry_after, other.retry_after))
    }
}
