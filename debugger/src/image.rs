//! The debug information of the running executable: found, mapped, and indexed as far as it is asked for.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::frames::Class;
use gimli::{AttributeValue, NativeEndian, UnitOffset, constants as dw};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The executable of this process, as its compiler described it.
///
/// Opening maps the file and reads the table of its compilation units; what a unit holds is indexed when a frame or a value
/// first needs it, and kept. So open one and keep it: for a debug build of 30 MB that is some megabytes.
///
/// An image can be sent to the thread that is to own it, but not be shared.
///
/// # What to compile how
///
/// The site's own crates are to have `opt-level = 0` and `debug = "full"`, cargo's defaults for `dev`; [`Lack`] says so where
/// they have not. Other crates may be as they are: their frames then have no variables. This reader itself is some four times
/// as fast with
///
/// ```toml
/// [profile.dev.package.purlin-debugger]
/// opt-level = 3
///
/// [profile.dev.package.gimli]
/// opt-level = 3
/// ```
pub struct Image {
    dwarf: gimli::Dwarf<Bytes>,
    base: u64,
    /// Where each unit lies in `.debug_info`: ascending.
    spans: Vec<Span>,
    /// Which unit holds an address: (begin, end, index into `spans`), ascending, not overlapping in a sound file.
    addresses: Vec<(u64, u64, usize)>,
    /// (address, size, mangled name), ascending: for functions that have no debug information.
    symbols: Vec<(u64, u64, &'static str)>,
    units: RefCell<HashMap<usize, Option<Arc<Unit>>>>,
    /// The crate that each unit is of, in the order of `spans`: read when first asked for.
    crates: OnceCell<Vec<Option<CrateName>>>,
    pub(crate) types: RefCell<HashMap<usize, Arc<crate::types::Type>>>,
}

/// Why variables cannot be shown, of a whole executable or of one frame; [`Lack::advice`] says what to change.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Lack {
    /// The executable could not be opened or mapped: the system's words.
    Unopened(String),
    /// What was opened is no executable that can be read, or is damaged: where and how.
    Damaged(String),
    /// Neither debug information nor symbols.
    Stripped,
    /// No debug information: `debug = false`, or code of another language.
    Missing,
    /// Only which line an address belongs to: `debug = "line-tables-only"`.
    LineTablesOnly,
    /// Only names of functions and lines: `debug = "limited"`.
    Limited,
    /// The debug information is compressed, which no profile of cargo's asks for: a linker was told to.
    Compressed,
    /// The debug information is in files beside the executable: `split-debuginfo`.
    Split,
    /// Variables live in registers or were removed: `opt-level` above 0.
    Optimised,
    /// Not 64-bit Linux: executables of other systems are not read.
    System,
}

impl Lack {
    /// The lines of the site's `Cargo.toml` that would mend it for code of this class; empty if none would.
    pub fn advice(&self, class: Class) -> &'static str {
        let own = class != Class::Dependency && class != Class::Framework;
        match (self, own) {
            (Self::Unopened(_) | Self::Damaged(_) | Self::Compressed | Self::System, _) => "",
            (_, _) if class == Class::Standard => "",
            (Self::Stripped, _) => "[profile.dev]\nstrip = \"none\"\ndebug = \"full\"",
            (Self::Missing | Self::LineTablesOnly | Self::Limited, true) => "[profile.dev]\ndebug = \"full\"",
            (Self::Missing | Self::LineTablesOnly | Self::Limited, false) => {
                "[profile.dev.package.\"*\"]\ndebug = \"full\""
            }
            (Self::Split, _) => "[profile.dev]\ndebug = \"full\"\nsplit-debuginfo = \"off\"",
            (Self::Optimised, true) => "[profile.dev]\nopt-level = 0\ndebug = \"full\"",
            (Self::Optimised, false) => "[profile.dev.package.\"*\"]\nopt-level = 0\ndebug = \"full\"",
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopened(why) => write!(f, "the executable could not be opened: {why}"),
            Self::Damaged(why) => write!(f, "the executable's debug information cannot be read: {why}"),
            Self::Stripped => f.write_str("the executable is stripped: it has neither debug information nor symbols"),
            Self::Missing => f.write_str("this code was compiled without debug information"),
            Self::LineTablesOnly => f.write_str("this code was compiled with lines only, without its variables"),
            Self::Limited => f.write_str("this code was compiled with names and lines, without its variables"),
            Self::Compressed => {
                f.write_str("the debug information is compressed: link without --compress-debug-sections")
            }
            Self::Split => f.write_str("the debug information is in files beside the executable, which are not read"),
            Self::Optimised => f.write_str("this code was optimised: where its variables are is not recorded"),
            Self::System => f.write_str("variables can be read on 64-bit Linux only"),
        }
    }
}

