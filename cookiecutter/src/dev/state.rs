//! `State`: what the port shows, as the one who builds tells those who answer.

use super::site::Upstream;
use super::trouble::Trouble;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// What a request gets that comes now.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) shown: Shown,
    /// How often something was settled: a build that serves, or one that failed. A page that was made before is out of date.
    pub(crate) settled: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// New code is built or started, and requests wait for it.
    Busy(Busy),
    /// They are the site's.
    Serving(Arc<Upstream>),
    /// They are told what is wrong.
    Broken(Arc<Trouble>),
}

#[derive(Clone, Debug)]
pub(crate) struct Busy {
    pub(crate) step: Step,
    /// The process before, which still answers what it has begun.
    pub(crate) old: Option<Arc<Upstream>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Building,
    Starting,
}

impl State {
    /// The first build is on its way.
    pub(crate) fn new() -> Self {
        Self { shown: Shown::Busy(Busy { step: Step::Building, old: None }), settled: 0 }
    }

    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.shown, Shown::Busy(_))
    }
}

/// 128 bits that nobody guesses, in hexadecimal: the standard library's hash maps have their keys from the system.
pub(crate) fn random() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}
