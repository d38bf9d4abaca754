//! `Mail`: equal failures in one mail, and a server that does not answer is nobody's delay.

use super::*;
use purlin::Server;
use purlin::config::Secret;
use purlin::report::{Mail, MailError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A mail as it came: who it is from and to, and its text.
struct Received {
    envelope: Vec<String>,
    text: String,
}

impl Received {
    fn header(&self, name: &str) -> String {
        let unfolded = self.text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let line = unfolded.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    }

    /// Without its encoding, which breaks lines.
    fn body(&self) -> String {
        let body = self.text.split_once("\r\n\r\n").unwrap().1;
        match self.header("Content-Transfer-Encoding").as_str() {
            "quoted-printable" => {
                let joined = body.replace("=\r\n", "");
                String::from_utf8(percent_decoded(&joined)).unwrap()
            }
            "base64" => {
                use ct_codecs::{Base64, Decoder};
                let joined: String = body.split_whitespace().collect();
                String::from_utf8(Base64::decode_to_vec(joined, None).unwrap()).unwrap()
            }
            _ => body.to_owned(),
        }
    }
}

/// `=C3=BC` as bytes (RFC 2045 §6.7).
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'=' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

/// A mail server on this machine; what it takes comes out of the channel.
async fn server() -> (Secret, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Secret::new(format!("smtp://{}", listener.local_addr().unwrap()));
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, sender.clone()));
        }
    });
    (url, receiver)
}

/// One conversation (RFC 5321).
async fn converse(mut stream: TcpStream, mails: mpsc::UnboundedSender<Received>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read);
    write.write_all(b"220 mail.test ESMTP\r\n").await?;
    let mut envelope = Vec::new();
    let mut line = String::new();
    while lines.read_line(&mut line).await? > 0 {
        let command = line.trim_end().to_owned();
        line.clear();
        let answer = match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-mail.test\r\n250 8BITMIME\r\n",
            "MAIL" | "RCPT" => {
                envelope.push(command);
                "250 OK\r\n"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    lines.read_line(&mut text).await?;
                }
                let _ = mails.send(Received { envelope: std::mem::take(&mut envelope), text });
                "250 taken\r\n"
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                break;
            }
            _ => "250 OK\r\n",
        };
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

fn mail(server: &Secret) -> Mail {
    Mail::new(server, "Wiki <wiki@example.org>", "ann@example.org, Bob <bob@example.org>").unwrap()
}

#[tokio::test]
async fn a_hundred_equal_failures_are_one_mail_with_their_number() {
    let (url, mut mails) = server().await;
    let kept = Kept::default();
    let app = site(ErrorPages::new().reporter(kept.clone()).reporter(mail(&url)));
    let life = Life::start(&app).unwrap();
    for id in 0..100 {
        app.call(request("GET", &format!("/users/{id}"), &[], "")).await;
    }
    app.call(request("GET", "/database", &[], "")).await;
    // The minute is not over: the end sends what there is.
    assert!(life.end(Duration::from_secs(10)).await.is_empty());
    let (many, one) = (mails.recv().await.unwrap(), mails.recv().await.unwrap());
    assert!(mails.try_recv().is_err(), "two kinds, two mails");
    let expected = ["MAIL FROM:<wiki@example.org>", "RCPT TO:<ann@example.org>", "RCPT TO:<bob@example.org>"];
    for (line, expected) in many.envelope.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    let subject = many.header("Subject");
    assert!(subject.ends_with(" 500 counting the friends of user 0 (100 times)"), "{subject}");
    assert_eq!(many.header("Auto-Submitted"), "auto-generated");
    let first = &kept.all()[0];
    assert_eq!(many.header("References"), format!("<{}@reports.invalid>", first.fingerprint));
    let body = many.body();
    assert!(body.starts_with("100 times, from 20"), "{body}");
    for part in ["caused by: invalid digit found in string", &first.id, "GET /users/0 HTTP/1.1"] {
        assert!(body.contains(part), "{part}: {body}");
    }
    assert!(one.header("Subject").contains("connecting with"), "{}", one.text);
}

