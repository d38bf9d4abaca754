//! `Stack`: layers around an application, outermost first.

use crate::site::{Boundary, Outline, Site, Start, short_name};
use crate::timing::Visit;
use crate::{BoxService, Middleware, Request, Response, Result, Service};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Layers around an application, written in the order in which a request meets them.
///
/// In a release build the stack is one concrete type: a layer is a plain call of the one above it. See [`Level`] for the one box in
/// five, and for the box a layer of a debug build.
///
/// ```
/// use purlin::layers::{AccessLog, RequestIds};
/// use purlin::{Router, Stack, get, text};
///
/// let app = Stack::new()
///     .layer(RequestIds::new())
///     .layer(AccessLog::new())
///     .app(Router::new().route("/", get(async || text("hello"))));
/// assert!(app.check().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stack<L = Bottom> {
    layers: L,
}

impl Stack {
    /// No layers yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<L: Layers> Stack<L> {
    /// Adds a layer below those that are there.
    #[track_caller]
    pub fn layer<M: Middleware>(self, layer: M) -> Stack<Above<L, M>> {
        Stack { layers: Above { above: self.layers, layer, place: Location::caller() } }
    }

    /// Puts the layers around an application: a [`Router`](crate::Router), a handler, another stack, any service.
    ///
    /// Whether everything in it has what it needs is told by [`App::check`], which the server and the
    /// testing client call before the first request.
    pub fn app<S: Service + 'static>(self, service: S) -> App<L::Around<S>> {
        App { service: self.layers.around(service) }
    }
}

/// An application with its layers: what is served, mounted and tested.
pub struct App<S> {
    service: S,
}

// The same in each build, whatever the layers are: not derived.
impl<S> std::fmt::Debug for App<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}

impl<S: Service> App<S> {
    /// Walks through the whole application: its layers, routes and mounts in order.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its assembly, in one message: a layer that stands above the one it needs,
    /// with the line to move; a handler whose state or session nobody provides; routes in conflict; a name given twice.
    pub fn check(&self) -> Result<Site> {
        Outline::of(self)
    }
}

impl<S: Service> Service for App<S> {
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send {
        self.service.call(req)
    }

    fn describe(&self, outline: &mut Outline) {
        self.service.describe(outline);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.service.start(start)
    }

    fn below(&'static self, boundary: &mut Boundary) {
        self.service.below(boundary);
    }

    fn owned(&self) -> Option<BoxService> {
        self.service.owned()
    }
}

/// The layers of a stack as one type; implemented by [`Bottom`] and [`Above`].
pub trait Layers {
    /// How many layers stand above, counted anew after each box.
    type Level: Level;

    /// The layers around an `S`.
    type Around<S: Service + 'static>: Service + 'static;

    /// Puts them around it.
    fn around<S: Service + 'static>(self, service: S) -> Self::Around<S>;
}

/// The end of the layers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bottom;

/// A layer with those above it.
#[derive(Clone, Debug)]
pub struct Above<L, M> {
    above: L,
    layer: M,
    place: &'static Location<'static>,
}

impl Layers for Bottom {
    type Level = Count<0>;
    type Around<S: Service + 'static> = S;

    fn around<S: Service + 'static>(self, service: S) -> S {
        service
    }
}

impl<L: Layers, M: Middleware> Layers for Above<L, M> {
    type Level = <L::Level as Level>::Next;
    type Around<S: Service + 'static> = L::Around<<L::Level as Level>::Held<Layered<M, S>>>;

    fn around<S: Service + 'static>(self, service: S) -> Self::Around<S> {
        self.above.around(L::Level::hold(Layered {
            layer: self.layer,
            next: Arc::new(service),
            place: self.place,
            written: None,
        }))
    }
}

