//! The memory of this very process, read so that a bad address is an error and not a crash.

use super::frozen::PAGE;
use crate::memory::Unreadable;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

/// The two ways; both let the kernel look whether the address is good.
pub(crate) enum Live {
    /// `process_vm_readv` of oneself, which needs no right.
    Call,
    /// Writes the memory into a pipe and reads it back: for a sandbox that forbids the call, as old ones of Docker do.
    Pipe(Mutex<(PipeReader, PipeWriter)>),
}

impl Live {
    pub(crate) fn new() -> io::Result<Self> {
        let known = [1_u8; 8];
        let mut copy = [0; 8];
        if copy_self(known.as_ptr() as u64, &mut copy).is_ok() && copy == known {
            return Ok(Self::Call);
        }
        Ok(Self::Pipe(Mutex::new(io::pipe()?)))
    }

    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        match self {
            Self::Call => match copy_self(address, buffer) {
                Ok(length) if length == buffer.len() => Ok(()),
                Ok(length) => Err(Unreadable::Unmapped { address: address.wrapping_add(length as u64) }),
                Err(_) => Err(Unreadable::Unmapped { address }),
            },
            Self::Pipe(pipe) => {
                // Nothing between writing and reading back can panic, so a poisoned pipe is as empty as any.
                let pipe = &mut *pipe.lock().unwrap_or_else(PoisonError::into_inner);
                read_through(pipe, address, buffer)
            }
        }
    }
}

/// How many bytes could be read, up to the first that could not.
fn copy_self(address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: buffer.len() };
    // SAFETY: `local` is the buffer, whole, for writing; `remote` is only ever read by the kernel, which checks it. That another
    // thread may write there meanwhile is no data race of ours: the bytes are copied outside of the program.
    let length = unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

fn read_through(
    pipe: &mut (PipeReader, PipeWriter),
    mut address: u64,
    mut buffer: &mut [u8],
) -> Result<(), Unreadable> {
    while !buffer.is_empty() {
        // To the end of the page: all of it can be read or nothing, and an empty pipe takes a page without blocking.
        let length = buffer.len().min(PAGE - (address % PAGE as u64) as usize);
        // SAFETY: the kernel checks the address, and answers EFAULT; the pipe's reader is open, so there is no SIGPIPE.
        let written = unsafe { libc::write(pipe.1.as_raw_fd(), address as *const _, length) };
        let (part, rest) = buffer.split_at_mut(length);
        let written = usize::try_from(written).unwrap_or(0);
        // What was written is taken out again in any case: nothing of it may be left to the next reader.
        if pipe.0.read_exact(&mut part[..written]).is_err() || written < length {
            return Err(Unreadable::Unmapped { address });
        }
        (address, buffer) = (address.wrapping_add(length as u64), rest);
    }
    Ok(())
}
