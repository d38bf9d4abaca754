//! `Evidence`: what is known of a failure before anything is hidden; only a report comes out of it.

use super::redaction::Scrubber;
use super::scrub::between_words;
use super::trail::{Head, Left, Trail};
use super::{
    Desk, Origin, Program, Report, RequestFacts, RouteFacts, Setting, StackLine, TemplateFacts, User, fingerprint,
    frames,
};
use crate::site::Site;
use crate::template::TemplateError;
use crate::{Error, MatchedRoute};
use http::StatusCode;
use http::header::COOKIE;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Instant;

/// A failure as it was met.
#[derive(Clone, Copy)]
pub(crate) struct Evidence<'a> {
    pub(crate) origin: Origin,
    pub(crate) status: StatusCode,
    pub(crate) error: Option<&'a Error>,
    /// What the client is told.
    pub(crate) public: &'a str,
    /// What is said where there is no error.
    pub(crate) otherwise: &'a str,
    pub(crate) trail: Option<&'a Trail>,
    pub(crate) route: Option<&'a MatchedRoute>,
}

impl<'a> Evidence<'a> {
    /// A start that failed.
    pub(crate) fn of_start(error: &'a Error) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { origin: Origin::Start, status, error: Some(error), public: "", otherwise: "", trail: None, route: None }
    }

    /// The body of an answer that failed after its head had left.
    pub(crate) fn of_body(error: &'a Error, trail: &'a Trail, route: Option<&'a MatchedRoute>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let trail = Some(trail);
        Self { origin: Origin::Body, status, error: Some(error), public: "", otherwise: "", trail, route }
    }

    /// The report. Anything that a site's own code says of its values is called here, and may panic: then the report is made
    /// without what was sent.
    pub(super) fn report(self, desk: &Desk) -> Report {
        let whole = crate::panic::guarded(|| self.redacted(desk)).ok().flatten();
        whole.unwrap_or_else(|| {
            let mut scrubber = desk.redaction.scrubber();
            let mut report = self.bare(desk, &mut scrubber);
            report.message = "the report of this failure could not be made".to_owned();
            (report.causes, report.public) = (Vec::new(), String::new());
            report
        })
    }

    /// All of it, with what is secret hidden: first under its name, then wherever else it is. The second goes through the whole
    /// of what will be written, so that no field can be forgotten.
    fn redacted(self, desk: &Desk) -> Option<Report> {
        let mut scrubber = desk.redaction.scrubber();
        let report = self.told(desk, &mut scrubber);
        let mut value = serde_json::to_value(report).ok()?;
        // Nothing of these was sent, and a password `answer` must not make the report unreadable.
        let ours = ["id", "fingerprint", "time", "origin"].map(|name| (name, value[name].clone()));
        scrubber.everywhere(&mut value);
        for (name, own) in ours {
            value[name] = own;
        }
        serde_json::from_value(value).ok()
    }

    fn told(self, desk: &Desk, scrubber: &mut Scrubber<'_>) -> Report {
        let mut report = self.bare(desk, scrubber);
        let Some(trail) = self.trail else {
            return report;
        };
        let left = trail.left();
        report.request = Some(request(trail.head(), &left, scrubber));
        report.session = session(&left, scrubber);
        report.user = user(&left, scrubber);
        report.template = self.template(&left, scrubber);
        if let Some(recording) = trail.recording() {
            report.log = recording.lines();
        }
        report.spans = self.error.map(|error| error.spans().to_vec()).unwrap_or_default();
        let fields = report.log.iter_mut().map(|line| &mut line.fields);
        for (name, value) in fields.chain(report.spans.iter_mut().map(|span| &mut span.fields)).flatten() {
            *value = scrubber.named(name, std::mem::take(value));
        }
        report
    }

    /// Without what was sent.
    fn bare(self, desk: &Desk, scrubber: &mut Scrubber<'_>) -> Report {
        let error = self.error;
        let route = self.route(desk.site(), scrubber);
        let mut messages = error.into_iter().flat_map(Error::chain);
        let message = messages.next().unwrap_or_else(|| self.otherwise.to_owned());
        let layer = error.and_then(Error::layer).map(str::to_owned);
        Report {
            id: id(),
            fingerprint: fingerprint::of(error, self.status.as_u16(), route.as_ref().map(|route| route.path.as_str())),
            time: now(),
            origin: self.origin,
            status: self.status.as_u16(),
            message,
            public: self.public.to_owned(),
            kind: error.and_then(Error::kind).map(str::to_owned),
            panic: error.is_some_and(Error::is_panic),
            causes: messages.collect(),
            places: error.map(|error| error.places().to_vec()).unwrap_or_default(),
            stack: self.stack(desk.site(), route.as_ref(), layer.as_deref()),
            layer,
            route,
            frames: error.and_then(Error::backtrace).map(|trace| frames::read(&trace.to_string())).unwrap_or_default(),
            request: None,
            session: None,
            user: None,
            template: None,
            spans: Vec::new(),
            log: Vec::new(),
            config: desk.settings.iter().map(|setting| shown(setting, scrubber)).collect(),
            program: program(desk),
        }
    }

