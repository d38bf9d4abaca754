//! Values as a page shows them: a line of text each, and children that are opened as they are asked for.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::frames::Frame;
use crate::image::{Image, Lack};
use crate::layout::{Collection, Element, Named, Shape, Shown, Style, Text, float};
use crate::memory::Memory;
use crate::reader::{At, Bounds, Fault, Place, Reader};
use crate::types::{Kind, last_segment, short};
use std::fmt::Write as _;

/// Shows what the frames of a stopped thread hold.
///
/// It reads, and does nothing else: no code of the site runs, not even a `Debug`. Damaged memory, wrong lengths and circles are
/// said where they are met, and the rest is shown.
pub struct Inspector<'a> {
    pub(crate) image: &'a Image,
    pub(crate) memory: &'a dyn Memory,
    pub(crate) bounds: Bounds,
    pub(crate) masked: &'a dyn Fn(&str) -> bool,
}

/// A value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Value {
    /// Of the variable or the field; the index of an element, the key of an entry.
    pub name: String,
    /// As one would write it: `Vec<Item>`. Empty for an entry of a map whose key is no simple value.
    pub type_name: String,
    /// One line, much as `{:?}` prints it.
    pub text: String,
    /// What is wrong with it or not known of it, in words: optimised out, unreadable, corrupt, perhaps moved.
    pub note: Option<String>,
    /// Whether `text` stands for something that is not to be shown.
    pub masked: bool,
    /// An argument of the function; for other values than variables false.
    pub argument: bool,
    /// How many children there are, opened or not.
    pub count: u64,
    /// The first of them, if this level is opened.
    pub children: Vec<Value>,
    /// Which child of which child it is: what [`Inspector::expand`] takes.
    pub path: Vec<u64>,
}

/// The variables of a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Arguments first, then in the order of the source.
    pub values: Vec<Value>,
    /// Why some or all variables are missing.
    pub lack: Option<Lack>,
}

/// What stands for a value whose name says that it is a secret.
pub const MASK: &str = "••••••";

impl<'a> Inspector<'a> {
    /// Reads `memory` as what `image` describes. Nothing is masked.
    pub fn new(image: &'a Image, memory: &'a dyn Memory) -> Self {
        Self { image, memory, bounds: Bounds::default(), masked: &|_| false }
    }

    /// Other bounds than the default ones.
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Does not read values of which this is true of a name: that of a variable or a field, a key that is text, or that of
    /// a struct or an enum without its modules and parameters, like `Secret`.
    pub fn mask(mut self, masked: &'a dyn Fn(&str) -> bool) -> Self {
        self.masked = masked;
        self
    }

    /// The variables in scope where the frame stopped.
    ///
    /// The compiler does not record what was moved or not yet set: such variables are listed, and what is found in their place
    /// may be anything. What cannot be a value of its type says so in [`Value::note`].
    pub fn variables(&self, frame: &Frame) -> Listing {
        let show = self.show();
        let (variables, lack) = show.reader.variables(frame);
        let values = variables
            .into_iter()
            .enumerate()
            .map(|(index, variable)| {
                let path = vec![u64::try_from(index).unwrap_or(u64::MAX)];
                let mut value = match variable.place {
                    Ok(place) => show.value(variable.name, &place, path, self.bounds.depth, &mut Vec::new()),
                    Err(fault) => {
                        let type_name = variable.of.map_or_else(|_| String::new(), |of| short(&of.name));
                        failed(variable.name, type_name, path, &fault)
                    }
                };
                value.argument = variable.argument;
                value
            })
            .collect();
        Listing { values, lack }
    }

    /// A value by its path, with its children from the one of this number on: a level that was not opened, or the rest of a
    /// long list.
    ///
    /// `None` if there is nothing at this path, as of another frame.
    pub fn expand(&self, frame: &Frame, path: &[u64], from: u64) -> Option<Value> {
        let show = self.show();
        let (&first, rest) = path.split_first()?;
        let variable = show.reader.variables(frame).0.into_iter().nth(usize::try_from(first).ok()?)?;
        let place = variable.place.ok()?;
        let mut value = show.descend(variable.name, place, vec![first], rest, from)?;
        value.argument = rest.is_empty() && variable.argument;
        Some(value)
    }

