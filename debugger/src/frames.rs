//! The frames that a reader of the source would name: calls that were inlined included, the machinery of failing left out.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::image::{Bytes, Entry, Image, Lack, Source, Unit};
use crate::memory::Registers;
use crate::types::{number, short};
use gimli::{AttributeValue, UnitOffset, constants as dw};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whose code a frame is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// The site's own.
    Own,
    /// The framework's.
    Framework,
    /// Another crate's.
    Dependency,
    /// The standard library's.
    Standard,
    /// The code of another language, or of no known file.
    Unknown,
}

/// Where code lies, to tell whose it is.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// Folders of the site: `env!("CARGO_MANIFEST_DIR")` of its crates. They win over `framework` if they are deeper.
    pub own: Vec<PathBuf>,
    /// Folders of the framework; a crate of cargo's registry is one by its folder there.
    pub framework: Vec<PathBuf>,
    /// Where the standard library's source is, if it is installed: `$(rustc --print sysroot)/lib/rustlib/src/rust`. Its files
    /// are then named there, else by the path that its builders had, which no machine has.
    pub standard: Option<PathBuf>,
    /// How the paths of functions begin that only capture a failure, `my_framework::error::`; their frames are left out
    /// where the stack begins with them. This crate's own always are.
    pub capturing: Vec<String>,
}

/// A call that had not returned.
#[derive(Clone)]
pub struct Frame {
    /// What a reader would call it: `total`, `Cart::total`, `show (async)`, `main (closure)`.
    pub function: String,
    /// The compiler's name for it, with all modules: `app::cart::show::{async_fn#0}`.
    pub path: String,
    /// The file of its source, as the compiler saw it.
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: Option<u32>,
    /// From 1, in bytes.
    pub column: Option<u32>,
    /// Whose code it is.
    pub class: Class,
    /// Whether the compiler put it into the body of the frame that called it.
    pub inlined: bool,
    /// Why its variables cannot be shown, if that is known without looking for them.
    pub lack: Option<Lack>,
    pub(crate) scope: Option<Scope>,
    roots: Arc<Roots>,
}

/// What finds the variables of a frame.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) unit: Arc<Unit>,
    /// The function that has a stack frame of its own ...
    pub(crate) function: UnitOffset,
    /// ... and what of it this frame is: the same, or a call that was put into it.
    pub(crate) entry: UnitOffset,
    /// As an address of the file.
    pub(crate) address: u64,
    pub(crate) registers: Registers,
    /// The canonical frame address: known from the frame around.
    pub(crate) cfa: Option<u64>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{:?}]", self.path, self.class)?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {}:{line}", file.display()),
            _ => Ok(()),
        }
    }
}

/// The frames of a stopped thread, innermost first.
///
/// Those that captured the failure, and those of the panic itself (`panic_fmt`, `unwrap_failed`, `Index::index` ...), are left
/// out: the first is the one that failed. Frames of code without debug information are named by their symbol.
///
/// This reads nothing of the thread's memory.
pub fn frames(image: &Image, registers: &[Registers], roots: &Roots) -> Vec<Frame> {
    let roots = Arc::new(roots.clone());
    let mut frames = Vec::new();
    for (index, &own) in registers.iter().enumerate() {
        let around = index.checked_add(1).and_then(|next| registers.get(next));
        frames.extend(logical(image, own, around.map(|around| around.sp), &roots));
    }
    trim(frames, &roots)
}

