//! `Event`: one event as it is written, and refused where it could not be read as it was meant.

use crate::{Context, Error, Result};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use std::time::Duration;

/// One event of a stream, or one comment (WHATWG HTML §9.2.6).
///
/// Its data may have several lines, in whichever way they end: the browser joins them by line feeds.
///
/// ```
/// use purlin::sse::Event;
///
/// let event = Event::new("two\nlines").event("greeting").id("7");
/// assert_eq!(event.to_bytes()?, "event: greeting\nid: 7\ndata: two\ndata: lines\n\n");
/// # Ok::<(), purlin::Error>(())
/// ```
///
/// # Errors
///
/// A name or an id with a line break in it would be the beginning of another field, and be in the hands of whoever wrote it;
/// an id with NUL is one that browsers ignore. Such an event cannot be sent: the sender, or the stream, fails.
#[derive(Clone, Debug, Default)]
pub struct Event {
    name: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
    data: Option<Bytes>,
    comment: Option<String>,
    /// One that was written already.
    written: Option<Bytes>,
}

impl Event {
    /// An event with this data, for `onmessage`.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: Some(Bytes::from(data.into())), ..Self::default() }
    }

    /// An event whose data is a value as JSON, on one line.
    ///
    /// # Errors
    ///
    /// A value that JSON does not have.
    #[track_caller]
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let json = serde_json::to_vec(value).context("writing an event as JSON")?;
        Ok(Self { data: Some(Bytes::from(json)), ..Self::default() })
    }

    /// A comment: seen by nobody, and enough to keep a connection open.
    pub fn comment(text: impl Into<String>) -> Self {
        Self { comment: Some(text.into()), ..Self::default() }
    }

    /// The name by which `addEventListener` hears it, instead of `message`.
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What the browser sends as `Last-Event-ID` when it asks again. An empty one takes back what was there.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// How long the browser waits before it asks again, from here on.
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    /// The id, if it was given one.
    pub(super) fn own_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn written(bytes: Bytes) -> Self {
        Self { written: Some(bytes), ..Self::default() }
    }

    pub(super) fn retry_line(after: Duration) -> Bytes {
        Bytes::from(format!("retry: {}\n\n", after.as_millis()))
    }

    /// The event as it is sent, with the empty line at its end.
    ///
    /// # Errors
    ///
    /// See [`Event`].
    #[track_caller]
    pub fn to_bytes(&self) -> Result<Bytes> {
        if let Some(written) = &self.written {
            return Ok(written.clone());
        }
        let data = self.data.as_deref();
        let mut out = BytesMut::with_capacity(data.map_or(0, <[u8]>::len) + 64);
        if let Some(comment) = &self.comment {
            lines(&mut out, b":", comment.as_bytes());
        }
        if let Some(name) = &self.name {
            one_line(&mut out, "event", name, &['\n', '\r'])?;
        }
        if let Some(id) = &self.id {
            one_line(&mut out, "id", id, &['\n', '\r', '\0'])?;
        }
        if let Some(retry) = self.retry {
            out.put_slice(format!("retry: {}\n", retry.as_millis()).as_bytes());
        }
        if let Some(data) = data {
            lines(&mut out, b"data:", data);
        }
        out.put_u8(b'\n');
        Ok(out.freeze())
    }
}

#[track_caller]
fn one_line(out: &mut BytesMut, field: &str, value: &str, forbidden: &[char]) -> Result<()> {
    if let Some(found) = value.chars().find(|c| forbidden.contains(c)) {
        return Err(Error::internal(format!(
            "the `{field}` of an event: expected one line of text, found {found:?} in {value:?}"
        )));
    }
    out.put_slice(field.as_bytes());
    // Always a space, which is taken off again: the value may begin with one of its own.
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_u8(b'\n');
    Ok(())
}

/// Each line of a text, behind the name of the field.
fn lines(out: &mut BytesMut, field: &[u8], text: &[u8]) {
    let mut rest = text;
    loop {
        let end = memchr::memchr2(b'\n', b'\r', rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        out.put_slice(field);
        if !line.is_empty() {
            out.put_u8(b' ');
            out.put_slice(line);
        }
        out.put_u8(b'\n');
        let Some(end) = end else { return };
        let both = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(both)..];
    }
}

/// An event, or a `Result` of one.
pub trait IntoEvent {
    /// The event, or why there is none.
    ///
    /// # Errors
    ///
    /// That of the `Result`.
    fn into_event(self) -> Result<Event>;
}

impl IntoEvent for Event {
    fn into_event(self) -> Result<Event> {
        Ok(self)
    }
}

impl<E: Into<Error>> IntoEvent for Result<Event, E> {
    fn into_event(self) -> Result<Event> {
        self.map_err(Into::into)
    }
}
