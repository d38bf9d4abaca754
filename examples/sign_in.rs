//! Registering, signing in and out, a page for users and one for admins, an API for programs.
//! `cargo run --example sign_in --features auth`

use purlin::auth::{
    Account, Accounts, Auth, CurrentUser, Password, PasswordHash, new_stamp, require_role, require_user,
};
use purlin::layers::{AccessLog, BasicAuth, ErrorPages, RequestIds, Sessions, SignIn, Templates};
use purlin::session::CookieStore;
use purlin::template::Tera;
use purlin::{
    Assets, Config, Error, Form, IntoResponse, Redirect, Response, Result, Router, Service, Stack, State, StatusCode,
    View, get, post,
};
use serde::Deserialize;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
struct User {
    id: usize,
    email: String,
    hash: String,
    stamp: String,
    roles: Vec<String>,
}

impl Account for User {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.email.clone()
    }

    fn password_hash(&self) -> Option<&str> {
        Some(&self.hash)
    }

    fn stamp(&self) -> &str {
        &self.stamp
    }

    fn roles(&self) -> Vec<String> {
        self.roles.clone()
    }
}

/// The table of users, which in a site is one of its database.
#[derive(Clone, Default)]
struct Users(Arc<Mutex<Vec<User>>>);

impl Users {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<User>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new one; `None` if the address is taken. The first is the admin.
    fn insert(&self, email: &str, hash: PasswordHash) -> Option<User> {
        self.with(|users| {
            let taken = users.iter().any(|user| user.email == email);
            let roles = if users.is_empty() { vec!["admin".to_owned()] } else { Vec::new() };
            let user = User { id: users.len(), email: email.into(), hash: hash.into(), stamp: new_stamp(), roles };
            (!taken).then(|| users.push(user.clone())).map(|()| user)
        })
    }
}

impl Accounts for Users {
    type User = User;

    async fn by_login(&self, login: &str) -> Result<Option<User>> {
        let email = login.trim().to_lowercase();
        Ok(self.with(|users| users.iter().find(|user| user.email == email).cloned()))
    }

    async fn by_id(&self, id: &str) -> Result<Option<User>> {
        Ok(self.with(|users| users.iter().find(|user| user.id() == id).cloned()))
    }

    async fn save_hash(&self, user: &User, hash: &PasswordHash) -> Result<()> {
        self.with(|users| users[user.id].hash = hash.as_str().to_owned());
        Ok(())
    }
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: Password,
    #[serde(default)]
    remember: bool,
}

async fn form() -> View {
    View::new("sign_in.html", json!({ "email": "", "error": null }))
}

fn again(email: &str, error: &str) -> Response {
    let view = View::new("sign_in.html", json!({ "email": email, "error": error }));
    view.status(StatusCode::UNPROCESSABLE_ENTITY).into_response()
}

async fn sign_in(auth: Auth, Form(form): Form<Credentials>) -> Result<Response> {
    if auth.sign_in(&form.email, &form.password).await?.is_none() {
        return Ok(again(&form.email, "The address or the password is wrong."));
    }
    if form.remember {
        auth.remember().await?;
    }
    Ok(auth.back_or("/").into_response())
}

async fn register(auth: Auth, State(users): State<Users>, Form(form): Form<Credentials>) -> Result<Response> {
    if form.password.chars() < 8 {
        return Ok(again(&form.email, "A password has eight characters at least."));
    }
    let hash = auth.hash(&form.password).await?;
    let email = form.email.trim().to_lowercase();
    let Some(user) = users.insert(&email, hash) else {
        return Ok(again(&form.email, "The address is taken."));
    };
    auth.sign_in_as(user).await?;
    Ok(auth.back_or("/").into_response())
}

#[derive(Deserialize)]
struct NewPassword {
    old: Password,
    new: Password,
}

