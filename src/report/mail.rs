//! `Mail`: reports by mail, equal failures in one.

use super::queue::{Queue, Waiting};
use super::{Origin, Report, Reporter};
use crate::Result;
use crate::config::Secret;
use crate::site::Start;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::collections::BTreeMap;
use std::fmt;
use std::mem::take;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Mails reports, with the feature `mail`: a hundred equal failures in a minute are one mail, which says how many.
///
/// Failures are collected for a minute from the first one on, then each kind (by its
/// [fingerprint](Report::fingerprint)) is a mail with the first report of it as text. Mail clients show those of one kind as a thread.
/// More than 10 kinds in a minute are 10 mails and a list of the others.
///
/// Mails are written and sent beside the requests: 256 reports may wait, and 100 kinds of failures; what comes faster is
/// counted. A server that does not answer is given up after 10 seconds and tried again with the mails of the next minute, five
/// times for each. When the site stops, what was collected is sent at once. A start that fails is not mailed: the process
/// ends before a server could answer.
///
/// ```
/// use purlin::config::Secret;
/// use purlin::layers::ErrorPages;
/// use purlin::report::Mail;
///
/// let server = Secret::new("smtps://site:password@mail.example.org");
/// let mail = Mail::new(&server, "Wiki <wiki@example.org>", "ops@example.org")?;
/// let pages = ErrorPages::new().reporter(mail);
/// # Ok::<(), purlin::report::MailError>(())
/// ```
pub struct Mail {
    post: Mutex<Option<Post>>,
    collect_for: Duration,
    to: String,
    queue: Queue,
}

/// How the mails leave.
struct Post {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    /// By this server, from and to these addresses, each as `Name <user@host>` or `user@host`; of receivers there may be more,
    /// with commas between.
    ///
    /// The server's URL is `smtps://user:password@host` (TLS from the beginning, port 465),
    /// `smtp://user:password@host:587?tls=required` (TLS by `STARTTLS`), or `smtp://localhost:25` for a server on this
    /// machine, without TLS.
    ///
    /// # Errors
    ///
    /// One of them cannot be read.
    pub fn new(server: &Secret, from: &str, to: &str) -> Result<Self, MailError> {
        let url = server.expose_str();
        // The cause would tell the URL, and the password in it.
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|_| MailError::Server)?;
        let address = |text: &str| {
            let parsed: Result<Mailbox, _> = text.trim().parse();
            parsed.map_err(|_| MailError::Address { found: text.trim().to_owned() })
        };
        let to = to.split(',').map(address).collect::<Result<Vec<_>, _>>()?;
        let told = to.iter().map(|to| to.email.to_string()).collect::<Vec<_>>().join(", ");
        let post = Post { server: server.timeout(Some(PATIENCE)).build(), from: address(from)?, to };
        Ok(Self { post: Mutex::new(Some(post)), collect_for: COLLECT_FOR, to: told, queue: Queue::new() })
    }

    /// How long failures are collected, from the first one on; a minute by default.
    pub fn collect_for(mut self, time: Duration) -> Self {
        self.collect_for = time;
        self
    }
}

const COLLECT_FOR: Duration = Duration::from_secs(60);

/// For each step of the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Mails of one minute.
const MOST_MAILS: usize = 10;

/// Kinds of failures that are collected.
const MOST_KINDS: usize = 100;

/// How often a mail is tried.
const TRIES: u32 = 5;

/// Why there can be no mails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MailError {
    /// The URL of the server cannot be read. It is not shown, since it may hold a password.
    Server,
    /// An address cannot be read.
    Address {
        /// As it was written.
        found: String,
    },
}

impl fmt::Display for MailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str(
                "expected a mail server as smtps://user:password@host or smtp://host:25, found a URL that cannot be read",
            ),
            Self::Address { found } => {
                write!(f, "expected a mail address as user@host or Name <user@host>, found {found:?}")
            }
        }
    }
}

impl std::error::Error for MailError {}

impl Reporter for Mail {
    fn report(&self, report: &Arc<Report>) {
        if report.origin != Origin::Start {
            self.queue.push(report);
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        // Started twice (by a test, say), it goes on with its first start.
        if let Some(post) = self.post.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let collect_for = self.collect_for;
            self.queue.start(start, "mailing reports", move |waiting| work(waiting, Arc::new(post), collect_for));
        }
        Ok(())
    }

