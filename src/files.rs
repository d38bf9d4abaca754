//! Public files: held in memory or streamed, with their tags, times and encoded siblings.

use crate::conditional::{ETag, Outcome, evaluate, http_date, if_range};
use crate::negotiate::{Coding, best_coding};
use crate::range::{ByteRange, Multipart, Ranges, requested, unsatisfied};
use crate::{Assets, Body, Context as _, Error, Response, Result, media_type, spare};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    RANGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeek};

/// A file up to this size is answered from memory.
const SMALL: u64 = 256 * 1024;

/// What is read of a larger file at a time.
const PIECE: usize = 128 * 1024;

/// How many characters of a fingerprint stand in a URL: 48 bits, of which two versions of a file share all never.
const MARK: usize = 12;

/// `Cache-Control` of a file asked for by its fingerprint.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Siblings of a file that hold it encoded, the best first.
const SIBLINGS: [(Coding, &str); 3] = [(Coding::Brotli, ".br"), (Coding::Zstd, ".zst"), (Coding::Gzip, ".gz")];

/// The files of a folder as they are answered.
#[derive(Debug)]
pub(crate) struct Files {
    assets: Assets,
    kept: RwLock<Kept>,
    keep_bytes: u64,
    cache_control: HeaderValue,
}

/// What is known of files, the oldest first in `order`.
#[derive(Debug, Default)]
struct Kept {
    files: HashMap<Box<str>, Arc<Known>>,
    order: VecDeque<Box<str>>,
    bytes: u64,
}

/// A file at one time, in all its codings; the plain one is last.
#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    // Where it is looked at; `None` in the executable.
    path: Option<PathBuf>,
    mark: String,
    variants: Vec<Variant>,
}

/// The file's time, size and number, by which a change is known: one that takes its place may have its time and its size.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
    inode: u64,
}

/// One coding of a file.
#[derive(Debug)]
struct Variant {
    coding: Coding,
    content: Content,
    len: u64,
    etag: ETag,
    modified: Option<SystemTime>,
    // What tells of the content, and so stands in no 304: the type, the coding, that parts can be had.
    of_content: Vec<(HeaderName, HeaderValue)>,
    // What tells of the version: the tag, the time, by what it was chosen.
    of_version: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    Disk(PathBuf),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "not a file"));
        }
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Self { modified: metadata.modified()?, len: metadata.len(), inode })
    }
}

impl Files {
    pub(crate) fn new(assets: Assets, keep_bytes: u64, cache_control: HeaderValue) -> Self {
        Self { assets, kept: RwLock::default(), keep_bytes, cache_control }
    }

    pub(crate) fn assets(&self) -> &Assets {
        &self.assets
    }

    /// The name with its fingerprint in it: `site.css` as `site.0a1b2c3d4e5f.css`.
    pub(crate) fn marked(&self, name: &str) -> Result<String> {
        let Some(known) = self.known(name).with_name(name)? else {
            let names = self.assets.names().unwrap_or_default();
            let hint = crate::nearest::nearest(name, names.iter().map(|name| &**name));
            let hint = hint.map(|nearest| format!(": did you mean `{nearest}`?")).unwrap_or_default();
            return Err(Error::internal(format!("there is no public file `{name}`{hint}")));
        };
        Ok(match name.rsplit_once('.') {
            Some((stem, extension)) if !extension.contains('/') && !stem.is_empty() && !stem.ends_with('/') => {
                format!("{stem}.{}.{extension}", known.mark)
            }
            _ => format!("{name}.{}", known.mark),
        })
    }

    /// Whether there is a file of this name now.
    pub(crate) fn contains(&self, name: &str) -> bool {
        match self.assets.path(name) {
            Some(path) => path.is_file(),
            None => self.assets.find(name).is_some(),
        }
    }

    /// The answer to a `GET` or `HEAD` for a name, or `None` if there is no such file.
    ///
    /// Nothing in it waits: a small file is read in less time than it takes to hand that to another thread, and what a large one
    /// holds is read as it is sent.
    pub(crate) fn answer(&self, method: &Method, headers: &HeaderMap, name: &str) -> Result<Option<Response>> {
        if let Some(known) = self.known(name).with_name(name)? {
            return self.answer_with(&known, method, headers, false).map(Some);
        }
        let Some((name, mark)) = unmarked(name) else {
            return Ok(None);
        };
        let Some(known) = self.known(&name).with_name(&name)? else {
            return Ok(None);
        };
        // An old mark comes from a page of an older version, while the new one is being rolled out: the current file is what
        // there is to give, and must not be kept under that name.
        self.answer_with(&known, method, headers, known.mark == mark).map(Some)
    }

