//! The types of the executable, as the debug information describes them.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::image::{Entry, Image, Unit};
use gimli::{AttributeValue, constants as dw};
use std::sync::Arc;

/// A type.
#[derive(Debug)]
pub(crate) struct Type {
    /// With the modules around it and the parameters: `alloc::vec::Vec<u8, alloc::alloc::Global>`.
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Unsigned,
    Signed,
    Float,
    Bool,
    Char,
    Unit,
    /// A struct, a tuple, a closure's captures, a fat pointer.
    Struct(Fields),
    Union(Fields),
    /// A Rust enum, or the state of an `async` function.
    Enum {
        tag: Option<Member>,
        variants: Vec<Variant>,
    },
    /// An enum of which no variant holds data: each value, as the bits that stand for it, and its name.
    Names(Vec<(u128, String)>),
    Pointer(usize),
    /// A pointer to a function.
    Function,
    Array {
        element: usize,
        length: u64,
    },
    /// A trait object: what has no value of a known size.
    Other,
}

#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) members: Vec<Member>,
    /// The type parameters: name and type.
    pub(crate) parameters: Vec<(String, usize)>,
}

/// A field: its type is an offset in `.debug_info`.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) of: usize,
    pub(crate) offset: u64,
}

#[derive(Debug)]
pub(crate) struct Variant {
    /// The bits of the tag that stand for it; none for the one that all others leave over.
    pub(crate) tag: Option<u128>,
    pub(crate) member: Member,
    /// The line that an `async` function in this state waits at.
    pub(crate) line: Option<u64>,
}

impl Type {
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.fields()?.members.iter().find(|member| member.name == name)
    }

    pub(crate) fn fields(&self) -> Option<&Fields> {
        match &self.kind {
            Kind::Struct(fields) | Kind::Union(fields) => Some(fields),
            _ => None,
        }
    }

    /// The type that a parameter stands for.
    pub(crate) fn parameter(&self, name: &str) -> Option<usize> {
        self.fields()?.parameters.iter().find(|(parameter, _)| parameter == name).map(|&(_, of)| of)
    }
}

impl Image {
    /// The type at this offset in `.debug_info`.
    pub(crate) fn type_at(&self, offset: usize) -> Option<Arc<Type>> {
        if let Some(of) = self.types.borrow().get(&offset) {
            return Some(of.clone());
        }
        let (unit, entry) = self.unit_with(offset)?;
        let entry = unit.entry(entry)?;
        let of = Arc::new(Reader { image: self, unit: &unit }.type_of(&entry)?);
        self.types.borrow_mut().insert(offset, of.clone());
        Some(of)
    }
}

struct Reader<'a> {
    image: &'a Image,
    unit: &'a Unit,
}

