//! Tower both ways: its layers and services in a stack, a stack as one of its services. The only file that names tower.

use crate::site::{About, Life, Outline, short_name};
use crate::{App, Body, Error, Middleware, Request, Response, Result, Service};
use bytes::Bytes;
use http::StatusCode;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};
use tower_layer::Layer;
use tower_service::Service as TowerService;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A tower layer as a layer of a stack: those of `tower-http`, of `tower`, or any other over `http` requests.
///
/// The layer is applied once, so that what it keeps between requests (permits, counts) is kept. What is below in the stack
/// runs in the request's own task: nothing is spawned, and a request that is cancelled ends at once. An error of the
/// layer becomes a carried [`Error`]; one that is carried from below is still carried above, as response extensions are.
///
/// The layer's service must be `Clone`, as tower's servers ask for too: tower's `RateLimit` is not, and needs a `Buffer` around it.
///
/// # Errors
///
/// 503 Service Unavailable (RFC 9110 §15.6.4) where the layer's error says that time ran out or that there is too much to do,
/// else 500.
///
/// ```
/// use purlin::{Router, Stack, get, text};
/// use tower_http::set_header::SetResponseHeaderLayer;
///
/// let layer = SetResponseHeaderLayer::overriding(purlin::header::SERVER, purlin::HeaderValue::from_static("tower"));
/// let app = Stack::new()
///     .layer(purlin::tower(layer))
///     .app(Router::new().route("/", get(async || text("hello"))));
/// ```
pub fn tower<L: Layer<Below>>(layer: L) -> Tower<L, L::Service> {
    Tower { service: Mutex::new(layer.layer(Below { _private: () })), layer: PhantomData }
}

/// What [`tower()`] returns: a tower layer as a [`Middleware`].
pub struct Tower<L, S> {
    // Cloned for each request. The lock, held for that only, spares the service from having to be `Sync`.
    service: Mutex<S>,
    layer: PhantomData<fn() -> L>,
}

impl<L, S, B> Middleware for Tower<L, S>
where
    L: 'static,
    S: TowerService<Request, Response = http::Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // What is below is borrowed and the tower service must own what it calls, so the two are joined: `Below`, which stands
    // innermost, hands the request over by a channel in its extensions, and waits for the response.
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let (send, mut calls) = mpsc::unbounded_channel::<Call>();
        req.extensions_mut().insert(Handover(send));
        let mut around = pin!(answer(&self.service, req));
        let mut below = pin!(async {
            while let Some(Call { req, mut reply }) = calls.recv().await {
                let mut response = pin!(next.call(req));
                // A layer that has lost patience (a timeout in a retry) drops its call, which ends here.
                let response = poll_fn(|cx| match reply.poll_closed(cx) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => response.as_mut().poll(cx).map(Some),
                });
                if let Some(response) = response.await {
                    // An error means that it is no longer waited for.
                    let _ = reply.send(response);
                }
            }
        });
        let mut done = false;
        poll_fn(|cx| {
            if let Poll::Ready(response) = around.as_mut().poll(cx) {
                return Poll::Ready(response);
            }
            if !done {
                done = below.as_mut().poll(cx).is_ready();
            }
            // Once more: the answer from below is mostly there now.
            around.as_mut().poll(cx)
        })
        .await
        .map_err(|error| error.in_layer(name_of::<L>()))
    }

    fn describe(&self, about: &mut About) {
        about.name(name_of::<L>());
    }
}

impl<L, S> std::fmt::Debug for Tower<L, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tower({})", std::any::type_name::<L>())
    }
}

/// `CorsLayer` of `tower_http::cors::CorsLayer`; of a generic type its name alone.
fn name_of<T>() -> &'static str {
    let name = short_name::<T>();
    name.split('<').next().unwrap_or(name)
}

/// Calls a clone of a tower service once that is ready.
async fn answer<S, B>(service: &Mutex<S>, req: Request) -> Result<Response>
where
    S: TowerService<Request, Response = http::Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut service = service.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let answer = async {
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(req).await
    };
    match answer.await {
        Ok(response) => Ok(response.map(Body::new)),
        Err(error) => Err(failed(error.into())),
    }
}

