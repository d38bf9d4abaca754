//! Watches what passes at its place, and says which rule of HTTP it breaks.

use crate::lint::between::{self, Below, Read, Record};
use crate::lint::{self, Asked, Reading, Rule, Side, Violation, rule};
use crate::service::then;
use crate::site::{About, Start};
use crate::{Body, Bytes, Error, MatchedRoute, Middleware, Request, Response, Result, Service};
use http_body::{Body as _, Frame, SizeHint};
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// Holds every answer that passes against the [rules](crate::lint), and logs a warning for each that is broken.
///
/// It stands anywhere in the stack, and several times if that helps: of two, the outer one says what the layers between them
/// broke, lost or changed, and keeps silent on what was broken further in. An answer is never changed by a `Lint` that logs or
/// calls; a body is looked at as it passes, and is not collected.
///
/// **In a release build it passes everything on**, unless it is to watch [always](Lint::always). Where it watches it adds 5 µs to a
/// small page in an optimised build, and a second one 4 µs more (`benches/README.md`).
///
/// ```
/// use purlin::layers::Lint;
/// use purlin::{Response, Stack, StatusCode, get};
///
/// async fn moved() -> StatusCode {
///     StatusCode::FOUND // and where to?
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use purlin::{Body, Router, Service, http::Request};
/// use std::sync::{Arc, Mutex};
/// let found = Arc::new(Mutex::new(Vec::new()));
/// let heard = found.clone();
/// let lint = Lint::new().always().call(move |violation| heard.lock().unwrap().push(violation.rule().id));
/// let app = Stack::new().layer(lint).app(Router::new().route("/old", get(moved)));
/// app.call(Request::get("/old").body(Body::empty()).unwrap()).await;
/// assert_eq!(*found.lock().unwrap(), ["location-missing"]);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lint {
    on: bool,
    side: Side,
    place: &'static Location<'static>,
    problem: Option<String>,
    judge: Judge,
}

/// What is done with a violation.
#[derive(Clone)]
struct Judge {
    allowed: Vec<&'static Rule>,
    then: Then,
    /// Whether what a `Lint` further in has said is said again.
    again: bool,
}

#[derive(Clone)]
enum Then {
    Log(Arc<Mutex<HashSet<u64>>>),
    Fail,
    Call(Arc<dyn Fn(&Violation) + Send + Sync>),
}

impl Lint {
    /// Logs, as one event with the target `purlin::lint` at the level `WARN`. The same of the same route, or of the same path where
    /// the answer does not tell its route, is logged once; after 100 different ones it says that it stops.
    #[track_caller]
    pub fn new() -> Self {
        let judge = Judge { allowed: Vec::new(), then: Then::Log(Arc::default()), again: false };
        Self { on: cfg!(debug_assertions), side: Side::Inside, place: Location::caller(), problem: None, judge }
    }

    /// Watches in release builds, too.
    pub fn always(mut self) -> Self {
        self.on = true;
        self
    }

    /// Puts a 500 in the place of an answer that breaks a rule, and breaks off a body that does; for tests. It then says what was
    /// broken further in, too.
    ///
    /// The 500 carries the violation as its error: an [`ErrorPages`](super::ErrorPages) above makes a page of it.
    pub fn fail(mut self) -> Self {
        self.judge.then = Then::Fail;
        self.judge.again = true;
        self
    }

    /// Calls this with each violation, instead of logging it.
    pub fn call(mut self, hear: impl Fn(&Violation) + Send + Sync + 'static) -> Self {
        self.judge.then = Then::Call(Arc::new(hear));
        self
    }

    /// Lets a rule be broken, by its id; may be called several times. The site does not start if there is no such rule.
    pub fn allow(mut self, id: &str) -> Self {
        match lint::rule(id) {
            Ok(rule) => self.judge.allowed.push(rule),
            Err(error) => self.problem = Some(format!("the layer Lint ({}): {error}", self.place)),
        }
        self
    }

    /// For the testing client: says everything, of answers seen from this side.
    pub(crate) fn of(side: Side) -> Self {
        let mut lint = Self::new().always();
        lint.side = side;
        lint.judge.again = true;
        lint
    }

