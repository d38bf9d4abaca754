//! What is asked of the servers, and what they have to answer.

use peers::drive::{CONNECTIONS, Server};
use peers::wire::{Answer, Wire};
use std::fmt::Write;
use std::io::Read;

pub const HYPER: &str = "raw_hyper";
pub const PURLIN: &str = "purlin_peer";
pub const AXUM: &str = "axum_peer";
pub const ACTIX: &str = "actix_peer";
pub const NGINX: &str = "nginx";

/// All of them, raw hyper first, and what the tables call them.
pub const SERVERS: [(&str, &str); 5] =
    [(HYPER, "raw hyper"), (PURLIN, "Purlin"), (AXUM, "axum"), (ACTIX, "actix-web"), (NGINX, "nginx")];

const FRAMEWORKS: &[&str] = &[HYPER, PURLIN, AXUM, ACTIX];

/// The files below `/static`, and their lengths.
pub const FILES: [(&str, usize); 3] = [("large.bin", 5 << 20), ("medium.css", 50 << 10), ("small.css", 1 << 10)];

/// What a file holds.
pub fn file(name: &str) -> Vec<u8> {
    let length = FILES.iter().find(|(file, _)| *file == name).map_or(0, |(_, length)| *length);
    "a { color: #123456 }\n".bytes().cycle().take(length).collect()
}

/// One row of the table.
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    /// What the servers are told to serve.
    pub mode: &'static str,
    /// Who can; raw hyper first.
    pub servers: &'static [&'static str],
    pub pipelined: usize,
    pub status: u16,
    request: String,
    asking: Asking,
    body: Body,
    headers: Vec<(&'static str, String)>,
}

enum Asking {
    /// All connections alike.
    Alike,
    /// Each connection is a visitor who has a session.
    Visitors,
    /// By someone who has the file.
    Copy,
}

enum Body {
    Bytes(Vec<u8>),
    Gzipped(Vec<u8>),
    /// The page, with a number behind its title.
    Differing,
    /// Of a session: 2 and more.
    Number,
}

impl Workload {
    fn get(name: &'static str, title: &'static str, path: &str) -> Self {
        Self::asked(
            name,
            title,
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"),
        )
    }

    fn post(name: &'static str, title: &'static str, path: &str, content_type: &str, body: &str) -> Self {
        // As a browser sends it from the site's own page.
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\nOrigin: https://localhost\r\n\
             Sec-Fetch-Site: same-origin\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self::asked(name, title, head + body)
    }

    fn asked(name: &'static str, title: &'static str, request: String) -> Self {
        Self {
            name,
            title,
            mode: "site",
            servers: FRAMEWORKS,
            pipelined: 1,
            status: 200,
            request,
            asking: Asking::Alike,
            body: Body::Bytes(Vec::new()),
            headers: Vec::new(),
        }
    }

    fn mode(mut self, mode: &'static str) -> Self {
        self.mode = mode;
        self
    }

