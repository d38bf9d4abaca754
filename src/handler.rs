//! `Handler`: an `async fn` of extractors that answers a request.

use crate::extract::FromRequest;
use crate::site::{Needs, Outline};
use crate::{IntoResponse, Request, Response, Service};
use std::marker::PhantomData;

/// An `async fn` whose arguments are extractors and whose result becomes a response.
///
/// Arguments (up to twelve): [`Path`](crate::Path), [`Query`](crate::Query), [`Form`](crate::Form), [`Json`](crate::Json),
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
    note = "a handler is an `async fn` of at most 12 arguments, each an extractor (`FromRequest`)",
    note = "its result must become a response (`IntoResponse`), and its future must be `Send`: hold no `Rc` or lock guard across an `.await`"
)]
pub trait Handler<A>: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, req: Request) -> impl Future<Output = Response> + Send;

    /// What its arguments and its result need of the layers above.
    fn needs(needs: &mut Needs);
}

macro_rules! handlers {
    ($($argument:ident)*) => {
        impl<F, Fut, Out, $($argument,)*> Handler<($($argument,)*)> for F
        where
            F: Fn($($argument,)*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Out> + Send,
            Out: IntoResponse,
            $($argument: FromRequest + Send + 'static,)*
        {
            #[allow(non_snake_case, unused_mut, unused_variables)]
            async fn call(&self, mut req: Request) -> Response {
                $(
                    let $argument = match $argument::from_request(&mut req).await {
                        Ok(argument) => argument,
                        Err(error) => return error.into(),
                    };
                )*
                self($($argument,)*).await.into_response()
            }

            #[allow(unused_variables)]
            fn needs(needs: &mut Needs) {
                Out::needs(needs);
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
