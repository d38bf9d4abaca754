//! Answers requests for public files.

use crate::files::Files;
use crate::site::{About, Start};
use crate::{
    Assets, Error, IntoResponse, Middleware, Redirect, Request, RequestExt, Response, Result, Service, StaticUrls,
    spare,
};
use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};
use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What browsers and robots ask for at the root, by convention.
const AT_ROOT: [&str; 6] =
    ["apple-touch-icon.png", "favicon.ico", "favicon.svg", "humans.txt", "robots.txt", "sitemap.xml"];

/// Answers `GET` and `HEAD` for the files of a folder below `/static`, and passes everything else on.
///
/// - `static_url("site.css")` in templates gives `/static/site.0a1b2c3d4e5f.css`: the file's fingerprint is in the URL, so
///   that it may be kept for a year (`immutable`, RFC 8246). By its plain name, or by an old fingerprint, the file is answered
///   for this once: `Cache-Control: no-cache`, which lets a browser ask whether it has changed.
/// - `ETag` and `Last-Modified`, conditional requests (RFC 9110 §13), one range or several, `If-Range` (§14, §13.1.5).
/// - A sibling `site.css.br`, `.zst` or `.gz` that is not older is sent to those who accept it (§12.5.3).
/// - Files of up to 256 KiB are answered from memory, up to [`memory`](StaticFiles::memory) in all; each answer looks at the
///   file's time and size, so that an edit shows at once. Larger files are streamed in pieces of 128 KiB, off the runtime's
///   threads. In a release build all is in the executable (`purlin::embed!`).
/// - A folder answers with its `index.html`; without the slash at its end it is redirected.
/// - No encoding of a path leads out of the folder, and no part of it that begins with a dot is served. Symbolic links are
///   followed: whoever may write into the folder decides what is public.
/// - `robots.txt`, `favicon.ico` and their like are answered at the root too.
///
/// ```
/// use purlin::layers::StaticFiles;
/// use purlin::{Assets, Router, Stack};
///
/// let files = Assets::embedded(&[("site.css", b"body { color: teal }")]);
/// let app = Stack::new().layer(StaticFiles::new(files).at("/assets")).app(Router::new());
/// # app.check().unwrap();
/// ```
#[derive(Debug)]
pub struct StaticFiles {
    assets: Assets,
    at: String,
    memory: u64,
    cache_control: HeaderValue,
    files: std::sync::OnceLock<Arc<Files>>,
    problem: Option<String>,
}

impl StaticFiles {
    /// The files of this folder, below `/static`.
    pub fn new(assets: Assets) -> Self {
        Self {
            assets,
            at: "/static".to_owned(),
            memory: 32 << 20,
            cache_control: HeaderValue::from_static("no-cache"),
            files: std::sync::OnceLock::new(),
            problem: None,
        }
    }

    /// The path below which the files are; `/static` by default. `/` looks for a file at every request.
    pub fn at(mut self, path: &str) -> Self {
        if !path.starts_with('/') {
            self.problem = Some(format!("StaticFiles::at expects a path that begins with a slash, found {path:?}"));
        }
        self.at = path.trim_end_matches('/').to_owned();
        self
    }

    /// How many bytes of files are held in memory; 32 MiB by default. Those in the executable do not count.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// `Cache-Control` of a file asked for without its fingerprint; `no-cache` by default.
    pub fn cache_control(mut self, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.cache_control = value,
            Err(_) => self.problem = Some(format!("StaticFiles: no header can hold the Cache-Control {value:?}")),
        }
        self
    }

    /// The files as a service, to be mounted: what is not there is a 404, and another method a 405.
    ///
    /// ```
    /// use purlin::layers::StaticFiles;
    /// use purlin::{Assets, Router};
    ///
    /// let routes = Router::new().mount("/downloads", StaticFiles::new(Assets::folder("/srv/downloads")).service());
    /// ```
    pub fn service(self) -> FileService {
        FileService { files: Self { at: String::new(), ..self } }
    }

    fn files(&self) -> &Arc<Files> {
        self.files.get_or_init(|| Arc::new(Files::new(self.assets.clone(), self.memory, self.cache_control.clone())))
    }

    /// The answer, if the request is for one of the files.
    fn answer(&self, req: &Request) -> Result<Option<Response>> {
        let path = req.uri().path();
        let Some(rest) = path.strip_prefix(self.at.as_str()).and_then(|rest| rest.strip_prefix('/')) else {
            let name = path.strip_prefix('/').unwrap_or_default();
            if AT_ROOT.contains(&name) {
                return self.files().answer(req.method(), req.headers(), name);
            }
            return Ok(None);
        };
        let Some(name) = decoded(rest) else {
            return Ok(None);
        };
        if name.is_empty() || name.ends_with('/') {
            return self.files().answer(req.method(), req.headers(), &format!("{name}index.html"));
        }
        let found = self.files().answer(req.method(), req.headers(), &name)?;
        if found.is_none() && self.files().contains(&format!("{name}/index.html")) {
            return Ok(Some(with_slash(req)));
        }
        Ok(found)
    }
}

