//! `Stack`: layers around an application, outermost first.

use crate::site::{Outline, Site, Start, short_name};
use crate::{Middleware, Request, Response, Result, Service};
use std::panic::Location;

/// Layers around an application, written in the order in which a request meets them.
///
/// The stack is one concrete type: no layer is boxed, and a layer is a plain call of the one above it.
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
    pub fn app<S: Service>(self, service: S) -> App<L::Around<S>> {
        App { service: self.layers.around(service) }
    }
}

/// An application with its layers: what is served, mounted and tested.
#[derive(Clone, Debug)]
pub struct App<S> {
    service: S,
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
    async fn call(&self, req: Request) -> Response {
        self.service.call(req).await
    }

    fn describe(&self, outline: &mut Outline) {
        self.service.describe(outline);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.service.start(start)
    }
}

/// The layers of a stack as one type; implemented by [`Bottom`] and [`Above`].
pub trait Layers {
    /// The layers around an `S`.
    type Around<S: Service>: Service;

    /// Puts them around it.
    fn around<S: Service>(self, service: S) -> Self::Around<S>;
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
    type Around<S: Service> = S;

    fn around<S: Service>(self, service: S) -> S {
        service
    }
}

impl<L: Layers, M: Middleware> Layers for Above<L, M> {
    type Around<S: Service> = L::Around<Layered<M, S>>;

    fn around<S: Service>(self, service: S) -> Self::Around<S> {
        self.above.around(Layered { layer: self.layer, next: service, place: self.place })
    }
}

/// A layer around a service.
#[derive(Clone, Debug)]
pub struct Layered<M, S> {
    layer: M,
    next: S,
    place: &'static Location<'static>,
}

impl<M: Middleware, S: Service> Layered<M, S> {
    #[track_caller]
    pub(crate) fn new(layer: M, next: S) -> Self {
        Self { layer, next, place: Location::caller() }
    }
}

impl<M: Middleware, S: Service> Service for Layered<M, S> {
    // An `async fn`, which builds the inner futures in place. A combinator that was handed the inner future would move
    // it, and a stack of n layers would copy O(n²) bytes.
    async fn call(&self, req: Request) -> Response {
        match self.layer.handle(req, &self.next).await {
            Ok(response) => response,
            Err(error) => error.in_layer(short_name::<M>()).into(),
        }
    }

    fn describe(&self, outline: &mut Outline) {
        outline.layer(
            self.place,
            |about| {
                about.named::<M>();
                self.layer.describe(about);
            },
            |outline| self.next.describe(outline),
        );
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        self.layer.start(start)?;
        self.next.start(start)
    }
}
