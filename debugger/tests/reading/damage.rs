//! Memory that makes no sense, data that goes in circles, and what is too much: said, and the rest is shown.
#![allow(unused_variables, dead_code)]

use crate::support::{patient, stop};
use purlin_debugger::{Bounds, Frame, Inspector, MASK, Memory, Unreadable, Value};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, LinkedList, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Random numbers that are the same in each run: xorshift64*.
struct Random(Cell<u64>);

impl Random {
    fn next(&self) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Memory of which some bytes were overwritten: one in `rate`; with 1, all of them.
struct Damaged<'m> {
    sound: &'m dyn Memory,
    seed: u64,
    rate: u64,
}

impl Memory for Damaged<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let sound = self.sound.read(address, buffer);
        if self.rate > 1 {
            sound?;
        }
        for (offset, byte) in (0..).zip(buffer) {
            // The same byte has the same damage each time that it is read.
            let random =
                Random(Cell::new((address.wrapping_add(offset) ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
            let number = random.next();
            if number.is_multiple_of(self.rate) {
                *byte = match number >> 60 {
                    0..6 => (number >> 8) as u8,
                    6..12 => 0,
                    _ => 0xff,
                };
            }
        }
        Ok(())
    }
}

struct Node {
    name: String,
    next: RefCell<Option<Rc<Node>>>,
}

/// Variables of all kinds that lead on by pointers and lengths.
#[inline(never)]
fn many_kinds(look: impl FnOnce(&purlin_debugger::Image, &dyn Memory, &Frame)) {
    let text = "text".to_owned();
    let list = vec![Some("a".to_owned()), None];
    let boxes: Vec<Box<dyn std::fmt::Debug>> = vec![Box::new(1_u8), Box::new("x".to_owned())];
    let shared: Arc<Mutex<Vec<u32>>> = Arc::new(Mutex::new(vec![1, 2, 3]));
    let map: HashMap<String, Vec<u8>> = (0..20).map(|n| (n.to_string(), vec![n])).collect();
    let tree: BTreeMap<u32, String> = (0..100).map(|n| (n, n.to_string())).collect();
    let set: BTreeSet<(u8, u8)> = [(1, 2), (3, 4)].into();
    let ring: VecDeque<u64> = [1, 2, 3].into();
    let links: LinkedList<&str> = ["a", "b"].into();
    let error = std::io::Error::other("broken");
    let result: Result<u128, Box<dyn std::error::Error>> = Err("no".into());
    let arc_text: Arc<str> = "arc".into();
    let slice = &list[..1];
    let time = std::time::SystemTime::now();
    let duration = Duration::from_secs(1);
    let bits = [true, false];
    let letter = 'x';
    let order = std::cmp::Ordering::Less;
    let weak = Arc::downgrade(&shared);
    let node = Rc::new(Node { name: "n".to_owned(), next: RefCell::new(None) });
    let function: fn() = || {};
    let path = std::path::PathBuf::from("/x");
    let once = std::sync::OnceLock::from(1_u8);
    stop(|image, memory, frames| look(image, memory, &frames[0]));
}

fn visit(inspector: &Inspector<'_>, frame: &Frame, values: &[Value], random: &Random) {
    for value in values {
        if random.next().is_multiple_of(3) {
            let from = random.next() % (value.count + 2);
            let opened = inspector.expand(frame, &value.path, from);
            assert!(opened.is_none_or(|opened| opened.children.len() <= 50));
        }
        visit(inspector, frame, &value.children, random);
    }
}

#[test]
fn random_bytes_as_memory_never_stop_the_reader() {
    let expressions = [
        "text",
        "text.len()",
        "list[0]",
        "list.iter().map(|x| x.len())",
        "map[\"1\"]",
        "map.values()",
        "tree.get(5)",
        "tree.iter().rev()",
        "ring[1] + 1",
        "shared.lock().unwrap().iter().sum()",
        "boxes[0]",
        "links.last()",
        "slice.len()",
        "result == Ok(1)",
        "bits[0] && bits[1]",
        "letter as u32",
        "set.contains((1, 2))",
        "node.name == text",
        "duration.as_millis()",
        "*function",
    ];
    let bounds = Bounds { time: Duration::from_millis(60), ..Bounds::default() };
    let mut looked = 0;
    many_kinds(|image, sound, frame| {
        let begin = Instant::now();
        for seed in 0.. {
            let rate = [1, 2, 4, 8, 16, 64][seed % 6];
            let memory = Damaged { sound, seed: seed as u64 * 7919 + 1, rate };
            let inspector = Inspector::new(image, &memory).bounds(bounds);
            let random = Random(Cell::new(seed as u64 + 1));
            let listing = inspector.variables(frame);
            assert!(listing.values.len() > 20);
            visit(&inspector, frame, &listing.values, &random);
            for expression in expressions {
                let _ = inspector.evaluate(frame, expression);
                let _ = inspector.complete(frame, &format!("{expression}."), expression.len() + 1);
            }
            looked = seed + 1;
            if looked >= 24 || begin.elapsed() > Duration::from_secs(20) {
                break;
            }
        }
    });
    assert!(looked > 0);
}

#[test]
fn a_length_beyond_the_capacity_is_said() {
    // What a use after free leaves: made by hand in the copy that is read, not in the list itself.
    struct Long<'m>(&'m dyn Memory, u64);
    impl Memory for Long<'_> {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
            self.0.read(address, buffer)?;
            if address == self.1 && buffer.len() == 8 {
                buffer.copy_from_slice(&(u64::MAX >> 8).to_ne_bytes());
            }
            Ok(())
        }
    }
    let list = vec![1_u8, 2];
    let after = 5;
    let length = (&raw const list as u64) + 16;
    stop(|image, memory, frames| {
        let memory = Long(memory, length);
        let values = Inspector::new(image, &memory).bounds(patient()).variables(&frames[0]).values;
        let list = values.iter().find(|value| value.name == "list").unwrap();
        assert_eq!(list.text, format!("<its length {} exceeds its capacity 2>", u64::MAX >> 8));
        assert_eq!(list.note.as_deref(), list.text.get(1..list.text.len() - 1));
        assert_eq!(values.iter().find(|value| value.name == "after").unwrap().text, "5");
    });
}

