//! `FastCgi`: an application that asks a FastCGI server, as php-fpm, with the feature `cgi`; and FastCGI 1.0 itself.

mod exchange;
mod record;

pub use record::{Decoder, End, Kind, Protocol, Record, RecordError, pairs, put_pair, put_record, put_stream};

use crate::cgi::{Found, Input, RemoteUser, Script, Spool, Variables, channel, find, plain_path, split_mount};
use crate::hosts::Host;
use crate::request::RequestExt;
use crate::service::BoxFuture;
use crate::site::{Outline, Start};
use crate::{Context as _, Error, IntoResponse, Redirect, Request, Response, Result, Service};
use bytes::BytesMut;
#[cfg(feature = "wsgi")]
pub(crate) use exchange::Held;
use exchange::{Exchange, Pool};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Answers with what a FastCGI server answers, a responder of FastCGI 1.0: php-fpm, fcgiwrap, an application by itself.
///
/// - Without a [`root`](FastCgi::root), the server is one application, which stands where this is mounted: `SCRIPT_NAME` is the
///   mount's path, `PATH_INFO` the rest. With one, the path names a script below it, as PHP has it.
/// - What the server is told of the request are the [`Variables`] of CGI; what it answers is read as that of a CGI program
///   ([`HeadReader`](crate::cgi::HeadReader)), and may do without a `Content-Type`. Bodies are streamed both ways. The server may
///   answer before it has read everything. A body whose length is not known is held back until it is, as by
///   [`Cgi`](crate::cgi::Cgi).
/// - Its standard error goes to the log, with the request's id: 100 lines or 64 KiB a request.
/// - When the client leaves, the request is aborted (§5.4), and its connection closed.
/// - A script that is not there is not asked for: php-fpm, told of `/upload/cat.jpg/x.php`, would run the file `cat.jpg` where it may
///   guess (`cgi.fix_pathinfo`). See [`check_script`](FastCgi::check_script).
///
/// # Errors
///
/// Carried, as those of [`Cgi`](crate::cgi::Cgi), with the last lines of standard error: 502 Bad Gateway (RFC 9110 §15.6.3) where the
/// server cannot be reached, closes the connection, or answers something else; 504 where it is late; 503 with `Retry-After` where too
/// many requests wait for it, or it says that it has no room; 404 where there is no such script; the request body's own error. After the
/// head the answer breaks off. An address that is none is reported when the site starts.
///
/// ```no_run
/// use purlin::fastcgi::FastCgi;
/// use purlin::layers::StaticFiles;
/// use purlin::{Assets, Router, Stack};
///
/// // WordPress: what was uploaded is sent by this server, everything else by PHP; its themes and `wp-includes` need a mount each, too.
/// let php = FastCgi::at("unix:/run/php/php-fpm.sock").root("/srv/wordpress").front_controller("index.php");
/// let files = StaticFiles::new(Assets::folder("/srv/wordpress/wp-content/uploads")).service();
/// let routes = Router::new().mount("/blog/wp-content/uploads", files).mount("/blog", php);
/// let app = Stack::new().app(routes);
/// ```
#[derive(Clone)]
pub struct FastCgi {
    to: std::result::Result<Arc<dyn Connect>, String>,
    params: Vec<(String, Vec<u8>)>,
    root: Option<PathBuf>,
    index: String,
    front_controller: Option<String>,
    extension: String,
    check_script: bool,
    authorization: bool,
    cookies: bool,
    spool: Spool,
    limits: Limits,
    pool: Arc<Pool>,
    place: &'static Location<'static>,
}

#[derive(Clone, Debug)]
struct Limits {
    connect: Duration,
    answer: Duration,
    idle: Duration,
    connections: usize,
    keep: usize,
}

impl FastCgi {
    /// Asks the server at this address: `127.0.0.1:9000`, `php.internal:9000`, `unix:/run/php/php-fpm.sock`.
    #[track_caller]
    pub fn at(address: &str) -> Self {
        let place = Location::caller();
        let to = Address::parse(address).map(|address| Arc::new(address) as Arc<dyn Connect>).ok_or_else(|| {
            format!("FastCgi ({place}): expected an address as 127.0.0.1:9000 or unix:/run/php/php-fpm.sock, found {address:?}")
        });
        Self::new(to, place)
    }

