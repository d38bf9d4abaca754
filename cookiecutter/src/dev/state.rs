//! `State`: what the port shows, as the one who builds tells those who answer.

use super::site::Upstream;
use super::trouble::Trouble;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Instant;

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
    /// From when on there was something to wait for.
    pub(crate) since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Building,
    Starting,
}

impl State {
    /// The first build is on its way.
    pub(crate) fn new() -> Self {
        Self { shown: Shown::Busy(Busy { step: Step::Building, old: None, since: Instant::now() }), settled: 0 }
    }

    /// From here on requests wait, unless they did already.
    pub(crate) fn busy(&mut self, step: Step, old: Option<Arc<Upstream>>) {
        let since = match &self.shown {
            Shown::Busy(busy) => busy.since,
            _ => Instant::now(),
        };
        self.shown = Shown::Busy(Busy { step, old, since });
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

#[cfg(test)]
mod tests {
    use super::super::editor::Editor;
    use super::*;

    #[test]
    fn the_time_of_a_change_begins_with_it_and_not_with_each_of_its_steps() {
        let since = |state: &State| match &state.shown {
            Shown::Busy(busy) => busy.since,
            _ => panic!("{state:?}"),
        };
        let mut state = State::new();
        let first = since(&state);
        let failed = Trouble::cargo("no", "cargo build", std::path::Path::new("/"), &Editor::default());
        state.shown = Shown::Broken(Arc::new(failed));
        let between = Instant::now();
        state.busy(Step::Building, None);
        let second = since(&state);
        assert!(first <= between && between <= second);
        state.busy(Step::Starting, None);
        assert_eq!(since(&state), second);
    }
}
