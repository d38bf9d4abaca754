//! Takes an upload's bytes as they come: into memory while they are few, into a temporary file from there on.

use super::content::{Content, TempFile};
use crate::config::UploadsConfig;
use crate::{Error, Result};
use http::StatusCode;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};

/// How much is written at a time, while as much is read: twice this is held of a file on its way to disk.
const BATCH: usize = 256 * 1024;

/// One file on its way.
pub(crate) struct Spool {
    settings: Arc<UploadsConfig>,
    buffer: Vec<u8>,
    file: Option<(TempFile, Arc<File>)>,
    /// The write under way, which gives its buffer back.
    writing: Option<JoinHandle<(Vec<u8>, io::Result<()>)>>,
    length: u64,
}

impl Spool {
    pub(crate) fn new(settings: Arc<UploadsConfig>) -> Self {
        Self { settings, buffer: Vec::new(), file: None, writing: None, length: 0 }
    }

    /// Takes more bytes. The file is written beside, one batch at a time, on the threads that tokio keeps for what blocks.
    ///
    /// # Errors
    ///
    /// 507 where there is no room, 500 for another fault of the file system.
    pub(crate) async fn write(&mut self, mut piece: &[u8]) -> Result<()> {
        self.length += piece.len() as u64;
        if self.file.is_none() {
            if self.length <= self.settings.memory {
                self.buffer.extend_from_slice(piece);
                return Ok(());
            }
            self.file = Some(self.create().await?);
        }
        while !piece.is_empty() {
            if self.buffer.len() >= BATCH {
                self.flush().await?;
            }
            // More than a batch is in it only if `memory` is more.
            let room = BATCH.saturating_sub(self.buffer.len());
            let (now, later) = piece.split_at(piece.len().min(room));
            if self.buffer.capacity() < BATCH {
                self.buffer.reserve_exact(room);
            }
            self.buffer.extend_from_slice(now);
            piece = later;
        }
        Ok(())
    }

    /// All that was taken; its length beside it.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub(crate) async fn finish(mut self) -> Result<(Content, u64)> {
        self.flush().await?;
        self.written().await?;
        let content = match self.file {
            Some((temp, _)) => Content::Temporary(temp),
            // Of its own length: the room that a growing buffer has in reserve is not kept with it.
            None => Content::Memory(self.buffer.into_boxed_slice().into()),
        };
        Ok((content, self.length))
    }

    async fn create(&self) -> Result<(TempFile, Arc<File>)> {
        let folder = self.settings.temporary_folder().to_owned();
        let doing = format!("making a temporary file in {} (setting `uploads.folder`)", folder.display());
        let created = spawn_blocking(move || TempFile::create(&folder)).await;
        match created.map_err(io::Error::from).flatten() {
            Ok((temp, file)) => Ok((temp, Arc::new(file))),
            Err(error) => Err(failed(error, doing)),
        }
    }

    /// Begins to write what the buffer has, as soon as all before it is written.
    async fn flush(&mut self) -> Result<()> {
        let Some((temp, file)) = &mut self.file else { return Ok(()) };
        temp.length = self.length;
        let file = file.clone();
        let empty = self.written().await?;
        let full = std::mem::replace(&mut self.buffer, empty);
        self.writing = Some(spawn_blocking(move || {
            let result = (&*file).write_all(&full);
            (full, result)
        }));
        Ok(())
    }

    /// Waits for the write under way, and returns its buffer, empty.
    async fn written(&mut self) -> Result<Vec<u8>> {
        let Some(writing) = &mut self.writing else { return Ok(Vec::new()) };
        // It stays in its place until it has ended: a wait that is given up forgets nothing.
        let result = writing.await;
        self.writing = None;
        match result {
            Ok((mut buffer, Ok(()))) => {
                buffer.clear();
                Ok(buffer)
            }
            Ok((_, Err(error))) => Err(failed(error, "writing an upload to its temporary file")),
            Err(error) => Err(failed(error.into(), "writing an upload to its temporary file")),
        }
    }
}

/// A fault of the file system.
#[track_caller]
pub(crate) fn failed(error: io::Error, doing: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    let no_room = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error = Error::from(error).context(doing);
    if no_room {
        // RFC 4918 §11.5
        return error.status_code(StatusCode::INSUFFICIENT_STORAGE).public("There is no room left to store the file.");
    }
    error
}
