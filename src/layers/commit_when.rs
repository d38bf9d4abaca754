//! Says for one route by which answers its transaction is committed.

use crate::database::Verdict;
use crate::site::About;
use crate::{Middleware, Request, Response, Result, Service};

/// Commits the transaction of a route by a rule of its own: a layer for routes below
/// [`Transaction`](crate::layers::Transaction).
///
/// A doomed transaction, and that of a handler which panicked, is rolled back all the same.
///
/// ```
/// use purlin::layers::CommitWhen;
/// use purlin::{Router, StatusCode, post};
///
/// async fn attempt() -> StatusCode {
///     StatusCode::UNPROCESSABLE_ENTITY // and the failed attempt is counted
/// }
///
/// let routes = Router::new().route("/attempt", post(attempt).layer(CommitWhen::new(|answer| {
///     answer.status() == StatusCode::UNPROCESSABLE_ENTITY
/// })));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CommitWhen<F> {
    good: F,
}

impl<F: Fn(&Response) -> bool + Send + Sync + 'static> CommitWhen<F> {
    /// The transaction is committed by the answers of which `good` says so, and by no other.
    pub fn new(good: F) -> Self {
        Self { good }
    }
}

impl<F: Fn(&Response) -> bool + Send + Sync + 'static> Middleware for CommitWhen<F> {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = next.call(req).await;
        let verdict = if (self.good)(&response) { Verdict::Commit } else { Verdict::RollBack };
        response.extensions_mut().insert(verdict);
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        about.name("CommitWhen").needs::<Verdict>();
    }
}
