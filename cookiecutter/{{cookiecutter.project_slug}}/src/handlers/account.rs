//! Registering, signing in and out, and the page of one's own account, with a picture.

use crate::accounts::{User, Users};
use crate::models::{self, Tx};
use purlin::auth::{Auth, CurrentUser, Password};
use purlin::extract::MultipartForm;
use purlin::form::{Filled, Problems, Rules, Submitted};
use purlin::{
    Context, HeaderValue, IntoResponse, Path, Redirect, Response, ResponseExt, Result, Session,
    State, Urls, View, header,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The form that makes an account.
#[derive(Deserialize)]
pub struct NewAccount {
    name: String,
    email: String,
    password: Password,
}

impl Rules for NewAccount {
    fn check(&self, problems: &mut Problems) {
        let length = self.name.trim().chars().count();
        problems.unless(length > 0, "name", "Please tell us your name.");
        problems.unless(length <= 60, "name", "At most 60 letters, please.");
        let address = self.email.trim();
        let is_address = address.len() <= 254 && address.split('@').all(|part| !part.is_empty());
        let is_address =
            is_address && address.contains('@') && !address.chars().any(char::is_control);
        problems.unless(is_address, "email", "Please give an e-mail address.");
        let is_long = self.password.chars() >= 8;
        problems.unless(is_long, "password", "At least 8 letters, please.");
    }
}

fn register_page(form: impl Into<Filled>) -> View {
    View::new("register.html", ()).form(form)
}

/// `GET /register`: the empty form.
pub async fn register_form() -> View {
    register_page(Filled::new())
}

/// `POST /register`: the form again with its problems (422), or an account, signed in to.
pub async fn register(
    auth: Auth,
    session: Session,
    State(users): State<Users>,
    mut form: Submitted<NewAccount>,
) -> Result<Response> {
    let Some(new) = form.accept() else {
        return Ok(register_page(form).into_response());
    };
    let hash = auth.hash(&new.password).await?;
    let Some(user) = users.add(&new.email, &new.name, hash).await? else {
        form.refuse("email", "There is an account with this address.");
        return Ok(register_page(form).into_response());
    };
    auth.sign_in_as(user).await?;
    session.flash("success", "Welcome! Your account is made.");
    Ok(auth.back_or("/guestbook").into_response())
}

/// The form that signs in.
#[derive(Deserialize)]
pub struct Credentials {
    email: String,
    password: Password,
    #[serde(default)]
    remember: bool,
}

impl Rules for Credentials {}

fn sign_in_page(form: impl Into<Filled>) -> View {
    View::new("sign_in.html", ()).form(form)
}

/// `GET /sign-in`: the empty form.
pub async fn sign_in_form() -> View {
    sign_in_page(Filled::new())
}

/// `POST /sign-in`: the form again (422), or back to where one was going.
pub async fn sign_in(auth: Auth, mut form: Submitted<Credentials>) -> Result<Response> {
    let Some(given) = form.accept() else {
        return Ok(sign_in_page(form).into_response());
    };
    if auth.sign_in(&given.email, &given.password).await?.is_none() {
        form.refuse("", "The address or the password is wrong.");
        return Ok(sign_in_page(form).into_response());
    }
    if given.remember {
        auth.remember().await?;
    }
    Ok(auth.back_or("/guestbook").into_response())
}

/// `POST /sign-out`
pub async fn sign_out(auth: Auth) -> Result<Redirect> {
    auth.sign_out().await?;
    Ok(Redirect::see_other("/"))
}

fn page(form: impl Into<Filled>) -> View {
    View::new("account.html", ()).form(form)
}

/// `GET /account`: for who is signed in.
pub async fn show(_user: CurrentUser<User>) -> View {
    page(Filled::new())
}

/// `POST /account`: a picture, which is shown beside what one writes.
pub async fn save_picture(
    CurrentUser(user): CurrentUser<User>,
    session: Session,
    urls: Urls,
    MultipartForm(_, mut files): MultipartForm<IgnoredAny>,
    mut tx: Tx,
) -> Result<Response> {
    let picture = files.take("picture")?;
    let picture = picture.ok_or("Please choose a picture.").and_then(|file| {
        // What it is, its first bytes tell; what it is called, anybody can say.
        let kind = file.detected_type().filter(|kind| KINDS.contains(kind));
        let kind = kind.ok_or("A picture is a PNG, JPEG, GIF or WebP.")?;
        let is_small = file.len() <= 256 << 10;
        is_small
            .then_some((kind, file))
            .ok_or("A picture has 256 KiB at most.")
    });
    match picture {
        Ok((kind, file)) => {
            models::save_picture(&mut tx, user.id, kind, &file.bytes().await?).await?;
            session.flash("success", "Your picture is saved.");
            Ok(Redirect::see_other(urls.url_for("account", &[])?).into_response())
        }
        Err(problem) => {
            let mut form = Filled::new();
            form.refuse("picture", problem);
            Ok(page(form).into_response())
        }
    }
}

const KINDS: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// `GET /picture/{account}`
pub async fn picture(Path(account): Path<i64>, mut tx: Tx) -> Result<Response> {
    let (kind, bytes) = models::picture(&mut tx, account).await?.or_404()?;
    let cache = HeaderValue::from_static("max-age=60");
    Ok(bytes
        .into_response()
        .with_header(header::CONTENT_TYPE, HeaderValue::try_from(kind)?)
        .with_header(header::CACHE_CONTROL, cache))
}