/// The frames that one stack frame stands for.
fn logical(image: &Image, registers: Registers, cfa: Option<u64>, roots: &Arc<Roots>) -> Vec<Frame> {
    let address = image.in_file(registers.ip);
    let unit = image.unit_of(address);
    let symbol = || image.symbol(address).unwrap_or_else(|| format!("{:#x}", registers.ip));
    let Some(unit) = unit else {
        return vec![frame(symbol(), None, Source::default(), None, Some(Lack::Missing), roots)];
    };
    let Some(function) = unit.function(address) else {
        let lack = unit.lack.clone().unwrap_or(Lack::Missing);
        return vec![frame(symbol(), None, unit.source(image, address), None, Some(lack), roots)];
    };
    let mut calls = vec![function];
    calls.extend(inlined(image, &unit, function, address));
    let mut source = unit.source(image, address);
    let mut frames = Vec::new();
    for &entry in calls.iter().rev() {
        let read = unit.entry(entry);
        let (path, linkage) = match &read {
            // A line table alone has names without their modules; the symbol has them, of the outermost only.
            Some(read) if unit.lack.is_none() || entry != function => name(image, &unit, read),
            _ => (None, None),
        };
        let path = path.unwrap_or_else(symbol);
        let scope = Scope { unit: unit.clone(), function, entry, address, registers, cfa };
        let mut frame = frame(path, linkage, source, Some(scope), unit.lack.clone(), roots);
        frame.inlined = entry != function;
        frames.push(frame);
        source = read.map_or_else(Source::default, |read| Source {
            file: file_index(&read, dw::DW_AT_call_file).and_then(|file| unit.file(image, file)),
            line: number(&read, dw::DW_AT_call_line).and_then(|line| u32::try_from(line).ok()),
            column: number(&read, dw::DW_AT_call_column).and_then(|column| u32::try_from(column).ok()),
        });
    }
    frames
}

/// The calls that were put into a function and hold an address, outermost first.
fn inlined(image: &Image, unit: &Unit, function: UnitOffset, address: u64) -> Vec<UnitOffset> {
    let mut calls = Vec::new();
    walk(image, unit, function, address, |entry, _| {
        let inlined = entry.tag() == dw::DW_TAG_inlined_subroutine;
        if inlined {
            calls.push(entry.offset());
        }
        inlined
    });
    calls
}

/// Calls back for the entries of a function's scopes that hold an address, with their depth; those of a call that was put into
/// it only if the callback says so of the call.
pub(crate) fn walk(
    image: &Image,
    unit: &Unit,
    from: UnitOffset,
    address: u64,
    mut each: impl FnMut(&Entry, isize) -> bool,
) -> Option<()> {
    let mut entries = unit.unit.entries_raw(Some(from)).ok()?;
    let mut entry = Entry::null();
    let mut skipped = None::<isize>;
    let mut first = true;
    while !entries.is_empty() {
        let depth = entries.next_depth();
        if !first && depth <= 0 {
            break;
        }
        if skipped.is_some_and(|skipped| depth > skipped) {
            let Some(abbreviation) = entries.read_abbreviation().ok()? else { continue };
            entries.skip_attributes(abbreviation.attributes()).ok()?;
            continue;
        }
        skipped = None;
        let some = entries.read_entry(&mut entry).ok()?;
        if std::mem::take(&mut first) || !some {
            continue;
        }
        let enter = match entry.tag() {
            dw::DW_TAG_lexical_block => holds(image, unit, &entry, address),
            dw::DW_TAG_inlined_subroutine => holds(image, unit, &entry, address) && each(&entry, depth),
            dw::DW_TAG_variable | dw::DW_TAG_formal_parameter => {
                each(&entry, depth);
                false
            }
            _ => false,
        };
        if !enter && entry.has_children() {
            skipped = Some(depth);
        }
    }
    Some(())
}

fn holds(image: &Image, unit: &Unit, entry: &Entry, address: u64) -> bool {
    let Ok(mut ranges) = image.dwarf().die_ranges(&unit.unit, entry) else { return false };
    while let Ok(Some(range)) = ranges.next() {
        if (range.begin..range.end).contains(&address) {
            return true;
        }
    }
    false
}

fn file_index(entry: &Entry, name: gimli::DwAt) -> Option<u64> {
    match entry.attr_value(name)? {
        AttributeValue::FileIndex(index) => Some(index),
        value => value.udata_value(),
    }
}

/// The file that a variable or a function is declared in.
pub(crate) fn declared_in(image: &Image, unit: &Unit, entry: &Entry) -> Option<PathBuf> {
    unit.file(image, file_index(entry, dw::DW_AT_decl_file)?)
}