    fn answer_with(&self, known: &Known, method: &Method, headers: &HeaderMap, immutable: bool) -> Result<Response> {
        let variant = known.variant(headers)?;
        let cache_control = if immutable { IMMUTABLE } else { self.cache_control.clone() };
        let mut response = spare::response(Body::empty());
        let mut head = |lines: &[(HeaderName, HeaderValue)]| {
            lines.iter().for_each(|(name, value)| _ = response.headers_mut().insert(name, value.clone()));
        };
        let ranges = match says_more(headers) {
            false => Ranges::Whole,
            true => match evaluate(method, headers, Some(&variant.etag), variant.modified) {
                Outcome::Proceed if if_range(headers, Some(&variant.etag), variant.modified) => {
                    requested(method, headers, variant.len)
                }
                Outcome::Proceed => Ranges::Whole,
                outcome => {
                    head(&variant.of_version);
                    response.headers_mut().insert(CACHE_CONTROL, cache_control);
                    *response.status_mut() = match outcome {
                        Outcome::NotModified => StatusCode::NOT_MODIFIED,
                        _ => StatusCode::PRECONDITION_FAILED,
                    };
                    return Ok(response);
                }
            },
        };
        head(&variant.of_content);
        head(&variant.of_version);
        response.headers_mut().insert(CACHE_CONTROL, cache_control);
        let pieces = match ranges {
            Ranges::Whole => {
                if let Content::Memory(bytes) = &variant.content {
                    *response.body_mut() = Body::from(bytes.clone());
                    return Ok(response);
                }
                ByteRange::new(0, variant.len).map(Piece::Part).into_iter().collect()
            }
            Ranges::Unsatisfiable => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                let headers = response.headers_mut();
                headers.remove(CONTENT_TYPE);
                headers.remove(CONTENT_ENCODING);
                headers.insert(CONTENT_RANGE, unsatisfied(variant.len));
                return Ok(response);
            }
            Ranges::One(range) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                response.headers_mut().insert(CONTENT_RANGE, range.content_range(variant.len));
                VecDeque::from([Piece::Part(range)])
            }
            Ranges::Many(ranges) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let mut boundary = [0; 16];
                getrandom::fill(&mut boundary).context("making the boundary of the parts")?;
                let content_type = response.headers().get(CONTENT_TYPE);
                let parts = Multipart::new(ranges, variant.len, content_type, boundary);
                response.headers_mut().insert(CONTENT_TYPE, parts.content_type());
                let framed =
                    parts.parts().iter().flat_map(|part| [Piece::Frame(part.head.clone()), Piece::Part(part.range)]);
                framed.chain([Piece::Frame(parts.tail())]).collect()
            }
        };
        let length = pieces.iter().map(Piece::len).sum::<u64>();
        *response.body_mut() = match &variant.content {
            Content::Memory(bytes) => assembled(bytes, pieces, length),
            Content::Disk(_) if method == Method::HEAD => {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
                Body::empty()
            }
            Content::Disk(path) => {
                // What was looked at just now is opened without a wait.
                let file = std::fs::File::open(path).with_name(&path.display().to_string())?;
                let Some(file) = file else {
                    return Err(Error::not_found(format!("{} has gone", path.display())));
                };
                let mut file = File::from_std(file);
                file.set_max_buf_size(PIECE);
                Body::new(Streamed { file, pieces, left: length, buffer: BytesMut::new(), seeking: Seeking::No, at: 0 })
            }
        };
        Ok(response)
    }

    /// What is known of a file, as it is now.
    fn known(&self, name: &str) -> io::Result<Arc<Known>> {
        let Some(known) = self.remembered(name) else {
            return self.learn(name, self.stamp(name)?);
        };
        // Its name was looked at when it was learnt; what is left is the file's time.
        let stamp = known.path.as_deref().map(Stamp::of).transpose()?;
        if known.stamp == stamp { Ok(known) } else { self.learn(name, stamp) }
    }

    /// The file's stamp; `None` for one in the executable, which does not change.
    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        if self.assets.as_folder().is_none() {
            return match self.assets.find(name) {
                Some(_) => Ok(None),
                None => Err(io::ErrorKind::NotFound.into()),
            };
        }
        let path = self.assets.path(name).ok_or(io::ErrorKind::NotFound)?;
        Stamp::of(&path).map(Some)
    }

    fn remembered(&self, name: &str) -> Option<Arc<Known>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.files.get(name).cloned()
    }

    fn learn(&self, name: &str, stamp: Option<Stamp>) -> io::Result<Arc<Known>> {
        let plain = self.content(name, stamp)?;
        let mark = plain.mark(stamp);
        let mut contents = Vec::new();
        for (coding, extension) in SIBLINGS {
            let sibling = format!("{name}{extension}");
            // One that is older than the file holds what the file was before.
            let Ok(its) = self.stamp(&sibling) else {
                continue;
            };
            let current = stamp.zip(its).is_none_or(|(file, sibling)| sibling.modified >= file.modified);
            if current && let Ok(content) = self.content(&sibling, its) {
                contents.push((coding, content));
            }
        }
        contents.push((Coding::Identity, plain));
        let varies = contents.len() > 1;
        let content_type = HeaderValue::from_static(media_type::of_path(name));
        let modified = stamp.map(|stamp| stamp.modified);
        let variants = contents.into_iter().map(|(coding, content)| {
            let len = content.len(stamp);
            let tag = if coding == Coding::Identity { mark.clone() } else { format!("{mark}-{}", coding.token()) };
            let etag = ETag::strong(&tag).map_err(io::Error::other)?;
            let mut of_content =
                vec![(CONTENT_TYPE, content_type.clone()), (ACCEPT_RANGES, HeaderValue::from_static("bytes"))];
            if coding != Coding::Identity {
                of_content.push((CONTENT_ENCODING, HeaderValue::from_static(coding.token())));
            }
            let mut of_version = vec![(ETAG, etag.to_header_value())];
            of_version.extend(modified.map(|modified| (LAST_MODIFIED, http_date(modified))));
            of_version.extend(varies.then_some((VARY, HeaderValue::from_static("accept-encoding"))));
            Ok(Variant { coding, content, len, etag, modified, of_content, of_version })
        });
        let variants = variants.collect::<io::Result<_>>()?;
        let known = Arc::new(Known { stamp, path: self.assets.path(name), mark: mark[..MARK].to_owned(), variants });
        self.remember(name, known.clone());
        Ok(known)
    }

    fn content(&self, name: &str, stamp: Option<Stamp>) -> io::Result<Content> {
        match stamp {
            Some(stamp) if stamp.len > SMALL => {
                self.assets.path(name).map(Content::Disk).ok_or_else(|| io::ErrorKind::NotFound.into())
            }
            _ => self.assets.read(name).map(Content::Memory),
        }
    }

    /// Keeps a file, and lets go of the oldest until all fit.
    fn remember(&self, name: &str, known: Arc<Known>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let cost = known.cost();
        kept.bytes += cost;
        match kept.files.insert(name.into(), known) {
            Some(before) => kept.bytes -= before.cost(),
            None => kept.order.push_back(name.into()),
        }
        while kept.bytes > self.keep_bytes {
            let Some(oldest) = kept.order.pop_front() else {
                break;
            };
            if let Some(gone) = kept.files.remove(&oldest) {
                kept.bytes -= gone.cost();
            }
        }
    }
}

