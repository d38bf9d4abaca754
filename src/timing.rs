//! `Timings`: where the time of one request goes, in debug builds.

use crate::extract::FromRequest;
use crate::{Request, Result};
use serde::Serialize;
use std::panic::Location;
use std::sync::Arc;
#[cfg(debug_assertions)]
use {
    crate::editor::{self, Editor},
    crate::request::original_uri,
    crate::site::{LayerInfo, RouteInfo, Site},
    crate::{MatchedRoute, RequestExt},
    http::header::HOST,
    http::{HeaderValue, Method},
    std::fmt::Write,
    std::sync::atomic::{AtomicBool, Ordering},
    std::sync::{Mutex, MutexGuard, PoisonError},
    std::time::{Duration, Instant},
};

/// What one request has met, and when: an argument of handlers below the layer [`ServerTiming`](crate::layers::ServerTiming).
///
/// It can be had everywhere. Where that layer does not stand above, where it is off, and in every release build, there is
/// nothing in it: a handler need not know which it is.
///
/// ```
/// use purlin::layers::{RequestIds, ServerTiming};
/// use purlin::timing::Timings;
/// use purlin::{Router, Stack, get};
///
/// async fn way(timings: Timings) -> String {
///     let Some(way) = timings.way_in() else {
///         return "nobody looked at the clock".to_owned();
///     };
///     way.steps.into_iter().map(|step| format!("{} ({})\n", step.name, step.place)).collect()
/// }
///
/// let app = Stack::new()
///     .layer(ServerTiming::new())
///     .layer(RequestIds::new())
///     .app(Router::new().route("/", get(way).name("way")));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let page = purlin::testing::Client::new(app).get("/").await;
/// if cfg!(debug_assertions) {
///     page.assert_contains("RequestIds (");
/// } else {
///     page.assert_contains("nobody looked");
/// }
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Timings {
    #[cfg(debug_assertions)]
    asked: Option<Asked>,
}

/// How a request came to where it is: see [`Timings::way_in`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Way {
    /// The address that was asked for, with its host: `http://127.0.0.1:8000/`.
    pub url: String,
    /// How long ago the program that answers was built: `4 s ago`; `None` where that cannot be told.
    pub built: Option<String>,
    /// From the layer `ServerTiming` to here, in microseconds.
    pub micros: f64,
    /// What it met, outermost first.
    pub steps: Vec<Step>,
}

/// One part of a site that a request has met on its way in.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// What it is.
    pub kind: Kind,
    /// A layer's name as the stack prints it; a route's name, or else its path; a handler's with its module; a file's.
    pub name: String,
    /// A layer's options as the stack prints them: `limit=2 MiB`; the methods and the path of a route.
    pub options: String,
    /// The file and the line: `src/stack.rs:57`.
    pub place: String,
    /// What opens that place in the editor that `PURLIN_EDITOR` names: `vscode://file/…`; `None` where it names none.
    pub link: Option<String>,
    /// From when the request came to this part until it came to the next, in microseconds. What the part does on the way out is not
    /// in it, since that is still to come. `None` where nobody looked at the clock: of layers above `ServerTiming`, of the
    /// handler, and of files.
    pub micros: Option<f64>,
}

/// What a [`Step`] is; in templates the word in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// A layer of the stack, or of the route.
    Layer,
    /// The route that was matched.
    Route,
    /// The handler, at the line that asked.
    Handler,
    /// A file that the handler named.
    File,
}

impl Timings {
    /// The way of the request so far: the layers around, the route that was matched, and the line that calls this.
    ///
    /// `None` where nothing is noted. A layer that the request has left again, as one of an application that a
    /// [`Cascade`](crate::Cascade) passed by, is not on it.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn way_in(&self) -> Option<Way> {
        #[cfg(debug_assertions)]
        let way = {
            let here = Location::caller();
            self.asked.as_ref().and_then(|asked| asked.way_in(here))
        };
        #[cfg(not(debug_assertions))]
        let way = None;
        way
    }
}

