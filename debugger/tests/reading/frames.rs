//! Frames as a reader would name them, and the variables of functions, closures and futures.
#![allow(unused_variables)]

use crate::support::{patient, roots, stop_here, variables_here};
use purlin_debugger::{Class, Image, Inspector, Limits, Snapshots, capture_panics, frames, take_panicked};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a future that waits for nothing, or once more for each time that it was not ready.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// Not ready at first.
async fn later<T>(value: T) -> T {
    let mut waited = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    value
}

struct Cart {
    items: Vec<(String, u32)>,
}

impl Cart {
    fn price(&self, index: usize) -> u32 {
        let discount = 5_u32;
        self.items[index].1 - discount
    }
}

async fn total(cart: &Cart, indices: [usize; 2]) -> u32 {
    let mut sum = 0;
    for index in indices {
        sum += later(cart.price(index)).await;
    }
    sum
}

async fn show(user: String) -> u32 {
    let cart = Cart { items: vec![("tea".to_owned(), 15)] };
    let greeting = later(format!("hello {user}")).await;
    let sum = total(&cart, [0, 7]).await;
    sum + u32::try_from(greeting.len()).unwrap()
}

#[test]
fn a_panic_three_calls_deep_in_an_async_handler_shows_each_frame_with_its_variables() {
    capture_panics();
    let snapshots = Snapshots::new(Limits::new().resident_bytes(u64::MAX)).unwrap();
    let failed = std::panic::catch_unwind(AssertUnwindSafe(|| snapshots.scope(|| run(show("ada".to_owned())))));
    assert!(failed.is_err());
    let capture = take_panicked().expect("the panic was captured");
    let memory = capture.memory.expect("this machine allows snapshots");
    let image = Image::open().unwrap();
    let frames = frames(&image, &capture.registers, &roots());
    let own: Vec<_> = frames.iter().filter(|frame| frame.class == Class::Own).collect();
    let names: Vec<_> = own.iter().map(|frame| frame.function.as_str()).take(4).collect();
    assert_eq!(names, ["Cart::price", "total (async)", "show (async)", "run"], "{frames:#?}");
    assert_eq!(frames[0].function, "Cart::price", "what panics is left out");
    let lines: Vec<_> = own.iter().map(|frame| frame.line.unwrap()).take(3).collect();
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reading/frames.rs")).unwrap();
    let line =
        |needle: &str| u32::try_from(source.lines().position(|line| line.contains(needle)).unwrap() + 1).unwrap();
    assert_eq!(lines, [line("self.items[index].1"), line("later(cart.price("), line("total(&cart, [0, 7])")]);
    assert!(own[0].file.as_ref().unwrap().ends_with("debugger/tests/reading/frames.rs"));
    assert!(own[0].column.is_some());

    let inspector = Inspector::new(&image, &memory).bounds(patient());
    let shown = |frame| -> Vec<_> {
        let listing = inspector.variables(frame);
        assert_eq!(listing.lack, None);
        listing
            .values
            .into_iter()
            .map(|value| format!("{}: {} = {}", value.name, value.type_name, value.text))
            .collect()
    };
    assert_eq!(
        shown(own[0]),
        ["self: &Cart = Cart { items: [(\"tea\", 15)] }", "index: usize = 7", "discount: u32 = 5",]
    );
    assert_eq!(
        shown(own[1]),
        [
            "cart: &Cart = Cart { items: [(\"tea\", 15)] }",
            "indices: [usize; 2] = [0, 7]",
            "sum: u32 = 10",
            "index: usize = 7",
        ]
    );
    assert_eq!(
        shown(own[2]),
        ["user: String = \"ada\"", "cart: Cart = Cart { items: [(\"tea\", 15)] }", "greeting: String = \"hello ada\"",]
    );
}

#[test]
fn what_the_standard_library_puts_into_a_function_does_not_hide_its_line() {
    fn first(list: Option<u8>) -> u8 {
        list.unwrap()
    }
    fn parse(text: &str) -> u8 {
        let number = text.parse::<u8>();
        number.expect("a number")
    }
    fn divide(by: u8) -> u8 {
        std::hint::black_box(7) / by
    }
    fn slice(text: &str) -> &str {
        &text[1..]
    }
    capture_panics();
    let snapshots = Snapshots::new(Limits::new().per_second(100).resident_bytes(u64::MAX)).unwrap();
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reading/frames.rs")).unwrap();
    let image = Image::open().unwrap();
    let cases: [(&str, &str, fn()); 4] = [
        ("first", "list.unwrap()", || _ = first(None)),
        ("parse", "number.expect(", || _ = parse("x")),
        ("divide", "black_box(7) / by", || _ = divide(0)),
        ("slice", "&text[1..]", || _ = slice("ö")),
    ];
    for (function, needle, fail) in cases {
        assert!(std::panic::catch_unwind(AssertUnwindSafe(|| snapshots.scope(fail))).is_err());
        let capture = take_panicked().expect("the panic was captured");
        let frames = frames(&image, &capture.registers, &roots());
        let line = source.lines().position(|line| line.contains(needle)).unwrap() + 1;
        assert_eq!((frames[0].function.as_str(), frames[0].line), (function, u32::try_from(line).ok()), "{frames:#?}");
    }
}

