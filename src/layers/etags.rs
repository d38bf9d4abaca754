//! Names pages by entity tags, and spares clients those that they have.

use crate::conditional::{ETag, Outcome, evaluate, not_modified};
use crate::config::SecretKeys;
use crate::freshness::{ResponseDirectives, date};
use crate::site::About;
use crate::{Error, Middleware, Request, Response, ResponseExt, Result, Service, StatusCode, View};
use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::fmt;
// Deprecated in favour of `DefaultHasher`, whose algorithm may change and whose keys cannot be chosen. This one is SipHash-2-4.
#[allow(deprecated)]
use std::hash::{Hasher, SipHasher};

/// Gives answers an `ETag` (RFC 9110 §8.8.3), and answers 304 Not Modified without a body to a client that has the page already
/// (§13). The page is made all the same: what is spared is its way to the client.
///
/// Only 200 answers to GET and HEAD, whose body is at hand and no longer than [`limit`](ETags::limit), are given a tag, the same
/// for both methods. An `ETag` or `Last-Modified` that a handler set stays, and is what conditions are measured by; for such an
/// answer the body's length does not matter. Streams without one pass, as do empty bodies, other statuses, and what says
/// `Cache-Control: no-store` (RFC 9111 §5.2.2.5): what may not be kept cannot be had already. A condition that fails
/// (`If-Match`, `If-Unmodified-Since`) is answered 412.
///
/// Conditions of methods that change something are the handler's: before it has run, only it knows what there is to be compared.
/// It asks [`evaluate`](crate::conditional::evaluate).
///
/// # Where it stands
///
/// Below [`Compression`](super::Compression) and [`ErrorPages`](super::ErrorPages), and above [`Templates`](super::Templates) and
/// whatever else writes the body: a view that is not a page yet gets no tag. So the tag is of the very bytes that leave this layer,
/// and strong; `Compression` above makes it weak where it encodes them, which is all that a 304 takes (§13.1.2).
///
/// A page that is another one each time is never had already: one with a CSRF token, which is masked anew for each answer, or
/// with the nonce of a content security policy.
///
/// # The tag
///
/// 64 bits of SipHash-2-4 over the body and the headers that tell what it is (`Content-Type`, `Content-Encoding`,
/// `Content-Language`), keyed by the site's secret. Whoever can write something onto a page could otherwise choose it so that
/// the new page has the tag of the old one, and others are kept from it: with a hash that has no key (MD5, and xxHash or CRC without
/// effort) that is work at home. With a key nobody can work it out, so 64 bits are plenty. Processes and machines with the same secret give the same tags; a new secret, or another release
/// of the page, costs each client one download.
///
/// ```
/// use purlin::config::SecretKeys;
/// use purlin::layers::ETags;
/// use purlin::testing::Client;
/// use purlin::{Router, Stack, get, html};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let routes = Router::new().route("/", get(async || html("<title>News</title>")));
/// // In a site: `&config.secret`.
/// let client = Client::new(Stack::new().layer(ETags::new(&SecretKeys::random())).app(routes));
/// let page = client.get("/").await;
/// let etag = page.headers()["etag"].to_str().unwrap();
/// client.get("/").header("if-none-match", etag).await.assert_status(304);
/// # }
/// ```
#[derive(Clone)]
pub struct ETags {
    key: (u64, u64),
    limit: usize,
}

impl ETags {
    /// Tags keyed by the current one of these secrets.
    pub fn new(secret: &SecretKeys) -> Self {
        let secret = secret.current().expose();
        // The secret is random and 32 bytes at least, and its first 16 key the hash of the whole: neither it nor anything about
        // it can be told from the key, and that cannot be told from tags.
        let word = |from: usize| {
            let mut word = [0; 8];
            for (byte, own) in word.iter_mut().zip(secret.iter().skip(from)) {
                *byte = *own;
            }
            u64::from_le_bytes(word)
        };
        let part = |label: &[u8]| sip((word(0), word(8)), &[label, secret]);
        Self { key: (part(b"purlin entity tags 0"), part(b"purlin entity tags 1")), limit: 1 << 20 }
    }

