//! Two instances of one site behind nginx, which share their sessions in Redis.

use crate::servers::Folder;
use crate::servers::nginx::Nginx;
use crate::servers::redis::Redis;
use purlin::auth::{Account, Accounts, Auth, CurrentUser, Password, PasswordHash, Passwords, Throttle};
use purlin::config::{Secret, SecretKeys};
use purlin::layers::{Csrf, Sessions, SignIn, TrustedProxies};
use purlin::session::RedisStore;
use purlin::{
    CsrfToken, Form, IntoResponse, Redirect, Request, RequestExt, Response, Result, Router, Server, Session, Stack,
    State, StatusCode, get, post,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Somebody of any name; all have one password, and every instance knows them all.
struct Somebody {
    login: String,
    hash: String,
}

impl Account for Somebody {
    fn id(&self) -> String {
        self.login.clone()
    }

    fn name(&self) -> String {
        self.login.clone()
    }

    fn password_hash(&self) -> Option<&str> {
        Some(&self.hash)
    }

    fn stamp(&self) -> &str {
        "never changed"
    }
}

struct Everybody(String);

impl Accounts for Everybody {
    type User = Somebody;

    async fn by_login(&self, login: &str) -> Result<Option<Somebody>> {
        Ok(Some(Somebody { login: login.to_owned(), hash: self.0.clone() }))
    }

    async fn by_id(&self, id: &str) -> Result<Option<Somebody>> {
        self.by_login(id).await
    }

    async fn save_hash(&self, _: &Somebody, _: &PasswordHash) -> Result<()> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct Credentials {
    login: String,
    password: Password,
}

type Name = State<Arc<str>>;

/// `POST /sign-in`, with "stay signed in".
async fn sign_in(auth: Auth, State(name): Name, Form(form): Form<Credentials>) -> Result<Response> {
    if auth.sign_in(&form.login, &form.password).await?.is_none() {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, "wrong").into_response());
    }
    auth.remember().await?;
    Ok(format!("in by {name}").into_response())
}

async fn sign_out(auth: Auth) -> Result<Redirect> {
    auth.sign_out().await?;
    Ok(Redirect::see_other("/who"))
}

async fn who(user: Option<CurrentUser<Somebody>>, State(name): Name) -> String {
    format!("{} at {name}", user.map_or("nobody".to_owned(), |user| user.login.clone()))
}

/// For who is signed in.
async fn count(_user: CurrentUser<Somebody>, session: Session, State(name): Name) -> Result<String> {
    Ok(format!("{} {name}", session.increment("n", 1)?))
}

/// What a page's form has in it.
async fn token(token: CsrfToken) -> Result<String> {
    token.masked()
}

async fn address(req: Request) -> String {
    req.client_ip().map_or("none".to_owned(), |address| address.to_string())
}

/// The other process of the tests below: a site that serves until it is killed. By itself it does nothing.
#[test]
#[ignore = "a process that other tests start"]
fn an_instance() {
    let Ok(words) = std::env::var("PURLIN_TEST_INSTANCE") else { return };
    let [name, socket, redis] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{words}") };
    let site = async || {
        let keys = SecretKeys::new(Secret::new("0123456789abcdef0123456789abcdef"));
        let passwords = Passwords::for_tests();
        let hash = String::from(passwords.hash(&Password::new("good")?).await?);
        let throttle = Throttle::new().address(|req| req.client_ip()).per_address(100);
        let routes = Router::new()
            .route("/sign-in", get(async || "the form").post(sign_in))
            .route("/sign-out", post(sign_out))
            .route("/who", get(who))
            .route("/count", get(count).post(count))
            .route("/token", get(token))
            .route("/address", get(address));
        Ok(Stack::new()
            .layer(TrustedProxies::new().unix_sockets(true))
            .layer(Sessions::new(RedisStore::new(redis)))
            .layer(SignIn::new(Everybody(hash), &keys).passwords(passwords).throttle(throttle))
            .layer(Csrf::new())
            .layer(State(Arc::<str>::from(name)))
            .app(routes))
    };
    Server::new().listen(format!("unix:{socket}").parse().unwrap()).bind().unwrap().run(site).unwrap();
}

/// A process with an instance of the site.
struct Instance {
    process: Child,
    socket: PathBuf,
}

