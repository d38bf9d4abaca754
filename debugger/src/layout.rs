//! What a value is to a reader of Rust: the one place that knows how the standard library's types are laid out.
//!
//! The paths of fields are those of rustc 1.95. Where another release names a field differently, the type is shown by its
//! fields, as any other struct.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::reader::{At, Fault, MOST, Place, Reader};
use crate::types::{Fields, Kind, Member, Type, last_segment, mask, short};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// A value, seen as what it means.
#[derive(Debug)]
pub(crate) enum Shape {
    Unit,
    Unsigned(u128),
    Signed(i128),
    Float(f64, u64),
    Bool(bool),
    Char(char),
    Text(Text),
    Collection(Collection),
    Fields(Named),
    /// Shown as what is inside it: references, smart pointers, cells, locks.
    Inner(Place, Option<&'static str>),
    /// A pointer that nothing vouches for.
    Raw(u64, Option<Place>),
    /// What has a text of its own: a duration, an address.
    Spelt(String),
}

/// A string in memory.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) at: u64,
    pub(crate) length: u64,
    /// Whether Rust promises UTF-8; a path or an `OsString` may be anything.
    pub(crate) utf8: bool,
}

/// A struct, a tuple, a variant.
#[derive(Debug)]
pub(crate) struct Named {
    /// Empty for a tuple.
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, Place)>,
    pub(crate) style: Style,
    /// Whether the name is that of a variant.
    pub(crate) variant: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    Unit,
    Tuple,
    Struct,
    /// The variables that a closure or a future holds.
    Captures,
}

#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) kind: Shown,
    pub(crate) length: u64,
    source: Elements,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shown {
    List,
    Set,
    Map,
}

#[derive(Clone, Debug)]
enum Elements {
    /// One after the other; a ring buffer wraps after `room` elements.
    Row { of: Arc<Type>, at: At, first: u64, room: u64 },
    /// hashbrown: a byte per bucket says whether it is full; the buckets lie before the bytes, backwards.
    Table { of: Arc<Type>, control: u64, buckets: u64 },
    /// A B-tree's root.
    Tree { leaf: Arc<Type>, key: Arc<Type>, value: Arc<Type>, root: u64, height: u64 },
    /// A linked list's head.
    Links { node: Arc<Type>, head: u64 },
    /// Entries of a vector that have a key and a value, by the names of these fields.
    Entries { row: Box<Collection>, key: &'static [&'static str], value: &'static [&'static str] },
}

/// An element: of a map with its key.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) key: Option<Place>,
    pub(crate) value: Place,
}

