//! `Submitted`: a form that was sent, to go on with or to show again with all that was typed and what is wrong with it.
//!
//! The whole flow is one handler: it takes a [`Submitted<T>`], and either has a good `T` or shows the page again.
//!
//! ```
//! use purlin::form::{Filled, Problems, Rules, Submitted};
//! use purlin::{IntoResponse, Redirect, Response, View};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Guest {
//!     name: String,
//!     age: Option<u8>,
//! }
//!
//! impl Rules for Guest {
//!     fn check(&self, problems: &mut Problems) {
//!         problems.unless(!self.name.trim().is_empty(), "name", "Please tell us your name.");
//!     }
//! }
//!
//! fn page(form: impl Into<Filled>) -> View {
//!     View::new("guest.html", ()).form(form)
//! }
//!
//! async fn show() -> View {
//!     page(Filled::new())
//! }
//!
//! async fn sign(mut form: Submitted<Guest>) -> Response {
//!     let Some(guest) = form.accept() else {
//!         return page(form).into_response(); // 422, with everything as it was typed
//!     };
//!     Redirect::see_other(format!("/thanks/{}", guest.name)).into_response()
//! }
//! # purlin::get(show).post(sign);
//! ```
//!
//! # What names mean
//!
//! | The form sends | The struct has |
//! |---|---|
//! | `name=Ada` | `name: String` |
//! | `age=42`, `age=+42+` | `age: u8`; white space around numbers does not count, in text it stays |
//! | `age=`, or nothing | `age: Option<u8>` is `None`, and so is any `Option` whose fields are all empty |
//! | `agree=on`, `agree=true` | `agree: bool`; nothing, as browsers send for a box that is not ticked, is `false`, unless `#[serde(default)]` says something else |
//! | `colour=red` | `colour: Colour`, an enum with the variant `Red` renamed to `red` |
//! | `tags=a&tags=b`, `tags[]=a&tags[]=b` | `tags: Vec<String>`; nothing, or `tags=` alone, is an empty one |
//! | `address[city]=Paris` | `address: Address`, a struct with a field `city` |
//! | `lines[0][name]=Tea&lines[2][name]=Milk` | `lines: Vec<Line>` with two lines, in the order of their numbers |
//! | `stock[tea]=3` | `stock: BTreeMap<String, u32>` |
//! | `pay[card][number]=…` | `pay: Pay`, an enum with the variant `Card { number }` renamed to `card` |
//!
//! Brackets are the one way to say it. A dot is a letter like others (`openid.mode`), and brackets that say nothing are too:
//! `a[b`, `[a]`, `a[b]c`. Fields that the struct does not have are ignored; `csrf_token` and `_method`, which are for layers,
//! are too. Of `#[serde(flatten)]` texts only can be read.
//!
//! # Limits
//!
//! | | | |
//! |---|---|---|
//! | fields | 1,000, or what [`FieldLimit`](crate::layers::FieldLimit) says | 413 |
//! | a name's parts | [8](MAX_DEPTH): `lines[0][name]` has 3 | 400 |
//! | a name's bytes | [256](MAX_NAME_BYTES) | 400 |
//! | a list in the middle without a number: `lines[][name]` | | 400 |
//! | the bytes of it all | [`BodyLimit`](crate::layers::BodyLimit) | 413 |
//!
//! The same holds for [`Form`](crate::Form) and [`Query`](crate::Query), where what does not fit is a 400.
//!
//! # What is shown again
//!
//! Everything, exactly as it was typed, but for secrets. A field is secret if its type is [`Secret`](crate::config::Secret) (or
//! any newtype with `Secret` or `Password` in its name), or if its own name has `password`, `passwd`, `passphrase` or
//! `secret` in it. The component `forms.input` writes no value into `type="password"` whatever the name is.

mod fields;
mod filled;
mod read;
#[cfg(feature = "validation")]
mod validation;

pub use fields::{DEFAULT_FIELD_LIMIT, Fields, MAX_DEPTH, MAX_NAME_BYTES};
#[cfg(feature = "tera")]
pub(crate) use filled::field_id;
pub use filled::{Filled, Problem};

use crate::extract::expect_form;
use crate::site::Needs;
use crate::{Bytes, Error, FromRequest, Request, Result};
use fields::Tree;
use filled::Sent;
use read::{Found, Reader};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt;

/// A form that was sent, with what is wrong with it; an argument of a handler.
///
/// Everything is looked at, so that the visitor hears of it at once: values that do not fit their types (a letter in a number)
/// and what the [`Rules`] say. Where a value did not fit, the rules see another in its place, and what they say of that field
/// is not told.
///
/// # Errors
///
/// 415 for another content type than `application/x-www-form-urlencoded`, 413 for a body or a number of fields over the limit,
/// 400 for what no form of the site sends: see [the limits](self#limits). What a visitor can mend is no error.
pub struct Submitted<T> {
    value: Option<T>,
    filled: Filled,
}

