//! `Capabilities`: what the server that runs an application can do.

use crate::{Error, FromRequest, Request, RequestExt, Result};

/// What the server can do, so that an application can decide what it needs: in a request
/// ([`RequestExt::capabilities`], or as an argument of a handler), and when the site starts
/// ([`Start::capabilities`](crate::site::Start::capabilities)).
///
/// Purlin's server and its testing client say so. Another server, by way of tower say, inserts one into the extensions of each
/// request; where nobody said anything, nothing is known.
///
/// ```
/// use purlin::capabilities::Capabilities;
///
/// async fn cached(server: Capabilities) -> &'static str {
///     if server.processes { "kept in Redis, for all of them" } else { "kept in memory" }
/// }
/// # purlin::get(cached);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Other requests go on while one waits.
    pub asynchronous: bool,
    /// Requests may be answered by several threads at the same time.
    pub threads: bool,
    /// Other processes may serve the same application: what one keeps in memory, the others do not know.
    pub processes: bool,
    /// The process ends with this request, as one started by a command line does: nothing is worth keeping.
    pub run_once: bool,
    /// A body leaves as it is made, and arrives as it is sent.
    pub streaming: bool,
}

impl Capabilities {
    /// Those of one process that serves many requests on several threads, asynchronously and streaming: of Purlin's server.
    pub const fn new() -> Self {
        Self { asynchronous: true, threads: true, processes: false, run_once: false, streaming: true }
    }

    /// Whether requests are answered by several threads.
    pub const fn threads(mut self, threads: bool) -> Self {
        self.threads = threads;
        self
    }

    /// Whether other processes serve the same application.
    pub const fn processes(mut self, processes: bool) -> Self {
        self.processes = processes;
        self
    }

    /// Whether the process ends with the request.
    pub const fn run_once(mut self, run_once: bool) -> Self {
        self.run_once = run_once;
        self
    }

    /// Whether other requests go on while one waits.
    pub const fn asynchronous(mut self, asynchronous: bool) -> Self {
        self.asynchronous = asynchronous;
        self
    }

    /// Whether bodies are streamed.
    pub const fn streaming(mut self, streaming: bool) -> Self {
        self.streaming = streaming;
        self
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new()
    }
}

impl FromRequest for Capabilities {
    async fn from_request(req: &mut Request) -> Result<Self> {
        req.capabilities().ok_or_else(|| Error::internal("the server does not say what it can do"))
    }
}