impl Reader<'_> {
    fn type_of(&self, entry: &Entry) -> Option<Type> {
        let size = number(entry, dw::DW_AT_byte_size);
        let path = || self.unit.path(self.image, entry).unwrap_or_else(|| "{unnamed}".to_owned());
        Some(match entry.tag() {
            dw::DW_TAG_base_type => {
                let name = self.unit.name(self.image, entry)?.into_owned();
                let kind = match entry.attr_value(dw::DW_AT_encoding) {
                    _ if name == "()" || name == "!" => Kind::Unit,
                    _ if name == "char" => Kind::Char,
                    Some(AttributeValue::Encoding(dw::DW_ATE_signed | dw::DW_ATE_signed_char)) => Kind::Signed,
                    Some(AttributeValue::Encoding(dw::DW_ATE_float)) => Kind::Float,
                    Some(AttributeValue::Encoding(dw::DW_ATE_boolean)) => Kind::Bool,
                    Some(AttributeValue::Encoding(dw::DW_ATE_UTF)) => Kind::Char,
                    _ => Kind::Unsigned,
                };
                Type { name, size: size.unwrap_or(0), kind }
            }
            dw::DW_TAG_structure_type => Type { name: path(), size: size.unwrap_or(0), kind: self.structure(entry)? },
            dw::DW_TAG_union_type => match self.structure(entry)? {
                Kind::Struct(fields) => Type { name: path(), size: size.unwrap_or(0), kind: Kind::Union(fields) },
                kind => Type { name: path(), size: size.unwrap_or(0), kind },
            },
            dw::DW_TAG_enumeration_type => {
                let size = size.unwrap_or(0);
                Type { name: path(), size, kind: Kind::Names(self.names(entry, size)?) }
            }
            dw::DW_TAG_pointer_type | dw::DW_TAG_reference_type => {
                let target = entry.attr_value(dw::DW_AT_type).and_then(|value| self.unit.reference(value))?;
                let name = self.unit.name(self.image, entry).map_or_else(|| "*const _".to_owned(), |name| name.into());
                let code = self.image.unit_with(target).and_then(|(unit, offset)| unit.entry(offset));
                let kind = match code.map(|target| target.tag()) {
                    Some(dw::DW_TAG_subroutine_type) => Kind::Function,
                    _ => Kind::Pointer(target),
                };
                Type { name, size: size.unwrap_or(8), kind }
            }
            dw::DW_TAG_array_type => {
                let (name, size, element, length) = self.array(entry, 0)?;
                Type { name, size, kind: Kind::Array { element, length } }
            }
            dw::DW_TAG_typedef | dw::DW_TAG_const_type | dw::DW_TAG_volatile_type => {
                // One step only: a chain of them does not come from Rust.
                let of = self.unit.reference(entry.attr_value(dw::DW_AT_type)?)?;
                let (unit, offset) = self.image.unit_with(of)?;
                let target = unit.entry(offset)?;
                if matches!(target.tag(), dw::DW_TAG_typedef | dw::DW_TAG_const_type | dw::DW_TAG_volatile_type) {
                    return None;
                }
                Reader { image: self.image, unit: &unit }.type_of(&target)?
            }
            _ => Type { name: path(), size: size.unwrap_or(0), kind: Kind::Other },
        })
    }

    /// The size of a type that says it itself; through `type_at`, a damaged file would lead in circles.
    fn size(&self, of: usize) -> Option<u64> {
        let (unit, offset) = self.image.unit_with(of)?;
        number(&unit.entry(offset)?, dw::DW_AT_byte_size)
    }

    /// The name, size, element and length of an array.
    fn array(&self, entry: &Entry, depth: u8) -> Option<(String, u64, usize, u64)> {
        let element = self.unit.reference(entry.attr_value(dw::DW_AT_type)?)?;
        let mut length = 0;
        self.children(entry, |child| {
            if child.tag() == dw::DW_TAG_subrange_type {
                length = number(child, dw::DW_AT_count)
                    .or_else(|| number(child, dw::DW_AT_upper_bound).map(|last| last.saturating_add(1)))
                    .unwrap_or(0);
            }
        })?;
        let (unit, offset) = self.image.unit_with(element)?;
        let of = unit.entry(offset)?;
        let (name, size) = if of.tag() == dw::DW_TAG_array_type {
            // Arrays of arrays end in a sound file.
            if depth > 16 {
                return None;
            }
            let (name, size, ..) = Reader { image: self.image, unit: &unit }.array(&of, depth.saturating_add(1))?;
            (name, size)
        } else {
            let name = unit.path(self.image, &of).unwrap_or_else(|| "_".to_owned());
            let pointer = matches!(of.tag(), dw::DW_TAG_pointer_type | dw::DW_TAG_reference_type);
            (name, number(&of, dw::DW_AT_byte_size).unwrap_or(if pointer { 8 } else { 0 }))
        };
        Some((format!("[{name}; {length}]"), size.saturating_mul(length), element, length))
    }

    fn structure(&self, entry: &Entry) -> Option<Kind> {
        let mut fields = Fields::default();
        let mut part = None;
        self.children(entry, |child| match child.tag() {
            dw::DW_TAG_member => fields.members.extend(self.member(child)),
            dw::DW_TAG_template_type_parameter => {
                let of = child.attr_value(dw::DW_AT_type).and_then(|value| self.unit.reference(value));
                if let (Some(name), Some(of)) = (self.unit.name(self.image, child), of) {
                    fields.parameters.push((name.into_owned(), of));
                }
            }
            dw::DW_TAG_variant_part => part = Some(child.clone()),
            _ => {}
        })?;
        let Some(part) = part else { return Some(Kind::Struct(fields)) };
        let discriminant = part.attr_value(dw::DW_AT_discr).and_then(|value| self.unit.reference(value));
        let tag = discriminant.and_then(|offset| self.member(&self.unit.entry(local(self.unit, offset)?)?));
        let size = tag.as_ref().and_then(|tag| self.size(tag.of)).unwrap_or(0);
        let mut variants = Vec::new();
        let mut found = Vec::new();
        self.children(&part, |child| {
            if child.tag() == dw::DW_TAG_variant {
                found.push(child.clone());
            }
        })?;
        for variant in found {
            let mut of = None;
            self.children(&variant, |child| {
                if child.tag() == dw::DW_TAG_member {
                    let line = number(child, dw::DW_AT_decl_line);
                    of = self.member(child).map(|member| (member, line));
                }
            })?;
            let Some((member, line)) = of else { continue };
            let tag = variant.attr_value(dw::DW_AT_discr_value).and_then(constant).map(|value| mask(value, size));
            variants.push(Variant { tag, member, line });
        }
        Some(Kind::Enum { tag, variants })
    }

    fn names(&self, entry: &Entry, size: u64) -> Option<Vec<(u128, String)>> {
        let mut names = Vec::new();
        self.children(entry, |child| {
            if child.tag() == dw::DW_TAG_enumerator {
                let value = child.attr_value(dw::DW_AT_const_value).and_then(constant);
                if let (Some(value), Some(name)) = (value, self.unit.name(self.image, child)) {
                    names.push((mask(value, size), name.into_owned()));
                }
            }
        })?;
        Some(names)
    }

    fn member(&self, entry: &Entry) -> Option<Member> {
        Some(Member {
            name: self.unit.name(self.image, entry).map_or_else(String::new, |name| name.into_owned()),
            of: self.unit.reference(entry.attr_value(dw::DW_AT_type)?)?,
            offset: number(entry, dw::DW_AT_data_member_location).unwrap_or(0),
        })
    }

    /// Calls back for each child of an entry.
    fn children(&self, entry: &Entry, mut each: impl FnMut(&Entry)) -> Option<()> {
        if !entry.has_children() {
            return Some(());
        }
        let mut tree = self.unit.unit.entries_tree(Some(entry.offset())).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Ok(Some(child)) = children.next() {
            each(child.entry());
        }
        Some(())
    }
}

