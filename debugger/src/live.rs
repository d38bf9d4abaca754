//! The fallback where the process may not be copied: its own memory, read on the spot.

use crate::memory::{Memory, Unreadable};
use crate::system;
use std::fmt;
use std::io;

/// The memory of this process as it is now.
///
/// For the eager mode: where no [`Snapshot`](crate::Snapshot) can be had for a lasting reason, an engine renders the variables
/// at once, inside of the function that called [`capture`](crate::capture()), while the frames are still alive. Outside of it
/// their stack is somebody else's, and so is what is read.
///
/// A read of an address where nothing is mapped is an error and no crash. Unlike a snapshot it is not frozen: what other threads
/// change may be seen half changed.
///
/// ```
/// use purlin_debugger::{LiveMemory, Memory};
///
/// # #[cfg(target_os = "linux")] {
/// let memory = LiveMemory::new()?;
/// let number = 7_u32;
/// let mut bytes = [0; 4];
/// memory.read(&raw const number as u64, &mut bytes)?;
/// assert_eq!(u32::from_ne_bytes(bytes), 7);
/// assert!(memory.read(8, &mut bytes).is_err());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LiveMemory(system::Live);

impl LiveMemory {
    /// Finds out which way of reading is allowed.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the platform is not; else that no pipe could be opened, for the way that needs one.
    pub fn new() -> io::Result<Self> {
        system::Live::new().map(Self)
    }
}

impl Memory for LiveMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        self.0.read(address, buffer)
    }
}

impl fmt::Debug for LiveMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveMemory").finish_non_exhaustive()
    }
}