/// How a type is shown, by its name up to the parameters.
enum Rule {
    /// As what this path leads to.
    Inner(&'static [&'static str]),
    /// The same, with a look at a lock's or a cell's state.
    Noted(&'static [&'static str], fn(&Reader<'_>, &Place) -> Result<Option<&'static str>, Fault>),
    /// As a string: the path leads to a vector of bytes.
    Text(&'static [&'static str], bool),
    Own(fn(&Reader<'_>, &Place) -> Result<Shape, Fault>),
}

use Rule::{Inner, Noted, Own};

#[rustfmt::skip]
const TABLE: &[(&str, Rule)] = &[
    ("alloc::string::String", Rule::Text(&["vec"], true)),
    ("std::path::PathBuf", Rule::Text(&["inner", "inner", "inner"], false)),
    ("std::ffi::os_str::OsString", Rule::Text(&["inner", "inner"], false)),
    ("alloc::ffi::c_str::CString", Own(c_string)),
    ("alloc::vec::Vec", Own(|r, p| r.vector(p).map(Shape::Collection))),
    ("alloc::collections::vec_deque::VecDeque", Own(ring)),
    ("alloc::collections::binary_heap::BinaryHeap", Inner(&["data"])),
    ("alloc::collections::linked_list::LinkedList", Own(links)),
    ("std::collections::hash::map::HashMap", Own(|r, p| r.table(p, &["base", "table"], Shown::Map))),
    ("std::collections::hash::set::HashSet", Own(|r, p| r.table(p, &["base", "map", "table"], Shown::Set))),
    ("hashbrown::map::HashMap", Own(|r, p| r.table(p, &["table"], Shown::Map))),
    ("hashbrown::set::HashSet", Own(|r, p| r.table(p, &["map", "table"], Shown::Set))),
    ("alloc::collections::btree::map::BTreeMap", Own(|r, p| r.tree(p, Shown::Map))),
    ("alloc::collections::btree::set::BTreeSet", Own(|r, p| r.tree(&r.follow(p, &["map"])?, Shown::Set))),
    ("indexmap::map::IndexMap", Own(|r, p| r.entries(p, &["core", "entries"], &["key"], &["value"]))),
    ("http::header::map::HeaderMap", Own(|r, p| r.entries(p, &["entries"], &["key"], &["value"]))),
    ("alloc::rc::Rc", Own(|r, p| r.shared(p, "value"))),
    ("alloc::sync::Arc", Own(|r, p| r.shared(p, "data"))),
    ("alloc::rc::Weak", Own(|r, p| weak(r, p, &["strong", "value", "value"], "value"))),
    ("alloc::sync::Weak", Own(|r, p| weak(r, p, &["strong"], "data"))),
    ("core::cell::Cell", Inner(&["value", "value"])),
    ("core::cell::UnsafeCell", Inner(&["value"])),
    ("core::cell::SyncUnsafeCell", Inner(&["value", "value"])),
    ("core::cell::RefCell", Noted(&["value", "value"], borrowed)),
    ("core::cell::Ref", Inner(&["value", "pointer", "*"])),
    ("core::cell::RefMut", Inner(&["value", "pointer", "*"])),
    ("core::cell::once::OnceCell", Inner(&["inner", "value"])),
    ("std::sync::once_lock::OnceLock", Own(|r, p| once(r, p, &["value", "value", "value"]))),
    ("std::sync::lazy_lock::LazyLock", Own(|r, p| once(r, p, &["data", "value", "value"]))),
    ("std::sync::poison::mutex::Mutex", Noted(&["data", "value"], locked)),
    ("std::sync::poison::mutex::MutexGuard", Inner(&["lock", "*", "data", "value"])),
    ("std::sync::poison::rwlock::RwLock", Noted(&["data", "value"], locked)),
    ("std::sync::poison::rwlock::RwLockReadGuard", Inner(&["data", "pointer", "*"])),
    ("std::sync::poison::rwlock::RwLockWriteGuard", Inner(&["lock", "*", "data", "value"])),
    ("tokio::sync::mutex::Mutex", Inner(&["c", "value"])),
    ("tokio::sync::mutex::MutexGuard", Inner(&["lock", "*", "c", "value"])),
    ("tokio::sync::rwlock::RwLock", Inner(&["c", "value"])),
    ("lock_api::mutex::Mutex", Inner(&["data", "value"])),
    ("lock_api::rwlock::RwLock", Inner(&["data", "value"])),
    ("core::pin::Pin", Inner(&["pointer"])),
    ("core::mem::manually_drop::ManuallyDrop", Inner(&["value"])),
    ("core::mem::maybe_dangling::MaybeDangling", Inner(&["_"])),
    ("core::mem::maybe_uninit::MaybeUninit", Inner(&["value"])),
    ("core::ptr::non_null::NonNull", Inner(&["pointer"])),
    ("core::ptr::unique::Unique", Inner(&["pointer"])),
    ("core::num::nonzero::NonZero", Inner(&["__0"])),
    ("core::num::wrapping::Wrapping", Inner(&["__0"])),
    ("core::num::saturating::Saturating", Inner(&["__0"])),
    ("core::sync::atomic::AtomicPtr", Inner(&["p", "value"])),
    ("core::time::Duration", Own(duration)),
    ("std::time::Instant", Own(|_, _| Ok(Shape::Spelt("a moment of the monotonic clock".to_owned())))),
    ("std::time::SystemTime", Own(system_time)),
    ("core::net::ip_addr::IpAddr", Own(only_field)),
    ("core::net::ip_addr::Ipv4Addr", Own(ipv4)),
    ("core::net::ip_addr::Ipv6Addr", Own(ipv6)),
    ("core::net::socket_addr::SocketAddr", Own(only_field)),
    ("core::net::socket_addr::SocketAddrV4", Own(socket_v4)),
    ("core::net::socket_addr::SocketAddrV6", Own(socket_v6)),
    ("alloc::borrow::Cow", Own(only_field)),
    ("std::io::error::Error", Own(io_error)),
    ("bytes::bytes::Bytes", Own(|r, p| r.text_at(r.pointer_of(p, &["ptr"])?, r.number_of(p, &["len"])?, false))),
    ("http::header::value::HeaderValue", Inner(&["inner"])),
    ("http::byte_str::ByteStr", Inner(&["bytes"])),
];

/// The part of a name before the parameters.
fn base(name: &str) -> &str {
    name.split('<').next().unwrap_or(name)
}

fn rule(name: &str) -> Option<&'static Rule> {
    let base = base(name);
    if let Some((_, rule)) = TABLE.iter().find(|(prefix, _)| *prefix == base) {
        return Some(rule);
    }
    // `AtomicUsize` and its kin, `NonZeroU8Inner` and its kin.
    if base.starts_with("core::sync::atomic::Atomic") {
        return Some(&Own(atomic));
    }
    base.starts_with("core::num::niche_types::").then_some(&Inner(&["__0"]))
}

