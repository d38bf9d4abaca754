//! `Compression`: answers as small as the client likes, and never wrong.

use async_compression::tokio::bufread::BrotliDecoder;
use flate2::read::{GzDecoder, ZlibDecoder};
use futures_core::Stream;
use purlin::http::Request as HttpRequest;
use purlin::layers::Compression;
use purlin::negotiate::Coding;
use purlin::{
    Body, Bytes, HeaderMap, HeaderValue, Request, Response, Router, Service, Stack, StatusCode, get, handler, header,
};
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncReadExt;

fn text(length: usize) -> String {
    "<li>A line of a page, not unlike the one before it.</li>\n".repeat(length / 57 + 1)[..length].to_owned()
}

fn page(length: usize) -> Response {
    purlin::html(text(length))
}

/// An answer made by its path.
async fn answer(req: Request) -> Response {
    let mut response = page(4000);
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    match req.uri().path() {
        "/small" => return page(859),
        "/enough" => return page(860),
        "/large" => return page(300_000),
        "/etag" => set("etag", "\"one\""),
        "/weak" => set("etag", "W/\"one\""),
        "/ranges" => set("accept-ranges", "bytes"),
        "/encoded" => set("content-encoding", "br"),
        "/image" => set("content-type", "image/png"),
        "/svg" => set("content-type", "image/svg+xml"),
        "/digest" => set("content-digest", "sha-256=:abc=:"),
        "/no-transform" => set("cache-control", "public, no-transform"),
        "/vary" => set("vary", "Cookie"),
        "/vary-encoding" => set("vary", "cookie, Accept-Encoding"),
        "/part" => {
            set("content-range", "bytes 0-3999/9000");
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            None
        }
        "/image-part" => {
            set("content-type", "image/png");
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            None
        }
        path if path.starts_with("/unchanged") => {
            set("etag", "\"one\"");
            response.headers_mut().remove("content-type");
            *response.body_mut() = Body::empty();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            None
        }
        _ => None,
    };
    response
}

