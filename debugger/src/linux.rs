//! The parts that only Linux has, on the processors whose registers are known here.

mod frozen;
mod keeper;
mod live;
mod unwind;

pub(crate) use frozen::{Frozen, PAGE};
pub(crate) use keeper::Keeper;
pub(crate) use live::Live;
pub(crate) use unwind::unwind;

use std::fs::File;
use std::io::{self, Read};

pub(crate) const SUPPORTED: bool = true;

/// The bytes of anonymous memory that this process has resident: what a fork has to prepare for copying. Mapped files
/// (the executable, its debug information) are not among them: a copy shares those for good.
pub(crate) fn resident() -> io::Result<u64> {
    let mut text = [0; 128];
    let length = File::open("/proc/self/statm")?.read(&mut text)?;
    // proc(5): pages of size, resident, shared, …
    let mut pages =
        str::from_utf8(&text[..length]).unwrap_or("").split(' ').skip(1).map_while(|n| n.parse::<u64>().ok());
    let (Some(resident), Some(shared)) = (pages.next(), pages.next()) else {
        return Err(io::Error::other("/proc/self/statm: expected numbers of pages"));
    };
    // SAFETY: takes no pointer.
    let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(resident.saturating_sub(shared) * u64::try_from(page_size).unwrap_or(4096))
}
