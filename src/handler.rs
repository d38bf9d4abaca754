//! `Handler`: an `async fn` of extractors that answers a request.

use crate::extract::FromRequest;
use crate::pool::{DEFAULT, Pool, Pools, Settings, describe_installed};
use crate::service::BoxFuture;
use crate::site::{Needs, Outline, Start};
use crate::{IntoResponse, MatchedRoute, Request, RequestExt, Response, Result, Service, spare};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

/// An `async fn` whose arguments are extractors and whose result becomes a response; or a plain `fn` of that kind.
///
/// A plain `fn` may block: once its arguments are there, it is run on a thread of the site's [`Pool`], that of the layer
/// [`Blocking`](crate::layers::Blocking) above if there is one. It is cloned for each request, so a closure must be `Clone`.
///
/// Arguments (up to twelve): [`Path`](crate::Path), [`Query`](crate::Query), [`Form`](crate::Form),
/// [`Submitted`](crate::form::Submitted), [`Json`](crate::Json),
/// [`State`](crate::State), [`Session`](crate::Session), `HeaderMap`, `Method`, `Uri`, [`Connection`](crate::Connection),
/// [`RequestId`](crate::RequestId), [`Urls`](crate::Urls), `Option` or `Result` of one, and last, if at all, the whole
/// [`Request`]. One argument can read the body. Results: see [`IntoResponse`].
///
/// ```
/// use purlin::{Html, Path, Query, Result};
///
/// async fn show(Path(id): Path<u32>) -> Result<Html<String>> {
///     Ok(Html(format!("<p>Number {id}")))
/// }
/// # purlin::get(show);
///
/// // May block, and is run on a pool of threads.
/// fn hosts() -> Result<String> {
///     Ok(std::fs::read_to_string("/etc/hosts")?)
/// }
/// # purlin::get(hosts);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a handler",
    label = "this is no handler",
    note = "a handler is an `async fn` of at most 12 arguments, given by its name and not called: `get(hello)`",
    note = "a plain `fn` is one too if its result can become a response; the error of a `Result` may be `purlin::Error` or any `std::error::Error + Send + Sync`"
)]
pub trait Handler<A>: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send;

    /// What its arguments and its result need of the layers above.
    fn needs(needs: &mut Needs);
}

// What is asked of the arguments, the result and the future stands here and not where `HandlerFn` is implemented: so the
// compiler knows which arguments there are before it looks at them, and names the one that does not fit.
impl<H, A> Handler<A> for H
where
    H: HandlerFn<A> + Send + Sync + 'static,
    H::Output: IntoResponse,
    H::Future: Send,
    A: Arguments + Send + 'static,
{
    async fn call(&self, mut req: Request) -> Response {
        match A::from_request(&mut req).await {
            Ok(arguments) => {
                let answer = self.run(arguments).await;
                spare::keep(&mut req);
                answer.into_response()
            }
            Err(error) => error.into(),
        }
    }

    fn needs(needs: &mut Needs) {
        H::Output::needs(needs);
        A::needs(needs);
    }
}

/// An `async fn` of at most 12 arguments, whatever they are, or a plain `fn`; implemented for those and nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a handler",
    label = "this is no handler",
    note = "a handler is an `async fn` of at most 12 arguments, given by its name and not called: `get(hello)`",
    note = "a plain `fn` is one too if its result can become a response; the error of a `Result` may be `purlin::Error` or any `std::error::Error + Send + Sync`"
)]
pub trait HandlerFn<A> {
    /// What it returns when it is called.
    type Future: Future<Output = Self::Output>;

    /// What it returns in the end.
    type Output;

    /// Calls it.
    fn run(&self, arguments: A) -> Self::Future;
}

/// The arguments of a handler: a tuple of extractors.
pub trait Arguments: Sized {
    /// Takes them one after another; the first that cannot be had answers.
    ///
    /// # Errors
    ///
    /// That one's.
    fn from_request(req: &mut Request) -> impl Future<Output = Result<Self>> + Send;

    /// What they need of the layers above.
    fn needs(needs: &mut Needs);
}

/// The arguments of a plain `fn`, and the pool that it is run on.
///
/// So there are two ways to be a handler, and the compiler picks the one that fits: no future can become a response.
pub struct OnPool<A> {
    arguments: A,
    pool: Pool,
    route: Option<MatchedRoute>,
}

impl<A: Arguments + Send> Arguments for OnPool<A> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        // First: the last of the arguments may be the whole request.
        let pool = req.extract().await?;
        let route = req.extensions().get().cloned();
        Ok(Self { arguments: A::from_request(req).await?, pool, route })
    }

    fn needs(needs: &mut Needs) {
        needs.blocks();
        A::needs(needs);
    }
}

/// The answer of a plain `fn`, while it is run on a pool.
pub struct Running<R> {
    answer: BoxFuture<'static, Result<Response>>,
    result: PhantomData<fn() -> R>,
}

impl<R: IntoResponse> Future for Running<R> {
    type Output = Returned<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Returned<R>> {
        self.answer.as_mut().poll(cx).map(|answer| Returned { answer, result: PhantomData })
    }
}