#[test]
fn circles_are_noticed() {
    let first = Rc::new(Node { name: "first".to_owned(), next: RefCell::new(None) });
    let second = Rc::new(Node { name: "second".to_owned(), next: RefCell::new(Some(first.clone())) });
    *first.next.borrow_mut() = Some(second.clone());
    stop(|image, memory, frames| {
        let inspector = Inspector::new(image, memory).bounds(Bounds { depth: 20, ..patient() });
        let listing = inspector.variables(&frames[0]);
        let first = listing.values.iter().find(|value| value.name == "first").unwrap();
        assert!(
            first.text.starts_with("Node { name: \"first\", next: Some(Node { name: \"second\", next: Some("),
            "{}",
            first.text
        );
        assert!(first.text.contains("<itself>"), "{}", first.text);
        // next, its only field, next, its only field: the first again.
        let again = &first.children[1].children[0].children[1].children[0];
        assert_eq!(again.note.as_deref(), Some("it contains itself"));
        assert!(again.children.is_empty());
    });
    *first.next.borrow_mut() = None;
}

#[test]
fn a_text_of_100_megabytes_costs_no_more_than_a_short_one() {
    struct Counted<'m>(&'m dyn Memory, Cell<usize>);
    impl Memory for Counted<'_> {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
            self.1.set(self.1.get() + buffer.len());
            self.0.read(address, buffer)
        }
    }
    let huge = "x".repeat(100_000_000);
    let list = vec![0_u64; 10_000_000];
    stop(|image, memory, frames| {
        let memory = Counted(memory, Cell::new(0));
        let inspector = Inspector::new(image, &memory).bounds(patient());
        let values = inspector.variables(&frames[0]).values;
        let huge = values.iter().find(|value| value.name == "huge").unwrap();
        assert!(huge.text.ends_with("… (100000000 bytes)") && huge.text.len() < 400);
        let list = values.iter().find(|value| value.name == "list").unwrap();
        let list = inspector.expand(&frames[0], &list.path, 9_999_990).unwrap();
        assert_eq!((list.count, list.children.len()), (10_000_000, 10));
        assert!(memory.1.get() < 16_384, "{} bytes were read", memory.1.get());
        let mistake = inspector.evaluate(&frames[0], "huge.len()").unwrap_err();
        assert_eq!(mistake.message, "a text of 100000000 bytes is too long to evaluate");
    });
}

