//! `Path<T>`: the parameters of a path as typed values.

use crate::router::Params;
use crate::{Error, FromRequest, Request, Result};
use percent_encoding::percent_decode_str;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The parameters of the path: one value, a tuple in the order of the path, or a struct or map by name.
///
/// # Errors
///
/// 404 where a value is not of its type: `/posts/{id}` with a number has no page `/posts/new`. 400 where a parameter is not
/// UTF-8 after decoding.
///
/// ```
/// use purlin::Path;
///
/// async fn day(Path((year, month, day)): Path<(u16, u8, u8)>) -> String {
///     format!("{year:04}-{month:02}-{day:02}")
/// }
/// # purlin::Router::new().route("/{year}/{month}/{day}", purlin::get(day));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    async fn from_request(req: &mut Request) -> Result<Self> {
        let none = Params::default();
        let params = req.extensions().get::<Params>().unwrap_or(&none);
        let mut values = Vec::with_capacity(params.len());
        for (name, raw) in params.iter() {
            let value = percent_decode_str(raw).decode_utf8().map_err(|_| {
                Error::bad_request(format!("expected the path's parameter `{name}` in UTF-8, found {raw:?}"))
                    .public("The address is not UTF-8.")
            })?;
            values.push((name, Value { name, text: value }));
        }
        match T::deserialize(Values(&values)) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(match error {
                Unfit::Value(message) => Error::not_found(message),
                Unfit::Type(message) => Error::internal(message),
            }),
        }
    }
}

#[derive(Debug)]
enum Unfit {
    /// A value that is not of its type: the client's affair.
    Value(String),
    /// A type that these parameters cannot fill: the site's.
    Type(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Value(message) | Self::Type(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for Unfit {}

impl de::Error for Unfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Type(format!("the path's parameters do not fit the type asked for: {message}"))
    }
}

#[derive(Clone)]
struct Value<'a> {
    name: &'a str,
    text: Cow<'a, str>,
}

impl<'de> IntoDeserializer<'de, Unfit> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Value<'_> {
    fn parse<T: std::str::FromStr>(&self, expected: &str) -> Result<T, Unfit> {
        self.text.parse().map_err(|_| {
            Unfit::Value(format!(
                "expected the path's parameter `{}` to be {expected}, found {:?}",
                self.name, self.text
            ))
        })
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
        let (name, text) = (self.name, self.text.clone());
        let value = match self.text {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        };
        // A type which reads itself from text (a date, a UUID) and finds none in it.
        value.map_err(|unfit: Unfit| Unfit::Value(format!("the path's parameter `{name}` is {text:?}: {unfit}")))
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
            return Err(Unfit::Value(format!(
                "expected the path's parameter `{}` to be one of {}, found {:?}",
                self.name,
                variants.join(", "),
                self.text
            )));
        }
        visitor.visit_enum(self.text.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Values<'a>(&'a [(&'a str, Value<'a>)]);

impl<'a> Values<'a> {
    fn only(&self) -> Result<Value<'a>, Unfit> {
        match self.0 {
            [(_, value)] => Ok(value.clone()),
            values => Err(Unfit::Type(format!(
                "the path has {} parameters, and the handler asks for one value: take a tuple or a struct",
                values.len()
            ))),
        }
    }

    fn sequence<'de, V: Visitor<'de>>(&self, length: Option<usize>, visitor: V) -> Result<V::Value, Unfit>
    where
        'a: 'de,
    {
        if let Some(length) = length.filter(|length| *length != self.0.len()) {
            return Err(Unfit::Type(format!(
                "the path has {} parameters, and the handler asks for {length}",
                self.0.len()
            )));
        }
        visitor.visit_seq(SeqDeserializer::new(self.0.iter().map(|(_, value)| value.clone())))
    }
}

macro_rules! only {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
                self.only()?.$method(visitor)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Values<'de> {
    type Error = Unfit;

    only! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self.0 {
            [_] => self.only()?.deserialize_any(visitor),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.sequence(None, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Unfit> {
        self.sequence(Some(length), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.sequence(Some(length), visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_map(MapDeserializer::new(self.0.iter().map(|(name, value)| (*name, value.clone()))))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_unit()
    }
}