/// The offset in the unit of an entry of it.
fn local(unit: &Unit, offset: usize) -> Option<gimli::UnitOffset> {
    Some(gimli::UnitOffset(offset.checked_sub(unit.global(gimli::UnitOffset(0)))?))
}

/// The value of an attribute that is a number of 64 bits.
pub(crate) fn number(entry: &Entry, name: gimli::DwAt) -> Option<u64> {
    entry.attr_value(name)?.udata_value()
}

/// The bits of a constant: sign-extended where it is known to have one.
fn constant(value: AttributeValue<crate::image::Bytes>) -> Option<u128> {
    match value {
        AttributeValue::Data16(value) => Some(value),
        AttributeValue::Sdata(value) => Some(i128::from(value).cast_unsigned()),
        AttributeValue::Block(bytes) => {
            let mut wide = [0; 16];
            let bytes = bytes.slice();
            wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(u128::from_le_bytes(wide))
        }
        value => value.udata_value().map(u128::from),
    }
}

/// The low bits that fit into so many bytes.
pub(crate) fn mask(value: u128, bytes: u64) -> u128 {
    match bytes {
        0 => 0,
        1..16 => {
            let bits = u32::try_from(bytes).unwrap_or(16).saturating_mul(8);
            value & 1_u128.checked_shl(bits).map_or(u128::MAX, |above| above.wrapping_sub(1))
        }
        _ => value,
    }
}

