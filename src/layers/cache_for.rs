//! Says for how long the answers of what is below may be stored.

use crate::pages::{CACHE_TAG, OWN_CONTROL, is_reading, written};
use crate::site::{About, Needs};
use crate::{IntoResponse, Middleware, Request, Response, ResponseExt, Result, Service, StatusCode};
use http::HeaderValue;
use std::time::Duration;

/// For how long [`PageCache`](super::PageCache) stores an answer and gives it to whoever asks for the same: as a layer of
/// a route or of several, or beside what a handler returns.
///
/// It is said to that layer alone. Clients and other caches are told what the answer says itself, or else `Cache-Control: no-cache`: they
/// ask each time, and are answered from the store, by 304 where they have the page and it has an `ETag`. So a purge counts for
/// everybody.
///
/// It counts for successes, permanent redirects and 304, to `GET` and `HEAD`. An answer that is for one person is not stored all
/// the same: see [`PageCache`](super::PageCache). Where no such layer stands above, it does nothing.
///
/// ```
/// use purlin::layers::CacheFor;
/// use purlin::{IntoResponse, Path, Router, get, html};
/// use std::time::Duration;
///
/// async fn post(Path(id): Path<u32>) -> impl IntoResponse {
///     (CacheFor::secs(600).tag(format!("post:{id}")), html(format!("<h1>Post {id}</h1>")))
/// }
///
/// async fn front() -> &'static str {
///     "all posts"
/// }
///
/// let routes = Router::new()
///     .route("/posts/{id}", get(post))
///     .route("/", get(front).layer(CacheFor::secs(60).stale_while_revalidate(Duration::from_secs(600))));
/// ```
#[derive(Clone, Debug)]
pub struct CacheFor {
    time: Duration,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
    tags: Vec<String>,
}

impl CacheFor {
    /// Fresh for so long; whole seconds count.
    pub fn new(time: Duration) -> Self {
        Self { time, stale_while_revalidate: None, stale_if_error: None, tags: Vec::new() }
    }

    /// Fresh for so many seconds.
    pub fn secs(seconds: u64) -> Self {
        Self::new(Duration::from_secs(seconds))
    }

    /// For how long after that it is given as it is, while it is made anew (RFC 5861 §3); as the layer says by default.
    pub fn stale_while_revalidate(mut self, time: Duration) -> Self {
        self.stale_while_revalidate = Some(time);
        self
    }

    /// For how long after that it is given instead of an error (RFC 5861 §4); as the layer says by default.
    pub fn stale_if_error(mut self, time: Duration) -> Self {
        self.stale_if_error = Some(time);
        self
    }

    /// A tag by which it is purged. May be said several times.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.tags.push(written(tag.as_ref()));
        self
    }

    /// Says it in the answer, unless that says it itself.
    fn say(&self, response: &mut Response) {
        let status = response.status();
        let counts = status.is_success()
            || [StatusCode::MOVED_PERMANENTLY, StatusCode::PERMANENT_REDIRECT, StatusCode::NOT_MODIFIED]
                .contains(&status);
        if !counts || response.error().is_some() {
            return;
        }
        let headers = response.headers_mut();
        if !headers.contains_key(&OWN_CONTROL) {
            let mut text = format!("max-age={}", self.time.as_secs());
            for (name, time) in
                [("stale-while-revalidate", self.stale_while_revalidate), ("stale-if-error", self.stale_if_error)]
            {
                if let Some(time) = time {
                    text.push_str(&format!(", {name}={}", time.as_secs()));
                }
            }
            headers.insert(OWN_CONTROL, HeaderValue::try_from(text).expect("made of letters, digits and signs"));
        }
        if !self.tags.is_empty() {
            let tags = HeaderValue::try_from(self.tags.join(", "));
            headers.append(CACHE_TAG, tags.expect("what no header can hold was encoded"));
        }
    }
}

impl<T: IntoResponse> IntoResponse for (CacheFor, T) {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        self.0.say(&mut response);
        response
    }

    fn needs(needs: &mut Needs) {
        T::needs(needs);
    }
}

impl Middleware for CacheFor {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let reading = is_reading(req.method());
        let mut response = next.call(req).await;
        if reading {
            self.say(&mut response);
        }
        Ok(response)
    }

    fn describe(&self, about: &mut About) {
        about.option("time", format_args!("{:?}", self.time));
        for (name, time) in
            [("stale_while_revalidate", self.stale_while_revalidate), ("stale_if_error", self.stale_if_error)]
        {
            if let Some(time) = time {
                about.option(name, format_args!("{time:?}"));
            }
        }
        if !self.tags.is_empty() {
            about.option("tag", self.tags.join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_written_so_that_a_header_holds_it() {
        let mut response = crate::text("x");
        CacheFor::secs(60).tag("a, b").tag("ü\r\n").stale_if_error(Duration::from_secs(5)).say(&mut response);
        assert_eq!(response.headers()[CACHE_TAG], "a%2C%20b, %C3%BC%0D%0A");
        assert_eq!(response.headers()[OWN_CONTROL], "max-age=60, stale-if-error=5");
    }
}
