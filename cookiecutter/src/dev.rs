//! `Dev`: a site while it is developed. It is built, run, watched, built again, and its port is never closed.
//!
//! One task decides, by what happens ([`Event`]): a file has changed, a build has ended, a site serves or has ended. Others answer
//! requests, by the [`State`] that it sets.

pub(crate) mod ansi;
pub(crate) mod build;
pub(crate) mod diagnostics;
pub(crate) mod editor;
pub(crate) mod front;
pub(crate) mod page;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod project;
pub(crate) mod site;
pub(crate) mod state;
pub(crate) mod terminal;
pub(crate) mod tour;
pub(crate) mod trouble;
pub(crate) mod watch;

use crate::failure::Failure;
use build::{Built, Outcome, Progress};
use editor::Editor;
use front::Front;
use page::Pages;
use project::{Dependencies, NoProject, Project};
use site::{Site, Upstream};
use state::{Shown, State, Step};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use terminal::{Key, Terminal};
use tokio::sync::{mpsc, oneshot, watch as latest};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use trouble::Trouble;
use watch::{Change, Needs, Watch};

/// Files that are saved together are one change.
const TOGETHER: Duration = Duration::from_millis(50);

/// However many files there are, they are looked at this often.
const SELDOM: Duration = Duration::from_secs(2);

/// A site that takes longer to start may be one that waits for something.
const SLOW: Duration = Duration::from_secs(30);

/// So long the site may take to end, when everything ends.
const LAST: Duration = Duration::from_secs(5);

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: Option<String>,
    pub(crate) open: bool,
    pub(crate) hold: Duration,
    pub(crate) poll: Duration,
    pub(crate) reload: bool,
    pub(crate) build: build::Options,
    /// For the site itself.
    pub(crate) arguments: Vec<String>,
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request has come at this time: whether something has changed is to be known before it is answered.
    Look(Instant, oneshot::Sender<()>),
    /// Somebody asks again for a page that was broken when so many were settled.
    TryAgain(u64, oneshot::Sender<()>),
    Key(Key),
    /// A signal, by its number.
    Stop(u8),
    Site(site::Event),
    Built(u64, Box<Worked>),
    Dependencies(Option<Dependencies>),
    /// The site has ended that kept the new one from starting.
    MadeRoom,
}

/// How the work on a change ended.
#[derive(Debug)]
pub(crate) enum Worked {
    Outcome(Project, Outcome),
    NoProject(NoProject),
}

