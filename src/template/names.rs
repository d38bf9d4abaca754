//! `Names`: what layers give to the templates of a request.

use super::Value;
use crate::request::Beside;
use crate::site::{Site, Start};
use crate::{Request, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// The names that layers give to every template of one request: `csrf_token`, `user`.
///
/// The way for a layer to be seen by templates without knowing them: it adds a name to the request before it calls `next`,
/// with the work that gives the value. The work is done only if a view is rendered for that request whose template uses the
/// name, so it may be dear, and may take something away. What
/// a handler puts into the context under the same name goes first.
///
/// ```
/// use purlin::template::Names;
/// use purlin::{Middleware, Request, Response, Result, Service};
///
/// struct Motto;
///
/// impl Middleware for Motto {
///     async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
///         Names::of(&mut req).add("motto", || "Small is beautiful.");
///         Ok(next.call(req).await)
///     }
/// }
/// ```
///
/// A page may be rendered without the request having come to the layer: an error page, when a layer further out refused it.
/// What the name is then, the layer says when it starts, with [`Names::default_value`].
///
/// Beside these, the framework gives `request` (`method`, `path` as the client sent it, `query`, `id`), `csp_nonce`, `form` (see
/// [`View::form`](crate::View::form)), below the layer `Csrf` the forms' `csrf_token`, and `flash`, the messages left in the [session](crate::Session) for the visitor, each with its `kind` and `message`: using it
/// takes them away, so they are shown once. Without a session there are none.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<Vec<Name>>>);

struct Name {
    name: &'static str,
    work: Arc<Work>,
}

type Work = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Value>> + Send>> + Send + Sync;

impl Names {
    /// Those of a request.
    pub fn of(req: &mut Request) -> &Self {
        &Beside::of(req).names
    }

    /// Adds a name; it replaces what a layer above added by that name.
    pub fn add<T>(&self, name: &'static str, value: impl Fn() -> T + Send + Sync + 'static)
    where
        T: Serialize + Send + Sync + 'static,
    {
        self.add_async(name, move || std::future::ready(Ok(value())));
    }

    /// Adds a name whose value has to be waited for, such as a session in a database; an error is that of the view.
    pub fn add_async<T, F>(&self, name: &'static str, value: impl Fn() -> F + Send + Sync + 'static)
    where
        T: Serialize + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let work: Arc<Work> = Arc::new(move || {
            let value = value();
            Box::pin(async move { Ok(Arc::new(value.await?) as Value) })
        });
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|other| other.name != name);
        names.push(Name { name, work });
    }

    /// Says what a name is on a page of a request that the layer was not asked about: an empty list, say.
    ///
    /// ```
    /// use purlin::site::Start;
    /// use purlin::template::Names;
    ///
    /// fn start(start: &mut Start) {
    ///     Names::default_value(start, "flash", Vec::<String>::new());
    /// }
    /// ```
    pub fn default_value(start: &mut Start, name: &'static str, value: impl Serialize + Send + Sync + 'static) {
        let mut defaults = start.site().shared::<Defaults>().unwrap_or_default();
        defaults.0.insert(name, Arc::new(value));
        start.share(defaults);
    }

    /// Which names there are.
    pub(crate) fn list(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|name| name.name).collect()
    }

    /// Does the work for one; `None` where there is no such name.
    pub(crate) async fn value(&self, name: &str) -> Option<Result<Value>> {
        let work = {
            let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            names.iter().find(|other| other.name == name)?.work.clone()
        };
        Some(work().await)
    }
}

/// The names that layers of a site give, with what they are where the layer was not asked.
#[derive(Clone, Default)]
pub(crate) struct Defaults(BTreeMap<&'static str, Value>);

impl Defaults {
    pub(crate) fn of(site: &Site) -> Self {
        site.shared().unwrap_or_default()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.list()).finish()
    }
}
