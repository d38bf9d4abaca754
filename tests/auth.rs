//! Sign-in: by a form, by Basic and by Bearer; who is let in, who is slowed down, and where nobody is sent.

use purlin::auth::{
    Account, Accounts, Auth, CurrentUser, Password, PasswordHash, Passwords, Throttle, Token, Tokens, Verified,
    new_stamp, require_role, require_user,
};
use purlin::config::{Secret, SecretKeys};
use purlin::layers::{BasicAuth, BearerAuth, ErrorPages, Sessions, SignIn};
use purlin::session::{CookieStore, MemoryStore, Store};
use purlin::testing::{Client, Page, layer_contract};
use purlin::{
    BoxMiddleware, Error, Form, IntoResponse, Redirect, Response, Result, Router, Session, Stack, State, StatusCode,
    get, post, text,
};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn keys() -> SecretKeys {
    SecretKeys::new(Secret::new(SECRET))
}

#[derive(Clone)]
struct User {
    id: u32,
    email: String,
    hash: Option<String>,
    stamp: String,
    roles: Vec<String>,
}

impl Account for User {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> String {
        self.email.split('@').next().unwrap().to_owned()
    }

    fn password_hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    fn stamp(&self) -> &str {
        &self.stamp
    }

    fn roles(&self) -> Vec<String> {
        self.roles.clone()
    }
}

/// A table of users which counts how often it is asked.
#[derive(Clone, Default)]
struct Users {
    rows: Arc<Mutex<Vec<User>>>,
    asked: Arc<AtomicU64>,
}

impl Users {
    fn rows(&self) -> MutexGuard<'_, Vec<User>> {
        self.rows.lock().unwrap()
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn change(&self, email: &str, change: impl FnOnce(&mut User)) {
        change(self.rows().iter_mut().find(|user| user.email == email).unwrap());
    }

    fn find(&self, is_it: impl Fn(&User) -> bool) -> Result<Option<User>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.rows().iter().find(|user| is_it(user)).cloned())
    }
}

impl Accounts for Users {
    type User = User;

    async fn by_login(&self, login: &str) -> Result<Option<User>> {
        if login == "broken@x" {
            return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "the database is not there"));
        }
        self.find(|user| user.email == login)
    }

    async fn by_id(&self, id: &str) -> Result<Option<User>> {
        self.find(|user| user.id() == id)
    }

    async fn save_hash(&self, user: &User, hash: &PasswordHash) -> Result<()> {
        if user.email == "readonly@x" {
            return Err(Error::internal("the table cannot be written"));
        }
        self.change(&user.email, |user| user.hash = Some(hash.as_str().to_owned()));
        Ok(())
    }
}

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

/// Ada is an admin, Bob is not, Cid has no password and Dan's is locked. Those who have one have `good`.
async fn users(passwords: &Passwords) -> Users {
    let hash = String::from(passwords.hash(&password("good")).await.unwrap());
    let user = |id, email: &str, hash: Option<&str>, roles: &[&str]| User {
        id,
        email: email.to_owned(),
        hash: hash.map(str::to_owned),
        stamp: new_stamp(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    let rows = vec![
        user(1, "ada@x", Some(&hash), &["admin", "editor"]),
        user(2, "bob@x", Some(&hash), &[]),
        user(3, "cid@x", None, &[]),
        user(4, "dan@x", Some("!"), &[]),
        user(5, "readonly@x", Some(&hash), &[]),
    ];
    Users { rows: Arc::new(Mutex::new(rows)), asked: Arc::default() }
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: Password,
    #[serde(default)]
    remember: bool,
}

async fn sign_in(auth: Auth, Form(form): Form<Credentials>) -> Result<Response> {
    if auth.sign_in(&form.email, &form.password).await?.is_none() {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, "wrong").into_response());
    }
    if form.remember {
        auth.remember().await?;
    }
    Ok(auth.back_or("/").into_response())
}

async fn sign_in_and_fail(auth: Auth, Form(form): Form<Credentials>) -> Result<Response> {
    auth.sign_in(&form.email, &form.password).await?;
    auth.remember().await?;
    Err(Error::conflict("after all"))
}

async fn sign_out(auth: Auth) -> Result<Redirect> {
    auth.sign_out().await?;
    Ok(Redirect::see_other("/"))
}

async fn who(user: Option<CurrentUser<User>>) -> String {
    user.map_or("nobody".to_owned(), |user| user.email.clone())
}

async fn page(user: CurrentUser<User>) -> String {
    format!("a page for {}", user.email)
}

async fn any_page(user: CurrentUser) -> String {
    format!("{} {} {:?} {}", user.id(), user.name(), user.roles(), user.has_role("editor"))
}

/// Everything that the session holds.
async fn session(session: Session) -> Result<String> {
    let values = session.keys().into_iter().map(|key| {
        let value = session.get::<serde_json::Value>(&key)?;
        Ok(format!("{key}={}", value.unwrap_or_default()))
    });
    Ok(values.collect::<Result<Vec<_>>>()?.join(" "))
}

async fn put(session: Session) -> Result<&'static str> {
    session.insert("cart", "3 apples")?;
    session.flash("planted", "known to who planted it");
    Ok("")
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
) -> Result<String> {
    if !auth.confirm(&form.old).await? {
        return Ok("wrong".to_owned());
    }
    let hash = String::from(auth.hash(&form.new).await?);
    users.change(&user.email, |user| (user.hash, user.stamp) = (Some(hash), new_stamp()));
    let user = Accounts::by_id(&users, &user.id()).await?.unwrap();
    auth.sign_in_as(user).await?;
    Ok("changed".to_owned())
}

/// Bob has just registered.
async fn register_bob(auth: Auth, State(users): State<Users>) -> Result<String> {
    let bob = Accounts::by_id(&users, "2").await?.unwrap();
    let email = bob.email.clone();
    auth.sign_in_as(bob).await?;
    Ok(email)
}

fn routes() -> Router {
    let section = Router::new().route("/", get(page)).route("/inner", get(page));
    Router::new()
        .route("/", get(who))
        .route("/sign-in", get(async || text("the form")).post(sign_in))
        .route("/sign-in-and-fail", post(sign_in_and_fail))
        .route("/sign-out", post(sign_out))
        .route("/page", get(page).post(page))
        .route("/any", get(any_page))
        .route("/session", get(session))
        .route("/put", get(put))
        .route("/public", get(async || "public"))
        .route("/new-password", post(new_password))
        .route("/register-bob", post(register_bob))
        .route("/for-users", get(async || "for users").layer(require_user()))
        .route("/for-admins", get(async || "for admins").layer(require_role("admin")))
        .route("/own-401", get(async || Error::unauthorized("in a bad mood")))
        .route("/own-body", get(async || (StatusCode::UNAUTHORIZED, "my own page")))
        .mount("/section", Stack::new().layer(require_user()).app(section))
}

/// A site, and what a test looks at or turns.
struct Site {
    client: Client,
    users: Users,
    passwords: Passwords,
    clock: Clock,
}

/// Seconds since 1970.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn time(&self) -> impl Fn() -> SystemTime + Send + Sync + 'static {
        let seconds = self.0.clone();
        move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed))
    }

    fn pass(&self, days: u64) {
        self.0.fetch_add(days * 24 * 3600, Ordering::Relaxed);
    }
}

impl Site {
    async fn new() -> Self {
        Self::with(MemoryStore::new(), |layer| layer).await
    }