/// The entry that describes what this one is an instance of, if it does not do so itself.
pub(crate) fn origin(image: &Image, unit: &Arc<Unit>, entry: &Entry) -> (Arc<Unit>, Entry) {
    let (mut unit, mut entry) = (unit.clone(), entry.clone());
    // An inlined call, the function, its declaration in an `impl`: no chain is longer.
    for _ in 0..4 {
        if entry.attr_value(dw::DW_AT_name).is_some() {
            break;
        }
        let link: Option<AttributeValue<Bytes>> =
            entry.attr_value(dw::DW_AT_abstract_origin).or_else(|| entry.attr_value(dw::DW_AT_specification));
        let next = link
            .and_then(|value| unit.reference(value))
            .and_then(|offset| image.unit_with(offset))
            .and_then(|(unit, offset)| unit.entry(offset).map(|entry| (unit, entry)));
        let Some(next) = next else { break };
        (unit, entry) = next;
    }
    (unit, entry)
}

/// The path of a function, and the demangled name of its symbol.
fn name(image: &Image, unit: &Arc<Unit>, entry: &Entry) -> (Option<String>, Option<String>) {
    let (of, named) = origin(image, unit, entry);
    let symbol = [(unit, entry), (&of, &named)].into_iter().find_map(|(unit, entry)| {
        let name = entry.attr_value(dw::DW_AT_linkage_name).and_then(|value| unit.text(image, value))?;
        Some(format!("{:#}", rustc_demangle::demangle(&name)))
    });
    (of.path(image, &named), symbol)
}

fn frame(
    path: String,
    linkage: Option<String>,
    source: Source,
    scope: Option<Scope>,
    lack: Option<Lack>,
    roots: &Arc<Roots>,
) -> Frame {
    let class = match &source.file {
        Some(file) => roots.class(file),
        None => by_path(&path),
    };
    Frame {
        function: readable(&path, linkage.as_deref()),
        path,
        file: source.file.map(|file| roots.standard_source(file)),
        line: source.line,
        column: source.column,
        class,
        inlined: false,
        lack,
        scope,
        roots: roots.clone(),
    }
}

/// Where a file of the standard library lies for those who built it.
const BUILT: &str = "/rustc/";

impl Roots {
    /// Whose code a file holds.
    pub fn class(&self, file: &Path) -> Class {
        let deepest = |folders: &[PathBuf]| {
            folders.iter().filter(|folder| file.starts_with(folder)).map(|folder| folder.components().count()).max()
        };
        let text = file.to_string_lossy();
        if text.starts_with(BUILT) || text.starts_with("/rust/deps/") || text.contains("/lib/rustlib/src/rust/") {
            return Class::Standard;
        }
        let foreign = text.contains("/registry/src/") || text.contains("/git/checkouts/");
        match (deepest(&self.own), deepest(&self.framework)) {
            (own, Some(framework)) if own.is_none_or(|own| own < framework) => Class::Framework,
            // A site with its registry inside its own folder: `CARGO_HOME=.cargo`.
            (Some(_), _) if !foreign => Class::Own,
            _ => Class::Dependency,
        }
    }

    fn standard_source(&self, file: PathBuf) -> PathBuf {
        let text = file.to_string_lossy();
        let inside = text.strip_prefix(BUILT).and_then(|rest| rest.split_once('/')).map(|(_, inside)| inside);
        match (&self.standard, inside) {
            (Some(root), Some(inside)) => root.join(inside),
            _ => file,
        }
    }
}

fn by_path(path: &str) -> Class {
    let standard = ["core::", "alloc::", "std::", "rust_", "__rust", "<core::", "<alloc::", "<std::"];
    if standard.iter().any(|prefix| path.starts_with(prefix)) { Class::Standard } else { Class::Unknown }
}

impl Frame {
    /// Whether a declaration in this file is one that a reader of this frame's source would look for: a macro of another crate
    /// leaves its own variables among those of the site.
    pub(crate) fn shows(&self, declared_in: &Path) -> bool {
        self.class != Class::Own || self.roots.class(declared_in) == Class::Own
    }
}

