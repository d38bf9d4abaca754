//! `Engine`: what is asked of `purlin_debugger`, on a thread of its own. The only file that names it.
//!
//! A question may take long, and the debug information of a strange program may make its reader panic: neither is the concern
//! of a request. After a panic the engine forgets what it had read, and goes on.

use super::record::Record;
use crate::report::Redaction;
use crate::report::frames as backtrace;
use crate::{Context, Error, Result};
use purlin_debugger::{Capture, Class, Image, Inspector, Lack, Limits, LiveMemory, Registers, Roots, Snapshots};
use serde::{Deserialize, Serialize};
use std::backtrace::Backtrace;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, mpsc};
use std::time::{Duration, Instant};

/// What is kept of the moment when an error arose, if it was in a request that is watched.
pub(crate) type Captured = Option<Arc<Moment>>;

/// The moment when an error arose.
pub(crate) struct Moment {
    capture: Capture,
    /// Where there will be no memory to read: the frames with what was read of them while the request stood still.
    at_once: Option<Frames>,
    /// Where the system tells no frames: those that the standard library finds.
    backtrace: Option<Backtrace>,
}

/// Captures this thread, if it works on a request of a site with the debugger; one comparison else.
pub(crate) fn capture() -> Captured {
    let capture = purlin_debugger::capture()?;
    let at_once = match &capture.memory {
        Err(refusal) if refusal.is_lasting() => read_at_once(&capture),
        _ => None,
    };
    let backtrace = capture.registers.is_empty().then(Backtrace::force_capture);
    Some(Arc::new(Moment { capture, at_once, backtrace }))
}

/// Who watches this thread, for a part of its work that goes on elsewhere.
pub(crate) struct Watching(Option<Snapshots>);

impl Watching {
    pub(crate) fn of_here() -> Self {
        Self(Snapshots::current())
    }

    /// Has them watch this thread, too.
    pub(crate) fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(snapshots) => snapshots.scope(work),
            None => work(),
        }
    }
}

/// So many records' frames are kept; those of others are found anew.
const KEPT_STACKS: usize = 8;

/// So many questions wait; more are told to come again.
const WAITING: usize = 32;

/// After that an answer is not waited for. The first one reads the debug information of the whole program.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same while a failing request stands still for its variables.
const AT_ONCE: Duration = Duration::from_secs(2);

/// So many requests stand still for that within a second; others go on without.
const AT_ONCE_PER_SECOND: usize = 10;

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// Takes snapshots of one site, and has them read.
pub(super) struct Engine {
    snapshots: Snapshots,
    jobs: &'static mpsc::SyncSender<Job>,
}

/// What the page asks of a frame.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Its number, from the innermost.
    pub(super) frame: usize,
    /// An expression.
    #[serde(default)]
    pub(super) text: String,
    /// Which child of which child.
    #[serde(default)]
    pub(super) path: Vec<u64>,
    /// The first child to list.
    #[serde(default)]
    pub(super) from: u64,
}

/// The frames of a failure.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Frames {
    /// Innermost first.
    pub(super) list: Vec<Frame>,
    /// Why there is no prompt, and which variables there are all the same.
    pub(super) lack: Option<String>,
}

/// A frame as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Frame {
    pub(super) function: String,
    pub(super) path: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
    pub(super) whose: Whose,
    pub(super) inlined: bool,
    /// Of the site's own frames; those of others are read when somebody asks.
    pub(super) variables: Option<Variables>,
}

/// Whose code a frame is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Whose {
    Own,
    Framework,
    Library,
    Std,
    Unknown,
}

/// The variables of a frame.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Variables {
    pub(super) values: Vec<Value>,
    /// Why some or all are not shown.
    pub(super) lack: Option<String>,
    /// The lines of `Cargo.toml` that would mend it.
    pub(super) advice: Option<String>,
}

/// A value as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Value {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) text: String,
    pub(super) note: Option<String>,
    pub(super) argument: bool,
    /// Its text is not shown.
    #[serde(skip)]
    pub(super) masked: bool,
    /// How many children there are, listed or not.
    pub(super) count: u64,
    pub(super) children: Vec<Value>,
    pub(super) path: Vec<u64>,
}