impl std::error::Error for Lack {}

impl Image {
    /// Opens the executable that this process runs, even if the file was replaced by a later build.
    ///
    /// The mapping is made once for the life of the process, however often this is called.
    ///
    /// # Errors
    ///
    /// [`Lack`] says what the executable lacks as a whole. What single frames lack is found with them.
    pub fn open() -> Result<Self, Lack> {
        static MAPPED: OnceLock<Result<&'static [u8], Lack>> = OnceLock::new();
        let bytes = MAPPED.get_or_init(map).clone()?;
        Self::read(bytes, load_base()?)
    }

    /// Reads an executable from memory; `base` is what was added to its addresses when it was loaded (0: nothing).
    ///
    /// # Errors
    ///
    /// As of [`Image::open`].
    pub fn read(bytes: &'static [u8], base: u64) -> Result<Self, Lack> {
        let damaged = |e: &dyn fmt::Display| Lack::Damaged(e.to_string());
        let file = object::File::parse(bytes).map_err(|e| damaged(&e))?;
        if file.section_by_name(".debug_info").is_none() {
            let symbols = file.symbols().next().is_some();
            return Err(if symbols { Lack::Missing } else { Lack::Stripped });
        }
        let dwarf = gimli::Dwarf::load(|id| -> Result<Bytes, Lack> {
            let Some(section) = file.section_by_name(id.name()) else { return Ok(Bytes::new(&[], NativeEndian)) };
            let range = section.compressed_file_range().map_err(|e| damaged(&e))?;
            if range.format != object::CompressionFormat::None {
                return Err(Lack::Compressed);
            }
            Ok(Bytes::new(section.data().map_err(|e| damaged(&e))?, NativeEndian))
        })?;
        let mut symbols: Vec<_> = file
            .symbols()
            .filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.size() > 0)
            .filter_map(|symbol| Some((symbol.address(), symbol.size(), symbol.name().ok()?)))
            .collect();
        symbols.sort_unstable();
        let mut image = Self {
            dwarf,
            base,
            spans: Vec::new(),
            addresses: Vec::new(),
            symbols,
            units: RefCell::default(),
            crates: OnceCell::new(),
            types: RefCell::default(),
        };
        image.index().map_err(|e| damaged(&e))?;
        Ok(image)
    }

    /// The table of units, and which addresses each holds: from `.debug_aranges`, and from the units that it leaves out.
    fn index(&mut self) -> gimli::Result<()> {
        let mut headers = self.dwarf.units();
        while let Some(header) = headers.next()? {
            let Some(offset) = header.debug_info_offset() else { continue };
            let end = offset.0.saturating_add(header.length_including_self());
            self.spans.push(Span { begin: offset.0, end, header });
        }
        let mut covered = vec![false; self.spans.len()];
        let mut sets = self.dwarf.debug_aranges.headers();
        while let Some(set) = sets.next()? {
            let Ok(unit) = self.spans.binary_search_by_key(&set.debug_info_offset().0, |span| span.begin) else {
                continue;
            };
            let mut entries = set.entries();
            while let Some(entry) = entries.next()? {
                let range = entry.range();
                if sound(range) {
                    self.addresses.push((range.begin, range.end, unit));
                }
            }
            if let Some(covered) = covered.get_mut(unit) {
                *covered = true;
            }
        }
        for (unit, span) in self.spans.iter().enumerate() {
            if covered.get(unit) == Some(&true) {
                continue;
            }
            // One damaged unit does not make the others unreadable.
            let Ok(read) = self.dwarf.unit(span.header) else { continue };
            let Ok(mut ranges) = self.dwarf.unit_ranges(&read) else { continue };
            while let Ok(Some(range)) = ranges.next() {
                if sound(range) {
                    self.addresses.push((range.begin, range.end, unit));
                }
            }
        }
        self.addresses.sort_unstable();
        Ok(())
    }

    /// The address in the file of what is loaded at `address`.
    pub(crate) fn in_file(&self, address: u64) -> u64 {
        address.wrapping_sub(self.base)
    }

    /// The address in memory of what the file has at `address`.
    pub(crate) fn in_memory(&self, address: u64) -> u64 {
        address.wrapping_add(self.base)
    }

    pub(crate) fn dwarf(&self) -> &gimli::Dwarf<Bytes> {
        &self.dwarf
    }

    /// The unit that holds an address of the file.
    pub(crate) fn unit_of(&self, address: u64) -> Option<Arc<Unit>> {
        let after = self.addresses.partition_point(|&(begin, ..)| begin <= address);
        // Ranges of a sound file do not overlap; the few before are for one that does.
        let before = self.addresses.get(after.saturating_sub(4)..after)?;
        let &(_, _, index) = before.iter().rev().find(|&&(_, end, _)| address < end)?;
        self.unit(index)
    }

    /// The unit that holds an entry, by the entry's offset in `.debug_info`, and the offset in that unit.
    pub(crate) fn unit_with(&self, offset: usize) -> Option<(Arc<Unit>, UnitOffset)> {
        let index = self.spans.partition_point(|span| span.begin <= offset).checked_sub(1)?;
        let span = self.spans.get(index).filter(|span| offset < span.end)?;
        Some((self.unit(index)?, UnitOffset(offset.checked_sub(span.begin)?)))
    }

    fn unit(&self, index: usize) -> Option<Arc<Unit>> {
        if let Some(unit) = self.units.borrow().get(&index) {
            return unit.clone();
        }
        let unit = self.spans.get(index).and_then(|span| Unit::read(&self.dwarf, span).ok()).map(Arc::new);
        self.units.borrow_mut().insert(index, unit.clone());
        unit
    }

    /// The units of the crate that this one is of: rustc makes many of a crate.
    pub(crate) fn crate_of(&self, unit: &Unit) -> Vec<Arc<Unit>> {
        let crates = self.crates.get_or_init(|| {
            let read = |span: &Span| self.dwarf.unit(span.header).ok().and_then(|unit| crate_name(&unit));
            self.spans.iter().map(read).collect()
        });
        let wanted = crate_name(&unit.unit);
        let same = crates.iter().enumerate().filter(|(_, name)| name.is_some() && **name == wanted);
        same.filter_map(|(index, _)| self.unit(index)).collect()
    }

    /// The type behind a `dyn`, by the address of its vtable: its offset in `.debug_info`.
    pub(crate) fn concrete(&self, vtable: u64) -> Option<usize> {
        let address = self.in_file(vtable);
        let unit = self.unit_of(address)?;
        let variable = unit.entry(*unit.statics.get(&address)?)?;
        let (of, offset) = self.unit_with(unit.reference(variable.attr_value(dw::DW_AT_type)?)?)?;
        of.reference(of.entry(offset)?.attr_value(dw::DW_AT_containing_type)?)
    }

    /// The name of the function at an address of the file, from the symbols.
    pub(crate) fn symbol(&self, address: u64) -> Option<String> {
        let after = self.symbols.partition_point(|&(begin, ..)| begin <= address);
        let &(begin, size, name) = self.symbols.get(after.checked_sub(1)?)?;
        (address.checked_sub(begin)? < size).then(|| format!("{:#}", rustc_demangle::demangle(name)))
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("base", &self.base).field("units", &self.spans.len()).finish_non_exhaustive()
    }
}