#[test]
fn what_was_moved_or_is_not_yet_set_says_that_it_may_be_so() {
    struct Gone;
    impl Memory for Gone {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
            Err(Unreadable::Unmapped { address })
        }
    }
    let text = "moved".to_owned();
    let number = 1_u8;
    stop(|image, _, frames| {
        let values = Inspector::new(image, &Gone).bounds(patient()).variables(&frames[0]).values;
        assert!(values.iter().any(|value| value.name == "number"), "the variables are still listed");
        for value in values {
            assert!(value.text.starts_with("<no readable memory at 0x"), "{value:?}");
            assert!(value.note.is_some());
        }
    });
}

#[test]
fn values_whose_names_are_those_of_secrets_are_masked() {
    struct User {
        name: String,
        password: String,
    }
    let user = User { name: "ada".to_owned(), password: "hunter2".to_owned() };
    let token = "t0k3n".to_owned();
    let form = vec![("name".to_owned(), "ada".to_owned()), ("password".to_owned(), "hunter2".to_owned())];
    let headers: HashMap<String, String> = [("authorization".to_owned(), "hunter2".to_owned())].into();
    let nested = Some(vec![&user]);
    struct Secret(String);
    let pepper = Some(Secret("hunter2".to_owned()));
    let by_pair: BTreeMap<(u8, u8), u8> = [((1, 2), 3)].into();
    stop(|image, memory, frames| {
        let masked = |name: &str| ["password", "token", "authorization", "key", "Secret"].contains(&name);
        let inspector = Inspector::new(image, memory).bounds(patient()).mask(&masked);
        let values = inspector.variables(&frames[0]).values;
        let all = format!("{values:?}");
        assert!(!all.contains("hunter2") && !all.contains("t0k3n"), "{all}");
        let get = |name: &str| values.iter().find(|value| value.name == name).unwrap();
        assert_eq!((get("token").text.as_str(), get("token").masked), (MASK, true));
        assert_eq!(get("user").text, format!("User {{ name: \"ada\", password: {MASK} }}"));
        assert_eq!(get("headers").text, format!("{{\"authorization\": {MASK}}}"));
        assert_eq!(get("form").text, format!("[(\"name\", \"ada\"), (\"password\", {MASK})]"));
        assert_eq!(get("pepper").text, format!("Some({MASK})"));
        assert_eq!(get("by_pair").children[0].children[0].text, "(1, 2)", "the word is not the site's there");
        // Nor by asking for what is below it, or through the prompt for what it is in.
        let mut below = get("user").path.clone();
        below.push(1);
        let opened = inspector.expand(&frames[0], &below, 0).unwrap();
        assert_eq!((opened.text.as_str(), opened.masked), (MASK, true));
        for expression in [
            "pepper",
            "pepper.unwrap()",
            "user",
            "[user]",
            "(1, user)",
            "Some(user)",
            "form",
            "form[1]",
            "headers.iter()",
            "form.iter().rev()",
            "form.iter().map(|p| p)",
            "nested.unwrap()[0]",
        ] {
            let value = inspector.evaluate(&frames[0], expression).unwrap();
            assert!(!format!("{value:?}").contains("hunter2"), "{expression}: {value:?}");
        }
        // What is asked for by its name is shown.
        assert_eq!(inspector.evaluate(&frames[0], "user.password").unwrap().text, "\"hunter2\"");
    });
}

#[test]
fn limits_of_time_and_number_end_with_what_was_found() {
    let lists: Vec<Vec<Vec<u32>>> = vec![vec![vec![1; 50]; 50]; 50];
    let after = 1;
    stop(|image, memory, frames| {
        let few = Bounds { nodes: 20, ..patient() };
        let values = Inspector::new(image, memory).bounds(few).variables(&frames[0]).values;
        let lists = values.iter().find(|value| value.name == "lists").unwrap();
        assert!(lists.text.starts_with("[[[1, 1, 1"), "{}", lists.text);
        assert_eq!(lists.count, 50);
        let none = Bounds { time: Duration::ZERO, ..Bounds::default() };
        let values = Inspector::new(image, memory).bounds(none).variables(&frames[0]).values;
        assert_eq!(values[0].note.as_deref(), Some("reading it takes too long"));
    });
}