impl Engine {
    /// With at most so many snapshots at a time.
    ///
    /// # Errors
    ///
    /// The system allows no thread.
    pub(super) fn start(most: Option<usize>) -> Result<Self> {
        let limits = most.map_or(Limits::new(), |most| Limits::new().snapshots(most));
        let snapshots = Snapshots::new(limits).context("starting the debugger")?;
        Ok(Self { snapshots, jobs: jobs().context("starting the debugger")? })
    }

    /// Has what fails in a future captured.
    pub(super) fn watch<F: Future>(&self, future: F) -> impl Future<Output = F::Output> {
        self.snapshots.watch(future)
    }

    /// The same of what is no future.
    pub(super) fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.snapshots.scope(work)
    }

    /// The frames of a record, innermost first, the site's own with their variables: as they were read first, so that they are
    /// still there when the snapshot is not.
    ///
    /// # Errors
    ///
    /// A sentence for the page.
    pub(super) async fn frames(&self, record: &Arc<Record>) -> Result<Frames, String> {
        let moment = record.captured.as_deref().ok_or(NOT_CAPTURED)?;
        if let Some(frames) = &moment.at_once {
            return Ok(frames.clone());
        }
        if let Some(backtrace) = &moment.backtrace {
            return Ok(Frames { list: of_backtrace(&backtrace.to_string()), lack: gone(&moment.capture) });
        }
        if let Some(seen) = record.seen.get() {
            let lack =
                gone(&moment.capture).map(|lack| format!("{lack}: the variables are those that were read before"));
            return Ok(Frames { list: seen.clone(), lack });
        }
        let asked = record.clone();
        let frames = match self.ask(move |reader| reader.frames(&asked)).await? {
            Ok(frames) => frames,
            // The standard library may read what is not read here: of a panic the report has its frames.
            Err(lack) if record.report.frames.is_empty() => return Err(lack),
            Err(lack) => return Ok(Frames { list: of_frames(record.report.frames.clone()), lack: Some(lack) }),
        };
        if frames.lack.is_none() {
            let _ = record.seen.set(frames.list.clone());
        }
        Ok(frames)
    }

    /// The variables of one frame.
    ///
    /// # Errors
    ///
    /// A sentence for the page.
    pub(super) async fn variables(&self, record: &Arc<Record>, frame: usize) -> Result<Variables, String> {
        let record = record.clone();
        self.ask(move |reader| reader.variables(&record, frame)).await?
    }

    /// A value with its children from one of them on: of a variable, or of what an expression is worth.
    ///
    /// # Errors
    ///
    /// A sentence for the page.
    pub(super) async fn open(&self, record: &Arc<Record>, wanted: Wanted) -> Result<Value, String> {
        let record = record.clone();
        self.ask(move |reader| {
            let (inspector, frame) = reader.at(&record, wanted.frame)?;
            if wanted.text.is_empty() {
                let value = inspector.expand(&frame, &wanted.path, wanted.from);
                return value.map(|value| hidden(value, &record)).ok_or_else(|| "there is no such value".to_owned());
            }
            let value = inspector.expand_expression(&frame, &wanted.text, &wanted.path, wanted.from);
            value.map(|value| hidden(value, &record)).map_err(|mistake| mistake.message)
        })
        .await?
    }

    /// What an expression is worth in a frame.
    ///
    /// # Errors
    ///
    /// What is wrong with the expression, and with which part of it.
    pub(super) async fn evaluate(&self, record: &Arc<Record>, wanted: Wanted) -> Result<Value, String> {
        let record = record.clone();
        self.ask(move |reader| {
            let (inspector, frame) = reader.at(&record, wanted.frame)?;
            let value = inspector.evaluate(&frame, &wanted.text);
            value.map(|value| hidden(value, &record)).map_err(|mistake| match wanted.text.get(mistake.at) {
                Some(part) if !part.is_empty() && part.len() < wanted.text.len() => {
                    format!("{}, at `{part}`", mistake.message)
                }
                _ => mistake.message,
            })
        })
        .await?
    }

    /// The names that could end an expression.
    ///
    /// # Errors
    ///
    /// A sentence for the page.
    pub(super) async fn complete(&self, record: &Arc<Record>, wanted: Wanted) -> Result<Vec<String>, String> {
        let record = record.clone();
        self.ask(move |reader| {
            let (inspector, frame) = reader.at(&record, wanted.frame)?;
            let completion = inspector.complete(&frame, &wanted.text, wanted.text.len());
            Ok(completion.candidates.into_iter().map(|candidate| candidate.text).collect())
        })
        .await?
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Reader) -> T + Send + 'static,
    ) -> Result<T, String> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // Who asked may have gone.
            let _ = tell.send(question(reader));
        });
        self.jobs.try_send(job).map_err(|_| "the debugger is busy with other questions: try again".to_owned())?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err("the debugger itself failed at this: see the terminal".to_owned()),
            Err(_) => Err(format!("the debugger did not find it out in {} seconds", PATIENCE.as_secs())),
        }
    }
}

