//! In debug builds, makes the page of a failure one to work in: frames with live variables, and a prompt.

use crate::site::{About, Start};
use crate::{Middleware, Request, Response, Result, Service};

#[cfg(debug_assertions)]
use crate::{Context, debugger::Workbench};
#[cfg(debug_assertions)]
use std::sync::OnceLock;

/// Shows the developer a failure from within: its frames with their source and live variables, and a prompt that evaluates Rust
/// expressions in them.
///
/// Stands right above [`ErrorPages`](super::ErrorPages). When the work below panics, or an error arises by `?`, the process takes
/// a frozen copy of itself; the page reads the variables of the failed frames from there while the site answers on. Each
/// failure has an address under `/_debug/`, named in the header `X-Debug-URL` and in the log; `/_debug/` lists the last 50, and
/// answers expressions about the site: its routes, its stack, its configuration.
///
/// **Only a debug build contains any of this.** In a release build the layer passes on what comes, and nothing else of it is
/// there. In a debug build whoever sees the page sees the memory of the process, so:
///
/// - the site does not start if it listens beyond this machine, unless [`beyond_loopback`](Debugger::beyond_loopback) says that
///   it may;
/// - a request whose peer is not a loopback address, that has a header of a proxy, or whose `Host` is not `localhost`,
///   `*.localhost`, `127.0.0.0/8`, `[::1]` or a [`host`](Debugger::host), gets what visitors get, also where
///   [`ErrorPages::details`](super::ErrorPages::details) is on;
/// - questions of the page are POSTs with JSON, an exactly equal `Origin` and a token which is new at each start;
/// - the prompt reads memory. It calls nothing, changes nothing, and opens no file.
///
/// Others who are signed in on the same machine count as this machine: a shared one is no place for it.
///
/// `PURLIN_EDITOR` makes places links that open an editor: `vscode`, `zed`, `idea`, `vim`, `neovim`, `emacs`, `sublime`, or a
/// link with `{file}`, `{line}` and `{column}`; `PURLIN_EDITOR_PATHS` is `/here=/there` where the editor sees other paths.
///
/// ```
/// use purlin::layers::{Debugger, ErrorPages};
/// use purlin::{Router, Stack, get};
///
/// let app = Stack::new()
///     .layer(Debugger::new())
///     .layer(ErrorPages::new().details(cfg!(debug_assertions)))
///     .app(Router::new().route("/", get(async || "Hello")));
/// # purlin::testing::Client::new(app);
/// ```
#[derive(Default)]
pub struct Debugger {
    hosts: Vec<String>,
    beyond_loopback: bool,
    snapshots: Option<usize>,
    #[cfg(debug_assertions)]
    workbench: OnceLock<Workbench>,
}

impl Debugger {
    /// For this machine only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another name of this machine, `dev.example.org`, without a port; may be called several times. The client must be on this
    /// machine all the same.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Whether the site may start although others can reach it; off by default. They still see no page of the debugger.
    pub fn beyond_loopback(mut self, beyond: bool) -> Self {
        self.beyond_loopback = beyond;
        self
    }

    /// How many failures have a frozen copy of the process at a time, and with it a prompt; 10 by default, and fewer of a process
    /// that is large: together they may come to 2 GiB. A further one ends the one longest out of use.
    ///
    /// With 0, and where copies are impossible, the variables are read while the failed request stands still, which takes
    /// longer, and there is no prompt.
    pub fn snapshots(mut self, most: usize) -> Self {
        self.snapshots = Some(most);
        self
    }
}

impl Middleware for Debugger {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        #[cfg(debug_assertions)]
        if let Some(workbench) = self.workbench.get() {
            return workbench.handle(req, next).await;
        }
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        about.option("on", cfg!(debug_assertions));
        if !self.hosts.is_empty() {
            about.option("hosts", self.hosts.join(" "));
        }
        about.option("beyond_loopback", self.beyond_loopback);
        #[cfg(debug_assertions)]
        about.wants::<crate::live::LiveScript>();
        if let Some(most) = self.snapshots {
            about.option("snapshots", most);
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        #[cfg(debug_assertions)]
        if self.workbench.get().is_none() {
            let workbench = Workbench::start(start, &self.hosts, self.beyond_loopback, self.snapshots);
            let workbench = workbench.context("the layer Debugger")?;
            // Started twice (by a test, say), it stays as it was first.
            let _ = self.workbench.set(workbench);
        }
        #[cfg(not(debug_assertions))]
        let _ = start;
        Ok(())
    }
}
