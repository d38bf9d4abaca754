//! A request as meta-variables (RFC 3875 §4.1).

use crate::hosts::Host;
use crate::request::{OriginalUri, mount_prefix};
use crate::{Error, Request, RequestExt, Result};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// Which part of a request's path is the program, and which is for the program.
///
/// Both parts are decoded (§4.1.5, §4.1.13): bytes, since nothing says that they are text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The part that leads to the program, as `SCRIPT_NAME`: `/cgi-bin/report`; empty for one that stands at the root.
    pub name: Vec<u8>,
    /// The part after it, as `PATH_INFO`: `/2026/may`, or empty.
    pub path_info: Vec<u8>,
    /// The file that is run, as `SCRIPT_FILENAME`.
    pub file: Option<PathBuf>,
    /// The folder of the site's documents, as `DOCUMENT_ROOT`, below which `PATH_TRANSLATED` is.
    pub root: Option<PathBuf>,
}

impl Script {
    /// The program is the whole of the mount where it stands: `SCRIPT_NAME` is the mount's path, `PATH_INFO` the rest.
    pub fn mounted(req: &Request) -> Self {
        let (prefix, rest) = split_mount(req);
        Self { name: decoded(prefix), path_info: decoded(rest), ..Self::default() }
    }
}

/// The path as the client sent it: the mount's part, and the rest.
pub(crate) fn split_mount(req: &Request) -> (&str, &str) {
    let own = req.uri().path();
    let Some(OriginalUri(original)) = req.extensions().get() else { return ("", own) };
    let prefix = mount_prefix(req.extensions(), own);
    // Exactly the mount: the slash below it is none that the client sent.
    (prefix, &original.path()[prefix.len()..])
}

fn decoded(path: &str) -> Vec<u8> {
    percent_decode_str(path).collect()
}

/// Who sent a request, where something other than Purlin's own layers knows it: in the request's extensions, for `REMOTE_USER` and
/// `AUTH_TYPE`.
///
/// Below `BasicAuth`, `BearerAuth` and `SignIn` it need not be left: the account's `id` is taken, which nobody can choose as they
/// can a name.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUser {
    /// How that is known, as `AUTH_TYPE`: `Basic`.
    pub scheme: String,
    /// Who it is, as `REMOTE_USER`.
    pub user: String,
}

impl RemoteUser {
    /// What the extensions say, or the layers that sign in.
    pub(crate) async fn of(req: &Request) -> Result<Option<Self>> {
        if let Some(said) = req.extensions().get::<Self>() {
            return Ok(Some(said.clone()));
        }
        #[cfg(feature = "auth")]
        if let Ok(visitor) = crate::auth::Visitor::of(req) {
            let line = req.headers().get(AUTHORIZATION).and_then(|line| line.to_str().ok());
            let named = line.and_then(|line| line.split(' ').next()).unwrap_or_default();
            // Those that the layers take; any other is only what the client says.
            let scheme = ["Basic", "Bearer"].into_iter().find(|known| named.eq_ignore_ascii_case(known));
            let scheme = scheme.unwrap_or("Session").to_owned();
            return Ok(visitor.find().await?.map(|account| Self { scheme, user: account.id() }));
        }
        Ok(None)
    }
}