impl Reader<'_> {
    /// What a value is.
    pub(crate) fn shape(&self, place: &Place) -> Result<Shape, Fault> {
        match self.known(place) {
            Some(Err(Fault::Layout)) | None => self.plain(place),
            Some(known) => known,
        }
    }

    fn known(&self, place: &Place) -> Option<Result<Shape, Fault>> {
        let known = match rule(&place.of.name)? {
            Inner(path) => self.follow(place, path).map(|inner| Shape::Inner(inner, None)),
            Noted(path, note) => {
                self.follow(place, path).map(|inner| Shape::Inner(inner, note(self, place).unwrap_or_default()))
            }
            Rule::Text(path, utf8) => self.follow(place, path).and_then(|bytes| {
                let row = self.vector(&bytes)?;
                match row.source {
                    Elements::Row { at: At::Memory(at), .. } => self.text_at(at, row.length, *utf8),
                    _ => Err(Fault::Layout),
                }
            }),
            Own(shape) => shape(self, place),
        };
        Some(known)
    }

    /// What a value is whose type is none of the table's.
    fn plain(&self, place: &Place) -> Result<Shape, Fault> {
        Ok(match &place.of.kind {
            Kind::Unit => Shape::Unit,
            Kind::Unsigned => Shape::Unsigned(self.bits(place)?),
            Kind::Signed => Shape::Signed(self.signed(place)?),
            Kind::Float => self.float(place)?,
            Kind::Bool => match self.bits(place)? {
                0 => Shape::Bool(false),
                1 => Shape::Bool(true),
                other => return Err(Fault::Corrupt(format!("{other} is no bool"))),
            },
            Kind::Char => {
                let bits = self.number(place)?;
                let char = u32::try_from(bits).ok().and_then(char::from_u32);
                Shape::Char(char.ok_or_else(|| Fault::Corrupt(format!("{bits:#x} is no char")))?)
            }
            Kind::Names(names) => {
                let bits = self.bits(place)?;
                let name = names.iter().find(|(value, _)| *value == bits).map(|(_, name)| name.clone());
                let name = name.ok_or_else(|| Fault::Corrupt(format!("{bits} is no variant")))?;
                Shape::Fields(Named { name, fields: Vec::new(), style: Style::Unit, variant: true })
            }
            Kind::Pointer(_) => self.pointer(place)?,
            Kind::Function => {
                let address = self.number(place)?;
                let name = self.image.symbol(self.image.in_file(address));
                let name = name.map_or_else(|| format!("fn at {address:#x}"), |name| format!("fn {name}"));
                Shape::Spelt(name)
            }
            Kind::Array { element, length } => {
                let of = self.type_at(*element)?;
                Shape::Collection(self.row(of, place.at.clone(), *length, 0, *length, Shown::List)?)
            }
            Kind::Enum { tag, variants } => {
                let state = tag.as_ref().map(|tag| self.member(place, tag)).transpose()?;
                let state = state.map(|state| Ok::<_, Fault>(mask(self.bits(&state)?, state.of.size))).transpose()?;
                let variant = variants
                    .iter()
                    .find(|variant| variant.tag.is_some() && variant.tag == state)
                    .or_else(|| variants.iter().find(|variant| variant.tag.is_none()));
                let variant = variant.ok_or_else(|| Fault::Corrupt(format!("{} is no variant", state.unwrap_or(0))))?;
                let inside = self.member(place, &variant.member)?;
                let future = last_segment(&place.of.name).starts_with("{async_");
                // The type of a variant is named for it; its member too, save that of a future's.
                let name = inside.of.name.rsplit("::").next().map_or("", |name| base(name));
                if future {
                    let waits = match (name, variant.line) {
                        ("Unresumed", _) => "not started".to_owned(),
                        ("Returned", _) => "finished".to_owned(),
                        ("Panicked", _) => "panicked".to_owned(),
                        (_, Some(line)) => format!("waiting at line {line}"),
                        (other, None) => other.to_owned(),
                    };
                    let mut fields = self.fields_of(&inside)?;
                    fields.dedup_by(|b, a| a.0 == b.0);
                    let name = format!("{} ({waits})", short(&place.of.name));
                    Shape::Fields(Named { name, fields, style: Style::Captures, variant: false })
                } else {
                    let name = if variant.member.name.is_empty() { name } else { &variant.member.name }.to_owned();
                    let fields = self.fields_of(&inside)?;
                    Shape::Fields(Named { name, style: style(&inside.of, &fields), fields, variant: true })
                }
            }
            Kind::Struct(fields) => match self.fat(place, fields) {
                Some(shape) => shape?,
                None => self.structure(place)?,
            },
            Kind::Union(_) => {
                let fields = self.fields_of(place)?;
                Shape::Fields(Named {
                    name: last_segment(&place.of.name).to_owned(),
                    fields,
                    style: Style::Struct,
                    variant: false,
                })
            }
            Kind::Other => return Err(Fault::Absent("its size is not known here")),
        })
    }

    fn structure(&self, place: &Place) -> Result<Shape, Fault> {
        let mut fields = self.fields_of(place)?;
        if matches!(last_segment(&place.of.name).split('#').next(), Some("{closure_env" | "{async_closure_env")) {
            fields.retain(|(name, _)| !name.starts_with("__"));
            let name = short(&place.of.name);
            return Ok(Shape::Fields(Named { name, fields, style: Style::Captures, variant: false }));
        }
        let name = if place.of.name.starts_with('(') { "" } else { last_segment(&place.of.name) }.to_owned();
        Ok(Shape::Fields(Named { name, style: style(&place.of, &fields), fields, variant: false }))
    }

    fn fields_of(&self, place: &Place) -> Result<Vec<(String, Place)>, Fault> {
        let members = place.of.fields().map_or(&[] as &[Member], |fields| &fields.members);
        let mut fields = Vec::new();
        for member in members {
            let value = self.member(place, member)?;
            let name = &member.name;
            let (name, value) = match (name.strip_prefix("_ref__"), name.strip_prefix("__")) {
                // A closure that borrows a variable holds its address.
                (Some(name), _) if matches!(value.of.kind, Kind::Pointer(_)) => {
                    (name, self.target(&value).unwrap_or(value))
                }
                (_, Some(number)) if number.bytes().all(|b| b.is_ascii_digit()) => (number, value),
                // What the compiler keeps for itself in a future: the one that it waits for.
                (_, Some(_)) => continue,
                _ => (name.as_str(), value),
            };
            if value.of.name.starts_with("core::marker::PhantomData") {
                continue;
            }
            fields.push((name.to_owned(), value));
        }
        Ok(fields)
    }

    fn float(&self, place: &Place) -> Result<Shape, Fault> {
        let bits = self.number(place)?;
        match place.of.size {
            4 => Ok(Shape::Float(f32::from_bits(u32::try_from(bits).unwrap_or(0)).into(), 4)),
            8 => Ok(Shape::Float(f64::from_bits(bits), 8)),
            size => Ok(Shape::Spelt(format!("a float of {size} bytes: {:#x}", self.bits(place)?))),
        }
    }

    fn pointer(&self, place: &Place) -> Result<Shape, Fault> {
        let address = self.number(place)?;
        let name = &place.of.name;
        let target = self.target(place);
        if name.starts_with('*') {
            return Ok(Shape::Raw(address, target.ok().filter(|_| address != 0)));
        }
        if address == 0 {
            return Err(Fault::Corrupt("a reference to nothing".to_owned()));
        }
        Ok(Shape::Inner(target?, None))
    }

    /// A pointer with a length or a vtable beside it.
    fn fat(&self, place: &Place, fields: &Fields) -> Option<Result<Shape, Fault>> {
        let [first, second] = fields.members.as_slice() else { return None };
        match (first.name.as_str(), second.name.as_str()) {
            ("data_ptr", "length") => Some(self.slice(place)),
            ("pointer", "vtable") => Some(self.dynamic(place, 0)),
            _ => None,
        }
    }

    /// A pointer to a slice, a string, or what ends in one.
    fn slice(&self, place: &Place) -> Result<Shape, Fault> {
        let target = self.follow(place, &["data_ptr", "*"])?;
        let length = self.number_of(place, &["length"])?;
        let At::Memory(at) = target.at else { return Err(Fault::Layout) };
        let pointee = pointee(&place.of.name);
        match target.of.name.as_str() {
            "u8" if pointee == "str" => self.text_at(at, length, true),
            "std::path::Path" | "std::ffi::os_str::OsStr" | "std::sys::os_str::bytes::Slice" => {
                self.text_at(at, length, false)
            }
            "core::ffi::c_str::CStr" => self.text_at(at, length.saturating_sub(1), false),
            _ => Ok(Shape::Collection(self.row(target.of, At::Memory(at), length, 0, length, Shown::List)?)),
        }
    }

    /// What a `dyn` is: `skip` bytes before it are a count of owners.
    fn dynamic(&self, place: &Place, skip: u64) -> Result<Shape, Fault> {
        let at = self.number_of(place, &["pointer"])?;
        let vtable = self.number_of(place, &["vtable"])?;
        let of = self.image.concrete(vtable).and_then(|of| self.image.type_at(of));
        let Some(of) = of else {
            let name = self.word(vtable.wrapping_add(24)).ok();
            let name = name.and_then(|function| self.image.symbol(self.image.in_file(function)));
            let by = name.map_or_else(String::new, |name| format!(", whose first method is {name}"));
            return Ok(Shape::Spelt(format!("a value of a type that is not described{by}")));
        };
        // The count of owners stands before the value, which is aligned as its type asks.
        let align = self.word(vtable.wrapping_add(16))?.clamp(1, 1 << 16);
        let skip = skip.checked_next_multiple_of(align).unwrap_or(skip);
        Ok(Shape::Inner(Place { of, at: At::Memory(at.wrapping_add(skip)) }, None))
    }

    fn text_at(&self, at: u64, length: u64, utf8: bool) -> Result<Shape, Fault> {
        if length > MOST {
            return Err(Fault::Corrupt(format!("a length of {length} is no string's")));
        }
        Ok(Shape::Text(Text { at, length, utf8 }))
    }

    fn row(&self, of: Arc<Type>, at: At, length: u64, first: u64, room: u64, kind: Shown) -> Result<Collection, Fault> {
        if length.checked_mul(of.size.max(1)).is_none_or(|bytes| bytes > MOST) {
            return Err(Fault::Corrupt(format!("a length of {length} is no list's")));
        }
        Ok(Collection { kind, length, source: Elements::Row { of, at, first, room } })
    }

    fn vector(&self, place: &Place) -> Result<Collection, Fault> {
        let of = self.type_at(place.of.parameter("T").ok_or(Fault::Layout)?)?;
        let at = self.pointer_of(place, &["buf", "inner", "ptr"])?;
        let room = self.number_of(place, &["buf", "inner", "cap"])?;
        let length = self.number_of(place, &["len"])?;
        if of.size > 0 && length > room {
            return Err(Fault::Corrupt(format!("its length {length} exceeds its capacity {room}")));
        }
        self.row(of, At::Memory(at), length, 0, length, Shown::List)
    }

    fn table(&self, place: &Place, path: &[&str], kind: Shown) -> Result<Shape, Fault> {
        let table = self.follow(place, path)?;
        let of = self.type_at(table.of.parameter("T").ok_or(Fault::Layout)?)?;
        let control = self.pointer_of(&table, &["table", "ctrl"])?;
        let length = self.number_of(&table, &["table", "items"])?;
        let last = self.number_of(&table, &["table", "bucket_mask"])?;
        let buckets = last.wrapping_add(1);
        if !buckets.is_power_of_two() || buckets > MOST || length > buckets {
            return Err(Fault::Corrupt(format!("{length} entries in {buckets} buckets is no table")));
        }
        Ok(Shape::Collection(Collection { kind, length, source: Elements::Table { of, control, buckets } }))
    }

    fn tree(&self, place: &Place, kind: Shown) -> Result<Shape, Fault> {
        let length = self.number_of(place, &["length"])?;
        let (key, value) = match (place.of.parameter("K"), place.of.parameter("V")) {
            (Some(key), Some(value)) => (self.type_at(key)?, self.type_at(value)?),
            _ => return Err(Fault::Layout),
        };
        let root = match self.plain(&self.follow(place, &["root"])?)? {
            Shape::Fields(named) => named.fields.into_iter().next().map(|(_, root)| root),
            _ => return Err(Fault::Layout),
        };
        let Some(root) = root else {
            let source = Elements::Row { of: key, at: At::Memory(0), first: 0, room: 0 };
            return Ok(Shape::Collection(Collection { kind, length: 0, source }));
        };
        let node = self.follow(&root, &["node", "pointer", "*"])?;
        let height = self.number_of(&root, &["height"])?;
        let At::Memory(at) = node.at else { return Err(Fault::Layout) };
        // Eleven keys to a node at most, five at least: 24 levels hold more than memory does.
        if height > 24 || length > MOST {
            return Err(Fault::Corrupt(format!("{length} entries in {height} levels is no tree")));
        }
        let source = Elements::Tree { leaf: node.of, key, value, root: at, height };
        Ok(Shape::Collection(Collection { kind, length, source }))
    }

    fn entries(
        &self,
        place: &Place,
        path: &[&str],
        key: &'static [&'static str],
        value: &'static [&'static str],
    ) -> Result<Shape, Fault> {
        let row = self.vector(&self.follow(place, path)?)?;
        let of = match &row.source {
            Elements::Row { of, .. } => of,
            _ => return Err(Fault::Layout),
        };
        for path in [key, value] {
            if path.first().is_none_or(|name| of.member(name).is_none()) {
                return Err(Fault::Layout);
            }
        }
        let length = row.length;
        let source = Elements::Entries { row: Box::new(row), key, value };
        Ok(Shape::Collection(Collection { kind: Shown::Map, length, source }))
    }

    /// `Rc` and `Arc`: the counts, and behind them the value.
    fn shared(&self, place: &Place, field: &str) -> Result<Shape, Fault> {
        let pointer = self.follow(place, &["ptr", "pointer"])?;
        if matches!(pointer.of.kind, Kind::Pointer(_)) {
            return Ok(Shape::Inner(self.follow(&pointer, &["*", field])?, None));
        }
        if pointer.of.member("vtable").is_some() {
            let inner = self.follow(&pointer, &["pointer"])?;
            let Kind::Pointer(target) = inner.of.kind else { return Err(Fault::Layout) };
            let skip = self.type_at(target)?.member(field).map_or(16, |member| member.offset);
            return self.dynamic(&pointer, skip);
        }
        let data = self.follow(&pointer, &["data_ptr", "*", field])?;
        let length = self.number_of(&pointer, &["length"])?;
        let At::Memory(at) = data.at else { return Err(Fault::Layout) };
        let pointee = pointee(&place.of.name);
        match data.of.name.as_str() {
            "u8" if pointee == "str" => self.text_at(at, length, true),
            "std::path::Path" | "std::ffi::os_str::OsStr" => self.text_at(at, length, false),
            _ => Ok(Shape::Collection(self.row(data.of, At::Memory(at), length, 0, length, Shown::List)?)),
        }
    }

    /// Some elements of a collection, from one on; what went wrong after the last, if something did.
    pub(crate) fn elements(&self, of: &Collection, from: u64, most: usize) -> (Vec<Element>, Option<Fault>) {
        let mut found = Vec::new();
        let left = of.length.saturating_sub(from);
        let most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
        let fault = self.collect(of, from, most, &mut found).err();
        (found, fault)
    }

    fn collect(&self, of: &Collection, from: u64, most: usize, found: &mut Vec<Element>) -> Result<(), Fault> {
        match &of.source {
            Elements::Row { of, at, first, room } => {
                for step in 0..u64::try_from(most).unwrap_or(0) {
                    let index = from.saturating_add(step).saturating_add(*first);
                    let index = if index >= *room { index.saturating_sub(*room) } else { index };
                    let offset = index.saturating_mul(of.size);
                    let member = Member { name: String::new(), of: 0, offset };
                    let at = match at {
                        At::Memory(at) => At::Memory(at.wrapping_add(member.offset)),
                        At::Bytes(bytes) => {
                            let begin = usize::try_from(offset).unwrap_or(usize::MAX);
                            let end = begin.saturating_add(usize::try_from(of.size).unwrap_or(usize::MAX));
                            At::Bytes(bytes.get(begin..end).ok_or(Fault::Absent("only a part of it is known"))?.into())
                        }
                    };
                    found.push(Element { key: None, value: Place { of: of.clone(), at } });
                }
                Ok(())
            }
            Elements::Table { of: entry, control, buckets } => {
                let mut skip = from;
                let mut bucket = 0_u64;
                let mut bytes = [0; 512];
                while bucket < *buckets && found.len() < most {
                    self.in_time()?;
                    let chunk = usize::try_from(buckets.saturating_sub(bucket)).unwrap_or(usize::MAX).min(bytes.len());
                    let Some(chunk) = bytes.get_mut(..chunk) else { break };
                    self.read(control.wrapping_add(bucket), chunk)?;
                    for &byte in chunk.iter() {
                        bucket = bucket.saturating_add(1);
                        // The high bit marks a bucket that is empty or was emptied.
                        if byte & 0x80 != 0 {
                            continue;
                        }
                        if skip > 0 {
                            skip = skip.saturating_sub(1);
                            continue;
                        }
                        if found.len() >= most {
                            break;
                        }
                        let at = control.wrapping_sub(bucket.wrapping_mul(entry.size));
                        let entry = Place { of: entry.clone(), at: At::Memory(at) };
                        found.push(match of.kind {
                            Shown::Map => Element {
                                key: Some(self.follow(&entry, &["__0"])?),
                                value: self.follow(&entry, &["__1"])?,
                            },
                            _ => Element { key: None, value: self.follow(&entry, &["__0"])? },
                        });
                    }
                }
                Ok(())
            }
            Elements::Tree { leaf, key, value, root, height } => {
                let walk = Walk { leaf, key, value, map: of.kind == Shown::Map };
                let mut skip = from;
                self.walk(&walk, *root, *height, &mut skip, most, found)
            }
            Elements::Links { node, head } => {
                let mut at = *head;
                let mut skip = from;
                while at != 0 && found.len() < most {
                    self.in_time()?;
                    let node = Place { of: node.clone(), at: At::Memory(at) };
                    if skip == 0 {
                        found.push(Element { key: None, value: self.follow(&node, &["element"])? });
                    } else {
                        skip = skip.saturating_sub(1);
                    }
                    // `Option<NonNull>`: 0 is none.
                    at = self.pointer_of(&node, &["next"])?;
                }
                Ok(())
            }
            Elements::Entries { row, key, value } => {
                let (rows, fault) = self.elements(row, from, most);
                for row in rows {
                    let key = Some(self.follow(&row.value, key)?);
                    found.push(Element { key, value: self.follow(&row.value, value)? });
                }
                fault.map_or(Ok(()), Err)
            }
        }
    }

    /// The entries of a B-tree's node, in order. The recursion is as deep as the tree, which is bounded where it is found.
    fn walk(
        &self,
        walk: &Walk<'_>,
        node: u64,
        height: u64,
        skip: &mut u64,
        most: usize,
        found: &mut Vec<Element>,
    ) -> Result<(), Fault> {
        self.in_time()?;
        let leaf = Place { of: walk.leaf.clone(), at: At::Memory(node) };
        let length = self.number_of(&leaf, &["len"])?;
        if length > 11 {
            return Err(Fault::Corrupt(format!("a tree's node of {length} entries")));
        }
        let offset = |name: &str| walk.leaf.member(name).map(|member| member.offset).ok_or(Fault::Layout);
        let (keys, values) = (offset("keys")?, offset("vals")?);
        let edges = walk.leaf.size.checked_next_multiple_of(8).ok_or(Fault::Layout)?;
        for index in 0..=length {
            if height > 0 && found.len() < most {
                let edge = node.wrapping_add(edges).wrapping_add(index.wrapping_mul(8));
                self.walk(walk, self.word(edge)?, height.saturating_sub(1), skip, most, found)?;
            }
            if index == length || found.len() >= most {
                break;
            }
            if *skip > 0 {
                *skip = skip.saturating_sub(1);
                continue;
            }
            let at = |base: u64, of: &Arc<Type>| {
                let at = node.wrapping_add(base).wrapping_add(index.wrapping_mul(of.size));
                Place { of: of.clone(), at: At::Memory(at) }
            };
            let key = at(keys, walk.key);
            found.push(if walk.map {
                Element { key: Some(key), value: at(values, walk.value) }
            } else {
                Element { key: None, value: key }
            });
        }
        Ok(())
    }
}