/// Serves the site of this folder until it is told to stop.
///
/// # Errors
///
/// There is no site, no cargo, or no port.
pub(crate) fn run(folder: &Path, options: Options) -> Result<ExitCode, Failure> {
    let folder = project::folder_above(folder)?;
    let found = match Project::of(&folder, &options.build.choice) {
        Err(NoProject::Other(failure)) => return Err(failure),
        found => found,
    };
    let root = found.as_ref().map_or(&folder, |project| &project.folder).clone();
    let named = options.listen.clone().or_else(|| project::configured_address(&root));
    let address = address(named.as_deref().unwrap_or(port::DEFAULT))?;
    let (listener, taken) = port::listen(address)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Failure::new(format!("could not start: {cause}")))?;
    let code = runtime.block_on(async {
        let address = listener.local_addr().map_err(|cause| Failure::new(cause.to_string()))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|cause| Failure::new(cause.to_string()))?;
        let mut dev = Dev::new(folder, root, found.ok(), address, options)?;
        dev.serve(listener);
        dev.terminal.begin(&dev.name(), &dev.url, taken.as_deref());
        if dev.options.open {
            // There is something to read while it is built.
            dev.terminal.open(&dev.url);
        }
        Ok(dev.run().await)
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// `127.0.0.1:8000`, `localhost:8000`, `:8000`, or a port alone.
fn address(text: &str) -> Result<SocketAddr, Failure> {
    let local = |port: &str| port.parse::<u16>().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let parsed = text.parse().ok().or_else(|| match text.rsplit_once(':') {
        Some(("" | "localhost", port)) => local(port),
        Some(_) => None,
        None => local(text),
    });
    parsed.ok_or_else(|| {
        Failure::usage(format!("`{text}` is no address to listen on"))
            .remedy("expected one as 127.0.0.1:8000: --listen 127.0.0.1:8000")
    })
}

struct Dev {
    /// With the `Cargo.toml` that is asked about.
    folder: PathBuf,
    /// Of the site's package.
    root: PathBuf,
    /// As it was when the manifest was read last.
    project: Option<Project>,
    options: Options,
    editor: Editor,
    url: String,
    watch: Watch,
    /// When the last look began.
    looked: Instant,
    next_look: Instant,
    state: latest::Sender<State>,
    progress: latest::Sender<Progress>,
    events: mpsc::UnboundedSender<Event>,
    happens: mpsc::UnboundedReceiver<Event>,
    terminal: Terminal,
    /// What was changed and is not yet worked on, and when that begins.
    pending: Option<(Needs, Instant)>,
    /// The build that runs, with its number.
    job: Option<(u64, JoinHandle<()>)>,
    jobs: u64,
    /// Whether the site is to be started anew even if its executable is the same.
    force: bool,
    executable: Option<Executable>,
    /// Whether the last build failed: what was built before it is of older code.
    unbuilt: bool,
    starting: Option<Site>,
    started: Instant,
    /// Whether it was said that it takes long.
    told_slow: bool,
    /// One that could not start beside the one before it, which has made room for it.
    made_room: bool,
    serving: Option<(Site, Arc<Upstream>, Executable)>,
    ending: Vec<JoinHandle<()>>,
    count: u64,
}

/// An executable that was built: another one of the same name is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Executable {
    path: PathBuf,
    modified: Option<SystemTime>,
}

impl Executable {
    fn at(path: PathBuf) -> Self {
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        Self { path, modified }
    }
}

impl Dev {
    fn new(
        folder: PathBuf,
        root: PathBuf,
        project: Option<Project>,
        address: SocketAddr,
        mut options: Options,
    ) -> Result<Self, Failure> {
        let (events, happens) = mpsc::unbounded_channel();
        let target = project.as_ref().map_or_else(|| root.join("target"), |project| project.target.clone());
        let terminal = Terminal::start(events.clone());
        options.build.colours = terminal.colours();
        let mut reached = address;
        if reached.ip().is_unspecified() {
            reached.set_ip([127, 0, 0, 1].into());
        }
        listen_to_signals(&events)?;
        Ok(Self {
            watch: Watch::new(&root, std::slice::from_ref(&root), &target),
            looked: Instant::now(),
            next_look: Instant::now(),
            folder,
            root,
            project,
            editor: Editor::from_env(),
            url: format!("http://{reached}"),
            state: latest::Sender::new(State::new()),
            progress: latest::Sender::new(Progress::default()),
            events,
            happens,
            terminal,
            pending: Some((Needs::BuildAndStart, Instant::now())),
            job: None,
            jobs: 0,
            force: false,
            executable: None,
            unbuilt: false,
            starting: None,
            started: Instant::now(),
            told_slow: false,
            made_room: false,
            serving: None,
            ending: Vec::new(),
            count: 0,
            options,
        })
    }

