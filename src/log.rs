//! The log as a site starts it: lines for people, or one JSON object an event.
//!
//! A site that wants another subscriber sets it before [`run`](crate::run()): the first one stays.

pub(crate) mod request;

use crate::config::{LogConfig, LogFormat};
use crate::recording;
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, OnceLock, RwLock};
use std::time::{Duration, SystemTime};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layered};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// Starts the log on standard error, unless a subscriber is set already.
///
/// As text it is coloured on a terminal, or with `CLICOLOR_FORCE` set, and never with `NO_COLOR`. As JSON each line is an object with `timestamp`, `level`,
/// `target` and the event's own fields.
///
/// # Errors
///
/// A filter that cannot be read, with the filter.
pub fn start(config: &LogConfig) -> crate::Result<()> {
    let targets: Targets = config.level.parse().map_err(|error| {
        crate::Error::internal(format!(
            "expected a level (error, warn, info, debug, trace) or `target=level` in the setting `log.level`, found {:?}: {error}",
            config.level
        ))
    })?;
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr()) || is_set("CLICOLOR_FORCE");
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    let lines = Lines { format: config.format, colours, process: process() };
    let below = Registry::default().with(targets);
    #[cfg(feature = "opentelemetry")]
    let below = below.with(crate::traces::log_spans());
    let log = Log(below.with(Recorder::new()).with(lines));
    // An error says that one is set already: the site's own stays.
    if tracing::subscriber::set_global_default(log).is_ok() {
        let _ = OURS.set(config.format);
    }
    Ok(())
}

/// How the log of this process is written, if it is ours.
static OURS: OnceLock<LogFormat> = OnceLock::new();

/// Why a site does not start is said once on standard error: by [`run`](crate::run()) for people, and in a log for programs by the
/// event, if there is one.
pub(crate) struct FailedStart {
    is_run: AtomicBool,
    is_logged: AtomicBool,
}

pub(crate) static FAILED_START: FailedStart =
    FailedStart { is_run: AtomicBool::new(false), is_logged: AtomicBool::new(false) };

impl FailedStart {
    /// `run` is going to print it.
    pub(crate) fn printed_by_run(&self) {
        self.is_run.store(true, Ordering::Relaxed);
    }

    /// Whether it is to be an event as well; `is_kept` says whether the subscriber takes it.
    pub(crate) fn wants_event(&self, is_kept: bool) -> bool {
        if !self.is_run.load(Ordering::Relaxed) {
            return true;
        }
        match OURS.get() {
            Some(LogFormat::Text) => false,
            Some(LogFormat::Json) => {
                self.is_logged.fetch_or(is_kept, Ordering::Relaxed);
                true
            }
            None => true,
        }
    }

    /// Whether an event has said it already.
    pub(crate) fn is_logged(&self) -> bool {
        self.is_logged.load(Ordering::Relaxed)
    }
}

/// Writes a line that another process of this site has logged.
#[cfg(unix)]
pub(crate) fn pass_on(line: &str) {
    static IS_CHILD: LazyLock<bool> = LazyLock::new(|| process().is_some());
    // Its parent passes it on again.
    let line = if *IS_CHILD { format!("{}{line}\n", crate::spawn::LOGGED) } else { format!("{line}\n") };
    // Nobody is left to be told.
    let _ = StandardError.write_all(line.as_bytes());
}

/// The name of this process, for one that was started by another of this site, whose log its lines go into.
#[cfg(unix)]
fn process() -> Option<String> {
    std::env::var(crate::spawn::NAME).ok().filter(|_| std::env::var_os(crate::spawn::CONTROL).is_some())
}

#[cfg(not(unix))]
fn process() -> Option<String> {
    None
}

/// What [`start`] starts. Before it tells anybody of an event or a span, it makes those that are made late: see [`request`].
struct Log(Layered<Lines, Layered<Recorder, Below>>);

/// What stands below the layers that are always there.
#[cfg(not(feature = "opentelemetry"))]
type Below = Layered<Targets, Registry>;
#[cfg(feature = "opentelemetry")]
type Below = Layered<crate::traces::Spans<Layered<Targets, Registry>>, Layered<Targets, Registry>>;

impl Subscriber for Log {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        self.0.on_register_dispatch(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.max_level_hint()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        request::make();
        self.0.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.0.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.record_follows_from(span, follows);
    }

