//! The whole chain, outermost first: a request meets these lines from top to bottom, its answer
//! from bottom to top.
//!
//! Every line is an ordinary layer. Move it, delete it, or put another in its place: one of yours
//! (an `async fn(Request, Next<'_>) -> Result<Response>` will do) or, with Purlin's feature `tower`,
//! any tower layer by `purlin::tower(…)`. What stands in the wrong order is refused when the site
//! starts, with the line to move. `cargo run -- stack` prints the result.

use crate::handlers::guestbook::Guestbook;
use crate::routes::routes;
use purlin::layers::{
    AccessLog, BodyLimit, Compression, Csrf, Deadline, ErrorPages, RequestIds, SecurityHeaders,
    Sessions, StaticFiles, Templates,
};
use purlin::session::CookieStore;
use purlin::template::Tera;
use purlin::{Config, Result, Service, Stack, State, embed};
use std::sync::Arc;

/// Puts the site together.
pub fn stack(config: Config) -> Result<impl Service> {
    let tera = Tera::new(embed!("templates")).reload(config.templates.reload);
    let tera = Arc::new(tera.configure(|tera| {
        tera.global_context().insert("site_name", {{ cookiecutter.__quoted_name }});
    }));
    let pages = ErrorPages::new()
        .details(config.errors.details)
        .templates(tera.clone());
    let cookies = CookieStore::new(&config.secret);

    Ok(Stack::new()
        .layer(RequestIds::new()) // an id for the log, the answer and the error page
        .layer(AccessLog::new()) // one line a request, with the cause of a failure
        .layer(Compression::new()) // brotli or gzip, as the client likes
        .layer(SecurityHeaders::new().https(config.https)) // CSP, nosniff, no framing, HSTS
        .layer(pages) // a failure from below becomes a page here
        .layer(Deadline::new(config.answer_within)) // 503 when it takes too long
        .layer(BodyLimit::new(config.body_limit)) // 413 when too much is sent
        .layer(StaticFiles::new(embed!("static"))) // what is in static/
        .layer(Sessions::new(cookies).https(config.https)) // who comes back, in a sealed cookie
        .layer(Csrf::new()) // 403 for what other sites send in a visitor's name
        .layer(State(Guestbook::default())) // what handlers share
        // your layers here
        .layer(Templates::new(tera)) // a handler's view becomes a page
        .app(routes()))
}
