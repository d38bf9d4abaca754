//! The whole chain, outermost first: a request meets these lines from top to bottom, its answer
//! from bottom to top.
//!
//! Every line is an ordinary layer. Move it, delete it, or put another in its place: one of yours
//! (an `async fn(Request, Next<'_>) -> Result<Response>` will do) or, with Purlin's feature `tower`,
//! any tower layer by `purlin::tower(…)`. What stands in the wrong order is refused when the site
//! starts, with the line to move. `cargo run -- stack` prints the result.

{% if cookiecutter.auth %}
use crate::accounts::Users;
{% elif not cookiecutter.__database %}
use crate::handlers::guestbook::Guestbook;
{% endif %}
use crate::routes::routes;
{% if cookiecutter.sessions != 'cookie' %}
use purlin::config::Environment;
{% endif %}
{% if cookiecutter.__database %}
use purlin::database::Database;
{% endif %}
use purlin::layers::{
    AccessLog, BodyLimit, Compression, Csrf, Deadline, Debugger, ErrorPages, Lint, LiveReload,
{% if cookiecutter.auth %}
    RequestIds, SecurityHeaders, ServerTiming, Sessions, SignIn, StaticFiles, Templates,
    Transaction,
{% elif cookiecutter.__database %}
    RequestIds, SecurityHeaders, ServerTiming, Sessions, StaticFiles, Templates, Transaction,
{% else %}
    RequestIds, SecurityHeaders, ServerTiming, Sessions, StaticFiles, Templates,
{% endif %}
};
use purlin::report::Log;
{% if cookiecutter.sessions == 'cookie' %}
use purlin::session::CookieStore;
{% elif cookiecutter.sessions == 'sqlite' %}
use purlin::session::{MemoryStore, SqliteStore};
{% elif cookiecutter.sessions == 'redis' %}
use purlin::session::{MemoryStore, RedisStore};
{% else %}
use purlin::session::{MemoryStore, PostgresStore};
{% endif %}
use purlin::template::Tera;
{% if cookiecutter.auth or not cookiecutter.__database %}
use purlin::{Config, Result, Service, Stack, State, embed};
{% else %}
use purlin::{Config, Result, Service, Stack, embed};
{% endif %}
use std::sync::Arc;

/// What the pages call it.
const SITE_NAME: &str = {{ cookiecutter.__quoted_name }};

/// Puts the site together.
pub fn stack(config: Config) -> Result<impl Service> {
    let tera = Tera::new(embed!("templates")).reload(config.templates.reload);
    let environment = config.environment.to_string();
    let tera = Arc::new(tera.configure(move |tera| {
        tera.global_context().insert("site_name", SITE_NAME);
        tera.global_context().insert("environment", &environment);
    }));
    let pages = ErrorPages::new()
        .details(config.errors.details)
        .templates(tera.clone())
        .config(&config) // in each report of a failure, and its secrets in none
        .log_lines(50) // what the request logged before it failed, too
        .reporter(Log::new()) // who gets the reports: the log,
        .reporters(&config.reports)?; // and whom config/ names under [reports]
{% if cookiecutter.sessions == 'cookie' %}
    let sessions = Sessions::new(CookieStore::new(&config.secret));
{% else %}
    let sessions = match config.environment {
        Environment::Test => Sessions::new(MemoryStore::new()),
{% if cookiecutter.sessions == 'sqlite' %}
        _ => Sessions::new(SqliteStore::new(config.sessions_file()?)),
{% elif cookiecutter.sessions == 'redis' %}
        _ => Sessions::new(RedisStore::new(config.sessions.url.expose_str())),
{% elif cookiecutter.database == 'postgres' %}
        _ => Sessions::new(PostgresStore::new(config.database.url.expose_str())),
{% else %}
        _ => Sessions::new(PostgresStore::new(config.sessions.url.expose_str())),
{% endif %}
    };
{% endif %}
{% if cookiecutter.__database %}
    let database = Database::{{ cookiecutter.database }}(&config, embed!("migrations"))?;
    let transaction = Transaction::new(database.pool());
{% endif %}
{% if cookiecutter.auth %}
    let users = Users(database.pool());
{% endif %}

    Ok(Stack::new()
        .layer(ServerTiming::new().on(config.errors.details)) // the time in each, in debug builds
        .layer(Lint::new()) // logs what breaks a rule of HTTP, in debug builds only
        .layer(RequestIds::new()) // an id for the log, the answer and the error page
        .layer(AccessLog::new()) // one line a request, with the cause of a failure
        .layer(Compression::new()) // brotli or gzip, as the client likes
        .layer(SecurityHeaders::new().https(config.https)) // CSP, nosniff, no framing, HSTS
        .layer(LiveReload::new().on(config.templates.reload)) // reloads pages, in debug builds
        .layer(Debugger::new()) // live variables on its page, in debug builds only
        .layer(pages) // a failure from below becomes a page here
        .layer(Deadline::new(config.answer_within)) // 503 when it takes too long
        .layer(BodyLimit::new(config.body_limit)) // 413 when too much is sent
        .layer(StaticFiles::new(embed!("static"))) // what is in static/
{% if cookiecutter.sessions == 'cookie' %}
        .layer(sessions.https(config.https)) // who comes back, in a sealed cookie
{% else %}
        .layer(sessions.https(config.https)) // who comes back, kept on the server
{% endif %}
{% if cookiecutter.auth %}
        .layer(SignIn::new(users.clone(), &config.secret)) // who is signed in; 401 becomes the form
{% endif %}
        .layer(Csrf::new()) // 403 for what other sites send in a visitor's name
{% if cookiecutter.__database %}
        .layer(database) // its pool, as state; its migrations, at the start
        .layer(transaction) // all that a request writes if its answer is good, else nothing
{% endif %}
{% if cookiecutter.auth %}
        .layer(State(users)) // what handlers share
{% elif not cookiecutter.__database %}
        .layer(State(Guestbook::default())) // what handlers share
{% endif %}
        // your layers here
        .layer(Templates::new(tera)) // a handler's view becomes a page
        .app(routes()))
}