    fn event_enabled(&self, event: &Event<'_>) -> bool {
        self.0.event_enabled(event)
    }

    fn event(&self, event: &Event<'_>) {
        request::make();
        self.0.event(event);
    }

    fn enter(&self, span: &Id) {
        request::make();
        self.0.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.0.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.0.clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.0.try_close(span)
    }

    fn current_span(&self) -> Current {
        request::make();
        self.0.current_span()
    }
}

/// Keeps what a request logs, for its report: part of what [`start`] starts, and to be added by a site that has a subscriber
/// of its own.
///
/// It does nothing but for requests below [`ErrorPages`](crate::layers::ErrorPages) with
/// [`log_lines`](crate::layers::ErrorPages::log_lines).
///
/// ```
/// use purlin::log::Recorder;
/// use tracing_subscriber::prelude::*;
///
/// let subscriber = tracing_subscriber::registry().with(Recorder::new());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorder {
    _private: (),
}

impl Recorder {
    /// There are no options.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        recording::begin(id, || {
            let mut kept = Kept::default();
            attributes.record(&mut kept);
            let metadata = attributes.metadata();
            recording::Span { name: metadata.name().to_owned(), target: metadata.target().to_owned(), fields: kept.0 }
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        recording::record(id, || {
            let mut kept = Kept::default();
            values.record(&mut kept);
            kept.0
        });
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        recording::enter(id);
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        recording::exit(id);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        recording::add(|| {
            let mut kept = Kept::default();
            event.record(&mut kept);
            let message = kept.0.iter().position(|(name, _)| name == "message").map(|at| kept.0.remove(at).1);
            let metadata = event.metadata();
            recording::Line {
                after_ms: 0,
                level: metadata.level().to_string(),
                target: metadata.target().to_owned(),
                message: message.unwrap_or_default(),
                fields: kept.0,
            }
        });
    }
}

/// Fields and their values as text, bounded.
#[derive(Default)]
struct Kept(Vec<(String, String)>);

impl Kept {
    const MOST: usize = 32;
    const LONGEST: usize = 4096;

    fn put(&mut self, field: &Field, value: String) {
        let value = crate::report::between_words(&value, Self::LONGEST);
        // Recorded again, a field has its new value.
        self.0.retain(|(name, _)| name != field.name());
        if self.0.len() < Self::MOST {
            self.0.push((field.name().to_owned(), value));
        }
    }
}

impl Visit for Kept {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // As for `Fields`.
        let _ = write!(text, "{value:?}");
        self.put(field, text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }
}

/// Standard error without its lock, for which the threads of a busy site would queue: what fits into one write of a pipe is
/// not mixed with others (`PIPE_BUF`, 4096 bytes on Linux), and longer lines wait for each other.
struct StandardError;

static LONG_LINES: RwLock<()> = RwLock::new(());

const PIPE_BUF: usize = 4096;

impl io::Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    #[cfg(unix)]
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        static FILE: LazyLock<io::Result<std::fs::File>> = LazyLock::new(|| {
            use std::os::fd::AsFd;
            io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from)
        });
        let Ok(mut file) = FILE.as_ref() else {
            return io::stderr().write_all(line);
        };
        let (_short, _long);
        if line.len() <= PIPE_BUF {
            _short = LONG_LINES.read();
        } else {
            _long = LONG_LINES.write();
        }
        file.write_all(line)
    }

    #[cfg(not(unix))]
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        io::stderr().write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fields of a span, written once when it begins: `name=value`, with texts in quotes.
struct SpanFields(String);

impl SpanFields {
    fn name(&mut self, field: &Field) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(field.name());
        self.0.push('=');
    }
}