    fn servers(mut self, servers: &'static [&'static str]) -> Self {
        self.servers = servers;
        self
    }

    fn sent(mut self, header: &str) -> Self {
        self.request = self.request.replacen("\r\n", &format!("\r\n{header}\r\n"), 1);
        self
    }

    fn asking(mut self, asking: Asking) -> Self {
        self.asking = asking;
        self
    }

    fn answer(mut self, content_type: &str, body: Body) -> Self {
        self.body = body;
        self.header("content-type", content_type)
    }

    /// A header which the answer has, whose value begins with this.
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn file(name: &'static str, title: &'static str, file_name: &str) -> Self {
        let content_type = if file_name.ends_with(".css") { "text/css" } else { "application/octet-stream" };
        Self::get(name, title, &format!("/static/{file_name}"))
            .answer(content_type, Body::Bytes(file(file_name)))
            .servers(&[HYPER, PURLIN, AXUM, ACTIX, NGINX])
    }

    /// Everything around the answer is that of a whole site.
    pub fn is_site(&self) -> bool {
        self.mode.starts_with("site")
    }

    /// The requests of the connections, after an answer to each kind was checked.
    pub async fn requests(&self, server: &Server) -> Vec<Vec<u8>> {
        let mut requests = Vec::new();
        match self.asking {
            Asking::Alike => requests.push(self.request.clone()),
            Asking::Visitors => {
                for _ in 0..CONNECTIONS {
                    let first = ask(server, "GET /count HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
                    assert_eq!(
                        (first.status, &*first.body),
                        (200, &b"1"[..]),
                        "{} counts the first request",
                        server.name
                    );
                    let cookies = first.cookies();
                    assert!(!cookies.is_empty(), "{} begins no session", server.name);
                    requests.push(self.request.replacen("\r\n", &format!("\r\nCookie: theme=dark; {cookies}\r\n"), 1));
                }
            }
            Asking::Copy => {
                let first = ask(server, &self.request).await;
                let condition = match (first.header("etag"), first.header("last-modified")) {
                    (Some(etag), _) => format!("If-None-Match: {etag}"),
                    (None, Some(date)) => format!("If-Modified-Since: {date}"),
                    (None, None) => panic!("{}: nothing to ask by", server.name),
                };
                requests.push(self.request.replacen("\r\n", &format!("\r\n{condition}\r\n"), 1));
            }
        }
        for request in &requests {
            self.check(server, request).await;
        }
        requests.into_iter().map(String::into_bytes).collect()
    }

    /// Asks once, and compares every byte that can be known; the length of the body, if it is always the same.
    pub async fn check(&self, server: &Server, request: &str) -> Option<usize> {
        let answer = ask(server, request).await;
        let wrong = |what: &str| {
            panic!("{}, {}: {what}\n{}{}", server.name, self.name, answer.head, String::from_utf8_lossy(&answer.body))
        };
        if answer.status != self.status {
            wrong(&format!("expected {}", self.status));
        }
        if self.is_site() {
            for (name, value) in site::HEADERS {
                if answer.header(name) != Some(value) {
                    wrong(&format!("expected {name}: {value}"));
                }
            }
            if answer.header("x-request-id").is_none_or(str::is_empty) {
                wrong("expected an x-request-id");
            }
        }
        for (name, value) in &self.headers {
            if !answer.header(name).is_some_and(|found| found.to_ascii_lowercase().starts_with(value)) {
                wrong(&format!("expected {name}: {value}"));
            }
        }
        match &self.body {
            Body::Bytes(bytes) if *bytes != answer.body => wrong("another body"),
            Body::Gzipped(bytes) => {
                let mut plain = Vec::new();
                let read = flate2::read::GzDecoder::new(&*answer.body).read_to_end(&mut plain);
                if read.is_err() || plain != *bytes {
                    wrong("another body, decompressed");
                }
            }
            Body::Differing => {
                let mut plain = String::new();
                let read = flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut plain);
                let title = escape(site::TITLE);
                let number = plain.split_once(&format!("<title>{title} ")).and_then(|(_, rest)| rest.get(..6));
                let number = number.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
                let same = number.is_some_and(|number| plain.replace(&format!("{title} {number}"), &title) == rows());
                if read.is_err() || !same {
                    wrong("another page");
                }
                return None;
            }
            Body::Number => {
                let number = std::str::from_utf8(&answer.body).ok().and_then(|text| text.parse().ok());
                if number.is_none_or(|number: u64| number < 2) {
                    wrong("expected the number of a request that is not the first");
                }
                return None;
            }
            Body::Bytes(_) => {}
        }
        Some(answer.body.len())
    }
}

async fn ask(server: &Server, request: &str) -> Answer {
    Wire::connect(&server.address).await.ask(request.as_bytes()).await
}

