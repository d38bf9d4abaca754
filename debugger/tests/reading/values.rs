//! The table of types: what is shown for each, asserted one by one.
#![allow(unused_variables, clippy::too_many_lines, clippy::disallowed_names, dead_code)]

use crate::support::variables_here;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::num::{NonZeroU8, Wrapping};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, RwLock};
use std::time::{Duration, SystemTime};

#[test]
fn numbers_bools_and_chars() {
    let int8 = -8_i8;
    let int16 = i16::MIN;
    let int32 = -32;
    let int64 = i64::MIN;
    let int128 = i128::MIN;
    let isize_ = -1_isize;
    let uint8 = 255_u8;
    let uint16 = 65535_u16;
    let uint32 = 32_u32;
    let uint64 = u64::MAX;
    let uint128 = u128::MAX;
    let usize_ = 7_usize;
    let float32 = 1.1_f32;
    let float64 = -0.1;
    let whole = 2.0;
    let huge = 1e300;
    let nan = f64::NAN;
    let infinite = f32::NEG_INFINITY;
    let yes = true;
    let no = false;
    let letter = 'ß';
    let quote = '\'';
    let unit = ();
    variables_here().are(&[
        ("int8", "i8", "-8"),
        ("int16", "i16", "-32768"),
        ("int32", "i32", "-32"),
        ("int64", "i64", "-9223372036854775808"),
        ("int128", "i128", "-170141183460469231731687303715884105728"),
        ("isize_", "isize", "-1"),
        ("uint8", "u8", "255"),
        ("uint16", "u16", "65535"),
        ("uint32", "u32", "32"),
        ("uint64", "u64", "18446744073709551615"),
        ("uint128", "u128", "340282366920938463463374607431768211455"),
        ("usize_", "usize", "7"),
        ("float32", "f32", "1.1"),
        ("float64", "f64", "-0.1"),
        ("whole", "f64", "2.0"),
        ("huge", "f64", "1e300"),
        ("nan", "f64", "NaN"),
        ("infinite", "f32", "-inf"),
        ("yes", "bool", "true"),
        ("no", "bool", "false"),
        ("letter", "char", "'ß'"),
        ("quote", "char", "'\\''"),
        ("unit", "()", "()"),
    ]);
}

