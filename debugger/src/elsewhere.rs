//! Stands in for the parts that only Linux has: says that there is nothing.

use crate::memory::{Ended, Registers, Unreadable};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const SUPPORTED: bool = false;
pub(crate) const PAGE: usize = 4096;

pub(crate) fn resident() -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn unwind(_: &mut [Registers], _: u64) -> usize {
    0
}

/// Cannot be: there is no way to make one here.
pub(crate) struct Frozen(Infallible);

impl Frozen {
    pub(crate) fn take(_: Duration, _: Duration) -> Result<Self, (&'static str, io::Error)> {
        Err(("fork", io::ErrorKind::Unsupported.into()))
    }

    pub(crate) fn pid(&self) -> u32 {
        match self.0 {}
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        match self.0 {}
    }

    pub(crate) fn end(&self, _: Ended) {
        match self.0 {}
    }

    pub(crate) fn page(&self, _: u64, _: u64) -> Result<Option<Box<[u8; PAGE]>>, Unreadable> {
        match self.0 {}
    }
}

pub(crate) struct Keeper;

impl Keeper {
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn add(&self, _: Arc<Frozen>) {}
}

pub(crate) struct Live(Infallible);

impl Live {
    pub(crate) fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn read(&self, _: u64, _: &mut [u8]) -> Result<(), Unreadable> {
        match self.0 {}
    }
}