/// The path decoded once; `None` for what no file's name can be. A slash or backslash that was encoded is none of the path's
/// own, and is refused; what leads out of the folder is refused by [`Assets::path`].
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let lower = path.to_ascii_lowercase();
    if lower.contains("%2f") || lower.contains("%5c") || lower.contains("%00") {
        return None;
    }
    percent_encoding::percent_decode_str(path).decode_utf8().ok()
}

fn with_slash(req: &Request) -> Response {
    let path = req.original_path().trim_start_matches('/');
    let query = req.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::permanent(format!("/{path}/{query}")).into_response()
}

impl Middleware for StaticFiles {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let reads = req.method() == Method::GET || req.method() == Method::HEAD;
        let answer = if reads { self.answer(&req) } else { Ok(None) };
        match answer.transpose() {
            Some(answer) => {
                spare::keep(&mut req);
                Answer::Found { answer: Some(answer) }
            }
            None => Answer::Passed { passed: next.call(req) },
        }
    }

    fn describe(&self, about: &mut About) {
        let place = self.assets.as_folder().map_or("in the executable".to_owned(), |path| path.display().to_string());
        about.option("at", if self.at.is_empty() { "/" } else { &self.at }).option("files", place);
        about.reads(&self.assets);
        let (files, at) = (self.files().clone(), self.at.clone());
        about.share(StaticUrls::new(move |name| {
            let marked = files.marked(name)?;
            Ok(format!("{at}/{}", percent_encoding::utf8_percent_encode(&marked, IN_A_PATH)))
        }));
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        if let Some(problem) = &self.problem {
            return Err(Error::internal(problem.clone()));
        }
        // A folder that is not there is a mistake to learn of now, and not by a page without style.
        self.files().assets().names()?;
        Ok(())
    }
}

pin_project_lite::pin_project! {
    /// The answer of a file, or of what stands below. An `async fn` would have room for the request of each that passes.
    #[project = AnswerProjection]
    enum Answer<F> {
        Found { answer: Option<Result<Response>> },
        Passed { #[pin] passed: F },
    }
}

impl<F: Future<Output = Response>> Future for Answer<F> {
    type Output = Result<Response>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response>> {
        match self.project() {
            AnswerProjection::Passed { passed } => passed.poll(cx).map(Ok),
            AnswerProjection::Found { answer } => match answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => panic!("a future was polled after it had been ready"),
            },
        }
    }
}

/// What a file's name may have in it and a URL's path may not.
const IN_A_PATH: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');

/// Public files as a service: see [`StaticFiles::service`].
#[derive(Debug)]
pub struct FileService {
    files: StaticFiles,
}

impl Service for FileService {
    async fn call(&self, req: Request) -> Response {
        if req.method() != Method::GET && req.method() != Method::HEAD {
            let message = format!("files are answered for GET and HEAD, not for {}", req.method());
            return Error::new(StatusCode::METHOD_NOT_ALLOWED, message)
                .header(ALLOW, HeaderValue::from_static("GET, HEAD"))
                .into();
        }
        match self.files.answer(&req) {
            Ok(Some(response)) => response,
            Ok(None) => Error::not_found(format!("no public file at {}", req.original_path())).into(),
            Err(error) => error.into(),
        }
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        self.files.problem.as_ref().map_or(Ok(()), |problem| Err(Error::internal(problem.clone())))
    }
}
