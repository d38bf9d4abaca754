//! Answers 503 when the stack below takes too long.

use crate::service::then;
use crate::site::About;
use crate::{Error, Middleware, Request, Response, Result, Service};
use std::time::Duration;

/// Bounds the time between a request arriving and its response's head leaving.
///
/// The body is not timed: a slow download is not a slow answer.
///
/// # Errors
///
/// 503 Service Unavailable (RFC 9110 §15.6.4) once the limit has passed; the work below is dropped at the `.await` it
/// had reached.
#[derive(Clone, Debug)]
pub struct Deadline {
    limit: Duration,
}

impl Deadline {
    /// `limit` is wall-clock time; there is no default.
    pub fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl Middleware for Deadline {
    fn handle(&self, req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        then(tokio::time::timeout(self.limit, next.call(req)), |answer| {
            answer.map_err(|passed| {
                Error::unavailable(passed)
                    .context(format!("answering within {:?} (setting `answer_within`)", self.limit))
            })
        })
    }

    fn describe(&self, about: &mut About) {
        about.option("limit", format_args!("{:?}", self.limit));
    }
}