/// An error of tower's as ours.
fn failed(error: BoxError) -> Error {
    let temporary =
        std::iter::successors(Some(&*error as &(dyn StdError + 'static)), |&cause| cause.source()).any(|cause| {
            // The types are in the crate `tower`, which is not worth a dependency; the texts have not changed since 2019.
            cause.is::<tokio::time::error::Elapsed>()
                || matches!(cause.to_string().as_str(), "request timed out" | "service overloaded")
        });
    let error = Error::from_boxed(error);
    if temporary { error.status_code(StatusCode::SERVICE_UNAVAILABLE) } else { error }
}

/// What stands below a tower layer in a stack, as a tower service.
#[derive(Clone, Debug)]
pub struct Below {
    _private: (),
}

/// The way from [`Below`] to the future that drives the request.
#[derive(Clone)]
struct Handover(mpsc::UnboundedSender<Call>);

struct Call {
    req: Request,
    reply: oneshot::Sender<Response>,
}

impl<B> TowerService<http::Request<B>> for Below
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: http::Request<B>) -> Answer {
        let mut req = req.map(Body::new);
        let (reply, answer) = oneshot::channel();
        match req.extensions_mut().remove::<Handover>() {
            // Where nobody receives, the request was cancelled, and the reply is dropped with the call.
            Some(Handover(send)) => {
                let _ = send.send(Call { req, reply });
            }
            None => {
                let error =
                    Error::internal("a tower layer lost the request's extensions, and with them what is below it");
                let _ = reply.send(error.into());
            }
        }
        Answer(answer)
    }
}

/// The answer from below.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<Response>);

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(Ok(
            answer.unwrap_or_else(|_| Error::internal("the request was cancelled above a tower layer").into())
        ))
    }
}

/// Any tower service over `http` requests, to be mounted: an axum `Router`, say.
///
/// # Errors
///
/// As for [`tower()`].
///
/// ```
/// use purlin::Router;
///
/// let old = axum::Router::new().route("/users", axum::routing::get(|| async { "users" }));
/// let routes = Router::new().mount("/api", purlin::tower_service(old));
/// ```
#[track_caller]
pub fn tower_service<S>(service: S) -> TowerMount<S> {
    TowerMount { service: Mutex::new(service), place: Location::caller() }
}

/// What [`tower_service()`] returns: a tower service as a [`Service`].
pub struct TowerMount<S> {
    service: Mutex<S>,
    place: &'static Location<'static>,
}

impl<S, B> Service for TowerMount<S>
where
    S: TowerService<Request, Response = http::Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn call(&self, req: Request) -> Response {
        answer(&self.service, req).await.unwrap_or_else(Response::from)
    }

    fn describe(&self, outline: &mut Outline) {
        outline.application::<S>(self.place);
    }
}

impl<S> std::fmt::Debug for TowerMount<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tower_service({})", std::any::type_name::<S>())
    }
}

impl<S: Service + 'static> App<S> {
    /// Starts the application and makes a tower service of it, for a server or router of somebody else's.
    ///
    /// Its background work ends when the last clone is dropped. The other side says where a request came from, if it inserts
    /// a [`Connection`](crate::Connection) into its extensions.
    ///
    /// # Errors
    ///
    /// What [`check`](App::check) finds, or a layer's own reason not to start.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> purlin::Result<()> {
    /// use purlin::{Stack, handler, text};
    ///
    /// let app = Stack::new().app(handler(|| async { text("hello") }));
    /// let outer: axum::Router = axum::Router::new().fallback_service(app.into_tower()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, if some layer has background work.
    pub fn into_tower(self) -> Result<TowerApp<S>> {
        let life = Life::start(&self)?;
        Ok(TowerApp(Arc::new(Started { app: self, _life: life })))
    }
}

/// What [`App::into_tower`] returns: an application as a tower service.
pub struct TowerApp<S>(Arc<Started<S>>);

struct Started<S> {
    app: App<S>,
    // Background work sees the end of the site when this is dropped.
    _life: Life,
}

impl<S> Clone for TowerApp<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> std::fmt::Debug for TowerApp<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TowerApp")
    }
}

impl<S, B> TowerService<http::Request<B>> for TowerApp<S>
where
    S: Service + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: http::Request<B>) -> Self::Future {
        let started = self.0.clone();
        Box::pin(async move {
            let answer = crate::panic::caught(started.app.call(req.map(Body::new))).await;
            Ok(answer.unwrap_or_else(Response::from))
        })
    }
}
