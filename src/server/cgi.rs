//! One request, by CGI/1.1 (RFC 3875): the application is the program that a web server starts for it.

use super::Server;
use crate::capabilities::Capabilities;
use crate::cgi::RemoteUser;
use crate::request::{Https, OriginalUri};
use crate::site::Life;
use crate::{Body, BoxService, Connection, Context as _, Error, Request, Response, Result, Service};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use http_body::{Frame, SizeHint};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, Stdin};

impl Server {
    /// Answers the one request for which a web server has started this process as a CGI program: it is in the environment and in
    /// standard input, and the answer goes to standard output, as it is made. [`run`](crate::run()) does so by itself where
    /// `GATEWAY_INTERFACE` is in the environment.
    ///
    /// The application stands where the server has the program, as below a mount. It finds
    /// [`Capabilities::run_once`]: what it keeps in memory is gone after the answer. `REMOTE_USER` is in the extensions, as a
    /// [`RemoteUser`]. The header `Proxy` is not passed on (httpoxy); but a library that heeds `HTTP_PROXY` in the environment of this
    /// process still finds it there, if the web server lets it through.
    ///
    /// Of the server's options [`drain`](Server::drain) counts, for the application's background work.
    ///
    /// # Errors
    ///
    /// An application that cannot start, an environment without a request, an answer that broke off: the program should then end with
    /// a status that is not 0, which tells the web server.
    pub async fn answer_cgi(&self, app: impl Service + 'static) -> Result<()> {
        let app = BoxService::new(app);
        let capabilities = Capabilities::new().processes(true).run_once(true);
        let life = match Life::start_at(&app, Vec::new(), "", Some(capabilities)) {
            Ok(life) => life,
            Err(failed) => return Err(failed.told().await),
        };
        let answered = answer(&app, capabilities).await;
        for task in life.end(self.drain).await {
            tracing::warn!(target: "purlin::server", task, "background work did not end: cut");
        }
        answered
    }
}

async fn answer(app: &BoxService, capabilities: Capabilities) -> Result<()> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((str::from_utf8(name.as_bytes()).ok()?.to_owned(), value.into_vec())))
        .collect();
    let gateway = Gateway(environment);
    let stdout = tokio::io::stdout();
    let request =
        match gateway.request(capabilities, |length| Body::new(Arriving { stdin: tokio::io::stdin(), left: length })) {
            Ok(request) => request,
            Err(error) => {
                // A client can bring that about: it is answered.
                let bad = error.status() == StatusCode::BAD_REQUEST;
                return if bad { write(Response::from(error), false, stdout).await } else { Err(error) };
            }
        };
    let head = request.method() == Method::HEAD;
    write(app.call(request).await, head, stdout).await
}

