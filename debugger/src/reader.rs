//! Reads places in the memory of what was stopped, within a budget.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::image::Image;
use crate::memory::{Memory, Unreadable};
use crate::types::{Kind, Member, Type, mask};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much is read and shown at once; what is beyond can be asked for by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Values in all, those within the texts of others included. Default: 4000.
    pub nodes: usize,
    /// Levels of children that are opened. Default: 2.
    pub depth: usize,
    /// Children that are listed of one value, and pieces that its text names. Default: 50.
    pub elements: usize,
    /// Bytes of one string. Default: 300.
    pub text_bytes: usize,
    /// Characters of the text of one value that is not a string. Default: 160.
    pub line: usize,
    /// Time for one answer. Default: 500 ms.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { nodes: 4000, depth: 2, elements: 50, text_bytes: 300, line: 160, time: Duration::from_millis(500) }
    }
}

/// Why something is not shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Memory(Unreadable),
    /// What is there cannot be a value of its type: what is wrong with it.
    Corrupt(String),
    /// It is nowhere: removed by the compiler, or kept where a frame's registers no longer tell.
    Absent(&'static str),
    /// The type is not laid out as is known here; it can be shown by its fields.
    Layout,
    /// A limit was reached.
    Spent(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::Corrupt(what) => f.write_str(what),
            Self::Absent(why) | Self::Spent(why) => f.write_str(why),
            Self::Layout => f.write_str("a type of an unknown layout"),
        }
    }
}

impl From<Unreadable> for Fault {
    fn from(error: Unreadable) -> Self {
        Self::Memory(error)
    }
}

/// A value of a type, wherever it is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) of: Arc<Type>,
    pub(crate) at: At,
}

#[derive(Clone, Debug)]
pub(crate) enum At {
    Memory(u64),
    /// It has no address: these are its bytes.
    Bytes(Arc<[u8]>),
}

pub(crate) struct Reader<'a> {
    pub(crate) image: &'a Image,
    pub(crate) memory: &'a dyn Memory,
    pub(crate) bounds: Bounds,
    until: Instant,
    nodes: Cell<usize>,
}

/// No value is larger, and no sum of lengths and addresses leaves 64 bits.
pub(crate) const MOST: u64 = 1 << 40;

impl<'a> Reader<'a> {
    pub(crate) fn new(image: &'a Image, memory: &'a dyn Memory, bounds: Bounds) -> Self {
        let now = Instant::now();
        let until = now.checked_add(bounds.time).unwrap_or(now);
        Self { image, memory, bounds, until, nodes: Cell::new(bounds.nodes) }
    }

    /// One more value.
    pub(crate) fn spend(&self) -> Result<(), Fault> {
        match self.nodes.get().checked_sub(1) {
            Some(left) => self.nodes.set(left),
            None => return Err(Fault::Spent("too much to show at once")),
        }
        self.in_time()
    }

    pub(crate) fn in_time(&self) -> Result<(), Fault> {
        if Instant::now() > self.until { Err(Fault::Spent("reading it takes too long")) } else { Ok(()) }
    }

    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        if buffer.is_empty() {
            return Ok(());
        }
        let length = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        if address.checked_add(length).is_none() {
            return Err(Unreadable::Unmapped { address }.into());
        }
        Ok(self.memory.read(address, buffer)?)
    }

    /// At most `text_bytes` or 64 KiB; callers ask for no more than they show.
    pub(crate) fn bytes(&self, address: u64, length: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; length.min(1 << 16)];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// The word at an address.
    pub(crate) fn word(&self, address: u64) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// The bits of a value of at most 16 bytes.
    pub(crate) fn bits(&self, place: &Place) -> Result<u128, Fault> {
        let mut wide = [0; 16];
        let size = usize::try_from(place.of.size).unwrap_or(usize::MAX);
        let target = wide.get_mut(..size).ok_or(Fault::Layout)?;
        match &place.at {
            At::Memory(address) => self.read(*address, target)?,
            At::Bytes(bytes) => {
                let bytes = bytes.get(..size).ok_or(Fault::Absent("only a part of it is known"))?;
                target.copy_from_slice(bytes);
            }
        }
        Ok(u128::from_le_bytes(if cfg!(target_endian = "big") {
            wide.rotate_right(16_usize.saturating_sub(size));
            wide.reverse();
            wide
        } else {
            wide
        }))
    }

    /// A number of at most 64 bits without a sign; larger ones are cut.
    pub(crate) fn number(&self, place: &Place) -> Result<u64, Fault> {
        Ok(u64::try_from(mask(self.bits(place)?, 8)).unwrap_or(u64::MAX))
    }

    /// A number with its sign.
    pub(crate) fn signed(&self, place: &Place) -> Result<i128, Fault> {
        let bits = self.bits(place)?;
        let unused = 128_u64.saturating_sub(place.of.size.saturating_mul(8));
        let unused = u32::try_from(unused).unwrap_or(0);
        let shifted = bits.checked_shl(unused).unwrap_or(0).cast_signed();
        Ok(shifted.checked_shr(unused).unwrap_or(0))
    }

    pub(crate) fn type_at(&self, offset: usize) -> Result<Arc<Type>, Fault> {
        self.image.type_at(offset).ok_or(Fault::Absent("its type is not described"))
    }

    /// The field of a struct.
    pub(crate) fn member(&self, place: &Place, member: &Member) -> Result<Place, Fault> {
        let of = self.type_at(member.of)?;
        let at = match &place.at {
            At::Memory(address) => At::Memory(address.wrapping_add(member.offset)),
            At::Bytes(bytes) => {
                let begin = usize::try_from(member.offset).unwrap_or(usize::MAX);
                let end = begin.saturating_add(usize::try_from(of.size).unwrap_or(usize::MAX));
                At::Bytes(bytes.get(begin..end).ok_or(Fault::Absent("only a part of it is known"))?.into())
            }
        };
        Ok(Place { of, at })
    }

    /// What a path of fields leads to; `*` follows a pointer, `_` takes the only field.
    pub(crate) fn follow(&self, place: &Place, path: &[&str]) -> Result<Place, Fault> {
        let mut place = place.clone();
        for &step in path {
            place = match step {
                "*" => self.target(&place)?,
                "_" => {
                    let fields = place.of.fields().ok_or(Fault::Layout)?;
                    let of = fields.members.iter().find(|member| !member.name.starts_with('_') || member.name == "__0");
                    self.member(&place, of.ok_or(Fault::Layout)?)?
                }
                name => self.member(&place, place.of.member(name).ok_or(Fault::Layout)?)?,
            };
        }
        Ok(place)
    }

    /// What a thin pointer points at.
    pub(crate) fn target(&self, place: &Place) -> Result<Place, Fault> {
        let Kind::Pointer(target) = place.of.kind else { return Err(Fault::Layout) };
        Ok(Place { of: self.type_at(target)?, at: At::Memory(self.number(place)?) })
    }

    /// The number that a path of fields leads to.
    pub(crate) fn number_of(&self, place: &Place, path: &[&str]) -> Result<u64, Fault> {
        self.number(&self.follow(place, path)?)
    }

    /// The first word of a field that is a pointer in wrappings.
    pub(crate) fn pointer_of(&self, place: &Place, path: &[&str]) -> Result<u64, Fault> {
        let place = self.follow(place, path)?;
        match &place.at {
            At::Memory(address) => self.word(*address),
            At::Bytes(bytes) => {
                let bytes = bytes.first_chunk().ok_or(Fault::Layout)?;
                Ok(u64::from_ne_bytes(*bytes))
            }
        }
    }
}
