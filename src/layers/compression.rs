//! Compresses answers, as the client likes.

use crate::conditional::ETag;
use crate::encode::{Quality, Repeats, encode};
use crate::media_type::{self, is_compressible};
use crate::negotiate::{self, Coding, Offered, best_coding};
use crate::service::then;
use crate::site::About;
use crate::{Body, Middleware, Request, Response, Result, Service, StatusCode};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, SET_COOKIE,
};
use http::{HeaderMap, HeaderValue, Method};
use std::sync::Arc;

/// Compresses answers by gzip, brotli, deflate or (with the feature `zstd`) zstd, as `Accept-Encoding` prefers (RFC 9110
/// §12.5.3).
///
/// What could be compressed says `Vary: Accept-Encoding`, whether it is or not; so do its parts (206) and its 304. What is
/// compressed has its strong `ETag` made weak (§8.8.1), since another coding is another sequence of bytes, and loses
/// `Content-Length`, `Accept-Ranges` and digests unless they are known anew. A body at hand of up to 64 KiB is compressed at
/// once and keeps a length; a streamed one is compressed as it comes, and flushed whenever its source pauses; an event stream
/// after every piece.
///
/// Left alone: what has a `Content-Encoding`, parts of a representation (206, `Content-Range`), types that are compressed by
/// nature (images, films, archives), bodies below [`min_size`](Compression::min_size), and `Cache-Control: no-transform` of
/// request or answer (RFC 9111 §5.2). A client which refuses every coding, `identity` too, gets the answer as it is:
/// §12.5.3 allows that, and a 406 would help nobody.
///
/// Where a client likes several equally, as browsers do, zstd comes first, then gzip: for a page of 27 kB they take 83 µs and
/// 153 µs, brotli 496 µs, for lengths within 9 % of each other. Brotli gets smaller than that from quality 5 on, at up to
/// twenty times the work: worth it for files, once, as `site.css.br` beside `site.css`.
///
/// A page that repeats what an attacker sent beside a secret can leak the secret by its compressed length (BREACH). Secrets on
/// pages are to be masked anew for each answer, or such a page is sent with `Cache-Control: no-transform`.
///
/// A body at hand that comes again, to the byte, is compressed once: of those that came twice so many are kept as
/// [`memory`](Compression::memory) holds. This answers nobody in place of the handler, which has run by then and decided who sees what;
/// and what is found is compared in full. The time an answer takes could tell that the very same bytes were sent before: to those only
/// who are sent these bytes themselves, and once, since by asking they make it true. What is one visitor's is not kept all the same:
/// nothing that says `no-store` or `private`, or sets a cookie.
///
/// ```
/// use purlin::layers::Compression;
/// use purlin::negotiate::Coding;
/// use purlin::{Router, Stack};
///
/// let compression = Compression::new().codings(&[Coding::Brotli, Coding::Gzip]).quality(Coding::Brotli, 5).min_size(512);
/// let app = Stack::new().layer(compression).app(Router::new());
/// # app.check().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Compression {
    min_size: u64,
    // `Identity` among them.
    codings: Vec<Coding>,
    brotli: i32,
    gzip: i32,
    zstd: i32,
    repeats: Option<Arc<Repeats>>,
}

impl Compression {
    /// The codings above, at the qualities where the next higher one costs more time than its bytes take on the way.
    pub fn new() -> Self {
        let new = Self { min_size: 860, codings: Vec::new(), brotli: 4, gzip: 2, zstd: 3, repeats: None };
        new.memory(4 << 20).codings(&[Coding::Zstd, Coding::Gzip, Coding::Brotli, Coding::Deflate])
    }

