//! `Folder`: reports as files.

use super::queue::Queue;
use super::{Origin, Report, Reporter};
use crate::site::Start;
use crate::{Context, Result};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keeps each report as a file of JSON, `2026-11-21T13-02-25.123456Z-0123456789abcdef.json`, and the last 200 of them.
///
/// Files are written aside and moved into place, so that whoever reads them finds whole ones; they and the folder are for the
/// site's own user only (modes 0600 and 0700). They are written beside the requests: 256 reports may wait, what comes faster
/// is counted in the log. Only files that are named like reports are ever removed.
///
/// ```
/// use purlin::layers::ErrorPages;
/// use purlin::report::Folder;
///
/// let pages = ErrorPages::new().reporter(Folder::new("data/reports").keep(50));
/// ```
///
/// # Errors
///
/// The site does not start if the folder cannot be made.
pub struct Folder {
    path: Arc<Path>,
    keep: usize,
    queue: Queue,
}

impl Folder {
    /// Keeps them here; the folder is made when the site starts.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into(), keep: 200, queue: Queue::new() }
    }

    /// How many files are kept; 200 by default, and one at least. The oldest are removed.
    pub fn keep(mut self, reports: usize) -> Self {
        self.keep = reports.max(1);
        self
    }
}

impl Reporter for Folder {
    fn report(&self, report: &Arc<Report>) {
        if report.origin != Origin::Start {
            return self.queue.push(report);
        }
        // The process is about to end, and no client waits.
        if let Err(error) = write(&self.path, report, self.keep) {
            tracing::error!(target: "purlin::report", folder = %self.path.display(), %error, "a report could not be kept");
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        make(&self.path).context(format!("making the folder of reports {}", self.path.display()))?;
        let (path, keep) = (self.path.clone(), self.keep);
        self.queue.start(start, "writing reports", move |mut waiting| async move {
            while let Some(report) = waiting.next().await {
                let folder = path.clone();
                let written = tokio::task::spawn_blocking(move || write(&folder, &report, keep)).await;
                if let Ok(Err(error)) = written {
                    tracing::error!(target: "purlin::report", folder = %path.display(), %error, "a report could not be kept");
                }
                let dropped = waiting.dropped();
                if dropped > 0 {
                    tracing::warn!(target: "purlin::report", dropped, "reports came faster than they could be kept");
                }
            }
        });
        Ok(())
    }

    fn name(&self) -> String {
        format!("folder {}", self.path.display())
    }
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn write(folder: &Path, report: &Report, keep: usize) -> io::Result<()> {
    // Colons are no part of a file's name everywhere.
    let name = format!("{}-{}.json", report.time.replace(':', "-"), report.id);
    let aside = folder.join(format!(".{name}"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&aside)
        .and_then(|mut file| file.write_all(report.to_json().as_bytes()))
        .and_then(|()| fs::rename(&aside, folder.join(&name)));
    if let Err(error) = written {
        // It may not be there; what is wrong is told by the error that is.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    let mut names: Vec<String> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_report(name))
        .collect();
    // By name is by time.
    names.sort_unstable();
    for name in &names[..names.len().saturating_sub(keep)] {
        fs::remove_file(folder.join(name))?;
    }
    Ok(())
}

/// `2026-11-21T13-02-25.123456Z-0123456789abcdef.json`, and nothing else.
fn is_report(name: &str) -> bool {
    let Some((time, id)) = name.strip_suffix(".json").and_then(|name| name.rsplit_once('-')) else {
        return false;
    };
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_time =
        time.ends_with('Z') && time.as_bytes().get(10) == Some(&b'T') && time.as_bytes().get(4) == Some(&b'-');
    is_id && is_time
}