/// What is not needed after an `.await` is not kept across it; arguments are, as they came.
#[test]
fn arguments_that_are_not_needed_after_an_await_are_shown_as_they_came() {
    async fn helper(words: &str, shelf: u32, mut count: u8) -> usize {
        count += 1;
        let length = words.len() + shelf as usize + usize::from(count);
        variables_here().are(&[("count", "u8", "3"), ("shelf", "u32", "7")]);
        // Something else has written to the stack since.
        std::hint::black_box([0xff_u8; 256]);
        later(()).await;
        variables_here().are(&[("words", "&str", "\"tea\""), ("shelf", "u32", "7"), ("length", "usize", "13")]);
        length
    }
    assert_eq!(run(helper("tea", 7, 2)), 13);
}

#[test]
fn values_alive_across_an_await_are_shown() {
    async fn handler(id: u32, name: &str) {
        let items = vec![id];
        let token = later("t".to_owned()).await;
        variables_here().are(&[
            ("id", "u32", "5"),
            ("name", "&str", "\"n\""),
            ("items", "Vec<u32>", "[5]"),
            ("token", "String", "\"t\""),
        ]);
    }
    run(handler(5, "n"));
}

#[test]
fn arguments_and_shadowed_variables_are_those_that_the_source_means() {
    fn argument(number: u8, text: &str, (left, right): (u8, u8)) {
        let number = format!("{number}!");
        let rest = {
            let inner = 1;
            inner + 1
        };
        if let Some(first) = text.chars().next() {
            let variables = variables_here();
            variables.are(&[
                ("number", "String", "\"3!\""),
                ("text", "&str", "\"x\""),
                ("left", "u8", "1"),
                ("right", "u8", "2"),
                ("rest", "i32", "2"),
                ("first", "char", "'x'"),
            ]);
            assert!(variables.get("text").argument);
            assert!(!variables.get("rest").argument);
            let names: Vec<_> = variables.0.iter().map(|value| value.name.as_str()).collect();
            assert!(!names.contains(&"inner") && !names.contains(&"later"), "{names:?}");
            assert_eq!(names.iter().filter(|name| **name == "number").count(), 1);
        }
        let later = 1;
    }
    argument(3, "x", (1, 2));
}

#[test]
fn a_closure_shows_what_it_captured() {
    let factor = 3;
    let label = "times".to_owned();
    let mut calls = vec![1_u8];
    let scale = |n: i32| {
        calls.push(2);
        variables_here().are(&[
            ("n", "i32", "2"),
            ("factor", "i32", "3"),
            ("label", "String", "\"times\""),
            ("calls", "Vec<u8>", "[1, 2]"),
        ]);
        stop_here(|_, frames| assert!(frames[0].function.ends_with("(closure)"), "{:?}", frames[0]));
        format!("{label} {}", n * factor)
    };
    let mut scale = scale;
    assert_eq!(scale(2), "times 6");
    let moved = {
        let owned = label.clone();
        move || {
            variables_here().are(&[("owned", "String", "\"times\"")]);
            owned.len()
        }
    };
    assert_eq!(moved(), 5);
    variables_here().are(&[(
        "moved",
        "closure in a_closure_shows_what_it_captured",
        &format!("closure in a_closure_shows_what_it_captured {{ owned: {label:?} }}"),
    )]);
}

#[test]
fn a_generic_function_shows_the_types_that_it_was_called_with() {
    fn pair<A: Clone, B>(first: A, second: Option<B>) {
        let copies = vec![first.clone()];
        variables_here().are(&[
            ("first", "&str", "\"a\""),
            ("second", "Option<[u8; 2]>", "Some([1, 2])"),
            ("copies", "Vec<&str>", "[\"a\"]"),
        ]);
    }
    pair("a", Some([1_u8, 2]));
}

#[test]
fn a_future_that_waits_shows_what_it_holds() {
    async fn waiting(id: u32) {
        let held = "held".to_owned();
        std::future::pending::<()>().await;
        drop(held);
    }
    let mut fresh = Box::pin(waiting(7));
    variables_here().are(&[("fresh", "Pin<Box<async fn waiting>>", "async fn waiting (not started) { id: 7 }")]);
    let _ = fresh.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let variables = variables_here();
    let text = &variables.get("fresh").text;
    assert!(
        text.starts_with("async fn waiting (waiting at line ")
            && text.contains("held: \"held\"")
            && text.contains("id: 7"),
        "{text}"
    );
}

#[test]
fn the_frames_of_a_question_mark_begin_with_the_function_that_holds_it() {
    struct Failure;
    impl From<std::num::ParseIntError> for Failure {
        fn from(_: std::num::ParseIntError) -> Self {
            stop_here(|inspector, frames| {
                // The conversion is the site's own here, so it is shown; a framework's is left out by `Roots::capturing`.
                let names: Vec<_> = frames.iter().map(|frame| frame.function.as_str()).collect();
                let parse =
                    frames.iter().find(|frame| frame.function == "parse").unwrap_or_else(|| panic!("{names:?}"));
                let values = inspector.variables(parse).values;
                assert_eq!((values[0].name.as_str(), values[0].text.as_str()), ("text", "\"x\""));
            });
            Self
        }
    }
    fn parse(text: &str) -> Result<u8, Failure> {
        let number = text.parse()?;
        Ok(number)
    }
    assert!(parse("x").is_err());
}

#[test]
fn the_iterator_of_a_loop_is_left_out_and_one_of_the_site_is_not() {
    for n in 0_u8..1 {
        let shown = variables_here();
        assert!(shown.0.iter().all(|value| value.name != "iter"), "{shown:?}");
    }
    let iter = 5_u8;
    variables_here().are(&[("iter", "u8", "5")]);
}

#[test]
fn an_image_and_its_frames_can_be_sent_to_the_thread_that_shows_them() {
    fn sent<T: Send>() {}
    sent::<Image>();
    sent::<purlin_debugger::Frame>();
    sent::<purlin_debugger::Listing>();
}