async fn new_password(
    auth: Auth,
    CurrentUser(user): CurrentUser<User>,
    State(users): State<Users>,
    Form(form): Form<NewPassword>,
) -> Result<Redirect> {
    if !auth.confirm(&form.old).await? {
        return Err(Error::forbidden("the old password is another").public("The old password is another."));
    }
    let hash = auth.hash(&form.new).await?;
    let user = users.with(|users| {
        let user = &mut users[user.id];
        // The new stamp signs out everywhere …
        (user.hash, user.stamp) = (hash.into(), new_stamp());
        user.clone()
    });
    // … and in again here.
    auth.sign_in_as(user).await?;
    Ok(Redirect::see_other("/"))
}

async fn sign_out(auth: Auth) -> Result<Redirect> {
    auth.sign_out().await?;
    Ok(Redirect::see_other("/"))
}

async fn home() -> View {
    View::new("home.html", ())
}

async fn letters(user: CurrentUser<User>) -> String {
    format!("Letters to {}", user.email)
}

const TEMPLATES: &[(&str, &[u8])] = &[
    (
        "home.html",
        br#"<!doctype html><html lang="en"><title>Home</title>
{% if current_user %}<p>Hello, {{ current_user.name }}!</p>
<form method="post" action="/sign-out"><button>Sign out</button></form>
{% else %}<p>Hello, stranger! <a href="/sign-in">Sign in</a></p>{% endif %}
<p><a href="/letters">Letters</a> <a href="/reports">Reports</a></p>"#,
    ),
    (
        "sign_in.html",
        // No `action`: the form goes to its own address, and `?next=` with it.
        br#"<!doctype html><html lang="en"><title>Sign in</title>
{% if error %}<p role="alert">{{ error }}</p>{% endif %}
<form method="post">
<p><label>E-mail <input name="email" type="email" autocomplete="username" required value="{{ email }}"></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<p><label><input name="remember" type="checkbox"> Stay signed in</label></p>
<p><button>Sign in</button></p>
</form>"#,
    ),
];

fn stack(config: Config) -> Result<impl Service> {
    let users = Users::default();
    let api = Stack::new()
        .layer(BasicAuth::new(users.clone()).realm("the API"))
        .layer(require_user())
        .app(Router::new().route("/letters", get(letters)));
    let routes = Router::new()
        .route("/", get(home))
        .route("/sign-in", get(form).post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/register", get(form).post(register))
        .route("/password", post(new_password))
        .route("/letters", get(letters))
        .route("/reports", get(async || "All reports").layer(require_role("admin")))
        .mount("/api", api);
    // A site has the layer `Csrf` as well, for its forms.
    Ok(Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(ErrorPages::new())
        .layer(Sessions::new(CookieStore::new(&config.secret)).https(config.https))
        .layer(SignIn::new(users.clone(), &config.secret))
        .layer(Templates::new(Tera::new(Assets::embedded(TEMPLATES))))
        .layer(State(users))
        .app(routes))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn ada_registers_reads_her_letters_and_signs_out() {
    let app = stack(Config::for_tests().unwrap()).unwrap();
    let client = purlin::testing::Client::new(app).default_header("accept", "text/html").follow_redirects();
    let form = client.get("/register").await.form(0);
    let page = form.set("email", "Ada@example.org").set("password", "correct horse").submit().await;
    page.assert_contains("Hello, ada@example.org!");
    client.get("/letters").await.assert_contains("Letters to ada@example.org");
    client.get("/reports").await.assert_contains("All reports");
    let page = client.get("/").await.form(0).submit().await;
    page.assert_contains("Hello, stranger!");

    let form = client.get("/letters").await.form(0);
    let page = form.set("email", "ada@example.org").set("password", "wrong horse").submit().await;
    page.assert_status(422).assert_contains("wrong");
    let page = page.form(0).set("password", "correct horse").check("remember").submit().await;
    page.assert_contains("Letters to ada@example.org");

    let program = client.another_visitor();
    program.get("/api/letters").await.assert_status(401);
    let page =
        program.get("/api/letters").header("authorization", "Basic YWRhQGV4YW1wbGUub3JnOmNvcnJlY3QgaG9yc2U=").await;
    page.assert_contains("Letters to ada@example.org");

    let new = [("old", "correct horse"), ("new", "battery staple")];
    client.post("/password").form(&new).await.assert_contains("Hello, ada@example.org!");
}