/// A path as one would say it.
fn readable(path: &str, linkage: Option<&str>) -> String {
    // `{impl#3}` is all that the path says of an `impl`; the symbol names the type. Of what is `async` only the path says so.
    let (own, path) = match linkage {
        Some(linkage) if path.contains("{impl#") => (path, linkage),
        _ => (path, path),
    };
    let (own, segments) = (segments(own), segments(path));
    let kinds = [
        ("{async_fn", "async"),
        ("{async_block", "async block"),
        ("{async_closure", "async closure"),
        ("{closure", "closure"),
        ("{{closure", "closure"),
    ];
    let kind = |segment: &str| kinds.iter().find(|(prefix, _)| segment.starts_with(prefix)).map(|&(_, kind)| kind);
    let mut suffix = own.last().and_then(|last| kind(last)).unwrap_or_default();
    let mut names = segments.iter().rev();
    let mut name = None;
    for segment in names.by_ref() {
        match kind(segment) {
            // Of a closure in an `async fn`, the closure.
            Some(kind) if suffix.is_empty() => suffix = kind,
            Some(_) => {}
            None if segment.starts_with('{') && segment.ends_with('}') => {}
            None => {
                name = Some(without_parameters(segment));
                break;
            }
        }
    }
    let Some(name) = name else { return path.to_owned() };
    let of = names.next().map(|of| match of.strip_prefix('<').and_then(|of| of.strip_suffix('>')) {
        Some(of) => short(of.split(" as ").next().unwrap_or(of)),
        None => without_parameters(of).to_owned(),
    });
    // A module begins with a small letter.
    let of = of.filter(|of| of.chars().any(char::is_uppercase) && !name.is_empty());
    let mut readable = of.map_or_else(String::new, |of| of + "::");
    readable.push_str(name);
    if !suffix.is_empty() {
        readable.push_str(" (");
        readable.push_str(suffix);
        readable.push(')');
    }
    readable
}

/// The parts of a path between `::`, those within brackets left whole.
fn segments(path: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let mut depth = 0_u32;
    let mut begin = 0;
    let mut previous = ' ';
    for (at, c) in path.char_indices() {
        match c {
            '<' | '(' | '[' | '{' => depth = depth.saturating_add(1),
            // The arrow of `fn() -> T` closes nothing.
            '>' if previous == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && previous == ':' => {
                segments.push(path.get(begin..at.saturating_sub(1)).unwrap_or(""));
                begin = at.saturating_add(1);
            }
            _ => {}
        }
        previous = c;
    }
    segments.push(path.get(begin..).unwrap_or(""));
    segments
}

fn without_parameters(segment: &str) -> &str {
    match segment.find('<') {
        Some(at) if at > 0 => segment.get(..at).unwrap_or(segment),
        _ => segment,
    }
}

/// How the paths begin of the functions that a panic goes through before a hook is called.
const PANICKING: [&str; 11] = [
    "core::panicking::",
    "std::panicking::begin_panic",
    "std::panicking::default_hook",
    "std::panicking::panic_handler",
    "std::panicking::panic_with_hook",
    "std::panicking::rust_panic",
    "std::rt::panic",
    "rust_begin_unwind",
    "__rustc::rust_begin_unwind",
    "core::option::unwrap_failed",
    "core::result::unwrap_failed",
];