/// Whether the request has a condition, or asks for a part: one look at its names, where most have neither.
fn says_more(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("if-") || name == RANGE)
}

/// `NotFound` as `None`, anything else as an error that names the file.
trait WithName<T> {
    fn with_name(self, name: &str) -> Result<Option<T>>;
}

impl<T> WithName<T> for io::Result<T> {
    fn with_name(self, name: &str) -> Result<Option<T>> {
        use io::ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, NotFound};
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory | IsADirectory | InvalidFilename) => Ok(None),
            Err(error) => Err(Error::from(error).context(format!("reading the public file {name:?}"))),
        }
    }
}

impl Known {
    /// Its coding for this client, by `Accept-Encoding`.
    fn variant(&self, headers: &HeaderMap) -> Result<&Variant> {
        let plain = self.variants.last().ok_or_else(|| Error::internal("a file without content"))?;
        if self.variants.len() == 1 {
            return Ok(plain);
        }
        let offers: Vec<Coding> = self.variants.iter().map(|variant| variant.coding).collect();
        let coding = best_coding(headers, &offers).unwrap_or(Coding::Identity);
        Ok(self.variants.iter().find(|variant| variant.coding == coding).unwrap_or(plain))
    }

    /// What keeping it takes, in bytes: those in the executable are there anyway, and so cost their entry only.
    fn cost(&self) -> u64 {
        let contents = self.variants.iter().map(|variant| match &variant.content {
            Content::Memory(bytes) if self.stamp.is_some() => bytes.len() as u64,
            _ => 0,
        });
        contents.sum::<u64>() + 1024 * self.variants.len() as u64
    }
}

impl Content {
    fn len(&self, stamp: Option<Stamp>) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Disk(path) => Stamp::of(path).ok().or(stamp).map_or(0, |stamp| stamp.len),
        }
    }

    /// 64 bits by which a version is known: of the bytes, or of a large file's time and size.
    fn mark(&self, stamp: Option<Stamp>) -> String {
        // Fixed keys: the same file has the same mark on every machine that runs the same build.
        let mut hasher = DefaultHasher::new();
        match (self, stamp) {
            (Self::Disk(_), Some(stamp)) => {
                let since = stamp.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                hasher.write_u128(since.as_nanos());
                hasher.write_u64(stamp.len);
            }
            (Self::Memory(bytes), _) => hasher.write(bytes),
            (Self::Disk(path), None) => hasher.write(path.as_os_str().as_encoded_bytes()),
        }
        format!("{:016x}", hasher.finish())
    }
}