/// A section, or a part of one.
pub(crate) type Bytes = gimli::EndianSlice<'static, NativeEndian>;
/// What describes a function, a variable, a type ...
pub(crate) type Entry = gimli::DebuggingInformationEntry<Bytes>;

struct Span {
    begin: usize,
    end: usize,
    header: gimli::UnitHeader<Bytes>,
}

/// A compilation unit, indexed.
pub(crate) struct Unit {
    pub(crate) unit: gimli::Unit<Bytes>,
    /// Where it begins in `.debug_info`.
    begin: usize,
    /// (begin, end, entry) of each function, ascending.
    functions: Vec<(u64, u64, UnitOffset)>,
    /// The scope that names of types and functions are in: (entry, entry around it), ascending.
    parents: Vec<(usize, usize)>,
    /// Variables that have an address of their own: statics, and the vtables that rustc describes as such.
    statics: HashMap<u64, UnitOffset>,
    /// Those that the source names.
    named: OnceLock<Vec<(String, u64, UnitOffset)>>,
    /// What the unit as a whole lacks.
    pub(crate) lack: Option<Lack>,
    lines: OnceLock<Vec<Row>>,
}

/// A row of the line table: what stands in the source for the code from `address` on.
#[derive(Clone, Copy)]
struct Row {
    address: u64,
    /// No code: the end of a sequence.
    end: bool,
    file: u64,
    line: u32,
    column: u32,
}

