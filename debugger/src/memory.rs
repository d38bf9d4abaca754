//! What an engine reads: the registers of stopped frames, and memory that stands still.

use std::fmt;

/// The registers of one frame of a thread that was stopped: the ones that compilers let a frame keep across a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
pub trait Memory {
    /// Fills `buffer` with the bytes from `address` on; all of them, or none that count.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] names the first address that could not be read, or why nothing can be read any more.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable>;
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        (**self).read(address, buffer)
    }
}

/// Why memory could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unreadable {
    /// Nothing is mapped there, or nothing that may be read: what a dangling pointer leads to.
    Unmapped {
        /// The first address that could not be read.
        address: u64,
    },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmapped { address } => write!(f, "no readable memory at {address:#x}"),
        }
    }
}

impl std::error::Error for Unreadable {}
