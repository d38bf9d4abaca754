//! What a request asks of an answer that is at hand: 304, or a part of it.

use crate::conditional::{ETag, Outcome, evaluate, if_range, not_modified};
use crate::freshness::date;
use crate::range::{Multipart, Ranges, requested, unsatisfied};
use crate::{Body, Response};
use bytes::BytesMut;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, Method, StatusCode};
use std::time::SystemTime;

/// Whether a request may be answered with less than the whole.
pub(crate) fn is_for_less(request: &HeaderMap) -> bool {
    request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE) || request.contains_key(RANGE)
}

/// Does for an answer that is at hand what the request asks of it: 304, or a part.
pub(crate) fn narrow_own(response: &mut Response, method: &Method, request: &HeaderMap) {
    if response.status() == StatusCode::OK && is_for_less(request) {
        let etag = response.headers().get(ETAG).and_then(|tag| ETag::from_header(tag).ok());
        let modified = response.headers().get(LAST_MODIFIED).and_then(date);
        narrow(response, method, request, etag.as_ref(), modified, modified);
    }
}

/// `unchanged_since` is what `If-Modified-Since` is held against, `modified` what `If-Range` is.
pub(crate) fn narrow(
    response: &mut Response,
    method: &Method,
    request: &HeaderMap,
    etag: Option<&ETag>,
    modified: Option<SystemTime>,
    unchanged_since: Option<SystemTime>,
) {
    if evaluate(method, request, etag, unchanged_since) == Outcome::NotModified {
        not_modified(response);
        return;
    }
    let Some(bytes) = response.body().as_bytes().cloned() else { return };
    let len = bytes.len() as u64;
    let ranges = match if_range(request, etag, modified) {
        true => requested(method, request, len),
        false => Ranges::Whole,
    };
    let part = |start: u64, end: u64| bytes.slice(start as usize..end as usize);
    match ranges {
        Ranges::Whole => {}
        Ranges::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            *response.body_mut() = Body::empty();
            let headers = response.headers_mut();
            for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                headers.remove(name);
            }
            headers.insert(CONTENT_RANGE, unsatisfied(len));
        }
        Ranges::One(range) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            *response.body_mut() = Body::from(part(range.start(), range.end()));
            response.headers_mut().insert(CONTENT_RANGE, range.content_range(len));
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        Ranges::Many(ranges) => {
            let mut boundary = [0; 16];
            // Without randomness nothing is parted: the whole is an answer, too.
            if getrandom::fill(&mut boundary).is_err() {
                return;
            }
            let parts = Multipart::new(ranges, len, response.headers().get(CONTENT_TYPE), boundary);
            let mut body = BytesMut::with_capacity(parts.content_length() as usize);
            for one in parts.parts() {
                body.extend_from_slice(&one.head);
                body.extend_from_slice(&part(one.range.start(), one.range.end()));
            }
            body.extend_from_slice(&parts.tail());
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            *response.body_mut() = Body::from(body.freeze());
            response.headers_mut().insert(CONTENT_TYPE, parts.content_type());
            response.headers_mut().remove(CONTENT_LENGTH);
        }
    }
}

/// Takes off what would make the answer less than the whole.
pub(crate) fn ask_for_whole(request: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
}
