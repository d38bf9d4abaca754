//! `Mail`: reports by mail, equal failures in one.

use super::batch::{Collected, Courier, Group, Rest, Unsent};
use super::{Report, Reporter};
use crate::Result;
use crate::config::Secret;
use crate::site::Start;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Mails reports, with the feature `mail`: a hundred equal failures in a minute are one mail, which says how many.
///
/// Failures are collected for a minute from the first one on, then each kind (by its
/// [fingerprint](Report::fingerprint)) is a mail with the first report of it as text. Mail clients show those of one kind as a thread.
/// More than 10 kinds in a minute are 10 mails and a list of the others.
///
/// Mails are written and sent beside the requests: 256 reports may wait, and 100 kinds of failures; what comes faster is
/// counted. A server that does not answer is given up after 10 seconds and tried again with the mails of the next minute, five
/// times for each. When the site stops, what was collected is sent at once, and so is a start that failed, for which the
/// process ends up to five seconds later.
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
    to: String,
    collected: Collected<Post>,
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
        Ok(Self { to: told, collected: Collected::new(post) })
    }

    /// How long failures are collected, from the first one on; a minute by default.
    pub fn collect_for(mut self, time: Duration) -> Self {
        self.collected.collect_for(time);
        self
    }
}

/// For each step of the server.
const PATIENCE: Duration = Duration::from_secs(10);

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
        self.collected.push(report);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.collected.start(start, "mailing reports")
    }

    fn name(&self) -> String {
        format!("mail to {}", self.to)
    }
}

impl Courier for Post {
    const NAME: &'static str = "mail";

    async fn send(&self, group: &Group) -> Result<(), Unsent> {
        self.mail(group.subject(), body(group), Some(&group.first.fingerprint)).await
    }

    async fn send_rest(&self, rest: &Rest) -> Result<(), Unsent> {
        self.mail(rest.subject(), list(rest), None).await
    }
}

impl Post {
    async fn mail(&self, subject: String, body: String, thread: Option<&str>) -> Result<(), Unsent> {
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

fn list(rest: &Rest) -> String {
    let Rest { groups, others, dropped } = rest;
    let mut text = String::new();
    for group in groups {
        let report = &group.first;
        let headline = super::write::harmless(&report.one_line());
        text.push_str(&format!("{:>6} times  {}  {headline}\n", group.count, report.id));
    }
    if *others > 0 {
        text.push_str(&format!("{others:>6} of further kinds\n"));
    }
    if *dropped > 0 {
        text.push_str(&format!("{dropped:>6} that came too fast to be looked at\n"));
    }
    text
}
