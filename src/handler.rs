//! `Handler`: an `async fn` of extractors that answers a request.

use crate::extract::FromRequest;
use crate::site::{Needs, Outline};
use crate::{IntoResponse, Request, Response, Result, Service};
use std::marker::PhantomData;

/// An `async fn` whose arguments are extractors and whose result becomes a response.
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
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a handler",
    label = "this is no handler",
    note = "a handler is an `async fn` of at most 12 arguments, given by its name and not called: `get(hello)`"
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
            Ok(arguments) => self.run(arguments).await.into_response(),
            Err(error) => error.into(),
        }
    }

    fn needs(needs: &mut Needs) {
        H::Output::needs(needs);
        A::needs(needs);
    }
}

/// An `async fn` of at most 12 arguments, whatever they are; implemented for those and nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a handler",
    label = "this is no handler",
    note = "a handler is an `async fn` of at most 12 arguments, given by its name and not called: `get(hello)`"
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
pub fn handler<H: Handler<A>, A: 'static>(handler: H) -> HandlerService<H, A> {
    HandlerService::new(handler)
}

/// What [`handler`] returns.
pub struct HandlerService<H, A> {
    handler: H,
    arguments: PhantomData<fn(A)>,
}

impl<H: Handler<A>, A: 'static> HandlerService<H, A> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, arguments: PhantomData }
    }
}

impl<H: Handler<A>, A: 'static> Service for HandlerService<H, A> {
    async fn call(&self, req: Request) -> Response {
        self.handler.call(req).await
    }

    fn describe(&self, outline: &mut Outline) {
        let mut needs = Needs::default();
        H::needs(&mut needs);
        outline.handler(std::any::type_name::<H>(), &needs);
    }
}

impl<H, A> std::fmt::Debug for HandlerService<H, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "handler({})", std::any::type_name::<H>())
    }
}
