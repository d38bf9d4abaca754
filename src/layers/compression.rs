//! Compresses answers, as the client likes.

use crate::conditional::ETag;
use crate::encode::{Quality, encode};
use crate::media_type::is_compressible;
use crate::negotiate::{Coding, best_coding};
use crate::site::About;
use crate::{Body, Middleware, Request, Response, Result, Service, StatusCode};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderName, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// Compresses answers by brotli, gzip, deflate or (with the feature `zstd`) zstd, as `Accept-Encoding` prefers (RFC 9110
/// §12.5.3).
///
/// What could be compressed says `Vary: Accept-Encoding`, whether it is or not. What is compressed has its strong `ETag` made
/// weak (§8.8.1), since another coding is another sequence of bytes, and loses `Content-Length`, `Accept-Ranges` and digests
/// unless they are known anew. A body at hand of up to 64 KiB is compressed at once and keeps a length; a streamed one is
/// compressed as it comes, and flushed whenever its source pauses; an event stream after every piece.
///
/// Left alone: what has a `Content-Encoding`, parts of a representation (206, `Content-Range`), types that are compressed by
/// nature (images, films, archives), bodies below [`min_size`](Compression::min_size), and `Cache-Control: no-transform` of
/// request or answer (RFC 9111 §5.2). A client which refuses every coding, `identity` too, gets the answer as it is:
/// §12.5.3 allows that, and a 406 would help nobody.
///
/// A page that repeats what an attacker sent beside a secret can leak the secret by its compressed length (BREACH). Secrets on
/// pages are to be masked anew for each answer, or such a page is sent with `Cache-Control: no-transform`.
#[derive(Clone, Debug)]
pub struct Compression {
    min_size: u64,
    codings: Vec<Coding>,
    brotli: i32,
    gzip: i32,
    zstd: i32,
}

impl Compression {
    /// The codings above, brotli before zstd before gzip, at the qualities that cost least per byte saved.
    pub fn new() -> Self {
        let mut codings = vec![Coding::Brotli];
        if cfg!(feature = "zstd") {
            codings.push(Coding::Zstd);
        }
        codings.extend([Coding::Gzip, Coding::Deflate]);
        Self { min_size: 860, codings, brotli: 4, gzip: 4, zstd: 3 }
    }

    /// A body of fewer bytes is left alone; 860 by default: with its headers it fits into one packet either way.
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.min_size = bytes;
        self
    }

    /// The codings to offer, the best first; `Zstd` is left out without the feature `zstd`.
    pub fn codings(mut self, codings: &[Coding]) -> Self {
        let here = |coding: &Coding| *coding != Coding::Zstd || cfg!(feature = "zstd");
        self.codings = codings.iter().copied().filter(here).collect();
        self
    }

    /// How hard a coding works: brotli 0 to 11 (4 by default), gzip and deflate 1 to 9 (4), zstd 1 to 22 (3).
    pub fn quality(mut self, coding: Coding, quality: i32) -> Self {
        match coding {
            Coding::Brotli => self.brotli = quality.clamp(0, 11),
            Coding::Gzip | Coding::Deflate => self.gzip = quality.clamp(1, 9),
            Coding::Zstd => self.zstd = quality.clamp(1, 22),
            Coding::Identity => {}
        }
        self
    }

    fn quality_of(&self, coding: Coding) -> Quality {
        Quality(match coding {
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
            _ => self.gzip,
        })
    }

    /// What the client prefers among what is offered; `Identity` for a client that said nothing.
    fn preferred(&self, headers: &HeaderMap) -> Coding {
        if !headers.contains_key(ACCEPT_ENCODING) || no_transform(headers) {
            return Coding::Identity;
        }
        let mut offers = self.codings.clone();
        offers.push(Coding::Identity);
        best_coding(headers, &offers).unwrap_or(Coding::Identity)
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for Compression {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let coding = self.preferred(req.headers());
        let head = req.method() == Method::HEAD;
        let mut response = next.call(req).await;
        // A 304 and a part say what the whole 200 would (RFC 9110 §15.3.7, §15.4.5); of a 304 the type is not told.
        let status = response.status();
        let of_a_kind = status == StatusCode::NOT_MODIFIED || is_compressible(content_type(response.headers()));
        if matches!(status, StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT) && of_a_kind {
            vary(response.headers_mut());
        }
        if !could_be_compressed(&response) {
            return Ok(response);
        }
        vary(response.headers_mut());
        let length = length(&response, head);
        if coding == Coding::Identity || length.is_some_and(|length| length < self.min_size) {
            return Ok(response);
        }
        let flush = content_type(response.headers()).starts_with("text/event-stream");
        let body = response.body_mut().take();
        // A handler that answers HEAD itself gives the length of the body it leaves out: the compressed one is not known.
        *response.body_mut() = match head && body.is_empty() {
            true => Body::stream(Unknown),
            false => encode(body, coding, self.quality_of(coding), flush)?,
        };
        mark(response.headers_mut(), coding);
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        let codings: Vec<_> = self.codings.iter().map(|coding| coding.token()).collect();
        about.option("codings", codings.join(",")).option("min_size", self.min_size);
    }
}

fn could_be_compressed(response: &Response) -> bool {
    let headers = response.headers();
    let status = response.status();
    let has_body =
        !matches!(status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT) && !status.is_informational();
    has_body
        && status != StatusCode::NOT_MODIFIED
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && (is_compressible(content_type(headers)) || content_type(headers).starts_with("text/event-stream"))
        && !no_transform(headers)
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn no_transform(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// The length of the body, or, of an answer to HEAD without one, that which it announces.
fn length(response: &Response, head: bool) -> Option<u64> {
    let announced = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    if head && response.body().is_empty() { announced().or(Some(0)) } else { response.body().len().or_else(announced) }
}

/// Adds `Accept-Encoding` to `Vary`, unless it is there.
fn vary(headers: &mut HeaderMap) {
    let values = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    let there = values
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case(ACCEPT_ENCODING.as_str()));
    if !there {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Makes the headers true of the encoded body.
fn mark(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    for digest in ["content-md5", "digest", "content-digest", "repr-digest"] {
        headers.remove(HeaderName::from_static(digest));
    }
    let weak =
        headers.get(ETAG).and_then(|etag| ETag::from_header(etag).ok()).map(|etag| etag.weaken().to_header_value());
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
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