/// Leaves out what stands between the failure and the frame that failed.
fn trim(mut frames: Vec<Frame>, roots: &Roots) -> Vec<Frame> {
    let own = |frame: &Frame| {
        frame.path.starts_with("purlin_debugger::")
            || roots.capturing.iter().any(|prefix| frame.path.starts_with(prefix.as_str()))
    };
    let panicking = |frame: &Frame| PANICKING.iter().any(|prefix| frame.path.starts_with(prefix));
    // `?` on its way to the framework's error.
    let converting = |frame: &Frame| frame.path.contains("::from_residual");
    let standard = |frame: &Frame| frame.class == Class::Standard;
    let mut begin = frames.iter().take_while(|frame| own(frame)).count();
    let rest = |begin: usize| frames.iter().enumerate().skip(begin).take(48);
    if let Some((found, _)) = rest(begin)
        .find(|(_, frame)| panicking(frame))
        .or_else(|| rest(begin).take(16).find(|(_, frame)| converting(frame)))
    {
        begin = found.saturating_add(1);
        begin = begin.saturating_add(frames.iter().skip(begin).take_while(|frame| standard(frame)).count());
    } else {
        let until = rest(begin).take_while(|(_, frame)| own(frame) || standard(frame)).last();
        // A stack of nothing but the standard library is shown as it is.
        begin = until.map_or(begin, |(last, _)| last.saturating_add(1)).min(frames.len().saturating_sub(1));
    }
    if begin >= frames.len() {
        return frames;
    }
    frames.drain(..begin);
    frames
}

#[cfg(test)]
mod tests {
    use super::{Class, Roots, readable, segments};
    use std::path::Path;

    #[test]
    fn functions_are_called_what_a_reader_would_call_them() {
        for (path, linkage, expected) in [
            ("app::cart::total", None, "total"),
            ("app::cart::total<u32>", None, "total"),
            ("app::handlers::panic_handler::{async_fn#0}", None, "panic_handler (async)"),
            ("app::main::{closure#0}", None, "main (closure)"),
            ("app::main::{async_block#1}", None, "main (async block)"),
            ("app::load::{async_fn#0}::{closure#2}<u8>", None, "load (closure)"),
            ("app::cart::{impl#4}::total", Some("app::cart::Cart::total"), "Cart::total"),
            ("app::{impl#4}::area", Some("<app::Circle as app::Shape>::area"), "Circle::area"),
            (
                "app::{impl#4}::area",
                Some("<app::Pair<A,B> as app::Shape>::area::{{closure}}"),
                "Pair<A,B>::area (closure)",
            ),
            ("app::{impl#4}::area", None, "area"),
            (
                "app::{impl#1}::handle::{async_fn#0}<app::Next>",
                Some("<app::Quota as purlin::service::Middleware>::handle::{{closure}}"),
                "Quota::handle (async)",
            ),
            (
                "app::rows::{async_fn#0}::{impl#0}::poll_next",
                Some("<app::rows::{{closure}}::Rows as futures_core::stream::Stream>::poll_next"),
                "Rows::poll_next",
            ),
            ("core::option::Option<u8>::unwrap<u8>", None, "Option::unwrap"),
            ("main", None, "main"),
            ("0x1234", None, "0x1234"),
            ("", None, ""),
        ] {
            assert_eq!(readable(path, linkage), expected, "{path} {linkage:?}");
        }
        assert_eq!(segments("a::<b::C as d::E>::f"), ["a", "<b::C as d::E>", "f"]);
        assert_eq!(segments("a::f<fn(u8) -> b::C>::g"), ["a", "f<fn(u8) -> b::C>", "g"]);
    }

    #[test]
    fn files_belong_to_whoever_has_the_deepest_folder() {
        let roots = Roots {
            own: vec!["/home/me/site".into(), "/src/framework/examples".into()],
            framework: vec!["/src/framework".into()],
            ..Roots::default()
        };
        for (file, class) in [
            ("/home/me/site/src/main.rs", Class::Own),
            ("/home/me/site/target/debug/build/x/out/gen.rs", Class::Own),
            ("/home/me/sites/src/main.rs", Class::Dependency),
            ("/src/framework/src/error.rs", Class::Framework),
            ("/src/framework/examples/hello.rs", Class::Own),
            ("/home/me/.cargo/registry/src/index.crates.io-1/tokio-1.0.0/src/lib.rs", Class::Dependency),
            ("/home/me/site/.cargo/registry/src/index.crates.io-1/tokio-1.0.0/src/lib.rs", Class::Dependency),
            ("/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/panicking.rs", Class::Standard),
            ("/opt/rust/lib/rustlib/src/rust/library/core/src/panicking.rs", Class::Standard),
        ] {
            assert_eq!(roots.class(Path::new(file)), class, "{file}");
        }
    }
}
