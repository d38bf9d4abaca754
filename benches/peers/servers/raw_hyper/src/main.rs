//! Raw hyper: the floor. The same bytes as the others', written by hand, without a log.

use bytes::Bytes;
use cookie::{Cookie, CookieJar, Key};
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, SET_COOKIE, VARY,
};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use tera::Tera;

type Answer = Response<Full<Bytes>>;

struct Site {
    mode: String,
    tera: Tera,
    page: Bytes,
    files: HashMap<String, File>,
    sessions: Mutex<HashMap<String, i64>>,
    key: Key,
}

struct File {
    bytes: Bytes,
    content_type: HeaderValue,
    etag: HeaderValue,
}

impl Site {
    fn new(mode: String) -> Self {
        let mut tera = Tera::new();
        tera.add_raw_template(site::TEMPLATE.0, site::TEMPLATE.1).expect("a template");
        let files = if mode.starts_with("site") { site::read_files() } else { Vec::new() };
        let files = files.into_iter().map(|(name, bytes)| {
            let content_type =
                if name.ends_with(".css") { "text/css; charset=utf-8" } else { "application/octet-stream" };
            let etag = HeaderValue::try_from(format!("\"{:x}-{}\"", bytes.len(), name.len())).expect("ASCII");
            let file = File { bytes: bytes.into(), content_type: HeaderValue::from_static(content_type), etag };
            (format!("/static/{name}"), file)
        });
        let mut site = Self {
            mode,
            tera,
            page: Bytes::new(),
            files: files.collect(),
            sessions: Mutex::default(),
            key: Key::generate(),
        };
        site.page = site.render().into();
        site
    }

    fn render(&self) -> String {
        let context = tera::Context::from_serialize(&site::page()).expect("it serializes");
        self.tera.render(site::TEMPLATE.0, &context).expect("it renders")
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Answer {
        let mut response = match request.uri().path() {
            "/" => text(site::HELLO),
            "/count" if self.mode == "site-memory" => self.count_in_memory(&request),
            "/count" => self.count_in_cookie(&request),
            "/rows" if self.mode == "site-cached" => html(self.page.clone()),
            "/rows" if request.headers().contains_key(ACCEPT_ENCODING) => gzip(self.render()),
            "/rows" => html(self.render()),
            "/json" => {
                let body = request.into_body().collect().await.expect("it is sent").to_bytes();
                let note: site::Note = serde_json::from_slice(&body).expect("a note");
                typed("application/json", serde_json::to_vec(&note).expect("it serializes"))
            }
            "/form" => {
                let body = request.into_body().collect().await.expect("it is sent").to_bytes();
                let entry: site::Entry = serde_urlencoded::from_bytes(&body).expect("an entry");
                assert!(entry.is_good());
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::SEE_OTHER;
                response.headers_mut().insert(LOCATION, HeaderValue::from_static(site::AFTER_FORM));
                response
            }
            path => self.file(&request, path),
        };
        if self.mode.starts_with("site") {
            let headers = response.headers_mut();
            for (name, value) in site::HEADERS {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            headers.insert(HeaderName::from_static("x-request-id"), HeaderValue::from_static(site::REQUEST_ID));
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }

    /// From memory.
    fn file(&self, request: &Request<hyper::body::Incoming>, path: &str) -> Answer {
        let Some(file) = self.files.get(path) else {
            let mut response = text("there is nothing here");
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        let mut response = Response::new(Full::new(file.bytes.clone()));
        let headers = response.headers_mut();
        headers.insert(ETAG, file.etag.clone());
        headers.insert(LAST_MODIFIED, HeaderValue::from_static("Sun, 01 Nov 2026 12:00:00 GMT"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if request.headers().get(IF_NONE_MATCH) == Some(&file.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Full::default();
        } else {
            headers.insert(CONTENT_TYPE, file.content_type.clone());
        }
        response
    }

    fn count_in_memory(&self, request: &Request<hyper::body::Incoming>) -> Answer {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = request.headers().get(COOKIE).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|cookies| cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session=")));
        if let Some(n) = sent.and_then(|id| sessions.get_mut(id)) {
            *n += 1;
            return text(n.to_string());
        }
        let id = format!("visitor-{:016x}", sessions.len());
        let mut response = text("1");
        response.headers_mut().insert(SET_COOKIE, HeaderValue::try_from(format!("session={id}")).expect("ASCII"));
        sessions.insert(id, 1);
        response
    }

    /// Encrypted, by the crate that most others use too.
    fn count_in_cookie(&self, request: &Request<hyper::body::Incoming>) -> Answer {
        let mut jar = CookieJar::new();
        let sent = request.headers().get(COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        for cookie in Cookie::split_parse(sent.to_owned()).flatten() {
            jar.add_original(cookie);
        }
        let n =
            jar.private(&self.key).get("session").and_then(|cookie| cookie.value().parse::<i64>().ok()).unwrap_or(0)
                + 1;
        let cookie = Cookie::build(("session", n.to_string()))
            .path("/")
            .secure(true)
            .http_only(true)
            .same_site(cookie::SameSite::Lax);
        jar.private_mut(&self.key).add(cookie);
        let mut response = text(n.to_string());
        for cookie in jar.delta() {
            let cookie = HeaderValue::try_from(cookie.to_string()).expect("ASCII");
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(body: impl Into<Bytes>) -> Answer {
    typed("text/plain; charset=utf-8", body)
}

fn html(body: impl Into<Bytes>) -> Answer {
    typed("text/html; charset=utf-8", body)
}

fn gzip(body: String) -> Answer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(site::GZIP));
    encoder.write_all(body.as_bytes()).expect("into memory");
    let mut response = html(encoder.finish().expect("into memory"));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

#[tokio::main]
async fn main() {
    let site: &'static Site = Box::leak(Box::new(Site::new(site::mode())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    site::listening(listener.local_addr().expect("bound"));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(move |request| async move { Ok::<_, Infallible>(site.answer(request).await) });
            let mut builder = hyper::server::conn::http1::Builder::new();
            // As long as the others let a connection rest; hyper's own 30 s may be over before the last of 10,000 is open.
            builder.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(75));
            builder.pipeline_flush(site.mode == "pipelined");
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