impl Visit for SpanFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.0.push_str(&one_line(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        // Nothing to escape in what nearly all methods, paths and ids are.
        if is_plain(value.as_bytes()) && value.is_ascii() && !value.as_bytes().contains(&0x7f) {
            self.0.push('"');
            self.0.push_str(value);
            self.0.push('"');
        } else {
            // Writing into a string does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// Whether a text stands between quotes as it is: no byte of it is below a space, a quote or a backslash.
fn is_plain(text: &[u8]) -> bool {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // Eight bytes at a time, whose highest bits tell of each whether it is below a limit.
    let below = |word: u64, limit: u8| word.wrapping_sub(each(limit)) & !word;
    let (words, rest) = text.as_chunks();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mut found = 0;
    for word in words.iter().chain([&last]) {
        let word = u64::from_ne_bytes(*word);
        found |= below(word, b' ') | below(word ^ each(b'"'), 1) | below(word ^ each(b'\\'), 1);
    }
    found & each(0x80) == 0
}

/// Now, in UTC, as RFC 3339 writes it: `2026-11-22T01:50:33.123456Z`.
struct Now([u8; 27]);

impl Now {
    fn new() -> Self {
        thread_local! {
            /// A second, and how it is written: all but the last digits are the same for what is logged within it.
            static SECOND: Cell<(u64, [u8; 27])> = const { Cell::new((u64::MAX, [0; 27])) };
        }
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let (known, mut text) = SECOND.get();
        if known != since.as_secs() {
            text = second(since.as_secs());
            SECOND.set((since.as_secs(), text));
        }
        let mut rest = since.subsec_micros();
        for digit in text[20..26].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        // Digits and signs, all of them written in `second`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A second since 1970, its fractions at nought. After the year 9999 it is that year's last one.
fn second(seconds: u64) -> [u8; 27] {
    const LAST: u64 = 253_402_300_799;
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)));
    let date = date.as_bytes();
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let month = MONTHS.iter().position(|month| **month == date[8..11]).unwrap_or_default() + 1;
    text[..4].copy_from_slice(&date[12..16]);
    text[5..7].copy_from_slice(&[b'0' + (month / 10) as u8, b'0' + (month % 10) as u8]);
    text[8..10].copy_from_slice(&date[5..7]);
    text[11..19].copy_from_slice(&date[17..25]);
    text
}

/// Writes each event as a line.
struct Lines {
    format: LogFormat,
    colours: bool,
    process: Option<String>,
}

thread_local! {
    /// The memory of this thread's last line.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Memory of longer lines is not kept.
const LONGEST_KEPT: usize = 16 * 1024;

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // In one piece: it would grow with each field.
        let mut fields = SpanFields(String::with_capacity(128));
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Not under the lock: a `Debug` may log something.
        let mut new = SpanFields(String::new());
        values.record(&mut new);
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut() {
            if !fields.is_empty() {
                fields.push(' ');
            }
            fields.push_str(&new.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // A `Debug` that logs something finds none, and makes its own.
        let mut line = LINE.try_with(Cell::take).unwrap_or_default();
        #[cfg(unix)]
        if self.process.is_some() {
            // Writing into memory does not fail, here and below.
            let _ = write!(line, "{}", crate::spawn::LOGGED);
        }
        match self.format {
            LogFormat::Json => self.object(&mut line, event, &context),
            LogFormat::Text => _ = self.text(&mut line, event, &context),
        }
        // Nobody is left to be told.
        let _ = StandardError.write_all(&line);
        if line.capacity() <= LONGEST_KEPT {
            line.clear();
            let _ = LINE.try_with(|kept| kept.set(line));
        }
    }
}

impl Lines {
    fn object<S>(&self, line: &mut Vec<u8>, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut object = Object::new(line, Now::new().as_str(), event.metadata());
        if let Some(span) = context.lookup_current()
            && let Some(SpanFields(fields)) = span.extensions().get()
        {
            object.put_str("span", &format!("{} {fields}", span.name()));
        }
        event.record(&mut object);
        #[cfg(feature = "opentelemetry")]
        if let Some((trace, span)) = crate::traces::ids() {
            object.put_str("trace_id", &trace.to_string());
            object.put_str("span_id", &span.to_string());
        }
        if let Some(process) = &self.process {
            object.put_str("process", process);
        }
        line.extend_from_slice(b"}\n");
    }

    fn text<S>(&self, line: &mut Vec<u8>, event: &Event<'_>, context: &Context<'_, S>) -> io::Result<()>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let paint = |colour: &'static str| if self.colours { colour } else { "" };
        let (level, grey, plain) = (paint(colour(*metadata.level())), paint("\x1b[2m"), paint("\x1b[0m"));
        // To the second: the rest is for machines.
        let now = Now::new();
        let time = now.as_str().get(..19).unwrap_or_default();
        write!(line, "{grey}{time}Z{plain} {level}{:5}{plain} ", metadata.level())?;
        if metadata.target() == "purlin::access" {
            let mut take = |name: &str| fields.take(name).unwrap_or_default();
            let (method, path, status, ms) = (take("method"), take("path"), take("status"), take("ms"));
            write!(line, "{level}{status}{plain} {method} {path} {grey}{ms} ms{plain}")?;
        } else {
            write!(line, "{grey}{}:{plain}", metadata.target())?;
            if let Some(message) = fields.take("message") {
                write!(line, " {message}")?;
            }
        }
        for (name, value) in fields.0 {
            write!(line, " {grey}{name}={plain}{}", text(value))?;
        }
        if let Some(span) = context.lookup_current()
            && let Some(SpanFields(fields)) = span.extensions().get()
        {
            write!(line, " ({} {fields})", span.name())?;
        }
        #[cfg(feature = "opentelemetry")]
        if let Some((trace, _)) = crate::traces::ids() {
            write!(line, " {grey}trace_id={plain}{trace}")?;
        }
        if let Some(process) = &self.process {
            write!(line, " [{process}]")?;
        }
        writeln!(line)
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// An event as a line of JSON, written as its fields come: nothing is kept of one to be sorted or counted.
struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    fn new(line: &'a mut Vec<u8>, time: &str, metadata: &Metadata<'_>) -> Self {
        for piece in ["{\"timestamp\":\"", time, "\",\"level\":\"", metadata.level().as_str(), "\""] {
            line.extend_from_slice(piece.as_bytes());
        }
        let mut object = Self(line);
        object.put_str("target", metadata.target());
        object
    }

    fn put<T: serde::Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.name(name);
        self.value(value);
    }

    fn put_str(&mut self, name: &str, value: &str) {
        self.name(name);
        self.text(value);
    }

    fn name(&mut self, name: &str) {
        self.0.push(b',');
        self.text(name);
        self.0.push(b':');
    }

    fn text(&mut self, text: &str) {
        if !is_plain(text.as_bytes()) {
            return self.value(text);
        }
        self.0.reserve(text.len() + 2);
        self.0.push(b'"');
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(b'"');
    }

    fn value<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Writing into memory fails for no number or text, and those are all that an event has.
        if serde_json::to_writer(&mut *self.0, value).is_err() {
            self.0.extend_from_slice(b"null");
        }
    }
}

impl Visit for Object<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field.name());
        let start = self.0.len();
        // As for `Fields`.
        let _ = write!(self.0, "\"{value:?}");
        let text = &self.0[start + 1..];
        if is_plain(text) {
            return self.0.push(b'"');
        }
        let text = String::from_utf8_lossy(text).into_owned();
        self.0.truncate(start);
        self.value(&text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_str(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), &value);
    }
}