struct Walk<'a> {
    leaf: &'a Arc<Type>,
    key: &'a Arc<Type>,
    value: &'a Arc<Type>,
    map: bool,
}

impl Collection {
    /// Whether elements can be told by a number.
    pub(crate) fn is_row(&self) -> bool {
        self.kind == Shown::List
    }

    /// What a row consists of.
    pub(crate) fn element(&self) -> Option<&Arc<Type>> {
        match &self.source {
            Elements::Row { of, .. } => Some(of),
            _ => None,
        }
    }

    /// A part of a row.
    pub(crate) fn part(&self, from: u64, to: u64) -> Option<Self> {
        let Elements::Row { of, at, first, room } = &self.source else { return None };
        let length = to.checked_sub(from)?;
        let source = Elements::Row { of: of.clone(), at: at.clone(), first: first.saturating_add(from), room: *room };
        (to <= self.length).then_some(Self { kind: self.kind, length, source })
    }
}

fn style(of: &Type, fields: &[(String, Place)]) -> Style {
    match fields.first() {
        None if of.fields().is_none_or(|fields| fields.members.is_empty()) => Style::Unit,
        Some((first, _)) if first.bytes().all(|b| b.is_ascii_digit()) => Style::Tuple,
        _ => Style::Struct,
    }
}

