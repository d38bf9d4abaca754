//! `Collected`: the failures of a minute, equal ones in one, on their way to somebody who may be slow.

use super::queue::{Queue, Waiting};
use super::{Report, write};
use crate::Result;
use crate::site::Start;
use std::collections::BTreeMap;
use std::mem::take;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Brings what was collected to where it is read.
pub(super) trait Courier: Send + Sync + 'static {
    /// As the log calls it: `mail`.
    const NAME: &'static str;

    /// Whether it can do so at all; yes, if it does not say otherwise.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Sends failures of one kind.
    fn send(&self, group: &Group) -> impl Future<Output = Result<(), Unsent>> + Send;

    /// Sends the list of what was too much for more than a line each.
    fn send_rest(&self, rest: &Rest) -> impl Future<Output = Result<(), Unsent>> + Send;
}

/// Why something was not sent.
pub(super) struct Unsent {
    pub(super) text: String,
    /// Whether the other side said so; else the rest is not tried, since each would be waited for.
    pub(super) is_answer: bool,
}

/// Failures of one kind.
pub(super) struct Group {
    pub(super) first: Arc<Report>,
    /// The time of the last.
    pub(super) last: String,
    pub(super) count: u64,
    tries: u32,
}

impl Group {
    /// What it is about, on one line.
    pub(super) fn subject(&self) -> String {
        let report = &self.first;
        let mut headline = write::harmless(&report.headline()).replace(['\n', '\t'], " ");
        headline.truncate(headline.floor_char_boundary(120));
        let count = if self.count > 1 { format!(" ({} times)", self.count) } else { String::new() };
        format!("[{}] {} {headline}{count}", report.program.name, report.status)
    }
}

/// What was too much.
pub(super) struct Rest {
    pub(super) groups: Vec<Group>,
    /// Of further kinds.
    pub(super) others: u64,
    /// What came too fast to be looked at.
    pub(super) dropped: u64,
}

impl Rest {
    /// What it is about, on one line.
    pub(super) fn subject(&self) -> String {
        format!("{} more kinds of failures", self.groups.len())
    }

    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.others == 0 && self.dropped == 0
    }
}

/// Of one round; the other kinds are in a list.
const MOST_SENT: usize = 10;

/// Kinds of failures that are collected.
const MOST_KINDS: usize = 100;

/// How often one kind is tried.
const TRIES: u32 = 5;

/// Collects reports from the first on, for a minute if nobody says otherwise, then gives them to the courier: each kind once.
pub(super) struct Collected<C> {
    courier: Mutex<Option<C>>,
    collect_for: Duration,
    queue: Queue,
}

impl<C: Courier> Collected<C> {
    pub(super) fn new(courier: C) -> Self {
        Self { courier: Mutex::new(Some(courier)), collect_for: Duration::from_secs(60), queue: Queue::new() }
    }

    pub(super) fn collect_for(&mut self, time: Duration) {
        self.collect_for = time;
    }

    /// To be told more; none once it has started.
    #[cfg(feature = "webhook")]
    pub(super) fn courier(&mut self) -> Option<&mut C> {
        self.courier.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    pub(super) fn push(&self, report: &Arc<Report>) {
        self.queue.push(report);
    }

    /// Begins the work, if the courier finds that it can be done. Started twice (by a test, say), it goes on with its first
    /// start.
    pub(super) fn start(&self, start: &mut Start, name: &'static str) -> Result<()> {
        let courier = self.courier.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(courier) = courier {
            courier.check()?;
            let collect_for = self.collect_for;
            self.queue.start(start, name, move |waiting| work(waiting, Arc::new(courier), collect_for));
        }
        Ok(())
    }
}

/// Collects and sends, at the same time: while a server is waited for, failures are still counted.
async fn work<C: Courier>(mut waiting: Waiting, courier: Arc<C>, collect_for: Duration) {
    let mut batch = Batch::default();
    let mut sending: Option<JoinHandle<Vec<Group>>> = None;
    let mut due: Option<Instant> = None;
    loop {
        let next = {
            let next = pin!(waiting.next());
            match due {
                Some(due) => timeout_at(due, next).await,
                None => Ok(next.await),
            }
        };
        batch.dropped += waiting.dropped();
        match next {
            Ok(Some(report)) => {
                batch.add(report);
                due.get_or_insert_with(|| Instant::now() + collect_for);
            }
            // The site stops: what there is leaves now.
            Ok(None) => break,
            Err(_) => {
                if sending.as_ref().is_none_or(JoinHandle::is_finished) {
                    if let Some(sent) = sending.take() {
                        batch.again(sent.await.unwrap_or_default());
                    }
                    if !batch.is_empty() {
                        sending = Some(tokio::spawn(send(courier.clone(), take(&mut batch))));
                    }
                }
                // Then it is seen what became of what is being sent.
                due = sending.is_some().then(|| Instant::now() + collect_for.max(Duration::from_secs(1)));
            }
        }
    }
    if let Some(sent) = sending {
        batch.again(sent.await.unwrap_or_default());
    }
    send(courier, batch).await;
}

/// What was collected.
#[derive(Default)]
struct Batch {
    groups: BTreeMap<String, Group>,
    others: u64,
    dropped: u64,
}

impl Batch {
    fn add(&mut self, report: Arc<Report>) {
        if let Some(group) = self.groups.get_mut(&report.fingerprint) {
            group.count += 1;
            group.last.clone_from(&report.time);
        } else if self.groups.len() < MOST_KINDS {
            let group = Group { last: report.time.clone(), first: report.clone(), count: 1, tries: 0 };
            self.groups.insert(report.fingerprint.clone(), group);
        } else {
            self.others += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.others == 0 && self.dropped == 0
    }

    /// What could not be sent goes with the next.
    fn again(&mut self, unsent: Vec<Group>) {
        for group in unsent {
            if let Some(newer) = self.groups.get_mut(&group.first.fingerprint) {
                newer.count += group.count;
                newer.tries = group.tries;
                newer.first = group.first;
            } else if self.groups.len() < MOST_KINDS {
                self.groups.insert(group.first.fingerprint.clone(), group);
            } else {
                self.others += group.count;
            }
        }
    }
}

/// Sends a batch; what could not be sent and is to be tried again comes back.
async fn send<C: Courier>(courier: Arc<C>, batch: Batch) -> Vec<Group> {
    let Batch { groups, others, dropped } = batch;
    let mut groups: Vec<Group> = groups.into_values().collect();
    // The most frequent are told in full.
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    let rest = Rest { groups: groups.split_off(groups.len().min(MOST_SENT)), others, dropped };
    let mut unsent = Vec::new();
    let mut is_down = false;
    for mut group in groups {
        // A server that does not answer is not waited for with each of them.
        if !is_down {
            let Err(error) = courier.send(&group).await else {
                continue;
            };
            is_down = !error.is_answer;
            let (report, count, error) = (&group.first.id, group.count, error.text);
            tracing::error!(target: "purlin::report", by = C::NAME, report, count, error, "a report could not be sent");
        }
        group.tries += 1;
        if group.tries < TRIES {
            unsent.push(group);
        }
    }
    if !rest.is_empty()
        && !is_down
        && let Err(Unsent { text: error, .. }) = courier.send_rest(&rest).await
    {
        let kinds = rest.groups.len();
        tracing::error!(target: "purlin::report", by = C::NAME, kinds, error, "a list of failures could not be sent");
    }
    unsent
}
