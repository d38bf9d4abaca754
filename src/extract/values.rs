//! Names with texts, as a path, a query and a form have them, read as typed values.

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Why something named is not what a handler asks for.
#[derive(Debug)]
pub(super) enum Unfit {
    /// A value that is not of its type: the client's affair. `named` once the message says whose value.
    Value { message: String, named: bool },
    /// A type that these names cannot fill.
    Type(String),
}

impl Unfit {
    /// Says whose value it is, unless that is said.
    pub(super) fn of(self, value: &Value<'_>) -> Self {
        match self {
            Self::Value { message, named: false } => {
                let Value { what, name, .. } = value;
                Self::Value { message: format!("{what} `{name}` is {}: {message}", value.shown()), named: true }
            }
            unfit => unfit,
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Value { message, .. } | Self::Type(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for Unfit {}

impl de::Error for Unfit {
    // A rule of the type itself, as of `#[serde(try_from)]` or a number that must not be 0.
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Value { message: message.to_string(), named: false }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::Type(format!("invalid type: {found}, expected {expected}"))
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self::Type(format!("invalid length {length}, expected {expected}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::Type(format!("unknown field `{field}`, expected one of {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Type(format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Type(format!("duplicate field `{field}`"))
    }
}

/// A text with the name it came under.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    /// `the path's parameter`, `the field`: what a message calls it.
    pub(super) what: &'static str,
    pub(super) name: Cow<'a, str>,
    pub(super) text: Cow<'a, str>,
}

impl Value<'_> {
    /// The text for a message, which must not grow with what was sent.
    fn shown(&self) -> String {
        match self.text.char_indices().nth(60) {
            Some((end, _)) => format!("{:?}…", &self.text[..end]),
            None => format!("{:?}", self.text),
        }
    }

    fn unfit(&self, expected: &str) -> Unfit {
        let Self { what, name, .. } = self;
        let message = format!("expected {what} `{name}` to be {expected}, found {}", self.shown());
        Unfit::Value { message, named: true }
    }

    fn parse<T: std::str::FromStr>(&self, expected: &str) -> Result<T, Unfit> {
        self.text.parse().map_err(|_| self.unfit(expected))
    }
}

impl<'de> IntoDeserializer<'de, Unfit> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parse {
    ($($method:ident $visit:ident $expected:literal;)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
                visitor.$visit(self.parse($expected)?)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Unfit;

    parse! {
        deserialize_bool visit_bool "true or false";
        deserialize_i8 visit_i8 "a number (i8)";
        deserialize_i16 visit_i16 "a number (i16)";
        deserialize_i32 visit_i32 "a number (i32)";
        deserialize_i64 visit_i64 "a number (i64)";
        deserialize_i128 visit_i128 "a number (i128)";
        deserialize_u8 visit_u8 "a number (u8)";
        deserialize_u16 visit_u16 "a number (u16)";
        deserialize_u32 visit_u32 "a number (u32)";
        deserialize_u64 visit_u64 "a number (u64)";
        deserialize_u128 visit_u128 "a number (u128)";
        deserialize_f32 visit_f32 "a number (f32)";
        deserialize_f64 visit_f64 "a number (f64)";
        deserialize_char visit_char "one character";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self.text {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        if !variants.contains(&&*self.text) {
            return Err(self.unfit(&format!("one of {}", variants.join(", "))));
        }
        visitor.visit_enum(self.text.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

/// Values one after another: with their names as a map, without as a sequence. An error in one names it.
pub(super) struct Entries<'a, I> {
    values: I,
    current: Option<Value<'a>>,
}

impl<'a, I: Iterator<Item = Value<'a>>> Entries<'a, I> {
    pub(super) fn new(values: I) -> Self {
        Self { values, current: None }
    }
}

impl<'de, I: Iterator<Item = Value<'de>>> SeqAccess<'de> for Entries<'de, I> {
    type Error = Unfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Unfit> {
        let Some(value) = self.values.next() else {
            return Ok(None);
        };
        seed.deserialize(value.clone()).map(Some).map_err(|unfit| unfit.of(&value))
    }
}

impl<'de, I: Iterator<Item = Value<'de>>> MapAccess<'de> for Entries<'de, I> {
    type Error = Unfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Unfit> {
        self.current = self.values.next();
        let Some(value) = &self.current else {
            return Ok(None);
        };
        seed.deserialize(Value { what: "the name", name: value.name.clone(), text: value.name.clone() }).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Unfit> {
        let value =
            self.current.take().ok_or_else(|| Unfit::Type("a value was asked for before its name".to_owned()))?;
        seed.deserialize(value.clone()).map_err(|unfit| unfit.of(&value))
    }
}

/// The methods of a `Deserializer` which read a single value but for `bool`: those of the `Value` that `self.$one()?` is.
macro_rules! scalars {
    ($one:ident) => {
        crate::extract::values::scalars! {
            $one: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
            deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
            deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
            deserialize_identifier
        }
    };
    ($one:ident: $($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
                self.$one()?.$method(visitor)
            }
        )*
    };
}
pub(super) use scalars;
