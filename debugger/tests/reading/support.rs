//! Stops the caller, and shows what a reader would find there.

use purlin_debugger::{Bounds, Frame, Image, Inspector, Limits, Roots, Snapshot, Snapshots, Value, frames};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Copies the process at the caller, and passes an inspector of the copy with the frames, the caller's first.
#[inline(never)]
pub(crate) fn stop_here<R>(look: impl FnOnce(&Inspector<'_>, &[Frame]) -> R) -> R {
    stop(|image, memory, frames| look(&Inspector::new(image, memory).bounds(patient()), frames))
}

/// The same with the parts of the inspector.
#[inline(never)]
pub(crate) fn stop<R>(look: impl FnOnce(&Image, &Snapshot, &[Frame]) -> R) -> R {
    static SNAPSHOTS: OnceLock<Snapshots> = OnceLock::new();
    thread_local! {
        static IMAGE: Image = Image::open().expect("tests are built with debug information");
    }
    let snapshots = SNAPSHOTS.get_or_init(|| {
        let limits = Limits::new().snapshots(100).per_second(10_000).resident_bytes(u64::MAX);
        Snapshots::new(limits).expect("a process may have a thread more")
    });
    // One copy is made at a time; who comes meanwhile is refused, which a server wants and a test does not.
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let capture = snapshots.capture().expect("this thread captures nothing else");
    let memory = capture.memory.expect("this machine allows snapshots");
    drop(turn);
    IMAGE.with(|image| look(image, &memory, &frames(image, &capture.registers, &roots())))
}

/// The default bounds, save that of time: a machine may be busy.
pub(crate) fn patient() -> Bounds {
    Bounds { time: Duration::from_secs(300), ..Bounds::default() }
}

pub(crate) fn roots() -> Roots {
    Roots {
        own: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests").into()],
        framework: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src").into()],
        standard: None,
        capturing: vec!["reading::support::".to_owned()],
    }
}

/// The variables of the caller.
#[inline(never)]
pub(crate) fn variables_here() -> Variables {
    stop_here(|inspector, frames| Variables(inspector.variables(&frames[0]).values))
}

#[derive(Debug)]
pub(crate) struct Variables(pub(crate) Vec<Value>);

impl Variables {
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> &Value {
        let names: Vec<_> = self.0.iter().map(|value| &value.name).collect();
        self.0.iter().find(|value| value.name == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
    }

    /// Asserts what type and which text each of these variables has, one by one.
    #[track_caller]
    pub(crate) fn are(&self, expected: &[(&str, &str, &str)]) {
        let wrong: Vec<_> = expected
            .iter()
            .filter_map(|&(name, type_name, text)| {
                let found = self.get(name);
                let as_expected = found.type_name == type_name && found.text == text;
                (!as_expected)
                    .then(|| format!("{name}: {} = {}   expected: {type_name} = {text}", found.type_name, found.text))
            })
            .collect();
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    }
}