    /// A body of fewer bytes is left alone; 860 by default: with its headers it fits into one packet either way. A client that
    /// refuses `identity` gets smaller ones compressed too.
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.min_size = bytes;
        self
    }

    /// The codings to offer, the best first; `Zstd` is left out without the feature `zstd`. `Identity` is always offered, last
    /// unless it is named.
    pub fn codings(mut self, codings: &[Coding]) -> Self {
        let here = |coding: &Coding| *coding != Coding::Zstd || cfg!(feature = "zstd");
        self.codings = codings.iter().copied().filter(here).collect();
        if !self.codings.contains(&Coding::Identity) {
            self.codings.push(Coding::Identity);
        }
        self
    }

    /// How hard a coding works: brotli 0 to 11 (4 by default), gzip and deflate 1 to 9 (2), zstd 1 to 22 (3).
    pub fn quality(mut self, coding: Coding, quality: i32) -> Self {
        match coding {
            Coding::Brotli => self.brotli = quality.clamp(0, 11),
            Coding::Gzip | Coding::Deflate => self.gzip = quality.clamp(1, 9),
            Coding::Zstd => self.zstd = quality.clamp(1, 22),
            Coding::Identity => {}
        }
        self
    }

    /// How many bytes are held of bodies that came twice and of what they were compressed to; 4 MiB by default, and 0 for a site whose
    /// pages all differ, or which wants nothing of an answer to stay in its memory.
    pub fn memory(mut self, bytes: u64) -> Self {
        let most = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.repeats = (most > 0).then(|| Arc::new(Repeats::new(most)));
        self
    }

    fn quality_of(&self, coding: Coding) -> Quality {
        Quality(match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            _ => self.gzip,
        })
    }
}