    /// Asks whoever this connects to.
    #[allow(dead_code, reason = "for applications of the crate's own that speak FastCGI to their processes")]
    pub(crate) fn by(connector: Arc<dyn Connect>, place: &'static Location<'static>) -> Self {
        Self::new(Ok(connector), place)
    }

    fn new(to: std::result::Result<Arc<dyn Connect>, String>, place: &'static Location<'static>) -> Self {
        Self {
            to,
            params: Vec::new(),
            root: None,
            index: "index.php".to_owned(),
            front_controller: None,
            extension: ".php".to_owned(),
            check_script: true,
            authorization: false,
            cookies: true,
            spool: Spool::default(),
            limits: Limits {
                connect: Duration::from_secs(5),
                answer: Duration::from_secs(60),
                idle: Duration::from_secs(60),
                connections: 64,
                keep: 0,
            },
            pool: Arc::new(Pool::new(64)),
            place,
        }
    }

    /// The folder of the scripts, as `DOCUMENT_ROOT`. The path leads to the first file that ends in `.php`, and what follows is
    /// `PATH_INFO`. What is hidden (`.git`) or outside of the folder, be it by a symbolic link, is not there.
    pub fn root(mut self, folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        self.root = Some(std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
        self
    }

    /// The script of a folder, for paths that end in a slash; `index.php` by default.
    pub fn index(mut self, name: &str) -> Self {
        self.index = name.to_owned();
        self
    }

    /// The script, below the root, for every path that leads to none: it finds the path in `REQUEST_URI`. None by default, which is a
    /// 404.
    pub fn front_controller(mut self, script: &str) -> Self {
        self.front_controller = Some(script.trim_start_matches('/').to_owned());
        self
    }

    /// How the name of a script ends; `.php` by default.
    pub fn extension(mut self, extension: &str) -> Self {
        self.extension = format!(".{}", extension.trim_start_matches('.'));
        self
    }

    /// Whether a script has to be there before it is asked for; on by default. Off where the server has another file system: then the
    /// path is split after its first `.php`, and the server has to be told not to guess (`cgi.fix_pathinfo=0`,
    /// `security.limit_extensions`).
    pub fn check_script(mut self, check: bool) -> Self {
        self.check_script = check;
        self
    }

    /// One more parameter for the server, before that of the request with the same name: `("PHP_VALUE", "memory_limit=64M")`.
    pub fn param(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.params.push((name.to_owned(), value.into()));
        self
    }

    /// Whether it is given the header `Authorization`, with the client's password in it; off by default (RFC 3875 §4.1.18).
    pub fn authorization(mut self, pass: bool) -> Self {
        self.authorization = pass;
        self
    }

    /// Whether it is given the client's cookies; on by default.
    pub fn cookies(mut self, pass: bool) -> Self {
        self.cookies = pass;
        self
    }

    /// 64 MiB of a body whose length is not known before; then 413.
    pub fn max_held_body(mut self, bytes: u64) -> Self {
        self.spool.most = bytes;
        self
    }

    /// Whether a body whose length is not known is held back until it is; on by default. Without it, such a body is passed on as it
    /// comes, without a `CONTENT_LENGTH`: PHP takes that for none.
    pub fn hold_bodies(mut self, hold: bool) -> Self {
        self.spool.off = !hold;
        self
    }

    /// Where bodies are held back that are larger than 64 KiB; the system's folder of temporary files by default.
    pub fn temporary_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool.folder = folder.into();
        self
    }