    pub(crate) fn show(&self) -> Show<'a> {
        Show { reader: Reader::new(self.image, self.memory, self.bounds), masked: self.masked }
    }
}

/// One answer: a reader with its budget, and what not to read.
pub(crate) struct Show<'a> {
    pub(crate) reader: Reader<'a>,
    masked: &'a dyn Fn(&str) -> bool,
}

/// Where a value is and what it is: to notice a circle.
type Seen = Vec<(u64, usize)>;

/// A child of a value.
pub(crate) enum Child {
    One(Place),
    /// What its name, its key or what stands beside it says to be a secret.
    Hidden(Place),
    /// An entry whose key has no short text.
    Pair(Place, Place),
}

impl Show<'_> {
    /// A value with its children, as many levels of them as told.
    pub(crate) fn value(&self, name: String, place: &Place, path: Vec<u64>, depth: usize, seen: &mut Seen) -> Value {
        if (self.masked)(&name) || self.is_secret(place) {
            return hidden(name, place, path);
        }
        self.shown(name, place, path, depth, seen)
    }

    /// The same of a name that is not the site's.
    fn shown(&self, name: String, place: &Place, path: Vec<u64>, depth: usize, seen: &mut Seen) -> Value {
        let type_name = short(&place.of.name);
        if let Err(fault) = self.reader.spend() {
            return failed(name, type_name, path, &fault);
        }
        let mut line = Line::new(self.reader.bounds.line);
        self.write(place, &mut line, 6, &mut Vec::new());
        let mut value = Value { name, type_name, text: line.text, note: line.note, path, ..Value::default() };
        self.open(&mut value, place, depth, 0, seen);
        value
    }

    /// Lists the children of a value.
    fn open(&self, value: &mut Value, place: &Place, depth: usize, from: u64, seen: &mut Seen) {
        let Ok((inner, shape)) = self.inside(place) else { return };
        value.count = count(&shape);
        let Some(depth) = depth.checked_sub(1) else { return };
        let before = seen.len();
        if !enter(seen, &inner) {
            value.note.get_or_insert_with(|| "it contains itself".to_owned());
            value.count = 0;
            return;
        }
        let (children, fault) = self.children(&shape, from, self.reader.bounds.elements);
        for (index, (name, child)) in (from..).zip(children) {
            let mut path = value.path.clone();
            path.push(index);
            let child = match child {
                Child::Hidden(child) => hidden(name, &child, path),
                Child::One(child) => self.value(name, &child, path, depth, seen),
                Child::Pair(key, of) => self.pair(name, &key, &of, path, depth, seen),
            };
            value.children.push(child);
        }
        seen.truncate(before);
        if let Some(fault) = fault {
            value.note.get_or_insert_with(|| fault.to_string());
        }
    }

    fn pair(&self, name: String, key: &Place, of: &Place, path: Vec<u64>, depth: usize, seen: &mut Seen) -> Value {
        let mut line = Line::new(self.reader.bounds.line);
        self.write(key, &mut line, 3, &mut Vec::new());
        line.push(": ");
        self.write(of, &mut line, 3, &mut Vec::new());
        let mut value = Value { name, text: line.text, note: line.note, path, count: 2, ..Value::default() };
        if let Some(depth) = depth.checked_sub(1) {
            for (index, (name, place)) in [("key", key), ("value", of)].into_iter().enumerate() {
                let mut path = value.path.clone();
                path.push(u64::try_from(index).unwrap_or(0));
                value.children.push(self.shown(name.to_owned(), place, path, depth, seen));
            }
        }
        value
    }

    /// The value that so many steps lead to.
    pub(crate) fn descend(
        &self,
        mut name: String,
        mut place: Place,
        mut path: Vec<u64>,
        steps: &[u64],
        from: u64,
    ) -> Option<Value> {
        let mut steps = steps.iter().copied();
        while let Some(step) = steps.next() {
            if (self.masked)(&name) || self.is_secret(&place) {
                return None;
            }
            let (_, shape) = self.inside(&place).ok()?;
            let (child_name, child) = self.children(&shape, step, 1).0.into_iter().next()?;
            path.push(step);
            name = child_name;
            place = match child {
                Child::Hidden(child) => return steps.next().is_none().then(|| hidden(name, &child, path)),
                Child::One(child) => child,
                Child::Pair(key, value) => match steps.next() {
                    None => {
                        let depth = self.reader.bounds.depth.max(1);
                        return Some(self.pair(name, &key, &value, path, depth, &mut Vec::new()));
                    }
                    Some(step) => {
                        path.push(step);
                        let (child_name, child) =
                            [("key", key), ("value", value)].into_iter().nth(step.try_into().ok()?)?;
                        name = child_name.to_owned();
                        child
                    }
                },
            };
        }
        let mut value = self.value(name, &place, path, 0, &mut Vec::new());
        if !value.masked {
            self.open(&mut value, &place, self.reader.bounds.depth.max(1), from, &mut Vec::new());
        }
        Some(value)
    }

    /// What is inside of references, smart pointers and cells.
    pub(crate) fn inside(&self, place: &Place) -> Result<(Place, Shape), Fault> {
        let mut place = place.clone();
        for _ in 0..32 {
            self.reader.in_time()?;
            match self.reader.shape(&place)? {
                Shape::Inner(inner, _) => place = inner,
                shape => return Ok((place, shape)),
            }
        }
        Err(Fault::Corrupt("it contains itself".to_owned()))
    }

    /// Some children of a value, and what went wrong after the last.
    pub(crate) fn children(&self, shape: &Shape, from: u64, most: usize) -> (Vec<(String, Child)>, Option<Fault>) {
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        match shape {
            Shape::Fields(named) => {
                let secret = self.secret_pair(named);
                let fields = named.fields.iter().enumerate().skip(start).take(most).map(|(index, (name, place))| {
                    let hidden = self.is_masked(name) || (secret && index == 1);
                    let child = if hidden { Child::Hidden } else { Child::One };
                    (name.clone(), child(place.clone()))
                });
                (fields.collect(), None)
            }
            Shape::Collection(collection) => {
                let (elements, fault) = self.reader.elements(collection, from, most);
                let children = (from..).zip(elements).map(|(index, Element { key, value })| match key {
                    None => (index.to_string(), Child::One(value)),
                    Some(key) => match self.short_key(&key) {
                        Some(name) if self.is_masked(&name) => (name, Child::Hidden(value)),
                        Some(name) => (name, Child::One(value)),
                        None => (index.to_string(), Child::Pair(key, value)),
                    },
                });
                (children.collect(), fault)
            }
            Shape::Raw(_, Some(target)) if start == 0 => (vec![("*".to_owned(), Child::One(target.clone()))], None),
            _ => (Vec::new(), None),
        }
    }

    /// The text of a key that fits on a line: what a reader would put between brackets.
    fn short_key(&self, key: &Place) -> Option<String> {
        let (inner, shape) = self.inside(key).ok()?;
        match shape {
            Shape::Collection(_) | Shape::Raw(..) => None,
            Shape::Fields(named) if !named.fields.is_empty() => None,
            _ => {
                let mut line = Line::new(80);
                self.write(&inner, &mut line, 1, &mut Vec::new());
                Some(line.text)
            }
        }
    }

    /// Whether a name is that of a secret; a key that is text has its quotes around it.
    fn is_masked(&self, name: &str) -> bool {
        (self.masked)(name) || name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).is_some_and(self.masked)
    }

    /// Writes the text of a value.
    pub(crate) fn write(&self, place: &Place, line: &mut Line, depth: usize, seen: &mut Seen) {
        if line.room == 0 {
            return;
        }
        if let Err(fault) = self.reader.spend() {
            return line.fault(&fault);
        }
        if self.is_secret(place) {
            return line.push(MASK);
        }
        match self.reader.shape(place) {
            Ok(shape) => self.write_shape(place, &shape, line, depth, seen),
            Err(fault) => line.fault(&fault),
        }
    }

    fn write_shape(&self, place: &Place, shape: &Shape, line: &mut Line, depth: usize, seen: &mut Seen) {
        match shape {
            Shape::Unit => line.push("()"),
            Shape::Unsigned(value) => line.push(&value.to_string()),
            Shape::Signed(value) => line.push(&value.to_string()),
            Shape::Float(value, size) => line.push(&float(*value, *size)),
            Shape::Bool(value) => line.push(if *value { "true" } else { "false" }),
            Shape::Char(value) => line.push(&format!("{value:?}")),
            Shape::Spelt(text) => line.push(text),
            Shape::Text(text) => self.write_text(text, line),
            Shape::Raw(address, _) => line.push(&format!("{address:#x}")),
            Shape::Inner(inner, note) => {
                if seen.len() > 64 || !enter(seen, place) {
                    return line.push("<itself>");
                }
                self.write(inner, line, depth, seen);
                seen.pop();
                if let Some(note) = note {
                    line.push(&format!(" ({note})"));
                }
            }
            Shape::Collection(collection) => self.write_collection(collection, line, depth, seen),
            Shape::Fields(named) => self.write_fields(named, line, depth, seen),
        }
    }

    pub(crate) fn write_collection(&self, of: &Collection, line: &mut Line, depth: usize, seen: &mut Seen) {
        let (open, close) = if of.kind == Shown::List { ("[", "]") } else { ("{", "}") };
        line.push(open);
        let Some(depth) = depth.checked_sub(1) else {
            return line.push(if of.length == 0 {
                close
            } else if of.kind == Shown::List {
                "…]"
            } else {
                "…}"
            });
        };
        let (elements, fault) = self.reader.elements(of, 0, self.reader.bounds.elements);
        let listed = u64::try_from(elements.len()).unwrap_or(u64::MAX);
        for (index, element) in elements.into_iter().enumerate() {
            if line.room == 0 {
                break;
            }
            if index > 0 {
                line.push(", ");
            }
            if let Some(key) = &element.key {
                let begin = line.text.len();
                self.write(key, line, depth, seen);
                let hidden = self.is_masked(line.text.get(begin..).unwrap_or(""));
                line.push(": ");
                if hidden {
                    line.push(MASK);
                    continue;
                }
            }
            self.write(&element.value, line, depth, seen);
        }
        match fault {
            Some(fault) => line.fault(&fault),
            None if listed < of.length => line.push(if listed > 0 { ", …" } else { "…" }),
            None => {}
        }
        line.push(close);
    }

    fn write_fields(&self, named: &Named, line: &mut Line, depth: usize, seen: &mut Seen) {
        if let [(_, start), (_, end)] = named.fields.as_slice()
            && named.name == "Range"
        {
            self.write(start, line, depth, seen);
            line.push("..");
            return self.write(end, line, depth, seen);
        }
        line.push(&named.name);
        let (open, close) = match named.style {
            Style::Unit => return,
            Style::Tuple => ("(", ")"),
            Style::Struct | Style::Captures if named.name.is_empty() => ("{ ", " }"),
            Style::Struct | Style::Captures => (" { ", " }"),
        };
        if named.fields.is_empty() {
            return;
        }
        line.push(open);
        let Some(depth) = depth.checked_sub(1) else {
            line.push("…");
            return line.push(close);
        };
        let secret = self.secret_pair(named);
        for (index, (name, place)) in named.fields.iter().enumerate() {
            if line.room == 0 {
                break;
            }
            if index > 0 {
                line.push(", ");
            }
            if named.style != Style::Tuple {
                line.push(name);
                line.push(": ");
            }
            if (self.masked)(name) || (secret && index == 1) {
                line.push(MASK);
            } else {
                self.write(place, line, depth, seen);
            }
        }
        if named.style == Style::Tuple && named.name.is_empty() && named.fields.len() == 1 {
            line.push(",");
        }
        line.push(close);
    }

    /// Whether the type is one for secrets, by its name: those of numbers, pointers and the like say nothing, and the
    /// standard library has none. Its `Pin` is no PIN.
    fn is_secret(&self, place: &Place) -> bool {
        let name = &place.of.name;
        let standard = ["core::", "alloc::", "std::"].iter().any(|library| name.starts_with(library));
        matches!(place.of.kind, Kind::Struct(_) | Kind::Enum { .. }) && !standard && (self.masked)(last_segment(name))
    }

    /// `("password", "...")`, as forms and headers are kept.
    fn secret_pair(&self, named: &Named) -> bool {
        match named.fields.as_slice() {
            [(_, key), _] if named.style == Style::Tuple => self.secret_key(key),
            _ => false,
        }
    }

    /// Whether this is text that names a secret.
    pub(crate) fn secret_key(&self, key: &Place) -> bool {
        match self.inside(key) {
            Ok((_, Shape::Text(text))) => self.text(&text, 128).is_ok_and(|(text, _)| (self.masked)(&text)),
            _ => false,
        }
    }

    fn write_text(&self, text: &Text, line: &mut Line) {
        match self.text(text, self.reader.bounds.text_bytes) {
            Ok((shown, sound)) => {
                line.whole(&format!("{shown:?}"));
                if !sound {
                    line.note("this is not UTF-8: was it moved, or not yet set?");
                }
                let length = usize::try_from(text.length).unwrap_or(usize::MAX);
                if length > self.reader.bounds.text_bytes {
                    line.whole(&format!("… ({length} bytes)"));
                }
            }
            Err(fault) => line.fault(&fault),
        }
    }

    /// The first bytes of a string, and whether they are what Rust promises.
    pub(crate) fn text(&self, text: &Text, most: usize) -> Result<(String, bool), Fault> {
        let length = usize::try_from(text.length).unwrap_or(usize::MAX);
        let mut bytes = self.reader.bytes(text.at, length.min(most))?;
        let sound = match std::str::from_utf8(&bytes) {
            Ok(_) => true,
            // Cut within a character.
            Err(error) if length > most && error.error_len().is_none() => {
                bytes.truncate(error.valid_up_to());
                true
            }
            Err(_) => false,
        };
        Ok((String::from_utf8_lossy(&bytes).into_owned(), sound || !text.utf8))
    }
}