impl Way {
    /// Goes on to a file, by its path in the site's folder: the template that the handler is about to have rendered, say.
    #[must_use]
    pub fn then(mut self, file: &str) -> Self {
        #[cfg(debug_assertions)]
        let link = link(&Editor::from_env(), file, 1, 1);
        #[cfg(not(debug_assertions))]
        let link = None;
        let name = file.rsplit('/').next().unwrap_or(file).to_owned();
        let (options, place) = (String::new(), file.to_owned());
        self.steps.push(Step { kind: Kind::File, name, options, place, link, micros: None });
        self
    }
}

impl FromRequest for Timings {
    async fn from_request(req: &mut Request) -> Result<Self> {
        #[cfg(debug_assertions)]
        let timings = Self { asked: Asked::of(req) };
        #[cfg(not(debug_assertions))]
        let timings = {
            let _ = req;
            Self {}
        };
        Ok(timings)
    }
}

/// A request within a layer or a route. In a release build it is nothing, and takes no room.
pub(crate) struct Visit {
    #[cfg(debug_assertions)]
    noted: Option<(Clock, usize)>,
}

#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Visit>() == 0);

#[cfg(not(debug_assertions))]
impl Visit {
    #[inline(always)]
    pub(crate) fn to_layer(_: &Request, _: &'static Location<'static>, _: Option<&str>) -> Self {
        Self {}
    }

    #[inline(always)]
    pub(crate) fn to_route(_: &Request, _: &Arc<str>) -> Self {
        Self {}
    }

    #[inline(always)]
    pub(crate) fn end(&mut self) {}
}

#[cfg(debug_assertions)]
impl Visit {
    /// The request comes to the layer of this line.
    pub(crate) fn to_layer(req: &Request, place: &'static Location<'static>, written: Option<&str>) -> Self {
        Self::begin(req, || Part::Layer { place, written: written.map(str::to_owned) })
    }

    /// The router has found the route of this pattern.
    pub(crate) fn to_route(req: &Request, pattern: &Arc<str>) -> Self {
        Self::begin(req, || Part::Route { pattern: pattern.clone() })
    }

    fn begin(req: &Request, part: impl FnOnce() -> Part) -> Self {
        let clock = req.extensions().get::<Clock>();
        Self { noted: clock.and_then(|clock| Some((clock.clone(), clock.note(part())?))) }
    }

    /// The answer comes back.
    pub(crate) fn end(&mut self) {
        if let Some((clock, at)) = self.noted.take() {
            let now = clock.now();
            clock.locked()[at].left = Some(now);
        }
    }
}

/// A request that was given up has left, too.
#[cfg(debug_assertions)]
impl Drop for Visit {
    fn drop(&mut self) {
        self.end();
    }
}

/// A request that asks for its own way.
#[cfg(debug_assertions)]
#[derive(Clone, Debug)]
struct Asked {
    clock: Clock,
    method: Method,
    path: String,
    url: String,
    route: Option<MatchedRoute>,
}

