//! The pages of one URL as they stand in Redis: written, and read as what anybody may have put there.
//!
//! All numbers are big-endian. Before the pages stand `purlin page`, the version of the format (one byte), for how many milliseconds
//! Redis was to keep the entry (by what is left of which the age is told, without a clock of this machine's), and how many pages there
//! are (one byte). Texts have their length before them, in four bytes, and a list how many it has, in two. Behind the last page is nothing.

use super::Page;
use super::page::{Parts, Terms};
use super::selector::Selector;
use crate::freshness::FOREVER;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What an entry begins with. Of another version is what another release of the site wrote: it counts as not there.
const BEGIN: &[u8] = b"purlin page\x01";

/// More lines than any answer has.
const MOST_LINES: u16 = 1000;

/// What was found where an entry was expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It begins otherwise: of another version, or not ours.
    Foreign,
    /// It is shorter or longer than it says, or says what no page is.
    Corrupt(&'static str),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("expected pages of this release, found what begins otherwise"),
            Self::Corrupt(what) => write!(f, "expected pages, found {what}"),
        }
    }
}

/// The pages as bytes, to be kept for so long from now.
pub(crate) fn write(pages: &[Arc<Page>], kept_for: Duration, now: Instant) -> Vec<u8> {
    let length = pages.iter().map(|page| page.bytes()).sum::<usize>();
    let mut entry = Vec::with_capacity(length + 64);
    entry.extend_from_slice(BEGIN);
    entry.extend_from_slice(&millis(kept_for).to_be_bytes());
    entry.push(u8::try_from(pages.len()).expect("no more than MAX_VARIANTS are kept"));
    pages.iter().for_each(|page| put_page(&mut entry, page, now));
    entry
}

fn put_page(entry: &mut Vec<u8>, page: &Page, now: Instant) {
    let Parts { status, headers, internal, body, age, terms, selectors } = page.parts(now);
    entry.extend_from_slice(&status.as_u16().to_be_bytes());
    let Terms { lifetime, while_revalidate, if_error, always_ask, forbids_stale, authorized } = terms;
    let flags = [always_ask, forbids_stale, authorized].into_iter().enumerate();
    entry.push(flags.map(|(at, is)| u8::from(is) << at).sum());
    for number in [millis(age), lifetime, while_revalidate, if_error] {
        entry.extend_from_slice(&number.to_be_bytes());
    }
    put_lines(entry, &headers);
    put_lines(entry, &internal);
    put_count(entry, selectors.len());
    for selector in &selectors {
        put(entry, selector.name.as_str().as_bytes());
        put_optional(entry, selector.sent.as_ref().map(HeaderValue::as_bytes));
        put_optional(entry, selector.normal.as_deref().map(str::as_bytes));
    }
    put(entry, &body);
}

fn put_lines(entry: &mut Vec<u8>, lines: &HeaderMap) {
    put_count(entry, lines.len());
    for (name, value) in lines {
        put(entry, name.as_str().as_bytes());
        put(entry, value.as_bytes());
    }
}

/// One that does not fit is none that can be read again, and no page has so many or so long ones: see `Pages::keep`.
fn put_count(entry: &mut Vec<u8>, count: usize) {
    entry.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

fn put(entry: &mut Vec<u8>, text: &[u8]) {
    entry.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    entry.extend_from_slice(text);
}

fn put_optional(entry: &mut Vec<u8>, text: Option<&[u8]>) {
    entry.push(text.is_some().into());
    text.into_iter().for_each(|text| put(entry, text));
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The pages of an entry, which Redis will keep for so much longer.
pub(crate) fn read(entry: &[u8], ends_in: Duration, now: Instant) -> Result<Vec<Arc<Page>>, Unreadable> {
    let mut left = Left(entry.strip_prefix(BEGIN).ok_or(Unreadable::Foreign)?);
    let kept_for = Duration::from_millis(left.number()?);
    let since = kept_for.saturating_sub(ends_in);
    let [count] = left.array()?;
    let pages: Result<Vec<_>, _> = (0..count).map(|_| Ok(Arc::new(left.page(since, now)?))).collect();
    let pages = pages?;
    match (pages.len(), left.0.is_empty()) {
        (1..=super::MAX_VARIANTS, true) => Ok(pages),
        (_, true) => Err(Unreadable::Corrupt("another number of them")),
        _ => Err(Unreadable::Corrupt("something behind them")),
    }
}

/// What is yet to be read.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Unreadable::Corrupt("their end before it was due"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn number(&mut self) -> Result<u64, Unreadable> {
        self.array().map(u64::from_be_bytes)
    }

    /// Seconds, of which no more count anywhere: so that sums of them stay numbers.
    fn seconds(&mut self) -> Result<u64, Unreadable> {
        Some(self.number()?).filter(|seconds| *seconds <= FOREVER).ok_or(Unreadable::Corrupt("a time beyond all times"))
    }

    fn count(&mut self) -> Result<u16, Unreadable> {
        let count = self.array().map(u16::from_be_bytes)?;
        Some(count).filter(|count| *count <= MOST_LINES).ok_or(Unreadable::Corrupt("more lines than an answer has"))
    }

    fn text(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = self.array().map(u32::from_be_bytes)? as usize;
        let (text, rest) =
            self.0.split_at_checked(length).ok_or(Unreadable::Corrupt("a text longer than the entry"))?;
        self.0 = rest;
        Ok(text)
    }

    fn optional(&mut self) -> Result<Option<&'a [u8]>, Unreadable> {
        match self.array()? {
            [0] => Ok(None),
            [1] => self.text().map(Some),
            _ => Err(Unreadable::Corrupt("neither a text nor none")),
        }
    }

    fn name(&mut self) -> Result<HeaderName, Unreadable> {
        HeaderName::from_bytes(self.text()?).map_err(|_| Unreadable::Corrupt("no name of a header"))
    }

    fn lines(&mut self) -> Result<HeaderMap, Unreadable> {
        let count = self.count()?;
        let mut lines = HeaderMap::new();
        for _ in 0..count {
            let (name, value) = (self.name()?, value(self.text()?)?);
            lines.try_append(name, value).map_err(|_| Unreadable::Corrupt("more lines than an answer has"))?;
        }
        Ok(lines)
    }

    fn selector(&mut self) -> Result<Selector, Unreadable> {
        let (name, sent, normal) = (self.name()?, self.optional()?, self.optional()?);
        let normal =
            normal.map(str::from_utf8).transpose().map_err(|_| Unreadable::Corrupt("a selector of no text"))?;
        Ok(Selector { name, sent: sent.map(value).transpose()?, normal: normal.map(Box::from) })
    }

    fn page(&mut self, since: Duration, now: Instant) -> Result<Page, Unreadable> {
        let status = StatusCode::from_u16(self.array().map(u16::from_be_bytes)?);
        let status = status.map_err(|_| Unreadable::Corrupt("no status"))?;
        let [flags] = self.array()?;
        if flags >= 8 {
            return Err(Unreadable::Corrupt("terms that are not known"));
        }
        let age = Duration::from_millis(self.number()?).saturating_add(since).min(Duration::from_secs(FOREVER));
        let terms = Terms {
            lifetime: self.seconds()?,
            while_revalidate: self.seconds()?,
            if_error: self.seconds()?,
            always_ask: flags & 1 != 0,
            forbids_stale: flags & 2 != 0,
            authorized: flags & 4 != 0,
        };
        let (headers, internal) = (self.lines()?, self.lines()?);
        let selectors = (0..self.count()?).map(|_| self.selector()).collect::<Result<_, _>>()?;
        let body = Bytes::copy_from_slice(self.text()?);
        Ok(Page::of(Parts { status, headers, internal, body, age, terms, selectors }, now))
    }
}

