//! A request's body, as a program gets it: with its length, for which one that has none is held back.

use crate::{Body, Context as _, Error, Result};
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// How bodies without a length are held back.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    /// What is held in memory of each; the rest is in a file.
    pub(crate) memory: u64,
    /// The most that is taken.
    pub(crate) most: u64,
    pub(crate) folder: PathBuf,
    /// They are not held back.
    pub(crate) off: bool,
}

impl Default for Spool {
    fn default() -> Self {
        Self { memory: 64 * 1024, most: 64 * 1024 * 1024, folder: std::env::temp_dir(), off: false }
    }
}

/// A body on its way to a program.
pub(crate) enum Input {
    Whole(Bytes),
    /// A file without a name, with so many bytes from its beginning.
    File(File, u64),
    Stream(Body, Option<u64>),
}

impl Input {
    pub(crate) async fn of(mut body: Body, spool: &Spool) -> Result<Self> {
        if let Some(bytes) = body.as_bytes() {
            return Ok(Self::Whole(bytes.clone()));
        }
        if let length @ Some(_) = body.len() {
            return Ok(Self::Stream(body, length));
        }
        if spool.off {
            return Ok(Self::Stream(body, None));
        }
        let mut memory: Vec<u8> = Vec::new();
        let mut length = 0;
        let mut file: Option<tokio::fs::File> = None;
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            length += piece.len() as u64;
            if length > spool.most {
                return Err(Error::body_too_large(spool.most));
            }
            if file.is_none() && length <= spool.memory {
                memory.extend_from_slice(&piece);
                continue;
            }
            let file = match &mut file {
                Some(file) => file,
                None => {
                    let folder = spool.folder.clone();
                    let made = tokio::task::spawn_blocking(move || unnamed(&folder)).await;
                    let made = made.map_err(io::Error::from).flatten();
                    let context = || format!("making a temporary file in {}", spool.folder.display());
                    let made = made.map_err(|error| no_room(error).context(context()))?;
                    file.insert(tokio::fs::File::from_std(made))
                }
            };
            let written = async {
                file.write_all(&std::mem::take(&mut memory)).await?;
                file.write_all(&piece).await
            };
            written.await.map_err(no_room)?;
        }
        let Some(mut file) = file else { return Ok(Self::Whole(memory.into())) };
        file.flush().await.map_err(no_room)?;
        let mut file = file.into_std().await;
        file.rewind().context("reading a temporary file")?;
        Ok(Self::File(file, length))
    }

    /// How many bytes there are; `None` for one that is passed on as it comes, without its length.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::File(_, length) => Some(*length),
            Self::Stream(_, length) => *length,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length() == Some(0)
    }

    /// Whether it can be sent once more.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            _ => None,
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    ///
    /// The body's own, and 400 for one that is not as long as it was said to be.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes>> {
        loop {
            let piece = match self {
                Self::Whole(bytes) if bytes.is_empty() => return None,
                Self::Whole(bytes) => return Some(Ok(std::mem::take(bytes))),
                Self::File(_, 0) => return None,
                Self::File(file, left) => {
                    let read = file.try_clone().map(tokio::fs::File::from_std);
                    let read = async {
                        let mut piece = Vec::with_capacity(64 * 1024);
                        read?.take(64 * 1024).read_to_end(&mut piece).await?;
                        Ok::<_, io::Error>(piece)
                    };
                    return match read.await {
                        Ok(piece) if piece.is_empty() => {
                            Some(Err(Error::internal("a temporary file has become shorter")))
                        }
                        Ok(piece) => {
                            *left = left.saturating_sub(piece.len() as u64);
                            Some(Ok(piece.into()))
                        }
                        Err(error) => Some(Err(Error::from(error).context("reading a temporary file"))),
                    };
                }
                Self::Stream(body, left) => match (body.frame().await, left) {
                    (None, Some(1..)) => Err(Error::bad_request("the request's body ended before its length")),
                    (None, _) => return None,
                    (Some(frame), left) => match frame.map(|frame| frame.into_data()) {
                        Ok(Ok(piece)) => match left.as_mut().map(|left| (left.checked_sub(piece.len() as u64), left)) {
                            None => Ok(piece),
                            Some((Some(rest), left)) => {
                                *left = rest;
                                Ok(piece)
                            }
                            Some((None, _)) => Err(Error::bad_request("the request's body is longer than its length")),
                        },
                        // Trailers, for which a program has no place.
                        Ok(Err(_)) => continue,
                        Err(error) => Err(error),
                    },
                },
            };
            return match piece {
                Ok(piece) if piece.is_empty() => continue,
                piece => Some(piece),
            };
        }
    }

    /// Writes all of it, and says at each step that it moves.
    ///
    /// # Errors
    ///
    /// Those of [`piece`](Self::piece). That nobody reads it is none: a program may answer without.
    pub(crate) async fn write_to(mut self, mut to: impl AsyncWrite + Unpin, progress: &Progress) -> Result<()> {
        while let Some(piece) = progress.piece(&mut self).await {
            if to.write_all(&piece?).await.is_err() {
                return Ok(());
            }
            progress.moved();
        }
        Ok(())
    }
}

