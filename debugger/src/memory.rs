//! What an engine reads: the registers of stopped frames, and memory that stands still.

use std::fmt;

/// The registers of one frame of a thread that was stopped: the ones that a frame keeps across a call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Registers {
    /// The address to look the frame up by: already one less than the return address, unless a signal interrupted the frame.
    pub ip: u64,
    /// The stack pointer at the call that the frame is in: the canonical frame address (CFA) of the frame it called.
    pub sp: u64,
    /// x86_64: `rbp`; aarch64: `x29`.
    pub frame_pointer: u64,
    /// x86_64: `rbx`; aarch64: `x19`.
    pub base: u64,
}

/// Memory that does not change while it is read.
///
/// Anything can play it: the [`Snapshot`](crate::Snapshot) of a failed request, or in a test a row of bytes.
///
/// ```
/// use purlin_debugger::{Memory, Unreadable};
///
/// /// Bytes that are said to stand at 0x1000.
/// struct Bytes(&'static [u8]);
///
/// impl Memory for Bytes {
///     fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
///         let from = address.wrapping_sub(0x1000) as usize;
///         let bytes = self.0.get(from..).and_then(|rest| rest.get(..buffer.len()));
///         buffer.copy_from_slice(bytes.ok_or(Unreadable::Unmapped { address })?);
///         Ok(())
///     }
/// }
///
/// let mut word = [0; 2];
/// Bytes(b"purlin").read(0x1002, &mut word)?;
/// assert_eq!(&word, b"rl");
/// assert!(Bytes(b"purlin").read(0, &mut word).is_err());
/// # Ok::<(), Unreadable>(())
/// ```
pub trait Memory {
    /// Fills `buffer` with the bytes from `address` on. After an error its content means nothing.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] names the address that could not be read, or why nothing can be read any more.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable>;
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        (**self).read(address, buffer)
    }
}

/// Why memory could not be read. Its text is a sentence for the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unreadable {
    /// Nothing is mapped there, or nothing that may be read: where a dangling pointer leads.
    Unmapped {
        /// An address of the part that cannot be read, not necessarily its first.
        address: u64,
    },
    /// The snapshot is no more.
    Ended(Ended),
    /// The frozen copy did not answer in time ([`Limits::answer_within`](crate::Limits::answer_within)): a machine under
    /// load, or somebody stopped it. A later read may succeed.
    Late,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmapped { address } => write!(f, "no readable memory at {address:#x}"),
            Self::Ended(ended) => ended.fmt(f),
            Self::Late => f.write_str("the snapshot did not answer in time; try again"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// How a snapshot came to its end. Its text is a sentence for the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Ended {
    /// It gave way to a newer one ([`Limits::snapshots`](crate::Limits::snapshots)).
    Evicted,
    /// It reached its age ([`Limits::age`](crate::Limits::age)).
    Aged,
    /// Its process is gone, and this crate did not end it: killed by the kernel for want of memory, or by somebody.
    Died,
    /// The last [`Snapshots`](crate::Snapshots) that it belonged to was dropped.
    Closed,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "the snapshot gave way to a newer one",
            Self::Aged => "the snapshot was kept for as long as the limit says, and then dropped",
            Self::Died => "the snapshot's process was killed, perhaps for want of memory",
            Self::Closed => "the debugger was shut down, and the snapshot with it",
        })
    }
}
