//! Every address of the site on one screen, each with its name: templates say `url_for(name="guestbook")`.

use crate::handlers::{guestbook, home};
use purlin::{Router, get};

/// The routes. A static part wins over a `{parameter}`, two routes in conflict stop the site from starting.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(home::show).name("home"))
        .route("/fail", get(home::fail).name("fail"))
        .route(
            "/guestbook",
            get(guestbook::show).post(guestbook::sign).name("guestbook"),
        )
}
