//! Any form is a value or has problems, everything that may be shown again is, and a form that was written reads back.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use purlin::config::Secret;
use purlin::form::{Fields, Filled, Problems, Rules, Submitted};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

#[derive(Arbitrary, Debug)]
struct Input {
    // What a stranger sends, and as pairs what a fuzzer would hardly percent-encode.
    body: Vec<u8>,
    pairs: Vec<(String, String)>,
    order: Order,
}

#[derive(Arbitrary, Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Order {
    name: String,
    age: Option<u8>,
    agree: bool,
    colour: Colour,
    tags: Vec<u16>,
    lines: Vec<Line>,
    stock: BTreeMap<u8, i64>,
    address: Option<Address>,
}

#[derive(Arbitrary, Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
enum Colour {
    Red,
    Green,
}

#[derive(Arbitrary, Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Line {
    text: String,
    count: i32,
    gift: bool,
}

#[derive(Arbitrary, Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Address {
    city: char,
    zip: u64,
}

/// Rules of types, and what a form can hardly fill.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Strange {
    a: NonZeroU32,
    b: Vec<NonZeroU32>,
    c: Inner,
    d: (u8, u8),
    #[serde(default)]
    e: Option<Inner>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
#[allow(dead_code)]
struct Even(String);

impl TryFrom<String> for Even {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.len() % 2 == 0 { Ok(Self(text)) } else { Err("an odd length") }
    }
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Inner {
    word: Even,
    secret: Secret,
    pin: Secret,
    more: Vec<Inner>,
    either: Either,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code)]
enum Either {
    Number(f32),
    Inner(Box<Inner>),
}

impl Rules for Order {
    fn check(&self, problems: &mut Problems) {
        for (at, line) in self.lines.iter().enumerate() {
            problems.unless(line.count > 0, format!("lines[{at}][count]"), "More.");
        }
    }
}

impl Rules for Strange {}

/// Anything else, without rules.
#[derive(Deserialize)]
#[serde(transparent)]
#[allow(dead_code)]
struct Any<T>(T);

impl<T> Rules for Any<T> {}

fn look<T: DeserializeOwned + Rules>(fields: &Fields<'_>) {
    let Ok(mut form) = Submitted::<T>::of(fields) else {
        return;
    };
    let good = form.filled().problems().is_empty();
    assert!(form.accept().is_none() || good);
    for problem in form.filled().problems() {
        assert!(!problem.message.is_empty() && !problem.code.is_empty());
    }
    let shown = serde_json::to_value(form.filled()).expect("a form is JSON");
    // Every value is kept, under its name, in its order; of a secret none.
    let mut sent: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| !["csrf_token", "_method"].contains(name)) {
        let plain = name.strip_suffix("[]").filter(|rest| !rest.is_empty() && !rest.contains([']', '[']));
        sent.entry(plain.unwrap_or(name).to_owned()).or_default().push(value);
    }
    for (name, values) in sent.iter().filter(|(name, _)| !name.contains(['[', ']'])) {
        let kept = &shown["values"][name];
        let lower = name.to_ascii_lowercase();
        let secret = ["password", "passwd", "passphrase", "secret"].iter().any(|word| lower.contains(word));
        if secret {
            assert!(kept.is_null() || kept.as_array().is_some_and(Vec::is_empty), "{name}: {kept}");
        } else {
            assert_eq!(kept, &serde_json::json!(values), "{name}");
        }
    }
    drop(Filled::from(form));
}

fn write(order: &Order) -> Vec<(String, String)> {
    let mut pairs = vec![("name".to_owned(), order.name.clone()), ("colour".to_owned(), format!("{:?}", order.colour))];
    let mut add = |name: String, value: String| pairs.push((name, value));
    add("age".into(), order.age.map(|age| age.to_string()).unwrap_or_default());
    if order.agree {
        add("agree".into(), "on".into());
    }
    order.tags.iter().for_each(|tag| add("tags[]".into(), format!(" {tag}\t")));
    for (at, line) in order.lines.iter().enumerate() {
        // Gaps, and not in their order.
        let row = 1000 - at * 3;
        add(format!("lines[{row}][text]"), line.text.clone());
        add(format!("lines[{row}][count]"), line.count.to_string());
        if line.gift {
            add(format!("lines[{row}][gift]"), "true".into());
        }
    }
    order.stock.iter().for_each(|(key, count)| add(format!("stock[{key}]"), count.to_string()));
    if let Some(address) = &order.address {
        add("address[city]".into(), address.city.to_string());
        add("address[zip]".into(), address.zip.to_string());
    }
    pairs
}

fuzz_target!(|input: Input| {
    let parsed = Fields::parse(&input.body, 1000);
    let collected = Fields::collect(input.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())), 1000);
    for fields in parsed.into_iter().chain(collected) {
        assert!(fields.iter().count() <= 1000);
        look::<Order>(&fields);
        look::<Strange>(&fields);
        look::<Any<BTreeMap<String, String>>>(&fields);
        look::<Any<BTreeMap<String, Vec<u8>>>>(&fields);
        look::<Any<Vec<(String, u8)>>>(&fields);
        look::<Any<serde_json::Value>>(&fields);
    }

    let mut order = input.order;
    order.lines.truncate(50);
    let pairs = write(&order);
    let fields = Fields::collect(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())), 10_000);
    let fields = fields.expect("short names");
    let mut form = Submitted::<Order>::of(&fields).expect("it is no attack");
    // The rows were written backwards.
    order.lines.reverse();
    match form.accept() {
        Some(read) => assert_eq!(read, order),
        None => {
            let refused = |line: &Line| line.count <= 0 || line.text.contains('\0');
            let is_nowhere = order.address.as_ref().is_some_and(|address| address.city == '\0');
            let is_refused = order.name.contains('\0') || is_nowhere || order.lines.iter().any(refused);
            assert!(is_refused, "{:?}", form.filled().problems());
        }
    }
    // What a form begins with is what it would send.
    let filled = Filled::of(&order).expect("it is JSON");
    assert_eq!(filled.value("name"), Some(order.name.as_str()));
});
