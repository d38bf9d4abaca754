//! `Service` and `Middleware`: the whole idea of Purlin on one screen.

use crate::site::{About, Boundary, Outline, Start, short_name};
use crate::timing::Visit;
use crate::{Request, Response, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Answers a request. Handlers, routers, mounted sites and whole stacks are services.
///
/// It cannot fail: a failure is a response that carries an [`Error`](crate::Error).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "expected a router, a stack or a handler here",
    note = "routes are put into a router: `Router::new().route(\"/\", get(hello))`",
    note = "an `async fn` that answers every path becomes a service by `handler(hello)`",
    note = "a tower service becomes one by `purlin::tower_service(service)`, with the feature `tower`"
)]
pub trait Service: Send + Sync {
    /// Answers one request.
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send;

    /// Draws itself into the outline of the site: its layers, routes and mounts. Nothing, by default.
    fn describe(&self, outline: &mut Outline) {
        let _ = outline;
    }

    /// Runs once, before the first request. Nothing, by default.
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible to serve: the site then does not start.
    fn start(&self, start: &mut Start) -> Result<()> {
        let _ = start;
        Ok(())
    }

    /// Leads to what runs in other processes; a service that holds others passes it on. Nothing, by default.
    #[doc(hidden)]
    fn below(&'static self, boundary: &mut Boundary) {
        let _ = boundary;
    }

    /// The same service as one that lives by itself, for work which goes on elsewhere: what stands below a layer of a
    /// [`Stack`](crate::Stack) is one. `None`, by default: a service that is borrowed has no life of its own.
    fn owned(&self) -> Option<BoxService> {
        None
    }
}

/// Stands around a service: sees each request going in and its response coming out.
///
/// Only [`handle`](Middleware::handle) must be written; in it, `next.call(req).await` is always a response, also after
/// a failure below ([`response.error()`](crate::ResponseExt::error) tells). An `Err` returned becomes such a response here.
///
/// ```
/// use purlin::{Middleware, Request, Response, Result, Service};
///
/// struct Teapot;
///
/// impl Middleware for Teapot {
///     async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
///         let mut response = next.call(req).await;
///         response.headers_mut().insert("x-teapot", "short and stout".parse()?);
///         Ok(response)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "expected a layer here",
    note = "a layer is a type with `impl Middleware`, an `Option` of one, or an `async fn(Request, Next<'_>) -> Result<Response>`",
    note = "a tower layer becomes one by `purlin::tower(layer)`, with the feature `tower`"
)]
pub trait Middleware: Send + Sync + 'static {
    /// Handles one request: alone, or by asking `next`, before and after which it does its work.
    ///
    /// # Errors
    ///
    /// An `Err` becomes, right outside this layer, a response with the error's status and no body, which carries it.
    fn handle(&self, req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send;

    /// Says its options, what it provides for those below, and what it needs from those above. Nothing, by default.
    fn describe(&self, about: &mut About) {
        let _ = about;
    }

    /// Runs once, before the first request; long work is started here. Nothing, by default.
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible to serve: the site then does not start.
    fn start(&self, start: &mut Start) -> Result<()> {
        let _ = start;
        Ok(())
    }
}

/// The rest of the stack, seen by an `async fn` used as a layer.
///
/// ```
/// use purlin::{Next, Request, Response, Result, Service, Stack, text};
///
/// async fn no_store(req: Request, next: Next<'_>) -> Result<Response> {
///     let mut response = next.call(req).await;
///     response.headers_mut().insert("cache-control", "no-store".parse()?);
///     Ok(response)
/// }
///
/// let app = Stack::new().layer(no_store).app(purlin::handler(|| async { text("hello") }));
/// ```
#[derive(Clone, Copy)]
pub struct Next<'a>(&'a dyn DynService);

impl<'a> Next<'a> {
    pub(crate) fn new(service: &'a impl Service) -> Self {
        Self(service)
    }
}

impl Service for Next<'_> {
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send {
        self.0.dyn_call(req)
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.0.dyn_start(start)
    }

    fn owned(&self) -> Option<BoxService> {
        self.0.dyn_owned()
    }
}

/// An `async fn(Request, Next<'_>) -> Result<Response>`; implemented for those and nothing else.
pub trait LayerFn<'a>: Fn(Request, Next<'a>) -> Self::Future {
    /// What it returns.
    type Future: Future<Output = Result<Response>> + Send;
}