/// What a plain `fn` answered, in which its result has become a response already: on the pool.
pub struct Returned<R> {
    answer: Result<Response>,
    result: PhantomData<fn() -> R>,
}

impl<R: IntoResponse> IntoResponse for Returned<R> {
    fn into_response(self) -> Response {
        self.answer.into_response()
    }

    fn needs(needs: &mut Needs) {
        R::needs(needs);
    }
}

/// The answer of a plain `fn`; a panic in it is one of the route, as it is where an `async fn` panics.
async fn answer_of(
    pool: Pool,
    route: Option<MatchedRoute>,
    work: impl FnOnce() -> Response + Send + 'static,
) -> Result<Response> {
    pool.run(work).await.map_err(|error| match route {
        Some(route) if error.is_panic() => error.in_route(route.pattern()),
        _ => error,
    })
}

macro_rules! handlers {
    ($($argument:ident)*) => {
        impl<F, Fut, $($argument,)*> HandlerFn<($($argument,)*)> for F
        where
            F: Fn($($argument,)*) -> Fut,
            Fut: Future,
        {
            type Future = Fut;
            type Output = Fut::Output;

            #[allow(non_snake_case)]
            fn run(&self, ($($argument,)*): ($($argument,)*)) -> Fut {
                self($($argument,)*)
            }
        }

        impl<F, R, $($argument,)*> HandlerFn<OnPool<($($argument,)*)>> for F
        where
            F: Fn($($argument,)*) -> R + Clone + Send + 'static,
            R: IntoResponse,
            $($argument: Send + 'static,)*
        {
            type Future = Running<R>;
            type Output = Returned<R>;

            #[allow(non_snake_case)]
            fn run(&self, on_pool: OnPool<($($argument,)*)>) -> Running<R> {
                let OnPool { arguments: ($($argument,)*), pool, route } = on_pool;
                let handler = self.clone();
                let work = move || handler($($argument,)*).into_response();
                Running { answer: Box::pin(answer_of(pool, route, work)), result: PhantomData }
            }
        }

        impl<$($argument: FromRequest + Send,)*> Arguments for ($($argument,)*) {
            #[allow(unused_variables)]
            async fn from_request(req: &mut Request) -> Result<Self> {
                Ok(($($argument::from_request(req).await?,)*))
            }

            #[allow(unused_variables)]
            fn needs(needs: &mut Needs) {
                $(needs.argument::<$argument>();)*
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D E);
handlers!(A B C D E G);
handlers!(A B C D E G H);
handlers!(A B C D E G H I);
handlers!(A B C D E G H I J);
handlers!(A B C D E G H I J K);
handlers!(A B C D E G H I J K L);
handlers!(A B C D E G H I J K L M);

/// A handler as a service: to be an application by itself, or mounted.
///
/// ```
/// use purlin::{Stack, handler, text};
/// let app = Stack::new().app(handler(|| async { text("hello") }));
/// ```
#[track_caller]
pub fn handler<H: Handler<A>, A: 'static>(handler: H) -> HandlerService<H, A> {
    HandlerService::new(handler)
}

/// What [`handler`] returns.
pub struct HandlerService<H, A> {
    handler: H,
    arguments: PhantomData<fn(A)>,
    /// For a handler that has to do with one: the pool of requests that bring none along.
    pool: Option<Box<OnceLock<Pool>>>,
    place: &'static Location<'static>,
}

impl<H: Handler<A>, A: 'static> HandlerService<H, A> {
    #[track_caller]
    pub(crate) fn new(handler: H) -> Self {
        let pool = Self::needs().is_pool_needed().then(Box::default);
        Self { handler, arguments: PhantomData, pool, place: Location::caller() }
    }

    pub(crate) fn needs() -> Needs {
        let mut needs = Needs::default();
        H::needs(&mut needs);
        needs
    }
}

impl<H: Handler<A>, A: 'static> Service for HandlerService<H, A> {
    // No `async fn`, whose future would hold the request beside that of the handler.
    fn call(&self, mut req: Request) -> impl Future<Output = Response> + Send {
        if let Some(pool) = &self.pool
            && req.extensions().get::<Pool>().is_none()
        {
            let pool = pool.get_or_init(Pool::default).clone();
            req.extensions_mut().insert(pool);
        }
        self.handler.call(req)
    }

    fn describe(&self, outline: &mut Outline) {
        let needs = Self::needs();
        // The handlers of a router are told by that, all at once.
        if needs.is_blocking() && !outline.is_in_route() {
            outline.install::<Pool>(self.place, None, describe_installed);
        }
        outline.handler(std::any::type_name::<H>(), &needs);
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        if let Some(own) = &self.pool {
            // Started twice (by a test, say), it stays with the pool that it had first.
            let _ = own.set(Pools::named(start, DEFAULT, &Settings::default())?);
        }
        Ok(())
    }
}

impl<H, A> std::fmt::Debug for HandlerService<H, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "handler({})", std::any::type_name::<H>())
    }
}
