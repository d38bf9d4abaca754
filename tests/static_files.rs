//! `StaticFiles`: files for everybody, and nothing else.

use purlin::http::Request as HttpRequest;
use purlin::http::request::Builder;
use purlin::layers::StaticFiles;
use purlin::{Assets, Body, HeaderValue, Response, Router, Service, Stack, get, site::Life};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// A folder that is removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("purlin-static-{}-{n}", std::process::id()));
        fs::create_dir_all(path.join("public/docs")).unwrap();
        let folder = Self(path);
        folder.write("secret.txt", b"not public");
        folder.write("public/site.css", b"body { color: teal }");
        folder.write("public/robots.txt", b"User-agent: *\n");
        folder.write("public/docs/index.html", b"<h1>Docs</h1>");
        folder.write("public/.env", b"TOKEN=1");
        folder.write("public/résumé.txt", "résumé".as_bytes());
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).unwrap();
    }

    fn public(&self) -> Assets {
        Assets::folder(self.0.join("public"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn app(assets: Assets) -> impl Service {
    Stack::new().layer(StaticFiles::new(assets)).app(Router::new().route("/", get(async || "home")))
}

async fn ask(app: &impl Service, path: &str, with: impl FnOnce(Builder) -> Builder) -> Response {
    app.call(with(HttpRequest::get(path)).body(Body::empty()).unwrap()).await
}

async fn plain(app: &impl Service, path: &str) -> Response {
    ask(app, path, |req| req).await
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn bytes(response: Response) -> Vec<u8> {
    response.into_body().collect(1 << 30).await.unwrap().to_vec()
}

#[tokio::test]
async fn a_file_comes_with_all_its_headers_and_everything_else_passes() {
    let folder = Folder::new();
    for assets in [folder.public(), Assets::embedded(&[("site.css", b"body { color: teal }")])] {
        let app = app(assets);
        let response = plain(&app, "/static/site.css").await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "content-type"), "text/css; charset=utf-8");
        assert_eq!(header(&response, "cache-control"), "no-cache");
        assert_eq!(header(&response, "accept-ranges"), "bytes");
        assert!(header(&response, "etag").starts_with('"'));
        assert_eq!(bytes(response).await, b"body { color: teal }");
        assert_eq!(bytes(plain(&app, "/").await).await, b"home");
        assert_eq!(plain(&app, "/static/none.css").await.status(), 404);
        let post = HttpRequest::post("/static/site.css").body(Body::empty()).unwrap();
        assert_eq!(app.call(post).await.status(), 404, "another method is the application's");
    }
}

#[tokio::test]
async fn nothing_outside_of_the_folder_and_nothing_hidden_is_served() {
    let folder = Folder::new();
    let app = app(folder.public());
    let paths = [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/%2E%2E/secret.txt",
        "/static/..%2fsecret.txt",
        "/static/..%5csecret.txt",
        "/static/%252e%252e/secret.txt",
        "/static/%c0%ae%c0%ae/secret.txt",
        "/static/docs/../../secret.txt",
        "/static//secret.txt",
        "/static/./site.css",
        "/static/.env",
        "/static/%2eenv",
        "/static/docs/%2e%2e/%2e%2e/secret.txt",
        "/static/site.css%00.html",
        "/static/C:/secret.txt",
        "/static/site.css/",
        "/static/site.css/index.html",
        "/static/\u{2025}/secret.txt",
        "/static",
        "/static/",
        "/secret.txt",
        "/.env",
    ];
    for path in paths {
        let uri: String = path.chars().map(|c| if c.is_ascii() { c.to_string() } else { "%E2%80%A5".into() }).collect();
        let response = plain(&app, &uri).await;
        assert_eq!(response.status(), 404, "{path}");
    }
    let long = format!("/static/{}", "a".repeat(5000));
    assert_eq!(plain(&app, &long).await.status(), 404);
    assert_eq!(plain(&app, "/static/r%C3%A9sum%C3%A9.txt").await.status(), 200, "an encoded name is a name");
}

#[tokio::test]
async fn conditional_requests_save_the_body() {
    let folder = Folder::new();
    let app = app(folder.public());
    let first = plain(&app, "/static/site.css").await;
    let (etag, modified) = (header(&first, "etag").to_owned(), header(&first, "last-modified").to_owned());
    let table = [
        ("if-none-match", etag.clone(), 304),
        ("if-none-match", format!("W/{etag}"), 304),
        ("if-none-match", "*".into(), 304),
        ("if-none-match", "\"other\"".into(), 200),
        ("if-modified-since", modified.clone(), 304),
        ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT".into(), 200),
        ("if-match", etag.clone(), 200),
        ("if-match", "\"other\"".into(), 412),
        ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT".into(), 412),
    ];
    for (name, value, status) in table {
        let response = ask(&app, "/static/site.css", |req| req.header(name, &value)).await;
        assert_eq!(response.status(), status, "{name}: {value}");
        assert_eq!(header(&response, "etag"), etag, "{name}: {value}");
        if status != 200 {
            assert!(response.body().is_empty());
        }
    }
}

#[tokio::test]
async fn an_edit_shows_at_once() {
    let folder = Folder::new();
    let app = app(folder.public());
    let before = header(&plain(&app, "/static/site.css").await, "etag").to_owned();
    folder.write("public/site.css", b"body { color: tomato }");
    let after = plain(&app, "/static/site.css").await;
    assert_ne!(header(&after, "etag"), before);
    assert_eq!(bytes(after).await, b"body { color: tomato }");
    fs::remove_file(folder.0.join("public/site.css")).unwrap();
    assert_eq!(plain(&app, "/static/site.css").await.status(), 404);
}

#[cfg(unix)]
#[tokio::test]
async fn another_file_in_its_place_shows_at_once_though_it_has_its_time_and_length() {
    let folder = Folder::new();
    let app = app(folder.public());
    let path = folder.0.join("public/site.css");
    let (old, new) = (fs::read(&path).unwrap(), folder.0.join("new.css"));
    assert_eq!(bytes(plain(&app, "/static/site.css").await).await, old);
    let changed = old.to_ascii_uppercase();
    assert_ne!(changed, old);
    folder.write("new.css", &changed);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&new).unwrap().set_modified(modified).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(bytes(plain(&app, "/static/site.css").await).await, changed);
}

/// So many bytes in which every offset can be told.
fn numbered(length: usize) -> Vec<u8> {
    (0u32..).flat_map(|n| n.to_be_bytes()).take(length).collect()
}

#[tokio::test]
async fn ranges_are_the_bytes_asked_for_of_small_and_large_files() {
    let folder = Folder::new();
    for (name, length) in [("small.bin", 10_000), ("large.bin", 1_500_000)] {
        let content = numbered(length);
        folder.write(&format!("public/{name}"), &content);
        let app = app(folder.public());
        let path = format!("/static/{name}");
        assert_eq!(bytes(plain(&app, &path).await).await, content);
        let table = [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=9000-", 9000, length),
            ("bytes=-7", length - 7, length),
            ("bytes=5000-99999999999", 5000, length),
        ];
        for (range, start, end) in table {
            let response = ask(&app, &path, |req| req.header("range", range)).await;
            assert_eq!(response.status(), 206, "{range}");
            assert_eq!(header(&response, "content-range"), format!("bytes {start}-{}/{length}", end - 1));
            assert_eq!(response.body().len(), Some((end - start) as u64));
            assert_eq!(bytes(response).await, &content[start..end], "{name} {range}");
        }
        let several = ask(&app, &path, |req| req.header("range", "bytes=0-3, 8000-8003")).await;
        assert_eq!(several.status(), 206);
        let boundary =
            header(&several, "content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
        let announced = several.body().len().unwrap();
        let body = bytes(several).await;
        assert_eq!(body.len() as u64, announced);
        let part = |range: &str, bytes: &[u8]| {
            let head = format!(
                "--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {range}/{length}\r\n\r\n"
            );
            [head.as_bytes(), bytes, b"\r\n"].concat()
        };
        let parts = [part("0-3", &content[..4]), part("8000-8003", &content[8000..8004])].concat();
        assert_eq!(body, [parts, format!("--{boundary}--\r\n").into_bytes()].concat());

        let beyond = ask(&app, &path, |req| req.header("range", format!("bytes={length}-"))).await;
        assert_eq!(beyond.status(), 416);
        assert_eq!(header(&beyond, "content-range"), format!("bytes */{length}"));
        let etag = header(&beyond, "etag").to_owned();
        let current = ask(&app, &path, |req| req.header("range", "bytes=0-0").header("if-range", &etag)).await;
        assert_eq!(current.status(), 206);
        let outdated = ask(&app, &path, |req| req.header("range", "bytes=0-0").header("if-range", "\"old\"")).await;
        assert_eq!(outdated.status(), 200);
    }
}

#[tokio::test]
async fn a_large_file_is_streamed_in_pieces() {
    let folder = Folder::new();
    folder.write("public/large.bin", &numbered(1_000_000));
    let app = app(folder.public());
    let response = plain(&app, "/static/large.bin").await;
    assert_eq!(response.body().len(), Some(1_000_000));
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        assert!(frame.unwrap().into_data().unwrap().len() <= 128 * 1024);
    }
    let head = HttpRequest::head("/static/large.bin").body(Body::empty()).unwrap();
    let response = app.call(head).await;
    assert_eq!(header(&response, "content-length"), "1000000");
}

#[tokio::test]
async fn an_encoded_sibling_is_sent_to_those_who_accept_it() {
    let folder = Folder::new();
    folder.write("public/site.css.gz", b"gzip bytes");
    folder.write("public/site.css.br", b"brotli bytes");
    let app = app(folder.public());
    let table = [
        ("gzip, br", "br", "brotli bytes"),
        ("gzip", "gzip", "gzip bytes"),
        ("br;q=0, gzip", "gzip", "gzip bytes"),
        ("zstd", "", "body { color: teal }"),
    ];
    let mut tags = Vec::new();
    for (accept, coding, content) in table {
        let response = ask(&app, "/static/site.css", |req| req.header("accept-encoding", accept)).await;
        assert_eq!(header(&response, "content-encoding"), coding, "{accept}");
        assert_eq!(header(&response, "vary"), "accept-encoding");
        assert_eq!(header(&response, "content-type"), "text/css; charset=utf-8");
        tags.push(header(&response, "etag").to_owned());
        assert_eq!(bytes(response).await, content.as_bytes(), "{accept}");
    }
    assert!(tags[0] != tags[1] && tags[1] == tags[2] && tags[2] != tags[3], "a tag for each coding: {tags:?}");
}

#[tokio::test]
async fn a_sibling_older_than_its_file_is_not_sent() {
    let folder = Folder::new();
    folder.write("public/site.css.gz", b"what it was");
    let old = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(folder.0.join("public/site.css.gz")).unwrap().set_modified(old).unwrap();
    let response = ask(&app(folder.public()), "/static/site.css", |req| req.header("accept-encoding", "gzip")).await;
    assert_eq!(header(&response, "content-encoding"), "");
}

fn started(app: &impl Service, name: &str) -> purlin::Result<String> {
    let life = Life::start(app)?;
    life.site().shared::<purlin::StaticUrls>().unwrap().url(name)
}

#[tokio::test]
async fn a_fingerprinted_url_is_kept_for_ever_and_an_old_one_is_not() {
    let folder = Folder::new();
    let app = app(folder.public());
    let url = started(&app, "site.css").unwrap();
    assert!(
        url.starts_with("/static/site.") && url.ends_with(".css") && url.len() == "/static/site.css".len() + 13,
        "{url}"
    );
    let response = plain(&app, &url).await;
    assert_eq!(header(&response, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(bytes(response).await, b"body { color: teal }");
    folder.write("public/site.css", b"body { color: tomato }");
    let old = plain(&app, &url).await;
    assert_eq!((old.status().as_u16(), header(&old, "cache-control")), (200, "no-cache"));
    assert_ne!(started(&app, "site.css").unwrap(), url);
    let error = started(&app, "sitte.css").unwrap_err();
    assert_eq!(error.message(), "there is no public file `sitte.css`: did you mean `site.css`?");
}

#[tokio::test]
async fn a_folder_answers_with_its_index() {
    let folder = Folder::new();
    let app = app(folder.public());
    assert_eq!(bytes(plain(&app, "/static/docs/").await).await, b"<h1>Docs</h1>");
    let redirect = plain(&app, "/static/docs?page=1").await;
    assert_eq!((redirect.status().as_u16(), header(&redirect, "location")), (308, "/static/docs/?page=1"));
}

#[tokio::test]
async fn robots_find_their_file_at_the_root() {
    let folder = Folder::new();
    let app = app(folder.public());
    assert_eq!(bytes(plain(&app, "/robots.txt").await).await, b"User-agent: *\n");
    assert_eq!(plain(&app, "/site.css").await.status(), 404);
}

#[tokio::test]
async fn as_a_mounted_service_it_owns_its_paths() {
    let folder = Folder::new();
    let routes = Router::new().mount("/files", StaticFiles::new(folder.public()).service());
    let app = Stack::new().app(routes);
    assert_eq!(plain(&app, "/files/site.css").await.status(), 200);
    assert_eq!(plain(&app, "/files/none").await.status(), 404);
    let redirect = plain(&app, "/files/docs").await;
    assert_eq!(header(&redirect, "location"), "/files/docs/");
    let post = HttpRequest::post("/files/site.css").body(Body::empty()).unwrap();
    let response = app.call(post).await;
    assert_eq!(
        (response.status().as_u16(), response.headers().get("allow")),
        (405, Some(&HeaderValue::from_static("GET, HEAD")))
    );
}

#[test]
fn a_missing_folder_is_told_at_the_start() {
    let app = app(Assets::folder(Path::new("/no/such/folder")));
    let error = Life::start(&app).unwrap_err();
    assert!(error.message().contains("/no/such/folder"), "{error}");
}