impl<'a, F, Fut> LayerFn<'a> for F
where
    F: Fn(Request, Next<'a>) -> Fut,
    Fut: Future<Output = Result<Response>> + Send,
{
    type Future = Fut;
}

impl<F> Middleware for F
where
    F: for<'a> LayerFn<'a> + Send + Sync + 'static,
{
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        self(req, Next::new(next)).await
    }
}

/// The layer, or nothing: `.layer(config.csrf.then(Csrf::new))`.
impl<M: Middleware> Middleware for Option<M> {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        match self {
            Some(layer) => layer.handle(req, next).await.map_err(|error| error.in_layer(short_name::<M>())),
            None => Ok(next.call(req).await),
        }
    }

    fn describe(&self, about: &mut About) {
        match self {
            Some(layer) => {
                about.named::<M>();
                layer.describe(about);
            }
            None => about.absent(),
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.as_ref().map_or(Ok(()), |layer| layer.start(start))
    }
}

/// A layer that several routes share.
impl<M: Middleware> Middleware for Arc<M> {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        (**self).handle(req, next).await.map_err(|error| error.in_layer(short_name::<M>()))
    }

    fn describe(&self, about: &mut About) {
        about.named::<M>();
        (**self).describe(about);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        (**self).start(start)
    }
}

/// Any service behind one pointer; cloning it shares the service.
#[derive(Clone)]
pub struct BoxService(Arc<dyn DynService>);

impl std::fmt::Debug for BoxService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxService")
    }
}

impl BoxService {
    /// Boxes a service, once: a `BoxService` in it would be called through two pointers.
    pub fn new(service: impl Service + 'static) -> Self {
        Self(Arc::new(service))
    }

    /// The answer as a future which keeps the service alive by itself.
    pub(crate) fn answer(&self, req: Request) -> BoxFuture<'static, Response> {
        self.0.clone().dyn_answer(req)
    }
}

impl Service for BoxService {
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send {
        self.0.dyn_call(req)
    }

    fn describe(&self, outline: &mut Outline) {
        self.0.dyn_describe(outline);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.0.dyn_start(start)
    }

    fn below(&'static self, boundary: &mut Boundary) {
        self.0.dyn_below(boundary);
    }

    fn owned(&self) -> Option<BoxService> {
        Some(self.clone())
    }
}

/// A service that several hold; it lives for as long as one of them does.
impl<S: Service + 'static> Service for Arc<S> {
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send {
        (**self).call(req)
    }

    fn describe(&self, outline: &mut Outline) {
        (**self).describe(outline);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        (**self).start(start)
    }

    fn below(&'static self, boundary: &mut Boundary) {
        (**self).below(boundary);
    }

    fn owned(&self) -> Option<BoxService> {
        // One that is in a box is not put into another.
        (**self).owned().or_else(|| Some(BoxService(self.clone())))
    }
}

/// Any layer behind one pointer, for stacks whose layers are known at run time only.
///
/// A `Vec<BoxMiddleware>` is a layer too: its first element is outermost.
///
/// ```
/// use purlin::layers::{BodyLimit, Deadline};
/// use purlin::{BoxMiddleware, Stack, handler, text};
///
/// let mut layers = vec![BoxMiddleware::new(BodyLimit::new(1024))];
/// if cfg!(debug_assertions) {
///     layers.push(BoxMiddleware::new(Deadline::new(std::time::Duration::from_secs(5))));
/// }
/// let app = Stack::new().layer(layers).app(handler(|| async { text("hello") }));
/// ```
pub struct BoxMiddleware {
    // Shared with requests that go on elsewhere: see `Service::owned`.
    layer: Arc<dyn DynMiddleware>,
    place: &'static std::panic::Location<'static>,
    written: Option<Box<str>>,
}

impl BoxMiddleware {
    /// Boxes a layer.
    #[track_caller]
    pub fn new(layer: impl Middleware) -> Self {
        Self { layer: Arc::new(layer), place: std::panic::Location::caller(), written: None }
    }

    /// The line of a file that the layer comes from, which the stack then prints instead of the line of code.
    #[cfg(feature = "deploy")]
    pub(crate) fn written_at(mut self, line: impl std::fmt::Display) -> Self {
        self.written = Some(line.to_string().into());
        self
    }

    /// Puts it around a service. A request then takes one box for the layer, and not one more for what is below.
    #[cfg(feature = "deploy")]
    pub(crate) fn around(self, next: BoxService) -> BoxService {
        self.layer.dyn_around(next, self.place, self.written)
    }
}

