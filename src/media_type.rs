//! Media types: what a file's name says of its content, and which types are worth compressing.

use std::cmp::Ordering;
use std::path::Path;

/// What a file of unknown kind is: bytes, which a browser saves and does not run.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// The `Content-Type` of a file, by the extension of its name; [`OCTET_STREAM`] if that tells nothing.
///
/// The content is never looked at: guessing turns an upload into a page. Send `X-Content-Type-Options: nosniff`, lest
/// the browser guess.
///
/// ```
/// use purlin::media_type;
/// assert_eq!(media_type::of_path("css/site.CSS"), "text/css; charset=utf-8");
/// assert_eq!(media_type::of_path("backup.tar.gz"), "application/gzip");
/// assert_eq!(media_type::of_path(".html"), "application/octet-stream");
/// ```
pub fn of_path(path: impl AsRef<Path>) -> &'static str {
    let extension = path.as_ref().extension().and_then(|extension| extension.to_str());
    extension.and_then(of_extension).unwrap_or(OCTET_STREAM)
}

/// The `Content-Type` for an extension, without its dot and in any case.
///
/// Types of text say `charset=utf-8`; JSON has no such parameter (RFC 8259 §11), and XML and SVG say it themselves.
///
/// ```
/// use purlin::media_type;
/// assert_eq!(media_type::of_extension("svg"), Some("image/svg+xml"));
/// assert_eq!(media_type::of_extension("exe"), None);
/// ```
pub fn of_extension(extension: &str) -> Option<&'static str> {
    let found = TYPES.binary_search_by(|(known, _)| without_case(known, extension));
    found.ok().map(|place| TYPES[place].1)
}

/// The media type whose signature some content begins with: of images, sound, films, archives and PDF, which begin like
/// nothing else. Of text, HTML and SVG among it, this tells nothing.
///
/// A signature is the beginning and not the whole: what has one may still be broken, or another thing as well.
///
/// ```
/// use purlin::media_type;
/// assert_eq!(media_type::of_signature(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), Some("image/png"));
/// assert_eq!(media_type::of_signature(b"<svg xmlns='http://www.w3.org/2000/svg'>"), None);
/// ```
pub fn of_signature(beginning: &[u8]) -> Option<&'static str> {
    let fits = |offset: usize, bytes: &[u8]| beginning.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    let found = SIGNATURES.iter().find(|(first, offset, second, _)| fits(0, first) && fits(*offset, second));
    found.map(|(.., media_type)| *media_type)
}