/// Where questions go: one thread for the process, which has but one executable to read.
///
/// # Errors
///
/// The system allows no thread.
fn jobs() -> io::Result<&'static mpsc::SyncSender<Job>> {
    static JOBS: OnceLock<mpsc::SyncSender<Job>> = OnceLock::new();
    if let Some(jobs) = JOBS.get() {
        return Ok(jobs);
    }
    let (jobs, waiting) = mpsc::sync_channel::<Job>(WAITING);
    let run = move || {
        let roots = roots();
        let mut reader = Reader::new(roots.clone());
        for job in waiting {
            if catch_unwind(AssertUnwindSafe(|| job(&mut reader))).is_err() {
                reader = Reader::new(roots.clone());
            }
        }
    };
    std::thread::Builder::new().name("purlin-debugger-reader".to_owned()).spawn(run)?;
    // Of two that are started at a time one ends again, with its channel.
    Ok(JOBS.get_or_init(|| jobs))
}

/// What no site of this process shows: for what is read before it is known which site asks.
static HIDDEN: Mutex<Option<Redaction>> = Mutex::new(None);

/// Hides what a site's redaction hides also in what is read at once.
pub(super) fn hide(redaction: &Redaction) {
    let mut hidden = HIDDEN.lock().unwrap_or_else(PoisonError::into_inner);
    *hidden = Some(hidden.take().unwrap_or_default().and(redaction.clone()));
}

/// The eager mode: the frames with their variables, read by the other thread while this one waits, its frames alive.
///
/// Never for long, and never for a lock: this is called while something fails, which may hold any.
fn read_at_once(capture: &Capture) -> Option<Frames> {
    let _turn = turn()?;
    let watched = watched(capture).to_vec();
    let why = gone(capture)?;
    let (tell, told) = mpsc::sync_channel(1);
    let job: Job = Box::new(move |reader| {
        // Who asked may have gone on.
        let _ = tell.send(reader.frames_now(&watched, &why));
    });
    jobs().ok()?.try_send(job).ok()?;
    told.recv_timeout(AT_ONCE).ok()?.ok()
}

/// One at a time, and not more than some within a second.
fn turn() -> Option<MutexGuard<'static, VecDeque<Instant>>> {
    static TURNS: Mutex<VecDeque<Instant>> = Mutex::new(VecDeque::new());
    let mut turns = match TURNS.try_lock() {
        Ok(turns) => turns,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    let now = Instant::now();
    turns.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
    if turns.len() >= AT_ONCE_PER_SECOND {
        return None;
    }
    turns.push_back(now);
    Some(turns)
}

/// The frames inside of the request.
fn watched(capture: &Capture) -> &[Registers] {
    &capture.registers[..capture.watched.min(capture.registers.len())]
}

/// Why there is no memory to read, or no more.
fn gone(capture: &Capture) -> Option<String> {
    match &capture.memory {
        Err(refusal) => Some(format!("no snapshot was taken: {refusal}")),
        Ok(memory) => memory.ended().map(|ended| ended.to_string()),
    }
}

/// What belongs to the engine's thread.
struct Reader {
    roots: Roots,
    image: Option<Result<Image, Lack>>,
    stacks: VecDeque<(String, Rc<[purlin_debugger::Frame]>)>,
}

impl Reader {
    fn new(roots: Roots) -> Self {
        Self { roots, image: None, stacks: VecDeque::new() }
    }

    fn image(&mut self) -> Result<&Image, String> {
        let image = self.image.get_or_insert_with(Image::open);
        image.as_ref().map_err(|lack| told(lack, Class::Own).0)
    }