impl Middleware for BoxMiddleware {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let answer = self.layer.dyn_handle(req, Next::new(next)).await;
        answer.map_err(|error| error.in_layer(self.layer.dyn_name()))
    }

    fn describe(&self, about: &mut About) {
        self.layer.dyn_describe(about);
        if let Some(line) = &self.written {
            about.written(line);
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.layer.dyn_start(start)
    }
}

impl Middleware for Vec<BoxMiddleware> {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        Ok(Rest { layers: self, next: Next::new(next) }.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        about.absent();
        for boxed in self {
            about.also(boxed.place, |about| boxed.describe(about));
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.iter().try_for_each(|layer| layer.start(start))
    }
}

/// The layers of a `Vec` that are still to come, and what is below them.
struct Rest<'a> {
    layers: &'a [BoxMiddleware],
    next: Next<'a>,
}

impl Service for Rest<'_> {
    async fn call(&self, req: Request) -> Response {
        let Some((first, layers)) = self.layers.split_first() else {
            return self.next.call(req).await;
        };
        let rest = Rest { layers, next: self.next };
        let mut visit = Visit::to_layer(&req, first.place, first.written.as_deref());
        let answer = first.layer.dyn_handle(req, Next::new(&rest)).await;
        visit.end();
        match answer {
            Ok(response) => response,
            Err(error) => error.in_layer(first.layer.dyn_name()).into(),
        }
    }

    fn owned(&self) -> Option<BoxService> {
        let next = self.next.owned()?;
        // From the innermost outwards, as they stand one in the other.
        let layers = self.layers.iter().rev().map(|boxed| boxed.layer.clone());
        Some(layers.fold(next, |next, layer| BoxService::new(Around { layer, next })))
    }
}

/// A boxed layer around a service, both of which live by themselves.
struct Around {
    layer: Arc<dyn DynMiddleware>,
    next: BoxService,
}

impl Service for Around {
    async fn call(&self, req: Request) -> Response {
        match self.layer.dyn_handle(req, Next::new(&self.next)).await {
            Ok(response) => response,
            Err(error) => error.in_layer(self.layer.dyn_name()).into(),
        }
    }
}

pin_project_lite::pin_project! {
    /// What `then` returns.
    struct Then<F, W> {
        #[pin]
        answer: F,
        with: Option<W>,
    }
}

/// The answer of what stands below, and what a layer then does with it.
///
/// For layers that wait for nothing else. An `async fn` has room for its request, twice, beside the future that the request
/// goes into, and moves it there and on: this has none.
pub(crate) fn then<F, W>(answer: F, with: W) -> impl Future<Output = Result<Response>> + Send
where
    F: Future + Send,
    W: FnOnce(F::Output) -> Result<Response> + Send,
{
    Then { answer, with: Some(with) }
}

impl<F, W> Future for Then<F, W>
where
    F: Future,
    W: FnOnce(F::Output) -> Result<Response>,
{
    type Output = Result<Response>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response>> {
        let this = self.project();
        let response = ready!(this.answer.poll(cx));
        match this.with.take() {
            Some(with) => Poll::Ready(with(response)),
            None => panic!("a future was polled after it had been ready"),
        }
    }
}