    /// The route that was matched, or, if the answer does not tell, would be.
    fn route(self, site: Option<&Site>, scrubber: &mut Scrubber<'_>) -> Option<RouteFacts> {
        let path = self.trail.map(|trail| trail.head().uri.path());
        let pattern = self.route.map(MatchedRoute::pattern).or(self.error.and_then(Error::route));
        let known = site
            .zip(path)
            .and_then(|(site, path)| site.route_at(path, pattern, self.route.and_then(MatchedRoute::host)));
        let (path, name, place, params) = match known {
            Some((route, params)) => (route.path.clone(), route.name.clone(), Some(route.place.to_string()), params),
            None => {
                let params = path.zip(pattern).and_then(|(path, pattern)| crate::site::params(pattern, path));
                (pattern?.to_owned(), None, None, params.unwrap_or_default())
            }
        };
        let params = params.into_iter().map(|(name, value)| {
            let decoded = percent_encoding::percent_decode_str(&value).decode_utf8_lossy().into_owned();
            if scrubber.named(&name, decoded.clone()) != decoded {
                // As it stands in the path, too.
                return (name, scrubber.hidden(&value));
            }
            (name, decoded)
        });
        Some(RouteFacts { path, name, place, params: params.collect() })
    }

    fn stack(self, site: Option<&Site>, route: Option<&RouteFacts>, layer: Option<&str>) -> Vec<StackLine> {
        let Some((site, trail)) = site.zip(self.trail) else {
            return Vec::new();
        };
        let head = trail.head();
        let host = self.route.and_then(MatchedRoute::host);
        let met = site.layers_on(&head.method, head.uri.path(), route.map(|route| route.path.as_str()), host);
        let mut stack: Vec<_> = met
            .into_iter()
            .map(|layer| StackLine { name: layer.name.clone(), place: layer.line(), failed: false })
            .collect();
        // Of two by one name, the inner: an outer one would have named itself last.
        if let Some(failed) = layer.and_then(|name| stack.iter_mut().rfind(|line| line.name == name)) {
            failed.failed = true;
        }
        stack
    }

    fn template(self, left: &Left, scrubber: &mut Scrubber<'_>) -> Option<TemplateFacts> {
        let view = left.view.as_ref()?;
        let context = view.context_json().unwrap_or_else(|error| Value::from(format!("no JSON: {error}")));
        let fault = self.error.and_then(|error| error.downcast_ref::<TemplateError>());
        Some(TemplateFacts {
            name: view.template().to_owned(),
            context: scrubber.json("", context),
            excerpt: fault.and_then(TemplateError::excerpt).map(ToString::to_string),
        })
    }
}

fn request(head: &Head, left: &Left, scrubber: &mut Scrubber<'_>) -> RequestFacts {
    let body = left.body.as_ref();
    let query = pairs(head.uri.query().unwrap_or_default().as_bytes(), scrubber);
    let mut headers = Vec::new();
    let sent = head.headers();
    for (name, value) in sent.iter().filter(|(name, _)| *name != COOKIE) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = if value.contains("://") { url_in_header(&value, scrubber) } else { value.into_owned() };
        headers.push((name.as_str().to_owned(), scrubber.named(name.as_str(), value)));
    }
    let cookies = crate::cookie::pairs(sent.get_all(COOKIE));
    let cookies = cookies.map(|(name, value)| (name.to_owned(), scrubber.hidden(value))).collect();
    // Whatever of the line was no cookie.
    sent.get_all(COOKIE).iter().for_each(|line| {
        scrubber.hidden(&String::from_utf8_lossy(line.as_bytes()));
    });
    let content_type = body.and_then(|body| body.content_type.as_ref()?.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let bytes = body.map(|body| &*body.bytes).unwrap_or_default();
    let is_form = essence == "application/x-www-form-urlencoded";
    let mut form = if is_form { pairs(bytes, scrubber) } else { Vec::new() };
    form.extend(named(left.fields.iter().map(|(name, value)| (name.into(), value.into())), scrubber));
    let is_json = essence == "application/json" || essence.ends_with("+json");
    let json = is_json.then(|| serde_json::from_slice(bytes).ok()).flatten();
    // Also what is too long to be shown may have a secret in it, which a message repeats.
    let json = json.map(|json| scrubber.json("", json)).filter(|_| bytes.len() <= LONGEST_JSON);
    RequestFacts {
        id: left.id.as_ref().map(ToString::to_string),
        method: head.method.to_string(),
        url: head.uri.to_string(),
        version: format!("{:?}", head.version),
        peer: match head.client {
            Some(client) => client.ip().map(|ip| ip.to_string()),
            None => head.peer.map(|peer| peer.to_string()),
        },
        headers,
        cookies,
        query,
        form,
        json,
        body_bytes: body.map(|body| body.bytes.len() as u64),
    }
}

