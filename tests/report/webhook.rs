//! `Webhook`: equal failures in one post, signed, and a server that does not answer is nobody's delay.

use super::*;
use crate::servers::{left_out, program};
use purlin::Server;
use purlin::config::Secret;
use purlin::report::{Webhook, WebhookError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// A post as it came.
struct Received {
    head: String,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A server on this machine, which gives these answers and then 204; what it takes comes out of the channel.
async fn server(answers: &'static [&'static str]) -> (Secret, mpsc::UnboundedReceiver<Received>) {
    serve(answers, None).await
}

async fn serve(
    answers: &'static [&'static str],
    tls: Option<TlsAcceptor>,
) -> (Secret, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = Secret::new(format!("{scheme}://localhost:{port}/hooks/t0ken-in-the-path?channel=ops"));
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut answers = answers.iter();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answers.next().unwrap_or(&"204 No Content");
            match &tls {
                None => drop(converse(stream, answer, &sender).await),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => drop(converse(stream, answer, &sender).await),
                    // The client did not like the certificate.
                    Err(_) => continue,
                },
            }
        }
    });
    (url, receiver)
}

/// One request and its answer (RFC 9112).
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    posts: &mpsc::UnboundedSender<Received>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let mut received = Received { head, body: String::new() };
    let mut body = vec![0; received.header("content-length").parse().unwrap()];
    stream.read_exact(&mut body).await?;
    received.body = String::from_utf8(body).unwrap();
    let _ = posts.send(received);
    stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
    stream.shutdown().await
}

fn listen(lines: &Lines) -> tracing::subscriber::DefaultGuard {
    tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish())
}

fn hook(url: &Secret) -> Webhook {
    Webhook::new(url).unwrap()
}

#[tokio::test]
async fn a_hundred_equal_failures_are_one_post_with_their_number() {
    let (url, mut posts) = server(&[]).await;
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()).reporter(hook(&url)));
    let table = app.check().unwrap().stack_table();
    assert!(table.contains("webhook to localhost") && !table.contains("t0ken"), "{table}");
    let life = Life::start(&app).unwrap();
    for id in 0..100 {
        app.call(request("GET", &format!("/users/{id}"), &[], "")).await;
    }
    app.call(request("GET", "/database", &[], "")).await;
    // The minute is not over: the end sends what there is.
    assert!(life.end(Duration::from_secs(10)).await.is_empty());
    let (many, one) = (posts.recv().await.unwrap(), posts.recv().await.unwrap());
    assert!(posts.try_recv().is_err(), "two kinds, two posts");
    assert!(many.head.starts_with("POST /hooks/t0ken-in-the-path?channel=ops HTTP/1.1\r\n"), "{}", many.head);
    assert_eq!(many.header("content-type"), "application/json");
    assert!(many.header("host").starts_with("localhost:"), "{}", many.head);
    assert_eq!(many.header("x-purlin-signature"), "");
    let (told, first) = (many.json(), &kept.all()[0]);
    assert_eq!(told["count"], 100);
    assert_eq!(told["first"], first.time);
    assert_eq!(told["last"], kept.all()[99].time);
    let text = told["text"].as_str().unwrap();
    assert!(text.ends_with(" 500 counting the friends of user 0 (100 times)"), "{text}");
    assert_eq!(told["report"], serde_json::to_value(&**first).unwrap());
    assert_eq!(one.json()["count"], 1);
}

#[tokio::test]
async fn more_kinds_than_anybody_reads_are_ten_posts_and_a_list() {
    let (url, mut posts) = server(&[]).await;
    let mut routes = Router::new();
    for number in 0..14 {
        let path = format!("/{number}");
        routes = routes.route(&path, get(async || Err::<String, Error>(Error::internal("the same line"))));
    }
    let app = Stack::new().layer(ErrorPages::new().reporter(hook(&url))).app(routes);
    let life = Life::start(&app).unwrap();
    for number in 0..14 {
        app.call(request("GET", &format!("/{number}"), &[], "")).await;
    }
    assert!(life.end(Duration::from_secs(10)).await.is_empty());
    for _ in 0..10 {
        assert!(posts.try_recv().unwrap().json()["report"].is_object());
    }
    let list = posts.try_recv().unwrap().json();
    assert_eq!(
        (&list["text"], &list["others"], &list["dropped"]),
        (&json!("4 more kinds of failures"), &json!(0), &json!(0))
    );
    let kinds = list["kinds"].as_array().unwrap();
    assert!(kinds.len() == 4 && kinds.iter().all(|kind| kind["text"] == "the same line"), "{list}");
    assert!(posts.try_recv().is_err());
}