    async fn with(store: impl Store, change: impl FnOnce(SignIn) -> SignIn) -> Self {
        let passwords = Passwords::for_tests();
        let users = users(&passwords).await;
        let clock = Clock(Arc::new(AtomicU64::new(1_000_000_000)));
        let layer = SignIn::new(users.clone(), &keys()).passwords(passwords.clone()).clock(clock.time());
        let app = Stack::new()
            .layer(ErrorPages::new())
            .layer(Sessions::new(store).clock(clock.time()))
            .layer(change(layer))
            .layer(State(users.clone()))
            .app(routes());
        let client = Client::new(app).default_header("accept", BROWSER);
        Self { client, users, passwords, clock }
    }
}

async fn post_sign_in(client: &Client, email: &str, password: &str) -> Page {
    client.post("/sign-in").form(&[("email", email), ("password", password)]).expect_errors().await
}

async fn signed_in(site: &Site, email: &str) -> Client {
    let client = site.client.another_visitor();
    post_sign_in(&client, email, "good").await.assert_redirect("/");
    client
}

async fn remembered(site: &Site, email: &str) -> Client {
    let client = site.client.another_visitor();
    let form = [("email", email), ("password", "good"), ("remember", "on")];
    client.post("/sign-in").form(&form).await.assert_redirect("/");
    client
}

/// The same browser after it was closed: what is not for longer is gone.
fn reopened(client: &Client, session: &str) -> Client {
    let again = client.another_visitor();
    for cookie in client.cookies().into_iter().filter(|cookie| cookie.name != session) {
        again.set_cookie(&cookie.name, &cookie.value);
    }
    again
}

