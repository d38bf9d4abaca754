//! The log as a site starts it: lines for people, or one JSON object an event.
//!
//! A site that wants another subscriber sets it before [`run`](crate::run()): the first one stays.

use crate::config::{LogConfig, LogFormat};
use crate::recording;
use serde_json::{Map, Value};
use std::fmt::{self, Write};
use std::io;
use std::sync::{LazyLock, RwLock};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// Starts the log on standard error, unless a subscriber is set already.
///
/// As text it is coloured on a terminal, unless `NO_COLOR` is set. As JSON each line is an object with `timestamp`, `level`,
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
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let events = tracing_subscriber::fmt::layer()
        .with_writer(|| StandardError)
        .with_ansi(false)
        .fmt_fields(SpanFields)
        .event_format(Events { format: config.format, colours, process: process() });
    // Set already: the site's own stays.
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(targets).with(Recorder::new()).with(events),
    );
    Ok(())
}

/// Writes a line that another process of this site has logged.
#[cfg(unix)]
pub(crate) fn pass_on(line: &str) {
    static IS_CHILD: LazyLock<bool> = LazyLock::new(|| process().is_some());
    // Its parent passes it on again.
    let line = if *IS_CHILD { format!("{}{line}\n", crate::spawn::LOGGED) } else { format!("{line}\n") };
    // Nobody is left to be told.
    let _ = io::Write::write_all(&mut StandardError, line.as_bytes());
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

/// The fields of a span, written once when it begins: ` name=value`, with texts in quotes.
struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = SpanLine { writer, first: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct SpanLine<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl SpanLine<'_> {
    fn put(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let space = if std::mem::take(&mut self.first) { "" } else { " " };
        self.result = self.result.and_then(|()| {
            self.writer.write_str(space)?;
            self.writer.write_str(field.name())?;
            self.writer.write_char('=')?;
            write(&mut self.writer)
        });
    }
}

impl Visit for SpanLine<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |writer| writer.write_str(&one_line(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |writer| {
            // Nothing to escape in what nearly all methods, paths and ids are: not worth the look at every character.
            if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
                writer.write_char('"')?;
                writer.write_str(value)?;
                writer.write_char('"')
            } else {
                write!(writer, "{value:?}")
            }
        });
    }
}

struct Events {
    format: LogFormat,
    colours: bool,
    process: Option<String>,
}

impl<S, N> FormatEvent<S, N> for Events
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        #[cfg(unix)]
        if self.process.is_some() {
            writer.write_char(crate::spawn::LOGGED)?;
        }
        let mut time = String::with_capacity(32);
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        if self.format == LogFormat::Json {
            let mut object = Object::new(&time, metadata);
            if let Some(span) = context.lookup_current()
                && let Some(fields) = span.extensions().get::<tracing_subscriber::fmt::FormattedFields<N>>()
            {
                object.put("span", &format_args!("{} {}", span.name(), fields.fields).to_string());
            }
            event.record(&mut object);
            if let Some(process) = &self.process {
                object.put("process", process);
            }
            return writer.write_str(&object.end());
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.line(&mut writer, metadata, &time, fields)?;
        if let Some(span) = context.lookup_current()
            && let Some(fields) = span.extensions().get::<tracing_subscriber::fmt::FormattedFields<N>>()
        {
            write!(writer, " ({} {})", span.name(), fields.fields)?;
        }
        if let Some(process) = &self.process {
            write!(writer, " [{process}]")?;
        }
        writeln!(writer)
    }
}

impl Events {
    fn line(
        &self,
        writer: &mut Writer<'_>,
        metadata: &tracing::Metadata<'_>,
        time: &str,
        mut fields: Fields,
    ) -> fmt::Result {
        let paint = |colour: &'static str| if self.colours { colour } else { "" };
        let (level, grey, plain) = (paint(colour(*metadata.level())), paint("\x1b[2m"), paint("\x1b[0m"));
        // To the second: the rest is for machines.
        let time = time.get(..19).unwrap_or(time);
        write!(writer, "{grey}{time}Z{plain} {level}{:5}{plain} ", metadata.level())?;
        if metadata.target() == "purlin::access" {
            let mut take = |name: &str| fields.take(name).unwrap_or_default();
            let (method, path, status, ms) = (take("method"), take("path"), take("status"), take("ms"));
            write!(writer, "{level}{status}{plain} {method} {path} {grey}{ms} ms{plain}")?;
        } else {
            write!(writer, "{grey}{}:{plain}", metadata.target())?;
            if let Some(message) = fields.take("message") {
                write!(writer, " {message}")?;
            }
        }
        for (name, value) in fields.0 {
            write!(writer, " {grey}{name}={plain}{}", text(value))?;
        }
        Ok(())
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
struct Object(Vec<u8>);

impl Object {
    fn new(time: &str, metadata: &tracing::Metadata<'_>) -> Self {
        let mut object = Self(Vec::with_capacity(512));
        object.0.extend_from_slice(b"{\"timestamp\":");
        object.value(time);
        object.put("level", metadata.level().as_str());
        object.put("target", metadata.target());
        object
    }

    fn put<T: serde::Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.0.push(b',');
        self.value(name);
        self.0.push(b':');
        self.value(value);
    }

    fn value<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Writing into memory fails for no number or text, and those are all that an event has.
        if serde_json::to_writer(&mut self.0, value).is_err() {
            self.0.extend_from_slice(b"null");
        }
    }

    fn end(mut self) -> String {
        self.0.extend_from_slice(b"}\n");
        String::from_utf8(self.0).unwrap_or_default()
    }
}

impl Visit for Object {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // As for `Fields`.
        let _ = write!(text, "{value:?}");
        self.put(field.name(), &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
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
