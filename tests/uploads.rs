//! Forms with files: what is read, what is refused, what it may cost, and that nothing is left behind.

use futures_core::Stream;
use purlin::extract::{Multipart, MultipartForm};
use purlin::form::{Problems, Rules, Submitted};
use purlin::layers::{BodyLimit, Uploads};
use purlin::testing::{Client, Multipart as Form};
use purlin::upload::Upload;
use purlin::{
    Body, Bytes, Error, IntoResponse, Middleware, Request, Response, ResponseExt, Result, Router, Server, Service,
    Stack, State, StatusCode, get, handler, html, post,
};
use serde::Deserialize;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use std::{env, fs, process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// A folder of this test's own, which goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self::below(&env::temp_dir())
    }

    fn below(folder: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = folder.join(format!("purlin-uploads-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A body of pieces that arrive one after another; an error among them ends it, and at the end of a stalled one it stays.
struct Pieces {
    pieces: VecDeque<Result<Bytes>>,
    stalls: bool,
}

impl Pieces {
    /// A body cut into pieces of this length.
    fn of(body: &[u8], length: usize) -> Self {
        Self { pieces: body.chunks(length).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect(), stalls: false }
    }

    fn then(mut self, error: Error) -> Self {
        self.pieces.push_back(Err(error));
        self
    }

    fn stalled(self) -> Self {
        Self { stalls: true, ..self }
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.pieces.pop_front() {
            None if self.stalls => Poll::Pending,
            piece => Poll::Ready(piece),
        }
    }
}

/// The same piece over and over, after a beginning: as many of it as are asked for.
struct Repeated {
    beginning: Option<Bytes>,
    piece: Bytes,
    times: usize,
}

impl Stream for Repeated {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(beginning) = self.beginning.take() {
            return Poll::Ready(Some(Ok(beginning)));
        }
        match self.times.checked_sub(1) {
            Some(times) => {
                self.times = times;
                Poll::Ready(Some(Ok(self.piece.clone())))
            }
            None => Poll::Ready(None),
        }
    }
}

const TYPE: &str = "multipart/form-data; boundary=x";

fn request(body: impl Into<Body>) -> Request {
    purlin::http::Request::post("/").header("content-type", TYPE).body(body.into()).unwrap()
}

fn streamed(body: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Request {
    request(Body::stream(body))
}

/// A part with these headers, one a line.
fn part(headers: &str, content: &str) -> String {
    format!("--x\r\n{}\r\n\r\n{content}\r\n", headers.replace('\n', "\r\n"))
}

fn text(name: &str, value: &str) -> String {
    part(&format!("Content-Disposition: form-data; name=\"{name}\""), value)
}

fn file(name: &str, file_name: &str, content: &str) -> String {
    let disposition = format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"");
    part(&format!("{disposition}\nContent-Type: application/octet-stream"), content)
}

const END: &str = "--x--\r\n";

/// Says what came, part by part.
async fn tell(mut form: Multipart) -> Result<String> {
    let mut told = String::new();
    while let Some(mut part) = form.next().await? {
        let head = (part.name().to_owned(), part.untrusted_file_name().map(str::to_owned));
        let kind = part.claimed_type().map(str::to_owned);
        let mut content = Vec::new();
        while let Some(piece) = part.chunk().await? {
            assert!(!piece.is_empty());
            content.extend_from_slice(&piece);
        }
        assert!(part.chunk().await?.is_none());
        let content = String::from_utf8_lossy(&content);
        writeln!(
            told,
            "{:?} {:?} {:?} {content:?}",
            head.0,
            head.1.as_deref().unwrap_or("-"),
            kind.as_deref().unwrap_or("-")
        )?;
    }
    assert!(form.next().await?.is_none());
    Ok(told)
}

async fn told(req: Request) -> (u16, String) {
    let response = handler(tell).call(req).await;
    outcome(response).await
}

/// The status, and the answer's text or the error.
async fn outcome(mut response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let text = match response.error() {
        Some(error) => format!("{error:#}"),
        None => String::from_utf8(response.body_mut().take().collect(1 << 30).await.unwrap().to_vec()).unwrap(),
    };
    (status, text)
}

#[tokio::test]
async fn parts_come_with_their_names_types_and_contents() {
    let rows = [
        (text("a", "1"), r#""a" "-" "-" "1""#),
        (text("a", ""), r#""a" "-" "-" """#),
        (text("a", "line\r\nline\r\n"), r#""a" "-" "-" "line\r\nline\r\n""#),
        (text("a", "\r\n--y\r\n--"), r#""a" "-" "-" "\r\n--y\r\n--""#),
        (text("a", "--x"), r#""a" "-" "-" "--x""#),
        (text("a", "\r\r\n-\r\n-"), r#""a" "-" "-" "\r\r\n-\r\n-""#),
        (text("tags[]", "ü"), r#""tags[]" "-" "-" "ü""#),
        (file("f", "cat.png", "miau"), r#""f" "cat.png" "application/octet-stream" "miau""#),
        (file("f", "", ""), r#""f" "" "application/octet-stream" """#),
        // Names as browsers, curl and old browsers write them
        (text("a %22b%22%0D%0A", "1"), "\"a \\\"b\\\"\\r\\n\" \"-\" \"-\" \"1\""),
        (text(r#"a \"b\" \\"#, "1"), r#""a \"b\" \\" "-" "-" "1""#),
        (file("f", r"C:\dir\cat.png", "1"), r#""f" "C:\\dir\\cat.png" "application/octet-stream" "1""#),
        (file("f", "100%.txt; name=g", "1"), r#""f" "100%.txt; name=g" "application/octet-stream" "1""#),
        (file("f", "Übergröße 猫.pdf", "1"), r#""f" "Übergröße 猫.pdf" "application/octet-stream" "1""#),
        (part("content-disposition:FORM-DATA;NAME=a;filename=b.txt", "1"), r#""a" "b.txt" "-" "1""#),
        (part("Content-Disposition: form-data; name = \"a\" ; size=3;", "1"), r#""a" "-" "-" "1""#),
        (part("X-Other: 1\nContent-Disposition: form-data; name=a\nX-Other: 2", "1"), r#""a" "-" "-" "1""#),
        // What .NET sends: the second is left aside (RFC 7578 §4.2)
        (
            part("Content-Disposition: form-data; name=f; filename=a.txt; filename*=utf-8''b.exe", "1"),
            r#""f" "a.txt" "-" "1""#,
        ),
        (
            part("Content-Disposition: form-data; name=a\nContent-Type: application/json", "{}"),
            r#""a" "-" "application/json" "{}""#,
        ),
        (part("Content-Disposition: form-data; name=a\nContent-Transfer-Encoding: Binary", "1"), r#""a" "-" "-" "1""#),
    ];
    for (form, expected) in rows {
        let body = format!("{form}{END}");
        assert_eq!(told(request(body.clone())).await, (200, format!("{expected}\n")), "{body}");
    }
    for (body, expected) in [
        (END.to_owned(), ""),
        (format!("\r\n{END}"), ""),
        ("--x--".to_owned(), ""),
        (
            format!("a preamble\r\n--x{}", &text("a", "1")[3..]) + END + "an epilogue\r\n--x\r\n",
            "\"a\" \"-\" \"-\" \"1\"\n",
        ),
        (format!("--x \t\r\n{}", &text("a", "1")[5..]) + "--x-- \t\r\n", "\"a\" \"-\" \"-\" \"1\"\n"),
    ] {
        assert_eq!(told(request(body.clone())).await, (200, expected.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn a_body_means_the_same_however_it_is_cut() {
    let body = [
        "preamble\r\n".to_owned(),
        text("a", "\r\n--\r\n--y\r\n-"),
        file("f", "b.bin", "\r\r\r\n\r\n--x\u{0}"),
        text("empty", ""),
        file("g", "\r", "--x--\r"),
        END.to_owned(),
        "epilogue\r\n--x".to_owned(),
    ]
    .concat();
    // Content with a delimiter in it ends there: what comes next is no line end.
    let broken = told(request(body.clone())).await;
    assert_eq!(broken.0, 400, "{}", broken.1);
    let body = body.replace("\r\n\r\n--x\u{0}", "\r\n\r\n--\u{0}").replace("\"\r\"", "\"c\"");
    let whole = told(request(body.clone())).await;
    assert_eq!(whole.0, 200, "{}", whole.1);
    assert_eq!(whole.1.lines().count(), 4);
    for length in 1..body.len() {
        assert_eq!(told(streamed(Pieces::of(body.as_bytes(), length))).await, whole, "pieces of {length}");
        let (first, second) = body.as_bytes().split_at(length);
        let pieces = [first, second].map(|piece| Ok(Bytes::copy_from_slice(piece))).into();
        assert_eq!(told(streamed(Pieces { pieces, stalls: false })).await, whole, "cut at {length}");
    }
}

#[tokio::test]
async fn what_is_no_form_is_refused_with_the_reason() {
    let good = text("a", "1") + END;
    let head = |head: &str| (TYPE, part(head, "1") + END);
    let table = [
        // The content type
        (("", good.clone()), 415, "expected a body of type multipart/form-data, found \"none\""),
        (("multipart/mixed; boundary=x", good.clone()), 415, "expected a body of type multipart/form-data"),
        (("application/x-www-form-urlencoded", "a=1".into()), 415, "<form enctype=\"multipart/form-data\">"),
        (("multipart/form-data", good.clone()), 400, "its Content-Type has no boundary"),
        (("multipart/form-data; boundary=", good.clone()), 400, "expected a boundary of 1 to 70 characters, found 0"),
        (("multipart/form-data; boundary=\"\"", good.clone()), 400, "expected a boundary of 1 to 70 characters"),
        (("multipart/form-data; boundary=\"x", good.clone()), 400, "expected a Content-Type with parameters"),
        (("multipart/form-data; boundary=x; boundary=x", good.clone()), 400, "its Content-Type has two boundaries"),
        (("multipart/form-data; boundary=\"x \"", good.clone()), 400, "expected a boundary of visible ASCII"),
        (("multipart/form-data; boundary=\"x\ty\"", good.clone()), 400, "expected a boundary of visible ASCII"),
        (("multipart/form-data; boundary=y", good.clone()), 400, "its boundary is not in it"),
        // Where it ends
        ((TYPE, String::new()), 400, "it is empty"),
        ((TYPE, "--x".into()), 400, "it ends in the head of a part"),
        ((TYPE, "--x-".into()), 400, "it ends in the head of a part"),
        ((TYPE, "--x\r\nContent-Disposition: form-data; name=a".into()), 400, "it ends in the head of a part"),
        ((TYPE, text("a", "1")), 400, "without its last boundary"),
        ((TYPE, format!("{}--x", text("a", "1"))), 400, "it ends in the head of a part"),
        ((TYPE, "a=1&b=2".into()), 400, "its boundary is not in it"),
        ((TYPE, "y".repeat(9000)), 400, "its boundary is not in the first 8 KiB"),
        ((TYPE, good.replace("\r\n", "\n")), 400, "it ends in the head of a part"),
        (
            (TYPE, format!("--xy\r\n{}", &good[5..])),
            400,
            "expected the end of a line after a boundary, found \"y\\r\\n",
        ),
        // The heads of parts
        ((TYPE, format!("--x\r\n\r\n1\r\n{END}")), 400, "a part has no headers"),
        (head("Content-Type: text/plain"), 400, "a part has no Content-Disposition"),
        (head("Content-Disposition: attachment; name=a"), 400, "expected the Content-Disposition form-data"),
        (head("Content-Disposition: form-data"), 400, "expected the name of a part"),
        (head("Content-Disposition: form-data; filename=a"), 400, "expected the name of a part"),
        (head("Content-Disposition: form-data; name=a; name=b"), 400, "expected the parameter name of a part once"),
        (
            head("Content-Disposition: form-data; name=a; filename=a; FileName=b"),
            400,
            "the parameter FileName of a part once",
        ),
        (
            head("Content-Disposition: form-data; name=a\nContent-Disposition: form-data; name=b"),
            400,
            "once, found it again",
        ),
        (
            head("Content-Disposition: form-data; name=a\nContent-Type: a/b\nContent-Type: c/d"),
            400,
            "once, found it again",
        ),
        (head("Content-Disposition: form-data; name=\"a"), 400, "expected a Content-Disposition with parameters"),
        (head("Content-Disposition: form-data; name=\"a\"b"), 400, "expected a Content-Disposition with parameters"),
        (head("Content-Disposition: form-data; name"), 400, "expected a Content-Disposition with parameters"),
        (head("Content-Disposition: form-data; na me=a"), 400, "expected a Content-Disposition with parameters"),
        (
            head("Content-Disposition: form-data; name=f; filename*=utf-8''a.txt"),
            400,
            "a `filename*` and no `filename`",
        ),
        (head("Content-Disposition: form-data;\n name=a"), 400, "expected a header of a part, found \" name=a\""),
        (head("no header"), 400, "expected a header of a part, found \"no header\""),
        (head(": empty"), 400, "expected a header of a part"),
        (head("Content-Disposition : form-data; name=a"), 400, "expected a header of a part"),
        (head("Content-Disposition: form-data; name=\"a\0\""), 400, "has a control character"),
        (head("Content-Disposition: form-data; name=\"a\rb\""), 400, "has a control character"),
        // What RFC 7578 has left behind
        (
            head("Content-Disposition: form-data; name=f\nContent-Type: multipart/mixed; boundary=y"),
            415,
            "\"f\" has parts of its own",
        ),
        (
            head("Content-Disposition: form-data; name=f; filename=a\nContent-Transfer-Encoding: base64"),
            415,
            "is encoded as \"base64\"",
        ),
    ];
    for ((content_type, body), status, reason) in table {
        for length in [1, 7, 100_000] {
            let mut req = streamed(Pieces::of(body.as_bytes(), length));
            match content_type {
                "" => drop(req.headers_mut().remove("content-type")),
                content_type => drop(req.headers_mut().insert("content-type", content_type.parse().unwrap())),
            }
            let response = handler(tell).call(req).await;
            let public = response.error().and_then(Error::public_message).unwrap_or_default().to_owned();
            let (found, told) = outcome(response).await;
            assert_eq!(found, status, "{content_type}: {body:.200}: {told}");
            assert!(told.contains(reason), "{content_type}: {body:.200}: {told}");
            assert!(public.ends_with('.') && told.len() < 400, "{public:?} {told}");
        }
    }
}

#[tokio::test]
async fn names_and_texts_are_utf_8() {
    let bytes = |head: &[u8], content: &[u8]| {
        [b"--x\r\nContent-Disposition: form-data; ", head, b"\r\n\r\n", content, b"\r\n", END.as_bytes()].concat()
    };
    let plain = |charset: &str| format!("name=a\r\nContent-Type: text/plain; charset={charset}").into_bytes();
    let table = [
        (bytes(b"name=\"\xff\"", b"1"), 400, "the head of a part is not UTF-8 at byte 40"),
        (bytes(b"name=f; filename=\"\xe9.txt\"", b"1"), 400, "the head of a part is not UTF-8"),
        (bytes(b"name=a", b"caf\xe9"), 400, "expected the field \"a\" in UTF-8, found other bytes at 3"),
        (bytes(&plain("iso-8859-1"), b"caf\xe9"), 415, "expected the field \"a\" in UTF-8, found \"iso-8859-1\""),
        // It reads as UTF-8, and was meant otherwise.
        (bytes(&plain("iso-8859-1"), b"caf\xc3\xa9"), 415, "found \"iso-8859-1\""),
        (bytes(&plain("iso-8859-1"), b"cafe"), 200, "cafe"),
        (bytes(&plain("\"UTF-8\""), "café".as_bytes()), 200, "café"),
        (bytes(b"name=a", "café".as_bytes()), 200, "café"),
    ];
    let texts = handler(async |mut form: Multipart| {
        let mut texts = String::new();
        while let Some(part) = form.next().await? {
            texts.push_str(&part.text().await?);
        }
        Ok::<_, Error>(texts)
    });
    for (body, status, expected) in table {
        let (found, told) = outcome(texts.call(request(body.clone())).await).await;
        assert_eq!(found, status, "{told}");
        assert!(told.contains(expected), "{told}");
    }
}

/// A form as a struct, with what came of its files.
#[derive(Debug, Deserialize)]
struct Entry {
    title: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    public: bool,
}

impl Rules for Entry {
    fn check(&self, problems: &mut Problems) {
        problems.unless(!self.tags.is_empty(), "tags", "One tag at least, please.");
    }
}

/// Shows a form again whose texts or whose file are not as they should be.
async fn shown_again(MultipartForm(mut form, mut files): MultipartForm<Submitted<Entry>>) -> Result<Response> {
    let photo = files.take("photo")?;
    if photo.is_none() {
        form.refuse("photo", "Please choose a photo.");
    }
    let Some(entry) = form.accept() else {
        let shown = serde_json::to_string(form.filled())?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, shown).into_response());
    };
    Ok(html(entry.title))
}

#[tokio::test]
async fn a_form_with_files_is_shown_again_with_what_was_typed() {
    let client = Client::new(Stack::new().app(Router::new().route("/", post(shown_again))));
    let form = Form::new().text("title", "A cat").text("public", "perhaps").file("photo", "", "image/png", "");
    let page = client.post("/").multipart(form).await;
    page.assert_status(422).assert_contains(r#""title":["A cat"]"#).assert_contains("Please choose yes or no.");
    page.assert_contains("One tag at least, please.").assert_contains("Please choose a photo.");
    let form = Form::new().text("title", "A cat").text("tags", "a").file("photo", "a", "image/png", "1");
    client.post("/").multipart(form).await.assert_status(200).assert_contains("A cat");
    // What no page sends is an error here, too.
    let deep = format!("a{}", "[x]".repeat(20));
    let page = client.post("/").multipart(Form::new().text(&deep, "1").file("photo", "a", "image/png", "1")).await;
    page.assert_status(400);
}

async fn entry(MultipartForm(entry, mut files): MultipartForm<Entry>) -> Result<String> {
    let photo = files.require("photo")?;
    let sound = files.take("sound")?.map(|sound| sound.file_name());
    let documents: Vec<String> = files.take_all("documents").iter().map(Upload::file_name).collect();
    let Entry { title, tags, public } = entry;
    let content = String::from_utf8_lossy(&photo.bytes().await?).into_owned();
    let left: Vec<&str> = files.iter().map(Upload::name).collect();
    Ok(format!("{title} {tags:?} {public} {} {content} {sound:?} {documents:?} {left:?}", photo.file_name()))
}

#[tokio::test]
async fn a_form_is_a_struct_with_its_files_beside_it() {
    let client = Client::new(Stack::new().app(Router::new().route("/", post(entry))));
    let form = Form::new()
        .text("title", "A cat & a dog")
        .text("tags", "a")
        .file("photo", "..\\cat.png", "image/png", "miau")
        .text("tags", "b=c")
        .text("public", "on")
        .file("sound", "", "application/octet-stream", "")
        .file("documents", "1.txt", "text/plain", "1")
        .file("documents", "2.txt", "text/plain", "")
        .file("other", "x", "text/plain", "x");
    let page = client.post("/").multipart(form).await;
    let expected = r#"A cat & a dog ["a", "b=c"] true cat.png miau None ["1.txt", "2.txt"] ["other"]"#;
    page.assert_status(200).assert_contains(expected);

    let photo = || Form::new().text("title", "t").file("photo", "a", "image/png", "1");
    let table = [
        (Form::new().text("title", "t"), 422, "expected a file of the field \"photo\", found none"),
        (Form::new().text("title", "t").file("photo", "", "image/png", ""), 422, "found none"),
        (Form::new().text("title", "t").text("photo", "1"), 422, "found none"),
        (photo().file("photo", "b", "image/png", "2"), 400, "expected one file of the field \"photo\", found 2"),
        (Form::new().file("photo", "a", "image/png", "1"), 400, "missing field `title`"),
        (photo().text("title", "u"), 400, "`title` once"),
        (photo().text("public", "perhaps"), 400, "`public`"),
        // A file where a text is expected is no text.
        (
            Form::new().file("title", "a", "text/plain", "t").file("photo", "a", "image/png", "1"),
            400,
            "missing field `title`",
        ),
    ];
    for (form, status, reason) in table {
        let page = client.post("/").multipart(form).await;
        page.assert_status(status);
        let error = page.error().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_page_s_own_form_is_filled_in_and_sent() {
    let page = async || {
        html(
            "<title>Add</title><form method=post enctype=multipart/form-data><label>Title <input name=title></label>\
             <label>Photo <input type=file name=photo></label><button>Add</button></form>",
        )
    };
    let client = Client::new(Stack::new().app(Router::new().route("/", get(page).post(entry))));
    let page = client.get("/").await;
    let sent = page.form(0).set("title", "Cat").file("photo", "cat.png", "image/png", "miau").submit().await;
    sent.assert_status(200).assert_contains("Cat [] false cat.png miau");
    page.form(0).set("title", "Cat").submit().await.assert_status(422);
}

#[tokio::test]
async fn each_limit_holds_and_its_message_names_the_setting() {
    let long = "y".repeat(101);
    let limits = || Uploads::new().max_file_bytes(100).max_field_bytes(100).max_parts(3).max_header_bytes(150);
    let name = |length: usize| {
        // What else there is in the head, its line end among it
        let rest = "\r\nContent-Disposition: form-data; name=".len();
        part(&format!("Content-Disposition: form-data; name={}", "n".repeat(length - rest)), "1")
    };
    let table = [
        (file("f", "a", &long[1..]), 200, ""),
        (file("f", "a", &long), 413, "the file \"f\" is larger than 100 bytes (setting `uploads.max_file_bytes`)"),
        // Each file by itself, all texts together
        (file("f", "a", &long[1..]) + &file("g", "b", &long[1..]), 200, ""),
        (text("a", &long[..50]) + &text("b", &long[..50]), 200, ""),
        (
            text("a", &long[..50]) + &text("b", &long[..51]),
            413,
            "larger than 100 bytes (setting `uploads.max_field_bytes`)",
        ),
        (text("a", "1").repeat(3), 200, ""),
        (text("a", "1").repeat(4), 413, "expected at most 3 parts in a form, found more (setting `uploads.max_parts`)"),
        (name(146), 200, ""),
        (name(147), 413, "the head of a part is larger than 150 bytes (setting `uploads.max_header_bytes`)"),
        (
            text("a", &"y".repeat(99)) + &file("f", "a", &"z".repeat(99)) + END + &" ".repeat(700),
            413,
            "(setting `body_limit`)",
        ),
    ];
    for (form, status, reason) in table {
        for length in [1, 13, 100_000] {
            let body = format!("{form}{END}");
            for whole in [true, false] {
                let app = Stack::new().layer(BodyLimit::new(600)).layer(limits());
                let req = streamed(Pieces::of(body.as_bytes(), length));
                let response = match whole {
                    true => app.app(handler(async |_: MultipartForm<Vec<(String, String)>>| "")).call(req).await,
                    false => app.app(handler(tell)).call(req).await,
                };
                let public = response.error().and_then(Error::public_message).is_some();
                let (found, told) = outcome(response).await;
                assert_eq!((found, public), (status, status != 200), "{form}: {told}");
                assert!(told.contains(reason) || status == 200, "{told}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_layer_a_form_has_the_body_limit_of_every_body() {
    let body = file("f", "a", &"y".repeat(2 << 20)) + END;
    for req in [request(body.clone()), streamed(Pieces::of(body.as_bytes(), 1 << 16))] {
        let (status, told) = told(req).await;
        assert_eq!(status, 413);
        assert!(told.contains("larger than 2 MiB (setting `body_limit`)"), "{told}");
    }
    let app = Stack::new().layer(BodyLimit::new(3 << 20)).app(handler(tell));
    assert_eq!(app.call(request(body)).await.status(), 200);
}

#[tokio::test]
async fn a_route_s_limits_stand_above_those_of_its_site() {
    let routes = Router::new()
        .route("/", post(tell))
        .route("/large", post(tell).layer(Uploads::new().max_file_bytes(200)))
        .route("/few", post(tell).layer(Uploads::new().max_parts(1)));
    let app = Stack::new().layer(Uploads::new().max_file_bytes(100).max_parts(2)).app(routes);
    let client = Client::new(app);
    let large = || Form::new().file("f", "a", "text/plain", "y".repeat(200));
    let many = |parts: usize| (0..parts).fold(Form::new(), |form, _| form.text("a", "1"));
    for (path, form, status) in [
        ("/", large(), 413),
        ("/large", large(), 200),
        ("/", many(2), 200),
        ("/", many(3), 413),
        ("/large", many(3), 413),
        ("/few", many(1), 200),
        ("/few", many(2), 413),
    ] {
        client.post(path).multipart(form).await.assert_status(status);
    }
}

#[test]
fn ten_thousand_parts_a_bomb_of_headers_and_a_body_without_end_are_cheap_to_refuse() {
    let endless = |beginning: &str, piece: String| Repeated {
        beginning: Some(Bytes::from(beginning.to_owned())),
        piece: piece.into(),
        times: 16 << 10,
    };
    let head = "--x\r\nContent-Disposition: form-data; name=f";
    // A KiB 16 Ki times over, or for parts the number of them: 16 MiB at least are sent.
    let table: Vec<(&str, Repeated, u16)> = vec![
        ("parts", endless("", text("a", "1").repeat(20)), 413),
        ("files", endless("", file("f", "a", &"y".repeat(1000))), 413),
        ("headers", endless("--x\r\n", "X-Bomb: 1\r\n".repeat(100)), 413),
        ("one header", endless("--x\r\nX-Bomb: ", "y".repeat(1024)), 413),
        ("padding", endless("--x", " ".repeat(1024)), 413),
        ("a preamble", endless("", "y".repeat(1024)), 400),
        ("line ends", endless("", "\r\n".repeat(512)), 400),
        ("a text", endless(&format!("{head}\r\n\r\n"), "y".repeat(1024)), 413),
        ("a file", endless(&format!("{head}; filename=a\r\n\r\n"), "y".repeat(1024)), 413),
        ("half delimiters", endless(&format!("{head}; filename=a\r\n\r\n"), "\r\n--".repeat(256)), 413),
        ("single bytes", endless(&format!("{head}; filename=a\r\n\r\n"), "\r".to_owned()), 400),
        ("an epilogue", endless("--x--", "y".repeat(1024)), 413),
    ];
    for (what, stream, status) in table {
        let folder = Folder::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let uploads = Uploads::new().folder(&folder.0).max_field_bytes(64 << 10);
        let app = Stack::new()
            .layer(BodyLimit::new(8 << 20))
            .layer(uploads)
            .app(handler(async |_: MultipartForm<Vec<(String, String)>>| ""));
        let req = streamed(stream);
        let mut response = None;
        let counted = allocation_counter::measure(|| response = Some(runtime.block_on(app.call(req))));
        let (found, told) = runtime.block_on(outcome(response.unwrap()));
        assert_eq!(found, status, "{what}: {told}");
        // Two batches of 256 KiB for a file, the doubling of a buffer for a text.
        assert!(counted.bytes_max < 800 << 10, "{what}: {} bytes at once", counted.bytes_max);
        drop(runtime);
        assert!(folder.names().is_empty(), "{what}: {:?}", folder.names());
    }
}

/// What the handler of an upload finds, while it holds the files.
async fn held(State(folder): State<PathBuf>, MultipartForm((), files): MultipartForm<()>) -> Result<String> {
    let mut told = String::new();
    for upload in &files {
        let bytes = upload.bytes().await?;
        let mut read = Vec::new();
        upload.reader().await?.read_to_end(&mut read).await?;
        assert!(read == bytes && upload.len() == read.len() as u64);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == at as u8));
        write!(told, "{} ", upload.len())?;
    }
    for entry in fs::read_dir(folder)? {
        let metadata = entry?.metadata()?;
        write!(told, "[{} {:o}] ", metadata.len(), metadata.permissions().mode() & 0o777)?;
    }
    Ok(told)
}

/// So many bytes that tell where they belong.
fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|at| at as u8).collect()
}

#[tokio::test]
async fn a_small_file_is_in_memory_and_a_large_one_in_a_private_file_until_it_is_dropped() {
    let folder = Folder::new();
    let app = Stack::new()
        .layer(BodyLimit::new(16 << 20))
        .layer(Uploads::new().folder(&folder.0))
        .layer(State(folder.0.clone()))
        .app(Router::new().route("/", post(held)));
    let client = Client::new(app);
    let batch = 256 << 10;
    for (lengths, expected) in [
        (&[1, 65_536][..], "1 65536 ".to_owned()),
        (&[65_537], "65537 [65537 600] ".to_owned()),
        (&[batch], format!("{batch} [{batch} 600] ")),
        (&[batch + 1], format!("{0} [{0} 600] ", batch + 1)),
        (&[10 << 20], "10485760 [10485760 600] ".to_owned()),
    ] {
        let form = lengths.iter().fold(Form::new(), |form, &length| form.file("f", "a", "a/b", counting(length)));
        let page = client.post("/").multipart(form).await;
        page.assert_status(200);
        assert_eq!(page.text(), expected);
        assert!(folder.names().is_empty());
    }
    // In small pieces, and with none in memory
    let layers = Stack::new().layer(Uploads::new().folder(&folder.0).memory(0)).layer(State(folder.0.clone()));
    let none = layers.app(handler(held));
    let head = b"--x\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n";
    for (length, piece) in [(0, 10), (1, 1), (70_000, 999), (600_000, 100_000)] {
        let body = [&head[..], &counting(length), b"\r\n--x--"].concat();
        let (status, told) = outcome(none.call(streamed(Pieces::of(&body, piece))).await).await;
        let file = if length == 0 { String::new() } else { format!("[{length} 600] ") };
        assert_eq!((status, told), (200, format!("{length} {file}")));
        assert!(folder.names().is_empty());
    }
}

/// A form with a large file, cut off in it or whole.
fn large(whole: bool) -> Vec<u8> {
    let form = file("small", "s", "1") + &file("f", "a", &"y".repeat(700_000)) + END;
    form.as_bytes()[..if whole { form.len() } else { 600_000 }].to_vec()
}

#[test]
fn nothing_is_left_of_an_upload_that_came_to_nothing() {
    type Form = MultipartForm<Vec<(String, String)>>;
    /// What the handler, or whoever waits for the answer, does with it.
    enum Ends {
        With(u16),
        GivenUp,
    }
    let rows: Vec<(&str, Pieces, purlin::BoxService, Ends)> = vec![
        ("dropped by its handler", Pieces::of(&large(true), 9000), service(async |_: Form| "thanks"), Ends::With(200)),
        (
            "an error of the handler",
            Pieces::of(&large(true), 9000),
            service(async |form: Form| failing(form)),
            Ends::With(500),
        ),
        ("a panic", Pieces::of(&large(true), 9000), service(async |form: Form| panicking(form)), Ends::With(500)),
        (
            "a client that went away",
            Pieces::of(&large(false), 9000).then(Error::bad_request("gone")),
            service(async |_: Form| ""),
            Ends::With(400),
        ),
        (
            "a client too slow",
            Pieces::of(&large(false), 9000).then(timeout()),
            service(async |_: Form| ""),
            Ends::With(408),
        ),
        ("a body cut off", Pieces::of(&large(false), 9000), service(async |_: Form| ""), Ends::With(400)),
        ("a wait given up", Pieces::of(&large(false), 9000).stalled(), service(async |_: Form| ""), Ends::GivenUp),
        (
            "a wait given up at once",
            Pieces::of(&large(false), 700_000).stalled(),
            service(async |_: Form| ""),
            Ends::GivenUp,
        ),
        (
            "a handler given up",
            Pieces::of(&large(true), 9000),
            service(async |form: Form| never(form).await),
            Ends::GivenUp,
        ),
        ("a part that nobody reads on", Pieces::of(&large(true), 9000), service(leaving), Ends::With(200)),
    ];
    for (what, body, app, ends) in rows {
        let folder = Folder::new();
        let app = Stack::new().layer(Uploads::new().folder(&folder.0)).app(app);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut answer = pin!(app.call(streamed(body)));
            match ends {
                Ends::With(status) => assert_eq!(outcome(answer.await).await.0, status, "{what}"),
                Ends::GivenUp => {
                    // Until a file is there, or for the second of these until it is about to be.
                    for _ in 0..if what.contains("at once") { 1 } else { 10_000 } {
                        let polled = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        assert!(polled.is_pending(), "{what}");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        // What was begun on other threads is waited for.
        drop(runtime);
        assert!(folder.names().is_empty(), "{what}: {:?}", folder.names());
    }
}

fn service<A: 'static>(function: impl purlin::Handler<A>) -> purlin::BoxService {
    purlin::BoxService::new(Router::new().route("/", post(function)))
}

fn timeout() -> Error {
    Error::new(purlin::StatusCode::REQUEST_TIMEOUT, "no more of the request's body arrived")
}

fn failing<T>(_: T) -> Result<String> {
    Err(Error::internal("the database is down"))
}

fn panicking<T>(_form: T) -> String {
    panic!("an upload is in this frame")
}

async fn never<T>(form: T) -> String {
    std::future::pending::<()>().await;
    drop(form);
    String::new()
}

async fn leaving(mut form: Multipart) -> Result<&'static str> {
    drop(form.next().await?);
    let mut part = form.next().await?.ok_or_else(|| Error::internal("a second part"))?;
    part.chunk().await?;
    Ok("left")
}

/// Tells that what is below has ended, in whichever way: with an answer, or dropped.
struct Watch(Mutex<Option<oneshot::Sender<()>>>);

impl Middleware for Watch {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        // Dropped after the future of what is below.
        let _ended = self.0.lock().unwrap().take();
        Ok(next.call(req).await)
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_or_stalls_leaves_nothing_behind() {
    for stalls in [false, true] {
        let folder = Folder::new();
        let (sender, ended) = oneshot::channel();
        let app = Stack::new()
            .layer(Watch(Mutex::new(Some(sender))))
            .layer(Uploads::new().folder(&folder.0))
            .app(handler(async |_: MultipartForm<()>| ""));
        let (mut client, io) = tokio::io::duplex(64 << 10);
        let served = tokio::spawn(async move { Server::new().serve_connection(app, io).await });
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-type: {TYPE}\r\ncontent-length: 1000000\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&large(false)).await.unwrap();
        while folder.names().is_empty() {
            tokio::task::yield_now().await;
        }
        if stalls {
            let mut answer = [0; 12];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 408");
        } else {
            drop(client);
        }
        assert!(ended.await.is_err(), "it is dropped, and nothing sent");
        assert!(folder.names().is_empty());
        served.await.unwrap().unwrap_or_default();
    }
}

type Taken = Arc<Mutex<Option<oneshot::Sender<Upload>>>>;

async fn take(State(taken): State<Taken>, MultipartForm((), mut files): MultipartForm<()>) -> Result<()> {
    let sender = taken.lock().unwrap().take().unwrap();
    sender.send(files.require("f")?).unwrap();
    Ok(())
}

/// The one file of a form, below and above what is kept in memory.
async fn uploads(folder: &Path) -> Vec<(Vec<u8>, Upload)> {
    let mut uploads = Vec::new();
    for length in [10, 200_000] {
        let (sender, taken) = oneshot::channel();
        let layers =
            Stack::new().layer(Uploads::new().folder(folder)).layer(State(Taken::new(Mutex::new(Some(sender)))));
        let app = layers.app(handler(take));
        let form = Form::new().file("f", "a", "a/b", counting(length));
        Client::new(app).post("/").multipart(form).await.assert_status(200);
        uploads.push((counting(length), taken.await.unwrap()));
    }
    uploads
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn an_upload_is_kept_whole_and_over_nothing_unless_asked() {
    let here = Folder::new();
    // Another file system, where there is one: everywhere else it is a second folder.
    let there = if cfg!(target_os = "linux") { Folder::below(Path::new("/dev/shm")) } else { Folder::new() };
    if fs::metadata(&here.0).unwrap().dev() == fs::metadata(&there.0).unwrap().dev() {
        println!("left out: keeping an upload on another file system, because /dev/shm is none");
    }
    for to in [&here, &there] {
        for (content, mut upload) in uploads(&here.0).await {
            let path = to.at(&format!("kept-{}", content.len()));
            upload.persist(&path).await.unwrap();
            assert_eq!((fs::read(&path).unwrap() == content, mode(&path)), (true, 0o600));
            assert_eq!(upload.bytes().await.unwrap(), content, "it can be read where it is now");
            // And kept a second time
            let second = to.at("second");
            upload.replace(&second).await.unwrap();
            assert!(fs::read(&second).unwrap() == content && fs::read(&path).unwrap() == content);
            drop(upload);
            assert!(path.exists());
        }
        for (content, mut upload) in uploads(&here.0).await {
            let path = to.at(&format!("there-{}", content.len()));
            fs::write(&path, "before").unwrap();
            let error = upload.persist(&path).await.unwrap_err();
            assert_eq!((error.status().as_u16(), error.public_message()), (409, Some("There is a file of this name.")));
            assert!(format!("{error:#}").contains(&format!("keeping an upload as {}", path.display())), "{error:#}");
            assert_eq!(fs::read(&path).unwrap(), b"before");
            let nowhere = upload.persist(to.at("no/such/folder")).await.unwrap_err();
            assert_eq!(nowhere.status(), 500);
            // It is still there, to be kept elsewhere or after all.
            assert_eq!(upload.bytes().await.unwrap(), content);
            upload.replace(&path).await.unwrap();
            assert_eq!((fs::read(&path).unwrap() == content, mode(&path)), (true, 0o600));
            // Not through a link that stands in the place.
            let link = to.at(&format!("link-{}", content.len()));
            std::os::unix::fs::symlink(to.at("target"), &link).unwrap();
            assert_eq!(upload.persist(&link).await.unwrap_err().status(), 409);
            assert!(!to.at("target").exists());
        }
    }
    let mut names = here.names();
    names.extend(there.names());
    assert!(names.iter().all(|name| !name.starts_with("purlin-upload")), "{names:?}");
}

#[test]
fn keeping_an_upload_goes_on_when_the_wait_for_it_is_given_up() {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (content, mut upload) in uploads(&folder.0).await {
            let path = folder.at(&content.len().to_string());
            {
                let mut kept = pin!(upload.persist(&path));
                assert!(kept.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            let error = upload.bytes().await.unwrap_err();
            assert!(format!("{error:#}").contains("the wait for it to be kept was given up"), "{error:#}");
        }
    });
    drop(runtime);
    let mut names = folder.names();
    // Begun, or dropped with the runtime before that: whole or not there.
    names.retain(|name| fs::read(folder.at(name)).unwrap() != counting(name.parse().unwrap()));
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn what_a_client_says_of_a_file_is_told_apart_from_what_it_is() {
    let app = handler(async |MultipartForm((), files): MultipartForm<()>| {
        let tell = |file: Upload| {
            format!(
                "{} {:?} {:?} {:?}\n",
                file.file_name(),
                file.untrusted_file_name(),
                file.claimed_type(),
                file.detected_type()
            )
        };
        files.into_iter().map(tell).collect::<String>()
    });
    let client = Client::new(Stack::new().app(app));
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    for (name, claimed, content, expected) in [
        ("cat.png", "image/png", &png[..], r#"cat.png Some("cat.png") Some("image/png") Some("image/png")"#),
        ("../cat.php", "image/jpeg", png, r#"cat.php Some("../cat.php") Some("image/jpeg") Some("image/png")"#),
        ("a.png", "image/png", b"<script>", r#"a.png Some("a.png") Some("image/png") None"#),
        ("a", "", b"%PDF-1.7", r#"a Some("a") Some("") Some("application/pdf")"#),
        ("a\r\nb: c", "x", b"x", r#"ab_ c Some("a\r\nb: c") Some("x") None"#),
        ("..", "x", b"x", r#"file Some("..") Some("x") None"#),
        ("nul.txt", "x", b"x", r#"_nul.txt Some("nul.txt") Some("x") None"#),
    ] {
        let page = client.post("/").multipart(Form::new().file("f", name, claimed, content)).await;
        page.assert_status(200);
        assert_eq!(page.text(), format!("{expected}\n"));
    }
    // One that comes in single bytes, and is not kept in memory
    let app = Stack::new().layer(Uploads::new().memory(0)).app(handler(async |mut form: Multipart| {
        let part = form.next().await?.ok_or_else(|| Error::internal("a part"))?;
        Ok::<_, Error>(part.upload().await?.detected_type().unwrap_or_default())
    }));
    let body = [b"--x\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n", &png[..], b"\r\n--x--"].concat();
    assert_eq!(outcome(app.call(streamed(Pieces::of(&body, 1))).await).await, (200, "image/png".to_owned()));
}

#[tokio::test]
async fn the_layer_makes_its_folder_and_says_what_is_wrong_with_it() {
    let folder = Folder::new();
    let inner = folder.at("a/b");
    let app = |path: &Path| Stack::new().layer(Uploads::new().folder(path)).app(handler(tell));
    let site = Client::new(app(&inner));
    assert_eq!((mode(&inner), fs::read_dir(&inner).unwrap().count()), (0o700, 0));
    assert!(site.site().stack_table().contains(&format!("folder={}", inner.display())));

    fs::write(folder.at("file"), "").unwrap();
    let error = purlin::site::Life::start(&app(&folder.at("file/x"))).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.starts_with("the layer Uploads: making a file in the folder "), "{error}");
    assert!(error.contains("/file/x (setting `uploads.folder`): "), "{error}");

    // It may go while the site runs.
    fs::remove_dir_all(&inner).unwrap();
    let app = Stack::new().layer(Uploads::new().folder(&inner)).app(handler(async |_: MultipartForm<()>| ""));
    let (status, told) = outcome(app.call(request(large(true))).await).await;
    assert_eq!(status, 500);
    assert!(told.contains("making a temporary file in") && told.contains("(setting `uploads.folder`)"), "{told}");
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed_after_a_day() {
    let folder = Folder::new();
    let hours = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    for (name, age) in [("purlin-upload-old", 25), ("purlin-upload-new", 23), ("another", 1000)] {
        fs::File::create(folder.at(name)).unwrap().set_modified(hours(age)).unwrap();
    }
    fs::create_dir(folder.at("purlin-upload-folder")).unwrap();
    let _client = Client::new(Stack::new().layer(Uploads::new().folder(&folder.0)).app(handler(tell)));
    while folder.at("purlin-upload-old").exists() {
        tokio::task::yield_now().await;
    }
    let mut names = folder.names();
    names.sort();
    assert_eq!(names, ["another", "purlin-upload-folder", "purlin-upload-new"]);
}

#[test]
fn a_handler_that_reads_the_body_twice_is_found_when_the_site_starts() {
    let app = Stack::new().app(Router::new().route("/", post(async |_: MultipartForm<()>, _: Multipart| "")));
    let error = app.check().unwrap_err().to_string();
    assert!(error.contains("reads the request's body twice, by MultipartForm<()> and Multipart"), "{error}");
}

#[tokio::test]
async fn the_configuration_sets_what_the_layer_sets() {
    let folder = Folder::new();
    let toml = "[uploads]\nfolder = 'tmp'\nmax_parts = 2\nmemory = '1 KiB'";
    let config = purlin::config::Loader::new().environment("test").root(&folder.0).toml(toml).load().unwrap();
    assert_eq!(config.uploads.folder, folder.at("tmp"));
    let app = Stack::new().layer(Uploads::from_config(&config.uploads)).app(handler(tell));
    let client = Client::new(app);
    assert!(folder.at("tmp").is_dir());
    let table = client.site().stack_table();
    let options = "memory=1 KiB  max_file_bytes=1 GiB  max_field_bytes=1 MiB  max_header_bytes=8 KiB  max_parts=2";
    assert!(table.contains(options), "{table}");
    let many = |parts: usize| (0..parts).fold(Form::new(), |form, _| form.text("a", "1"));
    client.post("/").multipart(many(2)).await.assert_status(200);
    client.post("/").multipart(many(3)).await.assert_status(413);
}