    /// The longest body that is given a tag, in bytes; 1 MiB by default.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// The tag of an answer, and whether it is new.
    fn tag(&self, response: &Response) -> Option<(ETag, bool)> {
        if let Some(own) = response.headers().get(ETAG) {
            return Some((ETag::from_header(own).ok()?, false));
        }
        let body = response.body().as_bytes().filter(|body| !body.is_empty() && body.len() <= self.limit)?;
        let header = |name: HeaderName| response.headers().get(name).map_or(&b""[..], HeaderValue::as_bytes);
        let hash = sip(self.key, &[header(CONTENT_TYPE), header(CONTENT_ENCODING), header(CONTENT_LANGUAGE), body]);
        let mut tag = [b'"'; 18];
        for (at, digit) in tag[1..17].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(hash >> (60 - 4 * at)) as usize & 15];
        }
        let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&tag)).ok()?;
        Some((ETag::from_header(&value).ok()?, true))
    }
}

/// The texts one after another, each with its length before it: what is in one cannot pass for what is in another.
#[allow(deprecated)]
fn sip(key: (u64, u64), texts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher::new_with_keys(key.0, key.1);
    for text in texts {
        hasher.write_u64(text.len() as u64);
        hasher.write(text);
    }
    hasher.finish()
}

impl Middleware for ETags {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        if req.method() != Method::GET && req.method() != Method::HEAD {
            return Ok(next.call(req).await);
        }
        let method = req.method().clone();
        let conditions = conditions(req.headers());
        let mut response = next.call(req).await;
        if response.status() != StatusCode::OK
            || ResponseDirectives::of(response.headers()).no_store
            || response.error().is_some()
            || response.extensions().get::<View>().is_some()
        {
            return Ok(response);
        }
        let tag = self.tag(&response);
        if let Some((tag, true)) = &tag {
            response.headers_mut().insert(ETAG, tag.to_header_value());
        }
        if conditions.is_empty() {
            return Ok(response);
        }
        let tag = tag.map(|(tag, _)| tag);
        let modified = response.headers().get(LAST_MODIFIED).and_then(date);
        // What has neither was not asked about.
        if tag.is_none() && modified.is_none() {
            return Ok(response);
        }
        match evaluate(&method, &conditions, tag.as_ref(), modified) {
            Outcome::Proceed => Ok(response),
            Outcome::NotModified => {
                not_modified(&mut response);
                Ok(response)
            }
            Outcome::PreconditionFailed => {
                let message = "the page has another tag or time than the request's conditions name";
                Err(Error::new(StatusCode::PRECONDITION_FAILED, message)
                    .public("The page is not the one that was expected."))
            }
        }
    }

    fn describe(&self, about: &mut About) {
        about.option("limit", self.limit);
    }
}

/// What the request says of copies; hardly ever anything.
fn conditions(headers: &HeaderMap) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_MATCH, IF_UNMODIFIED_SINCE] {
        for value in headers.get_all(&name) {
            conditions.append(name.clone(), value.clone());
        }
    }
    conditions
}

impl fmt::Debug for ETags {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ETags").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the authors of SipHash: the key 00…0f, the texts of 0 to 15 bytes 00, 01 …
    #[test]
    #[allow(deprecated)]
    fn the_hash_is_siphash_2_4() {
        for (length, expected) in
            [(0, 0x726f_db47_dd0e_0e31_u64), (1, 0x74f8_39c5_93dc_67fd), (15, 0xa129_ca61_49be_45e5)]
        {
            let mut hasher = SipHasher::new_with_keys(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
            hasher.write(&(0..length).collect::<Vec<u8>>());
            assert_eq!(hasher.finish(), expected, "{length}");
        }
    }

    #[test]
    fn where_one_text_ends_matters() {
        assert_ne!(sip((1, 2), &[b"ab", b"c"]), sip((1, 2), &[b"a", b"bc"]));
        assert_ne!(sip((1, 2), &[b"ab"]), sip((1, 3), &[b"ab"]));
    }
}