/// The fields of an event, to be written in an order for people.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).map(text)
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing into a string fails only where a `Debug` of somebody else's does.
        let _ = write!(text, "{value:?}");
        self.put(field, one_line(text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, one_line(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// Escapes what a visitor could have sent to write lines, or terminal commands, into the log. Line breaks of the site's own
/// messages (a start-up error, say) are escaped with them: an event is a line.
fn one_line(text: String) -> String {
    if text.chars().any(char::is_control) {
        return text
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
            .collect();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_written_as_its_date_and_time() {
        let table = [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (1_735_689_600, "2025-01-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (253_402_300_799, "9999-12-31T23:59:59"),
        ];
        for (seconds, expected) in table {
            let text = second(seconds);
            assert_eq!(std::str::from_utf8(&text).unwrap(), format!("{expected}.000000Z"), "{seconds}");
        }
    }

    #[test]
    fn now_is_written_as_others_write_it() {
        use tracing_subscriber::fmt::format::Writer;
        use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
        let mut other = String::new();
        let ours = Now::new();
        SystemTime.format_time(&mut Writer::new(&mut other)).unwrap();
        assert_eq!(ours.as_str().len(), other.len());
        assert!(ours.as_str() <= other.as_str(), "{} before {other}", ours.as_str());
        assert_eq!(ours.as_str()[..14], other[..14]);
    }

    #[test]
    fn a_text_is_plain_where_json_and_debug_would_change_nothing() {
        for byte in 0..=u8::MAX {
            for length in 1..20 {
                for at in 0..length {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    let plain = byte >= b' ' && byte != b'"' && byte != b'\\';
                    assert_eq!(is_plain(&text), plain, "{byte} at {at} of {length}");
                }
            }
        }
        assert!(is_plain(b""));
    }
}