    /// 5 seconds for one of the connections to be free, and for a new one to be there.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limits.connect = limit;
        self
    }

    /// 60 seconds for the head of the answer, from the moment when the last of the request was sent.
    pub fn answer_timeout(mut self, limit: Duration) -> Self {
        self.limits.answer = limit;
        self
    }

    /// 60 seconds for the next piece of the answer, which then breaks off.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle = limit;
        self
    }

    /// 64 requests to the server at the same time, each by a connection of its own. Clones share them.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.connections = connections.max(1);
        self.pool = Arc::new(Pool::new(self.limits.connections));
        self
    }

    /// How many idle connections are kept for the next request, for 10 seconds; none by default. A process of php-fpm is busy with a
    /// connection for as long as that is open: keep fewer than it has (`pm.max_children`), or others wait.
    ///
    /// A request that a kept connection has lost is sent again by a new one, if nothing of it was sent, or it is safe to (RFC 9110
    /// §9.2.2).
    pub fn keep(mut self, connections: usize) -> Self {
        self.limits.keep = connections;
        self
    }

    /// A connection for the next request, so that one which finds no server may go to another.
    #[cfg(feature = "wsgi")]
    pub(crate) async fn connected(&self) -> Result<Connected> {
        let to = self.to.as_ref().map_err(|problem| Error::internal(problem.clone()))?;
        match self.pool.take() {
            Some(kept) => Ok(kept),
            None => exchange::connect(&**to, &self.limits).await,
        }
    }

    pub(crate) async fn answer(&self, req: Request, connected: Option<Connected>) -> Result<Response> {
        let to = self.to.as_ref().map_err(|problem| Error::internal(problem.clone()))?;
        if req.method() == Method::CONNECT {
            return Err(Error::new(StatusCode::NOT_IMPLEMENTED, "an application by FastCGI opens no tunnels"));
        }
        let script = match self.script(&req)? {
            Asked::Script(script) => script,
            Asked::Folder => return Ok(with_slash(&req)),
        };
        let mut variables = Variables::of(&req, &script)?;
        if let Some(RemoteUser { scheme, user }) = RemoteUser::of(&req).await? {
            variables.user(&scheme, &user)?;
        }
        if self.authorization {
            variables.authorization(req.headers());
        }
        if !self.cookies {
            variables.remove("HTTP_COOKIE");
        }
        let id = req.id().cloned();
        let (mut head, body) = req.into_parts();
        let held = head.extensions.remove();
        let input = Input::of(body, &self.spool).await?;
        variables.length(input.length());
        for (name, value) in &self.params {
            variables.set(name.clone(), value.clone());
        }
        let mut params = BytesMut::new();
        for (name, value) in variables.iter() {
            put_pair(&mut params, name.as_bytes(), value);
        }
        let (output, answer) = channel(&head.method, false);
        let exchange = Exchange::new(to.clone(), self.pool.clone(), self.limits.clone(), id, output, held, connected);
        tokio::spawn(exchange.run(params.freeze(), input, head.method.is_safe()));
        answer.response(&head.extensions).await.map_err(|error| error.context(format!("asking {}", to.name())))
    }

    /// Which script a request is for.
    fn script(&self, req: &Request) -> Result<Asked> {
        let Some(root) = &self.root else { return Ok(Asked::Script(Script::mounted(req))) };
        let (prefix, path) = split_mount(req);
        let prefix: Vec<u8> = percent_decode_str(prefix).collect();
        let script = |name: &[u8], file: PathBuf, path_info: &str| {
            Asked::Script(Script {
                name: [&prefix, name].concat(),
                path_info: percent_decode_str(path_info).collect(),
                file: Some(file),
                root: Some(root.clone()),
            })
        };
        if self.check_script {
            let found = find(root, path, Some(&self.index))
                .map_err(|error| Error::from(error).context(format!("looking for a script in {}", root.display())))?;
            match found {
                Some(Found { file, end, added }) if file.to_string_lossy().ends_with(&self.extension) => {
                    let mut name: Vec<u8> = percent_decode_str(&path[..end]).collect();
                    name.extend(added.unwrap_or_default().into_bytes());
                    return Ok(script(&name, file, &path[end..]));
                }
                // Any other file is not the server's, nor what seems to be below it.
                Some(_) => {}
                None if !path.ends_with('/') && self.is_folder(root, path) => return Ok(Asked::Folder),
                None => {}
            }
        } else if let Some(plain) = plain_path(path) {
            if plain.ends_with('/') && !plain.contains(&format!("{}/", self.extension)) {
                let name = format!("{plain}{}", self.index);
                return Ok(script(name.as_bytes(), below(root, &name), ""));
            }
            if let Some(end) = self.split(&plain) {
                let (name, path_info) = plain.split_at(end);
                // Decoded already; what looks like an escape in it is none.
                let Asked::Script(mut script) = script(name.as_bytes(), below(root, name), "") else {
                    return Err(Error::internal("a script is no folder"));
                };
                script.path_info = path_info.as_bytes().to_vec();
                return Ok(Asked::Script(script));
            }
        }
        match &self.front_controller {
            Some(front) => Ok(script(format!("/{front}").as_bytes(), root.join(front), "")),
            None => Err(Error::not_found(format!("no script for {path} in {}", root.display()))),
        }
    }

    /// Where the name of the first script in a path ends.
    fn split(&self, path: &str) -> Option<usize> {
        let mut ends = path.match_indices(&self.extension).map(|(at, extension)| at + extension.len());
        ends.find(|end| path[*end..].is_empty() || path[*end..].starts_with('/'))
    }

    fn is_folder(&self, root: &Path, path: &str) -> bool {
        plain_path(path).is_some_and(|path| below(root, &path).is_dir())
    }
}

