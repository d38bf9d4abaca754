//! The prompt: what expressions are worth, and what is said of those that are wrong.
#![allow(unused_variables, dead_code)]

use crate::support::stop_here;
use purlin_debugger::{Frame, Inspector};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Item {
    id: u32,
    name: String,
    price: f64,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Plain {
    One = 1,
    Two = 2,
}

enum Kind {
    Food,
    Drink { alcohol: bool },
    Other(u8, &'static str),
}

static GREETING: &str = "hello";

fn item(id: u32, name: &str, price: f64, kind: Kind) -> Item {
    Item { id, name: name.to_owned(), price, kind }
}

/// Asks in a frame with variables of many kinds.
#[inline(never)]
fn ask(look: impl FnOnce(&Inspector<'_>, &Frame)) {
    let n = 5_u32;
    let small = -3_i8;
    let big = u128::MAX;
    let x = 1.5;
    let single = 0.1_f32;
    let yes = true;
    let letter = 'b';
    let text = "tea & cake".to_owned();
    let literal = "größe";
    let items = vec![
        item(1, "tea", 2.5, Kind::Drink { alcohol: false }),
        item(2, "rice", 1.0, Kind::Food),
        item(3, "salt", 0.5, Kind::Other(7, "spice")),
    ];
    let first = &items[0];
    let numbers = [3, 1, 2];
    let nested = vec![vec![1_u8, 2], vec![3]];
    let long: Vec<u32> = (0..1000).collect();
    let huge = vec![0_u8; 200_000];
    let empty: Vec<u8> = Vec::new();
    let map: HashMap<String, u32> = [("k".to_owned(), 7), ("l".to_owned(), 8)].into();
    let tree: BTreeMap<u8, &str> = [(1, "one"), (2, "two")].into();
    let set: HashSet<u8> = [1, 2].into();
    let some = Some(4_u8);
    let none: Option<u8> = None;
    let ok: Result<u8, String> = Ok(1);
    let bad: Result<u8, String> = Err("broken".to_owned());
    let boxed = Box::new(6_u8);
    let shared = Arc::new(Mutex::new(vec![1_u64, 2]));
    let cell = Rc::new(RefCell::new(item(9, "cell", 9.0, Kind::Food)));
    let tuple = (1_u8, (2_u8, "in"));
    let plain = Plain::Two;
    let duration = Duration::from_millis(1500);
    let path = std::path::PathBuf::from("/tmp/a.txt");
    let unit = ();
    let greeting = GREETING;
    stop_here(|inspector, frames| look(inspector, &frames[0]));
}

#[test]
fn right_expressions() {
    let table = [
        // Literals and operators.
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("-2 + 3", "1"),
        ("10 / 3", "3"),
        ("10 % 3", "1"),
        ("7.0 / 2", "3.5"),
        ("1_000u64", "1000"),
        ("0xff & 0b1010", "10"),
        ("1 << 4 | 1", "17"),
        ("!0u8", "255"),
        ("!true", "false"),
        ("1 == 1 && 2 != 3 || false", "true"),
        ("1 < 2", "true"),
        ("'a' < 'b'", "true"),
        ("\"a\" == \"a\"", "true"),
        ("\"\\u{e4}\\n\"", "\"ä\\n\""),
        ("r\"\\\"", "\"\\\\\""),
        ("r#\"\"\"#", "\"\\\"\""),
        ("b'a'", "97"),
        ("1e3", "1000.0"),
        ("2.", "2.0"),
        ("u8::MAX", "255"),
        ("i8::MIN", "-128"),
        ("u64::MAX as f64 > 1e19", "true"),
        ("()", "()"),
        ("(1, 'a')", "(1, 'a')"),
        ("[1, 2]", "[1, 2]"),
        // Variables, fields, indices.
        ("n", "5"),
        ("n + 1", "6"),
        ("small", "-3"),
        ("-small", "3"),
        ("big", "340282366920938463463374607431768211455"),
        ("x * 2.0", "3.0"),
        ("single", "0.1"),
        ("single + 0.2", "0.3"),
        ("yes && n > 4", "true"),
        ("letter", "'b'"),
        ("letter as u32", "98"),
        ("98u8 as char", "'b'"),
        ("300 as u8", "44"),
        ("-1 as u8", "255"),
        ("small as u32", "4294967293"),
        ("3.9 as u8", "3"),
        ("n as f64 / 2.0", "2.5"),
        ("items[1].price * 2.0", "2.0"),
        ("items[0].name", "\"tea\""),
        ("first.name", "\"tea\""),
        ("(*first).id", "1"),
        ("&items[0].id", "1"),
        ("items[items.len() - 1].name", "\"salt\""),
        ("items[2].kind.1", "\"spice\""),
        ("items[0].kind.alcohol", "false"),
        ("numbers[0]", "3"),
        ("nested[0][1]", "2"),
        ("long[10..13]", "[10, 11, 12]"),
        ("&long[..2]", "[0, 1]"),
        ("long[998..]", "[998, 999]"),
        ("long[1..=2]", "[1, 2]"),
        ("text[0..3]", "\"tea\""),
        ("tuple.1.0", "2"),
        ("tuple.1.1", "\"in\""),
        ("*boxed + 1", "7"),
        ("cell.name", "\"cell\""),
        ("cell.borrow().price", "9.0"),
        ("shared.lock().unwrap()[1]", "2"),
        ("shared.len()", "2"),
        ("plain as u8", "2"),
        ("greeting", "\"hello\""),
        ("GREETING", "\"hello\""),
        ("unit", "()"),
        // Comparisons with what one would write.
        ("some == Some(4)", "true"),
        ("none == None", "true"),
        ("some == None", "false"),
        ("plain == Plain::Two", "true"),
        ("items[2].kind == Kind::Other(7, \"spice\")", "true"),
        ("items[1].kind == Kind::Food", "true"),
        ("numbers == [3, 1, 2]", "true"),
        ("tuple == (1, (2, \"in\"))", "true"),
        ("nested[0] == nested[0]", "true"),
        ("items[0].name == \"tea\"", "true"),
        ("ok == Ok(1)", "true"),
        // Lists.
        ("items.len()", "3"),
        ("empty.is_empty()", "true"),
        ("items.first().unwrap().id", "1"),
        ("items.last().unwrap().id", "3"),
        ("empty.first()", "None"),
        ("items.get(1).unwrap().name", "\"rice\""),
        ("items.get(9).is_none()", "true"),
        ("numbers.iter().sum::<i32>()", "6"),
        ("numbers.iter().product()", "6"),
        ("numbers.iter().max()", "Some(3)"),
        ("numbers.iter().min().unwrap()", "1"),
        ("numbers.iter().rev()", "[2, 1, 3]"),
        ("numbers.iter().skip(1).take(1)", "[1]"),
        ("numbers.contains(&2)", "true"),
        ("numbers.starts_with(&[3, 1])", "true"),
        ("numbers.iter().enumerate().last()", "Some((2, 2))"),
        ("items.iter().map(|i| i.name)", "[\"tea\", \"rice\", \"salt\"]"),
        ("items.iter().map(|i| i.price * 2.0).sum()", "8.0"),
        ("items.iter().filter(|i| i.price > 0.5).count()", "2"),
        ("items.iter().find(|i| i.id == 2).unwrap().name", "\"rice\""),
        ("items.iter().position(|i| i.name == \"salt\")", "Some(2)"),
        ("items.iter().any(|i| i.kind == Kind::Food)", "true"),
        ("items.iter().all(|i| i.id > 1)", "false"),
        ("items.iter().max_by_key(|i| i.id).unwrap().name", "\"salt\""),
        ("items.iter().map(|i| i.name).collect::<Vec<_>>().join(\", \")", "\"tea, rice, salt\""),
        ("numbers.iter().zip(items.iter()).map(|(a, b)| a + b.id as i32)", "[4, 3, 5]"),
        ("nested.iter().flat_map(|v| v.iter())", "[1, 2, 3]"),
        ("(0..4).map(|i| i * i)", "[0, 1, 4, 9]"),
        ("long.iter().take(3)", "[0, 1, 2]"),
        ("huge.len()", "200000"),
        ("huge[199_999]", "0"),
        ("numbers.windows(2)", "[[3, 1], [1, 2]]"),
        // Maps and sets.
        ("map[\"k\"]", "7"),
        ("map.get(\"l\")", "Some(8)"),
        ("map.get(\"m\").is_none()", "true"),
        ("map.contains_key(\"k\")", "true"),
        ("map.len()", "2"),
        ("map.values().sum()", "15"),
        ("tree[&1]", "\"one\""),
        ("tree.keys()", "[1, 2]"),
        ("tree.iter()", "{1: \"one\", 2: \"two\"}"),
        ("tree.iter().map(|(k, v)| k)", "[1, 2]"),
        ("set.contains(&2)", "true"),
        // Options and results.
        ("some.is_some()", "true"),
        ("some.unwrap() + 1", "5"),
        ("some.map(|v| v * 2)", "Some(8)"),
        ("none.unwrap_or(3)", "3"),
        ("none.map(|v| v * 2)", "None"),
        ("some.is_some_and(|v| v > 3)", "true"),
        ("ok.is_ok()", "true"),
        ("bad.is_err()", "true"),
        ("bad.err().unwrap().len()", "6"),
        ("bad.unwrap_err()", "\"broken\""),
        ("ok.ok()", "Some(1)"),
        // Texts, chars, numbers.
        ("text.len()", "10"),
        ("text.contains(\"cake\")", "true"),
        ("text.starts_with(\"tea\") && text.ends_with('e')", "true"),
        ("text.to_uppercase()", "\"TEA & CAKE\""),
        ("text.split(\" & \")", "[\"tea\", \"cake\"]"),
        ("text.split_once(' ').unwrap().0", "\"tea\""),
        ("text.replace(\"tea\", \"pie\")", "\"pie & cake\""),
        ("\" a \".trim()", "\"a\""),
        ("literal.chars().count()", "5"),
        ("literal.chars().nth(2)", "Some('ö')"),
        ("\"17\".parse::<u8>().unwrap() + 1", "18"),
        ("text + \"!\"", "\"tea & cake!\""),
        ("letter.is_alphabetic()", "true"),
        ("small.abs()", "3"),
        ("n.pow(3)", "125"),
        ("n.max(9)", "9"),
        ("n.abs_diff(9)", "4"),
        ("2.0f64.sqrt() > 1.41", "true"),
        ("1.5.floor()", "1.0"),
        ("duration.as_millis()", "1500"),
        ("path.extension().unwrap()", "\"txt\""),
        ("path.display()", "\"/tmp/a.txt\""),
        ("items.is_empty() || items[0].id == 1", "true"),
        ("empty.is_empty() || empty[0] == 1", "true"),
        ("n;", "5"),
    ];
    ask(|inspector, frame| {
        let wrong: Vec<_> = table
            .iter()
            .filter_map(|(expression, expected)| {
                let found = match inspector.evaluate(frame, expression) {
                    Ok(value) => value.text,
                    Err(mistake) => format!("mistake: {mistake}"),
                };
                (found != *expected).then(|| format!("{expression}  is {found}, not {expected}"))
            })
            .collect();
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    });
}

#[test]
fn wrong_expressions() {
    let table = [
        ("", "an expression is expected"),
        ("itms", "no variable `itms`; is it `items`?"),
        ("items[0].nme", "no field `nme`; is it `name`? (there are: id, name, price, kind)"),
        ("items[0].frob", "no field `frob` (there are: id, name, price, kind)"),
        ("items[7]", "would panic: index 7 out of bounds of length 3"),
        ("long[3..1]", "would panic: the range begins at 3 and ends at 1"),
        ("items[..9]", "would panic: range end 9 out of bounds of length 3"),
        ("none.unwrap()", "would panic: None"),
        ("none.expect(\"must be\")", "would panic: must be"),
        ("bad.unwrap()", "would panic: Err(a String)"),
        ("map[\"m\"]", "would panic: there is no key \"m\""),
        ("literal[0..3]", "would panic: this is within a character"),
        ("1 / 0", "would panic: divided by zero"),
        ("255u8 + 1", "would panic: 256 does not fit into u8"),
        ("0u8 - 1", "would panic: -1 does not fit into u8"),
        ("1u8 << 8", "would panic: shifted by more than 8 bits"),
        ("n + small", "u32 and i8 are different types: cast one, like `as u32`"),
        ("n + 1.5", "an integer and a float are different types: cast one, like `as f64`"),
        ("n = 6", "the prompt only reads: it cannot assign"),
        ("n += 1", "the prompt only reads: it cannot assign"),
        ("items.push(1)", "the prompt only reads: `push` would change something"),
        ("items[0].total()", "the prompt only reads: it cannot call `total` of a Item"),
        ("ask(1)", "the prompt only reads: it cannot call functions of the program"),
        ("println!(\"x\")", "the prompt only reads: it has no macros"),
        ("std::process::exit(1)", "the prompt only reads: it cannot call functions of the program"),
        ("cell.await", "the prompt only reads: it cannot wait for a future"),
        ("ok?", "`?` returns; use .unwrap() to look inside"),
        ("let a = 1", "`let` is not understood: one expression, please"),
        ("Item { id: 1 }", "blocks and struct literals are not understood"),
        ("items.lenn()", "no method `lenn`; is it `len`?"),
        ("n.len()", "no method `len`"),
        ("numbers.iter().map(String::len)", "a closure is expected, like |x| x + 1"),
        ("numbers.iter().map(|a, b| a)", "the closure is given 1, not 2"),
        ("numbers.iter().filter(|a| a + 1)", "the closure is to give a bool"),
        ("numbers.get()[9]", "would panic: index 9 out of bounds of length 3"),
        ("numbers.iter().take()", "`take` takes 1 argument"),
        ("huge.iter().sum()", "more than 100000 elements: look at a part, like [..1000] or .iter().take(1000)"),
        ("(1 + 2", "`)` is expected here, not the end"),
        ("items[0", "`]` is expected after the index, not the end"),
        ("1 +", "an expression is expected, not the end"),
        ("\"a", "the closing \" is missing"),
        ("'ab'", "a char is one character"),
        ("\"\\q\"", "this escape is unknown"),
        ("1x", "`x` is no type of a number"),
        ("300u8", "would panic: 300 does not fit into u8"),
        ("n as Item", "`as` makes numbers and chars only"),
        ("a.", "a field or a method is expected after `.`"),
        ("@", "an expression is expected, not '@'"),
        ("1 2", "'2' is not expected here"),
        ("some < none", "a Option<u8> and a Option<u8> have no order"),
        ("n && yes", "a bool is expected, not 5"),
        ("text[0]", "text is indexed by a range, like [0..3]"),
        ("n[0]", "a u32 cannot be indexed"),
        ("\"a\".replace(\"\", \"b\").replace(\"\", text)", ""),
    ];
    ask(|inspector, frame| {
        let wrong: Vec<_> = table
            .iter()
            .filter_map(|(expression, expected)| {
                let found = match inspector.evaluate(frame, expression) {
                    Ok(value) => format!("(fine: {})", value.text),
                    Err(mistake) => mistake.message,
                };
                (!found.starts_with(expected)).then(|| format!("{expression}  says {found}, not {expected}"))
            })
            .collect();
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    });
}

#[test]
fn nesting_has_a_limit() {
    ask(|inspector, frame| {
        for part in ["(", "-", "[", "!", "&", "*", "1+", "Some(", "numbers.map(|x| ", "a[", "1 + ("] {
            let text = part.repeat(4000 / part.len());
            let mistake = inspector.evaluate(frame, &text).unwrap_err();
            assert!(mistake.message.contains("levels") || mistake.message.contains("expected"), "{part}: {mistake}");
        }
        let chain = format!("n{}", ".clone()".repeat(500));
        assert_eq!(inspector.evaluate(frame, &chain).unwrap_err().message, "more than 64 levels");
        let mistake = inspector.evaluate(frame, &"1".repeat(5000)).unwrap_err();
        assert_eq!(mistake.message, "an expression is at most 4096 bytes, not 5000");
        // What is just not too deep fits into the stack of a thread: of 2 MiB here, and unoptimised.
        let deep = [
            format!("{}n", "&".repeat(60)),
            format!("n{}", ".clone()".repeat(60)),
            format!("{}n{}", "Some(".repeat(20), ")".repeat(20)),
            format!("{}n{}", "[".repeat(20), "]".repeat(20)),
            format!("n{}", " + 1".repeat(60)),
            format!("{}a{}", "some.map(|a| ".repeat(10), ")".repeat(10)),
        ];
        for text in deep {
            inspector.evaluate(frame, &text).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
        }
        // Loops within loops end with the time or with what they make.
        let mistake = inspector.evaluate(frame, "long.map(|a| long.map(|b| long.map(|c| a)))").unwrap_err();
        assert!(mistake.message.contains("elements") || mistake.message.contains("too long"), "{mistake}");
    });
}

#[test]
fn names_are_completed_where_the_cursor_is() {
    ask(|inspector, frame| {
        for (text, expected) in [
            ("it", vec!["items"]),
            ("n + nu", vec!["numbers"]),
            ("items[0].", vec!["id", "name", "price", "kind"]),
            ("items[0].p", vec!["price"]),
            ("items.le", vec!["len()"]),
            ("items.iter().fil", vec!["filter(", "filter_map("]),
            ("map.val", vec!["values()"]),
            ("text.trim_", vec!["trim_end(", "trim_start("]),
            ("some.is_s", vec!["is_some()", "is_some_and("]),
            ("tuple.1.", vec!["0", "1"]),
            ("GREE", vec!["GREETING"]),
            ("\"it", vec![]),
            ("items[0].name.le", vec!["len()"]),
            ("1.", vec![]),
            ("nothing.", vec![]),
        ] {
            let completion = inspector.complete(frame, text, text.len());
            let found: Vec<_> = completion.candidates.iter().map(|candidate| candidate.text.as_str()).collect();
            assert_eq!(found, expected, "{text}");
        }
        let completion = inspector.complete(frame, "item + 1", 4);
        assert_eq!((completion.from, completion.candidates[0].text.as_str()), (0, "items"));
        assert_eq!(completion.candidates[0].kind, "Vec<Item>");
        // A cursor that is in no text, or within a character.
        assert!(inspector.complete(frame, "n", 7).candidates.is_empty());
        assert!(inspector.complete(frame, "ö", 1).candidates.is_empty());
        assert!(inspector.complete(frame, "", 0).candidates.len() > 10);
    });
}

#[test]
fn a_result_is_opened_as_a_variable_is() {
    ask(|inspector, frame| {
        let value = inspector.evaluate(frame, "items").unwrap();
        assert_eq!((value.type_name.as_str(), value.count), ("Vec<Item>", 3));
        assert_eq!(value.children[1].children[1].text, "\"rice\"");
        let price = inspector.expand_expression(frame, "items", &value.children[1].children[2].path, 0).unwrap();
        assert_eq!((price.name.as_str(), price.text.as_str()), ("price", "1.0"));
        let made = inspector.evaluate(frame, "items.iter().filter(|i| i.id > 1)").unwrap();
        assert_eq!(made.count, 2);
        let name = inspector.expand_expression(frame, "items.iter().filter(|i| i.id > 1)", &[1, 1], 0).unwrap();
        assert_eq!((name.name.as_str(), name.text.as_str()), ("name", "\"salt\""));
        let rest = inspector.expand_expression(frame, "long", &[], 990).unwrap();
        assert_eq!(rest.children.first().map(|child| child.text.as_str()), Some("990"));
        assert_eq!(rest.children.len(), 10);
        assert!(inspector.expand_expression(frame, "items", &[9], 0).is_err());
    });
}