/// What a pointer's type points at, by its name.
fn pointee(name: &str) -> &str {
    let name = name
        .strip_prefix("&mut ")
        .or_else(|| name.strip_prefix('&'))
        .or_else(|| name.strip_prefix("*const "))
        .or_else(|| name.strip_prefix("*mut "))
        .or_else(|| name.split_once('<').map(|(_, inside)| inside))
        .unwrap_or(name);
    name.split([',', '>']).next().unwrap_or(name)
}

fn c_string(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    let at = reader.pointer_of(place, &["inner", "data_ptr"])?;
    // The NUL is part of it.
    let length = reader.number_of(place, &["inner", "length"])?.saturating_sub(1);
    reader.text_at(at, length, false)
}

fn ring(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    let of = reader.type_at(place.of.parameter("T").ok_or(Fault::Layout)?)?;
    let at = reader.pointer_of(place, &["buf", "inner", "ptr"])?;
    let room = reader.number_of(place, &["buf", "inner", "cap"])?;
    let length = reader.number_of(place, &["len"])?;
    let first = reader.number_of(place, &["head"])?;
    let room = if of.size == 0 { u64::MAX } else { room };
    if length > room || (first >= room && length > 0) {
        return Err(Fault::Corrupt(format!("{length} elements from {first} on in a ring of {room}")));
    }
    Ok(Shape::Collection(reader.row(of, At::Memory(at), length, first, room, Shown::List)?))
}