/// A place in the source.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    pub(crate) line: Option<u32>,
    pub(crate) column: Option<u32>,
}

impl Unit {
    fn read(dwarf: &gimli::Dwarf<Bytes>, span: &Span) -> gimli::Result<Self> {
        let unit = dwarf.unit(span.header)?;
        let mut read = Self {
            begin: span.begin,
            functions: Vec::new(),
            parents: Vec::new(),
            statics: HashMap::new(),
            named: OnceLock::new(),
            lack: None,
            lines: OnceLock::new(),
            unit,
        };
        let (mut variables, mut types, mut bases) = (false, false, false);
        let mut scopes: Vec<(isize, usize, bool)> = Vec::new();
        {
            let mut entry = Entry::null();
            let mut entries = read.unit.entries_raw(None)?;
            while !entries.is_empty() {
                let (offset, depth) = (entries.next_offset(), entries.next_depth());
                let Some(abbreviation) = entries.read_abbreviation()? else { continue };
                while scopes.last().is_some_and(|&(scope, ..)| scope >= depth) {
                    scopes.pop();
                }
                let (around, in_function) =
                    scopes.last().map_or((0, false), |&(_, around, function)| (around, function));
                let tag = abbreviation.tag();
                let wanted = match tag {
                    dw::DW_TAG_subprogram => true,
                    dw::DW_TAG_variable | dw::DW_TAG_formal_parameter => {
                        variables = true;
                        !in_function
                    }
                    _ => false,
                };
                if !wanted {
                    entries.skip_attributes(abbreviation.attributes())?;
                } else {
                    entry.offset = offset;
                    entries.read_attributes(abbreviation.attributes(), &mut entry.attrs)?;
                }
                match tag {
                    dw::DW_TAG_subprogram => {
                        bases = bases || entry.has_attr(dw::DW_AT_frame_base);
                        if let Ok(mut ranges) = dwarf.die_ranges(&read.unit, &entry) {
                            while let Ok(Some(range)) = ranges.next() {
                                if sound(range) {
                                    read.functions.push((range.begin, range.end, offset));
                                }
                            }
                        }
                    }
                    dw::DW_TAG_variable if wanted => {
                        if let Some(address) = static_address(dwarf, &read.unit, &entry) {
                            read.statics.insert(address, offset);
                        }
                    }
                    dw::DW_TAG_structure_type | dw::DW_TAG_base_type => types = true,
                    _ => {}
                }
                if matches!(
                    tag,
                    dw::DW_TAG_namespace
                        | dw::DW_TAG_structure_type
                        | dw::DW_TAG_enumeration_type
                        | dw::DW_TAG_union_type
                        | dw::DW_TAG_subprogram
                ) {
                    read.parents.push((offset.0, around));
                    if abbreviation.has_children() {
                        scopes.push((depth, offset.0, tag == dw::DW_TAG_subprogram));
                    }
                }
            }
        }
        read.functions.sort_unstable_by_key(|&(begin, ..)| begin);
        read.lack = match (variables, types, bases) {
            _ if read.unit.dwo_id.is_some() || matches!(read.unit.dwo_name(), Ok(Some(_))) => Some(Lack::Split),
            (false, false, true) => Some(Lack::Limited),
            (false, _, false) => Some(Lack::LineTablesOnly),
            _ => None,
        };
        Ok(read)
    }