    fn name(&self) -> String {
        match &self.project {
            Some(project) => project.package.clone(),
            None => self.root.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    fn serve(&self, listener: tokio::net::TcpListener) {
        let front = Front {
            state: self.state.subscribe(),
            progress: self.progress.subscribe(),
            events: self.events.clone(),
            pages: Pages::new(self.root.clone(), self.name(), self.editor.clone()),
            hold: self.options.hold,
            reload: self.options.reload,
        };
        tokio::spawn(Arc::new(front).serve(listener));
    }

    /// Until somebody says that it is enough.
    async fn run(&mut self) -> ExitCode {
        loop {
            let mut next = self.next_look;
            if let Some((_, at)) = self.pending {
                next = next.min(at);
            }
            match timeout_at(next, self.happens.recv()).await {
                Ok(Some(Event::Stop(signal))) => {
                    self.stop().await;
                    return ExitCode::from(if signal == 0 { 0 } else { 128 + signal });
                }
                Ok(Some(event)) => self.handle(event),
                Ok(None) => return ExitCode::FAILURE,
                Err(_) => {}
            }
            if self.next_look <= Instant::now() {
                self.look();
            }
            if self.pending.is_some_and(|(_, at)| at <= Instant::now()) {
                self.work();
            }
            if self.starting.is_some() && !self.told_slow && self.started.elapsed() >= SLOW {
                self.told_slow = true;
                self.terminal.waits(SLOW);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Look(since, done) => {
                // While it is built nothing is served that could be old. One look is enough for all who came before it.
                if !self.state.borrow().is_busy() && self.looked < since {
                    self.look();
                }
                let _ = done.send(());
            }
            Event::TryAgain(settled, done) => {
                if self.state.borrow().settled == settled && self.pending.is_none() && !self.state.borrow().is_busy() {
                    self.change(if self.has_built() { Needs::Start } else { Needs::BuildAndStart }, Duration::ZERO);
                }
                let _ = done.send(());
            }
            Event::Key(Key::Rebuild) => {
                self.force = true;
                self.change(Needs::BuildAndStart, Duration::ZERO);
            }
            Event::Key(Key::Open) => self.terminal.open(&self.url),
            Event::Key(Key::Quit) => drop(self.events.send(Event::Stop(0))),
            Event::Stop(_) => {}
            Event::Site(site::Event::Ready(number, address)) => {
                // What was saved while it started is not what it serves.
                self.look();
                self.ready(number, address);
            }
            Event::Site(site::Event::Ended(number, status)) => self.ended(number, &status),
            Event::Built(number, worked) => {
                if self.job.as_ref().is_some_and(|(current, _)| *current == number) {
                    // What cargo itself has written is no change.
                    self.look();
                    self.job = None;
                    self.built(*worked);
                }
            }
            Event::MadeRoom => {
                if let (Some(executable), Some(project)) = (self.executable.clone(), self.project.clone())
                    && self.pending.is_none()
                    && self.job.is_none()
                    // What was started or built meanwhile has taken its place.
                    && self.made_room
                    && !self.unbuilt
                {
                    self.spawn(&executable, &project);
                }
            }
            Event::Dependencies(found) => {
                if let Some(found) = found {
                    // What is new in a folder that is known is a change; what is in a new one is not.
                    self.look();
                    self.watch.add_folders(&found.folders);
                    self.progress.send_modify(|progress| progress.all = Some(found.count));
                }
            }
        }
    }

    /// Looks at the files.
    fn look(&mut self) {
        let begun = Instant::now();
        let mut changes = self.watch.look();
        self.looked = begun;
        // A folder in which looking takes long is looked at less often: a thirtieth of the time at most.
        let rest = begun.elapsed().saturating_mul(30).min(SELDOM);
        self.next_look = Instant::now() + self.options.poll.max(rest);
        if self.job.is_some() {
            changes.retain(|change| change.path.file_name().is_none_or(|name| name != "Cargo.lock"));
        }
        let Some(needs) = changes.iter().map(|change| self.needs(change)).max() else { return };
        if needs == Needs::Nothing {
            return;
        }
        let names: Vec<&Path> =
            changes.iter().filter(|change| self.needs(change) != Needs::Nothing).map(|change| &*change.path).collect();
        self.terminal.changed(&names, &self.root);
        if changes.iter().any(|change| change.path.file_name().is_some_and(|name| name == "Cargo.toml")) {
            // What the manifest says is asked anew.
            self.project = None;
        }
        self.change(needs, TOGETHER);
    }

    /// What a change asks for now. A site that does not start may have failed by any of its files.
    fn needs(&self, change: &Change) -> Needs {
        let broken = matches!(&self.state.borrow().shown, Shown::Broken(trouble) if trouble.may_pass);
        match change.needs {
            Needs::Nothing if !broken => Needs::Nothing,
            Needs::Nothing | Needs::Start if self.has_built() => Needs::Start,
            Needs::Nothing | Needs::Start => Needs::BuildAndStart,
            needs => needs,
        }
    }

    /// Whether there is something to start that is of the code as it is.
    fn has_built(&self) -> bool {
        self.executable.is_some() && !self.unbuilt
    }

    /// From here on requests wait.
    fn change(&mut self, needs: Needs, after: Duration) {
        let before = self.pending.map_or(needs, |(before, _)| before.max(needs));
        self.pending = Some((before, Instant::now() + after));
        self.busy(if needs == Needs::Start { Step::Starting } else { Step::Building });
    }

    fn busy(&mut self, step: Step) {
        let old = self.serving.as_ref().map(|(_, upstream, _)| upstream.clone());
        self.state.send_modify(|state| state.busy(step, old));
        self.progress.send_modify(|progress| {
            (progress.done, progress.fresh) = (0, 0);
            progress.now.clear();
        });
    }

    fn settle(&mut self, shown: Shown) {
        self.state.send_modify(|state| {
            state.shown = shown;
            state.settled += 1;
        });
    }

    /// Works on what has changed.
    fn work(&mut self) {
        let Some((needs, _)) = self.pending.take() else { return };
        self.force |= matches!(needs, Needs::BuildAndStart | Needs::Start);
        let builds = needs >= Needs::Build || self.unbuilt;
        // Something may have been settled since the change.
        self.busy(if builds || self.job.is_some() { Step::Building } else { Step::Starting });
        // One that is starting is of the code before.
        if let Some(site) = self.starting.take() {
            site.kill();
            self.ending.push(tokio::spawn(site.end()));
        }
        if builds {
            self.build();
        } else if self.job.is_none() {
            self.start();
        }
    }

    fn build(&mut self) {
        if let Some((_, job)) = self.job.take() {
            job.abort();
        }
        self.jobs += 1;
        let number = self.jobs;
        let (folder, options, project) = (self.folder.clone(), self.options.build.clone(), self.project.clone());
        let (progress, events) = (self.progress.clone(), self.events.clone());
        let words = self.terminal.words();
        self.terminal.building(&self.progress, self.executable.is_none());
        let job = tokio::spawn(async move {
            let worked = match project {
                Some(project) => Ok(project),
                None => {
                    let choice = options.choice.clone();
                    let asked = tokio::task::spawn_blocking(move || Project::of(&folder, &choice)).await;
                    asked.unwrap_or_else(|cause| Err(NoProject::Other(Failure::new(cause.to_string()))))
                }
            };
            let worked = match worked {
                Ok(project) => {
                    // How much there is to build is found out while it is built.
                    let (asked, choice, found) = (project.clone(), options.choice.clone(), events.clone());
                    tokio::spawn(async move {
                        let _ = found.send(Event::Dependencies(Dependencies::of(&asked, &choice).await));
                    });
                    let outcome = build::build(&project, &options, &progress, &words).await;
                    Worked::Outcome(project, outcome)
                }
                Err(none) => Worked::NoProject(none),
            };
            let _ = events.send(Event::Built(number, Box::new(worked)));
        });
        self.job = Some((number, job));
    }

    fn built(&mut self, worked: Worked) {
        let trouble = match worked {
            Worked::NoProject(NoProject::Manifest(said)) => {
                self.terminal.failed(&said);
                Trouble::cargo(&said, "cargo build", &self.folder, &self.editor)
            }
            Worked::NoProject(NoProject::Other(failure)) => {
                self.terminal.failed(&failure.text());
                Trouble::cargo(&failure.text(), "cargo build", &self.folder, &self.editor)
            }
            Worked::Outcome(project, outcome) => {
                let project = self.project.insert(project).clone();
                match outcome {
                    Outcome::Built(built) => return self.take(built),
                    Outcome::Refused { errors, warnings, took } => {
                        self.terminal.refused(errors.len(), took);
                        Trouble::refused(&errors, &warnings, took, &project, &self.options.build, &self.editor)
                    }
                    Outcome::Failed { said, command } => {
                        self.terminal.failed(&said);
                        Trouble::cargo(&said, &command, &project.workspace, &self.editor)
                    }
                }
            }
        };
        self.unbuilt = true;
        // What has changed meanwhile may have mended it: nobody is told what is out of date.
        if self.pending.is_none() {
            self.settle(Shown::Broken(Arc::new(trouble)));
        }
    }

    /// Starts what was built, unless it runs already.
    fn take(&mut self, built: Built) {
        let workspace = self.project.iter().map(|project| project.workspace.clone());
        let manifests = workspace
            .flat_map(|folder| ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"].map(|name| folder.join(name)));
        self.watch.add_files(built.files.iter().cloned().chain(manifests));
        let executable = Executable::at(built.executable.clone());
        self.executable = Some(executable.clone());
        self.unbuilt = false;
        let runs =
            self.serving.as_ref().filter(|(_, _, own)| *own == executable).map(|(_, upstream, _)| upstream.clone());
        match runs {
            Some(upstream) if !self.force => {
                self.terminal.unchanged();
                if self.pending.is_none() {
                    self.settle(Shown::Serving(upstream));
                }
            }
            _ => {
                self.terminal.built(&built);
                // What has changed meanwhile is started in a moment, or is built first.
                if self.pending.is_none() {
                    self.start();
                }
            }
        }
    }

    /// Starts the site, beside the one that serves.
    fn start(&mut self) {
        let (Some(executable), Some(project)) = (self.executable.clone(), self.project.clone()) else {
            return self.build();
        };
        self.force = false;
        self.made_room = false;
        self.busy(Step::Starting);
        self.spawn(&executable, &project);
    }

    fn spawn(&mut self, executable: &Executable, project: &Project) {
        self.count += 1;
        self.started = Instant::now();
        self.told_slow = false;
        let events = self.events.clone();
        let on_event = move |event| drop(events.send(Event::Site(event)));
        let (arguments, colours) = (&self.options.arguments, self.terminal.colours());
        match Site::start(self.count, &executable.path, project, arguments, colours, on_event) {
            Ok(site) => self.starting = Some(site),
            Err(cause) => {
                let said = format!("could not start {}: {cause}", executable.path.display());
                self.terminal.failed(&said);
                let trouble = Trouble::cargo(&said, "cargo run", &project.workspace, &self.editor);
                self.settle(Shown::Broken(Arc::new(trouble)));
            }
        }
    }

    fn ready(&mut self, number: u64, address: SocketAddr) {
        let Some(site) = self.starting.take_if(|site| site.number == number) else { return };
        let Some(executable) = self.executable.clone() else { return };
        let upstream = Upstream::new(address);
        if let Some((old, ..)) = self.serving.replace((site, upstream.clone(), executable)) {
            self.ending.retain(|task| !task.is_finished());
            self.ending.push(tokio::spawn(old.end()));
        }
        self.terminal.serving(self.started.elapsed());
        // Something has changed again, meanwhile.
        if self.pending.is_none() && self.job.is_none() {
            self.settle(Shown::Serving(upstream));
        } else {
            self.busy(Step::Building);
        }
    }

    fn ended(&mut self, number: u64, status: &std::io::Result<std::process::ExitStatus>) {
        // Whatever else is going on, one that has ended serves nobody. While the manifest is read there is nothing to say.
        let project = self.project.clone();
        if let Some(site) = self.starting.take_if(|site| site.number == number) {
            // It is started again, with what has changed.
            let Some(project) = project.filter(|_| self.pending.is_none()) else { return };
            let said = site.said();
            // Something that only one can have, such as a second port: the one before makes room.
            if said.contains("in use") && !self.made_room && self.serving.is_some() {
                self.made_room = true;
                return self.make_room();
            }
            let trouble = Trouble::ended(false, status, &said, &project, &self.editor);
            self.terminal.ended(&trouble);
            self.settle(Shown::Broken(Arc::new(trouble)));
        } else if let Some((site, ..)) = self.serving.take_if(|(site, ..)| site.number == number) {
            let Some(project) = project else { return };
            let trouble = Trouble::ended(true, status, &site.said(), &project, &self.editor);
            self.terminal.ended(&trouble);
            if !self.state.borrow().is_busy() {
                self.settle(Shown::Broken(Arc::new(trouble)));
            }
        }
    }

    /// Ends the site that serves, and starts the new one then.
    fn make_room(&mut self) {
        let Some((old, ..)) = self.serving.take() else { return };
        self.busy(Step::Starting);
        // Its streams would keep it.
        self.state.send_modify(|state| state.settled += 1);
        let events = self.events.clone();
        self.ending.push(tokio::spawn(async move {
            old.end().await;
            let _ = events.send(Event::MadeRoom);
        }));
    }

    /// Ends everything.
    async fn stop(&mut self) {
        self.terminal.stopping();
        if let Some((_, job)) = self.job.take() {
            job.abort();
            let _ = job.await;
        }
        let sites = [self.starting.take(), self.serving.take().map(|(site, ..)| site)].into_iter().flatten();
        // Streams are cut, so that a site is not kept by them.
        self.state.send_modify(|state| state.settled += 1);
        let mut groups = Vec::new();
        for site in sites {
            groups.push(site.group());
            self.ending.push(tokio::spawn(site.end()));
        }
        let ending = std::mem::take(&mut self.ending);
        let all = async {
            for task in ending {
                let _ = task.await;
            }
        };
        let mut all = std::pin::pin!(all);
        let until = Instant::now() + LAST;
        loop {
            let mut next = std::pin::pin!(self.happens.recv());
            let step = timeout(
                until.saturating_duration_since(Instant::now()),
                std::future::poll_fn(|cx| {
                    if all.as_mut().poll(cx).is_ready() {
                        return std::task::Poll::Ready(true);
                    }
                    // A second signal has no patience.
                    match next.as_mut().poll(cx) {
                        std::task::Poll::Ready(Some(Event::Stop(_)) | None) => std::task::Poll::Ready(true),
                        std::task::Poll::Ready(Some(_)) => std::task::Poll::Ready(false),
                        std::task::Poll::Pending => std::task::Poll::Pending,
                    }
                }),
            );
            if step.await.unwrap_or(true) {
                break;
            }
        }
        groups.into_iter().for_each(process::Group::kill);
    }
}

/// Ctrl-C, the wish of another program, and the end of the terminal.
#[cfg(unix)]
fn listen_to_signals(events: &mpsc::UnboundedSender<Event>) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15), (SignalKind::hangup(), 1)] {
        let mut signal = signal(kind).map_err(|cause| Failure::new(format!("could not wait for signals: {cause}")))?;
        let events = events.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                let _ = events.send(Event::Stop(number));
            }
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn listen_to_signals(events: &mpsc::UnboundedSender<Event>) -> Result<(), Failure> {
    let events = events.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            let _ = events.send(Event::Stop(2));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_can_be_written_short() {
        for (text, expected) in [
            ("127.0.0.1:8000", Some("127.0.0.1:8000")),
            ("[::1]:80", Some("[::1]:80")),
            ("0.0.0.0:9000", Some("0.0.0.0:9000")),
            ("localhost:9000", Some("127.0.0.1:9000")),
            (":9000", Some("127.0.0.1:9000")),
            ("9000", Some("127.0.0.1:9000")),
            ("example.org:80", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(address(text).ok(), expected.map(|address| address.parse().unwrap()), "{text}");
        }
    }
}