    /// The frames of a record, found or kept.
    fn stack(&mut self, record: &Record) -> Result<Rc<[purlin_debugger::Frame]>, String> {
        if let Some((_, frames)) = self.stacks.iter().find(|(id, _)| *id == record.id) {
            return Ok(frames.clone());
        }
        let moment = record.captured.as_ref().ok_or(NOT_CAPTURED)?;
        let roots = self.roots.clone();
        let frames: Rc<[_]> = purlin_debugger::frames(self.image()?, watched(&moment.capture), &roots).into();
        self.stacks.truncate(KEPT_STACKS - 1);
        self.stacks.push_front((record.id.clone(), frames.clone()));
        Ok(frames)
    }

    fn frames(&mut self, record: &Record) -> Result<Frames, String> {
        let moment = record.captured.as_ref().ok_or(NOT_CAPTURED)?;
        let lack = gone(&moment.capture);
        let stack = self.stack(record)?;
        let shown = stack.iter().enumerate().map(|(at, frame)| {
            let own = frame.class == Class::Own && lack.is_none();
            let variables = own.then(|| self.variables(record, at));
            let unread = |lack| Variables { lack: Some(lack), ..Variables::default() };
            Frame::of(frame, variables.map(|variables| variables.unwrap_or_else(unread)))
        });
        let list = shown.collect();
        Ok(Frames { list, lack })
    }

    /// The frames of a thread that waits for this, with the variables of the site's own.
    fn frames_now(&mut self, watched: &[Registers], why: &str) -> Result<Frames, String> {
        let roots = self.roots.clone();
        let image = self.image()?;
        let stack = purlin_debugger::frames(image, watched, &roots);
        let redaction = HIDDEN.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        let hides = |name: &str| redaction.hides(name);
        let memory = LiveMemory::new();
        let list = stack.iter().map(|frame| {
            let read = memory.as_ref().ok().filter(|_| frame.class == Class::Own);
            let variables = read.map(|memory| {
                let listing = Inspector::new(image, memory).mask(&hides).variables(frame);
                Variables::of(listing, frame.class, &redaction)
            });
            Frame::of(frame, variables)
        });
        let list = list.collect();
        let lack = match &memory {
            Ok(_) => format!("{why}; the variables were read while the request stood still"),
            Err(error) => format!("{why}; nor may the process read itself: {error}"),
        };
        Ok(Frames { list, lack: Some(lack) })
    }

    /// A frame, and what reads it.
    fn at<'r>(
        &'r mut self,
        record: &'r Record,
        frame: usize,
    ) -> Result<(Inspector<'r>, purlin_debugger::Frame), String> {
        let frames = self.stack(record)?;
        let frame = frames.get(frame).ok_or("there is no such frame")?.clone();
        let capture = &record.captured.as_ref().ok_or(NOT_CAPTURED)?.capture;
        if let Some(gone) = gone(capture) {
            return Err(gone);
        }
        let memory = capture.memory.as_ref().map_err(ToString::to_string)?;
        Ok((Inspector::new(self.image()?, memory).mask(&*record.hides), frame))
    }

    fn variables(&mut self, record: &Record, frame: usize) -> Result<Variables, String> {
        let (inspector, frame) = self.at(record, frame)?;
        Ok(Variables::of(inspector.variables(&frame), frame.class, &record.redaction))
    }
}

impl Frame {
    fn of(frame: &purlin_debugger::Frame, variables: Option<Variables>) -> Self {
        Self {
            function: frame.function.clone(),
            path: frame.path.clone(),
            file: frame.file.as_ref().map(|file| file.to_string_lossy().into_owned()),
            line: frame.line,
            column: frame.column,
            whose: frame.class.into(),
            inlined: frame.inlined,
            variables,
        }
    }
}

impl Variables {
    fn of(listing: purlin_debugger::Listing, class: Class, redaction: &Redaction) -> Self {
        let lack = listing.lack.map(|lack| told(&lack, class));
        let (lack, advice) = lack.map_or((None, None), |(lack, advice)| (Some(lack), advice));
        let values = listing.values.into_iter().map(|value| without_secrets(value.into(), redaction));
        Self { values: values.collect(), lack, advice }
    }
}

fn hidden(value: purlin_debugger::Value, record: &Record) -> Value {
    without_secrets(value.into(), &record.redaction)
}

/// Also what no name tells of: a secret of the configuration in a URL, say.
fn without_secrets(mut value: Value, redaction: &Redaction) -> Value {
    value.text = redaction.text(&value.text);
    value.children = value.children.into_iter().map(|child| without_secrets(child, redaction)).collect();
    value
}

