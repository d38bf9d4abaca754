//! `Upload`: a file that came with a form, and what is believed of it.
//!
//! Nothing that a client says of a file is true because it says so: its name and its type are told apart from what was made
//! of them or found in the file. The file itself is in memory while it is small and in a temporary file from there on, and
//! wherever it is, it is gone when the `Upload` is dropped: after an answer without [`persist`](Upload::persist), an error, a
//! panic, or because the client went away.
//!
//! # Limits
//!
//! | | Default | Setting | |
//! |---|---|---|---|
//! | the whole body | 2 MiB | `body_limit`: the layer [`BodyLimit`](crate::layers::BodyLimit) | 413 |
//! | one file | 1 GiB | `uploads.max_file_bytes` | 413 |
//! | all text fields together | 1 MiB | `uploads.max_field_bytes` | 413 |
//! | parts: fields and files | 100 | `uploads.max_parts` | 413 |
//! | the headers of a part | 8 KiB | `uploads.max_header_bytes` | 413 |
//! | a file in memory | 64 KiB | `uploads.memory` | goes to disk |
//!
//! All but the first are also those of the layer [`Uploads`](crate::layers::Uploads), for a site or a route. **A route that
//! takes large files needs a `BodyLimit` of its own**, which is the one limit of everything that is sent. And since an answer
//! waits for its form, the layer [`Deadline`](crate::layers::Deadline) bounds the time that an upload may take: 30 seconds where
//! `answer_within` says no more.
//!
//! So a form has in memory, at most: its text fields, 64 KiB for each of its 100 parts, two batches of 256 KiB on their way to
//! disk, and the piece of the body that came last.
//!
//! # What is refused
//!
//! | | |
//! |---|---|
//! | another content type than `multipart/form-data` | 415 |
//! | no boundary, two, or one of more than 70 characters | 400 |
//! | a body that ends before its last boundary, or does not begin with one | 400 |
//! | a part without a name, or with a head that is no head or no UTF-8 | 400 |
//! | `filename*` alone (RFC 7578 §4.2); beside `filename` it is left aside | 400 |
//! | a part with parts of its own, or in base64 (RFC 7578 §4.3, §4.7) | 415 |
//! | text that is not UTF-8 | 400, or 415 where its charset is named |
//! | nothing for [`body_timeout`](crate::Server::body_timeout) | 408 |
//! | no room on the disk | 507 |

mod content;
mod file_name;
mod spool;

pub(crate) use content::{prepare, sweep};
pub(crate) use file_name::sanitised;
pub(crate) use spool::{Spool, failed};

use crate::config::UploadsConfig;
use crate::multipart::{Head, shown};
use crate::{Error, Request, Result, media_type};
use bytes::Bytes;
use content::Content;
use http::StatusCode;
use std::fmt;
use std::io::{self, Cursor};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::spawn_blocking;

/// How much of a file's beginning is looked at for [`Upload::detected_type`].
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// A file that came with a form.
///
/// ```
/// use purlin::extract::MultipartForm;
/// use purlin::{Redirect, Result};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Entry { title: String }
///
/// async fn add(MultipartForm(entry, mut files): MultipartForm<Entry>) -> Result<Redirect> {
///     let mut photo = files.require("photo")?;
///     let id = 7; // from a database; a path is never made of what a client says
///     photo.persist(format!("photos/{id}")).await?;
///     println!("{}: {} is stored", entry.title, photo.file_name());
///     Ok(Redirect::see_other(format!("/photos/{id}")))
/// }
/// # purlin::post(add);
/// ```
pub struct Upload {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
    detected: Option<&'static str>,
    content: Content,
    length: u64,
}

impl Upload {
    pub(crate) async fn new(head: Head, spool: Spool, signature: &[u8]) -> Result<Self> {
        let Head { name, file_name, content_type } = head;
        let (content, length) = spool.finish().await?;
        let detected = media_type::of_signature(signature);
        Ok(Self { name, file_name, content_type, detected, content, length })
    }

    /// The name of the form's field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A name to show, or to save it under in a folder of its own; `file` where nothing is left of it.
    ///
    /// The last part of the path, without control characters and marks that hide or reverse what follows, without dots and
    /// white space at its ends, `_` for what Windows allows in no name and before the name of one of its devices
    /// (`_con.txt`), and 200 bytes at most, of which a short extension is kept. Two uploads may have one name, and an
    /// extension may lie: no path on the server should be made of it alone.
    pub fn file_name(&self) -> String {
        sanitised(self.untrusted_file_name().unwrap_or_default())
    }