#[tokio::test]
async fn a_post_is_signed_over_its_very_bytes() {
    let (url, mut posts) = server(&[]).await;
    let token = Secret::new("Bearer t0ken-in-a-header");
    let webhook = hook(&url).sign(&Secret::new("both know it")).header(header::AUTHORIZATION, &token).unwrap();
    let app = site(ErrorPages::new().reporter(webhook.collect_for(Duration::ZERO)));
    let _life = Life::start(&app).unwrap();
    app.call(request("GET", "/users/7", &[], "")).await;
    let post = posts.recv().await.unwrap();
    assert_eq!(post.header("authorization"), "Bearer t0ken-in-a-header");
    use orion::hazardous::mac::hmac::sha256::{HmacSha256, SecretKey};
    let key = SecretKey::try_from(&b"both know it"[..]).unwrap();
    let tag = HmacSha256::hmac(&key, post.body.as_bytes()).unwrap();
    let digits: String = tag.unprotected_as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(post.header("x-purlin-signature"), format!("sha256={digits}"));
}

#[tokio::test]
async fn what_is_refused_is_tried_again_and_the_log_says_why_without_the_url() {
    let (url, mut posts) = server(&["302 Found\r\nlocation: /elsewhere"]).await;
    let lines = Lines::default();
    let _log = listen(&lines);
    let app = site(ErrorPages::new().reporter(hook(&url).collect_for(Duration::ZERO)));
    let _life = Life::start(&app).unwrap();
    app.call(request("GET", "/users/7", &[], "")).await;
    let (first, second) = (posts.recv().await.unwrap(), posts.recv().await.unwrap());
    assert_eq!(first.body, second.body);
    assert!(second.head.starts_with("POST /hooks/"), "a redirect is not followed: {}", second.head);
    let log = lines.text();
    for part in ["localhost answered 302 Found", "by=\"webhook\""] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("t0ken"), "{log}");
}

#[tokio::test]
async fn a_server_that_never_answers_delays_nobody() {
    // It takes connections, since the system does, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Secret::new(format!("http://{}", listener.local_addr().unwrap()));
    let app = site(ErrorPages::new().reporter(hook(&url).collect_for(Duration::ZERO)));
    let life = Life::start(&app).unwrap();
    let start = std::time::Instant::now();
    for id in 0..1000 {
        assert_eq!(app.call(request("GET", &format!("/users/{id}"), &[], "")).await.status(), 500);
    }
    // The server is given ten seconds; a thousand answers take less than one of them.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let (_connection, _) = listener.accept().await.unwrap();
    assert_eq!(life.end(Duration::from_millis(50)).await, ["posting reports"], "the end does not wait for it either");
}

#[tokio::test]
async fn a_start_that_fails_is_posted_before_the_process_ends() {
    let (url, mut posts) = server(&[]).await;
    let app = Stack::new().layer(Refuses).layer(ErrorPages::new().reporter(hook(&url))).app(Router::new());
    let bound = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    assert!(bound.serve(app, std::future::pending()).await.is_err());
    let told = posts.try_recv().unwrap().json();
    assert_eq!((&told["count"], &told["report"]["origin"]), (&json!(1), &json!("start")));
    assert_eq!(told["report"]["message"], "no licence for postgres://•••@host/");
}

#[tokio::test]
async fn a_post_holds_no_secret() {
    for (method, url, headers, sent, secrets) in SECRETS {
        let (server, mut posts) = server(&[]).await;
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recorder::new()));
        let pages = ErrorPages::new().config(&config()).redact(Redaction::new().also(["diagnosis"])).log_lines(20);
        let app = site(pages.reporter(hook(&server)));
        let life = Life::start(&app).unwrap();
        app.call(request(method, url, headers, sent)).await;
        assert!(life.end(Duration::from_secs(10)).await.is_empty());
        let post = posts.recv().await.unwrap();
        assert!(post.body.contains("•••"), "{}", post.body);
        for secret in *secrets {
            assert!(!post.body.contains(secret), "{url}: {secret} is in the post:\n{}", post.body);
        }
    }
}

