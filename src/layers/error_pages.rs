//! Turns failures into pages: HTML, problem details or text, as the client asked.

use crate::config::ReportsConfig;
use crate::document::Detailed;
use crate::error::Answer;
use crate::failure::{Accept, Failure, Format, lacks_page};
use crate::negotiate;
use crate::panic::caught;
use crate::recording;
use crate::report::{Desk, Evidence, Origin, Redaction, Reporter, Trail, Watcher};
use crate::request::CspNonce;
use crate::response::CarriedError;
use crate::service::{Answer as Answering, Step, lazily};
use crate::site::{About, Start};
use crate::template::{Engine, Facts, Links};
use crate::{
    Body, Config, Error, MatchedRoute, Middleware, Request, RequestId, Response, ResponseExt, Result, Service, View,
};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::sync::Arc;

/// Gives a page to every answer of 400 and above that has none: one that carries an error, or a bare status.
///
/// - **What**: `text/html` for browsers; `application/problem+json` (RFC 9457) for who asks for JSON; `text/markdown`, ready
///   to be pasted, for who asks for that; `text/plain` for curl and others that take anything. `Vary: Accept` is added, and
///   the answer's own headers stay.
/// - **To visitors** only the status, the error's [public message](crate::Error::public) and an id are told, on the site's own
///   template where it has one: see [`templates`](ErrorPages::templates). The id is the report's, or where nobody is told
///   of failures the request's.
/// - **To the developer**, with [`details`](ErrorPages::details), everything: message and causes, the places with their
///   source, layer and route, the frames of a panic, and for an address that nothing answers the routes there are.
/// - **To those who look after the site**, with [`reporter`](ErrorPages::reporter), a [`Report`](crate::report::Report) of each
///   failure: of answers, of bodies that break off, of error pages that fail, and of a site that does not start.
/// - **Which status**: that of the error, or for types of errors what [`on`](ErrorPages::on) says.
///
/// Without it a failure is a bare status, and one event in the log.
///
/// An answer with a body is left alone: whoever wrote it meant it. The error stays on the answer, for the log above.
/// The pages of the framework bring their own `Content-Security-Policy`, under which nothing is loaded or run.
///
/// ```
/// use purlin::layers::ErrorPages;
/// use purlin::{Error, Result, Router, Service, Stack, get};
///
/// async fn cellar() -> Result<String> {
///     Err(Error::forbidden("the key is in the kitchen drawer").public("The cellar is locked."))
/// }
///
/// let app = Stack::new()
///     .layer(ErrorPages::new())
///     .app(Router::new().route("/cellar", get(cellar)));
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let response = app.call(purlin::http::Request::get("/cellar").body(purlin::Body::empty()).unwrap()).await;
/// assert_eq!(response.status(), 403);
/// assert_eq!(response.into_body().collect(100).await.unwrap(), "403 Forbidden\n\nThe cellar is locked.\n");
/// # });
/// ```
#[derive(Default)]
pub struct ErrorPages {
    details: bool,
    engine: Option<Arc<dyn Engine>>,
    answers: Vec<Box<OnType>>,
    desk: Arc<Desk>,
}

type OnType = dyn Fn(&Error) -> Option<Answer> + Send + Sync;

impl ErrorPages {
    /// Pages for visitors, the framework's own, and nobody else is told.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether everything is told; off by default. For development: causes and source are nobody else's business. Below the
    /// layer [`Debugger`](super::Debugger), in a debug build, it is told to its developer alone.
    pub fn details(mut self, details: bool) -> Self {
        self.details = details;
        self
    }