/// What a path asks for.
enum Asked {
    Script(Script),
    /// A folder, without the slash at its end.
    Folder,
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn with_slash(req: &Request) -> Response {
    let path = req.original_path().trim_start_matches('/');
    let query = req.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::permanent(format!("/{path}/{query}")).into_response()
}

impl Service for FastCgi {
    async fn call(&self, req: Request) -> Response {
        // Boxed, so that other answers of the router above have no room kept for it.
        Box::pin(self.answer(req, None)).await.into_response()
    }

    fn describe(&self, outline: &mut Outline) {
        if let Err(problem) = &self.to {
            outline.problem(problem);
        }
        outline.application::<Self>(self.place);
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        match &self.root {
            Some(root) if self.check_script && !root.is_dir() => Err(Error::internal(format!(
                "FastCgi ({}): expected a folder, found none at {}",
                self.place,
                root.display()
            ))),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for FastCgi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.to.as_ref().map_or_else(Clone::clone, |to| to.name());
        f.debug_struct("FastCgi")
            .field("to", &to)
            .field("root", &self.root)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Connects to a FastCGI server, for each connection anew.
pub(crate) trait Connect: Send + Sync + 'static {
    /// A connection, on which nothing was said yet.
    fn connect(&self) -> BoxFuture<'_, Result<Connected>>;

    /// What errors call the server.
    fn name(&self) -> String;
}

/// A connection to a FastCGI server.
pub(crate) struct Connected {
    pub(crate) io: Box<dyn Duplex>,
    /// Dropped when it is closed.
    pub(crate) lease: Option<Box<dyn Any + Send>>,
}

/// Both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

#[derive(Debug, PartialEq)]
enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Address {
    fn parse(address: &str) -> Option<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            return (!path.is_empty() && !path.contains('\0')).then(|| Self::Unix(path.into()));
        }
        let host = Host::parse(address)?;
        let name = host.name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&host.name);
        Some(Self::Tcp(name.to_owned(), host.port?))
    }
}