fn links(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    let length = reader.number_of(place, &["len"])?;
    let head = reader.follow(place, &["head"])?;
    let at = reader.pointer_of(place, &["head"])?;
    let Kind::Enum { variants, .. } = &head.of.kind else { return Err(Fault::Layout) };
    let mut node = None;
    for variant in variants {
        let inside = reader.member(&head, &variant.member)?;
        if let Ok(pointer) = reader.follow(&inside, &["__0", "pointer"])
            && let Kind::Pointer(target) = pointer.of.kind
        {
            node = Some(reader.type_at(target)?);
        }
    }
    let source = Elements::Links { node: node.ok_or(Fault::Layout)?, head: at };
    Ok(Shape::Collection(Collection { kind: Shown::List, length, source }))
}

fn atomic(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    let value = reader.follow(place, &["v", "value"])?;
    if place.of.name.ends_with("Bool") || place.of.name.ends_with("<bool>") {
        return Ok(Shape::Bool(reader.number(&value)? != 0));
    }
    // Releases to come wrap it once more, to align it.
    let inside = reader.follow(&value, &["_"]);
    Ok(Shape::Inner(inside.unwrap_or(value), None))
}

fn weak(reader: &Reader<'_>, place: &Place, strong: &[&str], value: &str) -> Result<Shape, Fault> {
    let pointer = reader.follow(place, &["ptr", "pointer"])?;
    let address = reader.pointer_of(place, &["ptr", "pointer"])?;
    if address == u64::MAX {
        return Ok(Shape::Spelt("(Weak of nothing)".to_owned()));
    }
    if !matches!(pointer.of.kind, Kind::Pointer(_)) {
        return Ok(Shape::Spelt("(Weak)".to_owned()));
    }
    let inner = reader.target(&pointer)?;
    if reader.number_of(&inner, strong)? == 0 {
        return Ok(Shape::Spelt("(Weak, dropped)".to_owned()));
    }
    // Not opened: what it leads to is most often what it is in.
    let At::Memory(at) = reader.follow(&inner, &[value])?.at else { return Err(Fault::Layout) };
    Ok(Shape::Raw(at, Some(reader.follow(&inner, &[value])?)))
}