/// Notes that a value is being shown; false if it is already.
fn enter(seen: &mut Seen, place: &Place) -> bool {
    let At::Memory(at) = place.at else { return true };
    // The same place holds a struct and its first field: only the type tells them apart.
    let key = (at, std::sync::Arc::as_ptr(&place.of).addr());
    if place.of.size > 0 && seen.contains(&key) {
        return false;
    }
    seen.push(key);
    true
}

fn count(shape: &Shape) -> u64 {
    match shape {
        Shape::Fields(named) => u64::try_from(named.fields.len()).unwrap_or(u64::MAX),
        Shape::Collection(collection) => collection.length,
        Shape::Raw(_, Some(_)) => 1,
        _ => 0,
    }
}

fn hidden(name: String, place: &Place, path: Vec<u64>) -> Value {
    let type_name = short(&place.of.name);
    Value { name, type_name, text: MASK.to_owned(), masked: true, path, ..Value::default() }
}

fn failed(name: String, type_name: String, path: Vec<u64>, fault: &Fault) -> Value {
    let text = match fault {
        Fault::Absent(why) => format!("<{why}>"),
        Fault::Spent(_) => "…".to_owned(),
        fault => format!("<{fault}>"),
    };
    Value { name, type_name, text, note: Some(fault.to_string()), path, ..Value::default() }
}