impl fmt::Debug for RemoteUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteUser").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// The meta-variables of a request: what a CGI program has in its environment, FastCGI sends as parameters, and WSGI calls its
/// `environ`.
///
/// Those of RFC 3875 §4.1:
///
/// | Variable | What it is |
/// |---|---|
/// | `AUTH_TYPE`, `REMOTE_USER` | of [`RemoteUser`]; not there where nobody is known |
/// | `CONTENT_LENGTH` | the bytes of the body, from [`length`](Variables::length); no other length is ever told |
/// | `CONTENT_TYPE` | the header |
/// | `GATEWAY_INTERFACE` | `CGI/1.1` |
/// | `PATH_INFO`, `SCRIPT_NAME` | of [`Script`], decoded |
/// | `PATH_TRANSLATED` | the document root with `PATH_INFO`; not there without either, or where that led out of the root |
/// | `QUERY_STRING` | as it was sent, or empty |
/// | `REMOTE_ADDR`, `REMOTE_HOST` | the client's address ([`RequestExt::client_ip`]); no names are looked up (§4.1.9). Empty where it is not known |
/// | `REMOTE_IDENT` | never: RFC 1413 is asked by nobody any more (§4.1.10 leaves that to the server) |
/// | `REQUEST_METHOD` | `GET` |
/// | `SERVER_NAME`, `SERVER_PORT` | of the header `Host`, and of the socket where there is none. A client can choose both |
/// | `SERVER_PROTOCOL` | `HTTP/1.1` |
/// | `SERVER_SOFTWARE` | `Purlin/0.1.0` |
/// | `HTTP_*` | the other headers; several of one name are joined by commas, `Cookie` by semicolons |
///
/// Those that are customary: `DOCUMENT_ROOT`, `SCRIPT_FILENAME`, `REQUEST_SCHEME`, `HTTPS` (`on`, or not there), `REQUEST_URI` (as the
/// client sent it), `REMOTE_PORT`, `SERVER_ADDR`, and `UNIQUE_ID` (the [`RequestId`](crate::RequestId)).
///
/// Not passed on of the headers: `Proxy`, which as `HTTP_PROXY` would tell many programs where to send their own requests
/// ([httpoxy](https://httpoxy.org)); names with anything but letters, digits and `-`, since `X_User` would be the same variable as
/// `X-User`; those of the connection; and what authenticates the client (§4.1.18): see [`authorization`](Variables::authorization).
///
/// `Debug` shows the names only.
///
/// ```
/// use purlin::cgi::{Script, Variables};
/// use purlin::{Body, http};
///
/// let req = http::Request::get("/report/may?draft=1").header("host", "example.org").body(Body::empty()).unwrap();
/// let script = Script { name: b"/report".to_vec(), path_info: b"/may".to_vec(), ..Script::default() };
/// let variables = Variables::of(&req, &script)?;
/// assert_eq!(variables.get("PATH_INFO"), Some(&b"/may"[..]));
/// assert_eq!(variables.get("QUERY_STRING"), Some(&b"draft=1"[..]));
/// assert_eq!(variables.get("HTTP_HOST"), Some(&b"example.org"[..]));
/// # Ok::<(), purlin::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(Vec<(Cow<'static, str>, Vec<u8>)>);