/// The table, in its order.
pub fn all() -> Vec<Workload> {
    let plain = || Body::Bytes(site::HELLO.into());
    let page = || Body::Bytes(rows().into_bytes());
    const TEXT: &str = "text/plain; charset=utf-8";
    const HTML: &str = "text/html; charset=utf-8";
    const NOTE: &str = r#"{"name":"Ada Lovelace","message":"The engine weaves algebraic patterns, as the loom weaves flowers.","tags":["engine","loom"],"count":1843,"open":true}"#;
    vec![
        Workload::get("bare", "plaintext, one route, no layers", "/").mode("bare").answer(TEXT, plain()),
        Workload::get("pipelined", "the same, 16 requests at a time", "/")
            .mode("pipelined")
            .answer(TEXT, plain())
            .pipelined(16),
        Workload::get("full", "plaintext through the full stack, 30 routes", "/")
            .sent("Cookie: theme=dark; lang=en")
            .answer(TEXT, plain()),
        Workload::get("full-session", "the same by a visitor whose session nobody looks at", "/")
            .asking(Asking::Visitors)
            .answer(TEXT, plain()),
        Workload::get("session-memory", "a session counter, in memory", "/count")
            .mode("site-memory")
            .servers(&[HYPER, PURLIN, AXUM])
            .asking(Asking::Visitors)
            .answer(TEXT, Body::Number),
        Workload::get("session-cookie", "a session counter, in an encrypted cookie", "/count")
            .mode("site-cookie")
            .asking(Asking::Visitors)
            .answer(TEXT, Body::Number)
            .header("set-cookie", ""),
        Workload::get("template", "a page of 50 escaped rows", "/rows").answer(HTML, page()),
        Workload::get("compressed", "the same, compressed", "/rows")
            .sent("Accept-Encoding: gzip")
            .answer(HTML, Body::Gzipped(rows().into_bytes()))
            .header("content-encoding", "gzip")
            .header("vary", ""),
        Workload::get("differs", "a page that differs each time, compressed", "/rows")
            .mode("site-differs")
            .sent("Accept-Encoding: gzip")
            .answer(HTML, Body::Differing)
            .header("content-encoding", "gzip")
            .header("vary", ""),
        Workload::get("cached", "the page from a cache of pages", "/rows")
            .mode("site-cached")
            .servers(&[HYPER, PURLIN, AXUM, NGINX])
            .answer(HTML, page()),
        Workload::file("static-1k", "a file of 1 KiB", "small.css"),
        Workload::file("static-50k", "a file of 50 KiB", "medium.css"),
        Workload::file("static-5m", "a file of 5 MiB", "large.bin"),
        Workload::file("static-304", "a file of 1 KiB that has not changed", "small.css")
            .asking(Asking::Copy)
            .not_modified(),
        Workload::file("folder-1k", "a file of 1 KiB, Purlin's from a folder", "small.css")
            .mode("site-folder")
            .servers(&[HYPER, PURLIN]),
        Workload::file("folder-50k", "a file of 50 KiB, Purlin's from a folder", "medium.css")
            .mode("site-folder")
            .servers(&[HYPER, PURLIN]),
        Workload::post("json", "JSON, read and written", "/json", "application/json", NOTE)
            .answer("application/json", Body::Bytes(NOTE.into())),
        Workload::post(
            "form",
            "a form, and a redirect",
            "/form",
            "application/x-www-form-urlencoded",
            "name=Ada+Lovelace&message=It+was+a+pleasure%2C+thank+you%21+The+cake+%26+the+tea+were+good.",
        )
        .status(303)
        .header("location", site::AFTER_FORM),
    ]
}

impl Workload {
    fn pipelined(mut self, requests: usize) -> Self {
        self.pipelined = requests;
        self
    }

    fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn not_modified(mut self) -> Self {
        self.body = Body::Bytes(Vec::new());
        self.headers.retain(|(name, _)| *name != "content-type");
        self.status(304)
    }
}

/// The page of `/rows`, made without a template.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn rows() -> String {
    let page = site::page();
    let title = escape(&page.title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n  <meta charset=\"utf-8\">\n  <title>{title}</title>\n  \
         <link rel=\"stylesheet\" href=\"/static/small.css\">\n</head>\n<body>\n  <h1>{title}</h1>\n  <table>"
    );
    for row in page.rows {
        let (class, name, message) =
            (if row.open { "open" } else { "closed" }, escape(&row.name), escape(&row.message));
        let _ = write!(html, "\n    <tr class=\"{class}\"><td>{}</td><td>{name}</td><td>{message}</td></tr>", row.id);
    }
    html + "\n  </table>\n</body>\n</html>\n"
}