#[cfg(debug_assertions)]
impl Asked {
    fn of(req: &Request) -> Option<Self> {
        let clock = req.extensions().get::<Clock>()?.clone();
        if clock.is_hidden() {
            return None;
        }
        let uri = original_uri(req);
        let host = req.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or(uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
        let scheme = if req.is_https() { "https" } else { "http" };
        let url = format!("{scheme}://{host}{}", uri.path_and_query().map_or("/", |path| path.as_str()));
        let (method, path) = (req.method().clone(), uri.path().to_owned());
        Some(Self { clock, method, path, url, route: req.extensions().get().cloned() })
    }

    fn way_in(&self, here: &'static Location<'static>) -> Option<Way> {
        let site = self.clock.0.site.as_ref()?;
        let route = self.route.as_ref();
        let host = route.and_then(MatchedRoute::host);
        let route = route.and_then(|route| Some(site.route_at(&self.path, Some(route.pattern()), host)?.0));
        // A route of `GET` answers `HEAD` too, with the layers that stand on it for `GET`.
        let answers = |method: &Method| route.is_some_and(|route| route.methods.contains(method));
        let as_get = self.method == Method::HEAD && !answers(&Method::HEAD) && answers(&Method::GET);
        let method = if as_get { &Method::GET } else { &self.method };
        let layers = site.layers_on(method, &self.path, route.map(|route| &*route.path), host);

        let editor = Editor::from_env();
        let visits = self.clock.locked();
        // No visit begins after it, while it is looked at.
        let now = self.clock.now();
        let open: Vec<&Noted> = visits.iter().filter(|visit| visit.left.is_none()).collect();
        let until_next = |at: usize| open.get(at + 1).map_or(now, |next| next.entered).saturating_sub(open[at].entered);
        let (mut met, mut counting, mut outer) = (0, false, 0);
        let mut steps: Vec<Step> = layers
            .into_iter()
            .filter_map(|layer| {
                let found = open[met..].iter().position(|visit| visit.is_of(layer)).map(|at| met + at);
                let took = match found {
                    Some(at) => {
                        met = at + 1;
                        Some(until_next(at))
                    }
                    // The layer that began to count.
                    None if !counting && layer.is_provider::<Timings>() => {
                        Some(open.first().map_or(now, |first| first.entered))
                    }
                    None if counting => return None,
                    None => None,
                };
                counting |= took.is_some();
                outer += usize::from(layer.route.is_none());
                Some(layer_step(&editor, layer, took))
            })
            .collect();
        let matched = open.iter().rposition(|visit| matches!(visit.part, Part::Route { .. }));
        if let Some(route) = route {
            // Layers of its own are met when it is found.
            steps.insert(outer, route_step(&editor, route, matched.map(until_next)));
        }
        let (name, options) = (handler_name(route, method), String::new());
        let (place, link) = place(&editor, here);
        steps.push(Step { kind: Kind::Handler, name, options, place, link, micros: None });
        Some(Way { url: self.url.clone(), built: built(), micros: micros(now), steps })
    }
}

#[cfg(debug_assertions)]
fn layer_step(editor: &Editor, layer: &LayerInfo, took: Option<Duration>) -> Step {
    let (place, link) = match &layer.written {
        Some(line) => (line.clone(), written_link(editor, line)),
        None => place(editor, layer.place),
    };
    let mut options = String::new();
    for (name, value) in &layer.options {
        let space = if options.is_empty() { "" } else { " " };
        let _ = write!(options, "{space}{name}={value}");
    }
    Step { kind: Kind::Layer, name: layer.name.clone(), options, place, link, micros: took.map(micros) }
}

#[cfg(debug_assertions)]
fn route_step(editor: &Editor, route: &RouteInfo, took: Option<Duration>) -> Step {
    let mut options: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
    options.push(&route.path);
    let (place, link) = place(editor, route.place);
    let name = route.name.as_ref().unwrap_or(&route.path).clone();
    Step { kind: Kind::Route, name, options: options.join(" "), place, link, micros: took.map(micros) }
}

/// `home::show` of `my_site::handlers::home::show`.
#[cfg(debug_assertions)]
fn handler_name(route: Option<&RouteInfo>, method: &Method) -> String {
    let handler = route.and_then(|route| {
        let at = route.methods.iter().position(|other| other == method).unwrap_or(route.methods.len());
        route.handlers.get(at).or(route.handlers.last())
    });
    let path: Vec<&str> = handler.map_or("handler", |handler| *handler).rsplitn(3, "::").collect();
    match path[..] {
        [name, module, ..] => format!("{module}::{name}"),
        _ => path.concat(),
    }
}

/// A line as text, and what opens it.
#[cfg(debug_assertions)]
fn place(editor: &Editor, place: &Location<'_>) -> (String, Option<String>) {
    let (file, line) = (place.file(), place.line());
    (format!("{file}:{line}"), link(editor, file, line, place.column()))
}

#[cfg(debug_assertions)]
fn link(editor: &Editor, file: &str, line: u32, column: u32) -> Option<String> {
    // Without an editor no file is looked for.
    editor.link("", 1, 1)?;
    editor.link(&editor::on_disk(file)?.to_string_lossy(), line, column)
}

/// Of a line of a file for applications: `site.toml:12`.
#[cfg(debug_assertions)]
fn written_link(editor: &Editor, line: &str) -> Option<String> {
    let (file, line) = line.rsplit_once(':')?;
    link(editor, file, line.parse().ok()?, 1)
}

#[cfg(debug_assertions)]
fn built() -> Option<String> {
    let changed = std::env::current_exe().and_then(|program| program.metadata()?.modified());
    let seconds = changed.ok()?.elapsed().unwrap_or_default().as_secs();
    Some(match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86400),
    })
}

