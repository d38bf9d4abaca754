//! `Queue`: between an answer, which must not wait, and the work that a report makes.

use super::Report;
use crate::site::{Start, Stopping};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Reports on their way to background work, at most [`LENGTH`]. What does not fit is counted and dropped.
pub(super) struct Queue {
    sender: mpsc::Sender<Arc<Report>>,
    receiver: Mutex<Option<mpsc::Receiver<Arc<Report>>>>,
    dropped: Arc<AtomicU64>,
}

/// How many reports wait.
pub(super) const LENGTH: usize = 256;

/// The end at which the work takes them out.
pub(super) struct Waiting {
    receiver: mpsc::Receiver<Arc<Report>>,
    dropped: Arc<AtomicU64>,
    stopping: Stopping,
}

impl Queue {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(LENGTH);
        Self { sender, receiver: Mutex::new(Some(receiver)), dropped: Arc::default() }
    }

    pub(super) fn push(&self, report: &Arc<Report>) {
        if self.sender.try_send(report.clone()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins the work. A queue that is started twice goes on with its first.
    pub(super) fn start<F>(&self, start: &mut Start, name: &'static str, work: impl FnOnce(Waiting) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(receiver) = receiver {
            let dropped = self.dropped.clone();
            start.task(name, move |stopping| work(Waiting { receiver, dropped, stopping }));
        }
    }
}

impl Waiting {
    /// The next report; `None` when the site stops and nothing is left.
    pub(super) async fn next(&mut self) -> Option<Arc<Report>> {
        let Self { receiver, stopping, .. } = self;
        let mut stop = pin!(stopping.wait());
        poll_fn(|cx| {
            if !receiver.is_closed() && stop.as_mut().poll(cx).is_ready() {
                receiver.close();
            }
            receiver.poll_recv(cx)
        })
        .await
    }

    /// How many did not fit since this was asked last.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}