/// A file that only who holds it can read, and that is gone with him.
fn unnamed(folder: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let path = folder.join(format!("purlin-cgi-{:032x}", u128::from_be_bytes(random)));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// A fault of the file system: 507 where there is no room (RFC 4918 §11.5).
fn no_room(error: io::Error) -> Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let error = Error::from(error).context("holding back a request's body until its length is known");
    if full { error.status_code(http::StatusCode::INSUFFICIENT_STORAGE) } else { error }
}

/// When something of a request last moved: an answer is waited for from then on.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<Moved>>);

/// When that was; `None` while it is the client that is waited for: how long it may keep quiet is for the server to say.
type Moved = Option<Instant>;

impl Progress {
    pub(crate) fn now() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }

    pub(crate) fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The next piece of a request's body, for which the client is waited for.
    pub(crate) async fn piece(&self, of: &mut Input) -> Option<Result<Bytes>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let piece = of.piece().await;
        self.moved();
        piece
    }

    fn last(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(Instant::now)
    }

    /// Ready when nothing has moved for so long.
    pub(crate) async fn stalled(&self, limit: std::time::Duration) {
        loop {
            let until = self.last() + limit;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::{Frame, SizeHint};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body in pieces, of which the length is told or not.
    struct Pieces(Vec<&'static [u8]>, Option<u64>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            let next = (!self.0.is_empty()).then(|| self.0.remove(0));
            Poll::Ready(next.map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
        }

        fn size_hint(&self) -> SizeHint {
            self.1.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    async fn all(mut input: Input) -> std::result::Result<Vec<u8>, u16> {
        let mut all = Vec::new();
        while let Some(piece) = input.piece().await {
            all.extend_from_slice(&piece.map_err(|error| error.status().as_u16())?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_body_has_its_length_before_it_is_passed_on() {
        let spool = Spool { memory: 4, most: 12, ..Spool::default() };
        // Pieces, the length that is told, the one that is found, all of it
        type Row = (Vec<&'static [u8]>, Option<u64>, Option<u64>, &'static str);
        let table: [Row; 6] = [
            (vec![], None, Some(0), ""),
            (vec![b"ab", b"cd"], None, Some(4), "abcd"),
            (vec![b"ab", b"cd", b"e"], None, Some(5), "abcde"),
            (vec![b"abcdefgh", b"ijkl"], None, Some(12), "abcdefghijkl"),
            (vec![b"abcdefgh", b"ijklmno"], Some(15), Some(15), "abcdefghijklmno"),
            (vec![b"", b"a", b""], Some(1), Some(1), "a"),
        ];
        for (pieces, told, length, expected) in table {
            let input = Input::of(Body::new(Pieces(pieces, told)), &spool).await.unwrap();
            assert_eq!(input.length(), length, "{expected}");
            assert_eq!(all(input).await.unwrap(), expected.as_bytes());
        }
        let large = Body::new(Pieces(vec![b"abcdefgh", b"ijklm"], None));
        assert_eq!(Input::of(large, &spool).await.err().unwrap().status(), 413);
        let off = Spool { off: true, ..spool };
        let input = Input::of(Body::new(Pieces(vec![b"abcdefgh", b"ijklm"], None)), &off).await.unwrap();
        assert_eq!(input.length(), None);
        assert_eq!(all(input).await.unwrap(), b"abcdefghijklm");
    }

    #[tokio::test]
    async fn a_body_of_another_length_than_was_told_is_an_error() {
        for told in [1, 3] {
            let body = Input::Stream(Body::new(Pieces(vec![b"a", b"b"], None)), Some(told));
            assert_eq!(all(body).await, Err(400), "{told}");
        }
    }
}
