//! What an expression is worth: something of the process, or something worked out from it.

// What is read may be damaged in any way: no sum and no index is taken on trust.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::parse::{Binary, FLOATS, INTEGERS};
use crate::layout::{Collection, float};
use crate::reader::Place;
use crate::types::short;
use std::cmp::Ordering;
use std::fmt;

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Place(Place),
    /// Some elements of a list of the process.
    Part(Collection),
    Number(Number),
    Bool(bool),
    Char(char),
    Text(String),
    Unit,
    List(Vec<Item>),
    Tuple(Vec<Item>),
    /// `Some`, `None`, or a variant to compare with.
    Variant(String, Vec<Item>),
    Range(Option<u64>, Option<u64>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// Sign and magnitude hold all of `i128` and `u128`; without a type it takes that of what it meets.
    Integer {
        negative: bool,
        magnitude: u128,
        of: Option<&'static str>,
    },
    Float {
        value: f64,
        single: bool,
    },
}

/// How many bits a type of integers has, and whether it has a sign.
fn width(of: &str) -> (u32, bool) {
    let bits = match of.get(1..) {
        Some("8") => 8,
        Some("16") => 16,
        Some("32") => 32,
        Some("128") => 128,
        // What this process calls `usize` has the size of its addresses, which is read as 64 bits throughout.
        _ => 64,
    };
    (bits, of.starts_with('i'))
}

/// The largest magnitude of a type of integers, of negative and other numbers.
fn largest(of: &str, negative: bool) -> u128 {
    let (bits, signed) = width(of);
    let bits = if signed { bits.saturating_sub(1) } else { bits };
    let power = 1_u128.checked_shl(bits);
    match (signed, negative) {
        (false, true) => 0,
        (true, true) => power.unwrap_or(0),
        _ => power.map_or(u128::MAX, |power| power.wrapping_sub(1)),
    }
}

impl Item {
    pub(crate) fn integer(negative: bool, magnitude: u128, of: Option<&'static str>) -> Result<Self, String> {
        Number::integer(negative, magnitude, of).map(Self::Number)
    }

    pub(crate) fn count(value: u64) -> Self {
        Self::Number(Number::Integer { negative: false, magnitude: value.into(), of: Some("usize") })
    }

    pub(crate) fn float(value: f64, single: bool) -> Self {
        Self::Number(Number::Float { value, single })
    }

    pub(crate) fn some(item: Item) -> Self {
        Self::Variant("Some".to_owned(), vec![item])
    }

    pub(crate) fn option(item: Option<Item>) -> Self {
        item.map_or_else(|| Self::Variant("None".to_owned(), Vec::new()), Self::some)
    }