    /// The engine whose templates visitors see: `errors/STATUS.html`, else `errors/error.html`, else (from 500)
    /// `errors/500.html`, else the framework's page. By default the framework's.
    ///
    /// Such a template has the names `status` (404), `reason` (Not Found), `message` (the public one, or a sentence for the
    /// status), `request_id`, `report_id`, and those that other templates have; a name whose layer the request did not come to has its
    /// default, see [`Names`](crate::template::Names). If the template fails, the framework's page is sent with the status
    /// as it was, and the failure is logged.
    pub fn templates(mut self, engine: impl Engine) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// What clients are told of errors of type `E`, in one place for the whole site; `None` leaves it as it is.
    ///
    /// It is looked for in the error and its causes. An error that has got another status than 500 already, by `or_404`
    /// for example, keeps that, and so does a panic. What is told of more than one type is told first here.
    ///
    /// ```
    /// use purlin::error::Answer;
    /// use purlin::layers::ErrorPages;
    /// use purlin::StatusCode;
    /// use std::io;
    ///
    /// let pages = ErrorPages::new().on::<io::Error>(|error| match error.kind() {
    ///     io::ErrorKind::NotFound => Some(StatusCode::NOT_FOUND.into()),
    ///     io::ErrorKind::StorageFull => {
    ///         Some(Answer::new(StatusCode::INSUFFICIENT_STORAGE).public("There is no room left for this."))
    ///     }
    ///     _ => None,
    /// });
    /// ```
    pub fn on<E: std::error::Error + 'static>(
        mut self,
        answer: impl Fn(&E) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        self.answers.push(Box::new(move |error| error.find_cause::<E>().and_then(&answer)));
        self
    }

    /// Tells this one of every failure from 500 up; nobody by default.
    ///
    /// ```
    /// use purlin::layers::ErrorPages;
    /// use purlin::report::{Folder, Log};
    ///
    /// let pages = ErrorPages::new().reporter(Log::new()).reporter(Folder::new("data/reports"));
    /// ```
    ///
    /// Then the head of each request is copied on its way in, for the case that it fails.
    pub fn reporter(mut self, reporter: impl Reporter) -> Self {
        Arc::make_mut(&mut self.desk).add(reporter);
        self
    }

    /// Tells also those whom the configuration names in its table `[reports]`: a [`Folder`](crate::report::Folder), and with their
    /// features `Mail` and a `Webhook`. Nobody, by default.
    ///
    /// ```
    /// use purlin::config::Loader;
    /// use purlin::layers::ErrorPages;
    ///
    /// let config = Loader::new().environment("development").toml("[reports]\nfolder = 'data/reports'").load()?;
    /// let pages = ErrorPages::new().reporters(&config.reports)?;
    /// # Ok::<(), purlin::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// One of them cannot be, as it is configured; or needs a feature which the site is built without.
    pub fn reporters(mut self, config: &ReportsConfig) -> Result<Self> {
        Arc::make_mut(&mut self.desk).add_configured(config)?;
        Ok(self)
    }

    /// From which status on an answer is reported; 500 by default. Other failures are reported all the same.
    pub fn report_from(mut self, status: StatusCode) -> Self {
        Arc::make_mut(&mut self.desk).least = status;
        self
    }

    /// What no report shows, besides what [`Redaction`] hides by itself.
    pub fn redact(mut self, redaction: Redaction) -> Self {
        Arc::make_mut(&mut self.desk).redact(redaction);
        self
    }

    /// Shows the configuration in reports, as the command `config` prints it; and hides its secrets wherever they occur.
    pub fn config(mut self, config: &Config) -> Self {
        Arc::make_mut(&mut self.desk).config(config);
        self
    }

    /// What the site calls this build of itself, for reports: `concat!("my-site ", env!("CARGO_PKG_VERSION"))`.
    pub fn release(mut self, release: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.desk).release(release.into());
        self
    }

    /// How many of the last lines that a request logged are in its report, and the spans in which the error arose; by default
    /// none, and nothing is done for it.
    ///
    /// They are those which the log's own level lets through, and which are logged by the request itself: not by tasks that
    /// it spawned. A site with a subscriber of its own adds the layer [`log::Recorder`](crate::log::Recorder) to it.
    pub fn log_lines(mut self, lines: usize) -> Self {
        Arc::make_mut(&mut self.desk).lines = lines;
        self
    }

    /// What is told instead of the error's own status.
    fn answer(&self, error: &Error) -> Option<Answer> {
        if error.status() != StatusCode::INTERNAL_SERVER_ERROR || error.is_panic() {
            return None;
        }
        // Of the site's own, and called where no handler's boundary catches a panic.
        crate::panic::guarded(|| self.answers.iter().find_map(|answer| answer(error))).ok().flatten()
    }

    /// The name of the site's template for a status.
    fn template(&self, status: StatusCode) -> Option<(&dyn Engine, String)> {
        let engine = self.engine.as_deref()?;
        let last = if status.is_server_error() { "errors/500.html" } else { "errors/error.html" };
        let names = [format!("errors/{}.html", status.as_u16()), "errors/error.html".to_owned(), last.to_owned()];
        names.into_iter().find(|name| engine.contains(name)).map(|name| (engine, name))
    }

    async fn html(&self, failure: &Failure<'_>, trail: Option<&Trail>, headers: &mut HeaderMap) -> String {
        let template = self.template(failure.status);
        if !failure.details
            && let Some((engine, name)) = template
        {
            if let Some(page) = self.site_page(engine, name, failure, trail).await {
                return page;
            }
        } else if failure.details {
            let nonce = sealed(failure.facts.nonce.as_ref(), headers);
            return failure.details_page(nonce.value(), template.as_ref().map(|(_, name)| name.as_str()));
        }
        let nonce = sealed(failure.facts.nonce.as_ref(), headers);
        failure.page(nonce.value())
    }

    /// The page of the site's own template; `None` if that fails too.
    async fn site_page(
        &self,
        engine: &dyn Engine,
        name: String,
        failure: &Failure<'_>,
        trail: Option<&Trail>,
    ) -> Option<String> {
        let context = serde_json::json!({
            "status": failure.status.as_u16(),
            "reason": failure.title(),
            "message": failure.public(),
            "request_id": failure.facts.id.as_ref().map(RequestId::as_str),
            "report_id": failure.report.map(|report| &report.id),
        });
        let view = View::new(name, context);
        let links = Links::new(self.desk.shared_site().cloned(), failure.route.cloned());
        // Also a panic in it must not take the answer away.
        let page = caught(failure.facts.render(engine, &view, links)).await.flatten();
        page.inspect_err(|error| {
            tracing::error!(
                template = view.template(),
                error = %Redaction::new().text(&format!("{error:#}")).escape_debug(),
                place = error.place().map(tracing::field::display),
                "the template of an error page failed, so the framework's page was sent"
            );
            if let Some(trail) = trail {
                trail.leave_view(&view);
            }
            let evidence = Evidence {
                origin: Origin::ErrorPage,
                // Of the page, and not of the answer.
                status: error.status(),
                error: Some(error),
                public: failure.public(),
                otherwise: "",
                trail,
                route: failure.route,
            };
            if self.desk.is_staffed() {
                self.desk.tell(evidence);
            }
        })
        .ok()
    }

    /// The answer to a failure: reported, and with a page if it has none.
    async fn told(&self, mut response: Response, case: Case) -> Response {
        let Case { facts, accept, trail, lacks_page, details } = case;
        let error = response.extensions().get::<CarriedError>().cloned();
        let route = response.extensions().get::<MatchedRoute>().cloned();
        let answer = error.as_deref().filter(|error| error.status() == response.status());
        let answer = answer.and_then(|error| self.answer(error)).filter(|_| lacks_page);
        if let Some(answer) = &answer {
            *response.status_mut() = answer.status;
            for (name, value) in &answer.headers {
                response.headers_mut().insert(name, value.clone());
            }
        }
        let mut failure = Failure {
            status: response.status(),
            error: error.as_deref(),
            answer: answer.as_ref(),
            report: None,
            facts: &facts,
            route: route.as_ref(),
            site: self.desk.site(),
            details,
        };
        let is_told = self.desk.is_staffed() && failure.status >= self.desk.least;
        let report = trail.as_ref().filter(|_| is_told || details).map(|trail| {
            self.desk.write(Evidence {
                origin: Origin::Answer,
                status: failure.status,
                error: failure.error,
                public: failure.public(),
                otherwise: failure.otherwise(),
                trail: Some(trail),
                route: failure.route,
            })
        });
        if let Some(report) = &report {
            if is_told {
                self.desk.hand(report);
            }
            response.extensions_mut().insert(report.clone());
        }
        if !lacks_page {
            return response;
        }
        failure.report = report.as_deref();
        let headers = response.headers_mut();
        // Those of the body that is not there.
        for name in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG, LAST_MODIFIED] {
            headers.remove(name);
        }
        let format = accept.format();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        negotiate::vary(headers, &ACCEPT);
        if details {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let page = match format {
            Format::Html => self.html(&failure, trail.as_ref(), headers).await,
            Format::Problem => failure.problem(),
            Format::Markdown => failure.markdown(),
            Format::Text => failure.text(),
        };
        // Details name the method: what a GET would be told has another length (RFC 9110 §8.6).
        let is_head = failure.facts.method == Method::HEAD;
        *response.body_mut() = if details && is_head { Body::empty() } else { Body::from(page) };
        response
    }
}