/// A text that is cut where it gets too long.
pub(crate) struct Line {
    pub(crate) text: String,
    room: usize,
    pub(crate) note: Option<String>,
}

impl Line {
    pub(crate) fn new(room: usize) -> Self {
        Self { text: String::new(), room, note: None }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.room > 0
    }

    pub(crate) fn push(&mut self, text: &str) {
        if self.room == 0 {
            return;
        }
        let length = text.chars().count();
        match self.room.checked_sub(length) {
            Some(left) if left > 0 => {
                self.text.push_str(text);
                self.room = left;
            }
            _ => {
                self.text.extend(text.chars().take(self.room));
                self.text.push('…');
                self.room = 0;
            }
        }
    }

    /// A string has a limit of its own.
    pub(crate) fn whole(&mut self, text: &str) {
        if self.room > 0 {
            self.text.push_str(text);
            self.room = self.room.saturating_sub(text.chars().count()).max(1);
        }
    }

    fn note(&mut self, note: &str) {
        self.note.get_or_insert_with(|| note.to_owned());
    }

    fn fault(&mut self, fault: &Fault) {
        match fault {
            Fault::Spent(_) => self.push("…"),
            fault => {
                // Writing to a string does not fail.
                let mut text = String::new();
                let _ = write!(text, "<{fault}>");
                self.whole(&text);
            }
        }
        self.note(&fault.to_string());
    }
}