    /// The name as the client sent it, which may be a path, `..`, or have line ends in it. `None` where there was none.
    pub fn untrusted_file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// The content type that the client claims, as it was sent: browsers go by the extension of the name.
    pub fn claimed_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The media type whose signature the file begins with: see [`media_type::of_signature`].
    ///
    /// A file that begins as an image may be something else too. Who answers with uploads sends this type, or
    /// [`OCTET_STREAM`](media_type::OCTET_STREAM) where there is none, and `X-Content-Type-Options: nosniff`.
    pub fn detected_type(&self) -> Option<&'static str> {
        self.detected
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The whole file, in memory: what it costs is up to `uploads.max_file_bytes`.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub async fn bytes(&self) -> Result<Bytes> {
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.clone()),
            file => Ok(tokio::fs::read(file.path().map_err(unread)?).await.map_err(unread)?.into()),
        }
    }

    /// Reads it from its beginning, piece by piece.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub async fn reader(&self) -> Result<Reader> {
        Ok(Reader(match &self.content {
            Content::Memory(bytes) => Source::Memory(Cursor::new(bytes.clone())),
            file => Source::File(tokio::fs::File::open(file.path().map_err(unread)?).await.map_err(unread)?),
        }))
    }

    /// Keeps it under this path for good, if nothing is there yet.
    ///
    /// It is there whole or not at all, also if the power fails: on the file system of `uploads.folder` it gets another name,
    /// on another it is copied beside its place first; both wait for the disk. Only this user may read it (mode 0600). Once
    /// begun it is done to the end, also if the handler is dropped meanwhile. Where it fails the upload is as it was, to be
    /// kept elsewhere.
    ///
    /// # Errors
    ///
    /// 409 if there is a file of this name, 507 if there is no room, 500 for another fault of the file system.
    pub async fn persist(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.keep(path.as_ref(), false).await
    }

    /// Keeps it under this path for good, instead of what is there: whoever opens the path finds the one or the other.
    ///
    /// # Errors
    ///
    /// As [`persist`](Self::persist), but for 409.
    pub async fn replace(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.keep(path.as_ref(), true).await
    }

    async fn keep(&mut self, path: &Path, overwrite: bool) -> Result<()> {
        let mut content = std::mem::replace(&mut self.content, Content::Away);
        let to = path.to_owned();
        let kept = spawn_blocking(move || {
            let result = content.persist(&to, overwrite);
            (content, result)
        });
        let (content, result) =
            kept.await.map_err(io::Error::from).map_err(|error| failed(error, "keeping an upload"))?;
        self.content = content;
        result.map_err(|error| {
            let taken = error.kind() == io::ErrorKind::AlreadyExists;
            let error = failed(error, format!("keeping an upload as {}", path.display()));
            if taken { error.status_code(StatusCode::CONFLICT).public("There is a file of this name.") } else { error }
        })
    }
}

#[track_caller]
fn unread(error: io::Error) -> Error {
    failed(error, "reading an upload")
}

/// Without the content.
impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("name", &self.name)
            .field("file_name", &self.file_name())
            .field("claimed_type", &self.content_type)
            .field("detected_type", &self.detected)
            .field("len", &self.length)
            .finish_non_exhaustive()
    }
}

/// Reads an [`Upload`].
#[derive(Debug)]
pub struct Reader(Source);

#[derive(Debug)]
enum Source {
    Memory(Cursor<Bytes>),
    File(tokio::fs::File),
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Source::Memory(bytes) => Pin::new(bytes).poll_read(cx, buf),
            Source::File(file) => Pin::new(file).poll_read(cx, buf),
        }
    }
}

/// The files of a form, in the order in which they came.
///
/// A field that was left empty, for which browsers send a file without a name and without content, is not among them.
#[derive(Debug, Default)]
pub struct Files(Vec<Upload>);

impl Files {
    pub(crate) fn add(&mut self, upload: Upload) {
        if !(upload.is_empty() && upload.untrusted_file_name().is_none_or(str::is_empty)) {
            self.0.push(upload);
        }
    }

    /// Takes the file of this field; `None` if there is none.
    ///
    /// # Errors
    ///
    /// 400 if there are several.
    pub fn take(&mut self, name: &str) -> Result<Option<Upload>> {
        let mut found = self.take_all(name);
        if found.len() > 1 {
            let message = format!("expected one file of the field {}, found {}", shown(name), found.len());
            let public = format!("The form has {} files where it should have one.", found.len());
            return Err(Error::bad_request(message).public(public));
        }
        Ok(found.pop())
    }

    /// Takes the file of this field.
    ///
    /// # Errors
    ///
    /// 422 if there is none, 400 if there are several.
    pub fn require(&mut self, name: &str) -> Result<Upload> {
        self.take(name)?.ok_or_else(|| {
            let message = format!("expected a file of the field {}, found none", shown(name));
            Error::new(StatusCode::UNPROCESSABLE_ENTITY, message).public("Please choose a file.")
        })
    }

    /// Takes all files of this field.
    pub fn take_all(&mut self, name: &str) -> Vec<Upload> {
        self.0.extract_if(.., |upload| upload.name == name).collect()
    }

    /// The files that nobody has taken.
    pub fn iter(&self) -> std::slice::Iter<'_, Upload> {
        self.0.iter()
    }

    /// How many nobody has taken.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Files {
    type Item = &'a Upload;
    type IntoIter = std::slice::Iter<'a, Upload>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Files {
    type Item = Upload;
    type IntoIter = std::vec::IntoIter<Upload>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What forms with files may have; in the extensions below the layer `Uploads`.
#[derive(Clone, Debug)]
pub(crate) struct UploadSettings(pub(crate) Arc<UploadsConfig>);

static DEFAULT: LazyLock<UploadSettings> = LazyLock::new(|| UploadSettings(Arc::default()));

impl UploadSettings {
    pub(crate) fn of(req: &Request) -> Self {
        req.extensions().get::<Self>().unwrap_or(&DEFAULT).clone()
    }
}