#[tokio::test]
async fn https_is_spoken_with_a_server_whose_certificate_is_trusted_and_with_no_other() {
    let Some(openssl) = program("openssl") else {
        return left_out("the test of webhooks by TLS", "install openssl");
    };
    let folder = Temporary::new("certificates");
    std::fs::create_dir_all(&folder.0).unwrap();
    let make = |words: &str| {
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1";
        let mut command = std::process::Command::new(&openssl);
        let made = command.current_dir(&folder.0).args(new.split(' ')).args(words.split(' ')).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    make("-subj /CN=authority -keyout ca.key -out ca.pem");
    make(
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -CA ca.pem \
         -CAkey ca.key -keyout key.pem -out cert.pem",
    );
    let certificate = CertificateDer::from_pem_file(folder.0.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.0.join("key.pem")).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (url, mut posts) = serve(&[], Some(TlsAcceptor::from(Arc::new(tls)))).await;
    let authority = std::fs::read(folder.0.join("ca.pem")).unwrap();
    let other_name = Secret::new(url.expose_str().replace("localhost", "127.0.0.1"));
    for (url, is_trusted) in [(&url, true), (&other_name, false)] {
        let lines = Lines::default();
        let _log = listen(&lines);
        let app = site(ErrorPages::new().reporter(hook(url).root_certificate(&authority).unwrap()));
        let life = Life::start(&app).unwrap();
        app.call(request("GET", "/users/7", &[], "")).await;
        assert!(life.end(Duration::from_secs(10)).await.is_empty());
        assert_eq!(posts.try_recv().is_ok(), is_trusted);
        assert_eq!(lines.text().contains("127.0.0.1: invalid peer certificate"), !is_trusted, "{}", lines.text());
    }
    let refused = hook(&url).root_certificate(b"-----BEGIN CERTIFICATE-----\nAA\n").err();
    assert_eq!(refused, Some(WebhookError::Certificate));
    assert_eq!(
        hook(&Secret::new("http://localhost")).root_certificate(&authority).err(),
        Some(WebhookError::Certificate)
    );
}

#[test]
fn what_cannot_be_read_is_told_without_the_url() {
    for url in [
        "",
        "hooks/sw0rdfish",
        "ftp://host/sw0rdfish",
        "https://me:sw0rdfish@host/",
        "https://host:sw0rdfish/",
        "https:///x",
    ] {
        let error = Webhook::new(&Secret::new(url)).err().unwrap_or_else(|| panic!("{url}"));
        assert_eq!(error, WebhookError::Url);
        assert!(!format!("{error} {error:?}").contains("sw0rdfish"));
    }
    let webhook = hook(&Secret::new("http://[::1]:8/x"));
    let error = webhook.header(header::AUTHORIZATION, &Secret::new("sw0rdfish\n")).err().unwrap();
    assert_eq!(error.to_string(), "expected a value of the header authorization in visible ASCII, found other bytes");
}

#[tokio::test]
async fn the_configuration_turns_it_on_and_never_shows_it() {
    let (url, mut posts) = server(&[]).await;
    let toml = format!("[reports.webhook]\nurl = '{}'\nsecret = 'both know it'", url.expose_str());
    let config = Loader::new().environment("development").toml(toml).load().unwrap();
    assert!(!format!("{config:?} {:?}", config.values()).contains("t0ken"));
    let app = site(ErrorPages::new().config(&config).reporters(&config.reports).unwrap());
    let life = Life::start(&app).unwrap();
    app.call(request("GET", "/users/7", &[], "")).await;
    assert!(life.end(Duration::from_secs(10)).await.is_empty());
    let post = posts.recv().await.unwrap();
    assert!(post.header("x-purlin-signature").starts_with("sha256="), "{}", post.head);
    assert!(!post.body.contains("t0ken") && !post.body.contains("both know it"), "{}", post.body);
}