    pub(crate) fn into_number(self) -> Result<Number, String> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err("a number is expected".to_owned()),
        }
    }

    /// `u32::MAX` and its kin.
    pub(crate) fn constant(of: &str, name: &str) -> Option<Self> {
        if let Some(of) = INTEGERS.iter().find(|known| **known == of).copied() {
            let (negative, magnitude) = match name {
                "MAX" => (false, largest(of, false)),
                "MIN" => (true, largest(of, true)),
                "BITS" => return Self::integer(false, width(of).0.into(), Some("u32")).ok(),
                _ => return None,
            };
            return Self::integer(negative, magnitude, Some(of)).ok();
        }
        let single = of == "f32";
        if !FLOATS.contains(&of) && of != "consts" {
            return None;
        }
        let value = match name {
            "MAX" if single => f32::MAX.into(),
            "MIN" if single => f32::MIN.into(),
            "EPSILON" if single => f32::EPSILON.into(),
            "MAX" => f64::MAX,
            "MIN" => f64::MIN,
            "EPSILON" => f64::EPSILON,
            "INFINITY" => f64::INFINITY,
            "NEG_INFINITY" => f64::NEG_INFINITY,
            "NAN" => f64::NAN,
            "PI" => std::f64::consts::PI,
            "E" => std::f64::consts::E,
            _ => return None,
        };
        Some(Self::float(value, single))
    }

    /// As one would write it; as exactly as is known.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::Place(place) => short(&place.of.name),
            Self::Part(part) => part.element().map_or_else(|| "[_]".to_owned(), |of| format!("[{}]", short(&of.name))),
            Self::Number(Number::Integer { of, .. }) => of.unwrap_or("i32").to_owned(),
            Self::Number(Number::Float { single, .. }) => if *single { "f32" } else { "f64" }.to_owned(),
            Self::Bool(_) => "bool".to_owned(),
            Self::Char(_) => "char".to_owned(),
            Self::Text(_) => "str".to_owned(),
            Self::Unit => "()".to_owned(),
            Self::List(items) => format!("[{}]", items.first().map_or_else(|| "_".to_owned(), Self::type_name)),
            Self::Tuple(items) => format!("({})", items.iter().map(Self::type_name).collect::<Vec<_>>().join(", ")),
            Self::Variant(name, items) => match (name.as_str(), items.as_slice()) {
                ("Some", [only]) => format!("Option<{}>", only.type_name()),
                ("None", []) => "Option<_>".to_owned(),
                ("Ok", [only]) => format!("Result<{}, _>", only.type_name()),
                ("Err", [only]) => format!("Result<_, {}>", only.type_name()),
                _ => String::new(),
            },
            Self::Range(..) => "Range<usize>".to_owned(),
        }
    }

    pub(crate) fn into_children(self) -> Vec<(String, Item)> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Variant(_, items) => {
                items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Number {
    fn integer(negative: bool, magnitude: u128, of: Option<&'static str>) -> Result<Self, String> {
        let negative = negative && magnitude > 0;
        let most = of.map_or(if negative { 1 << 127 } else { u128::MAX }, |of| largest(of, negative));
        if magnitude > most {
            let sign = if negative { "-" } else { "" };
            return Err(match of {
                Some(of) => format!("would panic: {sign}{magnitude} does not fit into {of}"),
                None => "this number is too large".to_owned(),
            });
        }
        Ok(Self::Integer { negative, magnitude, of })
    }

    pub(crate) fn negate(self) -> Result<Self, String> {
        match self {
            Self::Integer { negative, magnitude, of } => Self::integer(!negative, magnitude, of),
            Self::Float { value, single } => Ok(Self::Float { value: -value, single }),
        }
    }

    /// `!n`: all bits the other way round.
    pub(crate) fn complement(self) -> Result<Self, String> {
        match self {
            Self::Integer { negative, magnitude, of } => {
                let of = of.unwrap_or("i32");
                let (_, signed) = width(of);
                if signed {
                    // -n - 1
                    let magnitude = if negative { magnitude.wrapping_sub(1) } else { magnitude.saturating_add(1) };
                    Self::integer(!negative, magnitude, Some(of))
                } else {
                    Self::integer(false, largest(of, false) ^ magnitude, Some(of))
                }
            }
            Self::Float { .. } => Err("floats have no `!`".to_owned()),
        }
    }

    pub(crate) fn as_float(self) -> f64 {
        match self {
            Self::Float { value, .. } => value,
            #[expect(clippy::cast_precision_loss, reason = "what `as` does")]
            Self::Integer { negative, magnitude, .. } => {
                let value = magnitude as f64;
                if negative { -value } else { value }
            }
        }
    }

    /// The type that both have; a literal takes that of the other.
    fn common(left: Self, right: Self) -> Result<(Self, Self), String> {
        Ok(match (left, right) {
            (Self::Integer { of: Some(a), .. }, Self::Integer { of: Some(b), .. }) if a != b => {
                return Err(format!("{a} and {b} are different types: cast one, like `as {a}`"));
            }
            (Self::Integer { of: Some(_), .. }, Self::Float { .. })
            | (Self::Float { .. }, Self::Integer { of: Some(_), .. }) => {
                return Err("an integer and a float are different types: cast one, like `as f64`".to_owned());
            }
            (Self::Integer { of: None, .. }, Self::Float { single, .. }) => {
                (Self::Float { value: left.as_float(), single }, right)
            }
            (Self::Float { single, .. }, Self::Integer { of: None, .. }) => {
                (left, Self::Float { value: right.as_float(), single })
            }
            _ => (left, right),
        })
    }

    pub(crate) fn compare(&self, other: &Self) -> Result<Option<Ordering>, String> {
        Ok(match Self::common(*self, *other)? {
            (Self::Integer { negative: a, magnitude: x, .. }, Self::Integer { negative: b, magnitude: y, .. }) => {
                Some(match (a, b) {
                    (false, false) => x.cmp(&y),
                    (true, true) => y.cmp(&x),
                    (true, false) => Ordering::Less,
                    (false, true) => Ordering::Greater,
                })
            }
            (a, b) => a.as_float().partial_cmp(&b.as_float()),
        })
    }

    pub(crate) fn apply(self, operator: Binary, right: Self) -> Result<Self, String> {
        if matches!(operator, Binary::ShiftLeft | Binary::ShiftRight) {
            return self.shift(operator, right);
        }
        match Self::common(self, right)? {
            (Self::Float { value: a, single }, Self::Float { value: b, .. }) => {
                let value = match operator {
                    Binary::Add => a + b,
                    Binary::Subtract => a - b,
                    Binary::Multiply => a * b,
                    Binary::Divide => a / b,
                    Binary::Remainder => a % b,
                    _ => return Err("floats have no such operator".to_owned()),
                };
                Ok(Self::Float { value: if single { narrow(value) } else { value }, single })
            }
            (
                Self::Integer { negative: a, magnitude: x, of: left },
                Self::Integer { negative: b, magnitude: y, of: right },
            ) => {
                let of = left.or(right);
                let overflow = || "would panic: the result is too large".to_owned();
                let (negative, magnitude) = match operator {
                    Binary::Add => add(a, x, b, y).ok_or_else(overflow)?,
                    Binary::Subtract => add(a, x, !b, y).ok_or_else(overflow)?,
                    Binary::Multiply => (a != b, x.checked_mul(y).ok_or_else(overflow)?),
                    Binary::Divide => (a != b, x.checked_div(y).ok_or("would panic: divided by zero")?),
                    Binary::Remainder => (a, x.checked_rem(y).ok_or("would panic: divided by zero")?),
                    _ => {
                        let (x, y) = (bits(a, x), bits(b, y));
                        let value = match operator {
                            Binary::BitAnd => x & y,
                            Binary::BitOr => x | y,
                            _ => x ^ y,
                        };
                        // Two's complement of 128 bits; a negative number meets only those of its own type.
                        if (a || b) && value >> 127 == 1 { (true, value.wrapping_neg()) } else { (false, value) }
                    }
                };
                Self::integer(negative, magnitude, of)
            }
            // `common` made them alike.
            _ => Err("these do not fit together".to_owned()),
        }
    }

    fn shift(self, operator: Binary, by: Self) -> Result<Self, String> {
        let (Self::Integer { negative, magnitude, of }, Self::Integer { negative: false, magnitude: by, .. }) =
            (self, by)
        else {
            return Err("would panic: shifted by what is no count".to_owned());
        };
        let (width, _) = width(of.unwrap_or("i32"));
        let by = u32::try_from(by).ok().filter(|by| *by < width);
        let by = by.ok_or_else(|| format!("would panic: shifted by more than {width} bits"))?;
        let value = bits(negative, magnitude);
        let shifted = match operator {
            Binary::ShiftLeft => value.checked_shl(by).unwrap_or(0),
            _ => value.cast_signed().checked_shr(by).unwrap_or(0).cast_unsigned(),
        };
        if operator == Binary::ShiftRight && !negative {
            return Self::integer(false, magnitude.checked_shr(by).unwrap_or(0), of);
        }
        wrap(shifted, of.unwrap_or("i32")).map(|number| match number {
            Self::Integer { negative, magnitude, .. } => Self::Integer { negative, magnitude, of },
            float => float,
        })
    }

    /// What `as` makes of it.
    pub(crate) fn cast(self, to: &str) -> Result<Item, String> {
        if FLOATS.contains(&to) {
            let single = to == "f32";
            let value = self.as_float();
            return Ok(Item::float(if single { narrow(value) } else { value }, single));
        }
        let to = INTEGERS.iter().find(|known| **known == to).copied();
        match (self, to) {
            (Self::Integer { negative, magnitude, .. }, Some(to)) => {
                wrap(bits(negative, magnitude), to).map(Item::Number)
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as in the program")]
            (Self::Float { value, .. }, Some(to)) => {
                let magnitude = (value.abs() as u128).min(largest(to, value < 0.0));
                Item::integer(value < 0.0, magnitude, Some(to))
            }
            (Self::Integer { negative: false, magnitude, .. }, None) => {
                let char = u32::try_from(magnitude).ok().and_then(char::from_u32);
                char.map(Item::Char).ok_or_else(|| format!("{magnitude} is no char"))
            }
            _ => Err("only an u8 can be cast to a char".to_owned()),
        }
    }
}

/// The sum of two numbers of sign and magnitude.
fn add(a: bool, x: u128, b: bool, y: u128) -> Option<(bool, u128)> {
    if a == b {
        return Some((a, x.checked_add(y)?));
    }
    Some(if x >= y { (a, x.wrapping_sub(y)) } else { (b, y.wrapping_sub(x)) })
}

/// Two's complement.
fn bits(negative: bool, magnitude: u128) -> u128 {
    if negative { magnitude.wrapping_neg() } else { magnitude }
}

/// The low bits as a number of this type.
fn wrap(value: u128, of: &'static str) -> Result<Number, String> {
    let (width, signed) = width(of);
    let unused = 128_u32.saturating_sub(width);
    let high = value.checked_shl(unused).unwrap_or(0);
    if signed {
        let value = high.cast_signed().checked_shr(unused).unwrap_or(0);
        return Number::integer(value < 0, value.unsigned_abs(), Some(of));
    }
    Number::integer(false, high.checked_shr(unused).unwrap_or(0), Some(of))
}

fn narrow(value: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "the type has this precision")]
    let narrow = value as f32;
    narrow.into()
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { negative, magnitude, .. } => {
                write!(f, "{}{magnitude}", if *negative { "-" } else { "" })
            }
            Self::Float { value, single } => f.write_str(&float(*value, if *single { 4 } else { 8 })),
        }
    }
}
