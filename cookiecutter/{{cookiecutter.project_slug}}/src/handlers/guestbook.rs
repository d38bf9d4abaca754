//! The guestbook: a form that keeps what was typed, tells what is wrong beside the field, and thanks after a redirect.

use purlin::{
    Form, IntoResponse, Redirect, Response, Result, Session, State, StatusCode, Urls, View,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
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
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Entry {
    name: String,
    message: String,
}

/// What is wrong with a form, by field.
#[derive(Default, PartialEq, Serialize)]
struct Problems {
    name: Option<&'static str>,
    message: Option<&'static str>,
}

impl Entry {
    fn problems(&self) -> Problems {
        let length = |text: &str| text.trim().chars().count();
        Problems {
            name: match length(&self.name) {
                0 => Some("Please tell us your name."),
                61.. => Some("A name has 60 letters at most."),
                _ => None,
            },
            message: match length(&self.message) {
                0 => Some("Please write a message."),
                501.. => Some("A message has 500 letters at most."),
                _ => None,
            },
        }
    }
}

#[derive(Serialize)]
struct Page {
    form: Entry,
    problems: Problems,
    entries: Vec<Entry>,
}

/// `GET /guestbook`: the empty form and the entries.
pub async fn show(State(book): State<Guestbook>) -> View {
    View::new(
        "guestbook.html",
        Page {
            form: Entry::default(),
            problems: Problems::default(),
            entries: book.entries(),
        },
    )
}

/// `POST /guestbook`: the form again with its problems (422), or an entry more and a redirect (303).
pub async fn sign(
    State(book): State<Guestbook>,
    session: Session,
    urls: Urls,
    Form(form): Form<Entry>,
) -> Result<Response> {
    let problems = form.problems();
    if problems != Problems::default() {
        let page = Page {
            form,
            problems,
            entries: book.entries(),
        };
        return Ok(View::new("guestbook.html", page)
            .status(StatusCode::UNPROCESSABLE_ENTITY)
            .into_response());
    }
    book.add(form);
    session.flash("success", "Thank you, your entry is in the book.");
    Ok(Redirect::see_other(urls.url_for("guestbook", &[])?).into_response())
}
