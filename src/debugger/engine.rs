//! `Engine`: what is asked of `purlin_debugger`, on a thread of its own. The only file that names it.
//!
//! A question may take long, and the debug information of a strange program may make its reader panic: neither is the concern
//! of a request. After a panic the engine forgets what it had read, and goes on.

use super::record::Record;
use crate::{Context, Error, Result};
use purlin_debugger::{Class, Image, Inspector, Lack, Limits, Roots, Snapshots};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What is kept of the moment when an error arose, if it was in a request that is watched.
pub(crate) type Captured = Option<Arc<purlin_debugger::Capture>>;

/// Captures this thread, if it works on a request of a site with the debugger; one comparison else.
pub(crate) fn capture() -> Captured {
    purlin_debugger::capture().map(Arc::new)
}

/// So many records' frames are kept; those of others are found anew.
const KEPT_STACKS: usize = 8;

/// So many questions wait; more are told to come again.
const WAITING: usize = 32;

/// After that an answer is not waited for. The first one reads the debug information of the whole program.
const PATIENCE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// Takes snapshots, and reads them.
pub(super) struct Engine {
    snapshots: Snapshots,
    jobs: mpsc::SyncSender<Job>,
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
    /// How many children there are, listed or not.
    pub(super) count: u64,
    pub(super) children: Vec<Value>,
    pub(super) path: Vec<u64>,
}

impl Engine {
    /// Starts its thread.
    ///
    /// # Errors
    ///
    /// The system allows no thread.
    pub(super) fn start() -> Result<Self> {
        let snapshots = Snapshots::new(Limits::new()).context("starting the debugger")?;
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
        let thread = std::thread::Builder::new().name("purlin-debugger-reader".to_owned()).spawn(run);
        thread.context("starting the debugger")?;
        Ok(Self { snapshots, jobs })
    }

    /// Has what fails in a future captured.
    pub(super) fn watch<F: Future>(&self, future: F) -> impl Future<Output = F::Output> {
        self.snapshots.watch(future)
    }

    /// The same of what is no future.
    pub(super) fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.snapshots.scope(work)
    }

    /// The frames of a record, innermost first, the site's own with their variables.
    ///
    /// # Errors
    ///
    /// A sentence for the page.
    pub(super) async fn frames(&self, record: &Arc<Record>) -> Result<Vec<Frame>, String> {
        let record = record.clone();
        self.ask(move |reader| reader.frames(&record)).await?
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
                return value.map(Value::from).ok_or_else(|| "there is no such value".to_owned());
            }
            let value = inspector.expand_expression(&frame, &wanted.text, &wanted.path, wanted.from);
            value.map(Value::from).map_err(|mistake| mistake.message)
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
            value.map(Value::from).map_err(|mistake| match wanted.text.get(mistake.at) {
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

    fn image(&mut self) -> Result<(), String> {
        let image = self.image.get_or_insert_with(Image::open);
        image.as_ref().map(drop).map_err(|lack| told(lack, Class::Own).0)
    }

    /// The frames of a record, found or kept.
    fn stack(&mut self, record: &Record) -> Result<Rc<[purlin_debugger::Frame]>, String> {
        if let Some((_, frames)) = self.stacks.iter().find(|(id, _)| *id == record.id) {
            return Ok(frames.clone());
        }
        let capture = record.captured.as_ref().ok_or(NOT_CAPTURED)?;
        self.image()?;
        let Some(Ok(image)) = &self.image else { return Err(NOT_CAPTURED.to_owned()) };
        let watched = &capture.registers[..capture.watched.min(capture.registers.len())];
        let frames: Rc<[_]> = purlin_debugger::frames(image, watched, &self.roots).into();
        self.stacks.truncate(KEPT_STACKS - 1);
        self.stacks.push_front((record.id.clone(), frames.clone()));
        Ok(frames)
    }

    fn frames(&mut self, record: &Record) -> Result<Vec<Frame>, String> {
        let stack = self.stack(record)?;
        let shown = stack.iter().enumerate().map(|(at, frame)| {
            let whose = Whose::from(frame.class);
            let variables = (whose == Whose::Own).then(|| self.variables(record, at));
            Frame {
                function: frame.function.clone(),
                path: frame.path.clone(),
                file: frame.file.as_ref().map(|file| file.to_string_lossy().into_owned()),
                line: frame.line,
                column: frame.column,
                whose,
                inlined: frame.inlined,
                variables: variables.map(|variables| {
                    variables.unwrap_or_else(|lack| Variables { lack: Some(lack), ..Variables::default() })
                }),
            }
        });
        Ok(shown.collect())
    }

    /// A frame, and what reads it.
    fn at<'r>(
        &'r mut self,
        record: &'r Record,
        frame: usize,
    ) -> Result<(Inspector<'r>, purlin_debugger::Frame), String> {
        let frames = self.stack(record)?;
        let frame = frames.get(frame).ok_or("there is no such frame")?.clone();
        let capture = record.captured.as_ref().ok_or(NOT_CAPTURED)?;
        let memory = capture.memory.as_ref().map_err(|refusal| format!("no variables: {refusal}"))?;
        if let Some(ended) = memory.ended() {
            return Err(format!("no variables: {ended}"));
        }
        match &self.image {
            Some(Ok(image)) => Ok((Inspector::new(image, memory).mask(&super::record::is_secret), frame)),
            _ => Err(NOT_CAPTURED.to_owned()),
        }
    }

    fn variables(&mut self, record: &Record, frame: usize) -> Result<Variables, String> {
        let (inspector, frame) = self.at(record, frame)?;
        let listing = inspector.variables(&frame);
        let lack = listing.lack.map(|lack| told(&lack, frame.class));
        let (lack, advice) = lack.map_or((None, None), |(lack, advice)| (Some(lack), advice));
        Ok(Variables { values: listing.values.into_iter().map(Value::from).collect(), lack, advice })
    }
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
        capturing: vec!["purlin::error::".to_owned(), "purlin::debugger::".to_owned(), "purlin::panic::".to_owned()],
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
