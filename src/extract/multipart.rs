//! Forms with files: `Multipart` as they come, part by part, and `MultipartForm` as a struct with the files beside it.

use super::expect_type;
use crate::body::DEFAULT_BODY_LIMIT;
use crate::config::UploadsConfig;
use crate::error::bytes_in_words;
use crate::form::{Fields, Rules, Submitted, read_whole};
use crate::multipart::{Event, Framing, Head, boundary, charset, malformed, shown, too_large, unsupported};
use crate::report::Trail;
use crate::request::MaxBody;
use crate::site::Needs;
use crate::upload::{Files, SIGNATURE_BYTES, Spool, Upload, UploadSettings, sanitised};
use crate::{Body, Error, FromRequest, Request, Result};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;

/// A form sent as `multipart/form-data` (RFC 7578), read part by part as it arrives.
///
/// For what [`MultipartForm`] is not made for: files that go elsewhere than to the disk, or forms that are looked at before
/// all of them has arrived. Nothing is held but the piece of the body that came last.
///
/// [What is refused, and the limits](crate::upload#limits), are the same for both.
///
/// ```
/// use purlin::extract::Multipart;
/// use purlin::Result;
///
/// async fn sizes(mut form: Multipart) -> Result<String> {
///     let mut sizes = String::new();
///     while let Some(mut part) = form.next().await? {
///         let (name, mut length) = (part.name().to_owned(), 0);
///         while let Some(piece) = part.chunk().await? {
///             length += piece.len();
///         }
///         sizes.push_str(&format!("{name}: {length} bytes\n"));
///     }
///     Ok(sizes)
/// }
/// # purlin::post(sizes);
/// ```
///
/// # Errors
///
/// 415 for another content type, 400 for a boundary that is missing or none. What the body has to say comes with its parts.
pub struct Multipart {
    body: Body,
    framing: Framing,
    settings: Arc<UploadsConfig>,
    parts: usize,
    text_bytes: u64,
    within_part: bool,
    failed: bool,
    trail: Option<Trail>,
}