/// Where a layer stands, which decides whether it is held as it is or in a box.
///
/// The future of a stack holds the futures of all its layers, one in the other, and the compiler follows a type no deeper than
/// its `recursion_limit`, which by default is reached between nine layers, if all are an `Option`, and thirty. So what stands
/// below each fifth layer is in one box, and a stack may have as many layers as it likes.
///
/// In a debug build each layer is in a box. The types are short then, and the layers around a boxed service are the same in
/// each site: they are compiled with Purlin, once, and not with the site at each edit.
pub trait Level {
    /// One layer further in.
    type Next: Level;
    /// How a service is held at this level.
    type Held<S: Service + 'static>: Service + 'static;

    /// Holds it.
    fn hold<S: Service + 'static>(service: S) -> Self::Held<S>;
}

/// So many layers since the last box.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count<const LAYERS: u8>;

#[cfg(debug_assertions)]
impl Level for Count<0> {
    type Next = Count<0>;
    type Held<S: Service + 'static> = BoxService;

    fn hold<S: Service + 'static>(service: S) -> BoxService {
        BoxService::new(service)
    }
}

#[cfg(not(debug_assertions))]
macro_rules! held_as_it_is {
    ($($layers:literal then $next:literal;)*) => {
        $(
            impl Level for Count<$layers> {
                type Next = Count<$next>;
                type Held<S: Service + 'static> = S;

                fn hold<S: Service + 'static>(service: S) -> S {
                    service
                }
            }
        )*
    };
}

#[cfg(not(debug_assertions))]
held_as_it_is! {
    0 then 1;
    1 then 2;
    2 then 3;
    3 then 4;
    4 then 5;
}

#[cfg(not(debug_assertions))]
impl Level for Count<5> {
    type Next = Count<1>;
    type Held<S: Service + 'static> = BoxService;

    fn hold<S: Service + 'static>(service: S) -> BoxService {
        BoxService::new(service)
    }
}

/// A layer around a service.
pub struct Layered<M, S> {
    layer: M,
    // So that a layer may have the rest of the stack go on elsewhere, on another thread say: see `Service::owned`.
    next: Arc<S>,
    place: &'static Location<'static>,
    written: Option<Box<str>>,
}

impl<M: Middleware, S: Service + 'static> Layered<M, S> {
    #[track_caller]
    pub(crate) fn new(layer: M, next: S) -> Self {
        Self { layer, next: Arc::new(next), place: Location::caller(), written: None }
    }

    /// The layer stands in a file, at the line that is written there.
    #[cfg(feature = "deploy")]
    pub(crate) fn of_file(layer: M, next: S, place: &'static Location<'static>, written: Option<Box<str>>) -> Self {
        Self { layer, next: Arc::new(next), place, written }
    }
}

impl<M: Middleware, S: Service + 'static> Service for Layered<M, S> {
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send {
        let visit = Visit::to_layer(&req, self.place, self.written.as_deref());
        Carrying { handling: self.layer.handle(req, &self.next), layer: short_name::<M>, visit }
    }

    fn describe(&self, outline: &mut Outline) {
        outline.layer(
            self.place,
            |about| {
                about.named::<M>();
                self.layer.describe(about);
                if let Some(line) = &self.written {
                    about.written(line);
                }
            },
            |outline| self.next.describe(outline),
        );
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.layer.start(start)?;
        if start.is_elsewhere() {
            return Ok(());
        }
        self.next.start(start)
    }

    fn below(&'static self, boundary: &mut Boundary) {
        boundary.layer(|about| self.layer.describe(about), &self.next);
    }
}

pin_project_lite::pin_project! {
    /// A layer's own future, whose error becomes the response that carries it.
    ///
    /// By hand, and not an `async fn` around it: that would be as deep again for the compiler, and took twice the time
    /// (12 layers, in one run: 9 to 19 ns a layer against 30 to 32).
    struct Carrying<F> {
        #[pin]
        handling: F,
        layer: fn() -> &'static str,
        visit: Visit,
    }
}

impl<F: Future<Output = Result<Response>>> Future for Carrying<F> {
    type Output = Response;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let this = self.project();
        let answer = ready!(this.handling.poll(cx));
        this.visit.end();
        match answer {
            Ok(response) => Poll::Ready(response),
            Err(error) => Poll::Ready(error.in_layer((this.layer)()).into()),
        }
    }
}
