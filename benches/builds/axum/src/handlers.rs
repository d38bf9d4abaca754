use crate::Shared;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, PrivateCookieJar};
use serde::{Deserialize, Serialize};
use tera::Context;

#[derive(Clone, Deserialize, Serialize)]
pub struct Entry {
    name: String,
    message: String,
}

#[derive(Serialize)]
struct Home {
    visits: u64,
}

#[derive(Serialize)]
struct Guestbook<'a> {
    entries: &'a [Entry],
    problem: Option<&'static str>,
}

fn render(shared: &Shared, template: &str, values: impl Serialize) -> Result<Html<String>, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let context = Context::from_serialize(&values).map_err(failed)?;
    shared.tera.render(template, &context).map(Html).map_err(failed)
}

pub async fn home(State(shared): State<Shared>, jar: PrivateCookieJar) -> Result<impl IntoResponse, StatusCode> {
    let visits = jar.get("visits").and_then(|cookie| cookie.value().parse().ok()).unwrap_or(0) + 1;
    let page = render(&shared, "home.html", Home { visits })?;
    Ok((jar.add(Cookie::build(("visits", visits.to_string())).path("/").http_only(true)), page))
}

pub async fn guestbook(State(shared): State<Shared>) -> Result<Html<String>, StatusCode> {
    let entries = shared.entries.lock().expect("never poisoned").clone();
    render(&shared, "guestbook.html", Guestbook { entries: &entries, problem: None })
}

pub async fn sign(State(shared): State<Shared>, Form(entry): Form<Entry>) -> Result<Response, StatusCode> {
    if entry.message.trim().is_empty() {
        let entries = shared.entries.lock().expect("never poisoned").clone();
        let page = render(&shared, "guestbook.html", Guestbook { entries: &entries, problem: Some("Say something.") })?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    shared.entries.lock().expect("never poisoned").push(entry);
    Ok(Redirect::to("/guestbook").into_response())
}