impl Instance {
    fn new(name: &str, folder: &Folder, redis: &Redis) -> Self {
        let socket = folder.path().join(format!("{name}.sock"));
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "scaling::an_instance", "--ignored", "--nocapture"])
            .env("PURLIN_TEST_INSTANCE", format!("{name} {} {}", socket.display(), redis.url()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, socket }
    }

    /// As a new release would end it.
    fn terminate(&mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -TERM $0", &id]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }

    /// As a crash would end it.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns when somebody listens there.
async fn listening(socket: &Path) {
    let start = Instant::now();
    while UnixStream::connect(socket).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody listens at {}", socket.display());
        tokio::task::yield_now().await;
    }
}

/// Redis, two instances, and nginx in front of them, which holds the address that visitors know.
struct Farm {
    one: Instance,
    _two: Instance,
    nginx: Nginx,
    folder: Folder,
    redis: Redis,
}

impl Farm {
    /// `None` where a server is not installed.
    async fn new() -> Option<Self> {
        let (redis, folder) = (Redis::new(&[])?, Folder::new());
        let (one, two) = (Instance::new("one", &folder, &redis), Instance::new("two", &folder, &redis));
        listening(&one.socket).await;
        listening(&two.socket).await;
        let nginx = Nginx::new(&[one.socket.clone(), two.socket.clone()])?;
        Some(Self { one, _two: two, nginx, folder, redis })
    }

    fn visitor(&self) -> Visitor {
        let address = self.nginx.address();
        Visitor { address, origin: Some(format!("http://{address}")), cookies: BTreeMap::new() }
    }
}

/// A browser at `http://127.0.0.1:port/`: without `Sec-Fetch-Site`, as browsers are at a site without TLS.
#[derive(Clone)]
struct Visitor {
    address: SocketAddr,
    /// Of the page that its forms are on.
    origin: Option<String>,
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    async fn get(&mut self, path: &str) -> (u16, String) {
        self.ask("GET", path, "").await
    }

    async fn post(&mut self, path: &str, form: &str) -> (u16, String) {
        self.ask("POST", path, form).await
    }

    /// Asks on a connection of its own; the status and the body.
    async fn ask(&mut self, method: &str, path: &str, form: &str) -> (u16, String) {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: {}\r\nX-Forwarded-For: 192.0.2.1\r\n",
            self.address,
            cookies.join("; ")
        );
        if method == "POST" {
            let length = form.len();
            head += &format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n");
            if let Some(origin) = &self.origin {
                head += &format!("Origin: {origin}\r\n");
            }
        }
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}\r\n{form}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        for line in head.lines().filter(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")) {
            let set = &line["set-cookie: ".len()..];
            let (name, value) = set.split(';').next().and_then(|pair| pair.split_once('=')).unwrap();
            if set.contains("Max-Age=0;") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        (status, body.to_owned())
    }

    /// Signs in, and returns the name of the instance that did it.
    async fn sign_in(&mut self, login: &str) -> String {
        let (status, body) = self.post("/sign-in", &format!("login={login}&password=good")).await;
        assert_eq!(status, 200, "{body}");
        body.strip_prefix("in by ").unwrap().to_owned()
    }

    /// Asks who that is until the instance of this name answers; every one says the same.
    async fn is_at(&mut self, login: &str, instance: &str) {
        for _ in 0..100 {
            let (status, body) = self.get("/who").await;
            assert!(status == 200 && body.starts_with(&format!("{login} at ")), "{status} {body}");
            if body.ends_with(instance) {
                return;
            }
        }
        panic!("the instance {instance} is not asked");
    }
}

#[tokio::test]
async fn who_signs_in_at_one_instance_is_signed_in_at_the_other() {
    let Some(farm) = Farm::new().await else { return };
    let mut visitor = farm.visitor();
    let first = visitor.sign_in("ada").await;
    let other = if first == "one" { "two" } else { "one" };
    visitor.is_at("ada", other).await;
    visitor.is_at("ada", &first).await;
    for n in 1..=4 {
        let (status, body) = visitor.post("/count", "").await;
        assert!(status == 200 && body.starts_with(&format!("{n} ")), "{status} {body}");
    }
    // Remembered by one, known to both.
    visitor.cookies.remove("session").unwrap();
    visitor.is_at("ada", other).await;
    visitor.is_at("ada", &first).await;
    visitor.cookies.remove("session").unwrap();
    visitor.is_at("ada", &first).await;

    // Signed out by one, signed out at both, whoever has a copy of the session's cookie.
    let mut thief = visitor.clone();
    thief.cookies.retain(|name, _| name == "session");
    thief.is_at("ada", other).await;
    assert_eq!(visitor.post("/sign-out", "").await.0, 303);
    for mut visitor in [visitor, thief] {
        visitor.is_at("nobody", other).await;
        visitor.is_at("nobody", &first).await;
    }
}

