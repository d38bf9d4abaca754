//! Says what forms with files may have, and where the files go.

use crate::config::UploadsConfig;
use crate::error::bytes_in_words;
use crate::site::{About, Start};
use crate::upload::{UploadSettings, failed, prepare, sweep};
use crate::{Middleware, Request, Response, Result, Service};
use http::header::CONTENT_TYPE;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// Sets the limits of uploads, and their folder, for everything below: a site, or a route.
///
/// What an option leaves open is as further out, and without any such layer as [the defaults](crate::upload#limits) have it.
/// The size of a whole form is not among them: that is [`BodyLimit`](super::BodyLimit)'s, for this and every other body.
///
/// When the site starts, the folder is made if it is missing (mode 0700), tried, and rid of what a process that was killed
/// has left in it more than a day ago.
///
/// ```
/// use purlin::extract::Multipart;
/// use purlin::layers::{BodyLimit, Uploads};
/// use purlin::{Config, Router, Stack, post};
///
/// async fn upload(form: Multipart) {}
///
/// let config = Config::default();
/// let upload = post(upload).layer(BodyLimit::new(100 << 20)).layer(Uploads::new().max_file_bytes(50 << 20));
/// let app = Stack::new()
///     .layer(BodyLimit::new(config.body_limit))
///     .layer(Uploads::from_config(&config.uploads))
///     .app(Router::new().route("/photos", upload));
/// # app.check().unwrap();
/// ```
///
/// # Errors
///
/// When the site starts: a folder in which no file can be made.
#[derive(Clone, Debug, Default)]
pub struct Uploads {
    folder: Option<PathBuf>,
    memory: Option<u64>,
    max_file_bytes: Option<u64>,
    max_field_bytes: Option<u64>,
    max_parts: Option<usize>,
    max_header_bytes: Option<usize>,
}

impl Uploads {
    /// Leaves everything as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// As the section `[uploads]` of the configuration says.
    pub fn from_config(config: &UploadsConfig) -> Self {
        Self::new()
            .folder(config.temporary_folder())
            .memory(config.memory)
            .max_file_bytes(config.max_file_bytes)
            .max_field_bytes(config.max_field_bytes)
            .max_parts(config.max_parts)
            .max_header_bytes(config.max_header_bytes)
    }

    /// The folder of the temporary files; the system's by default, which on some systems is kept in memory.
    ///
    /// Uploads that are kept on the same file system need not be copied.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The largest file that is kept in memory; 64 KiB by default, and with 0 none is.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// The largest file; 1 GiB by default.
    pub fn max_file_bytes(mut self, bytes: u64) -> Self {
        self.max_file_bytes = Some(bytes);
        self
    }

    /// The most that the text fields of a form may have together; 1 MiB by default.
    pub fn max_field_bytes(mut self, bytes: u64) -> Self {
        self.max_field_bytes = Some(bytes);
        self
    }

    /// How many parts a form may have, fields and files; 100 by default.
    pub fn max_parts(mut self, parts: usize) -> Self {
        self.max_parts = Some(parts);
        self
    }

    /// The most that the headers of one part may have; 8 KiB by default.
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.max_header_bytes = Some(bytes);
        self
    }

    fn within(&self, outer: &UploadsConfig) -> UploadsConfig {
        UploadsConfig {
            folder: self.folder.clone().unwrap_or_else(|| outer.folder.clone()),
            memory: self.memory.unwrap_or(outer.memory),
            max_file_bytes: self.max_file_bytes.unwrap_or(outer.max_file_bytes),
            max_field_bytes: self.max_field_bytes.unwrap_or(outer.max_field_bytes),
            max_parts: self.max_parts.unwrap_or(outer.max_parts),
            max_header_bytes: self.max_header_bytes.unwrap_or(outer.max_header_bytes),
        }
    }
}

fn is_multipart(content_type: &[u8]) -> bool {
    content_type.get(..MULTIPART.len()).is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART))
}

const MULTIPART: &[u8] = b"multipart/";

impl Middleware for Uploads {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        // Other requests have no use for it.
        if req.headers().get(CONTENT_TYPE).is_some_and(|value| is_multipart(value.as_bytes())) {
            let settings = self.within(&UploadSettings::of(&req).0);
            req.extensions_mut().insert(UploadSettings(Arc::new(settings)));
        }
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        let sizes = [
            ("memory", self.memory),
            ("max_file_bytes", self.max_file_bytes),
            ("max_field_bytes", self.max_field_bytes),
            ("max_header_bytes", self.max_header_bytes.map(|bytes| bytes as u64)),
        ];
        for (name, bytes) in sizes {
            if let Some(bytes) = bytes {
                about.option(name, bytes_in_words(bytes));
            }
        }
        if let Some(parts) = self.max_parts {
            about.option("max_parts", parts);
        }
        if let Some(folder) = &self.folder {
            about.option("folder", folder.display());
        }
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        prepare(&folder).map_err(|error| {
            failed(error, format!("making a file in the folder {} (setting `uploads.folder`)", folder.display()))
                .context("the layer Uploads")
        })?;
        start.task("removing uploads that were left", |_| async move {
            let shown = folder.display().to_string();
            match tokio::task::spawn_blocking(move || sweep(&folder, SystemTime::now())).await {
                Ok(Ok(0)) | Err(_) => {}
                Ok(Ok(files)) => tracing::info!(files, "removed uploads that a killed process had left in {shown}"),
                Ok(Err(error)) => tracing::warn!("the folder {shown} could not be read: {error}"),
            }
        });
        Ok(())
    }
}