    fn name(&self) -> String {
        format!("mail to {}", self.to)
    }
}

/// Collects and sends, at the same time: while a server is waited for, failures are still counted.
async fn work(mut waiting: Waiting, post: Arc<Post>, collect_for: Duration) {
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
                        sending = Some(tokio::spawn(send(post.clone(), take(&mut batch))));
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
    send(post, batch).await;
}

/// Failures of one kind.
struct Group {
    first: Arc<Report>,
    last: String,
    count: u64,
    tries: u32,
}

/// What was collected.
#[derive(Default)]
struct Batch {
    groups: BTreeMap<String, Group>,
    /// Of further kinds.
    others: u64,
    /// What came too fast to be looked at.
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
async fn send(post: Arc<Post>, batch: Batch) -> Vec<Group> {
    let Batch { groups, others, dropped } = batch;
    let mut groups: Vec<Group> = groups.into_values().collect();
    // The most frequent get a mail of their own.
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    let rest = groups.split_off(groups.len().min(MOST_MAILS));
    let mut unsent = Vec::new();
    let mut is_down = false;
    for mut group in groups {
        // One that does not answer is not waited for with each mail.
        if !is_down {
            let thread = Some(group.first.fingerprint.as_str());
            let Err(error) = post.send(subject(&group), body(&group), thread).await else {
                continue;
            };
            is_down = !error.is_answer;
            let (report, count, error) = (&group.first.id, group.count, error.text);
            tracing::error!(target: "purlin::report", report, count, error, "a report could not be mailed");
        }
        group.tries += 1;
        if group.tries < TRIES {
            unsent.push(group);
        }
    }
    if !rest.is_empty() || others > 0 || dropped > 0 {
        let subject = format!("{} more kinds of failures", rest.len());
        if !is_down
            && let Err(Unsent { text: error, .. }) = post.send(subject, list(&rest, others, dropped), None).await
        {
            tracing::error!(target: "purlin::report", kinds = rest.len(), error, "a list of failures could not be mailed");
        }
    }
    unsent
}

impl Post {
    async fn send(&self, subject: String, body: String, thread: Option<&str>) -> Result<(), Unsent> {
        let mut mail = Message::builder().from(self.from.clone()).subject(subject);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        // No answer by a machine, such as of someone who is away, is wanted (RFC 3834 §5).
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        mail = mail.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        if let Some(thread) = thread {
            mail = mail.references(format!("<{thread}@reports.invalid>"));
        }
        let mail = mail.header(ContentType::TEXT_PLAIN).body(body);
        let mail = mail.map_err(|error| Unsent { text: error.to_string(), is_answer: true })?;
        self.server.send(mail).await.map(drop).map_err(|error| {
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |cause| cause.source());
            let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
            Unsent { text, is_answer: error.is_transient() || error.is_permanent() }
        })
    }
}

/// Why a mail was not sent.
struct Unsent {
    text: String,
    /// Whether the server said so.
    is_answer: bool,
}

fn subject(group: &Group) -> String {
    let report = &group.first;
    let headline = super::write::harmless(&report.headline()).replace(['\n', '\t'], " ");
    let mut headline = headline;
    headline.truncate(headline.floor_char_boundary(120));
    let count = if group.count > 1 { format!(" ({} times)", group.count) } else { String::new() };
    format!("[{}] {} {headline}{count}", report.program.name, report.status)
}

fn body(group: &Group) -> String {
    let report = &group.first;
    match group.count {
        1 => report.to_string(),
        count => {
            let (first, last) = (&report.time, &group.last);
            format!("{count} times, from {first} to {last}. The first one:\n\n{report}")
        }
    }
}

fn list(rest: &[Group], others: u64, dropped: u64) -> String {
    let mut text = String::new();
    for group in rest {
        let report = &group.first;
        let headline = super::write::harmless(&report.one_line());
        text.push_str(&format!("{:>6} times  {}  {headline}\n", group.count, report.id));
    }
    if others > 0 {
        text.push_str(&format!("{others:>6} of further kinds\n"));
    }
    if dropped > 0 {
        text.push_str(&format!("{dropped:>6} that came too fast to be looked at\n"));
    }
    text
}