impl Compression {
    fn compress(&self, mut response: Response, asked: &Asked) -> Result<Response> {
        if !asked.varies(&response) {
            return Ok(response);
        }
        negotiate::vary(response.headers_mut(), &ACCEPT_ENCODING);
        if response.status() == StatusCode::NOT_MODIFIED {
            asked.name_copy(response.headers_mut());
            return Ok(response);
        }
        let small = length(&response, asked.head).is_some_and(|length| length < self.min_size);
        if asked.coding == Coding::Identity || is_part(&response) || (small && !asked.not_plain) {
            return Ok(response);
        }
        let flush = is_event_stream(content_type(response.headers()));
        let repeats = self.repeats.as_deref().filter(|_| is_for_all(response.headers()));
        let body = response.body_mut().take();
        // A handler that answers HEAD itself gives the length of the body it leaves out: the compressed one is not known.
        *response.body_mut() = match asked.head && body.is_empty() {
            true => Body::stream(Unknown),
            false => encode(body, asked.coding, self.quality_of(asked.coding), flush, repeats)?,
        };
        mark(response.headers_mut(), asked.coding);
        Ok(response)
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for Compression {
    fn handle(&self, req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let asked = Asked::by(&req, &self.codings);
        then(next.call(req), move |response| self.compress(response, &asked))
    }

    fn describe(&self, about: &mut About) {
        let codings: Vec<_> = self.codings.iter().map(|coding| coding.token()).collect();
        about.option("codings", codings.join(",")).option("min_size", self.min_size);
        about.provides::<Offered>().share(Offered(self.codings.as_slice().into()));
    }
}

/// What the request says of codings.
struct Asked {
    coding: Coding,
    /// `identity` is refused.
    not_plain: bool,
    head: bool,
    /// The copies that the client has (`If-None-Match`).
    copies: Vec<HeaderValue>,
    /// What the path says of the type, where the answer may not: whether it could be compressible.
    by_path: bool,
}

impl Asked {
    fn by(req: &Request, codings: &[Coding]) -> Self {
        let headers = req.headers();
        let (mut coding, mut not_plain) = (Coding::Identity, false);
        if headers.contains_key(ACCEPT_ENCODING) && !no_transform(headers) {
            coding = best_coding(headers, codings).unwrap_or(Coding::Identity);
            // Nothing is refused but by a weight, and few clients give one.
            let weighs = headers.get_all(ACCEPT_ENCODING).iter().any(|line| line.as_bytes().contains(&b';'));
            not_plain = weighs && coding != Coding::Identity && best_coding(headers, &[Coding::Identity]).is_none();
        }
        let copies: Vec<_> = headers.get_all(IF_NONE_MATCH).iter().cloned().collect();
        let for_less = !copies.is_empty() || headers.contains_key(IF_MODIFIED_SINCE) || headers.contains_key(RANGE);
        let by_path = for_less && {
            let content_type = media_type::of_path(req.uri().path());
            content_type == media_type::OCTET_STREAM || is_compressible(content_type)
        };
        Self { coding, not_plain, head: req.method() == Method::HEAD, copies, by_path }
    }

    /// Whether the answer depends on `Accept-Encoding`: it could be compressed, or stands for one that could.
    fn varies(&self, response: &Response) -> bool {
        let headers = response.headers();
        let content_type = content_type(headers);
        let compressible = match response.status() {
            StatusCode::NO_CONTENT => false,
            status if status.is_informational() => false,
            // RFC 9110 §15.4.5 and §15.3.7 want the `Vary` of the 200 they stand for, whose type they need not tell.
            StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
                if content_type.is_empty() || content_type.starts_with("multipart/byteranges") =>
            {
                self.by_path
            }
            _ => is_compressible(content_type) || is_event_stream(content_type),
        };
        compressible && !headers.contains_key(CONTENT_ENCODING) && !no_transform(headers)
    }

    /// Lets a 304 name the copy that the client has: compressed ones were sent with a weak tag, and a cache looks for a strong
    /// one by equality (RFC 9111 §4.3.4).
    fn name_copy(&self, headers: &mut HeaderMap) {
        let Some(weak) = weakened(headers) else { return };
        let named = |copy: &HeaderValue| memchr::memmem::find(copy.as_bytes(), weak.as_bytes()).is_some();
        if self.coding != Coding::Identity && (self.copies.is_empty() || self.copies.iter().any(named)) {
            headers.insert(ETAG, weak);
        }
    }
}

/// Whether this is a part of something, and so not to be encoded by itself.
fn is_part(response: &Response) -> bool {
    response.status() == StatusCode::PARTIAL_CONTENT || response.headers().contains_key(CONTENT_RANGE)
}

fn is_event_stream(content_type: &str) -> bool {
    content_type.starts_with("text/event-stream")
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn no_transform(headers: &HeaderMap) -> bool {
    directives(headers).any(|directive| directive.eq_ignore_ascii_case("no-transform"))
}

/// Whether nothing says that the answer is one visitor's.
fn is_for_all(headers: &HeaderMap) -> bool {
    let own = |directive: &str| ["no-store", "private"].iter().any(|own| directive.eq_ignore_ascii_case(own));
    !directives(headers).any(own) && !headers.contains_key(SET_COOKIE)
}

/// The names of the directives of `Cache-Control`.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|directive| directive.split('=').next().unwrap_or_default().trim())
}

/// The length of the body, or, of an answer to HEAD without one, that which it announces.
fn length(response: &Response, head: bool) -> Option<u64> {
    let announced = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    if head && response.body().is_empty() { announced().or(Some(0)) } else { response.body().len().or_else(announced) }
}

/// Makes the headers true of the encoded body.
fn mark(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    for digest in ["content-md5", "digest", "content-digest", "repr-digest"] {
        headers.remove(HeaderName::from_static(digest));
    }
    if let Some(weak) = weakened(headers) {
        headers.insert(ETAG, weak);
    }
}

/// The answer's tag, made weak.
fn weakened(headers: &HeaderMap) -> Option<HeaderValue> {
    let etag = ETag::from_header(headers.get(ETAG)?).ok()?;
    Some(etag.weaken().to_header_value())
}

/// A body of no bytes whose length is not told.
struct Unknown;

impl futures_core::Stream for Unknown {
    type Item = Result<bytes::Bytes>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(None)
    }
}
