//! Sends clients from old addresses to new ones.

use crate::hosts::Host;
use crate::request::mount_prefix;
use crate::rewrite::{Found, Table};
use crate::site::{About, Start};
use crate::{Error, IntoResponse, Middleware, Redirect, Request, RequestExt, Response, Result, Service};
use http::StatusCode;
use http::header::HOST;
use std::panic::Location;

/// Redirects by a table of old paths, and to the site's one address: host, scheme, last slash. In one step, whatever is wrong.
///
/// - Paths are written as in a [`Router`](crate::Router): `/blog/{year}/{slug}`, `/docs/{*rest}`. Parameters may be used in the new
///   one, a path below the layer's own place or an address elsewhere. The client's query is kept, after that of the new path.
/// - Permanent ones are 308 (RFC 9110 §15.4.9), temporary ones 307: method and body are kept.
/// - No request can choose the host that it is sent to: a parameter cannot stand in the host of an address, and a path made of
///   parameters begins with one slash.
/// - Paths that lead to each other in a circle are reported when the site starts. Addresses are not followed, be they of the
///   site's own host.
///
/// What nginx does by `return` and by `rewrite … permanent` is mostly a line of this. By the query or by headers nothing is chosen:
/// that is a handler's work, or an `async fn` as a layer.
///
/// It stands above the router, and above all that would answer an old address; below
/// [`TrustedProxies`](super::TrustedProxies), which knows the scheme.
///
/// # Errors
///
/// 410 Gone (RFC 9110 §15.5.11) for a path that is [`gone`](Redirects::gone).
///
/// ```
/// use purlin::layers::Redirects;
/// use purlin::{Router, Stack, get};
///
/// let redirects = Redirects::new()
///     .permanent("/blog/{year}/{slug}", "/posts/{slug}")
///     .permanent("/wiki/{*page}", "https://wiki.example.org/{page}")
///     .temporary("/today", "/days/2026-11-21")
///     .gone("/guestbook");
/// let app = Stack::new().layer(redirects).app(Router::new().route("/posts/{slug}", get(async || "a post")));
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// Client::new(app).get("/blog/2024/tea?page=2").await.assert_redirect("/posts/tea?page=2");
/// # });
/// ```
#[derive(Clone, Default)]
pub struct Redirects {
    table: Table,
    // Whether each rule of the table is for good.
    permanent: Vec<bool>,
    problems: Vec<String>,
    host: Option<String>,
    https: bool,
    slash: Slash,
    except: Vec<String>,
}

/// What becomes of the last slash of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slash {
    /// It stays as it is, and the router decides. The default.
    #[default]
    Keep,
    /// It is added, unless the last part of the path looks like a file's name.
    Add,
    /// It is taken off.
    Remove,
}

impl Redirects {
    /// Nothing is redirected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// This path is now that one, for good: 308.
    #[track_caller]
    pub fn permanent(self, from: &str, to: &str) -> Self {
        self.rule(from, Some(to), true, Location::caller())
    }

    /// This path is that one for now: 307.
    #[track_caller]
    pub fn temporary(self, from: &str, to: &str) -> Self {
        self.rule(from, Some(to), false, Location::caller())
    }

    /// There is nothing at this path any more: 410.
    #[track_caller]
    pub fn gone(self, from: &str) -> Self {
        self.rule(from, None, true, Location::caller())
    }

    fn rule(mut self, from: &str, to: Option<&str>, permanent: bool, place: &'static Location<'static>) -> Self {
        match self.table.add(from, to, place) {
            Ok(()) => self.permanent.push(permanent),
            Err(problem) => self.problems.push(problem),
        }
        self
    }

    /// The host by which the site is reached; requests for others are sent there, by 308. By default every host is right.
    ///
    /// With a port it is compared with that, the scheme's own where the request names none; else in names only. What is no host at
    /// all is another one.
    pub fn canonical_host(mut self, host: &str) -> Self {
        match Host::parse(host) {
            Some(parsed) => self.host = Some(parsed.to_string()),
            None => self.problems.push(format!("Redirects: expected a host as www.example.org, found {host:?}")),
        }
        self
    }

    /// Whether what comes by http is sent to https, by 308; off by default. The host is that of the request, without its port, or
    /// the canonical one.
    pub fn https(mut self, https: bool) -> Self {
        self.https = https;
        self
    }

    /// What becomes of the last slash of a path that is not in the table; [`Slash::Keep`] by default.
    pub fn slash(mut self, slash: Slash) -> Self {
        self.slash = slash;
        self
    }

    /// Leaves the paths alone that begin with this, such as `/.well-known/acme-challenge/` or `/health`. May be said several
    /// times.
    pub fn except(mut self, prefix: impl Into<String>) -> Self {
        self.except.push(prefix.into());
        self
    }

