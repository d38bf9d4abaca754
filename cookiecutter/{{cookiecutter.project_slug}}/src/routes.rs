//! Every address of the site on one screen, each with its name: templates say `url_for(name="guestbook")`.

{% if cookiecutter.auth %}
use crate::handlers::{account, guestbook, home};
use purlin::{Router, get, post};
{% else %}
use crate::handlers::{guestbook, home};
use purlin::{Router, get};
{% endif %}

/// The routes. A static part wins over a `{parameter}`, two routes in conflict stop the site from starting.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(home::show).name("home"))
        // your routes here
        .route("/fail", get(home::fail).name("fail"))
        .route("/fail/page", get(home::fail_page).name("fail-page"))
        .route(
            "/guestbook",
            get(guestbook::show).post(guestbook::sign).name("guestbook"),
        )
{% if cookiecutter.auth %}
        .route(
            "/guestbook/{entry}/delete",
            post(guestbook::delete).name("delete-entry"),
        )
        .route(
            "/register",
            get(account::register_form)
                .post(account::register)
                .name("register"),
        )
        .route(
            "/sign-in",
            get(account::sign_in_form)
                .post(account::sign_in)
                .name("sign-in"),
        )
        .route("/sign-out", post(account::sign_out).name("sign-out"))
        .route(
            "/account",
            get(account::show)
                .post(account::save_picture)
                .name("account"),
        )
        .route("/picture/{account}", get(account::picture).name("picture"))
{% endif %}
}
