//! The process of a worker: what stands below a boundary of the site, served to the process that started it.

use super::connection::Shared;
use super::listen::Socketed;
use super::{Crew, Limits, Server, serving, wind_down};
use crate::config::{Listen, Runtime};
use crate::crossing;
use crate::request::CspNonce;
use crate::site::{Below, Boundary, Life};
use crate::{BoxService, Context, Error, Request, Response, Result, Service, spawn};
use std::time::Duration;

/// The environment variable by which a process knows that it is a worker: the number of the boundary, and of which server.
pub(crate) const SEAT: &str = "PURLIN_WORKER";

/// The one by which it is handed its socket.
pub(crate) const SOCKET: &str = "PURLIN_WORKER_SOCKET";

/// The process that asks has the clients' patience, and its own.
const LONG: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The boundary that this process is for, if it is for one: its number, and the server.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    number: usize,
    serving: String,
}

impl Seat {
    /// How it is written, for the boundary of a server which is configured to listen there.
    pub(crate) fn written(number: usize, serving: &str) -> String {
        format!("{number} of {serving}")
    }

    pub(super) fn of_this_process() -> Option<Self> {
        let seat = std::env::var(SEAT).ok()?;
        let (number, serving) = seat.split_once(" of ")?;
        Some(Self { number: number.parse().ok()?, serving: serving.to_owned() })
    }

    /// Whether the boundary is one of this server's. If not, another one of the site is started beside it, which has it.
    pub(super) fn is_of(&self, server: &Server) -> bool {
        self.serving == serving(&server.listen)
    }

    /// Serves what stands below the boundary, until the process that started this one says so, or dies.
    pub(super) async fn serve(self, server: Server, app: BoxService) -> Result<()> {
        let number = self.number;
        let control = spawn::control()?;
        let mut control = control.context(format!("a process with {SEAT} is started by the layer `Workers` only"))?;
        // It is part of the process until the end.
        let app: &'static BoxService = Box::leak(Box::new(app));
        let below = Boundary::find(number, app).ok_or_else(|| {
            Error::internal(format!(
                "the layer `Workers` number {number} is not found: either the site is put together in another way in each \
                 process, or a service of its own above that layer does not lead to it"
            ))
        })?;
        let capabilities = server.capabilities.processes(true);
        let life = Life::start_below(app, &below, capabilities)?;
        let limits = Limits {
            header_timeout: LONG,
            body_timeout: LONG,
            idle_timeout: LONG,
            write_timeout: LONG,
            // Some of ours are among them.
            max_headers: server.limits.max_headers + 16,
            max_header_bytes: server.limits.max_header_bytes + 64 * 1024,
            http2: false,
        };
        let Below { service, .. } = below;
        let inside = Inside { service, capabilities };
        let shared = Shared::new(
            BoxService::new(inside),
            limits,
            capabilities,
            #[cfg(feature = "tls")]
            None,
        );
        let socket = spawn::handed_over(SOCKET)?.pop().context("a worker was handed no socket")?;
        let socket = Socketed::handed_down(socket, false)?;
        let (at, parent) = (socket.address()?, std::os::unix::process::parent_id());
        let crew = Crew::start(&shared, vec![socket], Runtime::Shared, usize::MAX)?;
        // Who stops the site by a signal may send it to all processes of it. When these end is for the server to say; only the
        // second one is for all.
        tokio::spawn(super::signals()?);
        control.ready().await;
        control.ended(|| shared.begin_to_stop()).await;
        wind_down(shared, crew, life, server.drain, || {}).await;
        // The parent died, and nobody else is left to do it. The last of its workers finds the folder empty.
        if let Listen::Unix(path) = at
            && std::os::unix::process::parent_id() != parent
        {
            let _ = std::fs::remove_file(&path);
            let _ = path.parent().map(std::fs::remove_dir);
        }
        Ok(())
    }
}

/// What stands below, with what has crossed over beside each request.
struct Inside<S> {
    service: S,
    capabilities: crate::capabilities::Capabilities,
}

impl<S: Service> Service for Inside<S> {
    async fn call(&self, mut req: Request) -> Response {
        if let Err(error) = crossing::arrive(&mut req, self.capabilities) {
            return error.into();
        }
        let nonce = req.extensions().get::<CspNonce>().cloned();
        #[cfg(feature = "opentelemetry")]
        let answer = match req.extensions_mut().remove::<crate::trace_context::TraceContext>() {
            Some(from) => {
                let context = crate::traces::asked_by(&opentelemetry::Context::new(), &from);
                crate::traces::within(&context, || crate::panic::caught(self.service.call(req))).await
            }
            None => crate::panic::caught(self.service.call(req)).await,
        };
        #[cfg(not(feature = "opentelemetry"))]
        let answer = crate::panic::caught(self.service.call(req)).await;
        let mut response = answer.unwrap_or_else(Response::from);
        crossing::give_back(&mut response, nonce.as_ref());
        response
    }
}