#[tokio::test]
async fn a_form_is_taken_from_the_site_s_own_pages_only_whichever_instance_made_them() {
    let Some(farm) = Farm::new().await else { return };
    let mut visitor = farm.visitor();
    visitor.sign_in("ada").await;
    let port = farm.nginx.address().port();
    // A page at another port of the same machine is another site.
    for (origin, status) in [
        (format!("http://127.0.0.1:{port}"), 200),
        ("http://127.0.0.1".to_owned(), 403),
        (format!("http://127.0.0.1:{}", port + 1), 403),
        (format!("http://localhost:{port}"), 403),
        ("https://attacker.example".to_owned(), 403),
    ] {
        visitor.origin = Some(origin.clone());
        assert_eq!(visitor.post("/count", "").await.0, status, "{origin}");
    }
    // An old browser, of which the token tells.
    visitor.origin = None;
    assert_eq!(visitor.post("/count", "").await.0, 403);
    let token = visitor.get("/token").await.1;
    let mut by = Vec::new();
    for _ in 0..4 {
        let (status, body) = visitor.post("/count", &format!("csrf_token={token}")).await;
        assert_eq!(status, 200, "{body}");
        by.push(body.split_once(' ').unwrap().1.to_owned());
    }
    assert!(by.contains(&"one".to_owned()) && by.contains(&"two".to_owned()), "{by:?}");
    // What the visitor says of his address, nginx replaces.
    assert_eq!(visitor.get("/address").await.1, "127.0.0.1");
}

/// What the visitors of the load were told, by all of them.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    by_one: AtomicUsize,
    by_two: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_two_instances_is_killed_or_stopped_under_load_nobody_is_signed_out() {
    let Some(mut farm) = Farm::new().await else { return };
    let load = Arc::<Load>::default();
    let visit = async |number: usize, mut visitor: Visitor, load: Arc<Load>| {
        let login = format!("visitor{number}");
        visitor.sign_in(&login).await;
        let (mut counted, mut refused) = (0, 0);
        while !load.stop.load(Ordering::Relaxed) {
            // What is asked by GET, nginx asks the other instance when one has gone; a POST may have been obeyed already.
            let method = if number.is_multiple_of(2) { "GET" } else { "POST" };
            let (status, body) = visitor.ask(method, "/count", "").await;
            match (status, body.split_once(' ')) {
                (200, Some((n, name))) => {
                    let n: usize = n.parse().unwrap();
                    assert!(n > counted && n <= counted + refused + 2, "{n} after {counted}, {refused} refused");
                    counted = n;
                    let by = if name == "one" { &load.by_one } else { &load.by_two };
                    by.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    assert!(method == "POST" && status == 502, "{method}: {status} {body}");
                    refused += 1;
                }
            }
        }
        visitor.is_at(&login, "two").await;
        assert_eq!(visitor.post("/count", "").await.0, 200, "the form still posts");
        visitor.cookies.remove("session").unwrap();
        visitor.is_at(&login, "two").await;
    };
    let visitors: Vec<_> = (0..20).map(|n| tokio::spawn(visit(n, farm.visitor(), load.clone()))).collect();
    let more = async |which: fn(&Load) -> &AtomicUsize| {
        let (start, before) = (Instant::now(), which(&load).load(Ordering::Relaxed));
        while which(&load).load(Ordering::Relaxed) < before + 200 {
            assert!(start.elapsed() < Duration::from_secs(30), "the load does not go on: {}", farm.nginx.log());
            assert!(!visitors.iter().any(|visitor| visitor.is_finished()), "a visitor gave up: {}", farm.nginx.log());
            tokio::task::yield_now().await;
        }
    };
    more(|load| &load.by_one).await;
    farm.one.kill();
    more(|load| &load.by_two).await;
    // Started again, it takes its share again.
    farm.one = Instance::new("one", &farm.folder, &farm.redis);
    more(|load| &load.by_one).await;
    farm.one.terminate();
    more(|load| &load.by_two).await;
    load.stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        visitor.await.unwrap();
    }
}
