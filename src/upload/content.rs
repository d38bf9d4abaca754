//! What an upload holds: bytes in memory, a temporary file, or a file that was given a name for good.

use bytes::Bytes;
use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How the names of temporary files begin, by which those that a killed process left are known.
const PREFIX: &str = "purlin-upload-";

/// After this long nobody is still at work on a temporary file.
const LEFT: Duration = Duration::from_secs(24 * 3600);

/// A file of this size is given back to the file system on a thread that may wait: that takes 5 ms for 100 MiB.
const LARGE: u64 = 1024 * 1024;

/// The bytes of an upload, wherever they are.
#[derive(Debug)]
pub(crate) enum Content {
    Memory(Bytes),
    Temporary(TempFile),
    Kept(PathBuf),
    /// On another thread, to be kept; for good, if nobody waited for that.
    Away,
}

impl Content {
    /// The file it is in, if it is not in memory.
    pub(crate) fn path(&self) -> io::Result<&Path> {
        match self {
            Self::Temporary(temp) => Ok(&temp.path),
            Self::Kept(path) => Ok(path),
            Self::Memory(_) => Err(io::Error::other("it is in memory")),
            Self::Away => Err(io::Error::other("the wait for it to be kept was given up")),
        }
    }

    /// Gives it a name for good, under which it is found whole or not at all, also after the power fails.
    pub(crate) fn persist(&mut self, to: &Path, overwrite: bool) -> io::Result<()> {
        let folder = match to.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let moved = match self {
            Self::Temporary(temp) => temp.persist(to, overwrite),
            _ => Err(io::ErrorKind::CrossesDevices.into()),
        };
        match moved {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let (mut near, mut file) = TempFile::create(folder)?;
                match self {
                    Self::Memory(bytes) => file.write_all(bytes)?,
                    _ => near.length = io::copy(&mut File::open(self.path()?)?, &mut file)?,
                }
                near.persist(to, overwrite)?;
            }
            moved => moved?,
        }
        sync_folder(folder);
        *self = Self::Kept(to.to_owned());
        Ok(())
    }
}

/// Makes the new name last. It is there already: what fails here is told to the log.
fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::warn!("the folder {} could not be synced: {error}", folder.display());
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// A file that nobody else can read, and that is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct TempFile {
    /// Empty once it has another name.
    path: PathBuf,
    pub(crate) length: u64,
}

impl TempFile {
    /// Makes one, of a name that nobody can guess.
    pub(crate) fn create(folder: &Path) -> io::Result<(Self, File)> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let random = Base64UrlSafeNoPadding::encode_to_string(random).map_err(io::Error::other)?;
        let path = folder.join(format!("{PREFIX}{random}"));
        let mut options = OpenOptions::new();
        // Never one that is there already, nor what a link of that name points to.
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok((Self { path, length: 0 }, file))
    }

    /// Gives it another name on the same file system.
    fn persist(&mut self, to: &Path, overwrite: bool) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        if overwrite {
            fs::rename(&self.path, to)?;
            self.path = PathBuf::new();
            return Ok(());
        }
        match fs::hard_link(&self.path, to) {
            Ok(()) => self.remove(),
            // Not every file system has second names for a file. There an empty one claims the name first.
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {
                OpenOptions::new().write(true).create_new(true).open(to)?;
                if let Err(error) = fs::rename(&self.path, to) {
                    let _ = fs::remove_file(to);
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        self.path = PathBuf::new();
        Ok(())
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("the temporary file {} could not be removed: {error}", self.path.display());
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        // The name goes at once. As long as the file is open its blocks stay, and to give those back is what takes time.
        let open = (self.length >= LARGE).then(|| File::open(&self.path).ok()).flatten();
        self.remove();
        if let (Some(open), Ok(runtime)) = (open, tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(open));
        }
    }
}

/// Makes the folder where it is missing, and finds out whether files can be made in it.
pub(crate) fn prepare(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    TempFile::create(folder).map(drop)
}

/// Removes the temporary files that a killed process has left, and says how many.
pub(crate) fn sweep(folder: &Path, now: SystemTime) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)?.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let left = || {
            let metadata = entry.metadata().ok().filter(|metadata| metadata.is_file())?;
            now.duration_since(metadata.modified().ok()?).ok().filter(|age| *age >= LEFT)
        };
        if ours && left().is_some() && fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}