/// To a tenth.
#[cfg(debug_assertions)]
fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// Counts from when `ServerTiming` got the request; in the request's extensions below it.
#[cfg(debug_assertions)]
#[derive(Clone)]
pub(crate) struct Clock(Arc<Counting>);

#[cfg(debug_assertions)]
struct Counting {
    begun: Instant,
    site: Option<Arc<Site>>,
    visits: Mutex<Vec<Noted>>,
    /// Who asks is a stranger, and is told nothing.
    hidden: AtomicBool,
}

/// One visit, in the order in which they began.
#[cfg(debug_assertions)]
struct Noted {
    part: Part,
    entered: Duration,
    left: Option<Duration>,
}

#[cfg(debug_assertions)]
#[derive(PartialEq)]
enum Part {
    Layer { place: &'static Location<'static>, written: Option<String> },
    Route { pattern: Arc<str> },
}

/// More visits of one request are not noted: a handler may include another path as often as it likes.
#[cfg(debug_assertions)]
const MOST_VISITS: usize = 1000;

#[cfg(debug_assertions)]
impl Noted {
    fn is_of(&self, layer: &LayerInfo) -> bool {
        matches!(&self.part, Part::Layer { place, written } if *place == layer.place && *written == layer.written)
    }
}

#[cfg(debug_assertions)]
impl Clock {
    /// Begins to count.
    pub(crate) fn new(site: Option<Arc<Site>>) -> Self {
        Self(Arc::new(Counting {
            begun: Instant::now(),
            site,
            visits: Mutex::default(),
            hidden: AtomicBool::new(false),
        }))
    }

    /// From now on nobody is told anything: the debugger knows who is on this machine.
    #[cfg(feature = "debugger")]
    pub(crate) fn hide(&self) {
        self.0.hidden.store(true, Ordering::Relaxed);
    }

    fn is_hidden(&self) -> bool {
        self.0.hidden.load(Ordering::Relaxed)
    }

    fn now(&self) -> Duration {
        self.0.begun.elapsed()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Noted>> {
        self.0.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, part: Part) -> Option<usize> {
        let mut visits = self.locked();
        let at = visits.len();
        (at < MOST_VISITS).then(|| visits.push(Noted { part, entered: self.now(), left: None }))?;
        Some(at)
    }

    /// The value of `Server-Timing` (W3C Server Timing, §3): how long it took in all, and how long each part that was met, without
    /// those further in; in milliseconds. The time of a route is that of its handler, with its arguments. `None` for a stranger.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        if self.is_hidden() {
            return None;
        }
        let (now, visits) = (self.now(), self.locked());
        let mut times: Vec<(&Part, Duration)> = Vec::new();
        for (part, own) in own_times(&visits, now) {
            match times.iter_mut().find(|(other, _)| *other == part) {
                Some((_, time)) => *time += own,
                None => times.push((part, own)),
            }
        }
        let mut header = format!("total;dur={:.3}", millis(now));
        for (part, time) in times {
            let name = match part {
                Part::Layer { .. } => self.name_of(part),
                Part::Route { pattern } => Some(format!("handler;desc={}", quoted(pattern))),
            };
            if let Some(name) = name {
                let _ = write!(header, ", {name};dur={:.3}", millis(time));
            }
        }
        Some(HeaderValue::try_from(header).unwrap_or_else(|_| HeaderValue::from_static("total")))
    }

    /// A layer's name as that of a metric, which is a token; `None` for what the site does not have as a layer: an `Option` that is
    /// `None`, say.
    fn name_of(&self, part: &Part) -> Option<String> {
        let Part::Layer { place, written } = part else { return None };
        let layers = self.0.site.as_ref()?.layers();
        let layer = layers.iter().find(|layer| layer.place == *place && layer.written == *written)?;
        let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let token = layer.name.split(|c| !known(c)).find(|part| !part.is_empty()).unwrap_or("layer");
        Some(if token == layer.name { token.to_owned() } else { format!("{token};desc={}", quoted(&layer.name)) })
    }
}

