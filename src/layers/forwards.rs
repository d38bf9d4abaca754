//! Lets handlers answer by another path of the site, and take the answers of other paths as values.

use crate::forward::{Aside, Call, Chain, Cookies, Forward, InnerStack, request, retargeted};
use crate::replay::Replay;
use crate::service::BoxFuture;
use crate::site::About;
use crate::{Error, Middleware, Request, Response, Result, Service};
use http::request::Parts;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tokio::sync::mpsc;

/// Lets handlers below answer by [`Forward::to`] and take an [`Include`](crate::forward::Include).
///
/// What is below this layer is asked once more, so it stands above the router, and where both answers are to go through
/// sessions, CSRF and templates, above those. The request as it came is kept for that: a copy of its head, with its
/// extensions, for each request.
///
/// # Errors
///
/// A carried 500 where a forward leads back to a step that it came by, or over more than
/// [`max_depth`](Forwards::max_depth) steps; the chain is in its message.
///
/// ```
/// use purlin::forward::Forward;
/// use purlin::layers::Forwards;
/// use purlin::{Router, Stack, get};
///
/// let routes = Router::new()
///     .route("/", get(async || Forward::to("/news?page=1")))
///     .route("/news", get(async || "news"));
/// let app = Stack::new().layer(Forwards::new()).app(routes);
/// # app.check().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Forwards {
    max_depth: usize,
    max_body: u64,
}

impl Forwards {
    /// With the defaults of each option.
    pub fn new() -> Self {
        Self { max_depth: 10, max_body: 64 * 1024 }
    }

    /// How many steps there may be from the client's path to the one that answers, forwards and includes taken together; 10
    /// by default.
    pub fn max_depth(mut self, steps: usize) -> Self {
        self.max_depth = steps;
        self
    }

    /// How many bytes of a body are kept for [`Forward::keep_request`], where it was read before; 64 KiB by default.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }

    async fn answer(&self, req: Request, next: &impl Service, mut chain: Chain) -> Result<Response> {
        let mut cookies: Option<Cookies> = None;
        let (mut head, body) = req.into_parts();
        let mut body = Replay::new(body, self.max_body);
        loop {
            let again = body.body().ok_or_else(|| {
                Error::internal(format!("more than {} bytes were read of the body that is to be kept", self.max_body))
            })?;
            let mut response = self.ask(&head, again, next, &chain).await;
            let Some(forward) = response.extensions_mut().remove::<Forward>() else {
                if let Some(mut cookies) = cookies {
                    cookies.take(response.headers_mut());
                    cookies.give(response.headers_mut());
                }
                return Ok(response);
            };
            let cookies = cookies.get_or_insert_with(|| Cookies::new(&head));
            cookies.take(response.headers_mut());
            let mut parts = if forward.keeps_the_request() {
                retargeted(&head, forward.target())?
            } else {
                let (parts, none) = request(&head, forward.target(), Aside::Forward)?.into_parts();
                body = Replay::new(none, 0);
                parts
            };
            chain = chain.and(&parts.method, &parts.uri, self.max_depth)?;
            cookies.send(&mut parts);
            parts.extensions.extend(forward.into_extensions());
            head = parts;
        }
    }

    /// Asks what is below, and meanwhile for what that includes.
    async fn ask(&self, head: &Parts, body: crate::Body, next: &impl Service, chain: &Chain) -> Response {
        let (send, mut calls) = mpsc::unbounded_channel::<Call>();
        let mut req = Request::from_parts(head.clone(), body);
        req.extensions_mut().insert(InnerStack(send));
        req.extensions_mut().insert(chain.clone());
        let mut answering = pin!(next.call(req));
        let mut including = pin!(async {
            while let Some(Call { path, mut reply }) = calls.recv().await {
                let mut part = self.part(head, path, next, chain);
                // Who has lost patience drops what it asked for, which ends here.
                let part = poll_fn(|cx| match reply.poll_closed(cx) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => part.as_mut().poll(cx).map(Some),
                });
                if let Some(part) = part.await {
                    // Nobody waits for it any more.
                    let _ = reply.send(part);
                }
            }
        });
        let mut done = false;
        poll_fn(|cx| {
            if let Poll::Ready(response) = answering.as_mut().poll(cx) {
                return Poll::Ready(response);
            }
            if !done {
                done = including.as_mut().poll(cx).is_ready();
            }
            // Once more: what was included is mostly there now.
            answering.as_mut().poll(cx)
        })
        .await
    }

    /// What is included may include and forward in its turn: hence the box.
    fn part<'a>(
        &'a self,
        head: &'a Parts,
        path: String,
        next: &'a impl Service,
        chain: &'a Chain,
    ) -> BoxFuture<'a, Result<Response>> {
        Box::pin(async move {
            let req = request(head, &path, Aside::Part)?;
            let chain = chain.and(req.method(), req.uri(), self.max_depth)?;
            self.answer(req, next, chain).await
        })
    }
}

impl Default for Forwards {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for Forwards {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let chain = Chain::begin(&req);
        self.answer(req, next, chain).await
    }

    fn describe(&self, about: &mut About) {
        about.provides::<InnerStack>().option("max_depth", self.max_depth).option("max_body", self.max_body);
    }
}