    /// Notes what is asked.
    pub(crate) fn begin(&self, req: &mut Request) -> Watch {
        let asked = Asked::by(req);
        let (below, above) = Below::swap(req);
        Watch { asked, below, above }
    }

    /// Looks at what was answered.
    ///
    /// # Errors
    ///
    /// A violation, if it is to fail.
    pub(crate) fn end(&self, watch: Watch, mut response: Response) -> Result<Response> {
        let Watch { asked, below, above } = watch;
        let below = below.take(&mut response);
        let route = response.extensions().get::<MatchedRoute>().cloned();
        let mut broken = lint::check(&asked, &response, self.side);
        if let Some(below) = &below {
            broken.extend(between::check(&asked, below, &response, self.place));
        }
        let read = Arc::new(Read::default());
        let streams = response.body().as_bytes().is_none();
        // For those that have something to compare it with.
        let compared = above.is_some() || (streams && below.is_some());
        let record = compared.then(|| Arc::new(Record::of(&response, self.place, read.clone())));
        // A body at hand stays at hand, for layers above that look at it; all about it is known.
        if streams {
            let reading = Reading::of(&asked, &response);
            let body = response.body_mut().take();
            let (below, record, judge, read) = (below.clone(), record.clone(), self.judge.clone(), read.clone());
            let route = route.clone();
            let watched =
                Watched { body, reading, asked, route, below, record, read, judge, ahead: None, compared: false };
            *response.body_mut() = Body::new(watched);
        }
        if let (Some(above), Some(record)) = (above, record) {
            above.put(record, &mut response);
        }
        self.judge.judge(broken, route.as_ref(), below.as_deref(), &read)?;
        Ok(response)
    }
}

impl Default for Lint {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for Lint {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let watch = self.on.then(|| Box::new(self.begin(&mut req)));
        then(next.call(req), |response| match watch {
            Some(watch) => self.end(*watch, response),
            None => Ok(response),
        })
    }

    fn describe(&self, about: &mut About) {
        about.option("on", self.on);
        let then = match self.judge.then {
            Then::Log(_) => "log",
            Then::Fail => "fail",
            Then::Call(_) => "call",
        };
        about.option("then", then);
        if !self.judge.allowed.is_empty() {
            about.option("allow", self.judge.allowed.iter().map(|rule| rule.id).collect::<Vec<_>>().join(" "));
        }
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        self.problem.as_ref().map_or(Ok(()), |problem| Err(Error::internal(problem.clone())))
    }
}

/// A request that was noted.
pub(crate) struct Watch {
    asked: Asked,
    below: Below,
    above: Option<Below>,
}

impl Judge {
    fn judge(
        &self,
        mut broken: Vec<Violation>,
        route: Option<&MatchedRoute>,
        below: Option<&Record>,
        read: &Read,
    ) -> Result<()> {
        if broken.is_empty() {
            return Ok(());
        }
        // Who kept the length is said already.
        if broken.iter().any(|violation| violation.rule() == &rule::LAYER_KEPT_LENGTH) {
            broken.retain(|violation| violation.rule() != &rule::LENGTH_WRONG);
        }
        read.note(&broken);
        for violation in broken {
            let said = !self.again && below.is_some_and(|below| below.broke(&violation));
            if said || self.allowed.contains(&violation.rule()) {
                continue;
            }
            match &self.then {
                Then::Log(logged) => log(logged, &violation, route),
                Then::Call(hear) => hear(&violation),
                Then::Fail => return Err(Error::internal(violation.to_string())),
            }
        }
        Ok(())
    }
}

/// How many different violations are logged.
const MOST_LOGGED: usize = 100;

