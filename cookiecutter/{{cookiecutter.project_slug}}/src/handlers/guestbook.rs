//! The guestbook: a form that keeps what was typed, tells what is wrong beside the field, and thanks after a redirect.

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
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
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

impl Rules for Entry {
    fn check(&self, problems: &mut Problems) {
        let length = |text: &str| text.trim().chars().count();
        let (name, message) = (length(&self.name), length(&self.message));
        problems.unless(name > 0, "name", "Please tell us your name.");
        problems.unless(name <= 60, "name", "At most 60 letters, please.");
        problems.unless(message > 0, "message", "Please write a message.");
        problems.unless(message <= 500, "message", "At most 500 letters, please.");
    }
}

fn page(book: &Guestbook, form: impl Into<Filled>) -> View {
    let context = BTreeMap::from([("entries", book.entries())]);
    View::new("guestbook.html", context).form(form)
}

/// `GET /guestbook`: the empty form and the entries.
pub async fn show(State(book): State<Guestbook>) -> View {
    page(&book, Filled::new())
}

/// `POST /guestbook`: the form again with its problems (422), or an entry more and a redirect (303).
pub async fn sign(
    State(book): State<Guestbook>,
    session: Session,
    urls: Urls,
    mut form: Submitted<Entry>,
) -> Result<Response> {
    let Some(entry) = form.accept() else {
        return Ok(page(&book, form).into_response());
    };
    book.add(entry);
    session.flash("success", "Thank you, your entry is in the book.");
    Ok(Redirect::see_other(urls.url_for("guestbook", &[])?).into_response())
}
