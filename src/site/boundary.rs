//! `Boundary`: where a stack goes on in another process, and the way there through a whole application.

use super::About;
use crate::{Next, Service};
use std::fmt;
use std::panic::Location;

/// The walk through an application to what stands below a boundary between processes.
///
/// A process that is to run only that is started with the number of the boundary.
#[derive(Debug)]
pub struct Boundary {
    /// How many boundaries are still to be passed by, and then `None`.
    left: Option<usize>,
    namespace: String,
    host: Option<String>,
    found: Option<Below>,
}

/// What stands below a boundary, and where that is in the site.
#[cfg_attr(not(all(unix, feature = "workers")), allow(dead_code))]
pub(crate) struct Below {
    pub(crate) service: Next<'static>,
    pub(crate) namespace: String,
    pub(crate) host: Option<String>,
}

impl fmt::Debug for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Below").field("namespace", &self.namespace).field("host", &self.host).finish_non_exhaustive()
    }
}

impl Boundary {
    /// What stands below the boundary of this number, from 0, in the order in which a site starts.
    #[cfg(all(unix, feature = "workers"))]
    pub(crate) fn find(number: usize, app: &'static impl Service) -> Option<Below> {
        let mut boundary = Self { left: Some(number), namespace: String::new(), host: None, found: None };
        app.below(&mut boundary);
        boundary.found
    }

    /// A layer with what stands below it.
    pub(crate) fn layer(&mut self, describe: impl FnOnce(&mut About), next: &'static impl Service) {
        let Some(left) = self.left else { return };
        let mut about = About::new(Location::caller());
        describe(&mut about);
        if !about.layers.iter().any(|layer| layer.boundary) {
            return next.below(self);
        }
        // What is below a boundary is not looked through: a boundary there is none, in the process that it is for.
        self.left = left.checked_sub(1);
        if self.left.is_none() {
            let (namespace, host) = (self.namespace.clone(), self.host.clone());
            self.found = Some(Below { service: Next::new(next), namespace, host });
        }
    }

    pub(crate) fn within(&mut self, name: Option<&str>, walk: impl FnOnce(&mut Self)) {
        let before = self.namespace.len();
        if let Some(name) = name {
            self.namespace.push_str(name);
            self.namespace.push(':');
        }
        walk(self);
        self.namespace.truncate(before);
    }

    pub(crate) fn on_host(&mut self, host: impl fmt::Display, walk: impl FnOnce(&mut Self)) {
        let before = self.host.replace(host.to_string());
        walk(self);
        self.host = before;
    }
}