impl Variables {
    /// Those of a request.
    ///
    /// # Errors
    ///
    /// 400 for a path with a NUL in it, which no variable can hold.
    pub fn of(req: &Request, script: &Script) -> Result<Self> {
        let mut all = Self(Vec::with_capacity(24 + req.headers().len()));
        if script.name.contains(&0) || script.path_info.contains(&0) {
            return Err(Error::bad_request("expected a path, found one with a NUL in it"));
        }
        all.put("GATEWAY_INTERFACE", "CGI/1.1");
        all.put("SERVER_SOFTWARE", concat!("Purlin/", env!("CARGO_PKG_VERSION")));
        all.put("SERVER_PROTOCOL", protocol(req.version()));
        all.put("REQUEST_METHOD", req.method().as_str());
        all.put("QUERY_STRING", req.uri().query().unwrap_or_default());
        all.put("SCRIPT_NAME", script.name.as_slice());
        all.put("PATH_INFO", script.path_info.as_slice());
        let original = req.extensions().get::<OriginalUri>().map_or(req.uri(), |original| &original.0);
        all.put("REQUEST_URI", original.path_and_query().map_or("/", |target| target.as_str()));
        let https = req.is_https();
        all.put("REQUEST_SCHEME", if https { "https" } else { "http" });
        if https {
            all.put("HTTPS", "on");
        }
        all.server(req, https);
        all.client(req);
        if let Some(id) = req.id() {
            all.put("UNIQUE_ID", id.as_str());
        }
        if let Some(RemoteUser { scheme, user }) = req.extensions().get() {
            all.user(scheme, user)?;
        }
        all.files(script);
        all.headers(req.headers());
        Ok(all)
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_slice())
    }

    /// Sets one, in the place of another of its name.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Vec<u8>>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some(own) => own.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes one away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(own, _)| own != name);
    }

    /// Says how many bytes of body there are, as `CONTENT_LENGTH`: nothing for none, except where a method expects some.
    pub fn length(&mut self, length: Option<u64>) {
        match length {
            Some(0)
                if !["POST", "PUT", "PATCH"].iter().any(|with| self.get("REQUEST_METHOD") == Some(with.as_bytes())) => {
            }
            Some(length) => self.set("CONTENT_LENGTH", length.to_string()),
            None => {}
        }
    }

    /// Says who sent the request.
    ///
    /// # Errors
    ///
    /// 400 for a NUL.
    pub fn user(&mut self, scheme: &str, user: &str) -> Result<()> {
        if scheme.contains('\0') || user.contains('\0') {
            return Err(Error::bad_request("expected the name of a user, found a NUL in it"));
        }
        self.set("AUTH_TYPE", scheme);
        self.set("REMOTE_USER", user);
        Ok(())
    }

    /// Passes on the header `Authorization`, with the password in it, to a program that checks it by itself.
    pub fn authorization(&mut self, headers: &HeaderMap) {
        if let Some(line) = headers.get(AUTHORIZATION) {
            self.set("HTTP_AUTHORIZATION", line.as_bytes());
        }
    }

    /// All of them, each name once.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, value.as_slice()))
    }

    /// The names are known to be new.
    fn put(&mut self, name: &'static str, value: impl Into<Vec<u8>>) {
        self.0.push((Cow::Borrowed(name), value.into()));
    }

    fn server(&mut self, req: &Request, https: bool) {
        let local = req.connection().and_then(crate::Connection::local);
        let usual = if https { 443 } else { 80 };
        let (name, port) = match (Host::of(req), local) {
            (Some(host), _) => (host.name.into_owned(), host.port.unwrap_or(usual)),
            (None, Some(local)) => {
                let ip = local.ip().to_canonical();
                (if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }, local.port())
            }
            (None, None) => ("localhost".to_owned(), usual),
        };
        self.put("SERVER_NAME", name);
        self.put("SERVER_PORT", port.to_string());
        if let Some(local) = local {
            self.put("SERVER_ADDR", local.ip().to_canonical().to_string());
        }
    }

    fn client(&mut self, req: &Request) {
        let client = req.client_ip();
        let address = client.map(|ip| ip.to_string()).unwrap_or_default();
        self.put("REMOTE_HOST", address.as_str());
        self.put("REMOTE_ADDR", address);
        // The port of a proxy is not the client's.
        let peer = req.connection().and_then(crate::Connection::peer);
        if let Some(peer) = peer.filter(|peer| Some(peer.ip().to_canonical()) == client) {
            self.put("REMOTE_PORT", peer.port().to_string());
        }
    }

    fn files(&mut self, script: &Script) {
        use std::os::unix::ffi::OsStrExt;
        if let Some(file) = &script.file {
            self.put("SCRIPT_FILENAME", file.as_os_str().as_bytes());
        }
        if let Some(root) = &script.root {
            let root = root.as_os_str().as_bytes();
            self.put("DOCUMENT_ROOT", root);
            let leads_up = script.path_info.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b"..");
            if !script.path_info.is_empty() && !leads_up {
                self.put("PATH_TRANSLATED", [root.strip_suffix(b"/").unwrap_or(root), &script.path_info].concat());
            }
        }
    }

    fn headers(&mut self, headers: &HeaderMap) {
        if let Some(line) = headers.get(CONTENT_TYPE) {
            self.put("CONTENT_TYPE", line.as_bytes());
        }
        for name in headers.keys() {
            if !is_passed_on(name) {
                continue;
            }
            let between: &[u8] = if name == COOKIE { b"; " } else { b", " };
            let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            let variable: String = name
                .as_str()
                .chars()
                .map(|letter| if letter == '-' { '_' } else { letter.to_ascii_uppercase() })
                .collect();
            self.0.push((format!("HTTP_{variable}").into(), lines.join(between)));
        }
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Whether a header becomes a variable `HTTP_*`.
fn is_passed_on(name: &HeaderName) -> bool {
    const NOT: [&str; 14] = [
        "authorization",
        "proxy-authorization",
        "proxy",
        "content-length",
        "content-type",
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "expect",
    ];
    let plain = name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && !NOT.contains(&name.as_str())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Https;
    use crate::{Body, Connection, RequestId};
    use std::net::SocketAddr;

    fn request(build: http::request::Builder) -> Request {
        build.body(Body::empty()).unwrap()
    }

    fn of(req: &Request) -> Variables {
        Variables::of(req, &Script::mounted(req)).unwrap()
    }

    fn text(variables: &Variables, name: &str) -> Option<String> {
        variables.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn a_request_becomes_each_variable_of_the_rfc_and_the_customary_ones() {
        let peer: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let local: SocketAddr = "198.51.100.1:8080".parse().unwrap();
        let mut req = request(
            http::Request::post("/may/a%20b?draft=1&x=%20")
                .header("host", "Example.org:8443")
                .header("content-type", "text/plain")
                .header("content-length", "99")
                .header("accept", "text/html")
                .header("x-list", "a")
                .header("x-list", "b")
                .header("cookie", "a=1")
                .header("cookie", "b=2"),
        );
        let whole = "/cgi-bin/r%C3%A9port/may/a%20b?draft=1&x=%20";
        req.extensions_mut().insert(OriginalUri(whole.parse().unwrap()));
        req.extensions_mut().insert(Connection::new(Some(peer), Some(local)));
        req.extensions_mut().insert(Https);
        req.extensions_mut().insert(RequestId::new("r-1").unwrap());
        req.extensions_mut().insert(RemoteUser { scheme: "Basic".into(), user: "anna".into() });
        let mut script = Script::mounted(&req);
        script.file = Some("/srv/cgi/report".into());
        script.root = Some("/srv/www/".into());
        let mut variables = Variables::of(&req, &script).unwrap();
        variables.length(Some(5));
        let expected = [
            ("AUTH_TYPE", "Basic"),
            ("CONTENT_LENGTH", "5"),
            ("CONTENT_TYPE", "text/plain"),
            ("DOCUMENT_ROOT", "/srv/www/"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("HTTPS", "on"),
            ("HTTP_ACCEPT", "text/html"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_HOST", "Example.org:8443"),
            ("HTTP_X_LIST", "a, b"),
            ("PATH_INFO", "/may/a b"),
            ("PATH_TRANSLATED", "/srv/www/may/a b"),
            ("QUERY_STRING", "draft=1&x=%20"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REMOTE_HOST", "192.0.2.7"),
            ("REMOTE_PORT", "4711"),
            ("REMOTE_USER", "anna"),
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_SCHEME", "https"),
            ("REQUEST_URI", whole),
            ("SCRIPT_FILENAME", "/srv/cgi/report"),
            ("SCRIPT_NAME", "/cgi-bin/réport"),
            ("SERVER_ADDR", "198.51.100.1"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8443"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_SOFTWARE", concat!("Purlin/", env!("CARGO_PKG_VERSION"))),
            ("UNIQUE_ID", "r-1"),
        ];
        let mut found: Vec<_> = variables.iter().map(|(name, value)| (name, str::from_utf8(value).unwrap())).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn headers_that_could_be_taken_for_others_or_are_none_of_its_business_are_left_out() {
        let table = [
            ("proxy", "HTTP_PROXY", false),
            ("x-proxy", "HTTP_X_PROXY", true),
            ("authorization", "HTTP_AUTHORIZATION", false),
            ("proxy-authorization", "HTTP_PROXY_AUTHORIZATION", false),
            ("x_user", "HTTP_X_USER", false),
            ("x-user", "HTTP_X_USER", true),
            ("x.user", "HTTP_X.USER", false),
            ("content_length", "HTTP_CONTENT_LENGTH", false),
            ("content-length", "HTTP_CONTENT_LENGTH", false),
            ("content-type", "HTTP_CONTENT_TYPE", false),
            ("transfer-encoding", "HTTP_TRANSFER_ENCODING", false),
            ("connection", "HTTP_CONNECTION", false),
            ("upgrade", "HTTP_UPGRADE", false),
            ("if-none-match", "HTTP_IF_NONE_MATCH", true),
            ("cookie", "HTTP_COOKIE", true),
        ];
        for (header, variable, passed) in table {
            let req = request(http::Request::get("/").header(header, "1"));
            assert_eq!(of(&req).get(variable).is_some(), passed, "{header}");
        }
        let req = request(http::Request::get("/").header("authorization", "Basic eDp5"));
        let mut variables = of(&req);
        variables.authorization(req.headers());
        assert_eq!(text(&variables, "HTTP_AUTHORIZATION").as_deref(), Some("Basic eDp5"));
        assert!(!format!("{variables:?}").contains("eDp5"));
    }

    #[test]
    fn the_path_is_split_where_the_mount_ends() {
        let table = [
            (None, "/", "", "/"),
            (None, "/a/b", "", "/a/b"),
            (Some("/cgi/report"), "/", "/cgi/report", ""),
            (Some("/cgi/report/"), "/", "/cgi/report", "/"),
            (Some("/cgi/report/a%2Fb"), "/a%2Fb", "/cgi/report", "/a/b"),
            (Some("/cgi/report/..%2f"), "/..%2f", "/cgi/report", "/../"),
        ];
        for (original, own, name, path_info) in table {
            let mut req = request(http::Request::get(own));
            if let Some(original) = original {
                req.extensions_mut().insert(OriginalUri(original.parse().unwrap()));
            }
            let script = Script::mounted(&req);
            assert_eq!((script.name.as_slice(), script.path_info.as_slice()), (name.as_bytes(), path_info.as_bytes()));
        }
    }

    #[test]
    fn a_path_is_translated_only_to_below_the_root() {
        let table = [
            ("", None),
            ("/a", Some("/srv/a")),
            ("/../etc/passwd", None),
            ("/a/../../b", None),
            ("/a..b", Some("/srv/a..b")),
        ];
        for (path_info, expected) in table {
            let script = Script { path_info: path_info.into(), root: Some("/srv".into()), ..Script::default() };
            let variables = Variables::of(&request(http::Request::get("/")), &script).unwrap();
            assert_eq!(text(&variables, "PATH_TRANSLATED").as_deref(), expected, "{path_info}");
        }
        let nul = Script { path_info: b"/a\0b".to_vec(), ..Script::default() };
        assert_eq!(Variables::of(&request(http::Request::get("/")), &nul).unwrap_err().status(), 400);
    }

    #[test]
    fn the_server_is_the_one_that_was_asked_for() {
        let local: SocketAddr = "[2001:db8::1]:8080".parse().unwrap();
        let table = [
            (Some("example.org"), false, "example.org", "80"),
            (Some("example.org"), true, "example.org", "443"),
            (Some("example.org:1"), true, "example.org", "1"),
            (Some("[::1]:1"), false, "[::1]", "1"),
            (Some("not a host"), false, "[2001:db8::1]", "8080"),
            (None, false, "[2001:db8::1]", "8080"),
        ];
        for (host, https, name, port) in table {
            let mut build = http::Request::get("/");
            if let Some(host) = host {
                build = build.header("host", host);
            }
            let mut req = request(build);
            req.extensions_mut().insert(Connection::new(None, Some(local)));
            if https {
                req.extensions_mut().insert(Https);
            }
            let variables = of(&req);
            assert_eq!(text(&variables, "SERVER_NAME").as_deref(), Some(name), "{host:?}");
            assert_eq!(text(&variables, "SERVER_PORT").as_deref(), Some(port), "{host:?}");
            assert_eq!(text(&variables, "REMOTE_ADDR").as_deref(), Some(""));
        }
    }
}