#[cfg(debug_assertions)]
impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// The time that each visit took without those that began and ended within it.
#[cfg(debug_assertions)]
fn own_times(visits: &[Noted], now: Duration) -> Vec<(&Part, Duration)> {
    let left = |visit: &Noted| visit.left.unwrap_or(now);
    let mut own: Vec<(&Part, Duration)> = Vec::with_capacity(visits.len());
    let mut around: Vec<usize> = Vec::new();
    for (at, visit) in visits.iter().enumerate() {
        while around.last().is_some_and(|&outer| left(&visits[outer]) <= visit.entered) {
            around.pop();
        }
        let whole = left(visit).saturating_sub(visit.entered);
        if let Some(&outer) = around.last() {
            own[outer].1 = own[outer].1.saturating_sub(whole);
        }
        own.push((&visit.part, whole));
        around.push(at);
    }
    own
}

#[cfg(debug_assertions)]
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// As a quoted string (RFC 9110 §5.6.4); what a header cannot have is left out.
#[cfg(debug_assertions)]
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_part_is_without_those_within_it() {
        let route = |pattern: &str| Part::Route { pattern: pattern.into() };
        let ms = Duration::from_millis;
        // a holds b and c, one after the other; b holds d; e began in c and was not left.
        let visits: Vec<Noted> =
            [("a", 0, Some(100)), ("b", 10, Some(40)), ("d", 20, Some(25)), ("c", 40, None), ("e", 60, None)]
                .map(|(name, entered, left)| Noted { part: route(name), entered: ms(entered), left: left.map(ms) })
                .into();
        let own: Vec<Duration> = own_times(&visits, ms(100)).into_iter().map(|(_, own)| own).collect();
        assert_eq!(own, [10, 25, 5, 20, 40].map(ms));
    }

    #[test]
    fn a_place_on_this_machine_is_a_link_where_an_editor_is_named() {
        let (zed, none) = (Editor::new("zed", ""), Editor::new("", ""));
        let file = concat!("zed://file", env!("CARGO_MANIFEST_DIR"), "/src/timing.rs:3:1");
        assert_eq!(link(&zed, "src/timing.rs", 3, 1).as_deref(), Some(file));
        assert_eq!(written_link(&zed, "src/timing.rs:3").as_deref(), Some(file));
        assert_eq!(link(&zed, "src/no-such-file.rs", 3, 1), None);
        assert_eq!(link(&none, "src/timing.rs", 3, 1), None);
        assert_eq!(written_link(&zed, "a pipeline"), None);
    }

    #[test]
    fn what_is_quoted_can_stand_in_a_header() {
        for (text, expected) in [
            ("/posts/{id}", r#""/posts/{id}""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("grün\r\nx: y", r#""grnx: y""#),
            ("State<Guestbook>", r#""State<Guestbook>""#),
        ] {
            assert_eq!(quoted(text), expected);
            assert!(HeaderValue::try_from(quoted(text)).is_ok());
        }
    }

    #[test]
    fn a_handler_is_named_with_its_module() {
        let mut route = RouteInfo {
            name: None,
            host: None,
            path: "/".to_owned(),
            methods: vec![Method::GET, Method::POST],
            handlers: vec!["my_site::handlers::home::show", "sign"],
            place: Location::caller(),
        };
        assert_eq!(handler_name(Some(&route), &Method::GET), "home::show");
        assert_eq!(handler_name(Some(&route), &Method::POST), "sign");
        route.methods.clear();
        assert_eq!(handler_name(Some(&route), &Method::GET), "home::show");
        assert_eq!(handler_name(None, &Method::GET), "handler");
    }
}
