//! `Paths`: what is known of a request by its path, before the router has seen it.

use crate::router::encoded;
use crate::site::Site;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
use std::collections::BTreeSet;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
use std::sync::Arc;

/// A table of the whole paths of a site's routes, mounts included, which leads where the site's own routers do.
#[derive(Debug)]
pub(crate) struct Paths<T>(matchit::Router<T>);

impl<T> Paths<T> {
    /// `known` of routes, by their whole paths, each once; `elsewhere` of what is mounted, for all below it that no route has.
    pub(crate) fn new<'a>(
        site: &Site,
        known: impl IntoIterator<Item = (&'a str, T)>,
        elsewhere: impl Fn(&str) -> T,
    ) -> Self {
        let mut table = matchit::Router::new();
        for (path, what) in known {
            // Two that conflict are told by the router; or they are of different hosts, and then the first counts.
            let _ = table.insert(encoded(path), what);
        }
        for mount in site.mounts() {
            for pattern in [mount.clone(), format!("{mount}/"), format!("{mount}/{{*purlin}}")] {
                let _ = table.insert(encoded(&pattern), elsewhere(mount));
            }
        }
        Self(table)
    }

    /// What is known of a path, as the client sent it.
    pub(crate) fn at(&self, path: &str) -> Option<&T> {
        self.0.at(path).ok().map(|found| found.value)
    }
}

#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
impl Paths<Arc<str>> {
    /// The patterns of the routes, as `/posts/{id}`; of what is mounted and has none `/mount/*`.
    pub(crate) fn of_routes(site: &Site) -> Self {
        let paths: BTreeSet<&str> = site.routes().iter().map(|route| &*route.path).collect();
        let known = paths.into_iter().map(|path| (path, path.into()));
        Self::new(site, known, |mount| format!("{mount}/*").into())
    }
}