pin_project_lite::pin_project! {
    /// What a layer answers that seldom waits for anything but what stands below it: the same as [`then`], and where it does wait,
    /// a future in a box, for which other requests have no room.
    #[project = AnswerProjection]
    pub(crate) enum Answer<F, W, O> {
        /// That of what stands below, and what is then done with it.
        Below { #[pin] answer: F, with: Option<W> },
        /// One of the layer's own.
        Own { own: Pin<Box<O>> },
    }
}

/// What a layer does with an answer from below.
pub(crate) enum Step<O> {
    Done(Result<Response>),
    Later(Pin<Box<O>>),
}

impl<F, W, O> Answer<F, W, O>
where
    F: Future,
    W: FnOnce(F::Output) -> Step<O>,
    O: Future<Output = Result<Response>>,
{
    pub(crate) fn below(answer: F, with: W) -> Self {
        Self::Below { answer, with: Some(with) }
    }

    pub(crate) fn own(own: O) -> Self {
        Self::Own { own: Box::pin(own) }
    }
}

impl<F, W, O> Future for Answer<F, W, O>
where
    F: Future,
    W: FnOnce(F::Output) -> Step<O>,
    O: Future<Output = Result<Response>>,
{
    type Output = Result<Response>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response>> {
        if let AnswerProjection::Below { answer, with } = self.as_mut().project() {
            let response = ready!(answer.poll(cx));
            let Some(with) = with.take() else { panic!("a future was polled after it had been ready") };
            match with(response) {
                Step::Done(response) => return Poll::Ready(response),
                Step::Later(own) => self.set(Self::Own { own }),
            }
        }
        match self.project() {
            AnswerProjection::Own { own } => own.as_mut().poll(cx),
            AnswerProjection::Below { .. } => unreachable!("it was answered above"),
        }
    }
}

pin_project_lite::pin_project! {
    /// What `lazily` returns.
    #[project = LazilyProjection]
    enum Lazily<M, F> {
        Waiting { make: Option<M> },
        Made { #[pin] future: F },
    }
}

/// A future that is made when it is first polled: in the span, and under the guard, that its polls are in.
pub(crate) fn lazily<M, F>(make: M) -> impl Future<Output = F::Output> + Send
where
    M: FnOnce() -> F + Send,
    F: Future + Send,
{
    Lazily::Waiting { make: Some(make) }
}

impl<M: FnOnce() -> F, F: Future> Future for Lazily<M, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let LazilyProjection::Waiting { make } = self.as_mut().project() {
            // Taken in a poll that panicked, it is not there again.
            let Some(make) = make.take() else { panic!("a future was polled after it had panicked") };
            let future = make();
            self.set(Self::Made { future });
        }
        match self.project() {
            LazilyProjection::Made { future } => future.poll(cx),
            LazilyProjection::Waiting { .. } => unreachable!("it was made above"),
        }
    }
}

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// `Service` as a trait object needs it.
trait DynService: Send + Sync {
    fn dyn_call<'a>(&'a self, req: Request) -> BoxFuture<'a, Response>;
    fn dyn_answer(self: Arc<Self>, req: Request) -> BoxFuture<'static, Response>
    where
        Self: 'static;
    fn dyn_describe(&self, outline: &mut Outline);
    fn dyn_start(&self, start: &mut Start) -> Result<()>;
    fn dyn_below(&'static self, boundary: &mut Boundary);
    fn dyn_owned(&self) -> Option<BoxService>;
}

impl<S: Service> DynService for S {
    fn dyn_answer(self: Arc<Self>, req: Request) -> BoxFuture<'static, Response>
    where
        Self: 'static,
    {
        Box::pin(async move { Service::call(&*self, req).await })
    }

    fn dyn_call<'a>(&'a self, req: Request) -> BoxFuture<'a, Response> {
        Box::pin(Service::call(self, req))
    }

    fn dyn_describe(&self, outline: &mut Outline) {
        Service::describe(self, outline);
    }

    fn dyn_start(&self, start: &mut Start) -> Result<()> {
        Service::start(self, start)
    }

    fn dyn_below(&'static self, boundary: &mut Boundary) {
        Service::below(self, boundary);
    }

    fn dyn_owned(&self) -> Option<BoxService> {
        Service::owned(self)
    }
}

/// `Middleware` as a trait object needs it.
trait DynMiddleware: Send + Sync {
    fn dyn_handle<'a>(&'a self, req: Request, next: Next<'a>) -> BoxFuture<'a, Result<Response>>;
    fn dyn_describe(&self, about: &mut About);
    fn dyn_start(&self, start: &mut Start) -> Result<()>;
    fn dyn_name(&self) -> &'static str;
    #[cfg(feature = "deploy")]
    fn dyn_around(
        self: Arc<Self>,
        next: BoxService,
        place: &'static std::panic::Location<'static>,
        written: Option<Box<str>>,
    ) -> BoxService;
}

impl<M: Middleware> DynMiddleware for M {
    #[cfg(feature = "deploy")]
    fn dyn_around(
        self: Arc<Self>,
        next: BoxService,
        place: &'static std::panic::Location<'static>,
        written: Option<Box<str>>,
    ) -> BoxService {
        match Arc::into_inner(self) {
            Some(layer) => BoxService::new(crate::stack::Layered::of_file(layer, next, place, written)),
            None => {
                unreachable!("a boxed layer is shared by requests, and those come after it was put around a service")
            }
        }
    }

    fn dyn_handle<'a>(&'a self, req: Request, next: Next<'a>) -> BoxFuture<'a, Result<Response>> {
        Box::pin(async move { Middleware::handle(self, req, &next).await })
    }

    fn dyn_describe(&self, about: &mut About) {
        about.named::<M>();
        Middleware::describe(self, about);
    }

    fn dyn_start(&self, start: &mut Start) -> Result<()> {
        Middleware::start(self, start)
    }

    fn dyn_name(&self) -> &'static str {
        short_name::<M>()
    }
}