/// Writes an answer: the head as RFC 3875 §6 has it, and each piece of the body as soon as it is there.
async fn write(response: Response, is_head: bool, mut to: impl AsyncWrite + Unpin) -> Result<()> {
    let (parts, mut body) = response.into_parts();
    let mut head = head_of(&parts, &body);
    let writing = async {
        to.write_all(&head.split()).await?;
        to.flush().await
    };
    if writing.await.is_err() || is_head {
        // Nobody waits for it any more.
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.context("an answer failed midway")?.into_data() else { continue };
        let writing = async {
            to.write_all(&piece).await?;
            to.flush().await
        };
        if writing.await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn head_of(parts: &http::response::Parts, body: &Body) -> BytesMut {
    let mut head = BytesMut::with_capacity(512);
    let mut line = |name: &[u8], value: &[u8]| {
        head.put_slice(name);
        head.put_slice(b": ");
        head.put_slice(value);
        head.put_slice(b"\r\n");
    };
    // Always: a path in `Location` alone were for the web server, and not for the client (§6.2.2).
    let status = format!("{} {}", parts.status.as_u16(), parts.status.canonical_reason().unwrap_or("Status"));
    line(b"Status", status.as_bytes());
    for (name, value) in &parts.headers {
        const CONNECTION: [&str; 6] = ["connection", "keep-alive", "trailer", "transfer-encoding", "upgrade", "status"];
        if !CONNECTION.contains(&name.as_str()) {
            line(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let empty = http_body::Body::is_end_stream(body);
    if !parts.headers.contains_key(CONTENT_TYPE) && !bodiless && !empty {
        // §6.3.1
        line(b"content-type", b"application/octet-stream");
    }
    if let Some(length) = body.len().filter(|_| !bodiless && !parts.headers.contains_key(CONTENT_LENGTH)) {
        line(b"content-length", length.to_string().as_bytes());
    }
    head.put_slice(b"\r\n");
    head
}

/// The environment of a CGI program.
struct Gateway(BTreeMap<String, Vec<u8>>);

impl Gateway {
    /// What it says, unless that is nothing (§4.1: an empty value is none).
    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<&str> {
        str::from_utf8(self.bytes(name)?).ok()
    }

    fn request(&self, capabilities: Capabilities, body: impl FnOnce(u64) -> Body) -> Result<Request> {
        let method = self.text("REQUEST_METHOD");
        let method = method.context("expected REQUEST_METHOD in the environment of a CGI program, found none")?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad("the method", method))?;
        let length = match self.bytes("CONTENT_LENGTH") {
            None => 0,
            Some(text) => {
                let digits = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let length = digits.and_then(|digits| digits.parse().ok());
                length.ok_or_else(|| bad("CONTENT_LENGTH", &String::from_utf8_lossy(text)))?
            }
        };
        let mut req = Request::new(if length == 0 { Body::empty() } else { body(length) });
        *req.method_mut() = method;
        *req.version_mut() = match self.text("SERVER_PROTOCOL") {
            Some("HTTP/1.0") => Version::HTTP_10,
            Some("HTTP/2.0" | "HTTP/2") => Version::HTTP_2,
            Some("HTTP/3.0" | "HTTP/3") => Version::HTTP_3,
            _ => Version::HTTP_11,
        };
        let (mount, own) = self.path();
        let query = self.text("QUERY_STRING").map(|query| format!("?{query}")).unwrap_or_default();
        let uri = |path: &str| {
            let path = if path.is_empty() { "/" } else { path };
            let target = format!("{path}{query}");
            Uri::try_from(&target).map_err(|_| bad("the target", &target))
        };
        *req.uri_mut() = uri(&own)?;
        if !mount.is_empty() {
            req.extensions_mut().insert(OriginalUri(uri(&format!("{mount}{own}"))?));
        }
        self.headers(&mut req, length);
        if matches!(self.text("HTTPS"), Some(https) if !https.eq_ignore_ascii_case("off")) {
            req.extensions_mut().insert(Https);
        }
        let address = |ip: &str, port: &str| {
            let ip: IpAddr = self.text(ip)?.parse().ok()?;
            Some(SocketAddr::new(ip, self.text(port).and_then(|port| port.parse().ok()).unwrap_or(0)))
        };
        let connection = Connection::new(address("REMOTE_ADDR", "REMOTE_PORT"), address("SERVER_ADDR", "SERVER_PORT"));
        req.extensions_mut().insert(connection.with_capabilities(capabilities));
        if let Some(user) = self.text("REMOTE_USER") {
            let scheme = self.text("AUTH_TYPE").unwrap_or_default().to_owned();
            req.extensions_mut().insert(RemoteUser { scheme, user: user.to_owned() });
        }
        Ok(req)
    }

    /// The path of the mount that the web server has made of the program, and the rest, as the client has sent them.
    ///
    /// Where `REQUEST_URI` ends in `PATH_INFO` the mount is what stands before, also if rules of the web server have hidden the
    /// program's name. Else both are encoded anew.
    fn path(&self) -> (String, String) {
        let path_info = self.bytes("PATH_INFO").unwrap_or_default();
        let whole = self.text("REQUEST_URI").filter(|uri| uri.starts_with('/'));
        if let Some(whole) = whole.and_then(|uri| uri.split(['?', '#']).next()) {
            let ends = std::iter::once(whole.len()).chain(whole.rmatch_indices('/').map(|(at, _)| at));
            for at in ends {
                if percent_decode_str(&whole[at..]).eq(path_info.iter().copied()) {
                    return (whole[..at].to_owned(), whole[at..].to_owned());
                }
            }
        }
        let encoded = |bytes: &[u8]| percent_encode(bytes, NOT_IN_A_PATH).to_string();
        let name = encoded(self.bytes("SCRIPT_NAME").unwrap_or_default());
        (name.trim_end_matches('/').to_owned(), encoded(path_info))
    }

    fn headers(&self, req: &mut Request, length: u64) {
        let headers = req.headers_mut();
        for (name, value) in &self.0 {
            let Some(name) = name.strip_prefix("HTTP_") else { continue };
            let name = name.to_ascii_lowercase().replace('_', "-");
            // Those are told by variables of their own; the last one is none that a client should have sent.
            if matches!(name.as_str(), "content-length" | "content-type" | "transfer-encoding" | "proxy") {
                continue;
            }
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
                headers.insert(name, value);
            }
        }
        if let Some(kind) = self.bytes("CONTENT_TYPE").and_then(|kind| HeaderValue::from_bytes(kind).ok()) {
            headers.insert(CONTENT_TYPE, kind);
        }
        if length > 0 {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !headers.contains_key(HOST)
            && let Some(name) = self.text("SERVER_NAME")
        {
            let port = self.text("SERVER_PORT").filter(|port| !matches!(*port, "80" | "443"));
            let host = port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
            if let Ok(host) = HeaderValue::try_from(host) {
                headers.insert(HOST, host);
            }
        }
    }
}

/// What a URI's path cannot have as it is (RFC 3986 §3.3).
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

fn bad(what: &str, found: &str) -> Error {
    Error::bad_request(format!("expected {what} of a request in the environment, found {found:?}"))
}

/// The request's body: so many bytes of standard input, of which there may be more (§4.2).
struct Arriving {
    stdin: Stdin,
    left: u64,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let most = self.left.min(16 * 1024) as usize; // 16 KiB at most
        let mut bytes = vec![0; most];
        let mut read = ReadBuf::new(&mut bytes);
        if let Err(error) = ready!(Pin::new(&mut self.stdin).poll_read(cx, &mut read)) {
            return Poll::Ready(Some(Err(Error::from(error).context("reading the request's body"))));
        }
        let length = read.filled().len();
        if length == 0 {
            let message = format!("the request's body ended {} bytes before its length", self.left);
            self.left = 0;
            return Poll::Ready(Some(Err(Error::bad_request(message))));
        }
        self.left -= length as u64;
        bytes.truncate(length);
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IntoResponse, RequestExt};

    fn gateway(variables: &[(&str, &str)]) -> Gateway {
        Gateway(variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect())
    }

    fn request(variables: &[(&str, &str)]) -> Result<Request> {
        gateway(variables).request(Capabilities::new().run_once(true), |length| Body::from(vec![b'x'; length as usize]))
    }

    #[test]
    fn an_environment_is_a_request() {
        let req = request(&[
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/cgi-bin/site/a%20b?c=d"),
            ("SCRIPT_NAME", "/cgi-bin/site"),
            ("PATH_INFO", "/a b"),
            ("QUERY_STRING", "c=d"),
            ("SERVER_PROTOCOL", "HTTP/1.0"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REMOTE_USER", "anna"),
            ("AUTH_TYPE", "Basic"),
            ("HTTPS", "on"),
            ("CONTENT_TYPE", "a/b"),
            ("CONTENT_LENGTH", "3"),
            ("HTTP_X_LIST", "a, b"),
            ("HTTP_PROXY", "http://evil"),
            ("HTTP_CONTENT_LENGTH", "9"),
            ("HTTP_ACCEPT", ""),
            ("SECRET", "x"),
        ])
        .unwrap();
        assert_eq!((req.method(), req.uri().to_string().as_str()), (&Method::POST, "/a%20b?c=d"));
        assert_eq!((req.original_path(), req.version()), ("/cgi-bin/site/a%20b", Version::HTTP_10));
        assert_eq!((req.client_ip().unwrap().to_string().as_str(), req.is_https()), ("192.0.2.1", true));
        assert!(req.capabilities().unwrap().run_once);
        assert_eq!(req.extensions().get::<RemoteUser>().unwrap().user, "anna");
        assert_eq!(req.body().len(), Some(3));
        let mut headers: Vec<String> =
            req.headers().iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        headers.sort();
        assert_eq!(
            headers,
            ["accept=", "content-length=3", "content-type=a/b", "host=example.org:8080", "x-list=a, b"]
        );
    }

    #[test]
    fn the_program_is_a_mount() {
        // REQUEST_URI, SCRIPT_NAME, PATH_INFO: the path here, and the client's
        let table = [
            ("/site/a", "/site", "/a", "/a", "/site/a"),
            ("/site", "/site", "", "/", "/site"),
            ("/site/", "/site", "/", "/", "/site/"),
            ("/site/a%2Fb", "/site", "/a/b", "/a%2Fb", "/site/a%2Fb"),
            // Its name is hidden by the web server.
            ("/a/b", "/cgi-bin/site.cgi", "/a/b", "/a/b", "/a/b"),
            ("/blog/a", "/cgi-bin/site.cgi", "/a", "/a", "/blog/a"),
            // Not told, or not fitting
            ("", "/cgi-bin/s te", "/a?b%", "/a%3Fb%25", "/cgi-bin/s%20te/a%3Fb%25"),
            ("/else", "/site", "/a", "/a", "/site/a"),
            ("http://example.org/site/a", "/site", "/a", "/a", "/site/a"),
        ];
        for (uri, name, path_info, own, original) in table {
            let environment =
                [("REQUEST_METHOD", "GET"), ("REQUEST_URI", uri), ("SCRIPT_NAME", name), ("PATH_INFO", path_info)];
            let req = request(&environment).unwrap();
            assert_eq!((req.uri().path(), req.original_path()), (own, original), "{uri} {name} {path_info}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let table: [(&[(&str, &str)], u16); 4] = [
            (&[], 500),
            (&[("REQUEST_METHOD", "A B")], 400),
            (&[("REQUEST_METHOD", "GET"), ("CONTENT_LENGTH", "-1")], 400),
            (&[("REQUEST_METHOD", "GET"), ("QUERY_STRING", "a b")], 400),
        ];
        for (environment, status) in table {
            assert_eq!(request(environment).unwrap_err().status(), status, "{environment:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_written_as_a_program_writes_it() {
        let with = |status: u16, response: Response| {
            let mut response =
                response.with_header(HeaderName::from_static("connection"), HeaderValue::from_static("close"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        };
        use crate::ResponseExt;
        let table = [
            (
                with(200, "hello".into_response()),
                false,
                "Status: 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n\r\nhello",
            ),
            (
                with(200, "hello".into_response()),
                true,
                "Status: 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n\r\n",
            ),
            (with(204, Response::new(Body::empty())), false, "Status: 204 No Content\r\n\r\n"),
            (
                with(599, Response::new(Body::from("x"))),
                false,
                "Status: 599 Status\r\ncontent-type: application/octet-stream\r\ncontent-length: 1\r\n\r\nx",
            ),
            (
                with(303, crate::Redirect::see_other("/a").into_response()),
                false,
                "Status: 303 See Other\r\nlocation: /a\r\ncontent-length: 0\r\n\r\n",
            ),
        ];
        for (response, is_head, expected) in table {
            let mut written = Vec::new();
            write(response, is_head, &mut written).await.unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }
}