    /// An entry of this unit.
    pub(crate) fn entry(&self, offset: UnitOffset) -> Option<Entry> {
        self.unit.entry(offset).ok()
    }

    /// The offset in `.debug_info` of an entry of this unit.
    pub(crate) fn global(&self, offset: UnitOffset) -> usize {
        self.begin.saturating_add(offset.0)
    }

    /// The offset in `.debug_info` of the entry that an attribute refers to.
    pub(crate) fn reference(&self, value: AttributeValue<Bytes>) -> Option<usize> {
        match value {
            AttributeValue::UnitRef(offset) => Some(self.global(offset)),
            AttributeValue::DebugInfoRef(offset) => Some(offset.0),
            _ => None,
        }
    }

    /// The function that holds an address of the file.
    pub(crate) fn function(&self, address: u64) -> Option<UnitOffset> {
        let after = self.functions.partition_point(|&(begin, ..)| begin <= address);
        let &(_, end, offset) = self.functions.get(after.checked_sub(1)?)?;
        (address < end).then_some(offset)
    }

    /// The statics of this unit: name, address in the file, and entry.
    pub(crate) fn statics(&self, image: &Image) -> &[(String, u64, UnitOffset)] {
        self.named.get_or_init(|| {
            let named = self.statics.iter().filter_map(|(&address, &offset)| {
                let name = self.name(image, &self.entry(offset)?)?;
                // Vtables are described as statics with names like types.
                (!name.contains(['{', '<'])).then(|| (name.into_owned(), address, offset))
            });
            named.collect()
        })
    }

    /// The entry around one that has a name of its own.
    pub(crate) fn parent(&self, offset: UnitOffset) -> Option<UnitOffset> {
        let index = self.parents.binary_search_by_key(&offset.0, |&(entry, _)| entry).ok()?;
        let &(_, around) = self.parents.get(index)?;
        (around != 0).then_some(UnitOffset(around))
    }

    /// The text of an attribute.
    pub(crate) fn text(&self, image: &Image, value: AttributeValue<Bytes>) -> Option<Cow<'static, str>> {
        let text = image.dwarf.attr_string(&self.unit, value).ok()?;
        Some(String::from_utf8_lossy(text.slice()))
    }

    /// What an entry is called, without the scopes around it.
    pub(crate) fn name(&self, image: &Image, entry: &Entry) -> Option<Cow<'static, str>> {
        self.text(image, entry.attr_value(dw::DW_AT_name)?)
    }

    /// What an entry is called, with the scopes around it.
    pub(crate) fn path(&self, image: &Image, entry: &Entry) -> Option<String> {
        let mut path = self.name(image, entry)?.into_owned();
        let mut scope = self.parent(entry.offset());
        // No source nests this deep; a damaged table may be a circle.
        for _ in 0..32 {
            let Some(entry) = scope.and_then(|offset| self.entry(offset)) else { break };
            if let Some(name) = self.name(image, &entry) {
                path.insert_str(0, "::");
                path.insert_str(0, &name);
            }
            scope = self.parent(entry.offset());
        }
        Some(path)
    }

    /// The place in the source of an address of the file.
    pub(crate) fn source(&self, image: &Image, address: u64) -> Source {
        let rows = self.lines.get_or_init(|| self.read_lines().unwrap_or_default());
        let after = rows.partition_point(|row| row.address <= address);
        // Line 0 is code that the compiler added: it belongs to what stands before.
        let before = rows.get(after.saturating_sub(16)..after).unwrap_or(&[]);
        let Some(row) = before.iter().rev().take_while(|row| !row.end).find(|row| row.line > 0) else {
            return Source::default();
        };
        Source {
            file: self.file(image, row.file),
            line: (row.line > 0).then_some(row.line),
            column: (row.column > 0).then_some(row.column),
        }
    }

    fn read_lines(&self) -> gimli::Result<Vec<Row>> {
        let mut read = Vec::new();
        let Some(program) = self.unit.line_program.clone() else { return Ok(read) };
        let mut rows = program.rows();
        // A sequence of code that the linker threw away begins at 0.
        let mut dead = None;
        while let Some((_, row)) = rows.next_row()? {
            let dead = dead.get_or_insert(row.address() == 0);
            if !*dead {
                read.push(Row {
                    address: row.address(),
                    end: row.end_sequence(),
                    file: row.file_index(),
                    line: row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0)),
                    column: match row.column() {
                        gimli::ColumnType::LeftEdge => 0,
                        gimli::ColumnType::Column(column) => u32::try_from(column.get()).unwrap_or(0),
                    },
                });
            }
            if row.end_sequence() {
                *dead = false;
            }
        }
        // Stable: of two rows at one address the later one holds, save that a sequence ends before the next begins.
        read.sort_by_key(|row: &Row| (row.address, !row.end));
        Ok(read)
    }

    /// The file of this index, joined with the folder that the compiler ran in.
    pub(crate) fn file(&self, image: &Image, index: u64) -> Option<PathBuf> {
        let header = self.unit.line_program.as_ref()?.header();
        let file = header.file(index)?;
        let mut path = self.unit.comp_dir.map_or_else(PathBuf::new, |folder| to_path(&folder));
        if let Some(folder) = file.directory(header).and_then(|folder| image.dwarf.attr_string(&self.unit, folder).ok())
        {
            path.push(to_path(&folder));
        }
        path.push(to_path(&image.dwarf.attr_string(&self.unit, file.path_name()).ok()?));
        Some(path)
    }
}