/// A name without the fingerprint in it, and the fingerprint.
fn unmarked(name: &str) -> Option<(String, &str)> {
    let file = name.rsplit('/').next()?;
    let is_mark =
        |part: &str| part.len() == MARK && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = file.rsplit('.');
    let (last, before) = (parts.next()?, parts.next()?);
    if parts.next().is_some() && is_mark(before) {
        let stem = &name[..name.len() - last.len() - MARK - 2];
        return Some((format!("{stem}.{last}"), before));
    }
    is_mark(last).then(|| (name[..name.len() - MARK - 1].to_owned(), last))
}

/// Something to send: framing of parts, or a part of the file.
#[derive(Debug)]
enum Piece {
    Frame(Bytes),
    Part(ByteRange),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Frame(bytes) => bytes.len() as u64,
            Self::Part(range) => range.length(),
        }
    }
}

/// Pieces of a file in memory: one is shared, several are copied together.
fn assembled(bytes: &Bytes, pieces: VecDeque<Piece>, length: u64) -> Body {
    // Ranges lie within the file, by `requested`, and a file in memory is small.
    let part = |range: ByteRange| bytes.slice(range.start() as usize..range.end() as usize);
    if let [Piece::Part(range)] = pieces.iter().collect::<Vec<_>>()[..] {
        return Body::from(part(*range));
    }
    let mut all = BytesMut::with_capacity(length as usize);
    for piece in pieces {
        match piece {
            Piece::Frame(frame) => all.put(frame),
            Piece::Part(range) => all.put(part(range)),
        }
    }
    Body::from(all.freeze())
}

/// Pieces of a file on disk, read as they are sent, on the threads that tokio keeps for files.
struct Streamed {
    file: File,
    pieces: VecDeque<Piece>,
    left: u64,
    buffer: BytesMut,
    seeking: Seeking,
    // Where the file is read next.
    at: u64,
}

#[derive(PartialEq)]
enum Seeking {
    No,
    Begun,
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let range = match this.pieces.pop_front() {
            None => return Poll::Ready(None),
            Some(Piece::Frame(frame)) => {
                this.left -= frame.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            Some(Piece::Part(range)) => range,
        };
        let result = this.poll_part(cx, range);
        if result.is_pending() {
            this.pieces.push_front(Piece::Part(range));
        }
        result
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Streamed {
    fn poll_part(&mut self, cx: &mut Context<'_>, range: ByteRange) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.at != range.start() || self.seeking == Seeking::Begun {
            if self.seeking == Seeking::No {
                Pin::new(&mut self.file).start_seek(SeekFrom::Start(range.start()))?;
                self.seeking = Seeking::Begun;
            }
            self.at = ready!(Pin::new(&mut self.file).poll_complete(cx))?;
            self.seeking = Seeking::No;
        }
        let length = range.length().min(PIECE as u64) as usize;
        self.buffer.reserve(length);
        let mut into = (&mut self.buffer).limit(length);
        // Nothing of the read is in this future: it may be made anew at each poll.
        let read = std::pin::pin!(self.file.read_buf(&mut into));
        let read = ready!(read.poll(cx))? as u64;
        if read == 0 {
            let message =
                format!("a public file became shorter while it was sent: {} bytes are missing", range.length());
            return Poll::Ready(Some(Err(Error::internal(message))));
        }
        self.at += read;
        self.left -= read;
        if let Some(rest) = ByteRange::new(range.start() + read, range.end()) {
            self.pieces.push_front(Piece::Part(rest));
        }
        Poll::Ready(Some(Ok(Frame::data(self.buffer.split().freeze()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_found_in_a_name() {
        let table = [
            ("site.0123456789ab.css", Some(("site.css", "0123456789ab"))),
            ("css/site.min.0123456789ab.css", Some(("css/site.min.css", "0123456789ab"))),
            ("LICENSE.0123456789ab", Some(("LICENSE", "0123456789ab"))),
            ("site.css", None),
            ("site.0123456789AB.css", None),
            ("site.0123456789abc.css", None),
            ("0123456789ab.css", None),
            ("a.0123456789ab/site.css", None),
            ("", None),
        ];
        for (name, expected) in table {
            let found = unmarked(name);
            assert_eq!(found.as_ref().map(|(name, mark)| (&**name, *mark)), expected, "{name}");
        }
    }
}
