//! The folder in which the sockets of processes are.

use crate::{Context as _, Error, Result};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A private folder for the sockets of the processes, removed with all in it when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new one among the temporary files, which only this user can enter.
    ///
    /// # Errors
    ///
    /// It cannot be made; or its path is too long for that of a socket, with the variable to set.
    pub(crate) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("purlin-{:016x}", getrandom::u64()?));
        // The shortest limit of all systems is 104 bytes (sockaddr_un), of which some are left for the file's name.
        if path.as_os_str().len() > 80 {
            let message = format!(
                "expected a folder for temporary files with a path of at most 55 bytes, for sockets in it, found {}: set TMPDIR",
                std::env::temp_dir().display()
            );
            return Err(Error::internal(message));
        }
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.context(format!("making the folder {} for sockets", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_for_sockets_is_ones_own_and_goes_with_it() {
        use std::os::unix::fs::MetadataExt;
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        std::fs::write(path.join("1"), "").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