fn set_cookies(page: &Page) -> Vec<String> {
    page.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn sets(page: &Page, name: &str) -> Option<String> {
    set_cookies(page).into_iter().find(|cookie| cookie.starts_with(&format!("{name}=")))
}

// By a form.

#[tokio::test]
async fn a_visitor_signs_in_and_comes_back_to_where_he_was() {
    let site = Site::new().await;
    let client = &site.client;
    let page = client.get("/page?a=b&c=%2Fd").await;
    page.assert_redirect("/sign-in?next=/page%3Fa%3Db%26c%3D%252Fd").assert_header("cache-control", "no-store");
    page.assert_no_header("www-authenticate");
    let to = page.header("location").unwrap().to_owned();
    page.follow().await.assert_contains("the form");
    let form = [("email", "ada@x"), ("password", "wrong")];
    client.post(&to).form(&form).await.assert_status(422);
    client.get("/").await.assert_contains("nobody");
    let form = [("email", "ada@x"), ("password", "good")];
    let page = client.post(&to).form(&form).await;
    page.assert_redirect("/page?a=b&c=%2Fd").follow().await.assert_contains("a page for ada@x");
    client.get("/").await.assert_contains("ada@x");
    client.get("/any").await.assert_contains(r#"1 ada ["admin", "editor"] true"#);
}

#[tokio::test]
async fn below_a_mount_the_way_back_is_the_whole_address() {
    let site = Site::new().await;
    site.client.get("/section/inner?x=1").await.assert_redirect("/sign-in?next=/section/inner%3Fx%3D1");
    let client = signed_in(&site, "bob@x").await;
    client.get("/section/inner").await.assert_contains("a page for bob@x");
}

#[tokio::test]
async fn nobody_is_sent_to_another_site() {
    let site = Site::new().await;
    let attacks = [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https:evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/%09/evil.example",
        "/%0A/evil.example",
        "%20//evil.example",
        "/%5Cevil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "/%252Fevil.example",
        "/%25252F%25252Fevil.example",
        "/.//evil.example",
        "/%E2%81%84evil.example",
        "/a%0D%0ASet-Cookie:%20evil=1",
        "evil.example",
        "",
    ];
    for attack in attacks {
        let form = [("email", "ada@x"), ("password", "good")];
        let page = site.client.another_visitor().post(&format!("/sign-in?next={attack}")).form(&form).await;
        page.assert_redirect("/");
        assert!(sets(&page, "evil").is_none());
    }
    let form = [("email", "ada@x"), ("password", "good")];
    let page = site.client.post("/sign-in?next=/public").form(&form).await;
    page.assert_redirect("/public");
}

#[tokio::test]
async fn programs_are_told_what_is_missing_and_not_sent_to_a_form() {
    let site = Site::new().await;
    let challenge = r#"Cookie realm="sign-in", form-action="/sign-in""#;
    let page = site.client.get("/page").accept("application/json").await;
    page.assert_status(401).assert_header("content-type", "application/problem+json");
    page.assert_header("www-authenticate", challenge).assert_no_header("location");
    assert_eq!(page.json::<serde_json::Value>()["status"], 401);
    // curl
    let page = site.client.get("/page").accept("*/*").await;
    page.assert_status(401).assert_header("www-authenticate", challenge);
    // A script of a page, which would put the form where it wanted a part of the page.
    let page = site.client.get("/page").header("sec-fetch-mode", "cors").await;
    page.assert_status(401).assert_header("www-authenticate", challenge);
    site.client.get("/page").header("sec-fetch-mode", "navigate").await.assert_redirect("/sign-in?next=/page");
}

#[tokio::test]
async fn what_was_posted_is_not_repeated_and_its_page_is_the_way_back() {
    let site = Site::new().await;
    let from = |referer: &str| site.client.post("/page").header("referer", referer);
    from("http://localhost/public?x").await.assert_redirect("/sign-in?next=/public%3Fx");
    from("http://evil.example/public").await.assert_redirect("/sign-in");
    from("http://localhost.evil.example/").await.assert_redirect("/sign-in");
    from("http://localhost//evil.example").await.assert_redirect("/sign-in");
    site.client.post("/page").await.assert_redirect("/sign-in");
}

#[tokio::test]
async fn a_401_that_is_not_about_signing_in_is_left_alone() {
    let site = Site::new().await;
    site.client.get("/own-401").await.assert_redirect("/sign-in?next=/own-401");
    // With a body, whoever wrote it meant it.
    site.client.get("/own-body").await.assert_status(401).assert_contains("my own page");
    // Who is signed in would come back here for ever.
    let client = signed_in(&site, "ada@x").await;
    client.get("/own-401").await.assert_status(401).assert_header("content-type", "text/html; charset=utf-8");
}

#[tokio::test]
async fn a_sign_in_page_that_answers_401_is_not_sent_to_itself() {
    let layer = SignIn::new(users(&Passwords::for_tests()).await, &keys()).page("/enter");
    let routes = Router::new()
        .route("/enter", get(async || StatusCode::UNAUTHORIZED))
        .route("/page", get(async || StatusCode::UNAUTHORIZED));
    let app = Stack::new().layer(Sessions::new(MemoryStore::new())).layer(layer).app(routes);
    let client = Client::new(app).default_header("accept", BROWSER);
    client.get("/page").await.assert_redirect("/enter?next=/page");
    let page = client.get("/enter?next=/page").await;
    page.assert_status(401).assert_header("www-authenticate", r#"Cookie realm="sign-in", form-action="/enter""#);
}

#[tokio::test]
async fn signing_in_rotates_the_session_and_keeps_what_was_nobody_elses() {
    let site = Site::new().await;
    let client = site.client.another_visitor();
    client.get("/put").await;
    let planted = client.cookie("session").unwrap();
    post_sign_in(&client, "ada@x", "good").await.assert_redirect("/");
    assert_ne!(client.cookie("session").unwrap(), planted);
    let held = client.get("/session").await;
    // What Purlin had put in was known to whoever planted it.
    held.assert_contains("cart=\"3 apples\"").assert_lacks("known to who planted it");
    // Whoever planted the session has what he had.
    let thief = site.client.another_visitor();
    thief.set_cookie("session", &planted);
    thief.get("/").await.assert_contains("nobody");
    // Somebody else at the same browser finds nothing of hers.
    post_sign_in(&client, "bob@x", "good").await.assert_redirect("/");
    client.get("/").await.assert_contains("bob@x");
    client.get("/session").await.assert_lacks("apples");
}

#[tokio::test]
async fn the_session_holds_the_id_and_the_stamp_and_no_more_in_any_store() {
    for site in [Site::with(MemoryStore::new(), |it| it).await, Site::with(CookieStore::new(&keys()), |it| it).await] {
        let client = signed_in(&site, "ada@x").await;
        let stamp = site.users.rows()[0].stamp.clone();
        assert_eq!(client.get("/session").await.text(), format!(r#"_account=["1","{stamp}"]"#));
        client.post("/sign-out").await.assert_redirect("/");
        assert_eq!(client.cookie("session"), None);
        client.get("/").await.assert_contains("nobody");
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_on_the_server() {
    let site = Site::new().await;
    let client = signed_in(&site, "ada@x").await;
    let copy = client.another_visitor();
    copy.set_cookie("session", &client.cookie("session").unwrap());
    copy.get("/").await.assert_contains("ada@x");
    client.post("/sign-out").await.assert_redirect("/");
    copy.get("/").await.assert_contains("nobody");
}

#[tokio::test]
async fn who_is_nobody_costs_nothing() {
    let site = Site::new().await;
    let page = site.client.get("/public").await;
    page.assert_contains("public").assert_no_header("set-cookie").assert_no_header("vary");
    site.client.get("/").await.assert_contains("nobody").assert_no_header("set-cookie");
    // Who is signed in, on a page that does not ask.
    let client = signed_in(&site, "ada@x").await;
    let before = site.users.asked();
    client.get("/public").await.assert_no_header("vary");
    assert_eq!(site.users.asked(), before);
    // Once for a request, and the answer is one visitor's.
    client.get("/page").await.assert_header("cache-control", "no-store").assert_header("vary", "Cookie");
    assert_eq!(site.users.asked(), before + 1);
    // Nobody too: the page is another one for others.
    site.client.get("/").await.assert_header("vary", "Cookie");
}

#[tokio::test]
async fn a_new_password_signs_out_everywhere_but_here() {
    for site in [Site::with(MemoryStore::new(), |it| it).await, Site::with(CookieStore::new(&keys()), |it| it).await] {
        let (here, there) = (signed_in(&site, "ada@x").await, remembered(&site, "ada@x").await);
        let bob = signed_in(&site, "bob@x").await;
        let change = |old| here.post("/new-password").form(&[("old", old), ("new", "better")]);
        change("bad").await.assert_contains("wrong");
        there.get("/").await.assert_contains("ada@x");
        change("good").await.assert_contains("changed");
        here.get("/").await.assert_contains("ada@x");
        bob.get("/").await.assert_contains("bob@x");
        there.get("/").await.assert_contains("nobody");
        assert!(there.cookie("remember").is_none() && there.cookie("session").is_none());
        post_sign_in(&there, "ada@x", "good").await.assert_status(422);
        post_sign_in(&there, "ada@x", "better").await.assert_redirect("/");
    }
}

#[tokio::test]
async fn an_account_that_is_gone_is_signed_out() {
    let site = Site::new().await;
    let client = signed_in(&site, "ada@x").await;
    site.users.rows().retain(|user| user.email != "ada@x");
    client.get("/").await.assert_contains("nobody");
    // The next account of that id is somebody else.
    let client = signed_in(&site, "bob@x").await;
    site.users.rows().retain(|user| user.email != "bob@x");
    site.users.rows().push(User { id: 2, email: "new@x".into(), hash: None, stamp: new_stamp(), roles: vec![] });
    client.get("/").await.assert_contains("nobody");
}

#[tokio::test]
async fn a_role_that_is_taken_away_is_missing_with_the_next_request() {
    let site = Site::new().await;
    let client = signed_in(&site, "ada@x").await;
    client.get("/for-admins").await.assert_contains("for admins");
    site.users.change("ada@x", |user| user.roles.clear());
    client.get("/for-admins").await.assert_status(403);
}

#[tokio::test]
async fn a_request_that_fails_signs_nobody_in() {
    let site = Site::new().await;
    let form = [("email", "ada@x"), ("password", "good")];
    let page = site.client.post("/sign-in-and-fail").form(&form).await;
    page.assert_status(409).assert_no_header("set-cookie");
    site.client.get("/").await.assert_contains("nobody");
}

#[tokio::test]
async fn what_the_accounts_say_when_they_fail_is_the_answer() {
    let site = Site::new().await;
    let page = post_sign_in(&site.client, "broken@x", "good").await;
    page.assert_status(503);
    assert!(format!("{:#}", page.error().unwrap()).contains("the database is not there"));
    // It is no failure of hers, however often.
    for _ in 0..20 {
        post_sign_in(&site.client, "broken@x", "good").await.assert_status(503);
    }
}

// Who is let in.

#[tokio::test]
async fn a_route_or_a_mount_is_for_users_or_for_a_role() {
    let site = Site::new().await;
    let (ada, bob) = (signed_in(&site, "ada@x").await, signed_in(&site, "bob@x").await);
    site.client.get("/for-users").await.assert_redirect("/sign-in?next=/for-users");
    site.client.get("/for-admins").await.assert_redirect("/sign-in?next=/for-admins");
    site.client.get("/section/").await.assert_redirect("/sign-in?next=/section/");
    bob.get("/for-users").await.assert_contains("for users");
    bob.get("/section/").await.assert_contains("a page for bob@x");
    ada.get("/for-admins").await.assert_contains("for admins");
    let page = bob.get("/for-admins").await;
    page.assert_status(403).assert_header("content-type", "text/html; charset=utf-8");
    page.assert_contains("You are not allowed to see this.").assert_lacks("admin");
    let page = bob.get("/for-admins").accept("application/json").await;
    page.assert_status(403).assert_header("content-type", "application/problem+json");
}

#[tokio::test]
async fn what_needs_a_user_says_so_before_the_first_request() {
    let problem = |app: Result<purlin::site::Site>| format!("{:#}", app.unwrap_err());
    let alone = Stack::new().app(Router::new().route("/", get(async || "").layer(require_user())));
    let told = problem(alone.check());
    assert!(told.contains("needs `CurrentUser`, which no layer above it provides"), "{told}");

    let sessions = || Sessions::new(MemoryStore::new());
    let layer = SignIn::new(users(&Passwords::for_tests()).await, &keys());
    let above = Stack::new().layer(sessions()).layer(require_user()).layer(layer.clone()).app(Router::new());
    let told = problem(above.check());
    assert!(told.contains("needs `CurrentUser`, which SignIn provides further in: move the line"), "{told}");

    let without = Stack::new().layer(layer.clone()).app(Router::new());
    assert!(
        problem(without.check()).contains("the layer SignIn (") && problem(without.check()).contains("needs `Session`")
    );

    let handlers = Stack::new().app(Router::new().route("/", get(any_page)).route("/b", post(sign_out)));
    let told = problem(handlers.check());
    assert!(
        told.contains("needs `CurrentUser`") && told.contains("needs `Auth`") && told.contains("SignIn::new"),
        "{told}"
    );

    // Another type of users than the layer has.
    struct Other;
    impl Account for Other {
        fn id(&self) -> String {
            String::new()
        }
        fn name(&self) -> String {
            String::new()
        }
        fn password_hash(&self) -> Option<&str> {
            None
        }
        fn stamp(&self) -> &str {
            ""
        }
    }
    async fn other(_: CurrentUser<Other>) {}
    let mixed = Stack::new().layer(sessions()).layer(layer.clone()).app(Router::new().route("/", get(other)));
    assert!(problem(mixed.check()).contains("with accounts of this type"));

    // What is optional does without.
    assert!(Stack::new().app(Router::new().route("/", get(who))).check().is_ok());
    let whole =
        Stack::new().layer(sessions()).layer(layer).layer(require_user()).app(Router::new().route("/", get(page)));
    let site = whole.check().unwrap();
    assert!(site.stack_table().contains("accounts=Users  page=/sign-in"), "{}", site.stack_table());
}

#[tokio::test]
async fn options_that_cannot_be_are_told_at_the_start() {
    let app = |layer: SignIn| {
        let app = Stack::new().layer(Sessions::new(MemoryStore::new())).layer(layer).app(Router::new());
        format!("{:#}", purlin::site::Life::start(&app).unwrap_err())
    };
    let users = users(&Passwords::for_tests()).await;
    for page in ["sign-in", "//evil.example", "/sign-in?x", "/sign in", ""] {
        let told = app(SignIn::new(users.clone(), &keys()).page(page));
        assert!(told.contains("expects a path as /sign-in, found"), "{told}");
    }
    let told = app(SignIn::new(users.clone(), &SecretKeys::new(Secret::new("short"))));
    assert!(told.contains("the secret of the layer SignIn") && told.contains("at least 32 bytes"), "{told}");
    let app = Stack::new().layer(BasicAuth::new(users).realm("a\nb")).app(Router::new());
    let told = format!("{:#}", purlin::site::Life::start(&app).unwrap_err());
    assert!(told.contains("BasicAuth: no header can hold"), "{told}");
}

#[cfg(feature = "tera")]
const PAGES: &[(&str, &[u8])] = &[
    ("errors/error.html", b"error for {% if current_user %}{{ current_user.name }}{% else %}nobody{% endif %}"),
    (
        "page.html",
        b"{% if current_user %}{{ current_user.id }} {{ current_user.name }} \
          {{ current_user.roles | join(sep=\",\") }}{% else %}nobody{% endif %}",
    ),
    ("plain.html", b"plain"),
];

#[cfg(feature = "tera")]
#[tokio::test]
async fn templates_know_the_current_user() {
    use purlin::layers::Templates;
    use purlin::template::Tera;
    use purlin::{Assets, Service, View};

    let assets = Assets::embedded(PAGES);
    let tera = Arc::new(Tera::new(assets));
    let passwords = Passwords::for_tests();
    let users = users(&passwords).await;
    let routes = Router::new()
        .route("/", get(async || View::new("page.html", ())))
        .route("/plain", get(async || View::new("plain.html", ())))
        .route("/sign-in", post(sign_in))
        .route(
            "/in",
            post(async |auth: Auth| auth.sign_in("ada@x", &password("good")).await.map(|_| View::new("page.html", ()))),
        )
        .route("/gone", get(async || Error::new(StatusCode::GONE, "gone")));
    let app = Stack::new()
        .layer(ErrorPages::new().templates(tera.clone()))
        .layer(async |req: purlin::Request, next: purlin::Next<'_>| -> Result<Response> {
            // One that the layers below never see.
            if req.uri().path() == "/refused" { Err(Error::forbidden("")) } else { Ok(next.call(req).await) }
        })
        .layer(Sessions::new(MemoryStore::new()))
        .layer(SignIn::new(users.clone(), &keys()).passwords(passwords))
        .layer(Templates::new(tera))
        .app(routes);
    let client = Client::new(app).default_header("accept", BROWSER);
    assert_eq!(client.get("/").await.text(), "nobody");
    assert_eq!(client.get("/gone").await.text(), "error for nobody");
    assert_eq!(client.get("/refused").await.text(), "error for nobody");
    // The page that answers the sign-in itself knows it.
    assert_eq!(client.another_visitor().post("/in").await.text(), "1 ada admin,editor");
    post_sign_in(&client, "ada@x", "good").await.assert_redirect("/");
    assert_eq!(client.get("/").await.text(), "1 ada admin,editor");
    assert_eq!(client.get("/gone").await.text(), "error for ada");
    // Which no cache is to keep.
    let page = client.get("/missing").await;
    page.assert_contains("error for ada").assert_header("cache-control", "no-store");
    assert!(page.headers().get_all("vary").iter().any(|vary| vary == "Cookie"));
    assert_eq!(client.get("/refused").await.text(), "error for nobody");
    // Somebody who is remembered, and whose session begins with an error.
    let form = [("email", "ada@x"), ("password", "good"), ("remember", "on")];
    let again = client.another_visitor();
    again.post("/sign-in").form(&form).await;
    let again = reopened(&again, "session");
    assert_eq!(again.get("/missing").await.text(), "error for ada");
    assert_eq!(again.get("/").await.text(), "1 ada admin,editor");
    // Whose session has ended.
    users.change("ada@x", |user| user.stamp = new_stamp());
    assert_eq!(again.get("/missing").await.text(), "error for nobody");
    post_sign_in(&client, "ada@x", "good").await.assert_redirect("/");
    let before = users.asked();
    assert_eq!(client.get("/plain").await.text(), "plain");
    assert_eq!(users.asked(), before, "who does not use the name does not look for it");
}

// Passwords.

#[tokio::test]
async fn an_unknown_user_costs_as_much_as_a_known_one() {
    let site = Site::with(MemoryStore::new(), |it| it.throttle(Throttle::new().per_account(0))).await;
    let long = "x".repeat(100_000);
    for email in ["ada@x", "bob@x", "cid@x", "dan@x", "unknown@x", "", "a\tb", "ada@x\n", &long] {
        let before = site.passwords.hashed();
        let page = post_sign_in(&site.client, email, "wrong").await;
        page.assert_status(422).assert_contains("wrong");
        assert_eq!(site.passwords.hashed() - before, 1, "{email:.10?}");
    }
    // Who has no password cannot have this one.
    for email in ["cid@x", "dan@x"] {
        for password in ["", "!", "good"] {
            post_sign_in(&site.client, email, password).await.assert_status(422);
        }
    }
}

#[tokio::test]
async fn what_is_no_name_is_not_looked_for() {
    let site = Site::new().await;
    let before = site.users.asked();
    for email in ["", "a\tb", "a\nb", &"x".repeat(321)] {
        post_sign_in(&site.client, email, "good").await.assert_status(422);
    }
    assert_eq!(site.users.asked(), before);
    post_sign_in(&site.client, &"x".repeat(320), "good").await.assert_status(422);
    assert_eq!(site.users.asked(), before + 1);
}

#[tokio::test]
async fn a_password_of_a_mebibyte_is_refused_before_it_is_hashed() {
    let site = Site::new().await;
    let before = site.passwords.hashed();
    let page = post_sign_in(&site.client, "ada@x", &"x".repeat(1 << 20)).await;
    page.assert_status(400).assert_contains("password").assert_contains("at most 1024 bytes, found 1048576");
    let page = post_sign_in(&site.client, "ada@x", &"x".repeat(1025)).await;
    page.assert_status(400);
    assert_eq!(site.passwords.hashed(), before);
    post_sign_in(&site.client, "ada@x", &"x".repeat(1024)).await.assert_status(422);
    assert_eq!(site.passwords.hashed(), before + 1);

    let error = Password::new("x".repeat(1 << 20)).unwrap_err();
    assert_eq!(error.status(), 422);
    assert_eq!(error.public_message(), Some("A password has at most 1024 bytes."));
}

#[tokio::test]
async fn passwords_are_hashed_as_owasp_says_and_each_with_its_own_salt() {
    let passwords = Passwords::new();
    let (one, other) =
        (passwords.hash(&password("good")).await.unwrap(), passwords.hash(&password("good")).await.unwrap());
    assert!(one.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", one.as_str());
    assert_ne!(one, other);
    assert_eq!(passwords.verify(&password("good"), Some(one.as_str())).await.unwrap(), Verified::Yes);
    assert_eq!(passwords.verify(&password("Good"), Some(one.as_str())).await.unwrap(), Verified::No);
    assert_eq!(passwords.verify(&password("good "), Some(one.as_str())).await.unwrap(), Verified::No);
    assert_eq!(passwords.verify(&password(""), Some(one.as_str())).await.unwrap(), Verified::No);
    assert_eq!(passwords.verify(&password("good"), None).await.unwrap(), Verified::No);
}

#[tokio::test]
async fn hashes_of_others_are_verified() {
    // The reference implementation's own tests (P-H-C/phc-winner-argon2, src/test.c).
    let table = [
        ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", true),
        ("$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8", true),
        ("$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", true),
        ("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/5", false),
    ];
    let passwords = Passwords::new().cost(256, 2, 1);
    for (hash, good) in table {
        let found = passwords.verify(&password("password"), Some(hash)).await.unwrap();
        assert_eq!(found != Verified::No, good, "{hash}");
    }
}

#[tokio::test]
async fn a_cheap_hash_is_replaced_when_its_owner_signs_in() {
    let dearer = Passwords::for_tests().cost(64, 2, 1);
    let site = Site::with(MemoryStore::new(), |it| it.passwords(dearer.clone())).await;
    let ada = || site.users.rows()[0].clone();
    let before = ada();
    assert!(before.hash.as_ref().unwrap().contains("$m=8,t=1,p=1$"));
    post_sign_in(&site.client, "ada@x", "wrong").await.assert_status(422);
    assert_eq!(ada().hash, before.hash, "a wrong password changes nothing");
    let elsewhere = signed_in(&site, "ada@x").await;
    let after = ada();
    assert!(after.hash.as_ref().unwrap().contains("$m=64,t=2,p=1$"));
    assert_eq!(after.stamp, before.stamp);
    // Once, and nobody is signed out by it.
    signed_in(&site, "ada@x").await;
    assert_eq!(ada().hash, after.hash);
    elsewhere.get("/").await.assert_contains("ada@x");
    // That it cannot be kept is nothing that who signs in should notice.
    signed_in(&site, "readonly@x").await;
}

#[tokio::test]
async fn a_flood_of_sign_ins_is_bounded() {
    let passwords = Passwords::new().at_once(1).waiting(2);
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let passwords = passwords.clone();
        flood.spawn(async move { passwords.verify(&password("x"), None).await });
    }
    let answers = flood.join_all().await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(refused.len(), 17);
    for error in refused {
        assert_eq!(error.status(), 503);
        assert_eq!(error.headers()[0].0, "retry-after");
    }
    assert_eq!(passwords.hashed(), 3);
}

#[tokio::test]
async fn who_goes_away_leaves_his_place() {
    let passwords = Passwords::new().at_once(1).waiting(1);
    let good = password("x");
    let first = passwords.verify(&good, None);
    tokio::pin!(first);
    let poll = async |future: std::pin::Pin<&mut (dyn Future<Output = Result<Verified>> + Send)>| {
        tokio::time::timeout(Duration::ZERO, future).await
    };
    assert!(poll(first.as_mut()).await.is_err());
    {
        let second = passwords.verify(&good, None);
        tokio::pin!(second);
        assert!(poll(second.as_mut()).await.is_err());
        assert_eq!(passwords.verify(&good, None).await.unwrap_err().status(), 503);
    }
    assert_eq!(passwords.verify(&good, None).await.unwrap(), Verified::No);
    assert_eq!(first.await.unwrap(), Verified::No);
}

#[tokio::test]
async fn secrets_do_not_print() {
    let users = users(&Passwords::for_tests()).await;
    let hash = users.rows()[0].hash.clone().unwrap();
    let tokens = Token::random();
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        password("good"),
        Passwords::new().hash(&password("good")).await.unwrap(),
        Passwords::new(),
        tokens,
        SignIn::new(users.clone(), &keys()),
        BasicAuth::new(users.clone()),
        CurrentUser(Arc::new(users.rows()[0].clone())),
    );
    let stamp = users.rows()[0].stamp.clone();
    for secret in ["good", "$argon2id", SECRET, tokens.expose(), &hash, &stamp] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

// Remember me.

#[tokio::test]
async fn who_asked_for_it_is_remembered_when_the_browser_was_closed() {
    for site in [Site::with(MemoryStore::new(), |it| it).await, Site::with(CookieStore::new(&keys()), |it| it).await] {
        let client = remembered(&site, "ada@x").await;
        let cookie = client.cookies().into_iter().find(|cookie| cookie.name == "remember").unwrap();
        assert!(cookie.http_only && cookie.expires.is_some());
        let again = reopened(&client, "session");
        let page = again.get("/page").await;
        page.assert_contains("a page for ada@x");
        // From now on by a session; the cookie stays as it was, and is not prolonged.
        assert!(sets(&page, "session").is_some() && sets(&page, "remember").is_none());
        assert!(sets(&again.get("/page").await, "session").is_none());
        // Who did not ask is not.
        let client = signed_in(&site, "ada@x").await;
        assert!(client.cookie("remember").is_none());
        reopened(&client, "session").get("/").await.assert_contains("nobody");
    }
}

#[tokio::test]
async fn being_remembered_ends() {
    let site = Site::with(MemoryStore::new(), |it| it.remember_for(Duration::from_secs(10 * 24 * 3600))).await;
    let is_somebody = async |client: &Client| {
        let page = reopened(client, "session").get("/").await;
        let forgotten = sets(&page, "remember").is_some_and(|cookie| cookie.contains("Max-Age=0"));
        assert_eq!(page.text() == "nobody", forgotten, "what is worth nothing is taken back");
        !forgotten
    };
    // After its time, which the browser need not keep.
    let client = remembered(&site, "ada@x").await;
    site.clock.pass(9);
    assert!(is_somebody(&client).await);
    site.clock.pass(1);
    assert!(!is_somebody(&client).await);
    // By signing out.
    let client = remembered(&site, "ada@x").await;
    let page = client.post("/sign-out").await;
    assert!(sets(&page, "remember").unwrap().contains("Max-Age=0"));
    assert!(client.cookie("remember").is_none());
    // By a new stamp.
    let client = remembered(&site, "ada@x").await;
    assert!(is_somebody(&client).await);
    site.users.change("ada@x", |user| user.stamp = new_stamp());
    assert!(!is_somebody(&client).await);
    // By somebody else who signs in there.
    let client = remembered(&site, "ada@x").await;
    post_sign_in(&client, "bob@x", "good").await.assert_redirect("/");
    assert!(client.cookie("remember").is_none());
    // By somebody else who registers there.
    let client = remembered(&site, "ada@x").await;
    client.post("/register-bob").await.assert_contains("bob@x");
    assert!(client.cookie("remember").is_none());
    // With the account.
    let client = remembered(&site, "ada@x").await;
    site.users.rows().retain(|user| user.email != "ada@x");
    assert!(!is_somebody(&client).await);
}

#[tokio::test]
async fn a_forged_cookie_remembers_nobody() {
    let site = Site::new().await;
    let client = remembered(&site, "ada@x").await;
    let good = client.cookie("remember").unwrap();
    let device = client.cookie("device").unwrap();
    let mut changed = good.clone().into_bytes();
    changed[40] ^= 1;
    let changed = String::from_utf8(changed).unwrap();
    let other = Site::with(MemoryStore::new(), |_| {
        SignIn::new(site.users.clone(), &SecretKeys::random()).passwords(site.passwords.clone())
    });
    let other = remembered(&other.await, "bob@x").await.cookie("remember").unwrap();
    let long = "x".repeat(4000);
    for forged in [&changed, &good[1..], &good[..good.len() - 1], &device, &other, "x", "1", "[]", &long] {
        let thief = site.client.another_visitor();
        thief.set_cookie("remember", forged);
        thief.get("/").await.assert_status(200).assert_contains("nobody");
    }
    // By https it is another cookie, with another name inside.
    let thief = site.client.another_visitor().base_url("https://localhost");
    thief.set_cookie("remember", &good);
    thief.set_cookie("__Host-remember", &good);
    thief.get("/").await.assert_contains("nobody");
}

#[tokio::test]
async fn by_https_the_cookies_are_of_this_host_only() {
    let site = Site::new().await;
    let client = site.client.another_visitor().base_url("https://localhost");
    let form = [("email", "ada@x"), ("password", "good"), ("remember", "on")];
    let page = client.post("/sign-in").form(&form).await;
    let cookies = set_cookies(&page);
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    for name in ["__Host-session=", "__Host-remember=", "__Host-device="] {
        let cookie = cookies.iter().find(|cookie| cookie.starts_with(name)).unwrap();
        assert!(cookie.ends_with("HttpOnly; Secure; SameSite=Lax"), "{cookie}");
    }
    reopened(&client, "__Host-session").get("/").await.assert_contains("ada@x");
}

#[tokio::test]
async fn where_the_sessions_cookie_is_secure_the_others_are() {
    let passwords = Passwords::for_tests();
    let users = users(&passwords).await;
    // Behind a proxy that speaks https, and does not say so.
    let app = Stack::new()
        .layer(Sessions::new(MemoryStore::new()).https(true))
        .layer(SignIn::new(users.clone(), &keys()).passwords(passwords))
        .layer(State(users))
        .app(routes());
    let form = [("email", "ada@x"), ("password", "good"), ("remember", "on")];
    let cookies = set_cookies(&Client::new(app).post("/sign-in").form(&form).await);
    assert_eq!(cookies.len(), 3);
    assert!(cookies.iter().all(|cookie| cookie.starts_with("__Host-") && cookie.contains("; Secure;")), "{cookies:?}");
}

#[tokio::test]
async fn an_old_secret_still_remembers_and_is_replaced() {
    let site = Site::new().await;
    let client = remembered(&site, "ada@x").await;
    let keys = SecretKeys::random().old(vec![Secret::new(SECRET)]);
    let users = site.users.clone();
    let clock = site.clock.clone();
    site.clock.pass(20);
    let site = Site::with(MemoryStore::new(), move |_| SignIn::new(users, &keys).clock(clock.time())).await;
    let again = site.client.another_visitor();
    again.set_cookie("remember", &client.cookie("remember").unwrap());
    let page = again.get("/").await;
    page.assert_contains("ada@x");
    // For the days that are left.
    let cookie = sets(&page, "remember").unwrap();
    assert!(cookie.contains("; Max-Age=864000;"), "{cookie}");
}

// Slowing down.

#[tokio::test(start_paused = true)]
async fn failures_at_an_account_are_slowed_down() {
    let site = Site::new().await;
    for _ in 0..5 {
        post_sign_in(&site.client, "ada@x", "wrong").await.assert_status(422);
    }
    let hashed = site.passwords.hashed();
    // Also the right password has to wait, or a guess could be tried for nothing.
    for (email, password) in [("ada@x", "good"), ("ADA@x ", "wrong"), ("ada@x", "wrong")] {
        let page = post_sign_in(&site.client, email, password).await;
        page.assert_status(429).assert_header("retry-after", "1");
        page.assert_contains("Too many attempts to sign in have failed. Please try again in a second.");
    }
    assert_eq!(site.passwords.hashed(), hashed, "what comes too early costs nothing");
    post_sign_in(&site.client, "bob@x", "good").await.assert_redirect("/");
    tokio::time::advance(Duration::from_secs(1)).await;
    post_sign_in(&site.client, "ada@x", "wrong").await.assert_status(422);
    post_sign_in(&site.client, "ada@x", "good").await.assert_status(429).assert_header("retry-after", "2");
    tokio::time::advance(Duration::from_secs(2)).await;
    post_sign_in(&site.client, "ada@x", "good").await.assert_redirect("/");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_not_there_is_slowed_down_alike() {
    let site = Site::new().await;
    for email in ["ada@x", "unknown@x"] {
        let mut statuses = Vec::new();
        for _ in 0..7 {
            statuses.push(post_sign_in(&site.client, email, "wrong").await.status().as_u16());
        }
        assert_eq!(statuses, [422, 422, 422, 422, 422, 429, 429], "{email}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_locked_out_by_the_failures_of_another() {
    let site = Site::new().await;
    let (known, bob) = (signed_in(&site, "ada@x").await, signed_in(&site, "bob@x").await);
    known.post("/sign-out").await.assert_redirect("/");
    let attacker = site.client.another_visitor();
    let mut waited = 0;
    for _ in 0..40 {
        let page = post_sign_in(&attacker, "ada@x", "wrong").await;
        if page.status() == 429 {
            let seconds = page.header("retry-after").unwrap().parse().unwrap();
            waited = waited.max(seconds);
            tokio::time::advance(Duration::from_secs(seconds)).await;
        }
    }
    assert_eq!(waited, 300);
    while post_sign_in(&attacker, "ada@x", "wrong").await.status() != 429 {}
    // Her own browser, and no other: it proves nothing that it knows somebody else.
    post_sign_in(&site.client.another_visitor(), "ada@x", "good").await.assert_status(429);
    bob.post("/sign-out").await.assert_redirect("/");
    post_sign_in(&bob, "ada@x", "good").await.assert_status(429);
    for _ in 0..5 {
        post_sign_in(&known, "ada@x", "wrong").await.assert_status(422);
    }
    // It has a count of its own.
    post_sign_in(&known, "ada@x", "good").await.assert_status(429).assert_header("retry-after", "1");
    tokio::time::advance(Duration::from_secs(1)).await;
    post_sign_in(&known, "ada@x", "good").await.assert_redirect("/");
    // And any other browser when it is over.
    tokio::time::advance(Duration::from_secs(300)).await;
    post_sign_in(&site.client.another_visitor(), "ada@x", "good").await.assert_redirect("/");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_tries_many_accounts_is_slowed_down() {
    let site = Site::new().await;
    let from = |address: &str| site.client.another_visitor().peer(address.parse::<SocketAddr>().unwrap());
    let (attacker, bob) = (from("192.0.2.1:1000"), from("192.0.2.1:3000"));
    post_sign_in(&bob, "bob@x", "good").await.assert_redirect("/");
    for n in 0..20 {
        post_sign_in(&attacker, &format!("{n}@x"), "password1").await.assert_status(422);
    }
    post_sign_in(&attacker, "ada@x", "good").await.assert_status(429);
    post_sign_in(&from("192.0.2.1:2000"), "ada@x", "good").await.assert_status(429);
    post_sign_in(&from("192.0.2.2:1000"), "ada@x", "good").await.assert_redirect("/");
    // Who has the same address, and signed in by the same browser before, need not wait.
    post_sign_in(&bob, "bob@x", "good").await.assert_redirect("/");
    // A proxy on this machine is everybody.
    for n in 0..40 {
        post_sign_in(&from("127.0.0.1:1000"), &format!("{n}@y"), "password1").await.assert_status(422);
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_the_address_is_what_the_proxy_says() {
    let throttle =
        Throttle::new().per_address(2).address(|req| req.headers().get("x-real-ip")?.to_str().ok()?.parse().ok());
    let site = Site::with(MemoryStore::new(), |it| it.throttle(throttle)).await;
    let attempt = async |ip: &str, n: u32| {
        let form = [("email", format!("{n}@x")), ("password", "wrong".to_owned())];
        site.client.post("/sign-in").header("x-real-ip", ip).form(&form).await.status().as_u16()
    };
    assert_eq!([attempt("192.0.2.1", 1).await, attempt("192.0.2.1", 2).await], [422, 422]);
    assert_eq!([attempt("192.0.2.1", 3).await, attempt("192.0.2.2", 4).await], [429, 422]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_attempts_at_once_are_not_all_free() {
    let site = Site::new().await;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let client = site.client.another_visitor();
        attempts.spawn(async move { post_sign_in(&client, "ada@x", "wrong").await.status().as_u16() });
    }
    let statuses = attempts.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 422).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 995);
}

#[tokio::test(start_paused = true)]
async fn guessing_at_the_old_password_is_slowed_down_too() {
    let site = Site::new().await;
    let client = signed_in(&site, "ada@x").await;
    let guess = || client.post("/new-password").form(&[("old", "guess"), ("new", "mine now")]);
    for _ in 0..5 {
        guess().await.assert_contains("wrong");
    }
    guess().await.assert_status(429);
    // Which keeps nobody from signing in.
    signed_in(&site, "ada@x").await;
}

// Basic (RFC 7617).

fn basic(login: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{login}:{password}").as_bytes()))
}

/// Base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digits = (0..4).map(|n| DIGITS[(bits >> (18 - 6 * n)) as usize % 64] as char);
        text.extend(digits.take(three.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    text
}

struct Api {
    client: Client,
    users: Users,
    passwords: Passwords,
}

impl Api {
    async fn new(change: impl FnOnce(BasicAuth) -> BasicAuth) -> Self {
        let passwords = Passwords::for_tests();
        let users = users(&passwords).await;
        let layer = change(BasicAuth::new(users.clone()).passwords(passwords.clone()).realm("the API"));
        let app = Stack::new().layer(ErrorPages::new()).layer(layer).app(routes_of_api());
        Self { client: Client::new(app).default_header("accept", "application/json"), users, passwords }
    }

    async fn get(&self, path: &str, authorization: &str) -> Page {
        self.client.get(path).header("authorization", authorization).expect_errors().await
    }
}

fn routes_of_api() -> Router {
    Router::new()
        .route("/", get(who))
        .route("/page", get(page))
        .route("/for-admins", get(async || "for admins").layer(require_role("admin")))
}

const BASIC_CHALLENGE: &str = r#"Basic realm="the API", charset="UTF-8""#;

#[tokio::test]
async fn basic_signs_in_with_each_request() {
    let api = Api::new(|it| it).await;
    api.client.get("/").await.assert_contains("nobody").assert_no_header("www-authenticate");
    let page = api.client.get("/page").await;
    page.assert_status(401).assert_header("www-authenticate", BASIC_CHALLENGE);
    page.assert_header("content-type", "application/problem+json");
    api.get("/page", &basic("ada@x", "good")).await.assert_contains("a page for ada@x").assert_no_header("set-cookie");
    api.get("/for-admins", &basic("ada@x", "good")).await.assert_contains("for admins");
    let page = api.get("/for-admins", &basic("bob@x", "good")).await;
    page.assert_status(403).assert_no_header("www-authenticate");
    // Also where nobody need sign in: who says who he is means it.
    for wrong in [basic("ada@x", "wrong"), basic("unknown@x", "good"), basic("", ""), "Basic !".into(), "Basic".into()]
    {
        let page = api.get("/", &wrong).await;
        page.assert_status(401).assert_header("www-authenticate", BASIC_CHALLENGE);
        page.assert_contains("The name or the password is wrong.");
    }
    // Another scheme is another layer's.
    api.get("/", "Digest username=ada").await.assert_contains("nobody");
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_right_is_not_hashed_with_each_request() {
    let api = Api::new(|it| it).await;
    let before = api.passwords.hashed();
    for _ in 0..100 {
        api.get("/page", &basic("ada@x", "good")).await.assert_status(200);
    }
    assert_eq!(api.passwords.hashed(), before + 1);
    // One that is wrong costs its price, also beside one that is known.
    api.get("/page", &basic("ada@x", "bad")).await.assert_status(401);
    api.get("/page", &basic("ada@x", "bad")).await.assert_status(401);
    // Another account with the same password has another hash.
    let hash = api.passwords.hash(&password("good")).await.unwrap();
    api.users.change("bob@x", |user| user.hash = Some(hash.into()));
    api.get("/page", &basic("bob@x", "good")).await.assert_status(200);
    assert_eq!(api.passwords.hashed(), before + 5);
    tokio::time::advance(Duration::from_secs(60)).await;
    api.get("/page", &basic("ada@x", "good")).await.assert_status(200);
    assert_eq!(api.passwords.hashed(), before + 6);
}

#[tokio::test]
async fn a_new_password_counts_at_once() {
    let api = Api::new(|it| it).await;
    api.get("/page", &basic("ada@x", "good")).await.assert_status(200);
    let hash = api.passwords.hash(&password("better")).await.unwrap();
    api.users.change("ada@x", |user| user.hash = Some(hash.into()));
    api.get("/page", &basic("ada@x", "good")).await.assert_status(401);
    api.get("/page", &basic("ada@x", "better")).await.assert_status(200);
    api.users.change("ada@x", |user| user.hash = None);
    api.get("/page", &basic("ada@x", "better")).await.assert_status(401);
    api.users.rows().clear();
    api.get("/page", &basic("ada@x", "better")).await.assert_status(401);
}

#[tokio::test]
async fn nothing_is_known_again_where_that_is_not_wanted() {
    let api = Api::new(|it| it.known_for(Duration::ZERO)).await;
    let before = api.passwords.hashed();
    for _ in 0..3 {
        api.get("/page", &basic("ada@x", "good")).await.assert_status(200);
    }
    assert_eq!(api.passwords.hashed(), before + 3);
}

#[tokio::test(start_paused = true)]
async fn guessing_by_basic_is_slowed_down() {
    let api = Api::new(|it| it).await;
    for _ in 0..5 {
        api.get("/page", &basic("ada@x", "wrong")).await.assert_status(401);
    }
    let page = api.get("/page", &basic("ada@x", "good")).await;
    page.assert_status(429).assert_header("retry-after", "1").assert_no_header("www-authenticate");
    tokio::time::advance(Duration::from_secs(1)).await;
    api.get("/page", &basic("ada@x", "good")).await.assert_status(200);
    // A program that is known goes on while somebody guesses, also if it asks now and then only.
    for pause in [0, 100, 3600] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        while api.get("/page", &basic("ada@x", "wrong")).await.status() != 429 {}
        api.get("/page", &basic("ada@x", "good")).await.assert_status(200);
    }
}

#[tokio::test]
async fn layers_may_share_what_they_count_and_bound() {
    let (passwords, throttle) = (Passwords::for_tests(), Throttle::new());
    let users = users(&passwords).await;
    let api = BasicAuth::new(users.clone()).passwords(passwords.clone()).throttle(throttle.clone());
    let app = Stack::new()
        .layer(Sessions::new(MemoryStore::new()))
        .layer(SignIn::new(users.clone(), &keys()).passwords(passwords).throttle(throttle))
        .layer(State(users))
        .app(routes().mount("/api", Stack::new().layer(api).app(routes_of_api())));
    let client = Client::new(app);
    for _ in 0..5 {
        client.get("/api/").header("authorization", basic("ada@x", "wrong")).await.assert_status(401);
    }
    post_sign_in(&client, "ada@x", "good").await.assert_status(429);
}

// Bearer (RFC 6750).

#[derive(Clone)]
struct Keys {
    users: Users,
    digest: String,
}

impl Tokens for Keys {
    type User = User;

    async fn by_token(&self, token: &Token) -> Result<Option<User>> {
        Ok((token.digest() == self.digest).then(|| self.users.rows()[0].clone()))
    }
}

#[tokio::test]
async fn bearer_signs_in_with_each_request() {
    let token = Token::random();
    let tokens = Keys { users: users(&Passwords::for_tests()).await, digest: token.digest() };
    let layer = BearerAuth::new(tokens).realm("the API");
    let app = Stack::new().layer(ErrorPages::new()).layer(layer).app(routes_of_api());
    let client = Client::new(app).default_header("accept", "application/json");
    let get = |path: &str, authorization: &str| client.get(path).header("authorization", authorization);

    client.get("/").await.assert_contains("nobody");
    // RFC 6750 §3.1: without credentials, no error is told.
    client.get("/page").await.assert_status(401).assert_header("www-authenticate", r#"Bearer realm="the API""#);
    get("/page", &format!("Bearer {}", token.expose())).await.assert_contains("a page for ada@x");
    get("/page", &format!("bearer {}", token.expose())).await.assert_status(200);
    for path in ["/", "/page"] {
        let page = get(path, &format!("Bearer {}", Token::random().expose())).await;
        page.assert_status(401).assert_header("www-authenticate", r#"Bearer realm="the API", error="invalid_token""#);
        assert_eq!(page.headers().get_all("www-authenticate").iter().count(), 1);
        let page = get(path, "Bearer not,a,token").await;
        page.assert_status(400).assert_header("www-authenticate", r#"Bearer realm="the API", error="invalid_request""#);
    }
    let page = get("/", &format!("Bearer {}", token.expose())).append_header("authorization", "Bearer x").await;
    page.assert_status(400);
    // Not looked for where addresses are kept.
    client.get(&format!("/page?access_token={}", token.expose())).await.assert_status(401);
}

// Together.

#[tokio::test]
async fn an_api_below_a_site_asks_by_its_own_challenges() {
    let passwords = Passwords::for_tests();
    let users = users(&passwords).await;
    let token = Token::random();
    let tokens = Keys { users: users.clone(), digest: token.digest() };
    let api = Stack::new()
        .layer(BasicAuth::new(users.clone()).passwords(passwords.clone()))
        .layer(BearerAuth::new(tokens))
        .layer(require_user())
        .app(routes_of_api());
    let app = Stack::new()
        .layer(ErrorPages::new())
        .layer(Sessions::new(MemoryStore::new()))
        .layer(SignIn::new(users.clone(), &keys()).passwords(passwords))
        .layer(State(users))
        .app(routes().mount("/api", api));
    let client = Client::new(app).default_header("accept", BROWSER);
    client.get("/page").await.assert_redirect("/sign-in?next=/page");
    // A browser is asked by its own window, and not sent to the form.
    let page = client.get("/api/page").await;
    page.assert_status(401);
    let challenges: Vec<_> = page.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, [r#"Bearer realm="this site""#, r#"Basic realm="this site", charset="UTF-8""#]);
    client.get("/api/page").header("authorization", basic("bob@x", "good")).await.assert_contains("bob@x");
    client
        .get("/api/page")
        .header("authorization", format!("Bearer {}", token.expose()))
        .await
        .assert_contains("ada@x");
    // Who sends no header is whom the layer above knows.
    post_sign_in(&client, "bob@x", "good").await.assert_redirect("/");
    client.get("/api/page").await.assert_contains("a page for bob@x");
    // And a header goes before the session.
    client.get("/api/page").header("authorization", basic("ada@x", "good")).await.assert_contains("ada@x");
}

#[tokio::test]
async fn a_header_that_a_layer_above_read_goes_before_the_session() {
    let passwords = Passwords::for_tests();
    let users = users(&passwords).await;
    let app = Stack::new()
        .layer(Sessions::new(MemoryStore::new()))
        .layer(BasicAuth::new(users.clone()).passwords(passwords.clone()))
        .layer(SignIn::new(users.clone(), &keys()).passwords(passwords))
        .layer(State(users))
        .app(routes());
    let client = Client::new(app).default_header("accept", BROWSER);
    client.get("/page").header("authorization", basic("bob@x", "good")).await.assert_contains("bob@x");
    post_sign_in(&client, "ada@x", "good").await.assert_redirect("/");
    client.get("/page").await.assert_contains("ada@x");
    client.get("/page").header("authorization", basic("bob@x", "good")).await.assert_contains("bob@x");
}

#[tokio::test]
async fn the_layers_keep_the_contract_of_layers() {
    let users = users(&Passwords::for_tests()).await;
    let below_sessions = |layer: BoxMiddleware| vec![BoxMiddleware::new(Sessions::new(MemoryStore::new())), layer];
    layer_contract(|| below_sessions(BoxMiddleware::new(SignIn::new(users.clone(), &keys())))).await;
    layer_contract(|| BasicAuth::new(users.clone())).await;
    layer_contract(|| BearerAuth::new(Keys { users: users.clone(), digest: String::new() })).await;
    layer_contract(|| {
        vec![BoxMiddleware::new(BasicAuth::new(users.clone())), BoxMiddleware::new(require_role("admin"))]
    })
    .await;
}