/// What must hold of a form's values beyond their types.
///
/// Written by hand, as here, or with the feature `validation` by garde: see [`Problems::validate`].
///
/// ```
/// use purlin::form::{Problems, Rules};
///
/// struct Stay { from: u32, to: u32 }
///
/// impl Rules for Stay {
///     fn check(&self, problems: &mut Problems) {
///         problems.unless(self.from < self.to, "to", "You leave before you arrive.");
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "nothing says which rules hold of the form `{Self}`",
    note = "where its types say everything: `impl Rules for … {{}}`"
)]
pub trait Rules {
    /// Adds what is wrong. Nothing, by default.
    fn check(&self, problems: &mut Problems) {
        let _ = problems;
    }
}

/// What is wrong with a form, field by field.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    list: Vec<(String, &'static str, Cow<'static, str>)>,
}

impl Problems {
    /// Adds a problem with a field: a sentence for the visitor. The field is named as in the form, `address[city]`; of an
    /// empty name, it is a problem with the form as a whole.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<Cow<'static, str>>) {
        self.list.push((field.into(), "rule", message.into()));
    }

    /// Adds a problem unless something holds.
    pub fn unless(&mut self, holds: bool, field: impl Into<String>, message: impl Into<Cow<'static, str>>) {
        if !holds {
            self.add(field, message);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<T> Submitted<T> {
    /// A form of fields that were read in another way than from a body of `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    ///
    /// 400, as for the extractor.
    #[track_caller]
    pub fn of(fields: &Fields<'_>) -> Result<Self>
    where
        T: DeserializeOwned + Rules,
    {
        let (value, found) = read(fields, "The form")?;
        let sent = Sent::of(fields);
        let mut problems = Problems::default();
        if let Some(value) = &value {
            Rules::check(value, &mut problems);
        }
        let filled = Filled::sent(sent, found, problems);
        Ok(Self { value: value.filter(|_| filled.is_good()), filled })
    }

    /// Takes the value, if nothing is wrong with it.
    pub fn accept(&mut self) -> Option<T> {
        if self.filled.is_good() { self.value.take() } else { None }
    }

    /// Adds a problem that only the handler can know of, such as a name that is taken.
    pub fn refuse(&mut self, field: &str, message: impl Into<Cow<'static, str>>) {
        self.filled.refuse(field, message);
    }

    /// The form as a page shows it.
    pub fn filled(&self) -> &Filled {
        &self.filled
    }
}

impl<T> From<Submitted<T>> for Filled {
    fn from(form: Submitted<T>) -> Self {
        form.filled
    }
}

impl<T: DeserializeOwned + Rules + Send + 'static> FromRequest for Submitted<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        expect_form(req.headers())?;
        let limit = FieldLimit::of(req);
        let bytes = Bytes::from_request(req).await?;
        Self::of(&Fields::parse(&bytes, limit)?).map_err(|error| error.context("reading the form"))
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}

impl<T> fmt::Debug for Submitted<T> {
    /// Without the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitted").field("problems", &self.filled.problems()).finish_non_exhaustive()
    }
}

/// How many fields a form may have; in the extensions below the layer `FieldLimit`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldLimit(pub(crate) usize);

impl FieldLimit {
    pub(crate) fn of(req: &Request) -> usize {
        req.extensions().get::<Self>().map_or(DEFAULT_FIELD_LIMIT, |limit| limit.0)
    }
}

/// Reads fields as a value that must fit as a whole; `what` is for the message: `The form`.
///
/// # Errors
///
/// 400 with the first fault.
pub(crate) fn read_whole<T: DeserializeOwned>(fields: &Fields<'_>, what: &str) -> Result<T> {
    let (value, found) = read(fields, what)?;
    let fault = found.faults.into_iter().next();
    match (fault, value) {
        (None, Some(value)) => Ok(value),
        (fault, _) => Err(cannot_be_read(fault.map_or_else(|| "it does not fit".into(), |fault| fault.message), what)),
    }
}

#[track_caller]
fn cannot_be_read(message: String, what: &str) -> Error {
    let public = format!("{what} cannot be read: {message}.");
    Error::bad_request(message).public(public)
}

fn read<T: DeserializeOwned>(fields: &Fields<'_>, what: &str) -> Result<(Option<T>, Found)> {
    let tree = Tree::of(fields)?;
    Reader::new(fields, &tree).read().map_err(|message| cannot_be_read(message, what))
}

/// Fields that are for layers, and for no form's struct that does not ask for them.
pub(crate) const OF_LAYERS: [&str; 2] = [crate::csrf::FIELD, crate::request::METHOD_FIELD];

/// Whether the name of a field, or of its type, says that nobody should see the value.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "passphrase", "secret"].iter().any(|word| name.contains(word))
}