impl Multipart {
    /// The next part; `None` once the form has ended. What was not read of the part before is skipped.
    ///
    /// # Errors
    ///
    /// [What is refused, and the limits](crate::upload#limits); the body's own error. After one there is nothing but errors.
    pub async fn next(&mut self) -> Result<Option<Part<'_>>> {
        while self.within_part {
            self.content().await?;
        }
        let head = loop {
            match self.event().await? {
                Some(Event::Part(head)) => break head,
                Some(_) => {}
                None => return Ok(None),
            }
        };
        self.parts += 1;
        if self.parts > self.settings.max_parts {
            let limit = self.settings.max_parts;
            return self.fail(too_large(
                format!("expected at most {limit} parts in a form, found more (setting `uploads.max_parts`)"),
                format!("The form has more than {limit} fields and files."),
            ));
        }
        self.within_part = true;
        Ok(Some(Part { form: self, head, length: 0 }))
    }

    /// The next piece of the part that was begun; `None` at its end.
    async fn content(&mut self) -> Result<Option<Bytes>> {
        while self.within_part {
            match self.event().await? {
                Some(Event::Content(bytes)) => return Ok(Some(bytes)),
                Some(Event::PartEnd) | None => self.within_part = false,
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// The next event for which nothing has to be read any more; `None` where the body ends, as it should.
    async fn event(&mut self) -> Result<Option<Event>> {
        if self.failed {
            return Err(malformed("it has failed before".to_owned()));
        }
        loop {
            match self.framing.next() {
                Ok(Event::Starved) => {}
                Ok(event) => return Ok(Some(event)),
                Err(error) => return self.fail(error),
            }
            let data = match self.body.frame().await {
                None => return self.framing.end().map(|()| None).or_else(|error| self.fail(error)),
                Some(Err(error)) => return self.fail(error.context("reading a form")),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            self.framing.push(data);
        }
    }

    fn fail<T>(&mut self, error: Error) -> Result<T> {
        self.failed = true;
        // Nobody will read it, and it may hold a lot.
        self.body = Body::empty();
        Err(error)
    }
}

impl FromRequest for Multipart {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let found = req.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if let Err(error) = expect_type(req.headers(), FORM_DATA, |essence| essence == FORM_DATA) {
            // What a page sends whose form does not say how.
            let plain = found.starts_with("application/x-www-form-urlencoded");
            return Err(if plain {
                error.context("its page needs <form enctype=\"multipart/form-data\">")
            } else {
                error
            });
        }
        let settings = UploadSettings::of(req).0;
        let framing = Framing::new(&boundary(found)?, settings.max_header_bytes);
        let body = match req.extensions().get::<MaxBody>() {
            Some(_) => req.body_mut().take(),
            None => req.body_mut().take().limited(MaxBody::new(DEFAULT_BODY_LIMIT)),
        };
        let trail = Trail::of(req).cloned();
        Ok(Self { body, framing, settings, parts: 0, text_bytes: 0, within_part: false, failed: false, trail })
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}

const FORM_DATA: &str = "multipart/form-data";

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipart").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// A part of a form: a text field or a file, whose content has not arrived yet.
pub struct Part<'a> {
    form: &'a mut Multipart,
    head: Head,
    length: u64,
}

impl Part<'_> {
    /// The name of the form's field.
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// Whether it is a file: browsers name every file, if only by nothing, and no text.
    pub fn is_file(&self) -> bool {
        self.head.file_name.is_some()
    }

    /// See [`Upload::file_name`]; `None` for a text field.
    pub fn file_name(&self) -> Option<String> {
        self.untrusted_file_name().map(sanitised)
    }

    /// See [`Upload::untrusted_file_name`].
    pub fn untrusted_file_name(&self) -> Option<&str> {
        self.head.file_name.as_deref()
    }

    /// See [`Upload::claimed_type`].
    pub fn claimed_type(&self) -> Option<&str> {
        self.head.content_type.as_deref()
    }

    /// The next piece of its content, never empty; `None` at its end.
    ///
    /// # Errors
    ///
    /// 413 where it is over its limit, and as [`Multipart::next`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let Some(piece) = self.form.content().await? else {
            return Ok(None);
        };
        self.length += piece.len() as u64;
        let settings = &self.form.settings;
        if self.is_file() {
            if self.length > settings.max_file_bytes {
                let (limit, name) = (bytes_in_words(settings.max_file_bytes), shown(&self.head.name));
                let message = format!("the file {name} is larger than {limit} (setting `uploads.max_file_bytes`)");
                return self.form.fail(too_large(message, format!("A file is larger than {limit}.")));
            }
            return Ok(Some(piece));
        }
        self.form.text_bytes += piece.len() as u64;
        if self.form.text_bytes > settings.max_field_bytes {
            let limit = bytes_in_words(settings.max_field_bytes);
            let message = format!("the text fields are larger than {limit} (setting `uploads.max_field_bytes`)");
            return self.form.fail(too_large(message, format!("The fields of the form have more than {limit}.")));
        }
        Ok(Some(piece))
    }

    /// The whole content, as text.
    ///
    /// # Errors
    ///
    /// 400 where it is not UTF-8, 415 where it is not and another charset is named, 413 where the form's fields have too much
    /// text, and as [`Multipart::next`].
    pub async fn text(mut self) -> Result<String> {
        let mut text = Vec::new();
        while let Some(piece) = self.chunk().await? {
            text.extend_from_slice(&piece);
        }
        let charset = self.claimed_type().and_then(charset);
        if let Some(charset) = charset.filter(|charset| !charset.eq_ignore_ascii_case("utf-8"))
            && !text.is_ascii()
        {
            let (name, charset) = (shown(self.name()), shown(&charset));
            return Err(unsupported(format!("expected the field {name} in UTF-8, found {charset}")));
        }
        let text = String::from_utf8(text).map_err(|error| {
            let (name, at) = (shown(self.name()), error.utf8_error().valid_up_to());
            malformed(format!("expected the field {name} in UTF-8, found other bytes at {at}"))
        })?;
        if let Some(trail) = &self.form.trail {
            trail.leave_field(self.name(), &text);
        }
        Ok(text)
    }

    /// The whole content, in memory while it is small and in a temporary file from there on.
    ///
    /// # Errors
    ///
    /// 413 where it is over its limit, 507 where the disk has no room, and as [`Multipart::next`].
    pub async fn upload(mut self) -> Result<Upload> {
        let mut spool = Spool::new(self.form.settings.clone());
        let mut signature = Vec::new();
        while let Some(piece) = self.chunk().await? {
            let wanted = SIGNATURE_BYTES.saturating_sub(signature.len()).min(piece.len());
            signature.extend_from_slice(&piece[..wanted]);
            if let Err(error) = spool.write(&piece).await {
                return self.form.fail(error);
            }
        }
        match Upload::new(self.head, spool, &signature).await {
            Ok(upload) => Ok(upload),
            Err(error) => self.form.fail(error),
        }
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = f.debug_struct("Part");
        part.field("name", &self.name()).field("file_name", &self.file_name());
        part.field("claimed_type", &self.claimed_type()).finish_non_exhaustive()
    }
}

