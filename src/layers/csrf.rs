//! Refuses what other sites send in a visitor's name.

use crate::csrf::{CsrfToken, ExemptRoutes, FIELD, HEADER, Source, TrustedOrigin};
use crate::request::OriginalMethod;
use crate::service::{Answer, Step};
use crate::session::{self, LazySession, Session};
use crate::site::{About, Start};
use crate::{Error, Middleware, Request, RequestExt, Response, Result, Service, ahead};
use http::Method;
use std::fmt;
use std::sync::OnceLock;

/// Lets requests that may change something pass only if they come from the site itself (cross-site request forgery).
///
/// # Which requests pass
///
/// 1. `GET`, `HEAD`, `OPTIONS` and `TRACE`, which change nothing (RFC 9110 §9.2.1). That they do is up to the handlers.
/// 2. What a route takes that is [exempt](super::CsrfExempt), such as a webhook.
/// 3. What has an `Origin` that is [trusted](Csrf::trust).
/// 4. What has `Sec-Fetch-Site: same-origin`, or `none` (typed, or from a bookmark). Any other value is refused, `same-site`
///    too: not everybody on `*.example.org` is you.
/// 5. Without `Sec-Fetch-Site`: what has an `Origin` with the request's own `Host` (and `https`, where the request came by
///    that). Another one is refused.
/// 6. With neither, or `Origin: null`: what has the session's [token](CsrfToken), in the header `X-CSRF-Token` or in the
///    form's field `csrf_token`. `{{ csrf_field() }}` writes it into a form.
///
/// Browsers have sent `Sec-Fetch-Site` since 2023, by https and to localhost; `Origin`, with every `POST`, since 2020. No page
/// can change them, so for these browsers the first five rules decide, nobody meets a stale token, and a page which has been
/// open for days still works. What is left to the token are older browsers, and programs: a program says where it comes from
/// (`Origin: https://your.site`), or its route is exempt.
///
/// Go's `CrossOriginProtection` has rules 1 to 5, and lets the rest pass; so it leaves visitors with old browsers alone. Rails
/// 8.2 refuses the rest, or asks for a token, but lets `same-site` pass. Django asks every form for a token, and so refuses
/// good ones after each sign-in. This layer is Go's with a token where Go knows nothing.
///
/// # Where the token is read
///
/// Of `application/x-www-form-urlencoded` the body is read until the field is found, within the
/// [`BodyLimit`](super::BodyLimit); of `multipart/form-data` the first 8 KiB, up to the first file: **put
/// `{{ csrf_field() }}` first in the form**. The handler finds the body whole. Other bodies have the header only.
///
/// # Cost
///
/// A request that changes nothing costs a comparison. The token is made, and its session begun, when a page with a form is
/// rendered.
///
/// # Errors
///
/// 403 with a sentence for the visitor (nothing was done, and what to do now), and why for the log and the developer. When
/// it starts: a trusted origin that is none, an exempt route that cannot be told from another.
///
/// ```
/// use purlin::layers::{Csrf, Sessions};
/// use purlin::session::MemoryStore;
/// use purlin::testing::Client;
/// use purlin::{Router, Stack, get};
///
/// let app = Stack::new()
///     .layer(Sessions::new(MemoryStore::new()))
///     .layer(Csrf::new())
///     .app(Router::new().route("/", get(async || "a page").post(async || "done")));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let client = Client::new(app);
/// client.post("/").header("sec-fetch-site", "same-origin").await.assert_contains("done");
/// client.post("/").header("sec-fetch-site", "cross-site").await.assert_status(403);
/// client.post("/").await.assert_status(403); // neither header, and no token
/// # });
/// ```
#[derive(Debug, Default)]
pub struct Csrf {
    trusted: Vec<String>,
    started: OnceLock<Started>,
}

/// What is known once the site is.
#[derive(Debug)]
struct Started {
    trusted: Vec<TrustedOrigin>,
    exempt: Option<ExemptRoutes>,
}

impl Csrf {
    /// Trusts nobody but the site itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the pages of another origin, `https://shop.example.org`, send requests too; may be called several times.
    ///
    /// Cookies that are `SameSite=Lax`, as the session's is by default, come along from the same site only.
    pub fn trust(mut self, origin: impl Into<String>) -> Self {
        self.trusted.push(origin.into());
        self
    }

    fn is_exempt(&self, req: &Request) -> bool {
        let exempt = self.started.get().and_then(|started| started.exempt.as_ref());
        exempt.is_some_and(|exempt| exempt.has(req.method(), req.original_path()))
    }

    /// Looks at the token, where the browser says nothing.
    async fn check_token(&self, req: &mut Request) -> Result<()> {
        let sent = match req.headers().get(HEADER) {
            Some(value) => Some(value.to_str().unwrap_or_default().to_owned()),
            None => ahead::field(req, FIELD).await?,
        };
        let Some(sent) = sent else {
            let message = format!(
                "neither Sec-Fetch-Site nor Origin says where the request was made, and it has no token: expected \
                 `{{{{ csrf_field() }}}}` first in the form, or the header {HEADER}; a program sends Origin, or asks a route \
                 that is `CsrfExempt`"
            );
            return Err(refused(message, Why::Stale));
        };
        let token = CsrfToken::of(LazySession::of(req)?.load().await?);
        if token.matches(&sent) {
            return Ok(());
        }
        let why = if token.is_made() { "is not its session's" } else { "comes with a session that has none" };
        Err(refused(
            format!("neither Sec-Fetch-Site nor Origin says where the request was made, and the token {why}"),
            Why::Stale,
        ))
    }
}

impl Middleware for Csrf {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let safe = matches!(*req.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        let source = if safe || self.is_exempt(&req) {
            Source::Here
        } else {
            let trusted = self.started.get().map_or(&[][..], |started| &started.trusted);
            Source::of(&req, trusted)
        };
        if let Source::Here = source {
            return Answer::below(next.call(req), |response| Step::Done(Ok(response)));
        }
        Answer::own(async move {
            if let Source::Elsewhere(why) = source {
                return Err(refused(format!("the request was made on another site: {why}"), Why::Elsewhere));
            }
            self.check_token(&mut req).await?;
            Ok(next.call(req).await)
        })
    }

    fn describe(&self, about: &mut About) {
        about.need::<Session>(false, session::HINT).wants::<OriginalMethod>().provides::<CsrfToken>();
        if !self.trusted.is_empty() {
            about.option("trust", self.trusted.join(" "));
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        let named = |error: Error| error.context("the layer Csrf");
        let trusted = self.trusted.iter().map(|origin| TrustedOrigin::parse(origin)).collect::<Result<_>>();
        let started =
            Started { trusted: trusted.map_err(named)?, exempt: ExemptRoutes::of(start.site()).map_err(named)? };
        // Started twice (by a test, say), it stays as it was first.
        let _ = self.started.set(started);
        Ok(())
    }
}

/// What the visitor is told.
enum Why {
    Elsewhere,
    Stale,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elsewhere => {
                "Your browser says that this was sent by a page of another site, so nothing was done. If you meant to do it, \
                 please open the page here, and send its form."
            }
            Self::Stale => {
                "We could not tell whether this was sent by a page of this site, so nothing was done. The page may have been \
                 open for too long, or your browser may not accept cookies. Please go back, load the page anew, and send the \
                 form once more."
            }
        })
    }
}

#[track_caller]
fn refused(message: String, why: Why) -> Error {
    Error::forbidden(message).public(why.to_string())
}