/// The frames of a backtrace: names and places, of which the site's own are told by where they lie.
fn of_backtrace(text: &str) -> Vec<Frame> {
    of_frames(backtrace::read(text))
}

fn of_frames(frames: Vec<backtrace::Frame>) -> Vec<Frame> {
    let frames = frames.into_iter().map(|frame| {
        let place = frame.place.as_deref().unwrap_or_default();
        let mut parts = place.rsplitn(3, ':');
        let column = parts.next().and_then(|part| part.parse().ok());
        let line = parts.next().and_then(|part| part.parse().ok());
        let file = parts.next().map(|file| match std::env::current_dir() {
            Ok(here) => here.join(file).to_string_lossy().into_owned(),
            Err(_) => file.to_owned(),
        });
        let whose = if frame.own { Whose::Own } else { Whose::Unknown };
        let function = frame.name.rsplit("::").next().unwrap_or(&frame.name).to_owned();
        Frame { function, path: frame.name, file, line, column, whose, inlined: false, variables: None }
    });
    // What captured them comes first.
    let mut frames: Vec<Frame> = frames.collect();
    let own = frames.iter().position(|frame| frame.whose == Whose::Own);
    frames.drain(..own.unwrap_or(0));
    frames
}

const NOT_CAPTURED: &str = "its frames were not captured: it arose outside of the request, or before the debugger ran";

fn told(lack: &Lack, class: Class) -> (String, Option<String>) {
    let advice = lack.advice(class);
    (lack.to_string(), (!advice.is_empty()).then(|| advice.to_owned()))
}

/// Where code lies, as `cargo run` tells it.
fn roots() -> Roots {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let own = folder("CARGO_MANIFEST_DIR").into_iter().chain(std::env::current_dir().ok()).collect();
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let toolchain = folder("RUSTUP_HOME").zip(folder("RUSTUP_TOOLCHAIN"));
    let standard = toolchain.map(|(home, name)| home.join("toolchains").join(name).join("lib/rustlib/src/rust"));
    Roots {
        own,
        framework: vec![source.join("src"), source.join("debugger")],
        standard: standard.filter(|folder| folder.is_dir()),
        // The last two are what a conversion is called where the dependencies have no debug information.
        capturing: [
            "purlin::error::",
            "purlin::debugger::",
            "purlin::panic::",
            "<purlin::error::Error as ",
            "<T as core::convert::Into<U>>::into",
        ]
        .map(str::to_owned)
        .into(),
    }
}

impl From<Class> for Whose {
    fn from(class: Class) -> Self {
        match class {
            Class::Own => Self::Own,
            Class::Framework => Self::Framework,
            Class::Dependency => Self::Library,
            Class::Standard => Self::Std,
            Class::Unknown => Self::Unknown,
        }
    }
}

impl From<purlin_debugger::Value> for Value {
    fn from(value: purlin_debugger::Value) -> Self {
        Self {
            name: value.name,
            kind: value.type_name,
            text: value.text,
            note: value.note,
            argument: value.argument,
            masked: value.masked,
            count: value.count,
            children: value.children.into_iter().map(Self::from).collect(),
            path: value.path,
        }
    }
}

const _: () = {
    const fn is_send_sync<T: Send + Sync>() {}
    is_send_sync::<Engine>();
    is_send_sync::<Captured>();
    // What an `Error` holds must not make it less.
    is_send_sync::<Error>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_frames_without_variables() {
        let text = "   0: std::backtrace_rs::backtrace::libunwind::trace\n             \
                    at /rustc/5980/library/std/src/../../backtrace/src/backtrace/libunwind.rs:117:9\n   \
                    1: my_site::handlers::show::{{closure}}::h0123456789abcdef\n             \
                    at /home/me/site/handlers.rs:12:5\n  \
                    2: core::ops::function::FnOnce::call_once\n";
        let told: Vec<_> =
            of_backtrace(text).into_iter().map(|frame| (frame.function, frame.file, frame.line, frame.whose)).collect();
        let file = Some("/home/me/site/handlers.rs".to_owned());
        assert_eq!(
            told,
            [("show".to_owned(), file, Some(12), Whose::Own), ("call_once".to_owned(), None, None, Whose::Unknown)]
        );
        assert!(of_backtrace("disabled backtrace").is_empty());
    }
}