/// A form sent as `multipart/form-data`: its text fields as a struct that derives `Deserialize`, and its files.
///
/// The text fields are read as those of a [`Form`](super::Form), or, as `MultipartForm<Submitted<T>>`, as those of a
/// [`Submitted`], which is shown again with what is wrong with it. Files are taken by name: see [`Files`]. All of it has
/// arrived before the handler begins.
///
/// ```
/// use purlin::extract::MultipartForm;
/// use purlin::Result;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Entry { title: String }
///
/// async fn add(MultipartForm(entry, mut files): MultipartForm<Entry>) -> Result<String> {
///     let photo = files.require("photo")?;           // 422 without one
///     let sound = files.take("sound")?;              // perhaps
///     let documents = files.take_all("documents");   // <input type="file" multiple>
///     Ok(format!("{}: {photo:?}, {sound:?}, {} documents", entry.title, documents.len()))
/// }
/// # purlin::post(add);
/// ```
///
/// # Errors
///
/// [What is refused, and the limits](crate::upload#limits); 400, naming the field, where the text fields do not fit.
#[derive(Debug)]
pub struct MultipartForm<T>(pub T, pub Files);

impl<T: FromFields + Send + 'static> FromRequest for MultipartForm<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let form = Multipart::from_request(req).await?;
        let limit = form.settings.max_parts;
        let (texts, files) = form.collect().await?;
        let value = Fields::collect(texts, limit).and_then(|fields| T::from_fields(&fields));
        Ok(Self(value.map_err(|error| error.context("reading the form"))?, files))
    }

    fn needs(needs: &mut Needs) {
        needs.body::<Self>();
    }
}

/// What the text fields of a form can be taken as: what derives `Deserialize`, or a [`Submitted`] of it. It has no other
/// implementations.
pub trait FromFields: Sized {
    /// Reads the fields.
    ///
    /// # Errors
    ///
    /// 400, naming the field.
    fn from_fields(fields: &Fields<'_>) -> Result<Self>;
}

impl<T: DeserializeOwned> FromFields for T {
    fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        read_whole(fields, "The form")
    }
}

impl<T: DeserializeOwned + Rules> FromFields for Submitted<T> {
    fn from_fields(fields: &Fields<'_>) -> Result<Self> {
        Self::of(fields)
    }
}

impl Multipart {
    /// The names and values of the text fields, and the files.
    async fn collect(mut self) -> Result<(Vec<(String, String)>, Files)> {
        let (mut texts, mut files) = (Vec::new(), Files::default());
        while let Some(part) = self.next().await? {
            if part.is_file() {
                files.add(part.upload().await?);
            } else {
                texts.push((part.name().to_owned(), part.text().await?));
            }
        }
        Ok((texts, files))
    }
}