/// A request whose answer failed.
struct Case {
    facts: Facts,
    accept: Accept,
    trail: Option<Trail>,
    lacks_page: bool,
    /// Whether the client is told everything.
    details: bool,
}

impl Middleware for ErrorPages {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let facts = Facts::of(&mut req);
        let accept = Accept::of(&req);
        let details = self.details && !is_strangers(&req);
        if details {
            req.extensions_mut().insert(Detailed);
        }
        let wanted = details || self.desk.is_staffed();
        let trail = wanted.then(|| Trail::begin(&mut req, self.desk.lines));
        let recording = trail.as_ref().and_then(|trail| trail.recording().cloned());
        // Where a handler panicked, the router has caught that; a layer in between is as likely to, and some work before they are
        // polled.
        let answer = caught(recording::watched(recording, lazily(move || next.call(req))));
        Answering::below(answer, move |caught| {
            let mut response = caught.unwrap_or_else(Response::from);
            let lacks_page = lacks_page(&response, &facts.method);
            if lacks_page || (trail.is_some() && response.error().is_some()) {
                let case = Case { facts, accept, trail, lacks_page, details };
                return Step::Later(Box::pin(async move { Ok(self.told(response, case).await) }));
            }
            match trail {
                Some(trail) if response.body().as_bytes().is_none() => {
                    Watcher::over(&mut response, self.desk.clone(), trail);
                }
                Some(trail) => trail.end(),
                None => {}
            }
            Step::Done(Ok(response))
        })
    }

    fn describe(&self, about: &mut About) {
        about.option("details", self.details).option("templates", self.engine.is_some());
        if self.desk.is_staffed() {
            about.option("reporters", self.desk.names()).told(self.desk.clone());
        }
        about.wants::<RequestId>().wants::<CspNonce>();
        #[cfg(debug_assertions)]
        about.wants::<crate::live::LiveScript>();
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        if let Some(engine) = &self.engine {
            engine.check(start.site())?;
        }
        self.desk.start(start)?;
        #[cfg(all(feature = "debugger", debug_assertions))]
        self.desk.share(start);
        Ok(())
    }
}

/// Whether the debugger above has found that it is not the developer who asks.
#[cfg(all(feature = "debugger", debug_assertions))]
fn is_strangers(req: &Request) -> bool {
    req.extensions().get::<crate::request::Stranger>().is_some()
}

/// Nobody has looked.
#[cfg(not(all(feature = "debugger", debug_assertions)))]
fn is_strangers(_: &Request) -> bool {
    false
}

/// Sets a policy that lets the page's own style in and nothing else; the nonce is the one that a layer above may have.
fn sealed(nonce: Option<&CspNonce>, headers: &mut HeaderMap) -> CspNonce {
    let nonce = nonce.cloned().unwrap_or_default();
    let style = nonce.value().map(|nonce| format!("style-src 'nonce-{nonce}'; ")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; {style}img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    nonce
}