/// A longer JSON body is not shown.
const LONGEST_JSON: usize = 64 << 10;

/// More fields are not shown, and of each not more than this.
const MOST_FIELDS: usize = 200;
const LONGEST_FIELD: usize = 2 << 10;

/// More fields are not looked at, in which a secret could be.
const MOST_LOOKED_AT: usize = 10_000;

fn pairs(text: &[u8], scrubber: &mut Scrubber<'_>) -> Vec<(String, String)> {
    named(form_urlencoded::parse(text), scrubber)
}

fn named<'a>(
    pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    scrubber: &mut Scrubber<'_>,
) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    for (name, value) in pairs.take(MOST_LOOKED_AT) {
        let value = scrubber.named(&name, value);
        if shown.len() < MOST_FIELDS {
            shown.push((between_words(&name, LONGEST_FIELD), between_words(&value, LONGEST_FIELD)));
        }
    }
    shown
}

/// `Referer` is an address of the site with a query of its own, whose secrets are to be known.
fn url_in_header(value: &str, scrubber: &mut Scrubber<'_>) -> String {
    if let Some((_, query)) = value.split_once('?') {
        pairs(query.split('#').next().unwrap_or_default().as_bytes(), scrubber);
    }
    value.to_owned()
}

fn session(left: &Left, scrubber: &mut Scrubber<'_>) -> Option<Map<String, Value>> {
    let session = left.session.as_ref()?.loaded()?;
    let mut values = Map::new();
    for (name, text) in session.texts() {
        let value = serde_json::from_str(&text).unwrap_or_else(|_| text.into());
        // What Purlin keeps there (the token of forms, the account's stamp) is nobody's business but for the messages.
        if name.starts_with('_') && !name.starts_with("_flash") {
            values.insert(name, scrubber.hidden_json(&value));
            continue;
        }
        values.insert(name.clone(), scrubber.json(&name, value));
    }
    if let Some(id) = session.token() {
        scrubber.hidden(&id);
    }
    Some(values)
}

#[cfg(feature = "auth")]
fn user(left: &Left, scrubber: &mut Scrubber<'_>) -> Option<User> {
    let user = left.visitor.as_ref()?.known()?;
    if let Some(hash) = user.password_hash() {
        scrubber.hidden(hash);
    }
    scrubber.hidden(user.stamp());
    Some(User { id: user.id(), name: user.name() })
}

#[cfg(not(feature = "auth"))]
fn user(_: &Left, _: &mut Scrubber<'_>) -> Option<User> {
    None
}

fn shown(setting: &crate::config::Setting, scrubber: &mut Scrubber<'_>) -> Setting {
    let value = scrubber.named(&setting.key, setting.value.as_str());
    Setting { key: setting.key.clone(), value, source: setting.source.to_string() }
}

/// Random, so that it names one report among all processes and tells nothing.
fn id() -> String {
    let mut bytes = [0; 8];
    // Without randomness the time will do: it is no secret.
    if getrandom::fill(&mut bytes).is_err() {
        let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        bytes = (nanos as u64).to_be_bytes();
    }
    bytes.iter().fold(String::with_capacity(16), |mut id, byte| {
        // Writing into a string does not fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// The time as the log writes it.
fn now() -> String {
    use tracing_subscriber::fmt::format::Writer;
    use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
    let mut time = String::with_capacity(32);
    match SystemTime.format_time(&mut Writer::new(&mut time)) {
        Ok(()) => time,
        Err(_) => String::new(),
    }
}

fn program(desk: &Desk) -> Program {
    static NAME: OnceLock<String> = OnceLock::new();
    static HOST: OnceLock<Option<String>> = OnceLock::new();
    let name = || {
        let path = std::env::current_exe().ok();
        path.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())).unwrap_or_default()
    };
    let host = || {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
        host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty())
    };
    Program {
        name: NAME.get_or_init(name).clone(),
        release: desk.release.clone(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        purlin: env!("CARGO_PKG_VERSION").to_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        host: HOST.get_or_init(host).clone(),
        process: std::process::id(),
        uptime_seconds: desk.since.map_or(0, |since: Instant| since.elapsed().as_secs()),
    }
}