fn value(text: &[u8]) -> Result<HeaderValue, Unreadable> {
    HeaderValue::from_bytes(text).map_err(|_| Unreadable::Corrupt("no value of a header"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::selector::selectors;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        lines.collect()
    }

    fn page(now: Instant) -> Arc<Page> {
        let answer = headers(&[("vary", "accept-language, accept"), ("etag", "\"a\""), ("x-own", "b")]);
        let selectors = selectors(&headers(&[("accept-language", "de, en")]), &answer, None).unwrap();
        let terms = Terms { lifetime: 60, if_error: 5, authorized: true, ..Terms::default() };
        let internal = headers(&[("cache-tag", "one, two")]);
        let (status, body) = (StatusCode::NOT_FOUND, Bytes::from_static(b"\0body"));
        let age = Duration::from_millis(7500);
        Arc::new(Page::of(Parts { status, headers: answer, internal, body, age, terms, selectors }, now))
    }

    const KEPT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_is_written_is_read_and_has_grown_older_meanwhile() {
        let page = page(Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        let entry = write(&[page.clone(), page.clone()], KEPT, Instant::now());
        let read = read(&entry, KEPT - Duration::from_millis(600), Instant::now()).unwrap();
        assert_eq!(read.len(), 2);
        let (old, new) = (page.parts(Instant::now()), read[1].parts(Instant::now()));
        assert_eq!(new.age, Duration::from_millis(10_100));
        assert_eq!(read[1].age(Instant::now()), 10);
        assert_eq!(format!("{:?}", Parts { age: new.age, ..old }), format!("{new:?}"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cut_off_or_longer_or_foreign_is_none() {
        let now = Instant::now();
        let entry = write(&[page(now)], KEPT, now);
        for length in 0..entry.len() {
            assert!(read(&entry[..length], KEPT, now).is_err(), "{length}");
        }
        let longer = [&entry[..], b"x"].concat();
        assert_eq!(read(&longer, KEPT, now).unwrap_err(), Unreadable::Corrupt("something behind them"));
        for foreign in [&b""[..], b"{\"value\": 1}", b"purlin page\x02"] {
            assert_eq!(read(foreign, KEPT, now).unwrap_err(), Unreadable::Foreign);
        }
        let none = [BEGIN, &[0; 8], &[0]].concat();
        assert_eq!(read(&none, KEPT, now).unwrap_err(), Unreadable::Corrupt("another number of them"));
    }

    /// The fuzz target's promise, over repeatable noise.
    #[tokio::test(start_paused = true)]
    async fn no_byte_that_is_changed_makes_it_panic() {
        let now = Instant::now();
        let entry = write(&[page(now)], KEPT, now);
        for at in 0..entry.len() {
            for byte in [0, 1, 0x7f, 0xff, entry[at] ^ 0x20] {
                let mut changed = entry.clone();
                changed[at] = byte;
                if let Ok(pages) = read(&changed, KEPT, now) {
                    // What is read is a page: it can be asked anything, and written again.
                    let page = &pages[0];
                    page.kept_for();
                    page.usage(page.age(now), &crate::freshness::RequestDirectives::default());
                    assert!(read(&write(&pages, KEPT, now), KEPT, now).is_ok(), "{at} {byte}");
                }
            }
        }
    }
}