fn to_path(bytes: &Bytes) -> PathBuf {
    Path::new(String::from_utf8_lossy(bytes.slice()).as_ref()).to_path_buf()
}

type CrateName = (&'static [u8], &'static [u8]);

/// Of the name of a unit, `src/main.rs/@/1a2b3c`, what all units of a crate share, and where it was compiled.
fn crate_name(unit: &gimli::Unit<Bytes>) -> Option<CrateName> {
    let name = unit.name?.slice();
    let end = name.windows(3).position(|part| part == b"/@/").unwrap_or(name.len());
    Some((name.get(..end)?, unit.comp_dir.map_or(&[], |folder| folder.slice())))
}

/// Not empty, and not of code that the linker threw away, which keeps its entry with an address of 0 or of the last.
fn sound(range: gimli::Range) -> bool {
    range.begin != 0 && range.begin < range.end && range.end < u64::MAX >> 1
}

/// Where a variable lies that has one address for good.
fn static_address(dwarf: &gimli::Dwarf<Bytes>, unit: &gimli::Unit<Bytes>, entry: &Entry) -> Option<u64> {
    let AttributeValue::Exprloc(expression) = entry.attr_value(dw::DW_AT_location)? else { return None };
    match expression.operations(unit.encoding()).next().ok()?? {
        gimli::Operation::Address { address } => Some(address),
        gimli::Operation::AddressIndex { index } => dwarf.address(unit, index).ok(),
        _ => None,
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn map() -> Result<&'static [u8], Lack> {
    let unopened = |e: std::io::Error| Lack::Unopened(e.to_string());
    let file = std::fs::File::open("/proc/self/exe").map_err(unopened)?;
    // SAFETY: the bytes must not change while they are mapped. The link names the very file that this process runs, not the
    // one that may have taken its name since, and Linux refuses to write to or truncate a file that is running (ETXTBSY).
    let mapped = unsafe { memmap2::Mmap::map(&file) }.map_err(unopened)?;
    // Kept for the life of the process, which is as long as the file runs.
    Ok(Box::leak(Box::new(mapped)))
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn map() -> Result<&'static [u8], Lack> {
    Err(Lack::System)
}

/// What was added to the executable's addresses when it was loaded.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn load_base() -> Result<u64, Lack> {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        base: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader passes a valid description, and `base` is the `Option<u64>` that `load_base` passes below; both
        // outlive this call, and nothing else refers to them meanwhile.
        unsafe { *base.cast::<Option<u64>>() = Some((*info).dlpi_addr) };
        // Not 0: the executable comes first, and no more is wanted.
        1
    }
    let mut base = None::<u64>;
    // SAFETY: the callback has the signature asked for, keeps nothing, and does not unwind; the pointer is to a live local
    // of the type that the callback takes it for.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut base).cast()) };
    base.ok_or_else(|| Lack::Unopened("the loader names no executable".to_owned()))
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn load_base() -> Result<u64, Lack> {
    Err(Lack::System)
}