/// Whether bytes of this `Content-Type` shrink: text in all its forms, and the few binary formats that are not
/// compressed already. Parameters and case do not matter.
///
/// `text/event-stream` is not: an encoder holds events back until it has enough of them.
///
/// ```
/// use purlin::media_type::is_compressible;
/// assert!(is_compressible("text/html; charset=utf-8"));
/// assert!(is_compressible("application/problem+json"));
/// assert!(!is_compressible("image/png"));
/// ```
pub fn is_compressible(content_type: &str) -> bool {
    let content_type = content_type.trim_start();
    let has_prefix = |prefix: &str| {
        content_type.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    // What nearly every answer is, without a look at the rest.
    if has_prefix("text/") && !has_prefix("text/event-stream") {
        return true;
    }
    let essence = content_type.split(';').next().unwrap_or_default().trim_end();
    let has_suffix = |suffix: &str| {
        let start = essence.len().saturating_sub(suffix.len());
        essence.as_bytes()[start..].eq_ignore_ascii_case(suffix.as_bytes())
    };
    if has_prefix("text/") {
        return !essence.eq_ignore_ascii_case("text/event-stream");
    }
    ["+json", "+xml", "+text", "+yaml"].into_iter().any(has_suffix)
        || COMPRESSIBLE.binary_search_by(|known| without_case(known, essence)).is_ok()
}

/// `known` is in lower case.
fn without_case(known: &str, other: &str) -> Ordering {
    known.bytes().cmp(other.bytes().map(|b| b.to_ascii_lowercase()))
}

// How it begins, and what stands at an offset: WHATWG MIME Sniffing §6, ISO/IEC 14496-12 §4.3 for what has `ftyp`.
const SIGNATURES: &[(&[u8], usize, &[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", 0, b"", "image/png"),
    (b"\xff\xd8\xff", 0, b"", "image/jpeg"),
    (b"GIF87a", 0, b"", "image/gif"),
    (b"GIF89a", 0, b"", "image/gif"),
    (b"RIFF", 8, b"WEBPVP8", "image/webp"),
    (b"", 4, b"ftypavif", "image/avif"),
    (b"", 4, b"ftypavis", "image/avif"),
    (b"", 4, b"ftypheic", "image/heic"),
    (b"", 4, b"ftypheix", "image/heic"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", 0, b"", "image/jxl"),
    (b"II*\0", 0, b"", "image/tiff"),
    (b"MM\0*", 0, b"", "image/tiff"),
    (b"%PDF-", 0, b"", "application/pdf"),
    (b"PK\x03\x04", 0, b"", "application/zip"),
    (b"\x1f\x8b\x08", 0, b"", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", 0, b"", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", 0, b"", "application/vnd.rar"),
    (b"OggS\0", 0, b"", "application/ogg"),
    (b"fLaC", 0, b"", "audio/flac"),
    (b"ID3", 0, b"", "audio/mpeg"),
    (b"RIFF", 8, b"WAVE", "audio/wav"),
    (b"", 4, b"ftypM4A ", "audio/mp4"),
    (b"", 4, b"ftypisom", "video/mp4"),
    (b"", 4, b"ftypiso2", "video/mp4"),
    (b"", 4, b"ftypmp41", "video/mp4"),
    (b"", 4, b"ftypmp42", "video/mp4"),
    (b"", 4, b"ftypM4V ", "video/mp4"),
    (b"", 4, b"ftypqt  ", "video/quicktime"),
    (b"RIFF", 8, b"AVI ", "video/x-msvideo"),
    (b"\x1a\x45\xdf\xa3", 0, b"", "video/webm"),
];

// Sorted. IANA's names, except where only another is understood.
const TYPES: &[(&str, &str)] = &[
    ("3gp", "video/3gpp"),
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("apng", "image/apng"),
    ("appcache", "text/cache-manifest; charset=utf-8"),
    ("atom", "application/atom+xml"),
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("bin", OCTET_STREAM),
    ("bmp", "image/bmp"),
    ("br", OCTET_STREAM),
    ("bz2", "application/x-bzip2"),
    ("cjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("eot", "application/vnd.ms-fontobject"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("gpx", "application/gpx+xml"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    // Not `image/vnd.microsoft.icon`, which is registered and hardly used.
    ("ico", "image/x-icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    // RFC 9239: not `application/javascript`.
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jsonld", "application/ld+json"),
    ("jxl", "image/jxl"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    // Source maps are JSON (ECMA-426 §1).
    ("map", "application/json"),
    ("markdown", "text/markdown; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("mid", "audio/midi"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("mpeg", "video/mpeg"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("rar", "application/vnd.rar"),
    ("rss", "application/rss+xml"),
    ("rtf", "application/rtf"),
    ("svg", "image/svg+xml"),
    // Compressed as it lies there; the extension cannot say so in Content-Encoding.
    ("svgz", OCTET_STREAM),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", "application/toml"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("vcf", "text/vcard; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    // Browsers compile while it loads only under this name.
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("xsl", "application/xslt+xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

// Sorted; beside `text/…` and the suffixes above.
const COMPRESSIBLE: &[&str] = &[
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/jsonl",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-sh",
    "application/x-tar",
    "application/x-www-form-urlencoded",
    "application/xml",
    "application/yaml",
    "audio/wav",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
    "model/gltf-binary",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_in_lower_case() {
        assert!(TYPES.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(COMPRESSIBLE.is_sorted_by(|a, b| a < b));
        assert!(TYPES.iter().all(|(extension, _)| *extension == extension.to_ascii_lowercase()));
        assert!(COMPRESSIBLE.iter().all(|essence| *essence == essence.to_ascii_lowercase()));
    }

    #[test]
    fn every_type_is_a_header_value_and_only_text_names_its_charset() {
        for (extension, content_type) in TYPES {
            assert!(http::HeaderValue::try_from(*content_type).is_ok(), "{extension}");
            let text = content_type.starts_with("text/");
            assert_eq!(content_type.ends_with("; charset=utf-8"), text, "{extension}");
        }
    }

    #[test]
    fn names_tell_the_type() {
        let table = [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTM", "text/html; charset=utf-8"),
            ("a/b.c/site.css", "text/css; charset=utf-8"),
            ("app.1a2b3c.mjs", "text/javascript; charset=utf-8"),
            ("app.js.map", "application/json"),
            ("site.webmanifest", "application/manifest+json"),
            ("logo.svg", "image/svg+xml"),
            ("font.woff2", "font/woff2"),
            ("backup.tar.gz", "application/gzip"),
            ("movie.3gp", "video/3gpp"),
            ("all.zst", "application/zstd"),
            ("", OCTET_STREAM),
            ("README", OCTET_STREAM),
            ("README.", OCTET_STREAM),
            (".html", OCTET_STREAM),
            ("a.html/b", OCTET_STREAM),
            ("a.html ", OCTET_STREAM),
            ("a.unknown", OCTET_STREAM),
            ("a.é", OCTET_STREAM),
            (".well-known/apple-app-site-association", OCTET_STREAM),
        ];
        for (path, expected) in table {
            assert_eq!(of_path(path), expected, "{path:?}");
        }
        for (extension, content_type) in TYPES {
            assert_eq!(of_extension(&extension.to_uppercase()), Some(*content_type));
        }
    }

    #[test]
    fn what_is_compressed_already_stays_as_it_is() {
        let yes = [
            "text/html",
            "text/plain; charset=utf-8",
            "TEXT/CSS",
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/problem+json",
            "application/vnd.api+json;ext=x",
            "image/svg+xml",
            "application/wasm",
            "font/ttf",
            "image/x-icon",
            "application/xml",
        ];
        let no = [
            "",
            ";",
            "text",
            "image/png",
            "image/jpeg",
            "video/mp4",
            "audio/mpeg",
            "font/woff2",
            "application/zip",
            "application/gzip",
            "application/pdf",
            "application/octet-stream",
            "text/event-stream",
            "text/event-stream; charset=utf-8",
            "multipart/byteranges; boundary=x",
            "application/jsonx",
            "json",
        ];
        for content_type in yes {
            assert!(is_compressible(content_type), "{content_type:?}");
        }
        for content_type in no {
            assert!(!is_compressible(content_type), "{content_type:?}");
        }
    }
}
