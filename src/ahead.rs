//! Reads a field of a form ahead of the handler, which then finds the body as if nobody had.

use crate::body::DEFAULT_BODY_LIMIT;
use crate::multipart::{Event, Framing, boundary};
use crate::request::MaxBody;
use crate::{Body, Bytes, Error, HeaderMap, Request, Result};
use bytes::BytesMut;
use http::header::CONTENT_TYPE;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// How much of a `multipart/form-data` body is looked into.
pub(crate) const MULTIPART_AHEAD: usize = 8 * 1024;

/// The value of a field, if the request is a form that has it.
///
/// Of a form without files as much is read as it takes to find the field, all of it if it is not there; of one with files
/// the parts before the first file, and no more than [`MULTIPART_AHEAD`]. The value is taken as it stands, not
/// percent-decoded: tokens and methods have nothing to decode.
///
/// # Errors
///
/// The body's own: 413 where it is over the limit.
pub(crate) async fn field(req: &mut Request, name: &str) -> Result<Option<String>> {
    let Some(form) = Form::of(req.headers()) else {
        return Ok(None);
    };
    if let Some(whole) = req.body().as_bytes() {
        return Ok(form.find(name, whole, true).unwrap_or_default());
    }
    let limit = req.extensions().get::<MaxBody>().map_or(DEFAULT_BODY_LIMIT, MaxBody::bytes);
    let mut body = req.body_mut().take();
    let mut read = BytesMut::new();
    // The size at which it is worth looking again: each time twice, so that a body in small pieces is not read over and over.
    let mut look_at = 0;
    let (found, trailers, ended) = loop {
        let (ended, trailers) = match body.frame().await.transpose()?.map(Frame::into_data) {
            None => (true, None),
            Some(Err(frame)) => (true, Some(frame)),
            Some(Ok(data)) => {
                if (read.len() + data.len()) as u64 > limit {
                    return Err(Error::body_too_large(limit));
                }
                read.extend_from_slice(&data);
                (false, None)
            }
        };
        let enough = form.is_multipart() && read.len() >= MULTIPART_AHEAD;
        if ended || enough || read.len() >= look_at {
            look_at = read.len() * 2;
            match form.find(name, &read, ended || enough) {
                Some(found) => break (found, trailers, ended),
                None if ended || enough => break (None, trailers, ended),
                None => {}
            }
        }
    };
    // What has ended need not be asked again, and may not like it.
    let body = if ended { Body::empty() } else { body };
    *req.body_mut() = Body::new(Replayed { read: read.freeze(), trailers, rest: body });
    Ok(found)
}

/// How a form is written.
enum Form {
    Urlencoded,
    /// With its boundary.
    Multipart(String),
}