    /// What has become of a path, and whether for good.
    fn rewritten(&self, path: &str) -> Option<(Found, bool)> {
        if let Some((at, found)) = self.table.find(path) {
            return Some((found, self.permanent[at]));
        }
        let last = path.rsplit('/').next().unwrap_or_default();
        let path = match self.slash {
            Slash::Add if !last.is_empty() && !last.contains('.') => format!("{path}/"),
            // One slash leads: see `Table::find`.
            Slash::Remove if last.is_empty() && path.len() > 1 => {
                format!("/{}", path.trim_end_matches('/').trim_start_matches(['/', '\\']))
            }
            _ => return None,
        };
        Some((Found::Path(format!("/{}", path.trim_start_matches(['/', '\\']))), true))
    }

    /// `https://www.example.org`, if the request is for another address.
    fn origin(&self, req: &Request) -> Option<String> {
        let asked = Host::of(req);
        if asked.is_none() && !req.headers().contains_key(HOST) {
            // HTTP/1.0: it would come again without one.
            return None;
        }
        let mut right = self.host.as_deref().and_then(Host::parse);
        let (scheme, port) = if self.https || req.is_https() { ("https", 443) } else { ("http", 80) };
        let elsewhere = right.as_ref().is_some_and(|right| {
            asked.as_ref().is_none_or(|asked| {
                right.name != asked.name || right.port.is_some_and(|right| right != asked.port.unwrap_or(port))
            })
        });
        let insecure = self.https && !req.is_https();
        if !elsewhere && !insecure {
            return None;
        }
        if let Some(right) = &mut right {
            // Clients leave it out, too (RFC 9110 §4.2.3).
            right.port = right.port.filter(|right| *right != port);
        }
        let host = right.map(|right| right.to_string()).or_else(|| Some(asked?.name.into_owned()))?;
        Some(format!("{scheme}://{host}"))
    }

    fn redirect(&self, req: &Request) -> Option<Result<Redirect>> {
        let path = req.uri().path();
        if self.except.iter().any(|prefix| path.starts_with(prefix)) {
            return None;
        }
        let (rewritten, origin) = (self.rewritten(path), self.origin(req));
        if rewritten.is_none() && origin.is_none() {
            return None;
        }
        // Below a mount the client's path is longer than ours.
        let whole = req.original_path();
        let permanent = rewritten.as_ref().is_none_or(|(_, permanent)| *permanent);
        let mut to = match rewritten {
            Some((Found::Gone, _)) => {
                let gone = Error::new(StatusCode::GONE, format!("{path} is gone, as the table of redirects says"));
                return Some(Err(gone));
            }
            Some((Found::Url(url), _)) => url,
            Some((Found::Path(path), _)) => {
                let mount = mount_prefix(req.extensions(), req.uri().path());
                format!("{}{mount}{path}", origin.as_deref().unwrap_or_default())
            }
            None => format!("{}{whole}", origin.as_deref().unwrap_or_default()),
        };
        if let Some(query) = req.uri().query() {
            let fragment = to.find('#').map(|at| to.split_off(at));
            to.push(if to.contains('?') { '&' } else { '?' });
            to.push_str(query);
            to.push_str(fragment.as_deref().unwrap_or_default());
        }
        Some(Ok(if permanent { Redirect::permanent(to) } else { Redirect::temporary(to) }))
    }
}

impl Middleware for Redirects {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        match self.redirect(&req) {
            Some(redirect) => Ok(redirect?.into_response()),
            None => Ok(next.call(req).await),
        }
    }

    fn describe(&self, about: &mut About) {
        about.option("rules", self.table.len());
        if let Some(host) = &self.host {
            about.option("canonical_host", host);
        }
        about.option("https", self.https).option("slash", format!("{:?}", self.slash).to_lowercase());
        if !self.except.is_empty() {
            about.option("except", self.except.join(", "));
        }
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        if !self.problems.is_empty() {
            return Err(Error::internal(self.problems.join("\n")));
        }
        for (sample, rule) in self.table.samples() {
            let mut path = sample;
            // A site may have as many steps as it has rules, and a slash after each.
            for _ in 0..=2 * self.table.len() {
                match self.rewritten(path.split('?').next().unwrap_or_default()) {
                    Some((Found::Path(next), _)) => path = next,
                    _ => {
                        path.clear();
                        break;
                    }
                }
            }
            if !path.is_empty() {
                return Err(Error::internal(format!("the redirect {rule} leads in a circle")));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Redirects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redirects")
            .field("rules", &self.table.len())
            .field("host", &self.host)
            .field("https", &self.https)
            .field("slash", &self.slash)
            .finish_non_exhaustive()
    }
}
