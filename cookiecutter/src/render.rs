//! Turns a template and the answers into the files of a site, as cookiecutter does, all of it in memory.

use crate::failure::Failure;
use crate::fnmatch::fnmatch;
use crate::jinja::Jinja;
use crate::questions::Settings;
use crate::template::{Content, Entry, Template};
use minijinja::value::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A site that is not on disk yet: paths with `/` between their parts, every folder before what it holds.
pub(crate) type Site<'a> = BTreeMap<String, Node<'a>>;

pub(crate) enum Node<'a> {
    Folder,
    File { bytes: Cow<'a, [u8]>, executable: bool },
}

/// Renders names and contents.
///
/// A file whose name renders to nothing is left out. What `_copy_without_render` matches keeps its content; a folder that
/// it matches keeps the names inside it too.
///
/// # Errors
///
/// A template is wrong (the message has file and line), or a name renders to something that is not a path inside the site.
pub(crate) fn render<'a>(
    template: &'a Template,
    settings: &Settings,
    jinja: &Jinja,
    cookiecutter: &Value,
) -> Result<Site<'a>, Failure> {
    let mut site = Site::new();
    // The folder that is being copied as it is, and what its own name has become.
    let mut copied: Option<(&str, String)> = None;
    let name = |source: &str| jinja.render(source, cookiecutter).map_err(|message| wrong(source, &message));
    let kept = |path: &str| settings.copy_without_render.iter().any(|pattern| fnmatch(path, pattern));

    for Entry { path, content } in &template.entries {
        if let Some((from, to)) = &copied {
            if let Some(inside) = path.strip_prefix(from).filter(|inside| inside.starts_with('/')) {
                let node = match content {
                    Content::Folder => Node::Folder,
                    Content::File { bytes, executable } => as_it_is(bytes, *executable),
                };
                insert(&mut site, path, format!("{to}{inside}"), node)?;
                continue;
            }
            copied = None;
        }
        let rendered = name(path)?;
        match content {
            Content::Folder => {
                if kept(path) {
                    copied = Some((path, rendered.clone()));
                }
                insert(&mut site, path, rendered, Node::Folder)?;
            }
            // The name of the file itself has come to nothing.
            Content::File { .. } if rendered.is_empty() || rendered.ends_with('/') => {}
            Content::File { bytes, executable } if kept(path) => {
                insert(&mut site, path, rendered, as_it_is(bytes, *executable))?;
            }
            Content::File { bytes, executable } => {
                let node = match text(path, bytes) {
                    Some(source) => {
                        let bytes = render_text(source, settings, jinja, cookiecutter)
                            .map_err(|message| wrong(path, &message))?;
                        Node::File { bytes: Cow::Owned(bytes.into_bytes()), executable: *executable }
                    }
                    None => as_it_is(bytes, *executable),
                };
                insert(&mut site, path, rendered, node)?;
            }
        }
    }
    Ok(site)
}

/// Takes these files, and these folders with what is in them, out of the site.
///
/// # Errors
///
/// One of them is not there: the template means something else.
pub(crate) fn leave_out(site: &mut Site<'_>, paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        if site.remove(path).is_none() {
            return Err(wrong("cookiecutter.json", &format!("__left_out names {path}, which is not there")));
        }
        let inside = format!("{path}/");
        site.retain(|other, _| !other.starts_with(&inside));
    }
    Ok(())
}

fn as_it_is(bytes: &[u8], executable: bool) -> Node<'_> {
    Node::File { bytes: Cow::Borrowed(bytes), executable }
}

fn insert<'a>(site: &mut Site<'a>, source: &str, path: String, node: Node<'a>) -> Result<(), Failure> {
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c == '\\' || c.is_control());
    if !path.split('/').all(part) {
        return Err(wrong(
            source,
            &format!("its name becomes `{}`, which is not a path inside the site", path.escape_debug()),
        ));
    }
    if let Some((folder, _)) = path.rsplit_once('/')
        && !matches!(site.get(folder), Some(Node::Folder))
    {
        return Err(wrong(source, &format!("its name becomes {path}, and there is no folder {folder}")));
    }
    if site.contains_key(&path) {
        return Err(wrong(source, &format!("its name becomes {path}, and so does that of another")));
    }
    site.insert(path, node);
    Ok(())
}

fn wrong(source: &str, message: &str) -> Failure {
    Failure::new(format!("the template's {source}: {message}"))
}

/// The text of a file that is to be rendered; none for one that cookiecutter takes for binary.
///
/// Cookiecutter goes by the file's extension, then by a statistic over its first 512 bytes. Text in UTF-8 without NUL is
/// text to both; what is not must be named in `_copy_without_render` to be certain.
fn text<'a>(path: &str, bytes: &'a [u8]) -> Option<&'a str> {
    let file = path.rsplit('/').next().unwrap_or(path);
    if let Some((stem, extension)) = file.rsplit_once('.')
        && !stem.is_empty()
        && BINARY.split_whitespace().any(|binary| extension.eq_ignore_ascii_case(binary))
    {
        return None;
    }
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The extensions of `binaryornot` 0.6, by which cookiecutter 2.7 decides.
const BINARY: &str = "
    3ds blend dae fbx glb stl usdz 7z bz2 cab gz jar lz lz4 lzma rar tar xz z zip zst aac aif aiff alac ape flac m4a mid
    midi mp3 ogg opus wav wma dwg dwf dxb step stp class dll o pyc pyo so wasm accdb db dbf mdb sqlite sqlite3 dmg img iso
    qcow2 vdi vhd vmdk doc docx epub mobi odt pages pdf ppt pptx xls xlsx com exe msi bin fw rom eot otf ttc ttf woff woff2
    gba n64 nds nes pak sav sfc smc shp shx avif bmp cr2 cr3 dng gif heic heif ico jfif jp2 jpeg jpg jxl nef orf png psd raw
    tif tiff webp xcf arrow avro fit fits hdf5 mat npy npz parquet pcap pcapng avi flv m4v mkv mov mp4 mpeg mpg ogv webm wmv";

/// Python reads text with every line ending as `\n`, and cookiecutter writes it with the ending that it found.
fn render_text(source: &str, settings: &Settings, jinja: &Jinja, cookiecutter: &Value) -> Result<String, String> {
    let unix = source.replace("\r\n", "\n").replace('\r', "\n");
    let rendered = jinja.render(&unix, cookiecutter)?;
    let newline = settings.newline.as_deref().unwrap_or_else(|| newline(source));
    Ok(if newline == "\n" { rendered } else { rendered.replace('\n', newline) })
}

/// Of mixed endings, the first in Python's own order.
fn newline(text: &str) -> &'static str {
    let rest = text.replace("\r\n", "");
    if rest.contains('\r') {
        "\r"
    } else if rest.contains('\n') || rest.len() == text.len() {
        "\n"
    } else {
        "\r\n"
    }
}
