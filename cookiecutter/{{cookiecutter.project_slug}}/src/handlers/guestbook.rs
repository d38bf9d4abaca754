//! The guestbook: a form that keeps what was typed, tells what is wrong beside the field, and thanks after a redirect.

{% if cookiecutter.auth %}
use crate::accounts::User;
use crate::models::{self, Entry, NewEntry, Tx};
use purlin::auth::CurrentUser;
use purlin::form::{Filled, Problems, Rules, Submitted};
use purlin::{Error, IntoResponse, Path, Redirect, Response, Result, Session, Urls, View};
use std::collections::BTreeMap;

impl Rules for NewEntry {
    fn check(&self, problems: &mut Problems) {
        let said = !self.message.trim().is_empty();
        let length = self.message.chars().count();
        problems.unless(said, "message", "Please write a message.");
        problems.unless(length <= 500, "message", "At most 500 letters, please.");
    }
}
{% else %}
{% if cookiecutter.__database %}
use crate::models::{self, Entry, Tx};
use purlin::form::{Filled, Problems, Rules, Submitted};
use purlin::{IntoResponse, Redirect, Response, Result, Session, Urls, View};
use std::collections::BTreeMap;
{% else %}
use purlin::form::{Filled, Problems, Rules, Submitted};
use purlin::{IntoResponse, Redirect, Response, Result, Session, State, Urls, View};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// What the guests wrote, newest first; the last hundred, until the site is stopped.
#[derive(Clone, Default)]
pub struct Guestbook(Arc<Mutex<VecDeque<Entry>>>);

impl Guestbook {
    fn entries(&self) -> Vec<Entry> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().cloned().collect()
    }

    fn add(&self, entry: Entry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push_front(entry);
        entries.truncate(100);
    }
}

/// An entry, and the form that makes one.
#[derive(Clone, Deserialize, Serialize)]
pub struct Entry {
    name: String,
    message: String,
}
{% endif %}

impl Rules for Entry {
    fn check(&self, problems: &mut Problems) {
        let said = |text: &str| !text.trim().is_empty();
        let length = |text: &str| text.chars().count();
        let (name, message) = (length(&self.name), length(&self.message));
        problems.unless(said(&self.name), "name", "Please tell us your name.");
        problems.unless(name <= 60, "name", "At most 60 letters, please.");
        problems.unless(said(&self.message), "message", "Please write a message.");
        problems.unless(message <= 500, "message", "At most 500 letters, please.");
    }
}
{% endif %}

fn page(entries: Vec<Entry>, form: impl Into<Filled>) -> View {
    let context = BTreeMap::from([("entries", entries)]);
    View::new("guestbook.html", context).form(form)
}

/// `GET /guestbook`: the empty form and the entries.
{% if cookiecutter.__database %}
pub async fn show(mut tx: Tx) -> Result<View> {
    let entries = models::entries(&mut tx).await?;
    Ok(page(entries, Filled::new()))
}
{% else %}
pub async fn show(State(book): State<Guestbook>) -> View {
    page(book.entries(), Filled::new())
}
{% endif %}

/// `POST /guestbook`: the form again with its problems (422), or an entry more and a redirect (303).
pub async fn sign(
{% if cookiecutter.auth %}
    CurrentUser(user): CurrentUser<User>,
    session: Session,
    urls: Urls,
    mut form: Submitted<NewEntry>,
    mut tx: Tx,
{% elif cookiecutter.__database %}
    session: Session,
    urls: Urls,
    mut form: Submitted<Entry>,
    mut tx: Tx,
{% else %}
    State(book): State<Guestbook>,
    session: Session,
    urls: Urls,
    mut form: Submitted<Entry>,
{% endif %}
) -> Result<Response> {
    let Some(entry) = form.accept() else {
{% if cookiecutter.__database %}
        let entries = models::entries(&mut tx).await?;
        return Ok(page(entries, form).into_response());
{% else %}
        return Ok(page(book.entries(), form).into_response());
{% endif %}
    };
{% if cookiecutter.auth %}
    models::add(&mut tx, user.id, &entry).await?;
{% elif cookiecutter.__database %}
    models::add(&mut tx, &entry).await?;
{% else %}
    book.add(entry);
{% endif %}
    session.flash("success", "Thank you, your entry is in the book.");
    Ok(Redirect::see_other(urls.url_for("guestbook", &[])?).into_response())
}
{% if cookiecutter.auth %}

/// `POST /guestbook/{entry}/delete`: for who wrote it, and nobody else.
pub async fn delete(
    Path(entry): Path<i64>,
    CurrentUser(user): CurrentUser<User>,
    session: Session,
    urls: Urls,
    mut tx: Tx,
) -> Result<Redirect> {
    if !models::delete(&mut tx, user.id, entry).await? {
        return Err(Error::not_found("no entry of this number is the user's"));
    }
    session.flash("success", "Your entry is gone.");
    Ok(Redirect::see_other(urls.url_for("guestbook", &[])?))
}
{% endif %}