/// A type's name as a reader would write it: without modules, the default allocator and the default hasher.
pub(crate) fn short(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(", alloc::alloc::Global") {
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix(", std::hash::random::RandomState") {
            rest = after;
            continue;
        }
        if !starts_segment(first) {
            short.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or("");
            continue;
        }
        let (path, after) = split_path(rest);
        rest = after;
        let segments: Vec<_> = path.split("::").collect();
        let last = segments.last().copied().unwrap_or(path);
        let mut around = segments.iter().rev().skip(1).find(|segment| !segment.starts_with('{')).copied();
        let what = match last.split('#').next() {
            Some("{async_fn_env") => "async fn",
            Some("{async_block_env") => "async block in",
            Some("{async_closure_env" | "{closure_env") => "closure in",
            _ => {
                around = None;
                last
            }
        };
        short.push_str(what);
        if let Some(around) = around {
            short.push(' ');
            short.push_str(around);
        }
    }
    short
}

/// The name of a type without what is around it and its parameters: `Vec`, `{closure_env#0}`.
pub(crate) fn last_segment(name: &str) -> &str {
    let (path, _) = split_path(name);
    path.rsplit("::").next().unwrap_or(path)
}

fn starts_segment(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '{'
}

/// The length of what stands in braces at the beginning: of `{{closure}}`, as symbols have it, both pairs.
fn braced(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth = depth.saturating_add(1),
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at.saturating_add(1);
        }
    }
    text.len()
}

/// A path of segments with `::` between, and what follows it.
fn split_path(text: &str) -> (&str, &str) {
    let mut end = 0;
    loop {
        let rest = text.get(end..).unwrap_or("");
        let length = if rest.starts_with('{') {
            braced(rest)
        } else {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        };
        end = end.saturating_add(length);
        let rest = text.get(end..).unwrap_or("");
        match rest.strip_prefix("::") {
            Some(next) if next.starts_with(starts_segment) => end = end.saturating_add(2),
            _ => return text.split_at_checked(end).unwrap_or((text, "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{mask, short};

    #[test]
    fn names_are_short_as_a_reader_would_write_them() {
        for (long, expected) in [
            ("u32", "u32"),
            ("alloc::vec::Vec<u8, alloc::alloc::Global>", "Vec<u8>"),
            ("&str", "&str"),
            ("&mut app::cart::Item", "&mut Item"),
            (
                "std::collections::hash::map::HashMap<alloc::string::String, (u8, app::B), std::hash::random::RandomState, alloc::alloc::Global>",
                "HashMap<String, (u8, B)>",
            ),
            (
                "alloc::boxed::Box<(dyn app::Shape + core::marker::Send), alloc::alloc::Global>",
                "Box<(dyn Shape + Send)>",
            ),
            ("app::main::{closure_env#2}<u32>", "closure in main<u32>"),
            ("app::load::{async_fn_env#0}", "async fn load"),
            ("app::load::{async_fn#0}::{async_block_env#1}", "async block in load"),
            ("app::load::{async_fn#0}::Row", "Row"),
            ("app::load::{{closure}}::Row<app::B>", "Row<B>"),
            ("{{closure}", "{{closure}"),
            ("[[u8; 2]; 3]", "[[u8; 2]; 3]"),
            ("<app::Circle as app::Shape>::{vtable}", "<Circle as Shape>::{vtable}"),
            ("*const u8", "*const u8"),
            ("", ""),
            ("{", "{"),
            ("::", "::"),
            ("a::", "a::"),
            ("é::ü", "ü"),
        ] {
            assert_eq!(short(long), expected, "{long}");
        }
    }

    #[test]
    fn masks_keep_the_low_bytes() {
        assert_eq!(mask(u128::MAX, 1), 0xff);
        assert_eq!(mask(u128::MAX, 8), u128::from(u64::MAX));
        assert_eq!(mask(u128::MAX, 16), u128::MAX);
        assert_eq!(mask(7, 0), 0);
    }
}
