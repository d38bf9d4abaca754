//! Executables that lack something: what is said of them, and what would mend it.

use crate::support::{patient, stop};
use purlin_debugger::{Class, Image, Inspector, Lack, Registers, Roots, frames};
use std::process::Command;

const PROGRAM: &str = r#"
#[inline(never)]
fn total(prices: &[u32], discount: u32) -> u32 {
    let mut sum = 0;
    for price in prices {
        sum += price - discount;
    }
    std::hint::black_box(sum)
}
fn main() {
    let prices = vec![std::env::args().count() as u32];
    println!("{}", total(&prices, 1));
}
"#;

/// Compiles the program; returns the bytes of the executable, and an address within `total`.
fn compile(name: &str, options: &[&str]) -> (&'static [u8], u64) {
    let folder = std::env::temp_dir().join(format!("purlin-debugger-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("shop.rs");
    std::fs::write(&source, PROGRAM).unwrap();
    let output = folder.join("shop");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "-C", "incremental=no"])
        .args(options)
        .arg("-o")
        .arg(&output)
        .arg(&source)
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let bytes = std::fs::read(&output).unwrap();
    // Without a symbol the address does not matter: there is no image.
    let address = symbol(&bytes).unwrap_or(0);
    std::fs::remove_dir_all(&folder).unwrap();
    (Vec::leak(bytes), address)
}

fn symbol(bytes: &[u8]) -> Option<u64> {
    use object::{Object as _, ObjectSymbol as _};
    let file = object::File::parse(bytes).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains("4shop5total")))?;
    Some(symbol.address() + symbol.size() / 2)
}

fn roots() -> Roots {
    Roots { own: vec![std::env::temp_dir()], ..Roots::default() }
}

fn lack(name: &str, options: &[&str]) -> (Option<Lack>, String, bool) {
    let (bytes, address) = compile(name, options);
    let image = match Image::read(bytes, 0) {
        Ok(image) => image,
        Err(lack) => return (Some(lack), String::new(), false),
    };
    let registers = Registers { ip: address, sp: 0x1000, frame_pointer: 0x1000, base: 0 };
    let frames = frames(&image, &[registers, registers], &roots());
    let frame = frames.first().unwrap();
    struct Zeros;
    impl purlin_debugger::Memory for Zeros {
        fn read(&self, _: u64, buffer: &mut [u8]) -> Result<(), purlin_debugger::Unreadable> {
            buffer.fill(0);
            Ok(())
        }
    }
    let listing = Inspector::new(&image, &Zeros).bounds(patient()).variables(frame);
    (listing.lack, frame.function.clone(), frame.line.is_some())
}

#[test]
fn what_an_executable_lacks_is_told_with_what_mends_it() {
    // How it is compiled; what is lacking, the function that is named nevertheless, whether its line is known, the advice.
    type Row = (&'static str, &'static [&'static str], Option<Lack>, &'static str, bool, &'static str);
    let table: [Row; 9] = [
        ("full", &["-C", "debuginfo=2"], None, "total", true, ""),
        ("dwarf5", &["-C", "debuginfo=2", "-C", "dwarf-version=5"], None, "total", true, ""),
        ("none", &["-C", "debuginfo=0"], Some(Lack::Missing), "total", false, "[profile.dev]\ndebug = \"full\""),
        (
            "lines",
            &["-C", "debuginfo=line-tables-only"],
            Some(Lack::LineTablesOnly),
            "total",
            true,
            "[profile.dev]\ndebug = \"full\"",
        ),
        (
            "limited",
            &["-C", "debuginfo=limited"],
            Some(Lack::Limited),
            "total",
            true,
            "[profile.dev]\ndebug = \"full\"",
        ),
        (
            "stripped",
            &["-C", "debuginfo=2", "-C", "strip=symbols"],
            Some(Lack::Stripped),
            "",
            false,
            "[profile.dev]\nstrip = \"none\"\ndebug = \"full\"",
        ),
        (
            "without",
            &["-C", "debuginfo=2", "-C", "strip=debuginfo"],
            Some(Lack::Missing),
            "",
            false,
            "[profile.dev]\ndebug = \"full\"",
        ),
        (
            "optimised",
            &["-C", "debuginfo=2", "-C", "opt-level=2"],
            Some(Lack::Optimised),
            "total",
            true,
            "[profile.dev]\nopt-level = 0\ndebug = \"full\"",
        ),
        (
            "split",
            &["-C", "debuginfo=2", "-C", "split-debuginfo=unpacked"],
            Some(Lack::Split),
            "total",
            true,
            "[profile.dev]\ndebug = \"full\"\nsplit-debuginfo = \"off\"",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, options, expected, function, line, advice) in table {
        let (found, found_function, found_line) = lack(name, options);
        let found_advice = found.as_ref().map_or("", |lack| lack.advice(Class::Own));
        let named = found_function.is_empty() || found_function == function;
        if found != expected || !named || (found_line != line && found_function == function) || found_advice != advice {
            wrong.push(format!("{name}: {found:?} {found_function} {found_line} {found_advice:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn advice_is_for_whoever_compiled_the_code() {
    assert_eq!(Lack::LineTablesOnly.advice(Class::Dependency), "[profile.dev.package.\"*\"]\ndebug = \"full\"");
    assert_eq!(Lack::LineTablesOnly.advice(Class::Standard), "");
    assert_eq!(Lack::System.advice(Class::Own), "");
}

#[test]
fn a_damaged_executable_is_refused_or_read_as_far_as_it_goes() {
    let (bytes, address) = compile("damaged", &["-C", "debuginfo=2"]);
    assert!(matches!(Image::read(&[], 0), Err(Lack::Damaged(_))));
    assert!(matches!(Image::read(b"\x7fELF and nothing more", 0), Err(Lack::Damaged(_))));
    assert!(Image::read(&bytes[..bytes.len() / 2], 0).is_err());
    let mut state = 1_u64;
    stop(|_, memory, _| {
        for round in 0..30 {
            let mut copy = bytes.to_vec();
            // Sections begin somewhere after the headers: damage all over them.
            for _ in 0..20_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = 4096 + (state >> 20) as usize % (copy.len() - 8192);
                copy[at] = (state >> 12) as u8;
            }
            let Ok(image) = Image::read(Vec::leak(copy), 0) else { continue };
            let stack = Registers { ip: address, sp: 0x7fff_0000, frame_pointer: 0x7fff_0000, base: 0 };
            let registers: Vec<_> = (0..40)
                .map(|n| Registers { ip: address.wrapping_add(n * 0x777).wrapping_sub(0x3000), ..stack })
                .collect();
            for frame in frames(&image, &registers, &roots()) {
                let inspector = Inspector::new(&image, memory);
                let listing = inspector.variables(&frame);
                let _ = inspector.evaluate(&frame, "sum + prices.len()");
                assert!(listing.values.len() < 10_000, "{round}");
            }
        }
    });
}