impl Connect for Address {
    fn connect(&self) -> BoxFuture<'_, Result<Connected>> {
        Box::pin(async move {
            let io: Box<dyn Duplex> = match self {
                Self::Unix(path) => Box::new(UnixStream::connect(path).await.context("connecting")?),
                Self::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await.context("connecting")?;
                    // What is written is written whole; waiting for more would only delay it.
                    let _ = stream.set_nodelay(true);
                    Box::new(stream)
                }
            };
            Ok(Connected { io, lease: None })
        })
    }

    fn name(&self) -> String {
        match self {
            Self::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp(host, port) => format!("{host}:{port}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;
    use crate::request::OriginalUri;

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_unix_socket() {
        let tcp = |host: &str, port| Some(Address::Tcp(host.to_owned(), port));
        let table = [
            ("127.0.0.1:9000", tcp("127.0.0.1", 9000)),
            ("[::1]:9000", tcp("::1", 9000)),
            ("php.internal:9000", tcp("php.internal", 9000)),
            ("unix:/run/php.sock", Some(Address::Unix("/run/php.sock".into()))),
            ("unix:", None),
            ("127.0.0.1", None),
            ("http://127.0.0.1:9000", None),
            ("", None),
        ];
        for (address, expected) in table {
            assert_eq!(Address::parse(address), expected, "{address}");
        }
    }

    /// Name, file below the root and path info of what a path asks for; for a folder, `/`.
    fn asked(php: &FastCgi, mount: &str, path: &str) -> Option<String> {
        let own = if path.is_empty() { "/" } else { path };
        let mut req = http::Request::get(own).body(Body::empty()).unwrap();
        if !mount.is_empty() {
            req.extensions_mut().insert(OriginalUri(format!("{mount}{path}").parse().unwrap()));
        }
        match php.script(&req).ok()? {
            Asked::Folder => Some("/".to_owned()),
            Asked::Script(script) => {
                let file = script.file.unwrap();
                let file = file.strip_prefix(php.root.as_ref().unwrap()).unwrap().display().to_string();
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                Some(format!("{} {file} {}", text(script.name), text(script.path_info)).trim_end().to_owned())
            }
        }
    }

    #[test]
    fn a_path_is_split_after_a_script_that_is_there() {
        let root = std::env::temp_dir().join(format!("purlin-fastcgi-{}", std::process::id()));
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::create_dir_all(root.join("dir.php")).unwrap();
        std::fs::create_dir_all(root.join(".git")).unwrap();
        for file in ["index.php", "a.php", "cat.jpg", "sub/index.php", "dir.php/b.php", ".git/x.php", "c d.php"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("/etc/hostname", root.join("out.php")).unwrap();
        let checked = FastCgi::at("127.0.0.1:1").root(&root);
        let front = checked.clone().front_controller("/index.php");
        let blind = checked.clone().check_script(false);
        let table = [
            // path, with the script checked, with a front controller too, unchecked
            ("/a.php", Some("/a.php a.php"), Some("/a.php a.php"), Some("/a.php a.php")),
            ("/a.php/x/y", Some("/a.php a.php /x/y"), Some("/a.php a.php /x/y"), Some("/a.php a.php /x/y")),
            ("/a.php/x.php", Some("/a.php a.php /x.php"), Some("/a.php a.php /x.php"), Some("/a.php a.php /x.php")),
            ("/c%20d.php", Some("/c d.php c d.php"), Some("/c d.php c d.php"), Some("/c d.php c d.php")),
            ("/", Some("/index.php index.php"), Some("/index.php index.php"), Some("/index.php index.php")),
            (
                "/sub/",
                Some("/sub/index.php sub/index.php"),
                Some("/sub/index.php sub/index.php"),
                Some("/sub/index.php sub/index.php"),
            ),
            ("/sub", Some("/"), Some("/"), None),
            (
                "/dir.php/b.php",
                Some("/dir.php/b.php dir.php/b.php"),
                Some("/dir.php/b.php dir.php/b.php"),
                Some("/dir.php dir.php /b.php"),
            ),
            ("/no.php", None, Some("/index.php index.php"), Some("/no.php no.php")),
            ("/pretty/url", None, Some("/index.php index.php"), None),
            ("/cat.jpg", None, Some("/index.php index.php"), None),
            // The old hole: a file that is no script, with a name of one below it.
            ("/cat.jpg/x.php", None, Some("/index.php index.php"), Some("/cat.jpg/x.php cat.jpg/x.php")),
            ("/a.php%00.jpg", None, Some("/index.php index.php"), None),
            ("/../a.php", None, Some("/index.php index.php"), None),
            ("/sub%2f..%2fa.php", None, Some("/index.php index.php"), None),
            ("/.git/x.php", None, Some("/index.php index.php"), None),
            ("/out.php", None, Some("/index.php index.php"), Some("/out.php out.php")),
        ];
        for (path, expected, with_front, unchecked) in table {
            assert_eq!(asked(&checked, "", path).as_deref(), expected, "{path}");
            assert_eq!(asked(&front, "", path).as_deref(), with_front, "{path}");
            assert_eq!(asked(&blind, "", path).as_deref(), unchecked, "{path}");
        }
        assert_eq!(asked(&checked, "/blog", "/a.php/x").as_deref(), Some("/blog/a.php a.php /x"));
        assert_eq!(asked(&checked, "/blog", "").as_deref(), Some("/"));
        std::fs::remove_dir_all(root).unwrap();
    }
}
