//! Two futures, of which the first to be ready counts.

use std::pin::pin;
use std::task::Poll;

/// One of two.
pub(crate) enum Either<A, B> {
    Left(A),
    Right(B),
}

/// The first of two that is ready; the left one, where both are. The other is dropped.
pub(crate) async fn first<A: Future, B: Future>(left: A, right: B) -> Either<A::Output, B::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(left) = left.as_mut().poll(cx) {
            return Poll::Ready(Either::Left(left));
        }
        right.as_mut().poll(cx).map(Either::Right)
    })
    .await
}

/// What the future gives, or `None` as soon as the other one is ready.
pub(crate) async fn unless<F: Future>(over: impl Future, future: F) -> Option<F::Output> {
    match first(over, future).await {
        Either::Left(_) => None,
        Either::Right(output) => Some(output),
    }
}