impl Form {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => Some(Self::Urlencoded),
            // Without a boundary it is for the handler to complain of.
            "multipart/form-data" => boundary(content_type).ok().map(Self::Multipart),
            _ => None,
        }
    }

    fn is_multipart(&self) -> bool {
        matches!(self, Self::Multipart(_))
    }

    /// Looks for the field in what has been read; `None` if that cannot be told before more has been, which at the `end`
    /// is nothing to wait for.
    fn find(&self, name: &str, read: &[u8], end: bool) -> Option<Option<String>> {
        let found = match self {
            Self::Urlencoded => urlencoded(name.as_bytes(), read, end),
            Self::Multipart(boundary) => multipart(name, &read[..read.len().min(MULTIPART_AHEAD)], boundary),
        };
        match found {
            Ahead::Found(value) => Some(String::from_utf8(value).ok()),
            Ahead::Lacking => Some(None),
            Ahead::More => end.then_some(None),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Ahead {
    Found(Vec<u8>),
    Lacking,
    More,
}

fn urlencoded(name: &[u8], read: &[u8], end: bool) -> Ahead {
    // The last pair may be cut off.
    let whole = if end { read.len() } else { memchr::memrchr(b'&', read).unwrap_or(0) };
    let pairs = read[..whole].split(|byte| *byte == b'&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="));
    match values.next() {
        Some(value) => Ahead::Found(value.to_vec()),
        None if end => Ahead::Lacking,
        None => Ahead::More,
    }
}

/// Looks among the parts that come before the first file.
fn multipart(name: &str, read: &[u8], boundary: &str) -> Ahead {
    let mut framing = Framing::new(boundary, MULTIPART_AHEAD);
    framing.push(Bytes::copy_from_slice(read));
    let mut value: Option<Vec<u8>> = None;
    loop {
        match framing.next() {
            Ok(Event::Part(head)) if head.file_name.is_some() => return Ahead::Lacking,
            Ok(Event::Part(head)) => value = (head.name == name).then(Vec::new),
            Ok(Event::Content(piece)) => value.iter_mut().for_each(|value| value.extend_from_slice(&piece)),
            Ok(Event::PartEnd) => {
                if let Some(value) = value.take() {
                    return Ahead::Found(value);
                }
            }
            Ok(Event::Starved) if framing.end().is_ok() => return Ahead::Lacking,
            Ok(Event::Starved) => return Ahead::More,
            // Whoever reads the form says what is wrong with it.
            Err(_) => return Ahead::Lacking,
        }
    }
}

/// What was read, and then the rest.
struct Replayed {
    read: Bytes,
    trailers: Option<Frame<Bytes>>,
    rest: Body,
}

impl http_body::Body for Replayed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))));
        }
        match self.trailers.take() {
            Some(trailers) => Poll::Ready(Some(Ok(trailers))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.trailers.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (read, rest) = (self.read.len() as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_wherever_it_stands_in_a_form() {
        let found = |value: &str| Ahead::Found(value.into());
        let table = [
            ("t=1&b=2", true, found("1")),
            ("a=1&t=2&b=3", true, found("2")),
            ("a=1&t=2", true, found("2")),
            ("t=", true, found("")),
            ("t=1&t=2", true, found("1")),
            ("a=1&at=2&ta=3&t", true, Ahead::Lacking),
            ("", true, Ahead::Lacking),
            ("a=t=1", true, Ahead::Lacking),
            // Before the end has come
            ("t=1&", false, found("1")),
            ("t=1", false, Ahead::More),
            ("a=1&t=1", false, Ahead::More),
            ("", false, Ahead::More),
        ];
        for (text, end, expected) in table {
            assert_eq!(urlencoded(b"t", text.as_bytes(), end), expected, "{text} {end}");
        }
    }

    const TOKEN: &str = "--x\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nvalue\r\n";
    const TITLE: &str = "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA \r\n--y cat\r\n";
    const FILE: &str = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"c.png\"\r\n\
        Content-Type: image/png\r\n\r\nabc\r\n";

    #[test]
    fn a_part_is_found_before_the_first_file() {
        let part = |head: &str| format!("--x\r\n{head}\r\n\r\nvalue\r\n--x--\r\n");
        let found = |value: &str| Ahead::Found(value.into());
        let table = [
            (format!("{TOKEN}--x--\r\n"), found("value")),
            (format!("{TOKEN}{FILE}--x--\r\n"), found("value")),
            (format!("{TITLE}{TOKEN}{FILE}--x--\r\n"), found("value")),
            (format!("{FILE}{TOKEN}--x--\r\n"), Ahead::Lacking),
            (format!("{TITLE}--x--\r\n"), Ahead::Lacking),
            (part("content-disposition:form-data;name=t"), found("value")),
            (part("Content-Disposition: form-data; name=\"t\"; filename*=utf-8''x"), Ahead::Lacking),
            (part("Content-Disposition: attachment; name=\"t\""), Ahead::Lacking),
            (part("Content-Type: text/plain"), Ahead::Lacking),
            (format!("a preamble\r\n{TOKEN}--x--\r\n"), found("value")),
            (part("Content-Disposition: form-data; name=\"%22t\""), Ahead::Lacking),
            (part("Content-Disposition: form-data; name=\"t\"; name=\"u\""), Ahead::Lacking),
            (part("Content-Disposition: form-data; name=\"u\"; x=\"; name=t\""), Ahead::Lacking),
            ("--y\r\n".to_owned(), Ahead::More),
            ("--x--\r\n".to_owned(), Ahead::Lacking),
            (String::new(), Ahead::More),
        ];
        for (body, expected) in table {
            assert_eq!(multipart("t", body.as_bytes(), "x"), expected, "{body}");
        }
    }

    #[test]
    fn of_a_part_that_is_not_whole_more_is_asked_for() {
        let whole = format!("{TITLE}{TOKEN}--x");
        for end in 0..whole.len() {
            assert_eq!(multipart("t", &whole.as_bytes()[..end], "x"), Ahead::More, "{end}");
        }
        assert_eq!(multipart("t", whole.as_bytes(), "x"), Ahead::Found(b"value".to_vec()));
    }

    #[test]
    fn the_form_is_known_by_its_content_type() {
        let table = [
            ("application/x-www-form-urlencoded", Some("")),
            ("Application/X-WWW-Form-Urlencoded; charset=utf-8", Some("")),
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("multipart/form-data; charset=utf-8; Boundary=\"abc\"", Some("abc")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json", None),
            ("", None),
        ];
        for (content_type, expected) in table {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
            let found = Form::of(&headers).map(|form| match form {
                Form::Urlencoded => String::new(),
                Form::Multipart(boundary) => boundary,
            });
            assert_eq!(found.as_deref(), expected, "{content_type}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert!(Form::of(&HeaderMap::from_iter([(CONTENT_TYPE, long.parse().unwrap())])).is_none());
    }
}