#[test]
fn texts() {
    let literal = "tea \"and\" cake";
    let owned = String::from("größer");
    let empty = String::new();
    let boxed: Box<str> = "boxed".into();
    let shared: Arc<str> = "shared".into();
    let counted: Rc<str> = "counted".into();
    let borrowed: Cow<'_, str> = "cow".into();
    let mine: Cow<'_, str> = Cow::Owned("calf".to_owned());
    let path = Path::new("/tmp/a");
    let path_buf = PathBuf::from("/tmp/b");
    let os = OsString::from("os");
    let c = CString::new("c").unwrap();
    let c_str = c.as_c_str();
    let to_string = &owned;
    let long = "x".repeat(1000);
    variables_here().are(&[
        ("literal", "&str", r#""tea \"and\" cake""#),
        ("owned", "String", "\"größer\""),
        ("empty", "String", "\"\""),
        ("boxed", "Box<str>", "\"boxed\""),
        ("shared", "Arc<str>", "\"shared\""),
        ("counted", "Rc<str>", "\"counted\""),
        ("borrowed", "Cow<str>", "\"cow\""),
        ("mine", "Cow<str>", "\"calf\""),
        ("path", "&Path", "\"/tmp/a\""),
        ("path_buf", "PathBuf", "\"/tmp/b\""),
        ("os", "OsString", "\"os\""),
        ("c", "CString", "\"c\""),
        ("c_str", "&CStr", "\"c\""),
        ("to_string", "&String", "\"größer\""),
        ("long", "String", &format!("\"{}\"… (1000 bytes)", "x".repeat(300))),
    ]);
}

#[test]
fn lists() {
    let slice = &[1_u8, 2, 3][..];
    let part = &slice[1..];
    let vector = vec![1_u16, 2, 3];
    let none: Vec<u64> = Vec::new();
    let array = [1_i8, -2];
    let nested = [[1_u8, 2], [3, 4], [5, 6]];
    let tuple = (1_u8, "a", 'b');
    let one = (7_u8,);
    let units = vec![(); 3];
    let texts = vec!["a".to_owned(), "b".to_owned()];
    let boxed: Box<[u32]> = vec![4, 5].into();
    let shared: Arc<[u32]> = vec![6, 7].into();
    let reversed = &mut vec![3_u8, 2][..];
    let mut ring: VecDeque<u32> = VecDeque::with_capacity(4);
    ring.extend([9, 9, 1, 2]);
    ring.drain(..2);
    ring.extend([3, 4]);
    let heap: BinaryHeap<u8> = [1].into();
    let linked: LinkedList<u8> = [1, 2, 3].into();
    let long: Vec<u32> = (0..1000).collect();
    let many_boxes = vec![Some(Box::new(1_u8)), None];
    let variables = variables_here();
    variables.are(&[
        ("slice", "&[u8]", "[1, 2, 3]"),
        ("part", "&[u8]", "[2, 3]"),
        ("vector", "Vec<u16>", "[1, 2, 3]"),
        ("none", "Vec<u64>", "[]"),
        ("array", "[i8; 2]", "[1, -2]"),
        ("nested", "[[u8; 2]; 3]", "[[1, 2], [3, 4], [5, 6]]"),
        ("tuple", "(u8, &str, char)", "(1, \"a\", 'b')"),
        ("one", "(u8)", "(7,)"),
        ("units", "Vec<()>", "[(), (), ()]"),
        ("texts", "Vec<String>", "[\"a\", \"b\"]"),
        ("boxed", "Box<[u32]>", "[4, 5]"),
        ("shared", "Arc<[u32]>", "[6, 7]"),
        ("reversed", "&mut [u8]", "[3, 2]"),
        ("ring", "VecDeque<u32>", "[1, 2, 3, 4]"),
        ("heap", "BinaryHeap<u8>", "[1]"),
        ("linked", "LinkedList<u8>", "[1, 2, 3]"),
        ("many_boxes", "Vec<Option<Box<u8>>>", "[Some(1), None]"),
    ]);
    let long = variables.get("long");
    assert!(long.text.starts_with("[0, 1, 2, 3,") && long.text.ends_with('…'), "{}", long.text);
    assert_eq!((long.count, long.children.len()), (1000, 50));
    assert_eq!(long.children[49].name, "49");
    let nested = variables.get("nested");
    assert_eq!(nested.children[2].children[1].text, "6");
    assert_eq!(nested.children[2].children[1].path[1..], [2, 1]);
}

#[derive(Clone)]
struct Item {
    id: u32,
    name: String,
    price: f64,
}

#[derive(Clone)]
struct Meters(f64);

struct Marker;

struct Pair<A, B> {
    first: A,
    second: B,
}

#[derive(Clone)]
enum Plain {
    One,
    Two,
}

enum Negative {
    Below = -1,
    Above = 1,
}

#[derive(Clone)]
enum Shape {
    Empty,
    Circle { radius: f64 },
    Named(String, u8),
}

union Bits {
    number: u32,
    bytes: [u8; 4],
}

#[test]
fn structs_and_enums() {
    let item = Item { id: 1, name: "tea".to_owned(), price: 2.5 };
    let meters = Meters(1.5);
    let marker = Marker;
    let pair = Pair { first: 1_u8, second: Some("b") };
    let one = Plain::One;
    let two = Plain::Two;
    let below = Negative::Below;
    let above = Negative::Above;
    let empty = Shape::Empty;
    let circle = Shape::Circle { radius: 2.0 };
    let named = Shape::Named("square".to_owned(), 4);
    let shapes = [empty.clone(), circle.clone(), named.clone()];
    let some = Some(3_u8);
    let none: Option<u8> = None;
    let niche = Some(&some);
    let no_niche: Option<&u8> = None;
    let some_box = Some(Box::new(5_u8));
    let some_text = Some(String::from("x"));
    let no_text: Option<String> = None;
    let some_bool = Some(true);
    let no_bool: Option<bool> = None;
    let two_layers: Option<Option<bool>> = Some(None);
    let ok: Result<u8, String> = Ok(1);
    let bad: Result<u8, String> = Err("bad".to_owned());
    let wide = Some(u128::MAX);
    let order = std::cmp::Ordering::Less;
    let zero = Some(NonZeroU8::new(7).unwrap());
    let bits = Bits { number: 0x0403_0201 };
    let variables = variables_here();
    variables.are(&[
        ("item", "Item", "Item { id: 1, name: \"tea\", price: 2.5 }"),
        ("meters", "Meters", "Meters(1.5)"),
        ("marker", "Marker", "Marker"),
        ("pair", "Pair<u8, Option<&str>>", "Pair { first: 1, second: Some(\"b\") }"),
        ("one", "Plain", "One"),
        ("two", "Plain", "Two"),
        ("below", "Negative", "Below"),
        ("above", "Negative", "Above"),
        ("empty", "Shape", "Empty"),
        ("circle", "Shape", "Circle { radius: 2.0 }"),
        ("named", "Shape", "Named(\"square\", 4)"),
        ("shapes", "[Shape; 3]", "[Empty, Circle { radius: 2.0 }, Named(\"square\", 4)]"),
        ("some", "Option<u8>", "Some(3)"),
        ("none", "Option<u8>", "None"),
        ("niche", "Option<&Option<u8>>", "Some(Some(3))"),
        ("no_niche", "Option<&u8>", "None"),
        ("some_box", "Option<Box<u8>>", "Some(5)"),
        ("some_text", "Option<String>", "Some(\"x\")"),
        ("no_text", "Option<String>", "None"),
        ("some_bool", "Option<bool>", "Some(true)"),
        ("no_bool", "Option<bool>", "None"),
        ("two_layers", "Option<Option<bool>>", "Some(None)"),
        ("ok", "Result<u8, String>", "Ok(1)"),
        ("bad", "Result<u8, String>", "Err(\"bad\")"),
        ("wide", "Option<u128>", "Some(340282366920938463463374607431768211455)"),
        ("order", "Ordering", "Less"),
        ("zero", "Option<NonZero<u8>>", "Some(7)"),
        ("bits", "Bits", "Bits { number: 67305985, bytes: [1, 2, 3, 4] }"),
    ]);
    let names: Vec<_> = variables.get("item").children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["id", "name", "price"]);
}

