//! Purlin, with the stack that the generator writes.

use purlin::layers::{
    AccessLog, BodyLimit, Compression, Deadline, ErrorPages, RequestIds, SecurityHeaders, Sessions, StaticFiles, Templates,
};
use purlin::{Assets, CookieStore, Router, Service, Stack, Tera, get};
use std::time::Duration;

async fn hello() -> &'static str {
    peers::HELLO
}

fn full() -> purlin::Result<impl Service> {
    let mut routes = Router::new().route("/", get(hello));
    for n in 0..peers::ROUTES {
        routes = routes.route(&format!("/section{n}/{{id}}"), get(hello));
    }
    let templates = Tera::new(Assets::embedded(&[]))?;
    Ok(Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(Compression::new())
        .layer(SecurityHeaders::new())
        .layer(ErrorPages::new().templates(&templates))
        .layer(Deadline::new(Duration::from_secs(30)))
        .layer(BodyLimit::new(2 << 20))
        .layer(StaticFiles::new(Assets::folder(peers::files())))
        .layer(Sessions::new(CookieStore::new([7; 32])?))
        .layer(Templates::new(templates))
        .app(routes))
}