/// Logs it, unless the same has been logged: a developer reads each once, and not at every request.
fn log(logged: &Mutex<HashSet<u64>>, violation: &Violation, route: Option<&MatchedRoute>) {
    let mut hasher = DefaultHasher::new();
    let place = route.map_or(violation.asked(), MatchedRoute::pattern);
    (violation.rule().id, place, violation.found()).hash(&mut hasher);
    let count = {
        let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() > MOST_LOGGED || !logged.insert(hasher.finish()) {
            return;
        }
        logged.len()
    };
    match count <= MOST_LOGGED {
        true => tracing::warn!(target: "purlin::lint", rule = violation.rule().id, "{violation}"),
        false => tracing::warn!(target: "purlin::lint", "more than {MOST_LOGGED} violations: no others are logged"),
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed: Vec<_> = self.allowed.iter().map(|rule| rule.id).collect();
        f.debug_struct("Judge").field("allowed", &allowed).finish_non_exhaustive()
    }
}

/// A streamed body on its way through.
struct Watched {
    body: Body,
    reading: Reading,
    asked: Asked,
    route: Option<MatchedRoute>,
    below: Option<Arc<Record>>,
    record: Option<Arc<Record>>,
    read: Arc<Read>,
    judge: Judge,
    /// What the body gave when it was looked at beyond the length that it has by its header.
    ahead: Option<Option<Result<Frame<Bytes>>>>,
    /// Whether its length was compared with that of the body below.
    compared: bool,
}

impl Watched {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.reading.data(data.len() as u64),
                (None, Some(trailers)) => self.reading.trailers(trailers),
                (None, None) => {}
            },
            Some(Err(_)) => {}
            None => self.reading.complete(),
        }
        Poll::Ready(frame)
    }

    /// What is broken so far, and was not said.
    fn broken(&mut self, whole: bool) -> Vec<Violation> {
        let mut broken = self.reading.broken();
        let longer = broken.iter().any(|violation| violation.rule() == &rule::LENGTH_WRONG);
        if whole {
            self.read.end(self.reading.seen());
        }
        if (whole || longer) && !self.compared {
            self.compared = true;
            if let (Some(below), Some(record)) = (&self.below, &self.record) {
                let name = self.reading.name();
                broken.extend(between::read(&self.asked, name, below, record, self.reading.seen()));
            }
        }
        broken
    }

    /// # Errors
    ///
    /// A violation, if it is to fail: nothing comes after it.
    fn said(&mut self, broken: Vec<Violation>) -> Result<()> {
        let said = self.judge.judge(broken, self.route.as_ref(), self.below.as_deref(), &self.read);
        if said.is_err() {
            (self.body, self.ahead) = (Body::empty(), None);
            self.reading.fail();
        }
        said
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        this.reading.poll();
        let frame = match this.ahead.take() {
            Some(frame) => Poll::Ready(frame),
            None => this.poll_body(cx),
        };
        let Poll::Ready(frame) = frame else {
            // What the reader did wrong.
            let broken = this.reading.broken();
            return this.said(broken).map_or_else(|error| Poll::Ready(Some(Err(error))), |()| Poll::Pending);
        };
        // A server reads no further than the length that it is told, and would never hear of what comes behind it.
        if matches!(frame, Some(Ok(_)))
            && this.reading.is_full()
            && !this.body.is_end_stream()
            && let Poll::Ready(next) = this.poll_body(cx)
        {
            this.ahead = Some(next);
        }
        match &frame {
            Some(Ok(_)) if this.body.is_end_stream() => this.reading.complete(),
            Some(Ok(_)) => {}
            Some(Err(_)) => this.reading.fail(),
            None => this.reading.end(),
        }
        let whole = match &this.ahead {
            Some(ahead) => ahead.is_none(),
            None => {
                frame.is_none() || matches!(&frame, Some(Ok(frame)) if frame.is_trailers() || this.body.is_end_stream())
            }
        };
        let broken = this.broken(whole);
        Poll::Ready(match this.said(broken) {
            Ok(()) => frame,
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.ahead {
            Some(ahead) => ahead.is_none(),
            None => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.ahead {
            Some(Some(Ok(frame))) => {
                let ahead = frame.data_ref().map_or(0, |data| data.len() as u64);
                let rest = self.body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(ahead));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(ahead));
                }
                hint
            }
            Some(_) => SizeHint::with_exact(0),
            None => self.body.size_hint(),
        }
    }
}