#[test]
fn pointers_cells_and_locks() {
    let boxed = Box::new(1_u8);
    let counted = Rc::new(vec![1_u8]);
    let shared = Arc::new(Item { id: 2, name: "rice".to_owned(), price: 1.0 });
    let weak = Arc::downgrade(&shared);
    let dead = Rc::downgrade(&Rc::new(1_u8));
    let cell = Cell::new(3_u8);
    let ref_cell = RefCell::new("r".to_owned());
    let lent = RefCell::new(4_u8);
    let lent_ref = lent.borrow();
    let taken = RefCell::new(5_u8);
    let taken_ref = taken.borrow_mut();
    let shared_cell = Rc::new(RefCell::new(6));
    let mutex = Mutex::new(vec![1_u8]);
    let locked = Mutex::new(7_u8);
    let guard = locked.lock().unwrap();
    let poisoned = Arc::new(Mutex::new(8_u8));
    let other = poisoned.clone();
    let _ = std::thread::spawn(move || {
        let _guard = other.lock();
        // No message of a panic that is meant.
        std::panic::resume_unwind(Box::new(()));
    })
    .join();
    let rw_lock = RwLock::new('w');
    let reader = rw_lock.read().unwrap();
    let once: OnceLock<String> = OnceLock::new();
    let set = OnceLock::from("set".to_owned());
    let once_cell = OnceCell::from(9_u8);
    let lazy = LazyLock::new(|| 10_u8);
    let lazy_done = LazyLock::new(|| 11_u8);
    let _ = *lazy_done;
    let pinned = Box::pin(12_u8);
    let atomic = AtomicUsize::new(13);
    let flag = AtomicBool::new(true);
    let wrapping = Wrapping(14_u8);
    let dynamic: Box<dyn std::fmt::Debug> = Box::new("what".to_owned());
    let dyn_ref: &dyn std::any::Any = &15_u8;
    let dyn_shared: Arc<dyn std::fmt::Debug + Send + Sync> = Arc::new([1_u64, 2]);
    let double = &&&16_u8;
    let null: *const u8 = std::ptr::null();
    let function: fn(u8) -> u8 = twice;
    let mutable = &mut 17_u8;
    let variables = variables_here();
    variables.are(&[
        ("boxed", "Box<u8>", "1"),
        ("counted", "Rc<Vec<u8>>", "[1]"),
        ("shared", "Arc<Item>", "Item { id: 2, name: \"rice\", price: 1.0 }"),
        ("dead", "Weak<u8>", "(Weak, dropped)"),
        ("cell", "Cell<u8>", "3"),
        ("ref_cell", "RefCell<String>", "\"r\""),
        ("lent", "RefCell<u8>", "4 (borrowed)"),
        ("lent_ref", "Ref<u8>", "4"),
        ("taken", "RefCell<u8>", "5 (mutably borrowed)"),
        ("taken_ref", "RefMut<u8>", "5"),
        ("shared_cell", "Rc<RefCell<i32>>", "6"),
        ("mutex", "Mutex<Vec<u8>>", "[1]"),
        ("locked", "Mutex<u8>", "7 (locked)"),
        ("guard", "MutexGuard<u8>", "7"),
        ("poisoned", "Arc<Mutex<u8>>", "8 (poisoned)"),
        ("rw_lock", "RwLock<char>", "'w' (locked)"),
        ("reader", "RwLockReadGuard<char>", "'w'"),
        ("once", "OnceLock<String>", "<uninit>"),
        ("set", "OnceLock<String>", "\"set\""),
        ("once_cell", "OnceCell<u8>", "Some(9)"),
        ("lazy", "LazyLock<u8, closure in pointers_cells_and_locks>", "<uninit>"),
        ("lazy_done", "LazyLock<u8, closure in pointers_cells_and_locks>", "11"),
        ("pinned", "Pin<Box<u8>>", "12"),
        ("wrapping", "Wrapping<u8>", "14"),
        ("dynamic", "Box<dyn Debug>", "\"what\""),
        ("dyn_ref", "&dyn Any", "15"),
        ("dyn_shared", "Arc<(dyn Debug + Send + Sync)>", "[1, 2]"),
        ("double", "&&&u8", "16"),
        ("null", "*const u8", "0x0"),
        ("function", "fn(u8) -> u8", "fn reading::values::twice"),
        ("mutable", "&mut u8", "17"),
    ]);
    // Their type is an alias in releases to come.
    assert_eq!(variables.get("atomic").text, "13");
    assert_eq!(variables.get("flag").text, "true");
}

