//! What an answered request leaves for the next ones of its thread: its maps, emptied, which need not be allocated again.

use crate::{Body, Request, Response};
use http::{Extensions, HeaderMap};
use std::cell::RefCell;

/// How many maps of a kind a thread keeps.
const MOST: usize = 16;

/// Larger ones are not kept: a client could make all of them large.
const LARGEST: usize = 32;

#[derive(Default)]
struct Spare {
    headers: Vec<HeaderMap>,
    extensions: Vec<Extensions>,
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// Keeps the maps of a request that is at its end. What is in them is dropped here.
pub(crate) fn keep(req: &mut Request) {
    let (mut headers, mut extensions) = (std::mem::take(req.headers_mut()), std::mem::take(req.extensions_mut()));
    let (few, used) = ((1..=LARGEST).contains(&headers.capacity()), (1..=LARGEST).contains(&extensions.len()));
    // Before the lock: what is dropped may be anybody's, and do anything.
    headers.clear();
    extensions.clear();
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if few && spare.headers.len() < MOST {
            spare.headers.push(headers);
        }
        if used && spare.extensions.len() < MOST {
            spare.extensions.push(extensions);
        }
    });
}

/// Extensions in which nothing is.
pub(crate) fn extensions() -> Extensions {
    SPARE.try_with(|spare| spare.borrow_mut().extensions.pop()).ok().flatten().unwrap_or_default()
}

/// An answer with this body, status 200 and no header.
pub(crate) fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    if let Ok(Some(headers)) = SPARE.try_with(|spare| spare.borrow_mut().headers.pop()) {
        *response.headers_mut() = headers;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{COOKIE, HOST};
    use http::{HeaderName, HeaderValue};

    fn request(lines: usize) -> Request {
        let mut req = Request::new(Body::empty());
        req.headers_mut().insert(HOST, HeaderValue::from_static("example.org"));
        for line in 0..lines {
            let name = HeaderName::try_from(format!("x-{line}")).unwrap();
            req.headers_mut().insert(name, HeaderValue::from_static("secret"));
        }
        req.headers_mut().append(COOKIE, HeaderValue::from_static("a=b"));
        req.headers_mut().append(COOKIE, HeaderValue::from_static("c=d"));
        req.extensions_mut().insert("secret");
        req
    }

    #[test]
    fn nothing_of_a_request_is_in_what_it_leaves() {
        keep(&mut request(3));
        let (extensions, response) = (extensions(), response(Body::empty()));
        assert!(extensions.is_empty() && extensions.get::<&str>().is_none());
        assert!(response.headers().is_empty() && response.headers().capacity() > 0);
        assert_eq!(response.headers().get_all(COOKIE).iter().count(), 0);
    }

    #[test]
    fn few_maps_are_kept_and_no_large_ones() {
        keep(&mut request(100));
        for _ in 0..100 {
            keep(&mut request(1));
        }
        SPARE.with_borrow(|spare| {
            assert_eq!((spare.headers.len(), spare.extensions.len()), (MOST, MOST));
            assert!(spare.headers.iter().all(|headers| headers.capacity() <= LARGEST));
        });
    }

    #[test]
    fn what_is_dropped_may_leave_something_too() {
        #[derive(Clone)]
        struct Nested;
        impl Drop for Nested {
            fn drop(&mut self) {
                keep(&mut request(1));
            }
        }
        let mut req = request(1);
        req.extensions_mut().insert(Nested);
        keep(&mut req);
    }
}