#[tokio::test]
async fn a_mail_leaves_when_its_time_has_come() {
    let (url, mut mails) = server().await;
    let app = site(ErrorPages::new().reporter(mail(&url).collect_for(Duration::ZERO)));
    let _life = Life::start(&app).unwrap();
    app.call(request("GET", "/users/7", &[], "")).await;
    let mail = mails.recv().await.unwrap();
    assert!(mail.header("Subject").ends_with("500 counting the friends of user 7"), "{}", mail.text);
}

#[tokio::test]
async fn more_kinds_than_anybody_reads_are_ten_mails_and_a_list() {
    let (url, mut mails) = server().await;
    let mut routes = Router::new();
    for number in 0..14 {
        let path = format!("/{number}");
        routes = routes.route(&path, get(async || Err::<String, Error>(Error::internal("the same line"))));
    }
    let app = Stack::new().layer(ErrorPages::new().reporter(mail(&url))).app(routes);
    let life = Life::start(&app).unwrap();
    for number in 0..14 {
        app.call(request("GET", &format!("/{number}"), &[], "")).await;
    }
    assert!(life.end(Duration::from_secs(10)).await.is_empty());
    let mut subjects = Vec::new();
    while let Ok(mail) = mails.try_recv() {
        subjects.push(mail.header("Subject"));
    }
    assert_eq!(subjects.len(), 11, "{subjects:?}");
    assert_eq!(subjects[10], "4 more kinds of failures");
}

#[tokio::test]
async fn a_server_that_never_answers_delays_nobody() {
    // It takes connections, since the system does, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Secret::new(format!("smtp://{}", listener.local_addr().unwrap()));
    let app = site(ErrorPages::new().reporter(mail(&url).collect_for(Duration::ZERO)));
    let life = Life::start(&app).unwrap();
    let start = std::time::Instant::now();
    for id in 0..1000 {
        assert_eq!(app.call(request("GET", &format!("/users/{id}"), &[], "")).await.status(), 500);
    }
    // The server is given ten seconds; a thousand answers take less than one of them.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let (mut connection, _) = listener.accept().await.unwrap();
    assert_eq!(life.end(Duration::from_millis(50)).await, ["mailing reports"], "the end does not wait for it either");
    drop(listener);
    let mut said = Vec::new();
    // The client speaks second: nothing was sent to a server that said nothing.
    let read = tokio::time::timeout(Duration::from_millis(1), connection.read_to_end(&mut said)).await;
    assert!(read.is_err() || said.is_empty());
}

#[tokio::test]
async fn a_start_that_fails_is_mailed_before_the_process_ends() {
    let (url, mut mails) = server().await;
    let app = Stack::new().layer(ErrorPages::new().reporter(mail(&url))).layer(Refuses).app(Router::new());
    let bound = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    assert!(bound.serve(app, std::future::pending()).await.is_err());
    let mail = mails.try_recv().unwrap();
    assert!(!mail.text.contains("st4rt-secret"), "{}", mail.text);
    assert!(mail.body().starts_with("500 no licence for postgres://"), "{}", mail.body());
}

#[tokio::test]
async fn a_mail_holds_no_secret() {
    for (method, url, headers, sent, secrets) in SECRETS {
        let (server, mut mails) = server().await;
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Recorder::new()));
        let pages = ErrorPages::new().config(&config()).redact(Redaction::new().also(["diagnosis"])).log_lines(20);
        let app = site(pages.reporter(mail(&server)));
        let life = Life::start(&app).unwrap();
        app.call(request(method, url, headers, sent)).await;
        assert!(life.end(Duration::from_secs(10)).await.is_empty());
        let mail = mails.recv().await.unwrap();
        let (subject, body) = (mail.header("Subject"), mail.body());
        assert!(body.contains("•••"), "{body}");
        for secret in *secrets {
            for output in [&mail.text, &subject, &body] {
                assert!(!output.contains(secret), "{url}: {secret} is in the mail:\n{output}");
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_told_without_the_password() {
    let bad = Secret::new("smpt://site:sw0rdfish@host");
    let error = Mail::new(&bad, "a@example.org", "b@example.org").err().unwrap();
    assert_eq!(error, MailError::Server);
    assert!(!format!("{error} {error:?}").contains("sw0rdfish"));
    let good = Secret::new("smtp://localhost");
    let error = Mail::new(&good, "a@example.org", "b@example.org, nobody").err().unwrap();
    assert_eq!(error.to_string(), "expected a mail address as user@host or Name <user@host>, found \"nobody\"");
}