async fn ask(path: &str, accept: Option<&str>) -> Response {
    let app = Stack::new().layer(Compression::new()).app(handler(answer));
    let mut req = HttpRequest::get(path).body(Body::empty()).unwrap();
    if let Some(accept) = accept {
        req.headers_mut().insert(header::ACCEPT_ENCODING, accept.parse().unwrap());
    }
    app.call(req).await
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn decoded(response: Response) -> String {
    let coding = header(&response, "content-encoding").map(str::to_owned);
    let bytes = response.into_body().collect(1 << 20).await.unwrap();
    let mut text = String::new();
    match coding.as_deref() {
        Some("br") => BrotliDecoder::new(&bytes[..]).read_to_string(&mut text).await.unwrap(),
        Some("gzip") => Read::read_to_string(&mut GzDecoder::new(&bytes[..]), &mut text).unwrap(),
        Some("deflate") => Read::read_to_string(&mut ZlibDecoder::new(&bytes[..]), &mut text).unwrap(),
        #[cfg(feature = "zstd")]
        Some("zstd") => {
            async_compression::tokio::bufread::ZstdDecoder::new(&bytes[..]).read_to_string(&mut text).await.unwrap()
        }
        Some(other) => panic!("not offered: {other}"),
        None => Read::read_to_string(&mut &bytes[..], &mut text).unwrap(),
    };
    text
}

#[tokio::test]
async fn the_clients_preference_decides_and_the_bytes_come_back() {
    let table = [
        (None, None),
        (Some(""), None),
        (Some("identity"), None),
        (Some("gzip"), Some("gzip")),
        (Some("deflate"), Some("deflate")),
        (Some("gzip, deflate, br"), Some("gzip")),
        (Some("deflate, br"), Some("br")),
        (Some("gzip;q=0.9, br"), Some("br")),
        (Some("gzip, br;q=0.5"), Some("gzip")),
        (Some("br;q=0, *"), Some(if cfg!(feature = "zstd") { "zstd" } else { "gzip" })),
        (Some("*;q=0"), None),
        (Some("identity;q=0, *;q=0"), None),
        (Some("GZIP"), Some("gzip")),
        (Some("gzip;q=nonsense, deflate;q=0.1"), Some("deflate")),
    ];
    for (accept, coding) in table {
        for path in ["/", "/large"] {
            let response = ask(path, accept).await;
            assert_eq!(header(&response, "content-encoding"), coding, "{path} {accept:?}");
            assert_eq!(header(&response, "vary"), Some("accept-encoding"), "{path} {accept:?}");
            let length = if path == "/" { 4000 } else { 300_000 };
            assert_eq!(decoded(response).await, text(length), "{path} {accept:?}");
        }
    }
}

#[cfg(feature = "zstd")]
#[tokio::test]
async fn zstd_comes_first_where_it_is_there() {
    for path in ["/", "/large"] {
        let response = ask(path, Some("gzip, deflate, br, zstd")).await;
        assert_eq!(header(&response, "content-encoding"), Some("zstd"));
        let length = if path == "/" { 4000 } else { 300_000 };
        assert_eq!(decoded(response).await, text(length));
    }
}

#[tokio::test]
async fn the_site_decides_which_codings_there_are_and_how_hard_they_work() {
    let layers = [
        (Compression::new().codings(&[Coding::Brotli, Coding::Gzip]), "gzip, br", Some("br")),
        (Compression::new().codings(&[Coding::Brotli]), "gzip", None),
        (Compression::new().codings(&[Coding::Identity, Coding::Gzip]), "gzip, identity", None),
        (Compression::new().codings(&[]), "gzip", None),
        (Compression::new().min_size(4001), "gzip", None),
        (Compression::new().quality(Coding::Gzip, 9), "gzip", Some("gzip")),
        (Compression::new().quality(Coding::Brotli, 99), "br", Some("br")),
        (Compression::new().quality(Coding::Deflate, -1), "deflate", Some("deflate")),
    ];
    for (layer, accept, coding) in layers {
        let told = format!("{layer:?}");
        let app = Stack::new().layer(layer).app(handler(answer));
        let req = HttpRequest::get("/").header("accept-encoding", accept).body(Body::empty()).unwrap();
        let response = app.call(req).await;
        assert_eq!(header(&response, "content-encoding"), coding, "{told}");
        assert_eq!(decoded(response).await, text(4000), "{told}");
    }
}

/// What differs in a byte is another body; what is one visitor's is not kept. The bytes are right each time, and the same.
#[tokio::test]
async fn what_comes_again_is_compressed_as_it_was_before() {
    async fn numbered(req: Request) -> Response {
        let mut response = page(4000);
        let mut body = text(4000);
        body.replace_range(..1, &req.uri().path()[1..2]);
        *response.body_mut() = Body::from(body);
        response
    }
    for layer in [Compression::new(), Compression::new().memory(0), Compression::new().memory(9000)] {
        let app = Stack::new().layer(layer).app(handler(numbered));
        for coding in ["gzip", "deflate", "br", "gzip"] {
            let mut before = None;
            for path in ["/a", "/a", "/b", "/a", "/b", "/b", "/c", "/a"] {
                let req = HttpRequest::get(path).header("accept-encoding", coding).body(Body::empty()).unwrap();
                let response = app.call(req).await;
                assert_eq!(header(&response, "content-encoding"), Some(coding));
                let (head, body) = response.into_parts();
                let bytes = body.collect(1 << 20).await.unwrap();
                if path == "/a" {
                    assert_eq!(*before.get_or_insert(bytes.clone()), bytes, "{coding}");
                }
                let text = decoded(Response::from_parts(head, Body::from(bytes))).await;
                assert!(text.starts_with(&format!("{}li>A line", &path[1..])) && text.len() == 4000, "{coding} {path}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_one_visitors_is_not_kept() {
    for (name, value, kept) in [
        ("x-nothing", "", true),
        ("cache-control", "no-cache", true),
        ("cache-control", "max-age=0, Private", false),
        ("cache-control", "private=\"set-cookie\"", false),
        ("cache-control", "no-store", false),
        ("set-cookie", "a=b", false),
    ] {
        let (name, value) = (header::HeaderName::from_static(name), HeaderValue::from_static(value));
        let answer = move |_: Request| {
            let (name, value) = (name.clone(), value.clone());
            async move {
                let mut response = page(60_000);
                response.headers_mut().insert(name, value);
                response
            }
        };
        let app = Stack::new().layer(Compression::new()).app(handler(answer));
        let mut answers = Vec::new();
        for _ in 0..4 {
            let req = HttpRequest::get("/").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
            answers.push(app.call(req).await);
        }
        // What is kept is shared, and not copied.
        let places: Vec<_> = answers.iter().map(|answer| answer.body().as_bytes().unwrap().as_ptr()).collect();
        assert_eq!(places[2] == places[3], kept, "{:?}", answers[0].headers());
        assert_eq!(answers[3].body().as_bytes(), answers[0].body().as_bytes());
    }
}

#[tokio::test]
async fn a_small_answer_is_compressed_for_those_who_refuse_it_plain() {
    for (accept, coding) in [("gzip, identity;q=0", Some("gzip")), ("gzip, *;q=0", Some("gzip")), ("gzip", None)] {
        assert_eq!(header(&ask("/small", Some(accept)).await, "content-encoding"), coding, "{accept}");
    }
}

#[tokio::test]
async fn what_should_not_be_compressed_is_left_alone() {
    let table = [
        ("/encoded", None),
        ("/image", None),
        ("/image-part", None),
        ("/no-transform", None),
        // Its whole would be compressed: caches are to know (RFC 9110 §15.3.7).
        ("/part", Some("accept-encoding")),
    ];
    for (path, vary) in table {
        let response = ask(path, Some("gzip")).await;
        assert_ne!(header(&response, "content-encoding"), Some("gzip"), "{path}");
        assert_eq!(header(&response, "vary"), vary, "{path}");
        assert_eq!(response.body().len(), Some(4000), "{path}");
    }
    let small = ask("/small", Some("gzip")).await;
    assert_eq!((header(&small, "content-encoding"), header(&small, "vary")), (None, Some("accept-encoding")));
    assert_eq!(header(&ask("/enough", Some("gzip")).await, "content-encoding"), Some("gzip"));
    assert_eq!(header(&ask("/svg", Some("gzip")).await, "content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn a_request_may_forbid_it() {
    let app = Stack::new().layer(Compression::new()).app(handler(answer));
    let req = HttpRequest::get("/").header("accept-encoding", "gzip").header("cache-control", "no-transform");
    let response = app.call(req.body(Body::empty()).unwrap()).await;
    assert_eq!(header(&response, "content-encoding"), None);
}

#[tokio::test]
async fn headers_stay_true_of_the_compressed_bytes() {
    assert_eq!(header(&ask("/etag", Some("gzip")).await, "etag"), Some("W/\"one\""));
    assert_eq!(header(&ask("/weak", Some("gzip")).await, "etag"), Some("W/\"one\""));
    assert_eq!(header(&ask("/etag", None).await, "etag"), Some("\"one\""));
    assert_eq!(header(&ask("/ranges", Some("gzip")).await, "accept-ranges"), None);
    assert_eq!(header(&ask("/ranges", None).await, "accept-ranges"), Some("bytes"));
    assert_eq!(header(&ask("/digest", Some("gzip")).await, "content-digest"), None);
    let varied = ask("/vary", Some("gzip")).await;
    let vary: Vec<_> = varied.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["Cookie", "accept-encoding"]);
    assert_eq!(ask("/vary-encoding", Some("gzip")).await.headers().get_all("vary").iter().count(), 1);
    let whole = ask("/", Some("gzip")).await;
    assert!(whole.body().len().unwrap() < 1000, "the length of a small answer is known");
}

/// RFC 9110 §15.4.5, RFC 9111 §4.3.4.
#[tokio::test]
async fn an_unchanged_answer_names_the_copy_that_the_client_has() {
    let (strong, weak) = ("\"one\"", "W/\"one\"");
    let both = "\"one\", W/\"one\"";
    let table = [
        ("/unchanged", "gzip", Some(weak), weak, Some("accept-encoding")),
        ("/unchanged", "gzip", Some(strong), strong, Some("accept-encoding")),
        ("/unchanged", "gzip", Some(both), weak, Some("accept-encoding")),
        ("/unchanged", "identity", Some(both), strong, Some("accept-encoding")),
        ("/unchanged", "gzip", None, weak, Some("accept-encoding")),
        ("/unchanged.css", "gzip", Some(weak), weak, Some("accept-encoding")),
        ("/unchanged.png", "gzip", Some(strong), strong, None),
    ];
    for (path, accept, copies, etag, vary) in table {
        let app = Stack::new().layer(Compression::new()).app(handler(answer));
        let mut req = HttpRequest::get(path).header("accept-encoding", accept);
        req = match copies {
            Some(copies) => req.header("if-none-match", copies),
            None => req.header("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        };
        let response = app.call(req.body(Body::empty()).unwrap()).await;
        assert_eq!((header(&response, "etag"), header(&response, "vary")), (Some(etag), vary), "{path} {copies:?}");
        assert_eq!(header(&response, "content-encoding"), None);
        assert_eq!(response.body().len(), Some(0));
    }
}

#[tokio::test]
async fn head_is_told_what_get_would_be() {
    let app = Stack::new().layer(Compression::new()).app(Router::new().route("/{*any}", get(answer)));
    for path in ["/a", "/small", "/large", "/etag", "/ranges", "/encoded", "/image", "/digest", "/no-transform"] {
        let ask = |method| HttpRequest::builder().method(method).uri(path).header("accept-encoding", "gzip");
        let of_get = app.call(ask("GET").body(Body::empty()).unwrap()).await;
        let of_head = app.call(ask("HEAD").body(Body::empty()).unwrap()).await;
        assert_eq!(of_get.headers(), of_head.headers(), "{path}");
    }

    async fn lengthy() -> Response {
        let mut response = purlin::html("");
        response.headers_mut().insert("content-length", HeaderValue::from_static("4000"));
        response
    }
    let app = Stack::new().layer(Compression::new()).app(handler(lengthy));
    let req = HttpRequest::head("/").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let response = app.call(req).await;
    assert_eq!(header(&response, "content-encoding"), Some("gzip"));
    assert_eq!(header(&response, "content-length"), None);
    assert_eq!(response.body().len(), None, "no length is made up");
}

/// Gives each piece, and says `Pending` once between any two.
struct Pauses {
    pieces: Vec<&'static str>,
    pause: bool,
}

impl Stream for Pauses {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pause = !self.pause;
        if self.pause {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.pieces.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.pieces.remove(0);
        if piece == "fail" {
            return Poll::Ready(Some(Err(std::io::Error::other("the source broke"))));
        }
        Poll::Ready(Some(Ok(Bytes::from_static(piece.as_bytes()))))
    }
}

async fn streamed(content_type: &'static str, pieces: &[&'static str]) -> Vec<purlin::Result<Bytes>> {
    let pieces = pieces.to_vec();
    let app = Stack::new().layer(Compression::new()).app(handler(move || {
        let pieces = pieces.clone();
        async move {
            let mut response = Response::new(Body::stream(Pauses { pieces, pause: false }));
            response.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
            response
        }
    }));
    let req = HttpRequest::get("/").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let mut body = app.call(req).await.into_body();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(frame.map(|frame| frame.into_data().unwrap()));
    }
    frames
}

#[tokio::test]
async fn nothing_waits_in_the_encoder_while_its_source_pauses() {
    for content_type in ["text/event-stream", "text/html"] {
        let frames = streamed(content_type, &["data: one\n\n", "data: two\n\n"]).await;
        let mut seen = Vec::new();
        let mut texts = Vec::new();
        for frame in frames {
            seen.extend_from_slice(&frame.unwrap());
            let mut text = [0; 100];
            let mut decoder = GzDecoder::new(&seen[..]);
            let mut length = 0;
            while let Ok(n) = Read::read(&mut decoder, &mut text[length..]) {
                length += n;
                if n == 0 {
                    break;
                }
            }
            texts.push(String::from_utf8(text[..length].to_vec()).unwrap());
        }
        assert_eq!(texts[0], "data: one\n\n", "{content_type}");
        assert_eq!(texts.last().unwrap(), "data: one\n\ndata: two\n\n", "{content_type}");
    }
}

#[tokio::test]
async fn an_error_in_the_body_passes() {
    let frames = streamed("text/html", &["one", "fail", "two"]).await;
    let error = frames.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.message(), "the source broke");
}

/// Two pieces and trailers.
struct Trailed(u8);

impl http_body::Body for Trailed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        self.0 += 1;
        let mut trailers = HeaderMap::new();
        trailers.insert("server-timing", HeaderValue::from_static("all;dur=1"));
        Poll::Ready(match self.0 {
            1 | 2 => Some(Ok(http_body::Frame::data(Bytes::from_static(b"a piece of it; ")))),
            3 => Some(Ok(http_body::Frame::trailers(trailers))),
            _ => None,
        })
    }
}

#[tokio::test]
async fn trailers_come_after_the_compressed_body() {
    let app = Stack::new().layer(Compression::new()).app(handler(async || {
        let mut response = Response::new(Body::new(Trailed(0)));
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
        response
    }));
    let req = HttpRequest::get("/").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let mut body = app.call(req).await.into_body();
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        assert!(trailers.is_none(), "nothing follows the trailers");
        match frame.unwrap().into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let mut text = String::new();
    Read::read_to_string(&mut GzDecoder::new(&bytes[..]), &mut text).unwrap();
    assert_eq!(text, "a piece of it; a piece of it; ");
    assert_eq!(trailers.unwrap()["server-timing"], "all;dur=1");
}

#[tokio::test]
async fn a_large_answer_lets_others_have_their_turn() {
    let app = Stack::new().layer(Compression::new()).app(handler(async || page(2_000_000)));
    let req = HttpRequest::get("/").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let mut body = app.call(req).await.into_body();
    let turns = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = turns.clone();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(async move {
        loop {
            counted.set(counted.get() + 1);
            tokio::task::yield_now().await;
        }
    });
    local
        .run_until(async {
            while let Some(frame) = body.frame().await {
                frame.unwrap();
            }
        })
        .await;
    assert!(turns.get() >= 2_000_000 / (64 * 1024), "{} turns", turns.get());
}