fn borrowed(reader: &Reader<'_>, place: &Place) -> Result<Option<&'static str>, Fault> {
    let count = reader.signed(&reader.follow(place, &["borrow", "value", "value"])?)?;
    Ok(match count {
        0 => None,
        1.. => Some("borrowed"),
        _ => Some("mutably borrowed"),
    })
}

fn locked(reader: &Reader<'_>, place: &Place) -> Result<Option<&'static str>, Fault> {
    let poisoned = reader.number_of(place, &["poison", "failed", "v", "value"])? != 0;
    let lock = reader.follow(place, &["inner"])?;
    let state = match lock.of.member("futex").or_else(|| lock.of.member("state")) {
        Some(member) => reader.number_of(&reader.member(&lock, member)?, &["v", "value"])?,
        None => 0,
    };
    // The highest bits tell of those who wait.
    Ok(match (state & 0x3fff_ffff != 0, poisoned) {
        (true, true) => Some("locked, poisoned"),
        (true, false) => Some("locked"),
        (false, true) => Some("poisoned"),
        (false, false) => None,
    })
}

fn once(reader: &Reader<'_>, place: &Place, value: &[&str]) -> Result<Shape, Fault> {
    let once = reader.follow(place, &["once", "inner"])?;
    let state = once.of.member("state_and_queued").ok_or(Fault::Layout)?;
    let state = reader.number_of(&reader.member(&once, state)?, &["v", "value"])?;
    // `std::sys::sync::once::futex::COMPLETE`; the others are that it was not begun, runs, or panicked.
    if state & 3 != 0 {
        return Ok(Shape::Spelt("<uninit>".to_owned()));
    }
    Ok(Shape::Inner(reader.follow(place, value)?, None))
}

fn only_field(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    match reader.plain(place)? {
        Shape::Fields(Named { mut fields, .. }) if fields.len() == 1 => {
            Ok(fields.pop().map_or(Shape::Unit, |(_, inner)| Shape::Inner(inner, None)))
        }
        other => Ok(other),
    }
}

fn seconds(reader: &Reader<'_>, place: &Place, secs: &[&str], nanos: &[&str]) -> Result<Duration, Fault> {
    let nanos = reader.number_of(place, nanos)?;
    let nanos = u32::try_from(nanos).ok().filter(|&nanos| nanos < 1_000_000_000);
    let nanos = nanos.ok_or_else(|| Fault::Corrupt("more nanoseconds than a second has".to_owned()))?;
    Ok(Duration::new(reader.number_of(place, secs)?, nanos))
}

fn duration(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    Ok(Shape::Spelt(format!("{:?}", seconds(reader, place, &["secs"], &["nanos", "__0"])?)))
}

fn system_time(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    let time = seconds(reader, place, &["__0", "t", "tv_sec"], &["__0", "t", "tv_nsec", "__0"])?;
    Ok(Shape::Spelt(utc(time)))
}

/// RFC 3339, in UTC.
fn utc(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs().cast_signed();
    if !(0..253_402_300_800).contains(&seconds) {
        return format!("{seconds} s since 1970");
    }
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day last; 719468 days lie between the first of one and 1970.
    let day = days.saturating_add(719_468);
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year =
        (of_era.saturating_sub(of_era / 1460).saturating_add(of_era / 36_524).saturating_sub(of_era / 146_096)) / 365;
    let before = year.saturating_mul(365).saturating_add(year / 4).saturating_sub(year / 100);
    let of_year = of_era.saturating_sub(before);
    let march = (of_year.saturating_mul(5).saturating_add(2)) / 153;
    let day = of_year.saturating_sub((march.saturating_mul(153).saturating_add(2)) / 5).saturating_add(1);
    let month = if march < 10 { march.saturating_add(3) } else { march.saturating_sub(9) };
    let year = year.saturating_add(era.saturating_mul(400)).saturating_add(i64::from(month <= 2));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since_1970.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn octets<const N: usize>(reader: &Reader<'_>, place: &Place) -> Result<[u8; N], Fault> {
    let octets = reader.follow(place, &["octets"])?;
    let bits = reader.bits(&octets)?.to_ne_bytes();
    bits.first_chunk().copied().ok_or(Fault::Layout)
}

fn ipv4(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    Ok(Shape::Spelt(std::net::Ipv4Addr::from(octets::<4>(reader, place)?).to_string()))
}

fn ipv6(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    Ok(Shape::Spelt(std::net::Ipv6Addr::from(octets::<16>(reader, place)?).to_string()))
}

fn socket_v4(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    let ip = std::net::Ipv4Addr::from(octets::<4>(reader, &reader.follow(place, &["ip"])?)?);
    Ok(Shape::Spelt(format!("{ip}:{}", reader.number_of(place, &["port"])?)))
}

fn socket_v6(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    let ip = std::net::Ipv6Addr::from(octets::<16>(reader, &reader.follow(place, &["ip"])?)?);
    Ok(Shape::Spelt(format!("[{ip}]:{}", reader.number_of(place, &["port"])?)))
}

/// One word: a pointer to a message or to an error of its own, a code of the system, or a kind, by its lowest two bits.
fn io_error(reader: &Reader<'_>, place: &Place) -> Result<Shape, Fault> {
    let repr = reader.follow(place, &["repr"])?;
    let word = reader.pointer_of(&repr, &["__0"])?;
    let high = i32::try_from(word >> 32).ok();
    // `ErrorData<Box<Custom>>` is what the marker beside the word names.
    let marker = reader.type_at(repr.of.member("__1").ok_or(Fault::Layout)?.of)?;
    let data = reader.type_at(marker.parameter("T").ok_or(Fault::Layout)?)?;
    let boxed = reader.type_at(data_parameter(&data, reader).ok_or(Fault::Layout)?)?;
    let Kind::Pointer(custom) = boxed.kind else { return Err(Fault::Layout) };
    let custom = reader.type_at(custom)?;
    match word & 3 {
        2 => {
            let code = high.ok_or(Fault::Layout)?;
            Ok(Shape::Spelt(format!("Os {{ code: {code}, message: {:?} }}", system_message(code))))
        }
        1 => Ok(Shape::Inner(Place { of: custom, at: At::Memory(word.wrapping_sub(1)) }, None)),
        0 => {
            let (at, length) = (reader.word(word)?, reader.word(word.wrapping_add(8))?);
            reader.text_at(at, length, true)
        }
        _ => {
            let kind = reader.type_at(custom.member("kind").ok_or(Fault::Layout)?.of)?;
            let Kind::Names(names) = &kind.kind else { return Err(Fault::Layout) };
            let name = names.iter().find(|(bits, _)| *bits == u128::from(word >> 32)).ok_or(Fault::Layout)?;
            Ok(Shape::Spelt(format!("Kind({})", name.1)))
        }
    }
}

/// The parameter of an enum: its variants name it.
fn data_parameter(of: &Type, reader: &Reader<'_>) -> Option<usize> {
    let Kind::Enum { variants, .. } = &of.kind else { return None };
    let inside = reader.image.type_at(variants.first()?.member.of)?;
    inside.parameter("C")
}

fn system_message(code: i32) -> String {
    let mut message = std::io::Error::from_raw_os_error(code).to_string();
    // It names the code once more.
    if let Some(at) = message.rfind(" (os error") {
        message.truncate(at);
    }
    message
}

/// A float as Rust's `Debug` writes it.
pub(crate) fn float(value: f64, size: u64) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = if size == 4 {
        #[expect(clippy::cast_possible_truncation, reason = "it was widened from this type")]
        let narrow = value as f32;
        write!(text, "{narrow:?}")
    } else {
        write!(text, "{value:?}")
    };
    text
}

#[cfg(test)]
mod tests {
    use super::{pointee, utc};
    use std::time::Duration;

    #[test]
    fn moments_are_written_in_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "-1 s since 1970"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_pointer_s_target_is_in_its_name() {
        for (name, expected) in [
            ("&str", "str"),
            ("&mut str", "str"),
            ("*const str", "str"),
            ("alloc::boxed::Box<str, alloc::alloc::Global>", "str"),
            ("alloc::sync::Arc<str, alloc::alloc::Global>", "str"),
            ("alloc::sync::Arc<[u8], alloc::alloc::Global>", "[u8]"),
            ("&[u8]", "[u8]"),
        ] {
            assert_eq!(pointee(name), expected);
        }
    }
}
