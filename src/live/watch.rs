//! Looks for changed files, as long as somebody wants to know of them.

use super::Live;
use crate::lock::locked;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How often the folders are looked at.
const EVERY: Duration = Duration::from_millis(100);

/// How long after the last listener, or the last page: the next one is about to listen.
const LINGER: Duration = Duration::from_secs(5);

/// How many files are looked at: some thousand take a millisecond or two.
const MOST: usize = 20_000;

/// The folders of a site, and whether somebody looks at them.
#[derive(Debug)]
pub(super) struct Watch {
    folders: Vec<PathBuf>,
    // Until when, while a task looks.
    until: Mutex<Option<Instant>>,
}

type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

impl Watch {
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, until: Mutex::new(None) }
    }

    /// Begins to look, unless somebody does.
    pub(super) fn begin(&self, live: &Arc<Live>) {
        if self.folders.is_empty() {
            return;
        }
        let until = Some(Instant::now() + LINGER);
        if std::mem::replace(&mut *locked(&self.until), until).is_none() {
            // What changes from now on is a change: the first look is not left to the task.
            let files = look(&self.folders);
            tokio::spawn(run(live.clone(), self.folders.clone(), files));
        }
    }

    /// Whether to go on, with somebody listening or not.
    fn goes_on(&self, heard: bool) -> bool {
        let mut until = locked(&self.until);
        let now = Instant::now();
        if heard {
            *until = Some(now + LINGER);
        }
        let goes_on = until.is_some_and(|until| now < until);
        if !goes_on {
            *until = None;
        }
        goes_on
    }
}

async fn run(live: Arc<Live>, folders: Vec<PathBuf>, mut files: Files) {
    let folders = Arc::new(folders);
    while live.watch.get().is_some_and(|watch| watch.goes_on(live.channel.listeners() > 0)) {
        tokio::time::sleep(EVERY).await;
        let folders = folders.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || look(&folders)).await else { return };
        let changed = changed(&files, &now);
        files = now;
        if !changed.is_empty() {
            live.changed(&changed);
        }
    }
}

fn look(folders: &[PathBuf]) -> Files {
    let mut files = Files::new();
    for folder in folders {
        list(folder, &mut files);
    }
    files
}

fn list(folder: &Path, files: &mut Files) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        // What editors leave beside a file, and what is hidden.
        if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().ends_with(b"~") || files.len() >= MOST {
            continue;
        }
        let path = entry.path();
        // Links are followed, as by whoever serves them.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            // One that leads back up would have no end.
            if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                list(&path, files);
            }
        } else {
            files.insert(path, (metadata.modified().ok(), metadata.len()));
        }
    }
}

/// The names of what is new, gone, or not as it was.
fn changed(before: &Files, now: &Files) -> Vec<String> {
    let new = now.iter().filter(|(path, stamp)| before.get(*path) != Some(stamp)).map(|(path, _)| path);
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    new.chain(gone).map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect()
}