fn twice(n: u8) -> u8 {
    n * 2
}

#[test]
fn maps_and_sets() {
    let map: HashMap<String, u32> = [("a".to_owned(), 1)].into();
    let numbers: HashMap<u32, &str> = (0..100).map(|n| (n, "x")).collect();
    let empty: HashMap<u8, u8> = HashMap::new();
    let set: HashSet<u8> = [5].into();
    let tree: BTreeMap<u32, &str> = [(2, "b"), (1, "a")].into();
    let forest: BTreeMap<u32, u32> = (0..1000).map(|n| (n, n * n)).collect();
    let no_tree: BTreeMap<u8, u8> = BTreeMap::new();
    let ordered: BTreeSet<&str> = ["b", "a"].into();
    let odd: BTreeMap<(u8, u8), Vec<u8>> = [((1, 2), vec![3])].into();
    let variables = variables_here();
    variables.are(&[
        ("map", "HashMap<String, u32>", "{\"a\": 1}"),
        ("empty", "HashMap<u8, u8>", "{}"),
        ("set", "HashSet<u8>", "{5}"),
        ("tree", "BTreeMap<u32, &str>", "{1: \"a\", 2: \"b\"}"),
        ("no_tree", "BTreeMap<u8, u8>", "{}"),
        ("ordered", "BTreeSet<&str>", "{\"a\", \"b\"}"),
        ("odd", "BTreeMap<(u8, u8), Vec<u8>>", "{(1, 2): [3]}"),
    ]);
    let entry = &variables.get("map").children[0];
    assert_eq!((entry.name.as_str(), entry.text.as_str()), ("\"a\"", "1"));
    assert_eq!(variables.get("numbers").count, 100);
    let forest = variables.get("forest");
    assert_eq!(forest.count, 1000);
    for (n, child) in forest.children.iter().enumerate() {
        assert_eq!((child.name.clone(), child.text.clone()), (n.to_string(), (n * n).to_string()));
    }
    let pair = &variables.get("odd").children[0];
    assert_eq!(pair.text, "(1, 2): [3]");
    assert_eq!(pair.children[1].text, "[3]");
}

#[test]
fn times_addresses_and_errors() {
    let duration = Duration::from_millis(1500);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_735_689_599);
    let range = 1..5;
    let ip: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    let socket: std::net::SocketAddr = "[::1]:80".parse().unwrap();
    let missing = std::fs::read("/nonexistent");
    let kind = std::io::Error::from(std::io::ErrorKind::TimedOut);
    let other = std::io::Error::other("broken");
    let parse = "x".parse::<u8>();
    let boxed: Box<dyn std::error::Error + Send + Sync> = "boxed".into();
    variables_here().are(&[
        ("duration", "Duration", "1.5s"),
        ("time", "SystemTime", "2024-12-31T23:59:59.000Z"),
        ("range", "Range<i32>", "1..5"),
        ("ip", "IpAddr", "127.0.0.1"),
        ("socket", "SocketAddr", "[::1]:80"),
        ("missing", "Result<Vec<u8>, Error>", "Err(Os { code: 2, message: \"No such file or directory\" })"),
        ("kind", "Error", "Kind(TimedOut)"),
        ("other", "Error", "Custom { kind: Other, error: StringError(\"broken\") }"),
        ("parse", "Result<u8, ParseIntError>", "Err(ParseIntError { kind: InvalidDigit })"),
        ("boxed", "Box<(dyn Error + Send + Sync)>", "StringError(\"boxed\")"),
    ]);
}
